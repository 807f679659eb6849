/* Tile-compressed images through cfitsio: RICE, GZIP, HCOMPRESS, PLIO. Source: FITS 4.0 section 10.
 *
 * The HDU is copied into memory behind an empty primary and handed to cfitsio as a memory file, so that file names with
 * [ ] or + are never interpreted and no size is believed that was not compared with the bytes that are there.      */
#include "common/frameio_internal.h"

#include <fitsio.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TILE_PIXELS_MAX ((int64_t)1 << 28)

struct tiles {
    int hdu;
    fitsfile *file;
    void *memory;  /* what file reads from; must outlive it */
    size_t size;
};

void tiles_free(struct tiles *t)
{
    if (!t) return;
    int status = 0;
    if (t->file) fits_close_file(t->file, &status);
    fits_clear_errmsg();
    free(t->memory);
    free(t);
}

static enum err decode_error(struct error *err, int status)
{
    char text[FLEN_STATUS] = "";
    fits_get_errstatus(status, text);
    fits_clear_errmsg(); /* the stack is global: leave nothing for somebody else's message */
    enum err code = status == MEMORY_ALLOCATION ? ERR_NOMEM : ERR_CORRUPT;
    ERROR(err, code, "cannot decode the compressed image: %s", text);
    error_library(err, status);
    if (code == ERR_CORRUPT) error_hint(err, "copy the file again from its source");
    return code;
}

/* ---- checks before cfitsio sees anything ------------------------------------------------------------------------ */

/* A variable-length column of the tile table. */
struct tile_column {
    bool wide;         /* Q: 64-bit descriptors; P: 32-bit */
    int element;       /* bytes of one element */
    int64_t offset;    /* in the row */
    bool compressed_data;
};

static int type_size(char type)
{
    switch (type) {
    case 'L':
    case 'B':
    case 'A': return 1;
    case 'I': return 2;
    case 'J':
    case 'E': return 4;
    case 'K':
    case 'D':
    case 'C':
    case 'P': return 8;
    case 'M':
    case 'Q': return 16;
    default: return 0;
    }
}

/* The columns of the tile table; *ret_n of them are variable-length. */
static enum err read_columns(const struct hdu *h, struct tile_column columns[8], int *ret_n, struct error *err)
{
    int64_t offset = 0;
    int n = 0;
    for (int i = 1; i <= h->tfields; i++) {
        char keyword[16], form[32] = "", name[72] = "", *type;
        snprintf(keyword, sizeof keyword, "TFORM%d", i);
        header_get_str(&h->cards, keyword, form, sizeof form);
        snprintf(keyword, sizeof keyword, "TTYPE%d", i);
        header_get_str(&h->cards, keyword, name, sizeof name);
        long repeat = strtol(form, &type, 10);
        if (type == form) repeat = 1;
        if (repeat < 0 || repeat > 4096 || !type_size(*type))
            return ERROR(err, ERR_CORRUPT, "column %d of the compressed image has the odd format '%s'", i, form);
        if (*type == 'P' || *type == 'Q') {
            if (n == 8 || repeat > 1 || !type_size(type[1]) || strchr("PQ", type[1]))
                return ERROR(err, ERR_CORRUPT, "column %d of the compressed image has the odd format '%s'", i, form);
            columns[n++] = (struct tile_column){*type == 'Q', type_size(type[1]), offset, !strcmp(name, "COMPRESSED_DATA")};
        }
        offset += repeat * type_size(*type);
    }
    if (offset != h->row_size)
        return ERROR(err, ERR_CORRUPT, "columns of the compressed image take %lld bytes a row, not %lld", (long long)offset,
                     (long long)h->row_size);
    *ret_n = n;
    return ERR_OK;
}

static uint64_t big_endian(const uint8_t *p, int bytes)
{
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++) v = v << 8 | p[i];
    return v;
}

struct tile_shape {
    int64_t side[2], count;
};

static enum err read_tile_shape(const struct hdu *h, struct tile_shape *ret, struct error *err)
{
    struct tile_shape s = {{h->info.axis[0], 1}, 1};
    char keyword[16];
    for (int i = 0; i < h->info.naxis; i++) {
        int64_t side = i == 0 ? h->info.axis[0] : 1, n = i < 2 ? h->info.axis[i] : 1;
        snprintf(keyword, sizeof keyword, "ZTILE%d", i + 1);
        if (header_has(&h->cards, keyword) && (!header_get_int(&h->cards, keyword, &side) || side < 1))
            return ERROR(err, ERR_CORRUPT, "keyword %s of the compressed image has an absurd value", keyword);
        if (side > n) side = n;
        if (i < 2) s.side[i] = side;
        s.count *= (n + side - 1) / side;
    }
    if (s.side[0] * s.side[1] > TILE_PIXELS_MAX) return ERROR(err, ERR_UNSUPPORTED, "tiles of the compressed image are too large");
    if (s.count != h->nrow)
        return ERROR(err, ERR_CORRUPT, "compressed image has %lld tiles, its size asks for %lld", (long long)h->nrow, (long long)s.count);
    *ret = s;
    return ERR_OK;
}

/* The HCOMPRESS and PLIO decoders believe the sizes inside their streams: compare them with the tile first. */
static bool stream_is_sane(const char *algorithm, const uint8_t *p, int64_t n, int64_t npix)
{
    if (!strncmp(algorithm, "HCOMPRESS", 9)) {
        if (n < 25 || p[0] != 0xdd || p[1] != 0x99) return false;
        int64_t a = (int64_t)big_endian(p + 2, 4), b = (int64_t)big_endian(p + 6, 4);
        return a > 0 && b > 0 && a <= npix && b <= npix && a * b <= npix;
    }
    if (!strncmp(algorithm, "PLIO", 4)) {
        if (n < 6) return false;
        int64_t words = (int16_t)big_endian(p + 4, 2); /* old format: the length is word 3 */
        if (words <= 0) words = n >= 10 ? ((int64_t)big_endian(p + 8, 2) << 15) + (int64_t)big_endian(p + 6, 2) : n;
        return words * 2 <= n;
    }
    return true;
}

static enum err check_tile(const struct hdu *h, const char *algorithm, const struct tile_shape *shape, const struct tile_column *c,
                           const uint8_t *data, int64_t heap, int64_t row, struct error *err)
{
    const uint8_t *p = data + row * h->row_size + c->offset;
    int64_t width = c->wide ? 8 : 4, length = (int64_t)big_endian(p, (int)width), at = (int64_t)big_endian(p + width, (int)width);
    int64_t room = h->data_size - heap;
    if (length < 0 || at < 0 || at > room || length > (room - at) / c->element)
        return ERROR(err, ERR_CORRUPT, "tile %lld of the compressed image lies outside the file", (long long)row + 1);
    if (c->compressed_data && length &&
        !stream_is_sane(algorithm, data + heap + at, length * c->element, shape->side[0] * shape->side[1]))
        return ERROR(err, ERR_CORRUPT, "tile %lld of the compressed image is damaged", (long long)row + 1);
    return ERR_OK;
}

/* Numbers that cfitsio uses as array indices or sizes without a look. */
static enum err check_parameters(const struct hdu *h, struct error *err)
{
    int64_t dither = 1;
    char keyword[16];
    if (header_has(&h->cards, "ZDITHER0") && (!header_get_int(&h->cards, "ZDITHER0", &dither) || dither < 0 || dither > 10000))
        return ERROR(err, ERR_CORRUPT, "keyword ZDITHER0 has an absurd value");
    for (int i = 1; i <= 9; i++) {
        int64_t value = 1;
        snprintf(keyword, sizeof keyword, "ZVAL%d", i);
        if (header_get_int(&h->cards, keyword, &value) && (value < -65536 || value > 65536))
            return ERROR(err, ERR_CORRUPT, "keyword %s has an absurd value", keyword);
        char name[16] = "";
        snprintf(keyword, sizeof keyword, "ZNAME%d", i);
        header_get_str(&h->cards, keyword, name, sizeof name);
        if (!strcmp(name, "BLOCKSIZE") && value < 1) return ERROR(err, ERR_CORRUPT, "RICE block size is %lld", (long long)value);
        if (!strcmp(name, "BYTEPIX") && value != 1 && value != 2 && value != 4 && value != 8)
            return ERROR(err, ERR_CORRUPT, "RICE pixel size is %lld bytes", (long long)value);
    }
    return ERR_OK;
}

static enum err check_tiles(const struct hdu *h, const uint8_t *data, struct error *err)
{
    static const char *const known[] = {"RICE_1", "RICE_ONE", "GZIP_1", "GZIP_2", "PLIO_1", "HCOMPRESS_1", "NOCOMPRESS"};
    char algorithm[24] = "";
    struct tile_shape shape = {{1, 1}, 0};
    struct tile_column columns[8];
    int n = 0;
    bool good = false;
    int64_t heap = h->row_size * h->nrow;
    header_get_str(&h->cards, "ZCMPTYPE", algorithm, sizeof algorithm);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) good |= !strcmp(algorithm, known[i]);
    if (!good) return ERROR(err, ERR_UNSUPPORTED, "image is compressed by '%s', which is not known here", algorithm);
    if (header_get_int(&h->cards, "THEAP", &heap) && (heap < h->row_size * h->nrow || heap > h->data_size))
        return ERROR(err, ERR_CORRUPT, "heap of the compressed image lies outside the file");
    enum err code = h->info.naxis > 4 ? ERROR(err, ERR_UNSUPPORTED, "compressed image has more than 4 axes") : ERR_OK;
    if (!code) code = check_parameters(h, err);
    if (!code) code = read_columns(h, columns, &n, err);
    if (!code) code = read_tile_shape(h, &shape, err);
    for (int64_t row = 0; row < h->nrow && !code; row++)
        for (int i = 0; i < n && !code; i++) code = check_tile(h, algorithm, &shape, &columns[i], data, heap, row, err);
    return code;
}

/* ---- opening and reading ---------------------------------------------------------------------------------------- */

static void put_card(char *block, int i, const char *text)
{
    memcpy(block + i * CARD_LENGTH, text, strlen(text));
}

/* Empty primary, the HDU's header, its data. */
static enum err load(struct frameio_in *f, const struct hdu *h, struct tiles *t, struct error *err)
{
    int64_t header = round_to_block((h->cards.n + 1) * CARD_LENGTH), data = round_to_block(h->data_size), got = 0;
    t->size = (size_t)(FITS_BLOCK + header + data);
    char *p = t->memory = malloc(t->size);
    if (!p) return ERROR(err, ERR_NOMEM, "no memory for a compressed image");
    memset(p, ' ', (size_t)(FITS_BLOCK + header));
    put_card(p, 0, "SIMPLE  =                    T");
    put_card(p, 1, "BITPIX  =                    8");
    put_card(p, 2, "NAXIS   =                    0");
    put_card(p, 3, "EXTEND  =                    T");
    put_card(p, 4, "END");
    p += FITS_BLOCK;
    memcpy(p, h->cards.text, (size_t)h->cards.n * CARD_LENGTH);
    put_card(p, (int)h->cards.n, "END");
    p += header;
    memset(p + h->data_size, 0, (size_t)(data - h->data_size));
    enum err code = source_read(f->source, h->data_at, p, h->data_size, &got, err);
    if (!code && got < h->data_size) code = ERROR(err, ERR_CORRUPT, "data end early: the file shrank while it was read");
    return code ? code : check_tiles(h, (const uint8_t *)p, err);
}

static enum err tiles_open(struct frameio_in *f, int hdu, const struct hdu *h, struct error *err)
{
    if (f->tiles && f->tiles->hdu == hdu) return ERR_OK;
    tiles_free(f->tiles);
    f->tiles = NULL;
    struct tiles *t = calloc(1, sizeof *t);
    if (!t) return ERROR(err, ERR_NOMEM, "no memory for a compressed image");
    t->hdu = hdu;
    enum err code = load(f, h, t, err);
    int status = 0;
    if (!code && (fits_open_memfile(&t->file, "tiles", READONLY, &t->memory, &t->size, 0, NULL, &status) ||
                  fits_movabs_hdu(t->file, 2, NULL, &status)))
        code = decode_error(err, status);
    if (!code && !fits_is_compressed_image(t->file, &status)) code = decode_error(err, status ? status : DATA_DECOMPRESSION_ERR);
    if (code)
        tiles_free(t);
    else
        f->tiles = t;
    return code;
}

enum err tiles_read_rows(struct frameio_in *f, int hdu, int64_t y0, int64_t y1, float *f32, uint16_t *u16, struct error *err)
{
    const struct hdu *h = f->hdus[hdu - 1];
    enum err code = tiles_open(f, hdu, h, err);
    if (code) return code;
    long first[4] = {1, y0 + 1, 1, 1}, last[4] = {h->info.axis[0], y1, 1, 1}, step[4] = {1, 1, 1, 1};
    float nan = NAN;
    int any = 0, status = 0;
    fits_read_subset(f->tiles->file, f32 ? TFLOAT : TUSHORT, first, last, step, f32 ? &nan : NULL, f32 ? (void *)f32 : (void *)u16,
                     &any, &status);
    return status ? decode_error(err, status) : ERR_OK;
}
