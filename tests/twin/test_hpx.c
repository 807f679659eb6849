/* HEALPix against Debian's libchealpix (numbers of pixels) and against brute force (cones). */
#include "tests/support/check.h"

#include <stdlib.h>
#include <time.h>

#ifdef HAVE_CHEALPIX
#include <chealpix.h>
#endif

#include "common/hpx.h"
#include "common/units.h"

static uint64_t state;

static double uniform(void)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(state >> 11) * 0x1p-53;
}

/* A third anywhere, a third within an arcminute of a pole, a third near the lines where formulae change. */
static void direction(double *ra, double *dec)
{
    double kind = uniform();
    *ra = 360 * uniform();
    if (kind < 0.33) *dec = asin(2 * uniform() - 1) * DEG_PER_RAD;
    else if (kind < 0.66) *dec = (uniform() < 0.5 ? 1 : -1) * (90 - pow(10, -12 * uniform()) / 60);
    else *dec = (uniform() < 0.5 ? 1 : -1) * asin(2.0 / 3) * DEG_PER_RAD + (uniform() - 0.5) * pow(10, -12 * uniform());
    if (uniform() < 0.2) *ra = 90 * floor(4 * uniform()) + (uniform() - 0.5) * 1e-9;
    if (*ra < 0) *ra += 360;
}

static double distance(double ra1, double dec1, double ra2, double dec2)
{
    double a[3], b[3], s = 0;
    hpx_vector(ra1, dec1, a);
    hpx_vector(ra2, dec2, b);
    for (int i = 0; i < 3; i++) s += (a[i] - b[i]) * (a[i] - b[i]);
    return 2 * asin(fmin(1, sqrt(s) / 2));
}

static void test_hpx__pixel_of_its_centre_is_itself(void **unused)
{
    (void)unused;
    for (int order = 0; order <= 29; order++) {
        int64_t n = INT64_C(12) << (2 * order);
        for (int i = 0; i < 4000; i++) {
            int64_t pix = i < 50 ? i % n : i < 100 ? n - 1 - (i % n) % n : (int64_t)(uniform() * (double)n);
            double ra, dec;
            hpx_centre(pix, order, &ra, &dec);
            assert_true(ra >= 0 && ra < 360 && fabs(dec) <= 90);
            if (order < 29 || 90 - fabs(dec) > 1e-6) /* the innermost pixels of order 29 are at the last digit of dec */
                assert_int_equal(hpx_of(ra, dec) >> (2 * (29 - order)), pix);
        }
    }
}

static void test_hpx__bad_directions_have_no_pixel(void **unused)
{
    (void)unused;
    assert_int_equal(hpx_of(NAN, 0), -1);
    assert_int_equal(hpx_of(0, 90.0000001), -1);
    assert_int_equal(hpx_of(INFINITY, 0), -1);
    assert_true(hpx_of(360, 90) >= 0 && hpx_of(-1e-300, -90) < HPX_PIXELS);
    assert_int_equal(hpx_of(-10, 20), hpx_of(350, 20));
}

static void test_hpx__agrees_with_chealpix(void **unused)
{
    (void)unused;
#ifndef HAVE_CHEALPIX
    print_message("SKIPPED: built without libchealpix-dev\n");
    skip();
#else
    int differ = 0;
    const int n = 300000;
    for (int i = 0; i < n; i++) {
        double ra, dec;
        direction(&ra, &dec);
        int64_t theirs, ours = hpx_of(ra, dec);
        ang2pix_nest64(INT64_C(1) << 29, (90 - dec) * RAD_PER_DEG, ra * RAD_PER_DEG, &theirs);
        if (ours == theirs) continue;
        differ++;
        double ra1, dec1, ra2, dec2;
        hpx_centre(ours, 29, &ra1, &dec1);
        hpx_centre(theirs, 29, &ra2, &dec2);
        /* (90 - dec) in radians is rounded to 2e-16 of its size: a direction on a border may fall on either side. Two
         * centres that share a border are less than two bounding radii apart. */
        if (distance(ra1, dec1, ra2, dec2) > 2.2 * hpx_radius_max(29))
            fail_msg("(%.17g, %.17g): %lld, chealpix %lld", ra, dec, (long long)ours, (long long)theirs);
    }
    print_message("order 29: %d of %d directions on the other side of a pixel border than chealpix\n", differ, n);
    for (int order = 0; order <= 29; order++)
        for (int i = 0; i < 2000; i++) {
            int64_t pix = (int64_t)(uniform() * (double)(INT64_C(12) << (2 * order)));
            double ra, dec, theta, phi;
            hpx_centre(pix, order, &ra, &dec);
            pix2ang_nest64(INT64_C(1) << order, pix, &theta, &phi);
            assert_true(distance(ra, dec, phi * DEG_PER_RAD, 90 - theta * DEG_PER_RAD) < 1e-13); /* rounding of theta */
        }
#endif
}

static void test_hpx__bounding_radius_holds(void **unused)
{
    (void)unused;
    double worst = 0;
    for (int i = 0; i < 300000; i++) {
        double ra, dec, cra, cdec;
        direction(&ra, &dec);
        int order = (int)(uniform() * 24);
        hpx_centre(hpx_of(ra, dec) >> (2 * (29 - order)), order, &cra, &cdec);
        double d = distance(ra, dec, cra, cdec) / hpx_radius_max(order);
        if (d > worst) worst = d;
    }
    print_message("largest distance from a pixel's centre: %.4f of the bound\n", worst);
    assert_true(worst < 1);
}

static void check_cone(double ra, double dec, double radius, int max)
{
    struct hpx_range r[HPX_RANGES_MAX];
    int n = hpx_cone(ra, dec, radius, max, r);
    assert_true(n >= 1 && n <= max);
    for (int i = 0; i < n; i++) {
        assert_true(r[i].first >= 0 && r[i].first <= r[i].last && r[i].last < HPX_PIXELS);
        if (i) assert_true(r[i].first > r[i - 1].last + 1);
    }
    for (int k = 0; k < 200; k++) { /* points in the cone, many of them on its border */
        double t = 2 * PI * uniform(), d = radius * RAD_PER_DEG * (k < 100 ? 1 - 1e-15 : sqrt(uniform())), c[3], e[3], q[3], p[3];
        hpx_vector(ra, dec, c);
        hpx_vector(ra + 90, 0, e);
        q[0] = c[1] * e[2] - c[2] * e[1], q[1] = c[2] * e[0] - c[0] * e[2], q[2] = c[0] * e[1] - c[1] * e[0];
        for (int j = 0; j < 3; j++) p[j] = cos(d) * c[j] + sin(d) * (cos(t) * e[j] + sin(t) * q[j]);
        double pdec = atan2(p[2], hypot(p[0], p[1])) * DEG_PER_RAD, pra = atan2(p[1], p[0]) * DEG_PER_RAD;
        if (k >= 100 && distance(ra, dec, pra, pdec) > radius * RAD_PER_DEG) continue;
        int64_t pix = hpx_of(pra, pdec);
        int found = 0;
        for (int i = 0; i < n; i++) found |= pix >= r[i].first && pix <= r[i].last;
        if (!found) fail_msg("cone (%.17g, %.17g, %.17g) max %d misses (%.17g, %.17g)", ra, dec, radius, max, pra, pdec);
    }
}

static void test_hpx__cones_miss_nothing(void **unused)
{
    (void)unused;
    static const int most[] = {1, 4, 8, 32, 512};
    for (int i = 0; i < 3000; i++) {
        double ra, dec;
        direction(&ra, &dec);
        check_cone(ra, dec, fmin(180, 180 * pow(10, -9 * uniform())), most[i % 5]);
    }
    check_cone(0, 90, 0, 8);
    check_cone(0, -90, 180, 8);
    check_cone(123, 45, 179.9999, 8);
    struct hpx_range r[8];
    assert_int_equal(hpx_cone(0, 0, -1, 8, r), 0);
    assert_int_equal(hpx_cone(0, 0, NAN, 8, r), 0);
    assert_int_equal(hpx_cone(0, 91, 1, 8, r), 0);
}

/* How much more sky than the cone the ranges cover, and how many there are. */
static void test_hpx__cones_are_tight(void **unused)
{
    (void)unused;
    static const double radii[] = {1 / 3600., 10 / 3600., 0.1, 1, 10, 60};
    for (int k = 0; k < 6; k++)
        for (int max = 8; max <= 64; max *= 8) {
            double area = 0, ranges = 0;
            const int n = 300;
            for (int i = 0; i < n; i++) {
                struct hpx_range r[HPX_RANGES_MAX];
                int m = hpx_cone(360 * uniform(), asin(2 * uniform() - 1) * DEG_PER_RAD, radii[k], max, r);
                ranges += m;
                for (int j = 0; j < m; j++) area += (double)(r[j].last - r[j].first + 1);
            }
            double cone = (1 - cos(radii[k] * RAD_PER_DEG)) / 2 * (double)HPX_PIXELS;
            if (radii[k] < 0.01) cone = pow(radii[k] * RAD_PER_DEG, 2) / 4 * (double)HPX_PIXELS;
            print_message("radius %9.5f deg, at most %2d ranges: %5.1f of them, %6.2f times the area\n", radii[k], max, ranges / n, area / n / cone);
            assert_true(area / n / cone < (max == 8 ? 12 : 3));
        }
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void test_hpx__speed(void **unused)
{
    (void)unused;
    struct hpx_range r[HPX_RANGES_MAX];
    double t = seconds();
    uint64_t sum = 0;
    for (int i = 0; i < 1000000; i++) sum += (uint64_t)hpx_of(0.00036 * i, 80 - 1.6e-4 * i);
    double t1 = seconds();
    for (int i = 0; i < 20000; i++) sum += (uint64_t)hpx_cone(0.018 * i, 80 - 8e-3 * i, 10 / 3600., 8, r);
    double t2 = seconds();
    print_message("%.0f ns a pixel, %.1f us a cone of 10 arcsec (%lld)\n", (t1 - t) * 1e3, (t2 - t1) / 0.02, (long long)(sum & 1));
}

int main(void)
{
    const char *given = getenv("TEST_SEED");
    state = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    print_message("seed %llu (TEST_SEED)\n", (unsigned long long)state);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hpx__pixel_of_its_centre_is_itself), cmocka_unit_test(test_hpx__bad_directions_have_no_pixel),
        cmocka_unit_test(test_hpx__agrees_with_chealpix),          cmocka_unit_test(test_hpx__bounding_radius_holds),
        cmocka_unit_test(test_hpx__cones_miss_nothing),            cmocka_unit_test(test_hpx__cones_are_tight),
        cmocka_unit_test(test_hpx__speed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
