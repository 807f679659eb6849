#include "common/stats.h"
#include "processors/stellarity.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define STARS    120
#define GALAXIES 80
#define ALL      (STARS + GALAXIES)

/* Stars of half-light radius 1.8 with the scatter of their noise, galaxies of 2.3 to 6. */
static void make_samples(struct star_sample *s)
{
    struct philox p;
    philox_init(&p, 42, 0);
    printf("seed 42\n");
    for (int i = 0; i < ALL; i++) {
        double snr = exp(log(5.0) + log(200.0) * philox_uniform(&p));
        double r = i < STARS ? 1.8 : 2.3 + 3.7 * philox_uniform(&p);
        s[i] = (struct star_sample){.r50 = (float)(r * (1 + philox_normal(&p) / snr)), .snr = (float)snr, .fwhm = (float)(1.7 * r), .ellipticity = 0.05f};
    }
}

static void test_stellarity__the_locus_is_that_of_the_stars(void **state)
{
    (void)state;
    struct star_sample s[ALL];
    struct stellar_locus l;
    make_samples(s);
    assert_int_equal(stellar_locus_find(s, ALL, &l, NULL), ERR_OK);
    assert_close(l.r50, 1.8, 0.05); /* the mode of about 90 bright stars */
    assert_close(l.fwhm, 1.7 * 1.8, 0.02);
    assert_true(l.n > STARS / 2);
    int right = 0, bright = 0;
    for (int i = 0; i < ALL; i++)
        if (s[i].snr > 30.0f) {
            float c = stellarity_locus(&l, &s[i]);
            bright++;
            right += (i < STARS) == (c > 0.5f);
            assert_true(c >= 0.0f && c <= 1.0f);
        }
    assert_true(right > 0.95 * bright);
}

static void test_stellarity__noise_cannot_tell(void **state)
{
    (void)state;
    struct star_sample s[ALL], faint = {.r50 = 1.8f, .snr = 2.0f}, none = {.r50 = 0.0f, .snr = 50.0f};
    struct stellar_locus l, empty = {0};
    make_samples(s);
    assert_int_equal(stellar_locus_find(s, ALL, &l, NULL), ERR_OK);
    assert_close((double)stellarity_locus(&l, &faint), 0.5, 0.05);
    assert_close((double)stellarity_locus(&l, &none), 0.5, 0);
    assert_close((double)stellarity_locus(&empty, &s[0]), 0.5, 0);
}

static void test_stellarity__too_few_objects_make_no_locus(void **state)
{
    (void)state;
    struct star_sample s[3] = {{.r50 = 1.8f, .snr = 50.0f}, {.r50 = 1.9f, .snr = 50.0f}, {.r50 = 2.5f, .snr = 50.0f}};
    struct stellar_locus l;
    assert_int_equal(stellar_locus_find(s, 3, &l, NULL), ERR_OK);
    assert_close(l.r50, 0, 0);
    assert_int_equal(stellar_locus_find(NULL, 0, &l, NULL), ERR_OK);
    assert_int_equal(l.n, 0);
}

static void test_stellarity__network_by_hand(void **state)
{
    (void)state;
    /* all weights 0 but one input on one neuron: sigmoid(2 * sigmoid(3 * log10(peak/threshold) + 1) - 1) */
    struct star_network net = {.hidden = {{0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 1}}, .output = {2, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1}, .out_scale = 1};
    int32_t iso[8] = {40, 30, 25, 20, 14, 9, 5, 2};
    for (int i = 0; i < NETWORK_INPUTS; i++) net.scale[i] = 1;
    double h = 1 / (1 + exp(-(3 * log10(50.0) + 1))), want = 1 / (1 + exp(-(2 * h - 1)));
    assert_close((double)stellarity_network(&net, iso, 100, 2, 1.0, 0.5), want, 1e-6);
    int32_t nothing[8] = {0};
    assert_true(isfinite(stellarity_network(&net, nothing, 0, 0, 0, 0)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stellarity__the_locus_is_that_of_the_stars),
        cmocka_unit_test(test_stellarity__noise_cannot_tell),
        cmocka_unit_test(test_stellarity__too_few_objects_make_no_locus),
        cmocka_unit_test(test_stellarity__network_by_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
