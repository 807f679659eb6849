/* What frames of one night give each other: coordinates for those that have none, and relative zero points.
 *
 *     catalogues --> no WCS? neighbour's stars shifted onto mine, checked --> sky positions
 *                --> stars in common, per instrument and filter --> one zero point per frame (relphot.h)
 *
 * Memory: a few tens of kilobytes per catalogue, however long it is.
 * Files in, files out: a catalogue whose cards or columns change is written again, whole; the same catalogues again
 * change nothing. Source: docs/nightcal.md.                                                                          */
#ifndef NIGHTSHIFT_PIPELINE_NIGHTCAL_H
#define NIGHTSHIFT_PIPELINE_NIGHTCAL_H

#include "common/err.h"
#include "common/header.h"
#include "processors/match.h"

#define KEY_WCS_FROM "NSWCSREF" /* raw file whose coordinates were carried over to this frame */

/* A star that may carry the zero point. */
struct nightcal_obs {
    double x, y, ra, dec;    /* FITS pixels; deg, NaN without coordinates */
    float mag, err;          /* instrumental magnitude of 1 s and its error */
};

/* What is kept of a catalogue: its header, its brightest stars, its good stars. The rest is read again when it is written. */
struct nightcal_frame {
    const char *path;
    struct header image;
    struct match_star *bright;
    int nbright;
    struct nightcal_obs *obs;
    int64_t nobs;
    char instrument[64], filter[72], raw[256], object[72];
    int ccd;
    double mjd, exptime_s, seeing_arcsec;
    bool has_wcs;            /* its own */
    bool solved;             /* from a neighbour, in this run */
    char wcs_from[256];
    double wcs_rms_px, wcs_rms_arcsec;
    int wcs_pairs;
    double zero, zero_err;   /* magnitude of 1 electron/s; NaN: none */
    int zero_stars;
    bool absolute;           /* came with an absolute zero point, which stays */
    bool changed;            /* its file is to be written again */
    enum err code;           /* ERR_OK, ERR_HELD without coordinates, or why it could not be read */
    struct error err;
};

/* A star seen in several frames, for the report. */
struct nightcal_star {
    double ra, dec, mag, rms; /* deg; zero-pointed magnitude; robust scatter */
    int n;
    char filter[72];
};

struct nightcal {
    int nframes;
    struct nightcal_frame *frames;
    int64_t nstars;
    struct nightcal_star *stars;
};

/* Read the catalogues, solve, write those that changed.
 * Status: 0 also when single frames are held (their code says so); ERR_NOMEM and the like for the whole */
enum err nightcal_run(const char *const *paths, int n, struct nightcal *ret, struct error *err);
void nightcal_release(struct nightcal *c);

/* Robust scatter (median over stars with at least min_n points) of the brightest `share` of the stars; NaN: none. */
double nightcal_scatter(const struct nightcal *c, double share, int min_n);

#endif
