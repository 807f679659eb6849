#include "common/stats.h"
#include "processors/combine.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>

static const struct combine_options three_sigma = {3, 3, 5};
static const struct combine_noise unknown = {0, 0, 0, false};

/* Zero-one principle: a network sorts everything if it sorts every sequence of zeros and ones. */
static void test_combine__network_sorts_all_zero_one_sequences(void **state)
{
    (void)state;
    for (int n = 1; n <= 14; n++) {
        int npairs = combine_network(n, NULL);
        struct combine_pair *pairs = calloc((size_t)npairs + 1, sizeof *pairs);
        combine_network(n, pairs);
        for (uint32_t bits = 0; bits < 1u << n; bits++) {
            uint32_t v = bits;
            for (int p = 0; p < npairs; p++) {
                uint32_t a = v >> pairs[p].low & 1, b = v >> pairs[p].high & 1;
                if (a > b) v ^= 1u << pairs[p].low | 1u << pairs[p].high;
            }
            for (int i = 0; i + 1 < n; i++) assert_true((v >> i & 1) <= (v >> (i + 1) & 1));
        }
        free(pairs);
    }
}

struct stack {
    int n, npix;
    uint16_t *raw;
    struct combine_frame *frames;
    float *value, *variance;
    uint16_t *count;
};

static struct stack stack_new(int n, int npix)
{
    struct stack s = {n, npix, calloc((size_t)n * (size_t)npix, 2), calloc((size_t)n, sizeof(struct combine_frame)),
                      calloc((size_t)npix, 4), calloc((size_t)npix, 4), calloc((size_t)npix, 2)};
    for (int i = 0; i < n; i++)
        s.frames[i] = (struct combine_frame){.u16 = s.raw + (size_t)i * (size_t)npix, .gain = 1, .limit_adu = INFINITY, .scale = 1};
    return s;
}

static void stack_free(struct stack *s)
{
    free(s->raw);
    free(s->frames);
    free(s->value);
    free(s->variance);
    free(s->count);
}

static void stack_run(struct stack *s, const struct combine_options *opt, const struct combine_noise *noise)
{
    struct combine *c;
    assert_int_equal(combine_new(s->n, opt, &c, NULL), ERR_OK);
    combine_run(c, s->frames, s->npix, NULL, NULL, noise, s->value, s->variance, s->count);
    combine_free(c);
}

static void test_combine__one_cosmic_ray_among_three_is_left_out(void **state)
{
    (void)state;
    struct stack s = stack_new(3, 40);
    struct combine_noise noise = {25, 0, 1, true}; /* sigma 5 */
    for (int i = 0; i < 3 * 40; i++) s.raw[i] = (uint16_t)(100 + i % 3);
    s.raw[7] = 9000;
    stack_run(&s, &three_sigma, &noise);
    assert_int_equal(s.count[7], 2);
    assert_close(s.value[7], 0.5 * (s.raw[47] + s.raw[87]), 1e-4);
    assert_close(s.variance[7], 12.5, 1e-4);
    assert_int_equal(s.count[8], 3);
    assert_close(s.variance[8], 25.0 / 3, 1e-4);
    stack_free(&s);
}

static void test_combine__good_values_of_few_frames_are_kept(void **state)
{
    (void)state;
    /* A MAD of three values is small by chance in many pixels; expected noise keeps their values. */
    struct philox p;
    enum { N = 3, NPIX = 4096 };
    struct stack s = stack_new(N, NPIX);
    struct combine_noise noise = {100, 0, 1, true};
    philox_init(&p, 11, 0);
    print_message("seed 11\n");
    for (int i = 0; i < N * NPIX; i++) s.raw[i] = (uint16_t)lrint(1000 + 10 * philox_normal(&p));
    stack_run(&s, &three_sigma, &noise);
    int64_t kept = 0;
    double sum = 0;
    for (int i = 0; i < NPIX; i++) {
        kept += s.count[i];
        sum += s.value[i];
    }
    assert_true(kept > (int64_t)(0.99 * N * NPIX));
    assert_close(sum / NPIX, 1000, 5 * 10 / sqrt(N * NPIX)); /* 5 sigma of the mean */
    stack_free(&s);
}

static void test_combine__calibration_of_each_frame_is_applied(void **state)
{
    (void)state;
    struct stack s = stack_new(2, 33);
    float bias[33], dark[33];
    struct combine *c;
    for (int i = 0; i < 33; i++) {
        bias[i] = 10;
        dark[i] = 2;
        s.raw[i] = 300;
        s.raw[33 + i] = 500;
    }
    s.frames[0] = (struct combine_frame){.u16 = s.raw, .level_adu = 100, .gain = 2, .limit_adu = INFINITY, .dark_s = 5, .scale = 0.1f};
    s.frames[1] = (struct combine_frame){.u16 = s.raw + 33, .level_adu = 100, .gain = 2, .limit_adu = INFINITY, .dark_s = 10, .scale = 0.05f};
    assert_int_equal(combine_new(2, &three_sigma, &c, NULL), ERR_OK);
    combine_run(c, s.frames, 33, bias, dark, &unknown, s.value, s.variance, s.count);
    combine_free(c);
    /* (200*2 - 10 - 10) 0.1 = 38; (400*2 - 10 - 20) 0.05 = 38.5 */
    for (int i = 0; i < 33; i++) assert_close(s.value[i], 38.25, 1e-5);
    assert_close(s.variance[0], 0.25 * 0.25, 1e-5); /* scatter / n: (0.25^2 + 0.25^2) / 1 / 2 */
    stack_free(&s);
}

static void test_combine__saturated_and_nan_values_do_not_count(void **state)
{
    (void)state;
    struct stack s = stack_new(4, 5);
    float row[5] = {7, NAN, 7, INFINITY, 7};
    for (int i = 0; i < 20; i++) s.raw[i] = 7;
    for (int i = 0; i < 4; i++) s.frames[i].limit_adu = 60000;
    s.raw[2] = 60000;
    s.frames[3] = (struct combine_frame){.f32 = row, .gain = 1, .limit_adu = INFINITY, .scale = 1};
    stack_run(&s, &three_sigma, &unknown);
    const int want[5] = {4, 3, 3, 3, 4};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(s.count[i], want[i]);
        assert_close(s.value[i], 7, 0);
    }
    for (int i = 0; i < 4; i++) s.frames[i].limit_adu = 1;
    stack_run(&s, &three_sigma, &unknown);
    assert_int_equal(s.count[0], 0);
    assert_close(s.value[0], 0, 0);
    stack_free(&s);
}

/* The plainest way to the same answer: sort, clip, repeat, in double. */
static double plain_stack(const double *values, int n, int *ret_n)
{
    double v[512], work[512];
    memcpy(v, values, (size_t)n * sizeof *v);
    static const double b[] = {1, 1, 1.196, 1.495, 1.363, 1.206, 1.200, 1.140, 1.129, 1.107};
    for (int round = 0; round < 5; round++) {
        memcpy(work, v, (size_t)n * sizeof *v);
        double median = median_f64(work, n), s = mad_sigma_f64(work, n, median) * (n < 10 ? b[n] : n / (n - 0.8));
        int kept = 0;
        for (int i = 0; i < n; i++)
            if (fabs(v[i] - median) <= 3 * s) v[kept++] = v[i];
        if (kept == n) break;
        n = kept;
    }
    double sum = 0;
    for (int i = 0; i < n; i++) sum += v[i];
    *ret_n = n;
    return sum / n;
}

static void test_combine__agrees_with_the_plain_way(void **state)
{
    (void)state;
    struct philox p;
    philox_init(&p, 20250530, 3);
    print_message("seed 20250530\n");
    for (int n = 2; n < 60; n += n < 12 ? 1 : 7) {
        struct stack s = stack_new(n, 100);
        struct combine_noise no_floor = {0, 0, 0, false};
        int differ = 0;
        for (int i = 0; i < n * 100; i++) s.raw[i] = (uint16_t)lrint(20000 + 3000 * philox_normal(&p) + (philox_uniform(&p) < 0.02 ? 30000 : 0));
        stack_run(&s, &three_sigma, &no_floor);
        for (int x = 0; x < 100; x++) {
            double column[64];
            int kept;
            for (int i = 0; i < n; i++) column[i] = s.raw[(size_t)i * 100 + (size_t)x];
            double want = plain_stack(column, n, &kept);
            if (kept != s.count[x]) differ++; /* float and double may judge a value on the very edge differently */
            else assert_close(s.value[x], want, 0.02); /* float32 at 5e4 */
        }
        assert_true(differ <= 1);
        stack_free(&s);
    }
}

static void test_combine__order_of_the_frames_does_not_matter(void **state)
{
    (void)state;
    struct philox p;
    philox_init(&p, 5, 5);
    struct stack s = stack_new(17, 77), r = stack_new(17, 77);
    for (int i = 0; i < 17 * 77; i++) s.raw[i] = (uint16_t)(philox_u32(&p) >> 18);
    memcpy(r.raw, s.raw, 17 * 77 * 2);
    for (int i = 0; i < 17; i++) r.frames[i].u16 = r.raw + (size_t)(16 - i) * 77;
    stack_run(&s, &three_sigma, &unknown);
    stack_run(&r, &three_sigma, &unknown);
    assert_memory_equal(s.value, r.value, 77 * 4);
    assert_memory_equal(s.variance, r.variance, 77 * 4);
    stack_free(&s);
    stack_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_combine__network_sorts_all_zero_one_sequences),
        cmocka_unit_test(test_combine__one_cosmic_ray_among_three_is_left_out),
        cmocka_unit_test(test_combine__good_values_of_few_frames_are_kept),
        cmocka_unit_test(test_combine__calibration_of_each_frame_is_applied),
        cmocka_unit_test(test_combine__saturated_and_nan_values_do_not_count),
        cmocka_unit_test(test_combine__agrees_with_the_plain_way),
        cmocka_unit_test(test_combine__order_of_the_frames_does_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
