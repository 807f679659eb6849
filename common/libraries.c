#include "common/libraries.h"

#include <erfa.h>
#include <erfaextra.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <yaml.h>

const char *erfa_library(char *buf, size_t size)
{
    snprintf(buf, size, "%s", eraVersion());
    return buf;
}

const char *jansson_library(char *buf, size_t size)
{
    snprintf(buf, size, "%s", jansson_version_str());
    return buf;
}

const char *yaml_library(char *buf, size_t size)
{
    snprintf(buf, size, "%s", yaml_get_version_string());
    return buf;
}

const char *crypto_library(char *buf, size_t size)
{
    snprintf(buf, size, "%s", OpenSSL_version(OPENSSL_VERSION_STRING));
    return buf;
}

/* The standard dates its versions. Source: the OpenMP specifications, chapter "Conditional Compilation" */
const char *openmp_library(char *buf, size_t size)
{
    static const struct {
        int date;
        const char *version;
    } known[] = {{202111, "5.2"}, {202011, "5.1"}, {201811, "5.0"}, {201511, "4.5"}, {201307, "4.0"}, {0, "3 or older"}};
    int i = 0;
    while (_OPENMP < known[i].date) i++;
    snprintf(buf, size, "%s", known[i].version);
    return buf;
}
