/* TAP 1.1 over the published tables: /tap/sync, /tap/async, /tap/tables, /tap/capabilities, /tap/availability, /tap/examples.
 *
 *     request --tap_params--> query --tap_run: adql, uploads, rows--> rowset --> the client, or a file of the job
 *                                         ^ watch: time limit, client gone --> cancel
 *
 * Properties: (1) a synchronous query has its time limit from the request to the last byte, and its database work stops within
 * a second when the client leaves; (2) synchronous queries, asynchronous ones and the job store have connections of their own,
 * so that none waits behind another's; (3) an answer says truthfully whether it is whole: OVERFLOW when rows are missing, a
 * closed document with the error in it and a broken connection when it fails half-way; (4) asynchronous jobs survive the end of
 * the server and of the database (uws.h).
 * Source: TAP 1.1 (REC 2019), DALI 1.1 (REC 2017), UWS 1.1 (REC 2016), VOSI 1.1 (REC 2017), TAPRegExt 1.0.
 * Departures: unknown parameters are ignored (TAP 1.1 2.7; DALI 1.2 will want an error); anonymous callers get an empty job
 * list, because there whoever knows a job's id may have it.                                                             */
#ifndef NIGHTSHIFT_CATALOG_TAP_H
#define NIGHTSHIFT_CATALOG_TAP_H

#include "catalog/schema.h"
#include "common/db_pool.h"
#include "common/httpd.h"
#include "common/metrics.h"
#include "common/settings.h"

struct tap;

struct tap_options {
    db_pool_url ask_url;         /* the database's URL afresh, when a password rotates; NULL: it never does */
    const struct settings *ask_user;
    const char *base_url;        /* where clients reach the service; "": as the request's Host says */
    const char *folder;          /* of results and uploads of jobs */
    const char *upload_from;     /* "public", "none", or hosts tables may be fetched from by URL */
    int sync_workers, async_workers;
    double sync_seconds, async_seconds, async_seconds_max;
    double retention, retention_max; /* seconds a job is kept */
    double pool_wait_s;
    int64_t maxrec, maxrec_limit, upload_rows, upload_bytes, result_bytes, temp_bytes;
};

/* What the settings say. folder is filled into `folder` when the setting is empty. */
void tap_options_from(const struct settings *s, char folder[1024], struct tap_options *ret);

/* url: of the database. Loads the schema, makes the folder, starts the workers of asynchronous jobs. */
enum err tap_new(const char *url, const struct tap_options *o, struct tap **ret, struct error *err);
enum err tap_routes(struct tap *t, struct httpd *h, struct error *err);

/* Stop taking jobs, give back those that run, wake who waits. Before httpd_drain(). */
void tap_stop(struct tap *t);
void tap_free(struct tap *t); /* after httpd_free(); takes NULL */

#endif
