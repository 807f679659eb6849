/* Writes that fail half-way: the file size is limited as a full disk would, at one place after the other. */
#include "common/frameio.h"
#include "common/atomicfile.h"
#include "tests/support/check.h"

#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char *folder;
static char path[600];

static int make_folder(void **state)
{
    (void)state;
    folder = test_make_folder();
    signal(SIGXFSZ, SIG_IGN); /* then write() says EFBIG instead */
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    test_remove_folder(folder);
    return 0;
}

static void limit_files(rlim_t bytes)
{
    struct rlimit limit = {bytes, RLIM_INFINITY};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static int entries(void)
{
    int n = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e; (e = readdir(d));) n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    closedir(d);
    return n;
}

enum { NX = 120, NY = 90 };

static enum err write_product(struct error *err)
{
    struct frame f;
    frame_init(&f);
    if (frame_alloc(&f, NX, NY, FRAME_ALL, NULL)) return ERR_NOMEM;
    for (int i = 0; i < NX * NY; i++) f.sci[i] = f.var[i] = (float)((i * 7919) % 1009);
    struct frameio_write_options opt = {.compress = true, .quantise_q = 4, .dither_seed = 1};
    enum err code = frameio_write_product(path, &f, &opt, err);
    frame_release(&f);
    return code;
}

static enum err write_plain(struct error *err)
{
    static uint16_t pixels[NX * NY];
    struct image_hdu hdu = {.type = IMAGE_U16, .nx = NX, .ny = NY, .data = pixels};
    struct images_write_options opt = {.checksum = true};
    return frameio_write_images(path, &hdu, 1, &opt, err);
}

static enum err write_ldac(struct error *err)
{
    static double x[4000];
    struct column column = {.name = "X", .type = COLUMN_F64, .repeat = 1, .data = x};
    struct header image;
    header_init(&image);
    struct ldac_part part = {&image, {.nrow = 4000, .ncol = 1, .columns = &column}};
    return frameio_write_ldac(path, &part, 1, err);
}

static void check_limits(enum err (*write)(struct error *))
{
    struct error err = ERROR_INIT;
    struct stat st;
    snprintf(path, sizeof path, "%s/x.fits", folder);
    assert_int_equal(write(&err), ERR_OK);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(atomicfile_write(path, "old", 3, NULL), ERR_OK);
    for (off_t bytes = 0; bytes < st.st_size; bytes += 1 + st.st_size / 37) {
        limit_files((rlim_t)bytes);
        enum err code = write(&err);
        limit_files(RLIM_INFINITY);
        assert_int_equal(code, ERR_NO_SPACE);
        assert_string_equal(err.path, path);
        assert_true(err.hint[0]);
        assert_int_equal(entries(), 1); /* no temporary file */
        struct stat now;
        assert_int_equal(stat(path, &now), 0);
        assert_int_equal(now.st_size, 3); /* the old file is untouched */
    }
}

static void test_full__product(void **state)
{
    (void)state;
    check_limits(write_product);
}

static void test_full__plain_image(void **state)
{
    (void)state;
    check_limits(write_plain);
}

static void test_full__ldac(void **state)
{
    (void)state;
    check_limits(write_ldac);
}

static void test_unwritable__folder_that_is_none(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    snprintf(path, sizeof path, "%s/none/x.fits", folder);
    assert_int_equal(write_product(&err), ERR_NOT_FOUND);
    assert_string_equal(err.path, path);
    snprintf(path, sizeof path, "%s/folder.fits", folder);
    assert_int_equal(mkdir(path, 0777), 0);
    assert_int_equal(write_product(&err), ERR_UNREADABLE);
    assert_int_equal(rmdir(path), 0);
    if (geteuid() == 0) return; /* nothing is forbidden to root */
    assert_int_equal(chmod(folder, 0500), 0);
    snprintf(path, sizeof path, "%s/y.fits", folder);
    assert_int_equal(write_product(&err), ERR_UNREADABLE);
    assert_int_equal(chmod(folder, 0700), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full__product),
        cmocka_unit_test(test_full__plain_image),
        cmocka_unit_test(test_full__ldac),
        cmocka_unit_test(test_unwritable__folder_that_is_none),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
