/* Bleed trails: columns where the charge of a saturated star ran along.
 *
 * The pixel at each end of a run of SATURATED pixels along a column may hold what was left of the charge: BLEED. A run longer than it
 * is wide is a trail: its narrow part gets BLEED beside SATURATED, and so do the pixels beyond its ends while they are above their
 * neighbours on both sides in the row.
 * Source: our own; what the runs look like is in Janesick 2001, Scientific Charge-Coupled Devices, ch. 4 (blooming).      */
#ifndef NIGHTSHIFT_PROCESSORS_BLEED_H
#define NIGHTSHIFT_PROCESSORS_BLEED_H

#include <stdint.h>

#include "common/err.h"
#include "common/maskbits.h"

/* Mark.
 * Given:    sci, var, mask  nx * ny, SATURATED set
 * Returned: mask gains BLEED; *ret_pixels their number
 * Status:   ERR_NOMEM
 * Threads:  one; columns without saturated pixels cost a look at the mask */
enum err bleed_mark(const float *sci, const float *var, mask_t *mask, int64_t nx, int64_t ny, int64_t *ret_pixels, struct error *err);

#endif
