/* Leaf kernels of matched_scan.c, one table per instruction set. Each output is a sum in one fixed order, so every level
 * gives the same bytes. */
#ifndef NIGHTSHIFT_PROCESSORS_MATCHED_KERNELS_H
#define NIGHTSHIFT_PROCESSORS_MATCHED_KERNELS_H

#include <stdint.h>

#include "processors/matched.h"

struct matched_kernels {
    /* ret[x] = sum over k, rows j, columns i of column[k][j] row[k][i] rows[j][x + i - radius]. rows hold `margin` zeros on
     * either side, margin >= radius and a multiple of 16; line: nx + 2 margin + 64 floats of scratch. */
    void (*products)(const struct matched_products *p, int radius, int margin, const float *const *rows, int64_t nx, float *line,
                     float *ret);
    /* Prepare a row: good[x] 1 or 0 (usable value and variance), weighted[x] = value / variance or 0, root[x] = 1 /
     * sqrt(variance), where there is none that of the pixel before (`other` at the start). Returned: how many are not good. */
    int64_t (*prepare)(const float *value, const float *variance, int64_t nx, float other, float *good, float *weighted, float *root);
    /* s[x] = sum[x] norm[x] / root[x], 0 where root is 0 */
    void (*scale)(const float *sum, const float *norm, const float *root, int64_t nx, float *s);
    /* norm[x] = 1 / sqrt(square[x]), 0 where square is less than `least` */
    void (*normalise)(const float *square, float least, int64_t nx, float *norm);
};

extern const struct matched_kernels matched_kernels_generic, matched_kernels_avx2;

#endif
