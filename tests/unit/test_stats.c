#include "common/stats.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>

static void test_stats__median_of_few_values(void **state)
{
    (void)state;
    float odd[] = {5, 1, 3}, even[] = {4, 1, 3, 2}, holes[] = {NAN, 7, NAN, 9};
    float infinite[] = {INFINITY, INFINITY};
    assert_close(median_f32(odd, 3), 3, 0);
    assert_close(median_f32(even, 4), 2.5, 0);
    assert_close(median_f32(holes, 4), 8, 0);
    assert_true(isinf(median_f32(infinite, 2)));
    assert_true(isnan(median_f32(odd, 0)));
    float only_nan[] = {NAN};
    assert_true(isnan(median_f32(only_nan, 1)));
}

static void test_stats__mad_of_known_values(void **state)
{
    (void)state;
    double v[] = {1, 2, 3, 4, 100};
    assert_close(mad_sigma_f64(v, 5, 3), 1.482602218505602, 1e-15);
}

static void test_stats__clipping_drops_outliers(void **state)
{
    (void)state;
    float v[100], work[100];
    for (int i = 0; i < 100; i++) v[i] = (float)(i % 5);
    v[7] = 1e6f;
    v[8] = -1e6f;
    v[9] = NAN;
    v[10] = INFINITY;
    struct clipped c = clipped_stats_f32(v, 100, work, 3, 3, 10);
    assert_int_equal(c.n, 96);
    assert_close(c.median, 2, 0);
    assert_close(c.sigma, 1.41, 0.02);
    struct clipped whole = clipped_stats_f32(v, 100, work, 3, 3, 0);
    assert_int_equal(whole.n, 98);
    assert_int_equal(whole.iterations, 0);
    struct clipped none = clipped_stats_f32(v, 0, work, 3, 3, 5);
    assert_int_equal(none.n, 0);
    assert_true(isnan(none.mean));
}

/* Known answers published with Random123 (kat_vectors, philox4x32 10 rounds). */
static void test_stats__philox_known_answers(void **state)
{
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], want[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (int i = 0; i < 3; i++) {
        uint32_t got[4];
        philox_block(known[i].key, known[i].counter, got);
        assert_memory_equal(got, known[i].want, sizeof got);
    }
}

static void test_stats__streams_differ_and_repeat(void **state)
{
    (void)state;
    struct philox a, b, c;
    philox_init(&a, 1, 2);
    philox_init(&b, 1, 2);
    philox_init(&c, 1, 3);
    int equal = 0;
    for (int i = 0; i < 1000; i++) {
        uint32_t x = philox_u32(&a);
        assert_int_equal(x, philox_u32(&b));
        equal += x == philox_u32(&c);
    }
    assert_true(equal < 3);
}

static void test_stats__poisson_of_odd_means(void **state)
{
    (void)state;
    struct philox p;
    philox_init(&p, 5, 0);
    assert_int_equal(philox_poisson(&p, 0), 0);
    assert_int_equal(philox_poisson(&p, -3), 0);
    assert_int_equal(philox_poisson(&p, NAN), 0);
    assert_true(philox_poisson(&p, INFINITY) > (int64_t)9e17);
    assert_true(llabs(philox_poisson(&p, 1e12) - (int64_t)1e12) < (int64_t)1e7); /* 10 sigma */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stats__median_of_few_values),  cmocka_unit_test(test_stats__mad_of_known_values),
        cmocka_unit_test(test_stats__clipping_drops_outliers), cmocka_unit_test(test_stats__philox_known_answers),
        cmocka_unit_test(test_stats__streams_differ_and_repeat), cmocka_unit_test(test_stats__poisson_of_odd_means),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
