/* Any bytes as a VOTable: rows whose values fit their columns, or an error that says why; the same in one piece and in many. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/votread.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct tally {
    const struct votread_field *fields;
    int n;
    uint64_t sum;
};

static enum err take_fields(void *user, const struct votread_field *f, int n, struct error *err)
{
    struct tally *t = user;
    (void)err;
    if (n < 1 || n > VOTREAD_COLUMNS_MAX) abort();
    t->fields = f;
    t->n = n;
    return ERR_OK;
}

static enum err take_row(void *user, const struct votread_value *v, struct error *err)
{
    struct tally *t = user;
    (void)err;
    for (int i = 0; i < t->n; i++) {
        t->sum = t->sum * 31 + (uint64_t)v[i].null;
        if (v[i].null) continue;
        if (t->fields[i].type == SCHEMA_SHORT && (v[i].i < INT16_MIN || v[i].i > INT16_MAX)) abort();
        if (t->fields[i].type != SCHEMA_TEXT) continue;
        for (size_t k = 0; k < v[i].size; k++) {
            if (!v[i].text[k]) abort(); /* PostgreSQL's text has no NUL */
            t->sum = t->sum * 31 + (unsigned char)v[i].text[k];
        }
    }
    return ERR_OK;
}

static enum err read_pieces(const char *data, size_t size, size_t piece, struct tally *t)
{
    struct votread *v = NULL;
    struct error err = ERROR_INIT;
    *t = (struct tally){0};
    enum err e = votread_new(&(struct votread_sink){take_fields, take_row, t}, &v, &err);
    for (size_t at = 0; at < size && !e; at += piece) e = votread_feed(v, data + at, size - at < piece ? size - at : piece, &err);
    if (!e) e = votread_end(v, &err);
    if (e && (err.code != e || !err.message[0])) abort();
    votread_free(v);
    return e;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tally whole, pieces;
    enum err a = read_pieces((const char *)data, size, size ? size : 1, &whole), b = read_pieces((const char *)data, size, 7, &pieces);
    if (!a != !b || (!a && whole.sum != pieces.sum)) abort();
    return 0;
}
