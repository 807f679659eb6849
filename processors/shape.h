/* Shape: moments, ellipses, isophotal profile and the windowed centroid of one object.
 *
 * Source: Bertin & Arnouts 1996, A&AS 117, 393; the Position and PositionWin chapters of the Source Extractor manual.
 * Found by experiment with Source Extractor 2.25 (docs/extract.md): FWHM_IMAGE is a Gaussian fitted to ln p against r^2
 * over the pixels above a fifth of the peak and the threshold, weighted by p^2, with slope >= 1/(13 a b) and 1/(4 FWHM) off; the window's
 * sigma is 2 r50 / 2.35 with r50 >= 1/2 and the centroid's variance adds a pixel's own 1/12.
 * Windowed moments are about the last centroid but one, their flags are the conditions named below.
 * Differences: a pixel that the window's rim cuts is weighed by how far it reaches in, without sub-pixels; a
 * centroid that leaves its start by more than 1.5 sigma and a pixel has run away to a neighbour and is given up.         */
#ifndef NIGHTSHIFT_PROCESSORS_SHAPE_H
#define NIGHTSHIFT_PROCESSORS_SHAPE_H

#include "processors/objects.h"
#include "processors/photometry.h"

struct ellipse_shape {
    double a, b, theta_rad;  /* rms lengths; angle in (-pi/2, pi/2], counter-clockwise from +x */
    double cxx, cyy, cxy;
};
/* The ellipse of second moments. Moments that are singular (determinant < floor^2) are widened by `floor` first: 1/12, the
 * variance of a pixel, for shapes; sum(sigma^2)/flux^2 for errors. */
struct ellipse_shape shape_ellipse(double x2, double y2, double xy, double floor);

#define ISO_LEVELS 8
struct isophote {
    double errx2, erry2, errxy;   /* variances of the barycentre */
    double err_floor;             /* what a singular error ellipse is widened by, 0: not singular */
    double variance;              /* of the background over the isophote */
    int32_t iso[ISO_LEVELS];      /* pixels above threshold * (peak / threshold)^(k/8) */
    double fwhm;
};
/* From the object's own pixels; values above the threshold count in iso, the filtered values weigh the errors. */
void shape_isophote(const struct image_view *view, const struct object *o, const struct object_pixel *pixels, struct isophote *ret);

/* Bits 1, 2 and 4 are Source Extractor's FLAGS_WIN. */
enum window_flag {
    WINDOW_INCONSISTENT = 1, /* the second moments are no ellipse: determinant <= 0 */
    WINDOW_NULL = 2,         /* a second moment is null or less */
    WINDOW_NO_FLUX = 4,      /* the flux in the window is null or less */
    WINDOW_ESCAPED = 8       /* the centroid ran away from its start */
};

struct windowed {
    double x, y;                  /* the starting position when flags is not 0 */
    double flux, fluxerr;         /* weighted by the window */
    double x2, y2, xy;            /* windowed moments about the centroid */
    double errx2, erry2, errxy;
    int niter;                    /* 17: it did not converge */
    int flags;                    /* enum window_flag: moments and errors mean nothing when not 0 */
};
/* The windowed centroid from (x, y), for an object whose half-light radius is r50. The stamp must cover
 * window_reach(r50) around it. */
double window_reach(double r50);
void shape_window(struct stamp *s, const struct image_view *view, int32_t id, double x, double y, double r50, struct windowed *ret);

#endif
