/* Rows of one CCD into the catalogue: exactly once, whole or not at all.
 *
 *     ingest_begin()  lock this (exposure, ccd); token known? -> nothing to do     \
 *     COPY            the rows, binary, sorted by hpx29                              one transaction
 *     ingest_finish() exposure, ccd, token; the version shown so far is retired      |
 *     job_image_done() the fence of the job runner, if a chunk is named             /
 *
 * Properties: (1) a kill at any point leaves no row of the CCD or all of them; (2) the same inputs again change nothing,
 * the first write wins; (3) other inputs under the same recipe make the next version, which supersedes; (4) each
 * transaction takes its locks in one order (CCD, exposure, chunk), so any number of writers cannot deadlock; (5) after a
 * broken connection the caller just asks again.                                                                       */
#ifndef NIGHTSHIFT_CATALOG_INGEST_H
#define NIGHTSHIFT_CATALOG_INGEST_H

#include <stdbool.h>

#include "catalog/catfile.h"
#include "common/db.h"
#include "common/db_copy.h"

#define INGEST_CELLS 256

/* What one writer keeps between CCDs. */
struct ingester {
    struct db *db;
    struct copy_buffer buffer;
    char recipe[20];    /* last one asked for */
    int recipe_id;
    int night;          /* last one whose partition is known to be there */
    int cells[INGEST_CELLS]; /* of detection_cover, known to be there for this night */
    int ncells;
    const struct settings *settings; /* NULL: a lost connection is not revived */
};

void ingester_init(struct ingester *g, struct db *db, const struct settings *s);
void ingester_release(struct ingester *g); /* not the connection */

/* The job runner's claim under which an image is finished. */
struct ingest_claim {
    int64_t chunk, fence, image;
    const char *outcome, *cause, *message; /* done, held, quarantined, cancelled */
};

struct ingest_result {
    bool already;       /* these inputs were stored before */
    bool associated;    /* and matched to objects */
    int64_t exposure_id, rows;
    int recipe_id, version;
    bool zeropoint_changed;
};

/* claim may be NULL. publish: show this version (and retire the one before). Status: ERR_LEASE_LOST for a stale fence
 * (nothing was stored), ERR_DATABASE when the database stayed away, ERR_NO_SPACE, ERR_INTERNAL */
enum err ingest_ccd(struct ingester *g, const struct catfile *c, const struct ingest_claim *claim, bool publish,
                    struct ingest_result *ret, struct error *err);

/* Forced photometry (c->list is set), under the same promises; it supersedes what the same list gave on this CCD before. The
 * exposure must be there: ERR_HELD otherwise. */
enum err ingest_forced(struct ingester *g, const struct catfile *c, bool publish, struct ingest_result *ret, struct error *err);

/* Finish an image that gave no catalogue (quarantined, held). */
enum err ingest_outcome(struct ingester *g, const struct ingest_claim *claim, struct error *err);

#endif
