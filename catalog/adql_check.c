/* Names and types: after this pass each node knows what it is. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "catalog/adql_names.h"
#include "common/text.h"

static enum err check_query(struct adql_context *c, struct adql_query *q, struct adql_query *around, struct adql_scope *outer);
static enum err check(struct adql_context *c, struct adql_scope *scope, struct adql_node *n);

static enum err refuse(struct adql_context *c, const struct adql_node *n, const char *what, enum adql_type found)
{
    return ADQL_ERROR(c->err, c->query, n->at, "%s is wanted here, this is %s", what, adql_type_name(found));
}

/* ---- types --------------------------------------------------------------------------------------------------------- */

static enum err need_number(struct adql_context *c, const struct adql_node *n)
{
    return adql_number_type(n->type) || n->type == TYPE_NULL ? ERR_OK : refuse(c, n, "a number", n->type);
}

static bool is_integer(enum adql_type t)
{
    return t >= TYPE_SHORT && t <= TYPE_LONG;
}

static enum err need_condition(struct adql_context *c, const struct adql_node *n)
{
    if (n->type == TYPE_CONDITION || n->type == TYPE_BOOLEAN || n->type == TYPE_NULL) return ERR_OK;
    refuse(c, n, "a condition", n->type);
    if (n->kind == NODE_CALL && n->function && !strcmp(n->function->sql, "adql.contains($*)")) error_hint(c->err, "write 1 = CONTAINS(...)");
    if (n->kind == NODE_SKY) error_hint(c->err, "write 1 = CONTAINS(...)");
    return ERR_USAGE;
}

static enum err need_value(struct adql_context *c, const struct adql_node *n)
{
    return n->type == TYPE_CONDITION && n->kind != NODE_TRUTH ? refuse(c, n, "a value", n->type) : ERR_OK;
}

/* As PostgreSQL does: a real beside an integer or a double is a double. */
static enum adql_type common_number(enum adql_type a, enum adql_type b)
{
    if (a == TYPE_NULL) return b;
    if (b == TYPE_NULL || a == b) return a;
    if (a == TYPE_REAL || b == TYPE_REAL) return TYPE_DOUBLE;
    return a > b ? a : b;
}

/* The type that holds both; false when there is none. */
static bool common_type(enum adql_type a, enum adql_type b, enum adql_type *ret)
{
    if (a == TYPE_NULL || b == TYPE_NULL || a == b) *ret = a == TYPE_NULL ? b : a;
    else if (adql_number_type(a) && adql_number_type(b)) *ret = common_number(a, b);
    else if ((a == TYPE_BOOLEAN && b == TYPE_CONDITION) || (a == TYPE_CONDITION && b == TYPE_BOOLEAN)) *ret = TYPE_BOOLEAN;
    else return false;
    return true;
}

/* A string where a time is wanted is a time, 't' or 1 where true or false is wanted is that. */
static bool is_time(const char *s)
{
    int y, mo, d, h = 0, mi = 0, n = 0;
    double sec = 0;
    while (*s == ' ') s++;
    if (sscanf(s, "%4d-%2d-%2d%n", &y, &mo, &d, &n) != 3 || !n) return false;
    s += n;
    if (*s == 'T' || *s == ' ') {
        n = 0;
        if (sscanf(s + 1, "%2d:%2d%n", &h, &mi, &n) == 2 && n) {
            s += 1 + n;
            n = 0;
            if (*s == ':' && sscanf(s + 1, "%lf%n", &sec, &n) == 1 && n) s += 1 + n;
        }
    }
    if (*s == 'Z') s++;
    while (*s == ' ') s++;
    return !*s && y > 0 && mo >= 1 && mo <= 12 && d >= 1 && d <= 31 && h >= 0 && h < 24 && mi >= 0 && mi < 60 && sec >= 0 && sec < 60;
}

static enum err adapt(struct adql_context *c, struct adql_node *n, enum adql_type wanted)
{
    if (wanted == TYPE_TIMESTAMP && n->kind == NODE_STRING) {
        if (is_time(n->text)) {
            n->type = TYPE_TIMESTAMP;
            return ERR_OK;
        }
        ADQL_ERROR(c->err, c->query, n->at, "'%.40s' is not a time", n->text);
        error_hint(c->err, "times are written '2025-05-30T12:34:56'");
        return ERR_USAGE;
    }
    if (wanted != TYPE_BOOLEAN && wanted != TYPE_CONDITION) return ERR_OK;
    static const char *const words[] = {"0", "f", "false", "n", "no", "1", "t", "true", "y", "yes"};
    const char *s = n->kind == NODE_STRING || (n->kind == NODE_NUMBER && n->integer) ? n->text : "";
    for (int i = 0; i < 10; i++)
        if (!strcasecmp(s, words[i])) {
            n->kind = NODE_TRUTH;
            n->number = i >= 5;
            n->type = TYPE_BOOLEAN;
        }
    return ERR_OK;
}

static enum err adapt_pair(struct adql_context *c, struct adql_node *a, struct adql_node *b)
{
    enum err e = adapt(c, a, b->type);
    return e ? e : adapt(c, b, a->type);
}

static enum err comparable(struct adql_context *c, struct adql_node *a, struct adql_node *b, bool order)
{
    enum adql_type t;
    enum err e = adapt_pair(c, a, b);
    if (e) return e;
    if (adql_geometry_type(a->type) || adql_geometry_type(b->type)) {
        ADQL_ERROR(c->err, c->query, b->at, "shapes cannot be compared");
        error_hint(c->err, "1 = CONTAINS(...) and 1 = INTERSECTS(...) compare them");
        return ERR_USAGE;
    }
    if (!common_type(a->type, b->type, &t)) {
        ADQL_ERROR(c->err, c->query, b->at, "%s is compared with %s", adql_type_name(a->type), adql_type_name(b->type));
        if (a->type == TYPE_CONDITION || b->type == TYPE_CONDITION) error_hint(c->err, "join conditions with AND, OR, NOT");
        return ERR_USAGE;
    }
    if (t == TYPE_CONDITION) return need_value(c, a);
    if (order && t == TYPE_BOOLEAN) return ADQL_ERROR(c->err, c->query, b->at, "true and false have no order");
    return ERR_OK;
}

/* ---- flags that go up ---------------------------------------------------------------------------------------------- */

static void inherit(struct adql_node *n, const struct adql_node *arg)
{
    n->has_aggregate |= arg->has_aggregate;
    n->is_volatile |= arg->is_volatile;
}

static enum err check_args(struct adql_context *c, struct adql_scope *scope, struct adql_node *n)
{
    for (int i = 0; i < n->nargs; i++) {
        if (!n->args[i]) continue;
        enum err e = check(c, scope, n->args[i]);
        if (e) return e;
        inherit(n, n->args[i]);
    }
    return ERR_OK;
}

/* ---- calls --------------------------------------------------------------------------------------------------------- */

static enum err count_args(struct adql_context *c, const struct adql_node *n)
{
    const struct adql_function *f = n->function;
    if (n->nargs >= f->min && n->nargs <= f->max) return ERR_OK;
    if (f->min == f->max) return ADQL_ERROR(c->err, c->query, n->at, "%s takes %d argument%s, not %d", f->name, f->min, f->min == 1 ? "" : "s", n->nargs);
    return ADQL_ERROR(c->err, c->query, n->at, "%s takes %d to %d arguments, not %d", f->name, f->min, f->max, n->nargs);
}

static enum err check_argument(struct adql_context *c, const struct adql_function *f, struct adql_node *arg, int i)
{
    size_t last = strlen(f->takes) - 1;
    switch (f->takes[(size_t)i < last ? (size_t)i : last]) {
    case 'd': case 'n': return need_number(c, arg);
    case 'i': return is_integer(arg->type) || arg->type == TYPE_NULL ? ERR_OK : refuse(c, arg, "an integer", arg->type);
    case 't': return arg->type == TYPE_TEXT || arg->type == TYPE_NULL ? ERR_OK : refuse(c, arg, "text", arg->type);
    default:
        if (adql_geometry_type(arg->type)) return refuse(c, arg, "a value", arg->type);
        return need_value(c, arg);
    }
}

static enum err call_type(struct adql_context *c, struct adql_node *n)
{
    const struct adql_function *f = n->function;
    enum adql_type t = n->nargs ? n->args[0]->type : TYPE_NULL;
    switch (f->gives) {
    case GIVES_DOUBLE: n->type = TYPE_DOUBLE; break;
    case GIVES_LONG: n->type = TYPE_LONG; break;
    case GIVES_INT: n->type = TYPE_INT; break;
    case GIVES_TEXT: n->type = TYPE_TEXT; break;
    case GIVES_FIRST:
        n->type = t;
        if (t == TYPE_BOOLEAN && f->kind == FUNCTION_AGGREGATE) return refuse(c, n->args[0], "a number, text or time", t);
        break;
    case GIVES_SUM: n->type = is_integer(t) ? TYPE_LONG : TYPE_DOUBLE; break;
    case GIVES_COMMON:
        for (int i = 1; i < n->nargs; i++) {
            enum err e = adapt_pair(c, n->args[0], n->args[i]);
            if (e) return e;
            if (!common_type(t, n->args[i]->type, &t)) return refuse(c, n->args[i], adql_type_name(t), n->args[i]->type);
        }
        n->type = f->sql_integer && !is_integer(t) && t != TYPE_NULL ? TYPE_DOUBLE : t;
        break;
    }
    return ERR_OK;
}

static void call_meta(struct adql_node *n)
{
    const char *name = n->function->name;
    const struct adql_node *arg = n->nargs ? n->args[0] : NULL;
    if (!strcmp(name, "COUNT")) n->meta.ucd = "meta.number";
    if (!strcmp(name, "MIN") || !strcmp(name, "MAX") || !strcmp(name, "AVG") || !strcmp(name, "SUM") || !strcmp(name, "ABS")) n->meta.unit = arg->meta.unit;
    if (!strcmp(name, "MIN") || !strcmp(name, "MAX")) n->meta.xtype = arg->meta.xtype, n->meta.arraysize = arg->meta.arraysize;
    if (!strcmp(name, "DEGREES")) n->meta.unit = "deg";
    if (!strcmp(name, "RADIANS")) n->meta.unit = "rad";
}

static enum err check_aggregate(struct adql_context *c, struct adql_node *n)
{
    bool star = n->nargs == 1 && n->args[0]->kind == NODE_STAR;
    if (n->has_aggregate) return ADQL_ERROR(c->err, c->query, n->at, "an aggregate within an aggregate");
    if (star && strcmp(n->function->name, "COUNT")) return ADQL_ERROR(c->err, c->query, n->args[0]->at, "only COUNT takes *");
    if (star && n->distinct) return ADQL_ERROR(c->err, c->query, n->args[0]->at, "COUNT(DISTINCT *) has no meaning");
    n->aggregate = n->has_aggregate = true;
    return ERR_OK;
}

static enum err check_call(struct adql_context *c, struct adql_scope *scope, struct adql_node *n)
{
    n->function = adql_function_find(n->name[0].text);
    if (!n->function) {
        const char *near = adql_function_nearest(n->name[0].text);
        ADQL_ERROR(c->err, c->query, n->at, "no function '%.60s'", n->name[0].text);
        if (near) error_hint(c->err, "did you mean %s?", near);
        return ERR_USAGE;
    }
    enum err e = count_args(c, n);
    for (int i = 0; i < n->nargs && !e; i++)
        if (n->args[i]->kind != NODE_STAR) e = check(c, scope, n->args[i]);
    for (int i = 0; i < n->nargs && !e; i++) {
        inherit(n, n->args[i]);
        if (n->args[i]->kind == NODE_STAR && n->function->kind != FUNCTION_AGGREGATE)
            return ADQL_ERROR(c->err, c->query, n->args[i]->at, "%s does not take *", n->function->name);
    }
    if (!e && n->distinct && n->function->kind != FUNCTION_AGGREGATE)
        return ADQL_ERROR(c->err, c->query, n->at, "%s does not take DISTINCT", n->function->name);
    if (e) return e;
    n->is_volatile |= n->function->is_volatile;
    if (n->function->kind == FUNCTION_GEOMETRY) return adql_geometry(c, n);
    if (n->function->kind == FUNCTION_UNIT) return adql_in_unit(c, n);
    if (n->function->kind == FUNCTION_AGGREGATE) e = check_aggregate(c, n);
    for (int i = 0; i < n->nargs && !e; i++)
        if (n->args[i]->kind != NODE_STAR) e = check_argument(c, n->function, n->args[i], i);
    if (!e) e = call_type(c, n);
    if (!e) call_meta(n);
    if (!e && !strcmp(n->function->name, "IVO_HEALPIX_INDEX") && n->args[0]->kind == NODE_NUMBER && n->args[0]->whole <= HPX_ORDER)
        n->index = adql_indexed(c, n->args[1], n->args[2]);
    return e;
}

/* ---- operators ----------------------------------------------------------------------------------------------------- */

static enum err check_arithmetic(struct adql_context *c, struct adql_node *n)
{
    struct adql_node *a = n->args[0], *b = n->args[1];
    enum err e = ERR_OK;
    if (n->op == OP_CONCAT) {
        for (int i = 0; i < 2; i++)
            if (n->args[i]->type != TYPE_TEXT && n->args[i]->type != TYPE_NULL) {
                refuse(c, n->args[i], "text", n->args[i]->type);
                error_hint(c->err, "CAST(... AS VARCHAR) makes text");
                return ERR_USAGE;
            }
        n->type = TYPE_TEXT;
        return ERR_OK;
    }
    bool bits = n->op == OP_AND || n->op == OP_OR || n->op == OP_XOR;
    for (int i = 0; i < 2 && !e; i++) {
        e = need_number(c, n->args[i]);
        if (!e && bits && !is_integer(n->args[i]->type) && n->args[i]->type != TYPE_NULL) e = refuse(c, n->args[i], "an integer", n->args[i]->type);
    }
    if (e) {
        if (a->type == TYPE_TEXT && b->type == TYPE_TEXT && n->op == OP_PLUS) error_hint(c->err, "|| joins texts");
        return e;
    }
    n->type = common_number(a->type, b->type);
    if (n->type == TYPE_NULL) n->type = TYPE_INT;
    if ((n->op == OP_PLUS || n->op == OP_MINUS) && !strcmp(a->meta.unit, b->meta.unit)) n->meta.unit = a->meta.unit;
    return ERR_OK;
}

static enum err check_case(struct adql_context *c, struct adql_node *n)
{
    bool else_part = false;
    n->type = TYPE_NULL;
    for (int i = 1; i < n->nargs; i++) {
        struct adql_node *a = n->args[i];
        bool value = i % 2 == 0 || i == n->nargs - 1;
        else_part = i == n->nargs - 1;
        if (!a) continue;
        enum err e = ERR_OK;
        if (value) e = need_value(c, a);
        else if (n->args[0]) e = comparable(c, n->args[0], a, false);
        else e = need_condition(c, a);
        if (e) return e;
        if (!value) continue;
        if (adql_geometry_type(a->type)) return refuse(c, a, "a value", a->type);
        if (!common_type(n->type, a->type, &n->type)) return refuse(c, a, adql_type_name(n->type), a->type);
    }
    (void)else_part;
    return n->args[0] ? need_value(c, n->args[0]) : ERR_OK;
}

static enum err check_cast(struct adql_context *c, struct adql_node *n)
{
    struct adql_node *a = n->args[0];
    enum err e = need_value(c, a);
    if (e) return e;
    n->type = n->cast;
    if (adql_geometry_type(a->type)) return refuse(c, a, "a value", a->type);
    if (n->cast == TYPE_TIMESTAMP) {
        if ((e = adapt(c, a, TYPE_TIMESTAMP))) return e;
        if (adql_number_type(a->type) || a->type == TYPE_BOOLEAN) return refuse(c, a, "text", a->type);
    }
    if (adql_number_type(n->cast) && (a->type == TYPE_TIMESTAMP || a->type == TYPE_BOOLEAN)) return refuse(c, a, "a number or text", a->type);
    n->meta.unit = a->meta.unit;
    return ERR_OK;
}

static enum err check_like(struct adql_context *c, struct adql_node *n)
{
    n->type = TYPE_CONDITION;
    for (int i = 0; i < 2; i++)
        if (n->args[i]->type != TYPE_TEXT && n->args[i]->type != TYPE_NULL) return refuse(c, n->args[i], "text", n->args[i]->type);
    return ERR_OK;
}

static enum err check_subquery(struct adql_context *c, struct adql_scope *scope, struct adql_node *n)
{
    enum err e = check_query(c, n->query, scope->query, scope);
    if (e) return e;
    if (n->kind == NODE_EXISTS) {
        n->type = TYPE_CONDITION;
        return ERR_OK;
    }
    if (n->query->ncol != 1) return ADQL_ERROR(c->err, c->query, n->query->at, "this query gives %d columns, one is wanted", n->query->ncol);
    n->type = n->query->columns[0].type;
    n->meta = n->query->columns[0].meta;
    return adql_geometry_type(n->type) ? refuse(c, n, "a value", n->type) : ERR_OK;
}

static enum err check_in(struct adql_context *c, struct adql_scope *scope, struct adql_node *n)
{
    enum err e = ERR_OK;
    if (n->query) {
        struct adql_node one = {.kind = NODE_SUBQUERY, .at = n->at, .query = n->query};
        e = check_subquery(c, scope, &one);
        return e ? e : comparable(c, n->args[0], &one, false);
    }
    for (int i = 1; i < n->nargs && !e; i++) e = comparable(c, n->args[0], n->args[i], false);
    return e;
}

static enum err check_sign(struct adql_context *c, struct adql_node *n)
{
    enum err e = need_number(c, n->args[0]);
    n->type = n->args[0]->type == TYPE_NULL ? TYPE_INT : n->args[0]->type;
    n->meta.unit = n->args[0]->meta.unit;
    if (!e && n->op == OP_INVERT && !is_integer(n->type)) e = refuse(c, n->args[0], "an integer", n->type);
    return e;
}

static void number_type(struct adql_node *n)
{
    if (!n->integer) n->type = TYPE_DOUBLE;
    else n->type = n->whole <= INT32_MAX ? TYPE_INT : TYPE_LONG;
}

static enum err check(struct adql_context *c, struct adql_scope *scope, struct adql_node *n)
{
    enum err e = ERR_OK;
    if (n->kind == NODE_CALL) return check_call(c, scope, n);
    if (n->kind == NODE_COLUMN) return adql_find_column(c, scope, n, false);
    if (n->kind == NODE_SUBQUERY || n->kind == NODE_EXISTS) return check_subquery(c, scope, n);
    if ((e = check_args(c, scope, n))) return e;
    n->type = TYPE_CONDITION;
    switch (n->kind) {
    case NODE_NUMBER: number_type(n); break;
    case NODE_STRING: n->type = TYPE_TEXT; break;
    case NODE_NULL: n->type = TYPE_NULL; break;
    case NODE_TRUTH: n->type = TYPE_BOOLEAN; break;
    case NODE_SIGN: return check_sign(c, n);
    case NODE_ARITHMETIC: return check_arithmetic(c, n);
    case NODE_AND: case NODE_OR: case NODE_NOT:
        for (int i = 0; i < n->nargs && !e; i++) e = need_condition(c, n->args[i]);
        return e;
    case NODE_COMPARE:
        e = comparable(c, n->args[0], n->args[1], n->op > OP_NE);
        return e ? e : adql_sky_condition(c, n);
    case NODE_BETWEEN:
        e = comparable(c, n->args[0], n->args[1], true);
        if (!e) e = comparable(c, n->args[0], n->args[2], true);
        return e ? e : adql_sky_condition(c, n);
    case NODE_IN: return check_in(c, scope, n);
    case NODE_LIKE: return check_like(c, n);
    case NODE_IS_NULL: return adql_geometry_type(n->args[0]->type) ? refuse(c, n->args[0], "a value", n->args[0]->type) : need_value(c, n->args[0]);
    case NODE_CASE: return check_case(c, n);
    case NODE_CAST: return check_cast(c, n);
    case NODE_STAR: return ADQL_ERROR(c->err, c->query, n->at, "* stands here without COUNT");
    default: return ERROR(c->err, ERR_INTERNAL, "a node of kind %d before the check", (int)n->kind);
    }
    return e;
}

/* ---- FROM ---------------------------------------------------------------------------------------------------------- */

static enum err no_aggregate(struct adql_context *c, const struct adql_node *n, const char *where)
{
    if (!n->has_aggregate) return ERR_OK;
    ADQL_ERROR(c->err, c->query, n->at, "an aggregate in %s", where);
    if (!strcmp(where, "WHERE")) error_hint(c->err, "conditions on groups stand in HAVING");
    return ERR_USAGE;
}

/* Sources first: derived tables do not see their neighbours. */
static enum err open_sources(struct adql_context *c, struct adql_scope *scope, struct adql_from *f)
{
    enum err e = ERR_OK;
    if (f->kind == JOIN_NONE) {
        if (f->source->query) e = check_query(c, f->source->query, scope->query, scope->outer);
        return e ? e : adql_open_source(c, scope->query, f->source);
    }
    e = open_sources(c, scope, f->left);
    return e ? e : open_sources(c, scope, f->right);
}

static enum err check_joins(struct adql_context *c, struct adql_scope *scope, struct adql_from *f)
{
    enum err e = ERR_OK;
    if (f->kind == JOIN_NONE) return adql_open_from(c, f);
    e = check_joins(c, scope, f->left);
    if (!e) e = check_joins(c, scope, f->right);
    if (!e) e = adql_open_from(c, f);
    if (e) return e;
    for (int i = 0; i < f->npairs; i++) {
        struct adql_node *l = adql_column_node(c, &f->pairs[2 * i], "", f->using_names[i].at), *r = adql_column_node(c, &f->pairs[2 * i + 1], "", f->using_names[i].at);
        if (!l || !r) return ERR_NOMEM;
        if ((e = comparable(c, l, r, false))) return e;
    }
    if (!f->on) return ERR_OK;
    struct adql_scope inside = *scope;
    inside.only = f;
    e = check(c, &inside, f->on);
    if (!e) e = need_condition(c, f->on);
    return e ? e : no_aggregate(c, f->on, "ON");
}

static enum err check_from(struct adql_context *c, struct adql_scope *scope)
{
    struct adql_select *s = scope->select;
    enum err e = ERR_OK;
    for (int i = 0; i < s->nfrom && !e; i++) e = open_sources(c, scope, s->from[i]);
    for (int i = 0; i < s->nfrom && !e; i++) e = adql_collect_sources(c, s->from[i], s);
    for (int i = 0; i < s->nfrom && !e; i++) e = check_joins(c, scope, s->from[i]);
    return e;
}

/* ---- the select list ----------------------------------------------------------------------------------------------- */

struct list {
    struct adql_item *v;
    int n, capacity;
};

static enum err add_item(struct adql_context *c, struct list *l, struct adql_item item)
{
    if (l->n == ADQL_COLUMNS_MAX) return ADQL_ERROR(c->err, c->query, item.at, "more than %d columns", ADQL_COLUMNS_MAX);
    if (l->n == l->capacity) {
        int capacity = l->capacity ? 2 * l->capacity : 32;
        struct adql_item *v = adql_alloc(c, (size_t)capacity, sizeof *v);
        if (!v) return ERR_NOMEM;
        if (l->n) memcpy(v, l->v, (size_t)l->n * sizeof *v);
        l->v = v;
        l->capacity = capacity;
    }
    l->v[l->n++] = item;
    return ERR_OK;
}

static enum err add_column(struct adql_context *c, struct list *l, const struct adql_refs *refs, const char *name, int at)
{
    struct adql_node *n = adql_column_node(c, refs, name, at);
    return n ? add_item(c, l, (struct adql_item){.at = at, .expr = n, .name = name}) : ERR_NOMEM;
}

static enum err expand_star(struct adql_context *c, const struct adql_select *s, const struct adql_item *item, struct list *l)
{
    enum err e = ERR_OK;
    if (!item->ntable) {
        for (int i = 0; i < s->nfrom; i++)
            for (int k = 0; k < s->from[i]->nvisible && !e; k++)
                e = add_column(c, l, &s->from[i]->visible[k].refs, s->from[i]->visible[k].name, item->at);
        return e;
    }
    struct adql_source *source = adql_find_source(c, s, item->table, item->ntable);
    if (!source) return ERR_USAGE;
    for (int k = 0; k < source->ncol && !e; k++) {
        struct adql_ref *ref = adql_alloc(c, 1, sizeof *ref);
        if (!ref) return ERR_NOMEM;
        *ref = (struct adql_ref){source, k};
        e = add_column(c, l, &(struct adql_refs){ref, 1}, source->columns[k].name, item->at);
    }
    return e;
}

static const char *lower(struct adql_context *c, const char *s)
{
    char buf[80];
    size_t n = strlen(s) < sizeof buf ? strlen(s) : sizeof buf - 1;
    for (size_t i = 0; i < n; i++) buf[i] = s[i] >= 'A' && s[i] <= 'Z' ? (char)(s[i] + 32) : s[i];
    buf[n] = 0;
    return arena_strdup(c->arena, buf);
}

static const char *item_name(struct adql_context *c, const struct adql_item *item, int number)
{
    const struct adql_node *n = item->expr;
    if (item->alias.text) return item->alias.text;
    if (n->kind == NODE_COLUMN) return n->refs.v[0].source->columns[n->refs.v[0].column].name;
    if (n->function) return lower(c, n->function->name);
    return adql_text(c, "col%d", number);
}

static enum err check_items(struct adql_context *c, struct adql_scope *scope)
{
    struct adql_select *s = scope->select;
    struct list l = {0};
    enum err e = ERR_OK;
    for (int i = 0; i < s->nitem && !e; i++) {
        struct adql_item *item = &s->items[i];
        if (item->star) {
            e = expand_star(c, s, item, &l);
            continue;
        }
        e = check(c, scope, item->expr);
        if (!e && item->expr->type == TYPE_CONDITION) {
            refuse(c, item->expr, "a value", TYPE_CONDITION);
            error_hint(c->err, "CASE WHEN ... THEN 1 ELSE 0 END makes a number of it");
            return ERR_USAGE;
        }
        if (!e) {
            item->name = item_name(c, item, l.n + 1);
            e = item->name ? add_item(c, &l, *item) : ERR_NOMEM;
        }
    }
    s->items = l.v;
    s->nitem = l.n;
    return e;
}

/* ---- grouping ------------------------------------------------------------------------------------------------------ */

static bool same_refs(const struct adql_refs *a, const struct adql_refs *b)
{
    if (a->n != b->n) return false;
    for (int i = 0; i < a->n; i++)
        if (a->v[i].source != b->v[i].source || a->v[i].column != b->v[i].column) return false;
    return true;
}

bool adql_same_expression(const struct adql_node *a, const struct adql_node *b)
{
    if (!a || !b) return a == b;
    if (a->kind != b->kind || a->op != b->op || a->negated != b->negated || a->distinct != b->distinct || a->ignore_case != b->ignore_case ||
        a->type != b->type || a->function != b->function || a->nargs != b->nargs || a->query || b->query || a->is_volatile || b->is_volatile)
        return false;
    if (a->kind == NODE_COLUMN) return same_refs(&a->refs, &b->refs);
    if (a->kind == NODE_WITHIN && a->polygon != b->polygon) return false;
    if ((a->text || b->text) && (!a->text || !b->text || strcmp(a->text, b->text))) return false;
    if (a->number != b->number || a->cast != b->cast || a->cast_length != b->cast_length) return false;
    for (int i = 0; i < a->nargs; i++)
        if (!adql_same_expression(a->args[i], b->args[i])) return false;
    return true;
}

/* Every column of this SELECT must stand in an aggregate or in GROUP BY. */
static enum err check_grouped(struct adql_context *c, const struct adql_select *s, const struct adql_node *n)
{
    if (!n || n->aggregate) return ERR_OK;
    for (int i = 0; i < s->ngroup; i++)
        if (adql_same_expression(s->group[i], n)) return ERR_OK;
    if (n->kind == NODE_COLUMN && n->refs.v[0].source->select == s) {
        ADQL_ERROR(c->err, c->query, n->at, "column '%.60s' is neither in GROUP BY nor in an aggregate", n->name[n->nname - 1].text);
        error_hint(c->err, "add it to GROUP BY, or take MIN, MAX, AVG ... of it");
        return ERR_USAGE;
    }
    for (int i = 0; i < n->nargs; i++) {
        enum err e = check_grouped(c, s, n->args[i]);
        if (e) return e;
    }
    return ERR_OK;
}

/* GROUP BY takes columns, and as a convenience names and positions of the select list. */
static enum err check_group(struct adql_context *c, struct adql_scope *scope)
{
    struct adql_select *s = scope->select;
    for (int i = 0; i < s->ngroup; i++) {
        struct adql_node *n = s->group[i];
        enum err e = ERR_OK;
        if (n->kind == NODE_NUMBER && n->integer) {
            if (n->whole < 1 || n->whole > s->nitem) return ADQL_ERROR(c->err, c->query, n->at, "the select list has %d columns", s->nitem);
            s->group_position[i] = (int)n->whole;
        } else if (n->kind == NODE_COLUMN && n->nname == 1) {
            if ((e = adql_find_column(c, scope, n, true))) return e;
            for (int k = 0; !n->refs.n && k < s->nitem; k++)
                if (adql_same(&n->name[0], s->items[k].name)) s->group_position[i] = k + 1;
            if (!n->refs.n && !s->group_position[i]) e = adql_find_column(c, scope, n, false);
        } else {
            e = check(c, scope, n);
        }
        if (e) return e;
        if (s->group_position[i]) s->group[i] = n = s->items[s->group_position[i] - 1].expr;
        if ((e = no_aggregate(c, n, "GROUP BY"))) return e;
        if (adql_geometry_type(n->type)) return refuse(c, n, "a value", n->type);
        if ((e = need_value(c, n))) return e;
        if (n->query) return ADQL_ERROR(c->err, c->query, n->at, "GROUP BY a query has no meaning");
    }
    return ERR_OK;
}

static enum err check_groups(struct adql_context *c, struct adql_select *s)
{
    s->grouped = s->ngroup || s->having;
    for (int i = 0; i < s->nitem; i++) s->grouped |= s->items[i].expr->has_aggregate;
    enum err e = ERR_OK;
    if (!s->grouped) return ERR_OK;
    for (int i = 0; i < s->nitem && !e; i++) e = check_grouped(c, s, s->items[i].expr);
    return e || !s->having ? e : check_grouped(c, s, s->having);
}

/* ---- SELECT, sets, queries ----------------------------------------------------------------------------------------- */

static uint32_t name_hash(const char *s)
{
    uint32_t h = 2166136261u; /* FNV-1a, without regard to case */
    for (; *s; s++) h = (h ^ (uint32_t)(*s >= 'A' && *s <= 'Z' ? *s + 32 : *s)) * 16777619u;
    return h;
}

static int count_name(const struct adql_select *s, const uint32_t *hashes, int n, const char *name)
{
    uint32_t h = name_hash(name);
    int same = 0;
    for (int k = 0; k < n; k++) same += hashes[k] == h && !strcasecmp(s->items[k].name, name);
    return same;
}

/* Names become unique: ra, ra_2, ra_3. */
static enum err unique_names(struct adql_context *c, const struct adql_select *s, struct adql_source_column *columns)
{
    uint32_t *hashes = adql_alloc(c, (size_t)s->nitem, sizeof *hashes);
    if (!hashes) return ERR_NOMEM;
    for (int i = 0; i < s->nitem; i++) hashes[i] = name_hash(s->items[i].name);
    for (int i = 0; i < s->nitem; i++) {
        int same = count_name(s, hashes, i, s->items[i].name) + 1;
        if (same == 1) continue;
        const char *name = adql_text(c, "%.200s_%d", s->items[i].name, same);
        for (int tries = 0; tries < 100 && count_name(s, hashes, s->nitem, name); tries++) /* a column is called ra_2 already */
            name = adql_text(c, "%.200s_%d", s->items[i].name, same += 1000);
        columns[i].name = name;
    }
    return ERR_OK;
}

static enum err select_columns(struct adql_context *c, const struct adql_select *s, struct adql_query *q)
{
    q->ncol = s->nitem;
    if (!(q->columns = adql_alloc(c, (size_t)s->nitem, sizeof *q->columns))) return ERR_NOMEM;
    for (int i = 0; i < s->nitem; i++) {
        const struct adql_node *n = s->items[i].expr;
        q->columns[i] = (struct adql_source_column){.name = s->items[i].name, .type = n->type == TYPE_CONDITION ? TYPE_BOOLEAN : n->type, .meta = n->meta, .expr = s->items[i].expr};
    }
    return unique_names(c, s, q->columns);
}

static enum err check_select(struct adql_context *c, struct adql_scope *scope)
{
    struct adql_select *s = scope->select;
    enum err e = check_from(c, scope);
    if (!e && s->where) {
        e = check(c, scope, s->where);
        if (!e) e = need_condition(c, s->where);
        if (!e) e = no_aggregate(c, s->where, "WHERE");
    }
    if (!e) e = check_items(c, scope);
    if (!e) e = check_group(c, scope);
    if (!e && s->having) {
        e = check(c, scope, s->having);
        if (!e) e = need_condition(c, s->having);
    }
    return e ? e : check_groups(c, s);
}

static enum err check_body(struct adql_context *c, struct adql_query *q, struct adql_body *b, struct adql_scope *outer, struct adql_query *ret);

static enum err check_sides(struct adql_context *c, struct adql_query *q, struct adql_body *b, struct adql_scope *outer, struct adql_query *ret)
{
    struct adql_query right = {0};
    enum err e = check_body(c, q, b->left, outer, ret);
    if (!e) e = check_body(c, q, b->right, outer, &right);
    if (e) return e;
    if (ret->ncol != right.ncol)
        return ADQL_ERROR(c->err, c->query, b->at, "one side has %d columns, the other %d", ret->ncol, right.ncol);
    for (int i = 0; i < ret->ncol; i++) {
        struct adql_source_column *k = &ret->columns[i];
        if (adql_geometry_type(k->type) != adql_geometry_type(right.columns[i].type) ||
            (!adql_geometry_type(k->type) && !common_type(k->type, right.columns[i].type, &k->type)))
            return ADQL_ERROR(c->err, c->query, b->at, "column %d is %s on one side and %s on the other", i + 1, adql_type_name(k->type),
                              adql_type_name(right.columns[i].type));
        k->expr = NULL;
        if (strcmp(k->meta.unit, right.columns[i].meta.unit)) k->meta.unit = "";
        if (k->meta.source != right.columns[i].meta.source) k->meta.source = NULL;
    }
    return ERR_OK;
}

static enum err check_body(struct adql_context *c, struct adql_query *q, struct adql_body *b, struct adql_scope *outer, struct adql_query *ret)
{
    if (b->op != SET_NONE) return check_sides(c, q, b, outer, ret);
    if (b->query) {
        enum err e = check_query(c, b->query, q, outer);
        ret->columns = b->query->columns;
        ret->ncol = b->query->ncol;
        return e;
    }
    struct adql_scope scope = {.select = b->select, .query = q, .outer = outer};
    b->select->outer = outer ? outer->select : NULL;
    enum err e = check_select(c, &scope);
    return e ? e : select_columns(c, b->select, ret);
}

/* A name of the select list, a position, or an expression. */
static enum err check_order(struct adql_context *c, struct adql_query *q, struct adql_order *o, struct adql_scope *outer)
{
    struct adql_node *n = o->expr;
    struct adql_select *s = q->body->select;
    if (n->kind == NODE_NUMBER && n->integer) {
        if (n->whole < 1 || n->whole > q->ncol) return ADQL_ERROR(c->err, c->query, n->at, "the select list has %d columns", q->ncol);
        o->position = (int)n->whole;
    }
    for (int i = 0; !o->position && n->kind == NODE_COLUMN && n->nname == 1 && i < q->ncol; i++)
        if (adql_same(&n->name[0], q->columns[i].name)) o->position = i + 1;
    if (o->position) {
        if (adql_geometry_type(q->columns[o->position - 1].type)) return ADQL_ERROR(c->err, c->query, n->at, "shapes have no order");
        return ERR_OK;
    }
    if (!s) {
        ADQL_ERROR(c->err, c->query, n->at, "after a set operation ORDER BY takes names and positions of its columns");
        return ERR_USAGE;
    }
    struct adql_scope scope = {.select = s, .query = q, .outer = outer};
    enum err e = check(c, &scope, n);
    if (!e) e = need_value(c, n);
    if (!e && adql_geometry_type(n->type)) e = ADQL_ERROR(c->err, c->query, n->at, "shapes have no order");
    if (!e && n->has_aggregate && !s->grouped) e = ADQL_ERROR(c->err, c->query, n->at, "an aggregate in ORDER BY of a query without groups");
    if (!e && s->grouped) e = check_grouped(c, s, n);
    for (int i = 0; !e && !o->position && i < s->nitem; i++)
        if (adql_same_expression(n, s->items[i].expr)) o->position = i + 1;
    if (!e && s->distinct && !o->position) {
        ADQL_ERROR(c->err, c->query, n->at, "with DISTINCT, ORDER BY takes columns of the select list");
        return ERR_USAGE;
    }
    return e;
}

static enum err check_commons(struct adql_context *c, struct adql_query *q)
{
    for (int i = 0; i < q->ncommon; i++) {
        struct adql_common *t = &q->commons[i];
        for (int k = 0; k < i; k++)
            if (!strcasecmp(q->commons[k].name.text, t->name.text)) return ADQL_ERROR(c->err, c->query, t->name.at, "'%.60s' is named twice", t->name.text);
        q->visible_until = t;
        t->number = ++c->ncommon;
        enum err e = check_query(c, t->query, q, NULL);
        if (e) return e;
        if (t->ncolumn && t->ncolumn != t->query->ncol)
            return ADQL_ERROR(c->err, c->query, t->name.at, "'%.60s' names %d columns, its query gives %d", t->name.text, t->ncolumn, t->query->ncol);
    }
    q->visible_until = NULL;
    return ERR_OK;
}

static enum err check_query(struct adql_context *c, struct adql_query *q, struct adql_query *around, struct adql_scope *outer)
{
    q->outer = around;
    if (!q->commons) q->commons = adql_alloc(c, 1, sizeof *q->commons);
    enum err e = q->commons ? check_commons(c, q) : ERR_NOMEM;
    if (!e) e = check_body(c, q, q->body, outer, q);
    for (int i = 0; i < q->norder && !e; i++) e = check_order(c, q, &q->orders[i], outer);
    return e;
}

enum err adql_check(struct adql_context *c, struct adql_query *q)
{
    return check_query(c, q, NULL, NULL);
}
