#include "common/db.h"

#include <libpq-fe.h>
#include <math.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/log.h"

#define PREPARED_MAX 64

struct db {
    PGconn *pg;
    char *url, *application;
    const char *prepared[PREPARED_MAX]; /* names known to this connection; string literals of the callers */
    int nprepared;
    bool plan_once;
    bool pooled;             /* a pooler stands in between: statements are not prepared, they might be looked for elsewhere */
};

/* PGresult by another name: callers never see libpq's types. */
static PGresult *pg_of(const struct db_result *r)
{
    return (PGresult *)(uintptr_t)r;
}

/* ---- errors ------------------------------------------------------------------------------------------------------- */

static enum err err_of_state(const char *s)
{
    if (!strcmp(s, "NS077")) return ERR_LEASE_LOST;
    if (!strcmp(s, "53100")) return ERR_NO_SPACE;
    if (!strcmp(s, "57014")) return ERR_INTERRUPTED;
    if (!strcmp(s, "42501") || !strncmp(s, "28", 2) || !strncmp(s, "3D", 2)) return ERR_SETTINGS;
    if (!strcmp(s, "55P03") || !strncmp(s, "57P", 3) || !strncmp(s, "08", 2) || !strncmp(s, "40", 2) || !strncmp(s, "53", 2))
        return ERR_DATABASE;
    return ERR_INTERNAL;
}

/* libpq's message on one line, without its "ERROR:  ". */
static void one_line(char *dst, size_t size, const char *message)
{
    static const char *const prefixes[] = {"ERROR:  ", "FATAL:  ", "PANIC:  "};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
        if (!strncmp(message, prefixes[i], strlen(prefixes[i]))) message += strlen(prefixes[i]);
    snprintf(dst, size, "%s", message);
    for (char *p = dst; *p; p++)
        if (*p == '\n' || *p == '\t') *p = ' ';
    for (size_t n = strlen(dst); n && dst[n - 1] == ' '; n--) dst[n - 1] = '\0';
}

static enum err connection_error(struct db *db, struct error *err)
{
    char line[500];
    one_line(line, sizeof line, PQerrorMessage(db->pg));
    return ERROR(err, ERR_DATABASE, "could not talk to the database: %s", *line ? line : "the connection is closed");
}

/* Takes the result (may be NULL: no memory or no connection). */
static enum err result_error(struct db *db, PGresult *r, struct error *err)
{
    const char *state = r ? PQresultErrorField(r, PG_DIAG_SQLSTATE) : NULL;
    if (!state || PQstatus(db->pg) == CONNECTION_BAD) {
        PQclear(r);
        return connection_error(db, err);
    }
    const char *primary = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY), *detail = PQresultErrorField(r, PG_DIAG_MESSAGE_DETAIL);
    char line[600];
    snprintf(line, sizeof line, "%s%s%s", primary ? primary : "no message", detail ? ": " : "", detail ? detail : "");
    one_line(line, sizeof line, strdupa(line));
    enum err e = ERROR(err, err_of_state(state), "the database says: %s (SQLSTATE %s)", line, state);
    const char *hint = PQresultErrorField(r, PG_DIAG_MESSAGE_HINT);
    if (hint) error_hint(err, "%s", hint);
    PQclear(r);
    return e;
}

static void drop_notice(void *unused, const PGresult *r)
{
    (void)unused, (void)r;
}

/* ---- connections -------------------------------------------------------------------------------------------------- */

/* A pooler hands out process numbers of its own. */
static void notice_pooler(struct db *db)
{
    PGresult *r = PQexec(db->pg, "SELECT pg_backend_pid()");
    db->pooled = PQresultStatus(r) == PGRES_TUPLES_OK && atoi(PQgetvalue(r, 0, 0)) != PQbackendPID(db->pg);
    PQclear(r);
}

/* Without memoize: the plan for any values thinks that look-ups repeat, and keeps each result for nothing. */
static void set_planning(struct db *db)
{
    if (db->plan_once && !db->pooled && PQstatus(db->pg) == CONNECTION_OK)
        PQclear(PQexec(db->pg, "SET plan_cache_mode = force_generic_plan; SET enable_memoize = off"));
}

void db_plan_once(struct db *db)
{
    if (db->plan_once) return;
    db->plan_once = true;
    set_planning(db);
}

static enum err check_connected(struct db *db, struct error *err)
{
    if (PQstatus(db->pg) == CONNECTION_OK) {
        PQsetNoticeReceiver(db->pg, drop_notice, NULL);
        db->nprepared = 0;
        notice_pooler(db);
        set_planning(db);
        return ERR_OK;
    }
    char line[500];
    one_line(line, sizeof line, PQerrorMessage(db->pg));
    /* A refused login carries no SQLSTATE in libpq 15: known by its words. */
    bool settings = strstr(line, "password") || strstr(line, "does not exist") || strstr(line, "no pg_hba.conf") ||
                    strstr(line, "invalid") || strstr(line, "missing \"=\"");
    enum err e = ERROR(err, settings ? ERR_SETTINGS : ERR_DATABASE, "could not connect to the database: %s", line);
    error_hint(err, settings ? "check DATABASE_URL" : "`nightshift db status` says whether the private database is up");
    return e;
}

static PGconn *connect_to(const char *url, const char *application)
{
    const char *keys[] = {"dbname", "fallback_application_name", "client_encoding", "connect_timeout", "keepalives_idle",
                          "keepalives_interval", "keepalives_count", "tcp_user_timeout", NULL};
    const char *values[] = {url, application, "UTF8", "10", "30", "10", "3", "60000", NULL};
    return PQconnectdbParams(keys, values, 1);
}

enum err db_open(const char *url, const char *application, struct db **ret, struct error *err)
{
    struct db *db = calloc(1, sizeof *db);
    if (!db || !(db->url = strdup(url)) || !(db->application = strdup(application))) {
        db_close(db);
        return ERROR(err, ERR_NOMEM, "could not get memory for a connection");
    }
    db->pg = connect_to(url, application);
    enum err e = db->pg ? check_connected(db, err) : ERROR(err, ERR_NOMEM, "could not get memory for a connection");
    if (e) {
        db_close(db);
        return e;
    }
    *ret = db;
    return ERR_OK;
}

void db_close(struct db *db)
{
    if (!db) return;
    if (db->pg) PQfinish(db->pg);
    free(db->url);
    free(db->application);
    free(db);
}

bool db_is_broken(const struct db *db)
{
    return PQstatus(db->pg) != CONNECTION_OK;
}

/* An idle connection has nothing to say: what is readable is a farewell, or news that leaves it good. */
bool db_went_away(struct db *db)
{
    struct pollfd p = {.fd = PQsocket(db->pg), .events = POLLIN};
    if (p.fd < 0) return true;
    while (poll(&p, 1, 0) > 0) /* the farewell first, then the end of the stream */
        if (!PQconsumeInput(db->pg) || PQstatus(db->pg) == CONNECTION_BAD) return true;
    return false;
}

enum err db_reopen(struct db *db, const char *url, struct error *err)
{
    char *copy = strdup(url);
    PGconn *pg = copy ? connect_to(url, db->application) : NULL;
    if (!pg) {
        free(copy);
        return ERROR(err, ERR_NOMEM, "could not get memory for a connection");
    }
    PQfinish(db->pg);
    free(db->url);
    db->pg = pg;
    db->url = copy;
    return check_connected(db, err);
}

enum err db_revive(struct db *db, double wait_s, struct error *err)
{
    double end = clock_seconds() + wait_s, pause = 0.1;
    for (;;) {
        struct error local = ERROR_INIT;
        PQreset(db->pg);
        enum err e = check_connected(db, &local);
        if (!e || e != ERR_DATABASE || clock_seconds() + pause > end) {
            if (e && err) *err = local;
            return e;
        }
        nanosleep(&(struct timespec){(time_t)pause, (long)(fmod(pause, 1) * 1e9)}, NULL);
        pause = fmin(2 * pause, 3);
    }
}

bool db_ping(const char *url)
{
    const char *keys[] = {"dbname", "connect_timeout", NULL}, *values[] = {url, "3", NULL};
    return PQpingParams(keys, values, 1) == PQPING_OK;
}

void db_cancel(struct db *db)
{
    char why[256];
    PGcancel *c = PQgetCancel(db->pg);
    if (!c) return;
    PQcancel(c, why, sizeof why);
    PQfreeCancel(c);
}

int db_socket(const struct db *db)
{
    return PQsocket(db->pg);
}

/* ---- statements --------------------------------------------------------------------------------------------------- */

static bool is_good(const PGresult *r)
{
    ExecStatusType s = PQresultStatus(r);
    return s == PGRES_COMMAND_OK || s == PGRES_TUPLES_OK || s == PGRES_EMPTY_QUERY || s == PGRES_SINGLE_TUPLE;
}

static enum err keep_or_fail(struct db *db, PGresult *r, struct db_result **ret, struct error *err)
{
    if (!r || !is_good(r)) return result_error(db, r, err);
    if (ret)
        *ret = (struct db_result *)r;
    else
        PQclear(r);
    return ERR_OK;
}

enum err db_exec(struct db *db, const char *sql, struct error *err)
{
    return keep_or_fail(db, PQexec(db->pg, sql), NULL, err);
}

enum err db_execf(struct db *db, struct error *err, const char *fmt, ...)
{
    char *sql = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&sql, fmt, ap);
    va_end(ap);
    if (n < 0) return ERROR(err, ERR_NOMEM, "could not get memory for a statement");
    enum err e = db_exec(db, sql, err);
    free(sql);
    return e;
}

enum err db_query(struct db *db, const char *sql, int n, const char *const *values, struct db_result **ret, struct error *err)
{
    return keep_or_fail(db, PQexecParams(db->pg, sql, n, NULL, values, NULL, NULL, 0), ret, err);
}

static enum err prepare(struct db *db, const char *name, const char *sql, struct error *err)
{
    for (int i = 0; i < db->nprepared; i++)
        if (!strcmp(db->prepared[i], name)) return ERR_OK;
    if (db->nprepared == PREPARED_MAX) return ERROR(err, ERR_INTERNAL, "more than %d prepared statements", PREPARED_MAX);
    enum err e = keep_or_fail(db, PQprepare(db->pg, name, sql, 0, NULL), NULL, err);
    if (!e) db->prepared[db->nprepared++] = name;
    return e;
}

enum err db_query_prepared(struct db *db, const char *name, const char *sql, int n, const char *const *values,
                           struct db_result **ret, struct error *err)
{
    if (db->pooled) return db_query(db, sql, n, values, ret, err);
    enum err e = prepare(db, name, sql, err);
    return e ? e : keep_or_fail(db, PQexecPrepared(db->pg, name, n, values, NULL, NULL, 0), ret, err);
}

/* Read what is left of a query, so that the handle can be used again. */
static void drain(struct db *db)
{
    for (PGresult *r; (r = PQgetResult(db->pg));) {
        if (PQresultStatus(r) == PGRES_COPY_IN) PQputCopyEnd(db->pg, "not wanted");
        if (PQresultStatus(r) == PGRES_COPY_OUT)
            for (char *row; PQgetCopyData(db->pg, &row, 0) > 0;) PQfreemem(row);
        PQclear(r);
    }
}

enum err db_stream(struct db *db, const char *name, const char *sql, int n, const char *const *values, bool binary,
                   db_row_fn row, void *user, struct error *err)
{
    if (db->pooled) name = NULL;
    enum err e = name ? prepare(db, name, sql, err) : ERR_OK;
    if (e) return e;
    int sent = name ? PQsendQueryPrepared(db->pg, name, n, values, NULL, NULL, binary)
                    : PQsendQueryParams(db->pg, sql, n, NULL, values, NULL, NULL, binary);
    if (!sent || !PQsetSingleRowMode(db->pg)) return connection_error(db, err);
    for (PGresult *r; !e && (r = PQgetResult(db->pg));) {
        if (!is_good(r)) {
            e = result_error(db, r, err);
            break;
        }
        if (PQntuples(r) == 1) e = row(user, (const struct db_result *)r, err);
        PQclear(r);
        if (e) db_cancel(db);
    }
    drain(db);
    return e;
}

void db_result_free(struct db_result *r)
{
    PQclear(pg_of(r));
}

int64_t db_nrow(const struct db_result *r)
{
    return PQntuples(pg_of(r));
}

int db_ncol(const struct db_result *r)
{
    return PQnfields(pg_of(r));
}

const char *db_column_name(const struct db_result *r, int col)
{
    return PQfname(pg_of(r), col);
}

unsigned db_column_type(const struct db_result *r, int col)
{
    return PQftype(pg_of(r), col);
}

bool db_is_null(const struct db_result *r, int64_t row, int col)
{
    return PQgetisnull(pg_of(r), (int)row, col);
}

const char *db_text(const struct db_result *r, int64_t row, int col)
{
    return PQgetvalue(pg_of(r), (int)row, col);
}

int db_length(const struct db_result *r, int64_t row, int col)
{
    return PQgetlength(pg_of(r), (int)row, col);
}

int64_t db_i64(const struct db_result *r, int64_t row, int col)
{
    return strtoll(db_text(r, row, col), NULL, 10);
}

double db_f64(const struct db_result *r, int64_t row, int col)
{
    return db_is_null(r, row, col) ? NAN : strtod(db_text(r, row, col), NULL);
}

bool db_bool(const struct db_result *r, int64_t row, int col)
{
    return *db_text(r, row, col) == 't';
}

/* ---- transactions ------------------------------------------------------------------------------------------------- */

enum err db_begin(struct db *db, struct error *err)
{
    return db_exec(db, "BEGIN", err);
}

enum err db_commit(struct db *db, struct error *err)
{
    PGresult *r = PQexec(db->pg, "COMMIT");
    if (!r || !is_good(r)) return result_error(db, r, err);
    /* COMMIT of a failed transaction succeeds as a ROLLBACK: that must not look like a commit. */
    bool committed = !strcmp(PQcmdStatus(r), "COMMIT");
    PQclear(r);
    return committed ? ERR_OK : ERROR(err, ERR_INTERNAL, "the transaction had failed before its commit");
}

void db_rollback(struct db *db)
{
    if (PQstatus(db->pg) != CONNECTION_OK) return;
    PGTransactionStatusType t = PQtransactionStatus(db->pg);
    if (t == PQTRANS_ACTIVE) drain(db);
    if (t != PQTRANS_IDLE) PQclear(PQexec(db->pg, "ROLLBACK"));
}

char *db_literal(struct db *db, const char *text)
{
    char *quoted = PQescapeLiteral(db->pg, text, strlen(text));
    char *copy = quoted ? strdup(quoted) : NULL;
    PQfreemem(quoted);
    return copy;
}

/* ---- COPY --------------------------------------------------------------------------------------------------------- */

enum err db_copy_in(struct db *db, const char *sql, struct error *err)
{
    PGresult *r = PQexec(db->pg, sql);
    if (!r || PQresultStatus(r) != PGRES_COPY_IN) return result_error(db, r, err);
    PQclear(r);
    return ERR_OK;
}

enum err db_copy_put(struct db *db, const void *data, size_t size, struct error *err)
{
    const size_t step = (size_t)1 << 20; /* libpq counts in int */
    for (const char *p = data; size;) {
        size_t n = size < step ? size : step;
        if (PQputCopyData(db->pg, p, (int)n) != 1) return connection_error(db, err);
        p += n;
        size -= n;
    }
    return ERR_OK;
}

enum err db_copy_end(struct db *db, int64_t *ret_rows, struct error *err)
{
    if (PQputCopyEnd(db->pg, NULL) != 1) return connection_error(db, err);
    PGresult *r = PQgetResult(db->pg);
    if (!r || PQresultStatus(r) != PGRES_COMMAND_OK) {
        enum err e = result_error(db, r, err);
        drain(db);
        return e;
    }
    if (ret_rows) *ret_rows = strtoll(PQcmdTuples(r), NULL, 10);
    PQclear(r);
    drain(db);
    return ERR_OK;
}

void db_copy_abort(struct db *db, const char *why)
{
    if (PQputCopyEnd(db->pg, why) == 1) drain(db);
}

enum err db_copy_out(struct db *db, const char *sql, db_copy_fn row, void *user, struct error *err)
{
    PGresult *r = PQexec(db->pg, sql);
    if (!r || PQresultStatus(r) != PGRES_COPY_OUT) return result_error(db, r, err);
    PQclear(r);
    enum err e = ERR_OK;
    char *data = NULL;
    int n;
    while (!e && (n = PQgetCopyData(db->pg, &data, 0)) > 0) {
        e = row(user, data, n, err);
        PQfreemem(data);
        if (e) db_cancel(db);
    }
    if (!e && n == -2) e = connection_error(db, err);
    if (!e && (r = PQgetResult(db->pg)) != NULL) {
        if (is_good(r))
            PQclear(r);
        else
            e = result_error(db, r, err);
    }
    drain(db);
    return e;
}
