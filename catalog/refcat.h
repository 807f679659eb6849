/* Reference stars in the database: files in, regions out.
 *
 *     FILE or TAP service --refstars--> COPY --> refstar (release, hpx29, ...)
 *     cone --hpx ranges--> stars --moved to the epoch, exact distance--> FITS table that `reduce --refs` reads
 *
 * A file goes in once per release (by its SHA-256); the same star in two files of a release stands once.              */
#ifndef NIGHTSHIFT_CATALOG_REFCAT_H
#define NIGHTSHIFT_CATALOG_REFCAT_H

#include <stdbool.h>

#include "common/db.h"
#include "common/refstars.h"

struct refcat_added {
    int64_t read, added;    /* rows of the file; those that were new */
    bool known;             /* this very file was there already */
};

/* sum: SHA-256 of the source as hex. One transaction.
 * Status: ERR_USAGE when the release has other bands; errors of the database */
enum err refcat_add(struct db *db, const char *release, const char *source, const char *sum, const struct refstars *stars, struct refcat_added *ret,
                    struct error *err);

struct refcat_cone {
    double ra, dec, radius; /* deg, at `epoch` */
    double epoch;           /* Julian year; NaN: stars stay at their own epochs */
    double mag_max;         /* of the first band; NaN: all */
    const char *release;    /* NULL: the only one */
};
/* The stars of a cone, brightest not first but by declination. Release ret with refstars_release().
 * Status: ERR_NOT_FOUND without such a release (the message names those there are); errors of the database */
enum err refcat_stars(struct db *db, const struct refcat_cone *cone, struct refstars *ret, struct error *err);

/* The stars of a cone as a VOTable from a TAP service's table with Gaia's columns. Returned: text of the caller (free).
 * Status: ERR_IO, ERR_USAGE: what http_fetch() says */
enum err refcat_from_tap(const char *url, const char *table, const struct refcat_cone *cone, int64_t maxrec, char **ret, size_t *ret_size, struct error *err);

#endif
