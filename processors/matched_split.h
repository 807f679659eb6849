/* Peaks of a component of the map of signal to noise, each with the pixels that climb to it. Inner part of detect.c.
 *
 *     S      .                   pixels join from the brightest down; each goes where its brightest neighbour went. Where two
 *           / \      .           hills meet, the lower one is a source of its own if it is above the threshold, also without
 *          /   \____/ \          the light around it, and rises far enough above the saddle; else it is a part of the higher one
 *         /            \
 *
 * The rise is measured in units of the noise at the peak: that of the sky (1) and of the photons of the light there.
 * Source: persistence of maxima, Edelsbrunner et al. 2002, Discrete Comput. Geom. 28, 511; watershed, Vincent & Soille 1991,
 * IEEE PAMI 13, 583.
 * What this cannot separate: sources that share one maximum. Cost: that of sorting the pixels, whatever they look like. */
#ifndef NIGHTSHIFT_PROCESSORS_MATCHED_SPLIT_H
#define NIGHTSHIFT_PROCESSORS_MATCHED_SPLIT_H

#include "processors/deblend.h"
#include "processors/matched.h"

struct splitter; /* scratch of one thread; grows with the largest component seen */
struct splitter *splitter_new(void); /* NULL: no memory */
void splitter_free(struct splitter *s);

/* Room for the pixels of a component. Returned: its arrays of n entries for snr and for the variance of each pixel's noise
 * (sky = 1; INFINITY: its peak is no peak), to be filled in the order of p. Status: false if memory ends. */
bool splitter_room(struct splitter *s, int64_t n, float **ret_snr, float **ret_noise2);

/* What makes a hill a source. */
struct splitter_rule {
    double threshold;      /* its peak passes this ... */
    double excess;         /* ... and stands out of the light around it by this, in units of its noise ... */
    double prominence;     /* ... and rises above its saddle by this, in units of its noise */
    float (*excess_of)(const void *user, int32_t x, int32_t y, float snr); /* S less the light around it */
    const void *user;
};

/* Split one component whose snr and noise2 are filled.
 * Returned: p          reordered: the pixels of part 0, then of part 1, ..., each in raster order
 *           ret_parts  room for `room` >= 1; brightest first, with snr, saddle, the peak's pixel and, in x and y, the top of
 *                      a bell through it and its neighbours (NAN if they are no bell). Where there are more, the
 *                      faintest join the brightest
 *           ret_n      how many passed the threshold; 0: none, p untouched
 * Status:   0; ERR_NOMEM */
enum err splitter_run(struct splitter *s, const struct splitter_rule *rule, struct object_pixel *p, int64_t n, int64_t room,
                      struct deblend_part *ret_parts, int64_t *ret_n, struct error *err);

#endif
