#include "common/stats.h"

#include <math.h>
#include <string.h>

#include "common/units.h"

#define SAMPLE 65 /* values that vote for a pivot */

#define T float
#define SUFFIX(name) name##_f32
#include "common/stats_select.h"
#undef T
#undef SUFFIX

#define T double
#define SUFFIX(name) name##_f64
#include "common/stats_select.h"
#undef T
#undef SUFFIX

/* ---- random numbers ------------------------------------------------------------------------------------------- */

static void philox_round(uint32_t c[4], uint32_t k0, uint32_t k1)
{
    uint64_t p0 = (uint64_t)0xD2511F53u * c[0], p1 = (uint64_t)0xCD9E8D57u * c[2];
    uint32_t c1 = c[1], c3 = c[3];
    c[0] = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
    c[1] = (uint32_t)p1;
    c[2] = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c[3] = (uint32_t)p0;
}

void philox_block(const uint32_t key[2], const uint32_t counter[4], uint32_t ret[4])
{
    uint32_t k0 = key[0], k1 = key[1];
    memcpy(ret, counter, 4 * sizeof ret[0]);
    for (int i = 0; i < 10; i++) {
        philox_round(ret, k0, k1);
        k0 += 0x9E3779B9u; /* Weyl sequence: golden ratio */
        k1 += 0xBB67AE85u; /* sqrt(3) - 1 */
    }
}

void philox_init(struct philox *p, uint64_t seed, uint64_t stream)
{
    *p = (struct philox){.key = {(uint32_t)seed, (uint32_t)(seed >> 32)},
                         .counter = {0, 0, (uint32_t)stream, (uint32_t)(stream >> 32)}};
}

uint32_t philox_u32(struct philox *p)
{
    if (p->have == 0) {
        philox_block(p->key, p->counter, p->out);
        if (++p->counter[0] == 0) p->counter[1]++;
        p->have = 4;
    }
    return p->out[--p->have];
}

double philox_uniform(struct philox *p)
{
    uint64_t high = philox_u32(p), low = philox_u32(p);
    return ((double)(high << 20 | low >> 12) + 0.5) * 0x1p-52; /* 52 bits: the half stays exact, so never 0 and never 1 */
}

/* Logarithm and exponential in plain IEEE arithmetic. libm's may differ in the last bit between machines (FMA variants
 * are chosen at run time), and one different bit would change a rejection and with it every number that follows. */
static double plain_log(double x)
{
    int e;
    double m = frexp(x, &e); /* [0.5, 1) */
    if (m < 0.70710678118654752) {
        m *= 2;
        e--;
    }
    double s = (m - 1) / (m + 1), s2 = s * s, sum = 0; /* log m = 2 atanh s, |s| < 0.172: 11 terms reach 1e-17 */
    for (int k = 21; k >= 1; k -= 2) sum = sum * s2 + 1.0 / k;
    return 2 * s * sum + e * 0.69314718055994531;
}

static double plain_exp(double x)
{
    double n = floor(x * 1.4426950408889634 + 0.5), r = x - n * 0.69314718055994531, sum = 1;
    for (int k = 18; k >= 1; k--) sum = 1 + sum * r / k;
    return ldexp(sum, (int)n);
}

/* ln k! for k >= 0: table, then Stirling's series (error < 1e-12 from k = 10 on). */
static double log_factorial(double k)
{
    static const double small[] = {0, 0, 0.69314718055994531, 1.7917594692280550, 3.1780538303479458, 4.7874917427820460,
                                   6.5792512120101010, 8.5251613610654143, 10.604602902745250, 12.801827480081469};
    if (k < 10) return small[(int)k];
    double x = k + 1, x2 = x * x;
    return (x - 0.5) * plain_log(x) - x + 0.91893853320467274 + (1.0 / 12 - (1.0 / 360 - 1.0 / (1260 * x2)) / x2) / x;
}

/* Marsaglia's polar method (Marsaglia & Bray 1964): square root and our own logarithm only. */
double philox_normal(struct philox *p)
{
    if (p->have_spare) {
        p->have_spare = 0;
        return p->spare;
    }
    double u, v, r2;
    do {
        u = 2 * philox_uniform(p) - 1;
        v = 2 * philox_uniform(p) - 1;
        r2 = u * u + v * v;
    } while (r2 >= 1 || r2 == 0);
    double scale = sqrt(-2 * plain_log(r2) / r2);
    p->spare = v * scale;
    p->have_spare = 1;
    return u * scale;
}

/* Sequential search of the distribution function: exact, mean + 1 steps. */
static int64_t poisson_small(struct philox *p, double mean)
{
    double u = philox_uniform(p), term = plain_exp(-mean), below = term;
    int64_t k = 0;
    while (u > below && k < 200) { /* beyond 200 the tail of a mean below 10 is far under 2^-52 */
        k++;
        term *= mean / (double)k;
        below += term;
    }
    return k;
}

/* PTRS: transformed rejection with squeeze, Hoermann 1993 (Insurance: Mathematics and Economics 12, 39). */
static int64_t poisson_ptrs(struct philox *p, double mean)
{
    double root = sqrt(mean), log_mean = plain_log(mean);
    double b = 0.931 + 2.53 * root, a = -0.059 + 0.02483 * b;
    double inv_alpha = 1.1239 + 1.1328 / (b - 3.4), v_r = 0.9277 - 3.6224 / (b - 2);
    for (;;) {
        double u = philox_uniform(p) - 0.5, v = philox_uniform(p), us = 0.5 - fabs(u);
        double k = floor((2 * a / us + b) * u + mean + 0.43);
        if (us >= 0.07 && v <= v_r) return (int64_t)k;
        if (k < 0 || (us < 0.013 && v > us)) continue;
        if (plain_log(v * inv_alpha / (a / (us * us) + b)) <= k * log_mean - mean - log_factorial(k)) return (int64_t)k;
    }
}

int64_t philox_poisson(struct philox *p, double mean)
{
    if (!(mean > 0)) return 0;
    if (mean < 10) return poisson_small(p, mean);
    if (mean < 1e9) return poisson_ptrs(p, mean);
    if (mean > 1e18) mean = 1e18; /* the count still fits */
    return (int64_t)floor(mean + sqrt(mean) * philox_normal(p) + 0.5); /* skewness below 3e-5 */
}
