/* Zero point of one exposure from the reference stars its astrometry found.
 *
 * zeropoint.bands says which band of the reference file serves a filter: "g=phot_g_mean_mag:bp_rp" (the colour may be left out),
 * several of them with commas between; "*" is any filter. Without one for the frame's filter nothing is done, and
 * `nightcal` ties the frames of a night together instead. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/products.h"
#include "common/text.h"
#include "common/units.h"
#include "pipeline/stages.h"

struct band {
    char magnitude[64], colour[96];
};

/* The entry of a filter; false: none. */
static bool band_of(const char *bands, const char *filter, struct band *ret)
{
    char entry[256];
    for (const char *p = bands; *p;) {
        size_t n = strcspn(p, ",");
        snprintf(entry, sizeof entry, "%.*s", n < sizeof entry ? (int)n : 255, p);
        p += n + (p[n] == ',');
        char *equals = strchr(entry, '='), *colon = equals ? strchr(equals, ':') : NULL, name[64];
        if (!equals) continue;
        *equals = 0;
        if (colon) *colon = 0;
        text_trim(name, sizeof name, entry);
        if (strcmp(name, "*") && strcmp(name, filter)) continue;
        text_trim(ret->magnitude, sizeof ret->magnitude, equals + 1);
        text_trim(ret->colour, sizeof ret->colour, colon ? colon + 1 : "");
        return true;
    }
    return false;
}

struct magnitudes {
    float *reference, *colour; /* of all reference stars; colour NULL: none */
};

static double inst_flux(const struct detections *d, int64_t i, double *ret_err)
{
    if (d->has[DET_flux_psf] && d->has[DET_fluxerr_psf]) {
        *ret_err = (double)d->fluxerr_psf[i];
        return d->has[DET_flags_psf] && d->flags_psf[i] ? NAN : (double)d->flux_psf[i];
    }
    *ret_err = d->has[DET_fluxerr_auto] ? (double)d->fluxerr_auto[i] : NAN;
    return d->has[DET_flux_auto] ? (double)d->flux_auto[i] : NAN;
}

/* Stars that are alone, or nearly. Returned: their number. */
static int choose_stars(const struct exposure *e, const struct magnitudes *m, struct zeropoint_star *ret)
{
    const struct detections *d = &e->detections;
    int n = 0;
    for (int k = 0; k < e->astrometry.nresidual; k++) {
        const struct wcs_residual *r = &e->astrometry.residual[k];
        int64_t i = r->star;
        double err, flux = inst_flux(d, i, &err), mag = (double)m->reference[r->ref];
        if (!r->kept || !(flux > 20 * err) || !isfinite(mag) || (d->has[DET_flags] && d->flags[i] & ~FLAG_DEBLENDED)) continue;
        if (d->has[DET_imaflags] && d->imaflags[i] & MASK_UNUSABLE) continue;
        ret[n++] = (struct zeropoint_star){.x = 2 * r->x / (double)e->frame.nx - 1, .y = 2 * r->y / (double)e->frame.ny - 1,
                                           .inst = -2.5 * log10(flux / e->meta.exptime_s), .reference = mag, .err = MAG_PER_LN * err / flux,
                                           .colour = m->colour ? (double)m->colour[r->ref] : NAN};
    }
    return n;
}

static enum err cards(const struct zeropoint_result *z, const struct band *b, const struct exposure *e, struct header *h)
{
    enum err code = header_set_double(h, KEY_MAGZERO, z->zero, "magnitude of 1 electron/s");
    if (!code) code = header_set_double(h, KEY_MAGZERO_ERR, z->zero_err, "[mag] its error");
    if (!code) code = header_set_str(h, KEY_MAGZERO_KIND, "absolute", "in the system of MAGZBAND");
    if (!code) code = header_set_str(h, "MAGZBAND", b->magnitude, "band of the reference stars");
    if (!code) code = header_set_double(h, KEY_MAGZERO_RMS, z->rms, "[mag] scatter of its stars");
    if (!code) code = header_set_int(h, KEY_MAGZERO_STARS, z->used, "stars it comes from");
    if (!code && b->colour[0]) {
        code = header_set_str(h, "MAGZCOL", b->colour, "colour");
        if (!code) code = header_set_double(h, "MAGZCOL0", e->plan->zeropoint.pivot, "[mag] colour at which MAGZERO holds");
        if (!code) code = header_set_double(h, "MAGZCT", z->colour_term, "colour term: + MAGZCT * (MAGZCOL - MAGZCOL0)");
        if (!code) code = header_set_double(h, "MAGZCTER", z->colour_err, "its error");
    }
    static const char *const key[ZEROPOINT_SPATIAL] = {"MAGZX", "MAGZY", "MAGZXX", "MAGZXY", "MAGZYY"};
    int n = z->spatial_degree == 2 ? 5 : 2 * z->spatial_degree;
    for (int k = 0; k < n && !code; k++) code = header_set_double(h, key[k], z->spatial[k], "[mag] over the frame, x and y from -1 to 1");
    return code;
}

static void shift(float *mag, int64_t n, float by)
{
    for (int64_t i = 0; i < n; i++)
        if (mag[i] < 90.0f) mag[i] += by;
}

/* The magnitudes of the catalogue, which counted from the setting's zero point. */
static enum err shift_magnitudes(struct exposure *e, double zero)
{
    struct detections *d = &e->detections;
    double full = zero + 2.5 * log10(e->meta.exptime_s);
    float by = (float)(full - e->plan->extract.measure.zeropoint);
    const struct {
        enum detection_column column;
        float *mag;
        int64_t n;
    } all[] = {{DET_mag_auto, d->mag_auto, d->n}, {DET_mag_iso, d->mag_iso, d->n}, {DET_mag_petro, d->mag_petro, d->n}, {DET_mag_win, d->mag_win, d->n},
               {DET_mag_psf, d->mag_psf, d->n}, {DET_mag_aper, d->mag_aper, d->n * d->naper}, {DET_mu_max, d->mu_max, d->n}, {DET_mu_threshold, d->mu_threshold, d->n}};
    for (size_t k = 0; k < sizeof all / sizeof all[0]; k++)
        if (d->has[all[k].column]) shift(all[k].mag, all[k].n, by);
    return header_set_double(&e->catalogue_header, "SEXMGZPT", full, "zero point of magnitudes");
}

static enum err fit_and_write(struct exposure *e, const struct magnitudes *m, const struct band *band, struct error *err)
{
    struct zeropoint_result z;
    struct error why = ERROR_INIT;
    struct zeropoint_star *stars = malloc((size_t)(e->astrometry.nresidual + 1) * sizeof *stars);
    if (!stars) return ERROR(err, ERR_NOMEM, "no memory for stars");
    enum err code = zeropoint_fit(stars, choose_stars(e, m, stars), &e->plan->zeropoint, &z, &why);
    free(stars);
    if (code == ERR_NOT_FOUND) {
        log_event(LOG_WARN, "no zero point", LOG_STR("exposure", e->raw_path), LOG_STR("why", why.message));
        return ERR_OK;
    }
    if (!code) code = cards(&z, band, e, &e->frame.header);
    if (!code) code = cards(&z, band, e, &e->catalogue_header);
    if (!code) code = shift_magnitudes(e, z.zero);
    if (code) return ERROR(err, code, "no memory for the zero point");
    log_event(LOG_DEBUG, "zero point", LOG_STR("exposure", e->raw_path), LOG_DOUBLE("zero", z.zero), LOG_DOUBLE("err", z.zero_err), LOG_DOUBLE("rms", z.rms),
              LOG_INT("stars", z.used), LOG_DOUBLE("colour_term", z.colour_term));
    return ERR_OK;
}

enum err stage_zeropoint(struct exposure *e, struct error *err)
{
    struct band band;
    const struct reference_file *refs = e->plan->refs;
    bool placed = e->astrometry.status == WCS_SOLVED || e->astrometry.status == WCS_DOUBT;
    if (!refs || !placed || !(e->meta.exptime_s > 0) || !band_of(settings_string(e->plan->settings, SET_ZEROPOINT_BANDS), e->meta.filter, &band)) return ERR_OK;
    struct magnitudes m = {.reference = refstars_values(&refs->stars, band.magnitude)};
    if (band.colour[0]) m.colour = refstars_values(&refs->stars, band.colour);
    enum err code = ERR_OK;
    if (!m.reference || (band.colour[0] && !m.colour))
        log_event(LOG_WARN, "no zero point", LOG_STR("exposure", e->raw_path), LOG_STR("why", "the reference stars have no such band"),
                  LOG_STR("band", m.reference ? band.colour : band.magnitude));
    else code = fit_and_write(e, &m, &band, err);
    free(m.reference);
    free(m.colour);
    return code;
}
