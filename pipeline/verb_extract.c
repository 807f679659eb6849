#include "pipeline/verb_extract.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/arena.h"
#include "common/cli.h"
#include "common/frameio.h"
#include "common/log.h"
#include "common/products.h"
#include "pipeline/asciicat.h"
#include "pipeline/checkimage.h"
#include "pipeline/extract.h"
#include "pipeline/imageopen.h"
#include "pipeline/pipeline_verbs.h"

struct run {
    struct cli cli;
    const char *output, *sex_file;
    int hdu;
    const char *compat;        /* "sextractor", NULL: not said */
    bool drop_in;              /* -c, -KEY or --compat: Source Extractor's choices */
    bool two;                  /* detected in one image, measured in another */
    struct sex_config sex;
    int nkeys;
    const char *keys[128][2];  /* in argv */
    struct extract_options options;
    struct frame frame;
    struct skycoord *sky;
    struct extract_scene scene;
    struct detections detections;
    struct frame_quality quality;
};

/* ---- command line ----------------------------------------------------------------------------------------------- */

/* -KEY value: kept in order, applied after the .sex file. */
static int take_key(void *user, int argc, char **argv)
{
    struct run *r = user;
    const char *key = argv[0] + 1;
    if (argv[0][0] != '-' || !sex_key_is_known(key)) return 0;
    if (argc < 2) {
        log_text(LOG_ERROR, "%s wants a value", argv[0]);
        return -1;
    }
    if (r->nkeys == (int)(sizeof r->keys / sizeof r->keys[0])) {
        log_text(LOG_ERROR, "more than %d -KEY value pairs", r->nkeys);
        return -1;
    }
    r->keys[r->nkeys][0] = key;
    r->keys[r->nkeys++][1] = argv[1];
    return 2;
}

static enum err load_sex(struct run *r, struct error *err)
{
    sex_config_defaults(&r->sex);
    enum err e = r->sex_file ? sex_config_read(&r->sex, r->sex_file, err) : ERR_OK;
    for (int i = 0; !e && i < r->nkeys; i++) e = sex_config_set(&r->sex, r->keys[i][0], r->keys[i][1], "command line", err);
    if (e) return e;
    if (r->sex.ignored[0] && r->sex.verbose_type != SEX_QUIET) log_text(LOG_WARN, "no effect here: %s", r->sex.ignored);
    if (r->sex.unknown[0]) log_text(LOG_WARN, "not a key of Source Extractor: %s", r->sex.unknown);
    return ERR_OK;
}

/* Columns nobody measures, named in one line. */
static void name_columns_left_out(const struct run *r)
{
    struct sex_params p;
    if (!r->sex.parameters_name[0] || sex_params_read(&p, r->sex.parameters_name, NULL)) return;
    if (p.ignored[0]) log_text(LOG_WARN, "columns left out, this program does not measure them: %s", p.ignored);
}

static enum err load_options(struct run *r, struct error *err)
{
    extract_options_init(&r->options);
    enum err e = extract_options_from_settings(&r->options, r->cli.settings, err);
    if (!e && r->compat && strcmp(r->compat, "sextractor")) {
        e = ERROR(err, ERR_USAGE, "--compat '%.40s' is not known", r->compat);
        error_hint(err, "--compat sextractor makes Source Extractor's choices; without it this program's own are made");
    }
    r->drop_in = r->sex_file || r->nkeys || r->compat;
    if (e || !r->drop_in) return e;
    if ((e = load_sex(r, err))) return e;
    name_columns_left_out(r);
    if (!r->output && r->sex.given[SEX_CATALOG_NAME]) r->output = r->sex.catalog_name;
    e = extract_options_from_sex(&r->options, &r->sex, err);
    for (int i = 0; i < r->sex.checkimage_type.n; i++)
        if (!strcasecmp(r->sex.checkimage_type.w[i], "APERTURES")) checkimage_want_radii(&r->options);
    return e;
}

/* ---- input ------------------------------------------------------------------------------------------------------ */

static enum err load_weight(struct extract_options *o, const char *path, struct error *err)
{
    if (o->noise != NOISE_RMS && o->noise != NOISE_VARIANCE_MAP && o->noise != NOISE_WEIGHT) return ERR_OK;
    struct frame w;
    frame_init(&w);
    enum err e = frameio_read_image(path, 0, &w, err);
    if (!e) {
        o->weight = w.sci;
        o->weight_nx = w.nx;
        o->weight_ny = w.ny;
        w.sci = NULL;
    }
    frame_release(&w);
    return e;
}

/* "DETECTION,MEASURED": two images, unless a file has that very name. Returned: false for one image. */
static bool split_operand(const char *operand, char *first, const char **second)
{
    const char *comma = strchr(operand, ',');
    if (!comma || !comma[1] || comma - operand >= 4096 || access(operand, F_OK) == 0) return false;
    snprintf(first, 4096, "%.*s", (int)(comma - operand), operand);
    *second = comma + 1;
    return true;
}

/* Dual-image mode: the first image is detected in, with the first words of the weight keys. */
static enum err extract_two(struct run *r, const char *detection, const char *measured, struct error *err)
{
    struct frame other;
    struct skycoord *sky = NULL;
    struct extract_options how = r->options; /* what it owns stays the options' */
    how.weight = NULL;
    frame_init(&other);
    if (r->options.matched) {
        ERROR(err, ERR_UNSUPPORTED, "two images are taken with Source Extractor's choices alone");
        error_hint(err, "add -c FILE.sex");
        return ERR_UNSUPPORTED;
    }
    extract_options_noise(&r->options, r->sex.weight_type2);
    enum err e = image_open(detection, r->hdu, &other, &sky, err);
    if (!e) e = load_weight(&how, r->sex.weight_image, err);
    if (!e) e = load_weight(&r->options, r->sex.weight_image2, err);
    if (!e) e = image_open(measured, r->hdu, &r->frame, &r->sky, err);
    if (!e) e = extract_dual(&other, &how, &r->frame, r->sky, &r->options, &r->detections, &r->scene, err);
    free(how.weight);
    skycoord_free(sky);
    frame_release(&other);
    return e;
}

static enum err apply_flags(struct run *r, struct error *err)
{
    struct frame f;
    frame_init(&f);
    /* default.sex names a flag image that nobody has: it counts when a column asks for flags, as in Source Extractor */
    bool wanted = r->options.measure.want[DET_imaflags] || r->options.measure.want[DET_nimaflags];
    if (!r->drop_in || !wanted || !r->sex.given[SEX_FLAG_IMAGE] || !r->sex.flag_image[0]) return ERR_OK;
    enum err e = frameio_read_image(r->sex.flag_image, 0, &f, err);
    if (!e && (f.nx != r->frame.nx || f.ny != r->frame.ny)) e = ERROR(err, ERR_SHAPE, "the flag image '%s' has another size than the image", r->sex.flag_image);
    int32_t *flag = e ? NULL : mem_array((size_t)frame_npix(&f), sizeof *flag);
    if (!e && !flag) e = ERROR(err, ERR_NOMEM, "no memory for the flag image");
    for (int64_t i = 0; !e && i < frame_npix(&f); i++) flag[i] = f.sci[i] > -2e9f && f.sci[i] < 2e9f ? (int32_t)f.sci[i] : 0;
    if (!e) extract_flag_image(&r->scene.objects, flag, f.nx, r->sex.flag_type, &r->options, &r->detections);
    free(flag);
    frame_release(&f);
    return e;
}

/* ---- catalogue -------------------------------------------------------------------------------------------------- */

/* Columns that were filled, in the order asked; those that were not are named. */
static int filled_columns(const struct run *r, enum detection_column *ret)
{
    char missing[512] = "";
    int n = 0;
    for (int i = 0; i < r->options.ncolumn; i++) {
        enum detection_column c = r->options.column[i];
        if (r->detections.has[c]) {
            ret[n++] = c;
            continue;
        }
        size_t used = strlen(missing);
        snprintf(missing + used, sizeof missing - used, "%s%s", used ? ", " : "", detection_column_name(c));
    }
    if (missing[0] && r->drop_in) log_text(LOG_WARN, "columns left out%s: %s", r->sky ? "" : " for want of sky coordinates", missing);
    return n;
}

static enum err write_catalog(struct run *r, struct error *err)
{
    enum detection_column which[DETECTION_COLUMN_COUNT];
    struct column columns[DETECTION_COLUMN_COUNT];
    int type = r->drop_in ? r->sex.catalog_type : SEX_CATALOG_FITS_LDAC, n = filled_columns(r, which);
    if (type == SEX_CATALOG_NONE) return ERR_OK;
    detections_columns(&r->detections, which, n, r->frame.unit[0] ? r->frame.unit : "count", columns);
    if (type == SEX_CATALOG_ASCII || type == SEX_CATALOG_ASCII_HEAD)
        return asciicat_write(r->output, columns, n, r->detections.n, type == SEX_CATALOG_ASCII_HEAD, err);
    enum err e = extract_header_cards(&r->scene, &r->options, r->detections.n, &r->frame.header);
    if (e) return ERROR(err, e, "no memory for the catalogue's header");
    struct table_hdu table = {.extname = type == SEX_CATALOG_FITS_1_0 ? "OBJECTS" : EXT_LDAC_OBJECTS, .nrow = r->detections.n, .ncol = n, .columns = columns};
    if (type == SEX_CATALOG_FITS_1_0) return frameio_write_tables(r->output, NULL, &table, 1, err);
    struct ldac_part part = {.image_header = &r->frame.header, .objects = table};
    return frameio_write_ldac(r->output, &part, 1, err);
}

/* ---- check-images ----------------------------------------------------------------------------------------------- */

static enum err write_check_images(const struct run *r, struct error *err)
{
    struct check_input in = {.frame = &r->frame, .scene = &r->scene, .options = &r->options, .detections = &r->detections, .two = r->two};
    for (int i = 0; r->drop_in && i < r->sex.checkimage_type.n; i++) {
        const char *type = r->sex.checkimage_type.w[i];
        if (!strcasecmp(type, "NONE")) continue;
        if (!checkimage_is_known(&in, type)) {
            log_text(LOG_WARN, "no check-image %s here", type);
            continue;
        }
        if (i >= r->sex.checkimage_name.n) return ERROR(err, ERR_SETTINGS, "CHECKIMAGE_TYPE has more entries than CHECKIMAGE_NAME");
        enum err e = checkimage_write(&in, type, r->sex.checkimage_name.w[i], err);
        if (e) return e;
    }
    return ERR_OK;
}

/* ---- the verb --------------------------------------------------------------------------------------------------- */

static void tell_stage(const char *stage, double elapsed_ms)
{
    log_event(LOG_DEBUG, "stage", LOG_STR("stage", stage), LOG_DOUBLE("elapsed_ms", elapsed_ms));
}

/* What the matched filter went by. */
static void tell_filter(const struct run *r)
{
    const struct extract_scene *s = &r->scene;
    if (!s->filter.radius) return;
    log_event(LOG_DEBUG, "matched filter", LOG_INT("stars", s->filter.stars), LOG_DOUBLE("psf_fwhm_px", s->filter.fwhm), LOG_INT("radius", s->filter.radius),
              LOG_INT("rank", s->filter.psf.rank), LOG_DOUBLE("threshold", s->objects.snr_threshold), LOG_DOUBLE("zero", s->objects.snr_zero),
              LOG_DOUBLE("sigma", s->objects.snr_sigma));
}

static enum err extract_one(struct run *r, const char *path, struct error *err)
{
    double start = clock_seconds();
    char detection[4096];
    const char *measured;
    bool two = r->two = split_operand(path, detection, &measured);
    enum err e = two ? extract_two(r, detection, measured, err) : image_open(path, r->hdu, &r->frame, &r->sky, err);
    if (!e && !two) e = load_weight(&r->options, r->sex.weight_image, err);
    tell_stage("read", 1e3 * (clock_seconds() - start));
    if (!e && !two) e = extract_frame_scene(&r->frame, true, r->sky, &r->options, &r->detections, r->drop_in ? NULL : &r->quality, &r->scene, err);
    if (!e) e = apply_flags(r, err);
    tell_stage("background", r->scene.elapsed_ms.background);
    tell_stage("detect", r->scene.elapsed_ms.detect);
    tell_stage("measure", r->scene.elapsed_ms.measure);
    tell_stage("psf-model", r->scene.elapsed_ms.psf_model);
    tell_stage("psf", r->scene.elapsed_ms.psf);
    tell_stage("sky", r->scene.elapsed_ms.sky);
    start = clock_seconds();
    if (!e) e = write_catalog(r, err);
    if (!e) e = write_check_images(r, err);
    tell_stage("write", 1e3 * (clock_seconds() - start));
    tell_filter(r);
    error_subject(err, path, r->hdu);
    return e;
}

static void report(const struct run *r, const char *path, double seconds)
{
    if (r->drop_in && r->sex.verbose_type == SEX_QUIET) return;
    log_event(LOG_INFO, "extracted", LOG_STR("image", path), LOG_INT("objects", r->detections.n),
              LOG_DOUBLE("background", (double)r->scene.background.global_level), LOG_DOUBLE("rms", (double)r->scene.rms),
              LOG_DOUBLE("seeing_px", r->quality.seeing_px), LOG_DOUBLE("elapsed_ms", 1e3 * seconds));
}

static void run_release(struct run *r)
{
    detections_release(&r->detections);
    extract_scene_release(&r->scene);
    skycoord_free(r->sky);
    frame_release(&r->frame);
    extract_options_release(&r->options);
    free(r);
}

static int run_verb(struct run *r, double start)
{
    struct error err = ERROR_INIT;
    enum err e = load_options(r, &err);
    if (!e && r->cli.operands.n != 1)
        e = ERROR(&err, ERR_USAGE, "one image is wanted, %d were given", r->cli.operands.n);
    if (!e && !r->output && !(r->drop_in && r->sex.catalog_type == SEX_CATALOG_NONE)) {
        e = ERROR(&err, ERR_USAGE, "no name for the catalogue");
        error_hint(&err, "add -o FILE.cat");
    }
    if (!e && r->hdu < 0) e = ERROR(&err, ERR_USAGE, "HDUs are counted from 1");
    if (!e) e = extract_one(r, r->cli.operands.v[0], &err);
    if (e) return cli_fail(&r->cli, &err);
    report(r, r->cli.operands.v[0], clock_seconds() - start);
    return EXIT_ALL_GOOD;
}

int extract_main(int argc, char **argv)
{
    static const struct verb verb = {"extract", extract_main, "IMAGE[,MEASURED] -o CAT [-c FILE.sex] [--hdu N] [-KEY value]...",
                                     "detect and measure the objects of a calibrated image"};
    double start = clock_seconds();
    struct run *r = calloc(1, sizeof *r);
    if (!r) return cli_no_memory(&verb);
    r->quality.seeing_px = NAN;
    const struct cli_option options[] = {
        {"--output,-o", CLI_STRING, &r->output, "FILE", "the catalogue (FITS_LDAC unless CATALOG_TYPE says otherwise)"},
        {"--sex,-c", CLI_STRING, &r->sex_file, "FILE.sex", "make Source Extractor's choices, and those of this file"},
        {"--compat", CLI_STRING, &r->compat, "sextractor", "make Source Extractor's choices, as it has them compiled in"},
        {"--hdu", CLI_INT, &r->hdu, "N", "HDU of the image, from 1; by default the first one, or SCI of a reduced frame"},
        {0},
    };
    frame_init(&r->frame);
    detections_init(&r->detections);
    extract_scene_init(&r->scene);
    int code = cli_parse_foreign(&r->cli, &verb, argc, argv, options, take_key, r);
    if (code < 0) {
        code = run_verb(r, start);
        cli_release(&r->cli);
    }
    run_release(r);
    return code;
}
