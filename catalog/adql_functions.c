/* The functions a query may call: whatever is not in this table is refused. Those of schema "adql" come with migration 0140. */
#include <string.h>
#include <strings.h>

#include "catalog/adql_tree.h"
#include "common/text.h"

static const struct adql_function functions[] = {
    {"ABS", FUNCTION_PLAIN, 1, 1, "n", GIVES_FIRST, "pg_catalog.abs($1)", NULL, false},
    {"ACOS", FUNCTION_PLAIN, 1, 1, "d", GIVES_DOUBLE, "adql.acos($1)", NULL, false},
    {"ASIN", FUNCTION_PLAIN, 1, 1, "d", GIVES_DOUBLE, "adql.asin($1)", NULL, false},
    {"ATAN", FUNCTION_PLAIN, 1, 1, "d", GIVES_DOUBLE, "pg_catalog.atan($1)", NULL, false},
    {"ATAN2", FUNCTION_PLAIN, 2, 2, "d", GIVES_DOUBLE, "pg_catalog.atan2($1, $2)", NULL, false},
    {"CEILING", FUNCTION_PLAIN, 1, 1, "d", GIVES_DOUBLE, "pg_catalog.ceil($1)", NULL, false},
    {"COS", FUNCTION_PLAIN, 1, 1, "d", GIVES_DOUBLE, "pg_catalog.cos($1)", NULL, false},
    {"COT", FUNCTION_PLAIN, 1, 1, "d", GIVES_DOUBLE, "pg_catalog.cot($1)", NULL, false},
    {"DEGREES", FUNCTION_PLAIN, 1, 1, "d", GIVES_DOUBLE, "pg_catalog.degrees($1)", NULL, false},
    {"EXP", FUNCTION_PLAIN, 1, 1, "d", GIVES_DOUBLE, "pg_catalog.exp($1)", NULL, false},
    {"FLOOR", FUNCTION_PLAIN, 1, 1, "d", GIVES_DOUBLE, "pg_catalog.floor($1)", NULL, false},
    {"LOG", FUNCTION_PLAIN, 1, 1, "d", GIVES_DOUBLE, "adql.log($1)", NULL, false},
    {"LOG10", FUNCTION_PLAIN, 1, 1, "d", GIVES_DOUBLE, "adql.log10($1)", NULL, false},
    {"MOD", FUNCTION_PLAIN, 2, 2, "n", GIVES_COMMON, "adql.mod(($1)::float8, ($2)::float8)", "pg_catalog.mod($1, NULLIF($2, 0))", false},
    {"PI", FUNCTION_PLAIN, 0, 0, "d", GIVES_DOUBLE, "pg_catalog.pi()", NULL, false},
    {"POWER", FUNCTION_PLAIN, 2, 2, "d", GIVES_DOUBLE, "adql.power($1, $2)", NULL, false},
    {"RADIANS", FUNCTION_PLAIN, 1, 1, "d", GIVES_DOUBLE, "pg_catalog.radians($1)", NULL, false},
    {"RAND", FUNCTION_PLAIN, 0, 1, "i", GIVES_DOUBLE, "adql.rand($*)", NULL, true},
    {"ROUND", FUNCTION_PLAIN, 1, 2, "di", GIVES_DOUBLE, "adql.round($*)", NULL, false},
    {"SIN", FUNCTION_PLAIN, 1, 1, "d", GIVES_DOUBLE, "pg_catalog.sin($1)", NULL, false},
    {"SQRT", FUNCTION_PLAIN, 1, 1, "d", GIVES_DOUBLE, "adql.sqrt($1)", NULL, false},
    {"TAN", FUNCTION_PLAIN, 1, 1, "d", GIVES_DOUBLE, "pg_catalog.tan($1)", NULL, false},
    {"TRUNCATE", FUNCTION_PLAIN, 1, 2, "di", GIVES_DOUBLE, "adql.truncate($*)", NULL, false},
    {"LOWER", FUNCTION_PLAIN, 1, 1, "t", GIVES_TEXT, "pg_catalog.lower($1)", NULL, false},
    {"UPPER", FUNCTION_PLAIN, 1, 1, "t", GIVES_TEXT, "pg_catalog.upper($1)", NULL, false},
    {"COALESCE", FUNCTION_PLAIN, 1, 100, "a", GIVES_COMMON, "COALESCE($*)", NULL, false},
    {"COUNT", FUNCTION_AGGREGATE, 1, 1, "a", GIVES_LONG, "pg_catalog.count($*)", NULL, false},
    {"SUM", FUNCTION_AGGREGATE, 1, 1, "n", GIVES_SUM, "pg_catalog.sum($*)", NULL, false},
    {"AVG", FUNCTION_AGGREGATE, 1, 1, "d", GIVES_DOUBLE, "pg_catalog.avg($*)", NULL, false},
    {"MIN", FUNCTION_AGGREGATE, 1, 1, "a", GIVES_FIRST, "pg_catalog.min($*)", NULL, false},
    {"MAX", FUNCTION_AGGREGATE, 1, 1, "a", GIVES_FIRST, "pg_catalog.max($*)", NULL, false},
    {"POINT", FUNCTION_GEOMETRY, 2, 3, "", GIVES_DOUBLE, "", NULL, false},
    {"CIRCLE", FUNCTION_GEOMETRY, 2, 4, "", GIVES_DOUBLE, "", NULL, false},
    {"BOX", FUNCTION_GEOMETRY, 3, 5, "", GIVES_DOUBLE, "", NULL, false},
    {"POLYGON", FUNCTION_GEOMETRY, 3, 2001, "", GIVES_DOUBLE, "", NULL, false},
    {"REGION", FUNCTION_GEOMETRY, 1, 1, "", GIVES_DOUBLE, "", NULL, false},
    {"CENTROID", FUNCTION_GEOMETRY, 1, 1, "", GIVES_DOUBLE, "", NULL, false},
    {"AREA", FUNCTION_GEOMETRY, 1, 1, "", GIVES_DOUBLE, "adql.area($*)", NULL, false},
    {"COORD1", FUNCTION_GEOMETRY, 1, 1, "", GIVES_DOUBLE, "adql.coord1($*)", NULL, false},
    {"COORD2", FUNCTION_GEOMETRY, 1, 1, "", GIVES_DOUBLE, "adql.coord2($*)", NULL, false},
    {"COORDSYS", FUNCTION_GEOMETRY, 1, 1, "", GIVES_DOUBLE, "adql.coordsys($*)", NULL, false},
    {"DISTANCE", FUNCTION_GEOMETRY, 2, 4, "", GIVES_DOUBLE, "adql.distance($*)", NULL, false},
    {"CONTAINS", FUNCTION_GEOMETRY, 2, 2, "", GIVES_INT, "adql.contains($*)", NULL, false},
    {"INTERSECTS", FUNCTION_GEOMETRY, 2, 2, "", GIVES_INT, "adql.intersects($*)", NULL, false},
    {"IN_UNIT", FUNCTION_UNIT, 2, 2, "", GIVES_DOUBLE, "", NULL, false},
    {"IVO_HEALPIX_INDEX", FUNCTION_PLAIN, 3, 3, "idd", GIVES_LONG, "adql.healpix($1, $2, $3)", NULL, false},
    {"IVO_STRING_AGG", FUNCTION_AGGREGATE, 2, 2, "t", GIVES_TEXT, "pg_catalog.string_agg($*)", NULL, false},
};

const struct adql_function *adql_function_find(const char *name)
{
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (!strcasecmp(functions[i].name, name)) return &functions[i];
    return NULL;
}

const char *adql_function_nearest(const char *name)
{
    static const struct { const char *theirs, *ours; } other[] = {
        {"LN", "LOG"}, {"CEIL", "CEILING"}, {"POW", "POWER"}, {"TRUNC", "TRUNCATE"}, {"RANDOM", "RAND"}, {"NVL", "COALESCE"}, {"IFNULL", "COALESCE"},
        {"MEAN", "AVG"}, {"SUBSTR", "LIKE"}, {"LENGTH", "LIKE"}, {"ARCCOS", "ACOS"}, {"ARCSIN", "ASIN"}, {"ARCTAN", "ATAN"}};
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        if (!strcasecmp(other[i].theirs, name)) return other[i].ours;
    struct text_nearest n = {.wanted = name};
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) text_nearest_offer(&n, functions[i].name);
    return n.name;
}

#define REGEXT "ivo://ivoa.net/std/TAPRegExt#features-"

const struct adql_feature adql_features[] = {
    {REGEXT "adqlgeo", "POINT", ""}, {REGEXT "adqlgeo", "CIRCLE", ""}, {REGEXT "adqlgeo", "BOX", ""}, {REGEXT "adqlgeo", "POLYGON", ""},
    {REGEXT "adqlgeo", "REGION", ""}, {REGEXT "adqlgeo", "CENTROID", ""}, {REGEXT "adqlgeo", "AREA", ""}, {REGEXT "adqlgeo", "COORD1", ""},
    {REGEXT "adqlgeo", "COORD2", ""}, {REGEXT "adqlgeo", "COORDSYS", ""}, {REGEXT "adqlgeo", "DISTANCE", ""}, {REGEXT "adqlgeo", "CONTAINS", ""},
    {REGEXT "adqlgeo", "INTERSECTS", ""},
    {REGEXT "adql-string", "LOWER", ""}, {REGEXT "adql-string", "UPPER", ""}, {REGEXT "adql-string", "ILIKE", ""},
    {REGEXT "adql-sets", "UNION", ""}, {REGEXT "adql-sets", "EXCEPT", ""}, {REGEXT "adql-sets", "INTERSECT", ""},
    {REGEXT "adql-common-table", "WITH", "not recursive"}, {REGEXT "adql-type", "CAST", ""}, {REGEXT "adql-offset", "OFFSET", ""},
    {REGEXT "adql-unit", "IN_UNIT", "of columns whose unit is known"}, {REGEXT "adql-conditional", "COALESCE", ""},
    {REGEXT "udf", "ivo_healpix_index(hpxOrder INTEGER, ra DOUBLE, dec DOUBLE) -> BIGINT", "number of the nested HEALPix pixel of an order (0 to 29) that holds the position"},
    {REGEXT "udf", "ivo_string_agg(expression VARCHAR, delimiter VARCHAR) -> VARCHAR", "an aggregate: the texts of the group, joined"},
    {NULL, NULL, NULL}};
