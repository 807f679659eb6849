#include "pipeline/sexfiles.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>

static void test_sexfiles__defaults_are_source_extractors(void **state)
{
    (void)state;
    struct sex_config c;
    sex_config_defaults(&c);
    assert_int_equal(c.detect_minarea, 5);
    assert_true(c.detect_thresh.n == 1 && c.detect_thresh.v[0] == 1.5);
    assert_true(c.phot_autoparams.n == 2 && c.phot_autoparams.v[1] == 3.5);
    assert_int_equal(c.mask_type, SEX_MASK_CORRECT);
    assert_int_equal(c.catalog_type, SEX_CATALOG_FITS_LDAC);
    assert_true(c.filter && c.clean);
    assert_string_equal(c.gain_key, "GAIN");
    assert_string_equal(c.ignored, "");
}

static void test_sexfiles__a_file_sets_keys_and_names_the_others(void **state)
{
    (void)state;
    const char *text = "# comment\nDETECT_THRESH  2.5  # sigma\r\nphot_apertures 5, 10,20\nFILTER\tN\nWEIGHT_TYPE MAP_WEIGHT\n"
                       "CHECKIMAGE_TYPE BACKGROUND,SEGMENTATION\nCHECKIMAGE_NAME \"my file.fits\", seg.fits\n"
                       "ASSOC_NAME stars.list\nMEMORY_OBJSTACK 9000\nINTERP_TYPE NONE\nNO_SUCH_KEY 1\nCATALOG_TYPE ASCII_HEAD";
    struct sex_config c;
    struct error err = ERROR_INIT;
    sex_config_defaults(&c);
    assert_int_equal(sex_config_parse(&c, text, strlen(text), "a.sex", &err), ERR_OK);
    assert_close(c.detect_thresh.v[0], 2.5, 0);
    assert_int_equal(c.phot_apertures.n, 3);
    assert_false(c.filter);
    assert_int_equal(c.weight_type, SEX_WEIGHT_MAP_WEIGHT);
    assert_int_equal(c.checkimage_type.n, 2);
    assert_string_equal(c.checkimage_name.w[0], "my file.fits");
    assert_string_equal(c.ignored, "ASSOC_NAME, INTERP_TYPE");
    assert_string_equal(c.unknown, "NO_SUCH_KEY");
    assert_int_equal(c.catalog_type, SEX_CATALOG_ASCII_HEAD);
    assert_true(c.given[SEX_DETECT_THRESH] && !c.given[SEX_GAIN]);
}

static void test_sexfiles__a_bad_value_names_key_line_and_choices(void **state)
{
    (void)state;
    struct sex_config c;
    struct error err = ERROR_INIT;
    sex_config_defaults(&c);
    const char *text = "\nMASK_TYPE SOMETIMES\n";
    assert_int_equal(sex_config_parse(&c, text, strlen(text), "a.sex", &err), ERR_SETTINGS);
    assert_non_null(strstr(err.message, "MASK_TYPE"));
    assert_non_null(strstr(err.message, "a.sex line 2"));
    assert_non_null(strstr(err.message, "NONE, BLANK, CORRECT"));
    assert_int_equal(sex_config_set(&c, "DETECT_MINAREA", "4.5", "command line", &err), ERR_SETTINGS);
    assert_int_equal(sex_config_set(&c, "GAIN", "nan", "command line", &err), ERR_SETTINGS);
}

static void test_sexfiles__columns(void **state)
{
    (void)state;
    struct sex_params p;
    struct error err = ERROR_INIT;
    const char *text = "NUMBER\n#X_IMAGE\nFLUX_APER(3) # three\nMAG_APER[2]\nVIGNET( 35, 31 )\nFLUX_MODEL\nnumber\n";
    assert_int_equal(sex_params_parse(&p, text, strlen(text), "a.param", &err), ERR_OK);
    assert_int_equal(p.n, 4);
    assert_int_equal(p.column[0], DET_number);
    assert_int_equal(p.naper, 3);
    assert_int_equal(p.vig_nx, 35);
    assert_int_equal(p.vig_ny, 31);
    assert_string_equal(p.ignored, "FLUX_MODEL");
    text = "FLUX_APER(x)";
    assert_int_equal(sex_params_parse(&p, text, strlen(text), "a.param", &err), ERR_SETTINGS);
}

static void test_sexfiles__filters(void **state)
{
    (void)state;
    struct sex_kernel k;
    struct error err = ERROR_INIT;
    const char *text = "CONV NORM\n# pyramid\n1 2 1\n2 4 2\n1 2 1\n";
    assert_int_equal(sex_kernel_parse(&k, text, strlen(text), "a.conv", &err), ERR_OK);
    assert_int_equal(k.nx, 3);
    assert_int_equal(k.ny, 3);
    assert_close(k.v[4], 0.25, 1e-7);
    free(k.v);
    text = "CONV NONORM\n-1 2 -1\n";
    assert_int_equal(sex_kernel_parse(&k, text, strlen(text), "a.conv", &err), ERR_OK);
    assert_close(k.v[1], 2, 0);
    free(k.v);
    text = "CONV NORM\n1 2 1\n1 2\n";
    assert_int_equal(sex_kernel_parse(&k, text, strlen(text), "a.conv", &err), ERR_SETTINGS);
    assert_int_equal(sex_kernel_parse(&k, "1 2 1", 5, "a.conv", &err), ERR_SETTINGS);
    assert_int_equal(sex_kernel_parse(&k, "CONV", 4, "a.conv", &err), ERR_SETTINGS);
    assert_int_equal(sex_kernel_read(&k, "/nowhere/a.conv", &err), ERR_SETTINGS);
}

static void test_sexfiles__a_network_of_another_shape_is_refused(void **state)
{
    (void)state;
    struct star_network w;
    struct error err = ERROR_INIT;
    char text[4096] = "NNW\n3 10 10 1\n";
    for (int i = 0; i < 2 * 10 + 110 + 11 + 2; i++) {
        size_t n = strlen(text);
        snprintf(text + n, sizeof text - n, "%d ", i);
    }
    assert_int_equal(sex_nnw_parse(&w, text, strlen(text), "a.nnw", &err), ERR_OK);
    assert_close(w.scale[0], 10, 0);
    assert_close(w.hidden[1][0], 31, 0);
    assert_close(w.out_scale, 142, 0);
    assert_int_equal(sex_nnw_parse(&w, text, strlen(text) - 4, "a.nnw", &err), ERR_SETTINGS);
    assert_int_equal(sex_nnw_parse(&w, "CONV", 4, "a.nnw", &err), ERR_SETTINGS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sexfiles__defaults_are_source_extractors),
        cmocka_unit_test(test_sexfiles__a_file_sets_keys_and_names_the_others),
        cmocka_unit_test(test_sexfiles__a_bad_value_names_key_line_and_choices),
        cmocka_unit_test(test_sexfiles__columns),
        cmocka_unit_test(test_sexfiles__filters),
        cmocka_unit_test(test_sexfiles__a_network_of_another_shape_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
