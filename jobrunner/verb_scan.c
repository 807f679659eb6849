/* nightshift scan: what the files of a night are. Thin: settings, night_scan(), a table or JSON. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cli.h"
#include "common/log.h"
#include "common/text.h"
#include "jobrunner/jobrunner_verbs.h"
#include "jobrunner/night.h"

#define FEW 3 /* frames named one by one */

/* ---- the table --------------------------------------------------------------------------------------------------- */

static const char *format_exptime(const struct night *night, const struct night_group *g, char *buf, size_t size)
{
    const struct night_frame *v = &night->frames[g->first];
    double least = NAN, most = NAN;
    for (int i = 0; i < g->count; i++) {
        least = fmin(least, v[i].exptime_s);
        most = fmax(most, v[i].exptime_s);
    }
    if (isnan(least))
        snprintf(buf, size, "?");
    else if (least == most)
        snprintf(buf, size, "%.4g", least);
    else
        snprintf(buf, size, "%.4g-%.4g", least, most);
    return buf;
}

/* "#1", "#1 #4" (different frames, different masters), "none". */
static void format_masters(const struct night *night, const struct night_group *g, int kind, char *buf, size_t size)
{
    const struct night_frame *v = &night->frames[g->first];
    int shown = 0, last = -2;
    buf[0] = '\0';
    for (int i = 0; i < g->count; i++) {
        size_t n = strlen(buf);
        if (v[i].master[kind] == last || shown > 3) continue;
        last = v[i].master[kind];
        if (shown++ == 3)
            snprintf(buf + n, size - n, " ...");
        else if (last < 0)
            snprintf(buf + n, size - n, "%snone", n ? " " : "");
        else
            snprintf(buf + n, size - n, "%s#%d", n ? " " : "", last + 1);
    }
}

/* Which masters serve the group, and what it is good for itself. */
static void print_service(const struct night *night, const struct night_group *g)
{
    static const char *const names[] = {"bias", "dark", "flat"};
    const struct night_frame *v = &night->frames[g->first];
    int kinds = v->type == FRAME_LIGHT ? 3 : v->type == FRAME_FLAT ? 2 : v->type == FRAME_DARK ? 1 : 0;
    char masters[80];
    for (int k = 0; k < kinds; k++) {
        format_masters(night, g, k, masters, sizeof masters);
        printf("%s%s %s", k ? ", " : "", names[k], masters);
    }
    if (v->type == FRAME_LIGHT) {
        int good = 0, approximate = 0;
        for (int i = 0; i < g->count; i++) good += v[i].wcs == WCS_GOOD, approximate += v[i].wcs == WCS_APPROXIMATE;
        printf("; WCS good %d, approximate %d, none %d", good, approximate, g->count - good - approximate);
    } else if (g->calib >= 0) {
        printf("%smakes master #%d", kinds ? "; " : "", (int)(g - night->groups) + 1);
    }
    if (g->used < g->count) printf("; %d held", g->count - g->used);
    putchar('\n');
}

static void print_group(const struct night *night, int group)
{
    const struct night_group *g = &night->groups[group];
    const struct night_frame *v = &night->frames[g->first];
    char exptime[40], binning[24], size[44], number[16], ccd[16];
    bool has_filter = v->type == FRAME_FLAT || v->type == FRAME_LIGHT;
    snprintf(number, sizeof number, "#%d", group + 1);
    snprintf(ccd, sizeof ccd, "%d", v->ccd);
    snprintf(binning, sizeof binning, "%dx%d", v->binning_x, v->binning_y);
    snprintf(size, sizeof size, "%lldx%lld", (long long)v->nx, (long long)v->ny);
    printf("  %-5s %-6s %4s %-7s %-11s %-10s %10s %7d  ", number, frame_type_name(v->type), v->ccd ? ccd : "-", binning, size,
           has_filter && v->filter[0] ? v->filter : "-", format_exptime(night, g, exptime, sizeof exptime), g->count);
    print_service(night, g);
}

static void print_groups(const struct night *night)
{
    const struct night_frame *last = NULL;
    for (int i = 0; i < night->ngroups; i++) {
        const struct night_frame *v = &night->frames[night->groups[i].first];
        if (!last || last->night != v->night || strcmp(last->instrument, v->instrument)) {
            printf("%snight %d, %s\n  %-5s %-6s %4s %-7s %-11s %-10s %10s %7s  %s\n", last ? "\n" : "", v->night, v->instrument, "group",
                   "type", "ccd", "binning", "size", "filter", "exposure/s", "frames", "masters");
        }
        last = v;
        print_group(night, i);
    }
}

/* A remark about a frame: why it is not used, or what was taken for granted. */
struct remark {
    const char *text;
    const struct night_frame *frame;
};

static int by_text(const void *pa, const void *pb)
{
    const struct remark *a = pa, *b = pb;
    int c = strcmp(a->text, b->text);
    return c ? c : a->frame < b->frame ? -1 : a->frame > b->frame;
}

static void print_frame(const struct night *night, const struct night_frame *f)
{
    char path[4400];
    text_clean(path, sizeof path, night->paths[f->file]);
    if (f->hdu > 1)
        printf("%s[HDU %d]", path, f->hdu);
    else
        printf("%s", path);
}

/* A few frames of one remark are named each, many are counted and three of them named. */
static void print_same(const struct night *night, const struct remark *r, int n)
{
    char text[1200];
    text_clean(text, sizeof text, r->text);
    for (int i = 0; n <= FEW && i < n; i++) {
        printf("  ");
        print_frame(night, r[i].frame);
        printf(": %s\n", text);
    }
    if (n <= FEW) return;
    printf("  %d frames: %s\n   ", n, text);
    for (int i = 0; i < FEW; i++) {
        printf("%s", i ? ", " : " ");
        print_frame(night, r[i].frame);
    }
    printf(" and %d more (--json names all)\n", n - FEW);
}

static void print_remarks(const struct night *night, const char *title, struct remark *list, int n)
{
    if (!n) return;
    if (title) printf("\n%s\n", title);
    qsort(list, (size_t)n, sizeof *list, by_text);
    for (int i = 0, j; i < n; i = j) {
        for (j = i + 1; j < n && !strcmp(list[i].text, list[j].text);) j++;
        print_same(night, list + i, j - i);
    }
}

static void print_verdict(const struct night *night, enum verdict verdict, struct remark *list)
{
    int n = 0;
    for (int i = 0; i < night->nframes; i++) {
        const struct night_frame *f = &night->frames[i];
        if (f->verdict == verdict) list[n++] = (struct remark){f->reason ? f->reason : err_name(f->code), f};
    }
    print_remarks(night, verdict_name(verdict), list, n);
}

static void print_notes(const struct night *night, struct remark *list)
{
    int n = 0, assumed = 0;
    for (int i = 0; i < night->nframes; i++) {
        const struct night_frame *f = &night->frames[i];
        if (f->note) list[n++] = (struct remark){f->note, f};
        assumed += f->longitude_assumed && f->group >= 0;
    }
    if (n || assumed) printf("\nnotes\n");
    if (assumed)
        printf("  longitude 0 was assumed for the night of %d frame%s; set --site-longitude or write it in the instrument file\n", assumed,
               assumed == 1 ? "" : "s");
    print_remarks(night, NULL, list, n);
}

static enum err print_table(const struct night *night, struct error *err)
{
    struct remark *list = calloc(night->nframes > 0 ? (size_t)night->nframes : 1, sizeof *list);
    if (!list) return ERROR(err, ERR_NOMEM, "could not get memory for %d frames", night->nframes);
    print_groups(night);
    print_verdict(night, VERDICT_HELD, list);
    print_verdict(night, VERDICT_REFUSED, list);
    print_verdict(night, VERDICT_IGNORED, list);
    print_notes(night, list);
    free(list);
    printf("\n%d file%s, %d frame%s: %d used, %d held, %d refused, %d ignored", night->npaths, night->npaths == 1 ? "" : "s",
           night->nframes, night->nframes == 1 ? "" : "s", night_count(night, VERDICT_USED), night_count(night, VERDICT_HELD),
           night_count(night, VERDICT_REFUSED), night_count(night, VERDICT_IGNORED));
    if (night->not_fits) printf("; %d file%s without a FITS suffix passed over", night->not_fits, night->not_fits == 1 ? "" : "s");
    putchar('\n');
    return ERR_OK;
}

/* ---- the verb ---------------------------------------------------------------------------------------------------- */

static enum err print_json(const struct night *night, struct error *err)
{
    json_t *j = night_json(night);
    if (!j) return ERROR(err, ERR_NOMEM, "could not get memory for the JSON document");
    int failed = json_dumpf(j, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(15));
    json_decref(j);
    putchar('\n');
    return failed ? ERROR(err, ERR_IO, "could not write the JSON document") : ERR_OK;
}

/* One input gives its own code, several the code of PRODUCT's order: each code that occurs counts once. */
static int exit_code(const struct night *night)
{
    enum err codes[32] = {ERR_OK, ERR_OK};
    int n = 0;
    if (night->nframes == 1) return (int)err_exit_code(night->frames[0].code);
    for (int i = 0; i < night->nframes; i++) {
        int k = 0;
        while (k < n && codes[k] != night->frames[i].code) k++;
        if (k == n && n < 32) codes[n++] = night->frames[i].code;
    }
    return (int)err_exit_code_of_many(codes, n > 2 ? n : 2); /* at least two: codes[] is ERR_OK beyond n */
}

/* A refusal that says more about the machine than about the file is an error of the run. */
static void log_transient(const struct night *night)
{
    for (int i = 0; i < night->nframes; i++) {
        const struct night_frame *f = &night->frames[i];
        struct error err = ERROR_INIT;
        if (!err_is_transient(f->code)) continue;
        ERROR(&err, f->code, "%s", f->reason ? f->reason : err_name(f->code));
        error_subject(&err, night->paths[f->file], f->hdu);
        log_error(&err);
    }
}

static int scan(const struct cli *c, const bool without[3], bool json)
{
    struct instruments *instruments = NULL;
    struct night *night = NULL;
    struct error err = ERROR_INIT;
    if (instruments_load(c->settings, &instruments, &err)) return cli_fail(c, &err);
    struct progress *progress = progress_new("headers", -1, 0);
    double start = clock_seconds();
    enum err e = night_scan(c->operands.v, c->operands.n, c->settings, instruments, without, progress, &night, &err);
    double elapsed = clock_seconds() - start;
    progress_free(progress);
    instruments_free(instruments);
    if (e) return cli_fail(c, &err);
    log_event(LOG_DEBUG, "scanned", LOG_INT("files", night->npaths), LOG_DOUBLE("elapsed_ms", 1e3 * elapsed),
              LOG_DOUBLE("files_per_s", elapsed > 0 ? night->npaths / elapsed : 0));
    log_transient(night);
    e = json ? print_json(night, &err) : print_table(night, &err);
    if (!e && (fflush(stdout) || ferror(stdout))) e = ERROR(&err, ERR_IO, "could not write to standard output");
    int code = e ? cli_fail(c, &err) : exit_code(night);
    night_free(night);
    return code;
}

/* "dark,flat". False for any other word. */
static bool parse_kinds(const char *list, bool ret[3])
{
    static const char *const names[] = {"bias", "dark", "flat"};
    while (*list) {
        size_t n = strcspn(list, ",");
        int k = 0;
        while (k < 3 && (strlen(names[k]) != n || strncmp(list, names[k], n))) k++;
        if (k == 3) return false;
        ret[k] = true;
        list += n + (list[n] == ',');
    }
    return true;
}

int scan_main(int argc, char **argv)
{
    static const struct verb verb = {"scan", scan_main, SCAN_SYNOPSIS, SCAN_SUMMARY};
    bool json = false, without[3] = {false, false, false};
    const char *list = "";
    const struct cli_option options[] = {
        {"--json", CLI_FLAG, &json, NULL, "one JSON document instead of the table"},
        {"--without", CLI_STRING, &list, "LIST", "masters nobody needs: bias, dark, flat, separated by commas"},
        {0},
    };
    struct cli c;
    int code = cli_parse(&c, &verb, argc, argv, options);
    if (code >= 0) return code;
    struct error err = ERROR_INIT;
    if (!c.operands.n)
        ERROR(&err, ERR_USAGE, "which files? usage: nightshift scan %s", verb.synopsis);
    else if (!parse_kinds(list, without))
        ERROR(&err, ERR_USAGE, "'--without %s': expected bias, dark or flat, separated by commas", list);
    code = err.code ? cli_fail(&c, &err) : scan(&c, without, json);
    cli_release(&c);
    return code;
}
