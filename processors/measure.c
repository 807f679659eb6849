#include "processors/measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/units.h"
#include "processors/shape.h"

#define KRON_REACH   6.0    /* the Kron moment is summed to 6 times the ellipse */
#define CROWDED      0.1    /* share of bad pixels that biases AUTO */
#define LARGEST_HALF 1536.0 /* pixels: a larger aperture is cut and flagged */
#define NO_MAG       99.0f
#define NO_PIXEL     -1e30f /* in VIGNET */

struct measure_options measure_options_default(void)
{
    return (struct measure_options){
        .naper = 1, .diameter = {5.0}, .nfrac = 1, .fraction = {0.5}, .kron_factor = 2.5, .kron_min = 3.5, .petro_factor = 2.0,
        .petro_min = 3.5, .neighbours = NEIGHBOURS_MIRROR, .pixel_scale = 1.0, .seeing = 1.2};
}

enum err measure_options_verify(const struct measure_options *opt, struct error *err)
{
    if (opt->naper < 0 || opt->naper > MEASURE_LIST_MAX || opt->nfrac < 0 || opt->nfrac > MEASURE_LIST_MAX)
        return ERROR(err, ERR_SETTINGS, "at most %d apertures and fractions can be measured", MEASURE_LIST_MAX);
    for (int i = 0; i < opt->naper; i++)
        if (!(opt->diameter[i] > 0.0 && opt->diameter[i] < LARGEST_HALF)) return ERROR(err, ERR_SETTINGS, "an aperture of %g pixels cannot be measured", opt->diameter[i]);
    for (int i = 0; i < opt->nfrac; i++)
        if (!(opt->fraction[i] > 0.0 && opt->fraction[i] <= 1.0)) return ERROR(err, ERR_SETTINGS, "a flux fraction of %g is not in (0, 1]", opt->fraction[i]);
    if (!(opt->kron_factor >= 0.0 && opt->kron_min >= 0.0 && opt->petro_factor >= 0.0 && opt->petro_min >= 0.0))
        return ERROR(err, ERR_SETTINGS, "the factors of Kron and Petrosian apertures cannot be negative");
    return ERR_OK;
}

/* What the requested columns need. */
struct needs {
    bool isophote, profile, automatic, apertures, radius, petro, window, vignet, background, locus, stamp;
};

/* Shared by all threads, read-only. */
struct job {
    const struct image_view *view;
    const struct objects *objects;
    const struct background *background;
    const struct measure_options *opt;
    struct needs needs;
    struct detections *d;
    struct star_sample *samples; /* one per object, NULL: not wanted */
};

/* One per thread. */
struct worker {
    struct stamp stamp, shape; /* shape: of the detection image in dual-image mode */
    double *scratch;
};

static bool any_of(const struct measure_options *opt, const enum detection_column *list, int n)
{
    bool any = false;
    for (int i = 0; i < n; i++) any |= opt->want[list[i]];
    return any;
}
#define ANY(opt, ...) \
    any_of((opt), (const enum detection_column[]){__VA_ARGS__}, (int)(sizeof((enum detection_column[]){__VA_ARGS__}) / sizeof(enum detection_column)))

static struct needs needs_of(const struct measure_options *o, bool locus)
{
    struct needs n = {0};
    n.locus = locus || (o->want[DET_class_star] && !o->network);
    n.window = ANY(o, DET_xwin, DET_ywin, DET_errawin, DET_errbwin, DET_errthetawin, DET_rawin, DET_decwin, DET_xwin_world,
                   DET_ywin_world, DET_snr_win, DET_flux_win, DET_fluxerr_win, DET_mag_win, DET_magerr_win, DET_x2win, DET_y2win,
                   DET_xywin, DET_awin, DET_bwin, DET_thetawin, DET_niter_win, DET_flags_win, DET_errx2win, DET_erry2win, DET_errxywin);
    n.radius = n.window || n.locus || o->want[DET_flux_radius];
    n.automatic = n.radius || ANY(o, DET_flux_auto, DET_fluxerr_auto, DET_mag_auto, DET_magerr_auto, DET_kron_radius);
    n.petro = ANY(o, DET_flux_petro, DET_fluxerr_petro, DET_mag_petro, DET_magerr_petro, DET_petro_radius);
    n.apertures = ANY(o, DET_flux_aper, DET_fluxerr_aper, DET_mag_aper, DET_magerr_aper);
    n.profile = ANY(o, DET_fwhm, DET_fwhm_world, DET_isoarea, DET_iso0, DET_iso1, DET_iso2, DET_iso3, DET_iso4,
                    DET_iso5, DET_iso6, DET_iso7) || (o->network && o->want[DET_class_star]);
    n.isophote = n.profile || locus || ANY(o, DET_fluxerr_iso, DET_magerr_iso, DET_erra, DET_errb, DET_errtheta, DET_errx2, DET_erry2, DET_errxy);
    n.vignet = o->want[DET_vignet] && o->vig_nx > 0 && o->vig_ny > 0;
    n.background = o->want[DET_background];
    n.stamp = n.automatic || n.apertures || n.petro;
    return n;
}

/* ---- columns ---------------------------------------------------------------------------------------------------- */

#define PUT(field, value)                                            \
    do {                                                             \
        if (j->opt->want[DET_##field]) j->d->field[i] = (value);     \
    } while (0)

static float magnitude(double flux, double zeropoint)
{
    return flux > 0.0 ? (float)(zeropoint - 2.5 * log10(flux)) : NO_MAG;
}

static float magnitude_error(double flux, double error)
{
    return flux > 0.0 ? (float)(MAG_PER_LN * error / flux) : NO_MAG;
}

/* (-90, 90], the upper end kept for a vertical axis whatever the sign of zero was. */
static float degrees(double rad)
{
    return (float)(rad * DEG_PER_RAD);
}

static void put_basics(const struct job *j, int64_t i)
{
    const struct object *o = &j->objects->o[i];
    PUT(number, (int32_t)(i + 1));
    PUT(x, o->x + 1.0);
    PUT(y, o->y + 1.0);
    PUT(x2, o->x2);
    PUT(y2, o->y2);
    PUT(xy, o->xy);
    PUT(a, o->a);
    PUT(b, o->b);
    PUT(theta, degrees((double)o->theta_rad));
    PUT(cxx, o->cxx);
    PUT(cyy, o->cyy);
    PUT(cxy, o->cxy);
    PUT(elongation, o->b > 0.0f ? o->a / o->b : 0.0f);
    PUT(ellipticity, o->a > 0.0f ? 1.0f - o->b / o->a : 0.0f);
    PUT(xmin, o->xmin + 1);
    PUT(xmax, o->xmax + 1);
    PUT(ymin, o->ymin + 1);
    PUT(ymax, o->ymax + 1);
    PUT(xpeak, o->xpeak + 1);
    PUT(ypeak, o->ypeak + 1);
    PUT(threshold, o->threshold);
    PUT(flux_max, o->peak);
    PUT(flux_iso, (float)o->flux);
    PUT(mag_iso, magnitude(o->flux, j->opt->zeropoint));
    PUT(isoareaf, (int32_t)o->npix);
    PUT(imaflags, o->imaflags);
    double arcsec2 = j->opt->pixel_scale * j->opt->pixel_scale;
    PUT(mu_max, magnitude((double)o->peak / arcsec2, j->opt->zeropoint));
    PUT(mu_threshold, magnitude((double)o->threshold / arcsec2, j->opt->zeropoint));
}

/* Returned: the FWHM. */
static float put_isophote(const struct job *j, int64_t i)
{
    struct object copy = j->objects->o[i];
    const struct object *o = &copy;
    struct isophote iso, where;
    if (j->opt->iso_threshold > 0.0) {
        int64_t at = (int64_t)o->ypeak * j->view->nx + o->xpeak;
        float sigma2 = j->view->sigma2 ? j->view->sigma2[at] : j->view->sigma2_const;
        copy.threshold = (float)j->opt->iso_threshold * (j->opt->iso_in_sigma ? sqrtf(sigma2 > 0.0f ? sigma2 : j->view->sigma2_const) : 1.0f);
    }
    shape_isophote(j->view, o, j->objects->pixels + o->first, &iso);
    if (j->opt->shape) {
        shape_isophote(j->opt->shape, o, j->objects->pixels + o->first, &where);
        iso.errx2 = where.errx2, iso.erry2 = where.erry2, iso.errxy = where.errxy, iso.err_floor = where.err_floor;
    }
    struct sums sum = {.flux = o->flux, .variance = iso.variance, .area = (double)o->npix};
    double error = flux_error(&sum, j->view);
    struct ellipse_shape e = shape_ellipse(iso.errx2, iso.erry2, iso.errxy, iso.err_floor);
    PUT(fluxerr_iso, (float)error);
    PUT(magerr_iso, magnitude_error(o->flux, error));
    PUT(errx2, iso.errx2);
    PUT(erry2, iso.erry2);
    PUT(errxy, iso.errxy);
    PUT(erra, (float)e.a);
    PUT(errb, (float)e.b);
    PUT(errtheta, degrees(e.theta_rad));
    PUT(fwhm, (float)iso.fwhm);
    PUT(fwhm_world, (float)(iso.fwhm * j->opt->pixel_scale / ARCSEC_PER_DEG));
    PUT(isoarea, iso.iso[0]);
    PUT(iso0, iso.iso[0]);
    PUT(iso1, iso.iso[1]);
    PUT(iso2, iso.iso[2]);
    PUT(iso3, iso.iso[3]);
    PUT(iso4, iso.iso[4]);
    PUT(iso5, iso.iso[5]);
    PUT(iso6, iso.iso[6]);
    PUT(iso7, iso.iso[7]);
    if (j->opt->network)
        PUT(class_star, stellarity_network(j->opt->network, iso.iso, (double)o->peak, (double)o->threshold, j->opt->seeing, j->opt->pixel_scale));
    return (float)iso.fwhm;
}

/* ---- apertures -------------------------------------------------------------------------------------------------- */

/* Load the stamp again when it does not hold what is needed now; a box too large for it is cut and flagged. */
static enum err need_box(const struct job *j, struct worker *w, int64_t i, double hx, double hy, uint16_t *flags, struct error *err)
{
    const struct object *o = &j->objects->o[i];
    if (!(hx <= LARGEST_HALF) || !(hy <= LARGEST_HALF)) {
        *flags |= FLAG_APERTURE;
        hx = fmin(hx, LARGEST_HALF);
        hy = fmin(hy, LARGEST_HALF);
    }
    if (w->stamp.value && stamp_covers(&w->stamp, j->view, o->x, o->y, hx, hy)) return ERR_OK;
    enum err e = stamp_load(&w->stamp, j->view, (int32_t)(i + 1), j->opt->neighbours, o->x, o->y, hx, hy, err);
    if (e) w->stamp.value = NULL;
    return e;
}

/* Before anything but the Kron moment. */
static void mirror(const struct job *j, struct worker *w, int64_t i)
{
    if (j->opt->neighbours == NEIGHBOURS_MIRROR || j->opt->neighbours == NEIGHBOURS_KEPT)
        stamp_mirror(&w->stamp, j->view, (int32_t)(i + 1), j->objects->o[i].x, j->objects->o[i].y);
}

struct automatic {
    double flux, error, kron;
};

/* An ellipse that is summed: the object's own, or the least circle PHOT_AUTOAPERS asks for. */
struct aperture {
    double cxx, cyy, cxy, k, hx, hy;
};

static struct aperture aperture_of(const struct object *o, double k, double least_diameter)
{
    struct aperture a = {(double)o->cxx, (double)o->cyy, (double)o->cxy, k, 0, 0};
    double size = sqrt((double)o->a * (double)o->b);
    if (k * size < 0.5 * least_diameter) a = (struct aperture){1.0, 1.0, 0.0, 0.5 * least_diameter, 0, 0};
    ellipse_box(a.cxx, a.cyy, a.cxy, a.k, &a.hx, &a.hy);
    return a;
}

/* The stamp that tells how large apertures are: that of the image itself, or of the one that was detected in. */
static enum err shape_stamp(const struct job *j, struct worker *w, int64_t i, const struct aperture *a, struct stamp **ret, struct error *err)
{
    *ret = &w->stamp;
    if (!j->opt->shape) return ERR_OK;
    const struct object *o = &j->objects->o[i];
    *ret = &w->shape;
    return stamp_load(&w->shape, j->opt->shape, (int32_t)(i + 1), j->opt->neighbours, o->x, o->y, fmin(a->hx, LARGEST_HALF), fmin(a->hy, LARGEST_HALF), err);
}

static enum err measure_auto(const struct job *j, struct worker *w, int64_t i, struct automatic *ret, uint16_t *flags, struct error *err)
{
    const struct object *o = &j->objects->o[i];
    struct aperture a = aperture_of(o, KRON_REACH, j->opt->auto_diameter[0]);
    enum err e = need_box(j, w, i, a.hx, a.hy, flags, err);
    struct stamp *shape;
    if (!e) e = shape_stamp(j, w, i, &a, &shape, err);
    if (e) return e;
    struct kron kr = kron_moment(shape, o->x, o->y, a.cxx, a.cyy, a.cxy, a.k);
    double crowded = bad_fraction(&w->stamp, o->x, o->y, a.cxx, a.cyy, a.cxy, a.k, kr.area);
    bool leaves = box_leaves_image(j->view, o->x, o->y, a.hx, a.hy);
    ret->kron = kr.first > 0.0 && kr.flux > 0.0 ? fmax(j->opt->kron_factor * kr.first / kr.flux, j->opt->kron_min) : j->opt->kron_min;
    a = aperture_of(o, ret->kron, j->opt->auto_diameter[1]);
    if (a.k != ret->kron) ret->kron = 0.0;
    if ((e = need_box(j, w, i, a.hx, a.hy, flags, err))) return e;
    mirror(j, w, i);
    struct sums sum = sum_ellipse(&w->stamp, j->view, o->x, o->y, a.cxx, a.cyy, a.cxy, a.k);
    crowded = fmax(crowded, bad_fraction(&w->stamp, o->x, o->y, a.cxx, a.cyy, a.cxy, a.k, sum.area));
    leaves |= box_leaves_image(j->view, o->x, o->y, a.hx, a.hy);
    if (crowded > CROWDED) *flags |= FLAG_NEIGHBOURS;
    if (leaves) *flags |= FLAG_APERTURE;
    ret->flux = sum.flux;
    ret->error = flux_error(&sum, j->view);
    PUT(flux_auto, (float)ret->flux);
    PUT(fluxerr_auto, (float)ret->error);
    PUT(mag_auto, magnitude(ret->flux, j->opt->zeropoint));
    PUT(magerr_auto, magnitude_error(ret->flux, ret->error));
    PUT(kron_radius, (float)ret->kron);
    return ERR_OK;
}

static enum err measure_petro(const struct job *j, struct worker *w, int64_t i, uint16_t *flags, struct error *err)
{
    const struct object *o = &j->objects->o[i];
    struct aperture a = aperture_of(o, KRON_REACH, 0.0);
    enum err e = need_box(j, w, i, a.hx, a.hy, flags, err);
    struct stamp *shape;
    if (!e) e = shape_stamp(j, w, i, &a, &shape, err);
    if (e) return e;
    double petro = j->opt->petro_factor * petrosian_radius(shape, o->x, o->y, a.cxx, a.cyy, a.cxy);
    petro = fmax(petro, j->opt->petro_min);
    bool leaves = box_leaves_image(j->view, o->x, o->y, a.hx, a.hy);
    a = aperture_of(o, petro, 0.0);
    if ((e = need_box(j, w, i, a.hx, a.hy, flags, err))) return e;
    mirror(j, w, i);
    struct sums sum = sum_ellipse(&w->stamp, j->view, o->x, o->y, a.cxx, a.cyy, a.cxy, a.k);
    if (bad_fraction(&w->stamp, o->x, o->y, a.cxx, a.cyy, a.cxy, a.k, sum.area) > CROWDED) *flags |= FLAG_NEIGHBOURS;
    if (leaves || box_leaves_image(j->view, o->x, o->y, a.hx, a.hy)) *flags |= FLAG_APERTURE;
    double error = flux_error(&sum, j->view);
    PUT(flux_petro, (float)sum.flux);
    PUT(fluxerr_petro, (float)error);
    PUT(mag_petro, magnitude(sum.flux, j->opt->zeropoint));
    PUT(magerr_petro, magnitude_error(sum.flux, error));
    PUT(petro_radius, (float)petro);
    return ERR_OK;
}

static enum err measure_apertures(const struct job *j, struct worker *w, int64_t i, uint16_t *flags, struct error *err)
{
    const struct object *o = &j->objects->o[i];
    for (int k = 0; k < j->d->naper; k++) {
        double r = 0.5 * j->opt->diameter[k];
        enum err e = need_box(j, w, i, r + 1.0, r + 1.0, flags, err);
        if (e) return e;
        mirror(j, w, i);
        struct sums sum = sum_circle(&w->stamp, j->view, o->x, o->y, r);
        double error = flux_error(&sum, j->view);
        int64_t at = i * j->d->naper + k;
        if (j->opt->want[DET_flux_aper]) j->d->flux_aper[at] = (float)sum.flux;
        if (j->opt->want[DET_fluxerr_aper]) j->d->fluxerr_aper[at] = (float)error;
        if (j->opt->want[DET_mag_aper]) j->d->mag_aper[at] = magnitude(sum.flux, j->opt->zeropoint);
        if (j->opt->want[DET_magerr_aper]) j->d->magerr_aper[at] = magnitude_error(sum.flux, error);
        if (box_leaves_image(j->view, o->x, o->y, r, r)) *flags |= FLAG_APERTURE;
    }
    return ERR_OK;
}

/* Radius that holds a fraction of the Kron flux. */
static enum err radius_of(const struct job *j, struct worker *w, int64_t i, double flux, double fraction, double *ret, uint16_t *flags, struct error *err)
{
    const struct object *o = &j->objects->o[i];
    /* where to begin the search: what half-light radii usually are, grown as in a Gaussian for other fractions */
    double share = o->flux > 0.0 ? fmin(fmax(flux / o->flux, 0.0), 3.0) : 1.0;
    double guess = (1.17 * share - 0.05) * sqrt((double)o->a * (double)o->b) * sqrt(-log2(1.0 - fmin(fraction, 0.98)));
    double reach = KRON_REACH * (double)o->a;
    enum err e = need_box(j, w, i, reach + 1.0, reach + 1.0, flags, err);
    if (e) return e;
    mirror(j, w, i);
    *ret = flux_radius(&w->stamp, j->view, o->x, o->y, fraction * flux, reach, guess);
    /* Source Extractor's growth curve wants one pixel more on the far sides */
    if (box_leaves_image(j->view, o->x, o->y, reach, reach) || box_leaves_image(j->view, o->x + 1.0, o->y, reach, 0.0) ||
        box_leaves_image(j->view, o->x, o->y + 1.0, 0.0, reach))
        *flags |= FLAG_APERTURE;
    return ERR_OK;
}

static enum err measure_radii(const struct job *j, struct worker *w, int64_t i, double flux, double *ret_r50, uint16_t *flags, struct error *err)
{
    bool have = false;
    for (int k = 0; j->opt->want[DET_flux_radius] && k < j->d->nfrac; k++) {
        double r;
        enum err e = radius_of(j, w, i, flux, j->opt->fraction[k], &r, flags, err);
        if (e) return e;
        j->d->flux_radius[i * j->d->nfrac + k] = (float)r;
        if (fabs(j->opt->fraction[k] - 0.5) < 1e-9) *ret_r50 = r, have = true;
    }
    return have ? ERR_OK : radius_of(j, w, i, flux, 0.5, ret_r50, flags, err);
}

/* Isophotal moments and errors stand in for windowed ones that mean nothing. */
static void window_gives_up(const struct job *j, const struct object *o, struct windowed *win)
{
    struct isophote iso;
    shape_isophote(j->view, o, j->objects->pixels + o->first, &iso);
    win->x2 = o->x2;
    win->y2 = o->y2;
    win->xy = o->xy;
    win->errx2 = iso.errx2;
    win->erry2 = iso.erry2;
    win->errxy = iso.errxy;
}

static enum err measure_window(const struct job *j, struct worker *w, int64_t i, double r50, uint16_t *flags, struct error *err)
{
    const struct object *o = &j->objects->o[i];
    double reach = window_reach(r50);
    struct windowed win;
    enum err e = need_box(j, w, i, reach, reach, flags, err);
    if (e) return e;
    shape_window(&w->stamp, j->view, (int32_t)(i + 1), o->x, o->y, r50, &win);
    if (win.flags) window_gives_up(j, o, &win);
    struct ellipse_shape s = shape_ellipse(win.errx2, win.erry2, win.errxy, 0.0), m = shape_ellipse(win.x2, win.y2, win.xy, 0.0);
    PUT(xwin, win.x + 1.0);
    PUT(ywin, win.y + 1.0);
    PUT(errawin, (float)s.a);
    PUT(errbwin, (float)s.b);
    PUT(errthetawin, degrees(s.theta_rad));
    PUT(snr_win, win.fluxerr > 0.0 ? (float)(win.flux / win.fluxerr) : 0.0f);
    PUT(flux_win, (float)win.flux);
    PUT(fluxerr_win, (float)win.fluxerr);
    PUT(mag_win, magnitude(win.flux, j->opt->zeropoint));
    PUT(magerr_win, magnitude_error(win.flux, win.fluxerr));
    PUT(errx2win, win.errx2);
    PUT(erry2win, win.erry2);
    PUT(errxywin, win.errxy);
    PUT(x2win, win.x2);
    PUT(y2win, win.y2);
    PUT(xywin, win.xy);
    PUT(awin, (float)m.a);
    PUT(bwin, (float)m.b);
    PUT(thetawin, degrees(m.theta_rad));
    PUT(niter_win, (int16_t)win.niter);
    PUT(flags_win, (int16_t)win.flags);
    return ERR_OK;
}

static void put_vignet(const struct job *j, int64_t i)
{
    const struct object *o = &j->objects->o[i];
    const struct image_view *v = j->view;
    float *out = j->d->vignet + i * j->d->vig_nx * j->d->vig_ny;
    int64_t x0 = (int64_t)floor(o->x + 0.49999) - j->d->vig_nx / 2, y0 = (int64_t)floor(o->y + 0.49999) - j->d->vig_ny / 2;
    for (int64_t y = y0; y < y0 + j->d->vig_ny; y++)
        for (int64_t x = x0; x < x0 + j->d->vig_nx; x++) {
            bool inside = x >= 0 && x < v->nx && y >= 0 && y < v->ny;
            int64_t at = y * v->nx + x;
            bool good = inside && isfinite(v->value[at]) && (!v->mask || mask_is_measurable(v->mask[at]));
            if (good && j->opt->neighbours != NEIGHBOURS_KEPT && v->segment) good = !v->segment[at] || v->segment[at] == (int32_t)(i + 1);
            *out++ = good ? v->value[at] : NO_PIXEL;
        }
}

/* ---- one object, all objects ------------------------------------------------------------------------------------ */

static enum err measure_one(const struct job *j, struct worker *w, int64_t i, struct error *err)
{
    const struct object *o = &j->objects->o[i];
    const struct needs *n = &j->needs;
    uint16_t flags = o->flags;
    struct automatic automatic = {0};
    double r50 = 0.0;
    enum err e = ERR_OK;
    if (n->stamp && i + 1 < j->objects->n) stamp_prefetch(j->view, o[1].x, o[1].y, KRON_REACH * (double)o[1].a);
    put_basics(j, i);
    float fwhm = n->isophote ? put_isophote(j, i) : 0.0f;
    if (n->background && j->background) j->d->background[i] = background_at(j->background, o->x, o->y, w->scratch);
    w->stamp.value = NULL;
    if (n->automatic) e = measure_auto(j, w, i, &automatic, &flags, err);
    if (!e && n->petro) e = measure_petro(j, w, i, &flags, err);
    if (!e && n->apertures) e = measure_apertures(j, w, i, &flags, err);
    if (!e && n->radius) e = measure_radii(j, w, i, automatic.flux, &r50, &flags, err);
    if (!e && n->window) e = measure_window(j, w, i, r50, &flags, err);
    if (!e && n->vignet) put_vignet(j, i);
    if (j->samples)
        j->samples[i] = (struct star_sample){.r50 = (float)r50, .snr = automatic.error > 0.0 ? (float)(automatic.flux / automatic.error) : 0.0f,
                                             .flags = (int16_t)flags, .fwhm = fwhm, .ellipticity = o->a > 0.0f ? 1.0f - o->b / o->a : 0.0f};
    PUT(flags, (int16_t)flags);
    return e;
}

/* The columns of the sky and of the PSF are the caller's. */
static void mark_filled(const struct job *j)
{
    memcpy(j->d->has, j->opt->want, sizeof j->d->has);
    static const enum detection_column not_here[] = {
        DET_ra, DET_dec, DET_rawin, DET_decwin, DET_x_world, DET_y_world, DET_xwin_world, DET_ywin_world, DET_a_world, DET_b_world,
        DET_theta_j2000, DET_flux_psf, DET_fluxerr_psf, DET_mag_psf, DET_magerr_psf, DET_xpsf, DET_ypsf, DET_errapsf, DET_errbpsf, DET_errthetapsf,
        DET_rapsf, DET_decpsf, DET_chi2_psf, DET_niter_psf, DET_flags_psf, DET_spread_model, DET_spreaderr_model};
    for (size_t k = 0; k < sizeof not_here / sizeof not_here[0]; k++) j->d->has[not_here[k]] = 0;
}

/* Objects are independent: each writes its own row, so the order in which threads take them does not matter. */
static enum err measure_all(const struct job *j, struct error *err)
{
    int64_t n = j->objects->n, failed = n;
    enum err status = ERR_OK;
    struct error first = ERROR_INIT;
#pragma omp parallel default(none) shared(j, n, failed, status, first)
    {
        struct worker w = {.scratch = j->background ? mem_array((size_t)background_scratch(j->background), sizeof(double)) : NULL};
        bool ready = !j->background || w.scratch;
        stamp_init(&w.stamp);
        stamp_init(&w.shape);
#pragma omp for schedule(dynamic, 32)
        for (int64_t i = 0; i < n; i++) {
            struct error mine = ERROR_INIT;
            enum err e = ready ? measure_one(j, &w, i, &mine) : ERROR(&mine, ERR_NOMEM, "no memory to measure object %lld", (long long)i + 1);
            if (e) {
#pragma omp critical(measure_status)
                if (i < failed) {
                    failed = i;
                    status = e;
                    first = mine;
                }
            }
        }
        stamp_release(&w.stamp);
        stamp_release(&w.shape);
        free(w.scratch);
    }
    if (status && err) *err = first;
    return status;
}

enum err measure_objects(const struct image_view *view, const struct objects *objects, const struct background *background,
                         const struct measure_options *opt, struct detections *ret, struct stellar_locus *ret_locus,
                         struct error *err)
{
    struct stellar_locus locus = {0};
    struct job j = {view, objects, background, opt, needs_of(opt, ret_locus != NULL), ret, NULL};
    enum err e = measure_options_verify(opt, err);
    if (e) return e;
    if (objects->n > INT32_MAX - 1) return ERROR(err, ERR_UNSUPPORTED, "%lld objects are more than a catalogue numbers", (long long)objects->n);
    e = detections_alloc(ret, objects->n, opt->naper, opt->nfrac, j.needs.vignet ? opt->vig_nx : 0, j.needs.vignet ? opt->vig_ny : 0, err);
    if (e) return e;
    if (j.needs.locus) {
        j.samples = mem_zarray((size_t)(objects->n ? objects->n : 1), sizeof *j.samples);
        if (!j.samples) e = ERROR(err, ERR_NOMEM, "no memory for the stellar locus");
    }
    if (!e) e = measure_all(&j, err);
    if (!e && j.samples) e = stellar_locus_find(j.samples, objects->n, &locus, err);
    for (int64_t i = 0; !e && j.samples && opt->want[DET_class_star] && !opt->network && i < objects->n; i++)
        ret->class_star[i] = stellarity_locus(&locus, &j.samples[i]);
    free(j.samples);
    if (e) {
        detections_release(ret);
        return e;
    }
    mark_filled(&j);
    if (ret_locus) *ret_locus = locus;
    return ERR_OK;
}
