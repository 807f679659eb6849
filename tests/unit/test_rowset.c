#include "catalog/rowset.h"
#include "tests/support/check.h"

#include <string.h>

static char text[8192];

static bool keep(void *user, const char *data, size_t size)
{
    (void)user;
    strncat(text, data, size);
    return true;
}

static const struct rowset_column columns[] = {
    {"id", ROWSET_LONG, "", "meta.id;meta.main", "ID_MAIN", "object"},
    {"ra", ROWSET_DOUBLE, "deg", "pos.eq.ra;meta.main", "POS_EQ_RA_MAIN", "right ascension"},
    {"name", ROWSET_CHAR, "", "meta.id", NULL, "a <name>"},
};

static void write_all(enum rowset_format format, bool overflow)
{
    const char *one[] = {"9007199254740993", "NaN", "a \"b\", <c> & d\x01"}, *two[] = {"2", "Infinity", NULL};
    struct rowset r = {.sink = keep, .format = format, .columns = columns, .ncol = 3, .scs = true};
    text[0] = 0;
    rowset_begin(&r, "object", "objects");
    rowset_row(&r, one);
    rowset_row(&r, two);
    rowset_end(&r, overflow, NULL);
    assert_int_equal(r.rows, 2);
}

static void test_rowset__csv_quotes_and_leaves_null_empty(void **state)
{
    (void)state;
    write_all(ROWSET_CSV, false);
    assert_string_equal(text, "id,ra,name\r\n9007199254740993,NaN,\"a \"\"b\"\", <c> & d\x01\"\r\n2,Infinity,\r\n");
}

static void test_rowset__json_keeps_long_ids_and_has_no_nan(void **state)
{
    (void)state;
    write_all(ROWSET_JSON, true);
    assert_non_null(strstr(text, "{\"id\": \"9007199254740993\", \"ra\": null, \"name\": \"a \\\"b\\\", <c> & d\\u0001\"}"));
    assert_non_null(strstr(text, "\"overflow\": true"));
}

static void test_rowset__votable_escapes_and_tells_overflow(void **state)
{
    (void)state;
    write_all(ROWSET_VOTABLE, true);
    assert_non_null(strstr(text, "<FIELD name=\"id\" datatype=\"char\" arraysize=\"*\" ucd=\"ID_MAIN\">"));
    assert_non_null(strstr(text, "<TD>a &quot;b&quot;, &lt;c&gt; &amp; d?</TD>"));
    assert_non_null(strstr(text, "<TD>+Inf</TD><TD/>"));
    assert_true(strstr(text, "OVERFLOW") > strstr(text, "</TABLE>"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rowset__csv_quotes_and_leaves_null_empty),
        cmocka_unit_test(test_rowset__json_keeps_long_ids_and_has_no_nan),
        cmocka_unit_test(test_rowset__votable_escapes_and_tells_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
