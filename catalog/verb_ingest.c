/* nightshift ingest FILE... | --stdin */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "catalog/associate.h"
#include "catalog/catalog_verbs.h"
#include "catalog/ingest.h"
#include "common/log.h"

struct job {
    struct cli cli;
    bool from_stdin, staged, no_associate, json;
    const char *root;
    struct db *db;
    struct ingester ingester;
    struct instruments *instruments;
    int64_t stored, already, rows;
    struct error err;
};

/* What one input asks for. */
struct input {
    const char *file, *root;   /* file NULL: only the outcome of an image */
    struct ingest_claim claim;
    bool claimed;
    double magzero, magzero_err;
    const char *magzero_kind;  /* NULL: as the file says */
};

/* What a signal handler may touch. */
static volatile sig_atomic_t stop_asked, null_fd = -1;

/* Standard input ends here and now: a handler that only raised a flag could run just before a read that then waits for
 * ever. */
static void ask_stop(int sig)
{
    stop_asked = sig;
    dup2((int)null_fd, STDIN_FILENO);
}

static void catch_signals(void)
{
    struct sigaction a = {.sa_handler = ask_stop}; /* without SA_RESTART: a read that waits ends */
    null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    sigaction(SIGTERM, &a, NULL);
    sigaction(SIGINT, &a, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* ---- one input ------------------------------------------------------------------------------------------------------ */

/* Live light curves: the CCD is matched right away. What fails here is made good by the night's association: the rows are
 * stored, so it is no failure of the input. */
static void associate_now(struct job *j, const struct catfile *c, const struct ingest_result *r)
{
    struct associate_result a = {0};
    struct error err = ERROR_INIT;
    enum err e = associate_ccd(j->db, j->cli.settings, j->instruments, r->exposure_id, c->ccd, r->recipe_id, r->version, &a, &err);
    if (e) log_text(LOG_WARN, "not associated yet: %s", err.message);
}

static enum err store(struct job *j, const struct input *in, struct ingest_result *ret, struct catfile *c, struct error *err)
{
    const struct ingest_claim *claim = in->claimed ? &in->claim : NULL;
    if (!in->file) return claim ? ingest_outcome(&j->ingester, claim, err) : ERROR(err, ERR_USAGE, "the line names no file and no chunk");
    enum err e = catfile_read(in->file, in->root, j->cli.settings, j->instruments, c, err);
    if (e) return e;
    if (in->magzero_kind) {
        c->magzero = in->magzero;
        c->magzero_err = in->magzero_err;
        snprintf(c->magzero_kind, sizeof c->magzero_kind, "%s", in->magzero_kind);
    }
    if (c->dropped) log_event(LOG_WARN, "rows without a sky position left out", LOG_STR("file", in->file), LOG_INT("rows", c->dropped));
    if (*c->list && claim) e = ERROR(err, ERR_UNSUPPORTED, "forced photometry is no image of a run");
    else if (*c->list) e = ingest_forced(&j->ingester, c, !j->staged, ret, err);
    else e = ingest_ccd(&j->ingester, c, claim, !j->staged, ret, err);
    if (!e && ret->already && ret->rows != c->n)
        log_event(LOG_WARN, "the file differs from what was stored from the same inputs; the first write stands", LOG_STR("file", in->file), LOG_INT("rows", c->n), LOG_INT("stored", ret->rows));
    if (!e && !*c->list && !j->no_associate && !(ret->already && ret->associated)) associate_now(j, c, ret);
    if (e) error_subject(err, in->file, 0);
    return e;
}

static void print_json(const struct input *in, enum err e, const struct ingest_result *r, const struct catfile *c, double seconds, const struct error *err)
{
    char line[1500];
    json_t *o = json_pack("{ss? ss si sf}", "file", in->file, "status", e ? "error" : !in->file ? "noted" : r->already ? "already" : "stored", "exit_code",
                          (int)err_exit_code(e), "elapsed_ms", seconds * 1e3);
    if (in->claimed) json_object_set_new(o, "image", json_integer(in->claim.image));
    if (e) {
        json_object_set_new(o, "error", json_string(err_name(e)));
        json_object_set_new(o, "message", json_string(error_line(err, line, sizeof line)));
        json_object_set_new(o, "transient", json_boolean(err_is_transient(e)));
    } else if (in->file) {
        json_t *more = json_pack("{sI si ss si sI si sb}", "exposure_id", (json_int_t)r->exposure_id, "ccd", c->ccd, "recipe", c->recipe, "version",
                                 r->version, "rows", (json_int_t)r->rows, "night", c->night, "zeropoint_changed", r->zeropoint_changed);
        if (more) json_object_update(o, more);
        json_decref(more);
    }
    char *text = json_dumps(o, JSON_COMPACT | JSON_PRESERVE_ORDER);
    printf("%s\n", text ? text : "{\"status\":\"error\",\"error\":\"nomem\"}");
    fflush(stdout);
    free(text);
    json_decref(o);
}

static void print_text(const struct input *in, const struct ingest_result *r, const struct catfile *c)
{
    printf(*c->list ? "%s: %lld forced measurements %s (night %d, exposure %lld, ccd %d, recipe %s, version %d)\n" : "%s: %lld detections %s (night %d, exposure %lld, ccd %d, recipe %s, version %d)\n", in->file, (long long)r->rows,
           r->already ? "were stored before" : "stored", c->night, (long long)r->exposure_id, c->ccd, c->recipe, r->version);
}

static enum err one(struct job *j, const struct input *in)
{
    struct ingest_result r = {0};
    struct catfile c = {0};
    struct error err = ERROR_INIT;
    double start = clock_seconds();
    enum err e = store(j, in, &r, &c, &err);
    j->stored += !e && in->file && !r.already;
    j->already += !e && r.already;
    j->rows += e || r.already ? 0 : r.rows;
    if (e) log_error(&err);
    if (j->json)
        print_json(in, e, &r, &c, clock_seconds() - start, &err);
    else if (!e)
        print_text(in, &r, &c);
    catfile_release(&c);
    return e;
}

/* ---- many inputs ---------------------------------------------------------------------------------------------------- */

/* Exit code of the inputs so far: PRODUCT's order, without keeping each of them. */
struct outcome {
    int64_t n;
    enum err only;            /* of one input */
    enum err seen[32];        /* one of each kind */
    int nseen;
};

static void add_outcome(struct outcome *o, enum err e)
{
    o->only = e;
    o->n++;
    for (int i = 0; i < o->nseen; i++)
        if (o->seen[i] == e) return;
    if (o->nseen < 32) o->seen[o->nseen++] = e;
}

static int outcome_code(const struct outcome *o)
{
    if (o->n == 0) return EXIT_ALL_GOOD;
    if (o->n == 1 || o->nseen > 1) return (int)err_exit_code_of_many(o->seen, o->nseen);
    return (int)err_exit_code_of_many((const enum err[]){o->only, o->only}, 2);
}

static enum err parse_line(const char *line, json_t **ret, struct input *in, struct error *err)
{
    json_error_t why;
    json_int_t chunk = 0, fence = 0, image = 0;
    const char *outcome = "done", *cause = "", *message = "", *root = NULL, *file = NULL, *kind = "absolute";
    double zero = 0, zero_err = 0;
    json_t *o = *ret = json_loads(line, JSON_REJECT_DUPLICATES, &why);
    if (!o) return ERROR(err, ERR_USAGE, "the line is not JSON: %s", why.text);
    if (json_unpack_ex(o, &why, 0, "{s?s s?s s?I s?I s?I s?s s?s s?s s?F s?F s?s}", "file", &file, "root", &root, "chunk", &chunk, "fence",
                       &fence, "image", &image, "outcome", &outcome, "cause", &cause, "message", &message, "magzero", &zero, "magzero_err",
                       &zero_err, "magzero_kind", &kind))
        return ERROR(err, ERR_USAGE, "the line is not understood: %s", why.text);
    if (strcmp(kind, "absolute") && strcmp(kind, "relative")) return ERROR(err, ERR_USAGE, "magzero_kind is '%s', not absolute or relative", kind);
    in->file = file;
    if (root) in->root = root;
    in->claim = (struct ingest_claim){chunk, fence, image, outcome, cause, message};
    in->claimed = json_object_get(o, "chunk") != NULL;
    in->magzero = zero;
    in->magzero_err = json_object_get(o, "magzero_err") ? zero_err : (double)__builtin_nanf("");
    in->magzero_kind = json_object_get(o, "magzero") ? kind : NULL;
    return ERR_OK;
}

static int from_lines(struct job *j)
{
    struct outcome all = {0};
    char *line = NULL;
    size_t room = 0;
    while (!stop_asked && getline(&line, &room, stdin) > 0) {
        struct input in = {.root = j->root};
        struct error err = ERROR_INIT;
        json_t *o = NULL;
        if (!line[strspn(line, " \t\r\n")]) continue;
        enum err e = parse_line(line, &o, &in, &err);
        if (e) {
            log_error(&err);
            print_json(&in, e, NULL, NULL, 0, &err);
        } else {
            e = one(j, &in);
        }
        json_decref(o);
        add_outcome(&all, e);
    }
    free(line);
    if (stop_asked) add_outcome(&all, ERR_INTERRUPTED);
    return stop_asked && all.n == 1 ? EXIT_INTERRUPTED : outcome_code(&all);
}

static int from_files(struct job *j)
{
    struct outcome all = {0};
    for (int i = 0; i < j->cli.operands.n && !stop_asked; i++) add_outcome(&all, one(j, &(struct input){.file = j->cli.operands.v[i], .root = j->root}));
    if (stop_asked) add_outcome(&all, ERR_INTERRUPTED);
    return outcome_code(&all);
}

/* ---- the verb ------------------------------------------------------------------------------------------------------- */

static enum err start(struct job *j)
{
    if (j->from_stdin == (j->cli.operands.n > 0)) {
        ERROR(&j->err, ERR_USAGE, "expected catalogue files, or --stdin");
        return ERR_USAGE;
    }
    enum err e = instruments_load(j->cli.settings, &j->instruments, &j->err);
    if (!e) e = db_open_ready(j->cli.settings, "nightshift ingest", &j->db, &j->err);
    if (!e) ingester_init(&j->ingester, j->db, j->cli.settings);
    return e;
}

int verb_ingest(int argc, char **argv)
{
    static const struct verb verb = {"ingest", verb_ingest, "FILE..._cat.fits | --stdin", "store catalogues of reduce, each exactly once"};
    struct job j = {.err = ERROR_INIT};
    const struct cli_option options[] = {
        {"--stdin", CLI_FLAG, &j.from_stdin, NULL, "read one JSON object per line, answer each with one line"},
        {"--root", CLI_STRING, &j.root, "DIR", "archive root: paths are stored relative to it"},
        {"--staged", CLI_FLAG, &j.staged, NULL, "store without publishing"},
        {"--no-associate", CLI_FLAG, &j.no_associate, NULL, "leave matching to `nightshift associate`"},
        {"--json", CLI_FLAG, &j.json, NULL, "print JSON lines for files too"},
        {0},
    };
    int code = cli_parse(&j.cli, &verb, argc, argv, options);
    if (code >= 0) return code;
    catch_signals();
    j.json |= j.from_stdin;
    double began = clock_seconds();
    if (start(&j)) {
        code = cli_fail(&j.cli, &j.err);
    } else {
        code = j.from_stdin ? from_lines(&j) : from_files(&j);
        log_event(j.stored + j.already ? LOG_INFO : LOG_DEBUG, "ingest done", LOG_INT("stored", j.stored), LOG_INT("already", j.already), LOG_INT("rows", j.rows),
                  LOG_DOUBLE("elapsed_ms", 1e3 * (clock_seconds() - began)));
    }
    ingester_release(&j.ingester);
    db_close(j.db);
    instruments_free(j.instruments);
    cli_release(&j.cli);
    return code;
}
