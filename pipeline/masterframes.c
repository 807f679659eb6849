#include "pipeline/mastermaking.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/stats.h"

#define LEVEL_SIGMAS     6.0  /* a frame's level may differ from the others' by this many robust sigma ... */
#define LEVEL_RDNOISES   3.0  /* ... or, bias and dark, by this many read noises */
#define SHAPE_MOST       0.10 /* a flat's normalised block may differ from the median flat's by this much */
#define SATURATED_MOST   0.05
#define BLANK_MOST       0.50
#define FLAT_LEAST_NOISE 10.0 /* a flat's level in read noises, at least */

struct stack_job making_job(const struct making *m, int n, const struct stack_input *in)
{
    return (struct stack_job){
        .instruments = m->set->instruments,
        .settings = m->group->settings,
        .meta = m->meta,
        .n = n,
        .in = in,
        .bias = m->used[0] ? m->planes[0].sci : NULL,
        .dark = m->used[1] ? m->planes[1].sci : NULL,
        .signal = rawsignal_is_needed(&m->signal) ? &m->signal : NULL,
        .memory_bytes = memory_limit_bytes(m->group->settings),
    };
}

static double rdnoise_of(const struct exposure_meta *meta)
{
    double sum = 0;
    for (int a = 0; a < meta->namp; a++) sum += meta->amp[a].rdnoise_e;
    return sum / meta->namp;
}

static double median_level(const struct stack_glance *g, int n, double *work, double *ret_sigma)
{
    for (int i = 0; i < n; i++) work[i] = g[i].level;
    double median = median_f64(work, n);
    for (int i = 0; i < n; i++) work[i] = g[i].level;
    *ret_sigma = mad_sigma_f64(work, n, median);
    return median;
}

static void judge_level(struct making *m, const struct stack_glance *g, double *work)
{
    double sigma, rdnoise = rdnoise_of(m->meta), median = median_level(g, m->group->n, work, &sigma);
    double reach = fmax(LEVEL_SIGMAS * sigma, LEVEL_RDNOISES * rdnoise);
    for (int i = 0; i < m->group->n; i++) {
        struct calibration_frame *f = &m->group->frame[i];
        if (!f->left_out[0] && fabs(g[i].level - median) > reach)
            snprintf(f->left_out, sizeof f->left_out, "its level, %.1f electron, is not the others' %.1f (allowed: %.1f off)", g[i].level, median, reach);
    }
}

/* How far the frame's shape is from the median shape, over the blocks. */
static double shape_offset(const struct making *m, const struct stack_glance *g, int i, double *work)
{
    double worst = 0;
    for (int b = 0; b < STACK_BLOCKS * STACK_BLOCKS; b++) {
        int n = 0;
        for (int j = 0; j < m->group->n; j++)
            if (!m->group->frame[j].left_out[0]) work[n++] = g[j].block[b] / g[j].level;
        double off = fabs(g[i].block[b] / g[i].level - median_f64(work, n));
        if (off > worst) worst = off;
    }
    return worst;
}

/* work: 2 n */
static void judge_flat(struct making *m, const struct stack_glance *g, double *work)
{
    double rdnoise = rdnoise_of(m->meta), *offset = work + m->group->n;
    for (int i = 0; i < m->group->n; i++) {
        struct calibration_frame *f = &m->group->frame[i];
        if (f->left_out[0]) continue;
        if (g[i].saturated > SATURATED_MOST)
            snprintf(f->left_out, sizeof f->left_out, "%.1f %% of it is saturated", 100 * g[i].saturated);
        else if (!(g[i].level > FLAT_LEAST_NOISE * rdnoise))
            snprintf(f->left_out, sizeof f->left_out, "too faint: %.0f electron with %.1f of read noise", g[i].level, rdnoise);
    }
    /* All are compared before any is left out, so that the verdict does not depend on the order. */
    for (int i = 0; i < m->group->n; i++) offset[i] = m->group->frame[i].left_out[0] ? 0 : shape_offset(m, g, i, work);
    for (int i = 0; i < m->group->n; i++)
        if (offset[i] > SHAPE_MOST)
            snprintf(m->group->frame[i].left_out, sizeof m->group->frame[i].left_out,
                     "its shape differs from the others' by %.0f %%", 100 * offset[i]);
}

static void judge_blank(struct making *m, const struct stack_glance *g)
{
    for (int i = 0; i < m->group->n; i++) {
        struct calibration_frame *f = &m->group->frame[i];
        if (g[i].blank > BLANK_MOST || !isfinite(g[i].level))
            snprintf(f->left_out, sizeof f->left_out, "%.0f %% of it is blank", 100 * g[i].blank);
        else if (kind_is(m, FRAME_DARK) && !(seconds_of(f) > 0))
            snprintf(f->left_out, sizeof f->left_out, "a dark without exposure time");
    }
}

static enum err glance_all(const struct stack_job *job, struct stack_glance *ret, struct error *err)
{
    int n = job->n, failed = n;
    struct error first = ERROR_INIT;
    /* Each file fills its own slot; of several failures the lowest file is reported. */
#pragma omp parallel for default(none) shared(job, ret, n, failed, first) schedule(dynamic, 1)
    for (int i = 0; i < n; i++) {
        struct error own = ERROR_INIT;
        if (!stack_glance_at(job, i, &ret[i], &own)) continue;
#pragma omp critical(glance_failure)
        if (i < failed) {
            failed = i;
            first = own;
        }
    }
    if (failed == n) return ERR_OK;
    if (err) *err = first;
    return first.code;
}

static enum err too_few(const struct making *m, int n, int least, struct error *err)
{
    enum err code = ERROR(err, ERR_HELD, "cannot make a master %s of %d frame%s: %d are needed", frame_type_name(m->meta->type), n,
                          n == 1 ? "" : "s", least);
    error_subject(err, m->group->frame[0].path, 0);
    error_hint(err, "add frames, or set master.min_frames");
    return code;
}

/* Seconds of dark to subtract from each frame, by temperature too where the settings ask for it. */
static enum err list_frames(struct making *m, struct error *err)
{
    const struct calibration_group *g = m->group;
    double scale = 1, coefficient = settings_double(g->settings, SET_DARK_TEMPERATURE);
    enum err code = ERR_OK;
    for (int i = 0; i < g->n && !code; i++) {
        const struct calibration_frame *f = &g->frame[i];
        code = master_dark_scale(m->used[1], coefficient, f->temp_c, &scale, err);
        if (code) error_subject(err, f->path, 0);
        m->in[i] = (struct stack_input){f->path, f->hdu, m->used[1] ? scale * seconds_of(f) : 0, 1};
    }
    return code;
}

/* Look at every frame, leave out those that do not belong, list the others with their scales. */
enum err making_pick_frames(struct making *m, struct error *err)
{
    struct calibration_group *g = m->group;
    int least = (int)settings_int(m->group->settings, SET_MASTER_MIN_FRAMES);
    if (g->n < least) return too_few(m, g->n, least, err);
    struct stack_glance *glance = calloc((size_t)g->n, sizeof *glance);
    double *work = calloc(2 * (size_t)g->n, sizeof *work);
    m->in = calloc((size_t)g->n, sizeof *m->in);
    enum err code = glance && work && m->in ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory for %d frames", g->n);
    if (!code) code = list_frames(m, err);
    struct stack_job job = making_job(m, g->n, m->in);
    if (!code) code = glance_all(&job, glance, err);
    if (!code) {
        judge_blank(m, glance);
        if (kind_is(m, FRAME_FLAT)) judge_flat(m, glance, work);
        else judge_level(m, glance, work);
        for (int i = 0; i < g->n; i++) {
            if (g->frame[i].left_out[0]) continue;
            double t = seconds_of(&g->frame[i]), scale = kind_is(m, FRAME_BIAS) ? 1 : kind_is(m, FRAME_DARK) ? 1 / t : 1 / glance[i].level;
            m->in[m->nkept] = m->in[i];
            m->in[m->nkept++].scale = scale;
        }
        if (m->nkept < least) code = too_few(m, m->nkept, least, err);
    }
    free(glance);
    free(work);
    return code;
}
