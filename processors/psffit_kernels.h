/* Leaf kernels of the PSF fit; one table per instruction set. Sums run in 8 float lanes per rectangle, added in fixed order. */
#ifndef NIGHTSHIFT_PROCESSORS_PSFFIT_KERNELS_H
#define NIGHTSHIFT_PROCESSORS_PSFFIT_KERNELS_H

#include <stdint.h>

/* Three planes of a stamp (value and slopes), `plane` floats apart. Eight floats past the end may be read. */
struct fit_stamp {
    const float *v;
    int64_t plane;
    int stride;
};

struct psffit_kernels {
    /* model += flux * p over nx x ny pixels */
    void (*light)(float flux, const float *p, int p_stride, float *model, int model_stride, int nx, int ny);
    /* r = data - model; w = 1 / (sigma2 + max(model, 0) * inv_gain) where sigma2 > 0, else 0. n a multiple of 8. Returned: sum w r^2 */
    double (*residual)(int64_t n, const float *data, const float *sigma2, const float *model, float inv_gain, float *r, float *w);
    /* out = w * p for three planes: rows of nx pixels, 0 from there to a multiple of 8 */
    void (*weigh)(const float *w, int w_stride, const struct fit_stamp *p, int nx, int ny, float *out);
    /* ret[3 * i + k] = sum a_i b_k */
    void (*cross)(const struct fit_stamp *a, const struct fit_stamp *b, int nx, int ny, double ret[9]);
    /* ret[i] = sum a_i r */
    void (*project)(const struct fit_stamp *a, const float *r, int r_stride, int nx, int ny, double ret[3]);
};

extern const struct psffit_kernels psffit_kernels_generic;
#ifdef NIGHTSHIFT_HAVE_AVX2
extern const struct psffit_kernels psffit_kernels_avx2;
#endif

#endif
