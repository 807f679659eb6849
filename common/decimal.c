#include "common/decimal.h"

#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

/* ---- powers of ten -------------------------------------------------------------------------------------------------- */

#define POWER_MIN (-292)
#define POWER_MAX 326
#define WORDS     40 /* of 32 bits: 10^326 has 1083 bits */

struct u128 {
    uint64_t hi, lo;
};

/* g[k - POWER_MIN] = 10^k scaled by a power of two into [2^127, 2^128), rounded up. */
static struct u128 g[POWER_MAX - POWER_MIN + 1];
static pthread_once_t once = PTHREAD_ONCE_INIT;

struct big {
    uint32_t w[WORDS]; /* least significant first */
};

static void big_times_10(struct big *b)
{
    uint64_t carry = 0;
    for (int i = 0; i < WORDS; i++) {
        carry += (uint64_t)b->w[i] * 10;
        b->w[i] = (uint32_t)carry;
        carry >>= 32;
    }
}

/* Divides by ten; true when something was left over. */
static bool big_over_10(struct big *b)
{
    uint64_t rest = 0;
    for (int i = WORDS - 1; i >= 0; i--) {
        rest = rest << 32 | b->w[i];
        b->w[i] = (uint32_t)(rest / 10);
        rest %= 10;
    }
    return rest != 0;
}

static int big_bits(const struct big *b)
{
    int i = WORDS - 1;
    while (i > 0 && !b->w[i]) i--;
    return 32 * i + (b->w[i] ? 32 - __builtin_clz(b->w[i]) : 0);
}

static int big_bit(const struct big *b, int i)
{
    return i < 0 ? 0 : (int)(b->w[i / 32] >> (i % 32) & 1);
}

/* The leading 128 bits; one more when anything was cut off here or before. */
static struct u128 leading(const struct big *b, bool inexact)
{
    struct u128 r = {0, 0};
    int top = big_bits(b);
    for (int i = 0; i < 64; i++) r.hi = r.hi << 1 | (uint64_t)big_bit(b, top - 1 - i);
    for (int i = 64; i < 128; i++) r.lo = r.lo << 1 | (uint64_t)big_bit(b, top - 1 - i);
    for (int i = top - 129; i >= 0 && !inexact; i--) inexact = big_bit(b, i);
    if (inexact && ++r.lo == 0) r.hi++;
    return r;
}

static void make_powers(void)
{
    struct big b = {{1}};
    for (int k = 0; k <= POWER_MAX; k++, big_times_10(&b)) g[k - POWER_MIN] = leading(&b, false);
    /* Downwards from 2^1279: floor(floor(x / 10) / 10) = floor(x / 100), so repeated division stays exact to the unit. */
    struct big d = {{0}};
    d.w[WORDS - 1] = UINT32_C(1) << 31;
    for (int k = -1; k >= POWER_MIN; k--) {
        big_over_10(&d);
        g[k - POWER_MIN] = leading(&d, true); /* 10^k, k < 0, is never a sum of powers of two */
    }
}

/* ---- the shortest digits -------------------------------------------------------------------------------------------- */

struct decimal {
    uint64_t digits;
    int exponent;      /* value = digits * 10^exponent */
};

__extension__ typedef unsigned __int128 wide;

/* Upper 64 bits of g * cp / 2^64; the lowest bit tells that something was cut off. */
static inline uint64_t round_to_odd(struct u128 p, uint64_t cp)
{
    wide x = (wide)p.lo * cp, y = (wide)p.hi * cp + (uint64_t)(x >> 64);
    return (uint64_t)(y >> 64) | ((uint64_t)y > 1);
}

static inline int floor_log2_pow10(int e) { return (e * 1741647) >> 19; }
static inline int floor_log10_pow2(int e, bool closer) { return (e * 1262611 - (closer ? 524031 : 0)) >> 22; }

/* c * 2^q; closer: the number below is half as far as the one above. */
static struct decimal shortest(uint64_t c, int q, bool closer)
{
    bool even = !(c & 1);
    int k = floor_log10_pow2(q, closer), h = q + floor_log2_pow10(-k) + 1;
    struct u128 p = g[-k - POWER_MIN];
    uint64_t vb_low = round_to_odd(p, (4 * c - 2 + closer) << h), vb = round_to_odd(p, (4 * c) << h), vb_high = round_to_odd(p, (4 * c + 2) << h);
    uint64_t lower = vb_low + !even, upper = vb_high - !even, s = vb / 4;
    if (s >= 10) {
        uint64_t t = s / 10;
        bool low_in = lower <= 40 * t, high_in = 40 * t + 40 <= upper;
        if (low_in != high_in) return (struct decimal){t + high_in, k + 1};
    }
    bool low_in = lower <= 4 * s, high_in = 4 * s + 4 <= upper;
    if (low_in != high_in) return (struct decimal){s + high_in, k};
    uint64_t middle = 4 * s + 2;
    return (struct decimal){s + (vb > middle || (vb == middle && (s & 1))), k};
}

/* ---- text ----------------------------------------------------------------------------------------------------------- */

static const char pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748495051525354555657585960"
                            "616263646566676869707172737475767778798081828384858687888990919293949596979899";

/* Digits of v, right-aligned in 20 characters. Returned: how many. */
static int digits_of(uint64_t v, char buf[20])
{
    int at = 20;
    while (v >= 100) {
        at -= 2;
        memcpy(buf + at, pairs + 2 * (v % 100), 2);
        v /= 100;
    }
    if (v >= 10) {
        at -= 2;
        memcpy(buf + at, pairs + 2 * v, 2);
    } else {
        buf[--at] = (char)('0' + v);
    }
    return 20 - at;
}

static int put_exponent(char *p, int e)
{
    int n = 0;
    p[n++] = 'e';
    p[n++] = e < 0 ? '-' : '+';
    if (e < 0) e = -e;
    if (e >= 100) p[n++] = (char)('0' + e / 100);
    memcpy(p + n, pairs + 2 * (e % 100), 2);
    return n + 2;
}

static int write_decimal(struct decimal d, char *p)
{
    char buf[20];
    int n = digits_of(d.digits, buf), written = 0;
    while (n > 1 && buf[19] == '0') { /* trailing zeros belong to the exponent */
        memmove(buf + 21 - n, buf + 20 - n, (size_t)n - 1);
        n--;
        d.exponent++;
    }
    const char *s = buf + 20 - n;
    int point = n + d.exponent; /* digits before the point */
    if (point < -3 || point > 15) {
        p[written++] = s[0];
        if (n > 1) {
            p[written++] = '.';
            memcpy(p + written, s + 1, (size_t)n - 1);
            written += n - 1;
        }
        return written + put_exponent(p + written, point - 1);
    }
    if (point <= 0) {
        memcpy(p, "0.0000", 6);
        written = 2 - point;
        memcpy(p + written, s, (size_t)n);
        return written + n;
    }
    if (n <= point) {
        memcpy(p, s, (size_t)n);
        memset(p + n, '0', (size_t)(point - n));
        return point;
    }
    memcpy(p, s, (size_t)point);
    p[point] = '.';
    memcpy(p + point + 1, s + point, (size_t)(n - point));
    return n + 1;
}

static int odd_one(double v, char *ret)
{
    const char *s = isnan(v) ? "NaN" : v > 0 ? "Infinity" : "-Infinity";
    size_t n = strlen(s);
    memcpy(ret, s, n);
    return (int)n;
}

/* bits of the fraction, exponent of the smallest subnormal's unit. */
static int decimal_of_parts(bool negative, uint64_t fraction, int biased, int bits, int lowest, char *ret)
{
    int n = 0;
    if (negative) ret[n++] = '-';
    if (!biased && !fraction) {
        ret[n] = '0';
        return n + 1;
    }
    uint64_t c = biased ? (UINT64_C(1) << bits) | fraction : fraction;
    int q = biased ? biased - 1 + lowest : lowest;
    if (q <= 0 && -q <= bits && !(c & ((UINT64_C(1) << -q) - 1))) /* a whole number */
        return n + write_decimal((struct decimal){c >> -q, 0}, ret + n);
    pthread_once(&once, make_powers);
    return n + write_decimal(shortest(c, q, !fraction && biased > 1), ret + n);
}

int decimal_of_double(double v, char *ret)
{
    uint64_t b;
    memcpy(&b, &v, sizeof b);
    int biased = (int)(b >> 52 & 0x7ff);
    if (biased == 0x7ff) return odd_one(v, ret);
    return decimal_of_parts(b >> 63, b & ((UINT64_C(1) << 52) - 1), biased, 52, -1074, ret);
}

int decimal_of_float(float v, char *ret)
{
    uint32_t b;
    memcpy(&b, &v, sizeof b);
    int biased = (int)(b >> 23 & 0xff);
    if (biased == 0xff) return odd_one((double)v, ret);
    return decimal_of_parts(b >> 31, b & ((UINT32_C(1) << 23) - 1), biased, 23, -149, ret);
}

int decimal_of_int(int64_t v, char *ret)
{
    char buf[20];
    int minus = v < 0, n = digits_of(minus ? 0 - (uint64_t)v : (uint64_t)v, buf);
    if (minus) *ret = '-';
    memcpy(ret + minus, buf + 20 - n, (size_t)n);
    return n + minus;
}
