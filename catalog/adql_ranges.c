/* The temporary tables of joins on the sky: circles read, their ranges of hpx29 copied back. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/adql.h"
#include "common/db_copy.h"
#include "common/hpx.h"

#define CIRCLES_MAX 2000000
#define COPY_BYTES  (1 << 18)

struct circles {
    double (*v)[3]; /* lon, lat, radius */
    int64_t n, capacity, max;
};

static enum err one_circle(void *user, const char *data, int size, struct error *err)
{
    struct circles *all = user;
    struct copy_reader r;
    if (!copy_read_row(&r, data, size)) return ERR_OK;
    double v[3];
    for (int i = 0; i < 3; i++) v[i] = copy_read_float(&r);
    if (r.bad) return ERROR(err, ERR_INTERNAL, "a circle of a join is not three numbers");
    if (isnan(v[0]) || !(fabs(v[1]) <= 90) || !(v[2] >= 0)) return ERR_OK; /* holds nothing */
    if (all->n == all->max) {
        ERROR(err, ERR_USAGE, "the smaller side of a join on the sky has more than %lld positions", (long long)all->max);
        error_hint(err, "select fewer of them first, for instance those of one region, in a subquery");
        return ERR_USAGE;
    }
    if (all->n == all->capacity) {
        int64_t capacity = all->capacity ? 2 * all->capacity : 4096;
        double(*wider)[3] = realloc(all->v, (size_t)capacity * sizeof *wider);
        if (!wider) return ERROR(err, ERR_NOMEM, "could not get memory for %lld positions", (long long)capacity);
        all->v = wider;
        all->capacity = capacity;
    }
    for (int i = 0; i < 3; i++) all->v[all->n][i] = v[i];
    all->n++;
    return ERR_OK;
}

static enum err send(struct db *db, struct copy_buffer *b, bool last, struct error *err)
{
    if (last) copy_finish(b);
    if (b->failed) return ERROR(err, ERR_NOMEM, "could not get memory for ranges");
    if (!last && b->size < COPY_BYTES) return ERR_OK;
    enum err e = db_copy_put(db, b->data, b->size, err);
    b->size = 0; /* the header was sent with the first */
    return e;
}

static enum err copy_ranges(struct db *db, const struct circles *all, struct copy_buffer *b, struct error *err)
{
    enum err e = ERR_OK;
    copy_start(b);
    for (int64_t i = 0; i < all->n && !e; i++) {
        struct hpx_range r[HPX_QUICK_RANGES];
        /* a little more than the radius, for the rounding of the distance */
        int n = hpx_cone_quick(all->v[i][0], all->v[i][1], fmin(180, all->v[i][2] * (1 + 1e-13) + 1e-13), r);
        for (int k = 0; k < n; k++) {
            copy_row(b, 5);
            for (int j = 0; j < 3; j++) copy_f64(b, all->v[i][j]);
            copy_i64(b, r[k].first);
            copy_i64(b, r[k].last);
        }
        e = send(db, b, false, err);
    }
    return e ? e : send(db, b, true, err);
}

static enum err make_table(struct db *db, const struct adql_prelude *p, const struct circles *all, struct error *err)
{
    char sql[256];
    struct copy_buffer b = {0};
    enum err e = db_execf(db, err, "CREATE TEMPORARY TABLE %s (lon float8, lat float8, radius float8, first int8, last int8) ON COMMIT DROP", p->table);
    snprintf(sql, sizeof sql, "COPY %s FROM STDIN BINARY", p->table);
    if (!e) e = db_copy_in(db, sql, err);
    if (e) return e;
    e = copy_ranges(db, all, &b, err);
    if (e) db_copy_abort(db, "ranges");
    else e = db_copy_end(db, NULL, err);
    copy_release(&b);
    return e ? e : db_execf(db, err, "ANALYZE %s", p->table);
}

enum err adql_prepare(struct db *db, const struct adql_result *r, int64_t max_circles, struct error *err)
{
    /* The planner cannot guess how few rows a range holds; compiling a plan for millions would take longer than the query. */
    enum err e = r->nprelude ? db_exec(db, "SET LOCAL jit = off", err) : ERR_OK;
    for (int i = 0; i < r->nprelude && !e; i++) {
        struct circles all = {.max = max_circles > 0 ? max_circles : CIRCLES_MAX};
        size_t room = strlen(r->preludes[i].read) + 64;
        char *sql = malloc(room);
        if (!sql) return ERROR(err, ERR_NOMEM, "could not get memory for a query");
        snprintf(sql, room, "COPY (%s) TO STDOUT BINARY", r->preludes[i].read);
        e = db_copy_out(db, sql, one_circle, &all, err);
        free(sql);
        if (!e) e = make_table(db, &r->preludes[i], &all, err);
        free(all.v);
    }
    return e;
}
