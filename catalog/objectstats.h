/* Mean position, times and flux statistics of objects, from their published detections.
 *
 * Sums run in the order (mjd, detection), in double, in one stream: the same detections give the same digits. */
#ifndef NIGHTSHIFT_CATALOG_OBJECTSTATS_H
#define NIGHTSHIFT_CATALOG_OBJECTSTATS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/db.h"

struct objectstats_object {
    int64_t id;
    double ref_ra, ref_dec;
    bool fresh;                /* has no row yet: insert it */
    int first_night;           /* of a fresh one; with its founder */
    int64_t founder_det_id;
    int founder_recipe_id, founder_version;
};

/* Inside the caller's transaction. objects: sorted by id. ret_changed: rows of object written. */
enum err objectstats_refresh(struct db *db, const struct objectstats_object *objects, int64_t n, int64_t *ret_changed, struct error *err);

#endif
