/* Tile-compressed images. Source: FITS 4.0 section 10.
 *
 *     data unit    | row 0: descriptor, scale, zero | row 1 ... | heap: the compressed tiles |
 *
 * Tiles are decoded in parallel by the codecs of frameio_codec.c.
 *
 * Invariants: (1) every descriptor lies within the heap before a tile is decoded; (2) a tile's pixels are those its place in
 * the image asks for, whatever its stream says.                                                                     */
#include "common/frameio_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/frameio_codec.h"

#define TILE_PIXELS_MAX ((int64_t)1 << 28)

enum codec { CODEC_RICE, CODEC_GZIP_1, CODEC_GZIP_2, CODEC_NONE, CODEC_PLIO, CODEC_HCOMPRESS };

/* A column of the tile table; offset -1 where there is none. */
struct tile_column {
    int64_t offset;    /* in the row */
    bool wide;         /* Q: 64-bit descriptors; P: 32-bit */
    int element;       /* bytes of one element */
    char type;         /* of a scalar */
};

struct tiles {
    int hdu;
    uint8_t *data;     /* the data unit */
    int64_t heap;
    enum codec codec;
    int bytes, block;  /* RICE */
    int64_t side[2], across, count; /* tile size, tiles in a row of tiles, tiles */
    struct tile_column packed, gzip, plain, scale, zero, blank;
    bool quantised;
    struct quantised key; /* ZSCALE, ZZERO of the header, where they are no columns */
    enum dither dither;
    int seed;
    bool has_null;
    int32_t null;
    float *numbers;    /* of the dither */
};

void tiles_free(struct tiles *t)
{
    if (!t) return;
    free(t->numbers);
    free(t->data);
    free(t);
}

/* ---- the header of the tile table ------------------------------------------------------------------------------- */

static struct tile_column *column_of(struct tiles *t, const char *name)
{
    if (!strcmp(name, "COMPRESSED_DATA")) return &t->packed;
    if (!strcmp(name, "GZIP_COMPRESSED_DATA")) return &t->gzip;
    if (!strcmp(name, "UNCOMPRESSED_DATA")) return &t->plain;
    if (!strcmp(name, "ZSCALE")) return &t->scale;
    if (!strcmp(name, "ZZERO")) return &t->zero;
    if (!strcmp(name, "ZBLANK")) return &t->blank;
    return NULL;
}

static enum err read_columns(const struct hdu *h, struct tiles *t, struct error *err)
{
    int64_t offset = 0;
    for (int i = 1; i <= h->tfields; i++) {
        char keyword[16], form[32] = "", name[72] = "", *type;
        snprintf(keyword, sizeof keyword, "TFORM%d", i);
        header_get_str(&h->cards, keyword, form, sizeof form);
        snprintf(keyword, sizeof keyword, "TTYPE%d", i);
        header_get_str(&h->cards, keyword, name, sizeof name);
        long repeat = strtol(form, &type, 10);
        if (type == form) repeat = 1;
        bool variable = *type == 'P' || *type == 'Q';
        struct tile_column *c = column_of(t, name);
        bool good = repeat >= 0 && repeat <= 4096 && element_size(*type);
        if (variable) good = good && repeat <= 1 && element_size(type[1]) && !strchr("PQ", type[1]);
        if (c) good = good && repeat == 1 && variable == (c == &t->packed || c == &t->gzip || c == &t->plain);
        if (c && !variable) good = good && strchr("BIJED", *type);
        if (!good) return ERROR(err, ERR_CORRUPT, "column %d of the compressed image has the odd format '%s'", i, form);
        if (c) *c = (struct tile_column){offset, *type == 'Q', element_size(variable ? type[1] : *type), *type};
        offset += repeat * element_size(*type);
    }
    if (offset == h->row_size && t->packed.offset >= 0) return ERR_OK;
    return ERROR(err, ERR_CORRUPT, "columns of the compressed image do not make rows of %lld bytes", (long long)h->row_size);
}

static enum err read_tile_shape(const struct hdu *h, struct tiles *t, struct error *err)
{
    char keyword[16];
    int64_t number[2] = {1, 1};
    for (int i = 0; i < h->info.naxis; i++) {
        int64_t side = i == 0 ? h->info.axis[0] : 1, n = i < 2 ? h->info.axis[i] : 1;
        snprintf(keyword, sizeof keyword, "ZTILE%d", i + 1);
        if (header_has(&h->cards, keyword) && (!header_get_int(&h->cards, keyword, &side) || side < 1))
            return ERROR(err, ERR_CORRUPT, "keyword %s of the compressed image has an absurd value", keyword);
        if (i >= 2) continue;
        t->side[i] = side < n ? side : n;
        number[i] = (n + t->side[i] - 1) / t->side[i];
    }
    if (t->side[0] * t->side[1] > TILE_PIXELS_MAX)
        return ERROR(err, ERR_UNSUPPORTED, "tiles of the compressed image are too large");
    t->across = number[0];
    t->count = number[0] * number[1];
    if (t->count == h->nrow) return ERR_OK;
    return ERROR(err, ERR_CORRUPT, "compressed image has %lld tiles, its size asks for %lld", (long long)h->nrow,
                 (long long)t->count);
}

static enum err read_codec(const struct hdu *h, struct tiles *t, struct error *err)
{
    static const struct {
        const char *name;
        enum codec codec;
    } known[] = {{"RICE_1", CODEC_RICE},       {"RICE_ONE", CODEC_RICE},      {"GZIP_1", CODEC_GZIP_1},
                 {"GZIP_2", CODEC_GZIP_2},     {"NOCOMPRESS", CODEC_NONE},    {"PLIO_1", CODEC_PLIO},
                 {"HCOMPRESS_1", CODEC_HCOMPRESS}};
    char name[24] = "";
    header_get_str(&h->cards, "ZCMPTYPE", name, sizeof name);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(name, known[i].name) != 0) continue;
        t->codec = known[i].codec;
        return ERR_OK;
    }
    return ERROR(err, ERR_UNSUPPORTED, "image is compressed by '%s', which is not known here", name);
}

static enum err read_parameters(const struct hdu *h, struct tiles *t, struct error *err)
{
    t->bytes = 4;
    t->block = 32;
    for (int i = 1; i <= 9; i++) {
        char keyword[16], name[16] = "";
        int64_t value = 0;
        snprintf(keyword, sizeof keyword, "ZNAME%d", i);
        header_get_str(&h->cards, keyword, name, sizeof name);
        snprintf(keyword, sizeof keyword, "ZVAL%d", i);
        if (!header_get_int(&h->cards, keyword, &value)) continue;
        bool good = value >= -65536 && value <= 65536;
        if (!strcmp(name, "BLOCKSIZE") && (good = value >= 1 && value <= 256)) t->block = (int)value;
        if (!strcmp(name, "BYTEPIX") && (good = value == 1 || value == 2 || value == 4)) t->bytes = (int)value;
        if (!strcmp(name, "SMOOTH") && value) {
            ERROR(err, ERR_UNSUPPORTED, "image is compressed by HCOMPRESS with smoothing, which is not known here");
            error_hint(err, "unpack it with funpack");
            return ERR_UNSUPPORTED;
        }
        if (!good) return ERROR(err, ERR_CORRUPT, "parameter %s of the compressed image has the absurd value %lld", name, (long long)value);
    }
    return ERR_OK;
}

static enum err read_quantisation(const struct hdu *h, struct tiles *t, struct error *err)
{
    char method[32] = "";
    int64_t seed = 1, null = 0;
    bool in_header = header_get_double(&h->cards, "ZSCALE", &t->key.scale) && header_get_double(&h->cards, "ZZERO", &t->key.zero);
    t->quantised = h->info.bitpix < 0 && (in_header || (t->scale.offset >= 0 && t->zero.offset >= 0));
    header_get_str(&h->cards, "ZQUANTIZ", method, sizeof method);
    t->dither = !strcmp(method, "SUBTRACTIVE_DITHER_1")   ? DITHER_1
                : !strcmp(method, "SUBTRACTIVE_DITHER_2") ? DITHER_2
                                                          : DITHER_NONE;
    if (header_has(&h->cards, "ZDITHER0") && (!header_get_int(&h->cards, "ZDITHER0", &seed) || seed < 0 || seed > DITHER_COUNT))
        return ERROR(err, ERR_CORRUPT, "keyword ZDITHER0 has an absurd value");
    t->seed = (int)seed;
    t->has_null = header_get_int(&h->cards, "ZBLANK", &null) && null >= INT32_MIN && null <= INT32_MAX;
    t->null = t->has_null ? (int32_t)null : QUANTISE_NULL;
    if (t->quantised) t->has_null = true; /* NaN is this number even where the header forgot to say so */
    t->numbers = malloc(DITHER_COUNT * sizeof *t->numbers);
    if (!t->numbers) return ERROR(err, ERR_NOMEM, "no memory for a compressed image");
    dither_numbers(t->numbers);
    return ERR_OK;
}

/* ---- checks before anything is decoded -------------------------------------------------------------------------- */

static uint64_t big_endian(const uint8_t *p, int bytes)
{
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++) v = v << 8 | p[i];
    return v;
}

struct stream {
    const uint8_t *p;
    int64_t size;
};

/* Where the heap keeps this tile's bytes of column c; size 0 where it keeps none. */
static struct stream stream_of(const struct tiles *t, const struct hdu *h, const struct tile_column *c, int64_t tile)
{
    if (c->offset < 0) return (struct stream){NULL, 0};
    const uint8_t *p = t->data + tile * h->row_size + c->offset;
    int width = c->wide ? 8 : 4;
    int64_t length = (int64_t)big_endian(p, width), at = (int64_t)big_endian(p + width, width);
    return (struct stream){t->data + t->heap + at, length * c->element};
}

static bool descriptor_fits(const struct tiles *t, const struct hdu *h, const struct tile_column *c, int64_t tile)
{
    if (c->offset < 0) return true;
    const uint8_t *p = t->data + tile * h->row_size + c->offset;
    int width = c->wide ? 8 : 4;
    int64_t length = (int64_t)big_endian(p, width), at = (int64_t)big_endian(p + width, width), room = h->data_size - t->heap;
    return length >= 0 && at >= 0 && at <= room && length <= (room - at) / c->element;
}

static enum err check_tiles(const struct tiles *t, const struct hdu *h, struct error *err)
{
    for (int64_t i = 0; i < t->count; i++) {
        if (!descriptor_fits(t, h, &t->packed, i) || !descriptor_fits(t, h, &t->gzip, i) || !descriptor_fits(t, h, &t->plain, i))
            return ERROR(err, ERR_CORRUPT, "tile %lld of the compressed image lies outside the file", (long long)i + 1);
    }
    return ERR_OK;
}

/* ---- opening ---------------------------------------------------------------------------------------------------- */

static enum err load_data(struct frameio_in *f, const struct hdu *h, struct tiles *t, struct error *err)
{
    int64_t got = 0;
    t->heap = h->row_size * h->nrow;
    if (header_has(&h->cards, "THEAP") && !header_get_int(&h->cards, "THEAP", &t->heap)) t->heap = -1;
    if (t->heap < h->row_size * h->nrow || t->heap > h->data_size)
        return ERROR(err, ERR_CORRUPT, "heap of the compressed image lies outside the file");
    t->data = malloc((size_t)h->data_size + 1);
    if (!t->data) return ERROR(err, ERR_NOMEM, "no memory for a compressed image");
    enum err code = source_read(f->source, h->data_at, t->data, h->data_size, &got, err);
    if (!code && got < h->data_size) code = ERROR(err, ERR_CORRUPT, "data end early: the file shrank while it was read");
    return code;
}

static enum err tiles_open(struct frameio_in *f, int hdu, const struct hdu *h, struct error *err)
{
    if (f->tiles && f->tiles->hdu == hdu) return ERR_OK;
    tiles_free(f->tiles);
    f->tiles = NULL;
    struct tiles *t = calloc(1, sizeof *t);
    if (!t) return ERROR(err, ERR_NOMEM, "no memory for a compressed image");
    t->hdu = hdu;
    t->packed.offset = t->gzip.offset = t->plain.offset = t->scale.offset = t->zero.offset = t->blank.offset = -1;
    enum err code = h->info.naxis > 4 ? ERROR(err, ERR_UNSUPPORTED, "compressed image has more than 4 axes") : ERR_OK;
    if (!code) code = read_codec(h, t, err);
    if (!code) code = read_columns(h, t, err);
    if (!code) code = read_tile_shape(h, t, err);
    if (!code) code = read_parameters(h, t, err);
    if (!code) code = read_quantisation(h, t, err);
    if (!code) code = load_data(f, h, t, err);
    if (!code) code = check_tiles(t, h, err);
    if (code)
        tiles_free(t);
    else
        f->tiles = t;
    return code;
}

/* ---- decoding one tile ------------------------------------------------------------------------------------------ */

struct scratch {
    int32_t *ints;
    float *floats;
    uint16_t *shorts;
    uint8_t *bytes, *shuffled; /* 8 per pixel */
};

static bool scratch_init(struct scratch *s, int64_t npix)
{
    s->ints = mem_array((size_t)npix, sizeof *s->ints);
    s->floats = mem_array((size_t)npix, sizeof *s->floats);
    s->shorts = mem_array((size_t)npix, sizeof *s->shorts);
    s->bytes = mem_array((size_t)npix, 8);
    s->shuffled = mem_array((size_t)npix, 8);
    return s->ints && s->floats && s->shorts && s->bytes && s->shuffled;
}

static void scratch_release(struct scratch *s)
{
    free(s->ints);
    free(s->floats);
    free(s->shorts);
    free(s->bytes);
    free(s->shuffled);
}

/* A cell of a scalar column. */
static double scalar(const struct tiles *t, const struct hdu *h, const struct tile_column *c, int64_t tile)
{
    const uint8_t *p = t->data + tile * h->row_size + c->offset;
    uint64_t bits = big_endian(p, c->element);
    uint32_t bits32 = (uint32_t)bits;
    double wide;
    float narrow;
    memcpy(&wide, &bits, sizeof wide);
    memcpy(&narrow, &bits32, sizeof narrow);
    switch (c->type) {
    case 'D': return wide;
    case 'E': return narrow;
    case 'J': return (int32_t)bits;
    case 'I': return (int16_t)bits;
    default: return (double)bits;
    }
}

/* What a tile turns into on the way to pixels: integers of the codec, or pixels as a plain image stores them. */
enum tile_form { TILE_BAD, TILE_INTS, TILE_STORED };

/* Bytes of a gzip or plain stream: what the image stores, or integers of 1, 2 or 4 bytes, as their number tells. */
static enum tile_form take_bytes(const struct tiles *t, const struct hdu *h, int64_t n, int64_t size, struct scratch *s)
{
    int stored = abs(h->info.bitpix) / 8;
    if (!t->quantised && size == n * stored) return TILE_STORED;
    if (h->info.bitpix < 0 && size != 4 * n) return TILE_BAD;
    if (size != n && size != 2 * n && size != 4 * n) return TILE_BAD;
    int bytes = (int)(size / n);
    for (int64_t i = 0; i < n; i++) {
        uint32_t v = (uint32_t)big_endian(s->bytes + bytes * i, bytes);
        s->ints[i] = bytes == 2 ? (int16_t)v : (int32_t)v;
    }
    return TILE_INTS;
}

static enum tile_form unpack_main(const struct tiles *t, const struct hdu *h, struct stream in, int64_t n, struct scratch *s)
{
    int64_t size = in.size;
    switch (t->codec) {
    case CODEC_RICE:
        if (!t->quantised && h->info.bitpix < 0) return TILE_BAD;
        return rice_decode(in.p, (size_t)in.size, n, t->bytes, t->block, s->ints) ? TILE_INTS : TILE_BAD;
    case CODEC_PLIO:
        if (!t->quantised && h->info.bitpix < 0) return TILE_BAD;
        return plio_decode(in.p, (size_t)in.size, n, s->ints) ? TILE_INTS : TILE_BAD;
    case CODEC_HCOMPRESS:
        if (!t->quantised && h->info.bitpix < 0) return TILE_BAD;
        return hcompress_decode(in.p, (size_t)in.size, n, (int64_t *)(void *)s->bytes, s->ints) ? TILE_INTS : TILE_BAD;
    case CODEC_GZIP_1: size = gzip_decode(in.p, (size_t)in.size, s->bytes, (size_t)n * 8); break;
    case CODEC_GZIP_2:
        size = gzip_decode(in.p, (size_t)in.size, s->shuffled, (size_t)n * 8);
        if (size > 0 && size % n == 0) bytes_unshuffle(s->shuffled, s->bytes, n, (int)(size / n));
        break;
    default:
        if (size > n * 8) return TILE_BAD;
        memcpy(s->bytes, in.p, (size_t)size);
    }
    return take_bytes(t, h, n, size, s);
}

static enum tile_form unpack(const struct tiles *t, const struct hdu *h, int64_t tile, int64_t n, struct scratch *s)
{
    int64_t stored = n * abs(h->info.bitpix) / 8;
    struct stream in = stream_of(t, h, &t->packed, tile);
    if (in.size) return unpack_main(t, h, in, n, s);
    in = stream_of(t, h, &t->gzip, tile); /* tiles that could not be quantised */
    if (in.size) return gzip_decode(in.p, (size_t)in.size, s->bytes, (size_t)n * 8) == stored ? TILE_STORED : TILE_BAD;
    in = stream_of(t, h, &t->plain, tile);
    if (in.size != stored) return TILE_BAD;
    memcpy(s->bytes, in.p, (size_t)in.size);
    return TILE_STORED;
}

static void ints_to_floats(const struct tiles *t, const struct hdu *h, int64_t tile, int64_t n, struct scratch *s)
{
    bool has_null = t->has_null;
    int32_t null = t->null;
    if (t->blank.offset >= 0) {
        has_null = true;
        null = (int32_t)scalar(t, h, &t->blank, tile);
    }
    if (t->quantised) {
        struct quantised k = t->key;
        if (t->scale.offset >= 0) k.scale = scalar(t, h, &t->scale, tile);
        if (t->zero.offset >= 0) k.zero = scalar(t, h, &t->zero, tile);
        dequantise(s->ints, n, tile, t->seed, t->dither, has_null, null, k, t->numbers, s->floats);
        if (h->bscale != 1 || h->bzero != 0)
            for (int64_t i = 0; i < n; i++) s->floats[i] = (float)(h->bzero + h->bscale * s->floats[i]);
        return;
    }
    for (int64_t i = 0; i < n; i++) s->floats[i] = (float)(h->bzero + h->bscale * s->ints[i]);
    if (!has_null && h->has_blank) {
        has_null = h->blank >= INT32_MIN && h->blank <= INT32_MAX;
        null = (int32_t)h->blank;
    }
    for (int64_t i = 0; has_null && i < n; i++)
        if (s->ints[i] == null) s->floats[i] = NAN;
}

static bool decode_tile(const struct tiles *t, const struct hdu *h, int64_t tile, int64_t n, bool shorts, struct scratch *s)
{
    enum tile_form form = unpack(t, h, tile, n, s);
    if (form == TILE_BAD) return false;
    if (shorts && form == TILE_INTS) {
        for (int64_t i = 0; i < n; i++) s->shorts[i] = (uint16_t)(s->ints[i] + 32768);
    } else if (shorts) {
        for (int64_t i = 0; i < n; i++) s->shorts[i] = (uint16_t)(big_endian(s->bytes + 2 * i, 2) ^ 0x8000u);
    } else if (form == TILE_INTS) {
        ints_to_floats(t, h, tile, n, s);
    } else {
        pixels_to_floats(h, s->bytes, s->floats, n);
    }
    return true;
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

struct band {
    int64_t y0, y1;
    float *f32;     /* one of the two is NULL */
    uint16_t *u16;
};

/* Decode a tile and copy the part of it that lies in the band. */
static bool place_tile(const struct tiles *t, const struct hdu *h, int64_t tile, struct band b, struct scratch *s)
{
    int64_t nx = h->info.axis[0], ny = h->info.axis[1];
    int64_t x0 = tile % t->across * t->side[0], top = tile / t->across * t->side[1];
    int64_t width = nx - x0 < t->side[0] ? nx - x0 : t->side[0], height = ny - top < t->side[1] ? ny - top : t->side[1];
    if (!decode_tile(t, h, tile, width * height, b.u16 != NULL, s)) return false;
    for (int64_t k = 0; k < height; k++) {
        int64_t y = top + k;
        if (y < b.y0 || y >= b.y1) continue;
        if (b.f32)
            memcpy(b.f32 + (y - b.y0) * nx + x0, s->floats + k * width, (size_t)width * sizeof *b.f32);
        else
            memcpy(b.u16 + (y - b.y0) * nx + x0, s->shorts + k * width, (size_t)width * sizeof *b.u16);
    }
    return true;
}

/* No two tiles share a pixel, so no two threads write to the same place. The first bad tile is reported whatever the order. */
static enum err read_tiles(const struct tiles *t, const struct hdu *h, struct band b, struct error *err)
{
    int64_t first = b.y0 / t->side[1] * t->across, last = ((b.y1 - 1) / t->side[1] + 1) * t->across, bad = INT64_MAX;
    bool memory = true;
#pragma omp parallel default(none) shared(t, h, b, first, last, bad, memory)
    {
        struct scratch s = {0};
        bool mine = scratch_init(&s, t->side[0] * t->side[1]);
#pragma omp for schedule(static)
        for (int64_t i = first; i < last; i++) {
            if (mine && place_tile(t, h, i, b, &s)) continue;
#pragma omp critical(frameio_tiles)
            {
                if (!mine) memory = false;
                if (i < bad) bad = i;
            }
        }
        scratch_release(&s);
    }
    if (!memory) return ERROR(err, ERR_NOMEM, "no memory for a compressed image");
    if (bad == INT64_MAX) return ERR_OK;
    ERROR(err, ERR_CORRUPT, "cannot decode tile %lld of the compressed image", (long long)bad + 1);
    error_hint(err, "copy the file again from its source");
    return ERR_CORRUPT;
}

enum err tiles_read_rows(struct frameio_in *f, int hdu, int64_t y0, int64_t y1, float *f32, uint16_t *u16, struct error *err)
{
    const struct hdu *h = f->hdus[hdu - 1];
    struct band b = {y0, y1, f32, u16};
    enum err code = tiles_open(f, hdu, h, err);
    if (code) return code;
    return read_tiles(f->tiles, h, b, err);
}
