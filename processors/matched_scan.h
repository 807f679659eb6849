/* The map of signal to noise, row by row: its noise, and the runs of pixels above the footprint. Inner part of detect.c. */
#ifndef NIGHTSHIFT_PROCESSORS_MATCHED_SCAN_H
#define NIGHTSHIFT_PROCESSORS_MATCHED_SCAN_H

#include "processors/detect.h"
#include "processors/runs.h"

/* Zero and scatter of the map, from four rows of every block of 64. Status: 0; ERR_NOMEM. Threads: blocks in parallel. */
enum err matched_scan_noise(const struct detect_input *in, const struct detect_options *o, struct matched_noise *ret, struct error *err);

/* Runs of pixels with (S - zero) / sigma above the footprint; run.cvalue holds that. An unusable pixel that
 * passes is in the run with the value 0: a bad column does not cut a star in two. in->background must be NULL (the image is subtracted). Outside the image and where
 * a pixel is unusable the weight is 0; where less than a quarter of the PSF's weight is left, S is 0.
 * Status: 0; ERR_NOMEM. Threads: strips in parallel; same bytes for any thread count. */
enum err matched_scan_runs(const struct detect_input *in, const struct detect_options *o, const struct matched_noise *noise,
                           struct runs *ret, struct error *err);

#endif
