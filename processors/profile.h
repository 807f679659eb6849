/* Isophotal profile of a set of pixels: moments weighted with the filtered values, and the ellipse they give. */
#ifndef NIGHTSHIFT_PROCESSORS_PROFILE_H
#define NIGHTSHIFT_PROCESSORS_PROFILE_H

#include <stdint.h>

#include "processors/objects.h"

struct profile {
    int64_t npix;
    double flux, cflux;      /* sums of unfiltered and filtered values */
    float peak, cpeak;
    int32_t xpeak, ypeak;    /* of the largest filtered value */
    int32_t xmin, xmax, ymin, ymax;
    double x, y, x2, y2, xy;
    double a, b, theta_rad;
    double cxx, cyy, cxy;
    double truncation;       /* a b of the Gaussian with these isophotes / a b of the truncated moments; at most 1 */
};

/* Given: p, n >= 1 pixels; threshold they pass; centre (x, y) to hold on to, or NULL for the barycentre: second moments are
 * about it. A set too narrow for its moments (determinant below 1/144 pixel^4) is
 * widened by the variance of a pixel, 1/12, as the Source Extractor manual says. Threads: leaf. */
void profile_measure(const struct object_pixel *p, int64_t n, double threshold, const double *centre, struct profile *ret);

#endif
