/* A FITS file from any bytes: all HDUs, headers, pixels, tables and checksums are read, and a frame that could be read is
 * written as a product and read again. The bytes are a file in memory, so that .gz and .bz2 are met too. */
#include "common/frameio.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PIXELS_MAX (1 << 18) /* larger images say nothing new and cost time */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_pixels(struct frameio_in *f, int hdu, const struct hdu_info *info)
{
    int64_t n = info->axis[0] * info->axis[1];
    if (info->axis[0] < 1 || info->axis[0] > PIXELS_MAX || info->axis[1] < 1 || info->axis[1] > PIXELS_MAX || n > PIXELS_MAX) return;
    float *f32 = malloc((size_t)n * sizeof *f32);
    uint16_t *u16 = malloc((size_t)n * sizeof *u16);
    if (f32 && u16) {
        frameio_read_rows_f32(f, hdu, 0, info->axis[1], f32, NULL);
        frameio_read_rows_u16(f, hdu, info->axis[1] / 2, info->axis[1], u16, NULL);
    }
    free(f32);
    free(u16);
}

static void read_hdus(const char *path)
{
    struct frameio_in *f = NULL;
    struct error err = ERROR_INIT;
    char line[1400];
    if (frameio_open(path, &f, &err)) {
        if (!err.message[0] || !error_line(&err, line, sizeof line)) abort();
        return;
    }
    for (int hdu = 1; hdu <= frameio_hdu_count(f); hdu++) {
        struct hdu_info info;
        struct header h;
        header_init(&h);
        if (frameio_hdu_info(f, hdu, &info, NULL) == ERR_OK && info.kind == HDU_IMAGE) read_pixels(f, hdu, &info);
        frameio_hdu_header(f, hdu, &h, NULL);
        header_release(&h);
    }
    frameio_verify_checksums(f, NULL);
    frameio_close(f);
}

static void read_table(const char *path)
{
    struct table *t = NULL;
    if (table_read(path, NULL, 0, &t, NULL)) return;
    for (int c = 0; c < table_ncol(t); c++) {
        const double *f64 = table_f64(t, c);
        const int64_t *i64 = table_i64(t, c);
        int64_t n = table_nrow(t), k = table_repeat(t, c);
        volatile double sum; /* ASan looks at the last element */
        sum = n && k && f64 ? f64[n * k - 1] : 0;
        if (n && k && i64) sum += (double)i64[n * k - 1];
        for (int64_t row = 0; row < n && row < 10; row++) {
            const char *text = table_str(t, c, row);
            if (text) sum += (double)strlen(text);
        }
        (void)sum;
    }
    table_free(t);
}

/* Whatever was read can be written: odd cards are mended, and what comes back has the same shape. */
static void round_trip(const char *path)
{
    struct header h;
    header_init(&h);
    frameio_read_header(path, 0, &h, NULL);
    header_release(&h);
    struct frame f, g;
    frame_init(&f);
    frame_init(&g);
    char out[64];
    snprintf(out, sizeof out, "/tmp/nightshift-fuzz-%d.fits", (int)getpid());
    struct frameio_in *in = NULL;
    bool small = false;
    if (frameio_open(path, &in, NULL) == ERR_OK) {
        struct hdu_info info;
        int hdu = frameio_first_image(in);
        small = hdu && frameio_hdu_info(in, hdu, &info, NULL) == ERR_OK && info.axis[0] < 4096 && info.axis[1] < 64;
        frameio_close(in);
    }
    if (small && frameio_read_product(path, &f, NULL) == ERR_OK) {
        struct frameio_write_options opt = {.compress = f.nx % 2, .quantise_q = (float)(f.ny % 3 * 2), .dither_seed = (int)f.nx};
        if (frameio_write_product(out, &f, &opt, NULL)) abort();
        if (frameio_read_product(out, &g, NULL) || g.nx != f.nx || g.ny != f.ny) abort();
        unlink(out);
    }
    frame_release(&f);
    frame_release(&g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    int fd = memfd_create("input", 0);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    read_hdus(path);
    read_table(path);
    round_trip(path);
    close(fd);
    return 0;
}
