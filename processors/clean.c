#include "processors/clean.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "common/arena.h"

enum { CLASSES = 64, KEEPER = -1 };

static const double ZONE = 10; /* a wing ends where the semi-axes of both objects are this many times apart */

/* Objects whose wings fade alike: far out a wing is at most (strength / r^2)^beta, and the strengths of a class lie within
 * a factor of two. The class has a grid with about one object per cell. */
struct wing_class {
    double strongest;
    double longest;       /* semi-axis */
    double cell;          /* pixels of a cell */
    int64_t gx, gy;
    int64_t n;
    int64_t *first;       /* gx * gy + 1 entries into member */
    int64_t *member;      /* borrowed part of struct wings.member */
};

struct wings {
    const struct clean_object *o;
    int64_t n, nx, ny;
    double beta;
    double *strength;
    int64_t *member;
    struct wing_class class[CLASSES]; /* the strongest first */
};

static double strength_of(const struct clean_object *o, double beta)
{
    double s = o->alpha > 0 && o->amplitude > 0 ? (double)o->a * o->a / o->alpha * (beta == 1 ? o->amplitude : pow(o->amplitude, 1 / beta)) : 0;
    return s > 0 && s < INFINITY ? s : 0;
}

static int class_of(double strength)
{
    if (!(strength > 0)) return CLASSES; /* no wing */
    int exponent;
    frexp(strength, &exponent);
    int c = CLASSES / 2 - exponent;
    return c < 0 ? 0 : c >= CLASSES ? CLASSES - 1 : c;
}

static int64_t clamp(double v, int64_t n)
{
    return v < 0 ? 0 : v >= (double)n ? n - 1 : (int64_t)v;
}

static int64_t cell_of(const struct wing_class *c, const struct clean_object *o)
{
    return clamp(o->y / c->cell, c->gy) * c->gx + clamp(o->x / c->cell, c->gx);
}

/* Sort the members of one class into its grid. */
static bool make_grid(struct wings *w, struct wing_class *c, const int64_t *list)
{
    c->cell = fmax(4, sqrt((double)w->nx * (double)w->ny / (double)c->n));
    c->gx = (int64_t)((double)w->nx / c->cell) + 1;
    c->gy = (int64_t)((double)w->ny / c->cell) + 1;
    c->first = mem_zarray((size_t)(c->gx * c->gy) + 1, sizeof *c->first);
    if (!c->first) return false;
    for (int64_t k = 0; k < c->n; k++) c->first[cell_of(c, &w->o[list[k]]) + 1]++;
    for (int64_t k = 0; k < c->gx * c->gy; k++) c->first[k + 1] += c->first[k];
    for (int64_t k = 0; k < c->n; k++) c->member[c->first[cell_of(c, &w->o[list[k]])]++] = list[k];
    for (int64_t k = c->gx * c->gy; k > 0; k--) c->first[k] = c->first[k - 1];
    c->first[0] = 0;
    return true;
}

static bool make_classes(struct wings *w)
{
    int64_t *list = mem_array((size_t)w->n, sizeof *list), start[CLASSES + 1] = {0}, at = 0;
    w->strength = mem_array((size_t)w->n, sizeof *w->strength);
    w->member = mem_array((size_t)w->n, sizeof *w->member);
    bool good = list && w->strength && w->member;
    for (int64_t i = 0; good && i < w->n; i++) {
        w->strength[i] = strength_of(&w->o[i], w->beta);
        int k = class_of(w->strength[i]);
        if (k == CLASSES) continue;
        w->class[k].n++;
        w->class[k].strongest = fmax(w->class[k].strongest, w->strength[i]);
        w->class[k].longest = fmax(w->class[k].longest, w->o[i].a);
    }
    for (int k = 0; k < CLASSES; k++) {
        start[k] = at;
        at += w->class[k].n;
    }
    for (int64_t i = 0; good && i < w->n; i++) {
        int k = class_of(w->strength[i]);
        if (k < CLASSES) list[start[k]++] = i;
    }
    at = 0;
    for (int k = 0; good && k < CLASSES; k++) {
        w->class[k].member = w->member + at;
        if (w->class[k].n) good = make_grid(w, &w->class[k], list + at);
        at += w->class[k].n;
    }
    free(list);
    return good;
}

static void wings_release(struct wings *w)
{
    for (int k = 0; k < CLASSES; k++) free(w->class[k].first);
    free(w->strength);
    free(w->member);
}

static bool is_brighter(const struct wings *w, int64_t a, int64_t b)
{
    return w->o[a].flux > w->o[b].flux || (w->o[a].flux == w->o[b].flux && a < b);
}

static double wing_at(const struct wings *w, const struct clean_object *bright, const struct clean_object *faint)
{
    double dx = faint->x - bright->x, dy = faint->y - bright->y, zone = ZONE * (faint->a + bright->a);
    if (dx * dx + dy * dy > zone * zone) return 0;
    double fall = 1 + bright->alpha * (bright->cxx * dx * dx + bright->cyy * dy * dy + bright->cxy * dx * dy);
    if (!(fall > 1)) return 0;
    return w->beta == 1 ? bright->amplitude / fall : bright->amplitude * pow(fall, -w->beta);
}

static void search_class(const struct wings *w, const struct wing_class *c, int64_t i, const int64_t *into, double *limit,
                         int64_t *best)
{
    const struct clean_object *o = &w->o[i];
    double fall = w->beta == 1 ? *limit : pow(*limit, 1 / w->beta);
    double r = fmin(sqrt(c->strongest / fall), ZONE * (o->a + c->longest));
    int64_t x0 = clamp((o->x - r) / c->cell, c->gx), x1 = clamp((o->x + r) / c->cell, c->gx);
    int64_t y0 = clamp((o->y - r) / c->cell, c->gy), y1 = clamp((o->y + r) / c->cell, c->gy);
    for (int64_t y = y0; y <= y1; y++) {
        for (int64_t k = c->first[y * c->gx + x0]; k < c->first[y * c->gx + x1 + 1]; k++) {
            int64_t j = c->member[k];
            if (!is_brighter(w, j, i) || (into && into[j] != KEEPER)) continue;
            double light = wing_at(w, &w->o[j], o);
            if (light > *limit || (light == *limit && *best >= 0 && j < *best)) {
                *limit = light;
                *best = j;
            }
        }
    }
}

/* The brightest wing at object i that hides it, KEEPER for none. into: NULL, or who has fallen already. */
static int64_t judge(const struct wings *w, int64_t i, const int64_t *into)
{
    double limit = fmax(w->o[i].margin, 1e-30);
    int64_t best = KEEPER;
    for (int k = 0; k < CLASSES; k++)
        if (w->class[k].n) search_class(w, &w->class[k], i, into, &limit, &best);
    return best;
}

struct fallen {
    double flux;
    int64_t i;
};

static int brighter_first(const void *a, const void *b)
{
    const struct fallen *x = a, *y = b;
    if (x->flux != y->flux) return x->flux > y->flux ? -1 : 1;
    return (x->i > y->i) - (x->i < y->i);
}

/* A fallen object hides nobody: judge again, from the brightest down, those that were hidden by one. */
static bool judge_again(const struct wings *w, int64_t *into)
{
    int64_t n = 0;
    for (int64_t i = 0; i < w->n; i++) n += into[i] != KEEPER;
    struct fallen *list = mem_array((size_t)n, sizeof *list);
    if (!list) return false;
    n = 0;
    for (int64_t i = 0; i < w->n; i++)
        if (into[i] != KEEPER) list[n++] = (struct fallen){w->o[i].flux, i};
    qsort(list, (size_t)n, sizeof *list, brighter_first);
    for (int64_t k = 0; k < n; k++) {
        int64_t i = list[k].i;
        if (into[into[i]] != KEEPER) into[i] = judge(w, i, into);
    }
    free(list);
    return true;
}

enum err clean_objects(const struct clean_object *o, int64_t n, int64_t nx, int64_t ny, double beta, int64_t *ret_into,
                       struct error *err)
{
    struct wings w = {.o = o, .n = n, .nx = nx, .ny = ny, .beta = beta};
    bool good = make_classes(&w);
    if (good) {
        /* Each object is judged against fixed data and writes its own entry. */
#pragma omp parallel for default(none) shared(w, n, ret_into) schedule(dynamic, 64)
        for (int64_t i = 0; i < n; i++) ret_into[i] = judge(&w, i, NULL);
        good = judge_again(&w, ret_into);
    }
    wings_release(&w);
    return good ? ERR_OK : ERROR(err, ERR_NOMEM, "could not allocate the cleaning of %lld objects", (long long)n);
}
