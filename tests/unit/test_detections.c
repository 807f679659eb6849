#include "common/detections.h"
#include "tests/support/check.h"

#include <string.h>

static void test_detections__columns_are_aligned_zero_and_apart(void **state)
{
    (void)state;
    struct detections d;
    struct error err;
    detections_init(&d);
    assert_int_equal(detections_alloc(&d, 3, 2, 1, 5, 3, &err), ERR_OK);
    assert_int_equal(d.n, 3);
    assert_int_equal((uintptr_t)d.x % 64, 0);
    assert_int_equal((uintptr_t)d.flags % 64, 0);
    assert_true(d.xwin[2] == 0.0 && d.flux_aper[5] == 0.0f && d.vignet[44] == 0.0f);
    for (int i = 0; i < 3; i++) d.number[i] = i + 1;
    assert_true(d.x[0] == 0.0);
    detections_release(&d);
    assert_null(d.x);
}

static void test_detections__absurd_sizes_are_refused(void **state)
{
    (void)state;
    struct detections d;
    struct error err;
    detections_init(&d);
    assert_int_equal(detections_alloc(&d, INT64_MAX, 1, 1, 0, 0, &err), ERR_NOMEM);
    assert_int_equal(detections_alloc(&d, 1, 1, 1, 70000, 70000, &err), ERR_SHAPE);
    assert_int_equal(detections_alloc(&d, -1, 1, 1, 0, 0, NULL), ERR_SHAPE);
    assert_int_equal(detections_alloc(&d, 0, 0, 0, 0, 0, &err), ERR_OK);
    detections_release(&d);
}

static void test_detections__names(void **state)
{
    (void)state;
    assert_int_equal(detection_column_find("FLUX_APER(3)"), DET_flux_aper);
    assert_int_equal(detection_column_find("flux_aper[3]"), DET_flux_aper);
    assert_int_equal(detection_column_find("xwin_image"), DET_xwin);
    assert_int_equal(detection_column_find("FLUX"), -1);
    assert_int_equal(detection_column_find(""), -1);
    for (int c = 0; c < DETECTION_COLUMN_COUNT; c++) assert_int_equal(detection_column_find(detection_column_name(c)), c);
}

static void test_detections__described_for_the_table(void **state)
{
    (void)state;
    struct detections d;
    struct column col[4];
    detections_init(&d);
    assert_int_equal(detections_alloc(&d, 2, 3, 1, 4, 2, NULL), ERR_OK);
    const enum detection_column which[] = {DET_flags, DET_flux_aper, DET_vignet, DET_flux_radius};
    detections_columns(&d, which, 4, "electron", col);
    assert_int_equal(col[0].type, COLUMN_I16); /* PSFEx reads two bytes */
    assert_string_equal(col[1].unit, "electron");
    assert_int_equal(col[1].repeat, 3);
    assert_int_equal(col[2].repeat, 8);
    assert_string_equal(col[2].dim, "(4,2)");
    assert_string_equal(col[3].unit, "pixel");
    assert_ptr_equal(col[1].data, d.flux_aper);
    detections_release(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_detections__columns_are_aligned_zero_and_apart),
        cmocka_unit_test(test_detections__absurd_sizes_are_refused),
        cmocka_unit_test(test_detections__names),
        cmocka_unit_test(test_detections__described_for_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
