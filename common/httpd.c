/* DESIGN. One `struct http_request` lives from the first call of the access handler to MHD's completion notice. Its state
 * walks one way; each arrow is taken under request->lock:
 *
 *     READING --dispatch()--> QUEUED --worker--> RUNNING --finish()--> WHOLE      answered with Content-Length
 *                                                   \--start_stream()--> STREAM --finish()--> STREAM_DONE
 *                      ^            \--http_defer()--> DEFERRED               \--http_abort()--> BROKEN
 *                      \-----------------http_again()-----/
 * A connection waits suspended while QUEUED or RUNNING, and while a STREAM has nothing to send; `suspended` is set and
 * cleared under the lock too, so that a resume never gets lost. The worker and the connection each hold one reference. */
#include "common/httpd.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "common/httpd_guard.h"
#include "common/log.h"
#include "common/metrics.h"

#define ROUTES_MAX     160
#define SEGMENTS_MAX   12
#define PARAMS_MAX     64
#define HEADERS_MAX    16
#define STREAM_BLOCK   (32 * 1024)
#define SLOW_REQUEST_S 5.0
#define GZIP_LEAST     1024

struct route {
    char method[8];
    char *pattern;
    http_handler handler;
    void *user;
    int flags;
};

enum state { READING, QUEUED, RUNNING, DEFERRED, WHOLE, STREAM, STREAM_DONE, BROKEN };

struct pair {
    char *name, *value;
};

struct http_response {
    int status;
    struct pair headers[HEADERS_MAX];
    int nheaders;
    char *data;              /* bytes written and not yet handed to MHD */
    size_t start, used, capacity; /* they are data[start .. start + used) */
    struct pair trailer;
    struct MHD_Response *stream;     /* while it is sent; the trailer is added to it */
    z_stream *z;             /* of a compressed answer under way */
    int fd;                  /* of a file to send instead; -1: none */
    int64_t offset, length;
};

struct http_request {
    struct httpd *server;
    struct MHD_Connection *connection;
    const struct route *route;
    char *path;
    char method[8];
    char id[64];
    char identity[64];
    unsigned scopes;
    bool gated;                      /* the gate has let it in */
    struct pair params[PARAMS_MAX];  /* query and form */
    int nparams;
    struct pair path_params[SEGMENTS_MAX];
    int npath_params;
    char *body;
    size_t body_size, body_capacity;
    int body_fd;                     /* of a large body; -1: in memory */
    bool too_large, other_method, dispatched;
    struct http_response response;
    struct http_request *next;       /* in the queue */
    double started;

    pthread_mutex_t lock;
    pthread_cond_t drained;
    enum state state;
    bool suspended;                  /* the connection */
    bool gone;                       /* MHD has closed the connection */
    bool deferred, again;            /* by the handler; http_again() came before the handler returned */
    int references;
};

/* Worker threads with a queue of their own. */
struct crew {
    struct httpd *server;
    pthread_t *threads;
    int n, size, limit;              /* running, wanted; requests that may wait */
    pthread_cond_t work;             /* the queue has something, or the end has come */
    struct http_request *first, *last;
    int waiting;
    struct metric *gauge;            /* of waiting */
};

struct httpd {
    struct httpd_options opt;
    char *bind;
    struct route routes[ROUTES_MAX];
    int nroutes;
    struct MHD_Daemon *daemon;
    int listen_fd;
    int port;
    struct crew crews[2];            /* [1]: the slow one */
    pthread_mutex_t lock;
    int active;                      /* dispatched and not completed; atomic */
    bool stopping, draining;         /* atomic */
    uint64_t serial;
    struct guard *guard;
    char *certificate, *key;
};

/* ---- small pieces ---------------------------------------------------------------------------------------------- */

static bool pair_add(struct pair *list, int *n, int max, const char *name, const char *value)
{
    if (*n >= max) return false;
    struct pair p = {strdup(name), strdup(value ? value : "")};
    if (!p.name || !p.value) {
        free(p.name);
        free(p.value);
        return false;
    }
    list[(*n)++] = p;
    return true;
}

static void pairs_release(struct pair *list, int n)
{
    for (int i = 0; i < n; i++) {
        free(list[i].name);
        free(list[i].value);
    }
}

static void request_release(struct http_request *r)
{
    pthread_mutex_lock(&r->lock);
    bool last = --r->references == 0;
    pthread_mutex_unlock(&r->lock);
    if (!last) return;
    pairs_release(r->params, r->nparams);
    pairs_release(r->path_params, r->npath_params);
    pairs_release(r->response.headers, r->response.nheaders);
    pairs_release(&r->response.trailer, 1);
    if (r->response.fd >= 0) close(r->response.fd);
    if (r->response.z) deflateEnd(r->response.z);
    free(r->response.z);
    if (r->body_fd >= 0) close(r->body_fd);
    free(r->response.data);
    free(r->body);
    free(r->path);
    pthread_cond_destroy(&r->drained);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static const char *path_segment(const char *p, const char **ret_end)
{
    while (*p == '/') p++;
    const char *end = p;
    while (*end && *end != '/') end++;
    *ret_end = end;
    return p;
}

/* Does the path fit the pattern? Segments in braces take any non-empty segment and become path parameters. */
static bool route_fits(const struct route *route, const char *path, struct http_request *r)
{
    const char *p = route->pattern, *q = path;
    for (;;) {
        const char *pe, *qe;
        p = path_segment(p, &pe);
        q = path_segment(q, &qe);
        if (p == pe || q == qe) return p == pe && q == qe;
        size_t pn = (size_t)(pe - p), qn = (size_t)(qe - q);
        if (p[0] == '{') {
            char name[64], value[512];
            snprintf(name, sizeof name, "%.*s", (int)(pn - 2), p + 1);
            snprintf(value, sizeof value, "%.*s", (int)qn, q);
            if (qn >= sizeof value || !pair_add(r->path_params, &r->npath_params, SEGMENTS_MAX, name, value)) return false;
        } else if (pn != qn || memcmp(p, q, pn)) {
            return false;
        }
        p = pe;
        q = qe;
    }
}

static const struct route *find_route(struct httpd *h, struct http_request *r, bool *ret_other_method)
{
    const char *method = strcmp(r->method, "HEAD") ? r->method : "GET";
    *ret_other_method = false;
    for (int i = 0; i < h->nroutes; i++) {
        bool fits = route_fits(&h->routes[i], r->path, r);
        if (fits && !strcmp(h->routes[i].method, method)) return &h->routes[i];
        if (fits) *ret_other_method = true;
        pairs_release(r->path_params, r->npath_params);
        r->npath_params = 0;
    }
    return NULL;
}

static enum MHD_Result take_param(void *user, enum MHD_ValueKind kind, const char *name, const char *value)
{
    (void)kind;
    struct http_request *r = user;
    return pair_add(r->params, &r->nparams, PARAMS_MAX, name, value) ? MHD_YES : MHD_NO;
}

/* application/x-www-form-urlencoded: decoded in place, pair by pair. */
static void take_form(struct http_request *r)
{
    const char *type = http_header_in(r, "Content-Type");
    if (!type || strncasecmp(type, "application/x-www-form-urlencoded", 33)) return;
    if (r->body_fd >= 0) r->too_large = true; /* nobody types that much */
    if (!r->body) return;
    char *copy = strndup(r->body, r->body_size), *save = NULL;
    if (!copy) return;
    for (char *item = strtok_r(copy, "&", &save); item; item = strtok_r(NULL, "&", &save)) {
        char *value = strchr(item, '=');
        if (value) *value++ = 0;
        for (char *c = item; *c; c++) if (*c == '+') *c = ' ';
        MHD_http_unescape(item);
        if (value) {
            for (char *c = value; *c; c++) if (*c == '+') *c = ' ';
            MHD_http_unescape(value);
        }
        pair_add(r->params, &r->nparams, PARAMS_MAX, item, value);
    }
    free(copy);
}

static void request_id(struct http_request *r)
{
    const char *given = MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, "X-Request-Id");
    bool usable = given && strlen(given) < sizeof r->id && given[0];
    for (const char *c = given; usable && *c; c++) usable = isalnum((unsigned char)*c) || strchr("-_.:", *c);
    uint64_t serial = __atomic_add_fetch(&r->server->serial, 1, __ATOMIC_RELAXED);
    if (usable) snprintf(r->id, sizeof r->id, "%s", given);
    else snprintf(r->id, sizeof r->id, "%x-%llx", (unsigned)getpid(), (unsigned long long)serial);
}

/* ---- answers --------------------------------------------------------------------------------------------------- */

static bool make_room(struct http_response *w, size_t size)
{
    if (w->start + w->used + size <= w->capacity) return true;
    if (w->start) memmove(w->data, w->data + w->start, w->used);
    w->start = 0;
    if (w->used + size <= w->capacity) return true;
    size_t capacity = w->capacity ? w->capacity : 4096;
    while (capacity < w->used + size) capacity *= 2;
    char *grown = realloc(w->data, capacity);
    if (!grown) return false;
    w->data = grown;
    w->capacity = capacity;
    return true;
}

static void account(struct http_request *r)
{
    char labels[160];
    const char *route = r->route ? r->route->pattern : "none";
    snprintf(labels, sizeof labels, "route=\"%s\",code=\"%d\"", route, r->response.status);
    metric_add(metric_get(METRIC_COUNTER, "nightshift_http_requests_total", labels, "HTTP requests answered"), 1);
    snprintf(labels, sizeof labels, "route=\"%s\"", route);
    double elapsed = clock_seconds() - r->started;
    metric_observe(metric_get(METRIC_HISTOGRAM, "nightshift_http_request_seconds", labels, "time to the whole answer"), elapsed);
    enum log_level level = r->response.status >= 500 ? LOG_WARN : elapsed > SLOW_REQUEST_S ? LOG_INFO : LOG_DEBUG;
    if (log_enabled(level))
        log_event(level, "http request", LOG_STR("method", r->method), LOG_STR("path", r->path), LOG_INT("status", r->response.status),
                  LOG_DOUBLE("elapsed_ms", elapsed * 1e3), LOG_STR("request_id", r->id));
}

static void add_headers(struct http_request *r, struct MHD_Response *m)
{
    for (int i = 0; i < r->response.nheaders; i++) MHD_add_response_header(m, r->response.headers[i].name, r->response.headers[i].value);
    MHD_add_response_header(m, "X-Request-Id", r->id);
    MHD_add_response_header(m, "Access-Control-Allow-Origin", "*");
    MHD_add_response_header(m, "Access-Control-Expose-Headers", "ETag, Location, Content-Range, Content-Disposition, Retry-After, X-Request-Id, X-Overflow-Limit");
    MHD_add_response_header(m, "X-Content-Type-Options", "nosniff");
    if (r->server->opt.server) MHD_add_response_header(m, "Server", r->server->opt.server);
    if (httpd_draining(r->server)) MHD_add_response_header(m, "Connection", "close");
}

static enum MHD_Result queue_file(struct http_request *r)
{
    struct http_response *w = &r->response;
    struct MHD_Response *m = MHD_create_response_from_fd_at_offset64((uint64_t)w->length, w->fd, (uint64_t)w->offset);
    if (!m) return MHD_NO;
    w->fd = -1; /* MHD closes it now */
    add_headers(r, m);
    enum MHD_Result ok = MHD_queue_response(r->connection, (unsigned)w->status, m);
    MHD_destroy_response(m);
    return ok;
}

static enum MHD_Result queue_whole(struct http_request *r)
{
    struct http_response *w = &r->response;
    guard_stage(r->connection, GUARD_ANSWER);
    if (w->fd >= 0) return queue_file(r);
    struct MHD_Response *m = w->data ? MHD_create_response_from_buffer(w->used, w->data, MHD_RESPMEM_MUST_FREE)
                                     : MHD_create_response_from_buffer(0, (char *)"", MHD_RESPMEM_PERSISTENT);
    if (!m) return MHD_NO;
    w->data = NULL; /* MHD frees it now */
    w->used = w->capacity = 0;
    add_headers(r, m);
    enum MHD_Result ok = MHD_queue_response(r->connection, (unsigned)w->status, m);
    MHD_destroy_response(m);
    return ok;
}

static void hang_up(struct http_request *r)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info) shutdown(info->connect_fd, SHUT_RDWR);
}

/* MHD wants more of a stream: give what is there, or suspend until the worker has some. */
static ssize_t stream_read(void *user, uint64_t pos, char *buf, size_t max)
{
    (void)pos;
    struct http_request *r = user;
    struct http_response *w = &r->response;
    ssize_t n = 0;
    pthread_mutex_lock(&r->lock);
    if (w->used > 0) {
        n = (ssize_t)(w->used < max ? w->used : max);
        memcpy(buf, w->data + w->start, (size_t)n);
        w->used -= (size_t)n;
        w->start = w->used ? w->start + (size_t)n : 0;
        pthread_cond_signal(&r->drained);
    } else if (r->state == STREAM_DONE) {
        n = MHD_CONTENT_READER_END_OF_STREAM;
        if (w->trailer.name) MHD_add_response_footer(w->stream, w->trailer.name, w->trailer.value);
    } else if (r->state == BROKEN) {
        n = MHD_CONTENT_READER_END_WITH_ERROR;
        hang_up(r); /* the library alone closes the socket at its next event, which may be the idle timeout */
    } else {
        r->suspended = true;
        MHD_suspend_connection(r->connection);
    }
    pthread_mutex_unlock(&r->lock);
    return n;
}

static enum MHD_Result queue_stream(struct http_request *r)
{
    guard_stage(r->connection, GUARD_ANSWER);
    struct MHD_Response *m = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, stream_read, r, NULL);
    if (!m) return MHD_NO;
    add_headers(r, m);
    r->response.stream = m; /* the connection holds it as long as it asks stream_read() */
    enum MHD_Result ok = MHD_queue_response(r->connection, (unsigned)r->response.status, m);
    MHD_destroy_response(m);
    return ok;
}

/* Wake the connection if it sleeps. Called with r->lock held. */
static void wake(struct http_request *r)
{
    if (!r->suspended || r->gone) return;
    r->suspended = false;
    MHD_resume_connection(r->connection);
}

/* ---- compression and validators ---------------------------------------------------------------------------------- */

static const char *header_set(const struct http_response *w, const char *name)
{
    for (int i = 0; i < w->nheaders; i++)
        if (!strcasecmp(w->headers[i].name, name)) return w->headers[i].value;
    return NULL;
}

/* "gzip" in Accept-Encoding without q=0. */
static bool takes_gzip(const struct http_request *r)
{
    const char *p = http_header_in(r, "Accept-Encoding");
    while (p && (p = strcasestr(p, "gzip"))) {
        p += 4;
        while (*p == ' ') p++;
        if (*p != ';') return true;
        while (*p == ';' || *p == ' ') p++;
        return strncmp(p, "q=0", 3) || (p[3] == '.' && strspn(p + 4, "0") != strcspn(p + 4, ", "));
    }
    return false;
}

static bool worth_gzip(const struct http_request *r)
{
    const char *type = header_set(&r->response, "Content-Type");
    if (!type || header_set(&r->response, "Content-Encoding") || !takes_gzip(r)) return false;
    return !strncmp(type, "text/", 5) || strstr(type, "xml") || strstr(type, "json") || strstr(type, "votable");
}

static bool deflate_start(struct http_response *w)
{
    w->z = calloc(1, sizeof *w->z);
    if (w->z && deflateInit2(w->z, Z_BEST_SPEED, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK) {
        http_header_out(w, "Content-Encoding", "gzip");
        http_header_out(w, "Vary", "Accept-Encoding");
        return true;
    }
    free(w->z);
    w->z = NULL;
    return false;
}

/* Compress `size` bytes to the end of the buffer, which holds at most `limit`. Returned: bytes taken, -1: no memory. */
static ssize_t deflate_some(struct http_response *w, const char *data, size_t size, size_t limit, int flush)
{
    size_t taken = 0;
    for (;;) {
        size_t room = w->used < limit ? limit - w->used : 0;
        if (!room) return (ssize_t)taken;
        if (room > 16384) room = 16384;
        if (!make_room(w, room)) return -1;
        w->z->next_in = (Bytef *)(uintptr_t)(data + taken);
        w->z->avail_in = (uInt)(size - taken);
        w->z->next_out = (Bytef *)w->data + w->start + w->used;
        w->z->avail_out = (uInt)room;
        int code = deflate(w->z, flush);
        taken = size - w->z->avail_in;
        w->used += room - w->z->avail_out;
        if (code == Z_STREAM_END || (flush == Z_NO_FLUSH && taken == size && w->z->avail_out)) return (ssize_t)taken;
        if (code != Z_OK && code != Z_BUF_ERROR) return -1;
    }
}

/* Everything written so far goes through the compressor, what follows too. Without memory the answer stays as it is. */
static void compress_from_here(struct http_response *w, int flush)
{
    char *plain = w->data;
    size_t start = w->start, size = w->used, capacity = w->capacity;
    if (!deflate_start(w)) return;
    w->data = NULL;
    w->start = w->used = w->capacity = 0;
    if (deflate_some(w, plain + start, size, SIZE_MAX, flush) == (ssize_t)size) {
        free(plain);
        return;
    }
    free(w->data);
    w->data = plain;
    w->start = start;
    w->used = size;
    w->capacity = capacity;
    deflateEnd(w->z);
    free(w->z);
    w->z = NULL;
    http_header_out(w, "Content-Encoding", "identity");
}

/* 64 bits of the content: four lanes of multiplications, mixed at the end. No secret, no security. */
static uint64_t content_hash(const char *p, size_t n)
{
    uint64_t lane[4] = {0x9e3779b97f4a7c15u, 0xc2b2ae3d27d4eb4fu, 0x165667b19e3779f9u, n}, word;
    size_t i = 0;
    for (; i + 32 <= n; i += 32)
        for (int k = 0; k < 4; k++) {
            memcpy(&word, p + i + 8 * k, 8);
            lane[k] = (lane[k] ^ word) * 0x9fb21c651e98df25u;
            lane[k] ^= lane[k] >> 29;
        }
    for (; i < n; i++) lane[3] = (lane[3] ^ (unsigned char)p[i]) * 0x100000001b3u;
    uint64_t h = lane[0] ^ lane[1] * 3 ^ lane[2] * 5 ^ lane[3] * 7;
    h = (h ^ h >> 32) * 0x9fb21c651e98df25u;
    return h ^ h >> 29;
}

/* A whole, good answer to GET: its ETag, and 304 instead of it when the client has it. */
static void validate(struct http_request *r)
{
    struct http_response *w = &r->response;
    char etag[32];
    if (w->status != 200 || !w->used || w->fd >= 0 || strcmp(r->method, "GET") || header_set(w, "ETag")) return;
    snprintf(etag, sizeof etag, "W/\"%016llx\"", (unsigned long long)content_hash(w->data + w->start, w->used));
    http_header_out(w, "ETag", etag);
    const char *have = http_header_in(r, "If-None-Match");
    if (!have || (strcmp(have, "*") && !strstr(have, etag + 2))) return;
    w->status = 304;
    w->used = 0;
}

static void finish(struct http_request *r)
{
    pthread_mutex_lock(&r->lock);
    if (r->state == RUNNING) {
        if (!r->gone) {
            validate(r);
            if (r->response.used >= GZIP_LEAST && r->response.fd < 0 && worth_gzip(r)) compress_from_here(&r->response, Z_FINISH);
        }
        r->state = WHOLE;
    } else if (r->state == STREAM) {
        bool whole = !r->response.z || deflate_some(&r->response, "", 0, SIZE_MAX, Z_FINISH) == 0;
        r->state = whole ? STREAM_DONE : BROKEN;
    }
    wake(r);
    pthread_mutex_unlock(&r->lock);
    account(r);
}

/* ---- workers --------------------------------------------------------------------------------------------------- */

static struct http_request *take_work(struct crew *c)
{
    struct httpd *h = c->server;
    pthread_mutex_lock(&h->lock);
    while (!c->first && !h->stopping) pthread_cond_wait(&c->work, &h->lock);
    struct http_request *r = c->first;
    if (r) {
        c->first = r->next;
        if (!c->first) c->last = NULL;
        c->waiting--;
        metric_set(c->gauge, c->waiting);
    }
    pthread_mutex_unlock(&h->lock);
    return r;
}

/* Does the request wait for http_again() now? It keeps the worker's reference then. */
static bool stays_deferred(struct http_request *r, bool *ret_again)
{
    pthread_mutex_lock(&r->lock);
    bool deferred = r->deferred;
    *ret_again = deferred && r->again;
    r->deferred = r->again = false;
    if (deferred && !*ret_again) r->state = DEFERRED;
    pthread_mutex_unlock(&r->lock);
    return deferred && !*ret_again;
}

static bool let_in(struct http_request *r)
{
    const struct httpd_options *o = &r->server->opt;
    if (!o->gate || r->gated || (r->route->flags & HTTP_PUBLIC)) return true;
    return r->gated = o->gate(r, &r->response, o->gate_user);
}

static void work_on(struct http_request *r)
{
    bool again = true;
    while (again) {
        pthread_mutex_lock(&r->lock);
        bool gone = r->gone;
        r->state = RUNNING;
        pthread_mutex_unlock(&r->lock);
        if (!gone && let_in(r)) r->route->handler(r, &r->response, r->route->user);
        if (stays_deferred(r, &again)) return;
    }
    finish(r);
    request_release(r);
}

static void *worker(void *user)
{
    for (struct http_request *r; (r = take_work(user));) work_on(r);
    return NULL;
}

/* always: a request that was let in once does not have to queue for a place again. */
static bool enqueue(struct httpd *h, struct http_request *r, bool always)
{
    struct crew *c = &h->crews[(r->route->flags & HTTP_SLOW) != 0];
    pthread_mutex_lock(&h->lock);
    bool room = (always || c->waiting < c->limit) && !h->stopping;
    if (room) {
        r->next = NULL;
        if (c->last) c->last->next = r;
        else c->first = r;
        c->last = r;
        c->waiting++;
        metric_set(c->gauge, c->waiting);
        pthread_cond_signal(&c->work);
    }
    pthread_mutex_unlock(&h->lock);
    return room;
}

void http_defer(struct http_request *r)
{
    pthread_mutex_lock(&r->lock);
    r->deferred = true;
    pthread_mutex_unlock(&r->lock);
}

void http_again(struct http_request *r)
{
    pthread_mutex_lock(&r->lock);
    bool waits = r->state == DEFERRED;
    if (waits) r->state = QUEUED;
    else r->again = true;
    pthread_mutex_unlock(&r->lock);
    if (!waits || enqueue(r->server, r, true)) return;
    pthread_mutex_lock(&r->lock); /* the server stops */
    r->state = BROKEN;
    wake(r);
    pthread_mutex_unlock(&r->lock);
    request_release(r);
}

static size_t body_limit(const struct http_request *r)
{
    return r->route && (r->route->flags & HTTP_UPLOAD) ? r->server->opt.upload_limit : r->server->opt.body_limit;
}

/* A browser asks before it sends what a form could not (Fetch standard, CORS-preflight). */
static void preflight(struct http_response *w)
{
    w->status = 204;
    http_header_out(w, "Access-Control-Allow-Methods", "GET, HEAD, POST, DELETE, OPTIONS");
    http_header_out(w, "Access-Control-Allow-Headers", "Authorization, Content-Type, If-None-Match, If-Range, Range, X-Request-Id");
    http_header_out(w, "Access-Control-Max-Age", "86400");
}

static enum MHD_Result dispatch(struct httpd *h, struct http_request *r)
{
    r->dispatched = true;
    __atomic_add_fetch(&h->active, 1, __ATOMIC_RELAXED);
    take_form(r);
    r->state = RUNNING;
    guard_stage(r->connection, GUARD_WORK);
    if (!r->route && r->other_method && !strcmp(r->method, "OPTIONS")) preflight(&r->response);
    else if (r->too_large) http_error(&r->response, 413, "the request body is larger than %zu bytes", body_limit(r));
    else if (!r->route && r->other_method) http_error(&r->response, 405, "%s is not allowed on %s", r->method, r->path);
    else if (!r->route) http_error(&r->response, 404, "nothing is at %s", r->path);
    else if (r->route->flags & HTTP_INLINE) r->route->handler(r, &r->response, r->route->user);
    else {
        pthread_mutex_lock(&r->lock);
        r->state = QUEUED;
        r->references++;
        r->suspended = true;
        MHD_suspend_connection(r->connection);
        pthread_mutex_unlock(&r->lock);
        if (enqueue(h, r, false)) return MHD_YES;
        pthread_mutex_lock(&r->lock);
        r->references--;
        r->state = RUNNING;
        http_header_out(&r->response, "Retry-After", "1");
        http_error(&r->response, 503, "the server is busy; try again in a second");
        r->state = WHOLE;
        wake(r);
        pthread_mutex_unlock(&r->lock);
        account(r);
        return MHD_YES;
    }
    r->state = WHOLE;
    account(r);
    return queue_whole(r);
}

/* ---- MHD callbacks --------------------------------------------------------------------------------------------- */

static struct http_request *request_new(struct httpd *h, struct MHD_Connection *connection, const char *url, const char *method)
{
    struct http_request *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->server = h;
    r->connection = connection;
    r->references = 1;
    r->response.status = 200;
    r->response.fd = r->body_fd = -1;
    r->started = clock_seconds();
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->drained, NULL);
    snprintf(r->method, sizeof r->method, "%s", method);
    r->path = strdup(url);
    if (!r->path) {
        request_release(r);
        return NULL;
    }
    r->route = find_route(h, r, &r->other_method);
    request_id(r);
    MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, take_param, r);
    return r;
}

static bool write_all(int fd, const char *data, size_t size)
{
    while (size) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        data += n;
        size -= (size_t)n;
    }
    return true;
}

/* A large body goes to a file without a name: nobody has to clean up after a crash. */
static bool spool(struct http_request *r, const char *data, size_t size)
{
    if (r->body_fd < 0) {
        const char *folder = getenv("TMPDIR");
        char name[512];
        snprintf(name, sizeof name, "%s/nightshift-body-XXXXXX", folder && *folder ? folder : "/tmp");
        r->body_fd = mkostemp(name, O_CLOEXEC);
        if (r->body_fd < 0) return false;
        unlink(name);
        if (!write_all(r->body_fd, r->body ? r->body : "", r->body_size)) return false;
        free(r->body);
        r->body = NULL;
    }
    if (!write_all(r->body_fd, data, size)) return false;
    r->body_size += size;
    return true;
}

static void take_body(struct http_request *r, const char *data, size_t size)
{
    if (r->too_large || r->body_size + size > body_limit(r)) {
        r->too_large = true;
        return;
    }
    if (r->body_size + size > r->server->opt.body_limit) {
        if (!spool(r, data, size)) r->too_large = true;
        return;
    }
    if (r->body_size + size > r->body_capacity) {
        size_t capacity = (r->body_size + size) * 2;
        char *grown = realloc(r->body, capacity);
        if (!grown) {
            r->too_large = true;
            return;
        }
        r->body = grown;
        r->body_capacity = capacity;
    }
    memcpy(r->body + r->body_size, data, size);
    r->body_size += size;
}

static enum MHD_Result access_handler(void *user, struct MHD_Connection *connection, const char *url, const char *method,
                                      const char *version, const char *data, size_t *size, void **con_cls)
{
    (void)version;
    struct httpd *h = user;
    struct http_request *r = *con_cls;
    if (!r) {
        *con_cls = r = request_new(h, connection, url, method);
        guard_stage(connection, GUARD_BODY);
        return r ? MHD_YES : MHD_NO;
    }
    if (*size) {
        take_body(r, data, *size);
        *size = 0;
        return MHD_YES;
    }
    pthread_mutex_lock(&r->lock);
    enum state state = r->state;
    pthread_mutex_unlock(&r->lock);
    if (state == READING) return dispatch(h, r);
    if (state == WHOLE) return queue_whole(r);
    if (state == STREAM || state == STREAM_DONE || state == BROKEN) return queue_stream(r);
    return MHD_YES;
}

static void completed(void *user, struct MHD_Connection *connection, void **con_cls, enum MHD_RequestTerminationCode code)
{
    (void)code;
    struct httpd *h = user;
    struct http_request *r = *con_cls;
    if (!r) return;
    guard_stage(connection, GUARD_IDLE);
    *con_cls = NULL;
    if (r->dispatched) __atomic_sub_fetch(&h->active, 1, __ATOMIC_RELAXED);
    pthread_mutex_lock(&r->lock);
    r->gone = true;
    pthread_cond_broadcast(&r->drained);
    pthread_mutex_unlock(&r->lock);
    request_release(r);
}

static void quiet(void *user, const char *fmt, va_list ap)
{
    (void)user;
    char line[512];
    vsnprintf(line, sizeof line, fmt, ap);
    line[strcspn(line, "\n")] = 0;
    log_text(LOG_DEBUG, "microhttpd: %s", line);
}

/* ---- life ------------------------------------------------------------------------------------------------------ */

static bool crew_init(struct crew *c, struct httpd *h, int size, int limit, const char *labels)
{
    *c = (struct crew){.server = h, .size = size, .limit = limit, .threads = calloc((size_t)size, sizeof *c->threads)};
    c->gauge = metric_get(METRIC_GAUGE, "nightshift_http_waiting", labels, "requests that wait for a worker");
    pthread_cond_init(&c->work, NULL);
    return c->threads != NULL;
}

/* Returned: false if not even one thread runs. */
static bool crew_start(struct crew *c)
{
    for (; c->n < c->size; c->n++)
        if (pthread_create(&c->threads[c->n], NULL, worker, c)) break;
    return c->n > 0;
}

struct httpd *httpd_new(const struct httpd_options *opt)
{
    struct httpd *h = calloc(1, sizeof *h);
    if (!h) return NULL;
    h->opt = *opt;
    if (!h->opt.network_threads) h->opt.network_threads = 1;
    if (!h->opt.workers) h->opt.workers = 4;
    if (!h->opt.queue) h->opt.queue = 256;
    if (!h->opt.connections) h->opt.connections = 1024;
    if (!h->opt.idle_timeout_s) h->opt.idle_timeout_s = 30;
    if (!h->opt.slow_workers) h->opt.slow_workers = 4;
    if (!h->opt.slow_queue) h->opt.slow_queue = 64;
    if (!h->opt.body_limit) h->opt.body_limit = 1 << 20;
    if (!h->opt.upload_limit) h->opt.upload_limit = 256 << 20;
    if (!(h->opt.header_deadline_s > 0)) h->opt.header_deadline_s = 10;
    if (!(h->opt.body_deadline_s > 0)) h->opt.body_deadline_s = 60;
    if (!(h->opt.slow_rate > 0)) h->opt.slow_rate = 1024;
    if (opt->tls_certificate) h->certificate = strdup(opt->tls_certificate);
    if (opt->tls_key) h->key = strdup(opt->tls_key);
    h->bind = strdup(opt->bind ? opt->bind : "127.0.0.1");
    h->listen_fd = -1;
    pthread_mutex_init(&h->lock, NULL);
    bool good = crew_init(&h->crews[0], h, h->opt.workers, h->opt.queue, "crew=\"short\"");
    good = crew_init(&h->crews[1], h, h->opt.slow_workers, h->opt.slow_queue, "crew=\"long\"") && good;
    if (!h->bind || !good) {
        httpd_free(h);
        return NULL;
    }
    return h;
}

enum err httpd_route(struct httpd *h, const char *method, const char *pattern, http_handler handler, void *user, int flags,
                     struct error *err)
{
    if (h->nroutes == ROUTES_MAX) return ERROR(err, ERR_INTERNAL, "more than %d routes", ROUTES_MAX);
    struct route *r = &h->routes[h->nroutes];
    *r = (struct route){.pattern = strdup(pattern), .handler = handler, .user = user, .flags = flags};
    if (!r->pattern) return ERROR(err, ERR_NOMEM, "could not add route '%s': out of memory", pattern);
    snprintf(r->method, sizeof r->method, "%s", method);
    h->nroutes++;
    return ERR_OK;
}

static enum err listen_on(struct httpd *h, struct error *err)
{
    struct sockaddr_storage sa = {0};
    socklen_t size;
    struct sockaddr_in *v4 = (struct sockaddr_in *)&sa;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&sa;
    if (inet_pton(AF_INET, h->bind, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)h->opt.port);
        size = sizeof *v4;
    } else if (inet_pton(AF_INET6, h->bind, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)h->opt.port);
        size = sizeof *v6;
    } else {
        return ERROR(err, ERR_SETTINGS, "cannot listen on '%s': not an IP address", h->bind);
    }
    int one = 1, fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, (struct sockaddr *)&sa, size) || listen(fd, 512) || getsockname(fd, (struct sockaddr *)&sa, &size)) {
        int e = errno;
        if (fd >= 0) close(fd);
        ERROR(err, ERR_IO, "could not listen on %s port %d: %s", h->bind, h->opt.port, strerror(e));
        if (e == EADDRINUSE) error_hint(err, "another program has that port; choose one with --port");
        return ERR_IO;
    }
    h->listen_fd = fd;
    h->port = ntohs(sa.ss_family == AF_INET ? v4->sin_port : v6->sin6_port);
    return ERR_OK;
}

enum err httpd_start(struct httpd *h, struct error *err)
{
    enum err e = listen_on(h, err);
    if (e) return e;
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG | MHD_USE_TURBO;
    if (h->certificate && h->key) flags |= MHD_USE_TLS;
    h->guard = guard_new(&(struct guard_options){h->opt.header_deadline_s, h->opt.body_deadline_s, h->opt.slow_rate});
    if (!h->guard) return ERROR(err, ERR_NOMEM, "could not start the watch over connections");
    struct MHD_OptionItem options[] = {
        {MHD_OPTION_LISTEN_SOCKET, h->listen_fd, NULL},
        {MHD_OPTION_EXTERNAL_LOGGER, (intptr_t)quiet, NULL},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)completed, h},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)guard_connection, h->guard},
        {MHD_OPTION_CONNECTION_LIMIT, h->opt.connections, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, h->opt.idle_timeout_s, NULL},
        {MHD_OPTION_PER_IP_CONNECTION_LIMIT, h->opt.connections_per_ip, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, 64 * 1024, NULL},
        {MHD_OPTION_END, 0, NULL}, {MHD_OPTION_END, 0, NULL}, {MHD_OPTION_END, 0, NULL}, {MHD_OPTION_END, 0, NULL},
    };
    int last = (int)(sizeof options / sizeof options[0]) - 4;
    if (h->opt.network_threads > 1) options[last++] = (struct MHD_OptionItem){MHD_OPTION_THREAD_POOL_SIZE, h->opt.network_threads, NULL};
    if (flags & MHD_USE_TLS) {
        options[last++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_CERT, 0, h->certificate};
        options[last++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_KEY, 0, h->key};
    }
    h->daemon = MHD_start_daemon(flags, 0, NULL, NULL, access_handler, h, MHD_OPTION_ARRAY, options, MHD_OPTION_END);
    if (!h->daemon) return ERROR(err, ERR_IO, "could not start the HTTP server on %s port %d", h->bind, h->port);
    if (!crew_start(&h->crews[0]) || !crew_start(&h->crews[1])) return ERROR(err, ERR_NOMEM, "could not start a worker thread");
    return ERR_OK;
}

int httpd_port(const struct httpd *h)
{
    return h->port;
}

bool httpd_draining(const struct httpd *h)
{
    return __atomic_load_n(&h->draining, __ATOMIC_RELAXED);
}

int httpd_drain(struct httpd *h, double seconds)
{
    __atomic_store_n(&h->draining, true, __ATOMIC_RELAXED);
    if (!h->daemon) return 0;
    int fd = MHD_quiesce_daemon(h->daemon);
    if (fd >= 0) close(fd);
    h->listen_fd = -1;
    double end = clock_seconds() + seconds;
    int left;
    while ((left = __atomic_load_n(&h->active, __ATOMIC_RELAXED)) > 0 && clock_seconds() < end)
        nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
    return left;
}

/* Streams whose client does not read are broken off (wait_for_reader), so that every worker comes back. */
static void stop_workers(struct httpd *h)
{
    pthread_mutex_lock(&h->lock);
    __atomic_store_n(&h->stopping, true, __ATOMIC_RELAXED);
    for (int i = 0; i < 2; i++) pthread_cond_broadcast(&h->crews[i].work);
    pthread_mutex_unlock(&h->lock);
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < h->crews[i].n; k++) pthread_join(h->crews[i].threads[k], NULL);
        h->crews[i].n = 0;
    }
}

void httpd_free(struct httpd *h)
{
    if (!h) return;
    if (h->daemon && !httpd_draining(h)) httpd_drain(h, 0);
    stop_workers(h);
    if (h->daemon) MHD_stop_daemon(h->daemon);
    guard_free(h->guard);
    free(h->certificate);
    free(h->key);
    if (h->listen_fd >= 0 && !h->daemon) close(h->listen_fd);
    for (int i = 0; i < h->nroutes; i++) free(h->routes[i].pattern);
    for (int i = 0; i < 2; i++) {
        pthread_cond_destroy(&h->crews[i].work);
        free(h->crews[i].threads);
    }
    pthread_mutex_destroy(&h->lock);
    free(h->bind);
    free(h);
}

/* ---- in a handler ---------------------------------------------------------------------------------------------- */

const char *http_method(const struct http_request *r)
{
    return r->method;
}

const char *http_path(const struct http_request *r)
{
    return r->path;
}

const char *http_path_param(const struct http_request *r, const char *name)
{
    for (int i = 0; i < r->npath_params; i++)
        if (!strcmp(r->path_params[i].name, name)) return r->path_params[i].value;
    return NULL;
}

const char *http_param_at(const struct http_request *r, const char *name, int index)
{
    for (int i = 0; i < r->nparams; i++)
        if (!strcasecmp(r->params[i].name, name) && index-- == 0) return r->params[i].value;
    return NULL;
}

const char *http_param(const struct http_request *r, const char *name)
{
    return http_param_at(r, name, 0);
}

int http_param_count(const struct http_request *r, const char *name)
{
    int n = 0;
    for (int i = 0; i < r->nparams; i++) n += !strcasecmp(r->params[i].name, name);
    return n;
}

const char *http_header_in(const struct http_request *r, const char *name)
{
    return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

const char *http_body(const struct http_request *r, size_t *ret_size)
{
    *ret_size = r->body ? r->body_size : 0;
    return r->body ? r->body : "";
}

int64_t http_body_read(const struct http_request *r, int64_t offset, void *ret, size_t size)
{
    if (offset < 0 || (size_t)offset >= r->body_size) return 0;
    if (r->body_fd >= 0) return pread(r->body_fd, ret, size, offset);
    size_t left = r->body_size - (size_t)offset;
    if (size > left) size = left;
    memcpy(ret, r->body + offset, size);
    return (int64_t)size;
}

bool http_param_add(struct http_request *r, const char *name, const char *value)
{
    return pair_add(r->params, &r->nparams, PARAMS_MAX, name, value);
}

const char *http_request_id(const struct http_request *r)
{
    return r->id;
}

/* Under the lock, because the library frees a connection that it has told us to be gone. */
bool http_client_gone(struct http_request *r)
{
    char byte;
    pthread_mutex_lock(&r->lock);
    const union MHD_ConnectionInfo *info = r->gone ? NULL : MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    ssize_t n = info ? recv(info->connect_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) : 0;
    int e = errno;
    pthread_mutex_unlock(&r->lock);
    return n == 0 || (n < 0 && e != EAGAIN && e != EWOULDBLOCK && e != EINTR);
}

const char *http_client_address(const struct http_request *r, char *buf, size_t size)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const char *forwarded = r->server->opt.trust_proxy ? http_header_in(r, "X-Forwarded-For") : NULL;
    buf[0] = 0;
    if (forwarded) { /* each proxy appends whom it talks to: the last one is ours */
        const char *last = strrchr(forwarded, ',');
        last = last ? last + 1 : forwarded;
        while (*last == ' ') last++;
        snprintf(buf, size, "%.*s", (int)strcspn(last, " "), last);
    } else if (info && info->client_addr->sa_family == AF_INET) {
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)info->client_addr)->sin_addr, buf, (socklen_t)size);
    } else if (info && info->client_addr->sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)info->client_addr)->sin6_addr, buf, (socklen_t)size);
    }
    return buf;
}

void http_set_identity(struct http_request *r, const char *identity, unsigned scopes)
{
    snprintf(r->identity, sizeof r->identity, "%s", identity);
    r->scopes = scopes;
}

const char *http_identity(const struct http_request *r)
{
    return r->identity;
}

unsigned http_scopes(const struct http_request *r)
{
    return r->server->opt.gate ? r->scopes : ~0u;
}

void http_status(struct http_response *w, int status)
{
    w->status = status;
}

void http_header_out(struct http_response *w, const char *name, const char *value)
{
    for (int i = 0; i < w->nheaders; i++)
        if (!strcasecmp(w->headers[i].name, name)) {
            char *copy = strdup(value);
            if (!copy) return;
            free(w->headers[i].value);
            w->headers[i].value = copy;
            return;
        }
    pair_add(w->headers, &w->nheaders, HEADERS_MAX, name, value);
}

static struct http_request *request_of(struct http_response *w)
{
    return (struct http_request *)((char *)w - offsetof(struct http_request, response));
}

/* Append at most what the buffer may hold. Called with the lock held. Returned: bytes taken, -1: no memory. */
static ssize_t append(struct http_response *w, const char *data, size_t size)
{
    size_t room = w->used < HTTP_BUFFER ? HTTP_BUFFER - w->used : 0;
    if (size > room) size = room;
    if (!make_room(w, size)) return -1;
    memcpy(w->data + w->start + w->used, data, size);
    w->used += size;
    return (ssize_t)size;
}

/* Wait until MHD took something; a server that stops breaks the stream of a client that does not read. */
static void wait_for_reader(struct http_request *r)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 1;
    pthread_cond_timedwait(&r->drained, &r->lock, &until);
    if (__atomic_load_n(&r->server->stopping, __ATOMIC_RELAXED) && r->response.used >= HTTP_BUFFER) {
        r->state = BROKEN;
        wake(r);
    }
}

void http_trailer(struct http_response *w, const char *name, const char *value)
{
    struct http_request *r = request_of(w);
    pthread_mutex_lock(&r->lock);
    if (r->state != STREAM) {
        http_header_out(w, name, value);
    } else if (!w->trailer.name) {
        struct pair p = {strdup(name), strdup(value)};
        if (p.name && p.value) w->trailer = p;
        else pairs_release(&p, 1);
    }
    pthread_mutex_unlock(&r->lock);
}

bool http_write(struct http_response *w, const void *data, size_t size)
{
    struct http_request *r = request_of(w);
    const char *p = data;
    bool inline_route = r->route && (r->route->flags & HTTP_INLINE);
    if (inline_route || !r->route) { /* whole answers of the network thread: no stream, no lock to wait on */
        if (!make_room(w, size)) return false;
        memcpy(w->data + w->used, p, size);
        w->used += size;
        return true;
    }
    pthread_mutex_lock(&r->lock);
    while (size && !r->gone && r->state != BROKEN) {
        ssize_t n = w->z ? deflate_some(w, p, size, HTTP_BUFFER, Z_NO_FLUSH) : append(w, p, size);
        if (n < 0) break;
        p += n;
        size -= (size_t)n;
        if (!size) break;
        if (r->state == RUNNING) {
            if (worth_gzip(r)) compress_from_here(w, Z_NO_FLUSH);
            r->state = STREAM;
        }
        wake(r);
        wait_for_reader(r);
    }
    if (r->state == STREAM) wake(r);
    bool good = size == 0 && !r->gone;
    pthread_mutex_unlock(&r->lock);
    return good;
}

bool http_printf(struct http_response *w, const char *fmt, ...)
{
    char small[512];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    if (n < 0) return false;
    if ((size_t)n < sizeof small) return http_write(w, small, (size_t)n);
    char *large = malloc((size_t)n + 1);
    if (!large) return false;
    va_start(ap, fmt);
    vsnprintf(large, (size_t)n + 1, fmt, ap);
    va_end(ap);
    bool good = http_write(w, large, (size_t)n);
    free(large);
    return good;
}

bool http_streaming(const struct http_response *w)
{
    struct http_request *r = request_of((struct http_response *)(uintptr_t)w);
    pthread_mutex_lock(&r->lock);
    bool streaming = r->state == STREAM || r->state == BROKEN;
    pthread_mutex_unlock(&r->lock);
    return streaming;
}

void http_abort(struct http_response *w)
{
    struct http_request *r = request_of(w);
    pthread_mutex_lock(&r->lock);
    r->state = BROKEN;
    wake(r);
    pthread_mutex_unlock(&r->lock);
}

void http_discard(struct http_response *w)
{
    w->used = 0;
}

void http_send_fd(struct http_response *w, int fd, int64_t offset, int64_t length)
{
    if (w->fd >= 0) close(w->fd);
    w->fd = fd;
    w->offset = offset;
    w->length = length;
}

void http_error(struct http_response *w, int status, const char *fmt, ...)
{
    char message[512], escaped[2 * sizeof message];
    size_t n = 0;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    for (const char *c = message; *c && n < sizeof escaped - 2; c++) {
        if (*c == '"' || *c == '\\') escaped[n++] = '\\';
        escaped[n++] = (unsigned char)*c < 32 ? ' ' : *c;
    }
    escaped[n] = 0;
    w->used = 0;
    w->status = status;
    http_header_out(w, "Content-Type", "application/json");
    char text[sizeof escaped + 64];
    n = (size_t)snprintf(text, sizeof text, "{\"error\": {\"status\": %d, \"message\": \"%s\"}}\n", status, escaped);
    if (make_room(w, n)) {
        memcpy(w->data, text, n);
        w->used = n;
    }
}
