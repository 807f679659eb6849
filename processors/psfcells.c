#include "processors/psfcells.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"

#define CELLS_MAX 4000000.0

static int64_t cell_at(double v, double size, int64_t n)
{
    double c = v / size;
    return c >= (double)n ? n - 1 : c >= 1 ? (int64_t)c : 0; /* NaN: 0 */
}

enum err psf_cells_make(struct psf_cells *c, const double *x, const double *y, int64_t n, double width, double height, double size,
                        struct error *err)
{
    double least = sqrt(fmax(width, 1) * fmax(height, 1) / CELLS_MAX);
    *c = (struct psf_cells){.size = fmax(fmax(size, 1), least)};
    c->nx = (int64_t)(fmax(width, 1) / c->size) + 1;
    c->ny = (int64_t)(fmax(height, 1) / c->size) + 1;
    c->first = mem_zarray((size_t)(c->nx * c->ny) + 2, sizeof *c->first);
    c->item = mem_array((size_t)(n ? n : 1), sizeof *c->item);
    if (!c->first || !c->item) {
        psf_cells_release(c);
        return ERROR(err, ERR_NOMEM, "no memory for the places of %lld objects", (long long)n);
    }
    /* count into first[cell + 2], sum, fill while first[cell + 1] walks to its end */
    for (int64_t i = 0; i < n; i++) c->first[cell_at(y[i], c->size, c->ny) * c->nx + cell_at(x[i], c->size, c->nx) + 2]++;
    for (int64_t k = 2; k < c->nx * c->ny + 2; k++) c->first[k] += c->first[k - 1];
    for (int64_t i = 0; i < n; i++)
        c->item[c->first[cell_at(y[i], c->size, c->ny) * c->nx + cell_at(x[i], c->size, c->nx) + 1]++] = (int32_t)i;
    return ERR_OK;
}

void psf_cells_release(struct psf_cells *c)
{
    free(c->first);
    free(c->item);
    *c = (struct psf_cells){0};
}

void psf_cells_around(const struct psf_cells *c, double x, double y, double r, int64_t *i0, int64_t *i1, int64_t *j0, int64_t *j1)
{
    *i0 = cell_at(x - r, c->size, c->nx);
    *i1 = cell_at(x + r, c->size, c->nx) + 1;
    *j0 = cell_at(y - r, c->size, c->ny);
    *j1 = cell_at(y + r, c->size, c->ny) + 1;
}
