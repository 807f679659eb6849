/* Background: level and noise of the sky on a mesh, smooth between the mesh nodes.
 *
 *     image --mesh statistics--> level, rms per mesh --fill, median filter--> nodes --bicubic spline--> any row
 *
 * Rows are evaluated on demand (background_row, background_rms_row, background_subtract_row), so that subtraction fuses
 * with whatever reads the pixels next; no full-size map is kept.
 *
 * Source: Bertin & Arnouts 1996, A&AS 117, 393, section 3; the mode formula is Pearson's with 2.5 and 1.5.
 * Differences: the statistics of a mesh come from one histogram that is clipped by moving its ends, so that the cost of
 * clipping does not grow with the number of rounds; NaN, infinite and masked pixels never enter.
 * With `compat` the nodes sit where Source Extractor 2.25 puts them (half a pixel high in y) and its spline is used, whose
 * second derivatives follow their right-hand neighbour with a sixth of the natural weight (found by its impulse response:
 * tests/juries/parity_detect.py); without it the spline is the natural one through the mesh centres.                  */
#ifndef NIGHTSHIFT_PROCESSORS_BACKGROUND_H
#define NIGHTSHIFT_PROCESSORS_BACKGROUND_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/maskbits.h"

struct background_options {
    int64_t mesh_nx, mesh_ny;     /* pixels of a mesh, >= 4 */
    int64_t filter_nx, filter_ny; /* meshes of the median filter, >= 1 */
    float filter_thresh;          /* a mesh changes only if the median differs by at least this, image unit */
    mask_t reject;                /* mask planes kept out of the statistics */
    bool compat;                  /* Source Extractor's own spline */
};

enum background_flag {
    BACKGROUND_NO_DATA = 1,   /* no mesh had enough good pixels: level 0, rms 0 */
    BACKGROUND_NO_NOISE = 2,  /* the global rms is 0: constant or saturated image */
    BACKGROUND_FILLED = 4     /* some meshes were filled from their neighbours */
};

struct background {
    int64_t nx, ny;
    struct background_options options;
    int64_t gx, gy;           /* meshes in x and y */
    float *level, *rms;       /* gx * gy, after filtering */
    float *level_d2, *rms_d2; /* a sixth of the second derivatives in y, per mesh^2 */
    float *t;                 /* nx: position of a column between its two nodes */
    int64_t *cell_x0;         /* first column of each spline cell, max(gx - 1, 1) + 1 entries */
    double *coupling;         /* factors of the spline's elimination, max(gx, gy) */
    float global_level, global_rms; /* medians over the meshes */
    int64_t filled;           /* meshes without statistics of their own */
    unsigned flags;           /* enum background_flag */
};

struct background_options background_options_default(void);
/* Status: 0; ERR_SETTINGS with the name of the option out of range */
enum err background_options_verify(const struct background_options *options, struct error *err);

/* Measure the background.
 * Given:     image    nx * ny, any unit; NaN and infinite pixels are ignored
 *            mask     NULL or nx * ny; pixels with a plane of options->reject are ignored
 * Returned:  ret      initialised here; background_release() frees it
 * Status:    0; ERR_SHAPE for an empty image; ERR_SETTINGS; ERR_NOMEM
 * Threads:   groups of meshes in parallel; same bytes for any thread count
 * Note:      meshes with more than half of their pixels bad take the mean of the nearest good ones. */
enum err background_estimate(const float *image, const mask_t *mask, int64_t nx, int64_t ny,
                             const struct background_options *options, struct background *ret, struct error *err);
void background_release(struct background *b);

/* doubles of scratch that the row functions want */
int64_t background_scratch(const struct background *b);

/* One row of the level, of its rms, or of in - level. in may equal ret. Scratch belongs to the calling thread. */
void background_row(const struct background *b, int64_t y, double *scratch, float *ret);
void background_rms_row(const struct background *b, int64_t y, double *scratch, float *ret);
void background_subtract_row(const struct background *b, int64_t y, double *scratch, const float *in, float *ret);

/* The level at one (fractional) position. With compat, as in Source Extractor's BACKGROUND column, it is interpolated
 * bilinearly between the nodes at the nearest pixel. */
float background_at(const struct background *b, double x, double y, double *scratch);

#endif
