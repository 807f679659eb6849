/* nightshift associate --night N: the objects of a night, rebuilt. */
#include <stdio.h>
#include <string.h>

#include "catalog/associate.h"
#include "catalog/catalog_verbs.h"
#include "common/log.h"

#define TRIES    5
#define REVIVE_S 60

struct job {
    struct cli cli;
    struct db *db;
    struct instruments *instruments;
    int night;
    bool publish;
};

/* A rebuild is one transaction: a database that goes away in between just makes it start again. */
static enum err rebuild(struct job *j, struct associate_result *ret, struct error *err)
{
    for (int attempt = 1;; attempt++) {
        error_clear(err);
        enum err e = associate_night(j->db, j->cli.settings, j->instruments, j->night, ret, err);
        if (e != ERR_DATABASE || attempt == TRIES) return e;
        log_text(LOG_WARN, "%s; trying again", err->message);
        if (db_is_broken(j->db) && (e = db_revive_ready(j->cli.settings, j->db, REVIVE_S, err))) return e;
    }
}

static enum err all(struct job *j, struct error *err)
{
    struct associate_result r = {0};
    double start = clock_seconds();
    enum err e = instruments_load(j->cli.settings, &j->instruments, err);
    if (!e) e = db_open_ready(j->cli.settings, "nightshift associate", &j->db, err);
    if (!e) e = rebuild(j, &r, err);
    if (!e && j->publish) e = db_execf(j->db, err, "SELECT night_publish(%d)", j->night);
    if (e) return e;
    double elapsed = clock_seconds() - start;
    log_event(LOG_INFO, "night associated", LOG_INT("night", j->night), LOG_INT("first_night", r.first_night), LOG_INT("ccds", r.ccds),
              LOG_INT("detections", r.detections), LOG_INT("founded", r.founded), LOG_INT("changed", r.changed),
              LOG_INT("objects_changed", r.objects_changed), LOG_DOUBLE("elapsed_ms", 1e3 * elapsed), LOG_DOUBLE("rows_per_s", (double)r.detections / elapsed));
    printf("night %d: %lld detections of %lld CCDs since night %d; %lld joined an object, %lld founded one; %lld associations and %lld objects changed\n",
           j->night, (long long)r.detections, (long long)r.ccds, r.first_night, (long long)r.joined, (long long)r.founded, (long long)r.changed,
           (long long)r.objects_changed);
    return ERR_OK;
}

int verb_associate(int argc, char **argv)
{
    struct job j = {0};
    struct error err = ERROR_INIT;
    const struct cli_option options[] = {
        {"--night", CLI_INT, &j.night, "YYYYMMDD", "the night to rebuild; later ones that are not published follow"},
        {"--publish", CLI_FLAG, &j.publish, NULL, "then publish the night: its objects keep their ids for ever"},
        {0},
    };
    const struct verb *verb = catalog_verbs;
    while (strcmp(verb->name, "associate")) verb++;
    int done = cli_parse(&j.cli, verb, argc, argv, options);
    if (done >= 0) return done;
    if (j.night < 18000101 || j.night > 29991231) ERROR(&err, ERR_USAGE, "say which night: --night YYYYMMDD");
    done = err.code || all(&j, &err) ? cli_fail(&j.cli, &err) : EXIT_ALL_GOOD;
    db_close(j.db);
    instruments_free(j.instruments);
    cli_release(&j.cli);
    return done;
}
