#include "catalog/refcat.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/db_copy.h"
#include "common/hpx.h"
#include "common/http.h"
#include "common/skycoord.h"

#define PIECE       (1 << 20)
#define CONE_RANGES 64
#define FIELDS      14
#define TAP_BYTES   ((int64_t)1 << 30)
#define TAP_SECONDS 600

/* ---- in ------------------------------------------------------------------------------------------------------------ */

/* "{a,b}" of the bands; names are lower-case words by refstars.c, but a quote cannot hurt. */
static char *bands_text(const struct refstars *r)
{
    char *text = malloc(8 + (size_t)REFSTARS_BANDS_MAX * (2 * REFSTARS_BAND_NAME + 3)), *p = text;
    if (!text) return NULL;
    *p++ = '{';
    for (int b = 0; b < r->nband; b++) {
        if (b) *p++ = ',';
        *p++ = '"';
        for (const char *s = r->band[b]; *s; s++) {
            if (*s == '"' || *s == '\\') *p++ = '\\';
            *p++ = *s;
        }
        *p++ = '"';
    }
    *p++ = '}';
    *p = 0;
    return text;
}

/* An array of float4 as its send function writes it: dimensions 1, flag for NULLs, element type, length, lower bound. */
static void put_be(unsigned char *p, uint32_t v)
{
    p[0] = (unsigned char)(v >> 24), p[1] = (unsigned char)(v >> 16), p[2] = (unsigned char)(v >> 8), p[3] = (unsigned char)v;
}

static void copy_mags(struct copy_buffer *b, const struct refstars *r, int64_t i)
{
    enum { FLOAT4_OID = 700 };
    unsigned char a[20 + 8 * REFSTARS_BANDS_MAX], *p = a + 20;
    bool nulls = false;
    put_be(a, r->nband ? 1 : 0);
    put_be(a + 8, FLOAT4_OID);
    put_be(a + 12, (uint32_t)r->nband);
    put_be(a + 16, 1);
    for (int k = 0; k < r->nband; k++) {
        uint32_t bits;
        memcpy(&bits, &r->mag[k][i], 4);
        bool null = !isfinite(r->mag[k][i]);
        nulls |= null;
        put_be(p, null ? UINT32_MAX : 4);
        p += 4;
        if (!null) put_be(p, bits), p += 4;
    }
    put_be(a + 4, nulls);
    copy_bytes(b, a, r->nband ? (size_t)(p - a) : 12);
}

static void encode(struct copy_buffer *b, const struct refstars *r, int64_t i)
{
    const struct refstar *s = &r->star[i];
    copy_row(b, FIELDS);
    copy_i64(b, hpx_of(s->ra, s->dec));
    copy_i64(b, s->id);
    copy_f64(b, s->ra);
    copy_f64(b, s->dec);
    copy_f64(b, s->epoch);
    copy_f32(b, s->ra_err);
    copy_f32(b, s->dec_err);
    copy_f32(b, s->pmra);
    copy_f32(b, s->pmdec);
    copy_f32(b, s->pmra_err);
    copy_f32(b, s->pmdec_err);
    copy_f32(b, s->parallax);
    if (r->bp_rp) copy_f32(b, r->bp_rp[i]);
    else copy_null(b);
    copy_mags(b, r, i);
}

static enum err copy_stars(struct db *db, const struct refstars *r, struct error *err)
{
    struct copy_buffer b = {0};
    enum err e = db_exec(db, "CREATE TEMP TABLE refstar_in (hpx29 bigint, source_id bigint, ra double precision, dec double precision, epoch double precision, ra_error real,"
                             " dec_error real, pmra real, pmdec real, pmra_error real, pmdec_error real, parallax real, bp_rp real, mags real[]) ON COMMIT DROP", err);
    if (!e) e = db_copy_in(db, "COPY refstar_in FROM STDIN BINARY", err);
    if (e) return e;
    copy_start(&b);
    for (int64_t i = 0; i < r->n && !e; i++) {
        encode(&b, r, i);
        if (b.size < PIECE) continue;
        e = db_copy_put(db, b.data, b.size, err);
        b.size = 0;
    }
    copy_finish(&b);
    if (b.failed) {
        db_copy_abort(db, "no memory");
        copy_release(&b);
        return ERROR(err, ERR_NOMEM, "no memory for rows");
    }
    if (!e) e = db_copy_put(db, b.data, b.size, err);
    if (!e) e = db_copy_end(db, NULL, err);
    copy_release(&b);
    return e;
}

/* Number of the release, made if it is new; its bands must be these. */
static enum err release_id(struct db *db, const char *release, const char *bands, char *ret, size_t size, struct error *err)
{
    struct db_result *r = NULL;
    const char *v[2] = {release, bands};
    enum err e = db_query(db, "INSERT INTO refcat (release, bands) VALUES ($1, $2::text[]) ON CONFLICT (release) DO UPDATE SET changed_at = now()"
                              " RETURNING refcat_id, bands = $2::text[], array_to_string(bands, ', ')", 2, v, &r, err);
    if (!e && !db_bool(r, 0, 1)) {
        e = ERROR(err, ERR_USAGE, "release '%s' has other magnitudes: %s", release, db_text(r, 0, 2));
        error_hint(err, "give this file a release of its own: --release NAME");
    }
    if (!e) snprintf(ret, size, "%s", db_text(r, 0, 0));
    db_result_free(r);
    return e;
}

static enum err note_file(struct db *db, const char *id, const char *source, const char *sum, int64_t n, bool *ret_new, struct error *err)
{
    struct db_result *r = NULL;
    char rows[24];
    snprintf(rows, sizeof rows, "%" PRId64, n);
    const char *v[4] = {id, sum, source, rows};
    enum err e = db_query(db, "INSERT INTO refcat_file (refcat_id, sha256, source, n_star) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING 1", 4, v, &r, err);
    if (!e) *ret_new = db_nrow(r) > 0;
    db_result_free(r);
    return e;
}

static enum err merge(struct db *db, const char *id, int64_t *ret_added, struct error *err)
{
    struct db_result *r = NULL;
    const char *v[1] = {id};
    enum err e = db_query(db, "WITH fresh AS (INSERT INTO refstar SELECT $1::smallint, i.* FROM refstar_in i ORDER BY hpx29 ON CONFLICT DO NOTHING"
                              " RETURNING epoch, sqrt(pmra::double precision ^ 2 + pmdec::double precision ^ 2) AS pm), sums AS (SELECT count(*) AS n, coalesce(max(pm), 0) AS pm, min(epoch) AS a, max(epoch) AS b FROM fresh)"
                              " UPDATE refcat SET n_star = n_star + sums.n, pm_max = greatest(pm_max, sums.pm), epoch_min = least(epoch_min, sums.a),"
                              " epoch_max = greatest(epoch_max, sums.b) FROM sums WHERE refcat_id = $1::smallint RETURNING sums.n", 1, v, &r, err);
    if (!e) *ret_added = db_i64(r, 0, 0);
    db_result_free(r);
    return e;
}

enum err refcat_add(struct db *db, const char *release, const char *source, const char *sum, const struct refstars *stars, struct refcat_added *ret,
                    struct error *err)
{
    char id[24], *bands = bands_text(stars);
    bool fresh = false;
    *ret = (struct refcat_added){.read = stars->n};
    if (!bands) return ERROR(err, ERR_NOMEM, "no memory for names");
    enum err e = db_begin(db, err);
    if (!e) e = release_id(db, release, bands, id, sizeof id, err);
    if (!e) e = note_file(db, id, source, sum, stars->n, &fresh, err);
    if (!e && fresh) e = copy_stars(db, stars, err);
    if (!e && fresh) e = merge(db, id, &ret->added, err);
    ret->known = !e && !fresh;
    if (!e) e = db_commit(db, err);
    if (e) db_rollback(db);
    free(bands);
    return e;
}

/* ---- out ----------------------------------------------------------------------------------------------------------- */

struct release {
    char id[24], name[128];
    double pm_max, epoch_min, epoch_max;
};

static enum err find_release(struct db *db, const char *name, struct release *ret, struct refstars *stars, struct error *err)
{
    struct db_result *r = NULL;
    const char *v[1] = {name};
    enum err e = db_query(db, "SELECT refcat_id, release, pm_max, epoch_min, epoch_max, array_to_string(bands, E'\\n'), coalesce((SELECT string_agg(release, ', ' ORDER BY release)"
                              " FROM refcat), '') FROM refcat WHERE release = $1 OR $1 IS NULL ORDER BY release", 1, v, &r, err);
    if (!e && db_nrow(r) == 1) {
        snprintf(ret->id, sizeof ret->id, "%s", db_text(r, 0, 0));
        snprintf(ret->name, sizeof ret->name, "%s", db_text(r, 0, 1));
        ret->pm_max = db_f64(r, 0, 2), ret->epoch_min = db_f64(r, 0, 3), ret->epoch_max = db_f64(r, 0, 4);
        for (const char *p = db_text(r, 0, 5); *p && stars->nband < REFSTARS_BANDS_MAX; p += *p == '\n') {
            size_t n = strcspn(p, "\n");
            snprintf(stars->band[stars->nband++], REFSTARS_BAND_NAME, "%.*s", n < REFSTARS_BAND_NAME ? (int)n : REFSTARS_BAND_NAME - 1, p);
            p += n;
        }
    } else if (!e && db_nrow(r) > 1) e = ERROR(err, ERR_USAGE, "say which release: %s", db_text(r, 0, 6));
    else if (!e && name) e = ERROR(err, ERR_NOT_FOUND, "there is no release '%s'", name);
    else if (!e) e = ERROR(err, ERR_NOT_FOUND, "there are no reference stars yet: nightshift refcat add FILE");
    db_result_free(r);
    return e;
}

struct taker {
    struct refstars *stars;
    const struct refcat_cone *cone;
    int64_t capacity;
};

static bool grow(void *array, int64_t n, size_t size)
{
    void **p = array, *q = realloc(*p, (size_t)n * size);
    if (q) *p = q;
    return q != NULL;
}

static enum err reserve(struct taker *t, struct error *err)
{
    struct refstars *s = t->stars;
    if (s->n < t->capacity) return ERR_OK;
    int64_t want = t->capacity ? 2 * t->capacity : 4096;
    bool good = grow(&s->star, want, sizeof *s->star) && grow(&s->bp_rp, want, sizeof *s->bp_rp);
    for (int b = 0; b < s->nband && good; b++) good = grow(&s->mag[b], want, sizeof *s->mag[b]);
    if (!good) return ERROR(err, ERR_NOMEM, "no memory for %" PRId64 " reference stars", want);
    t->capacity = want;
    return ERR_OK;
}

static float real_at(const struct db_result *r, int col)
{
    return (float)db_f64(r, 0, col);
}

/* Columns: source_id, ra, dec, epoch, ra_error, dec_error, pmra, pmdec, pmra_error, pmdec_error, parallax, bp_rp, mags... */
static enum err take_row(void *user, const struct db_result *r, struct error *err)
{
    struct taker *t = user;
    struct refstar s = {.id = db_i64(r, 0, 0), .ra = db_f64(r, 0, 1), .dec = db_f64(r, 0, 2), .epoch = db_f64(r, 0, 3), .ra_err = real_at(r, 4), .dec_err = real_at(r, 5),
                        .pmra = real_at(r, 6), .pmdec = real_at(r, 7), .pmra_err = real_at(r, 8), .pmdec_err = real_at(r, 9), .parallax = real_at(r, 10),
                        .mag = t->stars->nband ? real_at(r, 12) : NAN};
    double ra, dec, e;
    refstar_at(&s, t->cone->epoch, &ra, &dec, &e);
    if (sky_distance_deg(ra, dec, t->cone->ra, t->cone->dec) > t->cone->radius) return ERR_OK;
    if (isfinite(t->cone->epoch)) {
        s.ra = ra, s.dec = dec, s.epoch = t->cone->epoch;
        s.ra_err = s.dec_err = (float)e;
    }
    enum err code = reserve(t, err);
    if (code) return code;
    int64_t n = t->stars->n++;
    t->stars->star[n] = s;
    t->stars->bp_rp[n] = real_at(r, 11);
    for (int b = 0; b < t->stars->nband; b++) t->stars->mag[b][n] = real_at(r, 12 + b);
    return ERR_OK;
}

/* The statement: the primary key serves each range. */
static char *cone_sql(const struct release *rel, const struct refcat_cone *c, int nband)
{
    double years = isfinite(c->epoch) ? fmax(fabs(c->epoch - rel->epoch_min), fabs(c->epoch - rel->epoch_max)) : 0;
    double reach = c->radius + (years > 0 ? rel->pm_max * years / 3.6e6 : 0) + 1e-6;
    struct hpx_range ranges[CONE_RANGES];
    int n = hpx_cone(c->ra, c->dec, reach, CONE_RANGES, ranges);
    size_t size = 1024 + (size_t)nband * 16 + (size_t)n * 64, at;
    char *sql = malloc(size);
    if (!sql) return NULL;
    at = (size_t)snprintf(sql, size, "SELECT source_id, ra, dec, epoch, ra_error, dec_error, pmra, pmdec, pmra_error, pmdec_error, parallax, bp_rp");
    for (int b = 0; b < nband; b++) at += (size_t)snprintf(sql + at, size - at, ", mags[%d]", b + 1);
    at += (size_t)snprintf(sql + at, size - at, " FROM refstar WHERE refcat_id = %s AND (false", rel->id);
    for (int i = 0; i < n; i++) at += (size_t)snprintf(sql + at, size - at, " OR hpx29 BETWEEN %" PRId64 " AND %" PRId64, ranges[i].first, ranges[i].last);
    at += (size_t)snprintf(sql + at, size - at, ")");
    if (isfinite(c->mag_max)) at += (size_t)snprintf(sql + at, size - at, " AND mags[1] <= %.17g", c->mag_max);
    snprintf(sql + at, size - at, " ORDER BY dec, ra, source_id");
    return sql;
}

enum err refcat_stars(struct db *db, const struct refcat_cone *cone, struct refstars *ret, struct error *err)
{
    struct release rel = {.pm_max = 0};
    struct taker t = {.stars = ret, .cone = cone};
    *ret = (struct refstars){0};
    enum err e = find_release(db, cone->release, &rel, ret, err);
    char *sql = e ? NULL : cone_sql(&rel, cone, ret->nband);
    if (!e && !sql) e = ERROR(err, ERR_NOMEM, "no memory for a query");
    if (!e) e = reserve(&t, err);
    if (!e) e = db_stream(db, NULL, sql, 0, NULL, false, take_row, &t, err);
    free(sql);
    if (e) refstars_release(ret);
    return e;
}

/* ---- from a service ------------------------------------------------------------------------------------------------- */

struct text {
    char *data;
    size_t n, capacity;
};

static enum err take_text(void *user, const char *data, size_t size, struct error *err)
{
    struct text *t = user;
    if (t->n + size + 1 > t->capacity) {
        size_t want = 2 * (t->n + size + 1);
        char *more = realloc(t->data, want);
        if (!more) return ERROR(err, ERR_NOMEM, "no memory for %zu bytes", want);
        t->data = more;
        t->capacity = want;
    }
    memcpy(t->data + t->n, data, size);
    t->n += size;
    t->data[t->n] = 0;
    return ERR_OK;
}

static void escape(char *to, size_t size, const char *from)
{
    size_t n = 0;
    for (; *from && n + 4 < size; from++) {
        bool plain = (*from >= '0' && *from <= '9') || (*from >= 'A' && *from <= 'Z') || (*from >= 'a' && *from <= 'z') || strchr("-_.~", *from);
        n += (size_t)snprintf(to + n, size - n, plain ? "%c" : "%%%02X", (unsigned char)*from);
    }
    to[n] = 0;
}

/* The host of a URL, which the operator named and which may therefore be anywhere. */
static void host_of(const char *url, char *ret, size_t size)
{
    const char *p = strstr(url, "://");
    p = p ? p + 3 : url;
    size_t n = *p == '[' ? strcspn(p, "]") + 1 : strcspn(p, ":/?#");
    snprintf(ret, size, "%.*s", n < size ? (int)n : (int)size - 1, p);
}

enum err refcat_from_tap(const char *url, const char *table, const struct refcat_cone *cone, int64_t maxrec, char **ret, size_t *ret_size, struct error *err)
{
    char query[1024], words[3072], full[4096], host[256], limit[64] = "";
    struct text text = {0};
    if (isfinite(cone->mag_max)) snprintf(limit, sizeof limit, " AND phot_g_mean_mag <= %.6g", cone->mag_max);
    snprintf(query, sizeof query,
             "SELECT source_id, ra, dec, ra_error, dec_error, pmra, pmra_error, pmdec, pmdec_error, parallax, ref_epoch, phot_g_mean_mag, phot_bp_mean_mag, phot_rp_mean_mag"
             " FROM %.200s WHERE 1 = CONTAINS(POINT('ICRS', ra, dec), CIRCLE('ICRS', %.10g, %.10g, %.10g))%s", table, cone->ra, cone->dec, cone->radius, limit);
    escape(words, sizeof words, query);
    size_t n = strlen(url);
    while (n && url[n - 1] == '/') n--;
    snprintf(full, sizeof full, "%.*s/sync?REQUEST=doQuery&LANG=ADQL&FORMAT=votable&MAXREC=%" PRId64 "&QUERY=%s", n < 900 ? (int)n : 900, url, maxrec, words);
    host_of(url, host, sizeof host);
    struct http_fetch o = {.trusted = host, .bytes_max = TAP_BYTES, .seconds_max = TAP_SECONDS, .sink = take_text, .user = &text};
    enum err e = http_fetch(full, &o, err);
    if (e) {
        error_subject(err, url, 0);
        free(text.data);
        return e;
    }
    if (!text.data) return ERROR(err, ERR_IO, "'%s' answered with nothing", url);
    *ret = text.data;
    *ret_size = text.n;
    return ERR_OK;
}
