/* The file of reference stars of one command: read once, lent to every exposure. */
#ifndef NIGHTSHIFT_PIPELINE_REFERENCEFILE_H
#define NIGHTSHIFT_PIPELINE_REFERENCEFILE_H

#include "common/digest.h"
#include "common/err.h"
#include "common/refstars.h"

struct reference_file {
    struct refstars stars;
    char name[256];              /* without folder */
    char sum[DIGEST_HEX_SIZE];   /* SHA-256 of the file */
};

/* Status: those of refstars_read(); ERR_UNSUPPORTED for a file without a single star. */
enum err reference_file_read(const char *path, struct reference_file **ret, struct error *err);
void reference_file_free(struct reference_file *r); /* takes NULL */

#endif
