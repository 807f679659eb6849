#include "processors/gain.h"

#include <math.h>
#include <stdlib.h>

#include "common/arena.h"
#include "common/stats.h"

#define BOX_PIXELS   (GAIN_BOX * GAIN_BOX)
#define CLIP         4.0
#define CLIP_ROUNDS  10
#define MEDIAN_ERROR 1.2533 /* sigma of a median / sigma of a mean */

struct box {
    int64_t x0, y0, nx;
};

/* Values a - r b of one box that are finite. Returned: how many. */
static int64_t difference(const struct box *b, const float *first, const float *second, double r, double *ret)
{
    int64_t n = 0;
    for (int64_t y = b->y0; y < b->y0 + GAIN_BOX; y++)
        for (int64_t x = b->x0; x < b->x0 + GAIN_BOX; x++) {
            double d = (double)first[y * b->nx + x] - r * (double)second[y * b->nx + x];
            if (isfinite(d)) ret[n++] = d;
        }
    return n;
}

struct scratch {
    double value[BOX_PIXELS], work[BOX_PIXELS];
};

static double box_mean(const struct box *b, const float *first, const float *second, double r, struct scratch *s)
{
    int64_t n = difference(b, first, second, r, s->value);
    if (n < BOX_PIXELS / 2) return NAN;
    return clipped_stats_f64(s->value, n, s->work, CLIP, CLIP, CLIP_ROUNDS).mean;
}

static double box_variance(const struct box *b, const float *first, const float *second, double r, struct scratch *s)
{
    int64_t n = difference(b, first, second, r, s->value);
    if (n < BOX_PIXELS / 2) return NAN;
    double sigma = clipped_stats_f64(s->value, n, s->work, CLIP, CLIP, CLIP_ROUNDS).sigma;
    return sigma * sigma;
}

/* Read noise squared of one box: median over the pairs of biases. */
static double box_rdnoise2(const struct box *b, const float *const *biases, int nbias, double *list, struct scratch *s)
{
    int n = 0;
    for (int i = 0; i + 1 < nbias; i++) {
        double v = box_variance(b, biases[i], biases[i + 1], 1, s) / 2;
        if (isfinite(v)) list[n++] = v;
    }
    return median_f64(list, n);
}

static double box_gain(const struct box *b, const float *f1, const float *f2, const float *bias, double rdnoise2,
                       struct scratch *s)
{
    double s1 = box_mean(b, f1, bias, 1, s), s2 = box_mean(b, f2, bias, 1, s);
    if (!(s1 > 0) || !(s2 > 0)) return NAN;
    double r = s1 / s2;
    if (r < 0.2 || r > 5) return NAN; /* scaling would only scale the noise */
    double photons = box_variance(b, f1, f2, r, s) - (1 + r * r) * rdnoise2;
    /* F1 - r F2 leaves (1 - r) B: the structure of the bias times a small number, far below the photon noise. */
    return photons > 0.2 * (1 + r * r) * rdnoise2 ? (s1 + r * r * s2) / photons : NAN;
}

static void median_and_error(double *list, int n, double *ret, double *ret_error)
{
    double m = median_f64(list, n);
    double sigma = mad_sigma_f64(list, n, m);
    *ret = m;
    *ret_error = n > 0 ? MEDIAN_ERROR * sigma / sqrt(n) : NAN;
}

static enum err measure(int64_t nx, int64_t ny, const float *const *flats, int nflat, const float *const *biases, int nbias,
                        struct gain_estimate *ret, struct error *err)
{
    int64_t bx = nx / GAIN_BOX, by = ny / GAIN_BOX, per_box = nflat > 1 ? nflat - 1 : 0;
    size_t nboxes = (size_t)bx * (size_t)by;
    if (nbias < 2) return ERROR(err, ERR_NOT_FOUND, "cannot measure the read noise from %d bias frames", nbias);
    double *gains = mem_array(nboxes * (size_t)per_box + 1, sizeof *gains);
    double *noises = mem_array(nboxes + 1, sizeof *noises), *pairs = mem_array((size_t)nbias, sizeof *pairs);
    struct scratch *s = malloc(sizeof *s);
    enum err code = ERR_OK;
    struct gain_estimate e = {NAN, NAN, NAN, NAN, 0};
    int ngain = 0, nnoise = 0;
    if (!gains || !noises || !pairs || !s) {
        code = ERROR(err, ERR_NOMEM, "no memory to measure the gain");
        goto out;
    }
    for (size_t i = 0; i < nboxes; i++) {
        struct box b = {(int64_t)i % bx * GAIN_BOX, (int64_t)i / bx * GAIN_BOX, nx};
        double rdnoise2 = box_rdnoise2(&b, biases, nbias, pairs, s);
        if (!isfinite(rdnoise2)) continue;
        noises[nnoise++] = sqrt(rdnoise2);
        for (int f = 0; f < per_box; f++) {
            double g = box_gain(&b, flats[f], flats[f + 1], biases[0], rdnoise2, s);
            if (isfinite(g)) gains[ngain++] = g;
        }
    }
    if (!nnoise || (per_box && !ngain)) {
        code = ERROR(err, ERR_NOT_FOUND, "cannot measure the %s: no usable box of %d x %d pixels", nnoise ? "gain" : "read noise",
                     GAIN_BOX, GAIN_BOX);
        goto out;
    }
    median_and_error(noises, nnoise, &e.rdnoise_adu, &e.rdnoise_error);
    if (ngain) median_and_error(gains, ngain, &e.gain_e_per_adu, &e.gain_error);
    e.boxes = per_box ? ngain : nnoise;
    *ret = e;
out:
    free(gains);
    free(noises);
    free(pairs);
    free(s);
    return code;
}

enum err gain_from_pairs(int64_t nx, int64_t ny, const float *const *flats, int nflat, const float *const *biases, int nbias,
                         struct gain_estimate *ret, struct error *err)
{
    if (nflat < 2) return ERROR(err, ERR_NOT_FOUND, "cannot measure the gain from %d flat frames", nflat);
    return measure(nx, ny, flats, nflat, biases, nbias, ret, err);
}

enum err rdnoise_from_pairs(int64_t nx, int64_t ny, const float *const *biases, int nbias, struct gain_estimate *ret,
                            struct error *err)
{
    return measure(nx, ny, NULL, 0, biases, nbias, ret, err);
}
