#include "processors/detect_kernels.h"

#include <string.h>

#ifdef ISA_LEVEL_avx2
#include <immintrin.h>
#endif

#define PASTE2(a, b) a##b
#define PASTE(a, b) PASTE2(a, b)

/* With both sides known the sums unroll; the blocks keep the partial sums in registers. */
static inline __attribute__((always_inline)) void correlate_sides(const float *const *rows, const float *weight, int kx, int ky,
                                                                  int64_t nx, float *restrict ret)
{
    enum { BLOCK = 32 };
    int64_t x = 0;
    for (; x + BLOCK <= nx; x += BLOCK) {
        float sum[BLOCK] = {0};
        for (int j = 0; j < ky; j++) {
            for (int i = 0; i < kx; i++) {
                const float *v = rows[j] + x + i;
                const float w = weight[j * kx + i];
                for (int l = 0; l < BLOCK; l++) sum[l] += w * v[l];
            }
        }
        memcpy(ret + x, sum, sizeof sum);
    }
    for (; x < nx; x++) {
        float sum = 0;
        for (int j = 0; j < ky; j++)
            for (int i = 0; i < kx; i++) sum += weight[j * kx + i] * rows[j][x + i];
        ret[x] = sum;
    }
}

static void correlate3(const float *const *rows, const float *weight, int64_t nx, float *ret)
{
    correlate_sides(rows, weight, 3, 3, nx, ret);
}

static void correlate5(const float *const *rows, const float *weight, int64_t nx, float *ret)
{
    correlate_sides(rows, weight, 5, 5, nx, ret);
}

static void correlate7(const float *const *rows, const float *weight, int64_t nx, float *ret)
{
    correlate_sides(rows, weight, 7, 7, nx, ret);
}

static void correlate(const float *const *rows, const float *weight, int kx, int ky, int64_t nx, float *ret)
{
    correlate_sides(rows, weight, kx, ky, nx, ret);
}

#ifdef ISA_LEVEL_avx2
static inline uint64_t word_above(const float *v, const float *t, __m256 constant)
{
    uint64_t word = 0;
    for (int l = 0; l < 8; l++) {
        __m256 limit = t ? _mm256_loadu_ps(t + 8 * l) : constant;
        __m256 over = _mm256_cmp_ps(_mm256_loadu_ps(v + 8 * l), limit, _CMP_GT_OQ);
        word |= (uint64_t)(unsigned)_mm256_movemask_ps(over) << (8 * l);
    }
    return word;
}
#define WORD_ABOVE(v, t, constant) word_above(v, t, _mm256_set1_ps(constant))
#else
static inline uint64_t word_above(const float *v, const float *t, float constant)
{
    int any = 0;
    for (int l = 0; l < 64; l++) any |= v[l] > (t ? t[l] : constant); /* vectors; most words are empty */
    if (!any) return 0;
    uint64_t word = 0;
    for (int l = 0; l < 64; l++) word |= (uint64_t)(v[l] > (t ? t[l] : constant)) << l;
    return word;
}
#define WORD_ABOVE word_above
#endif

static inline uint64_t tail_bits(int64_t nx)
{
    return nx % 64 ? ((uint64_t)1 << nx % 64) - 1 : ~(uint64_t)0;
}

static int above(const float *value, float threshold, int64_t nx, uint64_t *ret)
{
    uint64_t any = 0;
    int64_t words = (nx + 63) / 64;
    for (int64_t w = 0; w < words; w++) {
        uint64_t word = WORD_ABOVE(value + 64 * w, NULL, threshold);
        if (w == words - 1) word &= tail_bits(nx);
        ret[w] = word;
        any |= word;
    }
    return any != 0;
}

static int above_each(const float *value, const float *threshold, int64_t nx, uint64_t *ret)
{
    uint64_t any = 0;
    int64_t words = (nx + 63) / 64;
    for (int64_t w = 0; w < words; w++) {
        uint64_t word = WORD_ABOVE(value + 64 * w, threshold + 64 * w, 0);
        if (w == words - 1) word &= tail_bits(nx);
        ret[w] = word;
        any |= word;
    }
    return any != 0;
}

static int64_t tidy(const float *value, int64_t nx, float *ret)
{
    int64_t bad = 0;
    for (int64_t i0 = 0; i0 < nx; i0 += 4096) {
        int64_t i1 = i0 + 4096 < nx ? i0 + 4096 : nx;
        int32_t count = 0;
        for (int64_t i = i0; i < i1; i++) {
            int good = __builtin_fabsf(value[i]) <= 1e30f;
            ret[i] = good ? value[i] : 0.0f;
            count += !good;
        }
        bad += count;
    }
    return bad;
}

const struct detect_kernels PASTE(detect_kernels, ISA_SUFFIX) = {correlate3, correlate5, correlate7, correlate,
                                                                 above,      above_each, tidy};
