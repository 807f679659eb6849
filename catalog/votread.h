/* Reads the first table of a VOTable as it arrives: TABLEDATA, BINARY or BINARY2, VOTable 1.0 to 1.5, in constant memory.
 *
 *     struct votread *v = NULL;
 *     votread_new(&(struct votread_sink){.fields = ..., .row = ..., .user = ...}, &v, &err);
 *     while (more) votread_feed(v, data, size, &err);
 *     votread_end(v, &err);             the document has to be whole; votread_free(v) in any case
 *
 * What it does not take, with a line that says so: a document type declaration (so no entities), FITS streams, streams by
 * reference or compressed, elements deeper than 32, more than 512 columns, a cell of more than 1 MiB, a row of more than 4 MiB.
 * Values: an empty cell, the column's VALUES null, NaN and a set null flag are all NULL. unsignedByte becomes short; bits,
 * complex numbers and arrays of numbers become text, numbers separated by blanks. Text is UTF-8.
 * Source: VOTable 1.4 (REC 2019), sections 4 to 6.
 * Threads: a reader belongs to one thread.                                                                              */
#ifndef NIGHTSHIFT_CATALOG_VOTREAD_H
#define NIGHTSHIFT_CATALOG_VOTREAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "catalog/schema.h"
#include "common/err.h"

#define VOTREAD_COLUMNS_MAX 512

struct votread_field {
    char *name;              /* name, else ID, else "colN" */
    enum schema_type type;   /* what its values come as */
    char *unit, *ucd, *utype, *xtype; /* "" for none */
    char *arraysize;         /* as written */
};

struct votread_value {
    bool null;
    int64_t i;               /* boolean, short, int, long */
    double d;                /* float, double */
    const char *text;        /* text: not NUL-terminated */
    size_t size;
};

struct votread_sink {        /* anything but ERR_OK stops the reader and is returned */
    enum err (*fields)(void *user, const struct votread_field *fields, int n, struct error *err); /* once, before the first row */
    enum err (*row)(void *user, const struct votread_value *values, struct error *err);
    void *user;
};

struct votread;

enum err votread_new(const struct votread_sink *sink, struct votread **ret, struct error *err);
/* Status: ERR_CORRUPT: not a VOTable, or damaged; ERR_UNSUPPORTED; ERR_NOMEM; what the sink said. The message names the line. */
enum err votread_feed(struct votread *v, const char *data, size_t size, struct error *err);
enum err votread_end(struct votread *v, struct error *err);
void votread_free(struct votread *v); /* takes NULL */
int64_t votread_rows(const struct votread *v);

#endif
