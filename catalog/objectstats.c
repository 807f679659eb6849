#include "catalog/objectstats.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/skygrid.h"
#include "common/db_copy.h"
#include "common/detections.h"
#include "common/hpx.h"

#define BATCH     200000 /* objects whose results are held in memory at a time */
#define BANDS_MAX 64
#define PIECE     ((size_t)1 << 20)
#define FLAGS_BLEND (FLAG_NEIGHBOURS | FLAG_DEBLENDED)

static const double PAIR_D = 0.5 / 24; /* points this close see the same star */

struct point;

/* Weighted mean and scatter, updated row by row. Source: West 1979, CACM 22, 532. */
struct band {
    char filter[64];
    int n;
    double weight, mean, spread; /* sum of w; weighted mean; sum of w (f - mean)^2 */
    double plain, plain2;        /* mean and sum of squares without weights */
    double low, high;
    int blends;
    struct point *points;        /* of the object in hand, in the order of time; kept from object to object */
    int capacity;
};

struct point {
    double mjd, flux, err;
};

struct stream {
    const struct objectstats_object *objects;
    int64_t n, next;             /* of the batch; the one in hand */
    int count, nband;
    double dx, dy, dx2, dy2, first, last;
    struct band band[BANDS_MAX];
    struct copy_buffer object_rows, band_rows;
};

/* ---- sums --------------------------------------------------------------------------------------------------------- */

static void start_object(struct stream *s)
{
    s->count = s->nband = 0;
    s->dx = s->dy = s->dx2 = s->dy2 = 0;
}

static struct band *band_of(struct stream *s, const char *filter)
{
    for (int i = 0; i < s->nband; i++)
        if (!strcmp(s->band[i].filter, filter)) return &s->band[i];
    if (s->nband == BANDS_MAX) return NULL;
    struct band *b = &s->band[s->nband++];
    *b = (struct band){.low = INFINITY, .high = -INFINITY, .points = b->points, .capacity = b->capacity};
    snprintf(b->filter, sizeof b->filter, "%s", filter);
    return b;
}

static bool keep_point(struct band *b, double mjd, double f, double err)
{
    if (b->n == b->capacity) {
        int capacity = b->capacity ? 2 * b->capacity : 64;
        struct point *grown = realloc(b->points, (size_t)capacity * sizeof *grown);
        if (!grown) return false;
        b->points = grown;
        b->capacity = capacity;
    }
    b->points[b->n] = (struct point){mjd, f, err};
    return true;
}

/* Scatter that neighbours in time share: two points within PAIR_D are a pair, others stand alone; each with weight 1.
 * Source: Stetson 1996, PASP 108, 851, equations 1 and 2; here in flux instead of magnitude. NaN for fewer than two points. */
static double stetson_j(const struct band *b)
{
    double sum = 0, scale = b->n > 1 ? sqrt((double)b->n / (b->n - 1)) : NAN;
    int terms = 0;
    for (int i = 0; i < b->n; terms++) {
        const struct point *p = &b->points[i];
        double d = scale * (p->flux - b->mean) / p->err, product;
        if (i + 1 < b->n && p[1].mjd - p->mjd <= PAIR_D) {
            product = d * (scale * (p[1].flux - b->mean) / p[1].err);
            i += 2;
        } else {
            product = d * d - 1;
            i++;
        }
        sum += copysign(sqrt(fabs(product)), product);
    }
    return terms ? sum / terms : NAN;
}

static void add_flux(struct band *b, double f, double err)
{
    double w = 1 / (err * err), before = b->mean, plain = b->plain;
    b->n++;
    b->weight += w;
    b->mean += w / b->weight * (f - before);
    b->spread += w * (f - before) * (f - b->mean);
    b->plain += (f - plain) / b->n;
    b->plain2 += (f - plain) * (f - b->plain);
    b->low = fmin(b->low, f);
    b->high = fmax(b->high, f);
}

/* Standard error of a mean from sums about the mean's estimate; NaN (NULL) for one value. */
static float mean_error(double sum, double sum2, int n)
{
    double variance = n > 1 ? (sum2 - sum * sum / n) / (n - 1) : NAN;
    return (float)sqrt(fmax(variance, 0) / n * (n > 1 ? 1 : NAN));
}

static void finish_object(struct stream *s)
{
    const struct objectstats_object *o = &s->objects[s->next++];
    double ra = o->ref_ra, dec = o->ref_dec;
    if (!s->count) return;
    if (s->dx != 0 || s->dy != 0) skygrid_shift(o->ref_ra, o->ref_dec, s->dx / s->count, s->dy / s->count, &ra, &dec);
    copy_row(&s->object_rows, 9);
    copy_i64(&s->object_rows, o->id);
    copy_i64(&s->object_rows, hpx_of(ra, dec));
    copy_f64(&s->object_rows, ra);
    copy_f64(&s->object_rows, dec);
    copy_f32(&s->object_rows, mean_error(s->dx, s->dx2, s->count));
    copy_f32(&s->object_rows, mean_error(s->dy, s->dy2, s->count));
    copy_i32(&s->object_rows, s->count);
    copy_f64(&s->object_rows, s->first);
    copy_f64(&s->object_rows, s->last);
    for (int i = 0; i < s->nband; i++) {
        const struct band *b = &s->band[i];
        copy_row(&s->band_rows, 11);
        copy_i64(&s->band_rows, o->id);
        copy_text(&s->band_rows, b->filter);
        copy_i32(&s->band_rows, b->n);
        copy_f64(&s->band_rows, b->mean);
        copy_f64(&s->band_rows, 1 / sqrt(b->weight));
        copy_f64(&s->band_rows, b->n > 1 ? sqrt(b->plain2 / (b->n - 1)) : NAN);
        copy_f64(&s->band_rows, b->low);
        copy_f64(&s->band_rows, b->high);
        copy_f64(&s->band_rows, b->n > 1 ? b->spread / (b->n - 1) : NAN);
        copy_f64(&s->band_rows, stetson_j(b));
        copy_i32(&s->band_rows, b->blends);
    }
}

static enum err take_row(void *user, const char *data, int size, struct error *err)
{
    struct stream *s = user;
    struct copy_reader r;
    char filter[64];
    if (!copy_read_row(&r, data, size)) return ERR_OK;
    int64_t id = copy_read_int(&r);
    double mjd = copy_read_float(&r), dx = copy_read_float(&r), dy = copy_read_float(&r);
    copy_read_text(&r, filter, sizeof filter);
    double flux = copy_read_float(&r), error = copy_read_float(&r);
    int flags = (int)copy_read_int(&r);
    if (r.bad) return ERROR(err, ERR_INTERNAL, "a row of association is not what was asked for");
    while (s->next < s->n && s->objects[s->next].id < id) {
        finish_object(s);
        start_object(s);
    }
    if (s->next == s->n || s->objects[s->next].id != id) return ERROR(err, ERR_INTERNAL, "object %" PRId64 " was not asked for", id);
    if (!s->count++) s->first = mjd;
    s->last = mjd;
    s->dx += dx, s->dy += dy, s->dx2 += dx * dx, s->dy2 += dy * dy;
    if (!isfinite(flux) || !(error > 0) || flags >= FLAG_SATURATED) return ERR_OK;
    struct band *b = band_of(s, filter);
    if (!b) return ERR_OK;
    if (!keep_point(b, mjd, flux, error)) return ERROR(err, ERR_NOMEM, "could not get memory for a light curve");
    b->blends += (flags & FLAGS_BLEND) != 0;
    add_flux(b, flux, error);
    return ERR_OK;
}

/* ---- tables ------------------------------------------------------------------------------------------------------- */

static enum err send(struct db *db, const char *table, struct copy_buffer *b, struct error *err)
{
    char sql[100];
    copy_finish(b);
    if (b->failed) return ERROR(err, ERR_NOMEM, "could not get memory for rows");
    snprintf(sql, sizeof sql, "COPY %s FROM STDIN BINARY", table);
    enum err e = db_copy_in(db, sql, err);
    if (!e) e = db_copy_put(db, b->data, b->size, err);
    if (!e) e = db_copy_end(db, NULL, err);
    copy_start(b);
    return e;
}

static enum err flush_if_full(struct db *db, struct copy_buffer *b, struct error *err)
{
    enum err e = ERR_OK;
    if (b->size >= PIECE) {
        e = db_copy_put(db, b->data, b->size, err);
        b->size = 0;
    }
    return e;
}

static enum err end_copy(struct db *db, struct copy_buffer *b, struct error *err)
{
    copy_finish(b);
    if (b->failed) {
        db_copy_abort(db, "no memory");
        return ERROR(err, ERR_NOMEM, "could not get memory for rows");
    }
    enum err e = db_copy_put(db, b->data, b->size, err);
    return e ? e : db_copy_end(db, NULL, err);
}

static const char make_tables[] =
    "CREATE TEMPORARY TABLE touched (object_id bigint, batch integer) ON COMMIT DROP;"
    "CREATE TEMPORARY TABLE new_object (object_id bigint, ref_ra float8, ref_dec float8, first_night integer, founder_det_id bigint,"
    " founder_recipe_id integer, founder_version smallint) ON COMMIT DROP;"
    "CREATE TEMPORARY TABLE object_now (object_id bigint, hpx29 bigint, ra float8, dec float8, ra_err real, dec_err real, n_det integer,"
    " first_mjd float8, last_mjd float8) ON COMMIT DROP;"
    "CREATE TEMPORARY TABLE band_now (object_id bigint, filter text, n integer, flux_mean float8, flux_err float8, flux_std float8,"
    " flux_min float8, flux_max float8, chi2 float8, stetson_j float8, n_blend integer) ON COMMIT DROP";

static enum err send_objects(struct db *db, const struct objectstats_object *o, int64_t n, struct error *err)
{
    struct copy_buffer b = {0};
    enum err e = db_copy_in(db, "COPY touched FROM STDIN BINARY", err);
    copy_start(&b);
    for (int64_t i = 0; i < n && !e; i++) {
        copy_row(&b, 2);
        copy_i64(&b, o[i].id);
        copy_i32(&b, (int32_t)(i / BATCH));
        e = flush_if_full(db, &b, err);
    }
    if (!e) e = end_copy(db, &b, err);
    if (!e) e = db_copy_in(db, "COPY new_object FROM STDIN BINARY", err);
    copy_start(&b);
    for (int64_t i = 0; i < n && !e; i++) {
        if (!o[i].fresh) continue;
        copy_row(&b, 7);
        copy_i64(&b, o[i].id);
        copy_f64(&b, o[i].ref_ra);
        copy_f64(&b, o[i].ref_dec);
        copy_i32(&b, o[i].first_night);
        copy_i64(&b, o[i].founder_det_id);
        copy_i32(&b, o[i].founder_recipe_id);
        copy_i16(&b, (int16_t)o[i].founder_version);
        e = flush_if_full(db, &b, err);
    }
    if (!e) e = end_copy(db, &b, err);
    copy_release(&b);
    return e ? e : db_exec(db, "ANALYZE touched; ANALYZE new_object", err);
}

static enum err one_batch(struct db *db, struct stream *s, int batch, struct error *err)
{
    char sql[900];
    snprintf(sql, sizeof sql,
             "COPY (SELECT a.object_id, a.mjd, a.dx::float8, a.dy::float8, c.filter, a.flux_auto * c.njy_per_electron,"
             " a.fluxerr_auto * c.njy_per_electron, a.flags"
             " FROM touched t JOIN association a ON a.object_id = t.object_id"
             " JOIN ccd c ON c.exposure_id = det_exposure(a.det_id) AND c.ccd = det_ccd(a.det_id) AND c.recipe_id = a.recipe_id"
             " AND c.version = a.version AND c.published_at IS NOT NULL AND c.retired_at IS NULL"
             " WHERE t.batch = %d"
             " ORDER BY a.object_id, a.mjd, a.det_id, a.recipe_id, a.version) TO STDOUT BINARY", batch);
    s->next = 0;
    start_object(s);
    copy_start(&s->object_rows);
    copy_start(&s->band_rows);
    enum err e = db_copy_out(db, sql, take_row, s, err);
    if (!e && s->next < s->n) finish_object(s);
    if (!e) e = send(db, "object_now", &s->object_rows, err);
    return e ? e : send(db, "band_now", &s->band_rows, err);
}

/* Rows that are the same stay untouched. */
static enum err apply(struct db *db, int64_t *ret_changed, struct error *err)
{
    struct db_result *r = NULL;
    enum err e = db_query(db,
                          "WITH i AS (INSERT INTO object (object_id, hpx29, ra, dec, ref_ra, ref_dec, ra_err, dec_err, n_det, first_mjd, last_mjd,"
                          " first_night, founder_det_id, founder_recipe_id, founder_version)"
                          " SELECT n.object_id, f.hpx29, f.ra, f.dec, n.ref_ra, n.ref_dec, f.ra_err, f.dec_err, f.n_det, f.first_mjd, f.last_mjd,"
                          " n.first_night, n.founder_det_id, n.founder_recipe_id, n.founder_version"
                          " FROM new_object n JOIN object_now f USING (object_id) ORDER BY n.object_id RETURNING 1),"
                          " u AS (UPDATE object o SET hpx29 = f.hpx29, ra = f.ra, dec = f.dec, ra_err = f.ra_err, dec_err = f.dec_err, n_det = f.n_det,"
                          " first_mjd = f.first_mjd, last_mjd = f.last_mjd FROM object_now f WHERE o.object_id = f.object_id"
                          " AND (o.hpx29, o.ra, o.dec, o.ra_err, o.dec_err, o.n_det, o.first_mjd, o.last_mjd)"
                          " IS DISTINCT FROM (f.hpx29, f.ra, f.dec, f.ra_err, f.dec_err, f.n_det, f.first_mjd, f.last_mjd) RETURNING 1),"
                          " z AS (UPDATE object o SET n_det = 0, first_mjd = NULL, last_mjd = NULL FROM touched t WHERE o.object_id = t.object_id AND o.n_det <> 0"
                          " AND NOT EXISTS (SELECT FROM object_now f WHERE f.object_id = t.object_id) RETURNING 1)"
                          " SELECT (SELECT count(*) FROM i) + (SELECT count(*) FROM u) + (SELECT count(*) FROM z)",
                          0, NULL, &r, err);
    if (!e) *ret_changed = db_i64(r, 0, 0);
    db_result_free(r);
    if (!e)
        e = db_exec(db,
                    "DELETE FROM object_band b USING touched t WHERE b.object_id = t.object_id"
                    " AND NOT EXISTS (SELECT FROM band_now f WHERE f.object_id = b.object_id AND f.filter = b.filter);"
                    "INSERT INTO object_band SELECT * FROM band_now ORDER BY object_id, filter ON CONFLICT (object_id, filter) DO UPDATE SET n = excluded.n,"
                    " flux_mean = excluded.flux_mean, flux_err = excluded.flux_err, flux_std = excluded.flux_std, flux_min = excluded.flux_min,"
                    " flux_max = excluded.flux_max, chi2 = excluded.chi2, stetson_j = excluded.stetson_j, n_blend = excluded.n_blend WHERE object_band IS DISTINCT FROM excluded",
                    err);
    return e;
}

enum err objectstats_refresh(struct db *db, const struct objectstats_object *objects, int64_t n, int64_t *ret_changed, struct error *err)
{
    struct stream s = {0};
    *ret_changed = 0;
    if (!n) return ERR_OK;
    enum err e = db_exec(db, make_tables, err);
    if (!e) e = send_objects(db, objects, n, err);
    for (int64_t first = 0; first < n && !e; first += BATCH) {
        s.objects = objects + first;
        s.n = n - first < BATCH ? n - first : BATCH;
        e = one_batch(db, &s, (int)(first / BATCH), err);
    }
    if (!e) e = db_exec(db, "ANALYZE object_now; ANALYZE band_now", err);
    if (!e) e = apply(db, ret_changed, err);
    copy_release(&s.object_rows);
    copy_release(&s.band_rows);
    for (int i = 0; i < BANDS_MAX; i++) free(s.band[i].points);
    return e;
}
