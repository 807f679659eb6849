/* The local executor: a run of the ledger done by worker threads of this process, each with a `reduce --stdin` and an
 * `ingest --stdin` child.
 *
 * Properties: (1) whatever dies, the same command goes on where the ledger stands; (2) a child that dies costs the frame
 * it was fed: that frame is tried alone twice more, then quarantined; (3) a worker whose lease was taken over stops
 * writing: its fence is stale. Operation: localrun_start(), localrun_stage() for each stage in order, localrun_end().
 * Safety: each worker has its own connection and children; they share counters only.                                 */
#ifndef NIGHTSHIFT_JOBRUNNER_LOCALRUN_H
#define NIGHTSHIFT_JOBRUNNER_LOCALRUN_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/db.h"
#include "common/log.h"
#include "jobrunner/ledger.h"

enum { FORWARD_MAX = 128 };

struct localrun {
    const struct settings *settings;
    const char *out, *input, *log;      /* archive root; folder of raw files; file for the children's words */
    int64_t run;
    int workers;
    int nnights;
    const int *nights;
    int nforward;
    const char *forward[FORWARD_MAX];   /* settings of the command line: children get them too */
    const volatile sig_atomic_t *stop;  /* a signal asked to end */
    double item_pixels;                 /* for the progress line */

    struct db *db;                      /* of the main thread */
    char worker[256];
    struct progress *progress;
    int64_t retries;                    /* atomic */
    struct feeder *step_ingest;         /* of the stages of one step */
};

enum err localrun_start(struct localrun *r, struct error *err); /* opens the connection, joins as a worker */
/* Do a stage until it is done. ERR_INTERRUPTED when stop was asked; ERR_INTERNAL when a step of the stage failed. */
enum err localrun_stage(struct localrun *r, int stage, struct error *err);
void localrun_end(struct localrun *r);

#endif
