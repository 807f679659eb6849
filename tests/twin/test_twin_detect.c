/* The same objects by another route: other thread counts, other instruction set, a shifted or mirrored image. */
#include "processors/detect.h"
#include "tests/support/check.h"
#include "tests/support/starfield.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NX = 600, NY = 520, STARS = 700 };

static struct objects run(const float *image, float *value)
{
    struct background_options bo = background_options_default();
    struct detect_options o = detect_options_default();
    struct background b;
    struct objects os;
    assert_int_equal(background_estimate(image, NULL, NX, NY, &bo, &b, NULL), ERR_OK);
    struct detect_input in = {.nx = NX, .ny = NY, .image = image, .background = &b, .saturate = INFINITY, .value = value};
    assert_int_equal(detect_sources(&in, &o, &os, NULL), ERR_OK);
    background_release(&b);
    return os;
}

static uint64_t fold(uint64_t h, const void *p, size_t n)
{
    const unsigned char *c = p;
    for (size_t i = 0; i < n; i++) h = (h ^ c[i]) * 0x100000001b3u;
    return h;
}

static uint64_t digest(const struct objects *os, const float *value)
{
    uint64_t h = fold(0xcbf29ce484222325u, os->segment, sizeof(int32_t) * NX * NY);
    h = fold(h, os->pixels, (size_t)os->npixels * sizeof *os->pixels);
    h = fold(h, value, sizeof(float) * NX * NY);
    for (int64_t i = 0; i < os->n; i++) {
        const struct object *o = &os->o[i];
        double v[] = {o->x, o->y, o->x2, o->y2, o->xy, o->flux, o->a, o->b, o->theta_rad, o->peak, o->flags, (double)o->npix};
        h = fold(h, v, sizeof v);
    }
    return h;
}

static void test_twin_detect__same_bytes_for_1_2_8_threads(void **state)
{
    (void)state;
    float *image = starfield_make(NX, NY, STARS, 5), *value = malloc(sizeof(float) * NX * NY);
    static const int threads[] = {1, 2, 8, 3};
    uint64_t first = 0;
    int before = omp_get_max_threads();
    for (int k = 0; k < 4; k++) {
        omp_set_num_threads(threads[k]);
        struct objects os = run(image, value);
        uint64_t h = digest(&os, value);
        assert_true(os.n > 300);
        if (k == 0) first = h;
        assert_true(h == first);
        objects_release(&os);
    }
    omp_set_num_threads(before);
    free(value);
    free(image);
}

/* The level is chosen once per process: a child of each level sends its digest. The kernels sum over fixed lanes, so even
 * the bytes agree. */
static void test_twin_detect__generic_and_avx2_agree(void **state)
{
    (void)state;
    uint64_t h[2] = {0};
    for (int k = 0; k < 2; k++) {
        int end[2];
        assert_int_equal(pipe(end), 0);
        pid_t child = fork();
        if (!child) {
            setenv("NIGHTSHIFT_ISA", k ? "avx2" : "generic", 1);
            omp_set_num_threads(1);
            float *image = starfield_make(NX, NY, STARS, 6), *value = malloc(sizeof(float) * NX * NY);
            struct objects os = run(image, value);
            uint64_t mine = digest(&os, value);
            _exit(write(end[1], &mine, sizeof mine) == sizeof mine ? 0 : 1);
        }
        close(end[1]);
        assert_int_equal(read(end[0], &h[k], sizeof h[k]), sizeof h[k]);
        close(end[0]);
        int status;
        waitpid(child, &status, 0);
        assert_int_equal(status, 0);
    }
    assert_true(h[0] == h[1]);
}

/* Detection of a noise-free field whose sky is 0: shift and mirror move the objects and change nothing else. */
static struct objects run_plain(const float *image, struct detect_options o)
{
    struct objects os;
    struct detect_input in = {.nx = NX, .ny = NY, .image = image, .rms = 2, .saturate = INFINITY};
    assert_int_equal(detect_sources(&in, &o, &os, NULL), ERR_OK);
    return os;
}

static int64_t nearest(const struct objects *os, double x, double y, double *ret_distance)
{
    int64_t best = 0;
    *ret_distance = INFINITY;
    for (int64_t i = 0; i < os->n; i++) {
        double d = hypot(os->o[i].x - x, os->o[i].y - y);
        if (d < *ret_distance) *ret_distance = d, best = i;
    }
    return best;
}

static void test_twin_detect__shift_and_mirror_move_the_objects(void **state)
{
    (void)state;
    float *image = calloc(NX * NY, sizeof *image), *moved = calloc(NX * NY, sizeof *moved);
    for (int k = 0; k < 250; k++) {
        double x = 60 + (NX - 140) * star_uniform(9, (uint64_t)(3 * k)), y = 60 + (NY - 140) * star_uniform(9, (uint64_t)(3 * k + 1));
        star_add(image, NX, NY, x, y, 500 / star_uniform(9, (uint64_t)(3 * k + 2)), 1.8, 1, 0);
    }
    for (int64_t i = 0; i < NX * NY; i++) image[i] += (float)star_normal(10, (uint64_t)i);
    for (int64_t k = 0; k < NX * NY; k++) /* a frame of nothing: no object meets the border in either image */
        if (k % NX < 50 || k % NX >= NX - 50 || k / NX < 50 || k / NX >= NY - 50) image[k] = 0;
    struct detect_options o = detect_options_default();
    struct objects a = run_plain(image, o);
    assert_true(a.n > 150);
    for (int k = 0; k < 3; k++) {
        for (int64_t y = 0; y < NY; y++)
            for (int64_t x = 0; x < NX; x++) {
                int64_t fx = k == 0 ? (x + NX - 17) % NX : k == 1 ? NX - 1 - x : x, fy = k == 0 ? (y + NY - 23) % NY : k == 2 ? NY - 1 - y : y;
                moved[y * NX + x] = image[fy * NX + fx];
            }
        struct objects b = run_plain(moved, o);
        assert_int_equal(a.n, b.n);
        for (int64_t i = 0; i < a.n; i++) {
            double x = k == 0 ? a.o[i].x + 17 : k == 1 ? NX - 1 - a.o[i].x : a.o[i].x;
            double y = k == 0 ? a.o[i].y + 23 : k == 2 ? NY - 1 - a.o[i].y : a.o[i].y, distance;
            int64_t j = nearest(&b, x, y, &distance);
            assert_close(distance, 0, 1e-3); /* the filter sums its weights in another order: a pixel may cross the threshold */
            assert_int_equal(a.o[i].npix, b.o[j].npix);
            assert_int_equal(a.o[i].flags, b.o[j].flags);
        }
        objects_release(&b);
    }
    objects_release(&a);
    free(moved);
    free(image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_twin_detect__generic_and_avx2_agree), /* first: forks before OpenMP has threads */
        cmocka_unit_test(test_twin_detect__same_bytes_for_1_2_8_threads),
        cmocka_unit_test(test_twin_detect__shift_and_mirror_move_the_objects),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
