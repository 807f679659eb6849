/* Measure: every requested column of every object, one pass over each object's pixels.
 *
 *     objects --(parallel over objects)--> stamp -> isophote, Kron, apertures, growth, window -> struct detections
 *
 * Only what the requested columns need is computed; the bits NEIGHBOURS and APERTURE of FLAGS speak of the apertures that
 * were measured, as in Source Extractor. Columns that need the sky (ALPHA_J2000 ...) are the caller's.
 * Source: see photometry.h, shape.h, stellarity.h.                                                                   */
#ifndef NIGHTSHIFT_PROCESSORS_MEASURE_H
#define NIGHTSHIFT_PROCESSORS_MEASURE_H

#include <stdbool.h>

#include "common/detections.h"
#include "processors/background.h"
#include "processors/objects.h"
#include "processors/photometry.h"
#include "processors/stellarity.h"

#define MEASURE_LIST_MAX 64

struct measure_options {
    uint8_t want[DETECTION_COLUMN_COUNT];
    int naper;
    double diameter[MEASURE_LIST_MAX];  /* pixels */
    int nfrac;
    double fraction[MEASURE_LIST_MAX];  /* of FLUX_AUTO, for FLUX_RADIUS */
    double kron_factor, kron_min;       /* PHOT_AUTOPARAMS */
    double petro_factor, petro_min;     /* PHOT_PETROPARAMS */
    double auto_diameter[2];            /* PHOT_AUTOAPERS */
    enum neighbour_rule neighbours;     /* MASK_TYPE */
    double zeropoint;                   /* magnitude of one image unit */
    double pixel_scale, seeing;         /* arcsec */
    const struct star_network *network; /* NULL: the frame's own stellar locus */
    int vig_nx, vig_ny;
    const struct image_view *shape;     /* dual-image mode: the image that was detected in. Kron and Petrosian radii and the
                                           errors of barycentres come from it; NULL: from view. Borrowed */
    double iso_threshold;               /* of ISOAREA, ISO0 .., FWHM and CLASS_STAR; 0: the object's own */
    bool iso_in_sigma;                  /* iso_threshold is in units of view's sigma at the peak */
};
struct measure_options measure_options_default(void);
/* Status: ERR_SETTINGS with the option that is out of range */
enum err measure_options_verify(const struct measure_options *opt, struct error *err);

/* Given:    view        with segment = objects->segment
 *           background  for BACKGROUND; NULL: 0
 * Returned: ret         n rows in the order of the objects; ret->has says which columns are filled
 *           ret_locus   the frame's stars; NULL: not wanted (it costs half-light radii)
 * Status:   0; ERR_SETTINGS; ERR_NOMEM
 * Threads:  objects in parallel; same bytes for any thread count */
enum err measure_objects(const struct image_view *view, const struct objects *objects, const struct background *background,
                         const struct measure_options *opt, struct detections *ret, struct stellar_locus *ret_locus,
                         struct error *err);

#endif
