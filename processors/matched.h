/* Matched filter: the map of signal to noise of a point source at each pixel, and what is a source in it.
 *
 *     S = sum P d / v  /  sqrt(sum P^2 / v)      d: pixel less sky, v: its variance, 0 weight where it is unusable
 *
 *     rows -> S, strips in parallel -> pixels with S > footprint -> components -> peaks with S > threshold, each with the
 *     pixels that climb to it (matched_split.h) -> less those sharper than the PSF (matched_cosmic.h) -> objects
 *
 * The PSF is the frame's own (matched_psf.h) and is applied as a sum of few products of a column and a row, so that the cost
 * grows with its side and not with its area.
 * The threshold, when it is not given, is the lowest one at which noise alone is expected to make up no more than a given
 * share of the objects; the noise of the map is measured on the map.
 * Source: Irwin 1985, MNRAS 214, 575; Zackay & Ofek 2017, ApJ 836, 187 (S is the likelihood ratio of a point source);
 * peaks of noise: Longuet-Higgins 1957, Phil. Trans. A 249, 321; threshold from the share of false detections: Miller et
 * al. 2001, AJ 122, 3492; Hopkins et al. 2002, AJ 123, 1086.
 * Differences: the variance is that of the sky, so that bright stars do not blind their neighbourhood; the photon noise of
 * a neighbour counts where peaks are told apart (matched_split.h).                                                        */
#ifndef NIGHTSHIFT_PROCESSORS_MATCHED_H
#define NIGHTSHIFT_PROCESSORS_MATCHED_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

enum { MATCHED_RADIUS_MAX = 31, MATCHED_SIDE_MAX = 2 * MATCHED_RADIUS_MAX + 1, MATCHED_RANK_MAX = 4 };

/* K(x, y) = sum over k of column[k][y] row[k][x]; taps 2 radius + 1 */
struct matched_products {
    int rank;
    float column[MATCHED_RANK_MAX][MATCHED_SIDE_MAX], row[MATCHED_RANK_MAX][MATCHED_SIDE_MAX];
};

struct matched_kernel {
    int radius;
    struct matched_products psf, square; /* of the PSF and of its square */
    double norm2;         /* sum of the square as applied */
    double peak;          /* of the PSF, whose sum is 1 */
    double curvature;     /* minus the second derivative of the noise's autocorrelation, per pixel^2 */
    double fwhm;          /* pixels */
    int64_t stars;        /* that made it; 0: a Gaussian */
};

struct matched_options {
    struct matched_kernel kernel;
    double footprint;     /* S that a pixel of an object must pass */
    double threshold;     /* S that its peak must pass; 0: from false_share */
    double false_share;   /* of the objects: peaks of noise expected */
    double prominence;    /* S that a peak must rise above its saddle, in units of the noise there */
    bool sharp;           /* keep detections sharper than the PSF (cosmic rays, hot pixels) */
};

struct matched_options matched_options_default(void);
/* Status: ERR_SETTINGS with the option that is out of range */
enum err matched_options_verify(const struct matched_options *o, struct error *err);

/* From a stamp of (2 radius + 1)^2 pixels, whose FWHM is measured. The kernel is what lies within 1.2 FWHM, made non-negative
 * and normalised: further out there is half a per cent of the signal to noise of a Moffat profile, and the light of bright
 * neighbours. stars is left 0. Status: ERR_SHAPE for a radius out of range or a stamp without light; ERR_NOMEM. */
enum err matched_kernel_make(const float *stamp, int radius, struct matched_kernel *ret, struct error *err);
/* A round Gaussian; fwhm is held between 1 and 20 pixels. */
void matched_kernel_gaussian(double fwhm, struct matched_kernel *ret);

/* Peaks above t that unit noise makes on npix pixels of the map. */
double matched_noise_peaks(const struct matched_kernel *k, double npix, double t);

enum { MATCHED_BINS = 2048 };
/* Histogram of S over a sample of pixels: bin k holds S in [k - MATCHED_BINS / 2, ... + 1) / MATCHED_SCALE. */
#define MATCHED_SCALE 64.0
struct matched_noise {
    double zero, sigma;   /* S of the sky and its scatter: 0 and 1 when sky and variance are right */
};
/* From the faint half of the histogram: the objects are in the other one. (0, 1) for fewer than 1000 pixels. */
struct matched_noise matched_noise_of(const int64_t *histogram);

/* The threshold of this image. peaks: n largest S of its components, sorted here, in units of the noise. */
double matched_threshold(const struct matched_options *o, double npix, float *peaks, int64_t n);

#endif
