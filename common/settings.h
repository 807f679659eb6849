/* Settings: one table (settings_table.h) with name, type, unit, default, range, help. The command line, the YAML file,
 * the environment, --print-settings and the docs read it.
 *
 * Strength, weakest first: built-in; instrument file; settings file (--config, $NIGHTSHIFT_CONFIG, ./nightshift.yaml,
 * /etc/nightshift.yaml: first found); environment; command line. Unknown keys are errors with file and line.
 *
 *     detect.thresh      YAML   detect: {thresh: 1.5}       (also the dotted name)
 *                        env    NIGHTSHIFT_DETECT_THRESH    (settings with a source name also as that bare name)
 *                        CLI    --detect-thresh 1.5
 * Secrets may come from a file: NIGHTSHIFT_X_FILE, x_file: in YAML, --x-file; settings_reread_secret() reads it afresh
 * after it rotated. An environment variable that is empty counts as not set.
 * Threads: read-only after loading; then any thread may read.                                                      */
#ifndef NIGHTSHIFT_COMMON_SETTINGS_H
#define NIGHTSHIFT_COMMON_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/err.h"

enum setting_id {
#define S(id, name, env, type, unit, def, min, max, flags, help) SET_##id,
#include "common/settings_table.h"
#undef S
    SETTING_COUNT
};

enum setting_type { SETTING_BOOL, SETTING_INT, SETTING_DOUBLE, SETTING_STRING, SETTING_DURATION /* seconds; 5s, 10m, 1h */,
                    SETTING_DOUBLES /* comma or YAML list of numbers */ };

enum setting_flags {
    SETTING_RESULT = 1, /* changes results: part of the recipe hash */
    SETTING_SECRET = 2, /* never printed; NAME_FILE allowed */
    SETTING_FILE = 4    /* may name a file: its contents, not its path, are part of the recipe */
};

enum setting_source { SOURCE_BUILTIN, SOURCE_INSTRUMENT, SOURCE_FILE, SOURCE_ENVIRONMENT, SOURCE_COMMAND_LINE };

struct settings;

struct settings *settings_new(void); /* built-in values; NULL: no memory */
struct settings *settings_copy(const struct settings *s); /* e.g. one per instrument */
void settings_free(struct settings *s);

/* File and environment, in that order. config: path from --config or NULL. ERR_SETTINGS with file and line. */
enum err settings_load(struct settings *s, const char *config, struct error *err);
/* The settings file that was loaded, "" if none was found; owned by s. */
const char *settings_file(const struct settings *s);
/* The parts of settings_load(): one file, YAML text (name: for errors), the environment. */
enum err settings_load_file(struct settings *s, const char *path, struct error *err);
enum err settings_load_yaml(struct settings *s, const char *text, size_t size, const char *name, struct error *err);
enum err settings_load_environment(struct settings *s, struct error *err);

/* Set one by its dotted name ('-' and '_' as good as '.'), if `source` is not weaker than where the present value came from.
 * Status: ERR_SETTINGS for an unknown name (with the nearest known one as hint), a bad value, or one out of range. */
enum err settings_set(struct settings *s, const char *name, const char *value, enum setting_source source, const char *where,
                      struct error *err);

bool settings_bool(const struct settings *s, enum setting_id id);
int64_t settings_int(const struct settings *s, enum setting_id id);
double settings_double(const struct settings *s, enum setting_id id);       /* also durations, in seconds */
const char *settings_string(const struct settings *s, enum setting_id id);  /* "" when unset; owned by s */
int settings_doubles(const struct settings *s, enum setting_id id, double *ret, int max); /* count */
enum setting_source settings_source(const struct settings *s, enum setting_id id);
bool settings_is_set(const struct settings *s, enum setting_id id);         /* not the built-in value */

/* A secret as it is now: read again when it came from a file, else as set. s is not changed: any thread may ask.
 * Status: ERR_SETTINGS when the file is gone, empty or longer than size - 1. */
enum err settings_reread_secret(const struct settings *s, enum setting_id id, char *ret, size_t size, struct error *err);

/* Name, value, unit and source of each; secrets as "***". as_yaml: loadable again. */
void settings_print(const struct settings *s, FILE *out, bool as_yaml);

/* SHA-256 over the settings that change results (name=value lines in table order). ret: 65 bytes. */
void settings_result_digest(const struct settings *s, char *ret_hex);

const char *setting_name(enum setting_id id);
/* The row of the table, for help texts and docs. */
struct setting_row {
    const char *name, *env, *unit, *def, *help;
    enum setting_type type;
    double min, max;
    unsigned flags;
};
const struct setting_row *setting_row(enum setting_id id);
int setting_find(const char *name); /* the id of a dotted, dashed or underscored name; -1 if none */

#endif
