/* HDUs of a file: where they are, what they hold and how large they claim to be. Source: FITS 4.0 sections 3.3, 4.4, 7, 10.
 *
 * Invariants: (1) no number of a header is used before it was checked against its range; (2) sizes are computed with
 * overflow checks and compared with the file before a byte is reserved for them; (3) HDU k begins where HDU k-1 ends. */
#include "common/frameio_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_READ (10 * FITS_BLOCK)
#define HDUS_MAX   65536

enum err hdu_error(const struct frameio_in *f, int hdu, struct error *err, enum err code)
{
    error_subject(err, source_path(f->source), hdu);
    return code;
}

static void hdu_free(struct hdu *h)
{
    if (!h) return;
    header_release(&h->cards);
    free(h);
}

void frameio_close(struct frameio_in *f)
{
    if (!f) return;
    tiles_free(f->tiles);
    for (int i = 0; i < f->n; i++) hdu_free(f->hdus[i]);
    free(f->hdus);
    source_close(f->source);
    free(f);
}

/* ---- header text ------------------------------------------------------------------------------------------------ */

/* Index of the END card among n cards, -1 if there is none from `from` on. */
static int64_t find_end(const char *text, int64_t from, int64_t n)
{
    for (int64_t i = from; i < n; i++)
        if (memcmp(text + i * CARD_LENGTH, "END     ", 8) == 0) return i;
    return -1;
}

/* Read cards from header_at up to END. Returned: number of cards before END; *ret_text is the caller's to free. */
static enum err read_cards(struct source *s, int64_t at, char **ret_text, int64_t *ret_n, struct error *err)
{
    char *text = NULL;
    int64_t have = 0, want = FIRST_READ, seen = 0;
    enum err code = ERR_OK;
    for (;;) {
        char *bigger = realloc(text, (size_t)want);
        if (!bigger) {
            code = ERROR(err, ERR_NOMEM, "no memory for a header");
            break;
        }
        text = bigger;
        int64_t got;
        code = source_read(s, at + have, text + have, want - have, &got, err);
        if (code) break;
        have += got;
        int64_t end = find_end(text, seen, have / CARD_LENGTH);
        if (end >= 0) {
            *ret_text = text;
            *ret_n = end;
            return ERR_OK;
        }
        seen = have / CARD_LENGTH;
        if (have < want) {
            code = ERROR(err, ERR_CORRUPT, "header has no END card%s%s", source_damage(s) ? ": " : "",
                         source_damage(s) ? source_damage(s) : "");
            error_hint(err, "copy the file again from its source");
            break;
        }
        if (seen > HEADER_CARDS_MAX) {
            code = ERROR(err, ERR_CORRUPT, "header has more than %d cards", HEADER_CARDS_MAX);
            break;
        }
        want *= 4;
    }
    free(text);
    return code;
}

/* ---- structure -------------------------------------------------------------------------------------------------- */

static bool valid_bitpix(int64_t bitpix)
{
    return bitpix == 8 || bitpix == 16 || bitpix == 32 || bitpix == 64 || bitpix == -32 || bitpix == -64;
}

/* An integer card within [low, high]; *ret keeps its default when the card is absent. */
static enum err get_ranged(const struct header *h, const char *keyword, int64_t low, int64_t high, int64_t *ret,
                           struct error *err)
{
    int64_t value;
    if (!header_has(h, keyword)) return ERR_OK;
    if (!header_get_int(h, keyword, &value))
        return ERROR(err, ERR_CORRUPT, "cannot read the number of keyword %s", keyword);
    if (value < low || value > high)
        return ERROR(err, ERR_CORRUPT, "keyword %s has the absurd value %lld", keyword, (long long)value);
    *ret = value;
    return ERR_OK;
}

/* NAXIS and NAXISn (or ZNAXIS and ZNAXISn). Returned: the number of pixels, and the axes; random groups leave out the
 * first axis, which is 0. */
static enum err read_axes(const struct header *cards, const char *prefix, bool groups, int *ret_naxis, int64_t axis[4],
                          int64_t *ret_planes, int64_t *ret_pixels, struct error *err)
{
    int64_t naxis = -1, pixels = 1, planes = 1;
    char keyword[16];
    snprintf(keyword, sizeof keyword, "%sNAXIS", prefix);
    enum err code = get_ranged(cards, keyword, 0, 999, &naxis, err);
    if (code) return code;
    if (naxis < 0) return ERROR(err, ERR_CORRUPT, "header has no %s keyword", keyword);
    for (int i = 0; i < 4; i++) axis[i] = 0;
    for (int i = 0; i < naxis; i++) {
        int64_t n = -1;
        snprintf(keyword, sizeof keyword, "%sNAXIS%d", prefix, i + 1);
        if ((code = get_ranged(cards, keyword, 0, INT64_MAX, &n, err))) return code;
        if (n < 0) return ERROR(err, ERR_CORRUPT, "header has no %s keyword", keyword);
        if (i < 4) axis[i] = n;
        bool overflow = i >= 2 && __builtin_mul_overflow(planes, n, &planes);
        if (!(groups && i == 0)) overflow |= __builtin_mul_overflow(pixels, n, &pixels);
        if (overflow) return ERROR(err, ERR_CORRUPT, "image claims more pixels than any file holds");
    }
    *ret_naxis = (int)naxis;
    *ret_planes = planes;
    *ret_pixels = naxis ? pixels : 0;
    return ERR_OK;
}

static enum err read_size(struct hdu *h, int64_t bitpix, int64_t pixels, struct error *err)
{
    int64_t gcount = 1, size;
    enum err code = get_ranged(&h->cards, "PCOUNT", 0, INT64_MAX, &h->pcount, err);
    if (!code) code = get_ranged(&h->cards, "GCOUNT", 0, INT64_MAX, &gcount, err);
    if (code) return code;
    if (!h->info.naxis) return ERR_OK;
    if (__builtin_add_overflow(pixels, h->pcount, &size) || __builtin_mul_overflow(size, gcount, &size) ||
        __builtin_mul_overflow(size, llabs(bitpix) / 8, &size) || size > INT64_MAX / 4)
        return ERROR(err, ERR_CORRUPT, "header claims more data than any file holds");
    h->data_size = size;
    return ERR_OK;
}

static void read_scaling(struct hdu *h)
{
    h->bscale = 1;
    h->bzero = 0;
    header_get_double(&h->cards, "BSCALE", &h->bscale);
    header_get_double(&h->cards, "BZERO", &h->bzero);
    h->has_blank = h->info.bitpix > 0 && (header_get_int(&h->cards, "BLANK", &h->blank) ||
                                            (h->info.compressed && header_get_int(&h->cards, "ZBLANK", &h->blank)));
    h->info.unsigned16 = h->info.bitpix == 16 && h->bzero == 32768 && h->bscale == 1;
}

static enum err read_kind(struct hdu *h, struct error *err)
{
    char name[72];
    h->info.kind = HDU_IMAGE;
    if (!header_get_str(&h->cards, "XTENSION", name, sizeof name)) return ERR_OK;
    if (!strcmp(name, "BINTABLE") || !strcmp(name, "A3DTABLE"))
        h->info.kind = HDU_BINARY_TABLE;
    else if (!strcmp(name, "TABLE"))
        h->info.kind = HDU_ASCII_TABLE;
    else
        h->foreign = strcmp(name, "IMAGE") && strcmp(name, "IUEIMAGE");
    if (h->info.kind == HDU_IMAGE) return ERR_OK;
    int64_t tfields = 0;
    enum err code = get_ranged(&h->cards, "TFIELDS", 0, 999, &tfields, err);
    h->tfields = (int)tfields;
    return code;
}

/* A table that carries a compressed image becomes an image of the Z keywords. */
static enum err read_compressed(struct hdu *h, struct error *err)
{
    bool is = false;
    if (h->info.kind != HDU_BINARY_TABLE || !header_get_bool(&h->cards, "ZIMAGE", &is) || !is) return ERR_OK;
    int64_t bitpix = 0, pixels;
    enum err code = get_ranged(&h->cards, "ZBITPIX", -64, 64, &bitpix, err);
    if (!code) code = read_axes(&h->cards, "Z", false, &h->info.naxis, h->info.axis, &h->planes, &pixels, err);
    if (code) return code;
    if (!valid_bitpix(bitpix)) return ERROR(err, ERR_CORRUPT, "compressed image has no valid ZBITPIX");
    h->info.kind = HDU_IMAGE;
    h->info.compressed = true;
    h->info.bitpix = (int)bitpix;
    return ERR_OK;
}

static enum err read_structure(struct hdu *h, struct error *err)
{
    int64_t bitpix = 0, pixels, extver = 1;
    header_get_bool(&h->cards, "GROUPS", &h->groups);
    enum err code = read_kind(h, err);
    if (!code) code = get_ranged(&h->cards, "BITPIX", -64, 64, &bitpix, err);
    if (!code) code = read_axes(&h->cards, "", false, &h->info.naxis, h->info.axis, &h->planes, &pixels, err);
    if (code) return code;
    h->groups = h->groups && h->info.naxis > 1 && h->info.axis[0] == 0;
    if (h->groups) code = read_axes(&h->cards, "", true, &h->info.naxis, h->info.axis, &h->planes, &pixels, err);
    if (code) return code;
    if (!valid_bitpix(bitpix) && h->info.naxis)
        return ERROR(err, ERR_CORRUPT, "header has no valid BITPIX keyword");
    if ((code = read_size(h, bitpix, pixels, err))) return code;
    header_get_str(&h->cards, "EXTNAME", h->info.extname, sizeof h->info.extname);
    if (header_get_int(&h->cards, "EXTVER", &extver) && extver >= INT32_MIN && extver <= INT32_MAX)
        h->info.extver = (int)extver;
    else
        h->info.extver = 1;
    if (h->info.kind == HDU_IMAGE) {
        h->info.bitpix = valid_bitpix(bitpix) ? (int)bitpix : 8;
    } else {
        if (bitpix != 8 || h->info.naxis != 2)
            return ERROR(err, ERR_CORRUPT, "table has BITPIX %lld and NAXIS %d, not 8 and 2", (long long)bitpix, h->info.naxis);
        h->row_size = h->info.axis[0];
        h->nrow = h->info.axis[1];
        h->info.axis[0] = h->tfields;
        code = read_compressed(h, err);
    }
    read_scaling(h);
    return code;
}

/* ---- scanning --------------------------------------------------------------------------------------------------- */

/* Does a header begin here? *ret_any: is there any byte at all. */
static enum err looks_like_header(struct source *s, int64_t at, bool primary, bool *ret, bool *ret_any, struct error *err)
{
    char start[10] = "";
    int64_t got;
    enum err code = source_read(s, at, start, 9, &got, err);
    *ret = !code && got == 9 && !memcmp(start, primary ? "SIMPLE  =" : "XTENSION=", 9);
    *ret_any = !code && got > 0;
    return code;
}

static enum err read_hdu(struct source *s, int64_t at, struct hdu **ret, struct error *err)
{
    char *text = NULL;
    int64_t n = 0;
    struct hdu *h = calloc(1, sizeof *h);
    if (!h) return ERROR(err, ERR_NOMEM, "no memory for a header");
    enum err code = read_cards(s, at, &text, &n, err);
    if (!code) code = header_parse(&h->cards, text, n, err);
    free(text);
    if (!code) {
        h->header_at = at;
        h->data_at = at + round_to_block((n + 1) * CARD_LENGTH);
        code = read_structure(h, err);
    }
    if (code) {
        hdu_free(h);
        return code;
    }
    *ret = h;
    return ERR_OK;
}

static enum err add_hdu(struct frameio_in *f, struct hdu *h, struct error *err)
{
    if (f->n == f->capacity) {
        int capacity = f->capacity ? 2 * f->capacity : 8;
        struct hdu **hdus = realloc(f->hdus, (size_t)capacity * sizeof *hdus);
        if (!hdus) {
            hdu_free(h);
            return ERROR(err, ERR_NOMEM, "no memory for the list of HDUs");
        }
        f->hdus = hdus;
        f->capacity = capacity;
    }
    f->hdus[f->n++] = h;
    return ERR_OK;
}

/* Faults of the tail end the scan with a doubt; faults of the machine are errors. */
static enum err end_scan(struct frameio_in *f, enum err code, const struct error *why, struct error *err)
{
    if (err_is_transient(code) || f->n == 0) {
        if (err) *err = *why;
        return hdu_error(f, code == ERR_UNREADABLE ? 0 : f->n + 1, err, code); /* what is no FITS file has no HDU */
    }
    f->scanned = true;
    f->doubt = *why;
    if (f->doubt.message[0]) error_subject(&f->doubt, source_path(f->source), f->n + 1);
    return ERR_OK;
}

enum err scan_next(struct frameio_in *f, struct error *err)
{
    if (f->scanned) return ERR_OK;
    struct error why = ERROR_INIT;
    int64_t at = 0;
    bool is = false, any = false;
    if (f->n) {
        const struct hdu *last = f->hdus[f->n - 1];
        at = last->data_at + round_to_block(last->data_size);
    }
    enum err code = looks_like_header(f->source, at, f->n == 0, &is, &any, &why);
    if (code) return end_scan(f, code, &why, err);
    if (!is && f->n == 0) {
        code = source_damage(f->source) ? ERROR(&why, ERR_CORRUPT, "%s", source_damage(f->source))
                                        : ERROR(&why, ERR_UNREADABLE, "is not a FITS file");
        if (code == ERR_UNREADABLE) error_hint(&why, "FITS begins with SIMPLE, see what `file` says of it");
        return end_scan(f, code, &why, err);
    }
    if (!is || f->n >= HDUS_MAX) {
        /* FITS allows special records at the end: worth a word, no reason to refuse the file. */
        if (any) ERROR(&why, ERR_OK, "what follows the last HDU is no HDU");
        return end_scan(f, ERR_OK, &why, err);
    }
    struct hdu *h = NULL;
    code = read_hdu(f->source, at, &h, &why);
    if (code) return end_scan(f, code, &why, err);
    return add_hdu(f, h, err);
}

enum err scan_open(struct source *source, struct frameio_in **ret, struct error *err)
{
    struct frameio_in *f = calloc(1, sizeof *f);
    if (!f) {
        source_close(source);
        return ERROR(err, ERR_NOMEM, "no memory to open a file");
    }
    f->source = source;
    enum err code = scan_next(f, err);
    if (code) {
        frameio_close(f);
        return code;
    }
    *ret = f;
    return ERR_OK;
}

enum err scan_hdu(struct frameio_in *f, int hdu, struct hdu **ret, struct error *err)
{
    while (hdu > f->n && !f->scanned) {
        enum err code = scan_next(f, err);
        if (code) return code;
    }
    if (hdu >= 1 && hdu <= f->n) {
        *ret = f->hdus[hdu - 1];
        return ERR_OK;
    }
    if (f->doubt.code && hdu > f->n) {
        if (err) *err = f->doubt;
        return f->doubt.code;
    }
    ERROR(err, ERR_NOT_FOUND, "there is no HDU %d, the file has %d", hdu, f->n);
    return hdu_error(f, 0, err, ERR_NOT_FOUND);
}

bool hdu_is_image(const struct hdu *h)
{
    return h->info.kind == HDU_IMAGE && !h->groups && !h->foreign && h->info.naxis >= 2 && h->info.axis[0] > 0 &&
           h->info.axis[1] > 0 && h->planes == 1;
}

enum err scan_first_image(struct frameio_in *f, int *ret_hdu, struct error *err)
{
    for (int i = 0;; i++) {
        while (i >= f->n && !f->scanned) {
            enum err code = scan_next(f, err);
            if (code) return code;
        }
        if (i >= f->n) break;
        if (hdu_is_image(f->hdus[i])) {
            *ret_hdu = i + 1;
            return ERR_OK;
        }
    }
    *ret_hdu = 0;
    return ERR_OK;
}

enum err hdu_require_data(struct frameio_in *f, int hdu, struct hdu *h, struct error *err)
{
    bool there = false;
    enum err code = source_reaches(f->source, h->data_at + h->data_size, &there, err);
    if (code) return hdu_error(f, hdu, err, code);
    if (there) return ERR_OK;
    const char *damage = source_damage(f->source);
    ERROR(err, ERR_CORRUPT, "data end early: the header claims %lld bytes, %lld are there%s%s", (long long)h->data_size,
          (long long)(source_known_size(f->source) > h->data_at ? source_known_size(f->source) - h->data_at : 0),
          damage ? "; " : "", damage ? damage : "");
    error_hint(err, "copy the file again from its source");
    return hdu_error(f, hdu, err, ERR_CORRUPT);
}

/* ---- cards of images -------------------------------------------------------------------------------------------- */

void card_keyword(const char *card, char ret[9])
{
    snprintf(ret, 9, "%.8s", card);
    for (size_t n = strlen(ret); n && ret[n - 1] == ' ';) ret[--n] = '\0';
}

int element_size(char type)
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

/* "NAXIS12" is "NAXIS" and a number. */
static bool numbered(const char *keyword, const char *stem)
{
    size_t n = strlen(stem);
    if (strncmp(keyword, stem, n) || !keyword[n]) return false;
    for (keyword += n; *keyword; keyword++)
        if (!isdigit((unsigned char)*keyword)) return false;
    return true;
}

bool is_structural(const char *keyword)
{
    static const char *const names[] = {"SIMPLE",  "XTENSION", "BITPIX", "NAXIS",   "EXTEND",   "PCOUNT",  "GCOUNT",
                                        "GROUPS",  "BSCALE",   "BZERO",  "BLANK",   "CHECKSUM", "DATASUM", "EXTNAME",
                                        "EXTVER",  "EXTLEVEL", "INHERIT", "TFIELDS", "THEAP",   "ZIMAGE",  "ZSIMPLE",
                                        "ZTENSION", "ZEXTEND", "ZBITPIX", "ZNAXIS", "ZPCOUNT",  "ZGCOUNT", "ZCMPTYPE",
                                        "ZQUANTIZ", "ZDITHER0", "ZHECKSUM", "ZDATASUM", "ZMASKCMP", "ZBLANK", "ZBLOCKED",
                                        "ZSCALE",  "ZZERO",    "DATAMIN", "DATAMAX", "LONGSTRN", "END"};
    static const char *const stems[] = {"NAXIS", "ZNAXIS", "ZTILE", "ZNAME", "ZVAL",  "TTYPE", "TFORM", "TUNIT", "TNULL",
                                        "TSCAL", "TZERO",  "TDISP", "TDIM",  "TBCOL", "PTYPE", "PSCAL", "PZERO"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (!strcmp(keyword, names[i])) return true;
    for (size_t i = 0; i < sizeof stems / sizeof stems[0]; i++)
        if (numbered(keyword, stems[i])) return true;
    return false;
}

static bool is_table_card(const char *keyword)
{
    static const char *const kept[] = {"BSCALE",  "BZERO",   "BLANK",   "EXTNAME",  "EXTVER", "EXTLEVEL",
                                       "INHERIT", "DATAMIN", "DATAMAX", "LONGSTRN"};
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        if (!strcmp(keyword, kept[i])) return false;
    return is_structural(keyword);
}

static enum err image_structure(const struct hdu *h, struct header *ret)
{
    char keyword[16];
    int64_t n = 0;
    enum err code = h->header_at == 0 || header_has(&h->cards, "ZSIMPLE")
                        ? header_set_bool(ret, "SIMPLE", true, NULL)
                        : header_set_str(ret, "XTENSION", "IMAGE", NULL);
    if (!code) code = header_set_int(ret, "BITPIX", h->info.bitpix, NULL);
    if (!code) code = header_set_int(ret, "NAXIS", h->info.naxis, NULL);
    for (int i = 0; i < h->info.naxis && !code; i++) {
        snprintf(keyword, sizeof keyword, "ZNAXIS%d", i + 1);
        header_get_int(&h->cards, keyword, &n);
        code = header_set_int(ret, keyword + 1, n, NULL);
    }
    return code;
}

enum err image_cards(const struct hdu *h, struct header *ret, struct error *err)
{
    struct header cards;
    header_init(&cards);
    enum err code = h->info.compressed ? image_structure(h, &cards) : header_copy(&cards, &h->cards, err);
    for (int64_t i = 0; h->info.compressed && i < h->cards.n && !code; i++) {
        const char *card = h->cards.text + i * CARD_LENGTH;
        char keyword[9];
        card_keyword(card, keyword);
        bool dull = !strcmp(keyword, "EXTNAME") && !strcmp(h->info.extname, "COMPRESSED_IMAGE");
        if (!dull && !is_table_card(keyword)) code = header_append_card(&cards, card);
    }
    if (code) {
        header_release(&cards);
        return err && err->code ? code : ERROR(err, code, "no memory for a header");
    }
    header_release(ret);
    *ret = cards;
    return ERR_OK;
}
