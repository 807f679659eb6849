/* Coverage of polygons and small cones against brute force: no position inside is ever outside of the ranges. */
#include "tests/support/check.h"

#include <stdlib.h>

#include "common/hpx_polygon.h"
#include "common/units.h"

static uint64_t state = 20251121;

static double uniform(void)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(state >> 11) * 0x1p-53;
}

/* A direction at an angle (degrees) and bearing from another. */
static void shifted(double ra, double dec, double angle, double bearing, double *ret_ra, double *ret_dec)
{
    double d = dec * RAD_PER_DEG, r = angle * RAD_PER_DEG;
    double z = sin(d) * cos(r) + cos(d) * sin(r) * cos(bearing), y = sin(bearing) * sin(r), x = cos(r) * cos(d) - sin(r) * sin(d) * cos(bearing);
    *ret_ra = ra + atan2(y, x) * DEG_PER_RAD;
    *ret_dec = atan2(z, hypot(x, y)) * DEG_PER_RAD;
}

/* A quarter at the poles, a quarter on the lines where the projection changes or faces meet. */
static void direction(double *ra, double *dec)
{
    double kind = uniform();
    *ra = 360 * uniform();
    *dec = asin(2 * uniform() - 1) * DEG_PER_RAD;
    if (kind < 0.25) *dec = (uniform() < 0.5 ? 1 : -1) * (90 - pow(10, -8 * uniform()));
    else if (kind < 0.4) *dec = (uniform() < 0.5 ? 1 : -1) * asin(2.0 / 3) * DEG_PER_RAD + (uniform() - 0.5) * pow(10, -8 * uniform());
    else if (kind < 0.5) *ra = 90 * floor(4 * uniform()) + (uniform() - 0.5) * pow(10, -8 * uniform());
}

static bool held(const struct hpx_range *r, int n, int64_t pix)
{
    for (int i = 0; i < n; i++)
        if (pix >= r[i].first && pix <= r[i].last) return true;
    return false;
}

static void check_sorted(const struct hpx_range *r, int n)
{
    for (int i = 0; i < n; i++) {
        assert_true(r[i].first <= r[i].last && r[i].first >= 0 && r[i].last < HPX_PIXELS);
        if (i) assert_true(r[i].first > r[i - 1].last + 1);
    }
}

static void test_hpx_cone_quick__loses_nothing(void **unused)
{
    (void)unused;
    double ranges = 0, inflated = 0;
    const int cones = 40000;
    for (int k = 0; k < cones; k++) {
        double ra, dec, radius = pow(10, -11 + 11.5 * uniform()), qra, qdec;
        struct hpx_range r[HPX_QUICK_RANGES];
        direction(&ra, &dec);
        int n = hpx_cone_quick(ra, dec, radius, r);
        assert_in_range(n, 1, HPX_QUICK_RANGES);
        check_sorted(r, n);
        ranges += n;
        double area = 0;
        for (int i = 0; i < n; i++) area += (double)(r[i].last - r[i].first + 1);
        inflated += area / (double)HPX_PIXELS * 4 * PI / (2 * PI * (1 - cos(radius * RAD_PER_DEG)) + 1e-17);
        assert_true(held(r, n, hpx_of(ra, dec)));
        for (int i = 0; i < 12; i++) {
            shifted(ra, dec, radius * (i < 8 ? 0.9999999 : uniform()), 2 * PI * uniform(), &qra, &qdec);
            if (fabs(qdec) <= 90 && !held(r, n, hpx_of(qra, qdec))) fail_msg("cone (%.17g, %.17g) %.17g loses (%.17g, %.17g)", ra, dec, radius, qra, qdec);
        }
    }
    print_message("small cones: %.2f ranges each, %.0f times their area\n", ranges / cones, inflated / cones);
}

static void test_hpx_polygon__ranges_hold_what_is_inside(void **unused)
{
    (void)unused;
    int inside = 0, total = 0;
    double ranges = 0;
    for (int k = 0; k < 300; k++) {
        double ra, dec, size = pow(10, -4 + 5.8 * uniform()), vra[12], vdec[12];
        int n = 3 + (int)(9 * uniform());
        bool star = uniform() < 0.5;
        direction(&ra, &dec);
        for (int i = 0; i < n; i++)
            shifted(ra, dec, size * (star ? 0.2 + 0.8 * uniform() : 1), 2 * PI * (i + 0.5 * uniform()) / n * (k % 2 ? 1 : -1), &vra[i], &vdec[i]);
        struct hpx_polygon *p = NULL;
        struct hpx_range r[24];
        enum hpx_polygon_fault f = hpx_polygon_new(n, vra, vdec, &p);
        if (f) fail_msg("%s", hpx_polygon_fault_text(f));
        int m = hpx_polygon_ranges(p, 24, r);
        assert_in_range(m, 1, 24);
        check_sorted(r, m);
        ranges += m;
        for (int i = 0; i < 300; i++) {
            double qra, qdec;
            shifted(ra, dec, 1.1 * size * sqrt(uniform()), 2 * PI * uniform(), &qra, &qdec);
            total++;
            if (!hpx_polygon_has(p, qra, qdec)) continue;
            inside++;
            if (!held(r, m, hpx_of(qra, qdec))) fail_msg("polygon %d loses (%.17g, %.17g)", k, qra, qdec);
        }
        for (int i = 0; i < n; i++) /* corners are covered, whichever side rounding puts them on */
            assert_true(held(r, m, hpx_of(vra[i], vdec[i])));
        free(p);
    }
    print_message("polygons: %.1f ranges each, %d of %d positions inside\n", ranges / 300, inside, total);
    assert_in_range(inside, total / 8, total - total / 8);
}

static void test_hpx_polygon__convex_and_parity_agree(void **unused)
{
    (void)unused;
    for (int k = 0; k < 200; k++) {
        double ra, dec, vra[8], vdec[8], size = pow(10, -3 + 4.9 * uniform());
        int n = 3 + k % 6;
        direction(&ra, &dec);
        for (int i = 0; i < n; i++) shifted(ra, dec, size, 2 * PI * i / n, &vra[i], &vdec[i]);
        struct hpx_polygon *p = NULL;
        assert_int_equal(hpx_polygon_new(n, vra, vdec, &p), HPX_POLYGON_GOOD);
        assert_true(p->convex);
        for (int i = 0; i < 200; i++) {
            double qra, qdec, angle = size * (uniform() < 0.5 ? 0.999 * cos(PI / n) * uniform() : 1.001 + uniform() * 0.5);
            shifted(ra, dec, angle, 2 * PI * uniform(), &qra, &qdec);
            if (size < 60 && angle <= size * cos(PI / n) * 0.999) assert_true(hpx_polygon_has(p, qra, qdec));
            bool by_edges = hpx_polygon_has(p, qra, qdec);
            p->convex = false;
            assert_true(by_edges == hpx_polygon_has(p, qra, qdec));
            p->convex = true;
        }
        free(p);
    }
}

static void test_hpx_polygon__refuses_what_is_none(void **unused)
{
    (void)unused;
    struct hpx_polygon *p = NULL;
    assert_int_equal(hpx_polygon_new(2, (double[]){1, 2}, (double[]){1, 2}, &p), HPX_POLYGON_FEW);
    assert_int_equal(hpx_polygon_new(3, (double[]){1, 1, 2}, (double[]){1, 1, 2}, &p), HPX_POLYGON_FEW);
    assert_int_equal(hpx_polygon_new(3, (double[]){1, 2, 3}, (double[]){1, 2, 91}, &p), HPX_POLYGON_COORDINATE);
    assert_int_equal(hpx_polygon_new(3, (double[]){1, NAN, 3}, (double[]){1, 2, 3}, &p), HPX_POLYGON_COORDINATE);
    assert_int_equal(hpx_polygon_new(3, (double[]){0, 180, 10}, (double[]){0, 0, 10}, &p), HPX_POLYGON_ANTIPODAL);
    assert_int_equal(hpx_polygon_new(3, (double[]){0, 10, 20}, (double[]){0, 0, 0}, &p), HPX_POLYGON_FLAT);
    assert_int_equal(hpx_polygon_new(HPX_VERTICES_MAX + 1, (double[]){0}, (double[]){0}, &p), HPX_POLYGON_MANY);
    assert_null(p);
}

static void test_hpx_box__corners(void **unused)
{
    (void)unused;
    double ra[4], dec[4];
    hpx_box(0, 0, 2, 2, ra, dec);
    assert_close(ra[0], 1, 1e-12);
    assert_close(dec[2], atan(tan(RAD_PER_DEG) * cos(RAD_PER_DEG)) * DEG_PER_RAD, 1e-12); /* less than 1: great circles bend */
    hpx_box(359, 90, 10, 10, ra, dec);
    for (int i = 0; i < 4; i++) assert_close(dec[i], dec[0], 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hpx_cone_quick__loses_nothing), cmocka_unit_test(test_hpx_polygon__ranges_hold_what_is_inside),
        cmocka_unit_test(test_hpx_polygon__convex_and_parity_agree), cmocka_unit_test(test_hpx_polygon__refuses_what_is_none),
        cmocka_unit_test(test_hpx_box__corners)};
    print_message("seed %llu\n", (unsigned long long)state);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
