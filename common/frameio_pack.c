/* Tile compression of one image into memory: rows as tiles, RICE_1 for integers and quantised floats, GZIP_2 for floats that
 * must come back exactly. Source: FITS 4.0 section 10.
 *
 *     blocks of rows -> each thread packs whole blocks -> blocks joined in order
 *
 * A row's bytes depend on the row, its number and the seed alone, and blocks on the image's size alone: any number of
 * threads gives the same file.                                                                                      */
#include "common/frameio_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/frameio_codec.h"
#include "common/tiles.h"

#define RICE_BLOCK 32

void packed_release(struct packed *p)
{
    header_release(&p->cards);
    free(p->data);
    *p = (struct packed){0};
}

enum row_column { ROW_PACKED, ROW_GZIP }; /* which column of the table holds the row's bytes */

struct packed_row {
    int64_t offset, size;    /* in its block */
    enum row_column column;
    struct quantised key;
};

struct packed_block {
    uint8_t *bytes;
    int64_t size, capacity;
};

struct job {
    const struct image_hdu *hdu;
    int element;             /* bytes of a stored pixel */
    bool quantise, lossless; /* a float image: one of the two */
    float q;
    int seed;
    float *numbers;
    struct packed_row *rows;
    struct packed_block *blocks;
};

struct pack_scratch {
    int32_t *ints;
    float *work;             /* 2 nx */
    uint8_t *raw, *shuffled, *out;
};

static bool scratch_init(struct pack_scratch *s, int64_t nx)
{
    s->ints = mem_array((size_t)nx, sizeof *s->ints);
    s->work = mem_array((size_t)nx * 2, sizeof *s->work);
    s->raw = mem_array((size_t)nx, 4);
    s->shuffled = mem_array((size_t)nx, 4);
    s->out = mem_array(rice_bound(nx), 1);
    return s->ints && s->work && s->raw && s->shuffled && s->out;
}

static void scratch_release(struct pack_scratch *s)
{
    free(s->ints);
    free(s->work);
    free(s->raw);
    free(s->shuffled);
    free(s->out);
}

/* ---- one row ---------------------------------------------------------------------------------------------------- */

static bool append(struct packed_block *b, const uint8_t *bytes, size_t size)
{
    if (b->size + (int64_t)size > b->capacity) {
        int64_t capacity = b->capacity + b->capacity / 2 + (int64_t)size + 4096;
        uint8_t *bigger = realloc(b->bytes, (size_t)capacity);
        if (!bigger) return false;
        b->bytes = bigger;
        b->capacity = capacity;
    }
    memcpy(b->bytes + b->size, bytes, size);
    b->size += (int64_t)size;
    return true;
}

/* Integers as the file stores them: unsigned pixels lowered by 32768. */
static void load_ints(const struct image_hdu *hdu, int64_t y, int32_t *dst)
{
    int64_t n = hdu->nx, at = y * n;
    switch (hdu->type) {
    case IMAGE_U16:
        for (int64_t i = 0; i < n; i++) dst[i] = ((const uint16_t *)hdu->data)[at + i] - 32768;
        break;
    case IMAGE_I16:
        for (int64_t i = 0; i < n; i++) dst[i] = ((const int16_t *)hdu->data)[at + i];
        break;
    case IMAGE_U8:
        for (int64_t i = 0; i < n; i++) dst[i] = ((const uint8_t *)hdu->data)[at + i];
        break;
    default: memcpy(dst, (const int32_t *)hdu->data + at, (size_t)n * sizeof *dst);
    }
}

/* Floats without loss: shuffled where the whole image is GZIP_2, as they are for the odd row of a quantised image. */
static bool pack_lossless(const struct job *j, const float *src, struct packed_block *b, struct pack_scratch *s)
{
    int64_t n = j->hdu->nx;
    size_t size = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t v;
        memcpy(&v, src + i, sizeof v);
        v = __builtin_bswap32(v);
        memcpy(s->raw + 4 * i, &v, sizeof v);
    }
    if (j->lossless) bytes_shuffle(s->raw, s->shuffled, n, 4);
    uint8_t *bytes = gzip_encode(j->lossless ? s->shuffled : s->raw, (size_t)n * 4, &size);
    bool good = bytes && append(b, bytes, size);
    free(bytes);
    return good;
}

static bool pack_row(const struct job *j, int64_t y, struct packed_block *b, struct pack_scratch *s)
{
    const struct image_hdu *hdu = j->hdu;
    struct packed_row *row = &j->rows[y];
    const float *floats = hdu->type == IMAGE_F32 ? (const float *)hdu->data + y * hdu->nx : NULL;
    row->offset = b->size;
    bool good;
    if (!floats)
        load_ints(hdu, y, s->ints);
    else if (j->quantise && !quantise(floats, hdu->nx, y, j->seed, j->q, j->numbers, s->work, s->ints, &row->key))
        row->column = ROW_GZIP;
    if (j->lossless || row->column == ROW_GZIP)
        good = pack_lossless(j, floats, b, s);
    else
        good = append(b, s->out, rice_encode(s->ints, hdu->nx, j->element, RICE_BLOCK, s->out));
    row->size = b->size - row->offset;
    return good;
}

/* Blocks are disjoint in rows and own their bytes, so no two threads write to the same place. */
static bool pack_blocks(const struct job *j)
{
    int64_t n = row_blocks(j->hdu->ny);
    bool good = true;
#pragma omp parallel default(none) shared(j, n, good)
    {
        struct pack_scratch s = {0};
        bool mine = scratch_init(&s, j->hdu->nx);
#pragma omp for schedule(dynamic)
        for (int64_t k = 0; k < n; k++) {
            int64_t y0, y1;
            row_block(j->hdu->ny, k, &y0, &y1);
            for (int64_t y = y0; y < y1 && mine; y++) mine = pack_row(j, y, &j->blocks[k], &s);
        }
        if (!mine) {
#pragma omp atomic write
            good = false;
        }
        scratch_release(&s);
    }
    return good;
}

/* ---- the table -------------------------------------------------------------------------------------------------- */

static uint8_t *put_integer(uint8_t *p, uint64_t v, int bytes)
{
    for (int i = bytes - 1; i >= 0; i--) *p++ = (uint8_t)(v >> (8 * i));
    return p;
}

static uint8_t *put_double(uint8_t *p, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return put_integer(p, bits, 8);
}

struct layout {
    int width;               /* bytes of each half of a descriptor: 4 (P) or 8 (Q) */
    int64_t row_size, heap, longest;
};

static struct layout find_layout(const struct job *j)
{
    struct layout l = {.width = 4};
    for (int64_t k = 0; k < row_blocks(j->hdu->ny); k++) l.heap += j->blocks[k].size;
    for (int64_t y = 0; y < j->hdu->ny; y++) l.longest = j->rows[y].size > l.longest ? j->rows[y].size : l.longest;
    if (l.heap > INT32_MAX) l.width = 8;
    l.row_size = (j->quantise ? 2 : 1) * 2 * l.width + (j->quantise ? 16 : 0);
    return l;
}

static void put_row(const struct job *j, const struct layout *l, const struct packed_row *row, int64_t base, uint8_t *p)
{
    for (enum row_column c = ROW_PACKED; c <= (j->quantise ? ROW_GZIP : ROW_PACKED); c++) {
        bool here = row->column == c;
        p = put_integer(p, here ? (uint64_t)row->size : 0, l->width);
        p = put_integer(p, here ? (uint64_t)(base + row->offset) : 0, l->width);
    }
    if (!j->quantise) return;
    p = put_double(p, row->key.scale);
    put_double(p, row->key.zero);
}

static bool join(const struct job *j, const struct layout *l, struct packed *p)
{
    int64_t ny = j->hdu->ny, base = 0;
    p->size = l->row_size * ny + l->heap;
    p->data = malloc((size_t)p->size);
    if (!p->data) return false;
    for (int64_t k = 0; k < row_blocks(ny); k++) {
        int64_t y0, y1;
        row_block(ny, k, &y0, &y1);
        for (int64_t y = y0; y < y1; y++) put_row(j, l, &j->rows[y], base, p->data + y * l->row_size);
        memcpy(p->data + l->row_size * ny + base, j->blocks[k].bytes, (size_t)j->blocks[k].size);
        base += j->blocks[k].size;
    }
    return true;
}

static enum err column_card(struct header *h, int i, const char *name, const char *form)
{
    char keyword[16];
    snprintf(keyword, sizeof keyword, "TTYPE%d", i);
    enum err code = header_set_str(h, keyword, name, NULL);
    snprintf(keyword, sizeof keyword, "TFORM%d", i);
    return code ? code : header_set_str(h, keyword, form, NULL);
}

static enum err table_cards(struct header *h, const struct job *j, const struct layout *l)
{
    char form[40];
    snprintf(form, sizeof form, "1%cB(%lld)", l->width == 8 ? 'Q' : 'P', (long long)l->longest);
    enum err code = header_set_str(h, "XTENSION", "BINTABLE", "compressed image");
    if (!code) code = header_set_int(h, "BITPIX", 8, NULL);
    if (!code) code = header_set_int(h, "NAXIS", 2, NULL);
    if (!code) code = header_set_int(h, "NAXIS1", l->row_size, "bytes per row");
    if (!code) code = header_set_int(h, "NAXIS2", j->hdu->ny, "number of tiles");
    if (!code) code = header_set_int(h, "PCOUNT", l->heap, "bytes of the heap");
    if (!code) code = header_set_int(h, "GCOUNT", 1, NULL);
    if (!code) code = header_set_int(h, "TFIELDS", j->quantise ? 4 : 1, NULL);
    if (!code) code = column_card(h, 1, "COMPRESSED_DATA", form);
    if (!code && j->quantise) code = column_card(h, 2, "GZIP_COMPRESSED_DATA", form);
    if (!code && j->quantise) code = column_card(h, 3, "ZSCALE", "1D");
    if (!code && j->quantise) code = column_card(h, 4, "ZZERO", "1D");
    return code;
}

static enum err quantise_cards(struct header *h, const struct job *j)
{
    if (j->hdu->type != IMAGE_F32) return ERR_OK;
    if (j->lossless) return header_set_str(h, "ZQUANTIZ", "NONE", "no quantisation: pixels come back exactly");
    enum err code = header_set_int(h, "ZBLANK", QUANTISE_NULL, "integer that stands for NaN");
    if (!code) code = header_set_str(h, "ZQUANTIZ", "SUBTRACTIVE_DITHER_2", NULL);
    return code ? code : header_set_int(h, "ZDITHER0", j->seed, "start of the dither, from the exposure");
}

static enum err image_z_cards(struct header *h, const struct job *j, int bitpix)
{
    enum err code = header_set_bool(h, "ZIMAGE", true, "this table holds a compressed image");
    if (!code) code = header_set_str(h, "ZTENSION", "IMAGE", NULL);
    if (!code) code = header_set_int(h, "ZBITPIX", bitpix, NULL);
    if (!code) code = header_set_int(h, "ZNAXIS", 2, NULL);
    if (!code) code = header_set_int(h, "ZNAXIS1", j->hdu->nx, NULL);
    if (!code) code = header_set_int(h, "ZNAXIS2", j->hdu->ny, NULL);
    if (!code) code = header_set_int(h, "ZPCOUNT", 0, NULL);
    if (!code) code = header_set_int(h, "ZGCOUNT", 1, NULL);
    if (!code) code = header_set_int(h, "ZTILE1", j->hdu->nx, NULL);
    if (!code) code = header_set_int(h, "ZTILE2", 1, NULL);
    if (!code) code = header_set_str(h, "ZCMPTYPE", j->lossless ? "GZIP_2" : "RICE_1", NULL);
    if (!code && !j->lossless) code = header_set_str(h, "ZNAME1", "BLOCKSIZE", NULL);
    if (!code && !j->lossless) code = header_set_int(h, "ZVAL1", RICE_BLOCK, "pixels per block");
    if (!code && !j->lossless) code = header_set_str(h, "ZNAME2", "BYTEPIX", NULL);
    if (!code && !j->lossless) code = header_set_int(h, "ZVAL2", j->element, "bytes per pixel");
    if (!code) code = quantise_cards(h, j);
    if (!code && j->hdu->type == IMAGE_U16) code = header_set_int(h, "BZERO", 32768, "unsigned 16-bit pixels");
    if (!code && j->hdu->type == IMAGE_U16) code = header_set_int(h, "BSCALE", 1, NULL);
    return code;
}

/* ---- the whole -------------------------------------------------------------------------------------------------- */

static void job_release(struct job *j)
{
    for (int64_t k = 0; j->blocks && k < row_blocks(j->hdu->ny); k++) free(j->blocks[k].bytes);
    free(j->blocks);
    free(j->rows);
    free(j->numbers);
}

static bool job_init(struct job *j, const struct image_hdu *hdu, const struct images_write_options *opt)
{
    static const int element[] = {[IMAGE_U16] = 2, [IMAGE_I16] = 2, [IMAGE_I32] = 4, [IMAGE_F32] = 4, [IMAGE_U8] = 1};
    bool real = hdu->type == IMAGE_F32;
    *j = (struct job){.hdu = hdu, .element = element[hdu->type], .q = opt->quantise_q};
    j->quantise = real && opt->quantise_q > 0;
    j->lossless = real && !j->quantise;
    j->seed = opt->dither_seed < 1 ? 1 : (opt->dither_seed - 1) % DITHER_COUNT + 1;
    j->rows = calloc((size_t)hdu->ny, sizeof *j->rows);
    j->blocks = calloc((size_t)row_blocks(hdu->ny), sizeof *j->blocks);
    j->numbers = malloc(DITHER_COUNT * sizeof *j->numbers);
    if (!j->rows || !j->blocks || !j->numbers) return false;
    dither_numbers(j->numbers);
    return true;
}

enum err pack_image(const struct image_hdu *hdu, const struct images_write_options *opt, struct packed *ret, struct error *err)
{
    static const int bitpix[] = {[IMAGE_U16] = 16, [IMAGE_I16] = 16, [IMAGE_I32] = 32, [IMAGE_F32] = -32, [IMAGE_U8] = 8};
    struct job j;
    struct packed p = {0};
    bool good = job_init(&j, hdu, opt) && pack_blocks(&j);
    if (good) {
        struct layout l = find_layout(&j);
        good = join(&j, &l, &p) && !table_cards(&p.cards, &j, &l) && !image_z_cards(&p.cards, &j, bitpix[hdu->type]);
    }
    job_release(&j);
    if (!good) {
        packed_release(&p);
        return ERROR(err, ERR_NOMEM, "no memory to compress an image");
    }
    *ret = p;
    return ERR_OK;
}
