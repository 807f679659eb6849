#include "jobrunner/localrun.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/child.h"
#include "jobrunner/feeder.h"
#include "jobrunner/steps.h"

enum { TRIES = 3, TRANSIENT_TRIES = 3 };
static const double ANSWER_S = 600;    /* JOB_TIMEOUT: a frame that takes longer is given up */
static const double IDLE_S = 0.1;      /* between two looks at a stage whose chunks others hold */
static const double REVIVE_S = 60;

struct worker {
    struct localrun *run;
    struct db *db;
    struct feeder *reduce, *ingest;
    double claimed_at;
    enum err code;
    struct error err;
};

static void nap(double seconds)
{
    nanosleep(&(struct timespec){(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)}, NULL);
}

/* ---- a database that may go away ---------------------------------------------------------------------------------- */

/* Start the private database again if it is ours, then connect. */
static enum err bring_back(struct localrun *r, struct db *db, struct error *err)
{
    char *url = NULL;
    double end = clock_seconds() + REVIVE_S;
    enum err e;
    do {
        e = db_url_ready(r->settings, &url, err);
        free(url);
        url = NULL;
        if (!e) e = db_revive(db, 5, err);
    } while (e == ERR_DATABASE && clock_seconds() < end && !*r->stop);
    return e;
}

/* Do a ledger call; when the connection broke under it, once more over a new one. Every call may be repeated. */
#define REPEAT(r, db, e, call, err)                                              \
    do {                                                                         \
        e = (call);                                                              \
        if (e == ERR_DATABASE && !bring_back((r), (db), (err))) e = (call);      \
    } while (0)

/* ---- one frame ---------------------------------------------------------------------------------------------------- */

struct verdict_of_frame {
    const char *outcome, *cause; /* string literals */
    char message[1024];
};

static const char *cause_of(const char *error)
{
    static const struct {
        const char *error, *cause;
    } map[] = {
        {"corrupt", "data.corrupt"}, {"unreadable", "data.corrupt"}, {"not_found", "data.corrupt"}, {"shape", "data.corrupt"},
        {"unsupported", "data.unsupported"}, {"no_calibration", "calib.missing"}, {"held", "calib.missing"}, {"nomem", "oom"},
        {"no_space", "storage"}, {"io", "transient.io"}, {"database", "transient.db"}, {"settings", "config"}, {"usage", "config"},
    };
    for (size_t i = 0; error && i < sizeof map / sizeof map[0]; i++)
        if (!strcmp(error, map[i].error)) return map[i].cause;
    return "internal";
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static int int_of(const json_t *o, const char *key)
{
    return (int)json_integer_value(json_object_get(o, key));
}

/* The worse of what is known and this answer: quarantined beats held beats done. */
static void judge(struct verdict_of_frame *v, const json_t *answer)
{
    const char *cause = cause_of(text_of(answer, "error"));
    bool held = !strcmp(cause, "calib.missing");
    if (!int_of(answer, "exit_code") || !strcmp(v->outcome, "quarantined") || (held && !strcmp(v->outcome, "held"))) return;
    v->outcome = held ? "held" : "quarantined";
    v->cause = cause;
    const char *stage = text_of(answer, "stage");
    snprintf(v->message, sizeof v->message, "%s%s%s", stage, stage[0] ? ": " : "", text_of(answer, "message"));
}

/* Ask a child; transient answers are asked again with pauses of 1, 2, 4 s. */
static enum err ask(struct worker *w, struct feeder *f, const char *line, json_t **ret, int *ret_signal, struct error *err)
{
    for (int try = 0;; try++) {
        char *text = NULL;
        enum err e = feeder_ask(f, line, ANSWER_S, &text, ret_signal, err);
        if (e) return e;
        *ret = json_loads(text, 0, NULL);
        free(text);
        if (!*ret) return ERROR(err, ERR_INTERNAL, "a child answered what is no JSON");
        if (!json_is_true(json_object_get(*ret, "transient")) || try == TRANSIENT_TRIES || *w->run->stop) return ERR_OK;
        json_decref(*ret);
        __atomic_add_fetch(&w->run->retries, 1, __ATOMIC_RELAXED);
        nap(1 << try);
    }
}

static char *line_of(json_t *o)
{
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    return text;
}

/* One catalogue to the database; claim: with the outcome of the image, in the same transaction. */
static enum err ingest(struct worker *w, const struct ledger_chunk *c, int64_t image, const char *catalogue, bool claim, json_t **ret, struct error *err)
{
    json_t *o = json_pack("{ss ss}", "file", catalogue, "root", w->run->out);
    if (claim) {
        json_object_set_new(o, "chunk", json_integer(c->id));
        json_object_set_new(o, "fence", json_integer(c->fence));
        json_object_set_new(o, "image", json_integer(image));
        json_object_set_new(o, "outcome", json_string("done"));
    }
    char *line = line_of(o);
    enum err e = line ? ERR_INTERNAL : ERROR(err, ERR_NOMEM, "no memory for a line");
    int sig;
    for (int try = 0; line && e == ERR_INTERNAL && try < TRIES; try++) e = ask(w, w->ingest, line, ret, &sig, err);
    free(line);
    if (!e && int_of(*ret, "exit_code") == EXIT_LEASE_LOST) {
        json_decref(*ret);
        *ret = NULL;
        e = ERROR(err, ERR_LEASE_LOST, "chunk %lld belongs to another worker now", (long long)c->id);
    }
    return e;
}

/* Rows of every CCD that was measured; the last good one carries the image's outcome when all are good. */
static enum err store(struct worker *w, const struct ledger_chunk *c, int64_t image, const json_t *ccds, struct verdict_of_frame *v, bool *ret_told,
                      struct error *err)
{
    size_t n = json_array_size(ccds), i;
    enum err e = ERR_OK;
    json_t *ccd;
    json_array_foreach(ccds, i, ccd) judge(v, ccd);
    json_array_foreach(ccds, i, ccd)
    {
        json_t *answer = NULL;
        bool last = i + 1 == n && !strcmp(v->outcome, "done");
        if (int_of(ccd, "exit_code")) continue;
        e = ingest(w, c, image, text_of(ccd, "catalogue"), last, &answer, err);
        if (e) return e;
        judge(v, answer);
        *ret_told = last && !int_of(answer, "exit_code");
        json_decref(answer);
    }
    return ERR_OK;
}

/* Returned: false when the child died over the frame: try again. */
static bool one_try(struct worker *w, const struct ledger_chunk *c, const struct ledger_image *image, struct verdict_of_frame *v, bool *ret_told,
                    enum err *ret, struct error *err)
{
    json_t *answer = NULL;
    int sig = 0;
    char *line = line_of(json_pack("{ss}", "file", image->path));
    *v = (struct verdict_of_frame){"done", "", ""};
    *ret_told = false;
    *ret = line ? ask(w, w->reduce, line, &answer, &sig, err) : ERROR(err, ERR_NOMEM, "no memory for a line");
    free(line);
    if (*ret == ERR_INTERNAL || *ret == ERR_IO) {
        v->outcome = "quarantined";
        v->cause = *ret == ERR_IO ? "deadline" : sig == SIGKILL ? "oom" : "internal";
        snprintf(v->message, sizeof v->message, "%s", err->message);
        log_event(LOG_WARN, "a processor died", LOG_STR("file", image->path), LOG_STR("why", err->message));
        __atomic_add_fetch(&w->run->retries, 1, __ATOMIC_RELAXED);
        *ret = ERR_OK;
        return false;
    }
    if (!*ret) {
        judge(v, answer);
        *ret = store(w, c, image->id, json_object_get(answer, "ccds"), v, ret_told, err);
    }
    json_decref(answer);
    return true;
}

static enum err do_image(struct worker *w, const struct ledger_chunk *c, const struct ledger_image *image, struct error *err)
{
    struct verdict_of_frame v = {"quarantined", "internal", "its processor died too often"};
    bool told = false;
    enum err e = ERR_OK;
    for (bool ended = false; !ended && !e;) {
        int before = 0;
        REPEAT(w->run, w->db, e, ledger_image_try(w->db, c, image->id, &before, err), err);
        if (e || before >= TRIES) break;
        ended = one_try(w, c, image, &v, &told, &e, err);
    }
    if (!e && !told) REPEAT(w->run, w->db, e, ledger_image_outcome(w->db, c, image->id, v.outcome, v.cause, v.message, err), err);
    if (!e && strcmp(v.outcome, "done")) /* a held frame may still be solved by its neighbours: the table at the end tells */
        log_event(strcmp(v.outcome, "held") ? LOG_WARN : LOG_DEBUG, v.outcome, LOG_STR("file", image->path), LOG_STR("cause", v.cause), LOG_STR("message", v.message));
    if (!e) progress_step(w->run->progress, 1);
    return e;
}

/* ---- chunks ------------------------------------------------------------------------------------------------------- */

static enum err renew_if_due(struct worker *w, const struct ledger_chunk *c, struct error *err)
{
    enum err e = ERR_OK;
    if (clock_seconds() - w->claimed_at < LEASE_SECONDS / 3.0) return e;
    REPEAT(w->run, w->db, e, ledger_renew(w->db, c, err), err);
    if (!e) w->claimed_at = clock_seconds();
    return e;
}

static enum err do_chunk(struct worker *w, const struct ledger_chunk *c, struct error *err)
{
    enum err e = ERR_OK;
    for (int i = 0; i < c->nimages && !e; i++) {
        if (*w->run->stop) return ERROR(err, ERR_INTERRUPTED, "stopped");
        e = renew_if_due(w, c, err);
        if (!e) e = do_image(w, c, &c->images[i], err);
    }
    if (!e) REPEAT(w->run, w->db, e, ledger_chunk_end(w->db, c, true, "", 0, err), err);
    return e;
}

/* Claim until the stage has nothing left. A lost lease is no fault: somebody else does the chunk. */
static enum err work(struct worker *w, struct error *err)
{
    const char *stage = stage_names[STAGE_SCIENCE];
    for (;;) {
        struct ledger_chunk c;
        bool claimed = false;
        enum err e;
        if (*w->run->stop) return ERROR(err, ERR_INTERRUPTED, "stopped");
        REPEAT(w->run, w->db, e, ledger_claim(w->db, w->run->run, stage, w->run->worker, &c, &claimed, err), err);
        w->claimed_at = clock_seconds();
        if (!e && claimed) e = do_chunk(w, &c, err);
        if (!e && !claimed) {
            char state[16];
            int64_t images, chunks;
            REPEAT(w->run, w->db, e, ledger_stage(w->db, w->run->run, stage, state, &images, &chunks, err), err);
            if (!e && !chunks) return ERR_OK;
            nap(IDLE_S);
        }
        ledger_chunk_release(&c);
        if (e && e != ERR_LEASE_LOST) return e;
    }
}

static void *worker_main(void *user)
{
    struct worker *w = user;
    w->code = work(w, &w->err);
    return NULL;
}

static struct feeder *child(const struct localrun *r, const char *verb, const char *more, const char *value)
{
    const char *argv[FORWARD_MAX + 10];
    int n = 0;
    argv[n++] = "nightshift";
    argv[n++] = verb;
    argv[n++] = "--stdin";
    if (more) argv[n++] = more, argv[n++] = value;
    for (int i = 0; i < r->nforward; i++) argv[n++] = r->forward[i];
    argv[n++] = "--threads";
    argv[n++] = "1";
    argv[n] = NULL;
    return feeder_new(argv, r->log);
}

static enum err worker_open(struct worker *w, struct localrun *r, struct error *err)
{
    w->run = r;
    enum err e = db_open_ready(r->settings, "nightshift run", &w->db, err);
    if (e) return e;
    w->reduce = child(r, "reduce", "--out", r->out);
    w->ingest = child(r, "ingest", NULL, NULL);
    return w->reduce && w->ingest ? ERR_OK : ERROR(err, ERR_NOMEM, "could not start a worker: out of memory");
}

static void worker_close(struct worker *w)
{
    feeder_free(w->reduce);
    feeder_free(w->ingest);
    db_close(w->db);
}

static enum err science(struct localrun *r, struct error *err)
{
    struct worker *w = calloc((size_t)r->workers, sizeof *w);
    pthread_t *threads = calloc((size_t)r->workers, sizeof *threads);
    enum err e = w && threads ? ERR_OK : ERROR(err, ERR_NOMEM, "could not start workers: out of memory");
    char state[16];
    int64_t images = 0, chunks;
    int started = 0;
    if (!e) e = ledger_stage(r->db, r->run, stage_names[STAGE_SCIENCE], state, &images, &chunks, err);
    if (!e && images) r->progress = progress_new("frames", images, r->item_pixels);
    for (; !e && started < r->workers; started++) {
        e = worker_open(&w[started], r, err);
        if (!e && pthread_create(&threads[started], NULL, worker_main, &w[started])) e = ERROR(err, ERR_NOMEM, "could not start a worker thread");
        if (e) {
            worker_close(&w[started]);
            break;
        }
    }
    for (int i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
        if (w[i].code && !e) {
            e = w[i].code;
            if (err) *err = w[i].err;
        }
        worker_close(&w[i]);
    }
    progress_free(r->progress);
    r->progress = NULL;
    free(w);
    free(threads);
    return e;
}

/* ---- stages of one step ------------------------------------------------------------------------------------------- */

enum err localrun_child(struct localrun *r, const char *const *argv, int *ret_code, struct error *err)
{
    const char *full[FORWARD_MAX + 64];
    int n = 0;
    full[n++] = "/proc/self/exe";
    for (int i = 1; argv[i] && n < 60; i++) full[n++] = argv[i];
    for (int i = 0; i < r->nforward; i++) full[n++] = r->forward[i];
    full[n] = NULL;
    struct child_options o = {.output = r->log};
    return child_run(full, &o, ret_code, err);
}

enum err localrun_ingest(struct localrun *r, const char *catalogue, json_t **ret, struct error *err)
{
    struct worker w = {.run = r};
    w.ingest = r->step_ingest;
    if (!w.ingest) w.ingest = r->step_ingest = child(r, "ingest", NULL, NULL);
    if (!w.ingest) return ERROR(err, ERR_NOMEM, "could not start a child: out of memory");
    return ingest(&w, NULL, 0, catalogue, false, ret, err);
}

static enum err one_step(struct localrun *r, int stage, struct error *err)
{
    const char *name = stage_names[stage];
    for (int try = 0;; try++) {
        struct ledger_chunk c;
        bool claimed = false;
        char state[16];
        int64_t images, chunks;
        enum err e;
        REPEAT(r, r->db, e, ledger_stage(r->db, r->run, name, state, &images, &chunks, err), err);
        if (e || !strcmp(state, "done")) return e;
        if (!strcmp(state, "failed")) return ERROR(err, ERR_INTERNAL, "stage '%s' failed; its words are in %s", name, r->log);
        if (*r->stop) return ERROR(err, ERR_INTERRUPTED, "stopped");
        REPEAT(r, r->db, e, ledger_claim(r->db, r->run, name, r->worker, &c, &claimed, err), err);
        if (!e && !claimed) nap(IDLE_S);
        if (!e && claimed) {
            e = steps[stage](r, &c, err);
            bool again = e && e != ERR_INTERRUPTED && try + 1 < TRIES;
            enum err told = ERR_OK;
            if (!e) REPEAT(r, r->db, told, ledger_chunk_end(r->db, &c, true, "", 0, err), err);
            else if (again) REPEAT(r, r->db, told, ledger_chunk_end(r->db, &c, false, err_name(e), 1, err), err);
            else if (e != ERR_INTERRUPTED && stage == STAGE_REPORT) { /* the catalogue is whole without its picture book */
                if (err) log_error(err);
                e = ERR_OK;
                REPEAT(r, r->db, told, ledger_chunk_end(r->db, &c, true, "internal", 0, err), err);
            } else if (e != ERR_INTERRUPTED) told = ledger_chunk_fail(r->db, &c, err_name(e), NULL);
            if (again || told == ERR_LEASE_LOST) e = ERR_OK;
        }
        ledger_chunk_release(&c);
        if (e) return e;
    }
}

enum err localrun_start(struct localrun *r, struct error *err)
{
    enum err e = db_open_ready(r->settings, "nightshift run", &r->db, err);
    if (!e) e = ledger_join(r->db, r->worker, sizeof r->worker, err);
    return e;
}

enum err localrun_stage(struct localrun *r, int stage, struct error *err)
{
    return stage == STAGE_SCIENCE ? science(r, err) : one_step(r, stage, err);
}

void localrun_end(struct localrun *r)
{
    feeder_free(r->step_ingest);
    r->step_ingest = NULL;
    if (r->db) ledger_leave(r->db, r->worker, NULL);
    db_close(r->db);
    r->db = NULL;
}
