#include "processors/overscan.h"
#include "tests/support/check.h"

#include <string.h>

static struct amp plain_amp(void)
{
    return (struct amp){.name = "A", .data = {2, 6, 0, 3}, .overscan = {6, 10, 0, 3}, .dest = {0, 4, 0, 3},
                        .gain_e_per_adu = 1, .rdnoise_e = 5, .saturate_adu = NAN};
}

static void test_overscan__level_is_the_clipped_mean_of_the_row(void **state)
{
    (void)state;
    uint16_t pixels[] = {9, 9, 1, 1, 1, 1, 100, 101, 102, 5000,  /* one cosmic ray in the overscan */
                         9, 9, 1, 1, 1, 1, 200, 200, 200, 201};
    struct raw_rows raw = {.nx = 10, .y0 = 0, .y1 = 2, .u16 = pixels};
    struct amp a = plain_amp();
    assert_close(overscan_level(&raw, &a, 0), 101, 1e-6);
    assert_close(overscan_level(&raw, &a, 1), 200.25, 1e-6);
    a.overscan = (struct section){0};
    assert_close(overscan_level(&raw, &a, 0), 0, 0);
}

static void test_overscan__blank_overscan_is_nan(void **state)
{
    (void)state;
    float pixels[] = {0, 0, 1, 1, 1, 1, NAN, NAN, NAN, INFINITY};
    struct raw_rows raw = {.nx = 10, .y0 = 7, .y1 = 8, .f32 = pixels};
    struct amp a = plain_amp();
    assert_true(isnan(overscan_level(&raw, &a, 7)));
}

static void test_overscan__flips_map_rows_and_columns(void **state)
{
    (void)state;
    uint16_t pixels[] = {0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15};
    struct raw_rows raw = {.nx = 6, .y0 = 0, .y1 = 2, .u16 = pixels};
    struct amp a = {.data = {1, 5, 0, 2}, .dest = {3, 7, 8, 10}, .flip_x = true, .flip_y = true};
    struct amp_run run;
    amps_unflip(&raw, &a, 1);
    assert_int_equal(pixels[1], 4);
    assert_int_equal(pixels[4], 1);
    assert_int_equal(pixels[0], 0); /* outside the data section nothing moves */
    assert_true(amp_run_of_row(&a, 8, &run));
    assert_int_equal(run.raw_y, 1);
    assert_int_equal(run.dest_x, 3);
    assert_int_equal(run.n, 4);
    assert_false(amp_run_of_row(&a, 10, &run));
    int64_t y0, y1;
    amps_raw_rows(&a, 1, 8, 9, &y0, &y1);
    assert_int_equal(y0, 1);
    assert_int_equal(y1, 2);
}

static void test_overscan__sections_that_do_not_fit_are_named(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct amp a = plain_amp(), two[2];
    assert_int_equal(amps_verify(&a, 1, 10, 3, 4, 3, &err), ERR_OK);
    assert_int_equal(amps_verify(&a, 1, 5, 3, 4, 3, &err), ERR_SHAPE);
    assert_non_null(strstr(err.message, "'A'"));
    a.dest.x1 = 5;
    assert_int_equal(amps_verify(&a, 1, 10, 3, 8, 3, &err), ERR_SHAPE);
    two[0] = two[1] = plain_amp();
    assert_int_equal(amps_verify(two, 2, 10, 3, 4, 3, &err), ERR_SHAPE);
    assert_int_equal(amps_verify(two, 0, 10, 3, 4, 3, NULL), ERR_SHAPE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_overscan__level_is_the_clipped_mean_of_the_row),
        cmocka_unit_test(test_overscan__blank_overscan_is_nan),
        cmocka_unit_test(test_overscan__flips_map_rows_and_columns),
        cmocka_unit_test(test_overscan__sections_that_do_not_fit_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
