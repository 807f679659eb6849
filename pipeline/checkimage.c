#include "pipeline/checkimage.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/arena.h"
#include "common/frameio.h"
#include "processors/convolve.h"

#define INK_SIGMA 30.0f /* outlines of apertures, in units of the frame's noise */

static bool is_type(const char *type, const char *name)
{
    return strcasecmp(type, name) == 0;
}

bool checkimage_is_known(const struct check_input *in, const char *type)
{
    static const char *const known[] = {"BACKGROUND", "BACKGROUND_RMS", "MINIBACKGROUND", "MINIBACK_RMS", "-BACKGROUND",
                                        "OBJECTS", "-OBJECTS", "SEGMENTATION", "APERTURES"};
    for (size_t k = 0; k < sizeof known / sizeof known[0]; k++)
        if (is_type(type, known[k])) return true;
    return is_type(type, "FILTERED") && !in->two;
}

void checkimage_want_radii(struct extract_options *o)
{
    uint8_t *w = o->measure.want;
    if (w[DET_flux_auto] || w[DET_fluxerr_auto] || w[DET_mag_auto] || w[DET_magerr_auto]) w[DET_kron_radius] = 1;
    if (w[DET_flux_petro] || w[DET_fluxerr_petro] || w[DET_mag_petro] || w[DET_magerr_petro]) w[DET_petro_radius] = 1;
}

static enum err write_image(const char *path, enum image_type type, int64_t nx, int64_t ny, const void *data, const struct header *header,
                            struct error *err)
{
    struct image_hdu hdu = {.type = type, .nx = nx, .ny = ny, .data = data, .header = header};
    return frameio_write_images(path, &hdu, 1, &(struct images_write_options){0}, err);
}

/* ---- background and objects --------------------------------------------------------------------------------------- */

/* OBJECTS keeps the pixels of objects, -OBJECTS those that belong to none and to no group too small to be one. */
static void fill_row(const struct check_input *in, const char *type, int64_t y, double *scratch, float *row)
{
    const struct extract_scene *s = in->scene;
    int64_t nx = in->frame->nx;
    const float *value = s->value + y * nx;
    const int32_t *segment = s->objects.segment + y * nx;
    if (is_type(type, "BACKGROUND"))
        background_row(&s->background, y, scratch, row);
    else if (is_type(type, "BACKGROUND_RMS"))
        background_rms_row(&s->background, y, scratch, row);
    else if (is_type(type, "OBJECTS"))
        for (int64_t x = 0; x < nx; x++) row[x] = segment[x] > 0 ? value[x] : 0.0f;
    else if (is_type(type, "-OBJECTS"))
        for (int64_t x = 0; x < nx; x++) row[x] = segment[x] == 0 ? value[x] : 0.0f;
    else
        memcpy(row, value, (size_t)nx * sizeof *row);
}

static enum err fill_rows(const struct check_input *in, const char *type, float *out, struct error *err)
{
    double *scratch = mem_array((size_t)background_scratch(&in->scene->background), sizeof *scratch);
    if (!scratch) return ERROR(err, ERR_NOMEM, "no memory for a row of the check-image %s", type);
    for (int64_t y = 0; y < in->frame->ny; y++) fill_row(in, type, y, scratch, out + y * in->frame->nx);
    free(scratch);
    return ERR_OK;
}

static enum err write_segmentation(const struct check_input *in, const char *path, struct error *err)
{
    int64_t n = frame_npix(in->frame);
    const int32_t *segment = in->scene->objects.segment;
    int32_t *out = mem_array((size_t)n, sizeof *out);
    if (!out) return ERROR(err, ERR_NOMEM, "no memory for the check-image '%s'", path);
    for (int64_t i = 0; i < n; i++) out[i] = segment[i] > 0 ? segment[i] : 0;
    enum err e = write_image(path, IMAGE_I32, in->frame->nx, in->frame->ny, out, &in->frame->header, err);
    free(out);
    return e;
}

/* ---- the meshes --------------------------------------------------------------------------------------------------- */

static enum err scale_card(struct header *h, const char *stem, int axis, double factor)
{
    enum err e = ERR_OK;
    double v;
    char key[16];
    snprintf(key, sizeof key, "%s%d", stem, axis);
    if (header_get_double(h, key, &v)) e = header_set_double(h, key, v * factor, "");
    for (int i = 1; i <= 2 && !e; i++) {
        snprintf(key, sizeof key, "CD%d_%d", i, axis);
        if (header_get_double(h, key, &v)) e = header_set_double(h, key, v * factor, "");
    }
    return e;
}

/* The sky coordinates of the frame, for pixels as large as a mesh. */
static enum err mesh_header(const struct check_input *in, struct header *ret, struct error *err)
{
    const struct background_options *o = &in->scene->background.options;
    enum err e = header_copy(ret, &in->frame->header, err);
    for (int axis = 1; axis <= 2 && !e; axis++) {
        double v, size = (double)(axis == 1 ? o->mesh_nx : o->mesh_ny);
        const char *key = axis == 1 ? "CRPIX1" : "CRPIX2";
        if (header_get_double(ret, key, &v)) e = header_set_double(ret, key, (v - 0.5) / size + 0.5, "");
        if (!e) e = scale_card(ret, "CDELT", axis, size);
        if (e) ERROR(err, e, "no memory for the header of a check-image");
    }
    return e;
}

static enum err write_meshes(const struct check_input *in, const float *values, const char *path, struct error *err)
{
    struct header h;
    header_init(&h);
    enum err e = mesh_header(in, &h, err);
    if (!e) e = write_image(path, IMAGE_F32, in->scene->background.gx, in->scene->background.gy, values, &h, err);
    header_release(&h);
    return e;
}

/* ---- the filtered image ------------------------------------------------------------------------------------------- */

/* Row y as the filter sees it: sky where there is no value to go by. */
static void sky_in_holes(const struct check_input *in, int64_t y, float *row)
{
    const struct detect_options *o = &in->options->detect;
    int64_t nx = in->frame->nx;
    const float *value = in->scene->value + y * nx;
    const mask_t *mask = in->frame->mask ? in->frame->mask + y * nx : NULL;
    const float *variance = in->scene->noise ? in->scene->noise + y * nx : NULL;
    for (int64_t x = 0; x < nx; x++) {
        bool hole = (mask && (mask[x] & o->holes) && !(mask[x] & o->mended)) || (variance && !(variance[x] > 0.0f));
        row[x] = isfinite(value[x]) && !hole ? value[x] : 0.0f;
    }
}

static enum err fill_filtered(const struct check_input *in, float *out, struct error *err)
{
    const struct convolve_kernel *k = in->options->detect.filter;
    int64_t nx = in->frame->nx, ny = in->frame->ny;
    if (!k) return fill_rows(in, "-BACKGROUND", out, err);
    /* rows of the image between margins, one more of sky for what lies outside */
    int64_t margin = convolve_margin(k), side = nx + 2 * margin, above = k->ny / 2, below = k->ny - 1 - above;
    float *ring = mem_zarray((size_t)(side * (k->ny + 1)), sizeof *ring);
    if (!ring) return ERROR(err, ERR_NOMEM, "no memory for the rows of the filtered image");
    for (int64_t y = -below; y < ny; y++) {
        int64_t next = y + below;
        if (next < ny) sky_in_holes(in, next, ring + next % k->ny * side + margin);
        if (y < 0) continue;
        const float *rows[CONVOLVE_SIDE_MAX];
        for (int j = 0; j < k->ny; j++) {
            int64_t yy = y - above + j;
            rows[j] = ring + (yy < 0 || yy >= ny ? k->ny : yy % k->ny) * side + margin;
        }
        convolve_row(k, rows, nx, out + y * nx);
    }
    free(ring);
    return ERR_OK;
}

/* ---- outlines of apertures ---------------------------------------------------------------------------------------- */

struct drawing {
    int64_t nx, ny;
    float *image, ink;
    int32_t *last; /* the outline that touched a pixel last: each adds its ink once */
    int32_t outline;
};

static void dot(struct drawing *d, double x, double y)
{
    if (!(x > -0.5 && y > -0.5 && x < (double)d->nx - 0.5 && y < (double)d->ny - 0.5)) return;
    int64_t at = (int64_t)(y + 0.5) * d->nx + (int64_t)(x + 0.5);
    if (d->last[at] == d->outline) return;
    d->last[at] = d->outline;
    d->image[at] += d->ink;
}

/* The pixels nearest to cxx dx^2 + cyy dy^2 + cxy dx dy = r^2 in each line along one axis: `across` and, for `swap`, the other. */
static void draw_lines(struct drawing *d, double x0, double y0, double cxx, double cyy, double cxy, double r, bool swap)
{
    double det = cxx * cyy - 0.25 * cxy * cxy;
    double reach = r * sqrt(cxx / det); /* in y */
    double limit = (double)(swap ? d->nx : d->ny) - 1.0;
    for (double y = fmax(ceil(y0 - reach), 0.0); y <= fmin(y0 + reach, limit); y += 1.0) {
        double dy = y - y0, root = sqrt(fmax(cxx * r * r - det * dy * dy, 0.0)) / cxx, middle = x0 - 0.5 * cxy * dy / cxx;
        for (int sign = -1; sign <= 1; sign += 2) {
            double x = middle + sign * root;
            dot(d, swap ? y : x, swap ? x : y);
        }
    }
}

static void draw_ellipse(struct drawing *d, const struct object *o, double cxx, double cyy, double cxy, double r)
{
    if (!(r > 0.0) || !(cxx > 0.0) || !(cyy > 0.0) || !(cxx * cyy - 0.25 * cxy * cxy > 0.0)) return;
    d->outline++;
    draw_lines(d, o->x, o->y, cxx, cyy, cxy, r, false);
    draw_lines(d, o->y, o->x, cyy, cxx, cxy, r, true);
}

static void draw_apertures(struct drawing *d, const struct check_input *in)
{
    const struct detections *t = in->detections;
    const uint8_t *w = in->options->measure.want;
    bool circles = w[DET_flux_aper] || w[DET_fluxerr_aper] || w[DET_mag_aper] || w[DET_magerr_aper];
    double least = 0.5 * in->options->measure.auto_diameter[1];
    for (int64_t i = 0; i < t->n; i++) {
        const struct object *o = &in->scene->objects.o[i];
        for (int k = 0; circles && k < t->naper; k++) draw_ellipse(d, o, 1.0, 1.0, 0.0, 0.5 * in->options->measure.diameter[k]);
        if (t->has[DET_kron_radius] && t->kron_radius[i] > 0.0f)
            draw_ellipse(d, o, (double)o->cxx, (double)o->cyy, (double)o->cxy, (double)t->kron_radius[i]);
        else if (t->has[DET_kron_radius])
            draw_ellipse(d, o, 1.0, 1.0, 0.0, least); /* the circle of PHOT_AUTOAPERS */
        if (t->has[DET_petro_radius]) draw_ellipse(d, o, (double)o->cxx, (double)o->cyy, (double)o->cxy, (double)t->petro_radius[i]);
    }
}

static enum err fill_apertures(const struct check_input *in, float *out, struct error *err)
{
    int64_t n = frame_npix(in->frame);
    struct drawing d = {.nx = in->frame->nx, .ny = in->frame->ny, .image = out, .ink = INK_SIGMA * in->scene->rms};
    d.last = mem_zarray((size_t)n, sizeof *d.last);
    if (!d.last) return ERROR(err, ERR_NOMEM, "no memory to draw apertures");
    memcpy(out, in->scene->value, (size_t)n * sizeof *out);
    draw_apertures(&d, in);
    free(d.last);
    return ERR_OK;
}

/* ---- one check-image ---------------------------------------------------------------------------------------------- */

enum err checkimage_write(const struct check_input *in, const char *type, const char *path, struct error *err)
{
    const struct background *b = &in->scene->background;
    if (is_type(type, "SEGMENTATION")) return write_segmentation(in, path, err);
    if (is_type(type, "MINIBACKGROUND")) return write_meshes(in, b->level, path, err);
    if (is_type(type, "MINIBACK_RMS")) return write_meshes(in, b->rms, path, err);
    float *out = mem_array((size_t)frame_npix(in->frame), sizeof *out);
    if (!out) return ERROR(err, ERR_NOMEM, "no memory for the check-image '%s'", path);
    enum err e = is_type(type, "FILTERED")    ? fill_filtered(in, out, err)
                 : is_type(type, "APERTURES") ? fill_apertures(in, out, err)
                                              : fill_rows(in, type, out, err);
    if (!e) e = write_image(path, IMAGE_F32, in->frame->nx, in->frame->ny, out, &in->frame->header, err);
    free(out);
    return e;
}
