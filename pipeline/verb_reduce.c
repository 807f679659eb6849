/* nightshift reduce FILE... --out DIR: raw frames in, calibrated frames and catalogues out. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/atomicfile.h"
#include "common/cli.h"
#include "common/log.h"
#include "pipeline/interrupt.h"
#include "pipeline/pipeline_verbs.h"
#include "pipeline/reduction.h"
#include "pipeline/stack.h"
#include "pipeline/stages.h"

struct reduce_options {
    const char *out, *masters, *without, *refs;
    bool from_stdin;
    struct cli_strings given[MASTER_KINDS];
};

/* ---- batches: as many plans as the memory holds at once ------------------------------------------------------------- */

static int tasks_of(const struct reduce_work *w, int plan)
{
    int n = 0;
    for (int i = 0; i < w->ntask; i++) n += reduce_task_is_open(&w->task[i]) && w->task[i].plan == plan;
    return n;
}

/* Plans [first, end) that are loaded together: enough frames for every thread, no more memory than the limit. */
static int batch_end(const struct reduce_work *w, int first, int threads, size_t limit)
{
    size_t bytes = 0;
    int frames = 0, p = first;
    while (p < w->nplan) {
        size_t more = exposure_plan_bytes(&w->plan[p]);
        if (p > first && (bytes + more > limit || frames >= 4 * threads)) break;
        bytes += more;
        frames += tasks_of(w, p);
        p++;
    }
    return p;
}

static void load_plan(struct reduction *r, int p)
{
    struct error err = ERROR_INIT;
    if (interrupt_asked() || !tasks_of(&r->work, p) || !exposure_plan_load(&r->work.plan[p], &err)) return;
    for (int i = 0; i < r->work.ntask; i++)
        if (reduce_task_is_open(&r->work.task[i]) && r->work.task[i].plan == p) {
            reduce_task_fail(&r->work.task[i], err.code, &err);
            progress_step(r->progress, 1);
        }
}

static void run_batch(struct reduction *r, int first, int end, int *index)
{
    int n = 0, threads = omp_get_max_threads();
    for (int p = first; p < end; p++) load_plan(r, p);
    for (int p = first; p < end; p++)
        for (int i = 0; i < r->work.ntask; i++)
            if (reduce_task_is_open(&r->work.task[i]) && r->work.task[i].plan == p) index[n++] = i;
    if (n < threads) { /* few frames: the threads share the rows of each */
        for (int i = 0; i < n; i++) reduction_frame(r, &r->work.task[index[i]]);
    } else {
        /* Many: each thread takes a frame at a time. A task is touched by the thread that has it alone. */
#pragma omp parallel for default(none) shared(r, index, n) schedule(dynamic, 1)
        for (int i = 0; i < n; i++) reduction_frame(r, &r->work.task[index[i]]);
    }
    for (int p = first; p < end; p++) exposure_plan_unload(&r->work.plan[p]);
}

static enum err run_all(struct reduction *r, struct error *err)
{
    struct reduce_work *w = &r->work;
    int64_t open = 0, npix = 0;
    int *index = calloc((size_t)w->ntask + 1, sizeof *index);
    if (!index) return ERROR(err, ERR_NOMEM, "no memory for %d frames", w->ntask);
    for (int i = 0; i < w->ntask; i++)
        if (reduce_task_is_open(&w->task[i])) {
            open++;
            npix += w->task[i].npix;
        }
    r->progress = open ? progress_new("frames", open, (double)npix / (double)open) : NULL;
    for (int p = 0; p < w->nplan;) {
        int end = batch_end(w, p, omp_get_max_threads(), memory_limit_bytes(r->request.settings));
        run_batch(r, p, end, index);
        p = end;
    }
    progress_free(r->progress);
    r->progress = NULL;
    free(index);
    return ERR_OK;
}

/* ---- the command ---------------------------------------------------------------------------------------------------- */

static bool kinds_of(const char *list, bool ret[MASTER_KINDS])
{
    for (const char *p = list; p && *p;) {
        size_t n = strcspn(p, ",");
        bool known = false;
        for (int k = 0; k < MASTER_KINDS; k++) {
            const char *name = frame_type_name((enum frame_type)(FRAME_BIAS + k));
            if (strlen(name) == n && !strncmp(p, name, n)) ret[k] = known = true;
        }
        if (!known) return false;
        p += n + (p[n] == ',');
    }
    return true;
}

static enum err gather_masters(struct reduction *r, const struct reduce_options *o, struct error *err)
{
    char folder[1024];
    enum err code = ERR_OK;
    if (o->masters) snprintf(folder, sizeof folder, "%s", o->masters);
    else snprintf(folder, sizeof folder, "%s/masters", o->out);
    code = master_list_add_folder(&r->request.masters, folder, err);
    for (int k = 0; k < MASTER_KINDS && !code; k++)
        for (int i = 0; i < o->given[k].n && !code; i++) code = master_list_add_file(&r->request.explicit_masters[k], o->given[k].v[i], err);
    return code;
}

static enum err check_request(struct reduction *r, const struct cli *c, const struct reduce_options *o, struct error *err)
{
    if (!o->out) return ERROR(err, ERR_USAGE, "say where the products go: --out DIR");
    if (!c->operands.n && !o->from_stdin) return ERROR(err, ERR_USAGE, "name raw frames or a folder of them");
    if (c->operands.n && o->from_stdin) return ERROR(err, ERR_USAGE, "frames come from standard input or from the command line, not both");
    if (!kinds_of(o->without, r->request.without)) return ERROR(err, ERR_USAGE, "--without takes bias, dark, flat, separated by commas");
    r->request.out = o->out;
    r->request.settings = c->settings;
    return ERR_OK;
}

/* Tell what was found out before the first frame; failures found so early are told now. */
static void tell_plan(const struct reduction *r, const struct file_list *files)
{
    const struct reduce_work *w = &r->work;
    int done = 0, open = 0;
    for (int i = 0; i < w->ntask; i++) {
        done += w->task[i].done;
        open += reduce_task_is_open(&w->task[i]);
        if (w->task[i].error) log_error(w->task[i].error);
    }
    log_event(LOG_INFO, "frames to reduce", LOG_INT("files", files->n), LOG_INT("frames", open), LOG_INT("already_done", done),
              LOG_INT("not_light", w->passed_over), LOG_INT("products", w->products));
    if (w->assumed_longitude)
        log_text(LOG_WARN, "no longitude in %d frames: their night is that of longitude 0 (set site.longitude)", w->assumed_longitude);
}

static void tell_sums(const struct reduction *r, double seconds)
{
    char stages[256] = "";
    for (int i = 0; reduce_stages[i].name; i++) {
        size_t n = strlen(stages);
        snprintf(stages + n, sizeof stages - n, "%s%s %.0f ms", i ? ", " : "", reduce_stages[i].name, r->stage_ms[i]);
    }
    log_event(LOG_INFO, "done", LOG_INT("frames", r->reduced), LOG_INT("objects", r->objects), LOG_STR("stages", stages), LOG_DOUBLE("elapsed_ms", 1000 * seconds));
}

static int exit_code_of(const struct reduction *r)
{
    const struct reduce_work *w = &r->work;
    enum err *codes = calloc((size_t)w->ntask + 1, sizeof *codes);
    if (!codes) return EXIT_TRANSIENT;
    for (int i = 0; i < w->ntask; i++) codes[i] = w->task[i].code;
    int code = err_exit_code_of_many(codes, w->ntask);
    free(codes);
    return code;
}

static int run_reduce(struct cli *c, const struct reduce_options *o, struct reduction *r)
{
    struct error err = ERROR_INIT;
    struct file_list files = {0};
    struct instruments *set = NULL;
    double start = clock_seconds();
    int exit_code;
    struct reference_file *refs = NULL;
    enum err code = check_request(r, c, o, &err);
    if (!code) code = instruments_load(c->settings, &set, &err);
    if (!code && o->refs) code = reference_file_read(o->refs, &refs, &err);
    r->request.refs = refs;
    r->request.instruments = set;
    if (o->from_stdin) {
        if (!code) code = gather_masters(r, o, &err);
        exit_code = code ? cli_fail(c, &err) : reduction_feed(r);
        reduce_work_release(&r->work);
        instruments_free(set);
        reference_file_free(refs);
        return exit_code;
    }
    if (!code) code = file_list_collect(c->operands.v, c->operands.n, &files, &err);
    if (!code) code = gather_masters(r, o, &err);
    if (!code) code = reduce_work_out(&r->request, &files, &r->work, &err);
    if (!code && !r->work.ntask) {
        code = ERROR(&err, ERR_NOT_FOUND, files.n == 1 ? "it is no light frame" : "no light frame among %d files", files.n);
        error_subject(&err, c->operands.v[0], 0);
    }
    if (!code) {
        tell_plan(r, &files);
        code = run_all(r, &err);
    }
    if (code) exit_code = cli_fail(c, &err);
    else {
        exit_code = exit_code_of(r);
        if (interrupt_asked()) log_text(LOG_WARN, "interrupted: the frames finished so far are kept; the same command goes on");
        tell_sums(r, clock_seconds() - start);
    }
    reduce_work_release(&r->work);
    file_list_release(&files);
    instruments_free(set);
    reference_file_free(refs);
    return exit_code;
}

int verb_reduce(int argc, char **argv)
{
    static const struct verb verb = {"reduce", verb_reduce, "FILE... | DIR --out DIR", "raw frames -> calibrated frames and catalogues"};
    struct reduce_options o = {0};
    const struct cli_option options[] = {
        {"--out,-o", CLI_STRING, &o.out, "DIR", "products are written below DIR"},
        {"--bias", CLI_STRINGS, &o.given[0], "FILE", "use this master bias (once per CCD)"},
        {"--dark", CLI_STRINGS, &o.given[1], "FILE", "use this master dark (once per CCD)"},
        {"--flat", CLI_STRINGS, &o.given[2], "FILE", "use this master flat (once per CCD and filter)"},
        {"--masters", CLI_STRING, &o.masters, "DIR", "choose masters from DIR (default: OUT/masters)"},
        {"--without", CLI_STRING, &o.without, "LIST", "skip these steps: bias, dark, flat (commas between); recorded in the header"},
        {"--stdin", CLI_FLAG, &o.from_stdin, NULL, "JSON lines {\"file\": PATH} in, a JSON line with its CCDs out; masters stay loaded"},
        {"--refs", CLI_STRING, &o.refs, "FILE", "reference stars: sky coordinates and zero points are fitted to them (docs/refcat.md)"},
        {0},
    };
    struct cli c = {0};
    struct reduction *r = calloc(1, sizeof *r);
    if (!r) return cli_no_memory(&verb);
    int exit_code = cli_parse(&c, &verb, argc, argv, options);
    if (exit_code < 0) {
        interrupt_watch();
        exit_code = run_reduce(&c, &o, r);
        for (int k = 0; k < MASTER_KINDS; k++) master_list_release(&r->request.explicit_masters[k]);
        master_list_release(&r->request.masters);
        cli_release(&c);
    }
    free(r);
    return exit_code;
}
