#include "processors/deblend.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/units.h"
#include "processors/profile.h"

enum { NONE = -1 };

/* A pixel and, while it is the root of a branch, the branch. The pixels of a branch are a list through `next`; joining
 * two branches puts one list behind the other, so the pixels of each stay a stretch of it. */
struct node {
    int32_t parent;              /* union-find; NONE before the pixel's level is reached */
    int32_t next, head, tail;    /* list of the branch's pixels */
    int32_t count;
    int32_t strong;              /* branches of the level above that met here and hold enough light */
    int32_t first_son, last_son; /* those of them that are whole: roots, through next_son */
    int32_t son_head, son_count, next_son; /* this branch as it was at its last level */
    bool whole;                  /* nothing split inside */
    double flux;
};

struct part {
    int32_t head, count;
    int level;
    struct profile profile;
    double amplitude;
};

struct deblender {
    int64_t room;                /* pixels */
    struct node *node;
    int32_t *order, *alive, *label;
    uint8_t *level;
    float *light;                /* strongest light of a part on an outer pixel */
    struct object_pixel *copy;
    int32_t *grid;               /* pixel index of each place of the bounding box with a margin of 1; NONE between calls */
    int64_t grid_room;
    struct part *part;
    int64_t part_room, parts;
    double threshold[DEBLEND_LEVELS_MAX]; /* of this component */
    int nlevels;
    int32_t xmin, ymin, wide, high; /* bounding box of this component */
};

enum err deblend_options_verify(const struct deblend_options *o, struct error *err)
{
    if (o->nthresh < 1 || o->nthresh > DEBLEND_LEVELS_MAX)
        return ERROR(err, ERR_SETTINGS, "cannot deblend with %d levels: 1 to %d are possible", o->nthresh, DEBLEND_LEVELS_MAX);
    if (!(o->mincont >= 0 && o->mincont <= 1))
        return ERROR(err, ERR_SETTINGS, "cannot deblend with a contrast of %g: 0 to 1 is possible", o->mincont);
    if (o->max_pixels < 0 || o->max_cost < 0) return ERROR(err, ERR_SETTINGS, "cannot deblend with a negative limit");
    return ERR_OK;
}

struct deblender *deblender_new(void)
{
    return calloc(1, sizeof(struct deblender));
}

static void free_pixels(struct deblender *d)
{
    free(d->node);
    free(d->order);
    free(d->alive);
    free(d->label);
    free(d->level);
    free(d->light);
    free(d->copy);
    d->node = NULL;
    d->order = d->alive = d->label = NULL;
    d->level = NULL;
    d->light = NULL;
    d->copy = NULL;
    d->room = 0;
}

void deblender_free(struct deblender *d)
{
    if (!d) return;
    free_pixels(d);
    free(d->grid);
    free(d->part);
    free(d);
}

static bool reserve_pixels(struct deblender *d, int64_t n)
{
    if (n <= d->room) return true;
    int64_t room = n + n / 2 + 1024;
    free_pixels(d);
    d->node = mem_array((size_t)room, sizeof *d->node);
    d->order = mem_array((size_t)room, sizeof *d->order);
    d->alive = mem_array((size_t)room, sizeof *d->alive);
    d->label = mem_array((size_t)room, sizeof *d->label);
    d->level = mem_array((size_t)room, sizeof *d->level);
    d->light = mem_array((size_t)room, sizeof *d->light);
    d->copy = mem_array((size_t)room, sizeof *d->copy);
    if (!d->node || !d->order || !d->alive || !d->label || !d->level || !d->light || !d->copy) {
        free_pixels(d);
        return false;
    }
    d->room = room;
    return true;
}

static bool reserve_grid(struct deblender *d, int64_t places)
{
    if (places <= d->grid_room) return true;
    int64_t room = places + places / 4 + 4096;
    free(d->grid);
    d->grid_room = 0;
    d->grid = mem_array((size_t)room, sizeof *d->grid);
    if (!d->grid) return false;
    memset(d->grid, 0xff, (size_t)room * sizeof *d->grid); /* NONE */
    d->grid_room = room;
    return true;
}

/* ---- the bounding box --------------------------------------------------------------------------------------------- */

static int64_t place_of(const struct deblender *d, const struct object_pixel *p)
{
    return (int64_t)(p->y - d->ymin + 1) * (d->wide + 2) + (p->x - d->xmin + 1);
}

static bool lay_out(struct deblender *d, const struct object_pixel *p, int64_t n)
{
    int32_t x0 = p[0].x, x1 = p[0].x, y0 = p[0].y, y1 = p[n - 1].y;
    for (int64_t i = 1; i < n; i++) {
        x0 = p[i].x < x0 ? p[i].x : x0;
        x1 = p[i].x > x1 ? p[i].x : x1;
    }
    d->xmin = x0;
    d->ymin = y0;
    d->wide = x1 - x0 + 1;
    d->high = y1 - y0 + 1;
    if (!reserve_grid(d, ((int64_t)d->wide + 2) * ((int64_t)d->high + 2))) return false;
    for (int64_t i = 0; i < n; i++) d->grid[place_of(d, &p[i])] = (int32_t)i;
    return true;
}

static void clear_grid(struct deblender *d, const struct object_pixel *p, int64_t n)
{
    for (int64_t i = 0; i < n; i++) d->grid[place_of(d, &p[i])] = NONE;
}

static void neighbours(const struct deblender *d, const struct object_pixel *p, int32_t ret[8])
{
    int64_t w = d->wide + 2, at = place_of(d, p);
    const int32_t *g = d->grid + at;
    ret[0] = g[-w - 1], ret[1] = g[-w], ret[2] = g[-w + 1], ret[3] = g[-1];
    ret[4] = g[1], ret[5] = g[w - 1], ret[6] = g[w], ret[7] = g[w + 1];
}

/* Each branch holds a pixel that no neighbour outshines: with one such pixel there is nothing to split. */
static bool has_two_maxima(const struct deblender *d, const struct object_pixel *p, int64_t n)
{
    int maxima = 0;
    for (int64_t i = 0; i < n; i++) {
        int32_t near[8];
        bool top = true;
        neighbours(d, &p[i], near);
        for (int k = 0; k < 8 && top; k++) {
            if (near[k] == NONE) continue;
            float c = p[near[k]].cvalue;
            top = c < p[i].cvalue || (c == p[i].cvalue && near[k] > i);
        }
        if (top && ++maxima == 2) return true;
    }
    return false;
}

/* ---- levels -------------------------------------------------------------------------------------------------------- */

static void set_levels(struct deblender *d, const struct deblend_options *o, const struct object_pixel *p, int64_t n,
                       float threshold)
{
    double peak = p[0].cvalue;
    for (int64_t i = 1; i < n; i++) peak = p[i].cvalue > peak ? p[i].cvalue : peak;
    d->nlevels = o->nthresh;
    for (int k = 0; k < d->nlevels; k++) {
        double part = (double)k / d->nlevels;
        d->threshold[k] = threshold > 0 ? threshold * pow(peak / threshold, part) : threshold + (peak - threshold) * part;
    }
}

/* Sort pixels by the highest level they pass, brightest level first; ret_start: where each level begins in d->order. */
static void sort_by_level(struct deblender *d, const struct object_pixel *p, int64_t n, int64_t *ret_start)
{
    int64_t count[DEBLEND_LEVELS_MAX] = {0};
    for (int64_t i = 0; i < n; i++) {
        int lo = 0, hi = d->nlevels; /* passes lo (level 0 always), does not pass hi */
        while (hi - lo > 1) {
            int mid = (lo + hi) / 2;
            if (p[i].cvalue > d->threshold[mid])
                lo = mid;
            else
                hi = mid;
        }
        d->level[i] = (uint8_t)lo;
        count[lo]++;
    }
    int64_t at = 0;
    for (int k = d->nlevels - 1; k >= 0; k--) {
        ret_start[k] = at;
        at += count[k];
    }
    int64_t cursor[DEBLEND_LEVELS_MAX];
    memcpy(cursor, ret_start, sizeof cursor);
    for (int64_t i = 0; i < n; i++) d->order[cursor[d->level[i]]++] = (int32_t)i;
}

/* ---- the tree ------------------------------------------------------------------------------------------------------ */

static int32_t find_root(struct node *node, int32_t i)
{
    while (node[i].parent != i) {
        node[i].parent = node[node[i].parent].parent;
        i = node[i].parent;
    }
    return i;
}

static void join_branches(struct node *node, int32_t a, int32_t b)
{
    a = find_root(node, a);
    b = find_root(node, b);
    if (a == b) return;
    if (node[a].count < node[b].count || (node[a].count == node[b].count && b < a)) {
        int32_t swap = a;
        a = b;
        b = swap;
    }
    struct node *to = &node[a], *from = &node[b];
    from->parent = a;
    node[to->tail].next = from->head;
    to->tail = from->tail;
    to->count += from->count;
    to->flux += from->flux;
    to->strong += from->strong;
    to->whole = to->whole && from->whole;
    if (from->first_son == NONE) return;
    if (to->first_son == NONE)
        to->first_son = from->first_son;
    else
        node[to->last_son].next_son = from->first_son;
    to->last_son = from->last_son;
}

static void add_pixel(struct deblender *d, const struct object_pixel *p, int32_t i)
{
    struct node *node = d->node;
    node[i] = (struct node){.parent = i, .next = NONE, .head = i, .tail = i, .count = 1, .first_son = NONE, .last_son = NONE,
                            .next_son = NONE, .whole = true, .flux = p[i].cvalue};
    int32_t near[8];
    neighbours(d, &p[i], near);
    for (int k = 0; k < 8; k++)
        if (near[k] != NONE && node[near[k]].parent != NONE) join_branches(node, i, near[k]);
}

static bool add_part(struct deblender *d, int32_t head, int32_t count, int level)
{
    if (d->parts == d->part_room) {
        int64_t room = d->part_room * 2 + 16;
        struct part *bigger = realloc(d->part, (size_t)room * sizeof *bigger);
        if (!bigger) return false;
        d->part = bigger;
        d->part_room = room;
    }
    d->part[d->parts] = (struct part){.head = head, .count = count, .level = level};
    for (int32_t i = head, k = 0; k < count; i = d->node[i].next, k++) d->label[i] = (int32_t)d->parts;
    d->parts++;
    return true;
}

/* All pixels of this level are in: where strong branches met, those that are whole become parts. Then each branch says
 * how it stands at this level, for the level below. */
static bool close_level(struct deblender *d, int level, double least, int64_t minarea, int64_t *nalive)
{
    struct node *node = d->node;
    int64_t kept = 0;
    for (int64_t k = 0; k < *nalive; k++) {
        int32_t root = d->alive[k];
        if (node[root].parent != root) continue;
        d->alive[kept++] = root;
        struct node *b = &node[root];
        if (b->strong >= 2) {
            for (int32_t son = b->first_son; son != NONE; son = node[son].next_son)
                if (!add_part(d, node[son].son_head, node[son].son_count, level + 1)) return false;
            b->whole = false;
        }
        bool strong = b->count >= minarea && b->flux - d->threshold[level] * b->count > least;
        b->strong = strong;
        b->first_son = b->last_son = b->next_son = NONE;
        if (strong && b->whole) {
            b->first_son = b->last_son = root;
            b->son_head = b->head;
            b->son_count = b->count;
        }
    }
    *nalive = kept;
    return true;
}

static bool grow_tree(struct deblender *d, const struct deblend_options *o, const struct object_pixel *p, int64_t n, int64_t minarea)
{
    int64_t start[DEBLEND_LEVELS_MAX] = {0}, nalive = 0, at = 0;
    double flux = 0;
    for (int64_t i = 0; i < n; i++) flux += p[i].cvalue;
    sort_by_level(d, p, n, start);
    for (int64_t i = 0; i < n; i++) d->node[i].parent = NONE;
    memset(d->label, 0xff, (size_t)n * sizeof *d->label); /* NONE */
    for (int k = d->nlevels - 1; k >= 0; k--) {
        int64_t end = k > 0 ? start[k - 1] : n;
        for (; at < end; at++) {
            add_pixel(d, p, d->order[at]);
            d->alive[nalive++] = d->order[at];
        }
        if (!close_level(d, k, o->mincont * flux, minarea, &nalive)) return false;
    }
    return true;
}

/* ---- the outer pixels ---------------------------------------------------------------------------------------------- */

enum { FAR = 70 }; /* exponent beyond which a profile is dark */

static void measure_parts(struct deblender *d, const struct object_pixel *p)
{
    for (int64_t k = 0; k < d->parts; k++) {
        struct part *part = &d->part[k];
        int32_t i = part->head;
        for (int32_t m = 0; m < part->count; m++, i = d->node[i].next) d->copy[m] = p[i];
        struct profile *r = &part->profile;
        profile_measure(d->copy, part->count, d->threshold[part->level], NULL, r);
        double rise = part->count / (2 * PI * r->a * r->b * r->truncation); /* of a Gaussian from the component's threshold */
        part->amplitude = 4.0 * r->cpeak;
        if (d->threshold[0] > 0 && rise < FAR) part->amplitude = fmin(d->threshold[0] * exp(rise), part->amplitude);
    }
}

/* Places of the bounding box that a part can light: half-open. */
static void reach(const struct deblender *d, const struct part *part, int64_t ret[4])
{
    const struct profile *r = &part->profile;
    double wide = 2 * FAR * r->truncation, hx = sqrt(wide * r->x2), hy = sqrt(wide * r->y2);
    ret[0] = (int64_t)fmax(floor(r->x - hx) - d->xmin, 0);
    ret[1] = (int64_t)fmin(ceil(r->x + hx) + 1 - d->xmin, d->wide);
    ret[2] = (int64_t)fmax(floor(r->y - hy) - d->ymin, 0);
    ret[3] = (int64_t)fmin(ceil(r->y + hy) + 1 - d->ymin, d->high);
}

static double exponent(const struct part *part, const struct object_pixel *p)
{
    const struct profile *r = &part->profile;
    double dx = p->x - r->x, dy = p->y - r->y;
    return 0.5 * (r->cxx * dx * dx + r->cyy * dy * dy + r->cxy * dx * dy) / r->truncation;
}

/* One part lights the outer pixels in its reach; each remembers the strongest light and whose it was. core: pixels that
 * belong to a branch. */
static void shine(struct deblender *d, const struct object_pixel *p, int64_t k, const uint8_t *core)
{
    const struct part *part = &d->part[k];
    int64_t box[4];
    reach(d, part, box);
    for (int64_t y = box[2]; y < box[3]; y++) {
        const int32_t *row = d->grid + (y + 1) * (d->wide + 2) + 1;
        for (int64_t x = box[0]; x < box[1]; x++) {
            int32_t i = row[x];
            if (i == NONE || core[i]) continue;
            double e = exponent(part, &p[i]);
            if (!(e < FAR)) continue;
            float share = (float)(part->amplitude * exp(-e));
            if (share <= d->light[i] && d->label[i] != NONE) continue;
            d->light[i] = share;
            d->label[i] = (int32_t)k;
        }
    }
}

static void take_nearest(struct deblender *d, const struct object_pixel *p, int32_t i)
{
    double best = INFINITY;
    d->label[i] = 0;
    for (int64_t k = 0; k < d->parts; k++) {
        double e = exponent(&d->part[k], &p[i]);
        if (e < best) best = e, d->label[i] = (int32_t)k;
    }
}

/* Returned: false if that costs too much. */
static bool share_out(struct deblender *d, const struct deblend_options *o, const struct object_pixel *p, int64_t n)
{
    int64_t cost = 0, dark = 0;
    measure_parts(d, p);
    for (int64_t k = 0; k < d->parts; k++) {
        int64_t box[4];
        reach(d, &d->part[k], box);
        if (box[1] > box[0] && box[3] > box[2]) cost += (box[1] - box[0]) * (box[3] - box[2]);
    }
    if (o->max_cost > 0 && cost > o->max_cost) return false;
    uint8_t *core = d->level; /* the levels have done their work */
    for (int64_t i = 0; i < n; i++) {
        core[i] = d->label[i] != NONE;
        d->light[i] = 0;
    }
    for (int64_t k = 0; k < d->parts; k++) shine(d, p, k, core);
    for (int64_t i = 0; i < n; i++) dark += d->label[i] == NONE;
    if (o->max_cost > 0 && dark * d->parts > o->max_cost) return false;
    for (int64_t i = 0; dark && i < n; i++)
        if (d->label[i] == NONE) take_nearest(d, p, (int32_t)i);
    return true;
}

/* Bring the pixels of each part together: those of the branch first, then the outer ones. core: as share_out() left it. */
static void regroup(struct deblender *d, struct object_pixel *p, int64_t n, struct deblend_part *ret)
{
    for (int64_t k = 0; k < d->parts; k++) ret[k] = (struct deblend_part){.x = d->part[k].profile.x, .y = d->part[k].profile.y};
    for (int64_t i = 0; i < n; i++) ret[d->label[i]].n++;
    int64_t at = 0;
    for (int64_t k = 0; k < d->parts; k++) {
        d->part[k].head = (int32_t)at;
        at += ret[k].n;
    }
    memcpy(d->copy, p, (size_t)n * sizeof *p);
    const uint8_t *core = d->level;
    for (int outer = 0; outer < 2; outer++)
        for (int64_t i = 0; i < n; i++)
            if (core[i] != outer) p[d->part[d->label[i]].head++] = d->copy[i];
}

enum err deblend_component(struct deblender *d, const struct deblend_options *o, struct object_pixel *p, int64_t n,
                           float threshold, int64_t minarea, struct deblend_part *ret_parts, int64_t *ret_n, bool *ret_limit,
                           struct error *err)
{
    assert(n >= 1);
    *ret_parts = (struct deblend_part){.n = n, .x = NAN, .y = NAN};
    *ret_n = 1;
    *ret_limit = false;
    if (minarea > DEBLEND_AREA) minarea = DEBLEND_AREA;
    if (n < 2 * minarea || o->nthresh < 2 || o->mincont >= 1) return ERR_OK;
    if ((o->max_pixels > 0 && n > o->max_pixels) || n > INT32_MAX / 4) {
        *ret_limit = true;
        return ERR_OK;
    }
    if (!lay_out(d, p, n)) return ERROR(err, ERR_NOMEM, "could not allocate the deblending of %lld pixels", (long long)n);
    bool good = true, split = false;
    if (has_two_maxima(d, p, n)) {
        good = reserve_pixels(d, n);
        d->parts = 0;
        if (good) set_levels(d, o, p, n, threshold);
        good = good && grow_tree(d, o, p, n, minarea);
        if (good && d->parts > 1) {
            split = share_out(d, o, p, n);
            *ret_limit = !split;
        }
    }
    clear_grid(d, p, n);
    if (!good) return ERROR(err, ERR_NOMEM, "could not allocate the deblending of %lld pixels", (long long)n);
    if (split) {
        regroup(d, p, n, ret_parts);
        *ret_n = d->parts;
    }
    return ERR_OK;
}
