/* nightshift associate --night N: the objects of a night, and of the nights after it, rebuilt. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/associate.h"
#include "catalog/catalog_verbs.h"
#include "common/log.h"

enum { LATER_MAX = 4096 };

static enum err one(struct db *db, int night, double radius, struct error *err)
{
    struct associate_result r;
    double start = clock_seconds();
    enum err e = associate_night(db, night, radius, &r, err);
    if (e) return e;
    double elapsed = clock_seconds() - start;
    log_event(LOG_INFO, "night associated", LOG_INT("night", night), LOG_INT("detections", r.detections), LOG_INT("objects_new", r.objects_new),
              LOG_INT("objects_known", r.objects_known), LOG_DOUBLE("radius_arcsec", r.radius_arcsec), LOG_DOUBLE("rows_per_s", (double)r.detections / elapsed));
    printf("night %d: %lld detections, %lld new objects, %lld known ones seen again (radius %.2f\")\n", night, (long long)r.detections,
           (long long)r.objects_new, (long long)r.objects_known, r.radius_arcsec);
    return ERR_OK;
}

static enum err all(const struct cli *c, int night, struct error *err)
{
    struct db *db = NULL;
    int later[LATER_MAX], n = 0;
    double radius = settings_double(c->settings, SET_ASSOC_RADIUS);
    enum err e = db_open_ready(c->settings, "nightshift associate", &db, err);
    if (!e) e = one(db, night, radius, err);
    if (!e) e = associate_later_nights(db, night, later, LATER_MAX, &n, err);
    for (int i = 0; i < n && !e; i++) e = one(db, later[i], radius, err);
    db_close(db);
    return e;
}

int verb_associate(int argc, char **argv)
{
    struct cli c;
    struct error err = ERROR_INIT;
    int night = 0;
    const struct cli_option options[] = {
        {"--night", CLI_INT, &night, "YYYYMMDD", "the night to rebuild; later nights that were associated before follow"},
        {0},
    };
    const struct verb *verb = catalog_verbs;
    while (strcmp(verb->name, "associate")) verb++;
    int done = cli_parse(&c, verb, argc, argv, options);
    if (done >= 0) return done;
    if (night < 18000101 || night > 29991231) ERROR(&err, ERR_USAGE, "say which night: --night YYYYMMDD");
    done = err.code || all(&c, night, &err) ? cli_fail(&c, &err) : EXIT_ALL_GOOD;
    cli_release(&c);
    return done;
}
