/* SQL from the typed tree. What can come out: the words below, relations and columns of the schema, functions of
 * adql_functions.c and schema adql, numbered aliases (t1, q1, g1, c1), and values written anew from what was read.     */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/adql_tree.h"
#include "common/units.h"

#define SQL_MAX ((size_t)8 << 20)

struct writer {
    struct adql_context *c;
    char *text;
    size_t n, room;
    enum err e;
    bool inline_commons;     /* common tables written where they are used */
    bool listed;             /* outside of WHERE and ON: hpx29 may not be grouped there, and an index would not help */
    const struct adql_select *select;
    int inlined;
};

static void write_query(struct writer *w, const struct adql_query *q, bool outermost);
static void write_node(struct writer *w, const struct adql_node *n);

/* ---- text ---------------------------------------------------------------------------------------------------------- */

static void put_bytes(struct writer *w, const char *s, size_t n)
{
    if (w->e) return;
    if (w->n + n + 1 > w->room) {
        size_t room = w->room ? w->room : 4096;
        while (room < w->n + n + 1) room *= 2;
        char *wider = room <= 2 * SQL_MAX ? realloc(w->text, room) : NULL;
        if (!wider || w->n + n > SQL_MAX) {
            if (wider) w->text = wider, w->room = room;
            w->e = wider || room > 2 * SQL_MAX ? ERROR(w->c->err, ERR_USAGE, "the query is too large") : ERROR(w->c->err, ERR_NOMEM, "could not get memory for a query");
            return;
        }
        w->text = wider;
        w->room = room;
    }
    memcpy(w->text + w->n, s, n);
    w->n += n;
    w->text[w->n] = 0;
}

static void put(struct writer *w, const char *s)
{
    put_bytes(w, s, strlen(s));
}

static void putf(struct writer *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void putf(struct writer *w, const char *fmt, ...)
{
    char buf[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(buf, sizeof buf, fmt, ap);
    va_end(ap);
    put(w, buf);
}

static void put_name(struct writer *w, const char *name, size_t n)
{
    put(w, "\"");
    for (size_t i = 0; i < n; i++) {
        if (name[i] == '"') put(w, "\"");
        put_bytes(w, &name[i], 1);
    }
    put(w, "\"");
}

/* "tap_schema.columns" -> "tap_schema"."columns" */
static void put_relation(struct writer *w, const char *relation)
{
    const char *dot = strchr(relation, '.');
    if (dot) {
        put_name(w, relation, (size_t)(dot - relation));
        put(w, ".");
        relation = dot + 1;
    }
    put_name(w, relation, strlen(relation));
}

/* Good under any setting of standard_conforming_strings. */
static void put_string(struct writer *w, const char *s)
{
    bool escaped = strchr(s, '\\');
    put(w, escaped ? "E'" : "'");
    for (; *s; s++) {
        if (*s == '\'' || *s == '\\') put_bytes(w, s, 1);
        put_bytes(w, s, 1);
    }
    put(w, "'");
}

static void put_double(struct writer *w, double v)
{
    putf(w, signbit(v) ? "'%.17g'::float8" : "%.17g::float8", v);
}

static const char *sql_type(enum adql_type t)
{
    switch (t) {
    case TYPE_CONDITION: case TYPE_BOOLEAN: return "bool";
    case TYPE_SHORT: return "int2";
    case TYPE_INT: return "int4";
    case TYPE_LONG: return "int8";
    case TYPE_REAL: return "float4";
    case TYPE_DOUBLE: return "float8";
    case TYPE_TIMESTAMP: return "timestamptz";
    default: return "text";
    }
}

/* ---- columns and values -------------------------------------------------------------------------------------------- */

static void write_ref(struct writer *w, const struct adql_ref *r)
{
    const char *name = r->source->columns[r->column].sql;
    putf(w, "t%d.", r->source->number);
    put_name(w, name, strlen(name));
}

static void write_column(struct writer *w, const struct adql_refs *refs)
{
    if (refs->n > 1) put(w, "COALESCE(");
    for (int i = 0; i < refs->n; i++) {
        if (i) put(w, ", ");
        write_ref(w, &refs->v[i]);
    }
    if (refs->n > 1) put(w, ")");
}

static void write_number(struct writer *w, const struct adql_node *n)
{
    if (n->type == TYPE_INT || n->type == TYPE_LONG) putf(w, n->type == TYPE_LONG ? "%lld::int8" : "%lld", (long long)n->whole);
    else put_double(w, n->number);
}

static void write_string(struct writer *w, const struct adql_node *n)
{
    put_string(w, n->text);
    put(w, n->type == TYPE_TIMESTAMP ? "::timestamptz" : "::text");
}

static void write_double(struct writer *w, const struct adql_node *n)
{
    if (n->type == TYPE_DOUBLE) {
        write_node(w, n);
        return;
    }
    put(w, "(");
    write_node(w, n);
    put(w, ")::float8");
}

static void write_list(struct writer *w, struct adql_node *const *args, int n)
{
    for (int i = 0; i < n; i++) {
        if (i) put(w, ", ");
        write_node(w, args[i]);
    }
}

static void write_doubles(struct writer *w, struct adql_node *const *args, int n)
{
    for (int i = 0; i < n; i++) {
        if (i) put(w, ", ");
        write_double(w, args[i]);
    }
}

/* ---- calls --------------------------------------------------------------------------------------------------------- */

static void write_argument(struct writer *w, const struct adql_function *f, const struct adql_node *arg, int i)
{
    size_t last = strlen(f->takes) - 1;
    char takes = f->takes[(size_t)i < last ? (size_t)i : last];
    if (takes == 'd' || (f->gives == GIVES_SUM && (arg->type == TYPE_REAL))) {
        write_double(w, arg);
        return;
    }
    write_node(w, arg);
    if (takes == 'i') put(w, "::int4");
    if (arg->type == TYPE_NULL && takes == 't') put(w, "::text");
    if (arg->type == TYPE_NULL && takes == 'n') put(w, "::int4");
}

static bool all_integers(const struct adql_node *n)
{
    for (int i = 0; i < n->nargs; i++)
        if (n->args[i]->type != TYPE_NULL && (n->args[i]->type < TYPE_SHORT || n->args[i]->type > TYPE_LONG)) return false;
    return true;
}

static void write_hpx(struct writer *w, const struct adql_source *s)
{
    const char *name = s->query ? "h" : s->schema_table->columns[s->schema_table->hpx].name;
    putf(w, "t%d.", s->number);
    put_name(w, name, strlen(name));
}

/* In a select with groups hpx29 itself is out of reach, unless just this expression is grouped by. */
static bool stored_pixel(const struct writer *w, const struct adql_node *n)
{
    if (!n->index) return false;
    if (!w->listed || !w->select || !w->select->grouped) return true;
    for (int i = 0; i < w->select->ngroup; i++)
        if (adql_same_expression(w->select->group[i], n)) return true;
    return false;
}

static void write_call(struct writer *w, const struct adql_node *n)
{
    if (stored_pixel(w, n)) {
        put(w, "(");
        write_hpx(w, n->index);
        putf(w, " >> %d)", 2 * (HPX_ORDER - (int)n->args[0]->whole));
        return;
    }
    const struct adql_function *f = n->function;
    const char *p = f->sql_integer && all_integers(n) ? f->sql_integer : f->sql;
    for (; *p; p++) {
        if (*p != '$') {
            put_bytes(w, p, 1);
            continue;
        }
        p++;
        if (*p != '*') {
            write_argument(w, f, n->args[*p - '1'], *p - '1');
            continue;
        }
        if (n->distinct) put(w, "DISTINCT ");
        for (int i = 0; i < n->nargs; i++) {
            if (i) put(w, ", ");
            if (n->args[i]->kind == NODE_STAR) put(w, "*");
            else write_argument(w, f, n->args[i], i);
        }
    }
    if (f->gives == GIVES_SUM && n->type == TYPE_LONG) put(w, "::int8"); /* a sum of int8 is numeric */
    if (f->kind == FUNCTION_PLAIN && n->type != TYPE_DOUBLE && f->gives == GIVES_COMMON && n->type != TYPE_NULL) putf(w, "::%s", sql_type(n->type));
}

/* ---- the sky ------------------------------------------------------------------------------------------------------- */

/* A shape as an array of numbers: 2 of a point, 3 of a circle, 6 and more of a polygon. */
static void write_shape(struct writer *w, const struct adql_node *n)
{
    if (n->kind != NODE_GEOMETRY) {
        write_node(w, n);
        return;
    }
    if (n->type == TYPE_REGION) {
        put(w, "adql.region(");
        write_node(w, n->args[0]);
        put(w, ")");
        return;
    }
    put(w, n->type == TYPE_BOX ? "adql.box(" : "ARRAY[");
    write_doubles(w, n->args, n->nargs);
    put(w, n->type == TYPE_BOX ? ")" : "]::float8[]");
}

static void write_sky(struct writer *w, const struct adql_node *n)
{
    bool number = n->type == TYPE_INT; /* CONTAINS as a value: 1, 0 or NULL */
    if (number) put(w, "(");
    if (n->condition) {
        write_node(w, n->condition);
    } else {
        const char *open = strchr(n->function->sql, '(');
        put_bytes(w, n->function->sql, (size_t)(open - n->function->sql) + 1);
        for (int i = 0; i < n->nargs; i++) {
            if (i) put(w, ", ");
            write_shape(w, n->args[i]);
        }
        put(w, ")");
    }
    if (number) put(w, ")::int4");
}

static void write_distance(struct writer *w, struct adql_node *const *args)
{
    put(w, "adql.distance(");
    write_doubles(w, args, 4);
    put(w, ")");
}

/* sin^2(x / 2) of an angle between a number and a constant, degrees. The difference is taken in degrees, where it is exact
 * for near numbers. */
static void put_half_angle(struct writer *w, const struct adql_node *x, double constant, const char *function)
{
    putf(w, "pg_catalog.power(pg_catalog.%s((", function);
    write_double(w, x);
    put(w, " - ");
    put_double(w, constant);
    put(w, ") * ");
    put_double(w, PI / 360);
    put(w, "), 2)");
}

/* Haversine of the distance to a constant centre; beyond 90 degrees that to its antipode, so that digits never cancel. NaN
 * is greater than any number in PostgreSQL: the comparison is turned so that a NaN is outside. */
static void write_in_circle(struct writer *w, const struct adql_node *n, double lon, double lat, double radius)
{
    bool near = radius <= 90;
    put(w, near ? "(" : "(-(");
    put_half_angle(w, n->args[1], near ? lat : -lat, "sin");
    put(w, " + pg_catalog.cos(");
    write_double(w, n->args[1]);
    put(w, " * ");
    put_double(w, RAD_PER_DEG);
    put(w, ") * ");
    put_double(w, cos(lat * RAD_PER_DEG));
    put(w, " * ");
    put_half_angle(w, n->args[0], lon, near ? "sin" : "cos");
    put(w, near ? " <= " : ") <= ");
    double s = near ? sin(radius * (PI / 360)) : cos(radius * (PI / 360));
    put_double(w, near ? s * s : -(s * s));
    put(w, ")");
}

/* On the inner side of the edge with this normal: -normal.v <= 0, false for NaN. */
static void write_edge(struct writer *w, const struct adql_node *n, const double normal[3], const char *compare)
{
    double v[3] = {-normal[0], -normal[1], -normal[2]}, c = hypot(v[0], v[1]);
    put(w, "pg_catalog.cos(");
    write_double(w, n->args[1]);
    put(w, " * ");
    put_double(w, RAD_PER_DEG);
    put(w, ") * pg_catalog.cos((");
    write_double(w, n->args[0]);
    put(w, " - ");
    put_double(w, atan2(v[1], v[0]) * DEG_PER_RAD);
    put(w, ") * ");
    put_double(w, RAD_PER_DEG);
    put(w, ") * ");
    put_double(w, c);
    put(w, " + pg_catalog.sin(");
    write_double(w, n->args[1]);
    put(w, " * ");
    put_double(w, RAD_PER_DEG);
    put(w, ") * ");
    put_double(w, v[2]);
    putf(w, " %s", compare);
}

/* The array of a polygon whose vertices are constants. */
static void put_vertices(struct writer *w, const struct hpx_polygon *p)
{
    put(w, "ARRAY[");
    for (int i = 0; i < p->n; i++) {
        if (i) put(w, ", ");
        put_double(w, p->ra[i]);
        put(w, ", ");
        put_double(w, p->dec[i]);
    }
    put(w, "]::float8[]");
}

#define EDGES_MAX 40 /* more are looked at by a function */

static void write_in_polygon(struct writer *w, const struct adql_node *n)
{
    const struct hpx_polygon *p = n->polygon;
    if (!p->convex || p->n > EDGES_MAX) {
        put(w, "adql.contains(ARRAY[");
        write_doubles(w, n->args, 2);
        put(w, "]::float8[], ");
        put_vertices(w, p);
        put(w, ")");
        return;
    }
    put(w, "(");
    for (int i = 0; i < p->n; i++) {
        if (i) put(w, " AND ");
        write_edge(w, n, p->normal[i], "<= 4e-16::float8");
    }
    put(w, ")");
}

static void write_within(struct writer *w, const struct adql_node *n)
{
    double v[3];
    if (n->polygon) {
        write_in_polygon(w, n);
        return;
    }
    for (int side = 0; side < 4; side += 2) /* either the centre or the point is constant */
        if (adql_constant(n->args[2 - side], &v[0]) && adql_constant(n->args[3 - side], &v[1]) && adql_constant(n->args[4], &v[2])) {
            struct adql_node *point[2] = {n->args[side], n->args[side + 1]};
            struct adql_node turned = {.args = point, .nargs = 2};
            if (v[2] < 0) put(w, "false");
            else write_in_circle(w, &turned, v[0], v[1], fmin(v[2], 180));
            return;
        }
    /* The sign of a difference is exact, and a NaN radius holds nothing. */
    put(w, "(");
    write_distance(w, n->args);
    put(w, " - ");
    write_double(w, n->args[4]);
    put(w, " <= 0)");
}

static void write_ranges(struct writer *w, const struct adql_ranges *r)
{
    put(w, "(");
    for (int i = 0; i < r->n; i++) {
        if (i) put(w, " OR ");
        write_hpx(w, r->source);
        putf(w, " BETWEEN %lld::int8 AND %lld::int8", (long long)r->v[i].first, (long long)r->v[i].last);
    }
    put(w, r->n ? ") AND " : "false) AND ");
}

/* The rows of the table of ranges that belong to this row of the circles. */
static void write_join(struct writer *w, int number)
{
    const struct adql_join *j = &w->c->joins[number - 1];
    double radius;
    putf(w, "g%d.lon = ", number);
    write_double(w, j->lon);
    putf(w, " AND g%d.lat = ", number);
    write_double(w, j->lat);
    if (!adql_constant(j->radius, &radius)) {
        putf(w, " AND g%d.radius = ", number);
        write_double(w, j->radius);
    }
    put(w, " AND ");
}

/* ---- expressions ----------------------------------------------------------------------------------------------------- */

static const char *operator_text(enum adql_op op)
{
    static const char *const text[] = {[OP_PLUS] = " + ", [OP_MINUS] = " - ", [OP_TIMES] = " * ", [OP_DIVIDE] = " / ", [OP_AND] = " & ", [OP_OR] = " | ",
                                       [OP_XOR] = " # ", [OP_CONCAT] = " || ", [OP_EQ] = " = ", [OP_NE] = " <> ", [OP_LT] = " < ", [OP_LE] = " <= ",
                                       [OP_GT] = " > ", [OP_GE] = " >= "};
    return text[op];
}

static void write_arithmetic(struct writer *w, const struct adql_node *n)
{
    double divisor;
    put(w, "(");
    bool text = n->op == OP_CONCAT, wide = n->type == TYPE_DOUBLE;
    for (int i = 0; i < 2; i++) {
        if (i) put(w, operator_text(n->op));
        bool guard = i && n->op == OP_DIVIDE && !(adql_constant(n->args[1], &divisor) && divisor != 0); /* x / 0 is NULL */
        if (guard) put(w, "NULLIF(");
        if (wide) write_double(w, n->args[i]);
        else write_node(w, n->args[i]);
        if (n->args[i]->type == TYPE_NULL && !wide) put(w, text ? "::text" : "::int4");
        if (guard) put(w, ", 0)");
    }
    put(w, ")");
}

static void write_sign(struct writer *w, const struct adql_node *n)
{
    put(w, n->op == OP_INVERT ? "(~ " : n->op == OP_MINUS ? "(- " : "(+ ");
    write_node(w, n->args[0]);
    if (n->args[0]->type == TYPE_NULL) put(w, "::int4");
    put(w, ")");
}

static void write_logic(struct writer *w, const struct adql_node *n)
{
    put(w, "(");
    for (int i = 0; i < n->nargs; i++) {
        if (i) put(w, n->kind == NODE_AND ? " AND " : " OR ");
        write_node(w, n->args[i]);
    }
    put(w, ")");
}

static void write_in(struct writer *w, const struct adql_node *n)
{
    put(w, "(");
    write_node(w, n->args[0]);
    put(w, n->negated ? " NOT IN (" : " IN (");
    if (n->query) write_query(w, n->query, false);
    else write_list(w, n->args + 1, n->nargs - 1);
    put(w, "))");
}

static void write_like(struct writer *w, const struct adql_node *n)
{
    put(w, "(");
    write_node(w, n->args[0]);
    put(w, n->negated ? " NOT" : "");
    put(w, n->ignore_case ? " ILIKE " : " LIKE ");
    write_node(w, n->args[1]);
    put(w, " ESCAPE '')"); /* a backslash is a letter like any other */
}

static void write_between(struct writer *w, const struct adql_node *n)
{
    put(w, "(");
    write_node(w, n->args[0]);
    put(w, n->negated ? " NOT BETWEEN " : " BETWEEN ");
    write_node(w, n->args[1]);
    put(w, " AND ");
    write_node(w, n->args[2]);
    put(w, ")");
}

static void write_case(struct writer *w, const struct adql_node *n)
{
    put(w, "CASE");
    if (n->args[0]) {
        put(w, " ");
        write_node(w, n->args[0]);
    }
    for (int i = 1; i + 1 < n->nargs; i += 2) {
        put(w, " WHEN ");
        write_node(w, n->args[i]);
        put(w, " THEN ");
        write_node(w, n->args[i + 1]);
    }
    if (n->args[n->nargs - 1]) {
        put(w, " ELSE ");
        write_node(w, n->args[n->nargs - 1]);
    }
    put(w, " END");
    if (n->type != TYPE_NULL) putf(w, "::%s", sql_type(n->type));
}

static void write_cast(struct writer *w, const struct adql_node *n)
{
    put(w, "(");
    write_node(w, n->args[0]);
    putf(w, ")::%s", n->cast_length ? "" : sql_type(n->cast));
    if (n->cast_length) putf(w, "varchar(%d)::text", n->cast_length);
}

static void write_plain(struct writer *w, const struct adql_node *n)
{
    switch (n->kind) {
    case NODE_NUMBER: write_number(w, n); break;
    case NODE_STRING: write_string(w, n); break;
    case NODE_NULL: put(w, "NULL"); break;
    case NODE_TRUTH: put(w, n->number != 0 ? "true" : "false"); break;
    case NODE_COLUMN: write_column(w, &n->refs); break;
    case NODE_STAR: put(w, "*"); break;
    case NODE_SIGN: write_sign(w, n); break;
    case NODE_ARITHMETIC: write_arithmetic(w, n); break;
    case NODE_COMPARE:
        put(w, "(");
        write_node(w, n->args[0]);
        put(w, operator_text(n->op));
        write_node(w, n->args[1]);
        put(w, ")");
        break;
    case NODE_AND: case NODE_OR: write_logic(w, n); break;
    case NODE_NOT:
        put(w, "(NOT ");
        write_node(w, n->args[0]);
        put(w, ")");
        break;
    case NODE_BETWEEN: write_between(w, n); break;
    case NODE_IN: write_in(w, n); break;
    case NODE_LIKE: write_like(w, n); break;
    case NODE_IS_NULL:
        put(w, "(");
        write_node(w, n->args[0]);
        put(w, n->negated ? " IS NOT NULL)" : " IS NULL)");
        break;
    case NODE_EXISTS: case NODE_SUBQUERY:
        put(w, n->kind == NODE_EXISTS ? "EXISTS (" : "(");
        write_query(w, n->query, false);
        put(w, ")");
        break;
    case NODE_CALL: write_call(w, n); break;
    case NODE_CASE: write_case(w, n); break;
    case NODE_CAST: write_cast(w, n); break;
    case NODE_GEOMETRY: write_shape(w, n); break;
    case NODE_CENTROID:
        put(w, "adql.centroid(");
        write_shape(w, n->args[0]);
        put(w, ")");
        break;
    case NODE_DISTANCE: write_distance(w, n->args); break;
    case NODE_WITHIN: write_within(w, n); break;
    case NODE_SKY: write_sky(w, n); break;
    }
}

static void write_node(struct writer *w, const struct adql_node *n)
{
    bool ranges = n->ranges && !w->listed, more = ranges || n->join;
    if (more) put(w, "(");
    if (ranges) write_ranges(w, n->ranges);
    if (n->join) write_join(w, n->join);
    write_plain(w, n);
    if (more) put(w, ")");
}

/* ---- FROM ---------------------------------------------------------------------------------------------------------- */

static void write_source_itself(struct writer *w, const struct adql_source *s)
{
    if (s->common && !w->inline_commons) {
        putf(w, "q%d", s->common_number);
    } else if (s->query) {
        if (s->common && ++w->inlined > 64) {
            if (!w->e) w->e = ADQL_ERROR(w->c->err, w->c->query, s->at, "WITH is used too often for a join on the sky");
            return;
        }
        put(w, "(");
        write_query(w, s->query, false);
        put(w, ")");
    } else {
        put_relation(w, s->schema_table->relation);
    }
    putf(w, " AS t%d", s->number);
}

static void write_source(struct writer *w, const struct adql_source *s)
{
    if (!s->prelude) {
        write_source_itself(w, s);
        return;
    }
    putf(w, "(adql_ranges_%d AS g%d JOIN ", s->prelude, s->prelude);
    write_source_itself(w, s);
    put(w, " ON (");
    write_hpx(w, s);
    putf(w, " BETWEEN g%d.first AND g%d.last))", s->prelude, s->prelude);
}

static void write_from(struct writer *w, const struct adql_from *f)
{
    static const char *const words[] = {[JOIN_INNER] = " JOIN ", [JOIN_LEFT] = " LEFT JOIN ", [JOIN_RIGHT] = " RIGHT JOIN ", [JOIN_FULL] = " FULL JOIN ",
                                        [JOIN_CROSS] = " CROSS JOIN "};
    if (f->kind == JOIN_NONE) {
        write_source(w, f->source);
        return;
    }
    put(w, "(");
    write_from(w, f->left);
    put(w, words[f->kind]);
    write_from(w, f->right);
    if (f->kind != JOIN_CROSS) {
        put(w, " ON (");
        for (int i = 0; i < f->npairs; i++) {
            if (i) put(w, " AND ");
            write_column(w, &f->pairs[2 * i]);
            put(w, " = ");
            write_column(w, &f->pairs[2 * i + 1]);
        }
        if (f->on) write_node(w, f->on);
        else if (!f->npairs) put(w, "true");
        put(w, ")");
    }
    put(w, ")");
}

/* ---- SELECT, sets, queries ------------------------------------------------------------------------------------------- */

static void write_item(struct writer *w, const struct adql_node *n, enum adql_type type, bool outermost)
{
    if (adql_geometry_type(type)) {
        bool text = outermost && !(n->kind == NODE_GEOMETRY && n->type == TYPE_REGION);
        if (text) put(w, "adql.stc(");
        if (outermost && !text) write_node(w, n->args[0]);
        else write_shape(w, n);
        if (text) put(w, ")");
        return;
    }
    bool plain = n->kind == NODE_COLUMN && n->type == type;
    if (!plain) put(w, "(");
    write_node(w, n);
    if (!plain) putf(w, ")::%s", sql_type(type));
}

static void write_items(struct writer *w, const struct adql_select *s, const struct adql_query *q, bool outermost)
{
    put(w, s->distinct ? "SELECT DISTINCT " : "SELECT ");
    for (int i = 0; i < s->nitem; i++) {
        if (i) put(w, ", ");
        write_item(w, s->items[i].expr, q->columns[i].type == TYPE_CONDITION ? TYPE_BOOLEAN : q->columns[i].type, outermost);
        putf(w, " AS c%d", i + 1);
    }
    if (!q->hidden || q->body->select != s) return;
    put(w, ", ");
    write_hpx(w, q->hidden);
    put(w, " AS h");
}

static void write_select(struct writer *w, const struct adql_select *s, const struct adql_query *q, bool outermost)
{
    w->select = s;
    w->listed = true;
    write_items(w, s, q, outermost);
    w->listed = false;
    put(w, " FROM ");
    for (int i = 0; i < s->nfrom; i++) {
        if (i) put(w, " CROSS JOIN ");
        write_from(w, s->from[i]);
    }
    if (s->where) {
        put(w, " WHERE ");
        write_node(w, s->where);
    }
    w->listed = true;
    for (int i = 0; i < s->ngroup; i++) {
        put(w, i ? ", " : " GROUP BY ");
        if (s->group_position[i]) putf(w, "%d", s->group_position[i]);
        else if (s->group[i]->kind == NODE_COLUMN) write_node(w, s->group[i]);
        else put(w, "("), write_node(w, s->group[i]), put(w, ")");
    }
    if (s->having) {
        put(w, " HAVING ");
        write_node(w, s->having);
    }
}

/* columns: types both sides of a set operation are brought to. */
static void write_body(struct writer *w, const struct adql_body *b, const struct adql_query *q, bool outermost)
{
    static const char *const words[] = {[SET_UNION] = " UNION ", [SET_EXCEPT] = " EXCEPT ", [SET_INTERSECT] = " INTERSECT "};
    if (b->op == SET_NONE) {
        bool limited = b->select && b->select->top >= 0 && b != q->body;
        if (limited) put(w, "(");
        if (b->select) write_select(w, b->select, q, outermost);
        else put(w, "("), write_query(w, b->query, outermost), put(w, ")");
        if (limited) putf(w, " LIMIT %lld)", (long long)b->select->top);
        return;
    }
    put(w, "(");
    write_body(w, b->left, q, outermost);
    put(w, words[b->op]);
    if (b->all) put(w, "ALL ");
    write_body(w, b->right, q, outermost);
    put(w, ")");
}

static void write_order(struct writer *w, const struct adql_query *q)
{
    for (int i = 0; i < q->norder; i++) {
        const struct adql_order *o = &q->orders[i];
        put(w, i ? ", " : " ORDER BY ");
        if (o->position) putf(w, "%d", o->position);
        else put(w, "("), write_node(w, o->expr), put(w, ")");
        if (!o->position && o->expr->type != TYPE_CONDITION && o->expr->kind != NODE_COLUMN) putf(w, "::%s", sql_type(o->expr->type));
        if (o->descending) put(w, " DESC");
    }
}

static void write_query(struct writer *w, const struct adql_query *q, bool outermost)
{
    bool listed = w->listed;
    const struct adql_select *select = w->select;
    for (int i = 0; i < q->ncommon && !w->inline_commons; i++) {
        putf(w, i ? ", q%d AS (" : "WITH q%d AS (", q->commons[i].number);
        write_query(w, q->commons[i].query, false);
        put(w, ")");
    }
    if (q->ncommon && !w->inline_commons) put(w, " ");
    write_body(w, q->body, q, outermost);
    w->listed = true;
    w->select = q->body->select;
    write_order(w, q);
    w->listed = listed;
    w->select = select;
    int64_t limit = q->body->select ? q->body->select->top : -1, maxrec = w->c->opt->maxrec;
    if (outermost && maxrec >= 0 && (limit < 0 || limit > maxrec)) limit = maxrec + 1;
    if (limit >= 0) putf(w, " LIMIT %lld", (long long)limit);
    if (q->offset > 0) putf(w, " OFFSET %lld", (long long)q->offset);
}

static enum err finish(struct writer *w, char **ret)
{
    if (!w->e && !(*ret = arena_strdup(w->c->arena, w->text))) w->e = ERROR(w->c->err, ERR_NOMEM, "could not get memory for a query");
    free(w->text);
    return w->e;
}

enum err adql_write(struct adql_context *c, const struct adql_query *q, char **ret)
{
    struct writer w = {.c = c};
    write_query(&w, q, true);
    return finish(&w, ret);
}

/* Conditions on the circles' table alone make fewer circles. */
static void write_filters(struct writer *w, const struct adql_source *s, const struct adql_node *n, int *count)
{
    if (!n) return;
    if (n->kind == NODE_AND) {
        for (int i = 0; i < n->nargs; i++) write_filters(w, s, n->args[i], count);
        return;
    }
    if (!adql_only_of(n, s)) return;
    put(w, (*count)++ ? " AND " : " WHERE ");
    write_node(w, n);
}

enum err adql_write_circles(struct adql_context *c, const struct adql_join *j, char **ret)
{
    struct writer w = {.c = c, .inline_commons = true};
    int count = 0;
    put(&w, "SELECT DISTINCT ");
    write_double(&w, j->lon);
    put(&w, " AS lon, ");
    write_double(&w, j->lat);
    put(&w, " AS lat, ");
    write_double(&w, j->radius);
    put(&w, " AS radius FROM ");
    write_source_itself(&w, j->circles);
    write_filters(&w, j->circles, j->select->where, &count);
    return finish(&w, ret);
}
