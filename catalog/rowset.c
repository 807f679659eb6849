#include "catalog/rowset.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char *const datatype[] = {"int", "long", "float", "double", "char", "boolean"};

static void put(struct rowset *r, const char *data, size_t size)
{
    if (!r->broken && !r->sink(r->user, data, size)) r->broken = true;
}

static void put_text(struct rowset *r, const char *s)
{
    put(r, s, strlen(s));
}

/* XML 1.0 knows no control characters but tab, newline and carriage return: others become '?'. */
static void put_xml(struct rowset *r, const char *s)
{
    const char *start = s;
    for (; *s; s++) {
        const char *entity = NULL;
        if (*s == '&') entity = "&amp;";
        else if (*s == '<') entity = "&lt;";
        else if (*s == '>') entity = "&gt;";
        else if (*s == '"') entity = "&quot;";
        else if ((unsigned char)*s < 32 && !strchr("\t\n\r", *s)) entity = "?";
        if (!entity) continue;
        put(r, start, (size_t)(s - start));
        put_text(r, entity);
        start = s + 1;
    }
    put(r, start, (size_t)(s - start));
}

static void put_json(struct rowset *r, const char *s)
{
    char escape[8];
    const char *start = s;
    put(r, "\"", 1);
    for (; *s; s++) {
        if (*s != '"' && *s != '\\' && (unsigned char)*s >= 32) continue;
        put(r, start, (size_t)(s - start));
        if ((unsigned char)*s < 32) snprintf(escape, sizeof escape, "\\u%04x", (unsigned char)*s);
        else snprintf(escape, sizeof escape, "\\%c", *s);
        put_text(r, escape);
        start = s + 1;
    }
    put(r, start, (size_t)(s - start));
    put(r, "\"", 1);
}

static void put_csv(struct rowset *r, const char *s, char comma)
{
    if (comma == '\t' || !strpbrk(s, ",\"\r\n")) {
        for (; *s; s++) put(r, comma == '\t' && strchr("\t\r\n", *s) ? " " : s, 1);
        return;
    }
    put(r, "\"", 1);
    for (; *s; s++) {
        put(r, s, 1);
        if (*s == '"') put(r, "\"", 1);
    }
    put(r, "\"", 1);
}

static bool is_number(enum rowset_type t)
{
    return t == ROWSET_INT || t == ROWSET_FLOAT || t == ROWSET_DOUBLE;
}

static bool is_finite(const char *s)
{
    return !(strchr("NI", s[0]) || (s[0] == '-' && s[1] == 'I'));
}

bool rowset_format_of(const char *name, enum rowset_format *ret)
{
    static const struct {
        const char *name;
        enum rowset_format format;
    } names[] = {
        {"votable", ROWSET_VOTABLE}, {"application/x-votable+xml", ROWSET_VOTABLE}, {"text/xml", ROWSET_VOTABLE},
        {"votable/td", ROWSET_VOTABLE}, {"csv", ROWSET_CSV}, {"text/csv", ROWSET_CSV}, {"tsv", ROWSET_TSV},
        {"text/tab-separated-values", ROWSET_TSV}, {"json", ROWSET_JSON}, {"application/json", ROWSET_JSON},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (!strcasecmp(name, names[i].name)) {
            *ret = names[i].format;
            return true;
        }
    return false;
}

const char *rowset_content_type(enum rowset_format format)
{
    static const char *const types[] = {"application/x-votable+xml", "text/csv; charset=utf-8; header=present",
                                        "text/tab-separated-values", "application/json"};
    return types[format];
}

#define VOTABLE_HEAD                                                                                    \
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"                                                      \
    "<VOTABLE version=\"1.4\" xmlns=\"http://www.ivoa.net/xml/VOTable/v1.3\" "                          \
    "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" "                                          \
    "xsi:schemaLocation=\"http://www.ivoa.net/xml/VOTable/v1.3 http://www.ivoa.net/xml/VOTable/VOTable-1.4.xsd\">\n"

static void begin_votable(struct rowset *r, const char *table, const char *description)
{
    put_text(r, VOTABLE_HEAD "<RESOURCE type=\"results\">\n<INFO name=\"QUERY_STATUS\" value=\"OK\"/>\n<TABLE name=\"");
    put_xml(r, table);
    put_text(r, "\">\n<DESCRIPTION>");
    put_xml(r, description);
    put_text(r, "</DESCRIPTION>\n");
    for (int i = 0; i < r->ncol; i++) {
        const struct rowset_column *c = &r->columns[i];
        bool id = r->scs && c->ucd1 && !strcmp(c->ucd1, "ID_MAIN"); /* Simple Cone Search: the id is a string */
        put_text(r, "<FIELD name=\"");
        put_xml(r, c->name);
        put_text(r, "\" datatype=\"");
        put_text(r, id ? "char" : datatype[c->type]);
        put_text(r, id || c->type == ROWSET_CHAR ? "\" arraysize=\"*" : "");
        if (c->unit && *c->unit) put_text(r, "\" unit=\""), put_xml(r, c->unit);
        const char *ucd = r->scs && c->ucd1 ? c->ucd1 : c->ucd;
        if (ucd && *ucd) put_text(r, "\" ucd=\""), put_xml(r, ucd);
        if (c->utype && *c->utype) put_text(r, "\" utype=\""), put_xml(r, c->utype);
        if (c->xtype && *c->xtype) put_text(r, "\" xtype=\""), put_xml(r, c->xtype);
        put_text(r, "\">");
        put_text(r, "<DESCRIPTION>");
        put_xml(r, c->description);
        put_text(r, "</DESCRIPTION>");
        if (!id && c->type == ROWSET_INT) put_text(r, "<VALUES null=\"-2147483648\"/>");
        if (!id && c->type == ROWSET_LONG) put_text(r, "<VALUES null=\"-9223372036854775808\"/>");
        put_text(r, "</FIELD>\n");
    }
    put_text(r, "<DATA>\n<TABLEDATA>\n");
}

static void begin_json(struct rowset *r, const char *table)
{
    put_text(r, "{\"table\": ");
    put_json(r, table);
    put_text(r, ",\n \"columns\": [");
    for (int i = 0; i < r->ncol; i++) {
        const struct rowset_column *c = &r->columns[i];
        put_text(r, i ? ",\n  {\"name\": " : "\n  {\"name\": ");
        put_json(r, c->name);
        put_text(r, ", \"unit\": ");
        put_json(r, c->unit ? c->unit : "");
        put_text(r, ", \"ucd\": ");
        put_json(r, c->ucd ? c->ucd : "");
        put_text(r, ", \"description\": ");
        put_json(r, c->description);
        put_text(r, "}");
    }
    put_text(r, "],\n \"rows\": [");
}

void rowset_begin(struct rowset *r, const char *table, const char *description)
{
    r->rows = 0;
    if (r->format == ROWSET_VOTABLE) begin_votable(r, table, description);
    else if (r->format == ROWSET_JSON) begin_json(r, table);
    else
        for (int i = 0; i < r->ncol; i++) {
            put_csv(r, r->columns[i].name, r->format == ROWSET_CSV ? ',' : '\t');
            put_text(r, i + 1 < r->ncol ? r->format == ROWSET_CSV ? "," : "\t" : r->format == ROWSET_CSV ? "\r\n" : "\n");
        }
}

static void row_votable(struct rowset *r, const char *const *v)
{
    put_text(r, "<TR>");
    for (int i = 0; i < r->ncol; i++) {
        if (!v[i]) {
            put_text(r, "<TD/>");
            continue;
        }
        put_text(r, "<TD>");
        if (!strcmp(v[i], "Infinity")) put_text(r, "+Inf");
        else if (!strcmp(v[i], "-Infinity")) put_text(r, "-Inf");
        else put_xml(r, v[i]);
        put_text(r, "</TD>");
    }
    put_text(r, "</TR>\n");
}

static void row_json(struct rowset *r, const char *const *v)
{
    put_text(r, r->rows ? ",\n  {" : "\n  {");
    for (int i = 0; i < r->ncol; i++) {
        enum rowset_type t = r->columns[i].type;
        if (i) put_text(r, ", ");
        put_json(r, r->columns[i].name);
        put_text(r, ": ");
        if (!v[i] || (is_number(t) && !is_finite(v[i]))) put_text(r, "null");
        else if (is_number(t)) put_text(r, v[i]);
        else if (t == ROWSET_BOOL) put_text(r, v[i][0] == 't' ? "true" : "false");
        else put_json(r, v[i]);
    }
    put_text(r, "}");
}

static void row_separated(struct rowset *r, const char *const *v, char comma)
{
    for (int i = 0; i < r->ncol; i++) {
        if (i) put(r, &comma, 1);
        if (v[i]) put_csv(r, v[i], comma);
    }
    put_text(r, comma == ',' ? "\r\n" : "\n");
}

bool rowset_row(struct rowset *r, const char *const *values)
{
    if (r->format == ROWSET_VOTABLE) row_votable(r, values);
    else if (r->format == ROWSET_JSON) row_json(r, values);
    else row_separated(r, values, r->format == ROWSET_CSV ? ',' : '\t');
    r->rows++;
    return !r->broken;
}

void rowset_end(struct rowset *r, bool overflow, const char *error)
{
    if (r->format == ROWSET_VOTABLE) {
        put_text(r, "</TABLEDATA>\n</DATA>\n</TABLE>\n");
        if (error) {
            put_text(r, "<INFO name=\"QUERY_STATUS\" value=\"ERROR\">");
            put_xml(r, error);
            put_text(r, "</INFO>\n");
        } else if (overflow) {
            put_text(r, "<INFO name=\"QUERY_STATUS\" value=\"OVERFLOW\"/>\n");
        }
        put_text(r, "</RESOURCE>\n</VOTABLE>\n");
    } else if (r->format == ROWSET_JSON) {
        put_text(r, "],\n \"overflow\": ");
        put_text(r, overflow ? "true" : "false");
        if (error) put_text(r, ",\n \"error\": "), put_json(r, error);
        put_text(r, "}\n");
    }
}

void rowset_error_votable(rowset_sink sink, void *user, bool scs, const char *message)
{
    struct rowset r = {.sink = sink, .user = user};
    put_text(&r, VOTABLE_HEAD);
    if (scs) {
        put_text(&r, "<INFO ID=\"Error\" name=\"Error\" value=\"");
        put_xml(&r, message);
        put_text(&r, "\"/>\n");
    }
    put_text(&r, "<RESOURCE type=\"results\">\n<INFO name=\"QUERY_STATUS\" value=\"ERROR\">");
    put_xml(&r, message);
    put_text(&r, "</INFO>\n</RESOURCE>\n</VOTABLE>\n");
}
