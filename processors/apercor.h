/* Aperture corrections: what a star's flux in a circle is multiplied by to be its total flux.
 *
 * The curve of growth is that of the frame's PSF, which the PSF stars made; the total is the light within the PSF's
 * radius_total (10 FWHM). Where the PSF varies over the field, so does the correction: it is worked out on a lattice and
 * interpolated bilinearly.
 * Source: Stetson 1990, PASP 102, 932 (growth curves); Howell 1989, PASP 101, 616.
 * Differences: the curve is the model's integral and not a fit to aperture sums, so that faint stars add to it too.      */
#ifndef NIGHTSHIFT_PROCESSORS_APERCOR_H
#define NIGHTSHIFT_PROCESSORS_APERCOR_H

#include "processors/psfmodel.h"

#define APERCOR_MAX  64
#define APERCOR_SIDE 7   /* places of the lattice per side */

struct aperture_corrections {
    int n;                     /* apertures */
    double radius[APERCOR_MAX]; /* pixels */
    double factor[APERCOR_MAX]; /* at the frame's centre; total over flux in the aperture, >= 1 */
    int side;                  /* of the lattice: 1 for a PSF that does not vary */
    float lattice[APERCOR_MAX][APERCOR_SIDE * APERCOR_SIDE];
    int64_t nx, ny;
};

/* Given:    diameter  n of them (at most APERCOR_MAX), pixels
 * Status:   0; ERR_SHAPE for too many; ERR_NOMEM */
enum err apercor_make(const struct psf_model *m, const double *diameter, int n, struct aperture_corrections *ret, struct error *err);
/* The factor of aperture k at a place. */
double apercor_at(const struct aperture_corrections *c, int k, double x, double y);

#endif
