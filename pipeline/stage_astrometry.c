/* Sky coordinates of one exposure, fitted to the reference stars of the command.
 *
 *     good     the header's coordinates are replaced by the fitted ones
 *     doubt    the same, and the frame's verdict says so
 *     failed   there are no coordinates any more: false ones are worse than none. Only what a camera calls solved stays where
 *              the file has no reference stars to prove it wrong
 *
 * Needs measured positions; the sky columns are made after it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/atomicfile.h"
#include "common/log.h"
#include "common/obstime.h"
#include "common/products.h"
#include "pipeline/blindsolve.h"
#include "pipeline/residualmap.h"
#include "pipeline/stages.h"
#include "pipeline/wcsmove.h"

#define STAR_SNR      10.0
#define SATURATED_ERR 1.0 /* pixel */

struct wcs_options wcs_options_of(const struct settings *s)
{
    struct wcs_options o = WCS_OPTIONS_DEFAULT;
    o.radius_deg = settings_double(s, SET_ASTROMETRY_RADIUS);
    o.scale_tolerance = settings_double(s, SET_ASTROMETRY_SCALE) / 100;
    o.order_max = (int)settings_int(s, SET_ASTROMETRY_ORDER);
    o.pairs_min = (int)settings_int(s, SET_ASTROMETRY_STARS);
    return o;
}

/* The best position there is: of the fitted PSF, else windowed, else the barycentre. */
static void best_position(const struct detections *d, int64_t i, struct wcs_star *s)
{
    double a = NAN, b = NAN;
    s->x = d->x[i] - 1, s->y = d->y[i] - 1;
    if (d->has[DET_xpsf] && d->has[DET_errapsf] && !(d->has[DET_flags_psf] && d->flags_psf[i]) && d->errapsf[i] > 0) {
        s->x = d->xpsf[i] - 1, s->y = d->ypsf[i] - 1;
        a = (double)d->errapsf[i], b = (double)d->errbpsf[i];
    } else if (d->has[DET_xwin] && isfinite(d->xwin[i])) {
        s->x = d->xwin[i] - 1, s->y = d->ywin[i] - 1;
        if (d->has[DET_errawin]) a = (double)d->errawin[i], b = (double)d->errbwin[i];
    }
    s->err = sqrt((a * a + b * b) / 2);
}

static double flux_of(const struct detections *d, int64_t i, double *ret_err)
{
    bool psf = d->has[DET_flux_psf] && d->has[DET_fluxerr_psf] && d->flux_psf[i] > 0;
    *ret_err = psf ? (double)d->fluxerr_psf[i] : d->has[DET_fluxerr_auto] ? (double)d->fluxerr_auto[i] : NAN;
    return psf ? (double)d->flux_psf[i] : d->has[DET_flux_auto] ? (double)d->flux_auto[i] : NAN;
}

/* Whole, well measured objects. */
static int choose_stars(const struct detections *d, struct wcs_star *ret)
{
    int n = 0;
    for (int64_t i = 0; i < d->n; i++) {
        struct wcs_star s = {.tag = i};
        double err;
        s.flux = flux_of(d, i, &err);
        bool saturated = d->has[DET_flags] && d->flags[i] & FLAG_SATURATED;
        if (d->has[DET_flags] && d->flags[i] & ~(FLAG_NEIGHBOURS | FLAG_DEBLENDED | FLAG_SATURATED)) continue;
        if (!(s.flux > 0) || !(s.flux > STAR_SNR * err)) continue;
        best_position(d, i, &s);
        if (saturated) s.err = isfinite(s.err) ? fmax(s.err, SATURATED_ERR) : SATURATED_ERR; /* they help to find the place: the brightest references are such */
        ret[n++] = s;
    }
    return n;
}

static enum err cards(const struct exposure *e, struct header *h, struct error *err)
{
    const struct wcs_solution *s = &e->astrometry;
    bool solved = s->status == WCS_SOLVED || s->status == WCS_DOUBT;
    char refs[300];
    snprintf(refs, sizeof refs, "%s %.12s", e->plan->refs->name, e->plan->refs->sum); /* part of the identity of what is ingested */
    enum err code = header_set_str(h, KEY_REFERENCE, refs, "reference stars");
    if (!code) code = header_set_str(h, KEY_REFERENCE_SUM, e->plan->refs->sum, "their SHA-256");
    if (!code) code = header_set_str(h, KEY_ASTROM_STATUS, s->status == WCS_SOLVED ? "good" : solved ? "doubt" : "failed", "fit of the sky coordinates");
    if (!code && s->reason[0]) code = header_set_str(h, KEY_ASTROM_WHY, s->reason, NULL);
    if (code || !solved) return code ? ERROR(err, ERR_NOMEM, "no memory for cards") : ERR_OK;
    double rms = sqrt((s->fit.rms_px[0] * s->fit.rms_px[0] + s->fit.rms_px[1] * s->fit.rms_px[1]) / 2);
    code = header_set_double(h, KEY_ASTROM_RMS, rms * s->scale_arcsec, "[arcsec] rms per axis against its stars");
    if (!code) code = header_set_int(h, KEY_ASTROM_STARS, s->fit.used, "reference stars it was fitted to");
    if (!code) code = header_set_int(h, "ASTRNIN", s->references, "reference stars in the frame");
    if (!code) code = header_set_int(h, "ASTRORD", s->fit.order, s->fit.on_base ? "order fitted on the header's distortion" : "order of the distortion");
    if (!code) code = header_set_double(h, "ASTRPRED", s->fit.press_px, "[pixel] error at a star left out");
    if (!code) code = header_set_double(h, "ASTRGRID", s->fit.grid_mean_px, "[pixel] error of the fit over the frame");
    if (!code) code = header_set_double(h, "ASTRODDS", floor(fmin(s->log10_odds, 9999)), "log10 of the odds against chance");
    if (!code && isfinite(s->offset_arcsec)) code = header_set_double(h, "ASTROFF", s->offset_arcsec, "[arcsec] the header pointed beside by this");
    return code ? ERROR(err, ERR_NOMEM, "no memory for cards") : ERR_OK;
}

/* The fitted coordinates in place of the header's; none where there is no solution. */
static enum err replace_coordinates(struct exposure *e, struct error *err)
{
    const struct wcs_solution *s = &e->astrometry;
    struct header *h = &e->frame.header;
    bool unproved = s->status == WCS_FAILED && e->meta.wcs == WCS_GOOD && !s->asked;
    if (unproved) return ERR_OK;
    skycoord_free(e->sky);
    e->sky = NULL;
    if (s->status == WCS_FAILED) {
        wcs_strip(h);
        return ERR_OK;
    }
    enum err code = wcs_write_sip(&s->fit.sip, h, err);
    if (!code) code = skycoord_new(h, &e->sky, err);
    if (!code) {
        e->scene.pixel_scale = s->scale_arcsec;
        e->scene.scale_known = true;
    }
    return code;
}

/* Residuals star by star and as a picture, when asked for: quality/NIGHT/INSTRUMENT/NAME_astrometry.fits, .png. */
static enum err write_residuals(const struct exposure *e, struct error *err)
{
    const struct wcs_solution *s = &e->astrometry;
    int64_t n = s->nresidual;
    char name[512], path[1024];
    if (!n || !settings_bool(e->plan->settings, SET_ASTROMETRY_RESIDUALS)) return ERR_OK;
    double *v = calloc((size_t)n * 9, sizeof *v);
    if (!v) return ERROR(err, ERR_NOMEM, "no memory for residuals");
    for (int64_t i = 0; i < n; i++) {
        const struct wcs_residual *r = &s->residual[i];
        const double row[9] = {r->x + 1, r->y + 1, r->dx, r->dy, r->ra, r->dec, r->mag, (double)r->star + 1, r->kept};
        for (int k = 0; k < 9; k++) v[k * n + i] = row[k];
    }
    static const char *const names[9] = {"X_IMAGE", "Y_IMAGE", "DX", "DY", "RA_REF", "DEC_REF", "MAG_REF", "NUMBER", "USED"};
    static const char *const units[9] = {"pixel", "pixel", "pixel", "pixel", "deg", "deg", "mag", NULL, NULL};
    struct column c[9];
    for (int k = 0; k < 9; k++) c[k] = (struct column){.name = names[k], .unit = units[k], .type = COLUMN_F64, .repeat = 1, .data = v + k * n};
    struct table_hdu t = {.extname = "RESIDUALS", .nrow = n, .ncol = 9, .columns = c};
    exposure_product(name, sizeof name, &e->meta, e->raw_path, "astrometry.fits");
    snprintf(path, sizeof path, "%s/quality/%s", e->out, name);
    char folder[1024];
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = 0;
    enum err code = make_folders(folder, err);
    if (!code) code = frameio_write_tables(path, NULL, &t, 1, err);
    free(v);
    exposure_product(name, sizeof name, &e->meta, e->raw_path, "astrometry.png");
    snprintf(path, sizeof path, "%s/quality/%s", e->out, name);
    return code ? code : residualmap_write(path, s->residual, n, e->frame.nx, e->frame.ny, err);
}

/* The header says neither where nor how large a pixel is. */
static bool knows_nothing(const struct wcs_guess *g)
{
    return !g->header && !(isfinite(g->ra) && isfinite(g->dec) && g->scale_arcsec > 0);
}

/* A helper's guess in place of the header; the reference stars then judge it like any other. Where it finds nothing, or is not
 * there, the frame stays unsolved and the log says why. */
static enum err solve_blindly(struct exposure *e, const struct wcs_star *stars, int n, struct wcs_guess *guess, struct error *err)
{
    const struct settings *s = e->plan->settings;
    struct blind_options o = {.program = settings_string(s, SET_ASTROMETRY_BLIND), .index = settings_string(s, SET_ASTROMETRY_INDEX),
                              .seconds = (int)settings_int(s, SET_ASTROMETRY_BLIND_SECONDS)};
    struct error why = ERROR_INIT;
    struct header found;
    struct skycoord *sky = NULL;
    char folder[1024];
    if (!o.program[0] || n < e->plan->astrometry.pairs_min) return ERR_OK;
    header_init(&found);
    snprintf(folder, sizeof folder, "%s/.attempts", e->out);
    enum err code = blind_solve(stars, n, guess, &o, folder, &found, &why);
    if (!code) code = skycoord_new(&found, &sky, &why);
    if (!code) {
        wcs_solution_release(&e->astrometry);
        guess->header = sky;
        code = wcs_solve(stars, n, &e->plan->refs->stars, guess, &e->plan->astrometry, &e->astrometry, err);
    } else {
        log_event(LOG_WARN, "no blind solution", LOG_STR("exposure", e->raw_path), LOG_STR("why", why.message));
        snprintf(e->astrometry.reason, sizeof e->astrometry.reason, "%.150s", why.message);
        code = code == ERR_NOMEM ? ERROR(err, code, "%s", why.message) : ERR_OK;
    }
    skycoord_free(sky);
    header_release(&found);
    return code;
}

enum err stage_astrometry(struct exposure *e, struct error *err)
{
    const struct reference_file *refs = e->plan->refs;
    if (!refs) return ERR_OK;
    struct wcs_star *stars = malloc((size_t)(e->detections.n + 1) * sizeof *stars);
    if (!stars) return ERROR(err, ERR_NOMEM, "no memory for %lld stars", (long long)e->detections.n);
    struct wcs_guess guess = {.header = e->sky, .ra = e->meta.ra_deg, .dec = e->meta.dec_deg, .scale_arcsec = e->meta.pixel_scale_arcsec,
                              .nx = e->frame.nx, .ny = e->frame.ny, .year = julian_year(e->meta.mjd_mid)};
    int n = choose_stars(&e->detections, stars);
    enum err code = wcs_solve(stars, n, &refs->stars, &guess, &e->plan->astrometry, &e->astrometry, err);
    if (!code && knows_nothing(&guess)) code = solve_blindly(e, stars, n, &guess, err);
    free(stars);
    if (!code) code = replace_coordinates(e, err);
    if (!code) code = cards(e, &e->frame.header, err);
    if (!code) code = write_residuals(e, err);
    if (code) return code;
    const struct wcs_solution *s = &e->astrometry;
    log_event(s->status == WCS_SOLVED ? LOG_DEBUG : LOG_WARN, "astrometry", LOG_STR("exposure", e->raw_path), LOG_STR("status", wcs_status_name(s->status)),
              LOG_STR("reason", s->reason), LOG_INT("stars", s->fit.used), LOG_DOUBLE("rms_px", s->fit.rms_px[0]), LOG_INT("order", s->fit.order));
    return ERR_OK;
}
