#include "catalog/tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "catalog/discovery.h"
#include "catalog/tap_internal.h"
#include "common/auth.h"
#include "common/atomicfile.h"
#include "common/log.h"

/* ---- life ---------------------------------------------------------------------------------------------------------------- */

void tap_options_from(const struct settings *s, char folder[1024], struct tap_options *ret)
{
    const char *given = settings_string(s, SET_TAP_FOLDER), *xdg = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    if (*given) snprintf(folder, 1024, "%s", given);
    else if (geteuid() == 0) snprintf(folder, 1024, "/var/lib/nightshift-jobs");
    else if (xdg && *xdg == '/') snprintf(folder, 1024, "%s/nightshift-jobs", xdg);
    else snprintf(folder, 1024, "%s/.local/share/nightshift-jobs", home && *home == '/' ? home : "/tmp");
    *ret = (struct tap_options){
        .base_url = settings_string(s, SET_SERVE_BASE_URL), .folder = folder, .upload_from = settings_string(s, SET_TAP_UPLOAD_FROM),
        .sync_workers = (int)settings_int(s, SET_TAP_SYNC_WORKERS), .async_workers = (int)settings_int(s, SET_TAP_ASYNC_WORKERS),
        .sync_seconds = settings_double(s, SET_TAP_SYNC_LIMIT), .async_seconds = settings_double(s, SET_TAP_ASYNC_LIMIT),
        .async_seconds_max = settings_double(s, SET_TAP_ASYNC_LIMIT_MAX), .retention = settings_double(s, SET_TAP_RETENTION),
        .retention_max = settings_double(s, SET_TAP_RETENTION_MAX), .pool_wait_s = settings_double(s, SET_SERVE_POOL_WAIT),
        .maxrec = settings_int(s, SET_TAP_MAXREC), .maxrec_limit = settings_int(s, SET_TAP_MAXREC_LIMIT),
        .upload_rows = settings_int(s, SET_TAP_UPLOAD_ROWS), .upload_bytes = settings_int(s, SET_TAP_UPLOAD_SIZE) << 20,
        .result_bytes = settings_int(s, SET_TAP_RESULT_SIZE) << 20, .temp_bytes = settings_int(s, SET_TAP_TEMP_SIZE) << 20};
}

static bool copy_options(struct tap *t, const struct tap_options *o)
{
    char host[48] = "", now[32];
    time_t clock = time(NULL);
    struct tm tm;
    t->opt = *o;
    t->base_url = strdup(o->base_url);
    t->root = strdup(o->folder);
    t->upload_from = strdup(o->upload_from);
    gethostname(host, sizeof host - 1);
    char id[UWS_ID_SIZE];
    uws_new_id(id); /* a server that took over a name and number is still another one */
    snprintf(t->lease_owner, sizeof t->lease_owner, "%.40s %d %.8s", host, (int)getpid(), id);
    strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&clock, &tm));
    snprintf(t->up_since, sizeof t->up_since, "%s", now);
    return t->base_url && t->root && t->upload_from;
}

enum err tap_new(const char *url, const struct tap_options *o, struct tap **ret, struct error *err)
{
    struct tap *t = calloc(1, sizeof *t);
    if (!t) return ERROR(err, ERR_NOMEM, "could not get memory for TAP");
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->work, NULL);
    bool good = copy_options(t, o);
    t->sync = db_pool_new(url, "nightshift tap sync", o->sync_workers);
    t->async = db_pool_new(url, "nightshift tap async", o->async_workers);
    t->jobs = db_pool_new(url, "nightshift tap jobs", 2);
    struct db_pool *pools[] = {t->sync, t->async, t->jobs};
    for (int i = 0; i < 3 && o->ask_url; i++)
        if (pools[i]) db_pool_ask_url(pools[i], o->ask_url, (void *)(uintptr_t)o->ask_user);
    t->running[0] = metric_get(METRIC_GAUGE, "nightshift_tap_queries", "kind=\"sync\"", "queries under way");
    t->running[1] = metric_get(METRIC_GAUGE, "nightshift_tap_queries", "kind=\"async\"", "queries under way");
    enum err e = good && t->sync && t->async && t->jobs ? ERR_OK : ERROR(err, ERR_NOMEM, "could not get memory for TAP");
    if (!e) e = schema_load(&t->schema, err);
    if (!e) e = tap_watch_start(t, err);
    if (!e) e = tap_jobs_start(t, err);
    if (e) {
        tap_stop(t);
        tap_free(t);
        return e;
    }
    *ret = t;
    return ERR_OK;
}

void tap_stop(struct tap *t)
{
    pthread_mutex_lock(&t->lock);
    __atomic_store_n(&t->stopping, true, __ATOMIC_RELAXED);
    pthread_cond_broadcast(&t->work);
    pthread_mutex_unlock(&t->lock);
    tap_jobs_stop(t);
}

void tap_free(struct tap *t)
{
    if (!t) return;
    __atomic_store_n(&t->over, true, __ATOMIC_RELAXED);
    if (t->watch_runs) pthread_join(t->watch, NULL);
    db_pool_free(t->sync);
    db_pool_free(t->async);
    db_pool_free(t->jobs);
    schema_free(t->schema);
    pthread_cond_destroy(&t->work);
    pthread_mutex_destroy(&t->lock);
    free(t->workers);
    free(t->base_url);
    free(t->root);
    free(t->upload_from);
    free(t);
}

bool tap_stopping(const struct tap *t)
{
    return __atomic_load_n(&t->stopping, __ATOMIC_RELAXED);
}

enum err tap_folder(struct tap *t, struct db *db, struct error *err)
{
    struct db_result *r = NULL;
    if (__atomic_load_n(&t->folder_ready, __ATOMIC_ACQUIRE)) return ERR_OK;
    enum err e = db_query(db, "SELECT name FROM uws_store", 0, NULL, &r, err);
    pthread_mutex_lock(&t->lock);
    if (!e && !t->folder_ready) {
        if ((size_t)snprintf(t->folder, sizeof t->folder, "%s/%s", t->root, db_text(r, 0, 0)) >= sizeof t->folder)
            e = ERROR(err, ERR_SETTINGS, "the path of tap.folder is too long");
        if (!e) e = make_folders(t->folder, err);
        if (!e) __atomic_store_n(&t->folder_ready, true, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&t->lock);
    db_result_free(r);
    return e;
}

/* ---- answers ------------------------------------------------------------------------------------------------------------- */

const char *tap_url(const struct tap *t, const struct http_request *r, char *buf, size_t size)
{
    const struct discovery d = {.base_url = t->base_url};
    char base[400];
    snprintf(buf, size, "%s/tap", discovery_base_url(&d, r, base, sizeof base));
    return buf;
}

void tap_xml(struct http_response *w, const char *text)
{
    const char *start = text;
    for (; *text; text++) {
        const char *entity = *text == '&' ? "&amp;" : *text == '<' ? "&lt;" : *text == '>' ? "&gt;" : *text == '"' ? "&quot;" : NULL;
        if (!entity && (unsigned char)*text < 32 && !strchr("\t\n\r", *text)) entity = "?";
        if (!entity) continue;
        http_write(w, start, (size_t)(text - start));
        http_write(w, entity, strlen(entity));
        start = text + 1;
    }
    http_write(w, start, (size_t)(text - start));
}

bool tap_sink(void *user, const char *data, size_t size)
{
    return http_write(user, data, size);
}

static int status_of(enum err code)
{
    switch (code) {
    case ERR_USAGE: return 400;
    case ERR_NOT_FOUND: return 404;
    case ERR_DATABASE: case ERR_NOMEM: case ERR_NO_SPACE: return 503;
    case ERR_INTERRUPTED: return 504;
    default: return 500;
    }
}

void tap_refuse(struct http_response *w, const struct error *err)
{
    char line[TAP_LINE];
    int status = status_of(err->code);
    error_line(err, line, sizeof line);
    if (status >= 500 && err->code != ERR_INTERRUPTED) log_error(err);
    if (http_streaming(w)) return;
    http_discard(w);
    http_status(w, status);
    if (status == 503) http_header_out(w, "Retry-After", "2");
    http_header_out(w, "Content-Type", "application/x-votable+xml");
    rowset_error_votable(tap_sink, w, false, line);
}

/* ---- bodies -------------------------------------------------------------------------------------------------------------- */

static int64_t read_body(void *user, int64_t offset, void *ret, size_t size)
{
    return http_body_read(user, offset, ret, size);
}

static bool is_multipart(const struct http_request *r)
{
    const char *type = http_header_in(r, "Content-Type");
    return type && !strncasecmp(type, "multipart/form-data", 19);
}

static enum err parts_of(struct http_request *r, struct multipart_part *parts, int *ret_n, struct error *err)
{
    *ret_n = 0;
    return is_multipart(r) ? multipart_parse(http_header_in(r, "Content-Type"), read_body, r, parts, ret_n, err) : ERR_OK;
}

enum err tap_take_body(struct http_request *r, struct error *err)
{
    struct multipart_part *parts = calloc(MULTIPART_PARTS_MAX, sizeof *parts);
    int n = 0;
    if (!parts) return ERROR(err, ERR_NOMEM, "could not get memory for the body");
    enum err e = parts_of(r, parts, &n, err);
    for (int i = 0; i < n && !e; i++) {
        if (parts[i].is_file) continue;
        char *text = parts[i].size <= ADQL_LENGTH_MAX ? calloc(1, (size_t)parts[i].size + 1) : NULL;
        if (!text || http_body_read(r, parts[i].offset, text, (size_t)parts[i].size) != parts[i].size || !http_param_add(r, parts[i].name, text))
            e = ERROR(err, ERR_USAGE, "part '%s' of the body is too long to be a parameter, or there are too many", parts[i].name);
        free(text);
    }
    free(parts);
    return e;
}

static enum err find_part(const struct multipart_part *parts, int n, struct http_request *r, struct upload_source *s, struct error *err)
{
    const char *name = s->uri + 6; /* behind "param:" */
    for (int i = 0; i < n; i++)
        if (!strcmp(parts[i].name, name)) {
            s->read = read_body;
            s->user = r;
            s->offset = parts[i].offset;
            s->size = parts[i].size;
            return ERR_OK;
        }
    return ERROR(err, ERR_USAGE, "UPLOAD speaks of part '%s', which the body does not have", name);
}

enum err tap_take_uploads(struct http_request *r, const struct tap_params *p, struct upload_list *ret, struct error *err)
{
    ret->n = 0;
    if (!p->value[TAP_UPLOAD]) return ERR_OK;
    struct multipart_part *parts = calloc(MULTIPART_PARTS_MAX, sizeof *parts);
    int n = 0;
    if (!parts) return ERROR(err, ERR_NOMEM, "could not get memory for the body");
    enum err e = upload_list_parse(p->value[TAP_UPLOAD], ret, err);
    if (!e) e = parts_of(r, parts, &n, err);
    for (int i = 0; i < ret->n && !e; i++)
        if (!strncasecmp(ret->sources[i].uri, "param:", 6)) e = find_part(parts, n, r, &ret->sources[i], err);
    free(parts);
    return e;
}

/* ---- /tap/sync ----------------------------------------------------------------------------------------------------------- */

static void sync_query(struct http_request *r, struct http_response *w, void *user)
{
    struct tap *t = user;
    struct error err = ERROR_INIT;
    struct tap_params p = {0};
    struct tap_query q;
    struct upload_list *uploads = calloc(1, sizeof *uploads);
    enum err e = uploads ? tap_take_body(r, &err) : ERROR(&err, ERR_NOMEM, "could not get memory for a query");
    if (!e) e = tap_params_take(&p, r, &err);
    if (!e) e = tap_query_of(t, &p, &q, &err);
    if (!e) e = tap_take_uploads(r, &p, uploads, &err);
    if (!e && uploads->n && !auth_requires(r, w, SCOPE_UPLOAD)) {
        tap_params_release(&p);
        free(uploads);
        return;
    }
    if (!e) {
        struct tap_run run = {.request = r, .response = w, .started = clock_seconds(), .limit_s = t->opt.sync_seconds, .sink = tap_sink, .sink_user = w};
        http_header_out(w, "Content-Type", rowset_content_type(q.format));
        e = tap_run_query(t, &run, &q, uploads, &err);
        if (e && http_streaming(w)) http_abort(w);
        else if (!e) http_trailer(w, "X-Overflow", run.overflow ? "true" : "false"); /* CSV and TSV cannot say it themselves */
        log_event(LOG_INFO, "query", LOG_STR("request_id", http_request_id(r)), LOG_STR("outcome", e ? err_name(e) : "ok"), LOG_INT("rows", run.rows),
                  LOG_DOUBLE("elapsed_ms", (clock_seconds() - run.started) * 1e3));
    }
    if (e) tap_refuse(w, &err);
    tap_params_release(&p);
    free(uploads);
}

static void home(struct http_request *r, struct http_response *w, void *user)
{
    char url[512];
    http_header_out(w, "Content-Type", "text/html; charset=utf-8");
    http_printf(w, "<!DOCTYPE html>\n<title>TAP</title>\n<h1>Table Access Protocol</h1>\n<p>Give this address to TOPCAT, STILTS or pyvo: <code>");
    tap_xml(w, tap_url(user, r, url, sizeof url));
    http_printf(w, "</code></p>\n<ul>\n<li><a href=\"tap/examples\">examples</a></li>\n<li><a href=\"tap/tables\">tables</a></li>\n"
                   "<li><a href=\"tap/capabilities\">capabilities</a></li>\n<li><a href=\"tap/availability\">availability</a></li>\n</ul>\n");
}

enum err tap_routes(struct tap *t, struct httpd *h, struct error *err)
{
    enum err e = httpd_route(h, "GET", "/tap", home, t, HTTP_INLINE, err);
    if (!e) e = httpd_route(h, "GET", "/tap/sync", sync_query, t, HTTP_SLOW, err);
    if (!e) e = httpd_route(h, "POST", "/tap/sync", sync_query, t, HTTP_SLOW | HTTP_UPLOAD, err);
    if (!e) e = tap_async_routes(t, h, err);
    if (!e) e = vosi_routes(t, h, err);
    return e ? e : examples_routes(t, h, err);
}
