#include "processors/match.h"
#include "common/stats.h"
#include "tests/support/check.h"

#include <stdlib.h>

enum { N = 60 };

/* List b: the stars of a, moved, with noise, some missing, some new. */
static void make_lists(uint64_t seed, double dx, double dy, double angle, struct match_star *a, struct match_star *b)
{
    struct philox p;
    print_message("seed %llu\n", (unsigned long long)seed);
    philox_init(&p, seed, 0);
    double c = cos(angle), s = sin(angle);
    for (int i = 0; i < N; i++) {
        a[i] = (struct match_star){1000 * philox_uniform(&p), 1000 * philox_uniform(&p), exp(6 * philox_uniform(&p))};
        double u = a[i].x - 500, v = a[i].y - 500;
        b[i] = (struct match_star){500 + c * u - s * v + dx + 0.05 * philox_normal(&p), 500 + s * u + c * v + dy + 0.05 * philox_normal(&p), a[i].flux};
        if (i % 4 == 0) b[i] = (struct match_star){1000 * philox_uniform(&p), 1000 * philox_uniform(&p), exp(6 * philox_uniform(&p))};
    }
}

static void check_found(double dx, double dy, double angle, bool turned)
{
    struct match_star a[N], b[N];
    struct match_options opt = MATCH_OPTIONS_DEFAULT;
    struct match_result r;
    struct error err = ERROR_INIT;
    make_lists(7, dx, dy, angle, a, b);
    assert_int_equal(match_stars(a, N, b, N, &opt, &r, &err), ERR_OK);
    assert_true(r.turned == turned);
    assert_true(r.pairs >= 3 * N / 4 && r.pairs <= 3 * N / 4 + 2);
    assert_true(r.rms_px < 0.1); /* the noise is 0.05 px per axis */
    double x = r.m[0] * 500 + r.m[1] * 500 + r.t[0], y = r.m[2] * 500 + r.m[3] * 500 + r.t[1];
    assert_close(x, 500 + dx, 0.05);
    assert_close(y, 500 + dy, 0.05);
}

static void test_match__shift_is_found(void **state)
{
    (void)state;
    check_found(0, 0, 0, false);
    check_found(123.4, -321.7, 0, false);
    check_found(-40, 15, 0.001, false);
}

static void test_match__half_turn_is_found(void **state)
{
    (void)state;
    check_found(30, -12, 3.14159265358979, true);
}

static void test_match__unrelated_lists_do_not_match(void **state)
{
    (void)state;
    struct match_star a[N], b[N];
    struct match_options opt = MATCH_OPTIONS_DEFAULT;
    struct match_result r;
    struct error err = ERROR_INIT;
    for (uint64_t seed = 100; seed < 120; seed++) {
        struct philox p;
        philox_init(&p, seed, 1);
        for (int i = 0; i < N; i++) {
            a[i] = (struct match_star){1000 * philox_uniform(&p), 1000 * philox_uniform(&p), philox_uniform(&p)};
            b[i] = (struct match_star){1000 * philox_uniform(&p), 1000 * philox_uniform(&p), philox_uniform(&p)};
        }
        if (match_stars(a, N, b, N, &opt, &r, &err) != ERR_NOT_FOUND) fail_msg("seed %llu matched %d pairs", (unsigned long long)seed, r.pairs);
    }
    assert_int_equal(match_stars(a, 1, b, N, &opt, &r, &err), ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_match__shift_is_found),
        cmocka_unit_test(test_match__half_turn_is_found),
        cmocka_unit_test(test_match__unrelated_lists_do_not_match),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
