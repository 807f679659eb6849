/* Fringes: the pattern that night-sky lines make in a thinned detector, the same from frame to frame but for its strength.
 *
 *     image - scale x pattern,   scale fitted to both after their means over 128 x 128 pixels are taken off, block by block of 8 x 8,
 *                                with blocks that stand out (stars) left out, again until nothing changes
 *
 * Source: in the manner of Snodgrass & Carry 2013 (The Messenger 152, 14), who compare dark and bright places; here all blocks vote.  */
#ifndef NIGHTSHIFT_PROCESSORS_FRINGE_H
#define NIGHTSHIFT_PROCESSORS_FRINGE_H

#include <stdint.h>

#include "common/err.h"
#include "common/maskbits.h"

/* Fit.
 * Given:    sci, mask, pattern  nx * ny; MASK_UNUSABLE pixels and those where pattern is not finite say nothing
 * Returned: *ret_scale; 0 where nothing can be fitted
 * Status:   ERR_NOMEM
 * Threads:  one; same result whoever calls */
enum err fringe_fit(const float *sci, const mask_t *mask, const float *pattern, int64_t nx, int64_t ny, double *ret_scale, struct error *err);

/* sci -= scale * pattern where pattern is finite. The variance stays: the photons of the fringes were counted. */
void fringe_remove(float *sci, const float *pattern, int64_t npix, double scale);

#endif
