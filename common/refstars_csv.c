/* Reference stars of a text table: one line of names, then one line per star; comma, semicolon or tab between; '#' comments. */
#include "common/refstars_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CSV_COLUMNS_MAX 1024

struct csv {
    const char *at, *end;
    int64_t line;
    char separator;
    int ncol;
    int slot[CSV_COLUMNS_MAX];
};

/* The next line without its end that is neither empty nor a comment; false at the end. */
static bool next_line(struct csv *c, const char **ret, size_t *ret_n)
{
    while (c->at < c->end) {
        const char *stop = memchr(c->at, '\n', (size_t)(c->end - c->at)), *from = c->at;
        size_t n = (size_t)((stop ? stop : c->end) - from);
        c->at = stop ? stop + 1 : c->end;
        c->line++;
        while (n && (from[n - 1] == '\r' || from[n - 1] == ' ')) n--;
        if (!n || *from == '#') continue;
        *ret = from;
        *ret_n = n;
        return true;
    }
    return false;
}

/* The next cell of a line; quotes are taken off. false after the last one. */
static bool next_cell(const struct csv *c, const char **line, size_t *left, bool *more, const char **ret, size_t *ret_n)
{
    if (!*more) return false;
    const char *p = *line;
    size_t n = 0;
    bool quoted = *left && *p == '"';
    if (quoted) {
        for (n = 1; n < *left && p[n] != '"';) n++;
        *ret = p + 1;
        *ret_n = n - 1;
    }
    size_t cell = n;
    while (cell < *left && p[cell] != c->separator) cell++;
    if (!quoted) {
        *ret = p;
        *ret_n = cell;
    }
    *more = cell < *left;
    *line = p + cell + *more;
    *left -= cell + *more;
    return true;
}

static enum err read_names(struct csv *c, struct refdata *d, struct error *err)
{
    const char *line, *cell;
    size_t left, n;
    bool more = true;
    if (!next_line(c, &line, &left)) return ERROR(err, ERR_CORRUPT, "it is empty");
    c->separator = memchr(line, ',', left) ? ',' : memchr(line, '\t', left) ? '\t' : ';';
    for (; next_cell(c, &line, &left, &more, &cell, &n); c->ncol++) {
        char name[72];
        if (c->ncol == CSV_COLUMNS_MAX) return ERROR(err, ERR_UNSUPPORTED, "more than %d columns", CSV_COLUMNS_MAX);
        while (n && *cell == ' ') cell++, n--;
        while (n && cell[n - 1] == ' ') n--;
        snprintf(name, sizeof name, "%.*s", n < sizeof name ? (int)n : (int)sizeof name - 1, cell);
        enum err e = refdata_column(d, name, NULL, &c->slot[c->ncol], err);
        if (e) return e;
        for (int k = 0; k < c->ncol && c->slot[c->ncol] >= 0; k++)
            if (c->slot[k] == c->slot[c->ncol]) c->slot[k] = -1; /* a better alias took its place */
    }
    return ERR_OK;
}

static enum err read_star(const struct csv *c, struct refdata *d, const char *line, size_t left, struct error *err)
{
    const char *cell;
    size_t n;
    bool more = true;
    int i = 0;
    enum err e = refdata_add(d, c->line, err);
    for (; !e && next_cell(c, &line, &left, &more, &cell, &n); i++)
        if (i < c->ncol && c->slot[i] >= 0) e = refdata_set_text(d, c->slot[i], cell, n, err);
    if (!e && i != c->ncol) e = ERROR(err, ERR_CORRUPT, "line %lld has %d values for %d columns", (long long)c->line, i, c->ncol);
    return e;
}

enum err refstars_parse_csv(const char *text, size_t size, struct refdata *d, struct error *err)
{
    struct csv *c = calloc(1, sizeof *c);
    const char *line;
    size_t n;
    if (!c) return ERROR(err, ERR_NOMEM, "no memory for a text table");
    c->at = text;
    c->end = text + size;
    enum err e = read_names(c, d, err);
    if (!e && (!d->name[REF_RA][0] || !d->name[REF_DEC][0])) e = refdata_finish(d, &(struct refstars){0}, err); /* says which is missing */
    while (!e && next_line(c, &line, &n)) e = read_star(c, d, line, n, err);
    free(c);
    return e;
}
