/* Instrument signature in one pass: raw pixels -> value [electron], variance [electron^2], mask.
 *
 *     e        = (raw - overscan) gain - bias - dark t
 *     value    = e / flat
 *     variance = (max(e, 0) + dark t + rdnoise^2 + var_bias + var_dark t^2) / flat^2 + value^2 var_flat / flat^2
 *
 * The photon noise is that of the electrons collected, so the dark electrons stay in it and the bias does not. What
 * depends on the masters and the exposure time alone is worked out once per group of frames (struct calibrate_plan);
 * the pass then streams 20 bytes in and 10 bytes out per pixel.
 * Pixels without a value get value 0, variance 0 and NO_DATA; where the flat is below its floor the pixel is left
 * undivided and marked LOWFLAT, so that every number written is finite.
 * Source: Janesick 2001, Scientific Charge-Coupled Devices, ch. 2 (noise terms).                                     */
#ifndef NIGHTSHIFT_PROCESSORS_CALIBRATE_H
#define NIGHTSHIFT_PROCESSORS_CALIBRATE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/instrument.h"
#include "common/maskbits.h"
#include "processors/overscan.h"
#include "processors/rawsignal.h"

/* Planes of a master, borrowed; var and mask may be NULL. Bias [electron], dark [electron/s], flat [relative]. */
struct master_planes {
    const float *value, *var;
    const mask_t *mask;
    double bias_scale; /* dark: this times the same bias master was subtracted in making it, 0 if it was another. Then
                          bias + dark t holds (1 - bias_scale t) of it, and so does the variance: for a dark as long as
                          the exposure the bias cancels */
};

struct calibrate_plan {
    int64_t nx, ny;
    float *subtract;     /* bias + dark t, electron */
    float *add_var;      /* variance of that and of the dark electrons, electron^2 */
    float *inv_flat;     /* 1 / flat, 1 where the flat cannot be used */
    float *flat_rel_var; /* var_flat / flat^2 */
    mask_t *mask;        /* BAD, HOT, LOWFLAT of the masters */
};

/* Work the masters (each may be NULL: step skipped) out for one exposure time.
 * Given:    darktime_s  >= 0; low_flat  flat values at or below it (and not finite ones) are LOWFLAT
 * Returned: ret         owned planes (a NULL plane is a step without effect); calibrate_plan_release()
 * Status:   0; ERR_NOMEM
 * Threads:  rows in parallel; same bytes for any thread count */
enum err calibrate_plan_make(int64_t nx, int64_t ny, const struct master_planes *bias, const struct master_planes *dark,
                             const struct master_planes *flat, double darktime_s, double low_flat,
                             struct calibrate_plan *ret, struct error *err);
/* The same in pieces, for masters that are read band by band: planes for the steps that are taken, their rows to be filled
 * by calibrate_plan_rows(). */
enum err calibrate_plan_alloc(int64_t nx, int64_t ny, bool subtract, bool flat, struct calibrate_plan *ret, struct error *err);
/* Fill rows [y0, y1); the masters' planes begin at row y0. Threads: any, each its own rows. */
void calibrate_plan_rows(struct calibrate_plan *p, int64_t y0, int64_t y1, const struct master_planes *bias,
                         const struct master_planes *dark, const struct master_planes *flat, double darktime_s, double low_flat);
void calibrate_plan_release(struct calibrate_plan *p);

struct calibrate_counts {
    int64_t saturated, no_data;
    double overscan_adu[AMPS_MAX]; /* mean level of the rows, 0 without overscan */
};

/* Calibrate a whole stored image.
 * Given:    raw    all rows, after amps_unflip()
 *           amps   verified (amps_verify); gain_e_per_adu finite and > 0; rdnoise_e NaN is taken as 0;
 *                  saturate_adu NaN: 65535 for 16-bit data, none for float
 * Returned: sci, var, mask  nx * ny pixels; parts that no amplifier covers are NO_DATA
 * Status:   0; ERR_SHAPE for a gain that is not positive; ERR_NOMEM
 * Threads:  blocks of rows in parallel, each writes its own rows; same bytes for any thread count */
enum err calibrate_frame(const struct raw_rows *raw, const struct amp *amps, int namp, const struct calibrate_plan *plan,
                         float *sci, float *var, mask_t *mask, struct calibrate_counts *ret, struct error *err);

/* The same with counts that rawsignal.h makes of the raw ones; signal NULL: as above. ERR_NOMEM besides. */
enum err calibrate_frame_signal(const struct raw_rows *raw, const struct rawsignal *signal, const struct amp *amps, int namp,
                                const struct calibrate_plan *plan, float *sci, float *var, mask_t *mask, struct calibrate_counts *ret,
                                struct error *err);

/* ---- kernels, one table per instruction set (calibrate_kernels.c) ---- */

struct calibrate_run {
    int64_t n;
    const uint16_t *u16;         /* one of the two */
    const float *f32;
    float level_adu, gain, rdnoise2, saturate_adu;
    const float *subtract, *add_var, *inv_flat, *flat_rel_var; /* n each */
    const mask_t *mask_in;
    float *sci, *var;
    mask_t *mask;
};

struct calibrate_kernels {
    void (*u16)(const struct calibrate_run *r);
    void (*f32)(const struct calibrate_run *r);
};
extern const struct calibrate_kernels calibrate_kernels_generic, calibrate_kernels_avx2;
const struct calibrate_kernels *calibrate_kernels_now(void);

#endif
