#include "processors/photometry.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/isa.h"
#include "processors/photometry_kernels.h"

const struct photometry_kernels *photometry_kernels_now(void)
{
#ifdef NIGHTSHIFT_HAVE_AVX2
    if (isa_level() == ISA_AVX2) return &photometry_kernels_avx2;
#endif
    return &photometry_kernels_generic;
}

/* ---- stamps ----------------------------------------------------------------------------------------------------- */

void stamp_init(struct stamp *s)
{
    *s = (struct stamp){0};
}

void stamp_release(struct stamp *s)
{
    free(s->memory);
    stamp_init(s);
}

static int32_t round_up_8(int32_t n)
{
    return (n + 7) & ~7;
}

/* Give the stamp room for its planes; old contents are lost. */
static enum err stamp_room(struct stamp *s, bool variance, struct error *err)
{
    int64_t plane = (int64_t)s->ny * s->stride, rows = round_up_8(s->ny);
    int64_t need = plane * (variance ? 3 : 2) + 2 * (int64_t)s->stride + 2 * rows;
    if (need > s->floats) {
        int64_t floats = need + need / 2;
        float *memory = mem_array((size_t)floats, sizeof(float));
        if (!memory) return ERROR(err, ERR_NOMEM, "no memory for a stamp of %d x %d pixels", s->nx, s->ny);
        free(s->memory);
        s->memory = memory;
        s->floats = floats;
    }
    float *p = s->memory;
    s->value = p, p += plane;
    s->bad = (int32_t *)(void *)p, p += plane;
    s->sigma2 = variance ? p : NULL, p += variance ? plane : 0;
    s->dx = p, p += s->stride;
    s->wx = p, p += s->stride;
    s->dy = p, p += rows;
    s->wy = p;
    return ERR_OK;
}

/* [*a, *b) = pixels within half of centre, inside [0, n). */
static bool span(double centre, double half, int64_t n, int32_t *a, int32_t *b)
{
    double lo = ceil(centre - half), hi = floor(centre + half);
    if (!(hi >= 0.0) || !(lo <= (double)n - 1.0)) return false;
    *a = lo > 0.0 ? (int32_t)lo : 0;
    *b = hi < (double)n - 1.0 ? (int32_t)hi + 1 : (int32_t)n;
    return *b > *a;
}

static bool usable_mask(const struct image_view *v, int64_t i)
{
    return !v->mask || mask_is_measurable(v->mask[i]);
}

static bool usable_variance(const struct image_view *v, int64_t i)
{
    return !v->sigma2 || (v->sigma2[i] > 0.0f && isfinite(v->sigma2[i]));
}

static bool good_pixel(const struct image_view *v, int64_t i, int32_t id, enum neighbour_rule rule)
{
    bool neighbour = rule != NEIGHBOURS_KEPT && v->segment && v->segment[i] && v->segment[i] != id;
    return !neighbour && isfinite(v->value[i]) && usable_mask(v, i) && usable_variance(v, i);
}

/* Note the pixels of row j that are taken out. */
static void note_bad(struct stamp *s, const struct image_view *v, int32_t id, enum neighbour_rule rule, int32_t j)
{
    int64_t at = (int64_t)(s->y0 + j) * v->nx + s->x0;
    for (int32_t k = 0; k < s->nx; k++) {
        if (good_pixel(v, at + k, id, rule)) continue;
        int32_t i = j * s->stride + k;
        s->value[i] = 0.0f;
        if (s->sigma2) s->sigma2[i] = 0.0f;
        s->bad[s->nbad++] = i;
    }
}

static bool row_has_unusable(const struct stamp *s, const struct image_view *v, int64_t at)
{
    bool any = false;
    for (int32_t k = 0; v->mask && k < s->nx; k++) any |= !mask_is_measurable(v->mask[at + k]);
    for (int32_t k = 0; v->sigma2 && k < s->nx; k++) any |= !usable_variance(v, at + k);
    return any;
}

enum err stamp_load(struct stamp *s, const struct image_view *view, int32_t id, enum neighbour_rule rule, double x, double y,
                    double hx, double hy, struct error *err)
{
    const struct photometry_kernels *kernels = photometry_kernels_now();
    int32_t x1, y1;
    if (!span(x, hx, view->nx, &s->x0, &x1) || !span(y, hy, view->ny, &s->y0, &y1))
        return ERROR(err, ERR_SHAPE, "a stamp around (%g, %g) misses the image of %lld x %lld", x, y, (long long)view->nx, (long long)view->ny);
    s->nx = x1 - s->x0;
    s->ny = y1 - s->y0;
    s->stride = round_up_8(s->nx);
    enum err e = stamp_room(s, view->sigma2 != NULL, err);
    if (e) return e;
    s->nbad = 0;
    s->mirrored = false;
    const int32_t *segment = rule == NEIGHBOURS_KEPT ? NULL : view->segment;
    const bool masked = view->mask || view->sigma2;
    for (int32_t j = 0; j < s->ny; j++) {
        int64_t at = (int64_t)(s->y0 + j) * view->nx + s->x0;
        float *row = s->value + (int64_t)j * s->stride;
        int32_t n = s->x0 + s->stride <= view->nx ? s->stride : s->nx;
        int any = kernels->load(row, view->value + at, segment ? segment + at : NULL, id, n);
        if (n < s->stride) memset(row + n, 0, (size_t)(s->stride - n) * sizeof *row);
        if (s->sigma2) {
            memcpy(s->sigma2 + (int64_t)j * s->stride, view->sigma2 + at, (size_t)s->nx * sizeof(float));
            memset(s->sigma2 + (int64_t)j * s->stride + s->nx, 0, (size_t)(s->stride - s->nx) * sizeof(float));
        }
        if (any || (masked && row_has_unusable(s, view, at))) note_bad(s, view, id, rule, j);
    }
    return ERR_OK;
}

void stamp_prefetch(const struct image_view *view, double x, double y, double half)
{
    int32_t x0, x1, y0, y1;
    if (!(half < 64.0) || !span(x, half, view->nx, &x0, &x1) || !span(y, half, view->ny, &y0, &y1)) return;
    for (int64_t j = y0; j < y1; j++)
        for (int64_t k = x0; k < x1 + 15; k += 16) { /* 16 pixels to a cache line */
            int64_t at = j * view->nx + (k < x1 ? k : x1 - 1);
            __builtin_prefetch(view->value + at);
            if (view->segment) __builtin_prefetch(view->segment + at);
        }
}

bool stamp_covers(const struct stamp *s, const struct image_view *view, double x, double y, double hx, double hy)
{
    int32_t x0, x1, y0, y1;
    if (!span(x, hx, view->nx, &x0, &x1) || !span(y, hy, view->ny, &y0, &y1)) return true;
    return x0 >= s->x0 && y0 >= s->y0 && x1 <= s->x0 + s->nx && y1 <= s->y0 + s->ny;
}

void stamp_mirror(struct stamp *s, const struct image_view *view, int32_t id, double x, double y)
{
    if (!s->nbad) return;
    int64_t sx = (int64_t)floor(2.0 * x + 0.49999), sy = (int64_t)floor(2.0 * y + 0.49999);
    if (s->mirrored && sx == s->mirror_x && sy == s->mirror_y) return;
    s->mirrored = true;
    s->mirror_x = sx;
    s->mirror_y = sy;
    for (int32_t b = 0; b < s->nbad; b++) {
        int32_t i = s->bad[b];
        int64_t mx = sx - (s->x0 + i % s->stride), my = sy - (s->y0 + i / s->stride), at = my * view->nx + mx;
        bool inside = mx >= 0 && mx < view->nx && my >= 0 && my < view->ny;
        bool good = inside && good_pixel(view, at, id, NEIGHBOURS_MIRROR);
        s->value[i] = good ? view->value[at] : 0.0f;
        if (s->sigma2) s->sigma2[i] = good ? view->sigma2[at] : 0.0f;
    }
}

/* ---- sums ------------------------------------------------------------------------------------------------------- */

static struct ellipse_query query_of(const struct stamp *s, double x, double y, double cxx, double cyy, double cxy, double k)
{
    return (struct ellipse_query){x - s->x0, y - s->y0, cxx, cyy, cxy, k * k};
}

static struct sums sums_of(const struct stamp *s, const struct image_view *view, const double *t)
{
    return (struct sums){t[0], t[1], s->sigma2 ? t[2] : t[1] * (double)view->sigma2_const};
}

struct sums sum_ellipse(struct stamp *s, const struct image_view *view, double x, double y, double cxx, double cyy, double cxy, double k)
{
    double t[3];
    struct ellipse_query q = query_of(s, x, y, cxx, cyy, cxy, k);
    photometry_kernels_now()->ellipse(s, &q, t);
    return sums_of(s, view, t);
}

struct sums sum_circle(struct stamp *s, const struct image_view *view, double x, double y, double radius)
{
    double t[3];
    photometry_kernels_now()->circle(s, x - s->x0, y - s->y0, radius, t);
    return sums_of(s, view, t);
}

double flux_error(const struct sums *f, const struct image_view *view)
{
    double photons = view->gain > 0.0f && f->flux > 0.0 ? f->flux / (double)view->gain : 0.0;
    if (view->gain_sigma2 > 0.0f && f->area > 0.0) photons *= f->variance / f->area / (double)view->gain_sigma2;
    return sqrt(f->variance + photons);
}

struct kron kron_moment(struct stamp *s, double x, double y, double cxx, double cyy, double cxy, double k)
{
    double t[3];
    struct ellipse_query q = query_of(s, x, y, cxx, cyy, cxy, k);
    photometry_kernels_now()->kron(s, &q, t);
    return (struct kron){.flux = t[0], .first = t[1], .area = t[2]};
}

double bad_fraction(const struct stamp *s, double x, double y, double cxx, double cyy, double cxy, double k, double area)
{
    int64_t inside = 0;
    for (int32_t b = 0; b < s->nbad; b++) {
        double dx = s->x0 + s->bad[b] % s->stride - x, dy = s->y0 + s->bad[b] / s->stride - y;
        inside += cxx * dx * dx + cyy * dy * dy + cxy * dx * dy <= k * k;
    }
    return area > 0.0 ? (double)inside / area : 0.0;
}

/* ---- Petrosian -------------------------------------------------------------------------------------------------- */

#define PETRO_STEP  0.33
#define PETRO_FIRST 6  /* steps */
#define PETRO_LAST  16
#define PETRO_RATIO 0.2

struct ring {
    double sum, inside_sum;
    int64_t n, inside_n;
};

/* Let one pixel at r count in every ring and disc that holds it. */
static void ring_add(struct ring *ring, double r, double v)
{
    for (int k = PETRO_FIRST; k <= PETRO_LAST; k++) {
        double at = PETRO_STEP * k;
        if (r <= at) ring[k].inside_sum += v, ring[k].inside_n++;
        if (r > 0.9 * at && r <= 1.1 * at) ring[k].sum += v, ring[k].n++;
    }
}

static bool is_bad(const struct stamp *s, int32_t at, int32_t *next)
{
    while (*next < s->nbad && s->bad[*next] < at) (*next)++; /* both go up */
    return *next < s->nbad && s->bad[*next] == at;
}

double petrosian_radius(const struct stamp *s, double x, double y, double cxx, double cyy, double cxy)
{
    struct ring ring[PETRO_LAST + 1] = {{0}};
    int32_t next = 0;
    for (int32_t j = 0; j < s->ny; j++)
        for (int32_t k = 0; k < s->nx; k++) {
            double dx = s->x0 + k - x, dy = s->y0 + j - y, r2 = cxx * dx * dx + cyy * dy * dy + cxy * dx * dy;
            int32_t at = j * s->stride + k;
            if (r2 <= 36.0 && !is_bad(s, at, &next)) ring_add(ring, sqrt(fmax(r2, 0.0)), (double)s->value[at]);
        }
    for (int k = PETRO_FIRST; k < PETRO_LAST; k++) {
        if (!ring[k].n || !ring[k].inside_n) continue;
        double mean = ring[k].sum / (double)ring[k].n, inside = ring[k].inside_sum / (double)ring[k].inside_n;
        if (mean < PETRO_RATIO * inside) return PETRO_STEP * k;
    }
    return PETRO_STEP * PETRO_LAST;
}

/* ---- growth ----------------------------------------------------------------------------------------------------- */

#define GROWTH_STEPS 64

struct growth {
    struct stamp *s;
    const struct image_view *view;
    double x, y, step;
};

/* Flux within step * (k + 1): the k-th point of the curve; -1 is the origin. */
static double growth_at(const struct growth *g, int k)
{
    return k < 0 ? 0.0 : sum_circle(g->s, g->view, g->x, g->y, g->step * (k + 1)).flux;
}

double flux_radius(struct stamp *s, const struct image_view *view, double x, double y, double flux, double rmax, double guess)
{
    struct growth g = {s, view, x, y, rmax / GROWTH_STEPS};
    if (!(flux > 0.0) || !(rmax > 0.0)) return 0.0;
    /* [lo, hi]: the curve is below the flux at lo and not below at hi; gallop from the guess, then halve */
    int hi = guess > 0.0 && guess < rmax ? (int)(guess / g.step) : GROWTH_STEPS / 4, lo, stride = 1;
    double at_hi = growth_at(&g, hi), at_lo = 0.0;
    if (at_hi >= flux) {
        for (lo = hi - stride; lo >= 0; lo = hi - (stride *= 2)) {
            double v = growth_at(&g, lo);
            if (v < flux) {
                at_lo = v;
                break;
            }
            hi = lo;
            at_hi = v;
        }
        if (lo < 0) lo = -1, at_lo = 0.0;
    } else {
        lo = hi;
        at_lo = at_hi;
        for (hi = lo + stride; hi < GROWTH_STEPS; hi = lo + (stride *= 2)) {
            at_hi = growth_at(&g, hi);
            if (at_hi >= flux) break;
            lo = hi;
            at_lo = at_hi;
        }
        if (hi >= GROWTH_STEPS) {
            hi = GROWTH_STEPS - 1;
            at_hi = growth_at(&g, hi);
            if (at_hi < flux) return rmax;
        }
    }
    while (hi - lo > 1) {
        int mid = (lo + hi) / 2;
        double v = growth_at(&g, mid);
        if (v < flux)
            lo = mid, at_lo = v;
        else
            hi = mid, at_hi = v;
    }
    double rise = at_hi - at_lo;
    return g.step * (hi + (rise > 0.0 ? (flux - at_lo) / rise : 0.0));
}

/* ---- boxes ------------------------------------------------------------------------------------------------------ */

void ellipse_box(double cxx, double cyy, double cxy, double k, double *ret_hx, double *ret_hy)
{
    double det = cxx * cyy - 0.25 * cxy * cxy;
    *ret_hx = det > 0.0 ? k * sqrt(cyy / det) : INFINITY;
    *ret_hy = det > 0.0 ? k * sqrt(cxx / det) : INFINITY;
}

bool box_leaves_image(const struct image_view *view, double x, double y, double hx, double hy)
{
    return x - hx + 0.49999 < 0.0 || y - hy + 0.49999 < 0.0 || floor(x + hx + 1.49999) > (double)view->nx ||
           floor(y + hy + 1.49999) > (double)view->ny;
}
