/* nightshift nightreport --out OUT: the page of a night, with pictures, plots and the light curves of what varies. */
#include <stdio.h>
#include <string.h>

#include "common/atomicfile.h"
#include "common/log.h"
#include "pipeline/nightreport.h"
#include "pipeline/pipeline_verbs.h"

enum { PICTURES = 200 };

struct report_options {
    const char *out, *night, *run, *page;
    int pictures;
};

static enum err night_of(const char *word, int *ret, struct error *err)
{
    *ret = 0;
    if (!word) return ERR_OK;
    if (strlen(word) != 8 || strspn(word, "0123456789") != 8) return ERROR(err, ERR_USAGE, "'%s' is no night: it is written yyyymmdd", word);
    for (const char *c = word; *c; c++) *ret = 10 * *ret + (*c - '0');
    return *ret ? ERR_OK : ERROR(err, ERR_USAGE, "'%s' is no night: it is written yyyymmdd", word);
}

static void tell(const struct night_report *r, const char *path)
{
    int pictures = 0;
    for (int i = 0; i < r->nframes; i++) {
        pictures += r->frames[i].picture[0] != 0;
        if (r->frames[i].picture_err.code) log_text(LOG_WARN, "no picture of '%s': %s", r->frames[i].raw, r->frames[i].picture_err.message);
    }
    log_event(LOG_INFO, "report written", LOG_STR("page", path), LOG_INT("night", r->night), LOG_INT("frames", r->nframes), LOG_INT("pictures", pictures),
              LOG_INT("light_curves", r->curves.ncurves), LOG_INT("variable", r->curves.nchosen));
    printf("%s\n", path);
}

static enum err make(const struct report_options *o, struct error *err)
{
    char path[1200], folder[1200], pictures[1300];
    struct night_report r = {0};
    int night;
    enum err e = o->out ? night_of(o->night, &night, err) : ERROR(err, ERR_USAGE, "--out DIR is missing: the folder that reduce wrote to");
    if (!e && (o->pictures < 0)) e = ERROR(err, ERR_USAGE, "--pictures cannot be negative");
    if (!e) e = nightreport_read(o->out, night, o->run, &r, err);
    if (e) return e;
    if (o->page) snprintf(path, sizeof path, "%s", o->page);
    else snprintf(path, sizeof path, "%s/quality/%08d/report/index.html", o->out, r.night);
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash) slash[slash == folder] = 0;
    snprintf(pictures, sizeof pictures, "%s%spreviews", slash ? folder : "", slash ? "/" : "");
    e = o->pictures ? nightreport_pictures(&r, pictures, o->pictures, err) : slash ? make_folders(folder, err) : ERR_OK;
    if (!e) e = nightpage_write(&r, path, err);
    if (!e) tell(&r, path);
    nightreport_release(&r);
    return e;
}

int verb_nightreport(int argc, char **argv)
{
    struct cli cli;
    struct error err = ERROR_INIT;
    struct report_options o = {.pictures = PICTURES};
    const struct cli_option options[] = {
        {"--out", CLI_STRING, &o.out, "DIR", "where reduce and nightcal wrote"},
        {"--night", CLI_STRING, &o.night, "YYYYMMDD", "this night (default: the newest)"},
        {"--run", CLI_STRING, &o.run, "FILE", "what a run tells of its frames, as JSON"},
        {"--page,-o", CLI_STRING, &o.page, "FILE", "write the page here (default: DIR/quality/NIGHT/report/index.html)"},
        {"--pictures", CLI_INT, &o.pictures, "N", "pictures of the first N frames (default: 200)"},
        {0},
    };
    const struct verb *verb = pipeline_verbs;
    while (strcmp(verb->name, "nightreport")) verb++;
    int done = cli_parse(&cli, verb, argc, argv, options);
    if (done >= 0) return done;
    if (cli.operands.n) {
        ERROR(&err, ERR_USAGE, "'%s' is one operand too many", cli.operands.v[0]);
        done = cli_fail(&cli, &err);
    } else {
        done = make(&o, &err) ? cli_fail(&cli, &err) : EXIT_ALL_GOOD;
    }
    cli_release(&cli);
    return done;
}
