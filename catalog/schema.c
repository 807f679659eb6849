#include "catalog/schema.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/arena.h"
#include "common/assets.h"
#include "common/yamltree.h"

#define SCHEMA_FILE "catalog/schema/schema.yaml"
#define COLUMNS_MAX 256 /* of a table */

static const struct {
    const char *name, *datatype, *sql;
} types[SCHEMA_TYPES] = {
    {"boolean", "boolean", "boolean"}, {"short", "short", "smallint"}, {"int", "int", "integer"},    {"long", "long", "bigint"},
    {"float", "float", "real"},        {"double", "double", "double precision"}, {"text", "char", "text"}, {"timestamp", "char", "timestamp with time zone"},
};

const char *schema_datatype(enum schema_type type)
{
    return types[type].datatype;
}

const char *schema_sql_type(enum schema_type type)
{
    return types[type].sql;
}

/* ---- reading the file ----------------------------------------------------------------------------------------------- */

struct reader {
    struct schema *s;
    struct error *err;
};

static const char *text_of(const struct yaml_node *map, const char *key)
{
    const struct yaml_node *n = yaml_child(map, key);
    return n && n->kind == YAML_SCALAR ? n->text : "";
}

static bool flag_of(const struct yaml_node *map, const char *key)
{
    return !strcmp(text_of(map, key), "1");
}

/* A key that is not in the list is a slip of the pen. Names are needed everywhere. */
static enum err check_keys(struct reader *r, const struct yaml_node *map, const char *const *known)
{
    if (map->kind != YAML_MAP) return yaml_error(r->s->tree, map, r->err, "expected a map");
    for (const struct yaml_node *n = map->first; n; n = n->next) {
        int i = 0;
        while (known[i] && strcmp(known[i], n->key)) i++;
        if (!known[i]) return yaml_error(r->s->tree, n, r->err, "unknown key '%s'", n->key);
    }
    if (!*text_of(map, known[0])) return yaml_error(r->s->tree, map, r->err, "'%s' is missing", known[0]);
    return ERR_OK;
}

static const struct yaml_node *list_of(struct reader *r, const struct yaml_node *map, const char *key)
{
    const struct yaml_node *n = yaml_child(map, key);
    if (!n || n->kind != YAML_LIST) yaml_error(r->s->tree, map, r->err, "'%s' must be a list", key);
    return n && n->kind == YAML_LIST ? n : NULL;
}

static enum err read_column(struct reader *r, const struct yaml_node *n, struct schema_column *c)
{
    static const char *const known[] = {"name", "type", "unit", "ucd", "ucd1", "utype", "xtype", "arraysize", "description",
                                        "principal", "indexed", "std", NULL};
    enum err e = check_keys(r, n, known);
    if (e) return e;
    *c = (struct schema_column){.name = text_of(n, "name"), .unit = text_of(n, "unit"), .ucd = text_of(n, "ucd"), .ucd1 = text_of(n, "ucd1"),
                                .utype = text_of(n, "utype"), .xtype = text_of(n, "xtype"), .arraysize = text_of(n, "arraysize"),
                                .description = text_of(n, "description"), .principal = flag_of(n, "principal"),
                                .indexed = flag_of(n, "indexed"), .std = flag_of(n, "std")};
    const char *type = text_of(n, "type");
    int t = 0;
    while (t < SCHEMA_TYPES && strcmp(types[t].name, type)) t++;
    if (t == SCHEMA_TYPES) return yaml_error(r->s->tree, n, r->err, "'%s' is no type of a column", type);
    c->type = (enum schema_type)t;
    if (!strcmp(types[t].datatype, "char") && !*c->arraysize) c->arraysize = "*";
    if (c->type == SCHEMA_TIMESTAMP && !*c->xtype) c->xtype = "timestamp";
    if (!*c->description) return yaml_error(r->s->tree, n, r->err, "column '%s' has no description", c->name);
    return ERR_OK;
}

/* A list of column names as column numbers. Returned: how many, -1: a name that is none. */
static int read_numbers(struct reader *r, const struct yaml_node *map, const char *key, const struct schema_table *t, int max, int *ret)
{
    const struct yaml_node *list = yaml_child(map, key);
    int k = 0;
    for (const struct yaml_node *n = list ? list->first : NULL; n; n = n->next, k++) {
        int column = n->text ? schema_column_find(t, n->text) : -1;
        if (column < 0 || k == max) {
            yaml_error(r->s->tree, n, r->err, "%s: no such column, or more than %d", key, max);
            return -1;
        }
        ret[k] = column;
    }
    return k;
}

static enum err read_columns(struct reader *r, const struct yaml_node *list, struct schema_table *t)
{
    t->columns = list->nchildren <= COLUMNS_MAX ? arena_array(r->s->arena, (size_t)list->nchildren, sizeof *t->columns) : NULL;
    if (!t->columns) return yaml_error(r->s->tree, list, r->err, "no memory for %d columns", list->nchildren);
    for (const struct yaml_node *n = list->first; n; n = n->next) {
        enum err e = read_column(r, n, &t->columns[t->ncol]);
        if (e) return e;
        if (schema_column_find(t, t->columns[t->ncol].name) >= 0)
            return yaml_error(r->s->tree, n, r->err, "column '%s' is there twice", t->columns[t->ncol].name);
        t->ncol++;
    }
    return ERR_OK;
}

static enum err read_table(struct reader *r, const struct yaml_node *n, const char *schema, struct schema_table *t)
{
    static const char *const known[] = {"name", "relation", "kind", "utype", "description", "position", "order", "columns", NULL};
    enum err e = check_keys(r, n, known);
    if (e) return e;
    *t = (struct schema_table){.schema = schema, .name = text_of(n, "name"), .relation = text_of(n, "relation"), .kind = text_of(n, "kind"),
                               .utype = text_of(n, "utype"), .description = text_of(n, "description"), .ra = -1, .dec = -1, .hpx = -1};
    if (!*t->kind) t->kind = "view";
    size_t size = strlen(schema) + strlen(t->name) + 2;
    char *full = arena_alloc(r->s->arena, size);
    if (!full) return ERROR(r->err, ERR_NOMEM, "could not get memory for a name");
    stpcpy(stpcpy(stpcpy(full, schema), "."), t->name);
    t->full = full;
    const struct yaml_node *columns = list_of(r, n, "columns");
    if (!columns) return ERR_SETTINGS;
    e = read_columns(r, columns, t);
    if (e) return e;
    int position[3] = {-1, -1, -1};
    if (read_numbers(r, n, "position", t, 3, position) < 0) return ERR_SETTINGS;
    t->ra = position[0], t->dec = position[1], t->hpx = position[2];
    t->norder = read_numbers(r, n, "order", t, 4, t->order);
    return t->norder < 0 ? ERR_SETTINGS : ERR_OK;
}

static enum err read_group(struct reader *r, const struct yaml_node *n, struct schema_group *g)
{
    static const char *const known[] = {"name", "utype", "description", "tables", NULL};
    enum err e = check_keys(r, n, known);
    if (e) return e;
    *g = (struct schema_group){.name = text_of(n, "name"), .utype = text_of(n, "utype"), .description = text_of(n, "description"),
                               .first = r->s->ntable};
    const struct yaml_node *tables = list_of(r, n, "tables");
    if (!tables) return ERR_SETTINGS;
    for (const struct yaml_node *t = tables->first; t; t = t->next, g->n++) {
        e = read_table(r, t, g->name, &r->s->tables[r->s->ntable]);
        if (e) return e;
        r->s->ntable++;
    }
    return ERR_OK;
}

static const struct schema_table *table_of_full(const struct schema *s, const char *full)
{
    for (int i = 0; i < s->ntable; i++)
        if (!strcasecmp(s->tables[i].full, full)) return &s->tables[i];
    return NULL;
}

static enum err read_key(struct reader *r, const struct yaml_node *n, struct schema_key *k)
{
    static const char *const known[] = {"id", "from", "to", "columns", "description", NULL};
    enum err e = check_keys(r, n, known);
    if (e) return e;
    *k = (struct schema_key){.id = text_of(n, "id"), .from = text_of(n, "from"), .to = text_of(n, "to"), .description = text_of(n, "description")};
    const struct schema_table *from = table_of_full(r->s, k->from), *to = table_of_full(r->s, k->to);
    const struct yaml_node *pairs = list_of(r, n, "columns");
    if (!from || !to) return yaml_error(r->s->tree, n, r->err, "key '%s' is between tables of which one is not here", k->id);
    for (const struct yaml_node *p = pairs ? pairs->first : NULL; p; p = p->next) {
        const char *a = p->first ? p->first->text : NULL, *b = a && p->first->next ? p->first->next->text : NULL;
        if (!a || !b || schema_column_find(from, a) < 0 || schema_column_find(to, b) < 0 || k->n == 4)
            return yaml_error(r->s->tree, p, r->err, "key '%s' wants pairs of columns that are there, at most 4", k->id);
        k->from_columns[k->n] = a;
        k->to_columns[k->n++] = b;
    }
    return k->n ? ERR_OK : yaml_error(r->s->tree, n, r->err, "key '%s' has no columns", k->id);
}

static int count_tables(const struct yaml_node *groups)
{
    int n = 0;
    for (const struct yaml_node *g = groups->first; g; g = g->next) {
        const struct yaml_node *tables = yaml_child(g, "tables");
        if (tables) n += tables->nchildren;
    }
    return n;
}

static enum err read_all(struct reader *r)
{
    struct schema *s = r->s;
    const struct yaml_node *root = yamltree_root(s->tree), *groups = list_of(r, root, "schemas"), *keys = list_of(r, root, "keys");
    if (!groups || !keys) return ERR_SETTINGS;
    s->groups = arena_array(s->arena, (size_t)groups->nchildren, sizeof *s->groups);
    s->tables = arena_array(s->arena, (size_t)count_tables(groups), sizeof *s->tables);
    s->keys = arena_array(s->arena, (size_t)keys->nchildren, sizeof *s->keys);
    if (!s->groups || !s->tables || !s->keys) return ERROR(r->err, ERR_NOMEM, "could not get memory for the schema");
    enum err e = ERR_OK;
    for (const struct yaml_node *n = groups->first; n && !e; n = n->next) e = read_group(r, n, &s->groups[s->ngroup++]);
    for (const struct yaml_node *n = keys->first; n && !e; n = n->next) e = read_key(r, n, &s->keys[s->nkey++]);
    return e;
}

enum err schema_load(struct schema **ret, struct error *err)
{
    const struct asset *a = asset_find(SCHEMA_FILE);
    if (!a) return ERROR(err, ERR_INTERNAL, "'" SCHEMA_FILE "' is not compiled in");
    struct schema *s = calloc(1, sizeof *s);
    if (!s) return ERROR(err, ERR_NOMEM, "could not get memory for the schema");
    enum err e = yamltree_parse(a->data, a->size, SCHEMA_FILE, &s->tree, err);
    if (!e && !(s->arena = arena_new(0))) e = ERROR(err, ERR_NOMEM, "could not get memory for the schema");
    if (!e) e = read_all(&(struct reader){s, err});
    if (e) schema_free(s);
    else *ret = s;
    return e;
}

void schema_free(struct schema *s)
{
    if (!s) return;
    arena_free(s->arena);
    yamltree_free(s->tree);
    free(s);
}

/* ---- looking things up ---------------------------------------------------------------------------------------------- */

const struct schema_table *schema_table_find(const struct schema *s, const char *schema, const char *name)
{
    for (int i = 0; i < s->ntable; i++)
        if ((!schema || !strcasecmp(s->tables[i].schema, schema)) && !strcasecmp(s->tables[i].name, name)) return &s->tables[i];
    return NULL;
}

int schema_column_find(const struct schema_table *t, const char *name)
{
    for (int i = 0; i < t->ncol; i++)
        if (!strcasecmp(t->columns[i].name, name)) return i;
    return -1;
}
