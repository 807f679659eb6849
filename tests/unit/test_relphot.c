#include "processors/relphot.h"
#include "common/stats.h"
#include "tests/support/check.h"

#include <stdlib.h>

enum { FRAMES = 20, STARS = 40 };

/* Frames with clouds up to 0.5 mag; star 0 is an eclipsing variable, star 1 has one wild point. */
static int64_t make_night(struct relphot_obs *obs, double *cloud, double *mag)
{
    struct philox p;
    int64_t n = 0;
    philox_init(&p, 11, 0);
    print_message("seed 11\n");
    for (int f = 0; f < FRAMES; f++) cloud[f] = 0.5 * philox_uniform(&p);
    for (int s = 0; s < STARS; s++) mag[s] = -12 + 3 * philox_uniform(&p);
    for (int f = 0; f < FRAMES; f++)
        for (int s = 0; s < STARS; s++) {
            double m = mag[s] + cloud[f] + 0.004 * philox_normal(&p);
            if (s == 0 && f > 8 && f < 13) m += 0.35;
            if (s == 1 && f == 3) m -= 2;
            obs[n++] = (struct relphot_obs){f, s, m, 0.004};
        }
    return n;
}

static void test_relphot__clouds_are_taken_out_and_variables_stay(void **state)
{
    (void)state;
    static struct relphot_obs obs[FRAMES * STARS];
    double cloud[FRAMES], mag[STARS], prior[FRAMES];
    struct relphot_result r;
    struct error err = ERROR_INIT;
    int64_t n = make_night(obs, cloud, mag);
    for (int f = 0; f < FRAMES; f++) prior[f] = 25;
    assert_int_equal(relphot_solve(FRAMES, STARS, obs, n, prior, &r, &err), ERR_OK);
    double mean = 0, zero = 0;
    for (int f = 0; f < FRAMES; f++) mean += cloud[f] / FRAMES, zero += r.zero[f] / FRAMES;
    assert_close(zero, 25, 1e-9); /* the gauge */
    for (int f = 0; f < FRAMES; f++) {
        assert_close(r.zero[f] - 25, -(cloud[f] - mean), 0.004); /* 40 stars of 4 mmag: 0.6 mmag, five sigma and the gauge */
        assert_true(r.zero_err[f] > 0 && r.zero_err[f] < 0.002);
        assert_int_equal(r.component[f], 0);
    }
    for (int s = 2; s < STARS; s++) assert_close(r.star_rms[s], 0.004, 0.004);
    relphot_release(&r);
}

static void test_relphot__separate_fields_keep_their_priors(void **state)
{
    (void)state;
    struct relphot_obs obs[] = {{0, 0, -10, .01}, {1, 0, -10.2, .01}, {2, 1, -9, .01}, {3, 1, -9.4, .01}, {0, 2, -11, .01}, {1, 2, -11.2, .01}};
    double prior[] = {20, 20, 30, 30, 7};
    struct relphot_result r;
    struct error err = ERROR_INIT;
    assert_int_equal(relphot_solve(5, 3, obs, 6, prior, &r, &err), ERR_OK);
    assert_close(r.zero[0], 19.9, 1e-6);
    assert_close(r.zero[1], 20.1, 1e-6);
    assert_close(r.zero[2], 29.8, 1e-6);
    assert_close(r.zero[3], 30.2, 1e-6);
    assert_true(isnan(r.zero[4])); /* no star seen */
    assert_int_equal(r.component[1], 0);
    assert_int_equal(r.component[3], 2);
    assert_close(r.star_mag[0], 9.9, 1e-6);
    relphot_release(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_relphot__clouds_are_taken_out_and_variables_stay),
        cmocka_unit_test(test_relphot__separate_fields_keep_their_priors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
