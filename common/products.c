#include "common/products.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

const char *product_path(char *buf, int size, int night, const char *instrument, const char *name, int ccd, int nccd, const char *kind)
{
    char part[24] = "";
    if (nccd > 1) snprintf(part, sizeof part, "_ccd%02d", ccd);
    snprintf(buf, (size_t)size, "%08d/%s/%s%s_%s", night, instrument, name, part, kind);
    return buf;
}

/* Cut `suffix` off the end of name, without regard to case. */
static int cut_suffix(char *name, const char *suffix)
{
    size_t n = strlen(name), m = strlen(suffix);
    if (n <= m || strcasecmp(name + n - m, suffix)) return 0;
    name[n - m] = '\0';
    return 1;
}

const char *product_stem(char *buf, int size, const char *raw_path)
{
    static const char *const packed[] = {".fz", ".gz", ".bz2"}, *const plain[] = {".fits", ".fit", ".fts"};
    const char *slash = strrchr(raw_path, '/');
    snprintf(buf, (size_t)size, "%s", slash ? slash + 1 : raw_path);
    for (int i = 0; i < 3; i++)
        if (cut_suffix(buf, packed[i])) break;
    for (int i = 0; i < 3; i++)
        if (cut_suffix(buf, plain[i])) break;
    return buf;
}
