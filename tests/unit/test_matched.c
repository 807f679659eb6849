#include "common/detections.h"
#include "processors/detect.h"
#include "processors/matched_psf.h"
#include "tests/support/check.h"
#include "tests/support/starfield.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { NX = 300, NY = 260 };

static struct matched_options options_of(double fwhm)
{
    struct matched_options m = matched_options_default();
    matched_kernel_gaussian(fwhm, &m.kernel);
    m.threshold = 5.5;
    return m;
}

/* Sky 0 with noise 1. */
static float *noise_field(uint64_t seed)
{
    float *v = malloc(NX * NY * sizeof *v);
    for (uint64_t i = 0; i < NX * NY; i++) v[i] = (float)star_normal(seed, i);
    return v;
}

static struct objects detect(const float *v, const float *sigma2, const mask_t *mask, const struct matched_options *m)
{
    struct detect_options o = detect_options_default();
    struct detect_input in = {.nx = NX, .ny = NY, .image = v, .mask = mask, .sigma2 = sigma2, .rms = 1, .gain = 0, .saturate = INFINITY};
    struct objects os;
    struct error err = ERROR_INIT;
    o.matched = m;
    o.minarea = 1;
    if (detect_sources(&in, &o, &os, &err)) fail_msg("%s", err.message);
    return os;
}

/* Index of the object within one pixel of (x, y), -1: none. */
static int64_t object_at(const struct objects *os, double x, double y)
{
    for (int64_t i = 0; i < os->n; i++)
        if (hypot(os->o[i].x - x, os->o[i].y - y) < 1) return i;
    return -1;
}

/* flux of a star of this S/N: S = flux sqrt(sum P^2), sum P^2 = 1 / (4 pi sigma^2) for a Gaussian */
static double flux_of(double snr, double sigma)
{
    return snr * sqrt(4 * 3.14159265358979) * sigma;
}

static void test_matched_kernel__gaussian(void **state)
{
    (void)state;
    struct matched_kernel k;
    matched_kernel_gaussian(4, &k);
    double sigma = 4 / 2.354820045;
    /* a Gaussian is one product; its square sums to 1 / (4 pi sigma^2), the cut at 1.2 FWHM leaves out 2 % of the light */
    assert_true(k.psf.rank <= 2);
    assert_true(fabs(k.norm2 * 4 * 3.14159265 * sigma * sigma - 1) < 0.05);
    assert_true(fabs(k.curvature * 2 * sigma * sigma - 1) < 0.1);
    /* noise peaks above 4 on a million pixels: 1e6 / (2 sigma^2) 4 exp(-8) / (2 pi)^1.5 = 14.8 */
    assert_true(fabs(matched_noise_peaks(&k, 1e6, 4) - 14.8) < 1.5);
}

static void test_matched_kernel__refuses_nonsense(void **state)
{
    (void)state;
    float dark[9] = {0}, nan[9];
    struct matched_kernel k;
    for (int i = 0; i < 9; i++) nan[i] = NAN;
    assert_int_equal(matched_kernel_make(dark, 1, &k, NULL), ERR_SHAPE);
    assert_int_equal(matched_kernel_make(nan, 1, &k, NULL), ERR_SHAPE);
    assert_int_equal(matched_kernel_make(dark, MATCHED_RADIUS_MAX + 1, &k, NULL), ERR_SHAPE);
}

static void test_matched_noise__of_a_shifted_wide_map(void **state)
{
    (void)state;
    int64_t h[MATCHED_BINS] = {0};
    for (uint64_t i = 0; i < 200000; i++) { /* sky at 0.3 with sigma 1.4, one pixel in ten lit by objects */
        double s = 0.3 + 1.4 * star_normal(11, i) + (i % 10 == 0 ? 15 * star_uniform(12, i) : 0);
        int bin = (int)floor(s * MATCHED_SCALE) + MATCHED_BINS / 2;
        h[bin < 0 ? 0 : bin >= MATCHED_BINS ? MATCHED_BINS - 1 : bin]++;
    }
    struct matched_noise n = matched_noise_of(h);
    /* what of the faint half is object is a guess: worth a tenth of sigma */
    assert_true(fabs(n.sigma - 1.4) < 0.1 && fabs(n.zero - 0.3) < 0.2);
}

static void test_matched_threshold__follows_the_share(void **state)
{
    (void)state;
    struct matched_options m = options_of(3);
    float peaks[1000];
    m.threshold = 0;
    for (int i = 0; i < 1000; i++) peaks[i] = 50;
    double many = matched_threshold(&m, 1e7, peaks, 1000);
    assert_true(matched_noise_peaks(&m.kernel, 1e7, many) <= m.false_share * 1000 && many > 4 && many < 6);
    for (int i = 0; i < 1000; i++) peaks[i] = i < 10 ? 50 : 0;
    assert_true(matched_threshold(&m, 1e7, peaks, 1000) > many + 0.3);
    assert_true(matched_threshold(&m, 1e7, peaks, 0) == 6);
    m.threshold = 4.5;
    assert_true(matched_threshold(&m, 1e7, peaks, 1000) == 4.5);
}

static void test_matched__finds_stars_at_their_places(void **state)
{
    (void)state;
    float *v = noise_field(1);
    struct matched_options m = options_of(3.5);
    double sigma = 3.5 / 2.354820045;
    for (int k = 0; k < 20; k++) star_add(v, NX, NY, 20.3 + 13 * k, 30.6 + 9 * k, flux_of(12, sigma), sigma, 1, 0);
    struct objects os = detect(v, NULL, NULL, &m);
    for (int k = 0; k < 20; k++) {
        int64_t i = object_at(&os, 20.3 + 13 * k, 30.6 + 9 * k);
        assert_true(i >= 0);
        /* S is 12 but for its noise of 1; sigma/12 is the bound of the position */
        assert_true(fabs((double)os.o[i].snr - 12) < 4);
        assert_true(hypot(os.o[i].x - 20.3 - 13 * k, os.o[i].y - 30.6 - 9 * k) < 5 * sigma / 12);
    }
    assert_true(os.n <= 21); /* 78,000 pixels make a peak of noise above 5.5 once in 100 such fields */
    objects_release(&os);
    free(v);
}

static void test_matched__keeps_a_faint_star_beside_a_bright_one(void **state)
{
    (void)state;
    float *v = noise_field(2);
    struct matched_options m = options_of(3.5);
    double sigma = 3.5 / 2.354820045;
    star_add(v, NX, NY, 150, 130, flux_of(2000, sigma), sigma, 1, 0);
    star_add(v, NX, NY, 161, 130, flux_of(12, sigma), sigma, 1, 0);
    star_add(v, NX, NY, 150, 119, flux_of(9, sigma), sigma, 1, 0);
    struct objects os = detect(v, NULL, NULL, &m);
    assert_true(object_at(&os, 150, 130) >= 0 && object_at(&os, 161, 130) >= 0 && object_at(&os, 150, 119) >= 0);
    int64_t bright = object_at(&os, 150, 130);
    assert_int_equal(os.segment[130 * NX + 150], bright + 1);
    objects_release(&os);
    free(v);
}

static void test_matched__drops_what_is_sharper_than_the_psf(void **state)
{
    (void)state;
    float *v = noise_field(3);
    struct matched_options m = options_of(3.5);
    double sigma = 3.5 / 2.354820045;
    v[60 * NX + 60] += 80;                                  /* a hit */
    for (int k = 0; k < 6; k++) v[(100 + k) * NX + 100 + k] += 40; /* a track */
    star_add(v, NX, NY, 200, 100, flux_of(15, sigma), sigma, 1, 0);
    star_add(v, NX, NY, 200, 200, flux_of(800, sigma), sigma, 1, 0);
    struct objects os = detect(v, NULL, NULL, &m);
    assert_true(object_at(&os, 200, 100) >= 0 && object_at(&os, 200, 200) >= 0);
    assert_int_equal(os.n, 2);
    assert_int_equal(os.segment[60 * NX + 60], -1);
    objects_release(&os);
    m.sharp = true;
    os = detect(v, NULL, NULL, &m);
    assert_true(object_at(&os, 60, 60) >= 0 && os.n >= 4);
    objects_release(&os);
    free(v);
}

/* Pixels without a value, without weight, or masked say nothing, whatever they hold: a star behind them is still one. */
static void test_matched__zero_weight_and_nan(void **state)
{
    (void)state;
    float *v = noise_field(4), *sigma2 = malloc(NX * NY * sizeof *sigma2);
    mask_t *mask = calloc(NX * NY, sizeof *mask);
    struct matched_options m = options_of(3.5);
    double sigma = 3.5 / 2.354820045;
    star_add(v, NX, NY, 100, 100, flux_of(40, sigma), sigma, 1, 0);
    star_add(v, NX, NY, 200, 150, flux_of(40, sigma), sigma, 1, 0);
    for (int i = 0; i < NX * NY; i++) {
        int x = i % NX, y = i / NX;
        sigma2[i] = y == 101 || (y >= 200 && y < 220) ? 0 : 1;
        if (y >= 200 && y < 220) v[i] = 1e6f;
        if (x >= 202 && x < 204) v[i] = NAN;
        if (x == 50) mask[i] = MASK_BAD, v[i] = 5000;
    }
    struct objects os = detect(v, sigma2, mask, &m);
    assert_true(object_at(&os, 100, 100) >= 0 && object_at(&os, 200, 150) >= 0);
    assert_true(os.n <= 4);
    for (int64_t i = 0; i < os.n; i++) {
        assert_true(os.o[i].flux < 2 * flux_of(40, sigma) && fabs(os.o[i].x - 50) > 1);
        assert_true(os.o[i].y < 200 || os.o[i].y > 219);
    }
    assert_true(os.segment[101 * NX + 100] == object_at(&os, 100, 100) + 1);
    objects_release(&os);
    free(v);
    free(sigma2);
    free(mask);
}

static void test_matched__nothing_to_see(void **state)
{
    (void)state;
    float *v = malloc(NX * NY * sizeof *v);
    struct matched_options m = options_of(3);
    const float kinds[] = {NAN, 0, 65535, INFINITY, -1e9f};
    m.threshold = 0;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        for (int i = 0; i < NX * NY; i++) v[i] = kinds[k];
        struct objects os = detect(v, NULL, NULL, &m);
        assert_true(os.n <= 1); /* one lit frame is one object */
        objects_release(&os);
    }
    free(v);
}

static void test_matched__same_objects_for_any_threads(void **state)
{
    (void)state;
    float *v = starfield_make(NX, NY, 200, 5);
    for (int i = 0; i < NX * NY; i++) v[i] = (v[i] - 1000) / 10;
    struct matched_options m = options_of(3);
    struct objects one, many;
    int before = omp_get_max_threads();
    m.threshold = 0;
    omp_set_num_threads(1);
    one = detect(v, NULL, NULL, &m);
    for (int threads = 2; threads <= 8; threads *= 2) {
        omp_set_num_threads(threads);
        many = detect(v, NULL, NULL, &m);
        assert_int_equal(one.n, many.n);
        for (int64_t i = 0; i < one.n; i++) {
            const struct object *a = &one.o[i], *b = &many.o[i];
            assert_true(a->npix == b->npix && a->x == b->x && a->y == b->y && a->x2 == b->x2 && a->flux == b->flux && a->snr == b->snr &&
                        a->flags == b->flags);
        }
        assert_memory_equal(one.segment, many.segment, NX * NY * sizeof *one.segment);
        objects_release(&many);
    }
    omp_set_num_threads(before);
    assert_true(one.n > 50);
    objects_release(&one);
    free(v);
}

/* The core of a globular cluster: a dome of light over most of the frame. No more pixels than the limit are taken apart (that
 * bounds time and memory), what comes out of it is flagged, and its stars are there. */
static void test_matched__a_blend_beyond_the_limit(void **state)
{
    (void)state;
    enum { MOST = 12000 };
    float *v = noise_field(13);
    struct matched_options m = options_of(3.5);
    struct detect_options o = detect_options_default();
    struct detect_input in = {.nx = NX, .ny = NY, .image = v, .rms = 1, .saturate = INFINITY};
    struct objects os;
    double sigma = 3.5 / 2.354820045;
    for (int i = 0; i < NX * NY; i++) v[i] += (float)(40 * exp(-(pow(i % NX - 150, 2) + pow(i / NX - 130, 2)) / 7200));
    for (int k = 0; k < 12; k++) star_add(v, NX, NY, 95.3 + 10 * k, 85.6 + 8 * k, flux_of(400, sigma), sigma, 1, 0);
    o.matched = &m;
    o.minarea = 1;
    o.deblend.max_pixels = MOST;
    assert_int_equal(detect_sources(&in, &o, &os, NULL), ERR_OK);
    int64_t pixels = 0;
    for (int64_t i = 0; i < os.n; i++) pixels += os.o[i].flags & FLAG_DEBLEND_LIMIT ? os.o[i].npix : 0;
    assert_true(pixels > MOST / 4 && pixels <= MOST);
    for (int k = 0; k < 12; k++) assert_true(object_at(&os, 95.3 + 10 * k, 85.6 + 8 * k) >= 0);
    objects_release(&os);
    free(v);
}

/* The PSF of the field comes out of its stars; cosmic rays, more than the stars, do not make it sharper. */
static void test_matched_psf__of_a_field_with_cosmics(void **state)
{
    (void)state;
    float *v = noise_field(6);
    double sigma = 4.2 / 2.354820045;
    for (int k = 0; k < 15; k++) star_add(v, NX, NY, 30 + 240 * star_uniform(7, (uint64_t)k), 25.4 + 14 * k, flux_of(150, sigma), sigma, 1, 0);
    for (int k = 0; k < 40; k++) v[(int)(250 * star_uniform(8, (uint64_t)k)) * NX + (int)(290 * star_uniform(9, (uint64_t)k))] += 300;
    struct detect_options o = detect_options_default();
    struct detect_input in = {.nx = NX, .ny = NY, .image = v, .rms = 1, .saturate = INFINITY};
    struct image_view view = {.nx = NX, .ny = NY, .value = v, .sigma2_const = 1};
    struct objects os;
    struct matched_kernel k;
    matched_psf_detection(&o);
    assert_int_equal(detect_sources(&in, &o, &os, NULL), ERR_OK);
    assert_int_equal(matched_psf_measure(&view, &os, o.holes, &k, NULL), ERR_OK);
    assert_true(k.stars >= 8);
    assert_true(fabs(k.fwhm - 4.2) < 0.25); /* pixels add 1/12 in variance, the interpolation a little */
    objects_release(&os);
    os = (struct objects){0}; /* no star at all */
    assert_int_equal(matched_psf_measure(&view, &os, o.holes, &k, NULL), ERR_OK);
    assert_true(k.stars == 0 && k.radius > 0 && k.norm2 > 0);
    free(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matched_kernel__gaussian),
        cmocka_unit_test(test_matched_kernel__refuses_nonsense),
        cmocka_unit_test(test_matched_noise__of_a_shifted_wide_map),
        cmocka_unit_test(test_matched_threshold__follows_the_share),
        cmocka_unit_test(test_matched__finds_stars_at_their_places),
        cmocka_unit_test(test_matched__keeps_a_faint_star_beside_a_bright_one),
        cmocka_unit_test(test_matched__drops_what_is_sharper_than_the_psf),
        cmocka_unit_test(test_matched__zero_weight_and_nan),
        cmocka_unit_test(test_matched__nothing_to_see),
        cmocka_unit_test(test_matched__same_objects_for_any_threads),
        cmocka_unit_test(test_matched__a_blend_beyond_the_limit),
        cmocka_unit_test(test_matched_psf__of_a_field_with_cosmics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
