/* The simulated sky: stars, variable stars, transients and galaxies of a field, the same in every exposure of a seed. */
#ifndef NIGHTSHIFT_PROCESSORS_SIMSKY_H
#define NIGHTSHIFT_PROCESSORS_SIMSKY_H

#include <stdint.h>

#include "common/err.h"

enum sim_kind { SIM_STAR, SIM_SINUS, SIM_ECLIPSING, SIM_TRANSIENT, SIM_GALAXY };
const char *sim_kind_name(enum sim_kind kind); /* "star", "sinus", "eclipsing", "transient", "galaxy" */

struct sim_object {
    int64_t id;           /* field * 10^8 + running number, 1-based */
    enum sim_kind kind;
    double ra, dec;       /* ICRS degrees */
    double mag, colour;   /* in r, outside of variation; g - r */
    double period_d, amplitude_mag, epoch_mjd;
    double re_arcsec, sersic_n, axis_ratio, angle_deg; /* galaxies; the angle is of the pixel grid */
};

struct sim_filter {
    const char *name;
    double zero_mag;      /* magnitude of 1 electron/s */
    double colour_term;   /* magnitude in the filter = r + this * colour */
    double sky_rate;      /* electrons/s/pixel */
};
int sim_filter_find(const char *name);             /* -1: unknown */
const struct sim_filter *sim_filter_at(int index); /* NULL beyond the last one */

struct sim_field {
    uint64_t seed;
    int number;
    double ra, dec, radius_x_deg, radius_y_deg; /* half sides of the box on the tangent plane */
    int64_t nstar, ngalaxy;
    int ntransient;
    double variable_share; /* of the stars */
    double crowding;       /* share of the stars in a cluster at the centre, 0 to 1 */
    double mag_bright, mag_faint;
    double mjd_start, mjd_end;
};

/* Star counts rise by 10^(0.3 m), galaxies' by 10^(0.45 m). Returned: *ret, free() it. ERR_NOMEM, ERR_USAGE */
enum err sim_field_make(const struct sim_field *f, struct sim_object **ret, int64_t *ret_n, struct error *err);

/* Magnitude in a filter at a moment; +infinity while a transient is not there. */
double sim_object_mag(const struct sim_object *o, int filter, double mjd);

/* Standard coordinates in degrees on the plane that touches the sky at (ra0, dec0). false: on the other side. */
int sim_tangent(double ra, double dec, double ra0, double dec0, double *ret_xi, double *ret_eta);

#endif
