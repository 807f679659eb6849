/* Separable: each pixel row is first made from four node rows, then its pixels from four columns of that. With the nodes in
 * phases the four columns of neighbouring pixels are neighbours. */
#include "processors/psfmodel_kernels.h"

#include <string.h>

#define PASTE2(a, b) a##b
#define PASTE(a, b)  PASTE2(a, b)
#define LANES        8

typedef float v8f __attribute__((vector_size(32)));
typedef float v8u __attribute__((vector_size(32), aligned(4), may_alias));

#define LOAD(p)     (*(const v8u *)(p))
#define STORE(p, v) (*(v8u *)(p) = (v))
#define SPLAT(x)    ((v8f){(x), (x), (x), (x), (x), (x), (x), (x)})

static void combine(const float *coef, int64_t plane, int terms, const float *poly, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i += LANES) {
        v8f sum = SPLAT(poly[0]) * LOAD(coef + i);
        for (int k = 1; k < terms; k++) sum += SPLAT(poly[k]) * LOAD(coef + k * plane + i);
        STORE(out + i, sum);
    }
}

/* Where the four columns of the first pixel lie in a row of phases: tap t at phase * lane + place. */
struct taps {
    int first;       /* smallest place */
    int width;       /* places that are read, a multiple of 8 */
    int at[4];       /* in the scratch row of width floats per phase */
};

static inline struct taps taps_of(const struct psf_query *q)
{
    struct taps t = {.first = q->column / q->over};
    int last = (q->column + 3) / q->over - t.first;
    t.width = ((q->nx + LANES - 1) / LANES * LANES + last + LANES - 1) / LANES * LANES;
    for (int k = 0; k < 4; k++) t.at[k] = (q->column + k) % q->over * t.width + (q->column + k) / q->over - t.first;
    return t;
}

static inline void mix_rows(const struct psf_query *q, const struct taps *t, int y, const float w[4], float *out)
{
    const float *row = q->coef + (int64_t)(q->row + y * q->over) * q->pitch + t->first;
    const v8f w0 = SPLAT(w[0]), w1 = SPLAT(w[1]), w2 = SPLAT(w[2]), w3 = SPLAT(w[3]);
    for (int p = 0; p < q->over; p++, row += q->lane)
        for (int k = 0; k < t->width; k += LANES, out += LANES)
            STORE(out, w0 * LOAD(row + k) + w1 * LOAD(row + q->pitch + k) + w2 * LOAD(row + 2 * q->pitch + k) + w3 * LOAD(row + 3 * q->pitch + k));
}

static inline void mix_columns(const struct psf_query *q, const struct taps *t, const float w[4], const float *in, float *out)
{
    const v8f w0 = SPLAT(w[0]), w1 = SPLAT(w[1]), w2 = SPLAT(w[2]), w3 = SPLAT(w[3]);
    for (int k = 0; k < q->nx; k += LANES)
        STORE(out + k, w0 * LOAD(in + t->at[0] + k) + w1 * LOAD(in + t->at[1] + k) + w2 * LOAD(in + t->at[2] + k) + w3 * LOAD(in + t->at[3] + k));
}

static void stamp(const struct psf_query *q, float *scratch, float *p, float *px, float *py)
{
    const struct taps t = taps_of(q);
    float *slope = scratch + PSF_SCRATCH_ROW;
    for (int y = 0; y < q->ny; y++) {
        int64_t at = (int64_t)y * q->stride;
        mix_rows(q, &t, y, q->wy, scratch);
        mix_columns(q, &t, q->wx, scratch, p + at);
        if (!px) continue;
        mix_columns(q, &t, q->gx, scratch, px + at);
        mix_rows(q, &t, y, q->gy, slope);
        mix_columns(q, &t, q->wx, slope, py + at);
    }
}

static void adjoint(const struct psf_query *q, float *scratch, const float *residual, float *coef)
{
    const struct taps t = taps_of(q);
    for (int y = 0; y < q->ny; y++) {
        const float *r = residual + (int64_t)y * q->stride;
        memset(scratch, 0, (size_t)(t.width * q->over) * sizeof *scratch);
        for (int tap = 0; tap < 4; tap++) {
            float *to = scratch + t.at[tap];
            const v8f w = SPLAT(q->wx[tap]);
            for (int k = 0; k < q->nx; k += LANES) STORE(to + k, LOAD(to + k) + w * LOAD(r + k));
        }
        float *row = coef + (int64_t)(q->row + y * q->over) * q->pitch + t.first;
        for (int tap = 0; tap < 4; tap++, row += q->pitch) {
            const v8f w = SPLAT(q->wy[tap]);
            for (int p = 0; p < q->over; p++)
                for (int k = 0; k < t.width; k += LANES) {
                    float *to = row + (int64_t)p * q->lane + k;
                    STORE(to, LOAD(to) + w * LOAD(scratch + p * t.width + k));
                }
        }
    }
}

static void add(int64_t n, float factor, const float *in, float *out)
{
    const v8f f = SPLAT(factor);
    for (int64_t i = 0; i < n; i += LANES) STORE(out + i, LOAD(out + i) + f * LOAD(in + i));
}

const struct psfmodel_kernels PASTE(psfmodel_kernels, ISA_SUFFIX) = {combine, stamp, adjoint, add};
