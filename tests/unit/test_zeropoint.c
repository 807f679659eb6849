#include "common/stats.h"
#include "processors/zeropoint.h"
#include "tests/support/check.h"

#include <string.h>

enum { N = 400 };

/* Stars of a frame with zero point 24.7 at colour 0.8, a colour term and a slope; every tenth is wrong by much. */
static void make_stars(uint64_t seed, int n, double colour_term, double slope, struct zeropoint_star *s)
{
    struct philox p;
    print_message("seed %llu\n", (unsigned long long)seed);
    philox_init(&p, seed, 0);
    for (int i = 0; i < n; i++) {
        double colour = 0.3 + 1.5 * philox_uniform(&p), mag = 14 + 5 * philox_uniform(&p), err = 0.003 * pow(10, 0.2 * (mag - 14));
        double x = 2 * philox_uniform(&p) - 1, y = 2 * philox_uniform(&p) - 1;
        double wrong = i % 10 == 3 ? 0.5 * philox_normal(&p) : 0;
        s[i] = (struct zeropoint_star){.x = x, .y = y, .reference = mag, .err = err, .colour = colour,
                                       .inst = mag - 24.7 - colour_term * (colour - 0.8) - slope * x + hypot(err, 0.01) * philox_normal(&p) + wrong};
    }
}

static void test_zeropoint__within_3_mmag_of_the_truth(void **state)
{
    (void)state;
    struct zeropoint_star s[N];
    struct zeropoint_result r;
    struct zeropoint_options o = ZEROPOINT_OPTIONS_DEFAULT;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        make_stars(seed, N, -0.12, 0.03, s);
        assert_int_equal(zeropoint_fit(s, N, &o, &r, NULL), ERR_OK);
        assert_close(r.zero, 24.7, 0.003);
        assert_close(r.zero, 24.7, 4.5 * r.zero_err);
        assert_close(r.colour_term, -0.12, 0.01);
        assert_close(r.spatial[0], 0.03, 0.006);
        assert_true(r.zero_err > 0.0002 && r.zero_err < 0.002);
        assert_close(r.scatter, 0.01, 0.004);
        assert_true(r.used > 0.85 * N && r.used < 0.95 * N);
    }
}

/* Terms that are not there are not fitted; a few stars give a constant. */
static void test_zeropoint__no_term_without_need(void **state)
{
    (void)state;
    struct zeropoint_star s[N];
    struct zeropoint_result r;
    struct zeropoint_options o = ZEROPOINT_OPTIONS_DEFAULT;
    int colours = 0;
    for (uint64_t seed = 21; seed < 29; seed++) {
        make_stars(seed, N, 0, 0, s);
        assert_int_equal(zeropoint_fit(s, N, &o, &r, NULL), ERR_OK);
        assert_close(r.zero, 24.7, 0.003);
        assert_true(fabs(r.colour_term) < 0.01);
        colours += r.colour_term != 0;
    }
    assert_true(colours <= 2);
    make_stars(31, 12, 0, 0, s);
    assert_int_equal(zeropoint_fit(s, 12, &o, &r, NULL), ERR_OK);
    assert_int_equal(r.spatial_degree, 0);
    assert_close(r.zero, 24.7, 0.02);
}

static void test_zeropoint__nothing_and_nonsense_are_refused(void **state)
{
    (void)state;
    struct zeropoint_star s[N] = {{0}};
    struct zeropoint_result r;
    struct zeropoint_options o = ZEROPOINT_OPTIONS_DEFAULT;
    struct error err = ERROR_INIT;
    assert_int_equal(zeropoint_fit(s, 0, &o, &r, &err), ERR_NOT_FOUND);
    assert_true(isnan(r.zero));
    for (int i = 0; i < N; i++) s[i] = (struct zeropoint_star){NAN, NAN, NAN, NAN, NAN, NAN};
    assert_int_equal(zeropoint_fit(s, N, &o, &r, &err), ERR_NOT_FOUND);
    for (int i = 0; i < N; i++) s[i] = (struct zeropoint_star){0, 0, -10, 15, 0.01, 1}; /* one star many times */
    assert_int_equal(zeropoint_fit(s, N, &o, &r, &err), ERR_OK);
    assert_close(r.zero, 25, 1e-9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zeropoint__within_3_mmag_of_the_truth),
        cmocka_unit_test(test_zeropoint__no_term_without_need),
        cmocka_unit_test(test_zeropoint__nothing_and_nonsense_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
