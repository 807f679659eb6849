#include "pipeline/pipeline_verbs.h"

/* One row per verb; each verb's function lives in pipeline/verb_NAME.c. */
const struct verb pipeline_verbs[] = {
    {"simulate", verb_simulate, "OUT [--preset NAME] [--seed N]", "a night of raw frames with a known truth"},
    {0},
};
