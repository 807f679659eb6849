#include "pipeline/pipeline_verbs.h"

#include "pipeline/verb_extract.h"

/* One row per verb; each verb's function lives in pipeline/verb_NAME.c. */
const struct verb pipeline_verbs[] = {
    {"inspect", verb_inspect, "FILE...", "what a FITS file holds and what its header means"},
    {"master", verb_master, "FILE... | DIR --out DIR", "raw bias, dark and flat frames -> master calibrations"},
    {"reduce", verb_reduce, "FILE... | DIR --out DIR", "raw frames -> calibrated frames and catalogues"},
    {"extract", extract_main, "IMAGE -o CAT [-c FILE.sex] [--hdu N] [-KEY value]...", "detect and measure the objects of a calibrated image"},
    {"forced", verb_forced, "POSITIONS IMAGE -o OUT", "flux and upper limits at given positions of an image"},
    {"simulate", verb_simulate, "OUT [--preset NAME] [--seed N]", "a night of raw frames with a known truth"},
    {"nightreport", verb_nightreport, "--out DIR [--night YYYYMMDD]", "the page of a night: pictures, plots, what varies"},
    {"nightcal", verb_nightcal, "CAT...|@LIST [--out FILE.json]", "coordinates from neighbours and relative zero points of a night"},
    {0},
};
