/* The order in which a one-pass scan (Lutz 1980) links the pixels of a component. Inner part of detect.c.
 *
 *     row y      ...CCCC...      a run that begins left of the component C it meets puts those first pixels in front of
 *     row y+1    .rrRRR....      C's chain, the others behind it: r r, then C, then R R R
 *
 * Source Extractor looks at the minarea-th brightest pixel of an object through a heap that is filled in this order and,
 * as its results show, sorted one pixel late; to clean as it does, clean_margin needs the order.                        */
#ifndef NIGHTSHIFT_PROCESSORS_SCANORDER_H
#define NIGHTSHIFT_PROCESSORS_SCANORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "processors/runs.h"

struct scanorder; /* scratch of one thread */
struct scanorder *scanorder_new(void);
void scanorder_free(struct scanorder *s);

/* Filtered values of one component in the order of linking.
 * Given:    run, member, n   its runs in raster order: run[member[0..n)]
 * Returned: ret              room for all its pixels. Status: false if memory ends */
bool scanorder_values(struct scanorder *s, const struct run *run, const int64_t *member, int64_t n, float *ret);

#endif
