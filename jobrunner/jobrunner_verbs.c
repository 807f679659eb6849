#include "jobrunner/jobrunner_verbs.h"

/* One row per verb; each verb's function lives in jobrunner/verb_NAME.c. */
const struct verb jobrunner_verbs[] = {
    {"scan", scan_main, SCAN_SYNOPSIS, SCAN_SUMMARY},
    {"doctor", doctor_main, DOCTOR_SYNOPSIS, DOCTOR_SUMMARY},
    {"run", verb_run, "DIR [--out DIR] [--workers N] [--key TEXT] [--json]", "a folder of raw frames to a catalogue, on this machine; goes on where it stopped"},
    {0},
};
