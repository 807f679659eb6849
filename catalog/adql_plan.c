/* Joins on the sky. "a near b", where a's position is indexed and b is another table: b's circles are read first, their
 * ranges of hpx29 put into a temporary table g, and the query becomes
 *
 *     FROM b, (g JOIN a ON a.hpx29 BETWEEN g.first AND g.last)
 *     WHERE g.lon = b.lon AND g.lat = b.lat AND g.radius = b.radius AND the exact condition
 *
 * Properties: (1) ranges of one circle are disjoint and circles in g are distinct, so a pair of rows comes at most once;
 * (2) they cover the circle, so it comes once if the exact condition holds; (3) rows of a outside of all circles are lost,
 * so the condition must be one that rows of a have to fulfil to matter: a part of WHERE, of an inner ON, or of the ON of an
 * outer join whose optional side holds a.                                                                             */
#include <string.h>

#include "catalog/adql_tree.h"

static enum err plan_query(struct adql_context *c, struct adql_query *q);

/* ---- what an expression depends on ----------------------------------------------------------------------------------- */

/* Are all columns those of s, and nothing in it that one row does not settle? */
bool adql_only_of(const struct adql_node *n, const struct adql_source *s)
{
    if (!n) return true;
    if (n->query || n->is_volatile || n->has_aggregate || n->join) return false;
    if (n->kind == NODE_COLUMN)
        for (int i = 0; i < n->refs.n; i++)
            if (n->refs.v[i].source != s) return false;
    for (int i = 0; i < n->nargs; i++)
        if (!adql_only_of(n->args[i], s)) return false;
    return true;
}

static struct adql_source *first_source(const struct adql_node *n)
{
    if (n->kind == NODE_COLUMN) return n->refs.v[0].source;
    for (int i = 0; i < n->nargs; i++) {
        struct adql_source *s = n->args[i] ? first_source(n->args[i]) : NULL;
        if (s) return s;
    }
    return NULL;
}

static bool body_correlated(const struct adql_body *b)
{
    if (b->op != SET_NONE) return body_correlated(b->left) || body_correlated(b->right);
    return b->select ? b->select->correlated : body_correlated(b->query->body);
}

static bool around(const struct adql_select *s, const struct adql_select *outer)
{
    for (; s; s = s->outer)
        if (s == outer) return true;
    return false;
}

static bool holds(const struct adql_from *f, const struct adql_source *s)
{
    return f->kind == JOIN_NONE ? f->source == s : holds(f->left, s) || holds(f->right, s);
}

/* ---- one condition --------------------------------------------------------------------------------------------------- */

/* Rough number of rows to read, to choose the smaller side. */
static double size_of(const struct adql_source *s)
{
    if (s->upload) return (double)s->upload->nrow;
    if (s->query) return 1e5;
    const struct adql_node *w = s->select->where;
    for (int i = 0; w && w->kind == NODE_AND && i < w->nargs; i++)
        if (adql_only_of(w->args[i], s)) return 1e4;
    return w && w->kind != NODE_AND && adql_only_of(w, s) ? 1e4 : 1e7;
}

/* Can side `i` of the condition be found by its index, from circles of the other side? Returned: the circles' source. */
static struct adql_source *circles_for(struct adql_context *c, const struct adql_select *s, const struct adql_near *near, int i, struct adql_source **indexed)
{
    *indexed = adql_indexed(c, near->lon[i], near->lat[i]);
    struct adql_source *circles = first_source(near->lon[1 - i]);
    if (!*indexed || (*indexed)->select != s || (*indexed)->prelude || !circles || circles == *indexed || !around(s, circles->select)) return NULL;
    if (!adql_only_of(near->lon[1 - i], circles) || !adql_only_of(near->lat[1 - i], circles) || (near->radius && !adql_only_of(near->radius, circles))) return NULL;
    if (circles->query && body_correlated(circles->query->body)) return NULL;
    return circles;
}

static enum err join_through_ranges(struct adql_context *c, struct adql_select *s, struct adql_node *n, const struct adql_from *optional)
{
    struct adql_source *circles[2], *indexed[2];
    int side = -1;
    for (int i = 0; i < 2; i++) {
        circles[i] = circles_for(c, s, n->near, i, &indexed[i]);
        if (circles[i] && optional && !holds(optional, indexed[i])) circles[i] = NULL;
        if (circles[i] && (side < 0 || size_of(circles[i]) < size_of(circles[side]))) side = i;
    }
    if (side < 0) return ERR_OK;
    struct adql_join *grown = adql_grow(c, c->joins, c->njoin, sizeof *grown);
    struct adql_node *radius = n->near->radius;
    if (!grown || (!radius && !(radius = adql_node(c, NODE_NUMBER, n->at)))) return ERR_NOMEM;
    if (!n->near->radius) {
        radius->number = n->near->limit;
        radius->text = "";
        radius->type = TYPE_DOUBLE;
    }
    grown[c->njoin++] = (struct adql_join){.number = c->njoin, .circles = circles[side], .indexed = indexed[side], .select = circles[side]->select,
                                           .lon = n->near->lon[1 - side], .lat = n->near->lat[1 - side], .radius = radius};
    grown[c->njoin - 1].number = c->njoin;
    c->joins = grown;
    n->join = c->njoin;
    indexed[side]->prelude = c->njoin;
    return ERR_OK;
}

/* optional: the optional side of an outer join, NULL for WHERE and inner joins. */
static enum err plan_conditions(struct adql_context *c, struct adql_select *s, struct adql_node *n, const struct adql_from *optional)
{
    enum err e = ERR_OK;
    if (!n) return ERR_OK;
    if (n->kind == NODE_AND) {
        for (int i = 0; i < n->nargs && !e; i++) e = plan_conditions(c, s, n->args[i], optional);
        return e;
    }
    return n->near && !n->ranges && !n->join ? join_through_ranges(c, s, n, optional) : ERR_OK;
}

/* ---- the whole tree -------------------------------------------------------------------------------------------------- */

static enum err plan_inner(struct adql_context *c, struct adql_node *n)
{
    enum err e = n && n->query ? plan_query(c, n->query) : ERR_OK;
    for (int i = 0; n && i < n->nargs && !e; i++) e = plan_inner(c, n->args[i]);
    return e;
}

static enum err plan_from(struct adql_context *c, struct adql_select *s, struct adql_from *f)
{
    if (f->kind == JOIN_NONE) return f->source->query && !f->source->common ? plan_query(c, f->source->query) : ERR_OK;
    enum err e = plan_from(c, s, f->left);
    if (!e) e = plan_from(c, s, f->right);
    if (!e && f->kind == JOIN_INNER) e = plan_conditions(c, s, f->on, NULL);
    if (!e && f->kind == JOIN_LEFT) e = plan_conditions(c, s, f->on, f->right);
    if (!e && f->kind == JOIN_RIGHT) e = plan_conditions(c, s, f->on, f->left);
    return e ? e : plan_inner(c, f->on);
}

static enum err plan_select(struct adql_context *c, struct adql_select *s)
{
    enum err e = plan_conditions(c, s, s->where, NULL);
    for (int i = 0; i < s->nfrom && !e; i++) e = plan_from(c, s, s->from[i]);
    if (!e) e = plan_inner(c, s->where);
    if (!e) e = plan_inner(c, s->having);
    for (int i = 0; i < s->nitem && !e; i++) e = plan_inner(c, s->items[i].expr);
    for (int i = 0; i < s->ngroup && !e; i++) e = plan_inner(c, s->group[i]);
    return e;
}

static enum err plan_body(struct adql_context *c, struct adql_body *b)
{
    if (b->op == SET_NONE) return b->select ? plan_select(c, b->select) : plan_query(c, b->query);
    enum err e = plan_body(c, b->left);
    return e ? e : plan_body(c, b->right);
}

static enum err plan_query(struct adql_context *c, struct adql_query *q)
{
    enum err e = ERR_OK;
    for (int i = 0; i < q->ncommon && !e; i++) e = plan_query(c, q->commons[i].query);
    if (!e) e = plan_body(c, q->body);
    for (int i = 0; i < q->norder && !e; i++)
        if (!q->orders[i].position) e = plan_inner(c, q->orders[i].expr);
    return e;
}

enum err adql_plan(struct adql_context *c, struct adql_query *q)
{
    return plan_query(c, q);
}
