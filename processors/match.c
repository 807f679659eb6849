#include "processors/match.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/units.h"

/* ---- a grid over list b ----------------------------------------------------------------------------------------- */

struct grid {
    double x0, y0, cell;
    int nx, ny;
    int *start; /* nx * ny + 1 */
    int *item;  /* star indices, cell by cell */
};

static void grid_release(struct grid *g)
{
    free(g->start);
    free(g->item);
}

static int cell_of(const struct grid *g, double x, double y)
{
    int i = (int)floor((x - g->x0) / g->cell), j = (int)floor((y - g->y0) / g->cell);
    if (i < 0 || j < 0 || i >= g->nx || j >= g->ny) return -1;
    return j * g->nx + i;
}

static enum err grid_init(struct grid *g, const struct match_star *b, int nb, double cell, struct error *err)
{
    double x1 = -INFINITY, y1 = -INFINITY;
    *g = (struct grid){.x0 = INFINITY, .y0 = INFINITY};
    for (int i = 0; i < nb; i++) {
        g->x0 = fmin(g->x0, b[i].x);
        g->y0 = fmin(g->y0, b[i].y);
        x1 = fmax(x1, b[i].x);
        y1 = fmax(y1, b[i].y);
    }
    double extent = fmax(x1 - g->x0, y1 - g->y0);
    g->cell = fmax(cell, extent / 1000);
    g->nx = (int)((x1 - g->x0) / g->cell) + 1;
    g->ny = (int)((y1 - g->y0) / g->cell) + 1;
    g->start = calloc((size_t)g->nx * (size_t)g->ny + 2, sizeof *g->start);
    g->item = malloc((size_t)nb * sizeof *g->item);
    if (!g->start || !g->item) {
        grid_release(g);
        return ERROR(err, ERR_NOMEM, "could not index %d stars: out of memory", nb);
    }
    for (int i = 0; i < nb; i++) g->start[cell_of(g, b[i].x, b[i].y) + 2]++;
    for (int c = 0; c < g->nx * g->ny; c++) g->start[c + 2] += g->start[c + 1];
    for (int i = 0; i < nb; i++) g->item[g->start[cell_of(g, b[i].x, b[i].y) + 1]++] = i;
    return ERR_OK;
}

static int nearest(const struct grid *g, const struct match_star *b, double x, double y, double radius, double *ret_d2)
{
    int best = -1, reach = (int)ceil(radius / g->cell);
    int ci = (int)floor((x - g->x0) / g->cell), cj = (int)floor((y - g->y0) / g->cell);
    *ret_d2 = radius * radius;
    for (int j = cj - reach; j <= cj + reach; j++)
        for (int i = ci - reach; i <= ci + reach; i++) {
            if (i < 0 || j < 0 || i >= g->nx || j >= g->ny) continue;
            for (int k = g->start[j * g->nx + i]; k < g->start[j * g->nx + i + 1]; k++) {
                const struct match_star *s = &b[g->item[k]];
                double d2 = (s->x - x) * (s->x - x) + (s->y - y) * (s->y - y);
                if (d2 < *ret_d2 || (d2 == *ret_d2 && best >= 0 && g->item[k] < best)) {
                    *ret_d2 = d2;
                    best = g->item[k];
                }
            }
        }
    return best;
}

static void apply(const double m[4], const double t[2], double x, double y, double *ret_x, double *ret_y)
{
    *ret_x = m[0] * x + m[1] * y + t[0];
    *ret_y = m[2] * x + m[3] * y + t[1];
}

/* A star of b claimed twice stays with the closer star of a. */
static int pair_up(const struct grid *g, const struct match_star *a, int na, const struct match_star *b, int nb, const double m[4],
                   const double t[2], double radius, int *pair, int *owner, double *d2_of)
{
    int n = 0;
    for (int j = 0; j < nb; j++) owner[j] = -1;
    for (int i = 0; i < na; i++) {
        double x, y, d2;
        apply(m, t, a[i].x, a[i].y, &x, &y);
        int j = nearest(g, b, x, y, radius, &d2);
        pair[i] = -1;
        if (j < 0 || (owner[j] >= 0 && d2_of[j] <= d2)) continue;
        if (owner[j] >= 0) pair[owner[j]] = -1;
        else n++;
        owner[j] = i;
        d2_of[j] = d2;
        pair[i] = j;
    }
    return n;
}

enum err match_pairs(const struct match_star *a, int na, const struct match_star *b, int nb, const double m[4], const double t[2],
                     double radius, int *pair, struct error *err)
{
    struct grid g = {0};
    for (int i = 0; i < na; i++) pair[i] = -1;
    if (na < 1 || nb < 1) return ERR_OK;
    int *owner = malloc((size_t)nb * sizeof *owner);
    double *d2 = malloc((size_t)nb * sizeof *d2);
    enum err e = owner && d2 ? grid_init(&g, b, nb, radius, err) : ERROR(err, ERR_NOMEM, "could not match stars: out of memory");
    if (!e) {
        pair_up(&g, a, na, b, nb, m, t, radius, pair, owner, d2);
        grid_release(&g);
    }
    free(owner);
    free(d2);
    return e;
}

/* ---- voting ----------------------------------------------------------------------------------------------------- */

static int by_flux(const void *p, const void *q)
{
    const struct match_star *a = p, *b = q;
    if (a->flux != b->flux) return a->flux < b->flux ? 1 : -1;
    if (a->y != b->y) return a->y < b->y ? -1 : 1;
    return (a->x > b->x) - (a->x < b->x);
}

static struct match_star *brightest(const struct match_star *s, int n, int keep, int *ret_n)
{
    struct match_star *copy = malloc((size_t)(n > 0 ? n : 1) * sizeof *copy);
    if (!copy) return NULL;
    memcpy(copy, s, (size_t)n * sizeof *copy);
    qsort(copy, (size_t)n, sizeof *copy, by_flux);
    *ret_n = n < keep ? n : keep;
    return copy;
}

struct vote {
    double dx, dy;
    int count;
};

/* The offset b - sign * a with most pairs: offsets fall into cells of one tolerance, 3 x 3 cells are summed. */
static enum err vote(const struct match_star *a, int na, const struct match_star *b, int nb, int sign, const struct match_options *opt,
                     double ax, double ay, struct vote *ret, struct error *err)
{
    double cell = opt->tolerance_px;
    int side = 2 * (int)ceil(opt->max_shift_px / cell) + 3;
    uint16_t *count = calloc((size_t)side * (size_t)side, sizeof *count);
    if (!count) return ERROR(err, ERR_NOMEM, "could not match stars: out of memory");
    *ret = (struct vote){0};
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < na; i++)
            for (int j = 0; j < nb; j++) {
                double dx = b[j].x - (ax + sign * (a[i].x - ax)), dy = b[j].y - (ay + sign * (a[i].y - ay));
                if (fabs(dx) > opt->max_shift_px || fabs(dy) > opt->max_shift_px) continue;
                int u = (int)floor(dx / cell) + side / 2, v = (int)floor(dy / cell) + side / 2;
                if (u < 1 || v < 1 || u >= side - 1 || v >= side - 1) continue;
                if (pass == 0) {
                    if (count[v * side + u] < UINT16_MAX) count[v * side + u]++;
                    continue;
                }
                int sum = 0;
                for (int k = -1; k <= 1; k++)
                    for (int l = -1; l <= 1; l++) sum += count[(v + k) * side + u + l];
                if (sum > ret->count) *ret = (struct vote){dx, dy, sum};
            }
    free(count);
    return ERR_OK;
}

/* ---- refinement ------------------------------------------------------------------------------------------------- */

/* Least-squares rotation and shift b = R a + t over the pairs; turned: R near a half turn. */
static void fit_rigid(const struct match_star *a, int na, const struct match_star *b, const int *pair, bool rotate, bool turned,
                      double m[4], double t[2])
{
    double n = 0, ax = 0, ay = 0, bx = 0, by = 0, sc = 0, ss = 0, sign = turned ? -1 : 1;
    for (int i = 0; i < na; i++) {
        if (pair[i] < 0) continue;
        n++;
        ax += a[i].x;
        ay += a[i].y;
        bx += b[pair[i]].x;
        by += b[pair[i]].y;
    }
    if (n < 1) return;
    ax /= n, ay /= n, bx /= n, by /= n;
    for (int i = 0; i < na; i++) {
        if (pair[i] < 0) continue;
        double u = a[i].x - ax, v = a[i].y - ay, p = b[pair[i]].x - bx, q = b[pair[i]].y - by;
        sc += u * p + v * q;
        ss += u * q - v * p;
    }
    double norm = hypot(sc, ss), c = sign, s = 0;
    if (rotate && norm > 0) c = sc / norm, s = ss / norm;
    m[0] = c, m[1] = -s, m[2] = s, m[3] = c;
    t[0] = bx - (c * ax - s * ay);
    t[1] = by - (s * ax + c * ay);
}

static double pair_rms(const struct match_star *a, int na, const struct match_star *b, const int *pair, const double m[4], const double t[2])
{
    double sum = 0;
    int n = 0;
    for (int i = 0; i < na; i++) {
        if (pair[i] < 0) continue;
        double x, y;
        apply(m, t, a[i].x, a[i].y, &x, &y);
        sum += (b[pair[i]].x - x) * (b[pair[i]].x - x) + (b[pair[i]].y - y) * (b[pair[i]].y - y);
        n++;
    }
    return n ? sqrt(sum / (2 * n)) : INFINITY;
}

enum { ROUNDS = 6, ROTATE_FROM = 4 };

static enum err refine(const struct match_star *a, int na, const struct match_star *b, int nb, const struct match_options *opt,
                       struct match_result *r, struct error *err)
{
    int *pair = malloc((size_t)na * sizeof *pair);
    if (!pair) return ERROR(err, ERR_NOMEM, "could not match stars: out of memory");
    enum err e = ERR_OK;
    double radius = 2 * opt->tolerance_px;
    for (int round = 0; round < ROUNDS && !e; round++) {
        e = match_pairs(a, na, b, nb, r->m, r->t, radius, pair, err);
        if (e) break;
        r->pairs = 0;
        for (int i = 0; i < na; i++) r->pairs += pair[i] >= 0;
        if (r->pairs < 2) break;
        fit_rigid(a, na, b, pair, r->pairs >= ROTATE_FROM && round > 0, r->turned, r->m, r->t);
        r->rms_px = pair_rms(a, na, b, pair, r->m, r->t);
        radius = fmin(opt->tolerance_px, fmax(3 * r->rms_px, 0.3 * opt->tolerance_px));
    }
    free(pair);
    return e;
}

static double area_of(const struct match_star *s, int n)
{
    double x0 = INFINITY, x1 = -INFINITY, y0 = INFINITY, y1 = -INFINITY;
    for (int i = 0; i < n; i++) {
        x0 = fmin(x0, s[i].x), x1 = fmax(x1, s[i].x);
        y0 = fmin(y0, s[i].y), y1 = fmax(y1, s[i].y);
    }
    return fmax(1, (x1 - x0) * (y1 - y0));
}

enum err match_stars(const struct match_star *a, int na, const struct match_star *b, int nb, const struct match_options *opt,
                     struct match_result *ret, struct error *err)
{
    int va = 0, vb = 0;
    struct match_result best = {0};
    if (na < 2 || nb < 2) return ERROR(err, ERR_NOT_FOUND, "cannot match %d stars with %d: too few", na, nb);
    struct match_star *bright_a = brightest(a, na, opt->bright, &va), *bright_b = brightest(b, nb, opt->bright, &vb);
    enum err e = bright_a && bright_b ? ERR_OK : ERROR(err, ERR_NOMEM, "could not match stars: out of memory");
    /* Half a turn is about the middle of list a, so that its shift stays within reach too. */
    double cx = 0, cy = 0;
    for (int i = 0; i < na; i++) cx += a[i].x / na, cy += a[i].y / na;
    for (int turned = 0; turned <= (opt->half_turn ? 1 : 0) && !e; turned++) {
        struct vote v = {0};
        int sign = turned ? -1 : 1;
        e = vote(bright_a, va, bright_b, vb, sign, opt, cx, cy, &v, err);
        if (e || v.count < 2) continue;
        struct match_result r = {.m = {sign, 0, 0, sign}, .t = {v.dx + cx - sign * cx, v.dy + cy - sign * cy}, .turned = turned};
        e = refine(a, na, b, nb, opt, &r, err);
        if (r.pairs > best.pairs) best = r;
    }
    free(bright_a);
    free(bright_b);
    if (e) return e;
    /* Chance: stars of a times the share of the sky that circles around b cover, for each of the shifts tried. */
    double cover = PI * opt->tolerance_px * opt->tolerance_px * nb / area_of(b, nb);
    best.chance = na * fmin(1, cover);
    double need = fmax(opt->min_pairs, best.chance + 5 * sqrt(best.chance + 1));
    if (best.pairs < need)
        return ERROR(err, ERR_NOT_FOUND, "cannot match %d stars with %d: the best shift pairs %d, chance alone gives %.1f", na, nb,
                     best.pairs, best.chance);
    *ret = best;
    return ERR_OK;
}
