#include "jobrunner/steps.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/atomicfile.h"

/* Exit codes 0 and 3 are good: single inputs that were held are told elsewhere. */
static enum err run_child(struct localrun *r, const char *const *argv, struct error *err)
{
    int code = 0;
    enum err e = localrun_child(r, argv, &code, err);
    if (e || code == EXIT_ALL_GOOD || code == EXIT_PARTIAL) return e;
    if (code == EXIT_INTERRUPTED) return ERROR(err, ERR_INTERRUPTED, "'nightshift %s' was stopped", argv[1]);
    ERROR(err, code == EXIT_TRANSIENT ? ERR_IO : ERR_INTERNAL, "'nightshift %s' ended with exit code %d", argv[1], code);
    error_hint(err, "its words are in %s", r->log);
    return err ? err->code : ERR_INTERNAL;
}

static enum err masters(struct localrun *r, const struct ledger_chunk *c, struct error *err)
{
    (void)c;
    int code = 0;
    /* A night without calibrations has no masters to make: its frames are held one by one, with the reason. */
    enum err e = localrun_child(r, (const char *const[]){"nightshift", "master", r->input, "--out", r->out, NULL}, &code, err);
    if (e || code == EXIT_ALL_GOOD || code == EXIT_PARTIAL || code == EXIT_NO_CALIBRATION || code == EXIT_INPUT) return e;
    if (code == EXIT_INTERRUPTED) return ERROR(err, ERR_INTERRUPTED, "'nightshift master' was stopped");
    ERROR(err, code == EXIT_TRANSIENT ? ERR_IO : ERR_INTERNAL, "'nightshift master' ended with exit code %d", code);
    error_hint(err, "its words are in %s", r->log);
    return err ? err->code : ERR_INTERNAL;
}

/* ---- nightcal ----------------------------------------------------------------------------------------------------- */

/* Catalogues of a night, one path a line. *ret_n of them. */
static enum err list_catalogues(const struct localrun *r, int night, const char *list, glob_t *found, struct error *err)
{
    char pattern[1200];
    snprintf(pattern, sizeof pattern, "%s/%d/*/*_cat.fits", r->out, night);
    memset(found, 0, sizeof *found);
    int g = glob(pattern, 0, NULL, found);
    if (g && g != GLOB_NOMATCH) return ERROR(err, ERR_IO, "could not list '%s'", pattern);
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (!f) return ERROR(err, ERR_NOMEM, "no memory for a list");
    for (size_t i = 0; i < found->gl_pathc; i++) fprintf(f, "%s\n", found->gl_pathv[i]);
    enum err e = fclose(f) ? ERROR(err, ERR_NOMEM, "no memory for a list") : atomicfile_write(list, text, size, err);
    free(text);
    return e;
}

/* Raw file of a catalogue, as nightcal's report says: frames stand in the order of the list. */
static const char *raw_of(const json_t *report, size_t i)
{
    const char *raw = json_string_value(json_object_get(json_array_get(json_object_get(report, "frames"), i), "raw"));
    return raw ? raw : "";
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Store what changed: new zero points, and the rows of frames that have coordinates now. stored: raw name -> all good? */
static enum err store_again(struct localrun *r, const glob_t *found, const json_t *report, json_t *stored, struct error *err)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < found->gl_pathc && !e; i++) {
        json_t *answer = NULL;
        const char *raw = raw_of(report, i);
        e = localrun_ingest(r, found->gl_pathv[i], &answer, err);
        bool good = !e && json_integer_value(json_object_get(answer, "exit_code")) == 0;
        bool so_far = !json_is_false(json_object_get(stored, raw));
        json_object_set_new(stored, raw, json_boolean(so_far && good));
        if (!e && json_is_true(json_object_get(answer, "transient"))) e = ERROR(err, ERR_DATABASE, "could not store '%s'", found->gl_pathv[i]);
        json_decref(answer);
        if (*r->stop) e = ERROR(err, ERR_INTERRUPTED, "stopped");
    }
    return e;
}

static enum err resolve_held(struct localrun *r, const struct ledger_chunk *c, const json_t *stored, struct error *err)
{
    json_t *report = NULL, *frame;
    size_t i;
    enum err e = ledger_report(r->db, r->run, &report, err);
    if (e) return e;
    json_array_foreach(json_object_get(report, "frames"), i, frame)
    {
        const char *outcome = json_string_value(json_object_get(frame, "outcome")), *file = json_string_value(json_object_get(frame, "file"));
        if (e || strcmp(outcome, "held") || !json_is_true(json_object_get(stored, base_name(file)))) continue;
        e = ledger_image_resolve(r->db, c, json_integer_value(json_object_get(frame, "image")), err);
    }
    json_decref(report);
    return e;
}

static enum err one_night(struct localrun *r, const struct ledger_chunk *c, int night, struct error *err)
{
    char list[1200], at_list[1201], report_path[1200];
    glob_t found = {0};
    snprintf(list, sizeof list, "%s/.attempts/run%lld-%d.list", r->out, (long long)r->run, night);
    snprintf(at_list, sizeof at_list, "@%s", list);
    snprintf(report_path, sizeof report_path, "%s/quality/%d_nightcal.json", r->out, night);
    enum err e = list_catalogues(r, night, list, &found, err);
    if (!e && found.gl_pathc) e = run_child(r, (const char *const[]){"nightshift", "nightcal", at_list, "--out", report_path, NULL}, err);
    if (!e && found.gl_pathc) {
        json_t *report = json_load_file(report_path, 0, NULL), *stored = json_object();
        e = report && stored ? store_again(r, &found, report, stored, err) : ERROR(err, ERR_INTERNAL, "cannot read back '%s'", report_path);
        if (!e) e = resolve_held(r, c, stored, err);
        json_decref(report);
        json_decref(stored);
    }
    globfree(&found);
    remove(list);
    return e;
}

static enum err nightcal(struct localrun *r, const struct ledger_chunk *c, struct error *err)
{
    enum err e = ERR_OK;
    for (int i = 0; i < r->nnights && !e; i++) e = one_night(r, c, r->nights[i], err);
    return e;
}

/* ---- the rest ----------------------------------------------------------------------------------------------------- */

static enum err associate(struct localrun *r, const struct ledger_chunk *c, struct error *err)
{
    enum err e = ERR_OK;
    (void)c;
    for (int i = 0; i < r->nnights && !e; i++) {
        char night[16];
        snprintf(night, sizeof night, "%d", r->nights[i]);
        e = run_child(r, (const char *const[]){"nightshift", "associate", "--night", night, NULL}, err);
    }
    return e;
}

/* What the ledger knows of the run, for the report and for those who read files. */
static enum err write_run(struct localrun *r, const char *path, struct error *err)
{
    json_t *o = NULL;
    enum err e = ledger_report(r->db, r->run, &o, err);
    if (e) return e;
    json_object_set_new(o, "input", json_string(r->input));
    char *text = json_dumps(o, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
    e = text ? atomicfile_write(path, text, strlen(text), err) : ERROR(err, ERR_NOMEM, "no memory for a report");
    free(text);
    json_decref(o);
    return e;
}

static enum err report(struct localrun *r, const struct ledger_chunk *c, struct error *err)
{
    char path[1200];
    (void)c;
    snprintf(path, sizeof path, "%s/quality/run%lld.json", r->out, (long long)r->run);
    enum err e = write_run(r, path, err);
    for (int i = 0; i < r->nnights && !e; i++) {
        char night[16];
        snprintf(night, sizeof night, "%d", r->nights[i]);
        e = run_child(r, (const char *const[]){"nightshift", "nightreport", "--out", r->out, "--night", night, "--run", path, NULL}, err);
    }
    return e;
}

const step_fn steps[STAGES] = {
    [STAGE_MASTERS] = masters, [STAGE_NIGHTCAL] = nightcal, [STAGE_ASSOCIATE] = associate, [STAGE_REPORT] = report,
};
