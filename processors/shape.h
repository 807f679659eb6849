/* Shape: moments, ellipses, isophotal profile and the windowed centroid of one object.
 *
 * Source: Bertin & Arnouts 1996, A&AS 117, 393; the Position and PositionWin chapters of the Source Extractor manual.
 * Found by experiment with Source Extractor 2.25 (docs/extract.md): FWHM_IMAGE is a Gaussian fitted to ln p against r^2
 * over the pixels above a fifth of the peak and the threshold, weighted by p^2, with slope >= 1/(13 a b) and 1/(4 FWHM) off; the window's
 * sigma is 2 r50 / 2.35 with r50 >= 1/2 and the centroid's variance adds a pixel's own 1/12.
 * Differences: a pixel that the window's rim cuts is weighed by how far it reaches in, without sub-pixels.              */
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

enum window_flag { WINDOW_NO_FLUX = 1, WINDOW_ESCAPED = 2, WINDOW_NOT_CONVERGED = 4 };

struct windowed {
    double x, y;
    double flux, fluxerr;         /* weighted by the window */
    double x2, y2, xy;            /* windowed moments */
    double errx2, erry2, errxy;
    double err_floor;
    int niter;
    int flags;                    /* enum window_flag; the position is the starting one when not 0 or 4 */
};
/* The windowed centroid from (x, y), for an object whose half-light radius is r50. The stamp must cover
 * window_reach(r50) around it. */
double window_reach(double r50);
void shape_window(struct stamp *s, const struct image_view *view, int32_t id, double x, double y, double r50, struct windowed *ret);

#endif
