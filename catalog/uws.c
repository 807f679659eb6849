#include "catalog/uws.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *const phases[UWS_PHASES] = {"PENDING", "QUEUED", "EXECUTING", "COMPLETED", "ERROR", "ABORTED"};

const char *uws_phase_name(enum uws_phase p)
{
    return phases[p];
}

bool uws_phase_of(const char *name, enum uws_phase *ret)
{
    for (int i = 0; i < UWS_PHASES; i++)
        if (!strcmp(phases[i], name)) {
            *ret = (enum uws_phase)i;
            return true;
        }
    return false;
}

bool uws_is_active(enum uws_phase p)
{
    return p == UWS_PENDING || p == UWS_QUEUED || p == UWS_EXECUTING;
}

bool uws_id_is_good(const char *id)
{
    size_t n = strspn(id, "0123456789abcdef");
    return n == UWS_ID_SIZE - 1 && !id[n];
}

void uws_new_id(char ret[UWS_ID_SIZE])
{
    unsigned char bytes[16];
    while (getrandom(bytes, sizeof bytes, 0) != sizeof bytes) continue;
    for (int i = 0; i < 16; i++) snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
}

/* ---- rows ------------------------------------------------------------------------------------------------------------ */

#define ISO(column) "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
#define COLUMNS                                                                                                               \
    "job_id, owner, coalesce(run_id, ''), phase, parameters, uploads, execution_s, " ISO("created_at") ", " ISO("started_at") ", " \
    ISO("ended_at") ", " ISO("destruction") ", attempts, error_message, error_transient, coalesce(result_type, ''),"          \
    " coalesce(result_sha256, ''), result_bytes, result_rows, result_overflow"

static void copy(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from);
}

static enum err read_job(const struct db_result *r, int64_t row, struct uws_job *j, struct error *err)
{
    *j = (struct uws_job){.execution_s = db_i64(r, row, 6), .attempts = (int)db_i64(r, row, 11), .error_transient = db_bool(r, row, 13),
                          .result_bytes = db_i64(r, row, 16), .result_rows = db_i64(r, row, 17), .result_overflow = db_bool(r, row, 18)};
    copy(j->id, sizeof j->id, db_text(r, row, 0));
    copy(j->owner, sizeof j->owner, db_text(r, row, 1));
    copy(j->run_id, sizeof j->run_id, db_text(r, row, 2));
    uws_phase_of(db_text(r, row, 3), &j->phase);
    copy(j->created, sizeof j->created, db_text(r, row, 7));
    copy(j->started, sizeof j->started, db_text(r, row, 8));
    copy(j->ended, sizeof j->ended, db_text(r, row, 9));
    copy(j->destruction, sizeof j->destruction, db_text(r, row, 10));
    copy(j->result_type, sizeof j->result_type, db_text(r, row, 14));
    copy(j->result_sha256, sizeof j->result_sha256, db_text(r, row, 15));
    j->parameters = strdup(db_text(r, row, 4));
    j->uploads = strdup(db_text(r, row, 5));
    j->error = db_is_null(r, row, 12) ? NULL : strdup(db_text(r, row, 12));
    if (j->parameters && j->uploads && (j->error || db_is_null(r, row, 12))) return ERR_OK;
    uws_release(j);
    return ERROR(err, ERR_NOMEM, "could not get memory for a job");
}

void uws_release(struct uws_job *j)
{
    free(j->parameters);
    free(j->uploads);
    free(j->error);
    *j = (struct uws_job){0};
}

static const char *number(int64_t v, char buf[24])
{
    snprintf(buf, 24, "%lld", (long long)v);
    return buf;
}

enum err uws_create(struct db *db, const struct uws_job *j, struct error *err)
{
    char seconds[24];
    return db_query(db, "INSERT INTO uws_job (job_id, owner, run_id, parameters, uploads, execution_s, destruction)"
                        " VALUES ($1, $2, nullif($3, ''), $4, $5, $6, $7)", 7,
                    (const char *[]){j->id, j->owner, j->run_id, j->parameters, j->uploads, number(j->execution_s, seconds), j->destruction}, NULL, err);
}

enum err uws_get(struct db *db, const char *id, struct uws_job *ret, struct error *err)
{
    struct db_result *r = NULL;
    enum err e = db_query(db, "SELECT " COLUMNS " FROM uws_job WHERE job_id = $1 AND destruction > clock_timestamp()", 1, &id, &r, err);
    if (!e && db_nrow(r) != 1) e = ERROR(err, ERR_NOT_FOUND, "no such job");
    if (!e) e = read_job(r, 0, ret, err);
    db_result_free(r);
    return e;
}

/* ---- changes from outside --------------------------------------------------------------------------------------------- */

/* The statement says with a row that it did its work; without one, tell a job that is not there from one in another phase. */
static enum err change(struct db *db, const char *sql, int n, const char *const *values, const char *what, struct error *err)
{
    struct db_result *r = NULL;
    enum err e = db_query(db, sql, n, values, &r, err);
    bool done = !e && db_nrow(r) == 1;
    db_result_free(r);
    if (e || done) return e;
    struct uws_job j;
    e = uws_get(db, values[0], &j, err);
    if (e) return e;
    ERROR(err, ERR_USAGE, "cannot %s a job that is %s", what, phases[j.phase]);
    uws_release(&j);
    return ERR_USAGE;
}

enum err uws_run(struct db *db, const char *id, struct error *err)
{
    return change(db, "UPDATE uws_job SET phase = 'QUEUED', queued_at = clock_timestamp() WHERE job_id = $1 AND phase = 'PENDING' RETURNING 1", 1, &id,
                  "run", err);
}

enum err uws_abort(struct db *db, const char *id, struct error *err)
{
    return change(db, "UPDATE uws_job SET phase = CASE WHEN phase IN ('PENDING', 'QUEUED', 'EXECUTING') THEN 'ABORTED' ELSE phase END,"
                      " ended_at = coalesce(ended_at, clock_timestamp()) WHERE job_id = $1 RETURNING 1", 1, &id, "abort", err);
}

enum err uws_set_parameters(struct db *db, const char *id, const char *parameters, const char *run_id, struct error *err)
{
    return change(db, "UPDATE uws_job SET parameters = $2, run_id = nullif($3, '') WHERE job_id = $1 AND phase = 'PENDING' RETURNING 1", 3,
                  (const char *[]){id, parameters, run_id}, "change the parameters of", err);
}

enum err uws_set_execution(struct db *db, const char *id, int64_t seconds, struct error *err)
{
    char text[24];
    return change(db, "UPDATE uws_job SET execution_s = $2 WHERE job_id = $1 AND phase = 'PENDING' RETURNING 1", 2,
                  (const char *[]){id, number(seconds, text)}, "change the time of", err);
}

enum err uws_set_destruction(struct db *db, const char *id, const char *when, double most_s, struct error *err)
{
    char most[32];
    snprintf(most, sizeof most, "%.0f", most_s);
    return change(db, "UPDATE uws_job SET destruction = least(greatest($2::timestamptz, clock_timestamp()), created_at + $3::double precision * interval '1 s')"
                      " WHERE job_id = $1 RETURNING 1", 3, (const char *[]){id, when, most}, "change", err);
}

enum err uws_delete(struct db *db, const char *id, const char *folder, struct error *err)
{
    enum err e = change(db, "DELETE FROM uws_job WHERE job_id = $1 RETURNING 1", 1, &id, "delete", err);
    if (!e) uws_remove_files(folder, id);
    return e;
}

enum err uws_list(struct db *db, const struct uws_filter *f, int64_t max, void (*visit)(void *user, const struct uws_job *job), void *user,
                  struct error *err)
{
    struct db_result *r = NULL;
    struct uws_job j;
    char limit[24], list[128] = "{";
    for (int i = 0; i < UWS_PHASES; i++)
        if (!f->phases || (f->phases & 1u << i)) snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", list[1] ? "," : "", phases[i]);
    snprintf(list + strlen(list), sizeof list - strlen(list), "}");
    enum err e = db_query(db, "SELECT " COLUMNS " FROM uws_job WHERE owner = $1 AND phase = ANY ($2::text[]) AND destruction > clock_timestamp()"
                              " AND created_at > coalesce(nullif($3, '')::timestamptz, '-infinity') ORDER BY created_at DESC LIMIT $4", 4,
                          (const char *[]){f->owner, list, f->after, number(f->last && f->last < max ? f->last : max, limit)}, &r, err);
    for (int64_t i = 0; !e && i < db_nrow(r); i++) {
        e = read_job(r, i, &j, err);
        if (e) break;
        visit(user, &j);
        uws_release(&j);
    }
    db_result_free(r);
    return e;
}

/* ---- for those who run jobs ------------------------------------------------------------------------------------------- */

enum err uws_take(struct db *db, const char *lease_owner, double lease_s, struct uws_job *ret, bool *ret_found, struct error *err)
{
    struct db_result *r = NULL;
    char lease[32];
    snprintf(lease, sizeof lease, "%g", lease_s);
    *ret_found = false;
    enum err e = db_query(db, "SELECT " COLUMNS " FROM uws_take($1, $2)", 2, (const char *[]){lease_owner, lease}, &r, err);
    if (!e && db_nrow(r) == 1) {
        e = read_job(r, 0, ret, err);
        *ret_found = !e;
    }
    db_result_free(r);
    return e;
}

static enum err ours(struct db *db, const char *sql, int n, const char *const *values, struct error *err)
{
    struct db_result *r = NULL;
    enum err e = db_query(db, sql, n, values, &r, err);
    if (!e && db_nrow(r) != 1) e = ERROR(err, ERR_LEASE_LOST, "job %s is no longer ours", values[0]);
    db_result_free(r);
    return e;
}

enum err uws_beat(struct db *db, const char *id, const char *lease_owner, double lease_s, struct error *err)
{
    char lease[32];
    snprintf(lease, sizeof lease, "%g", lease_s);
    return ours(db, "UPDATE uws_job SET lease_until = clock_timestamp() + $3::double precision * interval '1 s'"
                    " WHERE job_id = $1 AND lease_owner = $2 AND phase = 'EXECUTING' AND destruction > clock_timestamp() RETURNING 1", 3,
                (const char *[]){id, lease_owner, lease}, err);
}

enum err uws_finish(struct db *db, const char *id, const char *lease_owner, const struct uws_result *result, const char *message, bool transient,
                    struct error *err)
{
    char bytes[24], rows[24];
    if (!result)
        return ours(db, "UPDATE uws_job SET phase = 'ERROR', ended_at = clock_timestamp(), lease_owner = NULL, lease_until = NULL,"
                        " error_message = $3, error_transient = $4 WHERE job_id = $1 AND lease_owner = $2 AND phase = 'EXECUTING' RETURNING 1", 4,
                    (const char *[]){id, lease_owner, message, transient ? "true" : "false"}, err);
    return ours(db, "UPDATE uws_job SET phase = 'COMPLETED', ended_at = clock_timestamp(), lease_owner = NULL, lease_until = NULL, result_type = $3,"
                    " result_sha256 = $4, result_bytes = $5, result_rows = $6, result_overflow = $7"
                    " WHERE job_id = $1 AND lease_owner = $2 AND phase = 'EXECUTING' RETURNING 1", 7,
                (const char *[]){id, lease_owner, result->type, result->sha256, number(result->bytes, bytes), number(result->rows, rows),
                                 result->overflow ? "true" : "false"}, err);
}

enum err uws_requeue(struct db *db, const char *id, const char *lease_owner, bool blameless, struct error *err)
{
    return ours(db, "UPDATE uws_job SET phase = 'QUEUED', attempts = attempts - $3::integer, started_at = NULL, lease_owner = NULL, lease_until = NULL"
                    " WHERE job_id = $1 AND lease_owner = $2 AND phase = 'EXECUTING' RETURNING 1", 3,
                (const char *[]){id, lease_owner, blameless ? "1" : "0"}, err);
}

enum err uws_reap(struct db *db, int64_t *ret_n, struct error *err)
{
    struct db_result *r = NULL;
    enum err e = db_query(db, "SELECT uws_reap()", 0, NULL, &r, err);
    if (!e && ret_n) *ret_n = db_i64(r, 0, 0);
    db_result_free(r);
    return e;
}

enum err uws_purge(struct db *db, const char *folder, int64_t *ret_n, struct error *err)
{
    struct db_result *r = NULL;
    enum err e = db_query(db, "DELETE FROM uws_job WHERE destruction <= clock_timestamp() RETURNING job_id", 0, NULL, &r, err);
    for (int64_t i = 0; !e && i < db_nrow(r); i++) uws_remove_files(folder, db_text(r, i, 0));
    if (!e && ret_n) *ret_n = db_nrow(r);
    db_result_free(r);
    return e;
}

static enum err sweep_file(struct db *db, const char *folder, const char *name, struct error *err)
{
    char id[UWS_ID_SIZE], path[UWS_FILE_MAX];
    struct db_result *r = NULL;
    struct stat st;
    snprintf(id, sizeof id, "%.32s", name);
    if (!uws_id_is_good(id) || name[32] != '.' || (size_t)snprintf(path, sizeof path, "%s/%s", folder, name) >= sizeof path) return ERR_OK; /* not ours */
    if (stat(path, &st) || st.st_mtime > time(NULL) - 3600) return ERR_OK;
    enum err e = db_query(db, "SELECT FROM uws_job WHERE job_id = $1", 1, (const char *[]){id}, &r, err);
    if (!e && db_nrow(r) == 0) unlink(path);
    db_result_free(r);
    return e;
}

enum err uws_sweep(struct db *db, const char *folder, struct error *err)
{
    DIR *d = opendir(folder);
    enum err e = ERR_OK;
    for (struct dirent *f; d && !e && (f = readdir(d));) e = sweep_file(db, folder, f->d_name, err);
    if (d) closedir(d);
    return e;
}

/* ---- files ------------------------------------------------------------------------------------------------------------ */

void uws_result_path(const char *folder, const char *id, int attempt, char ret[UWS_FILE_MAX])
{
    snprintf(ret, UWS_FILE_MAX, "%s/%s.result%d", folder, id, attempt);
}

void uws_upload_path(const char *folder, const char *id, int i, char ret[UWS_FILE_MAX])
{
    snprintf(ret, UWS_FILE_MAX, "%s/%s.upload%d", folder, id, i);
}

void uws_remove_files(const char *folder, const char *id)
{
    char path[UWS_FILE_MAX];
    for (int i = 0; i < 8; i++) {
        uws_result_path(folder, id, i, path);
        unlink(path);
        uws_upload_path(folder, id, i, path);
        unlink(path);
    }
}
