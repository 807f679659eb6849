/* Light curves of one night out of its catalogues, and which stars vary.
 *
 *     catalogues --> clean detections --> same place on the sky, band by band --> one curve per star --> scatter, chi-square
 *
 * A band is an instrument and a filter. Only frames with coordinates and a zero point take part (`nightcal` gives both).    */
#ifndef NIGHTSHIFT_PIPELINE_NIGHTCURVES_H
#define NIGHTSHIFT_PIPELINE_NIGHTCURVES_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

struct curve_source {
    const char *path;       /* catalogue */
    int band;               /* >= 0 */
    double seeing_px, seeing_arcsec, zero_err;
    double ellipticity;     /* of its stars, NaN unknown */
};

struct curve_point {
    int frame;              /* index into the sources */
    float mag, err;         /* err of the detection alone */
    float fwhm, elongation; /* in units of the frame's stars; NaN unknown */
    bool deblended;         /* cut out of a blend */
};

struct curve {
    int band, n;
    int64_t first;          /* its points, in the order of the frames */
    double ra, dec, mag;    /* weighted mean */
    double rms;             /* robust: 1.4826 times the median deviation from the median */
    double expected;        /* median error of a point, floor included */
    double chi2;            /* reduced, against a constant, the point farthest off left out */
    double bright, faint;   /* median of the brightest fifth of the points, and the faintest point */
    bool deblended;         /* in each of its points; points of the rarer case are left out */
    bool starlike;          /* as wide and as round as the frames' stars, S/N over 10 */
    int comparison;         /* a constant star of similar brightness, -1: none; set for the chosen ones */
};

struct nightcurves {
    int64_t npoints;
    struct curve_point *points;
    int ncurves;
    struct curve *curves;   /* of at least CURVE_POINTS_MIN points */
    int nbands;
    double *floor;          /* per band: scatter of bright stars beyond their errors, mag */
    int nchosen, chosen[6]; /* the most variable ones, the most variable first */
};

enum { CURVE_POINTS_MIN = 5 };

/* Status: ERR_NOMEM; a catalogue that cannot be read is passed over. Same sources, same curves for any thread count. */
enum err nightcurves_build(const struct curve_source *sources, int n, struct nightcurves *ret, struct error *err);
void nightcurves_release(struct nightcurves *c);

/* Fill the numbers of a curve from its points. zero_err[frame] and floor_mag are added in quadrature. false: out of memory.
 * Exposed for the tests. */
bool curve_measure(struct curve *c, const struct curve_point *points, const struct curve_source *sources, double floor_mag);

/* Error of one point as the chi-square takes it. */
double curve_error(const struct curve_point *p, const struct curve_source *sources, double floor_mag);

#endif
