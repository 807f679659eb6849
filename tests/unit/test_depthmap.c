/* The depth map against what an ideal filter measures on noise that is known. */
#include "processors/depthmap.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>

#include "common/stats.h"
#include "processors/simulate.h"

#define SEED 41
#define REACH 12
#define SIZE (2 * REACH + 1)

static float *noise_plane(int64_t nx, int64_t ny, double sigma, double sigma_right)
{
    struct philox p;
    float *v = malloc((size_t)(nx * ny) * sizeof *v);
    philox_init(&p, SEED, 0);
    print_message("seed %d\n", SEED);
    for (int64_t y = 0; y < ny; y++)
        for (int64_t x = 0; x < nx; x++) v[y * nx + x] = (float)(200 + (x < nx / 2 ? sigma : sigma_right) * philox_normal(&p));
    return v;
}

static struct depth_map map_of(const float *v, const mask_t *mask, int64_t nx, int64_t ny, const struct psf_model *psf)
{
    struct background_options o = background_options_default();
    struct background b;
    struct depth_map m;
    assert_int_equal(background_estimate(v, mask, nx, ny, &o, &b, NULL), ERR_OK);
    assert_int_equal(depthmap_make(&b, mask, psf, &m, NULL), ERR_OK);
    background_release(&b);
    return m;
}

/* The simulator's star, of flux 1. */
static void star(const struct sim_psf *psf, float *ret)
{
    enum { N = 201 };
    float *plane = calloc((size_t)N * N, sizeof *plane);
    struct sim_source s = {.x = 100, .y = 100, .flux = 1e7};
    struct sim_scene scene = {.nx = N, .ny = N, .psf = *psf, .nsource = 1, .source = &s};
    assert_int_equal(sim_light(&scene, plane, NULL, NULL, NULL), ERR_OK);
    for (int j = 0; j < SIZE; j++)
        for (int i = 0; i < SIZE; i++) ret[j * SIZE + i] = plane[(100 + j - REACH) * N + 100 + i - REACH] * 1e-7f;
    free(plane);
}

/* Mean and scatter of the least-squares flux of a star of the given flux put at many places. */
static double signal_to_noise(const float *v, int64_t nx, int64_t ny, const float *p, double flux)
{
    double s = 0, s2 = 0, norm = 0;
    int64_t n = 0;
    for (int i = 0; i < SIZE * SIZE; i++) norm += (double)p[i] * (double)p[i];
    for (int64_t y = 0; y + SIZE <= ny; y += 9)
        for (int64_t x = 0; x + SIZE <= nx; x += 9, n++) {
            double sum = 0;
            for (int j = 0; j < SIZE; j++)
                for (int i = 0; i < SIZE; i++)
                    sum += (double)p[j * SIZE + i] * ((double)v[(y + j) * nx + x + i] - 200 + flux * (double)p[j * SIZE + i]);
            s += sum / norm;
            s2 += sum / norm * (sum / norm);
        }
    double mean = s / (double)n;
    print_message("%lld places: flux %.2f of %.2f\n", (long long)n, mean, flux);
    return mean / sqrt(s2 / (double)n - mean * mean);
}

static void test_depthmap__a_star_at_the_limit_has_five_sigma(void **state)
{
    (void)state;
    enum { NX = 1536, NY = 1200 };
    static const struct sim_psf shapes[] = {{.fwhm_px = 3.1, .beta = 3, .e1 = 0.1, .e2 = -0.05}, {.fwhm_px = 5, .beta = 2.5}};
    float p[SIZE * SIZE], *v = noise_plane(NX, NY, 7, 7);
    for (int k = 0; k < 2; k++) {
        const struct sim_psf *psf = &shapes[k];
        struct psf_model model = {0};
        assert_int_equal(psfmodel_analytic(NX, NY, psf->fwhm_px, psf->beta, psf->e1, psf->e2, &model, NULL), ERR_OK);
        struct depth_map m = map_of(v, NULL, NX, NY, &model);
        star(psf, p);
        double snr = signal_to_noise(v, NX, NY, p, m.median);
        print_message("S/N at the limit %.3f; cells within %.3f mag\n", snr, 2.5 * log10(m.shallow / m.deep));
        assert_close(snr, 5, 0.05); /* 2 sigma of the error of 22,000 places */
        assert_true(m.deep < m.median && m.median < m.shallow && m.shallow < 1.04 * m.deep);
        depthmap_release(&m);
        psfmodel_release(&model);
    }
    free(v);
}

static void test_depthmap__double_noise_costs_three_quarters_of_a_magnitude(void **state)
{
    (void)state;
    enum { NX = 1024, NY = 512 };
    struct psf_model model = {0};
    float *v = noise_plane(NX, NY, 7, 14);
    assert_int_equal(psfmodel_analytic(NX, NY, 3, 3, 0, 0, &model, NULL), ERR_OK);
    struct depth_map m = map_of(v, NULL, NX, NY, &model);
    assert_int_equal(m.gx, 16);
    assert_int_equal(m.gy, 8);
    for (int j = 0; j < 8; j++)
        for (int i = 0; i < 8; i++) assert_close(2.5 * log10((double)(m.flux[j * 16 + 8 + i] / m.flux[j * 16 + i])), 2.5 * log10(2.0), 0.06);
    print_message("5 %% to 95 %%: %.3f mag\n", 2.5 * log10(m.shallow / m.deep));
    assert_close(2.5 * log10(m.shallow / m.deep), 2.5 * log10(2.0), 0.05);
    depthmap_release(&m);
    psfmodel_release(&model);
    free(v);
}

/* Scattered losses cost their share of a star's information; where nothing is left there is no depth. */
static void test_depthmap__masked_pixels_cost_depth(void **state)
{
    (void)state;
    enum { NX = 330, NY = 200 }; /* cut cells at both far edges */
    struct psf_model model = {0};
    float *v = noise_plane(NX, NY, 5, 5);
    mask_t *mask = calloc((size_t)NX * NY, sizeof *mask);
    assert_int_equal(psfmodel_analytic(NX, NY, 3, 3, 0, 0, &model, NULL), ERR_OK);
    for (int i = 0; i < NX * NY; i++) {
        int x = i % NX, y = i / NX;
        mask[i] = MASK_DETECTED; /* says nothing against a pixel */
        if (x < 64 && y < 64) mask[i] = MASK_BAD;
        else if (x >= 256 && x % 5 < 2) mask[i] = MASK_COSMIC;
    }
    struct depth_map m = map_of(v, mask, NX, NY, &model);
    assert_int_equal(m.gx, 6);
    assert_int_equal(m.gy, 4);
    assert_true(isnan(m.flux[0]));
    struct background_options o = background_options_default();
    struct background b;
    assert_int_equal(background_estimate(v, mask, NX, NY, &o, &b, NULL), ERR_OK);
    double area = psfmodel_noise_area(&model, 0, 0);
    for (int k = 1; k < 24; k++) {
        int i = k % 6;
        double lost = i < 4 ? 0 : i == 4 ? 26.0 / 64 : 4.0 / 10; /* columns 256 to 319, 320 to 329 */
        assert_close((double)(m.flux[k] / b.rms[k]) * DEPTH_CLIPPED / (5 * sqrt(area)), 1 / sqrt(1 - lost), i == 4 ? 0.02 : 1e-5);
    }
    assert_true(isfinite(m.median));
    background_release(&b);
    depthmap_release(&m);
    free(mask);
    free(v);
    psfmodel_release(&model);
}

/* A PSF that gets longer from left to right: interpolated noise areas are those of the places. */
static void test_depthmap__a_varying_psf_is_followed(void **state)
{
    (void)state;
    enum { NX = 1024, NY = 512 };
    struct psf_model model = {0}, longer = {0};
    float *v = noise_plane(NX, NY, 5, 5);
    assert_int_equal(psfmodel_analytic(NX, NY, 3, 3, 0, 0, &model, NULL), ERR_OK);
    assert_int_equal(psfmodel_analytic(NX, NY, 3, 3, 0.5, 0, &longer, NULL), ERR_OK);
    int64_t plane = (int64_t)model.nodes * model.pitch;
    assert_int_equal(longer.nodes, model.nodes);
    model.coef = realloc(model.coef, (size_t)plane * 3 * sizeof *model.coef); /* 1, u, v */
    assert_non_null(model.coef);
    memset(model.coef + plane, 0, (size_t)plane * 2 * sizeof *model.coef);
    for (int64_t i = 0; i < plane; i++) model.coef[plane + i] = 0.5f * (longer.coef[i] - model.coef[i]);
    model.degree = 1, model.terms = 3;
    struct depth_map m = map_of(v, NULL, NX, NY, &model);
    struct background_options o = background_options_default();
    struct background b;
    assert_int_equal(background_estimate(v, NULL, NX, NY, &o, &b, NULL), ERR_OK);
    double least = INFINITY, most = 0;
    for (int k = 0; k < m.gx * m.gy; k++) {
        double area = psfmodel_noise_area(&model, 64 * (k % 16) + 31.5, 64 * (k / 16) + 31.5);
        assert_close((double)(m.flux[k] / b.rms[k]) * DEPTH_CLIPPED / (5 * sqrt(area)), 1, 0.003);
        least = fmin(least, area), most = fmax(most, area);
    }
    print_message("noise areas %.2f to %.2f pixels\n", least, most);
    assert_true(most > 1.02 * least);
    background_release(&b);
    depthmap_release(&m);
    free(v);
    psfmodel_release(&longer);
    psfmodel_release(&model);
}

static void test_depthmap__an_image_without_noise_has_no_depth(void **state)
{
    (void)state;
    enum { N = 128 };
    struct psf_model model = {0};
    float *v = malloc((size_t)N * N * sizeof *v);
    assert_int_equal(psfmodel_analytic(N, N, 3, 3, 0, 0, &model, NULL), ERR_OK);
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < N * N; i++) v[i] = k ? 65535 : NAN;
        struct depth_map m = map_of(v, NULL, N, N, &model);
        for (int i = 0; i < 4; i++) assert_true(isnan(m.flux[i]));
        assert_true(isnan(m.median) && isnan(m.deep) && isnan(m.shallow));
        depthmap_release(&m);
    }
    free(v);
    psfmodel_release(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_depthmap__a_star_at_the_limit_has_five_sigma),
        cmocka_unit_test(test_depthmap__double_noise_costs_three_quarters_of_a_magnitude),
        cmocka_unit_test(test_depthmap__masked_pixels_cost_depth),
        cmocka_unit_test(test_depthmap__a_varying_psf_is_followed),
        cmocka_unit_test(test_depthmap__an_image_without_noise_has_no_depth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
