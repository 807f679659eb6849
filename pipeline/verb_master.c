/* nightshift master FILE... | DIR --out DIR: raw calibration frames in, master bias, dark and flat out. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cli.h"
#include "common/digest.h"
#include "common/log.h"
#include "pipeline/interrupt.h"
#include "pipeline/mastermake.h"
#include "pipeline/pipeline_verbs.h"
#include "pipeline/rawimage.h"

#define CCDS_MAX 512

struct master_options {
    const char *out, *kind, *without;
};

/* One file looked at: the CCDs it holds, or why it cannot be used. */
struct looked {
    enum err code;
    struct error error;
    const struct instrument *ins;
    int n;
    int hdu[CCDS_MAX];
    struct exposure_meta *meta; /* n */
    char sum[DIGEST_HEX_SIZE];
    bool product, no_image;
};

struct census {
    int bias, dark, flat, other, products, unreadable, problem;
};

static bool is_calibration(enum frame_type t)
{
    return t == FRAME_BIAS || t == FRAME_DARK || t == FRAME_FLAT;
}

static enum err look_inside(struct raw_file *f, const struct settings *s, struct looked *l)
{
    bool calibration = false;
    l->ins = raw_file_instrument(f);
    l->n = raw_file_ccds(f, l->hdu, CCDS_MAX);
    l->no_image = l->n < 1;
    if (l->no_image) return ERROR(&l->error, ERR_UNSUPPORTED, "it holds no image");
    l->meta = calloc((size_t)l->n, sizeof *l->meta);
    if (!l->meta) return ERROR(&l->error, ERR_NOMEM, "no memory for %d CCDs", l->n);
    for (int i = 0; i < l->n; i++) {
        struct header h = {0};
        enum err code = raw_file_meta(f, l->hdu[i], s, &l->meta[i], &h, &l->error);
        l->product = !code && header_is_product(&h);
        header_release(&h);
        if (code || l->product) return code;
        if (is_calibration(l->meta[i].type) && (code = raw_file_verify(f, l->hdu[i], &l->error))) return code;
        calibration = calibration || is_calibration(l->meta[i].type);
        if (!calibration && i == 0) { /* a light frame: the other CCDs are lights as well */
            l->n = 1;
            break;
        }
    }
    return ERR_OK;
}

static void look_at(const char *path, const struct instruments *set, const struct settings *s, struct looked *l)
{
    struct raw_file *f = NULL;
    l->code = raw_file_open(path, set, s, &f, &l->error);
    if (!l->code) l->code = look_inside(f, s, l);
    raw_file_close(f);
    if (!l->code && !l->product && is_calibration(l->meta[0].type)) l->code = digest_file(path, l->sum, &l->error);
    if (l->code) error_subject(&l->error, path, 0);
}

static void take(struct calibration_set *cs, const char *path, struct looked *l, bool named, struct census *census, enum err *code, struct error *err)
{
    if (l->no_image && !named) {
        census->other++;
        l->code = ERR_OK;
        l->n = 0;
    }
    if (l->code) {
        log_error(&l->error);
        census->unreadable++;
        return;
    }
    if (l->product) {
        census->products++;
        return;
    }
    for (int i = 0; i < l->n && !*code; i++) {
        const struct exposure_meta *m = &l->meta[i];
        census->bias += m->type == FRAME_BIAS;
        census->dark += m->type == FRAME_DARK;
        census->flat += m->type == FRAME_FLAT;
        census->other += !is_calibration(m->type);
        if (!is_calibration(m->type)) continue;
        if (m->problem[0]) {
            log_event(LOG_WARN, "calibration frame left aside", LOG_STR("file", path), LOG_INT("ccd", m->ccd), LOG_STR("why", m->problem));
            census->problem++;
        } else *code = calibration_set_add(cs, l->ins, m, path, l->hdu[i], l->sum, err);
    }
}

/* Files are looked at in parallel and taken in their order. */
static enum err gather(struct calibration_set *cs, const struct file_list *files, enum err *ret_codes, struct census *ret, struct error *err)
{
    enum err code = ERR_OK;
    struct census census = {0};
    /* Each file has its own slot of codes; groups are touched in the ordered part alone. */
#pragma omp parallel for ordered default(none) shared(cs, files, ret_codes, census, code, err) schedule(dynamic, 1)
    for (int i = 0; i < files->n; i++) {
        struct looked *l = calloc(1, sizeof *l);
        if (l) look_at(files->path[i], cs->instruments, cs->settings, l);
#pragma omp ordered
        {
            if (!l && !code) code = ERROR(err, ERR_NOMEM, "no memory to look at '%s'", files->path[i]);
            if (l && !code) take(cs, files->path[i], l, files->named[i], &census, &code, err);
            ret_codes[i] = l ? l->code : ERR_NOMEM;
        }
        if (l) free(l->meta);
        free(l);
    }
    *ret = census;
    return code;
}

static void tell_gain(const struct calibration_group *g)
{
    const struct exposure_meta *m = g->meta;
    for (int a = 0; a < m->namp; a++)
        log_text(LOG_INFO, "%s%s%s: the header has no gain or read noise; measured: gain %.3f e-/ADU, read noise %.2f e- (%.2f ADU)",
                 m->instrument, m->namp > 1 ? " amplifier " : "", m->namp > 1 ? m->amp[a].name : "", m->amp[a].gain_e_per_adu,
                 m->amp[a].rdnoise_e, m->amp[a].rdnoise_e / m->amp[a].gain_e_per_adu);
}

static void tell_group(void *user, const struct calibration_group *g)
{
    (void)user;
    const char *kind = frame_type_name(g->meta->type);
    for (int i = 0; i < g->n; i++)
        if (g->frame[i].left_out[0])
            log_event(LOG_WARN, "frame left out", LOG_STR("file", g->frame[i].path), LOG_STR("kind", kind), LOG_STR("why", g->frame[i].left_out));
    if (g->code) {
        log_error(&g->error);
        return;
    }
    if (g->already_made) {
        log_event(LOG_INFO, "already made", LOG_STR("master", g->path), LOG_STR("kind", kind));
        return;
    }
    if (g->gains_measured && !g->gains_told) tell_gain(g);
    if (g->previous_differs)
        log_event(LOG_WARN, "the new master differs from the one it follows", LOG_STR("master", g->path), LOG_STR("previous", g->previous),
                  LOG_DOUBLE("moved_percent", 100 * g->moved), LOG_DOUBLE("level_shift", g->shift));
    log_event(LOG_INFO, "master made", LOG_STR("master", g->path), LOG_STR("kind", kind), LOG_INT("ccd", g->meta->ccd),
              LOG_STR("filter", g->meta->filter), LOG_INT("frames", g->n), LOG_INT("values_clipped", g->clipped), LOG_INT("hot", g->hot),
              LOG_INT("lowflat", g->low), LOG_INT("bad_column_pieces", g->columns), LOG_DOUBLE("elapsed_ms", 1000 * g->seconds));
}

static bool asked_to_stop(void *user)
{
    (void)user;
    return interrupt_asked();
}

static bool in_list(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = list; p && *p; p += strcspn(p, ","), p += *p == ',')
        if (!strncmp(p, word, n) && (p[n] == ',' || !p[n])) return true;
    return false;
}

static bool list_of_kinds(const char *list, bool ret[MASTER_KINDS], bool all)
{
    int words = 0, known = 0;
    for (int k = 0; k < MASTER_KINDS; k++) {
        ret[k] = list ? in_list(list, frame_type_name((enum frame_type)(FRAME_BIAS + k))) : all;
        known += ret[k];
    }
    for (const char *p = list; p && *p; p += strcspn(p, ","), p += *p == ',') words++;
    return !list || words == known;
}

static int run_masters(struct cli *c, const struct master_options *o, struct calibration_set *cs, const struct file_list *files)
{
    struct error err = ERROR_INIT;
    struct census census;
    struct master_request request = {.out = o->out, .told = tell_group, .stop = asked_to_stop};
    if (!list_of_kinds(o->kind, request.make, true) || !list_of_kinds(o->without, request.without, false)) {
        ERROR(&err, ERR_USAGE, "--kind and --without take bias, dark, flat, separated by commas");
        return cli_fail(c, &err);
    }
    enum err *codes = calloc((size_t)files->n + 1, sizeof *codes), *all = NULL;
    if (!codes) {
        ERROR(&err, ERR_NOMEM, "no memory for %d files", files->n);
        return cli_fail(c, &err);
    }
    int exit_code;
    enum err code = gather(cs, files, codes, &census, &err);
    if (!code) {
        log_event(LOG_INFO, "calibration frames", LOG_INT("bias", census.bias), LOG_INT("dark", census.dark), LOG_INT("flat", census.flat),
                  LOG_INT("other", census.other), LOG_INT("products", census.products), LOG_INT("unreadable", census.unreadable), LOG_INT("groups", cs->n));
        if (!cs->n && !census.unreadable) {
            code = ERROR(&err, ERR_NOT_FOUND, files->n == 1 ? "it is no bias, dark or flat" : "no bias, dark or flat among %d files", files->n);
            error_subject(&err, c->operands.v[0], 0);
        }
    }
    if (!code) code = masters_make(cs, &request, &err);
    if (code && code != ERR_INTERRUPTED) exit_code = cli_fail(c, &err);
    else {
        int n = 0;
        all = calloc((size_t)files->n + (size_t)cs->n + 1, sizeof *all);
        for (int i = 0; all && i < cs->n; i++)
            if (request.make[cs->group[i].meta->type - FRAME_BIAS]) all[n++] = cs->group[i].code;
        for (int i = 0; all && i < files->n; i++)
            if (codes[i]) all[n++] = codes[i];
        if (all && code) all[n++] = code;
        exit_code = all ? err_exit_code_of_many(all, n) : EXIT_TRANSIENT;
        if (code) log_text(LOG_WARN, "interrupted: the masters finished so far are kept");
    }
    free(codes);
    free(all);
    return exit_code;
}

int verb_master(int argc, char **argv)
{
    static const struct verb verb = {"master", verb_master, "FILE... | DIR --out DIR", "raw bias, dark and flat frames -> master calibrations"};
    struct master_options o = {0};
    const struct cli_option options[] = {
        {"--out,-o", CLI_STRING, &o.out, "DIR", "masters are written to DIR/masters"},
        {"--kind", CLI_STRING, &o.kind, "LIST", "only these: bias, dark, flat (commas between)"},
        {"--without", CLI_STRING, &o.without, "LIST", "make darks or flats without a master of these kinds"},
        {0},
    };
    struct cli c = {0};
    struct error err = ERROR_INIT;
    struct calibration_set cs = {0};
    struct file_list files = {0};
    struct instruments *set = NULL;
    int exit_code = cli_parse(&c, &verb, argc, argv, options);
    if (exit_code >= 0) return exit_code;
    interrupt_watch();
    enum err code = ERR_OK;
    if (!o.out) code = ERROR(&err, ERR_USAGE, "say where the masters go: --out DIR");
    else if (!c.operands.n) code = ERROR(&err, ERR_USAGE, "name raw calibration frames or a folder of them");
    if (!code) code = instruments_load(c.settings, &set, &err);
    if (!code) code = file_list_collect(c.operands.v, c.operands.n, &files, &err);
    if (!code) {
        cs.instruments = set;
        cs.settings = c.settings;
        exit_code = run_masters(&c, &o, &cs, &files);
    } else exit_code = cli_fail(&c, &err);
    calibration_set_release(&cs);
    file_list_release(&files);
    instruments_free(set);
    cli_release(&c);
    return exit_code;
}
