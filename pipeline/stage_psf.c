/* The PSF steps of extract.h: model, photometry of every object, their columns. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/arena.h"
#include "common/log.h"
#include "common/units.h"
#include "pipeline/extract.h"
#include "processors/shape.h"

#define NO_MAG 99.0f

static const enum detection_column psf_columns[] = {
    DET_flux_psf, DET_fluxerr_psf, DET_mag_psf, DET_magerr_psf, DET_xpsf, DET_ypsf, DET_errapsf, DET_errbpsf, DET_errthetapsf, DET_rapsf,
    DET_decpsf, DET_chi2_psf, DET_niter_psf, DET_flags_psf, DET_spread_model, DET_spreaderr_model};
#define PSF_COLUMNS (sizeof psf_columns / sizeof psf_columns[0])

static bool wants_psf(const struct extract_options *o)
{
    for (size_t i = 0; i < PSF_COLUMNS; i++)
        if (o->measure.want[psf_columns[i]]) return true;
    return false;
}

/* Saturation as a value above the background. */
static float saturation_above(const struct extract_scene *s)
{
    return isfinite(s->saturate) ? s->saturate - s->background.global_level : INFINITY;
}

enum err extract_psf(const struct frame *f, const struct extract_options *o, struct extract_scene *scene, struct error *err)
{
    struct image_view view;
    struct psf_options opt = o->psf;
    double start = clock_seconds();
    if (scene->psf.coef) return ERR_OK;
    enum err e = extract_view(f, o, scene, &view, err);
    opt.saturate = saturation_above(scene);
    if (!e) e = psfmodel_from_objects(&view, &scene->objects, &opt, &scene->psf, err);
    scene->elapsed_ms.psf_model = 1e3 * (clock_seconds() - start);
    return e;
}

/* ---- columns -------------------------------------------------------------------------------------------------------- */

static void put_row(const struct psffit_source *s, double zeropoint, const uint8_t *want, struct detections *d, int64_t i)
{
    struct ellipse_shape err = shape_ellipse((double)s->var_x, (double)s->var_y, (double)s->cov_xy, 0);
    bool bright = s->flux > 0, placed = s->var_x > 0.0f;
    d->xpsf[i] = s->x + 1;
    d->ypsf[i] = s->y + 1;
    if (want[DET_flux_psf]) d->flux_psf[i] = (float)s->flux;
    if (want[DET_fluxerr_psf]) d->fluxerr_psf[i] = s->fluxerr;
    if (want[DET_mag_psf]) d->mag_psf[i] = bright ? (float)(zeropoint - 2.5 * log10(s->flux)) : NO_MAG;
    if (want[DET_magerr_psf]) d->magerr_psf[i] = bright ? (float)(MAG_PER_LN * (double)s->fluxerr / s->flux) : NO_MAG;
    if (want[DET_errapsf]) d->errapsf[i] = placed ? (float)err.a : 0.0f;
    if (want[DET_errbpsf]) d->errbpsf[i] = placed ? (float)err.b : 0.0f;
    if (want[DET_errthetapsf]) d->errthetapsf[i] = placed ? (float)(err.theta_rad * DEG_PER_RAD) : 0.0f;
    if (want[DET_chi2_psf]) d->chi2_psf[i] = s->chi2;
    if (want[DET_niter_psf]) d->niter_psf[i] = s->niter;
    if (want[DET_flags_psf]) d->flags_psf[i] = s->flags;
    if (want[DET_spread_model]) d->spread_model[i] = s->spread;
    if (want[DET_spreaderr_model]) d->spreaderr_model[i] = s->spreaderr;
}

static void put_columns(const struct psffit_source *s, const struct extract_options *o, struct detections *d)
{
    for (int64_t i = 0; i < d->n; i++) put_row(&s[i], o->measure.zeropoint, o->measure.want, d, i);
    for (size_t k = 0; k < PSF_COLUMNS; k++)
        if (psf_columns[k] != DET_rapsf && psf_columns[k] != DET_decpsf) d->has[psf_columns[k]] = o->measure.want[psf_columns[k]];
    d->has[DET_xpsf] = d->has[DET_ypsf] = 1; /* the sky columns are made from them */
}

/* Fluxes in circles become total fluxes of point sources. */
static void correct_apertures(const struct aperture_corrections *c, const struct objects *objects, const uint8_t *want, struct detections *d)
{
    for (int64_t i = 0; i < d->n; i++)
        for (int k = 0; k < d->naper && k < c->n; k++) {
            double factor = apercor_at(c, k, objects->o[i].x, objects->o[i].y);
            int64_t at = i * d->naper + k;
            if (want[DET_flux_aper]) d->flux_aper[at] = (float)((double)d->flux_aper[at] * factor);
            if (want[DET_fluxerr_aper]) d->fluxerr_aper[at] = (float)((double)d->fluxerr_aper[at] * factor);
            if (want[DET_mag_aper] && d->mag_aper[at] < NO_MAG) d->mag_aper[at] -= (float)(2.5 * log10(factor));
        }
}

/* They are worked out whenever there are apertures, applied when asked for. */
static enum err find_corrections(const struct extract_options *o, struct extract_scene *scene, struct detections *d, struct error *err)
{
    int n = d->naper < APERCOR_MAX ? d->naper : APERCOR_MAX;
    if (n < 1 || !(o->measure.want[DET_flux_aper] || o->measure.want[DET_mag_aper])) return ERR_OK;
    enum err e = apercor_make(&scene->psf, o->measure.diameter, n, &scene->apertures, err);
    if (e || !o->correct_apertures || scene->psf.flags & PSF_FALLBACK) return e; /* a guessed PSF corrects nothing */
    correct_apertures(&scene->apertures, &scene->objects, o->measure.want, d);
    scene->corrected = true;
    return ERR_OK;
}

enum err extract_psf_cards(const struct extract_scene *s, struct header *h)
{
    const struct psf_model *m = &s->psf;
    char key[16], comment[64];
    if (!m->coef) return ERR_OK;
    enum err e = header_set_double(h, "NSPSFW", m->fwhm, "[pixel] FWHM of the PSF at the centre of the frame");
    if (!e) e = header_set_double(h, "NSPSFELL", m->ellipticity, "its ellipticity, 1 - b/a");
    if (!e) e = header_set_double(h, "NSPSFPA", m->theta_rad * DEG_PER_RAD, "[deg] its long axis, CCW from +x");
    if (!e) e = header_set_double(h, "NSPSFB", m->beta, "its Moffat beta");
    if (!e) e = header_set_double(h, "NSPSFNA", m->noise_area, "[pixel**2] its noise area, 1 / sum of P^2");
    if (!e) e = header_set_int(h, "NSPSFDEG", m->degree, "degree of its change over the field");
    if (!e) e = header_set_int(h, "NSPSFN", m->nstar, "stars it was made from");
    if (!e) e = header_set_double(h, "NSPSFC2", m->chi2, "their median reduced chi-square");
    if (!e) e = header_set_int(h, "NSPSFFL", (int64_t)m->flags, "1 fallback 2 unmeasured 4 few stars 8 not converged");
    if (!e) e = header_set_double(h, "NSPSFRAD", m->radius_total, "[pixel] radius that holds FLUX_PSF");
    for (int k = 0; k < s->apertures.n && k < 9 && !e; k++) {
        snprintf(key, sizeof key, "APCOR%d", k + 1);
        snprintf(comment, sizeof comment, "total flux over FLUX_APER(%d), radius %.2f", k + 1, s->apertures.radius[k]);
        e = header_set_double(h, key, s->apertures.factor[k], comment);
    }
    if (!e && s->apertures.n) e = header_set_bool(h, "APCORDON", s->corrected, "FLUX_APER is corrected by these");
    return e;
}

enum err extract_psf_photometry(const struct frame *f, const struct extract_options *o, struct extract_scene *scene, struct detections *ret,
                                struct error *err)
{
    struct image_view view;
    struct psffit_options opt = o->psffit;
    int64_t n = scene->objects.n;
    if (!wants_psf(o)) return ERR_OK;
    enum err e = extract_psf(f, o, scene, err);
    double start = clock_seconds();
    if (!e) e = extract_view(f, o, scene, &view, err);
    if (e) return e;
    struct psffit_source *s = mem_zarray((size_t)(n ? n : 1), sizeof *s);
    if (!s) return ERROR(err, ERR_NOMEM, "no memory to fit %lld objects", (long long)n);
    for (int64_t i = 0; i < n; i++) {
        const struct object *b = &scene->objects.o[i];
        s[i] = (struct psffit_source){.x = b->x, .y = b->y, .flux = b->flux};
    }
    opt.saturate = saturation_above(scene);
    opt.spread = o->measure.want[DET_spread_model] || o->measure.want[DET_spreaderr_model];
    e = psffit_sources(&view, &scene->psf, &opt, s, n, err);
    if (!e) put_columns(s, o, ret);
    if (!e) e = find_corrections(o, scene, ret, err);
    free(s);
    scene->elapsed_ms.psf = 1e3 * (clock_seconds() - start);
    return e;
}
