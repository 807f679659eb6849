#include "catalog/associate.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/objectstats.h"
#include "catalog/skygrid.h"
#include "common/db_copy.h"
#include "common/hpx.h"
#include "common/units.h"

#define FLUXES       8
#define CELL_ORDER   6                 /* cells of 55 arcmin that provisional matchings lock */
#define CELLS_MAX    HPX_RANGES_MAX
#define MARGIN_DEG   (2 / ARCSEC_PER_DEG) /* beyond the radius: an id may be a few pixels from its place */
#define FLUSH_AT     ((size_t)8 << 20)
#define INSTRUMENTS_MAX 64

/* One CCD: its key and how it is to be treated. */
struct group {
    int64_t exposure_id;
    int ccd, recipe_id, version, night;
    double radius_arcsec;
    bool live;              /* shown: may found objects */
    bool keep;              /* detections that have an object keep it */
};

struct det {
    int64_t det_id, hpx29;
    double ra, dec, mjd;
    float flux[FLUXES];     /* auto, aper1, aper2, psf, each with its error */
    int16_t flags;
};

/* Beside each object of the grid. */
struct info {
    struct objectstats_object row;
    double mjd;             /* of the founder */
    bool met;               /* a detection of these groups belongs to it */
};

struct pending {            /* an association that replaces or removes a stored one */
    struct copy_buffer rows;
    int64_t n;
};

struct work {
    struct db *db;
    struct group *groups;
    int64_t ngroup;
    int start_night;        /* rebuild: unpublished objects founded from here on are made again; 0: provisional */
    struct skygrid grid;
    struct info *info;
    int64_t info_capacity;
    struct objectstats_object *old; /* rebuild: rows of the objects made again, by id */
    bool *old_kept;
    int64_t nold, old_capacity;
    struct hpx_range *loaded;
    int64_t nloaded, loaded_capacity;
    /* the CCD in hand */
    struct det *dets;
    int64_t ndet, det_capacity;
    double (*v)[3];
    bool *skip;
    int32_t *object;
    int64_t *stored;        /* object of each as the database has it; -1: none */
    struct copy_buffer fresh;
    struct pending changed;
    struct associate_result result;
};

static void release(struct work *w)
{
    skygrid_release(&w->grid);
    copy_release(&w->fresh);
    copy_release(&w->changed.rows);
    free(w->groups);
    free(w->info);
    free(w->old);
    free(w->old_kept);
    free(w->loaded);
    free(w->dets);
    free(w->v);
    free(w->skip);
    free(w->object);
    free(w->stored);
}

/* Room for one more of n. */
static enum err grow(void **array, int64_t n, int64_t *capacity, size_t size, struct error *err)
{
    if (n < *capacity) return ERR_OK;
    int64_t bigger = *capacity ? 2 * *capacity : 1024;
    void *p = realloc(*array, (size_t)bigger * size);
    if (!p) return ERROR(err, ERR_NOMEM, "could not get memory for %" PRId64 " rows", bigger);
    *array = p;
    *capacity = bigger;
    return ERR_OK;
}

/* ---- which CCDs --------------------------------------------------------------------------------------------------- */

/* associate.radius as the instrument's file has it. */
static double radius_setting(const struct settings *s, const struct instruments *set, const char *name)
{
    double radius = settings_double(s, SET_ASSOC_RADIUS);
    const struct instrument *ins = set ? instruments_find(set, name) : NULL;
    struct settings *own = ins ? settings_copy(s) : NULL;
    if (own && !instrument_apply_settings(ins, own, NULL)) radius = settings_double(own, SET_ASSOC_RADIUS);
    settings_free(own);
    return radius;
}

static double group_radius(double setting, double seeing_arcsec)
{
    if (setting > 0) return setting;
    return seeing_arcsec > 2 && seeing_arcsec < 60 ? seeing_arcsec / 2 : 1;
}

#define GROUP_COLUMNS                                                                                                                       \
    "SELECT c.exposure_id, c.ccd, c.recipe_id, c.version, c.night, e.instrument, c.seeing_arcsec,"                                         \
    " c.published_at IS NOT NULL AND c.retired_at IS NULL AS live, n.published_at IS NOT NULL AS keep"                                     \
    " FROM ccd c JOIN exposure e USING (exposure_id) JOIN recipe r USING (recipe_id) LEFT JOIN night n ON n.night = c.night"

static enum err read_groups(struct work *w, const char *sql, int n, const char *const *values, const struct settings *s,
                            const struct instruments *set, struct error *err)
{
    struct db_result *r = NULL;
    struct {
        char name[64];
        double radius;
    } known[INSTRUMENTS_MAX];
    int nknown = 0;
    enum err e = db_query(w->db, sql, n, values, &r, err);
    w->ngroup = e ? 0 : db_nrow(r);
    w->groups = calloc((size_t)w->ngroup + 1, sizeof *w->groups);
    if (!e && !w->groups) e = ERROR(err, ERR_NOMEM, "could not get memory for %" PRId64 " CCDs", w->ngroup);
    for (int64_t i = 0; i < w->ngroup && !e; i++) {
        const char *name = db_text(r, i, 5);
        int k = 0;
        while (k < nknown && strcmp(known[k].name, name)) k++;
        if (k == nknown) {
            k = nknown < INSTRUMENTS_MAX ? nknown++ : nknown - 1;
            snprintf(known[k].name, sizeof known[k].name, "%s", name);
            known[k].radius = radius_setting(s, set, name);
        }
        w->groups[i] = (struct group){.exposure_id = db_i64(r, i, 0), .ccd = (int)db_i64(r, i, 1), .recipe_id = (int)db_i64(r, i, 2),
                                      .version = (int)db_i64(r, i, 3), .night = (int)db_i64(r, i, 4),
                                      .radius_arcsec = group_radius(known[k].radius, db_f64(r, i, 6)), .live = db_bool(r, i, 7), .keep = db_bool(r, i, 8)};
    }
    db_result_free(r);
    return e;
}

static double largest_radius(const struct work *w)
{
    double radius = 1;
    for (int64_t i = 0; i < w->ngroup; i++) radius = fmax(radius, w->groups[i].radius_arcsec);
    return radius;
}

/* ---- detections of a CCD ------------------------------------------------------------------------------------------ */

static enum err room_for_det(struct work *w, struct error *err)
{
    if (w->ndet < w->det_capacity) return ERR_OK;
    int64_t capacity[5];
    for (int i = 0; i < 5; i++) capacity[i] = w->det_capacity;
    enum err e = grow((void **)&w->dets, w->ndet, &capacity[0], sizeof *w->dets, err);
    if (!e) e = grow((void **)&w->v, w->ndet, &capacity[1], sizeof *w->v, err);
    if (!e) e = grow((void **)&w->skip, w->ndet, &capacity[2], sizeof *w->skip, err);
    if (!e) e = grow((void **)&w->object, w->ndet, &capacity[3], sizeof *w->object, err);
    if (!e) e = grow((void **)&w->stored, w->ndet, &capacity[4], sizeof *w->stored, err);
    if (!e) w->det_capacity = capacity[0];
    return e;
}

static enum err take_det(void *user, const char *data, int size, struct error *err)
{
    struct work *w = user;
    struct copy_reader r;
    if (!copy_read_row(&r, data, size)) return ERR_OK;
    enum err e = room_for_det(w, err);
    if (e) return e;
    struct det *d = &w->dets[w->ndet];
    d->det_id = copy_read_int(&r);
    d->hpx29 = copy_read_int(&r);
    d->ra = copy_read_float(&r);
    d->dec = copy_read_float(&r);
    d->mjd = copy_read_float(&r);
    for (int i = 0; i < FLUXES; i++) d->flux[i] = (float)copy_read_float(&r);
    d->flags = (int16_t)copy_read_int(&r);
    hpx_vector(d->ra, d->dec, w->v[w->ndet]);
    w->skip[w->ndet] = false;
    w->object[w->ndet] = -1;
    w->stored[w->ndet++] = -1;
    return r.bad ? ERROR(err, ERR_INTERNAL, "a row of detection is not what was asked for") : ERR_OK;
}

struct stored_reader {
    struct work *w;
    int64_t at;
};

static enum err take_stored(void *user, const char *data, int size, struct error *err)
{
    struct stored_reader *s = user;
    struct copy_reader r;
    if (!copy_read_row(&r, data, size)) return ERR_OK;
    int64_t det_id = copy_read_int(&r), object_id = copy_read_int(&r);
    while (s->at < s->w->ndet && s->w->dets[s->at].det_id < det_id) s->at++;
    if (s->at < s->w->ndet && s->w->dets[s->at].det_id == det_id) s->w->stored[s->at] = object_id;
    return r.bad ? ERROR(err, ERR_INTERNAL, "a row of association is not what was asked for") : ERR_OK;
}

static enum err read_dets(struct work *w, const struct group *g, struct error *err)
{
    char sql[800];
    int64_t first = g->exposure_id << 31 | (int64_t)g->ccd << 22, last = first | ((1 << 22) - 1);
    struct stored_reader s = {.w = w};
    w->ndet = 0;
    snprintf(sql, sizeof sql,
             "COPY (SELECT det_id, hpx29, ra, dec, mjd, flux_auto, fluxerr_auto, flux_aper1, fluxerr_aper1, flux_aper2, fluxerr_aper2, flux_psf, fluxerr_psf, flags"
             " FROM detection WHERE night = %d AND det_id BETWEEN %" PRId64 " AND %" PRId64 " AND recipe_id = %d AND version = %d ORDER BY det_id)"
             " TO STDOUT BINARY", g->night, first, last, g->recipe_id, g->version);
    enum err e = db_copy_out(w->db, sql, take_det, w, err);
    snprintf(sql, sizeof sql,
             "COPY (SELECT det_id, object_id FROM association WHERE det_id BETWEEN %" PRId64 " AND %" PRId64 " AND recipe_id = %d AND version = %d"
             " ORDER BY det_id) TO STDOUT BINARY", first, last, g->recipe_id, g->version);
    return e ? e : db_copy_out(w->db, sql, take_stored, &s, err);
}

/* ---- objects that are there --------------------------------------------------------------------------------------- */

static enum err add_object(struct work *w, const struct objectstats_object *o, double mjd, int32_t *ret, struct error *err)
{
    enum err e = grow((void **)&w->info, w->grid.n, &w->info_capacity, sizeof *w->info, err);
    if (e) return e;
    w->info[w->grid.n] = (struct info){.row = *o, .mjd = mjd};
    return skygrid_add(&w->grid, o->id, o->ref_ra, o->ref_dec, 0, ret, err);
}

static struct objectstats_object read_object_row(struct copy_reader *r)
{
    struct objectstats_object o = {.id = copy_read_int(r)};
    o.ref_ra = copy_read_float(r);
    o.ref_dec = copy_read_float(r);
    o.first_night = (int)copy_read_int(r);
    o.founder_det_id = copy_read_int(r);
    o.founder_recipe_id = (int)copy_read_int(r);
    o.founder_version = (int)copy_read_int(r);
    return o;
}

static enum err take_object(void *user, const char *data, int size, struct error *err)
{
    struct work *w = user;
    struct copy_reader r;
    if (!copy_read_row(&r, data, size)) return ERR_OK;
    struct objectstats_object o = read_object_row(&r);
    if (r.bad) return ERROR(err, ERR_INTERNAL, "a row of object is not what was asked for");
    return skygrid_find(&w->grid, o.id) >= 0 ? ERR_OK : add_object(w, &o, NAN, NULL, err);
}

static enum err take_old(void *user, const char *data, int size, struct error *err)
{
    struct work *w = user;
    struct copy_reader r;
    if (!copy_read_row(&r, data, size)) return ERR_OK;
    enum err e = grow((void **)&w->old, w->nold, &w->old_capacity, sizeof *w->old, err);
    if (e) return e;
    w->old[w->nold++] = read_object_row(&r);
    return r.bad ? ERROR(err, ERR_INTERNAL, "a row of object is not what was asked for") : ERR_OK;
}

#define OBJECT_COLUMNS "o.object_id, o.ref_ra, o.ref_dec, o.first_night, o.founder_det_id, o.founder_recipe_id, o.founder_version"

/* Rows of the objects that this rebuild makes again. */
static enum err read_old(struct work *w, struct error *err)
{
    char sql[400];
    snprintf(sql, sizeof sql, "COPY (SELECT " OBJECT_COLUMNS " FROM object o WHERE first_night >= %d AND published_at IS NULL ORDER BY object_id) TO STDOUT BINARY",
             w->start_night);
    enum err e = db_copy_out(w->db, sql, take_old, w, err);
    w->old_kept = calloc((size_t)w->nold + 1, sizeof *w->old_kept);
    return e ? e : w->old_kept ? ERR_OK : ERROR(err, ERR_NOMEM, "could not get memory for %" PRId64 " objects", w->nold);
}

/* The smallest cone, nearly, around the detections in hand. */
static void cone_of(const struct work *w, double *ra, double *dec, double *radius_deg)
{
    double s[3] = {0}, worst = 0;
    for (int64_t i = 0; i < w->ndet; i++)
        for (int k = 0; k < 3; k++) s[k] += w->v[i][k];
    double norm = sqrt(s[0] * s[0] + s[1] * s[1] + s[2] * s[2]);
    *ra = atan2(s[1], s[0]) * DEG_PER_RAD;
    *dec = atan2(s[2], hypot(s[0], s[1])) * DEG_PER_RAD;
    *radius_deg = 180;
    if (norm < 1e-6 * (double)w->ndet) return;
    for (int k = 0; k < 3; k++) s[k] /= norm;
    for (int64_t i = 0; i < w->ndet; i++) {
        double d2 = 0;
        for (int k = 0; k < 3; k++) d2 += (w->v[i][k] - s[k]) * (w->v[i][k] - s[k]);
        worst = fmax(worst, d2);
    }
    *radius_deg = 2 * asin(fmin(1, sqrt(worst) / 2)) * DEG_PER_RAD;
}

static int64_t first_loaded_after(const struct work *w, int64_t pix)
{
    int64_t lo = 0, hi = w->nloaded;
    while (lo < hi) {
        int64_t mid = (lo + hi) / 2;
        if (w->loaded[mid].last < pix) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

static int by_first(const void *a, const void *b)
{
    const struct hpx_range *p = a, *q = b;
    return (p->first > q->first) - (p->first < q->first);
}

/* What of the ranges was not read yet; then it counts as read. Returned: count in ret, -1: no memory. */
static int64_t not_loaded(struct work *w, const struct hpx_range *r, int n, struct hpx_range *ret, int64_t room)
{
    int64_t k = 0;
    for (int i = 0; i < n; i++) {
        int64_t from = r[i].first;
        for (int64_t j = first_loaded_after(w, from); from <= r[i].last && k < room; j++) {
            int64_t gap_end = j < w->nloaded && w->loaded[j].first <= r[i].last ? w->loaded[j].first - 1 : r[i].last;
            if (gap_end >= from) ret[k++] = (struct hpx_range){from, gap_end};
            if (j >= w->nloaded || w->loaded[j].first > r[i].last) break;
            from = w->loaded[j].last + 1;
        }
    }
    for (int64_t i = 0; i < k; i++) {
        if (grow((void **)&w->loaded, w->nloaded, &w->loaded_capacity, sizeof *w->loaded, NULL)) return -1;
        w->loaded[w->nloaded++] = ret[i];
    }
    if (k) qsort(w->loaded, (size_t)w->nloaded, sizeof *w->loaded, by_first);
    return k;
}

static enum err load_around(struct work *w, double radius_arcsec, struct error *err)
{
    struct hpx_range ranges[64], missing[1024];
    double ra, dec, radius;
    char *sql = NULL;
    size_t size;
    cone_of(w, &ra, &dec, &radius);
    int n = hpx_cone(ra, dec, fmin(180, radius + radius_arcsec / ARCSEC_PER_DEG + MARGIN_DEG), 64, ranges);
    int64_t k = not_loaded(w, ranges, n, missing, 1024);
    if (k <= 0) return k ? ERROR(err, ERR_NOMEM, "could not get memory for ranges") : ERR_OK;
    FILE *f = open_memstream(&sql, &size);
    if (!f) return ERROR(err, ERR_NOMEM, "could not get memory for a statement");
    fprintf(f, "COPY (SELECT " OBJECT_COLUMNS " FROM (VALUES ");
    for (int64_t i = 0; i < k; i++) fprintf(f, "%s(%" PRId64 "::bigint,%" PRId64 "::bigint)", i ? "," : "", missing[i].first, missing[i].last);
    fprintf(f, ") r (first, last) JOIN object o ON o.object_id BETWEEN r.first AND r.last");
    if (w->start_night) fprintf(f, " WHERE o.first_night < %d OR o.published_at IS NOT NULL", w->start_night);
    fprintf(f, " ORDER BY o.object_id) TO STDOUT BINARY");
    enum err e = fclose(f) ? ERROR(err, ERR_NOMEM, "could not get memory for a statement") : db_copy_out(w->db, sql, take_object, w, err);
    free(sql);
    return e;
}

/* ---- founding ----------------------------------------------------------------------------------------------------- */

static int64_t find_old(const struct work *w, int64_t id)
{
    int64_t lo = 0, hi = w->nold;
    while (lo < hi) {
        int64_t mid = (lo + hi) / 2;
        if (w->old[mid].id < id) lo = mid + 1;
        else hi = mid;
    }
    return lo < w->nold && w->old[lo].id == id ? lo : -1;
}

static bool same_founder(const struct objectstats_object *a, const struct objectstats_object *b)
{
    return a->founder_det_id == b->founder_det_id && a->founder_recipe_id == b->founder_recipe_id && a->founder_version == b->founder_version &&
           a->first_night == b->first_night && a->ref_ra == b->ref_ra && a->ref_dec == b->ref_dec;
}

/* A detection that nothing claimed founds an object; one made again with the same founder keeps its row. */
static enum err found(struct work *w, const struct group *g, int64_t i, struct error *err)
{
    const struct det *d = &w->dets[i];
    struct objectstats_object o = {.id = d->hpx29, .ref_ra = d->ra, .ref_dec = d->dec, .fresh = true, .first_night = g->night,
                                   .founder_det_id = d->det_id, .founder_recipe_id = g->recipe_id, .founder_version = g->version};
    while (skygrid_find(&w->grid, o.id) >= 0) o.id++;
    int64_t old = find_old(w, o.id);
    if (old >= 0 && same_founder(&w->old[old], &o)) {
        w->old_kept[old] = true;
        o.fresh = false;
    }
    enum err e = add_object(w, &o, d->mjd, &w->object[i], err);
    w->result.founded += !e;
    return e;
}

/* ---- one CCD ------------------------------------------------------------------------------------------------------ */

static void encode(const struct work *w, struct copy_buffer *b, const struct group *g, int64_t i, int64_t object_id)
{
    const struct det *d = &w->dets[i];
    double dx = 0, dy = 0;
    if (object_id >= 0) {
        const struct skygrid_object *o = &w->grid.objects[w->object[i]];
        skygrid_offset(o->ra, o->dec, o->v, w->v[i], &dx, &dy);
    }
    copy_row(b, 17);
    if (object_id >= 0) copy_i64(b, object_id);
    else copy_null(b);
    copy_i64(b, d->det_id);
    copy_f64(b, d->mjd);
    copy_i32(b, g->recipe_id);
    copy_i32(b, g->night);
    copy_f32(b, (float)dx);
    copy_f32(b, (float)dy);
    for (int k = 0; k < FLUXES; k++) copy_f32(b, d->flux[k]);
    copy_i16(b, d->flags);
    copy_i16(b, (int16_t)g->version);
}

/* The stored association stands when it names the same object and that object's row stands. */
static void note_changes(struct work *w, const struct group *g)
{
    for (int64_t i = 0; i < w->ndet; i++) {
        int32_t o = w->object[i];
        int64_t now = o < 0 ? -1 : w->grid.objects[o].id;
        if (o >= 0) w->info[o].met = true;
        if (w->skip[i] || (w->stored[i] == now && (o < 0 || !w->info[o].row.fresh))) continue;
        w->result.changed++;
        if (w->stored[i] < 0) {
            encode(w, &w->fresh, g, i, now);
        } else {
            encode(w, &w->changed.rows, g, i, now);
            w->changed.n++;
        }
    }
}

#define ASSOCIATION_COLUMNS                                                                                                                 \
    "object_id, det_id, mjd, recipe_id, night, dx, dy, flux_auto, fluxerr_auto, flux_aper1, fluxerr_aper1, flux_aper2, fluxerr_aper2, flux_psf, fluxerr_psf, flags, version"

static enum err send(struct db *db, const char *sql, struct copy_buffer *b, struct error *err)
{
    copy_finish(b);
    if (b->failed) return ERROR(err, ERR_NOMEM, "could not get memory for rows");
    enum err e = db_copy_in(db, sql, err);
    if (!e) e = db_copy_put(db, b->data, b->size, err);
    if (!e) e = db_copy_end(db, NULL, err);
    copy_start(b);
    return e;
}

static enum err flush_fresh(struct work *w, size_t limit, struct error *err)
{
    return w->fresh.size > limit || w->fresh.failed ? send(w->db, "COPY association (" ASSOCIATION_COLUMNS ") FROM STDIN BINARY", &w->fresh, err) : ERR_OK;
}

static enum err match_group(struct work *w, const struct group *g, struct error *err)
{
    enum err e = read_dets(w, g, err);
    if (e || !w->ndet) return e;
    e = load_around(w, g->radius_arcsec, err);
    for (int64_t i = 0; i < w->ndet && g->keep && !e; i++) {
        w->object[i] = w->stored[i] < 0 ? -1 : skygrid_find(&w->grid, w->stored[i]);
        w->skip[i] = w->object[i] >= 0;
    }
    if (!e) e = skygrid_match(&w->grid, w->ndet, (const double(*)[3])w->v, w->skip, g->radius_arcsec, w->object, err);
    for (int64_t i = 0; i < w->ndet && !e; i++) {
        if (w->object[i] >= 0) w->result.joined++;
        else if (g->live) e = found(w, g, i, err);
    }
    if (e) return e;
    note_changes(w, g);
    w->result.ccds++;
    w->result.detections += w->ndet;
    return flush_fresh(w, FLUSH_AT, err);
}

static enum err start_work(struct work *w, struct error *err)
{
    copy_start(&w->fresh);
    copy_start(&w->changed.rows);
    return skygrid_init(&w->grid, largest_radius(w), err);
}

/* ---- writing ------------------------------------------------------------------------------------------------------ */

/* Stored associations that changed go and come back; those without an object only go. */
static enum err write_changed(struct work *w, struct error *err)
{
    if (!w->changed.n) return ERR_OK;
    enum err e = db_exec(w->db, "CREATE TEMPORARY TABLE changed (LIKE association) ON COMMIT DROP; ALTER TABLE changed ALTER object_id DROP NOT NULL", err);
    if (!e) e = send(w->db, "COPY changed (" ASSOCIATION_COLUMNS ") FROM STDIN BINARY", &w->changed.rows, err);
    return e ? e
             : db_exec(w->db,
                       "ANALYZE changed;"
                       "DELETE FROM association a USING changed c WHERE (a.det_id, a.recipe_id, a.version) = (c.det_id, c.recipe_id, c.version);"
                       "INSERT INTO association (" ASSOCIATION_COLUMNS ") SELECT " ASSOCIATION_COLUMNS " FROM changed WHERE object_id IS NOT NULL", err);
}

/* Objects that were not made again go. */
static enum err remove_old(struct work *w, struct error *err)
{
    struct copy_buffer b = {0};
    int64_t gone = 0;
    copy_start(&b);
    for (int64_t i = 0; i < w->nold; i++) {
        if (w->old_kept[i]) continue;
        copy_row(&b, 1);
        copy_i64(&b, w->old[i].id);
        gone++;
    }
    enum err e = ERR_OK;
    if (gone) {
        e = db_exec(w->db, "CREATE TEMPORARY TABLE gone (object_id bigint) ON COMMIT DROP", err);
        if (!e) e = send(w->db, "COPY gone FROM STDIN BINARY", &b, err);
        if (!e) e = db_exec(w->db, "ANALYZE gone; DELETE FROM object o USING gone g WHERE o.object_id = g.object_id", err);
    }
    copy_release(&b);
    w->result.objects_changed += gone;
    return e;
}

static int by_id(const void *a, const void *b)
{
    const struct objectstats_object *p = a, *q = b;
    return (p->id > q->id) - (p->id < q->id);
}

static enum err refresh_objects(struct work *w, struct error *err)
{
    int64_t n = 0, written = 0;
    struct objectstats_object *met = malloc(((size_t)w->grid.n + 1) * sizeof *met);
    if (!met) return ERROR(err, ERR_NOMEM, "could not get memory for %d objects", (int)w->grid.n);
    for (int32_t i = 0; i < w->grid.n; i++)
        if (w->info[i].met) met[n++] = w->info[i].row;
    qsort(met, (size_t)n, sizeof *met, by_id);
    enum err e = w->result.changed > 10000 ? db_exec(w->db, "ANALYZE association", err) : ERR_OK;
    if (!e) e = objectstats_refresh(w->db, met, n, &written, err);
    w->result.objects_changed += written;
    free(met);
    return e;
}

/* Provisional: new objects appear with what their founder says. */
static enum err insert_founded(struct work *w, struct error *err)
{
    struct copy_buffer b = {0};
    int64_t n = 0;
    copy_start(&b);
    for (int32_t i = 0; i < w->grid.n; i++) {
        const struct objectstats_object *o = &w->info[i].row;
        if (!o->fresh) continue;
        copy_row(&b, 13);
        copy_i64(&b, o->id);
        copy_i64(&b, hpx_of(o->ref_ra, o->ref_dec));
        for (int k = 0; k < 2; k++) {
            copy_f64(&b, o->ref_ra);
            copy_f64(&b, o->ref_dec);
        }
        copy_i32(&b, 1);
        copy_f64(&b, w->info[i].mjd);
        copy_f64(&b, w->info[i].mjd);
        copy_i32(&b, o->first_night);
        copy_i64(&b, o->founder_det_id);
        copy_i32(&b, o->founder_recipe_id);
        copy_i16(&b, (int16_t)o->founder_version);
        n++;
    }
    enum err e = n ? send(w->db, "COPY object (object_id, hpx29, ra, dec, ref_ra, ref_dec, n_det, first_mjd, last_mjd, first_night, founder_det_id,"
                                 " founder_recipe_id, founder_version) FROM STDIN BINARY", &b, err)
                   : ERR_OK;
    copy_release(&b);
    w->result.objects_changed += n;
    return e;
}

/* ---- a rebuild ---------------------------------------------------------------------------------------------------- */

static enum err find_start(struct work *w, int night, struct error *err)
{
    struct db_result *r = NULL;
    char text[16];
    snprintf(text, sizeof text, "%d", night);
    enum err e = db_query(w->db, "SELECT association_start($1)", 1, (const char *[]){text}, &r, err);
    if (!e) w->start_night = w->result.first_night = (int)db_i64(r, 0, 0);
    db_result_free(r);
    return e;
}

/* CCDs that are not shown come last: they join, and what they find nothing for stays alone. */
static enum err rebuild(struct work *w, const struct settings *s, const struct instruments *set, int night, struct error *err)
{
    char start[16];
    enum err e = db_exec(w->db, "SET LOCAL max_parallel_workers_per_gather = 0; SELECT pg_advisory_xact_lock(hashtext('nightshift.associate'))", err);
    if (!e) e = find_start(w, night, err);
    snprintf(start, sizeof start, "%d", w->start_night);
    /* Marked before the list is read: a CCD that comes in between is in the list without its mark, and is looked at again. */
    if (!e) e = db_query(w->db, "UPDATE ccd SET associated_at = now() WHERE night >= $1 AND associated_at IS NULL", 1, (const char *[]){start}, NULL, err);
    if (!e)
        e = read_groups(w, GROUP_COLUMNS " WHERE c.night >= $1 ORDER BY live DESC, c.night, e.mjd_mid, c.exposure_id, c.ccd, r.recipe, c.version", 1,
                        (const char *[]){start}, s, set, err);
    if (!e) e = start_work(w, err);
    if (!e) e = read_old(w, err);
    for (int64_t i = 0; i < w->ngroup && !e; i++) e = match_group(w, &w->groups[i], err);
    if (!e) e = flush_fresh(w, 0, err);
    if (!e) e = write_changed(w, err);
    if (!e) e = remove_old(w, err);
    if (!e) e = refresh_objects(w, err);
    if (!e)
        e = db_execf(w->db, err,
                     "INSERT INTO night (night, associated_at) SELECT DISTINCT night, now() FROM ccd WHERE night >= %d"
                     " ON CONFLICT (night) DO UPDATE SET associated_at = excluded.associated_at WHERE night.associated_at IS NULL",
                     w->start_night);
    return e;
}

enum err associate_night(struct db *db, const struct settings *s, const struct instruments *instruments, int night, struct associate_result *ret,
                         struct error *err)
{
    struct work w = {.db = db};
    enum err e = db_begin(db, err);
    if (!e) e = rebuild(&w, s, instruments, night, err);
    if (!e) e = db_commit(db, err);
    if (e) db_rollback(db);
    if (!e) *ret = w.result;
    release(&w);
    return e;
}

/* ---- one CCD, provisionally --------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    int64_t p = *(const int64_t *)a, q = *(const int64_t *)b;
    return (p > q) - (p < q);
}

/* The cells of the sky this CCD touches, in rising order; a CCD that covers very many locks all the sky instead. */
static enum err lock_sky(struct work *w, double radius_arcsec, struct error *err)
{
    struct hpx_range r[CELLS_MAX];
    int64_t cells[2 * CELLS_MAX];
    double ra, dec, radius;
    int64_t n = 0;
    cone_of(w, &ra, &dec, &radius);
    int k = hpx_cone(ra, dec, fmin(180, radius + radius_arcsec / ARCSEC_PER_DEG + MARGIN_DEG), CELLS_MAX, r), shift = 2 * (HPX_ORDER - CELL_ORDER);
    for (int i = 0; i < k; i++)
        for (int64_t c = r[i].first >> shift; c <= r[i].last >> shift; c++) {
            if (n && cells[n - 1] == c) continue;
            if (n == CELLS_MAX) return db_exec(w->db, "SELECT pg_advisory_xact_lock(hashtext('nightshift.associate'))", err);
            cells[n++] = c;
        }
    qsort(cells, (size_t)n, sizeof *cells, by_value);
    char *sql = NULL;
    size_t size;
    FILE *f = open_memstream(&sql, &size);
    if (!f) return ERROR(err, ERR_NOMEM, "could not get memory for a statement");
    for (int64_t i = 0; i < n; i++) fprintf(f, "SELECT pg_advisory_xact_lock(hashtext('nightshift.sky'), %d);", (int)cells[i]);
    enum err e = fclose(f) ? ERROR(err, ERR_NOMEM, "could not get memory for a statement") : db_exec(w->db, sql, err);
    free(sql);
    return e;
}

static enum err provisional(struct work *w, const struct settings *s, const struct instruments *set, const char *const key[4], struct error *err)
{
    enum err e = db_exec(w->db, "SELECT pg_advisory_xact_lock_shared(hashtext('nightshift.associate'))", err);
    if (!e)
        e = read_groups(w, GROUP_COLUMNS " WHERE c.exposure_id = $1 AND c.ccd = $2 AND c.recipe_id = $3 AND c.version = $4", 4, key, s, set, err);
    if (e || !w->ngroup) return e;
    struct group *g = &w->groups[0];
    g->keep = true;
    e = start_work(w, err);
    if (!e) e = read_dets(w, g, err); /* the first look is for the place; what is there is read again under the lock */
    if (!e && w->ndet) e = lock_sky(w, g->radius_arcsec, err);
    if (!e) e = match_group(w, g, err);
    if (!e) e = insert_founded(w, err);
    if (!e) e = flush_fresh(w, 0, err);
    if (!e) e = write_changed(w, err);
    if (!e)
        e = db_query(w->db, "UPDATE ccd SET associated_at = now() WHERE exposure_id = $1 AND ccd = $2 AND recipe_id = $3 AND version = $4 AND associated_at IS NULL",
                     4, key, NULL, err);
    return e ? e
             : db_execf(w->db, err, "INSERT INTO night (night) VALUES (%d) ON CONFLICT (night) DO UPDATE SET associated_at = NULL WHERE night.associated_at IS NOT NULL",
                        g->night);
}

enum err associate_ccd(struct db *db, const struct settings *s, const struct instruments *instruments, int64_t exposure_id, int ccd, int recipe_id,
                       int version, struct associate_result *ret, struct error *err)
{
    struct work w = {.db = db};
    char text[4][24];
    const int64_t number[4] = {exposure_id, ccd, recipe_id, version};
    const char *key[4];
    for (int i = 0; i < 4; i++) {
        snprintf(text[i], sizeof text[i], "%" PRId64, number[i]);
        key[i] = text[i];
    }
    enum err e = db_begin(db, err);
    if (!e) e = provisional(&w, s, instruments, key, err);
    if (!e) e = db_commit(db, err);
    if (e) db_rollback(db);
    if (!e) *ret = w.result;
    release(&w);
    return e;
}
