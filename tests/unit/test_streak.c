#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/stats.h"
#include "processors/streak.h"
#include "tests/support/check.h"

enum { NX = 520, NY = 400 };

static void noise_frame(float *sci, mask_t *mask)
{
    struct philox p;
    philox_init(&p, 21, 0);
    for (int i = 0; i < NX * NY; i++) sci[i] = (float)(100 + 10 * philox_normal(&p)), mask[i] = 0;
}

/* The line x = 60 + y, 12 electrons high: 1.2 sigma, Gaussian of 2 pixels across. */
static void add_line(float *sci, int from, int to)
{
    for (int y = 0; y < NY; y++)
        for (int x = 0; x < NX; x++) {
            double away = (x - 60 - y) / sqrt(2), along = (x - 60 + y) / sqrt(2);
            if (along > from && along < to) sci[y * NX + x] += (float)(12 * exp(-0.5 * away * away / 4));
        }
}

static void test_streak__a_faint_line_is_masked_over_its_width(void **state)
{
    (void)state;
    float *sci = malloc(sizeof(float) * NX * NY), *copy = malloc(sizeof(float) * NX * NY);
    mask_t *mask = malloc(sizeof(mask_t) * NX * NY), *twin = malloc(sizeof(mask_t) * NX * NY);
    struct streak_options o;
    struct streak_counts c;
    print_message("seed 21\n");
    streak_options_init(&o);
    noise_frame(sci, mask);
    assert_int_equal(streak_mask(sci, mask, NX, NY, &o, &c, NULL), ERR_OK);
    assert_int_equal(c.n, 0);
    add_line(sci, 0, 1000);
    memcpy(copy, sci, sizeof(float) * NX * NY);
    memcpy(twin, mask, sizeof(mask_t) * NX * NY);
    omp_set_num_threads(1);
    assert_int_equal(streak_mask(sci, mask, NX, NY, &o, &c, NULL), ERR_OK);
    assert_int_equal(c.n, 1);
    assert_memory_equal(copy, sci, sizeof(float) * NX * NY);
    assert_true(c.streak[0].half_width > 3 && c.streak[0].half_width < 14);
    for (int y = 0; y < NY; y++)
        for (int x = 0; x < NX; x++) {
            double away = abs(x - 60 - y) / sqrt(2);
            if (away < 3) assert_true(mask[y * NX + x] & MASK_STREAK);
            if (away > 16) assert_false(mask[y * NX + x] & MASK_STREAK);
        }
    for (int threads = 2; threads <= 8; threads *= 2) {
        mask_t *other = malloc(sizeof(mask_t) * NX * NY);
        memcpy(other, twin, sizeof(mask_t) * NX * NY);
        omp_set_num_threads(threads);
        assert_int_equal(streak_mask(sci, other, NX, NY, &o, &c, NULL), ERR_OK);
        assert_memory_equal(mask, other, sizeof(mask_t) * NX * NY);
        free(other);
    }
    free(sci), free(copy), free(mask), free(twin);
}

static void test_streak__short_lines_and_fading_ones_stay(void **state)
{
    (void)state;
    float *sci = malloc(sizeof(float) * NX * NY);
    mask_t *mask = malloc(sizeof(mask_t) * NX * NY);
    struct streak_options o;
    struct streak_counts c;
    streak_options_init(&o);
    noise_frame(sci, mask);
    add_line(sci, 100, 300); /* 200 pixels, 300 are a streak */
    assert_int_equal(streak_mask(sci, mask, NX, NY, &o, &c, NULL), ERR_OK);
    assert_int_equal(c.n, 0);
    noise_frame(sci, mask);
    for (int y = 0; y < NY; y++)
        for (int x = 0; x < NX; x++) sci[y * NX + x] += (float)(20000 / (1 + (x - 250.0) * (x - 250.0) / 25) * exp(-0.5 * (y - 200.0) * (y - 200.0) / 4)); /* a spike */
    assert_int_equal(streak_mask(sci, mask, NX, NY, &o, &c, NULL), ERR_OK);
    assert_int_equal(c.n, 0);
    assert_true(c.left_alone[STREAK_FADES] > 0);
    free(sci), free(mask);
}

static void test_streak__odd_frames_have_none(void **state)
{
    (void)state;
    float *sci = mem_zarray(NX * NY, sizeof(float));
    mask_t *mask = mem_zarray(NX * NY, sizeof(mask_t));
    struct streak_options o;
    struct streak_counts c;
    streak_options_init(&o);
    assert_int_equal(streak_mask(sci, mask, NX, NY, &o, &c, NULL), ERR_OK); /* one value everywhere */
    assert_int_equal(c.n, 0);
    for (int i = 0; i < NX * NY; i++) mask[i] = i % 2 ? MASK_NO_DATA : MASK_SATURATED;
    assert_int_equal(streak_mask(sci, mask, NX, NY, &o, &c, NULL), ERR_OK); /* nothing to look at */
    assert_int_equal(c.n, 0);
    noise_frame(sci, mask);
    for (int y = 0; y < NY; y++)
        for (int x = 0; x < NX; x++)
            if (x / 40 % 2) mask[y * NX + x] = MASK_NO_DATA, sci[y * NX + x] = 0; /* stripes */
    assert_int_equal(streak_mask(sci, mask, NX, NY, &o, &c, NULL), ERR_OK);
    assert_int_equal(c.n, 0);
    assert_int_equal(streak_mask(sci, mask, 1, 1, &o, &c, NULL), ERR_OK);
    assert_int_equal(streak_mask(sci, mask, 7, 500, &o, &c, NULL), ERR_OK);
    o.threshold = 0;
    assert_int_equal(streak_mask(sci, mask, NX, NY, &o, &c, NULL), ERR_USAGE);
    free(sci), free(mask);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streak__a_faint_line_is_masked_over_its_width),
        cmocka_unit_test(test_streak__short_lines_and_fading_ones_stay),
        cmocka_unit_test(test_streak__odd_frames_have_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
