#include "pipeline/stages.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/arena.h"
#include "common/atomicfile.h"
#include "common/log.h"
#include "common/products.h"
#include "processors/badpix.h"
#include "processors/bleed.h"
#include "processors/rowdrift.h"

/* ---- read -------------------------------------------------------------------------------------------------------- */

/* The header's own gains, else those a master measured. */
static enum err settle_gains(struct exposure *e, struct error *err)
{
    e->gain_source = "header";
    for (int k = 0; k < MASTER_KINDS && !gains_known(&e->meta); k++)
        if (e->plan->used[k] && master_lend_gain(e->plan->used[k], &e->meta)) e->gain_source = "measured";
    for (int a = 0; a < e->meta.namp; a++)
        if (!isfinite(e->meta.amp[a].gain_e_per_adu)) {
            enum err code = ERROR(err, ERR_NO_CALIBRATION, "no gain is known: neither header, instrument file nor masters say it");
            error_hint(err, "make the masters with this program from two flats and two biases, or give GAIN in an instrument file");
            return code;
        }
    return ERR_OK;
}

static enum err read_raw(struct exposure *e, struct error *err)
{
    struct raw_file *f = NULL;
    enum err code = raw_file_open(e->raw_path, e->instruments, e->plan->settings, &f, err);
    if (!code) code = raw_file_meta(f, e->hdu, e->plan->settings, &e->meta, &e->header, err);
    if (!code) code = raw_file_verify(f, e->hdu, err);
    if (!code) code = settle_gains(e, err);
    if (!code) {
        e->buffer = mem_array((size_t)e->meta.raw_nx * (size_t)e->meta.raw_ny, (size_t)raw_file_pixel_bytes(f, e->hdu));
        if (!e->buffer) code = ERROR(err, ERR_NOMEM, "no memory for %lld x %lld pixels", (long long)e->meta.raw_nx, (long long)e->meta.raw_ny);
    }
    if (!code) code = raw_file_rows(f, e->hdu, &e->meta, 0, e->meta.raw_ny, e->buffer, &e->raw, err);
    raw_file_close(f);
    return code;
}

/* ---- signature ---------------------------------------------------------------------------------------------------- */

static bool has_overscan(const struct exposure_meta *m)
{
    for (int a = 0; a < m->namp; a++)
        if (m->amp[a].overscan.x1 > m->amp[a].overscan.x0) return true;
    return false;
}

/* Only asked for by instruments whose bias level drifts along the columns and that have no overscan to show it. */
static enum err remove_row_drift(struct exposure *e, struct error *err)
{
    int degree = (int)settings_int(e->plan->settings, SET_ROW_DRIFT);
    double range;
    if (degree < 1 || has_overscan(&e->meta)) return ERR_OK;
    enum err code = rowdrift_remove(e->frame.sci, e->frame.mask, e->plan->calibrate.inv_flat, e->meta.nx, e->meta.ny, degree, &range, err);
    if (!code && header_set_double(&e->frame.header, KEY_ROW_DRIFT, range, "[electron] range of the bias drift removed"))
        code = ERROR(err, ERR_NOMEM, "no memory for cards");
    return code;
}

static enum err calibrate_raw(struct exposure *e, struct error *err)
{
    struct frame *f = &e->frame;
    const struct exposure_meta *m = &e->meta;
    struct rawsignal signal = {0};
    bool needed = rawsignal_is_needed(&e->plan->signal);
    enum err code = needed ? rawsignal_measure(&e->plan->signal, &e->raw, m->amp, m->namp, &signal, err) : ERR_OK;
    if (!code)
        code = calibrate_frame_signal(&e->raw, needed ? &signal : NULL, m->amp, m->namp, &e->plan->calibrate, f->sci, f->var, f->mask, &e->counts, err);
    rawsignal_release(&signal);
    return code;
}

/* Steps beyond overscan, bias, dark and flat, where the instrument asks for them. */
static enum err signal_cards(struct exposure *e, struct error *err)
{
    const struct rawsignal_options *o = &e->plan->signal;
    struct header *h = &e->frame.header;
    enum err code = o->parallel != CURVE_NONE ? header_set_bool(h, KEY_PARALLEL, true, "parallel overscan subtracted") : ERR_OK;
    if (!code && e->plan->used[1] && settings_double(e->plan->settings, SET_DARK_TEMPERATURE) > 0)
        code = header_set_double(h, KEY_DARK_SCALE, e->plan->dark_scale, "dark times this for its temperature");
    if (!code && o->crosstalk) code = header_set_bool(h, KEY_CROSSTALK, true, "crosstalk of the amplifiers taken off");
    if (!code && o->linearity) code = header_set_bool(h, KEY_LINEARITY, true, "counts made linear");
    return code ? ERROR(err, ERR_NOMEM, "no memory for cards") : ERR_OK;
}

static enum err mend_defects(struct exposure *e, struct error *err)
{
    struct frame *f = &e->frame;
    int64_t mended = 0;
    if (!settings_bool(e->plan->settings, SET_INTERPOLATE)) return ERR_OK;
    badpix_mend(f->sci, f->var, f->mask, f->nx, f->ny, &mended);
    return header_set_int(&f->header, KEY_MENDED, mended, "[pixel] defects interpolated") ? ERROR(err, ERR_NOMEM, "no memory for cards") : ERR_OK;
}

static enum err remove_signature(struct exposure *e, struct error *err)
{
    struct frame *f = &e->frame;
    enum err code = frame_alloc(f, e->meta.nx, e->meta.ny, FRAME_ALL, err);
    if (!code) code = calibrate_raw(e, err);
    if (code) return code;
    free(e->buffer); /* the raw pixels are not needed any more: measuring wants the room */
    e->buffer = NULL;
    e->raw = (struct raw_rows){0};
    snprintf(f->unit, sizeof f->unit, "electron");

    struct provenance p = {.meta = &e->meta, .raw_path = e->raw_path, .raw_sum = e->raw_sum, .recipe = e->plan->recipe,
                           .gain_source = e->gain_source, .overscan = has_overscan(&e->meta)};
    for (int k = 0; k < MASTER_KINDS; k++) p.step[k] = (struct step_done){e->plan->used[k] != NULL, e->plan->used[k]};
    f->header = e->header;
    e->header = (struct header){0};
    code = provenance_shift_wcs(&f->header, &e->meta, err);
    if (!code) {
        provenance_strip_raw(&f->header);
        code = provenance_cards(&f->header, &p, err);
    }
    if (!code) code = signal_cards(e, err);
    if (!code) code = remove_row_drift(e, err);
    if (!code && e->counts.saturated) code = bleed_mark(f->sci, f->var, f->mask, f->nx, f->ny, &e->bleed, err);
    return code ? code : mend_defects(e, err);
}

/* ---- background, detect, measure, catalogue ------------------------------------------------------------------------------------------------------ */

/* A header without celestial coordinates is measured in pixels; one that wcslib refuses is told. */
static enum err find_sky(struct exposure *e, struct error *err)
{
    struct error trouble = ERROR_INIT;
    if (e->meta.wcs == WCS_NONE) return ERR_OK;
    enum err code = skycoord_new(&e->frame.header, &e->sky, &trouble);
    if (!code || code == ERR_NOT_FOUND) return ERR_OK;
    if (code == ERR_CORRUPT) {
        log_event(LOG_WARN, "no sky positions", LOG_STR("file", e->raw_path), LOG_STR("why", trouble.message));
        return ERR_OK;
    }
    if (err) *err = trouble;
    return code;
}

static void mark_detected(struct frame *f, const int32_t *segment)
{
    int64_t npix = segment ? frame_npix(f) : 0;
    mask_t *mask = f->mask;
    /* Each pixel is its own. */
#pragma omp parallel for default(none) shared(mask, segment, npix) schedule(static)
    for (int64_t i = 0; i < npix; i++) mask[i] = (mask_t)(mask[i] | (segment[i] > 0 ? MASK_DETECTED : 0));
}

static enum err measure_background(struct exposure *e, struct error *err)
{
    enum err code = find_sky(e, err);
    return code ? code : extract_background(&e->frame, false, e->sky, &e->plan->extract, &e->scene, err);
}

static enum err detect(struct exposure *e, struct error *err)
{
    enum err code = extract_detect(&e->frame, &e->plan->extract, &e->scene, err);
    if (!code) mark_detected(&e->frame, e->scene.objects.segment);
    return code;
}

static enum err measure(struct exposure *e, struct error *err)
{
    return extract_measure(&e->frame, &e->plan->extract, &e->scene, &e->detections, &e->seen, err);
}

/* The PSF of the frame and its fit to every detection. */
static enum err fit_psf(struct exposure *e, struct error *err)
{
    return extract_psf_photometry(&e->frame, &e->plan->extract, &e->scene, &e->detections, err);
}

/* Last of those that need the pixels: what the scene holds goes. */
static enum err make_catalogue(struct exposure *e, struct error *err)
{
    enum err code = extract_world(e->sky, &e->plan->extract, &e->scene, &e->detections, err);
    if (code) return code;
    quality_of_objects(&e->seen, e->detections.n, e->scene.scale_known ? e->scene.pixel_scale : e->meta.pixel_scale_arcsec, &e->quality);
    code = header_copy(&e->catalogue_header, &e->frame.header, err);
    if (!code && extract_header_cards(&e->scene, &e->plan->extract, e->detections.n, &e->catalogue_header))
        code = ERROR(err, ERR_NOMEM, "no memory for the catalogue's header");
    extract_scene_release(&e->scene);
    return code;
}

/* ---- quality ------------------------------------------------------------------------------------------------------ */

static enum err judge(struct exposure *e, struct error *err)
{
    enum err code = quality_of_planes(&e->frame, &e->quality, err);
    if (code) return code;
    quality_of_cards(&e->frame.header, &e->quality);
    quality_of_depth(&e->depth, &e->quality);
    quality_judge(&e->quality, &e->plan->limits, e->meta.exptime_s);
    if (e->quality.blind) { /* their rows would be objects of the catalogue */
        e->detections.n = e->quality.objects = 0;
        if (header_set_int(&e->catalogue_header, "SEXNFIN", 0, "number of objects")) return ERROR(err, ERR_NOMEM, "no memory for cards");
    }
    code = quality_cards(&e->quality, &e->frame.header, err);
    return code ? code : quality_cards(&e->quality, &e->catalogue_header, err);
}

/* ---- write -------------------------------------------------------------------------------------------------------- */

/* Where an attempt at a product is written: OUT/.attempts/PID-NAME. Returned: buf. */
static const char *attempt_path(char *buf, int size, const struct exposure *e, const char *product)
{
    int n = snprintf(buf, (size_t)size, "%s/.attempts/%ld-", e->out, (long)getpid());
    for (const char *c = product; *c && n + 1 < size; c++) buf[n++] = *c == '/' ? '-' : *c;
    buf[n < size ? n : size - 1] = 0;
    return buf;
}

static enum err folder_of(const char *path, struct error *err)
{
    char folder[1024];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash) *slash = 0;
    return slash ? make_folders(folder, err) : ERR_OK;
}

/* A product on its way: written whole as an attempt, then given its name. */
struct product {
    char attempt[1024], path[1024];
};

/* Name both and make their folders. below: "" or "quality/". */
static enum err place_product(const struct exposure *e, const char *below, const char *name, struct product *p, struct error *err)
{
    attempt_path(p->attempt, sizeof p->attempt, e, name);
    snprintf(p->path, sizeof p->path, "%s/%s%s", e->out, below, name);
    enum err code = folder_of(p->attempt, err);
    return code ? code : folder_of(p->path, err);
}

static enum err write_calibrated(struct exposure *e, struct product *p, struct error *err)
{
    char identity[192];
    struct frameio_write_options opt = {
        .dither_seed = dither_seed(exposure_identity(identity, sizeof identity, &e->meta, e->raw_sum), e->meta.ccd),
        .quantise_q = (float)settings_double(e->plan->settings, SET_QUANTISE),
        .compress = true,
        .loose = true,
    };
    enum err code = place_product(e, "", e->product, p, err);
    return code ? code : frameio_write_product(p->attempt, &e->frame, &opt, err);
}

static enum err write_quality_row(struct exposure *e, struct product *p, struct error *err)
{
    char name[512], raw[256];
    const char *slash = strrchr(e->raw_path, '/');
    snprintf(raw, sizeof raw, "%s", slash ? slash + 1 : e->raw_path);
    exposure_product(name, sizeof name, &e->meta, e->raw_path, "quality.json");
    struct quality_row row = {.product = e->product, .raw = raw, .instrument = e->meta.instrument, .filter = e->meta.filter,
                              .object = e->meta.object, .night = e->meta.night, .ccd = e->meta.ccd, .mjd_mid = e->meta.mjd_mid,
                              .exptime_s = e->meta.exptime_s, .airmass = e->meta.airmass};
    enum err code = place_product(e, "quality/", name, p, err);
    return code ? code : quality_write(p->attempt, &row, &e->quality, err);
}

static enum err write_depth(struct exposure *e, struct product *p, struct error *err)
{
    char name[512];
    exposure_product(name, sizeof name, &e->meta, e->raw_path, "depth.fits");
    enum err code = place_product(e, "quality/", name, p, err);
    return code ? code : depth_write(e, p->attempt, err);
}

static enum err write_catalogue(struct exposure *e, struct product *p, struct error *err)
{
    char name[512];
    enum detection_column which[DETECTION_COLUMN_COUNT];
    struct column columns[DETECTION_COLUMN_COUNT];
    int n = 0;
    for (int i = 0; i < e->plan->extract.ncolumn; i++)
        if (e->detections.has[e->plan->extract.column[i]]) which[n++] = e->plan->extract.column[i];
    detections_columns(&e->detections, which, n, e->frame.unit, columns);
    struct ldac_part part = {.image_header = &e->catalogue_header, .loose = true,
                             .objects = {.extname = EXT_LDAC_OBJECTS, .nrow = e->detections.n, .ncol = n, .columns = columns}};
    exposure_product(name, sizeof name, &e->meta, e->raw_path, "cat.fits");
    enum err code = place_product(e, "", name, p, err);
    return code ? code : frameio_write_ldac(p->attempt, &part, 1, err);
}

/* All are written before one of them gets its name, so that a full disk leaves nothing of the frame behind. The
 * calibrated image is named last: its presence says that the frame is done. */
static enum err write_products(struct exposure *e, struct error *err)
{
    static enum err (*const write[])(struct exposure *, struct product *, struct error *) = {write_depth, write_quality_row, write_catalogue, write_calibrated};
    enum { N = sizeof write / sizeof write[0] };
    int first = e->depth.flux ? 0 : 1; /* no map, no file */
    struct product p[N] = {0};
    enum err code = ERR_OK;
    exposure_product(e->product, sizeof e->product, &e->meta, e->raw_path, "cal.fits.fz");
    for (int i = first; i < N && !code; i++) code = write[i](e, &p[i], err);
    const char *attempt[N], *path[N];
    for (int i = 0; i < N; i++) attempt[i] = p[i].attempt, path[i] = p[i].path;
    if (!code) code = atomicfile_commit_all(attempt + first, path + first, N - first, err);
    for (int i = 0; i < N && code; i++)
        if (*p[i].attempt) unlink(p[i].attempt); /* those that got their name are gone from here */
    return code;
}

/* ---- the table ---------------------------------------------------------------------------------------------------- */

const struct stage reduce_stages[] = {
    {"read", 0, HAS_RAW, read_raw},
    {"signature", HAS_RAW, HAS_FRAME, remove_signature},
    {"fringe", HAS_FRAME, 0, stage_fringe},
    {"cosmic", HAS_FRAME, 0, stage_cosmic},
    {"streak", HAS_FRAME, 0, stage_streak},
    {"background", HAS_FRAME, HAS_BACKGROUND, measure_background},
    {"detect", HAS_FRAME | HAS_BACKGROUND, HAS_OBJECTS, detect},
    {"measure", HAS_BACKGROUND | HAS_OBJECTS, HAS_DETECTIONS, measure},
    {"psf", HAS_BACKGROUND | HAS_OBJECTS | HAS_DETECTIONS, 0, fit_psf},
    {"depth", HAS_FRAME | HAS_BACKGROUND | HAS_DETECTIONS, 0, stage_depth},
    {"astrometry", HAS_FRAME | HAS_BACKGROUND | HAS_DETECTIONS, 0, stage_astrometry},
    {"catalogue", HAS_DETECTIONS, HAS_CATALOGUE, make_catalogue},
    {"zeropoint", HAS_FRAME | HAS_CATALOGUE, 0, stage_zeropoint},
    {"quality", HAS_FRAME | HAS_CATALOGUE, HAS_QUALITY, judge},
    {"write", HAS_FRAME | HAS_CATALOGUE | HAS_QUALITY, HAS_PRODUCTS, write_products},
    {0},
};

enum err stages_run(const struct stage *stages, struct exposure *e, struct error *err)
{
    unsigned has = 0;
    for (int i = 0; stages[i].name; i++) {
        assert(i < STAGES_MAX && (stages[i].needs & ~has) == 0);
        double start = clock_seconds();
        enum err code = stages[i].run(e, err);
        e->stage_ms[i] = 1000 * (clock_seconds() - start);
        log_event(LOG_DEBUG, "stage done", LOG_STR("stage", stages[i].name), LOG_STR("exposure", e->raw_path), LOG_INT("hdu", e->hdu),
                  LOG_DOUBLE("elapsed_ms", e->stage_ms[i]));
        if (code) {
            error_subject(err, e->raw_path, e->hdu);
            error_stage(err, stages[i].name);
            return code;
        }
        has |= stages[i].makes;
    }
    return ERR_OK;
}
