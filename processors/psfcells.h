/* Positions by place: which of n points are near (x, y). Cells of equal size, points of a cell in their own order. */
#ifndef NIGHTSHIFT_PROCESSORS_PSFCELLS_H
#define NIGHTSHIFT_PROCESSORS_PSFCELLS_H

#include <stdint.h>

#include "common/err.h"

struct psf_cells {
    int64_t nx, ny;      /* cells */
    double size;         /* pixels */
    int64_t *first;      /* nx * ny + 1 */
    int32_t *item;       /* indices of the points */
};

/* Given:   n points (below 2^31) of a field of width by height pixels; those outside (or NaN) go to the nearest cell
 * Status:  0; ERR_NOMEM. psf_cells_release() frees */
enum err psf_cells_make(struct psf_cells *c, const double *x, const double *y, int64_t n, double width, double height, double size,
                        struct error *err);
void psf_cells_release(struct psf_cells *c);
/* Cells [*i0, *i1) by [*j0, *j1) that hold all points within r of (x, y). */
void psf_cells_around(const struct psf_cells *c, double x, double y, double r, int64_t *i0, int64_t *i1, int64_t *j0, int64_t *j1);

#endif
