#include "catalog/answer.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/service.h"
#include "common/assets.h"
#include "common/log.h"

static bool sink(void *user, const char *data, size_t size)
{
    return http_write(user, data, size);
}

/* ---- errors --------------------------------------------------------------------------------------------------------- */

static int status_of(enum err code)
{
    switch (code) {
    case ERR_USAGE: return 400;
    case ERR_NOT_FOUND: return 404;
    case ERR_DATABASE: case ERR_NOMEM: return 503;
    case ERR_INTERRUPTED: return 504;
    default: return 500;
    }
}

void answer_refuse(struct http_response *w, bool scs, enum err code, const char *message)
{
    int status = status_of(code);
    http_discard(w);
    if (status == 503) http_header_out(w, "Retry-After", "2");
    if (!scs) {
        http_error(w, status, "%s", message);
        return;
    }
    http_status(w, status);
    http_header_out(w, "Content-Type", "application/x-votable+xml");
    rowset_error_votable(sink, w, true, message);
}

void answer_refuse_error(struct http_response *w, bool scs, const struct error *err)
{
    char line[1200];
    error_line(err, line, sizeof line);
    if (status_of(err->code) >= 500) log_error(err);
    answer_refuse(w, scs, err->code, line);
}

/* ---- parameters ----------------------------------------------------------------------------------------------------- */

enum err answer_number(const struct http_request *r, const char *name, double low, double high, double *ret, struct error *err)
{
    const char *text = http_param(r, name);
    char *end;
    if (!text || !*text) return ERROR(err, ERR_USAGE, "parameter %s is missing", name);
    if (http_param_count(r, name) > 1) return ERROR(err, ERR_USAGE, "parameter %s is given more than once", name);
    errno = 0;
    double v = strtod(text, &end);
    if (*end || errno || !isfinite(v)) return ERROR(err, ERR_USAGE, "parameter %s is '%s', not a number", name, text);
    if (v < low || v > high) return ERROR(err, ERR_USAGE, "parameter %s is %s, outside %g to %g", name, text, low, high);
    *ret = v;
    return ERR_OK;
}

enum err answer_integer(const struct http_request *r, const char *name, int64_t low, int64_t high, int64_t *ret, struct error *err)
{
    const char *text = http_param(r, name);
    char *end;
    if (!text || !*text) return ERR_OK;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (*end || errno) return ERROR(err, ERR_USAGE, "parameter %s is '%s', not an integer", name, text);
    if (v < low || v > high) return ERROR(err, ERR_USAGE, "parameter %s is %s, outside %lld to %lld", name, text, (long long)low, (long long)high);
    *ret = v;
    return ERR_OK;
}

bool answer_prepare(struct answer *a, struct service *s, struct http_request *r, struct http_response *w, bool scs, enum rowset_format fallback,
                    const char *limit_name)
{
    struct error err = ERROR_INIT;
    *a = (struct answer){.request = r, .w = w, .pool = s->pool, .pool_wait_s = s->pool_wait_s, .scs = scs, .format = fallback, .maxrec = s->maxrec_default};
    const char *text = http_param(r, "RESPONSEFORMAT");
    if (!text) text = http_param(r, "FORMAT");
    enum err e = ERR_OK;
    if (text && *text && !rowset_format_of(text, &a->format))
        e = ERROR(&err, ERR_USAGE, "format '%.60s' is not known; votable, votable/b, votable/b2, csv, tsv, json and fits are", text);
    if (!e) e = answer_integer(r, limit_name, 0, INT64_MAX - 1, &a->maxrec, &err);
    if (e) {
        answer_refuse_error(w, scs, &err);
        return false;
    }
    if (a->maxrec > s->maxrec_limit) a->maxrec = s->maxrec_limit;
    char limit[24];
    snprintf(limit, sizeof limit, "%lld", (long long)a->maxrec);
    http_header_out(w, "X-Overflow-Limit", limit);
    return true;
}

/* ---- rows ----------------------------------------------------------------------------------------------------------- */

static enum err one_row(void *user, const struct db_result *row, struct error *err)
{
    struct answer *a = user;
    int n = a->ncol_query ? a->ncol_query : a->ncol;
    if (a->nrows >= a->maxrec) {
        a->overflow = true;
        return ERR_OK; /* the query asks for one row more than it may send */
    }
    for (int i = 0; i < n; i++) a->fields[i] = (struct rowset_field){db_text(row, 0, i), db_is_null(row, 0, i) ? -1 : db_length(row, 0, i)};
    if (a->edit) a->edit(a->user, a->fields);
    a->nrows++;
    return rowset_row(a->rows, a->fields, err);
}

static void finish(struct answer *a, enum err e, struct error *err, const char *empty)
{
    if (e && !http_streaming(a->w)) {
        answer_refuse_error(a->w, a->scs, err);
        return;
    }
    if (!e && !a->nrows && empty) {
        answer_refuse(a->w, a->scs, ERR_NOT_FOUND, empty);
        return;
    }
    struct error late = ERROR_INIT;
    enum err end = rowset_end(a->rows, a->overflow, e ? err->message : NULL, &late);
    if (end && !http_streaming(a->w)) answer_refuse_error(a->w, a->scs, &late);
    else if (e || end) http_abort(a->w);
    else http_trailer(a->w, "X-Overflow", a->overflow ? "true" : "false");
}

void answer_query(struct answer *a, const char *name, const char *sql, int n, const char *const *values, const char *empty)
{
    struct error err = ERROR_INIT;
    struct db *db = NULL;
    struct rowset_field fields[ANSWER_COLUMNS];
    const struct rowset_options opt = {.format = a->format, .columns = a->columns, .ncol = a->ncol, .scs = a->scs, .table = a->table, .description = a->description};
    a->fields = fields;
    enum err e = rowset_new(&opt, sink, a->w, &a->rows, &err);
    if (!e) e = db_pool_take(a->pool, a->pool_wait_s, &db, &err);
    if (e) {
        answer_refuse_error(a->w, a->scs, &err);
    } else {
        http_header_out(a->w, "Content-Type", rowset_content_type(a->format));
        e = db_stream(db, name, sql, n, values, true, one_row, a, &err);
        db_pool_give(a->pool, db); /* before the client has read it all */
        finish(a, e, &err, empty);
    }
    rowset_free(a->rows);
    a->rows = NULL;
}

/* ---- queries -------------------------------------------------------------------------------------------------------- */

static const char *value_of(const char *const *pairs, const char *name, size_t n)
{
    for (; pairs && *pairs; pairs += 2)
        if (strlen(pairs[0]) == n && !memcmp(pairs[0], name, n)) return pairs[1];
    return NULL;
}

/* The text without its comments, whose words may look like names. */
char *answer_sql(const char *query, const char *const *pairs, struct error *err)
{
    char path[128], *text = NULL;
    size_t size;
    snprintf(path, sizeof path, "catalog/sql/queries/%s.sql", query);
    const struct asset *a = asset_find(path);
    FILE *f = a ? open_memstream(&text, &size) : NULL;
    if (!f) {
        ERROR(err, a ? ERR_NOMEM : ERR_INTERNAL, a ? "could not get memory for query '%s'" : "query '%s' is not compiled in", query);
        return NULL;
    }
    for (const char *s = a->data; *s;) {
        const char *end = *s == '{' ? strchr(s, '}') : NULL, *value = end ? value_of(pairs, s + 1, (size_t)(end - s - 1)) : NULL;
        if (s[0] == '-' && s[1] == '-') {
            s += strcspn(s, "\n");
        } else if (value) {
            fputs(value, f);
            s = end + 1;
        } else {
            fputc(*s++, f);
        }
    }
    if (fclose(f)) {
        free(text);
        ERROR(err, ERR_NOMEM, "could not get memory for query '%s'", query);
        return NULL;
    }
    return text;
}
