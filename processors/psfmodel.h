/* The point-spread function of one frame, varying over the field.
 *
 *     objects -> psfmodel_candidates() -> stars -> psfmodel_fit() -> struct psf_model -> psf_local_at() -> psf_stamp()
 *
 * The model is the profile as pixels see it (integrated over the pixel: the "effective PSF"), a cubic B-spline on a grid of
 * `over` nodes per pixel whose coefficients are polynomials of the position in the frame:
 *
 *     P(dx, dy; x, y) = sum_k p_k(x, y) sum_ij c_kij B(over dx - i) B(over dy - j)
 *
 * It integrates to 1 within `radius_total` pixels of the star, also where that lies beyond the grid. Value and slopes come
 * from the same spline, so that derivatives are those of the model. Nodes are kept in `over` phases, so that the pixels of a
 * stamp are neighbours in memory.
 *
 * How it is found: (1) stars by their size and isolation; (2) an elliptic Moffat profile, and its size and ellipticities as
 * polynomials of the position whose degree leave-one-out cross-validation chooses; (3) the grid's deviation from that by
 * conjugate gradients under a prior that lets it deviate where there is light; pixels and stars that stand out are left out.
 * Too few stars: the profile alone with the width of what there is, and the flag PSF_FALLBACK.
 *
 * Source: Anderson & King 2000, PASP 112, 1360 (effective PSF, 4 samples per FWHM and more); Bertin 2011, ASPC 442, 435
 * (PSFEx: superresolution grid with polynomial terms and a prior); Moffat 1969, A&A 3, 455.
 * Differences: a spline instead of bicubic or Lanczos interpolation; the prior is centred on a fitted analytic profile; the
 * degree is chosen by the data; a bright star's weight is bounded by 1 % of its own light.
 * Positions are 0-based pixels of the frame. Same bytes for any number of threads.                                     */
#ifndef NIGHTSHIFT_PROCESSORS_PSFMODEL_H
#define NIGHTSHIFT_PROCESSORS_PSFMODEL_H

#include <stdint.h>

#include "common/err.h"
#include "processors/objects.h"

#define PSF_DEGREE_MAX 3
#define PSF_TERMS_MAX  10
#define PSF_OVER_MAX   4
#define PSF_HALF_MAX   40

enum psf_flag {
    PSF_FALLBACK = 1,     /* too few stars: an analytic profile of the width that was measured or given */
    PSF_UNMEASURED = 2,   /* not even a width: that of the options */
    PSF_FEW_STARS = 4,    /* fewer than 8 stars: constant over the field */
    PSF_DID_NOT_CONVERGE = 8
};

/* An elliptic Moffat profile; the area stays as (e1, e2) change. */
struct psf_profile {
    double fwhm, inv_beta, e1, e2;
};

struct psf_model {
    int64_t nx, ny;           /* of the frame it was made from */
    int over, half;           /* nodes per pixel; the grid reaches half pixels from the centre */
    int degree, terms;        /* of the polynomials */
    int nodes, pitch, lane;   /* nodes per side; floats per row: over phases of lane floats */
    float *coef;              /* terms planes of nodes * pitch floats; owned */
    float *disc;              /* the same for what an exponential disc of scale fwhm / 16 would change (psffit.h); owned with coef */
    double x0, y0, scale;     /* polynomials are of (x - x0) / scale, (y - y0) / scale */
    double fwhm;              /* pixels, geometric mean of both axes, frame's centre, of the profile */
    double ellipticity, theta_rad, e1, e2, beta;
    double radius_total;      /* where the flux is 1 */
    double wing;              /* flux between the grid's square and radius_total, in units of sum */
    double sum[PSF_TERMS_MAX]; /* light on the grid of each plane */
    struct psf_profile profile; /* the analytic part */
    double noise_area;        /* 1 / sum P^2 at the centre, pixels */
    double chi2;              /* median reduced chi-square of the stars */
    int64_t ncandidate, nstar; /* stars offered, stars kept */
    unsigned flags;           /* enum psf_flag */
};

struct psf_options {
    int max_stars;            /* 16 to 2000 */
    int degree;               /* of the polynomials at most, 0 to 3 */
    double snr_min;           /* of a star */
    double fwhm;              /* a guess for the fallback, pixels; 0: 3 */
    float saturate;           /* pixels at or above it are left out, background subtracted; INFINITY: none */
};
struct psf_options psf_options_default(void);
enum err psf_options_verify(const struct psf_options *o, struct error *err);

struct psf_star {
    double x, y;
    float flux, snr;
    float crowding;           /* light of others that falls on it, share of its own, roughly */
    int64_t object;           /* index of its object, -1: none */
};

void psfmodel_init(struct psf_model *m);
void psfmodel_release(struct psf_model *m);

/* Stars fit to make a PSF from: unsaturated, whole, isolated, of the size most objects have.
 * Given:    view     with segment = objects->segment
 * Returned: ret      best first, evenly over the frame, at most options->max_stars; free() it. *ret_n may be 0
 *           ret_fwhm their median FWHM, pixels; 0: unknown
 * Status:   0; ERR_NOMEM */
enum err psfmodel_candidates(const struct image_view *view, const struct objects *objects, const struct psf_options *options,
                             struct psf_star **ret, int64_t *ret_n, double *ret_fwhm, struct error *err);

/* Given:    view     segment may be NULL: then nothing is known of neighbours
 *           stars    n of them
 *           fwhm     pixels, 0: unknown
 * Returned: ret      initialised by the caller, released and filled here; always a usable model, ret->flags tells
 * Status:   0; ERR_SETTINGS; ERR_NOMEM
 * Threads:  stars in parallel; same bytes for any thread count */
enum err psfmodel_fit(const struct image_view *view, const struct psf_star *stars, int64_t n, double fwhm,
                      const struct psf_options *options, struct psf_model *ret, struct error *err);
/* Both of the above; in a crowded field once more without the neighbours' light, as the first model and a fit give it. */
enum err psfmodel_from_objects(const struct image_view *view, const struct objects *objects, const struct psf_options *options,
                               struct psf_model *ret, struct error *err);
/* An elliptic Moffat profile (beta >= 20: practically a Gaussian), constant over the field. ERR_SETTINGS for a fwhm outside
 * 0.5 to 60 pixels, beta below 1.5 or ellipticities of 0.8 and more. */
enum err psfmodel_analytic(int64_t nx, int64_t ny, double fwhm, double beta, double e1, double e2, struct psf_model *ret, struct error *err);

/* The PSF at one place of the frame: the polynomials worked out. One per thread; its memory is kept from place to place. */
struct psf_local {
    const struct psf_model *model;
    float *coef;              /* nodes * pitch; rows outside [row0, row1) are not filled */
    float *scratch;
    int64_t floats;           /* capacity of coef */
    int row0, row1;
};
void psf_local_init(struct psf_local *l);
void psf_local_release(struct psf_local *l);
/* reach: pixels from the centre that will be asked for; values beyond model->half are 0. ERR_NOMEM. */
enum err psf_local_at(struct psf_local *l, const struct psf_model *m, double x, double y, int reach, struct error *err);

/* The same for m->disc: what the blur of SPREAD_MODEL changes. */
enum err psf_local_disc(struct psf_local *l, const struct psf_model *m, double x, double y, int reach, struct error *err);

/* A rectangle of the PSF of a star that stands at (dx, dy) from the centre of its pixel, a few pixels at most.
 * Given:    i0..i1, j0..j1  pixels of the rectangle relative to the star's pixel, half-open, within the reach given
 *           stride          floats per row of the results, a multiple of 8 and >= i1 - i0
 * Returned: p, px, py       value, and its change as the star moves along x and y (px and py NULL: not wanted).
 *                           Columns from i1 to the next multiple of 8 hold anything finite */
void psf_stamp(const struct psf_local *l, double dx, double dy, int i0, int i1, int j0, int j1, int stride, float *p, float *px, float *py);

/* The same for one star: out is size x size floats (size odd), the star (dx, dy) from the centre of the middle pixel;
 * (x, y) says where in the frame. ERR_NOMEM; ERR_SHAPE for a size that is even or < 1. */
enum err psfmodel_stamp(const struct psf_model *m, double x, double y, double dx, double dy, float *out, int size, struct error *err);

/* 1 / sum P^2 there: a PSF flux has the sky noise of so many pixels. 0 when memory ends. */
double psfmodel_noise_area(const struct psf_model *m, double x, double y);

/* Share of the light within a circle around the star, from the model and, beyond the grid, its profile. ERR_NOMEM. */
enum err psfmodel_growth(const struct psf_model *m, double x, double y, const double *radius, int n, double *ret, struct error *err);

/* Terms 1, u, v, u^2, uv, v^2 ... of a place; ret has PSF_TERMS_MAX. */
void psf_polynomial(const struct psf_model *m, double x, double y, float *ret);

/* ---- between the files of the model (psfmodel_*.c) -------------------------------------------------------------- */

/* Sizes of the grid for a width; coef stays NULL. */
void psf_geometry(struct psf_model *m, double fwhm);
/* Spline coefficients of n profiles, integrated over pixels, on the grid of m: n planes of nodes * pitch floats. ERR_NOMEM. */
enum err psf_profile_coefs(const struct psf_model *m, const struct psf_profile *p, int n, float *ret, struct error *err);
/* Share of the profile's light inside radius. */
double psf_profile_inside(const struct psf_profile *p, double radius);
/* What makes the model a whole: fwhm and shape from the profile, wing, normalisation, noise area. ERR_NOMEM. */
enum err psf_finish(struct psf_model *m, const struct psf_profile *p, struct error *err);

#endif
