#include "processors/badpix.h"

#include <math.h>
#include <stdlib.h>

#include "common/arena.h"
#include "common/stats.h"

#define SAMPLE_MAX   (1 << 20)
#define SEGMENT_ROWS 128
#define NEIGHBOURS   10

enum err plane_level_of(const float *value, const mask_t *mask, int64_t npix, struct plane_level *ret, struct error *err)
{
    int64_t step = npix / SAMPLE_MAX + 1, n = 0;
    float *work = mem_array((size_t)(npix / step + 1), sizeof *work);
    if (!work) return ERROR(err, ERR_NOMEM, "no memory for the level of a plane");
    for (int64_t i = 0; i < npix; i += step)
        if (isfinite(value[i]) && !(mask && (mask[i] & MASK_NO_DATA))) work[n++] = value[i];
    float median = median_f32(work, n);
    ret->median = median;
    ret->sigma = mad_sigma_f32(work, n, median);
    free(work);
    return ERR_OK;
}

int64_t badpix_dark(const float *dark, int64_t npix, const struct plane_level *level, double sigmas, mask_t *mask)
{
    float hot = (float)(level->median + sigmas * level->sigma), cold = (float)(level->median - sigmas * level->sigma);
    int64_t n = 0;
    for (int64_t i = 0; i < npix; i++) {
        if (dark[i] > hot) {
            mask[i] |= MASK_HOT;
            n++;
        }
        if (dark[i] < cold) mask[i] |= MASK_BAD;
    }
    return n;
}

int64_t badpix_flat(const float *flat, int64_t npix, double low, mask_t *mask)
{
    float floor = (float)low;
    int64_t n = 0;
    for (int64_t i = 0; i < npix; i++)
        if (!(flat[i] > floor) || !isfinite(flat[i])) {
            mask[i] |= MASK_LOWFLAT;
            n++;
        }
    return n;
}

/* ---- columns --------------------------------------------------------------------------------------------------- */

struct columns {
    const float *plane;
    int64_t nx, ny;
    double sigmas, least;
    mask_t *mask;
};

struct column_scratch {
    float *level, *residual, *work; /* nx, nx, max(nx, SEGMENT_ROWS) */
};

static float column_median(const struct columns *c, int64_t x, int64_t y0, int64_t y1, float *work)
{
    int64_t n = 0;
    for (int64_t y = y0; y < y1; y++) {
        float v = c->plane[y * c->nx + x];
        if (isfinite(v)) work[n++] = v;
    }
    return median_f32(work, n);
}

static float residual_of(const float *level, int64_t x, int64_t nx)
{
    float near[2 * NEIGHBOURS];
    int n = 0;
    for (int64_t i = x - NEIGHBOURS; i <= x + NEIGHBOURS; i++)
        if (i >= 0 && i < nx && i != x && isfinite(level[i])) near[n++] = level[i];
    return n ? level[x] - median_f32(near, n) : NAN;
}

static int64_t mark_segment(const struct columns *c, int64_t y0, int64_t y1, struct column_scratch *s)
{
    int64_t n = 0, marked = 0;
    for (int64_t x = 0; x < c->nx; x++) s->level[x] = column_median(c, x, y0, y1, s->work);
    for (int64_t x = 0; x < c->nx; x++) s->residual[x] = residual_of(s->level, x, c->nx);
    for (int64_t x = 0; x < c->nx; x++)
        if (isfinite(s->residual[x])) s->work[n++] = s->residual[x];
    double limit = c->sigmas * mad_sigma_f32(s->work, n, 0);
    if (!(limit > c->least)) limit = c->least;
    for (int64_t x = 0; x < c->nx; x++) {
        if (!(fabsf(s->residual[x]) > limit)) continue;
        for (int64_t y = y0; y < y1; y++) c->mask[y * c->nx + x] |= MASK_BAD;
        marked++;
    }
    return marked;
}

enum err badpix_columns(const float *plane, int64_t nx, int64_t ny, double sigmas, double least, mask_t *mask,
                        int64_t *ret_segments, struct error *err)
{
    struct columns c = {plane, nx, ny, sigmas, least, mask};
    int64_t nsegments = (ny + SEGMENT_ROWS - 1) / SEGMENT_ROWS, marked = 0;
    size_t nwork = (size_t)(nx > SEGMENT_ROWS ? nx : SEGMENT_ROWS);
    int failed = 0;
    /* Each segment marks its own rows; the count is an integer. */
#pragma omp parallel default(none) shared(c, nsegments, nx, ny, nwork) reduction(+ : marked) reduction(| : failed)
    {
        struct column_scratch s = {mem_array((size_t)nx, sizeof(float)), mem_array((size_t)nx, sizeof(float)),
                                   mem_array(nwork, sizeof(float))};
        bool ok = s.level && s.residual && s.work;
        failed |= !ok;
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < nsegments; i++) {
            int64_t y0 = i * SEGMENT_ROWS, y1 = y0 + SEGMENT_ROWS < ny ? y0 + SEGMENT_ROWS : ny;
            if (ok) marked += mark_segment(&c, y0, y1, &s);
        }
        free(s.level);
        free(s.residual);
        free(s.work);
    }
    if (failed) return ERROR(err, ERR_NOMEM, "no memory to look for bad columns");
    *ret_segments = marked;
    return ERR_OK;
}

/* ---- mending ------------------------------------------------------------------------------------------------------ */

#define DEFECT (MASK_BAD | MASK_HOT | MASK_LOWFLAT)

/* Distance to the nearest good pixel from pixel i, `steps` of them possible; 0: none in reach. */
static int good_within(const float *var, const mask_t *mask, int64_t i, int64_t stride, int64_t steps)
{
    for (int k = 1; k <= BADPIX_REACH && k <= steps; k++)
        if (!(mask[i + k * stride] & MASK_UNUSABLE) && var[i + k * stride] > 0) return k;
    return 0;
}

static bool mend_pixel(float *sci, float *var, const mask_t *mask, int64_t nx, int64_t ny, int64_t x, int64_t y)
{
    int64_t i = y * nx + x, stride = 1;
    int before = good_within(var, mask, i, -1, x), after = good_within(var, mask, i, 1, nx - 1 - x);
    int below = good_within(var, mask, i, -nx, y), above = good_within(var, mask, i, nx, ny - 1 - y);
    bool row = before && after, column = below && above;
    if (column && (!row || below + above < before + after)) {
        before = below;
        after = above;
        stride = nx;
    } else if (!row) {
        return false;
    }
    float share = (float)before / (float)(before + after);
    int64_t a = i - before * stride, b = i + after * stride;
    sci[i] = sci[a] + share * (sci[b] - sci[a]);
    var[i] = -(var[a] + share * (var[b] - var[a])); /* negative: mended, for the second pass */
    return true;
}

static bool is_defect(mask_t m)
{
    return m & DEFECT && !(m & MASK_NO_DATA);
}

void badpix_mend(float *sci, float *var, mask_t *mask, int64_t nx, int64_t ny, int64_t *ret_mended)
{
    int64_t mended = 0;
    /* Defects are written, good pixels are read. */
#pragma omp parallel for default(none) shared(sci, var, mask, nx, ny) schedule(static)
    for (int64_t y = 0; y < ny; y++)
        for (int64_t x = 0; x < nx; x++)
            if (is_defect(mask[y * nx + x])) mend_pixel(sci, var, mask, nx, ny, x, y);
    /* Now the mask may change. */
#pragma omp parallel for default(none) shared(var, mask, nx, ny) schedule(static) reduction(+ : mended)
    for (int64_t y = 0; y < ny; y++)
        for (int64_t i = y * nx; i < (y + 1) * nx; i++) {
            if (!is_defect(mask[i]) || !(var[i] < 0)) continue;
            var[i] = -var[i];
            mask[i] |= MASK_INTERPOLATED;
            mended++;
        }
    *ret_mended = mended;
}
