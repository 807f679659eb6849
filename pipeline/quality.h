/* Quality of one calibrated CCD: what an observer asks first, and a verdict with its reasons.
 *
 *     pass     nothing to say            doubt    usable, but look at it            reject   says nothing about the sky   */
#ifndef NIGHTSHIFT_PIPELINE_QUALITY_H
#define NIGHTSHIFT_PIPELINE_QUALITY_H

#include "common/frame.h"
#include "common/header.h"
#include "common/settings.h"
#include "pipeline/extract.h"
#include "processors/depthmap.h"

enum verdict { VERDICT_PASS, VERDICT_DOUBT, VERDICT_REJECT };
const char *quality_verdict_name(enum verdict v);

struct quality {
    double sky, sky_sigma;         /* electron per pixel: clipped median and scatter of unmasked pixels */
    double seeing_px;              /* FWHM of the stars, NaN without any */
    double seeing_arcsec, scale_arcsec; /* of a pixel; NaN: unknown */
    double ellipticity;            /* median of the same stars */
    double depth_flux;             /* electron: 5 sigma of a point source, the median of the depth map; without one in an
                                      aperture of 2 seeing across (of 5 pixels without stars) */
    double depth_mag;              /* the same in instrumental magnitudes of 1 electron/s */
    double map_flux;               /* electron: median of the depth map, NaN: none */
    double masked, saturated;      /* fractions of the pixels */
    int64_t objects, stars;
    int64_t cosmic_pixels;         /* hit by cosmic rays, -1: not looked for */
    char astrom_status[16];        /* good, doubt, failed; "": no reference stars were asked */
    double astrom_rms_arcsec, astrom_rms_px;
    int64_t astrom_stars;
    double magzero, magzero_err, magzero_rms; /* NaN: no absolute zero point */
    int64_t magzero_stars;
    enum verdict verdict;
    bool blind;                    /* rejected for its pixels: what was detected on it is not the sky */
    char reasons[256];             /* "few stars; sky saturated" */
};

/* Where doubt and rejection begin: settings quality.*, each with its meaning in docs/settings.md. */
struct quality_limits {
    double masked_doubt, masked_reject, saturated_doubt, saturated_reject, ellipticity_doubt, ellipticity_reject;
    double seeing_doubt, seeing_reject, sky_doubt, depth_doubt, astrometry_doubt, zeropoint_doubt;
    int64_t stars_few;
};
struct quality_limits quality_limits_of(const struct settings *s);

void quality_init(struct quality *q); /* nothing known: NaN and 0 */
/* Sky and fractions from the planes. Status: ERR_NOMEM. Threads: rows in parallel; same bytes for any count. */
enum err quality_of_planes(const struct frame *f, struct quality *q, struct error *err);
/* Seeing and counts from what extraction saw. pixel_scale_arcsec, NaN: unknown, stands in where the sky does not say it. */
void quality_of_objects(const struct frame_quality *seen, int64_t objects, double pixel_scale_arcsec, struct quality *q);
/* Depth from the map; one without cells says nothing. */
void quality_of_depth(const struct depth_map *m, struct quality *q);
/* Astrometry and zero point from the cards their stages left (products.h: ASTR..., MAGZ...). */
void quality_of_cards(const struct header *h, struct quality *q);
/* Depth and verdict, last. */
void quality_judge(struct quality *q, const struct quality_limits *limits, double exptime_s);

enum err quality_cards(const struct quality *q, struct header *h, struct error *err);

/* One JSON object for the frame, written whole but not yet durable: the caller commits it with its other products. path's
 * folder is made. */
struct quality_row {
    const char *product, *raw, *instrument, *filter, *object;
    int night, ccd;
    double mjd_mid, exptime_s, airmass;
};
enum err quality_write(const char *path, const struct quality_row *row, const struct quality *q, struct error *err);

#endif
