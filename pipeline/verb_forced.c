/* nightshift forced POSITIONS IMAGE [-o OUT]: flux at given places, upper limits where nothing is seen. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/arena.h"
#include "common/atomicfile.h"
#include "common/cli.h"
#include "common/frameio.h"
#include "common/log.h"
#include "common/products.h"
#include "pipeline/forced.h"
#include "pipeline/imageopen.h"
#include "pipeline/pipeline_verbs.h"

#define REASON_WIDTH 20
#define LINE_ROOM    512

struct forced_run {
    struct cli cli;
    const char *output;
    int hdu;
    bool recentre;
    struct extract_options options;
    struct forced_options forced;
    struct forced_list list;
    struct frame frame;
    struct skycoord *sky;
    struct extract_scene scene;
    struct forced_row *row;
};

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static double mjd_of(const struct header *h)
{
    double mjd = NAN, start, exptime;
    if (header_get_double(h, KEY_MJD_MID, &mjd)) return mjd;
    if (!header_get_double(h, "MJD-OBS", &start)) return NAN;
    return header_get_double(h, "EXPTIME", &exptime) ? start + 0.5 * exptime / 86400 : start;
}

/* ---- CSV -------------------------------------------------------------------------------------------------------------- */

static int put_value(char *to, size_t size, double v, const char *format)
{
    if (!isfinite(v)) return 0;
    return snprintf(to, size, format, v);
}

/* An id as a CSV cell: quoted when it must be. */
static int put_name(char *to, size_t size, const char *name)
{
    bool plain = !strpbrk(name, ",\"\n\r");
    size_t used = 0;
    if (plain) return snprintf(to, size, "%s", name);
    to[used++] = '"';
    for (const char *c = name; *c && used + 3 < size; c++) {
        if (*c == '"') to[used++] = '"';
        to[used++] = *c;
    }
    to[used++] = '"';
    return (int)used;
}

static int csv_line(const struct forced_run *r, int64_t i, double mjd, char *line)
{
    const struct forced_row *w = &r->row[i];
    const struct {
        double value;
        const char *format;
    } cells[] = {{w->ra, "%.8f"}, {w->dec, "%.8f"}, {w->x + 1, "%.4f"}, {w->y + 1, "%.4f"}, {(double)w->flux_psf, "%.7g"}, {(double)w->fluxerr_psf, "%.7g"},
                 {(double)w->upper_limit, "%.7g"}, {(double)w->flux_aper, "%.7g"}, {(double)w->fluxerr_aper, "%.7g"}, {(double)w->chi2, "%.5g"}};
    int n = r->list.name ? put_name(line, 200, r->list.name + i * r->list.name_width) : snprintf(line, 200, "%lld", (long long)r->list.id[i]);
    for (size_t k = 0; k < sizeof cells / sizeof cells[0]; k++) {
        line[n++] = ',';
        n += put_value(line + n, (size_t)(LINE_ROOM - n), cells[k].value, cells[k].format);
    }
    n += snprintf(line + n, (size_t)(LINE_ROOM - n), ",%d,%d,%s,", w->mask, w->flags, forced_reason(w->flags));
    n += put_value(line + n, (size_t)(LINE_ROOM - n), mjd, "%.8f");
    line[n++] = '\n';
    return n;
}

static enum err write_csv(const struct forced_run *r, struct error *err)
{
    static const char head[] = "object_id,ra,dec,x,y,flux_psf,fluxerr_psf,upper_limit,flux_aper,fluxerr_aper,chi2,mask,flags,reason,mjd\n";
    size_t used = sizeof head - 1, room = used + (size_t)r->list.n * LINE_ROOM;
    char *text = mem_array(room, 1);
    if (!text) return ERROR(err, ERR_NOMEM, "no memory for '%s'", r->output);
    memcpy(text, head, used);
    double mjd = mjd_of(&r->frame.header);
    for (int64_t i = 0; i < r->list.n; i++) used += (size_t)csv_line(r, i, mjd, text + used);
    enum err e = atomicfile_write(r->output, text, used, err);
    free(text);
    return e;
}

/* ---- FITS ------------------------------------------------------------------------------------------------------------- */

/* Columns of the table: memory in one block. */
struct columns {
    double *ra, *dec, *x, *y, *mjd;
    float *flux[6];
    int32_t *mask;
    int16_t *flags;
    char *reason;
};

static bool columns_alloc(struct columns *c, int64_t n)
{
    size_t room = (size_t)(n ? n : 1);
    double **const d[] = {&c->ra, &c->dec, &c->x, &c->y, &c->mjd};
    bool good = true;
    for (int k = 0; k < 5; k++) good &= (*d[k] = mem_array(room, sizeof(double))) != NULL;
    for (int k = 0; k < 6; k++) good &= (c->flux[k] = mem_array(room, sizeof(float))) != NULL;
    c->mask = mem_array(room, sizeof *c->mask);
    c->flags = mem_array(room, sizeof *c->flags);
    c->reason = mem_zarray(room, REASON_WIDTH);
    return good && c->mask && c->flags && c->reason;
}

static void columns_free(struct columns *c)
{
    double *const d[] = {c->ra, c->dec, c->x, c->y, c->mjd};
    for (int k = 0; k < 5; k++) free(d[k]);
    for (int k = 0; k < 6; k++) free(c->flux[k]);
    free(c->mask);
    free(c->flags);
    free(c->reason);
}

static void columns_fill(const struct forced_run *r, struct columns *c)
{
    double mjd = mjd_of(&r->frame.header);
    for (int64_t i = 0; i < r->list.n; i++) {
        const struct forced_row *w = &r->row[i];
        const float v[6] = {w->flux_psf, w->fluxerr_psf, w->upper_limit, w->flux_aper, w->fluxerr_aper, w->chi2};
        c->ra[i] = w->ra;
        c->dec[i] = w->dec;
        c->x[i] = w->x + 1;
        c->y[i] = w->y + 1;
        c->mjd[i] = mjd;
        for (int k = 0; k < 6; k++) c->flux[k][i] = v[k];
        c->mask[i] = w->mask;
        c->flags[i] = w->flags;
        snprintf(c->reason + i * REASON_WIDTH, REASON_WIDTH, "%s", forced_reason(w->flags));
    }
}

static enum err forced_cards(struct forced_run *r, struct header *h, struct error *err)
{
    enum err e = extract_header_cards(&r->scene, &r->options, r->list.n, h);
    if (!e) e = header_set_str(h, "NSFORCED", base_name(r->cli.operands.v[0]), "list of positions");
    if (!e) e = header_set_str(h, "NSFORSUM", r->list.sum, "its SHA-256");
    if (!e) e = header_set_double(h, "NSFORSIG", r->forced.limit_sigma, "UPPER_LIMIT in FLUXERR_PSF");
    if (!e) e = header_set_double(h, "NSFORAP", r->forced.aperture_fwhm * r->scene.psf.fwhm, "[pixel] diameter of FLUX_APER");
    if (!e) e = header_set_bool(h, "NSFORFIT", r->recentre, "places were fitted");
    return e ? ERROR(err, e, "no memory for cards") : ERR_OK;
}

static enum err write_fits(struct forced_run *r, struct error *err)
{
    struct columns c = {0};
    struct column id = {.name = "OBJECT_ID", .comment = "as the list has it", .ucd = "meta.id;meta.main", .type = COLUMN_I64, .repeat = 1, .data = r->list.id};
    if (r->list.name) id.type = COLUMN_STRING, id.repeat = r->list.name_width, id.data = r->list.name;
    const char *unit = r->frame.unit[0] ? r->frame.unit : "count";
    enum err e = columns_alloc(&c, r->list.n) ? forced_cards(r, &r->frame.header, err) : ERROR(err, ERR_NOMEM, "no memory for a table of %lld rows", (long long)r->list.n);
    if (!e) {
        columns_fill(r, &c);
        const struct column columns[] = {
            id,
            {"RA", "deg", "right ascension, ICRS", "pos.eq.ra;meta.main", "F12.7", COLUMN_F64, 1, c.ra, NULL},
            {"DEC", "deg", "declination, ICRS", "pos.eq.dec;meta.main", "F12.7", COLUMN_F64, 1, c.dec, NULL},
            {"X", "pixel", "place in the image, first pixel 1", "pos.cartesian.x", "F11.4", COLUMN_F64, 1, c.x, NULL},
            {"Y", "pixel", "place in the image, first pixel 1", "pos.cartesian.y", "F11.4", COLUMN_F64, 1, c.y, NULL},
            {"FLUX_PSF", unit, "total flux of the PSF held there", "phot.count;meta.main", "G12.7", COLUMN_F32, 1, c.flux[0], NULL},
            {"FLUXERR_PSF", unit, "its error", "stat.error;phot.count", "G12.7", COLUMN_F32, 1, c.flux[1], NULL},
            {"UPPER_LIMIT", unit, "flux that would have been seen (NSFORSIG errors)", "phot.count;stat.max", "G12.7", COLUMN_F32, 1, c.flux[2], NULL},
            {"FLUX_APER", unit, "total flux from the aperture", "phot.count", "G12.7", COLUMN_F32, 1, c.flux[3], NULL},
            {"FLUXERR_APER", unit, "its error", "stat.error;phot.count", "G12.7", COLUMN_F32, 1, c.flux[4], NULL},
            {"CHI2", "", "reduced chi-square of the PSF fit", "stat.fit.chi2", "G10.4", COLUMN_F32, 1, c.flux[5], NULL},
            {"MASK", "", "mask planes met within one FWHM (OR)", "meta.code.qual", "I9", COLUMN_I32, 1, c.mask, NULL},
            {"FLAGS", "", "flags of the fit; 512 outside, 1024 no position", "meta.code.qual", "I5", COLUMN_I16, 1, c.flags, NULL},
            {"REASON", "", "why there is no flux", "meta.note", "A20", COLUMN_STRING, REASON_WIDTH, c.reason, NULL},
            {"MJD", "d", "middle of the exposure, UTC", "time.epoch", "F15.8", COLUMN_F64, 1, c.mjd, NULL},
        };
        struct ldac_part part = {.image_header = &r->frame.header,
                                 .objects = {.extname = EXT_LDAC_OBJECTS, .nrow = r->list.n, .ncol = (int)(sizeof columns / sizeof columns[0]), .columns = columns}};
        e = frameio_write_ldac(r->output, &part, 1, err);
    }
    columns_free(&c);
    return e;
}

/* ---- the verb --------------------------------------------------------------------------------------------------------- */

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && !strcasecmp(name + n - m, end);
}

static enum err refuse_database(const char *name, struct error *err)
{
    if (!strncasecmp(name, "postgres://", 11) || !strncasecmp(name, "postgresql://", 13) || !strncasecmp(name, "dbname=", 7)) {
        enum err e = ERROR(err, ERR_USAGE, "forced reads files, never a database");
        error_hint(err, "export the positions to CSV or FITS first");
        return e;
    }
    return ERR_OK;
}

static enum err check_request(const struct forced_run *r, struct error *err)
{
    if (r->cli.operands.n != 2) {
        enum err e = ERROR(err, ERR_USAGE, "a list of positions and one image are wanted, %d names were given", r->cli.operands.n);
        error_hint(err, "nightshift forced POSITIONS IMAGE -o OUT");
        return e;
    }
    for (int i = 0; i < 2; i++) {
        enum err e = refuse_database(r->cli.operands.v[i], err);
        if (e) return e;
    }
    if (!r->output) {
        enum err e = ERROR(err, ERR_USAGE, "no name for the table");
        error_hint(err, "add -o FILE.fits or -o FILE.csv");
        return e;
    }
    return r->hdu < 0 ? ERROR(err, ERR_USAGE, "HDUs are counted from 1") : ERR_OK;
}

static enum err settle_options(struct forced_run *r, struct error *err)
{
    const struct settings *s = r->cli.settings;
    extract_options_init(&r->options);
    r->forced = (struct forced_options){settings_double(s, SET_FORCED_LIMIT), settings_double(s, SET_FORCED_APERTURE), r->recentre};
    return extract_options_from_settings(&r->options, s, err);
}

static enum err measure_image(struct forced_run *r, struct error *err)
{
    const char *image = r->cli.operands.v[1];
    enum err e = forced_list_read(r->cli.operands.v[0], &r->list, err);
    if (e) return e;
    e = image_open(image, r->hdu, &r->frame, &r->sky, err);
    if (!e) e = forced_measure(&r->frame, r->sky, &r->options, &r->list, &r->forced, &r->scene, &r->row, err);
    if (!e) e = ends_with(r->output, ".csv") ? write_csv(r, err) : write_fits(r, err);
    error_subject(err, image, r->hdu);
    return e;
}

static void report(const struct forced_run *r, double seconds)
{
    int64_t measured = 0, seen = 0;
    for (int64_t i = 0; i < r->list.n; i++) {
        measured += isfinite(r->row[i].flux_psf);
        seen += r->row[i].flux_psf >= r->row[i].upper_limit;
    }
    log_event(LOG_INFO, "measured", LOG_STR("image", r->cli.operands.v[1]), LOG_INT("positions", r->list.n), LOG_INT("measured", measured),
              LOG_INT("seen", seen), LOG_DOUBLE("psf_fwhm_px", r->scene.psf.fwhm), LOG_INT("psf_stars", r->scene.psf.nstar),
              LOG_DOUBLE("elapsed_ms", 1e3 * seconds));
    if (r->scene.psf.flags & PSF_FALLBACK) log_text(LOG_WARN, "too few stars for a PSF: a Moffat profile of %.2f pixels was used", r->scene.psf.fwhm);
}

static void run_release(struct forced_run *r)
{
    forced_list_release(&r->list);
    extract_scene_release(&r->scene);
    skycoord_free(r->sky);
    frame_release(&r->frame);
    extract_options_release(&r->options);
    free(r->row);
    free(r);
}

static int run_verb(struct forced_run *r)
{
    struct error err = ERROR_INIT;
    double start = clock_seconds();
    enum err e = check_request(r, &err);
    if (!e) e = settle_options(r, &err);
    if (!e) e = measure_image(r, &err);
    if (e) return cli_fail(&r->cli, &err);
    report(r, clock_seconds() - start);
    return EXIT_ALL_GOOD;
}

int verb_forced(int argc, char **argv)
{
    static const struct verb verb = {"forced", verb_forced, "POSITIONS IMAGE -o OUT", "flux and upper limits at given positions of an image"};
    struct forced_run *r = calloc(1, sizeof *r);
    if (!r) return cli_no_memory(&verb);
    const struct cli_option options[] = {
        {"--output,-o", CLI_STRING, &r->output, "FILE", "the table: CSV when the name ends in .csv, else FITS_LDAC"},
        {"--hdu", CLI_INT, &r->hdu, "N", "HDU of the image, from 1; by default the first one, or SCI of a reduced frame"},
        {"--recentre", CLI_FLAG, &r->recentre, NULL, "places of the list are where to begin, not where to stay"},
        {0},
    };
    frame_init(&r->frame);
    extract_scene_init(&r->scene);
    int code = cli_parse(&r->cli, &verb, argc, argv, options);
    if (code < 0) {
        code = run_verb(r);
        cli_release(&r->cli);
    }
    run_release(r);
    return code;
}
