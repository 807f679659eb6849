/* Those who run asynchronous jobs, and the clerk who sees what other servers did: one small query a second, more often only
 * while somebody waits. Requests that wait for a phase cost no thread (http_defer). */
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "catalog/tap_internal.h"
#include "common/digest.h"
#include "common/log.h"

#define LEASE_S  30
#define REAP_S   5
#define PURGE_S  5
#define SWEEP_S  600
#define FINISH_TRIES 60          /* seconds a finished job waits for a database that is away */

/* ---- result files -------------------------------------------------------------------------------------------------------- */

struct result_file {
    FILE *f;
    char path[UWS_FILE_MAX], temporary[UWS_FILE_MAX + 8];
    struct digest *digest;
    int64_t bytes, most;
    bool full;                   /* larger than a result may be */
};

static bool file_sink(void *user, const char *data, size_t size)
{
    struct result_file *r = user;
    r->bytes += (int64_t)size;
    r->full = r->most && r->bytes > r->most;
    if (r->full) return false;
    digest_add(r->digest, data, size);
    return fwrite(data, 1, size, r->f) == size;
}

static enum err file_open(struct tap *t, const struct uws_job *job, struct result_file *r, struct error *err)
{
    *r = (struct result_file){.most = t->opt.result_bytes};
    uws_result_path(t->folder, job->id, job->attempts, r->path);
    snprintf(r->temporary, sizeof r->temporary, "%s.part", r->path);
    r->digest = digest_new();
    r->f = fopen(r->temporary, "we");
    if (r->f && r->digest) return setvbuf(r->f, NULL, _IOFBF, 1 << 18), ERR_OK;
    return ERROR(err, ERR_IO, "could not write a result: the folder of results cannot be written");
}

/* Durable and named, or gone. */
static enum err file_close(struct result_file *r, enum err e, char sha256[DIGEST_HEX_SIZE], struct error *err)
{
    if (r->digest) digest_finish(r->digest, sha256);
    bool good = r->f && fflush(r->f) == 0 && fsync(fileno(r->f)) == 0;
    if (r->f) good = fclose(r->f) == 0 && good;
    if (!e && !good) e = ERROR(err, ERR_NO_SPACE, "could not write a result: the disk is full or broken");
    if (!e && rename(r->temporary, r->path)) e = ERROR(err, ERR_IO, "could not name a result");
    if (e) unlink(r->temporary);
    return e;
}

/* ---- uploads of a job ------------------------------------------------------------------------------------------------------ */

static int64_t read_file(void *user, int64_t offset, void *ret, size_t size)
{
    return pread((int)(intptr_t)user, ret, size, offset);
}

/* [[table, "file:N" or URL], ...]. Open files are closed with close_uploads(). */
static enum err open_uploads(struct tap *t, const struct uws_job *job, struct upload_list *list, struct error *err)
{
    json_t *all = json_loads(job->uploads, 0, NULL);
    enum err e = ERR_OK;
    for (size_t k = 0; k < json_array_size(all) && k < UPLOADS_MAX && !e; k++) {
        const char *table = json_string_value(json_array_get(json_array_get(all, k), 0)), *uri = json_string_value(json_array_get(json_array_get(all, k), 1));
        struct upload_source *s = &list->sources[list->n++];
        snprintf(s->table, sizeof s->table, "%s", table ? table : "");
        snprintf(s->uri, sizeof s->uri, "%s", uri ? uri : "");
        if (strncmp(s->uri, "file:", 5)) continue;
        char path[UWS_FILE_MAX];
        struct stat st;
        uws_upload_path(t->folder, job->id, atoi(s->uri + 5), path);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st)) {
            if (fd >= 0) close(fd);
            e = ERROR(err, ERR_IO, "the table '%s' uploaded with the job is gone", s->table);
        } else {
            s->read = read_file;
            s->user = (void *)(intptr_t)fd;
            s->size = st.st_size;
        }
    }
    json_decref(all);
    return e;
}

static void close_uploads(struct upload_list *list)
{
    for (int i = 0; i < list->n; i++)
        if (list->sources[i].read) close((int)(intptr_t)list->sources[i].user);
}

/* ---- one job ---------------------------------------------------------------------------------------------------------------- */

static enum err produce(struct tap *t, struct tap_run *run, const struct uws_job *job, struct result_file *file, struct tap_query *q, struct error *err)
{
    struct tap_params p = {0};
    struct upload_list *uploads = calloc(1, sizeof *uploads);
    enum err e = uploads ? tap_params_parse(&p, job->parameters, err) : ERROR(err, ERR_NOMEM, "could not get memory for a query");
    if (!e) e = tap_query_of(t, &p, q, err);
    if (!e) e = open_uploads(t, job, uploads, err);
    if (!e) e = file_open(t, job, file, err);
    if (!e) {
        run->sink = file_sink;
        run->sink_user = file;
        e = tap_run_query(t, run, q, uploads, err);
        if (e && file->full) {
            *err = (struct error)ERROR_INIT;
            e = ERROR(err, ERR_USAGE, "the result is larger than %lld MiB, which is the limit", (long long)(t->opt.result_bytes >> 20));
        }
    }
    if (uploads) close_uploads(uploads);
    free(uploads);
    q->query = q->runid = q->format_name = NULL; /* they go now */
    tap_params_release(&p);
    return e;
}

/* The end is written down even if the database has to come back first. */
static void write_down(struct tap *t, const struct uws_job *job, const struct uws_result *result, const char *message, bool transient, bool requeue)
{
    for (int i = 0; i < FINISH_TRIES; i++) {
        struct error err = ERROR_INIT;
        struct db *db = NULL;
        enum err e = db_pool_take(t->jobs, 5, &db, &err);
        if (!e) {
            e = requeue ? uws_requeue(db, job->id, t->lease_owner, tap_stopping(t), &err) : uws_finish(db, job->id, t->lease_owner, result, message, transient, &err);
            db_pool_give(t->jobs, db);
        }
        if (e != ERR_DATABASE) {
            if (e && e != ERR_LEASE_LOST) log_error(&err);
            if (e == ERR_LEASE_LOST) { /* aborted, deleted or somebody else's: this file is nobody's */
                char path[UWS_FILE_MAX];
                uws_result_path(t->folder, job->id, job->attempts, path);
                unlink(path);
            }
            return;
        }
        if (tap_stopping(t) && i > 3) return; /* the lease runs out and another server tries */
        sleep(1);
    }
}

static void run_job(struct tap *t, const struct uws_job *job)
{
    struct error err = ERROR_INIT;
    struct result_file file = {0};
    struct tap_query q = {0};
    struct tap_run run = {.started = clock_seconds(), .limit_s = (double)job->execution_s};
    char sha256[DIGEST_HEX_SIZE] = "", line[TAP_LINE] = "";
    snprintf(run.job, sizeof run.job, "%s", job->id);
    enum err e = produce(t, &run, job, &file, &q, &err);
    if (file.f || file.digest) e = file_close(&file, e, sha256, &err);
    const struct uws_result result = {rowset_content_type(q.format), sha256, file.bytes, run.rows, run.overflow};
    bool lost = __atomic_load_n(&run.reason, __ATOMIC_RELAXED) == TAP_LOST;
    bool requeue = e && (tap_stopping(t) || e == ERR_DATABASE) && !lost && job->attempts < 2;
    if (e) error_line(&err, line, sizeof line);
    write_down(t, job, e ? NULL : &result, line, err_is_transient(e), requeue);
    log_event(LOG_INFO, "job", LOG_STR("job", job->id), LOG_STR("outcome", e ? err_name(e) : "ok"), LOG_INT("rows", run.rows),
              LOG_DOUBLE("elapsed_ms", (clock_seconds() - run.started) * 1e3));
    tap_job_changed(t, job->id);
}

/* ---- workers ---------------------------------------------------------------------------------------------------------------- */

static bool take_job(struct tap *t, struct uws_job *job)
{
    struct error err = ERROR_INIT;
    struct db *db = NULL;
    bool found = false;
    enum err e = db_pool_take(t->jobs, t->opt.pool_wait_s, &db, &err);
    if (!e) {
        e = tap_folder(t, db, &err);
        if (!e) e = uws_take(db, t->lease_owner, LEASE_S, job, &found, &err);
        db_pool_give(t->jobs, db);
    }
    if (e && e != ERR_DATABASE) log_error(&err); /* a database that is away is told by /availability */
    if (found) tap_job_changed(t, job->id);
    return found;
}

static bool wait_for_kick(struct tap *t)
{
    pthread_mutex_lock(&t->lock);
    while (!t->kicks && !t->stopping) pthread_cond_wait(&t->work, &t->lock);
    if (t->kicks) t->kicks--;
    bool stop = t->stopping;
    pthread_mutex_unlock(&t->lock);
    return !stop;
}

static void *worker(void *user)
{
    struct tap *t = user;
    while (wait_for_kick(t)) {
        struct uws_job job = {0};
        while (!tap_stopping(t) && take_job(t, &job)) {
            run_job(t, &job);
            uws_release(&job);
        }
    }
    return NULL;
}

void tap_kick(struct tap *t)
{
    pthread_mutex_lock(&t->lock);
    if (t->kicks < t->nworker) t->kicks++;
    pthread_cond_signal(&t->work);
    pthread_mutex_unlock(&t->lock);
}

void tap_job_stop(struct tap *t, const char *id)
{
    pthread_mutex_lock(&t->lock);
    for (struct tap_run *r = t->runs; r; r = r->next)
        if (!strcmp(r->job, id)) __atomic_store_n(&r->reason, TAP_LOST, __ATOMIC_RELAXED); /* the watch cancels it */
    pthread_mutex_unlock(&t->lock);
}

/* ---- those who wait ----------------------------------------------------------------------------------------------------------- */

void tap_job_changed(struct tap *t, const char *id)
{
    pthread_mutex_lock(&t->lock);
    for (struct tap_waiter *w = t->waiters; w; w = w->next)
        if (!w->woken && !strcmp(w->id, id)) {
            w->woken = true;
            http_again(w->request);
        }
    pthread_mutex_unlock(&t->lock);
}

static void wake_late(struct tap *t, bool all)
{
    double now = clock_seconds();
    pthread_mutex_lock(&t->lock);
    for (struct tap_waiter *w = t->waiters; w; w = w->next)
        if (!w->woken && (all || now >= w->until)) {
            w->woken = true;
            http_again(w->request);
        }
    pthread_mutex_unlock(&t->lock);
}

/* "{id,id}" of the jobs somebody waits for. Returned: malloc'd, NULL: nobody does. */
static char *waited_for(struct tap *t)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = NULL;
    pthread_mutex_lock(&t->lock);
    for (struct tap_waiter *w = t->waiters; w; w = w->next) {
        if (w->woken) continue;
        if (!f && !(f = open_memstream(&text, &size))) break;
        fprintf(f, "%s%s", ftell(f) ? "," : "{", w->id);
    }
    pthread_mutex_unlock(&t->lock);
    if (!f) return NULL;
    fputc('}', f);
    return fclose(f) ? (free(text), NULL) : text;
}

static void wake_changed(struct tap *t, const char *id, const char *phase)
{
    enum uws_phase p = UWS_PHASES;
    uws_phase_of(phase, &p);
    pthread_mutex_lock(&t->lock);
    for (struct tap_waiter *w = t->waiters; w; w = w->next)
        if (!w->woken && !strcmp(w->id, id) && w->phase != p) {
            w->woken = true;
            http_again(w->request);
        }
    pthread_mutex_unlock(&t->lock);
}

static void look_for_changes(struct tap *t, struct db *db)
{
    struct db_result *r = NULL;
    char *ids = waited_for(t);
    if (!ids) return;
    if (!db_query(db, "SELECT w, coalesce(phase, '') FROM unnest($1::text[]) w LEFT JOIN uws_job ON job_id = w", 1, (const char *[]){ids}, &r, NULL))
        for (int64_t i = 0; i < db_nrow(r); i++) wake_changed(t, db_text(r, i, 0), db_text(r, i, 1));
    db_result_free(r);
    free(ids);
}

/* ---- the clerk ------------------------------------------------------------------------------------------------------------------ */

static bool look_for_work(struct tap *t, struct db *db)
{
    struct db_result *r = NULL;
    bool good = !db_query(db, "SELECT count(*) FROM (SELECT FROM uws_job WHERE phase = 'QUEUED' LIMIT 16) q", 0, NULL, &r, NULL);
    for (int64_t i = 0; good && i < db_i64(r, 0, 0); i++) tap_kick(t);
    db_result_free(r);
    return good;
}

static void beat(struct tap *t, struct db *db)
{
    char ids[64][UWS_ID_SIZE];
    int n = 0;
    pthread_mutex_lock(&t->lock);
    for (struct tap_run *r = t->runs; r && n < 64; r = r->next)
        if (*r->job) memcpy(ids[n++], r->job, UWS_ID_SIZE);
    pthread_mutex_unlock(&t->lock);
    for (int i = 0; i < n; i++)
        if (uws_beat(db, ids[i], t->lease_owner, LEASE_S, NULL) == ERR_LEASE_LOST) tap_job_stop(t, ids[i]);
}

static void rounds(struct tap *t, double now, double last[4])
{
    struct error err = ERROR_INIT;
    struct db *db = NULL;
    int64_t n = 0;
    bool good = !db_pool_take(t->jobs, 1, &db, &err);
    if (!good) last[0] = now;
    else if (now - last[0] >= 1) good = look_for_work(t, db), beat(t, db), last[0] = now;
    __atomic_store_n(&t->database_answers, good, __ATOMIC_RELAXED);
    if (!db) return;
    if (good && tap_folder(t, db, &err) && now - last[1] >= REAP_S) log_error(&err);
    look_for_changes(t, db);
    if (now - last[1] >= REAP_S) uws_reap(db, NULL, NULL), last[1] = now;
    if (now - last[2] >= PURGE_S && t->folder_ready) {
        last[2] = now;
        if (!uws_purge(db, t->folder, &n, NULL) && n) log_event(LOG_INFO, "jobs past their destruction removed", LOG_INT("n", n));
    }
    if (t->folder_ready && (!last[3] || now - last[3] >= SWEEP_S)) uws_sweep(db, t->folder, NULL), last[3] = now;
    db_pool_give(t->jobs, db);
}

static void *clerk(void *user)
{
    struct tap *t = user;
    double last[4] = {0};
    while (!tap_stopping(t)) {
        double now = clock_seconds();
        pthread_mutex_lock(&t->lock);
        bool waited = t->waiters != NULL;
        pthread_mutex_unlock(&t->lock);
        if (waited || now - last[0] >= 1) rounds(t, now, last);
        wake_late(t, false);
        nanosleep(&(struct timespec){.tv_nsec = 250 * 1000000L}, NULL);
    }
    wake_late(t, true);
    return NULL;
}

enum err tap_jobs_start(struct tap *t, struct error *err)
{
    t->workers = calloc((size_t)t->opt.async_workers, sizeof *t->workers);
    if (!t->workers) return ERROR(err, ERR_NOMEM, "could not get memory for workers");
    for (; t->nworker < t->opt.async_workers; t->nworker++)
        if (pthread_create(&t->workers[t->nworker], NULL, worker, t)) return ERROR(err, ERR_NOMEM, "could not start a thread");
    t->clerk_runs = !pthread_create(&t->clerk, NULL, clerk, t);
    return t->clerk_runs ? ERR_OK : ERROR(err, ERR_NOMEM, "could not start a thread");
}

/* What runs is cancelled by the watch and goes back to the queue, for another server or the next start of this one. */
void tap_jobs_stop(struct tap *t)
{
    for (int i = 0; i < t->nworker; i++) pthread_join(t->workers[i], NULL);
    t->nworker = 0;
    if (t->clerk_runs) pthread_join(t->clerk, NULL);
    t->clerk_runs = false;
    wake_late(t, true);
}
