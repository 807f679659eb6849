#include "catalog/adql.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "catalog/adql_tree.h"

#define ARENA_MAX ((size_t)256 << 20)

/* ---- what the passes share ----------------------------------------------------------------------------------------- */

void *adql_alloc(struct adql_context *c, size_t count, size_t size)
{
    void *p = arena_array(c->arena, count ? count : 1, size);
    if (p) memset(p, 0, (count ? count : 1) * size);
    else ERROR(c->err, ERR_NOMEM, "the query is too large");
    return p;
}

void *adql_grow(struct adql_context *c, const void *old, int n, size_t size)
{
    void *p = adql_alloc(c, (size_t)n + 1, size);
    if (p && n) memcpy(p, old, (size_t)n * size);
    return p;
}

struct adql_node *adql_node(struct adql_context *c, enum node_kind kind, int at)
{
    if (++c->nodes > ADQL_NODES_MAX) {
        ADQL_ERROR(c->err, c->query, at, "more than %d parts", ADQL_NODES_MAX);
        return NULL;
    }
    struct adql_node *n = adql_alloc(c, 1, sizeof *n);
    if (!n) return NULL;
    n->kind = kind;
    n->at = at;
    n->depth = 1;
    n->meta = (struct adql_meta){"", "", "", "", "", "", NULL};
    return n;
}

const char *adql_text(struct adql_context *c, const char *fmt, ...)
{
    char buf[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(buf, sizeof buf, fmt, ap);
    va_end(ap);
    const char *s = arena_strdup(c->arena, buf);
    return s ? s : "";
}

bool adql_is(const struct adql_name *n, const char *word)
{
    return n->text && !n->quoted && !strcasecmp(n->text, word);
}

bool adql_same(const struct adql_name *n, const char *name)
{
    if ((n->text[0] ^ name[0]) & 0x5f) return false; /* most names differ in their first letter */
    return n->quoted ? !strcmp(n->text, name) : !strcasecmp(n->text, name);
}

bool adql_number_type(enum adql_type t)
{
    return t >= TYPE_SHORT && t <= TYPE_DOUBLE;
}

bool adql_geometry_type(enum adql_type t)
{
    return t >= TYPE_POINT && t <= TYPE_REGION;
}

const char *adql_type_name(enum adql_type t)
{
    static const char *const names[] = {"NULL", "a condition", "true or false", "a short integer", "an integer", "a long integer", "a real number",
                                        "a number", "text", "a time", "a point", "a circle", "a box", "a polygon", "a region"};
    return names[t];
}

enum schema_type adql_schema_type(enum adql_type t)
{
    switch (t) {
    case TYPE_CONDITION: case TYPE_BOOLEAN: return SCHEMA_BOOLEAN;
    case TYPE_SHORT: return SCHEMA_SHORT;
    case TYPE_INT: return SCHEMA_INT;
    case TYPE_LONG: return SCHEMA_LONG;
    case TYPE_REAL: return SCHEMA_FLOAT;
    case TYPE_DOUBLE: return SCHEMA_DOUBLE;
    case TYPE_TIMESTAMP: return SCHEMA_TIMESTAMP;
    default: return SCHEMA_TEXT;
    }
}

static bool constant_pair(const struct adql_node *n, double *ret, bool *ret_integer);

static bool constant_of(const struct adql_node *n, double *ret, bool *ret_integer)
{
    switch (n->kind) {
    case NODE_NUMBER:
        *ret = n->number;
        *ret_integer = n->integer;
        return true;
    case NODE_SIGN:
        if (n->op == OP_INVERT || !constant_of(n->args[0], ret, ret_integer)) return false;
        if (n->op == OP_MINUS) *ret = -*ret;
        return true;
    case NODE_ARITHMETIC: return constant_pair(n, ret, ret_integer);
    case NODE_CAST:
        *ret_integer = false;
        bool inner;
        return (n->cast == TYPE_DOUBLE) && constant_of(n->args[0], ret, &inner);
    default: return false;
    }
}

static bool constant_pair(const struct adql_node *n, double *ret, bool *ret_integer)
{
    double a, b;
    bool ia, ib;
    if (!constant_of(n->args[0], &a, &ia) || !constant_of(n->args[1], &b, &ib)) return false;
    *ret_integer = ia && ib;
    switch (n->op) {
    case OP_PLUS: *ret = a + b; break;
    case OP_MINUS: *ret = a - b; break;
    case OP_TIMES: *ret = a * b; break;
    case OP_DIVIDE:
        if (b == 0) return false;
        *ret = *ret_integer ? trunc(a / b) : a / b;
        break;
    default: return false;
    }
    return isfinite(*ret) && (!*ret_integer || fabs(*ret) < 9e15);
}

bool adql_constant(const struct adql_node *n, double *ret)
{
    bool integer;
    return constant_of(n, ret, &integer);
}

/* ---- the door ------------------------------------------------------------------------------------------------------ */

static enum err describe(struct adql_context *c, const struct adql_query *q, struct adql_result *r)
{
    r->ncol = q->ncol;
    if (!(r->columns = adql_alloc(c, (size_t)q->ncol, sizeof *r->columns))) return ERR_NOMEM;
    for (int i = 0; i < q->ncol; i++) {
        const struct adql_source_column *s = &q->columns[i];
        enum schema_type type = adql_schema_type(s->type);
        const char *arraysize = type == SCHEMA_TEXT || type == SCHEMA_TIMESTAMP ? s->meta.arraysize && *s->meta.arraysize ? s->meta.arraysize : "*" : "";
        r->columns[i] = (struct adql_column){s->name, type, s->meta.unit, s->meta.ucd, s->meta.utype, s->meta.xtype, arraysize, s->meta.description,
                                             s->meta.source};
        if (type == SCHEMA_TIMESTAMP && !*s->meta.xtype) r->columns[i].xtype = "timestamp";
    }
    return ERR_OK;
}

static enum err describe_preludes(struct adql_context *c, struct adql_result *r)
{
    r->nprelude = c->njoin;
    if (!(r->preludes = adql_alloc(c, (size_t)c->njoin, sizeof *r->preludes))) return ERR_NOMEM;
    for (int i = 0; i < c->njoin; i++) {
        char *read;
        enum err e = adql_write_circles(c, &c->joins[i], &read);
        if (e) return e;
        r->preludes[i] = (struct adql_prelude){read, adql_text(c, "adql_ranges_%d", i + 1)};
    }
    return ERR_OK;
}

enum err adql_translate(const char *query, const struct schema *schema, const struct adql_options *opt, struct adql_result *ret,
                        struct error *err)
{
    struct error scratch = ERROR_INIT;
    struct adql_context c = {.query = query, .schema = schema, .opt = opt, .err = err ? err : &scratch, .arena = arena_new(ARENA_MAX)};
    struct adql_query *q = NULL;
    struct adql_result r = {.arena = c.arena, .top = -1};
    char *sql = NULL;
    error_clear(c.err);
    if (!c.arena) return ERROR(c.err, ERR_NOMEM, "could not get memory for a query");
    enum err e = adql_parse(&c, &q);
    if (!e) e = adql_check(&c, q);
    if (!e) e = adql_plan(&c, q);
    if (!e) e = describe(&c, q, &r);
    if (!e) e = adql_write(&c, q, &sql);
    if (!e) e = describe_preludes(&c, &r);
    if (e) {
        arena_free(c.arena);
        return e;
    }
    r.sql = sql;
    r.indexed = c.indexed || c.njoin;
    if (q->body->select) r.top = q->body->select->top;
    *ret = r;
    return ERR_OK;
}

void adql_release(struct adql_result *r)
{
    arena_free(r->arena);
    *r = (struct adql_result){0};
}
