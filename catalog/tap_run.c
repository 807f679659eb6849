/* One query: connection's transaction, uploads, translation, rows. And the watch that ends it in time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "catalog/roles.h"
#include "catalog/tap_internal.h"
#include "common/db_copy.h"
#include "common/log.h"

#define WATCH_MS     100
#define ABORT_AFTER_S 5          /* a client that does not read its error is cut off so long after the limit */

/* ---- the watch ----------------------------------------------------------------------------------------------------------- */

static void look_after(const struct tap *t, struct tap_run *run, double now)
{
    int reason = __atomic_load_n(&run->reason, __ATOMIC_RELAXED);
    if (reason == TAP_GOES_ON) {
        bool job_stops = *run->job && tap_stopping(t); /* whoever else comes for a job that stops: it goes back to the queue */
        if (job_stops || (run->request && http_client_gone(run->request))) reason = TAP_CLIENT_GONE;
        else if (now > run->started + run->limit_s) reason = TAP_TOO_LONG;
        else return;
        __atomic_store_n(&run->reason, reason, __ATOMIC_RELAXED);
    }
    if (now < run->last_cancel + 1) return; /* once a second: a statement may begin just after a cancel */
    run->last_cancel = now;
    if (run->db) db_cancel(run->db);
    if (run->response && (reason == TAP_CLIENT_GONE || now > run->started + run->limit_s + ABORT_AFTER_S)) http_abort(run->response);
}

static void *watch(void *user)
{
    struct tap *t = user;
    for (;;) {
        nanosleep(&(struct timespec){.tv_nsec = WATCH_MS * 1000000L}, NULL);
        pthread_mutex_lock(&t->lock);
        double now = clock_seconds();
        bool idle = !t->runs;
        for (struct tap_run *r = t->runs; r; r = r->next) look_after(t, r, now);
        bool end = __atomic_load_n(&t->over, __ATOMIC_RELAXED) && idle;
        pthread_mutex_unlock(&t->lock);
        if (end) return NULL;
    }
}

enum err tap_watch_start(struct tap *t, struct error *err)
{
    t->watch_runs = !pthread_create(&t->watch, NULL, watch, t);
    return t->watch_runs ? ERR_OK : ERROR(err, ERR_NOMEM, "could not start a thread");
}

void tap_watch_add(struct tap *t, struct tap_run *run)
{
    pthread_mutex_lock(&t->lock);
    run->next = t->runs;
    t->runs = run;
    metric_set(t->running[*run->job != 0], metric_value(t->running[*run->job != 0]) + 1);
    pthread_mutex_unlock(&t->lock);
}

void tap_watch_remove(struct tap *t, struct tap_run *run)
{
    pthread_mutex_lock(&t->lock);
    for (struct tap_run **p = &t->runs; *p; p = &(*p)->next)
        if (*p == run) {
            *p = run->next;
            break;
        }
    metric_set(t->running[*run->job != 0], metric_value(t->running[*run->job != 0]) - 1);
    pthread_mutex_unlock(&t->lock);
}

/* ---- rows ---------------------------------------------------------------------------------------------------------------- */

static struct rowset_column *columns_of(const struct adql_result *a)
{
    struct rowset_column *c = calloc((size_t)a->ncol, sizeof *c);
    for (int i = 0; c && i < a->ncol; i++)
        c[i] = (struct rowset_column){.name = a->columns[i].name, .type = (enum rowset_type)a->columns[i].type, .unit = a->columns[i].unit,
                                      .ucd = a->columns[i].ucd, .utype = a->columns[i].utype, .xtype = a->columns[i].xtype,
                                      .description = a->columns[i].description};
    return c;
}

/* The SQL asks for one row more than may be sent: if it comes, rows are missing. */
static enum err one_row(void *user, const char *data, int size, struct error *err)
{
    struct tap_run *run = user;
    struct copy_reader reader;
    enum err e = ERR_OK;
    if (run->rows < run->maxrec) e = rowset_copy_row(run->rowset, data, size, NULL, err);
    else if (copy_read_row(&reader, data, size)) run->overflow = true;
    run->rows = rowset_rows(run->rowset);
    if (e == ERR_INTERRUPTED) __atomic_store_n(&run->reason, TAP_CLIENT_GONE, __ATOMIC_RELAXED);
    return e;
}

static enum err copy_rows(struct tap_run *run, const char *sql, struct error *err)
{
    char *copy = NULL;
    if (asprintf(&copy, "COPY (%s) TO STDOUT BINARY", sql) < 0) return ERROR(err, ERR_NOMEM, "could not get memory for a statement");
    enum err e = db_copy_out(run->db, copy, one_row, run, err);
    free(copy);
    return e;
}

/* Headers are set before, the document begins with its first row or its end. */
static enum err stream_rows(struct tap_run *run, const struct tap_query *q, const struct adql_result *a, struct error *err)
{
    struct rowset_column *columns = columns_of(a);
    if (!columns) return ERROR(err, ERR_NOMEM, "could not get memory for the columns");
    const struct rowset_options o = {.format = q->format, .columns = columns, .ncol = a->ncol, .table = "result", .description = ""};
    enum err e = rowset_new(&o, run->sink, run->sink_user, &run->rowset, err), last;
    if (!e) {
        e = copy_rows(run, a->sql, err);
        if (e && run->response && !http_streaming(run->response)) http_discard(run->response); /* the error gets a document of its own */
        else if ((last = rowset_end(run->rowset, run->overflow, e ? err->message : NULL, e ? NULL : err)) && !e) e = last;
    }
    rowset_free(run->rowset);
    run->rowset = NULL;
    free(columns);
    return e;
}

/* ---- the transaction ------------------------------------------------------------------------------------------------------ */

static enum err begin(const struct tap *t, struct tap_run *run, struct error *err)
{
    enum err e = db_begin(run->db, err);
    if (!e && t->opt.temp_bytes) e = db_execf(run->db, err, "SELECT tap_limits(%lld)", (long long)(t->opt.temp_bytes >> 10));
    if (!e) e = roles_restrict(run->db, NULL, err); /* from here on the rights of a reader */
    return e ? e : db_execf(run->db, err, "SET LOCAL statement_timeout = %lld; SET LOCAL lock_timeout = '5s'; SET LOCAL TimeZone = 'UTC';"
                                          " SET LOCAL idle_in_transaction_session_timeout = '60s'; SET LOCAL client_connection_check_interval = '1s'",
                            (long long)((run->limit_s + 2) * 1000));
}

/* Faults of a value the query computed are the query's, not the service's: class 22 of SQLSTATE. */
static enum err whose_fault(const struct tap *t, struct tap_run *run, enum err e, struct error *err)
{
    int reason = __atomic_load_n(&run->reason, __ATOMIC_RELAXED);
    if (reason == TAP_TOO_LONG || (e == ERR_INTERRUPTED && reason == TAP_GOES_ON)) {
        *err = (struct error)ERROR_INIT;
        e = ERROR(err, ERR_INTERRUPTED, "the query took longer than %g s, which is the limit", run->limit_s);
        if (!*run->job) error_hint(err, "an asynchronous query may take %g s", t->opt.async_seconds_max);
    } else if (e == ERR_INTERNAL && strstr(err->message, "(SQLSTATE 22")) {
        err->code = e = ERR_USAGE;
    }
    return e;
}

static enum err run_in_transaction(struct tap *t, struct tap_run *run, const struct tap_query *q, const struct upload_list *uploads, struct error *err)
{
    struct upload_set set = {0};
    struct adql_result a = {0};
    const struct upload_limits limits = {t->opt.upload_rows, t->opt.upload_bytes, t->upload_from, run->limit_s < 60 ? run->limit_s : 60};
    enum err e = begin(t, run, err);
    if (!e && uploads->n) e = upload_load(run->db, uploads, &limits, &set, err);
    const struct adql_options o = {.maxrec = q->maxrec, .uploads = set.tables, .nupload = set.n};
    if (!e) e = adql_translate(q->query, t->schema, &o, &a, err);
    if (!e) e = adql_prepare(run->db, &a, 0, err);
    if (!e) e = db_exec(run->db, "SET TRANSACTION READ ONLY", err);
    if (!e) e = stream_rows(run, q, &a, err);
    if (!e) e = db_commit(run->db, err);
    adql_release(&a);
    upload_set_release(&set);
    return e;
}

/* A query that is wrong is told so before it waits for a connection. */
static enum err check_first(struct tap *t, const struct tap_query *q, struct error *err)
{
    struct adql_result a = {0};
    const struct adql_options o = {.maxrec = q->maxrec};
    enum err e = adql_translate(q->query, t->schema, &o, &a, err);
    adql_release(&a);
    return e;
}

enum err tap_run_query(struct tap *t, struct tap_run *run, const struct tap_query *q, const struct upload_list *uploads, struct error *err)
{
    struct error own = ERROR_INIT;
    struct db_pool *pool = *run->job ? t->async : t->sync;
    struct db *db = NULL;
    if (!err) err = &own;
    enum err e = uploads->n ? ERR_OK : check_first(t, q, err);
    if (!e) e = db_pool_take(pool, t->opt.pool_wait_s, &db, err);
    if (e) return e;
    run->db = db;
    run->maxrec = q->maxrec;
    tap_watch_add(t, run);
    e = run_in_transaction(t, run, q, uploads, err);
    tap_watch_remove(t, run); /* before the connection is another's */
    if (e) db_rollback(db);
    run->db = NULL;
    db_pool_give(pool, db);
    return e ? whose_fault(t, run, e, err) : ERR_OK;
}
