/* Tables read whole: rows as stored, columns converted when they are asked for. Source: FITS 4.0 sections 7.2 and 7.3.
 *
 * Invariants: (1) the rows are in the file before memory is reserved for them; (2) offset + bytes of every column lie
 * within a row; (3) a converted column lives as long as the table.                                                  */
#include "common/frameio_internal.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/arena.h"

#define STRING_NULL_MAX 32

struct table_column {
    char name[72];
    char type;             /* binary: L X B I J K A E D C M P Q; ASCII: A I F */
    int64_t repeat;        /* elements; characters of a string */
    int64_t offset, bytes; /* within a row */
    int decimals;          /* ASCII: implied decimal point */
    double scale, zero;
    bool has_null;
    int64_t null;
    char null_text[STRING_NULL_MAX]; /* ASCII */
    double *f64;
    int64_t *i64;
    char *text;            /* nrow strings of repeat + 1 characters */
};

struct table {
    struct header header;
    bool ascii;
    int64_t nrow, row_size;
    int ncol;
    uint8_t *rows;
    struct table_column *columns;
};

void table_free(struct table *t)
{
    if (!t) return;
    for (int i = 0; i < t->ncol; i++) {
        free(t->columns[i].f64);
        free(t->columns[i].i64);
        free(t->columns[i].text);
    }
    free(t->columns);
    free(t->rows);
    header_release(&t->header);
    free(t);
}

/* ---- columns ---------------------------------------------------------------------------------------------------- */

static void indexed(char keyword[16], const char *stem, int i)
{
    snprintf(keyword, 16, "%s%d", stem, i + 1);
}

/* "12E", "1PB(30)", "24X" */
static enum err binary_format(struct table_column *c, const char *form, struct error *err)
{
    int64_t repeat = 0;
    const char *p = form;
    while (*p == ' ') p++;
    if (!isdigit((unsigned char)*p)) repeat = 1;
    for (; isdigit((unsigned char)*p); p++) {
        repeat = repeat * 10 + (*p - '0');
        if (repeat > INT32_MAX / 16) return ERROR(err, ERR_CORRUPT, "column '%s' has the absurd format '%s'", c->name, form);
    }
    c->type = (char)toupper((unsigned char)*p);
    c->repeat = repeat;
    c->bytes = c->type == 'X' ? (repeat + 7) / 8 : repeat * element_size(c->type);
    if (c->type != 'X' && !element_size(c->type))
        return ERROR(err, ERR_CORRUPT, "column '%s' has the unknown format '%s'", c->name, form);
    return ERR_OK;
}

/* "A8", "I5", "F12.4", "E15.7", "D25.17" */
static enum err ascii_format(struct table_column *c, const char *form, struct error *err)
{
    char type = 0;
    int width = 0, decimals = 0;
    int n = sscanf(form, " %c%5d.%5d", &type, &width, &decimals);
    type = (char)toupper((unsigned char)type);
    if (n < 2 || width < 1 || decimals < 0 || decimals > 300 || !strchr("AIFED", type))
        return ERROR(err, ERR_CORRUPT, "column '%s' has the unknown format '%s'", c->name, form);
    c->type = strchr("FED", type) ? 'F' : type;
    c->repeat = c->type == 'A' ? width : 1;
    c->bytes = width;
    c->decimals = decimals;
    return ERR_OK;
}

static enum err read_column(struct table *t, int i, int64_t *offset, struct error *err)
{
    struct table_column *c = &t->columns[i];
    char keyword[16], form[64] = "";
    const struct header *h = &t->header;
    indexed(keyword, "TTYPE", i);
    header_get_str(h, keyword, c->name, sizeof c->name);
    indexed(keyword, "TFORM", i);
    if (!header_get_str(h, keyword, form, sizeof form))
        return ERROR(err, ERR_CORRUPT, "table has no keyword %s", keyword);
    enum err code = t->ascii ? ascii_format(c, form, err) : binary_format(c, form, err);
    if (code) return code;
    c->offset = *offset;
    indexed(keyword, "TBCOL", i);
    if (t->ascii) {
        int64_t column = 0;
        if (!header_get_int(h, keyword, &column) || column < 1 || column > t->row_size)
            return ERROR(err, ERR_CORRUPT, "keyword %s is missing or absurd", keyword);
        c->offset = column - 1;
    }
    if (c->bytes > t->row_size - c->offset)
        return ERROR(err, ERR_CORRUPT, "column '%s' does not fit into a row of %lld bytes", c->name, (long long)t->row_size);
    *offset += c->bytes;
    c->scale = 1;
    indexed(keyword, "TSCAL", i);
    header_get_double(h, keyword, &c->scale);
    indexed(keyword, "TZERO", i);
    header_get_double(h, keyword, &c->zero);
    indexed(keyword, "TNULL", i);
    if (t->ascii)
        c->has_null = header_get_str(h, keyword, c->null_text, sizeof c->null_text) && c->null_text[0];
    else
        c->has_null = header_get_int(h, keyword, &c->null);
    return ERR_OK;
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

static enum err find_table(struct frameio_in *f, const char *extname, int extver, int *ret, struct error *err)
{
    for (int i = 0;; i++) {
        while (i >= f->n && !f->scanned) {
            enum err code = scan_next(f, err);
            if (code) return code;
        }
        if (i >= f->n) break;
        const struct hdu_info *info = &f->hdus[i]->info;
        if (info->kind == HDU_IMAGE) continue;
        if (extname && strcasecmp(info->extname, extname)) continue;
        if (extname && extver > 0 && info->extver != extver) continue;
        *ret = i + 1;
        return ERR_OK;
    }
    if (f->doubt.code) { /* it may have been in the damaged tail */
        if (err) *err = f->doubt;
        return f->doubt.code;
    }
    if (extname) return ERROR(err, ERR_NOT_FOUND, "file has no table '%s'", extname);
    return ERROR(err, ERR_NOT_FOUND, "file has no table");
}

static enum err read_rows(struct frameio_in *f, const struct hdu *h, struct table *t, struct error *err)
{
    int64_t size, got = 0;
    if (__builtin_mul_overflow(t->nrow, t->row_size, &size) || size > h->data_size || (!t->row_size && t->nrow))
        return ERROR(err, ERR_CORRUPT, "table claims %lld rows of %lld bytes", (long long)t->nrow, (long long)t->row_size);
    t->rows = malloc((size_t)size + 1);
    if (!t->rows) return ERROR(err, ERR_NOMEM, "no memory for a table of %lld bytes", (long long)size);
    enum err code = source_read(f->source, h->data_at, t->rows, size, &got, err);
    if (!code && got < size) code = ERROR(err, ERR_CORRUPT, "data end early: the file shrank while it was read");
    return code;
}

static enum err build_table(struct frameio_in *f, int hdu, struct table *t, struct error *err)
{
    struct hdu *h = f->hdus[hdu - 1];
    bool packed = false;
    enum err code = hdu_require_data(f, hdu, h, err);
    if (code) return code;
    if (header_get_bool(&h->cards, "ZTABLE", &packed) && packed) {
        ERROR(err, ERR_UNSUPPORTED, "table is compressed");
        error_hint(err, "unpack it with funpack");
        return ERR_UNSUPPORTED;
    }
    t->ascii = h->info.kind == HDU_ASCII_TABLE;
    t->nrow = h->nrow;
    t->row_size = h->row_size;
    code = header_copy(&t->header, &h->cards, err);
    if (code) return code;
    t->columns = calloc((size_t)h->tfields + 1, sizeof *t->columns);
    if (!t->columns) return ERROR(err, ERR_NOMEM, "no memory for the columns of a table");
    t->ncol = h->tfields;
    int64_t offset = 0;
    for (int i = 0; i < t->ncol && !code; i++) code = read_column(t, i, &offset, err);
    return code ? code : read_rows(f, h, t, err);
}

static enum err require_table(struct frameio_in *f, int hdu, struct error *err)
{
    while (hdu > f->n && !f->scanned) {
        enum err code = scan_next(f, err);
        if (code) return code;
    }
    if (hdu < 1 || hdu > f->n || f->hdus[hdu - 1]->info.kind == HDU_IMAGE) return ERROR(err, ERR_NOT_FOUND, "HDU %d is no table", hdu);
    return ERR_OK;
}

/* hdu > 0 says which; 0: look for extname. */
static enum err read_table(const char *path, const char *extname, int extver, int hdu, struct table **ret, struct error *err)
{
    struct source *source = NULL;
    struct frameio_in *f = NULL;
    struct table *t = calloc(1, sizeof *t);
    if (!t) return ERROR(err, ERR_NOMEM, "no memory for a table");
    enum err code = source_open(path, &source, err);
    if (!code) code = scan_open(source, &f, err);
    if (!code && !hdu) code = find_table(f, extname, extver, &hdu, err);
    if (!code) code = require_table(f, hdu, err);
    if (!code) code = build_table(f, hdu, t, err);
    frameio_close(f);
    if (code) {
        table_free(t);
        error_subject(err, path, hdu);
        return code;
    }
    *ret = t;
    return ERR_OK;
}

enum err table_read(const char *path, const char *extname, int extver, struct table **ret, struct error *err)
{
    return read_table(path, extname, extver, 0, ret, err);
}

enum err table_read_hdu(const char *path, int hdu, struct table **ret, struct error *err)
{
    return read_table(path, NULL, 0, hdu, ret, err);
}

int64_t table_nrow(const struct table *t)
{
    return t->nrow;
}

int table_ncol(const struct table *t)
{
    return t->ncol;
}

const struct header *table_header(const struct table *t)
{
    return &t->header;
}

static const struct table_column *column_at(const struct table *t, int col)
{
    return col >= 0 && col < t->ncol ? &t->columns[col] : NULL;
}

const char *table_column_name(const struct table *t, int col)
{
    const struct table_column *c = column_at(t, col);
    return c ? c->name : "";
}

int table_find(const struct table *t, const char *column)
{
    for (int i = 0; i < t->ncol; i++)
        if (!strcasecmp(t->columns[i].name, column)) return i;
    return -1;
}

/* Numbers per row of a numeric column; complex pairs count twice, variable-length arrays not at all. */
static int64_t elements(const struct table_column *c)
{
    if (c->type == 'P' || c->type == 'Q') return 0;
    return c->type == 'C' || c->type == 'M' ? 2 * c->repeat : c->repeat;
}

int table_repeat(const struct table *t, int col)
{
    const struct table_column *c = column_at(t, col);
    return c ? (int)elements(c) : 0;
}

/* ---- conversion ------------------------------------------------------------------------------------------------- */

static uint64_t load(const uint8_t *p, int bytes)
{
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++) v = v << 8 | p[i];
    return v;
}

static bool is_integer(char type)
{
    return type == 'B' || type == 'I' || type == 'J' || type == 'K';
}

static int64_t load_integer(const uint8_t *p, char type)
{
    switch (type) {
    case 'B': return p[0];
    case 'I': return (int16_t)load(p, 2);
    case 'J': return (int32_t)load(p, 4);
    default: return (int64_t)load(p, 8);
    }
}

static double load_real(const uint8_t *p, bool wide)
{
    if (wide) {
        uint64_t bits = load(p, 8);
        double v;
        memcpy(&v, &bits, sizeof v);
        return v;
    }
    uint32_t bits = (uint32_t)load(p, 4);
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* Element k of the cell at p, before TSCAL and TZERO; NaN where it is null. */
static double binary_number(const struct table_column *c, const uint8_t *p, int64_t k)
{
    if (is_integer(c->type)) {
        int64_t v = load_integer(p + k * element_size(c->type), c->type);
        return c->has_null && v == c->null ? NAN : (double)v;
    }
    switch (c->type) {
    case 'L': return p[k] == 'T' ? 1 : p[k] == 'F' ? 0 : NAN;
    case 'X': return p[k / 8] >> (7 - k % 8) & 1;
    case 'E':
    case 'C': return load_real(p + 4 * k, false);
    default: return load_real(p + 8 * k, true);
    }
}

/* The characters of an ASCII cell, trimmed on both sides. Returned: their number. */
static int cell_text(const struct table_column *c, const uint8_t *p, char buf[64])
{
    int64_t first = 0, last = c->bytes;
    while (first < last && isspace(p[first])) first++;
    while (last > first && (isspace(p[last - 1]) || !p[last - 1])) last--;
    int n = (int)(last - first < 63 ? last - first : 63);
    for (int i = 0; i < n; i++) buf[i] = (char)p[first + i];
    buf[n] = '\0';
    return n;
}

static double ascii_number(const struct table_column *c, const uint8_t *p)
{
    char text[64], *end;
    if (!cell_text(c, p, text) || (c->has_null && !strcmp(text, c->null_text))) return NAN;
    for (char *q = text; *q; q++) {
        if (*q == 'D' || *q == 'd') *q = 'E';
        if (!isdigit((unsigned char)*q) && !strchr("+-.Ee", *q)) return NAN;
    }
    double v = strtod(text, &end);
    if (*end) return NAN;
    if (c->decimals && !strchr(text, '.')) v /= pow(10, c->decimals);
    return v;
}

bool table_is_numeric(const struct table *t, int col)
{
    return column_at(t, col) && !strchr("APQ", t->columns[col].type);
}

bool table_is_text(const struct table *t, int col)
{
    return column_at(t, col) && t->columns[col].type == 'A';
}

const double *table_f64(struct table *t, int col)
{
    if (!table_is_numeric(t, col)) return NULL;
    struct table_column *c = &t->columns[col];
    int64_t n = elements(c), k = 0;
    if (c->f64) return c->f64;
    double *values = mem_array((size_t)t->nrow + 1, (size_t)(n ? n : 1) * sizeof *values);
    if (!values) return NULL;
    bool scaled = c->type != 'L' && c->type != 'X' && (c->scale != 1 || c->zero != 0);
    for (int64_t row = 0; row < t->nrow; row++) {
        const uint8_t *p = t->rows + row * t->row_size + c->offset;
        for (int64_t i = 0; i < n; i++, k++) {
            double v = t->ascii ? ascii_number(c, p) : binary_number(c, p, i);
            values[k] = scaled ? c->zero + c->scale * v : v;
        }
    }
    return c->f64 = values;
}

/* Integers that stay integers: TSCAL 1 and TZERO an integer (unsigned columns). 2^63 is added by flipping the top bit. */
static bool integer_zero(const struct table_column *c, uint64_t *ret)
{
    if (c->scale != 1 || c->zero != floor(c->zero) || fabs(c->zero) > 9223372036854775808.0) return false;
    *ret = c->zero == 9223372036854775808.0 ? (uint64_t)1 << 63
           : c->zero < 0                    ? -(uint64_t)(-c->zero)
                                            : (uint64_t)c->zero;
    return true;
}

const int64_t *table_i64(struct table *t, int col)
{
    if (!column_at(t, col)) return NULL;
    struct table_column *c = &t->columns[col];
    uint64_t zero = 0;
    int64_t k = 0;
    bool good = t->ascii ? c->type == 'I' && c->scale == 1 && c->zero == 0 : is_integer(c->type) && integer_zero(c, &zero);
    if (!good) return NULL;
    if (c->i64) return c->i64;
    int64_t *values = mem_array((size_t)t->nrow + 1, (size_t)(c->repeat ? c->repeat : 1) * sizeof *values);
    if (!values) return NULL;
    for (int64_t row = 0; row < t->nrow; row++) {
        const uint8_t *p = t->rows + row * t->row_size + c->offset;
        char text[64];
        if (t->ascii) {
            values[k++] = cell_text(c, p, text) ? strtoll(text, NULL, 10) : 0;
            continue;
        }
        for (int64_t i = 0; i < c->repeat; i++)
            values[k++] = (int64_t)((uint64_t)load_integer(p + i * element_size(c->type), c->type) + zero);
    }
    return c->i64 = values;
}

const uint8_t *table_bytes(const struct table *t, int col, int64_t row, int64_t *ret_size)
{
    const struct table_column *c = column_at(t, col);
    if (!c || row < 0 || row >= t->nrow) return NULL;
    *ret_size = c->bytes;
    return t->rows + row * t->row_size + c->offset;
}

static bool make_text(struct table *t, struct table_column *c)
{
    size_t width = (size_t)c->repeat + 1;
    c->text = mem_zarray((size_t)t->nrow + 1, width);
    if (!c->text) return false;
    for (int64_t row = 0; row < t->nrow; row++) {
        const uint8_t *p = t->rows + row * t->row_size + c->offset;
        char *to = c->text + (size_t)row * width;
        size_t n = 0;
        while (n < width - 1 && p[n]) n++;
        memcpy(to, p, n);
        while (n && to[n - 1] == ' ') to[--n] = '\0';
    }
    return true;
}

const char *table_str(struct table *t, int col, int64_t row)
{
    if (!column_at(t, col) || row < 0 || row >= t->nrow) return NULL;
    struct table_column *c = &t->columns[col];
    if (c->type != 'A' || (!c->text && !make_text(t, c))) return NULL;
    return c->text + (size_t)row * ((size_t)c->repeat + 1);
}
