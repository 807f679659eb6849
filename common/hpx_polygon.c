#include "common/hpx_polygon.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/units.h"

static double dot(const double a[3], const double b[3])
{
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

static void cross(const double a[3], const double b[3], double ret[3])
{
    double x = a[1] * b[2] - a[2] * b[1], y = a[2] * b[0] - a[0] * b[2], z = a[0] * b[1] - a[1] * b[0];
    ret[0] = x, ret[1] = y, ret[2] = z;
}

static bool normalise(double v[3])
{
    double r = sqrt(dot(v, v));
    if (!(r > 0)) return false;
    for (int i = 0; i < 3; i++) v[i] /= r;
    return true;
}

/* a x b as (a + b) x (b - a) / 2: short edges keep their direction. False for equal or opposite ends. */
static bool edge_normal(const double a[3], const double b[3], double ret[3])
{
    double s[3], d[3];
    for (int i = 0; i < 3; i++) s[i] = a[i] + b[i], d[i] = b[i] - a[i];
    if (dot(s, s) < 1e-24 || dot(d, d) == 0) return false;
    cross(s, d, ret);
    return normalise(ret);
}

/* Signed area of a triangle, steradian; positive when counter-clockwise seen from outside the sphere. */
static double excess(const double a[3], const double b[3], const double c[3])
{
    double ab[3], ac[3], n[3];
    for (int i = 0; i < 3; i++) ab[i] = b[i] - a[i], ac[i] = c[i] - a[i];
    cross(ab, ac, n);
    return 2 * atan2(dot(a, n), 1 + dot(a, b) + dot(b, c) + dot(c, a));
}

static double signed_area(const struct hpx_polygon *p)
{
    double sum = 0;
    for (int i = 1; i + 1 < p->n; i++) sum += excess(p->vertex[0], p->vertex[i], p->vertex[i + 1]);
    return remainder(sum, 4 * PI);
}

static void reverse(struct hpx_polygon *p)
{
    for (int i = 0, k = p->n - 1; i < k; i++, k--) {
        double v[3], ra = p->ra[i], dec = p->dec[i];
        memcpy(v, p->vertex[i], sizeof v);
        memcpy(p->vertex[i], p->vertex[k], sizeof v);
        memcpy(p->vertex[k], v, sizeof v);
        p->ra[i] = p->ra[k], p->dec[i] = p->dec[k];
        p->ra[k] = ra, p->dec[k] = dec;
    }
}

/* Is the meridian of ra within the edge's range of right ascension, its start included, its end not? *east: which way it runs. */
static bool spans(const struct hpx_polygon *p, int i, double ra, bool *east)
{
    double from = p->ra[i], to = p->ra[(i + 1) % p->n], d = to - from;
    if (d > 180) d -= 360;
    if (d <= -180) d += 360;
    *east = d > 0;
    if (d == 0) return false;
    double low = *east ? from : to, high = *east ? to : from;
    return low < high ? ra >= low && ra < high : ra >= low || ra < high;
}

/* Does the way from here to the north pole cross an odd number of edges? */
static bool odd_to_pole(const struct hpx_polygon *p, double ra, const double v[3])
{
    bool odd = false, east;
    for (int i = 0; i < p->n; i++)
        if (spans(p, i, ra, &east)) odd ^= east ? dot(p->normal[i], v) < 0 : dot(p->normal[i], v) > 0;
    return odd;
}

static double ra_of(const double v[3])
{
    double ra = atan2(v[1], v[0]) * DEG_PER_RAD;
    if (ra < 0) ra += 360;
    return ra >= 360 ? 0 : ra;
}

/* A point known to be outside: opposite the middle of a polygon that fits on a hemisphere; else to the right of its longest
 * edge, since the inner side is on the left. */
static void outside_point(const struct hpx_polygon *p, double ret[3])
{
    double m[3] = {0}, longest = -1;
    bool hemisphere = true;
    for (int i = 0; i < p->n; i++)
        for (int k = 0; k < 3; k++) m[k] += p->vertex[i][k];
    for (int i = 0; i < p->n; i++) hemisphere &= dot(m, p->vertex[i]) > 0;
    if (hemisphere && normalise(m)) {
        for (int k = 0; k < 3; k++) ret[k] = -m[k];
        return;
    }
    for (int i = 0; i < p->n; i++) {
        const double *a = p->vertex[i], *b = p->vertex[(i + 1) % p->n];
        double length = 1 - dot(a, b);
        if (length <= longest) continue;
        longest = length;
        for (int k = 0; k < 3; k++) m[k] = a[k] + b[k];
        normalise(m);
        for (int k = 0; k < 3; k++) ret[k] = m[k] - 1e-6 * p->normal[i][k];
        normalise(ret);
    }
}

static bool is_convex(const struct hpx_polygon *p)
{
    const double straight = 1e-14; /* vertices on the line of an edge */
    for (int i = 0; i < p->n; i++)
        for (int k = 0; k < p->n; k++)
            if (dot(p->normal[i], p->vertex[k]) < -straight) return false;
    return true;
}

static bool is_flat(const struct hpx_polygon *p)
{
    for (int i = 0; i < p->n; i++)
        for (int k = 0; k < p->n; k++)
            if (fabs(dot(p->normal[i], p->vertex[k])) > 1e-15) return false;
    return true;
}

static enum hpx_polygon_fault add_vertices(struct hpx_polygon *p, int n, const double *ra, const double *dec)
{
    for (int i = 0; i < n; i++) {
        if (!isfinite(ra[i]) || !(fabs(dec[i]) <= 90)) return HPX_POLYGON_COORDINATE;
        hpx_vector(ra[i], dec[i], p->vertex[p->n]);
        double r = fmod(ra[i], 360);
        p->ra[p->n] = r < 0 ? r + 360 : r;
        if (p->ra[p->n] >= 360) p->ra[p->n] = 0;
        p->dec[p->n] = dec[i];
        if (p->n && !memcmp(p->vertex[p->n], p->vertex[p->n - 1], sizeof *p->vertex)) continue;
        p->n++;
    }
    while (p->n > 1 && !memcmp(p->vertex[0], p->vertex[p->n - 1], sizeof *p->vertex)) p->n--;
    return p->n < 3 ? HPX_POLYGON_FEW : HPX_POLYGON_GOOD;
}

static enum hpx_polygon_fault complete(struct hpx_polygon *p)
{
    double area = signed_area(p);
    if (area < 0) reverse(p);
    p->area = fabs(area) * DEG_PER_RAD * DEG_PER_RAD;
    for (int i = 0; i < p->n; i++)
        if (!edge_normal(p->vertex[i], p->vertex[(i + 1) % p->n], p->normal[i])) return HPX_POLYGON_ANTIPODAL;
    if (is_flat(p)) return HPX_POLYGON_FLAT;
    p->convex = is_convex(p);
    double out[3] = {0};
    outside_point(p, out);
    p->pole_inside = odd_to_pole(p, ra_of(out), out);
    return HPX_POLYGON_GOOD;
}

enum hpx_polygon_fault hpx_polygon_new(int n, const double *ra, const double *dec, struct hpx_polygon **ret)
{
    if (n < 3) return HPX_POLYGON_FEW;
    if (n > HPX_VERTICES_MAX) return HPX_POLYGON_MANY;
    size_t room = (size_t)n + 1;
    struct hpx_polygon *p = malloc(sizeof *p + room * 8 * sizeof(double));
    if (!p) return HPX_POLYGON_MEMORY;
    memset(p, 0, sizeof *p);
    p->vertex = (double(*)[3])p->memory;
    p->normal = p->vertex + room;
    p->ra = p->memory + 6 * room;
    p->dec = p->ra + room;
    enum hpx_polygon_fault f = add_vertices(p, n, ra, dec);
    if (!f) f = complete(p);
    if (f) free(p);
    else *ret = p;
    return f;
}

const char *hpx_polygon_fault_text(enum hpx_polygon_fault f)
{
    switch (f) {
    case HPX_POLYGON_GOOD: return "good";
    case HPX_POLYGON_FEW: return "less than three different vertices";
    case HPX_POLYGON_MANY: return "too many vertices";
    case HPX_POLYGON_COORDINATE: return "a coordinate out of range";
    case HPX_POLYGON_ANTIPODAL: return "an edge of 180 degrees";
    case HPX_POLYGON_FLAT: return "no area";
    case HPX_POLYGON_MEMORY: return "out of memory";
    }
    return "?";
}

void hpx_box(double ra, double dec, double width, double height, double ret_ra[4], double ret_dec[4])
{
    /* Around (0, 0): right side = meridian width/2; the top runs through (0, height/2) square to the prime meridian, and
     * meets that meridian where tan(lat) = tan(height/2) cos(width/2). Then turned to the centre. */
    double w = width / 2 * RAD_PER_DEG, lat = atan(tan(height / 2 * RAD_PER_DEG) * cos(w));
    double cd = cos(dec * RAD_PER_DEG), sd = sin(dec * RAD_PER_DEG);
    static const int east[4] = {1, -1, -1, 1}, north[4] = {-1, -1, 1, 1};
    for (int i = 0; i < 4; i++) {
        double x = cos(lat) * cos(w), y = cos(lat) * sin(w) * east[i], z = sin(lat) * north[i];
        double xx = x * cd - z * sd, zz = x * sd + z * cd;
        ret_ra[i] = fmod(ra, 360) + atan2(y, xx) * DEG_PER_RAD;
        if (ret_ra[i] < 0) ret_ra[i] += 360;
        if (ret_ra[i] >= 360) ret_ra[i] -= 360;
        ret_dec[i] = atan2(zz, hypot(xx, y)) * DEG_PER_RAD;
    }
}

static bool vector_inside(const struct hpx_polygon *p, double ra, const double v[3])
{
    if (!p->convex) return odd_to_pole(p, ra, v) != p->pole_inside;
    for (int i = 0; i < p->n; i++)
        if (dot(p->normal[i], v) < -4e-16) return false;
    return true;
}

bool hpx_polygon_has(const struct hpx_polygon *p, double ra, double dec)
{
    double v[3], r = fmod(ra, 360);
    if (!isfinite(ra) || !(fabs(dec) <= 90)) return false;
    hpx_vector(ra, dec, v);
    if (r < 0) r += 360;
    return vector_inside(p, r >= 360 ? 0 : r, v);
}

/* Is every point of the edge farther than `reach` from v? */
static bool clear_of(const struct hpx_polygon *p, int i, const double v[3], double reach)
{
    const double *a = p->vertex[i], *b = p->vertex[(i + 1) % p->n], *n = p->normal[i];
    const double rounding = 2e-15;
    double left[3], right[3];
    cross(n, a, left);
    cross(b, n, right);
    if (dot(left, v) >= -rounding && dot(right, v) >= -rounding) return fabs(dot(n, v)) > sin(fmin(reach, PI / 2)) + rounding;
    double chord = 2 * sin(fmin(reach, PI) / 2) + rounding, da = 0, db = 0;
    for (int k = 0; k < 3; k++) da += (a[k] - v[k]) * (a[k] - v[k]), db += (b[k] - v[k]) * (b[k] - v[k]);
    return fmin(da, db) > chord * chord;
}

static enum hpx_place place_in_polygon(const void *region, const double v[3], double reach)
{
    const struct hpx_polygon *p = region;
    for (int i = 0; i < p->n; i++)
        if (!clear_of(p, i, v, reach)) return HPX_PARTIAL;
    return vector_inside(p, ra_of(v), v) ? HPX_FULL : HPX_OUTSIDE;
}

int hpx_polygon_ranges(const struct hpx_polygon *p, int max, struct hpx_range *ret)
{
    return hpx_cover(place_in_polygon, p, sqrt(p->area) * RAD_PER_DEG / 2, max, ret);
}
