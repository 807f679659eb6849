#include "pipeline/quality.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/atomicfile.h"
#include "common/products.h"
#include "common/stats.h"
#include "common/units.h"

#define SKY_PIXELS (1 << 17) /* enough for the sky to 0.4 % of its scatter */

const char *quality_verdict_name(enum verdict v)
{
    static const char *const name[] = {"pass", "doubt", "reject"};
    return name[v];
}

struct quality_limits quality_limits_of(const struct settings *s)
{
    return (struct quality_limits){
        .masked_doubt = settings_double(s, SET_QUALITY_MASKED_DOUBT), .masked_reject = settings_double(s, SET_QUALITY_MASKED_REJECT),
        .saturated_doubt = settings_double(s, SET_QUALITY_SATURATED_DOUBT), .saturated_reject = settings_double(s, SET_QUALITY_SATURATED_REJECT),
        .ellipticity_doubt = settings_double(s, SET_QUALITY_ELLIPTICITY_DOUBT), .ellipticity_reject = settings_double(s, SET_QUALITY_ELLIPTICITY_REJECT),
        .seeing_doubt = settings_double(s, SET_QUALITY_SEEING_DOUBT), .seeing_reject = settings_double(s, SET_QUALITY_SEEING_REJECT),
        .sky_doubt = settings_double(s, SET_QUALITY_SKY_DOUBT), .depth_doubt = settings_double(s, SET_QUALITY_DEPTH_DOUBT),
        .astrometry_doubt = settings_double(s, SET_QUALITY_ASTROMETRY_DOUBT), .zeropoint_doubt = settings_double(s, SET_QUALITY_ZEROPOINT_DOUBT),
        .stars_few = settings_int(s, SET_QUALITY_STARS_FEW)};
}

void quality_init(struct quality *q)
{
    *q = (struct quality){.cosmic_pixels = -1};
    q->sky = q->sky_sigma = q->seeing_px = q->seeing_arcsec = q->ellipticity = q->depth_flux = q->depth_mag = NAN;
    q->map_flux = q->scale_arcsec = q->astrom_rms_arcsec = q->astrom_rms_px = q->magzero = q->magzero_err = q->magzero_rms = NAN;
}

enum err quality_of_planes(const struct frame *f, struct quality *q, struct error *err)
{
    int64_t npix = frame_npix(f), step = npix / SKY_PIXELS + 1, n = 0, masked = 0, saturated = 0;
    float *values = mem_array((size_t)(npix / step + 1), sizeof *values), *work = mem_array((size_t)(npix / step + 1), sizeof *work);
    if (!values || !work) {
        free(values);
        free(work);
        return ERROR(err, ERR_NOMEM, "no memory for the sky level");
    }
    const mask_t *mask = f->mask;
    /* Counts alone are reduced, and integers add up in any order. */
#pragma omp parallel for default(none) shared(mask, npix) reduction(+ : masked, saturated) schedule(static)
    for (int64_t i = 0; i < npix; i++) {
        masked += (mask[i] & MASK_UNUSABLE) != 0;
        saturated += (mask[i] & MASK_SATURATED) != 0;
    }
    for (int64_t i = 0; i < npix; i += step)
        if (!(f->mask[i] & MASK_UNUSABLE)) values[n++] = f->sci[i];
    struct clipped c = {.median = NAN, .sigma = NAN};
    if (n) c = clipped_stats_f32(values, n, work, 3, 3, 20);
    q->sky = c.median;
    q->sky_sigma = c.sigma;
    q->masked = (double)masked / (double)npix;
    q->saturated = (double)saturated / (double)npix;
    free(values);
    free(work);
    return ERR_OK;
}

void quality_of_depth(const struct depth_map *m, struct quality *q)
{
    q->map_flux = m->flux ? m->median : NAN;
}

void quality_of_cards(const struct header *h, struct quality *q)
{
    header_get_int(h, KEY_COSMIC_PIXELS, &q->cosmic_pixels);
    header_get_str(h, KEY_ASTROM_STATUS, q->astrom_status, sizeof q->astrom_status);
    if (q->astrom_status[0]) {
        header_get_double(h, KEY_ASTROM_RMS, &q->astrom_rms_arcsec);
        header_get_int(h, KEY_ASTROM_STARS, &q->astrom_stars);
        q->astrom_rms_px = q->astrom_rms_arcsec / q->scale_arcsec;
    }
    if (!header_has(h, KEY_MAGZERO_KIND) || !header_get_double(h, KEY_MAGZERO, &q->magzero)) return;
    header_get_double(h, KEY_MAGZERO_ERR, &q->magzero_err);
    header_get_double(h, KEY_MAGZERO_RMS, &q->magzero_rms);
    header_get_int(h, KEY_MAGZERO_STARS, &q->magzero_stars);
}

void quality_of_objects(const struct frame_quality *seen, int64_t objects, double pixel_scale_arcsec, struct quality *q)
{
    q->seeing_px = seen->seeing_px;
    q->scale_arcsec = isfinite(seen->seeing) ? seen->seeing / seen->seeing_px : pixel_scale_arcsec;
    q->seeing_arcsec = isfinite(seen->seeing) ? seen->seeing : seen->seeing_px * pixel_scale_arcsec;
    q->ellipticity = seen->ellipticity;
    q->stars = seen->nstars;
    q->objects = objects;
}

static void say(struct quality *q, enum verdict v, const char *reason)
{
    size_t n = strlen(q->reasons);
    if (v > q->verdict) q->verdict = v;
    snprintf(q->reasons + n, sizeof q->reasons - n, "%s%s", n ? "; " : "", reason);
}

/* A value beyond its limits; a limit of 0 is none. NaN is beyond nothing. */
static void hold_against(struct quality *q, double value, double doubt, double reject, const char *reason)
{
    if (reject > 0 && value > reject) say(q, VERDICT_REJECT, reason);
    else if (doubt > 0 && value > doubt) say(q, VERDICT_DOUBT, reason);
}

static void judge_astrometry(struct quality *q, const struct quality_limits *l)
{
    if (!strcmp(q->astrom_status, "failed")) say(q, VERDICT_DOUBT, "no astrometric solution");
    else if (!strcmp(q->astrom_status, "doubt")) say(q, VERDICT_DOUBT, "astrometric solution in doubt");
    else hold_against(q, q->astrom_rms_px, l->astrometry_doubt, 0, "astrometry is rough");
}

void quality_judge(struct quality *q, const struct quality_limits *l, double exptime_s)
{
    double radius = isfinite(q->seeing_px) ? q->seeing_px : 2.5;
    q->depth_flux = isfinite(q->map_flux) ? q->map_flux : 5 * q->sky_sigma * sqrt(PI) * radius;
    q->depth_mag = q->depth_flux > 0 ? -2.5 * log10(q->depth_flux / (exptime_s > 0 ? exptime_s : 1)) : NAN;
    q->verdict = VERDICT_PASS;
    q->reasons[0] = 0;
    if (!isfinite(q->sky)) say(q, VERDICT_REJECT, "no usable pixel");
    else if (q->masked > l->masked_reject) say(q, VERDICT_REJECT, "nearly all pixels masked");
    else if (q->masked > l->masked_doubt) say(q, VERDICT_DOUBT, "many pixels masked");
    if (isfinite(q->sky) && !(q->sky_sigma > 0)) say(q, VERDICT_REJECT, "pixels without noise");
    if (q->saturated > l->saturated_reject) say(q, VERDICT_REJECT, "saturated");
    else if (q->saturated > l->saturated_doubt) say(q, VERDICT_DOUBT, "many pixels saturated");
    q->blind = q->verdict == VERDICT_REJECT;
    if (q->stars < l->stars_few) say(q, VERDICT_DOUBT, "few stars");
    hold_against(q, q->ellipticity, l->ellipticity_doubt, l->ellipticity_reject, "stars are not round");
    hold_against(q, q->seeing_arcsec, l->seeing_doubt, l->seeing_reject, "bad seeing");
    hold_against(q, q->sky, l->sky_doubt, 0, "bright sky");
    judge_astrometry(q, l);
    hold_against(q, q->magzero_err, l->zeropoint_doubt, 0, "zero point is uncertain");
    if (l->depth_doubt != 0 && q->depth_mag + q->magzero < l->depth_doubt) say(q, VERDICT_DOUBT, "shallow");
}

enum err quality_cards(const struct quality *q, struct header *h, struct error *err)
{
    enum err code = header_set_str(h, KEY_QUALITY, quality_verdict_name(q->verdict), "verdict: pass, doubt or reject");
    if (!code && q->reasons[0]) code = header_set_str(h, KEY_QUALITY_WHY, q->reasons, NULL);
    const struct {
        const char *key;
        double value;
        const char *comment;
    } cards[] = {
        {"NSSKY", q->sky, "[electron] sky per pixel"},
        {"NSSKYSIG", q->sky_sigma, "[electron] its scatter"},
        {"NSSEEPIX", q->seeing_px, "[pixel] FWHM of the stars"},
        {"NSSEEING", q->seeing_arcsec, "[arcsec] FWHM of the stars"},
        {"NSELLIP", q->ellipticity, "ellipticity of the stars"},
        {"NSDEPTH", q->depth_mag, "[mag] 5 sigma, magnitude 0 is 1 electron/s"},
        {"NSLIMMAG", q->depth_mag + q->magzero, "[mag] 5 sigma, with the zero point of MAGZERO"},
        {"NSMASKED", q->masked, "fraction of pixels masked"},
        {"NSSATUR", q->saturated, "fraction of pixels saturated"},
    };
    for (size_t i = 0; i < sizeof cards / sizeof cards[0] && !code; i++)
        if (isfinite(cards[i].value)) code = header_set_double(h, cards[i].key, cards[i].value, cards[i].comment);
    if (!code) code = header_set_int(h, "NSNOBJ", q->objects, "objects measured");
    if (!code) code = header_set_int(h, "NSNSTAR", q->stars, "stars the seeing comes from");
    return code ? ERROR(err, ERR_NOMEM, "no memory for cards") : ERR_OK;
}

static json_t *real_or_null(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *text_of(const char *s)
{
    json_t *j = json_string(s); /* NULL when the header held something that is not UTF-8 */
    return j ? j : json_null();
}

/* What the cards of the stages told: null where a stage was not asked. */
static json_t *calibration_json(const struct quality *q)
{
    bool solved = q->astrom_status[0] != 0, zero = isfinite(q->magzero);
    return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "cosmic_pixels",
                     q->cosmic_pixels < 0 ? json_null() : json_integer((json_int_t)q->cosmic_pixels), "astrom_status", solved ? text_of(q->astrom_status) : json_null(),
                     "astrom_rms_arcsec", real_or_null(q->astrom_rms_arcsec), "astrom_rms_pixel", real_or_null(q->astrom_rms_px),
                     "astrom_stars", solved ? json_integer((json_int_t)q->astrom_stars) : json_null(), "magzero", real_or_null(q->magzero),
                     "magzero_err", real_or_null(q->magzero_err), "magzero_rms", real_or_null(q->magzero_rms),
                     "magzero_stars", zero ? json_integer((json_int_t)q->magzero_stars) : json_null(),
                     "limit_mag", real_or_null(q->depth_mag + q->magzero));
}

static json_t *as_json(const struct quality_row *row, const struct quality *q)
{
    return json_pack("{s:o,s:o,s:o,s:o,s:o,s:i,s:i,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:I,s:I,s:s,s:s}",
                     "product", text_of(row->product), "raw", text_of(row->raw), "instrument", text_of(row->instrument),
                     "filter", text_of(row->filter), "object", text_of(row->object), "night", row->night, "ccd", row->ccd,
                     "mjd_mid", real_or_null(row->mjd_mid), "exptime_s", real_or_null(row->exptime_s),
                     "airmass", real_or_null(row->airmass), "sky_electron", real_or_null(q->sky),
                     "sky_sigma_electron", real_or_null(q->sky_sigma), "seeing_pixel", real_or_null(q->seeing_px),
                     "seeing_arcsec", real_or_null(q->seeing_arcsec), "ellipticity", real_or_null(q->ellipticity),
                     "depth_electron", real_or_null(q->depth_flux), "depth_mag", real_or_null(q->depth_mag),
                     "masked", real_or_null(q->masked), "saturated", real_or_null(q->saturated),
                     "objects", (json_int_t)q->objects, "stars", (json_int_t)q->stars,
                     "verdict", quality_verdict_name(q->verdict), "reasons", q->reasons);
}

enum err quality_write(const char *path, const struct quality_row *row, const struct quality *q, struct error *err)
{
    char folder[1024];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash) *slash = 0;
    enum err code = slash ? make_folders(folder, err) : ERR_OK;
    json_t *object = code ? NULL : as_json(row, q), *more = object ? calibration_json(q) : NULL;
    if (object && (!more || json_object_update_missing(object, more))) {
        json_decref(object);
        object = NULL;
    }
    json_decref(more);
    char *text = object ? json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : NULL;
    if (!code && !text) code = ERROR(err, ERR_NOMEM, "no memory for the quality of '%s'", row->product);
    if (!code) code = atomicfile_draft(path, text, strlen(text), err);
    free(text);
    json_decref(object);
    return code;
}
