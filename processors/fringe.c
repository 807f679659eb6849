#include "processors/fringe.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "common/arena.h"
#include "common/stats.h"

#define BLOCK  8
#define CELL   16 /* blocks */
#define CLIP   3.0
#define ROUNDS 20

struct pair {
    float image, pattern;
};

/* Means of one block; false where less than half of it is good. */
static bool block_means(const float *sci, const mask_t *mask, const float *pattern, int64_t nx, int64_t bx, int64_t by, struct pair *ret)
{
    float image = 0, fringe = 0;
    int n = 0;
    for (int64_t y = by * BLOCK; y < (by + 1) * BLOCK; y++)
        for (int64_t i = y * nx + bx * BLOCK; i < y * nx + (bx + 1) * BLOCK; i++) {
            if (mask[i] & MASK_UNUSABLE || !isfinite(pattern[i])) continue;
            image += sci[i];
            fringe += pattern[i];
            n++;
        }
    *ret = (struct pair){image / (float)n, fringe / (float)n};
    return 2 * n >= BLOCK * BLOCK;
}

/* The blocks of one cell, their medians taken off. Returned: how many. */
static int64_t cell_pairs(const float *sci, const mask_t *mask, const float *pattern, int64_t nx, int64_t ny, int64_t cx, int64_t cy, struct pair *ret)
{
    float image[CELL * CELL], fringe[CELL * CELL];
    int64_t n = 0;
    for (int64_t y = cy * CELL; y < (cy + 1) * CELL && (y + 1) * BLOCK <= ny; y++)
        for (int64_t x = cx * CELL; x < (cx + 1) * CELL && (x + 1) * BLOCK <= nx; x++)
            if (block_means(sci, mask, pattern, nx, x, y, &ret[n])) {
                image[n] = ret[n].image;
                fringe[n] = ret[n].pattern;
                n++;
            }
    float a = median_f32(image, n), b = median_f32(fringe, n);
    for (int64_t k = 0; k < n; k++) {
        ret[k].image -= a;
        ret[k].pattern -= b;
    }
    return n;
}

/* Slope through the origin, clipped. work: n */
static double robust_slope(const struct pair *p, int64_t n, float *work)
{
    double scale = 0, reach = INFINITY;
    for (int round = 0; round < ROUNDS; round++) {
        double sum = 0, square = 0, before = scale;
        for (int64_t k = 0; k < n; k++) {
            if (fabs(p[k].image - scale * p[k].pattern) > reach) continue;
            sum += (double)p[k].image * p[k].pattern;
            square += (double)p[k].pattern * p[k].pattern;
        }
        if (!(square > 0)) return 0;
        scale = sum / square;
        for (int64_t k = 0; k < n; k++) work[k] = (float)(p[k].image - scale * p[k].pattern);
        double sigma = mad_sigma_f32(work, n, 0);
        if (!(sigma > 0)) break;
        reach = CLIP * sigma;
        if (round > 1 && fabs(scale - before) < 1e-6 * fabs(scale)) break;
    }
    return scale;
}

enum err fringe_fit(const float *sci, const mask_t *mask, const float *pattern, int64_t nx, int64_t ny, double *ret_scale, struct error *err)
{
    int64_t cells_x = (nx / BLOCK + CELL - 1) / CELL, cells_y = (ny / BLOCK + CELL - 1) / CELL, n = 0;
    size_t most = (size_t)(cells_x * cells_y) * CELL * CELL + 1;
    struct pair *pairs = mem_array(most, sizeof *pairs);
    float *work = mem_array(most, sizeof *work);
    enum err code = pairs && work ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory to fit the fringes");
    for (int64_t y = 0; y < cells_y && !code; y++)
        for (int64_t x = 0; x < cells_x; x++) n += cell_pairs(sci, mask, pattern, nx, ny, x, y, pairs + n);
    if (!code) *ret_scale = n > 8 ? robust_slope(pairs, n, work) : 0;
    free(pairs);
    free(work);
    return code;
}

void fringe_remove(float *sci, const float *pattern, int64_t npix, double scale)
{
    for (int64_t i = 0; i < npix; i++) {
        float fringe = (float)scale * pattern[i];
        sci[i] -= fringe - fringe == 0.0f ? fringe : 0.0f;
    }
}
