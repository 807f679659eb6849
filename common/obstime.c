#include "common/obstime.h"

#include <ctype.h>
#include <erfa.h>
#include <erfam.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/units.h"

/* ---- calendar ------------------------------------------------------------------------------------------------- */

static enum err bad_date(struct error *err, const char *iso)
{
    return ERROR(err, ERR_CORRUPT, "cannot read the date '%.60s'", iso);
}

/* What may follow a date: nothing, blanks, Z, or an offset of nought. */
static bool is_end(const char *p)
{
    while (*p == ' ') p++;
    if (*p == 'Z' || *p == 'z') p++;
    else if (!strncmp(p, "+00:00", 6)) p += 6;
    else if (!strncmp(p, "UTC", 3)) p += 3;
    while (*p == ' ') p++;
    return !*p;
}

/* "hh:mm" or "hh:mm:ss.sss" as a fraction of a day. A leap second counts as the last one before midnight's. */
static bool parse_clock(const char *p, double *ret_day)
{
    int h, m, used = 0;
    double s = 0;
    if (sscanf(p, "%2d:%2d%n", &h, &m, &used) != 2 || !used) return false;
    p += used;
    if (*p == ':') {
        if (!isdigit((unsigned char)p[1]) || sscanf(p + 1, "%lf%n", &s, &used) != 1) return false;
        p += 1 + used;
    }
    if (h < 0 || h > 24 || m < 0 || m > 59 || !(s >= 0 && s < 61) || !is_end(p)) return false;
    *ret_day = (h * 3600.0 + m * 60.0 + s) / SEC_PER_DAY;
    return *ret_day <= 1 + 1 / SEC_PER_DAY;
}

enum err obstime_parse(const char *iso, double *ret_mjd, struct error *err)
{
    int y, m, d, used = 0;
    double jd0, mjd, day = 0;
    while (*iso == ' ') iso++;
    if (sscanf(iso, "%d-%2d-%2d%n", &y, &m, &d, &used) == 3 && used) {
        if (y < -4799 || y > 99999) return bad_date(err, iso);
    } else if (sscanf(iso, "%2d/%2d/%d%n", &d, &m, &y, &used) == 3 && used && y >= 0 && y < 100) {
        y += 1900; /* FITS before 1999: this form never meant another century */
    } else {
        return bad_date(err, iso);
    }
    const char *p = iso + used;
    bool clock = (*p == 'T' || *p == 't' || *p == ' ') && isdigit((unsigned char)p[1]);
    if (clock ? !parse_clock(p + 1, &day) : !is_end(p)) return bad_date(err, iso);
    if (eraCal2jd(y, m, d, &jd0, &mjd) != 0) return bad_date(err, iso);
    *ret_mjd = mjd + day;
    return ERR_OK;
}

const char *obstime_format(double mjd, int decimals, char *buf)
{
    int ymdf[4];
    if (decimals < 0) decimals = 0;
    if (decimals > 9) decimals = 9;
    double day = floor(mjd), units = pow(10, decimals);
    double ticks = floor((mjd - day) * SEC_PER_DAY * units + 0.5); /* of the last decimal, exact below 2^53 */
    if (ticks >= SEC_PER_DAY * units) {
        ticks = 0;
        day += 1;
    }
    if (!isfinite(mjd) || eraJdcalf(0, MJD_OFFSET, day, ymdf) < 0) {
        snprintf(buf, 40, "invalid");
        return buf;
    }
    double seconds = floor(ticks / units), fraction = ticks - seconds * units;
    int s = (int)seconds;
    int n = snprintf(buf, 40, "%04d-%02d-%02dT%02d:%02d:%02d", ymdf[0], ymdf[1], ymdf[2], s / 3600, s / 60 % 60, s % 60);
    if (decimals > 0 && n > 0 && n < 28) snprintf(buf + n, 40 - (size_t)n, ".%0*.0f", decimals, fraction);
    return buf;
}

int obstime_night(double mjd, double longitude_east_deg)
{
    int y, m, d;
    double fraction;
    if (!isfinite(mjd) || !isfinite(longitude_east_deg)) return 0;
    double day = floor(mjd + longitude_east_deg / 360 - 0.5);
    if (eraJd2cal(MJD_OFFSET, day, &y, &m, &d, &fraction) != 0 || y < 0 || y > 9999) return 0;
    return y * 10000 + m * 100 + d;
}

/* ---- scales --------------------------------------------------------------------------------------------------- */

#define GPS_BEHIND_TAI 19.0 /* s */

/* TDB - TT at the geocentre, s (ERFA dtdb without the site: < 3 us). */
static double tdb_minus_tt(double jd1, double jd2)
{
    return eraDtdb(jd1, jd2, 0, 0, 0, 0);
}

enum err obstime_to_utc(double mjd, const char *scale, double *ret_mjd_utc, struct error *err)
{
    double a = MJD_OFFSET, b = mjd, t1, t2, u1, u2;
    if (!isfinite(mjd)) return ERROR(err, ERR_CORRUPT, "cannot convert a time that is no number");
    if (!strcasecmp(scale, "UTC") || !strcasecmp(scale, "UT1") || !strcasecmp(scale, "UT") || !strcasecmp(scale, "GMT")) {
        *ret_mjd_utc = mjd;
        return ERR_OK;
    }
    if (!strcasecmp(scale, "TAI") || !strcasecmp(scale, "IAT")) {
        t1 = a, t2 = b;
    } else if (!strcasecmp(scale, "GPS")) {
        t1 = a, t2 = b + GPS_BEHIND_TAI / SEC_PER_DAY;
    } else if (!strcasecmp(scale, "TT") || !strcasecmp(scale, "ET") || !strcasecmp(scale, "TDT")) {
        eraTttai(a, b, &t1, &t2);
    } else if (!strcasecmp(scale, "TDB")) {
        eraTdbtt(a, b, tdb_minus_tt(a, b), &u1, &u2);
        eraTttai(u1, u2, &t1, &t2);
    } else {
        return ERROR(err, ERR_UNSUPPORTED, "cannot convert the time scale '%.20s'", scale);
    }
    if (eraTaiutc(t1, t2, &u1, &u2) < 0) return ERROR(err, ERR_CORRUPT, "cannot convert MJD %g from %s", mjd, scale);
    *ret_mjd_utc = (u1 - MJD_OFFSET) + u2;
    return ERR_OK;
}

/* ---- barycentre ----------------------------------------------------------------------------------------------- */

/* Position of the site in metres, true equator and equinox of date rotated to GCRS. UT1 is taken as UTC: 0.9 s of Earth
 * rotation is 420 m, 1.4 us of light. */
static void site_gcrs(double ut1, double ut2, double tt1, double tt2, double lon, double lat, double height, double ret[3])
{
    double rnpb[3][3], pv[2][3];
    eraPnm06a(tt1, tt2, rnpb);
    double gst = eraGst06(ut1, ut2, tt1, tt2, rnpb);
    eraPvtob(lon * RAD_PER_DEG, lat * RAD_PER_DEG, height, 0, 0, 0, gst, pv);
    eraTrxp(rnpb, pv[0], ret);
}

struct obstime_moment obstime_moment_at(double mjd_utc, double longitude_deg, double latitude_deg, double height_m)
{
    double tai1, tai2, tt1, tt2, heliocentric[2][3], barycentric[2][3], site[3] = {0};
    struct obstime_moment m = {.tdb1 = NAN};
    if (!isfinite(mjd_utc) || eraUtctai(MJD_OFFSET, mjd_utc, &tai1, &tai2) < 0) return m;
    eraTaitt(tai1, tai2, &tt1, &tt2);
    eraTttdb(tt1, tt2, tdb_minus_tt(tt1, tt2), &m.tdb1, &m.tdb2);
    eraEpv00(m.tdb1, m.tdb2, heliocentric, barycentric); /* +1: outside 1900-2100, still the best there is */
    if (isfinite(longitude_deg) && isfinite(latitude_deg))
        site_gcrs(MJD_OFFSET, mjd_utc, tt1, tt2, longitude_deg, latitude_deg, isfinite(height_m) ? height_m : 0, site);
    for (int i = 0; i < 3; i++) m.place[i] = (barycentric[0][i] + site[i] / ERFA_DAU) * (ERFA_AULT / SEC_PER_DAY);
    return m;
}

double obstime_moment_bjd(const struct obstime_moment *m, double ra_deg, double dec_deg)
{
    double star[3], days = 0;
    if (!isfinite(m->tdb1) || !isfinite(ra_deg) || !isfinite(dec_deg)) return NAN;
    eraS2c(ra_deg * RAD_PER_DEG, dec_deg * RAD_PER_DEG, star);
    for (int i = 0; i < 3; i++) days += star[i] * m->place[i];
    return m->tdb1 + (m->tdb2 + days);
}

double obstime_bjd_tdb(double mjd_utc, double ra_deg, double dec_deg, double longitude_deg, double latitude_deg, double height_m)
{
    struct obstime_moment m = obstime_moment_at(mjd_utc, longitude_deg, latitude_deg, height_m);
    return obstime_moment_bjd(&m, ra_deg, dec_deg);
}
