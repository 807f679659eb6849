/* Between rowset.c and the writers of the formats; nobody else includes it. */
#ifndef NIGHTSHIFT_CATALOG_ROWSET_FORMATS_H
#define NIGHTSHIFT_CATALOG_ROWSET_FORMATS_H

#include <stdio.h>
#include <string.h>

#include "catalog/rowset.h"

/* How a column is written: its type, or ROWSET_TEXT for the 64-bit id of a cone search. */
struct rowset {
    struct rowset_options opt;
    rowset_sink sink;
    void *user;
    char *buf;               /* bytes not yet given to the sink */
    size_t used, room;
    bool begun, broken, failed;      /* failed: out of memory */
    int64_t rows;
    struct rowset_field *fields;     /* scratch of rowset_copy_row() and rowset_result_row() */
    enum rowset_type *kind;
    char **prefix;           /* JSON: what stands before each value */
    unsigned char *row;      /* BINARY, BINARY2, FITS: the row in hand */
    size_t row_used, row_room;
    unsigned char tail[3];   /* base64: bytes that do not fill a group yet */
    int ntail;
    size_t line;             /* characters of base64 since the last line end */
    FILE *spool;             /* FITS: rows in the form of BINARY2 */
    int32_t *width;          /* FITS: longest text of each column */
};

/* One value, of the kind its column is written as. */
struct rowset_value {
    bool null;
    int64_t i;
    double d;                /* of a FLOAT: exactly a float */
    const char *s;
    int32_t n;
    char text[40];           /* s of timestamps and ids */
};

enum err rowset_value_of(const struct rowset *r, int col, const struct rowset_field *f, struct rowset_value *ret, struct error *err);

bool rowset_flush(struct rowset *r);

/* Room for n more bytes; NULL when there is none. */
char *rowset_reserve_slow(struct rowset *r, size_t n);
static inline char *rowset_reserve(struct rowset *r, size_t n)
{
    return r->used + n <= r->room ? r->buf + r->used : rowset_reserve_slow(r, n);
}

static inline void rowset_put(struct rowset *r, const void *data, size_t n)
{
    char *p = rowset_reserve(r, n);
    if (!p) return;
    memcpy(p, data, n);
    r->used += n;
}

static inline void rowset_puts(struct rowset *r, const char *s)
{
    rowset_put(r, s, strlen(s));
}

void rowset_put_xml(struct rowset *r, const char *s, size_t n);
void rowset_put_json(struct rowset *r, const char *s, size_t n);
void rowset_put_separated(struct rowset *r, const char *s, size_t n, char comma);

/* rowset_votable.c */
void rowset_begin_votable(struct rowset *r);
void rowset_end_votable(struct rowset *r, bool overflow, const char *error);

/* rowset_text.c */
void rowset_begin_json(struct rowset *r);
void rowset_begin_separated(struct rowset *r, char comma);
void rowset_end_json(struct rowset *r, bool overflow, const char *error);
enum err rowset_row_tabledata(struct rowset *r, const struct rowset_field *f, struct error *err);
enum err rowset_row_json(struct rowset *r, const struct rowset_field *f, struct error *err);
enum err rowset_row_separated(struct rowset *r, const struct rowset_field *f, char comma, struct error *err);

/* rowset_binary.c */
enum err rowset_row_binary(struct rowset *r, const struct rowset_field *f, bool flags, struct error *err);
void rowset_end_base64(struct rowset *r);
enum err rowset_spool_row(struct rowset *r, const struct rowset_field *f, struct error *err);
enum err rowset_write_fits(struct rowset *r, bool overflow, struct error *err);

#endif
