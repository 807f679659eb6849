#include "common/preview.h"

#include <cairo.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/frameio.h"
#include "common/maskbits.h"
#include "common/products.h"
#include "common/units.h"
#include "common/pngfile.h"

/* ---- zscale ------------------------------------------------------------------------------------------------------- */

enum { STRIP_ROWS = 256, SAMPLE = 1000, ITERATIONS = 5, KEEP_LEAST = 5 };
static const double REJECT_SIGMA = 2.5;

static int ascending(const void *p, const void *q)
{
    float a = *(const float *)p, b = *(const float *)q;
    return (a > b) - (a < b);
}

/* The line v = a + b * (i - middle) through the points that are kept, and the scatter about it. */
struct line {
    double a, b, sigma;
    int n;
};

static struct line fit_line(const float *v, const unsigned char *dropped, int n)
{
    double s = 0, sx = 0, sxx = 0, sy = 0, sxy = 0, ss = 0, middle = (n - 1) / 2.0;
    for (int i = 0; i < n; i++) {
        if (dropped[i]) continue;
        double x = i - middle;
        s += 1, sx += x, sxx += x * x, sy += v[i], sxy += x * v[i];
    }
    double det = s * sxx - sx * sx;
    struct line l = {.a = s > 0 ? sy / s : 0, .n = (int)s};
    if (det > 0) {
        l.b = (s * sxy - sx * sy) / det;
        l.a = (sy - l.b * sx) / s;
    }
    for (int i = 0; i < n; i++) {
        double r = v[i] - l.a - l.b * (i - middle);
        if (!dropped[i]) ss += r * r;
    }
    l.sigma = s > 0 ? sqrt(ss / s) : 0;
    return l;
}

/* Drop what is far from the line, and `grow` neighbours on each side of it. Returned: how many are dropped now. */
static int drop_far(const float *v, unsigned char *dropped, int n, const struct line *l, int grow)
{
    int count = 0;
    unsigned char far[SAMPLE];
    for (int i = 0; i < n; i++) far[i] = fabs(v[i] - l->a - l->b * (i - (n - 1) / 2.0)) > REJECT_SIGMA * l->sigma;
    memset(dropped, 0, (size_t)n);
    for (int i = 0; i < n; i++)
        for (int k = i - grow; far[i] && k <= i + grow; k++)
            if (k >= 0 && k < n) dropped[k] = 1;
    for (int i = 0; i < n; i++) count += dropped[i];
    return count;
}

/* An evenly spaced sample without NaN, sorted. */
static int take_sample(const float *values, int64_t n, float *ret)
{
    int64_t step = n / SAMPLE + (n % SAMPLE != 0);
    int taken = 0;
    for (int64_t i = 0; i < n && taken < SAMPLE; i += step)
        if (isfinite(values[i])) ret[taken++] = values[i];
    qsort(ret, (size_t)taken, sizeof *ret, ascending);
    return taken;
}

void preview_zscale(const float *values, int64_t n, double contrast, double *ret_z1, double *ret_z2)
{
    float v[SAMPLE];
    unsigned char dropped[SAMPLE] = {0};
    int taken = n > 0 ? take_sample(values, n, v) : 0, before = 0;
    *ret_z1 = 0, *ret_z2 = 1;
    if (!taken) return;
    double median = taken % 2 ? v[taken / 2] : 0.5 * ((double)v[taken / 2 - 1] + v[taken / 2]);
    int grow = taken / 100 > 1 ? taken / 100 : 1, least = taken / 2 > KEEP_LEAST ? taken / 2 : KEEP_LEAST;
    struct line l = fit_line(v, dropped, taken);
    for (int k = 0; k < ITERATIONS && l.n >= least; k++) {
        int now = drop_far(v, dropped, taken, &l, grow);
        if (now == before) break;
        before = now;
        l = fit_line(v, dropped, taken);
    }
    *ret_z1 = v[0], *ret_z2 = v[taken - 1];
    if (l.n < least || !(contrast > 0)) return;
    double half = (taken - 1) / 2.0 * l.b / contrast;
    *ret_z1 = fmax(*ret_z1, median - half);
    *ret_z2 = fmin(*ret_z2, median + half);
}

/* ---- reading and binning ------------------------------------------------------------------------------------------ */

void preview_release(struct preview *p)
{
    free(p->mean);
    *p = (struct preview){0};
}

static int find_mask(struct frameio_in *in, int64_t nx, int64_t ny)
{
    struct hdu_info info;
    for (int hdu = 1; hdu <= frameio_hdu_count(in); hdu++)
        if (!frameio_hdu_info(in, hdu, &info, NULL) && info.kind == HDU_IMAGE && !strcmp(info.extname, EXT_MASK) && info.axis[0] == nx &&
            info.axis[1] == ny)
            return hdu;
    return 0;
}

/* One row of bins from `rows` rows of pixels. */
static void bin_rows(const float *sci, const float *mask, int64_t nx, int64_t rows, int bin, float *ret, int n)
{
    for (int i = 0; i < n; i++) {
        int64_t x0 = (int64_t)i * bin, x1 = x0 + bin < nx ? x0 + bin : nx;
        double sum = 0;
        int used = 0;
        for (int64_t y = 0; y < rows; y++)
            for (int64_t x = x0; x < x1; x++) {
                float v = sci[y * nx + x];
                bool unusable = mask && ((unsigned)mask[y * nx + x] & (MASK_UNUSABLE & ~(MASK_SATURATED | MASK_BLEED)));
                if (unusable || !isfinite(v)) continue;
                sum += v;
                used++;
            }
        ret[i] = used ? (float)(sum / used) : NAN;
    }
}

/* Where every pixel was masked the neighbour to the left stands in: a hot pixel is no black hole in the picture. */
static void fill_holes(struct preview *p)
{
    for (int64_t i = 1; i < (int64_t)p->nx * p->ny; i++)
        if (!isfinite(p->mean[i]) && i % p->nx) p->mean[i] = p->mean[i - 1];
}

/* Strips of many bins: each call of the reader costs as much as some hundred rows. */
static enum err read_strips(struct frameio_in *in, int sci_hdu, int mask_hdu, struct preview *p, struct error *err)
{
    int64_t nx = p->frame_nx, bins = STRIP_ROWS / p->bin > 1 ? STRIP_ROWS / p->bin : 1, rows = bins * p->bin;
    float *sci = malloc((size_t)(nx * rows) * sizeof *sci), *mask = malloc((size_t)(nx * rows) * sizeof *mask);
    enum err e = sci && mask ? ERR_OK : ERROR(err, ERR_NOMEM, "could not hold %lld rows: out of memory", (long long)rows);
    for (int64_t y0 = 0; y0 < p->frame_ny && !e; y0 += rows) {
        int64_t y1 = y0 + rows < p->frame_ny ? y0 + rows : p->frame_ny;
        e = frameio_read_rows_f32(in, sci_hdu, y0, y1, sci, err);
        if (!e && mask_hdu) e = frameio_read_rows_f32(in, mask_hdu, y0, y1, mask, err);
        for (int64_t y = y0; y < y1 && !e; y += p->bin) {
            int64_t first = (y - y0) * nx, n = y + p->bin < y1 ? p->bin : y1 - y;
            bin_rows(sci + first, mask_hdu ? mask + first : NULL, nx, n, p->bin, p->mean + y / p->bin * p->nx, p->nx);
        }
    }
    free(sci);
    free(mask);
    return e;
}

enum err preview_read(const char *path, int max_side, struct preview *ret, struct error *err)
{
    struct frameio_in *in = NULL;
    struct hdu_info info;
    struct preview p = {0};
    int hdu = 0;
    enum err e = frameio_open(path, &in, err);
    if (e) return e;
    if (!(hdu = frameio_first_image(in))) e = ERROR(err, ERR_NOT_FOUND, "it holds no image");
    if (!e) e = frameio_hdu_info(in, hdu, &info, err);
    if (!e && (info.axis[0] < 1 || info.axis[1] < 1 || info.axis[0] > FRAME_MAX_SIDE || info.axis[1] > FRAME_MAX_SIDE))
        e = ERROR(err, ERR_SHAPE, "an image of %lld by %lld pixels cannot be drawn", (long long)info.axis[0], (long long)info.axis[1]);
    if (!e) {
        int64_t nx = info.axis[0], ny = info.axis[1], longest = nx > ny ? nx : ny;
        p.frame_nx = nx, p.frame_ny = ny;
        p.bin = (int)((longest + max_side - 1) / max_side);
        p.nx = (int)((nx + p.bin - 1) / p.bin), p.ny = (int)((ny + p.bin - 1) / p.bin);
        p.mean = malloc((size_t)p.nx * (size_t)p.ny * sizeof *p.mean);
        e = p.mean ? read_strips(in, hdu, find_mask(in, nx, ny), &p, err) : ERROR(err, ERR_NOMEM, "could not hold a picture: out of memory");
    }
    frameio_close(in);
    if (e) {
        error_subject(err, path, hdu);
        preview_release(&p);
        return e;
    }
    fill_holes(&p);
    *ret = p;
    return ERR_OK;
}

/* ---- drawing ------------------------------------------------------------------------------------------------------ */

/* The palette: 64 greys (the eye sees no more in the sky's noise), then for each colour of the marks and each strength of
 * its edge that colour over 16 greys. */
enum { GREYS = 64, MARKS = 2, STRENGTHS = 3, UNDER = 16, COLOURS = GREYS + MARKS * STRENGTHS * UNDER };

static void fill_palette(uint8_t (*ret)[3])
{
    static const uint8_t marks[MARKS][3] = {{64, 230, 153}, {255, 179, 51}};
    for (int g = 0; g < GREYS; g++)
        for (int k = 0; k < 3; k++) ret[g][k] = (uint8_t)(g * 255 / (GREYS - 1));
    for (int m = 0; m < MARKS; m++)
        for (int s = 0; s < STRENGTHS; s++)
            for (int u = 0; u < UNDER; u++)
                for (int k = 0; k < 3; k++)
                    ret[GREYS + (m * STRENGTHS + s) * UNDER + u][k] =
                        (uint8_t)((marks[m][k] * (s + 1) + u * 255 / (UNDER - 1) * (STRENGTHS - 1 - s)) / STRENGTHS);
}

static uint8_t grey(double v, double z1, double z2)
{
    double f = z2 > z1 ? (v - z1) / (z2 - z1) : 0.5;
    if (!(f > 0)) f = 0;
    if (f > 1) f = 1;
    return (uint8_t)(f * (GREYS - 1) + 0.5);
}

struct canvas {
    int nx, ny;
    uint8_t *index; /* row 0 on top */
};

/* A picture of the bins, `shrink` of them to one pixel on each axis; the lowest row of the frame is at the bottom.
 * index NULL: no memory. */
static struct canvas paint(const struct preview *p, int shrink, double z1, double z2)
{
    struct canvas c = {(p->nx + shrink - 1) / shrink, (p->ny + shrink - 1) / shrink, NULL};
    c.index = malloc((size_t)c.nx * (size_t)c.ny);
    for (int j = 0; c.index && j < c.ny; j++)
        for (int i = 0; i < c.nx; i++) {
            double sum = 0;
            int used = 0;
            for (int y = j * shrink; y < (j + 1) * shrink && y < p->ny; y++)
                for (int x = i * shrink; x < (i + 1) * shrink && x < p->nx; x++) {
                    float v = p->mean[(int64_t)y * p->nx + x];
                    if (isfinite(v)) sum += v, used++;
                }
            c.index[(size_t)(c.ny - 1 - j) * (size_t)c.nx + (size_t)i] = grey(used ? sum / used : z1, z1, z2);
        }
    return c;
}

struct ranked {
    float flux;
    int64_t row;
};

static int brighter(const void *p, const void *q)
{
    const struct ranked *a = p, *b = q;
    if (a->flux != b->flux) return a->flux < b->flux ? 1 : -1;
    return (a->row > b->row) - (a->row < b->row);
}

/* The mark stands clear of what it marks. */
static double radius_of(double isophote)
{
    double r = isophote + 2.5;
    return r >= 4.5 && r < 100 ? r : r >= 100 ? 100 : 4.5;
}

static void mark(cairo_t *c, const struct preview *p, const struct detections *d, int64_t i)
{
    double a = d->has[DET_a] ? d->a[i] : 1, b = d->has[DET_b] ? d->b[i] : 1, area = d->has[DET_isoarea] ? d->isoarea[i] : 0;
    double grow = a > 0 && b > 0 && area > 0 ? sqrt(area / (PI * a * b)) : 3;
    double x = (d->x[i] - 0.5) / p->bin, y = p->ny - (d->y[i] - 0.5) / p->bin, theta = d->has[DET_theta] ? d->theta[i] : 0;
    if (!isfinite(x) || !isfinite(y) || !isfinite(theta)) return;
    a = radius_of(grow * a / p->bin);
    b = radius_of(grow * b / p->bin);
    cairo_matrix_t before;
    cairo_get_matrix(c, &before);
    cairo_translate(c, x, y);
    cairo_rotate(c, -theta * RAD_PER_DEG);
    cairo_scale(c, a, b);
    cairo_new_path(c);
    cairo_arc(c, 0, 0, 1, 0, 2 * PI);
    cairo_set_matrix(c, &before);
    cairo_stroke(c);
}

static bool is_flagged(const struct detections *d, int64_t i)
{
    return d->has[DET_flags] && d->flags[i];
}

/* Draw the marks of one colour as strengths 0..255 and lay them over the picture. */
static enum err lay_marks(struct canvas *to, const struct preview *p, const struct detections *d, const struct ranked *r, bool flagged, struct error *err)
{
    cairo_surface_t *s = cairo_image_surface_create(CAIRO_FORMAT_A8, to->nx, to->ny);
    cairo_t *c = cairo_create(s);
    cairo_set_line_width(c, 1.2);
    for (int64_t i = 0; i < d->n && i < PREVIEW_MARKS; i++)
        if (is_flagged(d, r[i].row) == flagged) mark(c, p, d, r[i].row);
    enum err e = cairo_status(c) == CAIRO_STATUS_SUCCESS ? ERR_OK : ERROR(err, ERR_NOMEM, "could not draw marks: %s", cairo_status_to_string(cairo_status(c)));
    cairo_destroy(c);
    cairo_surface_flush(s);
    const unsigned char *strength = e ? NULL : cairo_image_surface_get_data(s);
    int stride = e ? 0 : cairo_image_surface_get_stride(s);
    for (int y = 0; strength && y < to->ny; y++)
        for (int x = 0; x < to->nx; x++) {
            int level = (strength[(int64_t)y * stride + x] * STRENGTHS + 127) / 255;
            uint8_t *pixel = &to->index[(size_t)y * (size_t)to->nx + (size_t)x];
            int under = *pixel < GREYS ? *pixel * UNDER / GREYS : 0;
            if (level) *pixel = (uint8_t)(GREYS + ((flagged ? 1 : 0) * STRENGTHS + level - 1) * UNDER + under);
        }
    cairo_surface_destroy(s);
    return e;
}

static enum err draw_marks(struct canvas *to, const struct preview *p, const struct detections *d, struct error *err)
{
    struct ranked *r = malloc((size_t)(d->n + 1) * sizeof *r);
    if (!r) return ERROR(err, ERR_NOMEM, "could not rank %lld detections: out of memory", (long long)d->n);
    for (int64_t i = 0; i < d->n; i++) r[i] = (struct ranked){d->has[DET_flux_auto] && isfinite(d->flux_auto[i]) ? d->flux_auto[i] : 0, i};
    qsort(r, (size_t)d->n, sizeof *r, brighter);
    enum err e = lay_marks(to, p, d, r, true, err);
    if (!e) e = lay_marks(to, p, d, r, false, err);
    free(r);
    return e;
}

enum err preview_write(const struct preview *p, const struct detections *d, const char *path, const char *thumb, struct error *err)
{
    uint8_t colours[COLOURS][3];
    double z1, z2;
    int longest = p->nx > p->ny ? p->nx : p->ny;
    fill_palette(colours);
    preview_zscale(p->mean, (int64_t)p->nx * p->ny, 0.25, &z1, &z2);
    struct canvas big = paint(p, 1, z1, z2), small = paint(p, (longest + PREVIEW_THUMB - 1) / PREVIEW_THUMB, z1, z2);
    enum err e = big.index && small.index ? ERR_OK : ERROR(err, ERR_NOMEM, "could not draw '%s': out of memory", path);
    if (!e && d) e = draw_marks(&big, p, d, err);
    if (!e) e = pngfile_write(path, big.index, big.nx, big.ny, colours, COLOURS, err);
    if (!e && thumb) e = pngfile_write(thumb, small.index, small.nx, small.ny, colours, GREYS, err);
    free(big.index);
    free(small.index);
    return e;
}
