/* Relative zero points of many frames from the stars they have in common.
 *
 *     m(frame, star) = M(star) - Z(frame)       instrumental magnitude, m = -2.5 log10(flux / s)
 *
 * Source: the "ubercal" linear model of Padmanabhan et al. 2008 (ApJ 674, 1217), here with one term per frame, solved by
 * alternating weighted means with robust weights; each star's own scatter enters its weight, so that variable stars do
 * not pull the frames. Frames that share no star, even through others, form separate components; each component keeps
 * the mean of its prior zero points.
 * Threads: one; results depend on the input and its order only.                                                       */
#ifndef NIGHTSHIFT_PROCESSORS_RELPHOT_H
#define NIGHTSHIFT_PROCESSORS_RELPHOT_H

#include <stdint.h>

#include "common/err.h"

struct relphot_obs {
    int frame, star;   /* 0-based */
    double mag, err;   /* instrumental magnitude and its error; err > 0 */
};

struct relphot_result {
    double *zero;      /* per frame; NaN for a frame without usable stars */
    double *zero_err;  /* standard error */
    int *zero_n;       /* stars used */
    int *component;    /* frames of one component have the same number */
    double *star_mag;  /* per star, on the system of its component; NaN without observations */
    double *star_rms;  /* robust scatter of its residuals */
    int *star_n;
};

/* prior: zero point per frame as far as known beforehand (nominal), never NaN.
 * Returned: ret owns its arrays (relphot_release). Status: ERR_NOMEM. */
enum err relphot_solve(int nframes, int nstars, const struct relphot_obs *obs, int64_t nobs, const double *prior,
                       struct relphot_result *ret, struct error *err);
void relphot_release(struct relphot_result *r);

#endif
