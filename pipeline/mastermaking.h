/* One master being made: what the files master*.c share; nobody else includes this.
 *
 *     mastermake.c     the order of the work, choice of masters, stacking, bad pixels
 *     mastergain.c     unknown gains and read noises: where from, measured, shared
 *     masterframes.c   which frames go in, with what scale
 *     masterprevious.c the new one beside the one it follows
 *     mastercards.c    what it is made of (the key), cards, the file                                                  */
#ifndef NIGHTSHIFT_PIPELINE_MASTERMAKING_H
#define NIGHTSHIFT_PIPELINE_MASTERMAKING_H

#include "pipeline/mastermake.h"

struct making {
    struct calibration_set *set;
    const struct master_request *request;
    struct calibration_group *group;
    struct exposure_meta *meta;         /* the group's, gains filled in */
    const struct calibration_group *gain_flats, *gain_biases; /* what they are measured from, NULL if not */
    const struct master_info *gain_lender;                    /* or whom they are taken from */
    struct master_info *used[MASTER_KINDS];                   /* masters used on the way */
    struct frame planes[MASTER_KINDS];
    struct rawsignal_options signal;
    char key[DIGEST_HEX_SIZE];
    struct frame out;
    int nkept;
    struct stack_input *in;             /* the kept frames */
    double mean_scale, mean_scale2, mean_dark2; /* of the kept: scale, scale^2, (dark_s scale)^2 */
};

static inline bool kind_is(const struct making *m, enum frame_type kind)
{
    return m->group->meta->type == kind;
}

static inline double seconds_of(const struct calibration_frame *f)
{
    return f->darktime_s > 0 ? f->darktime_s : 0; /* NaN: 0 */
}

/* mastergain.c */
enum err making_find_gains(struct making *m, const struct master_list *made, const struct master_list *known, struct error *err);
enum err making_fill_gains(struct making *m, struct error *err);
void making_share_gains(struct calibration_set *set, const struct calibration_group *from);

/* masterframes.c */
struct stack_job making_job(const struct making *m, int n, const struct stack_input *in);
enum err making_pick_frames(struct making *m, struct error *err);

/* masterprevious.c: how far the new planes are from the master in the folder that they follow; told in the group. ERR_HELD when the
 * settings reject it */
enum err making_compare(struct making *m, struct master_list *known, struct error *err);

/* mastercards.c */
enum err making_key(struct making *m, struct error *err);
enum err making_write(struct making *m, struct error *err);

#endif
