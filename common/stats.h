/* Robust statistics of arrays. All ignore NaN. Arrays named `work` are reordered.
 * Determinism: results depend on the values and their order only. */
#ifndef NIGHTSHIFT_COMMON_STATS_H
#define NIGHTSHIFT_COMMON_STATS_H

#include <stdint.h>

/* Median: the middle value, or the mean of the two middle ones. NaN for n = 0 (or only NaN). O(n) selection.
 * Source: Floyd & Rivest 1975 (CACM 18, 165), with a partition free of branches. */
float median_f32(float *work, int64_t n);
double median_f64(double *work, int64_t n);
/* The k-th smallest (0-based) of n values without NaN; smaller ones stand before it afterwards, larger ones behind. */
float select_f32(float *work, int64_t n, int64_t k);
double select_f64(double *work, int64_t n, int64_t k);
/* 1.4826 * median |v - centre|. */
float mad_sigma_f32(float *work, int64_t n, float centre);
double mad_sigma_f64(double *work, int64_t n, double centre);

struct clipped {
    double mean, sigma, median;
    int64_t n;         /* values kept */
    int iterations;
};
/* Iterated clipping about the median at low and high times sigma until nothing changes or max_iterations. sigma is the
 * standard deviation of the values kept (n - 1); infinities are left out too. work: n values of scratch, may be `values`. */
struct clipped clipped_stats_f32(const float *values, int64_t n, float *work, double low, double high, int max_iterations);
struct clipped clipped_stats_f64(const double *values, int64_t n, double *work, double low, double high, int max_iterations);

/* Counter-based random numbers: the same for a given (seed, stream, counter) on every machine and in every thread.
 * Normals by Marsaglia's polar method, Poisson by inversion below a mean of 10, by PTRS (Hoermann 1993) to 1e9, and as
 * rounded normals beyond. Source: Philox 4x32-10, Salmon et al. 2011 (SC11). */
struct philox {
    uint32_t key[2];
    uint32_t counter[4];
    uint32_t out[4];
    int have;
    double spare;
    int have_spare;
};
/* The bare generator: 128 random bits for a key and a counter. */
void philox_block(const uint32_t key[2], const uint32_t counter[4], uint32_t ret[4]);
void philox_init(struct philox *p, uint64_t seed, uint64_t stream);
uint32_t philox_u32(struct philox *p);
double philox_uniform(struct philox *p);            /* (0, 1) */
double philox_normal(struct philox *p);             /* mean 0, sigma 1 */
int64_t philox_poisson(struct philox *p, double mean);

#endif
