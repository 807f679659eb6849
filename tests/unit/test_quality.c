#include "pipeline/quality.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>

#include "common/stats.h"

static void test_quality__sky_and_fractions(void **state)
{
    (void)state;
    struct frame f;
    struct quality q = {0};
    struct philox p;
    frame_init(&f);
    philox_init(&p, 9, 0);
    print_message("seed 9\n");
    assert_int_equal(frame_alloc(&f, 200, 100, FRAME_ALL, NULL), ERR_OK);
    for (int i = 0; i < 20000; i++) f.sci[i] = (float)(150 + 12 * philox_normal(&p));
    for (int i = 0; i < 2000; i++) f.sci[i] = 1e6f, f.mask[i] = MASK_SATURATED;
    assert_int_equal(quality_of_planes(&f, &q, NULL), ERR_OK);
    assert_close(q.sky, 150, 0.6); /* 5 sigma of a median of 18,000 */
    assert_close(q.sky_sigma, 12, 0.5);
    assert_close(q.masked, 0.1, 1e-9);
    assert_close(q.saturated, 0.1, 1e-9);
    frame_release(&f);
}

static void test_quality__verdicts_have_reasons(void **state)
{
    (void)state;
    struct quality q = {.sky = 100, .sky_sigma = 10, .seeing_px = 4, .stars = 50, .ellipticity = 0.05};
    quality_judge(&q, 30);
    assert_int_equal(q.verdict, VERDICT_PASS);
    assert_string_equal(q.reasons, "");
    assert_close(q.depth_flux, 5 * 10 * 1.7724538509 * 4, 1e-6);
    q.stars = 1;
    q.masked = 0.3;
    quality_judge(&q, 30);
    assert_int_equal(q.verdict, VERDICT_DOUBT);
    assert_non_null(strstr(q.reasons, "few stars"));
    assert_non_null(strstr(q.reasons, "masked"));
    q.sky = NAN;
    quality_judge(&q, 30);
    assert_int_equal(q.verdict, VERDICT_REJECT);
}

static void test_quality__row_is_written_whole_with_nulls(void **state)
{
    (void)state;
    char *folder = test_make_folder(), *path = NULL, text[4096] = "";
    struct quality q = {.sky = 1.5, .seeing_px = NAN, .verdict = VERDICT_PASS};
    struct quality_row row = {.product = "p", .raw = "r\xff", .instrument = "i", .filter = "g", .object = "", .night = 20250529, .mjd_mid = NAN};
    assert_true(asprintf(&path, "%s/a/b.json", folder) > 0);
    assert_int_equal(quality_write(path, &row, &q, NULL), ERR_OK);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_true(fread(text, 1, sizeof text - 1, f) > 0);
    fclose(f);
    assert_non_null(strstr(text, "\"sky_electron\": 1.5"));
    assert_non_null(strstr(text, "\"seeing_pixel\": null"));
    assert_non_null(strstr(text, "\"raw\": null")); /* not UTF-8 */
    free(path);
    test_remove_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quality__sky_and_fractions),
        cmocka_unit_test(test_quality__verdicts_have_reasons),
        cmocka_unit_test(test_quality__row_is_written_whole_with_nulls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
