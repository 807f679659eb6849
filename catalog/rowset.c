#include "catalog/rowset_formats.h"

#include <math.h>
#include <stdlib.h>
#include <strings.h>

#include "catalog/schema.h"
#include "common/decimal.h"
#include "common/obstime.h"

#define BLOCK ((size_t)64 * 1024) /* what the sink is given at a time, about */

_Static_assert((int)ROWSET_BOOL == (int)SCHEMA_BOOLEAN && (int)ROWSET_SHORT == (int)SCHEMA_SHORT && (int)ROWSET_INT == (int)SCHEMA_INT &&
               (int)ROWSET_LONG == (int)SCHEMA_LONG && (int)ROWSET_FLOAT == (int)SCHEMA_FLOAT && (int)ROWSET_DOUBLE == (int)SCHEMA_DOUBLE &&
               (int)ROWSET_TEXT == (int)SCHEMA_TEXT && (int)ROWSET_TIMESTAMP == (int)SCHEMA_TIMESTAMP, "rowset types follow the schema's");

/* ---- names of the formats ------------------------------------------------------------------------------------------- */

bool rowset_format_of(const char *name, enum rowset_format *ret)
{
    static const struct {
        const char *name;
        enum rowset_format format;
    } names[] = {
        {"votable", ROWSET_VOTABLE}, {"application/x-votable+xml", ROWSET_VOTABLE}, {"text/xml", ROWSET_VOTABLE}, {"votable/td", ROWSET_VOTABLE},
        {"application/x-votable+xml;serialization=tabledata", ROWSET_VOTABLE}, {"votable/b", ROWSET_BINARY},
        {"application/x-votable+xml;serialization=binary", ROWSET_BINARY}, {"votable/b2", ROWSET_BINARY2},
        {"application/x-votable+xml;serialization=binary2", ROWSET_BINARY2}, {"csv", ROWSET_CSV}, {"text/csv", ROWSET_CSV},
        {"text/csv;header=present", ROWSET_CSV}, {"tsv", ROWSET_TSV}, {"text/tab-separated-values", ROWSET_TSV}, {"json", ROWSET_JSON},
        {"application/json", ROWSET_JSON}, {"fits", ROWSET_FITS}, {"application/fits", ROWSET_FITS},
    };
    char plain[80];
    size_t n = 0;
    for (const char *c = name; *c && n < sizeof plain - 1; c++)
        if (*c != ' ' && *c != '"') plain[n++] = *c;
    plain[n] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (!strcasecmp(plain, names[i].name)) {
            *ret = names[i].format;
            return true;
        }
    return false;
}

const char *rowset_format_name(enum rowset_format format)
{
    static const char *const names[ROWSET_FORMATS] = {"votable", "votable/b", "votable/b2", "csv", "tsv", "json", "fits"};
    return names[format];
}

const char *rowset_content_type(enum rowset_format format)
{
    static const char *const types[ROWSET_FORMATS] = {
        "application/x-votable+xml", "application/x-votable+xml;serialization=binary", "application/x-votable+xml;serialization=binary2",
        "text/csv; charset=utf-8; header=present", "text/tab-separated-values", "application/json", "application/fits"};
    return types[format];
}

const char *rowset_extension(enum rowset_format format)
{
    static const char *const endings[ROWSET_FORMATS] = {"xml", "xml", "xml", "csv", "tsv", "json", "fits"};
    return endings[format];
}

/* ---- bytes to the sink ---------------------------------------------------------------------------------------------- */

bool rowset_flush(struct rowset *r)
{
    if (r->used && !r->broken && !r->sink(r->user, r->buf, r->used)) r->broken = true;
    r->used = 0;
    return !r->broken;
}

char *rowset_reserve_slow(struct rowset *r, size_t n)
{
    if (r->broken) r->used = 0;
    if (r->used + n > r->room && r->used) rowset_flush(r);
    if (n > r->room) {
        size_t room = n > 2 * BLOCK ? n : 2 * BLOCK;
        char *grown = realloc(r->buf, room);
        if (!grown) {
            r->failed = true;
            return NULL;
        }
        r->buf = grown;
        r->room = room;
    }
    return r->buf + r->used;
}

/* XML 1.0 knows no control characters but tab, newline and carriage return: others become '?'. */
void rowset_put_xml(struct rowset *r, const char *s, size_t n)
{
    const char *start = s, *end = s + n;
    for (; s < end; s++) {
        unsigned char c = (unsigned char)*s;
        if (c >= 32 && c != '&' && c != '<' && c != '>' && c != '"') continue;
        const char *entity = c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '"' ? "&quot;" : "?";
        if (c == '\t' || c == '\n' || c == '\r') continue;
        rowset_put(r, start, (size_t)(s - start));
        rowset_puts(r, entity);
        start = s + 1;
    }
    rowset_put(r, start, (size_t)(s - start));
}

void rowset_put_json(struct rowset *r, const char *s, size_t n)
{
    char escape[8];
    const char *start = s, *end = s + n;
    rowset_put(r, "\"", 1);
    for (; s < end; s++) {
        if (*s != '"' && *s != '\\' && (unsigned char)*s >= 32) continue;
        rowset_put(r, start, (size_t)(s - start));
        if ((unsigned char)*s < 32) snprintf(escape, sizeof escape, "\\u%04x", (unsigned char)*s);
        else snprintf(escape, sizeof escape, "\\%c", *s);
        rowset_puts(r, escape);
        start = s + 1;
    }
    rowset_put(r, start, (size_t)(s - start));
    rowset_put(r, "\"", 1);
}

/* CSV quotes where it must, and the empty string, so that it is not NULL; TSV has no quotes: its separators become blanks. */
void rowset_put_separated(struct rowset *r, const char *s, size_t n, char comma)
{
    bool quote = comma == ',' && (n == 0 || memchr(s, ',', n) || memchr(s, '"', n) || memchr(s, '\n', n) || memchr(s, '\r', n));
    if (quote) rowset_put(r, "\"", 1);
    for (size_t i = 0; i < n; i++) {
        if (comma == '\t' && (s[i] == '\t' || s[i] == '\n' || s[i] == '\r')) rowset_put(r, " ", 1);
        else rowset_put(r, s + i, 1);
        if (quote && s[i] == '"') rowset_put(r, "\"", 1);
    }
    if (quote) rowset_put(r, "\"", 1);
}

/* ---- values --------------------------------------------------------------------------------------------------------- */

static bool whole_of(const struct rowset_field *f, int64_t *ret)
{
    uint64_t u = 0;
    memcpy(&u, f->data, f->size <= 8 ? (size_t)f->size : 0);
    switch (f->size) {
    case 1: *ret = (int64_t)(u & 0xff); return true;
    case 2: *ret = (int16_t)__builtin_bswap16((uint16_t)u); return true;
    case 4: *ret = (int32_t)__builtin_bswap32((uint32_t)u); return true;
    case 8: *ret = (int64_t)__builtin_bswap64(u); return true;
    default: return false;
    }
}

static bool real_of(const struct rowset_field *f, double *ret)
{
    if (f->size == 8) {
        uint64_t u;
        memcpy(&u, f->data, sizeof u);
        u = __builtin_bswap64(u);
        memcpy(ret, &u, sizeof u);
        return true;
    }
    if (f->size != 4) return false;
    uint32_t u;
    float v;
    memcpy(&u, f->data, sizeof u);
    u = __builtin_bswap32(u);
    memcpy(&v, &u, sizeof u);
    *ret = (double)v;
    return true;
}

/* Microseconds since 2000-01-01 as DALI writes a time (UTC). Calendar: Fliegel & Van Flandern 1968, CACM 11, 657. */
static void timestamp_of(int64_t us, struct rowset_value *v)
{
    const int64_t day_us = INT64_C(86400000000);
    int64_t days = us / day_us, rest = us % day_us;
    if (rest < 0) rest += day_us, days--;
    int64_t l = days + 2451545 + 68569, n = 4 * l / 146097;
    l -= (146097 * n + 3) / 4;
    int64_t i = 4000 * (l + 1) / 1461001;
    l -= 1461 * i / 4 - 31;
    int64_t j = 80 * l / 2447, day = l - 2447 * j / 80;
    l = j / 11;
    int64_t month = j + 2 - 12 * l, year = 100 * (n - 49) + i + l, s = rest / 1000000;
    v->n = snprintf(v->text, sizeof v->text, "%04lld-%02lld-%02lldT%02lld:%02lld:%02lld", (long long)year, (long long)month, (long long)day,
                    (long long)(s / 3600), (long long)(s / 60 % 60), (long long)(s % 60));
    if (rest % 1000000) {
        v->n += snprintf(v->text + v->n, sizeof v->text - (size_t)v->n, ".%06lld", (long long)(rest % 1000000));
        while (v->text[v->n - 1] == '0') v->n--;
    }
    v->s = v->text;
}

static enum err bad_value(const struct rowset *r, int col, const struct rowset_field *f, struct error *err)
{
    return ERROR(err, ERR_INTERNAL, "a value of column '%s' (%d bytes) is not of its type", r->opt.columns[col].name, (int)f->size);
}

enum err rowset_value_of(const struct rowset *r, int col, const struct rowset_field *f, struct rowset_value *v, struct error *err)
{
    enum rowset_type t = r->opt.columns[col].type;
    v->null = f->size < 0;
    if (v->null) return ERR_OK;
    switch (t) {
    case ROWSET_BOOL: case ROWSET_SHORT: case ROWSET_INT: case ROWSET_LONG:
        if (!whole_of(f, &v->i)) return bad_value(r, col, f, err);
        if ((t == ROWSET_SHORT && (int16_t)v->i != v->i) || (t == ROWSET_INT && (int32_t)v->i != v->i))
            return ERROR(err, ERR_INTERNAL, "%lld does not fit in column '%s'", (long long)v->i, r->opt.columns[col].name);
        if (r->kind[col] != ROWSET_TEXT) return ERR_OK;
        v->n = decimal_of_int(v->i, v->text);
        v->s = v->text;
        return ERR_OK;
    case ROWSET_FLOAT: case ROWSET_DOUBLE:
        if (!real_of(f, &v->d)) return bad_value(r, col, f, err);
        if (t == ROWSET_FLOAT) v->d = (double)(float)v->d;
        return ERR_OK;
    case ROWSET_TIMESTAMP: case ROWSET_TEXT:
        v->s = f->data; /* a time may be text already */
        v->n = f->size;
        if (t == ROWSET_TEXT || f->size != 8) return ERR_OK;
        whole_of(f, &v->i);
        v->null = v->i == INT64_MAX || v->i == INT64_MIN; /* PostgreSQL's infinities */
        if (!v->null) timestamp_of(v->i, v);
        return ERR_OK;
    }
    return bad_value(r, col, f, err);
}

/* ---- life ----------------------------------------------------------------------------------------------------------- */

static enum err no_memory(struct error *err)
{
    return ERROR(err, ERR_NOMEM, "could not get memory for rows");
}

enum err rowset_new(const struct rowset_options *opt, rowset_sink sink, void *user, struct rowset **ret, struct error *err)
{
    struct rowset *r = calloc(1, sizeof *r);
    size_t n = (size_t)opt->ncol + 1;
    if (!r) return no_memory(err);
    r->opt = *opt;
    r->sink = sink;
    r->user = user;
    r->fields = calloc(n, sizeof *r->fields);
    r->kind = calloc(n, sizeof *r->kind);
    r->width = calloc(n, sizeof *r->width);
    if (!r->fields || !r->kind || !r->width) {
        rowset_free(r);
        return no_memory(err);
    }
    for (int i = 0; i < opt->ncol; i++) {
        const struct rowset_column *c = &opt->columns[i];
        bool id = opt->scs && c->ucd1 && !strcmp(c->ucd1, "ID_MAIN"); /* Simple Cone Search: the id is a string */
        bool text = id || c->type == ROWSET_TIMESTAMP;
        r->kind[i] = text ? ROWSET_TEXT : c->type;
        r->width[i] = 1;
    }
    *ret = r;
    return ERR_OK;
}

void rowset_free(struct rowset *r)
{
    if (!r) return;
    for (int i = 0; r->prefix && i < r->opt.ncol; i++) free(r->prefix[i]);
    if (r->spool) fclose(r->spool);
    free(r->prefix);
    free(r->fields);
    free(r->kind);
    free(r->width);
    free(r->row);
    free(r->buf);
    free(r);
}

int64_t rowset_rows(const struct rowset *r)
{
    return r->rows;
}

static void begin(struct rowset *r)
{
    r->begun = true;
    switch (r->opt.format) {
    case ROWSET_VOTABLE: case ROWSET_BINARY: case ROWSET_BINARY2: rowset_begin_votable(r); break;
    case ROWSET_CSV: rowset_begin_separated(r, ','); break;
    case ROWSET_TSV: rowset_begin_separated(r, '\t'); break;
    case ROWSET_JSON: rowset_begin_json(r); break;
    default: break;
    }
}

static enum err one_row(struct rowset *r, const struct rowset_field *f, struct error *err)
{
    switch (r->opt.format) {
    case ROWSET_VOTABLE: return rowset_row_tabledata(r, f, err);
    case ROWSET_BINARY: return rowset_row_binary(r, f, false, err);
    case ROWSET_BINARY2: return rowset_row_binary(r, f, true, err);
    case ROWSET_CSV: return rowset_row_separated(r, f, ',', err);
    case ROWSET_TSV: return rowset_row_separated(r, f, '\t', err);
    case ROWSET_JSON: return rowset_row_json(r, f, err);
    default: return rowset_spool_row(r, f, err);
    }
}

/* Did all of it reach the sink's hands? */
static enum err state_of(const struct rowset *r, struct error *err)
{
    if (r->failed) return no_memory(err);
    return r->broken ? ERROR(err, ERR_INTERRUPTED, "the client has left") : ERR_OK;
}

enum err rowset_row(struct rowset *r, const struct rowset_field *fields, struct error *err)
{
    if (!r->begun) begin(r);
    enum err e = one_row(r, fields, err);
    if (e) return e;
    r->rows++;
    if (r->used >= BLOCK) rowset_flush(r);
    return r->broken || r->failed ? state_of(r, err) : ERR_OK;
}

enum err rowset_copy_row(struct rowset *r, const char *data, int size, bool *ret_row, struct error *err)
{
    const unsigned char *p = (const unsigned char *)data, *end = p + size;
    uint16_t n;
    uint32_t length;
    if (size >= 19 && !memcmp(data, "PGCOPY\n\377\r\n", 11)) { /* the header comes before the first row; its extension is empty */
        p += 19;
        if (p == end) {
            if (ret_row) *ret_row = false;
            return ERR_OK;
        }
    }
    if (end - p < 2) return ERROR(err, ERR_INTERNAL, "a row of COPY is cut short");
    memcpy(&n, p, sizeof n);
    n = __builtin_bswap16(n);
    p += 2;
    if (ret_row) *ret_row = n != 0xffff;
    if (n == 0xffff) return ERR_OK;
    if (n != r->opt.ncol) return ERROR(err, ERR_INTERNAL, "a row of COPY has %d values, %d are declared", (int)n, r->opt.ncol);
    for (int i = 0; i < n; i++) {
        if (end - p < 4) return ERROR(err, ERR_INTERNAL, "a row of COPY is cut short");
        memcpy(&length, p, sizeof length);
        p += 4;
        r->fields[i] = (struct rowset_field){p, (int32_t)__builtin_bswap32(length)};
        if (r->fields[i].size > end - p) return ERROR(err, ERR_INTERNAL, "a row of COPY is cut short");
        if (r->fields[i].size > 0) p += r->fields[i].size;
    }
    return rowset_row(r, r->fields, err);
}

enum err rowset_result_row(struct rowset *r, const struct db_result *result, int64_t row, struct error *err)
{
    if (db_ncol(result) < r->opt.ncol) return ERROR(err, ERR_INTERNAL, "a row has %d values, %d are declared", db_ncol(result), r->opt.ncol);
    for (int i = 0; i < r->opt.ncol; i++)
        r->fields[i] = (struct rowset_field){db_text(result, row, i), db_is_null(result, row, i) ? -1 : db_length(result, row, i)};
    return rowset_row(r, r->fields, err);
}

enum err rowset_end(struct rowset *r, bool overflow, const char *error, struct error *err)
{
    if (!r->begun) begin(r);
    enum err e = ERR_OK;
    switch (r->opt.format) {
    case ROWSET_BINARY: case ROWSET_BINARY2: case ROWSET_VOTABLE:
        rowset_end_base64(r); /* nothing where there is no base64 */
        rowset_end_votable(r, overflow, error);
        break;
    case ROWSET_JSON: rowset_end_json(r, overflow, error); break;
    case ROWSET_FITS: e = error ? ERR_OK : rowset_write_fits(r, overflow, err); break;
    default: break;
    }
    rowset_flush(r);
    return e ? e : state_of(r, err);
}

void rowset_error_votable(rowset_sink sink, void *user, bool scs, const char *message)
{
    struct rowset r = {.sink = sink, .user = user, .opt.scs = scs, .opt.format = ROWSET_VOTABLE, .opt.ncol = -1};
    rowset_begin_votable(&r);
    rowset_end_votable(&r, false, message);
    rowset_flush(&r);
    free(r.buf);
}
