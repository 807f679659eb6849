#include "processors/starmatch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/units.h"

/* ---- neighbours --------------------------------------------------------------------------------------------------- */

struct plane_index {
    const struct plane_star *s;
    double x0, y0, cell;
    int nx, ny;
    int *start, *item; /* nx * ny + 1; stars cell by cell */
};

static int clamp_cell(double v, int n)
{
    return v < 0 ? 0 : v >= n ? n - 1 : (int)v;
}

struct plane_index *plane_index_new(const struct plane_star *s, int n, double cell)
{
    struct plane_index *x = calloc(1, sizeof *x);
    if (!x) return NULL;
    double x1 = -INFINITY, y1 = -INFINITY;
    x->s = s;
    x->x0 = x->y0 = INFINITY;
    for (int i = 0; i < n; i++) {
        x->x0 = fmin(x->x0, s[i].x), x1 = fmax(x1, s[i].x);
        x->y0 = fmin(x->y0, s[i].y), y1 = fmax(y1, s[i].y);
    }
    if (n < 1) x->x0 = x->y0 = x1 = y1 = 0;
    double extent = fmax(x1 - x->x0, y1 - x->y0);
    x->cell = fmax(cell, fmax(extent / 512, 1e-9));
    x->nx = (int)((x1 - x->x0) / x->cell) + 1;
    x->ny = (int)((y1 - x->y0) / x->cell) + 1;
    size_t cells = (size_t)x->nx * (size_t)x->ny;
    x->start = calloc(cells + 2, sizeof *x->start);
    x->item = malloc((size_t)(n + 1) * sizeof *x->item);
    if (!x->start || !x->item) {
        plane_index_free(x);
        return NULL;
    }
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < n; i++) {
            size_t c = (size_t)clamp_cell((s[i].y - x->y0) / x->cell, x->ny) * (size_t)x->nx + (size_t)clamp_cell((s[i].x - x->x0) / x->cell, x->nx);
            if (pass) x->item[x->start[c + 1]++] = i;
            else x->start[c + 2]++;
        }
        for (size_t c = 0; !pass && c < cells; c++) x->start[c + 2] += x->start[c + 1];
    }
    return x;
}

void plane_index_free(struct plane_index *x)
{
    if (!x) return;
    free(x->start);
    free(x->item);
    free(x);
}

struct span {
    int i0, i1, j0, j1;
};

static struct span span_of(const struct plane_index *x, double px, double py, double radius)
{
    double u = (px - x->x0) / x->cell, v = (py - x->y0) / x->cell, r = radius / x->cell;
    return (struct span){clamp_cell(floor(u - r), x->nx), clamp_cell(floor(u + r), x->nx), clamp_cell(floor(v - r), x->ny), clamp_cell(floor(v + r), x->ny)};
}

int plane_index_nearest(const struct plane_index *x, double px, double py, double radius, double *ret_distance)
{
    double best2 = radius * radius;
    int best = -1;
    if (!isfinite(px) || !isfinite(py)) return -1;
    struct span s = span_of(x, px, py, radius);
    for (int j = s.j0; j <= s.j1; j++)
        for (int i = s.i0; i <= s.i1; i++)
            for (int k = x->start[j * x->nx + i]; k < x->start[j * x->nx + i + 1]; k++) {
                const struct plane_star *p = &x->s[x->item[k]];
                double d2 = (p->x - px) * (p->x - px) + (p->y - py) * (p->y - py);
                if (d2 < best2 || (d2 == best2 && (best < 0 || x->item[k] < best))) best2 = d2, best = x->item[k];
            }
    if (ret_distance) *ret_distance = sqrt(best2);
    return best;
}

/* ---- locally bright stars ------------------------------------------------------------------------------------------ */

struct ranked {
    double mag;
    int i;
};

static int by_mag(const void *p, const void *q)
{
    const struct ranked *a = p, *b = q;
    if (a->mag != b->mag) return a->mag < b->mag ? -1 : 1;
    return (a->i > b->i) - (a->i < b->i);
}

/* Indices in the order of brightness; NULL: no memory. */
static struct ranked *rank_stars(const struct plane_star *s, int n)
{
    struct ranked *r = malloc((size_t)(n + 1) * sizeof *r);
    for (int i = 0; r && i < n; i++) r[i] = (struct ranked){isnan(s[i].mag) ? 1e30 : s[i].mag, i};
    if (r) qsort(r, (size_t)n, sizeof *r, by_mag);
    return r;
}

/* order[i] is the place of star i in brightness. */
static bool few_brighter(const struct plane_index *x, const int *order, int star, double radius, int rank)
{
    const struct plane_star *me = &x->s[star];
    struct span s = span_of(x, me->x, me->y, radius);
    int brighter = 0;
    for (int j = s.j0; j <= s.j1; j++)
        for (int i = s.i0; i <= s.i1; i++)
            for (int k = x->start[j * x->nx + i]; k < x->start[j * x->nx + i + 1]; k++) {
                const struct plane_star *p = &x->s[x->item[k]];
                if (order[x->item[k]] >= order[star]) continue;
                if ((p->x - me->x) * (p->x - me->x) + (p->y - me->y) * (p->y - me->y) > radius * radius) continue;
                if (++brighter >= rank) return false;
            }
    return true;
}

int plane_locally_bright(const struct plane_star *s, int n, double radius, int rank, int max, int *ret)
{
    struct ranked *r = rank_stars(s, n);
    struct plane_index *x = plane_index_new(s, n, radius / 3);
    int *order = malloc((size_t)(n + 1) * sizeof *order), kept = 0;
    bool good = r && x && order;
    for (int i = 0; good && i < n; i++) order[r[i].i] = i;
    for (int i = 0; good && i < n && kept < max; i++)
        if (few_brighter(x, order, r[i].i, radius, rank)) ret[kept++] = r[i].i;
    free(r);
    free(order);
    plane_index_free(x);
    return good ? kept : -1;
}

/* ---- quads --------------------------------------------------------------------------------------------------------- */

enum { NEIGHBOURS = 6 };
#define CODE_TOLERANCE 0.012 /* positions to a pixel or two over quads of some hundred pixels, and local distortion */
#define CODE_CELL      0.02
#define CODE_CELLS     128   /* codes lie within (-0.3, 1.3) */

struct quad {
    int star[4];      /* A, B farthest apart; C, D */
    float code[4];    /* xC, yC, xD, yD */
    float length;     /* |AB| */
};

struct quads {
    int n, capacity;
    struct quad *q;
};

/* The four numbers with C and D in canonical order, A and B swapped so that xC + xD <= 1. */
static struct quad quad_of(const struct plane_star *s, const int four[4], bool mirror)
{
    int a = 0, b = 1;
    double far2 = -1;
    for (int i = 0; i < 4; i++)
        for (int j = i + 1; j < 4; j++) {
            double dx = s[four[i]].x - s[four[j]].x, dy = s[four[i]].y - s[four[j]].y, d2 = dx * dx + dy * dy;
            if (d2 > far2) far2 = d2, a = i, b = j;
        }
    int c = 0, d;
    while (c == a || c == b) c++;
    d = 6 - a - b - c;
    struct quad q = {.star = {four[a], four[b], four[c], four[d]}, .length = (float)sqrt(far2)};
    double ux = s[q.star[1]].x - s[q.star[0]].x, uy = s[q.star[1]].y - s[q.star[0]].y, code[4];
    for (int k = 0; k < 2; k++) {
        double px = s[q.star[2 + k]].x - s[q.star[0]].x, py = s[q.star[2 + k]].y - s[q.star[0]].y;
        double along = (px * ux + py * uy) / far2, across = (py * ux - px * uy) / far2;
        if (mirror) across = -across;
        code[2 * k] = along - across; /* A at (0, 0), B at (1, 1) */
        code[2 * k + 1] = along + across;
    }
    if (code[0] + code[2] > 1) {
        int t = q.star[0];
        q.star[0] = q.star[1], q.star[1] = t;
        for (int k = 0; k < 4; k++) code[k] = 1 - code[k];
    }
    bool swap = code[0] > code[2];
    if (swap) {
        int t = q.star[2];
        q.star[2] = q.star[3], q.star[3] = t;
    }
    for (int k = 0; k < 4; k++) q.code[k] = (float)code[swap ? (k + 2) % 4 : k];
    return q;
}

static bool add_quad(struct quads *l, struct quad q)
{
    if (l->n == l->capacity) {
        int want = l->capacity ? 2 * l->capacity : 2048;
        struct quad *more = realloc(l->q, (size_t)want * sizeof *more);
        if (!more) return false;
        l->q = more;
        l->capacity = want;
    }
    l->q[l->n++] = q;
    return true;
}

static int by_stars(const void *p, const void *q)
{
    return memcmp(p, q, 4 * sizeof(int));
}

static void sort4(int v[4])
{
    for (int i = 1; i < 4; i++)
        for (int j = i; j > 0 && v[j] < v[j - 1]; j--) {
            int t = v[j];
            v[j] = v[j - 1], v[j - 1] = t;
        }
}

/* The nearest of the chosen stars (an index over copies of them) to one of them, the nearest first. */
static int nearest_chosen(const struct plane_index *x, int n, int me, double radius, int ret[NEIGHBOURS])
{
    double d2[NEIGHBOURS];
    int have = 0, want = n - 1 < NEIGHBOURS ? n - 1 : NEIGHBOURS;
    for (; have < want && radius > 0; radius *= 2) {
        struct span s = span_of(x, x->s[me].x, x->s[me].y, radius);
        have = 0;
        for (int j = s.j0; j <= s.j1; j++)
            for (int i = s.i0; i <= s.i1; i++)
                for (int k = x->start[j * x->nx + i]; k < x->start[j * x->nx + i + 1]; k++) {
                    int it = x->item[k];
                    double dx = x->s[it].x - x->s[me].x, dy = x->s[it].y - x->s[me].y, d = dx * dx + dy * dy;
                    if (it == me || d > radius * radius || (have == NEIGHBOURS && d >= d2[have - 1])) continue;
                    int at = have < NEIGHBOURS ? have++ : have - 1;
                    for (; at > 0 && (d2[at - 1] > d || (d2[at - 1] == d && ret[at - 1] > it)); at--) d2[at] = d2[at - 1], ret[at] = ret[at - 1];
                    d2[at] = d;
                    ret[at] = it;
                }
        if (s.i0 == 0 && s.j0 == 0 && s.i1 == x->nx - 1 && s.j1 == x->ny - 1) break; /* that was all */
    }
    return have;
}

/* radius: about the distance of a star's neighbours. */
static bool all_quads(const struct plane_star *s, const int *chosen, int n, double radius, bool mirror, struct quads *ret)
{
    int (*four)[4] = malloc((size_t)(n + 1) * 20 * sizeof *four), count = 0;
    struct plane_star *copy = calloc((size_t)n + 1, sizeof *copy);
    for (int i = 0; copy && i < n; i++) copy[i] = s[chosen[i]];
    struct plane_index *index = copy ? plane_index_new(copy, n, radius) : NULL;
    bool good = four && index;
    for (int i = 0; good && i < n; i++) {
        int near[NEIGHBOURS], have = nearest_chosen(index, n, i, radius, near);
        for (int a = 0; a < have; a++)
            for (int b = a + 1; b < have; b++)
                for (int c = b + 1; c < have; c++) {
                    int v[4] = {chosen[i], chosen[near[a]], chosen[near[b]], chosen[near[c]]};
                    sort4(v);
                    memcpy(four[count++], v, sizeof v);
                }
    }
    if (good) qsort(four, (size_t)count, sizeof *four, by_stars);
    for (int i = 0; i < count && good; i++)
        if (!i || memcmp(four[i], four[i - 1], sizeof *four)) {
            struct quad q = quad_of(s, four[i], mirror);
            if (q.length > 0) good = add_quad(ret, q);
        }
    free(four);
    free(copy);
    plane_index_free(index);
    return good;
}

/* ---- from a quad to a transformation ------------------------------------------------------------------------------- */

struct search {
    const struct plane_star *a, *b;
    int na, nb;
    const struct starmatch_options *opt;
    struct plane_index *index;  /* of all of b */
    int *test;                  /* stars of a that are asked whether they fall in place, brightest first */
    int ntest;
    int *first, *next;          /* quads of b by their first two numbers */
    double span;                /* of a, for the shifts that measure chance */
    struct starmatch_result best;
};

static void apply(const struct starmatch_result *r, double x, double y, double *ret_x, double *ret_y)
{
    *ret_x = r->m[0] * x + r->m[1] * y + r->t[0];
    *ret_y = r->m[2] * x + r->m[3] * y + r->t[1];
}

static void similarity(const struct search *s, const struct quad *qa, const struct quad *qb, bool mirror, struct starmatch_result *r)
{
    double ax = 0, ay = 0, bx = 0, by = 0, sc = 0, ss = 0, n2 = 0, sign = mirror ? -1 : 1;
    for (int k = 0; k < 4; k++) {
        ax += s->a[qa->star[k]].x / 4, ay += sign * s->a[qa->star[k]].y / 4;
        bx += s->b[qb->star[k]].x / 4, by += s->b[qb->star[k]].y / 4;
    }
    for (int k = 0; k < 4; k++) {
        double u = s->a[qa->star[k]].x - ax, v = sign * s->a[qa->star[k]].y - ay, p = s->b[qb->star[k]].x - bx, q = s->b[qb->star[k]].y - by;
        sc += u * p + v * q;
        ss += u * q - v * p;
        n2 += u * u + v * v;
    }
    double c = sc / n2, d = ss / n2;
    r->m[0] = c, r->m[1] = -d * sign, r->m[2] = d, r->m[3] = c * sign;
    r->t[0] = bx - c * ax + d * ay;
    r->t[1] = by - d * ax - c * ay;
}

double match_log_odds(double pairs, double chance)
{
    if (pairs <= chance) return 0;
    return pairs * log(pairs / chance) - (pairs - chance);
}

static int count_pairs(const struct search *s, const struct starmatch_result *r, int ntest, double dx, double dy, double radius)
{
    int n = 0;
    for (int i = 0; i < ntest; i++) {
        double x, y;
        apply(r, s->a[s->test[i]].x, s->a[s->test[i]].y, &x, &y);
        n += plane_index_nearest(s->index, x + dx, y + dy, radius, NULL) >= 0;
    }
    return n;
}

/* Pairs that fall in place when nothing fits: the lists shifted against each other by more than a pair's tolerance. */
static double measure_chance(const struct search *s, const struct starmatch_result *r, double radius)
{
    static const double way[8][2] = {{1, 0}, {-1, 0}, {0, 1}, {0, -1}, {0.7, 0.7}, {-0.7, 0.7}, {0.7, -0.7}, {-0.7, -0.7}};
    double sum = 0;
    for (int k = 0; k < 8; k++) {
        double step = radius * (4 + k);
        sum += count_pairs(s, r, s->ntest, way[k][0] * step, way[k][1] * step, radius);
    }
    double smooth = (sum + 1) / 8; /* never nought */
    return fmax(smooth, 0.002 * s->ntest);
}

/* Least-squares affine over the pairs within radius; each star of b serves once. Returned: pairs. */
static int refit(const struct search *s, struct starmatch_result *r, double radius)
{
    double n = 0, sx = 0, sy = 0, sxx = 0, sxy = 0, syy = 0, p[2] = {0}, px[2] = {0}, py[2] = {0};
    for (int i = 0; i < s->ntest; i++) {
        const struct plane_star *a = &s->a[s->test[i]];
        double x, y;
        apply(r, a->x, a->y, &x, &y);
        int j = plane_index_nearest(s->index, x, y, radius, NULL);
        if (j < 0) continue;
        double to[2] = {s->b[j].x, s->b[j].y};
        n++, sx += a->x, sy += a->y, sxx += a->x * a->x, sxy += a->x * a->y, syy += a->y * a->y;
        for (int k = 0; k < 2; k++) p[k] += to[k], px[k] += to[k] * a->x, py[k] += to[k] * a->y;
    }
    if (n < 4) return (int)n;
    double cxx = sxx - sx * sx / n, cxy = sxy - sx * sy / n, cyy = syy - sy * sy / n, det = cxx * cyy - cxy * cxy;
    if (!(det > 1e-3 * cxx * cyy)) return (int)n; /* all in a line */
    for (int k = 0; k < 2; k++) {
        double u = px[k] - sx * p[k] / n, v = py[k] - sy * p[k] / n;
        r->m[2 * k] = (u * cyy - v * cxy) / det;
        r->m[2 * k + 1] = (v * cxx - u * cxy) / det;
        r->t[k] = (p[k] - r->m[2 * k] * sx - r->m[2 * k + 1] * sy) / n;
    }
    return (int)n;
}

/* Ratio of the axes of the ellipse that a circle becomes, and the scale. */
static bool sane(const struct search *s, const struct starmatch_result *r)
{
    double det = fabs(r->m[0] * r->m[3] - r->m[1] * r->m[2]);
    double sum = r->m[0] * r->m[0] + r->m[1] * r->m[1] + r->m[2] * r->m[2] + r->m[3] * r->m[3];
    double scale = sqrt(det), excess = sum / (2 * det); /* (q + 1/q) / 2 for axes of ratio q */
    return fabs(scale - 1) < 1.1 * s->opt->scale_tolerance && excess < 1.002; /* q < 1.065 */
}

enum { QUICK_TEST = 60, QUICK_PAIRS = 6 };

/* Look at one transformation: quickly at the bright ones, then at all; the best is kept. */
static void try_one(struct search *s, const struct quad *qa, const struct quad *qb, bool mirror)
{
    struct starmatch_result r = {0};
    double radius = s->opt->tolerance;
    similarity(s, qa, qb, mirror, &r);
    s->best.tried++;
    int quick = s->ntest < QUICK_TEST ? s->ntest : QUICK_TEST, need = quick / 4 < QUICK_PAIRS ? quick / 4 : QUICK_PAIRS;
    if (!sane(s, &r) || count_pairs(s, &r, quick, 0, 0, radius) < (need > 4 ? need : 4)) return;
    for (int round = 0; round < 4; round++) refit(s, &r, round < 2 ? 1.5 * radius : radius);
    r.pairs = count_pairs(s, &r, s->ntest, 0, 0, radius);
    r.chance = measure_chance(s, &r, radius);
    r.log_odds = match_log_odds(r.pairs, r.chance);
    if (!sane(s, &r) || r.log_odds <= s->best.log_odds) return;
    r.tried = s->best.tried;
    r.flipped = r.m[0] * r.m[3] < r.m[1] * r.m[2];
    s->best = r;
}

static int code_cell(float v)
{
    return clamp_cell(floor(((double)v + 0.3) / CODE_CELL), CODE_CELLS);
}

static bool index_quads(struct search *s, const struct quads *qb)
{
    s->first = malloc(CODE_CELLS * CODE_CELLS * sizeof *s->first);
    s->next = malloc((size_t)(qb->n + 1) * sizeof *s->next);
    if (!s->first || !s->next) return false;
    for (int c = 0; c < CODE_CELLS * CODE_CELLS; c++) s->first[c] = -1;
    for (int i = qb->n - 1; i >= 0; i--) {
        int c = code_cell(qb->q[i].code[1]) * CODE_CELLS + code_cell(qb->q[i].code[0]);
        s->next[i] = s->first[c];
        s->first[c] = i;
    }
    return true;
}

static bool alike(const struct quad *a, const struct quad *b, double scale_tolerance)
{
    for (int k = 0; k < 4; k++)
        if (fabsf(a->code[k] - b->code[k]) > (float)CODE_TOLERANCE) return false;
    return fabs((double)b->length / (double)a->length - 1) < scale_tolerance;
}

#define SURE_LOG_ODDS 150.0

static void try_quad(struct search *s, const struct quad *qa, const struct quads *qb, bool mirror)
{
    int u = code_cell(qa->code[0]), v = code_cell(qa->code[1]);
    for (int j = v > 0 ? v - 1 : 0; j <= v + 1 && j < CODE_CELLS; j++)
        for (int i = u > 0 ? u - 1 : 0; i <= u + 1 && i < CODE_CELLS; i++)
            for (int k = s->first[j * CODE_CELLS + i]; k >= 0; k = s->next[k])
                if (alike(qa, &qb->q[k], s->opt->scale_tolerance)) try_one(s, qa, &qb->q[k], mirror);
}

/* ---- the search ---------------------------------------------------------------------------------------------------- */

static double area_of(const struct plane_star *s, int n, double *ret_span)
{
    double x0 = INFINITY, x1 = -INFINITY, y0 = INFINITY, y1 = -INFINITY;
    for (int i = 0; i < n; i++) {
        x0 = fmin(x0, s[i].x), x1 = fmax(x1, s[i].x);
        y0 = fmin(y0, s[i].y), y1 = fmax(y1, s[i].y);
    }
    *ret_span = fmax(x1 - x0, y1 - y0);
    return fmax((x1 - x0) * (y1 - y0), 1);
}

enum { RANK = 3, CHOSEN_MAX = 40000, TEST_MAX = 400 };

/* One try at one depth: `bright` locally bright stars of the frame, as bright ones of the references. */
static bool search_depth(struct search *s, int bright)
{
    double area = area_of(s->a, s->na, &s->span), radius = sqrt(area * RANK / (PI * bright));
    int *ca = malloc((size_t)(s->na + 1) * sizeof *ca), *cb = malloc((size_t)(s->nb + 1) * sizeof *cb), na = 0, nb = 0;
    struct quads qa[2] = {{0}}, qb = {0};
    bool good = ca && cb;
    if (good) na = plane_locally_bright(s->a, s->na, radius, RANK, 2 * bright, ca);
    if (good) nb = plane_locally_bright(s->b, s->nb, radius, RANK, CHOSEN_MAX, cb);
    good = good && na >= 0 && nb >= 0;
    if (good) good = all_quads(s->a, ca, na, radius, false, &qa[0]) && all_quads(s->a, ca, na, radius, true, &qa[1]) && all_quads(s->b, cb, nb, radius, false, &qb);
    if (good) good = index_quads(s, &qb);
    int n = qa[0].n > qa[1].n ? qa[0].n : qa[1].n;
    for (int i = 0; good && i < n && s->best.log_odds < SURE_LOG_ODDS; i++)
        for (int mirror = 0; mirror < 2; mirror++)
            if (i < qa[mirror].n) try_quad(s, &qa[mirror].q[i], &qb, mirror);
    free(ca);
    free(cb);
    free(qa[0].q);
    free(qa[1].q);
    free(qb.q);
    free(s->first);
    free(s->next);
    s->first = s->next = NULL;
    return good;
}

enum err starmatch_find(const struct plane_star *a, int na, const struct plane_star *b, int nb, const struct starmatch_options *opt,
                        struct starmatch_result *ret, struct error *err)
{
    struct search s = {.a = a, .b = b, .na = na, .nb = nb, .opt = opt};
    *ret = (struct starmatch_result){0};
    if (na < 4 || nb < 4) return ERROR(err, ERR_NOT_FOUND, "%d stars of the frame and %d references are too few", na, nb);
    double area = area_of(a, na, &s.span);
    s.index = plane_index_new(b, nb, opt->tolerance);
    s.test = malloc((size_t)(na + 1) * sizeof *s.test);
    bool good = s.index && s.test;
    if (good) s.ntest = plane_locally_bright(a, na, sqrt(area / (PI * TEST_MAX)), 2, TEST_MAX, s.test);
    good = good && s.ntest >= 0;
    int depth[3] = {opt->bright, opt->bright / 2, 2 * opt->bright};
    for (int k = 0; k < 3 && good && s.best.log_odds < opt->accept_log_odds; k++) good = search_depth(&s, depth[k]);
    plane_index_free(s.index);
    free(s.test);
    *ret = s.best;
    if (!good) return ERROR(err, ERR_NOMEM, "no memory to match %d stars with %d", na, nb);
    if (s.best.log_odds >= opt->accept_log_odds) return ERR_OK;
    return ERROR(err, ERR_NOT_FOUND, "no place for the frame among %d reference stars: the best fits %d of %d stars, chance gives %.1f", nb, s.best.pairs, s.ntest, s.best.chance);
}
