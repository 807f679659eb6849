/* Cards of the simulated camera ("simcam"): data/instruments/simcam.yaml reads them back. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/obstime.h"
#include "common/units.h"
#include "pipeline/simnight.h"

#define SITE_LONGITUDE -105.82
#define SITE_LATITUDE  32.78
#define SITE_HEIGHT    2788.0
#define DISTORTION     2e-3 /* of the radius, at the edge of the focal plane */
#define TILT           2e-4

/* Setters in a row, the first failure wins. */
struct pen {
    struct header *h;
    enum err rc;
};

static void put_str(struct pen *p, const char *key, const char *value, const char *comment)
{
    if (p->rc == ERR_OK) p->rc = header_set_str(p->h, key, value, comment);
}

static void put_int(struct pen *p, const char *key, int64_t value, const char *comment)
{
    if (p->rc == ERR_OK) p->rc = header_set_int(p->h, key, value, comment);
}

static void put_double(struct pen *p, const char *key, double value, const char *comment)
{
    if (p->rc == ERR_OK) p->rc = header_set_double(p->h, key, value, comment);
}

enum err simheader_primary(const struct simnight *n, const struct sim_shot *s, struct header *ret)
{
    static const char *const types[] = {[FRAME_BIAS] = "BIAS", [FRAME_DARK] = "DARK", [FRAME_FLAT] = "FLAT", [FRAME_LIGHT] = "OBJECT"};
    struct pen p = {.h = ret};
    char text[80], date[40];
    snprintf(text, sizeof text, "SIM-%llu-%04d", (unsigned long long)n->o->seed, s->number);
    put_str(&p, "INSTRUME", "SIMCAM", "camera of the simulator");
    put_str(&p, "TELESCOP", "NIGHTSHIFT", NULL);
    put_str(&p, "OBSID", text, "exposure");
    put_str(&p, "IMAGETYP", types[s->type], NULL);
    put_double(&p, "EXPTIME", s->exptime_s, "[s] shutter open");
    put_double(&p, "DARKTIME", s->exptime_s, "[s] since the last reset");
    put_str(&p, "FILTER", s->type == FRAME_BIAS || s->type == FRAME_DARK ? "" : sim_filter_at(s->filter)->name, NULL);
    if (s->type == FRAME_LIGHT) snprintf(text, sizeof text, "FIELD%d", s->field + 1);
    put_str(&p, "OBJECT", s->type == FRAME_LIGHT ? text : types[s->type], NULL);
    if (s->damage != DAMAGE_NODATE) {
        put_str(&p, "DATE-OBS", obstime_format(s->mjd, 3, date), "start of the exposure, UTC");
        put_double(&p, "MJD-OBS", s->mjd, "[d] the same");
        put_str(&p, "TIMESYS", "UTC", NULL);
    }
    put_double(&p, "LONGITUD", SITE_LONGITUDE, "[deg] east");
    put_double(&p, "LATITUDE", SITE_LATITUDE, "[deg]");
    put_double(&p, "HEIGHT", SITE_HEIGHT, "[m]");
    if (s->type == FRAME_LIGHT) {
        put_double(&p, "RA", s->ra, "[deg] pointing");
        put_double(&p, "DEC", s->dec, "[deg] pointing");
        put_double(&p, "AIRMASS", s->airmass, NULL);
        put_double(&p, "PIXSCALE", n->o->scale_arcsec, "[arcsec]");
    }
    put_int(&p, "NCCD", n->o->ccds, "detectors");
    put_int(&p, "SIMSEED", (int64_t)n->o->seed, "seed of the simulation");
    return p.rc;
}

static void put_section(struct pen *p, const char *stem, int a, struct section s, const char *comment)
{
    char key[16], text[48];
    snprintf(key, sizeof key, "%s%d", stem, a);
    snprintf(text, sizeof text, "[%lld:%lld,%lld:%lld]", (long long)s.x0 + 1, (long long)s.x1, (long long)s.y0 + 1, (long long)s.y1);
    put_str(p, key, text, comment);
}

enum err simheader_ccd(const struct simnight *n, const struct sim_shot *s, int ccd, struct header *ret)
{
    struct pen p = {.h = ret};
    const struct sim_ccd *c = &n->ccd[ccd];
    put_int(&p, "CCDNUM", c->number, NULL);
    put_double(&p, "CCDTEMP", -100, "[degC]");
    put_str(&p, "CCDSUM", "1 1", "binning");
    put_int(&p, "NAMPS", c->namp, "amplifiers");
    for (int a = 1; a <= c->namp; a++) {
        const struct sim_amp *amp = &c->amp[a - 1];
        char key[16];
        snprintf(key, sizeof key, "AMPNAM%d", a);
        put_str(&p, key, amp->name, NULL);
        put_section(&p, "DATASEC", a, amp->data, "sky pixels in this array");
        put_section(&p, "BIASSEC", a, amp->overscan, "serial overscan");
        put_section(&p, "DETSEC", a, amp->dest, "place in the trimmed CCD");
        snprintf(key, sizeof key, "GAIN%d", a);
        put_double(&p, key, amp->gain_e_per_adu, "[electron/adu]");
        snprintf(key, sizeof key, "RDNOISE%d", a);
        put_double(&p, key, amp->rdnoise_e, "[electron]");
        snprintf(key, sizeof key, "SATURAT%d", a);
        put_double(&p, key, amp->saturate_adu, "[adu]");
    }
    if (p.rc == ERR_OK && s->type == FRAME_LIGHT && s->damage != DAMAGE_NOWCS) p.rc = simheader_wcs(n, s, ccd, false, ret);
    for (int i = 0; i < 100000 && s->damage == DAMAGE_MANYCARDS && ccd == 0 && p.rc == ERR_OK; i++)
        p.rc = header_append_card(ret, "COMMENT one card of very many                                                   ");
    return p.rc;
}

/* TAN-SIP about the optical axis: a barrel of the third order and a little tilt, one function for the whole mosaic; each
 * CCD is turned a little. */
enum err simheader_wcs(const struct simnight *n, const struct sim_shot *s, int ccd, bool true_wcs, struct header *ret)
{
    struct pen p = {.h = ret};
    double scale = n->o->scale_arcsec / ARCSEC_PER_DEG, turn = n->turn_deg[ccd] * RAD_PER_DEG;
    double cubic = DISTORTION / (n->radius_px * n->radius_px), tilt = TILT / n->radius_px;
    put_int(&p, "WCSAXES", 2, NULL);
    put_str(&p, "CTYPE1", "RA---TAN-SIP", NULL);
    put_str(&p, "CTYPE2", "DEC--TAN-SIP", NULL);
    put_str(&p, "CUNIT1", "deg", NULL);
    put_str(&p, "CUNIT2", "deg", NULL);
    put_double(&p, "CRPIX1", 0.5 * (double)n->o->nx + 0.5 - n->offset_x[ccd], "optical axis in the trimmed CCD");
    put_double(&p, "CRPIX2", 0.5 * (double)n->o->ny + 0.5 - n->offset_y[ccd], NULL);
    put_double(&p, "CRVAL1", true_wcs ? s->true_ra : s->ra, NULL);
    put_double(&p, "CRVAL2", true_wcs ? s->true_dec : s->dec, NULL);
    put_double(&p, "CD1_1", -scale * cos(turn), NULL);
    put_double(&p, "CD1_2", scale * sin(turn), NULL);
    put_double(&p, "CD2_1", scale * sin(turn), NULL);
    put_double(&p, "CD2_2", scale * cos(turn), NULL);
    put_str(&p, "RADESYS", "ICRS", NULL);
    put_int(&p, "A_ORDER", 3, NULL);
    put_double(&p, "A_1_1", tilt, NULL);
    put_double(&p, "A_3_0", cubic, NULL);
    put_double(&p, "A_1_2", cubic, NULL);
    put_int(&p, "B_ORDER", 3, NULL);
    put_double(&p, "B_0_2", tilt, NULL);
    put_double(&p, "B_0_3", cubic, NULL);
    put_double(&p, "B_2_1", cubic, NULL);
    put_str(&p, "WCSFRAME", "TRIMMED", "pixels of the trimmed, assembled CCD");
    return p.rc;
}
