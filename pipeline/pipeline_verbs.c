#include "pipeline/pipeline_verbs.h"

/* One row per verb; each verb's function lives in pipeline/verb_NAME.c. */
const struct verb pipeline_verbs[] = {
    {0},
};
