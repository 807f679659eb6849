/* Cones on the sky: Simple Cone Search on every published table with a position, and what else asks by place.
 *
 *     cone --hpx_cone()--> ranges of hpx29 --index--> rows --exact distance--> answer
 *
 * The detections' partitions are chosen first: detection_cover says which nights have rows in a cell of the sky; the answer is
 * kept for COVER_S, so that a detection of a new night is seen within that time.
 * Source: Simple Cone Search 1.03 (REC 2008, erratum 2020). Departure: errors have HTTP status 400 as well, which the
 * recommendation allows; RESPONSEFORMAT and MAXREC as DALI 1.1 has them.                                             */
#ifndef NIGHTSHIFT_CATALOG_CONE_H
#define NIGHTSHIFT_CATALOG_CONE_H

#include "catalog/schema.h"
#include "common/db_pool.h"
#include "common/err.h"
#include "common/httpd.h"

struct service;
struct cones;

/* Queries and columns of every table with a position. */
enum err cones_new(const struct schema *schema, struct cones **ret, struct error *err);
void cones_free(struct cones *c); /* takes NULL */

/* Handler of /scs/{table}; user: struct service. */
void cone_search(struct http_request *r, struct http_response *w, void *user);

/* Parameters $1..$6 of the cone queries. */
struct cone_values {
    char ra[32], dec[32], radius[32], first[16 * 24], last[16 * 24], limit[24], nights[1200];
    const char *list[7];
    bool all_nights;         /* list[6] is not used */
};
void cone_values(double ra, double dec, double radius_deg, int64_t limit, struct cone_values *ret);

#endif
