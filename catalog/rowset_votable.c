/* The frame of a VOTable around its rows. */
#include "catalog/rowset_formats.h"

static const char *const datatypes[] = {"boolean", "short", "int", "long", "float", "double", "char", "char"};

#define HEAD                                                                                            \
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"                                                      \
    "<VOTABLE version=\"1.4\" xmlns=\"http://www.ivoa.net/xml/VOTable/v1.3\" "                          \
    "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" "                                          \
    "xsi:schemaLocation=\"http://www.ivoa.net/xml/VOTable/v1.3 http://www.ivoa.net/xml/VOTable/VOTable-1.4.xsd\">\n"

static void attribute(struct rowset *r, const char *name, const char *value)
{
    if (!value || !*value) return;
    rowset_puts(r, " ");
    rowset_puts(r, name);
    rowset_puts(r, "=\"");
    rowset_put_xml(r, value, strlen(value));
    rowset_puts(r, "\"");
}

static void description(struct rowset *r, const char *text)
{
    if (!text || !*text) return;
    rowset_puts(r, "<DESCRIPTION>");
    rowset_put_xml(r, text, strlen(text));
    rowset_puts(r, "</DESCRIPTION>");
}

static void field(struct rowset *r, int i)
{
    const struct rowset_column *c = &r->opt.columns[i];
    rowset_puts(r, "<FIELD");
    attribute(r, "name", c->name);
    attribute(r, "datatype", datatypes[r->kind[i]]);
    attribute(r, "arraysize", r->kind[i] == ROWSET_TEXT ? "*" : NULL);
    attribute(r, "unit", c->unit);
    attribute(r, "ucd", r->opt.scs && c->ucd1 && *c->ucd1 ? c->ucd1 : c->ucd);
    attribute(r, "utype", c->utype);
    attribute(r, "xtype", c->xtype && *c->xtype ? c->xtype : c->type == ROWSET_TIMESTAMP ? "timestamp" : NULL);
    rowset_puts(r, ">");
    description(r, c->description);
    if (r->kind[i] == ROWSET_SHORT) rowset_puts(r, "<VALUES null=\"-32768\"/>");
    if (r->kind[i] == ROWSET_INT) rowset_puts(r, "<VALUES null=\"-2147483648\"/>");
    if (r->kind[i] == ROWSET_LONG) rowset_puts(r, "<VALUES null=\"-9223372036854775808\"/>");
    rowset_puts(r, "</FIELD>\n");
}

static void info(struct rowset *r, const char *name, const char *value, const char *text)
{
    rowset_puts(r, "<INFO");
    attribute(r, "name", name);
    attribute(r, "value", value);
    rowset_puts(r, text ? ">" : "/>\n");
    if (!text) return;
    rowset_put_xml(r, text, strlen(text));
    rowset_puts(r, "</INFO>\n");
}

/* ncol negative: the document of an error, without a table. */
void rowset_begin_votable(struct rowset *r)
{
    rowset_puts(r, HEAD);
    if (r->opt.ncol < 0) return;
    rowset_puts(r, "<RESOURCE type=\"results\">\n");
    info(r, "QUERY_STATUS", "OK", NULL);
    for (int i = 0; i < r->opt.ninfo; i++) info(r, r->opt.infos[i].name, r->opt.infos[i].value, NULL);
    rowset_puts(r, "<TABLE");
    attribute(r, "name", r->opt.table);
    rowset_puts(r, ">\n");
    description(r, r->opt.description);
    rowset_puts(r, "\n");
    for (int i = 0; i < r->opt.ncol; i++) field(r, i);
    rowset_puts(r, "<DATA>\n");
    if (r->opt.format == ROWSET_VOTABLE) rowset_puts(r, "<TABLEDATA>\n");
    else rowset_puts(r, r->opt.format == ROWSET_BINARY ? "<BINARY>\n<STREAM encoding=\"base64\">\n" : "<BINARY2>\n<STREAM encoding=\"base64\">\n");
}

void rowset_end_votable(struct rowset *r, bool overflow, const char *error)
{
    if (r->opt.ncol >= 0) {
        static const char *const ends[] = {"</TABLEDATA>\n", "\n</STREAM>\n</BINARY>\n", "\n</STREAM>\n</BINARY2>\n"};
        rowset_puts(r, ends[r->opt.format]);
        rowset_puts(r, "</DATA>\n</TABLE>\n");
    } else {
        if (r->opt.scs) {
            rowset_puts(r, "<INFO ID=\"Error\"");
            attribute(r, "name", "Error");
            attribute(r, "value", error);
            rowset_puts(r, "/>\n");
        }
        rowset_puts(r, "<RESOURCE type=\"results\">\n");
    }
    if (error) info(r, "QUERY_STATUS", "ERROR", error);
    else if (overflow) info(r, "QUERY_STATUS", "OVERFLOW", NULL);
    rowset_puts(r, "</RESOURCE>\n</VOTABLE>\n");
}
