/* The ledger: what must be done, who does it now, what was done (tables job_*, SQL in jobrunner/sql).
 *
 *     chunk: waiting --ledger_claim--> leased(fence) --ledger_chunk_end--> done | retry --ledger_claim--> leased ...
 *            leased --lease over, or worker lost--> claimed by another under a higher fence
 *     image: open --outcome, under the fence of its chunk--> done | held | quarantined
 *
 * Every call that writes for a chunk names its fence; a stale one gets ERR_LEASE_LOST and has written nothing.
 * Threads: a connection belongs to one thread; the functions keep nothing.                                          */
#ifndef NIGHTSHIFT_JOBRUNNER_LEDGER_H
#define NIGHTSHIFT_JOBRUNNER_LEDGER_H

#include <jansson.h>

#include "common/db.h"
#include "common/err.h"
#include "jobrunner/plan.h"

#define LEASE_SECONDS 300 /* WORKER_LEASE_DURATION_SECONDS */

struct ledger_image {
    int64_t id;
    char *path;
    int attempts;
};

struct ledger_chunk {
    int64_t id, fence;
    json_t *task;                /* of the stage; may be NULL */
    int nimages;                 /* still open */
    struct ledger_image *images;
};
void ledger_chunk_release(struct ledger_chunk *c);

/* Write the plan as a run, or find the one that has this key and body already.
 * Returned: *ret_run, *ret_new. Status: ERR_USAGE when the key stands for another body. */
enum err ledger_submit(struct db *db, const struct plan *p, const char *key, int64_t *ret_run, bool *ret_new, struct error *err);

/* Claim a chunk of a stage. *ret_claimed false: none is free now. Release the chunk in any case. */
enum err ledger_claim(struct db *db, int64_t run, const char *stage, const char *worker, struct ledger_chunk *ret, bool *ret_claimed,
                      struct error *err);
enum err ledger_renew(struct db *db, const struct ledger_chunk *c, struct error *err);
enum err ledger_chunk_end(struct db *db, const struct ledger_chunk *c, bool good, const char *cause, double retry_delay_s, struct error *err);
enum err ledger_chunk_fail(struct db *db, const struct ledger_chunk *c, const char *cause, struct error *err);

/* Count a try; *ret_before: how many there were. */
enum err ledger_image_try(struct db *db, const struct ledger_chunk *c, int64_t image, int *ret_before, struct error *err);
/* An outcome without rows to store: held, quarantined. cause: word of the closed list. */
enum err ledger_image_outcome(struct db *db, const struct ledger_chunk *c, int64_t image, const char *outcome, const char *cause,
                              const char *message, struct error *err);
/* What a held image waited for was found by the stage of chunk c. */
enum err ledger_image_resolve(struct db *db, const struct ledger_chunk *c, int64_t image, struct error *err);

/* Stage state: "waiting", "running", "done", "failed" ... into buf (>= 16). Open images of the stage, chunks not ended. */
enum err ledger_stage(struct db *db, int64_t run, const char *stage, char *ret_state, int64_t *ret_open_images, int64_t *ret_open_chunks,
                      struct error *err);
enum err ledger_finish(struct db *db, int64_t run, char *ret_state, struct error *err); /* >= 16 bytes */

/* This process as a worker; workers of this host whose process is gone lose what they held. */
enum err ledger_join(struct db *db, char *ret_worker, size_t size, struct error *err);
enum err ledger_beat(struct db *db, const char *worker, struct error *err);
enum err ledger_leave(struct db *db, const char *worker, struct error *err);

/* Why a run's images are not done, and how many are: JSON {"frames": [...], "done": n, "held": n, "quarantined": n}. */
enum err ledger_report(struct db *db, int64_t run, json_t **ret, struct error *err);

#endif
