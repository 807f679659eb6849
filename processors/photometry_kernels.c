/* Vectors of 8 floats written with the compilers' vector types, so that every instruction set adds in the same order and
 * gives the same bytes. Columns beyond the stamp have dx = 1e9: no aperture reaches them. */
#include "processors/photometry_kernels.h"

#include <math.h>
#include <string.h>

#ifdef __AVX2__
#include <immintrin.h>
#endif

#define PASTE2(a, b) a##b
#define PASTE(a, b)  PASTE2(a, b)
#define LANES        8
#define FAR          1e9f

typedef float v8f __attribute__((vector_size(32)));
typedef int32_t v8i __attribute__((vector_size(32)));
typedef double v8d __attribute__((vector_size(64)));

#define LOAD(p)          (*(const v8f *)(const void *)(p))
#define SPLAT(x)         ((v8f){(x), (x), (x), (x), (x), (x), (x), (x)})
#define KEEP(v, m)       ((v8f)((v8i)(v) & (m)))
#define MAX0(v)          KEEP((v), (v) > SPLAT(0.0f))
#define ADD_ROW(sum, v)  ((sum) += __builtin_convertvector((v), v8d))

#define ADD_LANES(v) ((((v)[0] + (v)[1]) + ((v)[2] + (v)[3])) + (((v)[4] + (v)[5]) + ((v)[6] + (v)[7])))

#ifdef __AVX2__
#define SQRT(dst, v) ((dst) = (v8f)_mm256_sqrt_ps((__m256)(v)))
#else
#define SQRT(dst, v)                                                   \
    do {                                                               \
        for (int l_ = 0; l_ < LANES; l_++) (dst)[l_] = sqrtf((v)[l_]); \
    } while (0)
#endif

static void offsets(float *d, int32_t n, int32_t padded, double f)
{
    for (int32_t k = 0; k < n; k++) d[k] = (float)(k - f);
    for (int32_t k = n; k < padded; k++) d[k] = FAR;
}

/* First and last + 1 vector columns of a row between offsets lo and hi from the centre; false if none. */
static inline bool columns(const struct stamp *s, double fx, double lo, double hi, int32_t *k0, int32_t *k1)
{
    double a = fx + lo, b = fx + hi;
    if (!(b >= 0.0) || !(a <= s->nx - 1)) return false;
    *k0 = a > 0.0 ? (int32_t)a & ~(LANES - 1) : 0;
    *k1 = b < s->nx - 1 ? ((int32_t)b + 1 + LANES) & ~(LANES - 1) : s->stride;
    if (*k1 > s->stride) *k1 = s->stride;
    return true;
}

/* Rows of an ellipse: [*j0, *j1). */
static inline void rows(const struct stamp *s, double fy, double half, int32_t *j0, int32_t *j1)
{
    double a = fy - half, b = fy + half + 1.0;
    *j0 = a > 0.0 ? (a < s->ny ? (int32_t)a : s->ny) : 0;
    *j1 = b < s->ny ? (b > 0.0 ? (int32_t)b + 1 : 0) : s->ny;
    if (*j1 > s->ny) *j1 = s->ny;
}

/* Extent of an ellipse along row dy: centre +- half; false when the row misses it. */
static inline bool ellipse_row(const struct ellipse_query *q, double dy, double *lo, double *hi)
{
    double mid = -0.5 * q->cxy * dy / q->cxx, rest = q->k2 - dy * dy * (q->cyy - 0.25 * q->cxy * q->cxy / q->cxx);
    if (!(rest >= -1e-6 * q->k2)) return false;
    double half = sqrt((rest > 0.0 ? rest : 0.0) / q->cxx) + 1e-3;
    *lo = mid - half;
    *hi = mid + half;
    return true;
}

static double ellipse_half_y(const struct ellipse_query *q)
{
    return sqrt(q->k2 * q->cxx / (q->cxx * q->cyy - 0.25 * q->cxy * q->cxy)) + 1e-3;
}

static void kron(struct stamp *s, const struct ellipse_query *q, double *ret)
{
    v8d sum_p = {0}, sum_rp = {0};
    v8i count = {0};
    int32_t j0, j1, k0, k1;
    double lo, hi;
    offsets(s->dx, s->nx, s->stride, q->fx);
    rows(s, q->fy, ellipse_half_y(q), &j0, &j1);
    const v8f cxx = SPLAT((float)q->cxx), k2 = SPLAT((float)q->k2);
    for (int32_t j = j0; j < j1; j++) {
        double dy = j - q->fy;
        if (!ellipse_row(q, dy, &lo, &hi) || !columns(s, q->fx, lo, hi, &k0, &k1)) continue;
        const v8f b = SPLAT((float)(q->cxy * dy)), c = SPLAT((float)(q->cyy * dy * dy));
        const float *row = s->value + (int64_t)j * s->stride;
        v8f p = {0}, rp = {0};
        for (int32_t k = k0; k < k1; k += LANES) {
            v8f dx = LOAD(s->dx + k), r2 = MAX0((cxx * dx + b) * dx + c), r;
            v8i in = r2 <= k2;
            v8f v = KEEP(LOAD(row + k), in);
            SQRT(r, r2);
            p += v;
            rp += KEEP(r, in) * v;
            count -= in;
        }
        ADD_ROW(sum_p, p);
        ADD_ROW(sum_rp, rp);
    }
    ret[0] = ADD_LANES(sum_p);
    ret[1] = ADD_LANES(sum_rp);
    ret[2] = ADD_LANES(count);
}

static void ellipse(struct stamp *s, const struct ellipse_query *q, double *ret)
{
    v8d sum_p = {0}, sum_e = {0};
    v8i count = {0};
    int32_t j0, j1, k0, k1;
    double lo, hi;
    offsets(s->dx, s->nx, s->stride, q->fx);
    rows(s, q->fy, ellipse_half_y(q), &j0, &j1);
    const v8f cxx = SPLAT((float)q->cxx), k2 = SPLAT((float)q->k2);
    for (int32_t j = j0; j < j1; j++) {
        double dy = j - q->fy;
        if (!ellipse_row(q, dy, &lo, &hi) || !columns(s, q->fx, lo, hi, &k0, &k1)) continue;
        const v8f b = SPLAT((float)(q->cxy * dy)), c = SPLAT((float)(q->cyy * dy * dy));
        const float *row = s->value + (int64_t)j * s->stride, *var = s->sigma2 ? s->sigma2 + (int64_t)j * s->stride : NULL;
        v8f p = {0}, e = {0};
        for (int32_t k = k0; k < k1; k += LANES) {
            v8f dx = LOAD(s->dx + k);
            v8i in = (cxx * dx + b) * dx + c <= k2;
            p += KEEP(LOAD(row + k), in);
            count -= in;
            if (var) e += KEEP(LOAD(var + k), in);
        }
        ADD_ROW(sum_p, p);
        if (var) ADD_ROW(sum_e, e);
    }
    ret[0] = ADD_LANES(sum_p);
    ret[1] = ADD_LANES(count);
    ret[2] = ADD_LANES(sum_e);
}

#define SPLIT 5
static const float split_at[SPLIT] = {-0.4f, -0.2f, 0.0f, 0.2f, 0.4f};
#define SPLIT_REACH 0.5657 /* of the outermost point of a split pixel: 0.4 sqrt(2) */

/* How the 8 columns from dx0 to dx7 in row dy lie to a circle: 1 all inside, -1 all outside, 0 cut. */
static inline int circle_side(float dx0, float dx7, double dy2, double inner2, double outer2)
{
    double a = fabs((double)dx0), b = fabs((double)dx7), far = a > b ? a : b;
    double near = (dx0 < 0.0f) != (dx7 < 0.0f) ? 0.0 : a < b ? a : b;
    if (far * far + dy2 <= inner2) return 1;
    return near * near + dy2 > outer2 ? -1 : 0;
}

static void circle(struct stamp *s, double fx, double fy, double radius, double *ret)
{
    v8d sum_p = {0}, sum_e = {0};
    v8i count = {0};
    int32_t j0, j1, k0, k1;
    const double inner = radius - SPLIT_REACH, outer = radius + SPLIT_REACH;
    const double inner2 = inner > 0.0 ? inner * inner : -1.0, outer2 = outer * outer;
    offsets(s->dx, s->nx, s->stride, fx);
    rows(s, fy, outer, &j0, &j1);
    for (int32_t j = j0; j < j1; j++) {
        double dy = j - fy, rest = outer2 - dy * dy;
        if (rest < 0.0) continue;
        double half = sqrt(rest);
        if (!columns(s, fx, -half, half, &k0, &k1)) continue;
        v8f limit[SPLIT];
        for (int i = 0; i < SPLIT; i++) {
            double d = dy + (double)split_at[i];
            limit[i] = SPLAT((float)(radius * radius - d * d));
        }
        const float *row = s->value + (int64_t)j * s->stride, *var = s->sigma2 ? s->sigma2 + (int64_t)j * s->stride : NULL;
        v8f p = {0}, e = {0};
        for (int32_t k = k0; k < k1; k += LANES) {
            int side = circle_side(s->dx[k], s->dx[k + LANES - 1], dy * dy, inner2, outer2);
            v8i n = {0};
            if (side < 0) continue;
            v8f dx = LOAD(s->dx + k);
            if (side > 0)
                n += SPLIT * SPLIT;
            else
                for (int a = 0; a < SPLIT; a++) {
                    v8f x = dx + SPLAT(split_at[a]), x2 = x * x;
                    for (int i = 0; i < SPLIT; i++) n -= x2 <= limit[i];
                }
            v8f w = __builtin_convertvector(n, v8f);
            p += w * LOAD(row + k);
            count += n;
            if (var) e += w * LOAD(var + k);
        }
        ADD_ROW(sum_p, p);
        if (var) ADD_ROW(sum_e, e);
    }
    ret[0] = ADD_LANES(sum_p) / (SPLIT * SPLIT);
    ret[1] = ADD_LANES(count) / (double)(SPLIT * SPLIT);
    ret[2] = ADD_LANES(sum_e) / (SPLIT * SPLIT);
}

/* w[k] = exp(-d[k]^2 * inv) for a whole number of vectors. 2^n times a polynomial of degree 6 on |f| <= ln2/2: relative
 * error 2e-7, the float's own. Source: the Taylor series of exp. */
static void gauss(const float *d, float *w, int32_t n, float inv)
{
    const v8f log2e = SPLAT(1.44269504f), ln2_hi = SPLAT(0.693359375f), ln2_lo = SPLAT(-2.12194440e-4f), floor_ = SPLAT(-87.0f);
    const v8f round = SPLAT(12582912.0f); /* 1.5 * 2^23: adding it rounds to a whole number */
    for (int32_t k = 0; k < n; k += LANES) {
        v8f x = LOAD(d + k), t;
        x = x * x * SPLAT(-inv);
        v8i low = x < floor_;
        x = KEEP(x, ~low) + KEEP(floor_, low);
        t = x * log2e + round;
        v8i e = (v8i)t - (v8i)round;
        t -= round;
        v8f f = x - t * ln2_hi - t * ln2_lo;
        v8f y = f * SPLAT(1.0f / 720.0f) + SPLAT(1.0f / 120.0f);
        y = y * f + SPLAT(1.0f / 24.0f);
        y = y * f + SPLAT(1.0f / 6.0f);
        y = y * f + SPLAT(0.5f);
        y = (y * f + SPLAT(1.0f)) * f + SPLAT(1.0f);
        y = (v8f)((v8i)y + (e << 23));
        memcpy(w + k, &y, sizeof y);
    }
}

/* Weight of a vector of pixels but for the row's factor. A pixel cut by the rim counts in proportion to how far it
 * reaches in: (rmax - r) + 1/2, with r from r^2 to first order. */
#define WINDOW_WEIGHT(w, dx, wx, slope, edge)                               \
    do {                                                                    \
        v8f cover_ = (dx) * (dx) * (slope) + (edge);                        \
        cover_ = KEEP(cover_, cover_ > SPLAT(0.0f));                        \
        v8i full_ = cover_ > SPLAT(1.0f);                                   \
        (w) = (KEEP(cover_, ~full_) + KEEP(SPLAT(1.0f), full_)) * (wx);     \
    } while (0)

static inline float rim_edge(const struct window_query *q, double dy)
{
    return (float)(0.5 * q->rmax + 0.5 - 0.5 * dy * dy / q->rmax);
}

static void window_centroid(const struct stamp *s, const struct window_query *q, int32_t j0, int32_t j1, int32_t k0, int32_t k1,
                            struct window_sums *ret)
{
    const v8f slope = SPLAT((float)(-0.5 / q->rmax));
    v8f sv = {0}, svx = {0}, svy = {0};
    for (int32_t j = j0; j < j1; j++) {
        const float *row = s->value + (int64_t)j * s->stride;
        const float dy = s->dy[j], wy = s->wy[j];
        const v8f edge = SPLAT(rim_edge(q, (double)dy));
        v8f r0 = {0}, r1 = {0};
        for (int32_t k = k0; k < k1; k += LANES) {
            v8f dx = LOAD(s->dx + k), w;
            WINDOW_WEIGHT(w, dx, LOAD(s->wx + k), slope, edge);
            v8f wv = w * LOAD(row + k);
            r0 += wv;
            r1 += wv * dx;
        }
        v8f p = r0 * SPLAT(wy);
        sv += p;
        svx += r1 * SPLAT(wy);
        svy += p * SPLAT(dy);
    }
    ret->v = (double)ADD_LANES(sv);
    ret->vx = (double)ADD_LANES(svx);
    ret->vy = (double)ADD_LANES(svy);
}

static void window_moments(const struct stamp *s, const struct window_query *q, int32_t j0, int32_t j1, int32_t k0, int32_t k1,
                           struct window_sums *ret)
{
    const v8f slope = SPLAT((float)(-0.5 / q->rmax)), gain = SPLAT((float)q->inv_gain), flat = SPLAT((float)q->sigma2);
    const bool relative = q->inv_gain_sigma2 > 0.0;
    const v8f scale = SPLAT((float)q->inv_gain_sigma2);
    v8f sv = {0}, svx = {0}, svy = {0}, svxx = {0}, svyy = {0}, svxy = {0}, se = {0}, sexx = {0}, seyy = {0}, sexy = {0};
    for (int32_t j = j0; j < j1; j++) {
        const float *row = s->value + (int64_t)j * s->stride, *var = s->sigma2 ? s->sigma2 + (int64_t)j * s->stride : NULL;
        const v8f dy = SPLAT(s->dy[j]), wy = SPLAT(s->wy[j]), edge = SPLAT(rim_edge(q, (double)s->dy[j]));
        v8f r0 = {0}, r1 = {0}, r2 = {0}, e0 = {0}, e1 = {0}, e2 = {0};
        for (int32_t k = k0; k < k1; k += LANES) {
            v8f dx = LOAD(s->dx + k), v = LOAD(row + k), w;
            WINDOW_WEIGHT(w, dx, LOAD(s->wx + k), slope, edge);
            v8f noise = var ? LOAD(var + k) : flat, photons = MAX0(v) * gain;
            if (relative) photons *= noise * scale;
            v8f wv = w * v, we = w * w * (noise + photons);
            v8f wvx = wv * dx, wex = we * dx; /* columns beyond the stamp: 0 * 1e9 is 0 */
            r0 += wv;
            r1 += wvx;
            r2 += wvx * dx;
            e0 += we;
            e1 += wex;
            e2 += wex * dx;
        }
        v8f wy2 = wy * wy, p = r0 * wy, px = r1 * wy, e = e0 * wy2;
        sv += p;
        svx += px;
        svy += p * dy;
        svxx += r2 * wy;
        svyy += p * dy * dy;
        svxy += px * dy;
        se += e;
        sexx += e2 * wy2;
        seyy += e * dy * dy;
        sexy += e1 * wy2 * dy;
    }
    double pixel = (double)ADD_LANES(se) / 12.0; /* a pixel's own extent */
    *ret = (struct window_sums){
        .v = (double)ADD_LANES(sv), .vx = (double)ADD_LANES(svx), .vy = (double)ADD_LANES(svy), .vxx = (double)ADD_LANES(svxx),
        .vyy = (double)ADD_LANES(svyy), .vxy = (double)ADD_LANES(svxy), .e = (double)ADD_LANES(se),
        .exx = (double)ADD_LANES(sexx) + pixel, .eyy = (double)ADD_LANES(seyy) + pixel, .exy = (double)ADD_LANES(sexy)};
}

static void window(struct stamp *s, const struct window_query *q, struct window_sums *ret)
{
    int32_t j0, j1, k0, k1;
    const double half = q->rmax + 0.5;
    *ret = (struct window_sums){0};
    if (!columns(s, q->fx, -half, half, &k0, &k1)) return;
    rows(s, q->fy, half, &j0, &j1);
    offsets(s->dx, s->nx, s->stride, q->fx);
    offsets(s->dy, s->ny, (s->ny + LANES - 1) & ~(LANES - 1), q->fy);
    const float inv = (float)(0.5 / (q->sigma * q->sigma));
    int32_t a = j0 & ~(LANES - 1), b = (j1 + LANES - 1) & ~(LANES - 1);
    gauss(s->dx + k0, s->wx + k0, k1 - k0, inv);
    gauss(s->dy + a, s->wy + a, b - a, inv);
    if (q->moments)
        window_moments(s, q, j0, j1, k0, k1, ret);
    else
        window_centroid(s, q, j0, j1, k0, k1, ret);
}

static int load(float *dst, const float *value, const int32_t *segment, int32_t id, int32_t n)
{
    int any = 0;
    if (!segment) {
        for (int32_t k = 0; k < n; k++) {
            int bad = !(value[k] - value[k] == 0.0f);
            dst[k] = bad ? 0.0f : value[k];
            any |= bad;
        }
        return any;
    }
    for (int32_t k = 0; k < n; k++) {
        int bad = ((segment[k] != 0) & (segment[k] != id)) | !(value[k] - value[k] == 0.0f);
        dst[k] = bad ? 0.0f : value[k];
        any |= bad;
    }
    return any;
}

const struct photometry_kernels PASTE(photometry_kernels, ISA_SUFFIX) = {kron, ellipse, circle, window, load};
