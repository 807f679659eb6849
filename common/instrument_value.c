/* Asks a header for one quantity: candidate after candidate, until one has an answer. */
#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <erfa.h>

#include "common/instrument_rules.h"
#include "common/obstime.h"
#include "common/text.h"
#include "common/units.h"

#define VALUE_SIZE 200

void meta_note(struct exposure_meta *meta, const char *fmt, ...)
{
    char text[200], clean[200];
    size_t n = strlen(meta->note);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    text_clean(clean, sizeof clean, text);
    if (strstr(meta->note, clean)) return; /* once is enough, not for each amplifier */
    snprintf(meta->note + n, sizeof meta->note - n, "%s%s", n ? "; " : "", clean);
}

/* ---- rules ------------------------------------------------------------------------------------------------------- */

/* Header numbers come as "1", "1.0" or "1.00E+00": compare as numbers where both are. */
static bool same_value(const char *a, const char *b)
{
    char *end_a, *end_b;
    if (!strcasecmp(a, b)) return true;
    double x = strtod(a, &end_a), y = strtod(b, &end_b);
    return end_a != a && !*end_a && end_b != b && !*end_b && x == y;
}

static bool any_like(const struct words *patterns, const char *text)
{
    for (int i = 0; i < patterns->n; i++)
        if (text_matches(patterns->v[i], text)) return true;
    return false;
}

bool rule_holds(const struct rule *r, const struct header *h)
{
    char raw[VALUE_SIZE], text[VALUE_SIZE];
    bool there = header_get_str(h, r->keyword, raw, sizeof raw);
    if (r->op == RULE_EXISTS) return there;
    if (r->op == RULE_ABSENT) return !there;
    if (!there) return false;
    text_trim(text, sizeof text, raw);
    if (r->op == RULE_LIKE) return any_like(&r->words, text);
    for (int i = 0; i < r->words.n; i++)
        if (same_value(r->words.v[i], text)) return true;
    return false;
}

bool rules_hold(const struct rule *r, int n, const struct header *h)
{
    for (int i = 0; i < n; i++)
        if (!rule_holds(&r[i], h)) return false;
    return true;
}

/* ---- text -------------------------------------------------------------------------------------------------------- */

/* keyword with {a} replaced by the amplifier's label. */
static void expand(const char *keyword, const char *label, char *ret, size_t size)
{
    const char *brace = strstr(keyword, "{a}");
    if (brace)
        snprintf(ret, size, "%.*s%s%s", (int)(brace - keyword), keyword, label ? label : "", brace + 3);
    else
        snprintf(ret, size, "%s", keyword);
}

/* Keep word number n (from 1) of "2 2", "2x2", "2,2" or "g DECam c0001"; false when there are fewer. */
static bool pick_word(char *text, int n)
{
    const char *between = isdigit((unsigned char)text[0]) ? " ,;xX*\t" : " ,;\t";
    char *p = text;
    for (;;) {
        p += strspn(p, between);
        size_t length = strcspn(p, between);
        if (!length) return false;
        if (--n == 0) {
            memmove(text, p, length);
            text[length] = '\0';
            return true;
        }
        p += length;
    }
}

/* What a candidate says, as text. False: nothing. */
static bool candidate_text(const struct candidate *k, const struct value_context *c, char *ret)
{
    char keyword[VALUE_SIZE], raw[VALUE_SIZE];
    if (!rules_hold(k->when, k->nwhen, c->h)) return false;
    if (k->values.n) {
        int i = k->values.n == 1 ? 0 : c->amp < 0 ? 0 : c->amp;
        if (i >= k->values.n) return false;
        snprintf(raw, sizeof raw, "%s", k->values.v[i]);
    } else {
        if (!k->keyword) return false;
        expand(k->keyword, c->label, keyword, sizeof keyword);
        if (!header_get_str(c->h, keyword, raw, sizeof raw)) return false;
    }
    text_trim(ret, VALUE_SIZE, raw);
    if (!*ret || any_like(&k->ignore, ret)) return false;
    return !k->word || pick_word(ret, k->word);
}

static const char *mapped(const struct quantity *q, const char *text)
{
    for (int i = 0; i < q->nmap; i++)
        if (any_like(&q->map[i].patterns, text)) return q->map[i].to;
    return NULL;
}

bool quantity_text(const struct instrument *ins, enum quantity_id id, const struct value_context *c, char *ret, size_t size)
{
    const struct quantity *q = &ins->q[id];
    char text[VALUE_SIZE];
    for (int i = 0; i < q->n; i++) {
        if (!candidate_text(&q->c[i], c, text)) continue;
        const char *to = mapped(q, text);
        text_clean(ret, size, to ? to : text);
        return true;
    }
    return false;
}

bool quantity_word(const struct instrument *ins, enum quantity_id id, const struct value_context *c, char *ret, size_t size,
                   char *raw, size_t raw_size)
{
    const struct quantity *q = &ins->q[id];
    char text[VALUE_SIZE];
    raw[0] = '\0';
    for (int i = 0; i < q->n; i++) {
        if (!candidate_text(&q->c[i], c, text)) continue;
        const char *to = q->c[i].values.n ? text : mapped(q, text);
        if (to) {
            snprintf(ret, size, "%s", to);
            return true;
        }
        if (!*raw) text_clean(raw, raw_size, text);
    }
    return false;
}

void quantity_keywords(const struct instrument *ins, enum quantity_id id, char *ret, size_t size)
{
    const struct quantity *q = &ins->q[id];
    int shown = 0;
    ret[0] = '\0';
    for (int i = 0; i < q->n; i++) {
        if (!q->c[i].keyword) continue;
        size_t n = strlen(ret);
        if (shown == 4) {
            snprintf(ret + n, size - n, " ...");
            return;
        }
        snprintf(ret + n, size - n, "%s%s", shown++ ? ", " : "", q->c[i].keyword);
    }
}

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

/* A decimal number; D exponents allowed, "nan", "inf" and hexadecimals not. */
static bool parse_number(const char *text, double *ret)
{
    char buf[64], *end;
    size_t n = strlen(text);
    if (n >= sizeof buf || text[strspn(text, "+-.0123456789eEdD")]) return false;
    for (size_t i = 0; i <= n; i++) buf[i] = text[i] == 'd' || text[i] == 'D' ? 'e' : text[i];
    double x = strtod(buf, &end);
    if (end == buf || *end || !isfinite(x)) return false;
    *ret = x;
    return true;
}

/* Scale, offset and divisor; false when the divisor is missing or the result is out of range. */
static bool finish_number(const struct candidate *k, const struct quantity_row *row, const struct value_context *c, double x,
                          double *ret)
{
    double divisor = 1;
    if (k->divide_by && (!header_get_double(c->h, k->divide_by, &divisor) || divisor == 0)) return false;
    if (k->unit == ANGLE_ELECTRON) divisor *= c->gain;
    x = (x * k->scale + k->offset) / divisor;
    if (!(x >= row->lo && x <= row->hi)) return false;
    if (x < k->min || x > k->max) {
        meta_note(c->meta, "%s = %g is no %s", k->keyword ? k->keyword : row->key, x, row->key);
        return false;
    }
    *ret = x;
    return true;
}

/* The geodetic longitude (deg), latitude (deg) or height (m) of OBSGEO-X, -Y, -Z. */
static bool from_obsgeo(enum quantity_id id, const struct header *h, double *ret)
{
    double xyz[3], longitude, latitude, height;
    static const char *const names[] = {"OBSGEO-X", "OBSGEO-Y", "OBSGEO-Z"};
    for (int i = 0; i < 3; i++)
        if (!header_get_double(h, names[i], &xyz[i])) return false;
    double r = sqrt(xyz[0] * xyz[0] + xyz[1] * xyz[1] + xyz[2] * xyz[2]);
    if (r < 6.3e6 || r > 6.4e6) return false; /* not on the ground of the Earth */
    if (eraGc2gd(1, xyz, &longitude, &latitude, &height)) return false;
    *ret = id == Q_LONGITUDE ? longitude * DEG_PER_RAD : id == Q_LATITUDE ? latitude * DEG_PER_RAD : height;
    return true;
}

bool quantity_number(const struct instrument *ins, enum quantity_id id, const struct value_context *c, double *ret)
{
    const struct quantity *q = &ins->q[id];
    char text[VALUE_SIZE];
    double x;
    for (int i = 0; i < q->n; i++) {
        const struct candidate *k = &q->c[i];
        bool there = k->obsgeo ? rules_hold(k->when, k->nwhen, c->h) && from_obsgeo(id, c->h, &x)
                               : candidate_text(k, c, text) && parse_number(text, &x);
        if (there && finish_number(k, &quantity_rows[id], c, x, ret)) return true;
    }
    return false;
}

/* "16 00 44.0", "+43:08:42", "-105d49m13s", "12.5" as units (hours or degrees); *ret_parts: numbers found. */
static bool parse_sexagesimal(const char *text, double *ret, int *ret_parts)
{
    double part[3] = {0, 0, 0};
    int n = 0;
    bool negative = false;
    const char *p = text;
    if (*p == '+' || *p == '-') negative = *p++ == '-';
    while (*p) {
        char digits[40];
        size_t length = strspn(p, "0123456789.");
        if (n == 3 || !length || length >= sizeof digits) return false;
        memcpy(digits, p, length);
        digits[length] = '\0';
        if (!parse_number(digits, &part[n])) return false;
        if (n && !(part[n] < 60.0001)) return false; /* rounding writers produce 60.00 */
        n++;
        p += length;
        p += strcspn(p, "0123456789.") ? strspn(p, " :hHdDmMsS'\"\xc2\xb0") : 0;
    }
    if (!n) return false;
    double x = part[0] + part[1] / 60 + part[2] / 3600;
    *ret = negative ? -x : x;
    *ret_parts = n;
    return true;
}

bool quantity_angle(const struct instrument *ins, enum quantity_id id, const struct value_context *c, double *ret)
{
    const struct quantity *q = &ins->q[id];
    char text[VALUE_SIZE];
    for (int i = 0; i < q->n; i++) {
        const struct candidate *k = &q->c[i];
        double x;
        int parts = 1;
        if (k->obsgeo) {
            if (!rules_hold(k->when, k->nwhen, c->h) || !from_obsgeo(id, c->h, &x)) continue;
        } else {
            if (!candidate_text(k, c, text)) continue;
            if (!parse_number(text, &x) && !parse_sexagesimal(text, &x, &parts)) continue;
        }
        /* A right ascension written with colons or blanks is in hours, one written as a number in degrees. */
        bool hours = k->unit == ANGLE_HOURS || (k->unit == ANGLE_AUTO && id == Q_RA && parts > 1);
        if (hours) x *= 15;
        if (k->west) x = -x;
        if (finish_number(k, &quantity_rows[id], c, x, ret)) return true;
    }
    return false;
}

/* ---- times ------------------------------------------------------------------------------------------------------- */

/* Hours of the day from the first keyword that has them. */
static bool time_of_day(const struct candidate *k, const struct header *h, double *ret)
{
    char raw[VALUE_SIZE], text[VALUE_SIZE];
    int parts;
    for (int i = 0; i < k->with.n; i++) {
        if (!header_get_str(h, k->with.v[i], raw, sizeof raw)) continue;
        text_trim(text, sizeof text, raw);
        double x;
        if (parse_number(text, &x))
            x *= k->with_hours;
        else if (!parse_sexagesimal(text, &x, &parts))
            continue;
        if (x < 0 || x > 24.001) continue;
        *ret = x;
        return true;
    }
    return false;
}

/* Does an ISO date carry a time of day? */
static bool has_clock(const char *text)
{
    return strchr(text, ':') != NULL;
}

/* MJD in the header's own scale. */
static bool candidate_mjd(const struct candidate *k, const struct value_context *c, char *text, double *ret)
{
    double mjd, hours = 0;
    if (!candidate_text(k, c, text)) return false;
    if (k->format != TIME_ISO) {
        if (!parse_number(text, &mjd)) return false;
        mjd -= k->format == TIME_JD ? MJD_OFFSET : 0;
        if (mjd < 1 || mjd > 200000) return false; /* 1858 to 2406; 0 is a camera without a clock */
        *ret = mjd;
        return true;
    }
    if (!has_clock(text) && !time_of_day(k, c->h, &hours)) return false; /* midnight would be a guess */
    if (obstime_parse(text, &mjd, NULL)) return false;
    *ret = mjd + hours / 24;
    return true;
}

/* The scale a time is in: the file's word, else TIMESYS, else UTC. */
static double to_utc(const struct candidate *k, const struct value_context *c, double mjd)
{
    char raw[VALUE_SIZE], scale[VALUE_SIZE] = "UTC";
    double utc;
    if (k->scale_name)
        snprintf(scale, sizeof scale, "%s", k->scale_name);
    else if (header_get_str(c->h, "TIMESYS", raw, sizeof raw) && *text_trim(scale, sizeof scale, raw))
        scale[strcspn(scale, " (")] = '\0'; /* "UTC approximate", "TT(TAI)" */
    else
        snprintf(scale, sizeof scale, "UTC");
    for (char *p = scale; *p; p++) *p = (char)toupper((unsigned char)*p);
    if (!obstime_to_utc(mjd, scale, &utc, NULL)) return utc;
    if (strcmp(scale, "UT") && strcmp(scale, "Z") && strcmp(scale, "GMT"))
        meta_note(c->meta, "TIMESYS '%.20s' is unknown: taken as UTC", scale);
    return mjd;
}

bool quantity_time(const struct instrument *ins, const struct value_context *c, double exptime_s, double *ret_start,
                   double *ret_mid, char *ret_text, size_t size)
{
    const struct quantity *q = &ins->q[Q_TIME];
    char text[VALUE_SIZE];
    for (int i = 0; i < q->n; i++) {
        const struct candidate *k = &q->c[i];
        double mjd;
        if (!candidate_mjd(k, c, text, &mjd)) continue;
        mjd = to_utc(k, c, mjd) + k->shift_s / SEC_PER_DAY;
        double back = k->at == MOMENT_MID ? 0.5 : k->at == MOMENT_END ? 1 : 0, days = exptime_s / SEC_PER_DAY;
        *ret_start = back > 0 ? mjd - back * days : mjd;
        *ret_mid = k->at == MOMENT_MID ? mjd : mjd + (0.5 - back) * days;
        if (isnan(*ret_start)) *ret_start = mjd; /* without an exposure time: good enough to know the night */
        text_clean(ret_text, size, text);
        return true;
    }
    return false;
}
