#include "pipeline/pipeline_verbs.h"

#include "pipeline/verb_extract.h"

/* One row per verb; each verb's function lives in pipeline/verb_NAME.c. */
const struct verb pipeline_verbs[] = {
    {"simulate", verb_simulate, "OUT [--preset NAME] [--seed N]", "a night of raw frames with a known truth"},
    {"extract", extract_main, "IMAGE -o CAT [-c FILE.sex] [--hdu N] [-KEY value]...", "detect and measure the objects of a calibrated image"},
    {0},
};
