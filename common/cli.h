/* Verbs and their command lines. Each room exports a table of verbs; nightshift.c dispatches.
 *
 *     nightshift VERB [--option value] [--setting-name value] [operands]
 *
 * Every verb knows --help, --version, --config FILE, --print-settings and each setting of the table as an option.
 * An unknown option is a usage error that names the nearest known one.                                              */
#ifndef NIGHTSHIFT_COMMON_CLI_H
#define NIGHTSHIFT_COMMON_CLI_H

#include <stdbool.h>

#include "common/err.h"
#include "common/settings.h"

struct verb {
    const char *name;
    int (*run)(int argc, char **argv); /* argv[0] is the verb; returns an exit code */
    const char *synopsis;              /* "FILE... [--bias FILE] --out DIR" */
    const char *summary;               /* one line */
};

enum cli_kind { CLI_STRING, CLI_INT, CLI_DOUBLE, CLI_FLAG, CLI_STRINGS /* may be repeated: struct cli_strings */ };

struct cli_strings {
    int n;
    const char **v; /* freed by cli_release() */
};

struct cli_option {
    const char *name;  /* "--out"; a second name after a comma: "--out,-o" */
    enum cli_kind kind;
    void *dst;         /* const char **, int *, double *, bool *, struct cli_strings * */
    const char *arg;   /* "DIR", NULL for a flag */
    const char *help;
};

struct cli {
    const struct verb *verb;
    const struct cli_option *options; /* as given: cli_release() frees the lists they filled */
    struct settings *settings;   /* loaded: file, environment, command line; owned */
    struct cli_strings operands;
    int threads;                 /* resolved from settings: >= 1; omp_set_num_threads() is called by cli_parse, once */
};

/* Parse argv, load the settings, start the log. Returned: -1 to go on; else the exit code to return at once (0 after
 * --help or --print-settings, 2 after a printed usage error). options end with {0}. */
int cli_parse(struct cli *c, const struct verb *verb, int argc, char **argv, const struct cli_option *options);
/* A verb with foreign options (extract: -DETECT_THRESH 2) sees each unknown option first: returns how many arguments it
 * took (0: not mine, -1: error printed). */
int cli_parse_foreign(struct cli *c, const struct verb *verb, int argc, char **argv, const struct cli_option *options,
                      int (*foreign)(void *user, int argc, char **argv), void *user);
void cli_release(struct cli *c);

/* Print "nightshift VERB: LINE" (log_error) and return the error's exit code. */
int cli_fail(const struct cli *c, const struct error *err);

/* The same before there are settings: says that memory ran out, in the form LOG_FORMAT asks for; returns EXIT_TRANSIENT. */
int cli_no_memory(const struct verb *verb);

extern const char *const nightshift_version;        /* "0.1.0" */
extern const char *const nightshift_result_version; /* changes when results change: part of the recipe */

#endif
