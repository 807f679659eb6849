/* Raw counts -> linear counts above the bias level, for detectors that need more than the level of each row.
 *
 *     v = raw - level(row) - column(x)          serial overscan of the row, parallel overscan of the column
 *     v = v - sum over j of c_ij v_j            crosstalk: v_j what amplifier j read at the same moment
 *     v = linear(v)
 *
 * level: the rows' own (overscan.h), or a smooth curve through them; column: a smooth curve through the columns of the parallel
 * overscan, or their own levels. calibrate.h and the stack take v in place of raw counts; frames that need none of this
 * never come here. "At the same moment": as many rows and columns away from the corner the amplifier is read out at.
 * Source: order and forms of Plazas Malagon et al. 2025 (JATIS, LSST's instrument signature removal). Departures: one pass over
 * each row instead of one pass over the image per step; crosstalk is taken off with the counts as they are read, which differs from an
 * exact inversion by the square of the coefficients.                                                                 */
#ifndef NIGHTSHIFT_PROCESSORS_RAWSIGNAL_H
#define NIGHTSHIFT_PROCESSORS_RAWSIGNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/maskbits.h"
#include "processors/linearity.h"
#include "processors/overscan.h"

enum curve { CURVE_NONE, CURVE_EACH /* own level of each row or column: clipped mean */, CURVE_MEDIAN /* own, median */, CURVE_POLYNOMIAL, CURVE_SPLINE };

#define CURVE_ORDER_MAX 30

struct rawsignal_options {
    enum curve serial, parallel;
    int serial_order, parallel_order;     /* degree, or pieces of the spline: 0 to CURVE_ORDER_MAX */
    int skip;                             /* overscan columns left out beside the data */
    struct linearity *linearity;          /* AMPS_MAX, owned; NULL: none */
    int namp_crosstalk;                   /* 0: none */
    float *crosstalk;                     /* [victim * namp_crosstalk + source], owned */
    char corner[AMPS_MAX][4];             /* "ll", "lr", "ul", "ur" of the amplifier's place in the trimmed frame; "": where its stored section begins */
    int nsuspect;
    float suspect_adu[AMPS_MAX];          /* raw counts at or above are SUSPECT; one for all, or one each */
};

bool rawsignal_is_needed(const struct rawsignal_options *o);
void rawsignal_options_release(struct rawsignal_options *o);
/* Does it fit a detector of so many amplifiers? ERR_USAGE */
enum err rawsignal_verify(const struct rawsignal_options *o, int namp, struct error *err);

struct rawsignal {
    const struct rawsignal_options *o;
    const struct amp *amps;
    int namp;
    int64_t raw_nx, raw_ny;
    float *level;   /* namp * raw_ny, ADU */
    float *column;  /* namp * raw_nx, ADU; NULL: none */
};

/* Measure the levels of a frame.
 * Given:    raw   all rows, after amps_unflip(); amps verified; both outlive ret
 * Status:   ERR_SHAPE for a parallel overscan outside the array; ERR_NOMEM
 * Threads:  one; same result whoever calls */
enum err rawsignal_measure(const struct rawsignal_options *o, const struct raw_rows *raw, const struct amp *amps, int namp, struct rawsignal *ret,
                           struct error *err);
void rawsignal_release(struct rawsignal *s);

/* One run of one amplifier.
 * Given:    rows   stored rows that hold the run
 *           ghosts stored rows that hold what the sources of crosstalk read at the same moment, where rows does not; NULL: none
 *           limit_adu  raw counts at or above it are saturated
 *           work   run->n floats of scratch
 * Returned: v      run->n linear counts; not finite where raw is not
 *           marks  run->n: SATURATED, SUSPECT, CROSSTALK; NULL: not wanted, and saturated values are NaN */
void rawsignal_row(const struct rawsignal *s, const struct raw_rows *rows, const struct raw_rows *ghosts, int amp, int64_t dest_y, const struct amp_run *run, float limit_adu,
                   float *work, float *v, mask_t *marks);

/* Stored rows [*y0, *y1) that the sources of crosstalk in trimmed rows [dest_y0, dest_y1) stand in; empty without crosstalk. */
void rawsignal_ghost_rows(const struct rawsignal_options *o, const struct amp *amps, int namp, int64_t dest_y0, int64_t dest_y1, int64_t *y0,
                          int64_t *y1);

/* Smooth curve through n levels (NaN: none known) in place. CURVE_EACH, CURVE_MEDIAN: only gaps are filled, from their neighbours.
 * ERR_NOMEM */
enum err curve_fit(enum curve kind, int order, float *levels, int64_t n, struct error *err);

#endif
