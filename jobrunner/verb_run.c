/* nightshift run DIR: a folder of raw frames to a catalogue, on this machine. Thin: scan, plan, ledger, stages, table. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/atomicfile.h"
#include "common/cli.h"
#include "common/log.h"
#include "jobrunner/jobrunner_verbs.h"
#include "jobrunner/localrun.h"

/* The one thing a handler may write. */
static volatile sig_atomic_t stop_asked;

static void ask_stop(int sig)
{
    stop_asked = sig;
}

static void catch_signals(void)
{
    struct sigaction a = {.sa_handler = ask_stop, .sa_flags = SA_RESTART | (int)SA_RESETHAND}; /* a second one ends at once */
    sigaction(SIGTERM, &a, NULL);
    sigaction(SIGINT, &a, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* Settings of the command line, for the children: every option that is not one of run's own. */
static void forward_settings(struct localrun *r, int argc, char **argv, const struct cli_option *own)
{
    for (int i = 1; i < argc; i++) {
        bool mine = strncmp(argv[i], "--", 2) != 0;
        for (const struct cli_option *o = own; o->name && !mine; o++) {
            size_t n = strcspn(o->name, ",");
            mine = !strncmp(argv[i], o->name, n) && (!argv[i][n] || argv[i][n] == '=');
            if (mine && !argv[i][n] && o->kind != CLI_FLAG) i++;
        }
        if (mine || r->nforward + 2 >= FORWARD_MAX) continue;
        bool pair = !strchr(argv[i], '=') && i + 1 < argc;
        if (strncmp(argv[i], "--threads", 9)) {
            r->forward[r->nforward++] = argv[i];
            if (pair) r->forward[r->nforward++] = argv[i + 1];
        }
        if (pair) i++;
    }
}

/* ---- the table at the end ------------------------------------------------------------------------------------------ */

static void print_reasons(const json_t *report)
{
    json_t *frame;
    size_t i;
    int shown = 0, more = 0;
    json_array_foreach(json_object_get(report, "frames"), i, frame)
    {
        const char *outcome, *cause, *file, *message;
        if (json_unpack(frame, "{ss ss ss ss}", "outcome", &outcome, "cause", &cause, "file", &file, "message", &message) || !strcmp(outcome, "done")) continue;
        const char *slash = strrchr(file, '/');
        if (shown++ < 20) printf("  %-12s %-36s %s: %s\n", outcome, slash ? slash + 1 : file, cause, message);
        else more++;
    }
    if (more) printf("  ... and %d more (quality/run*.json has them all)\n", more);
}

static void print_nights(struct localrun *r)
{
    for (int i = 0; i < r->nnights; i++) {
        struct db_result *q = NULL;
        char night[16];
        snprintf(night, sizeof night, "%d", r->nights[i]);
        enum err e = db_query(r->db,
                              "SELECT count(*), coalesce(sum(n_det), 0), percentile_cont(0.5) WITHIN GROUP (ORDER BY seeing_arcsec),"
                              " percentile_cont(0.5) WITHIN GROUP (ORDER BY mag_lim), min(magzero), max(magzero),"
                              " (SELECT count(DISTINCT object_id) FROM association WHERE night = $1::int)"
                              " FROM published_ccd WHERE night = $1::int",
                              1, (const char *const[]){night}, &q, NULL);
        if (!e) {
            printf("night %s: %lld CCD images, %lld detections, %lld objects", night, (long long)db_i64(q, 0, 0), (long long)db_i64(q, 0, 1), (long long)db_i64(q, 0, 6));
            if (!db_is_null(q, 0, 2)) printf(", seeing %.2f\"", db_f64(q, 0, 2));
            if (!db_is_null(q, 0, 3)) printf(", depth %.2f mag", db_f64(q, 0, 3));
            if (!db_is_null(q, 0, 4)) printf(", zero points %.2f to %.2f", db_f64(q, 0, 4), db_f64(q, 0, 5));
            printf("\n  report %s/quality/%s/report/index.html\n", r->out, night);
        }
        db_result_free(q);
    }
}

static int print_end(struct localrun *r, const char *state, bool json, double seconds)
{
    struct error err = ERROR_INIT;
    json_t *report = NULL;
    if (ledger_report(r->db, r->run, &report, &err)) {
        log_error(&err);
        return (int)err_exit_code(err.code);
    }
    int done = (int)json_integer_value(json_object_get(report, "done")), held = (int)json_integer_value(json_object_get(report, "held"));
    int quarantined = (int)json_integer_value(json_object_get(report, "quarantined")), open = (int)json_integer_value(json_object_get(report, "open"));
    if (json) {
        json_object_set_new(report, "state", json_string(state));
        json_object_set_new(report, "elapsed_s", json_real(seconds));
        json_dumpf(report, stdout, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
        putchar('\n');
    } else {
        printf("run %lld %s: %d frames done, %d held, %d quarantined", (long long)r->run, state, done, held, quarantined);
        if (open) printf(", %d open", open);
        printf("; %.1f s\n", seconds);
        print_reasons(report);
        print_nights(r);
    }
    json_decref(report);
    return held || quarantined || open ? EXIT_PARTIAL : EXIT_ALL_GOOD;
}

/* ---- the run ------------------------------------------------------------------------------------------------------- */

static enum err scan(const struct cli *c, const char *input, struct night **ret, struct error *err)
{
    struct instruments *set = NULL;
    enum err e = instruments_load(c->settings, &set, err);
    if (!e) e = night_scan(&input, 1, c->settings, set, NULL, NULL, ret, err);
    instruments_free(set);
    return e;
}

static enum err prepare_folders(struct localrun *r, char *log, size_t size, struct error *err)
{
    char path[1200];
    static const char *const folders[] = {".attempts", "quality", "logs"};
    enum err e = ERR_OK;
    for (int i = 0; i < 3 && !e; i++) {
        snprintf(path, sizeof path, "%s/%s", r->out, folders[i]);
        e = make_folders(path, err);
    }
    snprintf(log, size, "%s/logs/run.log", r->out);
    r->log = log;
    return e;
}

static enum err do_stages(struct localrun *r, char *state, struct error *err)
{
    enum err e = ERR_OK;
    for (int i = 0; i < STAGES && !e; i++) {
        double start = clock_seconds();
        e = localrun_stage(r, i, err);
        log_event(LOG_INFO, "stage", LOG_STR("name", stage_names[i]), LOG_STR("status", e ? err_name(e) : "done"), LOG_DOUBLE("elapsed_s", clock_seconds() - start));
    }
    enum err f = ledger_finish(r->db, r->run, state, e ? NULL : err);
    return e ? e : f;
}

static int run(struct cli *c, struct localrun *r, const char *key, bool json)
{
    struct error err = ERROR_INIT;
    struct night *night = NULL;
    struct plan plan = {0};
    char log[1200], own_key[160], state[16] = "";
    bool fresh = false;
    double start = clock_seconds();
    enum err e = prepare_folders(r, log, sizeof log, &err);
    if (!e) e = scan(c, r->input, &night, &err);
    if (!e) e = plan_night(night, c->settings, r->input, r->out, r->workers, &plan, &err);
    if (!e) e = localrun_start(r, &err);
    if (!e) {
        snprintf(own_key, sizeof own_key, "run %.64s", plan.body);
        r->nights = plan.nights;
        r->nnights = plan.nnights;
        r->item_pixels = (double)plan.npix;
        e = ledger_submit(r->db, &plan, key ? key : own_key, &r->run, &fresh, &err);
    }
    if (!e) {
        log_event(LOG_INFO, fresh ? "run planned" : "run goes on where it stood", LOG_INT("run", r->run), LOG_INT("frames", plan.nfiles),
                  LOG_INT("held", plan.nheld), LOG_INT("refused", plan.nrefused), LOG_INT("chunks", plan.nchunks), LOG_INT("workers", r->workers));
        e = do_stages(r, state, &err);
    }
    int code = e ? cli_fail(c, &err) : print_end(r, state, json, clock_seconds() - start);
    localrun_end(r);
    plan_release(&plan);
    night_free(night);
    return code;
}

int verb_run(int argc, char **argv)
{
    struct cli c;
    struct localrun r = {.stop = &stop_asked};
    struct error err = ERROR_INIT;
    const char *out = NULL, *key = NULL;
    bool json = false;
    int workers = 0;
    const struct cli_option options[] = {
        {"--out,-o", CLI_STRING, &out, "DIR", "archive root: products, masters, reports (default ./nightshift-archive)"},
        {"--workers", CLI_INT, &workers, "N", "frames in work at once (default: --threads)"},
        {"--key", CLI_STRING, &key, "TEXT", "name of the run: the same key goes on with it (default: made from files and settings)"},
        {"--json", CLI_FLAG, &json, NULL, "print the result as JSON"},
        {0},
    };
    const struct verb *verb = jobrunner_verbs;
    while (strcmp(verb->name, "run")) verb++;
    int done = cli_parse(&c, verb, argc, argv, options);
    if (done >= 0) return done;
    char *full_out = NULL, *full_in = c.operands.n == 1 ? realpath(c.operands.v[0], NULL) : NULL;
    if (!out) out = "nightshift-archive";
    if (c.operands.n != 1) ERROR(&err, ERR_USAGE, "name one folder of raw frames");
    else if (!full_in) error_from_errno(&err, errno, c.operands.v[0], "cannot read");
    else if (!make_folders(out, &err) && !(full_out = realpath(out, NULL))) error_from_errno(&err, errno, out, "cannot use");
    if (err.code) {
        done = cli_fail(&c, &err);
    } else {
        r.settings = c.settings;
        r.input = full_in;
        r.out = full_out;
        r.workers = workers > 0 ? workers : c.threads;
        forward_settings(&r, argc, argv, options);
        catch_signals();
        done = run(&c, &r, key, json);
    }
    free(full_in);
    free(full_out);
    cli_release(&c);
    return done;
}
