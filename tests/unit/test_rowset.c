#include "catalog/rowset.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>

struct heap {
    char *data;
    size_t size;
    bool refuse;
};

static bool keep(void *user, const char *data, size_t size)
{
    struct heap *h = user;
    if (h->refuse) return false;
    h->data = realloc(h->data, h->size + size + 1);
    assert_non_null(h->data);
    memcpy(h->data + h->size, data, size);
    h->size += size;
    h->data[h->size] = '\0';
    return true;
}

static const struct rowset_column columns[] = {
    {"id", ROWSET_LONG, "", "meta.id;meta.main", "ID_MAIN", "object", NULL, NULL},
    {"ra", ROWSET_DOUBLE, "deg", "pos.eq.ra;meta.main", "POS_EQ_RA_MAIN", "right ascension", NULL, NULL},
    {"name", ROWSET_TEXT, "", "meta.id", NULL, "a <name>", NULL, NULL},
    {"n", ROWSET_INT, "", "", NULL, "count", NULL, NULL},
    {"good", ROWSET_BOOL, "", "", NULL, "flag", NULL, NULL},
    {"at", ROWSET_TIMESTAMP, "", "", NULL, "when", NULL, NULL},
    {"err", ROWSET_FLOAT, "", "", NULL, "error", NULL, NULL},
};
#define N 7

#define ID    "\x00\x20\x00\x00\x00\x00\x00\x01" /* 2^53 + 1 */
#define QNAN  "\x7f\xf8\x00\x00\x00\x00\x00\x00"
#define INF   "\x7f\xf0\x00\x00\x00\x00\x00\x00"

static struct rowset_field text_field(const char *s) { return (struct rowset_field){s, (int32_t)strlen(s)}; }

static struct heap write_all(enum rowset_format format, bool overflow, const char *error)
{
    struct heap h = {0};
    struct error err = ERROR_INIT;
    struct rowset *r = NULL;
    const struct rowset_options opt = {.format = format, .columns = columns, .ncol = N, .scs = true, .table = "object", .description = "objects"};
    const struct rowset_field null = {NULL, -1};
    const struct rowset_field one[] = {{ID, 8}, {QNAN, 8}, text_field("a \"b\", <c> & d\x01"), {"\x00\x05", 2}, {"\x01", 1}, {"\0\0\0\0\0\0\0\0", 8}, {"\x3d\xcc\xcc\xcd", 4}};
    const struct rowset_field two[] = {{"\0\0\0\0\0\0\0\2", 8}, {INF, 8}, null, null, null, null, null};
    const struct rowset_field three[] = {{"\0\0\0\3", 4}, null, text_field(""), {"\x80\x00\x00\x01", 4}, {"\0", 1}, null, {"\x7f\xc0\x00\x00", 4}};
    assert_int_equal(rowset_new(&opt, keep, &h, &r, &err), ERR_OK);
    assert_int_equal(rowset_row(r, one, &err), ERR_OK);
    assert_int_equal(rowset_row(r, two, &err), ERR_OK);
    assert_int_equal(rowset_row(r, three, &err), ERR_OK);
    assert_int_equal(rowset_rows(r), 3);
    assert_int_equal(rowset_end(r, overflow, error, &err), ERR_OK);
    rowset_free(r);
    return h;
}

static void expect(enum rowset_format format, bool overflow, const char *const *parts, size_t n)
{
    struct heap h = write_all(format, overflow, NULL);
    for (size_t i = 0; i < n; i++)
        if (!strstr(h.data, parts[i])) fail_msg("no '%s' in:\n%s", parts[i], h.data);
    free(h.data);
}
#define EXPECT(format, overflow, ...) expect(format, overflow, (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static void test_rowset__csv_quotes_and_tells_null_from_empty(void **state)
{
    (void)state;
    struct heap h = write_all(ROWSET_CSV, false, NULL);
    assert_string_equal(h.data, "id,ra,name,n,good,at,err\r\n9007199254740993,NaN,\"a \"\"b\"\", <c> & d\x01\",5,t,2000-01-01T00:00:00,0.1\r\n"
                                "2,Infinity,,,,,\r\n3,,\"\",-2147483647,f,,NaN\r\n");
    free(h.data);
}

static void test_rowset__json_keeps_long_ids_and_has_no_nan(void **state)
{
    (void)state;
    EXPECT(ROWSET_JSON, true, "{\"id\": \"9007199254740993\", \"ra\": null, \"name\": \"a \\\"b\\\", <c> & d\\u0001\", \"n\": 5, \"good\": true", "\"overflow\": true");
}

static void test_rowset__votable_escapes_and_tells_overflow(void **state)
{
    (void)state;
    EXPECT(ROWSET_VOTABLE, true, "<FIELD name=\"id\" datatype=\"char\" arraysize=\"*\" ucd=\"ID_MAIN\">", "<TD>a &quot;b&quot;, &lt;c&gt; &amp; d?</TD>",
           "<TD>+Inf</TD><TD/><TD/><TD/><TD/>", "<TD>NaN</TD></TR>", "xtype=\"timestamp\"", "</TABLE>\n<INFO name=\"QUERY_STATUS\" value=\"OVERFLOW\"/>");
    struct heap h = write_all(ROWSET_BINARY2, false, "the server fell & broke");
    assert_non_null(strstr(h.data, "</BINARY2>\n</DATA>\n</TABLE>\n<INFO name=\"QUERY_STATUS\" value=\"ERROR\">the server fell &amp; broke</INFO>"));
    free(h.data);
}

static void test_rowset__fits_is_whole_blocks_and_tells_overflow(void **state)
{
    (void)state;
    struct heap h = write_all(ROWSET_FITS, true, NULL);
    assert_true(h.size % 2880 == 0 && h.size > 3 * 2880);
    assert_non_null(strstr(h.data, "NAXIS2  =                    3"));
    assert_non_null(strstr(h.data, "OVERFLOW=                    T"));
    free(h.data);
    h = write_all(ROWSET_FITS, false, "broke");
    assert_true(h.size == 0); /* a FITS file cannot say it: nothing is better than half */
    free(h.data);
}

static void test_rowset__wrong_values_and_a_reader_that_left(void **state)
{
    (void)state;
    struct heap h = {.refuse = true};
    struct error err = ERROR_INIT;
    struct rowset *r = NULL;
    const struct rowset_column one[] = {{"n", ROWSET_SHORT, "", "", NULL, "", NULL, NULL}};
    const struct rowset_options opt = {.format = ROWSET_CSV, .columns = one, .ncol = 1, .table = "t"};
    assert_int_equal(rowset_new(&opt, keep, &h, &r, &err), ERR_OK);
    assert_int_equal(rowset_row(r, (const struct rowset_field[]){{"\0\1\0\0", 4}}, &err), ERR_INTERNAL);
    assert_int_equal(rowset_row(r, (const struct rowset_field[]){{"abc", 3}}, &err), ERR_INTERNAL);
    enum err e = ERR_OK;
    for (int i = 0; i < 100000 && !e; i++) e = rowset_row(r, (const struct rowset_field[]){{"\0\0\0\1", 4}}, &err);
    assert_int_equal(e, ERR_INTERRUPTED);
    assert_int_equal(rowset_copy_row(r, "\0\2", 2, NULL, &err), ERR_INTERNAL);
    rowset_free(r);
}

static void test_rowset__formats_have_names(void **state)
{
    (void)state;
    enum rowset_format f;
    for (int i = 0; i < ROWSET_FORMATS; i++) {
        assert_true(rowset_format_of(rowset_format_name((enum rowset_format)i), &f));
        assert_int_equal(f, i);
    }
    assert_true(rowset_format_of("application/x-votable+xml; serialization=\"BINARY2\"", &f) && f == ROWSET_BINARY2);
    assert_false(rowset_format_of("parquet", &f));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rowset__csv_quotes_and_tells_null_from_empty),
        cmocka_unit_test(test_rowset__json_keeps_long_ids_and_has_no_nan),
        cmocka_unit_test(test_rowset__votable_escapes_and_tells_overflow),
        cmocka_unit_test(test_rowset__fits_is_whole_blocks_and_tells_overflow),
        cmocka_unit_test(test_rowset__wrong_values_and_a_reader_that_left),
        cmocka_unit_test(test_rowset__formats_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
