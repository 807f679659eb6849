#include "processors/calibrate.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>

enum { NX = 70, NY = 3, RAW_NX = 80 };

struct bench {
    uint16_t raw[RAW_NX * NY];
    float bias[NX * NY], bias_var[NX * NY], dark[NX * NY], flat[NX * NY], flat_var[NX * NY];
    float sci[NX * NY], var[NX * NY];
    mask_t mask[NX * NY], bad[NX * NY];
    struct amp amp;
    struct calibrate_counts counts;
};

static void fill(struct bench *b)
{
    memset(b, 0, sizeof *b);
    for (int i = 0; i < RAW_NX * NY; i++) b->raw[i] = (uint16_t)(i % RAW_NX < NX ? 1500 : 1000);
    for (int i = 0; i < NX * NY; i++) {
        b->bias[i] = 20;
        b->bias_var[i] = 4;
        b->dark[i] = 0.5f;
        b->flat[i] = 0.8f;
        b->flat_var[i] = 1e-4f;
    }
    b->amp = (struct amp){.name = "A", .data = {0, NX, 0, NY}, .overscan = {NX, RAW_NX, 0, NY}, .dest = {0, NX, 0, NY},
                          .gain_e_per_adu = 2, .rdnoise_e = 6, .saturate_adu = 60000};
}

static enum err run(struct bench *b, bool bias, bool dark, bool flat, struct error *err)
{
    struct master_planes mb = {b->bias, b->bias_var, b->bad, 0}, md = {b->dark, NULL, NULL, 0}, mf = {b->flat, b->flat_var, NULL, 0};
    struct calibrate_plan plan;
    struct raw_rows raw = {.nx = RAW_NX, .y0 = 0, .y1 = NY, .u16 = b->raw};
    enum err code = calibrate_plan_make(NX, NY, bias ? &mb : NULL, dark ? &md : NULL, flat ? &mf : NULL, 10, 0.2, &plan, err);
    if (code) return code;
    code = calibrate_frame(&raw, &b->amp, 1, &plan, b->sci, b->var, b->mask, &b->counts, err);
    calibrate_plan_release(&plan);
    return code;
}

static void test_calibrate__value_and_variance_of_one_pixel(void **state)
{
    (void)state;
    static struct bench b;
    fill(&b);
    assert_int_equal(run(&b, true, true, true, NULL), ERR_OK);
    double e = (1500 - 1000) * 2.0 - 20 - 5, value = e / 0.8;
    double var = (e + 5 + 36 + 4) / 0.64 + value * value * 1e-4 / 0.64;
    for (int i = 0; i < NX * NY; i++) {
        assert_close(b.sci[i], value, 1e-3); /* float32 at 1e3 */
        assert_close(b.var[i], var, 1e-3);
        assert_int_equal(b.mask[i], 0);
    }
    assert_close(b.counts.overscan_adu[0], 1000, 1e-9);
}

static void test_calibrate__bias_shared_with_the_dark_cancels(void **state)
{
    (void)state;
    /* dark = (D - bias) / 10 s with var(bias) = 4, var(D) = 9: bias + 10 dark = D */
    float bias[2] = {20, 20}, bias_var[2] = {4, 4}, dark[2] = {0, 0}, dark_var[2] = {0.13f, 0.13f};
    struct master_planes mb = {bias, bias_var, NULL, 0}, md = {dark, dark_var, NULL, 0.1};
    struct calibrate_plan plan;
    assert_int_equal(calibrate_plan_make(2, 1, &mb, &md, NULL, 10, 0, &plan, NULL), ERR_OK);
    assert_close(plan.add_var[0], 9, 1e-5);
    calibrate_plan_release(&plan);
    md.bias_scale = 0; /* made with another bias: they add */
    assert_int_equal(calibrate_plan_make(2, 1, &mb, &md, NULL, 10, 0, &plan, NULL), ERR_OK);
    assert_close(plan.add_var[0], 17, 1e-5);
    calibrate_plan_release(&plan);
}

static void test_calibrate__skipped_steps_leave_the_electrons(void **state)
{
    (void)state;
    static struct bench b;
    fill(&b);
    assert_int_equal(run(&b, false, false, false, NULL), ERR_OK);
    assert_close(b.sci[0], 1000, 1e-3);
    assert_close(b.var[0], 1036, 1e-3);
}

static void test_calibrate__negative_signal_keeps_the_read_noise(void **state)
{
    (void)state;
    static struct bench b;
    fill(&b);
    b.raw[5] = 900;
    assert_int_equal(run(&b, false, false, false, NULL), ERR_OK);
    assert_close(b.sci[5], -200, 1e-3);
    assert_close(b.var[5], 36, 1e-4);
}

static void test_calibrate__saturated_hot_and_dead_pixels_are_masked_and_finite(void **state)
{
    (void)state;
    static struct bench b;
    fill(&b);
    b.raw[7] = 60000;
    b.raw[8] = 59999;
    b.bad[9] = MASK_HOT;
    b.flat[10] = 0;
    b.flat[11] = NAN;
    b.bias[12] = NAN;
    assert_int_equal(run(&b, true, true, true, NULL), ERR_OK);
    assert_int_equal(b.mask[7], MASK_SATURATED);
    assert_int_equal(b.mask[8], 0);
    assert_int_equal(b.mask[9], MASK_HOT);
    assert_int_equal(b.mask[10], MASK_LOWFLAT);
    assert_int_equal(b.mask[11], MASK_LOWFLAT);
    assert_int_equal(b.mask[12], MASK_BAD);
    assert_int_equal(b.counts.saturated, 1);
    for (int i = 0; i < NX * NY; i++) assert_true(isfinite(b.sci[i]) && isfinite(b.var[i]) && b.var[i] > 0);
}

static void test_calibrate__sixteen_bit_end_is_saturated_when_nothing_says_it(void **state)
{
    (void)state;
    static struct bench b;
    fill(&b);
    b.amp.saturate_adu = NAN;
    b.raw[3] = 65535;
    b.raw[4] = 65534;
    assert_int_equal(run(&b, false, false, false, NULL), ERR_OK);
    assert_int_equal(b.mask[3], MASK_SATURATED);
    assert_int_equal(b.mask[4], 0);
}

static void test_calibrate__blank_pixels_of_float_frames_are_no_data(void **state)
{
    (void)state;
    float pixels[NX], sci[NX], var[NX];
    mask_t mask[NX];
    for (int i = 0; i < NX; i++) pixels[i] = 100.5f;
    pixels[1] = NAN;
    pixels[2] = INFINITY;
    struct raw_rows raw = {.nx = NX, .y0 = 0, .y1 = 1, .f32 = pixels};
    struct amp a = {.name = "A", .data = {0, NX, 0, 1}, .dest = {0, NX, 0, 1}, .gain_e_per_adu = 1, .rdnoise_e = NAN,
                    .saturate_adu = NAN};
    struct calibrate_plan plan = {.nx = NX, .ny = 1};
    struct calibrate_counts counts;
    assert_int_equal(calibrate_frame(&raw, &a, 1, &plan, sci, var, mask, &counts, NULL), ERR_OK);
    assert_close(sci[0], 100.5, 0);
    assert_int_equal(mask[1], MASK_NO_DATA);
    assert_true(mask[2] & MASK_NO_DATA);
    assert_close(sci[1], 0, 0);
    assert_close(var[2], 0, 0);
    assert_int_equal(counts.no_data, 2);
}

static void test_calibrate__two_amplifiers_meet_without_a_seam(void **state)
{
    (void)state;
    /* data A | overscan A | overscan B | data B (read from the right): gains 1 and 2, levels 100 and 300 */
    uint16_t pixels[12] = {110, 120, 130, 140, 100, 100, 300, 300, 335, 330, 325, 320};
    float sci[8], var[8];
    mask_t mask[8];
    struct amp amps[2] = {
        {.name = "A", .data = {0, 4, 0, 1}, .overscan = {4, 6, 0, 1}, .dest = {0, 4, 0, 1}, .gain_e_per_adu = 1, .rdnoise_e = 0, .saturate_adu = NAN},
        {.name = "B", .data = {8, 12, 0, 1}, .overscan = {6, 8, 0, 1}, .dest = {4, 8, 0, 1}, .flip_x = true, .gain_e_per_adu = 2, .rdnoise_e = 0, .saturate_adu = NAN},
    };
    struct raw_rows raw = {.nx = 12, .y0 = 0, .y1 = 1, .u16 = pixels};
    struct calibrate_plan plan = {.nx = 8, .ny = 1};
    struct calibrate_counts counts;
    amps_unflip(&raw, amps, 2);
    assert_int_equal(calibrate_frame(&raw, amps, 2, &plan, sci, var, mask, &counts, NULL), ERR_OK);
    const double want[8] = {10, 20, 30, 40, 40, 50, 60, 70};
    for (int i = 0; i < 8; i++) assert_close(sci[i], want[i], 1e-4);
    assert_close(counts.overscan_adu[1], 300, 0);
}

static void test_calibrate__unknown_gain_is_refused_by_name(void **state)
{
    (void)state;
    static struct bench b;
    struct error err = ERROR_INIT;
    fill(&b);
    b.amp.gain_e_per_adu = NAN;
    assert_int_equal(run(&b, false, false, false, &err), ERR_SHAPE);
    assert_non_null(strstr(err.message, "gain"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calibrate__value_and_variance_of_one_pixel),
        cmocka_unit_test(test_calibrate__bias_shared_with_the_dark_cancels),
        cmocka_unit_test(test_calibrate__skipped_steps_leave_the_electrons),
        cmocka_unit_test(test_calibrate__negative_signal_keeps_the_read_noise),
        cmocka_unit_test(test_calibrate__saturated_hot_and_dead_pixels_are_masked_and_finite),
        cmocka_unit_test(test_calibrate__sixteen_bit_end_is_saturated_when_nothing_says_it),
        cmocka_unit_test(test_calibrate__blank_pixels_of_float_frames_are_no_data),
        cmocka_unit_test(test_calibrate__two_amplifiers_meet_without_a_seam),
        cmocka_unit_test(test_calibrate__unknown_gain_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
