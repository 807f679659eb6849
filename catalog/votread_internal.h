/* What votread.c (the XML) and votread_cells.c (the values) share. */
#ifndef NIGHTSHIFT_CATALOG_VOTREAD_INTERNAL_H
#define NIGHTSHIFT_CATALOG_VOTREAD_INTERNAL_H

#include "catalog/votread.h"

#define VOTREAD_CELL_MAX (1 << 20)
#define VOTREAD_ROW_MAX  (4 << 20)

enum votread_datatype { VT_BOOLEAN, VT_BIT, VT_BYTE, VT_SHORT, VT_INT, VT_LONG, VT_CHAR, VT_UNICODE, VT_FLOAT, VT_DOUBLE, VT_FCOMPLEX, VT_DCOMPLEX, VT_TYPES };

/* How a column is written. */
struct votread_layout {
    enum votread_datatype datatype;
    bool array;              /* more than one value: text for all but char and unicodeChar, which are text anyway */
    bool variable;           /* BINARY: a count of 4 bytes comes first */
    int64_t count;           /* of a fixed array, 1 for a scalar */
    bool has_null;
    int64_t null;            /* VALUES null of an integer */
};

/* Grows by itself, with a ceiling. */
struct votread_buffer {
    char *data;
    size_t used, capacity;
};
bool votread_append(struct votread_buffer *b, const void *data, size_t size, size_t ceiling);

/* Does the name of a datatype exist? */
bool votread_datatype_of(const char *name, enum votread_datatype *ret);
enum schema_type votread_type_of(const struct votread_layout *l);

/* Parse the text of a TD. Text values point into `text`. Status: ERR_CORRUPT */
enum err votread_cell(const struct votread_layout *l, char *text, size_t size, struct votread_value *ret, struct error *err);

/* One row of BINARY (flags false) or BINARY2 (true) at `data`. Text is kept in `store`, as offsets turned to pointers at the end.
 * Returned: bytes taken, 0: not all there yet, -1: error */
int64_t votread_binary_row(const struct votread_layout *l, int n, bool flags, const unsigned char *data, size_t size,
                           struct votread_buffer *store, struct votread_value *values, struct error *err);

/* base64 as a stream: blanks are skipped, quartets may be cut anywhere. Returned: false for a character that is none. */
struct votread_base64 {
    uint32_t bits;
    int n;                   /* characters of the quartet so far */
    bool padded;
};
bool votread_base64_add(struct votread_base64 *b, const char *text, size_t size, struct votread_buffer *out);

#endif
