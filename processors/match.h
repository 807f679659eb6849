/* Two star lists of the same camera matched by a shift, with or without half a turn (a mount that crossed the meridian).
 *
 * Source: offset voting over pairs of bright stars (the two-point correlation of the lists, as in Kaiser et al. 1999,
 * "Imcat"), then nearest neighbours and a least-squares rotation and shift (Procrustes without scale).
 * Threads: pure functions; results depend on the lists and their order only.                                          */
#ifndef NIGHTSHIFT_PROCESSORS_MATCH_H
#define NIGHTSHIFT_PROCESSORS_MATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

struct match_star {
    double x, y;  /* pixels */
    double flux;  /* any unit; brighter stars vote */
};

struct match_options {
    double max_shift_px;   /* both axes */
    double tolerance_px;   /* of a pair after the shift */
    int bright;            /* stars of each list that vote */
    int min_pairs;         /* fewer is no match */
    bool half_turn;        /* also try the list turned by 180 degrees */
};
#define MATCH_OPTIONS_DEFAULT {.max_shift_px = 512, .tolerance_px = 1.5, .bright = 80, .min_pairs = 5, .half_turn = true}

/* b = m a + t for pixel positions: m = {m00, m01, m10, m11}. */
struct match_result {
    double m[4], t[2];
    int pairs;             /* stars in common */
    double rms_px;         /* per axis, over the pairs kept */
    double chance;         /* pairs that chance alone would give at the best shift */
    bool turned;
};

/* Match list a to list b.
 * Status: ERR_NOT_FOUND when no shift stands out (the message says how many pairs the best one had and how many chance
 *         gives); ERR_NOMEM */
enum err match_stars(const struct match_star *a, int na, const struct match_star *b, int nb, const struct match_options *opt,
                     struct match_result *ret, struct error *err);

/* Nearest neighbours within radius after the transformation: pair[i] is the index in b for star i of a, or -1; each star
 * of b is used once, the closest pair first. pair has room for na. */
enum err match_pairs(const struct match_star *a, int na, const struct match_star *b, int nb, const double m[4], const double t[2],
                     double radius, int *pair, struct error *err);

#endif
