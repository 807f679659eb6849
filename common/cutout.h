/* A piece of an image, cut along pixel rows, its sky coordinates kept right: the only door of the services to pixels.
 *
 *     image file + region on the sky --> pixel section --> FITS file with the same planes, CRPIX moved
 *
 * A cutout is the smallest section of whole pixels that holds the region's part of the image; pixels are copied, never
 * resampled. Of a product of reduce the planes SCI, VAR and MASK come along. Only the tiles under the section are unpacked.
 * Source: SODA 1.0 (REC 2017) section 3.3 for the meaning of CIRCLE, RANGE and POLYGON; a region that misses the image is
 * ERR_NOT_FOUND (SODA's 204). FITS WCS papers I and II: moving the reference pixel moves an image's whole WCS, SIP included.
 * Threads: different calls may run at once.                                                                           */
#ifndef NIGHTSHIFT_COMMON_CUTOUT_H
#define NIGHTSHIFT_COMMON_CUTOUT_H

#include "common/err.h"
#include "common/frame.h"
#include "common/skycoord.h"

#define CUTOUT_VERTICES 256

enum cutout_shape { CUTOUT_ALL, CUTOUT_CIRCLE, CUTOUT_RANGE, CUTOUT_POLYGON };

/* ICRS degrees. CIRCLE: a[0], b[0] the centre, radius in (0, 90]. RANGE: from (a[0], b[0]) to (a[1], b[1]), longitudes may
 * wrap at 360. POLYGON: n vertices in either sense, smaller than a hemisphere. */
struct cutout_region {
    enum cutout_shape shape;
    double radius;
    int n;
    double a[CUTOUT_VERTICES], b[CUTOUT_VERTICES];
};

/* Read a region as DALI 1.1 writes it: "CIRCLE 10.5 -3 0.1", "RANGE 10 11 -4 -3" (bounds may be -Inf, +Inf),
 * "POLYGON ra dec ra dec ra dec ..."; without the first word when `shape` says which it is (CUTOUT_ALL: the word must be
 * there). Status: ERR_USAGE with what is wrong. */
enum err cutout_region_parse(const char *text, enum cutout_shape shape, struct cutout_region *ret, struct error *err);

/* Is a place within the region? */
bool cutout_region_holds(const struct cutout_region *r, double ra, double dec);

/* Do they share a place? `polygon` is a POLYGON (the footprint of an image); a RANGE's edges are followed in 512 steps each. */
bool cutout_regions_meet(const struct cutout_region *r, const struct cutout_region *polygon);

/* The smallest section of an nx by ny image that holds the region's part of it. Status: ERR_NOT_FOUND when they do not meet. */
enum err cutout_section(struct skycoord *sky, int64_t nx, int64_t ny, const struct cutout_region *region, struct section *ret,
                        struct error *err);

/* Move a header to a section of its image: CRPIXja of every description, LTVi, and away with the cards that count pixels of
 * the whole (DATASEC and its like, checksums). Status: ERR_NOMEM. */
enum err cutout_header(struct header *h, struct section s, struct error *err);

/* Cut `region` out of the image in `path` into a new FITS file.
 * Given:    max_pixels  a larger section is refused (0: no limit)
 * Returned: *ret_section (may be NULL)
 * Status:   ERR_NOT_FOUND they do not meet, or the image has no sky coordinates and a region was asked for; ERR_USAGE section too
 *           large; what frameio says. On failure no file is made. */
enum err cutout_file(const char *path, const struct cutout_region *region, int64_t max_pixels, const char *out, struct section *ret_section,
                     struct error *err);

#endif
