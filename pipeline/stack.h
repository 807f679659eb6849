/* Stack raw files into planes, band of rows by band of rows: memory does not grow with the number of files.
 *
 * For each band: the files are read in parallel (each by one thread), then rows are combined in parallel. A second, cheap
 * look at some rows of each file comes first: its level (which scales flats) and its block medians (which betray the
 * frame that does not belong).                                                                                      */
#ifndef NIGHTSHIFT_PIPELINE_STACK_H
#define NIGHTSHIFT_PIPELINE_STACK_H

#include <stddef.h>

#include "common/instrument.h"
#include "common/settings.h"
#include "processors/combine.h"
#include "processors/rawsignal.h"

#define STACK_BLOCKS 8 /* blocks per side of the glance */

struct stack_input {
    const char *path;
    int hdu;
    double dark_s;             /* seconds of dark to subtract; 0 without */
    double scale;              /* times this after subtraction */
};

/* What a glance at one file sees, electron, bias and dark subtracted where given. */
struct stack_glance {
    double level;              /* clipped median of the central half */
    double sigma;              /* its clipped scatter */
    float block[STACK_BLOCKS * STACK_BLOCKS]; /* medians */
    double saturated;          /* fraction of the pixels looked at */
    double blank;
};

struct stack_job {
    const struct instruments *instruments;
    const struct settings *settings;
    const struct exposure_meta *meta; /* geometry; gains and read noises known */
    int n;
    const struct stack_input *in;
    const float *bias, *dark;         /* nx * ny planes or NULL */
    struct combine_options options;
    const struct combine_noise *noise; /* one per amplifier */
    bool leave_out_saturated;
    const struct rawsignal_options *signal; /* NULL: raw counts and the levels of their rows */
    size_t memory_bytes;              /* for the bands */
};

/* Status: of the file that fails, named in err. Threads: serial; call it from several threads for several files. */
enum err stack_glance_at(const struct stack_job *job, int i, struct stack_glance *ret, struct error *err);

/* Returned: value, variance (nx * ny) and ret_clipped, the number of values left out
 * Threads:  files and rows in parallel; same bytes for any thread count, band height and order of the files */
enum err stack_files(const struct stack_job *job, float *value, float *variance, int64_t *ret_clipped, struct error *err);

/* The setting memory.limit in bytes: a quarter of what is available when it is 0. */
size_t memory_limit_bytes(const struct settings *s);

#endif
