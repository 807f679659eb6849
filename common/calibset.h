/* Which master serves which exposure: on metadata alone, so that the planner and `reduce` by hand decide alike. */
#ifndef NIGHTSHIFT_COMMON_CALIBSET_H
#define NIGHTSHIFT_COMMON_CALIBSET_H

#include "common/err.h"
#include "common/instrument.h"

/* One calibration that exists or could be made (a group of raw frames). */
struct calib {
    enum frame_type kind;    /* FRAME_BIAS, FRAME_DARK, FRAME_FLAT */
    char instrument[32], filter[32];
    int ccd, binning_x, binning_y;
    int64_t nx, ny;          /* trimmed */
    double exptime_s;        /* darks: longest of the group */
    double mjd;              /* middle of its inputs; NaN unknown */
    double ccd_temp_c;       /* NaN unknown */
    int nframes;
    int id;                  /* the caller's handle */
};

/* The best calibration of `kind` for the exposure: same instrument, CCD, binning and size; flats of the same filter;
 * darks prefer the same temperature (to 2 C, where both are known), then the same exposure time (any other is scaled);
 * then the nearest in time, then the smallest id.
 * Returned: index into calibs, or -1 with the reason (what was nearest and what kept it out) in why (>= 200 bytes). */
int calib_choose(enum frame_type kind, const struct exposure_meta *exposure, const struct calib *calibs, int n, char *why);

/* Do two frames belong to one calibration group (same type, instrument, CCD, binning, size; flats: filter; darks: exposure;
 * lights: both)? */
bool calib_same_group(const struct exposure_meta *a, const struct exposure_meta *b);

#endif
