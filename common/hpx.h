/* HEALPix, nested numbering, order 29: the sky as one sorted integer.
 *
 *     hpx29 = face 4 bits | 29 times (y bit, x bit)      12 * 4^29 pixels of 0.39 mas
 *
 * The pixel of a coarser order o is hpx29 >> 2*(29 - o), so a region of the sky is a few ranges of hpx29, and a B-tree
 * over hpx29 serves cones, partitions and nightly repacking alike. Angles are degrees, ICRS.
 * Threads: pure functions.
 * Source: Gorski et al. 2005, ApJ 622, 759 (projection: section 5 and figure 4; nested numbering: section 4). Written in
 * continuous coordinates (u, v) of a base face instead of ring and longitude indices; near the poles sqrt(1 - |z|) comes
 * from cos(dec), which keeps the digits that 1 - sin(dec) loses.                                                     */
#ifndef NIGHTSHIFT_COMMON_HPX_H
#define NIGHTSHIFT_COMMON_HPX_H

#include <stdbool.h>
#include <stdint.h>

#define HPX_ORDER  29
#define HPX_PIXELS (INT64_C(12) << (2 * HPX_ORDER))

/* Pixel that holds a direction. ra: any finite value; dec in [-90, 90]. Returned: 0 .. HPX_PIXELS - 1; -1 for NaN,
 * infinite or |dec| > 90. */
int64_t hpx_of(double ra_deg, double dec_deg);

/* Centre of pixel `pix` of order `order` (0..29). ra in [0, 360). */
void hpx_centre(int64_t pix, int order, double *ret_ra_deg, double *ret_dec_deg);

/* Upper bound of the angle between the centre of any pixel of this order and its farthest point (radians). */
double hpx_radius_max(int order);

struct hpx_range {
    int64_t first, last; /* hpx29, both included */
};

#define HPX_RANGES_MAX 512

/* Ranges that cover a cone: every direction within radius_deg lies in one of them; some outside do too, so that an exact
 * test of the distance must follow.
 * Given:    max   most ranges wanted, 1..HPX_RANGES_MAX; more ranges cover more tightly (8 suits a cone of arcseconds)
 * Returned: ret   sorted, disjoint, not touching; count (0 for a negative or NaN radius or a bad centre)               */
int hpx_cone(double ra_deg, double dec_deg, double radius_deg, int max, struct hpx_range *ret);

/* The same for a small cone in a fraction of the time: at most 4 ranges of the order whose pixels are about as wide as the
 * cone. For joins of many positions. Cones that are not small, or lie on the border of two faces, go the way of hpx_cone(). */
#define HPX_QUICK_RANGES 4
int hpx_cone_quick(double ra_deg, double dec_deg, double radius_deg, struct hpx_range ret[HPX_QUICK_RANGES]);

/* Ranges that cover any region of which is known where it lies to a disk of radius `reach` (radians) around a unit vector.
 * size_rad: width of the region's narrow side: pixels are not divided further when they are much smaller. Otherwise as hpx_cone(). */
enum hpx_place { HPX_OUTSIDE, HPX_PARTIAL, HPX_FULL };
typedef enum hpx_place (*hpx_place_fn)(const void *region, const double centre[3], double reach);
int hpx_cover(hpx_place_fn place, const void *region, double size_rad, int max, struct hpx_range *ret);

/* Unit vector of a direction. */
void hpx_vector(double ra_deg, double dec_deg, double ret[3]);

#endif
