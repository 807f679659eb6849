/* The stages of reduce, in order: a new step is one row of the table in stages.c and one processor.
 *
 *     read -> signature -> cosmic -> streak -> background -> detect -> measure -> psf -> depth -> astrometry -> catalogue
 *          -> zeropoint -> quality -> write
 *
 * Where a new one goes: what mends pixels after signature; what needs the pixels before catalogue, which writes the sky
 * columns with e->sky as it then is and gives the pixels back; what needs columns of the sky after it.
 *
 * Each row says what it needs and what it makes; the table is checked when it is walked, so that a row in the wrong place is
 * found by the first test.                                                                                           */
#ifndef NIGHTSHIFT_PIPELINE_STAGES_H
#define NIGHTSHIFT_PIPELINE_STAGES_H

#include "pipeline/exposure.h"

enum stage_product {
    HAS_RAW = 1,        /* meta, header, raw pixels */
    HAS_FRAME = 2,      /* SCI, VAR, MASK, electron */
    HAS_BACKGROUND = 4, /* scene: background, noise, room for the subtracted image; e->sky from the header */
    HAS_OBJECTS = 8,    /* scene: objects, segmentation, subtracted image; DETECTED in MASK */
    HAS_DETECTIONS = 16, /* measured objects, without sky columns */
    HAS_CATALOGUE = 32, /* sky columns, the catalogue's header; the scene is released */
    HAS_QUALITY = 64,
    HAS_PRODUCTS = 128  /* files in their place */
};

struct stage {
    const char *name;
    unsigned needs, makes;
    enum err (*run)(struct exposure *e, struct error *err);
};

extern const struct stage reduce_stages[]; /* ends with a zero row */

/* Rows with a file of their own. */
enum err stage_astrometry(struct exposure *e, struct error *err); /* stage_astrometry.c: e->sky, coordinates of frame.header; e->astrometry */
enum err stage_zeropoint(struct exposure *e, struct error *err);  /* stage_zeropoint.c: MAGZERO in both headers, MAG_ columns */
enum err stage_fringe(struct exposure *e, struct error *err); /* stage_fringe.c: SCI without fringes, where the filter has them */
enum err stage_depth(struct exposure *e, struct error *err);  /* stage_depth.c: e->depth from background, MASK and PSF */
enum err stage_cosmic(struct exposure *e, struct error *err); /* stage_cosmic.c: COSMIC, INTERPOLATED in MASK; e->cosmic */
enum err stage_streak(struct exposure *e, struct error *err); /* stage_streak.c: STREAK in MASK; e->streaks */

/* stage_depth.c: e->depth as an image of magnitudes, quality/..._depth.fits. path: an attempt. Needs e->depth.flux. */
enum err depth_write(const struct exposure *e, const char *path, struct error *err);

/* Walk the table. e->stage_ms receives the time of each row. */
enum err stages_run(const struct stage *stages, struct exposure *e, struct error *err);

#endif
