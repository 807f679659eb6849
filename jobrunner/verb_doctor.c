/* nightshift doctor: is this machine fit for the work? */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/cli.h"
#include "common/log.h"
#include "jobrunner/doctor.h"
#include "jobrunner/jobrunner_verbs.h"

#ifdef __clang__
#define COMPILER __VERSION__
#else
#define COMPILER "gcc " __VERSION__
#endif

static const char *const grades[] = {"ok", "warn", "bad"};

static void count(const struct doctor *d, int ret[3])
{
    for (int i = 0; i < d->n; i++) ret[d->finding[i].grade]++;
}

static void print_lines(const struct doctor *d)
{
    int n[3] = {0, 0, 0};
    count(d, n);
    for (int i = 0; i < d->n; i++) {
        const struct finding *f = &d->finding[i];
        printf("%-4s  %-19s  %s%s%s\n", grades[f->grade], f->what, f->value, *f->todo ? "  -> " : "", f->todo);
    }
    printf("\n%d ok, %d warn, %d bad\n", n[GRADE_OK], n[GRADE_WARN], n[GRADE_BAD]);
}

static enum err print_json(const struct doctor *d, struct error *err)
{
    int n[3] = {0, 0, 0};
    json_t *list = json_array();
    count(d, n);
    for (int i = 0; i < d->n; i++) {
        const struct finding *f = &d->finding[i];
        json_array_append_new(list, json_pack("{ss ss ss ss}", "grade", grades[f->grade], "what", f->what, "value", f->value, "todo", f->todo));
    }
    json_t *j = json_pack("{ss so si si si}", "program", nightshift_version, "findings", list, "ok", n[GRADE_OK], "warn", n[GRADE_WARN], "bad", n[GRADE_BAD]);
    if (!j || (int)json_array_size(list) != d->n) {
        json_decref(j);
        return ERROR(err, ERR_NOMEM, "could not get memory for the JSON document");
    }
    int failed = json_dumpf(j, stdout, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
    json_decref(j);
    putchar('\n');
    return failed ? ERROR(err, ERR_IO, "could not write the JSON document") : ERR_OK;
}

/* Settings before what a retry may cure. */
static int exit_code(const struct doctor *d)
{
    int code = EXIT_ALL_GOOD;
    for (int i = 0; i < d->n; i++) {
        if (d->finding[i].grade != GRADE_BAD) continue;
        if (err_exit_code(d->finding[i].code) == EXIT_USAGE) return EXIT_USAGE;
        code = EXIT_TRANSIENT;
    }
    return code;
}

static int examine(const struct cli *c, struct doctor *d, bool json)
{
    struct error err = ERROR_INIT;
    doctor_add(d, GRADE_OK, "nightshift", NULL, "%s, results %s, compiled by " COMPILER, nightshift_version, nightshift_result_version);
    doctor_libraries(d);
    doctor_machine(d);
    doctor_disks(d);
    doctor_database(d);
    doctor_setup(d);
    enum err e = ERR_OK;
    if (json) e = print_json(d, &err);
    else print_lines(d);
    if (!e && (fflush(stdout) || ferror(stdout))) e = ERROR(&err, ERR_IO, "could not write to standard output");
    return e ? cli_fail(c, &err) : exit_code(d);
}

int doctor_main(int argc, char **argv)
{
    static const struct verb verb = {"doctor", doctor_main, DOCTOR_SYNOPSIS, DOCTOR_SUMMARY};
    const char *out = "nightshift-archive";
    bool json = false;
    const struct cli_option options[] = {
        {"--out,-o", CLI_STRING, &out, "DIR", "archive root whose disk is looked at (default ./nightshift-archive)"},
        {"--json", CLI_FLAG, &json, NULL, "one JSON document instead of lines"},
        {0},
    };
    struct cli c;
    struct error err = ERROR_INIT;
    int code = cli_parse(&c, &verb, argc, argv, options);
    if (code >= 0) return code;
    struct doctor *d = c.operands.n ? NULL : calloc(1, sizeof *d);
    if (d) {
        d->settings = c.settings;
        d->threads = c.threads;
        d->archive = out;
        code = examine(&c, d, json);
    } else {
        if (c.operands.n) ERROR(&err, ERR_USAGE, "doctor takes no operands");
        else ERROR(&err, ERR_NOMEM, "could not get memory for the findings");
        code = cli_fail(&c, &err);
    }
    free(d);
    cli_release(&c);
    return code;
}
