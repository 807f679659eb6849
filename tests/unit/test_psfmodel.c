#include "common/arena.h"
#include "common/stats.h"
#include "processors/psfmodel.h"
#include "processors/simulate.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NX 400
#define NY 400
#define SKY 400.0
#define SEED 17

/* A star drawn by the simulator into a stamp of size x size: the truth the model is held against. */
static void truth(const struct sim_psf *psf, double dx, double dy, int size, float *out)
{
    int64_t n = 401;
    float *plane = mem_zarray((size_t)(n * n), sizeof *plane);
    struct sim_source star = {.x = 200 + dx, .y = 200 + dy, .flux = 1e7};
    struct sim_scene scene = {.nx = n, .ny = n, .psf = *psf, .nsource = 1, .source = &star};
    assert_int_equal(sim_light(&scene, plane, NULL, NULL, NULL), ERR_OK);
    for (int j = 0; j < size; j++)
        for (int i = 0; i < size; i++) out[j * size + i] = plane[(200 + j - size / 2) * n + 200 + i - size / 2] * 1e-7f;
    free(plane);
}

/* Largest difference in units of the peak. */
static double worst(const struct psf_model *m, double x, double y, const struct sim_psf *psf, double dx, double dy)
{
    enum { N = 21 };
    float model[N * N], want[N * N];
    double most = 0, peak = 0;
    assert_int_equal(psfmodel_stamp(m, x, y, dx, dy, model, N, NULL), ERR_OK);
    truth(psf, dx, dy, N, want);
    for (int i = 0; i < N * N; i++) {
        most = fmax(most, fabs((double)model[i] - (double)want[i]));
        peak = fmax(peak, (double)want[i]);
    }
    return most / peak;
}

static void test_psfmodel__an_analytic_model_is_the_profile(void **state)
{
    (void)state;
    static const double fwhms[] = {1.5, 2.0, 2.9, 3.5, 6.5};
    for (int i = 0; i < 5; i++) {
        struct psf_model m = {0};
        struct sim_psf psf = {.fwhm_px = fwhms[i], .beta = 3, .e1 = 0.1, .e2 = -0.05};
        assert_int_equal(psfmodel_analytic(100, 100, fwhms[i], 3, 0.1, -0.05, &m, NULL), ERR_OK);
        double tolerance = fwhms[i] < 2 ? 6e-3 : 2e-3; /* the simulator's 9 points per pixel against our nodes */
        assert_close(worst(&m, 50, 50, &psf, 0, 0), 0, tolerance);
        assert_close(worst(&m, 50, 50, &psf, 0.31, -0.43), 0, tolerance);
        assert_close(worst(&m, 50, 50, &psf, -0.5, 0.17), 0, tolerance);
        psfmodel_release(&m);
    }
}

static void test_psfmodel__slopes_are_differences(void **state)
{
    (void)state;
    enum { N = 15, STRIDE = 16 };
    struct psf_model m = {0};
    struct psf_local l;
    float p[N * STRIDE], px[N * STRIDE], py[N * STRIDE], a[N * STRIDE], b[N * STRIDE];
    const double h = 0.01;
    assert_int_equal(psfmodel_analytic(100, 100, 2.6, 3, 0.1, 0.2, &m, NULL), ERR_OK);
    psf_local_init(&l);
    assert_int_equal(psf_local_at(&l, &m, 10, 90, 7, NULL), ERR_OK);
    psf_stamp(&l, 0.2, -0.3, -7, 8, -7, 8, STRIDE, p, px, py);
    for (int axis = 0; axis < 2; axis++) {
        psf_stamp(&l, 0.2 + h * !axis, -0.3 + h * axis, -7, 8, -7, 8, STRIDE, a, NULL, NULL);
        psf_stamp(&l, 0.2 - h * !axis, -0.3 - h * axis, -7, 8, -7, 8, STRIDE, b, NULL, NULL);
        for (int j = 0; j < N; j++)
            for (int i = 0; i < N; i++) {
                int at = j * STRIDE + i;
                double slope = ((double)a[at] - (double)b[at]) / (2 * h);
                assert_close((double)(axis ? py : px)[at], slope, 2e-5);
            }
    }
    psf_local_release(&l);
    psfmodel_release(&m);
}

/* A part of a stamp is the part of the whole, wherever it lies, also beyond the model. */
static void test_psfmodel__a_rectangle_is_cut_from_the_whole(void **state)
{
    (void)state;
    enum { H = 30, N = 2 * H + 1, STRIDE = 64 };
    struct psf_model m = {0};
    struct psf_local l;
    float *whole = mem_array(N * STRIDE, sizeof *whole), *part = mem_array(N * STRIDE, sizeof *part);
    assert_int_equal(psfmodel_analytic(100, 100, 2.6, 3, 0.1, 0.2, &m, NULL), ERR_OK);
    assert_true(m.half < H);
    psf_local_init(&l);
    assert_int_equal(psf_local_at(&l, &m, 10, 90, H, NULL), ERR_OK);
    psf_stamp(&l, 0.2, -0.3, -H, H + 1, -H, H + 1, STRIDE, whole, NULL, NULL);
    struct philox r;
    philox_init(&r, SEED, 0);
    printf("seed %d\n", SEED);
    for (int k = 0; k < 300; k++) {
        int i0 = -H + (int)(philox_uniform(&r) * (N - 1)), j0 = -H + (int)(philox_uniform(&r) * (N - 1));
        int i1 = i0 + 1 + (int)(philox_uniform(&r) * (H + 1 - i0)), j1 = j0 + 1 + (int)(philox_uniform(&r) * (H + 1 - j0));
        i1 = i1 > H + 1 ? H + 1 : i1;
        j1 = j1 > H + 1 ? H + 1 : j1;
        int away = k % 3 - 1; /* the star counted from another pixel */
        psf_stamp(&l, 0.2 + away, -0.3 - away, i0 + away, i1 + away, j0 - away, j1 - away, STRIDE, part, NULL, NULL);
        for (int j = j0; j < j1; j++)
            for (int i = i0; i < i1; i++)
                assert_close((double)part[(j - j0) * STRIDE + i - i0], (double)whole[(j + H) * STRIDE + i + H], 1e-9);
    }
    psf_local_release(&l);
    psfmodel_release(&m);
    free(whole);
    free(part);
}

static void test_psfmodel__light_adds_up(void **state)
{
    (void)state;
    struct psf_model m = {0};
    assert_int_equal(psfmodel_analytic(100, 100, 3.2, 3, 0, 0, &m, NULL), ERR_OK);
    double radius[] = {1.6, 6, 12, 20, 32}, got[5], alpha = 3.2 / (2 * sqrt(pow(2, 1.0 / 3) - 1));
    assert_int_equal(psfmodel_growth(&m, 50, 50, radius, 5, got, NULL), ERR_OK);
    for (int i = 1; i < 5; i++) assert_close(got[i], 1 - pow(1 + radius[i] * radius[i] / (alpha * alpha), -2), 2e-3);
    assert_close(got[4], 1, 1e-6);
    double area = psfmodel_noise_area(&m, 50, 50); /* of the unpixelled profile: King 1983 */
    assert_close(area / (3.14159265 * alpha * alpha * 5 / 4), 1, 0.12);
    psfmodel_release(&m);
}

/* ---- fits ----------------------------------------------------------------------------------------------------------- */

struct field {
    float *value;
    struct psf_star star[200];
    struct image_view view;
};

static double change(double x, double y)
{
    return 0.12 * (x / NX - 0.5) + 0.06 * (y / NY - 0.5);
}

/* Stars on a jittered lattice over a sky; each with the PSF of its place when `varying`. */
static void make_field(struct field *f, int n, double fwhm, bool varying, double flux)
{
    struct philox r;
    float *one = mem_zarray(NX * NY, sizeof *one);
    f->value = mem_zarray(NX * NY, sizeof *f->value);
    philox_init(&r, SEED, (uint64_t)n);
    int side = (int)ceil(sqrt(n));
    for (int i = 0; i < n; i++) {
        double x = (i % side + 0.5 + 0.3 * (philox_uniform(&r) - 0.5)) * NX / side, y = (i / side + 0.5 + 0.3 * (philox_uniform(&r) - 0.5)) * NY / side;
        struct sim_source s = {.x = x, .y = y, .flux = flux * exp(1.5 * (philox_uniform(&r) - 0.5))};
        struct sim_psf psf = {.fwhm_px = fwhm * (varying ? exp(change(x, y)) : 1), .beta = 3, .e1 = varying ? change(y, x) : 0.05};
        struct sim_scene scene = {.nx = NX, .ny = NY, .psf = psf, .nsource = 1, .source = &s};
        assert_int_equal(sim_light(&scene, one, NULL, NULL, NULL), ERR_OK);
        for (int k = 0; k < NX * NY; k++) f->value[k] += one[k];
        f->star[i] = (struct psf_star){s.x + 0.2, s.y - 0.1, (float)s.flux, (float)(s.flux / 100), 0, -1};
    }
    for (int k = 0; k < NX * NY; k++) f->value[k] += (float)SKY;
    assert_int_equal(sim_noise_plane(SEED, 1, NX, NY, 5, f->value, NULL), ERR_OK);
    for (int k = 0; k < NX * NY; k++) f->value[k] -= (float)SKY;
    f->view = (struct image_view){.nx = NX, .ny = NY, .value = f->value, .sigma2_const = (float)SKY + 25, .gain = 1, .saturate = INFINITY};
    free(one);
}

static void test_psfmodel__a_field_of_stars_gives_its_psf_back(void **state)
{
    (void)state;
    static const double fwhms[] = {1.6, 2.2, 3.5, 5.0};
    for (int i = 0; i < 4; i++) {
        struct field f;
        struct psf_model m = {0};
        struct psf_options o = psf_options_default();
        make_field(&f, 60, fwhms[i], false, 3e4);
        assert_int_equal(psfmodel_fit(&f.view, f.star, 60, fwhms[i] * 1.15, &o, &m, NULL), ERR_OK);
        struct sim_psf psf = {.fwhm_px = fwhms[i], .beta = 3, .e1 = 0.05};
        printf("fwhm %.1f: %.3f, beta %.2f, e1 %.3f, degree %d, chi2 %.3f, %d stars, worst %.4f\n", fwhms[i], m.fwhm, m.beta, m.e1, m.degree, m.chi2,
               (int)m.nstar, worst(&m, 200, 200, &psf, 0.1, -0.4));
        assert_int_equal(m.flags, 0);
        assert_int_equal(m.degree, 0);
        assert_true(m.nstar >= 55);
        assert_close(m.fwhm / fwhms[i], 1, 0.01);
        assert_close(m.chi2, 1, 0.1);
        assert_close(worst(&m, 200, 200, &psf, 0.1, -0.4), 0, 0.025); /* a pixel of the peak has S/N 25 per star, 190 in all: the worst of 400 */
        psfmodel_release(&m);
        free(f.value);
    }
}

static void test_psfmodel__a_psf_that_varies_is_followed(void **state)
{
    (void)state;
    struct field f;
    struct psf_model m = {0};
    struct psf_options o = psf_options_default();
    make_field(&f, 100, 3.2, true, 3e4);
    assert_int_equal(psfmodel_fit(&f.view, f.star, 100, 3.6, &o, &m, NULL), ERR_OK);
    printf("degree %d, chi2 %.3f, %d stars\n", m.degree, m.chi2, (int)m.nstar);
    assert_true(m.degree >= 1);
    assert_int_equal(m.flags, 0);
    for (int k = 0; k < 4; k++) {
        double x = k & 1 ? 360 : 40, y = k & 2 ? 360 : 40;
        struct sim_psf psf = {.fwhm_px = 3.2 * exp(change(x, y)), .beta = 3, .e1 = change(y, x)};
        assert_close(worst(&m, x, y, &psf, -0.2, 0.3), 0, 0.02);
    }
    psfmodel_release(&m);
    free(f.value);
}

static void test_psfmodel__few_or_bad_stars_are_a_flag(void **state)
{
    (void)state;
    struct field f;
    struct psf_model m = {0};
    struct psf_options o = psf_options_default();
    make_field(&f, 60, 3.2, false, 3e4);
    assert_int_equal(psfmodel_fit(&f.view, f.star, 0, 0, &o, &m, NULL), ERR_OK);
    assert_int_equal(m.flags, PSF_FALLBACK | PSF_UNMEASURED);
    assert_int_equal(psfmodel_fit(&f.view, f.star, 2, 3.3, &o, &m, NULL), ERR_OK);
    assert_int_equal(m.flags, PSF_FALLBACK);
    assert_close(m.fwhm, 3.3, 1e-9);
    assert_int_equal(psfmodel_fit(&f.view, f.star, 5, 3.3, &o, &m, NULL), ERR_OK);
    assert_int_equal(m.flags, PSF_FEW_STARS);
    assert_close(m.fwhm, 3.2, 0.1);
    for (int k = 0; k < NX * NY; k++) f.value[k] = NAN;
    assert_int_equal(psfmodel_fit(&f.view, f.star, 60, 3.3, &o, &m, NULL), ERR_OK);
    assert_true(m.flags & PSF_FALLBACK);
    for (int k = 0; k < NX * NY; k++) f.value[k] = k % 7 == 0 ? 1e30f : -1e30f;
    assert_int_equal(psfmodel_fit(&f.view, f.star, 60, 3.3, &o, &m, NULL), ERR_OK);
    assert_true(m.flags != 0);
    o.degree = 9;
    assert_int_equal(psfmodel_fit(&f.view, f.star, 60, 3.3, &o, &m, NULL), ERR_SETTINGS);
    psfmodel_release(&m);
    free(f.value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_psfmodel__an_analytic_model_is_the_profile),
        cmocka_unit_test(test_psfmodel__slopes_are_differences),
        cmocka_unit_test(test_psfmodel__a_rectangle_is_cut_from_the_whole),
        cmocka_unit_test(test_psfmodel__light_adds_up),
        cmocka_unit_test(test_psfmodel__a_field_of_stars_gives_its_psf_back),
        cmocka_unit_test(test_psfmodel__a_psf_that_varies_is_followed),
        cmocka_unit_test(test_psfmodel__few_or_bad_stars_are_a_flag),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
