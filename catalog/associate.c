#include "catalog/associate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/skymatch.h"
#include "common/db_copy.h"
#include "common/hpx.h"
#include "common/units.h"

enum { NEAR_MAX = 64, FLUSH_BYTES = 1 << 20 };
static const double MARGIN_DEG = 15 / ARCSEC_PER_DEG; /* a mean position may leave its founding position by this much */

struct row {
    int64_t det_id;
    double mjd, ra, dec, v[3];
    float flux[6];       /* auto, aper1, aper2, each with its error */
    int32_t recipe_id;
    int16_t version, flags;
    int object;          /* index; -1: not yet */
};

struct pair {
    double chord2;
    int object;
    int64_t row;
};

struct night_work {
    struct db *db;
    int night;
    struct row *rows;
    int64_t n, capacity;
    struct skymatch sky;
    struct pair *pairs;
    int64_t npairs, pair_capacity;
    struct copy_buffer copy;
};

static void release(struct night_work *w)
{
    free(w->rows);
    free(w->pairs);
    skymatch_release(&w->sky);
    copy_release(&w->copy);
}

/* ---- reading ------------------------------------------------------------------------------------------------------ */

static enum err take_detection(void *user, const char *data, int size, struct error *err)
{
    struct night_work *w = user;
    struct copy_reader r;
    if (!copy_read_row(&r, data, size)) return ERR_OK;
    if (w->n == w->capacity) {
        int64_t capacity = w->capacity ? 2 * w->capacity : 4096;
        struct row *grown = realloc(w->rows, (size_t)capacity * sizeof *grown);
        if (!grown) return ERROR(err, ERR_NOMEM, "could not hold %lld detections: out of memory", (long long)capacity);
        w->rows = grown;
        w->capacity = capacity;
    }
    struct row *d = &w->rows[w->n++];
    *d = (struct row){.object = -1};
    d->det_id = copy_read_int(&r);
    d->recipe_id = (int32_t)copy_read_int(&r);
    d->version = (int16_t)copy_read_int(&r);
    d->mjd = copy_read_float(&r);
    d->ra = copy_read_float(&r);
    d->dec = copy_read_float(&r);
    for (int i = 0; i < 6; i++) d->flux[i] = (float)copy_read_float(&r);
    d->flags = (int16_t)copy_read_int(&r);
    sky_vector(d->ra, d->dec, d->v);
    return r.bad ? ERROR(err, ERR_INTERNAL, "a row of detection is not what was asked for") : ERR_OK;
}

static enum err read_detections(struct night_work *w, struct error *err)
{
    char sql[1200];
    snprintf(sql, sizeof sql,
             "COPY (SELECT d.det_id, d.recipe_id, d.version, d.mjd, d.ra, d.dec, d.flux_auto, d.fluxerr_auto, d.flux_aper1, d.fluxerr_aper1,"
             " d.flux_aper2, d.fluxerr_aper2, d.flags FROM detection d JOIN ccd c ON c.exposure_id = det_exposure(d.det_id) AND c.ccd = det_ccd(d.det_id)"
             " AND c.recipe_id = d.recipe_id AND c.version = d.version AND c.published_at IS NOT NULL AND c.retired_at IS NULL"
             " WHERE d.night = %d AND c.night = %d ORDER BY d.mjd, d.det_id) TO STDOUT BINARY", w->night, w->night);
    return db_copy_out(w->db, sql, take_detection, w, err);
}

static enum err take_object(void *user, const char *data, int size, struct error *err)
{
    struct night_work *w = user;
    struct copy_reader r;
    if (!copy_read_row(&r, data, size)) return ERR_OK;
    int64_t id = copy_read_int(&r);
    double ra = copy_read_float(&r), dec = copy_read_float(&r);
    if (r.bad) return ERROR(err, ERR_INTERNAL, "a row of object is not what was asked for");
    return skymatch_has_id(&w->sky, id) ? ERR_OK : skymatch_add(&w->sky, id, ra, dec, NULL, err);
}

/* Objects that are given: of other nights or published, where this night's CCDs look. */
static enum err read_objects(struct night_work *w, struct error *err)
{
    struct db_result *r = NULL;
    char night[16], sql[8192];
    snprintf(night, sizeof night, "%d", w->night);
    enum err e = db_query(w->db,
                          "SELECT DISTINCT c.ra, c.dec, coalesce((SELECT max(sphere_distance(c.ra, c.dec, q.a, q.d)) FROM unnest(c.corner_ra, c.corner_dec) AS q (a, d)), 180)"
                          " FROM ccd c WHERE c.night = $1 AND c.published_at IS NOT NULL AND c.retired_at IS NULL AND c.ra IS NOT NULL ORDER BY 1, 2",
                          1, (const char *const[]){night}, &r, err);
    for (int64_t i = 0; !e && i < db_nrow(r); i++) {
        struct hpx_range ranges[32];
        double radius = db_f64(r, i, 2) + MARGIN_DEG;
        int n = hpx_cone(db_f64(r, i, 0), db_f64(r, i, 1), radius < 180 ? radius : 180, 32, ranges);
        size_t k = (size_t)snprintf(sql, sizeof sql, "COPY (SELECT o.object_id, o.ref_ra, o.ref_dec FROM object o WHERE (o.first_night < %d OR o.published_at IS NOT NULL) AND (false", w->night);
        for (int j = 0; j < n; j++) k += (size_t)snprintf(sql + k, sizeof sql - k, " OR o.hpx29 BETWEEN %lld AND %lld", (long long)ranges[j].first, (long long)ranges[j].last);
        snprintf(sql + k, sizeof sql - k, ") ORDER BY o.object_id) TO STDOUT BINARY");
        e = db_copy_out(w->db, sql, take_object, w, err);
    }
    db_result_free(r);
    return e;
}

/* ---- matching ----------------------------------------------------------------------------------------------------- */

static int by_distance(const void *p, const void *q)
{
    const struct pair *a = p, *b = q;
    if (a->chord2 != b->chord2) return a->chord2 < b->chord2 ? -1 : 1;
    if (a->object != b->object) return a->object < b->object ? -1 : 1;
    return (a->row > b->row) - (a->row < b->row);
}

static enum err add_pair(struct night_work *w, struct pair p, struct error *err)
{
    if (w->npairs == w->pair_capacity) {
        int64_t capacity = w->pair_capacity ? 2 * w->pair_capacity : 4096;
        struct pair *grown = realloc(w->pairs, (size_t)capacity * sizeof *grown);
        if (!grown) return ERROR(err, ERR_NOMEM, "could not hold %lld pairs: out of memory", (long long)capacity);
        w->pairs = grown;
        w->pair_capacity = capacity;
    }
    w->pairs[w->npairs++] = p;
    return ERR_OK;
}

/* hpx29 of the place, the next free id if it is taken; the database is asked for ids outside what was read. */
static enum err free_id(struct night_work *w, double ra, double dec, int64_t *ret, struct error *err)
{
    int64_t id = hpx_of(ra, dec);
    if (id < 0) return ERROR(err, ERR_INTERNAL, "a detection has no place on the sky");
    while (skymatch_has_id(&w->sky, id)) id++;
    *ret = id;
    return ERR_OK;
}

/* Rows [first, end) are one exposure. */
static enum err match_exposure(struct night_work *w, int64_t first, int64_t end, struct error *err)
{
    int given = w->sky.n, near[NEAR_MAX];
    double chord2[NEAR_MAX];
    enum err e = ERR_OK;
    w->npairs = 0;
    for (int64_t i = first; i < end && !e; i++) {
        int n = skymatch_near(&w->sky, w->rows[i].v, given, near, chord2, NEAR_MAX);
        for (int k = 0; k < n && !e; k++) e = add_pair(w, (struct pair){chord2[k], near[k], i}, err);
    }
    if (e) return e;
    for (int64_t k = 0; k < w->npairs; k++) w->sky.objects[w->pairs[k].object].seen = false;
    qsort(w->pairs, (size_t)w->npairs, sizeof *w->pairs, by_distance);
    for (int64_t k = 0; k < w->npairs; k++) {
        struct skyobject *o = &w->sky.objects[w->pairs[k].object];
        struct row *d = &w->rows[w->pairs[k].row];
        if (o->seen || d->object >= 0) continue;
        o->seen = true;
        d->object = w->pairs[k].object;
    }
    for (int64_t i = first; i < end && !e; i++) {
        struct row *d = &w->rows[i];
        int64_t id = 0;
        if (d->object >= 0) continue;
        e = free_id(w, d->ra, d->dec, &id, err);
        if (!e) e = skymatch_add(&w->sky, id, d->ra, d->dec, &d->object, err);
        if (e) break;
        w->sky.objects[d->object].fresh = true;
        w->sky.objects[d->object].founder = i;
    }
    return e;
}

static enum err match_all(struct night_work *w, struct error *err)
{
    enum err e = ERR_OK;
    for (int64_t first = 0, end; first < w->n && !e; first = end) {
        int64_t exposure = w->rows[first].det_id >> 31;
        for (end = first + 1; end < w->n && w->rows[end].det_id >> 31 == exposure && w->rows[end].mjd == w->rows[first].mjd;) end++;
        e = match_exposure(w, first, end, err);
    }
    return e;
}

/* ---- writing ------------------------------------------------------------------------------------------------------ */

static enum err flush(struct night_work *w, bool last, struct error *err)
{
    if (!last && w->copy.size < FLUSH_BYTES) return ERR_OK;
    if (last) copy_finish(&w->copy);
    if (w->copy.failed) {
        db_copy_abort(w->db, "no memory");
        return ERROR(err, ERR_NOMEM, "could not encode rows: out of memory");
    }
    enum err e = db_copy_put(w->db, w->copy.data, w->copy.size, err);
    w->copy.size = 0;
    return e ? e : last ? db_copy_end(w->db, NULL, err) : ERR_OK;
}

static enum err write_objects(struct night_work *w, struct error *err)
{
    enum err e = db_copy_in(w->db,
                            "COPY object (object_id, hpx29, ra, dec, ref_ra, ref_dec, first_night, founder_det_id, founder_recipe_id, founder_version) FROM STDIN BINARY", err);
    copy_start(&w->copy);
    for (int i = 0; i < w->sky.n && !e; i++) {
        const struct skyobject *o = &w->sky.objects[i];
        if (!o->fresh) continue;
        const struct row *d = &w->rows[o->founder];
        copy_row(&w->copy, 10);
        copy_i64(&w->copy, o->id);
        copy_i64(&w->copy, hpx_of(o->ra, o->dec));
        for (int k = 0; k < 2; k++) {
            copy_f64(&w->copy, o->ra);
            copy_f64(&w->copy, o->dec);
        }
        copy_i32(&w->copy, w->night);
        copy_i64(&w->copy, d->det_id);
        copy_i32(&w->copy, d->recipe_id);
        copy_i16(&w->copy, d->version);
        e = flush(w, false, err);
    }
    return e ? e : flush(w, true, err);
}

/* East and north of the founding position, arcsec. */
static void offset_of(const struct skyobject *o, const struct row *d, float *dx, float *dy)
{
    double a = o->ra * RAD_PER_DEG, s = o->dec * RAD_PER_DEG;
    double east[3] = {-sin(a), cos(a), 0}, north[3] = {-sin(s) * cos(a), -sin(s) * sin(a), cos(s)}, x = 0, y = 0;
    for (int k = 0; k < 3; k++) {
        x += east[k] * (d->v[k] - o->v[k]);
        y += north[k] * (d->v[k] - o->v[k]);
    }
    *dx = (float)(x * DEG_PER_RAD * ARCSEC_PER_DEG);
    *dy = (float)(y * DEG_PER_RAD * ARCSEC_PER_DEG);
}

static enum err write_associations(struct night_work *w, struct error *err)
{
    enum err e = db_copy_in(w->db,
                            "COPY association (object_id, det_id, mjd, recipe_id, night, dx, dy, flux_auto, fluxerr_auto, flux_aper1, fluxerr_aper1,"
                            " flux_aper2, fluxerr_aper2, flags, version) FROM STDIN BINARY", err);
    copy_start(&w->copy);
    for (int64_t i = 0; i < w->n && !e; i++) {
        const struct row *d = &w->rows[i];
        const struct skyobject *o = &w->sky.objects[d->object];
        float dx, dy;
        offset_of(o, d, &dx, &dy);
        copy_row(&w->copy, 15);
        copy_i64(&w->copy, o->id);
        copy_i64(&w->copy, d->det_id);
        copy_f64(&w->copy, d->mjd);
        copy_i32(&w->copy, d->recipe_id);
        copy_i32(&w->copy, w->night);
        copy_f32(&w->copy, dx);
        copy_f32(&w->copy, dy);
        for (int k = 0; k < 6; k++) copy_f32(&w->copy, d->flux[k]);
        copy_i16(&w->copy, d->flags);
        copy_i16(&w->copy, d->version);
        e = flush(w, false, err);
    }
    return e ? e : flush(w, true, err);
}

/* Mean positions need HEALPix, which the database has not: read, worked out, written back through a temporary table. */
struct mean_work {
    struct copy_buffer copy;
    int64_t n;
};

static enum err take_mean(void *user, const char *data, int size, struct error *err)
{
    struct mean_work *m = user;
    struct copy_reader r;
    if (!copy_read_row(&r, data, size)) return ERR_OK;
    int64_t id = copy_read_int(&r);
    double ref_ra = copy_read_float(&r), ref_dec = copy_read_float(&r), dx = copy_read_float(&r), dy = copy_read_float(&r);
    double a = ref_ra * RAD_PER_DEG, s = ref_dec * RAD_PER_DEG, e = dx / ARCSEC_PER_DEG * RAD_PER_DEG, n = dy / ARCSEC_PER_DEG * RAD_PER_DEG;
    double x = cos(s) * cos(a) - e * sin(a) - n * sin(s) * cos(a), y = cos(s) * sin(a) + e * cos(a) - n * sin(s) * sin(a), z = sin(s) + n * cos(s);
    double ra = atan2(y, x) * DEG_PER_RAD, dec = atan2(z, hypot(x, y)) * DEG_PER_RAD;
    if (ra < 0) ra += 360;
    if (dx == 0 && dy == 0) ra = ref_ra, dec = ref_dec;
    copy_row(&m->copy, 4);
    copy_i64(&m->copy, id);
    copy_i64(&m->copy, hpx_of(ra, dec));
    copy_f64(&m->copy, ra);
    copy_f64(&m->copy, dec);
    m->n++;
    return r.bad || m->copy.failed ? ERROR(err, ERR_NOMEM, "could not work out mean positions: out of memory") : ERR_OK;
}

static enum err refresh_positions(struct night_work *w, struct error *err)
{
    struct mean_work m = {0};
    copy_start(&m.copy);
    enum err e = db_copy_out(w->db,
                             "COPY (SELECT o.object_id, o.ref_ra, o.ref_dec, s.dx, s.dy FROM touched_stats s JOIN object o USING (object_id) ORDER BY 1) TO STDOUT BINARY",
                             take_mean, &m, err);
    copy_finish(&m.copy);
    if (!e) e = db_exec(w->db, "CREATE TEMPORARY TABLE mean_position (object_id bigint, hpx29 bigint, ra float8, dec float8) ON COMMIT DROP", err);
    if (!e) e = db_copy_in(w->db, "COPY mean_position FROM STDIN BINARY", err);
    if (!e) e = db_copy_put(w->db, m.copy.data, m.copy.size, err);
    if (!e) e = db_copy_end(w->db, NULL, err);
    if (!e)
        e = db_exec(w->db,
                    "UPDATE object o SET hpx29 = p.hpx29, ra = p.ra, dec = p.dec, ra_err = s.ra_err, dec_err = s.dec_err, n_det = s.n, first_mjd = s.first_mjd, last_mjd = s.last_mjd"
                    " FROM mean_position p JOIN touched_stats s USING (object_id) WHERE o.object_id = p.object_id"
                    " AND (o.hpx29, o.ra, o.dec, o.ra_err, o.dec_err, o.n_det, o.first_mjd, o.last_mjd)"
                    " IS DISTINCT FROM (p.hpx29, p.ra, p.dec, s.ra_err, s.dec_err, s.n, s.first_mjd, s.last_mjd)",
                    err);
    copy_release(&m.copy);
    return e;
}

/* Counts, mean positions and fluxes per band of every object this night touches or touched. Sums run in the order of the
 * measurements, so that the same measurements give the same digits. */
static const char stats_sql[] =
    "ANALYZE association; "
    "CREATE TEMPORARY TABLE touched_stats ON COMMIT DROP AS"
    " SELECT object_id, count(*)::int AS n, avg(dx::float8 ORDER BY mjd, det_id) AS dx, avg(dy::float8 ORDER BY mjd, det_id) AS dy,"
    "        CASE WHEN count(*) > 1 THEN (stddev_samp(dx::float8) / sqrt(count(*)))::real END AS ra_err,"
    "        CASE WHEN count(*) > 1 THEN (stddev_samp(dy::float8) / sqrt(count(*)))::real END AS dec_err,"
    "        min(mjd) AS first_mjd, max(mjd) AS last_mjd"
    "   FROM (SELECT * FROM association WHERE object_id IN (SELECT object_id FROM touched) ORDER BY object_id, mjd, det_id) a GROUP BY object_id";

static const char bands_sql[] =
    "DELETE FROM object_band WHERE object_id IN (SELECT object_id FROM touched); "
    "INSERT INTO object_band (object_id, filter, n, flux_mean, flux_err, flux_std, flux_min, flux_max, chi2)"
    " SELECT object_id, filter, n, mean, err, std, low, high, CASE WHEN n > 1 THEN (ff - mean * mean * w) / (n - 1) END FROM ("
    "  SELECT object_id, filter, count(*)::int AS n, sum(f / (s * s)) / sum(1 / (s * s)) AS mean, 1 / sqrt(sum(1 / (s * s))) AS err,"
    "         stddev_samp(f) AS std, min(f) AS low, max(f) AS high, sum(f * f / (s * s)) AS ff, sum(1 / (s * s)) AS w"
    "    FROM (SELECT object_id, filter, flux_auto AS f, fluxerr_auto AS s FROM light_curve"
    "           WHERE object_id IN (SELECT object_id FROM touched) AND flux_auto IS NOT NULL AND fluxerr_auto > 0 ORDER BY object_id, mjd, det_id) m"
    "   GROUP BY object_id, filter) b";

static enum err rewrite(struct night_work *w, struct error *err)
{
    char sql[1600];
    snprintf(sql, sizeof sql,
             "CREATE TEMPORARY TABLE touched ON COMMIT DROP AS SELECT DISTINCT object_id FROM association WHERE night = %d; "
             "DELETE FROM association WHERE night = %d; "
             "DELETE FROM object WHERE first_night = %d AND published_at IS NULL", w->night, w->night, w->night);
    enum err e = db_exec(w->db, sql, err);
    if (!e) e = write_objects(w, err);
    if (!e) e = write_associations(w, err);
    snprintf(sql, sizeof sql, "INSERT INTO touched SELECT DISTINCT object_id FROM association WHERE night = %d EXCEPT SELECT object_id FROM touched", w->night);
    if (!e) e = db_exec(w->db, sql, err);
    /* Objects that this rebuild did away with may still be named by later nights, which are rebuilt next. */
    if (!e) e = db_exec(w->db, "DELETE FROM touched t WHERE NOT EXISTS (SELECT FROM object o WHERE o.object_id = t.object_id)", err);
    if (!e) e = db_exec(w->db, stats_sql, err);
    if (!e) e = refresh_positions(w, err);
    if (!e) e = db_exec(w->db, bands_sql, err);
    snprintf(sql, sizeof sql,
             "INSERT INTO night (night, associated_at) VALUES (%d, now()) ON CONFLICT (night) DO UPDATE SET associated_at = now(); "
             "UPDATE ccd SET associated_at = now() WHERE night = %d AND associated_at IS NULL", w->night, w->night);
    return e ? e : db_exec(w->db, sql, err);
}

/* ---- a night ------------------------------------------------------------------------------------------------------ */

static enum err night_radius(struct night_work *w, double given, double *ret, struct error *err)
{
    struct db_result *r = NULL;
    char night[16];
    *ret = given;
    if (given > 0) return ERR_OK;
    snprintf(night, sizeof night, "%d", w->night);
    enum err e = db_query(w->db, "SELECT greatest(1, 0.5 * coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY seeing_arcsec), 0)) FROM ccd"
                                 " WHERE night = $1 AND published_at IS NOT NULL AND retired_at IS NULL AND seeing_arcsec < 60",
                          1, (const char *const[]){night}, &r, err);
    if (!e) *ret = db_f64(r, 0, 0);
    db_result_free(r);
    return e;
}

static void count(const struct night_work *w, double radius, struct associate_result *ret)
{
    *ret = (struct associate_result){.detections = w->n, .radius_arcsec = radius};
    for (int i = 0; i < w->sky.n; i++) w->sky.objects[i].seen = false;
    for (int64_t i = 0; i < w->n; i++) w->sky.objects[w->rows[i].object].seen = true;
    for (int i = 0; i < w->sky.n; i++) {
        ret->objects_new += w->sky.objects[i].fresh;
        ret->objects_known += w->sky.objects[i].seen && !w->sky.objects[i].fresh;
    }
}

enum err associate_night(struct db *db, int night, double radius_arcsec, struct associate_result *ret, struct error *err)
{
    struct night_work w = {.db = db, .night = night};
    double radius;
    enum err e = db_begin(db, err);
    if (!e) e = db_exec(db, "SET LOCAL max_parallel_workers_per_gather = 0; SELECT pg_advisory_xact_lock(hashtext('nightshift.associate'))", err);
    if (!e) e = night_radius(&w, radius_arcsec, &radius, err);
    if (!e) e = skymatch_init(&w.sky, radius / ARCSEC_PER_DEG, err);
    if (!e) e = read_detections(&w, err);
    if (!e && w.n) e = read_objects(&w, err);
    if (!e) e = match_all(&w, err);
    if (!e) e = rewrite(&w, err);
    if (!e) e = db_commit(db, err);
    else db_rollback(db);
    if (!e) count(&w, radius, ret);
    release(&w);
    return e;
}

enum err associate_later_nights(struct db *db, int night, int *nights, int max, int *ret_n, struct error *err)
{
    struct db_result *r = NULL;
    char text[16];
    snprintf(text, sizeof text, "%d", night);
    enum err e = db_query(db, "SELECT night FROM night WHERE night > $1 AND associated_at IS NOT NULL ORDER BY night", 1, (const char *const[]){text}, &r, err);
    for (*ret_n = 0; !e && *ret_n < max && *ret_n < db_nrow(r); (*ret_n)++) nights[*ret_n] = (int)db_i64(r, *ret_n, 0);
    db_result_free(r);
    return e;
}
