#include "pipeline/nightcurves.h"
#include "common/stats.h"
#include "tests/support/check.h"

enum { N = 20 };

static void night(struct curve_source *s, struct curve_point *p, uint64_t seed)
{
    struct philox r;
    print_message("seed %d\n", (int)seed);
    philox_init(&r, seed, 0);
    for (int i = 0; i < N; i++) {
        s[i] = (struct curve_source){"", 0, 4, 2, 0.002, 0.05};
        p[i] = (struct curve_point){i, (float)(15 + 0.01 * philox_normal(&r)), 0.01f, 1.02f, 1.03f};
    }
}

static void test_nightcurves__a_constant_star_is_constant(void **state)
{
    (void)state;
    struct curve_source s[N];
    struct curve_point p[N];
    struct curve c = {.n = N};
    night(s, p, 3);
    assert_true(curve_measure(&c, p, s, 0));
    assert_close(c.mag, 15, 0.01);          /* 0.01 / sqrt(20) is 0.0022: four sigma */
    assert_true(c.chi2 < 1.8 && c.starlike); /* 1 +- 0.33 for 18 degrees of freedom */
    assert_close(c.expected, 0.0102, 1e-4); /* 0.01 and 0.002 in quadrature */
}

static void test_nightcurves__one_wild_point_makes_no_variable(void **state)
{
    (void)state;
    struct curve_source s[N];
    struct curve_point p[N];
    struct curve c = {.n = N};
    night(s, p, 4);
    p[7].mag += 2;
    assert_true(curve_measure(&c, p, s, 0));
    assert_true(c.chi2 < 1.8);
    assert_true(c.faint > 16.9);
}

static void test_nightcurves__an_eclipse_is_seen_and_its_depth_told(void **state)
{
    (void)state;
    struct curve_source s[N];
    struct curve_point p[N];
    struct curve c = {.n = N};
    night(s, p, 5);
    for (int i = 8; i < 12; i++) p[i].mag += 0.4f;
    assert_true(curve_measure(&c, p, s, 0.005));
    assert_true(c.chi2 > 50);
    assert_close(c.faint - c.bright, 0.4, 0.05);
    for (int i = 0; i < N; i++) p[i].fwhm = 0.4f; /* as sharp as a hot pixel */
    assert_true(curve_measure(&c, p, s, 0.005));
    assert_false(c.starlike);
    for (int i = 0; i < N; i++) p[i].fwhm = 1.1f, p[i].elongation = 1.8f; /* a close pair */
    assert_true(curve_measure(&c, p, s, 0.005));
    assert_false(c.starlike);
}

static void test_nightcurves__no_source_gives_no_curve(void **state)
{
    (void)state;
    struct nightcurves c;
    struct error err = ERROR_INIT;
    struct curve_source s[] = {{"/nowhere/a_cat.fits", 0, 4, 2, 0, 0}, {"/nowhere/b_cat.fits", -1, 4, 2, 0, 0}};
    assert_int_equal(nightcurves_build(s, 2, &c, &err), ERR_OK);
    assert_true(c.ncurves == 0 && c.nchosen == 0 && c.nbands == 1);
    nightcurves_release(&c);
    assert_int_equal(nightcurves_build(NULL, 0, &c, &err), ERR_OK);
    nightcurves_release(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nightcurves__a_constant_star_is_constant),
        cmocka_unit_test(test_nightcurves__one_wild_point_makes_no_variable),
        cmocka_unit_test(test_nightcurves__an_eclipse_is_seen_and_its_depth_told),
        cmocka_unit_test(test_nightcurves__no_source_gives_no_curve),
    };
    return cmocka_run_group_tests_name("nightcurves", tests, NULL, NULL);
}
