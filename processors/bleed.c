#include "processors/bleed.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#define RUN_LEAST 6    /* pixels along the column */
#define NARROW    3    /* pixels along the row: a trail, not the core */
#define TAIL_MOST 8    /* pixels beyond an end that are looked at */
#define TAIL_SIGMAS 3.0f

struct image {
    const float *sci, *var;
    mask_t *mask;
    int64_t nx, ny;
};

static bool saturated(const struct image *m, int64_t x, int64_t y)
{
    return m->mask[y * m->nx + x] & MASK_SATURATED;
}

/* Saturated pixels side by side around (x, y), counted up to one more than a trail has. */
static int width_at(const struct image *m, int64_t x, int64_t y)
{
    int width = 1;
    for (int64_t i = x - 1; i >= 0 && width <= NARROW && saturated(m, i, y); i--) width++;
    for (int64_t i = x + 1; i < m->nx && width <= NARROW && saturated(m, i, y); i++) width++;
    return width;
}

static bool stands_out(const struct image *m, int64_t x, int64_t y)
{
    int64_t i = y * m->nx + x;
    float left = x > 0 ? m->sci[i - 1] : -INFINITY, right = x + 1 < m->nx ? m->sci[i + 1] : -INFINITY;
    float side = left > right ? left : right;
    return m->sci[i] - side > TAIL_SIGMAS * sqrtf(m->var[i]);
}

static int64_t mark_tail(const struct image *m, int64_t x, int64_t y, int64_t step, int most)
{
    int64_t n = 0;
    for (int k = 0; k < most && y >= 0 && y < m->ny && (k == 0 || stands_out(m, x, y)); k++, y += step, n++) m->mask[y * m->nx + x] |= MASK_BLEED;
    return n;
}

/* Rows [y0, y1) of column x are saturated. */
static int64_t mark_run(const struct image *m, int64_t x, int64_t y0, int64_t y1)
{
    int64_t n = 0, narrow = 0;
    if (y1 - y0 < 2) return 0; /* a lone pixel: hot, or a cosmic ray */
    for (int64_t y = y0; y < y1; y++) narrow += width_at(m, x, y) <= NARROW;
    if (narrow < RUN_LEAST) return mark_tail(m, x, y0 - 1, -1, 1) + mark_tail(m, x, y1, 1, 1);
    for (int64_t y = y0; y < y1; y++)
        if (width_at(m, x, y) <= NARROW) {
            m->mask[y * m->nx + x] |= MASK_BLEED;
            n++;
        }
    return n + mark_tail(m, x, y0 - 1, -1, TAIL_MOST) + mark_tail(m, x, y1, 1, TAIL_MOST);
}

enum err bleed_mark(const float *sci, const float *var, mask_t *mask, int64_t nx, int64_t ny, int64_t *ret_pixels, struct error *err)
{
    const struct image m = {sci, var, mask, nx, ny};
    mask_t *any = calloc((size_t)nx, sizeof *any);
    if (!any) return ERROR(err, ERR_NOMEM, "no memory to look for bleed trails");
    for (int64_t y = 0; y < ny; y++) {
        const mask_t *row = mask + y * nx;
        for (int64_t x = 0; x < nx; x++) any[x] |= row[x];
    }
    *ret_pixels = 0;
    for (int64_t x = 0; x < nx; x++) {
        if (!(any[x] & MASK_SATURATED)) continue;
        for (int64_t y = 0; y < ny; y++) {
            int64_t from = y;
            while (y < ny && saturated(&m, x, y)) y++;
            if (y > from) *ret_pixels += mark_run(&m, x, from, y);
        }
    }
    free(any);
    return ERR_OK;
}
