#include "catalog/service.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "catalog/columns.h"
#include "catalog/rowset.h"
#include "common/assets.h"
#include "common/hpx.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/obstime.h"

#define COLUMNS_MAX 32
#define CONE_RANGES 16

/* ---- an answer under way ----------------------------------------------------------------------------------------- */

struct answer {
    struct http_response *w;
    struct rowset rows;
    int from[COLUMNS_MAX];   /* column of the query for each column of the document */
    struct rowset_column columns[COLUMNS_MAX];
    const struct answer_table *table;
    int64_t maxrec;
    bool overflow, scs;
    bool light_curve;        /* fill bjd_tdb in */
};

static bool sink(void *user, const char *data, size_t size)
{
    return http_write(user, data, size);
}

static int status_of(enum err code)
{
    switch (code) {
    case ERR_USAGE: return 400;
    case ERR_NOT_FOUND: return 404;
    case ERR_DATABASE: case ERR_NOMEM: return 503;
    case ERR_INTERRUPTED: return 504;
    default: return 500;
    }
}

/* The error document of the door that was used. */
static void refuse(struct http_response *w, bool scs, enum err code, const char *message)
{
    int status = status_of(code);
    http_discard(w);
    if (status == 503) http_header_out(w, "Retry-After", "2");
    if (!scs) {
        http_error(w, status, "%s", message);
        return;
    }
    http_status(w, status);
    http_header_out(w, "Content-Type", "application/x-votable+xml");
    rowset_error_votable(sink, w, true, message);
}

static void refuse_error(struct http_response *w, bool scs, const struct error *err)
{
    char line[1200];
    error_line(err, line, sizeof line);
    if (status_of(err->code) >= 500) log_error(err);
    refuse(w, scs, err->code, line);
}

static double text_f64(const struct db_result *row, const char *name)
{
    for (int i = 0; i < db_ncol(row); i++)
        if (!strcmp(db_column_name(row, i), name)) return db_f64(row, 0, i);
    return NAN;
}

static const char *bjd_of(const struct db_result *row, char *buf, size_t size)
{
    double mjd = text_f64(row, "mjd"), ra = text_f64(row, "ra"), dec = text_f64(row, "dec");
    double lon = text_f64(row, "longitude"), lat = text_f64(row, "latitude"), height = text_f64(row, "height_m");
    if (isnan(mjd) || isnan(ra) || isnan(dec)) return NULL;
    if (isnan(lon) || isnan(lat)) lon = lat = height = 0; /* the Earth's radius is 21 ms of light */
    if (isnan(height)) height = 0;
    snprintf(buf, size, "%.9f", obstime_bjd_tdb(mjd, ra, dec, lon, lat, height));
    return buf;
}

static enum err one_row(void *user, const struct db_result *row, struct error *err)
{
    struct answer *a = user;
    const char *values[COLUMNS_MAX];
    char bjd[40];
    if (a->rows.rows >= a->maxrec) {
        a->overflow = true;
        return ERR_OK; /* the query asks for one row more than it may send */
    }
    for (int i = 0; i < a->rows.ncol; i++)
        values[i] = db_is_null(row, 0, a->from[i]) ? NULL : db_text(row, 0, a->from[i]);
    if (a->light_curve) values[1] = bjd_of(row, bjd, sizeof bjd);
    if (rowset_row(&a->rows, values)) return ERR_OK;
    return ERROR(err, ERR_INTERRUPTED, "the client has left");
}

static const char *query_text(const char *name, struct error *err)
{
    char path[128];
    snprintf(path, sizeof path, "catalog/sql/queries/%s.sql", name);
    const struct asset *a = asset_find(path);
    if (!a) ERROR(err, ERR_INTERNAL, "query '%s' is not compiled in", name);
    return a ? a->data : NULL;
}

/* Columns of the document: all, or for a cone search those of its VERB and the distance. */
static void choose_columns(struct answer *a, int verb)
{
    const struct answer_table *t = a->table;
    int n = a->scs && verb == 1 ? t->ncol_verb1 : a->scs && verb == 2 ? t->ncol_verb2 : t->ncol;
    int k = 0;
    for (int i = 0; i < t->ncol; i++)
        if (i < n || i == t->ncol - 1) {
            a->from[k] = i;
            a->columns[k++] = t->columns[i];
        }
    a->rows.columns = a->columns;
    a->rows.ncol = k;
}

/* Run the table's query and write its rows. Nothing is sent before the first row is there, so that an early error still
 * has its own status; a later one closes the document with the error in it and breaks the connection. */
static void answer_query(struct service *s, struct answer *a, int n, const char *const *values)
{
    struct error err = ERROR_INIT;
    struct db *db = NULL;
    const char *sql = query_text(a->table->query, &err);
    enum err e = sql ? db_pool_take(s->pool, s->pool_wait_s, &db, &err) : err.code;
    if (e) {
        refuse_error(a->w, a->scs, &err);
        return;
    }
    http_header_out(a->w, "Content-Type", rowset_content_type(a->rows.format));
    rowset_begin(&a->rows, a->table->name, a->table->description);
    e = db_stream(db, a->table->query, sql, n, values, false, one_row, a, &err);
    db_pool_give(s->pool, db);
    if (e && !http_streaming(a->w)) {
        refuse_error(a->w, a->scs, &err);
        return;
    }
    rowset_end(&a->rows, a->overflow, e ? err.message : NULL);
    if (e) http_abort(a->w);
}

/* ---- parameters --------------------------------------------------------------------------------------------------- */

static enum err number_param(const struct http_request *r, const char *name, double low, double high, double *ret, struct error *err)
{
    const char *text = http_param(r, name);
    char *end;
    if (!text || !*text) return ERROR(err, ERR_USAGE, "parameter %s is missing", name);
    if (http_param_count(r, name) > 1) return ERROR(err, ERR_USAGE, "parameter %s is given more than once", name);
    errno = 0;
    double v = strtod(text, &end);
    if (*end || errno || !isfinite(v)) return ERROR(err, ERR_USAGE, "parameter %s is '%s', not a number", name, text);
    if (v < low || v > high) return ERROR(err, ERR_USAGE, "parameter %s is %s, outside %g to %g", name, text, low, high);
    *ret = v;
    return ERR_OK;
}

static enum err integer_param(const struct http_request *r, const char *name, int64_t low, int64_t high, int64_t *ret, struct error *err)
{
    const char *text = http_param(r, name);
    char *end;
    if (!text || !*text) return ERR_OK; /* keeps the default */
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (*end || errno) return ERROR(err, ERR_USAGE, "parameter %s is '%s', not an integer", name, text);
    if (v < low || v > high) return ERROR(err, ERR_USAGE, "parameter %s is %s, outside %lld to %lld", name, text, (long long)low, (long long)high);
    *ret = v;
    return ERR_OK;
}

static enum err format_param(const struct http_request *r, enum rowset_format def, enum rowset_format *ret, struct error *err)
{
    const char *text = http_param(r, "RESPONSEFORMAT");
    if (!text) text = http_param(r, "FORMAT");
    *ret = def;
    if (!text || !*text || rowset_format_of(text, ret)) return ERR_OK;
    return ERROR(err, ERR_USAGE, "format '%s' is not known; votable, csv, tsv and json are", text);
}

/* What every answer shares: format, row limit, columns. Refuses by itself; false then. */
static bool prepare(struct service *s, struct http_request *r, struct http_response *w, const struct answer_table *t, bool scs, int verb,
                    enum rowset_format def, const char *limit_name, struct answer *a)
{
    struct error err = ERROR_INIT;
    *a = (struct answer){.w = w, .table = t, .scs = scs, .maxrec = s->maxrec_default};
    a->rows = (struct rowset){.sink = sink, .user = w, .scs = scs};
    if (format_param(r, def, &a->rows.format, &err) || integer_param(r, limit_name, 0, INT64_MAX - 1, &a->maxrec, &err)) {
        refuse_error(w, scs, &err);
        return false;
    }
    if (a->maxrec > s->maxrec_limit) a->maxrec = s->maxrec_limit;
    char limit[24];
    snprintf(limit, sizeof limit, "%lld", (long long)a->maxrec);
    http_header_out(w, "X-Overflow-Limit", limit);
    choose_columns(a, verb);
    return true;
}

/* ---- cone search -------------------------------------------------------------------------------------------------- */

/* A PostgreSQL array of bigint: "{1,2,3}". */
static void bigint_array(const struct hpx_range *ranges, int n, bool last, char *buf, size_t size)
{
    size_t k = (size_t)snprintf(buf, size, "{");
    for (int i = 0; i < n && k < size; i++)
        k += (size_t)snprintf(buf + k, size - k, "%s%lld", i ? "," : "", (long long)(last ? ranges[i].last : ranges[i].first));
    if (k < size) snprintf(buf + k, size - k, "}");
}

static const struct answer_table *cone_table(const char *name)
{
    for (const struct answer_table *const *t = cone_tables; *t; t++)
        if (!strcmp((*t)->name, name)) return *t;
    return NULL;
}

static void cone(struct http_request *r, struct http_response *w, void *user)
{
    struct service *s = user;
    struct error err = ERROR_INIT;
    struct answer a;
    double ra, dec, radius;
    int64_t verb = 2;
    const struct answer_table *t = cone_table(http_path_param(r, "table"));
    if (!t) {
        refuse(w, true, ERR_NOT_FOUND, "no such table; /scs/object and /scs/detection are there");
        return;
    }
    if (number_param(r, "RA", 0, 360, &ra, &err) || number_param(r, "DEC", -90, 90, &dec, &err) ||
        number_param(r, "SR", 0, 180, &radius, &err) || integer_param(r, "VERB", 1, 3, &verb, &err)) {
        refuse_error(w, true, &err);
        return;
    }
    if (!prepare(s, r, w, t, true, (int)verb, ROWSET_VOTABLE, "MAXREC", &a)) return;
    if (radius == 0) a.maxrec = 0; /* the recommendation: SR=0 asks for the columns alone */
    struct hpx_range ranges[CONE_RANGES];
    int n = radius > 0 ? hpx_cone(ra, dec, radius, CONE_RANGES, ranges) : 0;
    char first[CONE_RANGES * 24], last[CONE_RANGES * 24], v[3][32], limit[24];
    bigint_array(ranges, n, false, first, sizeof first);
    bigint_array(ranges, n, true, last, sizeof last);
    snprintf(v[0], sizeof v[0], "%.17g", ra);
    snprintf(v[1], sizeof v[1], "%.17g", dec);
    snprintf(v[2], sizeof v[2], "%.17g", radius);
    snprintf(limit, sizeof limit, "%lld", (long long)(radius > 0 ? a.maxrec + 1 : 0));
    answer_query(s, &a, 6, (const char *const[]){v[0], v[1], v[2], first, last, limit});
}

/* ---- /v1 ---------------------------------------------------------------------------------------------------------- */

static bool object_id(struct http_request *r, struct http_response *w, const char **ret)
{
    const char *text = http_path_param(r, "id");
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    *ret = text;
    if (!*end && !errno && v >= 0) return true;
    http_error(w, 400, "'%s' is not an object id", text);
    return false;
}

static void light_curve(struct http_request *r, struct http_response *w, void *user)
{
    struct service *s = user;
    struct answer a;
    const char *id;
    char limit[24];
    if (!object_id(r, w, &id) || !prepare(s, r, w, &table_light_curve, false, 3, ROWSET_JSON, "limit", &a)) return;
    a.light_curve = true;
    snprintf(limit, sizeof limit, "%lld", (long long)a.maxrec + 1);
    answer_query(s, &a, 2, (const char *const[]){id, limit});
    if (!a.rows.rows && !http_streaming(w)) {
        http_discard(w);
        http_error(w, 404, "object %s is not known, or has no published detections", id);
    }
}

static void one_object(struct http_request *r, struct http_response *w, void *user)
{
    struct answer a;
    const char *id;
    if (!object_id(r, w, &id) || !prepare(user, r, w, &table_one_object, false, 3, ROWSET_JSON, "limit", &a)) return;
    answer_query(user, &a, 1, (const char *const[]){id});
    if (!a.rows.rows && !http_streaming(w)) {
        http_discard(w);
        http_error(w, 404, "object %s is not known", id);
    }
}

static void objects(struct http_request *r, struct http_response *w, void *user)
{
    struct error err = ERROR_INIT;
    struct answer a;
    int64_t points = 5;
    const char *order = http_param(r, "order");
    if (order && strcmp(order, "variability")) {
        http_error(w, 400, "order '%s' is not known; variability is", order);
        return;
    }
    if (integer_param(r, "min_points", 1, INT_MAX, &points, &err)) {
        refuse_error(w, false, &err);
        return;
    }
    if (!prepare(user, r, w, &table_variable, false, 3, ROWSET_JSON, "limit", &a)) return;
    char min[24], limit[24];
    snprintf(min, sizeof min, "%lld", (long long)points);
    snprintf(limit, sizeof limit, "%lld", (long long)a.maxrec + 1);
    answer_query(user, &a, 2, (const char *const[]){min, limit});
}

static void exposures(struct http_request *r, struct http_response *w, void *user)
{
    struct error err = ERROR_INIT;
    struct answer a;
    int64_t night = 0, after = -1;
    if (integer_param(r, "night", 18000101, 29991231, &night, &err) || integer_param(r, "after", 0, INT64_MAX, &after, &err)) {
        refuse_error(w, false, &err);
        return;
    }
    if (!prepare(user, r, w, &table_exposures, false, 3, ROWSET_JSON, "limit", &a)) return;
    char v[3][24];
    snprintf(v[0], sizeof v[0], "%lld", (long long)night);
    snprintf(v[1], sizeof v[1], "%lld", (long long)after);
    snprintf(v[2], sizeof v[2], "%lld", (long long)a.maxrec + 1);
    answer_query(user, &a, 3, (const char *const[]){night ? v[0] : NULL, v[1], v[2]});
}

static void nights(struct http_request *r, struct http_response *w, void *user)
{
    struct answer a;
    char limit[24];
    if (!prepare(user, r, w, &table_nights, false, 3, ROWSET_JSON, "limit", &a)) return;
    snprintf(limit, sizeof limit, "%lld", (long long)a.maxrec + 1);
    answer_query(user, &a, 1, (const char *const[]){limit});
}

/* ---- health, metrics, pages ----------------------------------------------------------------------------------------- */

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

enum err service_routes(struct service *s, struct error *err)
{
    const struct {
        const char *method, *pattern;
        http_handler handler;
        int flags;
    } routes[] = {
        {"GET", "/healthz", health, HTTP_INLINE},   {"GET", "/health", health, HTTP_INLINE},
        {"GET", "/readyz", ready, 0},               {"GET", "/ready", ready, 0},
        {"GET", "/metrics", metrics, HTTP_INLINE},  {"GET", "/actuator/prometheus", metrics, HTTP_INLINE},
        {"GET", "/", page, HTTP_INLINE},            {"GET", "/scs/{table}", cone, 0},
        {"POST", "/scs/{table}", cone, 0},          {"GET", "/v1/objects/{id}/lightcurve", light_curve, 0},
        {"GET", "/v1/objects/{id}", one_object, 0}, {"GET", "/v1/objects", objects, 0},
        {"GET", "/v1/exposures", exposures, 0},     {"GET", "/v1/nights", nights, 0},
    };
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        enum err e = httpd_route(s->httpd, routes[i].method, routes[i].pattern, routes[i].handler, s, routes[i].flags, err);
        if (e) return e;
    }
    return ERR_OK;
}
