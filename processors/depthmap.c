#include "processors/depthmap.h"

#include <math.h>
#include <stdlib.h>

#include "common/arena.h"

#define SIDE 5     /* places of the lattice per side */
#define ROW_STEP 5 /* of the mask every fifth row is looked at: the share to 2 %, and no stripe of 2, 4 or 8 rows hides */

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- the noise area over the frame ---------------------------------------------------------------------------------- */

struct areas {
    int side; /* 1: the same everywhere */
    double at[SIDE * SIDE];
};

static enum err areas_make(const struct psf_model *psf, int64_t nx, int64_t ny, struct areas *ret, struct error *err)
{
    ret->side = psf->degree > 0 ? SIDE : 1;
    for (int k = 0; k < ret->side * ret->side; k++) {
        double u = ret->side > 1 ? (double)(k % SIDE) / (SIDE - 1) : 0.5, v = ret->side > 1 ? (double)(k / SIDE) / (SIDE - 1) : 0.5;
        ret->at[k] = psfmodel_noise_area(psf, u * (double)(nx - 1), v * (double)(ny - 1));
        if (!(ret->at[k] > 0)) return ERROR(err, ERR_NOMEM, "no memory for a PSF stamp");
    }
    return ERR_OK;
}

/* u, v: 0 to 1 across the frame. */
static double areas_at(const struct areas *a, double u, double v)
{
    if (a->side == 1) return a->at[0];
    double x = u * (SIDE - 1), y = v * (SIDE - 1);
    int i = (int)least((int64_t)x, SIDE - 2), j = (int)least((int64_t)y, SIDE - 2);
    const double *p = a->at + (ptrdiff_t)j * SIDE + i;
    x -= i, y -= j;
    return (1 - y) * ((1 - x) * p[0] + x * p[1]) + y * ((1 - x) * p[SIDE] + x * p[SIDE + 1]);
}

/* ---- the cells ------------------------------------------------------------------------------------------------------ */

static int32_t count_masked(const mask_t *m, int64_t n)
{
    int32_t sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += (m[i] & MASK_UNUSABLE) != 0;
    return sum;
}

static float cell_flux(float rms, double area, int64_t masked, int64_t npix)
{
    double usable = (double)(npix - masked) / (double)npix;
    return usable > 0 && rms > 0 && isfinite(rms) ? (float)(DEPTH_SNR / DEPTH_CLIPPED * (double)rms * sqrt(area / usable)) : NAN;
}

/* One row of cells. */
static void fill_row(const struct background *b, const mask_t *mask, const struct areas *areas, int64_t j, float *flux)
{
    int64_t cx = b->options.mesh_nx, cy = b->options.mesh_ny, y0 = j * cy, y1 = least(y0 + cy, b->ny);
    for (int64_t i = 0; i < b->gx; i++) {
        int64_t x0 = i * cx, x1 = least(x0 + cx, b->nx), masked = 0, rows = 0;
        for (int64_t y = y0; y < y1 && mask; y += ROW_STEP, rows++) masked += count_masked(mask + y * b->nx + x0, x1 - x0);
        double area = areas_at(areas, 0.5 * (double)(x0 + x1) / (double)b->nx, 0.5 * (double)(y0 + y1) / (double)b->ny);
        flux[i] = cell_flux(b->rms[j * b->gx + i], area, masked, (x1 - x0) * (rows ? rows : 1));
    }
}

/* ---- what is told of it --------------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    float p = *(const float *)a, q = *(const float *)b;
    return (p > q) - (p < q);
}

/* Of n sorted values, linear between them. */
static double quantile(const float *v, int64_t n, double share)
{
    if (n < 1) return NAN;
    double at = share * (double)(n - 1);
    int64_t i = least((int64_t)at, n - 1), next = least(i + 1, n - 1);
    return (double)v[i] + (at - (double)i) * ((double)v[next] - (double)v[i]);
}

static enum err summarise(struct depth_map *m, struct error *err)
{
    int64_t n = 0;
    float *v = mem_array((size_t)m->gx * (size_t)m->gy, sizeof *v);
    if (!v) return ERROR(err, ERR_NOMEM, "no memory for the depth of %lld cells", (long long)(m->gx * m->gy));
    for (int64_t i = 0; i < m->gx * m->gy; i++)
        if (isfinite(m->flux[i])) v[n++] = m->flux[i];
    qsort(v, (size_t)n, sizeof *v, by_value);
    m->deep = quantile(v, n, 0.05);
    m->median = quantile(v, n, 0.5);
    m->shallow = quantile(v, n, 0.95);
    free(v);
    return ERR_OK;
}

enum err depthmap_make(const struct background *b, const mask_t *mask, const struct psf_model *psf, struct depth_map *ret, struct error *err)
{
    struct areas areas;
    int64_t gx = b->gx, gy = b->gy;
    *ret = (struct depth_map){.gx = gx, .gy = gy, .cell_nx = b->options.mesh_nx, .cell_ny = b->options.mesh_ny};
    enum err code = areas_make(psf, b->nx, b->ny, &areas, err);
    if (code) return code;
    float *flux = ret->flux = mem_array((size_t)gx * (size_t)gy, sizeof *flux);
    if (!flux) return ERROR(err, ERR_NOMEM, "no memory for the depth of %lld cells", (long long)(gx * gy));
    /* Each row of cells is its own. */
#pragma omp parallel for default(none) shared(b, mask, areas, flux, gx, gy) schedule(static)
    for (int64_t j = 0; j < gy; j++) fill_row(b, mask, &areas, j, flux + j * gx);
    code = summarise(ret, err);
    if (code) depthmap_release(ret);
    return code;
}

void depthmap_release(struct depth_map *m)
{
    free(m->flux);
    *m = (struct depth_map){0};
}
