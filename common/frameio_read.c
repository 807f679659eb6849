/* Reading images and headers. Pixels of plain images are read and converted here; compressed ones in frameio_tiles.c. */
#include "common/frameio_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/maskbits.h"
#include "common/products.h"

#define SCRATCH_SIZE (1 << 16) /* stays in the second-level cache between pread and conversion */

/* ---- opening ---------------------------------------------------------------------------------------------------- */

enum err frameio_open_lazily(const char *path, struct frameio_in **ret, struct error *err)
{
    struct source *source = NULL;
    enum err code = source_open(path, &source, err);
    return code ? code : scan_open(source, ret, err);
}

enum err frameio_open(const char *path, struct frameio_in **ret, struct error *err)
{
    struct frameio_in *f = NULL;
    enum err code = frameio_open_lazily(path, &f, err);
    while (!code && !f->scanned) code = scan_next(f, err);
    if (code) {
        frameio_close(f);
        return code;
    }
    if (err && f->doubt.message[0]) {
        *err = f->doubt;
        err->code = ERR_OK; /* the file can be used; its message says what is wrong with the tail */
    }
    *ret = f;
    return ERR_OK;
}

int frameio_hdu_count(struct frameio_in *f)
{
    while (!f->scanned && scan_next(f, NULL) == ERR_OK) continue;
    return f->n;
}

int frameio_first_image(struct frameio_in *f)
{
    int hdu = 0;
    return scan_first_image(f, &hdu, NULL) == ERR_OK ? hdu : 0;
}

enum err frameio_hdu_info(struct frameio_in *f, int hdu, struct hdu_info *ret, struct error *err)
{
    struct hdu *h = NULL;
    enum err code = scan_hdu(f, hdu, &h, err);
    if (code) return hdu_error(f, hdu, err, code);
    *ret = h->info;
    return ERR_OK;
}

enum err frameio_hdu_header(struct frameio_in *f, int hdu, struct header *ret, struct error *err)
{
    struct hdu *h = NULL;
    enum err code = scan_hdu(f, hdu, &h, err);
    if (!code) code = image_cards(h, ret, err);
    return code ? hdu_error(f, hdu, err, code) : ERR_OK;
}

/* ---- pixels ----------------------------------------------------------------------------------------------------- */

static inline uint16_t load16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return __builtin_bswap16(v);
}

static inline uint32_t load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return __builtin_bswap32(v);
}

static inline uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return __builtin_bswap64(v);
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "FITS is big-endian; the loads above swap");

static void convert_u8(const uint8_t *restrict src, float *restrict dst, int64_t n, double scale, double zero)
{
    for (int64_t i = 0; i < n; i++) dst[i] = (float)(zero + scale * src[i]);
}

static void convert_i16(const uint8_t *restrict src, float *restrict dst, int64_t n, double scale, double zero)
{
    if (scale == 1 && zero == floor(zero) && fabs(zero) <= 32768) { /* exact in float, and twice as fast */
        float fzero = (float)zero;
        for (int64_t i = 0; i < n; i++) dst[i] = (float)(int16_t)load16(src + 2 * i) + fzero;
        return;
    }
    for (int64_t i = 0; i < n; i++) dst[i] = (float)(zero + scale * (int16_t)load16(src + 2 * i));
}

static void convert_i32(const uint8_t *restrict src, float *restrict dst, int64_t n, double scale, double zero)
{
    for (int64_t i = 0; i < n; i++) dst[i] = (float)(zero + scale * (int32_t)load32(src + 4 * i));
}

static void convert_i64(const uint8_t *restrict src, float *restrict dst, int64_t n, double scale, double zero)
{
    for (int64_t i = 0; i < n; i++) dst[i] = (float)(zero + scale * (double)(int64_t)load64(src + 8 * i));
}

static void convert_f32(const uint8_t *restrict src, float *restrict dst, int64_t n, double scale, double zero)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = load32(src + 4 * i);
        memcpy(&dst[i], &bits, sizeof bits);
    }
    if (scale == 1 && zero == 0) return;
    for (int64_t i = 0; i < n; i++) dst[i] = (float)(zero + scale * dst[i]);
}

static void convert_f64(const uint8_t *restrict src, float *restrict dst, int64_t n, double scale, double zero)
{
    for (int64_t i = 0; i < n; i++) {
        uint64_t bits = load64(src + 8 * i);
        double v;
        memcpy(&v, &bits, sizeof v);
        dst[i] = (float)(zero + scale * v);
    }
}

static int64_t load_integer(const uint8_t *src, int bitpix, int64_t i)
{
    switch (bitpix) {
    case 8: return src[i];
    case 16: return (int16_t)load16(src + 2 * i);
    case 32: return (int32_t)load32(src + 4 * i);
    default: return (int64_t)load64(src + 8 * i);
    }
}

void pixels_to_floats(const struct hdu *h, const uint8_t *src, float *dst, int64_t n)
{
    switch (h->info.bitpix) {
    case 8: convert_u8(src, dst, n, h->bscale, h->bzero); break;
    case 16: convert_i16(src, dst, n, h->bscale, h->bzero); break;
    case 32: convert_i32(src, dst, n, h->bscale, h->bzero); break;
    case 64: convert_i64(src, dst, n, h->bscale, h->bzero); break;
    case -32: convert_f32(src, dst, n, h->bscale, h->bzero); break;
    default: convert_f64(src, dst, n, h->bscale, h->bzero); break;
    }
    for (int64_t i = 0; h->has_blank && i < n; i++)
        if (load_integer(src, h->info.bitpix, i) == h->blank) dst[i] = NAN;
}

/* Find the HDU and check that rows [y0, y1) are there to be read. */
static enum err image_rows(struct frameio_in *f, int hdu, int64_t y0, int64_t y1, struct hdu **ret, struct error *err)
{
    struct hdu *h = NULL;
    enum err code = scan_hdu(f, hdu, &h, err);
    if (code) return code;
    if (!hdu_is_image(h)) {
        const char *what = h->info.kind != HDU_IMAGE ? "is a table"
                           : h->groups               ? "holds random groups"
                           : h->foreign              ? "is an extension of unknown type"
                           : h->info.naxis == 0 || h->data_size == 0 ? "holds no pixels"
                           : h->info.naxis < 2       ? "has a single axis"
                                                     : "is a cube of more than one plane";
        ERROR(err, ERR_UNSUPPORTED, "HDU %s, not a two-dimensional image", what);
        error_hint(err, "name the HDU of an image");
        return ERR_UNSUPPORTED;
    }
    if (h->info.axis[0] > FRAME_MAX_SIDE || h->info.axis[1] > FRAME_MAX_SIDE)
        return ERROR(err, ERR_UNSUPPORTED, "image of %lld x %lld pixels is too large (sides up to %d)",
                     (long long)h->info.axis[0], (long long)h->info.axis[1], FRAME_MAX_SIDE);
    if (h->bscale == 0) return ERROR(err, ERR_CORRUPT, "keyword BSCALE is 0");
    if (y0 < 0 || y1 < y0 || y1 > h->info.axis[1])
        return ERROR(err, ERR_SHAPE, "rows %lld to %lld leave the image of %lld rows", (long long)y0, (long long)y1,
                     (long long)h->info.axis[1]);
    *ret = h;
    return hdu_require_data(f, hdu, h, err);
}

/* Read exactly n bytes of the data unit; the file may have shrunk since it was measured. */
static enum err read_exactly(struct frameio_in *f, const struct hdu *h, int64_t offset, void *dst, int64_t n, struct error *err)
{
    int64_t got = 0;
    enum err code = source_read(f->source, h->data_at + offset, dst, n, &got, err);
    if (!code && got < n) code = ERROR(err, ERR_CORRUPT, "data end early: the file shrank while it was read");
    return code;
}

static enum err read_plain_f32(struct frameio_in *f, const struct hdu *h, int64_t y0, int64_t y1, float *dst, struct error *err)
{
    _Alignas(64) uint8_t scratch[SCRATCH_SIZE];
    int64_t size = llabs(h->info.bitpix) / 8, chunk = SCRATCH_SIZE / size;
    int64_t first = y0 * h->info.axis[0], n = (y1 - y0) * h->info.axis[0];
    for (int64_t done = 0; done < n;) {
        int64_t k = n - done < chunk ? n - done : chunk;
        enum err code = read_exactly(f, h, (first + done) * size, scratch, k * size, err);
        if (code) return code;
        pixels_to_floats(h, scratch, dst + done, k);
        done += k;
    }
    return ERR_OK;
}

enum err frameio_read_rows_f32(struct frameio_in *f, int hdu, int64_t y0, int64_t y1, float *dst, struct error *err)
{
    struct hdu *h = NULL;
    enum err code = image_rows(f, hdu, y0, y1, &h, err);
    if (!code && y1 > y0)
        code = h->info.compressed ? tiles_read_rows(f, hdu, y0, y1, dst, NULL, err) : read_plain_f32(f, h, y0, y1, dst, err);
    return code ? hdu_error(f, hdu, err, code) : ERR_OK;
}

/* Stored int16 - 32768: swapping the bytes and flipping the top bit gives the unsigned pixel. */
static enum err read_plain_u16(struct frameio_in *f, const struct hdu *h, int64_t y0, int64_t y1, uint16_t *dst, struct error *err)
{
    const int64_t chunk = SCRATCH_SIZE / 2;
    int64_t first = y0 * h->info.axis[0], n = (y1 - y0) * h->info.axis[0];
    for (int64_t done = 0; done < n;) {
        int64_t k = n - done < chunk ? n - done : chunk;
        uint16_t *to = dst + done;
        enum err code = read_exactly(f, h, (first + done) * 2, to, k * 2, err);
        if (code) return code;
        for (int64_t i = 0; i < k; i++) to[i] = (uint16_t)(__builtin_bswap16(to[i]) ^ 0x8000u);
        done += k;
    }
    return ERR_OK;
}

enum err frameio_read_rows_u16(struct frameio_in *f, int hdu, int64_t y0, int64_t y1, uint16_t *dst, struct error *err)
{
    struct hdu *h = NULL;
    enum err code = image_rows(f, hdu, y0, y1, &h, err);
    if (!code && !h->info.unsigned16) code = ERROR(err, ERR_UNSUPPORTED, "image does not hold unsigned 16-bit pixels");
    if (!code && y1 > y0)
        code = h->info.compressed ? tiles_read_rows(f, hdu, y0, y1, NULL, dst, err) : read_plain_u16(f, h, y0, y1, dst, err);
    return code ? hdu_error(f, hdu, err, code) : ERR_OK;
}

/* ---- headers and frames ----------------------------------------------------------------------------------------- */

/* The name a card is found by: HIERARCH cards by their long name. */
static void card_long_name(const char *card, char name[CARD_LENGTH + 1])
{
    card_keyword(card, name);
    const char *equals = memchr(card, '=', CARD_LENGTH);
    if (strcmp(name, "HIERARCH") || !equals || equals < card + 9) return;
    snprintf(name, CARD_LENGTH + 1, "%.*s", (int)(equals - card - 9), card + 9);
    for (size_t n = strlen(name); n && name[n - 1] == ' ';) name[--n] = '\0';
}

/* Append the primary's cards that the extension lacks. COMMENT, HISTORY and blank cards stay where they are, as the
 * INHERIT convention says (FITS 4.0, 4.4.2.6). */
static enum err inherit(struct header *ext, const struct header *primary, struct error *err)
{
    bool wanted = true;
    if (header_get_bool(ext, "INHERIT", &wanted) && !wanted) return ERR_OK;
    bool copying = false;
    int64_t own = ext->n;
    for (int64_t i = 0; i < primary->n; i++) {
        const char *card = primary->text + i * CARD_LENGTH;
        char name[CARD_LENGTH + 1];
        card_long_name(card, name);
        if (strcmp(name, "CONTINUE") != 0) {
            struct header mine = {ext->text, own, ext->capacity}; /* repeated keywords of the primary come along */
            copying = name[0] && strcmp(name, "COMMENT") && strcmp(name, "HISTORY") && !is_structural(name) &&
                      !header_has(&mine, name);
        }
        enum err code = copying ? header_append_card(ext, card) : ERR_OK;
        if (code) return ERROR(err, code, "no memory for a header");
    }
    return ERR_OK;
}

static enum err merged_header(struct frameio_in *f, int hdu, struct header *ret, struct error *err)
{
    struct hdu *h = NULL;
    enum err code = scan_hdu(f, hdu, &h, err);
    if (!code) code = image_cards(h, ret, err);
    if (!code && hdu > 1) code = inherit(ret, &f->hdus[0]->cards, err);
    return code ? hdu_error(f, hdu, err, code) : ERR_OK;
}

enum err frameio_merged_header(struct frameio_in *f, int hdu, struct header *ret, struct error *err)
{
    struct hdu *h = NULL;
    struct header merged;
    header_init(&merged);
    enum err code = scan_hdu(f, hdu, &h, err);
    if (!code && !source_is_inflated(f->source)) code = hdu_require_data(f, hdu, h, err);
    if (!code) code = merged_header(f, hdu, &merged, err);
    if (code) {
        header_release(&merged);
        return hdu_error(f, hdu, err, code);
    }
    header_release(ret);
    *ret = merged;
    return ERR_OK;
}

enum err frameio_read_header(const char *path, int hdu, struct header *ret, struct error *err)
{
    struct frameio_in *f = NULL;
    enum err code = frameio_open_lazily(path, &f, err);
    if (!code && hdu == 0) code = scan_first_image(f, &hdu, err);
    if (!code && hdu == 0) hdu = 1;
    if (!code) code = frameio_merged_header(f, hdu, ret, err);
    frameio_close(f);
    if (code) error_subject(err, path, hdu);
    return code;
}

static enum err no_image(struct frameio_in *f, struct error *err)
{
    if (f->doubt.code) { /* the image may have been in the damaged tail */
        if (err) *err = f->doubt;
        return f->doubt.code;
    }
    ERROR(err, ERR_UNSUPPORTED, "file holds no two-dimensional image");
    return hdu_error(f, 0, err, ERR_UNSUPPORTED);
}

enum err read_sci(struct frameio_in *f, int hdu, struct frame *ret, struct error *err)
{
    struct hdu *h = NULL;
    if (hdu == 0) return no_image(f, err);
    enum err code = image_rows(f, hdu, 0, 0, &h, err); /* data are known to be there before memory is asked for */
    if (!code) code = frame_alloc(ret, h->info.axis[0], h->info.axis[1], FRAME_SCI, err);
    if (!code) code = frameio_read_rows_f32(f, hdu, 0, ret->ny, ret->sci, err);
    if (!code) code = merged_header(f, hdu, &ret->header, err);
    if (code) return hdu_error(f, hdu, err, code);
    if (!header_get_str(&ret->header, "BUNIT", ret->unit, sizeof ret->unit) || !ret->unit[0])
        snprintf(ret->unit, sizeof ret->unit, "adu");
    return ERR_OK;
}

enum err frameio_read_image(const char *path, int hdu, struct frame *ret, struct error *err)
{
    struct frameio_in *f = NULL;
    struct frame frame;
    frame_init(&frame);
    enum err code = frameio_open_lazily(path, &f, err);
    if (!code && hdu == 0) code = scan_first_image(f, &hdu, err);
    if (!code) code = read_sci(f, hdu, &frame, err);
    frameio_close(f);
    if (code) {
        frame_release(&frame);
        error_subject(err, path, hdu);
        return code;
    }
    *ret = frame;
    return ERR_OK;
}
