#include "catalog/lightcurve.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "catalog/answer.h"
#include "catalog/cone.h"
#include "catalog/service.h"
#include "common/obstime.h"

#define MOMENTS 4096 /* Earth's places that are kept, shared by all requests: the points of a night's frames share theirs */

/* Columns of light_curve.sql that bjd_tdb needs. */
enum { COLUMN_MJD = 1, COLUMN_BJD = 2, COLUMNS_EXTRA = 5 };

struct kept_moment {
    double mjd, lon, lat, height;
    struct obstime_moment moment;
};

/* A cache that all threads share: what it holds follows from its key alone, so whoever fills a place first is right. */
struct moments {
    pthread_mutex_t lock;
    struct kept_moment *places;
};

struct moments *lightcurve_moments_new(void)
{
    struct moments *m = calloc(1, sizeof *m);
    if (m && !(m->places = calloc(MOMENTS, sizeof *m->places))) {
        free(m);
        return NULL;
    }
    if (m) pthread_mutex_init(&m->lock, NULL);
    return m;
}

void lightcurve_moments_free(struct moments *m)
{
    if (!m) return;
    pthread_mutex_destroy(&m->lock);
    free(m->places);
    free(m);
}

static struct obstime_moment moment_of(struct moments *m, double mjd, double lon, double lat, double height)
{
    uint64_t bits;
    memcpy(&bits, &mjd, sizeof bits);
    struct kept_moment *k = &m->places[(bits ^ bits >> 29 ^ bits >> 43) * UINT64_C(0x9e3779b97f4a7c15) >> 52], want = {mjd, lon, lat, height, {0}};
    pthread_mutex_lock(&m->lock);
    bool hit = k->mjd == mjd && k->lon == lon && k->lat == lat && k->height == height;
    if (hit) want = *k;
    pthread_mutex_unlock(&m->lock);
    if (hit) return want.moment;
    want.moment = obstime_moment_at(mjd, lon, lat, height);
    pthread_mutex_lock(&m->lock);
    *k = want;
    pthread_mutex_unlock(&m->lock);
    return want.moment;
}

/* ---- barycentric times ---------------------------------------------------------------------------------------------- */

struct curve {
    struct moments *moments;
    int ncol;               /* of the document: what bjd_tdb needs follows it */
    unsigned char bjd[8];
};

static double real(const struct rowset_field *f)
{
    uint64_t u;
    double v;
    if (f->size != 8) return NAN;
    memcpy(&u, f->data, sizeof u);
    u = __builtin_bswap64(u);
    memcpy(&v, &u, sizeof v);
    return v;
}

static void add_bjd(void *user, struct rowset_field *f)
{
    struct curve *c = user;
    const struct rowset_field *x = f + c->ncol; /* ra, dec, longitude, latitude, height_m */
    double mjd = real(&f[COLUMN_MJD]), ra = real(&x[0]), dec = real(&x[1]), lon = real(&x[2]), lat = real(&x[3]), height = real(&x[4]);
    if (isnan(mjd) || isnan(ra) || isnan(dec)) return;
    if (isnan(lon) || isnan(lat)) lon = lat = height = 0; /* the Earth's radius is 21 ms of light */
    struct obstime_moment m = moment_of(c->moments, mjd, lon, lat, isnan(height) ? 0 : height);
    double bjd = round(obstime_moment_bjd(&m, ra, dec) * 1e9) / 1e9;
    uint64_t u;
    memcpy(&u, &bjd, sizeof u);
    u = __builtin_bswap64(u);
    memcpy(c->bjd, &u, sizeof u);
    f[COLUMN_BJD] = (struct rowset_field){c->bjd, 8};
}

static void answer_curves(struct service *s, struct answer *a, const char *ids, const char *empty)
{
    struct curve c = {.moments = s->moments, .ncol = table_light_curve.ncol};
    const char *forced = http_param(a->request, "forced");
    char limit[24];
    snprintf(limit, sizeof limit, "%" PRId64, a->maxrec + 1);
    a->columns = table_light_curve.columns;
    a->ncol = table_light_curve.ncol;
    a->ncol_query = a->ncol + COLUMNS_EXTRA;
    a->table = table_light_curve.name;
    a->description = table_light_curve.description;
    a->edit = add_bjd;
    a->user = &c;
    answer_query(a, "light_curve", s->sql_light_curve, 3, (const char *const[]){ids, limit, forced && !strcmp(forced, "false") ? "f" : "t"}, empty);
}

/* ---- one object ----------------------------------------------------------------------------------------------------- */

void lightcurve_of_object(struct http_request *r, struct http_response *w, void *user)
{
    struct service *s = user;
    struct answer a;
    char ids[32], empty[120];
    int64_t id;
    if (!service_object_id(r, w, &id) || !answer_prepare(&a, s, r, w, false, ROWSET_JSON, "limit")) return;
    snprintf(ids, sizeof ids, "{%" PRId64 "}", id);
    snprintf(empty, sizeof empty, "object %" PRId64 " is not known, or has no published detections", id);
    answer_curves(s, &a, ids, empty);
}

/* ---- many ----------------------------------------------------------------------------------------------------------- */

struct ids {
    FILE *f;
    char *text;
    size_t size;
    int n;
};

static enum err add_id(struct ids *list, const char *word, struct error *err)
{
    char *end;
    errno = 0;
    long long v = strtoll(word, &end, 10);
    while (*end == ' ' || *end == '\n' || *end == '\r' || *end == '\t') end++;
    if (end == word || *end || errno || v < 0) return ERROR(err, ERR_USAGE, "'%.40s' is not an object id", word);
    if (list->n == LIGHTCURVE_IDS) return ERROR(err, ERR_USAGE, "more than %d ids in one request", LIGHTCURVE_IDS);
    fprintf(list->f, "%c%lld", list->n++ ? ',' : '{', v);
    return ERR_OK;
}

static enum err ids_of_text(struct ids *list, const char *text, struct error *err)
{
    char *copy = strdup(text), *save = NULL;
    enum err e = copy ? ERR_OK : ERROR(err, ERR_NOMEM, "out of memory");
    for (char *word = copy ? strtok_r(copy, ", \n\r\t", &save) : NULL; word && !e; word = strtok_r(NULL, ", \n\r\t", &save)) e = add_id(list, word, err);
    free(copy);
    return e;
}

static enum err ids_of_json(struct ids *list, const char *text, size_t size, struct error *err)
{
    json_error_t why;
    json_t *root = json_loadb(text, size, 0, &why), *array = json_is_object(root) ? json_object_get(root, "ids") : root;
    enum err e = ERR_OK;
    if (!root) e = ERROR(err, ERR_USAGE, "the body is not JSON: %s", why.text);
    else if (!json_is_array(array)) e = ERROR(err, ERR_USAGE, "expected [id, ...] or {\"ids\": [id, ...]}");
    for (size_t i = 0; !e && i < json_array_size(array); i++) {
        const json_t *v = json_array_get(array, i);
        char number[24];
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(v));
        if (!json_is_integer(v) && !json_is_string(v)) e = ERROR(err, ERR_USAGE, "item %zu is not an object id", i + 1);
        else e = add_id(list, json_is_string(v) ? json_string_value(v) : number, err);
    }
    json_decref(root);
    return e;
}

static enum err id_of_row(void *user, const struct db_result *row, struct error *err)
{
    return add_id(user, db_text(row, 0, 0), err);
}

static enum err ids_of_place(struct service *s, struct ids *list, const struct http_request *r, struct error *err)
{
    double ra, dec, radius;
    struct cone_values v;
    struct db *db = NULL;
    enum err e = answer_number(r, "ra", 0, 360, &ra, err);
    if (!e) e = answer_number(r, "dec", -90, 90, &dec, err);
    if (!e) e = answer_number(r, "radius", 0, 180, &radius, err);
    if (e) return e;
    cone_values(ra, dec, radius, LIGHTCURVE_IDS, &v);
    e = db_pool_take(s->pool, s->pool_wait_s, &db, err);
    if (!e) e = db_stream(db, "light_curve_place", s->sql_place, 6, v.list, false, id_of_row, list, err);
    db_pool_give(s->pool, db);
    return e;
}

static enum err collect(struct service *s, struct ids *list, const struct http_request *r, struct error *err)
{
    size_t size;
    const char *ids = http_param(r, "ids"), *body = http_body(r, &size), *type = http_header_in(r, "Content-Type");
    if (ids) return ids_of_text(list, ids, err);
    if (http_param(r, "ra") || http_param(r, "dec")) return ids_of_place(s, list, r, err);
    if (type && !strncmp(type, "application/json", 16) && size) return ids_of_json(list, body, size, err);
    ERROR(err, ERR_USAGE, "no objects are named");
    error_hint(err, "give ids=1,2,3, a JSON body [1, 2, 3], or ra, dec and radius in degrees");
    return ERR_USAGE;
}

void lightcurve_of_many(struct http_request *r, struct http_response *w, void *user)
{
    struct service *s = user;
    struct error err = ERROR_INIT;
    struct answer a;
    struct ids list = {0};
    if (!answer_prepare(&a, s, r, w, false, ROWSET_JSON, "limit")) return;
    if (!http_param(r, "limit")) a.maxrec = s->maxrec_limit; /* who names objects wants all their points */
    list.f = open_memstream(&list.text, &list.size);
    if (!list.f) {
        answer_refuse(w, false, ERR_NOMEM, "out of memory");
        return;
    }
    enum err e = collect(s, &list, r, &err);
    fprintf(list.f, "%s}", list.n ? "" : "{");
    if (fclose(list.f) && !e) e = ERROR(&err, ERR_NOMEM, "out of memory");
    if (e) answer_refuse_error(w, false, &err);
    else answer_curves(s, &a, list.text, NULL);
    free(list.text);
}
