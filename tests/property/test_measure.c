/* What measuring must not care about: where the frame begins, which way it is turned, the unit it is in; how many threads
 * there are. */
#include "common/stats.h"
#include "common/units.h"
#include "processors/detect.h"
#include "processors/measure.h"
#include "tests/support/check.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#define BASE 360 /* side of the sky that frames are cut from */
#define SEED 20250530u

static float *make_sky(void)
{
    float *v = malloc(BASE * BASE * sizeof *v);
    struct philox p;
    philox_init(&p, SEED, 7);
    printf("seed %u\n", SEED);
    for (int64_t i = 0; i < BASE * BASE; i++) v[i] = (float)(3.0 * philox_normal(&p));
    for (int gy = 0; gy < 8; gy++)
        for (int gx = 0; gx < 8; gx++) {
            double x = 24 + 44 * gx + 12 * philox_uniform(&p), y = 24 + 44 * gy + 12 * philox_uniform(&p);
            double peak = exp(log(40.0) + log(50.0) * philox_uniform(&p)), sx = 1.2 + philox_uniform(&p), sy = 1.2 + philox_uniform(&p);
            for (int j = -16; j <= 16; j++)
                for (int i = -16; i <= 16; i++) {
                    int64_t px = (int64_t)x + i, py = (int64_t)y + j;
                    if (px < 0 || py < 0 || px >= BASE || py >= BASE) continue;
                    double dx = (double)px - x, dy = (double)py - y;
                    v[py * BASE + px] += (float)(peak * exp(-0.5 * (dx * dx / (sx * sx) + dy * dy / (sy * sy) + 0.3 * dx * dy)));
                }
        }
    return v;
}

struct scene {
    int64_t nx, ny;
    float *value;
    float rms, gain;
    struct objects objects;
    struct detections d;
};

static void measure_scene(struct scene *s)
{
    struct error err = ERROR_INIT;
    struct detect_options o = detect_options_default();
    struct detect_input in = {.nx = s->nx, .ny = s->ny, .image = s->value, .rms = s->rms, .saturate = INFINITY, .value = s->value};
    assert_int_equal(detect_sources(&in, &o, &s->objects, &err), ERR_OK);
    struct measure_options m = measure_options_default();
    memset(m.want, 1, sizeof m.want);
    m.naper = 2;
    m.diameter[1] = 13.0;
    m.vig_nx = m.vig_ny = 5;
    struct image_view view = {.nx = s->nx, .ny = s->ny, .value = s->value, .sigma2_const = s->rms * s->rms, .segment = s->objects.segment,
                              .gain = s->gain, .saturate = INFINITY};
    detections_init(&s->d);
    struct stellar_locus locus;
    assert_int_equal(measure_objects(&view, &s->objects, NULL, &m, &s->d, &locus, &err), ERR_OK);
    assert_true(s->d.n > 15);
}

static void release_scene(struct scene *s)
{
    detections_release(&s->d);
    objects_release(&s->objects);
    free(s->value);
}

static struct scene cut(const float *sky, int64_t x0, int64_t y0, int64_t nx, int64_t ny)
{
    struct scene s = {.nx = nx, .ny = ny, .value = malloc((size_t)(nx * ny) * sizeof(float)), .rms = 3.0f, .gain = 2.0f};
    for (int64_t y = 0; y < ny; y++) memcpy(s.value + y * nx, sky + (y + y0) * BASE + x0, (size_t)nx * sizeof(float));
    return s;
}

/* Row of b nearest to (x, y), -1 when none is within half a pixel. */
static int64_t row_at(const struct scene *b, double x, double y)
{
    for (int64_t i = 0; i < b->d.n; i++)
        if (hypot(b->d.x[i] - x, b->d.y[i] - y) < 0.5) return i;
    return -1;
}

static bool far_inside(const struct scene *s, int64_t i)
{
    double x = s->d.x[i], y = s->d.y[i], far = 40;
    return x > far && y > far && x < (double)s->nx - far && y < (double)s->ny - far;
}

/* Fluxes, radii and shapes of two rows of one object, to the rounding of float sums: 1e-5 of the value or of the noise. */
static void same_object(const struct scene *a, int64_t i, const struct scene *b, int64_t k, double scale)
{
    const struct detections *p = &a->d, *q = &b->d;
    double noise = (double)p->fluxerr_auto[i];
#define SAME(field) assert_close((double)q->field[k], scale *(double)p->field[i], scale *(1e-5 * fabs((double)p->field[i]) + 1e-5 * noise))
    SAME(flux_auto);
    SAME(fluxerr_auto);
    SAME(flux_iso);
    SAME(flux_petro);
    SAME(flux_win);
    SAME(flux_max);
    for (int c = 0; c < 2; c++)
        assert_close((double)q->flux_aper[2 * k + c], scale * (double)p->flux_aper[2 * i + c], scale * 1e-5 * (fabs((double)p->flux_aper[2 * i + c]) + noise));
#undef SAME
    assert_close((double)q->kron_radius[k], (double)p->kron_radius[i], 1e-4);
    assert_close((double)q->flux_radius[k], (double)p->flux_radius[i], 1e-4);
    assert_close((double)q->fwhm[k], (double)p->fwhm[i], 1e-3);
    assert_close((double)q->a[k], (double)p->a[i], 1e-4);
    assert_close((double)q->b[k], (double)p->b[i], 1e-4);
    assert_close((double)q->snr_win[k], (double)p->snr_win[i], 1e-4 * (double)p->snr_win[i]);
    assert_int_equal(q->flags[k], p->flags[i]);
    assert_int_equal(q->isoarea[k], p->isoarea[i]);
}

static void test_measure__whole_pixel_shifts_change_positions_alone(void **state)
{
    (void)state;
    float *sky = make_sky();
    struct scene a = cut(sky, 0, 0, 300, 290), b = cut(sky, 13, 7, 300, 290);
    measure_scene(&a);
    measure_scene(&b);
    int64_t compared = 0;
    for (int64_t i = 0; i < a.d.n; i++) {
        if (!far_inside(&a, i)) continue;
        int64_t k = row_at(&b, a.d.x[i] - 13, a.d.y[i] - 7);
        assert_true(k >= 0);
        if (!far_inside(&b, k)) continue;
        same_object(&a, i, &b, k, 1.0);
        assert_close(b.d.xwin[k], a.d.xwin[i] - 13, 1e-4);
        assert_close(b.d.ywin[k], a.d.ywin[i] - 7, 1e-4);
        compared++;
    }
    printf("%lld objects compared\n", (long long)compared);
    assert_true(compared > 15);
    release_scene(&a);
    release_scene(&b);
    free(sky);
}

static void test_measure__a_quarter_turn_turns_the_shapes(void **state)
{
    (void)state;
    float *sky = make_sky();
    struct scene a = cut(sky, 0, 0, 300, 300), b = cut(sky, 0, 0, 300, 300);
    /* counter-clockwise: (x, y) goes to (299 - y, x) */
    for (int64_t y = 0; y < 300; y++)
        for (int64_t x = 0; x < 300; x++) b.value[x * 300 + 299 - y] = a.value[y * 300 + x];
    measure_scene(&a);
    measure_scene(&b);
    int64_t compared = 0;
    for (int64_t i = 0; i < a.d.n; i++) {
        if (!far_inside(&a, i)) continue;
        int64_t k = row_at(&b, 301 - a.d.y[i], a.d.x[i]);
        assert_true(k >= 0);
        same_object(&a, i, &b, k, 1.0);
        assert_close(b.d.xwin[k], 301 - a.d.ywin[i], 1e-4);
        assert_close(b.d.ywin[k], a.d.xwin[i], 1e-4);
        if (a.d.elongation[i] > 1.05f) {
            double turn = fmod((double)(b.d.theta[k] - a.d.theta[i]) + 360.0, 180.0);
            assert_close(turn, 90.0, 0.05);
        }
        compared++;
    }
    assert_true(compared > 15);
    release_scene(&a);
    release_scene(&b);
    free(sky);
}

static void test_measure__fluxes_scale_with_the_unit(void **state)
{
    (void)state;
    float *sky = make_sky();
    struct scene a = cut(sky, 0, 0, 300, 290), b = cut(sky, 0, 0, 300, 290);
    for (int64_t i = 0; i < b.nx * b.ny; i++) b.value[i] *= 4.0f;
    b.rms *= 4.0f;
    b.gain /= 4.0f;
    measure_scene(&a);
    measure_scene(&b);
    assert_int_equal(a.d.n, b.d.n);
    for (int64_t i = 0; i < a.d.n; i++) {
        same_object(&a, i, &b, i, 4.0);
        assert_true(a.d.x[i] == b.d.x[i] && a.d.xwin[i] == b.d.xwin[i]); /* a power of two rounds nothing */
        assert_close((double)b.d.mag_auto[i] - (double)a.d.mag_auto[i], a.d.flux_auto[i] > 0.0f ? -2.5 * log10(4.0) : 0.0, 1e-5);
        assert_close((double)a.d.errawin[i], (double)b.d.errawin[i], 1e-6);
    }
    release_scene(&a);
    release_scene(&b);
    free(sky);
}

static void test_measure__same_bytes_for_any_number_of_threads(void **state)
{
    (void)state;
    float *sky = make_sky();
    int threads[] = {1, 2, 8}, before = omp_get_max_threads();
    struct scene s[3];
    for (int t = 0; t < 3; t++) {
        omp_set_num_threads(threads[t]);
        s[t] = cut(sky, 0, 0, 320, 310);
        measure_scene(&s[t]);
    }
    omp_set_num_threads(before);
    enum detection_column all[DETECTION_COLUMN_COUNT];
    struct column one[DETECTION_COLUMN_COUNT], other[DETECTION_COLUMN_COUNT];
    for (int c = 0; c < DETECTION_COLUMN_COUNT; c++) all[c] = (enum detection_column)c;
    for (int t = 1; t < 3; t++) {
        assert_int_equal(s[t].d.n, s[0].d.n);
        detections_columns(&s[0].d, all, DETECTION_COLUMN_COUNT, "adu", one);
        detections_columns(&s[t].d, all, DETECTION_COLUMN_COUNT, "adu", other);
        for (int c = 0; c < DETECTION_COLUMN_COUNT; c++) {
            size_t size = one[c].type == COLUMN_F64 ? 8 : one[c].type == COLUMN_I16 ? 2 : 4;
            assert_memory_equal(one[c].data, other[c].data, (size_t)s[0].d.n * (size_t)one[c].repeat * size);
        }
    }
    for (int t = 0; t < 3; t++) release_scene(&s[t]);
    free(sky);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_measure__whole_pixel_shifts_change_positions_alone),
        cmocka_unit_test(test_measure__a_quarter_turn_turns_the_shapes),
        cmocka_unit_test(test_measure__fluxes_scale_with_the_unit),
        cmocka_unit_test(test_measure__same_bytes_for_any_number_of_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
