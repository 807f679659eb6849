/* TAP_SCHEMA is written whole from the schema file whenever its checksum differs from the one stored beside it. */
#include <stdio.h>
#include <string.h>

#include "catalog/schema.h"
#include "common/assets.h"
#include "common/digest.h"

static const char *or_null(const char *text)
{
    return *text ? text : NULL;
}

/* The name as a query writes it: words that ADQL keeps for itself stand in quotes. */
static const char *as_written(const char *name)
{
    return !strcmp(name, "size") ? "\"size\"" : name;
}

static enum err publish_tables(struct db *db, const struct schema *s, struct error *err)
{
    enum err e = ERR_OK;
    for (int g = 0; g < s->ngroup && !e; g++) {
        const struct schema_group *p = &s->groups[g];
        char place[16];
        snprintf(place, sizeof place, "%d", g + 1);
        e = db_query(db, "INSERT INTO tap_schema.schemas VALUES ($1, $2, $3, $4)", 4,
                     (const char *[]){p->name, or_null(p->utype), p->description, place}, NULL, err);
    }
    for (int i = 0; i < s->ntable && !e; i++) {
        const struct schema_table *t = &s->tables[i];
        char place[16];
        snprintf(place, sizeof place, "%d", i + 1);
        e = db_query(db, "INSERT INTO tap_schema.tables VALUES ($1, $2, $3, $4, $5, $6)", 6,
                     (const char *[]){t->schema, t->full, t->kind, or_null(t->utype), t->description, place}, NULL, err);
    }
    return e;
}

static enum err publish_columns(struct db *db, const struct schema_table *t, struct error *err)
{
    enum err e = ERR_OK;
    for (int i = 0; i < t->ncol && !e; i++) {
        const struct schema_column *c = &t->columns[i];
        char place[16];
        snprintf(place, sizeof place, "%d", i + 1);
        e = db_query(db, "INSERT INTO tap_schema.columns (table_name, column_name, datatype, arraysize, xtype, \"size\", description, utype, unit,"
                         " ucd, principal, indexed, std, column_index)"
                         " VALUES ($1, $2, $3, $4, $5, CASE WHEN $4 ~ '^[0-9]+$' THEN $4::integer END, $6, $7, $8, $9, $10, $11, $12, $13)", 13,
                     (const char *[]){t->full, as_written(c->name), schema_datatype(c->type), or_null(c->arraysize), or_null(c->xtype), c->description,
                                      or_null(c->utype), or_null(c->unit), or_null(c->ucd), c->principal ? "1" : "0", c->indexed ? "1" : "0",
                                      c->std ? "1" : "0", place}, NULL, err);
    }
    return e;
}

static enum err publish_keys(struct db *db, const struct schema *s, struct error *err)
{
    enum err e = ERR_OK;
    for (int i = 0; i < s->nkey && !e; i++) {
        const struct schema_key *k = &s->keys[i];
        e = db_query(db, "INSERT INTO tap_schema.keys VALUES ($1, $2, $3, NULL, $4)", 4, (const char *[]){k->id, k->from, k->to, k->description}, NULL, err);
        for (int j = 0; j < k->n && !e; j++)
            e = db_query(db, "INSERT INTO tap_schema.key_columns VALUES ($1, $2, $3)", 3,
                         (const char *[]){k->id, k->from_columns[j], k->to_columns[j]}, NULL, err);
    }
    return e;
}

static enum err publish_all(struct db *db, const struct schema *s, const char *sha256, struct error *err)
{
    enum err e = db_exec(db, "DELETE FROM tap_schema.key_columns; DELETE FROM tap_schema.keys; DELETE FROM tap_schema.columns;"
                             "DELETE FROM tap_schema.tables; DELETE FROM tap_schema.schemas; DELETE FROM schema_published", err);
    if (!e) e = publish_tables(db, s, err);
    for (int i = 0; i < s->ntable && !e; i++) e = publish_columns(db, &s->tables[i], err);
    if (!e) e = publish_keys(db, s, err);
    if (!e) e = db_query(db, "INSERT INTO schema_published (sha256) VALUES ($1)", 1, &sha256, NULL, err);
    return e;
}

static enum err is_published(struct db *db, const char *sha256, bool *ret, struct error *err)
{
    struct db_result *r = NULL;
    enum err e = db_query(db, "SELECT FROM schema_published WHERE sha256 = $1", 1, &sha256, &r, err);
    *ret = !e && db_nrow(r) == 1;
    db_result_free(r);
    return e;
}

enum err schema_publish(struct db *db, struct error *err)
{
    const struct asset *a = asset_find("catalog/schema/schema.yaml");
    struct schema *s = NULL;
    char sha256[DIGEST_HEX_SIZE];
    bool there;
    if (!a) return ERROR(err, ERR_INTERNAL, "the schema file is not compiled in");
    digest_buffer(a->data, a->size, sha256);
    enum err e = is_published(db, sha256, &there, err);
    if (e || there) return e;
    e = schema_load(&s, err);
    if (!e) e = db_begin(db, err);
    if (!e) e = db_exec(db, "SELECT pg_advisory_xact_lock(hashtext('nightshift.schema'))", err);
    if (!e) e = is_published(db, sha256, &there, err); /* by another, while we waited for the lock */
    if (!e && !there) e = publish_all(db, s, sha256, err);
    if (!e) e = db_commit(db, err);
    if (e) db_rollback(db);
    schema_free(s);
    return e;
}
