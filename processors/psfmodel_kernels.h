/* Leaf kernels of the PSF model and its fit; one table per instruction set. Vectors of 8 floats. */
#ifndef NIGHTSHIFT_PROCESSORS_PSFMODEL_KERNELS_H
#define NIGHTSHIFT_PROCESSORS_PSFMODEL_KERNELS_H

#include <stdint.h>

/* A rectangle of a stamp out of a grid of coefficients in phases (psfmodel.h). */
struct psf_query {
    const float *coef;
    int over, lane, pitch;
    int row;                 /* first node row of the first pixel row */
    int column;              /* first node column of the first pixel */
    int nx, ny, stride;      /* pixels wanted */
    float wx[4], wy[4], gx[4], gy[4]; /* spline weights and their slopes */
};

struct psfmodel_kernels {
    /* out[i] = sum_k poly[k] coef[k * plane + i], n a multiple of 8 */
    void (*combine)(const float *coef, int64_t plane, int terms, const float *poly, int64_t n, float *out);
    /* scratch: PSF_SCRATCH floats */
    void (*stamp)(const struct psf_query *q, float *scratch, float *p, float *px, float *py);
    /* The adjoint of stamp for the value alone: coef += what a stamp of residuals says to each node. */
    void (*adjoint)(const struct psf_query *q, float *scratch, const float *residual, float *coef);
    /* out += factor * in, n a multiple of 8 */
    void (*add)(int64_t n, float factor, const float *in, float *out);
};

#define PSF_SCRATCH_ROW 512 /* floats: over * (pixels + 8), rounded */
#define PSF_SCRATCH     (2 * PSF_SCRATCH_ROW)

extern const struct psfmodel_kernels psfmodel_kernels_generic;
#ifdef NIGHTSHIFT_HAVE_AVX2
extern const struct psfmodel_kernels psfmodel_kernels_avx2;
#endif
const struct psfmodel_kernels *psfmodel_kernels_now(void);

#endif
