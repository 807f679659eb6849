#include "common/obstime.h"
#include "tests/support/check.h"

#include <string.h>

static double parsed(const char *iso)
{
    double mjd = -1;
    return obstime_parse(iso, &mjd, NULL) == ERR_OK ? mjd : NAN;
}

static void test_obstime__dates_that_are_read(void **state)
{
    (void)state;
    assert_close(parsed("2025-05-30"), 60825, 0);
    assert_close(parsed("2025-05-30T12:00:00"), 60825.5, 0);
    assert_close(parsed("2025-05-30 12:00:00Z"), 60825.5, 0);
    assert_close(parsed("  2025-05-30T03:43:59.123 "), 60825 + (3 * 3600 + 43 * 60 + 59.123) / 86400, 1e-11);
    assert_close(parsed("30/05/97"), 50598, 0);
    assert_close(parsed("2025-05-30T18:30"), 60825 + 18.5 / 24, 1e-11);
    assert_close(parsed("2016-12-31T23:59:60.5"), 57753 + 86400.5 / 86400, 1e-11); /* a leap second */
    assert_close(parsed("2025-05-30T24:00:00"), 60826, 0);
    assert_close(parsed("2024-02-29"), 60369, 0);
}

static void test_obstime__dates_that_are_none(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "yesterday", "2025-13-01", "2025-02-29", "2025-05-30T25:00:00", "2025-05-30T12:61:00",
                                      "2025-05-30Tnoon", "30/05/2025", "2025-05-30T12:00:00+02:00", "2025-05-30T-1:00:00",
                                      "99999999999-01-01", "2025-05-30T12:00:"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (!isnan(parsed(bad[i]))) fail_msg("'%s' was read as %f", bad[i], parsed(bad[i]));
}

static void test_obstime__format_and_parse_are_inverse(void **state)
{
    (void)state;
    char buf[40];
    assert_string_equal(obstime_format(60825.5, 0, buf), "2025-05-30T12:00:00");
    assert_string_equal(obstime_format(60825.999999999, 3, buf), "2025-05-31T00:00:00.000");
    assert_string_equal(obstime_format(60825.25, 9, buf), "2025-05-30T06:00:00.000000000");
    assert_string_equal(obstime_format(NAN, 3, buf), "invalid");
    for (double mjd = 50000.123456789; mjd < 62000; mjd += 1234.56789)
        assert_close(parsed(obstime_format(mjd, 6, buf)), mjd, 1e-11);
}

static void test_obstime__night_follows_the_site(void **state)
{
    (void)state;
    assert_int_equal(obstime_night(60826.2, -105.8), 20250530); /* 2025-05-31 04:48 UTC at Apache Point: evening of the 30th */
    assert_int_equal(obstime_night(60826.2, 0), 20250530);
    assert_int_equal(obstime_night(60826.2, 149), 20250531); /* afternoon at Siding Spring: the coming night */
    assert_int_equal(obstime_night(NAN, 0), 0);
    assert_int_equal(obstime_night(1e300, 0), 0);
}

/* Values of astropy 5.2 (Time.utc). */
static void test_obstime__scales(void **state)
{
    (void)state;
    double utc = 0;
    assert_int_equal(obstime_to_utc(60825.25, "TAI", &utc, NULL), ERR_OK);
    assert_close(utc, 60825.24957175926, 2e-11); /* a microsecond */
    assert_int_equal(obstime_to_utc(60825.25, "TT", &utc, NULL), ERR_OK);
    assert_close(utc, 60825.24919925926, 2e-11);
    assert_int_equal(obstime_to_utc(60825.25, "TDB", &utc, NULL), ERR_OK);
    assert_close(utc, 60825.24919924836, 1e-10);
    assert_int_equal(obstime_to_utc(60825.25, "GPS", &utc, NULL), ERR_OK);
    assert_close(utc, 60825.25 - 18 / 86400.0, 2e-11);
    assert_int_equal(obstime_to_utc(60825.25, "utc", &utc, NULL), ERR_OK);
    assert_close(utc, 60825.25, 0);
    assert_int_equal(obstime_to_utc(60825.25, "LOCAL", &utc, NULL), ERR_UNSUPPORTED);
    assert_int_equal(obstime_to_utc(NAN, "TAI", &utc, NULL), ERR_CORRUPT);
}

/* Values of astropy 5.2 (Time.tdb + light_travel_time with the built-in ephemeris, which is ERFA's). The sites differ by
 * UT1 - UTC and polar motion: microseconds. */
static void test_obstime__barycentre(void **state)
{
    (void)state;
    double ms = 0.1e-3 / 86400;
    assert_close(obstime_bjd_tdb(60825.2, 150.1, 2.2, -105.82, 32.78, 2788) - 2460826, -0.2999240550263404, ms);
    assert_close(obstime_bjd_tdb(55000.0, 300, -60, 149.07, -31.27, 1165) - 2455001, -0.4949916429391835, ms);
    assert_close(obstime_bjd_tdb(60825.2, 10, 80, NAN, NAN, NAN) - 2460826, -0.30186700488210183, ms);
    assert_true(isnan(obstime_bjd_tdb(NAN, 0, 0, 0, 0, 0)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_obstime__dates_that_are_read),
        cmocka_unit_test(test_obstime__dates_that_are_none),
        cmocka_unit_test(test_obstime__format_and_parse_are_inverse),
        cmocka_unit_test(test_obstime__night_follows_the_site),
        cmocka_unit_test(test_obstime__scales),
        cmocka_unit_test(test_obstime__barycentre),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
