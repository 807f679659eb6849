/* Detections to objects: a night's association rebuilt from its published detections.
 *
 * Detections are taken exposure by exposure in the order (mjd, exposure, ccd, seq). Within an exposure each object takes
 * one detection: candidate pairs within the radius are accepted from the closest up (ties: lower object, lower detection);
 * what is left founds new objects. Matching is against the founding position, which never moves, so that the result
 * depends on the detections alone, not on when or in which order they arrived.
 *
 * Objects of earlier nights and published ones are given; unpublished objects of this night are made again, and later
 * nights that were associated before are rebuilt after it. object_id = hpx29 of the founding position, the next free one if
 * taken: a rebuild gives the same ids.
 *
 * Source: the "handshake" matching of LSST's ap_association, here against founding positions and deterministic.
 * Threads: one; an advisory lock lets one rebuild run at a time.                                                     */
#ifndef NIGHTSHIFT_CATALOG_ASSOCIATE_H
#define NIGHTSHIFT_CATALOG_ASSOCIATE_H

#include <stdint.h>

#include "common/db.h"
#include "common/err.h"

struct associate_result {
    int64_t detections, objects_new, objects_known; /* known: given objects that were seen */
    double radius_arcsec;
};

/* radius_arcsec: of the setting associate.radius; 0: the larger of 1 and half the night's largest seeing (median of CCDs).
 * One transaction. Status: ERR_NOMEM, ERR_DATABASE, ERR_INTERNAL */
enum err associate_night(struct db *db, int night, double radius_arcsec, struct associate_result *ret, struct error *err);

/* Nights after this one that were associated before, ascending, into nights (room for max). */
enum err associate_later_nights(struct db *db, int night, int *nights, int max, int *ret_n, struct error *err);

#endif
