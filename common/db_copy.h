/* Rows of PostgreSQL's binary COPY format, written and read without text in between.
 *
 *     header  "PGCOPY\n\377\r\n\0", flags 0, extension length 0
 *     row     int16 fields; per field int32 length (-1: NULL) and the value, network byte order
 *     trailer int16 -1
 *
 * Source: PostgreSQL 15 documentation, COPY, "Binary Format"; values as the send functions of the types make them.
 * Threads: a buffer belongs to one thread.                                                                          */
#ifndef NIGHTSHIFT_COMMON_DB_COPY_H
#define NIGHTSHIFT_COMMON_DB_COPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

/* Writing. A failed allocation is remembered: the put functions do nothing then, copy_failed() says so at the end. */
struct copy_buffer {
    char *data;
    size_t size, capacity;
    bool failed;
};

void copy_release(struct copy_buffer *b);
void copy_start(struct copy_buffer *b);            /* empty, with the header; keeps its memory */
void copy_row(struct copy_buffer *b, int fields);
void copy_null(struct copy_buffer *b);
void copy_i16(struct copy_buffer *b, int16_t v);
void copy_i32(struct copy_buffer *b, int32_t v);
void copy_i64(struct copy_buffer *b, int64_t v);
void copy_f32(struct copy_buffer *b, float v);     /* NaN and infinities become NULL */
void copy_f64(struct copy_buffer *b, double v);    /* likewise */
void copy_f32_any(struct copy_buffer *b, float v); /* these two as they are */
void copy_f64_any(struct copy_buffer *b, double v);
void copy_bool(struct copy_buffer *b, bool v);
void copy_text(struct copy_buffer *b, const char *v);
void copy_bytes(struct copy_buffer *b, const void *data, size_t size); /* text that is not NUL-terminated, bytea */
void copy_finish(struct copy_buffer *b);           /* the trailer */

/* Reading one row as PQgetCopyData hands it out (db_copy_out): skips the header; *at_end for the trailer. Fields are read
 * in order; a NULL gives NaN or 0. A row that does not hold what is asked for makes r->bad true. */
struct copy_reader {
    const unsigned char *p, *end;
    int fields;
    bool bad;
};
bool copy_read_row(struct copy_reader *r, const char *data, int size); /* false: the trailer, no row here */
int64_t copy_read_int(struct copy_reader *r);                          /* int2, int4, int8, bool */
double copy_read_float(struct copy_reader *r);                         /* float4, float8 */
bool copy_read_text(struct copy_reader *r, char *ret, size_t size);    /* false: NULL; cut at size - 1 */

#endif
