#include "common/calibset.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define WHY_SIZE       200
#define SAME_TEMP_C    2.0   /* dark current doubles in about 6 C: 2 C are a quarter of it */
#define SAME_EXPTIME   1e-3  /* relative; shutters and clocks jitter by less */
#define SAME_EXPTIME_S 0.005

static bool same_exptime(double a, double b)
{
    return fabs(a - b) <= SAME_EXPTIME_S + SAME_EXPTIME * fmax(fabs(a), fabs(b));
}

/* The tests a calibration must pass, in order; their number says how near it came. */
enum test { TEST_KIND, TEST_INSTRUMENT, TEST_CCD, TEST_BINNING, TEST_SIZE, TEST_FILTER, TEST_EXPTIME, TESTS_PASSED };

static enum test first_failed(enum frame_type kind, const struct exposure_meta *e, const struct calib *c)
{
    if (c->kind != kind) return TEST_KIND;
    if (strcmp(c->instrument, e->instrument)) return TEST_INSTRUMENT;
    if (c->ccd != e->ccd) return TEST_CCD;
    if (c->binning_x != e->binning_x || c->binning_y != e->binning_y) return TEST_BINNING;
    if (c->nx != e->nx || c->ny != e->ny) return TEST_SIZE;
    if (kind == FRAME_FLAT && strcasecmp(c->filter, e->filter)) return TEST_FILTER;
    if (kind == FRAME_DARK && !(c->exptime_s > 0)) return TEST_EXPTIME;
    return TESTS_PASSED;
}

/* What kept the nearest calibration out. */
static void explain(enum test failed, enum frame_type kind, const struct exposure_meta *e, const struct calib *c, char *why)
{
    const char *name = frame_type_name(kind);
    switch (failed) {
    case TEST_KIND: snprintf(why, WHY_SIZE, "there is no %s", name); break;
    case TEST_INSTRUMENT: snprintf(why, WHY_SIZE, "no %s of %s (nearest is of %s)", name, e->instrument, c->instrument); break;
    case TEST_CCD: snprintf(why, WHY_SIZE, "no %s of CCD %d (nearest is of CCD %d)", name, e->ccd, c->ccd); break;
    case TEST_BINNING:
        snprintf(why, WHY_SIZE, "no %s binned %dx%d (nearest is %dx%d)", name, e->binning_x, e->binning_y, c->binning_x, c->binning_y);
        break;
    case TEST_SIZE:
        snprintf(why, WHY_SIZE, "no %s of %lldx%lld pixels (nearest has %lldx%lld)", name, (long long)e->nx, (long long)e->ny,
                 (long long)c->nx, (long long)c->ny);
        break;
    case TEST_FILTER:
        snprintf(why, WHY_SIZE, "no %s of filter '%s' (nearest is of '%s')", name, e->filter, c->filter);
        break;
    case TEST_EXPTIME: snprintf(why, WHY_SIZE, "no %s with an exposure time", name); break;
    case TESTS_PASSED: break;
    }
}

/* Is a better than b for e? Both serve it. */
static bool better(enum frame_type kind, const struct exposure_meta *e, const struct calib *a, const struct calib *b)
{
    if (kind == FRAME_DARK) {
        bool cold_a = fabs(a->ccd_temp_c - e->ccd_temp_c) > SAME_TEMP_C, cold_b = fabs(b->ccd_temp_c - e->ccd_temp_c) > SAME_TEMP_C;
        if (cold_a != cold_b) return cold_b;
        bool same_a = same_exptime(a->exptime_s, e->darktime_s), same_b = same_exptime(b->exptime_s, e->darktime_s);
        if (same_a != same_b) return same_a;
    }
    double away_a = fabs(a->mjd - e->mjd_mid), away_b = fabs(b->mjd - e->mjd_mid);
    if (isnan(away_a)) away_a = INFINITY;
    if (isnan(away_b)) away_b = INFINITY;
    if (away_a != away_b) return away_a < away_b;
    return a->id < b->id;
}

int calib_choose(enum frame_type kind, const struct exposure_meta *exposure, const struct calib *calibs, int n, char *why)
{
    int best = -1, nearest = -1;
    enum test farthest = TEST_KIND;
    why[0] = '\0';
    for (int i = 0; i < n; i++) {
        enum test failed = first_failed(kind, exposure, &calibs[i]);
        if (failed == TESTS_PASSED && (best < 0 || better(kind, exposure, &calibs[i], &calibs[best]))) best = i;
        if (failed > farthest) {
            farthest = failed;
            nearest = i;
        }
    }
    if (best < 0) explain(nearest < 0 ? TEST_KIND : farthest, kind, exposure, nearest < 0 ? NULL : &calibs[nearest], why);
    return best;
}

bool calib_same_group(const struct exposure_meta *a, const struct exposure_meta *b)
{
    if (a->type != b->type || strcmp(a->instrument, b->instrument) || a->ccd != b->ccd) return false;
    if (a->binning_x != b->binning_x || a->binning_y != b->binning_y || a->nx != b->nx || a->ny != b->ny) return false;
    bool by_filter = a->type == FRAME_FLAT || a->type == FRAME_LIGHT, by_exptime = a->type == FRAME_DARK || a->type == FRAME_LIGHT;
    if (by_filter && strcasecmp(a->filter, b->filter)) return false;
    return !by_exptime || same_exptime(a->exptime_s, b->exptime_s) || (isnan(a->exptime_s) && isnan(b->exptime_s));
}
