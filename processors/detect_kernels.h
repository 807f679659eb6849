/* Leaf kernels of convolve.c and runs.c, one table per instruction set. Each output is a sum in one fixed order, so every
 * level gives the same bytes. */
#ifndef NIGHTSHIFT_PROCESSORS_DETECT_KERNELS_H
#define NIGHTSHIFT_PROCESSORS_DETECT_KERNELS_H

#include <stdint.h>

#include "common/maskbits.h"

struct detect_kernels {
    /* ret[x] = sum over rows j, columns i of weight[j][i] rows[j][x + i] */
    void (*correlate3)(const float *const *rows, const float *weight, int64_t nx, float *ret);
    void (*correlate5)(const float *const *rows, const float *weight, int64_t nx, float *ret);
    void (*correlate7)(const float *const *rows, const float *weight, int64_t nx, float *ret);
    void (*correlate)(const float *const *rows, const float *weight, int kx, int ky, int64_t nx, float *ret);
    /* bit x of ret: value[x] > threshold; value is readable up to a multiple of 64. Returned: is any bit set */
    int (*above)(const float *value, float threshold, int64_t nx, uint64_t *ret);
    int (*above_each)(const float *value, const float *threshold, int64_t nx, uint64_t *ret);
    /* copy values, 0 for NaN and infinity. Returned: how many were replaced */
    int64_t (*tidy)(const float *value, int64_t nx, float *ret);
};

extern const struct detect_kernels detect_kernels_generic, detect_kernels_avx2;
const struct detect_kernels *detect_kernels(void); /* for the level in use */

#endif
