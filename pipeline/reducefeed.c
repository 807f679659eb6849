/* reduce --stdin: a child of the job runner that is fed frames.
 *
 *     lines that wait --batch--> files looked at --> tasks --runs--> frames abreast --> answers in the order of the lines
 *
 * One line alone has all threads for its frame. When more wait, each thread takes a frame: reading and writing of one then
 * hides behind the arithmetic of another, and no thread waits for the serial parts of a frame. Memory is bounded: no more
 * frames are in flight than there are threads and memory.limit has room for.                                           */
#include <errno.h>
#include <omp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "pipeline/interrupt.h"
#include "pipeline/reduction.h"
#include "pipeline/stack.h"

#define LINE_LENGTH_MAX  (1 << 20)
#define BATCH_PER_THREAD 4     /* lines taken at once: enough that threads seldom wait for the last frame of a batch */
#define FRAME_BYTES      32    /* of memory for each pixel of a frame in flight, from its raw pixels to its products */

/* ---- lines ------------------------------------------------------------------------------------------------------- */

/* Standard input by lines, telling whether one waits: stdio cannot. */
struct lines {
    char *buffer;
    size_t start, end; /* what is not used yet */
    bool ended;
};

/* Returned: bytes came, or the end did; false: none now (wait false), or a signal asks to stop. */
static bool more_input(struct lines *l, bool wait)
{
    struct pollfd fd = {.fd = STDIN_FILENO, .events = POLLIN};
    memmove(l->buffer, l->buffer + l->start, l->end - l->start);
    l->end -= l->start;
    l->start = 0;
    for (;;) {
        int n = interrupt_asked() ? 0 : poll(&fd, 1, wait ? -1 : 0);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        ssize_t got = read(STDIN_FILENO, l->buffer + l->end, LINE_LENGTH_MAX - l->end);
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (got > 0) l->end += (size_t)got;
        else l->ended = true;
        return true;
    }
}

/* The next line without its end, valid until the next call; NULL: none (now, if wait is false). A line longer than the
 * buffer is cut: its parts are no JSON. */
static const char *next_line(struct lines *l, bool wait)
{
    for (;;) {
        char *line = l->buffer + l->start, *stop = memchr(line, '\n', l->end - l->start);
        bool last = l->ended || l->end - l->start == LINE_LENGTH_MAX;
        if (!stop && last && l->end > l->start) stop = l->buffer + l->end;
        if (stop) {
            l->start = (size_t)(stop - l->buffer) + (stop < l->buffer + l->end);
            *stop = 0;
            return line;
        }
        if (l->ended || !more_input(l, wait)) return NULL;
    }
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

/* A line on its way: the tasks of its file are [first, end) of the work. */
struct fed {
    char *file;      /* NULL: the line named none */
    enum err code;
    struct error err;
    int first, end;
    int open;        /* tasks not yet through */
};

struct batch {
    struct fed *fed;
    int n, answered;
};

static json_t *ccd_json(const struct reduction *r, const struct reduce_task *t)
{
    char path[1600], line[1600];
    json_t *o = json_pack("{si si si ss si}", "hdu", t->hdu, "ccd", t->ccd, "night", t->night, "status",
                          t->code ? "error" : t->done ? "already" : "done", "exit_code", (int)err_exit_code(t->code));
    if (t->code) {
        json_object_set_new(o, "error", json_string(err_name(t->code)));
        if (t->error && t->error->stage) json_object_set_new(o, "stage", json_string(t->error->stage));
        json_object_set_new(o, "message", json_string(t->error ? error_line(t->error, line, sizeof line) : err_name(t->code)));
        json_object_set_new(o, "transient", json_boolean(err_is_transient(t->code)));
    } else {
        snprintf(path, sizeof path, "%s/%s", r->request.out, t->catalogue);
        json_object_set_new(o, "catalogue", json_string(path));
    }
    return o;
}

static void answer(const struct reduction *r, const struct fed *f)
{
    char line[1600];
    enum err code = f->code;
    json_t *o = json_object(), *ccds = json_array();
    json_object_set_new(o, "file", json_string(f->file ? f->file : ""));
    if (code) {
        json_object_set_new(o, "error", json_string(err_name(code)));
        json_object_set_new(o, "message", json_string(error_line(&f->err, line, sizeof line)));
        json_object_set_new(o, "transient", json_boolean(err_is_transient(code)));
    }
    json_object_set_new(o, "exit_code", json_integer((int)err_exit_code(code)));
    for (int i = f->first; i < f->end && !code; i++) json_array_append_new(ccds, ccd_json(r, &r->work.task[i]));
    json_object_set_new(o, "ccds", ccds);
    char *text = json_dumps(o, JSON_COMPACT | JSON_PRESERVE_ORDER);
    printf("%s\n", text ? text : "{\"error\":\"nomem\",\"exit_code\":20,\"transient\":true,\"ccds\":[]}");
    fflush(stdout);
    free(text);
    json_decref(o);
}

/* Answers leave in the order of the lines, each as soon as its frames and all before it are through.
 * Threads: the caller holds the lock. */
static void answer_ready(const struct reduction *r, struct batch *b)
{
    while (b->answered < b->n && !b->fed[b->answered].open) answer(r, &b->fed[b->answered++]);
}

/* ---- a batch ----------------------------------------------------------------------------------------------------- */

static void take_line(const char *line, struct fed *f)
{
    json_error_t why;
    json_t *o = json_loads(line, JSON_REJECT_DUPLICATES, &why);
    const char *file = json_string_value(json_object_get(o, "file"));
    *f = (struct fed){.file = file ? strdup(file) : NULL};
    if (!file) f->code = ERROR(&f->err, ERR_USAGE, "the line is no JSON object with a 'file': %s", o ? "no file" : why.text);
    else if (!f->file) f->code = ERROR(&f->err, ERR_NOMEM, "no memory for a line");
    json_decref(o);
}

/* What each line's file holds becomes tasks. */
static enum err look_at_files(struct reduction *r, struct batch *b, struct error *err)
{
    const char **path = calloc((size_t)b->n, sizeof *path);
    int *end = calloc((size_t)b->n, sizeof *end);
    enum err code = path && end ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory for %d files", b->n);
    for (int i = 0; i < b->n && !code; i++) path[i] = b->fed[i].file;
    if (!code) code = reduce_work_add(&r->request, &r->work, path, b->n, end, err);
    for (int i = 0; i < b->n && !code; i++) {
        struct fed *f = &b->fed[i];
        f->first = i ? end[i - 1] : 0;
        f->end = end[i];
        for (int k = f->first; k < f->end; k++) f->open += reduce_task_is_open(&r->work.task[k]);
        if (f->code || f->first < f->end) continue;
        f->code = ERROR(&f->err, ERR_UNSUPPORTED, "it is no light frame");
        error_subject(&f->err, f->file, 0);
    }
    free(path);
    free(end);
    return code;
}

/* Tasks [first, ret) may be in work together: their plans fit into memory, no two make the same product. wanted: 1 for
 * each plan among them. */
static int run_end(const struct reduction *r, int first, char *wanted)
{
    const struct reduce_work *w = &r->work;
    size_t held = 0, limit = memory_limit_bytes(r->request.settings);
    memset(wanted, 0, (size_t)w->nplan);
    for (int i = first; i < w->ntask; i++) {
        const struct reduce_task *t = &w->task[i];
        if (!reduce_task_is_open(t)) continue;
        for (int k = first; k < i; k++)
            if (reduce_task_is_open(&w->task[k]) && !strcmp(w->task[k].catalogue, t->catalogue)) return i;
        size_t more = wanted[t->plan] ? 0 : exposure_plan_bytes(&w->plan[t->plan]);
        if (held && held + more > limit) return i;
        held += more;
        wanted[t->plan] = 1;
    }
    return w->ntask;
}

/* Unload what was loaded before and is not wanted now, as far as memory asks for it. */
static void make_room(struct reduction *r, const char *wanted)
{
    struct reduce_work *w = &r->work;
    size_t limit = memory_limit_bytes(r->request.settings), held = 0;
    for (int p = 0; p < w->nplan; p++) held += wanted[p] ? exposure_plan_bytes(&w->plan[p]) : 0;
    for (int p = 0; p < w->nplan; p++) {
        size_t bytes = exposure_plan_bytes(&w->plan[p]);
        if (wanted[p] || !w->plan[p].loaded) continue;
        if (held + bytes > limit) exposure_plan_unload(&w->plan[p]);
        else held += bytes;
    }
}

/* Frames that may be in flight together. */
static int frames_abreast(const struct reduction *r, const int *index, int n)
{
    int64_t most = 1;
    for (int k = 0; k < n; k++) most = r->work.task[index[k]].npix > most ? r->work.task[index[k]].npix : most;
    size_t room = memory_limit_bytes(r->request.settings) / ((size_t)most * FRAME_BYTES);
    int threads = omp_get_max_threads();
    return room < (size_t)threads ? (int)room : threads;
}

/* One more task of the line it came with is through. */
static void finish_task(struct reduction *r, struct batch *b, int task)
{
#pragma omp critical(feed_answers)
    {
        int i = b->answered;
        while (b->fed[i].end <= task) i++;
        b->fed[i].open--;
        answer_ready(r, b);
    }
}

/* Many frames: each thread takes one at a time, so that one's files are written while another computes. What is left when
 * there is not one for each thread is shared by all, row by row. A task is touched by the thread that has it alone. */
static void run_tasks(struct reduction *r, struct batch *b, const int *index, int n)
{
    int abreast = frames_abreast(r, index, n), together = abreast < 2 ? 0 : n / abreast * abreast;
#pragma omp parallel for default(none) shared(r, b, index, together) num_threads(abreast > 1 ? abreast : 1) schedule(dynamic, 1)
    for (int k = 0; k < together; k++) {
        reduction_frame(r, &r->work.task[index[k]]);
        finish_task(r, b, index[k]);
    }
    for (int k = together; k < n; k++) {
        reduction_frame(r, &r->work.task[index[k]]);
        finish_task(r, b, index[k]);
    }
}

/* Every task, in runs whose plans are loaded together. index: room for all tasks. */
static void run_all(struct reduction *r, struct batch *b, int *index, char *wanted)
{
    struct reduce_work *w = &r->work;
    for (int first = 0, end; first < w->ntask; first = end) {
        int n = 0;
        end = run_end(r, first, wanted);
        make_room(r, wanted);
        for (int i = first; i < end; i++) {
            struct reduce_task *t = &w->task[i];
            struct error err = ERROR_INIT;
            if (!reduce_task_is_open(t)) continue;
            enum err code = exposure_plan_load(&w->plan[t->plan], &err);
            if (!code) index[n++] = i;
            else {
                reduce_task_fail(t, code, &err);
                finish_task(r, b, i);
            }
        }
        run_tasks(r, b, index, n);
    }
}

static void run_batch(struct reduction *r, struct batch *b)
{
    struct error err = ERROR_INIT;
    enum err code = look_at_files(r, b, &err);
    int *index = calloc((size_t)r->work.ntask + 1, sizeof *index);
    char *wanted = calloc((size_t)r->work.nplan + 1, 1);
    if (!code && (!index || !wanted)) code = ERROR(&err, ERR_NOMEM, "no memory for a batch of %d frames", r->work.ntask);
    for (int i = 0; i < b->n && code; i++) {
        struct fed *f = &b->fed[i];
        f->open = 0;
        if (f->code) continue;
        f->code = code;
        f->err = err;
    }
    answer_ready(r, b);
    if (!code) run_all(r, b, index, wanted);
    free(index);
    free(wanted);
    reduce_work_forget(&r->work);
}

int reduction_feed(struct reduction *r)
{
    int most = BATCH_PER_THREAD * omp_get_max_threads();
    struct lines in = {.buffer = malloc(LINE_LENGTH_MAX + 1)};
    struct batch b = {.fed = calloc((size_t)most, sizeof *b.fed)};
    const char *line;
    while (in.buffer && b.fed && !interrupt_asked()) {
        for (b.n = b.answered = 0; b.n < most && (line = next_line(&in, b.n == 0)); b.n++) take_line(line, &b.fed[b.n]);
        if (!b.n) break;
        run_batch(r, &b);
        for (int i = 0; i < b.n; i++) free(b.fed[i].file);
    }
    bool nomem = !in.buffer || !b.fed;
    free(in.buffer);
    free(b.fed);
    if (nomem) return EXIT_TRANSIENT;
    return interrupt_asked() ? EXIT_INTERRUPTED : EXIT_ALL_GOOD;
}
