#include "pipeline/provenance.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/cli.h"
#include "common/obstime.h"
#include "common/products.h"

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

void provenance_strip_raw(struct header *h)
{
    static const char *const gone[] = {
        "BZERO", "BSCALE", "BLANK", "DATAMIN", "DATAMAX", "CHECKSUM", "DATASUM", "ZHECKSUM", "ZDATASUM", "INHERIT",
        "BIASSEC*", "TRIMSEC*", "DATASEC*", "DETSEC*", "CCDSEC*", "AMPSEC*", "PRESEC*", "POSTSEC*", "ASEC*", "BSEC*",
        "CSEC*", "DSEC*", "TSEC*", "GAIN*", "EGAIN", "RDNOIS*", "READNOI*", "SATURATE", "SATURAT*", "BUNIT",
        "EXTNAME", "EXTVER", "FZ*", "SWCREATE", "DATE",
    };
    for (size_t i = 0; i < sizeof gone / sizeof gone[0]; i++) {
        if (strchr(gone[i], '*')) header_remove_matching(h, gone[i]);
        else header_remove(h, gone[i]);
    }
}

/* ---- WCS --------------------------------------------------------------------------------------------------------- */

static void negate(struct header *h, const char *key)
{
    double v;
    if (header_get_double(h, key, &v)) header_set_double(h, key, -v, NULL);
}

/* Column `axis` of the linear matrix changes sign with the direction of the axis. */
static void turn_axis(struct header *h, int axis)
{
    char key[16];
    bool matrix = header_has(h, "CD1_1") || header_has(h, "CD2_2") || header_has(h, "CD1_2") || header_has(h, "CD2_1");
    for (int i = 1; i <= 2 && matrix; i++) {
        snprintf(key, sizeof key, "CD%d_%d", i, axis);
        negate(h, key);
    }
    if (matrix) return;
    bool pc = header_has(h, "PC1_1") || header_has(h, "PC1_2") || header_has(h, "PC2_1") || header_has(h, "PC2_2");
    if (pc || header_has(h, "CROTA2")) { /* CDELT scales rows; with a rotation only the matrix can say this */
        for (int i = 1; i <= 2; i++) {
            snprintf(key, sizeof key, "PC%d_%d", i, axis);
            double v = i == axis ? 1 : 0;
            header_get_double(h, key, &v);
            header_set_double(h, key, -v, NULL);
        }
        return;
    }
    snprintf(key, sizeof key, "CDELT%d", axis);
    negate(h, key);
}

static bool has_distortion(const struct header *h)
{
    char ctype[24] = "";
    header_get_str(h, "CTYPE1", ctype, sizeof ctype);
    return header_has(h, "A_ORDER") || header_has(h, "PV1_1") || strstr(ctype, "TPV") || strstr(ctype, "TNX") || strstr(ctype, "ZPX");
}

static void remove_wcs(struct header *h)
{
    static const char *const cards[] = {"CTYPE?", "CRPIX?", "CRVAL?", "CDELT?", "CROTA?", "CUNIT?", "CD?_?", "PC?_?", "PV?_*",
                                        "A_*", "B_*", "AP_*", "BP_*", "WAT?_*", "LONPOLE", "LATPOLE", "WCSAXES"};
    for (size_t i = 0; i < sizeof cards / sizeof cards[0]; i++) header_remove_matching(h, cards[i]);
}

enum err provenance_shift_wcs(struct header *h, const struct exposure_meta *meta, struct error *err)
{
    if (meta->wcs_in_trimmed || meta->namp < 1) return ERR_OK;
    const struct amp *a = &meta->amp[0];
    if ((a->flip_x || a->flip_y) && has_distortion(h)) {
        remove_wcs(h);
        return header_add_text(h, "HISTORY", "WCS removed: its distortion counts pixels in the order they were read") ? ERROR(err, ERR_NOMEM, "no memory for cards") : ERR_OK;
    }
    const bool flip[2] = {a->flip_x, a->flip_y};
    const int64_t data0[2] = {a->data.x0, a->data.y0}, data1[2] = {a->data.x1, a->data.y1}, dest0[2] = {a->dest.x0, a->dest.y0};
    for (int i = 0; i < 2; i++) {
        char key[8];
        double crpix;
        snprintf(key, sizeof key, "CRPIX%d", i + 1);
        if (!header_get_double(h, key, &crpix)) continue;
        /* 1-based: raw p stands at dest0 + p - data0, or, turned, at dest0 + data1 + 1 - p */
        crpix = flip[i] ? (double)(dest0[i] + data1[i] + 1) - crpix : crpix + (double)(dest0[i] - data0[i]);
        if (header_set_double(h, key, crpix, NULL)) return ERROR(err, ERR_NOMEM, "no memory for cards");
        if (flip[i]) turn_axis(h, i + 1);
    }
    return ERR_OK;
}

/* ---- cards ------------------------------------------------------------------------------------------------------- */

const char *exposure_identity(char *buf, int size, const struct exposure_meta *meta, const char *raw_sum)
{
    if (meta->exposure_id[0]) snprintf(buf, (size_t)size, "%s/%s", meta->instrument, meta->exposure_id);
    else snprintf(buf, (size_t)size, "%s/%s/%.16s", meta->instrument, meta->date_obs, raw_sum);
    return buf;
}

int dither_seed(const char *identity, int ccd)
{
    char text[192];
    snprintf(text, sizeof text, "%s/%d", identity, ccd);
    return 1 + (int)(digest_u64(text) % 10000);
}

static enum err step_cards(struct header *h, const char *key, const char *what, const struct step_done *s)
{
    char name[16], comment[48];
    snprintf(comment, sizeof comment, s->done ? "%s applied" : "%s skipped on request", what);
    enum err code = header_set_bool(h, key, s->done, comment);
    if (!s->done || !s->master || code) return code;
    snprintf(name, sizeof name, "%sF", key);
    code = header_set_str(h, name, base_name(s->master->path), "master");
    snprintf(name, sizeof name, "%sS", key);
    return code ? code : header_set_str(h, name, s->master->sum, NULL);
}

/* Pixels are electrons, so that the gain is 1; the amplifiers' own stand beside it. */
static enum err detector_cards(struct header *h, const struct provenance *p)
{
    const struct exposure_meta *m = p->meta;
    double rdnoise2 = 0, saturate = INFINITY;
    char key[16];
    enum err code = ERR_OK;
    for (int i = 0; i < m->namp; i++) {
        const struct amp *a = &m->amp[i];
        rdnoise2 += isfinite(a->rdnoise_e) ? a->rdnoise_e * a->rdnoise_e / m->namp : 0;
        if (isfinite(a->saturate_adu) && a->saturate_adu * a->gain_e_per_adu < saturate) saturate = a->saturate_adu * a->gain_e_per_adu;
        snprintf(key, sizeof key, "NSGAIN%02d", i + 1);
        if (!code) code = header_set_double(h, key, a->gain_e_per_adu, "electrons per ADU of the amplifier");
    }
    if (!code) code = header_set_double(h, "GAIN", 1, "electrons per pixel unit");
    if (!code) code = header_set_double(h, "RDNOISE", sqrt(rdnoise2), "[electron] read noise");
    if (!code && isfinite(saturate)) code = header_set_double(h, "SATURATE", saturate, "[electron] lowest saturation before masters");
    if (!code) code = header_set_str(h, KEY_GAINSRC, p->gain_source, "where gain and read noise come from");
    return code;
}

enum err provenance_cards(struct header *h, const struct provenance *p, struct error *err)
{
    static const char *const step_key[MASTER_KINDS] = {KEY_BIAS, KEY_DARK, KEY_FLAT};
    const struct exposure_meta *m = p->meta;
    char text[192];
    snprintf(text, sizeof text, "%.16s", p->recipe);
    enum err code = header_set_str(h, KEY_INSTRUMENT, m->instrument, "instrument file");
    if (!code) code = header_set_str(h, KEY_VERSION, nightshift_result_version, "version of the results");
    if (!code) code = header_set_str(h, KEY_RECIPE, text, "version, settings and instrument file");
    if (!code) code = header_set_str(h, KEY_RAWFILE, base_name(p->raw_path), "raw file");
    if (!code) code = header_set_str(h, KEY_RAWSUM, p->raw_sum, NULL);
    if (!code) code = header_set_str(h, KEY_EXPID, exposure_identity(text, sizeof text, m, p->raw_sum), "exposure");
    if (!code) code = header_set_int(h, KEY_CCD, m->ccd, "CCD number");
    if (!code) code = header_set_int(h, KEY_NIGHT, m->night, "night, yyyymmdd");
    if (!code && isfinite(m->mjd_mid)) code = header_set_double(h, KEY_MJD_MID, m->mjd_mid, "[d] MJD UTC of mid exposure");
    if (!code) code = header_set_bool(h, KEY_OVERSCAN, p->overscan, p->overscan ? "overscan subtracted row by row" : "no overscan");
    for (int i = 0; i < MASTER_KINDS && !code; i++) code = step_cards(h, step_key[i], frame_type_name((enum frame_type)(FRAME_BIAS + i)), &p->step[i]);
    if (!code) code = detector_cards(h, p);
    return code ? ERROR(err, ERR_NOMEM, "no memory for cards") : ERR_OK;
}
