/* The fused pass over one run of pixels. Plain loops over restrict pointers: the compiler turns each into vectors of the
 * level it compiles for. Values go first and masks second, over pieces that stay in the first-level cache, because a
 * loop that mixes 16-bit and 32-bit lanes spends its time shuffling. */
#include "processors/calibrate.h"

#define PASTE2(a, b) a##b
#define PASTE(a, b)  PASTE2(a, b)
#define PIECE        1024

static inline int64_t piece_of(int64_t i, int64_t n)
{
    return n - i < PIECE ? n - i : PIECE;
}

#define VALUES(name, type)                                                                                            \
    static void name(const struct calibrate_run *r, int64_t at, int64_t n)                                            \
    {                                                                                                                 \
        const type *restrict raw = (const type *)(sizeof(type) == 2 ? (const void *)r->u16 : (const void *)r->f32) + at; \
        const float *restrict subtract = r->subtract + at, *restrict add_var = r->add_var + at;                       \
        const float *restrict inv_flat = r->inv_flat + at, *restrict rel = r->flat_rel_var + at;                      \
        float *restrict sci = r->sci + at, *restrict var = r->var + at;                                               \
        const float level = r->level_adu, gain = r->gain, rdnoise2 = r->rdnoise2;                                     \
        for (int64_t i = 0; i < n; i++) {                                                                             \
            float e = ((float)raw[i] - level) * gain - subtract[i];                                                   \
            float value = e * inv_flat[i];                                                                            \
            float noise = (e > 0.0f ? e : 0.0f) + (add_var[i] + rdnoise2);                                            \
            sci[i] = value;                                                                                           \
            var[i] = noise * (inv_flat[i] * inv_flat[i]) + (value * value) * rel[i];                                  \
        }                                                                                                             \
    }

VALUES(values_u16, uint16_t)
VALUES(values_f32, float)

/* Integers compare with integers: 16-bit lanes all the way. */
static void mask_u16(const struct calibrate_run *r, int64_t at, int64_t n)
{
    const uint16_t *restrict raw = r->u16 + at;
    const mask_t *restrict in = r->mask_in + at;
    mask_t *restrict mask = r->mask + at;
    /* ceil: an integer is at or above the level when it is at or above the next integer */
    float level = r->saturate_adu;
    if (level > 65535.0f) {
        for (int64_t i = 0; i < n; i++) mask[i] = in[i];
        return;
    }
    int whole = level <= 0.0f ? 0 : (int)level;
    uint16_t limit = (uint16_t)((float)whole < level ? whole + 1 : whole);
    for (int64_t i = 0; i < n; i++) mask[i] = (mask_t)(in[i] | (raw[i] >= limit ? MASK_SATURATED : 0));
}

static void mask_f32(const struct calibrate_run *r, int64_t at, int64_t n)
{
    const float *restrict raw = r->f32 + at;
    const mask_t *restrict in = r->mask_in + at;
    mask_t *restrict mask = r->mask + at;
    float *restrict sci = r->sci + at, *restrict var = r->var + at;
    for (int64_t i = 0; i < n; i++) {
        bool finite = raw[i] - raw[i] == 0.0f; /* false for NaN and infinities */
        uint32_t bits = (raw[i] >= r->saturate_adu ? MASK_SATURATED : 0) | (finite ? 0 : MASK_NO_DATA);
        mask[i] = (mask_t)(in[i] | bits);
        sci[i] = finite ? sci[i] : 0.0f;
        var[i] = finite ? var[i] : 0.0f;
    }
}

static void run_u16(const struct calibrate_run *r)
{
    for (int64_t i = 0; i < r->n; i += PIECE) {
        int64_t n = piece_of(i, r->n);
        values_u16(r, i, n);
        mask_u16(r, i, n);
    }
}

static void run_f32(const struct calibrate_run *r)
{
    for (int64_t i = 0; i < r->n; i += PIECE) {
        int64_t n = piece_of(i, r->n);
        values_f32(r, i, n);
        mask_f32(r, i, n);
    }
}

const struct calibrate_kernels PASTE(calibrate_kernels, ISA_SUFFIX) = {run_u16, run_f32};
