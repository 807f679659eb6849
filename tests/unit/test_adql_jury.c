/* The jury over generated SQL convicts what it should: a list of crimes, and one innocent of each kind. */
#include "tests/support/check.h"

#include <string.h>

#include "catalog/adql.h"
#include "tests/catalog/sql_jury.h"

static const char *const relations[] = {"published_object", "tap_schema.columns", NULL};

static void need_jury(void)
{
    if (sql_jury_sits()) return;
    print_message("SKIPPED: built without libpg-query-dev\n");
    skip();
}

static void test_sql_jury__convicts(void **unused)
{
    (void)unused;
    need_jury();
    static const struct { const char *sql, *crime; } crimes[] = {
        {"SELECT 1; SELECT 2", "not one SELECT"}, {"DROP TABLE x", "not one SELECT"}, {"SELEC 1", "does not read"},
        {"SELECT t1.\"a\" FROM \"pg_authid\" AS t1", "relation 'pg_authid'"}, {"SELECT t1.\"a\" FROM \"other\".\"published_object\" AS t1", "relation"},
        {"SELECT pg_catalog.pg_sleep(10) FROM \"published_object\" AS t1", "function 'pg_catalog.pg_sleep'"}, {"SELECT sin(1) FROM \"published_object\" AS t1", "function 'sin'"},
        {"SELECT \"a\" FROM \"published_object\" AS t1", "without table"}, {"SELECT o.\"a\" FROM \"published_object\" AS o", "unnumbered"},
        {"SELECT t1.\"a\"::regclass FROM \"published_object\" AS t1", "type 'regclass'"}, {"SELECT t1.\"a\" ~ 'x' FROM \"published_object\" AS t1", NULL},
        {"SELECT t1.\"a\" @> 'x' FROM \"published_object\" AS t1", "operator '@>'"}, {"SELECT t1.\"a\" INTO x FROM \"published_object\" AS t1", "clause 'intoClause'"},
        {"SELECT t1.\"a\" FROM \"published_object\" AS t1 FOR UPDATE", "clause 'lockingClause'"}, {"SELECT $1 FROM \"published_object\" AS t1", "node 'ParamRef'"},
        {"SELECT CURRENT_USER FROM \"published_object\" AS t1", "node 'SQLValueFunction'"}, {"SELECT t1.a FROM generate_series(1, 3) AS t1", "node 'RangeFunction'"},
        {"WITH q1 AS (DELETE FROM \"published_object\" RETURNING 1) SELECT 1 FROM q1", "node 'DeleteStmt'"}};
    for (size_t i = 0; i < sizeof crimes / sizeof *crimes; i++) {
        char buf[600] = "";
        const char *verdict = sql_jury(crimes[i].sql, relations, buf, sizeof buf);
        if (!crimes[i].crime) {
            assert_null(verdict); /* ~ as a sign is also ~ between: the writer makes only the first */
            continue;
        }
        if (!verdict || !strstr(verdict, crimes[i].crime)) fail_msg("%s: %s, expected %s", crimes[i].sql, verdict ? verdict : "innocent", crimes[i].crime);
    }
}

static void test_sql_jury__lets_the_innocent_go(void **unused)
{
    (void)unused;
    need_jury();
    char buf[600];
    assert_null(sql_jury("WITH q1 AS (SELECT t1.\"ra\" AS c1 FROM \"published_object\" AS t1) SELECT pg_catalog.sin(t2.\"c1\") AS c1 FROM q1 AS t2 LIMIT 3", relations, buf, sizeof buf));
    assert_null(sql_jury("SELECT t1.\"size\" AS c1 FROM \"tap_schema\".\"columns\" AS t1 WHERE (t1.\"size\" IS NULL)", relations, buf, sizeof buf));
}

static void test_adql_translate__leaves_the_result_alone_on_failure(void **unused)
{
    (void)unused;
    struct schema *s = NULL;
    struct error err = ERROR_INIT;
    assert_int_equal(schema_load(&s, &err), ERR_OK);
    struct adql_options opt = {.maxrec = 10};
    struct adql_result r = {.ncol = 77};
    assert_int_equal(adql_translate("SELECT nope FROM object", s, &opt, &r, &err), ERR_USAGE);
    assert_string_equal(err.message, "line 1, column 8: no column 'nope'");
    assert_int_equal(r.ncol, 77);
    assert_int_equal(adql_translate("SELECT nope FROM object", s, &opt, &r, NULL), ERR_USAGE);
    assert_int_equal(adql_translate("SELECT TOP 3 ra FROM object", s, &opt, &r, &err), ERR_OK);
    assert_string_equal(r.sql, "SELECT t1.\"ra\" AS c1 FROM \"published_object\" AS t1 LIMIT 3");
    assert_int_equal(r.ncol, 1);
    assert_string_equal(r.columns[0].unit, "deg");
    assert_int_equal(r.top, 3);
    adql_release(&r);
    schema_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sql_jury__convicts), cmocka_unit_test(test_sql_jury__lets_the_innocent_go),
                                       cmocka_unit_test(test_adql_translate__leaves_the_result_alone_on_failure)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
