#include "pipeline/quality.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/products.h"
#include "common/stats.h"

static void test_quality__sky_and_fractions(void **state)
{
    (void)state;
    struct frame f;
    struct quality q;
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
    struct quality q;
    struct quality_limits l = {.masked_doubt = 0.2, .masked_reject = 0.9, .saturated_doubt = 0.05, .saturated_reject = 0.5, .stars_few = 3,
                               .ellipticity_doubt = 0.3, .astrometry_doubt = 0.5, .zeropoint_doubt = 0.05};
    quality_init(&q);
    q.sky = 100, q.sky_sigma = 10, q.seeing_px = 4, q.stars = 50, q.ellipticity = 0.05;
    quality_judge(&q, &l, 30);
    assert_int_equal(q.verdict, VERDICT_PASS);
    assert_string_equal(q.reasons, "");
    assert_close(q.depth_flux, 5 * 10 * 1.7724538509 * 4, 1e-6);
    q.stars = 1;
    q.masked = 0.3;
    quality_judge(&q, &l, 30);
    assert_int_equal(q.verdict, VERDICT_DOUBT);
    assert_non_null(strstr(q.reasons, "few stars"));
    assert_non_null(strstr(q.reasons, "masked"));
    q.sky = NAN;
    quality_judge(&q, &l, 30);
    assert_int_equal(q.verdict, VERDICT_REJECT);
    assert_true(q.blind);
}

/* Each limit alone turns the verdict, and a limit of 0 is none. */
static void test_quality__each_limit_counts(void **state)
{
    (void)state;
    const struct quality_limits none = {.masked_doubt = 1, .masked_reject = 1, .saturated_doubt = 1, .saturated_reject = 1};
    const struct {
        struct quality_limits l;
        enum verdict verdict;
        const char *reason;
    } limit[] = {
        {{.masked_doubt = 0.01, .masked_reject = 1, .saturated_doubt = 1, .saturated_reject = 1}, VERDICT_DOUBT, "masked"},
        {{.masked_doubt = 0.01, .masked_reject = 0.05, .saturated_doubt = 1, .saturated_reject = 1}, VERDICT_REJECT, "masked"},
        {{.masked_doubt = 1, .masked_reject = 1, .saturated_doubt = 0.01, .saturated_reject = 1}, VERDICT_DOUBT, "saturated"},
        {{.masked_doubt = 1, .masked_reject = 1, .saturated_doubt = 0.01, .saturated_reject = 0.02}, VERDICT_REJECT, "saturated"},
#define OTHERS .masked_doubt = 1, .masked_reject = 1, .saturated_doubt = 1, .saturated_reject = 1
        {{OTHERS, .stars_few = 51}, VERDICT_DOUBT, "few stars"},
        {{OTHERS, .ellipticity_doubt = 0.04}, VERDICT_DOUBT, "round"},
        {{OTHERS, .ellipticity_doubt = 0.04, .ellipticity_reject = 0.045}, VERDICT_REJECT, "round"},
        {{OTHERS, .seeing_doubt = 1.5}, VERDICT_DOUBT, "seeing"},
        {{OTHERS, .seeing_doubt = 1, .seeing_reject = 1.5}, VERDICT_REJECT, "seeing"},
        {{OTHERS, .sky_doubt = 99}, VERDICT_DOUBT, "sky"},
        {{OTHERS, .depth_doubt = 26}, VERDICT_DOUBT, "shallow"},
        {{OTHERS, .astrometry_doubt = 0.2}, VERDICT_DOUBT, "astrometry is rough"},
        {{OTHERS, .zeropoint_doubt = 0.01}, VERDICT_DOUBT, "zero point"},
#undef OTHERS
    };
    struct quality q;
    struct header h = {0};
    quality_init(&q);
    q.sky = 100, q.sky_sigma = 10, q.seeing_px = 4, q.seeing_arcsec = 1.6, q.scale_arcsec = 0.4, q.stars = 50, q.ellipticity = 0.05;
    q.masked = 0.1, q.saturated = 0.03;
    header_set_str(&h, KEY_ASTROM_STATUS, "good", NULL);
    header_set_double(&h, KEY_ASTROM_RMS, 0.1, NULL);
    header_set_int(&h, KEY_ASTROM_STARS, 500, NULL);
    header_set_double(&h, KEY_MAGZERO, 25, NULL);
    header_set_double(&h, KEY_MAGZERO_ERR, 0.02, NULL);
    quality_of_cards(&h, &q);
    assert_close(q.astrom_rms_px, 0.25, 1e-12);
    assert_int_equal(q.astrom_stars, 500);
    assert_true(isnan(q.magzero)); /* a card of the telescope: MAGZKIND is what says that it is ours */
    header_set_str(&h, KEY_MAGZERO_KIND, "absolute", NULL);
    quality_of_cards(&h, &q);
    assert_close(q.magzero, 25, 1e-12);
    quality_judge(&q, &none, 30);
    assert_int_equal(q.verdict, VERDICT_PASS);
    for (size_t i = 0; i < sizeof limit / sizeof limit[0]; i++) {
        quality_judge(&q, &limit[i].l, 30);
        assert_int_equal(q.verdict, limit[i].verdict);
        assert_non_null(strstr(q.reasons, limit[i].reason));
        assert_int_equal(q.blind, limit[i].verdict == VERDICT_REJECT && i < 4); /* pixels, not stars or seeing */
    }
    strcpy(q.astrom_status, "failed");
    quality_judge(&q, &none, 30);
    assert_int_equal(q.verdict, VERDICT_DOUBT);
    assert_non_null(strstr(q.reasons, "no astrometric solution"));
    header_release(&h);
}

static void test_quality__row_is_written_whole_with_nulls(void **state)
{
    (void)state;
    char *folder = test_make_folder(), *path = NULL, text[4096] = "";
    struct quality q;
    quality_init(&q);
    q.sky = 1.5;
    struct quality_row row = {.product = "p", .raw = "r\xff", .instrument = "i", .filter = "g", .object = "", .night = 20250529, .mjd_mid = NAN};
    assert_true(asprintf(&path, "%s/a/b.json", folder) > 0);
    assert_int_equal(quality_write(path, &row, &q, NULL), ERR_OK);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_true(fread(text, 1, sizeof text - 1, f) > 0);
    fclose(f);
    assert_non_null(strstr(text, "\"sky_electron\": 1.5"));
    assert_non_null(strstr(text, "\"seeing_pixel\": null"));
    assert_non_null(strstr(text, "\"astrom_status\": null"));
    assert_non_null(strstr(text, "\"magzero\": null"));
    assert_non_null(strstr(text, "\"raw\": null")); /* not UTF-8 */
    free(path);
    test_remove_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quality__sky_and_fractions),
        cmocka_unit_test(test_quality__verdicts_have_reasons),
        cmocka_unit_test(test_quality__each_limit_counts),
        cmocka_unit_test(test_quality__row_is_written_whole_with_nulls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
