/* Values of VOTable cells: text of TABLEDATA, bytes of BINARY and BINARY2. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "catalog/votread_internal.h"

static const struct {
    const char *name;
    int size;                /* bytes in BINARY */
} datatypes[VT_TYPES] = {
    {"boolean", 1}, {"bit", 1}, {"unsignedByte", 1}, {"short", 2}, {"int", 4}, {"long", 8}, {"char", 1}, {"unicodeChar", 2}, {"float", 4}, {"double", 8},
    {"floatComplex", 8}, {"doubleComplex", 16},
};

bool votread_append(struct votread_buffer *b, const void *data, size_t size, size_t ceiling)
{
    if (size > ceiling || b->used > ceiling - size) return false;
    if (b->used + size + 1 > b->capacity) {
        size_t capacity = 2 * (b->used + size) + 256;
        char *grown = realloc(b->data, capacity);
        if (!grown) return false;
        b->data = grown;
        b->capacity = capacity;
    }
    memcpy(b->data + b->used, data, size);
    b->used += size;
    b->data[b->used] = 0;
    return true;
}

bool votread_datatype_of(const char *name, enum votread_datatype *ret)
{
    for (int i = 0; i < VT_TYPES; i++)
        if (!strcmp(name, datatypes[i].name)) {
            *ret = (enum votread_datatype)i;
            return true;
        }
    return false;
}

enum schema_type votread_type_of(const struct votread_layout *l)
{
    static const enum schema_type scalar[VT_TYPES] = {
        SCHEMA_BOOLEAN, SCHEMA_TEXT, SCHEMA_SHORT, SCHEMA_SHORT, SCHEMA_INT, SCHEMA_LONG, SCHEMA_TEXT, SCHEMA_TEXT, SCHEMA_FLOAT, SCHEMA_DOUBLE,
        SCHEMA_TEXT, SCHEMA_TEXT};
    return l->array ? SCHEMA_TEXT : scalar[l->datatype];
}

/* ---- TABLEDATA ------------------------------------------------------------------------------------------------------ */

static char *trim(char *text, size_t *size)
{
    while (*size && strchr(" \t\r\n", text[*size - 1])) (*size)--;
    while (*size && strchr(" \t\r\n", *text)) text++, (*size)--;
    text[*size] = 0;
    return text;
}

static bool boolean_of(const char *text, struct votread_value *ret)
{
    static const char *const yes[] = {"t", "true", "1"}, *const no[] = {"f", "false", "0"};
    for (int i = 0; i < 3; i++) {
        if (!strcasecmp(text, yes[i])) return ret->i = 1, true;
        if (!strcasecmp(text, no[i])) return ret->i = 0, true;
    }
    ret->null = true;
    return !strcmp(text, "?");
}

static bool integer_of(const struct votread_layout *l, const char *text, struct votread_value *ret)
{
    static const int64_t low[] = {[VT_BYTE] = 0, [VT_SHORT] = INT16_MIN, [VT_INT] = INT32_MIN, [VT_LONG] = INT64_MIN};
    static const int64_t high[] = {[VT_BYTE] = UINT8_MAX, [VT_SHORT] = INT16_MAX, [VT_INT] = INT32_MAX, [VT_LONG] = INT64_MAX};
    char *end;
    errno = 0;
    bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    ret->i = strtoll(text, &end, hex ? 16 : 10);
    return !*end && end > text && !errno && ret->i >= low[l->datatype] && ret->i <= high[l->datatype];
}

static bool real_of(const char *text, struct votread_value *ret)
{
    char *end;
    ret->d = strtod(text, &end); /* takes NaN, Inf, +Inf, -Inf too */
    if (*end || end == text) return false;
    ret->null = isnan(ret->d);
    return true;
}

enum err votread_cell(const struct votread_layout *l, char *text, size_t size, struct votread_value *ret, struct error *err)
{
    enum schema_type type = votread_type_of(l);
    bool good = true;
    *ret = (struct votread_value){.text = text, .size = size, .null = size == 0};
    if (type == SCHEMA_TEXT) return ERR_OK;
    text = trim(text, &size);
    ret->null = size == 0;
    if (ret->null) return ERR_OK;
    if (type == SCHEMA_BOOLEAN) good = boolean_of(text, ret);
    else if (type == SCHEMA_FLOAT || type == SCHEMA_DOUBLE) good = real_of(text, ret);
    else good = integer_of(l, text, ret);
    if (!good) return ERROR(err, ERR_CORRUPT, "'%.60s' is no %s", text, datatypes[l->datatype].name);
    if (l->has_null && type != SCHEMA_BOOLEAN && type != SCHEMA_FLOAT && type != SCHEMA_DOUBLE && ret->i == l->null) ret->null = true;
    return ERR_OK;
}

/* ---- BINARY and BINARY2 --------------------------------------------------------------------------------------------- */

static uint64_t big_endian(const unsigned char *p, int size)
{
    uint64_t v = 0;
    for (int i = 0; i < size; i++) v = v << 8 | p[i];
    return v;
}

static float float_at(const unsigned char *p)
{
    uint32_t bits = (uint32_t)big_endian(p, 4);
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static double double_at(const unsigned char *p)
{
    uint64_t bits = big_endian(p, 8);
    double d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

static size_t utf8_put(uint32_t c, char *out)
{
    if (c < 0x80) return out[0] = (char)c, 1;
    if (c < 0x800) return out[0] = (char)(0xc0 | c >> 6), out[1] = (char)(0x80 | (c & 63)), 2;
    if (c < 0x10000) return out[0] = (char)(0xe0 | c >> 12), out[1] = (char)(0x80 | (c >> 6 & 63)), out[2] = (char)(0x80 | (c & 63)), 3;
    return out[0] = (char)(0xf0 | c >> 18), out[1] = (char)(0x80 | (c >> 12 & 63)), out[2] = (char)(0x80 | (c >> 6 & 63)), out[3] = (char)(0x80 | (c & 63)), 4;
}

/* Length of the UTF-8 character at p, 0 if there is none (overlong forms and surrogates are none). */
static size_t utf8_length(const unsigned char *p, size_t left)
{
    size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3 : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;
    if (!n || n > left) return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    if (n == 3 && ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f))) return 0;
    if (n == 4 && ((p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))) return 0;
    return n;
}

/* Characters up to the first NUL; what is not UTF-8 becomes '?'. */
static bool store_char(const unsigned char *p, int64_t n, struct votread_buffer *store)
{
    for (int64_t i = 0; i < n && p[i];) {
        size_t k = utf8_length(p + i, (size_t)(n - i));
        if (!votread_append(store, k ? (const char *)p + i : "?", k ? k : 1, VOTREAD_ROW_MAX)) return false;
        i += k ? (int64_t)k : 1;
    }
    return true;
}

/* UCS-2, and UTF-16 where a pair of surrogates stands. */
static bool store_unicode(const unsigned char *p, int64_t n, struct votread_buffer *store)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t c = (uint32_t)big_endian(p + 2 * i, 2), low = i + 1 < n ? (uint32_t)big_endian(p + 2 * i + 2, 2) : 0;
        char utf8[4];
        if (!c) break;
        if (c >= 0xd800 && c < 0xdc00 && low >= 0xdc00 && low < 0xe000) c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00), i++;
        else if (c >= 0xd800 && c < 0xe000) c = '?';
        if (!votread_append(store, utf8, utf8_put(c, utf8), VOTREAD_ROW_MAX)) return false;
    }
    return true;
}

static int number_text(enum votread_datatype t, const unsigned char *p, char *out, size_t size)
{
    switch (t) {
    case VT_BOOLEAN: return snprintf(out, size, "%c", strchr("tT1", *p) && *p ? 'T' : strchr("fF0", *p) && *p ? 'F' : '?');
    case VT_BYTE: return snprintf(out, size, "%d", *p);
    case VT_SHORT: return snprintf(out, size, "%d", (int16_t)big_endian(p, 2));
    case VT_INT: return snprintf(out, size, "%d", (int32_t)big_endian(p, 4));
    case VT_LONG: return snprintf(out, size, "%lld", (long long)big_endian(p, 8));
    case VT_FLOAT: return snprintf(out, size, "%.9g", (double)float_at(p));
    case VT_DOUBLE: return snprintf(out, size, "%.17g", double_at(p));
    case VT_FCOMPLEX: return snprintf(out, size, "%.9g %.9g", (double)float_at(p), (double)float_at(p + 4));
    default: return snprintf(out, size, "%.17g %.17g", double_at(p), double_at(p + 8));
    }
}

static bool store_numbers(enum votread_datatype t, const unsigned char *p, int64_t n, struct votread_buffer *store)
{
    char text[64];
    for (int64_t i = 0; i < n; i++) {
        text[0] = ' ';
        int k = number_text(t, p + i * datatypes[t].size, text + 1, sizeof text - 1);
        if (!votread_append(store, i ? text : text + 1, (size_t)(i ? k + 1 : k), VOTREAD_ROW_MAX)) return false;
    }
    return true;
}

static bool store_bits(const unsigned char *p, int64_t n, struct votread_buffer *store)
{
    for (int64_t i = 0; i < n; i++)
        if (!votread_append(store, p[i / 8] & (0x80 >> i % 8) ? "1" : "0", 1, VOTREAD_ROW_MAX)) return false;
    return true;
}

static bool store_text(const struct votread_layout *l, const unsigned char *p, int64_t n, struct votread_buffer *store)
{
    switch (l->datatype) {
    case VT_CHAR: return store_char(p, n, store);
    case VT_UNICODE: return store_unicode(p, n, store);
    case VT_BIT: return store_bits(p, n, store);
    default: return store_numbers(l->datatype, p, n, store);
    }
}

static void scalar_value(const struct votread_layout *l, const unsigned char *p, struct votread_value *v)
{
    switch (l->datatype) {
    case VT_BOOLEAN:
        v->i = *p && strchr("tT1", *p);
        v->null = v->null || !(*p && strchr("tT1fF0", *p));
        return;
    case VT_BYTE: v->i = *p; break;
    case VT_SHORT: v->i = (int16_t)big_endian(p, 2); break;
    case VT_INT: v->i = (int32_t)big_endian(p, 4); break;
    case VT_LONG: v->i = (int64_t)big_endian(p, 8); break;
    case VT_FLOAT: v->d = (double)float_at(p); break;
    default: v->d = double_at(p); break;
    }
    if (l->datatype == VT_FLOAT || l->datatype == VT_DOUBLE) v->null = v->null || isnan(v->d);
    else if (l->has_null && v->i == l->null) v->null = true;
}

/* Bytes of n values; -1: more than a row may have. */
static int64_t bytes_of(const struct votread_layout *l, int64_t n)
{
    if (n < 0 || n > VOTREAD_ROW_MAX) return -1;
    int64_t bytes = l->datatype == VT_BIT ? (n + 7) / 8 : n * datatypes[l->datatype].size;
    return bytes > VOTREAD_ROW_MAX ? -1 : bytes;
}

int64_t votread_binary_row(const struct votread_layout *l, int n, bool flags, const unsigned char *data, size_t size,
                           struct votread_buffer *store, struct votread_value *values, struct error *err)
{
    size_t at = flags ? (size_t)(n + 7) / 8 : 0;
    if (size < at) return 0;
    store->used = 0;
    for (int i = 0; i < n; i++) {
        int64_t count = l[i].count;
        if (l[i].variable) {
            if (size - at < 4) return 0;
            count = (int32_t)big_endian(data + at, 4);
            at += 4;
        }
        int64_t bytes = bytes_of(&l[i], count);
        if (bytes < 0) return ERROR(err, ERR_CORRUPT, "column %d has an array of %lld values", i + 1, (long long)count), -1;
        if (size - at < (size_t)bytes) return at + (size_t)bytes > VOTREAD_ROW_MAX ? (ERROR(err, ERR_CORRUPT, "a row of more than %d bytes", VOTREAD_ROW_MAX), -1) : 0;
        struct votread_value *v = &values[i];
        *v = (struct votread_value){.null = flags && (data[i / 8] & (0x80 >> i % 8))};
        if (votread_type_of(&l[i]) == SCHEMA_TEXT) {
            size_t before = store->used;
            if (!v->null && !store_text(&l[i], data + at, count, store)) return ERROR(err, ERR_NOMEM, "a row of more than %d characters", VOTREAD_ROW_MAX), -1;
            v->size = store->used - before;
            v->i = (int64_t)before; /* becomes a pointer when the store no longer moves */
            if (!v->size) v->null = true;
        } else {
            scalar_value(&l[i], data + at, v);
        }
        at += (size_t)bytes;
    }
    for (int i = 0; i < n; i++)
        if (votread_type_of(&l[i]) == SCHEMA_TEXT) values[i].text = store->data ? store->data + values[i].i : "";
    return (int64_t)at;
}

/* ---- base64 --------------------------------------------------------------------------------------------------------- */

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool votread_base64_add(struct votread_base64 *b, const char *text, size_t size, struct votread_buffer *out)
{
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (c == ' ' || c == '\n' || c == '\r' || c == '\t') continue;
        int digit = c == '=' ? 0 : base64_digit(c);
        if (digit < 0 || (b->padded && c != '=')) return false;
        int pad = c == '=' ? 4 - b->n : 0;
        if (c == '=' && b->n < 2) { /* the second = of a pair, or nonsense */
            if (!b->padded) return false;
            continue;
        }
        b->bits = b->bits << 6 | (uint32_t)digit;
        b->n++;
        if (pad) {
            b->padded = true;
            b->bits <<= 6 * (4 - b->n);
        } else if (b->n < 4) {
            continue;
        }
        const char bytes[3] = {(char)(b->bits >> 16), (char)(b->bits >> 8), (char)b->bits};
        if (!votread_append(out, bytes, (size_t)(3 - pad), 2 * (size_t)VOTREAD_ROW_MAX)) return false;
        b->bits = 0;
        b->n = 0;
    }
    return true;
}
