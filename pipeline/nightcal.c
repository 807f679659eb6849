#include "pipeline/nightcal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/products.h"
#include "common/skycoord.h"
#include "common/stats.h"
#include "common/units.h"
#include "pipeline/ldaccat.h"
#include "pipeline/skyindex.h"
#include "pipeline/wcsmove.h"
#include "processors/relphot.h"

enum { NEIGHBOURS_TRIED = 8, MATCH_STARS = 400 };
static const double RMS_MAX_PX = 0.5;       /* a neighbour's solution that fits worse is not taken */
static const double AGREE_PX = 2;           /* two neighbours must put the frame at the same place */
static const double SNR_MIN = 20;           /* stars that carry the zero points */
static const double RADIUS_MIN_ARCSEC = 1;
static const double NOMINAL_ZERO = 25;      /* the mean of relative zero points: a scale by convention */

/* ---- reading ------------------------------------------------------------------------------------------------------ */

static void word(const struct header *h, const char *key, char *ret, size_t size)
{
    if (!header_get_str(h, key, ret, size)) *ret = 0;
}

static double number(const struct header *h, const char *key)
{
    double v = NAN;
    header_get_double(h, key, &v);
    return v;
}

static void describe(struct nightcal_frame *f)
{
    const struct header *h = &f->image;
    struct skycoord *sky = NULL;
    char text[256];
    int64_t ccd = 0;
    word(h, KEY_INSTRUMENT, f->instrument, sizeof f->instrument);
    word(h, KEY_RAWFILE, f->raw, sizeof f->raw);
    word(h, "FILTER", f->filter, sizeof f->filter);
    word(h, "OBJECT", f->object, sizeof f->object);
    header_get_int(h, KEY_CCD, &ccd);
    f->ccd = (int)ccd;
    f->mjd = number(h, KEY_MJD_MID);
    f->exptime_s = number(h, "EXPTIME");
    f->seeing_arcsec = number(h, "NSSEEING");
    word(h, KEY_MAGZERO_KIND, text, sizeof text);
    f->zero = f->zero_err = NAN;
    if (!strcmp(text, "absolute")) {
        f->zero = number(h, KEY_MAGZERO);
        f->absolute = isfinite(f->zero);
    }
    f->has_wcs = !header_has(h, KEY_WCS_FROM) && skycoord_new(h, &sky, NULL) == ERR_OK;
    skycoord_free(sky);
}

static double position_x(const struct detections *d, int64_t i)
{
    return d->has[DET_xwin] ? d->xwin[i] : d->x[i];
}

static double position_y(const struct detections *d, int64_t i)
{
    return d->has[DET_ywin] ? d->ywin[i] : d->y[i];
}

static int by_brightness(const void *p, const void *q)
{
    const struct match_star *a = p, *b = q;
    if (a->flux != b->flux) return a->flux < b->flux ? 1 : -1;
    return (a->x > b->x) - (a->x < b->x);
}

/* The brightest unsaturated whole stars. Returned: malloc'd, *ret_n of them. */
static struct match_star *star_list(const struct detections *d, int *ret_n)
{
    struct match_star *s = malloc((size_t)(d->n + 1) * sizeof *s);
    int n = 0;
    for (int64_t i = 0; s && i < d->n; i++) {
        if (d->flags[i] & (FLAG_SATURATED | FLAG_TRUNCATED) || !(d->flux_auto[i] > 0)) continue;
        s[n++] = (struct match_star){position_x(d, i), position_y(d, i), d->flux_auto[i]};
    }
    if (s) qsort(s, (size_t)n, sizeof *s, by_brightness);
    *ret_n = n < MATCH_STARS ? n : MATCH_STARS;
    struct match_star *fit = s ? realloc(s, (size_t)(*ret_n + 1) * sizeof *fit) : NULL;
    return fit ? fit : s;
}

static bool good_star(const struct detections *d, int64_t i)
{
    return !(d->flags[i] & ~FLAG_DEBLENDED) && d->flux_auto[i] > 0 && d->fluxerr_auto[i] > 0 && d->flux_auto[i] > SNR_MIN * d->fluxerr_auto[i] &&
           (!d->has[DET_imaflags] || !(d->imaflags[i] & MASK_UNUSABLE));
}

/* The stars that may carry the zero point. */
static enum err keep_obs(struct nightcal_frame *f, const struct detections *d, struct error *err)
{
    bool sky = d->has[DET_rawin] && d->has[DET_decwin];
    f->obs = malloc((size_t)(d->n + 1) * sizeof *f->obs);
    if (!f->obs) return ERROR(err, ERR_NOMEM, "could not keep %lld stars: out of memory", (long long)d->n);
    for (int64_t i = 0; i < d->n; i++) {
        if (!good_star(d, i) || !(f->exptime_s > 0)) continue;
        double flux = d->flux_auto[i];
        f->obs[f->nobs++] = (struct nightcal_obs){position_x(d, i), position_y(d, i), sky ? d->rawin[i] : NAN, sky ? d->decwin[i] : NAN,
                                                  (float)(-2.5 * log10(flux / f->exptime_s)), (float)(MAG_PER_LN * d->fluxerr_auto[i] / flux)};
    }
    struct nightcal_obs *fit = realloc(f->obs, (size_t)(f->nobs + 1) * sizeof *fit);
    if (fit) f->obs = fit;
    return ERR_OK;
}

static enum err read_one(struct nightcal_frame *f, struct error *err)
{
    struct ldaccat cat;
    ldaccat_init(&cat);
    enum err e = ldaccat_read(f->path, &cat, err);
    if (!e) e = header_copy(&f->image, &cat.image, err);
    if (!e) {
        describe(f);
        f->bright = star_list(&cat.d, &f->nbright);
        e = f->bright ? keep_obs(f, &cat.d, err) : ERROR(err, ERR_NOMEM, "could not list stars: out of memory");
    }
    ldaccat_release(&cat);
    return e;
}

static enum err read_all(struct nightcal *c, const char *const *paths, struct error *err)
{
    c->frames = calloc((size_t)c->nframes + 1, sizeof *c->frames);
    if (!c->frames) return ERROR(err, ERR_NOMEM, "could not hold %d catalogues: out of memory", c->nframes);
    struct nightcal_frame *frames = c->frames;
    int n = c->nframes;
    /* Each catalogue is one thread's own. */
#pragma omp parallel for schedule(dynamic, 1) default(none) shared(frames, paths, n)
    for (int i = 0; i < n; i++) {
        struct nightcal_frame *f = &frames[i];
        f->path = paths[i];
        f->zero = f->zero_err = f->wcs_rms_px = f->wcs_rms_arcsec = NAN;
        header_init(&f->image);
        f->code = read_one(f, &f->err);
    }
    return ERR_OK;
}

/* ---- coordinates from a neighbour --------------------------------------------------------------------------------- */

static int64_t image_side(const struct header *h, const char *key)
{
    int64_t v = 0;
    header_get_int(h, key, &v);
    return v;
}

static bool could_help(const struct nightcal_frame *f, const struct nightcal_frame *g)
{
    return f != g && !g->code && g->has_wcs && !strcmp(f->instrument, g->instrument) && f->ccd == g->ccd &&
           image_side(&f->image, "NAXIS1") == image_side(&g->image, "NAXIS1") &&
           image_side(&f->image, "NAXIS2") == image_side(&g->image, "NAXIS2");
}

/* The k frames that could help and are nearest in time, the nearest first (ties: the order of the command). */
static int neighbours(const struct nightcal *c, const struct nightcal_frame *f, const struct nightcal_frame **ret)
{
    int n = 0;
    for (int i = 0; i < c->nframes; i++) {
        const struct nightcal_frame *g = &c->frames[i];
        if (!could_help(f, g)) continue;
        int at = n;
        while (at > 0 && fabs(g->mjd - f->mjd) < fabs(ret[at - 1]->mjd - f->mjd)) at--;
        if (at >= NEIGHBOURS_TRIED) continue;
        if (n < NEIGHBOURS_TRIED) n++;
        memmove(ret + at + 1, ret + at, (size_t)(n - 1 - at) * sizeof *ret);
        ret[at] = g;
    }
    return n;
}

/* One neighbour's coordinates tried on the frame. Returned: header cards in `to`, the match in r. */
static enum err try_neighbour(const struct nightcal_frame *f, const struct nightcal_frame *g, struct match_result *r, struct header *to, struct error *err)
{
    struct match_options opt = MATCH_OPTIONS_DEFAULT;
    opt.max_shift_px = 0.5 * (double)(image_side(&f->image, "NAXIS1") > 0 ? image_side(&f->image, "NAXIS1") : 1024);
    enum err e = match_stars(g->bright, g->nbright, f->bright, f->nbright, &opt, r, err);
    if (!e && r->rms_px >= RMS_MAX_PX)
        e = ERROR(err, ERR_NOT_FOUND, "the stars of '%s' fit only to %.2f px rms (limit %.1f)", g->raw, r->rms_px, RMS_MAX_PX);
    if (!e) e = header_copy(to, &f->image, err);
    if (!e) e = wcs_move(&g->image, r->m, r->t, to, err);
    return e;
}

/* Distance in pixels between what two solutions say of the middle of the frame. */
static double disagreement_px(const struct header *a, const struct header *b)
{
    struct skycoord *s = NULL, *t = NULL;
    double x = 0.5 * (double)image_side(a, "NAXIS1"), y = 0.5 * (double)image_side(a, "NAXIS2"), ra[2], dec[2], d = INFINITY;
    if (!skycoord_new(a, &s, NULL) && !skycoord_new(b, &t, NULL) && !skycoord_to_sky(s, 1, &x, &y, &ra[0], &dec[0], NULL) &&
        !skycoord_to_sky(t, 1, &x, &y, &ra[1], &dec[1], NULL))
        d = sky_distance_deg(ra[0], dec[0], ra[1], dec[1]) * ARCSEC_PER_DEG / skycoord_scale_arcsec(s, x, y);
    skycoord_free(s);
    skycoord_free(t);
    return d;
}

/* Sky positions of the good stars, and the scale that turns the residual into arcseconds. */
static enum err place_obs(struct nightcal_frame *f, struct error *err)
{
    struct skycoord *sky = NULL;
    enum err e = skycoord_new(&f->image, &sky, err);
    for (int64_t i = 0; i < f->nobs && !e; i++) {
        double x = f->obs[i].x - 1, y = f->obs[i].y - 1;
        e = skycoord_to_sky(sky, 1, &x, &y, &f->obs[i].ra, &f->obs[i].dec, err);
    }
    if (!e)
        f->wcs_rms_arcsec = f->wcs_rms_px * skycoord_scale_arcsec(sky, 0.5 * (double)image_side(&f->image, "NAXIS1"), 0.5 * (double)image_side(&f->image, "NAXIS2"));
    skycoord_free(sky);
    return e;
}

static enum err take_solution(struct nightcal_frame *f, const struct nightcal_frame *g, const struct match_result *r, struct header *solved, struct error *err)
{
    f->solved = true;
    f->wcs_pairs = r->pairs;
    f->wcs_rms_px = r->rms_px;
    snprintf(f->wcs_from, sizeof f->wcs_from, "%s", g->raw);
    enum err e = header_set_str(solved, KEY_WCS_FROM, g->raw, "coordinates carried over from this frame");
    if (!e) e = header_copy(&f->image, solved, err);
    if (!e) e = place_obs(f, err);
    if (!e) e = header_set_double(&f->image, KEY_ASTROM_RMS, f->wcs_rms_arcsec, "[arcsec] rms of the stars in common");
    f->changed = true;
    return e;
}

static enum err hold(struct nightcal_frame *f, const char *why)
{
    f->code = ERROR(&f->err, ERR_HELD, "no sky coordinates, and no neighbour gives them: %s", why);
    error_subject(&f->err, f->path, 0);
    error_hint(&f->err, "solve the raw frame's coordinates, or add frames of the same field");
    return ERR_OK;
}

/* The nearest neighbour that fits, confirmed by a second one where there is one. */
static enum err solve_frame(const struct nightcal *c, struct nightcal_frame *f, struct error *err)
{
    const struct nightcal_frame *near[NEIGHBOURS_TRIED + 1];
    struct error why = ERROR_INIT;
    struct header first, second;
    struct match_result r, r2;
    int n = neighbours(c, f, near), i = 0;
    if (!n) return hold(f, "no frame of this detector with coordinates is among the catalogues");
    header_init(&first);
    header_init(&second);
    enum err e = ERR_NOT_FOUND;
    for (; i < n; i++)
        if ((e = try_neighbour(f, near[i], &r, &first, &why)) != ERR_NOT_FOUND) break;
    if (e == ERR_NOT_FOUND || e == ERR_UNSUPPORTED) {
        e = hold(f, why.message);
    } else if (e) {
        if (err) *err = why;
    } else {
        const struct nightcal_frame *g = near[i];
        double apart = 0;
        for (int k = i + 1; k < n; k++)
            if (!try_neighbour(f, near[k], &r2, &second, &why)) {
                apart = disagreement_px(&first, &second);
                break;
            }
        if (apart > AGREE_PX) e = hold(f, "two neighbours put it at different places");
        else e = take_solution(f, g, &r, &first, err);
    }
    header_release(&first);
    header_release(&second);
    return e;
}

/* ---- zero points -------------------------------------------------------------------------------------------------- */

static bool usable(const struct nightcal_frame *f)
{
    return !f->code && (f->has_wcs || f->solved) && f->exptime_s > 0;
}

static double match_radius_deg(const struct nightcal *c)
{
    double seeing = 0;
    for (int i = 0; i < c->nframes; i++)
        if (usable(&c->frames[i]) && c->frames[i].seeing_arcsec > seeing) seeing = c->frames[i].seeing_arcsec;
    return fmax(RADIUS_MIN_ARCSEC, 0.5 * seeing) / ARCSEC_PER_DEG;
}

struct group {
    int *frame;           /* index of the group's frames */
    int n;
    struct relphot_obs *obs;
    int64_t nobs, capacity;
    struct skyindex *sky;
};

static enum err add_obs(struct group *g, struct relphot_obs o, struct error *err)
{
    if (g->nobs == g->capacity) {
        int64_t capacity = g->capacity ? 2 * g->capacity : 4096;
        struct relphot_obs *grown = realloc(g->obs, (size_t)capacity * sizeof *grown);
        if (!grown) return ERROR(err, ERR_NOMEM, "could not hold %lld measurements: out of memory", (long long)capacity);
        g->obs = grown;
        g->capacity = capacity;
    }
    g->obs[g->nobs++] = o;
    return ERR_OK;
}

static enum err collect(const struct nightcal *c, struct group *g, struct error *err)
{
    enum err e = ERR_OK;
    for (int k = 0; k < g->n && !e; k++) {
        const struct nightcal_frame *f = &c->frames[g->frame[k]];
        for (int64_t i = 0; i < f->nobs && !e; i++) {
            const struct nightcal_obs *o = &f->obs[i];
            int star;
            if (!isfinite(o->ra) || !isfinite(o->dec)) continue;
            e = skyindex_find_or_add(g->sky, o->ra, o->dec, &star, err);
            if (!e) e = add_obs(g, (struct relphot_obs){k, star, o->mag, o->err}, err);
        }
    }
    return e;
}

static enum err keep_stars(struct nightcal *c, const struct group *g, const struct relphot_result *r, const char *filter, struct error *err)
{
    int n = skyindex_count(g->sky);
    struct nightcal_star *grown = realloc(c->stars, (size_t)(c->nstars + n + 1) * sizeof *grown);
    if (!grown) return ERROR(err, ERR_NOMEM, "could not list %d stars: out of memory", n);
    c->stars = grown;
    for (int s = 0; s < n; s++) {
        struct nightcal_star *star = &c->stars[c->nstars];
        if (r->star_n[s] < 2 || !isfinite(r->star_mag[s])) continue;
        *star = (struct nightcal_star){.mag = r->star_mag[s], .rms = r->star_rms[s], .n = r->star_n[s]};
        skyindex_position(g->sky, s, &star->ra, &star->dec);
        snprintf(star->filter, sizeof star->filter, "%s", filter);
        c->nstars++;
    }
    return ERR_OK;
}

static enum err solve_group(struct nightcal *c, struct group *g, struct error *err)
{
    struct relphot_result r = {0};
    double *prior = malloc((size_t)(g->n + 1) * sizeof *prior);
    enum err e = prior ? collect(c, g, err) : ERROR(err, ERR_NOMEM, "could not solve %d zero points: out of memory", g->n);
    for (int k = 0; k < g->n && !e; k++) prior[k] = c->frames[g->frame[k]].absolute ? c->frames[g->frame[k]].zero : NOMINAL_ZERO;
    if (!e) e = relphot_solve(g->n, skyindex_count(g->sky), g->obs, g->nobs, prior, &r, err);
    for (int k = 0; k < g->n && !e; k++) {
        struct nightcal_frame *f = &c->frames[g->frame[k]];
        f->zero_stars = r.zero_n[k];
        if (f->absolute) continue;
        f->zero = r.zero_n[k] ? r.zero[k] : NAN;
        f->zero_err = r.zero_n[k] ? r.zero_err[k] : NAN;
    }
    if (!e) e = keep_stars(c, g, &r, c->frames[g->frame[0]].filter, err);
    relphot_release(&r);
    free(prior);
    return e;
}

static enum err zero_points(struct nightcal *c, struct error *err)
{
    double radius = match_radius_deg(c);
    bool *taken = calloc((size_t)c->nframes + 1, sizeof *taken);
    int *list = calloc((size_t)c->nframes + 1, sizeof *list);
    enum err e = taken && list ? ERR_OK : ERROR(err, ERR_NOMEM, "could not group %d frames: out of memory", c->nframes);
    for (int i = 0; i < c->nframes && !e; i++) {
        if (taken[i] || !usable(&c->frames[i])) continue;
        struct group g = {.frame = list, .sky = skyindex_new(radius)};
        for (int k = i; k < c->nframes; k++)
            if (!taken[k] && usable(&c->frames[k]) && !strcmp(c->frames[k].filter, c->frames[i].filter) && !strcmp(c->frames[k].instrument, c->frames[i].instrument)) {
                taken[k] = true;
                g.frame[g.n++] = k;
            }
        e = g.sky ? solve_group(c, &g, err) : ERROR(err, ERR_NOMEM, "could not group stars: out of memory");
        skyindex_free(g.sky);
        free(g.obs);
    }
    free(taken);
    free(list);
    return e;
}

/* ---- writing ------------------------------------------------------------------------------------------------------ */

static void magnitudes(const f32 *flux, f32 *mag, int64_t n, double zero)
{
    for (int64_t i = 0; i < n; i++) mag[i] = flux[i] > 0 ? (f32)(zero - 2.5 * log10((double)flux[i])) : 99.0f;
}

/* Sky columns of every detection from the header's coordinates. */
static enum err fill_sky(struct ldaccat *cat, struct error *err)
{
    struct skycoord *sky = NULL;
    struct detections *d = &cat->d;
    double *xy = malloc((size_t)(2 * d->n + 1) * sizeof *xy);
    enum err e = xy ? skycoord_new(&cat->image, &sky, err) : ERROR(err, ERR_NOMEM, "could not place %lld detections: out of memory", (long long)d->n);
    for (int windowed = 0; windowed < 2 && !e; windowed++) {
        if (!d->has[windowed ? DET_xwin : DET_x]) continue;
        for (int64_t i = 0; i < d->n; i++) {
            xy[i] = (windowed ? d->xwin[i] : d->x[i]) - 1;
            xy[d->n + i] = (windowed ? d->ywin[i] : d->y[i]) - 1;
        }
        e = skycoord_to_sky(sky, d->n, xy, xy + d->n, windowed ? d->rawin : d->ra, windowed ? d->decwin : d->dec, err);
        ldaccat_add(cat, windowed ? DET_rawin : DET_ra);
        ldaccat_add(cat, windowed ? DET_decwin : DET_dec);
    }
    skycoord_free(sky);
    free(xy);
    return e;
}

/* The zero point's cards. Nothing changes when the header holds it already. */
static enum err zero_cards(struct nightcal_frame *f, bool *ret_new, struct error *err)
{
    struct header *h = &f->image;
    double before = number(h, KEY_MAGZERO), before_err = number(h, KEY_MAGZERO_ERR);
    *ret_new = !f->absolute && isfinite(f->zero) && !(before == f->zero && before_err == f->zero_err);
    if (!*ret_new) return ERR_OK;
    enum err e = header_set_double(h, KEY_MAGZERO, f->zero, "magnitude of 1 electron/s");
    if (!e) e = header_set_double(h, KEY_MAGZERO_ERR, f->zero_err, "its error");
    if (!e) e = header_set_str(h, KEY_MAGZERO_KIND, "relative", "to the other frames of the night");
    return e ? ERROR(err, e, "could not add cards: out of memory") : ERR_OK;
}

/* The catalogue again, with its new cards, positions and magnitudes. */
static enum err rewrite(const struct nightcal_frame *f, struct error *err)
{
    struct ldaccat cat;
    ldaccat_init(&cat);
    enum err e = ldaccat_read(f->path, &cat, err);
    if (!e) e = header_copy(&cat.image, &f->image, err);
    if (!e && f->solved) e = fill_sky(&cat, err);
    if (!e && !f->absolute && isfinite(f->zero)) {
        double zero = f->zero + 2.5 * log10(f->exptime_s);
        if (cat.d.has[DET_mag_auto]) magnitudes(cat.d.flux_auto, cat.d.mag_auto, cat.d.n, zero);
        if (cat.d.has[DET_mag_aper]) magnitudes(cat.d.flux_aper, cat.d.mag_aper, cat.d.n * cat.d.naper, zero);
    }
    if (!e) e = ldaccat_write(f->path, &cat, err);
    ldaccat_release(&cat);
    return e;
}

static enum err write_changed(struct nightcal *c, struct error *err)
{
    enum err e = ERR_OK;
    for (int i = 0; i < c->nframes && !e; i++) {
        struct nightcal_frame *f = &c->frames[i];
        bool fresh = false;
        if (f->code) continue;
        e = zero_cards(f, &fresh, err);
        if (!e && (fresh || f->changed)) e = rewrite(f, err);
    }
    return e;
}

/* A frame that was solved by an earlier run keeps its file when the solution is the same again. */
static bool same_solution(const struct header *before, const struct header *after)
{
    static const char *const numbers[] = {"CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2", "CD1_1", "CD1_2", "CD2_1", "CD2_2", KEY_ASTROM_RMS};
    static const char *const words[] = {"CTYPE1", "CTYPE2", KEY_WCS_FROM};
    char a[256], b[256];
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (!(number(before, numbers[i]) == number(after, numbers[i]))) return false;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        word(before, words[i], a, sizeof a);
        word(after, words[i], b, sizeof b);
        if (strcmp(a, b)) return false;
    }
    return true;
}

static enum err solve_all(struct nightcal *c, struct error *err)
{
    enum err e = ERR_OK;
    for (int i = 0; i < c->nframes && !e; i++) {
        struct nightcal_frame *f = &c->frames[i];
        struct header before;
        if (f->code || f->has_wcs) continue;
        header_init(&before);
        e = header_copy(&before, &f->image, err);
        if (!e) e = solve_frame(c, f, err);
        if (!e && f->solved && same_solution(&before, &f->image)) {
            f->changed = false;
            e = header_copy(&f->image, &before, err);
        }
        header_release(&before);
    }
    return e;
}

enum err nightcal_run(const char *const *paths, int n, struct nightcal *ret, struct error *err)
{
    struct nightcal c = {.nframes = n};
    enum err e = read_all(&c, paths, err);
    if (!e) e = solve_all(&c, err);
    if (!e) e = zero_points(&c, err);
    if (!e) e = write_changed(&c, err);
    if (e) nightcal_release(&c);
    else *ret = c;
    return e;
}

void nightcal_release(struct nightcal *c)
{
    for (int i = 0; c->frames && i < c->nframes; i++) {
        header_release(&c->frames[i].image);
        free(c->frames[i].bright);
        free(c->frames[i].obs);
    }
    free(c->frames);
    free(c->stars);
    *c = (struct nightcal){0};
}

static int by_mag(const void *p, const void *q)
{
    const struct nightcal_star *a = p, *b = q;
    return (a->mag > b->mag) - (a->mag < b->mag);
}

double nightcal_scatter(const struct nightcal *c, double share, int min_n)
{
    struct nightcal_star *list = malloc((size_t)(c->nstars + 1) * sizeof *list);
    double *rms = malloc((size_t)(c->nstars + 1) * sizeof *rms), result = NAN;
    int64_t n = 0;
    for (int64_t i = 0; list && rms && i < c->nstars; i++)
        if (c->stars[i].n >= min_n) list[n++] = c->stars[i];
    if (n) {
        qsort(list, (size_t)n, sizeof *list, by_mag);
        int64_t keep = (int64_t)ceil(share * (double)n);
        for (int64_t i = 0; i < keep; i++) rms[i] = list[i].rms;
        result = median_f64(rms, keep);
    }
    free(list);
    free(rms);
    return result;
}
