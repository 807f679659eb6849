/* nightshift inspect FILE...: what a FITS file holds, what its header means, statistics of its planes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/cli.h"
#include "common/frameio.h"
#include "common/instrument.h"
#include "common/stats.h"
#include "pipeline/pipeline_verbs.h"
#include "pipeline/rawimage.h"

#define SAMPLE_MAX (1 << 20)

static void print_number(const char *name, double v, const char *unit)
{
    if (isfinite(v)) printf("    %-14s %.10g%s%s\n", name, v, *unit ? " " : "", unit);
}

static void print_text(const char *name, const char *v)
{
    if (v[0]) printf("    %-14s %s\n", name, v);
}

static void print_amp(const struct amp *a)
{
    printf("    amplifier %-4s data [%lld:%lld,%lld:%lld]", a->name, (long long)a->data.x0 + 1, (long long)a->data.x1,
           (long long)a->data.y0 + 1, (long long)a->data.y1);
    if (a->overscan.x1 > a->overscan.x0) printf(" overscan columns %lld:%lld", (long long)a->overscan.x0 + 1, (long long)a->overscan.x1);
    if (isfinite(a->gain_e_per_adu)) printf(" gain %.4g e-/ADU", a->gain_e_per_adu);
    else printf(" gain unknown");
    if (isfinite(a->rdnoise_e)) printf(" read noise %.4g e-", a->rdnoise_e);
    else printf(" read noise unknown");
    if (isfinite(a->saturate_adu)) printf(" saturation %.6g ADU", a->saturate_adu);
    printf("\n");
}

static void print_meta(const struct exposure_meta *m)
{
    print_text("instrument", m->instrument);
    print_text("type", frame_type_name(m->type));
    print_text("exposure id", m->exposure_id);
    print_text("object", m->object);
    print_text("filter", m->filter);
    if (m->ccd > 0) printf("    %-14s %d of %d\n", "CCD", m->ccd, m->nccd);
    printf("    %-14s %d x %d\n", "binning", m->binning_x, m->binning_y);
    printf("    %-14s %lld x %lld stored, %lld x %lld trimmed\n", "size", (long long)m->raw_nx, (long long)m->raw_ny, (long long)m->nx, (long long)m->ny);
    print_number("exposure", m->exptime_s, "s");
    print_text("DATE-OBS", m->date_obs);
    print_number("MJD of middle", m->mjd_mid, "UTC");
    if (m->night) printf("    %-14s %08d%s\n", "night", m->night, m->longitude_assumed ? " (longitude 0 assumed)" : "");
    print_number("RA", m->ra_deg, "deg");
    print_number("Dec", m->dec_deg, "deg");
    print_number("pixel scale", m->pixel_scale_arcsec, "arcsec");
    print_number("airmass", m->airmass, "");
    print_number("CCD temp.", m->ccd_temp_c, "C");
    static const char *const trust[] = {"none", "approximate", "good"};
    print_text("WCS", trust[m->wcs]);
    for (int a = 0; a < m->namp; a++) print_amp(&m->amp[a]);
    print_text("problem", m->problem);
    print_text("note", m->note);
}

/* At most SAMPLE_MAX pixels, whole rows, evenly spread. */
static enum err print_statistics(struct frameio_in *f, int hdu, const struct hdu_info *info, struct error *err)
{
    int64_t nx = info->axis[0], ny = info->axis[1], step = nx * ny / SAMPLE_MAX + 1, n = 0;
    float *values = mem_array((size_t)(nx * (ny / step + 1)), sizeof *values), *work = mem_array((size_t)(nx * (ny / step + 1)), sizeof *work);
    enum err code = values && work ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory for statistics");
    for (int64_t y = 0; y < ny && !code; y += step, n++) code = frameio_read_rows_f32(f, hdu, y, y + 1, values + n * nx, err);
    if (!code) {
        struct clipped c = clipped_stats_f32(values, n * nx, work, 3, 3, 20);
        float low = INFINITY, high = -INFINITY;
        int64_t blank = 0;
        for (int64_t i = 0; i < n * nx; i++) {
            if (isnan(values[i])) blank++;
            if (values[i] < low) low = values[i];
            if (values[i] > high) high = values[i];
        }
        printf("    pixels         median %.6g, scatter %.6g, mean %.6g (clipped), from %.6g to %.6g%s, blank %lld\n", c.median, c.sigma, c.mean,
               (double)low, (double)high, step > 1 ? " in the rows looked at" : "", (long long)blank);
    }
    free(values);
    free(work);
    return code;
}

static enum err inspect_hdu(struct frameio_in *f, int hdu, struct error *err)
{
    static const char *const kind[] = {"image", "ASCII table", "table"};
    struct hdu_info info;
    enum err code = frameio_hdu_info(f, hdu, &info, err);
    if (code) return code;
    printf("  HDU %d %s%s%s%s", hdu, kind[info.kind], info.compressed ? ", compressed" : "", info.extname[0] ? ", " : "", info.extname);
    if (info.kind != HDU_IMAGE) {
        printf(", %lld columns, %lld rows\n", (long long)info.axis[0], (long long)info.axis[1]);
        return ERR_OK;
    }
    if (info.naxis < 2 || info.axis[0] < 1 || info.axis[1] < 1) {
        printf(", no pixels\n");
        return ERR_OK;
    }
    printf(", %lld x %lld, BITPIX %d%s\n", (long long)info.axis[0], (long long)info.axis[1], info.bitpix, info.unsigned16 ? " unsigned" : "");
    return print_statistics(f, hdu, &info, err);
}

static enum err inspect_file(const char *path, const struct instruments *set, const struct settings *s, struct error *err)
{
    struct frameio_in *f = NULL;
    struct raw_file *raw = NULL;
    int hdus[64];
    printf("%s\n", path);
    enum err code = frameio_open(path, &f, err);
    int count = code ? 0 : frameio_hdu_count(f);
    for (int hdu = 1; hdu <= count && !code; hdu++) code = inspect_hdu(f, hdu, err);
    frameio_close(f);
    if (!code) code = raw_file_open(path, set, s, &raw, err);
    int n = code ? 0 : raw_file_ccds(raw, hdus, 64);
    struct exposure_meta *m = n ? malloc(sizeof *m) : NULL;
    for (int i = 0; i < n && m && !code; i++) {
        struct header h = {0};
        code = frameio_read_header(path, hdus[i], &h, err);
        bool product = !code && header_is_product(&h); /* its amplifier sections tell of the raw frame it was made from */
        header_release(&h);
        if (!code && !product) code = raw_file_meta(raw, hdus[i], s, m, NULL, err);
        if (code) break;
        if (product) {
            printf("  HDU %d is a product: its NS* cards say how it was made\n", hdus[i]);
            continue;
        }
        printf("  meaning of HDU %d by %s\n", hdus[i], instrument_path(raw_file_instrument(raw)));
        print_meta(m);
    }
    free(m);
    raw_file_close(raw);
    if (code) error_subject(err, path, 0);
    return code;
}

int verb_inspect(int argc, char **argv)
{
    static const struct verb verb = {"inspect", verb_inspect, "FILE...", "what a FITS file holds and what its header means"};
    const struct cli_option options[] = {{0}};
    struct cli c = {0};
    struct error err = ERROR_INIT;
    struct instruments *set = NULL;
    int exit_code = cli_parse(&c, &verb, argc, argv, options);
    if (exit_code >= 0) return exit_code;
    enum err *codes = calloc((size_t)c.operands.n + 1, sizeof *codes);
    if (!codes) ERROR(&err, ERR_NOMEM, "no memory for %d files", c.operands.n);
    else if (!c.operands.n) ERROR(&err, ERR_USAGE, "name a FITS file");
    else instruments_load(c.settings, &set, &err);
    if (err.code) exit_code = cli_fail(&c, &err);
    else {
        for (int i = 0; i < c.operands.n; i++) {
            error_clear(&err);
            codes[i] = inspect_file(c.operands.v[i], set, c.settings, &err);
            fflush(stdout); /* what was found stands before the line that says what is wrong */
            if (codes[i]) cli_fail(&c, &err);
        }
        exit_code = err_exit_code_of_many(codes, c.operands.n);
    }
    free(codes);
    instruments_free(set);
    cli_release(&c);
    return exit_code;
}
