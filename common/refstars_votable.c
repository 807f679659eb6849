/* Reference stars of a VOTable: its first table, as TABLEDATA, BINARY or BINARY2. Source: VOTable 1.4 (IVOA 2019), sections 3-5.
 *
 * A reader of tags, not of XML at large: names without their prefix, attributes, text; comments, CDATA and instructions are
 * passed over; entities in attributes stay as they are, which no column name or unit needs.                           */
#include "common/refstars_internal.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define FIELDS_MAX 2048

struct tag {
    bool closing, empty;
    char name[24];
    const char *attributes;
    size_t nattributes;
};

struct field {
    int slot;
    char type;          /* B short: b boolean, B unsignedByte, s short, i int, l long, c char, u unicodeChar, f float, d double, x bit */
    bool variable;
    int64_t count;      /* elements; of bits too */
};

struct votable {
    const char *at, *end;
    int nfield;
    struct field field[FIELDS_MAX];
};

static const char *find(const char *from, const char *end, const char *what)
{
    return end > from ? memmem(from, (size_t)(end - from), what, strlen(what)) : NULL;
}

/* Passes over what is no tag. Returned: false at the end. *text: what stood before it. */
static bool next_tag(struct votable *v, struct tag *t, const char **text, size_t *ntext)
{
    const char *start = v->at;
    while (v->at < v->end) {
        const char *p = memchr(v->at, '<', (size_t)(v->end - v->at)), *stop;
        if (!p) break;
        if (v->end - p > 3 && !memcmp(p, "<!--", 4)) stop = find(p, v->end, "-->"), stop = stop ? stop + 3 : NULL;
        else if (v->end - p > 8 && !memcmp(p, "<![CDATA[", 9)) stop = find(p, v->end, "]]>"), stop = stop ? stop + 3 : NULL;
        else if (v->end - p > 1 && (p[1] == '?' || p[1] == '!')) stop = find(p, v->end, ">"), stop = stop ? stop + 1 : NULL;
        else {
            const char *q = p + 1;
            char quote = 0;
            for (; q < v->end && (quote || *q != '>'); q++) {
                if (quote && *q == quote) quote = 0;
                else if (!quote && (*q == '"' || *q == '\'')) quote = *q;
            }
            if (q >= v->end) break;
            *text = start;
            *ntext = (size_t)(p - start);
            v->at = q + 1;
            const char *name = p + 1, *e;
            t->closing = *name == '/';
            name += t->closing;
            for (e = name; e < q && !isspace((unsigned char)*e) && *e != '/'; e++)
                if (*e == ':') name = e + 1;
            snprintf(t->name, sizeof t->name, "%.*s", e - name < 23 ? (int)(e - name) : 23, name);
            t->empty = q[-1] == '/';
            t->attributes = e;
            t->nattributes = (size_t)(q - e);
            return true;
        }
        if (!stop) break;
        v->at = stop;
    }
    v->at = v->end;
    return false;
}

/* Returned: "" when it is not there. */
static const char *attribute(const struct tag *t, const char *name, char *buf, size_t size)
{
    const char *p = t->attributes, *end = p + t->nattributes;
    size_t n = strlen(name);
    buf[0] = 0;
    while (p < end) {
        while (p < end && (isspace((unsigned char)*p) || *p == '/')) p++;
        const char *key = p;
        while (p < end && *p != '=' && !isspace((unsigned char)*p)) p++;
        size_t nkey = (size_t)(p - key);
        while (p < end && *p != '"' && *p != '\'') p++;
        if (p >= end) break;
        char quote = *p++;
        const char *value = p;
        while (p < end && *p != quote) p++;
        if (nkey == n && !strncmp(key, name, n)) {
            snprintf(buf, size, "%.*s", p - value < (long)size - 1 ? (int)(p - value) : (int)size - 1, value);
            break;
        }
        p++;
    }
    return buf;
}

static char type_letter(const char *datatype)
{
    static const struct {
        const char *name;
        char letter;
    } types[] = {{"boolean", 'b'}, {"bit", 'x'}, {"unsignedByte", 'B'}, {"short", 's'}, {"int", 'i'}, {"long", 'l'}, {"char", 'c'},
                 {"unicodeChar", 'u'}, {"float", 'f'}, {"double", 'd'}, {"floatComplex", 'F'}, {"doubleComplex", 'D'}};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (!strcmp(types[i].name, datatype)) return types[i].letter;
    return 0;
}

static int type_size(char letter)
{
    static const char letters[] = "bBsilcufdFDx";
    static const int sizes[] = {1, 1, 2, 4, 8, 1, 2, 4, 8, 8, 16, 0};
    const char *p = letter ? strchr(letters, letter) : NULL;
    return p ? sizes[p - letters] : 0;
}

static enum err read_shape(struct field *f, const char *arraysize, struct error *err)
{
    f->count = 1;
    for (const char *p = arraysize; *p;) {
        if (*p == '*') {
            f->variable = true;
            return ERR_OK;
        }
        long long v = strtoll(p, (char **)(uintptr_t)&p, 10);
        if (v < 0 || v > 1000000 || (f->count *= v) > 1000000) return ERROR(err, ERR_CORRUPT, "a field has the absurd size '%s'", arraysize);
        if (*p == '*') continue;
        if (*p != 'x') break;
        p++;
    }
    return ERR_OK;
}

static enum err read_field(struct votable *v, const struct tag *t, struct refdata *d, struct error *err)
{
    char name[72], unit[72], type[24], shape[40];
    if (v->nfield == FIELDS_MAX) return ERROR(err, ERR_UNSUPPORTED, "more than %d fields", FIELDS_MAX);
    struct field *f = &v->field[v->nfield++];
    *f = (struct field){.slot = -1, .type = type_letter(attribute(t, "datatype", type, sizeof type))};
    attribute(t, "name", name, sizeof name);
    attribute(t, "unit", unit, sizeof unit);
    enum err e = read_shape(f, attribute(t, "arraysize", shape, sizeof shape), err);
    if (!e && !f->type) e = ERROR(err, ERR_CORRUPT, "field '%s' has the unknown type '%s'", name, type);
    int slot = -1;
    if (e) return e;
    bool number = strchr("Bsilfd", f->type) && f->count == 1 && !f->variable, text = f->type == 'c' || f->type == 'u';
    if (!number && !text) return ERR_OK;
    e = refdata_column(d, name, unit, &slot, err);
    if (!e && slot >= REF_BAND && !number) {
        d->name[slot][0] = 0;
        d->nband--;
        slot = -1;
    }
    for (int k = 0; k + 1 < v->nfield && slot >= 0; k++)
        if (v->field[k].slot == slot) v->field[k].slot = -1; /* a better alias took its place */
    f->slot = slot;
    return e;
}

/* ---- TABLEDATA ----------------------------------------------------------------------------------------------------- */

static enum err read_tabledata(struct votable *v, struct refdata *d, struct error *err)
{
    struct tag t;
    const char *text;
    size_t n;
    int64_t row = 0;
    int col = 0;
    enum err e = ERR_OK;
    while (!e && next_tag(v, &t, &text, &n)) {
        if (t.closing && !strcmp(t.name, "TABLEDATA")) return ERR_OK;
        if (!strcmp(t.name, "TR") && !t.closing) {
            col = 0;
            e = refdata_add(d, ++row, err);
        } else if (!strcmp(t.name, "TR")) {
            if (col != v->nfield) e = ERROR(err, ERR_CORRUPT, "row %lld has %d cells for %d fields", (long long)row, col, v->nfield);
        } else if (!strcmp(t.name, "TD") && (t.closing || t.empty)) {
            if (!row || col >= v->nfield) return ERROR(err, ERR_CORRUPT, "row %lld has more cells than the table has fields", (long long)row);
            if (!t.empty && v->field[col].slot >= 0) e = refdata_set_text(d, v->field[col].slot, text, n, err);
            col++;
        }
    }
    return e ? e : ERROR(err, ERR_CORRUPT, "the table ends early, in row %lld", (long long)row);
}

/* ---- BINARY, BINARY2 ------------------------------------------------------------------------------------------------ */

static int base64_value(unsigned char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Returned: memory of the caller; NULL when it ends. */
static uint8_t *base64_decode(const char *text, size_t n, size_t *ret_n)
{
    uint8_t *out = malloc(n / 4 * 3 + 4);
    uint32_t bits = 0;
    int have = 0;
    size_t k = 0;
    for (size_t i = 0; out && i < n && text[i] != '='; i++) {
        int v = base64_value((unsigned char)text[i]);
        if (v < 0) continue;
        bits = bits << 6 | (uint32_t)v;
        have += 6;
        if (have >= 8) out[k++] = (uint8_t)(bits >> (have -= 8));
    }
    *ret_n = k;
    return out;
}

static uint64_t big_endian(const uint8_t *p, int n)
{
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v = v << 8 | p[i];
    return v;
}

static double binary_value(const struct field *f, const uint8_t *p)
{
    uint64_t bits = big_endian(p, type_size(f->type));
    double d;
    float s;
    uint32_t low = (uint32_t)bits;
    switch (f->type) {
    case 'B': return (double)bits;
    case 's': return (int16_t)bits;
    case 'i': return (int32_t)bits;
    case 'l': return (double)(int64_t)bits;
    case 'f': memcpy(&s, &low, sizeof s); return s;
    default: memcpy(&d, &bits, sizeof d); return d;
    }
}

static enum err take_cell(struct refdata *d, const struct field *f, const uint8_t *p, int64_t bytes, struct error *err)
{
    char text[64];
    int n = 0;
    if (f->type == 'c' || f->type == 'u') {
        int step = type_size(f->type);
        for (int64_t i = step - 1; i < bytes && p[i] && n < 63; i += step) text[n++] = (char)p[i];
        return refdata_set_text(d, f->slot, text, (size_t)n, err);
    }
    if (f->slot == REF_ID) {
        if (f->type != 'f' && f->type != 'd') d->id[d->n - 1] = f->type == 'l' ? (int64_t)big_endian(p, 8) : (int64_t)binary_value(f, p);
    } else refdata_set(d, f->slot, binary_value(f, p));
    return ERR_OK;
}

static enum err read_binary_row(const struct votable *v, bool nulls, const uint8_t **p, const uint8_t *end, struct refdata *d, int64_t row, struct error *err)
{
    int64_t nmask = nulls ? (v->nfield + 7) / 8 : 0;
    const uint8_t *mask = *p;
    enum err e = refdata_add(d, row, err), early = ERR_CORRUPT;
    if (end - *p < nmask) return ERROR(err, early, "the table ends early, in row %lld", (long long)row);
    *p += nmask;
    for (int i = 0; i < v->nfield && !e; i++) {
        const struct field *f = &v->field[i];
        int64_t count = f->count;
        if (f->variable) {
            if (end - *p < 4) return ERROR(err, early, "the table ends early, in row %lld", (long long)row);
            count = (int64_t)big_endian(*p, 4);
            *p += 4;
        }
        int64_t bytes = f->type == 'x' ? (count + 7) / 8 : count * type_size(f->type);
        if (end - *p < bytes) return ERROR(err, early, "the table ends early, in row %lld", (long long)row);
        bool null = nulls && mask[i / 8] >> (7 - i % 8) & 1;
        if (f->slot >= 0 && !null && bytes > 0) e = take_cell(d, f, *p, bytes, err);
        *p += bytes;
    }
    return e;
}

static enum err read_binary(struct votable *v, bool nulls, struct refdata *d, struct error *err)
{
    struct tag t;
    const char *text = NULL;
    size_t n = 0, size;
    char encoding[24];
    if (!next_tag(v, &t, &text, &n) || strcmp(t.name, "STREAM") || t.closing || t.empty) return ERROR(err, ERR_UNSUPPORTED, "its data are not in the file");
    if (strcmp(attribute(&t, "encoding", encoding, sizeof encoding), "base64")) return ERROR(err, ERR_UNSUPPORTED, "its data are encoded as '%s'", encoding);
    if (!next_tag(v, &t, &text, &n) || strcmp(t.name, "STREAM")) return ERROR(err, ERR_CORRUPT, "the table ends early");
    uint8_t *data = base64_decode(text, n, &size);
    const uint8_t *p = data;
    enum err e = data ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory for %zu bytes of a table", n);
    for (int64_t row = 1; !e && p < data + size; row++) e = read_binary_row(v, nulls, &p, data + size, d, row, err);
    free(data);
    return e;
}

/* ---- the document --------------------------------------------------------------------------------------------------- */

static enum err read_table(struct votable *v, struct refdata *d, struct error *err)
{
    struct tag t;
    const char *text;
    size_t n;
    char value[24];
    enum err e = ERR_OK;
    while (!e && next_tag(v, &t, &text, &n)) {
        if (!strcmp(t.name, "INFO") && !strcmp(attribute(&t, "value", value, sizeof value), "ERROR"))
            return ERROR(err, ERR_CORRUPT, "the service that wrote it reports an error");
        if (!strcmp(t.name, "INFO") && !t.closing && !strcmp(value, "OVERFLOW"))
            return ERROR(err, ERR_CORRUPT, "it is cut: the service that wrote it reports an overflow");
        if (!strcmp(t.name, "FIELD") && !t.closing) e = read_field(v, &t, d, err);
        if (t.closing && !strcmp(t.name, "TABLE")) return ERR_OK;
        if (t.closing || t.empty) continue;
        if (!v->nfield && (!strcmp(t.name, "TABLEDATA") || !strncmp(t.name, "BINARY", 6))) return ERROR(err, ERR_CORRUPT, "the table has no fields");
        if (!strcmp(t.name, "TABLEDATA")) return read_tabledata(v, d, err);
        if (!strcmp(t.name, "BINARY") || !strcmp(t.name, "BINARY2")) return read_binary(v, t.name[6] == '2', d, err);
        if (!strcmp(t.name, "FITS")) return ERROR(err, ERR_UNSUPPORTED, "a VOTable that wraps a FITS table");
    }
    return e ? e : v->nfield ? ERR_OK : ERROR(err, ERR_CORRUPT, "no table in it");
}

/* A TAP service says after the rows that they were cut. */
static enum err check_overflow(struct votable *v, struct error *err)
{
    struct tag t;
    const char *text;
    size_t n;
    char value[24];
    while (next_tag(v, &t, &text, &n))
        if (!strcmp(t.name, "INFO") && !t.closing && !strcmp(attribute(&t, "value", value, sizeof value), "OVERFLOW")) {
            enum err e = ERROR(err, ERR_CORRUPT, "it is cut: the service that wrote it reports an overflow");
            error_hint(err, "ask for fewer stars, or with a higher MAXREC");
            return e;
        }
    return ERR_OK;
}

enum err refstars_parse_votable(const char *text, size_t size, struct refdata *d, struct error *err)
{
    struct votable *v = calloc(1, sizeof *v);
    if (!v) return ERROR(err, ERR_NOMEM, "no memory for a VOTable");
    v->at = text;
    v->end = text + size;
    enum err e = read_table(v, d, err);
    if (!e) e = check_overflow(v, err);
    free(v);
    return e;
}
