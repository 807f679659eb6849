/* The grid: conjugate gradients on the normal equations of all stars.
 *
 *     minimise  sum_stars sum_pixels w (d - f P)^2 + |E|^2,   coef = coef0 + tau E
 *
 * tau, the prior, lets a node deviate by a tenth of the profile there and a little more; terms of the polynomials by half of
 * that. Stars are shared among a fixed number of slots, whose sums are added in order: same bytes for any number of threads. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "processors/psfmodel_internal.h"
#include "processors/psfmodel_kernels.h"

#define SLOTS      16
#define ITERATIONS 12
#define PRIOR      0.10   /* of the profile at the node */
#define PRIOR_LEAST 5e-4  /* of its peak */
#define PRIOR_TERM 0.5    /* of that for the terms beyond the constant */
#define STOP       1e-4   /* of the first residual's square */

struct grid_job {
    struct psf_model *m;
    const struct psf_samples *t;
    int64_t plane, n;         /* floats of a plane, of all terms */
    float *tau;               /* plane */
    float *slot;              /* SLOTS * n */
    float *field;             /* n: what is projected, already times tau */
};

/* One star: what the pixels say about the nodes. With `residual` d - f P of the model, else the projection of job->field. */
static void project_star(const struct grid_job *j, const struct psf_sample *s, struct psf_local *local, float *work, bool residual, float *slot)
{
    const struct psf_samples *t = j->t;
    int half = j->m->half;
    int64_t npix = (int64_t)t->size * t->stride;
    float *model = work, *back = work + npix, *node = back + npix, f = (float)s->flux, sky = (float)s->sky;
    const struct psfmodel_kernels *k = psfmodel_kernels_now();
    local->coef = node;
    k->combine(j->m->coef, j->plane, j->m->terms, s->poly, j->plane, node);
    psf_stamp(local, s->dx, s->dy, -half, half + 1, -half, half + 1, t->stride, model, NULL, NULL);
    if (!residual) {
        k->combine(j->field, j->plane, j->m->terms, s->poly, j->plane, node);
        psf_stamp(local, s->dx, s->dy, -half, half + 1, -half, half + 1, t->stride, back, NULL, NULL);
    }
    for (int y = 0; y < t->size; y++)
        for (int x = 0; x < t->stride; x++) {
            int64_t i = (int64_t)y * t->stride + x;
            float light = f * model[i], w = x < t->size ? psf_weight(s->sigma2[i], light, t->inv_gain) : 0.0f;
            float r = residual ? s->value[i] - sky - light : f * back[i];
            back[i] = w > 0.0f ? f * w * r : 0.0f;
        }
    memset(node, 0, (size_t)j->plane * sizeof *node);
    psf_stamp_adjoint(local, s->dx, s->dy, t->stride, back, node);
    for (int q = 0; q < j->m->terms; q++) k->add(j->plane, s->poly[q], node, slot + q * j->plane);
}

/* ret = tau * v; may be v. */
static void scale_field(const struct grid_job *j, const float *v, float *ret)
{
    for (int k = 0; k < j->m->terms; k++) {
        float term = k ? (float)PRIOR_TERM : 1.0f;
        for (int64_t i = 0; i < j->plane; i++) ret[k * j->plane + i] = v[k * j->plane + i] * j->tau[i] * term;
    }
}

/* ret = tau * sum over the stars. ERR_NOMEM. */
static enum err project(const struct grid_job *j, bool residual, float *ret, struct error *err)
{
    int64_t npix = (int64_t)j->t->size * j->t->stride;
    int failed = 0;
    /* a slot belongs to one thread at a time */
#pragma omp parallel default(none) shared(j, npix, residual) reduction(| : failed)
    {
        float *work = mem_array((size_t)(2 * npix + j->plane + PSF_SCRATCH), sizeof *work);
        struct psf_local local = {.model = j->m, .row0 = 0, .row1 = j->m->nodes};
        if (!work) failed = 1;
        else local.scratch = work + 2 * npix + j->plane;
#pragma omp for schedule(dynamic, 1)
        for (int b = 0; b < SLOTS; b++) {
            memset(j->slot + b * j->n, 0, (size_t)j->n * sizeof *j->slot);
            for (int64_t i = b * j->t->n / SLOTS; work && i < (b + 1) * j->t->n / SLOTS; i++)
                if (j->t->s[i].kept) project_star(j, &j->t->s[i], &local, work, residual, j->slot + b * j->n);
        }
        free(work);
    }
    if (failed) return ERROR(err, ERR_NOMEM, "no memory to fit a PSF");
    memcpy(ret, j->slot, (size_t)j->n * sizeof *ret);
    for (int b = 1; b < SLOTS; b++) psfmodel_kernels_now()->add(j->n, 1.0f, j->slot + b * j->n, ret);
    scale_field(j, ret, ret);
    return ERR_OK;
}

static double dot(const float *a, const float *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

/* Conjugate gradients for (tau A^T w A tau + 1) dE = tau A^T w r - E. r, p, h: n floats each. */
static enum err solve(const struct grid_job *j, float *deviation, float *step, float *r, float *p, float *h, struct error *err)
{
    enum err e = project(j, true, r, err);
    if (e) return e;
    for (int64_t i = 0; i < j->n; i++) {
        r[i] -= deviation[i];
        p[i] = r[i];
        step[i] = 0.0f;
    }
    double rr = dot(r, r, j->n), first = rr;
    for (int it = 0; it < ITERATIONS && rr > STOP * first && rr > 0; it++) {
        scale_field(j, p, j->field);
        if ((e = project(j, false, h, err))) return e;
        for (int64_t i = 0; i < j->n; i++) h[i] += p[i];
        double curve = dot(p, h, j->n);
        if (!(curve > 0)) break;
        float alpha = (float)(rr / curve);
        for (int64_t i = 0; i < j->n; i++) {
            step[i] += alpha * p[i];
            r[i] -= alpha * h[i];
        }
        double next = dot(r, r, j->n);
        float beta = (float)(next / rr);
        rr = next;
        for (int64_t i = 0; i < j->n; i++) p[i] = r[i] + beta * p[i];
    }
    return ERR_OK;
}

static void make_prior(const struct grid_job *j, const float *base)
{
    float peak = 0.0f;
    for (int64_t i = 0; i < j->plane; i++) peak = base[i] > peak ? base[i] : peak;
    for (int64_t i = 0; i < j->plane; i++)
        j->tau[i] = base[i] != 0.0f ? (float)PRIOR * fabsf(base[i]) + (float)PRIOR_LEAST * peak : 0.0f; /* 0: padding, no node */
}

enum err psf_fit_grid(struct psf_model *m, const struct psf_samples *t, const float *base, float *deviation, struct error *err)
{
    int64_t plane = (int64_t)m->nodes * m->pitch, n = plane * m->terms;
    struct grid_job j = {.m = m, .t = t, .plane = plane, .n = n};
    float *memory = mem_array((size_t)(plane + (SLOTS + 5) * n), sizeof *memory);
    if (!memory) return ERROR(err, ERR_NOMEM, "no memory to fit a PSF");
    j.tau = memory;
    j.slot = j.tau + plane;
    j.field = j.slot + SLOTS * n;
    float *step = j.field + n, *r = step + n, *p = r + n, *h = p + n;
    make_prior(&j, base);
    enum err e = solve(&j, deviation, step, r, p, h, err);
    for (int64_t i = 0; !e && i < n; i++) deviation[i] += step[i];
    if (!e) {
        scale_field(&j, step, j.field);
        for (int64_t i = 0; i < n; i++) m->coef[i] += j.field[i];
    }
    free(memory);
    return e;
}
