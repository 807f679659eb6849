#include "common/frameio.h"
#include "common/stats.h"
#include "common/preview.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>

/* A sky of 100 with a scatter of 5 and stars on 3 % of the pixels: the stretch follows the sky, the stars burn out. */
static void test_preview__zscale_follows_the_sky(void **state)
{
    (void)state;
    enum { N = 64 * 64 };
    static float v[N];
    struct philox p;
    double z1, z2;
    print_message("seed 5\n");
    philox_init(&p, 5, 0);
    for (int i = 0; i < N; i++) v[i] = (float)(100 + 5 * philox_normal(&p) + (i % 33 == 0 ? 3000 : 0));
    preview_zscale(v, N, 0.25, &z1, &z2);
    assert_true(z1 >= 80 && z1 < 95);   /* the lowest of 1,000 normals lies 3.2 sigma down: no black below it */
    assert_true(z2 > 115 && z2 < 250);  /* four times the slope of the sorted sky, far below the stars */
}

static void test_preview__zscale_of_a_ramp_is_its_range(void **state)
{
    (void)state;
    float v[500];
    double z1, z2;
    for (int i = 0; i < 500; i++) v[i] = (float)((i * 7) % 500);
    preview_zscale(v, 500, 1, &z1, &z2); /* contrast 1: the line through the sorted ramp is the ramp */
    assert_close(z1, 0, 1e-6);
    assert_close(z2, 499, 1e-6);
}

static void test_preview__zscale_of_nothing_and_of_one_value(void **state)
{
    (void)state;
    float nothing[3] = {NAN, NAN, NAN}, flat[50];
    double z1, z2;
    preview_zscale(nothing, 3, 0.25, &z1, &z2);
    assert_true(z1 == 0 && z2 == 1);
    preview_zscale(NULL, 0, 0.25, &z1, &z2);
    assert_true(z1 == 0 && z2 == 1);
    for (int i = 0; i < 50; i++) flat[i] = 7;
    preview_zscale(flat, 50, 0.25, &z1, &z2);
    assert_true(z1 == 7 && z2 == 7);
}

static void test_preview__bins_keep_the_mean_and_a_png_is_written(void **state)
{
    (void)state;
    enum { NX = 1030, NY = 300 };
    char *folder = test_make_folder(), path[512], png[512], thumb[512];
    float *sci = malloc(sizeof *sci * NX * NY);
    struct preview p;
    struct error err = ERROR_INIT;
    for (int i = 0; i < NX * NY; i++) sci[i] = (float)(i % NX);
    sci[5] = NAN;
    snprintf(path, sizeof path, "%s/image.fits", folder);
    struct image_hdu hdu = {.type = IMAGE_F32, .nx = NX, .ny = NY, .data = sci};
    struct images_write_options opt = {0};
    assert_int_equal(frameio_write_images(path, &hdu, 1, &opt, &err), ERR_OK);
    assert_int_equal(preview_read(path, PREVIEW_SIDE, &p, &err), ERR_OK);
    assert_true(p.bin == 3 && p.nx == 344 && p.ny == 100); /* ceil(1030 / 512), ceil(1030 / 3) */
    assert_close(p.mean[10], 31, 1e-6);                    /* columns 30, 31, 32 */
    assert_close(p.mean[343], 1029, 1e-6);                 /* one column is left for the last bin */
    assert_close(p.mean[1], 4 - 1.0 / 8, 1e-6);            /* 3, 4, 5 in three rows, one 5 missing: 31 / 8 */
    snprintf(png, sizeof png, "%s/image.png", folder);
    snprintf(thumb, sizeof thumb, "%s/small.png", folder);
    assert_int_equal(preview_write(&p, NULL, png, thumb, &err), ERR_OK);
    FILE *f = fopen(png, "rb");
    unsigned char magic[8] = {0};
    assert_non_null(f);
    assert_int_equal(fread(magic, 1, 8, f), 8);
    fclose(f);
    assert_memory_equal(magic, "\x89PNG\r\n\x1a\n", 8);
    preview_release(&p);
    assert_int_equal(preview_read("/nowhere/x.fits", PREVIEW_SIDE, &p, &err), ERR_NOT_FOUND);
    free(sci);
    test_remove_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_preview__zscale_follows_the_sky),
        cmocka_unit_test(test_preview__zscale_of_a_ramp_is_its_range),
        cmocka_unit_test(test_preview__zscale_of_nothing_and_of_one_value),
        cmocka_unit_test(test_preview__bins_keep_the_mean_and_a_png_is_written),
    };
    return cmocka_run_group_tests_name("preview", tests, NULL, NULL);
}
