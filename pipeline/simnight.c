/* DESIGN. A night is a list of shots made before the first pixel; each shot depends on the seed and its own number alone.
 * With enough shots for every thread each thread makes whole files (rendering, noise, FITS and checksums all scale); with
 * fewer the rows of one shot are shared. The outer region is left inactive then, so the processors' own loops wake up. */
#include "pipeline/simnight.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/atomicfile.h"
#include "common/frameio.h"
#include "common/log.h"
#include "common/stats.h"
#include "common/units.h"

#define GAP_PX       40     /* between CCDs */
#define OVERHEAD_S   20.0
#define DITHER_AS    12.0
#define FLAT_E       25000.0
#define FLAT_EXP_S   4.0
#define BENCH_RN_E   5.0
#define MEMORY_TOTAL 4e9    /* bytes of pixels in flight */

enum err simnight_verify(const struct simnight_options *o, struct error *err)
{
    if (o->ccds < 1 || o->ccds > SIM_CCDS) return ERROR(err, ERR_USAGE, "--ccds %d: 1 to %d are possible", o->ccds, SIM_CCDS);
    if (o->frames < 0 || o->bias < 0 || o->dark < 0 || o->flat < 0 || o->frames > 1000000 || o->bias > 10000 || o->dark > 10000 || o->flat > 10000)
        return ERROR(err, ERR_USAGE, "counts of frames must be between 0 and 10,000 (lights 1,000,000)");
    if (o->fields < 1 || o->fields > 10000) return ERROR(err, ERR_USAGE, "--fields %d: 1 to 10000 are possible", o->fields);
    if (o->nfilter < 1) return ERROR(err, ERR_USAGE, "--filters: at least one is needed");
    if (!(o->stars >= 0 && o->stars <= 1e7 && o->galaxies >= 0 && o->galaxies <= 1e6))
        return ERROR(err, ERR_USAGE, "--stars and --galaxies: 0 to 10,000,000 and 1,000,000 per CCD are possible");
    if (!(o->scale_arcsec >= 0.01 && o->scale_arcsec <= 60)) return ERROR(err, ERR_USAGE, "--scale %g: 0.01 to 60 arcsec are possible", o->scale_arcsec);
    if (!(o->exptime_s > 0 && o->exptime_s <= 1e5)) return ERROR(err, ERR_USAGE, "--exptime %g: up to 100,000 s are possible", o->exptime_s);
    if (!(o->crowding >= 0 && o->crowding <= 1)) return ERROR(err, ERR_USAGE, "--crowding %g: 0 to 1 is possible", o->crowding);
    if (!(o->sky >= 0 && o->sky <= 1e4)) return ERROR(err, ERR_USAGE, "--sky %g: 0 to 10,000 times the dark sky is possible", o->sky);
    if (!(o->streaks >= 0 && o->streaks <= SIM_STREAKS)) return ERROR(err, ERR_USAGE, "--streaks %g: 0 to %d are possible", o->streaks, SIM_STREAKS);
    if (!(o->cosmics >= 0 && o->cosmics <= 100)) return ERROR(err, ERR_USAGE, "--cosmics %g: 0 to 100 per Mpix and s are possible", o->cosmics);
    if (!(o->pointing_error_arcsec >= 0 && o->pointing_error_arcsec <= 3600))
        return ERROR(err, ERR_USAGE, "--pointing-error %g: 0 to 3600 arcsec are possible", o->pointing_error_arcsec);
    if (!(o->seeing_arcsec > 0 && o->seeing_arcsec / o->scale_arcsec >= 1.2 && o->seeing_arcsec / o->scale_arcsec <= 30))
        return ERROR(err, ERR_USAGE, "--seeing %g: 1.2 to 30 pixels are possible, this is %.2f", o->seeing_arcsec, o->seeing_arcsec / o->scale_arcsec);
    return ERR_OK;
}

/* ---- the camera and the list of shots -------------------------------------------------------------------------- */

static enum err make_camera(struct simnight *n, struct error *err)
{
    const struct simnight_options *o = n->o;
    int columns = (int)ceil(sqrt(o->ccds)), rows = (o->ccds + columns - 1) / columns;
    double step_x = (double)o->nx + GAP_PX, step_y = (double)o->ny + GAP_PX;
    n->ccd = mem_zarray((size_t)o->ccds, sizeof *n->ccd);
    n->offset_x = mem_zarray((size_t)o->ccds, sizeof(double));
    n->offset_y = mem_zarray((size_t)o->ccds, sizeof(double));
    n->turn_deg = mem_zarray((size_t)o->ccds, sizeof(double));
    if (!n->ccd || !n->offset_x || !n->offset_y || !n->turn_deg) return ERROR(err, ERR_NOMEM, "no memory for a camera");
    n->radius_px = 0.5 * hypot(columns * step_x, rows * step_y);
    for (int c = 0; c < o->ccds; c++) {
        struct philox p;
        philox_init(&p, o->seed, sim_stream(SIM_STREAM_NIGHT, 2, (uint32_t)c));
        n->offset_x[c] = (c % columns - 0.5 * (columns - 1)) * step_x;
        n->offset_y[c] = (c / columns - 0.5 * (rows - 1)) * step_y;
        n->turn_deg[c] = 0.2 + 0.05 * philox_normal(&p);
        struct sim_ccd_options co = {.seed = o->seed, .number = c + 1, .namp = o->amps, .nx = o->nx, .ny = o->ny,
                                     .centre_x = 0.5 * (double)o->nx - n->offset_x[c], .centre_y = 0.5 * (double)o->ny - n->offset_y[c],
                                     .field_radius_px = n->radius_px};
        enum err rc = sim_ccd_init(&n->ccd[c], &co, err);
        if (rc != ERR_OK) return rc;
    }
    return ERR_OK;
}

static void point_telescope(const struct simnight *n, struct sim_shot *s, int k, struct philox *p)
{
    const struct simnight_options *o = n->o;
    double share = o->frames > 1 ? (double)k / (o->frames - 1) : 0.5, dither = o->bench ? 0 : DITHER_AS / ARCSEC_PER_DEG;
    s->field = (int)((int64_t)k * o->fields / (o->frames > 0 ? o->frames : 1));
    s->filter = o->filter[k % o->nfilter];
    double dec = 20 - 5 * (s->field % 5);
    s->dec = dec + dither * philox_normal(p);
    s->ra = fmod(150 + 4.0 * s->field + dither * philox_normal(p) / cos(dec * RAD_PER_DEG), 360);
    double off = o->pointing_error_arcsec / ARCSEC_PER_DEG;
    s->true_dec = s->dec + off * philox_normal(p) * 0.7071;
    s->true_ra = s->ra + off * philox_normal(p) * 0.7071 / cos(s->dec * RAD_PER_DEG);
    s->airmass = 1.02 + 0.9 * (share - 0.45) * (share - 0.45);
    double wander = o->seeing_drift * (sin(2 * PI * 1.7 * share) + 0.3 * philox_normal(p));
    double blur = o->bench ? 1 : pow(s->airmass, 0.6) * fmax(0.5, 1 + wander);
    s->fwhm_px = fmin(fmax(o->seeing_arcsec * blur / o->scale_arcsec, 1), 50);
    s->e1 = o->bench ? 0 : 0.015 * philox_normal(p);
    s->e2 = o->bench ? 0 : 0.015 * philox_normal(p);
}

/* Bias and dark in the afternoon, flats at dusk, then lights; damage comes last, so that the others stay whole. */
static enum err make_shots(struct simnight *n, struct error *err)
{
    const struct simnight_options *o = n->o;
    const struct { enum frame_type type; int count; double exptime, begins; const char *name; } parts[] = {
        {FRAME_BIAS, o->bias, 0, 0, "bias"},
        {FRAME_DARK, o->dark, o->exptime_s, 0, "dark"},
        {FRAME_FLAT, o->flat * o->nfilter, FLAT_EXP_S, 0.18, "flat"},
        {FRAME_LIGHT, o->frames, o->exptime_s, 0.25, "light"},
    };
    n->nshot = o->bias + o->dark + o->flat * o->nfilter + o->frames;
    n->shot = mem_zarray((size_t)n->nshot, sizeof *n->shot);
    if (!n->shot) return ERROR(err, ERR_NOMEM, "no memory for %d exposures", n->nshot);
    double mjd = o->mjd;
    int number = 0;
    for (int part = 0; part < 4; part++) {
        mjd = fmax(mjd, o->mjd + parts[part].begins);
        for (int k = 0; k < parts[part].count; k++) {
            struct sim_shot *s = &n->shot[number++];
            struct philox p;
            philox_init(&p, o->seed, sim_stream(SIM_STREAM_EXPOSURE, (uint32_t)part, (uint32_t)k));
            *s = (struct sim_shot){.number = number, .type = parts[part].type, .exptime_s = parts[part].exptime, .mjd = mjd, .fwhm_px = 4};
            snprintf(s->name, sizeof s->name, "sc_%04d_%s", number, parts[part].name);
            if (s->type == FRAME_FLAT) s->filter = o->filter[k / o->flat];
            if (s->type == FRAME_LIGHT) point_telescope(n, s, k, &p);
            int damaged = k - (o->frames - o->ndamage);
            if (s->type == FRAME_LIGHT && damaged >= 0) s->damage = o->damage[damaged];
            mjd += (parts[part].exptime + OVERHEAD_S) / SEC_PER_DAY;
        }
    }
    return ERR_OK;
}

static enum err make_fields(struct simnight *n, struct error *err)
{
    const struct simnight_options *o = n->o;
    int columns = (int)ceil(sqrt(o->ccds)), rows = (o->ccds + columns - 1) / columns;
    double scale = o->scale_arcsec / ARCSEC_PER_DEG, margin = 100 * scale + 4 * DITHER_AS / ARCSEC_PER_DEG;
    double rx = 0.5 * columns * ((double)o->nx + GAP_PX) * scale + margin, ry = 0.5 * rows * ((double)o->ny + GAP_PX) * scale + margin;
    double ccds = 4 * rx * ry / ((double)o->nx * (double)o->ny * scale * scale);
    n->objects = mem_zarray((size_t)o->fields, sizeof *n->objects);
    n->nobject = mem_zarray((size_t)o->fields, sizeof *n->nobject);
    if (!n->objects || !n->nobject) return ERROR(err, ERR_NOMEM, "no memory for fields");
    double from = o->mjd + 0.25, to = from + o->frames * (o->exptime_s + OVERHEAD_S) / SEC_PER_DAY;
    for (int f = 0; f < o->fields; f++) {
        struct sim_field field = {.seed = o->seed, .number = f, .ra = fmod(150 + 4.0 * f, 360), .dec = 20 - 5 * (f % 5), .radius_x_deg = rx, .radius_y_deg = ry,
                                  .nstar = (int64_t)floor(o->stars * ccds + 0.5), .ngalaxy = (int64_t)floor(o->galaxies * ccds + 0.5),
                                  .ntransient = o->transients, .variable_share = o->bench ? 0 : 0.03, .crowding = o->crowding,
                                  .mag_bright = o->mag_bright, .mag_faint = o->mag_faint, .mjd_start = from, .mjd_end = to};
        enum err rc = sim_field_make(&field, &n->objects[f], &n->nobject[f], err);
        if (rc != ERR_OK) return rc;
    }
    return ERR_OK;
}

static void release(struct simnight *n)
{
    for (int c = 0; n->ccd && c < n->o->ccds; c++) sim_ccd_release(&n->ccd[c]);
    for (int f = 0; n->objects && f < n->o->fields; f++) free(n->objects[f]);
    free(n->ccd);
    free(n->offset_x);
    free(n->offset_y);
    free(n->turn_deg);
    free(n->shot);
    free(n->objects);
    free(n->nobject);
}

/* ---- one shot ------------------------------------------------------------------------------------------------- */

/* What one exposure needs; planes of all its CCDs, because a file is written whole. */
struct work {
    float *plane;          /* nx * ny: one CCD at a time */
    uint16_t *raw[SIM_CCDS];
    float *damaged[SIM_CCDS];
    float *light[SIM_CCDS];
    mask_t *mask[SIM_CCDS];
    struct sim_seen seen[SIM_CCDS];
    struct header header[SIM_CCDS + 1];
};

static void work_release(struct work *w)
{
    free(w->plane);
    for (int c = 0; c < SIM_CCDS; c++) {
        free(w->raw[c]);
        free(w->damaged[c]);
        free(w->light[c]);
        free(w->mask[c]);
        sim_seen_release(&w->seen[c]);
    }
    for (int c = 0; c <= SIM_CCDS; c++) header_release(&w->header[c]);
}

static double sky_of(const struct simnight *n, const struct sim_shot *s)
{
    if (s->type == FRAME_FLAT) return FLAT_E * (1 + 0.05 * sin(s->number));
    return n->o->sky * sim_filter_at(s->filter)->sky_rate * s->exptime_s * (1 + 0.1 * (s->airmass - 1));
}

static void add_streaks(const struct simnight *n, const struct sim_shot *s, int ccd, struct sim_scene *scene)
{
    struct philox p;
    philox_init(&p, n->o->seed, sim_stream(SIM_STREAM_EXPOSURE, 8 + (uint32_t)ccd, (uint32_t)s->number));
    int64_t count = philox_poisson(&p, n->o->streaks);
    for (int64_t i = 0; i < count && scene->nstreak < SIM_STREAKS; i++)
        scene->streak[scene->nstreak++] = (struct sim_streak){
            .x = philox_uniform(&p) * (double)scene->nx, .y = philox_uniform(&p) * (double)scene->ny, .angle_rad = PI * philox_uniform(&p),
            .peak_e = 200 * pow(20, philox_uniform(&p)), .sigma_px = s->fwhm_px / FWHM_PER_SIGMA};
}

static enum err render(const struct simnight *n, const struct sim_shot *s, int ccd, struct work *w, struct error *err)
{
    const struct simnight_options *o = n->o;
    struct sim_scene scene = {.nx = o->nx, .ny = o->ny, .sky_e = sky_of(n, s), .psf = {s->fwhm_px, o->beta, s->e1, s->e2}};
    scene.slope_x = s->type == FRAME_FLAT ? 0.004 : o->sky_slope;
    scene.slope_y = s->type == FRAME_FLAT ? -0.003 : -0.5 * o->sky_slope;
    if (s->type == FRAME_LIGHT) {
        enum err rc = simtruth_project(n, s, ccd, &w->seen[ccd], err);
        if (rc != ERR_OK) return rc;
        scene.nsource = w->seen[ccd].n;
        scene.source = w->seen[ccd].source;
        if (!o->bench) add_streaks(n, s, ccd, &scene);
    }
    return sim_light(&scene, w->plane, s->type == FRAME_LIGHT ? w->seen[ccd].flux_stamp : NULL, w->mask[ccd], err);
}

static bool keeps_truth_image(const struct simnight *n, const struct sim_shot *s)
{
    return n->o->truth_images && s->type == FRAME_LIGHT;
}

/* Pixels of a damaged file: everything saturated, or floats with a hole of NaN. */
static enum err damage_pixels(const struct simnight *n, const struct sim_shot *s, int ccd, struct work *w, struct error *err)
{
    int64_t npix = n->ccd[ccd].raw_nx * n->ccd[ccd].raw_ny, nx = n->ccd[ccd].raw_nx, ny = n->ccd[ccd].raw_ny;
    if (s->damage == DAMAGE_SATURATED) memset(w->raw[ccd], 0xff, (size_t)npix * sizeof(uint16_t));
    if (s->damage != DAMAGE_NAN) return ERR_OK;
    w->damaged[ccd] = mem_array((size_t)npix, sizeof(float));
    if (!w->damaged[ccd]) return ERROR(err, ERR_NOMEM, "no memory for a damaged frame");
    for (int64_t i = 0; i < npix; i++) {
        bool hole = i % nx > nx / 4 && i % nx < nx / 2 && i / nx > ny / 4 && i / nx < ny / 2;
        w->damaged[ccd][i] = hole ? NAN : (float)w->raw[ccd][i];
    }
    return ERR_OK;
}

static enum err make_ccd(const struct simnight *n, const struct sim_shot *s, int ccd, struct work *w, struct error *err)
{
    const struct sim_ccd *c = &n->ccd[ccd];
    int64_t npix = c->nx * c->ny;
    struct sim_exposure e = {.seed = n->o->seed, .number = (uint32_t)s->number, .filter = s->filter, .exptime_s = s->exptime_s,
                             .darktime_s = s->exptime_s, .cosmics_per_mpix_s = n->o->cosmics, .lit = s->type == FRAME_FLAT || s->type == FRAME_LIGHT};
    w->raw[ccd] = mem_array((size_t)(c->raw_nx * c->raw_ny), sizeof(uint16_t));
    if (keeps_truth_image(n, s)) {
        w->light[ccd] = mem_array((size_t)npix, sizeof(float));
        w->mask[ccd] = mem_zarray((size_t)npix, sizeof(mask_t));
    }
    if (!w->raw[ccd] || (keeps_truth_image(n, s) && (!w->light[ccd] || !w->mask[ccd]))) return ERROR(err, ERR_NOMEM, "no memory for a frame");
    enum err rc = ERR_OK;
    if (e.lit) rc = render(n, s, ccd, w, err); /* a dark detector makes its own plane */
    if (rc == ERR_OK && w->light[ccd]) memcpy(w->light[ccd], w->plane, (size_t)npix * sizeof(float));
    if (rc == ERR_OK) rc = sim_expose(c, &e, w->plane, w->mask[ccd], err);
    if (rc == ERR_OK) rc = sim_readout(c, &e, w->plane, w->raw[ccd], err);
    if (rc == ERR_OK) rc = damage_pixels(n, s, ccd, w, err);
    return rc;
}

static enum err write_raw(const struct simnight *n, const struct sim_shot *s, struct work *w, struct error *err)
{
    const struct simnight_options *o = n->o;
    struct image_hdu hdu[SIM_CCDS + 1] = {{.type = IMAGE_EMPTY, .header = &w->header[0]}};
    char names[SIM_CCDS][12], path[4096];
    if (simheader_primary(n, s, &w->header[0]) != ERR_OK) return ERROR(err, ERR_NOMEM, "no memory for a header");
    for (int c = 0; c < o->ccds; c++) {
        snprintf(names[c], sizeof names[c], "CCD%02d", c + 1);
        if (simheader_ccd(n, s, c, &w->header[c + 1]) != ERR_OK) return ERROR(err, ERR_NOMEM, "no memory for a header");
        hdu[c + 1] = (struct image_hdu){.type = w->damaged[c] ? IMAGE_F32 : IMAGE_U16, .nx = n->ccd[c].raw_nx, .ny = n->ccd[c].raw_ny,
                                        .data = w->damaged[c] ? (const void *)w->damaged[c] : w->raw[c], .header = &w->header[c + 1], .extname = names[c]};
    }
    struct images_write_options opt = {.compress = o->fz, .checksum = true, .dither_seed = 1 + s->number % 10000};
    snprintf(path, sizeof path, "%s/raw/%s.fits%s", o->out, s->name, o->fz ? ".fz" : "");
    enum err rc = frameio_write_images(path, hdu, o->ccds + 1, &opt, err);
    return rc == ERR_OK ? simdamage_file(s->damage, path, o->seed + (uint64_t)s->number, err) : rc;
}

static enum err mask_header(struct header *h)
{
    enum err rc = ERR_OK;
#define X(name, bit, what) if (rc == ERR_OK) rc = header_set_int(h, "MP_" #name, bit, NULL);
    MASK_PLANES(X)
#undef X
    return rc;
}

static enum err write_truth_image(const struct simnight *n, const struct sim_shot *s, struct work *w, struct error *err)
{
    struct image_hdu hdu[2 * SIM_CCDS + 1] = {{.type = IMAGE_EMPTY, .header = &w->header[0]}};
    char names[2 * SIM_CCDS][16], path[4096];
    struct header mask = {0};
    enum err rc = mask_header(&mask);
    for (int c = 0; c < n->o->ccds; c++) {
        snprintf(names[2 * c], sizeof names[0], "CCD%02d", c + 1);
        snprintf(names[2 * c + 1], sizeof names[0], "MASK%02d", c + 1);
        struct header *h = &w->header[c + 1];
        header_release(h);
        if (rc == ERR_OK) rc = header_set_str(h, "BUNIT", "electron", "light: sky and sources, no detector, no noise");
        if (rc == ERR_OK) rc = simheader_wcs(n, s, c, true, h);
        hdu[2 * c + 1] = (struct image_hdu){.type = IMAGE_F32, .nx = n->o->nx, .ny = n->o->ny, .data = w->light[c], .header = h, .extname = names[2 * c]};
        hdu[2 * c + 2] = (struct image_hdu){.type = IMAGE_U16, .nx = n->o->nx, .ny = n->o->ny, .data = w->mask[c], .header = &mask, .extname = names[2 * c + 1]};
    }
    struct images_write_options opt = {.checksum = true};
    snprintf(path, sizeof path, "%s/truth/%s_image.fits", n->o->out, s->name);
    if (rc != ERR_OK) ERROR(err, rc, "no memory for a header");
    else rc = frameio_write_images(path, hdu, 2 * n->o->ccds + 1, &opt, err);
    header_release(&mask);
    return rc;
}

static double mean_rdnoise(const struct simnight *n)
{
    double sum = 0;
    for (int c = 0; c < n->o->ccds; c++) sum += n->ccd[c].amp[0].rdnoise_e;
    return sum / n->o->ccds;
}

static enum err make_shot(const struct simnight *n, const struct sim_shot *s, struct error *err)
{
    char path[4096];
    enum err rc = ERR_OK;
    struct work *w = calloc(1, sizeof *w);
    if (w) w->plane = mem_array((size_t)(n->o->nx * n->o->ny), sizeof(float));
    if (!w || !w->plane) {
        free(w);
        return ERROR(err, ERR_NOMEM, "no memory for a frame");
    }
    for (int c = 0; c < n->o->ccds && rc == ERR_OK; c++) rc = make_ccd(n, s, c, w, err);
    if (rc == ERR_OK) rc = write_raw(n, s, w, err);
    if (rc == ERR_OK && keeps_truth_image(n, s)) rc = write_truth_image(n, s, w, err);
    if (rc == ERR_OK && s->type == FRAME_LIGHT) {
        snprintf(path, sizeof path, "%s/truth/%s_truth.fits", n->o->out, s->name);
        rc = simtruth_write(n, s, path, w->seen, sky_of(n, s), mean_rdnoise(n), err);
    }
    work_release(w);
    free(w);
    return rc;
}

/* ---- a bench image -------------------------------------------------------------------------------------------- */

static enum err bench_header(const struct simnight *n, const struct sim_shot *s, struct header *h)
{
    enum err rc = simheader_primary(n, s, h);
    if (rc == ERR_OK) rc = simheader_wcs(n, s, 0, true, h);
    if (rc == ERR_OK) rc = header_set_str(h, "BUNIT", "electron", NULL);
    if (rc == ERR_OK) rc = header_set_double(h, "GAIN", 1, "[electron/electron]");
    if (rc == ERR_OK) rc = header_set_double(h, "RDNOISE", BENCH_RN_E, "[electron]");
    if (rc == ERR_OK) rc = header_set_double(h, "SKY", sky_of(n, s), "[electron/pixel] before noise");
    if (rc == ERR_OK) rc = header_set_double(h, "FWHM", s->fwhm_px, "[pixel] seeing");
    if (rc == ERR_OK) rc = header_set_double(h, "BETA", n->o->beta, "of the Moffat profile");
    return rc;
}

static enum err make_bench(const struct simnight *n, struct error *err)
{
    const struct sim_shot *s = &n->shot[n->nshot - 1];
    struct work *w = calloc(1, sizeof *w);
    char path[4096];
    if (w) w->plane = mem_array((size_t)(n->o->nx * n->o->ny), sizeof(float));
    if (!w || !w->plane) {
        free(w);
        return ERROR(err, ERR_NOMEM, "no memory for an image");
    }
    enum err rc = render(n, s, 0, w, err);
    if (rc == ERR_OK) rc = sim_noise_plane(n->o->seed, 1, n->o->nx, n->o->ny, BENCH_RN_E, w->plane, err);
    if (rc == ERR_OK && (rc = bench_header(n, s, &w->header[0])) != ERR_OK) ERROR(err, rc, "no memory for a header");
    if (rc == ERR_OK) {
        struct image_hdu hdu = {.type = IMAGE_F32, .nx = n->o->nx, .ny = n->o->ny, .data = w->plane, .header = &w->header[0]};
        struct images_write_options opt = {.checksum = true};
        snprintf(path, sizeof path, "%s/image.fits", n->o->out);
        rc = frameio_write_images(path, &hdu, 1, &opt, err);
    }
    if (rc == ERR_OK) {
        snprintf(path, sizeof path, "%s/truth.fits", n->o->out);
        rc = simtruth_write(n, s, path, w->seen, sky_of(n, s), BENCH_RN_E, err);
    }
    work_release(w);
    free(w);
    return rc;
}

/* ---- the night ------------------------------------------------------------------------------------------------ */

static enum err make_folders_of(const struct simnight_options *o, struct error *err)
{
    char path[4096];
    if (o->bench) return make_folders(o->out, err);
    snprintf(path, sizeof path, "%s/raw", o->out);
    enum err rc = make_folders(path, err);
    snprintf(path, sizeof path, "%s/truth", o->out);
    return rc == ERR_OK ? make_folders(path, err) : rc;
}

static enum err make_all(const struct simnight *n, struct error *err)
{
    double bytes = (double)n->o->nx * (double)n->o->ny * (4 + 2.0 * n->o->ccds + (n->o->truth_images ? 6.0 * n->o->ccds : 0));
    bool whole = n->nshot >= omp_get_max_threads() && bytes * omp_get_max_threads() < MEMORY_TOTAL;
    enum err *rcs = mem_zarray((size_t)n->nshot, sizeof *rcs);
    struct error *errors = mem_zarray((size_t)n->nshot, sizeof *errors);
    struct progress *bar = progress_new("exposures", n->nshot, (double)n->o->nx * (double)n->o->ny * n->o->ccds);
    enum err rc = rcs && errors ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory for %d exposures", n->nshot);
    if (rc == ERR_OK) {
        /* Each shot has its own file, memory and error. */
#pragma omp parallel for schedule(dynamic, 1) if (whole) default(none) shared(n, rcs, errors, bar)
        for (int i = 0; i < n->nshot; i++) {
            rcs[i] = make_shot(n, &n->shot[i], &errors[i]);
            progress_step(bar, 1);
        }
        for (int i = n->nshot - 1; i >= 0; i--)
            if (rcs[i] != ERR_OK) {
                rc = rcs[i];
                if (err) *err = errors[i];
            }
    }
    progress_free(bar);
    free(rcs);
    free(errors);
    return rc;
}

enum err simnight_make(const struct simnight_options *o, struct simnight_result *ret, struct error *err)
{
    struct simnight n = {.o = o};
    enum err rc = simnight_verify(o, err);
    if (rc == ERR_OK) rc = make_folders_of(o, err);
    if (rc == ERR_OK) rc = make_camera(&n, err);
    if (rc == ERR_OK) rc = make_shots(&n, err);
    if (rc == ERR_OK) rc = make_fields(&n, err);
    if (rc == ERR_OK) rc = simtruth_write_sky(&n, err);
    if (rc == ERR_OK) rc = o->bench ? make_bench(&n, err) : make_all(&n, err);
    if (rc == ERR_OK) {
        *ret = (struct simnight_result){.files = o->bench ? 1 : n.nshot};
        ret->pixels = o->bench ? o->nx * o->ny : (int64_t)n.nshot * o->ccds * n.ccd[0].raw_nx * n.ccd[0].raw_ny;
        for (int f = 0; f < o->fields; f++) ret->objects += n.nobject[f];
    }
    release(&n);
    return rc;
}
