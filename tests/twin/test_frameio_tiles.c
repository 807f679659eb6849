/* Compressed images against cfitsio, both ways: what it packs we read as it does, what we pack it reads as we do. */
#include "common/frameio.h"
#include "common/frameio_codec.h"
#include "common/stats.h"
#include "tests/support/check.h"

#include <fitsio.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NX 333
#define NY 101
#define BLANK (-9.11912E-36f) /* cfitsio's own number for NaN on its way in */

static char *folder;
static char path[600];

static int make_folder(void **state)
{
    (void)state;
    folder = test_make_folder();
    snprintf(path, sizeof path, "%s/x.fits", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    test_remove_folder(folder);
    return 0;
}

/* Sky with noise; kind 1 adds a hard row of each sort: zeros, a constant, NaN, a huge range. */
static void fill(float *p, int kind, uint64_t seed)
{
    struct philox rng;
    philox_init(&rng, seed, 0);
    for (int i = 0; i < NX * NY; i++) p[i] = (float)(1000 + 10 * philox_normal(&rng));
    if (!kind) return;
    for (int x = 0; x < NX; x++) {
        p[5 * NX + x] = 0;
        p[6 * NX + x] = 7.5f;
        p[7 * NX + x] = NAN;
        p[8 * NX + x] *= x % 50 ? 1 : 1e12f;
        if (x % 7 == 0) p[9 * NX + x] = 0;
        if (x % 11 == 0) p[10 * NX + x] = NAN;
    }
}

static bool same(float a, float b)
{
    return a == b || (isnan(a) && isnan(b));
}

/* Read the image of HDU 2 by both and compare each pixel. */
static void compare(const char *what)
{
    static float ours[NX * NY], theirs[NX * NY];
    struct frameio_in *f = NULL;
    struct error err = ERROR_INIT;
    char line[1400];
    if (frameio_open(path, &f, &err) || frameio_read_rows_f32(f, 2, 0, NY, ours, &err))
        fail_msg("%s: %s", what, error_line(&err, line, sizeof line));
    frameio_close(f);
    fitsfile *file = NULL;
    int status = 0, any = 0;
    long first[2] = {1, 1};
    float nan = NAN;
    fits_open_diskfile(&file, path, READONLY, &status);
    fits_movabs_hdu(file, 2, NULL, &status);
    fits_read_pix(file, TFLOAT, first, NX * NY, &nan, theirs, &any, &status);
    fits_close_file(file, &status);
    assert_int_equal(status, 0);
    for (int i = 0; i < NX * NY; i++)
        if (!same(ours[i], theirs[i])) fail_msg("%s: pixel %d is %.9g, cfitsio says %.9g", what, i, ours[i], theirs[i]);
}

struct packing {
    const char *name;
    int codec, bitpix;
    float q;
    int dither;
    long tile[2];
};

/* cfitsio compresses only what comes in the image's own type. */
static void write_typed(fitsfile *file, int bitpix, const float *pixels, int *status)
{
    static double f64[NX * NY];
    static int32_t i32[NX * NY];
    static int16_t i16[NX * NY];
    static uint16_t u16[NX * NY];
    static uint8_t u8[NX * NY];
    long first[2] = {1, 1};
    float blank = BLANK;
    double wide = BLANK;
    for (int i = 0; i < NX * NY; i++) {
        f64[i] = pixels[i];
        i32[i] = bitpix > 0 ? (int32_t)pixels[i] : 0;
        i16[i] = (int16_t)i32[i];
        u16[i] = (uint16_t)i32[i];
        u8[i] = (uint8_t)i32[i];
    }
    switch (bitpix) {
    case FLOAT_IMG: fits_write_pixnull(file, TFLOAT, first, NX * NY, (void *)pixels, &blank, status); break;
    case DOUBLE_IMG: fits_write_pixnull(file, TDOUBLE, first, NX * NY, f64, &wide, status); break;
    case LONG_IMG: fits_write_pix(file, TINT, first, NX * NY, i32, status); break;
    case SHORT_IMG: fits_write_pix(file, TSHORT, first, NX * NY, i16, status); break;
    case USHORT_IMG: fits_write_pix(file, TUSHORT, first, NX * NY, u16, status); break;
    default: fits_write_pix(file, TBYTE, first, NX * NY, u8, status);
    }
}

static void pack_with_cfitsio(const struct packing *k, float *pixels)
{
    fitsfile *file = NULL;
    int status = 0;
    long axes[2] = {NX, NY};
    unlink(path);
    fits_create_diskfile(&file, path, &status);
    fits_set_compression_type(file, k->codec, &status);
    fits_set_tile_dim(file, 2, (long *)k->tile, &status);
    if (k->bitpix < 0) fits_set_quantize_level(file, k->q, &status);
    if (k->dither) fits_set_quantize_dither(file, k->dither, &status);
    fits_set_dither_seed(file, 9990, &status);
    fits_create_img(file, k->bitpix, 2, axes, &status);
    for (int i = 0; k->bitpix < 0 && i < NX * NY; i++) pixels[i] = isnan(pixels[i]) ? BLANK : pixels[i];
    write_typed(file, k->bitpix, pixels, &status);
    fits_close_file(file, &status);
    if (status) print_message("%s\n", k->name);
    assert_int_equal(status, 0);
}

static void test_tiles__read_as_cfitsio_reads(void **state)
{
    (void)state;
    static const struct packing packings[] = {
        {"rice 16", RICE_1, SHORT_IMG, 0, 0, {NX, 1}},
        {"rice u16", RICE_1, USHORT_IMG, 0, 0, {NX, 1}},
        {"rice 8", RICE_1, BYTE_IMG, 0, 0, {50, 20}},
        {"rice 32", RICE_1, LONG_IMG, 0, 0, {64, 64}},
        {"gzip1 16", GZIP_1, SHORT_IMG, 0, 0, {NX, 3}},
        {"gzip2 32", GZIP_2, LONG_IMG, 0, 0, {NX, NY}},
        {"hcompress 16", HCOMPRESS_1, SHORT_IMG, 0, 0, {NX, 16}},
        {"plio 16", PLIO_1, SHORT_IMG, 0, 0, {NX, 1}},
        {"rice float dither 1", RICE_1, FLOAT_IMG, 4, SUBTRACTIVE_DITHER_1, {NX, 1}},
        {"rice float dither 2", RICE_1, FLOAT_IMG, 16, SUBTRACTIVE_DITHER_2, {NX, 1}},
        {"rice float no dither", RICE_1, FLOAT_IMG, 4, NO_DITHER, {100, 7}},
        {"gzip1 float dither 2", GZIP_1, FLOAT_IMG, 4, SUBTRACTIVE_DITHER_2, {NX, 1}},
        {"gzip2 float dither 1", GZIP_2, FLOAT_IMG, 4, SUBTRACTIVE_DITHER_1, {NX, 40}},
        {"gzip1 lossless", GZIP_1, FLOAT_IMG, 0, 0, {NX, 1}},
        {"gzip2 lossless double", GZIP_2, DOUBLE_IMG, 0, 0, {NX, 1}},
        {"rice double", RICE_1, DOUBLE_IMG, 4, SUBTRACTIVE_DITHER_1, {NX, 1}},
    };
    static float pixels[NX * NY];
    for (size_t i = 0; i < sizeof packings / sizeof packings[0]; i++) {
        const struct packing *k = &packings[i];
        fill(pixels, k->bitpix < 0, 11 + i);
        if (k->bitpix == BYTE_IMG)
            for (int p = 0; p < NX * NY; p++) pixels[p] = (float)(((int)pixels[p] + 256) % 256);
        pack_with_cfitsio(k, pixels);
        compare(k->name);
    }
}

static void pack_here(enum image_type type, const void *data, float q)
{
    struct image_hdu hdu = {.type = type, .nx = NX, .ny = NY, .data = data};
    struct images_write_options opt = {.compress = true, .quantise_q = q, .dither_seed = 9990, .checksum = true};
    struct error err = ERROR_INIT;
    if (frameio_write_images(path, &hdu, 1, &opt, &err)) fail_msg("%s", err.message);
}

static void test_tiles__cfitsio_reads_what_is_written_here(void **state)
{
    (void)state;
    static float pixels[NX * NY];
    static uint16_t u16[NX * NY];
    static int16_t i16[NX * NY];
    static int32_t i32[NX * NY];
    static uint8_t u8[NX * NY];
    for (uint64_t seed = 1; seed < 20; seed++) {
        struct philox rng;
        philox_init(&rng, seed, 1);
        int narrow = (int)(seed % 17); /* from full range to almost nothing */
        for (int i = 0; i < NX * NY; i++) {
            uint32_t v = philox_u32(&rng);
            u16[i] = (uint16_t)((v & 0xffff) >> narrow);
            i16[i] = (int16_t)((int16_t)v >> narrow);
            i32[i] = (int32_t)v >> narrow;
            u8[i] = (uint8_t)((v & 0xff) >> narrow / 2);
        }
        fill(pixels, (int)(seed & 1), seed);
        pack_here(IMAGE_U16, u16, 0), compare("u16");
        pack_here(IMAGE_I16, i16, 0), compare("i16");
        pack_here(IMAGE_I32, i32, 0), compare("i32");
        pack_here(IMAGE_U8, u8, 0), compare("u8");
        pack_here(IMAGE_F32, pixels, 4), compare("f32 quantised");
        pack_here(IMAGE_F32, pixels, 0), compare("f32 lossless");
    }
}

static char *slurp(size_t *size)
{
    FILE *in = fopen(path, "rb");
    char *bytes = malloc(1 << 22);
    *size = fread(bytes, 1, 1 << 22, in);
    fclose(in);
    return bytes;
}

static void test_tiles__same_bytes_for_any_number_of_threads(void **state)
{
    (void)state;
    static float pixels[NX * NY];
    char *want = NULL;
    size_t size = 0, got;
    int before = omp_get_max_threads();
    fill(pixels, 1, 3);
    for (int threads = 1; threads <= 8; threads *= 2) {
        omp_set_num_threads(threads);
        pack_here(IMAGE_F32, pixels, 4);
        char *bytes = slurp(&got);
        if (want) {
            assert_int_equal(got, size);
            assert_memory_equal(bytes, want, size);
            free(bytes);
        } else {
            want = bytes;
            size = got;
        }
    }
    omp_set_num_threads(before);
    free(want);
}

static void test_codec__check_value_of_the_dither(void **state)
{
    (void)state;
    static float numbers[DITHER_COUNT];
    dither_numbers(numbers);
    assert_close(numbers[DITHER_COUNT - 1], 1043618065.0 / 2147483647.0, 1e-7); /* FITS 4.0, appendix I */
}

/* Damaged streams are refused or decoded to nonsense, never read or written outside the arrays (ASan watches). */
static void test_codec__damaged_streams(void **state)
{
    (void)state;
    enum { N = 500 };
    int32_t pixels[N], got[N];
    uint64_t seed = 20250530;
    struct philox rng;
    print_message("seed %llu\n", (unsigned long long)seed);
    philox_init(&rng, seed, 0);
    for (int round = 0; round < 2000; round++) {
        int bytes = 1 << philox_u32(&rng) % 3;
        for (int i = 0; i < N; i++) pixels[i] = (int32_t)(philox_u32(&rng) % 200);
        uint8_t *stream = malloc(rice_bound(N));
        size_t size = rice_encode(pixels, N, bytes, 32, stream);
        assert_true(rice_decode(stream, size, N, bytes, 32, got));
        assert_memory_equal(got, pixels, sizeof pixels);
        size_t keep = philox_u32(&rng) % (size + 1);
        uint8_t *cut = malloc(keep + !keep);
        memcpy(cut, stream, keep);
        for (int k = 0; keep && k < 5; k++) cut[philox_u32(&rng) % keep] ^= (uint8_t)(1u << philox_u32(&rng) % 8);
        rice_decode(cut, keep, N, bytes, 1 + (int)(philox_u32(&rng) % 256), got);
        free(cut);
        free(stream);
    }
}

/* Flipped bits and cuts in streams of the other codecs. cfitsio itself hangs on some of these. */
static void test_codec__damaged_tiles_of_old_files(void **state)
{
    (void)state;
    enum { ROWS = 17, COLUMNS = 23, N = ROWS * COLUMNS };
    uint64_t seed = 20250531;
    struct philox rng;
    print_message("seed %llu\n", (unsigned long long)seed);
    philox_init(&rng, seed, 0);
    for (int round = 0; round < 3000; round++) {
        LONGLONG pixels[N];
        int64_t work[N];
        int32_t got[N], want[N];
        char stream[16 * N + 1000];
        long size = sizeof stream;
        int status = 0, wide = (int)(philox_u32(&rng) % 30);
        for (int i = 0; i < N; i++) pixels[i] = want[i] = (int32_t)philox_u32(&rng) >> (2 + wide);
        fits_hcompress64(pixels, COLUMNS, ROWS, 0, stream, &size, &status);
        assert_int_equal(status, 0);
        assert_true(hcompress_decode((const uint8_t *)stream, (size_t)size, N, work, got));
        assert_memory_equal(got, want, sizeof want);
        size_t keep = philox_u32(&rng) % ((size_t)size + 1);
        uint8_t *cut = malloc(keep + !keep);
        memcpy(cut, stream, keep);
        for (int k = 0; keep && k < 4; k++) cut[philox_u32(&rng) % keep] ^= (uint8_t)(1u << philox_u32(&rng) % 8);
        hcompress_decode(cut, keep, N, work, got);
        plio_decode(cut, keep, N, got);
        free(cut);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tiles__read_as_cfitsio_reads), cmocka_unit_test(test_tiles__cfitsio_reads_what_is_written_here),
        cmocka_unit_test(test_tiles__same_bytes_for_any_number_of_threads), cmocka_unit_test(test_codec__check_value_of_the_dither),
        cmocka_unit_test(test_codec__damaged_streams), cmocka_unit_test(test_codec__damaged_tiles_of_old_files),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
