/* Overscan level of each row of each amplifier, and how amplifiers are laid into the trimmed frame.
 *
 *     raw row    [prescan | data ............ | overscan]   per amplifier, in the order of the stored array
 *     trimmed    [dest of amp 0 ][dest of amp 1 ]           flips undone, overscan gone
 *
 * Raw pixels stay what the file stores (unsigned 16 bit or float) until the one pass of calibrate.h or combine.h turns
 * them into electrons: reading them once is the whole point.                                                        */
#ifndef NIGHTSHIFT_PROCESSORS_OVERSCAN_H
#define NIGHTSHIFT_PROCESSORS_OVERSCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/instrument.h"

/* Rows [y0, y1) of a stored array, one of the two pointers set, both starting at row y0. */
struct raw_rows {
    int64_t nx, y0, y1;
    uint16_t *u16;
    float *f32;
};

/* The run of one amplifier in one row of the trimmed frame. */
struct amp_run {
    int64_t raw_y, raw_x; /* where it starts in the stored array, after amps_unflip() */
    int64_t dest_x, n;
};

/* Does the amplifier cover row y of the trimmed frame, and with which run? */
bool amp_run_of_row(const struct amp *a, int64_t dest_y, struct amp_run *ret);

/* Stored rows [*y0, *y1) that trimmed rows [dest_y0, dest_y1) come from, over all amplifiers. */
void amps_raw_rows(const struct amp *amps, int namp, int64_t dest_y0, int64_t dest_y1, int64_t *y0, int64_t *y1);

/* Check sections against the stored and the trimmed size and that amplifiers do not overlap in the trimmed frame.
 * Status: ERR_SHAPE naming the amplifier */
enum err amps_verify(const struct amp *amps, int namp, int64_t raw_nx, int64_t raw_ny, int64_t nx, int64_t ny,
                     struct error *err);

/* Reverse in place the rows of amplifiers that are read out from right to left (flip_x). Once per buffer. */
void amps_unflip(struct raw_rows *raw, const struct amp *amps, int namp);

/* Overscan level of one stored row of an amplifier: the mean of the values within 3 robust sigma of their median (a
 * median alone would carry the half-ADU steps of the digitiser into the image).
 * Returned: ADU; 0 when the amplifier has no overscan; NaN when none of its overscan pixels is finite
 * Threads:  any; scratch is on the stack */
float overscan_level(const struct raw_rows *raw, const struct amp *a, int64_t raw_y);

#endif
