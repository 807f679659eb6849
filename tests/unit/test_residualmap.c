#include "pipeline/residualmap.h"
#include "tests/support/check.h"

#include <string.h>

static void test_residualmap__bar_is_round_and_follows_the_used_ones(void **state)
{
    (void)state;
    struct wcs_residual v[3] = {{.dx = 0.03, .dy = 0.04, .kept = true}, {.dx = -0.05, .kept = true}, {.dx = 900, .kept = false}};
    double bar = residualmap_bar(v, 3);
    assert_close(bar, 0.1, 1e-12);
    for (int i = 0; i < 2; i++) v[i].dx *= 1000, v[i].dy *= 1000;
    assert_close(residualmap_bar(v, 3), 100, 1e-9);
    assert_close(residualmap_bar(v, 0), 1, 0);
    v[0].dx = v[1].dx = NAN;
    assert_close(residualmap_bar(v, 3), 1, 0);
}

static long size_of(const char *path, uint8_t *bytes, size_t room)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(bytes, 1, room, f);
    fclose(f);
    return (long)n;
}

static void test_residualmap__odd_numbers_give_a_picture_and_the_same_bytes(void **state)
{
    (void)state;
    static uint8_t a[1 << 20], b[1 << 20];
    char *folder = test_make_folder(), path[512];
    struct wcs_residual v[5] = {{.x = 10, .y = 20, .dx = 0.1, .dy = 0.2, .kept = true}, {.x = 1e30, .y = -1e30, .dx = 1, .kept = true},
                                {.x = NAN, .y = 5, .dx = 1, .kept = true}, {.x = 50, .y = 5, .dx = 1e300, .dy = 1e300}, {.x = 5, .y = 5, .dx = -INFINITY}};
    const int64_t shapes[3][2] = {{100, 80}, {1, 100000}, {100000, 1}};
    for (int s = 0; s < 3; s++) {
        struct error err = ERROR_INIT;
        snprintf(path, sizeof path, "%s/map%d.png", folder, s);
        assert_int_equal(residualmap_write(path, v, 5, shapes[s][0], shapes[s][1], &err), ERR_OK);
        long n = size_of(path, a, sizeof a);
        assert_true(n > 100);
        assert_memory_equal(a + 1, "PNG", 3);
        assert_int_equal(residualmap_write(path, v, 5, shapes[s][0], shapes[s][1], &err), ERR_OK);
        assert_int_equal(size_of(path, b, sizeof b), n);
        assert_memory_equal(a, b, (size_t)n);
    }
    v[0].dy = -0.2; /* another residual, another picture */
    assert_int_equal(residualmap_write(path, v, 5, 100, 80, NULL), ERR_OK);
    snprintf(path, sizeof path, "%s/map0.png", folder);
    long n = size_of(path, a, sizeof a);
    snprintf(path, sizeof path, "%s/map2.png", folder);
    assert_true(size_of(path, b, sizeof b) != n || memcmp(a, b, (size_t)n));
    test_remove_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_residualmap__bar_is_round_and_follows_the_used_ones),
        cmocka_unit_test(test_residualmap__odd_numbers_give_a_picture_and_the_same_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
