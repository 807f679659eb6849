#include <stdlib.h>
#include <string.h>

#include "common/stats.h"
#include "processors/badpix.h"
#include "processors/bleed.h"
#include "processors/fringe.h"
#include "processors/linearity.h"
#include "processors/rawsignal.h"
#include "tests/support/check.h"

/* ---- linearity ---- */

static void test_linearity__polynomial_and_table_agree_with_hand(void **state)
{
    (void)state;
    struct linearity l;
    float v[] = {-5, 0, 100, 1000, NAN};
    assert_int_equal(linearity_from_terms((const double[]){1e-4, 2e-8}, 2, &l, NULL), ERR_OK);
    linearity_apply(&l, v, 5);
    assert_close(v[0], -5, 0);
    assert_close(v[1], 0, 0);
    assert_close(v[2], 100 * (1 + 0.01 + 0.0002), 1e-4);
    assert_close(v[3], 1000 * (1 + 0.1 + 0.02), 1e-3);
    assert_true(isnan(v[4]));
    float w[] = {50, 100, 150, 200, 400, -1};
    assert_int_equal(linearity_from_table((const double[]){100, 110, 200, 230}, 4, &l, NULL), ERR_OK);
    linearity_apply(&l, w, 6);
    assert_close(w[0], 55, 1e-4);
    assert_close(w[1], 110, 1e-4);
    assert_close(w[2], 170, 1e-4);
    assert_close(w[3], 230, 1e-4);
    assert_close(w[4], 460, 1e-3); /* the last ratio holds */
    assert_close(w[5], -1, 0);
    assert_int_equal(linearity_from_table((const double[]){100, 110, 90, 230}, 4, &l, NULL), ERR_USAGE);
    assert_int_equal(linearity_from_table((const double[]){100, 110, 120}, 3, &l, NULL), ERR_USAGE);
    assert_int_equal(linearity_from_terms((const double[]){NAN}, 1, &l, NULL), ERR_USAGE);
}

/* ---- curves ---- */

static void test_curve__smooths_clips_and_fills(void **state)
{
    (void)state;
    enum { N = 400 };
    struct philox p;
    philox_init(&p, 3, 0);
    print_message("seed 3\n");
    for (int kind = CURVE_POLYNOMIAL; kind <= CURVE_SPLINE; kind++) {
        float v[N];
        double truth[N];
        for (int i = 0; i < N; i++) {
            double t = i / (double)N;
            truth[i] = 1000 + 20 * t - 30 * t * t + 5 * t * t * t;
            v[i] = (float)(truth[i] + 0.5 * philox_normal(&p));
            if (i % 37 == 5) v[i] = NAN;
            if (i % 61 == 7) v[i] += 300; /* a cosmic ray */
        }
        assert_int_equal(curve_fit(kind, kind == CURVE_SPLINE ? 8 : 3, v, N, NULL), ERR_OK);
        for (int i = 0; i < N; i++) assert_close(v[i], truth[i], 0.4); /* sigma of the fit: 0.5 sqrt(8 / 400) = 0.07, more at the ends */
    }
    float gaps[] = {NAN, 2, NAN, NAN, 8, INFINITY}, none[] = {NAN, NAN};
    assert_int_equal(curve_fit(CURVE_EACH, 0, gaps, 6, NULL), ERR_OK);
    for (int i = 0; i < 6; i++) assert_close(gaps[i], ((float[]){2, 2, 4, 6, 8, 8})[i], 1e-5);
    assert_int_equal(curve_fit(CURVE_SPLINE, 5, none, 2, NULL), ERR_OK);
    assert_close(none[0], 0, 0);
    float one[] = {7};
    assert_int_equal(curve_fit(CURVE_POLYNOMIAL, 30, one, 1, NULL), ERR_OK);
    assert_true(isfinite(one[0]));
}

/* ---- rows ---- */

/* Two amplifiers of 4 x 3 beside each other, the right one read from the right; 2 columns of overscan each. */
static const struct amp two[2] = {
    {.name = "A", .data = {0, 4, 0, 3}, .overscan = {4, 6, 0, 3}, .prescan = {0, 4, 3, 5}, .dest = {0, 4, 0, 3}, .gain_e_per_adu = 1, .rdnoise_e = 5, .saturate_adu = 5000},
    {.name = "B", .data = {6, 10, 0, 3}, .overscan = {10, 12, 0, 3}, .prescan = {6, 10, 3, 5}, .dest = {4, 8, 0, 3}, .gain_e_per_adu = 1, .rdnoise_e = 5, .saturate_adu = 5000},
};

static void fill(uint16_t *raw)
{
    for (int y = 0; y < 5; y++)
        for (int x = 0; x < 12; x++) raw[y * 12 + x] = (uint16_t)(1000 + 10 * (x / 6) + (x % 6 < 4 && y > 2 ? x % 6 : 0));
}

static void test_rawsignal__crosstalk_follows_the_readout(void **state)
{
    (void)state;
    uint16_t pixels[60];
    fill(pixels);
    pixels[1 * 12 + 8] = 6010;    /* B, row 1, third column: second from its right edge */
    pixels[1 * 12 + 2] = 1000 + 50; /* its ghost in A: 1 % of 5000 at the second column from the left is what we expect at column 1 */
    pixels[1 * 12 + 1] = 1000 + 50;
    float matrix[4] = {0, 0.01f, 0, 0}, v[4], work[4];
    mask_t marks[4];
    struct rawsignal_options o = {.serial = CURVE_EACH, .crosstalk = matrix, .namp_crosstalk = 2, .corner = {"ll", "lr"}, .nsuspect = 1, .suspect_adu = {4000}};
    struct raw_rows raw = {.nx = 12, .y0 = 0, .y1 = 5, .u16 = pixels};
    struct rawsignal s;
    struct amp_run run;
    assert_true(rawsignal_is_needed(&o));
    assert_int_equal(rawsignal_measure(&o, &raw, two, 2, &s, NULL), ERR_OK);
    assert_true(amp_run_of_row(&two[0], 1, &run));
    rawsignal_row(&s, &raw, NULL, 0, 1, &run, 5000, work, v, marks);
    assert_close(v[1], 0, 1e-3);
    assert_close(v[2], 50, 1e-3);
    assert_int_equal(marks[1], MASK_CROSSTALK);
    assert_int_equal(marks[2], 0);
    assert_true(amp_run_of_row(&two[1], 1, &run));
    rawsignal_row(&s, &raw, NULL, 1, 1, &run, 5000, work, v, marks);
    assert_close(v[2], 5000, 1e-3);
    assert_int_equal(marks[2], MASK_SATURATED | MASK_SUSPECT);
    rawsignal_row(&s, &raw, NULL, 1, 1, &run, 5000, work, v, NULL);
    assert_true(isnan(v[2]));
    int64_t y0, y1;
    rawsignal_ghost_rows(&o, two, 2, 1, 2, &y0, &y1);
    assert_true(y0 == 1 && y1 == 2);
    memcpy(o.corner[1], "ur", 3);
    rawsignal_ghost_rows(&o, two, 2, 0, 1, &y0, &y1);
    assert_true(y0 == 2 && y1 == 3);
    assert_int_equal(rawsignal_verify(&o, 3, NULL), ERR_USAGE);
    rawsignal_release(&s);
}

static void test_rawsignal__parallel_overscan_takes_the_columns_level(void **state)
{
    (void)state;
    uint16_t pixels[60];
    fill(pixels);
    struct rawsignal_options o = {.serial = CURVE_MEDIAN, .parallel = CURVE_EACH};
    struct raw_rows raw = {.nx = 12, .y0 = 0, .y1 = 5, .u16 = pixels};
    struct rawsignal s;
    struct amp_run run;
    float v[4], work[4];
    mask_t marks[4];
    assert_int_equal(rawsignal_measure(&o, &raw, two, 2, &s, NULL), ERR_OK);
    assert_true(amp_run_of_row(&two[1], 0, &run));
    rawsignal_row(&s, &raw, NULL, 1, 0, &run, INFINITY, work, v, marks);
    for (int i = 0; i < 4; i++) assert_close(v[i], -i, 1e-4); /* the parallel overscan rises by one ADU a column */
    rawsignal_release(&s);
    struct amp bad = two[0];
    bad.prescan.y1 = 9;
    assert_int_equal(rawsignal_measure(&o, &raw, &bad, 1, &s, NULL), ERR_SHAPE);
}

/* ---- trails and defects ---- */

static void test_bleed__trails_and_their_ends(void **state)
{
    (void)state;
    enum { NX = 20, NY = 40 };
    float sci[NX * NY], var[NX * NY];
    mask_t mask[NX * NY] = {0};
    int64_t n;
    for (int i = 0; i < NX * NY; i++) sci[i] = 10, var[i] = 10;
    for (int y = 10; y < 30; y++) sci[y * NX + 7] = 9e4f, mask[y * NX + 7] = MASK_SATURATED; /* a trail of one column */
    sci[30 * NX + 7] = 4e4f;  /* its last charge */
    sci[31 * NX + 7] = 500;
    for (int y = 18; y < 22; y++)
        for (int x = 3; x < 12; x++) mask[y * NX + x] |= MASK_SATURATED; /* the star */
    mask[5 * NX + 15] = MASK_SATURATED; /* a lone pixel */
    assert_int_equal(bleed_mark(sci, var, mask, NX, NY, &n, NULL), ERR_OK);
    for (int y = 10; y < 30; y++) assert_int_equal((mask[y * NX + 7] & MASK_BLEED) != 0, y < 18 || y >= 22);
    assert_true(mask[30 * NX + 7] & MASK_BLEED && mask[31 * NX + 7] & MASK_BLEED && !(mask[32 * NX + 7] & MASK_BLEED));
    assert_true(mask[9 * NX + 7] & MASK_BLEED); /* whatever is beside a saturated run */
    assert_false(mask[6 * NX + 15] & MASK_BLEED);
    for (int i = 0; i < NX * NY; i++) mask[i] = MASK_SATURATED; /* all of it */
    assert_int_equal(bleed_mark(sci, var, mask, NX, NY, &n, NULL), ERR_OK);
    assert_int_equal(n, 0);
}

static void test_badpix__defects_take_the_line_between_good_pixels(void **state)
{
    (void)state;
    enum { NX = 30, NY = 30 };
    float sci[NX * NY], var[NX * NY];
    mask_t mask[NX * NY] = {0};
    int64_t n;
    for (int i = 0; i < NX * NY; i++) sci[i] = (float)(i % NX) + 100 * (float)(i / NX), var[i] = 4;
    for (int y = 0; y < NY; y++) mask[y * NX + 12] = MASK_BAD, sci[y * NX + 12] = 1e6f; /* a column */
    for (int x = 0; x < NX; x++) mask[20 * NX + x] |= MASK_LOWFLAT, sci[20 * NX + x] = -7;  /* a row */
    for (int y = 2; y < 14; y++)
        for (int x = 16; x < 28; x++) mask[y * NX + x] = MASK_HOT; /* too wide */
    mask[0] = MASK_BAD;  /* a corner has no two sides */
    mask[5 * NX + 5] = MASK_BAD | MASK_NO_DATA, sci[5 * NX + 5] = 0;
    badpix_mend(sci, var, mask, NX, NY, &n);
    assert_close(sci[7 * NX + 12], 712, 1e-3);
    assert_int_equal(mask[7 * NX + 12], MASK_BAD | MASK_INTERPOLATED);
    assert_close(sci[20 * NX + 3], 2003, 1e-2);
    assert_true(mask[20 * NX + 3] & MASK_INTERPOLATED && mask[20 * NX + 3] & MASK_LOWFLAT);
    assert_int_equal(mask[8 * NX + 22], MASK_HOT);
    assert_int_equal(mask[0], MASK_BAD);
    assert_int_equal(mask[5 * NX + 5], MASK_BAD | MASK_NO_DATA);
    for (int i = 0; i < NX * NY; i++) assert_close(var[i], 4, 1e-6);
    assert_true(n > NX + NY - 4);
}

static void test_fringe__scale_is_found_among_stars(void **state)
{
    (void)state;
    enum { SIDE = 512 };
    struct philox p;
    float *sci = malloc(sizeof(float) * SIDE * SIDE), *pattern = malloc(sizeof(float) * SIDE * SIDE);
    mask_t *mask = calloc(SIDE * SIDE, sizeof *mask);
    double scale = 0;
    philox_init(&p, 5, 0);
    print_message("seed 5\n");
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            int i = y * SIDE + x;
            pattern[i] = (float)(sin(x / 9.0 + 0.5 * sin(y / 31.0)) * 0.02);
            sci[i] = (float)(500 + 0.05 * x + 400 * pattern[i] + 22 * philox_normal(&p));
            if (x % 90 < 5 && y % 70 < 5) sci[i] += 3000; /* stars */
            if (x == 200) pattern[i] = NAN;
            if (y == 300) mask[i] = MASK_BAD, sci[i] = 1e6f;
        }
    assert_int_equal(fringe_fit(sci, mask, pattern, SIDE, SIDE, &scale, NULL), ERR_OK);
    assert_close(scale, 400, 20); /* 22 / sqrt(512 * 512) / 0.014 = 3; some more for the blocks left out */
    fringe_remove(sci, pattern, SIDE * SIDE, scale);
    assert_true(isfinite(sci[200]));
    assert_int_equal(fringe_fit(sci, mask, pattern, SIDE, SIDE, &scale, NULL), ERR_OK);
    assert_close(scale, 0, 10); /* 3 sigma of the fit; the clip is another one now */
    for (int i = 0; i < SIDE * SIDE; i++) mask[i] = MASK_NO_DATA;
    assert_int_equal(fringe_fit(sci, mask, pattern, SIDE, SIDE, &scale, NULL), ERR_OK);
    assert_close(scale, 0, 0);
    free(sci), free(pattern), free(mask);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linearity__polynomial_and_table_agree_with_hand),
        cmocka_unit_test(test_curve__smooths_clips_and_fills),
        cmocka_unit_test(test_rawsignal__crosstalk_follows_the_readout),
        cmocka_unit_test(test_rawsignal__parallel_overscan_takes_the_columns_level),
        cmocka_unit_test(test_fringe__scale_is_found_among_stars),
        cmocka_unit_test(test_bleed__trails_and_their_ends),
        cmocka_unit_test(test_badpix__defects_take_the_line_between_good_pixels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
