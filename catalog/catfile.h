/* A catalogue file of `reduce` (FITS_LDAC with provenance cards) as rows ready for the database. */
#ifndef NIGHTSHIFT_CATALOG_CATFILE_H
#define NIGHTSHIFT_CATALOG_CATFILE_H

#include <stdint.h>

#include "common/err.h"
#include "common/instrument.h"
#include "common/settings.h"

/* X(column of `detection`, column of the file, element of a vector column): float columns taken as they are. */
#define CATROW_REALS(X)                                                                                                \
    X(flux_auto, "FLUX_AUTO", 0)     X(fluxerr_auto, "FLUXERR_AUTO", 0)                                                \
    X(flux_aper1, "FLUX_APER", 0)    X(fluxerr_aper1, "FLUXERR_APER", 0)                                               \
    X(flux_aper2, "FLUX_APER", 1)    X(fluxerr_aper2, "FLUXERR_APER", 1)                                               \
    X(flux_aper3, "FLUX_APER", 2)    X(fluxerr_aper3, "FLUXERR_APER", 2)                                               \
    X(flux_max, "FLUX_MAX", 0)       X(background, "BACKGROUND", 0)                                                    \
    X(kron_radius, "KRON_RADIUS", 0) X(flux_radius, "FLUX_RADIUS", 0)                                                  \
    X(a, "A_IMAGE", 0)               X(b, "B_IMAGE", 0)                                                                \
    X(theta, "THETA_IMAGE", 0)       X(fwhm, "FWHM_IMAGE", 0)                                                          \
    X(class_star, "CLASS_STAR", 0)   X(snr, "SNR_WIN", 0)                                                              \
    X(flux_psf, "FLUX_PSF", 0)       X(fluxerr_psf, "FLUXERR_PSF", 0)                                                  \
    X(chi2_psf, "CHI2_PSF", 0)       X(spread_model, "SPREAD_MODEL", 0)                                                \
    X(spreaderr_model, "SPREADERR_MODEL", 0)

#define SEQ_MAX ((1 << 22) - 1)
#define CCD_MAX 511

struct catrow {
    int64_t hpx29;
    double ra, dec, x, y;      /* deg ICRS; FITS pixels; windowed where known */
    double ra_psf, dec_psf, x_psf, y_psf; /* of the PSF fit; NaN without one */
    float ra_err, dec_err;     /* arcsec */
#define X(field, name, element) float field;
    CATROW_REALS(X)
#undef X
    int32_t seq;               /* 1-based, unique in the file */
    int32_t isoarea, imaflags;
    int16_t flags;
    int16_t flags_psf;         /* -1: no such column */
};

/* A row of `nightshift forced`: what was measured at a given place. */
struct forcedrow {
    int64_t id;
    double ra, dec, x, y;      /* deg ICRS; FITS pixels */
    float flux, fluxerr, limit, flux_aper, fluxerr_aper, chi2;
    int32_t mask;
    int16_t flags;
};

/* Numbers are NaN and strings "" where nothing is known. */
struct catfile {
    char instrument[64], exposure_key[200];
    char raw_file[256], raw_sha256[65], bias_sha256[65], dark_sha256[65], flat_sha256[65];
    char recipe[20], program_version[32], reference[100], quality[16];
    char cat_path[512], cal_path[512];  /* relative to the archive root */
    char filter[72], object[72], telescope[72], observer[72];
    int ccd, night;
    double mjd_start, mjd_mid, exptime_s, ra, dec, airmass, longitude, latitude, height_m;
    int64_t nx, ny;
    double centre_ra, centre_dec, corner_ra[4], corner_dec[4], pixel_scale;
    double magzero, magzero_err;
    char magzero_kind[12];              /* "", absolute, relative */
    double seeing_arcsec, sky_e, sky_noise_e, depth, astrom_rms_arcsec, ellipticity, masked, saturated;
    int n_star;                         /* -1: not known */
    char reasons[256];                  /* of the verdict */
    int64_t n, dropped;                 /* rows; rows left out because they have no sky position */
    struct catrow *rows;                /* sorted by hpx29; NULL for forced photometry */
    char list[128], list_sha256[65];    /* forced photometry: the list of positions; "" otherwise */
    struct forcedrow *forced;
};

/* instruments may be NULL: then the site and the like come from common keywords alone.
 * root: archive root that paths are made relative to; NULL: the last three parts of the path when they are
 * NIGHT/INSTRUMENT/NAME, else the name.
 * Status: what table_read() says; ERR_UNSUPPORTED for a file without provenance cards; ERR_HELD for one without sky
 * positions; ERR_CORRUPT for impossible cards or numbers; ERR_NOMEM                                                    */
enum err catfile_read(const char *path, const char *root, const struct settings *s, const struct instruments *instruments,
                      struct catfile *ret, struct error *err);
void catfile_release(struct catfile *c);

/* Fill hpx29 and sort, as catfile_read() does; for rows made otherwise. ERR_CORRUPT: a position that is none. */
enum err catfile_sort(struct catfile *c, struct error *err);

/* Identity of the inputs: SHA-256 of raw file, masters, reference, recipe and the list of positions; the floats do not enter.
 * ret: 65 bytes. */
void catfile_token(const struct catfile *c, char *ret_hex);

#endif
