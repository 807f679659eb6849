/* Small PNG files with a palette: an eighth of the time and half the bytes of true colour for the grey noise of a sky.
 * Source: ISO/IEC 15948 (PNG), colour type 3, 8 bits, filter 0; zlib with run lengths and Huffman codes, because noise has
 * no longer repetitions to find. Same pixels, same bytes. */
#ifndef NIGHTSHIFT_COMMON_PNGFILE_H
#define NIGHTSHIFT_COMMON_PNGFILE_H

#include <stdint.h>

#include "common/err.h"

/* Write nx by ny pixels, row-major, the first row on top, as indices into ncolours (1 to 256) colours of red, green, blue.
 * Whole or not at all. Status: ERR_NOMEM; what atomicfile_write() says */
enum err pngfile_write(const char *path, const uint8_t *index, int nx, int ny, const uint8_t (*colours)[3], int ncolours, struct error *err);

#endif
