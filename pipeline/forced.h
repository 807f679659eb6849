/* Forced photometry: what shines at given places of an image, whether it is seen or not.
 *
 *     image -> background -> detect -> PSF of the image's own stars --+
 *     list of positions ----------------------------------------------+--> fit of all, places of the list held --> rows
 *
 * Detected sources that are not one of the list are fitted along with it, so that their light does not count twice. A
 * detection within 0.4 FWHM of a place of the list is the listed source itself; a faint one (S/N below 10), whose place the
 * noise has moved, within 1 FWHM.
 * Reads and writes files; never a database.                                                                            */
#ifndef NIGHTSHIFT_PIPELINE_FORCED_H
#define NIGHTSHIFT_PIPELINE_FORCED_H

#include <stdbool.h>
#include <stdint.h>

#include "common/digest.h"
#include "common/err.h"
#include "pipeline/extract.h"

/* ---- the list ------------------------------------------------------------------------------------------------------- */

struct forced_list {
    int64_t n;
    bool on_sky;               /* ra, dec; else x, y */
    bool numbers;              /* every id is a whole number */
    int64_t *id;               /* the number, or the row's own (1-based) when ids are words or absent */
    char *name;                /* n * name_width: the id as given, NULL when numbers */
    int name_width;
    double *a, *b;             /* ra, dec in degrees (ICRS), or x, y in FITS pixels; NaN where the row holds no number */
    char sum[DIGEST_HEX_SIZE]; /* SHA-256 of the file */
};
/* A FITS table or a CSV file with columns id (object_id, source_id, number) and ra, dec (alpha_j2000, delta_j2000, raj2000,
 * dej2000) or x, y (x_image, y_image); any case; without an id rows are numbered from 1.
 * Status: errors of reading; ERR_CORRUPT naming line and column; ERR_NOT_FOUND when the columns are not there */
enum err forced_list_read(const char *path, struct forced_list *ret, struct error *err);
/* The same from text, for tests; path is for messages. */
enum err forced_list_parse(const char *text, size_t size, const char *path, struct forced_list *ret, struct error *err);
void forced_list_release(struct forced_list *l);

/* ---- measuring ------------------------------------------------------------------------------------------------------- */

enum forced_flag { FORCED_OUTSIDE = 512, FORCED_NO_PLACE = 1024 }; /* beside enum psffit_flag */

struct forced_row {
    double x, y;               /* 0-based pixels, NaN: none */
    double ra, dec;            /* NaN: the image has no sky coordinates */
    float flux_psf, fluxerr_psf, upper_limit, flux_aper, fluxerr_aper, chi2; /* image unit; NaN: not measured */
    int32_t mask;              /* OR of the mask within one FWHM */
    int16_t flags;
};

struct forced_options {
    double limit_sigma;        /* of upper_limit */
    double aperture_fwhm;      /* diameter of the aperture */
    bool recentre;             /* places are starting points */
};

/* Given:    f        consumed: SCI becomes the image without background
 *           sky      NULL: only lists in pixels can be measured
 *           scene    initialised; background, objects and PSF stay in it
 * Returned: ret      list->n rows; free() it
 * Status:   0; ERR_UNSUPPORTED for a list on the sky and an image without; ERR_NOMEM */
enum err forced_measure(struct frame *f, struct skycoord *sky, const struct extract_options *o, const struct forced_list *list,
                        const struct forced_options *fo, struct extract_scene *scene, struct forced_row **ret, struct error *err);

/* "outside", "no usable pixels", "no position" or "". */
const char *forced_reason(int flags);

#endif
