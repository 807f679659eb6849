#include "common/frame.h"
#include "tests/support/check.h"

static void test_frame__planes_are_zero_aligned_and_travel_together(void **state)
{
    (void)state;
    struct frame f;
    frame_init(&f);
    assert_int_equal(frame_alloc(&f, 5, 3, FRAME_ALL, NULL), ERR_OK);
    assert_int_equal(frame_npix(&f), 15);
    assert_int_equal((uintptr_t)f.sci % 64 | (uintptr_t)f.var % 64 | (uintptr_t)f.mask % 64, 0);
    for (int i = 0; i < 15; i++) assert_true(f.sci[i] == 0 && f.var[i] == 0 && f.mask[i] == 0);
    frame_release(&f);
    assert_null(f.sci);
    frame_release(&f); /* a released frame may be released again */
}

static void test_frame__absurd_sides_are_refused_before_memory(void **state)
{
    (void)state;
    struct frame f;
    struct error err = ERROR_INIT;
    frame_init(&f);
    assert_int_equal(frame_alloc(&f, 0, 3, FRAME_SCI, &err), ERR_SHAPE);
    assert_int_equal(frame_alloc(&f, FRAME_MAX_SIDE + 1, 3, FRAME_SCI, &err), ERR_SHAPE);
    assert_int_equal(frame_alloc(&f, 3, INT64_MAX, FRAME_SCI, &err), ERR_SHAPE);
    assert_null(f.sci);
    frame_release(&f);
}

static void check_section(const char *text, int64_t x0, int64_t x1, int64_t y0, int64_t y1, bool flip_x, bool flip_y)
{
    struct section s = {-1, -1, -1, -1};
    bool fx = true, fy = true;
    struct error err = ERROR_INIT;
    if (section_parse(text, 100, 50, &s, &fx, &fy, &err)) fail_msg("%s: %s", text, err.message);
    assert_true(s.x0 == x0 && s.x1 == x1 && s.y0 == y0 && s.y1 == y1);
    assert_true(fx == flip_x && fy == flip_y);
}

static void test_section__iraf_forms(void **state)
{
    (void)state;
    check_section("[1:100,1:50]", 0, 100, 0, 50, false, false);
    check_section(" [ 3 : 10 , 5 ] ", 2, 10, 4, 5, false, false);
    check_section("[*,2:3]", 0, 100, 1, 3, false, false);
    check_section("[100:91,-*]", 90, 100, 0, 50, true, true);
    check_section("[96:99]", 95, 99, 0, 50, false, false);
    check_section("1:2,3:4", 0, 2, 2, 4, false, false);
}

static void test_section__bad_forms_are_errors(void **state)
{
    (void)state;
    struct section s = {7, 7, 7, 7};
    const char *unreadable[] = {"", "[", "[a:b]", "[1:]", "[1:2,]", "[1:2,3:4,5:6]", "[1:2] x", "[1:99999999999]", "[-5:2]"};
    for (size_t i = 0; i < sizeof unreadable / sizeof unreadable[0]; i++)
        assert_int_equal(section_parse(unreadable[i], 100, 50, &s, NULL, NULL, NULL), ERR_CORRUPT);
    assert_int_equal(section_parse("[0:5,1:5]", 100, 50, &s, NULL, NULL, NULL), ERR_SHAPE);
    assert_int_equal(section_parse("[1:101,1:5]", 100, 50, &s, NULL, NULL, NULL), ERR_SHAPE);
    assert_int_equal(section_parse("[1:5,51:40]", 100, 50, &s, NULL, NULL, NULL), ERR_SHAPE);
    assert_int_equal(s.x0, 7); /* untouched */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frame__planes_are_zero_aligned_and_travel_together),
        cmocka_unit_test(test_frame__absurd_sides_are_refused_before_memory),
        cmocka_unit_test(test_section__iraf_forms),
        cmocka_unit_test(test_section__bad_forms_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
