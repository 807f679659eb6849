#include "catalog/cone.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/answer.h"
#include "catalog/service.h"
#include "common/hpx.h"
#include "common/log.h"

#define RANGES      16
#define VERBS       3
#define TABLES_MAX  32
#define CELL_ORDER  6    /* of detection_cover */
#define CELLS_MAX   16   /* a wider cone asks every night */
#define NIGHTS_MAX  120
#define CACHE       1024 /* cells whose nights are kept */

static const double COVER_S = 0.25;

/* One table at one verbosity. */
struct variant {
    struct rowset_column columns[ANSWER_COLUMNS];
    int ncol;
    char name[2][64];    /* of the prepared statements: all nights, some nights */
    char *sql[2];
};

struct cone_table {
    const char *name, *description;
    bool by_night;
    struct variant verb[VERBS];
};

struct cell {
    int id, n;           /* n: nights; -1: too many */
    double at;           /* when it was asked */
    int nights[NIGHTS_MAX];
};

struct cones {
    struct cone_table tables[TABLES_MAX];
    int n;
    pthread_mutex_t lock;
    struct cell *cells;
};

/* ---- tables and their queries --------------------------------------------------------------------------------------- */

static void add_column(struct variant *v, const struct rowset_column *c)
{
    if (v->ncol < ANSWER_COLUMNS) v->columns[v->ncol++] = *c;
}

static bool is_main(const struct schema_table *t, int i)
{
    return i == t->ra || i == t->dec || !strcmp(t->columns[i].ucd1 ? t->columns[i].ucd1 : "", "ID_MAIN");
}

static void schema_columns(const struct schema_table *t, int verb, struct variant *v)
{
    for (int i = 0; i < t->ncol; i++) {
        const struct schema_column *c = &t->columns[i];
        if (verb < 3 && !is_main(t, i) && (verb < 2 || !c->principal)) continue;
        add_column(v, &(struct rowset_column){c->name, (enum rowset_type)c->type, c->unit, c->ucd, c->ucd1 && *c->ucd1 ? c->ucd1 : NULL, c->description,
                                              c->utype, c->xtype});
    }
    add_column(v, &column_distance);
}

static void fixed_columns(const struct answer_table *t, int verb, struct variant *v)
{
    int n = verb == 1 ? t->ncol_verb1 : verb == 2 ? t->ncol_verb2 : t->ncol - 1;
    for (int i = 0; i < n; i++) add_column(v, &t->columns[i]);
    add_column(v, &t->columns[t->ncol - 1]);
}

static char *column_list(const struct variant *v)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    if (!f) return NULL;
    for (int i = 0; i < v->ncol; i++) fprintf(f, "%sq.\"%s\"", i ? ", " : "", v->columns[i].name);
    if (!fclose(f)) return text;
    free(text);
    return NULL;
}

static enum err make_queries(struct variant *v, const char *table, int verb, const char *query, const struct schema_table *t, bool by_night, struct error *err)
{
    char order[100] = "", *columns = column_list(v);
    if (!columns) return ERROR(err, ERR_NOMEM, "could not get memory for a query");
    for (int i = 0; i < t->norder; i++) {
        size_t used = strlen(order);
        snprintf(order + used, sizeof order - used, ", q.%s", t->columns[t->order[i]].name);
    }
    for (int k = 0; k < 1 + by_night; k++) {
        const char *pairs[] = {"columns", columns, "nights", k ? " AND x.night = ANY($7::integer[])" : "", "relation", t->relation, "ra", t->columns[t->ra].name,
                               "dec", t->columns[t->dec].name, "hpx", t->hpx >= 0 ? t->columns[t->hpx].name : "", "order", order, NULL};
        snprintf(v->name[k], sizeof v->name[k], "cone_%s_%d%s", table, verb, k ? "_nights" : "");
        v->sql[k] = answer_sql(query, pairs, err);
    }
    free(columns);
    return v->sql[0] && (!by_night || v->sql[1]) ? ERR_OK : err ? err->code : ERR_NOMEM;
}

static enum err add_table(struct cones *c, const struct schema_table *t, struct error *err)
{
    struct cone_table *k = &c->tables[c->n];
    bool object = !strcmp(t->relation, "published_object"), detection = !strcmp(t->relation, "published_detection");
    *k = (struct cone_table){.name = t->name, .description = t->description, .by_night = detection};
    for (int verb = 1; verb <= VERBS; verb++) {
        struct variant *v = &k->verb[verb - 1];
        if (object) fixed_columns(&table_object, verb, v);
        else schema_columns(t, verb, v);
        enum err e = make_queries(v, t->name, verb, object ? "cone_object" : detection ? "cone_detection" : "cone_table", t, detection, err);
        if (e) return e;
    }
    c->n++;
    return ERR_OK;
}

enum err cones_new(const struct schema *schema, struct cones **ret, struct error *err)
{
    struct cones *c = calloc(1, sizeof *c);
    enum err e = ERR_OK;
    if (!c || !(c->cells = calloc(CACHE, sizeof *c->cells))) {
        free(c);
        return ERROR(err, ERR_NOMEM, "could not get memory for cone searches");
    }
    pthread_mutex_init(&c->lock, NULL);
    for (int i = 0; i < schema->ntable && c->n < TABLES_MAX && !e; i++) {
        const struct schema_table *t = &schema->tables[i];
        if (t->ra >= 0 && t->dec >= 0 && t->hpx >= 0) e = add_table(c, t, err);
    }
    if (e) cones_free(c);
    else *ret = c;
    return e;
}

void cones_free(struct cones *c)
{
    if (!c) return;
    for (int i = 0; i < TABLES_MAX; i++)
        for (int v = 0; v < VERBS; v++)
            for (int k = 0; k < 2; k++) free(c->tables[i].verb[v].sql[k]);
    pthread_mutex_destroy(&c->lock);
    free(c->cells);
    free(c);
}

static const struct cone_table *find_table(const struct cones *c, const char *name)
{
    for (int i = 0; i < c->n; i++)
        if (!strcmp(c->tables[i].name, name)) return &c->tables[i];
    return NULL;
}

/* ---- nights of a place ---------------------------------------------------------------------------------------------- */

static bool recall(struct cones *c, int id, struct cell *ret)
{
    pthread_mutex_lock(&c->lock);
    *ret = c->cells[id % CACHE];
    pthread_mutex_unlock(&c->lock);
    return ret->at > 0 && ret->id == id && clock_seconds() - ret->at < COVER_S;
}

static enum err ask(struct cones *c, struct db_pool *pool, double wait_s, int id, struct cell *ret, struct error *err)
{
    struct db *db = NULL;
    struct db_result *r = NULL;
    char cell[16];
    snprintf(cell, sizeof cell, "%d", id);
    *ret = (struct cell){.id = id, .at = clock_seconds()};
    enum err e = db_pool_take(pool, wait_s, &db, err);
    if (!e) e = db_query_prepared(db, "cover", "SELECT night FROM detection_cover WHERE cell = $1::integer", 1, (const char *[]){cell}, &r, err);
    if (!e) {
        int64_t n = db_nrow(r);
        ret->n = n > NIGHTS_MAX ? -1 : (int)n;
        for (int i = 0; i < ret->n; i++) ret->nights[i] = (int)db_i64(r, i, 0);
        pthread_mutex_lock(&c->lock);
        c->cells[id % CACHE] = *ret;
        pthread_mutex_unlock(&c->lock);
    }
    db_result_free(r);
    db_pool_give(pool, db);
    return e;
}

static bool add_night(int *nights, int *n, int night)
{
    for (int i = 0; i < *n; i++)
        if (nights[i] == night) return true;
    if (*n == NIGHTS_MAX) return false;
    nights[(*n)++] = night;
    return true;
}

/* Fill list[6]; all_nights when the cone is wide or the nights are many. */
static enum err nights_of(struct service *s, const struct hpx_range *ranges, int nrange, struct cone_values *v, struct error *err)
{
    const int shift = 2 * (HPX_ORDER - CELL_ORDER);
    int nights[NIGHTS_MAX], n = 0, cells = 0;
    int64_t last = -1;
    v->all_nights = true;
    for (int i = 0; i < nrange; i++)
        for (int64_t id = ranges[i].first >> shift; id <= ranges[i].last >> shift; id++) {
            struct cell cell;
            if (id == last) continue;
            last = id;
            if (++cells > CELLS_MAX) return ERR_OK;
            enum err e = recall(s->cones, (int)id, &cell) ? ERR_OK : ask(s->cones, s->pool, s->pool_wait_s, (int)id, &cell, err);
            if (e) return e;
            if (cell.n < 0) return ERR_OK;
            for (int k = 0; k < cell.n; k++)
                if (!add_night(nights, &n, cell.nights[k])) return ERR_OK;
        }
    size_t used = (size_t)snprintf(v->nights, sizeof v->nights, "{");
    for (int i = 0; i < n; i++) used += (size_t)snprintf(v->nights + used, sizeof v->nights - used, "%s%d", i ? "," : "", nights[i]);
    snprintf(v->nights + used, sizeof v->nights - used, "}");
    v->all_nights = false;
    return ERR_OK;
}

/* ---- parameters ----------------------------------------------------------------------------------------------------- */

/* A PostgreSQL array of bigint: "{1,2,3}". */
static void bigint_array(const struct hpx_range *ranges, int n, bool last, char *buf, size_t size)
{
    size_t k = (size_t)snprintf(buf, size, "{");
    for (int i = 0; i < n && k < size; i++)
        k += (size_t)snprintf(buf + k, size - k, "%s%lld", i ? "," : "", (long long)(last ? ranges[i].last : ranges[i].first));
    if (k < size) snprintf(buf + k, size - k, "}");
}

static int fill_values(double ra, double dec, double radius, int64_t limit, struct cone_values *v, struct hpx_range ranges[RANGES])
{
    int n = radius > 0 ? hpx_cone(ra, dec, radius, RANGES, ranges) : 0;
    bigint_array(ranges, n, false, v->first, sizeof v->first);
    bigint_array(ranges, n, true, v->last, sizeof v->last);
    snprintf(v->ra, sizeof v->ra, "%.17g", ra);
    snprintf(v->dec, sizeof v->dec, "%.17g", dec);
    snprintf(v->radius, sizeof v->radius, "%.17g", radius);
    snprintf(v->limit, sizeof v->limit, "%lld", (long long)limit);
    const char *list[] = {v->ra, v->dec, v->radius, v->first, v->last, v->limit, v->nights};
    memcpy(v->list, list, sizeof list);
    v->all_nights = true;
    return n;
}

void cone_values(double ra, double dec, double radius_deg, int64_t limit, struct cone_values *ret)
{
    struct hpx_range ranges[RANGES];
    fill_values(ra, dec, radius_deg, limit, ret, ranges);
}

/* ---- the search ----------------------------------------------------------------------------------------------------- */

static void refuse_table(const struct cones *c, struct http_response *w)
{
    char text[600] = "no such table; there are";
    for (int i = 0; i < c->n; i++) {
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s /scs/%s", i ? "," : "", c->tables[i].name);
    }
    answer_refuse(w, true, ERR_NOT_FOUND, text);
}

void cone_search(struct http_request *r, struct http_response *w, void *user)
{
    struct service *s = user;
    struct error err = ERROR_INIT;
    struct answer a;
    struct cone_values v;
    struct hpx_range ranges[RANGES];
    double ra, dec, radius;
    int64_t verb = 2;
    const struct cone_table *t = find_table(s->cones, http_path_param(r, "table"));
    if (!t) {
        refuse_table(s->cones, w);
        return;
    }
    if (answer_number(r, "RA", 0, 360, &ra, &err) || answer_number(r, "DEC", -90, 90, &dec, &err) || answer_number(r, "SR", 0, 180, &radius, &err) ||
        answer_integer(r, "VERB", 1, 3, &verb, &err)) {
        answer_refuse_error(w, true, &err);
        return;
    }
    if (!answer_prepare(&a, s, r, w, true, ROWSET_VOTABLE, "MAXREC")) return;
    if (radius <= 0) a.maxrec = 0; /* the recommendation: SR=0 asks for the columns alone */
    const struct variant *k = &t->verb[verb - 1];
    int n = fill_values(ra, dec, radius, radius > 0 ? a.maxrec + 1 : 0, &v, ranges);
    if (t->by_night && nights_of(s, ranges, n, &v, &err)) {
        answer_refuse_error(w, true, &err);
        return;
    }
    bool some = t->by_night && !v.all_nights;
    a.columns = k->columns;
    a.ncol = k->ncol;
    a.table = t->name;
    a.description = t->description;
    answer_query(&a, k->name[some], k->sql[some], some ? 7 : 6, v.list, NULL);
}
