/* nightshift serve: the catalogue over HTTP until SIGTERM or SIGINT. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "catalog/catalog_verbs.h"
#include "catalog/discovery.h"
#include "catalog/service.h"
#include "catalog/tap.h"
#include "common/atomicfile.h"
#include "common/auth.h"
#include "common/db_pool.h"
#include "common/httpd.h"
#include "common/log.h"
#include "common/text.h"

static const double DRAIN_S = 50; /* of the 60 s of grace; 5 are spent unready before, 5 are left */

static sigset_t stop_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    return set;
}

static enum err write_url(const char *path, const char *url, struct error *err)
{
    char line[160];
    snprintf(line, sizeof line, "%s\n", url);
    return atomicfile_write(path, line, strlen(line), err);
}

/* Not ready at once; a load balancer gets `linger` seconds to notice (not for Ctrl-C); then what runs is finished. */
static void stop(struct service *s, struct tap *tap, int signal_number, double linger)
{
    __atomic_store_n(&s->unready, true, __ATOMIC_RELAXED);
    log_event(LOG_INFO, "stopping", LOG_STR("signal", signal_number == SIGTERM ? "SIGTERM" : "SIGINT"));
    if (signal_number == SIGTERM && linger > 0) {
        struct timespec wait = {(time_t)linger, (long)((linger - (double)(time_t)linger) * 1e9)};
        sigset_t set = stop_signals();
        sigtimedwait(&set, NULL, &wait); /* a second signal ends the wait */
    }
    tap_stop(tap);
    int cut = httpd_drain(s->httpd, DRAIN_S);
    if (cut) log_event(LOG_WARN, "requests cut off", LOG_INT("n", cut));
}

static struct discovery discovery_of(const struct service *s, const struct settings *t)
{
    return (struct discovery){.httpd = s->httpd, .pool = s->pool, .pool_wait_s = s->pool_wait_s, .base_url = settings_string(t, SET_SERVE_BASE_URL),
                              .authority = settings_string(t, SET_SERVE_AUTHORITY), .archive = settings_string(t, SET_SERVE_ARCHIVE),
                              .cutout_pixels = settings_int(t, SET_SERVE_CUTOUT_PIXELS), .maxrec_default = s->maxrec_default,
                              .maxrec_limit = s->maxrec_limit};
}

/* Addresses in ivoa.obscore are those of this service. A role that may only read leaves them as the owner stored them. */
static void publish_site(const struct service *s, const struct discovery *d, const char *url)
{
    struct error err = ERROR_INIT;
    struct db *db = NULL;
    enum err e = db_pool_take(s->pool, s->pool_wait_s, &db, &err);
    if (!e) {
        e = discovery_publish_site(db, *d->base_url ? d->base_url : url, d->authority, &err);
        db_pool_give(s->pool, db);
    }
    if (e) log_event(LOG_WARN, "ivoa.obscore keeps its addresses", LOG_STR("why", err.message));
}

/* A PEM file's text; the caller frees it. NULL and *e set when it cannot be read. */
static char *read_pem(const char *path, enum err *e, struct error *err)
{
    char *text = text_read_file(path, 1 << 20, NULL);
    if (!text) {
        *e = error_from_errno(err, errno, path, "read");
        error_hint(err, "serve.tls_certificate and serve.tls_key name PEM files, both or none");
    }
    return text;
}

static enum err read_tls(const struct settings *t, struct httpd_options *o, struct error *err)
{
    const char *certificate = settings_string(t, SET_SERVE_TLS_CERTIFICATE), *key = settings_string(t, SET_SERVE_TLS_KEY);
    enum err e = ERR_OK;
    if (!*certificate && !*key) return ERR_OK;
    o->tls_certificate = read_pem(certificate, &e, err);
    if (!e) o->tls_key = read_pem(key, &e, err);
    return e;
}

/* DATABASE_URL_FILE may have been written anew. */
static enum err fresh_url(void *user, char *ret, size_t size, struct error *err)
{
    return settings_reread_secret(user, SET_DATABASE_URL, ret, size, err);
}

static struct httpd_options options_of(const struct settings *s)
{
    return (struct httpd_options){
        .bind = settings_string(s, SET_SERVE_BIND), .port = (int)settings_int(s, SET_SERVE_PORT), .workers = (int)settings_int(s, SET_SERVE_WORKERS),
        .server = "nightshift/" NIGHTSHIFT_VERSION, .connections = (int)settings_int(s, SET_SERVE_CONNECTIONS),
        .connections_per_ip = (int)settings_int(s, SET_SERVE_PER_ADDRESS), .trust_proxy = settings_bool(s, SET_SERVE_TRUST_PROXY),
        .slow_workers = (int)settings_int(s, SET_TAP_SYNC_WORKERS), .slow_queue = (int)settings_int(s, SET_TAP_QUEUE),
        .upload_limit = (size_t)settings_int(s, SET_TAP_UPLOAD_SIZE) << 20};
}

static enum err start_tap(const struct settings *s, struct httpd *h, const char *database, struct tap **ret, struct error *err)
{
    char folder[1024];
    struct tap_options o;
    tap_options_from(s, folder, &o);
    if (*settings_string(s, SET_DATABASE_URL)) o.ask_url = fresh_url, o.ask_user = s;
    enum err e = tap_new(database, &o, ret, err);
    return e ? e : tap_routes(*ret, h, err);
}

static int serve(struct cli *c, const char *url_file)
{
    struct error err = ERROR_INIT;
    struct service s = {.pool_wait_s = settings_double(c->settings, SET_SERVE_POOL_WAIT), .maxrec_default = settings_int(c->settings, SET_SERVE_MAXREC),
                        .maxrec_limit = settings_int(c->settings, SET_SERVE_MAXREC_LIMIT)};
    struct httpd_options o = options_of(c->settings);
    struct discovery d;
    struct tap *tap = NULL;
    char *database = NULL, url[128];
    int signal_number = 0, code = EXIT_ALL_GOOD;
    struct auth_options who = {.anonymous_per_hour = settings_int(c->settings, SET_SERVE_ANONYMOUS_PER_HOUR), .needed = SCOPE_READ};
    struct auth *auth = NULL;
    sigset_t set = stop_signals();
    pthread_sigmask(SIG_BLOCK, &set, NULL); /* before the first thread, so that only sigwait() sees them */
    signal(SIGPIPE, SIG_IGN);
    enum err e = read_tls(c->settings, &o, &err);
    if (!e) e = auth_scopes_parse(settings_string(c->settings, SET_SERVE_ANONYMOUS), &who.anonymous, &err);
    if (!e) e = db_url_ready(c->settings, &database, &err);
    if (!e) {
        who.pool = s.pool = db_pool_new(database, "nightshift serve", o.workers);
        if (s.pool) db_pool_plan_once(s.pool);
        if (s.pool && *settings_string(c->settings, SET_DATABASE_URL)) db_pool_ask_url(s.pool, fresh_url, c->settings);
        o.gate_user = auth = s.pool ? auth_new(&who) : NULL;
        o.gate = auth_gate;
        s.httpd = auth ? httpd_new(&o) : NULL;
        e = s.httpd ? service_routes(&s, &err) : ERROR(&err, ERR_NOMEM, "could not start the service: out of memory");
    }
    if (!e) {
        d = discovery_of(&s, c->settings);
        e = discovery_routes(&d, &err);
    }
    if (!e) e = start_tap(c->settings, s.httpd, database, &tap, &err);
    if (!e) e = httpd_start(s.httpd, &err);
    if (!e) {
        snprintf(url, sizeof url, strchr(o.bind, ':') ? "http%s://[%s]:%d" : "http%s://%s:%d", o.tls_key ? "s" : "", o.bind, httpd_port(s.httpd));
        publish_site(&s, &d, url);
        if (url_file) e = write_url(url_file, url, &err);
    }
    if (!e) {
        log_event(LOG_INFO, "serving", LOG_STR("url", url), LOG_STR("cone_search", "/scs/object?RA=&DEC=&SR="));
        sigwait(&set, &signal_number);
        stop(&s, tap, signal_number, settings_double(c->settings, SET_SERVE_LINGER));
    } else {
        code = cli_fail(c, &err);
        if (tap) tap_stop(tap);
    }
    httpd_free(s.httpd);
    tap_free(tap);
    auth_free(auth);
    db_pool_free(s.pool);
    service_release(&s);
    free((char *)(uintptr_t)o.tls_certificate);
    free((char *)(uintptr_t)o.tls_key);
    free(database);
    return code;
}

int verb_serve(int argc, char **argv)
{
    struct cli c;
    const char *url_file = NULL;
    const struct cli_option options[] = {
        {"--url-file", CLI_STRING, &url_file, "FILE", "write the service's URL there once it listens"},
        {0},
    };
    const struct verb *verb = catalog_verbs;
    while (strcmp(verb->name, "serve")) verb++;
    int done = cli_parse(&c, verb, argc, argv, options);
    if (done >= 0) return done;
    int code = serve(&c, url_file);
    cli_release(&c);
    return code;
}
