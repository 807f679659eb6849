/* Detections to objects.
 *
 * A detection belongs to the object nearest to it within the radius; each object takes one detection of a CCD and each
 * detection one object (skygrid.h); what is left founds objects. Matching is against the position of the founding
 * detection, which never moves. object_id is its hpx29, the next free one if taken.
 *
 *     provisional  one CCD, right after its ingest, in order of arrival; so that light curves are live
 *     rebuilt      whole nights, CCDs in the order (night, mjd, exposure, ccd, recipe), from the objects of earlier nights
 *
 * Properties: (1) after a rebuild the objects are the same, ids included, whatever the order of arrival; (2) a published
 * object keeps its id and is never removed, and detections of a published night keep their objects; (3) a rebuild writes
 * only what differs: a second one changes no row; (4) a night is rebuilt together with all later nights that are not
 * published, and with earlier ones that changed; (5) detections of versions that are not shown join objects but found none.
 * Locks: rebuilds exclude each other and provisional matching (advisory lock of the transaction); provisional matchings
 * exclude each other where they touch the same cells of the sky, taken in rising order, so that nobody waits in a ring.  */
#ifndef NIGHTSHIFT_CATALOG_ASSOCIATE_H
#define NIGHTSHIFT_CATALOG_ASSOCIATE_H

#include <stdint.h>

#include "common/db.h"
#include "common/instrument.h"
#include "common/settings.h"

struct associate_result {
    int first_night;           /* where the rebuild began */
    int64_t ccds, detections;  /* looked at */
    int64_t joined, founded;   /* detections that joined an object; objects founded */
    int64_t changed;           /* rows of association written or removed */
    int64_t objects_changed;   /* rows of object written or removed */
};

/* Rebuild `night` and what must be rebuilt with it, in one transaction, and the statistics of the objects met.
 * Radius: setting associate.radius (the instrument's file may set it); 0: the larger of 1 arcsec and half the seeing of the
 * CCD. instruments may be NULL. Status: ERR_DATABASE, ERR_NOMEM, ERR_INTERNAL */
enum err associate_night(struct db *db, const struct settings *s, const struct instruments *instruments, int night,
                         struct associate_result *ret, struct error *err);

/* Provisional: one CCD. Statistics wait for the rebuild. */
enum err associate_ccd(struct db *db, const struct settings *s, const struct instruments *instruments, int64_t exposure_id, int ccd,
                       int recipe_id, int version, struct associate_result *ret, struct error *err);

#endif
