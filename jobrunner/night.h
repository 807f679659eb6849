/* The raw files of a night as data: what each file is, which frames belong together, which masters would serve them, and
 * what is held or refused. Built from headers alone; scan prints it, the planner turns it into jobs.
 *
 *     paths --walk--> files --read headers, in parallel--> frames --sort--> groups --calib_choose--> masters per frame
 *
 * Invariants: (1) every file found is in frames[] at least once, with a verdict; (2) what is not used says why;
 * (3) frames, groups and choices depend on the files alone: any number of threads gives the same night.             */
#ifndef NIGHTSHIFT_JOBRUNNER_NIGHT_H
#define NIGHTSHIFT_JOBRUNNER_NIGHT_H

#include <jansson.h>

#include "common/calibset.h"
#include "common/err.h"
#include "common/instrument.h"
#include "common/log.h"

enum verdict {
    VERDICT_USED,    /* a light that can be reduced, a calibration that enters a master */
    VERDICT_HELD,    /* something is missing that may still come: a master, a header keyword */
    VERDICT_REFUSED, /* the file cannot be read */
    VERDICT_IGNORED  /* readable, but no raw frame: focus and test frames, masters, products */
};
const char *verdict_name(enum verdict v);

/* One image (CCD) of one file. Values as in struct exposure_meta, without the amplifiers. */
struct night_frame {
    int file;                 /* index into night.paths */
    int hdu;                  /* 1-based; 0 when no image was found */
    char instrument[32], exposure_id[72], object[72], filter[32], date_obs[40];
    enum frame_type type;
    int ccd, nccd, binning_x, binning_y, namp;
    int64_t raw_nx, raw_ny, nx, ny;
    double exptime_s, darktime_s, mjd_start, mjd_mid, ccd_temp_c, ra_deg, dec_deg, longitude_deg;
    int night;
    bool has_overscan, longitude_assumed, gain_known; /* of every amplifier */
    enum wcs_trust wcs;
    enum verdict verdict;
    enum err code;            /* ERR_OK, ERR_HELD, or why it was refused */
    char *reason;             /* why it is not used; NULL when it is */
    char *note;               /* what was taken for granted; NULL when nothing */
    int group;                /* index into night.groups, -1 for none */
    int master[3];            /* groups of its bias, dark and flat; -1 for none or not wanted */
};

/* Frames of one night, type, instrument, CCD, binning and size; flats: one filter; darks: one exposure; lights: both. */
struct night_group {
    int first, count;         /* frames[first .. first + count) */
    int used;                 /* of them */
    int calib;                /* it makes a master: index among the night's calibrations; else -1 */
};

struct night {
    char **paths;
    bool without[3];          /* bias, dark, flat: kinds nobody needs */
    int npaths, not_fits;     /* not_fits: files without a FITS suffix that were passed over */
    struct night_frame *frames; /* sorted: night, instrument, type, CCD, ...; unreadable files at the end, by path */
    int nframes;
    struct night_group *groups;
    int ngroups;
};

/* Look through files and folders (recursively: .fits .fit .fts, also .fz .gz .bz2; hidden ones are passed over; a file named
 * as an operand is read whatever its suffix).
 * Given:    without   bias, dark, flat: masters that are not wanted; NULL: all are
 *           progress  may be NULL
 * Status:   0 even when files cannot be read (they are refused frames); ERR_NOT_FOUND when there is nothing to look at;
 *           ERR_NOMEM
 * Threads:  headers are read in parallel; same night for any thread count                                          */
enum err night_scan(const char *const *operands, int n, const struct settings *s, const struct instruments *instruments,
                    const bool without[3], struct progress *progress, struct night **ret, struct error *err);
void night_free(struct night *night);

/* Frames with a verdict. */
int night_count(const struct night *night, enum verdict v);

/* The whole as one JSON document (docs/scan.md); NULL: no memory. */
json_t *night_json(const struct night *night);

/* ---- steps of night_scan() ---- */

/* Sort frames, make groups, choose masters, hold what has none. Pure: looks at frames only. */
enum err night_arrange(struct night *night, const struct settings *s, struct error *err);

/* Files below the operands, sorted by path, each once. */
enum err night_walk(const char *const *operands, int n, struct night *night, struct error *err);

#endif
