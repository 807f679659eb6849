/* A TAN-SIP solution fitted to pairs of pixel and sky positions, its order chosen by the data.
 *
 *     pixel (u, v) from the reference pixel --> polynomial of order 1..5 --> tangent plane at (crval) --> sky
 *
 * The polynomial is fitted by weighted least squares with clipping; of the orders the pairs can carry the one is taken that
 * predicts pairs it has not seen best (leave one out, exactly, from the hat matrix). The weights are the errors of star and
 * reference and an own scatter of the pairs (distortion between them, proper motions nobody knows), found on the way.
 *
 * Where the header has a distortion of its own (TPV, SIP, ...), the same can be done on top of it: pixel --> header's tangent
 * plane (base) --> polynomial. The caller keeps the better one (press_px); both end as TAN-SIP.
 *
 * Source: Shupe et al. 2005 (ASP 347, 491) for SIP; PRESS after Allen 1974 (Technometrics 16, 125). Departure from SCAMP
 * (Bertin 2006): no fixed order, no polynomial in the sky's plane (PV).
 * Threads: pure functions, sums in the order of the pairs.                                                            */
#ifndef NIGHTSHIFT_PROCESSORS_WCSFIT_H
#define NIGHTSHIFT_PROCESSORS_WCSFIT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

#define WCSFIT_ORDER_MAX 5
#define SIP_ORDER_MAX    7
#define SIP_TERMS        36       /* of order 7 */

/* Place of u^p v^q: orders one after the other, p falling. */
static inline int sip_term(int p, int q)
{
    return (p + q) * (p + q + 1) / 2 + q;
}

struct wcs_sip {
    double crpix[2];              /* 0-based pixels */
    double crval[2];              /* deg */
    double cd[4];                 /* deg per pixel */
    int order;                    /* of A and B; below 2: none */
    double a[SIP_TERMS], b[SIP_TERMS];
    int inverse_order;            /* of AP and BP; 0: none */
    double ap[SIP_TERMS], bp[SIP_TERMS];
};

struct wcsfit_pair {
    double x, y;                  /* 0-based pixels */
    double base[2];               /* the same in the header's tangent plane at the frame's centre, pixels */
    double ra, dec;               /* reference at the epoch, deg */
    double err;                   /* expected error per axis of both together, pixels */
};

struct wcsfit_options {
    int64_t nx, ny;               /* of the frame */
    double ra, dec;               /* somewhere near the frame's centre on the sky */
    double scale;                 /* deg per pixel, roughly */
    const double (*grid_base)[2]; /* NULL: fit in the pixels; else in the pairs' base, which is given here for the pixels of
                                     wcsfit_grid_pixel() and, last, for the frame's centre */
    int order_max;
    double clip;                  /* sigma */
};

struct wcsfit_result {
    struct wcs_sip sip;
    int order;                    /* of the polynomial fitted */
    bool on_base;
    int n, used;                  /* pairs given, pairs kept */
    double rms_px[2];             /* of those kept, per axis */
    double press_px;              /* error of prediction at a pair left out, per axis */
    double scatter_px;            /* beyond the expected errors */
    double chi2;                  /* reduced, with the expected errors alone */
    double grid_mean_px, grid_max_px; /* error of the solution over the frame, from the covariance; per axis */
    double convert_px;            /* largest error of writing it as SIP */
};

/* The pixels where grid_base is wanted: k below WCSFIT_GRID * WCSFIT_GRID. */
#define WCSFIT_GRID 24
void wcsfit_grid_pixel(int64_t nx, int64_t ny, int k, double *ret_x, double *ret_y);

/* Fit. residual (n * 2, pixels, star minus solution) and kept (n) may be NULL.
 * Status: ERR_NOT_FOUND when the pairs are too few or in a line; ERR_NOMEM */
enum err wcsfit_solve(const struct wcsfit_pair *pairs, int n, const struct wcsfit_options *opt, struct wcsfit_result *ret, double *residual, bool *kept,
                      struct error *err);

/* Evaluate: pixels (0-based) to deg and back (by AP, BP, then Newton steps). */
void wcs_sip_to_sky(const struct wcs_sip *s, double x, double y, double *ret_ra, double *ret_dec);
void wcs_sip_to_pixel(const struct wcs_sip *s, double ra, double dec, double *ret_x, double *ret_y); /* NaN on the far side */

/* Gnomonic projection about (ra0, dec0), all in degrees. */
void tangent_from_sky(double ra0, double dec0, double ra, double dec, double *ret_xi, double *ret_eta); /* NaN on the far side */
void tangent_to_sky(double ra0, double dec0, double xi, double eta, double *ret_ra, double *ret_dec);

/* Polynomial of an order through points, weighted: c[k] for ret_x and ret_y. For matching. u, v are scaled by `size`.
 * Returned: false when the points do not determine it. */
struct plane_poly {
    int order;
    double size;
    double cx[SIP_TERMS], cy[SIP_TERMS];
};
bool plane_poly_fit(int n, const double *u, const double *v, const double *tx, const double *ty, const double *weight, int order, double size,
                    struct plane_poly *ret);
void plane_poly_at(const struct plane_poly *p, double u, double v, double *ret_x, double *ret_y);

#endif
