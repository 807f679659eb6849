#include "processors/psfgroups.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"

#define PAIRS_OF_ONE 64 /* of a source: where a thousand stand on one spot they cannot be told apart anyway */

struct pair {
    float d2;
    int32_t a, b;
};

static int by_distance(const void *p, const void *q)
{
    const struct pair *x = p, *y = q;
    if (x->d2 != y->d2) return x->d2 < y->d2 ? -1 : 1;
    if (x->a != y->a) return x->a < y->a ? -1 : 1;
    return x->b < y->b ? -1 : x->b > y->b;
}

/* Pairs (a, b > a) closer than link. ret NULL: only count. */
static int64_t find_pairs(const struct psf_cells *c, const double *x, const double *y, int64_t n, double link, struct pair *ret)
{
    int64_t count = 0, i0, i1, j0, j1;
    for (int64_t a = 0; a < n; a++) {
        int64_t mine = 0;
        psf_cells_around(c, x[a], y[a], link, &i0, &i1, &j0, &j1);
        for (int64_t j = j0; j < j1; j++)
            for (int64_t k = c->first[j * c->nx + i0]; k < c->first[j * c->nx + i1] && mine < PAIRS_OF_ONE; k++) {
                int32_t b = c->item[k];
                double dx = x[b] - x[a], dy = y[b] - y[a], d2 = dx * dx + dy * dy;
                if (b <= a || !(d2 < link * link)) continue;
                if (ret) ret[count] = (struct pair){(float)d2, (int32_t)a, b};
                count++;
                mine++;
            }
    }
    return count;
}

static int32_t root_of(int32_t *parent, int32_t i)
{
    while (parent[i] != i) i = parent[i] = parent[parent[i]];
    return i;
}

static void join(const struct pair *pair, int64_t npair, int most, int32_t *parent, int32_t *size)
{
    for (int64_t k = 0; k < npair; k++) {
        int32_t a = root_of(parent, pair[k].a), b = root_of(parent, pair[k].b);
        if (a == b || size[a] + size[b] > most) continue;
        int32_t low = a < b ? a : b, high = a < b ? b : a;
        parent[high] = low; /* the root is the smallest member */
        size[low] += size[high];
    }
}

/* Members by root: roots are smallest members, so ascending roots give groups in order. */
static void list_members(struct psf_groups *g, int32_t *parent, const int32_t *size, int64_t *cursor, int64_t n)
{
    int64_t at = 0;
    for (int64_t i = 0; i < n; i++)
        if (root_of(parent, (int32_t)i) == i) {
            cursor[i] = at;
            g->first[g->n++] = at;
            at += size[i];
        }
    g->first[g->n] = at;
    for (int64_t i = 0; i < n; i++) g->member[cursor[root_of(parent, (int32_t)i)]++] = (int32_t)i;
}

enum err psf_groups_make(struct psf_groups *g, const struct psf_cells *cells, const double *x, const double *y, int64_t n, double link, int most,
                         struct error *err)
{
    int64_t npair = find_pairs(cells, x, y, n, link, NULL), room = n ? n : 1;
    *g = (struct psf_groups){0};
    struct pair *pair = mem_array((size_t)(npair ? npair : 1), sizeof *pair);
    int32_t *parent = mem_array((size_t)room * 2, sizeof *parent), *size = parent ? parent + room : NULL;
    int64_t *cursor = mem_array((size_t)room, sizeof *cursor);
    g->first = mem_array((size_t)room + 1, sizeof *g->first);
    g->member = mem_array((size_t)room, sizeof *g->member);
    g->split = mem_zarray((size_t)room, sizeof *g->split);
    enum err e = pair && parent && cursor && g->first && g->member && g->split ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory for groups of %lld sources", (long long)n);
    if (!e) {
        for (int64_t i = 0; i < n; i++) parent[i] = (int32_t)i, size[i] = 1;
        find_pairs(cells, x, y, n, link, pair);
        qsort(pair, (size_t)npair, sizeof *pair, by_distance);
        join(pair, npair, most, parent, size);
        list_members(g, parent, size, cursor, n);
        for (int64_t k = 0; k < npair; k++)
            if (root_of(parent, pair[k].a) != root_of(parent, pair[k].b)) g->split[pair[k].a] = g->split[pair[k].b] = 1;
    }
    free(pair);
    free(parent);
    free(cursor);
    if (e) psf_groups_release(g);
    return e;
}

void psf_groups_release(struct psf_groups *g)
{
    free(g->first);
    free(g->member);
    free(g->split);
    *g = (struct psf_groups){0};
}
