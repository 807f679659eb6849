#include "processors/combine.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "common/arena.h"
#include "common/isa.h"
#include "common/units.h"

#define L COMBINE_LANES

struct combine {
    int n;
    struct combine_options opt;
    int npairs;
    struct combine_pair *pairs;
    float *v;      /* n rows of L lanes */
    float *column; /* one pixel's values, for the rounds after the first */
    float *zero;   /* a row of zeros */
    const struct combine_kernels *kernels;
};

const struct combine_kernels *combine_kernels_now(void)
{
#ifdef NIGHTSHIFT_HAVE_AVX2
    if (isa_level() == ISA_AVX2) return &combine_kernels_avx2;
#endif
    return &combine_kernels_generic;
}

int combine_network(int n, struct combine_pair *pairs)
{
    int count = 0, top = 1;
    if (n < 2) return 0;
    while (top * 2 < n) top *= 2;
    for (int p = top; p > 0; p /= 2)
        for (int q = top, r = 0, d = p;; d = q - p, q /= 2, r = p) {
            for (int i = 0; i + d < n; i++) {
                if ((i & p) != r) continue;
                if (pairs) pairs[count] = (struct combine_pair){(uint16_t)i, (uint16_t)(i + d)};
                count++;
            }
            if (q == p) break;
        }
    return count;
}

size_t combine_bytes(int n)
{
    size_t rows = (size_t)n * L * sizeof(float), pairs = (size_t)combine_network(n, NULL) * sizeof(struct combine_pair);
    return rows + pairs + (size_t)n * sizeof(float) + sizeof(struct combine);
}

enum err combine_new(int n, const struct combine_options *opt, struct combine **ret, struct error *err)
{
    if (n < 1 || n > COMBINE_FRAMES_MAX) return ERROR(err, ERR_USAGE, "cannot stack %d frames", n);
    struct combine *c = calloc(1, sizeof *c);
    if (!c) return ERROR(err, ERR_NOMEM, "no memory for a stack of %d frames", n);
    c->n = n;
    c->opt = *opt;
    c->kernels = combine_kernels_now();
    c->npairs = combine_network(n, NULL);
    c->pairs = mem_array((size_t)c->npairs + 1, sizeof *c->pairs);
    c->v = mem_array((size_t)n * L, sizeof *c->v);
    c->column = mem_array((size_t)n, sizeof *c->column);
    c->zero = mem_zarray(L, sizeof *c->zero);
    if (!c->pairs || !c->v || !c->column || !c->zero) {
        combine_free(c);
        return ERROR(err, ERR_NOMEM, "no memory for a stack of %d frames", n);
    }
    combine_network(n, c->pairs);
    *ret = c;
    return ERR_OK;
}

void combine_free(struct combine *c)
{
    if (!c) return;
    free(c->pairs);
    free(c->v);
    free(c->column);
    free(c->zero);
    free(c);
}

/* Small-sample factor of the MAD times 1.4826. */
static float mad_factor(int n)
{
    static const double b[] = {1, 1, 1.196, 1.495, 1.363, 1.206, 1.200, 1.140, 1.129, 1.107};
    double bn = n < 10 ? b[n] : n / (n - 0.8);
    return (float)(SIGMA_PER_MAD * bn);
}

/* The k-th smallest distance from the median among n sorted values (combine_kernels.c: nearest). */
static float nearest(const float *v, int n, int k, float median)
{
    float best = INFINITY;
    for (int j = 0; j + k <= n; j++) {
        float below = median - v[j], above = v[j + k - 1] - median;
        float reach = below > above ? below : above;
        if (reach < best) best = reach;
    }
    return best;
}

static float sigma2_of(const float *v, int n, const struct combine_noise *noise, float median)
{
    float low = nearest(v, n, (n + 1) / 2, median);
    float high = n % 2 ? low : nearest(v, n, n / 2 + 1, median);
    float mad = 0.5f * (low + high) * mad_factor(n);
    float expected = noise->constant + noise->slope * (median > 0.0f ? median : 0.0f);
    float step2 = noise->step * noise->step * 0.25f, s = mad * mad;
    s = s < expected ? expected : s;
    return s < step2 ? step2 : s;
}

struct kept {
    float value, square;
    int n;
};

static struct kept mean_of(const float *v, int n, float median)
{
    float sum = 0, sum2 = 0;
    for (int i = 0; i < n; i++) {
        float d = v[i] - median;
        sum += d;
        sum2 += d * d;
    }
    float count = (float)n;
    return (struct kept){median + sum / count, sum2 - sum * sum / count, n};
}

/* All rounds for one sorted column of n finite values. */
static struct kept clip_column(const float *v, int n, const struct combine_options *opt, const struct combine_noise *noise)
{
    int from = 0, to = n;
    float low = (float)opt->clip_low, high = (float)opt->clip_high;
    for (int round = 0; round < opt->iterations; round++) {
        int m = to - from;
        float median = 0.5f * (v[from + (m - 1) / 2] + v[from + m / 2]);
        float s2 = sigma2_of(v + from, m, noise, median);
        int f = from, t = to;
        while (f < t && v[f] < median && (v[f] - median) * (v[f] - median) > s2 * low * low) f++;
        while (t > f && v[t - 1] > median && (v[t - 1] - median) * (v[t - 1] - median) > s2 * high * high) t--;
        if (f == from && t == to) break;
        from = f;
        to = t;
    }
    int m = to - from;
    return mean_of(v + from, m, 0.5f * (v[from + (m - 1) / 2] + v[from + m / 2]));
}

static int column_of(const struct combine *c, int lane)
{
    int n = 0;
    while (n < c->n && c->v[(int64_t)n * L + lane] < INFINITY) {
        c->column[n] = c->v[(int64_t)n * L + lane];
        n++;
    }
    return n;
}

static float variance_of(const struct kept *k, const struct combine_noise *noise)
{
    float n = (float)k->n;
    if (noise->known) return (noise->constant + noise->slope * (k->value > 0.0f ? k->value : 0.0f)) / n;
    return k->n > 1 ? k->square / ((n - 1.0f) * n) : 0.0f;
}

static bool load_chunk(struct combine *c, const struct combine_frame *frames, int64_t at, int lanes, const float *bias,
                       const float *dark)
{
    bool missing = false;
    const float *b = bias ? bias + at : c->zero, *d = dark ? dark + at : c->zero;
    for (int i = 0; i < c->n; i++) {
        float *dst = c->v + (int64_t)i * L;
        missing |= frames[i].u16 ? c->kernels->load_u16(&frames[i], at, lanes, b, d, dst)
                                 : c->kernels->load_f32(&frames[i], at, lanes, b, d, dst);
    }
    return missing;
}

void combine_run(struct combine *c, const struct combine_frame *frames, int64_t npix, const float *bias, const float *dark,
                 const struct combine_noise *noise, float *value, float *variance, uint16_t *count)
{
    struct combine_clip clip = {(float)c->opt.clip_low, (float)c->opt.clip_high, mad_factor(c->n), *noise,
                                c->opt.iterations > 0};
    float v[L], square[L], kept[L];
    for (int64_t at = 0; at < npix; at += L) {
        int lanes = npix - at < L ? (int)(npix - at) : L;
        bool missing = load_chunk(c, frames, at, lanes, bias, dark);
        c->kernels->sort(c->v, c->pairs, c->npairs);
        if (!missing) c->kernels->first_round(c->v, c->n, &clip, v, square, kept);
        for (int l = 0; l < lanes; l++) {
            struct kept k = {v[l], square[l], (int)kept[l]};
            if (missing || (k.n < c->n && c->opt.iterations > 1)) {
                int n = column_of(c, l);
                k = n ? clip_column(c->column, n, &c->opt, noise) : (struct kept){0};
            }
            value[at + l] = k.n ? k.value : 0.0f;
            variance[at + l] = k.n ? variance_of(&k, noise) : 0.0f;
            count[at + l] = (uint16_t)k.n;
        }
    }
}
