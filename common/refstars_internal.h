/* Between the readers of reference stars: columns by role, as numbers. */
#ifndef NIGHTSHIFT_COMMON_REFSTARS_INTERNAL_H
#define NIGHTSHIFT_COMMON_REFSTARS_INTERNAL_H

#include "common/refstars.h"

#include <stdbool.h>
#include <stddef.h>

enum ref_role {
    REF_ID, REF_RA, REF_DEC, REF_RA_ERR, REF_DEC_ERR, REF_PMRA, REF_PMDEC, REF_PMRA_ERR, REF_PMDEC_ERR, REF_PARALLAX, REF_EPOCH, REF_BP_RP,
    REF_ROLES, REF_BAND = REF_ROLES, REF_COLUMNS = REF_ROLES + REFSTARS_BANDS_MAX
};

/* A table on its way to stars. slot[] of a file's column says which of ours it fills, -1 none. */
struct refdata {
    const char *path;
    const char *row_word;         /* "row" or "line": how a reader of the file counts */
    int64_t n, capacity;
    int nband;
    char name[REF_COLUMNS][72];   /* as the file writes it, "" when absent */
    int rank[REF_COLUMNS];        /* which alias it was: a better one takes the place */
    double scale[REF_COLUMNS];    /* to our unit */
    double *value[REF_COLUMNS];
    int64_t *id;
    int64_t *row;                 /* number of each row in the file; NULL: counted from 1 */
};

void refdata_release(struct refdata *d);
/* The slot a column of this name and unit fills, -1 for none. ERR_UNSUPPORTED for a unit nobody knows (*ret is then -1). */
enum err refdata_column(struct refdata *d, const char *name, const char *unit, int *ret, struct error *err);
/* Room for one more row, all NaN; row: its number in the file. ERR_NOMEM */
enum err refdata_add(struct refdata *d, int64_t row, struct error *err);
/* A cell of the last row as text. Blank, "null" and "nan" are NaN. ERR_CORRUPT names row and column. */
enum err refdata_set_text(struct refdata *d, int slot, const char *text, size_t n, struct error *err);
void refdata_set(struct refdata *d, int slot, double value);
/* Check, sort and hand over. */
enum err refdata_finish(struct refdata *d, struct refstars *ret, struct error *err);

enum err refstars_parse_csv(const char *text, size_t size, struct refdata *d, struct error *err);
enum err refstars_parse_votable(const char *text, size_t size, struct refdata *d, struct error *err);
enum err refstars_read_fits(const char *path, struct refdata *d, struct error *err);

#endif
