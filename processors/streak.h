/* Satellite and aircraft streaks: long straight lines of even brightness, masked over their whole width.
 *
 *     blocks   means of 8 x 8 good pixels above a coarse background, over their scatter
 *     lines    Hough transform of the blocks that stand out: votes against those expected by chance on a line of that length
 *     check    the line at full resolution: a peaked profile, narrow, the same on both sides, even along the line
 *     mask     STREAK where the profile is above a tenth of the pixel noise
 *
 * What fails the check is left alone and counted by its reason: diffraction spikes fade away from their star, galaxies are bright in
 * the middle or wide, amplifier edges are steps. A line shorter than min_length is no streak.
 * Source: Duda & Hart 1972 (CACM 15, 11) for the transform in angle and distance; the order of work is near that of Saunders et al. 2021
 *         (DMTN-197, LSST's maskStreaks), without its edge finder: block means see lines far below the noise of a pixel. */
#ifndef NIGHTSHIFT_PROCESSORS_STREAK_H
#define NIGHTSHIFT_PROCESSORS_STREAK_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/maskbits.h"

#define STREAKS_MAX 16

struct streak_options {
    double threshold;  /* of a block, sigma: 1 to 100 */
    double min_length; /* pixels; at least 64 */
};

void streak_options_init(struct streak_options *o); /* 3, 300 */
enum err streak_verify(const struct streak_options *o, struct error *err);

struct streak {
    double x0, y0, x1, y1;   /* ends of the middle line, 0-based pixels */
    double half_width;       /* masked on either side, pixels */
    double peak;             /* of the profile, unit of sci */
    bool crosses_saturated;  /* a saturated star stands on it: the reader may want to look */
};

enum streak_reason { STREAK_FADES, STREAK_WIDE, STREAK_STEP, STREAK_FAINT, STREAK_REASONS };
const char *streak_reason_name(enum streak_reason r);

struct streak_counts {
    int n;
    struct streak streak[STREAKS_MAX];
    int64_t pixels;
    int left_alone[STREAK_REASONS]; /* lines that are no streaks */
};

/* Find and mask.
 * Given:    sci, mask  nx * ny; MASK_UNUSABLE pixels are not looked at
 * Returned: mask gains STREAK; sci stays
 * Status:   ERR_USAGE, ERR_NOMEM. Frames below 2 * min_length across have none
 * Threads:  rows and angles in parallel; same bytes for any thread count */
enum err streak_mask(const float *sci, mask_t *mask, int64_t nx, int64_t ny, const struct streak_options *o, struct streak_counts *ret,
                     struct error *err);

#endif
