#include "catalog/ingest.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include "common/digest.h"
#include "common/hpx.h"
#include "common/log.h"

#define COVER_ORDER 6 /* of detection_cover */
#define TRIES    8
#define REVIVE_S 60

void ingester_init(struct ingester *g, struct db *db, const struct settings *s)
{
    *g = (struct ingester){.db = db, .settings = s};
}

void ingester_release(struct ingester *g)
{
    copy_release(&g->buffer);
}

/* ---- rows --------------------------------------------------------------------------------------------------------- */

#define X(field, name, element) "," #field
static const char copy_sql[] = "COPY detection (det_id,hpx29,ra,dec,mjd,x,y,night,recipe_id,ra_err,dec_err" CATROW_REALS(X)
                               ",isoarea,imaflags,flags,version,ra_psf,dec_psf,x_psf,y_psf,flags_psf) FROM STDIN BINARY";
#undef X

#define X(field, name, element) +1
enum { COPY_FIELDS = 20 CATROW_REALS(X) };
#undef X

/* Sent in pieces, so that the memory of a writer does not grow with the CCD. */
#define PIECE ((size_t)1 << 20)

static void encode_row(struct copy_buffer *b, const struct catfile *c, const struct catrow *r, int64_t det_base, const struct ingest_result *key)
{
    copy_row(b, COPY_FIELDS);
    copy_i64(b, det_base | r->seq);
    copy_i64(b, r->hpx29);
    copy_f64(b, r->ra);
    copy_f64(b, r->dec);
    copy_f64(b, c->mjd_mid);
    copy_f64(b, r->x);
    copy_f64(b, r->y);
    copy_i32(b, c->night);
    copy_i32(b, key->recipe_id);
    copy_f32(b, r->ra_err);
    copy_f32(b, r->dec_err);
#define X(field, name, element) copy_f32(b, r->field);
    CATROW_REALS(X)
#undef X
    copy_i32(b, r->isoarea);
    copy_i32(b, r->imaflags);
    copy_i16(b, r->flags);
    copy_i16(b, (int16_t)key->version);
    copy_f64(b, r->ra_psf);
    copy_f64(b, r->dec_psf);
    copy_f64(b, r->x_psf);
    copy_f64(b, r->y_psf);
    if (r->flags_psf >= 0) copy_i16(b, r->flags_psf);
    else copy_null(b);
}

static enum err copy_rows(struct ingester *g, const struct catfile *c, const struct ingest_result *key, struct error *err)
{
    struct copy_buffer *b = &g->buffer;
    int64_t base = key->exposure_id << 31 | (int64_t)c->ccd << 22, rows = 0;
    enum err e = db_copy_in(g->db, copy_sql, err);
    if (e) return e;
    copy_start(b);
    for (int64_t i = 0; i < c->n && !e; i++) {
        encode_row(b, c, &c->rows[i], base, key);
        if (b->size < PIECE) continue;
        e = db_copy_put(g->db, b->data, b->size, err);
        b->size = 0;
    }
    copy_finish(b);
    if (b->failed) {
        db_copy_abort(g->db, "no memory");
        return ERROR(err, ERR_NOMEM, "could not get memory for rows");
    }
    if (!e) e = db_copy_put(g->db, b->data, b->size, err);
    if (!e) e = db_copy_end(g->db, &rows, err);
    if (!e && rows != c->n) return ERROR(err, ERR_INTERNAL, "%" PRId64 " rows went in, %" PRId64 " were sent", rows, c->n);
    return e;
}

/* ---- the rows beside them ----------------------------------------------------------------------------------------- */

static json_t *real(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *words(const char *s)
{
    json_t *j = json_string(s);
    return j ? j : json_string(""); /* not UTF-8: a header may say anything */
}

static json_t *reals(const double *v, int n)
{
    json_t *a = json_array();
    for (int i = 0; i < n; i++) {
        if (!isfinite(v[i])) {
            json_decref(a);
            return json_null();
        }
        json_array_append_new(a, json_real(v[i]));
    }
    return a;
}

static char *dump(json_t *j)
{
    char *text = j ? json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(j);
    return text;
}

static char *exposure_json(const struct catfile *c, const struct ingest_result *key)
{
    return dump(json_pack("{sI so so si so so so so so so so so so so so so so}", "exposure_id", (json_int_t)key->exposure_id,
                          "instrument", words(c->instrument), "exposure_key", words(c->exposure_key), "night", c->night,
                          "mjd_start", real(c->mjd_start), "mjd_mid", real(c->mjd_mid), "exptime_s", real(c->exptime_s),
                          "filter", words(c->filter), "object", words(c->object), "telescope", words(c->telescope),
                          "observer", words(c->observer), "ra", real(c->ra), "dec", real(c->dec), "airmass", real(c->airmass),
                          "longitude", real(c->longitude), "latitude", real(c->latitude), "height_m", real(c->height_m)));
}

static char *ccd_json(const struct catfile *c, const struct ingest_result *key)
{
    json_t *a = json_pack("{sI si si si si so so so so so so so so}", "exposure_id", (json_int_t)key->exposure_id, "ccd", c->ccd,
                          "recipe_id", key->recipe_id, "version", key->version, "night", c->night, "raw_file", words(c->raw_file),
                          "raw_sha256", words(c->raw_sha256), "bias_sha256", words(c->bias_sha256), "dark_sha256", words(c->dark_sha256),
                          "flat_sha256", words(c->flat_sha256), "reference", words(c->reference), "cat_path", words(c->cat_path),
                          "cal_path", words(c->cal_path));
    json_t *b = json_pack("{sI sI so so so so so so so so so so so so so sI so so so so so so}", "nx", (json_int_t)c->nx, "ny", (json_int_t)c->ny,
                          "ra", real(c->centre_ra), "dec", real(c->centre_dec), "corner_ra", reals(c->corner_ra, 4), "corner_dec",
                          reals(c->corner_dec, 4), "pixel_scale", real(c->pixel_scale), "magzero", real(c->magzero), "magzero_err",
                          real(c->magzero_err), "magzero_kind", words(c->magzero_kind), "seeing_arcsec", real(c->seeing_arcsec), "sky_e",
                          real(c->sky_e), "sky_noise_e", real(c->sky_noise_e), "depth", real(c->depth), "astrom_rms_arcsec",
                          real(c->astrom_rms_arcsec), "n_det", (json_int_t)c->n, "quality", words(c->quality),
                          "ellipticity", real(c->ellipticity), "masked", real(c->masked), "saturated", real(c->saturated), "n_star",
                          c->n_star < 0 ? json_null() : json_integer(c->n_star), "reasons", words(c->reasons));
    if (!a || !b || json_object_update(a, b)) {
        json_decref(a);
        a = NULL;
    }
    json_decref(b);
    return dump(a);
}

/* ---- steps of the transaction --------------------------------------------------------------------------------------- */

static bool knows_cell(const struct ingester *g, int cell)
{
    for (int i = 0; i < g->ncells; i++)
        if (g->cells[i] == cell) return true;
    return false;
}

/* Cells of the sky in which this CCD has rows, told before the rows are there: a cell without rows does no harm, rows in a
 * cell nobody knows of would not be found. Outside the transaction, so that writers of one field do not wait for each other. */
static enum err cover(struct ingester *g, const struct catfile *c, struct error *err)
{
    char *list = NULL, night[16];
    size_t size;
    int64_t last = -1, added = 0;
    FILE *f = open_memstream(&list, &size);
    if (!f) return ERROR(err, ERR_NOMEM, "could not get memory for a list");
    for (int64_t i = 0; i < c->n; i++) {
        int64_t cell = c->rows[i].hpx29 >> 2 * (HPX_ORDER - COVER_ORDER);
        if (cell == last || knows_cell(g, (int)cell)) continue;
        fprintf(f, "%c%" PRId64, added++ ? ',' : '{', last = cell);
        if (g->ncells < INGEST_CELLS) g->cells[g->ncells++] = (int)cell;
    }
    fprintf(f, "%s}", added ? "" : "{");
    enum err e = fclose(f) ? ERROR(err, ERR_NOMEM, "could not get memory for a list") : ERR_OK;
    snprintf(night, sizeof night, "%d", c->night);
    if (!e && added)
        e = db_query(g->db, "INSERT INTO detection_cover (cell, night) SELECT unnest($1::integer[]), $2::integer ON CONFLICT DO NOTHING", 2,
                     (const char *[]){list, night}, NULL, err);
    if (e) g->ncells = 0;
    free(list);
    return e;
}

static enum err know_recipe(struct ingester *g, const struct catfile *c, struct error *err)
{
    struct db_result *r = NULL;
    if (!strcmp(g->recipe, c->recipe)) return ERR_OK;
    enum err e = db_query(g->db, "SELECT recipe_of($1, $2, $3)", 3, (const char *[]){c->recipe, c->instrument, c->program_version}, &r, err);
    if (!e) {
        g->recipe_id = (int)db_i64(r, 0, 0);
        snprintf(g->recipe, sizeof g->recipe, "%s", c->recipe);
    }
    db_result_free(r);
    return e;
}

/* Outside the transaction: the partition of the night and the number of the recipe. */
static enum err prepare_ground(struct ingester *g, const struct catfile *c, struct error *err)
{
    char night[16];
    enum err e = ERR_OK;
    snprintf(night, sizeof night, "%d", c->night);
    if (g->night != c->night) e = db_query(g->db, "SELECT detection_partition($1)", 1, (const char *[]){night}, NULL, err);
    if (e) return e;
    if (g->night != c->night) g->ncells = 0;
    g->night = c->night;
    e = cover(g, c, err);
    return e ? e : know_recipe(g, c, err);
}

static enum err begin(struct ingester *g, const struct catfile *c, const char *token, struct ingest_result *ret, struct error *err)
{
    char ccd[16], recipe[16], wanted[24], name[300];
    struct db_result *r = NULL;
    snprintf(name, sizeof name, "%s\n%s", c->instrument, c->exposure_key);
    snprintf(wanted, sizeof wanted, "%" PRIu64, digest_u64(name) >> 32);
    snprintf(ccd, sizeof ccd, "%d", c->ccd);
    snprintf(recipe, sizeof recipe, "%d", g->recipe_id);
    const char *values[] = {c->instrument, c->exposure_key, wanted, ccd, recipe, token};
    enum err e = db_query_prepared(g->db, "ingest_begin",
                                   "SELECT b.already, b.exposure_id, b.version, b.n_rows, c.associated_at IS NOT NULL FROM"
                                   " ingest_begin($1, $2, $3::bigint, $4::smallint, $5::integer, decode($6, 'hex')) b LEFT JOIN ccd c"
                                   " ON c.exposure_id = b.exposure_id AND c.ccd = $4::smallint AND c.recipe_id = $5::integer AND c.version = b.version",
                                   6, values, &r, err);
    if (!e)
        *ret = (struct ingest_result){.already = db_bool(r, 0, 0), .exposure_id = db_i64(r, 0, 1), .recipe_id = g->recipe_id,
                                      .version = (int)db_i64(r, 0, 2), .rows = db_i64(r, 0, 3), .associated = db_bool(r, 0, 4)};
    db_result_free(r);
    return e;
}

static enum err finish(struct ingester *g, const struct catfile *c, const char *token, bool publish, const struct ingest_result *key, struct error *err)
{
    char *exposure = exposure_json(c, key), *ccd = ccd_json(c, key);
    enum err e = exposure && ccd ? ERR_OK : ERROR(err, ERR_NOMEM, "could not get memory for a row");
    const char *values[] = {exposure, ccd, token, publish ? "true" : "false"};
    if (!e) e = db_query_prepared(g->db, "ingest_finish", "SELECT ingest_finish($1::jsonb, $2::jsonb, decode($3, 'hex'), $4::boolean)", 4, values, NULL, err);
    free(exposure);
    free(ccd);
    return e;
}

/* A zero point that differs from the stored one replaces it: one row, whoever stored it. */
static enum err refresh_zeropoint(struct ingester *g, const struct catfile *c, struct ingest_result *ret, struct error *err)
{
    char id[24], ccd[16], recipe[16], version[16], zero[40], error[40];
    struct db_result *r = NULL;
    if (!isfinite(c->magzero)) return ERR_OK;
    snprintf(id, sizeof id, "%" PRId64, ret->exposure_id);
    snprintf(ccd, sizeof ccd, "%d", c->ccd);
    snprintf(recipe, sizeof recipe, "%d", ret->recipe_id);
    snprintf(version, sizeof version, "%d", ret->version);
    snprintf(zero, sizeof zero, "%.17g", c->magzero);
    snprintf(error, sizeof error, "%.17g", c->magzero_err);
    const char *values[] = {id, ccd, recipe, version, zero, isfinite(c->magzero_err) ? error : NULL, c->magzero_kind};
    enum err e = db_query_prepared(g->db, "ingest_zeropoint",
                                   "SELECT (magzero, magzero_err, magzero_kind) IS DISTINCT FROM ($5::float8, $6::float8, $7::text),"
                                   " ccd_zeropoint($1::bigint, $2::integer, $3::integer, $4::integer, $5::float8, $6::float8, $7::text)"
                                   " FROM ccd WHERE exposure_id = $1::bigint AND ccd = $2::integer AND recipe_id = $3::integer AND version = $4::integer",
                                   7, values, &r, err);
    if (!e) ret->zeropoint_changed = db_nrow(r) && db_bool(r, 0, 0);
    db_result_free(r);
    return e;
}

static enum err report_image(struct ingester *g, const struct ingest_claim *claim, struct error *err)
{
    char chunk[24], fence[24], image[24];
    if (!claim) return ERR_OK;
    snprintf(chunk, sizeof chunk, "%" PRId64, claim->chunk);
    snprintf(fence, sizeof fence, "%" PRId64, claim->fence);
    snprintf(image, sizeof image, "%" PRId64, claim->image);
    const char *values[] = {chunk, fence, image, claim->outcome, claim->cause ? claim->cause : "", claim->message ? claim->message : ""};
    return db_query_prepared(g->db, "job_image_done",
                             "SELECT job_image_done($1::bigint, $2::bigint, $3::bigint, $4, $5, $6)", 6, values, NULL, err);
}

/* ---- once, and again ------------------------------------------------------------------------------------------------ */

static enum err store_once(struct ingester *g, const struct catfile *c, const struct ingest_claim *claim, bool publish, const char *token,
                           struct ingest_result *ret, struct error *err)
{
    enum err e = prepare_ground(g, c, err);
    if (!e) e = db_begin(g->db, err);
    if (!e) e = begin(g, c, token, ret, err);
    if (!e && ret->already) e = refresh_zeropoint(g, c, ret, err);
    if (!e && !ret->already) {
        e = copy_rows(g, c, ret, err);
        if (!e) e = finish(g, c, token, publish, ret, err);
        if (!e) ret->rows = c->n;
    }
    if (!e) e = report_image(g, claim, err);
    if (!e) e = db_commit(g->db, err);
    if (e) db_rollback(g->db);
    return e;
}

/* Before another try: a pause that differs between writers, or a new connection. */
static enum err recover(struct ingester *g, int attempt, struct error *err)
{
    g->night = 0;
    g->recipe[0] = '\0';
    if (db_is_broken(g->db)) return g->settings ? db_revive_ready(g->settings, g->db, REVIVE_S, err) : ERR_DATABASE;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    nanosleep(&(struct timespec){0, (10 + t.tv_nsec % 20) * 1000000L * attempt}, NULL);
    return ERR_OK;
}

enum err ingest_ccd(struct ingester *g, const struct catfile *c, const struct ingest_claim *claim, bool publish, struct ingest_result *ret,
                    struct error *err)
{
    char token[DIGEST_HEX_SIZE];
    catfile_token(c, token);
    if (!*token) return ERROR(err, ERR_NOMEM, "could not get memory for a digest");
    for (int attempt = 1;; attempt++) {
        struct error local = ERROR_INIT;
        struct ingest_result result = {0};
        enum err e = store_once(g, c, claim, publish, token, &result, &local);
        if (!e) *ret = result;
        if (e == ERR_DATABASE && attempt < TRIES) {
            log_text(LOG_WARN, "%s; trying again", local.message);
            if (!recover(g, attempt, &local)) continue;
        }
        if (e && err) *err = local;
        return e;
    }
}

enum err ingest_outcome(struct ingester *g, const struct ingest_claim *claim, struct error *err)
{
    for (int attempt = 1;; attempt++) {
        struct error local = ERROR_INIT;
        enum err e = report_image(g, claim, &local);
        if (e == ERR_DATABASE && attempt < TRIES && !recover(g, attempt, &local)) continue;
        if (e && err) *err = local;
        return e;
    }
}

/* ---- forced photometry ---------------------------------------------------------------------------------------------- */

static enum err forced_begin(struct ingester *g, const struct catfile *c, const char *token, int64_t *ret_batch, struct ingest_result *ret, struct error *err)
{
    char ccd[16], recipe[16];
    struct db_result *r = NULL;
    snprintf(ccd, sizeof ccd, "%d", c->ccd);
    snprintf(recipe, sizeof recipe, "%d", g->recipe_id);
    enum err e = db_query_prepared(g->db, "forced_begin",
                                   "SELECT b.already, b.batch_id, b.version, b.n_rows, e.exposure_id FROM exposure e, LATERAL"
                                   " forced_begin(e.exposure_id, $3::integer, $4::integer, $5, decode($6, 'hex')) b WHERE e.instrument = $1 AND e.exposure_key = $2",
                                   6, (const char *[]){c->instrument, c->exposure_key, ccd, recipe, c->list, token}, &r, err);
    if (!e && !db_nrow(r)) {
        e = ERROR(err, ERR_HELD, "exposure '%s' is not in the catalogue yet", c->exposure_key);
        error_hint(err, "ingest the catalogue of the image first");
    }
    if (!e) {
        *ret = (struct ingest_result){.already = db_bool(r, 0, 0), .associated = true, .version = (int)db_i64(r, 0, 2), .exposure_id = db_i64(r, 0, 4), .recipe_id = g->recipe_id};
        ret->rows = ret->already ? db_i64(r, 0, 3) : c->n;
        *ret_batch = db_i64(r, 0, 1);
    }
    db_result_free(r);
    return e;
}

static enum err forced_rows(struct ingester *g, const struct catfile *c, int64_t batch, struct error *err)
{
    struct copy_buffer *b = &g->buffer;
    enum err e = db_copy_in(g->db, "COPY forced_phot (object_id,batch_id,mjd,ra,dec,x,y,flux,fluxerr,flux_limit,flux_aper,fluxerr_aper,chi2,mask,flags) FROM STDIN BINARY", err);
    if (e) return e;
    copy_start(b);
    for (int64_t i = 0; i < c->n && !e; i++) {
        const struct forcedrow *r = &c->forced[i];
        const float reals[] = {r->flux, r->fluxerr, r->limit, r->flux_aper, r->fluxerr_aper, r->chi2};
        copy_row(b, 15);
        copy_i64(b, r->id);
        copy_i64(b, batch);
        copy_f64(b, c->mjd_mid);
        copy_f64(b, r->ra);
        copy_f64(b, r->dec);
        copy_f64(b, r->x);
        copy_f64(b, r->y);
        for (int k = 0; k < 6; k++) copy_f32(b, reals[k]);
        copy_i32(b, r->mask);
        copy_i16(b, r->flags);
        if (b->size < PIECE) continue;
        e = db_copy_put(g->db, b->data, b->size, err);
        b->size = 0;
    }
    copy_finish(b);
    if (b->failed) {
        db_copy_abort(g->db, "no memory");
        return ERROR(err, ERR_NOMEM, "could not get memory for rows");
    }
    if (!e) e = db_copy_put(g->db, b->data, b->size, err);
    return e ? e : db_copy_end(g->db, NULL, err);
}

static enum err forced_finish(struct ingester *g, const struct catfile *c, int64_t batch, const char *token, bool publish, const struct ingest_result *key,
                              struct error *err)
{
    char *json = dump(json_pack("{sI sI si si si so so si so sI}", "batch_id", (json_int_t)batch, "exposure_id", (json_int_t)key->exposure_id, "ccd", c->ccd,
                                "recipe_id", key->recipe_id, "version", key->version, "list", words(c->list), "list_sha256", words(c->list_sha256), "night", c->night,
                                "file", words(c->cat_path), "n_rows", (json_int_t)c->n));
    if (!json) return ERROR(err, ERR_NOMEM, "could not get memory for a batch");
    enum err e = db_query_prepared(g->db, "forced_finish", "SELECT forced_finish($1::jsonb, decode($2, 'hex'), $3::boolean)", 3,
                                   (const char *[]){json, token, publish ? "t" : "f"}, NULL, err);
    free(json);
    return e;
}

static enum err store_forced(struct ingester *g, const struct catfile *c, const char *token, bool publish, struct ingest_result *ret, struct error *err)
{
    int64_t batch = 0;
    enum err e = know_recipe(g, c, err);
    if (!e) e = db_begin(g->db, err);
    if (!e) e = forced_begin(g, c, token, &batch, ret, err);
    if (!e && !ret->already) {
        e = forced_rows(g, c, batch, err);
        if (!e) e = forced_finish(g, c, batch, token, publish, ret, err);
    }
    if (!e) e = db_commit(g->db, err);
    if (e) db_rollback(g->db);
    return e;
}

enum err ingest_forced(struct ingester *g, const struct catfile *c, bool publish, struct ingest_result *ret, struct error *err)
{
    char token[DIGEST_HEX_SIZE];
    catfile_token(c, token);
    if (!*token) return ERROR(err, ERR_NOMEM, "could not get memory for a digest");
    for (int attempt = 1;; attempt++) {
        struct error local = ERROR_INIT;
        struct ingest_result result = {0};
        enum err e = store_forced(g, c, token, publish, &result, &local);
        if (!e) *ret = result;
        if (e == ERR_DATABASE && attempt < TRIES && !recover(g, attempt, &local)) continue;
        if (e && err) *err = local;
        return e;
    }
}
