#include "pipeline/skyindex.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/units.h"

struct star {
    double v[3], ra, dec;
    int next; /* in its cube; -1 ends */
};

struct skyindex {
    double radius2, cell; /* of the chord */
    struct star *stars;
    int n, capacity;
    int *heads;           /* open addressing by cube, -1 empty: first star of the cube */
    int slots;            /* power of two, at least twice n */
};

struct skyindex *skyindex_new(double radius_deg)
{
    struct skyindex *x = calloc(1, sizeof *x);
    if (!x) return NULL;
    double chord = 2 * sin(radius_deg * RAD_PER_DEG / 2);
    x->radius2 = chord * chord;
    x->cell = chord;
    return x;
}

void skyindex_free(struct skyindex *x)
{
    if (!x) return;
    free(x->stars);
    free(x->heads);
    free(x);
}

static void cube_of(const struct skyindex *x, const double v[3], int64_t c[3])
{
    for (int k = 0; k < 3; k++) c[k] = (int64_t)floor(v[k] / x->cell);
}

static uint64_t hash(const int64_t c[3])
{
    uint64_t h = 0;
    for (int k = 0; k < 3; k++) {
        h ^= (uint64_t)c[k];
        h *= 0x9E3779B97F4A7C15u;
        h ^= h >> 29;
    }
    return h;
}

static bool same_cube(const struct skyindex *x, int star, const int64_t c[3])
{
    int64_t d[3];
    cube_of(x, x->stars[star].v, d);
    return c[0] == d[0] && c[1] == d[1] && c[2] == d[2];
}

/* Slot of a cube: where its first star is, or the empty slot where it would go. */
static int slot_of(const struct skyindex *x, const int64_t c[3])
{
    int slot = (int)(hash(c) & (uint64_t)(x->slots - 1));
    while (x->heads[slot] >= 0 && !same_cube(x, x->heads[slot], c)) slot = (slot + 1) & (x->slots - 1);
    return slot;
}

static void link_star(struct skyindex *x, int star)
{
    int64_t c[3];
    cube_of(x, x->stars[star].v, c);
    int slot = slot_of(x, c);
    x->stars[star].next = x->heads[slot];
    x->heads[slot] = star;
}

static enum err grow(struct skyindex *x, struct error *err)
{
    int capacity = x->capacity ? 2 * x->capacity : 1024;
    struct star *stars = realloc(x->stars, (size_t)capacity * sizeof *stars);
    if (!stars) return ERROR(err, ERR_NOMEM, "could not index %d stars: out of memory", capacity);
    x->stars = stars;
    int *heads = malloc((size_t)capacity * 4 * sizeof *heads);
    if (!heads) return ERROR(err, ERR_NOMEM, "could not index %d stars: out of memory", capacity);
    free(x->heads);
    x->heads = heads;
    x->slots = 4 * capacity;
    x->capacity = capacity;
    memset(heads, -1, (size_t)x->slots * sizeof *heads);
    for (int i = 0; i < x->n; i++) link_star(x, i);
    return ERR_OK;
}

static int nearest(const struct skyindex *x, const double v[3])
{
    int64_t c[3], d[3];
    int best = -1;
    double best2 = x->radius2;
    if (!x->n) return -1;
    cube_of(x, v, c);
    for (int k = 0; k < 27; k++) {
        d[0] = c[0] + k % 3 - 1, d[1] = c[1] + k / 3 % 3 - 1, d[2] = c[2] + k / 9 - 1;
        for (int i = x->heads[slot_of(x, d)]; i >= 0; i = x->stars[i].next) {
            const double *u = x->stars[i].v;
            double r2 = (u[0] - v[0]) * (u[0] - v[0]) + (u[1] - v[1]) * (u[1] - v[1]) + (u[2] - v[2]) * (u[2] - v[2]);
            if (r2 < best2 || (r2 == best2 && (best < 0 || i < best))) best = i, best2 = r2;
        }
    }
    return best;
}

enum err skyindex_find_or_add(struct skyindex *x, double ra_deg, double dec_deg, int *ret_star, struct error *err)
{
    double a = ra_deg * RAD_PER_DEG, d = dec_deg * RAD_PER_DEG, v[3] = {cos(d) * cos(a), cos(d) * sin(a), sin(d)};
    int star = nearest(x, v);
    if (star < 0) {
        enum err e = x->n == x->capacity ? grow(x, err) : ERR_OK;
        if (e) return e;
        star = x->n++;
        x->stars[star] = (struct star){.v = {v[0], v[1], v[2]}, .ra = ra_deg, .dec = dec_deg, .next = -1};
        link_star(x, star);
    }
    *ret_star = star;
    return ERR_OK;
}

int skyindex_count(const struct skyindex *x)
{
    return x->n;
}

void skyindex_position(const struct skyindex *x, int star, double *ret_ra_deg, double *ret_dec_deg)
{
    *ret_ra_deg = x->stars[star].ra;
    *ret_dec_deg = x->stars[star].dec;
}
