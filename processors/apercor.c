#include "processors/apercor.h"

#include <math.h>

#define SHARE_LEAST 0.01 /* an aperture that holds less of the light is not corrected further */

static double factor_of(double share)
{
    return 1 / fmin(fmax(share, SHARE_LEAST), 1);
}

/* Place i of `side` along n pixels: from edge to edge. */
static double place(int i, int side, int64_t n)
{
    return side > 1 ? (double)(n - 1) * i / (side - 1) : 0.5 * (double)(n - 1);
}

enum err apercor_make(const struct psf_model *m, const double *diameter, int n, struct aperture_corrections *ret, struct error *err)
{
    double share[APERCOR_MAX];
    if (n < 0 || n > APERCOR_MAX) return ERROR(err, ERR_SHAPE, "%d apertures to correct: at most %d are possible", n, APERCOR_MAX);
    ret->n = n;
    ret->nx = m->nx;
    ret->ny = m->ny;
    ret->side = m->terms > 1 ? APERCOR_SIDE : 1;
    for (int k = 0; k < n; k++) ret->radius[k] = 0.5 * diameter[k];
    enum err e = psfmodel_growth(m, m->x0, m->y0, ret->radius, n, share, err);
    for (int k = 0; k < n && !e; k++) ret->factor[k] = factor_of(share[k]);
    for (int at = 0; at < ret->side * ret->side && !e; at++) {
        e = psfmodel_growth(m, place(at % ret->side, ret->side, m->nx), place(at / ret->side, ret->side, m->ny), ret->radius, n, share, err);
        for (int k = 0; k < n && !e; k++) ret->lattice[k][at] = (float)factor_of(share[k]);
    }
    return e;
}

double apercor_at(const struct aperture_corrections *c, int k, double x, double y)
{
    if (c->side < 2) return (double)c->lattice[k][0];
    double u = x / (double)(c->nx > 1 ? c->nx - 1 : 1) * (c->side - 1), v = y / (double)(c->ny > 1 ? c->ny - 1 : 1) * (c->side - 1);
    u = u > 0 ? fmin(u, c->side - 1.0) : 0;
    v = v > 0 ? fmin(v, c->side - 1.0) : 0;
    int i = (int)fmin(u, c->side - 2), j = (int)fmin(v, c->side - 2);
    const float *at = c->lattice[k] + j * c->side + i;
    double a = u - i, b = v - j;
    return (1 - b) * ((1 - a) * (double)at[0] + a * (double)at[1]) + b * ((1 - a) * (double)at[c->side] + a * (double)at[c->side + 1]);
}
