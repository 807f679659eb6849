/* Reference stars: positions and magnitudes of another catalogue, read from a file, carried to the epoch of a frame.
 *
 *     FITS table, VOTable, CSV, index of astrometry.net  -->  struct refstars  -->  positions at an epoch
 *
 * Columns are found by name, any case, Gaia's names first (docs/refcat.md has the list of aliases): ra and dec (deg) must be
 * there, everything else may be missing. Units are those of Gaia (mas, mas/yr, Julian years) unless the file says others.
 * Magnitudes: every numeric column called phot_*_mean_mag, *mag or mag* is kept under its own name in lower case.
 *
 * Proper motions are the rates on the sky (pmra includes cos dec), carried along a straight line in space without
 * parallax and radial velocity: under 1 mas over 30 years for all but a handful of near stars. A star without proper motion
 * stays where it is and its error grows by REFSTARS_PM_UNKNOWN per year.
 *
 * Threads: refstars_read() by one; what it gives may be read by many.                                                 */
#ifndef NIGHTSHIFT_COMMON_REFSTARS_H
#define NIGHTSHIFT_COMMON_REFSTARS_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define REFSTARS_PM_UNKNOWN  8.0   /* mas/yr per axis, a typical star of 14 to 18 mag */
#define REFSTARS_ERR_UNKNOWN 50.0  /* mas per axis where the file gives no error */
#define REFSTARS_BANDS_MAX   24
#define REFSTARS_BAND_NAME   32

struct refstar {
    int64_t id;                  /* source_id; ids that are no integers are hashed; the row counted from 1 without ids */
    double ra, dec;              /* deg, ICRS, at epoch */
    double epoch;                /* Julian year */
    float ra_err, dec_err;       /* mas, ra_err along the circle (cos dec included) */
    float pmra, pmdec;           /* mas/yr; NaN unknown */
    float pmra_err, pmdec_err;   /* mas/yr; NaN unknown */
    float parallax;              /* mas; NaN unknown */
    float mag;                   /* of the first band; NaN unknown */
};

struct refstars {
    int64_t n;
    struct refstar *star;        /* in the order of declination, then right ascension, then id */
    int nband;
    char band[REFSTARS_BANDS_MAX][REFSTARS_BAND_NAME]; /* "phot_g_mean_mag" first where it is there */
    float *mag[REFSTARS_BANDS_MAX]; /* n each; NaN unknown */
    float *bp_rp;                /* NULL: no such column, and not both BP and RP */
};

/* Read a file; what it is its first bytes tell, not its name.
 * Status: ERR_NOT_FOUND, ERR_UNREADABLE, ERR_IO; ERR_CORRUPT names the column, and the row or line; ERR_UNSUPPORTED for
 *         tables without positions; ERR_NOMEM. A table without rows is good. */
enum err refstars_read(const char *path, struct refstars *ret, struct error *err);
/* The same from memory: CSV or VOTable. path is for messages. */
enum err refstars_parse(const char *text, size_t size, const char *path, struct refstars *ret, struct error *err);
void refstars_release(struct refstars *r); /* takes a zeroed struct */

/* Where a star is in a Julian year.
 * Returned: ra in [0, 360), dec, deg; err: error per axis (mas) with that of the proper motion, NULL if not wanted */
void refstar_at(const struct refstar *s, double year, double *ret_ra, double *ret_dec, double *ret_err);

/* Stars [*first, *end) have declinations within [dec - radius, dec + radius] (degrees, at their own epochs). */
void refstars_zone(const struct refstars *r, double dec, double radius, int64_t *first, int64_t *end);

/* Values of a band, a colour "a-b" of two bands or "bp_rp", by name, any case, for all n stars.
 * Returned: memory of the caller (free), NULL when the file has no such band or memory ends. */
float *refstars_values(const struct refstars *r, const char *name);

double julian_year(double mjd); /* 2000 + (mjd - 51544.5) / 365.25 */

/* Write stars as a FITS table that refstars_read() takes: source_id, ra, dec, ra_error, dec_error, pmra, pmdec, pmra_error,
 * pmdec_error, parallax, ref_epoch and the bands. Errors of frameio_write_tables(). */
enum err refstars_write(const char *path, const struct refstars *r, struct error *err);

#endif
