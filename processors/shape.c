#include "processors/shape.h"

#include <math.h>

#include "common/units.h"
#include "processors/photometry_kernels.h"

struct ellipse_shape shape_ellipse(double x2, double y2, double xy, double floor)
{
    if (x2 * y2 - xy * xy < floor * floor) {
        x2 += floor;
        y2 += floor;
    }
    double mean = 0.5 * (x2 + y2), half = 0.5 * (x2 - y2), r = sqrt(half * half + xy * xy), det = x2 * y2 - xy * xy;
    double b2 = mean - r;
    struct ellipse_shape e = {.a = sqrt(mean + r), .b = sqrt(b2 > 0.0 ? b2 : 0.0), .theta_rad = 0.5 * atan2(2.0 * xy, x2 - y2)};
    if (det > 0.0) {
        e.cxx = y2 / det;
        e.cyy = x2 / det;
        e.cxy = -2.0 * xy / det;
    }
    return e;
}

/* ---- isophote --------------------------------------------------------------------------------------------------- */

static double variance_at(const struct image_view *v, const struct object_pixel *p)
{
    return v->sigma2 ? (double)v->sigma2[(int64_t)p->y * v->nx + p->x] : (double)v->sigma2_const;
}

static void centroid_errors(const struct image_view *view, const struct object *o, const struct object_pixel *p, struct isophote *r)
{
    double flux = 0, total = 0, gain = view->gain > 0.0f ? 1.0 / (double)view->gain : 0.0;
    for (int64_t i = 0; i < o->npix; i++) {
        double c = (double)p[i].cvalue, e = variance_at(view, &p[i]), dx = p[i].x - o->x, dy = p[i].y - o->y;
        r->variance += e;
        e += c > 0.0 ? c * gain * (view->gain_sigma2 > 0.0f ? e / (double)view->gain_sigma2 : 1.0) : 0.0;
        flux += c;
        total += e;
        r->errx2 += e * dx * dx;
        r->erry2 += e * dy * dy;
        r->errxy += e * dx * dy;
    }
    if (!(flux > 0.0)) flux = INFINITY;
    double f2 = flux * flux, floor = total / f2;
    r->errx2 /= f2;
    r->erry2 /= f2;
    r->errxy /= f2;
    double det = o->x2 * o->y2 - o->xy * o->xy;
    bool thin = det < 1.01 / 144.0; /* a shape that was widened to 1/12 */
    if (thin && r->errx2 * r->erry2 - r->errxy * r->errxy < floor * floor) r->err_floor = floor;
}

static void iso_areas(const struct object *o, const struct object_pixel *p, struct isophote *r)
{
    float level[ISO_LEVELS], ratio = o->threshold > 0.0f && o->peak > 0.0f ? o->peak / o->threshold : 1.0f;
    double step = pow((double)ratio, 1.0 / ISO_LEVELS), at = (double)o->threshold;
    for (int k = 0; k < ISO_LEVELS; k++, at *= step) level[k] = (float)at;
    for (int64_t i = 0; i < o->npix; i++)
        for (int k = 0; k < ISO_LEVELS; k++) r->iso[k] += p[i].value > level[k];
}

static double core_fwhm(const struct object *o, const struct object_pixel *p)
{
    double limit = fmax(0.2 * (double)o->peak, (double)o->threshold);
    int64_t n = 0;
    double s = 0, sx = 0, sy = 0, sxx = 0, sxy = 0, ab = (double)o->a * (double)o->b;
    for (int64_t i = 0; i < o->npix; i++) {
        double v = (double)p[i].value;
        if (!(v > limit) || !(v > 0.0)) continue;
        double dx = p[i].x - o->x, dy = p[i].y - o->y, r2 = dx * dx + dy * dy, w = v * v, l = (double)logf(p[i].value);
        n++;
        s += w;
        sx += w * r2;
        sy += w * l;
        sxx += w * r2 * r2;
        sxy += w * r2 * l;
    }
    double d = s * sxx - sx * sx, slope = fabs(d) > 0.0 ? -(s * sxy - sx * sy) / d : 0.0;
    double least = ab > 0.0 ? 1.0 / (13.0 * ab) : 1.0;
    if (!(slope > least)) slope = least;
    double fwhm = 1.6651 / sqrt(slope); /* 2 sqrt(ln 2) */
    return n > 1 && fwhm > 0.5 ? fwhm - 0.25 / fwhm : 0.0; /* one pixel has no width */
}

void shape_isophote(const struct image_view *view, const struct object *o, const struct object_pixel *pixels, struct isophote *ret)
{
    *ret = (struct isophote){0};
    centroid_errors(view, o, pixels, ret);
    iso_areas(o, pixels, ret);
    ret->fwhm = core_fwhm(o, pixels);
}

/* ---- window ----------------------------------------------------------------------------------------------------- */

#define WINDOW_SIGMAS     4.0   /* the window ends here */
#define WINDOW_ITERATIONS 16
#define WINDOW_STEP       2e-4  /* pixels: converged */
#define WINDOW_ROAM       1.5   /* sigma that a centroid may leave its start by, and a pixel */
#define PIXEL_VARIANCE    (1.0 / 12.0)

static double window_sigma(double r50)
{
    return 2.0 * (r50 > 0.5 ? r50 : 0.5) / 2.35;
}

double window_reach(double r50)
{
    return (WINDOW_SIGMAS + WINDOW_ROAM) * window_sigma(r50) + 2.0;
}

static void window_results(const struct window_sums *t, struct windowed *r)
{
    double v2 = t->v * t->v, ox = t->vx / t->v, oy = t->vy / t->v;
    r->x2 = t->vxx / t->v - ox * ox;
    r->y2 = t->vyy / t->v - oy * oy;
    r->xy = t->vxy / t->v - ox * oy;
    r->errx2 = 4.0 * t->exx / v2;
    r->erry2 = 4.0 * t->eyy / v2;
    r->errxy = 4.0 * t->exy / v2;
    double det = r->x2 * r->y2 - r->xy * r->xy;
    if (det <= 0.0) r->flags |= WINDOW_INCONSISTENT;
    if (r->x2 <= 0.0 || r->y2 <= 0.0) r->flags |= WINDOW_NULL;
    if (det < PIXEL_VARIANCE * PIXEL_VARIANCE) {
        r->x2 += PIXEL_VARIANCE;
        r->y2 += PIXEL_VARIANCE;
    }
}

/* Move (cx, cy) until it stands still. Returned: the query of the last evaluation. r->flags says how it ended. */
static struct window_query window_search(struct stamp *s, const struct image_view *view, int32_t id, double r50, struct windowed *r)
{
    const struct photometry_kernels *kernels = photometry_kernels_now();
    struct window_query q = {.sigma = window_sigma(r50), .sigma2 = (double)view->sigma2_const,
                             .inv_gain = view->gain > 0.0f ? 1.0 / (double)view->gain : 0.0,
                             .inv_gain_sigma2 = view->gain_sigma2 > 0.0f ? 1.0 / (double)view->gain_sigma2 : 0.0};
    double x = r->x, y = r->y, roam = WINDOW_ROAM * q.sigma + 1.0;
    q.rmax = WINDOW_SIGMAS * q.sigma;
    for (r->niter = 1; r->niter <= WINDOW_ITERATIONS; r->niter++) {
        struct window_sums t;
        stamp_mirror(s, view, id, r->x, r->y);
        q.fx = r->x - s->x0;
        q.fy = r->y - s->y0;
        kernels->window(s, &q, &t);
        if (!(t.v > 0.0)) {
            r->flags = WINDOW_NO_FLUX;
            break;
        }
        double dx = 2.0 * t.vx / t.v, dy = 2.0 * t.vy / t.v;
        r->x += dx;
        r->y += dy;
        if (!(fabs(r->x - x) <= roam && fabs(r->y - y) <= roam)) {
            r->flags = WINDOW_ESCAPED;
            break;
        }
        if (dx * dx + dy * dy < WINDOW_STEP * WINDOW_STEP) break;
    }
    return q;
}

void shape_window(struct stamp *s, const struct image_view *view, int32_t id, double x, double y, double r50, struct windowed *ret)
{
    struct window_sums t;
    *ret = (struct windowed){.x = x, .y = y};
    struct window_query q = window_search(s, view, id, r50, ret);
    if (ret->flags & WINDOW_ESCAPED) {
        q.fx = x - s->x0;
        q.fy = y - s->y0;
        stamp_mirror(s, view, id, x, y);
    }
    q.moments = true;
    photometry_kernels_now()->window(s, &q, &t);
    ret->flux = t.v;
    ret->fluxerr = sqrt(t.e);
    if (t.v > 0.0)
        window_results(&t, ret);
    else
        ret->flags |= WINDOW_NO_FLUX | WINDOW_NULL;
    if (ret->flags) {
        ret->x = x;
        ret->y = y;
    }
}
