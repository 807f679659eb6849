#include "common/pngfile.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "common/atomicfile.h"

static void put32(uint8_t *to, uint32_t v)
{
    for (int k = 0; k < 4; k++) to[k] = (uint8_t)(v >> (24 - 8 * k));
}

/* A chunk: length, type, data, checksum of the last two. data may stand in place already. Returned: the next byte. */
static uint8_t *put_chunk(uint8_t *to, const char *type, const void *data, size_t n)
{
    put32(to, (uint32_t)n);
    memcpy(to + 4, type, 4);
    if (n && data != to + 8) memcpy(to + 8, data, n);
    put32(to + 8 + n, (uint32_t)crc32(crc32(0, Z_NULL, 0), to + 4, (uInt)(n + 4)));
    return to + 12 + n;
}

/* Returned: bytes written to dst; 0: out of memory. */
static size_t squeeze(const uint8_t *src, size_t n, uint8_t *dst, size_t room)
{
    z_stream z = {0};
    if (deflateInit2(&z, 6, Z_DEFLATED, 15, 9, Z_RLE) != Z_OK) return 0;
    z.next_in = (Bytef *)(uintptr_t)src;
    z.avail_in = (uInt)n;
    z.next_out = dst;
    z.avail_out = (uInt)room;
    int done = deflate(&z, Z_FINISH);
    size_t written = z.total_out;
    deflateEnd(&z);
    return done == Z_STREAM_END ? written : 0;
}

enum err pngfile_write(const char *path, const uint8_t *index, int nx, int ny, const uint8_t (*colours)[3], int ncolours, struct error *err)
{
    size_t row = (size_t)nx + 1, raw = row * (size_t)ny, room = compressBound(raw) + 1024;
    uint8_t *rows = malloc(raw), *file = malloc(room + 2048), header[13] = {0};
    enum err e = ERR_OK;
    if (!rows || !file) e = ERROR(err, ERR_NOMEM, "could not draw %d by %d pixels: out of memory", nx, ny);
    if (!e) {
        for (int y = 0; y < ny; y++) {
            rows[(size_t)y * row] = 0; /* no filter: noise has no better neighbour */
            memcpy(rows + (size_t)y * row + 1, index + (size_t)y * (size_t)nx, (size_t)nx);
        }
        put32(header, (uint32_t)nx);
        put32(header + 4, (uint32_t)ny);
        header[8] = 8, header[9] = 3;
        memcpy(file, "\x89PNG\r\n\x1a\n", 8);
        uint8_t *at = put_chunk(file + 8, "IHDR", header, sizeof header);
        at = put_chunk(at, "PLTE", colours, 3 * (size_t)ncolours);
        size_t n = squeeze(rows, raw, at + 8, room);
        if (!n) e = ERROR(err, ERR_NOMEM, "could not compress %d by %d pixels: out of memory", nx, ny);
        else at = put_chunk(at, "IDAT", at + 8, n);
        if (!e) at = put_chunk(at, "IEND", NULL, 0);
        if (!e) e = atomicfile_write(path, file, (size_t)(at - file), err);
    }
    free(rows);
    free(file);
    return e;
}
