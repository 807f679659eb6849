#include "common/hpx.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "common/units.h"

/* Row and column of each face's southern corner on the 4 x 8 grid of the projection plane (Gorski 2005, figure 4). */
static const int face_row[12] = {2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4};
static const int face_column[12] = {1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7};

/* ---- bits --------------------------------------------------------------------------------------------------------- */

/* Bit i of x goes to bit 2i. */
static uint64_t spread_bits(uint64_t x)
{
    x &= 0xffffffffu;
    x = (x | x << 16) & UINT64_C(0x0000ffff0000ffff);
    x = (x | x << 8) & UINT64_C(0x00ff00ff00ff00ff);
    x = (x | x << 4) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    x = (x | x << 2) & UINT64_C(0x3333333333333333);
    return (x | x << 1) & UINT64_C(0x5555555555555555);
}

static uint64_t gather_bits(uint64_t x)
{
    x &= UINT64_C(0x5555555555555555);
    x = (x | x >> 1) & UINT64_C(0x3333333333333333);
    x = (x | x >> 2) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    x = (x | x >> 4) & UINT64_C(0x00ff00ff00ff00ff);
    x = (x | x >> 8) & UINT64_C(0x0000ffff0000ffff);
    return (x | x >> 16) & 0xffffffffu;
}

/* ---- directions and pixels ---------------------------------------------------------------------------------------- */

void hpx_vector(double ra_deg, double dec_deg, double ret[3])
{
    double ra = ra_deg * RAD_PER_DEG, dec = dec_deg * RAD_PER_DEG, c = cos(dec);
    ret[0] = c * cos(ra);
    ret[1] = c * sin(ra);
    ret[2] = sin(dec);
}

/* Integer cell of a face coordinate; the far edge belongs to the last cell. */
static int64_t cell_of(double u)
{
    const int64_t n = INT64_C(1) << HPX_ORDER;
    int64_t i = (int64_t)floor(u * (double)n);
    return i < 0 ? 0 : i >= n ? n - 1 : i;
}

struct spot { /* face coordinates */
    int face;
    double u, v;
};

static int64_t pixel_of(struct spot s)
{
    uint64_t x = (uint64_t)cell_of(s.u), y = (uint64_t)cell_of(s.v);
    return (int64_t)((uint64_t)s.face << (2 * HPX_ORDER) | spread_bits(y) << 1 | spread_bits(x));
}

/* |sin dec| <= 2/3: lines of constant a (rising to the north-west) and b (to the north-east) cut the band into faces. */
static struct spot equatorial_spot(double z, double quarter)
{
    double a = 0.5 + quarter - 0.75 * z, b = 0.5 + quarter + 0.75 * z;
    int ia = (int)floor(a), ib = (int)floor(b);
    int face = ia == ib ? (ia & 3) + 4 : ia < ib ? ia & 3 : (ib & 3) + 8;
    return (struct spot){face, b - ib, 1 - (a - ia)};
}

static struct spot polar_spot(double z, double c, double quarter)
{
    int q = quarter >= 3 ? 3 : (int)quarter;
    double t = quarter - q, za = fabs(z);
    double sigma = c / sqrt((1 + za) / 3); /* sqrt(3 (1 - |z|)) */
    double p = t * sigma, m = (1 - t) * sigma;
    return z > 0 ? (struct spot){q, 1 - m, 1 - p} : (struct spot){q + 8, p, m};
}

static bool spot_of(double ra_deg, double dec_deg, struct spot *ret)
{
    if (!isfinite(ra_deg) || !(fabs(dec_deg) <= 90)) return false;
    double quarter = fmod(ra_deg, 360) / 90;
    if (quarter < 0) quarter += 4;
    if (quarter >= 4) quarter = 0; /* a tiny negative angle rounds up to 4 */
    double z = sin(dec_deg * RAD_PER_DEG);
    *ret = fabs(z) <= 2.0 / 3 ? equatorial_spot(z, quarter) : polar_spot(z, cos(dec_deg * RAD_PER_DEG), quarter);
    return true;
}

int64_t hpx_of(double ra_deg, double dec_deg)
{
    struct spot s;
    return spot_of(ra_deg, dec_deg, &s) ? pixel_of(s) : -1;
}

/* sin(dec), cos(dec) and ra (radians) of a pixel's centre. */
static void centre_of(int64_t pix, int order, double *z, double *c, double *ra)
{
    int face = (int)(pix >> (2 * order));
    assert(face >= 0 && face < 12);
    uint64_t rest = (uint64_t)pix & ((UINT64_C(1) << (2 * order)) - 1);
    double n = (double)(INT64_C(1) << order);
    double u = ((double)gather_bits(rest) + 0.5) / n, v = ((double)gather_bits(rest >> 1) + 0.5) / n;
    double row = face_row[face] - u - v, width = 1; /* row: 0 at the north pole, 4 at the south pole */
    if (row < 1 || row > 3) {
        width = row < 1 ? row : 4 - row;
        double d = width * width / 3; /* 1 - |z| */
        *z = row < 1 ? 1 - d : d - 1;
        *c = sqrt(d * (2 - d));
    } else {
        *z = (2 - row) * 2 / 3;
        *c = sqrt(1 - *z * *z);
    }
    double column = face_column[face] * width + u - v;
    if (column < 0) column += 8 * width;
    *ra = width > 0 ? column / width * (PI / 4) : 0;
    if (*ra >= 2 * PI) *ra -= 2 * PI;
}

void hpx_centre(int64_t pix, int order, double *ret_ra_deg, double *ret_dec_deg)
{
    double z, c, ra;
    centre_of(pix, order, &z, &c, &ra);
    *ret_ra_deg = ra * DEG_PER_RAD;
    if (*ret_ra_deg >= 360) *ret_ra_deg = 0;
    *ret_dec_deg = atan2(z, c) * DEG_PER_RAD;
}

/* The farthest corner is that of pixels on the border between cap and band, where a step of one row is 2/3 in sin(dec):
 * hypot(2/3 / sqrt(5/9), pi/4 * sqrt(5/9)) = 1.069 times 2^-order as the order grows, less below. 1.1 leaves room. */
double hpx_radius_max(int order)
{
    return ldexp(1.1, -order);
}

/* ---- coverage -------------------------------------------------------------------------------------------------------- */

#define CELLS_MAX 2048

struct cell {
    int64_t pix;
    int order;
    int full; /* wholly inside: never divided */
};

/* Chord of an angle in [0, pi]: grows with it, and keeps the digits of small angles that a cosine loses. */
static double chord(double angle)
{
    return angle >= PI ? 2 : angle <= 0 ? 0 : 2 * sin(angle / 2);
}

static enum hpx_place place_of(hpx_place_fn place, const void *region, int64_t pix, int order)
{
    double z, c, ra;
    centre_of(pix, order, &z, &c, &ra);
    double v[3] = {c * cos(ra), c * sin(ra), z};
    return place(region, v, hpx_radius_max(order));
}

static struct hpx_range range_of(const struct cell *c)
{
    int shift = 2 * (HPX_ORDER - c->order);
    return (struct hpx_range){c->pix << shift, ((c->pix + 1) << shift) - 1};
}

/* Cells in order as merged ranges; stops counting above max. */
static int merge_cells(const struct cell *cells, int n, int max, struct hpx_range *ret)
{
    int k = 0;
    for (int i = 0; i < n; i++) {
        struct hpx_range r = range_of(&cells[i]);
        if (k && ret[k - 1].last + 1 == r.first) {
            ret[k - 1].last = r.last;
        } else {
            if (k == max) return max + 1;
            ret[k++] = r;
        }
    }
    return k;
}

/* Divide each partial cell once. Returned: count, -1 when CELLS_MAX is too few; *partial: how many are partial. */
static int divide(const struct cell *in, int n, hpx_place_fn place, const void *region, struct cell *out, int *partial)
{
    int k = 0;
    *partial = 0;
    for (int i = 0; i < n; i++) {
        int children = in[i].full ? 1 : 4;
        if (k + children > CELLS_MAX) return -1;
        if (in[i].full) {
            out[k++] = in[i];
            continue;
        }
        for (int64_t child = in[i].pix * 4; child < in[i].pix * 4 + 4; child++) {
            enum hpx_place p = place_of(place, region, child, in[i].order + 1);
            if (p == HPX_OUTSIDE) continue;
            *partial += p == HPX_PARTIAL;
            out[k++] = (struct cell){child, in[i].order + 1, p == HPX_FULL};
        }
    }
    return k;
}

int hpx_cover(hpx_place_fn place, const void *region, double size, int max, struct hpx_range *ret)
{
    max = max < 1 ? 1 : max > HPX_RANGES_MAX ? HPX_RANGES_MAX : max;
    struct cell cells[2][CELLS_MAX];
    struct hpx_range trial[HPX_RANGES_MAX];
    int n = 0, now = 0, partial = 0, ret_n = 1;
    ret[0] = (struct hpx_range){0, HPX_PIXELS - 1};
    for (int face = 0; face < 12; face++) {
        enum hpx_place p = place_of(place, region, face, 0);
        partial += p == HPX_PARTIAL;
        if (p != HPX_OUTSIDE) cells[0][n++] = (struct cell){face, 0, p == HPX_FULL};
    }
    for (int order = 0;; order++) {
        int merged = merge_cells(cells[now], n, max, trial);
        if (merged <= max) {
            memcpy(ret, trial, (size_t)merged * sizeof *ret);
            ret_n = merged;
        }
        /* Coarse levels may need more ranges than finer ones (a cone on the corner of faces), hence a few more tries. */
        bool tight = hpx_radius_max(order) * 16 < size, hopeless = merged > max && hpx_radius_max(order) < size;
        if (!partial || order == HPX_ORDER || tight || hopeless) break;
        n = divide(cells[now], n, place, region, cells[1 - now], &partial);
        if (n < 0) break;
        now = 1 - now;
    }
    return ret_n;
}

/* ---- cones -------------------------------------------------------------------------------------------------------- */

struct cone {
    double centre[3], radius;
};

static enum hpx_place place_in_cone(const void *region, const double v[3], double reach)
{
    const struct cone *cone = region;
    double d[3] = {v[0] - cone->centre[0], v[1] - cone->centre[1], v[2] - cone->centre[2]};
    double distance = sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2]);
    const double rounding = 1e-15; /* of the chord: three differences of numbers up to 1 */
    if (cone->radius + reach < PI && distance > chord(cone->radius + reach) + rounding) return HPX_OUTSIDE;
    return cone->radius > reach && distance + rounding < chord(cone->radius - reach) ? HPX_FULL : HPX_PARTIAL;
}

int hpx_cone(double ra_deg, double dec_deg, double radius_deg, int max, struct hpx_range *ret)
{
    if (!(radius_deg >= 0) || !isfinite(ra_deg) || !(fabs(dec_deg) <= 90)) return 0;
    struct cone cone = {.radius = radius_deg * RAD_PER_DEG};
    if (cone.radius >= PI) {
        ret[0] = (struct hpx_range){0, HPX_PIXELS - 1};
        return 1;
    }
    hpx_vector(ra_deg, dec_deg, cone.centre);
    return hpx_cover(place_in_cone, &cone, cone.radius, max, ret);
}

/* A cone lies in a square of face coordinates around its centre, whose half side is the radius times the steepest slope of
 * a face coordinate: |grad u| <= 1.453 per radian anywhere (largest at the poles: sqrt(1.5 (1 + 4/pi^2))), <= 1.0211 in
 * the band |sin dec| <= 2/3 (largest at its edge). As long as the square stays inside the face, so does the cone: a path
 * out of the face would have to leave the square first. */
int hpx_cone_quick(double ra_deg, double dec_deg, double radius_deg, struct hpx_range ret[HPX_QUICK_RANGES])
{
    struct spot s;
    double radius = radius_deg * RAD_PER_DEG;
    if (!(radius >= 0) || radius > 0.1 || !spot_of(ra_deg, dec_deg, &s)) return hpx_cone(ra_deg, dec_deg, radius_deg, HPX_QUICK_RANGES, ret);
    bool band = fabs(dec_deg) + radius_deg < 41.8; /* asin(2/3) = 41.81 degrees */
    double half = radius * (band ? 1.0212 : 1.4531) + 4e-15; /* rounding of u, v and of the distance */
    if (s.u - half <= 0 || s.u + half >= 1 || s.v - half <= 0 || s.v + half >= 1)
        return hpx_cone(ra_deg, dec_deg, radius_deg, HPX_QUICK_RANGES, ret);
    int order = (int)floor(-log2(2 * half));
    order = order > HPX_ORDER ? HPX_ORDER : order;
    double side = (double)(INT64_C(1) << order);
    uint64_t x0 = (uint64_t)((s.u - half) * side), x1 = (uint64_t)((s.u + half) * side);
    uint64_t y0 = (uint64_t)((s.v - half) * side), y1 = (uint64_t)((s.v + half) * side);
    struct cell cells[4];
    int n = 0;
    for (uint64_t y = y0; y <= y1; y++)
        for (uint64_t x = x0; x <= x1; x++) {
            int64_t pix = (int64_t)((uint64_t)s.face << (2 * order) | spread_bits(y) << 1 | spread_bits(x));
            int i = n++;
            for (; i > 0 && cells[i - 1].pix > pix; i--) cells[i] = cells[i - 1];
            cells[i] = (struct cell){pix, order, 0};
        }
    return merge_cells(cells, n, HPX_QUICK_RANGES, ret);
}
