#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/cli.h"
#include "common/log.h"
#include "common/obstime.h"
#include "pipeline/pipeline_verbs.h"
#include "pipeline/simnight.h"

#define NIGHT_MJD 60825.9 /* afternoon of 2025-05-30 at the site */

static const struct preset {
    const char *name;
    bool bench;
    int frames, ccds, amps, bias, dark, flat;
    int64_t nx, ny;
    const char *filters;
    double stars, galaxies, seeing, exptime, mag_bright, mag_faint;
} presets[] = {
    {"night", false, 20, 2, 2, 5, 5, 5, 2048, 2048, "g,r", 2000, 150, 1.4, 60, 12.5, 22.5},
    {"small-night", false, 8, 2, 2, 3, 3, 3, 512, 512, "r", 120, 10, 1.4, 30, 13, 20.5},
    {"bench-sparse", true, 1, 1, 1, 0, 0, 0, 4096, 4096, "r", 2000, 200, 1.4, 60, 14, 22.5},
    {"bench-medium", true, 1, 1, 1, 0, 0, 0, 4096, 4096, "r", 10000, 500, 1.4, 60, 14, 22.5},
    {"bench-crowded", true, 1, 1, 1, 0, 0, 0, 4096, 4096, "r", 40000, 500, 1.4, 60, 14, 22.5},
};

/* What the command line says; what it leaves out (NULL, INT_MIN, NaN) the preset fills in. */
struct request {
    const char *preset, *size, *filters, *damage, *seed, *date;
    int frames, ccds, amps, bias, dark, flat, fields, transients;
    double stars, galaxies, seeing, exptime, mag_bright, mag_faint;
    struct simnight_options o;
};

static enum err read_size(const char *text, int64_t *nx, int64_t *ny, struct error *err)
{
    long long x, y;
    int used = 0;
    if (sscanf(text, "%lldx%lld%n", &x, &y, &used) != 2 && sscanf(text, "%lld,%lld%n", &x, &y, &used) != 2)
        return ERROR(err, ERR_USAGE, "--size '%.40s' is not like 2048x1024", text);
    if (text[used] || x < 16 || y < 16 || x > 32768 || y > 32768)
        return ERROR(err, ERR_USAGE, "--size '%.40s': sides from 16 to 32768 are possible", text);
    *nx = x;
    *ny = y;
    return ERR_OK;
}

/* The next word of a comma-separated list. */
static bool next_word(const char **list, char *word, size_t size)
{
    while (**list == ',' || **list == ' ') (*list)++;
    size_t n = strcspn(*list, ", ");
    if (!n) return false;
    snprintf(word, size, "%.*s", (int)n, *list);
    *list += n;
    return true;
}

static enum err read_filters(const char *list, struct simnight_options *o, struct error *err)
{
    char word[24];
    while (next_word(&list, word, sizeof word)) {
        int f = sim_filter_find(word);
        if (f < 0) return ERROR(err, ERR_USAGE, "--filters: '%s' is not one of u g r i z y B V R I clear", word);
        if (o->nfilter == SIM_FILTERS) return ERROR(err, ERR_USAGE, "--filters: more than %d", SIM_FILTERS);
        o->filter[o->nfilter++] = f;
    }
    return ERR_OK;
}

static enum err read_damage(const char *list, struct simnight_options *o, struct error *err)
{
    char word[24];
    while (list && next_word(&list, word, sizeof word)) {
        int d = 1;
        while (d < DAMAGE_COUNT && strcmp(word, sim_damage_name((enum sim_damage)d))) d++;
        if (d == DAMAGE_COUNT) {
            ERROR(err, ERR_USAGE, "--damage: '%s' is unknown", word);
            error_hint(err, "truncate, empty, flip, nan, nowcs, nodate, badcard, manycards, saturated, notfits");
            return ERR_USAGE;
        }
        if (o->ndamage == DAMAGE_COUNT) return ERROR(err, ERR_USAGE, "--damage: more than %d kinds", DAMAGE_COUNT);
        o->damage[o->ndamage++] = (enum sim_damage)d;
    }
    if (o->ndamage > o->frames) return ERROR(err, ERR_USAGE, "--damage: %d kinds need as many --frames", o->ndamage);
    return ERR_OK;
}

static enum err read_seed(const char *text, uint64_t *ret, struct error *err)
{
    unsigned long long seed;
    int used = 0;
    if (sscanf(text, "%llu%n", &seed, &used) != 1 || text[used] || text[0] == '-' || seed > INT64_MAX)
        return ERROR(err, ERR_USAGE, "--seed '%.40s' is no whole number from 0", text);
    *ret = seed;
    return ERR_OK;
}

static int or_int(int given, int otherwise)
{
    return given == INT_MIN ? otherwise : given;
}

static double or_double(double given, double otherwise)
{
    return isnan(given) ? otherwise : given;
}

static enum err settle(struct request *q, struct error *err)
{
    struct simnight_options *o = &q->o;
    const struct preset *p = NULL;
    for (size_t i = 0; i < sizeof presets / sizeof presets[0]; i++)
        if (!strcmp(q->preset, presets[i].name)) p = &presets[i];
    if (!p) {
        ERROR(err, ERR_USAGE, "--preset '%s' is unknown", q->preset);
        error_hint(err, "night, small-night, bench-sparse, bench-medium or bench-crowded");
        return ERR_USAGE;
    }
    o->bench = p->bench;
    o->nx = p->nx;
    o->ny = p->ny;
    o->frames = p->bench ? 1 : or_int(q->frames, p->frames);
    o->ccds = p->bench ? 1 : or_int(q->ccds, p->ccds);
    o->amps = or_int(q->amps, p->amps);
    o->bias = or_int(q->bias, p->bias);
    o->dark = or_int(q->dark, p->dark);
    o->flat = or_int(q->flat, p->flat);
    o->fields = or_int(q->fields, 1);
    o->transients = or_int(q->transients, p->bench ? 0 : 2);
    o->stars = or_double(q->stars, p->stars);
    o->galaxies = or_double(q->galaxies, p->galaxies);
    o->seeing_arcsec = or_double(q->seeing, p->seeing);
    o->exptime_s = or_double(q->exptime, p->exptime);
    o->mag_bright = or_double(q->mag_bright, p->mag_bright);
    o->mag_faint = or_double(q->mag_faint, p->mag_faint);
    enum err rc = q->size ? read_size(q->size, &o->nx, &o->ny, err) : ERR_OK;
    if (rc == ERR_OK) rc = read_filters(q->filters ? q->filters : p->filters, o, err);
    if (rc == ERR_OK) rc = read_damage(q->damage, o, err);
    if (rc == ERR_OK) rc = read_seed(q->seed, &o->seed, err);
    if (rc == ERR_OK && q->date && (rc = obstime_parse(q->date, &o->mjd, err)) == ERR_OK) o->mjd += NIGHT_MJD - floor(NIGHT_MJD);
    return rc;
}

static int make(struct request *q, const struct cli *c)
{
    struct error err = ERROR_INIT;
    struct simnight_result made = {0};
    if (c->operands.n != 1) {
        ERROR(&err, ERR_USAGE, "simulate needs one folder to write to");
        return cli_fail(c, &err);
    }
    q->o.out = c->operands.v[0];
    double from = clock_seconds();
    if (settle(q, &err) != ERR_OK || simnight_make(&q->o, &made, &err) != ERR_OK) return cli_fail(c, &err);
    double s = clock_seconds() - from;
    log_event(LOG_INFO, "simulated", LOG_STR("out", q->o.out), LOG_STR("preset", q->preset), LOG_INT("seed", (int64_t)q->o.seed),
              LOG_INT("files", made.files), LOG_INT("objects", made.objects), LOG_DOUBLE("mpix", (double)made.pixels * 1e-6),
              LOG_DOUBLE("seconds", s), LOG_DOUBLE("mpix_per_s", (double)made.pixels * 1e-6 / s), LOG_INT("threads", c->threads));
    return EXIT_ALL_GOOD;
}

int verb_simulate(int argc, char **argv)
{
    static const struct verb verb = {"simulate", verb_simulate, "OUT [--preset NAME] [--seed N]", "a night of raw frames with a known truth"};
    struct request q = {.preset = "night", .seed = "1", .frames = INT_MIN, .ccds = INT_MIN, .amps = INT_MIN, .bias = INT_MIN, .dark = INT_MIN,
                        .flat = INT_MIN, .fields = INT_MIN, .transients = INT_MIN, .stars = NAN, .galaxies = NAN, .seeing = NAN, .exptime = NAN,
                        .mag_bright = NAN, .mag_faint = NAN,
                        .o = {.beta = 3, .scale_arcsec = 0.4, .sky = 1, .streaks = 0.05, .cosmics = 0.05, .sky_slope = 0.02, .seeing_drift = 0.12, .mjd = NIGHT_MJD}};
    const struct cli_option options[] = {
        {"--preset", CLI_STRING, &q.preset, "NAME", "night, small-night, bench-sparse, bench-medium or bench-crowded"},
        {"--seed", CLI_STRING, &q.seed, "N", "everything follows from it (1)"},
        {"--frames", CLI_INT, &q.frames, "N", "lights"},
        {"--bias", CLI_INT, &q.bias, "N", "bias frames"},
        {"--dark", CLI_INT, &q.dark, "N", "dark frames of the lights' exposure time"},
        {"--flat", CLI_INT, &q.flat, "N", "flats of each filter"},
        {"--filters", CLI_STRING, &q.filters, "LIST", "of u g r i z y B V R I clear"},
        {"--fields", CLI_INT, &q.fields, "N", "fields of the sky the lights are shared among (1)"},
        {"--ccds", CLI_INT, &q.ccds, "N", "detectors, 1 to 64"},
        {"--amps", CLI_INT, &q.amps, "N", "amplifiers of each, 1 to 4"},
        {"--size", CLI_STRING, &q.size, "NXxNY", "pixels of each, trimmed"},
        {"--scale", CLI_DOUBLE, &q.o.scale_arcsec, "ARCSEC", "pixel (0.4)"},
        {"--stars", CLI_DOUBLE, &q.stars, "N", "per detector"},
        {"--galaxies", CLI_DOUBLE, &q.galaxies, "N", "per detector"},
        {"--transients", CLI_INT, &q.transients, "N", "per field (2)"},
        {"--crowding", CLI_DOUBLE, &q.o.crowding, "SHARE", "share of the stars in a cluster at the centre (0)"},
        {"--mag-bright", CLI_DOUBLE, &q.mag_bright, "MAG", "brightest star"},
        {"--mag-faint", CLI_DOUBLE, &q.mag_faint, "MAG", "faintest star"},
        {"--seeing", CLI_DOUBLE, &q.seeing, "ARCSEC", "full width at half maximum at the zenith"},
        {"--seeing-drift", CLI_DOUBLE, &q.o.seeing_drift, "SHARE", "its change over the night (0.12)"},
        {"--beta", CLI_DOUBLE, &q.o.beta, "BETA", "Moffat exponent, a multiple of 0.5 from 2 to 5 (3)"},
        {"--exptime", CLI_DOUBLE, &q.exptime, "S", "exposure of lights and darks"},
        {"--sky", CLI_DOUBLE, &q.o.sky, "FACTOR", "brightness against a dark sky (1)"},
        {"--sky-slope", CLI_DOUBLE, &q.o.sky_slope, "SHARE", "its change across a detector (0.02)"},
        {"--streaks", CLI_DOUBLE, &q.o.streaks, "N", "satellites per detector and light, on average (0.05)"},
        {"--cosmics", CLI_DOUBLE, &q.o.cosmics, "RATE", "cosmic rays per Mpix and second (0.05)"},
        {"--pointing-error", CLI_DOUBLE, &q.o.pointing_error_arcsec, "ARCSEC", "of the headers' WCS against the sky (0)"},
        {"--date", CLI_STRING, &q.date, "DATE", "evening of the night (2025-05-30)"},
        {"--fz", CLI_FLAG, &q.o.fz, NULL, "tile-compressed raw files"},
        {"--truth-images", CLI_FLAG, &q.o.truth_images, NULL, "noiseless light and true mask of each light"},
        {"--damage", CLI_STRING, &q.damage, "LIST", "damage the last lights: truncate, empty, flip, nan, nowcs, nodate, badcard, manycards, saturated, notfits"},
        {0},
    };
    struct cli c = {0};
    int code = cli_parse(&c, &verb, argc, argv, options);
    if (code < 0) {
        code = make(&q, &c);
        cli_release(&c);
    }
    return code;
}
