/* Gain and read noise of a detector whose header says nothing: read from raw flats and biases. */
#ifndef NIGHTSHIFT_PIPELINE_DETECTOR_H
#define NIGHTSHIFT_PIPELINE_DETECTOR_H

#include "common/instrument.h"
#include "pipeline/stack.h"

#define DETECTOR_FRAMES 4   /* flats and biases read at most: three pairs of each */
#define DETECTOR_SIDE   512 /* pixels per side of the middle of each amplifier: gain to 0.3 % from one pair */

/* Fill unknown gains (e-/ADU) and read noises (e-) of meta's amplifiers.
 * Given:    meta            geometry; the same for all files
 *           flats, biases   at least two each (flats may be none when only read noises are unknown)
 * Returned: meta            its amplifiers complete
 * Status:   ERR_NOT_FOUND when they cannot be measured (too few, too faint); of the file that fails */
enum err detector_measure(const struct instruments *set, const struct settings *s, const struct stack_input *flats, int nflat,
                          const struct stack_input *biases, int nbias, struct exposure_meta *meta, struct error *err);

#endif
