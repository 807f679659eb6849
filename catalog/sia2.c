/* SIA 2.0: which images of ivoa.obscore lie where, when and in which light.
 *
 * Each parameter becomes one condition; values of one parameter are alternatives, parameters are all to be met (section 2.1).
 * POS is decided twice: the database keeps what lies near enough by declination and distance of centres, the footprint of each
 * of those is then held against the region. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "catalog/discovery.h"
#include "catalog/rowset.h"
#include "catalog/schema.h"
#include "common/cutout.h"
#include "common/units.h"

enum { VALUES_MAX = 60, COLUMNS_MAX = 48, POSITIONS_MAX = 16 };

struct question {
    char sql[12000];
    size_t used;
    char values[VALUES_MAX][64];
    const char *value[VALUES_MAX];
    int n;
    struct cutout_region pos[POSITIONS_MAX];
    int npos;
    /* the answer */
    struct rowset *rows;
    int ncol;
    int region;              /* number of the column s_region */
    int64_t maxrec;
    bool full;               /* one row more was there */
};

static void add(struct question *q, const char *text)
{
    int n = snprintf(q->sql + q->used, sizeof q->sql - q->used, "%s", text);
    q->used += (size_t)n < sizeof q->sql - q->used ? (size_t)n : sizeof q->sql - q->used - 1;
}

/* $n for a value. */
static enum err bind(struct question *q, const char *value, const char *cast, struct error *err)
{
    char text[24];
    if (q->n == VALUES_MAX || strlen(value) >= sizeof q->values[0]) return ERROR(err, ERR_USAGE, "too many values, or one too long, in one request");
    snprintf(q->values[q->n], sizeof q->values[0], "%s", value);
    q->value[q->n] = q->values[q->n];
    snprintf(text, sizeof text, "$%d%s", ++q->n, cast);
    add(q, text);
    return ERR_OK;
}

/* "a b", or "a" for both. -Inf and +Inf are open ends. */
static enum err read_interval(const char *name, const char *text, double *ret_low, double *ret_high, struct error *err)
{
    char *end;
    *ret_low = strtod(text, &end);
    if (end != text) {
        const char *rest = end;
        *ret_high = strtod(rest, &end);
        if (end == rest) *ret_high = *ret_low;
        while (*end == ' ') end++;
        if (!*end && *ret_low <= *ret_high) return ERR_OK;
    }
    enum err code = ERROR(err, ERR_USAGE, "%s '%.60s' is not an interval", name, text);
    error_hint(err, "two numbers, the lower one first; -Inf and +Inf leave an end open");
    return code;
}

static enum err bind_number(struct question *q, double v, struct error *err)
{
    char text[40];
    if (isinf(v)) snprintf(text, sizeof text, "%sInfinity", v < 0 ? "-" : "");
    else snprintf(text, sizeof text, "%.17g", v);
    return bind(q, text, "::float8", err);
}

/* Overlap of [low, high] with what an image covers; the same column twice for a scalar. */
static enum err add_intervals(struct question *q, const struct http_request *r, const char *name, const char *low_column, const char *high_column,
                              struct error *err)
{
    int n = http_param_count(r, name);
    enum err code = ERR_OK;
    for (int i = 0; i < n && !code; i++) {
        double low = 0, high = 0;
        code = read_interval(name, http_param_at(r, name, i), &low, &high, err);
        add(q, i ? " OR " : " AND (");
        add(q, low_column);
        add(q, " <= ");
        if (!code) code = bind_number(q, high, err);
        add(q, " AND ");
        add(q, high_column);
        add(q, " >= ");
        if (!code) code = bind_number(q, low, err);
    }
    if (n) add(q, ")");
    return code;
}

static enum err add_words(struct question *q, const struct http_request *r, const char *name, const char *column, struct error *err)
{
    int n = http_param_count(r, name);
    enum err code = ERR_OK;
    for (int i = 0; i < n && !code; i++) {
        add(q, i ? " OR lower(" : " AND (lower(");
        add(q, column);
        add(q, ") = lower(");
        code = bind(q, http_param_at(r, name, i), "", err);
        add(q, ")");
    }
    if (n) add(q, ")");
    return code;
}

static enum err add_calib(struct question *q, const struct http_request *r, struct error *err)
{
    int n = http_param_count(r, "CALIB");
    enum err code = ERR_OK;
    for (int i = 0; i < n && !code; i++) {
        const char *text = http_param_at(r, "CALIB", i);
        if (strlen(text) != 1 || *text < '0' || *text > '4') return ERROR(err, ERR_USAGE, "CALIB is 0 to 4, not '%.20s'", text);
        add(q, i ? " OR calib_level = " : " AND (calib_level = ");
        code = bind(q, text, "::integer", err);
    }
    if (n) add(q, ")");
    return code;
}

/* POL: these images have no polarisation, so that asking for one finds none. */
static enum err add_polarisation(struct question *q, const struct http_request *r, struct error *err)
{
    enum err code = ERR_OK;
    int n = http_param_count(r, "POL");
    for (int i = 0; i < n && !code; i++) {
        add(q, i ? " OR pol_states LIKE '%/' || " : " AND (pol_states LIKE '%/' || ");
        code = bind(q, http_param_at(r, "POL", i), "", err);
        add(q, " || '/%'");
    }
    if (n) add(q, ")");
    return code;
}

/* A circle around the region: degrees. */
static void around(const struct cutout_region *p, double *ret_ra, double *ret_dec, double *ret_radius)
{
    double v[3] = {0};
    *ret_ra = p->a[0], *ret_dec = p->b[0], *ret_radius = p->radius;
    if (p->shape == CUTOUT_CIRCLE) return;
    if (p->shape == CUTOUT_RANGE) { /* declination is what the index knows; right ascension is left to the footprints */
        *ret_ra = 0, *ret_dec = (p->b[0] + p->b[1]) / 2, *ret_radius = 180;
        return;
    }
    for (int i = 0; i < p->n; i++) {
        double a = p->a[i] * PI / 180, d = p->b[i] * PI / 180;
        v[0] += cos(d) * cos(a), v[1] += cos(d) * sin(a), v[2] += sin(d);
    }
    *ret_ra = atan2(v[1], v[0]) * 180 / PI;
    *ret_dec = atan2(v[2], hypot(v[0], v[1])) * 180 / PI;
    *ret_radius = 0;
    for (int i = 0; i < p->n; i++) *ret_radius = fmax(*ret_radius, sky_distance_deg(*ret_ra, *ret_dec, p->a[i], p->b[i]));
}

static enum err add_positions(struct question *q, const struct http_request *r, struct error *err)
{
    int n = http_param_count(r, "POS");
    enum err code = n > POSITIONS_MAX ? ERROR(err, ERR_USAGE, "%d POS are too many, %d are not", n, POSITIONS_MAX) : ERR_OK;
    for (int i = 0; i < n && !code; i++) {
        struct cutout_region *p = &q->pos[q->npos++];
        double ra, dec, radius;
        code = cutout_region_parse(http_param_at(r, "POS", i), CUTOUT_ALL, p, err);
        if (code) break;
        around(p, &ra, &dec, &radius);
        bool range = p->shape == CUTOUT_RANGE;
        double low = range ? p->b[0] : dec - radius, high = range ? p->b[1] : dec + radius;
        add(q, i ? " OR (s_dec + s_fov / 2 >= " : " AND ((s_dec + s_fov / 2 >= ");
        code = bind_number(q, low, err);
        add(q, " AND s_dec - s_fov / 2 <= ");
        if (!code) code = bind_number(q, high, err);
        if (!range) {
            add(q, " AND sphere_distance(s_ra, s_dec, ");
            if (!code) code = bind_number(q, ra, err);
            add(q, ", ");
            if (!code) code = bind_number(q, dec, err);
            add(q, ") <= s_fov / 2 * 1.01 + 0.001 + ");
            if (!code) code = bind_number(q, radius, err);
        }
        add(q, ")");
    }
    if (n) add(q, ")");
    return code;
}

static enum err read_maxrec(struct question *q, const struct discovery *d, const struct http_request *r, struct error *err)
{
    const char *text = http_param(r, "MAXREC");
    char *end;
    q->maxrec = d->maxrec_default;
    if (text) {
        errno = 0;
        q->maxrec = strtoll(text, &end, 10);
        if (*end || end == text || errno || q->maxrec < 0) return ERROR(err, ERR_USAGE, "MAXREC '%.30s' is not a whole number of rows", text);
    }
    if (q->maxrec > d->maxrec_limit) q->maxrec = d->maxrec_limit;
    return ERR_OK;
}

static enum err ask(struct question *q, const struct schema_table *t, const struct discovery *d, const struct http_request *r, struct error *err)
{
    static const struct {
        const char *name, *low, *high;
    } intervals[] = {{"BAND", "em_min", "em_max"},           {"TIME", "t_min", "t_max"},          {"FOV", "s_fov", "s_fov"},
                     {"SPATRES", "s_resolution", "s_resolution"}, {"SPECRP", "em_res_power", "em_res_power"}, {"EXPTIME", "t_exptime", "t_exptime"},
                     {"TIMERES", "t_resolution", "t_resolution"}};
    static const struct {
        const char *name, *column;
    } words[] = {{"ID", "obs_publisher_did"}, {"COLLECTION", "obs_collection"}, {"FACILITY", "facility_name"}, {"INSTRUMENT", "instrument_name"},
                 {"DPTYPE", "dataproduct_type"}, {"TARGET", "target_name"},     {"FORMAT", "access_format"}};
    enum err code = read_maxrec(q, d, r, err);
    add(q, "SELECT ");
    for (int i = 0; i < t->ncol; i++) {
        if (i) add(q, ", ");
        bool time = t->columns[i].type == SCHEMA_TIMESTAMP; /* DALI 3.3.3 */
        add(q, time ? "to_char(" : "");
        add(q, t->columns[i].name);
        add(q, time ? " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS')" : "");
    }
    add(q, " FROM ivoa.obscore WHERE true");
    if (!code) code = add_positions(q, r, err);
    for (size_t i = 0; i < sizeof intervals / sizeof intervals[0] && !code; i++)
        code = add_intervals(q, r, intervals[i].name, intervals[i].low, intervals[i].high, err);
    for (size_t i = 0; i < sizeof words / sizeof words[0] && !code; i++) code = add_words(q, r, words[i].name, words[i].column, err);
    if (!code) code = add_calib(q, r, err);
    if (!code) code = add_polarisation(q, r, err);
    add(q, " ORDER BY t_min, obs_publisher_did");
    if (!q->npos) {
        char text[40];
        snprintf(text, sizeof text, " LIMIT %lld", (long long)q->maxrec + 1);
        add(q, text);
    }
    return code;
}

/* ---- rows --------------------------------------------------------------------------------------------------------------- */

/* An image without corners on the sky is nowhere. */
static bool is_there(const struct question *q, const char *s_region)
{
    struct cutout_region footprint;
    if (!q->npos) return true;
    if (strncmp(s_region, "POLYGON ICRS ", 13) || cutout_region_parse(s_region + 13, CUTOUT_POLYGON, &footprint, NULL)) return false;
    for (int i = 0; i < q->npos; i++)
        if (cutout_regions_meet(&q->pos[i], &footprint)) return true;
    return false;
}

static enum err one_row(void *user, const struct db_result *row, struct error *err)
{
    struct question *q = user;
    if (!is_there(q, db_text(row, 0, q->region))) return ERR_OK;
    if (rowset_rows(q->rows) >= q->maxrec) {
        q->full = true;
        return ERR_INTERRUPTED; /* enough: the query is cancelled */
    }
    return rowset_result_row(q->rows, row, 0, err);
}

static bool sink(void *user, const char *data, size_t size)
{
    return http_write(user, data, size);
}

static enum err answer(struct question *q, const struct schema_table *t, const struct discovery *d, const struct http_request *r, struct http_response *w,
                       struct error *err)
{
    struct rowset_column columns[COLUMNS_MAX];
    struct db *db = NULL;
    const char *format = http_param(r, "RESPONSEFORMAT");
    struct rowset_options opt = {.columns = columns, .ncol = t->ncol, .table = t->name, .description = t->description};
    if (format && !rowset_format_of(format, &opt.format)) return ERROR(err, ERR_USAGE, "RESPONSEFORMAT '%.60s' is not written here", format);
    for (int i = 0; i < t->ncol; i++)
        columns[i] = (struct rowset_column){t->columns[i].name, (enum rowset_type)t->columns[i].type, t->columns[i].unit, t->columns[i].ucd, NULL, t->columns[i].description,
                                          t->columns[i].utype, t->columns[i].xtype};
    enum err code = db_pool_take(d->pool, d->pool_wait_s, &db, err);
    if (code) return code;
    code = rowset_new(&opt, sink, w, &q->rows, err);
    http_header_out(w, "Content-Type", rowset_content_type(opt.format));
    if (!code) code = db_stream(db, NULL, q->sql, q->n, q->value, true, one_row, q, err);
    db_pool_give(d->pool, db);
    if (q->full) code = ERR_OK, error_clear(err);
    enum err end = code && !http_streaming(w) ? code : rowset_end(q->rows, q->full, code ? err->message : NULL, code ? NULL : err);
    rowset_free(q->rows);
    q->rows = NULL;
    if (end && !http_streaming(w)) return end;
    if (code || end) http_abort(w);
    return ERR_OK;
}

void sia2_query(struct http_request *r, struct http_response *w, void *user)
{
    const struct discovery *d = user;
    struct error err = ERROR_INIT;
    struct schema *schema = NULL;
    struct question *q = calloc(1, sizeof *q);
    enum err code = q ? schema_load(&schema, &err) : ERROR(&err, ERR_NOMEM, "out of memory");
    const struct schema_table *t = code ? NULL : schema_table_find(schema, "ivoa", "obscore");
    if (!code && (!t || t->ncol > COLUMNS_MAX)) code = ERROR(&err, ERR_INTERNAL, "the schema file has no ivoa.obscore of at most %d columns", COLUMNS_MAX);
    if (!code) q->region = schema_column_find(t, "s_region");
    if (!code) code = ask(q, t, d, r, &err);
    if (!code) code = answer(q, t, d, r, w, &err);
    if (code) discovery_refuse(w, true, &err);
    schema_free(schema);
    free(q);
}
