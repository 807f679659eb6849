#include "pipeline/mastermaking.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "common/log.h"
#include "pipeline/signaloptions.h"
#include "processors/badpix.h"

#define COLUMN_FLAT      0.05 /* response: smaller column defects divide out */
#define COLUMN_DARK      1.0  /* pixel sigma of the dark: smaller ones subtract out */

/* ---- what the group needs ------------------------------------------------------------------------------------------ */

static enum err choose_masters(struct making *m, struct master_list *made, struct master_list *known, struct error *err)
{
    int needs = kind_is(m, FRAME_BIAS) ? 0 : kind_is(m, FRAME_DARK) ? 1 : 2;
    for (int k = 0; k < needs; k++) {
        char why[256] = "", older[256] = "";
        enum frame_type kind = (enum frame_type)(FRAME_BIAS + k);
        if (m->request->without[k]) continue;
        int i = master_choose(made, kind, m->meta, why); /* this command's own first */
        if (i >= 0) {
            m->used[k] = &made->v[i];
            continue;
        }
        i = master_choose(known, kind, m->meta, older);
        if (i >= 0) {
            m->used[k] = &known->v[i];
            continue;
        }
        enum err code = ERROR(err, ERR_NO_CALIBRATION, "no master %s for these %s frames: %s", frame_type_name(kind),
                              frame_type_name(m->meta->type), older[0] ? older : why);
        error_hint(err, "add the frames, or say --without %s", frame_type_name(kind));
        return code;
    }
    return ERR_OK;
}

static enum err load_masters(struct making *m, struct error *err)
{
    enum err code = ERR_OK;
    for (int k = 0; k < MASTER_KINDS && !code; k++)
        if (m->used[k]) code = master_load(m->used[k], m->meta->nx, m->meta->ny, &m->planes[k], err);
    return code;
}

/* ---- the stack ------------------------------------------------------------------------------------------------------ */

static void mean_scales(struct making *m)
{
    for (int i = 0; i < m->nkept; i++) {
        double c = m->in[i].scale, t = m->in[i].dark_s;
        m->mean_scale += c / m->nkept;
        m->mean_scale2 += c * c / m->nkept;
        m->mean_dark2 += t * t * c * c / m->nkept;
    }
}

/* Expected variance of one value: read noise and photons, both scaled as the value is. */
static void expected_noise(const struct making *m, struct combine_noise *ret)
{
    for (int a = 0; a < m->meta->namp; a++) {
        const struct amp *amp = &m->meta->amp[a];
        ret[a] = (struct combine_noise){
            .constant = (float)(amp->rdnoise_e * amp->rdnoise_e * m->mean_scale2),
            .slope = kind_is(m, FRAME_BIAS) ? 0 : (float)m->mean_scale,
            .step = (float)(amp->gain_e_per_adu * m->mean_scale),
            .known = true,
        };
    }
}

/* The masters subtracted from every frame alike: their variance does not average down. */
static void add_master_variance(struct making *m)
{
    int64_t npix = m->meta->nx * m->meta->ny;
    const float *bias = m->used[0] ? m->planes[0].var : NULL, *dark = m->used[1] ? m->planes[1].var : NULL;
    float scale2 = (float)(m->mean_scale * m->mean_scale), dark2 = (float)m->mean_dark2;
    for (int64_t i = 0; i < npix; i++) m->out.var[i] += (bias ? bias[i] * scale2 : 0) + (dark ? dark[i] * dark2 : 0);
}

/* Frames were brought to one level by the middle of the frame, where lamps and dusk are most alike; the master's median
 * over the whole frame is 1. */
static enum err normalise_flat(struct making *m, struct error *err)
{
    struct plane_level level;
    int64_t npix = m->out.nx * m->out.ny;
    enum err code = plane_level_of(m->out.sci, NULL, npix, &level, err);
    if (!code && !(level.median > 0)) code = ERROR(err, ERR_CORRUPT, "cannot normalise the flat: its median is %g", level.median);
    if (code) return code;
    float scale = (float)(1 / level.median);
    for (int64_t i = 0; i < npix; i++) {
        m->out.sci[i] *= scale;
        m->out.var[i] *= scale * scale;
    }
    return ERR_OK;
}

static enum err stack_group(struct making *m, struct error *err)
{
    struct combine_noise noise[AMPS_MAX];
    const struct settings *s = m->group->settings;
    struct stack_job job = making_job(m, m->nkept, m->in);
    mean_scales(m);
    expected_noise(m, noise);
    job.noise = noise;
    job.options = (struct combine_options){settings_double(s, SET_MASTER_CLIP_LOW), settings_double(s, SET_MASTER_CLIP_HIGH),
                                           (int)settings_int(s, SET_MASTER_CLIP_ITERATIONS)};
    job.leave_out_saturated = kind_is(m, FRAME_FLAT);
    enum err code = frame_alloc(&m->out, m->meta->nx, m->meta->ny, FRAME_ALL, err);
    if (!code) code = stack_files(&job, m->out.sci, m->out.var, &m->group->clipped, err);
    if (!code) add_master_variance(m);
    return !code && kind_is(m, FRAME_FLAT) ? normalise_flat(m, err) : code;
}

/* Where nothing was left to average the variance is exactly 0: read noise alone keeps it above. */
static void mark_empty(struct making *m)
{
    int64_t npix = m->out.nx * m->out.ny;
    for (int64_t i = 0; i < npix; i++)
        if (!(m->out.var[i] > 0)) m->out.mask[i] |= MASK_BAD;
}

static enum err mark_bad_pixels(struct making *m, struct error *err)
{
    const struct settings *s = m->group->settings;
    struct frame *f = &m->out;
    int64_t npix = f->nx * f->ny;
    double sigmas = settings_double(s, SET_MASTER_HOT_SIGMA);
    mark_empty(m);
    if (kind_is(m, FRAME_BIAS)) return ERR_OK;
    if (kind_is(m, FRAME_FLAT)) {
        m->group->low = badpix_flat(f->sci, npix, settings_double(s, SET_MASTER_LOW_FLAT), f->mask);
        return badpix_columns(f->sci, f->nx, f->ny, sigmas, COLUMN_FLAT, f->mask, &m->group->columns, err);
    }
    struct plane_level level;
    enum err code = plane_level_of(f->sci, f->mask, npix, &level, err);
    if (code) return code;
    m->group->hot = badpix_dark(f->sci, npix, &level, sigmas, f->mask);
    return badpix_columns(f->sci, f->nx, f->ny, sigmas, COLUMN_DARK * level.sigma, f->mask, &m->group->columns, err);
}

/* ---- the work ------------------------------------------------------------------------------------------------------- */

static void making_release(struct making *m)
{
    for (int k = 0; k < MASTER_KINDS; k++) frame_release(&m->planes[k]);
    rawsignal_options_release(&m->signal);
    frame_release(&m->out);
    free(m->in);
    free(m->meta);
}

static enum err name_master(struct making *m, struct error *err)
{
    struct calib c = {.kind = m->meta->type, .ccd = m->meta->ccd, .binning_x = m->meta->binning_x, .binning_y = m->meta->binning_y};
    char name[256];
    snprintf(c.instrument, sizeof c.instrument, "%s", m->meta->instrument);
    snprintf(c.filter, sizeof c.filter, "%.31s", m->meta->filter);
    int n = snprintf(m->group->path, sizeof m->group->path, "%s/%s", m->request->out, master_name(name, sizeof name, &c, m->key));
    return n > 0 && n < (int)sizeof m->group->path ? ERR_OK : ERROR(err, ERR_USAGE, "cannot use so long a path: '%.100s...'", m->request->out);
}

static enum err make_group(struct making *m, struct master_list *made, struct master_list *known, struct error *err)
{
    struct stat st;
    enum err code = rawsignal_options_from_settings(m->group->settings, m->meta->namp, &m->signal, err);
    if (!code) code = choose_masters(m, made, known, err);
    if (!code) code = making_find_gains(m, made, known, err);
    if (!code) code = making_key(m, err);
    if (!code) code = name_master(m, err);
    if (!code && !stat(m->group->path, &st) && S_ISREG(st.st_mode)) m->group->already_made = true;
    if (code || m->group->already_made) return code;
    code = load_masters(m, err);
    if (!code) code = making_fill_gains(m, err);
    if (!code) code = making_pick_frames(m, err);
    if (!code) code = stack_group(m, err);
    if (!code) code = mark_bad_pixels(m, err);
    if (!code) code = making_compare(m, known, err);
    if (!code) code = making_write(m, err);
    return code;
}

static void do_group(struct calibration_set *set, const struct master_request *request, struct calibration_group *g,
                     struct master_list *made, struct master_list *known)
{
    double start = clock_seconds();
    struct making m = {.set = set, .request = request, .group = g, .meta = malloc(sizeof *m.meta)};
    frame_init(&m.out);
    for (int k = 0; k < MASTER_KINDS; k++) frame_init(&m.planes[k]);
    if (!m.meta) g->code = ERROR(&g->error, ERR_NOMEM, "no memory for a master");
    else {
        *m.meta = *g->meta;
        g->code = make_group(&m, made, known, &g->error);
    }
    if (!g->code) g->code = master_list_add_file(made, g->path, &g->error);
    if (!g->code && m.meta) *g->meta = *m.meta;
    if (!g->code && g->gains_measured && !g->gains_told && !m.gain_lender) making_share_gains(set, g);
    making_release(&m);
    g->seconds = clock_seconds() - start;
    if (request->told) request->told(request->user, g);
}

enum err masters_make(struct calibration_set *set, const struct master_request *request, struct error *err)
{
    struct master_list made = {0}, known = {0};
    char folder[1024];
    snprintf(folder, sizeof folder, "%s/masters", request->out);
    enum err code = master_list_add_folder(&known, folder, err);
    for (int k = 0; k < MASTER_KINDS && !code; k++)
        for (int i = 0; i < set->n && !code; i++) {
            if (!request->make[k] || set->group[i].meta->type != (enum frame_type)(FRAME_BIAS + k)) continue;
            if (request->stop && request->stop(request->user)) code = ERROR(err, ERR_INTERRUPTED, "stopped between two masters");
            else do_group(set, request, &set->group[i], &made, &known);
        }
    master_list_release(&made);
    master_list_release(&known);
    return code;
}
