#include <curl/curl.h>
#include <stdio.h>

#include "common/libraries.h"

const char *http_library(char *buf, size_t size)
{
    const curl_version_info_data *v = curl_version_info(CURLVERSION_NOW);
    snprintf(buf, size, "%s, %s", v->version, v->ssl_version ? v->ssl_version : "without TLS");
    return buf;
}
