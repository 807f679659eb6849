/* Cosmic rays: pixels sharper than any point of light can be.
 *
 *     L      positive Laplacian on the image sampled twice as finely, averaged back to its pixels; without the finer image:
 *            the mean over the four corners of max(0, 2 c - neighbour in x - neighbour in y)
 *     noise  square root of the 5 x 5 median of the variance plane
 *     S      L / (2 noise);   S' = S - median of S over 5 x 5
 *     F      fine structure: the 3 x 3 median minus its own 7 x 7 median, or a tenth of its rise over 3 pixels, over the noise
 *     hit    S' > sigclip and S' > objlim F, and 0.5 sigma higher than sigclip above the 5 x 5 median;
 *            then its neighbours with S' > sigclip, then theirs with S' > sigfrac sigclip, both where S' > 0.3 objlim F;
 *            in later rounds also where S' > 2/3 sigclip beside a hit of an earlier round
 *
 * Hits get the median of the good pixels around them and the image is looked at again, until nothing is found or niter rounds
 * are done. All medians are those of the whole square, found by min/max networks; nothing is approximated by rows and columns.
 *
 * DESIGN. S' <= S, because the median of S is never negative, and the noise is never below the smallest one around. A tile whose
 * steepest Laplacian stays below sigclip times that bound holds no hit, and one pass at the speed of memory says so; the medians are
 * worked out for the other tiles alone, F only where S' asks for it, and later rounds only around tiles that changed. The result
 * is that of the full computation everywhere.
 *
 *     tile 64 x 16 |<- 2 growth ->|<- 2 median of S ->|<- 2 median of the variance ->|   = a halo of 6 pixels
 *
 * A hit belongs to the tile where it starts; it may grow into the next one.
 *
 * Source: van Dokkum 2001 (PASP 113, 1420); the default objlim is between his 2 for well sampled and 5 for undersampled images.
 * Departures: the noise is that of the variance plane instead of a model; the rise in F (without it the flanks of bright stars in
 * blends are hits), the height above the median (single noise peaks were a tenth of all) and the limit on growth (it ate star cores
 * beside a hit); beyond the image's edge it is mirrored with the edge pixel twice, so that stars cut by the edge stay; pixels that say nothing
 * (MASK_UNUSABLE) take the value of their neighbour in the row while others are judged; pixels beside saturated ones and bleed
 * trails do not start a hit. Not found: hits as wide and smooth as the profile of a star.                             */
#ifndef NIGHTSHIFT_PROCESSORS_COSMIC_H
#define NIGHTSHIFT_PROCESSORS_COSMIC_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/maskbits.h"

#define COSMIC_ROUNDS_MAX 16

struct cosmic_options {
    double sigclip; /* > 0 */
    double sigfrac; /* 0 to 1 */
    double objlim;  /* > 0 */
    int niter;      /* 1 to COSMIC_ROUNDS_MAX */
};

void cosmic_options_init(struct cosmic_options *o); /* 4.5, 0.5, 3, 6 */

enum err cosmic_verify(const struct cosmic_options *o, struct error *err); /* ERR_USAGE naming what is out of range */

struct cosmic_counts {
    int64_t pixels;  /* found */
    int64_t mended;  /* of them: value taken from their surroundings; the others have no good pixel near */
    int rounds;
};

/* Find and mend.
 * Given:    sci, var, mask  nx * ny; a pixel whose variance is not positive and finite is not judged
 * Returned: mask gains COSMIC, and INTERPOLATED where sci was mended; var keeps the photon noise of the hit: an interpolated
 *           value is known less well than its neighbours
 * Status:   ERR_USAGE for options out of range; ERR_NOMEM (1 byte per pixel, touched around hits alone)
 * Threads:  tiles in parallel; same bytes for any thread count */
enum err cosmic_reject(float *sci, const float *var, mask_t *mask, int64_t nx, int64_t ny, const struct cosmic_options *o,
                       struct cosmic_counts *ret, struct error *err);

/* ---- kernels (cosmic_kernels.c) ---- */

/* Planes below are rows of `stride` floats. Kernels work in whole vectors: up to COSMIC_SPARE floats beyond w are read and written. */
#define COSMIC_SPARE 8

struct cosmic_kernels {
    /* Is the sum over the corners of max(0, 2 c - x - y) above the limit anywhere? row[-1] and row[n] are read. */
    bool (*steep)(const float *up, const float *row, const float *down, int64_t n, float limit);
    /* Smallest positive value; INFINITY if there is none. */
    float (*least)(const float *v, int64_t n);
    /* S of one row. */
    void (*contrast)(const float *up, const float *row, const float *down, const float *noise2, int64_t n, float *s);
    /* Median of the square around each pixel of h rows of w. */
    void (*median9)(const float *in, int64_t stride, int64_t w, int64_t h, float *out);
    void (*median25)(const float *in, int64_t stride, int64_t w, int64_t h, float *out);
};
extern const struct cosmic_kernels cosmic_kernels_generic, cosmic_kernels_avx2;
const struct cosmic_kernels *cosmic_kernels_now(void);

#endif
