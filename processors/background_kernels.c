#include "processors/background_kernels.h"

#include <string.h>

#define LANES 8
#define BLOCK 512 /* pixels summed in float before the lanes join the doubles: 64 terms a lane lose no digit that counts */

typedef float lanes_f __attribute__((vector_size(4 * LANES)));
typedef int32_t lanes_i __attribute__((vector_size(4 * LANES)));

#define PASTE2(a, b) a##b
#define PASTE(a, b) PASTE2(a, b)

static void add_block(const float *v, int64_t n, float low, float high, float origin, struct mesh_moments *ret)
{
    lanes_f sum = {0}, sum2 = {0};
    lanes_i count = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        lanes_f x;
        memcpy(&x, v + i, sizeof x);
        lanes_i good = (x >= low) & (x <= high); /* 0 or -1 */
        lanes_f d = (lanes_f)((lanes_i)(x - origin) & good);
        count -= good;
        sum += d;
        sum2 += d * d;
    }
    for (; i < n; i++) {
        int32_t good = (v[i] >= low) & (v[i] <= high);
        float d = good ? v[i] - origin : 0.0f;
        count[0] += good;
        sum[0] += d;
        sum2[0] += d * d;
    }
    for (int l = 0; l < LANES; l++) {
        ret->n += count[l];
        ret->sum += sum[l];
        ret->sum2 += sum2[l];
    }
}

static void moments(const float *v, int64_t n, float low, float high, float origin, struct mesh_moments *ret)
{
    *ret = (struct mesh_moments){0};
    for (int64_t i = 0; i < n; i += BLOCK) add_block(v + i, i + BLOCK < n ? BLOCK : n - i, low, high, origin, ret);
}

static void bins(const float *v, int64_t n, float zero, float inverse_step, int nbins, int32_t *bin, struct mesh_bins *ret)
{
    const float limit = (float)nbins;
    const int middle = nbins / 2;
    *ret = (struct mesh_bins){0};
    for (int64_t i0 = 0; i0 < n; i0 += 4096) { /* 32-bit partial sums cannot overflow within a block */
        int64_t i1 = i0 + 4096 < n ? i0 + 4096 : n;
        int32_t count = 0, sum = 0, below = 0;
        int64_t sum2 = 0;
        for (int64_t i = i0; i < i1; i++) {
            float f = (v[i] - zero) * inverse_step + 0.499999f;
            int good = (f >= 0) & (f < limit);
            int32_t b = (int32_t)(good ? f : limit);
            bin[i] = b;
            count += good;
            sum += good ? b : 0;
            below += b < middle;
        }
        for (int64_t i = i0; i < i1; i++) {
            int32_t b = bin[i] < nbins ? bin[i] : 0;
            sum2 += (int64_t)b * b;
        }
        ret->n += count;
        ret->sum += sum;
        ret->sum2 += sum2;
        ret->below += below;
    }
}

static void cubic(const float *t, int64_t n, const float c[4], float *ret)
{
    const float c0 = c[0], c1 = c[1], c2 = c[2], c3 = c[3];
    for (int64_t i = 0; i < n; i++) ret[i] = c0 + t[i] * (c1 + t[i] * (c2 + t[i] * c3));
}

static void subtract_cubic(const float *t, int64_t n, const float c[4], const float *in, float *ret)
{
    const float c0 = c[0], c1 = c[1], c2 = c[2], c3 = c[3];
    for (int64_t i = 0; i < n; i++) ret[i] = in[i] - (c0 + t[i] * (c1 + t[i] * (c2 + t[i] * c3)));
}

const struct background_kernels PASTE(background_kernels, ISA_SUFFIX) = {moments, bins, cubic, subtract_cubic};
