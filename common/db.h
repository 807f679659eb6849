/* PostgreSQL: connect, query, COPY, transactions. The only room that talks to libpq.
 *
 *     struct db *db = NULL;
 *     if (db_open(url, "nightshift ingest", &db, &err)) ...
 *     db_begin(db, &err); db_copy_in(db, "COPY t FROM STDIN BINARY", &err); db_copy_put(...); db_copy_end(...); db_commit(db, &err);
 *
 * Nothing depends on the state of a session (no SET, no LISTEN, no session locks): pgbouncer in transaction mode may stand
 * in between (it is noticed, and statements are not prepared then), and after db_revive() a caller just starts its
 * transaction again.
 * Errors: the server's SQLSTATE is translated once, here:
 *     08, 40, 53 (not 53100), 55P03, 57P, a broken connection   ERR_DATABASE    the same call may succeed later
 *     53100 disk full                                           ERR_NO_SPACE
 *     NS077 stale fence                                         ERR_LEASE_LOST
 *     28, 3D, 42501, an unusable URL                            ERR_SETTINGS
 *     57014 cancelled or timed out                              ERR_INTERRUPTED
 *     the rest                                                  ERR_INTERNAL
 * Threads: a handle belongs to one thread at a time.                                                               */
#ifndef NIGHTSHIFT_COMMON_DB_H
#define NIGHTSHIFT_COMMON_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/settings.h"

struct db;
struct db_result;

/* ---- connections -------------------------------------------------------------------------------------------------- */

/* url: libpq URL or "key=value" string. application: shown in pg_stat_activity. */
enum err db_open(const char *url, const char *application, struct db **ret, struct error *err);
void db_close(struct db *db); /* takes NULL */

/* The database of the settings: DATABASE_URL, or the private cluster, which is started (by `nightshift db up` as a child,
 * so that every room may use it) and migrated when it is not up; the child says so on standard error. */
enum err db_open_ready(const struct settings *s, const char *application, struct db **ret, struct error *err);
/* Its URL alone. Returned: malloc'd. */
enum err db_url_ready(const struct settings *s, char **ret, struct error *err);

/* Prepared statements are planned once, for any values: for connections whose statements are written so that one plan suits all.
 * Holds after db_revive() too; nothing behind a pooler, where statements are not prepared. */
void db_plan_once(struct db *db);

bool db_is_broken(const struct db *db); /* the connection is gone: db_revive() or give up */
bool db_went_away(struct db *db);       /* the same of one that was idle, by a look at its socket: costs nothing */
/* Connect again, with pauses that double from 0.1 s to 3 s, for at most wait_s seconds. A transaction that was open is
 * rolled back by the server; one that was being committed may have been: callers must be able to ask again. */
enum err db_revive(struct db *db, double wait_s, struct error *err);
/* The same for a verb's database: a private cluster that died is started again; a rotated password is read again. */
enum err db_revive_ready(const struct settings *s, struct db *db, double wait_s, struct error *err);
enum err db_reopen(struct db *db, const char *url, struct error *err); /* once, to this URL from now on */

/* Does anybody answer there? Never blocks longer than 3 s. */
bool db_ping(const char *url);

/* Ask the server to stop what this handle is doing; may be called from another thread. */
void db_cancel(struct db *db);
int db_socket(const struct db *db); /* for poll() */

/* ---- statements --------------------------------------------------------------------------------------------------- */

/* One or several statements without parameters and without interest in the result. */
enum err db_exec(struct db *db, const char *sql, struct error *err);
enum err db_execf(struct db *db, struct error *err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* One statement with n parameters $1.. in text form (NULL is SQL NULL). *ret may be asked for or be NULL; free it with
 * db_result_free(). */
enum err db_query(struct db *db, const char *sql, int n, const char *const *values, struct db_result **ret, struct error *err);

/* The same, prepared on first use under `name` in this connection (and again after db_revive()). */
enum err db_query_prepared(struct db *db, const char *name, const char *sql, int n, const char *const *values,
                           struct db_result **ret, struct error *err);

/* Rows one by one in constant memory (libpq's single-row mode). row() sees a result of one row; it returns ERR_OK to go
 * on; anything else cancels the query and is returned. name NULL: not prepared. binary: results in binary form. */
typedef enum err (*db_row_fn)(void *user, const struct db_result *row, struct error *err);
enum err db_stream(struct db *db, const char *name, const char *sql, int n, const char *const *values, bool binary,
                   db_row_fn row, void *user, struct error *err);

void db_result_free(struct db_result *r); /* takes NULL */
int64_t db_nrow(const struct db_result *r);
int db_ncol(const struct db_result *r);
const char *db_column_name(const struct db_result *r, int col);
unsigned db_column_type(const struct db_result *r, int col); /* type oid of pg_type */
bool db_is_null(const struct db_result *r, int64_t row, int col);
const char *db_text(const struct db_result *r, int64_t row, int col); /* "" for NULL; owned by r */
int db_length(const struct db_result *r, int64_t row, int col);
int64_t db_i64(const struct db_result *r, int64_t row, int col);      /* text results; 0 for NULL */
double db_f64(const struct db_result *r, int64_t row, int col);       /* text results; NaN for NULL */
bool db_bool(const struct db_result *r, int64_t row, int col);

/* ---- transactions ------------------------------------------------------------------------------------------------- */

enum err db_begin(struct db *db, struct error *err);
/* ERR_DATABASE: unknown whether it was committed. */
enum err db_commit(struct db *db, struct error *err);
void db_rollback(struct db *db); /* also without a transaction; never fails from the caller's view */

/* Text as an SQL literal or identifier. Returned: malloc'd, NULL: no memory or bad encoding. */
char *db_literal(struct db *db, const char *text);

/* ---- COPY --------------------------------------------------------------------------------------------------------- */

enum err db_copy_in(struct db *db, const char *sql, struct error *err);
enum err db_copy_put(struct db *db, const void *data, size_t size, struct error *err);
enum err db_copy_end(struct db *db, int64_t *ret_rows, struct error *err); /* ret_rows may be NULL */
void db_copy_abort(struct db *db, const char *why);                        /* the server drops the rows; the transaction fails */

/* row() sees the bytes of each row (binary: the header comes with the first, the trailer alone at the end; db_copy.h
 * reads them). Anything but ERR_OK from it cancels. */
typedef enum err (*db_copy_fn)(void *user, const char *data, int size, struct error *err);
enum err db_copy_out(struct db *db, const char *sql, db_copy_fn row, void *user, struct error *err);

#endif
