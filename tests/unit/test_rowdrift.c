#include "common/stats.h"
#include "processors/rowdrift.h"
#include "tests/support/check.h"

#include <stdlib.h>

enum { NX = 200, NY = 400 };

static void test_rowdrift__removes_a_wave_and_keeps_the_sky(void **state)
{
    (void)state;
    struct philox p;
    float *sci = malloc(sizeof(float) * NX * NY);
    mask_t *mask = calloc(NX * NY, sizeof *mask);
    double range, sum = 0;
    philox_init(&p, 4, 0);
    print_message("seed 4\n");
    for (int y = 0; y < NY; y++)
        for (int x = 0; x < NX; x++) {
            double t = y / (double)NY;
            sci[y * NX + x] = (float)(50 + 30 * (t - 0.5) + 10 * sin(3 * t) - 10 * 0.66 + 5 * philox_normal(&p));
            if (x < 5) sci[y * NX + x] = 1e6f, mask[y * NX + x] = MASK_SATURATED;
            if (y > 200 && y < 210) sci[y * NX + x] += 500; /* a satellite along the rows */
        }
    assert_int_equal(rowdrift_remove(sci, mask, NULL, NX, NY, 6, &range, NULL), ERR_OK);
    assert_true(range > 20 && range < 40);
    for (int y = 0; y < NY; y++) {
        float row[NX];
        if (y > 200 && y < 210) continue;
        for (int x = 5; x < NX; x++) row[x - 5] = sci[y * NX + x];
        double level = median_f32(row, NX - 5);
        assert_close(level, 50, 2.5); /* 5 sigma of a row's median: 1.25 * 5 / sqrt(195) = 0.45 */
        sum += level / NY;
    }
    assert_close(sum, 50 * 391.0 / 400, 0.5);
    free(sci);
    free(mask);
}

static void test_rowdrift__frames_that_cannot_be_fitted_stay_as_they_are(void **state)
{
    (void)state;
    float sci[64];
    mask_t mask[64];
    double range = -1;
    for (int i = 0; i < 64; i++) sci[i] = (float)i, mask[i] = MASK_NO_DATA;
    assert_int_equal(rowdrift_remove(sci, mask, NULL, 4, 16, 6, &range, NULL), ERR_OK); /* nothing usable */
    assert_close(range, 0, 0);
    assert_int_equal(rowdrift_remove(sci, mask, NULL, 64, 1, 6, &range, NULL), ERR_OK); /* one row */
    for (int i = 0; i < 64; i++) assert_close(sci[i], i, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rowdrift__removes_a_wave_and_keeps_the_sky),
        cmocka_unit_test(test_rowdrift__frames_that_cannot_be_fitted_stay_as_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
