/* Every loop below runs over independent pixels with plain arithmetic, so that the compiler turns it into vectors of the
 * level it compiles for. Random numbers are Philox 4x32-10 (Salmon et al. 2011), 64 lanes at a time; normals by Box and
 * Muller (1958) with polynomials of our own, good to 1e-6 and cut at 5.8 sigma by the 23 bits of the radius.         */
#include "processors/simulate_kernels.h"

#include <math.h>
#include <string.h>

#define PASTE2(a, b) a##b
#define PASTE(a, b)  PASTE2(a, b)
#define LANES        (SIM_PIECE / 4)

/* ---- random numbers ------------------------------------------------------------------------------------------- */

static void philox_lanes(const struct sim_draw *d, uint32_t place, uint32_t first, uint32_t *restrict out)
{
    for (uint32_t l = 0; l < LANES; l++) {
        uint32_t c0 = first + l, c1 = d->row, c2 = d->exposure, c3 = place, k0 = d->key[0], k1 = d->key[1];
        for (int round = 0; round < 10; round++) {
            uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
            uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
            c1 = (uint32_t)p1;
            c3 = (uint32_t)p0;
            c0 = n0;
            c2 = n2;
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        out[l] = c0;
        out[LANES + l] = c1;
        out[2 * LANES + l] = c2;
        out[3 * LANES + l] = c3;
    }
}

/* ln x for x > 0, normal numbers: polynomial of the mantissa in [sqrt(1/2), sqrt(2)). */
static inline float log_plain(float x)
{
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    int32_t e = (bits - 0x3f3504f3) >> 23; /* exponent counted from sqrt(1/2) */
    int32_t mantissa = bits - e * 0x800000;
    float m;
    memcpy(&m, &mantissa, sizeof m);
    float s = (m - 1.0f) / (m + 1.0f), s2 = s * s; /* ln m = 2 atanh s */
    float sum = 2.0f + s2 * (0.66666667f + s2 * (0.4f + s2 * (0.28571429f + s2 * 0.22222222f)));
    return s * sum + (float)e * 0.69314718f;
}

/* sin(pi t) for |t| <= 1/2. */
static inline float sinpi_plain(float t)
{
    float t2 = t * t;
    return t * (3.14159265f + t2 * (-5.16771278f + t2 * (2.55016404f + t2 * (-0.599264529f + t2 * (0.0821458866f + t2 * -0.00737043094f)))));
}

/* exp(-x) for 0 <= x < 80. */
static inline float exp_minus_plain(float x)
{
    int32_t n = (int32_t)(x * 1.44269504f + 0.5f);
    float r = (float)n * 0.69314718f - x; /* |r| <= 0.35 */
    float sum = 1.0f + r * (1.0f + r * (0.5f + r * (0.16666667f + r * (0.041666668f + r * (0.0083333338f + r * 0.0013888889f)))));
    int32_t bits = (127 - n) * 0x800000;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return sum * scale;
}

static inline float uniform_plain(uint32_t u)
{
    return ((float)(int32_t)(u >> 9) + 0.5f) * 0x1p-23f; /* (0, 1), exact */
}

static void box_muller(const uint32_t *restrict u, const uint32_t *restrict v, float *restrict z0, float *restrict z1)
{
    for (int l = 0; l < LANES; l++) {
        float radius = sqrtf(-2.0f * log_plain(uniform_plain(u[l])));
        float turn = (float)(int32_t)v[l] * 0x1p-31f; /* angle / pi in [-1, 1] */
        float away = fabsf(turn);
        float folded = 0.5f - fabsf(away - 0.5f);     /* sin(pi a) = sin(pi (1 - a)) */
        float s = sinpi_plain(folded), c = sinpi_plain(0.5f - away);
        z0[l] = radius * c;
        z1[l] = radius * copysignf(s, turn);
    }
}

static void normals_piece(const struct sim_draw *d, int64_t at, float *restrict z)
{
    uint32_t u[SIM_PIECE];
    philox_lanes(d, d->place, (uint32_t)(at / 4), u);
    box_muller(u, u + LANES, z, z + LANES);
    box_muller(u + 2 * LANES, u + 3 * LANES, z + 2 * LANES, z + 3 * LANES);
}

/* Below SIM_POISSON by walking the distribution function in all lanes at once; lanes at or above it stay at zero. */
static void poisson_piece(const struct sim_draw *d, int64_t at, const float *restrict mu, float most, float *restrict k)
{
    uint32_t bits[SIM_PIECE];
    float u[SIM_PIECE], mean[SIM_PIECE], term[SIM_PIECE], below[SIM_PIECE];
    philox_lanes(d, d->place | 0x80000000u, (uint32_t)(at / 4), bits);
    for (int i = 0; i < SIM_PIECE; i++) {
        float m = mu[i] > 0.0f && mu[i] < SIM_POISSON ? mu[i] : 0.0f;
        mean[i] = m;
        u[i] = m > 0.0f ? uniform_plain(bits[i]) : 0.0f;
        term[i] = exp_minus_plain(m);
        below[i] = term[i];
        k[i] = 0.0f;
    }
    int last = (int)(most + 6.0f * sqrtf(most) + 10.0f);
    for (int j = 1; j <= last; j++) {
        float inverse = 1.0f / (float)j;
        for (int i = 0; i < SIM_PIECE; i++) {
            k[i] += (float)(u[i] > below[i]); /* the sums of a lane that is done are never looked at again */
            term[i] *= mean[i] * inverse;
            below[i] += term[i];
        }
    }
}

static void noise_piece(const struct sim_draw *d, int64_t at, int n, const float *restrict mu, float rdnoise2, float *restrict e)
{
    float z[SIM_PIECE], k[SIM_PIECE], m[SIM_PIECE], least = SIM_POISSON, most = 0.0f;
    for (int i = 0; i < SIM_PIECE; i++) m[i] = 0.0f;
    for (int i = 0; i < n; i++) m[i] = mu[i] > 0.0f ? mu[i] : 0.0f;
    for (int i = 0; i < n; i++) least = m[i] < least ? m[i] : least;
    normals_piece(d, at, z);
    if (least < SIM_POISSON) {
        for (int i = 0; i < n; i++) most = m[i] < SIM_POISSON && m[i] > most ? m[i] : most;
        for (int i = 0; i < SIM_PIECE; i++) k[i] = 0.0f;
        if (most > 0.0f) poisson_piece(d, at, m, most, k);
        float rdnoise = sqrtf(rdnoise2);
        for (int i = 0; i < SIM_PIECE; i++) k[i] += rdnoise * z[i];
    }
    for (int i = 0; i < n; i++) {
        float var = m[i] + rdnoise2;
        float skew = m[i] / (var > 1.0f ? var : 1.0f) * (1.0f / 6.0f);
        float wide = m[i] + sqrtf(var) * z[i] + skew * (z[i] * z[i] - 1.0f);
        e[i] = m[i] < SIM_POISSON ? k[i] : wide; /* k is read only where it was filled: least decides */
    }
}

static void noise(const struct sim_draw *d, int64_t n, const float *mu, float rdnoise2, float *e)
{
    for (int64_t at = 0; at < n; at += SIM_PIECE)
        noise_piece(d, at, (int)(n - at < SIM_PIECE ? n - at : SIM_PIECE), mu + at, rdnoise2, e + at);
}

static void normals(const struct sim_draw *d, int64_t n, float *z)
{
    float piece[SIM_PIECE];
    for (int64_t at = 0; at < n; at += SIM_PIECE) {
        int64_t m = n - at < SIM_PIECE ? n - at : SIM_PIECE;
        normals_piece(d, at, piece);
        memcpy(z + at, piece, (size_t)m * sizeof *z);
    }
}

/* ---- light ---------------------------------------------------------------------------------------------------- */

#define MOFFAT(name, power)                                                                                           \
    static void name(const struct sim_moffat *m, float dx0, float dy, float weight, int n, float *restrict v)          \
    {                                                                                                                 \
        const float cxx = m->cxx, linear = m->cxy * dy, constant = 1.0f + m->cyy * dy * dy, w = weight;                \
        for (int i = 0; i < n; i++) {                                                                                 \
            float dx = dx0 + (float)i, r = 1.0f / (constant + dx * (linear + cxx * dx));                               \
            v[i] += w * (power);                                                                                      \
        }                                                                                                             \
    }

MOFFAT(moffat4, r *r)
MOFFAT(moffat5, r *r *sqrtf(r))
MOFFAT(moffat6, r *r *r)
MOFFAT(moffat7, r *r *r *sqrtf(r))
MOFFAT(moffat8, (r * r) * (r * r))
MOFFAT(moffat9, (r * r) * (r * r) * sqrtf(r))
MOFFAT(moffat10, (r * r) * (r * r) * r)

static double moffat(const struct sim_moffat *m, int order, float dx0, float dy, int64_t n, float *dst)
{
    static const float node[4][3] = {{0}, {0}, {-0.288675135f, 0.288675135f}, {-0.387298335f, 0, 0.387298335f}};
    static const float weight[4][3] = {{0}, {1}, {0.5f, 0.5f}, {0.277777778f, 0.444444444f, 0.277777778f}};
    static void (*const profiles[])(const struct sim_moffat *, float, float, float, int, float *restrict) = {
        moffat4, moffat5, moffat6, moffat7, moffat8, moffat9, moffat10};
    float v[SIM_PIECE];
    double sums[4] = {0};
    for (int64_t at = 0; at < n; at += SIM_PIECE) {
        int piece = (int)(n - at < SIM_PIECE ? n - at : SIM_PIECE);
        memset(v, 0, sizeof v);
        for (int j = 0; j < order; j++)
            for (int i = 0; i < order; i++)
                profiles[m->twice_beta - 4](m, dx0 + (float)at + node[order][i], dy + node[order][j],
                                            m->norm * weight[order][i] * weight[order][j], piece, v);
        for (int i = 0; i < piece; i++) dst[at + i] += v[i];
        for (int i = 0; i < (piece + 3) / 4 * 4; i++) sums[i & 3] += v[i] * (i < piece);
    }
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/* ---- detector ------------------------------------------------------------------------------------------------- */

/* Wellons' lowbias32: every bit of the result depends on every bit of x. */
static inline uint32_t mix(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ x >> 16;
}

static void response(const struct sim_response *r, int64_t y, int64_t n, float *restrict flat)
{
    const uint32_t row = mix(r->key + (uint32_t)y);
    const float dy = (float)y - r->y0, dy2 = dy * dy, v2 = r->v2, v4 = r->v4, x0 = r->x0, level = r->level;
    const float prnu = r->prnu * (1.0f / 147.8f); /* sigma of the sum of four bytes */
    for (int64_t x = 0; x < n; x++) {
        uint32_t h = mix(row ^ (uint32_t)x);
        float sum = (float)(int32_t)((h & 255) + (h >> 8 & 255) + (h >> 16 & 255) + (h >> 24)) - 510.0f;
        float dx = (float)(int32_t)x - x0, r2 = dx * dx + dy2;
        flat[x] = level * (1.0f - r2 * (v2 + v4 * r2)) * (1.0f + prnu * sum);
    }
}

static void charge(int64_t n, const float *restrict flat, float dark, float *restrict plane)
{
    for (int64_t i = 0; i < n; i++) plane[i] = plane[i] * flat[i] + dark;
}

static void digitise(int64_t n, const float *restrict e, const float *restrict fixed, float level, float inv_gain, uint16_t *restrict raw)
{
    for (int64_t i = 0; i < n; i++) {
        float adu = e[i] * inv_gain + (fixed[i] + level) + 0.5f;
        adu = adu > 0.0f ? adu : 0.0f;
        adu = adu < 65535.0f ? adu : 65535.0f;
        raw[i] = (uint16_t)(int32_t)adu;
    }
}

static float largest(int64_t n, const float *v)
{
    float most[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int l = 0; l < 8; l++) most[l] = v[i + l] > most[l] ? v[i + l] : most[l];
    for (; i < n; i++) most[0] = v[i] > most[0] ? v[i] : most[0];
    for (int l = 1; l < 8; l++) most[0] = most[l] > most[0] ? most[l] : most[0];
    return most[0];
}

const struct simulate_kernels PASTE(simulate_kernels, ISA_SUFFIX) = {
    .noise = noise,
    .normals = normals,
    .moffat = moffat,
    .response = response,
    .charge = charge,
    .digitise = digitise,
    .largest = largest,
};
