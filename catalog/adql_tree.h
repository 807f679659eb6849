/* Inside the translator: tokens, the tree, what the passes hand on. Everything lives in one arena and dies with it. */
#ifndef NIGHTSHIFT_CATALOG_ADQL_TREE_H
#define NIGHTSHIFT_CATALOG_ADQL_TREE_H

#include "catalog/adql.h"
#include "common/arena.h"
#include "common/hpx.h"
#include "common/hpx_polygon.h"

/* ---- tokens -------------------------------------------------------------------------------------------------------- */

enum token_kind { TOKEN_END, TOKEN_WORD, TOKEN_QUOTED, TOKEN_STRING, TOKEN_INTEGER, TOKEN_DECIMAL, TOKEN_SYMBOL };

struct token {
    enum token_kind kind;
    int at;            /* byte of the query */
    const char *text;  /* word as written, quoted and string without quotes, symbol: "<=" and the like */
};

/* Returned: tokens, the last one TOKEN_END. Status: ERR_USAGE, ERR_NOMEM */
enum err adql_tokens(const char *query, struct arena *arena, struct token **ret, int *ret_n, struct error *err);

/* "line 1, column 8: " and the message; columns count characters. */
#define ADQL_ERROR(err, query, at, ...) adql_error((err), (query), (at), __VA_ARGS__)
enum err adql_error(struct error *err, const char *query, int at, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* ---- expressions --------------------------------------------------------------------------------------------------- */

enum adql_type {
    TYPE_NULL,         /* NULL alone: fits everything */
    TYPE_CONDITION,    /* true, false or unknown */
    TYPE_BOOLEAN,      /* a column that is true or false */
    TYPE_SHORT, TYPE_INT, TYPE_LONG, TYPE_REAL, TYPE_DOUBLE, TYPE_TEXT, TYPE_TIMESTAMP,
    TYPE_POINT, TYPE_CIRCLE, TYPE_BOX, TYPE_POLYGON,
    TYPE_REGION        /* text that says a region (xtype adql:REGION) */
};

enum node_kind {
    NODE_NUMBER, NODE_STRING, NODE_NULL, NODE_TRUTH,
    NODE_COLUMN,       /* name[0..nname): as written; the check fills ref */
    NODE_STAR,         /* of COUNT(*) */
    NODE_SIGN,         /* op '-', '+', '~' */
    NODE_ARITHMETIC,   /* op + - * / & | ^ and "||" */
    NODE_COMPARE,      /* op = <> < <= > >= */
    NODE_AND, NODE_OR, NODE_NOT,
    NODE_BETWEEN, NODE_IN, NODE_LIKE, NODE_IS_NULL, NODE_EXISTS,
    NODE_SUBQUERY,     /* one value */
    NODE_CALL,         /* function or aggregate: name[0], args */
    NODE_CASE,         /* args: [operand or NULL], when, then, ..., else or NULL */
    NODE_CAST,         /* args[0], cast */
    /* the check makes these */
    NODE_GEOMETRY,     /* POINT, CIRCLE, BOX, POLYGON (type) of numbers args[]; TYPE_REGION: text args[0] */
    NODE_CENTROID,     /* of geometry args[0]: a point */
    NODE_DISTANCE,     /* args[0..1], args[2..3]: two points, in degrees */
    NODE_WITHIN,       /* point args[0..1] in the circle args[2..4], or in `polygon` */
    NODE_SKY           /* `function` of geometries args[]: AREA, COORD1 ..., CONTAINS, INTERSECTS the slow way */
};

enum adql_op { OP_NONE, OP_PLUS, OP_MINUS, OP_TIMES, OP_DIVIDE, OP_AND, OP_OR, OP_XOR, OP_INVERT, OP_CONCAT, OP_EQ, OP_NE, OP_LT, OP_LE, OP_GT, OP_GE };

struct adql_name {
    const char *text;
    bool quoted;
    int at;
};

struct adql_query;
struct adql_source;
struct adql_select;
struct adql_function;

/* A column of a source; several are the one column of a USING or NATURAL join: the first that is not NULL. */
struct adql_ref {
    struct adql_source *source;
    int column;
};
struct adql_refs {
    struct adql_ref *v;
    int n;
};

/* What is known of a value besides its type. */
struct adql_meta {
    const char *unit, *ucd, *utype, *xtype, *arraysize, *description;
    const struct schema_column *source;
};

/* A condition on the sky that the index of a source can answer: the rest of the condition must follow. */
struct adql_ranges {
    struct adql_source *source;
    int n;
    struct hpx_range v[];
};

/* "a is at most so far from b" follows from this condition. */
struct adql_near {
    struct adql_node *lon[2], *lat[2];
    struct adql_node *radius;        /* NULL: limit */
    double limit;
};

#define ADQL_RANGES_MAX 24           /* of one condition: more would cost the planner more than they save */

struct adql_node {
    enum node_kind kind;
    int at;
    enum adql_op op;
    bool negated;                    /* NOT BETWEEN, NOT IN, NOT LIKE, IS NOT NULL */
    bool distinct;                   /* COUNT(DISTINCT x) */
    bool ignore_case;                /* ILIKE */
    bool integer;                    /* NODE_NUMBER without point or exponent */
    struct adql_name *name;          /* 1 to 4: catalogue.schema.table.column; a function */
    int nname;
    int depth;                       /* 1 + that of the deepest below */
    const char *text;                /* NODE_STRING, NODE_NUMBER as written */
    double number;                   /* NODE_NUMBER; NODE_TRUTH 0 or 1 */
    int64_t whole;                   /* NODE_NUMBER && integer */
    struct adql_node **args;
    int nargs;
    struct adql_query *query;        /* subqueries */
    enum adql_type cast;
    int cast_length;                 /* CHAR(n), 0: none */

    enum adql_type type;             /* the check fills the rest */
    struct adql_meta meta;
    struct adql_refs refs;           /* NODE_COLUMN */
    const struct adql_function *function;
    bool aggregate, has_aggregate, is_volatile;
    struct adql_ranges *ranges;      /* NULL: none. Implied by this condition, so that `ranges AND this` is this */
    struct adql_near *near;
    struct adql_source *index;       /* ivo_healpix_index() of a position whose hpx29 is stored there */
    struct hpx_polygon *polygon;     /* NODE_WITHIN */
    struct adql_node *condition;     /* NODE_SKY of CONTAINS, INTERSECTS: a NODE_WITHIN that says the same; NULL: none */
    int join;                        /* prelude that answers this condition, 1..; 0: none */
};

/* ---- queries ------------------------------------------------------------------------------------------------------- */

struct adql_source_column {
    const char *name;
    const char *sql;                 /* name in SQL, unquoted */
    enum adql_type type;
    struct adql_meta meta;
    struct adql_node *expr;          /* of a derived table's SELECT without set operation, else NULL */
};

struct adql_source {                 /* a thing in FROM */
    int at;
    struct adql_name table[3];       /* catalogue.schema.table as written */
    int ntable;
    struct adql_query *query;        /* a derived table, or the body of the common table it names */
    bool common;                     /* names a common table */
    int common_number;               /* q1, q2 ... of the SQL */
    struct adql_name alias;          /* text NULL: none */
    const struct schema_table *schema_table;
    const struct adql_upload *upload;
    int number;                      /* t1, t2 ... of the SQL */
    struct adql_source_column *columns;
    int ncol;
    struct adql_select *select;      /* whose FROM it is in */
    int prelude;                     /* joined with ranges of prelude i - 1; 0: none */
};

enum join_kind { JOIN_NONE, JOIN_INNER, JOIN_LEFT, JOIN_RIGHT, JOIN_FULL, JOIN_CROSS };

struct adql_visible {                /* a column FROM offers */
    const char *name;
    struct adql_refs refs;
};

struct adql_from {                   /* a source or a join */
    enum join_kind kind;
    int at;
    struct adql_source *source;      /* JOIN_NONE */
    struct adql_from *left, *right;
    bool natural;
    struct adql_name *using_names;
    int nusing;
    struct adql_node *on;
    struct adql_refs *pairs;         /* USING, NATURAL: left and right of each column */
    int npairs;
    struct adql_visible *visible;
    int nvisible;
};

struct adql_item {                   /* of a select list */
    int at;
    bool star;                       /* * or table.* */
    struct adql_name table[3];
    int ntable;
    struct adql_node *expr;
    struct adql_name alias;
    const char *name;                /* in the result */
};

struct adql_order {
    int at;
    struct adql_node *expr;
    int position;                    /* of the select list, 1..; 0: expr */
    bool descending;
};

struct adql_select {
    int at;
    bool distinct;
    int64_t top;                     /* -1: all */
    struct adql_item *items;
    int nitem;
    struct adql_from **from;
    int nfrom;
    struct adql_node *where, *having;
    struct adql_node **group;
    int *group_position;             /* of group[i] in the select list, 0: an expression */
    int ngroup;
    bool grouped;                    /* GROUP BY, HAVING or an aggregate */
    bool correlated;                 /* names a column of a query around it */
    struct adql_select *outer;
    struct adql_source **sources;    /* of all FROM, in order of appearance */
    int nsource;
};

enum set_op { SET_NONE, SET_UNION, SET_EXCEPT, SET_INTERSECT };

struct adql_body {                   /* a SELECT, a query in parentheses, or two of these */
    enum set_op op;
    bool all;
    int at;
    struct adql_select *select;
    struct adql_query *query;
    struct adql_body *left, *right;
};

struct adql_common {
    struct adql_name name;
    struct adql_name *columns;
    int ncolumn;
    struct adql_query *query;
    int number;
};

struct adql_query {
    int at;
    struct adql_common *commons;
    int ncommon;
    struct adql_body *body;
    struct adql_order *orders;
    int norder;
    int64_t offset;                  /* 0: none */
    struct adql_query *outer;        /* for common tables */
    const struct adql_common *visible_until; /* while its own WITH is checked */
    struct adql_source_column *columns;
    int ncol;
    struct adql_source *hidden;      /* its hpx29 comes along as column "h"; NULL: none */
};

/* ---- passes -------------------------------------------------------------------------------------------------------- */

/* Functions: what ADQL calls them, what they take and give, how SQL writes them. */
enum adql_result_type { GIVES_DOUBLE, GIVES_FIRST, GIVES_LONG, GIVES_TEXT, GIVES_COMMON, GIVES_SUM, GIVES_INT };
enum adql_function_kind { FUNCTION_PLAIN, FUNCTION_AGGREGATE, FUNCTION_GEOMETRY, FUNCTION_UNIT };

struct adql_function {
    const char *name;
    enum adql_function_kind kind;
    int min, max;
    const char *takes;               /* of each argument, the last repeated: d number as double, n number, i integer, t text, a anything */
    enum adql_result_type gives;
    const char *sql;                 /* $1, $2: arguments */
    const char *sql_integer;         /* when all arguments are integers; NULL: the same */
    bool is_volatile;
};
const struct adql_function *adql_function_find(const char *name);
const char *adql_function_nearest(const char *name);

struct adql_join {                   /* a join on the sky by way of a table of ranges */
    int number;                      /* of the prelude, 1.. */
    struct adql_source *circles, *indexed;
    struct adql_select *select;
    struct adql_node *lon, *lat, *radius; /* of the circles; radius a constant or an expression of theirs */
};

struct adql_context {
    const char *query;
    const struct schema *schema;
    const struct adql_options *opt;
    struct arena *arena;
    struct error *err;
    int depth, nodes, tallest;       /* parentheses now open; nodes made; deepest expression of the query being parsed */
    int ntable, ncommon;             /* numbers given */
    struct adql_join *joins;
    int njoin;
    bool indexed;
};

/* Status of each: ERR_USAGE, ERR_NOMEM */
enum err adql_parse(struct adql_context *c, struct adql_query **ret);
enum err adql_check(struct adql_context *c, struct adql_query *q);
enum err adql_plan(struct adql_context *c, struct adql_query *q);      /* joins on the sky */
enum err adql_write(struct adql_context *c, const struct adql_query *q, char **ret);
enum err adql_write_circles(struct adql_context *c, const struct adql_join *j, char **ret);

/* Of adql_geometry.c: a call of kind FUNCTION_GEOMETRY becomes a node of the sky, in place; its arguments are checked. */
enum err adql_geometry(struct adql_context *c, struct adql_node *n);
/* IN_UNIT(column, 'unit'): becomes a product. */
enum err adql_in_unit(struct adql_context *c, struct adql_node *n);
/* A comparison, BETWEEN of something on the sky: ranges, and 1 = CONTAINS(...) becomes its condition. */
enum err adql_sky_condition(struct adql_context *c, struct adql_node *n);
/* The source whose index holds this point; NULL: none. */
struct adql_source *adql_indexed(struct adql_context *c, const struct adql_node *lon, const struct adql_node *lat);

bool adql_same_expression(const struct adql_node *a, const struct adql_node *b);

/* Are all columns in n those of s, and is nothing in it that one row does not settle? */
bool adql_only_of(const struct adql_node *n, const struct adql_source *s);

/* ---- what the passes share ----------------------------------------------------------------------------------------- */

#define ADQL_NODES_MAX 100000

void *adql_alloc(struct adql_context *c, size_t count, size_t size); /* zeroed; NULL with c->err set */
/* Copy of an array with room for one more element at its end. */
void *adql_grow(struct adql_context *c, const void *old, int n, size_t size);
struct adql_node *adql_node(struct adql_context *c, enum node_kind kind, int at);
bool adql_is(const struct adql_name *n, const char *word); /* unquoted and the same without regard to case */
bool adql_same(const struct adql_name *n, const char *name); /* does it mean this column or table? */
enum schema_type adql_schema_type(enum adql_type t);
bool adql_number_type(enum adql_type t);
bool adql_geometry_type(enum adql_type t);
const char *adql_type_name(enum adql_type t);
bool adql_constant(const struct adql_node *n, double *ret); /* a number known now, by the rules of SQL (7/2 is 3) */
const char *adql_text(struct adql_context *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
