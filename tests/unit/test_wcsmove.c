#include "pipeline/wcsmove.h"
#include "common/skycoord.h"
#include "tests/support/check.h"

#include <string.h>

static void make(struct header *h, bool sip)
{
    header_init(h);
    header_set_str(h, "CTYPE1", sip ? "RA---TAN-SIP" : "RA---TAN", NULL);
    header_set_str(h, "CTYPE2", sip ? "DEC--TAN-SIP" : "DEC--TAN", NULL);
    header_set_double(h, "CRVAL1", 240.18, NULL);
    header_set_double(h, "CRVAL2", 43.144, NULL);
    header_set_double(h, "CRPIX1", 500.5, NULL);
    header_set_double(h, "CRPIX2", 520.25, NULL);
    if (!sip) {
        header_set_double(h, "CDELT1", -1.86e-4, NULL);
        header_set_double(h, "CDELT2", 1.86e-4, NULL);
        header_set_double(h, "CROTA2", 12, NULL);
        return;
    }
    header_set_double(h, "CD1_1", -1.8e-4, NULL);
    header_set_double(h, "CD1_2", 2e-6, NULL);
    header_set_double(h, "CD2_1", 3e-6, NULL);
    header_set_double(h, "CD2_2", 1.8e-4, NULL);
    header_set_int(h, "A_ORDER", 3, NULL);
    header_set_int(h, "B_ORDER", 3, NULL);
    header_set_double(h, "A_2_0", 2e-6, NULL);
    header_set_double(h, "A_1_1", -1e-6, NULL);
    header_set_double(h, "B_0_3", 3e-9, NULL);
    header_set_double(h, "B_0_2", 1e-6, NULL);
}

/* A star at p in the one frame stands at M p + t in the other: both must give the same sky. */
static void check_moved(bool sip, const double m[4], const double t[2], double tolerance_deg)
{
    struct header from, to;
    struct skycoord *a = NULL, *b = NULL;
    struct error err = ERROR_INIT;
    make(&from, sip);
    header_init(&to);
    header_set_str(&to, "OBJECT", "x", NULL);
    assert_int_equal(wcs_move(&from, m, t, &to, &err), ERR_OK);
    assert_int_equal(skycoord_new(&from, &a, &err), ERR_OK);
    assert_int_equal(skycoord_new(&to, &b, &err), ERR_OK);
    for (double x = 0; x < 1000; x += 250)
        for (double y = 0; y < 1000; y += 250) {
            double u = m[0] * (x + 1) + m[1] * (y + 1) + t[0] - 1, v = m[2] * (x + 1) + m[3] * (y + 1) + t[1] - 1, ra1, dec1, ra2, dec2;
            assert_int_equal(skycoord_to_sky(a, 1, &x, &y, &ra1, &dec1, &err), ERR_OK);
            assert_int_equal(skycoord_to_sky(b, 1, &u, &v, &ra2, &dec2, &err), ERR_OK);
            assert_true(sky_distance_deg(ra1, dec1, ra2, dec2) <= tolerance_deg);
        }
    skycoord_free(a);
    skycoord_free(b);
    header_release(&from);
    header_release(&to);
}

static void test_wcsmove__shift_turn_and_small_rotation(void **state)
{
    (void)state;
    const double shift[] = {12.25, -30.5}, same[] = {1, 0, 0, 1}, turn[] = {-1, 0, 0, -1}, middle[] = {1001, 1003};
    const double c = cos(0.0005), s = sin(0.0005), little[] = {c, -s, s, c};
    for (int sip = 0; sip < 2; sip++) {
        check_moved(sip, same, shift, 1e-11);
        check_moved(sip, turn, middle, 1e-11);
    }
    check_moved(false, little, shift, 1e-11);
    check_moved(true, little, shift, 0.01 * 1.8e-4); /* SIP terms are not turned: 1 px of distortion by half a milliradian */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_wcsmove__shift_turn_and_small_rotation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
