/* Objects on the sky in memory, and the matching of one frame's detections to them.
 *
 * Objects hang in a grid of cubes laid over unit vectors: no pole, no seam at RA 0, 27 cubes hold every neighbour. A match
 * is a handshake: among all pairs within the radius the closest is made first and takes both out; ties go to the smaller
 * detection, then the smaller object id. So the result depends on the set of objects and detections alone, not on the order
 * in which they were added.
 * Threads: one.
 * Source: the best-first matching of lsst/ap_association (association.py); here on a hashed grid instead of a k-d tree.   */
#ifndef NIGHTSHIFT_CATALOG_SKYGRID_H
#define NIGHTSHIFT_CATALOG_SKYGRID_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

struct skygrid_object {
    int64_t id;
    double ra, dec, v[3]; /* deg; unit vector */
    int32_t next;         /* in its cube */
    int32_t tag;          /* the caller's */
};

struct skygrid_map { /* 64-bit key -> index; open addressing */
    uint64_t *keys;
    int32_t *values;      /* -1: empty */
    int64_t size, used;
};

struct skygrid {
    double edge;          /* of a cube */
    struct skygrid_object *objects;
    int32_t n, capacity;
    struct skygrid_map cubes, ids;
};

/* radius_arcsec: the largest that will be asked for. */
enum err skygrid_init(struct skygrid *g, double radius_arcsec, struct error *err);
void skygrid_release(struct skygrid *g);

/* Index of the new object; ids are unique. ERR_NOMEM. */
enum err skygrid_add(struct skygrid *g, int64_t id, double ra, double dec, int32_t tag, int32_t *ret, struct error *err);
int32_t skygrid_find(const struct skygrid *g, int64_t id); /* -1: not here */

/* Given:    v     n unit vectors
 *           skip  detections to leave alone (their ret is kept, and what it names is taken); NULL: none
 * Returned: ret   index of the object of each, -1: none within the radius is left                      */
enum err skygrid_match(const struct skygrid *g, int64_t n, const double (*v)[3], const bool *skip, double radius_arcsec, int32_t *ret,
                       struct error *err);

/* East and north of b on the tangent plane at the direction (ra, dec) whose unit vector is a, arcsec. */
void skygrid_offset(double ra, double dec, const double a[3], const double b[3], double *ret_east, double *ret_north);
/* The way back: direction at an offset. */
void skygrid_shift(double ra, double dec, double east, double north, double *ret_ra, double *ret_dec);

#endif
