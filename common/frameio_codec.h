/* The codecs of tile compression: Rice, gzip with and without byte shuffling, quantisation with subtractive dither.
 * Arrays in, arrays out; damaged streams are an answer (false), never a read or write outside the arrays.
 *
 * Source: FITS 4.0 section 10 and appendix I; Rice, Yeh & Miller 1993 (JPL 91-3); White, Greenfield et al. 2009 (ADASS
 * XVIII, 411); Pence, White & Seaman 2010 (PASP 122, 1065) for the noise and the dither.
 * Threads: all functions may run in many threads at once.                                                          */
#ifndef NIGHTSHIFT_COMMON_FRAMEIO_CODEC_H
#define NIGHTSHIFT_COMMON_FRAMEIO_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Rice coding of n integers of 1, 2 or 4 bytes (1: unsigned) in blocks of `block` pixels.
 * rice_encode: dst holds at least rice_bound(n) bytes. Returned: bytes written. */
size_t rice_bound(int64_t n);
size_t rice_encode(const int32_t *src, int64_t n, int bytes, int block, uint8_t *dst);
bool rice_decode(const uint8_t *src, size_t size, int64_t n, int bytes, int block, int32_t *dst);

/* PLIO line lists, as IRAF writes masks: n pixels of up to 27 bits. */
bool plio_decode(const uint8_t *src, size_t size, int64_t n, int32_t *dst);
/* HCOMPRESS (frameio_hcompress.c), without the optional smoothing. work: n 64-bit integers of scratch. */
bool hcompress_decode(const uint8_t *src, size_t size, int64_t n, int64_t *work, int32_t *dst);

/* gzip of size bytes. gzip_encode: malloc'd result, NULL if memory ends. gzip_decode: bytes that came out, at most room;
 * -1 for a damaged stream or one that holds more. */
uint8_t *gzip_encode(const uint8_t *src, size_t size, size_t *ret_size);
int64_t gzip_decode(const uint8_t *src, size_t src_size, uint8_t *dst, size_t room);

/* GZIP_2: all first bytes, then all second ones ... of n elements. */
void bytes_shuffle(const uint8_t *src, uint8_t *dst, int64_t n, int bytes);
void bytes_unshuffle(const uint8_t *src, uint8_t *dst, int64_t n, int bytes);

/* The 10,000 numbers in (0, 1) of the dither. */
#define DITHER_COUNT 10000
void dither_numbers(float ret[DITHER_COUNT]);

#define QUANTISE_NULL (-2147483647) /* NaN */
#define QUANTISE_ZERO (-2147483646) /* exactly 0 (SUBTRACTIVE_DITHER_2) */

struct quantised {
    double scale, zero;
};
/* Turn n pixels of tile `tile` (0-based) into integers with steps of noise / q, dithered by method 2.
 * Given:    seed     ZDITHER0, 1..10000
 *           work     2 n floats of scratch
 * Returned: false when the tile must be stored without loss: too few pixels, no noise, infinities, too wide a range */
bool quantise(const float *src, int64_t n, int64_t tile, int seed, float q, const float *numbers, float *work, int32_t *dst,
              struct quantised *ret);

enum dither { DITHER_NONE, DITHER_1, DITHER_2 };
/* The way back: pixels equal to null (when has_null) become NaN. seed 1..10000. */
void dequantise(const int32_t *src, int64_t n, int64_t tile, int seed, enum dither dither, bool has_null, int32_t null,
                struct quantised k, const float *numbers, float *dst);

#endif
