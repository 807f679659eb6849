/* Calibration and stacking: the same bytes for any number of threads, the same values for any instruction set. */
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "common/stats.h"
#include "processors/calibrate.h"
#include "processors/combine.h"
#include "tests/support/check.h"

enum { NX = 333, NY = 300, RAW_NX = 365, FRAMES = 11 };

struct scene {
    uint16_t *raw;
    float *bias, *flat, *var;
    struct amp amp;
};

static struct scene scene_new(uint64_t seed)
{
    struct philox p;
    struct scene s = {.raw = malloc(RAW_NX * NY * 2), .bias = malloc(NX * NY * 4), .flat = malloc(NX * NY * 4), .var = malloc(NX * NY * 4)};
    philox_init(&p, seed, 0);
    for (int i = 0; i < RAW_NX * NY; i++) s.raw[i] = (uint16_t)(philox_u32(&p) >> 16);
    for (int i = 0; i < NX * NY; i++) {
        s.bias[i] = (float)(100 * philox_uniform(&p));
        s.flat[i] = (float)(1.1 * philox_uniform(&p));
        s.var[i] = (float)philox_uniform(&p);
    }
    s.amp = (struct amp){.name = "A", .data = {0, NX, 0, NY}, .overscan = {NX, RAW_NX, 0, NY}, .dest = {0, NX, 0, NY},
                         .gain_e_per_adu = 1.3, .rdnoise_e = 6, .saturate_adu = 60000};
    return s;
}

static void scene_free(struct scene *s)
{
    free(s->raw);
    free(s->bias);
    free(s->flat);
    free(s->var);
}

struct planes {
    float sci[NX * NY], var[NX * NY];
    mask_t mask[NX * NY];
};

static void calibrate_with(int threads, const struct scene *s, struct planes *ret)
{
    struct master_planes bias = {s->bias, s->var, NULL, 0}, flat = {s->flat, s->var, NULL, 0};
    struct calibrate_plan plan;
    struct calibrate_counts counts;
    struct raw_rows raw = {.nx = RAW_NX, .y0 = 0, .y1 = NY, .u16 = s->raw};
    int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    assert_int_equal(calibrate_plan_make(NX, NY, &bias, &bias, &flat, 30, 0.2, &plan, NULL), ERR_OK);
    assert_int_equal(calibrate_frame(&raw, &s->amp, 1, &plan, ret->sci, ret->var, ret->mask, &counts, NULL), ERR_OK);
    calibrate_plan_release(&plan);
    omp_set_num_threads(before);
}

static void test_signature__same_bytes_for_any_number_of_threads(void **state)
{
    (void)state;
    struct scene s = scene_new(1);
    struct planes *one = malloc(sizeof *one), *many = malloc(sizeof *many);
    calibrate_with(1, &s, one);
    for (int threads = 2; threads <= 8; threads *= 2) {
        calibrate_with(threads, &s, many);
        assert_memory_equal(one, many, sizeof *one);
    }
    free(one);
    free(many);
    scene_free(&s);
}

#ifdef __x86_64__
static void test_signature__kernels_agree_between_instruction_sets(void **state)
{
    (void)state;
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2")) skip();
    static float v[2][FRAMES * COMBINE_LANES] __attribute__((aligned(64)));
    static float got[2][3][COMBINE_LANES];
    const struct combine_kernels *k[2] = {&combine_kernels_generic, &combine_kernels_avx2};
    struct scene s = scene_new(2);
    int npairs = combine_network(FRAMES, NULL);
    struct combine_pair *pairs = calloc((size_t)npairs, sizeof *pairs);
    combine_network(FRAMES, pairs);
    struct combine_clip clip = {3, 3, 1.6f, {100, 1, 1, true}, true};
    for (int i = 0; i < 2; i++) {
        for (int f = 0; f < FRAMES; f++) {
            struct combine_frame frame = {.u16 = s.raw + f * 1000, .level_adu = 900.25f, .gain = 1.3f, .limit_adu = 1e9f, .dark_s = 3, .scale = 0.3f};
            assert_false(k[i]->load_u16(&frame, 5, COMBINE_LANES, s.bias, s.flat, v[i] + f * COMBINE_LANES));
        }
        k[i]->sort(v[i], pairs, npairs);
        k[i]->first_round(v[i], FRAMES, &clip, got[i][0], got[i][1], got[i][2]);
    }
    /* no kernel contracts to FMA, so even the bytes agree */
    assert_memory_equal(v[0], v[1], sizeof v[0]);
    assert_memory_equal(got[0], got[1], sizeof got[0]);
    free(pairs);
    scene_free(&s);
}

static void test_signature__calibrate_kernels_agree_between_instruction_sets(void **state)
{
    (void)state;
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2")) skip();
    struct scene s = scene_new(3);
    static float sci[2][NX], var[2][NX];
    static mask_t mask[2][NX], in[NX];
    const struct calibrate_kernels *k[2] = {&calibrate_kernels_generic, &calibrate_kernels_avx2};
    for (int i = 0; i < 2; i++) {
        struct calibrate_run r = {NX, s.raw, NULL, 1000.5f, 1.7f, 30, 60000.5f, s.bias, s.var, s.flat, s.var, in, sci[i], var[i], mask[i]};
        k[i]->u16(&r);
    }
    assert_memory_equal(sci[0], sci[1], sizeof sci[0]);
    assert_memory_equal(var[0], var[1], sizeof var[0]);
    assert_memory_equal(mask[0], mask[1], sizeof mask[0]);
    scene_free(&s);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signature__same_bytes_for_any_number_of_threads),
#ifdef __x86_64__
        cmocka_unit_test(test_signature__kernels_agree_between_instruction_sets),
        cmocka_unit_test(test_signature__calibrate_kernels_agree_between_instruction_sets),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
