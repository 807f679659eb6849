/* Check-images: what a drop-in run of `extract` saw and did, as images.
 *
 *     struct check_input, "FILTERED" --checkimage_write()--> FITS
 *
 * The kinds are those of Source Extractor 2.25: BACKGROUND, BACKGROUND_RMS, MINIBACKGROUND, MINIBACK_RMS, -BACKGROUND, FILTERED,
 * OBJECTS, -OBJECTS, SEGMENTATION, APERTURES (docs/extract.md says what each holds). Nothing is kept for them while the frame
 * is measured: each is made from the scene when it is asked for.                                                        */
#ifndef NIGHTSHIFT_PIPELINE_CHECKIMAGE_H
#define NIGHTSHIFT_PIPELINE_CHECKIMAGE_H

#include <stdbool.h>

#include "common/detections.h"
#include "common/err.h"
#include "common/frame.h"
#include "pipeline/extract.h"

/* All borrowed. */
struct check_input {
    const struct frame *frame;            /* header, size and mask of the measured image */
    const struct extract_scene *scene;
    const struct extract_options *options;
    const struct detections *detections;
    bool two;                             /* dual-image mode: the filtered image is gone, there is no FILTERED */
};

/* Is there such a check-image? Case does not matter. */
bool checkimage_is_known(const struct check_input *in, const char *type);

/* Let what APERTURES draws be measured: the radii of the apertures the columns ask for. Before measuring. */
void checkimage_want_radii(struct extract_options *o);

/* Write one.
 * Given:   type  a known one
 * Status:  0; ERR_NOMEM; errors of writing
 * Threads: none started */
enum err checkimage_write(const struct check_input *in, const char *type, const char *path, struct error *err);

#endif
