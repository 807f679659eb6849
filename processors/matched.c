#include "processors/matched.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/units.h"

static const double RANK_ENERGY = 3e-4;          /* of the kernel's square that the products may miss */
static const double REACH_FWHM = 1.2;            /* the kernel ends here: see matched.h */
static const double THRESHOLD_LEAST = 4, THRESHOLD_MOST = 6;

struct matched_options matched_options_default(void)
{
    struct matched_options o = {.footprint = 2, .false_share = 0.004, .prominence = 2.0};
    matched_kernel_gaussian(3, &o.kernel);
    return o;
}

enum err matched_options_verify(const struct matched_options *o, struct error *err)
{
    if (o->kernel.radius < 1 || o->kernel.radius > MATCHED_RADIUS_MAX || !(o->kernel.norm2 > 0))
        return ERROR(err, ERR_SETTINGS, "cannot filter with a PSF of radius %d", o->kernel.radius);
    if (!(o->footprint > 0 && o->footprint < 1e6)) return ERROR(err, ERR_SETTINGS, "cannot detect down to a signal to noise of %g", o->footprint);
    if (!(o->threshold >= 0 && o->threshold < 1e9)) return ERROR(err, ERR_SETTINGS, "cannot detect at a signal to noise of %g", o->threshold);
    if (!(o->false_share > 0 && o->false_share <= 1)) return ERROR(err, ERR_SETTINGS, "cannot detect with a false share of %g", o->false_share);
    if (!(o->prominence >= 0)) return ERROR(err, ERR_SETTINGS, "cannot tell peaks apart by %g sigma", o->prominence);
    return ERR_OK;
}

/* ---- a stamp as products of columns and rows ------------------------------------------------------------------------ */

/* The strongest product in m (side x side): alternating multiplication, from the row with the most light. */
static void strongest_product(const double *m, int side, double *column, double *row)
{
    int best = 0;
    double most = -1;
    for (int y = 0; y < side; y++) {
        double e = 0;
        for (int x = 0; x < side; x++) e += m[y * side + x] * m[y * side + x];
        if (e > most) most = e, best = y;
    }
    memcpy(row, m + (size_t)best * (size_t)side, (size_t)side * sizeof *row);
    for (int round = 0; round < 60; round++) {
        double r2 = 0, c2 = 0;
        for (int x = 0; x < side; x++) r2 += row[x] * row[x];
        for (int y = 0; y < side; y++) {
            column[y] = 0;
            for (int x = 0; x < side; x++) column[y] += r2 > 0 ? m[y * side + x] * row[x] / r2 : 0;
            c2 += column[y] * column[y];
        }
        for (int x = 0; x < side; x++) {
            row[x] = 0;
            for (int y = 0; y < side; y++) row[x] += c2 > 0 ? m[y * side + x] * column[y] / c2 : 0;
        }
    }
}

/* m is left as what the products miss. */
static void decompose(double *m, int side, struct matched_products *ret)
{
    double column[MATCHED_SIDE_MAX], row[MATCHED_SIDE_MAX], energy = 0, left;
    for (int i = 0; i < side * side; i++) energy += m[i] * m[i];
    do {
        int k = ret->rank++;
        left = 0;
        strongest_product(m, side, column, row);
        for (int i = 0; i < side; i++) ret->column[k][i] = (float)column[i], ret->row[k][i] = (float)row[i];
        for (int y = 0; y < side; y++)
            for (int x = 0; x < side; x++) {
                m[y * side + x] -= column[y] * row[x];
                left += m[y * side + x] * m[y * side + x];
            }
    } while (ret->rank < MATCHED_RANK_MAX && left > RANK_ENERGY * energy);
}

static double product_at(const struct matched_products *p, int y, int x)
{
    double v = 0;
    for (int k = 0; k < p->rank; k++) v += (double)p->column[k][y] * (double)p->row[k][x];
    return v;
}

/* Autocorrelation of white noise after the filter, one pixel off, over that at zero: 1 - curvature / 2. */
static double curvature_of(const struct matched_kernel *k)
{
    int side = 2 * k->radius + 1;
    double right = 0, down = 0;
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++) {
            double v = product_at(&k->psf, y, x);
            right += x + 1 < side ? v * product_at(&k->psf, y, x + 1) : 0;
            down += y + 1 < side ? v * product_at(&k->psf, y + 1, x) : 0;
        }
    double cx = 2 * (1 - right / k->norm2), cy = 2 * (1 - down / k->norm2);
    return cx > 0 && cy > 0 ? sqrt(cx * cy) : 0;
}

/* Diameter of the circle with the area above half of the maximum, between pixels linear. */
static double fwhm_of(const double *m, int side)
{
    enum { SPLIT = 8 };
    double most = 0, area = 0;
    for (int i = 0; i < side * side; i++) most = m[i] > most ? m[i] : most;
    for (int y = 0; y < (side - 1) * SPLIT; y++)
        for (int x = 0; x < (side - 1) * SPLIT; x++) {
            const double *v = m + (y / SPLIT) * side + x / SPLIT;
            double t = (y % SPLIT + 0.5) / SPLIT, u = (x % SPLIT + 0.5) / SPLIT;
            area += (1 - t) * ((1 - u) * v[0] + u * v[1]) + t * ((1 - u) * v[side] + u * v[side + 1]) > 0.5 * most;
        }
    return 2 * sqrt(area / (SPLIT * SPLIT) / PI);
}

/* What of the stamp lies within `reach`, without negative pixels, as a stamp of its own radius; its sum is 1. Returned: false
 * if there is no light. */
static bool cut_stamp(const float *stamp, int from, double reach, int radius, double *ret)
{
    double sum = 0;
    int side = 2 * radius + 1;
    for (int y = -radius; y <= radius; y++)
        for (int x = -radius; x <= radius; x++) {
            float v = stamp[(y + from) * (2 * from + 1) + x + from];
            double kept = x * x + y * y <= reach * reach && v > 0 && isfinite(v) ? (double)v : 0;
            ret[(y + radius) * side + x + radius] = kept;
            sum += kept;
        }
    for (int i = 0; i < side * side && sum > 0; i++) ret[i] /= sum;
    return sum > 0 && isfinite(sum);
}

enum err matched_kernel_make(const float *stamp, int radius, struct matched_kernel *ret, struct error *err)
{
    if (radius < 1 || radius > MATCHED_RADIUS_MAX) return ERROR(err, ERR_SHAPE, "cannot filter with a PSF of radius %d", radius);
    double *m = malloc(2 * MATCHED_SIDE_MAX * MATCHED_SIDE_MAX * sizeof *m), *m2 = m ? m + MATCHED_SIDE_MAX * MATCHED_SIDE_MAX : NULL;
    if (!m) return ERROR(err, ERR_NOMEM, "no memory for a PSF of radius %d", radius);
    struct matched_kernel k = {.radius = radius};
    bool lit = cut_stamp(stamp, radius, 2 * radius, radius, m);
    k.fwhm = lit ? fwhm_of(m, 2 * radius + 1) : 0;
    double reach = fmax(REACH_FWHM * k.fwhm, 1.5);
    k.radius = (int)reach < radius ? (int)reach : radius;
    if (!lit || !cut_stamp(stamp, radius, reach, k.radius, m)) {
        free(m);
        return ERROR(err, ERR_SHAPE, "cannot filter with a PSF without light");
    }
    int side = 2 * k.radius + 1;
    for (int i = 0; i < side * side; i++) k.peak = m[i] > k.peak ? m[i] : k.peak;
    decompose(m, side, &k.psf);
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++) {
            double v = product_at(&k.psf, y, x);
            m2[y * side + x] = v * v;
            k.norm2 += v * v;
        }
    decompose(m2, side, &k.square);
    k.curvature = curvature_of(&k);
    free(m);
    *ret = k;
    return ERR_OK;
}

void matched_kernel_gaussian(double fwhm, struct matched_kernel *ret)
{
    float stamp[MATCHED_SIDE_MAX * MATCHED_SIDE_MAX];
    fwhm = fmin(fmax(fwhm, 1), 20);
    double sigma = fwhm / FWHM_PER_SIGMA;
    int radius = (int)ceil(1.5 * fwhm), side = 2 * radius + 1;
    for (int i = 0; i < side * side; i++) {
        double dx = i % side - radius, dy = i / side - radius;
        stamp[i] = (float)exp(-0.5 * (dx * dx + dy * dy) / (sigma * sigma));
    }
    if (matched_kernel_make(stamp, radius, ret, NULL)) *ret = (struct matched_kernel){.radius = 0}; /* no memory: not verified */
    ret->fwhm = fwhm;
}

/* ---- noise and threshold ---------------------------------------------------------------------------------------------- */

double matched_noise_peaks(const struct matched_kernel *k, double npix, double t)
{
    return npix * k->curvature * t * exp(-0.5 * t * t) / pow(2 * PI, 1.5);
}

/* S below which a share of the n counted pixels lies. */
static double quantile(const int64_t *histogram, double share, int64_t n)
{
    double want = share * (double)n, below = 0;
    for (int k = 0; k < MATCHED_BINS; k++) {
        double here = (double)histogram[k];
        if (below + here >= want && here > 0) return (k - MATCHED_BINS / 2 + (want - below) / here) / MATCHED_SCALE;
        below += here;
    }
    return MATCHED_BINS / 2 / MATCHED_SCALE;
}

struct matched_noise matched_noise_of(const int64_t *histogram)
{
    struct matched_noise r = {0, 1};
    int64_t n = 0, bright = 0;
    for (int k = 0; k < MATCHED_BINS; k++) n += histogram[k];
    if (n < 1000) return r;
    for (int round = 0; round < 4; round++) {
        /* pixels two sigma above the sky are objects but for 2.3 % of the sky's own; their faint outskirts count as many again */
        int edge = (int)((r.zero + 2 * r.sigma) * MATCHED_SCALE) + MATCHED_BINS / 2;
        bright = 0;
        for (int k = edge > 0 ? edge : 0; k < MATCHED_BINS; k++) bright += histogram[k];
        double sky = 1 - 2 * fmin(fmax((double)bright / (double)n - 0.0228, 0), 0.4);
        double low = quantile(histogram, 0.0228 * sky, n), one = quantile(histogram, 0.1587 * sky, n);
        r.sigma = fmax(one - low, 1.0 / MATCHED_SCALE);
        r.zero = one + r.sigma;
    }
    return r;
}

static int descending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

double matched_threshold(const struct matched_options *o, double npix, float *peaks, int64_t n)
{
    if (o->threshold > 0) return o->threshold;
    qsort(peaks, (size_t)n, sizeof *peaks, descending);
    int64_t above = 0;
    double t = THRESHOLD_MOST;
    for (; t > THRESHOLD_LEAST; t -= 0.01) {
        while (above < n && (double)peaks[above] > t - 0.01) above++;
        if (matched_noise_peaks(&o->kernel, npix, t - 0.01) > o->false_share * (double)above) break;
    }
    return t;
}
