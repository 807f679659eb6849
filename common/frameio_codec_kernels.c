/* Plain loops over restrict pointers, as elsewhere; the bit streams move eight bytes at a time. */
#include "common/frameio_codec_kernels.h"

#include <math.h>
#include <string.h>

#define PASTE2(a, b) a##b
#define PASTE(a, b)  PASTE2(a, b)

#define BLOCK_MAX 256 /* pixels; the standard has 16 and 32 */
#define PUT_MAX   56  /* bits that one put takes */
#define PIECE     512 /* pixels that stay in the first-level cache between the steps of quantising */
#define LONG_CODE 14  /* bits up to which four codes fit into one put */

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

/* Bits leave from the top of `bits`; used < 8 between two puts. */
struct bit_writer {
    uint8_t *p;
    uint64_t bits;
    int used;
};

/* Append the low `count` bits of value, 1 <= count <= PUT_MAX, nothing above them set. Eight bytes are stored each time, of
 * which the whole ones stay: the destination has room for them. */
static inline void put_bits(struct bit_writer *w, uint64_t value, int count)
{
    w->bits |= value << (64 - w->used - count);
    w->used += count;
    uint64_t word = __builtin_bswap64(w->bits);
    memcpy(w->p, &word, sizeof word);
    w->p += w->used >> 3;
    w->bits <<= w->used & 56;
    w->used &= 7;
}

static inline void put_zeros(struct bit_writer *w, uint32_t zeros)
{
    for (; zeros > PUT_MAX; zeros -= PUT_MAX) put_bits(w, 0, PUT_MAX);
    if (zeros) put_bits(w, 0, (int)zeros);
}

/* Differences to neighbours, folded so that small ones of either sign are small: 0, -1, 1, -2 ... -> 0, 1, 2, 3. */
static uint64_t fold_block(const int32_t *restrict src, int n, int32_t last, int width, uint32_t *restrict dst)
{
    uint64_t sum = 0;
    const int unused = 32 - width;
    const uint32_t mask = UINT32_MAX >> unused;
    dst[0] = (uint32_t)src[0] - (uint32_t)last;
    for (int i = 1; i < n; i++) dst[i] = (uint32_t)src[i] - (uint32_t)src[i - 1];
    for (int i = 0; i < n; i++) {
        int32_t d = (int32_t)(dst[i] << unused) >> unused;
        dst[i] = ((uint32_t)d << 1 ^ (uint32_t)(d >> 31)) & mask;
    }
    for (int i = 0; i < n; i++) sum += dst[i];
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

/* Codes one by one, whatever their length. */
static void put_codes(struct bit_writer *w, const uint32_t *folded, int n, int low)
{
    const uint32_t mask = ((uint32_t)1 << low) - 1;
    for (int i = 0; i < n; i++) {
        uint32_t high = folded[i] >> low;
        uint64_t tail = (uint64_t)1 << low | (folded[i] & mask);
        if (high + 1 + (uint32_t)low > PUT_MAX) {
            put_zeros(w, high);
            high = 0;
        }
        put_bits(w, tail, (int)high + 1 + low);
    }
}

/* n a multiple of four, every code at most LONG_CODE bits: four in one put. */
static void put_short_codes(struct bit_writer *w, const uint32_t *restrict folded, int n, int low)
{
    uint32_t code[BLOCK_MAX], length[BLOCK_MAX];
    const uint32_t mask = ((uint32_t)1 << low) - 1, stop = (uint32_t)1 << low;
    for (int i = 0; i < n; i++) {
        code[i] = stop | (folded[i] & mask);
        length[i] = (folded[i] >> low) + 1 + (uint32_t)low;
    }
    for (int i = 0; i < n; i += 4) {
        uint64_t a = (uint64_t)code[i] << length[i + 1] | code[i + 1], b = (uint64_t)code[i + 2] << length[i + 3] | code[i + 3];
        uint32_t nb = length[i + 2] + length[i + 3];
        put_bits(w, a << nb | b, (int)(length[i] + length[i + 1] + nb));
    }
}

static void encode_block(struct bit_writer *w, const uint32_t *restrict folded, int n, uint64_t sum, struct rice_kind kind)
{
    int low = choose_low_bits(sum, n);
    if (sum == 0 && low < kind.raw) {
        put_bits(w, 0, kind.select);
    } else if (low >= kind.raw) {
        put_bits(w, (uint64_t)kind.raw + 1, kind.select);
        for (int i = 0; i < n; i++) put_bits(w, folded[i], kind.width);
    } else {
        uint32_t any = 0;
        for (int i = 0; i < n; i++) any = folded[i] > any ? folded[i] : any;
        put_bits(w, (uint64_t)low + 1, kind.select);
        if (n % 4 == 0 && (any >> low) + 1 + (uint32_t)low <= LONG_CODE) put_short_codes(w, folded, n, low);
        else put_codes(w, folded, n, low);
    }
}

static size_t encode(const int32_t *src, int64_t n, int bytes, int block, uint8_t *dst)
{
    struct rice_kind kind = rice_kind(bytes);
    struct bit_writer w = {dst, 0, 0};
    uint32_t folded[BLOCK_MAX];
    if (n < 1 || block < 1 || block > BLOCK_MAX) return 0;
    int32_t last = src[0];
    put_bits(&w, (uint32_t)last & UINT32_MAX >> (32 - kind.width), kind.width);
    for (int64_t i = 0; i < n; i += block) {
        int k = (int)(n - i < block ? n - i : block);
        uint64_t sum = fold_block(src + i, k, last, kind.width, folded);
        encode_block(&w, folded, k, sum, kind);
        last = src[i + k - 1];
    }
    return (size_t)(w.p - dst) + (w.used > 0);
}

struct bit_reader {
    const uint8_t *p, *end;
    uint64_t bits; /* the next bit on top; below `have` only what follows in the stream, or zeros */
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
static bool get_unary(struct bit_reader *r, uint32_t *ret)
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

static bool get_code(struct bit_reader *r, int low, uint32_t *ret)
{
    uint32_t high, rest = 0;
    if (r->have < 32) refill(r);
    if (!get_unary(r, &high) || (low && !get_bits(r, low, &rest))) return false;
    *ret = (low < 32 ? high << low : 0) | rest;
    return true;
}

/* n codes of low bits each: a code that lies whole in the bits at hand is taken in one step, others the long way. */
static bool get_codes(struct bit_reader *restrict r, int low, int n, uint32_t *restrict dst)
{
    for (int i = 0; i < n; i++) {
        if (r->have < 32) refill(r);
        int lead = __builtin_clzll(r->bits | 1), size = lead + 1 + low;
        if (size > r->have) {
            if (!get_code(r, low, &dst[i])) return false;
            continue;
        }
        dst[i] = (uint32_t)lead << low | (uint32_t)(r->bits << lead << 1 >> 1 >> (63 - low));
        r->bits = r->bits << (size - 1) << 1;
        r->have -= size;
    }
    return true;
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
    if (low != kind.raw) return get_codes(r, low, n, dst);
    for (int i = 0; i < n; i++)
        if (!get_bits(r, kind.width, &dst[i])) return false;
    return true;
}

static bool decode(const uint8_t *src, size_t size, int64_t n, int bytes, int block, int32_t *dst)
{
    struct rice_kind kind = rice_kind(bytes);
    struct bit_reader r = {src, src + size, 0, 0};
    uint32_t last, part[BLOCK_MAX];
    if (!get_bits(&r, kind.width, &last)) return n == 0;
    for (int64_t i = 0; i < n; i += block) {
        int left = (int)(n - i < block ? n - i : block);
        if (left > BLOCK_MAX || !decode_block(&r, kind, left, part)) return false;
        for (int k = 0; k < left; k++) {
            last += part[k] >> 1 ^ -(part[k] & 1);
            part[k] = last;
        }
        for (int k = 0; k < left; k++)
            dst[i + k] = bytes == 1 ? (int32_t)(part[k] & 0xff) : bytes == 2 ? (int16_t)part[k] : (int32_t)part[k];
    }
    return true;
}

/* ---- quantisation ----------------------------------------------------------------------------------------------- */

static void range(const float *restrict v, int64_t n, struct codec_range *ret)
{
    float low[16], high[16];
    int32_t blank = 0;
    for (int k = 0; k < 16; k++) low[k] = INFINITY, high[k] = -INFINITY;
    int64_t whole = n / 16 * 16;
    for (int64_t i = 0; i < whole; i += 16)
        for (int k = 0; k < 16; k++) {
            low[k] = v[i + k] < low[k] ? v[i + k] : low[k];
            high[k] = v[i + k] > high[k] ? v[i + k] : high[k];
        }
    for (int64_t i = whole; i < n; i++) {
        low[0] = v[i] < low[0] ? v[i] : low[0];
        high[0] = v[i] > high[0] ? v[i] : high[0];
    }
    for (int64_t i = 0; i < n; i++) blank |= v[i] != v[i];
    for (int k = 1; k < 16; k++) {
        low[0] = low[k] < low[0] ? low[k] : low[0];
        high[0] = high[k] > high[0] ? high[k] : high[0];
    }
    *ret = (struct codec_range){low[0], high[0], blank != 0};
}

static void quantise_piece(const float *restrict src, int n, const float *restrict numbers, double inverse, double zero,
                           int32_t *restrict dst)
{
    float clean[PIECE];
    for (int i = 0; i < n; i++) clean[i] = src[i] == src[i] ? src[i] : 0;
    for (int i = 0; i < n; i++) {
        double x = ((double)clean[i] - zero) * inverse + (double)numbers[i] - 0.5;
        dst[i] = (int32_t)(x + copysign(0.5, x));
    }
    for (int i = 0; i < n; i++) dst[i] = src[i] == 0 ? QUANTISE_ZERO : dst[i];
    for (int i = 0; i < n; i++) dst[i] = src[i] == src[i] ? dst[i] : QUANTISE_NULL;
}

static void quantise_run(const float *src, int64_t n, const float *numbers, double inverse, double zero, int32_t *dst)
{
    for (int64_t i = 0; i < n; i += PIECE)
        quantise_piece(src + i, (int)(n - i < PIECE ? n - i : PIECE), numbers + i, inverse, zero, dst + i);
}

static void dequantise_run(const int32_t *restrict src, int64_t n, const float *restrict numbers, struct quantised k,
                           float *restrict dst)
{
    const double scale = k.scale, zero = k.zero;
    for (int64_t i = 0; i < n; i++) dst[i] = (float)(((double)src[i] - (double)numbers[i] + 0.5) * scale + zero);
}

/* ---- checksum --------------------------------------------------------------------------------------------------- */

/* Bytes of each place of a word are summed apart, in 32 bits as long as they cannot overflow: no byte has to be moved. */
static uint64_t checksum(const uint8_t *p, int64_t words)
{
    uint64_t sum = 0;
    for (int64_t i = 0; i < words; i += 65536) {
        int64_t n = words - i < 65536 ? words - i : 65536;
        uint32_t even = 0, odd = 0, even_high = 0, odd_high = 0;
        for (int64_t k = 0; k < n; k++) {
            uint32_t w;
            memcpy(&w, p + 4 * (i + k), sizeof w);
            even += w & 0xff;
            odd += w >> 8 & 0xff;
            even_high += w >> 16 & 0xff;
            odd_high += w >> 24;
        }
        sum += ((uint64_t)even << 24) + ((uint64_t)odd << 16) + ((uint64_t)even_high << 8) + odd_high;
    }
    return sum;
}

const struct codec_kernels PASTE(codec_kernels, ISA_SUFFIX) = {encode, decode, range, quantise_run, dequantise_run, checksum};
