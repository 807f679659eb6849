#include "catalog/adql_names.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/text.h"

/* ---- tables -------------------------------------------------------------------------------------------------------- */

static enum adql_type type_of(enum schema_type t)
{
    switch (t) {
    case SCHEMA_BOOLEAN: return TYPE_BOOLEAN;
    case SCHEMA_SHORT: return TYPE_SHORT;
    case SCHEMA_INT: return TYPE_INT;
    case SCHEMA_LONG: return TYPE_LONG;
    case SCHEMA_FLOAT: return TYPE_REAL;
    case SCHEMA_DOUBLE: return TYPE_DOUBLE;
    case SCHEMA_TIMESTAMP: return TYPE_TIMESTAMP;
    default: return TYPE_TEXT;
    }
}

static const char *or_empty(const char *s)
{
    return s ? s : "";
}

static enum err open_table(struct adql_context *c, struct adql_source *s, const struct schema_table *t)
{
    s->schema_table = t;
    s->ncol = t->ncol;
    if (!(s->columns = adql_alloc(c, (size_t)t->ncol, sizeof *s->columns))) return ERR_NOMEM;
    for (int i = 0; i < t->ncol; i++) {
        const struct schema_column *k = &t->columns[i];
        s->columns[i] = (struct adql_source_column){
            .name = k->name, .sql = k->name, .type = type_of(k->type),
            .meta = {or_empty(k->unit), or_empty(k->ucd), or_empty(k->utype), or_empty(k->xtype), or_empty(k->arraysize), or_empty(k->description), k}};
    }
    return ERR_OK;
}

static enum err open_query(struct adql_context *c, struct adql_source *s, const struct adql_query *q, const struct adql_common *names)
{
    s->ncol = q->ncol;
    if (!(s->columns = adql_alloc(c, (size_t)q->ncol, sizeof *s->columns))) return ERR_NOMEM;
    for (int i = 0; i < q->ncol; i++) {
        s->columns[i] = q->columns[i];
        if (names && names->ncolumn) s->columns[i].name = names->columns[i].text;
        s->columns[i].sql = adql_text(c, "c%d", i + 1);
    }
    return ERR_OK;
}

static const struct adql_common *find_common(const struct adql_query *q, const struct adql_name *name)
{
    for (; q; q = q->outer) {
        const struct adql_common *end = q->visible_until ? q->visible_until : q->commons + q->ncommon;
        for (const struct adql_common *t = q->commons; t && t < end; t++)
            if (adql_same(name, t->name.text)) return t;
    }
    return NULL;
}

static const struct schema_table *find_table(struct adql_context *c, struct adql_source *s)
{
    const struct adql_name *name = &s->table[s->ntable - 1], *schema = s->ntable > 1 ? &s->table[s->ntable - 2] : NULL;
    for (int i = 0; schema && i < c->opt->nupload; i++) {
        const struct schema_table *t = c->opt->uploads[i].table;
        if (!adql_same(schema, t->schema) || !adql_same(name, t->name)) continue;
        s->upload = &c->opt->uploads[i];
        return t;
    }
    const struct schema_table *t = schema_table_find(c->schema, schema ? schema->text : NULL, name->text);
    if (!t || !adql_same(name, t->name) || (schema && !adql_same(schema, t->schema))) return NULL;
    return t;
}

static enum err no_table(struct adql_context *c, const struct adql_source *s, const struct adql_query *query)
{
    char full[200] = "";
    for (int i = 0; i < s->ntable; i++) snprintf(full + strlen(full), sizeof full - strlen(full), "%s%.60s", i ? "." : "", s->table[i].text);
    ADQL_ERROR(c->err, c->query, s->table[0].at, "no table '%s'", full);
    struct text_nearest n = {.wanted = full}, last = {.wanted = s->table[s->ntable - 1].text};
    for (int i = 0; i < c->schema->ntable; i++) {
        text_nearest_offer(&n, c->schema->tables[i].full);
        if (!last.name || text_distance(last.wanted, c->schema->tables[i].name) < last.distance) {
            struct text_nearest one = {.wanted = last.wanted};
            text_nearest_offer(&one, c->schema->tables[i].name);
            if (one.name) last = (struct text_nearest){last.wanted, c->schema->tables[i].full, one.distance};
        }
    }
    for (int i = 0; i < c->opt->nupload; i++)
        if (!strcasecmp(c->opt->uploads[i].table->name, last.wanted)) {
            error_hint(c->err, "the uploaded table is TAP_UPLOAD.%s", c->opt->uploads[i].table->name);
            return ERR_USAGE;
        }
    for (const struct adql_query *q = query; q; q = q->outer)
        for (int i = 0; i < q->ncommon; i++) text_nearest_offer(&n, q->commons[i].name.text);
    if (n.name || last.name) error_hint(c->err, "did you mean %s?", n.name ? n.name : last.name);
    else error_hint(c->err, "TAP_SCHEMA.tables lists the tables");
    return ERR_USAGE;
}

enum err adql_open_source(struct adql_context *c, struct adql_query *query, struct adql_source *s)
{
    s->number = ++c->ntable;
    if (s->query) return open_query(c, s, s->query, NULL);
    const struct adql_common *t = s->ntable == 1 ? find_common(query, &s->table[0]) : NULL;
    if (t) {
        s->common = true;
        s->common_number = t->number;
        s->query = t->query;
        return open_query(c, s, t->query, t);
    }
    const struct schema_table *table = s->ntable <= 2 ? find_table(c, s) : NULL;
    return table ? open_table(c, s, table) : no_table(c, s, query);
}

enum err adql_collect_sources(struct adql_context *c, const struct adql_from *f, struct adql_select *s)
{
    if (f->kind != JOIN_NONE) {
        enum err e = adql_collect_sources(c, f->left, s);
        return e ? e : adql_collect_sources(c, f->right, s);
    }
    struct adql_source **grown = adql_grow(c, s->sources, s->nsource, sizeof *grown);
    if (!grown) return ERR_NOMEM;
    grown[s->nsource++] = f->source;
    s->sources = grown;
    f->source->select = s;
    return ERR_OK;
}

/* ---- joins --------------------------------------------------------------------------------------------------------- */

static const struct adql_visible *find_visible(const struct adql_from *f, const struct adql_name *name, int *ret_found)
{
    const struct adql_visible *found = NULL;
    *ret_found = 0;
    for (int i = 0; i < f->nvisible; i++)
        if (adql_same(name, f->visible[i].name)) {
            found = &f->visible[i];
            ++*ret_found;
        }
    return found;
}

static struct adql_refs both(struct adql_context *c, const struct adql_refs *a, const struct adql_refs *b)
{
    struct adql_refs r = {adql_alloc(c, (size_t)a->n + (size_t)b->n, sizeof *r.v), 0};
    if (!r.v) return r;
    for (int i = 0; i < a->n; i++) r.v[r.n++] = a->v[i];
    for (int i = 0; i < b->n; i++) r.v[r.n++] = b->v[i];
    return r;
}

static enum err common_names(struct adql_context *c, struct adql_from *f)
{
    for (int i = 0; i < f->left->nvisible; i++) {
        struct adql_name name = {f->left->visible[i].name, true, f->at}, *grown;
        int found;
        if (!find_visible(f->right, &name, &found)) continue;
        if (!(grown = adql_grow(c, f->using_names, f->nusing, sizeof *grown))) return ERR_NOMEM;
        grown[f->nusing++] = name;
        f->using_names = grown;
    }
    return ERR_OK;
}

static enum err using_column(struct adql_context *c, const struct adql_from *f, const struct adql_from *side, const struct adql_name *name,
                             const struct adql_visible **ret)
{
    int found;
    *ret = find_visible(side, name, &found);
    if (found == 1) return ERR_OK;
    return ADQL_ERROR(c->err, c->query, name->at, "column '%.60s' stands %s on the %s of this join", name->text, found ? "more than once" : "not",
                      side == f->left ? "left" : "right");
}

/* Merged columns first, then the rest of the left, then the rest of the right. */
static enum err merge_using(struct adql_context *c, struct adql_from *f)
{
    const struct adql_visible *l[2];
    f->pairs = adql_alloc(c, 2 * (size_t)f->nusing, sizeof *f->pairs);
    f->visible = adql_alloc(c, (size_t)f->left->nvisible + (size_t)f->right->nvisible, sizeof *f->visible);
    if (!f->pairs || !f->visible) return ERR_NOMEM;
    for (int i = 0; i < f->nusing; i++) {
        enum err e = using_column(c, f, f->left, &f->using_names[i], &l[0]);
        if (!e) e = using_column(c, f, f->right, &f->using_names[i], &l[1]);
        if (e) return e;
        f->pairs[2 * i] = l[0]->refs;
        f->pairs[2 * i + 1] = l[1]->refs;
        f->npairs++;
        struct adql_refs refs = f->kind == JOIN_RIGHT ? l[1]->refs : f->kind == JOIN_FULL ? both(c, &l[0]->refs, &l[1]->refs) : l[0]->refs;
        if (!refs.v) return ERR_NOMEM;
        f->visible[f->nvisible++] = (struct adql_visible){l[0]->name, refs};
    }
    const struct adql_from *sides[2] = {f->left, f->right};
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < sides[k]->nvisible; i++) {
            bool merged = false;
            for (int j = 0; j < f->nusing; j++) merged |= adql_same(&f->using_names[j], sides[k]->visible[i].name);
            if (!merged) f->visible[f->nvisible++] = sides[k]->visible[i];
        }
    return ERR_OK;
}

enum err adql_open_from(struct adql_context *c, struct adql_from *f)
{
    if (f->kind == JOIN_NONE) {
        struct adql_source *s = f->source;
        f->visible = adql_alloc(c, (size_t)s->ncol, sizeof *f->visible);
        struct adql_ref *refs = adql_alloc(c, (size_t)s->ncol, sizeof *refs);
        if (!f->visible || !refs) return ERR_NOMEM;
        for (int i = 0; i < s->ncol; i++) {
            refs[i] = (struct adql_ref){s, i};
            f->visible[f->nvisible++] = (struct adql_visible){s->columns[i].name, {&refs[i], 1}};
        }
        return ERR_OK;
    }
    if (f->left->nvisible + f->right->nvisible > 4 * ADQL_COLUMNS_MAX)
        return ADQL_ERROR(c->err, c->query, f->at, "this join has too many columns");
    if (f->natural) {
        enum err e = common_names(c, f);
        if (e) return e;
    }
    return merge_using(c, f);
}

/* ---- columns ------------------------------------------------------------------------------------------------------- */

static bool source_named(const struct adql_source *s, const struct adql_name *table, int n)
{
    const struct adql_name *last = &table[n - 1];
    if (s->alias.text) return n == 1 && adql_same(last, s->alias.text);
    if (s->common) return n == 1 && adql_same(last, s->table[0].text);
    if (!s->schema_table || n > 2) return false;
    return adql_same(last, s->schema_table->name) && (n == 1 || adql_same(&table[0], s->schema_table->schema));
}

static bool within(const struct adql_from *f, const struct adql_source *s)
{
    return f->kind == JOIN_NONE ? f->source == s : within(f->left, s) || within(f->right, s);
}

/* Columns of one source by name: the one spelled just so wins over others that differ by case. */
static int source_column(const struct adql_source *s, const struct adql_name *name, int *ret_found)
{
    int column = -1;
    *ret_found = 0;
    for (int i = 0; i < s->ncol; i++) {
        if (!adql_same(name, s->columns[i].name)) continue;
        if (!strcmp(name->text, s->columns[i].name)) {
            *ret_found = 1;
            return i;
        }
        ++*ret_found;
        column = i;
    }
    return column;
}

struct hits {
    int n;
    struct adql_refs refs;
};

static void qualified(const struct adql_scope *scope, const struct adql_node *n, struct adql_ref *room, struct hits *h, bool *table_seen)
{
    for (int i = 0; i < scope->select->nsource; i++) {
        struct adql_source *s = scope->select->sources[i];
        int found;
        if ((scope->only && !within(scope->only, s)) || !source_named(s, n->name, n->nname - 1)) continue;
        *table_seen = true;
        int column = source_column(s, &n->name[n->nname - 1], &found);
        if (column < 0) continue;
        *room = (struct adql_ref){s, column};
        h->refs = (struct adql_refs){room, 1};
        h->n += found;
    }
}

static void unqualified(const struct adql_from *f, const struct adql_name *name, struct hits *h)
{
    bool exact = false;
    int n = 0;
    for (int i = 0; i < f->nvisible; i++) {
        if (!adql_same(name, f->visible[i].name)) continue;
        bool spelled = !strcmp(name->text, f->visible[i].name);
        if (exact && !spelled) continue;
        if (spelled && !exact) n = 0;
        exact |= spelled;
        n++;
        h->refs = f->visible[i].refs;
    }
    h->n += n;
}

static void take_column(struct adql_node *n, const struct adql_refs *refs)
{
    const struct adql_source_column *k = &refs->v[0].source->columns[refs->v[0].column];
    n->refs = *refs;
    n->type = k->type;
    n->meta = k->meta;
    n->kind = NODE_COLUMN;
    n->is_volatile = false;
}

struct adql_node *adql_column_node(struct adql_context *c, const struct adql_refs *refs, const char *name, int at)
{
    struct adql_node *n = adql_node(c, NODE_COLUMN, at);
    if (!n || !(n->name = adql_alloc(c, 1, sizeof *n->name))) return NULL;
    n->name[0] = (struct adql_name){name, true, at};
    n->nname = 1;
    take_column(n, refs);
    return n;
}

/* As text_nearest_offer(), and one letter more or less of a short name is near enough. */
static void offer(struct text_nearest *n, const char *name)
{
    text_nearest_offer(n, name);
    if (!n->name && strlen(name) >= 2 && text_distance(n->wanted, name) <= 1) *n = (struct text_nearest){n->wanted, name, 1};
}

static const char *written(const struct adql_node *n, char *buf, size_t size)
{
    buf[0] = 0;
    for (int i = 0; i < n->nname; i++) snprintf(buf + strlen(buf), size - strlen(buf), "%s%.60s", i ? "." : "", n->name[i].text);
    return buf;
}

static enum err no_column(struct adql_context *c, const struct adql_scope *scope, const struct adql_node *n, bool table_seen)
{
    char name[300];
    const char *column = n->name[n->nname - 1].text;
    ADQL_ERROR(c->err, c->query, n->at, n->nname > 1 && !table_seen ? "no table for '%s'" : "no column '%s'", written(n, name, sizeof name));
    struct text_nearest nearest = {.wanted = n->nname > 1 && !table_seen ? n->name[n->nname - 2].text : column};
    for (; scope; scope = scope->outer)
        for (int i = 0; i < scope->select->nsource; i++) {
            const struct adql_source *s = scope->select->sources[i];
            const char *known = s->alias.text ? s->alias.text : s->schema_table ? s->schema_table->name : "";
            if (n->nname > 1 && !table_seen) {
                if (s->alias.text && s->schema_table && adql_same(&n->name[n->nname - 2], s->schema_table->name)) {
                    error_hint(c->err, "this table is called %s here", s->alias.text);
                    return ERR_USAGE;
                }
                offer(&nearest, known);
                continue;
            }
            if (n->nname > 1 && !source_named(s, n->name, n->nname - 1)) continue;
            for (int k = 0; k < s->ncol; k++) offer(&nearest, s->columns[k].name);
        }
    if (nearest.name) error_hint(c->err, nearest.distance ? "did you mean %s?" : "write \"%s\"", nearest.name);
    else if (n->name[0].quoted && n->nname == 1) error_hint(c->err, "text stands in 'single quotes', names in \"double quotes\"");
    return ERR_USAGE;
}

enum err adql_find_column(struct adql_context *c, struct adql_scope *scope, struct adql_node *n, bool silent)
{
    bool table_seen = false;
    char name[300];
    struct adql_ref *room = adql_alloc(c, 1, sizeof *room);
    if (!room) return ERR_NOMEM;
    for (struct adql_scope *s = scope; s; s = s->outer) {
        struct hits h = {0};
        if (n->nname > 1) qualified(s, n, room, &h, &table_seen);
        else if (s->only) {
            unqualified(s->only->left, &n->name[0], &h);
            unqualified(s->only->right, &n->name[0], &h);
        } else {
            for (int i = 0; i < s->select->nfrom; i++) unqualified(s->select->from[i], &n->name[0], &h);
        }
        if (h.n > 1) {
            ADQL_ERROR(c->err, c->query, n->at, "'%s' may be one of %d columns", written(n, name, sizeof name), h.n);
            error_hint(c->err, n->nname == 1 ? "write the table before it: table.%.60s" : "give the tables or columns different names: %.60s", n->name[n->nname - 1].text);
            return ERR_USAGE;
        }
        if (h.n == 1) {
            for (struct adql_scope *inner = scope; inner != s; inner = inner->outer) inner->select->correlated = true;
            take_column(n, &h.refs);
            return ERR_OK;
        }
    }
    return silent ? ERR_OK : no_column(c, scope, n, table_seen);
}

struct adql_source *adql_find_source(struct adql_context *c, const struct adql_select *s, const struct adql_name *table, int n)
{
    struct adql_source *found = NULL;
    for (int i = 0; i < s->nsource; i++) {
        if (!source_named(s->sources[i], table, n)) continue;
        if (found) {
            ADQL_ERROR(c->err, c->query, table[0].at, "'%.60s' is the name of two tables here", table[n - 1].text);
            return NULL;
        }
        found = s->sources[i];
    }
    if (!found) {
        struct text_nearest nearest = {.wanted = table[n - 1].text};
        ADQL_ERROR(c->err, c->query, table[0].at, "no table '%.60s' in this FROM", table[n - 1].text);
        for (int i = 0; i < s->nsource; i++) {
            const struct adql_source *k = s->sources[i];
            text_nearest_offer(&nearest, k->alias.text ? k->alias.text : k->schema_table ? k->schema_table->name : "");
        }
        if (nearest.name) error_hint(c->err, "did you mean %s?", nearest.name);
    }
    return found;
}
