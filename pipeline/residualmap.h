/* Residuals of a fit of sky coordinates as a picture: the frame, and from each star a stroke of what the fit left.
 *
 *     blue: stars the fit used; red: stars it left out, drawn no longer than three bars; the dot is the star; y grows upwards
 *     below on the left: a bar and its length in pixels of the frame, 1, 2 or 5 times a power of ten
 *
 * A good fit looks like noise; strokes that agree with their neighbours are a distortion that the fit does not follow. */
#ifndef NIGHTSHIFT_PIPELINE_RESIDUALMAP_H
#define NIGHTSHIFT_PIPELINE_RESIDUALMAP_H

#include <stdint.h>

#include "common/err.h"
#include "processors/wcssolve.h"

/* Length of the bar for these residuals: the round number next to twice the rms of the used ones, 1 when there are none. */
double residualmap_bar(const struct wcs_residual *v, int64_t n);

/* Write a PNG of about 900 pixels on the longer side. Same residuals, same bytes.
 * Given:   nx, ny  of the frame, >= 1
 * Status:  ERR_NOMEM; what atomicfile_write() says */
enum err residualmap_write(const char *path, const struct wcs_residual *v, int64_t n, int64_t nx, int64_t ny, struct error *err);

#endif
