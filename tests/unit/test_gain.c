#include "common/stats.h"
#include "processors/gain.h"
#include "tests/support/check.h"

#include <stdlib.h>

enum { NX = 256, NY = 256 };

/* A frame in ADU: bias level 0, photons of `electrons` at the centre with vignetting, dust and a scratch. */
static float *frame(struct philox *p, double electrons, double gain, double rdnoise_e)
{
    float *f = malloc(sizeof(float) * NX * NY);
    for (int y = 0; y < NY; y++)
        for (int x = 0; x < NX; x++) {
            double r2 = ((x - 128) * (x - 128) + (y - 128) * (y - 128)) / (128.0 * 128.0);
            double shape = 1 - 0.2 * r2 - ((x - 60) * (x - 60) + (y - 80) * (y - 80) < 200 ? 0.3 : 0) - (x == 200 ? 0.5 : 0);
            double e = electrons > 0 ? (double)philox_poisson(p, electrons * shape) : 0;
            f[y * NX + x] = (float)rint((e + rdnoise_e * philox_normal(p)) / gain);
        }
    return f;
}

static void test_gain__measured_in_spite_of_structure_and_lamp_drift(void **state)
{
    (void)state;
    struct philox p;
    philox_init(&p, 7, 0);
    print_message("seed 7\n");
    const double gain = 1.7, rdnoise = 14;
    float *flats[3] = {frame(&p, 30000, gain, rdnoise), frame(&p, 28000, gain, rdnoise), frame(&p, 33000, gain, rdnoise)};
    float *biases[3] = {frame(&p, 0, gain, rdnoise), frame(&p, 0, gain, rdnoise), frame(&p, 0, gain, rdnoise)};
    for (int i = 0; i < 200; i++) flats[1][philox_u32(&p) % (NX * NY)] += 5000; /* cosmic rays */
    for (int i = 0; i < NX; i++) flats[0][i] = NAN;
    struct gain_estimate e;
    assert_int_equal(gain_from_pairs(NX, NY, (const float *const *)flats, 3, (const float *const *)biases, 3, &e, NULL), ERR_OK);
    print_message("gain %.4f +- %.4f, read noise %.3f ADU, %d boxes\n", e.gain_e_per_adu, e.gain_error, e.rdnoise_adu, e.boxes);
    assert_close(e.gain_e_per_adu, gain, 5 * e.gain_error + 0.002 * gain); /* 5 sigma and the clip's 0.1 % twice */
    assert_true(e.gain_error < 0.02 * gain);
    assert_close(e.rdnoise_adu, rdnoise / gain, 0.02 * rdnoise / gain);
    for (int i = 0; i < 3; i++) {
        free(flats[i]);
        free(biases[i]);
    }
}

static void test_gain__too_few_or_too_faint_frames_are_refused(void **state)
{
    (void)state;
    struct philox p;
    philox_init(&p, 8, 0);
    float *b[2] = {frame(&p, 0, 1, 10), frame(&p, 0, 1, 10)};
    struct gain_estimate e;
    struct error err = ERROR_INIT;
    const float *const *planes = (const float *const *)b;
    assert_int_equal(gain_from_pairs(NX, NY, planes, 1, planes, 2, &e, &err), ERR_NOT_FOUND);
    assert_int_equal(gain_from_pairs(NX, NY, planes, 2, planes, 1, &e, &err), ERR_NOT_FOUND);
    assert_int_equal(gain_from_pairs(NX, NY, planes, 2, planes, 2, &e, &err), ERR_NOT_FOUND); /* flats without light */
    assert_int_equal(gain_from_pairs(16, 16, planes, 2, planes, 2, &e, &err), ERR_NOT_FOUND); /* smaller than a box */
    assert_int_equal(rdnoise_from_pairs(NX, NY, planes, 2, &e, &err), ERR_OK);
    assert_close(e.rdnoise_adu, 10, 0.3);
    free(b[0]);
    free(b[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gain__measured_in_spite_of_structure_and_lamp_drift),
        cmocka_unit_test(test_gain__too_few_or_too_faint_frames_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
