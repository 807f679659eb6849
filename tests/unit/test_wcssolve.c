#include "common/stats.h"
#include "processors/starmatch.h"
#include "processors/wcssolve.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>

enum { N = 120 };

static void random_lists(uint64_t seed, struct plane_star *a, struct plane_star *b)
{
    struct philox p;
    print_message("seed %llu\n", (unsigned long long)seed);
    philox_init(&p, seed, 0);
    for (int i = 0; i < N; i++) {
        a[i] = (struct plane_star){1000 * philox_uniform(&p), 1000 * philox_uniform(&p), 5 * philox_uniform(&p)};
        /* turned by 90 degrees, mirrored, 3 % larger, far away */
        b[i] = (struct plane_star){5000 + 1.03 * a[i].y, -7000 + 1.03 * a[i].x, a[i].mag};
    }
}

static void test_starmatch__finds_a_mirrored_turned_list(void **state)
{
    (void)state;
    struct plane_star a[N], b[N];
    struct starmatch_result r;
    struct starmatch_options o = STARMATCH_OPTIONS_DEFAULT;
    random_lists(11, a, b);
    assert_int_equal(starmatch_find(a, N, b, N, &o, &r, NULL), ERR_OK);
    assert_true(r.flipped);
    assert_close(r.m[1], 1.03, 1e-6);
    assert_close(r.m[2], 1.03, 1e-6);
    assert_close(r.t[0], 5000, 1e-3);
}

static void test_starmatch__strangers_do_not_match(void **state)
{
    (void)state;
    struct plane_star a[N], b[N], c[N];
    struct starmatch_result r;
    struct starmatch_options o = STARMATCH_OPTIONS_DEFAULT;
    struct error err = ERROR_INIT;
    random_lists(12, a, b);
    random_lists(13, c, b);
    assert_int_equal(starmatch_find(a, N, b, N, &o, &r, &err), ERR_NOT_FOUND);
    for (int i = 0; i < N; i++) b[i] = (struct plane_star){3, 3, 1}; /* one star many times */
    assert_int_equal(starmatch_find(a, N, b, N, &o, &r, &err), ERR_NOT_FOUND);
    for (int i = 0; i < N; i++) a[i] = b[i];
    assert_int_equal(starmatch_find(a, N, b, N, &o, &r, &err), ERR_NOT_FOUND);
    assert_int_equal(starmatch_find(a, 0, b, 0, &o, &r, &err), ERR_NOT_FOUND);
}

/* A quarter of a plane: stars of a line do not determine a frame, exact pairs give the exact solution back. */
static void test_wcsfit__exact_pairs_give_the_truth(void **state)
{
    (void)state;
    struct wcs_sip truth = {.crpix = {499.5, 499.5}, .crval = {359.999, 60}, .cd = {-1e-4, 2e-6, 2e-6, 1e-4}, .order = 3}, *s;
    struct wcsfit_pair pairs[N];
    struct wcsfit_options o = {.nx = 1000, .ny = 1000, .ra = 0.2, .dec = 60.1, .scale = 1e-4, .order_max = 5, .clip = 3.5};
    struct wcsfit_result r;
    struct philox p;
    truth.a[sip_term(3, 0)] = truth.b[sip_term(2, 1)] = 2e-8;
    philox_init(&p, 3, 0);
    for (int i = 0; i < N; i++) {
        pairs[i] = (struct wcsfit_pair){.x = 999 * philox_uniform(&p), .y = 999 * philox_uniform(&p), .err = 0.01};
        wcs_sip_to_sky(&truth, pairs[i].x, pairs[i].y, &pairs[i].ra, &pairs[i].dec);
    }
    pairs[7].x += 20; /* a wrong one */
    assert_int_equal(wcsfit_solve(pairs, N, &o, &r, NULL, NULL, NULL), ERR_OK);
    s = &r.sip;
    assert_int_equal(r.used, N - 1);
    for (int k = 0; k < 9; k++) {
        double x = 499.5 * (k % 3), y = 499.5 * (k / 3), ra, dec, u, v;
        wcs_sip_to_sky(&truth, x, y, &ra, &dec);
        wcs_sip_to_pixel(s, ra, dec, &u, &v);
        assert_close(u, x, 1e-4);
        assert_close(v, y, 1e-4);
    }
    for (int i = 0; i < N; i++) pairs[i].y = 2 * pairs[i].x, wcs_sip_to_sky(&truth, pairs[i].x, pairs[i].y, &pairs[i].ra, &pairs[i].dec);
    assert_int_equal(wcsfit_solve(pairs, N, &o, &r, NULL, NULL, NULL), ERR_NOT_FOUND);
    for (int i = 0; i < N; i++) pairs[i] = pairs[0];
    assert_int_equal(wcsfit_solve(pairs, N, &o, &r, NULL, NULL, NULL), ERR_NOT_FOUND);
}

static void test_wcssolve__nothing_to_go_by_is_a_failure_with_a_reason(void **state)
{
    (void)state;
    struct wcs_star stars[N];
    struct refstars none = {0};
    struct wcs_guess g = {.ra = NAN, .dec = NAN, .scale_arcsec = NAN, .nx = 100, .ny = 100, .year = NAN};
    struct wcs_options o = WCS_OPTIONS_DEFAULT;
    struct wcs_solution s;
    for (int i = 0; i < N; i++) stars[i] = (struct wcs_star){NAN, NAN, NAN, NAN};
    assert_int_equal(wcs_solve(stars, N, &none, &g, &o, &s, NULL), ERR_OK);
    assert_int_equal(s.status, WCS_FAILED);
    assert_non_null(strstr(s.reason, "header"));
    wcs_solution_release(&s);
    g.ra = g.dec = 10, g.scale_arcsec = 1;
    assert_int_equal(wcs_solve(stars, 0, &none, &g, &o, &s, NULL), ERR_OK);
    assert_int_equal(s.status, WCS_FAILED);
    wcs_solution_release(&s);
    for (int i = 0; i < N; i++) stars[i] = (struct wcs_star){i % 10 * 10, i / 10 * 8, 100 + i, 0.1};
    struct refstar same[N];
    for (int i = 0; i < N; i++) same[i] = (struct refstar){.id = i, .ra = 10, .dec = 10, .epoch = 2000, .ra_err = 1, .dec_err = 1, .pmra = NAN, .mag = NAN};
    struct refstars refs = {.n = N, .star = same};
    assert_int_equal(wcs_solve(stars, N, &refs, &g, &o, &s, NULL), ERR_OK);
    assert_int_equal(s.status, WCS_FAILED);
    wcs_solution_release(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_starmatch__finds_a_mirrored_turned_list),
        cmocka_unit_test(test_starmatch__strangers_do_not_match),
        cmocka_unit_test(test_wcsfit__exact_pairs_give_the_truth),
        cmocka_unit_test(test_wcssolve__nothing_to_go_by_is_a_failure_with_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
