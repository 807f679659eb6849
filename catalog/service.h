/* The catalogue's HTTP endpoints.
 *
 *     GET /scs/{object|detection}?RA=&DEC=&SR=[&VERB=][&MAXREC=][&RESPONSEFORMAT=votable|csv|tsv|json]
 *     GET /v1/exposures?night=&after=&limit=      /v1/nights      /v1/objects?order=variability&min_points=&limit=
 *     GET /v1/objects/{id}      /v1/objects/{id}/lightcurve      all with format=json|csv|tsv|votable
 *     GET /  a page      /healthz /health  /readyz /ready  /metrics /actuator/prometheus
 *
 * Source: Simple Cone Search 1.03 (REC 2008, erratum 2020): UCD1 in the answer, errors as <INFO name="Error">; DALI 1.1
 * for RESPONSEFORMAT and MAXREC. Departure: errors have HTTP status 400 as well, which the recommendation allows.    */
#ifndef NIGHTSHIFT_CATALOG_SERVICE_H
#define NIGHTSHIFT_CATALOG_SERVICE_H

#include <stdint.h>

#include "common/db_pool.h"
#include "common/err.h"
#include "common/httpd.h"

struct service {
    struct httpd *httpd;
    struct db_pool *pool;
    int64_t maxrec_default, maxrec_limit; /* rows of an answer: unless asked, and at most */
    double pool_wait_s;                   /* for a free connection, then 503 */
    bool unready;                         /* atomic: set when stopping, so that no new work is sent here */
};

enum err service_routes(struct service *s, struct error *err);

#endif
