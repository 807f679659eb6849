/* Light curves: of one object, of a place on the sky, of up to 10,000 objects in one request; with forced photometry and upper
 * limits; with barycentric times.
 *
 *     GET  /v1/objects/{id}/lightcurve      GET /v1/lightcurves?ra=&dec=&radius=     GET or POST /v1/lightcurves?ids=1,2,3
 *     POST /v1/lightcurves  with a JSON body: [1, 2, 3], ["1", "2"] or {"ids": [...]}
 *
 * Rows come object by object in the order asked for, then by time. forced=false leaves forced photometry out.         */
#ifndef NIGHTSHIFT_CATALOG_LIGHTCURVE_H
#define NIGHTSHIFT_CATALOG_LIGHTCURVE_H

#include "common/httpd.h"

#define LIGHTCURVE_IDS 10000

/* Handlers; user: struct service. */
void lightcurve_of_object(struct http_request *r, struct http_response *w, void *user);
void lightcurve_of_many(struct http_request *r, struct http_response *w, void *user);

#endif
