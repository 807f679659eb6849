#include "common/err.h"
#include "tests/support/check.h"

#include <string.h>

static void test_err__exit_codes_of_many(void **state)
{
    (void)state;
    enum err one[] = {ERR_CORRUPT};
    enum err mixed[] = {ERR_OK, ERR_CORRUPT, ERR_OK};
    enum err transient[] = {ERR_CORRUPT, ERR_IO, ERR_OK};
    enum err fenced[] = {ERR_INTERRUPTED, ERR_LEASE_LOST};
    enum err good[] = {ERR_OK, ERR_OK};
    assert_int_equal(err_exit_code_of_many(one, 1), 10);
    assert_int_equal(err_exit_code_of_many(mixed, 3), 3);
    assert_int_equal(err_exit_code_of_many(transient, 3), 20);
    assert_int_equal(err_exit_code_of_many(fenced, 2), 77);
    assert_int_equal(err_exit_code_of_many(good, 2), 0);
}

static void test_err__line_names_file_hdu_cause_and_cure(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    char line[1024];
    assert_int_equal(ERROR(&err, ERR_CORRUPT, "cannot decode tile %d\n", 7), ERR_CORRUPT);
    error_subject(&err, "a.fits", 2);
    error_subject(&err, "b.fits", 3); /* the lower function's word stays */
    error_hint(&err, "copy it again");
    error_line(&err, line, sizeof line);
    assert_string_equal(line, "a.fits[HDU 2]: cannot decode tile 7?; copy it again");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_err__exit_codes_of_many),
        cmocka_unit_test(test_err__line_names_file_hdu_cause_and_cure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
