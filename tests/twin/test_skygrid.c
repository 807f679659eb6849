/* Matching on the hashed grid against brute force over all pairs. */
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "catalog/skygrid.h"
#include "common/hpx.h"
#include "common/units.h"

static uint64_t state;

static double uniform(void)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(state >> 11) * 0x1p-53;
}

#define NOBJ 300
#define NDET 200

struct scene {
    double ra[NOBJ], dec[NOBJ], v[NDET][3];
    int64_t id[NOBJ];
};

/* A crowded patch of half an arcminute around a hard place. */
static void make_scene(struct scene *s, double ra0, double dec0)
{
    for (int i = 0; i < NOBJ; i++) {
        skygrid_shift(ra0, dec0, 30 * (uniform() - 0.5), 30 * (uniform() - 0.5), &s->ra[i], &s->dec[i]);
        s->id[i] = hpx_of(s->ra[i], s->dec[i]);
    }
    for (int i = 0; i < NDET; i++) {
        double ra, dec;
        skygrid_shift(ra0, dec0, 30 * (uniform() - 0.5), 30 * (uniform() - 0.5), &ra, &dec);
        hpx_vector(ra, dec, s->v[i]);
    }
}

static void brute_force(const struct scene *s, double radius, int64_t *ret_id)
{
    bool taken[NOBJ] = {false};
    for (int i = 0; i < NDET; i++) ret_id[i] = -1;
    for (;;) {
        double best = INFINITY;
        int bi = -1, bj = -1;
        for (int i = 0; i < NDET; i++)
            for (int j = 0; j < NOBJ && ret_id[i] < 0; j++) {
                double o[3], d2 = 0;
                if (taken[j]) continue;
                hpx_vector(s->ra[j], s->dec[j], o);
                for (int k = 0; k < 3; k++) d2 += (s->v[i][k] - o[k]) * (s->v[i][k] - o[k]);
                double arcsec = 2 * asin(sqrt(d2) / 2) * DEG_PER_RAD * 3600;
                if (arcsec <= radius && (d2 < best || (d2 == best && i == bi && s->id[j] < s->id[bj]))) best = d2, bi = i, bj = j;
            }
        if (bi < 0) return;
        ret_id[bi] = s->id[bj];
        taken[bj] = true;
    }
}

static void test_skygrid__agrees_with_brute_force(void **unused)
{
    (void)unused;
    static const double places[][2] = {{180, 0}, {0, 0}, {359.9999, 45}, {10, 90}, {200, -90}, {77, 89.9999}, {90, -41.8103}};
    for (int round = 0; round < 21; round++) {
        struct scene s;
        struct skygrid g;
        int64_t want[NDET];
        int32_t got[NDET];
        double radius = 0.3 + 2 * uniform();
        make_scene(&s, places[round % 7][0], places[round % 7][1]);
        assert_int_equal(skygrid_init(&g, radius, NULL), 0);
        for (int i = 0; i < NOBJ; i++) { /* in an order of its own each round */
            int k = (i * 7 + round * 13) % NOBJ;
            assert_int_equal(skygrid_add(&g, s.id[k], s.ra[k], s.dec[k], k, NULL, NULL), 0);
        }
        assert_int_equal(skygrid_match(&g, NDET, (const double(*)[3])s.v, NULL, radius, got, NULL), 0);
        brute_force(&s, radius, want);
        for (int i = 0; i < NDET; i++) assert_int_equal(got[i] < 0 ? -1 : g.objects[got[i]].id, want[i]);
        for (int i = 0; i < NOBJ; i++) assert_int_equal(g.objects[skygrid_find(&g, s.id[i])].tag, i);
        assert_int_equal(skygrid_find(&g, 5), -1);
        skygrid_release(&g);
    }
}

static void test_skygrid__what_is_skipped_keeps_its_object(void **unused)
{
    (void)unused;
    struct skygrid g;
    double v[2][3];
    bool skip[2] = {true, false};
    int32_t got[2] = {0, 7};
    assert_int_equal(skygrid_init(&g, 1, NULL), 0);
    assert_int_equal(skygrid_add(&g, 11, 10, 20, 0, NULL, NULL), 0);
    hpx_vector(10.1, 20, v[0]);
    hpx_vector(10, 20, v[1]);
    assert_int_equal(skygrid_match(&g, 2, (const double(*)[3])v, skip, 1, got, NULL), 0);
    assert_int_equal(got[0], 0);
    assert_int_equal(got[1], -1);
    skygrid_release(&g);
}

static void test_skygrid__offsets_go_there_and_back(void **unused)
{
    (void)unused;
    for (int i = 0; i < 20000; i++) {
        double ra = 360 * uniform(), dec = i % 3 ? asin(2 * uniform() - 1) * DEG_PER_RAD : 90 - 1e-4 * uniform();
        double e = 4 * uniform() - 2, n = 4 * uniform() - 2, ra2, dec2, a[3], b[3], e2, n2;
        skygrid_shift(ra, dec, e, n, &ra2, &dec2);
        hpx_vector(ra, dec, a);
        hpx_vector(ra2, dec2, b);
        skygrid_offset(ra, dec, a, b, &e2, &n2);
        assert_close(e2, e, 1e-8); /* arcsec; 2 arcsec are 1e-5 rad, the plane and the sphere differ by its cube; rounding 1e-10 */
        assert_close(n2, n, 1e-8);
    }
}

int main(void)
{
    const char *given = getenv("TEST_SEED");
    state = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    print_message("seed %llu (TEST_SEED)\n", (unsigned long long)state);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_skygrid__agrees_with_brute_force),
        cmocka_unit_test(test_skygrid__what_is_skipped_keeps_its_object),
        cmocka_unit_test(test_skygrid__offsets_go_there_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
