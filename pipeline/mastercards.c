#include "pipeline/mastermaking.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/atomicfile.h"
#include "common/cli.h"
#include "common/frameio.h"
#include "common/products.h"
#include "pipeline/signaloptions.h"

/* ---- identity ------------------------------------------------------------------------------------------------------ */

static int by_sum(const void *a, const void *b)
{
    const struct calibration_frame *const *x = a, *const *y = b;
    int order = strcmp((*x)->sum, (*y)->sum);
    return order ? order : (*x)->hdu - (*y)->hdu;
}

/* Inputs in the order of their checksums: the order on the command line changes nothing. */
static enum err add_inputs(struct digest *d, const struct calibration_group *g, const char *what, struct error *err)
{
    const struct calibration_frame **sorted = malloc((size_t)g->n * sizeof *sorted);
    if (!sorted) return ERROR(err, ERR_NOMEM, "no memory for the checksum of a master");
    for (int i = 0; i < g->n; i++) sorted[i] = &g->frame[i];
    qsort(sorted, (size_t)g->n, sizeof *sorted, by_sum);
    digest_add_str(d, what);
    for (int i = 0; i < g->n; i++) {
        char line[DIGEST_HEX_SIZE + 16];
        snprintf(line, sizeof line, "%s[%d]", sorted[i]->sum, sorted[i]->hdu);
        digest_add_str(d, line);
    }
    free(sorted);
    return ERR_OK;
}

static void add_settings(struct digest *d, const struct settings *s)
{
    char line[128];
    for (int id = 0; id < SETTING_COUNT; id++) {
        if (strncmp(setting_name((enum setting_id)id), "master.", 7)) continue;
        double v = id == SET_MASTER_CLIP_ITERATIONS || id == SET_MASTER_MIN_FRAMES ? (double)settings_int(s, (enum setting_id)id)
                                                                                  : settings_double(s, (enum setting_id)id);
        snprintf(line, sizeof line, "%s=%.17g", setting_name((enum setting_id)id), v);
        digest_add_str(d, line);
    }
}

enum err making_key(struct making *m, struct error *err)
{
    struct digest *d = digest_new();
    if (!d) return ERROR(err, ERR_NOMEM, "no memory for the checksum of a master");
    digest_add_str(d, frame_type_name(m->meta->type));
    digest_add_str(d, nightshift_result_version);
    digest_add_str(d, m->group->instrument_digest);
    add_settings(d, m->group->settings);
    rawsignal_digest(m->group->settings, d);
    double coefficient = settings_double(m->group->settings, SET_DARK_TEMPERATURE);
    if (m->used[1] && coefficient > 0) {
        char line[80];
        snprintf(line, sizeof line, "%s=%.17g", setting_name(SET_DARK_TEMPERATURE), coefficient);
        digest_add_str(d, line);
    }
    enum err code = add_inputs(d, m->group, "inputs", err);
    if (!code && m->gain_flats) code = add_inputs(d, m->gain_flats, "gain flats", err);
    if (!code && m->gain_biases) code = add_inputs(d, m->gain_biases, "gain biases", err);
    if (m->gain_lender) digest_add_str(d, m->gain_lender->key);
    for (int k = 0; k < MASTER_KINDS; k++) digest_add_str(d, m->used[k] ? m->used[k]->key : "");
    digest_finish(d, m->key);
    return code;
}

/* ---- cards and file -------------------------------------------------------------------------------------------------- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static double mean_of(const struct calibration_group *g, size_t field)
{
    double sum = 0;
    int n = 0;
    for (int i = 0; i < g->n; i++) {
        double v = *(const double *)((const char *)&g->frame[i] + field);
        if (g->frame[i].left_out[0] || !isfinite(v)) continue;
        sum += v;
        n++;
    }
    return n ? sum / n : NAN;
}

static enum err gain_cards(struct header *h, const struct making *m)
{
    const struct exposure_meta *meta = m->meta;
    char key[16];
    enum err code = header_set_int(h, "NSNAMP", meta->namp, "amplifiers");
    for (int a = 0; a < meta->namp && !code; a++) {
        snprintf(key, sizeof key, meta->namp > 1 ? "GAIN%02d" : "GAIN", a + 1);
        code = header_set_double(h, key, meta->amp[a].gain_e_per_adu, "[electron/adu]");
        snprintf(key, sizeof key, meta->namp > 1 ? "RDNOIS%02d" : "RDNOISE", a + 1);
        if (!code) code = header_set_double(h, key, meta->amp[a].rdnoise_e, "[electron] read noise");
    }
    if (code) return code;
    return header_set_str(h, KEY_GAINSRC, m->group->gains_measured ? "measured" : "header", "where gain and read noise come from");
}

static enum err history_of_inputs(struct header *h, const struct making *m)
{
    const struct calibration_group *g = m->group;
    enum err code = ERR_OK;
    char line[512];
    for (int i = 0; i < g->n && !code; i++) {
        const struct calibration_frame *f = &g->frame[i];
        snprintf(line, sizeof line, "%s %s[%d] %.16s%s%s", f->left_out[0] ? "left out" : "input", base_name(f->path), f->hdu, f->sum,
                 f->left_out[0] ? ": " : "", f->left_out);
        code = header_add_text(h, "HISTORY", line);
    }
    for (int k = 0; k < MASTER_KINDS && !code; k++) {
        if (!m->used[k]) continue;
        snprintf(line, sizeof line, "subtracted %s", base_name(m->used[k]->path));
        code = header_add_text(h, "HISTORY", line);
    }
    return code;
}

/* From the first to the last input, and validity.days around them. */
static enum err validity_cards(struct header *h, const struct making *m)
{
    const struct calibration_group *g = m->group;
    double first = INFINITY, last = -INFINITY, days = settings_double(g->settings, SET_VALIDITY_DAYS);
    for (int i = 0; i < g->n; i++) {
        if (g->frame[i].left_out[0] || !isfinite(g->frame[i].mjd)) continue;
        first = fmin(first, g->frame[i].mjd);
        last = fmax(last, g->frame[i].mjd);
    }
    if (!(days > 0) || !isfinite(first)) return ERR_OK;
    enum err code = header_set_double(h, KEY_VALID_FROM, first - days, "[d] MJD UTC: valid for frames from");
    return code ? code : header_set_double(h, KEY_VALID_TO, last + days, "[d] MJD UTC: valid for frames until");
}

static enum err master_cards(const struct making *m, struct header *h, struct error *err)
{
    const struct exposure_meta *meta = m->meta;
    const struct calibration_group *g = m->group;
    char text[40];
    snprintf(text, sizeof text, "master %s", frame_type_name(meta->type));
    enum err code = header_set_str(h, "IMAGETYP", text, NULL);
    if (!code) code = header_set_str(h, KEY_MASTER_KIND, frame_type_name(meta->type), "kind of master");
    if (!code) code = header_set_str(h, KEY_MASTER_KEY, m->key, NULL);
    if (!code) code = header_set_str(h, KEY_VERSION, nightshift_result_version, "version of the results");
    if (!code) code = header_set_str(h, KEY_INSTRUMENT, meta->instrument, "instrument file");
    if (!code) code = header_set_int(h, KEY_CCD, meta->ccd, "CCD number");
    if (!code) code = header_set_int(h, KEY_BIN_X, meta->binning_x, "binning along x");
    if (!code) code = header_set_int(h, KEY_BIN_Y, meta->binning_y, "binning along y");
    if (!code && kind_is(m, FRAME_FLAT)) code = header_set_str(h, "FILTER", meta->filter, NULL);
    if (!code && isfinite(meta->exptime_s)) code = header_set_double(h, "EXPTIME", kind_is(m, FRAME_BIAS) ? 0 : meta->exptime_s, "[s] of one input");
    double mjd = mean_of(g, offsetof(struct calibration_frame, mjd)), temp = mean_of(g, offsetof(struct calibration_frame, temp_c));
    if (!code && isfinite(mjd)) code = header_set_double(h, KEY_MJD_MID, mjd, "[d] mean MJD UTC of the inputs");
    if (!code && isfinite(temp)) code = header_set_double(h, "CCD-TEMP", temp, "[degC] mean of the inputs");
    if (!code) code = header_set_int(h, "NCOMBINE", m->nkept, "frames stacked");
    if (!code) code = header_set_int(h, "NSREJECT", g->n - m->nkept, "frames left out");
    if (!code) code = validity_cards(h, m);
    if (!code && g->previous[0]) {
        code = header_set_str(h, KEY_PREVIOUS, base_name(g->previous), "master compared with");
        if (!code) code = header_set_double(h, KEY_MOVED, g->moved, "fraction of pixels moved by more than 6 sigma");
        if (!code) code = header_set_double(h, KEY_SHIFT, g->shift, "median of this - that");
    }
    if (!code && kind_is(m, FRAME_DARK) && m->used[0]) {
        code = header_set_str(h, KEY_BIAS_USED, m->used[0]->key, NULL);
        if (!code) code = header_set_double(h, KEY_BIAS_SCALE, m->mean_scale, "[1/s] times that bias was subtracted");
    }
    if (!code) code = gain_cards(h, m);
    if (!code) code = history_of_inputs(h, m);
    return code ? ERROR(err, ERR_NOMEM, "no memory for cards") : ERR_OK;
}

enum err making_write(struct making *m, struct error *err)
{
    static const char *const unit[MASTER_KINDS] = {"electron", "electron/s", ""};
    struct frameio_write_options opt = {.dither_seed = 1, .compress = false};
    snprintf(m->out.unit, sizeof m->out.unit, "%s", unit[m->meta->type - FRAME_BIAS]);
    char folder[1024];
    snprintf(folder, sizeof folder, "%s/masters", m->request->out);
    enum err code = master_cards(m, &m->out.header, err);
    if (!code) code = make_folders(folder, err);
    if (!code) code = frameio_write_product(m->group->path, &m->out, &opt, err);
    return code;
}
