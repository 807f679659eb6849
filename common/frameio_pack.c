/* Tile compression of one image into memory, through cfitsio. Source: FITS 4.0 section 10; White et al. 2012 (dithering).
 *
 * cfitsio writes a memory file; the HDU is taken out of it, and its header is written again by us in a fixed order, so that
 * neither its clock nor its comments get into a product.                                                            */
#include "common/frameio_internal.h"

#include <fitsio.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NULL_PIXEL (-9.11912E-36f) /* what cfitsio itself writes for a blank float pixel */

void packed_release(struct packed *p)
{
    header_release(&p->cards);
    free(p->data);
    *p = (struct packed){0};
}

static enum err pack_error(struct error *err, int status)
{
    char text[FLEN_STATUS] = "";
    fits_get_errstatus(status, text);
    fits_clear_errmsg();
    enum err code = status == MEMORY_ALLOCATION ? ERR_NOMEM : ERR_INTERNAL;
    ERROR(err, code, "cannot compress the image: %s", text);
    error_library(err, status);
    return code;
}

/* cfitsio takes bytes of a memory file that were never written for tile descriptors, as it would read zeros from a hole in
 * a file; so memory grows with zeros. The block's size stands in front of it.                                       */
#define PREFIX 64

static void *zero_realloc(void *p, size_t size)
{
    char *block = p ? (char *)p - PREFIX : NULL;
    size_t old = block ? *(size_t *)(void *)block : 0;
    block = realloc(block, size + PREFIX);
    if (!block) return NULL;
    if (size > old) memset(block + PREFIX + old, 0, size - old);
    *(size_t *)(void *)block = size;
    return block + PREFIX;
}

static void zero_free(void *p)
{
    if (p) free((char *)p - PREFIX);
}

static void choose_codec(fitsfile *file, const struct image_hdu *hdu, const struct images_write_options *opt, int *status)
{
    bool lossless_float = hdu->type == IMAGE_F32 && opt->quantise_q <= 0;
    long tile[2] = {(long)hdu->nx, 1};
    fits_set_compression_type(file, lossless_float ? GZIP_2 : RICE_1, status);
    fits_set_tile_dim(file, 2, tile, status);
    if (hdu->type != IMAGE_F32) return;
    fits_set_quantize_level(file, lossless_float ? 0.0f : opt->quantise_q, status);
    if (lossless_float) return;
    fits_set_quantize_dither(file, SUBTRACTIVE_DITHER_2, status);
    fits_set_dither_seed(file, opt->dither_seed, status);
}

/* NaN pixels become the value that cfitsio knows as blank, row by row: the image may not be changed nor copied whole. */
static void write_floats(fitsfile *file, const struct image_hdu *hdu, float *row, int *status)
{
    const float *pixels = hdu->data;
    float blank = NULL_PIXEL;
    for (int64_t y = 0; y < hdu->ny && !*status; y++) {
        long first[2] = {1, (long)y + 1};
        for (int64_t x = 0; x < hdu->nx; x++) row[x] = isnan(pixels[y * hdu->nx + x]) ? NULL_PIXEL : pixels[y * hdu->nx + x];
        fits_write_pixnull(file, TFLOAT, first, hdu->nx, row, &blank, status);
    }
}

static void write_pixels(fitsfile *file, const struct image_hdu *hdu, float *row, int *status)
{
    static const int bitpix[] = {USHORT_IMG, SHORT_IMG, LONG_IMG, FLOAT_IMG, BYTE_IMG};
    static const int type[] = {TUSHORT, TSHORT, TINT, TFLOAT, TBYTE};
    long axes[2] = {(long)hdu->nx, (long)hdu->ny}, first[2] = {1, 1};
    fits_create_img(file, bitpix[hdu->type], 2, axes, status);
    if (hdu->type == IMAGE_F32)
        write_floats(file, hdu, row, status);
    else
        fits_write_pix(file, type[hdu->type], first, hdu->nx * hdu->ny, (void *)hdu->data, status);
}

/* Cards of the table and of the compression, in the order cfitsio wrote them, without its comments. */
static bool is_kept(const char *card)
{
    char keyword[9];
    snprintf(keyword, sizeof keyword, "%.8s", card);
    for (size_t n = strlen(keyword); n && keyword[n - 1] == ' ';) keyword[--n] = '\0';
    return is_structural(keyword) && strcmp(keyword, "EXTNAME") && strcmp(keyword, "CHECKSUM") && strcmp(keyword, "DATASUM") &&
           strcmp(keyword, "LONGSTRN") && strcmp(keyword, "DATAMIN") && strcmp(keyword, "DATAMAX");
}

/* Take the second HDU out of the memory file. */
static enum err take_hdu(const void *memory, size_t size, struct packed *ret, struct error *err)
{
    struct frameio_in *f = NULL;
    struct hdu *h = NULL;
    struct source *source = source_memory(memory, (int64_t)size);
    if (!source) return ERROR(err, ERR_NOMEM, "no memory for a compressed image");
    enum err code = scan_open(source, &f, err);
    if (code) return code;
    struct packed p = {0};
    code = scan_hdu(f, 2, &h, err);
    if (!code) code = hdu_require_data(f, 2, h, err);
    for (int64_t i = 0; !code && i < h->cards.n; i++)
        if (is_kept(h->cards.text + i * CARD_LENGTH)) code = header_append_card(&p.cards, h->cards.text + i * CARD_LENGTH);
    if (!code) {
        p.size = h->data_size;
        p.data = malloc((size_t)p.size + 1);
        if (p.data)
            memcpy(p.data, (const char *)memory + h->data_at, (size_t)p.size);
        else
            code = ERROR(err, ERR_NOMEM, "no memory for a compressed image");
    }
    frameio_close(f);
    if (code)
        packed_release(&p);
    else
        *ret = p;
    return code;
}

enum err pack_image(const struct image_hdu *hdu, const struct images_write_options *opt, struct packed *ret, struct error *err)
{
    size_t size = 0;
    void *memory = NULL;
    float *row = malloc((size_t)hdu->nx * sizeof *row);
    fitsfile *file = NULL;
    int status = row ? 0 : MEMORY_ALLOCATION;
    if (!status) fits_create_memfile(&file, &memory, &size, 1 << 20, zero_realloc, &status);
    if (!status) choose_codec(file, hdu, opt, &status);
    if (!status) write_pixels(file, hdu, row, &status);
    int close_status = 0;
    if (file) fits_close_file(file, &close_status);
    if (!status) status = close_status;
    enum err code = status ? pack_error(err, status) : take_hdu(memory, size, ret, err);
    fits_clear_errmsg();
    zero_free(memory);
    free(row);
    return code;
}
