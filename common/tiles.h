/* Tiling that depends on the image alone, so that any number of threads gives the same bytes.
 *
 * Each tile fills its own slot of partial[]; slots are summed in order, in double.                                 */
#ifndef NIGHTSHIFT_COMMON_TILES_H
#define NIGHTSHIFT_COMMON_TILES_H

#include <stdint.h>

#define TILE_ROWS 64 /* rows of a block: 64 x 4096 floats are 1 MiB, half of an L2 cache */

static inline int64_t row_blocks(int64_t ny)
{
    return (ny + TILE_ROWS - 1) / TILE_ROWS;
}

/* Rows [*y0, *y1) of block b. */
static inline void row_block(int64_t ny, int64_t b, int64_t *y0, int64_t *y1)
{
    *y0 = b * TILE_ROWS;
    *y1 = *y0 + TILE_ROWS < ny ? *y0 + TILE_ROWS : ny;
}

/* Sum of n slots, first to last. */
double ordered_sum(const double *partial, int64_t n);

#endif
