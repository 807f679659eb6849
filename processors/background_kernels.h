/* Leaf kernels of background.c, one table per instruction set. Sums run over fixed lanes, so that every level gives
 * the same bytes. */
#ifndef NIGHTSHIFT_PROCESSORS_BACKGROUND_KERNELS_H
#define NIGHTSHIFT_PROCESSORS_BACKGROUND_KERNELS_H

#include <stdint.h>

#define BACKGROUND_HUGE 1e15f /* no pixel beyond this is data */

struct mesh_moments {
    double n, sum, sum2;
};

struct mesh_bins {
    int64_t n, sum, sum2; /* pixels inside the histogram, sum of their bins, of the squares */
    int64_t below;        /* pixels in bins below the middle one */
};

struct background_kernels {
    /* n, sum and sum of squares of the finite v in [low, high] about `origin` */
    void (*moments)(const float *v, int64_t n, float low, float high, float origin, struct mesh_moments *ret);
    /* bin[i] = (v - zero) * inverse_step rounded, `nbins` for what lies outside */
    void (*bins)(const float *v, int64_t n, float zero, float inverse_step, int nbins, int32_t *bin, struct mesh_bins *ret);
    /* ret = c0 + t (c1 + t (c2 + t c3)), or in - that */
    void (*cubic)(const float *t, int64_t n, const float c[4], float *ret);
    void (*subtract_cubic)(const float *t, int64_t n, const float c[4], const float *in, float *ret);
};

extern const struct background_kernels background_kernels_generic, background_kernels_avx2;

#endif
