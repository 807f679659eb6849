/* Detection filter: correlate rows with a small kernel.
 *
 * Outside the image there is sky: zero once the background is gone, so the kernel is not renormalised at the edges.
 * That is also what Source Extractor's FILTERED check-image shows, and the kernel is not flipped, as there.
 * A row enters padded and without NaN (convolve_pad): pixels without a value count as sky.                           */
#ifndef NIGHTSHIFT_PROCESSORS_CONVOLVE_H
#define NIGHTSHIFT_PROCESSORS_CONVOLVE_H

#include <stdint.h>

#include "common/err.h"

enum { CONVOLVE_SIDE_MAX = 127 };

struct convolve_kernel {
    int nx, ny;          /* odd or even; the centre is (nx / 2, ny / 2) */
    const float *weight; /* ny rows of nx, borrowed; applied as they are */
};

extern const struct convolve_kernel convolve_pyramid; /* [1 2 1; 2 4 2; 1 2 1] / 16 */

/* Status: ERR_SETTINGS for sides out of range or weights that are not finite */
enum err convolve_verify(const struct convolve_kernel *k, struct error *err);

/* Floats to keep free on either side of a padded row. */
int convolve_margin(const struct convolve_kernel *k);

/* One filtered row. rows: ny padded input rows, top first, each pointing at its pixel 0; rows outside the image point at
 * zeros. Leaf: no allocation, any thread. */
void convolve_row(const struct convolve_kernel *k, const float *const *rows, int64_t nx, float *ret);

#endif
