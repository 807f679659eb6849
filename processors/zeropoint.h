/* The zero point of a frame from stars of known magnitude, with a colour term and a slope over the frame.
 *
 *     reference - instrumental = Z + c (colour - pivot) + p(x, y)         instrumental = -2.5 log10(flux / s)
 *
 * Linear least squares with iterated clipping; a star's weight is its own error and the scatter of all stars beyond their
 * errors, found from the residuals. A term enters only when it improves the prediction of stars left out (exact leave-one-out)
 * by more than a per cent, and the colour term only when the colours span something.
 *
 * Source: the usual per-frame model (e.g. Magnier et al. 2020, ApJS 251, 6, for the structure; Allen 1974 for PRESS).
 * Threads: pure; sums in the order of the stars.                                                                      */
#ifndef NIGHTSHIFT_PROCESSORS_ZEROPOINT_H
#define NIGHTSHIFT_PROCESSORS_ZEROPOINT_H

#include <stdint.h>

#include "common/err.h"

#define ZEROPOINT_SPATIAL 5   /* x, y, x^2, xy, y^2 */

struct zeropoint_star {
    double x, y;              /* -1..1 over the frame */
    double inst, reference;   /* mag */
    double err;               /* of their difference, mag */
    double colour;            /* mag; NaN: unknown (then the pivot is taken and the star counts less) */
};

struct zeropoint_options {
    double pivot;             /* colour at which the zero point holds */
    int spatial_degree;       /* 0, 1 or 2 at most */
    double clip;              /* sigma */
    int stars_min;
};
#define ZEROPOINT_OPTIONS_DEFAULT {.pivot = 0.8, .spatial_degree = 1, .clip = 3, .stars_min = 5}

struct zeropoint_result {
    double zero, zero_err;    /* mag; NaN without a result */
    double colour_term, colour_err; /* 0 when it did not enter */
    double spatial[ZEROPOINT_SPATIAL]; /* mean over the frame (x, y uniform) is 0: the zero point is that mean */
    int spatial_degree;
    double rms, scatter;      /* mag: of the stars kept (robust); beyond their errors */
    int n, used;
};

/* Status: ERR_NOT_FOUND when too few stars are good; ERR_NOMEM */
enum err zeropoint_fit(const struct zeropoint_star *stars, int n, const struct zeropoint_options *opt, struct zeropoint_result *ret, struct error *err);

#endif
