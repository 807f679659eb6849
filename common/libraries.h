/* Which foreign libraries this program runs with. Each function stands in the one file that may include that library.
 *
 * Given:    buf    room for the words of a version: "4.2.0"; LIBRARY_WORDS are enough
 * Returned: buf
 * Threads:  any                                                                                                     */
#ifndef NIGHTSHIFT_COMMON_LIBRARIES_H
#define NIGHTSHIFT_COMMON_LIBRARIES_H

#include <stdbool.h>
#include <stddef.h>

#define LIBRARY_WORDS 96

const char *frameio_library(char *buf, size_t size, bool *ret_reentrant); /* cfitsio; may it read files in threads? */
const char *skycoord_library(char *buf, size_t size);                     /* wcslib */
const char *erfa_library(char *buf, size_t size);
const char *jansson_library(char *buf, size_t size);
const char *yaml_library(char *buf, size_t size);
const char *crypto_library(char *buf, size_t size);
const char *openmp_library(char *buf, size_t size);

/* In common_net. */
const char *db_library(char *buf, size_t size);    /* libpq */
const char *http_library(char *buf, size_t size);  /* libcurl and its TLS */
const char *httpd_library(char *buf, size_t size); /* libmicrohttpd */

#endif
