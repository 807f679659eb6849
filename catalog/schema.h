/* What the catalogue publishes, read from catalog/schema/schema.yaml: the one description of schemas, tables, columns and
 * foreign keys. TAP_SCHEMA, /tap/tables, VOTable FIELDs, FITS units and docs/tables.md are made from it.
 *
 *     struct schema *s = NULL;
 *     schema_load(&s, &err);
 *     const struct schema_table *t = schema_table_find(s, NULL, "detection");
 *     t->columns[t->ra].name, t->relation ...
 *     schema_free(s);
 *
 * Threads: read-only once loaded. Strings belong to the schema.                                                       */
#ifndef NIGHTSHIFT_CATALOG_SCHEMA_H
#define NIGHTSHIFT_CATALOG_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>

#include "common/db.h"
#include "common/err.h"

enum schema_type {
    SCHEMA_BOOLEAN, SCHEMA_SHORT, SCHEMA_INT, SCHEMA_LONG, SCHEMA_FLOAT, SCHEMA_DOUBLE, SCHEMA_TEXT, SCHEMA_TIMESTAMP, SCHEMA_TYPES
};

struct schema_column {
    const char *name;        /* lower case, as in the relation */
    enum schema_type type;
    const char *unit;        /* VOUnit; "" for none, like the next five */
    const char *ucd;         /* UCD1+ */
    const char *ucd1;        /* UCD1 of a Simple Cone Search */
    const char *utype;
    const char *xtype;       /* "timestamp", "adql:REGION" ... */
    const char *arraysize;   /* of a VOTable: "*" for text */
    const char *description;
    bool principal, indexed, std;
};

struct schema_table {
    const char *schema;      /* "nightshift" */
    const char *name;        /* "detection" */
    const char *full;        /* "nightshift.detection": the name in TAP_SCHEMA */
    const char *relation;    /* what SQL reads: "published_detection", "tap_schema.columns" */
    const char *kind;        /* "table" or "view" */
    const char *utype;
    const char *description;
    struct schema_column *columns;
    int ncol;
    int ra, dec, hpx;        /* columns of the position, ICRS degrees, and of hpx29; -1: none */
    int order[4], norder;    /* columns that give the rows an order of their own */
};

struct schema_key {
    const char *id, *from, *to; /* full names */
    const char *description;
    const char *from_columns[4], *to_columns[4];
    int n;
};

struct schema_group {        /* one schema of ADQL */
    const char *name, *utype, *description;
    int first, n;            /* its tables */
};

struct schema {
    struct schema_group *groups;
    int ngroup;
    struct schema_table *tables;
    int ntable;
    struct schema_key *keys;
    int nkey;
    struct yamltree *tree;   /* owns the strings */
    struct arena *arena;     /* owns the rest */
};

/* The compiled-in file. Status: ERR_SETTINGS "schema.yaml:LINE" for a mistake in it; ERR_NOMEM */
enum err schema_load(struct schema **ret, struct error *err);
void schema_free(struct schema *s); /* takes NULL */

/* Names without regard to case. schema NULL: any, the first in the file's order. Returned: NULL if there is none. */
const struct schema_table *schema_table_find(const struct schema *s, const char *schema, const char *name);
int schema_column_find(const struct schema_table *t, const char *name); /* -1: none */

const char *schema_datatype(enum schema_type type);  /* of a VOTable: "boolean", "short", ... "char" */
const char *schema_sql_type(enum schema_type type);  /* "boolean", "smallint", ... "timestamptz" */

/* Fill TAP_SCHEMA with it, unless it holds just this. One transaction; `db migrate` calls it.
 * Status: ERR_DATABASE and the like; ERR_INTERNAL */
enum err schema_publish(struct db *db, struct error *err);

#endif
