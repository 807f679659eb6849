#include "processors/background.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>

#include "common/stats.h"
#include "processors/simulate.h"

/* Small counter-based noise of this test's own: sum of four uniforms, unit variance. */
static float noise(uint64_t i)
{
    double s = 0;
    for (int k = 0; k < 4; k++) {
        uint64_t z = (i * 4 + (uint64_t)k + 1) * 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        s += (double)((z ^ (z >> 31)) >> 11) / 9007199254740992.0 - 0.5;
    }
    return (float)(s * sqrt(3.0));
}

static float *make_sky(int64_t nx, int64_t ny, float level, float slope, float sigma)
{
    float *v = malloc((size_t)(nx * ny) * sizeof *v);
    for (int64_t y = 0; y < ny; y++)
        for (int64_t x = 0; x < nx; x++) v[y * nx + x] = level + slope * (float)x + sigma * noise((uint64_t)(y * nx + x));
    return v;
}

static struct background estimate(const float *v, const mask_t *mask, int64_t nx, int64_t ny, bool compat)
{
    struct background_options o = background_options_default();
    struct background b;
    o.compat = compat;
    assert_int_equal(background_estimate(v, mask, nx, ny, &o, &b, NULL), ERR_OK);
    return b;
}

static void test_background__gradient_and_noise_are_found(void **state)
{
    (void)state;
    enum { NX = 700, NY = 450 };
    float *v = make_sky(NX, NY, 1000, 0.05f, 20), row[NX];
    for (int i = 0; i < 300; i++) v[(i * 7919) % (NX * NY)] += 5000; /* stars of one pixel */
    for (int compat = 0; compat < 2; compat++) {
        struct background b = estimate(v, NULL, NX, NY, compat);
        double *scratch = calloc((size_t)background_scratch(&b), sizeof *scratch);
        assert_close(b.global_rms, 20, 0.3);
        assert_close(b.global_level, 1000 + 0.05 * NX / 2, 1.5);
        background_row(&b, 200, scratch, row);
        for (int x = 0; x < NX; x++) assert_close(row[x], 1000 + 0.05 * x, 3); /* 64^2 px: 0.3 sigma of mode noise at most */
        assert_close(background_at(&b, 333, 200, scratch), row[333], compat ? 1.0 : 1e-3); /* compat: bilinear */
        background_rms_row(&b, 200, scratch, row);
        for (int x = 0; x < NX; x++) assert_close(row[x], 20, 1.5);
        assert_int_equal(b.flags, 0);
        free(scratch);
        background_release(&b);
    }
    free(v);
}

static void test_background__row_minus_equals_subtraction(void **state)
{
    (void)state;
    enum { NX = 301, NY = 150 };
    float *v = make_sky(NX, NY, 100, 0.1f, 3), row[NX], sub[NX];
    struct background b = estimate(v, NULL, NX, NY, false);
    double *scratch = calloc((size_t)background_scratch(&b), sizeof *scratch);
    for (int y = 0; y < NY; y += 37) {
        background_row(&b, y, scratch, row);
        background_subtract_row(&b, y, scratch, v + y * NX, sub);
        for (int x = 0; x < NX; x++) assert_true(sub[x] == v[y * NX + x] - row[x]);
        memcpy(row, v + y * NX, sizeof row);
        background_subtract_row(&b, y, scratch, row, row); /* in place */
        assert_memory_equal(row, sub, sizeof row);
    }
    free(scratch);
    background_release(&b);
    free(v);
}

static void test_background__bad_meshes_take_their_neighbours(void **state)
{
    (void)state;
    enum { NX = 320, NY = 320 };
    float *v = make_sky(NX, NY, 500, 0, 5), row[NX];
    mask_t *mask = calloc(NX * NY, sizeof *mask);
    for (int y = 64; y < 192; y++)
        for (int x = 64; x < 192; x++) {
            v[y * NX + x] = x < 128 ? NAN : 1e6f;
            if (x >= 128) mask[y * NX + x] = MASK_BAD;
        }
    struct background b = estimate(v, mask, NX, NY, false);
    double *scratch = calloc((size_t)background_scratch(&b), sizeof *scratch);
    assert_int_equal(b.filled, 4);
    assert_int_equal(b.flags, BACKGROUND_FILLED);
    background_row(&b, 128, scratch, row);
    for (int x = 0; x < NX; x++) assert_close(row[x], 500, 2);
    free(scratch);
    background_release(&b);
    free(mask);
    free(v);
}

static void test_background__hopeless_images_are_flagged(void **state)
{
    (void)state;
    enum { NX = 130, NY = 70 };
    float *v = malloc(NX * NY * sizeof *v), row[NX];
    const float fill[4] = {NAN, 0, 65535, INFINITY};
    for (int k = 0; k < 4; k++) {
        for (int i = 0; i < NX * NY; i++) v[i] = fill[k];
        struct background b = estimate(v, NULL, NX, NY, true);
        double *scratch = calloc((size_t)background_scratch(&b), sizeof *scratch);
        bool data = k == 1 || k == 2;
        assert_int_equal(b.flags, BACKGROUND_NO_NOISE | (data ? 0 : BACKGROUND_NO_DATA));
        assert_close(b.global_level, data ? fill[k] : 0, 0);
        assert_close(b.global_rms, 0, 0);
        background_row(&b, 69, scratch, row);
        for (int x = 0; x < NX; x++) assert_close(row[x], data ? fill[k] : 0, 0);
        free(scratch);
        background_release(&b);
    }
    free(v);
}

static void test_background__odd_shapes(void **state)
{
    (void)state;
    static const int64_t shape[][2] = {{1, 1}, {3, 30000}, {30000, 3}, {64, 64}, {65, 129}, {5, 1}};
    for (size_t k = 0; k < sizeof shape / sizeof *shape; k++) {
        int64_t nx = shape[k][0], ny = shape[k][1];
        float *v = make_sky(nx, ny, 50, 0, 2), *row = malloc((size_t)nx * sizeof *row);
        struct background b = estimate(v, NULL, nx, ny, false);
        double *scratch = calloc((size_t)background_scratch(&b), sizeof *scratch);
        for (int64_t y = 0; y < ny; y++) background_subtract_row(&b, y, scratch, v + y * nx, row);
        for (int64_t x = 0; x < nx; x++) assert_true(fabsf(row[x]) < 20);
        free(scratch);
        background_release(&b);
        free(row);
        free(v);
    }
}

static void test_background__bad_options_are_refused(void **state)
{
    (void)state;
    struct background_options o = background_options_default();
    struct background b;
    float v = 1;
    o.mesh_nx = 0;
    assert_int_equal(background_estimate(&v, NULL, 1, 1, &o, &b, NULL), ERR_SETTINGS);
    o = background_options_default();
    o.filter_ny = 0;
    assert_int_equal(background_estimate(&v, NULL, 1, 1, &o, &b, NULL), ERR_SETTINGS);
    o = background_options_default();
    assert_int_equal(background_estimate(&v, NULL, 0, 1, &o, &b, NULL), ERR_SHAPE);
}

/* ---- against the truth of the simulator: error of the level in units of the sky's own noise ---------------------------- */

struct level_error {
    double bias, rms; /* mean of (level - truth) / sigma, and the scatter about it */
};

static struct level_error level_error(const char *name, const float *v, const mask_t *mask, const struct sim_scene *s, double sigma)
{
    struct background b = estimate(v, mask, s->nx, s->ny, false);
    double *scratch = calloc((size_t)background_scratch(&b), sizeof *scratch), sum = 0, sum2 = 0, n = (double)(s->nx * s->ny);
    float *row = malloc((size_t)s->nx * sizeof *row), *truth = malloc((size_t)(s->nx * s->ny) * sizeof *truth);
    struct sim_scene empty = *s;
    empty.nsource = 0;
    assert_int_equal(sim_light(&empty, truth, NULL, NULL, NULL), ERR_OK);
    for (int64_t y = 0; y < s->ny; y++) {
        background_row(&b, y, scratch, row);
        for (int64_t x = 0; x < s->nx; x++) {
            double d = ((double)row[x] - (double)truth[y * s->nx + x]) / sigma;
            sum += d;
            sum2 += d * d;
        }
    }
    struct level_error e = {sum / n, sqrt(sum2 / n - sum / n * (sum / n))};
    print_message("%-28s bias %+.4f rms %.4f sigma; noise %.4f sigma\n", name, e.bias, e.rms, (double)b.global_rms / sigma);
    free(truth);
    free(row);
    free(scratch);
    background_release(&b);
    return e;
}

enum { SIDE = 1024, SKY = 400, READ_NOISE = 5, DISC_SCALE = 25 };

/* The scene with its noise, and with an exponential disc in the middle of `disc` electrons at its centre. free() it. */
static float *observe(const struct sim_scene *s, double disc)
{
    float *v = malloc((size_t)(s->nx * s->ny) * sizeof *v);
    assert_int_equal(sim_light(s, v, NULL, NULL, NULL), ERR_OK);
    for (int64_t i = 0; i < s->nx * s->ny && disc > 0; i++)
        v[i] += (float)(disc * exp(-hypot((double)(i % s->nx - 500), (double)(i / s->nx - 520) / 0.7) / DISC_SCALE));
    assert_int_equal(sim_noise_plane(17, 1, s->nx, s->ny, READ_NOISE, v, NULL), ERR_OK);
    return v;
}

/* n stars anywhere: fluxes from 300 electrons up, as many above F as 1 / F. */
static struct sim_source *scatter_stars(int64_t n)
{
    struct philox p;
    struct sim_source *s = calloc((size_t)n, sizeof *s);
    philox_init(&p, 23, 0);
    print_message("seed 23\n");
    for (int64_t i = 0; i < n; i++)
        s[i] = (struct sim_source){.x = SIDE * philox_uniform(&p), .y = SIDE * philox_uniform(&p), .flux = fmin(300 / (1e-3 + philox_uniform(&p)), 2e5)};
    return s;
}

/* An empty sky comes out 0.02 sigma low: photons are skewed, mean - median is 1/6 electron, and the mode formula takes 2.5 of
 * that off. Crowds lift it. */
static void test_background__empty_and_crowded_fields_against_truth(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t n;
        double bias, rms;
    } field[] = {{"empty", 0, 0.03, 0.02}, {"800 stars per Mpix", 800, 0.03, 0.025}, {"4000 stars per Mpix", 4000, 0.08, 0.04}};
    double sigma = sqrt(SKY + READ_NOISE * READ_NOISE);
    for (int k = 0; k < 3; k++) {
        struct sim_source *stars = scatter_stars(field[k].n + 1);
        struct sim_scene s = {.nx = SIDE, .ny = SIDE, .sky_e = SKY, .psf = {.fwhm_px = 3, .beta = 3}, .nsource = field[k].n, .source = stars};
        float *v = observe(&s, 0);
        struct level_error e = level_error(field[k].name, v, NULL, &s, sigma);
        assert_true(fabs(e.bias) < field[k].bias && e.rms < field[k].rms);
        free(v);
        free(stars);
    }
}

/* A disc of 20 sigma at its centre, visible over three meshes: some of its light goes into the level. */
static void test_background__gradient_and_large_galaxy_against_truth(void **state)
{
    (void)state;
    struct sim_scene s = {.nx = SIDE, .ny = SIDE, .sky_e = SKY, .slope_x = 0.1, .slope_y = -0.05, .psf = {.fwhm_px = 3, .beta = 3}};
    double sigma = sqrt(SKY + READ_NOISE * READ_NOISE);
    for (int k = 0; k < 2; k++) {
        float *v = observe(&s, k ? 400 : 0);
        struct level_error e = level_error(k ? "gradient, large galaxy" : "gradient", v, NULL, &s, sigma);
        assert_true(fabs(e.bias) < 0.03 && e.rms < (k ? 0.1 : 0.04));
        free(v);
    }
}

/* Meshes of NaN, rows without weight that hold anything. */
static void test_background__holes_against_truth(void **state)
{
    (void)state;
    struct sim_scene s = {.nx = SIDE, .ny = SIDE, .sky_e = SKY, .slope_x = 0.05, .psf = {.fwhm_px = 3, .beta = 3}};
    mask_t *mask = calloc((size_t)SIDE * SIDE, sizeof *mask);
    float *v = observe(&s, 0);
    for (int64_t i = 0; i < (int64_t)SIDE * SIDE; i++) {
        int64_t x = i % SIDE, y = i / SIDE;
        if ((x >= 256 && x < 384 && y >= 256 && y < 384) || (x < 64 && y < 64)) v[i] = NAN;
        if (y % 100 < 20) v[i] = 3e4f, mask[i] = MASK_NO_DATA;
    }
    struct level_error e = level_error("NaN meshes, masked rows", v, mask, &s, sqrt(SKY + READ_NOISE * READ_NOISE));
    assert_true(fabs(e.bias) < 0.03 && e.rms < 0.04);
    free(v);
    free(mask);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_background__gradient_and_noise_are_found),
        cmocka_unit_test(test_background__row_minus_equals_subtraction),
        cmocka_unit_test(test_background__bad_meshes_take_their_neighbours),
        cmocka_unit_test(test_background__hopeless_images_are_flagged),
        cmocka_unit_test(test_background__odd_shapes),
        cmocka_unit_test(test_background__bad_options_are_refused),
        cmocka_unit_test(test_background__empty_and_crowded_fields_against_truth),
        cmocka_unit_test(test_background__gradient_and_large_galaxy_against_truth),
        cmocka_unit_test(test_background__holes_against_truth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
