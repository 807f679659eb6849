#include "common/db_copy.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char signature[19] = "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0"; /* with flags and extension length */

/* ---- writing ------------------------------------------------------------------------------------------------------ */

void copy_release(struct copy_buffer *b)
{
    free(b->data);
    *b = (struct copy_buffer){0};
}

/* Room for n bytes at the end; NULL: no memory. */
static char *room(struct copy_buffer *b, size_t n)
{
    if (b->failed) return NULL;
    if (b->capacity - b->size < n) {
        size_t capacity = b->capacity ? b->capacity : 1 << 16;
        while (capacity - b->size < n) capacity *= 2;
        char *data = realloc(b->data, capacity);
        if (!data) {
            b->failed = true;
            return NULL;
        }
        b->data = data;
        b->capacity = capacity;
    }
    char *p = b->data + b->size;
    b->size += n;
    return p;
}

static void put16(char *p, uint16_t v)
{
    v = __builtin_bswap16(v);
    memcpy(p, &v, 2);
}

static void put32(char *p, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(p, &v, 4);
}

static void put64(char *p, uint64_t v)
{
    v = __builtin_bswap64(v);
    memcpy(p, &v, 8);
}

void copy_start(struct copy_buffer *b)
{
    b->size = 0;
    b->failed = false;
    char *p = room(b, sizeof signature);
    if (p) memcpy(p, signature, sizeof signature);
}

void copy_row(struct copy_buffer *b, int fields)
{
    char *p = room(b, 2);
    if (p) put16(p, (uint16_t)fields);
}

void copy_finish(struct copy_buffer *b)
{
    copy_row(b, -1);
}

void copy_null(struct copy_buffer *b)
{
    char *p = room(b, 4);
    if (p) put32(p, UINT32_MAX);
}

void copy_i16(struct copy_buffer *b, int16_t v)
{
    char *p = room(b, 6);
    if (!p) return;
    put32(p, 2);
    put16(p + 4, (uint16_t)v);
}

void copy_i32(struct copy_buffer *b, int32_t v)
{
    char *p = room(b, 8);
    if (!p) return;
    put32(p, 4);
    put32(p + 4, (uint32_t)v);
}

void copy_i64(struct copy_buffer *b, int64_t v)
{
    char *p = room(b, 12);
    if (!p) return;
    put32(p, 8);
    put64(p + 4, (uint64_t)v);
}

void copy_f32(struct copy_buffer *b, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, 4);
    if (isfinite(v))
        copy_i32(b, (int32_t)bits);
    else
        copy_null(b);
}

void copy_f64(struct copy_buffer *b, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, 8);
    if (isfinite(v))
        copy_i64(b, (int64_t)bits);
    else
        copy_null(b);
}

void copy_f32_any(struct copy_buffer *b, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, 4);
    copy_i32(b, (int32_t)bits);
}

void copy_f64_any(struct copy_buffer *b, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, 8);
    copy_i64(b, (int64_t)bits);
}

void copy_bool(struct copy_buffer *b, bool v)
{
    char *p = room(b, 5);
    if (!p) return;
    put32(p, 1);
    p[4] = v;
}

void copy_bytes(struct copy_buffer *b, const void *data, size_t n)
{
    char *p = room(b, 4 + n);
    if (!p) return;
    put32(p, (uint32_t)n);
    memcpy(p + 4, data, n);
}

void copy_text(struct copy_buffer *b, const char *v)
{
    copy_bytes(b, v, strlen(v));
}

/* ---- reading ------------------------------------------------------------------------------------------------------ */

static uint64_t get_bytes(const unsigned char *p, int n)
{
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v = v << 8 | p[i];
    return v;
}

bool copy_read_row(struct copy_reader *r, const char *data, int size)
{
    *r = (struct copy_reader){.p = (const unsigned char *)data, .end = (const unsigned char *)data + size};
    if (size >= (int)sizeof signature && !memcmp(data, signature, 11)) r->p += sizeof signature;
    if (r->end - r->p < 2) return false;
    r->fields = (int16_t)get_bytes(r->p, 2);
    r->p += 2;
    return r->fields >= 0;
}

/* The next field. Returned: its bytes, NULL for SQL NULL or a broken row; *n its length. */
static const unsigned char *next_field(struct copy_reader *r, int32_t *n)
{
    *n = -1;
    if (r->bad || r->end - r->p < 4) {
        r->bad = true;
        return NULL;
    }
    *n = (int32_t)get_bytes(r->p, 4);
    r->p += 4;
    if (*n < 0) return NULL;
    if (r->end - r->p < *n) {
        r->bad = true;
        return NULL;
    }
    const unsigned char *p = r->p;
    r->p += *n;
    return p;
}

int64_t copy_read_int(struct copy_reader *r)
{
    int32_t n;
    const unsigned char *p = next_field(r, &n);
    if (!p) return 0;
    switch (n) {
    case 1: return p[0];
    case 2: return (int16_t)get_bytes(p, 2);
    case 4: return (int32_t)get_bytes(p, 4);
    case 8: return (int64_t)get_bytes(p, 8);
    }
    r->bad = true;
    return 0;
}

double copy_read_float(struct copy_reader *r)
{
    int32_t n;
    const unsigned char *p = next_field(r, &n);
    if (!p) return NAN;
    uint64_t bits = get_bytes(p, n > 8 ? 0 : n);
    if (n == 8) {
        double v;
        memcpy(&v, &bits, 8);
        return v;
    }
    uint32_t half = (uint32_t)bits;
    float v;
    memcpy(&v, &half, 4);
    if (n != 4) r->bad = true;
    return n == 4 ? v : NAN;
}

bool copy_read_text(struct copy_reader *r, char *ret, size_t size)
{
    int32_t n;
    const unsigned char *p = next_field(r, &n);
    size_t k = p && size ? (size_t)n < size - 1 ? (size_t)n : size - 1 : 0;
    if (k) memcpy(ret, p, k);
    if (size) ret[k] = '\0';
    return p != NULL;
}
