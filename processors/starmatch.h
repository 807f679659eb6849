/* A star list of a frame found among reference stars: shift, turn, flip and scale unknown within limits.
 *
 *     frame stars  --> locally bright ones --> quads --\
 *                                                       same shape? --> similarity --> how many others fall in place?
 *     references   --> locally bright ones --> quads --/
 *
 * Both lists are in the same unit (pixels of the frame). b = m a + t. A star is *locally bright* when fewer than a few stars
 * within a radius are brighter: that choice does not move with the frame's edges, and a cluster gets no more of it than the
 * rest of the field (the brightest of all stars of a frame often sit in one clump).
 *
 * Source: geometric hashing of quads after Lang et al. 2010 (AJ 139, 1782): the farthest pair spans a unit square, the other
 * two stars give four numbers that do not change under shift, turn and scale. Departures: quads come from nearest
 * neighbours among the locally bright stars; the scale is known to some per cent; chance is measured on the data, by
 * counting again with the list shifted.
 * Threads: pure functions; results depend on the lists and their order only.                                          */
#ifndef NIGHTSHIFT_PROCESSORS_STARMATCH_H
#define NIGHTSHIFT_PROCESSORS_STARMATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

struct plane_star {
    double x, y;
    double mag;            /* any zero point; NaN counts as faint */
};

struct starmatch_options {
    double scale_tolerance;/* 0.06: scale between 0.94 and 1.06 */
    double tolerance;      /* of a pair, in the lists' unit, while the frame's distortion is unknown */
    int bright;            /* locally bright stars wanted from the frame */
    double accept_log_odds;/* of the best transformation, natural logarithm */
};
#define STARMATCH_OPTIONS_DEFAULT {.scale_tolerance = 0.07, .tolerance = 4, .bright = 60, .accept_log_odds = 20.7}

struct starmatch_result {
    double m[4], t[2];     /* affine, fitted to the pairs */
    int pairs;
    double chance;         /* pairs that chance gives, measured */
    double log_odds;       /* pairs ln(pairs / chance) - (pairs - chance) */
    bool flipped;          /* determinant below 0 */
    int tried;             /* transformations looked at */
};

/* Find list a (a frame) in list b (a larger piece of sky).
 * Status: ERR_NOT_FOUND when nothing stands out (ret has the best one, the message says how good it was); ERR_NOMEM */
enum err starmatch_find(const struct plane_star *a, int na, const struct plane_star *b, int nb, const struct starmatch_options *opt,
                        struct starmatch_result *ret, struct error *err);

/* A grid over a list for neighbours within a radius. */
struct plane_index;
struct plane_index *plane_index_new(const struct plane_star *s, int n, double cell); /* NULL: no memory; borrows s */
void plane_index_free(struct plane_index *x);                                        /* takes NULL */
/* The nearest star within radius, -1 for none; ties go to the lower index. */
int plane_index_nearest(const struct plane_index *x, double px, double py, double radius, double *ret_distance);

/* Indices of the locally bright stars, at most max of them, brightest first: fewer than `rank` brighter ones within radius.
 * Returned: their number, -1 without memory. */
int plane_locally_bright(const struct plane_star *s, int n, double radius, int rank, int max, int *ret);

/* ln of the odds that `pairs` are there where chance gives `chance` of them. */
double match_log_odds(double pairs, double chance);

#endif
