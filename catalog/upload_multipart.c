#include "catalog/upload_multipart.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define WINDOW       (64 * 1024)
#define BOUNDARY_MAX 200
#define HEADER_MAX   8192

struct scanner {
    multipart_read read;
    void *user;
    char *window;                    /* WINDOW bytes of the body from `base` */
    int64_t base, size;
    char delimiter[BOUNDARY_MAX + 8]; /* CRLF "--" boundary */
    size_t length;
    struct error *err;
};

/* Value of a parameter of a header: name=token or name="quoted". Returned: false if there is none or it does not fit. */
static bool header_parameter(const char *header, const char *name, char *ret, size_t size)
{
    size_t n = strlen(name), k = 0;
    bool quoted = false;
    const char *p = header;
    for (; *p; p++) { /* a name inside quotes is no name */
        if (*p == '"' && (p == header || p[-1] != '\\')) quoted = !quoted;
        if (!quoted && *p == ';') {
            const char *q = p + 1 + strspn(p + 1, " \t");
            if (!strncasecmp(q, name, n) && q[n] == '=') {
                p = q + n + 1;
                break;
            }
        }
    }
    if (!*p) return false;
    quoted = *p == '"';
    if (quoted) p++;
    for (; *p && (quoted ? *p != '"' : !strchr("; \t\r\n", *p)); p++) {
        if (quoted && *p == '\\' && p[1]) p++;
        if (k + 1 >= size) return false;
        ret[k++] = *p;
    }
    ret[k] = 0;
    return k > 0;
}

/* Make the window start at `at`. Returned: bytes there. */
static int64_t look(struct scanner *s, int64_t at)
{
    if (at >= s->base && at < s->base + s->size && s->base + s->size - at >= HEADER_MAX) return s->base + s->size - at;
    s->base = at;
    s->size = 0;
    while (s->size < WINDOW) {
        int64_t n = s->read(s->user, at + s->size, s->window + s->size, (size_t)(WINDOW - s->size));
        if (n <= 0) break;
        s->size += n;
    }
    return s->size;
}

static const char *here(const struct scanner *s, int64_t at)
{
    return s->window + (at - s->base);
}

/* Offset of the next delimiter at or after `from`, -1: none. */
static int64_t find_delimiter(struct scanner *s, int64_t from)
{
    for (;;) {
        int64_t n = look(s, from);
        if (n < (int64_t)s->length) return -1;
        const char *hit = memmem(here(s, from), (size_t)n, s->delimiter, s->length);
        if (hit) return from + (hit - here(s, from));
        if (n <= (int64_t)s->length) return -1;
        from += n - (int64_t)s->length + 1;
    }
}

/* Headers of a part at `at`. Returned: where its content begins, -1: not understood. */
static int64_t read_headers(struct scanner *s, int64_t at, struct multipart_part *p)
{
    char text[HEADER_MAX + 1], *save = NULL, type[64] = "", filename[8];
    int64_t n = look(s, at);
    if (n > HEADER_MAX) n = HEADER_MAX;
    memcpy(text, here(s, at), (size_t)n);
    text[n] = 0;
    char *end = strstr(text, "\r\n\r\n");
    if (!end) return -1;
    end[2] = 0;
    *p = (struct multipart_part){0};
    for (char *line = strtok_r(text, "\r\n", &save); line; line = strtok_r(NULL, "\r\n", &save)) {
        if (!strncasecmp(line, "Content-Disposition:", 20)) {
            if (!header_parameter(line, "name", p->name, sizeof p->name)) return -1;
            p->is_file = header_parameter(line, "filename", filename, sizeof filename) || strcasestr(line, "filename=");
        } else if (!strncasecmp(line, "Content-Type:", 13)) {
            snprintf(type, sizeof type, "%.60s", line + 13 + strspn(line + 13, " \t"));
        }
    }
    if (*type && strncasecmp(type, "text/plain", 10)) p->is_file = true;
    return *p->name ? at + (end - text) + 4 : -1;
}

/* After a delimiter: 1: a part begins at *at, 0: that was the last, -1: neither. */
static int after_delimiter(struct scanner *s, int64_t *at)
{
    int64_t n = look(s, *at), k = 0;
    const char *p = here(s, *at);
    if (n >= 2 && p[0] == '-' && p[1] == '-') return 0;
    while (k < n && (p[k] == ' ' || p[k] == '\t')) k++;
    if (n - k < 2 || p[k] != '\r' || p[k + 1] != '\n') return -1;
    *at += k + 2;
    return 1;
}

static enum err scan(struct scanner *s, struct multipart_part *ret, int *ret_n)
{
    int n = 0, more;
    bool at_once = look(s, 0) >= (int64_t)s->length - 2 && !memcmp(here(s, 0), s->delimiter + 2, s->length - 2);
    int64_t at = at_once ? (int64_t)s->length - 2 : find_delimiter(s, 0);
    if (at < 0) return ERROR(s->err, ERR_USAGE, "the multipart body does not hold its boundary");
    if (!at_once) at += (int64_t)s->length;
    while ((more = after_delimiter(s, &at)) > 0) {
        if (n == MULTIPART_PARTS_MAX) return ERROR(s->err, ERR_USAGE, "the multipart body has more than %d parts", MULTIPART_PARTS_MAX);
        struct multipart_part *p = &ret[n];
        int64_t begin = read_headers(s, at, p), end = begin < 0 ? -1 : find_delimiter(s, begin - 2);
        if (begin < 0) return ERROR(s->err, ERR_USAGE, "part %d of the multipart body has no name, or headers that do not end", n + 1);
        if (end < 0) return ERROR(s->err, ERR_USAGE, "the multipart body ends inside part '%s'", p->name);
        p->offset = begin;
        p->size = end > begin ? end - begin : 0; /* an empty part's own blank line is the delimiter's CRLF */
        at = end + (int64_t)s->length;
        n++;
    }
    if (more < 0) return ERROR(s->err, ERR_USAGE, "the multipart body is cut at a boundary");
    *ret_n = n;
    return ERR_OK;
}

enum err multipart_parse(const char *content_type, multipart_read read, void *user, struct multipart_part ret[MULTIPART_PARTS_MAX], int *ret_n,
                         struct error *err)
{
    char boundary[BOUNDARY_MAX];
    struct scanner s = {.read = read, .user = user, .err = err};
    if (!content_type || !header_parameter(content_type, "boundary", boundary, sizeof boundary))
        return ERROR(err, ERR_USAGE, "the multipart body names no boundary");
    s.length = (size_t)snprintf(s.delimiter, sizeof s.delimiter, "\r\n--%s", boundary);
    s.window = malloc(WINDOW);
    if (!s.window) return ERROR(err, ERR_NOMEM, "could not get memory to read the body");
    enum err e = scan(&s, ret, ret_n);
    free(s.window);
    return e;
}
