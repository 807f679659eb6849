#include "common/stats.h"
#include "common/units.h"
#include "processors/photometry.h"
#include "processors/shape.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NX 61
#define NY 53

struct scene {
    float value[NX * NY];
    float sigma2[NX * NY];
    int32_t segment[NX * NY];
    struct image_view view;
    double x, y;
};

/* A star at (x, y) on noise, a neighbour with segment value 2 beside it, a NaN, and a small group (-1). */
static void make_scene(struct scene *s, double x, double y, uint64_t seed)
{
    struct philox p;
    philox_init(&p, seed, 1);
    printf("seed %llu\n", (unsigned long long)seed);
    memset(s, 0, sizeof *s);
    s->x = x;
    s->y = y;
    for (int j = 0; j < NY; j++)
        for (int i = 0; i < NX; i++) {
            double r2 = (i - x) * (i - x) + (j - y) * (j - y), n2 = (i - x - 6) * (i - x - 6) + (j - y - 3) * (j - y - 3);
            int at = j * NX + i;
            s->value[at] = (float)(1000 * exp(-r2 / (2 * 1.5 * 1.5)) + 600 * exp(-n2 / (2 * 1.5 * 1.5)) + 5 * philox_normal(&p));
            s->sigma2[at] = (float)(20 + 10 * philox_uniform(&p));
            s->segment[at] = r2 < 12 ? 1 : n2 < 10 ? 2 : 0;
        }
    if (y + 4 < NY && x >= 4) s->value[(int)(y + 4) * NX + (int)x - 4] = NAN;
    if (y >= 5 && x >= 3) s->segment[(int)(y - 5) * NX + (int)x - 3] = -1;
    s->view = (struct image_view){.nx = NX, .ny = NY, .value = s->value, .sigma2_const = 25, .segment = s->segment, .gain = 2, .saturate = INFINITY};
}

/* The value a sum should see at (i, j), by the rule of MASK_TYPE CORRECT; *bad says whether the pixel is taken out. */
static double corrected(const struct scene *s, int i, int j, double x, double y, bool mirror, bool *bad)
{
    int seg = s->segment[j * NX + i];
    *bad = (seg && seg != 1) || !isfinite(s->value[j * NX + i]);
    if (!*bad) return (double)s->value[j * NX + i];
    int i2 = (int)floor(2 * x + 0.49999) - i, j2 = (int)floor(2 * y + 0.49999) - j;
    if (!mirror || i2 < 0 || i2 >= NX || j2 < 0 || j2 >= NY) return 0;
    int seg2 = s->segment[j2 * NX + i2];
    return (seg2 && seg2 != 1) || !isfinite(s->value[j2 * NX + i2]) ? 0 : (double)s->value[j2 * NX + i2];
}

static void brute_circle(const struct scene *s, double x, double y, double r, double *flux, double *area, double *var)
{
    *flux = *area = *var = 0;
    for (int j = 0; j < NY; j++)
        for (int i = 0; i < NX; i++) {
            int n = 0;
            bool bad;
            for (int a = -2; a <= 2; a++)
                for (int b = -2; b <= 2; b++) {
                    double dx = i + 0.2 * a - x, dy = j + 0.2 * b - y;
                    n += dx * dx + dy * dy <= r * r;
                }
            *flux += n / 25.0 * corrected(s, i, j, x, y, true, &bad);
            *area += n / 25.0;
            if (!bad) *var += n / 25.0 * (double)s->sigma2[j * NX + i];
        }
}

static void test_photometry__circles_against_brute_force(void **state)
{
    (void)state;
    struct scene *s = malloc(sizeof *s);
    struct stamp st;
    stamp_init(&st);
    const double at[][2] = {{30.317, 26.833}, {30.011, 26.503}, {8.219, 9.941}, {50.623, 41.107}};
    const double radius[] = {0.3, 0.9, 2.5, 5, 10, 17.3};
    for (int c = 0; c < 4; c++) {
        make_scene(s, at[c][0], at[c][1], 11 + (uint64_t)c);
        assert_int_equal(stamp_load(&st, &s->view, 1, NEIGHBOURS_MIRROR, s->x, s->y, 19, 19, NULL), ERR_OK);
        stamp_mirror(&st, &s->view, 1, s->x, s->y);
        for (int k = 0; k < 6; k++) {
            double flux, area, var;
            brute_circle(s, s->x, s->y, radius[k], &flux, &area, &var);
            struct sums got = sum_circle(&st, &s->view, s->x, s->y, radius[k]);
            assert_close(got.flux, flux, 2e-6 * 10000); /* float lanes over a total of about 1e4 */
            assert_close(got.area, area, 1e-9);
            assert_close(got.variance, area * 25, 1e-6);
        }
    }
    stamp_release(&st);
    free(s);
}

static void test_photometry__variance_plane_is_summed(void **state)
{
    (void)state;
    struct scene *s = malloc(sizeof *s);
    struct stamp st;
    stamp_init(&st);
    make_scene(s, 30.317, 26.833, 21);
    memset(s->segment, 0, sizeof s->segment);
    s->segment[20 * NX + 20] = 1;
    s->value[30 * NX + 26] = 0; /* the NaN: nothing is taken out in this test */
    s->view.sigma2 = s->sigma2;
    double flux, area, var;
    brute_circle(s, s->x, s->y, 6.2, &flux, &area, &var);
    assert_int_equal(stamp_load(&st, &s->view, 1, NEIGHBOURS_MIRROR, s->x, s->y, 8, 8, NULL), ERR_OK);
    struct sums got = sum_circle(&st, &s->view, s->x, s->y, 6.2);
    assert_int_equal(st.nbad, 0);
    assert_close(got.variance, var, 1e-5 * var);
    assert_close(flux_error(&got, &s->view), sqrt(var + flux / 2), 1e-5 * sqrt(var));
    stamp_release(&st);
    free(s);
}

static void test_photometry__ellipses_and_kron_against_brute_force(void **state)
{
    (void)state;
    struct scene *s = malloc(sizeof *s);
    struct stamp st;
    stamp_init(&st);
    struct ellipse_shape e = shape_ellipse(5.0, 2.5, 1.1, 1.0 / 12);
    const double at[][2] = {{30.317, 26.833}, {3.219, 7.941}, {58.623, 49.107}};
    for (int c = 0; c < 3; c++)
        for (double k = 1; k < 7; k += 1.7) {
            make_scene(s, at[c][0], at[c][1] + 0.013 * k, 31 + (uint64_t)c);
            double first = 0, flux = 0, all = 0, area = 0, gone = 0, hx, hy;
            for (int j = 0; j < NY; j++)
                for (int i = 0; i < NX; i++) {
                    double dx = i - s->x, dy = j - s->y, r2 = e.cxx * dx * dx + e.cyy * dy * dy + e.cxy * dx * dy;
                    bool bad;
                    if (r2 > k * k) continue;
                    double v = corrected(s, i, j, s->x, s->y, true, &bad);
                    area++;
                    all += v;
                    gone += bad;
                    flux += bad ? 0 : v;
                    first += bad ? 0 : v * sqrt(r2);
                }
            ellipse_box(e.cxx, e.cyy, e.cxy, k, &hx, &hy);
            assert_int_equal(stamp_load(&st, &s->view, 1, NEIGHBOURS_MIRROR, s->x, s->y, hx, hy, NULL), ERR_OK);
            struct kron kr = kron_moment(&st, s->x, s->y, e.cxx, e.cyy, e.cxy, k);
            assert_close(kr.area, area, 0);
            assert_close(kr.flux, flux, 0.02);
            assert_close(kr.first, first, 0.05);
            assert_close(bad_fraction(&st, s->x, s->y, e.cxx, e.cyy, e.cxy, k, area), gone / area, 1e-12);
            stamp_mirror(&st, &s->view, 1, s->x, s->y);
            struct sums got = sum_ellipse(&st, &s->view, s->x, s->y, e.cxx, e.cyy, e.cxy, k);
            assert_close(got.flux, all, 0.02);
            assert_close(got.area, area, 0);
        }
    stamp_release(&st);
    free(s);
}

static void test_photometry__radius_of_a_gaussian(void **state)
{
    (void)state;
    struct scene *s = calloc(1, sizeof *s);
    struct stamp st;
    stamp_init(&st);
    for (int j = 0; j < NY; j++)
        for (int i = 0; i < NX; i++) s->value[j * NX + i] = (float)exp(-((i - 30.) * (i - 30.) + (j - 26.) * (j - 26.)) / 32.0);
    s->view = (struct image_view){.nx = NX, .ny = NY, .value = s->value, .sigma2_const = 1};
    assert_int_equal(stamp_load(&st, &s->view, 1, NEIGHBOURS_MIRROR, 30, 26, 25, 25, NULL), ERR_OK);
    double total = 2 * PI * 16;
    for (double guess = 0; guess < 30; guess += 7)
        assert_close(flux_radius(&st, &s->view, 30, 26, 0.5 * total, 24, guess), 4 * sqrt(2 * log(2)), 0.05); /* steps of 24/64 */
    assert_close(flux_radius(&st, &s->view, 30, 26, 2 * total, 24, 4), 24, 0);
    assert_close(flux_radius(&st, &s->view, 30, 26, -1, 24, 4), 0, 0);
    stamp_release(&st);
    free(s);
}

static void test_photometry__a_stamp_off_the_image_is_refused(void **state)
{
    (void)state;
    struct scene *s = malloc(sizeof *s);
    struct stamp st;
    stamp_init(&st);
    make_scene(s, 30, 26, 5);
    assert_int_equal(stamp_load(&st, &s->view, 1, NEIGHBOURS_BLANK, -50, 20, 10, 10, NULL), ERR_SHAPE);
    assert_int_equal(stamp_load(&st, &s->view, 1, NEIGHBOURS_BLANK, NAN, 20, 10, 10, NULL), ERR_SHAPE);
    assert_int_equal(stamp_load(&st, &s->view, 1, NEIGHBOURS_BLANK, 0, 0, 1e9, 1e9, NULL), ERR_OK);
    assert_int_equal(st.nx, NX);
    assert_true(stamp_covers(&st, &s->view, 30, 20, 500, 500));
    assert_false(box_leaves_image(&s->view, 30, 26, 20, 20));
    assert_true(box_leaves_image(&s->view, 3, 26, 5, 5));
    assert_true(box_leaves_image(&s->view, 30, 50, 5, 5));
    stamp_release(&st);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_photometry__circles_against_brute_force),
        cmocka_unit_test(test_photometry__variance_plane_is_summed),
        cmocka_unit_test(test_photometry__ellipses_and_kron_against_brute_force),
        cmocka_unit_test(test_photometry__radius_of_a_gaussian),
        cmocka_unit_test(test_photometry__a_stamp_off_the_image_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
