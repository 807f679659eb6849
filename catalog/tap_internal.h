/* What the files of TAP share. */
#ifndef NIGHTSHIFT_CATALOG_TAP_INTERNAL_H
#define NIGHTSHIFT_CATALOG_TAP_INTERNAL_H

#include <pthread.h>

#include "catalog/rowset.h"
#include "catalog/tap.h"
#include "catalog/upload.h"
#include "catalog/uws.h"

#define TAP_LINE 1200            /* of an error */

/* ---- parameters -------------------------------------------------------------------------------------------------------- */

enum tap_name { TAP_REQUEST, TAP_VERSION, TAP_LANG, TAP_QUERY, TAP_FORMAT, TAP_RESPONSEFORMAT, TAP_MAXREC, TAP_RUNID, TAP_UPLOAD, TAP_NAMES };
extern const char *const tap_names[TAP_NAMES];

struct tap_params {
    char *value[TAP_NAMES];      /* malloc'd; NULL: not given */
};

enum err tap_params_take(struct tap_params *p, const struct http_request *r, struct error *err); /* what is given replaces */
enum err tap_params_parse(struct tap_params *p, const char *json, struct error *err);
char *tap_params_json(const struct tap_params *p); /* malloc'd */
void tap_params_release(struct tap_params *p);

struct tap_query {               /* parameters that make sense; strings belong to them */
    const char *query, *format_name, *runid;
    enum rowset_format format;
    int64_t maxrec;
};
enum err tap_query_of(const struct tap *t, const struct tap_params *p, struct tap_query *ret, struct error *err);

/* ---- a query under way --------------------------------------------------------------------------------------------------- */

enum tap_stop_reason { TAP_GOES_ON, TAP_CLIENT_GONE, TAP_TOO_LONG, TAP_LOST };

/* Seen by the watch while the query runs. */
struct tap_run {
    struct db *db;
    struct http_request *request; /* NULL for a job */
    struct http_response *response;
    double started, limit_s, last_cancel;
    char job[UWS_ID_SIZE];       /* "" for a synchronous one */
    int reason;                  /* enum tap_stop_reason; atomic */
    struct tap_run *next;
    /* the answer */
    rowset_sink sink;
    void *sink_user;
    struct rowset *rowset;       /* while it is written */
    int64_t maxrec, rows;
    bool overflow;
};

/* Translate and run; the document goes to run->sink. An error after the first byte closes the document with the error in it;
 * before, nothing is left in run->response. */
enum err tap_run_query(struct tap *t, struct tap_run *run, const struct tap_query *q, const struct upload_list *uploads, struct error *err);

/* ---- the service --------------------------------------------------------------------------------------------------------- */

struct tap_waiter {              /* a request that waits for a change of its job's phase */
    struct http_request *request;
    char id[UWS_ID_SIZE];
    enum uws_phase phase;
    double until;
    bool woken;
    struct tap_waiter *next;
};

struct tap {
    struct tap_options opt;
    char *base_url, *root, *upload_from;
    char folder[UWS_FILE_MAX / 2]; /* below root, the database's own; once folder_ready */
    bool folder_ready;           /* atomic */
    char lease_owner[80];
    char up_since[32];
    struct schema *schema;
    struct db_pool *sync, *async, *jobs;
    struct metric *running[2];   /* queries under way: sync, async */
    pthread_mutex_t lock;
    pthread_cond_t work;         /* a job may wait, or the end has come */
    struct tap_run *runs;
    struct tap_waiter *waiters;
    pthread_t watch, clerk, *workers;
    bool watch_runs, clerk_runs;
    int nworker, kicks;
    bool stopping;               /* atomic; set under the lock */
    bool over;                   /* atomic: no query can come any more */
    bool database_answers;       /* atomic; as the clerk saw it last */
};

bool tap_stopping(const struct tap *t);
/* Learn the name of the folder of jobs from the database and make it; once. */
enum err tap_folder(struct tap *t, struct db *db, struct error *err);

void tap_watch_add(struct tap *t, struct tap_run *run);
void tap_watch_remove(struct tap *t, struct tap_run *run);
enum err tap_watch_start(struct tap *t, struct error *err);

enum err tap_jobs_start(struct tap *t, struct error *err); /* tap_jobs.c */
void tap_jobs_stop(struct tap *t);
void tap_kick(struct tap *t);                              /* a job was queued here */
void tap_job_changed(struct tap *t, const char *id);       /* its phase changed here: wake who waits, stop what runs if aborted */
void tap_job_stop(struct tap *t, const char *id);

/* "http://host:port/tap": owned by buf. */
const char *tap_url(const struct tap *t, const struct http_request *r, char *buf, size_t size);
/* Text into XML; through http_write or a sink. */
void tap_xml(struct http_response *w, const char *text);
/* The error document with its status. */
void tap_refuse(struct http_response *w, const struct error *err);
bool tap_sink(void *user, const char *data, size_t size);

/* UPLOAD and multipart of a request: parts become parameters, tables a list whose bytes lie in the request's body. */
enum err tap_take_body(struct http_request *r, struct error *err);
enum err tap_take_uploads(struct http_request *r, const struct tap_params *p, struct upload_list *ret, struct error *err);

enum err tap_async_routes(struct tap *t, struct httpd *h, struct error *err); /* tap_async.c */
enum err vosi_routes(struct tap *t, struct httpd *h, struct error *err);      /* vosi.c */
enum err examples_routes(struct tap *t, struct httpd *h, struct error *err);  /* examples.c */

#endif
