#include "processors/matched_scan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/isa.h"
#include "common/tiles.h"
#include "processors/detect_kernels.h"
#include "processors/matched_kernels.h"

static const struct matched_kernels *kernels(void)
{
#ifdef NIGHTSHIFT_HAVE_AVX2
    if (isa_level() == ISA_AVX2) return &matched_kernels_avx2;
#endif
    return &matched_kernels_generic;
}

enum { NOISE_ROWS = 4 /* of each block are sampled */, NOISE_STEP = 4 /* and every so many columns */ };

struct scan {
    const struct detect_input *in;
    const struct detect_options *o;
    const struct matched_kernel *k;
    struct matched_noise noise;
    int margin;
    int64_t stride;
};

/* One thread's rows: three rings of 2 radius + 1 rows around the one in work. */
struct scratch {
    float *weighted, *good, *root; /* padded, row y in slot y mod side */
    int64_t *bad;                  /* unusable pixels of each slot */
    float *zeros, *line, *sum, *norm, *clean_norm, *snr, *variance;
    uint64_t *bits;
    double *nodes;
};

static void scratch_release(struct scratch *s)
{
    free(s->weighted);
    free(s->good);
    free(s->root);
    free(s->bad);
    free(s->zeros);
    free(s->line);
    free(s->sum);
    free(s->norm);
    free(s->clean_norm);
    free(s->snr);
    free(s->variance);
    free(s->bits);
    free(s->nodes);
}

static int side_of(const struct scan *c)
{
    return 2 * c->k->radius + 1;
}

static int64_t slot_of(const struct scan *c, int64_t y)
{
    return y % side_of(c);
}

static float *ring(const struct scan *c, float *plane, int64_t y)
{
    return plane + slot_of(c, y) * c->stride + c->margin;
}

/* 1 / sqrt(sum K^2) of a row whose pixels, and those of all rows around it, are usable: less weight is left at both ends. */
static bool make_clean_norm(const struct scan *c, struct scratch *s)
{
    float *ones = mem_zarray((size_t)c->stride, sizeof *ones);
    const float *rows[MATCHED_SIDE_MAX];
    if (!ones) return false;
    for (int64_t x = 0; x < c->in->nx; x++) ones[c->margin + x] = 1;
    for (int j = 0; j < side_of(c); j++) rows[j] = ones + c->margin;
    kernels()->products(&c->k->square, c->k->radius, c->margin, rows, c->in->nx, s->line, s->sum);
    kernels()->normalise(s->sum, (float)(0.25 * c->k->norm2), c->in->nx, s->clean_norm);
    free(ones);
    return true;
}

static bool scratch_init(struct scratch *s, const struct scan *c)
{
    size_t wide = (size_t)c->stride, side = (size_t)side_of(c);
    s->weighted = mem_zarray(wide * side, sizeof *s->weighted);
    s->good = mem_zarray(wide * side, sizeof *s->good);
    s->root = mem_zarray(wide * side, sizeof *s->root);
    s->bad = mem_zarray(side, sizeof *s->bad);
    s->zeros = mem_zarray(wide, sizeof *s->zeros);
    s->line = mem_zarray(wide, sizeof *s->line);
    s->sum = mem_zarray(wide, sizeof *s->sum);
    s->norm = mem_zarray(wide, sizeof *s->norm);
    s->clean_norm = mem_zarray(wide, sizeof *s->clean_norm);
    s->snr = mem_zarray(wide, sizeof *s->snr);
    s->variance = mem_zarray(wide, sizeof *s->variance);
    s->bits = mem_zarray(wide / 64 + 1, sizeof *s->bits);
    s->nodes = mem_zarray(c->in->rms_map ? (size_t)background_scratch(c->in->rms_map) : 1, sizeof *s->nodes);
    return s->weighted && s->good && s->root && s->bad && s->zeros && s->line && s->sum && s->norm && s->clean_norm && s->snr &&
           s->variance && s->bits && s->nodes && make_clean_norm(c, s);
}

static void load_row(const struct scan *c, struct scratch *s, int64_t y)
{
    const struct detect_input *in = c->in;
    int64_t nx = in->nx;
    if (in->sigma2) {
        memcpy(s->variance, in->sigma2 + y * nx, (size_t)nx * sizeof(float));
    } else if (in->rms_map) {
        background_rms_row(in->rms_map, y, s->nodes, s->variance);
        for (int64_t x = 0; x < nx; x++) s->variance[x] = s->variance[x] > 0 ? s->variance[x] * s->variance[x] : 0;
    } else {
        for (int64_t x = 0; x < nx; x++) s->variance[x] = in->rms * in->rms;
    }
    if (in->mask) {
        const mask_t *mask = in->mask + y * nx, holes = c->o->holes, mended = c->o->mended;
        for (int64_t x = 0; x < nx; x++) s->variance[x] = (mask[x] & holes) && !(mask[x] & mended) ? 0 : s->variance[x];
    }
    s->bad[slot_of(c, y)] = kernels()->prepare(in->image + y * nx, s->variance, nx, in->rms > 0 ? 1 / in->rms : 0, ring(c, s->good, y), ring(c, s->weighted, y),
                                               ring(c, s->root, y));
}

/* The map at row y; all rows within the radius are loaded. */
static void make_row(const struct scan *c, struct scratch *s, int64_t y)
{
    const float *weighted[MATCHED_SIDE_MAX], *good[MATCHED_SIDE_MAX];
    bool clean = true;
    for (int j = 0; j < side_of(c); j++) {
        int64_t yy = y - c->k->radius + j;
        bool inside = yy >= 0 && yy < c->in->ny;
        weighted[j] = inside ? ring(c, s->weighted, yy) : s->zeros + c->margin;
        good[j] = inside ? ring(c, s->good, yy) : s->zeros + c->margin;
        clean &= inside && !s->bad[slot_of(c, yy)];
    }
    const float *norm = s->clean_norm;
    if (!clean) {
        kernels()->products(&c->k->square, c->k->radius, c->margin, good, c->in->nx, s->line, s->sum);
        kernels()->normalise(s->sum, (float)(0.25 * c->k->norm2), c->in->nx, s->norm);
        norm = s->norm;
    }
    kernels()->products(&c->k->psf, c->k->radius, c->margin, weighted, c->in->nx, s->line, s->sum);
    kernels()->scale(s->sum, norm, ring(c, s->root, y), c->in->nx, s->snr);
}

static struct scan scan_of(const struct detect_input *in, const struct detect_options *o, const struct matched_noise *noise)
{
    struct scan c = {.in = in, .o = o, .k = &o->matched->kernel, .noise = *noise};
    c.margin = (c.k->radius + 15) / 16 * 16;
    c.stride = (in->nx + 2 * c.margin + 127) / 64 * 64;
    return c;
}

/* ---- noise ---------------------------------------------------------------------------------------------------------- */

static void sample_block(const struct scan *c, struct scratch *s, int64_t block, int64_t *histogram)
{
    int64_t y0, y1;
    row_block(c->in->ny, block, &y0, &y1);
    int64_t from = y0 + (y1 - y0 > NOISE_ROWS ? (y1 - y0 - NOISE_ROWS) / 2 : 0), to = from + NOISE_ROWS < y1 ? from + NOISE_ROWS : y1;
    for (int64_t y = from - c->k->radius; y < to + c->k->radius; y++) {
        if (y >= 0 && y < c->in->ny) load_row(c, s, y);
        int64_t ready = y - c->k->radius;
        if (ready < from) continue;
        make_row(c, s, ready);
        const float *good = ring(c, s->good, ready);
        for (int64_t x = ready % NOISE_STEP; x < c->in->nx; x += NOISE_STEP) {
            double bin = floor((double)s->snr[x] * MATCHED_SCALE) + MATCHED_BINS / 2;
            if (good[x] > 0 && bin >= 0) histogram[bin < MATCHED_BINS ? (int)bin : MATCHED_BINS - 1]++;
        }
    }
}

enum err matched_scan_noise(const struct detect_input *in, const struct detect_options *o, struct matched_noise *ret, struct error *err)
{
    struct scan c = scan_of(in, o, &(struct matched_noise){0, 1});
    int64_t total[MATCHED_BINS] = {0}, blocks = row_blocks(in->ny);
    int failed = 0;
    /* Whole numbers are added, each block's to its thread's own first: the order does not matter. */
#pragma omp parallel default(none) shared(c, total, blocks) reduction(| : failed)
    {
        struct scratch s = {0};
        int64_t *histogram = mem_zarray(MATCHED_BINS, sizeof *histogram);
        bool ready = scratch_init(&s, &c) && histogram;
        failed |= !ready;
#pragma omp for schedule(dynamic)
        for (int64_t b = 0; b < blocks; b++)
            if (ready) sample_block(&c, &s, b, histogram);
#pragma omp critical(matched_noise)
        for (int k = 0; ready && k < MATCHED_BINS; k++) total[k] += histogram[k];
        free(histogram);
        scratch_release(&s);
    }
    if (failed) return ERROR(err, ERR_NOMEM, "could not allocate the rows of the matched filter");
    *ret = matched_noise_of(total);
    return ERR_OK;
}

/* ---- runs ----------------------------------------------------------------------------------------------------------- */

static bool add_run(const struct scan *c, struct scratch *s, int64_t x0, int64_t x1, int64_t y, struct strip *strip)
{
    const float *root = ring(c, s->root, y), *good = ring(c, s->good, y), *value = c->in->image + y * c->in->nx;
    float most = 0;
    for (int64_t x = x0; x < x1; x++) most = root[x] > most ? root[x] : most;
    /* an even light of this brightness has S = footprint */
    float level = (float)(c->o->matched->footprint * c->noise.sigma * sqrt(c->k->norm2)) / most;
    float *to = strip_add(strip, x0, x1, y, level);
    if (!to) return false;
    for (int64_t x = x0; x < x1; x++) to[x - x0] = good[x] > 0 ? value[x] : 0;
    memcpy(to + (x1 - x0), s->snr + x0, (size_t)(x1 - x0) * sizeof *to);
    return true;
}

/* What passes the footprint in row y. */
static bool search_row(const struct scan *c, struct scratch *s, int64_t y, struct strip *strip)
{
    int64_t nx = c->in->nx;
    float zero = (float)c->noise.zero, inverse = (float)(1 / c->noise.sigma);
    for (int64_t x = 0; x < nx; x++) s->snr[x] = (s->snr[x] - zero) * inverse;
    if (!detect_kernels()->above(s->snr, (float)c->o->matched->footprint, nx, s->bits)) return true;
    for (int64_t x0 = runs_next_bit(s->bits, nx, 0, true); x0 < nx;) {
        int64_t x1 = runs_next_bit(s->bits, nx, x0, false);
        if (!add_run(c, s, x0, x1, y, strip)) return false;
        x0 = x1 < nx ? runs_next_bit(s->bits, nx, x1, true) : nx;
    }
    return true;
}

static bool scan_strip(const struct scan *c, struct scratch *s, int64_t index, struct strip *strip)
{
    int64_t y0, y1;
    row_block(c->in->ny, index, &y0, &y1);
    for (int64_t y = y0 - c->k->radius; y < y1 + c->k->radius; y++) {
        if (y >= 0 && y < c->in->ny) load_row(c, s, y);
        int64_t ready = y - c->k->radius;
        if (ready < y0) continue;
        make_row(c, s, ready);
        if (!search_row(c, s, ready, strip)) return false;
    }
    return strip_close(strip);
}

enum err matched_scan_runs(const struct detect_input *in, const struct detect_options *o, const struct matched_noise *noise,
                           struct runs *ret, struct error *err)
{
    struct scan c = scan_of(in, o, noise);
    struct runs r = {.nstrips = row_blocks(in->ny)};
    r.strips = mem_zarray((size_t)r.nstrips, sizeof *r.strips);
    if (!r.strips) return ERROR(err, ERR_NOMEM, "could not allocate %lld strips", (long long)r.nstrips);
    int failed = 0;
    /* Each strip writes its own struct strip. */
#pragma omp parallel default(none) shared(c, r) reduction(| : failed)
    {
        struct scratch s = {0};
        bool ready = scratch_init(&s, &c);
        failed |= !ready;
#pragma omp for schedule(dynamic)
        for (int64_t b = 0; b < r.nstrips; b++) failed |= !ready || !scan_strip(&c, &s, b, &r.strips[b]);
        scratch_release(&s);
    }
    enum err code = failed ? ERROR(err, ERR_NOMEM, "could not allocate the matched filter's runs of pixels") : ERR_OK;
    if (!code) code = runs_join(&r, o->minarea, o->maxarea, err);
    if (code)
        runs_release(&r);
    else
        *ret = r;
    return code;
}
