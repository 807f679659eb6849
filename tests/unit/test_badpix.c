#include "common/stats.h"
#include "processors/badpix.h"
#include "tests/support/check.h"

#include <stdlib.h>

enum { NX = 300, NY = 260 };

static float *noise_plane(double level, double sigma, uint64_t seed)
{
    struct philox p;
    float *v = malloc(sizeof(float) * NX * NY);
    philox_init(&p, seed, 0);
    for (int i = 0; i < NX * NY; i++) v[i] = (float)(level + sigma * philox_normal(&p));
    return v;
}

static void test_badpix__hot_and_cold_pixels_of_a_dark(void **state)
{
    (void)state;
    float *dark = noise_plane(0.1, 0.02, 1);
    mask_t *mask = calloc(NX * NY, sizeof *mask);
    struct plane_level level;
    dark[1000] = 3;
    dark[1001] = -2;
    assert_int_equal(plane_level_of(dark, NULL, NX * NY, &level, NULL), ERR_OK);
    assert_close(level.median, 0.1, 0.001);
    assert_close(level.sigma, 0.02, 0.0005);
    assert_int_equal(badpix_dark(dark, NX * NY, &level, 8, mask), 1);
    assert_int_equal(mask[1000], MASK_HOT);
    assert_int_equal(mask[1001], MASK_BAD);
    free(dark);
    free(mask);
}

static void test_badpix__low_response(void **state)
{
    (void)state;
    float flat[4] = {1, 0.2f, NAN, 0.21f};
    mask_t mask[4] = {0};
    assert_int_equal(badpix_flat(flat, 4, 0.2, mask), 2);
    assert_int_equal(mask[1] & mask[2], MASK_LOWFLAT);
    assert_int_equal(mask[3], 0);
}

static void test_badpix__partial_column_is_marked_from_its_segment_on(void **state)
{
    (void)state;
    float *plane = noise_plane(1, 0.01, 2);
    mask_t *mask = calloc(NX * NY, sizeof *mask);
    int64_t segments = 0;
    for (int y = 128; y < NY; y++) plane[y * NX + 77] += 0.1f;
    assert_int_equal(badpix_columns(plane, NX, NY, 8, 0.03, mask, &segments, NULL), ERR_OK);
    assert_int_equal(segments, 2);
    assert_int_equal(mask[200 * NX + 77], MASK_BAD);
    assert_int_equal(mask[100 * NX + 77], 0);
    assert_int_equal(mask[200 * NX + 78], 0);
    free(plane);
    free(mask);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_badpix__hot_and_cold_pixels_of_a_dark),
        cmocka_unit_test(test_badpix__low_response),
        cmocka_unit_test(test_badpix__partial_column_is_marked_from_its_segment_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
