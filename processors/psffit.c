#include "processors/psffit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/isa.h"
#include "common/tiles.h"
#include "processors/psfcells.h"
#include "processors/psffit_kernels.h"
#include "processors/psfgroups.h"
#include "processors/psfsolve.h"

#define STEPS_FIRST    10    /* Newton steps of the first round */
#define STEPS_LATER    4
#define CONVERGED      0.02  /* of the error: a smaller step ends the fit */
#define SETTLED        0.05  /* of the error: a smaller change of a neighbour is not worth a round */
#define FAINT_WING     0.05  /* of the noise of a pixel: light below it is not subtracted */
#define PLACE_FWHM     0.5   /* a place is known to this from detection */
#define RANGE_FWHM     0.75  /* and is looked for no farther than this */
#define SATURATED_FWHM 3.0   /* radius fitted around saturated sources */
#define TRUNCATED      0.1
#define MODEL_ERROR    7e-4  /* of the flux: a PSF's total is not known better, stars have neighbours nobody sees */
#define LEAST_WEIGHT   0.02  /* share of sum P^2 on usable pixels below which there is nothing to fit */

static const struct psffit_kernels *kernels(void)
{
#ifdef NIGHTSHIFT_HAVE_AVX2
    if (isa_level() == ISA_AVX2) return &psffit_kernels_avx2;
#endif
    return &psffit_kernels_generic;
}

struct psffit_options psffit_options_default(void)
{
    return (struct psffit_options){.radius_fwhm = 1.5, .link_fwhm = 1.6, .group_max = 12, .rounds = 6, .spread = true, .saturate = INFINITY};
}

enum err psffit_options_verify(const struct psffit_options *o, struct error *err)
{
    if (!(o->radius_fwhm >= 0.5 && o->radius_fwhm <= 4)) return ERROR(err, ERR_SETTINGS, "a fit within %g FWHM: 0.5 to 4 are possible", o->radius_fwhm);
    if (!(o->link_fwhm >= 0 && o->link_fwhm <= 5)) return ERROR(err, ERR_SETTINGS, "groups linked over %g FWHM: 0 to 5 are possible", o->link_fwhm);
    if (o->group_max < 1 || o->group_max > PSFFIT_GROUP_MAX)
        return ERROR(err, ERR_SETTINGS, "groups of %d sources: 1 to %d are possible", o->group_max, PSFFIT_GROUP_MAX);
    if (o->rounds < 1 || o->rounds > 20) return ERROR(err, ERR_SETTINGS, "%d rounds of a fit: 1 to 20 are possible", o->rounds);
    return ERR_OK;
}

/* ---- the work ----------------------------------------------------------------------------------------------------- */

/* What a round leaves to the next: read by all, written by the group's own thread into the other of two arrays. */
struct state {
    double x, y, flux;
    float change;             /* of the last round, in errors */
};

struct work {
    const struct image_view *view;
    const struct psf_model *model;
    const struct psffit_options *o;
    struct psffit_source *s;
    int64_t n;
    struct psf_cells cells;
    struct psf_groups groups;
    struct state *now, *next;
    double *x0, *y0;          /* where each began */
    float *reach;             /* how far its light is subtracted */
    float *wing;              /* mean profile at whole pixels from the centre: model->half + 1 */
    float reach_max;
    float inv_gain;
    int round;
};

struct member {
    int32_t id;
    bool hold;
    double x, y, flux;        /* as it stands */
    double best[3];           /* flux, x, y of the step that left least */
    double x0, y0, radius;    /* where it began, what is fitted */
    int64_t cx, cy;           /* the stamp's middle */
    int half, size, stride;   /* of its stamp */
    int sx, sy, nx, ny;       /* the part inside the image: offset in the group's rectangle, and which part of the stamp */
    float *p, *wp;            /* P, dP/dx, dP/dy, and times the weight */
    int64_t plane;
};

#define UNKNOWNS (3 * PSFFIT_GROUP_MAX + 1)

/* The memory of a thread. */
struct bench {
    struct psf_local psf, disc;
    float *memory;
    int64_t floats, used;
    struct member m[PSFFIT_GROUP_MAX];
    int count;
    int64_t x0, y0;           /* of the group's rectangle in the image */
    int nx, ny, stride;
    int64_t npix;             /* stride * ny */
    float *data, *sigma2, *model, *r, *w, *tmp;
    double level;             /* local background */
    double overlap[PSFFIT_GROUP_MAX]; /* of each member with sources of other groups, in units of sum P^2 */
    double a[UNKNOWNS * UNKNOWNS], b[UNKNOWNS];
};

static float *take(struct bench *t, int64_t floats)
{
    float *p = t->memory + t->used;
    t->used += (floats + 7) / 8 * 8 + 8; /* kernels read a vector past the end */
    return p;
}

static enum err room(struct bench *t, int64_t floats, struct error *err)
{
    t->used = 0;
    if (t->floats >= floats) return ERR_OK;
    float *memory = mem_zarray((size_t)floats, sizeof *memory);
    if (!memory) return ERROR(err, ERR_NOMEM, "no memory to fit a group of stars");
    free(t->memory);
    t->memory = memory;
    t->floats = floats;
    return ERR_OK;
}

/* ---- one group: its pixels ---------------------------------------------------------------------------------------- */

static int64_t nearest(double v)
{
    return (int64_t)floor(v + 0.5);
}

static void place_member(const struct work *w, int32_t id, struct member *m)
{
    const struct psffit_source *s = &w->s[id];
    const struct state *now = &w->now[id];
    double least = 2.5, radius = s->radius > 0.0f ? (double)s->radius : w->o->radius_fwhm * w->model->fwhm;
    *m = (struct member){.id = id, .hold = s->hold, .x = now->x, .y = now->y, .flux = now->flux, .x0 = w->x0[id], .y0 = w->y0[id]};
    m->radius = fmin(fmax(radius, least), w->model->half);
    m->cx = nearest(m->x0);
    m->cy = nearest(m->y0);
    m->half = (int)ceil(m->radius);
    m->size = 2 * m->half + 1;
    m->stride = (m->size + 7) / 8 * 8;
    m->plane = (int64_t)m->stride * m->size;
}

/* The rectangle that holds all members' stamps, cut at the image. false: it misses the image. */
static bool frame_group(const struct work *w, struct bench *t)
{
    int64_t x1 = INT64_MIN, y1 = INT64_MIN;
    t->x0 = t->y0 = INT64_MAX;
    for (int k = 0; k < t->count; k++) {
        const struct member *m = &t->m[k];
        if (m->cx - m->half < t->x0) t->x0 = m->cx - m->half;
        if (m->cy - m->half < t->y0) t->y0 = m->cy - m->half;
        if (m->cx + m->half + 1 > x1) x1 = m->cx + m->half + 1;
        if (m->cy + m->half + 1 > y1) y1 = m->cy + m->half + 1;
    }
    t->x0 = t->x0 < 0 ? 0 : t->x0;
    t->y0 = t->y0 < 0 ? 0 : t->y0;
    x1 = x1 > w->view->nx ? w->view->nx : x1;
    y1 = y1 > w->view->ny ? w->view->ny : y1;
    if (x1 <= t->x0 || y1 <= t->y0) return false;
    t->nx = (int)(x1 - t->x0);
    t->ny = (int)(y1 - t->y0);
    t->stride = (t->nx + 7) / 8 * 8;
    t->npix = (int64_t)t->stride * t->ny;
    return true;
}

static enum err share_room(struct bench *t, struct error *err)
{
    int64_t floats = 5 * (t->npix + 16);
    int largest = 0;
    for (int k = 0; k < t->count; k++) floats += 6 * t->m[k].plane + 32;
    for (int k = 0; k < t->count; k++) largest = t->m[k].stride > largest ? t->m[k].stride : largest;
    floats += (int64_t)(t->stride + largest) * (t->ny + largest) + 64;
    enum err e = room(t, floats, err);
    if (e) return e;
    t->data = take(t, t->npix);
    t->sigma2 = take(t, t->npix);
    t->model = take(t, t->npix);
    t->r = take(t, t->npix);
    t->w = take(t, t->npix);
    for (int k = 0; k < t->count; k++) {
        t->m[k].p = take(t, 3 * t->m[k].plane);
        t->m[k].wp = take(t, 3 * t->m[k].plane);
    }
    t->tmp = take(t, (int64_t)(t->stride + largest) * (t->ny + largest));
    return ERR_OK;
}

static bool pixel_good(const struct work *w, int64_t at, float *sigma2)
{
    const struct image_view *v = w->view;
    float s = v->sigma2 ? v->sigma2[at] : v->sigma2_const;
    if (!(s > 0.0f) || !isfinite(s) || !isfinite(v->value[at]) || v->value[at] >= w->o->saturate) return false;
    if (v->mask && v->mask[at] & MASK_UNUSABLE) return false;
    *sigma2 = s;
    return true;
}

/* Pixels within the radius of a member; the rest has sigma2 0. */
static void load_disc(const struct work *w, struct bench *t, const struct member *m)
{
    for (int64_t y = m->cy - m->half; y <= m->cy + m->half; y++) {
        double dy = (double)y - m->y0, rest = m->radius * m->radius - dy * dy;
        if (rest < 0 || y < t->y0 || y >= t->y0 + t->ny) continue;
        double half = sqrt(rest);
        int64_t from = (int64_t)ceil(m->x0 - half), to = (int64_t)floor(m->x0 + half);
        if (from < t->x0) from = t->x0;
        if (to >= t->x0 + t->nx) to = t->x0 + t->nx - 1;
        for (int64_t x = from; x <= to; x++) {
            int64_t here = (y - t->y0) * t->stride + (x - t->x0);
            float s;
            if (t->sigma2[here] != 0.0f || !pixel_good(w, y * w->view->nx + x, &s)) continue;
            t->sigma2[here] = s;
            t->data[here] = w->view->value[y * w->view->nx + x];
        }
    }
}

/* Take the light of source j off the group's pixels. */
static void subtract_source(const struct work *w, struct bench *t, int32_t j)
{
    const struct state *s = &w->now[j];
    int64_t cx = nearest(s->x), cy = nearest(s->y), reach = (int64_t)ceil((double)w->reach[j]);
    int64_t i0 = t->x0 - cx > -reach ? t->x0 - cx : -reach, i1 = t->x0 + t->nx - cx < reach + 1 ? t->x0 + t->nx - cx : reach + 1;
    int64_t j0 = t->y0 - cy > -reach ? t->y0 - cy : -reach, j1 = t->y0 + t->ny - cy < reach + 1 ? t->y0 + t->ny - cy : reach + 1;
    if (i0 >= i1 || j0 >= j1) return;
    int stride = (int)((i1 - i0 + 7) / 8 * 8);
    psf_stamp(&t->psf, s->x - (double)cx, s->y - (double)cy, (int)i0, (int)i1, (int)j0, (int)j1, stride, t->tmp, NULL, NULL);
    kernels()->light((float)-s->flux, t->tmp, stride, t->data + (cy + j0 - t->y0) * t->stride + (cx + i0 - t->x0), t->stride, (int)(i1 - i0), (int)(j1 - j0));
}

static bool is_member(const struct bench *t, int32_t id)
{
    for (int k = 0; k < t->count; k++)
        if (t->m[k].id == id) return true;
    return false;
}

/* How much of the light of a source outside the group looks like that of a member: that of Gaussians d apart. */
static void add_overlap(const struct work *w, struct bench *t, const struct state *s)
{
    double scale = 2 * log(2.0) / (w->model->fwhm * w->model->fwhm), most = w->o->link_fwhm * w->model->fwhm;
    for (int k = 0; k < t->count; k++) {
        double dx = s->x - t->m[k].x, dy = s->y - t->m[k].y, d2 = dx * dx + dy * dy;
        if (d2 < most * most) t->overlap[k] += exp(-scale * d2);
    }
}

/* Sources outside the group whose light falls on it. Taken off when `subtract`; else only: has one of them moved? */
static bool visit_others(const struct work *w, struct bench *t, bool subtract)
{
    int64_t i0, i1, j0, j1;
    double mx = (double)t->x0 + 0.5 * (t->nx - 1), my = (double)t->y0 + 0.5 * (t->ny - 1), away = 0.5 * (t->nx > t->ny ? t->nx : t->ny) + (double)w->reach_max + w->model->fwhm;
    bool moved = false;
    psf_cells_around(&w->cells, mx, my, away, &i0, &i1, &j0, &j1);
    for (int64_t j = j0; j < j1; j++)
        for (int64_t k = w->cells.first[j * w->cells.nx + i0]; k < w->cells.first[j * w->cells.nx + i1]; k++) {
            int32_t id = w->cells.item[k];
            const struct state *s = &w->now[id];
            double reach = (double)w->reach[id];
            if (!(reach > 0) || fabs(s->x - mx) > 0.5 * t->nx + reach || fabs(s->y - my) > 0.5 * t->ny + reach || is_member(t, id)) continue;
            if (subtract) {
                subtract_source(w, t, id);
                add_overlap(w, t, s);
            }
            moved |= s->change > (float)SETTLED;
        }
    return moved;
}

/* ---- one group: the fit ------------------------------------------------------------------------------------------- */

/* Part of member m's stamp inside the group's rectangle. */
static void inside_part(const struct bench *t, struct member *m)
{
    int64_t left = m->cx - m->half - t->x0, top = m->cy - m->half - t->y0;
    m->sx = left < 0 ? (int)-left : 0;
    m->sy = top < 0 ? (int)-top : 0;
    int64_t nx = left + m->size < t->nx ? m->size : t->nx - left, ny = top + m->size < t->ny ? m->size : t->ny - top;
    m->nx = (int)nx - m->sx;
    m->ny = (int)ny - m->sy;
}

/* Where the inside part begins in the group's planes. */
static int64_t group_at(const struct bench *t, const struct member *m)
{
    return (m->cy - m->half + m->sy - t->y0) * t->stride + (m->cx - m->half + m->sx - t->x0);
}

static int64_t stamp_at(const struct member *m)
{
    return (int64_t)m->sy * m->stride + m->sx;
}

static void render(const struct bench *t, struct member *m)
{
    psf_stamp(&t->psf, m->x - (double)m->cx, m->y - (double)m->cy, -m->half, m->half + 1, -m->half, m->half + 1, m->stride, m->p,
              m->p + m->plane, m->p + 2 * m->plane);
}

static double residuals(const struct work *w, struct bench *t)
{
    float level = (float)t->level;
    for (int64_t i = 0; i < t->npix; i++) t->model[i] = level;
    for (int k = 0; k < t->count; k++) {
        struct member *m = &t->m[k];
        kernels()->light((float)m->flux, m->p + stamp_at(m), m->stride, t->model + group_at(t, m), t->stride, m->nx, m->ny);
    }
    return kernels()->residual(t->npix, t->data, t->sigma2, t->model, w->inv_gain, t->r, t->w);
}

/* The rectangle members a and b share, as parts of their stamps; false: none. */
static bool shared_part(const struct member *a, const struct member *b, int64_t *at_a, int64_t *at_b, int *nx, int *ny)
{
    int64_t ax = a->cx - a->half, ay = a->cy - a->half, bx = b->cx - b->half, by = b->cy - b->half;
    int64_t x0 = ax > bx ? ax : bx, y0 = ay > by ? ay : by;
    int64_t x1 = ax + a->size < bx + b->size ? ax + a->size : bx + b->size, y1 = ay + a->size < by + b->size ? ay + a->size : by + b->size;
    if (x0 >= x1 || y0 >= y1) return false;
    *at_a = (y0 - ay) * a->stride + (x0 - ax);
    *at_b = (y0 - by) * b->stride + (x0 - bx);
    *nx = (int)(x1 - x0);
    *ny = (int)(y1 - y0);
    return true;
}

/* Weighted templates of a member: zero outside the image and the fitted pixels. */
static void weigh(const struct bench *t, struct member *m)
{
    struct fit_stamp part = {m->p + stamp_at(m), m->plane, m->stride};
    if (m->sx || m->sy || m->nx < m->size || m->ny < m->size) memset(m->wp, 0, (size_t)(3 * m->plane) * sizeof *m->wp);
    kernels()->weigh(t->w + group_at(t, m), t->stride, &part, m->nx, m->ny, m->wp + stamp_at(m));
}

static void set_pair(struct bench *t, int unknowns, int p, int q, const double c[9])
{
    const struct member *a = &t->m[p], *b = &t->m[q];
    double fa[3] = {1, a->flux, a->flux}, fb[3] = {1, b->flux, b->flux};
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++) {
            double v = c[3 * i + k] * fa[i] * fb[k];
            t->a[(3 * p + i) * unknowns + 3 * q + k] = v;
            t->a[(3 * q + k) * unknowns + 3 * p + i] = v;
        }
}

/* The level under the group: its row of the matrix. */
static void add_level(struct bench *t, int unknowns)
{
    int last = unknowns - 1;
    double sum = 0, rest = 0;
    for (int64_t i = 0; i < t->npix; i++) {
        sum += (double)t->w[i];
        rest += (double)t->w[i] * (double)t->r[i];
    }
    t->a[last * unknowns + last] = sum;
    t->b[last] = rest;
    for (int k = 0; k < t->count; k++) {
        const struct member *m = &t->m[k];
        for (int i = 0; i < 3; i++) {
            double c = 0;
            for (int64_t q = 0; q < m->plane; q++) c += (double)m->wp[i * m->plane + q];
            c *= i ? m->flux : 1;
            t->a[last * unknowns + 3 * k + i] = t->a[(3 * k + i) * unknowns + last] = c;
        }
    }
}

/* Normal equations of the group as it stands. */
static void equations(struct bench *t, int unknowns, bool level)
{
    memset(t->a, 0, (size_t)(unknowns * unknowns) * sizeof *t->a);
    for (int p = 0; p < t->count; p++) weigh(t, &t->m[p]);
    for (int p = 0; p < t->count; p++) {
        struct member *a = &t->m[p];
        struct fit_stamp wa = {a->wp, a->plane, a->stride}, inside = {a->wp + stamp_at(a), a->plane, a->stride};
        double c[9], b[3];
        kernels()->project(&inside, t->r + group_at(t, a), t->stride, a->nx, a->ny, b);
        for (int i = 0; i < 3; i++) t->b[3 * p + i] = b[i] * (i ? a->flux : 1);
        struct fit_stamp pa = {a->p, a->plane, a->stride};
        kernels()->cross(&wa, &pa, a->size, a->size, c);
        set_pair(t, unknowns, p, p, c);
        for (int q = p + 1; q < t->count; q++) {
            int64_t at_a, at_b;
            int nx, ny;
            const struct member *m = &t->m[q];
            if (!shared_part(a, m, &at_a, &at_b, &nx, &ny)) continue;
            struct fit_stamp part = {a->wp + at_a, a->plane, a->stride}, other = {m->p + at_b, m->plane, m->stride};
            kernels()->cross(&part, &other, nx, ny, c);
            set_pair(t, unknowns, p, q, c);
        }
    }
    if (level) add_level(t, unknowns);
}

/* What is known of the places beforehand; places that are held do not move. */
static void add_priors(const struct work *w, struct bench *t, int unknowns, bool flux_only)
{
    double sigma = PLACE_FWHM * w->model->fwhm, weight = 1 / (sigma * sigma);
    for (int p = 0; p < t->count; p++) {
        const struct member *m = &t->m[p];
        bool held = flux_only || m->hold || !(m->flux > 0);
        for (int i = 1; i < 3; i++) {
            int row = 3 * p + i;
            if (held) {
                for (int k = 0; k < unknowns; k++) t->a[row * unknowns + k] = t->a[k * unknowns + row] = 0;
                t->a[row * unknowns + row] = 1;
                t->b[row] = 0;
            } else {
                t->a[row * unknowns + row] += weight;
                t->b[row] += weight * (i == 1 ? m->x0 - m->x : m->y0 - m->y);
            }
        }
    }
}

/* a = L L^T. Sources on one spot cannot be told apart: then the diagonal grows until the matrix can be solved. */
static bool factor(struct bench *t, int unknowns, double *keep)
{
    size_t bytes = (size_t)(unknowns * unknowns) * sizeof *keep;
    memcpy(keep, t->a, bytes);
    for (double ridge = 1e-8; !psf_cholesky(t->a, unknowns, unknowns); ridge *= 100) {
        if (ridge > 1) return false;
        memcpy(t->a, keep, bytes);
        for (int i = 0; i < unknowns; i++) t->a[i * unknowns + i] = t->a[i * unknowns + i] * (1 + ridge) + 1e-30;
    }
    return true;
}

static double limited(double v, double most)
{
    return v > most ? most : v < -most ? -most : v;
}

/* Take the step in t->b. Returned: its largest part in units of the errors `scale` (square roots of the diagonal). */
static double move_members(const struct work *w, struct bench *t, const double *diagonal)
{
    double largest = 0, step = 0.5 * w->model->fwhm, range = RANGE_FWHM * w->model->fwhm;
    for (int i = 0; i < 3 * t->count; i++)
        if (!isfinite(t->b[i])) return NAN;
    for (int p = 0; p < t->count; p++) {
        struct member *m = &t->m[p];
        double x = m->x + limited(t->b[3 * p + 1], step), y = m->y + limited(t->b[3 * p + 2], step);
        x = m->x0 + limited(x - m->x0, range);
        y = m->y0 + limited(y - m->y0, range);
        largest = fmax(largest, fabs(t->b[3 * p]) * sqrt(diagonal[3 * p]));
        if (fabs(x - m->x) > 1e-4) largest = fmax(largest, fabs(x - m->x) * sqrt(diagonal[3 * p + 1]));
        if (fabs(y - m->y) > 1e-4) largest = fmax(largest, fabs(y - m->y) * sqrt(diagonal[3 * p + 2]));
        m->flux += t->b[3 * p];
        m->x = x;
        m->y = y;
    }
    if (w->o->local_background) t->level += t->b[3 * t->count];
    return largest;
}

/* Remember where the members stand, or bring them back. */
static void keep_place(struct bench *t, bool back)
{
    for (int k = 0; k < t->count; k++) {
        struct member *m = &t->m[k];
        if (back) m->flux = m->best[0], m->x = m->best[1], m->y = m->best[2];
        else m->best[0] = m->flux, m->best[1] = m->x, m->best[2] = m->y;
    }
}

/* Newton steps until they are small. Returned: steps taken, negative when they did not become small; 0: nothing to solve.
 * Afterwards t->a holds the factor at the last point but one. */
static int iterate(const struct work *w, struct bench *t)
{
    bool level = w->o->local_background;
    int unknowns = 3 * t->count + level, steps = w->round ? STEPS_LATER : STEPS_FIRST;
    double keep[UNKNOWNS * UNKNOWNS], diagonal[UNKNOWNS], least = INFINITY;
    for (int step = 1; step <= steps; step++) {
        bool first = step == 1 && w->round == 0;
        for (int k = 0; k < t->count; k++) render(t, &t->m[k]);
        double left = residuals(w, t);
        if (!(left > least)) {
            least = left;
            keep_place(t, false);
        }
        equations(t, unknowns, level);
        add_priors(w, t, unknowns, first); /* fluxes first: slopes mean nothing without them */
        for (int i = 0; i < unknowns; i++) diagonal[i] = t->a[i * unknowns + i];
        if (!factor(t, unknowns, keep)) return 0;
        psf_solve(t->a, unknowns, unknowns, t->b);
        double moved = move_members(w, t, diagonal);
        if (!isfinite(moved)) return 0;
        if (!first && moved < CONVERGED) return step;
    }
    keep_place(t, true); /* it went to and fro: the best of it */
    return -steps;
}

/* ---- one group: what is told -------------------------------------------------------------------------------------- */

static void tell_nothing(struct psffit_source *s)
{
    s->flux = NAN;
    s->fluxerr = s->var_x = s->var_y = s->cov_xy = s->chi2 = s->spread = s->spreaderr = NAN;
    s->niter = 0;
    s->flags |= PSFFIT_NO_DATA;
}

/* Errors from the inverse: the columns of the member's three unknowns. */
static void tell_errors(const struct bench *t, int unknowns, int p, struct psffit_source *s)
{
    double c[3][UNKNOWNS] = {{0}};
    for (int i = 0; i < 3; i++) {
        c[i][3 * p + i] = 1;
        psf_solve(t->a, unknowns, unknowns, c[i]);
    }
    bool held = t->m[p].hold || !(t->m[p].flux > 0);
    s->fluxerr = (float)hypot(sqrt(c[0][3 * p]), MODEL_ERROR * t->m[p].flux);
    s->var_x = held ? 0.0f : (float)c[1][3 * p + 1];
    s->var_y = held ? 0.0f : (float)c[2][3 * p + 2];
    s->cov_xy = held ? 0.0f : (float)c[1][3 * p + 2];
}

/* Sums over the member's own disc. */
struct disc_sums {
    double chi2, weight, all; /* sum w r^2; sum P^2 on used pixels, on all */
    int64_t used;
    bool saturated;
    mask_t mask;
};

static struct disc_sums sum_disc(const struct work *w, const struct bench *t, const struct member *m)
{
    struct disc_sums d = {0};
    const struct image_view *v = w->view;
    double core = w->model->fwhm * w->model->fwhm;
    for (int j = 0; j < m->size; j++)
        for (int i = 0; i < m->size; i++) {
            int64_t x = m->cx - m->half + i, y = m->cy - m->half + j;
            double dx = (double)x - m->x0, dy = (double)y - m->y0, r2 = dx * dx + dy * dy, p = (double)m->p[(int64_t)j * m->stride + i];
            if (r2 > m->radius * m->radius) continue;
            d.all += p * p;
            if (x < 0 || y < 0 || x >= v->nx || y >= v->ny) continue;
            int64_t here = (y - t->y0) * t->stride + (x - t->x0), at = y * v->nx + x;
            if (v->mask && r2 < core) d.mask |= v->mask[at];
            d.saturated |= (v->mask && v->mask[at] & MASK_SATURATED) || v->value[at] >= w->o->saturate;
            if (!(t->w[here] > 0.0f)) continue;
            d.weight += p * p;
            d.chi2 += (double)t->w[here] * (double)t->r[here] * (double)t->r[here];
            d.used++;
        }
    return d;
}

/* sum of G w d / sum of P w d against the same for the PSF itself, with its error; d: the source alone. */
static void tell_spread(struct bench *t, const struct member *m, struct psffit_source *s)
{
    float *g = t->tmp;
    double pd = 0, gd = 0, pp = 0, gp = 0, var = 0;
    psf_stamp(&t->disc, m->x - (double)m->cx, m->y - (double)m->cy, -m->half, m->half + 1, -m->half, m->half + 1, m->stride, g, NULL, NULL);
    for (int pass = 0; pass < 2; pass++)
        for (int j = m->sy; j < m->sy + m->ny; j++)
            for (int i = m->sx; i < m->sx + m->nx; i++) {
                int64_t at = (int64_t)j * m->stride + i, here = group_at(t, m) + (int64_t)(j - m->sy) * t->stride + (i - m->sx);
                double weight = (double)t->w[here], p = (double)m->p[at], b = (double)g[at];
                if (!(weight > 0)) continue;
                double d = (double)t->r[here] + m->flux * p;
                if (pass) {
                    double slope = weight * (b * pd - p * gd);
                    var += slope * slope / weight;
                } else {
                    pd += weight * p * d, gd += weight * b * d, pp += weight * p * p, gp += weight * b * p;
                }
            }
    s->spread = pd > 0 ? (float)(gd / pd - gp / pp) : NAN;
    s->spreaderr = pd > 0 ? (float)(sqrt(var) / (pd * pd)) : NAN;
}

static bool at_limit(const struct work *w, const struct member *m)
{
    double range = 0.999 * RANGE_FWHM * w->model->fwhm;
    return fabs(m->x - m->x0) >= range || fabs(m->y - m->y0) >= range;
}

/* Groups that overlap all see the same light: each takes its share of the step, else they overshoot together. */
static void relax(const struct work *w, struct bench *t)
{
    double most = 0;
    for (int k = 0; k < t->count; k++) most = fmax(most, t->overlap[k]);
    for (int k = 0; k < t->count && most > 0; k++) {
        struct member *m = &t->m[k];
        const struct state *now = &w->now[m->id];
        m->flux = now->flux + (m->flux - now->flux) / (1 + most);
        m->x = now->x + (m->x - now->x) / (1 + most);
        m->y = now->y + (m->y - now->y) / (1 + most);
    }
}

static float change_of(const struct state *from, const struct member *m, const struct psffit_source *s)
{
    double f = fabs(m->flux - from->flux) / fmax((double)s->fluxerr, 1e-30);
    double d = s->var_x > 0.0f ? hypot(m->x - from->x, m->y - from->y) / sqrt((double)s->var_x) : 0;
    return (float)fmax(f, d);
}

static void tell_member(const struct work *w, struct bench *t, int unknowns, int p, int steps)
{
    struct member *m = &t->m[p];
    struct psffit_source *s = &w->s[m->id];
    struct state *next = &w->next[m->id];
    struct disc_sums d = sum_disc(w, t, m);
    s->flags = (int16_t)((t->count > 1 ? PSFFIT_NEIGHBOURS : 0) | (w->groups.split[m->id] ? PSFFIT_SPLIT : 0) | (d.saturated ? PSFFIT_SATURATED : 0) |
                         (steps < 0 ? PSFFIT_NOT_CONVERGED : 0) | (m->hold || !(m->flux > 0) ? PSFFIT_HELD : 0) | (at_limit(w, m) ? PSFFIT_MOVED : 0) |
                         (w->model->flags & PSF_FALLBACK ? PSFFIT_FALLBACK : 0) | (d.all > 0 && d.weight < (1 - TRUNCATED) * d.all ? PSFFIT_TRUNCATED : 0));
    s->mask = d.mask;
    next->x = m->x;
    next->y = m->y;
    next->flux = m->flux;
    if (!(d.weight > LEAST_WEIGHT * d.all) || d.used < 4 || !steps) {
        tell_nothing(s);
        *next = (struct state){m->x0, m->y0, 0, 0.0f};
        return;
    }
    tell_errors(t, unknowns, p, s);
    s->x = m->x;
    s->y = m->y;
    s->flux = m->flux;
    s->chi2 = (float)(d.chi2 / (double)(d.used > 3 ? d.used - 3 : 1));
    s->niter = (int16_t)(s->niter + abs(steps));
    next->change = change_of(&w->now[m->id], m, s);
    if (w->o->spread) tell_spread(t, m, s);
}

static enum err local_psf(const struct work *w, struct bench *t, struct error *err)
{
    int reach = 0;
    double x = (double)t->x0 + 0.5 * (t->nx - 1), y = (double)t->y0 + 0.5 * (t->ny - 1);
    for (int k = 0; k < t->count; k++) reach = t->m[k].half > reach ? t->m[k].half : reach;
    enum err e = psf_local_at(&t->psf, w->model, x, y, w->model->half, err);
    if (!e && w->o->spread) e = psf_local_disc(&t->disc, w->model, x, y, reach + 2, err);
    return e;
}

static void keep_as_it_was(const struct work *w, const struct bench *t)
{
    for (int k = 0; k < t->count; k++) {
        w->next[t->m[k].id] = w->now[t->m[k].id];
        w->next[t->m[k].id].change = 0.0f;
    }
}

static enum err fit_group(const struct work *w, struct bench *t, int64_t g, struct error *err)
{
    t->count = (int)(w->groups.first[g + 1] - w->groups.first[g]);
    for (int k = 0; k < t->count; k++) place_member(w, w->groups.member[w->groups.first[g] + k], &t->m[k]);
    if (!frame_group(w, t)) {
        keep_as_it_was(w, t);
        for (int k = 0; k < t->count && !w->round; k++) {
            w->next[t->m[k].id].flux = 0;
            tell_nothing(&w->s[t->m[k].id]);
        }
        return ERR_OK;
    }
    if (w->round && !visit_others(w, t, false)) {
        keep_as_it_was(w, t);
        return ERR_OK;
    }
    enum err e = share_room(t, err);
    if (!e) e = local_psf(w, t, err);
    if (e) return e;
    memset(t->sigma2, 0, (size_t)t->npix * sizeof *t->sigma2);
    memset(t->data, 0, (size_t)t->npix * sizeof *t->data);
    for (int k = 0; k < t->count; k++) {
        load_disc(w, t, &t->m[k]);
        inside_part(t, &t->m[k]);
    }
    memset(t->overlap, 0, sizeof t->overlap);
    visit_others(w, t, true);
    t->level = 0;
    int steps = iterate(w, t);
    if (steps) relax(w, t);
    for (int k = 0; k < t->count; k++) tell_member(w, t, 3 * t->count + w->o->local_background, k, steps);
    return ERR_OK;
}

/* ---- all ---------------------------------------------------------------------------------------------------------- */

static void bench_release(struct bench *t)
{
    psf_local_release(&t->psf);
    psf_local_release(&t->disc);
    free(t->memory);
    free(t);
}

/* One round. A group reads `now`, which nobody writes, and writes its own members of `next` and of s. */
static enum err fit_round(const struct work *w, struct error *err)
{
    int64_t n = w->groups.n, failed = n;
    enum err status = ERR_OK;
    struct error first = ERROR_INIT;
#pragma omp parallel default(none) shared(w, n, failed, status, first)
    {
        struct bench *t = calloc(1, sizeof *t);
#pragma omp for schedule(dynamic, 16)
        for (int64_t g = 0; g < n; g++) {
            struct error mine = ERROR_INIT;
            enum err e = t ? fit_group(w, t, g, &mine) : ERROR(&mine, ERR_NOMEM, "no memory to fit stars");
            if (e) {
#pragma omp critical(psffit_status)
                if (g < failed) {
                    failed = g;
                    status = e;
                    first = mine;
                }
            }
        }
        if (t) bench_release(t);
    }
    if (status && err) *err = first;
    return status;
}

/* Mean profile at whole pixels along both axes. */
static enum err make_wing(struct work *w, struct error *err)
{
    int half = w->model->half, size = 2 * half + 1;
    float *p = mem_array((size_t)size * (size_t)size, sizeof *p);
    w->wing = mem_array((size_t)half + 1, sizeof *w->wing);
    enum err e = p && w->wing ? psfmodel_stamp(w->model, w->model->x0, w->model->y0, 0, 0, p, size, err) : ERROR(err, ERR_NOMEM, "no memory for a profile");
    for (int k = 0; k <= half && !e; k++) {
        float a = p[half * size + half + k], b = p[half * size + half - k], c = p[(half + k) * size + half], d = p[(half - k) * size + half];
        w->wing[k] = 0.25f * (fabsf(a) + fabsf(b) + fabsf(c) + fabsf(d));
    }
    free(p);
    return e;
}

/* How far the light of a source counts. */
static float reach_of(const struct work *w, double x, double y, double flux)
{
    const struct image_view *v = w->view;
    int64_t cx = nearest(x), cy = nearest(y);
    float s = v->sigma2_const;
    if (v->sigma2 && cx >= 0 && cy >= 0 && cx < v->nx && cy < v->ny && v->sigma2[cy * v->nx + cx] > 0.0f) s = v->sigma2[cy * v->nx + cx];
    double least = FAINT_WING * sqrt(fmax((double)s, 0));
    int k = w->model->half;
    while (k > 0 && fabs(flux) * (double)w->wing[k] < least) k--;
    return flux != 0 ? (float)k : 0.0f;
}

static void set_reaches(struct work *w)
{
    w->reach_max = 0.0f;
    for (int64_t i = 0; i < w->n; i++) {
        w->reach[i] = reach_of(w, w->now[i].x, w->now[i].y, w->now[i].flux);
        if (w->reach[i] > w->reach_max) w->reach_max = w->reach[i];
    }
}

static bool is_saturated(const struct work *w, double x, double y)
{
    const struct image_view *v = w->view;
    int64_t cx = nearest(x), cy = nearest(y);
    for (int64_t j = cy - 1; j <= cy + 1; j++)
        for (int64_t i = cx - 1; i <= cx + 1; i++) {
            if (i < 0 || j < 0 || i >= v->nx || j >= v->ny) continue;
            if ((v->mask && v->mask[j * v->nx + i] & MASK_SATURATED) || v->value[j * v->nx + i] >= w->o->saturate) return true;
        }
    return false;
}

static void begin(struct work *w)
{
    for (int64_t i = 0; i < w->n; i++) {
        struct psffit_source *s = &w->s[i];
        bool finite = isfinite(s->x) && isfinite(s->y) && fabs(s->x) < 1e6 && fabs(s->y) < 1e6;
        w->x0[i] = finite ? s->x : -1e6;
        w->y0[i] = finite ? s->y : -1e6;
        w->now[i] = (struct state){w->x0[i], w->y0[i], isfinite(s->flux) ? s->flux : 0, INFINITY};
        s->niter = s->flags = 0;
        s->mask = 0;
        if (!(s->radius > 0.0f) && is_saturated(w, w->x0[i], w->y0[i])) s->radius = (float)(SATURATED_FWHM * w->model->fwhm);
    }
}

static enum err prepare(struct work *w, struct error *err)
{
    size_t n = (size_t)(w->n ? w->n : 1);
    w->now = mem_array(n, sizeof *w->now);
    w->next = mem_array(n, sizeof *w->next);
    w->x0 = mem_array(n, sizeof *w->x0);
    w->y0 = mem_array(n, sizeof *w->y0);
    w->reach = mem_array(n, sizeof *w->reach);
    if (!w->now || !w->next || !w->x0 || !w->y0 || !w->reach) return ERROR(err, ERR_NOMEM, "no memory to fit %lld sources", (long long)w->n);
    begin(w);
    double link = w->o->link_fwhm * w->model->fwhm, size = fmax(link, 8);
    enum err e = make_wing(w, err);
    if (!e) e = psf_cells_make(&w->cells, w->x0, w->y0, w->n, (double)w->view->nx, (double)w->view->ny, size, err);
    if (!e) e = psf_groups_make(&w->groups, &w->cells, w->x0, w->y0, w->n, link, w->o->group_max, err);
    return e;
}

/* A place that was looked for is where the noise helps: too bright by 1 / snr^2 (Portillo et al. 2020, equation 5). */
static void take_off_bias(struct psffit_source *s)
{
    double snr = s->flux / (double)s->fluxerr;
    if (!(s->flags & (PSFFIT_HELD | PSFFIT_NO_DATA)) && snr > 0) s->flux *= snr * snr / (snr * snr + 1);
}

enum err psffit_sources(const struct image_view *view, const struct psf_model *model, const struct psffit_options *options,
                        struct psffit_source *s, int64_t n, struct error *err)
{
    struct work w = {.view = view, .model = model, .o = options, .s = s, .n = n, .inv_gain = view->gain > 0.0f ? 1.0f / view->gain : 0.0f};
    enum err e = psffit_options_verify(options, err);
    if (!e && n >= INT32_MAX) e = ERROR(err, ERR_UNSUPPORTED, "%lld sources are more than can be fitted", (long long)n);
    if (e) return e;
    e = prepare(&w, err);
    for (w.round = 0; !e && w.round < options->rounds; w.round++) {
        set_reaches(&w);
        e = fit_round(&w, err);
        struct state *swap = w.now;
        w.now = w.next;
        w.next = swap;
    }
    for (int64_t i = 0; !e && i < n; i++) take_off_bias(&s[i]);
    psf_cells_release(&w.cells);
    psf_groups_release(&w.groups);
    free(w.now);
    free(w.next);
    free(w.x0);
    free(w.y0);
    free(w.reach);
    free(w.wing);
    return e;
}

/* ---- subtraction -------------------------------------------------------------------------------------------------- */

static enum err subtract_rows(const struct psf_model *model, const struct psffit_source *s, int64_t n, int64_t nx, int64_t y0, int64_t y1, float *value,
                              struct psf_local *l, struct error *err)
{
    int size = 2 * model->half + 1, stride = (size + 7) / 8 * 8;
    float *p = mem_array((size_t)stride * (size_t)size, sizeof *p);
    if (!p) return ERROR(err, ERR_NOMEM, "no memory to subtract stars");
    enum err e = ERR_OK;
    for (int64_t i = 0; i < n && !e; i++) {
        int64_t cx = nearest(s[i].x), cy = nearest(s[i].y), half = model->half;
        if (s[i].flags & PSFFIT_NO_DATA || !isfinite(s[i].flux) || cy + half < y0 || cy - half >= y1) continue;
        int64_t j0 = y0 - cy > -half ? y0 - cy : -half, j1 = y1 - cy < half + 1 ? y1 - cy : half + 1;
        int64_t i0 = -cx > -half ? -cx : -half, i1 = nx - cx < half + 1 ? nx - cx : half + 1;
        if (i0 >= i1 || j0 >= j1) continue;
        e = psf_local_at(l, model, s[i].x, s[i].y, (int)half, err);
        if (e) break;
        psf_stamp(l, s[i].x - (double)cx, s[i].y - (double)cy, (int)i0, (int)i1, (int)j0, (int)j1, stride, p, NULL, NULL);
        for (int64_t j = j0; j < j1; j++)
            for (int64_t k = i0; k < i1; k++) value[(cy + j) * nx + cx + k] -= (float)s[i].flux * p[(j - j0) * stride + k - i0];
    }
    free(p);
    return e;
}

enum err psffit_subtract(const struct psf_model *model, const struct psffit_source *s, int64_t n, int64_t nx, int64_t ny, float *value, struct error *err)
{
    int64_t blocks = row_blocks(ny);
    int failed = 0;
    /* a block writes its own rows, sources in order */
#pragma omp parallel default(none) shared(model, s, n, nx, ny, value, blocks) reduction(| : failed)
    {
        struct psf_local l;
        psf_local_init(&l);
#pragma omp for schedule(dynamic, 1)
        for (int64_t b = 0; b < blocks; b++) {
            int64_t y0, y1;
            row_block(ny, b, &y0, &y1);
            failed |= subtract_rows(model, s, n, nx, y0, y1, value, &l, NULL) != ERR_OK;
        }
        psf_local_release(&l);
    }
    return failed ? ERROR(err, ERR_NOMEM, "no memory to subtract stars") : ERR_OK;
}
