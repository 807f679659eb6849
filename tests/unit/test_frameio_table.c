#include "common/frameio.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *folder;
static char path[600];

static int make_folder(void **state)
{
    (void)state;
    folder = test_make_folder();
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    test_remove_folder(folder);
    return 0;
}

static const char *in_folder(const char *name)
{
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

#define GOOD(call)                                                                                                     \
    do {                                                                                                               \
        struct error e_ = ERROR_INIT, *err = &e_;                                                                      \
        char line_[1400];                                                                                              \
        if (call) fail_msg("%s: %s", #call, error_line(err, line_, sizeof line_));                                     \
    } while (0)

enum { NROW = 3 };
static const double x[NROW] = {1.5, -2.25, 1e300};
static const float flux[2 * NROW] = {1, 2, 3, 4, NAN, 6};
static const int16_t flags[NROW] = {1, -32768, 32767};
static const int32_t number[NROW] = {1, -2, 2147483647};
static const int64_t id[NROW] = {(int64_t)1 << 62, -5, 9007199254740993};
static const char name[] = "abc     de\0     fghijklm";
static const bool good[NROW] = {true, false, true};
static const uint8_t byte[NROW] = {0, 128, 255};
static const struct column columns[] = {
    {"X_IMAGE", "pixel", "position along x", "pos.cartesian.x", "F10.3", COLUMN_F64, 1, x, NULL},
    {"FLUX_APER", "electron", NULL, NULL, NULL, COLUMN_F32, 2, flux, NULL},
    {"FLAGS", "", NULL, NULL, NULL, COLUMN_I16, 1, flags, NULL},
    {"NUMBER", NULL, NULL, NULL, NULL, COLUMN_I32, 1, number, NULL},
    {"ID", NULL, NULL, "meta.id", NULL, COLUMN_I64, 1, id, NULL},
    {"NAME", NULL, NULL, NULL, NULL, COLUMN_STRING, 8, name, NULL},
    {"GOOD", NULL, NULL, NULL, NULL, COLUMN_BOOL, 1, good, NULL},
    {"BYTE", NULL, NULL, NULL, NULL, COLUMN_U8, 1, byte, NULL},
};
static const struct table_hdu objects = {"OBJECTS", NROW, 8, columns, NULL};

static void check_objects(struct table *t)
{
    assert_int_equal(table_nrow(t), NROW);
    assert_int_equal(table_ncol(t), 8);
    assert_string_equal(table_column_name(t, 0), "X_IMAGE");
    assert_int_equal(table_find(t, "flux_aper"), 1);
    assert_int_equal(table_find(t, "NONE"), -1);
    assert_int_equal(table_repeat(t, 1), 2);
    const double *gx = table_f64(t, 0), *gflux = table_f64(t, 1), *ggood = table_f64(t, 6);
    for (int i = 0; i < NROW; i++) assert_true(gx[i] == x[i] && ggood[i] == good[i]);
    for (int i = 0; i < 2 * NROW; i++) assert_true(gflux[i] == flux[i] || (isnan(gflux[i]) && isnan(flux[i])));
    for (int i = 0; i < NROW; i++)
        assert_true(table_i64(t, 2)[i] == flags[i] && table_i64(t, 3)[i] == number[i] && table_i64(t, 4)[i] == id[i] && table_i64(t, 7)[i] == byte[i]);
    assert_null(table_i64(t, 0));
    assert_null(table_f64(t, 5));
    assert_null(table_f64(t, 99));
    assert_string_equal(table_str(t, 5, 0), "abc");
    assert_string_equal(table_str(t, 5, 1), "de");
    assert_string_equal(table_str(t, 5, 2), "fghijklm");
    assert_null(table_str(t, 5, 3));
    assert_null(table_str(t, 0, 0));
}

static void test_table__columns_come_back(void **state)
{
    (void)state;
    struct table *t = NULL;
    struct header primary;
    char unit[20];
    header_init(&primary);
    header_set_str(&primary, "ORIGIN", "here", NULL);
    struct table_hdu two[] = {objects, objects};
    two[1].extname = "MORE";
    GOOD(frameio_write_tables(in_folder("t.fits"), &primary, two, 2, err));
    GOOD(table_read(path, NULL, 0, &t, err));
    check_objects(t);
    assert_true(header_get_str(table_header(t), "TUNIT1", unit, sizeof unit));
    assert_string_equal(unit, "pixel");
    table_free(t);
    GOOD(table_read(path, "more", 0, &t, err));
    check_objects(t);
    table_free(t);
    struct error e = ERROR_INIT;
    t = NULL;
    assert_int_equal(table_read(path, "NOT THERE", 0, &t, &e), ERR_NOT_FOUND);
    assert_string_equal(e.path, path);
    assert_null(t);
    struct frameio_in *f = NULL;
    GOOD(frameio_open(path, &f, err));
    assert_int_equal(frameio_hdu_count(f), 3);
    GOOD(frameio_verify_checksums(f, err));
    frameio_close(f);
    header_release(&primary);
}

static void test_table__no_rows(void **state)
{
    (void)state;
    struct table *t = NULL;
    struct table_hdu none = objects;
    none.nrow = 0;
    GOOD(frameio_write_tables(in_folder("none.fits"), NULL, &none, 1, err));
    GOOD(table_read(path, "OBJECTS", 1, &t, err));
    assert_int_equal(table_nrow(t), 0);
    assert_non_null(table_f64(t, 0));
    assert_null(table_str(t, 5, 0));
    table_free(t);
}

static void test_table__ldac_carries_the_image_header(void **state)
{
    (void)state;
    struct header image;
    struct table *t = NULL;
    header_init(&image);
    header_set_str(&image, "XTENSION", "IMAGE", NULL);
    header_set_int(&image, "NAXIS1", 300, NULL);
    header_set_int(&image, "NAXIS2", 200, NULL);
    header_set_str(&image, "CTYPE1", "RA---TAN", NULL);
    struct ldac_part parts[] = {{&image, objects}, {&image, objects}};
    GOOD(frameio_write_ldac(in_folder("l.fits"), parts, 2, err));
    GOOD(table_read(path, "LDAC_IMHEAD", 2, &t, err));
    assert_int_equal(table_nrow(t), 1);
    assert_string_equal(table_column_name(t, 0), "Field Header Card");
    const char *text = table_str(t, 0, 0);
    struct header back;
    int64_t nx = 0;
    char ctype[20], dim[30];
    header_init(&back);
    GOOD(header_parse(&back, text, (int64_t)strlen(text) / CARD_LENGTH, err));
    assert_int_equal(strncmp(text, "SIMPLE  =", 9), 0);
    assert_true(header_get_int(&back, "NAXIS1", &nx) && nx == 300);
    assert_true(header_get_str(&back, "CTYPE1", ctype, sizeof ctype) && !strcmp(ctype, "RA---TAN"));
    assert_false(header_has(&back, "XTENSION"));
    assert_true(header_get_str(table_header(t), "TDIM1", dim, sizeof dim));
    assert_string_equal(dim, "(80, 7)"); /* SIMPLE, BITPIX, NAXIS, NAXIS1, NAXIS2, CTYPE1, END */
    table_free(t);
    GOOD(table_read(path, "LDAC_OBJECTS", 2, &t, err));
    check_objects(t);
    table_free(t);
    header_release(&image);
    header_release(&back);
}

static struct table *read_shared(const char *file, const char *extname)
{
    const char *data = test_data_folder();
    char full[1000];
    struct table *t = NULL;
    if (!data) {
        print_message("no folder of real frames: skipped\n");
        skip();
    }
    snprintf(full, sizeof full, "%s/%s", data, file);
    GOOD(table_read(full, extname, 0, &t, err));
    return t;
}

static void test_table__ascii_columns(void **state)
{
    (void)state;
    struct table *t = read_shared("robustness/astropy-io-fits/ascii.fits", NULL);
    assert_int_equal(table_nrow(t), 5); /* values as astropy reads them */
    assert_close(table_f64(t, 0)[0], 10.123, 1e-12);
    assert_close(table_f64(t, 0)[2], 15.61, 1e-12);
    assert_int_equal(table_i64(t, 1)[0], 37);
    assert_true(isnan(table_f64(t, 0)[3])); /* TNULL */
    table_free(t);
}

static void test_table__gaia_chunk(void **state)
{
    (void)state;
    struct table *t = read_shared("decam-legacy-cutouts/testcase3/chunk-04759.fits", NULL);
    int ra = table_find(t, "ra"), source_id = table_find(t, "source_id");
    assert_true(ra >= 0 && source_id >= 0 && table_nrow(t) > 0);
    assert_true(table_f64(t, ra)[0] > 0 && table_f64(t, ra)[0] < 360);
    assert_true(table_i64(t, source_id)[0] > 1000000000);
    table_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table__columns_come_back), cmocka_unit_test(test_table__no_rows),
        cmocka_unit_test(test_table__ldac_carries_the_image_header), cmocka_unit_test(test_table__ascii_columns),
        cmocka_unit_test(test_table__gaia_chunk),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
