#include "pipeline/skyindex.h"
#include "common/skycoord.h"
#include "common/stats.h"
#include "tests/support/check.h"

/* Points scattered by less than the radius about far-apart places, also at a pole and at RA 0/360, each get one star. */
static void test_skyindex__one_star_per_place(void **state)
{
    (void)state;
    const double place[][2] = {{10, 20}, {0, 0}, {180, 89.99999}, {33, -90}, {240.18, 43.144}};
    enum { PLACES = 5, POINTS = 400 };
    struct skyindex *x = skyindex_new(1 / 3600.0);
    struct philox p;
    int star_of[PLACES];
    philox_init(&p, 3, 0);
    print_message("seed 3\n");
    for (int i = 0; i < PLACES; i++) assert_int_equal(skyindex_find_or_add(x, place[i][0], place[i][1], &star_of[i], NULL), ERR_OK);
    for (int i = 0; i < POINTS; i++) {
        int k = i % PLACES, star;
        double step = 0.9 / 3600 * philox_uniform(&p), dec = place[k][1] + (k == 3 ? step : -step);
        double ra = k == 3 ? 360 * philox_uniform(&p) : place[k][0] < 1 ? 360 - 1e-5 * philox_uniform(&p) : place[k][0];
        assert_int_equal(skyindex_find_or_add(x, ra, dec, &star, NULL), ERR_OK);
        if (sky_distance_deg(ra, dec, place[k][0], place[k][1]) < 1 / 3600.0) assert_int_equal(star, star_of[k]);
    }
    assert_int_equal(skyindex_count(x), PLACES);
    skyindex_free(x);
}

static void test_skyindex__many_stars_survive_growth(void **state)
{
    (void)state;
    struct skyindex *x = skyindex_new(1 / 3600.0);
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < 5000; i++) {
            int star;
            assert_int_equal(skyindex_find_or_add(x, i * 0.07, 80 * sin(i), &star, NULL), ERR_OK);
            assert_int_equal(star, i);
        }
    skyindex_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_skyindex__one_star_per_place),
        cmocka_unit_test(test_skyindex__many_stars_survive_growth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
