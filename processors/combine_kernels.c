/* Leaves of the clipped stack: 32 pixels side by side, frames below each other.
 *
 * Minimum and maximum are asked for by intrinsic, because the compiler may not turn a comparison of floats into them
 * (NaN, signed zeros); there are no NaN here, load() has turned them into +infinity. */
#include "processors/combine.h"

#include <math.h>

#if defined(__AVX2__)
#include <immintrin.h>
#define WIDTH 8
typedef __m256 vec;
#define vec_load(p)     _mm256_load_ps(p)
#define vec_store(p, v) _mm256_store_ps((p), (v))
#define vec_min(a, b)   _mm256_min_ps((a), (b))
#define vec_max(a, b)   _mm256_max_ps((a), (b))
#elif defined(__SSE2__)
#include <emmintrin.h>
#define WIDTH 4
typedef __m128 vec;
#define vec_load(p)     _mm_load_ps(p)
#define vec_store(p, v) _mm_store_ps((p), (v))
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
#define L            COMBINE_LANES

#define LOAD(name, type, field)                                                                                       \
    static bool name(const struct combine_frame *f, int64_t at, int lanes, const float *restrict bias,                \
                     const float *restrict dark, float *restrict dst)                                                 \
    {                                                                                                                 \
        const type *restrict raw = f->field + at;                                                                     \
        const float level = f->level_adu, gain = f->gain, limit = f->limit_adu, t = f->dark_s, scale = f->scale;      \
        int missing = 0;                                                                                              \
        if (lanes == L) {                                                                                             \
            for (int l = 0; l < L; l++) {                                                                             \
                float r = (float)raw[l];                                                                              \
                float v = ((r - level) * gain - (bias[l] + dark[l] * t)) * scale;                                     \
                int good = (r < limit) & (v - v == 0.0f);                                                             \
                dst[l] = good ? v : INFINITY;                                                                         \
                missing |= !good;                                                                                     \
            }                                                                                                         \
            return missing;                                                                                           \
        }                                                                                                             \
        for (int l = 0; l < L; l++) {                                                                                 \
            float r = l < lanes ? (float)raw[l] : INFINITY;                                                           \
            float v = l < lanes ? ((r - level) * gain - (bias[l] + dark[l] * t)) * scale : 0.0f;                      \
            int good = (r < limit) & (v - v == 0.0f);                                                                 \
            dst[l] = good ? v : INFINITY;                                                                             \
            missing |= !good;                                                                                         \
        }                                                                                                             \
        return missing;                                                                                               \
    }

LOAD(load_u16, uint16_t, u16)
LOAD(load_f32, float, f32)

static void sort(float *v, const struct combine_pair *pairs, int npairs)
{
    for (int p = 0; p < npairs; p++) {
        float *low = v + (int64_t)pairs[p].low * L, *high = v + (int64_t)pairs[p].high * L;
        for (int l = 0; l < L; l += WIDTH) {
            vec a = vec_load(low + l), b = vec_load(high + l);
            vec_store(low + l, vec_min(a, b));
            vec_store(high + l, vec_max(a, b));
        }
    }
}

/* Smallest window of k sorted values around the median: the k-th smallest distance from it. */
static void nearest(const float *v, int n, int k, const float *median, float *restrict ret)
{
    for (int l = 0; l < L; l++) ret[l] = INFINITY;
    for (int j = 0; j + k <= n; j++) {
        const float *first = v + (int64_t)j * L, *last = v + (int64_t)(j + k - 1) * L;
        for (int l = 0; l < L; l++) {
            float below = median[l] - first[l], above = last[l] - median[l];
            float reach = below > above ? below : above;
            ret[l] = reach < ret[l] ? reach : ret[l];
        }
    }
}

/* The square of the clip's unit. Kept in step with sigma2_of() in combine.c. */
static void sigma_squared(const float *v, int n, const struct combine_clip *clip, const float *median, float *restrict s2)
{
    float low[L], high[L];
    nearest(v, n, (n + 1) / 2, median, low);
    if (n % 2) {
        for (int l = 0; l < L; l++) high[l] = low[l];
    } else {
        nearest(v, n, n / 2 + 1, median, high);
    }
    float step2 = clip->noise.step * clip->noise.step * 0.25f;
    for (int l = 0; l < L; l++) {
        float mad = 0.5f * (low[l] + high[l]) * clip->mad_factor;
        float expected = clip->noise.constant + clip->noise.slope * (median[l] > 0.0f ? median[l] : 0.0f);
        float s = mad * mad;
        s = s < expected ? expected : s;
        s2[l] = s < step2 ? step2 : s;
    }
}

static void first_round(const float *v, int n, const struct combine_clip *clip, float *value, float *square, float *kept)
{
    float median[L], s2[L], reach_low[L], reach_high[L], sum[L], sum2[L], count[L];
    const float *a = v + (int64_t)((n - 1) / 2) * L, *b = v + (int64_t)(n / 2) * L;
    for (int l = 0; l < L; l++) {
        median[l] = 0.5f * (a[l] + b[l]);
        sum[l] = sum2[l] = count[l] = 0.0f;
    }
    if (clip->reject) sigma_squared(v, n, clip, median, s2);
    for (int l = 0; l < L; l++) {
        reach_low[l] = clip->reject ? s2[l] * clip->low * clip->low : INFINITY;
        reach_high[l] = clip->reject ? s2[l] * clip->high * clip->high : INFINITY;
    }
    for (int i = 0; i < n; i++) {
        const float *row = v + (int64_t)i * L;
        for (int l = 0; l < L; l++) {
            float d = row[l] - median[l], d2 = d * d;
            float reach = d < 0.0f ? reach_low[l] : reach_high[l];
            float keep = d2 <= reach ? 1.0f : 0.0f;
            sum[l] += keep * d;
            sum2[l] += keep * d2;
            count[l] += keep;
        }
    }
    for (int l = 0; l < L; l++) {
        value[l] = median[l] + sum[l] / count[l];
        square[l] = sum2[l] - sum[l] * sum[l] / count[l];
        kept[l] = count[l];
    }
}

const struct combine_kernels PASTE(combine_kernels, ISA_SUFFIX) = {load_u16, load_f32, sort, first_round};
