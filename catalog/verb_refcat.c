/* nightshift refcat add FILE... | add --tap URL --cone RA,DEC,R | export --cone RA,DEC,R --epoch E -o FILE | list */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/catalog_verbs.h"
#include "catalog/refcat.h"
#include "common/digest.h"
#include "common/log.h"
#include "common/products.h"

struct job {
    struct cli cli;
    struct db *db;
    const char *release, *tap, *table, *cone_text, *out;
    double epoch, mag_max;
    int maxrec;
    struct refcat_cone cone;
};

static enum err read_cone(struct job *j, struct error *err)
{
    char end;
    struct refcat_cone *c = &j->cone;
    c->epoch = j->epoch, c->mag_max = j->mag_max, c->release = j->release;
    if (!j->cone_text || sscanf(j->cone_text, "%lf,%lf,%lf%c", &c->ra, &c->dec, &c->radius, &end) != 3)
        return ERROR(err, ERR_USAGE, "say where: --cone RA,DEC,RADIUS in degrees");
    if (!(fabs(c->ra) <= 720) || !(fabs(c->dec) <= 90) || !(c->radius > 0 && c->radius <= 180))
        return ERROR(err, ERR_USAGE, "the cone '%s' is not on the sky", j->cone_text);
    if (isfinite(j->epoch) && !(j->epoch > 1800 && j->epoch < 2300)) return ERROR(err, ERR_USAGE, "the epoch %g is no Julian year between 1800 and 2300", j->epoch);
    return ERR_OK;
}

static void tell(const char *source, const char *release, const struct refcat_added *a)
{
    if (a->known) printf("%s: already in release %s\n", source, release);
    else printf("%s: %" PRId64 " stars, %" PRId64 " of them new in release %s\n", source, a->read, a->added, release);
}

/* Without --release a file names it: "gaia_dr3.fits" is gaia_dr3. */
static enum err add_file(struct job *j, const char *path, struct error *err)
{
    struct refstars stars;
    struct refcat_added added;
    char sum[DIGEST_HEX_SIZE], stem[256];
    enum err e = refstars_read(path, &stars, err);
    if (e) return e;
    const char *release = j->release ? j->release : product_stem(stem, sizeof stem, path), *slash = strrchr(path, '/');
    e = digest_file(path, sum, err);
    if (!e) e = refcat_add(j->db, release, slash ? slash + 1 : path, sum, &stars, &added, err);
    if (!e) tell(path, release, &added);
    else error_subject(err, path, 0);
    refstars_release(&stars);
    return e;
}

static enum err add_tap(struct job *j, struct error *err)
{
    struct refstars stars = {0};
    struct refcat_added added;
    char *text = NULL, sum[DIGEST_HEX_SIZE];
    size_t size = 0;
    const char *release = j->release ? j->release : j->table;
    enum err e = refcat_from_tap(j->tap, j->table, &j->cone, j->maxrec, &text, &size, err);
    if (!e) e = refstars_parse(text, size, j->tap, &stars, err);
    if (!e) {
        digest_buffer(text, size, sum);
        e = refcat_add(j->db, release, j->tap, sum, &stars, &added, err);
    }
    if (!e) tell(j->tap, release, &added);
    refstars_release(&stars);
    free(text);
    return e;
}

static enum err add(struct job *j, struct error *err)
{
    const struct cli_strings *files = &j->cli.operands;
    if (j->tap ? files->n > 1 : files->n < 2) return ERROR(err, ERR_USAGE, "name files, or a service: --tap URL --cone RA,DEC,RADIUS");
    if (j->tap) {
        enum err e = read_cone(j, err);
        return e ? e : add_tap(j, err);
    }
    for (int i = 1; i < files->n; i++) {
        enum err e = add_file(j, files->v[i], err);
        if (e) return e;
    }
    return ERR_OK;
}

static enum err export(struct job *j, struct error *err)
{
    struct refstars stars;
    if (!j->out) return ERROR(err, ERR_USAGE, "say where it goes: -o FILE");
    enum err e = read_cone(j, err);
    if (!e) e = refcat_stars(j->db, &j->cone, &stars, err);
    if (e) return e;
    e = refstars_write(j->out, &stars, err);
    if (!e) printf("%s: %" PRId64 " stars\n", j->out, stars.n);
    refstars_release(&stars);
    return e;
}

static enum err list(struct job *j, struct error *err)
{
    struct db_result *r = NULL;
    enum err e = db_query(j->db, "SELECT release, n_star, array_to_string(bands, ' '), (SELECT count(*) FROM refcat_file f WHERE f.refcat_id = c.refcat_id) FROM refcat c ORDER BY 1",
                          0, NULL, &r, err);
    for (int64_t i = 0; !e && i < db_nrow(r); i++) printf("%s: %s stars of %s files; %s\n", db_text(r, i, 0), db_text(r, i, 1), db_text(r, i, 3), db_text(r, i, 2));
    db_result_free(r);
    return e;
}

static enum err work(struct job *j, struct error *err)
{
    static const struct {
        const char *name;
        enum err (*run)(struct job *, struct error *);
    } actions[] = {{"add", add}, {"export", export}, {"list", list}};
    const char *what = j->cli.operands.n ? j->cli.operands.v[0] : "";
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++) {
        if (strcmp(actions[i].name, what)) continue;
        enum err e = db_open_ready(j->cli.settings, "nightshift refcat", &j->db, err);
        return e ? e : actions[i].run(j, err);
    }
    return ERROR(err, ERR_USAGE, "say what to do: add, export or list");
}

int verb_refcat(int argc, char **argv)
{
    struct job j = {.epoch = NAN, .mag_max = NAN, .table = "gaiadr3.gaia_source", .maxrec = 1000000};
    struct error err = ERROR_INIT;
    const struct cli_option options[] = {
        {"--release", CLI_STRING, &j.release, "NAME", "catalogue and version, as gaia_dr3 (add: the file's name)"},
        {"--tap", CLI_STRING, &j.tap, "URL", "add from this TAP service"},
        {"--table", CLI_STRING, &j.table, "NAME", "its table, with Gaia's columns (gaiadr3.gaia_source)"},
        {"--cone", CLI_STRING, &j.cone_text, "RA,DEC,R", "region, degrees"},
        {"--epoch", CLI_DOUBLE, &j.epoch, "YEAR", "export: stars carried to this Julian year"},
        {"--mag-max", CLI_DOUBLE, &j.mag_max, "MAG", "none fainter in the first band"},
        {"--maxrec", CLI_INT, &j.maxrec, "N", "stars asked of a service at most (1000000)"},
        {"-o,--output", CLI_STRING, &j.out, "FILE", "export: FITS table for reduce --refs"},
        {0},
    };
    const struct verb *verb = catalog_verbs;
    while (strcmp(verb->name, "refcat")) verb++;
    int done = cli_parse(&j.cli, verb, argc, argv, options);
    if (done >= 0) return done;
    done = work(&j, &err) ? cli_fail(&j.cli, &err) : EXIT_ALL_GOOD;
    db_close(j.db);
    cli_release(&j.cli);
    return done;
}
