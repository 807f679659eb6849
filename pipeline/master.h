/* Master files: one per (instrument, CCD, kind, filter, binning, exposure for darks), with SCI, VAR and MASK.
 *
 *     masters/KIND_INSTRUMENT[_ccdNN]_binXxY[_FILTER]_KEY12.fits       plain float32, nothing quantised
 *
 * SCI is electron (bias), electron/s (dark) or relative (flat: median 1 over the frame). KEY is the SHA-256 of what
 * the master is made of: result version, instrument file, master.* settings, checksums of the inputs, keys of the masters
 * used on the way. The same inputs and settings give the same name, so a master that is there need not be made again. */
#ifndef NIGHTSHIFT_PIPELINE_MASTER_H
#define NIGHTSHIFT_PIPELINE_MASTER_H

#include "common/calibset.h"
#include "common/digest.h"
#include "common/frame.h"
#include "common/frameio.h"
#include "common/instrument.h"
#include "processors/calibrate.h"

#define KEY_MASTER_KIND "NSMASTER" /* bias, dark, flat                     */
#define KEY_MASTER_KEY  "NSKEY"    /* SHA-256 of what it is made of        */
#define KEY_VALID_FROM  "NSVALIDB" /* MJD UTC of the frames it serves      */
#define KEY_VALID_TO    "NSVALIDE"
#define KEY_PREVIOUS    "NSPREV"   /* master it was compared with          */
#define KEY_MOVED       "NSPRVMOV"
#define KEY_SHIFT       "NSPRVLEV"
#define KEY_BIN_X       "NSBINX"
#define KEY_BIN_Y       "NSBINY"
#define KEY_BIAS_USED   "NSBIASK"  /* NSKEY of the bias subtracted in a dark ... */
#define KEY_BIAS_SCALE  "NSBSCALE" /* ... and what it was multiplied with    */

#define MASTER_KINDS 3 /* bias, dark, flat: FRAME_BIAS + i */

/* What a master file says of itself. */
struct master_info {
    struct calib calib;               /* calib.id is the index in the list */
    char *path;                       /* owned */
    char key[DIGEST_HEX_SIZE];        /* what it is made of */
    char sum[DIGEST_HEX_SIZE];        /* SHA-256 of the file, "" until asked for */
    char bias_key[DIGEST_HEX_SIZE];   /* of the bias subtracted in it, "" if none */
    double bias_scale;
    double valid_from, valid_to;      /* MJD UTC; infinite where the file says nothing */
    bool measured;                    /* gain and read noise were measured: they replace unknown ones */
    int namp;
    double gain_e_per_adu[AMPS_MAX], rdnoise_e[AMPS_MAX];
};

struct master_list {
    int n, capacity;
    struct master_info *v;
};

/* Append the master file `path`. ERR_UNSUPPORTED if it is no master of ours. */
enum err master_list_add_file(struct master_list *l, const char *path, struct error *err);
/* Append every master in a folder; a missing folder is empty, other files are passed over. Names in byte order. */
enum err master_list_add_folder(struct master_list *l, const char *folder, struct error *err);
void master_list_release(struct master_list *l);

/* Masters of one kind as calib_choose() wants them. Returned: index into l, -1 with the reason in why (>= 200 bytes). */
int master_choose(const struct master_list *l, enum frame_type kind, const struct exposure_meta *exposure, char *why);

/* Fill unknown gains and read noises of the exposure from a master that measured them. Returned: was anything filled? */
bool master_lend_gain(const struct master_info *m, struct exposure_meta *exposure);
/* Has every amplifier a gain and a read noise? */
bool gains_known(const struct exposure_meta *exposure);

/* What a dark is multiplied with for a frame taken at another CCD temperature: exp(coefficient (temp_c - the dark's)); thermal
 * generation doubles every 6 degrees or so (Widenhorn et al. 2002, Proc. SPIE 4669, 193), which an exponential follows over the
 * few degrees a cooler wanders.
 * Given:    dark         may be NULL: no dark, 1
 *           coefficient  1/degC; 0: 1, whatever the temperatures
 *           temp_c       of the frame, NaN unknown
 * Status:   0; ERR_NO_CALIBRATION for a temperature that is not known, and for temperatures so far apart that the dark would be
 *           multiplied by more than 1000 */
enum err master_dark_scale(const struct master_info *dark, double coefficient, double temp_c, double *ret, struct error *err);

/* SHA-256 of the file, worked out once. */
enum err master_sum(struct master_info *m, struct error *err);

/* A master reaches every frame of a night: its checksums are compared before it is believed. ERR_CORRUPT names the HDU. */
enum err master_verify(const struct master_info *m, struct error *err);

/* Planes of a master, verified; frame_release() frees them. ERR_SHAPE if it is not nx by ny. */
enum err master_load(const struct master_info *m, int64_t nx, int64_t ny, struct frame *ret, struct error *err);

/* The same row by row and not verified, for plans that are worked out without the whole master in memory. One reader per
 * thread. */
struct master_reader {
    struct frameio_in *in;
    int sci, var, mask;       /* HDUs, 0 where there is none */
};
enum err master_open(const struct master_info *m, int64_t nx, int64_t ny, struct master_reader *ret, struct error *err);
/* Rows [y0, y1) into planes of (y1 - y0) * nx pixels each. */
enum err master_rows(struct master_reader *r, int64_t y0, int64_t y1, float *value, float *var, mask_t *mask, struct error *err);
void master_close(struct master_reader *r); /* takes a zeroed one */

/* "masters/bias_arcsat_bin1x1_0123456789ab.fits" for what `c` says. Returned: buf. */
const char *master_name(char *buf, int size, const struct calib *c, const char *key);

#endif
