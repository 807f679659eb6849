/* Open a calibrated image: a product of reduce (SCI, VAR, MASK) or anybody's FITS image, with its sky coordinates. */
#ifndef NIGHTSHIFT_PIPELINE_IMAGEOPEN_H
#define NIGHTSHIFT_PIPELINE_IMAGEOPEN_H

#include "common/err.h"
#include "common/frame.h"
#include "common/skycoord.h"

/* Given:    hdu   1-based; 0: SCI of a product, else the first image
 * Returned: f     initialised by the caller
 *           sky   NULL when the header has no usable sky coordinates; a header that wcslib refuses is told in the log
 * Status:   those of frameio_read_product(), frameio_read_image(); ERR_NOMEM */
enum err image_open(const char *path, int hdu, struct frame *f, struct skycoord **sky, struct error *err);

#endif
