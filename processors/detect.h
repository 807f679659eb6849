/* Detection: from an image and its background to the objects of the image.
 *
 *     rows: subtract -> filter -> threshold -> runs of pixels      strips of rows in parallel
 *           runs -> 8-connected components                         union-find, strips sewn together in order
 *           component -> objects                                   multi-threshold deblending, components in parallel
 *           objects -> objects                                     those that are a neighbour's wing merge with it
 *
 * Detection, positions and moments look at filtered pixels; fluxes and peaks at unfiltered ones (as Source Extractor
 * 2.25 does: its columns are reproduced from its check-images by tests/juries/parity_detect.py).
 * Source: Bertin & Arnouts 1996, A&AS 117, 393, section 3; 8-connected components as in Lutz 1980, Computer Journal 23, 262.
 * Differences: components come from runs and union-find instead of one scan with stacks, so no buffer has a fixed size and
 * strips run in parallel; the deblending tree is built once, from the brightest level down (deblend.h); cleaning looks in
 * a grid (clean.h). Objects are ordered by the last row and, within it, the last column of their component; the parts of
 * one component follow each other.                                                                                     */
#ifndef NIGHTSHIFT_PROCESSORS_DETECT_H
#define NIGHTSHIFT_PROCESSORS_DETECT_H

#include <stdbool.h>

#include "processors/background.h"
#include "processors/clean.h"
#include "processors/convolve.h"
#include "processors/deblend.h"
#include "processors/matched.h"
#include "processors/objects.h"

struct detect_options {
    double thresh;         /* in sigma, or in image units with `absolute` */
    bool absolute;
    int64_t minarea;       /* pixels, >= 1 */
    int64_t maxarea;       /* objects with more pixels are dropped; 0: none are */
    const struct convolve_kernel *filter; /* borrowed; NULL: none */
    struct deblend_options deblend;
    bool clean;
    double clean_param;    /* beta of the Moffat wings */
    bool compat;           /* as Source Extractor 2.25: judge the faintest objects as it does (scanorder.h); filter the
                              variance too before it becomes the threshold */
    const struct matched_options *matched; /* borrowed; not NULL: the matched filter decides what is an object and where its
                              pixels are; thresh, filter, deblend and clean say nothing then */
    mask_t holes;          /* planes whose pixels are never detected and count as sky in the filter ... */
    mask_t mended;         /* ... unless one of these planes is set too (interpolated pixels) */
};

struct detect_input {
    int64_t nx, ny;
    const float *image;    /* nx * ny, background still in it unless background is NULL */
    const struct background *background; /* borrowed; NULL: the image is subtracted already */
    const mask_t *mask;    /* nx * ny or NULL */
    const float *sigma2;   /* nx * ny variances: threshold = thresh * sqrt(sigma2) per pixel, <= 0 or NaN is a hole;
                              NULL: thresh * rms everywhere */
    float rms;             /* 0: the background's global rms */
    const struct background *rms_map; /* borrowed: with the matched filter its rms stands in for sigma2; NULL: rms */
    float gain;            /* electrons per image unit, with the matched filter; 0: no photon noise */
    float saturate;        /* level with background; pixels at or above it set FLAG_SATURATED; INFINITY: none */
    float *value;          /* nx * ny, returned: image - background, written once; may be the image itself; NULL: not
                              wanted, which asks for background == NULL */
};

struct detect_options detect_options_default(void);
/* Status: ERR_SETTINGS with the option that is out of range */
enum err detect_options_verify(const struct detect_options *options, struct error *err);

/* The threshold of these inputs in image units: the constant one, or the factor of sqrt(sigma2). */
float detect_threshold(const struct detect_input *in, const struct detect_options *options);

/* Detect.
 * Given:     in, options; with options->matched the image is subtracted already (background NULL, value NULL or the image)
 * Returned:  ret      objects with their pixels (those of the merged wings stay out) and the segmentation map, in which
 *                     merged wings have the number of the object they went to; objects_release() frees it
 * Status:    0; ERR_SETTINGS; ERR_SHAPE; ERR_NOMEM
 * Threads:   strips and components in parallel; same bytes for any thread count
 * Note:      flags set here: FLAG_DEBLENDED, FLAG_SATURATED, FLAG_TRUNCATED, FLAG_DEBLEND_LIMIT. Positions, moments and
 *            xpeak, ypeak are of filtered pixels; flux, peak of unfiltered ones. A merged wing adds its flux and widens
 *            xmin..ymax, position and moments stay. With the matched filter snr, xpeak and ypeak are those of its map,
 *            and pixels of peaks sharper than the PSF are -1 in the segmentation map. */
enum err detect_sources(const struct detect_input *in, const struct detect_options *options, struct objects *ret,
                        struct error *err);

#endif
