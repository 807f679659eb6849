/* VOSI 1.1: capabilities (TAPRegExt 1.0), tables, availability. Written from the schema file and the settings at each request. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "catalog/adql.h"
#include "catalog/tap_internal.h"

#define XML_HEAD "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
#define XSI      " xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\""
#define VS       " xmlns:vs=\"http://www.ivoa.net/xml/VODataService/v1.1\""

static void element(struct http_response *w, const char *name, const char *text)
{
    if (!*text) return;
    http_printf(w, "<%s>", name);
    tap_xml(w, text);
    http_printf(w, "</%s>\n", name);
}

/* ---- capabilities ------------------------------------------------------------------------------------------------------------ */

static void plain_capability(struct http_response *w, const char *standard, const char *version, const char *url, const char *path)
{
    http_printf(w, "<capability standardID=\"%s\">\n<interface xsi:type=\"vs:ParamHTTP\" role=\"std\"%s>\n<accessURL use=\"full\">", standard, version);
    tap_xml(w, url);
    http_printf(w, "%s</accessURL>\n</interface>\n</capability>\n", path);
}

/* COALESCE of the final ADQL 2.1 has a key that the validators and clients of today (stilts 3.4) call an error. */
static bool is_declared(const struct adql_feature *f)
{
    return !strstr(f->type, "#features-adql-conditional");
}

static bool first_of_type(const struct adql_feature *f)
{
    for (const struct adql_feature *p = adql_features; p < f; p++)
        if (!strcmp(p->type, f->type)) return false;
    return true;
}

static void write_features(struct http_response *w)
{
    for (const struct adql_feature *f = adql_features; f->type; f++) {
        if (!first_of_type(f) || !is_declared(f)) continue;
        http_printf(w, "<languageFeatures type=\"%s\">\n", f->type);
        for (const struct adql_feature *g = f; g->type; g++) {
            if (strcmp(g->type, f->type)) continue;
            http_printf(w, "<feature>\n");
            element(w, "form", g->form);
            element(w, "description", g->description);
            http_printf(w, "</feature>\n");
        }
        http_printf(w, "</languageFeatures>\n");
    }
}

static const char *format_id(const char *type)
{
    if (strstr(type, "serialization=TABLEDATA") || !strcasecmp(type, "application/x-votable+xml")) return "ivo://ivoa.net/std/TAPRegExt#output-votable-td";
    if (strstr(type, "serialization=BINARY2")) return "ivo://ivoa.net/std/TAPRegExt#output-votable-binary2";
    if (strstr(type, "serialization=BINARY")) return "ivo://ivoa.net/std/TAPRegExt#output-votable-binary";
    return NULL;
}

static void write_formats(struct http_response *w)
{
    for (int f = 0; f < ROWSET_FORMATS; f++) {
        const char *type = rowset_content_type((enum rowset_format)f), *id = format_id(type);
        http_printf(w, id ? "<outputFormat ivo-id=\"%s\">\n" : "<outputFormat>\n", id);
        element(w, "mime", type);
        element(w, "alias", rowset_format_name((enum rowset_format)f));
        http_printf(w, "</outputFormat>\n");
    }
}

static void write_limits(const struct tap *t, struct http_response *w)
{
    http_printf(w, "<uploadMethod ivo-id=\"ivo://ivoa.net/std/TAPRegExt#upload-inline\"/>\n"
                   "<uploadMethod ivo-id=\"ivo://ivoa.net/std/TAPRegExt#upload-http\"/>\n"
                   "<retentionPeriod><default>%.0f</default><hard>%.0f</hard></retentionPeriod>\n"
                   "<executionDuration><default>%.0f</default><hard>%.0f</hard></executionDuration>\n"
                   "<outputLimit><default unit=\"row\">%lld</default><hard unit=\"row\">%lld</hard></outputLimit>\n"
                   "<uploadLimit><hard unit=\"row\">%lld</hard></uploadLimit>\n",
                t->opt.retention, t->opt.retention_max, t->opt.async_seconds, t->opt.async_seconds_max, (long long)t->opt.maxrec,
                (long long)t->opt.maxrec_limit, (long long)t->opt.upload_rows);
}

static void capabilities(struct http_request *r, struct http_response *w, void *user)
{
    const struct tap *t = user;
    char url[512];
    tap_url(t, r, url, sizeof url);
    http_header_out(w, "Content-Type", "application/xml");
    http_printf(w, XML_HEAD "<vosi:capabilities xmlns:vosi=\"http://www.ivoa.net/xml/VOSICapabilities/v1.0\" xmlns:tr=\"http://www.ivoa.net/xml/TAPRegExt/v1.0\""
                            " xmlns:vr=\"http://www.ivoa.net/xml/VOResource/v1.0\"" VS XSI ">\n");
    plain_capability(w, "ivo://ivoa.net/std/VOSI#capabilities", "", url, "/capabilities");
    plain_capability(w, "ivo://ivoa.net/std/VOSI#availability", "", url, "/availability");
    plain_capability(w, "ivo://ivoa.net/std/VOSI#tables-1.1", " version=\"1.1\"", url, "/tables");
    plain_capability(w, "ivo://ivoa.net/std/DALI#examples", "", url, "/examples");
    http_printf(w, "<capability standardID=\"ivo://ivoa.net/std/TAP\" xsi:type=\"tr:TableAccess\">\n"
                   "<interface xsi:type=\"vs:ParamHTTP\" role=\"std\" version=\"1.1\">\n<accessURL use=\"base\">");
    tap_xml(w, url);
    http_printf(w, "</accessURL>\n</interface>\n<dataModel ivo-id=\"ivo://ivoa.net/std/ObsCore#core-1.1\">ObsCore-1.1</dataModel>\n"
                   "<language>\n<name>ADQL</name>\n<version ivo-id=\"ivo://ivoa.net/std/ADQL#v2.0\">2.0</version>\n"
                   "<version ivo-id=\"ivo://ivoa.net/std/ADQL#v2.1\">2.1</version>\n<description>ADQL 2.0, and what is listed here of 2.1</description>\n");
    write_features(w);
    http_printf(w, "</language>\n");
    write_formats(w);
    write_limits(t, w);
    http_printf(w, "</capability>\n</vosi:capabilities>\n");
}

/* ---- tables ------------------------------------------------------------------------------------------------------------------- */

/* Names that ADQL keeps for itself are written as a query has to write them. */
static const char *as_written(const char *name)
{
    return !strcmp(name, "size") ? "\"size\"" : name;
}

static void write_column(struct http_response *w, const struct schema_column *c)
{
    http_printf(w, c->std ? "<column std=\"true\">\n" : "<column>\n");
    element(w, "name", as_written(c->name));
    element(w, "description", c->description);
    element(w, "unit", c->unit);
    element(w, "ucd", c->ucd);
    element(w, "utype", c->utype);
    http_printf(w, "<dataType xsi:type=\"vs:VOTableType\"");
    if (*c->arraysize) http_printf(w, " arraysize=\"%s\"", c->arraysize);
    if (*c->xtype) http_printf(w, " extendedType=\"%s\"", c->xtype);
    http_printf(w, ">%s</dataType>\n", schema_datatype(c->type));
    if (c->indexed) http_printf(w, "<flag>indexed</flag>\n");
    if (c->principal) http_printf(w, "<flag>principal</flag>\n");
    http_printf(w, "</column>\n");
}

static void write_key(struct http_response *w, const struct schema_key *k)
{
    http_printf(w, "<foreignKey>\n");
    element(w, "targetTable", k->to);
    for (int i = 0; i < k->n; i++)
        http_printf(w, "<fkColumn><fromColumn>%s</fromColumn><targetColumn>%s</targetColumn></fkColumn>\n", k->from_columns[i], k->to_columns[i]);
    element(w, "description", k->description);
    http_printf(w, "</foreignKey>\n");
}

static void write_table(struct http_response *w, const struct schema *s, const struct schema_table *x, const char *tag, const char *xmlns, bool columns)
{
    http_printf(w, "<%s%s type=\"%s\">\n", tag, xmlns, strcmp(x->kind, "table") ? "view" : "base_table");
    element(w, "name", x->full);
    element(w, "description", x->description);
    element(w, "utype", x->utype);
    for (int i = 0; columns && i < x->ncol; i++) write_column(w, &x->columns[i]);
    for (int i = 0; columns && i < s->nkey; i++)
        if (!strcmp(s->keys[i].from, x->full)) write_key(w, &s->keys[i]);
    http_printf(w, "</%s>\n", tag);
}

static void tables(struct http_request *r, struct http_response *w, void *user)
{
    const struct schema *s = ((struct tap *)user)->schema;
    const char *detail = http_param(r, "detail");
    bool columns = !detail || strcasecmp(detail, "min");
    if (detail && columns && strcasecmp(detail, "max")) {
        http_error(w, 400, "detail is '%.40s'; min and max are known", detail);
        return;
    }
    http_header_out(w, "Content-Type", "application/xml");
    http_printf(w, XML_HEAD "<vosi:tableset xmlns:vosi=\"http://www.ivoa.net/xml/VOSITables/v1.0\"" VS XSI ">\n");
    for (int g = 0; g < s->ngroup; g++) {
        http_printf(w, "<schema>\n");
        element(w, "name", s->groups[g].name);
        element(w, "description", s->groups[g].description);
        element(w, "utype", s->groups[g].utype);
        for (int i = 0; i < s->groups[g].n; i++) write_table(w, s, &s->tables[s->groups[g].first + i], "table", "", columns);
        http_printf(w, "</schema>\n");
    }
    http_printf(w, "</vosi:tableset>\n");
}

static void one_table(struct http_request *r, struct http_response *w, void *user)
{
    const struct schema *s = ((struct tap *)user)->schema;
    const char *name = http_path_param(r, "name");
    for (int i = 0; i < s->ntable; i++)
        if (!strcasecmp(s->tables[i].full, name)) {
            http_header_out(w, "Content-Type", "application/xml");
            http_printf(w, XML_HEAD);
            write_table(w, s, &s->tables[i], "vosi:table", " xmlns:vosi=\"http://www.ivoa.net/xml/VOSITables/v1.0\"" VS XSI, true);
            return;
        }
    http_error(w, 404, "no table '%.100s' is published here", name);
}

/* ---- availability --------------------------------------------------------------------------------------------------------------- */

/* Told from what the clerk saw within the last seconds: no request waits for the database here. */
static void availability(struct http_request *r, struct http_response *w, void *user)
{
    (void)r;
    const struct tap *t = user;
    bool stopping = tap_stopping(t), good = __atomic_load_n(&t->database_answers, __ATOMIC_RELAXED) && !stopping;
    http_header_out(w, "Content-Type", "application/xml");
    http_printf(w, XML_HEAD "<vosi:availability xmlns:vosi=\"http://www.ivoa.net/xml/VOSIAvailability/v1.0\">\n<vosi:available>%s</vosi:available>\n",
                good ? "true" : "false");
    if (good) http_printf(w, "<vosi:upSince>%s</vosi:upSince>\n", t->up_since);
    http_printf(w, "<vosi:note>%s</vosi:note>\n</vosi:availability>\n",
                stopping ? "the service is stopping" : good ? "service is ready for queries" : "the database is away; it is being asked every second");
}

enum err vosi_routes(struct tap *t, struct httpd *h, struct error *err)
{
    const struct {
        const char *pattern;
        http_handler handler;
    } routes[] = {{"/tap/capabilities", capabilities}, {"/capabilities", capabilities}, {"/tap/tables", tables}, {"/tap/tables/{name}", one_table},
                  {"/tap/availability", availability}, {"/availability", availability}};
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        enum err e = httpd_route(h, "GET", routes[i].pattern, routes[i].handler, t, HTTP_INLINE | HTTP_PUBLIC, err);
        if (e) return e;
    }
    return ERR_OK;
}
