/* Where a frame points: its stars and reference stars in, a TAN-SIP solution with a verdict out.
 *
 *     header (rough) --> both lists in one tangent plane --> starmatch --> pairs, closer and closer --> wcsfit --> verdict
 *
 * A wrong solution is never called good. It is called solved only when
 *   - the pairs of the final solution stand out against chance, measured by shifting the lists, by more than 1e9 to 1;
 *   - scale, shear and the part of the frame they cover are sane;
 *   - pairs left out of the fit are predicted as well as those in it;
 *   - the covariance promises better than half a pixel in every corner of the frame.
 * What fails one of the last three is a doubt; what fails the first two is no solution.
 *
 * Source: starmatch.h, wcsfit.h. Threads: one; results depend on the input and its order only.                        */
#ifndef NIGHTSHIFT_PROCESSORS_WCSSOLVE_H
#define NIGHTSHIFT_PROCESSORS_WCSSOLVE_H

#include "common/err.h"
#include "common/refstars.h"
#include "common/skycoord.h"
#include "processors/wcsfit.h"

struct wcs_star {
    double x, y;              /* 0-based pixels */
    double flux;              /* any unit, brighter is more */
    double err;               /* of the position, pixels per axis; NaN unknown */
    int64_t tag;              /* the caller's own number of it, given back in residuals */
};

struct wcs_guess {
    struct skycoord *header;  /* rough coordinates; NULL: none, then ra and dec */
    double ra, dec;           /* deg; NaN unknown */
    double scale_arcsec;      /* NaN unknown; the header's goes first */
    int64_t nx, ny;
    double year;              /* Julian year of the exposure; NaN: reference stars stay where they are */
};

struct wcs_options {
    double radius_deg;        /* pointing error allowed */
    double scale_tolerance;
    int order_max;
    int stars_max;            /* brightest stars that are used */
    int pairs_min;
    double floor_px;          /* error of a star's position that its own error does not show */
};
#define WCS_OPTIONS_DEFAULT {.radius_deg = 1.1, .scale_tolerance = 0.07, .order_max = 5, .stars_max = 4000, .pairs_min = 6, .floor_px = 0.005}

enum wcs_status { WCS_NOT_TRIED, WCS_SOLVED, WCS_DOUBT, WCS_FAILED };

/* One pair of the final solution, for the residual map. */
struct wcs_residual {
    double x, y, dx, dy;      /* 0-based pixel; star minus solution, pixels */
    double ra, dec, mag;      /* reference */
    int64_t star, ref;        /* tag of the star; index of the reference */
    bool kept;
};

struct wcs_solution {
    enum wcs_status status;
    char reason[160];         /* of a doubt or failure; "" when solved */
    struct wcsfit_result fit;
    double scale_arcsec;
    double offset_arcsec;     /* of the frame's centre from where the header put it; NaN */
    double log10_odds;
    bool asked;               /* there were stars and references enough to say something */
    int references;           /* that fall into the frame */
    double chance;            /* pairs that chance gives */
    int nresidual;
    struct wcs_residual *residual; /* owned */
};

/* Status: 0 whatever the verdict; ERR_NOMEM */
enum err wcs_solve(const struct wcs_star *stars, int n, const struct refstars *refs, const struct wcs_guess *guess, const struct wcs_options *opt,
                   struct wcs_solution *ret, struct error *err);
void wcs_solution_release(struct wcs_solution *s);
const char *wcs_status_name(enum wcs_status s); /* "none", "solved", "doubt", "failed" */

#endif
