#include "catalog/service.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/answer.h"
#include "catalog/cone.h"
#include "catalog/lightcurve.h"
#include "catalog/schema.h"
#include "common/assets.h"
#include "common/log.h"
#include "common/metrics.h"

/* ---- lists ---------------------------------------------------------------------------------------------------------- */

bool service_object_id(struct http_request *r, struct http_response *w, int64_t *ret)
{
    const char *text = http_path_param(r, "id");
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    *ret = v;
    if (!*end && !errno && v >= 0) return true;
    http_error(w, 400, "'%s' is not an object id", text);
    return false;
}

static bool prepare(struct service *s, struct http_request *r, struct http_response *w, const struct answer_table *t, struct answer *a)
{
    if (!answer_prepare(a, s, r, w, false, ROWSET_JSON, "limit")) return false;
    a->columns = t->columns;
    a->ncol = t->ncol;
    a->table = t->name;
    a->description = t->description;
    return true;
}

static void one_object(struct http_request *r, struct http_response *w, void *user)
{
    struct service *s = user;
    struct answer a;
    char text[24], empty[80];
    int64_t id;
    if (!service_object_id(r, w, &id) || !prepare(s, r, w, &table_one_object, &a)) return;
    snprintf(text, sizeof text, "%lld", (long long)id);
    snprintf(empty, sizeof empty, "object %s is not known", text);
    answer_query(&a, "object", s->sql_object, 1, (const char *const[]){text}, empty);
}

static void objects(struct http_request *r, struct http_response *w, void *user)
{
    struct service *s = user;
    struct error err = ERROR_INIT;
    struct answer a;
    int64_t points = 5;
    const char *order = http_param(r, "order");
    if (order && strcmp(order, "variability")) {
        http_error(w, 400, "order '%s' is not known; variability is", order);
        return;
    }
    if (answer_integer(r, "min_points", 1, INT_MAX, &points, &err)) {
        answer_refuse_error(w, false, &err);
        return;
    }
    if (!prepare(s, r, w, &table_variable, &a)) return;
    char min[24], limit[24];
    snprintf(min, sizeof min, "%lld", (long long)points);
    snprintf(limit, sizeof limit, "%lld", (long long)a.maxrec + 1);
    answer_query(&a, "objects_variable", s->sql_variable, 2, (const char *const[]){min, limit}, NULL);
}

static void exposures(struct http_request *r, struct http_response *w, void *user)
{
    struct service *s = user;
    struct error err = ERROR_INIT;
    struct answer a;
    int64_t night = 0, after = -1;
    if (answer_integer(r, "night", 18000101, 29991231, &night, &err) || answer_integer(r, "after", 0, INT64_MAX, &after, &err)) {
        answer_refuse_error(w, false, &err);
        return;
    }
    if (!prepare(s, r, w, &table_exposures, &a)) return;
    char v[3][24];
    snprintf(v[0], sizeof v[0], "%lld", (long long)night);
    snprintf(v[1], sizeof v[1], "%lld", (long long)after);
    snprintf(v[2], sizeof v[2], "%lld", (long long)a.maxrec + 1);
    answer_query(&a, "exposures", s->sql_exposures, 3, (const char *const[]){night ? v[0] : NULL, v[1], v[2]}, NULL);
}

static void nights(struct http_request *r, struct http_response *w, void *user)
{
    struct service *s = user;
    struct answer a;
    char limit[24];
    if (!prepare(s, r, w, &table_nights, &a)) return;
    snprintf(limit, sizeof limit, "%lld", (long long)a.maxrec + 1);
    answer_query(&a, "nights", s->sql_nights, 1, (const char *const[]){limit}, NULL);
}

/* ---- health, metrics, the page -------------------------------------------------------------------------------------- */

static void health(struct http_request *r, struct http_response *w, void *user)
{
    (void)r, (void)user;
    http_header_out(w, "Content-Type", "text/plain");
    http_printf(w, "ok\n");
}

static void ready(struct http_request *r, struct http_response *w, void *user)
{
    (void)r;
    struct service *s = user;
    struct error err = ERROR_INIT;
    struct db *db = NULL;
    if (__atomic_load_n(&s->unready, __ATOMIC_RELAXED)) {
        http_error(w, 503, "stopping");
        return;
    }
    enum err e = db_pool_take(s->pool, 1, &db, &err);
    if (!e) {
        e = db_exec(db, "SELECT 1", &err);
        db_pool_give(s->pool, db);
    }
    if (e) {
        http_error(w, 503, "%s", err.message);
        return;
    }
    http_header_out(w, "Content-Type", "text/plain");
    http_printf(w, "ready\n");
}

static void metrics(struct http_request *r, struct http_response *w, void *user)
{
    (void)r, (void)user;
    size_t size;
    char *text = metrics_text(&size);
    if (!text) {
        http_error(w, 503, "out of memory");
        return;
    }
    http_header_out(w, "Content-Type", "text/plain; version=0.0.4; charset=utf-8");
    http_write(w, text, size);
    free(text);
}

static void page(struct http_request *r, struct http_response *w, void *user)
{
    (void)r, (void)user;
    const struct asset *a = asset_find("catalog/pages/index.html");
    if (!a) {
        http_error(w, 404, "no page is compiled in");
        return;
    }
    http_header_out(w, "Content-Type", "text/html; charset=utf-8");
    http_header_out(w, "Content-Security-Policy", "default-src 'self' 'unsafe-inline'; img-src 'self' data:");
    http_write(w, a->data, a->size);
}

static void openapi(struct http_request *r, struct http_response *w, void *user)
{
    (void)r, (void)user;
    const struct asset *a = asset_find("catalog/pages/openapi.json");
    if (!a) {
        http_error(w, 404, "no description is compiled in");
        return;
    }
    http_header_out(w, "Content-Type", "application/json");
    http_write(w, a->data, a->size);
}

static enum err make_queries(struct service *s, struct error *err)
{
    const struct {
        const char *query;
        char **sql;
    } list[] = {{"light_curve", &s->sql_light_curve}, {"light_curve_place", &s->sql_place}, {"object", &s->sql_object},
                {"objects_variable", &s->sql_variable}, {"exposures", &s->sql_exposures}, {"nights", &s->sql_nights}};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
        if (!(*list[i].sql = answer_sql(list[i].query, NULL, err))) return err ? err->code : ERR_NOMEM;
    s->moments = lightcurve_moments_new();
    if (!s->moments) return ERROR(err, ERR_NOMEM, "could not get memory for the service");
    enum err e = schema_load(&s->schema, err);
    return e ? e : cones_new(s->schema, &s->cones, err);
}

enum err service_routes(struct service *s, struct error *err)
{
    const struct {
        const char *method, *pattern;
        http_handler handler;
        int flags;
    } routes[] = {
        {"GET", "/healthz", health, HTTP_INLINE},   {"GET", "/health", health, HTTP_INLINE},
        {"GET", "/readyz", ready, HTTP_PUBLIC},               {"GET", "/ready", ready, HTTP_PUBLIC},
        {"GET", "/metrics", metrics, HTTP_INLINE},  {"GET", "/actuator/prometheus", metrics, HTTP_INLINE},
        {"GET", "/openapi.json", openapi, HTTP_INLINE},
        {"GET", "/", page, HTTP_INLINE},            {"GET", "/scs/{table}", cone_search, 0},
        {"POST", "/scs/{table}", cone_search, 0},   {"GET", "/v1/objects/{id}/lightcurve", lightcurve_of_object, 0},
        {"GET", "/v1/lightcurves", lightcurve_of_many, 0}, {"POST", "/v1/lightcurves", lightcurve_of_many, 0},
        {"GET", "/v1/objects/{id}", one_object, 0}, {"GET", "/v1/objects", objects, 0},
        {"GET", "/v1/exposures", exposures, 0},     {"GET", "/v1/nights", nights, 0},
    };
    enum err e = make_queries(s, err);
    for (size_t i = 0; i < sizeof routes / sizeof routes[0] && !e; i++)
        e = httpd_route(s->httpd, routes[i].method, routes[i].pattern, routes[i].handler, s, routes[i].flags, err);
    return e;
}

void service_release(struct service *s)
{
    cones_free(s->cones);
    lightcurve_moments_free(s->moments);
    schema_free(s->schema);
    char *list[] = {s->sql_light_curve, s->sql_place, s->sql_object, s->sql_variable, s->sql_exposures, s->sql_nights};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) free(list[i]);
}
