/* reduce --stdin: a child of the job runner that is fed frames one by one. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "pipeline/interrupt.h"
#include "pipeline/reduction.h"
#include "pipeline/stack.h"

/* Load the plan of a task, making room among those loaded before when memory ends. */
static enum err make_ready(struct reduction *r, int plan, struct error *err)
{
    struct reduce_work *w = &r->work;
    size_t limit = memory_limit_bytes(r->request.settings), held = exposure_plan_bytes(&w->plan[plan]);
    if (w->plan[plan].loaded) return ERR_OK;
    for (int p = 0; p < w->nplan; p++) {
        if (p == plan || !w->plan[p].loaded) continue;
        if (held + exposure_plan_bytes(&w->plan[p]) > limit) exposure_plan_unload(&w->plan[p]);
        else held += exposure_plan_bytes(&w->plan[p]);
    }
    return exposure_plan_load(&w->plan[plan], err);
}

static json_t *ccd_json(const struct reduction *r, const struct reduce_task *t)
{
    char path[1600], line[1600];
    json_t *o = json_pack("{si si si ss si}", "hdu", t->hdu, "ccd", t->ccd, "night", t->night, "status",
                          t->code ? "error" : t->done ? "already" : "done", "exit_code", (int)err_exit_code(t->code));
    if (t->code) {
        json_object_set_new(o, "error", json_string(err_name(t->code)));
        json_object_set_new(o, "message", json_string(t->error ? error_line(t->error, line, sizeof line) : err_name(t->code)));
        json_object_set_new(o, "transient", json_boolean(err_is_transient(t->code)));
    } else {
        snprintf(path, sizeof path, "%s/%s", r->request.out, t->catalogue);
        json_object_set_new(o, "catalogue", json_string(path));
    }
    return o;
}

static void answer(const struct reduction *r, const char *file, enum err code, const struct error *err)
{
    char line[1600];
    json_t *o = json_object(), *ccds = json_array();
    json_object_set_new(o, "file", json_string(file ? file : ""));
    if (code) {
        json_object_set_new(o, "error", json_string(err_name(code)));
        json_object_set_new(o, "message", json_string(error_line(err, line, sizeof line)));
        json_object_set_new(o, "transient", json_boolean(err_is_transient(code)));
    }
    json_object_set_new(o, "exit_code", json_integer((int)err_exit_code(code)));
    for (int i = 0; i < r->work.ntask && !code; i++) json_array_append_new(ccds, ccd_json(r, &r->work.task[i]));
    json_object_set_new(o, "ccds", ccds);
    char *text = json_dumps(o, JSON_COMPACT | JSON_PRESERVE_ORDER);
    printf("%s\n", text ? text : "{\"error\":\"nomem\",\"exit_code\":20,\"transient\":true,\"ccds\":[]}");
    fflush(stdout);
    free(text);
    json_decref(o);
}

static void one_file(struct reduction *r, const char *file)
{
    struct error err = ERROR_INIT;
    enum err code = reduce_work_add(&r->request, &r->work, file, &err);
    for (int i = 0; i < r->work.ntask && !code; i++) {
        struct reduce_task *t = &r->work.task[i];
        struct error trouble = ERROR_INIT;
        if (!reduce_task_is_open(t)) continue;
        enum err e = make_ready(r, t->plan, &trouble);
        if (e) reduce_task_fail(t, e, &trouble);
        else reduction_frame(r, t);
    }
    if (!code && !r->work.ntask) {
        code = ERROR(&err, ERR_UNSUPPORTED, "it is no light frame");
        error_subject(&err, file, 0);
    }
    answer(r, file, code, &err);
    reduce_work_forget(&r->work);
}

int reduction_feed(struct reduction *r)
{
    char *line = NULL;
    size_t capacity = 0;
    while (!interrupt_asked() && getline(&line, &capacity, stdin) >= 0) {
        struct error err = ERROR_INIT;
        json_error_t why;
        json_t *o = json_loads(line, JSON_REJECT_DUPLICATES, &why);
        const char *file = json_string_value(json_object_get(o, "file"));
        if (file) one_file(r, file);
        else answer(r, NULL, ERROR(&err, ERR_USAGE, "the line is no JSON object with a 'file': %s", o ? "no file" : why.text), &err);
        json_decref(o);
    }
    free(line);
    return interrupt_asked() ? EXIT_INTERRUPTED : EXIT_ALL_GOOD;
}
