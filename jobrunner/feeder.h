/* A child program that is fed one line at a time and answers each with one line: `reduce --stdin`, `ingest --stdin`.
 *
 * Properties: (1) one line is in flight, so a child that dies costs what that line named and no more; (2) the child's
 * standard error goes to a log file; (3) a child that does not answer in time is killed.
 * Threads: a feeder belongs to one thread.                                                                          */
#ifndef NIGHTSHIFT_JOBRUNNER_FEEDER_H
#define NIGHTSHIFT_JOBRUNNER_FEEDER_H

#include "common/err.h"

struct feeder;

/* argv[0] is ignored: this program runs itself. log: file that its standard error is appended to.
 * Nothing is started yet: the first feeder_ask() does that, and starts it again after a death. */
struct feeder *feeder_new(const char *const *argv, const char *log);
/* Close its input, let it end (at most 5 s, then SIGKILL). Takes NULL. */
void feeder_free(struct feeder *f);

/* Status: ERR_INTERNAL when the child died (*ret_signal: of what; 0: it exited); ERR_IO when it could not be started or
 * did not answer within timeout_s. Returned: *ret_answer malloc'd, without newline. */
enum err feeder_ask(struct feeder *f, const char *line, double timeout_s, char **ret_answer, int *ret_signal, struct error *err);

int feeder_pid(const struct feeder *f); /* 0 when none runs */

#endif
