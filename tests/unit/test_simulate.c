#include "processors/simsky.h"
#include "processors/simulate.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/isa.h"
#include "common/units.h"

#define NX 200
#define NY 180

static const struct sim_psf round3 = {.fwhm_px = 3, .beta = 3};

static float *draw(const struct sim_source *source, int64_t n, const struct sim_psf *psf, double sky, double *stamp)
{
    float *plane = mem_array(NX * NY, sizeof *plane);
    struct sim_scene scene = {.nx = NX, .ny = NY, .sky_e = sky, .psf = *psf, .nsource = n, .source = source};
    assert_int_equal(sim_light(&scene, plane, stamp, NULL, NULL), ERR_OK);
    return plane;
}

static double sum_of(const float *v, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += v[i];
    return sum;
}

static void test_simulate__star_keeps_its_flux(void **state)
{
    (void)state;
    static const double betas[] = {2.5, 3, 3.5, 4, 4.5, 5};
    for (int b = 0; b < 6; b++) {
        struct sim_psf psf = {.fwhm_px = 3, .beta = betas[b], .e1 = 0.1, .e2 = -0.05};
        struct sim_source star = {.x = 99.3, .y = 80.7, .flux = 1e5};
        double stamp, alpha = 3 / (2 * sqrt(pow(2, 1 / psf.beta) - 1));
        float *plane = draw(&star, 1, &psf, 0, &stamp);
        assert_close(stamp, sum_of(plane, NX * NY), 0.05);
        double lost = pow(1 + pow(40 / alpha, 2), 1 - psf.beta); /* the stamp reaches at least 20 alpha / 3 px here */
        assert_true(stamp <= 1e5 * (1 + 1e-5));
        assert_close(stamp, 1e5, 1e5 * fmax(lost * 30, 1.5e-3));
        free(plane);
    }
}

/* The peak of a star between four pixels against a fine sum over the pixel. */
static void test_simulate__pixels_are_integrated(void **state)
{
    (void)state;
    struct sim_source star = {.x = 50.25, .y = 60.5, .flux = 1e6};
    double alpha = 3 / (2 * sqrt(pow(2, 1.0 / 3) - 1)), norm = 1e6 * 2 / (PI * alpha * alpha);
    float *plane = draw(&star, 1, &round3, 0, NULL);
    for (int64_t y = 58; y < 64; y++)
        for (int64_t x = 48; x < 54; x++) {
            double fine = 0;
            for (int j = 0; j < 100; j++)
                for (int i = 0; i < 100; i++) {
                    double dx = (double)x - 0.495 + i * 0.01 - star.x, dy = (double)y - 0.495 + j * 0.01 - star.y;
                    fine += norm / pow(1 + (dx * dx + dy * dy) / (alpha * alpha), 3) * 1e-4;
                }
            assert_close(plane[y * NX + x], fine, 3e-4 * fine + 0.5); /* 0.3 mmag of each pixel of the core */
        }
    free(plane);
}

static void test_simulate__sources_at_the_edge_and_far_away(void **state)
{
    (void)state;
    struct sim_source s[5] = {{.x = -0.5, .y = 50, .flux = 1e5}, {.x = -5000, .y = 50, .flux = 1e5}, {.x = NX - 0.5, .y = NY - 0.5, .flux = 1e5},
                              {.x = 1e30, .y = 1e30, .flux = 1e5}, {.x = 100, .y = -30, .flux = 1e7}};
    double stamp[5];
    float *plane = draw(s, 5, &round3, 0, stamp);
    assert_close(stamp[0], 5e4, 500); /* half of it */
    assert_close(stamp[1], 0, 0);
    assert_close(stamp[2], 2.5e4, 500);
    assert_close(stamp[3], 0, 0);
    assert_true(stamp[4] > 0 && stamp[4] < 1e5);
    assert_close(sum_of(plane, NX * NY), stamp[0] + stamp[2] + stamp[4], 1);
    free(plane);
}

static void test_simulate__half_of_a_galaxy_is_within_its_radius(void **state)
{
    (void)state;
    struct sim_source g = {.x = 100, .y = 90, .flux = 1e6, .re_px = 12, .sersic_n = 1, .axis_ratio = 1};
    struct sim_psf sharp = {.fwhm_px = 1.2, .beta = 4};
    double inside = 0, stamp;
    float *plane = draw(&g, 1, &sharp, 0, &stamp);
    for (int64_t y = 0; y < NY; y++)
        for (int64_t x = 0; x < NX; x++)
            if (hypot((double)x - 100, (double)y - 90) < 12) inside += plane[y * NX + x];
    assert_close(stamp, 1e6, 2e3);
    assert_close(inside / stamp, 0.5, 0.05); /* eight rings */
    free(plane);
}

static void test_simulate__psf_out_of_range_is_refused(void **state)
{
    (void)state;
    static const struct sim_psf bad[] = {{3, 2.7, 0, 0}, {3, 1.5, 0, 0}, {3, 6, 0, 0}, {0.2, 3, 0, 0}, {NAN, 3, 0, 0}, {3, NAN, 0, 0}, {3, 3, 0.6, 0}};
    float plane[64];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct sim_scene scene = {.nx = 8, .ny = 8, .psf = bad[i]};
        assert_int_equal(sim_light(&scene, plane, NULL, NULL, NULL), ERR_USAGE);
    }
}

static void make_ccd(struct sim_ccd *c, int namp)
{
    struct sim_ccd_options o = {.seed = 3, .number = 1, .namp = namp, .nx = NX, .ny = NY, .centre_x = NX / 2.0, .centre_y = NY / 2.0, .field_radius_px = 150};
    assert_int_equal(sim_ccd_init(c, &o, NULL), ERR_OK);
}

/* Charge flows along columns and is only lost at their ends. */
static void test_simulate__bleeding_keeps_the_charge(void **state)
{
    (void)state;
    struct sim_ccd c;
    struct sim_exposure e = {.seed = 3, .number = 1, .darktime_s = 0, .lit = true};
    make_ccd(&c, 1);
    c.nhot = c.ncolumn = c.ndust = 0;
    c.response = (struct sim_response){.level = 1};
    float *plane = mem_zarray(NX * NY, sizeof *plane);
    mask_t *truth = mem_zarray(NX * NY, sizeof *truth);
    plane[90 * NX + 50] = 1e6f;
    plane[91 * NX + 50] = 2e5f;
    plane[90 * NX + 70] = 5e4f;
    assert_int_equal(sim_expose(&c, &e, plane, truth, NULL), ERR_OK);
    double column = 0;
    for (int64_t y = 0; y < NY; y++) {
        column += plane[y * NX + 50];
        assert_true(plane[y * NX + 50] <= (float)c.full_well * 1.000001f);
        assert_close(plane[y * NX + 51], 0, 0);
    }
    assert_close(column, 1.2e6, 1);
    assert_close(plane[90 * NX + 70], 5e4, 0);
    assert_int_equal(truth[90 * NX + 50], MASK_SATURATED);
    assert_int_equal(truth[94 * NX + 50], MASK_BLEED);
    assert_int_equal(truth[86 * NX + 50], MASK_BLEED);
    free(plane);
    free(truth);
    sim_ccd_release(&c);
}

static void test_simulate__every_pixel_full_ends_soon(void **state)
{
    (void)state;
    struct sim_ccd c;
    struct sim_exposure e = {.seed = 3, .number = 1, .darktime_s = 10, .cosmics_per_mpix_s = 1, .lit = true};
    make_ccd(&c, 4);
    float *plane = mem_array(NX * NY, sizeof *plane);
    for (int i = 0; i < NX * NY; i++) plane[i] = 1e30f;
    assert_int_equal(sim_expose(&c, &e, plane, NULL, NULL), ERR_OK);
    uint16_t *raw = mem_array((size_t)(c.raw_nx * c.raw_ny), sizeof *raw);
    assert_int_equal(sim_readout(&c, &e, plane, raw, NULL), ERR_OK);
    assert_true(raw[0] > 45000);
    free(plane);
    free(raw);
    sim_ccd_release(&c);
}

/* Mean, variance and skewness of the noise over the change of method at SIM_POISSON. */
static void check_noise(const struct simulate_kernels *k, float mu, float rn2)
{
    enum { N = 1000, ROWS = 400 };
    float in[N], out[N];
    double s1 = 0, s2 = 0, s3 = 0, n = N * ROWS;
    for (int i = 0; i < N; i++) in[i] = mu;
    for (uint32_t row = 0; row < ROWS; row++) {
        struct sim_draw d = {.key = {11, 12}, .row = row, .exposure = 5, .place = 3};
        k->noise(&d, N, in, rn2, out);
        for (int i = 0; i < N; i++) {
            double v = out[i] - mu;
            s1 += v;
            s2 += v * v;
            s3 += v * v * v;
        }
    }
    double var = mu + rn2;
    printf("mean %g: %+.4f, variance %.3f (%.3f), third moment %.3f\n", mu, s1 / n, s2 / n, var, s3 / n);
    assert_close(s1 / n, 0, 5 * sqrt(var / n));
    assert_close(s2 / n, var, 5 * var * sqrt((2 + 1 / fmax(mu, 0.01)) / n) + 0.02 * (mu > 20)); /* the skewness term adds mu^2 / (18 var^2) */
    assert_close(s3 / n, mu, 5 * sqrt(15 / n) * pow(var, 1.5) + 0.02 * mu);
}

static void test_simulate__noise_has_the_right_moments(void **state)
{
    (void)state;
    static const float means[] = {0, 0.1f, 1, 5, 19.9f, 20.1f, 50, 1000, 60000};
    for (size_t i = 0; i < sizeof means / sizeof means[0]; i++) check_noise(&simulate_kernels_generic, means[i], 16);
    check_noise(&simulate_kernels_generic, 3, 0);
}

#ifdef __x86_64__
static void test_simulate__instruction_sets_agree(void **state)
{
    (void)state;
    if (isa_level() != ISA_AVX2) skip();
    enum { N = 777 };
    float in[N], a[N], b[N];
    struct sim_draw d = {.key = {1, 2}, .row = 3, .exposure = 4, .place = 5};
    struct sim_response r = {.key = 9, .prnu = 0.01f, .level = 1, .x0 = 300, .y0 = 3, .v2 = 1e-7f, .v4 = 1e-13f};
    struct sim_moffat m = {.cxx = 0.1f, .cyy = 0.11f, .cxy = 0.01f, .norm = 100, .twice_beta = 7};
    for (int i = 0; i < N; i++) in[i] = (float)(i % 50) - 1;
    simulate_kernels_generic.noise(&d, N, in, 10, a);
    simulate_kernels_avx2.noise(&d, N, in, 10, b);
    assert_memory_equal(a, b, sizeof a);
    simulate_kernels_generic.response(&r, 17, N, a);
    simulate_kernels_avx2.response(&r, 17, N, b);
    assert_memory_equal(a, b, sizeof a);
    double sum_a = simulate_kernels_generic.moffat(&m, 3, -100.3f, 2.2f, N, a), sum_b = simulate_kernels_avx2.moffat(&m, 3, -100.3f, 2.2f, N, b);
    assert_memory_equal(a, b, sizeof a);
    assert_close(sum_a, sum_b, 0);
}
#endif

static void test_simsky__field_repeats_and_grows(void **state)
{
    (void)state;
    struct sim_field f = {.seed = 4, .ra = 359.9, .dec = 60, .radius_x_deg = 0.5, .radius_y_deg = 0.3, .nstar = 500, .ngalaxy = 20, .ntransient = 2,
                          .variable_share = 0.1, .mag_bright = 12, .mag_faint = 20, .mjd_start = 60000, .mjd_end = 60001};
    struct sim_object *a, *b;
    int64_t na, nb;
    assert_int_equal(sim_field_make(&f, &a, &na, NULL), ERR_OK);
    f.nstar = 600;
    assert_int_equal(sim_field_make(&f, &b, &nb, NULL), ERR_OK);
    assert_int_equal(na, 522);
    for (int i = 0; i < 500; i++) {
        double xi, eta;
        assert_close(a[i].ra, b[i].ra, 0); /* more stars leave the first ones alone */
        assert_true(a[i].ra >= 0 && a[i].ra < 360 && a[i].mag >= 12 && a[i].mag <= 20);
        assert_true(sim_tangent(a[i].ra, a[i].dec, f.ra, f.dec, &xi, &eta));
        assert_true(fabs(xi) <= 0.5 + 1e-9 && fabs(eta) <= 0.3 + 1e-9);
    }
    free(a);
    free(b);
    f.nstar = -1;
    assert_int_equal(sim_field_make(&f, &a, &na, NULL), ERR_USAGE);
}

static void test_simsky__light_curves(void **state)
{
    (void)state;
    int r = sim_filter_find("r");
    struct sim_object sinus = {.kind = SIM_SINUS, .mag = 15, .period_d = 0.4, .amplitude_mag = 0.2, .epoch_mjd = 100};
    struct sim_object eclipsing = {.kind = SIM_ECLIPSING, .mag = 15, .period_d = 2, .amplitude_mag = 0.5, .epoch_mjd = 100};
    struct sim_object flash = {.kind = SIM_TRANSIENT, .mag = 15, .period_d = 0.1, .epoch_mjd = 100};
    assert_close(sim_object_mag(&sinus, r, 100.1), 15.2, 1e-9);
    assert_close(sim_object_mag(&sinus, r, 100.3), 14.8, 1e-9);
    assert_close(sim_object_mag(&eclipsing, r, 100), 15.5, 1e-9);
    assert_close(sim_object_mag(&eclipsing, r, 101), 15.2, 1e-9);
    assert_close(sim_object_mag(&eclipsing, r, 100.5), 15, 1e-9);
    assert_true(isinf(sim_object_mag(&flash, r, 99.9)));
    assert_close(sim_object_mag(&flash, r, 100.2), 17, 1e-9);
    assert_int_equal(sim_filter_find("infrared"), -1);
    assert_null(sim_filter_at(99));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_simulate__star_keeps_its_flux),
        cmocka_unit_test(test_simulate__pixels_are_integrated),
        cmocka_unit_test(test_simulate__sources_at_the_edge_and_far_away),
        cmocka_unit_test(test_simulate__half_of_a_galaxy_is_within_its_radius),
        cmocka_unit_test(test_simulate__psf_out_of_range_is_refused),
        cmocka_unit_test(test_simulate__bleeding_keeps_the_charge),
        cmocka_unit_test(test_simulate__every_pixel_full_ends_soon),
        cmocka_unit_test(test_simulate__noise_has_the_right_moments),
#ifdef __x86_64__
        cmocka_unit_test(test_simulate__instruction_sets_agree),
#endif
        cmocka_unit_test(test_simsky__field_repeats_and_grows),
        cmocka_unit_test(test_simsky__light_curves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
