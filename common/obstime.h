/* Times: MJD UTC, ISO 8601, the night a moment belongs to. Calendar and scales by ERFA. */
#ifndef NIGHTSHIFT_COMMON_OBSTIME_H
#define NIGHTSHIFT_COMMON_OBSTIME_H

#include <stdbool.h>

#include "common/err.h"

/* "2025-05-30", "2025-05-30T03:43:59.123", "2025-05-30 03:43:59Z", "30/05/25" (FITS before 1999) -> MJD.
 * ERR_CORRUPT when it is none of these or no date of the calendar. */
enum err obstime_parse(const char *iso, double *ret_mjd, struct error *err);

/* "2025-05-30T03:43:59.123": decimals 0..9. Returned: buf (>= 40 bytes). */
const char *obstime_format(double mjd, int decimals, char *buf);

/* Night as yyyymmdd: calendar date of floor(MJD + longitude_east/360 - 0.5) (PRODUCT: conventions). */
int obstime_night(double mjd, double longitude_east_deg);

/* A moment in scale "UTC", "TAI", "TT", "TDB", "GPS", "UT1" (taken as UTC) as MJD UTC. ERR_UNSUPPORTED for others. */
enum err obstime_to_utc(double mjd, const char *scale, double *ret_mjd_utc, struct error *err);

/* Barycentric dynamical time of the arrival at the barycentre: BJD_TDB (days) for a target and a site.
 * Given: mjd_utc; ra, dec ICRS degrees; longitude east, latitude (deg), height (m). Source: ERFA epv00, dtdb; light time
 * only (Roemer), good to < 1 ms. */
double obstime_bjd_tdb(double mjd_utc, double ra_deg, double dec_deg, double longitude_deg, double latitude_deg, double height_m);

/* The same in two steps: what depends on the moment and the site alone, which is nearly all of the work, and the rest. A site
 * whose longitude or latitude is not finite is the centre of the Earth. */
struct obstime_moment {
    double tdb1, tdb2;
    double place[3];     /* of the site from the barycentre, in days of light; tdb1 NaN: no such moment */
};
struct obstime_moment obstime_moment_at(double mjd_utc, double longitude_deg, double latitude_deg, double height_m);
double obstime_moment_bjd(const struct obstime_moment *m, double ra_deg, double dec_deg);

#endif
