/* Source Extractor's own files: .sex (configuration), .param (columns), .conv (filter), .nnw (star/galaxy network).
 *
 *     sex_config_defaults() -> sex_config_read(FILE.sex) -> sex_config_set(KEY, VALUE) for each -KEY value
 *
 * Keys that extract acts on are fields of struct sex_config; the other keys of Source Extractor 2.25 are accepted and
 * listed in `ignored` when their value is not the default, so that the verb names them aloud in one line.
 * Source: the configuration and parameter chapters of the Source Extractor manual, and `source-extractor -dd`.      */
#ifndef NIGHTSHIFT_PIPELINE_SEXFILES_H
#define NIGHTSHIFT_PIPELINE_SEXFILES_H

#include <stdbool.h>
#include <stddef.h>

#include "common/detections.h"
#include "common/err.h"
#include "processors/stellarity.h"

#define SEX_LIST_MAX 64
#define SEX_WORDS_MAX 16
#define SEX_TEXT_MAX 4000000 /* bytes of a file; larger is refused */

struct sex_reals {
    int n;
    double v[SEX_LIST_MAX];
};

struct sex_words {
    int n;
    char w[SEX_WORDS_MAX][256];
};

enum sex_catalog_type { SEX_CATALOG_NONE, SEX_CATALOG_ASCII, SEX_CATALOG_ASCII_HEAD, SEX_CATALOG_FITS_1_0, SEX_CATALOG_FITS_LDAC };
enum sex_thresh_type { SEX_THRESH_RELATIVE, SEX_THRESH_ABSOLUTE };
enum sex_mask_type { SEX_MASK_NONE, SEX_MASK_BLANK, SEX_MASK_CORRECT };
enum sex_weight_type { SEX_WEIGHT_NONE, SEX_WEIGHT_BACKGROUND, SEX_WEIGHT_MAP_RMS, SEX_WEIGHT_MAP_VAR, SEX_WEIGHT_MAP_WEIGHT };
enum sex_flag_type { SEX_FLAG_OR, SEX_FLAG_AND, SEX_FLAG_MIN, SEX_FLAG_MAX, SEX_FLAG_MOST };
enum sex_back_type { SEX_BACK_AUTO, SEX_BACK_MANUAL };
enum sex_verbose { SEX_QUIET, SEX_NORMAL, SEX_FULL };

/* X(KEY, kind, field, default): the keys extract acts on. */
#define SEX_KEYS(X)                                          \
    X(CATALOG_NAME, WORD, catalog_name, "test.cat")          \
    X(CATALOG_TYPE, CHOICE, catalog_type, "FITS_LDAC")       \
    X(PARAMETERS_NAME, WORD, parameters_name, "")            \
    X(DETECT_MINAREA, INT, detect_minarea, "5")              \
    X(DETECT_MAXAREA, INT, detect_maxarea, "0")              \
    X(THRESH_TYPE, CHOICE, thresh_type, "RELATIVE")          \
    X(DETECT_THRESH, REALS, detect_thresh, "1.5")            \
    X(ANALYSIS_THRESH, REALS, analysis_thresh, "1.5")        \
    X(FILTER, BOOL, filter, "Y")                             \
    X(FILTER_NAME, WORD, filter_name, "default.conv")        \
    X(DEBLEND_NTHRESH, INT, deblend_nthresh, "32")           \
    X(DEBLEND_MINCONT, REAL, deblend_mincont, "0.005")       \
    X(CLEAN, BOOL, clean, "Y")                               \
    X(CLEAN_PARAM, REAL, clean_param, "1.0")                 \
    X(MASK_TYPE, CHOICE, mask_type, "CORRECT")               \
    X(WEIGHT_TYPE, CHOICE, weight_type, "NONE")              \
    X(WEIGHT_IMAGE, WORD, weight_image, "weight.fits")       \
    X(FLAG_IMAGE, WORD, flag_image, "")                      \
    X(FLAG_TYPE, CHOICE, flag_type, "OR")                    \
    X(WEIGHT_GAIN, BOOL, weight_gain, "Y")                   \
    X(WEIGHT_THRESH, REALS, weight_thresh, "")               \
    X(PHOT_APERTURES, REALS, phot_apertures, "5")            \
    X(PHOT_AUTOPARAMS, REALS, phot_autoparams, "2.5,3.5")    \
    X(PHOT_PETROPARAMS, REALS, phot_petroparams, "2.0,3.5")  \
    X(PHOT_AUTOAPERS, REALS, phot_autoapers, "0.0,0.0")      \
    X(PHOT_FLUXFRAC, REALS, phot_fluxfrac, "0.5")            \
    X(SATUR_LEVEL, REAL, satur_level, "50000.0")             \
    X(SATUR_KEY, WORD, satur_key, "SATURATE")                \
    X(MAG_ZEROPOINT, REAL, mag_zeropoint, "0.0")             \
    X(GAIN, REAL, gain, "0.0")                               \
    X(GAIN_KEY, WORD, gain_key, "GAIN")                      \
    X(PIXEL_SCALE, REAL, pixel_scale, "1.0")                 \
    X(SEEING_FWHM, REAL, seeing_fwhm, "1.2")                 \
    X(STARNNW_NAME, WORD, starnnw_name, "default.nnw")       \
    X(BACK_TYPE, CHOICE, back_type, "AUTO")                  \
    X(BACK_VALUE, REALS, back_value, "0.0")                  \
    X(BACK_SIZE, REALS, back_size, "64")                     \
    X(BACK_FILTERSIZE, REALS, back_filtersize, "3")          \
    X(BACK_FILTTHRESH, REAL, back_filtthresh, "0.0")         \
    X(CHECKIMAGE_TYPE, WORDS, checkimage_type, "NONE")       \
    X(CHECKIMAGE_NAME, WORDS, checkimage_name, "check.fits") \
    X(VERBOSE_TYPE, CHOICE, verbose_type, "NORMAL")

struct sex_config {
    char catalog_name[512], parameters_name[512], filter_name[512], weight_image[512], flag_image[512], starnnw_name[512];
    char weight_image2[512];  /* of the measured image in dual-image mode: second words of WEIGHT_IMAGE and WEIGHT_TYPE */
    int weight_type2;
    char satur_key[80], gain_key[80];
    int catalog_type, thresh_type, mask_type, weight_type, flag_type, back_type, verbose_type; /* the enums above */
    int detect_minarea, detect_maxarea, deblend_nthresh;
    bool filter, clean, weight_gain;
    double deblend_mincont, clean_param, satur_level, mag_zeropoint, gain, pixel_scale, seeing_fwhm, back_filtthresh;
    struct sex_reals detect_thresh, analysis_thresh, weight_thresh, phot_apertures, phot_autoparams, phot_petroparams,
        phot_autoapers, phot_fluxfrac, back_value, back_size, back_filtersize;
    struct sex_words checkimage_type, checkimage_name;
    unsigned char given[64];  /* by enum sex_key: set by a file or the command line */
    char ignored[1024];       /* "ASSOC_NAME, ..." keys with another value than the default that have no effect */
    char unknown[512];        /* words that are no key of Source Extractor 2.25 */
};

enum sex_key {
#define X(key, kind, field, def) SEX_##key,
    SEX_KEYS(X)
#undef X
    SEX_KEY_COUNT
};

void sex_config_defaults(struct sex_config *c);

/* Set one key. where: "F.sex line 3" or "command line". An unsupported key goes to `ignored`, an unknown one to
 * `unknown`. Status: ERR_SETTINGS when the value cannot be read, with the key and what it may be. */
enum err sex_config_set(struct sex_config *c, const char *key, const char *value, const char *where, struct error *err);
bool sex_key_is_known(const char *key); /* supported or not */

/* Read the text of a .sex file (not NUL-terminated; name for messages), or the file. */
enum err sex_config_parse(struct sex_config *c, const char *text, size_t size, const char *name, struct error *err);
enum err sex_config_read(struct sex_config *c, const char *path, struct error *err);

struct sex_params {
    int n;
    enum detection_column column[DETECTION_COLUMN_COUNT]; /* in the order asked, each once */
    int naper, nfrac;        /* widths asked for, 0: not said */
    int vig_nx, vig_ny;
    char ignored[1024];      /* columns this program does not measure */
};
/* Status: ERR_SETTINGS for a vector that cannot be read; names nobody knows go to `ignored`. */
enum err sex_params_parse(struct sex_params *ret, const char *text, size_t size, const char *name, struct error *err);
enum err sex_params_read(struct sex_params *ret, const char *path, struct error *err);

#define SEX_KERNEL_SIDE 127
struct sex_kernel {
    int nx, ny;
    float *v;                /* row-major, ny * nx; normalised when the file says NORM; free() it */
};
enum err sex_kernel_parse(struct sex_kernel *ret, const char *text, size_t size, const char *name, struct error *err);
enum err sex_kernel_read(struct sex_kernel *ret, const char *path, struct error *err);

/* Status: ERR_SETTINGS when it is not a network of 10 inputs, 10 hidden neurons and 1 output. */
enum err sex_nnw_parse(struct star_network *ret, const char *text, size_t size, const char *name, struct error *err);
enum err sex_nnw_read(struct star_network *ret, const char *path, struct error *err);

#endif
