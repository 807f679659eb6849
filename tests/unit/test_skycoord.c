#include "common/skycoord.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>

static void add(struct header *h, const char *text)
{
    char card[CARD_LENGTH];
    memset(card, ' ', sizeof card);
    memcpy(card, text, strlen(text));
    assert_int_equal(header_append_card(h, card), ERR_OK);
}

static void tan_header(struct header *h)
{
    header_init(h);
    header_set_str(h, "CTYPE1", "RA---TAN", NULL);
    header_set_str(h, "CTYPE2", "DEC--TAN", NULL);
    header_set_double(h, "CRPIX1", 100, NULL);
    header_set_double(h, "CRPIX2", 50, NULL);
    header_set_double(h, "CRVAL1", 30, NULL);
    header_set_double(h, "CRVAL2", 60, NULL);
    header_set_double(h, "CD1_1", -1e-4, NULL);
    header_set_double(h, "CD1_2", 0, NULL);
    header_set_double(h, "CD2_1", 0, NULL);
    header_set_double(h, "CD2_2", 1e-4, NULL);
}

static enum err open_header(struct header *h, struct skycoord **s, struct error *err)
{
    enum err rc = skycoord_new(h, s, err);
    header_release(h);
    return rc;
}

static void test_skycoord__reference_pixel_is_zero_based(void **state)
{
    (void)state;
    struct header h;
    struct skycoord *s = NULL;
    double x = 99, y = 49, ra, dec, j[4];
    tan_header(&h);
    assert_int_equal(open_header(&h, &s, NULL), ERR_OK);
    skycoord_to_sky(s, 1, &x, &y, &ra, &dec, NULL);
    assert_close(ra, 30, 1e-12);
    assert_close(dec, 60, 1e-12);
    assert_int_equal(skycoord_jacobian(s, 99, 49, j, NULL), ERR_OK);
    assert_close(j[0], -1e-4, 1e-12);
    assert_close(j[3], 1e-4, 1e-12);
    assert_close(skycoord_scale_arcsec(s, 99, 49), 0.36, 1e-8);
    skycoord_free(s);
}

static void test_skycoord__numbers_in_quotes_are_read(void **state)
{
    (void)state;
    struct header h;
    struct skycoord *s = NULL;
    double x = 99, y = 49, ra, dec;
    tan_header(&h);
    header_set_str(&h, "CRVAL1", "31.5", NULL);
    header_set_str(&h, "EQUINOX", "J2000.0", NULL);
    header_set_str(&h, "RADESYS", "ICRS", NULL);
    assert_int_equal(open_header(&h, &s, NULL), ERR_OK);
    skycoord_to_sky(s, 1, &x, &y, &ra, &dec, NULL);
    assert_close(ra, 31.5, 1e-12);
    skycoord_free(s);
}

static void test_skycoord__nothing_celestial_is_not_found(void **state)
{
    (void)state;
    struct header h;
    struct skycoord *s = NULL;
    header_init(&h);
    assert_int_equal(open_header(&h, &s, NULL), ERR_NOT_FOUND);
    header_init(&h);
    header_set_str(&h, "CTYPE1", "LINEAR", NULL);
    header_set_str(&h, "CTYPE2", "LINEAR", NULL);
    header_set_double(&h, "CDELT1", 1, NULL);
    assert_int_equal(open_header(&h, &s, NULL), ERR_NOT_FOUND);
}

static void test_skycoord__refused_with_a_reason(void **state)
{
    (void)state;
    struct header h;
    struct skycoord *s = NULL;
    struct error err = ERROR_INIT;
    tan_header(&h);
    header_set_str(&h, "CTYPE1", "RA---TAB", NULL);
    assert_int_equal(open_header(&h, &s, &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "lookup"));
    tan_header(&h); /* singular */
    header_set_double(&h, "CD1_1", 0, NULL);
    assert_int_equal(open_header(&h, &s, &err), ERR_CORRUPT);
    tan_header(&h); /* half a SIP */
    header_set_int(&h, "A_ORDER", 2, NULL);
    assert_int_equal(open_header(&h, &s, &err), ERR_CORRUPT);
    tan_header(&h);
    header_set_int(&h, "WCSAXES", 1000000, NULL);
    assert_int_equal(open_header(&h, &s, &err), ERR_CORRUPT);
    tan_header(&h);
    for (int i = 1; i <= 2; i++)
        for (int k = 1; k <= 2; k++) {
            char keyword[12];
            snprintf(keyword, sizeof keyword, "CD%d_%d", i, k);
            header_remove(&h, keyword);
        }
    assert_int_equal(open_header(&h, &s, &err), ERR_CORRUPT);
    assert_null(s);
}

static void sip_cards(struct header *h)
{
    header_set_int(h, "A_ORDER", 2, NULL);
    header_set_int(h, "B_ORDER", 2, NULL);
    header_set_double(h, "A_2_0", 1e-5, NULL);
    header_set_double(h, "B_0_2", -2e-5, NULL);
}

static void test_skycoord__sip_counts_with_and_without_suffix(void **state)
{
    (void)state;
    double x = 199, y = 149, ra[3], dec[3];
    for (int i = 0; i < 3; i++) {
        struct header h;
        struct skycoord *s = NULL;
        tan_header(&h);
        if (i > 0) sip_cards(&h);
        if (i > 1) {
            header_set_str(&h, "CTYPE1", "RA---TAN-SIP", NULL);
            header_set_str(&h, "CTYPE2", "DEC--TAN-SIP", NULL);
        }
        assert_int_equal(open_header(&h, &s, NULL), ERR_OK);
        skycoord_to_sky(s, 1, &x, &y, &ra[i], &dec[i], NULL);
        skycoord_free(s);
    }
    assert_true(sky_distance_deg(ra[0], dec[0], ra[1], dec[1]) > 1e-5); /* 0.1 px and 0.2 px of 1e-4 deg */
    assert_close(ra[1], ra[2], 0);
    assert_close(dec[1], dec[2], 0);
}

static void test_skycoord__tpv_is_never_read_as_sip(void **state)
{
    (void)state;
    double x = 199, y = 149, ra[2], dec[2];
    for (int i = 0; i < 2; i++) {
        struct header h;
        struct skycoord *s = NULL;
        tan_header(&h);
        header_set_str(&h, "CTYPE1", "RA---TPV", NULL);
        header_set_str(&h, "CTYPE2", "DEC--TPV", NULL);
        header_set_double(&h, "PV1_1", 1, NULL);
        header_set_double(&h, "PV2_1", 1, NULL);
        header_set_double(&h, "PV1_4", 0.1, NULL);
        if (i) sip_cards(&h);
        assert_int_equal(open_header(&h, &s, NULL), ERR_OK);
        skycoord_to_sky(s, 1, &x, &y, &ra[i], &dec[i], NULL);
        skycoord_free(s);
    }
    assert_close(ra[0], ra[1], 0);
    assert_close(dec[0], dec[1], 0);
}

/* Old SCAMP: PVs of a plain TAN are TPV's. */
static void test_skycoord__scamp_tan_is_tpv(void **state)
{
    (void)state;
    double x = 199, y = 149, ra[2], dec[2];
    for (int i = 0; i < 2; i++) {
        struct header h;
        struct skycoord *s = NULL;
        tan_header(&h);
        header_set_str(&h, "CTYPE1", i ? "RA---TPV" : "RA---TAN", NULL);
        header_set_str(&h, "CTYPE2", i ? "DEC--TPV" : "DEC--TAN", NULL);
        header_set_double(&h, "PV1_1", 1, NULL);
        header_set_double(&h, "PV2_1", 1, NULL);
        header_set_double(&h, "PV1_7", 0.1, NULL);
        assert_int_equal(open_header(&h, &s, NULL), ERR_OK);
        skycoord_to_sky(s, 1, &x, &y, &ra[i], &dec[i], NULL);
        skycoord_free(s);
    }
    assert_close(ra[0], ra[1], 0);
    assert_close(dec[0], dec[1], 0);
}

static void test_skycoord__fk4_goes_there_and_back(void **state)
{
    (void)state;
    static const char *const systems[] = {"FK4", "FK4-NO-E", "FK5"};
    for (int i = 0; i < 3; i++)
        for (int e = 0; e < 2; e++) {
            struct header h;
            struct skycoord *s = NULL;
            double x = 20, y = 30, ra, dec, bx, by;
            tan_header(&h);
            header_set_str(&h, "RADESYS", systems[i], NULL);
            header_set_double(&h, "EQUINOX", e ? 1975 : i < 2 ? 1950 : 2000, NULL);
            header_set_str(&h, "DATE-OBS", "1983-05-01T00:00:00", NULL);
            assert_int_equal(open_header(&h, &s, NULL), ERR_OK);
            skycoord_to_sky(s, 1, &x, &y, &ra, &dec, NULL);
            skycoord_to_pixel(s, 1, &ra, &dec, &bx, &by, NULL);
            assert_close(bx, x, 1e-4); /* ERFA's fk45z and fk54z agree to some 10 microarcseconds: 3e-5 px here */
            assert_close(by, y, 1e-4);
            skycoord_free(s);
        }
}

/* B1950 origin: published FK4 -> FK5 place of (0, 0) is 0h02m33.773s, +0d16'42.06". */
static void test_skycoord__fk4_origin(void **state)
{
    (void)state;
    struct header h;
    struct skycoord *s = NULL;
    double x = 99, y = 49, ra, dec;
    tan_header(&h);
    header_set_double(&h, "CRVAL1", 0, NULL);
    header_set_double(&h, "CRVAL2", 0, NULL);
    header_set_str(&h, "RADESYS", "FK4", NULL);
    header_set_double(&h, "EQUINOX", 1950, NULL);
    assert_int_equal(open_header(&h, &s, NULL), ERR_OK);
    skycoord_to_sky(s, 1, &x, &y, &ra, &dec, NULL);
    assert_close(ra, 0.640691, 2e-5);  /* 0.1": E-terms and frame bias are smaller */
    assert_close(dec, 0.278409, 2e-4); /* E-terms reach 0.34" */
    skycoord_free(s);
}

static void test_skycoord__hundred_thousand_cards(void **state)
{
    (void)state;
    struct header h;
    struct skycoord *s = NULL;
    tan_header(&h);
    for (int i = 0; i < 100000; i++) add(&h, "COMMENT nothing to see");
    assert_int_equal(open_header(&h, &s, NULL), ERR_OK);
    skycoord_free(s);
    s = NULL;
    tan_header(&h);
    for (int i = 0; i < 20000; i++) add(&h, "PV1_1   = 1.0");
    assert_int_equal(open_header(&h, &s, NULL), ERR_CORRUPT);
}

static void test_skycoord__nonsense_points_are_nan(void **state)
{
    (void)state;
    struct header h;
    struct skycoord *s = NULL, *c;
    double x[3] = {NAN, INFINITY, 5}, y[3] = {0, 0, 5}, ra[3], dec[3], far_ra = 210, far_dec = -60, px, py;
    tan_header(&h);
    assert_int_equal(open_header(&h, &s, NULL), ERR_OK);
    c = skycoord_clone(s);
    skycoord_free(s);
    skycoord_to_sky(c, 3, x, y, ra, dec, NULL);
    assert_true(isnan(ra[0]) && isnan(ra[1]) && !isnan(ra[2]));
    skycoord_to_pixel(c, 1, &far_ra, &far_dec, &px, &py, NULL); /* the other side of the sky */
    assert_true(isnan(px) && isnan(py));
    skycoord_free(c);
}

static void test_sky_distance__small_and_large(void **state)
{
    (void)state;
    assert_close(sky_distance_deg(10, 20, 10, 20), 0, 0);
    assert_close(sky_distance_deg(0, -90, 123, 90), 180, 1e-10);
    assert_close(sky_distance_deg(359.9999999, 0, 0.0000001, 0), 2e-7, 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_skycoord__reference_pixel_is_zero_based),
        cmocka_unit_test(test_skycoord__numbers_in_quotes_are_read),
        cmocka_unit_test(test_skycoord__nothing_celestial_is_not_found),
        cmocka_unit_test(test_skycoord__refused_with_a_reason),
        cmocka_unit_test(test_skycoord__sip_counts_with_and_without_suffix),
        cmocka_unit_test(test_skycoord__tpv_is_never_read_as_sip),
        cmocka_unit_test(test_skycoord__scamp_tan_is_tpv),
        cmocka_unit_test(test_skycoord__fk4_goes_there_and_back),
        cmocka_unit_test(test_skycoord__fk4_origin),
        cmocka_unit_test(test_skycoord__hundred_thousand_cards),
        cmocka_unit_test(test_skycoord__nonsense_points_are_nan),
        cmocka_unit_test(test_sky_distance__small_and_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
