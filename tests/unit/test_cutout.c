#include "common/cutout.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>

#include "common/frameio.h"
#include "common/stats.h"

enum { NX = 300, NY = 200 };

/* A TAN-SIP header of 1 arcsec per pixel, turned and distorted, its reference pixel beside the image's middle. */
static void sky_cards(struct header *h, double ra, double dec)
{
    header_set_str(h, "CTYPE1", "RA---TAN-SIP", NULL);
    header_set_str(h, "CTYPE2", "DEC--TAN-SIP", NULL);
    header_set_double(h, "CRPIX1", 140, NULL);
    header_set_double(h, "CRPIX2", 110, NULL);
    header_set_double(h, "CRVAL1", ra, NULL);
    header_set_double(h, "CRVAL2", dec, NULL);
    header_set_double(h, "CD1_1", -2.6e-4, NULL);
    header_set_double(h, "CD1_2", 0.9e-4, NULL);
    header_set_double(h, "CD2_1", 0.9e-4, NULL);
    header_set_double(h, "CD2_2", 2.6e-4, NULL);
    header_set_int(h, "A_ORDER", 2, NULL);
    header_set_int(h, "B_ORDER", 2, NULL);
    header_set_double(h, "A_2_0", 2e-5, NULL);
    header_set_double(h, "B_0_2", -3e-5, NULL);
}

static struct skycoord *sky_of(const struct header *h)
{
    struct skycoord *s = NULL;
    assert_int_equal(skycoord_new(h, &s, NULL), ERR_OK);
    return s;
}

/* An image whose pixels say where they are: SCI = 1000 y + x, VAR = half of it, MASK = x mod 8192. */
static void write_image(const char *path, double ra, double dec)
{
    struct frame f;
    frame_init(&f);
    assert_int_equal(frame_alloc(&f, NX, NY, FRAME_ALL, NULL), ERR_OK);
    for (int y = 0; y < NY; y++)
        for (int x = 0; x < NX; x++) {
            f.sci[y * NX + x] = (float)(1000 * y + x);
            f.var[y * NX + x] = (float)(1000 * y + x) / 2;
            f.mask[y * NX + x] = (mask_t)x;
        }
    sky_cards(&f.header, ra, dec);
    header_set_str(&f.header, "DATASEC", "[1:300,1:200]", NULL);
    assert_int_equal(frameio_write_product(path, &f, &(struct frameio_write_options){.dither_seed = 1, .compress = true}, NULL), ERR_OK);
    frame_release(&f);
}

static void check_cut(const char *whole, const char *cut, struct section s, double tolerance)
{
    struct frame a, b;
    assert_int_equal(frameio_read_product(whole, &a, NULL), ERR_OK);
    assert_int_equal(frameio_read_product(cut, &b, NULL), ERR_OK);
    assert_int_equal(b.nx, section_nx(s));
    assert_int_equal(b.ny, section_ny(s));
    for (int64_t y = 0; y < b.ny; y++)
        for (int64_t x = 0; x < b.nx; x++) {
            int64_t i = y * b.nx + x, k = (y + s.y0) * a.nx + x + s.x0;
            assert_true(a.sci[k] == b.sci[i] && a.var[k] == b.var[i] && a.mask[k] == b.mask[i]);
        }
    assert_false(header_has(&b.header, "DATASEC"));
    struct skycoord *sa = sky_of(&a.header), *sb = sky_of(&b.header);
    for (int64_t y = 0; y < b.ny; y += 17)
        for (int64_t x = 0; x < b.nx; x += 13) {
            double xa = (double)(x + s.x0), ya = (double)(y + s.y0), xb = (double)x, yb = (double)y, ra[2], dec[2];
            skycoord_to_sky(sa, 1, &xa, &ya, &ra[0], &dec[0], NULL);
            skycoord_to_sky(sb, 1, &xb, &yb, &ra[1], &dec[1], NULL);
            assert_close(sky_distance_deg(ra[0], dec[0], ra[1], dec[1]), 0, tolerance);
        }
    skycoord_free(sa);
    skycoord_free(sb);
    frame_release(&a);
    frame_release(&b);
}

static void test_cutout__circle_is_cut_with_planes_and_sky(void **state)
{
    (void)state;
    static const double places[][2] = {{150, 20}, {0.01, -45}, {359.995, 89.98}, {10, -90}};
    char *folder = test_make_folder(), whole[512], cut[512], text[80];
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        struct cutout_region r;
        struct section s;
        snprintf(whole, sizeof whole, "%s/w%zu.fits.fz", folder, i);
        snprintf(cut, sizeof cut, "%s/c%zu.fits", folder, i);
        write_image(whole, places[i][0], places[i][1]);
        snprintf(text, sizeof text, "CIRCLE %.17g %.17g 0.01", places[i][0], places[i][1]);
        assert_int_equal(cutout_region_parse(text, CUTOUT_ALL, &r, NULL), ERR_OK);
        assert_int_equal(cutout_file(whole, &r, 0, cut, &s, NULL), ERR_OK);
        check_cut(whole, cut, s, 1e-10);
        /* 36 arcsec about pixel (139, 109) at 0.99 arcsec per pixel */
        assert_close((double)s.x0, 102.7, 2);
        assert_close((double)s.x1, 176.3, 2);
        assert_close((double)s.y0, 72.7, 2);
        assert_close((double)s.y1, 146.3, 2);
    }
    test_remove_folder(folder);
}

/* The section of a region against every pixel asked in turn. */
static void check_section(struct skycoord *sky, const struct cutout_region *r)
{
    struct section s = {NX, 0, NY, 0}, got;
    for (int y = 0; y < NY; y++)
        for (int x = 0; x < NX; x++) {
            double px = x, py = y, ra, dec;
            skycoord_to_sky(sky, 1, &px, &py, &ra, &dec, NULL);
            if (!cutout_region_holds(r, ra, dec)) continue;
            s = (struct section){x < s.x0 ? x : s.x0, x >= s.x1 ? x + 1 : s.x1, y < s.y0 ? y : s.y0, y >= s.y1 ? y + 1 : s.y1};
        }
    enum err code = cutout_section(sky, NX, NY, r, &got, NULL);
    if (s.x1 == 0) {
        if (!code) assert_true(section_nx(got) <= 2 || section_ny(got) <= 2); /* the border grazes the image's edge */
        return;
    }
    assert_int_equal(code, ERR_OK);
    /* never smaller; larger by what a corner of the region reaches beyond the last centre of a pixel within it */
    int64_t reach = r->shape == CUTOUT_CIRCLE ? 1 : 3;
    assert_in_range(s.x0 - got.x0, 0, reach);
    assert_in_range(got.x1 - s.x1, 0, reach);
    assert_in_range(s.y0 - got.y0, 0, reach);
    assert_in_range(got.y1 - s.y1, 0, reach);
}

static void test_cutout__sections_are_those_of_every_pixel_asked(void **state)
{
    (void)state;
    static const double places[][2] = {{150, 20}, {0.01, -45}, {200, 89.99}};
    static const char *const shapes[] = {
        "CIRCLE %g %g 0.02", "CIRCLE %g %g 2",    "POLYGON 149.99 19.99 150.01 19.99 150.0 20.02", "POLYGON 150.0 20.02 150.01 19.99 149.99 19.99",
        "RANGE 149.99 150.01 19.99 20.01",        "RANGE 359.99 0.015 -45.01 -44.99",              "RANGE -Inf +Inf 89.99 +Inf",
        "RANGE 0 360 -90 90",                     "CIRCLE 149.95 20.02 0.02",                      "POLYGON 140 10 160 10 160 30 140 30",
    };
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        struct header h;
        header_init(&h);
        sky_cards(&h, places[i][0], places[i][1]);
        struct skycoord *sky = sky_of(&h);
        for (size_t k = 0; k < sizeof shapes / sizeof shapes[0]; k++) {
            struct cutout_region r;
            char text[160];
            if (strstr(shapes[k], "%g"))
                snprintf(text, sizeof text, k == 0 ? "CIRCLE %g %g 0.02" : "CIRCLE %g %g 2", places[i][0], places[i][1]);
            else
                snprintf(text, sizeof text, "%s", shapes[k]);
            assert_int_equal(cutout_region_parse(text, CUTOUT_ALL, &r, NULL), ERR_OK);
            check_section(sky, &r);
        }
        skycoord_free(sky);
        header_release(&h);
    }
}

static void test_cutout__a_region_elsewhere_is_not_found(void **state)
{
    (void)state;
    char *folder = test_make_folder(), whole[512], cut[512];
    struct cutout_region r;
    snprintf(whole, sizeof whole, "%s/w.fits.fz", folder);
    snprintf(cut, sizeof cut, "%s/c.fits", folder);
    write_image(whole, 150, 20);
    static const char *const elsewhere[] = {"CIRCLE 151 20 0.1", "CIRCLE 330 -20 10", "POLYGON 10 10 11 10 11 11", "RANGE 10 11 -5 5"};
    for (size_t i = 0; i < sizeof elsewhere / sizeof elsewhere[0]; i++) {
        assert_int_equal(cutout_region_parse(elsewhere[i], CUTOUT_ALL, &r, NULL), ERR_OK);
        assert_int_equal(cutout_file(whole, &r, 0, cut, NULL, NULL), ERR_NOT_FOUND);
    }
    assert_int_equal(cutout_region_parse("150 20 0.02", CUTOUT_CIRCLE, &r, NULL), ERR_OK);
    assert_int_equal(cutout_file(whole, &r, 100, cut, NULL, NULL), ERR_USAGE);
    assert_int_equal(cutout_file("/nowhere.fits", &r, 0, cut, NULL, NULL), ERR_NOT_FOUND);
    FILE *none = fopen(cut, "r");
    assert_null(none);
    test_remove_folder(folder);
}

/* Two regions share a place when one of many places lies in both. */
static bool share_a_place(const struct cutout_region *a, const struct cutout_region *b, double ra0, double dec0, double half)
{
    for (int i = 0; i <= 200; i++)
        for (int k = 0; k <= 200; k++) {
            double dec = dec0 + half * (i / 100.0 - 1), ra = ra0 + half / cos(dec0 * 0.017453292519943295) * (k / 100.0 - 1);
            if (dec > 90) dec = 180 - dec, ra += 180;
            ra = fmod(ra + 720, 360);
            if (cutout_region_holds(a, ra, dec) && cutout_region_holds(b, ra, dec)) return true;
        }
    return false;
}

static void test_cutout__regions_meet_where_they_share_a_place(void **state)
{
    (void)state;
    struct philox rng;
    uint64_t seed = 20261121;
    print_message("seed %llu\n", (unsigned long long)seed);
    philox_init(&rng, seed, 0);
    int met = 0;
    for (int t = 0; t < 400; t++) {
        static const double places[][2] = {{150, 20}, {0.1, -60}, {359.9, 85}};
        const double *at = places[t % 3];
        double c = cos(at[1] * 0.017453292519943295);
        char text[400];
        struct cutout_region frame, r;

        double x = at[0] + (philox_uniform(&rng) - 0.5) * 0.2 / c, y = at[1] + (philox_uniform(&rng) - 0.5) * 0.2;
        snprintf(text, sizeof text, "%.12g %.12g %.12g %.12g %.12g %.12g %.12g %.12g", x - 1 / c, y - 1, x + 1 / c, y - 1, x + 1 / c, y + 1, x - 1 / c, y + 1);
        assert_int_equal(cutout_region_parse(text, CUTOUT_POLYGON, &frame, NULL), ERR_OK);
        x = at[0] + (philox_uniform(&rng) - 0.5) * 5 / c, y = at[1] + (philox_uniform(&rng) - 0.5) * 5;
        double w = 0.2 + 3 * fabs(philox_uniform(&rng) - 0.5);
        int shape = t % 4;
        if (shape == 0) snprintf(text, sizeof text, "CIRCLE %.12g %.12g %.12g", x, y, w);
        else if (shape == 1) snprintf(text, sizeof text, "RANGE %.12g %.12g %.12g %.12g", x - w / c, x + w / c, y - w / 4, y + w / 4);
        else snprintf(text, sizeof text, "POLYGON %.12g %.12g %.12g %.12g %.12g %.12g", x - 2 * w / c, y, x + 2 * w / c, y + (philox_uniform(&rng) - 0.5) * 1, x, y + 0.3);
        if (y + w > 89.9) continue;
        assert_int_equal(cutout_region_parse(text, CUTOUT_ALL, &r, NULL), ERR_OK);
        bool meet = cutout_regions_meet(&r, &frame), shared = share_a_place(&r, &frame, at[0], at[1], 4);
        if (shared) assert_true(meet);
        else if (meet) { /* a corner between the places asked: it must be gone when the region shrinks away from it */
            struct cutout_region far;
            snprintf(text, sizeof text, "CIRCLE %.12g %.12g 0.01", at[0] + 180, -at[1]);
            assert_int_equal(cutout_region_parse(text, CUTOUT_ALL, &far, NULL), ERR_OK);
            assert_false(cutout_regions_meet(&far, &frame));
        }
        met += meet == shared;
    }
    assert_true(met > 360);
}

static void test_cutout__regions_that_are_none(void **state)
{
    (void)state;
    struct cutout_region r;
    static const char *const wrong[] = {
        "", "SQUARE 1 2 3", "CIRCLE", "CIRCLE 1 2", "CIRCLE 1 2 3 4", "CIRCLE 1 2 -3", "CIRCLE 1 2 91", "CIRCLE 1 2 nan", "CIRCLE 1 91 1", "CIRCLE a b c",
        "RANGE 1 2 4 3", "RANGE 1 2 3", "POLYGON 1 2 3 4", "POLYGON 1 2 3 4 5 6 7", "POLYGON 1 2 3 4 5 x", "CIRCLE1 2 3", "CIRCLE inf 2 3",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) assert_int_equal(cutout_region_parse(wrong[i], CUTOUT_ALL, &r, NULL), ERR_USAGE);
    assert_int_equal(cutout_region_parse("circle 1 2 3", CUTOUT_ALL, &r, NULL), ERR_OK);
    assert_int_equal(cutout_region_parse("1,2,3", CUTOUT_CIRCLE, &r, NULL), ERR_OK);
    assert_close(r.radius, 3, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cutout__circle_is_cut_with_planes_and_sky),
        cmocka_unit_test(test_cutout__sections_are_those_of_every_pixel_asked),
        cmocka_unit_test(test_cutout__a_region_elsewhere_is_not_found),
        cmocka_unit_test(test_cutout__regions_meet_where_they_share_a_place),
        cmocka_unit_test(test_cutout__regions_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
