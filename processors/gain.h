/* Gain and read noise from pairs of flats and biases: the photon transfer method.
 *
 *     rdnoise^2 = var(B1 - B2) / 2                                      [ADU^2]
 *     gain      = (s1 + r^2 s2) / (var(F1 - r F2) - (1 + r^2) rdnoise^2)   with s = F - B, r = s1 / s2
 *
 * worked out in boxes, whose median is the answer: a box with a star, a scratch or a cosmic ray is one bad vote. Scaling
 * the second flat to the first removes the structure both share (vignetting, dust), which r = 1 would leave in when the
 * lamp has drifted.
 * Source: Janesick 2001, Scientific Charge-Coupled Devices, ch. 2 and 4. Differs: r, boxes, variances clipped at 4 sigma
 *         (a Gaussian loses 0.1 % of its variance there: less than a box's own error of 3 %).                        */
#ifndef NIGHTSHIFT_PROCESSORS_GAIN_H
#define NIGHTSHIFT_PROCESSORS_GAIN_H

#include <stdint.h>

#include "common/err.h"

#define GAIN_BOX 32 /* pixels: 1024 differences give a variance to 4.4 % */

struct gain_estimate {
    double gain_e_per_adu, gain_error;
    double rdnoise_adu, rdnoise_error; /* of one frame */
    int boxes;
};

/* Given:    flats, biases  n planes each of nx * ny pixels, ADU, overscan level subtracted; NaN: pixel unusable. Pairs
 *                          are (0, 1), (1, 2), ...
 * Returned: ret            medians over boxes and pairs; errors 1.2533 * 1.4826 MAD / sqrt(boxes)
 * Status:   0; ERR_NOT_FOUND with fewer than two of either or when no box is usable (flats too faint, read noise larger
 *           than the photon noise); ERR_NOMEM
 * Threads:  one; same bytes always */
enum err gain_from_pairs(int64_t nx, int64_t ny, const float *const *flats, int nflat, const float *const *biases, int nbias,
                         struct gain_estimate *ret, struct error *err);

/* Read noise alone, from two biases or more. gain_e_per_adu of ret is NaN. */
enum err rdnoise_from_pairs(int64_t nx, int64_t ny, const float *const *biases, int nbias, struct gain_estimate *ret,
                            struct error *err);

#endif
