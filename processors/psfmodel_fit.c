/* From stars to a model: profile, degree, grid. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/stats.h"
#include "common/units.h"
#include "processors/psfmodel_internal.h"
#include "processors/psfmodel_kernels.h"
#include "processors/psfsolve.h"

#define STARS_LEAST     3
#define STARS_FEW       8
#define PROFILE_STARS   64    /* the brightest make the profile */
#define PROFILE_STEPS   10
#define SHAPE_FLOOR     0.004 /* scatter of size and ellipticity that no polynomial need explain */
#define DEGREE_GAIN     0.98  /* a higher degree must predict better than this */
#define CLIP_SIGMA      6.0
#define BETA_START      3.5

enum { P_FWHM, P_BETA, P_E1, P_E2, P_COUNT }; /* ln fwhm, 1/beta, e1, e2 */

/* ---- samples ------------------------------------------------------------------------------------------------------ */

/* id 0: pixels of other objects are used too. */
static float usable_variance(const struct image_view *v, const struct psf_options *o, int64_t at, int32_t id)
{
    float s = v->sigma2 ? v->sigma2[at] : v->sigma2_const, value = v->value[at];
    if (!isfinite(value) || !(s > 0.0f) || value >= o->saturate) return 0.0f;
    if (v->mask && v->mask[at] & MASK_UNUSABLE) return 0.0f;
    if (v->segment && id > 0 && v->segment[at] > 0 && v->segment[at] != id) return 0.0f;
    return s;
}

static void load_sample(const struct image_view *v, const struct psf_options *o, const struct psf_star *star, bool others, const struct psf_samples *t, struct psf_sample *s)
{
    int half = t->size / 2;
    s->ix = (int64_t)floor(star->x + 0.5);
    s->iy = (int64_t)floor(star->y + 0.5);
    s->dx = star->x - (double)s->ix;
    s->dy = star->y - (double)s->iy;
    s->flux = (double)star->flux;
    s->kept = true;
    for (int j = 0; j < t->size; j++)
        for (int i = 0; i < t->size; i++) {
            int64_t x = s->ix + i - half, y = s->iy + j - half, at = y * v->nx + x, to = (int64_t)j * t->stride + i;
            if (x < 0 || y < 0 || x >= v->nx || y >= v->ny) continue;
            s->sigma2[to] = usable_variance(v, o, at, others ? 0 : (int32_t)star->object + 1);
            if (s->sigma2[to] > 0.0f) s->value[to] = v->value[at];
        }
}

static enum err load_samples(const struct image_view *v, const struct psf_options *o, const struct psf_star *stars, int64_t n, bool others,
                             const struct psf_model *m, struct psf_samples *t, struct error *err)
{
    *t = (struct psf_samples){.n = n, .size = 2 * m->half + 1, .inv_gain = v->gain > 0.0f ? 1.0f / v->gain : 0.0f};
    t->stride = (t->size + 7) / 8 * 8;
    int64_t npix = (int64_t)t->size * t->stride;
    t->s = mem_zarray((size_t)n, sizeof *t->s);
    t->pixels = mem_zarray((size_t)n * 2, (size_t)npix * sizeof(float));
    if (!t->s || !t->pixels) return ERROR(err, ERR_NOMEM, "no memory for %lld PSF stars", (long long)n);
    for (int64_t i = 0; i < n; i++) {
        t->s[i].value = t->pixels + 2 * i * npix;
        t->s[i].sigma2 = t->s[i].value + npix;
        load_sample(v, o, &stars[i], others, t, &t->s[i]);
    }
    return ERR_OK;
}

static void free_samples(struct psf_samples *t)
{
    free(t->s);
    free(t->pixels);
    *t = (struct psf_samples){0};
}

/* ---- one star ----------------------------------------------------------------------------------------------------- */

#define OWN        4 /* flux, x, y, sky */
#define SLOPES_MAX (OWN + P_COUNT)
#define SKY_SIGMA  1.0 /* of a pixel's noise: what the background may leave under a star */

struct normal {
    double a[SLOPES_MAX * SLOPES_MAX], b[SLOPES_MAX];
    double chi2;
    int64_t pixels;
};

/* Normal equations of one star in flux, x, y, sky and `extra` changes of the shape. p: P, dP/dx, dP/dy, then the shapes'
 * planes, npix floats apart. */
static void star_equations(const struct psf_samples *t, const struct psf_sample *s, const float *p, int extra, struct normal *n)
{
    int64_t npix = (int64_t)t->size * t->stride;
    int k = OWN + extra;
    double f = s->flux, noise = 0;
    memset(n, 0, sizeof *n);
    for (int y = 0; y < t->size; y++)
        for (int x = 0; x < t->size; x++) {
            int64_t at = (int64_t)y * t->stride + x;
            float light = (float)f * p[at];
            double w = (double)psf_weight(s->sigma2[at], light, t->inv_gain), slope[SLOPES_MAX];
            if (!(w > 0)) continue;
            double r = (double)s->value[at] - s->sky - (double)light;
            slope[0] = (double)p[at];
            slope[1] = f * (double)p[npix + at];
            slope[2] = f * (double)p[2 * npix + at];
            slope[3] = 1;
            for (int q = OWN; q < k; q++) slope[q] = f * (double)p[(q - 1) * npix + at];
            for (int i = 0; i < k; i++) {
                n->b[i] += w * r * slope[i];
                for (int q = 0; q <= i; q++) n->a[i * SLOPES_MAX + q] += w * slope[i] * slope[q];
            }
            n->chi2 += w * r * r;
            noise += (double)s->sigma2[at];
            n->pixels++;
        }
    double weight = n->pixels ? (double)n->pixels / (noise * SKY_SIGMA * SKY_SIGMA) : 0;
    n->a[3 * SLOPES_MAX + 3] += weight;
    n->b[3] -= weight * s->sky;
}

static void render(const struct psf_local *l, const struct psf_samples *t, const struct psf_sample *s, float *p)
{
    int half = t->size / 2;
    int64_t npix = (int64_t)t->size * t->stride;
    psf_stamp(l, s->dx, s->dy, -half, half + 1, -half, half + 1, t->stride, p, p + npix, p + 2 * npix);
}

static double clamp(double v, double low, double high)
{
    return v < low ? low : v > high ? high : v;
}

/* Move flux, sky and place by a step that keeps the star in its stamp. */
static void move_star(struct psf_sample *s, const double step[OWN])
{
    for (int k = 0; k < OWN; k++) /* absurd pixels give absurd steps: the star is left out */
        if (!isfinite(step[k])) s->kept = false;
    if (!s->kept) return;
    s->flux += step[0];
    s->sky += step[3];
    s->dx = clamp(s->dx + clamp(step[1], -0.5, 0.5), -1.5, 1.5);
    s->dy = clamp(s->dy + clamp(step[2], -0.5, 0.5), -1.5, 1.5);
}

static void clip_star(const struct psf_samples *t, struct psf_sample *s, const float *p, double clip)
{
    for (int64_t i = 0; i < (int64_t)t->size * t->stride; i++) {
        float light = (float)s->flux * p[i], w = psf_weight(s->sigma2[i], light, t->inv_gain), r = s->value[i] - (float)s->sky - light;
        if ((double)(w * r * r) > clip * clip) s->sigma2[i] = 0.0f;
    }
}

/* Three Newton steps. A star that cannot be fitted is not kept. */
static void refit_star(struct psf_local *l, const struct psf_samples *t, struct psf_sample *s, double clip, float *p)
{
    struct normal n;
    for (int i = 0; i < 3; i++) {
        render(l, t, s, p);
        star_equations(t, s, p, 0, &n);
        if (n.pixels < 9 || !psf_cholesky(n.a, OWN, SLOPES_MAX)) {
            s->kept = false;
            return;
        }
        psf_solve(n.a, OWN, SLOPES_MAX, n.b);
        move_star(s, n.b);
        if (!s->kept) return;
    }
    s->chi2 = n.chi2 / (double)(n.pixels - OWN);
    if (!(s->flux > 0) || fabs(s->dx) >= 1.5 || fabs(s->dy) >= 1.5) s->kept = false;
    if (clip > 0 && s->kept) clip_star(t, s, p, clip);
}

enum err psf_refit_samples(const struct psf_model *m, struct psf_samples *t, double clip, struct error *err)
{
    int64_t npix = (int64_t)t->size * t->stride, plane = (int64_t)m->nodes * m->pitch;
    int failed = 0;
    /* each star writes its own sample */
#pragma omp parallel default(none) shared(m, t, clip, npix, plane) reduction(| : failed)
    {
        float *p = mem_array((size_t)(3 * npix + plane + PSF_SCRATCH), sizeof *p);
        struct psf_local l = {.model = m, .row0 = 0, .row1 = m->nodes};
        if (!p) failed = 1;
        else l.coef = p + 3 * npix, l.scratch = l.coef + plane;
#pragma omp for schedule(dynamic, 4)
        for (int64_t i = 0; i < t->n; i++)
            if (p && t->s[i].kept) {
                psfmodel_kernels_now()->combine(m->coef, plane, m->terms, t->s[i].poly, plane, l.coef);
                refit_star(&l, t, &t->s[i], clip, p);
            }
        free(p);
    }
    return failed ? ERROR(err, ERR_NOMEM, "no memory to fit a PSF") : ERR_OK;
}

/* ---- the profile -------------------------------------------------------------------------------------------------- */

/* The profile's plane and those of its slopes by difference: (1 + P_COUNT) planes. */
static enum err profile_planes(const struct psf_model *m, const struct psf_profile *p, float *planes, struct error *err)
{
    static const double h = 0.004;
    int64_t plane = (int64_t)m->nodes * m->pitch;
    struct psf_profile q[1 + P_COUNT] = {*p, *p, *p, *p, *p};
    q[1 + P_FWHM].fwhm *= exp(h);
    q[1 + P_BETA].inv_beta += h;
    q[1 + P_E1].e1 += h;
    q[1 + P_E2].e2 += h;
    enum err e = psf_profile_coefs(m, q, 1 + P_COUNT, planes, err);
    for (int k = 1; k <= P_COUNT && !e; k++)
        for (int64_t i = 0; i < plane; i++) planes[k * plane + i] = (planes[k * plane + i] - planes[i]) * (float)(1 / h);
    return e;
}

/* Templates of one star: P and its slopes in place, then in `extra` directions of the shape (which: their planes). */
static void render_shapes(struct psf_local *l, const struct psf_samples *t, const struct psf_sample *s, float *planes, const int *which, int extra, float *p)
{
    int half = t->size / 2;
    int64_t npix = (int64_t)t->size * t->stride, plane = (int64_t)l->model->nodes * l->model->pitch;
    l->coef = planes;
    render(l, t, s, p);
    for (int k = 0; k < extra; k++) {
        l->coef = planes + (which[k] + 1) * plane;
        psf_stamp(l, s->dx, s->dy, -half, half + 1, -half, half + 1, t->stride, p + (3 + k) * npix, NULL, NULL);
    }
}

/* What is left for the shape when each star has its own flux, place and sky: a = A22 - A21 A11^-1 A12, b likewise. The star's
 * own step is left in n->b. */
static bool eliminate_star(struct normal *n, double a[P_COUNT][P_COUNT], double b[P_COUNT])
{
    double l[OWN * OWN], x[P_COUNT + 1][OWN];
    for (int i = 0; i < OWN; i++)
        for (int j = 0; j <= i; j++) l[i * OWN + j] = n->a[i * SLOPES_MAX + j];
    if (!psf_cholesky(l, OWN, OWN)) return false;
    for (int k = 0; k <= P_COUNT; k++) {
        for (int i = 0; i < OWN; i++) x[k][i] = k < P_COUNT ? n->a[(OWN + k) * SLOPES_MAX + i] : n->b[i];
        psf_solve(l, OWN, OWN, x[k]);
    }
    for (int k = 0; k < P_COUNT; k++) {
        b[k] = n->b[OWN + k];
        for (int i = 0; i < OWN; i++) b[k] -= n->a[(OWN + k) * SLOPES_MAX + i] * x[P_COUNT][i];
        for (int q = 0; q <= k; q++) {
            a[k][q] = n->a[(OWN + k) * SLOPES_MAX + OWN + q];
            for (int i = 0; i < OWN; i++) a[k][q] -= n->a[(OWN + k) * SLOPES_MAX + i] * x[q][i];
        }
    }
    memcpy(n->b, x[P_COUNT], OWN * sizeof(double));
    return true;
}

struct star_share {
    double a[P_COUNT][P_COUNT], b[P_COUNT];
    bool good;
};

struct profile_job {
    const struct psf_model *m;
    struct psf_samples *t;
    float *planes;            /* 1 + P_COUNT */
    struct star_share *share; /* per star */
    int64_t n;
};

/* Each star writes its own share and takes its own step. */
static enum err profile_shares(const struct profile_job *j, struct error *err)
{
    static const int all[P_COUNT] = {P_FWHM, P_BETA, P_E1, P_E2};
    int64_t npix = (int64_t)j->t->size * j->t->stride;
    int failed = 0;
#pragma omp parallel default(none) shared(j, npix, all) reduction(| : failed)
    {
        float *p = mem_array((size_t)(SLOPES_MAX * npix + PSF_SCRATCH), sizeof *p);
        struct psf_local l = {.model = j->m, .row0 = 0, .row1 = j->m->nodes, .scratch = p ? p + SLOPES_MAX * npix : NULL};
        if (!p) failed = 1;
#pragma omp for schedule(dynamic, 4)
        for (int64_t i = 0; i < j->n; i++) {
            struct psf_sample *s = &j->t->s[i];
            struct normal n;
            j->share[i].good = false;
            if (!p || !s->kept) continue;
            render_shapes(&l, j->t, s, j->planes, all, P_COUNT, p);
            star_equations(j->t, s, p, P_COUNT, &n);
            j->share[i].good = n.pixels > 9 && eliminate_star(&n, j->share[i].a, j->share[i].b);
            if (j->share[i].good) move_star(s, n.b);
        }
        free(p);
    }
    return failed ? ERROR(err, ERR_NOMEM, "no memory to fit a PSF profile") : ERR_OK;
}

/* One Gauss-Newton step of the shape all stars share. Returned: its size, < 0 when there is none. */
static double profile_step(const struct profile_job *j, struct psf_profile *p)
{
    static const double longest[P_COUNT] = {0.2, 0.1, 0.1, 0.1}, ridge[P_COUNT] = {1e-3, 0.5, 0.2, 0.2};
    double a[P_COUNT * P_COUNT] = {0}, b[P_COUNT] = {0};
    int64_t stars = 0;
    for (int64_t i = 0; i < j->n; i++) {
        if (!j->share[i].good) continue;
        stars++;
        for (int k = 0; k < P_COUNT; k++) {
            b[k] += j->share[i].b[k];
            for (int q = 0; q <= k; q++) a[k * P_COUNT + q] += j->share[i].a[k][q];
        }
    }
    if (!stars) return -1;
    for (int k = 0; k < P_COUNT; k++) a[k * P_COUNT + k] += 1 / (ridge[k] * ridge[k] * 1e4) + 1e-9 * a[k * P_COUNT + k];
    if (!psf_cholesky(a, P_COUNT, P_COUNT)) return -1;
    psf_solve(a, P_COUNT, P_COUNT, b);
    double size = 0;
    for (int k = 0; k < P_COUNT; k++) {
        b[k] = clamp(b[k], -longest[k], longest[k]);
        size = fmax(size, fabs(b[k]));
    }
    double before = p->fwhm;
    p->fwhm = clamp(p->fwhm * exp(b[P_FWHM]), 0.5, 40);
    p->inv_beta = clamp(p->inv_beta + b[P_BETA], 0.02, 0.6);
    p->e1 = clamp(p->e1 + b[P_E1], -0.5, 0.5);
    p->e2 = clamp(p->e2 + b[P_E2], -0.5, 0.5);
    return p->fwhm == before ? 0 : size;
}

/* The brightest stars give the common profile; planes are left at it. */
static enum err fit_profile(const struct psf_model *m, struct psf_samples *t, struct psf_profile *p, float *planes, bool *converged, struct error *err)
{
    struct profile_job j = {m, t, planes, NULL, t->n < PROFILE_STARS ? t->n : PROFILE_STARS};
    j.share = mem_zarray((size_t)j.n, sizeof *j.share);
    enum err e = j.share ? profile_planes(m, p, planes, err) : ERROR(err, ERR_NOMEM, "no memory to fit a PSF profile");
    *converged = false;
    for (int i = 0; i < PROFILE_STEPS && !e && !*converged; i++) {
        e = profile_shares(&j, err);
        double step = e ? -1 : profile_step(&j, p);
        if (e || step < 0) break;
        *converged = step < 3e-4;
        e = profile_planes(m, p, planes, err);
    }
    free(j.share);
    return e;
}

/* ---- the field ---------------------------------------------------------------------------------------------------- */

/* ln fwhm, e1, e2 of each star against the common profile. */
static enum err star_shapes(const struct psf_model *m, struct psf_samples *t, float *planes, struct error *err)
{
    static const int which[3] = {P_FWHM, P_E1, P_E2};
    int64_t npix = (int64_t)t->size * t->stride;
    int failed = 0;
    /* each star writes its own sample */
#pragma omp parallel default(none) shared(m, t, planes, npix, which) reduction(| : failed)
    {
        float *p = mem_array((size_t)(SLOPES_MAX * npix + PSF_SCRATCH), sizeof *p);
        struct psf_local l = {.model = m, .row0 = 0, .row1 = m->nodes, .scratch = p ? p + SLOPES_MAX * npix : NULL};
        if (!p) failed = 1;
#pragma omp for schedule(dynamic, 4)
        for (int64_t i = 0; i < t->n; i++) {
            struct psf_sample *s = &t->s[i];
            struct normal n;
            if (!p || !s->kept) continue;
            l.coef = planes;
            refit_star(&l, t, s, 0, p);
            if (!s->kept) continue;
            render_shapes(&l, t, s, planes, which, 3, p);
            star_equations(t, s, p, 3, &n);
            s->kept = psf_cholesky(n.a, OWN + 3, SLOPES_MAX);
            if (!s->kept) continue;
            psf_solve(n.a, OWN + 3, SLOPES_MAX, n.b);
            for (int k = 0; k < 3; k++) {
                double unit[OWN + 3] = {0};
                unit[OWN + k] = 1;
                psf_solve(n.a, OWN + 3, SLOPES_MAX, unit);
                s->shape[k] = n.b[OWN + k];
                s->shape_var[k] = unit[OWN + k] + SHAPE_FLOOR * SHAPE_FLOOR;
            }
        }
        free(p);
    }
    return failed ? ERROR(err, ERR_NOMEM, "no memory to fit PSF stars") : ERR_OK;
}

/* Leave out stars whose shape is far from the others': blends and galaxies that came through. */
static void reject_shapes(struct psf_samples *t, double *work)
{
    for (int k = 0; k < 3; k++) {
        int64_t n = 0;
        for (int64_t i = 0; i < t->n; i++)
            if (t->s[i].kept) work[n++] = t->s[i].shape[k];
        double middle = median_f64(work, n), sigma = mad_sigma_f64(work, n, middle);
        for (int64_t i = 0; i < t->n; i++) {
            struct psf_sample *s = &t->s[i];
            double limit = 5 * fmax(sigma, sqrt(s->shape_var[k]));
            if (s->kept && fabs(s->shape[k] - middle) > fmax(limit, 0.02)) s->kept = false;
        }
    }
}

static void polynomials(const struct psf_model *m, struct psf_samples *t)
{
    for (int64_t i = 0; i < t->n; i++) psf_polynomial(m, (double)t->s[i].ix + t->s[i].dx, (double)t->s[i].iy + t->s[i].dy, t->s[i].poly);
}

/* Weighted polynomial through shape k. Returned: what it says of stars it has not seen (leave-one-out sum of squares), or
 * INFINITY when the stars do not fix it. */
static double shape_polynomial(const struct psf_samples *t, int terms, int k, double *coef)
{
    double a[PSF_TERMS_MAX * PSF_TERMS_MAX] = {0}, sum = 0;
    memset(coef, 0, PSF_TERMS_MAX * sizeof *coef);
    for (int64_t i = 0; i < t->n; i++) {
        const struct psf_sample *s = &t->s[i];
        double w = s->kept ? 1 / s->shape_var[k] : 0;
        for (int p = 0; p < terms && w > 0; p++) {
            coef[p] += w * (double)s->poly[p] * s->shape[k];
            for (int q = 0; q <= p; q++) a[p * PSF_TERMS_MAX + q] += w * (double)s->poly[p] * (double)s->poly[q];
        }
    }
    if (!psf_cholesky(a, terms, PSF_TERMS_MAX)) return INFINITY;
    psf_solve(a, terms, PSF_TERMS_MAX, coef);
    for (int64_t i = 0; i < t->n; i++) {
        const struct psf_sample *s = &t->s[i];
        double lever[PSF_TERMS_MAX], h = 0, r = s->shape[k];
        if (!s->kept) continue;
        for (int p = 0; p < terms; p++) lever[p] = (double)s->poly[p];
        psf_solve(a, terms, PSF_TERMS_MAX, lever);
        for (int p = 0; p < terms; p++) {
            h += (double)s->poly[p] * lever[p] / s->shape_var[k];
            r -= coef[p] * (double)s->poly[p];
        }
        if (h > 0.99) return INFINITY;
        r /= 1 - h;
        sum += r * r / s->shape_var[k];
    }
    return sum;
}

static int64_t count_kept(const struct psf_samples *t)
{
    int64_t n = 0;
    for (int64_t i = 0; i < t->n; i++) n += t->s[i].kept;
    return n;
}

static void set_degree(struct psf_model *m, struct psf_samples *t, int degree)
{
    m->degree = degree;
    m->terms = (degree + 1) * (degree + 2) / 2;
    polynomials(m, t);
}

/* The degree that predicts best; coef: terms of ln fwhm, e1, e2. */
static void choose_degree(struct psf_model *m, struct psf_samples *t, int most, double coef[3][PSF_TERMS_MAX])
{
    int64_t stars = count_kept(t);
    double best = INFINITY;
    int degree = 0;
    for (int d = 0; d <= most; d++) {
        int terms = (d + 1) * (d + 2) / 2;
        double c[3][PSF_TERMS_MAX], sum = 0;
        if (d && stars < (int64_t)terms * 3 + 2) break;
        set_degree(m, t, d);
        for (int k = 0; k < 3; k++) sum += shape_polynomial(t, terms, k, c[k]);
        if (d && !(sum < DEGREE_GAIN * best)) continue;
        best = sum;
        degree = d;
        memcpy(coef, c, sizeof c);
    }
    set_degree(m, t, degree);
}

/* Planes of the model from the profile, its slopes and the polynomials of the shape. */
static enum err make_planes(struct psf_model *m, const float *planes, double coef[3][PSF_TERMS_MAX], struct error *err)
{
    static const int which[3] = {P_FWHM, P_E1, P_E2};
    int64_t plane = (int64_t)m->nodes * m->pitch;
    m->coef = mem_zarray((size_t)m->terms * (size_t)plane, sizeof *m->coef);
    if (!m->coef) return ERROR(err, ERR_NOMEM, "no memory for a PSF of %d terms", m->terms);
    memcpy(m->coef, planes, (size_t)plane * sizeof *m->coef);
    for (int q = 0; q < m->terms; q++)
        for (int k = 0; k < 3; k++)
            psfmodel_kernels_now()->add(plane, (float)coef[k][q], planes + (which[k] + 1) * plane, m->coef + q * plane);
    return ERR_OK;
}

/* ---- the model ---------------------------------------------------------------------------------------------------- */

static double median_chi2(const struct psf_samples *t, double *work)
{
    int64_t n = 0;
    for (int64_t i = 0; i < t->n; i++)
        if (t->s[i].kept) work[n++] = t->s[i].chi2;
    return median_f64(work, n);
}

static void reject_chi2(struct psf_samples *t, double *work)
{
    double middle = median_chi2(t, work);
    int64_t n = 0;
    for (int64_t i = 0; i < t->n; i++)
        if (t->s[i].kept) work[n++] = t->s[i].chi2;
    double limit = middle + fmax(6 * mad_sigma_f64(work, n, middle), 0.5 * middle);
    for (int64_t i = 0; i < t->n; i++)
        if (t->s[i].chi2 > limit) t->s[i].kept = false;
}

/* Two rounds: stars under the model, pixels and stars that stand out, the grid. */
static enum err fit_grid(struct psf_model *m, struct psf_samples *t, const float *base, double *work, struct error *err)
{
    int64_t plane = (int64_t)m->nodes * m->pitch;
    float *deviation = mem_zarray((size_t)plane * (size_t)m->terms, sizeof *deviation);
    enum err e = deviation ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory to fit a PSF");
    for (int round = 0; round < 2 && !e; round++) {
        e = psf_refit_samples(m, t, CLIP_SIGMA, err);
        if (!e && round) reject_chi2(t, work);
        if (!e) e = psf_fit_grid(m, t, base, deviation, err);
    }
    if (!e) e = psf_refit_samples(m, t, 0, err);
    free(deviation);
    return e;
}

static enum err fallback(const struct image_view *v, double fwhm, const struct psf_options *o, struct psf_model *ret, struct error *err)
{
    bool known = fwhm > 0 || o->fwhm > 0;
    double width = fwhm > 0 ? fwhm : o->fwhm > 0 ? o->fwhm : 3;
    enum err e = psfmodel_analytic(v->nx, v->ny, clamp(width, 0.8, 40), BETA_START, 0, 0, ret, err);
    if (!e) ret->flags = PSF_FALLBACK | (known ? 0 : PSF_UNMEASURED);
    return e;
}

static struct psf_profile starting_profile(double fwhm)
{
    return (struct psf_profile){clamp(sqrt(fmax(fwhm * fwhm - 0.45, 0.5)), 0.8, 40), 1 / BETA_START, 0, 0}; /* without the pixel's own width */
}

/* The whole with enough stars. *usable: the stars made a model. */
static enum err build(const struct psf_options *o, struct psf_samples *t, struct psf_profile *p, float *planes, double *work,
                      struct psf_model *m, bool *usable, struct error *err)
{
    double coef[3][PSF_TERMS_MAX];
    bool converged;
    enum err e = fit_profile(m, t, p, planes, &converged, err);
    if (!e) e = star_shapes(m, t, planes, err);
    if (e) return e;
    reject_shapes(t, work);
    if (count_kept(t) < STARS_LEAST) return ERR_OK;
    if (!converged) m->flags |= PSF_DID_NOT_CONVERGE;
    if (count_kept(t) < STARS_FEW) m->flags |= PSF_FEW_STARS;
    choose_degree(m, t, count_kept(t) < STARS_FEW ? 0 : o->degree, coef);
    e = make_planes(m, planes, coef, err);
    if (!e) e = fit_grid(m, t, planes, work, err);
    if (e) return e;
    m->nstar = count_kept(t);
    if (m->nstar < STARS_LEAST) return ERR_OK;
    m->chi2 = median_chi2(t, work);
    *usable = true;
    return psf_finish(m, p, err);
}

enum err psfmodel_fit(const struct image_view *view, const struct psf_star *stars, int64_t n, double fwhm,
                      const struct psf_options *options, struct psf_model *ret, struct error *err)
{
    return psf_fit_cleaned(view, stars, n, fwhm, NULL, options, ret, err);
}

enum err psf_fit_cleaned(const struct image_view *view, const struct psf_star *stars, int64_t n, double fwhm, const struct psf_crowd *crowd,
                         const struct psf_options *options, struct psf_model *ret, struct error *err)
{
    enum err e = psf_options_verify(options, err);
    if (e) return e;
    double width = fwhm > 0 ? clamp(fwhm, 0.8, 40) : options->fwhm > 0 ? options->fwhm : 3;
    struct psf_model m = {.nx = view->nx, .ny = view->ny, .terms = 1, .ncandidate = n, .x0 = 0.5 * (double)(view->nx - 1),
                          .y0 = 0.5 * (double)(view->ny - 1), .scale = 0.5 * (double)(view->nx > view->ny ? view->nx : view->ny)};
    struct psf_samples t = {0};
    struct psf_profile p = starting_profile(width);
    bool usable = false;
    float *planes = NULL;
    double *work = NULL;
    psf_geometry(&m, width);
    if (n >= STARS_LEAST) {
        planes = mem_array((size_t)(1 + P_COUNT) * (size_t)m.nodes * (size_t)m.pitch, sizeof *planes);
        work = mem_array((size_t)n, sizeof *work);
        if (!planes || !work) e = ERROR(err, ERR_NOMEM, "no memory to fit a PSF");
        if (!e) e = load_samples(view, options, stars, n, crowd != NULL, &m, &t, err);
        if (!e && crowd) e = psf_clean_samples(crowd, stars, &t, err);
        if (!e) polynomials(&m, &t);
        if (!e) e = build(options, &t, &p, planes, work, &m, &usable, err);
    }
    free_samples(&t);
    free(planes);
    free(work);
    if (!e && !usable) {
        psfmodel_release(&m);
        e = fallback(view, fwhm, options, &m, err);
        m.ncandidate = n;
    }
    if (e) {
        psfmodel_release(&m);
        return e;
    }
    psfmodel_release(ret);
    *ret = m;
    return ERR_OK;
}
