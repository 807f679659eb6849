/* A catalogue of `reduce` or `extract` (FITS_LDAC) read back into detections, and written again. */
#ifndef NIGHTSHIFT_PIPELINE_LDACCAT_H
#define NIGHTSHIFT_PIPELINE_LDACCAT_H

#include "common/detections.h"
#include "common/err.h"
#include "common/header.h"

struct ldaccat {
    struct header image;                 /* header of the image it was measured on */
    struct detections d;
    enum detection_column column[DETECTION_COLUMN_COUNT];
    int ncolumn;                         /* in the order of the file; columns of no known name are left out */
};

void ldaccat_init(struct ldaccat *c);
void ldaccat_release(struct ldaccat *c);

/* The first catalogue of the file. Status: what table_read() says; ERR_CORRUPT when its parts do not fit; ERR_NOMEM. */
enum err ldaccat_read(const char *path, struct ldaccat *ret, struct error *err);

/* Write it again, whole or not at all. The unit of the fluxes is BUNIT of the image. */
enum err ldaccat_write(const char *path, const struct ldaccat *c, struct error *err);

bool ldaccat_has(const struct ldaccat *c, enum detection_column column);
/* Let the file have this column too; its values are the caller's to fill. */
void ldaccat_add(struct ldaccat *c, enum detection_column column);

#endif
