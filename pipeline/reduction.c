#include "pipeline/reduction.h"

#include <stdlib.h>

#include "pipeline/interrupt.h"
#include "pipeline/stages.h"

static void tell_frame(const struct exposure *e, double elapsed_ms)
{
    log_event(LOG_INFO, "frame reduced", LOG_STR("exposure", e->product), LOG_INT("ccd", e->meta.ccd), LOG_DOUBLE("sky", e->quality.sky),
              LOG_DOUBLE("seeing_px", e->quality.seeing_px), LOG_INT("objects", e->quality.objects),
              LOG_STR("verdict", quality_verdict_name(e->quality.verdict)), LOG_STR("reasons", e->quality.reasons), LOG_DOUBLE("elapsed_ms", elapsed_ms));
}

void reduce_task_fail(struct reduce_task *t, enum err code, const struct error *err)
{
    t->code = code;
    t->error = malloc(sizeof *t->error);
    if (t->error) *t->error = *err;
    log_error(err);
}

void reduction_frame(struct reduction *r, struct reduce_task *t)
{
    struct error err = ERROR_INIT;
    double start = clock_seconds();
    if (interrupt_asked()) {
        t->code = ERR_INTERRUPTED;
        return;
    }
    struct exposure *e = malloc(sizeof *e);
    if (!e) {
        reduce_task_fail(t, ERROR(&err, ERR_NOMEM, "no memory for a frame"), &err);
        return;
    }
    exposure_init(e);
    e->instruments = r->request.instruments;
    e->plan = &r->work.plan[t->plan];
    e->raw_path = t->path;
    e->raw_sum = t->raw_sum;
    e->out = r->request.out;
    e->hdu = t->hdu;
    enum err code = stages_run(reduce_stages, e, &err);
    if (code) reduce_task_fail(t, code, &err);
    else tell_frame(e, 1000 * (clock_seconds() - start));
#pragma omp critical(reduction_sums)
    {
        for (int i = 0; i < STAGES_MAX; i++) r->stage_ms[i] += e->stage_ms[i];
        r->reduced += !code;
        r->objects += e->quality.objects;
    }
    exposure_release(e);
    free(e);
    progress_step(r->progress, 1);
}
