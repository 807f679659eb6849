/* Writing binary tables and FITS_LDAC catalogues. Source: FITS 4.0 section 7.3; SExtractor and SCAMP manuals. */
#include "common/frameio_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/products.h"

#define BLOCK_BYTES (1 << 18) /* rows are turned to FITS order in blocks of about this size */

static const struct {
    char form;
    int size;
} types[] = {[COLUMN_I16] = {'I', 2}, [COLUMN_I32] = {'J', 4},    [COLUMN_I64] = {'K', 8},  [COLUMN_F32] = {'E', 4},
             [COLUMN_F64] = {'D', 8}, [COLUMN_STRING] = {'A', 1}, [COLUMN_BOOL] = {'L', 1}, [COLUMN_U8] = {'B', 1}};

static int64_t column_bytes(const struct column *c)
{
    return (int64_t)types[c->type].size * c->repeat;
}

/* ---- header ----------------------------------------------------------------------------------------------------- */

static enum err set_indexed(struct header *h, const char *stem, int i, const char *value, const char *comment)
{
    char keyword[16];
    if (!value || !*value) return ERR_OK;
    snprintf(keyword, sizeof keyword, "%s%d", stem, i + 1);
    return header_set_str(h, keyword, value, comment);
}

static enum err column_cards(struct header *h, const struct column *c, int i)
{
    char form[24];
    snprintf(form, sizeof form, "%d%c", c->repeat, types[c->type].form);
    enum err code = set_indexed(h, "TTYPE", i, c->name, c->comment);
    if (!code) code = set_indexed(h, "TFORM", i, form, NULL);
    if (!code) code = set_indexed(h, "TUNIT", i, c->unit, NULL);
    if (!code) code = set_indexed(h, "TUCD", i, c->ucd, NULL);
    if (!code) code = set_indexed(h, "TDISP", i, c->display, NULL);
    if (!code) code = set_indexed(h, "TDIM", i, c->dim, NULL);
    return code;
}

static enum err table_cards(struct header *h, const struct table_hdu *t, int64_t row_size, int extver)
{
    enum err code = header_set_str(h, "XTENSION", "BINTABLE", "binary table extension");
    if (!code) code = header_set_int(h, "BITPIX", 8, "bits per pixel");
    if (!code) code = header_set_int(h, "NAXIS", 2, "number of axes");
    if (!code) code = header_set_int(h, "NAXIS1", row_size, "bytes per row");
    if (!code) code = header_set_int(h, "NAXIS2", t->nrow, "number of rows");
    if (!code) code = header_set_int(h, "PCOUNT", 0, NULL);
    if (!code) code = header_set_int(h, "GCOUNT", 1, NULL);
    if (!code) code = header_set_int(h, "TFIELDS", t->ncol, "number of columns");
    if (!code && t->extname) code = header_set_str(h, "EXTNAME", t->extname, NULL);
    if (!code && extver > 1) code = header_set_int(h, "EXTVER", extver, NULL);
    for (int i = 0; i < t->ncol && !code; i++) code = column_cards(h, &t->columns[i], i);
    return code;
}

/* ---- rows ------------------------------------------------------------------------------------------------------- */

/* Copy n elements of the column's type into FITS order. */
static void put_cell(const struct column *c, int64_t row, uint8_t *dst)
{
    int64_t bytes = column_bytes(c);
    const uint8_t *src = (const uint8_t *)c->data + row * bytes;
    switch (types[c->type].size) {
    case 2:
        for (int64_t i = 0; i < bytes; i += 2) dst[i] = src[i + 1], dst[i + 1] = src[i];
        break;
    case 4:
        for (int64_t i = 0; i < bytes; i += 4) {
            uint32_t v;
            memcpy(&v, src + i, sizeof v);
            v = __builtin_bswap32(v);
            memcpy(dst + i, &v, sizeof v);
        }
        break;
    case 8:
        for (int64_t i = 0; i < bytes; i += 8) {
            uint64_t v;
            memcpy(&v, src + i, sizeof v);
            v = __builtin_bswap64(v);
            memcpy(dst + i, &v, sizeof v);
        }
        break;
    default:
        for (int64_t i = 0; i < bytes; i++) dst[i] = c->type == COLUMN_BOOL ? (src[i] ? 'T' : 'F') : src[i];
    }
}

static enum err write_rows(struct out *o, const struct table_hdu *t, int64_t row_size, struct error *err)
{
    int64_t per_block = BLOCK_BYTES / row_size > 0 ? BLOCK_BYTES / row_size : 1;
    uint8_t *block = malloc((size_t)(per_block * row_size));
    if (!block) return ERROR(err, ERR_NOMEM, "no memory for table rows");
    enum err code = ERR_OK;
    for (int64_t row = 0; row < t->nrow && !code; row += per_block) {
        int64_t n = t->nrow - row < per_block ? t->nrow - row : per_block, offset = 0;
        for (int c = 0; c < t->ncol; c++) {
            for (int64_t i = 0; i < n; i++) put_cell(&t->columns[c], row + i, block + i * row_size + offset);
            offset += column_bytes(&t->columns[c]);
        }
        code = out_data(o, block, n * row_size, err);
    }
    free(block);
    return code;
}

static enum err check_table(const struct table_hdu *t, int64_t *ret_row_size, struct error *err)
{
    int64_t size = 0;
    if (t->nrow < 0 || t->ncol < 1 || t->ncol > 999)
        return ERROR(err, ERR_SHAPE, "cannot write a table of %lld rows and %d columns", (long long)t->nrow, t->ncol);
    for (int i = 0; i < t->ncol; i++) {
        const struct column *c = &t->columns[i];
        if (c->repeat < 1 || (!c->data && t->nrow))
            return ERROR(err, ERR_SHAPE, "column '%s' has no elements", c->name);
        size += column_bytes(c);
    }
    *ret_row_size = size;
    return ERR_OK;
}

static enum err write_table(struct out *o, const struct table_hdu *t, int extver, struct error *err)
{
    int64_t row_size = 0;
    enum err code = check_table(t, &row_size, err);
    if (code) return code;
    code = table_cards(&o->cards, t, row_size, extver);
    if (code) return ERROR(err, code, "no memory for a header");
    code = copy_cards(&o->cards, t->header, err);
    if (!code) code = out_begin_hdu(o, err);
    if (!code) code = write_rows(o, t, row_size, err);
    return code ? code : out_end_hdu(o, 0, err);
}

static enum err write_primary(struct out *o, const struct header *cards, struct error *err)
{
    enum err code = header_set_bool(&o->cards, "SIMPLE", true, "conforms to FITS standard");
    if (!code) code = header_set_int(&o->cards, "BITPIX", 8, "bits per pixel");
    if (!code) code = header_set_int(&o->cards, "NAXIS", 0, "number of axes");
    if (!code) code = header_set_bool(&o->cards, "EXTEND", true, NULL);
    if (code) return ERROR(err, code, "no memory for a header");
    code = copy_cards(&o->cards, cards, err);
    if (!code) code = out_begin_hdu(o, err);
    return code ? code : out_end_hdu(o, 0, err);
}

enum err frameio_write_tables(const char *path, const struct header *primary, const struct table_hdu *tables, int n,
                              struct error *err)
{
    struct out o;
    enum err code = out_open(&o, path, true, err);
    if (!code) code = write_primary(&o, primary, err);
    for (int i = 0; i < n && !code; i++) code = write_table(&o, &tables[i], 1, err);
    if (!code) code = out_commit(&o, err);
    out_abandon(&o);
    if (code) error_subject(err, path, 0);
    return code;
}

/* ---- FITS_LDAC -------------------------------------------------------------------------------------------------- */

/* The image header as SExtractor stores it: SIMPLE first whatever the extension said, the size keywords kept, END last. */
static enum err ldac_text(const struct header *image, struct header *ret, struct error *err)
{
    static const char *const numbers[] = {"BITPIX", "NAXIS", "NAXIS1", "NAXIS2"};
    static const int64_t defaults[] = {-32, 2, -1, -1};
    enum err code = header_set_bool(ret, "SIMPLE", true, "conforms to FITS standard");
    for (int i = 0; i < 4 && !code; i++) {
        int64_t value = defaults[i];
        header_get_int(image, numbers[i], &value);
        if (i == 1) value = 2;
        if (value >= 0 || i == 0) code = header_set_int(ret, numbers[i], value, NULL);
    }
    char extname[72];
    if (!code && header_get_str(image, "EXTNAME", extname, sizeof extname)) code = header_set_str(ret, "EXTNAME", extname, NULL);
    if (!code) code = copy_cards(ret, image, err);
    char end[CARD_LENGTH];
    memset(end, ' ', sizeof end);
    memcpy(end, "END", 3);
    if (!code) code = header_append_card(ret, end);
    return code;
}

static enum err write_imhead(struct out *o, const struct header *image, int extver, struct error *err)
{
    struct header cards;
    char dim[40];
    header_init(&cards);
    enum err code = ldac_text(image, &cards, err);
    if (code) {
        if (err && !err->code) ERROR(err, code, "no memory for a header");
    } else {
        snprintf(dim, sizeof dim, "(%d, %lld)", CARD_LENGTH, (long long)cards.n);
        struct column column = {.name = "Field Header Card", .type = COLUMN_STRING, .repeat = (int)(cards.n * CARD_LENGTH),
                                .data = cards.text, .dim = dim};
        struct table_hdu table = {.extname = EXT_LDAC_IMHEAD, .nrow = 1, .ncol = 1, .columns = &column};
        code = write_table(o, &table, extver, err);
    }
    header_release(&cards);
    return code;
}

enum err frameio_write_ldac(const char *path, const struct ldac_part *parts, int n, struct error *err)
{
    struct out o;
    enum err code = out_open(&o, path, true, err);
    o.loose = n > 0 && parts[0].loose;
    if (!code) code = write_primary(&o, NULL, err);
    for (int i = 0; i < n && !code; i++) {
        struct table_hdu objects = parts[i].objects;
        objects.extname = EXT_LDAC_OBJECTS;
        code = write_imhead(&o, parts[i].image_header, i + 1, err);
        if (!code) code = write_table(&o, &objects, i + 1, err);
    }
    if (!code) code = out_commit(&o, err);
    out_abandon(&o);
    if (code) error_subject(err, path, 0);
    return code;
}
