#include "processors/stellarity.h"

#include <math.h>
#include <stdlib.h>

#include "common/arena.h"
#include "common/detections.h"
#include "common/stats.h"
#include "common/units.h"

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

static double log_area(int32_t pixels, double scale)
{
    return pixels > 0 ? log10(pixels * scale) : -1.0;
}

float stellarity_network(const struct star_network *net, const int32_t iso[8], double peak, double threshold, double seeing, double pixel_scale)
{
    double disc = seeing > 0.0 && pixel_scale > 0.0 ? (pixel_scale / seeing) * (pixel_scale / seeing) : 1.0;
    double in[NETWORK_INPUTS], out = (double)net->output[NETWORK_HIDDEN];
    in[0] = log_area(iso[0], disc);
    in[1] = peak > 0.0 && threshold > 0.0 ? log10(peak / threshold) : -1.0;
    for (int k = 1; k < 8; k++) in[k + 1] = log_area(iso[k], disc);
    in[9] = seeing > 0.0 ? log10(seeing) : 0.0;
    for (int i = 0; i < NETWORK_INPUTS; i++) in[i] = in[i] * (double)net->scale[i] + (double)net->bias[i];
    for (int h = 0; h < NETWORK_HIDDEN; h++) {
        double sum = (double)net->hidden[h][NETWORK_INPUTS];
        for (int i = 0; i < NETWORK_INPUTS; i++) sum += in[i] * (double)net->hidden[h][i];
        out += (double)net->output[h] * sigmoid(sum);
    }
    return (float)(sigmoid(out) * (double)net->out_scale + (double)net->out_bias);
}

/* ---- the frame's own stars -------------------------------------------------------------------------------------- */

#define LOCUS_SNR    20.0f
#define LOCUS_FEWEST 5

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Halve the interval around the densest half until three values are left. v is sorted. */
static double half_sample_mode(const float *v, int64_t n)
{
    while (n > 3) {
        int64_t half = (n + 1) / 2, best = 0;
        for (int64_t i = 1; i + half <= n; i++)
            if (v[i + half - 1] - v[i] < v[best + half - 1] - v[best]) best = i;
        v += best;
        n = half;
    }
    if (n == 3) return v[1] - v[0] < v[2] - v[1] ? 0.5 * ((double)v[0] + (double)v[1]) : 0.5 * ((double)v[1] + (double)v[2]);
    return n == 2 ? 0.5 * ((double)v[0] + (double)v[1]) : (double)v[0];
}

static int64_t gather(const struct star_sample *s, int64_t n, float least_snr, float *ret)
{
    int64_t m = 0;
    for (int64_t i = 0; i < n; i++)
        if (s[i].r50 > 0.0f && s[i].flags == 0 && s[i].snr > least_snr) ret[m++] = s[i].r50;
    return m;
}

/* r50 - locus in sigma; the noise of r50 is about r50 / snr. */
static double off_locus(const struct stellar_locus *l, const struct star_sample *s)
{
    double noise = s->snr > 0.0f ? l->r50 / (double)s->snr : l->r50;
    return ((double)s->r50 - l->r50) / sqrt(l->width * l->width + noise * noise);
}

int stellar_locus_holds(const struct stellar_locus *l, const struct star_sample *s)
{
    return l->r50 > 0.0 && s->r50 > 0.0f && fabs(off_locus(l, s)) < 3.0;
}

static int is_member(const struct stellar_locus *l, const struct star_sample *s)
{
    return s->flags == 0 && s->snr > LOCUS_SNR / 2 && stellar_locus_holds(l, s);
}

/* FWHM and ellipticity of the members; noise biases both upwards, so the bright ones speak where there are enough. */
static void locus_medians(const struct star_sample *s, int64_t n, float *work, struct stellar_locus *ret)
{
    static const float least[] = {5 * LOCUS_SNR, 2.5f * LOCUS_SNR, LOCUS_SNR, 0.0f};
    int64_t m = 0;
    int level = -1;
    for (int64_t i = 0; i < n; i++) ret->n += is_member(ret, &s[i]);
    do {
        level++;
        m = 0;
        for (int64_t i = 0; i < n; i++)
            if (is_member(ret, &s[i]) && s[i].snr > least[level]) work[m++] = s[i].fwhm;
    } while (m < 2 * LOCUS_FEWEST && least[level] > 0.0f);
    ret->fwhm = m ? (double)median_f32(work, m) : 0.0;
    m = 0;
    for (int64_t i = 0; i < n; i++)
        if (is_member(ret, &s[i]) && s[i].snr > least[level]) work[m++] = s[i].ellipticity;
    ret->ellipticity = m ? (double)median_f32(work, m) : 0.0;
}

enum err stellar_locus_find(const struct star_sample *s, int64_t n, struct stellar_locus *ret, struct error *err)
{
    *ret = (struct stellar_locus){0};
    float *v = mem_array((size_t)(n > 0 ? n : 1), sizeof *v);
    if (!v) return ERROR(err, ERR_NOMEM, "no memory for the stellar locus of %lld objects", (long long)n);
    int64_t m = gather(s, n, LOCUS_SNR, v);
    if (m < 4 * LOCUS_FEWEST) m = gather(s, n, LOCUS_SNR / 2, v);
    if (m >= LOCUS_FEWEST) {
        qsort(v, (size_t)m, sizeof *v, by_value);
        double mode = half_sample_mode(v, m);
        /* galaxies lie on the large side: the scatter is that of the values below the mode, mirrored */
        int64_t below = 0;
        for (int64_t i = 0; i < m; i++)
            if ((double)v[i] <= mode) v[below++] = (float)(mode - (double)v[i]);
        ret->r50 = mode;
        ret->width = below ? SIGMA_PER_MAD * (double)median_f32(v, below) : 0.0;
        if (ret->width < 0.005 * mode) ret->width = 0.005 * mode;
        locus_medians(s, n, v, ret);
    }
    free(v);
    return ERR_OK;
}

float stellarity_locus(const struct stellar_locus *l, const struct star_sample *s)
{
    if (!(l->r50 > 0.0) || !(s->r50 > 0.0f)) return 0.5f;
    double noise = s->snr > 0.0f ? 1.0 / (double)s->snr : 1.0, sure = 1.0 / (1.0 + 400.0 * noise * noise);
    double on = sigmoid(2.0 * (3.0 - fabs(off_locus(l, s))));
    return (float)(0.5 + sure * (on - 0.5)); /* half way at a signal to noise of 20 */
}
