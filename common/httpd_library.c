#include <microhttpd.h>
#include <stdio.h>

#include "common/libraries.h"

const char *httpd_library(char *buf, size_t size)
{
    snprintf(buf, size, "%s", MHD_get_version());
    return buf;
}
