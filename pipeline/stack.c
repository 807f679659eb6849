#include "pipeline/stack.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/arena.h"
#include "common/stats.h"
#include "pipeline/rawimage.h"

#define HANDLES_MAX    128        /* files kept open from band to band; others are opened for each band */
#define BAND_BYTES     (16 << 20) /* a band that stays in the last cache between reading and stacking */
#define GLANCE_ROWS    8          /* rows looked at in each row of blocks */
#define GLANCE_CENTRAL 256        /* rows looked at for the level */
#define MIB            1048576.0

size_t memory_limit_bytes(const struct settings *s)
{
    int64_t mib = settings_int(s, SET_MEMORY_LIMIT);
    if (mib > 0) return (size_t)mib << 20;
    double available = 4096 * MIB;
    char line[128];
    FILE *f = fopen("/proc/meminfo", "re");
    while (f && fgets(line, sizeof line, f)) {
        double kib;
        if (sscanf(line, "MemAvailable: %lf", &kib) == 1) available = kib * 1024;
    }
    if (f) fclose(f);
    return (size_t)(available / 4);
}

/* ---- a glance ---------------------------------------------------------------------------------------------------- */

struct glancer {
    const struct stack_job *job;
    struct raw_file *file;
    int hdu;
    double dark_s;
    void *buffer;     /* one stored row */
    float *row;       /* one trimmed row, electrons; NaN where nothing can be said */
    int64_t saturated, blank, seen;
};

static float glance_pixel(struct glancer *g, const struct raw_rows *raw, const struct amp *a, int64_t at, float level)
{
    float adu = raw->u16 ? (float)raw->u16[at] : raw->f32[at];
    float limit = isfinite(a->saturate_adu) ? (float)a->saturate_adu : raw->u16 ? 65535.0f : INFINITY;
    g->seen++;
    if (!isfinite(adu)) {
        g->blank++;
        return NAN;
    }
    if (adu >= limit) g->saturated++; /* still a value: the median of a block may be saturated */
    return (adu - level) * (float)a->gain_e_per_adu;
}

/* One trimmed row in electrons, masters subtracted. */
static enum err glance_row(struct glancer *g, int64_t y, struct error *err)
{
    const struct stack_job *job = g->job;
    const struct exposure_meta *m = job->meta;
    for (int64_t x = 0; x < m->nx; x++) g->row[x] = NAN;
    for (int a = 0; a < m->namp; a++) {
        struct amp_run run;
        struct raw_rows raw;
        if (!amp_run_of_row(&m->amp[a], y, &run)) continue;
        enum err code = raw_file_rows(g->file, g->hdu, m, run.raw_y, run.raw_y + 1, g->buffer, &raw, err);
        if (code) return code;
        float level = overscan_level(&raw, &m->amp[a], run.raw_y);
        for (int64_t i = 0; i < run.n; i++) g->row[run.dest_x + i] = glance_pixel(g, &raw, &m->amp[a], run.raw_x + i, level);
    }
    const float *bias = job->bias ? job->bias + y * m->nx : NULL, *dark = job->dark ? job->dark + y * m->nx : NULL;
    for (int64_t x = 0; x < m->nx; x++) g->row[x] -= (bias ? bias[x] : 0) + (dark ? dark[x] * (float)g->dark_s : 0);
    return ERR_OK;
}

/* Medians of one row of blocks from GLANCE_ROWS of its rows. work: GLANCE_ROWS * nx */
static enum err glance_blocks(struct glancer *g, int block_y, float *work, float *ret, struct error *err)
{
    int64_t nx = g->job->meta->nx, ny = g->job->meta->ny;
    int64_t y0 = ny * block_y / STACK_BLOCKS, y1 = ny * (block_y + 1) / STACK_BLOCKS;
    if (y1 <= y0) y1 = y0 + 1;
    int64_t rows = y1 - y0 < GLANCE_ROWS ? y1 - y0 : GLANCE_ROWS;
    for (int64_t r = 0; r < rows; r++) {
        enum err code = glance_row(g, y0 + (y1 - y0) * r / rows, err);
        if (code) return code;
        /* block by block, so that the values of a block stand together */
        for (int b = 0; b < STACK_BLOCKS; b++) {
            int64_t x0 = nx * b / STACK_BLOCKS, x1 = nx * (b + 1) / STACK_BLOCKS;
            memcpy(work + x0 * rows + r * (x1 - x0), g->row + x0, (size_t)(x1 - x0) * sizeof *work);
        }
    }
    for (int b = 0; b < STACK_BLOCKS; b++) {
        int64_t x0 = nx * b / STACK_BLOCKS, x1 = nx * (b + 1) / STACK_BLOCKS;
        ret[b] = median_f32(work + x0 * rows, (x1 - x0) * rows);
    }
    return ERR_OK;
}

static enum err glance_level(struct glancer *g, double *ret_level, double *ret_sigma, struct error *err)
{
    int64_t nx = g->job->meta->nx, ny = g->job->meta->ny;
    int64_t x0 = nx / 4, width = nx - 2 * x0, y0 = ny / 4, height = ny - 2 * y0;
    int64_t rows = height < GLANCE_CENTRAL ? height : GLANCE_CENTRAL, n = 0;
    float *values = mem_array((size_t)(rows * width), sizeof *values), *work = mem_array((size_t)(rows * width), sizeof *work);
    enum err code = values && work ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory for the level of a frame");
    for (int64_t r = 0; r < rows && !code; r++) {
        code = glance_row(g, y0 + height * r / rows, err);
        for (int64_t x = x0; x < x0 + width && !code; x++)
            if (isfinite(g->row[x])) values[n++] = g->row[x];
    }
    if (!code) {
        struct clipped c = clipped_stats_f32(values, n, work, 3, 3, 10);
        *ret_level = c.median;
        *ret_sigma = c.sigma;
    }
    free(values);
    free(work);
    return code;
}

enum err stack_glance_at(const struct stack_job *job, int i, struct stack_glance *ret, struct error *err)
{
    const struct exposure_meta *m = job->meta;
    struct glancer g = {.job = job, .hdu = job->in[i].hdu, .dark_s = job->in[i].dark_s};
    struct stack_glance glance = {0};
    float *work = mem_array((size_t)(GLANCE_ROWS * (m->nx + 1)), sizeof *work);
    g.buffer = mem_array((size_t)m->raw_nx, sizeof(float));
    g.row = mem_array((size_t)m->nx, sizeof *g.row);
    enum err code = work && g.buffer && g.row ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory to look at '%s'", job->in[i].path);
    if (!code) code = raw_file_open(job->in[i].path, job->instruments, job->settings, &g.file, err);
    for (int b = 0; b < STACK_BLOCKS && !code; b++) code = glance_blocks(&g, b, work, glance.block + b * STACK_BLOCKS, err);
    if (!code) code = glance_level(&g, &glance.level, &glance.sigma, err);
    if (!code) {
        glance.saturated = g.seen ? (double)g.saturated / (double)g.seen : 0;
        glance.blank = g.seen ? (double)g.blank / (double)g.seen : 0;
        *ret = glance;
    }
    raw_file_close(g.file);
    free(work);
    free(g.buffer);
    free(g.row);
    return code;
}

/* ---- bands ------------------------------------------------------------------------------------------------------- */

struct band {
    int64_t y0, y1;           /* trimmed rows */
    int64_t raw0, raw1;       /* stored rows they come from */
    int64_t ghost0, ghost1;   /* stored rows of the sources of crosstalk in them */
};

struct stacker {
    const struct stack_job *job;
    struct raw_file **open;   /* n, NULL where not kept open */
    struct raw_rows *rows;    /* n: the present band of each file */
    unsigned char *buffers;   /* n * buffer_bytes */
    size_t buffer_bytes;
    struct raw_rows *ghosts;  /* n: the rows of the band's crosstalk, likewise; none where there is no crosstalk */
    unsigned char *ghost_buffers;
    size_t ghost_bytes;
    float *value, *variance;
    struct rawsignal *signal; /* n: levels of each file; NULL where raw counts will do */
};

static bool keeps_open(int i)
{
    return i < HANDLES_MAX;
}

static enum err read_file_band(struct stacker *s, int i, const struct band *b, struct error *err)
{
    const struct stack_job *job = s->job;
    struct raw_file *f = s->open[i];
    enum err code = ERR_OK;
    if (!f) code = raw_file_open(job->in[i].path, job->instruments, job->settings, &f, err);
    if (!code) code = raw_file_rows(f, job->in[i].hdu, job->meta, b->raw0, b->raw1, s->buffers + (size_t)i * s->buffer_bytes, &s->rows[i], err);
    if (!code && b->ghost1 > b->ghost0)
        code = raw_file_rows(f, job->in[i].hdu, job->meta, b->ghost0, b->ghost1, s->ghost_buffers + (size_t)i * s->ghost_bytes, &s->ghosts[i], err);
    if (keeps_open(i)) s->open[i] = f;
    else raw_file_close(f);
    return code;
}

static enum err read_band(struct stacker *s, const struct band *b, struct error *err)
{
    int n = s->job->n, failed = n;
    struct error first = ERROR_INIT;
    /* Each file has its own handle, buffer and slot; of several failures the lowest file is reported. */
#pragma omp parallel for default(none) shared(s, b, n, failed, first) schedule(dynamic, 1)
    for (int i = 0; i < n; i++) {
        struct error own = ERROR_INIT;
        if (!read_file_band(s, i, b, &own)) continue;
#pragma omp critical(stack_failure)
        if (i < failed) {
            failed = i;
            first = own;
        }
    }
    if (failed == n) return ERR_OK;
    if (err) *err = first;
    return first.code;
}

static float limit_of(const struct stack_job *job, const struct amp *a, bool integers)
{
    if (!job->leave_out_saturated) return INFINITY;
    if (isfinite(a->saturate_adu)) return (float)a->saturate_adu;
    return integers ? 65535.0f : INFINITY;
}

/* Scratch of one thread. */
struct stack_scratch {
    struct combine *combine;
    struct combine_frame *frames;
    uint16_t *count;
    float *counts, *work; /* n rows of linear counts, one row: with signal alone */
};

static bool scratch_new(struct stack_scratch *t, const struct stacker *s)
{
    size_t n = (size_t)s->job->n, nx = (size_t)s->job->meta->nx;
    t->frames = mem_array(n, sizeof *t->frames);
    t->count = mem_array(nx, sizeof *t->count);
    if (s->signal) {
        t->counts = nx ? mem_array(n, nx * sizeof *t->counts) : NULL;
        t->work = mem_array(nx, sizeof *t->work);
    }
    return t->frames && t->count && (!s->signal || (t->counts && t->work)) && !combine_new(s->job->n, &s->job->options, &t->combine, NULL);
}

static void scratch_free(struct stack_scratch *t)
{
    combine_free(t->combine);
    free(t->frames);
    free(t->count);
    free(t->counts);
    free(t->work);
}

/* One file's run: raw counts and their level, or linear counts without one. */
static struct combine_frame frame_run(const struct stacker *s, struct stack_scratch *t, int i, int amp, const struct amp_run *run, int64_t y)
{
    const struct stack_job *job = s->job;
    const struct amp *a = &job->meta->amp[amp];
    const struct raw_rows *r = &s->rows[i];
    float limit = limit_of(job, a, r->u16 != NULL);
    struct combine_frame f = {.gain = (float)a->gain_e_per_adu, .limit_adu = limit, .dark_s = (float)job->in[i].dark_s, .scale = (float)job->in[i].scale};
    if (s->signal) {
        float *counts = t->counts + (int64_t)i * job->meta->nx;
        rawsignal_row(&s->signal[i], r, &s->ghosts[i], amp, y, run, limit, t->work, counts, NULL);
        f.f32 = counts;
        f.limit_adu = INFINITY; /* saturated ones are NaN */
        return f;
    }
    int64_t at = (run->raw_y - r->y0) * r->nx + run->raw_x;
    f.u16 = r->u16 ? r->u16 + at : NULL;
    f.f32 = r->u16 ? NULL : r->f32 + at;
    f.level_adu = overscan_level(r, a, run->raw_y);
    return f;
}

/* One amplifier's run of one trimmed row. */
static void stack_run(const struct stacker *s, struct stack_scratch *t, int amp, const struct amp_run *run, int64_t y)
{
    const struct stack_job *job = s->job;
    int64_t out = y * job->meta->nx + run->dest_x;
    for (int i = 0; i < job->n; i++) t->frames[i] = frame_run(s, t, i, amp, run, y);
    combine_run(t->combine, t->frames, run->n, job->bias ? job->bias + out : NULL, job->dark ? job->dark + out : NULL, &job->noise[amp], s->value + out,
                s->variance + out, t->count);
}

static enum err stack_band(const struct stacker *s, const struct band *b, int64_t *clipped, struct error *err)
{
    const struct exposure_meta *m = s->job->meta;
    int n = s->job->n, failed = 0;
    int64_t lost = 0;
    /* Each row writes its own part of the planes; the count is an integer. */
#pragma omp parallel default(none) shared(s, b, m, n) reduction(+ : lost) reduction(| : failed)
    {
        struct stack_scratch t = {0};
        bool ok = scratch_new(&t, s);
        failed |= !ok;
#pragma omp for schedule(dynamic, 1)
        for (int64_t y = b->y0; y < b->y1; y++)
            for (int a = 0; a < m->namp && ok; a++) {
                struct amp_run run;
                if (!amp_run_of_row(&m->amp[a], y, &run)) continue;
                stack_run(s, &t, a, &run, y);
                for (int64_t i = 0; i < run.n; i++) lost += n - t.count[i];
            }
        scratch_free(&t);
    }
    *clipped += lost;
    return failed ? ERROR(err, ERR_NOMEM, "no memory to stack %d frames", n) : ERR_OK;
}

/* Trimmed rows of a band so that all files' stored rows fit into the memory given. */
static int64_t band_height(const struct stack_job *job)
{
    size_t budget = job->memory_bytes < BAND_BYTES ? job->memory_bytes : BAND_BYTES;
    int64_t rows = (int64_t)(budget / ((size_t)job->n * (size_t)job->meta->raw_nx * 2));
    int64_t most = (int64_t)(job->memory_bytes / ((job->signal && job->signal->crosstalk ? 2 : 1) * (size_t)job->n * (size_t)job->meta->raw_nx * sizeof(float)));
    int64_t useful = 4 * omp_get_max_threads(); /* fewer rows leave threads without work */
    if (rows < useful) rows = useful;
    if (rows > most) rows = most;
    if (rows < 1) rows = 1;
    return rows < job->meta->ny ? rows : job->meta->ny;
}

static enum err stacker_init(struct stacker *s, const struct stack_job *job, int64_t height, struct error *err)
{
    int64_t deepest = 1, deepest_ghost = 0;
    for (int64_t y = 0; y < job->meta->ny; y += height) {
        int64_t y1 = y + height < job->meta->ny ? y + height : job->meta->ny, r0, r1;
        amps_raw_rows(job->meta->amp, job->meta->namp, y, y1, &r0, &r1);
        if (r1 - r0 > deepest) deepest = r1 - r0;
        if (job->signal) rawsignal_ghost_rows(job->signal, job->meta->amp, job->meta->namp, y, y1, &r0, &r1);
        if (job->signal && r1 - r0 > deepest_ghost) deepest_ghost = r1 - r0;
    }
    s->job = job;
    s->buffer_bytes = ((size_t)deepest * (size_t)job->meta->raw_nx * sizeof(float) + 63) / 64 * 64;
    s->open = calloc((size_t)job->n, sizeof(struct raw_file *));
    s->rows = calloc((size_t)job->n, sizeof *s->rows);
    s->buffers = mem_array((size_t)job->n, s->buffer_bytes);
    s->ghosts = calloc((size_t)job->n, sizeof *s->ghosts);
    s->ghost_bytes = ((size_t)deepest_ghost * (size_t)job->meta->raw_nx * sizeof(float) + 127) / 64 * 64;
    s->ghost_buffers = mem_array((size_t)job->n, s->ghost_bytes);
    if (s->open && s->rows && s->buffers && s->ghosts && s->ghost_buffers) return ERR_OK;
    return ERROR(err, ERR_NOMEM, "no memory for %lld rows of %d frames", (long long)deepest, job->n);
}

static void stacker_release(struct stacker *s)
{
    for (int i = 0; s->open && i < s->job->n; i++) raw_file_close(s->open[i]);
    free(s->open);
    free(s->rows);
    free(s->buffers);
    free(s->ghosts);
    free(s->ghost_buffers);
    for (int i = 0; s->signal && i < s->job->n; i++) rawsignal_release(&s->signal[i]);
    free(s->signal);
}

/* Reads the whole file once for the levels of its rows and columns. */
static enum err measure_file(struct stacker *s, int i, struct error *err)
{
    const struct stack_job *job = s->job;
    const struct exposure_meta *m = job->meta;
    struct raw_file *f = NULL;
    struct raw_rows rows;
    void *buffer = mem_array((size_t)m->raw_nx * (size_t)m->raw_ny, sizeof(float));
    enum err code = buffer ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory to read '%s'", job->in[i].path);
    if (!code) code = raw_file_open(job->in[i].path, job->instruments, job->settings, &f, err);
    if (!code) code = raw_file_rows(f, job->in[i].hdu, m, 0, m->raw_ny, buffer, &rows, err);
    if (!code) code = rawsignal_measure(job->signal, &rows, m->amp, m->namp, &s->signal[i], err);
    raw_file_close(f);
    free(buffer);
    return code;
}

static enum err measure_files(struct stacker *s, struct error *err)
{
    int n = s->job->n, failed = n;
    struct error first = ERROR_INIT;
    if (!s->job->signal) return ERR_OK;
    s->signal = calloc((size_t)n, sizeof *s->signal);
    if (!s->signal) return ERROR(err, ERR_NOMEM, "no memory for the levels of %d frames", n);
    /* Each file fills its own slot; of several failures the lowest file is reported. */
#pragma omp parallel for default(none) shared(s, n, failed, first) schedule(dynamic, 1)
    for (int i = 0; i < n; i++) {
        struct error own = ERROR_INIT;
        if (!measure_file(s, i, &own)) continue;
#pragma omp critical(stack_failure)
        if (i < failed) {
            failed = i;
            first = own;
        }
    }
    if (failed == n) return ERR_OK;
    if (err) *err = first;
    return first.code;
}

enum err stack_files(const struct stack_job *job, float *value, float *variance, int64_t *ret_clipped, struct error *err)
{
    int64_t height = band_height(job), clipped = 0;
    struct stacker s = {.value = value, .variance = variance};
    memset(value, 0, (size_t)(job->meta->nx * job->meta->ny) * sizeof *value);
    memset(variance, 0, (size_t)(job->meta->nx * job->meta->ny) * sizeof *variance);
    enum err code = stacker_init(&s, job, height, err);
    if (!code) code = measure_files(&s, err);
    for (int64_t y = 0; y < job->meta->ny && !code; y += height) {
        struct band b = {.y0 = y, .y1 = y + height < job->meta->ny ? y + height : job->meta->ny};
        amps_raw_rows(job->meta->amp, job->meta->namp, b.y0, b.y1, &b.raw0, &b.raw1);
        if (job->signal) rawsignal_ghost_rows(job->signal, job->meta->amp, job->meta->namp, b.y0, b.y1, &b.ghost0, &b.ghost1);
        if (b.raw1 > b.raw0) code = read_band(&s, &b, err);
        if (b.raw1 > b.raw0 && !code) code = stack_band(&s, &b, &clipped, err);
    }
    stacker_release(&s);
    if (!code) *ret_clipped = clipped;
    return code;
}
