#include "pipeline/preview.h"

#include <cairo.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/atomicfile.h"
#include "common/frameio.h"
#include "common/maskbits.h"
#include "common/products.h"
#include "common/units.h"

/* ---- zscale ------------------------------------------------------------------------------------------------------- */

enum { SAMPLE = 1000, ITERATIONS = 5, KEEP_LEAST = 5 };
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

static enum err read_strips(struct frameio_in *in, int sci_hdu, int mask_hdu, struct preview *p, struct error *err)
{
    int64_t nx = p->frame_nx;
    float *sci = malloc((size_t)(nx * p->bin) * sizeof *sci), *mask = malloc((size_t)(nx * p->bin) * sizeof *mask);
    enum err e = sci && mask ? ERR_OK : ERROR(err, ERR_NOMEM, "could not hold %d rows: out of memory", p->bin);
    for (int j = 0; j < p->ny && !e; j++) {
        int64_t y0 = (int64_t)j * p->bin, y1 = y0 + p->bin < p->frame_ny ? y0 + p->bin : p->frame_ny;
        e = frameio_read_rows_f32(in, sci_hdu, y0, y1, sci, err);
        if (!e && mask_hdu) e = frameio_read_rows_f32(in, mask_hdu, y0, y1, mask, err);
        if (!e) bin_rows(sci, mask_hdu ? mask : NULL, nx, y1 - y0, p->bin, p->mean + (int64_t)j * p->nx, p->nx);
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

/* 64 levels of grey: the eye sees no more in the sky's noise, and the files are a third smaller. */
static uint32_t grey(double v, double z1, double z2)
{
    double f = z2 > z1 ? (v - z1) / (z2 - z1) : 0.5;
    if (!(f > 0)) f = 0;
    if (f > 1) f = 1;
    uint32_t level = (uint32_t)(f * 63 + 0.5) * 255 / 63;
    return level << 16 | level << 8 | level;
}

/* A picture of the bins, `shrink` of them to one pixel on each axis; the lowest row of the frame is at the bottom. */
static cairo_surface_t *paint(const struct preview *p, int shrink, double z1, double z2)
{
    int nx = (p->nx + shrink - 1) / shrink, ny = (p->ny + shrink - 1) / shrink;
    cairo_surface_t *s = cairo_image_surface_create(CAIRO_FORMAT_RGB24, nx, ny);
    if (cairo_surface_status(s) != CAIRO_STATUS_SUCCESS) return s;
    unsigned char *bytes = cairo_image_surface_get_data(s);
    int stride = cairo_image_surface_get_stride(s);
    cairo_surface_flush(s);
    for (int j = 0; j < ny; j++)
        for (int i = 0; i < nx; i++) {
            double sum = 0;
            int used = 0;
            for (int y = j * shrink; y < (j + 1) * shrink && y < p->ny; y++)
                for (int x = i * shrink; x < (i + 1) * shrink && x < p->nx; x++) {
                    float v = p->mean[(int64_t)y * p->nx + x];
                    if (isfinite(v)) sum += v, used++;
                }
            uint32_t pixel = grey(used ? sum / used : z1, z1, z2);
            memcpy(bytes + (int64_t)(ny - 1 - j) * stride + 4 * i, &pixel, sizeof pixel);
        }
    cairo_surface_mark_dirty(s);
    return s;
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
    bool clean = !d->has[DET_flags] || !d->flags[i];
    cairo_set_source_rgba(c, clean ? 0.25 : 1.0, clean ? 0.90 : 0.70, clean ? 0.60 : 0.20, 0.9);
    cairo_stroke(c);
}

static enum err draw_marks(cairo_surface_t *s, const struct preview *p, const struct detections *d, struct error *err)
{
    struct ranked *r = malloc((size_t)(d->n + 1) * sizeof *r);
    if (!r) return ERROR(err, ERR_NOMEM, "could not rank %lld detections: out of memory", (long long)d->n);
    for (int64_t i = 0; i < d->n; i++) r[i] = (struct ranked){d->has[DET_flux_auto] && isfinite(d->flux_auto[i]) ? d->flux_auto[i] : 0, i};
    qsort(r, (size_t)d->n, sizeof *r, brighter);
    cairo_t *c = cairo_create(s);
    cairo_set_line_width(c, 1.1);
    for (int64_t i = 0; i < d->n && i < PREVIEW_MARKS; i++) mark(c, p, d, r[i].row);
    cairo_destroy(c);
    free(r);
    return ERR_OK;
}

struct bytes {
    unsigned char *data;
    size_t n, capacity;
};

static cairo_status_t keep_bytes(void *to, const unsigned char *data, unsigned int n)
{
    struct bytes *b = to;
    if (b->n + n > b->capacity) {
        size_t capacity = 2 * (b->n + n);
        unsigned char *more = realloc(b->data, capacity);
        if (!more) return CAIRO_STATUS_NO_MEMORY;
        b->data = more;
        b->capacity = capacity;
    }
    memcpy(b->data + b->n, data, n);
    b->n += n;
    return CAIRO_STATUS_SUCCESS;
}

static enum err write_png(cairo_surface_t *s, const char *path, struct error *err)
{
    struct bytes b = {0};
    cairo_status_t status = cairo_surface_status(s);
    if (status == CAIRO_STATUS_SUCCESS) status = cairo_surface_write_to_png_stream(s, keep_bytes, &b);
    enum err e = status == CAIRO_STATUS_SUCCESS ? atomicfile_write(path, b.data, b.n, err)
                                                : ERROR(err, ERR_NOMEM, "could not draw '%s': %s", path, cairo_status_to_string(status));
    free(b.data);
    return e;
}

enum err preview_write(const struct preview *p, const struct detections *d, const char *path, const char *thumb, struct error *err)
{
    double z1, z2;
    int longest = p->nx > p->ny ? p->nx : p->ny;
    preview_zscale(p->mean, (int64_t)p->nx * p->ny, 0.25, &z1, &z2);
    cairo_surface_t *s = paint(p, 1, z1, z2);
    enum err e = d && cairo_surface_status(s) == CAIRO_STATUS_SUCCESS ? draw_marks(s, p, d, err) : ERR_OK;
    if (!e) e = write_png(s, path, err);
    cairo_surface_destroy(s);
    if (e || !thumb) return e;
    s = paint(p, (longest + PREVIEW_THUMB - 1) / PREVIEW_THUMB, z1, z2);
    e = write_png(s, thumb, err);
    cairo_surface_destroy(s);
    return e;
}
