#include "common/frameio.h"
#include "common/atomicfile.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NX 37
#define NY 23

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

#define BAD(call, want)                                                                                                \
    do {                                                                                                               \
        struct error e_ = ERROR_INIT, *err = &e_;                                                                      \
        enum err got_ = (call);                                                                                        \
        if (got_ != (want)) fail_msg("%s: %s, expected %s (%s)", #call, err_name(got_), err_name(want), err->message); \
        assert_true(err->message[0] && err->path[0]);                                                                  \
    } while (0)

static void fill_u16(uint16_t *p)
{
    for (int i = 0; i < NX * NY; i++) p[i] = (uint16_t)(i * 7919u);
    p[0] = 0;
    p[1] = 65535;
    p[2] = 32768;
}

static void write_u16(const char *name, bool compress)
{
    static uint16_t pixels[NX * NY];
    struct header h;
    header_init(&h);
    fill_u16(pixels);
    header_set_str(&h, "OBJECT", "M13", "target");
    header_set_int(&h, "NAXIS1", 999, "must not be copied");
    struct image_hdu hdu = {.type = IMAGE_U16, .nx = NX, .ny = NY, .data = pixels, .header = &h, .extname = "IM1"};
    struct images_write_options opt = {.compress = compress, .checksum = true, .dither_seed = 1};
    GOOD(frameio_write_images(in_folder(name), &hdu, 1, &opt, err));
    header_release(&h);
}

static void check_u16(const char *name, int hdu)
{
    struct frameio_in *f = NULL;
    struct hdu_info info;
    uint16_t want[NX * NY], got[NX * NY];
    float real[NX * NY];
    char object[20] = "";
    struct header h;
    header_init(&h);
    fill_u16(want);
    GOOD(frameio_open(in_folder(name), &f, err));
    assert_int_equal(frameio_first_image(f), hdu);
    GOOD(frameio_hdu_info(f, hdu, &info, err));
    assert_true(info.unsigned16 && info.axis[0] == NX && info.axis[1] == NY && info.bitpix == 16);
    assert_string_equal(info.extname, "IM1");
    GOOD(frameio_read_rows_u16(f, hdu, 0, NY, got, err));
    assert_memory_equal(got, want, sizeof want);
    GOOD(frameio_read_rows_f32(f, hdu, 3, 9, real, err));
    for (int i = 0; i < 6 * NX; i++) assert_true(real[i] == want[3 * NX + i]);
    GOOD(frameio_hdu_header(f, hdu, &h, err));
    assert_true(header_get_str(&h, "OBJECT", object, sizeof object));
    assert_string_equal(object, "M13");
    int64_t naxis1 = 0;
    assert_true(header_get_int(&h, "NAXIS1", &naxis1) && naxis1 == NX);
    assert_false(header_has(&h, "ZBITPIX"));
    BAD(frameio_read_rows_f32(f, hdu, 0, NY + 1, real, err), ERR_SHAPE);
    BAD(frameio_read_rows_f32(f, hdu + 1, 0, 1, real, err), ERR_NOT_FOUND);
    header_release(&h);
    frameio_close(f);
}

static void test_frameio__u16_survives_plain_and_compressed(void **state)
{
    (void)state;
    write_u16("plain.fits", false);
    check_u16("plain.fits", 1);
    write_u16("packed.fits.fz", true);
    check_u16("packed.fits.fz", 2);
}

static void test_frameio__odd_names_are_only_names(void **state)
{
    (void)state;
    const char *names[] = {"a[1].fits", "b+2.fits", "c.fits(d)", "~e.fits", "f g'h\".fits", "-"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        write_u16(names[i], false);
        check_u16(names[i], 1);
        write_u16(names[i], true);
        check_u16(names[i], 2);
    }
}

static void test_frameio__gz_and_bz2_read_as_plain(void **state)
{
    (void)state;
    char command[1400];
    write_u16("z.fits", false);
    snprintf(command, sizeof command, "gzip -k %s && bzip2 -k %s", path, path);
    assert_int_equal(system(command), 0);
    check_u16("z.fits.gz", 1);
    check_u16("z.fits.bz2", 1);
    snprintf(command, sizeof command, "cd %s && cp z.fits.gz named.fits && head -c 100 z.fits.gz > short.fits.gz", folder);
    assert_int_equal(system(command), 0);
    check_u16("named.fits", 1); /* the bytes decide, not the name */
    struct frame fr;
    frame_init(&fr);
    BAD(frameio_read_image(in_folder("short.fits.gz"), 0, &fr, err), ERR_CORRUPT);
    frame_release(&fr);
}

static void test_frameio__floats_keep_nan(void **state)
{
    (void)state;
    float pixels[NX * NY];
    for (int i = 0; i < NX * NY; i++) pixels[i] = 100 + (float)((i * 7919) % 101) / 10;
    pixels[5] = NAN;
    pixels[NX * NY - 1] = NAN;
    struct image_hdu hdu = {.type = IMAGE_F32, .nx = NX, .ny = NY, .data = pixels};
    for (int k = 0; k < 3; k++) {
        struct images_write_options opt = {.compress = k > 0, .quantise_q = k == 2 ? 16 : 0, .dither_seed = 77, .checksum = true};
        struct frame f;
        frame_init(&f);
        GOOD(frameio_write_images(in_folder("f.fits"), &hdu, 1, &opt, err));
        GOOD(frameio_read_image(path, 0, &f, err));
        for (int i = 0; i < NX * NY; i++) {
            if (isnan(pixels[i]))
                assert_true(isnan(f.sci[i]));
            else
                assert_close(f.sci[i], pixels[i], k == 2 ? 0.2 : 0); /* noise 3, step at most 3/16 */
        }
        frame_release(&f);
    }
}

static char *slurp(const char *name, size_t *size)
{
    FILE *in = fopen(name, "rb");
    char *bytes = malloc(1 << 22);
    *size = fread(bytes, 1, 1 << 22, in);
    fclose(in);
    return bytes;
}

static void test_frameio__truncated_at_every_block_is_corrupt(void **state)
{
    (void)state;
    for (int compress = 0; compress < 2; compress++) {
        size_t size, data_end;
        write_u16("whole.fits", compress);
        char *bytes = slurp(path, &size);
        /* Padding may be missing: only cuts before the last byte of data must be refused. */
        for (data_end = size; data_end && !bytes[data_end - 1];) data_end--;
        for (size_t cut = 0; cut < data_end; cut += cut % 2880 ? 2880 - cut % 2880 : 1440) {
            struct frame f;
            struct header h;
            frame_init(&f);
            header_init(&h);
            GOOD(atomicfile_write(in_folder("cut.fits"), bytes, cut, err));
            struct error e = ERROR_INIT;
            enum err code = frameio_read_image(path, 0, &f, &e);
            assert_true(code == ERR_CORRUPT || code == ERR_UNSUPPORTED); /* a whole empty primary holds no image */
            assert_string_equal(e.path, path);
            assert_null(f.sci);
            code = frameio_read_header(path, 0, &h, &e);
            assert_true(code == ERR_CORRUPT || (compress && code == ERR_OK));
            header_release(&h);
        }
        free(bytes);
    }
}

/* A file of header cards and zeros. */
static void write_cards(const char *name, const char *const *cards, int n, size_t data)
{
    size_t header = ((size_t)n * 80 + 2879) / 2880 * 2880;
    char *bytes = calloc(1, header + data + 1);
    memset(bytes, ' ', header);
    for (int i = 0; i < n; i++) memcpy(bytes + 80 * i, cards[i], strlen(cards[i]));
    GOOD(atomicfile_write(in_folder(name), bytes, header + data, err));
    free(bytes);
}

#define CARDS(name, data, ...)                                                                                         \
    write_cards(name, (const char *const[]){__VA_ARGS__}, (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)), data)

static void check_bad_image(enum err want)
{
    struct frame f;
    frame_init(&f);
    BAD(frameio_read_image(path, 0, &f, err), want);
    assert_null(f.sci);
}

#define SIMPLE "SIMPLE  =                    T"
#define B16    "BITPIX  =                   16"
#define N2     "NAXIS   =                    2"

static void test_frameio__absurd_headers_are_refused(void **state)
{
    (void)state;
    CARDS("x", 2880, SIMPLE, B16, N2, "NAXIS1  =        1000000000000", "NAXIS2  =        1000000000000", "END");
    check_bad_image(ERR_CORRUPT);
    CARDS("x", 2880, SIMPLE, B16, N2, "NAXIS1  =  9223372036854775807", "NAXIS2  =                    1", "END");
    check_bad_image(ERR_CORRUPT);
    CARDS("x", 2880, SIMPLE, B16, N2, "NAXIS1  =                60000", "NAXIS2  =                60000", "END");
    check_bad_image(ERR_CORRUPT);
    CARDS("x", 2880, SIMPLE, B16, N2, "NAXIS1  =                   -4", "NAXIS2  =                    1", "END");
    check_bad_image(ERR_CORRUPT);
    CARDS("x", 2880, SIMPLE, B16, N2, "NAXIS1  =                    4", "END");
    check_bad_image(ERR_CORRUPT);
    CARDS("x", 2880, SIMPLE, "BITPIX  =                   17", N2, "NAXIS1  =                    4", "NAXIS2  =                    4", "END");
    check_bad_image(ERR_CORRUPT);
    CARDS("x", 2880, SIMPLE, B16, "NAXIS   =                 1000", "END");
    check_bad_image(ERR_CORRUPT);
    CARDS("x", 2880, SIMPLE, B16, N2, "NAXIS1  =                    4", "NAXIS2  =                    4", "BSCALE  =                  0.0", "END");
    check_bad_image(ERR_CORRUPT);
    CARDS("x", 2880, SIMPLE, B16, N2, "NAXIS1  =                    4", "NAXIS2  =                    4");
    check_bad_image(ERR_CORRUPT); /* no END */
    CARDS("x", 2880, SIMPLE, B16, "NAXIS   =                    0", "END");
    check_bad_image(ERR_UNSUPPORTED);
    CARDS("x", 2880, SIMPLE, B16, N2, "NAXIS1  =                    0", "NAXIS2  =                    4", "END");
    check_bad_image(ERR_UNSUPPORTED);
    CARDS("x", 2880, "not FITS at all");
    check_bad_image(ERR_UNREADABLE);
}

static void test_frameio__things_that_are_no_files(void **state)
{
    (void)state;
    in_folder(".");
    check_bad_image(ERR_UNREADABLE);
    in_folder("absent.fits");
    check_bad_image(ERR_NOT_FOUND);
    assert_int_equal(mkfifo(in_folder("fifo"), 0600), 0);
    check_bad_image(ERR_UNREADABLE); /* and does not wait for a writer */
    GOOD(atomicfile_write(in_folder("empty.fits"), "", 0, err));
    check_bad_image(ERR_CORRUPT);
    if (geteuid() != 0) {
        assert_int_equal(chmod(path, 0), 0);
        check_bad_image(ERR_UNREADABLE);
    }
}

static void test_frameio__a_hundred_thousand_cards(void **state)
{
    (void)state;
    const int n = 100000;
    const char **cards = malloc((size_t)n * sizeof *cards);
    for (int i = 0; i < n; i++) cards[i] = "COMMENT ballast";
    cards[0] = SIMPLE, cards[1] = B16, cards[2] = N2, cards[3] = "NAXIS1  =                    2";
    cards[4] = "NAXIS2  =                    2", cards[n - 1] = "END";
    write_cards("many.fits", cards, n, 2880);
    free(cards);
    struct frame f;
    frame_init(&f);
    GOOD(frameio_read_image(path, 0, &f, err));
    assert_int_equal(f.header.n, n - 1);
    frame_release(&f);
}

static void test_frameio__cube_of_one_plane_blank_and_scaling(void **state)
{
    (void)state;
    const char *cards[] = {SIMPLE, "BITPIX  =                   32", "NAXIS   =                    3", "NAXIS1  =                    2",
                           "NAXIS2  =                    2", "NAXIS3  =                    1", "BSCALE  =                  0.5",
                           "BZERO   =                 10.0", "BLANK   =                   -1", "END"};
    char bytes[2880 + 16];
    memset(bytes, ' ', 2880);
    for (int i = 0; i < 10; i++) memcpy(bytes + 80 * i, cards[i], strlen(cards[i]));
    const unsigned char data[16] = {0, 0, 0, 4, 255, 255, 255, 255, 255, 255, 255, 254, 0, 1, 0, 0};
    memcpy(bytes + 2880, data, 16);
    GOOD(atomicfile_write(in_folder("cube.fits"), bytes, sizeof bytes, err)); /* without padding, as some cameras do */
    struct frame f;
    frame_init(&f);
    GOOD(frameio_read_image(path, 0, &f, err));
    assert_true(f.nx == 2 && f.ny == 2 && f.sci[0] == 12 && isnan(f.sci[1]) && f.sci[2] == 9 && f.sci[3] == 32778);
    assert_string_equal(f.unit, "adu");
    frame_release(&f);
}

static void test_frameio__extension_inherits_from_the_primary(void **state)
{
    (void)state;
    float pixel = 1;
    struct header primary, ext;
    header_init(&primary);
    header_init(&ext);
    header_set_double(&primary, "EXPTIME", 30, NULL);
    header_set_str(&primary, "FILTER", "g", NULL);
    header_set_double(&primary, "ESO DET GAIN", 2.5, NULL);
    header_add_text(&primary, "HISTORY", "stays");
    header_set_str(&ext, "FILTER", "r", NULL);
    for (int inherit = 0; inherit < 2; inherit++) {
        struct image_hdu hdus[] = {{.type = IMAGE_EMPTY, .header = &primary},
                                   {.type = IMAGE_F32, .nx = 1, .ny = 1, .data = &pixel, .header = &ext, .extname = "A"}};
        struct images_write_options opt = {.checksum = true};
        GOOD(frameio_write_images(in_folder("mef.fits"), hdus, 2, &opt, err));
        struct header h;
        char filter[8];
        double value = 0;
        header_init(&h);
        GOOD(frameio_read_header(path, 0, &h, err));
        assert_true(header_get_str(&h, "FILTER", filter, sizeof filter) && !strcmp(filter, "r"));
        assert_true(header_get_double(&h, "EXPTIME", &value) && value == 30);
        assert_true(header_get_double(&h, "ESO DET GAIN", &value) && value == 2.5);
        assert_false(header_has(&h, "HISTORY"));
        header_release(&h);
    }
    header_release(&primary);
    header_release(&ext);
}

static void test_frameio__same_input_same_bytes(void **state)
{
    (void)state;
    size_t na, nb;
    write_u16("a.fits", true);
    char *a = slurp(path, &na);
    write_u16("b.fits", true);
    char *b = slurp(path, &nb);
    assert_int_equal(na, nb);
    assert_memory_equal(a, b, na);
    free(a);
    free(b);
}

static void test_frameio__damaged_tail_is_a_doubt(void **state)
{
    (void)state;
    size_t size;
    write_u16("tail.fits", false);
    char *bytes = slurp(path, &size);
    memset(bytes + size, 'x', 2880);
    GOOD(atomicfile_write(in_folder("tail.fits"), bytes, size + 2880, err));
    free(bytes);
    struct frameio_in *f = NULL;
    struct error e = ERROR_INIT;
    assert_int_equal(frameio_open(path, &f, &e), ERR_OK);
    assert_true(e.code == ERR_OK && e.message[0]);
    assert_int_equal(frameio_hdu_count(f), 1);
    frameio_close(f);
    check_u16("tail.fits", 1);
}

static struct frame product_frame(int64_t nx, int64_t ny)
{
    struct frame f;
    frame_init(&f);
    GOOD(frame_alloc(&f, nx, ny, FRAME_ALL, err));
    for (int64_t i = 0; i < nx * ny; i++) {
        f.sci[i] = 500 + (float)((i * 7919) % 1009) / 50;
        f.var[i] = i % 13 ? 600 + (float)((i * 104729) % 997) / 30 : 0;
        f.mask[i] = (mask_t)(i % 17 == 0 ? 0xffff : i % 13 == 0 ? MASK_BAD : 0);
    }
    f.sci[3] = NAN;
    snprintf(f.unit, sizeof f.unit, "electron");
    header_set_str(&f.header, "OBJECT", "M13", NULL);
    header_set_str(&f.header, "CTYPE1", "RA---TAN", NULL);
    header_set_double(&f.header, "CRVAL1", 250.4, NULL);
    header_set_str(&f.header, "BUNIT", "adu", NULL);
    header_set_double(&f.header, "BZERO", 32768, "of the raw frame");
    return f;
}

static void test_frameio__product_comes_back(void **state)
{
    (void)state;
    for (int k = 0; k < 3; k++) {
        struct frame f = product_frame(150, 40), g;
        struct frameio_write_options opt = {.compress = k > 0, .quantise_q = k == 2 ? 4 : 0, .dither_seed = 9999};
        char text[40];
        frame_init(&g);
        GOOD(frameio_write_product(in_folder("p_cal.fits.fz"), &f, &opt, err));
        GOOD(frameio_read_product(path, &g, err));
        assert_true(g.nx == f.nx && g.ny == f.ny && g.var && g.mask);
        assert_string_equal(g.unit, "electron");
        assert_memory_equal(g.mask, f.mask, sizeof(mask_t) * 6000);
        assert_true(isnan(g.sci[3]));
        for (int i = 0; i < 6000; i++) {
            /* neighbours differ by up to 20 (sci) and 600 (var): a step is a quarter of that noise, half a step the largest error */
            if (i != 3) assert_close(g.sci[i], f.sci[i], k == 2 ? 2.5 : 0);
            assert_close(g.var[i], f.var[i], k == 2 && f.var[i] != 0 ? 40 : 0); /* zeros stay zeros */
        }
        struct header h;
        header_init(&h);
        struct frameio_in *in = NULL;
        GOOD(frameio_open(path, &in, err));
        GOOD(frameio_verify_checksums(in, err));
        GOOD(frameio_hdu_header(in, 3, &h, err));
        assert_true(header_get_str(&h, "BUNIT", text, sizeof text) && !strcmp(text, "electron**2"));
        assert_true(header_has(&h, "CRVAL1") && !header_has(&h, "OBJECT") && !header_has(&h, "BZERO"));
        GOOD(frameio_hdu_header(in, 4, &h, err));
        int64_t bit = 0;
        assert_true(header_get_int(&h, "MP_SATURATED", &bit) && bit == 1);
        GOOD(frameio_hdu_header(in, 1, &h, err));
        assert_true(header_has(&h, "OBJECT") && !header_has(&h, "CRVAL1"));
        header_release(&h);
        frameio_close(in);
        frame_release(&f);
        frame_release(&g);
    }
}

static void test_frameio__flipped_bits_meet_the_checksum(void **state)
{
    (void)state;
    for (int compress = 0; compress < 2; compress++) {
        size_t size;
        write_u16("sum.fits", compress);
        char *bytes = slurp(path, &size);
        for (size_t at = 2880 + 5; at < size; at += 997) {
            struct frameio_in *f = NULL;
            struct error e = ERROR_INIT;
            bytes[at] ^= 4;
            GOOD(atomicfile_write(in_folder("flip.fits"), bytes, size, err));
            bytes[at] ^= 4;
            enum err code = frameio_open(path, &f, &e);
            bool lost = !code && frameio_hdu_count(f) <= compress; /* the flip hit XTENSION or the like */
            if (!code) code = frameio_verify_checksums(f, &e);
            assert_true(code == ERR_CORRUPT || (code == ERR_OK && lost));
            frameio_close(f);
        }
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frameio__u16_survives_plain_and_compressed),
        cmocka_unit_test(test_frameio__odd_names_are_only_names),
        cmocka_unit_test(test_frameio__gz_and_bz2_read_as_plain),
        cmocka_unit_test(test_frameio__floats_keep_nan),
        cmocka_unit_test(test_frameio__truncated_at_every_block_is_corrupt),
        cmocka_unit_test(test_frameio__absurd_headers_are_refused),
        cmocka_unit_test(test_frameio__things_that_are_no_files),
        cmocka_unit_test(test_frameio__a_hundred_thousand_cards),
        cmocka_unit_test(test_frameio__cube_of_one_plane_blank_and_scaling),
        cmocka_unit_test(test_frameio__extension_inherits_from_the_primary),
        cmocka_unit_test(test_frameio__same_input_same_bytes),
        cmocka_unit_test(test_frameio__damaged_tail_is_a_doubt),
        cmocka_unit_test(test_frameio__product_comes_back),
        cmocka_unit_test(test_frameio__flipped_bits_meet_the_checksum),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
