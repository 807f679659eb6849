/* The verbs of this room, ending with a zero row. */
#ifndef NIGHTSHIFT_JOBRUNNER_JOBRUNNER_VERBS_H
#define NIGHTSHIFT_JOBRUNNER_JOBRUNNER_VERBS_H

#include "common/cli.h"

extern const struct verb jobrunner_verbs[];

#endif
