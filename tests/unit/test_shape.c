#include "common/stats.h"
#include "common/units.h"
#include "processors/shape.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>

#define N 64

static void make_gaussian(float *v, double x, double y, double sx, double sy, double peak)
{
    for (int j = 0; j < N; j++)
        for (int i = 0; i < N; i++)
            v[j * N + i] = (float)(peak * exp(-0.5 * ((i - x) * (i - x) / (sx * sx) + (j - y) * (j - y) / (sy * sy))));
}

static void test_shape__ellipse_of_moments(void **state)
{
    (void)state;
    /* a = 3, b = 1.5 at 30 degrees */
    double c = cos(30 * RAD_PER_DEG), s = sin(30 * RAD_PER_DEG), a2 = 9, b2 = 2.25;
    struct ellipse_shape e = shape_ellipse(a2 * c * c + b2 * s * s, a2 * s * s + b2 * c * c, (a2 - b2) * c * s, 1.0 / 12);
    assert_close(e.a, 3, 1e-12);
    assert_close(e.b, 1.5, 1e-12);
    assert_close(e.theta_rad * DEG_PER_RAD, 30, 1e-10);
    /* the end of the major axis lies on the ellipse */
    double dx = 3 * c, dy = 3 * s;
    assert_close(e.cxx * dx * dx + e.cyy * dy * dy + e.cxy * dx * dy, 1, 1e-12);
    /* a line of pixels gets the width of a pixel */
    e = shape_ellipse(4, 0, 0, 1.0 / 12);
    assert_close(e.b, sqrt(1.0 / 12), 1e-12);
    e = shape_ellipse(1, 4, 0, 1.0 / 12);
    assert_close(fabs(e.theta_rad), PI / 2, 1e-12);
}

static void test_shape__window_finds_the_centre(void **state)
{
    (void)state;
    float *v = malloc(N * N * sizeof *v);
    struct stamp st;
    struct windowed w;
    struct image_view view = {.nx = N, .ny = N, .value = v, .sigma2_const = 4, .gain = 2};
    stamp_init(&st);
    for (int k = 0; k < 12; k++) {
        double x = 31.2 + 0.11 * k, y = 30.4 - 0.07 * k, sigma = 1.3 + 0.2 * k, r50 = sigma * sqrt(2 * log(2));
        make_gaussian(v, x, y, sigma, sigma, 500);
        assert_int_equal(stamp_load(&st, &view, 1, NEIGHBOURS_MIRROR, x, y, window_reach(r50), window_reach(r50), NULL), ERR_OK);
        shape_window(&st, &view, 1, x + 0.4, y - 0.3, r50, &w);
        assert_int_equal(w.flags, 0);
        assert_close(w.x, x, 3e-4); /* the rule stops at steps of 2e-4 */
        assert_close(w.y, y, 3e-4);
        /* window and star have the same sigma but for 2.35: their product has half the variance */
        assert_close(w.x2, sigma * sigma / 2, 0.01 * sigma * sigma);
        assert_close(w.xy, 0, 1e-3);
        assert_true(w.errx2 > 0 && w.fluxerr > 0);
    }
    stamp_release(&st);
    free(v);
}

static void test_shape__window_errors_against_brute_force(void **state)
{
    (void)state;
    float *v = malloc(N * N * sizeof *v);
    struct stamp st;
    struct windowed w;
    struct image_view view = {.nx = N, .ny = N, .value = v, .sigma2_const = 4, .gain = 2};
    stamp_init(&st);
    make_gaussian(v, 31.2, 30.4, 2, 1.6, 500);
    double r50 = 2.1, sigma = 2 * r50 / 2.35, vs = 0, e = 0, exx = 0;
    assert_int_equal(stamp_load(&st, &view, 1, NEIGHBOURS_MIRROR, 31.2, 30.4, 12, 12, NULL), ERR_OK);
    shape_window(&st, &view, 1, 31.2, 30.4, r50, &w);
    for (int j = 0; j < N; j++)
        for (int i = 0; i < N; i++) {
            double dx = i - w.x, dy = j - w.y, r2 = dx * dx + dy * dy, weight = r2 < 16 * sigma * sigma ? exp(-r2 / (2 * sigma * sigma)) : 0;
            vs += weight * (double)v[j * N + i];
            e += weight * weight * (4 + (double)v[j * N + i] / 2);
            exx += weight * weight * (4 + (double)v[j * N + i] / 2) * (dx * dx + 1.0 / 12);
        }
    assert_close(w.flux, vs, 1e-5 * vs);
    assert_close(w.fluxerr, sqrt(e), 1e-5 * sqrt(e));
    assert_close(w.errx2, 4 * exx / (vs * vs), 1e-5 * w.errx2);
    stamp_release(&st);
    free(v);
}

static void test_shape__window_of_nothing_stays(void **state)
{
    (void)state;
    float *v = calloc(N * N, sizeof *v);
    struct stamp st;
    struct windowed w;
    struct image_view view = {.nx = N, .ny = N, .value = v, .sigma2_const = 4};
    stamp_init(&st);
    assert_int_equal(stamp_load(&st, &view, 1, NEIGHBOURS_MIRROR, 20, 20, 12, 12, NULL), ERR_OK);
    shape_window(&st, &view, 1, 20.25, 20.5, 2, &w);
    assert_int_equal(w.flags, WINDOW_NO_FLUX | WINDOW_NULL);
    assert_close(w.x, 20.25, 0);
    assert_close(w.flux, 0, 0);
    stamp_release(&st);
    free(v);
}

/* The pixels of a Gaussian above a threshold as detection would hand them over, unfiltered. */
static struct object make_object(const float *v, float threshold, struct object_pixel *p)
{
    struct object o = {.threshold = threshold};
    double s = 0, sx = 0, sy = 0;
    for (int j = 0; j < N; j++)
        for (int i = 0; i < N; i++)
            if (v[j * N + i] > threshold) {
                p[o.npix++] = (struct object_pixel){i, j, v[j * N + i], v[j * N + i]};
                s += (double)v[j * N + i], sx += i * (double)v[j * N + i], sy += j * (double)v[j * N + i];
                if (v[j * N + i] > o.peak) o.peak = v[j * N + i];
            }
    o.x = sx / s;
    o.y = sy / s;
    for (int64_t k = 0; k < o.npix; k++) {
        o.x2 += (double)p[k].value * (p[k].x - o.x) * (p[k].x - o.x) / s;
        o.y2 += (double)p[k].value * (p[k].y - o.y) * (p[k].y - o.y) / s;
    }
    o.a = o.b = (float)sqrt(o.x2);
    return o;
}

static void test_shape__isophote_of_a_gaussian(void **state)
{
    (void)state;
    float *v = malloc(N * N * sizeof *v);
    struct object_pixel *p = malloc(N * N * sizeof *p);
    struct image_view view = {.nx = N, .ny = N, .value = v, .sigma2_const = 4, .gain = 0};
    struct isophote iso;
    make_gaussian(v, 31.5, 30.5, 2, 2, 500);
    struct object o = make_object(v, 10, p);
    shape_isophote(&view, &o, p, &iso);
    double fwhm = FWHM_PER_SIGMA * 2;
    assert_close(iso.fwhm, fwhm - 1 / (4 * fwhm), 1e-4);
    assert_int_equal(iso.iso[0], o.npix);
    for (int k = 1; k < ISO_LEVELS; k++) assert_true(iso.iso[k] <= iso.iso[k - 1] && iso.iso[k] > 0);
    double flux = 0, want = 0;
    for (int64_t k = 0; k < o.npix; k++) flux += (double)p[k].value, want += 4 * (p[k].x - o.x) * (p[k].x - o.x);
    assert_close(iso.errx2, want / (flux * flux), 1e-12);
    assert_close(iso.variance, 4.0 * (double)o.npix, 1e-9);
    assert_close(iso.err_floor, 0, 0);
    free(p);
    free(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shape__ellipse_of_moments),
        cmocka_unit_test(test_shape__window_finds_the_centre),
        cmocka_unit_test(test_shape__window_errors_against_brute_force),
        cmocka_unit_test(test_shape__window_of_nothing_stays),
        cmocka_unit_test(test_shape__isophote_of_a_gaussian),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
