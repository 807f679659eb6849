/* Clipped stacking: rows of many raw frames -> value, variance, number of values kept.
 *
 *     v_i   = ((raw_i - level_i) gain_i - bias - dark t_i) scale_i
 *     clip  : values outside median - low s, median + high s are left out, again until nothing changes
 *             s^2 = max( (1.4826 b_n MAD)^2 , expected variance , digitiser's step )
 *     value = mean of the kept;   variance = expected variance / n, or the scatter of the kept / n where none is expected
 *
 * s is the larger of what the pixel shows and what read noise and photons promise: with 3 to 10 frames the MAD alone is
 * far too often far too small (it would reject good values), and the standard deviation alone can never reject (an
 * outlier among n values is at most (n - 1)/sqrt(n) standard deviations away: 1.79 for 5).
 * Values are sorted per pixel by a merge-exchange network, pixels in SIMD lanes: the kept values are a run of the sorted
 * column, the median stands in its middle, and the MAD is the smallest window around it, so one sort serves everything
 * and the result does not depend on the order of the frames.
 * Source: Batcher 1968 in Knuth, The Art of Computer Programming 3, 5.2.2 algorithm M (network); Croux & Rousseeuw 1992
 *         (b_n, the small-sample factor of the MAD). Differs from ccdproc and IRAF imcombine by the floor on s.       */
#ifndef NIGHTSHIFT_PROCESSORS_COMBINE_H
#define NIGHTSHIFT_PROCESSORS_COMBINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define COMBINE_LANES      32   /* pixels of one chunk; n * 32 floats stay in the first or second cache */
#define COMBINE_FRAMES_MAX 65535

struct combine_options {
    double clip_low, clip_high; /* sigma */
    int iterations;             /* 0: no rejection */
};

/* One frame's run of raw pixels and how they become values. */
struct combine_frame {
    const uint16_t *u16;      /* one of the two */
    const float *f32;
    float level_adu, gain;    /* overscan level of this row, e-/ADU */
    float limit_adu;          /* raw values at or above it are left out; INFINITY: none */
    float dark_s;             /* seconds of dark to subtract */
    float scale;              /* 1 for bias, 1/exposure for darks, 1/level for flats */
};

/* Expected variance of one value v: constant + slope max(v, 0). */
struct combine_noise {
    float constant, slope;
    float step;               /* size of one digitiser step in the unit of v: the clip never gets tighter than that */
    bool known;               /* false: constant and slope say nothing */
};

struct combine;               /* network and scratch of one thread */

/* Status: ERR_NOMEM; ERR_USAGE for n < 1 or too many frames. */
enum err combine_new(int n, const struct combine_options *opt, struct combine **ret, struct error *err);
void combine_free(struct combine *c); /* takes NULL */
size_t combine_bytes(int n);          /* memory combine_new() takes */

/* Stack one run of npix pixels.
 * Given:    frames       n rows as combine_new() was told
 *           bias, dark   npix values subtracted as above; NULL: none
 * Returned: value, variance, count   npix each; where nothing is left: 0, 0, 0
 * Threads:  one combine per thread */
void combine_run(struct combine *c, const struct combine_frame *frames, int64_t npix, const float *bias, const float *dark,
                 const struct combine_noise *noise, float *value, float *variance, uint16_t *count);

/* ---- kernels (combine_kernels.c) ---- */

struct combine_pair {
    uint16_t low, high;
};

/* What the clip needs to know of one chunk. */
struct combine_clip {
    float low, high;          /* times s */
    float mad_factor;         /* 1.4826 b_n */
    struct combine_noise noise;
    bool reject;              /* false: mean of all */
};

struct combine_kernels {
    /* dst[l] = value of pixel l < lanes; INFINITY for values to leave out and for l >= lanes. Returned: were there any? */
    bool (*load_u16)(const struct combine_frame *f, int64_t at, int lanes, const float *bias, const float *dark, float *dst);
    bool (*load_f32)(const struct combine_frame *f, int64_t at, int lanes, const float *bias, const float *dark, float *dst);
    /* Sort each lane of v[n][COMBINE_LANES] upwards. */
    void (*sort)(float *v, const struct combine_pair *pairs, int npairs);
    /* First round for columns without missing values: mean about the median, sum of squares, number kept. */
    void (*first_round)(const float *v, int n, const struct combine_clip *clip, float *value, float *square, float *kept);
};
extern const struct combine_kernels combine_kernels_generic, combine_kernels_avx2;
const struct combine_kernels *combine_kernels_now(void);

/* The network that sorts n values. Returned: number of pairs; pairs may be NULL to count only. */
int combine_network(int n, struct combine_pair *pairs);

#endif
