/* Leaf kernels of photometry and shape over a stamp; one table per instruction set. (fx, fy): centre in stamp pixels. */
#ifndef NIGHTSHIFT_PROCESSORS_PHOTOMETRY_KERNELS_H
#define NIGHTSHIFT_PROCESSORS_PHOTOMETRY_KERNELS_H

#include "processors/photometry.h"

struct ellipse_query {
    double fx, fy;
    double cxx, cyy, cxy, k2;
};

/* What the window sums to. v: value, w: weight, e: variance of the pixel with the photon noise of the object. */
struct window_sums {
    double v, vx, vy;          /* sum w v, w v dx, w v dy */
    double vxx, vyy, vxy;      /* second moments; with `moments` only, like the rest */
    double e, exx, eyy, exy;   /* sum w^2 e, w^2 e (dx^2 + 1/12), ... */
};
struct window_query {
    double fx, fy, sigma, rmax;
    double sigma2, inv_gain;   /* constant variance when the stamp has none of its own; its photon noise is v * inv_gain */
    double inv_gain_sigma2;    /* > 0: ... times this and the pixel's variance */
    bool moments;
};

struct photometry_kernels {
    /* sums of p, r p, 1 (and variance if the stamp has one) into ret[4] */
    void (*kron)(struct stamp *s, const struct ellipse_query *q, double *ret);
    void (*ellipse)(struct stamp *s, const struct ellipse_query *q, double *ret); /* p, 1, variance */
    void (*circle)(struct stamp *s, double fx, double fy, double radius, double *ret); /* p, area, variance */
    void (*window)(struct stamp *s, const struct window_query *q, struct window_sums *ret);
    /* copy n pixels; those of other objects and those that are not finite become 0. Returned: whether there were any */
    int (*load)(float *dst, const float *value, const int32_t *segment, int32_t id, int32_t n);
};

extern const struct photometry_kernels photometry_kernels_generic;
#ifdef NIGHTSHIFT_HAVE_AVX2
extern const struct photometry_kernels photometry_kernels_avx2;
#endif
const struct photometry_kernels *photometry_kernels_now(void);

#endif
