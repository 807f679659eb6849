#include "jobrunner/ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


#define TEXT(buf, value) snprintf((buf), sizeof(buf), "%lld", (long long)(value))

void ledger_chunk_release(struct ledger_chunk *c)
{
    for (int i = 0; i < c->nimages; i++) free(c->images[i].path);
    free(c->images);
    json_decref(c->task);
    *c = (struct ledger_chunk){0};
}

static enum err one_value(struct db *db, const char *sql, int n, const char *const *values, char *ret, size_t size, struct error *err)
{
    struct db_result *r = NULL;
    enum err e = db_query(db, sql, n, values, &r, err);
    if (!e) snprintf(ret, size, "%s", db_nrow(r) ? db_text(r, 0, 0) : "");
    db_result_free(r);
    return e;
}

/* ---- submit ------------------------------------------------------------------------------------------------------- */

static enum err find_run(struct db *db, const struct plan *p, const char *key, int64_t *ret_run, struct error *err)
{
    struct db_result *r = NULL;
    enum err e = db_query(db, "SELECT job_run_id, body_sha256 FROM job_run WHERE idempotency_key = $1", 1, (const char *const[]){key}, &r, err);
    *ret_run = 0;
    if (!e && db_nrow(r)) {
        *ret_run = db_i64(r, 0, 0);
        if (strcmp(db_text(r, 0, 1), p->body)) {
            e = ERROR(err, ERR_USAGE, "run %lld has this key but other inputs or settings", (long long)*ret_run);
            error_hint(err, "choose another key");
        }
    }
    db_result_free(r);
    return e;
}

static enum err insert_stages(struct db *db, const char *run, int64_t ids[STAGES], struct error *err)
{
    enum err e = ERR_OK;
    for (int i = 0; i < STAGES && !e; i++) {
        char ordinal[16], needs[64] = "{}", id[24];
        TEXT(ordinal, i);
        if (i) snprintf(needs, sizeof needs, "{%s}", stage_names[i - 1]);
        e = one_value(db, "INSERT INTO job_stage (job_run_id, name, ordinal, needs) VALUES ($1, $2, $3, $4::text[]) RETURNING job_stage_id", 4,
                      (const char *const[]){run, stage_names[i], ordinal, needs}, id, sizeof id, err);
        ids[i] = e ? 0 : strtoll(id, NULL, 10);
    }
    return e;
}

static enum err insert_chunk(struct db *db, int64_t stage, int ordinal, int64_t *ret, struct error *err)
{
    char s[24], o[16], id[24];
    TEXT(s, stage);
    TEXT(o, ordinal);
    enum err e = one_value(db, "INSERT INTO job_chunk (job_stage_id, ordinal) VALUES ($1, $2) RETURNING job_chunk_id", 2, (const char *const[]){s, o}, id, sizeof id, err);
    if (!e) *ret = strtoll(id, NULL, 10);
    return e;
}

static enum err insert_image(struct db *db, int64_t chunk, int ordinal, const char *path, const char *outcome, const char *cause,
                             const char *message, struct error *err)
{
    char c[24], o[16];
    TEXT(c, chunk);
    TEXT(o, ordinal);
    return db_query_prepared(db, "insert_image",
                             "INSERT INTO job_image (job_chunk_id, ordinal, path, outcome, cause, message, finished_at)"
                             " VALUES ($1, $2, $3, $4, $5, $6, CASE WHEN $4::text IS NOT NULL THEN now() END)",
                             6, (const char *const[]){c, o, path, outcome, cause, message}, NULL, err);
}

/* Frames that are held or refused before anything ran: a chunk that is done from the start. */
static enum err insert_settled(struct db *db, const struct plan *p, int64_t stage, struct error *err)
{
    int64_t chunk;
    char id[24];
    if (!p->nheld && !p->nrefused) return ERR_OK;
    enum err e = insert_chunk(db, stage, p->nchunks, &chunk, err);
    for (int i = 0; i < p->nheld && !e; i++) e = insert_image(db, chunk, i, p->held[i], "held", "calib.missing", p->held_why[i], err);
    for (int i = 0; i < p->nrefused && !e; i++)
        e = insert_image(db, chunk, p->nheld + i, p->refused[i], "quarantined", p->refused_code[i] == ERR_UNSUPPORTED ? "data.unsupported" : "data.corrupt",
                         p->refused_why[i], err);
    TEXT(id, chunk);
    if (!e) e = db_query(db, "UPDATE job_chunk SET state = 'done' WHERE job_chunk_id = $1", 1, (const char *const[]){id}, NULL, err);
    return e;
}

static enum err insert_run(struct db *db, const struct plan *p, const char *key, int64_t *ret, struct error *err)
{
    char id[24], night[16] = "";
    int64_t stages[STAGES], chunk;
    if (p->nnights) TEXT(night, p->nights[p->nnights - 1]);
    enum err e = one_value(db,
                           "INSERT INTO job_run (idempotency_key, body_sha256, night, input, archive_root, recipe, state)"
                           " VALUES ($1, $2, nullif($3, '')::int, $4, $5, $6, 'queued') RETURNING job_run_id",
                           6, (const char *const[]){key, p->body, night, p->input, p->out, p->recipe}, id, sizeof id, err);
    if (e) return e;
    *ret = strtoll(id, NULL, 10);
    e = insert_stages(db, id, stages, err);
    for (int i = 0; i < p->nchunks && !e; i++) {
        e = insert_chunk(db, stages[STAGE_SCIENCE], i, &chunk, err);
        for (int k = 0; k < p->chunks[i].count && !e; k++) e = insert_image(db, chunk, k, p->files[p->chunks[i].first + k], NULL, "", "", err);
    }
    if (!e) e = insert_settled(db, p, stages[STAGE_SCIENCE], err);
    for (int i = 0; i < STAGES && !e; i++)
        if (i != STAGE_SCIENCE) e = insert_chunk(db, stages[i], 0, &chunk, err);
    return e;
}

enum err ledger_submit(struct db *db, const struct plan *p, const char *key, int64_t *ret_run, bool *ret_new, struct error *err)
{
    enum err e = db_begin(db, err);
    if (e) return e;
    e = db_query(db, "SELECT pg_advisory_xact_lock(hashtextextended('nightshift.submit ' || $1, 0))", 1, (const char *const[]){key}, NULL, err);
    if (!e) e = find_run(db, p, key, ret_run, err);
    *ret_new = !e && !*ret_run;
    if (*ret_new) e = insert_run(db, p, key, ret_run, err);
    if (!e) e = db_commit(db, err);
    else db_rollback(db);
    return e;
}

/* ---- chunks ------------------------------------------------------------------------------------------------------- */

static enum err open_images(struct db *db, struct ledger_chunk *c, struct error *err)
{
    struct db_result *r = NULL;
    char id[24];
    TEXT(id, c->id);
    enum err e = db_query_prepared(db, "open_images", "SELECT job_image_id, path, attempts FROM job_image WHERE job_chunk_id = $1 AND outcome IS NULL ORDER BY ordinal",
                                   1, (const char *const[]){id}, &r, err);
    if (e) return e;
    c->images = calloc((size_t)db_nrow(r) + 1, sizeof *c->images);
    for (int64_t i = 0; c->images && i < db_nrow(r); i++) {
        c->images[i] = (struct ledger_image){db_i64(r, i, 0), strdup(db_text(r, i, 1)), (int)db_i64(r, i, 2)};
        c->nimages++;
        if (!c->images[i].path) e = ERR_NOMEM;
    }
    if (!c->images || e) e = ERROR(err, ERR_NOMEM, "could not hold a chunk: out of memory");
    db_result_free(r);
    return e;
}

enum err ledger_claim(struct db *db, int64_t run, const char *stage, const char *worker, struct ledger_chunk *ret, bool *ret_claimed,
                      struct error *err)
{
    struct db_result *r = NULL;
    char id[24], lease[40];
    *ret = (struct ledger_chunk){0};
    *ret_claimed = false;
    TEXT(id, run);
    snprintf(lease, sizeof lease, "%d seconds", LEASE_SECONDS);
    enum err e = db_query_prepared(db, "claim", "SELECT chunk, fence, task FROM job_claim($1, $2, $3, $4::interval)", 4,
                                   (const char *const[]){id, stage, worker, lease}, &r, err);
    if (!e && db_nrow(r) && !db_is_null(r, 0, 0)) {
        *ret_claimed = true;
        ret->id = db_i64(r, 0, 0);
        ret->fence = db_i64(r, 0, 1);
        if (!db_is_null(r, 0, 2)) ret->task = json_loads(db_text(r, 0, 2), 0, NULL);
        e = open_images(db, ret, err);
    }
    db_result_free(r);
    return e;
}

/* A function of the ledger whose first arguments are chunk and fence. */
static enum err fenced(struct db *db, const struct ledger_chunk *c, const char *name, const char *sql, int n, const char *const *more,
                       struct db_result **ret, struct error *err)
{
    char chunk[24], fence[24];
    const char *values[8] = {chunk, fence};
    TEXT(chunk, c->id);
    TEXT(fence, c->fence);
    for (int i = 0; i < n; i++) values[2 + i] = more[i];
    return db_query_prepared(db, name, sql, 2 + n, values, ret, err);
}

enum err ledger_renew(struct db *db, const struct ledger_chunk *c, struct error *err)
{
    char lease[40];
    snprintf(lease, sizeof lease, "%d seconds", LEASE_SECONDS);
    return fenced(db, c, "renew", "SELECT job_renew($1, $2, $3::interval)", 1, (const char *const[]){lease}, NULL, err);
}

enum err ledger_chunk_end(struct db *db, const struct ledger_chunk *c, bool good, const char *cause, double retry_delay_s, struct error *err)
{
    char delay[40];
    snprintf(delay, sizeof delay, "%.3f seconds", retry_delay_s);
    return fenced(db, c, "chunk_end", "SELECT job_chunk_end($1, $2, $3::boolean, $4, $5::interval)", 3,
                  (const char *const[]){good ? "true" : "false", cause, delay}, NULL, err);
}

enum err ledger_chunk_fail(struct db *db, const struct ledger_chunk *c, const char *cause, struct error *err)
{
    return fenced(db, c, "chunk_fail", "SELECT job_chunk_fail($1, $2, $3)", 1, (const char *const[]){cause}, NULL, err);
}

enum err ledger_image_try(struct db *db, const struct ledger_chunk *c, int64_t image, int *ret_before, struct error *err)
{
    struct db_result *r = NULL;
    char id[24];
    TEXT(id, image);
    enum err e = fenced(db, c, "image_try", "SELECT job_image_try($1, $2, $3)", 1, (const char *const[]){id}, &r, err);
    if (!e) *ret_before = (int)db_i64(r, 0, 0);
    db_result_free(r);
    return e;
}

enum err ledger_image_outcome(struct db *db, const struct ledger_chunk *c, int64_t image, const char *outcome, const char *cause,
                              const char *message, struct error *err)
{
    char id[24];
    TEXT(id, image);
    return fenced(db, c, "image_outcome", "SELECT job_image_done($1, $2, $3, $4, $5, $6)", 4, (const char *const[]){id, outcome, cause, message}, NULL, err);
}

enum err ledger_image_resolve(struct db *db, const struct ledger_chunk *c, int64_t image, struct error *err)
{
    char id[24];
    TEXT(id, image);
    return fenced(db, c, "image_resolve", "SELECT job_image_resolve($1, $2, $3)", 1, (const char *const[]){id}, NULL, err);
}

enum err ledger_stage(struct db *db, int64_t run, const char *stage, char *ret_state, int64_t *ret_open_images, int64_t *ret_open_chunks,
                      struct error *err)
{
    struct db_result *r = NULL;
    char id[24];
    TEXT(id, run);
    enum err e = db_query_prepared(db, "stage",
                                   "SELECT s.state, (SELECT count(*) FROM job_image i JOIN job_chunk c USING (job_chunk_id)"
                                   "                  WHERE c.job_stage_id = s.job_stage_id AND i.outcome IS NULL),"
                                   "       (SELECT count(*) FROM job_chunk c WHERE c.job_stage_id = s.job_stage_id AND c.state IN ('waiting', 'retry', 'leased'))"
                                   "  FROM job_stage s WHERE s.job_run_id = $1 AND s.name = $2",
                                   2, (const char *const[]){id, stage}, &r, err);
    if (!e && !db_nrow(r)) e = ERROR(err, ERR_NOT_FOUND, "run %s has no stage '%s'", id, stage);
    if (!e) {
        snprintf(ret_state, 16, "%s", db_text(r, 0, 0));
        *ret_open_images = db_i64(r, 0, 1);
        *ret_open_chunks = db_i64(r, 0, 2);
    }
    db_result_free(r);
    return e;
}

enum err ledger_finish(struct db *db, int64_t run, char *ret_state, struct error *err)
{
    char id[24];
    TEXT(id, run);
    return one_value(db, "SELECT job_run_finish($1)", 1, (const char *const[]){id}, ret_state, 16, err);
}

/* ---- workers ------------------------------------------------------------------------------------------------------ */

/* Start time of a process in clock ticks since boot: with the pid it names a process for good. 0: no such process. */
static unsigned long long process_start(long pid)
{
    char path[64], text[1024];
    unsigned long long start = 0;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *f = fopen(path, "re");
    if (!f) return 0;
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = 0;
    char *p = strrchr(text, ')'); /* the name in parentheses may hold anything */
    for (int field = 2; p && field < 22; field++) p = strchr(p + 1, ' ');
    if (p) start = strtoull(p, NULL, 10);
    return start;
}

static void worker_name(long pid, const char *host, char *buf, size_t size)
{
    snprintf(buf, size, "%s/%ld/%llu", host, pid, process_start(pid));
}

static enum err bury_the_dead(struct db *db, const char *host, struct error *err)
{
    struct db_result *r = NULL;
    enum err e = db_query(db, "SELECT worker_id, pid FROM worker WHERE host = $1 AND pid IS NOT NULL", 1, (const char *const[]){host}, &r, err);
    for (int64_t i = 0; !e && i < db_nrow(r); i++) {
        char now[256];
        const char *id = db_text(r, i, 0);
        worker_name((long)db_i64(r, i, 1), host, now, sizeof now);
        if (strcmp(now, id)) e = db_query(db, "SELECT job_worker_lost($1)", 1, (const char *const[]){id}, NULL, err);
    }
    db_result_free(r);
    return e;
}

enum err ledger_join(struct db *db, char *ret_worker, size_t size, struct error *err)
{
    char host[128] = "localhost", pid[24];
    gethostname(host, sizeof host - 1);
    worker_name((long)getpid(), host, ret_worker, size);
    TEXT(pid, getpid());
    enum err e = bury_the_dead(db, host, err);
    if (!e)
        e = db_query(db, "INSERT INTO worker (worker_id, host, pid) VALUES ($1, $2, $3) ON CONFLICT (worker_id) DO UPDATE SET heartbeat_at = now()", 3,
                     (const char *const[]){ret_worker, host, pid}, NULL, err);
    return e;
}

enum err ledger_beat(struct db *db, const char *worker, struct error *err)
{
    return db_query_prepared(db, "beat", "UPDATE worker SET heartbeat_at = now() WHERE worker_id = $1", 1, (const char *const[]){worker}, NULL, err);
}

enum err ledger_leave(struct db *db, const char *worker, struct error *err)
{
    return db_query(db, "SELECT job_worker_lost($1)", 1, (const char *const[]){worker}, NULL, err);
}

/* ---- report ------------------------------------------------------------------------------------------------------- */

enum err ledger_report(struct db *db, int64_t run, json_t **ret, struct error *err)
{
    char id[24];
    struct db_result *r = NULL;
    TEXT(id, run);
    enum err e = db_query(db,
                          "SELECT i.path, coalesce(i.outcome, 'open'), i.cause, i.message, i.attempts, i.job_image_id FROM job_image i JOIN job_chunk c USING (job_chunk_id)"
                          " JOIN job_stage s USING (job_stage_id) WHERE s.job_run_id = $1 AND s.name = 'science' ORDER BY c.ordinal, i.ordinal",
                          1, (const char *const[]){id}, &r, err);
    if (e) return e;
    json_t *o = json_object(), *frames = json_array();
    static const char *const outcomes[] = {"done", "held", "quarantined", "open"};
    int count[4] = {0};
    for (int64_t i = 0; i < db_nrow(r); i++) {
        for (int k = 0; k < 4; k++) count[k] += !strcmp(outcomes[k], db_text(r, i, 1));
        json_array_append_new(frames, json_pack("{ss ss ss ss sI sI}", "file", db_text(r, i, 0), "outcome", db_text(r, i, 1), "cause", db_text(r, i, 2),
                                                "message", db_text(r, i, 3), "attempts", (json_int_t)db_i64(r, i, 4), "image", (json_int_t)db_i64(r, i, 5)));
    }
    json_object_set_new(o, "run", json_integer(run));
    for (int k = 0; k < 4; k++) json_object_set_new(o, outcomes[k], json_integer(count[k]));
    json_object_set_new(o, "frames", frames);
    db_result_free(r);
    *ret = o;
    return ERR_OK;
}
