/* Deblending: one component of connected pixels into the objects that overlap in it.
 *
 *     level
 *      31      .          .            pixels join from the brightest level down; where two branches meet that each hold
 *      ..     / \        / \           enough light above the meeting level, they are objects of their own;
 *       1    /   \______/   \          the pixels below go to the branch that most probably lit them
 *       0   /________________\
 *
 * Source: Bertin & Arnouts 1996, A&AS 117, 393, section 3.3: levels spaced exponentially between threshold and peak; a
 * branch counts when it has three pixels (fewer if minarea is smaller) and its light above its own level exceeds `mincont`
 * times the light of the whole component; at least two such branches must meet.
 * Differences: the tree is grown once by union-find over pixels sorted by level, instead of labelling the component anew
 * at each level, so the cost is that of sorting the pixels; there is no limit on branches. A pixel outside the
 * branches goes to the branch whose Gaussian profile lights it most, where Source Extractor draws one with rand().
 * What this cannot separate: objects that share one maximum.                                                            */
#ifndef NIGHTSHIFT_PROCESSORS_DEBLEND_H
#define NIGHTSHIFT_PROCESSORS_DEBLEND_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "processors/objects.h"

enum { DEBLEND_LEVELS_MAX = 256, DEBLEND_AREA = 3 /* pixels a branch needs at most, whatever minarea says */ };

struct deblend_options {
    int nthresh;        /* levels, 1: no deblending */
    double mincont;     /* share of the light, 0 to 1; 1: no deblending */
    int64_t max_pixels; /* a larger component is kept whole and flagged FLAG_DEBLEND_LIMIT; 0: no limit */
    int64_t max_cost;   /* so is one whose pixels times branches exceed this; 0: no limit */
};

enum err deblend_options_verify(const struct deblend_options *o, struct error *err);

struct deblend_part {
    int64_t n;          /* pixels */
    double x, y;        /* barycentre of the branch itself, without the outer pixels; NaN for an undivided component */
    float snr, saddle;  /* with the matched filter: of its peak, of the highest saddle beside it (0: none), ... */
    float excess;       /* ... of its peak less the light around it ... */
    int32_t xpeak, ypeak; /* ... and where the peak is */
    bool sharp;         /* sharper than the PSF: no object */
};

struct deblender; /* scratch of one thread; grows with the largest component seen */
struct deblender *deblender_new(void); /* NULL: no memory */
void deblender_free(struct deblender *d);

/* Split one component.
 * Given:     p, n       its pixels in raster order; filtered values above threshold
 *            threshold  > 0 for levels spaced exponentially, else they are linear
 *            minarea    pixels a branch needs; more than DEBLEND_AREA are not asked for
 * Returned:  p          reordered: the pixels of part 0, then of part 1, ...; in each those of the branch
 *                       come first; both in raster order
 *            ret_parts  room for n / min(minarea, DEBLEND_AREA) + 1
 *            ret_n      how many parts, >= 1
 *            ret_limit  kept whole because of a limit
 * Status:    0; ERR_NOMEM (pixels untouched) */
enum err deblend_component(struct deblender *d, const struct deblend_options *o, struct object_pixel *p, int64_t n,
                           float threshold, int64_t minarea, struct deblend_part *ret_parts, int64_t *ret_n, bool *ret_limit,
                           struct error *err);

#endif
