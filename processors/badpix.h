/* Bad pixels seen in masters: hot and cold pixels of the dark, low response of the flat, columns of either.
 *
 * Each function ORs its bits into mask. Thresholds are in robust sigma of the plane (1.4826 MAD about the median), so a
 * master of more frames finds fainter defects.                                                                      */
#ifndef NIGHTSHIFT_PROCESSORS_BADPIX_H
#define NIGHTSHIFT_PROCESSORS_BADPIX_H

#include <stdint.h>

#include "common/err.h"
#include "common/maskbits.h"

struct plane_level {
    double median, sigma; /* robust */
};

/* Median and 1.4826 MAD of the pixels without MASK_NO_DATA; at most 2^20 of them, evenly spread. mask may be NULL.
 * Status: ERR_NOMEM. With no usable pixel both are NaN. */
enum err plane_level_of(const float *value, const mask_t *mask, int64_t npix, struct plane_level *ret, struct error *err);

/* HOT above median + sigmas * sigma, BAD below median - sigmas * sigma. Returned: pixels marked HOT. */
int64_t badpix_dark(const float *dark, int64_t npix, const struct plane_level *level, double sigmas, mask_t *mask);

/* LOWFLAT at or below low, or not finite. Returned: pixels marked. */
int64_t badpix_flat(const float *flat, int64_t npix, double low, mask_t *mask);

/* Columns that stand out: the median over 128 rows differs from the median of its 10 neighbours on either side by more than
 * sigmas times the scatter of such differences in those rows, and by more than least (unit of the plane). Those pixels
 * become BAD. Partial columns are found from the 128 rows on where they begin.
 * Returned: *ret_segments  column pieces marked
 * Status:   ERR_NOMEM
 * Threads:  blocks of 128 rows in parallel; same bytes for any thread count */
enum err badpix_columns(const float *plane, int64_t nx, int64_t ny, double sigmas, double least, mask_t *mask,
                        int64_t *ret_segments, struct error *err);

/* Give defects (BAD, HOT, LOWFLAT) the straight line between the nearest good pixels, along the row or the column, whichever is
 * shorter; wider defects than 2 * BADPIX_REACH stay as they are.
 * Given:    sci, var, mask  nx * ny
 * Returned: sci, var of mended pixels: value and variance of the line at the pixel, not of the line's error, which is smaller and
 *           correlated; mask gains INTERPOLATED and keeps the defect's bit; *ret_mended their number
 * Threads:  rows in parallel; same bytes for any thread count */
#define BADPIX_REACH 4
void badpix_mend(float *sci, float *var, mask_t *mask, int64_t nx, int64_t ny, int64_t *ret_mended);

#endif
