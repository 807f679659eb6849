#include "common/calibset.h"
#include "common/products.h"
#include "tests/support/check.h"

#include <string.h>

static struct calib calib(enum frame_type kind, int id, const char *filter, double exptime_s, double mjd, double temp)
{
    struct calib c = {.kind = kind, .instrument = "arcsat", .ccd = 1, .binning_x = 1, .binning_y = 1, .nx = 100, .ny = 90,
                      .exptime_s = exptime_s, .mjd = mjd, .ccd_temp_c = temp, .nframes = 3, .id = id};
    snprintf(c.filter, sizeof c.filter, "%s", filter);
    return c;
}

static struct exposure_meta light(void)
{
    return (struct exposure_meta){.instrument = "arcsat", .filter = "g", .type = FRAME_LIGHT, .ccd = 1, .binning_x = 1, .binning_y = 1,
                                  .nx = 100, .ny = 90, .exptime_s = 30, .darktime_s = 30, .mjd_mid = 60000, .ccd_temp_c = -25};
}

static void test_calibset__darks_by_temperature_exposure_time_and_id(void **state)
{
    (void)state;
    char why[200];
    struct exposure_meta e = light();
    struct calib c[] = {calib(FRAME_DARK, 5, "", 30, 60000, -10), calib(FRAME_DARK, 4, "", 60, 60000, -25),
                        calib(FRAME_DARK, 3, "", 30, 60003, NAN), calib(FRAME_DARK, 2, "", 30, 60002, -25.5),
                        calib(FRAME_DARK, 1, "", 30.01, 60002, -24.5)};
    assert_int_equal(calib_choose(FRAME_DARK, &e, c, 5, why), 4);
    assert_int_equal(calib_choose(FRAME_DARK, &e, c, 4, why), 3);
    assert_int_equal(calib_choose(FRAME_DARK, &e, c, 3, why), 2);
    assert_int_equal(calib_choose(FRAME_DARK, &e, c, 2, why), 1);
    assert_int_equal(calib_choose(FRAME_DARK, &e, c, 1, why), 0);
}

static void test_calibset__the_reason_names_the_nearest(void **state)
{
    (void)state;
    char why[200];
    struct exposure_meta e = light();
    struct calib c[] = {calib(FRAME_FLAT, 1, "r", 1, 60000, -25), calib(FRAME_BIAS, 2, "", 0, NAN, NAN)};
    assert_int_equal(calib_choose(FRAME_FLAT, &e, c, 2, why), -1);
    assert_string_equal(why, "no flat of filter 'g' (nearest is of 'r')");
    assert_int_equal(calib_choose(FRAME_DARK, &e, c, 2, why), -1);
    assert_string_equal(why, "there is no dark");
    assert_int_equal(calib_choose(FRAME_BIAS, &e, c, 2, why), 1);
    c[1].nx = 50;
    assert_int_equal(calib_choose(FRAME_BIAS, &e, c, 2, why), -1);
    assert_string_equal(why, "no bias of 100x90 pixels (nearest has 50x90)");
    assert_int_equal(calib_choose(FRAME_BIAS, &e, NULL, 0, why), -1);
}

static void test_calibset__groups(void **state)
{
    (void)state;
    struct exposure_meta a = light(), b = light();
    assert_true(calib_same_group(&a, &b));
    b.exptime_s = 31;
    assert_false(calib_same_group(&a, &b));
    a.type = b.type = FRAME_FLAT;
    assert_true(calib_same_group(&a, &b));
    strcpy(b.filter, "G"); /* header writers do not agree on case */
    assert_true(calib_same_group(&a, &b));
    strcpy(b.filter, "r");
    assert_false(calib_same_group(&a, &b));
    a.type = b.type = FRAME_BIAS;
    assert_true(calib_same_group(&a, &b));
    b.binning_x = 2;
    assert_false(calib_same_group(&a, &b));
}

static void test_products__paths(void **state)
{
    (void)state;
    char buf[200];
    assert_string_equal(product_stem(buf, sizeof buf, "/a/b.c/x.y.FITS.fz"), "x.y");
    assert_string_equal(product_stem(buf, sizeof buf, "x.fit.bz2"), "x");
    assert_string_equal(product_stem(buf, sizeof buf, "x.fts"), "x");
    assert_string_equal(product_stem(buf, sizeof buf, ".fits"), ".fits");
    assert_string_equal(product_path(buf, sizeof buf, 20250530, "arcsat", "x", 0, 1, "cat.fits"), "20250530/arcsat/x_cat.fits");
    assert_string_equal(product_path(buf, sizeof buf, 20250530, "simcam", "x", 7, 64, "cal.fits.fz"), "20250530/simcam/x_ccd07_cal.fits.fz");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calibset__darks_by_temperature_exposure_time_and_id),
        cmocka_unit_test(test_calibset__the_reason_names_the_nearest),
        cmocka_unit_test(test_calibset__groups),
        cmocka_unit_test(test_products__paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
