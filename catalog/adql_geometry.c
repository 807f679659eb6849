/* Shapes, and how conditions on them become ranges of hpx29.
 *
 *     1 = CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 0.1))      WITHIN: haversine <= constant AND (hpx29 BETWEEN ... OR ...)
 *     DISTANCE(POINT(ra, dec), POINT(10, 20)) * 3600 < 5     the comparison as it stands, AND ranges of the cone it implies
 *     1 = CONTAINS(POINT(a.ra, a.dec), CIRCLE(b.ra, b.dec, r))  near: adql_plan.c may join through a table of ranges
 *
 * What the ranges say follows from the condition, so that both together mean the condition, under NOT and OR too.      */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "catalog/adql_tree.h"

/* ---- small parts --------------------------------------------------------------------------------------------------- */

static enum err wrong(struct adql_context *c, const struct adql_node *n, const char *what)
{
    return ADQL_ERROR(c->err, c->query, n->at, "%s", what);
}

static struct adql_node *number_node(struct adql_context *c, double v, int at)
{
    struct adql_node *n = adql_node(c, NODE_NUMBER, at);
    if (!n) return NULL;
    n->number = v;
    n->text = "";
    n->type = TYPE_DOUBLE;
    return n;
}

static struct adql_node *binary_node(struct adql_context *c, enum adql_op op, struct adql_node *a, struct adql_node *b)
{
    struct adql_node *n = adql_node(c, NODE_ARITHMETIC, a->at);
    if (!n || !(n->args = adql_alloc(c, 2, sizeof *n->args))) return NULL;
    n->op = op;
    n->args[0] = a;
    n->args[1] = b;
    n->nargs = 2;
    n->type = TYPE_DOUBLE;
    n->depth = 1 + (a->depth > b->depth ? a->depth : b->depth);
    n->has_aggregate = a->has_aggregate || b->has_aggregate;
    n->is_volatile = a->is_volatile || b->is_volatile;
    return n;
}

static enum err set_args(struct adql_context *c, struct adql_node *n, int count, struct adql_node *const *args)
{
    struct adql_node **v = adql_alloc(c, (size_t)count, sizeof *v);
    if (!v) return ERR_NOMEM;
    for (int i = 0; i < count; i++) {
        if (!args[i]) return ERR_NOMEM;
        v[i] = args[i];
    }
    n->args = v;
    n->nargs = count;
    return ERR_OK;
}

static const struct adql_node *is_point(const struct adql_node *n)
{
    return n->type == TYPE_POINT ? n : NULL;
}

/* Longitude and latitude of a point, as nodes. */
static enum err point_parts(struct adql_context *c, struct adql_node *n, struct adql_node **lon, struct adql_node **lat)
{
    if (n->type != TYPE_POINT) return ADQL_ERROR(c->err, c->query, n->at, "a point is wanted here, this is %s", adql_type_name(n->type));
    if (n->kind == NODE_GEOMETRY) {
        *lon = n->args[0];
        *lat = n->args[1];
        return ERR_OK;
    }
    struct adql_node **parts[2] = {lon, lat};
    for (int i = 0; i < 2; i++) {
        struct adql_node *k = *parts[i] = adql_node(c, NODE_SKY, n->at);
        if (!k) return ERR_NOMEM;
        k->function = adql_function_find(i ? "COORD2" : "COORD1");
        k->type = TYPE_DOUBLE;
        k->meta.unit = "deg";
        k->has_aggregate = n->has_aggregate;
        k->is_volatile = n->is_volatile;
        enum err e = set_args(c, k, 1, &n);
        if (e) return e;
    }
    return ERR_OK;
}

/* 'ICRS', 'ICRS GEOCENTER', '': the frame of this catalogue. */
static bool frame_is_ours(const char *s)
{
    char word[24];
    int n;
    static const char *const known[] = {"ICRS", "UNKNOWNFrame", "UNKNOWN", "GEOCENTER", "BARYCENTER", "HELIOCENTER", "TOPOCENTER", "RELOCATABLE",
                                        "UNKNOWNRefPos", "SPHERICAL2", "CARTESIAN2"};
    for (; sscanf(s, " %23s%n", word, &n) == 1; s += n) {
        bool found = false;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++) found |= !strcasecmp(word, known[i]);
        if (!found) return false;
    }
    return true;
}

static enum err check_frame(struct adql_context *c, const struct adql_node *n)
{
    if (n->kind == NODE_NULL) return ERR_OK;
    if (n->kind != NODE_STRING) return wrong(c, n, "the frame of a shape must be a string, like 'ICRS'");
    if (frame_is_ours(n->text)) return ERR_OK;
    ADQL_ERROR(c->err, c->query, n->at, "no frame '%.40s' here", n->text);
    error_hint(c->err, "positions are ICRS: leave the frame out or write 'ICRS'");
    return ERR_USAGE;
}

static enum err check_numbers(struct adql_context *c, struct adql_node *const *args, int n)
{
    for (int i = 0; i < n; i++)
        if (!adql_number_type(args[i]->type) && args[i]->type != TYPE_NULL)
            return ADQL_ERROR(c->err, c->query, args[i]->at, "a number is wanted here, this is %s", adql_type_name(args[i]->type));
    return ERR_OK;
}

static enum err check_latitude(struct adql_context *c, const struct adql_node *lat)
{
    double v;
    if (!adql_constant(lat, &v) || fabs(v) <= 90) return ERR_OK;
    return ADQL_ERROR(c->err, c->query, lat->at, "%g is no declination: -90 to 90 degrees", v);
}

static enum err check_size(struct adql_context *c, const struct adql_node *n, double max, const char *what)
{
    double v;
    if (!adql_constant(n, &v) || (v >= 0 && v <= max)) return ERR_OK;
    return ADQL_ERROR(c->err, c->query, n->at, "%s of %g degrees: 0 to %g are possible", what, v, max);
}

/* ---- shapes -------------------------------------------------------------------------------------------------------- */

#define BOX_MAX 179.9

static enum err make_shape(struct adql_context *c, struct adql_node *n, enum adql_type type, int count, struct adql_node *const *args)
{
    enum err e = check_numbers(c, args, count);
    for (int i = 1; i < count && !e; i += 2)
        if (type == TYPE_POLYGON || i == 1) e = check_latitude(c, args[i]);
    if (!e && type == TYPE_CIRCLE) e = check_size(c, args[2], 180, "a radius");
    for (int i = 2; i < count && !e && type == TYPE_BOX; i++) e = check_size(c, args[i], BOX_MAX, "a side");
    if (!e) e = set_args(c, n, count, args);
    n->kind = NODE_GEOMETRY;
    n->type = type;
    n->nname = 0;
    n->meta.xtype = type == TYPE_POINT ? "adql:POINT" : "adql:REGION";
    return e;
}

/* POINT, CIRCLE, BOX, POLYGON: numbers, and points in place of two numbers; a frame before them. */
static enum err shape(struct adql_context *c, struct adql_node *n, enum adql_type type, int numbers)
{
    struct adql_node **args = adql_alloc(c, 2 * (size_t)n->nargs, sizeof *args);
    int count = 0, first = n->args[0]->type == TYPE_TEXT || n->args[0]->kind == NODE_NULL;
    if (!args) return ERR_NOMEM;
    enum err e = first ? check_frame(c, n->args[0]) : ERR_OK;
    for (int i = first; i < n->nargs && !e; i++) {
        if (is_point(n->args[i]) && count % 2 == 0 && (type == TYPE_POLYGON || count == 0) && type != TYPE_POINT) {
            e = point_parts(c, n->args[i], &args[count], &args[count + 1]);
            count += 2;
        } else {
            args[count++] = n->args[i];
        }
    }
    if (e) return e;
    if (type == TYPE_POLYGON ? count < 6 || count % 2 : count != numbers) {
        wrong(c, n, type == TYPE_POLYGON ? "a polygon takes three or more pairs of numbers" : "the wrong number of arguments");
        error_hint(c->err, "%s", type == TYPE_POINT ? "POINT(ra, dec)" : type == TYPE_CIRCLE ? "CIRCLE(ra, dec, radius)" :
                   type == TYPE_BOX ? "BOX(ra, dec, width, height)" : "POLYGON(ra1, dec1, ra2, dec2, ra3, dec3, ...)");
        return ERR_USAGE;
    }
    if (count > 2 * HPX_VERTICES_MAX) return ADQL_ERROR(c->err, c->query, n->at, "a polygon has at most %d vertices", HPX_VERTICES_MAX);
    return make_shape(c, n, type, count, args);
}

/* A region said in STC-S: 'Circle ICRS 10 20 0.1', 'Polygon ICRS ...', 'Box', 'Position'; the frame may be missing. */
static enum err region(struct adql_context *c, struct adql_node *n)
{
    static const struct { const char *word; enum adql_type type; int numbers; } shapes[] = {
        {"POSITION", TYPE_POINT, 2}, {"POINT", TYPE_POINT, 2}, {"CIRCLE", TYPE_CIRCLE, 3}, {"BOX", TYPE_BOX, 4}, {"POLYGON", TYPE_POLYGON, 0}};
    struct adql_node *text = n->args[0];
    if (text->kind != NODE_STRING) {
        if (text->type != TYPE_TEXT) return wrong(c, text, "REGION takes a text");
        n->kind = NODE_GEOMETRY;
        n->type = TYPE_REGION;
        n->meta.xtype = "adql:REGION";
        return ERR_OK;
    }
    char word[24] = "", *end;
    int used = 0, which = -1;
    sscanf(text->text, " %23s%n", word, &used);
    for (int i = 0; i < 5; i++)
        if (!strcasecmp(word, shapes[i].word)) which = i;
    if (which < 0) {
        ADQL_ERROR(c->err, c->query, text->at, "no shape '%.24s' in a region", word);
        error_hint(c->err, "'Circle ICRS ra dec radius', 'Polygon ICRS ra dec ra dec ra dec', 'Box ICRS ra dec width height', 'Position ICRS ra dec'");
        return ERR_USAGE;
    }
    const char *p = text->text + used;
    char frame[120] = "";
    for (int length; sscanf(p, " %23s%n", word, &length) == 1 && (strtod(word, &end), end == word); p += length)
        if (strlen(frame) < 90) strcat(strcat(frame, word), " ");
    if (!frame_is_ours(frame)) return ADQL_ERROR(c->err, c->query, text->at, "no frame '%.40s' here", frame);
    struct adql_node **args = adql_alloc(c, 2 * HPX_VERTICES_MAX + 1, sizeof *args);
    int count = 0;
    if (!args) return ERR_NOMEM;
    while (*(p += strspn(p, " \t\r\n"))) {
        double v = strtod(p, &end);
        if (end == p || !isfinite(v) || count == 2 * HPX_VERTICES_MAX) return ADQL_ERROR(c->err, c->query, text->at, "'%.24s' is not a number of a region", p);
        if (!(args[count++] = number_node(c, v, text->at))) return ERR_NOMEM;
        p = end;
    }
    if (shapes[which].numbers ? count != shapes[which].numbers : count < 6 || count % 2)
        return wrong(c, text, "this region has the wrong number of numbers");
    return make_shape(c, n, shapes[which].type, count, args);
}

/* ---- constant polygons ----------------------------------------------------------------------------------------------- */

static bool constants(const struct adql_node *n, double *ret)
{
    for (int i = 0; i < n->nargs; i++)
        if (!adql_constant(n->args[i], &ret[i])) return false;
    return true;
}

/* The polygon of a constant POLYGON or BOX; *ret NULL: not constant. */
static enum err constant_polygon(struct adql_context *c, const struct adql_node *n, struct hpx_polygon **ret)
{
    *ret = NULL;
    if (n->kind != NODE_GEOMETRY || (n->type != TYPE_POLYGON && n->type != TYPE_BOX)) return ERR_OK;
    double *v = adql_alloc(c, (size_t)n->nargs + 8, sizeof *v), *ra = adql_alloc(c, (size_t)n->nargs, sizeof *ra), *dec = adql_alloc(c, (size_t)n->nargs, sizeof *dec);
    if (!v || !ra || !dec) return ERR_NOMEM;
    if (!constants(n, v)) return ERR_OK;
    int count = n->type == TYPE_BOX ? 4 : n->nargs / 2;
    if (n->type == TYPE_BOX) hpx_box(v[0], v[1], v[2], v[3], ra, dec);
    else for (int i = 0; i < count; i++) ra[i] = v[2 * i], dec[i] = v[2 * i + 1];
    struct hpx_polygon *p = NULL;
    enum hpx_polygon_fault f = hpx_polygon_new(count, ra, dec, &p);
    if (f == HPX_POLYGON_MEMORY) return ERROR(c->err, ERR_NOMEM, "could not get memory for a polygon");
    if (f) return ADQL_ERROR(c->err, c->query, n->at, "this %s is not possible: %s", n->type == TYPE_BOX ? "box" : "polygon", hpx_polygon_fault_text(f));
    size_t size = sizeof *p + ((size_t)count + 1) * 8 * sizeof(double), room = (size_t)count + 1;
    if ((*ret = arena_alloc(c->arena, size))) { /* into the arena, where nobody need free it */
        memcpy(*ret, p, size);
        (*ret)->vertex = (double(*)[3])(*ret)->memory;
        (*ret)->normal = (*ret)->vertex + room;
        (*ret)->ra = (*ret)->memory + 6 * room;
        (*ret)->dec = (*ret)->ra + room;
    }
    free(p);
    return *ret ? ERR_OK : ERROR(c->err, ERR_NOMEM, "could not get memory for a polygon");
}

/* ---- the index ------------------------------------------------------------------------------------------------------- */

static struct adql_source *single_source(const struct adql_node *lon, const struct adql_node *lat)
{
    if (lon->kind != NODE_COLUMN || lat->kind != NODE_COLUMN || lon->refs.n != 1 || lat->refs.n != 1) return NULL;
    return lon->refs.v[0].source == lat->refs.v[0].source ? lon->refs.v[0].source : NULL;
}

struct adql_source *adql_indexed(struct adql_context *c, const struct adql_node *lon, const struct adql_node *lat)
{
    struct adql_source *s = single_source(lon, lat);
    if (!s) return NULL;
    if (!s->query) {
        const struct schema_table *t = s->schema_table;
        return t->hpx >= 0 && t->ra == lon->refs.v[0].column && t->dec == lat->refs.v[0].column ? s : NULL;
    }
    /* A derived table that hands a table's position through may hand its hpx29 through as well. */
    const struct adql_node *inner_lon = s->columns[lon->refs.v[0].column].expr, *inner_lat = s->columns[lat->refs.v[0].column].expr;
    const struct adql_select *select = s->query->body->select;
    if (!inner_lon || !inner_lat || !select || select->distinct || select->grouped) return NULL;
    struct adql_source *inner = single_source(inner_lon, inner_lat);
    if (!inner || inner->select != select || (s->query->hidden && s->query->hidden != inner)) return NULL;
    if (!adql_indexed(c, inner_lon, inner_lat)) return NULL;
    s->query->hidden = inner;
    return s;
}

static struct adql_ranges *new_ranges(struct adql_context *c, struct adql_source *s)
{
    struct adql_ranges *r = adql_alloc(c, 1, sizeof *r + ADQL_RANGES_MAX * sizeof r->v[0]);
    if (r) r->source = s;
    return r;
}

/* Ranges of hpx29 for a condition near a constant point. */
static enum err near_ranges(struct adql_context *c, struct adql_node *n)
{
    const struct adql_near *near = n->near;
    double lon, lat, radius = near->limit;
    if (near->radius && !adql_constant(near->radius, &radius)) return ERR_OK;
    for (int i = 0; i < 2; i++) {
        struct adql_source *s = adql_indexed(c, near->lon[i], near->lat[i]);
        if (!s || !adql_constant(near->lon[1 - i], &lon) || !adql_constant(near->lat[1 - i], &lat) || !(fabs(lat) <= 90)) continue;
        if (!(n->ranges = new_ranges(c, s))) return ERR_NOMEM;
        /* A little more than the radius: the distance is rounded when it is computed. */
        int most = radius < 0.02 ? 6 : radius < 0.3 ? 10 : ADQL_RANGES_MAX; /* each costs a descent of the index */
        n->ranges->n = radius < 0 ? 0 : hpx_cone(lon, lat, fmin(180, radius * (1 + 1e-13) + 1e-13), most, n->ranges->v);
        c->indexed = true;
        return ERR_OK;
    }
    return ERR_OK;
}

static enum err polygon_ranges(struct adql_context *c, struct adql_node *n)
{
    struct adql_source *s = adql_indexed(c, n->args[0], n->args[1]);
    if (!s) return ERR_OK;
    if (!(n->ranges = new_ranges(c, s))) return ERR_NOMEM;
    n->ranges->n = hpx_polygon_ranges(n->polygon, ADQL_RANGES_MAX, n->ranges->v);
    c->indexed = true;
    return ERR_OK;
}

/* ---- CONTAINS, INTERSECTS ------------------------------------------------------------------------------------------- */

static struct adql_node *within_node(struct adql_context *c, const struct adql_node *from, int count, struct adql_node *const *args)
{
    struct adql_node *w = adql_node(c, NODE_WITHIN, from->at);
    if (!w || set_args(c, w, count, args)) return NULL;
    w->type = TYPE_CONDITION;
    w->has_aggregate = from->has_aggregate;
    w->is_volatile = from->is_volatile;
    return w;
}

/* Centre and radius of a point (radius NULL) or circle. */
static bool round_shape(struct adql_context *c, struct adql_node *n, struct adql_node **lon, struct adql_node **lat, struct adql_node **radius)
{
    *radius = NULL;
    if (n->type == TYPE_POINT) return !point_parts(c, n, lon, lat);
    if (n->type != TYPE_CIRCLE || n->kind != NODE_GEOMETRY) return false;
    *lon = n->args[0];
    *lat = n->args[1];
    *radius = n->args[2];
    return true;
}

/* Both round: a condition on the distance of the centres. */
static enum err round_pair(struct adql_context *c, struct adql_node *n, bool contains)
{
    struct adql_node *lon[2], *lat[2], *r[2];
    for (int i = 0; i < 2; i++)
        if (!round_shape(c, n->args[i], &lon[i], &lat[i], &r[i])) return c->err->code;
    struct adql_node *radius = r[1];
    if (r[0] && contains) radius = binary_node(c, OP_MINUS, r[1] ? r[1] : number_node(c, 0, n->at), r[0]);
    else if (r[0]) radius = r[1] ? binary_node(c, OP_PLUS, r[1], r[0]) : r[0];
    else if (!r[1]) radius = number_node(c, 0, n->at);
    struct adql_node *w = radius ? within_node(c, n, 5, (struct adql_node *[]){lon[0], lat[0], lon[1], lat[1], radius}) : NULL;
    if (!w || !(w->near = adql_alloc(c, 1, sizeof *w->near))) return ERR_NOMEM;
    *w->near = (struct adql_near){{lon[0], lon[1]}, {lat[0], lat[1]}, radius, 0};
    n->condition = w;
    return near_ranges(c, w);
}

static enum err point_in_polygon(struct adql_context *c, struct adql_node *n, struct adql_node *point, struct adql_node *area)
{
    struct hpx_polygon *p;
    struct adql_node *lon, *lat;
    enum err e = constant_polygon(c, area, &p);
    if (e || !p) return e;
    if ((e = point_parts(c, point, &lon, &lat))) return e;
    if (!(n->condition = within_node(c, n, 2, (struct adql_node *[]){lon, lat}))) return ERR_NOMEM;
    n->condition->polygon = p;
    return polygon_ranges(c, n->condition);
}

static enum err as_shape(struct adql_context *c, struct adql_node **n)
{
    if (adql_geometry_type((*n)->type)) return ERR_OK;
    if ((*n)->type == TYPE_TEXT && (*n)->kind != NODE_STRING) { /* a column that holds regions */
        struct adql_node *g = adql_node(c, NODE_GEOMETRY, (*n)->at);
        if (!g) return ERR_NOMEM;
        g->type = TYPE_REGION;
        g->has_aggregate = (*n)->has_aggregate;
        g->is_volatile = (*n)->is_volatile;
        enum err e = set_args(c, g, 1, n);
        *n = g;
        return e;
    }
    ADQL_ERROR(c->err, c->query, (*n)->at, "a shape is wanted here, this is %s", adql_type_name((*n)->type));
    error_hint(c->err, "POINT, CIRCLE, BOX, POLYGON or a column of regions");
    return ERR_USAGE;
}

static bool is_round(const struct adql_node *n)
{
    return n->type == TYPE_POINT || (n->type == TYPE_CIRCLE && n->kind == NODE_GEOMETRY);
}

static enum err compare_shapes(struct adql_context *c, struct adql_node *n, bool contains)
{
    struct hpx_polygon *unused;
    enum err e = ERR_OK;
    for (int i = 0; i < 2 && !e; i++) e = as_shape(c, &n->args[i]);
    for (int i = 0; i < 2 && !e; i++) e = constant_polygon(c, n->args[i], &unused); /* an impossible one is refused here */
    if (e) return e;
    n->kind = NODE_SKY;
    n->type = TYPE_INT;
    struct adql_node *a = n->args[0], *b = n->args[1];
    if (is_round(a) && is_round(b)) return round_pair(c, n, contains);
    if (a->type == TYPE_POINT) return point_in_polygon(c, n, a, b);
    if (b->type == TYPE_POINT && !contains) return point_in_polygon(c, n, b, a);
    return ERR_OK;
}

/* ---- the other functions --------------------------------------------------------------------------------------------- */

static enum err distance(struct adql_context *c, struct adql_node *n)
{
    struct adql_node *args[4];
    enum err e;
    if (n->nargs == 2) {
        e = point_parts(c, n->args[0], &args[0], &args[1]);
        if (!e) e = point_parts(c, n->args[1], &args[2], &args[3]);
    } else if (n->nargs == 4) {
        for (int i = 0; i < 4; i++) args[i] = n->args[i];
        e = check_numbers(c, args, 4);
        for (int i = 1; i < 4 && !e; i += 2) e = check_latitude(c, args[i]);
    } else {
        return wrong(c, n, "DISTANCE takes two points or four numbers");
    }
    if (!e) e = set_args(c, n, 4, args);
    n->kind = NODE_DISTANCE;
    n->type = TYPE_DOUBLE;
    n->meta.unit = "deg";
    n->meta.ucd = "pos.angDistance";
    return e;
}

static enum err centroid(struct adql_context *c, struct adql_node *n)
{
    enum err e = as_shape(c, &n->args[0]);
    if (e) return e;
    struct adql_node *g = n->args[0];
    if (g->type == TYPE_POINT || (g->kind == NODE_GEOMETRY && (g->type == TYPE_CIRCLE || g->type == TYPE_BOX))) {
        struct adql_node *lon, *lat;
        if (g->type == TYPE_POINT) e = point_parts(c, g, &lon, &lat);
        else lon = g->args[0], lat = g->args[1];
        return e ? e : make_shape(c, n, TYPE_POINT, 2, (struct adql_node *[]){lon, lat});
    }
    n->kind = NODE_CENTROID;
    n->type = TYPE_POINT;
    n->meta.xtype = "adql:POINT";
    return ERR_OK;
}

static enum err coordinate(struct adql_context *c, struct adql_node *n, int which)
{
    struct adql_node *part[2];
    enum err e = point_parts(c, n->args[0], &part[0], &part[1]);
    if (e) return e;
    int at = n->at;
    const struct adql_function *f = n->function;
    *n = *part[which];
    n->at = at;
    if (n->kind != NODE_SKY) n->function = f; /* its name in the result */
    return ERR_OK;
}

static enum err measure(struct adql_context *c, struct adql_node *n)
{
    enum err e = as_shape(c, &n->args[0]);
    struct hpx_polygon *unused;
    if (!e) e = constant_polygon(c, n->args[0], &unused);
    n->kind = NODE_SKY;
    n->type = TYPE_DOUBLE;
    n->meta.unit = "deg2";
    n->meta.ucd = "pos.angArea";
    return e;
}

enum err adql_geometry(struct adql_context *c, struct adql_node *n)
{
    const char *name = n->function->name;
    if (!strcmp(name, "POINT")) return shape(c, n, TYPE_POINT, 2);
    if (!strcmp(name, "CIRCLE")) return shape(c, n, TYPE_CIRCLE, 3);
    if (!strcmp(name, "BOX")) return shape(c, n, TYPE_BOX, 4);
    if (!strcmp(name, "POLYGON")) return shape(c, n, TYPE_POLYGON, 0);
    if (!strcmp(name, "REGION")) return region(c, n);
    if (!strcmp(name, "CENTROID")) return centroid(c, n);
    if (!strcmp(name, "AREA")) return measure(c, n);
    if (!strcmp(name, "COORD1")) return coordinate(c, n, 0);
    if (!strcmp(name, "COORD2")) return coordinate(c, n, 1);
    if (!strcmp(name, "DISTANCE")) return distance(c, n);
    if (!strcmp(name, "CONTAINS")) return compare_shapes(c, n, true);
    if (!strcmp(name, "INTERSECTS")) return compare_shapes(c, n, false);
    enum err e = as_shape(c, &n->args[0]); /* COORDSYS */
    n->kind = NODE_STRING;
    n->type = TYPE_TEXT;
    n->text = "ICRS";
    n->nargs = 0;
    return e;
}

/* ---- comparisons ------------------------------------------------------------------------------------------------------ */

static bool compares(double a, enum adql_op op, double b)
{
    switch (op) {
    case OP_EQ: return a == b;
    case OP_NE: return a != b;
    case OP_LT: return a < b;
    case OP_LE: return a <= b;
    case OP_GT: return a > b;
    default: return a >= b;
    }
}

static enum adql_op swapped(enum adql_op op)
{
    return op == OP_LT ? OP_GT : op == OP_LE ? OP_GE : op == OP_GT ? OP_LT : op == OP_GE ? OP_LE : op;
}

static bool is_truth(const struct adql_node *n)
{
    return n->kind == NODE_SKY && n->type == TYPE_INT;
}

/* CONTAINS is 1 or 0: which of them fit says what the comparison means. */
static enum err truth_condition(struct adql_context *c, struct adql_node *n, struct adql_node *sky, enum adql_op op, double k)
{
    bool zero = compares(0, op, k), one = compares(1, op, k);
    struct adql_node *condition = sky->condition;
    if (zero == one) return ERR_OK; /* always or never, but for NULL: as it stands */
    if (!condition) {
        sky->type = TYPE_CONDITION;
        condition = sky;
    }
    if (one) {
        int at = n->at;
        *n = *condition;
        n->at = at;
        return ERR_OK;
    }
    n->kind = NODE_NOT;
    return set_args(c, n, 1, &condition);
}

/* distance * 3600 <= k, distance / 0.5 <= k ...: *k becomes the limit of the distance itself. */
static struct adql_node *peel(struct adql_node *n, double *k)
{
    double f;
    while (n->kind == NODE_ARITHMETIC) {
        if (n->op == OP_TIMES && adql_constant(n->args[1], &f) && f > 0) n = n->args[0], *k /= f;
        else if (n->op == OP_TIMES && adql_constant(n->args[0], &f) && f > 0) n = n->args[1], *k /= f;
        else if (n->op == OP_DIVIDE && adql_constant(n->args[1], &f) && f > 0) n = n->args[0], *k *= f;
        else break;
    }
    return n->kind == NODE_DISTANCE ? n : NULL;
}

static enum err distance_condition(struct adql_context *c, struct adql_node *n, struct adql_node *side, struct adql_node *limit)
{
    double k = 1;
    bool constant = adql_constant(limit, &k);
    struct adql_node *d = constant ? peel(side, &k) : side->kind == NODE_DISTANCE ? side : NULL;
    if (!d || n->near || !isfinite(k)) return ERR_OK;
    if (!(n->near = adql_alloc(c, 1, sizeof *n->near))) return ERR_NOMEM;
    *n->near = (struct adql_near){{d->args[0], d->args[2]}, {d->args[1], d->args[3]}, constant ? NULL : limit, k};
    return near_ranges(c, n);
}

enum err adql_sky_condition(struct adql_context *c, struct adql_node *n)
{
    double k;
    if (n->kind == NODE_BETWEEN) return n->negated ? ERR_OK : distance_condition(c, n, n->args[0], n->args[2]);
    struct adql_node *a = n->args[0], *b = n->args[1];
    if (is_truth(a) && adql_constant(b, &k)) return truth_condition(c, n, a, n->op, k);
    if (is_truth(b) && adql_constant(a, &k)) return truth_condition(c, n, b, swapped(n->op), k);
    enum err e = ERR_OK;
    if (n->op == OP_LT || n->op == OP_LE || n->op == OP_EQ) e = distance_condition(c, n, a, b);
    if (!e && (n->op == OP_GT || n->op == OP_GE || n->op == OP_EQ)) e = distance_condition(c, n, b, a);
    return e;
}

/* ---- units ----------------------------------------------------------------------------------------------------------- */

static const struct { const char *name; int kind; double size; } units[] = {
    {"deg", 1, 3600e6}, {"arcmin", 1, 60e6}, {"arcsec", 1, 1e6}, {"mas", 1, 1e3}, {"uas", 1, 1}, {"rad", 1, 3600e6 * 57.29577951308232},
    {"s", 2, 1}, {"ms", 2, 1e-3}, {"min", 2, 60}, {"h", 2, 3600}, {"d", 2, 86400}, {"a", 2, 31557600}, {"yr", 2, 31557600},
    {"Jy", 3, 1e9}, {"mJy", 3, 1e6}, {"uJy", 3, 1e3}, {"nJy", 3, 1},
    {"m", 4, 1e10}, {"km", 4, 1e13}, {"cm", 4, 1e8}, {"mm", 4, 1e7}, {"um", 4, 1e4}, {"nm", 4, 10}, {"Angstrom", 4, 1}};

static int unit_of(const char *name)
{
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (!strcmp(units[i].name, name)) return (int)i;
    return -1;
}

enum err adql_in_unit(struct adql_context *c, struct adql_node *n)
{
    struct adql_node *value = n->args[0], *unit = n->args[1];
    if (unit->kind != NODE_STRING) return wrong(c, unit, "IN_UNIT takes the unit as a string, like 'arcsec'");
    enum err e = check_numbers(c, &value, 1);
    if (e) return e;
    if (!*value->meta.unit) return wrong(c, value, "the unit of this value is not known");
    int from = unit_of(value->meta.unit), to = unit_of(unit->text);
    bool same = !strcmp(value->meta.unit, unit->text);
    if (!same && (from < 0 || to < 0 || units[from].kind != units[to].kind))
        return ADQL_ERROR(c->err, c->query, unit->at, "no way from unit '%.24s' to '%.24s'", value->meta.unit, unit->text);
    double factor = same ? 1 : units[from].size / units[to].size;
    n->kind = NODE_ARITHMETIC;
    n->type = TYPE_DOUBLE;
    n->op = factor >= 1 ? OP_TIMES : OP_DIVIDE; /* by the whole number of the two */
    n->meta = value->meta;
    n->meta.source = NULL;
    n->meta.unit = unit->text;
    return set_args(c, n, 2, (struct adql_node *[]){value, number_node(c, factor >= 1 ? factor : units[to].size / units[from].size, n->at)});
}
