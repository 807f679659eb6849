#include <stdio.h>
#include <wcslib/wcs.h>

#include "common/libraries.h"

const char *skycoord_library(char *buf, size_t size)
{
    int v[3] = {0, 0, 0};
    snprintf(buf, size, "%s", wcslib_version(v));
    return buf;
}
