#include "processors/matched_kernels.h"

#include <string.h>

#define PASTE2(a, b) a##b
#define PASTE(a, b) PASTE2(a, b)

enum { BLOCK = 32 };

/* One column along x: the sums of a block stay in registers. */
static inline void weigh_rows(const float *column, int taps, const float *const *rows, int64_t x0, int64_t n, float *restrict line)
{
    for (int64_t x = x0; x < x0 + n; x += BLOCK) {
        float sum[BLOCK] = {0};
        for (int j = 0; j < taps; j++) {
            const float *v = rows[j] + x;
            const float w = column[j];
            for (int l = 0; l < BLOCK; l++) sum[l] += w * v[l];
        }
        memcpy(line + (x - x0), sum, sizeof sum);
    }
}

static inline void weigh_columns(const float *row, int taps, const float *line, int64_t nx, int add, float *restrict ret)
{
    for (int64_t x = 0; x < nx; x += BLOCK) {
        float sum[BLOCK] = {0};
        for (int i = 0; i < taps; i++) {
            const float *v = line + x + i;
            const float w = row[i];
            for (int l = 0; l < BLOCK; l++) sum[l] += w * v[l];
        }
        if (add)
            for (int l = 0; l < BLOCK; l++) sum[l] += ret[x + l];
        memcpy(ret + x, sum, sizeof sum);
    }
}

static void products(const struct matched_products *p, int radius, int margin, const float *const *rows, int64_t nx, float *line,
                     float *ret)
{
    const int taps = 2 * radius + 1;
    for (int k = 0; k < p->rank; k++) {
        weigh_rows(p->column[k], taps, rows, -margin, (nx + 2 * margin + BLOCK - 1) / BLOCK * BLOCK, line);
        weigh_columns(p->row[k], taps, line + margin - radius, nx, k > 0, ret);
    }
}

static int64_t prepare(const float *value, const float *variance, int64_t nx, float other, float *good, float *weighted, float *root)
{
    int64_t bad = 0;
    for (int64_t x0 = 0; x0 < nx; x0 += 4096) {
        int64_t x1 = x0 + 4096 < nx ? x0 + 4096 : nx;
        int32_t count = 0;
        for (int64_t x = x0; x < x1; x++) {
            int usable = (variance[x] > 1e-30f) & (variance[x] < 1e30f) & (__builtin_fabsf(value[x]) <= 1e30f);
            float v = usable ? variance[x] : 1.0f;
            float d = usable ? value[x] : 0.0f;
            good[x] = usable ? 1.0f : 0.0f;
            weighted[x] = d / v;
            root[x] = usable ? 1.0f / __builtin_sqrtf(v) : 0.0f;
            count += !usable;
        }
        bad += count;
    }
    float last = other;
    for (int64_t x = 0; bad && x < nx; x++) {
        if (good[x] > 0) last = root[x];
        else root[x] = last;
    }
    return bad;
}

static void scale(const float *sum, const float *norm, const float *root, int64_t nx, float *s)
{
    for (int64_t x = 0; x < nx; x++) {
        float r = root[x] > 0 ? root[x] : 1e30f;
        s[x] = sum[x] * norm[x] / r;
    }
}

static void normalise(const float *square, float least, int64_t nx, float *norm)
{
    for (int64_t x = 0; x < nx; x++) {
        float q = square[x] > least ? square[x] : 1e30f;
        norm[x] = square[x] > least ? 1.0f / __builtin_sqrtf(q) : 0.0f;
    }
}

const struct matched_kernels PASTE(matched_kernels, ISA_SUFFIX) = {products, prepare, scale, normalise};
