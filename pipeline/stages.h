/* The stages of reduce, in order: a new step is one row of the table in stages.c and one processor.
 *
 *     read -> signature -> extract -> quality -> write
 *
 * Each row says what it needs and what it makes; the table is checked when it is walked, so that a row in the wrong place is
 * found by the first test.                                                                                           */
#ifndef NIGHTSHIFT_PIPELINE_STAGES_H
#define NIGHTSHIFT_PIPELINE_STAGES_H

#include "pipeline/exposure.h"

enum stage_product {
    HAS_RAW = 1,        /* meta, header, raw pixels */
    HAS_FRAME = 2,      /* SCI, VAR, MASK, electron */
    HAS_DETECTIONS = 4, /* measured objects; DETECTED in MASK */
    HAS_QUALITY = 8,
    HAS_PRODUCTS = 16   /* files in their place */
};

struct stage {
    const char *name;
    unsigned needs, makes;
    enum err (*run)(struct exposure *e, struct error *err);
};

extern const struct stage reduce_stages[]; /* ends with a zero row */

/* Walk the table. e->stage_ms receives the time of each row. */
enum err stages_run(const struct stage *stages, struct exposure *e, struct error *err);

#endif
