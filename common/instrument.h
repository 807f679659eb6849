/* Instruments as data: what a header means, from data/instruments/NAME.yaml.
 *
 * An instrument file says how to recognise its frames, where each canonical quantity stands in the header, how values
 * translate, and what to take when the header says nothing (docs/instruments.md is the reference). The shipped files are
 * compiled in; NIGHTSHIFT_SHARE and the setting instrument.path add folders, whose files win over shipped ones of the
 * same name. `generic` knows the common synonyms and is asked last. A new instrument is a file, never code.
 * Threads: a set is read-only after instruments_load(); any thread may use it.                                      */
#ifndef NIGHTSHIFT_COMMON_INSTRUMENT_H
#define NIGHTSHIFT_COMMON_INSTRUMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/digest.h"
#include "common/err.h"
#include "common/frame.h"
#include "common/header.h"
#include "common/settings.h"

enum frame_type { FRAME_UNKNOWN, FRAME_BIAS, FRAME_DARK, FRAME_FLAT, FRAME_LIGHT, FRAME_OTHER /* focus, test, junk */ };
const char *frame_type_name(enum frame_type t); /* "bias", ... */

enum wcs_trust { WCS_NONE, WCS_APPROXIMATE /* pointing only: needs matching */, WCS_GOOD };

#define AMPS_MAX 64

struct amp {
    char name[16];
    struct section data;     /* where its sky pixels stand in the raw array */
    struct section overscan; /* serial overscan columns of the same rows; empty: none */
    struct section prescan;  /* parallel overscan rows; empty: none */
    struct section dest;     /* where they go in the trimmed frame */
    bool flip_x, flip_y;
    double gain_e_per_adu;   /* NaN: unknown, to be measured from bias and flat pairs */
    double rdnoise_e;        /* NaN: unknown */
    double saturate_adu;     /* NaN: unknown */
};

/* What one image (one CCD of one exposure) is. Strings are "" and numbers NaN where nothing is known. */
struct exposure_meta {
    char instrument[32];     /* name of the instrument file */
    char exposure_id[72];    /* the header's own id, or "" (then instrument + DATE-OBS + checksum make the key) */
    char object[72], filter[32], observer[72];
    enum frame_type type;
    int ccd;                 /* 1-based number of the CCD; 0 when the camera has one and does not say */
    int nccd;                /* CCDs of the exposure in this file (>= 1) */
    int binning_x, binning_y;
    int64_t raw_nx, raw_ny;  /* of the stored array */
    int64_t nx, ny;          /* trimmed */
    double exptime_s;        /* exposure */
    double darktime_s;       /* defaults to exptime */
    double mjd_start, mjd_mid;
    char date_obs[40];       /* as written */
    int night;               /* yyyymmdd, 0 if no time is known */
    double longitude_deg, latitude_deg, height_m;
    bool longitude_assumed;  /* nothing said it: 0 was taken (said aloud by the verbs) */
    double ra_deg, dec_deg;  /* pointing, ICRS */
    double airmass, ccd_temp_c, pixel_scale_arcsec;
    enum wcs_trust wcs;
    bool wcs_in_trimmed;     /* the WCS cards of a raw file count pixels of the trimmed, assembled frame */
    int namp;
    struct amp amp[AMPS_MAX];
    char problem[200];       /* why it cannot be processed ("no exposure time"), "" if it can */
    char note[400];          /* what was taken for granted ("TIMESYS 'x' is unknown: taken as UTC"), "" if nothing */
};

struct instruments;
struct instrument;

/* Compiled-in files, then folders of settings instrument.path and NIGHTSHIFT_SHARE. ERR_SETTINGS with file and line. */
enum err instruments_load(const struct settings *s, struct instruments **ret, struct error *err);
void instruments_free(struct instruments *set);
int instruments_count(const struct instruments *set);
const struct instrument *instruments_at(const struct instruments *set, int i);
const struct instrument *instruments_find(const struct instruments *set, const char *name); /* NULL if none */

/* The instrument of a primary header: first file whose match rules all hold; else generic. Never NULL. */
const struct instrument *instrument_of(const struct instruments *set, const struct settings *s, const struct header *primary);

const char *instrument_name(const struct instrument *ins);
const char *instrument_path(const struct instrument *ins);    /* file, or "(built in) NAME.yaml" */
const char *instrument_digest(const struct instrument *ins);  /* SHA-256 of the file: part of the recipe */

/* HDUs that hold its CCDs: 1-based image HDUs. The primary header says which (one, or all image extensions). */
bool instrument_is_multi_extension(const struct instrument *ins);

/* Canonical meaning of one image.
 * Given: h         header of the image, primary cards merged in (frameio_read_header)
 *        nx, ny    stored size
 *        hdu       1-based, becomes the CCD number where nothing else says it
 * Status: 0 even when things are missing (they are NaN, "" or `problem`); ERR_CORRUPT for contradictions that make the
 *         frame unusable (a section outside the array) */
enum err instrument_meta(const struct instrument *ins, const struct settings *s, const struct header *h, int64_t nx, int64_t ny,
                         int hdu, struct exposure_meta *ret, struct error *err);

/* Settings the instrument file sets (strength: instrument). */
enum err instrument_apply_settings(const struct instrument *ins, struct settings *s, struct error *err);

/* Recipe: SHA-256 of result version, result settings and instrument file (PRODUCT: Recipe). */
void recipe_digest(const struct settings *s, const struct instrument *ins, char ret_hex[DIGEST_HEX_SIZE]);

#endif
