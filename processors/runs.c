#include "processors/runs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/tiles.h"
#include "processors/detect_kernels.h"

/* ---- union-find: the smaller index is the root --------------------------------------------------------------------- */

static int64_t find_root(int64_t *parent, int64_t i)
{
    while (parent[i] != i) {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    return i;
}

static void join(int64_t *parent, int64_t a, int64_t b)
{
    a = find_root(parent, a);
    b = find_root(parent, b);
    if (a < b)
        parent[b] = a;
    else
        parent[a] = b;
}

/* Join the runs [a0, a1) of one row with the runs [b0, b1) of the next. */
static void connect_rows(const struct run *run, int64_t *parent, int64_t a0, int64_t a1, int64_t b0, int64_t b1)
{
    int64_t a = a0, b = b0;
    while (a < a1 && b < b1) {
        if (run[a].x0 <= run[b].x1 && run[b].x0 <= run[a].x1) join(parent, a, b);
        if (run[a].x1 < run[b].x1)
            a++;
        else
            b++;
    }
}

void runs_connect(const struct run *run, int64_t n, int64_t *parent)
{
    int64_t previous = 0, start = 0;
    for (int64_t i = 0; i < n; i++) parent[i] = i;
    for (int64_t i = 1; i <= n; i++) {
        if (i < n && run[i].y == run[start].y) continue;
        if (start > 0 && run[previous].y == run[start].y - 1) connect_rows(run, parent, previous, start, start, i);
        previous = start;
        start = i;
    }
}

/* ---- one strip of rows --------------------------------------------------------------------------------------------- */

struct scan {
    const struct detect_input *in;
    const struct detect_options *o;
    struct convolve_kernel kernel; /* 1 x 1 without a filter */
    int64_t above, below;          /* rows of the kernel above and below its centre */
    float threshold;
    bool smooth;                   /* the variance goes through the filter too (compat) */
    int64_t stride;                /* floats of a padded row */
    int margin;
    float *halo;                   /* rows saved before in-place subtraction: (above + below) per strip; NULL: not needed */
};

struct scan_scratch {
    float *ring;            /* kernel rows, padded; with smooth as many rows of variance follow */
    float *zeros;           /* a padded row of sky */
    float *filtered, *limit, *row;
    uint64_t *bits;
    double *nodes;
};

static void scratch_release(struct scan_scratch *s)
{
    free(s->ring);
    free(s->zeros);
    free(s->filtered);
    free(s->limit);
    free(s->row);
    free(s->bits);
    free(s->nodes);
}

static bool scratch_init(struct scan_scratch *s, const struct scan *c)
{
    size_t wide = (size_t)c->stride;
    s->ring = mem_zarray(wide * (size_t)c->kernel.ny * (c->smooth ? 2 : 1), sizeof *s->ring);
    s->zeros = mem_zarray(wide, sizeof *s->zeros);
    s->filtered = mem_zarray(wide, sizeof *s->filtered);
    s->limit = mem_zarray(wide, sizeof *s->limit);
    s->row = mem_zarray(wide, sizeof *s->row);
    s->bits = mem_zarray(wide / 64 + 1, sizeof *s->bits);
    s->nodes = mem_zarray(c->in->background ? (size_t)background_scratch(c->in->background) : 1, sizeof *s->nodes);
    return s->ring && s->zeros && s->filtered && s->limit && s->row && s->bits && s->nodes;
}

/* Pixels that count as sky in the filter and are never detected. */
static inline bool is_hole(const struct detect_options *o, mask_t m)
{
    return (m & o->holes) && !(m & o->mended);
}

static float *ring_row(const struct scan *c, const struct scan_scratch *s, int64_t y)
{
    int64_t slot = y % c->kernel.ny;
    return s->ring + (slot < 0 ? slot + c->kernel.ny : slot) * c->stride + c->margin;
}

static float *variance_row(const struct scan *c, const struct scan_scratch *s, int64_t y)
{
    return ring_row(c, s, y) + c->kernel.ny * c->stride;
}

static inline bool is_variance(float v)
{
    return v > 0 && v < INFINITY;
}

/* Variances of a row for the filter; a pixel without one takes its left neighbour's. */
static void load_variance(const struct detect_input *in, int64_t y, float *to)
{
    const float *sigma2 = in->sigma2 + y * in->nx;
    float last = 0;
    for (int64_t x = 0; x < in->nx; x++) {
        if (is_variance(sigma2[x])) last = sigma2[x];
        to[x] = last;
    }
}

/* Put row y into the ring: subtracted, with sky in place of what has no value. keep: its row of the value plane. */
static void load_row(const struct scan *c, struct scan_scratch *s, int64_t y, const float *raw, float *keep)
{
    const struct detect_input *in = c->in;
    float *to = ring_row(c, s, y);
    const float *value = raw;
    if (in->background) {
        float *row = keep ? keep : s->row;
        background_subtract_row(in->background, y, s->nodes, raw, row);
        value = row;
    } else if (keep && keep != raw) {
        memcpy(keep, raw, (size_t)in->nx * sizeof *keep);
    }
    detect_kernels()->tidy(value, in->nx, to);
    if (in->mask) {
        const mask_t *mask = in->mask + y * in->nx;
        for (int64_t x = 0; x < in->nx; x++) to[x] = is_hole(c->o, mask[x]) ? 0 : to[x];
    }
    if (in->sigma2) {
        const float *sigma2 = in->sigma2 + y * in->nx;
        for (int64_t x = 0; x < in->nx; x++) to[x] = is_variance(sigma2[x]) ? to[x] : 0;
        if (c->smooth) load_variance(in, y, variance_row(c, s, y));
    }
}

static const float *raw_row(const struct scan *c, int64_t strip, int64_t y0, int64_t y1, int64_t y)
{
    if (!c->halo || (y >= y0 && y < y1)) return c->in->image + y * c->in->nx;
    int64_t slot = y < y0 ? y - (y0 - c->above) : c->above + y - y1;
    return c->halo + (strip * (c->above + c->below) + slot) * c->in->nx;
}

/* Does any pixel of the row have no right to be detected? Then those are taken out of the bits. */
static void punch_holes(const struct scan *c, int64_t y, uint64_t *bits)
{
    const struct detect_input *in = c->in;
    const float *value = (in->value ? in->value : in->image) + y * in->nx;
    for (int64_t w = 0; w < (in->nx + 63) / 64; w++) {
        for (uint64_t rest = bits[w]; rest; rest &= rest - 1) {
            int64_t x = 64 * w + __builtin_ctzll(rest);
            bool hole = !(fabsf(value[x]) <= 1e30f) || (in->mask && is_hole(c->o, in->mask[y * in->nx + x]));
            if (hole) bits[w] &= ~((uint64_t)1 << (x % 64));
        }
    }
}

static bool grow(void **p, int64_t *room, int64_t need, size_t size)
{
    int64_t want = *room * 2 > need ? *room * 2 : need;
    if (want < 256) want = 256;
    void *bigger = realloc(*p, (size_t)want * size);
    if (!bigger) return false;
    *p = bigger;
    *room = want;
    return true;
}

float *strip_add(struct strip *strip, int64_t x0, int64_t x1, int64_t y, float threshold)
{
    if (strip->n == strip->room && !grow((void **)&strip->run, &strip->room, strip->n + 1, sizeof *strip->run)) return NULL;
    int64_t need = strip->nvalues + 2 * (x1 - x0);
    if (need > strip->room_values && !grow((void **)&strip->values, &strip->room_values, need, sizeof *strip->values)) return NULL;
    float *to = strip->values + strip->nvalues;
    strip->run[strip->n++] = (struct run){.x0 = (int32_t)x0, .x1 = (int32_t)x1, .y = (int32_t)y, .threshold = threshold,
                                          .first = strip->nvalues};
    strip->nvalues = need;
    return to;
}

bool strip_close(struct strip *strip)
{
    strip->parent = mem_array((size_t)strip->n, sizeof *strip->parent);
    if (!strip->parent) return false;
    runs_connect(strip->run, strip->n, strip->parent);
    return true;
}

static bool add_run(struct strip *strip, const struct scan *c, const struct scan_scratch *s, int64_t x0, int64_t x1, int64_t y)
{
    float limit = c->threshold;
    if (c->in->sigma2) {
        limit = INFINITY;
        for (int64_t x = x0; x < x1; x++) limit = s->limit[x] < limit ? s->limit[x] : limit;
    }
    float *to = strip_add(strip, x0, x1, y, limit);
    if (!to) return false;
    memcpy(to, ring_row(c, s, y) + x0, (size_t)(x1 - x0) * sizeof *to);
    memcpy(to + (x1 - x0), s->filtered + x0, (size_t)(x1 - x0) * sizeof *to);
    return true;
}

int64_t runs_next_bit(const uint64_t *bits, int64_t nx, int64_t x, bool set)
{
    for (int64_t w = x / 64; 64 * w < nx; w++) {
        uint64_t word = set ? bits[w] : ~bits[w];
        if (w == x / 64) word &= ~(uint64_t)0 << (x % 64);
        if (word) {
            x = 64 * w + __builtin_ctzll(word);
            return x < nx ? x : nx;
        }
    }
    return nx;
}

static bool add_runs(struct strip *strip, const struct scan *c, const struct scan_scratch *s, int64_t y)
{
    int64_t nx = c->in->nx;
    for (int64_t x0 = runs_next_bit(s->bits, nx, 0, true); x0 < nx;) {
        int64_t x1 = runs_next_bit(s->bits, nx, x0, false);
        if (!add_run(strip, c, s, x0, x1, y)) return false;
        x0 = x1 < nx ? runs_next_bit(s->bits, nx, x1, true) : nx;
    }
    return true;
}

/* The rows of the kernel around row y, sky outside the image. */
static void kernel_rows(const struct scan *c, const struct scan_scratch *s, int64_t y, bool variance, const float **ret)
{
    for (int j = 0; j < c->kernel.ny; j++) {
        int64_t yy = y - c->above + j;
        bool outside = yy < 0 || yy >= c->in->ny;
        ret[j] = outside ? s->zeros + c->margin : variance ? variance_row(c, s, yy) : ring_row(c, s, yy);
    }
}

/* The threshold of each pixel of row y. */
static void set_limits(const struct scan *c, struct scan_scratch *s, int64_t y)
{
    const float *sigma2 = c->in->sigma2 + y * c->in->nx, *variance = sigma2;
    if (c->smooth) {
        const float *rows[CONVOLVE_SIDE_MAX];
        kernel_rows(c, s, y, true, rows);
        convolve_row(&c->kernel, rows, c->in->nx, s->limit);
        variance = s->limit;
    }
    for (int64_t x = 0; x < c->in->nx; x++)
        s->limit[x] = is_variance(sigma2[x]) && variance[x] > 0 ? c->threshold * sqrtf(variance[x]) : INFINITY;
}

/* Filter row y and keep what passes. */
static bool search_row(const struct scan *c, struct scan_scratch *s, int64_t y, struct strip *strip)
{
    const struct detect_input *in = c->in;
    const float *rows[CONVOLVE_SIDE_MAX];
    kernel_rows(c, s, y, false, rows);
    convolve_row(&c->kernel, rows, in->nx, s->filtered);
    int any;
    if (in->sigma2) {
        set_limits(c, s, y);
        any = detect_kernels()->above_each(s->filtered, s->limit, in->nx, s->bits);
    } else {
        any = detect_kernels()->above(s->filtered, c->threshold, in->nx, s->bits);
    }
    if (!any) return true;
    punch_holes(c, y, s->bits);
    return add_runs(strip, c, s, y);
}

static bool scan_strip(const struct scan *c, struct scan_scratch *s, int64_t index, struct strip *strip)
{
    const struct detect_input *in = c->in;
    int64_t y0, y1;
    row_block(in->ny, index, &y0, &y1);
    for (int64_t y = y0 - c->above; y < y1 + c->below; y++) {
        if (y >= 0 && y < in->ny) {
            bool own = y >= y0 && y < y1;
            load_row(c, s, y, raw_row(c, index, y0, y1, y), own && in->value ? in->value + y * in->nx : NULL);
        }
        if (y - c->below >= y0 && !search_row(c, s, y - c->below, strip)) return false;
    }
    return strip_close(strip);
}

/* ---- all strips ---------------------------------------------------------------------------------------------------- */

/* In-place subtraction would change rows that the neighbour strip still needs as they were. */
static enum err save_halo(struct scan *c, int64_t nstrips, struct error *err)
{
    const struct detect_input *in = c->in;
    int64_t rows = c->above + c->below, nx = in->nx, ny = in->ny;
    if (in->value != in->image || !in->background || !rows) return ERR_OK;
    c->halo = mem_array((size_t)(nstrips * rows), (size_t)nx * sizeof *c->halo);
    if (!c->halo) return ERROR(err, ERR_NOMEM, "could not allocate the rows between the strips");
    for (int64_t b = 0; b < nstrips; b++) {
        int64_t y0, y1;
        row_block(ny, b, &y0, &y1);
        for (int64_t j = 0; j < rows; j++) {
            int64_t y = j < c->above ? y0 - c->above + j : y1 + j - c->above;
            if (y < 0 || y >= ny) continue;
            memcpy(c->halo + (b * rows + j) * nx, in->image + y * nx, (size_t)nx * sizeof *c->halo);
        }
    }
    return ERR_OK;
}

static enum err scan_strips(struct scan *c, struct runs *r, struct error *err)
{
    int failed = 0;
    /* Each strip writes its own rows of the value plane and its own struct strip. */
#pragma omp parallel default(none) shared(c, r) reduction(| : failed)
    {
        struct scan_scratch scratch = {0};
        bool ready = scratch_init(&scratch, c);
        failed |= !ready;
#pragma omp for schedule(dynamic)
        for (int64_t b = 0; b < r->nstrips; b++) failed |= !ready || !scan_strip(c, &scratch, b, &r->strips[b]);
        scratch_release(&scratch);
    }
    return failed ? ERROR(err, ERR_NOMEM, "could not allocate the detection's runs of pixels") : ERR_OK;
}

/* One list of runs and one union-find, strip after strip; then the seams. */
static enum err sew_strips(struct runs *r, int64_t **ret_parent, struct error *err)
{
    for (int64_t b = 0; b < r->nstrips; b++) r->n += r->strips[b].n;
    r->run = mem_array((size_t)r->n, sizeof *r->run);
    int64_t *parent = mem_array((size_t)r->n, sizeof *parent);
    if (!r->run || !parent) {
        free(parent);
        return ERROR(err, ERR_NOMEM, "could not allocate %lld runs of pixels", (long long)r->n);
    }
    int64_t base = 0, before = 0; /* before: first run of the strip before */
    for (int64_t b = 0; b < r->nstrips; b++) {
        struct strip *s = &r->strips[b];
        for (int64_t i = 0; i < s->n; i++) {
            r->run[base + i] = s->run[i];
            r->run[base + i].value = s->values + s->run[i].first;
            r->run[base + i].cvalue = r->run[base + i].value + (s->run[i].x1 - s->run[i].x0);
            parent[base + i] = base + s->parent[i];
        }
        int64_t a0 = base, b1 = base;
        while (s->n && a0 > before && r->run[a0 - 1].y == r->run[base].y - 1) a0--;
        while (a0 < base && b1 < base + s->n && r->run[b1].y == r->run[base].y) b1++;
        connect_rows(r->run, parent, a0, base, base, b1);
        if (s->n) before = base;
        base += s->n;
    }
    *ret_parent = parent;
    return ERR_OK;
}

/* Components in the order of their last runs; stamp[root] first holds the last run, then the component. */
static enum err collect_components(struct runs *r, int64_t *parent, int64_t minarea, int64_t maxarea, struct error *err)
{
    int64_t *stamp = mem_array((size_t)r->n, sizeof *stamp), *npix = mem_zarray((size_t)r->n, sizeof *npix);
    int64_t *count = mem_zarray((size_t)r->n, sizeof *count);
    enum err code = ERR_OK;
    int64_t members = 0;
    if (!stamp || !npix || !count) goto nomem;
    for (int64_t i = 0; i < r->n; i++) {
        int64_t root = find_root(parent, i);
        parent[i] = root;
        stamp[root] = i;
        npix[root] += r->run[i].x1 - r->run[i].x0;
        count[root]++;
    }
    for (int64_t i = 0; i < r->n; i++) {
        if (parent[i] != i || npix[i] < minarea || (maxarea > 0 && npix[i] > maxarea)) continue;
        r->ncomp++;
        members += count[i];
    }
    r->comp_first = mem_array((size_t)r->ncomp + 1, sizeof *r->comp_first);
    r->comp_npix = mem_array((size_t)r->ncomp, sizeof *r->comp_npix);
    r->member = mem_array((size_t)members, sizeof *r->member);
    if (!r->comp_first || !r->comp_npix || !r->member) goto nomem;
    int64_t c = 0, at = 0;
    for (int64_t i = 0; i < r->n; i++) {
        int64_t root = parent[i];
        if (stamp[root] != i || npix[root] < minarea || (maxarea > 0 && npix[root] > maxarea)) continue;
        r->comp_first[c] = at;
        r->comp_npix[c++] = npix[root];
        at += count[root];
        count[root] = -at; /* filled from the back below: where its next member from the end goes */
    }
    r->comp_first[c] = at;
    for (int64_t i = r->n - 1; i >= 0; i--) {
        int64_t root = parent[i];
        if (count[root] >= 0) continue;
        r->member[-count[root] - 1] = i;
        if (i != root) count[root]++; /* the root is the first run: nothing follows it */
    }
    goto out;
nomem:
    code = ERROR(err, ERR_NOMEM, "could not allocate %lld components", (long long)r->ncomp);
out:
    free(stamp);
    free(npix);
    free(count);
    return code;
}

enum err runs_join(struct runs *r, int64_t minarea, int64_t maxarea, struct error *err)
{
    int64_t *parent = NULL;
    enum err code = sew_strips(r, &parent, err);
    if (!code) code = collect_components(r, parent, minarea, maxarea, err);
    free(parent);
    return code;
}

enum err runs_find(const struct detect_input *in, const struct detect_options *o, struct runs *ret, struct error *err)
{
    static const float one = 1;
    struct runs r = {.nstrips = row_blocks(in->ny)};
    struct scan c = {.in = in, .o = o, .kernel = o->filter ? *o->filter : (struct convolve_kernel){1, 1, &one}};
    c.above = c.kernel.ny / 2;
    c.below = c.kernel.ny - 1 - c.above;
    c.threshold = detect_threshold(in, o);
    c.smooth = o->compat && o->filter && in->sigma2;
    c.margin = convolve_margin(&c.kernel);
    c.stride = (in->nx + 2 * c.margin + 127) / 64 * 64;
    enum err code = ERR_OK;
    r.strips = mem_zarray((size_t)r.nstrips, sizeof *r.strips);
    if (!r.strips) code = ERROR(err, ERR_NOMEM, "could not allocate %lld strips", (long long)r.nstrips);
    if (!code) code = save_halo(&c, r.nstrips, err);
    if (!code) code = scan_strips(&c, &r, err);
    if (!code) code = runs_join(&r, o->minarea, o->maxarea, err);
    free(c.halo);
    if (code)
        runs_release(&r);
    else
        *ret = r;
    return code;
}

void runs_release(struct runs *r)
{
    for (int64_t b = 0; r->strips && b < r->nstrips; b++) {
        free(r->strips[b].run);
        free(r->strips[b].parent);
        free(r->strips[b].values);
    }
    free(r->strips);
    free(r->run);
    free(r->comp_first);
    free(r->comp_npix);
    free(r->member);
    *r = (struct runs){0};
}
