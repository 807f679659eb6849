/* The catalogue's HTTP endpoints.
 *
 *     GET  /scs/{table}?RA=&DEC=&SR=[&VERB=][&MAXREC=][&RESPONSEFORMAT=]              every table with a position: cone.h
 *     GET  /v1/objects/{id}/lightcurve   GET, POST /v1/lightcurves                    lightcurve.h
 *     GET  /v1/exposures?night=&after=&limit=   /v1/nights   /v1/objects?order=variability&min_points=&limit=   /v1/objects/{id}
 *     GET  /  a page   /openapi.json   /healthz /health   /readyz /ready   /metrics /actuator/prometheus
 *
 * Each table in votable, votable/b, votable/b2, csv, tsv, json or fits (rowset.h).                                    */
#ifndef NIGHTSHIFT_CATALOG_SERVICE_H
#define NIGHTSHIFT_CATALOG_SERVICE_H

#include <stdint.h>

#include "common/db_pool.h"
#include "common/err.h"
#include "common/httpd.h"

struct cones;
struct moments;
struct schema;

struct service {
    struct httpd *httpd;
    struct db_pool *pool;
    int64_t maxrec_default, maxrec_limit; /* rows of an answer: unless asked, and at most */
    double pool_wait_s;                   /* for a free connection, then 503 */
    bool unready;                         /* atomic: set when stopping, so that no new work is sent here */
    /* made by service_routes() */
    struct schema *schema;
    struct cones *cones;
    struct moments *moments;              /* of lightcurve.c */
    char *sql_light_curve, *sql_place, *sql_object, *sql_variable, *sql_exposures, *sql_nights;
};

enum err service_routes(struct service *s, struct error *err);
void service_release(struct service *s); /* what service_routes() made; after the last request */

/* The {id} of the path; refuses by itself. Returned: false then. */
bool service_object_id(struct http_request *r, struct http_response *w, int64_t *ret);

struct moments *lightcurve_moments_new(void);
void lightcurve_moments_free(struct moments *m);

#endif
