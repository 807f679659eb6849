#include "pipeline/provenance.h"
#include "tests/support/check.h"

#include <string.h>

#include "common/skycoord.h"

static struct header tan_header(double crpix1, double crpix2)
{
    struct header h = {0};
    header_set_int(&h, "NAXIS", 2, NULL);
    header_set_int(&h, "NAXIS1", 100, NULL);
    header_set_int(&h, "NAXIS2", 80, NULL);
    header_set_str(&h, "CTYPE1", "RA---TAN", NULL);
    header_set_str(&h, "CTYPE2", "DEC--TAN", NULL);
    header_set_double(&h, "CRPIX1", crpix1, NULL);
    header_set_double(&h, "CRPIX2", crpix2, NULL);
    header_set_double(&h, "CRVAL1", 150, NULL);
    header_set_double(&h, "CRVAL2", 20, NULL);
    header_set_double(&h, "CD1_1", -1e-4, NULL);
    header_set_double(&h, "CD1_2", 2e-5, NULL);
    header_set_double(&h, "CD2_1", 3e-5, NULL);
    header_set_double(&h, "CD2_2", 1.1e-4, NULL);
    return h;
}

/* The sky of a raw pixel is the sky of the trimmed pixel it went to. */
static void check_shift(bool flip_x, bool flip_y)
{
    struct header raw = tan_header(40, 30), trimmed = {0};
    struct exposure_meta m = {.namp = 1};
    m.amp[0] = (struct amp){.data = {10, 90, 5, 75}, .dest = {0, 80, 0, 70}, .flip_x = flip_x, .flip_y = flip_y};
    assert_int_equal(header_copy(&trimmed, &raw, NULL), ERR_OK);
    assert_int_equal(provenance_shift_wcs(&trimmed, &m, NULL), ERR_OK);
    struct skycoord *a = NULL, *b = NULL;
    assert_int_equal(skycoord_new(&raw, &a, NULL), ERR_OK);
    assert_int_equal(skycoord_new(&trimmed, &b, NULL), ERR_OK);
    for (int i = 0; i < 3; i++) {
        double x = 12 + 30 * i, y = 8 + 20 * i, ra, dec, ra2, dec2; /* 0-based, raw */
        double tx = flip_x ? 89 - x : x - 10, ty = flip_y ? 74 - y : y - 5;
        assert_int_equal(skycoord_to_sky(a, 1, &x, &y, &ra, &dec, NULL), ERR_OK);
        assert_int_equal(skycoord_to_sky(b, 1, &tx, &ty, &ra2, &dec2, NULL), ERR_OK);
        assert_close(ra2, ra, 1e-10);
        assert_close(dec2, dec, 1e-10);
    }
    skycoord_free(a);
    skycoord_free(b);
    header_release(&raw);
    header_release(&trimmed);
}

static void test_provenance__wcs_follows_the_trim(void **state)
{
    (void)state;
    check_shift(false, false);
    check_shift(true, false);
    check_shift(false, true);
    check_shift(true, true);
}

static void test_provenance__wcs_in_trimmed_pixels_stays(void **state)
{
    (void)state;
    struct header h = tan_header(40, 30);
    struct exposure_meta m = {.namp = 1, .wcs_in_trimmed = true};
    double crpix;
    m.amp[0] = (struct amp){.data = {10, 90, 5, 75}, .dest = {0, 80, 0, 70}};
    assert_int_equal(provenance_shift_wcs(&h, &m, NULL), ERR_OK);
    assert_true(header_get_double(&h, "CRPIX1", &crpix));
    assert_close(crpix, 40, 0);
    header_release(&h);
}

static void test_provenance__distortion_that_cannot_be_turned_is_removed(void **state)
{
    (void)state;
    struct header h = tan_header(40, 30);
    struct exposure_meta m = {.namp = 1};
    header_set_int(&h, "A_ORDER", 2, NULL);
    m.amp[0] = (struct amp){.data = {10, 90, 5, 75}, .dest = {0, 80, 0, 70}, .flip_x = true};
    assert_int_equal(provenance_shift_wcs(&h, &m, NULL), ERR_OK);
    assert_false(header_has(&h, "CRPIX1"));
    assert_false(header_has(&h, "CD1_1"));
    assert_false(header_has(&h, "A_ORDER"));
    assert_true(header_has(&h, "HISTORY"));
    header_release(&h);
}

static void test_provenance__cards_of_the_raw_array_go(void **state)
{
    (void)state;
    struct header h = {0};
    header_set_str(&h, "TRIMSEC", "[1:10,1:10]", NULL);
    header_set_str(&h, "BIASSEC1", "[1:10,1:10]", NULL);
    header_set_double(&h, "BZERO", 32768, NULL);
    header_set_double(&h, "GAIN", 2.1, NULL);
    header_set_str(&h, "OBJECT", "M13", NULL);
    header_set_double(&h, "GAINFOO", 1, NULL);
    provenance_strip_raw(&h);
    assert_int_equal(h.n, 1);
    assert_true(header_has(&h, "OBJECT"));
    header_release(&h);
}

static void test_provenance__dither_seed_comes_from_the_exposure(void **state)
{
    (void)state;
    struct exposure_meta m = {.ccd = 3};
    char id[192];
    snprintf(m.instrument, sizeof m.instrument, "cam");
    snprintf(m.exposure_id, sizeof m.exposure_id, "e1");
    assert_string_equal(exposure_identity(id, sizeof id, &m, "abc"), "cam/e1");
    int seed = dither_seed(id, 3);
    assert_true(seed >= 1 && seed <= 10000);
    assert_int_equal(dither_seed(id, 3), seed);
    assert_int_not_equal(dither_seed(id, 4), seed);
    m.exposure_id[0] = 0;
    snprintf(m.date_obs, sizeof m.date_obs, "2025-05-30T03:44:00");
    assert_string_equal(exposure_identity(id, sizeof id, &m, "0123456789abcdef0123"), "cam/2025-05-30T03:44:00/0123456789abcdef");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_provenance__wcs_follows_the_trim),
        cmocka_unit_test(test_provenance__wcs_in_trimmed_pixels_stays),
        cmocka_unit_test(test_provenance__distortion_that_cannot_be_turned_is_removed),
        cmocka_unit_test(test_provenance__cards_of_the_raw_array_go),
        cmocka_unit_test(test_provenance__dither_seed_comes_from_the_exposure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
