/* First line: a Content-Type; the rest: a body. Parts lie inside the body, in order, or an error says why not. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/upload_multipart.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct body {
    const uint8_t *data;
    size_t size;
};

static int64_t read_some(void *user, int64_t offset, void *ret, size_t size)
{
    const struct body *b = user;
    if (offset < 0) abort();
    if ((size_t)offset >= b->size) return 0;
    size_t n = b->size - (size_t)offset;
    if (n > size) n = size;
    memcpy(ret, b->data + offset, n);
    return (int64_t)n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct multipart_part *parts = calloc(MULTIPART_PARTS_MAX, sizeof *parts);
    const uint8_t *end = size ? memchr(data, '\n', size) : NULL;
    size_t n = end ? (size_t)(end - data) : size;
    char *type = calloc(1, n + 1);
    struct error err = ERROR_INIT;
    int count = 0;
    if (parts && type) {
        if (n) memcpy(type, data, n);
        struct body b = {end ? end + 1 : data, end ? size - n - 1 : 0};
        enum err e = multipart_parse(type, read_some, &b, parts, &count, &err);
        if (e && (err.code != e || !err.message[0])) abort();
        int64_t at = 0;
        for (int i = 0; !e && i < count; i++) {
            if (parts[i].offset < at || parts[i].size < 0 || parts[i].offset + parts[i].size > (int64_t)b.size || !parts[i].name[0]) abort();
            at = parts[i].offset + parts[i].size;
        }
    }
    free(type);
    free(parts);
    return 0;
}
