/* ADQL in, one SELECT of PostgreSQL out.
 *
 *     query --adql_lexer--> tokens --adql_parser--> tree --adql_check--> typed tree --adql_geometry--> ranges
 *                                                                             '--adql_writer--> SQL
 *
 *     struct adql_result r;
 *     struct adql_options o = {.maxrec = 1000, .uploads = tables, .nupload = n};
 *     if (adql_translate(text, schema, &o, &r, &err)) ... err.message names line and column, err.hint the way out
 *     db_begin(db, &err); ... uploads ...; adql_prepare(db, &r, 0, &err); db_stream(db, NULL, r.sql, 0, NULL, ...); db_commit(db, &err);
 *     adql_release(&r);
 *
 * Language: ADQL 2.0 whole; of 2.1 what adql_features[] lists. docs/adql.md says how we read what the standard leaves open.
 * Safety: nothing of the query's text reaches the SQL but values, which are written anew from what was read; relations and
 * columns are those of the schema, functions those of one table (adql_functions.c), aliases are numbered. Length, depth,
 * number of nodes and length of the SQL have ceilings.
 * Threads: no state; the schema is read only.                                                                          */
#ifndef NIGHTSHIFT_CATALOG_ADQL_H
#define NIGHTSHIFT_CATALOG_ADQL_H

#include "catalog/schema.h"

#define ADQL_LENGTH_MAX (1 << 20) /* bytes of a query */
#define ADQL_DEPTH_MAX  64        /* of parentheses, subqueries, signs */
#define ADQL_COLUMNS_MAX 1200     /* of one SELECT */

struct adql_upload {
    const struct schema_table *table; /* schema "tap_upload"; relation: the temporary table; columns: names as they are there */
    int64_t nrow;
};

struct adql_options {
    int64_t maxrec;                   /* rows the caller will send; the SQL asks for one more. -1: all */
    const struct adql_upload *uploads;
    int nupload;
};

struct adql_column {                  /* of the result */
    const char *name;                 /* as written, or of the column; unique in the result */
    enum schema_type type;
    const char *unit, *ucd, *utype, *xtype, *arraysize, *description; /* "" for none, as in struct schema_column */
    const struct schema_column *source; /* the column it is, NULL for an expression */
};

struct adql_prelude {                 /* what adql_prepare() does */
    const char *read;                 /* SELECT lon, lat, radius: the circles of a join */
    const char *table;                /* temporary table of their ranges: lon, lat, radius, first, last */
};

struct adql_result {
    const char *sql;                  /* one SELECT, no parameters, no semicolon */
    struct adql_column *columns;
    int ncol;
    int64_t top;                      /* rows the query itself asks for, -1: all. More than maxrec rows come: overflow */
    struct adql_prelude *preludes;
    int nprelude;
    bool indexed;                     /* a condition was turned into ranges of hpx29 */
    struct arena *arena;              /* owns the strings */
};

/* Given:    query  UTF-8
 *           schema what may be read, besides opt->uploads
 * Returned: ret    adql_release() frees it; the schema and the uploads must outlive it
 * Status:   ERR_USAGE: the query is wrong: message "line 1, column 8: ...", hint; ERR_NOMEM                             */
enum err adql_translate(const char *query, const struct schema *schema, const struct adql_options *opt, struct adql_result *ret,
                        struct error *err);
void adql_release(struct adql_result *r); /* takes a zeroed one */

/* Make the temporary tables r->sql needs (none for most queries): in the caller's transaction, before it is made read only;
 * they go away with it. max_circles 0: 2,000,000.
 * Status: ERR_USAGE: more circles than that; what db.h says */
enum err adql_prepare(struct db *db, const struct adql_result *r, int64_t max_circles, struct error *err);

/* What the capabilities document declares. */
struct adql_feature {
    const char *type;        /* "ivo://ivoa.net/std/TAPRegExt#features-adqlgeo" */
    const char *form;        /* "CONTAINS"; of a function of ours "f(a T, ...) -> T" */
    const char *description; /* "" for none */
};
extern const struct adql_feature adql_features[]; /* ends with type NULL */

#endif
