#include "tests/catalog/sql_jury.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef HAVE_PG_QUERY
#include <jansson.h>
#include <pg_query.h>

struct jury {
    const char *const *relations;
    char *buf;
    size_t size;
    bool guilty;
};

static bool listed(const char *word, const char *list)
{
    size_t n = strlen(word);
    for (const char *p = list; n && (p = strstr(p, word)); p += n)
        if ((p == list || p[-1] == ' ') && (p[n] == ' ' || !p[n])) return true;
    return false;
}

static void convict(struct jury *j, const char *what, const char *which)
{
    if (!j->guilty) snprintf(j->buf, j->size, "%s '%s'", what, which);
    j->guilty = true;
}

static const char nodes[] = "SelectStmt ResTarget ColumnRef String Integer Float Boolean A_Const A_Expr BoolExpr NullTest FuncCall TypeCast RangeVar "
                            "RangeSubselect JoinExpr SubLink CaseExpr CaseWhen CoalesceExpr A_ArrayExpr SortBy List CommonTableExpr A_Star";
static const char functions[] =
    "pg_catalog.abs pg_catalog.atan pg_catalog.atan2 pg_catalog.ceil pg_catalog.cos pg_catalog.cot pg_catalog.degrees pg_catalog.exp pg_catalog.floor "
    "pg_catalog.mod pg_catalog.pi pg_catalog.radians pg_catalog.sin pg_catalog.tan pg_catalog.lower pg_catalog.upper pg_catalog.count pg_catalog.sum "
    "pg_catalog.avg pg_catalog.min pg_catalog.max pg_catalog.power pg_catalog.string_agg pg_catalog.like_escape adql.acos adql.asin adql.log adql.log10 "
    "adql.mod adql.power adql.rand adql.round adql.sqrt adql.truncate adql.distance adql.healpix adql.box adql.region adql.stc adql.contains "
    "adql.intersects adql.area adql.centroid adql.coord1 adql.coord2";
static const char types[] = "bool int2 int4 int8 float4 float8 text timestamptz varchar";
static const char kinds[] = "AEXPR_OP AEXPR_IN AEXPR_LIKE AEXPR_ILIKE AEXPR_BETWEEN AEXPR_NOT_BETWEEN AEXPR_NULLIF";
static const char operators[] = "+ - * / & | # ~ >> || = <> < <= > >= ~~ !~~ ~~* !~~* BETWEEN";
static const char forbidden[] = "intoClause lockingClause valuesLists windowClause groupDistinct lateral tablesample agg_within_group over func_variadic "
                                "recursive ctematerialized_never";

/* "a.b" of a list of String nodes; stars become *. */
static void dotted(const json_t *list, char *ret, size_t size)
{
    size_t i;
    json_t *v;
    ret[0] = 0;
    json_array_foreach(list, i, v) {
        const char *s = json_string_value(json_object_get(json_object_get(v, "String"), "sval"));
        if (!s) s = json_string_value(json_object_get(json_object_get(v, "String"), "str"));
        if (!s) s = json_object_get(v, "A_Star") ? "*" : "?";
        snprintf(ret + strlen(ret), size - strlen(ret), "%s%s", i ? "." : "", s);
    }
}

static bool numbered(const char *s, const char *letters)
{
    if (!*s || !strchr(letters, *s) || !isdigit((unsigned char)s[1])) return false;
    for (s++; *s; s++)
        if (!isdigit((unsigned char)*s)) return false;
    return true;
}

static void judge_column(struct jury *j, const json_t *node)
{
    json_t *fields = json_object_get(node, "fields");
    char name[512];
    dotted(fields, name, sizeof name);
    char *dot = strchr(name, '.');
    if (json_array_size(fields) != 2 || !dot) {
        convict(j, "a column without table", name);
        return;
    }
    *dot = 0;
    if (!numbered(name, "tg")) convict(j, "a column of the unnumbered table", name);
}

static void judge_relation(struct jury *j, const json_t *node)
{
    const char *schema = json_string_value(json_object_get(node, "schemaname")), *name = json_string_value(json_object_get(node, "relname"));
    char full[300];
    snprintf(full, sizeof full, "%s%s%s", schema ? schema : "", schema ? "." : "", name ? name : "");
    if (json_object_get(node, "catalogname")) convict(j, "a relation of another database", full);
    if (!schema && (numbered(full, "q") || (!strncmp(full, "adql_ranges_", 12) && isdigit((unsigned char)full[12])))) return;
    for (int i = 0; j->relations[i]; i++)
        if (!strcmp(j->relations[i], full)) return;
    convict(j, "relation", full);
}

static void judge_expression(struct jury *j, const json_t *node)
{
    char name[200];
    const char *kind = json_string_value(json_object_get(node, "kind"));
    if (!kind || !listed(kind, kinds)) convict(j, "expression of kind", kind ? kind : "?");
    dotted(json_object_get(node, "name"), name, sizeof name);
    if (!listed(name, operators) && strcmp(name, "NOT BETWEEN")) convict(j, "operator", name);
}

static void judge(struct jury *j, const char *key, const json_t *v)
{
    char name[300];
    if (isupper((unsigned char)key[0]) && !listed(key, nodes)) convict(j, "node", key);
    if (listed(key, forbidden)) convict(j, "clause", key);
    if (!strcmp(key, "FuncCall")) {
        dotted(json_object_get(v, "funcname"), name, sizeof name);
        if (!listed(name, functions)) convict(j, "function", name);
    }
    if (!strcmp(key, "typeName")) {
        dotted(json_object_get(v, "names"), name, sizeof name);
        const char *plain = strncmp(name, "pg_catalog.", 11) ? name : name + 11;
        if (!listed(plain, types)) convict(j, "type", name);
    }
    if (!strcmp(key, "ColumnRef")) judge_column(j, v);
    if (!strcmp(key, "RangeVar")) judge_relation(j, v);
    if (!strcmp(key, "A_Expr")) judge_expression(j, v);
}

static void walk(struct jury *j, json_t *v)
{
    const char *key;
    json_t *child;
    size_t i;
    if (json_is_object(v)) json_object_foreach(v, key, child) {
        judge(j, key, child);
        walk(j, child);
    }
    if (json_is_array(v)) json_array_foreach(v, i, child) walk(j, child);
}

bool sql_jury_sits(void)
{
    return true;
}

const char *sql_jury(const char *sql, const char *const *relations, char *buf, size_t size)
{
    struct jury j = {relations, buf, size, false};
    PgQueryParseResult r = pg_query_parse(sql);
    if (r.error) {
        snprintf(buf, size, "PostgreSQL does not read it: %s at byte %d", r.error->message, r.error->cursorpos);
        pg_query_free_parse_result(r);
        return buf;
    }
    json_error_t error;
    json_t *tree = json_loads(r.parse_tree, 0, &error), *stmts = json_object_get(tree, "stmts");
    if (!tree) {
        /* jansson reads 2048 levels; the translator's own limits keep below that */
        convict(&j, "a tree too deep to read:", error.text);
    } else if (json_array_size(stmts) != 1 || !json_object_get(json_object_get(json_array_get(stmts, 0), "stmt"), "SelectStmt")) {
        convict(&j, "not one SELECT", "");
    } else {
        walk(&j, stmts);
    }
    json_decref(tree);
    pg_query_free_parse_result(r);
    return j.guilty ? buf : NULL;
}

#else

bool sql_jury_sits(void)
{
    return false;
}

const char *sql_jury(const char *sql, const char *const *relations, char *buf, size_t size)
{
    (void)sql, (void)relations, (void)buf, (void)size;
    return NULL;
}

#endif
