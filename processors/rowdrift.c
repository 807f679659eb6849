#include "processors/rowdrift.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/stats.h"

#define TERMS_MAX   (ROWDRIFT_DEGREE_MAX + 1)
#define CLIP        3.0
#define ROUNDS      5
#define ROW_LEAST   16 /* usable pixels that make a median */

/* P_0 .. P_degree at t in [-1, 1]. */
static void legendre(double t, int terms, double *p)
{
    p[0] = 1;
    if (terms > 1) p[1] = t;
    for (int k = 2; k < terms; k++) p[k] = ((2 * k - 1) * t * p[k - 1] - (k - 1) * p[k - 2]) / k;
}

static double place(int64_t y, int64_t ny)
{
    return ny > 1 ? 2.0 * (double)y / (double)(ny - 1) - 1 : 0;
}

/* Solve the symmetric positive system a x = b in place (Cholesky). Returned: false when it is singular. */
static bool solve(int n, double a[TERMS_MAX][TERMS_MAX], double *b)
{
    for (int j = 0; j < n; j++) {
        for (int k = 0; k < j; k++) a[j][j] -= a[j][k] * a[j][k];
        if (!(a[j][j] > 1e-9)) return false;
        a[j][j] = sqrt(a[j][j]);
        for (int i = j + 1; i < n; i++) {
            for (int k = 0; k < j; k++) a[i][j] -= a[i][k] * a[j][k];
            a[i][j] /= a[j][j];
        }
    }
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < i; k++) b[i] -= a[i][k] * b[k];
        b[i] /= a[i][i];
    }
    for (int i = n - 1; i >= 0; i--) {
        for (int k = i + 1; k < n; k++) b[i] -= a[k][i] * b[k];
        b[i] /= a[i][i];
    }
    return true;
}

/* Least squares over the rows whose level is not NaN. */
static bool fit(const double *level, int64_t ny, int terms, double *c)
{
    double a[TERMS_MAX][TERMS_MAX] = {{0}}, p[TERMS_MAX];
    memset(c, 0, (size_t)terms * sizeof *c);
    for (int64_t y = 0; y < ny; y++) {
        if (isnan(level[y])) continue;
        legendre(place(y, ny), terms, p);
        for (int i = 0; i < terms; i++) {
            c[i] += p[i] * level[y];
            for (int j = 0; j <= i; j++) a[i][j] += p[i] * p[j];
        }
    }
    return solve(terms, a, c);
}

static double value_at(const double *c, int terms, int64_t y, int64_t ny)
{
    double p[TERMS_MAX], sum = 0;
    legendre(place(y, ny), terms, p);
    for (int i = 0; i < terms; i++) sum += c[i] * p[i];
    return sum;
}

/* Rows far from the fit become NaN. Returned: how many did. */
static int64_t clip_rows(double *level, double *work, const double *c, int terms, int64_t ny)
{
    int64_t n = 0, left_out = 0;
    for (int64_t y = 0; y < ny; y++)
        if (!isnan(level[y])) work[n++] = level[y] - value_at(c, terms, y, ny);
    double sigma = mad_sigma_f64(work, n, 0);
    for (int64_t y = 0; y < ny; y++)
        if (fabs(level[y] - value_at(c, terms, y, ny)) > CLIP * sigma) {
            level[y] = NAN;
            left_out++;
        }
    return left_out;
}

static enum err row_levels(const float *sci, const mask_t *mask, int64_t nx, int64_t ny, double *level, struct error *err)
{
    int failed = 0;
    /* Each row fills its own level. */
#pragma omp parallel default(none) shared(sci, mask, nx, ny, level) reduction(| : failed)
    {
        float *work = mem_array((size_t)nx, sizeof *work);
        failed |= !work;
#pragma omp for schedule(static)
        for (int64_t y = 0; y < ny; y++) {
            int64_t n = 0;
            for (int64_t x = 0; x < nx && work; x++)
                if (!(mask[y * nx + x] & MASK_UNUSABLE)) work[n++] = sci[y * nx + x];
            level[y] = n >= ROW_LEAST ? (double)median_f32(work, n) : NAN;
        }
        free(work);
    }
    return failed ? ERROR(err, ERR_NOMEM, "no memory for the rows of a frame") : ERR_OK;
}

static void subtract(float *sci, const float *inv_flat, int64_t nx, int64_t ny, const double *drift)
{
    /* Each row is changed by one thread. */
#pragma omp parallel for default(none) shared(sci, inv_flat, nx, ny, drift) schedule(static)
    for (int64_t y = 0; y < ny; y++) {
        float d = (float)drift[y], *row = sci + y * nx;
        const float *inv = inv_flat ? inv_flat + y * nx : NULL;
        for (int64_t x = 0; x < nx; x++) row[x] -= inv ? d * inv[x] : d;
    }
}

enum err rowdrift_remove(float *sci, const mask_t *mask, const float *inv_flat, int64_t nx, int64_t ny, int degree, double *ret_range,
                         struct error *err)
{
    double c[TERMS_MAX], *level = mem_array((size_t)ny, sizeof *level), *work = mem_array((size_t)ny, sizeof *work);
    enum err code = level && work ? row_levels(sci, mask, nx, ny, level, err) : ERROR(err, ERR_NOMEM, "no memory for the rows of a frame");
    int terms = degree + 1;
    if (terms > ny / 8) terms = (int)(ny / 8); /* a series needs several rows per term */
    *ret_range = 0;
    if (!code && terms > 1) {
        bool good = fit(level, ny, terms, c);
        for (int round = 0; round < ROUNDS && good && clip_rows(level, work, c, terms, ny); round++) good = fit(level, ny, terms, c);
        if (good) {
            double sum = 0, low = INFINITY, high = -INFINITY;
            for (int64_t y = 0; y < ny; y++) {
                work[y] = value_at(c, terms, y, ny);
                sum += work[y];
                low = fmin(low, work[y]);
                high = fmax(high, work[y]);
            }
            for (int64_t y = 0; y < ny; y++) work[y] -= sum / (double)ny;
            subtract(sci, inv_flat, nx, ny, work);
            *ret_range = high - low;
        }
    }
    free(level);
    free(work);
    return code;
}
