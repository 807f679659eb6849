/* Groups detections of many frames into stars: the same place on the sky within a radius. */
#ifndef NIGHTSHIFT_PIPELINE_SKYINDEX_H
#define NIGHTSHIFT_PIPELINE_SKYINDEX_H

#include <stdint.h>

#include "common/err.h"

struct skyindex;

struct skyindex *skyindex_new(double radius_deg); /* NULL: no memory */
void skyindex_free(struct skyindex *x);           /* takes NULL */

/* The star nearest to a direction within the radius (the lowest number wins a tie), or a new one there.
 * Returned: *ret_star, counted from 0. Right at the poles and at RA 0/360: unit vectors in a grid of cubes. */
enum err skyindex_find_or_add(struct skyindex *x, double ra_deg, double dec_deg, int *ret_star, struct error *err);

int skyindex_count(const struct skyindex *x);
void skyindex_position(const struct skyindex *x, int star, double *ret_ra_deg, double *ret_dec_deg); /* where it was first seen */

#endif
