/* What a peak of the matched filter's map is: how far it stands out of the light around it, and is it sharper than the PSF?
 *
 * The light around it (the outskirts of a galaxy, the wing of a star, a background that could not follow) is the mean of the
 * middle half of 200 pixels between 1.8 and 3 FWHM away: it is known to about 0.4 in S.
 * Cosmic rays and hot pixels are sharper than the PSF; stars and galaxies are not. A point of light and straight lines of 2 to 7 pixels in eight directions are fitted at the pixels around the peak, as the
 * PSF was; a line that explains clearly more of the light than the PSF does is what the light came from.
 * Source: a likelihood ratio, as in Zackay & Ofek 2017, ApJ 836, 187, section 6; the idea of sharpness is that of Stetson 1987,
 * PASP 99, 191. What this cannot tell: tracks wider than the PSF, and stars much sharper than it.                       */
#ifndef NIGHTSHIFT_PROCESSORS_MATCHED_PEAK_H
#define NIGHTSHIFT_PROCESSORS_MATCHED_PEAK_H

#include "processors/detect.h"

/* S at (x, y) less that of the even light around it, which is never negative. Threads: leaf. */
float matched_excess(const struct detect_input *in, const struct detect_options *o, const struct matched_noise *noise, int32_t x,
                     int32_t y, float snr);

/* Given: in    as matched_scan_runs() takes it
 *        part  where the peak is and its signal to noise
 *        p, n  its pixels: lines stay on them, so that they do not climb a neighbour
 * Threads: leaf */
bool matched_is_sharp(const struct detect_input *in, const struct detect_options *o, const struct matched_noise *noise,
                      const struct deblend_part *part, const struct object_pixel *p, int64_t n);

#endif
