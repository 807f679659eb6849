/* nightshift nightcal CAT...: coordinates from neighbours and relative zero points of one night's catalogues. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "common/atomicfile.h"
#include "common/log.h"
#include "pipeline/nightcal.h"
#include "pipeline/pipeline_verbs.h"

static json_t *real(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *frame_json(const struct nightcal_frame *f)
{
    char line[1200];
    json_t *o = json_pack("{ss ss ss ss si}", "file", f->path, "raw", f->raw, "filter", f->filter, "status", f->code ? err_name(f->code) : "ok",
                          "ccd", f->ccd);
    if (f->code) json_object_set_new(o, "message", json_string(error_line(&f->err, line, sizeof line)));
    json_object_set_new(o, "mjd_mid", real(f->mjd));
    json_object_set_new(o, "wcs", json_string(f->has_wcs ? "header" : f->solved ? "neighbour" : "none"));
    if (f->solved) {
        json_object_set_new(o, "wcs_from", json_string(f->wcs_from));
        json_object_set_new(o, "wcs_pairs", json_integer(f->wcs_pairs));
        json_object_set_new(o, "wcs_rms_px", real(f->wcs_rms_px));
        json_object_set_new(o, "wcs_rms_arcsec", real(f->wcs_rms_arcsec));
    }
    json_object_set_new(o, "magzero", real(f->zero));
    json_object_set_new(o, "magzero_err", real(f->zero_err));
    json_object_set_new(o, "magzero_kind", json_string(f->absolute ? "absolute" : isfinite(f->zero) ? "relative" : ""));
    json_object_set_new(o, "stars", json_integer(f->zero_stars));
    return o;
}

static json_t *report_json(const struct nightcal *c)
{
    json_t *o = json_object(), *frames = json_array(), *stars = json_array();
    for (int i = 0; i < c->nframes; i++) json_array_append_new(frames, frame_json(&c->frames[i]));
    for (int64_t i = 0; i < c->nstars; i++) {
        const struct nightcal_star *s = &c->stars[i];
        json_array_append_new(stars, json_pack("{sf sf sf sf si ss}", "ra", s->ra, "dec", s->dec, "mag", s->mag, "rms", s->rms, "n", s->n, "filter", s->filter));
    }
    json_object_set_new(o, "frames", frames);
    json_object_set_new(o, "scatter_bright_third_mag", real(nightcal_scatter(c, 1.0 / 3, 5)));
    json_object_set_new(o, "stars", stars);
    return o;
}

static void print_table(const struct nightcal *c)
{
    printf("%-44s %-6s %-10s %6s %7s %9s %7s %6s\n", "frame", "filter", "wcs", "pairs", "rms px", "magzero", "error", "stars");
    for (int i = 0; i < c->nframes; i++) {
        const struct nightcal_frame *f = &c->frames[i];
        if (f->code) {
            printf("%-44s %s\n", f->raw[0] ? f->raw : f->path, err_name(f->code));
            continue;
        }
        printf("%-44s %-6s %-10s ", f->raw, f->filter, f->has_wcs ? "header" : "neighbour");
        if (f->solved) printf("%6d %7.3f ", f->wcs_pairs, f->wcs_rms_px);
        else printf("%6s %7s ", "", "");
        if (isfinite(f->zero)) printf("%9.4f %7.4f %6d\n", f->zero, f->zero_err, f->zero_stars);
        else printf("%9s %7s %6d\n", "none", "", f->zero_stars);
    }
    double scatter = nightcal_scatter(c, 1.0 / 3, 5);
    if (isfinite(scatter)) printf("scatter of the brightest third of %lld stars: %.4f mag\n", (long long)c->nstars, scatter);
}

static enum err write_report(const struct nightcal *c, const char *out, struct error *err)
{
    json_t *o = report_json(c);
    char *text = o ? json_dumps(o, JSON_INDENT(1) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(12)) : NULL;
    enum err e = text ? atomicfile_write(out, text, strlen(text), err) : ERROR(err, ERR_NOMEM, "could not write the report: out of memory");
    free(text);
    json_decref(o);
    return e;
}

static int report(struct cli *cli, const struct nightcal *c, const char *out)
{
    struct error err = ERROR_INIT;
    enum err *codes = calloc((size_t)c->nframes + 1, sizeof *codes);
    if (!codes) return EXIT_TRANSIENT;
    for (int i = 0; i < c->nframes; i++) {
        codes[i] = c->frames[i].code;
        if (codes[i]) log_error(&c->frames[i].err);
    }
    int code = (int)err_exit_code_of_many(codes, c->nframes);
    free(codes);
    print_table(c);
    if (out && write_report(c, out, &err)) return cli_fail(cli, &err);
    return code;
}

/* "@FILE" stands for the paths in FILE, one a line. text: holds them. */
static enum err expand(const struct cli_strings *operands, struct cli_strings *ret, char **text, struct error *err)
{
    if (operands->n != 1 || operands->v[0][0] != '@') {
        *ret = *operands;
        return ERR_OK;
    }
    FILE *f = fopen(operands->v[0] + 1, "re");
    size_t size = 0;
    if (!f || getdelim(text, &size, 0, f) < 0) {
        if (f) fclose(f);
        return ERROR(err, ERR_NOT_FOUND, "cannot read the list '%s'", operands->v[0] + 1);
    }
    fclose(f);
    int n = 0;
    for (char *p = *text; *p; p++) n += *p == '\n';
    ret->v = calloc((size_t)n + 2, sizeof *ret->v);
    if (!ret->v) return ERROR(err, ERR_NOMEM, "no memory for a list of %d catalogues", n);
    char *save = NULL;
    for (char *line = strtok_r(*text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) ret->v[ret->n++] = line;
    return ERR_OK;
}

int verb_nightcal(int argc, char **argv)
{
    struct cli cli;
    struct error err = ERROR_INIT;
    struct nightcal c = {0};
    const char *out = NULL;
    const struct cli_option options[] = {
        {"--out,-o", CLI_STRING, &out, "FILE", "write what was found as JSON"},
        {0},
    };
    const struct verb *verb = pipeline_verbs;
    while (strcmp(verb->name, "nightcal")) verb++;
    int done = cli_parse(&cli, verb, argc, argv, options);
    if (done >= 0) return done;
    struct cli_strings files = {0};
    char *text = NULL;
    if (!cli.operands.n) ERROR(&err, ERR_USAGE, "no catalogue is named");
    if (err.code || expand(&cli.operands, &files, &text, &err) || nightcal_run(files.v, files.n, &c, &err)) {
        done = cli_fail(&cli, &err);
    } else {
        done = report(&cli, &c, out);
        nightcal_release(&c);
    }
    if (files.v != cli.operands.v) free(files.v);
    free(text);
    cli_release(&cli);
    return done;
}
