/* The stages that are one step: masters, nightcal, associate, report. Each may be repeated: what it starts is idempotent. */
#ifndef NIGHTSHIFT_JOBRUNNER_STEPS_H
#define NIGHTSHIFT_JOBRUNNER_STEPS_H

#include "jobrunner/localrun.h"

typedef enum err (*step_fn)(struct localrun *r, const struct ledger_chunk *c, struct error *err);
extern const step_fn steps[STAGES]; /* NULL for science */

/* Run "nightshift argv[1] ..." to its end, its words to the log. */
enum err localrun_child(struct localrun *r, const char *const *argv, int *ret_code, struct error *err);
/* One catalogue through the steps' own ingest child. *ret: its answer. */
enum err localrun_ingest(struct localrun *r, const char *catalogue, json_t **ret, struct error *err);

#endif
