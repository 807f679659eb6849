/* /tap/async: the resources of UWS 1.1. */
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "catalog/tap_internal.h"
#include "common/auth.h"
#include "common/log.h"

#define WAIT_MAX_S 30            /* of one request; the client asks again */
#define LIST_MAX   1000
#define XMLNS                                                                                                                     \
    " xmlns:uws=\"http://www.ivoa.net/xml/UWS/v1.0\" xmlns:xlink=\"http://www.w3.org/1999/xlink\""                                  \
    " xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\""

/* ---- documents -------------------------------------------------------------------------------------------------------------- */

static void plain(struct http_response *w, const char *text)
{
    http_header_out(w, "Content-Type", "text/plain; charset=utf-8");
    http_write(w, text, strlen(text));
}

static void refuse_plain(struct http_response *w, const struct error *err)
{
    char line[TAP_LINE];
    bool away = err->code == ERR_DATABASE || err->code == ERR_NOMEM || err->code == ERR_NO_SPACE;
    error_line(err, line, sizeof line);
    if (err->code != ERR_NOT_FOUND && err->code != ERR_USAGE) log_error(err);
    http_discard(w);
    http_status(w, err->code == ERR_NOT_FOUND ? 404 : err->code == ERR_USAGE ? 400 : away ? 503 : 500);
    if (away) http_header_out(w, "Retry-After", "2");
    plain(w, line);
}

static void see_other(struct tap *t, struct http_request *r, struct http_response *w, const char *id)
{
    char url[512], where[640];
    snprintf(where, sizeof where, "%s/async%s%s", tap_url(t, r, url, sizeof url), *id ? "/" : "", id);
    http_status(w, 303);
    http_header_out(w, "Location", where);
    plain(w, "");
}

static void element(struct http_response *w, const char *name, const char *text)
{
    if (!*text) {
        http_printf(w, "<uws:%s xsi:nil=\"true\"/>\n", name);
        return;
    }
    http_printf(w, "<uws:%s>", name);
    tap_xml(w, text);
    http_printf(w, "</uws:%s>\n", name);
}

static void write_parameters(struct http_response *w, const struct uws_job *j, const char *xmlns)
{
    json_t *list = json_loads(j->parameters, 0, NULL);
    http_printf(w, "<uws:parameters%s>\n", xmlns);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(json_array_get(list, i), 0)), *value = json_string_value(json_array_get(json_array_get(list, i), 1));
        if (!name || !value) continue;
        http_printf(w, "<uws:parameter id=\"");
        tap_xml(w, name);
        http_printf(w, "\">");
        tap_xml(w, value);
        http_printf(w, "</uws:parameter>\n");
    }
    http_printf(w, "</uws:parameters>\n");
    json_decref(list);
}

static void write_results(struct http_response *w, const struct uws_job *j, const char *url, const char *xmlns)
{
    http_printf(w, "<uws:results%s>\n", xmlns);
    if (j->phase == UWS_COMPLETED) {
        http_printf(w, "<uws:result id=\"result\" xlink:type=\"simple\" xlink:href=\"");
        tap_xml(w, url);
        http_printf(w, "/async/%s/results/result\" mime-type=\"", j->id);
        tap_xml(w, j->result_type);
        http_printf(w, "\" size=\"%lld\"/>\n", (long long)j->result_bytes);
    }
    http_printf(w, "</uws:results>\n");
}

static void write_job(struct tap *t, struct http_request *r, struct http_response *w, const struct uws_job *j)
{
    char url[512], seconds[24];
    snprintf(seconds, sizeof seconds, "%lld", (long long)j->execution_s);
    tap_url(t, r, url, sizeof url);
    http_header_out(w, "Content-Type", "application/xml");
    http_printf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<uws:job" XMLNS " version=\"1.1\">\n");
    element(w, "jobId", j->id);
    if (*j->run_id) element(w, "runId", j->run_id);
    element(w, "ownerId", j->owner);
    element(w, "phase", uws_phase_name(j->phase));
    element(w, "quote", "");
    element(w, "creationTime", j->created);
    element(w, "startTime", j->started);
    element(w, "endTime", j->ended);
    element(w, "executionDuration", seconds);
    element(w, "destruction", j->destruction);
    write_parameters(w, j, "");
    write_results(w, j, url, "");
    if (j->error) {
        http_printf(w, "<uws:errorSummary type=\"%s\" hasDetail=\"true\">\n", j->error_transient ? "transient" : "fatal");
        element(w, "message", j->error);
        http_printf(w, "</uws:errorSummary>\n");
    }
    http_printf(w, "</uws:job>\n");
}

/* ---- reading and waiting ------------------------------------------------------------------------------------------------------ */

/* The job of the path. Refuses by itself; false then. */
static bool get_job(struct tap *t, struct http_request *r, struct http_response *w, struct db **ret_db, struct uws_job *ret)
{
    struct error err = ERROR_INIT;
    const char *id = http_path_param(r, "id");
    enum err e = uws_id_is_good(id) ? db_pool_take(t->jobs, t->opt.pool_wait_s, ret_db, &err) : ERROR(&err, ERR_NOT_FOUND, "no such job");
    if (!e) {
        e = tap_folder(t, *ret_db, &err);
        if (!e) e = uws_get(*ret_db, id, ret, &err);
        if (!e && *ret->owner && strcmp(ret->owner, http_identity(r))) { /* a job of somebody is nobody else's */
            uws_release(ret);
            e = ERROR(&err, ERR_NOT_FOUND, "no such job");
        }
        if (e) db_pool_give(t->jobs, *ret_db);
    }
    if (e) refuse_plain(w, &err);
    return !e;
}

static void put_job(struct tap *t, struct db *db, struct uws_job *job)
{
    db_pool_give(t->jobs, db);
    uws_release(job);
}

/* Was this request woken, and the handler called again? */
static bool was_waiting(struct tap *t, struct http_request *r)
{
    bool was = false;
    pthread_mutex_lock(&t->lock);
    for (struct tap_waiter **p = &t->waiters; *p; p = &(*p)->next)
        if ((*p)->request == r) {
            struct tap_waiter *w = *p;
            *p = w->next;
            free(w);
            was = true;
            break;
        }
    pthread_mutex_unlock(&t->lock);
    return was;
}

/* Seconds the request wants to wait, 0 for none. */
static double wish_to_wait(const struct http_request *r)
{
    const char *text = http_param(r, "WAIT");
    char *end;
    if (!text || !*text) return 0;
    double v = strtod(text, &end);
    if (*end) return 0;
    return v < 0 || v > WAIT_MAX_S ? WAIT_MAX_S : v;
}

static bool register_waiter(struct tap *t, struct http_request *r, const struct uws_job *j, double seconds)
{
    struct tap_waiter *w = calloc(1, sizeof *w);
    if (!w) return false;
    w->request = r;
    w->phase = j->phase;
    w->until = clock_seconds() + seconds;
    snprintf(w->id, sizeof w->id, "%s", j->id);
    pthread_mutex_lock(&t->lock);
    bool good = !t->stopping;
    if (good) {
        w->next = t->waiters;
        t->waiters = w;
    }
    pthread_mutex_unlock(&t->lock);
    if (!good) free(w);
    return good;
}

/* Did the phase change between reading it and being heard? Then nobody will wake this request. */
static bool phase_moved(struct db *db, const struct uws_job *j)
{
    struct uws_job now;
    if (uws_get(db, j->id, &now, NULL)) return true;
    bool moved = now.phase != j->phase;
    uws_release(&now);
    return moved;
}

/* Let the request wait for the phase to change. Returned: true: it waits, the handler returns. */
static bool wait_for_change(struct tap *t, struct http_request *r, struct db *db, const struct uws_job *j)
{
    double seconds = wish_to_wait(r);
    const char *phase = http_param(r, "PHASE");
    if (seconds <= 0 || !uws_is_active(j->phase) || (phase && *phase && strcasecmp(phase, uws_phase_name(j->phase)))) return false;
    if (!register_waiter(t, r, j, seconds)) return false;
    if (!phase_moved(db, j)) {
        http_defer(r);
        return true;
    }
    was_waiting(t, r); /* takes it off the list; a call of http_again() meanwhile means nothing without http_defer() */
    return false;
}

static void job_document(struct http_request *r, struct http_response *w, void *user)
{
    struct tap *t = user;
    struct uws_job j;
    struct db *db;
    bool woken = was_waiting(t, r);
    if (!get_job(t, r, w, &db, &j)) return;
    if (!woken && wait_for_change(t, r, db, &j)) {
        put_job(t, db, &j);
        return;
    }
    db_pool_give(t->jobs, db);
    if (!woken && wish_to_wait(r) > 0) { /* it changed while we looked: tell the news */
        uws_release(&j);
        if (!get_job(t, r, w, &db, &j)) return;
        db_pool_give(t->jobs, db);
    }
    write_job(t, r, w, &j);
    uws_release(&j);
}

/* ---- creating ------------------------------------------------------------------------------------------------------------------ */

/* The bytes of an uploaded table, from the request's body to a file of the job. */
static enum err keep_upload(struct tap *t, const char *id, int i, const struct upload_source *s, struct error *err)
{
    char path[UWS_FILE_MAX], *block = malloc(1 << 16);
    uws_upload_path(t->folder, id, i, path);
    int fd = block ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
    bool good = fd >= 0;
    for (int64_t at = 0; at < s->size && good;) {
        int64_t n = s->size - at < 1 << 16 ? s->size - at : 1 << 16;
        n = s->read(s->user, s->offset + at, block, (size_t)n);
        good = n > 0 && write(fd, block, (size_t)n) == n;
        at += n;
    }
    if (good) good = fsync(fd) == 0;
    if (fd >= 0 && close(fd)) good = false;
    free(block);
    return good ? ERR_OK : ERROR(err, ERR_NO_SPACE, "could not keep the uploaded table '%s'", s->table);
}

static enum err keep_uploads(struct tap *t, struct http_request *r, const struct tap_params *p, struct uws_job *j, struct error *err)
{
    struct upload_list *list = calloc(1, sizeof *list);
    json_t *all = json_array();
    enum err e = list && all ? tap_take_uploads(r, p, list, err) : ERROR(err, ERR_NOMEM, "could not get memory for uploads");
    for (int i = 0; !e && i < list->n; i++) {
        char name[24];
        snprintf(name, sizeof name, "file:%d", i);
        const struct upload_source *s = &list->sources[i];
        if (s->read) e = keep_upload(t, j->id, i, s, err);
        json_array_append_new(all, json_pack("[s,s]", s->table, s->read ? name : s->uri));
    }
    if (!e && !(j->uploads = json_dumps(all, JSON_COMPACT))) e = ERROR(err, ERR_NOMEM, "could not get memory for uploads");
    json_decref(all);
    free(list);
    return e;
}

static void run_id_of(const struct tap_params *p, char *ret, size_t size)
{
    snprintf(ret, size, "%.*s", (int)size - 1, p->value[TAP_RUNID] ? p->value[TAP_RUNID] : "");
}

static enum err store_job(struct tap *t, struct http_request *r, const struct tap_params *p, struct uws_job *j, struct error *err)
{
    struct db *db = NULL;
    time_t end = time(NULL) + (time_t)t->opt.retention;
    struct tm tm;
    const char *phase = http_param(r, "PHASE");
    strftime(j->destruction, sizeof j->destruction, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&end, &tm));
    j->execution_s = (int64_t)t->opt.async_seconds;
    j->parameters = tap_params_json(p);
    run_id_of(p, j->run_id, sizeof j->run_id);
    if (!j->parameters) return ERROR(err, ERR_NOMEM, "could not get memory for a job");
    enum err e = db_pool_take(t->jobs, t->opt.pool_wait_s, &db, err);
    if (e) return e;
    e = uws_create(db, j, err);
    bool run = phase && !strcasecmp(phase, "RUN");
    if (!e && run) e = uws_run(db, j->id, err);
    db_pool_give(t->jobs, db);
    if (!e && run) tap_kick(t);
    return e;
}

/* Before anything is kept of the request. */
static enum err find_folder(struct tap *t, struct error *err)
{
    struct db *db = NULL;
    if (__atomic_load_n(&t->folder_ready, __ATOMIC_ACQUIRE)) return ERR_OK;
    enum err e = db_pool_take(t->jobs, t->opt.pool_wait_s, &db, err);
    if (e) return e;
    e = tap_folder(t, db, err);
    db_pool_give(t->jobs, db);
    return e;
}

static void create_job(struct http_request *r, struct http_response *w, void *user)
{
    struct tap *t = user;
    struct error err = ERROR_INIT;
    struct tap_params p = {0};
    struct uws_job j = {0};
    uws_new_id(j.id);
    enum err e = find_folder(t, &err);
    if (!e) e = tap_take_body(r, &err);
    if (!e) e = tap_params_take(&p, r, &err);
    if (!e && p.value[TAP_UPLOAD] && !auth_requires(r, w, SCOPE_UPLOAD)) {
        tap_params_release(&p);
        return;
    }
    snprintf(j.owner, sizeof j.owner, "%s", http_identity(r));
    if (!e) e = keep_uploads(t, r, &p, &j, &err);
    if (!e) e = store_job(t, r, &p, &j, &err);
    if (e) {
        if (t->folder_ready) uws_remove_files(t->folder, j.id);
        tap_refuse(w, &err);
    } else {
        see_other(t, r, w, j.id);
    }
    uws_release(&j);
    tap_params_release(&p);
}

/* ---- changing ------------------------------------------------------------------------------------------------------------------ */

static enum err change_phase(struct tap *t, struct db *db, const char *id, const char *phase, struct error *err)
{
    enum err e;
    if (!strcasecmp(phase, "RUN")) {
        e = uws_run(db, id, err);
        if (!e) tap_kick(t);
    } else if (!strcasecmp(phase, "ABORT")) {
        e = uws_abort(db, id, err);
        if (!e) tap_job_stop(t, id);
    } else {
        return ERROR(err, ERR_USAGE, "PHASE is '%.40s'; RUN and ABORT are what a client can ask for", phase);
    }
    if (!e) tap_job_changed(t, id);
    return e;
}

static enum err change_execution(struct tap *t, struct db *db, const char *id, const char *text, struct error *err)
{
    char *end;
    long long v = strtoll(text, &end, 10);
    if (*end || end == text || v < 0) return ERROR(err, ERR_USAGE, "EXECUTIONDURATION is '%.40s', not a number of seconds", text);
    if (v == 0 || (double)v > t->opt.async_seconds_max) v = (long long)t->opt.async_seconds_max; /* 0 asks for no limit; there is one */
    return uws_set_execution(db, id, v, err);
}

static enum err change_destruction(struct tap *t, struct db *db, const char *id, const char *text, struct error *err)
{
    int y, mo, d, h = 0, mi = 0, n = 0;
    double s = 0;
    char clean[40];
    int fields = sscanf(text, "%4d-%2d-%2dT%2d:%2d:%lf%n", &y, &mo, &d, &h, &mi, &s, &n);
    if (fields < 3 || (fields == 6 && text[n] && strcmp(text + n, "Z")) || mo < 1 || mo > 12 || d < 1 || d > 31 || h > 23 || mi > 59 || !(s >= 0 && s < 60))
        return ERROR(err, ERR_USAGE, "DESTRUCTION is '%.40s', not a time like 2030-01-31T12:00:00Z", text);
    snprintf(clean, sizeof clean, "%04d-%02d-%02dT%02d:%02d:%06.3fZ", y, mo, d, h, mi, s);
    return uws_set_destruction(db, id, clean, t->opt.retention_max, err);
}

static enum err change_parameters(struct db *db, const struct uws_job *j, const struct tap_params *given, struct error *err)
{
    struct tap_params p = {0};
    char run_id[256], *json = NULL;
    bool any = false;
    for (int i = 0; i < TAP_NAMES; i++) {
        p.value[i] = given->value[i] ? strdup(given->value[i]) : NULL;
        any = any || given->value[i];
    }
    enum err e = any ? tap_params_parse(&p, j->parameters, err) : ERR_OK; /* the old ones where no new one stands */
    if (any && !e) {
        json = tap_params_json(&p);
        run_id_of(&p, run_id, sizeof run_id);
        e = json ? uws_set_parameters(db, j->id, json, run_id, err) : ERROR(err, ERR_NOMEM, "could not get memory for parameters");
    }
    free(json);
    tap_params_release(&p);
    return e;
}

static enum err delete_job(struct tap *t, struct db *db, const char *id, struct error *err)
{
    enum err e = uws_delete(db, id, t->folder, err);
    if (!e) {
        tap_job_stop(t, id);
        tap_job_changed(t, id);
    }
    return e;
}

/* POST to the job or one of its resources: everything the form names is changed, in an order that makes sense. */
static enum err change(struct tap *t, struct http_request *r, struct db *db, const struct uws_job *j, bool *ret_deleted, struct error *err)
{
    struct tap_params given = {0};
    const char *action = http_param(r, "ACTION"), *phase = http_param(r, "PHASE"), *seconds = http_param(r, "EXECUTIONDURATION"),
               *when = http_param(r, "DESTRUCTION");
    if (action && !strcasecmp(action, "DELETE")) {
        *ret_deleted = true;
        return delete_job(t, db, j->id, err);
    }
    enum err e = action ? ERROR(err, ERR_USAGE, "ACTION is '%.40s'; DELETE is all there is", action) : tap_params_take(&given, r, err);
    if (!e && given.value[TAP_UPLOAD]) e = ERROR(err, ERR_USAGE, "UPLOAD goes with the request that creates the job");
    if (!e) e = change_parameters(db, j, &given, err);
    if (!e && seconds) e = change_execution(t, db, j->id, seconds, err);
    if (!e && when) e = change_destruction(t, db, j->id, when, err);
    if (!e && phase) e = change_phase(t, db, j->id, phase, err);
    tap_params_release(&given);
    return e;
}

static void post_job(struct http_request *r, struct http_response *w, void *user)
{
    struct tap *t = user;
    struct error err = ERROR_INIT;
    struct uws_job j;
    struct db *db;
    bool deleted = false;
    enum err e = tap_take_body(r, &err);
    if (e) {
        refuse_plain(w, &err);
        return;
    }
    if (!get_job(t, r, w, &db, &j)) return;
    e = change(t, r, db, &j, &deleted, &err);
    if (e) refuse_plain(w, &err);
    else see_other(t, r, w, deleted ? "" : j.id);
    put_job(t, db, &j);
}

static void remove_job(struct http_request *r, struct http_response *w, void *user)
{
    struct tap *t = user;
    struct error err = ERROR_INIT;
    struct uws_job j;
    struct db *db;
    if (!get_job(t, r, w, &db, &j)) return;
    if (delete_job(t, db, j.id, &err)) refuse_plain(w, &err);
    else see_other(t, r, w, "");
    put_job(t, db, &j);
}

/* ---- resources of a job ---------------------------------------------------------------------------------------------------------- */

static void resource(struct http_request *r, struct http_response *w, void *user)
{
    struct tap *t = user;
    struct uws_job j;
    struct db *db;
    char url[512], number[24];
    const char *what = http_path_param(r, "what");
    if (!get_job(t, r, w, &db, &j)) return;
    db_pool_give(t->jobs, db);
    if (!strcmp(what, "phase")) plain(w, uws_phase_name(j.phase));
    else if (!strcmp(what, "quote")) plain(w, "");
    else if (!strcmp(what, "owner")) plain(w, j.owner);
    else if (!strcmp(what, "destruction")) plain(w, j.destruction);
    else if (!strcmp(what, "executionduration")) snprintf(number, sizeof number, "%lld", (long long)j.execution_s), plain(w, number);
    else if (!strcmp(what, "parameters")) http_header_out(w, "Content-Type", "application/xml"), write_parameters(w, &j, XMLNS);
    else if (!strcmp(what, "results")) http_header_out(w, "Content-Type", "application/xml"), write_results(w, &j, tap_url(t, r, url, sizeof url), XMLNS);
    else if (!strcmp(what, "error") && j.error) http_header_out(w, "Content-Type", "application/x-votable+xml"), rowset_error_votable(tap_sink, w, false, j.error);
    else http_status(w, 404), plain(w, !strcmp(what, "error") ? "this job has no error" : "a job has no such resource");
    uws_release(&j);
}

static void result(struct http_request *r, struct http_response *w, void *user)
{
    struct tap *t = user;
    struct error err = ERROR_INIT;
    struct uws_job j;
    struct db *db;
    char path[UWS_FILE_MAX], etag[80], rows[24];
    if (!get_job(t, r, w, &db, &j)) return;
    db_pool_give(t->jobs, db);
    uws_result_path(t->folder, j.id, j.attempts, path);
    snprintf(etag, sizeof etag, "\"%s\"", j.result_sha256);
    snprintf(rows, sizeof rows, "%lld", (long long)j.result_rows);
    if (j.phase != UWS_COMPLETED || strcmp(http_path_param(r, "name"), "result")) {
        http_status(w, 404);
        plain(w, "there is no such result");
    } else {
        http_header_out(w, "X-Row-Count", rows);
        http_header_out(w, "X-Overflow", j.result_overflow ? "true" : "false");
        if (http_send_file(r, w, path, j.result_type, NULL, etag, &err)) refuse_plain(w, &err);
    }
    uws_release(&j);
}

/* ---- the list -------------------------------------------------------------------------------------------------------------------- */

struct list_writer {
    struct http_response *w;
    const char *url;
};

static void write_reference(void *user, const struct uws_job *j)
{
    struct list_writer *l = user;
    http_printf(l->w, "<uws:jobref id=\"%s\" xlink:type=\"simple\" xlink:href=\"", j->id);
    tap_xml(l->w, l->url);
    http_printf(l->w, "/async/%s\">\n", j->id);
    element(l->w, "phase", uws_phase_name(j->phase));
    if (*j->run_id) element(l->w, "runId", j->run_id);
    element(l->w, "ownerId", j->owner);
    element(l->w, "creationTime", j->created);
    http_printf(l->w, "</uws:jobref>\n");
}

static enum err read_filter(struct http_request *r, struct uws_filter *f, struct error *err)
{
    const char *after = http_param(r, "AFTER"), *last = http_param(r, "LAST");
    int y, mo, d, n = 0;
    for (int i = 0; i < http_param_count(r, "PHASE"); i++) {
        enum uws_phase p;
        if (!uws_phase_of(http_param_at(r, "PHASE", i), &p)) f->phases |= 1u << UWS_PHASES; /* a phase of UWS that no job here has */
        else f->phases |= 1u << p;
    }
    if (after && *after) {
        if (sscanf(after, "%4d-%2d-%2d%n", &y, &mo, &d, &n) != 3 || strlen(after) >= sizeof f->after || strspn(after, "0123456789-T:.Z+ ") != strlen(after))
            return ERROR(err, ERR_USAGE, "AFTER is '%.40s', not a time like 2030-01-31T12:00:00Z", after);
        snprintf(f->after, sizeof f->after, "%s", after);
    }
    if (last && *last) {
        char *end;
        f->last = strtoll(last, &end, 10);
        if (*end || f->last < 1) return ERROR(err, ERR_USAGE, "LAST is '%.40s', not a number of jobs", last);
    }
    return ERR_OK;
}

/* Anonymous jobs belong to whoever knows their id: they are on nobody's list. */
static void list_jobs(struct http_request *r, struct http_response *w, void *user)
{
    struct tap *t = user;
    struct error err = ERROR_INIT;
    struct uws_filter f = {.owner = http_identity(r)};
    struct db *db;
    char url[512];
    struct list_writer l = {w, tap_url(t, r, url, sizeof url)};
    enum err e = read_filter(r, &f, &err);
    http_header_out(w, "Content-Type", "application/xml");
    http_printf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<uws:jobs" XMLNS " version=\"1.1\">\n");
    if (!e && *f.owner) {
        e = db_pool_take(t->jobs, t->opt.pool_wait_s, &db, &err);
        if (!e) {
            e = uws_list(db, &f, LIST_MAX, write_reference, &l, &err);
            db_pool_give(t->jobs, db);
        }
    }
    http_printf(w, "</uws:jobs>\n");
    if (e) refuse_plain(w, &err);
}

enum err tap_async_routes(struct tap *t, struct httpd *h, struct error *err)
{
    const struct {
        const char *method, *pattern;
        http_handler handler;
        int flags;
    } routes[] = {
        {"GET", "/tap/async", list_jobs, 0},           {"POST", "/tap/async", create_job, HTTP_UPLOAD},
        {"GET", "/tap/async/{id}", job_document, 0},   {"POST", "/tap/async/{id}", post_job, 0},
        {"DELETE", "/tap/async/{id}", remove_job, 0},  {"GET", "/tap/async/{id}/{what}", resource, 0},
        {"POST", "/tap/async/{id}/{what}", post_job, 0}, {"GET", "/tap/async/{id}/results/{name}", result, 0},
    };
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        enum err e = httpd_route(h, routes[i].method, routes[i].pattern, routes[i].handler, t, routes[i].flags, err);
        if (e) return e;
    }
    return ERR_OK;
}
