#include "processors/deblend.h"
#include "processors/clean.h"
#include "processors/scanorder.h"
#include "tests/support/check.h"
#include "tests/support/starfield.h"

#include <stdlib.h>
#include <string.h>

enum { NX = 200, NY = 150 };

static const struct deblend_options usual = {.nthresh = 32, .mincont = 0.005};

/* Pixels of the image above the threshold, in raster order. */
static int64_t pixels_above(const float *v, float threshold, struct object_pixel *p)
{
    int64_t n = 0;
    for (int32_t y = 0; y < NY; y++)
        for (int32_t x = 0; x < NX; x++)
            if (v[y * NX + x] > threshold) p[n++] = (struct object_pixel){x, y, v[y * NX + x], v[y * NX + x]};
    return n;
}

struct split {
    struct object_pixel *p;
    struct deblend_part *part;
    int64_t n, parts;
    bool limit;
};

static struct split split_image(const float *v, float threshold, const struct deblend_options *o)
{
    struct split s = {.p = malloc(NX * NY * sizeof *s.p), .part = malloc(NX * NY * sizeof *s.part)};
    struct deblender *d = deblender_new();
    s.n = pixels_above(v, threshold, s.p);
    assert_int_equal(deblend_component(d, o, s.p, s.n, threshold, 5, s.part, &s.parts, &s.limit, NULL), ERR_OK);
    deblender_free(d);
    return s;
}

static void split_release(struct split *s)
{
    free(s->p);
    free(s->part);
}

static void test_deblend__a_row_of_stars_comes_apart(void **state)
{
    (void)state;
    float *v = calloc(NX * NY, sizeof *v);
    for (int k = 0; k < 8; k++) star_add(v, NX, NY, 20 + 20 * k, 75 + k, 1000 * (k + 1), 3.5, 1, 0);
    struct split s = split_image(v, 0.05f, &usual);
    int64_t total = 0;
    assert_int_equal(s.parts, 8);
    for (int64_t k = 0; k < s.parts; k++) {
        double best = INFINITY;
        for (int j = 0; j < 8; j++) best = fmin(best, hypot(s.part[k].x - 20 - 20 * j, s.part[k].y - 75 - j));
        assert_close(best, 0, 0.5);
        total += s.part[k].n;
    }
    assert_int_equal(total, s.n); /* each pixel belongs to one part */
    split_release(&s);
    free(v);
}

static void test_deblend__contrast_decides(void **state)
{
    (void)state;
    float *v = calloc(NX * NY, sizeof *v);
    star_add(v, NX, NY, 80, 70, 100000, 3, 1, 0);
    star_add(v, NX, NY, 100, 70, 1500, 3, 1, 0); /* 1.5 % of the light, most of it above the saddle */
    struct deblend_options o = usual;
    struct split s = split_image(v, 0.1f, &o);
    assert_int_equal(s.parts, 2);
    split_release(&s);
    o.mincont = 0.02;
    s = split_image(v, 0.1f, &o);
    assert_int_equal(s.parts, 1);
    assert_true(isnan(s.part[0].x));
    split_release(&s);
    free(v);
}

/* The definition, level by level: label the component anew at each level and cut the tree from the top. */
static int64_t label_level(const float *v, double t, int32_t *label)
{
    int64_t n = 0;
    int32_t *stack = malloc(NX * NY * sizeof *stack);
    memset(label, 0, NX * NY * sizeof *label);
    for (int32_t start = 0; start < NX * NY; start++) {
        if (!(v[start] > t) || label[start]) continue;
        int32_t top = 0;
        stack[top++] = start;
        label[start] = (int32_t)++n;
        while (top) {
            int32_t at = stack[--top], x = at % NX, y = at / NX;
            for (int32_t j = y > 0 ? y - 1 : 0; j <= y + 1 && j < NY; j++)
                for (int32_t i = x > 0 ? x - 1 : 0; i <= x + 1 && i < NX; i++)
                    if (v[j * NX + i] > t && !label[j * NX + i]) label[j * NX + i] = (int32_t)n, stack[top++] = j * NX + i;
        }
    }
    free(stack);
    return n;
}

/* Strong branches of the component of pixel `inside` at this level; cut: parts found above. */
static int64_t count_parts(const float *v, double threshold, double peak, double flux, const struct deblend_options *o)
{
    int32_t *label = malloc(NX * NY * sizeof *label), *below = malloc(NX * NY * sizeof *below);
    int64_t *whole = calloc(NX * NY + 1, sizeof *whole), *next = calloc(NX * NY + 1, sizeof *next), parts = 0;
    for (int64_t i = 0; i <= NX * NY; i++) whole[i] = 1;
    int64_t n = label_level(v, threshold * pow(peak / threshold, (double)(o->nthresh - 1) / o->nthresh), label);
    for (int k = o->nthresh - 1; k > 0; k--) {
        double t = threshold * pow(peak / threshold, (double)k / o->nthresh);
        int64_t m = label_level(v, threshold * pow(peak / threshold, (double)(k - 1) / o->nthresh), below);
        double *light = calloc((size_t)n + 1, sizeof *light);
        int64_t *count = calloc((size_t)n + 1, sizeof *count), *strong = calloc((size_t)m + 1, sizeof *strong);
        int32_t *parent = calloc((size_t)n + 1, sizeof *parent);
        for (int64_t i = 0; i < NX * NY; i++)
            if (label[i]) light[label[i]] += v[i] - t, count[label[i]]++, parent[label[i]] = below[i];
        for (int64_t j = 1; j <= n; j++) strong[parent[j]] += count[j] >= DEBLEND_AREA && light[j] > o->mincont * flux;
        for (int64_t j = 1; j <= m; j++) next[j] = strong[j] < 2;
        for (int64_t j = 1; j <= n; j++) {
            bool is_strong = count[j] >= DEBLEND_AREA && light[j] > o->mincont * flux;
            if (is_strong && strong[parent[j]] >= 2 && whole[j]) parts++;
            if (!whole[j]) next[parent[j]] = 0;
        }
        memcpy(whole, next, (size_t)(NX * NY + 1) * sizeof *whole);
        memcpy(label, below, NX * NY * sizeof *label);
        n = m;
        free(light);
        free(count);
        free(strong);
        free(parent);
    }
    free(label);
    free(below);
    free(whole);
    free(next);
    return parts ? parts : 1;
}

static void test_deblend__tree_agrees_with_level_by_level(void **state)
{
    (void)state;
    printf("seeds 100 to 111\n");
    for (uint64_t seed = 100; seed < 112; seed++) {
        float *v = calloc(NX * NY, sizeof *v);
        double flux = 0, peak = 0;
        for (int k = 0; k < 30; k++)
            star_add(v, NX, NY, 30 + 140 * star_uniform(seed, (uint64_t)(4 * k)), 30 + 90 * star_uniform(seed, (uint64_t)(4 * k + 1)),
                     2000 / (0.02 + star_uniform(seed, (uint64_t)(4 * k + 2))), 2 + 4 * star_uniform(seed, (uint64_t)(4 * k + 3)), 1, 0);
        star_add(v, NX, NY, 100, 75, 1e6, 40, 1, 0); /* holds them together */
        for (int i = 0; i < NX * NY; i++) {
            v[i] += (float)(0.5 * star_normal(seed, (uint64_t)(1000 + i)));
            if (v[i] > 5) flux += v[i];
            peak = fmax(peak, v[i]);
        }
        int32_t *label = malloc(NX * NY * sizeof *label);
        if (label_level(v, 5, label) == 1) { /* one component: what the deblender is given */
            struct split s = split_image(v, 5, &usual);
            assert_int_equal(s.parts, count_parts(v, 5, peak, flux, &usual));
            assert_true(s.parts > 3);
            split_release(&s);
        }
        free(label);
        free(v);
    }
}

static void test_deblend__a_limit_keeps_it_whole(void **state)
{
    (void)state;
    float *v = calloc(NX * NY, sizeof *v);
    for (int k = 0; k < 4; k++) star_add(v, NX, NY, 50 + 25 * k, 75, 5000, 4, 1, 0);
    struct deblend_options o = usual;
    o.max_pixels = 100;
    struct split s = split_image(v, 0.5f, &o);
    assert_int_equal(s.parts, 1);
    assert_true(s.limit);
    split_release(&s);
    free(v);
}

/* A field of faint spots around bright ones: the grid finds what all pairs find. */
static void test_clean__grid_agrees_with_all_pairs(void **state)
{
    (void)state;
    enum { N = 700 };
    printf("seed 7\n");
    for (int b = 0; b < 3; b++) {
        static const double betas[] = {1, 0.4, 2.5};
        struct clean_object o[N];
        int64_t into[N];
        for (int i = 0; i < N; i++) {
            double flux = 100 / pow(star_uniform(7, (uint64_t)(5 * i)), 1.5), a = 1 + 2 * star_uniform(7, (uint64_t)(5 * i + 1));
            o[i] = (struct clean_object){.x = 1000 * star_uniform(7, (uint64_t)(5 * i + 2)), .y = 700 * star_uniform(7, (uint64_t)(5 * i + 3)),
                                         .flux = flux, .amplitude = flux / (6.28 * a * a), .a = (float)a, .cxx = (float)(1 / (a * a)),
                                         .cyy = (float)(1 / (a * a)), .margin = (float)(5 * star_uniform(7, (uint64_t)(5 * i + 4)))};
            o[i].alpha = fmax(pow(o[i].amplitude / 2, 1 / betas[b]) - 1, 0) / 4;
        }
        assert_int_equal(clean_objects(o, N, 1000, 700, betas[b], into, NULL), ERR_OK);
        int fallen = 0;
        for (int i = 0; i < N; i++) {
            double most = 0;
            for (int j = 0; j < N; j++) {
                double dx = o[i].x - o[j].x, dy = o[i].y - o[j].y, zone = 10 * (double)(o[i].a + o[j].a);
                double fall = 1 + o[j].alpha * (double)(o[j].cxx) * (dx * dx + dy * dy);
                bool brighter = o[j].flux > o[i].flux || (o[j].flux == o[i].flux && j < i);
                if (i == j || !brighter || into[j] >= 0 || dx * dx + dy * dy > zone * zone || !(fall > 1)) continue;
                most = fmax(most, o[j].amplitude * pow(fall, -betas[b]));
            }
            assert_int_equal(into[i] >= 0, most > (double)o[i].margin);
            if (into[i] >= 0) assert_int_equal(into[into[i]], -1);
            fallen += into[i] >= 0;
        }
        assert_true(fallen > 10 && fallen < N - 100);
    }
}

static void test_scanorder__pixels_left_of_the_row_above_go_first(void **state)
{
    (void)state;
    /*  y 0   ..ab.
     *  y 1   cdefg      c and d begin left of a; then a b, then e f g */
    static const float up[] = {1, 2}, low[] = {3, 4, 5, 6, 7};
    const struct run run[2] = {{.x0 = 2, .x1 = 4, .y = 0, .cvalue = up}, {.x0 = 0, .x1 = 5, .y = 1, .cvalue = low}};
    const int64_t member[2] = {0, 1};
    static const float want[] = {3, 4, 1, 2, 5, 6, 7};
    float got[7];
    struct scanorder *s = scanorder_new();
    assert_true(scanorder_values(s, run, member, 2, got));
    assert_memory_equal(got, want, sizeof want);
    scanorder_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deblend__a_row_of_stars_comes_apart),
        cmocka_unit_test(test_deblend__contrast_decides),
        cmocka_unit_test(test_deblend__tree_agrees_with_level_by_level),
        cmocka_unit_test(test_deblend__a_limit_keeps_it_whole),
        cmocka_unit_test(test_clean__grid_agrees_with_all_pairs),
        cmocka_unit_test(test_scanorder__pixels_left_of_the_row_above_go_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
