#include "common/settings.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/text.h"

#define SECRET_MAX  ((size_t)65536)
#define DOUBLES_MAX 4096

static const struct setting_row rows[] = {
#define S(id, name, env, type, unit, def, min, max, flags, help) {name, env, unit, def, help, type, min, max, flags},
#include "common/settings_table.h"
#undef S
};

/* Invariant: text is never NULL and reads back as the same value; number is its value (bool, int, double, duration). */
struct value {
    char *text;
    char *file;      /* secrets: the file text was read from, else NULL */
    char *where;     /* "nightshift.yaml:3", "--detect-thresh"; NULL: built in */
    double number;
    int64_t integer;
    enum setting_source source;
};

struct settings {
    struct value v[SETTING_COUNT];
    char path[1024]; /* the file that was loaded, for those who ask; longer names are cut */
};

const char *setting_name(enum setting_id id)
{
    return rows[id].name;
}

const struct setting_row *setting_row(enum setting_id id)
{
    return &rows[id];
}

int setting_find(const char *name)
{
    for (int i = 0; i < SETTING_COUNT; i++)
        if (text_same_name(rows[i].name, name)) return i;
    return -1;
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

static bool parse_bool(const char *text, int64_t *ret)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1", "n", "y"};
    for (int i = 0; i < (int)(sizeof words / sizeof words[0]); i++)
        if (!strcasecmp(text, words[i])) {
            *ret = i & 1;
            return true;
        }
    return false;
}

static bool parse_int(const char *text, int64_t *ret)
{
    char *end;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (errno || end == text || *end) return false;
    *ret = n;
    return true;
}

/* A decimal number; "nan" means unset and is allowed where the built-in value is nan. */
static bool parse_double(const char *text, bool nan_allowed, double *ret)
{
    char *end;
    if (nan_allowed && !strcasecmp(text, "nan")) {
        *ret = NAN;
        return true;
    }
    if (text[strspn(text, "+-.0123456789eE")]) return false; /* strtod would also take hex, inf and nan */
    double x = strtod(text, &end);
    if (end == text || *end || !isfinite(x)) return false;
    *ret = x;
    return true;
}

/* "90", "5s", "1h30m", "250ms" in seconds. */
static bool parse_duration(const char *text, double *ret)
{
    static const struct {
        const char *name;
        double seconds;
    } units[] = {{"ms", 1e-3}, {"s", 1}, {"min", 60}, {"m", 60}, {"h", 3600}, {"d", 86400}};
    double sum = 0, x;
    if (parse_double(text, false, ret)) return true;
    if (!*text) return false;
    while (*text) {
        char digits[32];
        size_t n = strspn(text, "0123456789.");
        if (!n || n >= sizeof digits) return false;
        memcpy(digits, text, n);
        digits[n] = '\0';
        if (!parse_double(digits, false, &x)) return false;
        text += n;
        size_t letters = strspn(text, "abcdefghijklmnopqrstuvwxyz");
        double seconds = 0;
        for (size_t u = 0; u < sizeof units / sizeof units[0]; u++)
            if (strlen(units[u].name) == letters && !strncmp(text, units[u].name, letters)) seconds = units[u].seconds;
        if (seconds == 0) return false;
        sum += x * seconds;
        text += letters;
    }
    *ret = sum;
    return true;
}

static bool in_range(const struct setting_row *row, double x)
{
    return row->min == row->max || isnan(x) || (x >= row->min && x <= row->max);
}

/* Walk a comma- or blank-separated list. Returned: count of numbers, -1 when one is not a number, -2 out of range. */
static int parse_doubles(const struct setting_row *row, const char *text, double *ret, int max)
{
    int n = 0;
    while (*(text += strspn(text, ", \t"))) {
        char word[64];
        size_t length = strcspn(text, ", \t");
        double x;
        if (length >= sizeof word || n >= DOUBLES_MAX) return -1;
        memcpy(word, text, length);
        word[length] = '\0';
        text += length;
        if (!parse_double(word, false, &x)) return -1;
        if (!in_range(row, x)) return -2;
        if (n < max) ret[n] = x;
        n++;
    }
    return n;
}

static bool is_choice(const char *choices, const char *word)
{
    for (;;) {
        size_t n = strcspn(choices, "|");
        if (strlen(word) == n && !strncmp(choices, word, n)) return true;
        if (!choices[n]) return false;
        choices += n + 1;
    }
}

static enum err bad_value(struct error *err, const char *where, const struct setting_row *row, const char *text, const char *want)
{
    char shown[100];
    text_clean(shown, sizeof shown, row->flags & SETTING_SECRET ? "***" : text);
    ERROR(err, ERR_SETTINGS, "'%s' is no value of '%s': %s", shown, row->name, want);
    error_subject(err, where, 0);
    return ERR_SETTINGS;
}

static enum err out_of_range(struct error *err, const char *where, const struct setting_row *row, const char *text)
{
    ERROR(err, ERR_SETTINGS, "'%s' is out of range for '%s': %g to %g%s%s", text, row->name, row->min, row->max,
          *row->unit ? " " : "", row->unit);
    error_subject(err, where, 0);
    return ERR_SETTINGS;
}

/* Read text as row's type into v->number and v->integer. */
static enum err parse_value(const struct setting_row *row, const char *text, const char *where, struct value *v, struct error *err)
{
    char want[160];
    int n;
    switch (row->type) {
    case SETTING_BOOL:
        if (!parse_bool(text, &v->integer)) return bad_value(err, where, row, text, "expected true or false");
        v->number = (double)v->integer;
        return ERR_OK;
    case SETTING_INT:
        if (!parse_int(text, &v->integer)) return bad_value(err, where, row, text, "expected a whole number");
        v->number = (double)v->integer;
        break;
    case SETTING_DOUBLE:
        if (!parse_double(text, !strcmp(row->def, "nan"), &v->number))
            return bad_value(err, where, row, text, "expected a number");
        break;
    case SETTING_DURATION:
        if (!parse_duration(text, &v->number)) return bad_value(err, where, row, text, "expected a duration such as 90, 5s, 10m or 1h");
        break;
    case SETTING_DOUBLES:
        n = parse_doubles(row, text, NULL, 0);
        if (n == -1) return bad_value(err, where, row, text, "expected numbers separated by commas");
        return n == -2 ? out_of_range(err, where, row, text) : ERR_OK;
    case SETTING_STRING:
        if (!strchr(row->unit, '|') || is_choice(row->unit, text)) return ERR_OK;
        snprintf(want, sizeof want, "expected one of %s", row->unit);
        return bad_value(err, where, row, text, want);
    }
    return in_range(row, v->number) ? ERR_OK : out_of_range(err, where, row, text);
}

static void value_release(struct value *v)
{
    free(v->text);
    free(v->file);
    free(v->where);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

struct settings *settings_new(void)
{
    struct settings *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    for (int i = 0; i < SETTING_COUNT; i++) {
        if (!(s->v[i].text = strdup(rows[i].def)) || parse_value(&rows[i], rows[i].def, "settings_table.h", &s->v[i], NULL)) {
            settings_free(s);
            return NULL;
        }
    }
    return s;
}

struct settings *settings_copy(const struct settings *s)
{
    struct settings *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    memcpy(c->path, s->path, sizeof c->path);
    for (int i = 0; i < SETTING_COUNT; i++) {
        const struct value *from = &s->v[i];
        struct value *to = &c->v[i];
        *to = (struct value){.number = from->number, .integer = from->integer, .source = from->source};
        to->text = strdup(from->text);
        if (from->file) to->file = strdup(from->file);
        if (from->where) to->where = strdup(from->where);
        if (!to->text || (from->file && !to->file) || (from->where && !to->where)) {
            settings_free(c);
            return NULL;
        }
    }
    return c;
}

void settings_free(struct settings *s)
{
    if (!s) return;
    for (int i = 0; i < SETTING_COUNT; i++) value_release(&s->v[i]);
    free(s);
}

/* ---- setting ----------------------------------------------------------------------------------------------------- */

static enum err unknown_setting(const char *name, const char *where, struct error *err)
{
    struct text_nearest near = {.wanted = name};
    char shown[100];
    for (int i = 0; i < SETTING_COUNT; i++) text_nearest_offer(&near, rows[i].name);
    ERROR(err, ERR_SETTINGS, "unknown setting '%s'", text_clean(shown, sizeof shown, name));
    error_subject(err, where, 0);
    if (near.name) error_hint(err, "did you mean '%s'?", near.name);
    return ERR_SETTINGS;
}

/* Take over a value that was read and found good. file: of a secret, or NULL. */
static enum err store(struct settings *s, int id, struct value *fresh, const char *text, const char *file, const char *where,
                      struct error *err)
{
    fresh->text = strdup(text);
    if (file) fresh->file = strdup(file);
    if (where) fresh->where = strdup(where);
    if (!fresh->text || (file && !fresh->file) || (where && !fresh->where)) {
        value_release(fresh);
        return ERROR(err, ERR_NOMEM, "could not get memory for setting '%s'", rows[id].name);
    }
    value_release(&s->v[id]);
    s->v[id] = *fresh;
    return ERR_OK;
}

static enum err set_value(struct settings *s, int id, const char *value, const char *file, enum setting_source source,
                          const char *where, struct error *err)
{
    struct value fresh = {.source = source};
    char trimmed[256];
    if (rows[id].type != SETTING_STRING && strlen(value) < sizeof trimmed) value = text_trim(trimmed, sizeof trimmed, value);
    enum err e = parse_value(&rows[id], value, where, &fresh, err);
    if (e || source < s->v[id].source) return e;
    return store(s, id, &fresh, value, file, where, err);
}

/* The secret in a file, without the line feed editors leave at its end. */
static char *read_secret(const char *path, const char *where, struct error *err)
{
    errno = 0;
    char *text = text_read_file(path, SECRET_MAX, NULL);
    if (!text) {
        ERROR(err, ERR_SETTINGS, "cannot read the secret file '%s': %s", path, strerror(errno));
        error_subject(err, where, 0);
        return NULL;
    }
    text[strcspn(text, "\r\n")] = '\0';
    if (!*text) {
        ERROR(err, ERR_SETTINGS, "the secret file '%s' is empty", path);
        error_subject(err, where, 0);
        free(text);
        return NULL;
    }
    return text;
}

/* "NAME_file" of a secret: its id, else -1. */
static int find_secret_file(const char *name)
{
    char base[80];
    size_t n = strlen(name);
    if (n < 6 || n >= sizeof base || !text_same_name(name + n - 5, "_file")) return -1;
    memcpy(base, name, n - 5);
    base[n - 5] = '\0';
    int id = setting_find(base);
    return id >= 0 && (rows[id].flags & SETTING_SECRET) ? id : -1;
}

enum err settings_set(struct settings *s, const char *name, const char *value, enum setting_source source, const char *where,
                      struct error *err)
{
    int id = setting_find(name);
    if (id >= 0) return set_value(s, id, value, NULL, source, where, err);
    id = find_secret_file(name);
    if (id < 0) return unknown_setting(name, where, err);
    char *secret = read_secret(value, where, err);
    if (!secret) return ERR_SETTINGS;
    enum err e = set_value(s, id, secret, value, source, where, err);
    free(secret);
    return e;
}

/* ---- environment and files --------------------------------------------------------------------------------------- */

/* NIGHTSHIFT_DETECT_THRESH of detect.thresh. */
static void environment_name(const char *name, char *ret, size_t size)
{
    size_t n = (size_t)snprintf(ret, size, "NIGHTSHIFT_");
    for (; *name && n + 1 < size; name++) ret[n++] = *name == '.' || *name == '-' ? '_' : (char)toupper((unsigned char)*name);
    ret[n] = '\0';
}

/* Set one setting from the variable `variable`, or from variable_FILE for a secret, when it is there and not empty. */
static enum err take_variable(struct settings *s, int id, const char *variable, bool *ret_taken, struct error *err)
{
    char file_variable[160], first[64];
    const char *value = getenv(variable);
    if (value && *value) {
        *ret_taken = true;
        /* OpenMP allows a number per nesting level; one level is used here. */
        if (!strcmp(variable, "OMP_NUM_THREADS") && strcspn(value, ",") < sizeof first) {
            snprintf(first, sizeof first, "%.*s", (int)strcspn(value, ","), value);
            value = first;
        }
        return set_value(s, id, value, NULL, SOURCE_ENVIRONMENT, variable, err);
    }
    snprintf(file_variable, sizeof file_variable, "%s_FILE", variable);
    value = rows[id].flags & SETTING_SECRET ? getenv(file_variable) : NULL;
    if (!value || !*value) return ERR_OK;
    *ret_taken = true;
    char *secret = read_secret(value, file_variable, err);
    if (!secret) return ERR_SETTINGS;
    enum err e = set_value(s, id, secret, value, SOURCE_ENVIRONMENT, file_variable, err);
    free(secret);
    return e;
}

enum err settings_load_environment(struct settings *s, struct error *err)
{
    for (int i = 0; i < SETTING_COUNT; i++) {
        char variable[150];
        bool taken = false;
        environment_name(rows[i].name, variable, sizeof variable);
        enum err e = take_variable(s, i, variable, &taken, err);
        if (!e && !taken && *rows[i].env) e = take_variable(s, i, rows[i].env, &taken, err);
        if (e) return e;
    }
    return ERR_OK;
}

enum err settings_load(struct settings *s, const char *config, struct error *err)
{
    static const char *const usual[] = {"nightshift.yaml", "/etc/nightshift.yaml"};
    if (!config || !*config) config = getenv("NIGHTSHIFT_CONFIG");
    if (config && !*config) config = NULL;
    for (int i = 0; !config && i < (int)(sizeof usual / sizeof usual[0]); i++)
        if (access(usual[i], F_OK) == 0) config = usual[i];
    if (config) snprintf(s->path, sizeof s->path, "%s", config);
    enum err e = config ? settings_load_file(s, config, err) : ERR_OK;
    return e ? e : settings_load_environment(s, err);
}

/* ---- getters ----------------------------------------------------------------------------------------------------- */

const char *settings_file(const struct settings *s)
{
    return s->path;
}

bool settings_bool(const struct settings *s, enum setting_id id)
{
    return s->v[id].integer != 0;
}

int64_t settings_int(const struct settings *s, enum setting_id id)
{
    return s->v[id].integer;
}

double settings_double(const struct settings *s, enum setting_id id)
{
    return s->v[id].number;
}

const char *settings_string(const struct settings *s, enum setting_id id)
{
    return s->v[id].text;
}

int settings_doubles(const struct settings *s, enum setting_id id, double *ret, int max)
{
    return parse_doubles(&rows[id], s->v[id].text, ret, max);
}

enum setting_source settings_source(const struct settings *s, enum setting_id id)
{
    return s->v[id].source;
}

bool settings_is_set(const struct settings *s, enum setting_id id)
{
    return s->v[id].source != SOURCE_BUILTIN;
}

enum err settings_reread_secret(const struct settings *s, enum setting_id id, char *ret, size_t size, struct error *err)
{
    const struct value *v = &s->v[id];
    char *fresh = v->file ? read_secret(v->file, v->where, err) : NULL;
    if (v->file && !fresh) return ERR_SETTINGS;
    const char *text = fresh ? fresh : v->text;
    size_t n = strlen(text);
    if (n < size) memcpy(ret, text, n + 1);
    free(fresh);
    return n < size ? ERR_OK : ERROR(err, ERR_SETTINGS, "the secret '%s' is longer than %zu bytes", rows[id].name, size - 1);
}

/* ---- printing ---------------------------------------------------------------------------------------------------- */

static const char *source_name(const struct value *v)
{
    static const char *const names[] = {"built in", "instrument file", "settings file", "environment", "command line"};
    return v->where ? v->where : names[v->source];
}

/* As a double-quoted YAML scalar. */
static void print_quoted(FILE *out, const char *text)
{
    fputc('"', out);
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\')
            fprintf(out, "\\%c", *c);
        else if (*c < 0x20 || *c == 0x7F)
            fprintf(out, "\\x%02x", *c);
        else
            fputc(*c, out);
    }
    fputc('"', out);
}

static void print_yaml_row(const struct setting_row *row, const struct value *v, FILE *out)
{
    bool secret = row->flags & SETTING_SECRET;
    fprintf(out, "%s%s: ", secret ? "# " : "", row->name);
    if (secret)
        fputs(*v->text ? "\"***\"" : "\"\"", out);
    else if (row->type == SETTING_STRING)
        print_quoted(out, v->text);
    else if (row->type == SETTING_DOUBLES)
        fprintf(out, "[%s]", v->text);
    else
        fputs(v->text, out);
    fprintf(out, "  # %s\n", source_name(v));
}

void settings_print(const struct settings *s, FILE *out, bool as_yaml)
{
    for (int i = 0; i < SETTING_COUNT; i++) {
        const struct value *v = &s->v[i];
        if (as_yaml) {
            print_yaml_row(&rows[i], v, out);
            continue;
        }
        const char *unit = strchr(rows[i].unit, '|') ? "" : rows[i].unit;
        const char *text = (rows[i].flags & SETTING_SECRET) && *v->text ? "***" : v->text;
        fprintf(out, "%-24s %-16s %-8s %-16s %s\n", rows[i].name, *text ? text : "-", unit, source_name(v), rows[i].help);
    }
}
