#include "pipeline/reduceplan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

#define CCDS_MAX 512

void reduce_work_release(struct reduce_work *w)
{
    for (int i = 0; i < w->ntask; i++) free(w->task[i].error);
    for (int i = 0; i < w->nplan; i++) {
        exposure_plan_unload(&w->plan[i]);
        settings_free(w->plan[i].settings);
    }
    for (int i = 0; i < w->nsum; i++) free(w->sum[i]);
    free(w->task);
    free(w->plan);
    free(w->sum);
    *w = (struct reduce_work){0};
}

static bool grow(void **array, int *capacity, int n, size_t size)
{
    if (n < *capacity) return true;
    int wanted = *capacity ? 2 * *capacity : 64;
    void *grown = realloc(*array, (size_t)wanted * size);
    if (!grown) return false;
    *array = grown;
    *capacity = wanted;
    return true;
}

/* ---- plans ------------------------------------------------------------------------------------------------------- */

/* --bias F and the like: the one that fits; when one CCD has one file given, that is meant even if its filter differs. */
static struct master_info *explicit_master(struct master_list *l, enum frame_type kind, const struct exposure_meta *m, char *why)
{
    int i = master_choose(l, kind, m, why), same = -1, count = 0;
    if (i >= 0) return &l->v[i];
    for (int j = 0; j < l->n; j++) {
        const struct calib *c = &l->v[j].calib;
        if (c->kind == kind && c->ccd == m->ccd && c->nx == m->nx && c->ny == m->ny) {
            same = j;
            count++;
        }
    }
    if (count != 1) return NULL;
    log_event(LOG_WARN, "the master given does not match the frame but is used as asked", LOG_STR("master", l->v[same].path), LOG_STR("why", why));
    return &l->v[same];
}

static enum err choose(struct reduce_request *r, const struct exposure_meta *m, struct master_info *used[MASTER_KINDS], struct error *err)
{
    for (int k = 0; k < MASTER_KINDS; k++) {
        enum frame_type kind = (enum frame_type)(FRAME_BIAS + k);
        char why[256] = "";
        used[k] = NULL;
        if (r->without[k]) continue;
        if (r->explicit_masters[k].n) used[k] = explicit_master(&r->explicit_masters[k], kind, m, why);
        else {
            int i = master_choose(&r->masters, kind, m, why);
            if (i >= 0) used[k] = &r->masters.v[i];
        }
        if (!used[k]) {
            enum err code = ERROR(err, ERR_NO_CALIBRATION, "no master %s: %s", frame_type_name(kind), why);
            error_hint(err, "make masters first (nightshift master), give --%s FILE, or say --without %s", frame_type_name(kind), frame_type_name(kind));
            return code;
        }
        enum err code = master_sum(used[k], err);
        if (code) return code;
    }
    return ERR_OK;
}

static double dark_seconds(const struct exposure_meta *m)
{
    double t = isfinite(m->darktime_s) ? m->darktime_s : m->exptime_s;
    return isfinite(t) && t > 0 ? t : 0;
}

static bool plan_serves(const struct exposure_plan *p, const struct instrument *ins, const struct exposure_meta *m,
                        struct master_info *const used[MASTER_KINDS])
{
    if (p->ins != ins || p->ccd != m->ccd || p->namp != m->namp || p->nx != m->nx || p->ny != m->ny) return false;
    for (int k = 0; k < MASTER_KINDS; k++)
        if (p->used[k] != used[k]) return false;
    double scale;
    if (master_dark_scale(used[1], settings_double(p->settings, SET_DARK_TEMPERATURE), m->ccd_temp_c, &scale, NULL)) return false;
    return !used[1] || (p->darktime_s == dark_seconds(m) && p->dark_scale == scale);
}

static enum err add_plan(struct reduce_request *r, struct reduce_work *w, const struct instrument *ins, const struct exposure_meta *m,
                         struct master_info *const used[MASTER_KINDS], struct error *err)
{
    if (!grow((void **)&w->plan, &w->plan_capacity, w->nplan, sizeof *w->plan)) return ERROR(err, ERR_NOMEM, "no memory for plans");
    struct exposure_plan p = {.ins = ins, .refs = r->refs, .settings = settings_copy(r->settings), .darktime_s = dark_seconds(m), .ccd = m->ccd, .namp = m->namp, .nx = m->nx, .ny = m->ny};
    if (!p.settings) return ERROR(err, ERR_NOMEM, "no memory for settings");
    enum err code = instrument_apply_settings(ins, p.settings, err);
    if (!code) code = master_dark_scale(used[1], settings_double(p.settings, SET_DARK_TEMPERATURE), m->ccd_temp_c, &p.dark_scale, err);
    if (code) {
        settings_free(p.settings);
        return code;
    }
    recipe_digest(p.settings, ins, p.recipe);
    for (int k = 0; k < MASTER_KINDS; k++) p.used[k] = used[k];
    w->plan[w->nplan++] = p;
    return ERR_OK;
}

static enum err plan_for(struct reduce_request *r, struct reduce_work *w, const struct instrument *ins, const struct exposure_meta *m,
                         int *ret, struct error *err)
{
    struct master_info *used[MASTER_KINDS];
    enum err code = choose(r, m, used, err);
    if (code) return code;
    for (int i = 0; i < w->nplan; i++)
        if (plan_serves(&w->plan[i], ins, m, used)) {
            *ret = i;
            return ERR_OK;
        }
    code = add_plan(r, w, ins, m, used, err);
    if (!code) *ret = w->nplan - 1;
    return code;
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

struct looked {
    enum err code;
    struct error error;
    const struct instrument *ins;
    bool product, light, no_image;
    int n, hdu[CCDS_MAX];
    enum err ccd_code[CCDS_MAX];
    struct error *ccd_error;    /* n */
    struct exposure_meta *meta; /* n */
    char sum[DIGEST_HEX_SIZE];
};

static void look_at_ccd(struct raw_file *f, const struct settings *s, struct looked *l, int i)
{
    struct header h = {0};
    struct exposure_meta *m = &l->meta[i];
    struct error *err = &l->ccd_error[i];
    enum err code = raw_file_meta(f, l->hdu[i], s, m, &h, err);
    if (!code && header_is_product(&h)) l->product = true;
    if (!code && m->type == FRAME_UNKNOWN) code = ERROR(err, ERR_UNSUPPORTED, "cannot tell what kind of frame it is%s%s", m->problem[0] ? ": " : "", m->problem);
    else if (!code && m->problem[0]) code = ERROR(err, ERR_HELD, "%s", m->problem);
    if (!code && m->type == FRAME_LIGHT) l->light = true;
    if (code && !l->product) l->light = true; /* its trouble is told */
    l->ccd_code[i] = code;
    header_release(&h);
}

static enum err look_inside(struct raw_file *f, const struct settings *s, struct looked *l)
{
    l->ins = raw_file_instrument(f);
    l->n = raw_file_ccds(f, l->hdu, CCDS_MAX);
    l->no_image = l->n < 1;
    if (l->no_image) return ERROR(&l->error, ERR_UNSUPPORTED, "it holds no image");
    l->meta = calloc((size_t)l->n, sizeof *l->meta);
    l->ccd_error = calloc((size_t)l->n, sizeof *l->ccd_error);
    if (!l->meta || !l->ccd_error) {
        l->n = 0;
        return ERROR(&l->error, ERR_NOMEM, "no memory for the CCDs of a file");
    }
    for (int i = 0; i < l->n && !l->product; i++) look_at_ccd(f, s, l, i);
    return ERR_OK;
}

static void look_at(const char *path, const struct reduce_request *r, struct looked *l)
{
    struct raw_file *f = NULL;
    l->code = raw_file_open(path, r->instruments, r->settings, &f, &l->error);
    if (!l->code) l->code = look_inside(f, r->settings, l);
    raw_file_close(f);
    if (!l->code && !l->product && l->light) l->code = digest_file(path, l->sum, &l->error);
    if (l->code) error_subject(&l->error, path, 0);
}

/* ---- tasks ------------------------------------------------------------------------------------------------------- */

static enum err add_task(struct reduce_work *w, const struct reduce_task *task, const struct error *trouble, struct error *err)
{
    if (!grow((void **)&w->task, &w->task_capacity, w->ntask, sizeof *w->task)) return ERROR(err, ERR_NOMEM, "no memory for %d frames", w->ntask);
    struct reduce_task t = *task;
    if (t.code) {
        t.error = malloc(sizeof *t.error);
        if (!t.error) return ERROR(err, ERR_NOMEM, "no memory for %d frames", w->ntask);
        *t.error = *trouble;
        error_subject(t.error, t.path, t.hdu);
        error_stage(t.error, "look");
    }
    w->task[w->ntask++] = t;
    return ERR_OK;
}

static enum err take_ccd(struct reduce_request *r, struct reduce_work *w, const char *path, char *sum, const struct looked *l, int i, struct error *err)
{
    struct error trouble = l->ccd_error[i];
    const struct exposure_meta *m = &l->meta[i];
    struct reduce_task t = {.path = path, .raw_sum = sum, .hdu = l->hdu[i], .plan = -1, .npix = m->nx * m->ny, .code = l->ccd_code[i]};
    if (!t.code && m->type != FRAME_LIGHT) return ERR_OK;
    if (!t.code) t.code = plan_for(r, w, l->ins, m, &t.plan, &trouble);
    t.ccd = m->ccd;
    t.night = m->night;
    if (!t.code) exposure_product(t.catalogue, sizeof t.catalogue, m, path, "cat.fits");
    if (!t.code) t.done = exposure_is_done(r->out, m, path, sum, &w->plan[t.plan]);
    if (!t.code && m->longitude_assumed) w->assumed_longitude++;
    if (!t.code && m->note[0]) log_event(LOG_DEBUG, "taken for granted", LOG_STR("file", path), LOG_STR("what", m->note));
    return add_task(w, &t, &trouble, err);
}

static enum err take_file(struct reduce_request *r, struct reduce_work *w, const char *path, const struct looked *l, bool named, struct error *err)
{
    if (l->no_image && !named) {
        w->passed_over++;
        return ERR_OK;
    }
    if (l->code) {
        struct reduce_task t = {.path = path, .plan = -1, .code = l->code};
        return add_task(w, &t, &l->error, err);
    }
    if (l->product) w->products++;
    else if (!l->light) w->passed_over++;
    if (l->product || !l->light) return ERR_OK;
    char *sum = strdup(l->sum);
    if (!sum) return ERROR(err, ERR_NOMEM, "no memory for a checksum");
    w->sum[w->nsum++] = sum;
    enum err code = ERR_OK;
    for (int i = 0; i < l->n && !code; i++) code = take_ccd(r, w, path, sum, l, i, err);
    return code;
}

struct by_product {
    const struct reduce_task *task;
    int index;
};

static int by_product(const void *a, const void *b)
{
    const struct by_product *x = a, *y = b;
    int order = strcmp(x->task->catalogue, y->task->catalogue);
    return order ? order : x->index - y->index;
}

/* Raw files of one name in two folders would overwrite each other's products: the first stays, the others are held. The
 * same file named twice is reduced once. */
static enum err hold_twins(struct reduce_work *w, struct error *err)
{
    struct by_product *list = calloc((size_t)w->ntask + 1, sizeof *list);
    if (!list) return ERROR(err, ERR_NOMEM, "no memory for %d frames", w->ntask);
    int n = 0;
    for (int i = 0; i < w->ntask; i++)
        if (!w->task[i].code && w->task[i].catalogue[0]) list[n++] = (struct by_product){&w->task[i], i};
    qsort(list, (size_t)n, sizeof *list, by_product);
    enum err code = ERR_OK;
    for (int i = 1, first = 0; i < n && !code; i++) {
        struct reduce_task *t = &w->task[list[i].index];
        const struct reduce_task *kept = list[first].task;
        if (strcmp(t->catalogue, kept->catalogue)) {
            first = i;
            continue;
        }
        t->done = !strcmp(t->raw_sum, kept->raw_sum);
        if (t->done) continue;
        t->error = calloc(1, sizeof *t->error);
        if (!t->error) code = ERROR(err, ERR_NOMEM, "no memory for %d frames", w->ntask);
        else {
            t->code = ERROR(t->error, ERR_HELD, "'%s' has the same name and would have the same products", kept->path);
            error_subject(t->error, t->path, t->hdu);
            error_hint(t->error, "reduce it into another folder");
        }
    }
    free(list);
    return code;
}

enum err reduce_work_out(struct reduce_request *request, const struct file_list *files, struct reduce_work *ret, struct error *err)
{
    struct reduce_work w = {.sum = calloc((size_t)files->n + 1, sizeof *w.sum)};
    enum err code = w.sum ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory for %d files", files->n);
    /* Looking is done in parallel, each file in its own slot; the work grows in the ordered part alone. */
#pragma omp parallel for ordered default(none) shared(request, files, w, code, err) schedule(dynamic, 1)
    for (int i = 0; i < files->n; i++) {
        struct looked *l = calloc(1, sizeof *l);
        if (l) look_at(files->path[i], request, l);
#pragma omp ordered
        {
            if (!l && !code) code = ERROR(err, ERR_NOMEM, "no memory to look at '%s'", files->path[i]);
            if (l && !code) code = take_file(request, &w, files->path[i], l, files->named[i], err);
        }
        if (l) {
            free(l->meta);
            free(l->ccd_error);
        }
        free(l);
    }
    if (!code) code = hold_twins(&w, err);
    if (code) reduce_work_release(&w);
    else *ret = w;
    return code;
}

void reduce_work_forget(struct reduce_work *w)
{
    for (int i = 0; i < w->ntask; i++) free(w->task[i].error);
    for (int i = 0; i < w->nsum; i++) free(w->sum[i]);
    w->ntask = w->nsum = w->passed_over = w->products = 0;
}

enum err reduce_work_add(struct reduce_request *request, struct reduce_work *w, const char *const *path, int n, int *ret_end, struct error *err)
{
    char **sums = realloc(w->sum, (size_t)(w->nsum + n) * sizeof *sums);
    if (!sums) return ERROR(err, ERR_NOMEM, "no memory for a checksum");
    w->sum = sums;
    enum err code = ERR_OK;
    /* As in reduce_work_out(): each file looks into its own slot, the work grows in the ordered part alone. */
#pragma omp parallel for ordered default(none) shared(request, path, n, ret_end, w, code, err) schedule(dynamic, 1)
    for (int i = 0; i < n; i++) {
        struct looked *l = calloc(1, sizeof *l);
        if (l && path[i]) look_at(path[i], request, l);
#pragma omp ordered
        {
            if (!l && !code) code = ERROR(err, ERR_NOMEM, "no memory to look at a file");
            if (l && path[i] && !code) code = take_file(request, w, path[i], l, true, err);
            ret_end[i] = w->ntask;
        }
        if (l) {
            free(l->meta);
            free(l->ccd_error);
        }
        free(l);
    }
    return code;
}
