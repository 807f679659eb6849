#include "pipeline/forced.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "processors/photometry.h"
#include "processors/psfcells.h"

#define SAME_FWHM       0.4 /* a detection so close to a place is its source */
#define SAME_FAINT_FWHM 1.0 /* the same when noise moves it */
#define FAINT_SNR       10.0
#define OUTSIDE_PX      0.5 /* of the outermost pixel's centre */

const char *forced_reason(int flags)
{
    if (flags & FORCED_NO_PLACE) return "no position";
    if (flags & FORCED_OUTSIDE) return "outside";
    return flags & PSFFIT_NO_DATA ? "no usable pixels" : "";
}

/* ---- places ----------------------------------------------------------------------------------------------------------- */

static enum err place_rows(const struct frame *f, struct skycoord *sky, const struct forced_list *list, struct forced_row *row, struct error *err)
{
    int64_t n = list->n;
    double *p = mem_array((size_t)(n ? n : 1) * 2, sizeof *p), *q = p ? p + n : NULL;
    if (!p) return ERROR(err, ERR_NOMEM, "no memory for %lld positions", (long long)n);
    enum err e = ERR_OK;
    for (int64_t i = 0; i < n; i++) {
        p[i] = list->on_sky ? list->a[i] : list->a[i] - 1;
        q[i] = list->on_sky ? list->b[i] : list->b[i] - 1;
        row[i] = (struct forced_row){.x = p[i], .y = q[i], .ra = p[i], .dec = q[i]};
    }
    if (list->on_sky) e = skycoord_to_pixel(sky, n, p, q, p, q, err);
    else if (sky) e = skycoord_to_sky(sky, n, p, q, p, q, err);
    for (int64_t i = 0; i < n && !e; i++) {
        if (list->on_sky) row[i].x = p[i], row[i].y = q[i];
        else row[i].ra = sky ? p[i] : NAN, row[i].dec = sky ? q[i] : NAN;
        bool given = isfinite(list->a[i]) && isfinite(list->b[i]);
        bool inside = row[i].x >= -OUTSIDE_PX && row[i].y >= -OUTSIDE_PX && row[i].x < (double)f->nx - OUTSIDE_PX && row[i].y < (double)f->ny - OUTSIDE_PX;
        row[i].flags = (int16_t)(!given ? FORCED_NO_PLACE : !inside ? FORCED_OUTSIDE : 0);
    }
    free(p);
    return e;
}

/* ---- who is fitted ---------------------------------------------------------------------------------------------------- */

static double snr_of(const struct image_view *v, const struct object *o)
{
    double sky = (double)(v->sigma2 ? v->sigma2[o->ypeak * v->nx + o->xpeak] : v->sigma2_const);
    return o->flux / sqrt(fmax((double)o->npix * sky + (v->gain > 0 ? fmax(o->flux, 0) / (double)v->gain : 0), 1e-30));
}

/* Does a detection count: near enough to a place to matter, and not the listed source itself? */
static bool is_neighbour(const struct object *o, bool faint, const struct psf_cells *cells, const struct forced_row *row, double fwhm, double reach)
{
    int64_t i0, i1, j0, j1;
    double same = (faint ? SAME_FAINT_FWHM : SAME_FWHM) * fwhm;
    bool near = false;
    psf_cells_around(cells, o->x, o->y, reach, &i0, &i1, &j0, &j1);
    for (int64_t j = j0; j < j1; j++)
        for (int64_t k = cells->first[j * cells->nx + i0]; k < cells->first[j * cells->nx + i1]; k++) {
            const struct forced_row *r = &row[cells->item[k]];
            double d = hypot(r->x - o->x, r->y - o->y);
            if (r->flags || !(d < reach)) continue;
            if (d < same) return false;
            near = true;
        }
    return near;
}

/* The list first, in its order, then the detections that are not of it. *ret_n: how many in all. */
static enum err gather(const struct image_view *v, const struct extract_scene *scene, const struct forced_options *fo, const struct forced_row *row, int64_t n,
                       struct psffit_source **ret, int64_t *ret_n, struct error *err)
{
    const struct objects *os = &scene->objects;
    double fwhm = scene->psf.fwhm, reach = 2.0 * scene->psf.half;
    struct psf_cells cells = {0};
    struct psffit_source *s = mem_zarray((size_t)(n + os->n) + 1, sizeof *s);
    double *x = mem_array((size_t)(n ? n : 1) * 2, sizeof *x), *y = x ? x + n : NULL;
    enum err e = s && x ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory to fit %lld sources", (long long)(n + os->n));
    for (int64_t i = 0; i < n && !e; i++) {
        x[i] = row[i].flags ? -1e6 : row[i].x;
        y[i] = row[i].flags ? -1e6 : row[i].y;
        s[i] = (struct psffit_source){.x = row[i].flags ? NAN : row[i].x, .y = row[i].flags ? NAN : row[i].y, .flux = NAN, .hold = !fo->recentre};
    }
    if (!e) e = psf_cells_make(&cells, x, y, n, (double)v->nx, (double)v->ny, reach, err);
    int64_t m = n;
    for (int64_t i = 0; i < os->n && !e; i++) {
        const struct object *o = &os->o[i];
        if (is_neighbour(o, snr_of(v, o) < FAINT_SNR, &cells, row, fwhm, reach)) s[m++] = (struct psffit_source){.x = o->x, .y = o->y, .flux = o->flux};
    }
    psf_cells_release(&cells);
    free(x);
    if (e) {
        free(s);
        return e;
    }
    *ret = s;
    *ret_n = m;
    return ERR_OK;
}

/* ---- rows ------------------------------------------------------------------------------------------------------------- */

static void put_psf(const struct psffit_source *s, const struct forced_options *fo, struct forced_row *r)
{
    bool measured = !r->flags && !(s->flags & PSFFIT_NO_DATA);
    r->flags = (int16_t)(r->flags | (r->flags ? 0 : s->flags));
    r->flux_psf = measured ? (float)s->flux : NAN;
    r->fluxerr_psf = measured ? s->fluxerr : NAN;
    r->upper_limit = measured ? (float)(fo->limit_sigma * (double)s->fluxerr) : NAN;
    r->chi2 = measured ? s->chi2 : NAN;
    r->mask = r->flags & (FORCED_OUTSIDE | FORCED_NO_PLACE) ? 0 : s->mask;
    r->flux_aper = r->fluxerr_aper = NAN;
    if (measured && fo->recentre) {
        r->x = s->x;
        r->y = s->y;
    }
}

/* A circle at each place, on the image from which the neighbours' light is gone; as total flux. */
static enum err measure_apertures(const struct image_view *view, const struct psf_model *m, double diameter, struct forced_row *row, int64_t n, struct error *err)
{
    double radius = 0.5 * diameter;
    int failed = 0;
    struct aperture_corrections c;
    enum err e = apercor_make(m, &diameter, 1, &c, err);
    if (e) return e;
    /* each place writes its own row */
#pragma omp parallel default(none) shared(view, m, radius, row, n, c) reduction(| : failed)
    {
        struct stamp t;
        stamp_init(&t);
#pragma omp for schedule(dynamic, 64)
        for (int64_t i = 0; i < n; i++) {
            if (!isfinite(row[i].flux_psf)) continue;
            enum err mine = stamp_load(&t, view, 0, NEIGHBOURS_KEPT, row[i].x, row[i].y, radius + 1.5, radius + 1.5, NULL);
            failed |= mine == ERR_NOMEM;
            if (mine) continue;
            stamp_mirror(&t, view, 0, row[i].x, row[i].y);
            struct sums f = sum_circle(&t, view, row[i].x, row[i].y, radius);
            double factor = apercor_at(&c, 0, row[i].x, row[i].y);
            row[i].flux_aper = (float)(f.flux * factor);
            row[i].fluxerr_aper = (float)(flux_error(&f, view) * factor);
        }
        stamp_release(&t);
    }
    return failed ? ERROR(err, ERR_NOMEM, "no memory for apertures") : ERR_OK;
}

static enum err measure_rows(struct image_view *view, struct extract_scene *scene, const struct extract_options *o, const struct forced_options *fo,
                             struct forced_row *row, int64_t n, struct error *err)
{
    struct psffit_source *s = NULL;
    struct psffit_options opt = o->psffit;
    int64_t all = 0;
    enum err e = gather(view, scene, fo, row, n, &s, &all, err);
    opt.spread = false;
    opt.saturate = isfinite(scene->saturate) ? scene->saturate - scene->background.global_level : INFINITY;
    if (!e) e = psffit_sources(view, &scene->psf, &opt, s, all, err);
    for (int64_t i = 0; i < n && !e; i++) put_psf(&s[i], fo, &row[i]);
    if (!e) e = psffit_subtract(&scene->psf, s + n, all - n, view->nx, view->ny, scene->value, err);
    if (!e) e = measure_apertures(view, &scene->psf, fo->aperture_fwhm * scene->psf.fwhm, row, n, err);
    free(s);
    return e;
}

enum err forced_measure(struct frame *f, struct skycoord *sky, const struct extract_options *o, const struct forced_list *list,
                        const struct forced_options *fo, struct extract_scene *scene, struct forced_row **ret, struct error *err)
{
    struct image_view view;
    if (list->on_sky && !sky) {
        enum err e = ERROR(err, ERR_UNSUPPORTED, "the list is in degrees and the image has no sky coordinates");
        error_hint(err, "give columns x and y in pixels");
        return e;
    }
    struct forced_row *row = mem_array((size_t)(list->n ? list->n : 1), sizeof *row);
    enum err e = row ? place_rows(f, sky, list, row, err) : ERROR(err, ERR_NOMEM, "no memory for %lld rows", (long long)list->n);
    if (!e) e = extract_background(f, true, sky, o, scene, err);
    if (!e) e = extract_detect(f, o, scene, err);
    if (!e) e = extract_psf(f, o, scene, err);
    if (!e) e = extract_view(f, o, scene, &view, err);
    if (!e) e = measure_rows(&view, scene, o, fo, row, list->n, err);
    if (e) {
        free(row);
        return e;
    }
    *ret = row;
    return ERR_OK;
}
