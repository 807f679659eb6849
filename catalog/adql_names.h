/* Inside the check: scopes, tables and columns by name. */
#ifndef NIGHTSHIFT_CATALOG_ADQL_NAMES_H
#define NIGHTSHIFT_CATALOG_ADQL_NAMES_H

#include "catalog/adql_tree.h"

/* Where a name is looked up: in one SELECT, then in those around it. */
struct adql_scope {
    struct adql_select *select;
    const struct adql_from *only;    /* of an ON: the two sides of its join; NULL: the whole FROM */
    struct adql_query *query;        /* whose common tables are seen */
    struct adql_scope *outer;
};

/* Tables of the schema and uploads, common and derived tables: columns and a number. The query of a derived table has
 * been checked already. */
enum err adql_open_source(struct adql_context *c, struct adql_query *query, struct adql_source *s);

/* The columns a source or a join offers; USING and NATURAL are resolved. */
enum err adql_open_from(struct adql_context *c, struct adql_from *f);

/* A column by the name in n: fills refs, type, meta. ERR_USAGE: none or several. silent: no error for "none": n->refs.n is 0 then. */
enum err adql_find_column(struct adql_context *c, struct adql_scope *scope, struct adql_node *n, bool silent);

/* The sources of a FROM, in order. */
enum err adql_collect_sources(struct adql_context *c, const struct adql_from *f, struct adql_select *s);

/* Sources named by t.* ; n parts. NULL: error set. */
struct adql_source *adql_find_source(struct adql_context *c, const struct adql_select *s, const struct adql_name *table, int n);

/* A node for a column already known. */
struct adql_node *adql_column_node(struct adql_context *c, const struct adql_refs *refs, const char *name, int at);

#endif
