/* Rows of a query as a document: VOTable 1.4 (TABLEDATA), CSV, TSV or JSON, written as they come, in constant memory.
 *
 * Values arrive as the text PostgreSQL gives (NULL: no value). 64-bit ids are strings in JSON: a browser's numbers end at
 * 2^53. Truncation is told in each format: VOTable INFO QUERY_STATUS=OVERFLOW, JSON "overflow": true, CSV and TSV the
 * header X-Overflow-Limit that names the limit beforehand.
 * Source: VOTable 1.4 (REC 2019), DALI 1.1 section 4.4.                                                             */
#ifndef NIGHTSHIFT_CATALOG_ROWSET_H
#define NIGHTSHIFT_CATALOG_ROWSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum rowset_format { ROWSET_VOTABLE, ROWSET_CSV, ROWSET_TSV, ROWSET_JSON };
enum rowset_type { ROWSET_INT, ROWSET_LONG, ROWSET_FLOAT, ROWSET_DOUBLE, ROWSET_CHAR, ROWSET_BOOL };

struct rowset_column {
    const char *name;
    enum rowset_type type;
    const char *unit;        /* "" for none */
    const char *ucd;         /* UCD1+ */
    const char *ucd1;        /* UCD1 where the Simple Cone Search wants one, NULL elsewhere */
    const char *description;
    const char *utype, *xtype; /* NULL or "": none */
};

typedef bool (*rowset_sink)(void *user, const char *data, size_t size); /* false: the reader left */

struct rowset {
    rowset_sink sink;
    void *user;
    enum rowset_format format;
    const struct rowset_column *columns;
    int ncol;
    bool scs;                /* UCD1 in the VOTable */
    int64_t rows;
    bool broken;             /* the sink said no */
};

/* "votable", "csv", "tsv", "json" and their media types. Returned: false for anything else. */
bool rowset_format_of(const char *name, enum rowset_format *ret);
const char *rowset_content_type(enum rowset_format format);

/* Fill in sink, user, format, columns, ncol and scs before. */
void rowset_begin(struct rowset *r, const char *table, const char *description);
bool rowset_row(struct rowset *r, const char *const *values);
/* error NULL: good; else the document is closed with the error told in it. */
void rowset_end(struct rowset *r, bool overflow, const char *error);

/* A whole error document. scs: the Simple Cone Search's <INFO name="Error">, else DALI's QUERY_STATUS=ERROR. */
void rowset_error_votable(rowset_sink sink, void *user, bool scs, const char *message);

#endif
