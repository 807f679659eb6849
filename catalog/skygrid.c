#include "catalog/skygrid.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/hpx.h"
#include "common/units.h"

/* ---- map ---------------------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static int64_t slot_of(const struct skygrid_map *m, uint64_t key)
{
    int64_t i = (int64_t)(mix(key) & (uint64_t)(m->size - 1));
    while (m->values[i] >= 0 && m->keys[i] != key) i = (i + 1) & (m->size - 1);
    return i;
}

static bool map_alloc(struct skygrid_map *m, int64_t size)
{
    m->keys = malloc((size_t)size * sizeof *m->keys);
    m->values = malloc((size_t)size * sizeof *m->values);
    m->size = size;
    m->used = 0;
    if (!m->keys || !m->values) return false;
    memset(m->values, 0xff, (size_t)size * sizeof *m->values);
    return true;
}

static void map_release(struct skygrid_map *m)
{
    free(m->keys);
    free(m->values);
    *m = (struct skygrid_map){0};
}

static int32_t map_get(const struct skygrid_map *m, uint64_t key)
{
    return m->values[slot_of(m, key)];
}

static bool map_put(struct skygrid_map *m, uint64_t key, int32_t value)
{
    if (2 * (m->used + 1) > m->size) {
        struct skygrid_map bigger;
        if (!map_alloc(&bigger, 2 * m->size)) {
            map_release(&bigger);
            return false;
        }
        for (int64_t i = 0; i < m->size; i++) {
            if (m->values[i] < 0) continue;
            int64_t k = slot_of(&bigger, m->keys[i]);
            bigger.keys[k] = m->keys[i];
            bigger.values[k] = m->values[i];
        }
        bigger.used = m->used;
        map_release(m);
        *m = bigger;
    }
    int64_t i = slot_of(m, key);
    m->used += m->values[i] < 0;
    m->keys[i] = key;
    m->values[i] = value;
    return true;
}

/* ---- geometry ----------------------------------------------------------------------------------------------------- */

static double chord_of(double arcsec)
{
    return 2 * sin(arcsec / ARCSEC_PER_DEG * RAD_PER_DEG / 2);
}

static double distance2(const double a[3], const double b[3])
{
    double x = a[0] - b[0], y = a[1] - b[1], z = a[2] - b[2];
    return x * x + y * y + z * z;
}

/* Unit vectors to the east and to the north of (ra, dec). */
static void axes(double ra, double dec, double east[3], double north[3])
{
    double sr = sin(ra * RAD_PER_DEG), cr = cos(ra * RAD_PER_DEG), sd = sin(dec * RAD_PER_DEG), cd = cos(dec * RAD_PER_DEG);
    east[0] = -sr, east[1] = cr, east[2] = 0;
    north[0] = -sd * cr, north[1] = -sd * sr, north[2] = cd;
}

void skygrid_offset(double ra, double dec, const double a[3], const double b[3], double *ret_east, double *ret_north)
{
    double e[3], n[3], x = 0, y = 0;
    axes(ra, dec, e, n);
    for (int i = 0; i < 3; i++) {
        x += (b[i] - a[i]) * e[i];
        y += (b[i] - a[i]) * n[i];
    }
    *ret_east = x * DEG_PER_RAD * ARCSEC_PER_DEG;
    *ret_north = y * DEG_PER_RAD * ARCSEC_PER_DEG;
}

void skygrid_shift(double ra, double dec, double east, double north, double *ret_ra, double *ret_dec)
{
    double v[3], e[3], n[3], x = east / ARCSEC_PER_DEG * RAD_PER_DEG, y = north / ARCSEC_PER_DEG * RAD_PER_DEG;
    hpx_vector(ra, dec, v);
    axes(ra, dec, e, n);
    for (int i = 0; i < 3; i++) v[i] += x * e[i] + y * n[i];
    *ret_ra = atan2(v[1], v[0]) * DEG_PER_RAD;
    if (*ret_ra < 0) *ret_ra += 360;
    if (*ret_ra >= 360) *ret_ra = 0;
    *ret_dec = atan2(v[2], hypot(v[0], v[1])) * DEG_PER_RAD;
}

/* 21 bits for each coordinate: edges down to 1e-6. */
static uint64_t cube_key(int64_t x, int64_t y, int64_t z)
{
    return (uint64_t)x << 42 | (uint64_t)y << 21 | (uint64_t)z;
}

static int64_t cube_index(const struct skygrid *g, double x)
{
    return (int64_t)floor((x + 1) / g->edge) + 1; /* +1: neighbours never go below 0 */
}

/* ---- objects ------------------------------------------------------------------------------------------------------ */

enum err skygrid_init(struct skygrid *g, double radius_arcsec, struct error *err)
{
    *g = (struct skygrid){.edge = fmax(1.0000001 * chord_of(radius_arcsec), 2e-6)};
    if (map_alloc(&g->cubes, 1024) && map_alloc(&g->ids, 1024)) return ERR_OK;
    skygrid_release(g);
    return ERROR(err, ERR_NOMEM, "could not get memory for objects");
}

void skygrid_release(struct skygrid *g)
{
    free(g->objects);
    map_release(&g->cubes);
    map_release(&g->ids);
    *g = (struct skygrid){0};
}

int32_t skygrid_find(const struct skygrid *g, int64_t id)
{
    return map_get(&g->ids, (uint64_t)id);
}

enum err skygrid_add(struct skygrid *g, int64_t id, double ra, double dec, int32_t tag, int32_t *ret, struct error *err)
{
    if (g->n == g->capacity) {
        int64_t capacity = g->capacity ? 2 * (int64_t)g->capacity : 1024;
        struct skygrid_object *o = capacity < INT32_MAX ? realloc(g->objects, (size_t)capacity * sizeof *o) : NULL;
        if (!o) return ERROR(err, ERR_NOMEM, "could not get memory for %lld objects", (long long)capacity);
        g->objects = o;
        g->capacity = (int32_t)capacity;
    }
    struct skygrid_object *o = &g->objects[g->n];
    *o = (struct skygrid_object){.id = id, .ra = ra, .dec = dec, .tag = tag};
    hpx_vector(ra, dec, o->v);
    uint64_t key = cube_key(cube_index(g, o->v[0]), cube_index(g, o->v[1]), cube_index(g, o->v[2]));
    o->next = map_get(&g->cubes, key);
    if (!map_put(&g->cubes, key, g->n) || !map_put(&g->ids, (uint64_t)id, g->n))
        return ERROR(err, ERR_NOMEM, "could not get memory for objects");
    if (ret) *ret = g->n;
    g->n++;
    return ERR_OK;
}

/* ---- matching ----------------------------------------------------------------------------------------------------- */

struct pair {
    double d2;
    int64_t id;
    int32_t detection, object;
};

struct pairs {
    struct pair *v;
    int64_t n, capacity;
};

static int closest_first(const void *a, const void *b)
{
    const struct pair *p = a, *q = b;
    if (p->d2 != q->d2) return p->d2 < q->d2 ? -1 : 1;
    if (p->detection != q->detection) return p->detection < q->detection ? -1 : 1;
    return (p->id > q->id) - (p->id < q->id);
}

static bool add_pair(struct pairs *p, struct pair one)
{
    if (p->n == p->capacity) {
        int64_t capacity = p->capacity ? 2 * p->capacity : 1024;
        struct pair *v = realloc(p->v, (size_t)capacity * sizeof *v);
        if (!v) return false;
        p->v = v;
        p->capacity = capacity;
    }
    p->v[p->n++] = one;
    return true;
}

static bool pairs_of(const struct skygrid *g, int32_t detection, const double v[3], double r2, struct pairs *ret)
{
    int64_t c[3] = {cube_index(g, v[0]), cube_index(g, v[1]), cube_index(g, v[2])};
    for (int64_t x = c[0] - 1; x <= c[0] + 1; x++)
        for (int64_t y = c[1] - 1; y <= c[1] + 1; y++)
            for (int64_t z = c[2] - 1; z <= c[2] + 1; z++)
                for (int32_t o = map_get(&g->cubes, cube_key(x, y, z)); o >= 0; o = g->objects[o].next) {
                    double d2 = distance2(v, g->objects[o].v);
                    if (d2 <= r2 && !add_pair(ret, (struct pair){d2, g->objects[o].id, detection, o})) return false;
                }
    return true;
}

enum err skygrid_match(const struct skygrid *g, int64_t n, const double (*v)[3], const bool *skip, double radius_arcsec, int32_t *ret,
                       struct error *err)
{
    struct pairs pairs = {0};
    double r = chord_of(radius_arcsec);
    bool *taken = calloc((size_t)g->n + 1, sizeof *taken), good = taken != NULL;
    for (int64_t i = 0; i < n && good; i++) {
        if (skip && skip[i]) {
            if (ret[i] >= 0) taken[ret[i]] = true;
            continue;
        }
        ret[i] = -1;
        good = pairs_of(g, (int32_t)i, v[i], r * r, &pairs);
    }
    if (good && pairs.n) qsort(pairs.v, (size_t)pairs.n, sizeof *pairs.v, closest_first);
    for (int64_t k = 0; k < pairs.n && good; k++) {
        const struct pair *p = &pairs.v[k];
        if (ret[p->detection] >= 0 || taken[p->object]) continue;
        ret[p->detection] = p->object;
        taken[p->object] = true;
    }
    free(pairs.v);
    free(taken);
    return good ? ERR_OK : ERROR(err, ERR_NOMEM, "could not get memory to match %lld detections", (long long)n);
}
