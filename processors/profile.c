#include "processors/profile.h"

#include <assert.h>
#include <math.h>

#include "common/units.h"

static void ellipse(struct profile *r)
{
    double det = r->x2 * r->y2 - r->xy * r->xy;
    if (!(det >= 1.0 / 144)) {
        r->x2 += 1.0 / 12;
        r->y2 += 1.0 / 12;
        det = r->x2 * r->y2 - r->xy * r->xy;
    }
    double mean = 0.5 * (r->x2 + r->y2), half = 0.5 * (r->x2 - r->y2), root = sqrt(half * half + r->xy * r->xy);
    r->a = sqrt(mean + root);
    r->b = sqrt(fmax(mean - root, 0));
    r->theta_rad = half == 0 && r->xy == 0 ? 0 : 0.5 * atan2(r->xy, half);
    r->cxx = r->y2 / det;
    r->cyy = r->x2 / det;
    r->cxy = -2 * r->xy / det;
}

/* A Gaussian of widths a and b has the area 2 pi a b ln(peak / level) above a level; the areas of the unfiltered pixels at
 * two levels give a b. */
static double truncation(const struct object_pixel *p, int64_t n, double threshold, const struct profile *r)
{
    double level = 0.5 * (threshold + r->peak);
    if (!(threshold > 0) || !(level > 0)) return 1;
    int64_t low = 0, high = 0;
    for (int64_t i = 0; i < n; i++) {
        low += p[i].value > threshold;
        high += p[i].value > level;
    }
    double area = low > high ? (double)(low - high) : 1;
    return fmin(area / (2 * PI * -log(fmin(threshold / level, 0.99)) * r->a * r->b), 1);
}

void profile_measure(const struct object_pixel *p, int64_t n, double threshold, const double *centre, struct profile *ret)
{
    assert(n >= 1);
    struct profile r = {.npix = n, .peak = p[0].value, .cpeak = p[0].cvalue, .xpeak = p[0].x, .ypeak = p[0].y,
                        .xmin = p[0].x, .xmax = p[0].x, .ymin = p[0].y, .ymax = p[0].y};
    const int32_t x0 = p[0].x, y0 = p[0].y;
    double sx = 0, sy = 0, sxx = 0, syy = 0, sxy = 0;
    for (int64_t i = 0; i < n; i++) {
        double c = p[i].cvalue, dx = p[i].x - x0, dy = p[i].y - y0, cx = c * dx, cy = c * dy;
        r.flux += p[i].value;
        r.cflux += c;
        sx += cx;
        sy += cy;
        sxx += cx * dx;
        syy += cy * dy;
        sxy += cx * dy;
        r.peak = p[i].value > r.peak ? p[i].value : r.peak;
        if (p[i].cvalue > r.cpeak) r.cpeak = p[i].cvalue, r.xpeak = p[i].x, r.ypeak = p[i].y;
        r.xmin = p[i].x < r.xmin ? p[i].x : r.xmin;
        r.xmax = p[i].x > r.xmax ? p[i].x : r.xmax;
        r.ymin = p[i].y < r.ymin ? p[i].y : r.ymin;
        r.ymax = p[i].y > r.ymax ? p[i].y : r.ymax;
    }
    double weight = r.cflux != 0 ? r.cflux : 1, mx = sx / weight, my = sy / weight;
    double ox = centre ? centre[0] - x0 - mx : 0, oy = centre ? centre[1] - y0 - my : 0;
    r.x = x0 + mx + ox;
    r.y = y0 + my + oy;
    r.x2 = fmax(sxx / weight - mx * mx + ox * ox, 0);
    r.y2 = fmax(syy / weight - my * my + oy * oy, 0);
    r.xy = sxy / weight - mx * my + ox * oy;
    ellipse(&r);
    r.truncation = truncation(p, n, threshold, &r);
    *ret = r;
}
