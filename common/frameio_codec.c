#include "common/frameio_codec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "common/stats.h"

/* ---- Rice ------------------------------------------------------------------------------------------------------- */

/* A block of differences is coded as: the number of low bits (plus one) in `select` bits, then each difference as its high
 * bits in unary and its low bits as they are. 0 says that all are zero; raw + 1 that all follow in full width. */
struct rice_kind {
    int select, raw, width;
};

static struct rice_kind rice_kind(int bytes)
{
    if (bytes == 1) return (struct rice_kind){3, 6, 8};
    if (bytes == 2) return (struct rice_kind){4, 14, 16};
    return (struct rice_kind){5, 25, 32};
}

/* Bits leave from the top of `bits`. */
struct bit_writer {
    uint8_t *p;
    uint64_t bits;
    int used;
};

/* Append the low `count` bits of value, count <= 32. */
static inline void put_bits(struct bit_writer *w, uint64_t value, int count)
{
    w->used += count;
    w->bits |= value << (64 - w->used);
    if (w->used < 32) return;
    uint32_t word = __builtin_bswap32((uint32_t)(w->bits >> 32));
    memcpy(w->p, &word, sizeof word);
    w->p += 4;
    w->bits <<= 32;
    w->used -= 32;
}

static inline void put_unary(struct bit_writer *w, uint32_t zeros)
{
    for (; zeros >= 32; zeros -= 32) put_bits(w, 0, 32);
    if (zeros) put_bits(w, 0, (int)zeros);
    put_bits(w, 1, 1);
}

static uint8_t *flush_bits(struct bit_writer *w)
{
    for (; w->used > 0; w->used -= 8) {
        *w->p++ = (uint8_t)(w->bits >> 56);
        w->bits <<= 8;
    }
    return w->p;
}

size_t rice_bound(int64_t n)
{
    return (size_t)n * 5 + 64; /* a block costs at most 40 bits a pixel: raw is chosen when low bits would not pay */
}

/* Differences to neighbours, folded so that small ones of either sign are small: 0, -1, 1, -2 ... -> 0, 1, 2, 3. */
static uint64_t fold_block(const int32_t *src, int n, int32_t last, int width, uint32_t *dst)
{
    uint64_t sum = 0;
    for (int i = 0; i < n; i++) {
        uint32_t d = (uint32_t)src[i] - (uint32_t)last;
        if (width < 32) d = (uint32_t)((int32_t)(d << (32 - width)) >> (32 - width));
        dst[i] = d << 1 ^ (uint32_t)((int32_t)d >> 31);
        if (width < 32) dst[i] &= (1u << width) - 1;
        sum += dst[i];
        last = src[i];
    }
    return sum;
}

/* Low bits for a mean difference: about log2(mean) - 1, where the expected length is shortest. */
static int choose_low_bits(uint64_t sum, int n)
{
    int64_t mean = ((int64_t)sum - n / 2 - 1) / n;
    int low = 0;
    for (uint64_t half = mean > 0 ? (uint64_t)mean >> 1 : 0; half; half >>= 1) low++;
    return low;
}

static void encode_block(struct bit_writer *w, const uint32_t *folded, int n, uint64_t sum, struct rice_kind kind)
{
    int low = choose_low_bits(sum, n);
    if (low >= kind.raw) {
        put_bits(w, (uint64_t)kind.raw + 1, kind.select);
        for (int i = 0; i < n; i++) put_bits(w, folded[i], kind.width);
    } else if (sum == 0) {
        put_bits(w, 0, kind.select);
    } else {
        put_bits(w, (uint64_t)low + 1, kind.select);
        uint32_t mask = ((uint32_t)1 << low) - 1;
        for (int i = 0; i < n; i++) {
            uint32_t high = folded[i] >> low;
            if (high + 1 + (uint32_t)low <= 32) { /* unary, stop bit and low bits at once */
                put_bits(w, (uint64_t)1 << low | (folded[i] & mask), (int)high + 1 + low);
            } else {
                put_unary(w, high);
                if (low) put_bits(w, folded[i] & mask, low);
            }
        }
    }
}

size_t rice_encode(const int32_t *src, int64_t n, int bytes, int block, uint8_t *dst)
{
    struct rice_kind kind = rice_kind(bytes);
    struct bit_writer w = {dst, 0, 0};
    uint32_t folded[64];
    if (n < 1) return 0;
    int32_t last = src[0];
    put_bits(&w, kind.width == 32 ? (uint32_t)last : (uint32_t)last & ((1u << kind.width) - 1), kind.width);
    for (int64_t i = 0; i < n; i += block) {
        int k = (int)(n - i < block ? n - i : block);
        uint64_t sum = fold_block(src + i, k, last, kind.width, folded);
        encode_block(&w, folded, k, sum, kind);
        last = src[i + k - 1];
    }
    return (size_t)(flush_bits(&w) - dst);
}

struct bit_reader {
    const uint8_t *p, *end;
    uint64_t bits; /* the next bit on top; zeros below `have` */
    int have;
};

static inline void refill(struct bit_reader *r)
{
    if (r->end - r->p >= 8) {
        uint64_t word;
        memcpy(&word, r->p, sizeof word);
        r->bits |= __builtin_bswap64(word) >> r->have;
        r->p += (63 - r->have) >> 3;
        r->have |= 56;
        return;
    }
    for (; r->have <= 56 && r->p < r->end; r->have += 8) r->bits |= (uint64_t)*r->p++ << (56 - r->have);
}

/* Take count bits, 1 to 32. */
static inline bool get_bits(struct bit_reader *r, int count, uint32_t *ret)
{
    if (r->have < count) refill(r);
    if (r->have < count) return false;
    *ret = (uint32_t)(r->bits >> (64 - count));
    r->bits <<= count;
    r->have -= count;
    return true;
}

/* Zeros before the next one, which is taken too. */
static inline bool get_unary(struct bit_reader *r, uint32_t *ret)
{
    uint32_t zeros = 0;
    for (;;) {
        uint64_t valid = r->have < 64 ? r->bits & ~(~(uint64_t)0 >> r->have) : r->bits;
        if (valid) {
            int lead = __builtin_clzll(valid);
            *ret = zeros + (uint32_t)lead;
            r->bits <<= lead;
            r->bits <<= 1;
            r->have -= lead + 1;
            return true;
        }
        zeros += (uint32_t)r->have;
        r->bits = 0;
        r->have = 0;
        refill(r);
        if (!r->have || zeros > 1u << 30) return false;
    }
}

static inline uint32_t unfold(uint32_t v)
{
    return v >> 1 ^ -(v & 1);
}

/* One block of n folded differences. */
static bool decode_block(struct bit_reader *r, struct rice_kind kind, int n, uint32_t *dst)
{
    uint32_t code;
    if (!get_bits(r, kind.select, &code)) return false;
    if (code == 0) {
        memset(dst, 0, (size_t)n * sizeof *dst);
        return true;
    }
    int low = (int)code - 1;
    if (low == kind.raw) {
        for (int i = 0; i < n; i++)
            if (!get_bits(r, kind.width, &dst[i])) return false;
        return true;
    }
    for (int i = 0; i < n; i++) {
        uint32_t high, rest = 0;
        if (r->have < 32) refill(r);
        if (!get_unary(r, &high) || (low && !get_bits(r, low, &rest))) return false;
        dst[i] = (low < 32 ? high << low : 0) | rest;
    }
    return true;
}

static int32_t narrow(uint32_t v, int bytes)
{
    return bytes == 1 ? (int32_t)(v & 0xff) : bytes == 2 ? (int16_t)v : (int32_t)v;
}

bool rice_decode(const uint8_t *src, size_t size, int64_t n, int bytes, int block, int32_t *dst)
{
    struct rice_kind kind = rice_kind(bytes);
    struct bit_reader r = {src, src + size, 0, 0};
    uint32_t last, part[256];
    if (!get_bits(&r, kind.width, &last)) return n == 0;
    for (int64_t i = 0; i < n; i += block) {
        int left = (int)(n - i < block ? n - i : block);
        if (left > (int)(sizeof part / sizeof part[0])) return false;
        if (!decode_block(&r, kind, left, part)) return false;
        for (int k = 0; k < left; k++) {
            last += unfold(part[k]);
            dst[i + k] = narrow(last, bytes);
        }
    }
    return true;
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
#define RESERVED         10 /* integers next to QUANTISE_NULL that mean something else */

/* Noise from third-order differences, which no slope and no star wider than five pixels biases: 0.6052697 times the median
 * of |2 x(i) - x(i-2) - x(i+2)|. Source: Pence, White & Seaman 2010, after Stoehr et al. 2007. */
static float tile_noise(const float *v, int64_t n, float *work)
{
    for (int64_t i = 0; i < n - 4; i++) work[i] = fabsf(2 * v[i + 2] - v[i] - v[i + 4]);
    return 0.6052697f * select_f32(work, n - 4, (n - 4) / 2);
}

struct range {
    float low, high;
    bool infinite, blank;
};

static struct range find_range(const float *v, int64_t n)
{
    struct range r = {INFINITY, -INFINITY, false, false};
    for (int64_t i = 0; i < n; i++) {
        r.blank |= v[i] != v[i];
        r.low = v[i] < r.low ? v[i] : r.low;
        r.high = v[i] > r.high ? v[i] : r.high;
    }
    r.infinite = isinf(r.low) || isinf(r.high);
    return r;
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

static void quantise_run(const float *restrict src, int64_t n, const float *restrict numbers, double inverse, double zero,
                         int32_t *restrict dst)
{
    for (int64_t i = 0; i < n; i++) {
        double x = ((double)src[i] - zero) * inverse + numbers[i] - 0.5;
        x = src[i] == src[i] ? x : 0;
        int32_t v = (int32_t)(x >= 0 ? x + 0.5 : x - 0.5);
        v = src[i] == 0 ? QUANTISE_ZERO : v;
        dst[i] = src[i] == src[i] ? v : QUANTISE_NULL;
    }
}

bool quantise(const float *src, int64_t n, int64_t tile, int seed, float q, const float *numbers, float *work, int32_t *dst,
              struct quantised *ret)
{
    if (n < NOISE_PIXELS_MIN) return false;
    struct range r = find_range(src, n);
    if (r.infinite) return false; /* or nothing but NaN */
    float noise = noise_of(src, n, r.blank, work);
    double scale = (double)noise / q;
    if (!(scale > 0) || !isfinite(scale) || ((double)r.high - r.low) / scale > 2147483000.0) return false;
    /* The smallest pixel lands next to the reserved integers, so that a zero among the others costs few bits. */
    double zero = r.low - scale * ((double)QUANTISE_NULL + RESERVED);
    struct dither_place d = dither_start(tile, seed, numbers);
    for (int64_t i = 0; i < n;) {
        int64_t run = dither_run(&d, n - i);
        quantise_run(src + i, run, numbers + d.next, 1 / scale, zero, dst + i);
        dither_advance(&d, run, numbers);
        i += run;
    }
    *ret = (struct quantised){scale, zero};
    return true;
}

static void dequantise_run(const int32_t *restrict src, int64_t n, const float *restrict numbers, struct quantised k,
                           float *restrict dst)
{
    for (int64_t i = 0; i < n; i++) dst[i] = (float)(((double)src[i] - numbers[i] + 0.5) * k.scale + k.zero);
}

void dequantise(const int32_t *src, int64_t n, int64_t tile, int seed, enum dither dither, bool has_null, int32_t null,
                struct quantised k, const float *numbers, float *dst)
{
    struct dither_place d = dither_start(tile, seed, numbers);
    for (int64_t i = 0; dither != DITHER_NONE && i < n;) {
        int64_t run = dither_run(&d, n - i);
        dequantise_run(src + i, run, numbers + d.next, k, dst + i);
        dither_advance(&d, run, numbers);
        i += run;
    }
    for (int64_t i = 0; dither == DITHER_NONE && i < n; i++) dst[i] = (float)((double)src[i] * k.scale + k.zero);
    for (int64_t i = 0; dither == DITHER_2 && i < n; i++) dst[i] = src[i] == QUANTISE_ZERO ? 0 : dst[i];
    for (int64_t i = 0; has_null && i < n; i++) dst[i] = src[i] == null ? NAN : dst[i];
}
