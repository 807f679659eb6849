#include "pipeline/master.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>

#include "common/frameio.h"
#include "common/products.h"

static void test_master__name_says_what_it_serves(void **state)
{
    (void)state;
    char name[256];
    struct calib c = {.kind = FRAME_FLAT, .instrument = "simcam", .filter = "i' (old)/2", .ccd = 7, .binning_x = 2, .binning_y = 1};
    assert_string_equal(master_name(name, sizeof name, &c, "0123456789abcdef"), "masters/flat_simcam_ccd07_bin2x1_i---old--2_0123456789ab.fits");
    c = (struct calib){.kind = FRAME_DARK, .instrument = "arcsat", .filter = "g", .binning_x = 1, .binning_y = 1};
    assert_string_equal(master_name(name, sizeof name, &c, "0123456789abcdef"), "masters/dark_arcsat_bin1x1_0123456789ab.fits");
}

static char *write_master(const char *folder, const char *kind, bool measured)
{
    static struct frame f;
    char *path = NULL;
    assert_true(asprintf(&path, "%s/%s_x.fits", folder, kind) > 0);
    frame_init(&f);
    assert_int_equal(frame_alloc(&f, 8, 4, FRAME_ALL, NULL), ERR_OK);
    for (int i = 0; i < 32; i++) f.sci[i] = (float)i, f.var[i] = 1, f.mask[i] = i == 3 ? MASK_HOT : 0;
    header_set_str(&f.header, KEY_MASTER_KIND, kind, NULL);
    header_set_str(&f.header, KEY_INSTRUMENT, "cam", NULL);
    header_set_int(&f.header, KEY_CCD, 2, NULL);
    header_set_int(&f.header, KEY_BIN_X, 1, NULL);
    header_set_int(&f.header, KEY_BIN_Y, 1, NULL);
    header_set_str(&f.header, KEY_GAINSRC, measured ? "measured" : "header", NULL);
    header_set_int(&f.header, "NSNAMP", 1, NULL);
    header_set_double(&f.header, "GAIN", 1.5, NULL);
    header_set_double(&f.header, "RDNOISE", 7, NULL);
    struct frameio_write_options plain = {.dither_seed = 1};
    assert_int_equal(frameio_write_product(path, &f, &plain, NULL), ERR_OK);
    frame_release(&f);
    return path;
}

static void test_master__is_listed_chosen_and_read_by_rows(void **state)
{
    (void)state;
    char *folder = test_make_folder(), why[256];
    free(write_master(folder, "bias", true));
    struct master_list l = {0};
    assert_int_equal(master_list_add_folder(&l, folder, NULL), ERR_OK);
    assert_int_equal(l.n, 1);
    struct exposure_meta m = {.ccd = 2, .binning_x = 1, .binning_y = 1, .nx = 8, .ny = 4, .namp = 1, .mjd_mid = NAN, .ccd_temp_c = NAN, .exptime_s = 1};
    snprintf(m.instrument, sizeof m.instrument, "cam");
    m.amp[0].gain_e_per_adu = m.amp[0].rdnoise_e = NAN;
    assert_int_equal(master_choose(&l, FRAME_BIAS, &m, why), 0);
    assert_int_equal(master_choose(&l, FRAME_FLAT, &m, why), -1);
    assert_false(gains_known(&m));
    assert_true(master_lend_gain(&l.v[0], &m));
    assert_true(gains_known(&m));
    assert_close(m.amp[0].gain_e_per_adu, 1.5, 0);

    struct master_reader r;
    float value[16], var[16];
    mask_t mask[16];
    assert_int_equal(master_open(&l.v[0], 8, 5, &r, NULL), ERR_SHAPE);
    assert_int_equal(master_open(&l.v[0], 8, 4, &r, NULL), ERR_OK);
    assert_int_equal(master_rows(&r, 0, 2, value, var, mask, NULL), ERR_OK);
    assert_close(value[15], 15, 0);
    assert_int_equal(mask[3], MASK_HOT);
    master_close(&r);
    assert_int_equal(master_sum(&l.v[0], NULL), ERR_OK);
    assert_int_equal(strlen(l.v[0].sum), 64);
    master_list_release(&l);
    test_remove_folder(folder);
}

static void test_master__folders_hold_other_files_and_may_be_missing(void **state)
{
    (void)state;
    char *folder = test_make_folder(), *path = NULL, *missing = NULL;
    struct master_list l = {0};
    struct error err = ERROR_INIT;
    uint16_t pixel = 1;
    struct image_hdu hdu = {.type = IMAGE_U16, .nx = 1, .ny = 1, .data = &pixel};
    assert_true(asprintf(&path, "%s/raw.fits", folder) > 0 && asprintf(&missing, "%s/none", folder) > 0);
    assert_int_equal(frameio_write_images(path, &hdu, 1, &(struct images_write_options){0}, NULL), ERR_OK);
    assert_int_equal(master_list_add_folder(&l, folder, &err), ERR_OK);
    assert_int_equal(master_list_add_folder(&l, missing, &err), ERR_OK);
    assert_int_equal(l.n, 0);
    assert_int_equal(master_list_add_file(&l, path, &err), ERR_UNSUPPORTED);
    free(path);
    free(missing);
    master_list_release(&l);
    test_remove_folder(folder);
}

static void test_master__dark_scale_follows_the_temperature(void **state)
{
    (void)state;
    struct master_info dark = {.calib = {.kind = FRAME_DARK, .ccd_temp_c = -20}};
    struct error err = ERROR_INIT;
    double scale = 0;
    assert_int_equal(master_dark_scale(&dark, 0.1, -13, &scale, NULL), ERR_OK);
    assert_close(scale, exp(0.7), 1e-12);
    assert_int_equal(master_dark_scale(&dark, 0.1, -27, &scale, NULL), ERR_OK);
    assert_close(scale, exp(-0.7), 1e-12);
    assert_int_equal(master_dark_scale(&dark, 0, NAN, &scale, NULL), ERR_OK); /* not asked for: nothing is needed */
    assert_close(scale, 1, 0);
    assert_int_equal(master_dark_scale(NULL, 0.1, NAN, &scale, NULL), ERR_OK);
    assert_close(scale, 1, 0);
    assert_int_equal(master_dark_scale(&dark, 0.1, NAN, &scale, &err), ERR_NO_CALIBRATION);
    assert_non_null(strstr(err.message, "the frame says no CCD temperature"));
    assert_int_equal(master_dark_scale(&dark, 0.1, 80, &scale, &err), ERR_NO_CALIBRATION);
    dark.calib.ccd_temp_c = NAN;
    assert_int_equal(master_dark_scale(&dark, 0.1, -20, &scale, &err), ERR_NO_CALIBRATION);
    assert_non_null(strstr(err.message, "the master dark says"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_master__name_says_what_it_serves),
        cmocka_unit_test(test_master__is_listed_chosen_and_read_by_rows),
        cmocka_unit_test(test_master__folders_hold_other_files_and_may_be_missing),
        cmocka_unit_test(test_master__dark_scale_follows_the_temperature),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
