/* The verbs of this room, ending with a zero row. */
#ifndef NIGHTSHIFT_PIPELINE_PIPELINE_VERBS_H
#define NIGHTSHIFT_PIPELINE_PIPELINE_VERBS_H

#include "common/cli.h"

extern const struct verb pipeline_verbs[];

int verb_simulate(int argc, char **argv); /* verb_simulate.c */

#endif
