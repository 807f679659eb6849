#include "processors/detect.h"
#include "common/detections.h"
#include "processors/runs.h"
#include "tests/support/check.h"
#include "tests/support/starfield.h"

#include <stdlib.h>
#include <string.h>

static struct objects detect(const float *image, int64_t nx, int64_t ny, const struct detect_options *o, double thresh)
{
    struct detect_input in = {.nx = nx, .ny = ny, .image = image, .rms = (float)thresh, .saturate = INFINITY};
    struct objects os;
    struct error err = ERROR_INIT;
    if (detect_sources(&in, o, &os, &err)) fail_msg("%s", err.message);
    return os;
}

/* Threshold 1, no filter, no deblending, no cleaning. */
static struct detect_options plain(int64_t minarea)
{
    struct detect_options o = detect_options_default();
    o.thresh = 1;
    o.minarea = minarea;
    o.filter = NULL;
    o.deblend.nthresh = 1;
    o.clean = false;
    return o;
}

/* Flood fill, the slow and obvious way. Returned: number of components of at least minarea pixels; label: 0 none. */
static int64_t brute_force(const float *v, int64_t nx, int64_t ny, int64_t minarea, int32_t *label)
{
    int64_t n = nx * ny, kept = 0;
    int64_t *stack = malloc((size_t)n * sizeof *stack), *members = malloc((size_t)n * sizeof *members);
    memset(label, 0, (size_t)n * sizeof *label);
    for (int64_t start = 0; start < n; start++) {
        if (!(v[start] > 1) || label[start]) continue;
        int64_t top = 0, size = 0;
        stack[top++] = start;
        label[start] = -1;
        while (top) {
            int64_t at = stack[--top], x = at % nx, y = at / nx;
            members[size++] = at;
            for (int64_t j = y - 1; j <= y + 1; j++) {
                for (int64_t i = x - 1; i <= x + 1; i++) {
                    if (i < 0 || j < 0 || i >= nx || j >= ny || label[j * nx + i] || !(v[j * nx + i] > 1)) continue;
                    label[j * nx + i] = -1;
                    stack[top++] = j * nx + i;
                }
            }
        }
        if (size < minarea) continue;
        kept++;
        for (int64_t k = 0; k < size; k++) label[members[k]] = (int32_t)kept;
    }
    free(stack);
    free(members);
    return kept;
}

static void test_detect__labels_agree_with_flood_fill(void **state)
{
    (void)state;
    static const int64_t shape[][2] = {{200, 300}, {65, 64}, {64, 129}, {1, 200}, {200, 1}, {130, 130}, {7, 400}};
    uint64_t seed = 42;
    printf("seed %llu\n", (unsigned long long)seed);
    for (int round = 0; round < 42; round++) {
        int64_t nx = shape[round % 7][0], ny = shape[round % 7][1], minarea = 1 + round % 4;
        float *v = malloc((size_t)(nx * ny) * sizeof *v);
        int32_t *label = malloc((size_t)(nx * ny) * sizeof *label);
        double filled = 0.1 + 0.1 * (round % 6);
        for (int64_t i = 0; i < nx * ny; i++) v[i] = star_uniform(seed, (uint64_t)(round * 1000000 + i)) < filled ? 2 : 0;
        struct detect_options o = plain(minarea);
        struct objects os = detect(v, nx, ny, &o, 1);
        int64_t n = brute_force(v, nx, ny, minarea, label), *pair = calloc((size_t)n + 1, sizeof *pair), total = 0;
        assert_int_equal(os.n, n);
        for (int64_t i = 0; i < nx * ny; i++) {
            assert_int_equal(label[i] > 0, os.segment[i] > 0);
            if (label[i] <= 0) continue;
            if (!pair[label[i]]) pair[label[i]] = os.segment[i];
            assert_int_equal(pair[label[i]], os.segment[i]); /* as many labels on both sides: a bijection */
            total++;
        }
        assert_int_equal(os.npixels, total);
        for (int64_t k = 1; k < os.n; k++) assert_true(os.o[k].ymax >= os.o[k - 1].ymax);
        objects_release(&os);
        free(pair);
        free(label);
        free(v);
    }
}

static void test_detect__snake_over_all_seams_is_one_object(void **state)
{
    (void)state;
    enum { NX = 50, NY = 500 };
    float *v = calloc(NX * NY, sizeof *v);
    int64_t n = 0;
    for (int y = 0; y < NY; y++)
        for (int x = 0; x < NX; x++)
            if (y % 2 == 0 || (y % 4 == 1 && x == 0) || (y % 4 == 3 && x == NX - 1)) v[y * NX + x] = 2, n++;
    struct detect_options o = plain(5);
    struct objects os = detect(v, NX, NY, &o, 1);
    assert_int_equal(os.n, 1);
    assert_int_equal(os.o[0].npix, n);
    assert_int_equal(os.o[0].flags, FLAG_TRUNCATED);
    objects_release(&os);
    free(v);
}

static void test_detect__moments_of_a_star_are_its_own(void **state)
{
    (void)state;
    enum { NX = 101, NY = 90 };
    float *v = calloc(NX * NY, sizeof *v);
    star_add(v, NX, NY, 40.3, 52.8, 10000, 2.0, 1.0, 0);
    struct detect_options o = detect_options_default();
    struct objects os = detect(v, NX, NY, &o, 0.001);
    assert_int_equal(os.n, 1);
    assert_close(os.o[0].x, 40.3, 1e-3);
    assert_close(os.o[0].y, 52.8, 1e-3);
    assert_close(os.o[0].a, sqrt(4 + 0.5 + 1.0 / 12), 0.03); /* star, filter (variance 1/2) and pixel; cut at the threshold */
    assert_close(os.o[0].b / os.o[0].a, 1, 0.01);
    assert_close(os.o[0].flux, 10000, 10);
    assert_int_equal(os.o[0].xpeak, 40);
    assert_int_equal(os.o[0].ypeak, 53);
    assert_int_equal(os.o[0].flags, 0);
    objects_release(&os);
    free(v);
}

static void test_detect__two_stars_come_apart(void **state)
{
    (void)state;
    enum { NX = 80, NY = 60 };
    float *v = calloc(NX * NY, sizeof *v);
    star_add(v, NX, NY, 30, 30, 10000, 2.0, 1.0, 0);
    star_add(v, NX, NY, 39, 31, 4000, 2.0, 1.0, 0);
    struct detect_options o = detect_options_default();
    struct objects os = detect(v, NX, NY, &o, 1);
    assert_int_equal(os.n, 2);
    for (int k = 0; k < 2; k++) {
        assert_int_equal(os.o[k].flags, FLAG_DEBLENDED);
        bool first = os.o[k].flux > 6000;
        assert_close(os.o[k].x, first ? 30 : 39, 0.5);
        assert_close(os.o[k].flux, first ? 10000 : 4000, 300);
    }
    assert_int_equal(os.o[0].npix + os.o[1].npix, os.npixels);
    o.deblend.mincont = 0.5; /* the fainter holds less than half */
    struct objects whole = detect(v, NX, NY, &o, 1);
    assert_int_equal(whole.n, 1);
    assert_int_equal(whole.o[0].flags, 0);
    objects_release(&whole);
    objects_release(&os);
    free(v);
}

static void test_detect__deblending_has_a_limit(void **state)
{
    (void)state;
    enum { NX = 200, NY = 200 };
    float *v = calloc(NX * NY, sizeof *v);
    for (int i = 0; i < 100; i++) star_add(v, NX, NY, 10 + 20 * (i % 10), 10 + 20 * (i / 10), 10000, 3.0, 1.0, 0);
    struct detect_options o = detect_options_default();
    struct objects os = detect(v, NX, NY, &o, 0.001);
    assert_int_equal(os.n, 100);
    objects_release(&os);
    o.deblend.max_pixels = 1000;
    os = detect(v, NX, NY, &o, 0.001);
    assert_int_equal(os.n, 1);
    assert_int_equal(os.o[0].flags & FLAG_DEBLEND_LIMIT, FLAG_DEBLEND_LIMIT);
    objects_release(&os);
    o.deblend.max_pixels = 0;
    o.deblend.max_cost = 10;
    os = detect(v, NX, NY, &o, 0.001);
    assert_int_equal(os.n, 1);
    assert_int_equal(os.o[0].flags & FLAG_DEBLEND_LIMIT, FLAG_DEBLEND_LIMIT);
    objects_release(&os);
    free(v);
}

static void test_detect__hopeless_images_give_sane_answers(void **state)
{
    (void)state;
    static const int64_t shape[][2] = {{1, 1}, {30000, 3}, {3, 30000}, {130, 65}};
    const float fill[4] = {NAN, 65535, 0, INFINITY};
    struct detect_options o = detect_options_default();
    for (int k = 0; k < 16; k++) {
        int64_t nx = shape[k / 4][0], ny = shape[k / 4][1];
        float *v = malloc((size_t)(nx * ny) * sizeof *v), *value = malloc((size_t)(nx * ny) * sizeof *value);
        for (int64_t i = 0; i < nx * ny; i++) v[i] = fill[k % 4];
        struct background_options bo = background_options_default();
        struct background b;
        assert_int_equal(background_estimate(v, NULL, nx, ny, &bo, &b, NULL), ERR_OK);
        struct detect_input in = {.nx = nx, .ny = ny, .image = v, .background = &b, .saturate = 60000, .value = value};
        struct objects os;
        assert_int_equal(detect_sources(&in, &o, &os, NULL), ERR_OK);
        assert_int_equal(os.n, 0);
        objects_release(&os);
        background_release(&b);
        free(value);
        free(v);
    }
}

static void test_detect__one_blend_fills_the_frame(void **state)
{
    (void)state;
    enum { NX = 300, NY = 260 };
    float *v = malloc(NX * NY * sizeof *v);
    for (int i = 0; i < NX * NY; i++) v[i] = 100 + (float)star_uniform(3, (uint64_t)i);
    struct detect_options o = detect_options_default();
    struct objects os = detect(v, NX, NY, &o, 1);
    int64_t total = 0;
    for (int64_t k = 0; k < os.n; k++) total += os.o[k].npix;
    assert_true(os.n >= 1);
    assert_int_equal(total, os.npixels);
    objects_release(&os);
    free(v);
}

static void test_detect__masked_and_nan_pixels_are_not_objects(void **state)
{
    (void)state;
    enum { NX = 90, NY = 80 };
    float *v = calloc(NX * NY, sizeof *v);
    mask_t *mask = calloc(NX * NY, sizeof *mask);
    star_add(v, NX, NY, 20, 20, 1000, 1.5, 1, 0);
    star_add(v, NX, NY, 60, 20, 1000, 1.5, 1, 0);
    star_add(v, NX, NY, 60, 60, 1000, 1.5, 1, 0);
    for (int y = 10; y < 31; y++)
        for (int x = 10; x < 31; x++) mask[y * NX + x] = MASK_HOT;
    for (int y = 10; y < 31; y++)
        for (int x = 50; x < 71; x++) mask[y * NX + x] = MASK_BAD | MASK_INTERPOLATED; /* mended: counts */
    mask[60 * NX + 60] = MASK_SATURATED;
    v[60 * NX + 63] = NAN;
    struct detect_options o = detect_options_default();
    struct detect_input in = {.nx = NX, .ny = NY, .image = v, .mask = mask, .rms = 0.5f, .saturate = INFINITY};
    struct objects os;
    assert_int_equal(detect_sources(&in, &o, &os, NULL), ERR_OK);
    assert_int_equal(os.n, 2);
    assert_close(os.o[0].y, 20, 0.1);
    assert_int_equal(os.o[0].imaflags, MASK_BAD | MASK_INTERPOLATED);
    assert_int_equal(os.o[1].flags & FLAG_SATURATED, FLAG_SATURATED);
    assert_int_equal(os.segment[60 * NX + 63], 0);
    assert_true(isfinite(os.o[1].flux) && isfinite(os.o[1].x));
    objects_release(&os);
    free(mask);
    free(v);
}

static void test_detect__threshold_follows_the_variance(void **state)
{
    (void)state;
    enum { NX = 120, NY = 60 };
    float *v = calloc(NX * NY, sizeof *v), *sigma2 = malloc(NX * NY * sizeof *sigma2);
    star_add(v, NX, NY, 30, 30, 300, 1.5, 1, 0);
    star_add(v, NX, NY, 90, 30, 300, 1.5, 1, 0);
    for (int i = 0; i < NX * NY; i++) sigma2[i] = i % NX < 60 ? 1 : 1e4f;
    sigma2[30 * NX + 30] = -1; /* no variance, no pixel */
    struct detect_options o = detect_options_default();
    struct detect_input in = {.nx = NX, .ny = NY, .image = v, .sigma2 = sigma2, .saturate = INFINITY};
    struct objects os;
    assert_int_equal(detect_sources(&in, &o, &os, NULL), ERR_OK);
    assert_int_equal(os.n, 1);
    assert_close(os.o[0].x, 30, 0.1);
    assert_close(os.o[0].threshold, 1.5, 1e-6);
    assert_int_equal(os.segment[30 * NX + 30], 0);
    objects_release(&os);
    free(sigma2);
    free(v);
}

static void test_detect__compat_filters_the_variance(void **state)
{
    (void)state;
    enum { NX = 60, NY = 40 };
    float *v = calloc(NX * NY, sizeof *v), *sigma2 = malloc(NX * NY * sizeof *sigma2);
    star_add(v, NX, NY, 30, 0, 300, 1.5, 1, 0);
    star_add(v, NX, NY, 30, 25, 300, 1.5, 1, 0);
    for (int i = 0; i < NX * NY; i++) sigma2[i] = 4;
    sigma2[25 * NX + 30] = NAN; /* takes its neighbour's for the others, is no pixel itself */
    struct detect_options o = detect_options_default();
    struct detect_input in = {.nx = NX, .ny = NY, .image = v, .sigma2 = sigma2, .saturate = INFINITY};
    struct objects os;
    o.compat = true;
    assert_int_equal(detect_sources(&in, &o, &os, NULL), ERR_OK);
    assert_int_equal(os.n, 2);
    assert_close(os.o[0].threshold, 1.5 * sqrt(4 * 12.0 / 16), 1e-5); /* outside the image there is no variance */
    assert_close(os.o[1].threshold, 3, 1e-5);
    assert_int_equal(os.segment[25 * NX + 30], 0);
    objects_release(&os);
    free(sigma2);
    free(v);
}

static void test_detect__wing_of_a_bright_star_is_cleaned(void **state)
{
    (void)state;
    enum { NX = 300, NY = 300 };
    float *v = calloc(NX * NY, sizeof *v);
    star_add(v, NX, NY, 150, 150, 1e6, 3, 1, 0);
    star_add(v, NX, NY, 180, 150, 22.5, 1.2, 1, 0);  /* just above the threshold beside it */
    star_add(v, NX, NY, 30, 30, 22.5, 1.2, 1, 0);    /* the same far away: the wing is too faint there */
    struct detect_options o = detect_options_default();
    struct objects os = detect(v, NX, NY, &o, 0.9);
    assert_int_equal(os.n, 2);
    assert_close(os.o[0].x, 30, 1);
    assert_close(os.o[1].x, 150, 0.01);
    assert_int_equal(os.segment[150 * NX + 180], 2);
    assert_int_equal(os.o[1].xmax >= 180, 1);
    objects_release(&os);
    o.clean = false;
    os = detect(v, NX, NY, &o, 0.9);
    assert_int_equal(os.n, 3);
    objects_release(&os);
    free(v);
}

static void test_detect__subtraction_in_place_and_beside(void **state)
{
    (void)state;
    enum { NX = 333, NY = 301 };
    float *v = starfield_make(NX, NY, 200, 11), *beside = malloc(NX * NY * sizeof *beside);
    struct background_options bo = background_options_default();
    struct detect_options o = detect_options_default();
    static const float wide[25] = {[2] = .1f, [7] = .1f, [10] = .1f, [11] = .1f, [12] = .2f, [13] = .1f, [14] = .1f, [17] = .1f, [22] = .1f};
    struct convolve_kernel kernel = {5, 5, wide};
    o.filter = &kernel;
    struct background b;
    assert_int_equal(background_estimate(v, NULL, NX, NY, &bo, &b, NULL), ERR_OK);
    struct detect_input in = {.nx = NX, .ny = NY, .image = v, .background = &b, .saturate = INFINITY, .value = beside};
    struct objects one, two;
    assert_int_equal(detect_sources(&in, &o, &one, NULL), ERR_OK);
    in.value = v;
    assert_int_equal(detect_sources(&in, &o, &two, NULL), ERR_OK);
    assert_true(one.n > 50);
    assert_int_equal(one.n, two.n);
    assert_memory_equal(one.segment, two.segment, NX * NY * sizeof *one.segment);
    assert_memory_equal(one.pixels, two.pixels, (size_t)one.npixels * sizeof *one.pixels);
    assert_memory_equal(v, beside, NX * NY * sizeof *v);
    objects_release(&one);
    objects_release(&two);
    background_release(&b);
    free(beside);
    free(v);
}

static void test_detect__bad_options_are_refused(void **state)
{
    (void)state;
    struct detect_options good = detect_options_default(), o;
    o = good, o.thresh = -1;
    assert_int_equal(detect_options_verify(&o, NULL), ERR_SETTINGS);
    o = good, o.minarea = 0;
    assert_int_equal(detect_options_verify(&o, NULL), ERR_SETTINGS);
    o = good, o.deblend.nthresh = 0;
    assert_int_equal(detect_options_verify(&o, NULL), ERR_SETTINGS);
    o = good, o.deblend.mincont = NAN;
    assert_int_equal(detect_options_verify(&o, NULL), ERR_SETTINGS);
    o = good, o.clean_param = 0;
    assert_int_equal(detect_options_verify(&o, NULL), ERR_SETTINGS);
    float w[9] = {NAN};
    struct convolve_kernel k = {3, 3, w};
    o = good, o.filter = &k;
    assert_int_equal(detect_options_verify(&o, NULL), ERR_SETTINGS);
    k = (struct convolve_kernel){0, 3, w};
    assert_int_equal(detect_options_verify(&o, NULL), ERR_SETTINGS);
    assert_int_equal(detect_options_verify(&good, NULL), ERR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_detect__labels_agree_with_flood_fill),
        cmocka_unit_test(test_detect__snake_over_all_seams_is_one_object),
        cmocka_unit_test(test_detect__moments_of_a_star_are_its_own),
        cmocka_unit_test(test_detect__two_stars_come_apart),
        cmocka_unit_test(test_detect__deblending_has_a_limit),
        cmocka_unit_test(test_detect__hopeless_images_give_sane_answers),
        cmocka_unit_test(test_detect__one_blend_fills_the_frame),
        cmocka_unit_test(test_detect__masked_and_nan_pixels_are_not_objects),
        cmocka_unit_test(test_detect__threshold_follows_the_variance),
        cmocka_unit_test(test_detect__compat_filters_the_variance),
        cmocka_unit_test(test_detect__wing_of_a_bright_star_is_cleaned),
        cmocka_unit_test(test_detect__subtraction_in_place_and_beside),
        cmocka_unit_test(test_detect__bad_options_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
