/* Pictures of calibrated frames: binned, stretched by zscale, what was detected drawn on top, as PNG.
 *
 * No text is drawn: it would depend on the fonts of the machine. Same frame and catalogue, same bytes.
 * Threads: different pictures may be made by different threads at once.                                                */
#ifndef NIGHTSHIFT_COMMON_PREVIEW_H
#define NIGHTSHIFT_COMMON_PREVIEW_H

#include <stdint.h>

#include "common/detections.h"
#include "common/err.h"

enum { PREVIEW_SIDE = 512, PREVIEW_THUMB = 112, PREVIEW_MARKS = 3000 };

/* Grey levels for a display: from z1 (black) to z2 (white), around the median, so that the sky's own scatter is seen.
 * Given:   values  n of them, NaN passed over; contrast  0.25 is usual: smaller shows fainter steps less
 * Returned: z1 <= z2; 0 and 1 without any value
 * Source:  the zscale of IRAF's display task as its help page tells it: a line through the sorted sample, points off by more
 *          than 2.5 sigma and their neighbours dropped, slope / contrast. Sorted sample: at most 1,000 values, evenly spaced. */
void preview_zscale(const float *values, int64_t n, double contrast, double *ret_z1, double *ret_z2);

struct preview {
    int nx, ny;              /* of the picture; row 0 is the lowest row of the frame */
    int bin;
    int64_t frame_nx, frame_ny;
    float *mean;             /* mean of the usable pixels of each bin, NaN without any */
};

/* Read the SCI plane (and MASK, where there is one) of a product of reduce in strips and bin it so that neither side is over
 * max_side. Status: what frameio_open() and frameio_read_rows_f32() say; ERR_NOMEM. Release with preview_release(). */
enum err preview_read(const char *path, int max_side, struct preview *ret, struct error *err);
void preview_release(struct preview *p);

/* Write the picture, and a small one of at most PREVIEW_THUMB pixels without marks (thumb NULL: none). d (NULL: none) gives
 * the marks: an ellipse for each of the PREVIEW_MARKS brightest, green when FLAGS is 0, amber when not. */
enum err preview_write(const struct preview *p, const struct detections *d, const char *path, const char *thumb, struct error *err);

#endif
