#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/stats.h"
#include "processors/cosmic.h"
#include "processors/simulate.h"
#include "tests/support/check.h"

/* ---- kernels ---- */

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static float median_around(const float *v, int64_t stride, int radius)
{
    float box[49];
    int n = 0;
    for (int dy = -radius; dy <= radius; dy++)
        for (int dx = -radius; dx <= radius; dx++) box[n++] = v[dy * stride + dx];
    qsort(box, (size_t)n, sizeof *box, by_value);
    return box[n / 2];
}

static void check_kernels(const struct cosmic_kernels *k, uint64_t seed)
{
    enum { NX = 64, NY = 12, W = 40 };
    float in[NX * NY], out9[NX * NY] = {0}, out25[NX * NY] = {0};
    struct philox p;
    philox_init(&p, seed, 0);
    for (int i = 0; i < NX * NY; i++) in[i] = (float)(philox_u32(&p) % 50); /* with ties */
    k->median9(in + 4 * NX + 4, NX, W, NY - 8, out9 + 4 * NX + 4);
    k->median25(in + 4 * NX + 4, NX, W, NY - 8, out25 + 4 * NX + 4);
    for (int y = 4; y < NY - 4; y++)
        for (int x = 4; x < 4 + W; x++) {
            assert_close(out9[y * NX + x], median_around(in + y * NX + x, NX, 1), 0);
            assert_close(out25[y * NX + x], median_around(in + y * NX + x, NX, 2), 0);
        }
    float least = k->least(in + 1, 37), want = INFINITY;
    for (int i = 1; i < 38; i++)
        if (in[i] > 0 && in[i] < want) want = in[i];
    assert_close(least, want, 0);
    in[3 * NX + 30] = 1000;
    float peak = 8000 - 2 * (in[2 * NX + 30] + in[4 * NX + 30] + in[3 * NX + 29] + in[3 * NX + 31]);
    assert_true(k->steep(in + 2 * NX + 1, in + 3 * NX + 1, in + 4 * NX + 1, 35, peak - 1));
    assert_false(k->steep(in + 2 * NX + 1, in + 3 * NX + 1, in + 4 * NX + 1, 35, peak));
}

static void test_cosmic__kernels_agree_with_sorting(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 20; seed++) {
        check_kernels(&cosmic_kernels_generic, seed);
        check_kernels(cosmic_kernels_now(), seed);
    }
}

/* ---- a field ---- */

struct scene {
    int64_t nx, ny;
    float *sci, *var;
    mask_t *mask;
};

static void scene_release(struct scene *s)
{
    free(s->sci);
    free(s->var);
    free(s->mask);
}

/* Sky 100, stars, tracks, masked pixels; seed 11. */
static struct scene make_scene(int64_t nx, int64_t ny)
{
    struct scene s = {nx, ny, mem_array((size_t)(nx * ny), 4), mem_array((size_t)(nx * ny), 4), mem_zarray((size_t)(nx * ny), 2)};
    struct philox p;
    struct sim_source star[40];
    philox_init(&p, 11, 0);
    for (int i = 0; i < 40; i++)
        star[i] = (struct sim_source){.x = philox_uniform(&p) * (double)nx, .y = philox_uniform(&p) * (double)ny, .flux = 1000 * pow(500, philox_uniform(&p))};
    struct sim_scene scene = {.nx = nx, .ny = ny, .sky_e = 100, .psf = {2.5, 3, 0, 0}, .nsource = 40, .source = star};
    assert_int_equal(sim_light(&scene, s.sci, NULL, NULL, NULL), ERR_OK);
    for (int i = 0; i < 30; i++) { /* tracks: short lines, some at the very edge */
        int64_t x = (int64_t)(philox_u32(&p) % (uint32_t)nx), y = i < 4 ? (i % 2 ? ny - 1 : 0) : (int64_t)(philox_u32(&p) % (uint32_t)ny);
        for (int k = 0; k < 1 + i % 7; k++, x++, y += k % 2)
            if (x < nx && y < ny) s.sci[y * nx + x] += 200 + 100 * (float)i;
    }
    assert_int_equal(sim_noise_plane(11, 1, nx, ny, 4, s.sci, NULL), ERR_OK);
    for (int64_t i = 0; i < nx * ny; i++) s.var[i] = (s.sci[i] > 0 ? s.sci[i] : 0) + 16;
    for (int i = 0; i < 12; i++) {
        int64_t k = (int64_t)(philox_u32(&p) % (uint32_t)(nx * ny));
        s.mask[k] = i % 3 ? MASK_BAD : MASK_SATURATED;
        if (i % 3) s.sci[k] = 0, s.var[k] = 0;
        else s.sci[k] = 5e4f;
    }
    for (int64_t y = 0; y < ny; y++) s.mask[y * nx + nx / 3] = MASK_HOT, s.sci[y * nx + nx / 3] = 3e4f;
    return s;
}

/* ---- the same written down plainly, everywhere, in double steps of whole planes: one round ---- */

static int64_t mirror(int64_t i, int64_t n)
{
    while (i < 0 || i >= n) i = i < 0 ? -1 - i : 2 * n - 1 - i;
    return i;
}

struct plain {
    int64_t nx, ny;
    const float *v;
};

static float pixel(const struct plain *p, int64_t x, int64_t y)
{
    return p->v[mirror(y, p->ny) * p->nx + mirror(x, p->nx)];
}

static void square(const struct plain *p, int radius, float *ret)
{
    float box[49];
    for (int64_t y = 0; y < p->ny; y++)
        for (int64_t x = 0; x < p->nx; x++) {
            int n = 0;
            for (int dy = -radius; dy <= radius; dy++)
                for (int dx = -radius; dx <= radius; dx++) box[n++] = pixel(p, x + dx, y + dy);
            qsort(box, (size_t)n, sizeof *box, by_value);
            ret[y * p->nx + x] = box[n / 2];
        }
}

/* For a scene without masked pixels. ret: 1 where a seed is. */
static void plain_seeds(const struct scene *s, const struct cosmic_options *o, unsigned char *ret, float *peak, float *fine)
{
    size_t n = (size_t)(s->nx * s->ny);
    float *noise2 = malloc(4 * n), *S = malloc(4 * n), *med = malloc(4 * n), *m3 = malloc(4 * n), *m7 = malloc(4 * n), *m5 = malloc(4 * n);
    struct plain sci = {s->nx, s->ny, s->sci}, var = {s->nx, s->ny, s->var}, ps = {s->nx, s->ny, S}, p3 = {s->nx, s->ny, m3};
    square(&var, 2, noise2);
    square(&sci, 1, m3);
    square(&sci, 2, m5);
    square(&p3, 3, m7);
    for (int64_t y = 0; y < s->ny; y++)
        for (int64_t x = 0; x < s->nx; x++) {
            float c = pixel(&sci, x, y), sum = 0;
            for (int k = 0; k < 4; k++) {
                float q = 2 * c - pixel(&sci, x + (k < 2 ? -1 : 1), y) - pixel(&sci, x, y + (k % 2 ? -1 : 1));
                sum += q > 0 ? q : 0;
            }
            S[y * s->nx + x] = sum / 8 / sqrtf(noise2[y * s->nx + x]);
        }
    square(&ps, 2, med);
    for (int64_t y = 0; y < s->ny; y++)
        for (int64_t x = 0; x < s->nx; x++) {
            int64_t i = y * s->nx + x;
            float low = m3[i], high = m3[i], sigma = sqrtf(noise2[i]);
            for (int k = 0; k < 9; k++) {
                float v = pixel(&p3, x + k % 3 - 1, y + k / 3 - 1);
                low = fminf(low, v);
                high = fmaxf(high, v);
            }
            peak[i] = S[i] - med[i];
            fine[i] = fmaxf(fmaxf(m3[i] - m7[i], 0.1f * (high - low)) / sigma, 0.01f);
            ret[i] = peak[i] > o->sigclip && peak[i] > o->objlim * fine[i] && (s->sci[i] - m5[i]) / sigma > o->sigclip + 0.5;
        }
    free(noise2), free(S), free(med), free(m3), free(m7), free(m5);
}

static void plain_grow(const struct scene *s, const unsigned char *in, double limit, double objlim, const float *peak, const float *fine, unsigned char *out)
{
    for (int64_t y = 0; y < s->ny; y++)
        for (int64_t x = 0; x < s->nx; x++) {
            int64_t i = y * s->nx + x;
            int near = 0;
            for (int k = 0; k < 9; k++) {
                int64_t xx = x + k % 3 - 1, yy = y + k / 3 - 1;
                if (xx >= 0 && xx < s->nx && yy >= 0 && yy < s->ny) near |= in[yy * s->nx + xx];
            }
            out[i] = in[i] || (near && peak[i] > limit && peak[i] > 0.3 * objlim * fine[i]);
        }
}

static void test_cosmic__first_round_is_that_of_the_full_computation(void **state)
{
    (void)state;
    const int64_t sizes[][2] = {{150, 70}, {64, 16}, {65, 33}, {37, 9}};
    for (int k = 0; k < 4; k++) {
        struct scene s = make_scene(sizes[k][0], sizes[k][1]);
        size_t n = (size_t)(s.nx * s.ny), hits = 0;
        struct cosmic_options o;
        struct cosmic_counts c;
        cosmic_options_init(&o);
        o.niter = 1;
        memset(s.mask, 0, n * sizeof *s.mask);
        for (size_t i = 0; i < n; i++) {
            if (!(s.var[i] > 0)) s.sci[i] = 100;
            s.var[i] = (s.sci[i] > 0 ? s.sci[i] : 0) + 16;
        }
        unsigned char *seeds = malloc(n), *grown = malloc(n);
        float *peak = malloc(4 * n), *fine = malloc(4 * n);
        plain_seeds(&s, &o, seeds, peak, fine);
        plain_grow(&s, seeds, o.sigclip, o.objlim, peak, fine, grown);
        plain_grow(&s, grown, o.sigclip * o.sigfrac, o.objlim, peak, fine, seeds);
        assert_int_equal(cosmic_reject(s.sci, s.var, s.mask, s.nx, s.ny, &o, &c, NULL), ERR_OK);
        for (size_t i = 0; i < n; i++) {
            if (((s.mask[i] & MASK_COSMIC) != 0) != seeds[i]) fail_msg("pixel %zu of %lld x %lld", i, (long long)s.nx, (long long)s.ny);
            hits += seeds[i];
        }
        assert_int_equal(hits, c.pixels);
        if (k == 0) assert_true(hits > 40);
        free(seeds), free(grown), free(peak), free(fine);
        scene_release(&s);
    }
}

static void test_cosmic__same_bytes_for_any_number_of_threads(void **state)
{
    (void)state;
    struct scene a = make_scene(300, 200);
    struct cosmic_options o;
    struct cosmic_counts ca, cb;
    cosmic_options_init(&o);
    omp_set_num_threads(1);
    assert_int_equal(cosmic_reject(a.sci, a.var, a.mask, 300, 200, &o, &ca, NULL), ERR_OK);
    for (int threads = 2; threads <= 8; threads *= 2) {
        struct scene b = make_scene(300, 200);
        omp_set_num_threads(threads);
        assert_int_equal(cosmic_reject(b.sci, b.var, b.mask, 300, 200, &o, &cb, NULL), ERR_OK);
        assert_memory_equal(a.sci, b.sci, 300 * 200 * sizeof(float));
        assert_memory_equal(a.mask, b.mask, 300 * 200 * sizeof(mask_t));
        assert_int_equal(ca.pixels, cb.pixels);
        scene_release(&b);
    }
    scene_release(&a);
}

static void test_cosmic__hits_are_mended_and_stars_stay(void **state)
{
    (void)state;
    struct scene s = make_scene(300, 200), before = make_scene(300, 200);
    struct cosmic_options o;
    struct cosmic_counts c;
    cosmic_options_init(&o);
    s.sci[100 * 300 + 201] = before.sci[100 * 300 + 201] = 90000; /* a single pixel, however bright */
    assert_int_equal(cosmic_reject(s.sci, s.var, s.mask, 300, 200, &o, &c, NULL), ERR_OK);
    assert_true(c.pixels > 60 && c.pixels < 400 && c.mended == c.pixels && c.rounds > 1);
    assert_int_equal(s.mask[100 * 300 + 201], MASK_COSMIC | MASK_INTERPOLATED);
    assert_true(s.sci[100 * 300 + 201] < 1000);
    for (int64_t i = 0; i < 300 * 200; i++) {
        assert_true(isfinite(s.sci[i]));
        if (before.mask[i]) assert_int_equal(s.mask[i], before.mask[i]); /* what is masked already is not judged */
        if (!(s.mask[i] & MASK_COSMIC)) assert_true(s.sci[i] == before.sci[i]);
        assert_true(s.var[i] == before.var[i]);
    }
    scene_release(&s);
    scene_release(&before);
}

static void test_cosmic__odd_frames_are_left_alone(void **state)
{
    (void)state;
    enum { N = 90 * 40 };
    struct cosmic_options o;
    struct cosmic_counts c;
    float *sci = mem_zarray(N, 4), *var = mem_zarray(N, 4);
    mask_t *mask = mem_zarray(N, 2);
    cosmic_options_init(&o);
    assert_int_equal(cosmic_reject(sci, var, mask, 90, 40, &o, &c, NULL), ERR_OK); /* no variance anywhere */
    assert_int_equal(c.pixels, 0);
    for (int i = 0; i < N; i++) var[i] = 4, mask[i] = MASK_SATURATED, sci[i] = 1e5f;
    sci[1000] = 3e5f;
    assert_int_equal(cosmic_reject(sci, var, mask, 90, 40, &o, &c, NULL), ERR_OK); /* saturated all over */
    assert_int_equal(c.pixels, 0);
    for (int i = 0; i < N; i++) {
        bool stripe = i % 90 / 10 % 2;
        mask[i] = stripe ? MASK_NO_DATA : 0, sci[i] = 0, var[i] = stripe ? 0 : 4; /* stripes without data */
    }
    sci[5 * 90 + 65] = 500;
    assert_int_equal(cosmic_reject(sci, var, mask, 90, 40, &o, &c, NULL), ERR_OK);
    assert_int_equal(c.pixels, 1);
    for (int nx = 1; nx < 6; nx++)
        for (int ny = 1; ny < 6; ny++) {
            for (int i = 0; i < N; i++) mask[i] = 0, sci[i] = 10, var[i] = 4;
            assert_int_equal(cosmic_reject(sci, var, mask, nx, ny, &o, &c, NULL), ERR_OK);
            assert_int_equal(c.pixels, 0);
        }
    o.niter = 0;
    assert_int_equal(cosmic_reject(sci, var, mask, 90, 40, &o, &c, NULL), ERR_USAGE);
    cosmic_options_init(&o);
    o.sigclip = NAN;
    assert_int_equal(cosmic_reject(sci, var, mask, 90, 40, &o, &c, NULL), ERR_USAGE);
    free(sci), free(var), free(mask);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cosmic__kernels_agree_with_sorting),
        cmocka_unit_test(test_cosmic__first_round_is_that_of_the_full_computation),
        cmocka_unit_test(test_cosmic__same_bytes_for_any_number_of_threads),
        cmocka_unit_test(test_cosmic__hits_are_mended_and_stars_stay),
        cmocka_unit_test(test_cosmic__odd_frames_are_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
