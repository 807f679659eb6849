/* Writing images: plain HDUs byte by byte here, compressed ones from frameio_pack.c. */
#include "common/frameio_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/products.h"

#define SCRATCH_SIZE (1 << 16)

static const struct {
    int bitpix, size;
} types[] = {[IMAGE_U16] = {16, 2}, [IMAGE_I16] = {16, 2}, [IMAGE_I32] = {32, 4}, [IMAGE_F32] = {-32, 4}, [IMAGE_U8] = {8, 1}, [IMAGE_EMPTY] = {8, 1}};

/* ---- headers ---------------------------------------------------------------------------------------------------- */

static enum err structure_cards(struct header *h, const struct image_hdu *hdu, bool primary)
{
    bool empty = hdu->type == IMAGE_EMPTY;
    enum err code = primary ? header_set_bool(h, "SIMPLE", true, "conforms to FITS standard")
                            : header_set_str(h, "XTENSION", "IMAGE", "image extension");
    if (!code) code = header_set_int(h, "BITPIX", types[hdu->type].bitpix, "bits per pixel");
    if (!code) code = header_set_int(h, "NAXIS", empty ? 0 : 2, "number of axes");
    if (!code && !empty) code = header_set_int(h, "NAXIS1", hdu->nx, NULL);
    if (!code && !empty) code = header_set_int(h, "NAXIS2", hdu->ny, NULL);
    if (!code && primary) code = header_set_bool(h, "EXTEND", true, NULL);
    if (!code && !primary) code = header_set_int(h, "PCOUNT", 0, NULL);
    if (!code && !primary) code = header_set_int(h, "GCOUNT", 1, NULL);
    if (!code && hdu->type == IMAGE_U16) code = header_set_int(h, "BZERO", 32768, "unsigned 16-bit pixels");
    if (!code && hdu->type == IMAGE_U16) code = header_set_int(h, "BSCALE", 1, NULL);
    return code;
}

static enum err name_and_cards(struct header *h, const struct image_hdu *hdu, struct error *err)
{
    enum err code = hdu->extname ? header_set_str(h, "EXTNAME", hdu->extname, NULL) : ERR_OK;
    if (code) return ERROR(err, code, "no memory for a header");
    return copy_cards(h, hdu->header, err);
}

/* ---- data ------------------------------------------------------------------------------------------------------- */

static void swap16(const uint16_t *restrict src, uint8_t *restrict dst, int64_t n, unsigned flip)
{
    for (int64_t i = 0; i < n; i++) {
        uint16_t v = __builtin_bswap16((uint16_t)(src[i] ^ flip));
        memcpy(dst + 2 * i, &v, sizeof v);
    }
}

static void swap32(const uint8_t *restrict src, uint8_t *restrict dst, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t v;
        memcpy(&v, src + 4 * i, sizeof v);
        v = __builtin_bswap32(v);
        memcpy(dst + 4 * i, &v, sizeof v);
    }
}

static enum err write_plain_data(struct out *o, const struct image_hdu *hdu, struct error *err)
{
    _Alignas(64) uint8_t scratch[SCRATCH_SIZE];
    int64_t size = types[hdu->type].size, n = hdu->nx * hdu->ny, chunk = SCRATCH_SIZE / size;
    const uint8_t *src = hdu->data;
    for (int64_t done = 0; done < n;) {
        int64_t k = n - done < chunk ? n - done : chunk;
        if (size == 1)
            memcpy(scratch, src + done, (size_t)k);
        else if (size == 2)
            swap16((const uint16_t *)hdu->data + done, scratch, k, hdu->type == IMAGE_U16 ? 0x8000u : 0);
        else
            swap32(src + 4 * done, scratch, k);
        enum err code = out_data(o, scratch, k * size, err);
        if (code) return code;
        done += k;
    }
    return ERR_OK;
}

static enum err write_plain(struct out *o, const struct image_hdu *hdu, bool primary, struct error *err)
{
    enum err code = structure_cards(&o->cards, hdu, primary);
    if (code) return ERROR(err, code, "no memory for a header");
    code = name_and_cards(&o->cards, hdu, err);
    if (!code) code = out_begin_hdu(o, err);
    if (!code && hdu->type != IMAGE_EMPTY) code = write_plain_data(o, hdu, err);
    return code ? code : out_end_hdu(o, 0, err);
}

static enum err write_packed(struct out *o, const struct image_hdu *hdu, const struct packed *p, struct error *err)
{
    enum err code = header_copy(&o->cards, &p->cards, err);
    if (!code) code = name_and_cards(&o->cards, hdu, err);
    if (!code) code = out_begin_hdu(o, err);
    if (!code) code = out_data(o, p->data, p->size, err);
    return code ? code : out_end_hdu(o, 0, err);
}

static enum err write_compressed(struct out *o, const struct image_hdu *hdu, const struct images_write_options *opt, struct error *err)
{
    struct packed p = {0};
    enum err code = pack_image(hdu, opt, &p, err);
    if (!code) code = write_packed(o, hdu, &p, err);
    packed_release(&p);
    return code;
}

static enum err check_image(const struct image_hdu *hdu, struct error *err)
{
    if (hdu->type == IMAGE_EMPTY) return ERR_OK;
    if (hdu->nx < 1 || hdu->ny < 1 || hdu->nx > FRAME_MAX_SIDE || hdu->ny > FRAME_MAX_SIDE || !hdu->data)
        return ERROR(err, ERR_SHAPE, "cannot write an image of %lld x %lld pixels", (long long)hdu->nx, (long long)hdu->ny);
    return ERR_OK;
}

static enum err write_hdus(struct out *o, const struct image_hdu *hdus, int n, const struct images_write_options *opt, struct error *err)
{
    static const struct image_hdu empty = {.type = IMAGE_EMPTY};
    enum err code = ERR_OK;
    /* A compressed image is a table, which cannot come first. */
    bool headless = opt->compress && n > 0 && hdus[0].type != IMAGE_EMPTY;
    if (headless || n == 0) code = write_plain(o, &empty, true, err);
    for (int i = 0; i < n && !code; i++) {
        code = check_image(&hdus[i], err);
        if (code) break;
        if (opt->compress && hdus[i].type != IMAGE_EMPTY)
            code = write_compressed(o, &hdus[i], opt, err);
        else
            code = write_plain(o, &hdus[i], i == 0 && !headless, err);
    }
    return code;
}

enum err frameio_write_images(const char *path, const struct image_hdu *hdus, int n, const struct images_write_options *opt,
                              struct error *err)
{
    struct out o;
    enum err code = out_open(&o, path, opt->checksum, err);
    o.loose = opt->loose;
    if (!code) code = write_hdus(&o, hdus, n, opt, err);
    if (!code) code = out_commit(&o, err);
    out_abandon(&o);
    if (code) error_subject(err, path, 0);
    return code;
}
