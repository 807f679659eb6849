/* A night as a plan: stages in order, each a list of chunks, each a list of raw files. Pure and repeatable: the same files
 * and settings give the same plan.
 *
 *     masters (one step) -> science (chunks of files) -> nightcal -> associate -> report (one step each)                */
#ifndef NIGHTSHIFT_JOBRUNNER_PLAN_H
#define NIGHTSHIFT_JOBRUNNER_PLAN_H

#include <stdbool.h>

#include "common/digest.h"
#include "common/err.h"
#include "common/settings.h"
#include "jobrunner/night.h"

enum { STAGE_MASTERS, STAGE_SCIENCE, STAGE_NIGHTCAL, STAGE_ASSOCIATE, STAGE_REPORT, STAGES };
extern const char *const stage_names[STAGES];

struct plan_chunk {
    int first, count; /* of plan.files */
};

struct plan {
    const char *input, *out;      /* borrowed */
    char body[DIGEST_HEX_SIZE];   /* SHA-256 of files (path, size, time of change), settings and OUT */
    char recipe[DIGEST_HEX_SIZE]; /* of the settings alone */
    int nfiles;
    const char **files;           /* raw files with light frames, in the order of their chunks; borrowed from the night */
    int nchunks;
    struct plan_chunk *chunks;
    int nrefused;                 /* files that cannot be read: accounted for as quarantined */
    const char **refused, **refused_why;
    enum err *refused_code;
    int nheld;                    /* light files that lack something */
    const char **held, **held_why;
    int nnights, *nights;         /* yyyymmdd, ascending */
    int64_t npix;                 /* of an average file, for the progress line */
};

/* workers: how many will share the work; decides the size of chunks. Status: ERR_NOT_FOUND when no light frame is there. */
enum err plan_night(const struct night *night, const struct settings *s, const char *input, const char *out, int workers, struct plan *ret,
                    struct error *err);
void plan_release(struct plan *p);

#endif
