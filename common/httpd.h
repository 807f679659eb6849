/* The HTTP server of catalog and jobrunner: the only caller of libmicrohttpd.
 *
 *     socket -> MHD threads (epoll): parse, route, body -> bounded queue -> worker threads: handler(request, response)
 *                     ^                                                            |
 *                     +---- whole answer, or a stream through a bounded buffer ----+
 *
 * A handler runs in a worker thread and may block (a query). It writes its answer with http_write(); up to
 * HTTP_BUFFER bytes it is sent with Content-Length, beyond that as a chunked stream: http_write() then blocks while the
 * client is slow (back-pressure to the database) and returns false when the client has left. A handler that fails
 * while streaming calls http_abort(): the connection is dropped without the final chunk, so that a client can see it.
 *
 * What a client may expect of every answer: gzip when it asks for it and the document is text; a weak ETag of the content of
 * whole answers to GET, and 304 when it has that one; X-Request-Id, its own or ours, also in our log; CORS for everybody.
 * What it may not do: hold a connection without using it (httpd_guard.h), or more than its share of them.
 *
 * Properties: (1) memory per request is bounded; (2) a full queue answers 503 with Retry-After at once; (3) routes marked
 * HTTP_INLINE run in the network thread and must not block: health and metrics answer while every worker is busy;
 * (4) a handler that waits for something else defers its request and costs no thread meanwhile.
 * Safety: request and response belong to the handler until it returns.                                              */
#ifndef NIGHTSHIFT_COMMON_HTTPD_H
#define NIGHTSHIFT_COMMON_HTTPD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define HTTP_BUFFER (256 * 1024)

struct httpd;
struct http_request;
struct http_response;

enum http_route_flags {
    HTTP_INLINE = 1,         /* in the network thread */
    HTTP_SLOW = 2,           /* by the slow crew: long queries do not keep short ones waiting */
    HTTP_UPLOAD = 4,         /* bodies up to upload_limit; beyond body_limit they lie in an unlinked temporary file */
    HTTP_PUBLIC = 8          /* the gate is not asked: descriptions of the service, which clients read before they know who they are */
};

typedef void (*http_handler)(struct http_request *request, struct http_response *response, void *user);
/* Asked in the worker before a handler that is neither HTTP_INLINE nor HTTP_PUBLIC. Returned: true to go on; false when it
 * has answered itself. */
typedef bool (*http_gate)(struct http_request *request, struct http_response *response, void *user);

struct httpd_options {
    const char *bind;        /* "127.0.0.1", "0.0.0.0", "::" */
    int port;                /* 0: any free one */
    int network_threads;     /* 0: 1 */
    int workers;             /* 0: 4 */
    int queue;               /* requests that may wait for a worker; 0: 256 */
    int connections;         /* 0: 1024 */
    int connections_per_ip;  /* 0: no limit */
    int idle_timeout_s;      /* 0: 30 */
    int slow_workers;        /* 0: 4 */
    int slow_queue;          /* requests that may wait for the slow crew; 0: 64 */
    size_t body_limit;       /* 0: 1 MiB */
    size_t upload_limit;     /* 0: 256 MiB */
    const char *server;      /* value of the Server header */
    double header_deadline_s;/* for a whole request header; 0: 10 */
    double body_deadline_s;  /* from when on a body must come at slow_rate; 0: 60 */
    double slow_rate;        /* bytes/s a body or an answer must move at; 0: 1024 */
    bool trust_proxy;        /* the client is the last address of X-Forwarded-For */
    http_gate gate;          /* NULL: everybody may everything */
    void *gate_user;
    const char *tls_certificate, *tls_key; /* PEM texts; NULL: plain HTTP */
};

/* ---- life ----------------------------------------------------------------------------------------------------- */

struct httpd *httpd_new(const struct httpd_options *opt); /* NULL: no memory */
/* Routes are added before the start, most specific first. pattern: "/v1/objects/{id}/lightcurve"; HEAD follows GET. */
enum err httpd_route(struct httpd *h, const char *method, const char *pattern, http_handler handler, void *user, int flags,
                     struct error *err);
enum err httpd_start(struct httpd *h, struct error *err); /* ERR_IO when the address is in use */
int httpd_port(const struct httpd *h);

/* Stop accepting, finish what runs (at most `seconds`), answer with Connection: close. Returned: requests cut off. */
int httpd_drain(struct httpd *h, double seconds);
bool httpd_draining(const struct httpd *h);
void httpd_free(struct httpd *h); /* stops at once if not drained; takes NULL */

/* ---- in a handler --------------------------------------------------------------------------------------------- */

const char *http_method(const struct http_request *r);
const char *http_path(const struct http_request *r);
const char *http_path_param(const struct http_request *r, const char *name); /* decoded; NULL if none */
/* Query and (for POST application/x-www-form-urlencoded) form parameters; names without regard to case (DALI). */
const char *http_param(const struct http_request *r, const char *name);
int http_param_count(const struct http_request *r, const char *name);
const char *http_param_at(const struct http_request *r, const char *name, int i);
const char *http_header_in(const struct http_request *r, const char *name);
const char *http_body(const struct http_request *r, size_t *ret_size); /* "" when it lies in a file */
/* Bytes of the body from `offset`, wherever it lies. Returned: how many, 0 at its end, -1 when it cannot be read. */
int64_t http_body_read(const struct http_request *r, int64_t offset, void *ret, size_t size);
bool http_param_add(struct http_request *r, const char *name, const char *value); /* as if the request had it; false: too many */
/* Address of the client as text, "" if unknown. Returned: buf. */
const char *http_client_address(const struct http_request *r, char *buf, size_t size);
/* Who is asking: set by the gate, "" for nobody in particular. At most 63 characters. */
void http_set_identity(struct http_request *r, const char *identity, unsigned scopes);
const char *http_identity(const struct http_request *r);
unsigned http_scopes(const struct http_request *r);        /* bits of auth.h; all of them in a server without a gate */
const char *http_request_id(const struct http_request *r); /* the caller's X-Request-Id, or ours */
/* Has the peer closed its socket? Any thread, while the handler has the request. */
bool http_client_gone(struct http_request *r);
/* Give the thread back: when this handler has returned, the request waits until http_again(), from any thread, exactly once,
 * has the handler called once more. Nothing may have been written. Whoever keeps deferred requests wakes them before the
 * server is freed; a client that left meanwhile is noticed then. */
void http_defer(struct http_request *r);
void http_again(struct http_request *r);

void http_status(struct http_response *w, int status);                                  /* before the first write */
void http_header_out(struct http_response *w, const char *name, const char *value);     /* before the first write */
/* Said after the body: a trailer of a stream, an ordinary header of an answer that has not begun. One per response; before the
 * handler returns. */
void http_trailer(struct http_response *w, const char *name, const char *value);
bool http_write(struct http_response *w, const void *data, size_t size);                /* false: the client left */
bool http_printf(struct http_response *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool http_streaming(const struct http_response *w);  /* are bytes on their way already? */
void http_abort(struct http_response *w);            /* drop the connection in mid-stream */
void http_discard(struct http_response *w);          /* forget what was written, if nothing has been sent */

/* Send bytes [offset, offset + length) of an open file as the whole answer, with Content-Length, by the network thread: the
 * handler returns at once, memory stays small. Takes over the descriptor. Nothing may have been written before. */
void http_send_fd(struct http_response *w, int fd, int64_t offset, int64_t length);

/* Send a file as HTTP clients expect (httpd_file.c): ETag, Last-Modified, Accept-Ranges, one range of bytes with 206, 304 when
 * the client has it, 416 for a range outside, If-Range.
 * Given:  type  Content-Type; name  for Content-Disposition, NULL for none; etag  with its quotes, NULL: from size and time
 * Status: ERR_NOT_FOUND, ERR_UNREADABLE: nothing has been written, the caller answers */
enum err http_send_file(const struct http_request *r, struct http_response *w, const char *path, const char *type, const char *name,
                        const char *etag, struct error *err);

/* A JSON error document {"error": {"status": n, "message": "..."}}. */
void http_error(struct http_response *w, int status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
