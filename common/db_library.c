#include <libpq-fe.h>
#include <stdio.h>

#include "common/libraries.h"

/* Since PostgreSQL 10 a version is major * 10000 + minor. */
const char *db_library(char *buf, size_t size)
{
    int v = PQlibVersion();
    snprintf(buf, size, "%d.%d%s", v / 10000, v % 10000, PQisthreadsafe() ? "" : ", not thread-safe");
    return buf;
}
