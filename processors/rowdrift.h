/* A bias level that wanders along the columns of a detector without overscan.
 *
 * Some cameras read out with a level that drifts slowly from the first row to the last, differently in every frame, while
 * no overscan records it. What remains after the master bias is a smooth function of y, the same in all columns. It is
 * fitted to the medians of the rows and taken away, its mean kept: the sky level stays what it was. A real gradient of the
 * sky along y goes with it, and so would a nebula that fills most of each row; therefore the step is off unless the
 * instrument file (or the user) asks for it.
 * Source: our own; the robust row level is that of overscan.h with the sky's pixels in place of the overscan's.       */
#ifndef NIGHTSHIFT_PROCESSORS_ROWDRIFT_H
#define NIGHTSHIFT_PROCESSORS_ROWDRIFT_H

#include <stdint.h>

#include "common/err.h"
#include "common/maskbits.h"

#define ROWDRIFT_DEGREE_MAX 20

/* Fit and remove.
 * Given:    sci, mask  nx * ny, electron; pixels of MASK_UNUSABLE are not looked at
 *           inv_flat   nx * ny, what the level was multiplied with on its way here; NULL: 1
 *           degree     of the Legendre series in y, 1 .. ROWDRIFT_DEGREE_MAX, less in frames of few rows
 * Returned: sci changed; *ret_range the level's largest minus its smallest value, electron
 * Status:   0; ERR_NOMEM
 * Threads:  rows in parallel, sums in order; same bytes for any thread count */
enum err rowdrift_remove(float *sci, const mask_t *mask, const float *inv_flat, int64_t nx, int64_t ny, int degree, double *ret_range,
                         struct error *err);

#endif
