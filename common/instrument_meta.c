/* What one image is: each canonical quantity asked of the header through the rules of the instrument file. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/instrument_rules.h"
#include "common/obstime.h"

static void set_problem(struct exposure_meta *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void set_problem(struct exposure_meta *m, const char *fmt, ...)
{
    va_list ap;
    if (m->problem[0]) return; /* the first one is the one to cure first */
    va_start(ap, fmt);
    vsnprintf(m->problem, sizeof m->problem, fmt, ap);
    va_end(ap);
}

const char *frame_type_name(enum frame_type t)
{
    static const char *const names[] = {"unknown", "bias", "dark", "flat", "light", "other"};
    return (int)t >= 0 && t <= FRAME_OTHER ? names[t] : names[0];
}

static enum frame_type frame_type_of(const char *name)
{
    for (int t = FRAME_BIAS; t <= FRAME_OTHER; t++)
        if (!strcmp(name, frame_type_name((enum frame_type)t))) return (enum frame_type)t;
    return FRAME_UNKNOWN;
}

static double number(const struct instrument *ins, enum quantity_id id, const struct value_context *c)
{
    double x = NAN;
    quantity_number(ins, id, c, &x);
    return x;
}

static int whole_number(const struct instrument *ins, enum quantity_id id, const struct value_context *c, int otherwise)
{
    double x = number(ins, id, c);
    return isnan(x) ? otherwise : (int)(x + 0.5);
}

static double angle(const struct instrument *ins, enum quantity_id id, const struct value_context *c)
{
    double x = NAN;
    quantity_angle(ins, id, c, &x);
    return x;
}

static void fill_type(const struct instrument *ins, const struct value_context *c, struct exposure_meta *m)
{
    char word[32], raw[40], keywords[100];
    if (quantity_word(ins, Q_TYPE, c, word, sizeof word, raw, sizeof raw)) {
        m->type = frame_type_of(word);
        return;
    }
    quantity_keywords(ins, Q_TYPE, keywords, sizeof keywords);
    if (raw[0])
        set_problem(m, "unknown frame type '%s' (%s)", raw, keywords);
    else
        set_problem(m, "no frame type (%s)", keywords);
}

static void fill_exposure(const struct instrument *ins, const struct value_context *c, struct exposure_meta *m)
{
    char keywords[100];
    m->exptime_s = number(ins, Q_EXPTIME, c);
    if (isnan(m->exptime_s) && m->type == FRAME_BIAS) m->exptime_s = 0; /* that is what a bias is */
    m->darktime_s = number(ins, Q_DARKTIME, c);
    if (isnan(m->darktime_s)) m->darktime_s = m->exptime_s;
    if (!isnan(m->exptime_s)) return;
    quantity_keywords(ins, Q_EXPTIME, keywords, sizeof keywords);
    set_problem(m, "no exposure time (%s)", keywords);
}

/* East longitude in (-180, 180]. */
static double wrap_longitude(double x)
{
    while (x > 180) x -= 360;
    while (x <= -180) x += 360;
    return x;
}

static void fill_site(const struct instrument *ins, const struct settings *s, const struct value_context *c, struct exposure_meta *m)
{
    m->longitude_deg = angle(ins, Q_LONGITUDE, c);
    m->latitude_deg = angle(ins, Q_LATITUDE, c);
    m->height_m = number(ins, Q_HEIGHT, c);
    if (isnan(m->longitude_deg) && s) m->longitude_deg = settings_double(s, SET_LONGITUDE);
    m->longitude_assumed = isnan(m->longitude_deg);
    m->longitude_deg = m->longitude_assumed ? 0 : wrap_longitude(m->longitude_deg);
}

static void fill_time(const struct instrument *ins, const struct value_context *c, struct exposure_meta *m)
{
    char keywords[100];
    if (quantity_time(ins, c, m->exptime_s, &m->mjd_start, &m->mjd_mid, m->date_obs, sizeof m->date_obs)) {
        m->night = obstime_night(m->mjd_start, m->longitude_deg);
        return;
    }
    quantity_keywords(ins, Q_TIME, keywords, sizeof keywords);
    set_problem(m, "no time of observation (%s)", keywords);
}

static void fill_wcs(const struct instrument *ins, const struct value_context *c, struct exposure_meta *m)
{
    char word[32], raw[40];
    if (quantity_word(ins, Q_WCS_TRUST, c, word, sizeof word, raw, sizeof raw))
        m->wcs = !strcmp(word, "good") ? WCS_GOOD : !strcmp(word, "approximate") ? WCS_APPROXIMATE : WCS_NONE;
    if (quantity_word(ins, Q_WCS_FRAME, c, word, sizeof word, raw, sizeof raw)) m->wcs_in_trimmed = !strcmp(word, "trimmed");
}

static void fill_texts(const struct instrument *ins, const struct value_context *c, struct exposure_meta *m)
{
    quantity_text(ins, Q_EXPOSURE_ID, c, m->exposure_id, sizeof m->exposure_id);
    quantity_text(ins, Q_OBJECT, c, m->object, sizeof m->object);
    quantity_text(ins, Q_FILTER, c, m->filter, sizeof m->filter);
    quantity_text(ins, Q_OBSERVER, c, m->observer, sizeof m->observer);
}

enum err instrument_meta(const struct instrument *ins, const struct settings *s, const struct header *h, int64_t nx, int64_t ny,
                         int hdu, struct exposure_meta *ret, struct error *err)
{
    *ret = (struct exposure_meta){.mjd_start = NAN, .mjd_mid = NAN, .raw_nx = nx, .raw_ny = ny};
    const struct value_context c = {.h = h, .amp = -1, .meta = ret};
    snprintf(ret->instrument, sizeof ret->instrument, "%s", ins->name);
    fill_texts(ins, &c, ret);
    fill_type(ins, &c, ret);
    ret->ccd = whole_number(ins, Q_CCD, &c, ins->multi ? hdu : 0);
    ret->nccd = whole_number(ins, Q_NCCD, &c, 1);
    ret->binning_x = whole_number(ins, Q_BINNING_X, &c, 1);
    ret->binning_y = whole_number(ins, Q_BINNING_Y, &c, ret->binning_x);
    fill_exposure(ins, &c, ret);
    fill_site(ins, s, &c, ret);
    fill_time(ins, &c, ret);
    ret->ra_deg = angle(ins, Q_RA, &c);
    ret->dec_deg = angle(ins, Q_DEC, &c);
    ret->airmass = number(ins, Q_AIRMASS, &c);
    ret->ccd_temp_c = number(ins, Q_CCD_TEMP, &c);
    ret->pixel_scale_arcsec = number(ins, Q_PIXEL_SCALE, &c);
    fill_wcs(ins, &c, ret);
    ret->nx = nx;
    ret->ny = ny;
    if (nx < 1 || ny < 1) {
        set_problem(ret, "no image");
        return ERR_OK;
    }
    if (nx > FRAME_MAX_SIDE || ny > FRAME_MAX_SIDE)
        return ERROR(err, ERR_CORRUPT, "an image of %lld x %lld pixels is larger than %d on a side", (long long)nx, (long long)ny,
                     FRAME_MAX_SIDE);
    return instrument_amps(ins, h, ret, err);
}
