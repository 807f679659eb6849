/* Between psfmodel_fit.c (stars, profile, degree), psfmodel_grid.c (the grid's deviation from the profile) and psfmodel_crowd.c
 * (neighbours taken off). */
#ifndef NIGHTSHIFT_PROCESSORS_PSFMODEL_INTERNAL_H
#define NIGHTSHIFT_PROCESSORS_PSFMODEL_INTERNAL_H

#include <stdbool.h>

#include "processors/psfcells.h"
#include "processors/psffit.h"
#include "processors/psfmodel.h"

#define PSF_SYSTEMATIC 0.01 /* of a star's own light per pixel: bounds the weight of the brightest */

/* The pixels of one star. The stamp's middle is image pixel (ix, iy). */
struct psf_sample {
    double flux, dx, dy, sky; /* the star stands at (ix + dx, iy + dy); level left under it by neighbours and background */
    int64_t ix, iy;
    float *value, *sigma2;    /* size * stride; sigma2 of the sky, 0: not used */
    float poly[PSF_TERMS_MAX];
    double shape[3], shape_var[3]; /* ln fwhm, e1, e2 against the common profile */
    double chi2;              /* reduced */
    bool kept;
};

struct psf_samples {
    int64_t n;
    int size, stride;         /* pixels of a stamp's side, floats per row */
    float inv_gain;
    struct psf_sample *s;
    float *pixels;
};

/* Weight of a pixel whose model says `light`: sky, photons, and what the model may be wrong by. */
static inline float psf_weight(float sigma2, float light, float inv_gain)
{
    float l = light > 0.0f ? light : 0.0f;
    float s = (float)PSF_SYSTEMATIC * l;
    return sigma2 > 0.0f ? 1.0f / (sigma2 + l * inv_gain + s * s) : 0.0f;
}

/* The adjoint of psf_stamp over the whole grid: coef (a plane) gains what a stamp of residuals, 2 half + 1 rows of stride
 * floats with zeros beyond the stamp, says to each node. */
void psf_stamp_adjoint(const struct psf_local *l, double dx, double dy, int stride, const float *residual, float *coef);

/* Flux, place and sky of each star under the model; chi2; pixels that stand out by `clip` sigma are taken out (0: none).
 * Status: 0; ERR_NOMEM */
enum err psf_refit_samples(const struct psf_model *m, struct psf_samples *t, double clip, struct error *err);

/* Let the grid deviate from m->coef as the stars ask, under a prior about `base` (the profile's plane).
 * deviation: terms planes, in units of the prior, carried from call to call; zero at first. ERR_NOMEM. */
enum err psf_fit_grid(struct psf_model *m, const struct psf_samples *t, const float *base, float *deviation, struct error *err);

/* The light of all sources around the stars, fitted with a first model: what psf_clean_samples() takes off. */
struct psf_crowd {
    const struct psf_model *model;
    const struct psffit_source *source;
    const int64_t *object;    /* of each source: a star's own light is left */
    int64_t n;
    struct psf_cells cells;   /* of the sources */
};
enum err psf_clean_samples(const struct psf_crowd *crowd, const struct psf_star *stars, struct psf_samples *t, struct error *err);

/* psfmodel_fit() on cleaned pixels; crowd NULL: as they are, those of other objects left out. */
enum err psf_fit_cleaned(const struct image_view *view, const struct psf_star *stars, int64_t n, double fwhm, const struct psf_crowd *crowd,
                         const struct psf_options *options, struct psf_model *ret, struct error *err);

/* A second model of a crowded field from stars without their neighbours' light. ret: in, the first one; left as it is when
 * the field is not crowded or the second has fewer stars. ERR_NOMEM. */
enum err psf_refit_crowd(const struct image_view *view, const struct objects *objects, const struct psf_star *stars, int64_t n,
                         const struct psf_options *options, struct psf_model *ret, struct error *err);

#endif
