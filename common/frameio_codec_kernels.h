/* Leaf kernels of frameio_codec.c and of the checksums, one table per instruction set. Integers, and doubles rounded one by
 * one: every level gives the same bytes. */
#ifndef NIGHTSHIFT_COMMON_FRAMEIO_CODEC_KERNELS_H
#define NIGHTSHIFT_COMMON_FRAMEIO_CODEC_KERNELS_H

#include "common/frameio_codec.h"

struct codec_range {
    float low, high; /* of what is not NaN; INFINITY and -INFINITY when all is */
    bool blank;      /* some are NaN */
};

struct codec_kernels {
    size_t (*rice_encode)(const int32_t *src, int64_t n, int bytes, int block, uint8_t *dst);
    bool (*rice_decode)(const uint8_t *src, size_t size, int64_t n, int bytes, int block, int32_t *dst);
    void (*range)(const float *v, int64_t n, struct codec_range *ret);
    /* (v - zero) * inverse + number - 0.5, rounded away from zero; QUANTISE_ZERO and QUANTISE_NULL for 0 and NaN */
    void (*quantise)(const float *src, int64_t n, const float *numbers, double inverse, double zero, int32_t *dst);
    void (*dequantise)(const int32_t *src, int64_t n, const float *numbers, struct quantised k, float *dst);
    /* sum of big-endian 32-bit words, not folded */
    uint64_t (*checksum)(const uint8_t *p, int64_t words);
};

extern const struct codec_kernels codec_kernels_generic, codec_kernels_avx2;

#endif
