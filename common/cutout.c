#include "common/cutout.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/frameio.h"
#include "common/products.h"
#include "common/units.h"

/* Points along each edge of a region: between two of them a circle bulges by 2e-5 of its radius. */
enum { EDGE_POINTS = 512 };

/* ---- regions ------------------------------------------------------------------------------------------------------ */

static const char *read_numbers(const char *p, double *v, int max, int *ret_n)
{
    int n = 0;
    for (;;) {
        while (isspace((unsigned char)*p) || *p == ',') p++;
        char *end;
        double x = strtod(p, &end);
        if (end == p || (*end && !isspace((unsigned char)*end) && *end != ',')) break;
        if (n == max) break;
        v[n++] = x;
        p = end;
    }
    *ret_n = n;
    return p;
}

static enum err parse_circle(const double *v, int n, struct cutout_region *r, struct error *err)
{
    if (n != 3) return ERROR(err, ERR_USAGE, "a CIRCLE is three numbers (ra dec radius in degrees), not %d", n);
    if (!(v[2] > 0 && v[2] <= 90)) return ERROR(err, ERR_USAGE, "the radius of a CIRCLE is over 0 and at most 90 degrees, not %g", v[2]);
    *r = (struct cutout_region){.shape = CUTOUT_CIRCLE, .radius = v[2], .n = 1, .a = {v[0]}, .b = {v[1]}};
    return ERR_OK;
}

static enum err parse_range(const double *v, int n, struct cutout_region *r, struct error *err)
{
    if (n != 4) return ERROR(err, ERR_USAGE, "a RANGE is four numbers (ra1 ra2 dec1 dec2 in degrees), not %d", n);
    double lon0 = isinf(v[0]) ? 0 : v[0], lon1 = isinf(v[1]) ? 360 : v[1];
    double lat0 = v[2] == -INFINITY ? -90 : v[2], lat1 = v[3] == INFINITY ? 90 : v[3];
    if (lat0 > lat1) return ERROR(err, ERR_USAGE, "the declinations of a RANGE go upwards, not from %g to %g", lat0, lat1);
    *r = (struct cutout_region){.shape = CUTOUT_RANGE, .n = 2, .a = {lon0, lon1}, .b = {lat0, lat1}};
    return ERR_OK;
}

static enum err parse_polygon(const double *v, int n, struct cutout_region *r, struct error *err)
{
    if (n < 6 || n % 2) return ERROR(err, ERR_USAGE, "a POLYGON is at least three pairs of ra and dec, not %d numbers", n);
    *r = (struct cutout_region){.shape = CUTOUT_POLYGON, .n = n / 2};
    for (int i = 0; i < n / 2; i++) {
        r->a[i] = v[2 * i];
        r->b[i] = v[2 * i + 1];
    }
    return ERR_OK;
}

enum err cutout_region_parse(const char *text, enum cutout_shape shape, struct cutout_region *ret, struct error *err)
{
    static const struct {
        const char *word;
        enum cutout_shape shape;
        enum err (*parse)(const double *v, int n, struct cutout_region *r, struct error *err);
    } shapes[] = {{"CIRCLE", CUTOUT_CIRCLE, parse_circle}, {"RANGE", CUTOUT_RANGE, parse_range}, {"POLYGON", CUTOUT_POLYGON, parse_polygon}};
    double v[2 * CUTOUT_VERTICES];
    int n;
    while (isspace((unsigned char)*text)) text++;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        size_t len = strlen(shapes[i].word);
        bool named = !strncasecmp(text, shapes[i].word, len) && isspace((unsigned char)text[len]);
        if (shape == CUTOUT_ALL ? !named : shape != shapes[i].shape) continue;
        const char *rest = read_numbers(named ? text + len : text, v, 2 * CUTOUT_VERTICES, &n);
        if (*rest) return ERROR(err, ERR_USAGE, "'%.40s' in a %s is not a number, or one too many", rest, shapes[i].word);
        struct cutout_region r;
        enum err code = shapes[i].parse(v, n, &r, err);
        if (code) return code;
        for (int k = 0; k < r.n; k++)
            if (!(fabs(r.a[k]) <= 720 && fabs(r.b[k]) <= 90)) return ERROR(err, ERR_USAGE, "(%g, %g) is not a place on the sky", r.a[k], r.b[k]);
        *ret = r;
        return ERR_OK;
    }
    return ERROR(err, ERR_USAGE, "'%.40s' is not a region; CIRCLE, RANGE and POLYGON are", text);
}

/* ---- geometry ----------------------------------------------------------------------------------------------------- */

static void unit_vector(double ra, double dec, double v[3])
{
    v[0] = cos(dec * RAD_PER_DEG) * cos(ra * RAD_PER_DEG);
    v[1] = cos(dec * RAD_PER_DEG) * sin(ra * RAD_PER_DEG);
    v[2] = sin(dec * RAD_PER_DEG);
}

static void from_vector(const double v[3], double *ret_ra, double *ret_dec)
{
    double ra = atan2(v[1], v[0]) * DEG_PER_RAD;
    *ret_ra = ra < 0 ? ra + 360 : ra;
    *ret_dec = atan2(v[2], hypot(v[0], v[1])) * DEG_PER_RAD;
}

static double dot(const double a[3], const double b[3])
{
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

static void cross(const double a[3], const double b[3], double ret[3])
{
    ret[0] = a[1] * b[2] - a[2] * b[1];
    ret[1] = a[2] * b[0] - a[0] * b[2];
    ret[2] = a[0] * b[1] - a[1] * b[0];
}

/* Even-odd rule on the plane that touches the sphere at the middle of the polygon: great circles are straight there. */
static bool polygon_holds(const struct cutout_region *r, double ra, double dec)
{
    double middle[3] = {0}, p[3], e[3], n[3], first[3], px, py;
    double x[CUTOUT_VERTICES], y[CUTOUT_VERTICES];
    for (int i = 0; i < r->n; i++) {
        double v[3];
        unit_vector(r->a[i], r->b[i], v);
        for (int k = 0; k < 3; k++) middle[k] += v[k];
    }
    double length = sqrt(dot(middle, middle));
    if (length < 1e-12) return false;
    for (int k = 0; k < 3; k++) middle[k] /= length;
    unit_vector(r->a[0], r->b[0], first);
    cross(middle, fabs(middle[2]) < 0.9 ? (const double[3]){0, 0, 1} : (const double[3]){1, 0, 0}, e);
    length = sqrt(dot(e, e));
    for (int k = 0; k < 3; k++) e[k] /= length;
    cross(middle, e, n);
    unit_vector(ra, dec, p);
    if (dot(p, middle) <= 0) return false;
    px = dot(p, e) / dot(p, middle), py = dot(p, n) / dot(p, middle);
    for (int i = 0; i < r->n; i++) {
        double v[3];
        unit_vector(r->a[i], r->b[i], v);
        double depth = fmax(dot(v, middle), 1e-9);
        x[i] = dot(v, e) / depth, y[i] = dot(v, n) / depth;
    }
    bool in = false;
    for (int i = 0, j = r->n - 1; i < r->n; j = i++)
        if ((y[i] > py) != (y[j] > py) && px < (x[j] - x[i]) * (py - y[i]) / (y[j] - y[i]) + x[i]) in = !in;
    return in;
}

static double wrap360(double a)
{
    a = fmod(a, 360);
    return a < 0 ? a + 360 : a;
}

/* Width of a RANGE in longitude: (0, 360]. */
static double range_width(const struct cutout_region *r)
{
    double w = r->a[1] - r->a[0];
    if (fabs(w) >= 360) return 360;
    w = wrap360(w);
    return w > 0 ? w : 360;
}

bool cutout_region_holds(const struct cutout_region *r, double ra, double dec)
{
    switch (r->shape) {
    case CUTOUT_CIRCLE: return sky_distance_deg(r->a[0], r->b[0], ra, dec) <= r->radius;
    case CUTOUT_RANGE: return dec >= r->b[0] && dec <= r->b[1] && wrap360(ra - r->a[0]) <= range_width(r);
    case CUTOUT_POLYGON: return polygon_holds(r, ra, dec);
    case CUTOUT_ALL: break;
    }
    return true;
}

/* Point t in [0, 1) of edge i of the region's border. */
static void border_point(const struct cutout_region *r, int edge, double t, double *ret_ra, double *ret_dec)
{
    double a[3], b[3], v[3];
    if (r->shape == CUTOUT_CIRCLE) {
        double angle = 2 * PI * t, sr = sin(r->radius * RAD_PER_DEG), cr = cos(r->radius * RAD_PER_DEG), sd = sin(r->b[0] * RAD_PER_DEG), cd = cos(r->b[0] * RAD_PER_DEG);
        double along = sr * cos(angle), across = sr * sin(angle); /* north and east of the centre */
        double local[3] = {cr * cd - along * sd, across, cr * sd + along * cd};
        double ca = cos(r->a[0] * RAD_PER_DEG), sa = sin(r->a[0] * RAD_PER_DEG);
        v[0] = local[0] * ca - local[1] * sa, v[1] = local[0] * sa + local[1] * ca, v[2] = local[2];
        from_vector(v, ret_ra, ret_dec);
    } else if (r->shape == CUTOUT_RANGE) {
        double w = range_width(r), h = r->b[1] - r->b[0];
        *ret_ra = wrap360(r->a[0] + (edge == 0 || edge == 2 ? w * t : edge == 1 ? w : 0));
        *ret_dec = r->b[0] + (edge == 0 ? 0 : edge == 2 ? h : h * t);
    } else {
        unit_vector(r->a[edge], r->b[edge], a);
        unit_vector(r->a[(edge + 1) % r->n], r->b[(edge + 1) % r->n], b);
        for (int k = 0; k < 3; k++) v[k] = a[k] * (1 - t) + b[k] * t;
        from_vector(v, ret_ra, ret_dec);
    }
}

/* Do the arcs ab and cd of great circles, each shorter than half a turn, cross or touch? */
static bool arcs_cross(const double a[3], const double b[3], const double c[3], const double d[3])
{
    double ab[3], cd[3], t[3], middle_ab[3], middle_cd[3];
    cross(a, b, ab);
    cross(c, d, cd);
    if (dot(c, ab) * dot(d, ab) > 0 || dot(a, cd) * dot(b, cd) > 0) return false;
    cross(ab, cd, t);
    for (int k = 0; k < 3; k++) middle_ab[k] = a[k] + b[k], middle_cd[k] = c[k] + d[k];
    return dot(t, middle_ab) * dot(t, middle_cd) >= 0 && dot(middle_ab, middle_cd) > 0;
}

/* Distance in degrees from p to the arc ab. */
static double arc_distance(const double p[3], const double a[3], const double b[3])
{
    double pole[3], along_a[3], along_b[3];
    cross(a, b, pole);
    double length = sqrt(dot(pole, pole));
    if (length > 1e-15) {
        for (int k = 0; k < 3; k++) pole[k] /= length;
        cross(pole, a, along_a);
        cross(pole, b, along_b);
        if (dot(p, along_a) >= 0 && dot(p, along_b) <= 0) return fabs(asin(dot(p, pole))) * DEG_PER_RAD;
    }
    double to_a = fmin(1, fmax(-1, dot(p, a))), to_b = fmin(1, fmax(-1, dot(p, b)));
    return acos(fmax(to_a, to_b)) * DEG_PER_RAD;
}

static void vertex(const struct cutout_region *r, int i, double v[3])
{
    unit_vector(r->a[i % r->n], r->b[i % r->n], v);
}

static bool circle_meets(const struct cutout_region *circle, const struct cutout_region *polygon)
{
    double p[3], a[3], b[3];
    vertex(circle, 0, p);
    for (int i = 0; i < polygon->n; i++) {
        vertex(polygon, i, a);
        vertex(polygon, i + 1, b);
        if (arc_distance(p, a, b) <= circle->radius) return true;
    }
    return false;
}

static bool borders_cross(const struct cutout_region *r, const struct cutout_region *polygon)
{
    int edges = r->shape == CUTOUT_RANGE ? 4 : r->n, steps = r->shape == CUTOUT_RANGE ? EDGE_POINTS : 1;
    for (int k = 0; k < edges * steps; k++) {
        double ra, dec, c[3], d[3], a[3], b[3];
        border_point(r, k / steps, (double)(k % steps) / steps, &ra, &dec);
        unit_vector(ra, dec, c);
        border_point(r, k / steps, (double)(k % steps + 1) / steps, &ra, &dec);
        unit_vector(ra, dec, d);
        for (int i = 0; i < polygon->n; i++) {
            vertex(polygon, i, a);
            vertex(polygon, i + 1, b);
            if (arcs_cross(a, b, c, d)) return true;
        }
    }
    return false;
}

bool cutout_regions_meet(const struct cutout_region *r, const struct cutout_region *polygon)
{
    double ra, dec;
    if (r->shape == CUTOUT_ALL) return true;
    for (int i = 0; i < polygon->n; i++)
        if (cutout_region_holds(r, polygon->a[i], polygon->b[i])) return true;
    if (r->shape == CUTOUT_CIRCLE) return circle_meets(r, polygon) || cutout_region_holds(polygon, r->a[0], r->b[0]);
    border_point(r, 0, 0, &ra, &dec);
    return cutout_region_holds(polygon, ra, dec) || borders_cross(r, polygon);
}

/* ---- section ------------------------------------------------------------------------------------------------------ */

struct extent {
    double x0, x1, y0, y1;
};

static void extend(struct extent *e, double x, double y)
{
    e->x0 = fmin(e->x0, x), e->x1 = fmax(e->x1, x);
    e->y0 = fmin(e->y0, y), e->y1 = fmax(e->y1, y);
}

/* The region's border, where it runs over the image. */
static enum err follow_border(struct skycoord *sky, int64_t nx, int64_t ny, const struct cutout_region *r, struct extent *e, struct error *err)
{
    int edges = r->shape == CUTOUT_CIRCLE ? 1 : r->shape == CUTOUT_RANGE ? 4 : r->n;
    double ra[EDGE_POINTS], dec[EDGE_POINTS], x[EDGE_POINTS], y[EDGE_POINTS], ra2[EDGE_POINTS], dec2[EDGE_POINTS];
    for (int k = 0; k < edges; k++) {
        for (int i = 0; i < EDGE_POINTS; i++) border_point(r, k, (double)i / EDGE_POINTS, &ra[i], &dec[i]);
        enum err code = skycoord_to_pixel(sky, EDGE_POINTS, ra, dec, x, y, err);
        if (!code) code = skycoord_to_sky(sky, EDGE_POINTS, x, y, ra2, dec2, err);
        if (code) return code;
        for (int i = 0; i < EDGE_POINTS; i++) {
            if (!(x[i] >= -0.5 && x[i] <= (double)nx - 0.5 && y[i] >= -0.5 && y[i] <= (double)ny - 0.5)) continue;
            /* A distortion far from its own image may fold the sky back onto it. */
            if (sky_distance_deg(ra[i], dec[i], ra2[i], dec2[i]) < 1e-6) extend(e, x[i], y[i]);
        }
    }
    return ERR_OK;
}

/* One side of the image: the pixels of it that lie within the region. */
static enum err follow_side(struct skycoord *sky, int64_t n, bool along_x, double at, const struct cutout_region *r, struct extent *e, struct error *err)
{
    double x[EDGE_POINTS], y[EDGE_POINTS], ra[EDGE_POINTS], dec[EDGE_POINTS];
    for (int64_t i = 0; i < n; i += EDGE_POINTS) {
        int m = (int)(n - i < EDGE_POINTS ? n - i : EDGE_POINTS);
        for (int k = 0; k < m; k++) {
            x[k] = along_x ? (double)(i + k) : at;
            y[k] = along_x ? at : (double)(i + k);
        }
        enum err code = skycoord_to_sky(sky, m, x, y, ra, dec, err);
        if (code) return code;
        for (int k = 0; k < m; k++)
            if (isfinite(ra[k]) && cutout_region_holds(r, ra[k], dec[k])) extend(e, x[k], y[k]);
    }
    return ERR_OK;
}

enum err cutout_section(struct skycoord *sky, int64_t nx, int64_t ny, const struct cutout_region *region, struct section *ret, struct error *err)
{
    struct extent e = {INFINITY, -INFINITY, INFINITY, -INFINITY};
    *ret = (struct section){0, nx, 0, ny};
    if (region->shape == CUTOUT_ALL) return ERR_OK;
    enum err code = follow_border(sky, nx, ny, region, &e, err);
    for (int side = 0; side < 4 && !code; side++) {
        bool along_x = side < 2;
        double at = side == 0 || side == 2 ? 0 : (double)(along_x ? ny : nx) - 1;
        code = follow_side(sky, along_x ? nx : ny, along_x, at, region, &e, err);
    }
    if (code) return code;
    if (!(e.x0 <= e.x1)) return ERROR(err, ERR_NOT_FOUND, "the region lies outside the image");
    int64_t x0 = (int64_t)floor(e.x0 + 0.5), x1 = (int64_t)floor(e.x1 + 0.5) + 1, y0 = (int64_t)floor(e.y0 + 0.5), y1 = (int64_t)floor(e.y1 + 0.5) + 1;
    *ret = (struct section){x0 < 0 ? 0 : x0, x1 > nx ? nx : x1, y0 < 0 ? 0 : y0, y1 > ny ? ny : y1};
    if (ret->x0 >= nx) ret->x0 = nx - 1; /* a border along the last half pixel */
    if (ret->y0 >= ny) ret->y0 = ny - 1;
    return ERR_OK;
}

/* ---- header ------------------------------------------------------------------------------------------------------- */

/* Add to a card that counts pixels from 1. */
static enum err shift_card(struct header *h, const char *key, int64_t by, struct error *err)
{
    double v;
    if (!by || !header_get_double(h, key, &v)) return ERR_OK;
    return header_set_double(h, key, v + (double)by, NULL) ? ERROR(err, ERR_NOMEM, "no memory for cards") : ERR_OK;
}

enum err cutout_header(struct header *h, struct section s, struct error *err)
{
    static const char *const gone[] = {"CHECKSUM", "DATASUM", "ZHECKSUM", "ZDATASUM", "DATAMIN", "DATAMAX", "BZERO", "BSCALE", "BLANK"};
    static const char *const sections[] = {"BIASSEC*", "TRIMSEC*", "DATASEC*", "DETSEC*", "CCDSEC*", "AMPSEC*"};
    const int64_t origin[2] = {s.x0, s.y0};
    for (size_t i = 0; i < sizeof gone / sizeof gone[0]; i++) header_remove(h, gone[i]);
    for (size_t i = 0; i < sizeof sections / sizeof sections[0]; i++) header_remove_matching(h, sections[i]);
    enum err code = ERR_OK;
    for (int axis = 1; axis <= 2; axis++)
        for (char alternate = '@'; alternate <= 'Z' && !code; alternate++) { /* '@' stands for none */
            char key[12];
            snprintf(key, sizeof key, alternate == '@' ? "CRPIX%d" : "CRPIX%d%c", axis, alternate);
            code = shift_card(h, key, -origin[axis - 1], err);
        }
    for (int axis = 1; axis <= 2 && !code; axis++) { /* LTV: from pixels of the detector to pixels of this image (IRAF) */
        char key[12];
        double v = 0;
        snprintf(key, sizeof key, "LTV%d", axis);
        header_get_double(h, key, &v);
        if (header_set_double(h, key, v - (double)origin[axis - 1], "pixels left out before this image")) code = ERROR(err, ERR_NOMEM, "no memory for cards");
    }
    return code;
}

/* ---- file --------------------------------------------------------------------------------------------------------- */

static int image_named(struct frameio_in *f, const char *name)
{
    struct hdu_info info;
    for (int hdu = 1; hdu <= frameio_hdu_count(f); hdu++)
        if (!frameio_hdu_info(f, hdu, &info, NULL) && info.kind == HDU_IMAGE && info.naxis >= 2 && !strcmp(info.extname, name)) return hdu;
    return 0;
}

/* Columns [x0, x1) of rows [y0, y1), strip by strip. */
static enum err read_section(struct frameio_in *f, int hdu, int64_t nx, struct section s, float *dst, struct error *err)
{
    enum { STRIP = 64 };
    int64_t width = section_nx(s);
    float *rows = malloc((size_t)nx * STRIP * sizeof *rows);
    if (!rows) return ERROR(err, ERR_NOMEM, "no memory for rows of %lld pixels", (long long)nx);
    enum err code = ERR_OK;
    for (int64_t y = s.y0; y < s.y1 && !code; y += STRIP) {
        int64_t end = y + STRIP < s.y1 ? y + STRIP : s.y1;
        code = frameio_read_rows_f32(f, hdu, y, end, rows, err);
        for (int64_t k = y; k < end && !code; k++)
            memcpy(dst + (k - s.y0) * width, rows + (k - y) * nx + s.x0, (size_t)width * sizeof *dst);
    }
    free(rows);
    return code;
}

static enum err read_mask_section(struct frameio_in *f, int hdu, int64_t nx, struct section s, mask_t *dst, struct error *err)
{
    int64_t n = section_nx(s) * section_ny(s);
    float *v = malloc((size_t)n * sizeof *v);
    if (!v) return ERROR(err, ERR_NOMEM, "no memory for %lld pixels", (long long)n);
    enum err code = read_section(f, hdu, nx, s, v, err);
    for (int64_t i = 0; i < n && !code; i++) dst[i] = v[i] > 0 && v[i] < 65536 ? (mask_t)v[i] : 0; /* 16 bits are whole in a float */
    free(v);
    return code;
}

/* The planes of the section as a frame; planes of another shape than the image's are left behind. */
static enum err cut_planes(struct frameio_in *f, int sci, const struct hdu_info *info, struct section s, struct frame *ret, struct error *err)
{
    struct hdu_info other;
    int var = image_named(f, EXT_VAR), mask = image_named(f, EXT_MASK), planes = FRAME_SCI;
    if (var && (frameio_hdu_info(f, var, &other, NULL) || other.axis[0] != info->axis[0] || other.axis[1] != info->axis[1])) var = 0;
    if (mask && (frameio_hdu_info(f, mask, &other, NULL) || other.axis[0] != info->axis[0] || other.axis[1] != info->axis[1])) mask = 0;
    planes |= (var ? FRAME_VAR : 0) | (mask ? FRAME_MASK : 0);
    struct header h = {0};
    enum err code = frame_alloc(ret, section_nx(s), section_ny(s), planes, err);
    if (!code) code = read_section(f, sci, info->axis[0], s, ret->sci, err);
    if (!code && var) code = read_section(f, var, info->axis[0], s, ret->var, err);
    if (!code && mask) code = read_mask_section(f, mask, info->axis[0], s, ret->mask, err);
    if (!code) code = frameio_merged_header(f, sci, &h, err);
    if (!code) {
        header_release(&ret->header);
        ret->header = h;
        header_get_str(&ret->header, "BUNIT", ret->unit, sizeof ret->unit);
        code = cutout_header(&ret->header, s, err);
    }
    return code;
}

static enum err choose_section(struct frameio_in *f, int hdu, const struct hdu_info *info, const struct cutout_region *region, int64_t max_pixels,
                               struct section *ret, struct error *err)
{
    struct skycoord *sky = NULL;
    struct header h = {0};
    enum err code = ERR_OK;
    *ret = (struct section){0, info->axis[0], 0, info->axis[1]};
    if (region->shape != CUTOUT_ALL) {
        code = frameio_merged_header(f, hdu, &h, err);
        if (!code) code = skycoord_new(&h, &sky, err);
        if (!code) code = cutout_section(sky, info->axis[0], info->axis[1], region, ret, err);
    }
    skycoord_free(sky);
    header_release(&h);
    if (!code && max_pixels > 0 && section_nx(*ret) * section_ny(*ret) > max_pixels) {
        code = ERROR(err, ERR_USAGE, "the cutout would have %lld x %lld pixels, %lld are allowed", (long long)section_nx(*ret),
                     (long long)section_ny(*ret), (long long)max_pixels);
        error_hint(err, "ask for a smaller region, or for the whole file");
    }
    return code;
}

enum err cutout_file(const char *path, const struct cutout_region *region, int64_t max_pixels, const char *out, struct section *ret_section,
                     struct error *err)
{
    struct frameio_in *f = NULL;
    struct hdu_info info;
    struct section s;
    struct frame frame;
    frame_init(&frame);
    enum err code = frameio_open(path, &f, err);
    if (code) return code;
    int sci = image_named(f, EXT_SCI);
    if (!sci) sci = frameio_first_image(f);
    if (!sci) code = ERROR(err, ERR_NOT_FOUND, "holds no image");
    if (!code) code = frameio_hdu_info(f, sci, &info, err);
    if (!code) code = choose_section(f, sci, &info, region, max_pixels, &s, err);
    if (!code) code = cut_planes(f, sci, &info, s, &frame, err);
    frameio_close(f);
    if (!code) code = frameio_write_product(out, &frame, &(struct frameio_write_options){.dither_seed = 1}, err);
    else error_subject(err, path, sci);
    frame_release(&frame);
    if (!code && ret_section) *ret_section = s;
    return code;
}
