/* The reduction of frames: what `reduce FILE...` and `reduce --stdin` share. */
#ifndef NIGHTSHIFT_PIPELINE_REDUCTION_H
#define NIGHTSHIFT_PIPELINE_REDUCTION_H

#include "common/log.h"
#include "pipeline/reduceplan.h"

struct reduction {
    struct reduce_request request;
    struct reduce_work work;
    struct progress *progress;
    double stage_ms[STAGES_MAX]; /* summed over frames, for the last line of the log */
    int64_t reduced, objects;
};

static inline bool reduce_task_is_open(const struct reduce_task *t)
{
    return !t->code && !t->done;
}

/* Keep and tell why a task failed. */
void reduce_task_fail(struct reduce_task *t, enum err code, const struct error *err);

/* One CCD through the stages; its plan is loaded. The task keeps what came of it.
 * Threads: different tasks may run in different threads. */
void reduction_frame(struct reduction *r, struct reduce_task *t);

/* Read {"file": PATH} lines from standard input until it ends, answer each with one line (docs/stdin.md). Plans are loaded
 * when first needed and stay while memory allows. Returned: exit code; 75 after SIGTERM. */
int reduction_feed(struct reduction *r);

#endif
