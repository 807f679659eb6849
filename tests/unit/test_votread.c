#include "catalog/votread.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Rows as lines of "name=value|..."; NULL is "~". */
struct seen {
    char text[8192];
    char types[256];
    struct votread_field fields[16];
    char names[16][64];
    int n;
};

static enum err take_fields(void *user, const struct votread_field *f, int n, struct error *err)
{
    struct seen *s = user;
    (void)err;
    s->n = n;
    for (int i = 0; i < n && i < 16; i++) {
        snprintf(s->names[i], sizeof s->names[i], "%s", f[i].name);
        s->fields[i] = f[i];
        snprintf(s->types + strlen(s->types), sizeof s->types - strlen(s->types), "%s ", schema_sql_type(f[i].type));
    }
    return ERR_OK;
}

static enum err take_row(void *user, const struct votread_value *v, struct error *err)
{
    struct seen *s = user;
    (void)err;
    for (int i = 0; i < s->n; i++) {
        size_t used = strlen(s->text);
        char *at = s->text + used;
        enum schema_type t = s->fields[i].type;
        if (v[i].null) snprintf(at, sizeof s->text - used, "~|");
        else if (t == SCHEMA_TEXT) snprintf(at, sizeof s->text - used, "%.*s|", (int)v[i].size, v[i].text);
        else if (t == SCHEMA_FLOAT || t == SCHEMA_DOUBLE) snprintf(at, sizeof s->text - used, "%.9g|", v[i].d);
        else snprintf(at, sizeof s->text - used, "%lld|", (long long)v[i].i);
    }
    strcat(s->text, "\n");
    return ERR_OK;
}

/* The document in pieces of `piece` bytes. */
static enum err read_document(const char *text, size_t piece, struct seen *s, struct error *err)
{
    struct votread *v = NULL;
    *s = (struct seen){0};
    *err = (struct error)ERROR_INIT;
    enum err e = votread_new(&(struct votread_sink){take_fields, take_row, s}, &v, err);
    for (size_t at = 0, n = strlen(text); at < n && !e; at += piece) e = votread_feed(v, text + at, n - at < piece ? n - at : piece, err);
    if (!e) e = votread_end(v, err);
    votread_free(v);
    return e;
}

#define DOC(version, fields, data)                                                                                    \
    "<?xml version='1.0'?>\n<VOTABLE version='" version "' xmlns='http://www.ivoa.net/xml/VOTable/v1.3'>\n<RESOURCE>" \
    "<TABLE>" fields "<DATA>" data "</DATA></TABLE><TABLE><FIELD name='other' datatype='int'/></TABLE></RESOURCE></VOTABLE>\n"

static void test_votread__tabledata(void **state)
{
    (void)state;
    static const char doc[] = DOC("1.2",
                                  "<FIELD name='i' datatype='int'><VALUES null='-9'/></FIELD><FIELD ID='only_id' datatype='double' unit='deg' ucd='pos.eq.ra'/>"
                                  "<FIELD name='s' datatype='unicodeChar' arraysize='*'/><FIELD name='b' datatype='boolean'/><FIELD name='u' datatype='unsignedByte'/>"
                                  "<FIELD name='v' datatype='float' arraysize='2'/>",
                                  "<TABLEDATA><TR><TD>7</TD><TD> 1.5 </TD><TD>a&lt;b \xc3\xa9</TD><TD>T</TD><TD>0xff</TD><TD>1 2</TD></TR>\n"
                                  "<TR><TD>-9</TD><TD/><TD/><TD>?</TD><TD>3</TD><TD></TD></TR><TR><TD>1</TD><TD>NaN</TD></TR>"
                                  "<TR><TD>1</TD><TD>+Inf</TD><TD> x </TD></TR></TABLEDATA>");
    static const size_t pieces[] = {1, 2, 7, 100, 100000};
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        struct seen s;
        struct error err;
        assert_int_equal(read_document(doc, pieces[i], &s, &err), ERR_OK);
        assert_string_equal(s.types, "integer double precision text boolean smallint text ");
        assert_string_equal(s.names[1], "only_id");
        assert_string_equal(s.text, "7|1.5|a<b \xc3\xa9|1|255|1 2|\n~|~|~|~|3|~|\n1|~|~|~|~|~|\n1|inf| x |~|~|~|\n");
    }
}

/* Two rows: short 258, int -2, long 3, float 1.5, double NaN, char* "ab", unicodeChar[2] "é?", boolean T; then nulls. Packed by
 * hand with python's struct, ">hiqfd i2s 4s c". */
static void test_votread__binary_and_binary2(void **state)
{
    (void)state;
#define FIELDS                                                                                                                           \
    "<FIELD name='a' datatype='short'/><FIELD name='b' datatype='int'><VALUES null='77'/></FIELD><FIELD name='c' datatype='long'/>"     \
    "<FIELD name='d' datatype='float'/><FIELD name='e' datatype='double'/><FIELD name='f' datatype='char' arraysize='*'/>"             \
    "<FIELD name='g' datatype='unicodeChar' arraysize='2'/><FIELD name='h' datatype='boolean'/>"
    static const char binary[] =
        DOC("1.3", FIELDS,
            "<BINARY><STREAM encoding='base64'>AQL////+AAAAAAAAAAM/wAAAf/gAAAAAAAAAAAACYWIA6QA/VAAAAAAATQAAAAAAAAAAf8AAAAAA\nAAAAAAAAAAAAAAAAAAAg\n</STREAM></BINARY>");
    static const char binary2[] =
        DOC("1.4", FIELDS,
            "<BINARY2><STREAM encoding='base64'>AAEC/////gAAAAAAAAADP8AAAH/4AAAAAAAAAAAAAmFiAOkAP1T/AAAAAABNAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAFQ="
            "</STREAM></BINARY2>");
    for (size_t piece = 1; piece < 2000; piece = piece * 3 + 1) {
        struct seen s;
        struct error err;
        assert_int_equal(read_document(binary, piece, &s, &err), ERR_OK);
        assert_string_equal(s.text, "258|-2|3|1.5|~|ab|\xc3\xa9?|1|\n0|~|0|~|0|~|~|~|\n");
        assert_int_equal(read_document(binary2, piece, &s, &err), ERR_OK);
        assert_string_equal(s.text, "258|-2|3|1.5|~|ab|\xc3\xa9?|1|\n~|~|~|~|~|~|~|~|\n");
    }
}

static void test_votread__refuses_with_a_line(void **state)
{
    (void)state;
    static const struct {
        const char *doc, *words;
    } cases[] = {
        {"", "no element found"},
        {"<html/>", "no VOTable"},
        {"<VOTABLE><RESOURCE></RESOURCE></VOTABLE>", "no table"},
        {"<VOTABLE><RESOURCE>", "no element found"},
        {"<!DOCTYPE VOTABLE [<!ENTITY a 'x'>]><VOTABLE>&a;</VOTABLE>", "document type"},
        {DOC("1.4", "<FIELD name='a' datatype='int'/>", "<TABLEDATA><TR><TD>x</TD></TR></TABLEDATA>"), "'x' is no int"},
        {DOC("1.4", "<FIELD name='a' datatype='short'/>", "<TABLEDATA><TR><TD>40000</TD></TR></TABLEDATA>"), "'40000' is no short"},
        {DOC("1.4", "<FIELD name='a' datatype='int'/>", "<TABLEDATA><TR><TD>1</TD><TD>2</TD></TR></TABLEDATA>"), "more cells"},
        {DOC("1.4", "<FIELD name='a' datatype='thing'/>", ""), "no datatype"},
        {DOC("1.4", "<FIELD name='a' datatype='char' arraysize='9999999999999999999'/>", ""), "arraysize"},
        {DOC("1.4", "", "<TABLEDATA/>"), "no columns"},
        {DOC("1.4", "<FIELD name='a' datatype='int'/>", "<BINARY><STREAM encoding='base64'>AAA=</STREAM></BINARY>"), "middle of a row"},
        {DOC("1.4", "<FIELD name='a' datatype='int'/>", "<BINARY><STREAM encoding='base64'>A*A=</STREAM></BINARY>"), "not base64"},
        {DOC("1.4", "<FIELD name='a' datatype='int'/>", "<BINARY><STREAM href='file:///etc/passwd' encoding='base64'/></BINARY>"), "by reference"},
        {DOC("1.4", "<FIELD name='a' datatype='int'/>", "<BINARY><STREAM encoding='gzip'>AAAA</STREAM></BINARY>"), "encoding"},
        {DOC("1.4", "<FIELD name='a' datatype='char' arraysize='*'/>", "<BINARY><STREAM encoding='base64'>f////w==</STREAM></BINARY>"), "array of"},
        {DOC("1.4", "<FIELD name='a' datatype='int'/>", "<FITS extnum='1'/>"), "FITS"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct seen s;
        struct error err;
        assert_int_not_equal(read_document(cases[i].doc, 3, &s, &err), ERR_OK);
        if (!strstr(err.message, cases[i].words)) fail_msg("case %zu: '%s'", i, err.message);
    }
}

static void test_votread__depth_and_cells_have_ceilings(void **state)
{
    (void)state;
    struct seen s;
    struct error err;
    size_t size = 2 << 20;
    char *doc = malloc(size + 1000);
    strcpy(doc, "<VOTABLE>");
    for (int i = 0; i < 100; i++) strcat(doc, "<RESOURCE>");
    assert_int_equal(read_document(doc, 64, &s, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.message, "nested deeper"));
    strcpy(doc, "<VOTABLE><RESOURCE><TABLE><FIELD name='a' datatype='char' arraysize='*'/><DATA><TABLEDATA><TR><TD>");
    size_t n = strlen(doc);
    memset(doc + n, 'x', size);
    doc[n + size] = 0;
    assert_int_equal(read_document(doc, 5000, &s, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.message, "more than 1 MiB"));
    free(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_votread__tabledata),
        cmocka_unit_test(test_votread__binary_and_binary2),
        cmocka_unit_test(test_votread__refuses_with_a_line),
        cmocka_unit_test(test_votread__depth_and_cells_have_ceilings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
