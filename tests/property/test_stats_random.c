/* Properties of selection and of the random numbers on many arrays; the seed is printed and may be given as argument. */
#include "common/stats.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>

static uint64_t seed = 20250530;

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

enum shape { NOISE, FEW_LEVELS, CONSTANT, RISING, FALLING, ORGAN_PIPE, SHAPES };

static void fill(float *v, int64_t n, enum shape shape, struct philox *p)
{
    for (int64_t i = 0; i < n; i++) {
        switch (shape) {
        case NOISE: v[i] = (float)philox_normal(p); break;
        case FEW_LEVELS: v[i] = (float)(philox_u32(p) % 7); break;
        case CONSTANT: v[i] = 4.5f; break;
        case RISING: v[i] = (float)i; break;
        case FALLING: v[i] = (float)-i; break;
        default: v[i] = (float)(i < n / 2 ? i : n - i); break;
        }
    }
}

static void test_stats__selection_equals_sorting(void **state)
{
    (void)state;
    struct philox p;
    philox_init(&p, seed, 1);
    enum { MAX = 20000 };
    float *v = malloc(MAX * sizeof *v), *sorted = malloc(MAX * sizeof *sorted);
    for (int round = 0; round < 240; round++) {
        int64_t n = 1 + philox_u32(&p) % (round < 200 ? 600 : MAX);
        fill(v, n, (enum shape)(round % SHAPES), &p);
        memcpy(sorted, v, (size_t)n * sizeof *v);
        qsort(sorted, (size_t)n, sizeof *v, by_value);
        int64_t k = philox_u32(&p) % n;
        assert_close(select_f32(v, n, k), sorted[k], 0);
        for (int64_t i = 0; i < k; i++) assert_true(v[i] <= v[k]);
        for (int64_t i = k; i < n; i++) assert_true(v[i] >= v[k]);
        float want = n & 1 ? sorted[n / 2] : (float)(0.5 * ((double)sorted[n / 2 - 1] + sorted[n / 2]));
        assert_close(median_f32(v, n), want, 0);
    }
    free(v);
    free(sorted);
}

static void test_stats__median_scales(void **state)
{
    (void)state;
    struct philox p;
    philox_init(&p, seed, 2);
    double v[999], w[999];
    for (int i = 0; i < 999; i++) {
        v[i] = philox_normal(&p);
        w[i] = -8 * v[i]; /* powers of two scale exactly */
    }
    assert_close(median_f64(w, 999), -8 * median_f64(v, 999), 0);
}

/* Mean and variance within five standard errors. */
static void check_moments(const char *what, double sum, double squares, int64_t n, double mean, double variance, double kurtosis)
{
    double got_mean = sum / (double)n, got_variance = squares / (double)n;
    printf("%s: mean %.6f (%.6f), variance %.6f (%.6f)\n", what, got_mean, mean, got_variance, variance);
    assert_close(got_mean, mean, 5 * sqrt(variance / (double)n));
    assert_close(got_variance, variance, 5 * variance * sqrt((kurtosis - 1) / (double)n));
}

static void test_stats__normal_moments(void **state)
{
    (void)state;
    struct philox p;
    philox_init(&p, seed, 3);
    int64_t n = 1000000, beyond3 = 0;
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) {
        double z = philox_normal(&p);
        sum += z;
        squares += z * z;
        beyond3 += fabs(z) > 3;
    }
    check_moments("normal", sum, squares, n, 0, 1, 3);
    assert_close((double)beyond3 / (double)n, 0.0026998, 5 * sqrt(0.0027 / (double)n));
}

static void test_stats__poisson_moments(void **state)
{
    (void)state;
    static const double means[] = {0.01, 0.5, 3, 9.99, 10, 11, 47, 1000, 123456.7};
    for (int m = 0; m < (int)(sizeof means / sizeof means[0]); m++) {
        struct philox p;
        philox_init(&p, seed, 100 + (uint64_t)m);
        double mu = means[m], sum = 0, squares = 0;
        int64_t n = 300000;
        for (int64_t i = 0; i < n; i++) {
            double k = (double)philox_poisson(&p, mu);
            sum += k;
            squares += (k - mu) * (k - mu);
        }
        check_moments("poisson", sum, squares, n, mu, mu, 3 + 1 / mu);
    }
}

/* Chi-square of the counts against the distribution, on both sides of the change of method at a mean of 10. */
static void test_stats__poisson_distribution(void **state)
{
    (void)state;
    static const double means[] = {2.5, 9.5, 10.5, 30};
    for (int m = 0; m < 4; m++) {
        enum { BINS = 80 };
        struct philox p;
        philox_init(&p, seed, 200 + (uint64_t)m);
        int64_t n = 400000, count[BINS] = {0};
        for (int64_t i = 0; i < n; i++) {
            int64_t k = philox_poisson(&p, means[m]);
            count[k < BINS ? k : BINS - 1]++;
        }
        double chi2 = 0;
        int bins = 0;
        for (int k = 0; k < BINS - 1; k++) {
            double expected = (double)n * exp(k * log(means[m]) - means[m] - lgamma(k + 1.0));
            if (expected < 20) continue;
            chi2 += ((double)count[k] - expected) * ((double)count[k] - expected) / expected;
            bins++;
        }
        printf("poisson %g: chi2 %.1f of %d bins\n", means[m], chi2, bins);
        assert_true(chi2 < bins + 5 * sqrt(2.0 * bins));
    }
}

int main(int argc, char **argv)
{
    if (argc > 1) seed = strtoull(argv[1], NULL, 10);
    printf("seed %llu\n", (unsigned long long)seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stats__selection_equals_sorting), cmocka_unit_test(test_stats__median_scales),
        cmocka_unit_test(test_stats__normal_moments),           cmocka_unit_test(test_stats__poisson_moments),
        cmocka_unit_test(test_stats__poisson_distribution),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
