/* Objects of one image: what detection hands to measurement.
 *
 *     background.h -> detect.h (filter, threshold, label, deblend, clean) -> struct objects -> shape.h, photometry.h
 *
 * Pixels and positions here are 0-based; the columns of detections.h add 1. An object owns a run of objects.pixels.
 * Ownership: objects_release() frees everything.                                                                    */
#ifndef NIGHTSHIFT_PROCESSORS_OBJECTS_H
#define NIGHTSHIFT_PROCESSORS_OBJECTS_H

#include <stdint.h>

#include "common/err.h"
#include "common/maskbits.h"

/* The image as measurement sees it. Planes are nx * ny, row-major, borrowed. */
struct image_view {
    int64_t nx, ny;
    const float *value;     /* background subtracted, image unit */
    const float *sigma2;    /* background variance per pixel, unit^2 (without the objects' own photon noise);
                               NULL: sigma2_const everywhere. <= 0 or NaN: pixel unusable */
    float sigma2_const;
    const mask_t *mask;     /* NULL: none; pixels that are not mask_is_measurable() are left out of sums */
    const int32_t *segment; /* 0: sky, else object index + 1; -1: above the threshold in a group too small to be an
                               object (Source Extractor keeps those out of apertures too); NULL before detection */
    float gain;             /* electrons per image unit for the photon noise of objects; 0: infinite (no photon term) */
    float gain_sigma2;      /* > 0: the gain goes as gain_sigma2 / sigma2 of the pixel (WEIGHT_GAIN); 0: it is constant */
    float saturate;         /* image units above the local background plus background: raw level; INFINITY: none */
};

/* May a pixel's value enter the sums over an object? Saturated cores do, flagged, for want of better; interpolated pixels
 * do; the rest of MASK_UNUSABLE does not. */
static inline int mask_is_measurable(mask_t m)
{
    return (m & MASK_INTERPOLATED) != 0 || !(m & (MASK_UNUSABLE & ~(MASK_SATURATED | MASK_BLEED)));
}

struct object_pixel {
    int32_t x, y;
    float value;            /* background subtracted, not filtered */
    float cvalue;           /* filtered: what was compared with the threshold */
};

struct object {
    int64_t first, npix;    /* its pixels in objects.pixels */
    int32_t xmin, xmax, ymin, ymax;
    int32_t xpeak, ypeak;
    float peak;             /* largest value */
    float cpeak;            /* largest filtered value */
    float snr;              /* of the matched filter at (xpeak, ypeak); 0 without one */
    float threshold;        /* detection threshold, image unit (after filtering where the noise varies) */
    double flux;            /* sum of value over the isophote */
    double x, y;            /* barycentre */
    double x2, y2, xy;      /* second moments about it */
    float a, b, theta_rad;  /* ellipse, counter-clockwise from +x */
    float cxx, cyy, cxy;    /* its coefficients: cxx dx^2 + cyy dy^2 + cxy dx dy = 1 */
    uint16_t flags;         /* enum detection_flag (common/detections.h) */
    mask_t imaflags;        /* OR of the mask over the isophote */
};

struct objects {
    int64_t n;
    struct object *o;       /* in the order of the topmost detection pass: ascending (ymax, ...) as detect.h says */
    int64_t npixels;
    struct object_pixel *pixels;
    double snr_threshold;   /* of the matched filter, 0 without one; zero and scatter of its map as measured */
    double snr_zero, snr_sigma;
    int32_t *segment;       /* nx * ny segmentation map as in image_view, owned */
};

void objects_release(struct objects *os);

#endif
