/* A simulated night: which exposures, where they point, what is written. The pixels come from processors/simulate.h, the
 * sky from processors/simsky.h.
 *
 *     OUT/raw/sc_0001_bias.fits ...        one file per exposure, one extension per CCD
 *     OUT/truth/sc_0010_light_truth.fits   one table per CCD: what stands where, how bright
 *     OUT/truth/sc_0010_light_image.fits   with truth_images: noiseless electrons and mask of each CCD
 *     OUT/truth/sources.fits, refcat.fits  the sky itself; stars as a reference catalogue
 * A bench preset writes OUT/image.fits (one calibrated float image in electrons) and OUT/truth.fits instead.          */
#ifndef NIGHTSHIFT_PIPELINE_SIMNIGHT_H
#define NIGHTSHIFT_PIPELINE_SIMNIGHT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/instrument.h"
#include "processors/simsky.h"
#include "processors/simulate.h"

#define SIM_CCDS    64
#define SIM_FILTERS 8

enum sim_damage {
    DAMAGE_NONE, DAMAGE_TRUNCATE, DAMAGE_EMPTY, DAMAGE_FLIP, DAMAGE_NAN, DAMAGE_NOWCS, DAMAGE_NODATE, DAMAGE_BADCARD, DAMAGE_MANYCARDS,
    DAMAGE_SATURATED, DAMAGE_NOTFITS, DAMAGE_COUNT
};
const char *sim_damage_name(enum sim_damage d);

struct simnight_options {
    const char *out;
    bool bench;              /* one calibrated image */
    uint64_t seed;
    int frames, ccds, amps, bias, dark, flat, fields;
    int64_t nx, ny;
    int nfilter, filter[SIM_FILTERS];
    double stars, galaxies;  /* per CCD */
    int transients;          /* per field */
    double seeing_arcsec, beta, scale_arcsec, exptime_s, sky, mag_bright, mag_faint, crowding, pointing_error_arcsec, streaks, cosmics,
        sky_slope, seeing_drift, mjd;
    bool fz, truth_images;
    int ndamage;
    enum sim_damage damage[DAMAGE_COUNT];
};

/* Status: ERR_USAGE with the option that is out of range. */
enum err simnight_verify(const struct simnight_options *o, struct error *err);

struct simnight_result {
    int64_t files, pixels;   /* raw pixels written */
    int64_t objects;
};

/* Make the night. Exposures run in parallel when there are enough of them, else the rows of one. */
enum err simnight_make(const struct simnight_options *o, struct simnight_result *ret, struct error *err);

/* ---- between the files of this room --------------------------------------------------------------------------- */

struct sim_shot {
    int number;              /* 1-based, in the order of the night */
    enum frame_type type;
    int filter, field;
    double exptime_s, mjd, airmass;
    double fwhm_px, e1, e2;
    double ra, dec;          /* pointing the header tells */
    double true_ra, true_dec;
    enum sim_damage damage;
    char name[64];           /* sc_0001_bias */
};

struct simnight {
    const struct simnight_options *o;
    int nshot;
    struct sim_shot *shot;
    struct sim_ccd *ccd;     /* o->ccds of them */
    double *offset_x, *offset_y; /* centre of each CCD in the focal plane, pixels */
    double *turn_deg;        /* rotation of each CCD */
    double radius_px;        /* of the focal plane */
    struct sim_object **objects; /* per field */
    int64_t *nobject;
};

/* simheader.c: cards of the camera. true_wcs: the pointing as it was, else as the header tells. */
enum err simheader_primary(const struct simnight *n, const struct sim_shot *s, struct header *ret);
enum err simheader_ccd(const struct simnight *n, const struct sim_shot *s, int ccd, struct header *ret);
enum err simheader_wcs(const struct simnight *n, const struct sim_shot *s, int ccd, bool true_wcs, struct header *ret);

/* simtruth.c */
struct sim_seen {            /* the objects near one CCD */
    int64_t n;
    const struct sim_object **object;
    struct sim_source *source;
    double *mag, *flux_stamp;
};
void sim_seen_release(struct sim_seen *s);
enum err simtruth_project(const struct simnight *n, const struct sim_shot *s, int ccd, struct sim_seen *ret, struct error *err);
/* The table of one exposure, a part per CCD. sky_e: noise of the sky behind the S/N. */
enum err simtruth_write(const struct simnight *n, const struct sim_shot *s, const char *path, const struct sim_seen *seen, double sky_e,
                        double rdnoise_e, struct error *err);
enum err simtruth_write_sky(const struct simnight *n, struct error *err);

/* simdamage.c: what can only be done to a finished file. */
enum err simdamage_file(enum sim_damage d, const char *path, uint64_t seed, struct error *err);

#endif
