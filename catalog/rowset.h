/* Rows as a document: VOTable 1.4 (TABLEDATA, BINARY, BINARY2), CSV, TSV, JSON, FITS; typed values in, one writer per format,
 * constant memory.
 *
 *     rowset_new(&opt, sink, user, &r, &err)      names, types, units ...; nothing is written yet
 *     rowset_row(r, fields)                       a row: each value as PostgreSQL's binary form has it
 *     rowset_copy_row(r, data, size)              the same from a row of COPY ... TO STDOUT BINARY (db_copy_out())
 *     rowset_end(r, overflow, error, &err)        the rest of the document
 *     rowset_free(r)
 *
 * Values: the type of a column says what the document declares. A value may come in another width (an int4 for a long, a
 * float4 for a double; an int8 for an int where it fits): the length tells. Decimal text is the shortest that reads back as
 * the same number (common/decimal.h), so every format holds equal values.
 * NULL and NaN: told apart in BINARY2, TABLEDATA, CSV and TSV (NULL is nothing at all, an empty string "" in CSV); JSON knows
 * no NaN, BINARY and FITS no NULL of a float: both are one there. Integers without a value: the null the FIELD or TNULL says.
 * Truncation: VOTable INFO QUERY_STATUS=OVERFLOW, JSON "overflow": true, FITS card OVERFLOW; CSV and TSV cannot say it: the
 * caller does (a header or a trailer). An error in mid-document: VOTable INFO ERROR, JSON "error"; the caller breaks the
 * connection too. FITS needs its length first: its rows wait in an unlinked file, nothing reaches the sink before the end.
 * 64-bit integers are strings in JSON: a browser's numbers end at 2^53.
 * Threads: a rowset belongs to one thread at a time.
 * Source: VOTable 1.4 (REC 2019), DALI 1.1 section 4.4, FITS 4.0 section 7.3, RFC 4180.                              */
#ifndef NIGHTSHIFT_CATALOG_ROWSET_H
#define NIGHTSHIFT_CATALOG_ROWSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/db.h"
#include "common/err.h"

enum rowset_format { ROWSET_VOTABLE, ROWSET_BINARY, ROWSET_BINARY2, ROWSET_CSV, ROWSET_TSV, ROWSET_JSON, ROWSET_FITS, ROWSET_FORMATS };

/* In the order of enum schema_type: a schema_column's type is one of these. */
enum rowset_type { ROWSET_BOOL, ROWSET_SHORT, ROWSET_INT, ROWSET_LONG, ROWSET_FLOAT, ROWSET_DOUBLE, ROWSET_TEXT, ROWSET_TIMESTAMP };

/* Strings may be NULL where nothing is said. */
struct rowset_column {
    const char *name;
    enum rowset_type type;
    const char *unit;
    const char *ucd;         /* UCD1+ */
    const char *ucd1;        /* UCD1 where the Simple Cone Search wants one */
    const char *description;
    const char *utype, *xtype;
};

struct rowset_field {
    const void *data;
    int32_t size;            /* -1: NULL */
};

struct rowset_info {         /* <INFO> of the VOTable, a comment in FITS */
    const char *name, *value;
};

typedef bool (*rowset_sink)(void *user, const char *data, size_t size); /* false: the reader left */

struct rowset_options {      /* must live as long as the rowset */
    enum rowset_format format;
    const struct rowset_column *columns;
    int ncol;
    bool scs;                /* Simple Cone Search: UCD1 in the VOTable, the id a string */
    const char *table, *description;
    const struct rowset_info *infos;
    int ninfo;
    const char *folder;      /* of FITS rows that wait; NULL: $TMPDIR, else /tmp */
};

struct rowset;

/* What a format is called: names and media types a client may ask for (DALI RESPONSEFORMAT), without regard to case.
 * Returned: false for anything else. rowset_format_name(): "votable", "votable/b", "votable/b2", "csv", "tsv", "json", "fits". */
bool rowset_format_of(const char *name, enum rowset_format *ret);
const char *rowset_format_name(enum rowset_format format);
const char *rowset_content_type(enum rowset_format format);
const char *rowset_extension(enum rowset_format format); /* "xml", "csv", ... */

enum err rowset_new(const struct rowset_options *opt, rowset_sink sink, void *user, struct rowset **ret, struct error *err);
void rowset_free(struct rowset *r); /* takes NULL */

/* Status: ERR_INTERRUPTED when the reader left, ERR_NO_SPACE or ERR_IO when the file of FITS rows cannot be written,
 * ERR_INTERNAL for a value that is not of its column's type, ERR_NOMEM */
enum err rowset_row(struct rowset *r, const struct rowset_field *fields, struct error *err);
/* *ret_row (may be NULL) false: that was the trailer of the COPY, no row. */
enum err rowset_copy_row(struct rowset *r, const char *data, int size, bool *ret_row, struct error *err);
/* Row `row` of a result in binary form (db_stream() with binary, db_query_binary()). */
enum err rowset_result_row(struct rowset *r, const struct db_result *result, int64_t row, struct error *err);

/* error NULL: good. With an error FITS writes nothing at all. */
enum err rowset_end(struct rowset *r, bool overflow, const char *error, struct error *err);
int64_t rowset_rows(const struct rowset *r);

/* A whole error document. scs: the Simple Cone Search's <INFO name="Error">, else DALI's QUERY_STATUS=ERROR. */
void rowset_error_votable(rowset_sink sink, void *user, bool scs, const char *message);

#endif
