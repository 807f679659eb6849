/* What a `reduce` command will do, worked out before the first pixel is read: which CCDs of which files, with which masters,
 * and what is done already. Frames that share masters, dark time and its scale share a plan and are reduced one after the other.  */
#ifndef NIGHTSHIFT_PIPELINE_REDUCEPLAN_H
#define NIGHTSHIFT_PIPELINE_REDUCEPLAN_H

#include "pipeline/exposure.h"

struct reduce_request {
    const char *out;
    bool without[MASTER_KINDS];
    struct master_list explicit_masters[MASTER_KINDS]; /* --bias F ...: these and no others of that kind */
    struct master_list masters;                        /* of the folder */
    const struct reference_file *refs;                 /* NULL: none */
    const struct instruments *instruments;
    const struct settings *settings;
};

/* One CCD to reduce, or the reason why it will not be. */
struct reduce_task {
    const char *path;                /* of the file list */
    char *raw_sum;                   /* shared by the CCDs of a file; owned by the work */
    int hdu, plan;                   /* plan -1: none */
    int64_t npix;
    bool done;                       /* product there already */
    int ccd, night;
    char catalogue[512];             /* its _cat.fits, relative to OUT; "" when it has none */
    enum err code;
    struct error *error;             /* owned; NULL while good */
};

struct reduce_work {
    int ntask, task_capacity;
    struct reduce_task *task;
    int nplan, plan_capacity;
    struct exposure_plan *plan;
    int nsum;
    char **sum;                      /* one per file, owned */
    int passed_over;                 /* files that are no light frames */
    int products;                    /* our own products among the operands */
    int assumed_longitude;           /* frames whose night was told with longitude 0 */
};

/* Threads: files are looked at in parallel; tasks stand in the order of the files and of their CCDs. */
enum err reduce_work_out(struct reduce_request *request, const struct file_list *files, struct reduce_work *ret, struct error *err);
void reduce_work_release(struct reduce_work *w);

/* For a work that is fed (reduce --stdin): add the CCDs of n files, whose tasks then end at ret_end[i] (a NULL path has
 * none); forget all tasks but keep the plans, whose masters stay loaded. The paths must live until then. */
enum err reduce_work_add(struct reduce_request *request, struct reduce_work *w, const char *const *path, int n, int *ret_end, struct error *err);
void reduce_work_forget(struct reduce_work *w);

#endif
