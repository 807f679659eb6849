/* What is known of one night, out of the files that reduce and nightcal wrote, and its page.
 *
 *     quality/NIGHT/INSTRUMENT/..._quality.json --> one row per frame and CCD <-- quality/NIGHT_nightcal.json, --run FILE
 *     NIGHT/INSTRUMENT/..._cat.fits             --> light curves                                                     --> page
 *     NIGHT/INSTRUMENT/..._cal.fits.fz          --> pictures
 *
 * No clock, host or thread count enters the page: same files, same bytes.                                               */
#ifndef NIGHTSHIFT_PIPELINE_NIGHTREPORT_H
#define NIGHTSHIFT_PIPELINE_NIGHTREPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "pipeline/nightcurves.h"

struct report_frame {
    char raw[256];                     /* name of the raw file */
    char product[400];                 /* NIGHT/INSTRUMENT/NAME, without _cal.fits.fz; "" when nothing was written */
    char instrument[64], filter[72], object[72];
    int ccd, band;                     /* band: index into night.bands, -1 */
    double mjd, exptime_s, airmass;
    double sky, sky_sigma, seeing_px, seeing_arcsec, ellipticity, depth_mag; /* depth on the scale of the zero points */
    int64_t objects, stars;
    char verdict[16], reasons[256];
    char wcs[16];                      /* header, neighbour, none, "" unknown */
    char wcs_from[256];
    double wcs_rms_px;
    double fit_rms_px;                 /* of the frame's own fitted WCS against reference stars, NaN: not fitted */
    int64_t fit_stars;
    char fit_status[16];               /* good, doubt, failed, "": no reference stars */
    double masked;
    double zero, zero_err;             /* NaN: none */
    char zero_kind[16];
    char outcome[16], cause[64], message[512]; /* done, held, quarantined */
    char picture[420], thumb[440];     /* names below previews/, "" for none */
    struct error picture_err;
};

struct night_report {
    int night;
    char out[1024];
    int nframes;
    struct report_frame *frames;       /* by time, then name, then CCD */
    int nbands;
    char (*bands)[140];                /* "g", or "instrument g" where there are several instruments */
    bool zeros, has_run;
    int stars_common;                  /* stars the zero points come from, -1: no nightcal */
    double scatter_mag;                /* of the bright third of them */
    int64_t run_objects;               /* of the run's file, -1: not said */
    double run_elapsed_s;
    char run_input[512];
    struct nightcurves curves;
};

/* Read what lies below out. night 0: the newest that has quality files. run (NULL: none): what `run` tells of its frames.
 * Status: ERR_NOT_FOUND without any frame of the night; ERR_CORRUPT for a file that is not what its name says; ERR_NOMEM */
enum err nightreport_read(const char *out, int night, const char *run, struct night_report *ret, struct error *err);
void nightreport_release(struct night_report *r);

/* Make the pictures of the first `most` frames in `folder`, each by its own thread. A frame whose picture cannot be made says
 * so in picture_err. Status: of the folder; an error that a retry may cure (memory, disk), of the first frame that met one. */
enum err nightreport_pictures(struct night_report *r, const char *folder, int most, struct error *err);

/* Write the page. Status: as page_write(). */
enum err nightpage_write(const struct night_report *r, const char *path, struct error *err); /* nightpage.c */

#endif
