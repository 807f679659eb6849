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

#define SKY_PIXELS      (1 << 19) /* enough for the sky to 0.2 % of its scatter */
#define STARS_FEW       3
#define MASKED_DOUBT    0.2
#define MASKED_REJECT   0.9
#define SATURATED_DOUBT 0.05
#define ROUND_DOUBT     0.3       /* median ellipticity: trailed or out of focus */

const char *quality_verdict_name(enum verdict v)
{
    static const char *const name[] = {"pass", "doubt", "reject"};
    return name[v];
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
    for (int64_t i = 0; i < npix; i++) {
        masked += (f->mask[i] & MASK_UNUSABLE) != 0;
        saturated += (f->mask[i] & MASK_SATURATED) != 0;
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

void quality_of_objects(const struct frame_quality *seen, int64_t objects, double pixel_scale_arcsec, struct quality *q)
{
    q->seeing_px = seen->seeing_px;
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

void quality_judge(struct quality *q, double exptime_s)
{
    double radius = isfinite(q->seeing_px) ? q->seeing_px : 2.5;
    q->depth_flux = 5 * q->sky_sigma * sqrt(PI) * radius;
    q->depth_mag = -2.5 * log10(q->depth_flux / (exptime_s > 0 ? exptime_s : 1));
    q->verdict = VERDICT_PASS;
    q->reasons[0] = 0;
    if (!isfinite(q->sky)) say(q, VERDICT_REJECT, "no usable pixel");
    else if (q->masked > MASKED_REJECT) say(q, VERDICT_REJECT, "nearly all pixels masked");
    else if (q->masked > MASKED_DOUBT) say(q, VERDICT_DOUBT, "many pixels masked");
    if (q->saturated > SATURATED_DOUBT) say(q, VERDICT_DOUBT, "many pixels saturated");
    if (q->stars < STARS_FEW) say(q, VERDICT_DOUBT, "few stars");
    if (q->ellipticity > ROUND_DOUBT) say(q, VERDICT_DOUBT, "stars are not round");
}

enum err quality_cards(const struct quality *q, struct header *h, struct error *err)
{
    enum err code = header_set_str(h, KEY_QUALITY, quality_verdict_name(q->verdict), q->reasons[0] ? q->reasons : NULL);
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
    json_t *object = code ? NULL : as_json(row, q);
    char *text = object ? json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : NULL;
    if (!code && !text) code = ERROR(err, ERR_NOMEM, "no memory for the quality of '%s'", row->product);
    if (!code) code = atomicfile_write(path, text, strlen(text), err);
    free(text);
    json_decref(object);
    return code;
}
