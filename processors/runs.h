/* Runs: stretches of a row above the threshold, and the 8-connected components they form. Inner part of detect.c.
 *
 *     y    ...####....###.....   a run is [x0, x1) of a row; runs of adjacent rows that touch, corners included,
 *     y+1  .......#####.......   belong to one component
 *
 * Invariants: (1) runs are in raster order; (2) the root of a component is its first run; (3) components are ordered by
 * their last run; (4) member[] lists the runs of each component in raster order.                                        */
#ifndef NIGHTSHIFT_PROCESSORS_RUNS_H
#define NIGHTSHIFT_PROCESSORS_RUNS_H

#include "processors/detect.h"

struct run {
    int32_t x0, x1, y;
    float threshold;      /* the lowest of its pixels */
    int64_t first;        /* its values in its strip */
    const float *value, *cvalue; /* the same, unfiltered and filtered, once the strip is complete */
};

struct strip {
    struct run *run;
    int64_t *parent;      /* union-find among the strip's runs */
    int64_t n, room;
    float *values;        /* of each run the unfiltered values, then the filtered ones */
    int64_t nvalues, room_values;
};

struct runs {
    int64_t nstrips;
    struct strip *strips;
    int64_t n;
    struct run *run;
    int64_t ncomp;
    int64_t *comp_first;  /* ncomp + 1 entries into member */
    int64_t *comp_npix;
    int64_t *member;      /* indices of runs */
};

/* Subtract, filter, threshold and label: fills in->value on the way. Components with fewer than minarea pixels (or more
 * than maxarea) are left out. Status: 0; ERR_NOMEM. Threads: strips in parallel. */
enum err runs_find(const struct detect_input *in, const struct detect_options *o, struct runs *ret, struct error *err);
void runs_release(struct runs *r);

/* For a scan of one's own: add the run [x0, x1) of row y. Returned: room for its 2 (x1 - x0) values, valid until the next one is
 * added; NULL: no memory. */
float *strip_add(struct strip *s, int64_t x0, int64_t x1, int64_t y, float threshold);
/* The strip is complete: label its runs. Status: false if memory ends. */
bool strip_close(struct strip *s);
/* All r->nstrips strips are closed: one list of runs, components across the seams, those too small or too large left out. */
enum err runs_join(struct runs *r, int64_t minarea, int64_t maxarea, struct error *err);
/* First bit at or after x that equals `set`, nx if there is none. */
int64_t runs_next_bit(const uint64_t *bits, int64_t nx, int64_t x, bool set);

/* Label runs that are in raster order (the part of runs_find that tests can feed by hand). parent: n entries. */
void runs_connect(const struct run *run, int64_t n, int64_t *parent);

#endif
