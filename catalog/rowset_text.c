/* TABLEDATA, CSV, TSV and JSON. */
#include "catalog/rowset_formats.h"

#include <math.h>
#include <stdlib.h>

#include "common/decimal.h"

/* A number at p. Returned: characters. */
static int put_number(enum rowset_type t, const struct rowset_value *v, char *p)
{
    if (t == ROWSET_DOUBLE) return decimal_of_double(v->d, p);
    return t == ROWSET_FLOAT ? decimal_of_float((float)v->d, p) : decimal_of_int(v->i, p);
}

/* ---- VOTable -------------------------------------------------------------------------------------------------------- */

/* VOTable has names of its own for the infinities. */
static int put_votable_number(enum rowset_type t, const struct rowset_value *v, char *p)
{
    if ((t == ROWSET_DOUBLE || t == ROWSET_FLOAT) && isinf(v->d)) {
        memcpy(p, v->d > 0 ? "+Inf" : "-Inf", 4);
        return 4;
    }
    return put_number(t, v, p);
}

static void cell(struct rowset *r, enum rowset_type t, const struct rowset_value *v)
{
    char *p = rowset_reserve(r, 64);
    if (!p) return;
    if (v->null) {
        memcpy(p, "<TD/>", 5);
        r->used += 5;
        return;
    }
    memcpy(p, "<TD>", 4);
    if (t == ROWSET_TEXT) {
        r->used += 4;
        rowset_put_xml(r, v->s, (size_t)v->n);
        rowset_put(r, "</TD>", 5);
        return;
    }
    int n = 4;
    if (t == ROWSET_BOOL) p[n++] = v->i ? 'T' : 'F';
    else n += put_votable_number(t, v, p + n);
    memcpy(p + n, "</TD>", 5);
    r->used += (size_t)n + 5;
}

enum err rowset_row_tabledata(struct rowset *r, const struct rowset_field *f, struct error *err)
{
    struct rowset_value v;
    rowset_put(r, "<TR>", 4);
    for (int i = 0; i < r->opt.ncol; i++) {
        enum err e = rowset_value_of(r, i, &f[i], &v, err);
        if (e) return e;
        cell(r, r->kind[i], &v);
    }
    rowset_put(r, "</TR>\n", 6);
    return ERR_OK;
}

/* ---- CSV, TSV ------------------------------------------------------------------------------------------------------- */

void rowset_begin_separated(struct rowset *r, char comma)
{
    for (int i = 0; i < r->opt.ncol; i++) {
        if (i) rowset_put(r, &comma, 1);
        rowset_put_separated(r, r->opt.columns[i].name, strlen(r->opt.columns[i].name), comma);
    }
    rowset_puts(r, comma == ',' ? "\r\n" : "\n");
}

enum err rowset_row_separated(struct rowset *r, const struct rowset_field *f, char comma, struct error *err)
{
    struct rowset_value v;
    for (int i = 0; i < r->opt.ncol; i++) {
        enum err e = rowset_value_of(r, i, &f[i], &v, err);
        if (e) return e;
        char *p = rowset_reserve(r, 64);
        if (!p) break;
        if (i) *p++ = comma, r->used++;
        if (v.null) continue;
        if (r->kind[i] == ROWSET_TEXT) rowset_put_separated(r, v.s, (size_t)v.n, comma);
        else if (r->kind[i] == ROWSET_BOOL) *p = v.i ? 't' : 'f', r->used++;
        else r->used += (size_t)put_number(r->kind[i], &v, p);
    }
    rowset_puts(r, comma == ',' ? "\r\n" : "\n");
    return ERR_OK;
}

/* ---- JSON ----------------------------------------------------------------------------------------------------------- */

/* `, "name": ` of each column, made once. */
static void make_prefixes(struct rowset *r)
{
    struct rowset one = {.sink = r->sink};
    r->prefix = calloc((size_t)r->opt.ncol + 1, sizeof *r->prefix);
    for (int i = 0; r->prefix && i < r->opt.ncol; i++) {
        one.used = 0;
        if (i) rowset_puts(&one, ", ");
        rowset_put_json(&one, r->opt.columns[i].name, strlen(r->opt.columns[i].name));
        rowset_put(&one, ": ", 3);
        r->prefix[i] = one.buf ? strdup(one.buf) : NULL;
        if (!r->prefix[i]) r->failed = true;
    }
    if (!r->prefix) r->failed = true;
    free(one.buf);
}

static void member(struct rowset *r, const char *name, const char *value)
{
    rowset_puts(r, name);
    rowset_put_json(r, value ? value : "", value ? strlen(value) : 0);
}

void rowset_begin_json(struct rowset *r)
{
    make_prefixes(r);
    member(r, "{\"table\": ", r->opt.table);
    rowset_puts(r, ",\n \"columns\": [");
    for (int i = 0; i < r->opt.ncol; i++) {
        const struct rowset_column *c = &r->opt.columns[i];
        member(r, i ? ",\n  {\"name\": " : "\n  {\"name\": ", c->name);
        member(r, ", \"unit\": ", c->unit);
        member(r, ", \"ucd\": ", c->ucd);
        member(r, ", \"description\": ", c->description);
        rowset_puts(r, "}");
    }
    rowset_puts(r, "],\n \"rows\": [");
}

static void json_value(struct rowset *r, int i, const struct rowset_value *v)
{
    enum rowset_type t = r->kind[i];
    bool real = t == ROWSET_FLOAT || t == ROWSET_DOUBLE;
    if (v->null || (real && !isfinite(v->d))) {
        rowset_put(r, "null", 4);
    } else if (t == ROWSET_TEXT) {
        rowset_put_json(r, v->s, (size_t)v->n);
    } else if (t == ROWSET_BOOL) {
        rowset_puts(r, v->i ? "true" : "false");
    } else {
        char *p = rowset_reserve(r, 64);
        int n = 0;
        if (!p) return;
        if (t == ROWSET_LONG) p[n++] = '"';
        n += put_number(t, v, p + n);
        if (t == ROWSET_LONG) p[n++] = '"';
        r->used += (size_t)n;
    }
}

enum err rowset_row_json(struct rowset *r, const struct rowset_field *f, struct error *err)
{
    struct rowset_value v;
    if (r->failed) return ERROR(err, ERR_NOMEM, "could not get memory for rows");
    rowset_puts(r, r->rows ? ",\n  {" : "\n  {");
    for (int i = 0; i < r->opt.ncol; i++) {
        enum err e = rowset_value_of(r, i, &f[i], &v, err);
        if (e) return e;
        rowset_puts(r, r->prefix[i]);
        json_value(r, i, &v);
    }
    rowset_put(r, "}", 1);
    return ERR_OK;
}

void rowset_end_json(struct rowset *r, bool overflow, const char *error)
{
    rowset_puts(r, "],\n \"overflow\": ");
    rowset_puts(r, overflow ? "true" : "false");
    if (error) member(r, ",\n \"error\": ", error);
    rowset_puts(r, "}\n");
}
