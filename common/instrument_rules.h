/* An instrument file as the program keeps it: what instrument_yaml.c makes and instrument.c, instrument_value.c,
 * instrument_amps.c and instrument_meta.c use. Nobody else includes this.                                            */
#ifndef NIGHTSHIFT_COMMON_INSTRUMENT_RULES_H
#define NIGHTSHIFT_COMMON_INSTRUMENT_RULES_H

#include <stdbool.h>

#include "common/arena.h"
#include "common/instrument.h"
#include "common/yamltree.h"

/* Q(id, group, key, kind, smallest, largest): a number outside the range is no answer and the next candidate is asked. */
#define INSTRUMENT_QUANTITIES(Q)                                                                                       \
    Q(EXPOSURE_ID, "header", "exposure_id", KIND_TEXT, 0, 0)                                                           \
    Q(OBJECT, "header", "object", KIND_TEXT, 0, 0)                                                                     \
    Q(FILTER, "header", "filter", KIND_TEXT, 0, 0)                                                                     \
    Q(OBSERVER, "header", "observer", KIND_TEXT, 0, 0)                                                                 \
    Q(TYPE, "header", "type", KIND_TYPE, 0, 0)                                                                         \
    Q(CCD, "header", "ccd", KIND_NUMBER, 0, 511)                                                                       \
    Q(NCCD, "header", "nccd", KIND_NUMBER, 1, 511)                                                                     \
    Q(BINNING_X, "header", "binning_x", KIND_NUMBER, 1, 1000)                                                          \
    Q(BINNING_Y, "header", "binning_y", KIND_NUMBER, 1, 1000)                                                          \
    Q(EXPTIME, "header", "exptime", KIND_NUMBER, 0, 1e7)                                                               \
    Q(DARKTIME, "header", "darktime", KIND_NUMBER, 0, 1e7)                                                             \
    Q(TIME, "header", "time", KIND_TIME, 0, 0)                                                                         \
    Q(LONGITUDE, "header", "longitude", KIND_ANGLE, -360, 360)                                                         \
    Q(LATITUDE, "header", "latitude", KIND_ANGLE, -90, 90)                                                             \
    Q(HEIGHT, "header", "height", KIND_NUMBER, -1000, 20000)                                                           \
    Q(RA, "header", "ra", KIND_ANGLE, 0, 360)                                                                          \
    Q(DEC, "header", "dec", KIND_ANGLE, -90, 90)                                                                       \
    Q(AIRMASS, "header", "airmass", KIND_NUMBER, 1, 100)                                                               \
    Q(CCD_TEMP, "header", "ccd_temp", KIND_NUMBER, -273.15, 200)                                                       \
    Q(PIXEL_SCALE, "header", "pixel_scale", KIND_NUMBER, 1e-5, 36000)                                                  \
    Q(WCS_TRUST, "wcs", "trust", KIND_TRUST, 0, 0)                                                                     \
    Q(WCS_FRAME, "wcs", "frame", KIND_WCS_FRAME, 0, 0)                                                                 \
    Q(AMP_COUNT, "amplifiers", "count", KIND_NUMBER, 1, AMPS_MAX)                                                      \
    Q(AMP_NAME, "amplifiers", "name", KIND_TEXT, 0, 0)                                                                 \
    Q(AMP_DATA, "amplifiers", "data", KIND_SECTION, 0, 0)                                                              \
    Q(AMP_OVERSCAN, "amplifiers", "overscan", KIND_SECTION, 0, 0)                                                      \
    Q(AMP_PRESCAN, "amplifiers", "prescan", KIND_SECTION, 0, 0)                                                        \
    Q(AMP_DEST, "amplifiers", "dest", KIND_SECTION, 0, 0)                                                              \
    Q(AMP_GAIN, "amplifiers", "gain", KIND_NUMBER, 1e-6, 1e4)                                                          \
    Q(AMP_RDNOISE, "amplifiers", "rdnoise", KIND_NUMBER, 1e-6, 1e5)                                                    \
    Q(AMP_SATURATE, "amplifiers", "saturate", KIND_NUMBER, 1, 1e10)

enum quantity_id {
#define Q(id, group, key, kind, lo, hi) Q_##id,
    INSTRUMENT_QUANTITIES(Q)
#undef Q
    QUANTITY_COUNT
};

enum quantity_kind { KIND_TEXT, KIND_NUMBER, KIND_ANGLE, KIND_TYPE, KIND_TIME, KIND_SECTION, KIND_TRUST, KIND_WCS_FRAME };

struct quantity_row {
    const char *group, *key;
    enum quantity_kind kind;
    double lo, hi;
};
extern const struct quantity_row quantity_rows[QUANTITY_COUNT];

struct words {
    const char **v;
    int n;
};

/* A condition on one keyword. */
struct rule {
    const char *keyword;
    enum { RULE_EXISTS, RULE_ABSENT, RULE_EQUALS, RULE_LIKE } op;
    struct words words; /* any of them */
};

enum angle_unit { ANGLE_AUTO, ANGLE_DEGREES, ANGLE_HOURS, ANGLE_ELECTRON /* saturation in electrons: divided by the gain */ };
enum time_format { TIME_ISO, TIME_MJD, TIME_JD };
enum time_moment { MOMENT_START, MOMENT_MID, MOMENT_END };

/* One place to look for a quantity. Candidates are asked in order; the first that has an answer wins. */
struct candidate {
    const char *keyword;    /* {a} stands for the amplifier; NULL: values, or obsgeo */
    struct words values;    /* constants: one for all amplifiers, or one each */
    bool obsgeo;            /* from OBSGEO-X, -Y, -Z */
    struct rule *when;      /* all must hold */
    int nwhen;
    struct words ignore;    /* patterns of values that say nothing */
    int word;               /* 1-based word of the value, 0: all of it */
    double scale, offset;   /* number * scale + offset */
    const char *divide_by;  /* keyword of a divisor, NULL for none */
    double min, max;        /* beyond: no answer; NaN: no limit of the file's own */
    enum angle_unit unit;
    bool west;              /* longitudes counted to the west */
    enum time_format format;
    struct words with;      /* keywords of the time of day for dates without one */
    double with_hours;      /* hours per unit of a plain number there */
    const char *scale_name; /* "UTC", "TAI", ...; NULL: TIMESYS, else UTC */
    enum time_moment at;
    double shift_s;         /* added to the time */
};

struct word_map {
    const char *to;
    struct words patterns;
};

struct quantity {
    bool given;             /* the file says something, be it "none" */
    struct candidate *c;
    int n;
    struct word_map *map;
    int nmap;
};

struct instrument_setting {
    const char *name, *value, *where;
};

struct instrument {
    char name[32];
    char path[512];
    char digest[DIGEST_HEX_SIZE];
    struct yamltree *tree;   /* owns the strings */
    struct arena *arena;     /* owns the arrays */
    const char *extends;     /* NULL: stands alone */
    int extends_line;
    struct rule *match;
    int nmatch;
    bool multi, multi_given;
    struct words amp_labels; /* what {a} stands for: 1, 2, 3 ... when empty */
    struct quantity q[QUANTITY_COUNT];
    struct instrument_setting *settings;
    int nsettings;
};

/* Compile a tree (owned by ins from then on, also on failure). ERR_SETTINGS with file and line. */
enum err instrument_compile(struct instrument *ins, struct yamltree *tree, struct error *err);

/* ---- values (instrument_value.c) ---- */

struct value_context {
    const struct header *h;
    int amp;               /* 0-based; -1 outside amplifiers */
    const char *label;     /* of the amplifier */
    double gain;           /* of the amplifier, for ANGLE_ELECTRON */
    struct exposure_meta *meta; /* notes go here */
};

bool rule_holds(const struct rule *r, const struct header *h);
bool rules_hold(const struct rule *r, int n, const struct header *h);

/* The first answer as text (mapped), number or angle in degrees. False when nobody answers. */
bool quantity_text(const struct instrument *ins, enum quantity_id id, const struct value_context *c, char *ret, size_t size);
bool quantity_number(const struct instrument *ins, enum quantity_id id, const struct value_context *c, double *ret);
bool quantity_angle(const struct instrument *ins, enum quantity_id id, const struct value_context *c, double *ret);
/* Text of a quantity with a map: the word mapped to; unmapped values are passed over, the first of them is kept in raw. */
bool quantity_word(const struct instrument *ins, enum quantity_id id, const struct value_context *c, char *ret, size_t size,
                   char *raw, size_t raw_size);
/* Start and middle as MJD UTC; exptime_s may be NaN (then the middle is unknown unless it is what the header gives). */
bool quantity_time(const struct instrument *ins, const struct value_context *c, double exptime_s, double *ret_start,
                   double *ret_mid, char *ret_text, size_t size);
/* "IMAGETYP, OBSTYPE, ..." for messages. */
void quantity_keywords(const struct instrument *ins, enum quantity_id id, char *ret, size_t size);

void meta_note(struct exposure_meta *meta, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- amplifiers (instrument_amps.c) ---- */

/* Sections, gains and the trimmed size. ERR_CORRUPT when the sections contradict each other or the array. */
enum err instrument_amps(const struct instrument *ins, const struct header *h, struct exposure_meta *meta, struct error *err);

#endif
