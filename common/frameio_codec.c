#include "common/frameio_codec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "common/frameio_codec_kernels.h"
#include "common/isa.h"
#include "common/stats.h"

static const struct codec_kernels *kernels(void)
{
#ifdef NIGHTSHIFT_HAVE_AVX2
    if (isa_level() == ISA_AVX2) return &codec_kernels_avx2;
#endif
    return &codec_kernels_generic;
}

/* ---- Rice ------------------------------------------------------------------------------------------------------- */

size_t rice_bound(int64_t n)
{
    return (size_t)n * 5 + 64; /* a block costs at most 40 bits a pixel: raw is chosen when low bits would not pay */
}

size_t rice_encode(const int32_t *src, int64_t n, int bytes, int block, uint8_t *dst)
{
    return kernels()->rice_encode(src, n, bytes, block, dst);
}

bool rice_decode(const uint8_t *src, size_t size, int64_t n, int bytes, int block, int32_t *dst)
{
    return kernels()->rice_decode(src, size, n, bytes, block, dst);
}

/* ---- PLIO ------------------------------------------------------------------------------------------------------- */

static int word_at(const uint8_t *p, int64_t i)
{
    return (int16_t)(p[2 * i] << 8 | p[2 * i + 1]);
}

/* One instruction: four bits of what to do, twelve of data. `high` is the value that runs of pixels are set to. */
static int64_t plio_run(int what, int data, int32_t *high, int64_t at, int64_t n, int32_t *dst)
{
    int64_t count = what == 6 || what == 7 ? 1 : data;
    if (what == 2 || what == 6) *high = (int32_t)((uint32_t)*high + (uint32_t)data);
    if (what == 3 || what == 7) *high = (int32_t)((uint32_t)*high - (uint32_t)data);
    if (what == 2 || what == 3) return at;
    if (count > n - at) count = n - at;
    for (int64_t i = 0; i < count; i++) dst[at + i] = what == 0 || (what == 5 && i < count - 1) ? 0 : *high;
    return at + count;
}

bool plio_decode(const uint8_t *src, size_t size, int64_t n, int32_t *dst)
{
    int64_t have = (int64_t)(size / 2), at = 0;
    if (have < 3) return false;
    bool old = word_at(src, 2) > 0; /* a short list has a header of three words, any other says how long it is */
    if (!old && have < 5) return false;
    int64_t length = old ? word_at(src, 2) : (int64_t)word_at(src, 4) * 32768 + word_at(src, 3);
    int64_t i = old ? 3 : word_at(src, 1);
    if (i < 3 || length < 0 || length > have) return false;
    int32_t high = 1;
    for (; i < length && at < n; i++) {
        int what = word_at(src, i) >> 12 & 15, data = word_at(src, i) & 4095;
        if (what > 7) return false;
        if (what == 1) { /* a new high value, its upper bits in the next word */
            if (++i >= length) return false;
            high = (int32_t)((uint32_t)word_at(src, i) << 12 | (uint32_t)data);
        } else {
            at = plio_run(what, data, &high, at, n, dst);
        }
    }
    memset(dst + at, 0, (size_t)(n - at) * sizeof *dst); /* a list may end early: the rest is zero */
    return true;
}

/* ---- gzip ------------------------------------------------------------------------------------------------------- */

uint8_t *gzip_encode(const uint8_t *src, size_t size, size_t *ret_size)
{
    z_stream z = {0};
    if (deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) return NULL; /* 16: gzip, time 0 */
    size_t bound = deflateBound(&z, size);
    uint8_t *dst = malloc(bound);
    if (dst) {
        z.next_in = (uint8_t *)src;
        z.avail_in = (uInt)size;
        z.next_out = dst;
        z.avail_out = (uInt)bound;
        if (deflate(&z, Z_FINISH) == Z_STREAM_END) {
            *ret_size = bound - z.avail_out;
        } else {
            free(dst);
            dst = NULL;
        }
    }
    deflateEnd(&z);
    return dst;
}

int64_t gzip_decode(const uint8_t *src, size_t src_size, uint8_t *dst, size_t room)
{
    z_stream z = {0};
    if (inflateInit2(&z, 15 + 32) != Z_OK) return -1; /* 32: gzip or zlib, as the stream says */
    z.next_in = (uint8_t *)src;
    z.avail_in = (uInt)src_size;
    z.next_out = dst;
    z.avail_out = (uInt)room;
    int status = inflate(&z, Z_FINISH);
    int64_t got = (int64_t)(room - z.avail_out);
    inflateEnd(&z);
    return status == Z_STREAM_END ? got : -1;
}

void bytes_shuffle(const uint8_t *src, uint8_t *dst, int64_t n, int bytes)
{
    for (int b = 0; b < bytes; b++)
        for (int64_t i = 0; i < n; i++) dst[b * n + i] = src[i * bytes + b];
}

void bytes_unshuffle(const uint8_t *src, uint8_t *dst, int64_t n, int bytes)
{
    for (int b = 0; b < bytes; b++)
        for (int64_t i = 0; i < n; i++) dst[i * bytes + b] = src[b * n + i];
}

/* ---- quantisation ----------------------------------------------------------------------------------------------- */

/* Park & Miller's generator, as appendix I of the standard prescribes; its check value is 1043618065. */
void dither_numbers(float ret[DITHER_COUNT])
{
    uint64_t seed = 1;
    for (int i = 0; i < DITHER_COUNT; i++) {
        seed = seed * 16807 % 2147483647;
        ret[i] = (float)((double)seed / 2147483647.0);
    }
}

/* Where in the table a tile's pixels find their numbers. */
struct dither_place {
    int start, next;
};

static struct dither_place dither_start(int64_t tile, int seed, const float *numbers)
{
    int start = (int)((tile + seed + DITHER_COUNT - 1) % DITHER_COUNT);
    return (struct dither_place){start, (int)(numbers[start] * 500)};
}

/* Pixels until the table ends. */
static int64_t dither_run(const struct dither_place *d, int64_t left)
{
    int64_t run = DITHER_COUNT - d->next;
    return run < left ? run : left;
}

static void dither_advance(struct dither_place *d, int64_t run, const float *numbers)
{
    d->next += (int)run;
    if (d->next < DITHER_COUNT) return;
    if (++d->start == DITHER_COUNT) d->start = 0;
    d->next = (int)(numbers[d->start] * 500);
}

#define NOISE_PIXELS_MIN 9
#define NOISE_PIXELS     1024 /* of a longer row every second, third ... is asked: the step is then known to 4 % */
#define RESERVED         10   /* integers next to QUANTISE_NULL that mean something else */

/* Noise from third-order differences, which no slope and no star wider than five pixels biases: 0.6052697 times the median
 * of |2 x(i) - x(i-2) - x(i+2)|. Source: Pence, White & Seaman 2010, after Stoehr et al. 2007. */
static float tile_noise(const float *v, int64_t n, float *work)
{
    int64_t step = (n - 4) / NOISE_PIXELS > 1 ? (n - 4) / NOISE_PIXELS : 1, k = 0;
    for (int64_t i = 0; i < n - 4; i += step) work[k++] = fabsf(2 * v[i + 2] - v[i] - v[i + 4]);
    return 0.6052697f * select_f32(work, k, k / 2);
}

/* The noise of what is not blank. */
static float noise_of(const float *src, int64_t n, bool blank, float *work)
{
    if (!blank) return tile_noise(src, n, work);
    int64_t k = 0;
    float *kept = work + n;
    for (int64_t i = 0; i < n; i++)
        if (!isnan(src[i])) kept[k++] = src[i];
    return k < NOISE_PIXELS_MIN ? 0 : tile_noise(kept, k, work);
}

bool quantise(const float *src, int64_t n, int64_t tile, int seed, float q, const float *numbers, float *work, int32_t *dst,
              struct quantised *ret)
{
    if (n < NOISE_PIXELS_MIN) return false;
    struct codec_range r;
    kernels()->range(src, n, &r);
    if (isinf(r.low) || isinf(r.high)) return false; /* or nothing but NaN */
    float noise = noise_of(src, n, r.blank, work);
    double scale = (double)noise / q;
    if (!(scale > 0) || !isfinite(scale) || ((double)r.high - r.low) / scale > 2147483000.0) return false;
    /* The smallest pixel lands next to the reserved integers, so that a zero among the others costs few bits. */
    double zero = r.low - scale * ((double)QUANTISE_NULL + RESERVED);
    struct dither_place d = dither_start(tile, seed, numbers);
    for (int64_t i = 0; i < n;) {
        int64_t run = dither_run(&d, n - i);
        kernels()->quantise(src + i, run, numbers + d.next, 1 / scale, zero, dst + i);
        dither_advance(&d, run, numbers);
        i += run;
    }
    *ret = (struct quantised){scale, zero};
    return true;
}

void dequantise(const int32_t *src, int64_t n, int64_t tile, int seed, enum dither dither, bool has_null, int32_t null,
                struct quantised k, const float *numbers, float *dst)
{
    struct dither_place d = dither_start(tile, seed, numbers);
    for (int64_t i = 0; dither != DITHER_NONE && i < n;) {
        int64_t run = dither_run(&d, n - i);
        kernels()->dequantise(src + i, run, numbers + d.next, k, dst + i);
        dither_advance(&d, run, numbers);
        i += run;
    }
    for (int64_t i = 0; dither == DITHER_NONE && i < n; i++) dst[i] = (float)((double)src[i] * k.scale + k.zero);
    for (int64_t i = 0; dither == DITHER_2 && i < n; i++) dst[i] = src[i] == QUANTISE_ZERO ? 0 : dst[i];
    for (int64_t i = 0; has_null && i < n; i++) dst[i] = src[i] == null ? NAN : dst[i];
}
