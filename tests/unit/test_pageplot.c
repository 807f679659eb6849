#include "pipeline/pageplot.h"
#include "tests/support/check.h"

#include <string.h>

static void test_pageplot__steps_are_round(void **state)
{
    (void)state;
    assert_close(plot_step(10, 5), 2, 1e-12);
    assert_close(plot_step(11, 5), 5, 1e-12);
    assert_close(plot_step(0.31, 4), 0.1, 1e-12);
    assert_close(plot_step(7e6, 5), 2e6, 1e-3);
    assert_close(plot_step(0, 5), 1, 0);
    assert_close(plot_step(NAN, 5), 1, 0);
}

static void test_pageplot__range_holds_the_values_and_survives_odd_ones(void **state)
{
    (void)state;
    double v[] = {3, NAN, 5, INFINITY}, none[] = {NAN}, same[] = {60000.5};
    struct plot_axis a = plot_range(v, 4, PLOT_LINEAR, 0, "x");
    assert_true(a.lo < 3 && a.lo > 2.5 && a.hi > 5 && a.hi < 5.5);
    a = plot_range(none, 1, PLOT_LINEAR, 0, "x");
    assert_true(a.lo < a.hi && isfinite(a.lo) && isfinite(a.hi));
    a = plot_range(same, 1, PLOT_TIME, 0.01, "x");
    assert_true(a.lo < 60000.5 && a.hi > 60000.5 && a.hi - a.lo < 0.02);
    a = plot_range(same, 0, PLOT_LOG, 0, "x");
    assert_true(a.lo > 0 && a.hi > a.lo);
}

static void test_pageplot__data_falls_where_it_should(void **state)
{
    (void)state;
    struct plot p = {.width = 200, .height = 100, .left = 50, .right = 50, .top = 10, .bottom = 10, .x = {0, 10, PLOT_LINEAR}, .y = {0.01, 1, PLOT_LOG}};
    assert_close(plot_x(&p, 0), 50, 1e-9);
    assert_close(plot_x(&p, 10), 150, 1e-9);
    assert_close(plot_x(&p, 99), 150, 1e-9); /* kept in the frame */
    assert_close(plot_y(&p, 0.1), 50, 1e-9);
    p.y = (struct plot_axis){10, 20, PLOT_LINEAR, true, NULL};
    assert_close(plot_y(&p, 10), 10, 1e-9); /* magnitudes: the brighter one is higher */
    assert_close(plot_y(&p, 20), 90, 1e-9);
}

static void test_pageplot__text_is_escaped(void **state)
{
    (void)state;
    struct page p = {0};
    page_escaped(&p, "<a href=\"x\">&\x01\xff\xc3\xa9\xe2\x82");
    assert_string_equal(p.text, "&lt;a href=&quot;x&quot;&gt;&amp;??\xc3\xa9??");
    page_release(&p);
    page_url(&p, "previews/a b#1%.png");
    assert_string_equal(p.text, "previews/a%20b%231%25.png");
    page_release(&p);
}

static void test_pageplot__ticks_of_a_night_are_clock_times(void **state)
{
    (void)state;
    struct page page = {0};
    struct plot p = {.page = &page, .width = 560, .height = 300, .left = 50, .right = 12, .top = 24, .bottom = 36,
                     .x = {60825.90, 60826.15, PLOT_TIME}, .y = {0, 1, PLOT_LINEAR}}; /* over midnight: 21:36 to 03:36 */
    plot_begin(&p, "night");
    plot_axes(&p);
    plot_point(&p, NAN, 1, 3, "f0", NULL);
    plot_end(&p);
    assert_non_null(strstr(page.text, ">22:00<"));
    assert_non_null(strstr(page.text, ">00:00<"));
    assert_non_null(strstr(page.text, ">03:00<"));
    assert_null(strstr(page.text, "24:00"));
    assert_null(strstr(page.text, "nan"));
    assert_null(strstr(page.text, "<circle"));
    page_release(&page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pageplot__steps_are_round),
        cmocka_unit_test(test_pageplot__range_holds_the_values_and_survives_odd_ones),
        cmocka_unit_test(test_pageplot__data_falls_where_it_should),
        cmocka_unit_test(test_pageplot__text_is_escaped),
        cmocka_unit_test(test_pageplot__ticks_of_a_night_are_clock_times),
    };
    return cmocka_run_group_tests_name("pageplot", tests, NULL, NULL);
}
