/* The parts of a multipart/form-data body: where each lies, without copying it.
 *
 * The body is read in pieces through `read`, so that it may lie in memory or in a file. Boundaries may be quoted; a CRLF, or
 * text, may stand before the first.
 * Source: RFC 2046 section 5.1, RFC 7578.                                                                               */
#ifndef NIGHTSHIFT_CATALOG_UPLOAD_MULTIPART_H
#define NIGHTSHIFT_CATALOG_UPLOAD_MULTIPART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define MULTIPART_PARTS_MAX 64

struct multipart_part {
    char name[128];
    bool is_file;            /* has a filename, or a Content-Type that is not text/plain */
    int64_t offset, size;    /* of its content in the body */
};

/* Bytes of the body from offset: how many, 0 at its end, -1 on failure. */
typedef int64_t (*multipart_read)(void *user, int64_t offset, void *ret, size_t size);

/* Returned: ret_n parts. Status: ERR_USAGE: no boundary, more parts than MULTIPART_PARTS_MAX, a body that does not end */
enum err multipart_parse(const char *content_type, multipart_read read, void *user, struct multipart_part ret[MULTIPART_PARTS_MAX], int *ret_n,
                         struct error *err);

#endif
