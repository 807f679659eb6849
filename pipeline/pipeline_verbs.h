/* The verbs of this room, ending with a zero row. */
#ifndef NIGHTSHIFT_PIPELINE_PIPELINE_VERBS_H
#define NIGHTSHIFT_PIPELINE_PIPELINE_VERBS_H

#include "common/cli.h"

extern const struct verb pipeline_verbs[];

int verb_master(int argc, char **argv);   /* verb_master.c */
int verb_reduce(int argc, char **argv);   /* verb_reduce.c */
int verb_inspect(int argc, char **argv);  /* verb_inspect.c */
int verb_forced(int argc, char **argv);   /* verb_forced.c */
int verb_simulate(int argc, char **argv); /* verb_simulate.c */
int verb_nightcal(int argc, char **argv); /* verb_nightcal.c */
int verb_nightreport(int argc, char **argv); /* verb_nightreport.c */

#endif
