/* Crowded fields: wings of neighbours that nobody sees as such make the PSF too wide. With a first model the sources around
 * the stars are fitted and their light is taken off the stars' pixels; then the model is made again (Stetson 1987, section IV). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "processors/psfmodel_internal.h"

#define CROWDED     0.2  /* other objects on a star's stamp, on average, from which it is worth it */
#define LIGHT_ERROR 0.03 /* of a neighbour's light that may be left or missing */

/* Objects whose light may reach a star, the stars among them. *ret_other: how many per star are not the star. */
static enum err gather(const struct objects *os, const struct psf_star *stars, int64_t n, const struct psf_model *m, struct psffit_source *s,
                       int64_t *object, int64_t *ret_n, double *ret_other, struct error *err)
{
    struct psf_cells cells = {0};
    double *x = mem_array((size_t)(n ? n : 1) * 2, sizeof *x), *y = x ? x + n : NULL, reach = m->half + 2 * m->fwhm;
    int64_t on_stamps = 0, i0, i1, j0, j1;
    enum err e = x ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory for %lld stars", (long long)n);
    for (int64_t i = 0; i < n && !e; i++) x[i] = stars[i].x, y[i] = stars[i].y;
    if (!e) e = psf_cells_make(&cells, x, y, n, (double)m->nx, (double)m->ny, reach, err);
    *ret_n = 0;
    for (int64_t i = 0; i < os->n && !e; i++) {
        const struct object *o = &os->o[i];
        bool near = false;
        psf_cells_around(&cells, o->x, o->y, reach, &i0, &i1, &j0, &j1);
        for (int64_t j = j0; j < j1; j++)
            for (int64_t k = cells.first[j * cells.nx + i0]; k < cells.first[j * cells.nx + i1]; k++) {
                const struct psf_star *star = &stars[cells.item[k]];
                double away = fmax(fabs(star->x - o->x), fabs(star->y - o->y));
                near |= away < reach;
                on_stamps += away < m->half && star->object != i;
            }
        if (!near) continue;
        s[*ret_n] = (struct psffit_source){.x = o->x, .y = o->y, .flux = o->flux};
        object[(*ret_n)++] = i;
    }
    *ret_other = n ? (double)on_stamps / (double)n : 0;
    psf_cells_release(&cells);
    free(x);
    return e;
}

/* One source's light off one sample; what it may have wrong goes into the variance. */
static void take_light(const struct psffit_source *f, const struct psf_samples *t, struct psf_sample *s, const struct psf_local *l, float *p)
{
    int half = t->size / 2;
    double dx = f->x - (double)s->ix, dy = f->y - (double)s->iy;
    int kx = (int)floor(dx + 0.5), ky = (int)floor(dy + 0.5);
    psf_stamp(l, dx - kx, dy - ky, -half - kx, half + 1 - kx, -half - ky, half + 1 - ky, t->stride, p, NULL, NULL);
    for (int64_t i = 0; i < (int64_t)t->size * t->stride; i++) {
        float light = (float)f->flux * p[i], wrong = (float)LIGHT_ERROR * light;
        if (!(s->sigma2[i] > 0.0f)) continue;
        s->value[i] -= light;
        s->sigma2[i] += (light > 0.0f ? light * t->inv_gain : 0.0f) + wrong * wrong;
    }
}

static enum err clean_sample(const struct psf_crowd *c, const struct psf_star *star, const struct psf_samples *t, struct psf_sample *s, struct psf_local *l, float *p)
{
    double reach = 2.0 * c->model->half;
    int64_t i0, i1, j0, j1;
    enum err e = psf_local_at(l, c->model, star->x, star->y, c->model->half, NULL);
    if (e) return e;
    psf_cells_around(&c->cells, star->x, star->y, reach, &i0, &i1, &j0, &j1);
    for (int64_t j = j0; j < j1; j++)
        for (int64_t k = c->cells.first[j * c->cells.nx + i0]; k < c->cells.first[j * c->cells.nx + i1]; k++) {
            const struct psffit_source *f = &c->source[c->cells.item[k]];
            if (c->object[c->cells.item[k]] == star->object || f->flags & PSFFIT_NO_DATA || !(f->flux > 0)) continue;
            if (fmax(fabs(f->x - star->x), fabs(f->y - star->y)) < reach) take_light(f, t, s, l, p);
        }
    return ERR_OK;
}

enum err psf_clean_samples(const struct psf_crowd *crowd, const struct psf_star *stars, struct psf_samples *t, struct error *err)
{
    int failed = 0;
    /* each star's sample is written by one thread */
#pragma omp parallel default(none) shared(crowd, stars, t) reduction(| : failed)
    {
        struct psf_local l;
        float *p = mem_array((size_t)t->size * (size_t)t->stride, sizeof *p);
        psf_local_init(&l);
        if (!p) failed = 1;
#pragma omp for schedule(dynamic, 4)
        for (int64_t i = 0; i < t->n; i++)
            if (p) failed |= clean_sample(crowd, &stars[i], t, &t->s[i], &l, p) != ERR_OK;
        psf_local_release(&l);
        free(p);
    }
    return failed ? ERROR(err, ERR_NOMEM, "no memory to clean PSF stars") : ERR_OK;
}

static enum err index_sources(struct psf_crowd *c, struct error *err)
{
    double *x = mem_array((size_t)(c->n ? c->n : 1) * 2, sizeof *x), *y = x ? x + c->n : NULL;
    if (!x) return ERROR(err, ERR_NOMEM, "no memory for %lld sources", (long long)c->n);
    for (int64_t i = 0; i < c->n; i++) x[i] = c->source[i].x, y[i] = c->source[i].y;
    enum err e = psf_cells_make(&c->cells, x, y, c->n, (double)c->model->nx, (double)c->model->ny, c->model->half, err);
    free(x);
    return e;
}

/* Fit the sources with the first model, then the model with what is left of them. */
static enum err second_model(const struct image_view *view, const struct psf_star *stars, int64_t n, struct psffit_source *s, const int64_t *object,
                             int64_t count, const struct psf_options *options, struct psf_model *ret, struct error *err)
{
    struct psffit_options fit = psffit_options_default();
    struct psf_model second = {0};
    struct psf_crowd crowd = {.model = ret, .source = s, .object = object, .n = count};
    fit.spread = false;
    fit.saturate = options->saturate;
    enum err e = psffit_sources(view, ret, &fit, s, count, err);
    if (!e) e = index_sources(&crowd, err);
    if (!e) e = psf_fit_cleaned(view, stars, n, ret->fwhm, &crowd, options, &second, err);
    if (!e && !(second.flags & PSF_FALLBACK) && 2 * second.nstar > ret->nstar) {
        psfmodel_release(ret);
        *ret = second;
        second = (struct psf_model){0};
    }
    psfmodel_release(&second);
    psf_cells_release(&crowd.cells);
    return e;
}

enum err psf_refit_crowd(const struct image_view *view, const struct objects *objects, const struct psf_star *stars, int64_t n,
                         const struct psf_options *options, struct psf_model *ret, struct error *err)
{
    int64_t count = 0;
    double others = 0;
    if (ret->flags & PSF_FALLBACK) return ERR_OK;
    size_t room = (size_t)(objects->n ? objects->n : 1);
    struct psffit_source *s = mem_array(room, sizeof *s);
    int64_t *object = mem_array(room, sizeof *object);
    enum err e = s && object ? gather(objects, stars, n, ret, s, object, &count, &others, err) : ERROR(err, ERR_NOMEM, "no memory for %zu sources", room);
    if (!e && others > CROWDED) e = second_model(view, stars, n, s, object, count, options, ret, err);
    free(s);
    free(object);
    return e;
}
