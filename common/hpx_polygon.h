/* Polygons on the sphere: great-circle edges, the smaller of the two areas is inside. Ranges of hpx29 that cover them.
 *
 * Conventions: vertices in degrees, any winding; the last joins the first. An edge is the shorter arc. A polygon that
 * crosses itself is inside where a path to the outside crosses an odd number of edges.
 * Threads: pure functions.
 * Source: parity of edges crossed on the way along the meridian to the north pole; area by the spherical excess of the
 * triangles with one vertex (Eriksson 1990, Math. Mag. 63, 184).                                                      */
#ifndef NIGHTSHIFT_COMMON_HPX_POLYGON_H
#define NIGHTSHIFT_COMMON_HPX_POLYGON_H

#include <stdbool.h>

#include "common/hpx.h"

#define HPX_VERTICES_MAX 1000

struct hpx_polygon {
    int n;
    double (*vertex)[3];     /* unit vectors */
    double (*normal)[3];     /* of edge i from vertex i to i + 1, unit length; convex: pointing inwards */
    double *ra, *dec;        /* of the vertices, ra in [0, 360) */
    bool convex;             /* inside = on the inner side of every edge */
    bool pole_inside;        /* the north pole; of polygons that are not convex */
    double area;             /* square degrees, at most half of the sky */
    double memory[];
};

enum hpx_polygon_fault { HPX_POLYGON_GOOD, HPX_POLYGON_FEW, HPX_POLYGON_MANY, HPX_POLYGON_COORDINATE, HPX_POLYGON_ANTIPODAL, HPX_POLYGON_FLAT, HPX_POLYGON_MEMORY };

/* Given:    n, ra, dec  vertices; equal neighbours are taken as one
 * Returned: ret         new, freed with free(); untouched on a fault
 *           _FEW: less than three different vertices; _COORDINATE: not finite, |dec| > 90; _ANTIPODAL: an edge of 180 degrees;
 *           _FLAT: all on one great circle                                                                            */
enum hpx_polygon_fault hpx_polygon_new(int n, const double *ra, const double *dec, struct hpx_polygon **ret);
const char *hpx_polygon_fault_text(enum hpx_polygon_fault f);

/* The four corners of a box: a cross at the centre whose arms, half the width and half the height long, lie along great
 * circles to the east and the north; sides are great circles square to the arms (ADQL 2.0, section 2.4.5). 0 <= width,
 * height < 180. */
void hpx_box(double ra, double dec, double width, double height, double ret_ra[4], double ret_dec[4]);

/* Borders count as inside, within the rounding of a double. */
bool hpx_polygon_has(const struct hpx_polygon *p, double ra, double dec);

/* As hpx_cone(): ranges that hold every direction inside. */
int hpx_polygon_ranges(const struct hpx_polygon *p, int max, struct hpx_range *ret);

#endif
