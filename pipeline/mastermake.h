/* From raw calibration frames to master files: grouping, choice of what each needs, outliers, stacking, bad pixels.
 *
 *     calibration_set_add (each file) -> masters_make: bias groups, then darks with their bias, then flats with both
 *
 * A group is what calib_same_group() says belongs together. Nothing is logged here: each group carries what happened to
 * it, and the caller tells it through the callback.                                                                  */
#ifndef NIGHTSHIFT_PIPELINE_MASTERMAKE_H
#define NIGHTSHIFT_PIPELINE_MASTERMAKE_H

#include "pipeline/master.h"
#include "pipeline/stack.h"

struct calibration_frame {
    char *path;                /* owned */
    int hdu;
    double exptime_s, darktime_s, mjd, temp_c;
    char sum[DIGEST_HEX_SIZE]; /* SHA-256 of the file */
    char left_out[200];        /* why it is not in the stack, "" if it is */
};

struct calibration_group {
    struct exposure_meta *meta; /* of its first frame; owned */
    struct settings *settings;  /* with those of its instrument file; owned */
    char instrument_digest[DIGEST_HEX_SIZE];
    int n, capacity;
    struct calibration_frame *frame;
    /* what became of it */
    enum err code;
    struct error error;
    bool already_made;
    bool gains_unknown;         /* the header and the instrument file did not say them */
    bool gains_measured;        /* here or in a group before: meta has them */
    bool gains_told;            /* a group of the same detector came before with the same numbers */
    char path[1024];
    int64_t clipped, hot, low, columns;
    char previous[1024];        /* master it was compared with, "" if none */
    double moved, shift;        /* fraction of the pixels that moved by more than 6 sigma; median of new - old */
    bool previous_differs;      /* more of them than allowed */
    double seconds;
};

struct calibration_set {
    const struct instruments *instruments;
    const struct settings *settings;
    int n, capacity;
    struct calibration_group *group;
};

/* Add one CCD of a file to its group; meta->type must be FRAME_BIAS, FRAME_DARK or FRAME_FLAT. */
enum err calibration_set_add(struct calibration_set *set, const struct instrument *ins, const struct exposure_meta *meta,
                             const char *path, int hdu, const char *sum, struct error *err);
void calibration_set_release(struct calibration_set *set);

struct master_request {
    const char *out;                     /* masters go to OUT/masters */
    bool make[MASTER_KINDS];             /* which kinds */
    bool without[MASTER_KINDS];          /* make later kinds without this one */
    void (*told)(void *user, const struct calibration_group *g); /* after each group; may be NULL */
    bool (*stop)(void *user);            /* asked between groups; may be NULL */
    void *user;
};

/* Make what is asked for, in the order bias, dark, flat; within a kind in the order the groups were met.
 * Returned: each group's code, error, path ...; ERR_INTERRUPTED when stopped
 * Threads:  one group at a time, its files and rows in parallel */
enum err masters_make(struct calibration_set *set, const struct master_request *request, struct error *err);

#endif
