#include "pipeline/mastermake.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/arena.h"
#include "common/atomicfile.h"
#include "common/cli.h"
#include "common/frameio.h"
#include "common/log.h"
#include "common/products.h"
#include "common/stats.h"
#include "common/units.h"
#include "pipeline/detector.h"
#include "pipeline/provenance.h"
#include "processors/badpix.h"

#define FRAMES_MAX       COMBINE_FRAMES_MAX
#define LEVEL_SIGMAS     6.0  /* a frame's level may differ from the others' by this many robust sigma ... */
#define LEVEL_RDNOISES   3.0  /* ... or, bias and dark, by this many read noises */
#define SHAPE_MOST       0.10 /* a flat's normalised block may differ from the median flat's by this much */
#define SATURATED_MOST   0.05
#define BLANK_MOST       0.50
#define FLAT_LEAST_NOISE 10.0 /* a flat's level in read noises, at least */
#define COLUMN_FLAT      0.05 /* response: smaller column defects divide out */
#define COLUMN_DARK      1.0  /* pixel sigma of the dark: smaller ones subtract out */

/* ---- groups ------------------------------------------------------------------------------------------------------ */

static void group_release(struct calibration_group *g)
{
    for (int i = 0; i < g->n; i++) free(g->frame[i].path);
    free(g->frame);
    free(g->meta);
    settings_free(g->settings);
}

void calibration_set_release(struct calibration_set *set)
{
    for (int i = 0; i < set->n; i++) group_release(&set->group[i]);
    free(set->group);
    set->group = NULL;
    set->n = set->capacity = 0;
}

static struct calibration_group *find_group(const struct calibration_set *set, const struct exposure_meta *meta)
{
    for (int i = 0; i < set->n; i++)
        if (set->group[i].meta->type == meta->type && calib_same_group(set->group[i].meta, meta)) return &set->group[i];
    return NULL;
}

static enum err add_group(struct calibration_set *set, const struct instrument *ins, const struct exposure_meta *meta,
                          struct calibration_group **ret, struct error *err)
{
    if (set->n == set->capacity) {
        int capacity = set->capacity ? 2 * set->capacity : 16;
        struct calibration_group *grown = realloc(set->group, (size_t)capacity * sizeof *grown);
        if (!grown) return ERROR(err, ERR_NOMEM, "no memory for groups of calibration frames");
        set->group = grown;
        set->capacity = capacity;
    }
    struct calibration_group g = {.meta = malloc(sizeof *g.meta), .settings = settings_copy(set->settings)};
    enum err code = g.meta && g.settings ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory for groups of calibration frames");
    if (!code) code = instrument_apply_settings(ins, g.settings, err);
    if (code) {
        group_release(&g);
        return code;
    }
    *g.meta = *meta;
    g.gains_unknown = !gains_known(meta);
    snprintf(g.instrument_digest, sizeof g.instrument_digest, "%s", instrument_digest(ins));
    set->group[set->n] = g;
    *ret = &set->group[set->n++];
    return ERR_OK;
}

enum err calibration_set_add(struct calibration_set *set, const struct instrument *ins, const struct exposure_meta *meta,
                             const char *path, int hdu, const char *sum, struct error *err)
{
    struct calibration_group *g = find_group(set, meta);
    enum err code = g ? ERR_OK : add_group(set, ins, meta, &g, err);
    if (code) return code;
    if (g->n >= FRAMES_MAX) return ERROR(err, ERR_UNSUPPORTED, "cannot stack more than %d frames", FRAMES_MAX);
    if (g->n == g->capacity) {
        int capacity = g->capacity ? 2 * g->capacity : 16;
        struct calibration_frame *grown = realloc(g->frame, (size_t)capacity * sizeof *grown);
        if (!grown) return ERROR(err, ERR_NOMEM, "no memory for %d calibration frames", capacity);
        g->frame = grown;
        g->capacity = capacity;
    }
    struct calibration_frame f = {.path = strdup(path), .hdu = hdu, .exptime_s = meta->exptime_s, .darktime_s = meta->darktime_s,
                                  .mjd = meta->mjd_mid, .temp_c = meta->ccd_temp_c};
    if (!f.path) return ERROR(err, ERR_NOMEM, "no memory for a path");
    if (!isfinite(f.darktime_s)) f.darktime_s = f.exptime_s;
    snprintf(f.sum, sizeof f.sum, "%s", sum);
    g->frame[g->n++] = f;
    return ERR_OK;
}

/* Same detector: what gain and read noise belong to. */
static bool same_detector(const struct exposure_meta *a, const struct exposure_meta *b)
{
    return !strcmp(a->instrument, b->instrument) && a->ccd == b->ccd && a->binning_x == b->binning_x &&
           a->binning_y == b->binning_y && a->raw_nx == b->raw_nx && a->raw_ny == b->raw_ny;
}

/* ---- one master being made ---------------------------------------------------------------------------------------- */

struct making {
    struct calibration_set *set;
    const struct master_request *request;
    struct calibration_group *group;
    struct exposure_meta *meta;         /* the group's, gains filled in */
    const struct calibration_group *gain_flats, *gain_biases; /* what they are measured from, NULL if not */
    const struct master_info *gain_lender;                    /* or whom they are taken from */
    struct master_info *used[MASTER_KINDS];                   /* masters used on the way */
    struct frame planes[MASTER_KINDS];
    char key[DIGEST_HEX_SIZE];
    struct frame out;
    int nkept;
    struct stack_input *in;             /* the kept frames */
    double mean_scale, mean_scale2, mean_dark2; /* of the kept: scale, scale^2, (dark_s scale)^2 */
};

static bool kind_is(const struct making *m, enum frame_type kind)
{
    return m->group->meta->type == kind;
}

static double seconds_of(const struct calibration_frame *f)
{
    return isfinite(f->darktime_s) && f->darktime_s > 0 ? f->darktime_s : 0;
}

/* ---- gain and read noise ------------------------------------------------------------------------------------------ */

static const struct calibration_group *largest_group(const struct calibration_set *set, const struct exposure_meta *like, enum frame_type kind)
{
    const struct calibration_group *best = NULL;
    for (int i = 0; i < set->n; i++) {
        const struct calibration_group *g = &set->group[i];
        if (g->meta->type == kind && same_detector(g->meta, like) && g->n >= 2 && (!best || g->n > best->n)) best = g;
    }
    return best;
}

static bool lender_fits(const struct master_info *m, const struct exposure_meta *meta)
{
    const struct calib *c = &m->calib;
    return m->measured && m->namp == meta->namp && !strcmp(c->instrument, meta->instrument) && c->ccd == meta->ccd &&
           c->binning_x == meta->binning_x && c->binning_y == meta->binning_y && c->nx == meta->nx && c->ny == meta->ny;
}

/* Where will unknown gains come from? Nothing is read yet. */
static enum err find_gains(struct making *m, const struct master_list *made, const struct master_list *known, struct error *err)
{
    if (!m->group->gains_unknown) return ERR_OK;
    m->gain_flats = largest_group(m->set, m->meta, FRAME_FLAT);
    m->gain_biases = largest_group(m->set, m->meta, FRAME_BIAS);
    bool gain = true; /* only the read noise may be unknown: that takes biases alone */
    for (int a = 0; a < m->meta->namp; a++) gain = gain && isfinite(m->meta->amp[a].gain_e_per_adu);
    if (m->gain_biases && (m->gain_flats || gain)) return ERR_OK;
    m->gain_flats = m->gain_biases = NULL;
    const struct master_list *lists[2] = {made, known};
    for (int l = 0; l < 2; l++)
        for (int i = 0; i < lists[l]->n; i++)
            if (!m->gain_lender && lender_fits(&lists[l]->v[i], m->meta)) m->gain_lender = &lists[l]->v[i];
    if (m->gain_lender) return ERR_OK;
    enum err code = ERROR(err, ERR_NO_CALIBRATION, "no gain or read noise is known for '%s'%s", m->meta->instrument,
                          m->meta->ccd > 0 ? " (this CCD)" : "");
    error_hint(err, "give two biases and two flats in the same command, or GAIN and RDNOISE in an instrument file");
    return code;
}

static void list_inputs(const struct calibration_group *g, struct stack_input *ret, int *ret_n)
{
    int n = 0;
    for (int i = 0; g && i < g->n && n < DETECTOR_FRAMES; i++)
        if (!g->frame[i].left_out[0]) ret[n++] = (struct stack_input){.path = g->frame[i].path, .hdu = g->frame[i].hdu};
    *ret_n = n;
}

static enum err fill_gains(struct making *m, struct error *err)
{
    if (gains_known(m->meta)) return ERR_OK;
    if (m->gain_lender) {
        m->group->gains_measured = master_lend_gain(m->gain_lender, m->meta);
        return ERR_OK;
    }
    struct stack_input flats[DETECTOR_FRAMES], biases[DETECTOR_FRAMES];
    int nflat, nbias;
    list_inputs(m->gain_flats, flats, &nflat);
    list_inputs(m->gain_biases, biases, &nbias);
    enum err code = detector_measure(m->set->instruments, m->group->settings, flats, nflat, biases, nbias, m->meta, err);
    if (code == ERR_NOT_FOUND) {
        err->code = code = ERR_NO_CALIBRATION;
        error_hint(err, "give GAIN and RDNOISE in an instrument file");
    }
    if (!code) m->group->gains_measured = true;
    return code;
}

/* What one group measured serves the others of its detector. */
static void share_gains(struct calibration_set *set, const struct calibration_group *from)
{
    for (int i = 0; i < set->n; i++) {
        struct calibration_group *g = &set->group[i];
        if (g == from || g->gains_measured || !g->gains_unknown || !same_detector(g->meta, from->meta) || g->meta->namp != from->meta->namp) continue;
        for (int a = 0; a < from->meta->namp; a++) {
            g->meta->amp[a].gain_e_per_adu = from->meta->amp[a].gain_e_per_adu;
            g->meta->amp[a].rdnoise_e = from->meta->amp[a].rdnoise_e;
        }
        g->gains_measured = g->gains_told = true;
    }
}

/* ---- identity ------------------------------------------------------------------------------------------------------ */

static int by_sum(const void *a, const void *b)
{
    const struct calibration_frame *const *x = a, *const *y = b;
    int order = strcmp((*x)->sum, (*y)->sum);
    return order ? order : (*x)->hdu - (*y)->hdu;
}

/* Inputs in the order of their checksums: the order on the command line changes nothing. */
static enum err add_inputs(struct digest *d, const struct calibration_group *g, const char *what, struct error *err)
{
    const struct calibration_frame **sorted = malloc((size_t)g->n * sizeof *sorted);
    if (!sorted) return ERROR(err, ERR_NOMEM, "no memory for the checksum of a master");
    for (int i = 0; i < g->n; i++) sorted[i] = &g->frame[i];
    qsort(sorted, (size_t)g->n, sizeof *sorted, by_sum);
    digest_add_str(d, what);
    for (int i = 0; i < g->n; i++) {
        char line[DIGEST_HEX_SIZE + 16];
        snprintf(line, sizeof line, "%s[%d]", sorted[i]->sum, sorted[i]->hdu);
        digest_add_str(d, line);
    }
    free(sorted);
    return ERR_OK;
}

static void add_settings(struct digest *d, const struct settings *s)
{
    char line[128];
    for (int id = 0; id < SETTING_COUNT; id++) {
        if (strncmp(setting_name((enum setting_id)id), "master.", 7)) continue;
        double v = id == SET_MASTER_CLIP_ITERATIONS || id == SET_MASTER_MIN_FRAMES ? (double)settings_int(s, (enum setting_id)id)
                                                                                  : settings_double(s, (enum setting_id)id);
        snprintf(line, sizeof line, "%s=%.17g", setting_name((enum setting_id)id), v);
        digest_add_str(d, line);
    }
}

static enum err work_out_key(struct making *m, struct error *err)
{
    struct digest *d = digest_new();
    if (!d) return ERROR(err, ERR_NOMEM, "no memory for the checksum of a master");
    digest_add_str(d, frame_type_name(m->meta->type));
    digest_add_str(d, nightshift_result_version);
    digest_add_str(d, m->group->instrument_digest);
    add_settings(d, m->group->settings);
    enum err code = add_inputs(d, m->group, "inputs", err);
    if (!code && m->gain_flats) code = add_inputs(d, m->gain_flats, "gain flats", err);
    if (!code && m->gain_biases) code = add_inputs(d, m->gain_biases, "gain biases", err);
    if (m->gain_lender) digest_add_str(d, m->gain_lender->key);
    for (int k = 0; k < MASTER_KINDS; k++) digest_add_str(d, m->used[k] ? m->used[k]->key : "");
    digest_finish(d, m->key);
    return code;
}

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

/* ---- outliers ------------------------------------------------------------------------------------------------------ */

static struct stack_job job_of(const struct making *m, int n, const struct stack_input *in)
{
    return (struct stack_job){
        .instruments = m->set->instruments,
        .settings = m->group->settings,
        .meta = m->meta,
        .n = n,
        .in = in,
        .bias = m->used[0] ? m->planes[0].sci : NULL,
        .dark = m->used[1] ? m->planes[1].sci : NULL,
        .memory_bytes = memory_limit_bytes(m->group->settings),
    };
}

static double rdnoise_of(const struct exposure_meta *meta)
{
    double sum = 0;
    for (int a = 0; a < meta->namp; a++) sum += meta->amp[a].rdnoise_e;
    return sum / meta->namp;
}

static double median_level(const struct stack_glance *g, int n, double *work, double *ret_sigma)
{
    for (int i = 0; i < n; i++) work[i] = g[i].level;
    double median = median_f64(work, n);
    for (int i = 0; i < n; i++) work[i] = g[i].level;
    *ret_sigma = mad_sigma_f64(work, n, median);
    return median;
}

static void judge_level(struct making *m, const struct stack_glance *g, double *work)
{
    double sigma, rdnoise = rdnoise_of(m->meta), median = median_level(g, m->group->n, work, &sigma);
    double reach = fmax(LEVEL_SIGMAS * sigma, LEVEL_RDNOISES * rdnoise);
    for (int i = 0; i < m->group->n; i++) {
        struct calibration_frame *f = &m->group->frame[i];
        if (!f->left_out[0] && fabs(g[i].level - median) > reach)
            snprintf(f->left_out, sizeof f->left_out, "its level, %.1f electron, is not the others' %.1f (allowed: %.1f off)", g[i].level, median, reach);
    }
}

/* How far the frame's shape is from the median shape, over the blocks. */
static double shape_offset(const struct making *m, const struct stack_glance *g, int i, double *work)
{
    double worst = 0;
    for (int b = 0; b < STACK_BLOCKS * STACK_BLOCKS; b++) {
        int n = 0;
        for (int j = 0; j < m->group->n; j++)
            if (!m->group->frame[j].left_out[0]) work[n++] = g[j].block[b] / g[j].level;
        double off = fabs(g[i].block[b] / g[i].level - median_f64(work, n));
        if (off > worst) worst = off;
    }
    return worst;
}

/* work: 2 n */
static void judge_flat(struct making *m, const struct stack_glance *g, double *work)
{
    double rdnoise = rdnoise_of(m->meta), *offset = work + m->group->n;
    for (int i = 0; i < m->group->n; i++) {
        struct calibration_frame *f = &m->group->frame[i];
        if (f->left_out[0]) continue;
        if (g[i].saturated > SATURATED_MOST)
            snprintf(f->left_out, sizeof f->left_out, "%.1f %% of it is saturated", 100 * g[i].saturated);
        else if (!(g[i].level > FLAT_LEAST_NOISE * rdnoise))
            snprintf(f->left_out, sizeof f->left_out, "too faint: %.0f electron with %.1f of read noise", g[i].level, rdnoise);
    }
    /* All are compared before any is left out, so that the verdict does not depend on the order. */
    for (int i = 0; i < m->group->n; i++) offset[i] = m->group->frame[i].left_out[0] ? 0 : shape_offset(m, g, i, work);
    for (int i = 0; i < m->group->n; i++)
        if (offset[i] > SHAPE_MOST)
            snprintf(m->group->frame[i].left_out, sizeof m->group->frame[i].left_out,
                     "its shape differs from the others' by %.0f %%", 100 * offset[i]);
}

static void judge_blank(struct making *m, const struct stack_glance *g)
{
    for (int i = 0; i < m->group->n; i++) {
        struct calibration_frame *f = &m->group->frame[i];
        if (g[i].blank > BLANK_MOST || !isfinite(g[i].level))
            snprintf(f->left_out, sizeof f->left_out, "%.0f %% of it is blank", 100 * g[i].blank);
        else if (kind_is(m, FRAME_DARK) && !(seconds_of(f) > 0))
            snprintf(f->left_out, sizeof f->left_out, "a dark without exposure time");
    }
}

static enum err glance_all(struct making *m, const struct stack_job *job, struct stack_glance *ret, struct error *err)
{
    int n = job->n, failed = n;
    struct error first = ERROR_INIT;
    /* Each file fills its own slot; of several failures the lowest file is reported. */
#pragma omp parallel for default(none) shared(job, ret, n, failed, first) schedule(dynamic, 1)
    for (int i = 0; i < n; i++) {
        struct error own = ERROR_INIT;
        if (!stack_glance_at(job, i, &ret[i], &own)) continue;
#pragma omp critical(glance_failure)
        if (i < failed) {
            failed = i;
            first = own;
        }
    }
    (void)m;
    if (failed == n) return ERR_OK;
    if (err) *err = first;
    return first.code;
}

static enum err too_few(const struct making *m, int n, int least, struct error *err)
{
    enum err code = ERROR(err, ERR_HELD, "cannot make a master %s of %d frame%s: %d are needed", frame_type_name(m->meta->type), n,
                          n == 1 ? "" : "s", least);
    error_subject(err, m->group->frame[0].path, 0);
    error_hint(err, "add frames, or set master.min_frames");
    return code;
}

/* Look at every frame, leave out those that do not belong, list the others with their scales. */
static enum err pick_frames(struct making *m, struct error *err)
{
    struct calibration_group *g = m->group;
    int least = (int)settings_int(m->group->settings, SET_MASTER_MIN_FRAMES);
    if (g->n < least) return too_few(m, g->n, least, err);
    struct stack_glance *glance = calloc((size_t)g->n, sizeof *glance);
    double *work = calloc(2 * (size_t)g->n, sizeof *work);
    m->in = calloc((size_t)g->n, sizeof *m->in);
    enum err code = glance && work && m->in ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory for %d frames", g->n);
    for (int i = 0; i < g->n && !code; i++)
        m->in[i] = (struct stack_input){g->frame[i].path, g->frame[i].hdu, m->used[1] ? seconds_of(&g->frame[i]) : 0, 1};
    struct stack_job job = job_of(m, g->n, m->in);
    if (!code) code = glance_all(m, &job, glance, err);
    if (!code) {
        judge_blank(m, glance);
        if (kind_is(m, FRAME_FLAT)) judge_flat(m, glance, work);
        else judge_level(m, glance, work);
        for (int i = 0; i < g->n; i++) {
            if (g->frame[i].left_out[0]) continue;
            double t = seconds_of(&g->frame[i]), scale = kind_is(m, FRAME_BIAS) ? 1 : kind_is(m, FRAME_DARK) ? 1 / t : 1 / glance[i].level;
            m->in[m->nkept] = m->in[i];
            m->in[m->nkept++].scale = scale;
        }
        if (m->nkept < least) code = too_few(m, m->nkept, least, err);
    }
    free(glance);
    free(work);
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
    struct stack_job job = job_of(m, m->nkept, m->in);
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

/* ---- cards and file -------------------------------------------------------------------------------------------------- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static double mean_of(const struct calibration_group *g, size_t field)
{
    double sum = 0;
    int n = 0;
    for (int i = 0; i < g->n; i++) {
        double v = *(const double *)((const char *)&g->frame[i] + field);
        if (g->frame[i].left_out[0] || !isfinite(v)) continue;
        sum += v;
        n++;
    }
    return n ? sum / n : NAN;
}

static enum err gain_cards(struct header *h, const struct making *m)
{
    const struct exposure_meta *meta = m->meta;
    char key[16];
    enum err code = header_set_int(h, "NSNAMP", meta->namp, "amplifiers");
    for (int a = 0; a < meta->namp && !code; a++) {
        snprintf(key, sizeof key, meta->namp > 1 ? "GAIN%02d" : "GAIN", a + 1);
        code = header_set_double(h, key, meta->amp[a].gain_e_per_adu, "[electron/adu]");
        snprintf(key, sizeof key, meta->namp > 1 ? "RDNOIS%02d" : "RDNOISE", a + 1);
        if (!code) code = header_set_double(h, key, meta->amp[a].rdnoise_e, "[electron] read noise");
    }
    if (code) return code;
    return header_set_str(h, KEY_GAINSRC, m->group->gains_measured ? "measured" : "header", "where gain and read noise come from");
}

static enum err history_of_inputs(struct header *h, const struct making *m)
{
    const struct calibration_group *g = m->group;
    enum err code = ERR_OK;
    char line[512];
    for (int i = 0; i < g->n && !code; i++) {
        const struct calibration_frame *f = &g->frame[i];
        snprintf(line, sizeof line, "%s %s[%d] %.16s%s%s", f->left_out[0] ? "left out" : "input", base_name(f->path), f->hdu, f->sum,
                 f->left_out[0] ? ": " : "", f->left_out);
        code = header_add_text(h, "HISTORY", line);
    }
    for (int k = 0; k < MASTER_KINDS && !code; k++) {
        if (!m->used[k]) continue;
        snprintf(line, sizeof line, "subtracted %s", base_name(m->used[k]->path));
        code = header_add_text(h, "HISTORY", line);
    }
    return code;
}

static enum err master_cards(const struct making *m, struct header *h, struct error *err)
{
    const struct exposure_meta *meta = m->meta;
    const struct calibration_group *g = m->group;
    char text[40];
    snprintf(text, sizeof text, "master %s", frame_type_name(meta->type));
    enum err code = header_set_str(h, "IMAGETYP", text, NULL);
    if (!code) code = header_set_str(h, KEY_MASTER_KIND, frame_type_name(meta->type), "kind of master");
    if (!code) code = header_set_str(h, KEY_MASTER_KEY, m->key, NULL);
    if (!code) code = header_set_str(h, KEY_VERSION, nightshift_result_version, "version of the results");
    if (!code) code = header_set_str(h, KEY_INSTRUMENT, meta->instrument, "instrument file");
    if (!code) code = header_set_int(h, KEY_CCD, meta->ccd, "CCD number");
    if (!code) code = header_set_int(h, KEY_BIN_X, meta->binning_x, "binning along x");
    if (!code) code = header_set_int(h, KEY_BIN_Y, meta->binning_y, "binning along y");
    if (!code && kind_is(m, FRAME_FLAT)) code = header_set_str(h, "FILTER", meta->filter, NULL);
    if (!code && isfinite(meta->exptime_s)) code = header_set_double(h, "EXPTIME", kind_is(m, FRAME_BIAS) ? 0 : meta->exptime_s, "[s] of one input");
    double mjd = mean_of(g, offsetof(struct calibration_frame, mjd)), temp = mean_of(g, offsetof(struct calibration_frame, temp_c));
    if (!code && isfinite(mjd)) code = header_set_double(h, KEY_MJD_MID, mjd, "[d] mean MJD UTC of the inputs");
    if (!code && isfinite(temp)) code = header_set_double(h, "CCD-TEMP", temp, "[degC] mean of the inputs");
    if (!code) code = header_set_int(h, "NCOMBINE", m->nkept, "frames stacked");
    if (!code) code = header_set_int(h, "NSREJECT", g->n - m->nkept, "frames left out");
    if (!code && kind_is(m, FRAME_DARK) && m->used[0]) {
        code = header_set_str(h, KEY_BIAS_USED, m->used[0]->key, NULL);
        if (!code) code = header_set_double(h, KEY_BIAS_SCALE, m->mean_scale, "[1/s] times that bias was subtracted");
    }
    if (!code) code = gain_cards(h, m);
    if (!code) code = history_of_inputs(h, m);
    return code ? ERROR(err, ERR_NOMEM, "no memory for cards") : ERR_OK;
}

static enum err write_master(struct making *m, struct error *err)
{
    static const char *const unit[MASTER_KINDS] = {"electron", "electron/s", ""};
    struct frameio_write_options opt = {.dither_seed = 1, .compress = false};
    snprintf(m->out.unit, sizeof m->out.unit, "%s", unit[m->meta->type - FRAME_BIAS]);
    char folder[1024];
    snprintf(folder, sizeof folder, "%s/masters", m->request->out);
    enum err code = master_cards(m, &m->out.header, err);
    if (!code) code = make_folders(folder, err);
    if (!code) code = frameio_write_product(m->group->path, &m->out, &opt, err);
    return code;
}

static void making_release(struct making *m)
{
    for (int k = 0; k < MASTER_KINDS; k++) frame_release(&m->planes[k]);
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
    enum err code = choose_masters(m, made, known, err);
    if (!code) code = find_gains(m, made, known, err);
    if (!code) code = work_out_key(m, err);
    if (!code) code = name_master(m, err);
    if (!code && !stat(m->group->path, &st) && S_ISREG(st.st_mode)) m->group->already_made = true;
    if (code || m->group->already_made) return code;
    code = load_masters(m, err);
    if (!code) code = fill_gains(m, err);
    if (!code) code = pick_frames(m, err);
    if (!code) code = stack_group(m, err);
    if (!code) code = mark_bad_pixels(m, err);
    if (!code) code = write_master(m, err);
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
    if (!g->code && g->gains_measured && !g->gains_told && !m.gain_lender) share_gains(set, g);
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
