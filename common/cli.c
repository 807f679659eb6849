#include "common/cli.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <omp.h>

#include "common/cpus.h"
#include "common/log.h"
#include "common/text.h"

#define OPTION_SIZE 100

/* What the words of one command line asked for besides the verb's own options. */
struct request {
    struct cli *c;
    const struct cli_option *options;
    int (*foreign)(void *user, int argc, char **argv);
    void *user;
    const char *config;
    bool help, version, print, print_yaml, printed; /* printed: the foreign parser said what is wrong */
    struct error *err;
};

/* ---- names ------------------------------------------------------------------------------------------------------- */

/* Is `word` one of the comma-separated names? */
static bool names_include(const char *names, const char *word)
{
    size_t length = strlen(word);
    for (;;) {
        size_t n = strcspn(names, ",");
        if (n == length && !strncmp(names, word, n)) return true;
        if (!names[n]) return false;
        names += n + 1;
    }
}

static const struct cli_option *find_option(const struct cli_option *options, const char *word)
{
    for (const struct cli_option *o = options; o && o->name; o++)
        if (names_include(o->name, word)) return o;
    return NULL;
}

/* "--detect-thresh" of "detect.thresh". */
static void option_of_setting(enum setting_id id, char *ret, size_t size)
{
    snprintf(ret, size, "--%s", setting_name(id));
    for (char *p = ret; *p; p++)
        if (*p == '.' || *p == '_') *p = '-';
}

static enum err unknown_option(struct request *r, const char *word)
{
    char names[SETTING_COUNT][OPTION_SIZE], shown[OPTION_SIZE];
    static const char *const common[] = {"--help", "--version", "--config", "--print-settings"};
    struct text_nearest near = {.wanted = word};
    for (const struct cli_option *o = r->options; o && o->name; o++)
        if (!strchr(o->name, ',')) text_nearest_offer(&near, o->name);
    for (int i = 0; i < (int)(sizeof common / sizeof common[0]); i++) text_nearest_offer(&near, common[i]);
    for (int i = 0; i < SETTING_COUNT; i++) {
        option_of_setting((enum setting_id)i, names[i], sizeof names[i]);
        text_nearest_offer(&near, names[i]);
    }
    ERROR(r->err, ERR_USAGE, "unknown option '%s'", text_clean(shown, sizeof shown, word));
    if (near.name)
        error_hint(r->err, "did you mean '%s'?", near.name);
    else
        error_hint(r->err, "'nightshift %s --help' lists the options", r->c->verb->name);
    return ERR_USAGE;
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

static enum err add_string(struct cli_strings *list, const char *word, struct error *err)
{
    if ((list->n & (list->n + 1)) == 0) { /* full at 1, 3, 7, ... : room doubles */
        const char **v = realloc(list->v, 2 * ((size_t)list->n + 1) * sizeof *v);
        if (!v) return ERROR(err, ERR_NOMEM, "could not get memory for the command line");
        list->v = v;
    }
    list->v[list->n++] = word;
    return ERR_OK;
}

static enum err set_option(const struct cli_option *o, const char *word, const char *value, struct error *err)
{
    char *end;
    errno = 0;
    switch (o->kind) {
    case CLI_STRING: *(const char **)o->dst = value; return ERR_OK;
    case CLI_STRINGS: return add_string(o->dst, value, err);
    case CLI_FLAG: *(bool *)o->dst = true; return ERR_OK;
    case CLI_INT: {
        long n = strtol(value, &end, 10);
        if (errno || end == value || *end || n < -2147483647L || n > 2147483647L)
            return ERROR(err, ERR_USAGE, "'%s' is no whole number for option '%s'", value, word);
        *(int *)o->dst = (int)n;
        return ERR_OK;
    }
    case CLI_DOUBLE: {
        double x = strtod(value, &end);
        if (errno == ERANGE || end == value || *end || !isfinite(x))
            return ERROR(err, ERR_USAGE, "'%s' is no number for option '%s'", value, word);
        *(double *)o->dst = x;
        return ERR_OK;
    }
    }
    return ERROR(err, ERR_INTERNAL, "option '%s' has no kind", word);
}

/* A word that takes a value: "--name=value", or the next word. Returned: words taken, 0 with an error. */
static int take_value(struct request *r, const char *word, const char *attached, int argc, char **argv, const char **ret)
{
    *ret = attached ? attached : argc > 1 ? argv[1] : NULL;
    if (*ret) return attached ? 1 : 2;
    ERROR(r->err, ERR_USAGE, "option '%s' needs a value", word);
    return 0;
}

/* ---- words ------------------------------------------------------------------------------------------------------- */

/* --help, --version, --config, --print-settings. Returned: words taken, 0: not one of these or an error. */
static int take_common(struct request *r, const char *word, const char *attached, int argc, char **argv)
{
    if (!strcmp(word, "--config")) return take_value(r, word, attached, argc, argv, &r->config);
    if (!strcmp(word, "--print-settings")) {
        if (attached && strcmp(attached, "yaml") && strcmp(attached, "text")) {
            ERROR(r->err, ERR_USAGE, "'--print-settings=%s': expected yaml or text", attached);
            return 0;
        }
        r->print = true;
        r->print_yaml = attached && !strcmp(attached, "yaml");
        return 1;
    }
    if (attached) return 0;
    if (!strcmp(word, "--help") || !strcmp(word, "-h")) return r->help = true, 1;
    if (!strcmp(word, "--version")) return r->version = true, 1;
    return 0;
}

static int take_own(struct request *r, const struct cli_option *o, const char *word, const char *attached, int argc, char **argv)
{
    const char *value = NULL;
    int taken = 1;
    if (o->kind == CLI_FLAG && attached) {
        ERROR(r->err, ERR_USAGE, "option '%s' takes no value", word);
        return 0;
    }
    if (o->kind != CLI_FLAG) taken = take_value(r, word, attached, argc, argv, &value);
    return taken && !set_option(o, word, value, r->err) ? taken : 0;
}

/* Is the word "--" and a setting's name, or --name-file of a secret? */
static bool is_setting(const char *word)
{
    char base[OPTION_SIZE];
    size_t n = strlen(word);
    if (strncmp(word, "--", 2) || n >= sizeof base) return false;
    if (setting_find(word + 2) >= 0) return true;
    if (n < 8 || !text_same_name(word + n - 5, "-file")) return false;
    snprintf(base, sizeof base, "%.*s", (int)(n - 7), word + 2);
    int id = setting_find(base);
    return id >= 0 && (setting_row((enum setting_id)id)->flags & SETTING_SECRET);
}

static int take_setting(struct request *r, const char *word, const char *attached, int argc, char **argv)
{
    const char *value;
    int taken = take_value(r, word, attached, argc, argv, &value);
    if (!taken || settings_set(r->c->settings, word + 2, value, SOURCE_COMMAND_LINE, word, r->err)) return 0;
    return taken;
}

static int take_foreign(struct request *r, int argc, char **argv)
{
    int taken = r->foreign ? r->foreign(r->user, argc, argv) : 0;
    if (taken < 0) r->printed = true;
    if (taken == 0) unknown_option(r, argv[0]);
    return taken > 0 ? taken : 0;
}

/* One option at argv[0]. Returned: words taken, 0 with the error set (or printed). */
static int take_option(struct request *r, int argc, char **argv)
{
    char word[OPTION_SIZE];
    const char *equals = strncmp(argv[0], "--", 2) ? NULL : strchr(argv[0], '=');
    size_t n = equals ? (size_t)(equals - argv[0]) : strlen(argv[0]);
    if (n >= sizeof word) return take_foreign(r, argc, argv);
    memcpy(word, argv[0], n);
    word[n] = '\0';
    const char *attached = equals ? equals + 1 : NULL;
    const struct cli_option *o = find_option(r->options, word);
    if (o) return take_own(r, o, word, attached, argc, argv);
    int taken = take_common(r, word, attached, argc, argv);
    if (taken || r->err->code) return taken;
    if (is_setting(word)) return take_setting(r, word, attached, argc, argv);
    return take_foreign(r, argc, argv);
}

static enum err take_words(struct request *r, int argc, char **argv)
{
    bool options_end = false;
    for (int i = 1; i < argc;) {
        if (!options_end && !strcmp(argv[i], "--")) {
            options_end = true;
            i++;
        } else if (options_end || argv[i][0] != '-' || !argv[i][1]) {
            if (add_string(&r->c->operands, argv[i++], r->err)) return ERR_NOMEM;
        } else {
            int taken = take_option(r, argc - i, argv + i);
            if (!taken) return r->printed ? ERR_USAGE : r->err->code;
            i += taken;
        }
    }
    return ERR_OK;
}

/* ---- help -------------------------------------------------------------------------------------------------------- */

static void help_line(const char *name, const char *arg, const char *help)
{
    char left[200];
    snprintf(left, sizeof left, "%s%s%s", name, arg && *arg ? " " : "", arg ? arg : "");
    if (strlen(left) > 28)
        printf("  %s\n  %-28s  %s\n", left, "", help);
    else
        printf("  %-28s  %s\n", left, help);
}

static void setting_line(enum setting_id id)
{
    static const char *const types[] = {"BOOL", "N", "X", "TEXT", "TIME", "X,..."};
    const struct setting_row *row = setting_row(id);
    char name[OPTION_SIZE], help[400];
    bool words = strchr(row->unit, '|');
    option_of_setting(id, name, sizeof name);
    snprintf(help, sizeof help, "%s%s%s%s%s%s%s", row->help, *row->def || (*row->unit && !words) ? " [" : "", row->def,
             *row->def && *row->unit && !words ? " " : "", words ? "" : row->unit,
             *row->def || (*row->unit && !words) ? "]" : "", row->flags & SETTING_SECRET ? " (or from a file: -file PATH)" : "");
    help_line(name, types[row->type], help);
}

static void print_help(const struct request *r)
{
    const struct verb *v = r->c->verb;
    printf("usage: nightshift %s %s\n\n%s\n\n", v->name, v->synopsis ? v->synopsis : "", v->summary ? v->summary : "");
    for (const struct cli_option *o = r->options; o && o->name; o++) help_line(o->name, o->arg, o->help);
    help_line("--config", "FILE", "settings file [$NIGHTSHIFT_CONFIG, ./nightshift.yaml, /etc/nightshift.yaml]");
    help_line("--print-settings[=yaml]", NULL, "print the settings and where each comes from, and stop");
    help_line("--help, --version", NULL, "print this, or the version, and stop");
    printf("\nsettings (also in the settings file, and in the environment as NIGHTSHIFT_NAME):\n");
    for (int i = 0; i < SETTING_COUNT; i++) setting_line((enum setting_id)i);
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

static void start_log(const struct cli *c)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    const char *level = settings_string(c->settings, SET_LOG_LEVEL), *format = settings_string(c->settings, SET_LOG_FORMAT);
    int l = 0;
    while (l < 3 && strcmp(level, levels[l])) l++;
    bool json = *format ? !strcmp(format, "json") : isatty(STDERR_FILENO) != 1;
    log_init(c->verb->name, (enum log_level)l, json ? LOG_JSON : LOG_CONSOLE);
}

static void start_threads(struct cli *c)
{
    int64_t n = settings_int(c->settings, SET_THREADS);
    c->threads = n > 0 ? (int)n : cpus_available();
    omp_set_num_threads(c->threads);
    omp_set_max_active_levels(1);
}

/* Serve --help, --version and --print-settings. Returned: true when one was asked for. */
static bool serve_requests(const struct request *r)
{
    if (r->help)
        print_help(r);
    else if (r->version)
        printf("nightshift %s (results %s)\n", nightshift_version, nightshift_result_version);
    else if (r->print)
        settings_print(r->c->settings, stdout, r->print_yaml);
    return r->help || r->version || r->print;
}

int cli_parse_foreign(struct cli *c, const struct verb *verb, int argc, char **argv, const struct cli_option *options,
                      int (*foreign)(void *user, int argc, char **argv), void *user)
{
    struct error err = ERROR_INIT, load_err = ERROR_INIT;
    struct request r = {.c = c, .options = options, .foreign = foreign, .user = user, .err = &err};
    *c = (struct cli){.verb = verb, .options = options, .settings = settings_new()};
    if (!c->settings) return cli_no_memory(verb);
    int code = -1;
    enum err e = take_words(&r, argc, argv);
    /* The log's own settings count even when the command line is wrong: its error goes out in the form asked for. */
    enum err load = r.help || r.version ? ERR_OK : settings_load(c->settings, r.config, &load_err);
    if (load) settings_load_environment(c->settings, NULL);
    start_log(c);
    if (e) {
        if (!r.printed) log_error(&err);
        code = e == ERR_NOMEM ? EXIT_TRANSIENT : EXIT_USAGE;
    } else if (load) {
        code = cli_fail(c, &load_err);
    } else if (serve_requests(&r)) {
        code = EXIT_ALL_GOOD;
    }
    if (code >= 0)
        cli_release(c);
    else
        start_threads(c);
    return code;
}

int cli_parse(struct cli *c, const struct verb *verb, int argc, char **argv, const struct cli_option *options)
{
    return cli_parse_foreign(c, verb, argc, argv, options, NULL, NULL);
}

void cli_release(struct cli *c)
{
    settings_free(c->settings);
    free(c->operands.v);
    for (const struct cli_option *o = c->options; o && o->name; o++) {
        if (o->kind != CLI_STRINGS) continue;
        free(((struct cli_strings *)o->dst)->v);
        *(struct cli_strings *)o->dst = (struct cli_strings){0};
    }
    *c = (struct cli){0};
}

int cli_no_memory(const struct verb *verb)
{
    struct error err = ERROR_INIT;
    const char *format = getenv("LOG_FORMAT");
    bool json = format && *format ? !strcmp(format, "json") : isatty(STDERR_FILENO) != 1;
    log_init(verb->name, LOG_INFO, json ? LOG_JSON : LOG_CONSOLE);
    ERROR(&err, ERR_NOMEM, "could not get memory to start");
    return cli_fail(NULL, &err);
}

int cli_fail(const struct cli *c, const struct error *err)
{
    (void)c; /* the log carries the verb as its role */
    log_error(err);
    return (int)err_exit_code(err->code);
}
