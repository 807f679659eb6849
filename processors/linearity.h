/* Counts of an amplifier that does not answer in proportion to the charge.
 *
 *     polynomial   true = v (1 + c1 v + c2 v^2 ...)      v, true: ADU above the bias level
 *     table        (v, true) points, straight lines between them, through the origin; beyond the last one its ratio holds
 *
 * Source: the forms of Plazas Malagon et al. 2025 (JATIS; "Polynomial" and "LookupTable" of LSST's instrument signature removal). */
#ifndef NIGHTSHIFT_PROCESSORS_LINEARITY_H
#define NIGHTSHIFT_PROCESSORS_LINEARITY_H

#include <stdint.h>

#include "common/err.h"

#define LINEARITY_TERMS  8
#define LINEARITY_POINTS 256

struct linearity {
    int nterm;                     /* 0: no polynomial */
    float term[LINEARITY_TERMS];   /* c1, c2 ... */
    int npoint;                    /* 0: no table. A table wins over a polynomial */
    float seen[LINEARITY_POINTS], truth[LINEARITY_POINTS]; /* both rising, positive */
};

/* values: terms, all finite. ERR_USAGE for too many */
enum err linearity_from_terms(const double *values, int n, struct linearity *ret, struct error *err);
/* values: seen1, true1, seen2, true2 ... ERR_USAGE unless both rise from above 0 */
enum err linearity_from_table(const double *values, int n, struct linearity *ret, struct error *err);

/* In place. Values at or below 0, and those that are not finite, stay. */
void linearity_apply(const struct linearity *l, float *v, int64_t n);

#endif
