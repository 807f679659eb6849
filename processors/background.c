#include "processors/background.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/isa.h"
#include "processors/background_kernels.h"

enum { BINS_MAX = 4096, ROUNDS_MAX = 100, GROUP_BYTES = 1 << 20 };

static const float UNKNOWN = -INFINITY; /* a mesh without statistics */

static const struct background_kernels *kernels(void)
{
#ifdef NIGHTSHIFT_HAVE_AVX2
    if (isa_level() == ISA_AVX2) return &background_kernels_avx2;
#endif
    return &background_kernels_generic;
}

struct background_options background_options_default(void)
{
    return (struct background_options){.mesh_nx = 64, .mesh_ny = 64, .filter_nx = 3, .filter_ny = 3,
                                       .reject = MASK_UNUSABLE};
}

enum err background_options_verify(const struct background_options *o, struct error *err)
{
    if (o->mesh_nx < 4 || o->mesh_ny < 4 || o->mesh_nx > 1 << 20 || o->mesh_ny > 1 << 20)
        return ERROR(err, ERR_SETTINGS, "cannot use a background mesh of %lld x %lld pixels: 4 to 1048576 are possible",
                     (long long)o->mesh_nx, (long long)o->mesh_ny);
    if (o->filter_nx < 1 || o->filter_ny < 1 || o->filter_nx > 999 || o->filter_ny > 999)
        return ERROR(err, ERR_SETTINGS, "cannot filter the background over %lld x %lld meshes: 1 to 999 are possible",
                     (long long)o->filter_nx, (long long)o->filter_ny);
    if (!(o->filter_thresh >= 0))
        return ERROR(err, ERR_SETTINGS, "cannot use a background filter threshold of %g", (double)o->filter_thresh);
    return ERR_OK;
}

/* ---- one mesh ------------------------------------------------------------------------------------------------------ */

struct mesh_scratch {
    float *values;      /* pixels of a group of meshes, mesh after mesh; what is bad is NaN */
    int32_t *bin;       /* of one mesh */
    uint32_t *histogram; /* BINS_MAX + 1 */
};

/* The histogram between two bins, whose ends move. The sums are exact integers. */
struct span {
    const uint32_t *h;
    int64_t lo, hi;       /* bins kept, inclusive */
    int64_t n, s1, s2;    /* pixels, sum of bins, of squares */
    int64_t middle, below; /* the median's bin, pixels kept below it */
};

static void span_add(struct span *s, int64_t bin, int sign)
{
    int64_t count = sign * (int64_t)s->h[bin];
    s->n += count;
    s->s1 += count * bin;
    s->s2 += count * bin * bin;
    if (bin < s->middle) s->below += count;
}

static void span_move(struct span *s, int64_t lo, int64_t hi)
{
    while (s->lo > lo) span_add(s, --s->lo, 1);
    while (s->hi < hi) span_add(s, ++s->hi, 1);
    while (s->lo < lo) span_add(s, s->lo++, -1);
    while (s->hi > hi) span_add(s, s->hi--, -1);
}

/* The median in bins, as Source Extractor places it: between the last bin p that has fewer pixels below it than above it
 * and its successor, shifted by half the imbalance over the fuller of the two. */
static double span_median(struct span *s)
{
    const uint32_t *h = s->h;
    while (s->middle > s->lo && 2 * s->below + (int64_t)h[s->middle] >= s->n) s->below -= h[--s->middle];
    while (s->middle < s->hi && 2 * (s->below + (int64_t)h[s->middle]) + (int64_t)h[s->middle + 1] < s->n)
        s->below += h[s->middle++];
    int64_t p = s->middle, low = s->below + (int64_t)h[p];
    if (2 * s->below + (int64_t)h[p] >= s->n) return (double)p; /* all in one bin */
    uint32_t fuller = h[p] > h[p + 1] ? h[p] : h[p + 1];
    return (double)p + 0.5 + (double)(s->n - 2 * low) / (2.0 * (fuller ? fuller : 1));
}

static void clip_span(struct span *s, int64_t nbins, double *ret_mean, double *ret_median, double *ret_sigma)
{
    double sigma = 10.0 * (double)nbins, last = 1, mean = 0, median = 0;
    for (int round = 0; round < ROUNDS_MAX && sigma >= 0.1 && fabs(sigma / last - 1) > 1e-4; round++) {
        last = sigma;
        if (s->n <= 0) break;
        double n = (double)s->n;
        mean = (double)s->s1 / n;
        sigma = sqrt(fmax(0, (double)s->s2 / n - mean * mean));
        median = span_median(s);
        double low = median - 3 * sigma, high = median + 3 * sigma;
        int64_t lo = low > 0 ? (int64_t)(low + 0.5) : 0, hi = high < (double)nbins ? (int64_t)(high + 0.5) : nbins - 1;
        if (hi > nbins - 1) hi = nbins - 1;
        if (lo > s->middle) lo = s->middle;
        if (hi < s->middle) hi = s->middle;
        span_move(s, lo, hi);
    }
    *ret_mean = mean;
    *ret_median = median;
    *ret_sigma = sigma;
}

/* Mode and sigma of the n values between mean - 5 sigma and mean + 5 sigma. */
static void mode_of_histogram(const float *v, int64_t n, int64_t used, double mean, double sigma, struct mesh_scratch *scratch,
                              float *ret_level, float *ret_rms)
{
    int64_t nbins = (int64_t)(sqrt(2 / 3.14159265358979) * 1.25 * (double)used) + 1;
    if (nbins > BINS_MAX) nbins = BINS_MAX;
    double step = 10 * sigma / (double)nbins, zero = mean - 5 * sigma;
    struct mesh_bins b;
    kernels()->bins(v, n, (float)zero, (float)(1 / step), (int)nbins, scratch->bin, &b);
    memset(scratch->histogram, 0, (size_t)(nbins + 1) * sizeof *scratch->histogram);
    for (int64_t i = 0; i < n; i++) scratch->histogram[scratch->bin[i]]++;
    struct span s = {.h = scratch->histogram, .hi = nbins - 1, .n = b.n, .s1 = b.sum, .s2 = b.sum2, .middle = nbins / 2,
                     .below = b.below};
    double centre, median, spread;
    clip_span(&s, nbins, &centre, &median, &spread);
    bool crowded = !(spread > 0) || fabs((centre - median) / spread) >= 0.3;
    double mode = crowded ? median : 2.5 * median - 1.5 * centre;
    *ret_level = (float)(zero + mode * step);
    *ret_rms = (float)(spread * step);
}

/* Statistics of one mesh of n values (bad ones NaN), of which more than half must be good. */
static void mesh_statistics(const float *v, int64_t n, struct mesh_scratch *scratch, float *ret_level, float *ret_rms)
{
    *ret_level = *ret_rms = UNKNOWN;
    struct mesh_moments m;
    float origin = 0;
    for (int64_t i = 0; i < n; i++) {
        if (fabsf(v[i]) <= BACKGROUND_HUGE) { /* about a pixel of the mesh, squares lose no digits */
            origin = v[i];
            break;
        }
    }
    kernels()->moments(v, n, -BACKGROUND_HUGE, BACKGROUND_HUGE, origin, &m);
    if (m.n < 0.5 * (double)n || m.n < 1) return;
    double mean = m.sum / m.n, sigma = sqrt(fmax(0, m.sum2 / m.n - mean * mean));
    double low = (double)origin + mean - 2 * sigma, high = (double)origin + mean + 2 * sigma;
    kernels()->moments(v, n, (float)low, (float)high, origin, &m);
    if (m.n >= 1) {
        mean = m.sum / m.n;
        sigma = sqrt(fmax(0, m.sum2 / m.n - mean * mean));
    }
    mean += origin;
    double floor_sigma = 1e-7 * fabs(mean); /* below the float's own steps there is no noise to measure */
    if (sigma <= floor_sigma) {
        *ret_level = (float)mean;
        *ret_rms = 0;
    } else {
        mode_of_histogram(v, n, (int64_t)m.n, mean, sigma, scratch, ret_level, ret_rms);
    }
}

/* ---- all meshes ---------------------------------------------------------------------------------------------------- */

struct estimate {
    const float *image;
    const mask_t *mask;
    struct background *b;
    int64_t group;      /* meshes copied at once */
};

static int64_t mesh_end(int64_t i, int64_t size, int64_t n)
{
    return (i + 1) * size < n ? (i + 1) * size : n;
}

/* Copy a row of one mesh, bad pixels as NaN. */
static void copy_row(const struct estimate *e, int64_t y, int64_t x0, int64_t x1, float *to)
{
    const float *from = e->image + y * e->b->nx + x0;
    if (!e->mask) {
        memcpy(to, from, (size_t)(x1 - x0) * sizeof *to);
        return;
    }
    const mask_t *mask = e->mask + y * e->b->nx + x0;
    mask_t reject = e->b->options.reject;
    for (int64_t i = 0; i < x1 - x0; i++) to[i] = mask[i] & reject ? NAN : from[i];
}

/* Meshes [i0, i1) of mesh row j: the rows of the image are read in order, each mesh becomes one block. */
static void estimate_group(const struct estimate *e, int64_t j, int64_t i0, int64_t i1, struct mesh_scratch *scratch)
{
    struct background *b = e->b;
    int64_t mx = b->options.mesh_nx, my = b->options.mesh_ny, y0 = j * my, y1 = mesh_end(j, my, b->ny);
    for (int64_t y = y0; y < y1; y++) {
        for (int64_t i = i0; i < i1; i++) {
            int64_t x0 = i * mx, x1 = mesh_end(i, mx, b->nx);
            copy_row(e, y, x0, x1, scratch->values + (i - i0) * mx * my + (y - y0) * (x1 - x0));
        }
    }
    for (int64_t i = i0; i < i1; i++) {
        int64_t n = (mesh_end(i, mx, b->nx) - i * mx) * (y1 - y0);
        mesh_statistics(scratch->values + (i - i0) * mx * my, n, scratch, &b->level[j * b->gx + i], &b->rms[j * b->gx + i]);
    }
}

static void scratch_release(struct mesh_scratch *s)
{
    free(s->values);
    free(s->bin);
    free(s->histogram);
}

static bool scratch_init(struct mesh_scratch *s, int64_t mesh_pixels, int64_t group)
{
    s->values = mem_array((size_t)(mesh_pixels * group), sizeof *s->values);
    s->bin = mem_array((size_t)mesh_pixels, sizeof *s->bin);
    s->histogram = mem_array(BINS_MAX + 1, sizeof *s->histogram);
    return s->values && s->bin && s->histogram;
}

static enum err estimate_meshes(struct estimate *e, struct error *err)
{
    struct background *b = e->b;
    int64_t mesh_pixels = b->options.mesh_nx * b->options.mesh_ny;
    e->group = GROUP_BYTES / (mesh_pixels * (int64_t)sizeof(float));
    if (e->group < 1) e->group = 1;
    if (e->group > b->gx) e->group = b->gx;
    int64_t groups = (b->gx + e->group - 1) / e->group, total = groups * b->gy;
    int failed = 0;
    /* Each group of meshes writes its own nodes of level and rms. */
#pragma omp parallel default(none) shared(e, b, mesh_pixels, groups, total) reduction(| : failed)
    {
        struct mesh_scratch scratch = {0};
        bool ready = scratch_init(&scratch, mesh_pixels, e->group);
        failed |= !ready;
#pragma omp for schedule(static)
        for (int64_t g = 0; g < total; g++) {
            int64_t j = g / groups, i0 = g % groups * e->group, i1 = i0 + e->group < b->gx ? i0 + e->group : b->gx;
            if (ready) estimate_group(e, j, i0, i1, &scratch);
        }
        scratch_release(&scratch);
    }
    return failed ? ERROR(err, ERR_NOMEM, "could not allocate the scratch of the background meshes") : ERR_OK;
}

/* ---- fill and filter ----------------------------------------------------------------------------------------------- */

/* Mean of the good meshes nearest to (x, y). last, next: column of the nearest good mesh at or before, at or after x in
 * each row, -1 for none. */
static void nearest_mean(const struct background *b, const int32_t *last, const int32_t *next, int64_t x, int64_t y,
                         float *ret_level, float *ret_rms)
{
    int64_t best = INT64_MAX, n = 0;
    double level = 0, rms = 0;
    for (int64_t step = 0; step < 2 * b->gy; step++) {
        int64_t dy = step & 1 ? -((step + 1) / 2) : step / 2, yy = y + dy;
        if (dy * dy > best) break;
        if (yy < 0 || yy >= b->gy) continue;
        int32_t side[2] = {last[yy * b->gx + x], next[yy * b->gx + x]};
        for (int k = 0; k < 2; k++) {
            if (side[k] < 0 || (k && side[1] == side[0])) continue;
            int64_t dx = side[k] - x, d2 = dx * dx + dy * dy;
            if (d2 > best) continue;
            if (d2 < best) best = d2, n = 0, level = rms = 0;
            level += b->level[yy * b->gx + side[k]];
            rms += b->rms[yy * b->gx + side[k]];
            n++;
        }
    }
    *ret_level = n ? (float)(level / (double)n) : 0;
    *ret_rms = n ? (float)(rms / (double)n) : 0;
}

static enum err fill_meshes(struct background *b, struct error *err)
{
    int64_t n = b->gx * b->gy;
    for (int64_t i = 0; i < n; i++) b->filled += b->level[i] == UNKNOWN;
    if (!b->filled) return ERR_OK;
    b->flags |= b->filled == n ? BACKGROUND_NO_DATA : BACKGROUND_FILLED;
    int32_t *last = mem_array((size_t)n, sizeof *last), *next = mem_array((size_t)n, sizeof *next);
    float *level = mem_array((size_t)n, sizeof *level), *rms = mem_array((size_t)n, sizeof *rms);
    enum err code = ERR_OK;
    if (!last || !next || !level || !rms) {
        code = ERROR(err, ERR_NOMEM, "could not allocate the background meshes");
        goto out;
    }
    for (int64_t y = 0; y < b->gy; y++) {
        int32_t near = -1;
        for (int64_t x = 0; x < b->gx; x++) {
            if (b->level[y * b->gx + x] != UNKNOWN) near = (int32_t)x;
            last[y * b->gx + x] = near;
        }
        near = -1;
        for (int64_t x = b->gx - 1; x >= 0; x--) {
            if (b->level[y * b->gx + x] != UNKNOWN) near = (int32_t)x;
            next[y * b->gx + x] = near;
        }
    }
    for (int64_t i = 0; i < n; i++) {
        level[i] = b->level[i];
        rms[i] = b->rms[i];
        if (b->level[i] == UNKNOWN) nearest_mean(b, last, next, i % b->gx, i / b->gx, &level[i], &rms[i]);
    }
    memcpy(b->level, level, (size_t)n * sizeof *level);
    memcpy(b->rms, rms, (size_t)n * sizeof *rms);
out:
    free(last);
    free(next);
    free(level);
    free(rms);
    return code;
}

static int compare_float(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The middle value, or the mean of the two; the meshes are few. Reorders v. */
static float median(float *v, int64_t n)
{
    if (n > 32) qsort(v, (size_t)n, sizeof *v, compare_float);
    for (int64_t i = 1; i < n && n <= 32; i++) {
        float x = v[i];
        int64_t j = i;
        for (; j > 0 && v[j - 1] > x; j--) v[j] = v[j - 1];
        v[j] = x;
    }
    return n % 2 ? v[n / 2] : (float)(0.5 * ((double)v[n / 2 - 1] + v[n / 2]));
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Median of both maps over a window that shrinks symmetrically towards the edges. */
static void filter_mesh(const struct background *b, int64_t x, int64_t y, float *work, float *ret_level, float *ret_rms)
{
    int64_t hx = smaller(b->options.filter_nx / 2, smaller(x, b->gx - 1 - x));
    int64_t hy = smaller(b->options.filter_ny / 2, smaller(y, b->gy - 1 - y));
    int64_t at = y * b->gx + x, n = 0;
    for (int64_t j = -hy; j <= hy; j++)
        for (int64_t i = -hx; i <= hx; i++) work[n++] = b->level[at + j * b->gx + i];
    *ret_level = median(work, n);
    if (fabsf(*ret_level - b->level[at]) < b->options.filter_thresh) {
        *ret_level = b->level[at];
        *ret_rms = b->rms[at];
        return;
    }
    n = 0;
    for (int64_t j = -hy; j <= hy; j++)
        for (int64_t i = -hx; i <= hx; i++) work[n++] = b->rms[at + j * b->gx + i];
    *ret_rms = median(work, n);
}

static float positive_median(float *work, const float *v, int64_t n)
{
    int64_t m = 0;
    for (int64_t i = 0; i < n; i++)
        if (v[i] > 0) work[m++] = v[i];
    return m ? median(work, m) : 0;
}

static enum err filter_meshes(struct background *b, struct error *err)
{
    int64_t n = b->gx * b->gy, window = b->options.filter_nx * b->options.filter_ny;
    float *work = mem_array((size_t)(window > n ? window : n), sizeof *work);
    float *level = mem_array((size_t)n, sizeof *level), *rms = mem_array((size_t)n, sizeof *rms);
    if (!work || !level || !rms) {
        free(work);
        free(level);
        free(rms);
        return ERROR(err, ERR_NOMEM, "could not allocate the background meshes");
    }
    for (int64_t i = 0; i < n; i++) filter_mesh(b, i % b->gx, i / b->gx, work, &level[i], &rms[i]);
    free(b->level);
    free(b->rms);
    b->level = level;
    b->rms = rms;
    memcpy(work, level, (size_t)n * sizeof *work);
    b->global_level = median(work, n);
    memcpy(work, rms, (size_t)n * sizeof *work);
    b->global_rms = median(work, n);
    if (!(b->global_rms > 0)) b->global_rms = positive_median(work, rms, n);
    if (!(b->global_rms > 0)) b->flags |= BACKGROUND_NO_NOISE;
    free(work);
    return ERR_OK;
}

/* ---- spline --------------------------------------------------------------------------------------------------------
 *
 * Through equally spaced values v[j], a sixth of the second derivatives, m[j], solves
 *     m[j-1] + 4 m[j] + m[j+1] = v[j-1] - 2 v[j] + v[j+1],   m[0] = m[n-1] = 0
 * by elimination with the factors coupling[j] = 1 / (4 - coupling[j-1]); between nodes j and j+1, s = 1 - t:
 *     s v[j] + t v[j+1] + (s^3 - s) m[j] + (t^3 - t) m[j+1]                                                            */

static void spline_solve(const double *coupling, double back, const double *v, int64_t n, double *m)
{
    m[0] = m[n - 1] = 0;
    for (int64_t j = 1; j < n - 1; j++) m[j] = coupling[j] * (v[j - 1] - 2 * v[j] + v[j + 1] - m[j - 1]);
    for (int64_t j = n - 2; j >= 1; j--) m[j] -= back * coupling[j] * m[j + 1];
}

/* How strongly a node follows its right-hand neighbour in the back substitution. */
static double spline_back(const struct background *b)
{
    return b->options.compat ? 1.0 / 6 : 1.0;
}

static enum err make_splines(struct background *b, struct error *err)
{
    int64_t most = b->gx > b->gy ? b->gx : b->gy;
    double *column = mem_array((size_t)most * 2, sizeof *column);
    b->coupling = mem_zarray((size_t)most, sizeof *b->coupling);
    b->level_d2 = mem_zarray((size_t)(b->gx * b->gy), sizeof *b->level_d2);
    b->rms_d2 = mem_zarray((size_t)(b->gx * b->gy), sizeof *b->rms_d2);
    if (!column || !b->coupling || !b->level_d2 || !b->rms_d2) {
        free(column);
        return ERROR(err, ERR_NOMEM, "could not allocate the background spline");
    }
    for (int64_t j = 1; j < most; j++) b->coupling[j] = 1 / (4 - b->coupling[j - 1]);
    double *m = column + most;
    for (int map = 0; map < 2 && b->gy > 2; map++) {
        const float *v = map ? b->rms : b->level;
        float *d2 = map ? b->rms_d2 : b->level_d2;
        for (int64_t x = 0; x < b->gx; x++) {
            for (int64_t y = 0; y < b->gy; y++) column[y] = v[y * b->gx + x];
            spline_solve(b->coupling, spline_back(b), column, b->gy, m);
            for (int64_t y = 0; y < b->gy; y++) d2[y * b->gx + x] = (float)m[y];
        }
    }
    free(column);
    return ERR_OK;
}

/* Which columns belong to which cell, and where each column stands in it. Beyond the outer nodes the outer cell's cubic
 * goes on. */
static enum err make_columns(struct background *b, struct error *err)
{
    int64_t cells = b->gx > 1 ? b->gx - 1 : 1;
    double size = (double)b->options.mesh_nx, origin = (size - 1) / 2;
    b->t = mem_array((size_t)b->nx, sizeof *b->t);
    b->cell_x0 = mem_zarray((size_t)cells + 1, sizeof *b->cell_x0);
    if (!b->t || !b->cell_x0) return ERROR(err, ERR_NOMEM, "could not allocate the background columns");
    int64_t cell = 0;
    for (int64_t x = 0; x < b->nx; x++) {
        double at = ((double)x - origin) / size;
        while (cell < cells - 1 && at >= (double)(cell + 1)) b->cell_x0[++cell] = x;
        b->t[x] = (float)(at - (double)cell);
    }
    while (cell < cells) b->cell_x0[++cell] = b->nx;
    return ERR_OK;
}

int64_t background_scratch(const struct background *b)
{
    return 2 * b->gx;
}

/* Node values of row y (scratch) and a sixth of their second derivatives along x (scratch + gx). */
static void row_nodes(const struct background *b, const float *v, const float *d2, double y, double *scratch)
{
    double size = (double)b->options.mesh_ny, origin = b->options.compat ? size / 2 : (size - 1) / 2;
    double at = (y - origin) / size;
    int64_t j = b->gy < 2 || at < 0 ? 0 : (int64_t)at;
    if (b->gy >= 2 && j > b->gy - 2) j = b->gy - 2;
    double t = at - (double)j, s = 1 - t, s3 = s * s * s - s, t3 = t * t * t - t;
    for (int64_t i = 0; i < b->gx; i++) {
        int64_t k = j * b->gx + i;
        scratch[i] = b->gy < 2 ? v[k] : s * v[k] + t * v[k + b->gx] + s3 * d2[k] + t3 * d2[k + b->gx];
    }
    spline_solve(b->coupling, spline_back(b), scratch, b->gx, scratch + b->gx);
}

/* The cubic of one cell in powers of t. */
static void cell_cubic(const struct background *b, const double *scratch, int64_t cell, double ret[4])
{
    const double *v = scratch + cell, *m = scratch + b->gx + cell;
    if (b->gx < 2) {
        ret[0] = v[0];
        ret[1] = ret[2] = ret[3] = 0;
        return;
    }
    ret[0] = v[0];
    ret[1] = v[1] - v[0] - 2 * m[0] - m[1];
    ret[2] = 3 * m[0];
    ret[3] = m[1] - m[0];
}

static void eval_row(const struct background *b, const double *scratch, const float *in, float *ret)
{
    int64_t cells = b->gx > 1 ? b->gx - 1 : 1;
    for (int64_t cell = 0; cell < cells; cell++) {
        double c[4];
        cell_cubic(b, scratch, cell, c);
        float f[4] = {(float)c[0], (float)c[1], (float)c[2], (float)c[3]};
        int64_t x0 = b->cell_x0[cell], n = b->cell_x0[cell + 1] - x0;
        if (in)
            kernels()->subtract_cubic(b->t + x0, n, f, in + x0, ret + x0);
        else
            kernels()->cubic(b->t + x0, n, f, ret + x0);
    }
}

void background_row(const struct background *b, int64_t y, double *scratch, float *ret)
{
    row_nodes(b, b->level, b->level_d2, (double)y, scratch);
    eval_row(b, scratch, NULL, ret);
}

void background_rms_row(const struct background *b, int64_t y, double *scratch, float *ret)
{
    row_nodes(b, b->rms, b->rms_d2, (double)y, scratch);
    eval_row(b, scratch, NULL, ret);
}

void background_subtract_row(const struct background *b, int64_t y, double *scratch, const float *in, float *ret)
{
    row_nodes(b, b->level, b->level_d2, (double)y, scratch);
    eval_row(b, scratch, in, ret);
}

/* Cell and place in it along one axis of n nodes. */
static int64_t cell_along(double at, int64_t n, double *ret_t)
{
    int64_t cell = n < 2 || at < 0 ? 0 : (int64_t)at;
    if (n >= 2 && cell > n - 2) cell = n - 2;
    *ret_t = at - (double)cell;
    return cell;
}

/* Between the four nodes around the pixel, straight on beyond the outer ones. */
static float bilinear_at(const struct background *b, double x, double y)
{
    double mx = (double)b->options.mesh_nx, my = (double)b->options.mesh_ny, t, u;
    int64_t i = cell_along((floor(x + 0.5) - mx / 2) / mx, b->gx, &t), j = cell_along((floor(y + 0.5) - my / 2) / my, b->gy, &u);
    const float *v = b->level + j * b->gx + i;
    int64_t right = b->gx > 1 ? 1 : 0, up = b->gy > 1 ? b->gx : 0;
    return (float)((1 - u) * ((1 - t) * v[0] + t * v[right]) + u * ((1 - t) * v[up] + t * v[up + right]));
}

float background_at(const struct background *b, double x, double y, double *scratch)
{
    if (b->options.compat) return bilinear_at(b, x, y);
    double size = (double)b->options.mesh_nx, c[4], t;
    int64_t cell = cell_along((x - (size - 1) / 2) / size, b->gx, &t);
    row_nodes(b, b->level, b->level_d2, y, scratch);
    cell_cubic(b, scratch, cell, c);
    return (float)(c[0] + t * (c[1] + t * (c[2] + t * c[3])));
}

/* ---- all together -------------------------------------------------------------------------------------------------- */

enum err background_estimate(const float *image, const mask_t *mask, int64_t nx, int64_t ny,
                             const struct background_options *options, struct background *ret, struct error *err)
{
    enum err code = background_options_verify(options, err);
    if (code) return code;
    if (nx < 1 || ny < 1) return ERROR(err, ERR_SHAPE, "cannot measure the background of an empty image");
    struct background b = {.nx = nx, .ny = ny, .options = *options};
    if (b.options.mesh_nx > nx) b.options.mesh_nx = nx;
    if (b.options.mesh_ny > ny) b.options.mesh_ny = ny;
    b.gx = (nx - 1) / b.options.mesh_nx + 1;
    b.gy = (ny - 1) / b.options.mesh_ny + 1;
    b.level = mem_array((size_t)(b.gx * b.gy), sizeof *b.level);
    b.rms = mem_array((size_t)(b.gx * b.gy), sizeof *b.rms);
    if (!b.level || !b.rms) code = ERROR(err, ERR_NOMEM, "could not allocate the background meshes");
    struct estimate e = {image, mask, &b, 1};
    if (!code) code = estimate_meshes(&e, err);
    if (!code) code = fill_meshes(&b, err);
    if (!code) code = filter_meshes(&b, err);
    if (!code) code = make_splines(&b, err);
    if (!code) code = make_columns(&b, err);
    if (code)
        background_release(&b);
    else
        *ret = b;
    return code;
}

void background_release(struct background *b)
{
    free(b->level);
    free(b->rms);
    free(b->level_d2);
    free(b->rms_d2);
    free(b->t);
    free(b->cell_x0);
    free(b->coupling);
    *b = (struct background){0};
}
