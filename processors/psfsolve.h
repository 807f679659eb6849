/* Small symmetric systems: Cholesky in place. a is n x n, row-major with the given stride, lower triangle used. */
#ifndef NIGHTSHIFT_PROCESSORS_PSFSOLVE_H
#define NIGHTSHIFT_PROCESSORS_PSFSOLVE_H

#include <math.h>
#include <stdbool.h>

/* a = L L^T; false when a is not positive definite (to 1e-12 of its diagonal). */
static inline bool psf_cholesky(double *a, int n, int stride)
{
    for (int j = 0; j < n; j++) {
        double d = a[j * stride + j], least = 1e-12 * d;
        for (int k = 0; k < j; k++) d -= a[j * stride + k] * a[j * stride + k];
        if (!(d > least) || !(least > 0)) return false;
        double root = sqrt(d);
        a[j * stride + j] = root;
        for (int i = j + 1; i < n; i++) {
            double s = a[i * stride + j];
            for (int k = 0; k < j; k++) s -= a[i * stride + k] * a[j * stride + k];
            a[i * stride + j] = s / root;
        }
    }
    return true;
}

/* b becomes the solution of L L^T x = b. */
static inline void psf_solve(const double *l, int n, int stride, double *b)
{
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < i; k++) b[i] -= l[i * stride + k] * b[k];
        b[i] /= l[i * stride + i];
    }
    for (int i = n - 1; i >= 0; i--) {
        for (int k = i + 1; k < n; k++) b[i] -= l[k * stride + i] * b[k];
        b[i] /= l[i * stride + i];
    }
}

#endif
