#include "processors/calibrate.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/isa.h"
#include "common/tiles.h"

const struct calibrate_kernels *calibrate_kernels_now(void)
{
#ifdef NIGHTSHIFT_HAVE_AVX2
    if (isa_level() == ISA_AVX2) return &calibrate_kernels_avx2;
#endif
    return &calibrate_kernels_generic;
}

/* ---- the plan -------------------------------------------------------------------------------------------------- */

void calibrate_plan_release(struct calibrate_plan *p)
{
    free(p->subtract);
    free(p->add_var);
    free(p->inv_flat);
    free(p->flat_rel_var);
    free(p->mask);
    *p = (struct calibrate_plan){0};
}

/* Variance of bias + dark t, photons of the dark included. shared: share of the bias that the dark carries with minus sign. */
static float plan_variance(float bias_var, float dark_var, float electrons, float t, float shared)
{
    float own = dark_var * t * t - bias_var * shared * shared; /* the dark's without the bias in it */
    return bias_var * (1.0f - shared) * (1.0f - shared) + (own > 0.0f ? own : 0.0f) + (electrons > 0.0f ? electrons : 0.0f);
}

/* n pixels from pixel `at` of the plan; the masters' planes begin there. */
static void plan_dark_pixels(struct calibrate_plan *p, int64_t at, int64_t n, const struct master_planes *bias,
                             const struct master_planes *dark, float t)
{
    float shared = bias && dark ? (float)dark->bias_scale * t : 0.0f;
    float *restrict subtract = p->subtract + at, *restrict add_var = p->add_var + at;
    mask_t *restrict mask = p->mask + at;
    for (int64_t i = 0; i < n; i++) {
        float electrons = dark ? dark->value[i] * t : 0.0f, value = (bias ? bias->value[i] : 0.0f) + electrons;
        float var = plan_variance(bias && bias->var ? bias->var[i] : 0.0f, dark && dark->var ? dark->var[i] : 0.0f, electrons, t, shared);
        bool good = isfinite(value) && isfinite(var);
        subtract[i] = good ? value : 0.0f;
        add_var[i] = good ? var : 0.0f;
        if (!good) mask[i] |= MASK_BAD;
    }
}

static void plan_flat_pixels(struct calibrate_plan *p, int64_t at, int64_t n, const struct master_planes *flat, float low)
{
    float *restrict inv_flat = p->inv_flat + at, *restrict flat_rel_var = p->flat_rel_var + at;
    mask_t *restrict mask = p->mask + at;
    for (int64_t i = 0; i < n; i++) {
        float v = flat->value[i];
        bool good = isfinite(v) && v > low && v > 0.0f;
        float inv = good ? 1.0f / v : 1.0f;
        float rel = good && flat->var ? flat->var[i] * inv * inv : 0.0f;
        inv_flat[i] = inv;
        flat_rel_var[i] = isfinite(rel) ? rel : 0.0f;
        if (!good) mask[i] |= MASK_LOWFLAT;
    }
}

static void plan_mask_pixels(struct calibrate_plan *p, int64_t at, int64_t n, const struct master_planes *m)
{
    if (!m || !m->mask) return;
    for (int64_t i = 0; i < n; i++) p->mask[at + i] |= m->mask[i];
}

void calibrate_plan_rows(struct calibrate_plan *p, int64_t y0, int64_t y1, const struct master_planes *bias,
                         const struct master_planes *dark, const struct master_planes *flat, double darktime_s, double low_flat)
{
    int64_t at = y0 * p->nx, n = (y1 - y0) * p->nx;
    memset(p->mask + at, 0, (size_t)n * sizeof *p->mask);
    if (bias || dark) plan_dark_pixels(p, at, n, bias, dark, (float)darktime_s);
    if (flat) plan_flat_pixels(p, at, n, flat, (float)low_flat);
    plan_mask_pixels(p, at, n, bias);
    plan_mask_pixels(p, at, n, dark);
    plan_mask_pixels(p, at, n, flat);
}

enum err calibrate_plan_alloc(int64_t nx, int64_t ny, bool subtract, bool flat, struct calibrate_plan *ret, struct error *err)
{
    struct calibrate_plan p = {.nx = nx, .ny = ny};
    size_t npix = (size_t)nx * (size_t)ny;
    p.mask = mem_array(npix, sizeof *p.mask);
    bool ok = p.mask;
    if (subtract) {
        p.subtract = mem_array(npix, sizeof(float));
        p.add_var = mem_array(npix, sizeof(float));
        ok = ok && p.subtract && p.add_var;
    }
    if (flat) {
        p.inv_flat = mem_array(npix, sizeof(float));
        p.flat_rel_var = mem_array(npix, sizeof(float));
        ok = ok && p.inv_flat && p.flat_rel_var;
    }
    if (!ok) {
        calibrate_plan_release(&p);
        return ERROR(err, ERR_NOMEM, "no memory for the calibration of %lld x %lld pixels", (long long)nx, (long long)ny);
    }
    *ret = p;
    return ERR_OK;
}

/* The planes of a master from pixel `at` on. */
static struct master_planes planes_from(const struct master_planes *m, int64_t at)
{
    return (struct master_planes){m->value + at, m->var ? m->var + at : NULL, m->mask ? m->mask + at : NULL, m->bias_scale};
}

enum err calibrate_plan_make(int64_t nx, int64_t ny, const struct master_planes *bias, const struct master_planes *dark,
                             const struct master_planes *flat, double darktime_s, double low_flat,
                             struct calibrate_plan *ret, struct error *err)
{
    struct calibrate_plan p;
    enum err code = calibrate_plan_alloc(nx, ny, bias || dark, flat, &p, err);
    if (code) return code;
    int64_t nblocks = row_blocks(ny);
    /* Each block writes its own rows of the plan. */
#pragma omp parallel for default(none) shared(p, bias, dark, flat, darktime_s, low_flat, nblocks, nx, ny) schedule(dynamic, 1)
    for (int64_t b = 0; b < nblocks; b++) {
        int64_t y0, y1;
        row_block(ny, b, &y0, &y1);
        struct master_planes mb, md, mf;
        if (bias) mb = planes_from(bias, y0 * nx);
        if (dark) md = planes_from(dark, y0 * nx);
        if (flat) mf = planes_from(flat, y0 * nx);
        calibrate_plan_rows(&p, y0, y1, bias ? &mb : NULL, dark ? &md : NULL, flat ? &mf : NULL, darktime_s, low_flat);
    }
    *ret = p;
    return ERR_OK;
}

/* ---- the pass -------------------------------------------------------------------------------------------------- */

/* Rows that stand in for a step that is skipped: they stay in the first-level cache. */
struct neutral {
    float *zero, *one;
    mask_t *clear;
};

struct pass {
    const struct raw_rows *raw;
    const struct amp *amps;
    int namp;
    const struct calibrate_plan *plan;
    const struct calibrate_kernels *kernels;
    struct neutral neutral;
    float *sci, *var;
    mask_t *mask;
    const struct rawsignal *signal; /* NULL: raw counts and the levels of their rows */
    const float *fallback; /* per amplifier: level for rows whose overscan has no finite pixel */
};

static float saturation_of(const struct amp *a, bool integers)
{
    if (isfinite(a->saturate_adu)) return (float)a->saturate_adu;
    return integers ? 65535.0f : INFINITY;
}

static void calibrate_amp_row(const struct pass *p, const struct amp *a, const struct amp_run *run, float level, int64_t y)
{
    int64_t in = (run->raw_y - p->raw->y0) * p->raw->nx + run->raw_x, out = y * p->plan->nx + run->dest_x;
    const struct calibrate_plan *plan = p->plan;
    struct calibrate_run r = {
        .n = run->n,
        .u16 = p->raw->u16 ? p->raw->u16 + in : NULL,
        .f32 = p->raw->u16 ? NULL : p->raw->f32 + in,
        .level_adu = level,
        .gain = (float)a->gain_e_per_adu,
        .rdnoise2 = isfinite(a->rdnoise_e) ? (float)(a->rdnoise_e * a->rdnoise_e) : 0.0f,
        .saturate_adu = saturation_of(a, p->raw->u16 != NULL),
        .subtract = plan->subtract ? plan->subtract + out : p->neutral.zero,
        .add_var = plan->add_var ? plan->add_var + out : p->neutral.zero,
        .inv_flat = plan->inv_flat ? plan->inv_flat + out : p->neutral.one,
        .flat_rel_var = plan->flat_rel_var ? plan->flat_rel_var + out : p->neutral.zero,
        .mask_in = plan->mask ? plan->mask + out : p->neutral.clear,
        .sci = p->sci + out,
        .var = p->var + out,
        .mask = p->mask + out,
    };
    if (r.u16) p->kernels->u16(&r);
    else p->kernels->f32(&r);
}

static void mark_no_data(const struct pass *p, int64_t y)
{
    for (int64_t i = y * p->plan->nx; i < (y + 1) * p->plan->nx; i++) {
        p->sci[i] = p->var[i] = 0.0f;
        p->mask[i] = MASK_NO_DATA;
    }
}

/* Scratch of one block whose counts come from rawsignal_row(). */
struct signal_rows {
    float *counts, *work;
    mask_t *marks;
};

static bool signal_rows_new(struct signal_rows *r, int64_t nx)
{
    r->counts = mem_array((size_t)nx, sizeof *r->counts);
    r->work = mem_array((size_t)nx, sizeof *r->work);
    r->marks = mem_array((size_t)nx, sizeof *r->marks);
    return r->counts && r->work && r->marks;
}

static void signal_rows_free(struct signal_rows *r)
{
    free(r->counts);
    free(r->work);
    free(r->marks);
}

static void calibrate_signal_row(const struct pass *p, struct signal_rows *rows, int index, const struct amp_run *run, int64_t y)
{
    const struct amp *a = &p->amps[index];
    rawsignal_row(p->signal, p->raw, NULL, index, y, run, saturation_of(a, p->raw->u16 != NULL), rows->work, rows->counts, rows->marks);
    struct raw_rows counts = {.nx = run->n, .y0 = y, .y1 = y + 1, .f32 = rows->counts};
    struct pass q = *p;
    struct amp b = *a;
    q.raw = &counts;
    b.saturate_adu = INFINITY; /* the marks know */
    const struct amp_run first = {.raw_y = y, .raw_x = 0, .dest_x = run->dest_x, .n = run->n};
    calibrate_amp_row(&q, &b, &first, 0, y);
    mask_t *mask = p->mask + y * p->plan->nx + run->dest_x;
    for (int64_t i = 0; i < run->n; i++) mask[i] |= rows->marks[i];
}

/* Rows of one block: the levels met are summed per amplifier into level_sum and level_n. */
static bool calibrate_block(const struct pass *p, int64_t y0, int64_t y1, double *level_sum, int64_t *level_n)
{
    struct signal_rows rows = {0};
    bool ok = !p->signal || signal_rows_new(&rows, p->plan->nx);
    for (int64_t y = y0; ok && y < y1; y++) {
        int64_t covered = 0;
        struct amp_run run;
        for (int a = 0; a < p->namp; a++)
            if (amp_run_of_row(&p->amps[a], y, &run)) covered += run.n;
        if (covered < p->plan->nx) mark_no_data(p, y);
        for (int a = 0; a < p->namp; a++) {
            if (!amp_run_of_row(&p->amps[a], y, &run)) continue;
            float level = p->signal ? p->signal->level[a * p->signal->raw_ny + run.raw_y] : overscan_level(p->raw, &p->amps[a], run.raw_y);
            if (isnan(level)) level = p->fallback[a];
            else {
                level_sum[a] += level;
                level_n[a]++;
            }
            if (p->signal) calibrate_signal_row(p, &rows, a, &run, y);
            else calibrate_amp_row(p, &p->amps[a], &run, level, y);
        }
    }
    signal_rows_free(&rows);
    return ok;
}

/* Median over the rows whose overscan can be read, 0 if there is none: only asked for when a row has none. */
static float fallback_level(const struct raw_rows *raw, const struct amp *a)
{
    bool missing = false;
    double sum = 0;
    int64_t n = 0;
    if (a->overscan.x1 <= a->overscan.x0 || raw->u16) return 0;
    for (int64_t y = a->data.y0; y < a->data.y1; y++) {
        float level = overscan_level(raw, a, y);
        if (isnan(level)) missing = true;
        else {
            sum += level;
            n++;
        }
    }
    return missing && n ? (float)(sum / (double)n) : 0;
}

static enum err check_gains(const struct amp *amps, int namp, struct error *err)
{
    for (int a = 0; a < namp; a++)
        if (!(amps[a].gain_e_per_adu > 0) || !isfinite(amps[a].gain_e_per_adu)) {
            enum err code = ERROR(err, ERR_SHAPE, "no gain is known for amplifier '%s'", amps[a].name);
            error_hint(err, "give it in the instrument file, or make masters from two flats and two biases");
            return code;
        }
    return ERR_OK;
}

static enum err neutral_rows(struct neutral *n, int64_t nx, struct error *err)
{
    n->zero = mem_zarray((size_t)nx, sizeof(float));
    n->one = mem_array((size_t)nx, sizeof(float));
    n->clear = mem_zarray((size_t)nx, sizeof(mask_t));
    if (!n->zero || !n->one || !n->clear) return ERROR(err, ERR_NOMEM, "no memory for rows of %lld pixels", (long long)nx);
    for (int64_t i = 0; i < nx; i++) n->one[i] = 1.0f;
    return ERR_OK;
}

static void count_masks(const mask_t *mask, int64_t from, int64_t to, int64_t *saturated, int64_t *no_data)
{
    int64_t s = 0, d = 0;
    for (int64_t i = from; i < to; i++) {
        s += (mask[i] & MASK_SATURATED) != 0;
        d += (mask[i] & MASK_NO_DATA) != 0;
    }
    *saturated += s;
    *no_data += d;
}

enum err calibrate_frame(const struct raw_rows *raw, const struct amp *amps, int namp, const struct calibrate_plan *plan,
                         float *sci, float *var, mask_t *mask, struct calibrate_counts *ret, struct error *err)
{
    return calibrate_frame_signal(raw, NULL, amps, namp, plan, sci, var, mask, ret, err);
}

enum err calibrate_frame_signal(const struct raw_rows *raw, const struct rawsignal *signal, const struct amp *amps, int namp,
                                const struct calibrate_plan *plan, float *sci, float *var, mask_t *mask, struct calibrate_counts *ret,
                                struct error *err)
{
    int64_t nblocks = row_blocks(plan->ny), ny = plan->ny, nx = plan->nx;
    float fallback[AMPS_MAX];
    struct pass p = {.raw = raw, .amps = amps, .namp = namp, .plan = plan, .kernels = calibrate_kernels_now(),
                     .sci = sci, .var = var, .mask = mask, .fallback = fallback, .signal = signal};
    enum err code = check_gains(amps, namp, err);
    if (code) return code;
    double *level_sum = mem_zarray((size_t)(nblocks * namp), sizeof *level_sum);
    int64_t *level_n = mem_zarray((size_t)(nblocks * namp), sizeof *level_n);
    code = neutral_rows(&p.neutral, nx, err);
    if (!code && (!level_sum || !level_n)) code = ERROR(err, ERR_NOMEM, "no memory for overscan levels");
    if (code) goto out;

    for (int a = 0; a < namp; a++) fallback[a] = fallback_level(raw, &amps[a]);
    int64_t saturated = 0, no_data = 0;
    int failed = 0;
    /* Each block writes its own rows and its own slots of the level sums; the counts are integers. */
#pragma omp parallel for default(none) shared(p, nblocks, ny, nx, namp, level_sum, level_n, mask) schedule(dynamic, 1) \
    reduction(+ : saturated, no_data) reduction(| : failed)
    for (int64_t b = 0; b < nblocks; b++) {
        int64_t y0, y1;
        row_block(ny, b, &y0, &y1);
        failed |= !calibrate_block(&p, y0, y1, level_sum + b * namp, level_n + b * namp);
        count_masks(mask, y0 * nx, y1 * nx, &saturated, &no_data);
    }
    if (failed) {
        code = ERROR(err, ERR_NOMEM, "no memory to calibrate %lld x %lld pixels", (long long)nx, (long long)ny);
        goto out;
    }
    memset(ret, 0, sizeof *ret);
    ret->saturated = saturated;
    ret->no_data = no_data;
    for (int a = 0; a < namp; a++) {
        double sum = 0;
        int64_t n = 0;
        for (int64_t b = 0; b < nblocks; b++) {
            sum += level_sum[b * namp + a];
            n += level_n[b * namp + a];
        }
        ret->overscan_adu[a] = n ? sum / (double)n : 0;
    }
out:
    free(p.neutral.zero);
    free(p.neutral.one);
    free(p.neutral.clear);
    free(level_sum);
    free(level_n);
    return code;
}
