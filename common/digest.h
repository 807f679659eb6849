/* SHA-256 of files, buffers and running sums: identities of inputs, recipes and products. Source: FIPS 180-4 (libcrypto). */
#ifndef NIGHTSHIFT_COMMON_DIGEST_H
#define NIGHTSHIFT_COMMON_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define DIGEST_HEX_SIZE 65 /* 64 hex digits and NUL */

struct digest;
struct digest *digest_new(void); /* NULL: no memory */
void digest_add(struct digest *d, const void *data, size_t size);
void digest_add_str(struct digest *d, const char *s); /* with its NUL, so that lists do not run together */
void digest_finish(struct digest *d, char ret_hex[DIGEST_HEX_SIZE]); /* frees d */

void digest_buffer(const void *data, size_t size, char ret_hex[DIGEST_HEX_SIZE]);
enum err digest_file(const char *path, char ret_hex[DIGEST_HEX_SIZE], struct error *err);

/* A 64-bit number from a string, the same on every machine (first 8 bytes of its SHA-256, big-endian). */
uint64_t digest_u64(const char *s);

#endif
