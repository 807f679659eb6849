/* The verbs of this room, ending with a zero row. */
#ifndef NIGHTSHIFT_JOBRUNNER_JOBRUNNER_VERBS_H
#define NIGHTSHIFT_JOBRUNNER_JOBRUNNER_VERBS_H

#include "common/cli.h"

extern const struct verb jobrunner_verbs[];

#define SCAN_SYNOPSIS "DIR|FILE... [--without LIST] [--json]"
#define SCAN_SUMMARY  "what each file is, which masters would serve it, what is held or refused"
int scan_main(int argc, char **argv);
int verb_run(int argc, char **argv); /* verb_run.c */

#define DOCTOR_SYNOPSIS "[--out DIR] [--json]"
#define DOCTOR_SUMMARY  "is this machine fit for the work? each finding with what to do"
int doctor_main(int argc, char **argv);

#endif
