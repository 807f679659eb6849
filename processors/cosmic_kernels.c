/* Leaves of the search for cosmic rays: Laplacians and median networks, pixels of a row in SIMD lanes.
 *
 * Minimum and maximum are asked for by intrinsic, because the compiler may not turn a comparison of floats into them. The medians
 * forget: among k values of which more than half are known, the smallest and the largest cannot be the median; they are dropped
 * and the next value is taken in. 14 values are alive at most, as many as there are registers. */
#include "processors/cosmic.h"

#include <math.h>

#if defined(__AVX2__)
#include <immintrin.h>
#define WIDTH 8
typedef __m256 vec;
#define vec_load(p)     _mm256_loadu_ps(p)
#define vec_store(p, v) _mm256_storeu_ps((p), (v))
#define vec_min(a, b)   _mm256_min_ps((a), (b))
#define vec_max(a, b)   _mm256_max_ps((a), (b))
#elif defined(__SSE2__)
#include <emmintrin.h>
#define WIDTH 4
typedef __m128 vec;
#define vec_load(p)     _mm_loadu_ps(p)
#define vec_store(p, v) _mm_storeu_ps((p), (v))
#define vec_min(a, b)   _mm_min_ps((a), (b))
#define vec_max(a, b)   _mm_max_ps((a), (b))
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#define WIDTH 4
typedef float32x4_t vec;
#define vec_load(p)     vld1q_f32(p)
#define vec_store(p, v) vst1q_f32((p), (v))
#define vec_min(a, b)   vminq_f32((a), (b))
#define vec_max(a, b)   vmaxq_f32((a), (b))
#else
#define WIDTH 1
typedef float vec;
#define vec_load(p)     (*(p))
#define vec_store(p, v) (*(p) = (v))
#define vec_min(a, b)   ((a) < (b) ? (a) : (b))
#define vec_max(a, b)   ((a) > (b) ? (a) : (b))
#endif

#define PASTE2(a, b) a##b
#define PASTE(a, b)  PASTE2(a, b)
#define LANES        16 /* of the loops the compiler turns into vectors */

static inline float positive(float v)
{
    return v > 0.0f ? v : 0.0f;
}

static inline float corners(const float *up, const float *row, const float *down, int64_t i)
{
    float c2 = 2.0f * row[i], left = c2 - row[i - 1], right = c2 - row[i + 1];
    return (positive(left - up[i]) + positive(left - down[i])) + (positive(right - up[i]) + positive(right - down[i]));
}

static bool steep(const float *up, const float *row, const float *down, int64_t n, float limit)
{
    float most[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) {
            float v = corners(up, row, down, i + l);
            most[l] = v > most[l] ? v : most[l];
        }
    for (; i < n; i++) {
        float v = corners(up, row, down, i);
        most[0] = v > most[0] ? v : most[0];
    }
    for (int l = 1; l < LANES; l++) most[0] = most[l] > most[0] ? most[l] : most[0];
    return most[0] > limit;
}

static float least(const float *v, int64_t n)
{
    float low[LANES];
    int64_t i = 0;
    for (int l = 0; l < LANES; l++) low[l] = INFINITY;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) {
            float w = v[i + l] > 0.0f ? v[i + l] : INFINITY;
            low[l] = w < low[l] ? w : low[l];
        }
    for (; i < n; i++)
        if (v[i] > 0.0f && v[i] < low[0]) low[0] = v[i];
    for (int l = 1; l < LANES; l++) low[0] = low[l] < low[0] ? low[l] : low[0];
    return low[0];
}

static void contrast(const float *up, const float *row, const float *down, const float *noise2, int64_t n, float *s)
{
    for (int64_t i = 0; i < n; i++) s[i] = corners(up, row, down, i) / (8.0f * sqrtf(noise2[i]));
}

#define ORDER(a, b)                \
    do {                           \
        vec low_ = vec_min(a, b);  \
        b = vec_max(a, b);         \
        a = low_;                  \
    } while (0)

/* Of the first k of v: the smallest to v0, the largest to the last; pairs first, then two small tournaments. What the tournaments
 * write and nobody reads again costs nothing. */
#define ENDS3  ORDER(v1, v2); ORDER(v0, v2); ORDER(v0, v1)
#define ENDS4  ORDER(v0, v1); ORDER(v2, v3); ORDER(v0, v2); ORDER(v1, v3)
#define ENDS5  ORDER(v0, v1); ORDER(v2, v3); ORDER(v0, v2); ORDER(v1, v3); ORDER(v0, v4); ORDER(v3, v4)
#define ENDS6  ORDER(v0, v3); ORDER(v1, v4); ORDER(v2, v5); ORDER(v0, v1); ORDER(v0, v2); ORDER(v4, v5); ORDER(v3, v5)
#define ENDS7  ORDER(v0, v3); ORDER(v1, v4); ORDER(v2, v5); ORDER(v0, v1); ORDER(v2, v6); ORDER(v0, v2); ORDER(v3, v4); ORDER(v5, v6); ORDER(v4, v6)
#define ENDS8  ORDER(v0, v4); ORDER(v1, v5); ORDER(v2, v6); ORDER(v3, v7); ORDER(v0, v1); ORDER(v2, v3); ORDER(v0, v2); ORDER(v4, v5); ORDER(v6, v7); ORDER(v5, v7)
#define ENDS9  ENDS8; ORDER(v0, v8); ORDER(v7, v8)
#define ENDS10                                                                                             \
    ORDER(v0, v5); ORDER(v1, v6); ORDER(v2, v7); ORDER(v3, v8); ORDER(v4, v9);                             \
    ORDER(v0, v1); ORDER(v2, v3); ORDER(v0, v2); ORDER(v0, v4); ORDER(v5, v6); ORDER(v7, v8); ORDER(v6, v8); ORDER(v8, v9)
#define ENDS11 ENDS10; ORDER(v0, v10); ORDER(v9, v10)
#define ENDS12                                                                                             \
    ORDER(v0, v6); ORDER(v1, v7); ORDER(v2, v8); ORDER(v3, v9); ORDER(v4, v10); ORDER(v5, v11);            \
    ORDER(v0, v1); ORDER(v2, v3); ORDER(v4, v5); ORDER(v0, v2); ORDER(v0, v4);                             \
    ORDER(v6, v7); ORDER(v8, v9); ORDER(v10, v11); ORDER(v7, v9); ORDER(v9, v11)
#define ENDS13 ENDS12; ORDER(v0, v12); ORDER(v11, v12)
#define ENDS14                                                                                                            \
    ORDER(v0, v7); ORDER(v1, v8); ORDER(v2, v9); ORDER(v3, v10); ORDER(v4, v11); ORDER(v5, v12); ORDER(v6, v13);          \
    ORDER(v0, v1); ORDER(v2, v3); ORDER(v4, v5); ORDER(v0, v2); ORDER(v4, v6); ORDER(v0, v4);                             \
    ORDER(v7, v8); ORDER(v9, v10); ORDER(v11, v12); ORDER(v8, v10); ORDER(v12, v13); ORDER(v10, v13)

#define AT(dx, dy) vec_load(p + (dy) * stride + (dx))

static void median9(const float *in, int64_t stride, int64_t w, int64_t h, float *out)
{
    for (int64_t y = 0; y < h; y++)
        for (int64_t x = 0; x < w; x += WIDTH) {
            const float *p = in + y * stride + x;
            vec v0 = AT(-1, -1), v1 = AT(0, -1), v2 = AT(1, -1), v3 = AT(-1, 0), v4 = AT(0, 0), v5 = AT(1, 0);
            ENDS6;
            v0 = AT(-1, 1);
            ENDS5;
            v0 = AT(0, 1);
            ENDS4;
            v0 = AT(1, 1);
            ENDS3;
            vec_store(out + y * stride + x, v1);
        }
}

static void median25(const float *in, int64_t stride, int64_t w, int64_t h, float *out)
{
    for (int64_t y = 0; y < h; y++)
        for (int64_t x = 0; x < w; x += WIDTH) {
            const float *p = in + y * stride + x;
            vec v0 = AT(-2, -2), v1 = AT(-1, -2), v2 = AT(0, -2), v3 = AT(1, -2), v4 = AT(2, -2), v5 = AT(-2, -1), v6 = AT(-1, -1);
            vec v7 = AT(0, -1), v8 = AT(1, -1), v9 = AT(2, -1), v10 = AT(-2, 0), v11 = AT(-1, 0), v12 = AT(0, 0), v13 = AT(1, 0);
            ENDS14;
            v0 = AT(2, 0);
            ENDS13;
            v0 = AT(-2, 1);
            ENDS12;
            v0 = AT(-1, 1);
            ENDS11;
            v0 = AT(0, 1);
            ENDS10;
            v0 = AT(1, 1);
            ENDS9;
            v0 = AT(2, 1);
            ENDS8;
            v0 = AT(-2, 2);
            ENDS7;
            v0 = AT(-1, 2);
            ENDS6;
            v0 = AT(0, 2);
            ENDS5;
            v0 = AT(1, 2);
            ENDS4;
            v0 = AT(2, 2);
            ENDS3;
            vec_store(out + y * stride + x, v1);
        }
}

const struct cosmic_kernels PASTE(cosmic_kernels, ISA_SUFFIX) = {steep, least, contrast, median9, median25};
