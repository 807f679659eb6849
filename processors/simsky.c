#include "processors/simsky.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/stats.h"
#include "common/units.h"
#include "processors/simulate.h"

#define STAR_SLOPE      0.30
#define GALAXY_SLOPE    0.45
#define CLUSTER_SIGMA   0.08 /* of the half side of the field */
#define OBJECTS_MAX     50000000
#define NUMBERS_OF_ONE_FIELD 100000000

static const struct sim_filter filters[] = {
    {"u", 23.0, 2.2, 0.6},  {"g", 24.8, 1.0, 2.0},  {"r", 25.0, 0.0, 5.0},  {"i", 24.9, -0.4, 9.0}, {"z", 24.3, -0.7, 14.0}, {"y", 23.5, -0.9, 16.0},
    {"B", 24.2, 1.3, 1.5},  {"V", 24.8, 0.5, 3.0},  {"R", 25.0, -0.1, 5.0}, {"I", 24.6, -0.6, 10.0}, {"clear", 25.8, 0.2, 15.0},
};

int sim_filter_find(const char *name)
{
    for (int i = 0; i < (int)(sizeof filters / sizeof filters[0]); i++)
        if (!strcmp(filters[i].name, name)) return i;
    return -1;
}

const struct sim_filter *sim_filter_at(int index)
{
    return index >= 0 && index < (int)(sizeof filters / sizeof filters[0]) ? &filters[index] : NULL;
}

const char *sim_kind_name(enum sim_kind kind)
{
    static const char *const names[] = {"star", "sinus", "eclipsing", "transient", "galaxy"};
    return names[kind];
}

/* ---- positions ------------------------------------------------------------------------------------------------ */

int sim_tangent(double ra, double dec, double ra0, double dec0, double *ret_xi, double *ret_eta)
{
    double a = (ra - ra0) * RAD_PER_DEG, d = dec * RAD_PER_DEG, d0 = dec0 * RAD_PER_DEG;
    double down = sin(d) * sin(d0) + cos(d) * cos(d0) * cos(a);
    if (down <= 0.01) return 0;
    *ret_xi = cos(d) * sin(a) / down * DEG_PER_RAD;
    *ret_eta = (sin(d) * cos(d0) - cos(d) * sin(d0) * cos(a)) / down * DEG_PER_RAD;
    return 1;
}

static void from_tangent(double xi, double eta, double ra0, double dec0, double *ra, double *dec)
{
    double x = xi * RAD_PER_DEG, y = eta * RAD_PER_DEG, d0 = dec0 * RAD_PER_DEG;
    double down = cos(d0) - y * sin(d0);
    double a = ra0 + atan2(x, down) * DEG_PER_RAD;
    *ra = a < 0 ? a + 360 : a >= 360 ? a - 360 : a;
    *dec = atan2(sin(d0) + y * cos(d0), hypot(x, down)) * DEG_PER_RAD;
}

static void place(const struct sim_field *f, struct philox *p, double crowding, struct sim_object *o)
{
    double xi, eta;
    if (philox_uniform(p) < crowding) {
        xi = f->radius_x_deg * CLUSTER_SIGMA * philox_normal(p);
        eta = f->radius_x_deg * CLUSTER_SIGMA * philox_normal(p);
    } else {
        xi = f->radius_x_deg * (2 * philox_uniform(p) - 1);
        eta = f->radius_y_deg * (2 * philox_uniform(p) - 1);
    }
    from_tangent(xi, eta, f->ra, f->dec, &o->ra, &o->dec);
}

/* ---- brightness ----------------------------------------------------------------------------------------------- */

/* Counts per magnitude rise by 10^slope. */
static double draw_mag(struct philox *p, double bright, double faint, double slope)
{
    double u = philox_uniform(p), rise = pow(10, slope * (faint - bright));
    return bright + log10(1 + u * (rise - 1)) / slope;
}

static void draw_variation(const struct sim_field *f, struct philox *p, struct sim_object *o)
{
    o->epoch_mjd = f->mjd_start - philox_uniform(p);
    if (philox_uniform(p) < 0.5) {
        o->kind = SIM_SINUS;
        o->period_d = 0.05 * pow(12, philox_uniform(p));
        o->amplitude_mag = 0.03 * pow(15, philox_uniform(p));
    } else {
        o->kind = SIM_ECLIPSING;
        o->period_d = 0.2 * pow(10, philox_uniform(p));
        o->amplitude_mag = 0.1 * pow(8, philox_uniform(p));
    }
}

static void draw_star(const struct sim_field *f, struct philox *p, struct sim_object *o)
{
    place(f, p, f->crowding, o);
    o->mag = draw_mag(p, f->mag_bright, f->mag_faint, STAR_SLOPE);
    o->colour = 0.2 + 1.2 * philox_uniform(p);
    if (philox_uniform(p) < f->variable_share) draw_variation(f, p, o);
}

static void draw_transient(const struct sim_field *f, struct philox *p, struct sim_object *o)
{
    place(f, p, 0, o);
    o->kind = SIM_TRANSIENT;
    o->mag = f->mag_bright + (f->mag_faint - f->mag_bright) * (0.2 + 0.4 * philox_uniform(p));
    o->colour = 0.2;
    o->epoch_mjd = f->mjd_start + (f->mjd_end - f->mjd_start) * 0.8 * philox_uniform(p);
    o->period_d = 0.02 + 0.2 * philox_uniform(p); /* time to fade by one magnitude */
}

static void draw_galaxy(const struct sim_field *f, struct philox *p, struct sim_object *o)
{
    place(f, p, 0, o);
    o->kind = SIM_GALAXY;
    o->mag = draw_mag(p, f->mag_bright + 2, f->mag_faint, GALAXY_SLOPE);
    o->colour = 0.4 + 0.8 * philox_uniform(p);
    o->sersic_n = philox_uniform(p) < 0.7 ? 1 : 4;
    o->re_arcsec = 0.5 * pow(6, philox_uniform(p)) * pow(10, -0.1 * (o->mag - f->mag_faint));
    o->axis_ratio = 0.3 + 0.7 * philox_uniform(p);
    o->angle_deg = 180 * philox_uniform(p);
}

enum err sim_field_make(const struct sim_field *f, struct sim_object **ret, int64_t *ret_n, struct error *err)
{
    int64_t n = f->nstar + f->ntransient + f->ngalaxy;
    if (f->nstar < 0 || f->ngalaxy < 0 || f->ntransient < 0 || n > OBJECTS_MAX)
        return ERROR(err, ERR_USAGE, "%lld objects in a field: 0 to %d are possible", (long long)n, OBJECTS_MAX);
    struct sim_object *list = mem_zarray((size_t)n, sizeof *list);
    if (!list) return ERROR(err, ERR_NOMEM, "no memory for %lld objects", (long long)n);
    for (int64_t i = 0; i < n; i++) {
        struct philox p; /* one stream per object: adding stars leaves the others where they are */
        bool star = i < f->nstar, transient = !star && i < f->nstar + f->ntransient;
        int64_t k = star ? i : transient ? i - f->nstar : i - f->nstar - f->ntransient;
        philox_init(&p, f->seed, sim_stream(SIM_STREAM_FIELD, (uint32_t)(f->number * 4 + (star ? 0 : transient ? 1 : 2)), (uint32_t)k));
        list[i].id = (int64_t)f->number * NUMBERS_OF_ONE_FIELD + i + 1;
        if (star) draw_star(f, &p, &list[i]);
        else if (transient) draw_transient(f, &p, &list[i]);
        else draw_galaxy(f, &p, &list[i]);
    }
    *ret = list;
    *ret_n = n;
    return ERR_OK;
}

/* Depth of an eclipse of half width 0.06 in phase with ingress over half of it. */
static double eclipse(double phase, double depth)
{
    double away = fabs(phase - floor(phase + 0.5)) / 0.06;
    return away >= 1 ? 0 : away <= 0.5 ? depth : depth * (1 - away) * 2;
}

double sim_object_mag(const struct sim_object *o, int filter, double mjd)
{
    double mag = o->mag + filters[filter].colour_term * o->colour, t = mjd - o->epoch_mjd;
    switch (o->kind) {
    case SIM_SINUS: return mag + o->amplitude_mag * sin(2 * PI * t / o->period_d);
    case SIM_ECLIPSING: return mag + eclipse(t / o->period_d, o->amplitude_mag) + eclipse(t / o->period_d - 0.5, 0.4 * o->amplitude_mag);
    case SIM_TRANSIENT: return t < 0 ? INFINITY : mag + t / o->period_d;
    default: return mag;
    }
}
