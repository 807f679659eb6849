#include "common/arena.h"
#include "common/stats.h"
#include "processors/apercor.h"
#include "processors/psffit.h"
#include "processors/psfgroups.h"
#include "processors/simulate.h"
#include "tests/support/check.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#define NX 240
#define NY 200
#define SKY 300.0
#define RN 5.0
#define FWHM 3.4
#define SEED 23

struct scene {
    float *value;
    mask_t *mask;
    struct image_view view;
    struct psf_model psf;
};

static void make_scene(struct scene *s, const struct sim_source *source, int n, uint32_t exposure)
{
    struct sim_psf psf = {.fwhm_px = FWHM, .beta = 3};
    struct sim_scene scene = {.nx = NX, .ny = NY, .sky_e = SKY, .psf = psf, .nsource = n, .source = source};
    *s = (struct scene){.value = mem_zarray(NX * NY, sizeof(float)), .mask = mem_zarray(NX * NY, sizeof(mask_t))};
    assert_int_equal(sim_light(&scene, s->value, NULL, NULL, NULL), ERR_OK);
    assert_int_equal(sim_noise_plane(SEED, exposure, NX, NY, RN, s->value, NULL), ERR_OK);
    for (int i = 0; i < NX * NY; i++) s->value[i] -= (float)SKY;
    s->view = (struct image_view){.nx = NX, .ny = NY, .value = s->value, .mask = s->mask, .sigma2_const = (float)(SKY + RN * RN), .gain = 1, .saturate = INFINITY};
    assert_int_equal(psfmodel_analytic(NX, NY, FWHM, 3, 0, 0, &s->psf, NULL), ERR_OK);
}

static void free_scene(struct scene *s)
{
    free(s->value);
    free(s->mask);
    psfmodel_release(&s->psf);
}

static void fit(const struct scene *s, struct psffit_source *f, int n)
{
    struct psffit_options o = psffit_options_default();
    assert_int_equal(psffit_sources(&s->view, &s->psf, &o, f, n, NULL), ERR_OK);
}

static double pull(const struct psffit_source *f, double flux)
{
    return (f->flux - flux) / (double)f->fluxerr;
}

/* 48 stars far apart in each of four exposures: flux and place scatter as their errors say. */
static void test_psffit__errors_are_those_of_the_scatter(void **state)
{
    (void)state;
    struct sim_source star[48];
    struct psffit_source f[48];
    double flux2 = 0, place2 = 0, sum = 0;
    int n = 0;
    printf("seed %d\n", SEED);
    for (uint32_t e = 1; e <= 4; e++) {
        struct philox r;
        struct scene s;
        philox_init(&r, SEED, e);
        for (int i = 0; i < 48; i++) {
            star[i] = (struct sim_source){.x = 15 + i % 8 * 30 + philox_uniform(&r), .y = 17 + i / 8 * 33 + philox_uniform(&r), .flux = 2000 * exp(2 * philox_uniform(&r))};
            f[i] = (struct psffit_source){.x = star[i].x + 0.4, .y = star[i].y - 0.3, .flux = NAN};
        }
        make_scene(&s, star, 48, e);
        fit(&s, f, 48);
        for (int i = 0; i < 48; i++) {
            assert_int_equal(f[i].flags, 0);
            assert_close((double)f[i].chi2, 1, 0.6); /* some 80 pixels: 0.16 rms */
            assert_true(f[i].spread > -5 * f[i].spreaderr && f[i].spread < 5 * f[i].spreaderr);
            flux2 += pull(&f[i], star[i].flux) * pull(&f[i], star[i].flux);
            sum += pull(&f[i], star[i].flux);
            place2 += pow(f[i].x - star[i].x, 2) / (double)f[i].var_x + pow(f[i].y - star[i].y, 2) / (double)f[i].var_y;
            n++;
        }
        free_scene(&s);
    }
    printf("flux %.3f (mean %.3f), place %.3f\n", sqrt(flux2 / n), sum / n, sqrt(place2 / (2 * n)));
    assert_close(sqrt(flux2 / n), 1, 0.16);     /* 192 stars: 0.05 rms */
    assert_close(sum / n, 0, 0.25);             /* 0.07 rms */
    assert_close(sqrt(place2 / (2 * n)), 1, 0.12);
}

static void test_psffit__a_pair_is_told_apart(void **state)
{
    (void)state;
    struct sim_source star[3] = {{.x = 60.2, .y = 50.4, .flux = 40000}, {.x = 60.2 + 1.1 * FWHM, .y = 50.9, .flux = 20000}, {.x = 180, .y = 150, .flux = 20000}};
    struct psffit_source f[3] = {{.x = 60.6, .y = 50.4, .flux = 50000}, {.x = 63.5, .y = 51, .flux = 10000}, {.x = 180.3, .y = 150, .flux = 9000}};
    struct scene s;
    make_scene(&s, star, 3, 1);
    fit(&s, f, 3);
    for (int i = 0; i < 3; i++) {
        assert_true(fabs(pull(&f[i], star[i].flux)) < 4);
        assert_close(f[i].x, star[i].x, 4 * sqrt((double)f[i].var_x));
    }
    assert_int_equal(f[0].flags, PSFFIT_NEIGHBOURS);
    assert_int_equal(f[2].flags, 0);
    assert_true((double)f[1].fluxerr > 1.1 * (double)f[2].fluxerr); /* the same flux, a neighbour beside it */
    free_scene(&s);
}

static void test_psffit__a_star_between_groups_is_subtracted(void **state)
{
    (void)state;
    struct sim_source star[2] = {{.x = 60, .y = 50, .flux = 1e6}, {.x = 60 + 2.6 * FWHM, .y = 50, .flux = 3000}};
    struct psffit_source f[2] = {{.x = 60, .y = 50, .flux = 5e5}, {.x = 60 + 2.6 * FWHM, .y = 50, .flux = 4000}};
    struct scene s;
    make_scene(&s, star, 2, 2);
    fit(&s, f, 2);
    assert_int_equal(f[1].flags, 0);
    assert_true(fabs(pull(&f[1], 3000)) < 4);
    free_scene(&s);
}

static void test_psffit__a_held_place_stays(void **state)
{
    (void)state;
    struct sim_source star = {.x = 100.3, .y = 90.7, .flux = 2000};
    struct psffit_source f[2] = {{.x = 100.3, .y = 90.7, .flux = NAN, .hold = true}, {.x = 30, .y = 30, .flux = NAN, .hold = true}};
    struct scene s;
    make_scene(&s, &star, 1, 1);
    fit(&s, f, 2);
    assert_int_equal(f[0].flags & PSFFIT_HELD, PSFFIT_HELD);
    assert_close(f[0].x, 100.3, 0);
    assert_true(fabs(pull(&f[0], 2000)) < 4 && fabs(pull(&f[1], 0)) < 4);
    assert_true(f[0].var_x == 0.0f);
    free_scene(&s);
}

static void test_psffit__a_saturated_star_is_fitted_by_its_wings(void **state)
{
    (void)state;
    struct sim_source star = {.x = 100.3, .y = 90.7, .flux = 3e6};
    struct psffit_source f = {.x = 100, .y = 91, .flux = 1e6};
    struct scene s;
    make_scene(&s, &star, 1, 1);
    for (int i = 0; i < NX * NY; i++)
        if (s.value[i] > 40000.0f) s.value[i] = 40000.0f, s.mask[i] = MASK_SATURATED;
    fit(&s, &f, 1);
    assert_int_equal(f.flags & (PSFFIT_SATURATED | PSFFIT_TRUNCATED), PSFFIT_SATURATED | PSFFIT_TRUNCATED);
    assert_close(f.flux / 3e6, 1, 0.01);
    assert_close(f.x, 100.3, 0.05);
    assert_int_equal(f.mask, MASK_SATURATED);
    free_scene(&s);
}

static void test_psffit__what_cannot_be_measured_is_told(void **state)
{
    (void)state;
    struct sim_source star = {.x = 0.6, .y = 100, .flux = 30000};
    struct psffit_source f[6] = {{.x = 0.8, .y = 100, .flux = 3e4}, {.x = NAN, .y = 5}, {.x = -50, .y = 5}, {.x = 120, .y = 60, .flux = 10},
                                 {.x = 1e300, .y = INFINITY, .flux = INFINITY}, {.x = 180, .y = 150, .flux = 1e38}};
    struct scene s;
    make_scene(&s, &star, 1, 1);
    for (int y = 40; y < 80; y++)
        for (int x = 100; x < 140; x++) s.value[y * NX + x] = NAN;
    fit(&s, f, 6);
    assert_int_equal(f[0].flags & PSFFIT_TRUNCATED, PSFFIT_TRUNCATED);
    assert_true(fabs(pull(&f[0], 30000)) < 4);
    for (int i = 1; i < 5; i++) {
        assert_int_equal(f[i].flags & PSFFIT_NO_DATA, PSFFIT_NO_DATA);
        assert_true(isnan(f[i].flux));
    }
    assert_true(fabs(pull(&f[5], 0)) < 5);
    free_scene(&s);
}

static void test_psffit__sources_on_one_spot_are_finite(void **state)
{
    (void)state;
    enum { N = 300 };
    struct sim_source star = {.x = 100, .y = 90, .flux = 30000};
    struct psffit_source *f = mem_zarray(N, sizeof *f);
    double sum = 0;
    struct scene s;
    make_scene(&s, &star, 1, 1);
    for (int i = 0; i < N; i++) f[i] = (struct psffit_source){.x = 100, .y = 90, .flux = NAN, .hold = i % 2 == 0};
    fit(&s, f, N);
    for (int i = 0; i < N; i++) {
        assert_true(isfinite(f[i].flux) || f[i].flags & PSFFIT_NO_DATA);
        assert_int_equal(f[i].flags & PSFFIT_SPLIT, PSFFIT_SPLIT);
        sum += isfinite(f[i].flux) ? f[i].flux : 0;
    }
    assert_true(isfinite(sum));
    free_scene(&s);
    free(f);
}

static void test_psffit__a_galaxy_is_wider_than_the_psf(void **state)
{
    (void)state;
    struct sim_source s2[2] = {{.x = 60, .y = 60, .flux = 60000}, {.x = 160, .y = 120, .flux = 60000, .re_px = 2.5f, .sersic_n = 1, .axis_ratio = 0.7f}};
    struct psffit_source f[2] = {{.x = 60, .y = 60, .flux = 5e4}, {.x = 160, .y = 120, .flux = 5e4}};
    struct scene s;
    make_scene(&s, s2, 2, 1);
    fit(&s, f, 2);
    assert_true(fabs((double)f[0].spread) < 0.003);
    assert_true((double)f[1].spread > 0.01 && f[1].spread > 5 * f[1].spreaderr);
    free_scene(&s);
}

static void test_psffit__a_local_background_is_found(void **state)
{
    (void)state;
    struct sim_source star = {.x = 100.3, .y = 90.7, .flux = 20000};
    struct psffit_source f = {.x = 100, .y = 91, .flux = 1e4}, plain = f;
    struct psffit_options o = psffit_options_default();
    struct scene s;
    make_scene(&s, &star, 1, 1);
    for (int i = 0; i < NX * NY; i++) s.value[i] += 20.0f;
    fit(&s, &plain, 1);
    o.local_background = true;
    assert_int_equal(psffit_sources(&s.view, &s.psf, &o, &f, 1, NULL), ERR_OK);
    assert_true(fabs(pull(&f, 20000)) < 4 && pull(&plain, 20000) > 2);
    assert_true(f.fluxerr > plain.fluxerr);
    free_scene(&s);
}

static void crowd(struct sim_source *star, struct psffit_source *f, int n)
{
    struct philox r;
    philox_init(&r, SEED, 99);
    for (int i = 0; i < n; i++) {
        star[i] = (struct sim_source){.x = NX * philox_uniform(&r), .y = NY * philox_uniform(&r), .flux = 500 * exp(4 * philox_uniform(&r))};
        f[i] = (struct psffit_source){.x = star[i].x, .y = star[i].y, .flux = star[i].flux * 0.8};
    }
}

/* A crowd with a source in every 12 pixels: nothing but noise is left, groups stay small, threads do not matter. */
static void test_psffit__a_crowd_is_subtracted_by_any_number_of_threads(void **state)
{
    (void)state;
    enum { N = 4000 };
    struct sim_source *star = mem_zarray(N, sizeof *star);
    struct psffit_source *f = mem_zarray(N, sizeof *f), *g = mem_zarray(N, sizeof *g);
    struct scene s;
    int split = 0, threads = omp_get_max_threads();
    crowd(star, f, N);
    memcpy(g, f, N * sizeof *f);
    make_scene(&s, star, N, 1);
    omp_set_num_threads(1);
    fit(&s, f, N);
    omp_set_num_threads(5);
    fit(&s, g, N);
    omp_set_num_threads(threads);
    assert_memory_equal(f, g, N * sizeof *f);
    float *left = mem_array(NX * NY, sizeof *left);
    memcpy(left, s.value, NX * NY * sizeof *left);
    assert_int_equal(psffit_subtract(&s.psf, f, N, NX, NY, left, NULL), ERR_OK);
    double before = 0, after = 0;
    for (int y = 20; y < NY - 20; y++)
        for (int x = 20; x < NX - 20; x++) before += pow((double)s.value[y * NX + x], 2), after += pow((double)left[y * NX + x], 2);
    for (int i = 0; i < N; i++) split += (f[i].flags & PSFFIT_SPLIT) != 0;
    printf("rms %.1f -> %.1f, %d of %d in split groups\n", sqrt(before / (200.0 * 160)), sqrt(after / (200.0 * 160)), split, N);
    assert_true(after < 0.02 * before);
    assert_true(split > N / 2);
    free(left);
    free(star);
    free(f);
    free(g);
    free_scene(&s);
}

static void test_psfgroups__no_group_is_too_large_and_all_are_there(void **state)
{
    (void)state;
    enum { N = 500 };
    double x[N], y[N];
    struct philox r;
    struct psf_cells c;
    struct psf_groups g;
    uint8_t seen[N] = {0};
    philox_init(&r, SEED, 5);
    for (int i = 0; i < N; i++) x[i] = 50 * philox_uniform(&r), y[i] = 50 * philox_uniform(&r);
    assert_int_equal(psf_cells_make(&c, x, y, N, 50, 50, 8, NULL), ERR_OK);
    assert_int_equal(psf_groups_make(&g, &c, x, y, N, 5, 7, NULL), ERR_OK);
    int32_t before = -1;
    for (int64_t k = 0; k < g.n; k++) {
        assert_in_range(g.first[k + 1] - g.first[k], 1, 7);
        assert_true(g.member[g.first[k]] > before);
        before = g.member[g.first[k]];
        for (int64_t i = g.first[k]; i < g.first[k + 1]; i++) seen[g.member[i]]++;
    }
    for (int i = 0; i < N; i++) assert_int_equal(seen[i], 1);
    psf_groups_release(&g);
    psf_cells_release(&c);
}

static void test_apercor__a_corrected_circle_holds_the_flux(void **state)
{
    (void)state;
    struct psf_model m = {0};
    struct aperture_corrections c;
    const double diameter[3] = {4, 8, 30};
    assert_int_equal(psfmodel_analytic(NX, NY, FWHM, 3, 0.1, 0, &m, NULL), ERR_OK);
    assert_int_equal(apercor_make(&m, diameter, 3, &c, NULL), ERR_OK);
    double alpha2 = pow(FWHM / (2 * sqrt(pow(2, 1.0 / 3) - 1)), 2);
    for (int k = 1; k < 3; k++)
        assert_close(apercor_at(&c, k, 10, 20), 1 / (1 - pow(1 + diameter[k] * diameter[k] / 4 / alpha2, -2)), 0.02); /* round, no pixels */
    assert_true(c.factor[0] > c.factor[1] && c.factor[1] > c.factor[2] && c.factor[2] >= 1);
    assert_int_equal(apercor_make(&m, diameter, APERCOR_MAX + 1, &c, NULL), ERR_SHAPE);
    psfmodel_release(&m);
}

static void test_psffit__options_out_of_range_are_refused(void **state)
{
    (void)state;
    struct psffit_options o = psffit_options_default();
    o.group_max = PSFFIT_GROUP_MAX + 1;
    assert_int_equal(psffit_options_verify(&o, NULL), ERR_SETTINGS);
    o = psffit_options_default();
    o.radius_fwhm = NAN;
    assert_int_equal(psffit_options_verify(&o, NULL), ERR_SETTINGS);
    o = psffit_options_default();
    o.rounds = 0;
    assert_int_equal(psffit_options_verify(&o, NULL), ERR_SETTINGS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_psffit__errors_are_those_of_the_scatter),
        cmocka_unit_test(test_psffit__a_pair_is_told_apart),
        cmocka_unit_test(test_psffit__a_star_between_groups_is_subtracted),
        cmocka_unit_test(test_psffit__a_held_place_stays),
        cmocka_unit_test(test_psffit__a_saturated_star_is_fitted_by_its_wings),
        cmocka_unit_test(test_psffit__what_cannot_be_measured_is_told),
        cmocka_unit_test(test_psffit__sources_on_one_spot_are_finite),
        cmocka_unit_test(test_psffit__a_galaxy_is_wider_than_the_psf),
        cmocka_unit_test(test_psffit__a_local_background_is_found),
        cmocka_unit_test(test_psffit__a_crowd_is_subtracted_by_any_number_of_threads),
        cmocka_unit_test(test_psfgroups__no_group_is_too_large_and_all_are_there),
        cmocka_unit_test(test_apercor__a_corrected_circle_holds_the_flux),
        cmocka_unit_test(test_psffit__options_out_of_range_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
