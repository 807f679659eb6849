#include "processors/matched_psf.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/stats.h"
#include "common/units.h"
#include "processors/detect.h"

enum { STARS_MOST = 200, STARS_LEAST = 3, CANDIDATES_MOST = 4000, LANCZOS = 3 };

static const double FIRST_THRESHOLD = 6;      /* sigma of a pixel */
static const double SNR_LEAST = 25;           /* of the isophotal flux */
static const double ONE_PIXEL_MOST = 0.5;     /* of the flux */
static const double THIN = 1.5;               /* axis ratio */
static const double SIZE_WITHIN = 0.2;        /* of the most frequent size */
static const double FWHM_UNKNOWN = 3;
static const double PYRAMID_VARIANCE = 0.5;   /* pixel^2, in each axis */

void matched_psf_detection(struct detect_options *o)
{
    o->thresh = FIRST_THRESHOLD;
    o->absolute = false;
    o->minarea = 4;
    o->filter = &convolve_pyramid;
    o->deblend.nthresh = 1;
    o->clean = false;
    o->matched = NULL;
}

struct candidate {
    int64_t object;
    double flux, size;
};

static int by_flux(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->flux != y->flux) return x->flux > y->flux ? -1 : 1;
    return (x->object > y->object) - (x->object < y->object);
}

static bool may_be_star(const struct image_view *view, const struct object *o, mask_t holes)
{
    if (o->flags || (o->imaflags & (holes | MASK_SATURATED)) || !(o->flux > 0) || !(o->b > 0)) return false;
    double noise = sqrt((double)view->sigma2_const * (double)o->npix);
    return o->flux > SNR_LEAST * noise && (double)o->peak < ONE_PIXEL_MOST * o->flux && (double)o->a < THIN * (double)o->b;
}

/* Width of the object without the filter's own. */
static double size_of(const struct object *o)
{
    double v = (double)o->a * (double)o->b - PYRAMID_VARIANCE;
    return v > 0.09 ? sqrt(v) : 0.3;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Half-sample mode of sorted values. */
static double mode_of(const double *v, int64_t n)
{
    while (n > 3) {
        int64_t half = (n + 1) / 2, best = 0;
        for (int64_t i = 1; i + half <= n; i++)
            if (v[i + half - 1] - v[i] < v[best + half - 1] - v[best]) best = i;
        v += best;
        n = half;
    }
    return n == 3 ? v[1] : n == 2 ? 0.5 * (v[0] + v[1]) : v[0];
}

/* The brightest candidates of the most frequent size. Returned: how many; *ret_size the size, 0 without candidates. */
static int64_t choose_stars(struct candidate *c, int64_t n, double *work, double *ret_size)
{
    *ret_size = 0;
    if (n < 1) return 0;
    qsort(c, (size_t)n, sizeof *c, by_flux);
    if (n > CANDIDATES_MOST) n = CANDIDATES_MOST;
    for (int64_t i = 0; i < n; i++) work[i] = c[i].size;
    qsort(work, (size_t)n, sizeof *work, by_value);
    *ret_size = mode_of(work, n);
    int64_t stars = 0;
    for (int64_t i = 0; i < n; i++)
        if (fabs(c[i].size - *ret_size) < SIZE_WITHIN * *ret_size) c[stars++] = c[i];
    return stars;
}

/* ---- stamps ---------------------------------------------------------------------------------------------------------- */

static void lanczos_taps(double shift, double *taps)
{
    double sum = 0;
    for (int k = 0; k < 2 * LANCZOS; k++) {
        double t = shift - (k - LANCZOS + 1), pt = PI * t;
        taps[k] = fabs(t) < 1e-9 ? 1 : LANCZOS * sin(pt) * sin(pt / LANCZOS) / (pt * pt);
        sum += taps[k];
    }
    for (int k = 0; k < 2 * LANCZOS; k++) taps[k] /= sum;
}

/* One star, centred, its light within the radius 1. Returned: false if it is not whole and usable. */
static bool cut_star(const struct image_view *v, const struct object *o, mask_t holes, int radius, double *line, float *ret)
{
    int side = 2 * radius + 1, tall = side + 2 * LANCZOS - 1;
    int64_t x0 = (int64_t)floor(o->x) - radius, y0 = (int64_t)floor(o->y) - radius; /* whole part of the corner's place */
    int64_t left = x0 - LANCZOS + 1, top = y0 - LANCZOS + 1;
    if (left < 0 || top < 0 || left + tall > v->nx || top + tall > v->ny) return false;
    double tx[2 * LANCZOS], ty[2 * LANCZOS], sum = 0;
    lanczos_taps(o->x - floor(o->x), tx);
    lanczos_taps(o->y - floor(o->y), ty);
    for (int j = 0; j < tall; j++) {
        int64_t at = (top + j) * v->nx + left;
        for (int i = 0; i < tall; i++)
            if (!(fabsf(v->value[at + i]) < 1e30f) || (v->mask && (v->mask[at + i] & (holes | MASK_SATURATED)))) return false;
        for (int i = 0; i < side; i++) {
            double s = 0;
            for (int k = 0; k < 2 * LANCZOS; k++) s += tx[k] * (double)v->value[at + i + k];
            line[j * side + i] = s;
        }
    }
    for (int j = 0; j < side; j++)
        for (int i = 0; i < side; i++) {
            double s = 0;
            for (int k = 0; k < 2 * LANCZOS; k++) s += ty[k] * line[(j + k) * side + i];
            ret[j * side + i] = (float)s;
            double dx = i - radius, dy = j - radius;
            if (dx * dx + dy * dy <= 0.36 * radius * radius) sum += s; /* the core: neighbours in the wings do not weigh */
        }
    if (!(sum > 0)) return false;
    for (int i = 0; i < side * side; i++) ret[i] = (float)((double)ret[i] / sum);
    return true;
}

static void median_stamp(const float *stamps, int64_t n, int pixels, float *ret)
{
    /* Each pixel is the median of its own column of stamps. */
    int failed = 0;
#pragma omp parallel default(none) shared(stamps, n, pixels, ret) reduction(| : failed)
    {
        float *v = mem_array((size_t)n, sizeof *v);
        failed |= !v;
#pragma omp for schedule(static)
        for (int i = 0; i < pixels; i++) {
            for (int64_t k = 0; v && k < n; k++) v[k] = stamps[k * pixels + i];
            ret[i] = v ? median_f32(v, n) : 0;
        }
        free(v);
    }
    for (int i = 0; failed && i < pixels; i++) ret[i] = 0; /* no light: the caller takes a Gaussian */
}

static enum err stack_stars(const struct image_view *view, const struct objects *objects, const struct candidate *c, int64_t n,
                            mask_t holes, int radius, struct matched_kernel *ret, struct error *err)
{
    int side = 2 * radius + 1, tall = side + 2 * LANCZOS - 1;
    size_t pixels = (size_t)(side * side);
    int64_t used = 0, room = n < STARS_MOST ? n : STARS_MOST;
    float *stamps = mem_array(pixels * ((size_t)room + 1), sizeof *stamps);
    double *line = mem_array((size_t)(tall * side), sizeof *line);
    enum err code = stamps && line ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory for the stars of the matched filter");
    for (int64_t i = 0; !code && i < n && used < room; i++)
        used += cut_star(view, &objects->o[c[i].object], holes, radius, line, stamps + pixels * (size_t)used);
    if (!code && used >= STARS_LEAST) {
        float *psf = stamps + pixels * (size_t)room;
        median_stamp(stamps, used, (int)pixels, psf);
        if (!matched_kernel_make(psf, radius, ret, NULL)) ret->stars = used;
    }
    free(stamps);
    free(line);
    return code;
}

enum err matched_psf_measure(const struct image_view *view, const struct objects *objects, mask_t holes, struct matched_kernel *ret,
                             struct error *err)
{
    size_t room = (size_t)(objects->n > 0 ? objects->n : 1);
    struct candidate *c = mem_array(room, sizeof *c);
    double *work = mem_array(room, sizeof *work), size;
    int64_t n = 0;
    enum err code = c && work ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory for the stars of %lld objects", (long long)objects->n);
    for (int64_t i = 0; !code && i < objects->n; i++) {
        const struct object *o = &objects->o[i];
        if (may_be_star(view, o, holes)) c[n++] = (struct candidate){i, o->flux, size_of(o)};
    }
    if (!code) {
        int64_t stars = choose_stars(c, n, work, &size);
        double fwhm = stars ? FWHM_PER_SIGMA * size : FWHM_UNKNOWN;
        int radius = (int)ceil(1.6 * fmin(fwhm, 0.6 * MATCHED_RADIUS_MAX)) + 1;
        matched_kernel_gaussian(fwhm, ret);
        code = stack_stars(view, objects, c, stars, holes, radius < 4 ? 4 : radius > MATCHED_RADIUS_MAX ? MATCHED_RADIUS_MAX : radius, ret, err);
    }
    free(c);
    free(work);
    return code;
}
