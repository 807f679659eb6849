/* The calibrated frame as a file: empty primary, SCI, VAR, MASK.
 *
 *     HDU 1  primary   the header's cards without sky coordinates, COMMENT and HISTORY
 *         2  SCI       all cards; BUNIT as the frame says
 *         3  VAR       sky coordinates; BUNIT squared
 *         4  MASK      sky coordinates; MP_NAME = bit number for each plane of maskbits.h                          */
#include "common/frameio_internal.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/arena.h"
#include "common/products.h"

static const char *const sky_cards[] = {"WCSAXES", "WCSNAME", "CTYPE?",  "CUNIT?",  "CRVAL?",  "CRPIX?", "CDELT?",  "CROTA?",
                                        "CD?_?",   "PC?_?",   "PV?_*",   "A_*",     "B_*",     "AP_*",   "BP_*",    "RADESYS",
                                        "RADECSYS", "EQUINOX", "EPOCH",   "LONPOLE", "LATPOLE",
                                        "CRDER?",  "CSYER?",  "CNAME?",  "PS?_*"};
static const char *const time_cards[] = {"MJD-OBS", "DATE-OBS", "TIMESYS"};

#define COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))

static bool matches(const char *keyword, const char *const *patterns, int n)
{
    for (int i = 0; i < n; i++)
        if (fnmatch(patterns[i], keyword, 0) == 0) return true;
    return false;
}

static bool sky_wants(const char *keyword)
{
    return matches(keyword, sky_cards, COUNT(sky_cards)) || matches(keyword, time_cards, COUNT(time_cards));
}

static bool primary_wants(const char *keyword)
{
    return *keyword && strcmp(keyword, "COMMENT") && strcmp(keyword, "HISTORY") && strcmp(keyword, "BUNIT") &&
           !matches(keyword, sky_cards, COUNT(sky_cards));
}

static enum err select_cards(struct header *dst, const struct header *src, bool (*wants)(const char *), struct error *err)
{
    bool wanted = false;
    for (int64_t i = 0; i < src->n; i++) {
        const char *card = src->text + i * CARD_LENGTH;
        char keyword[9];
        card_keyword(card, keyword);
        if (strcmp(keyword, "CONTINUE") != 0) wanted = wants(keyword);
        enum err code = wanted ? header_append_card(dst, card) : ERR_OK;
        if (code) return ERROR(err, code, "no memory for a header");
    }
    return ERR_OK;
}

/* "electron" to "electron**2", the square in the unit grammar of FITS 4.0 section 4.3. */
static void square_unit(const char *unit, char *ret, size_t size)
{
    bool simple = strspn(unit, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == strlen(unit);
    snprintf(ret, size, simple ? "%s**2" : "(%s)**2", unit);
}

static enum err set_mask_cards(struct header *h)
{
    enum err code = ERR_OK;
#define X(name, bit, what)                                                                                             \
    if (!code) code = header_set_int(h, "MP_" #name, bit, what);
    MASK_PLANES(X)
#undef X
    return code;
}

struct product_headers {
    struct header primary, sci, var, mask;
};

static void headers_release(struct product_headers *h)
{
    header_release(&h->primary);
    header_release(&h->sci);
    header_release(&h->var);
    header_release(&h->mask);
}

static enum err make_headers(struct product_headers *h, const struct frame *f, struct error *err)
{
    char squared[40];
    square_unit(f->unit, squared, sizeof squared);
    enum err code = select_cards(&h->primary, &f->header, primary_wants, err);
    if (!code) code = header_copy(&h->sci, &f->header, err);
    if (!code) code = select_cards(&h->var, &f->header, sky_wants, err);
    if (!code) code = header_copy(&h->mask, &h->var, err);
    if (code) return code;
    if (f->unit[0]) code = header_set_str(&h->sci, "BUNIT", f->unit, "unit of the pixels");
    if (f->unit[0] && !code) code = header_set_str(&h->var, "BUNIT", squared, "unit of the variance");
    if (!code) code = set_mask_cards(&h->mask);
    return code ? ERROR(err, code, "no memory for a header") : ERR_OK;
}

enum err frameio_write_product(const char *path, const struct frame *f, const struct frameio_write_options *opt,
                               struct error *err)
{
    struct product_headers h = {0};
    enum err code = make_headers(&h, f, err);
    if (!code) {
        struct image_hdu hdus[4] = {{.type = IMAGE_EMPTY, .header = &h.primary},
                                    {IMAGE_F32, f->nx, f->ny, f->sci, &h.sci, EXT_SCI}};
        int n = 2;
        if (f->var) hdus[n++] = (struct image_hdu){IMAGE_F32, f->nx, f->ny, f->var, &h.var, EXT_VAR};
        if (f->mask) hdus[n++] = (struct image_hdu){IMAGE_U16, f->nx, f->ny, f->mask, &h.mask, EXT_MASK};
        struct images_write_options images = {
            .compress = opt->compress, .quantise_q = opt->quantise_q, .dither_seed = opt->dither_seed, .checksum = true, .loose = opt->loose};
        code = frameio_write_images(path, hdus, n, &images, err);
    }
    headers_release(&h);
    return code;
}

/* ---- reading back ----------------------------------------------------------------------------------------------- */

/* The image of that name, 0 if none. */
static int find_image(struct frameio_in *f, const char *extname)
{
    for (int i = 0; i < f->n; i++)
        if (hdu_is_image(f->hdus[i]) && !strcasecmp(f->hdus[i]->info.extname, extname)) return i + 1;
    return 0;
}

static enum err same_size(struct frameio_in *f, int hdu, const struct frame *frame, struct error *err)
{
    const struct hdu_info *info = &f->hdus[hdu - 1]->info;
    if (info->axis[0] == frame->nx && info->axis[1] == frame->ny) return ERR_OK;
    ERROR(err, ERR_SHAPE, "plane '%s' is %lld x %lld pixels, SCI is %lld x %lld", info->extname, (long long)info->axis[0],
          (long long)info->axis[1], (long long)frame->nx, (long long)frame->ny);
    return hdu_error(f, hdu, err, ERR_SHAPE);
}

static enum err read_var(struct frameio_in *f, int hdu, struct frame *frame, struct error *err)
{
    enum err code = same_size(f, hdu, frame, err);
    if (code) return code;
    frame->var = mem_array((size_t)frame_npix(frame), sizeof *frame->var);
    if (!frame->var) return ERROR(err, ERR_NOMEM, "no memory for the variance plane");
    return frameio_read_rows_f32(f, hdu, 0, frame->ny, frame->var, err);
}

/* A mask written by others may be signed or wider: bits beyond 16 are lost, as there is no room for them. */
static enum err read_wide_mask(struct frameio_in *f, int hdu, struct frame *frame, struct error *err)
{
    float *row = mem_array((size_t)frame->nx, sizeof *row);
    enum err code = row ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory for the mask plane");
    for (int64_t y = 0; y < frame->ny && !code; y++) {
        code = frameio_read_rows_f32(f, hdu, y, y + 1, row, err);
        for (int64_t x = 0; x < frame->nx && !code; x++)
            frame->mask[y * frame->nx + x] = row[x] >= 0 && row[x] < 65536 ? (mask_t)row[x] : MASK_NO_DATA;
    }
    free(row);
    return code;
}

static enum err read_mask(struct frameio_in *f, int hdu, struct frame *frame, struct error *err)
{
    enum err code = same_size(f, hdu, frame, err);
    if (code) return code;
    frame->mask = mem_array((size_t)frame_npix(frame), sizeof *frame->mask);
    if (!frame->mask) return ERROR(err, ERR_NOMEM, "no memory for the mask plane");
    if (!f->hdus[hdu - 1]->info.unsigned16) return read_wide_mask(f, hdu, frame, err);
    return frameio_read_rows_u16(f, hdu, 0, frame->ny, frame->mask, err);
}

enum err frameio_read_product(const char *path, struct frame *ret, struct error *err)
{
    struct frameio_in *f = NULL;
    struct frame frame;
    frame_init(&frame);
    enum err code = frameio_open(path, &f, err);
    if (code) return code;
    if (f->doubt.code) { /* a product cut short has lost a plane */
        if (err) *err = f->doubt;
        code = f->doubt.code;
    }
    int sci = find_image(f, EXT_SCI), var = find_image(f, EXT_VAR), mask = find_image(f, EXT_MASK);
    if (!code) code = read_sci(f, sci ? sci : frameio_first_image(f), &frame, err);
    if (!code && var) code = read_var(f, var, &frame, err);
    if (!code && mask) code = read_mask(f, mask, &frame, err);
    frameio_close(f);
    if (code) {
        frame_release(&frame);
        error_subject(err, path, 0);
        return code;
    }
    error_clear(err);
    *ret = frame;
    return ERR_OK;
}
