#include "processors/relphot.h"

#include <math.h>
#include <stdlib.h>

#include "common/stats.h"

enum { ROUNDS = 60, REWEIGHT_EVERY = 5, MIN_SHARED = 2 };
static const double SYSTEMATIC_MAG = 0.003; /* floor: no star pins a frame better than this */
static const double CUT = 4;                /* residuals beyond this many sigma weigh nothing */

struct work {
    const struct relphot_obs *obs;
    int64_t nobs;
    int nframes, nstars;
    int64_t *by_star, *star_start; /* observations sorted by star: star s has by_star[star_start[s] .. star_start[s+1]) */
    double *scatter2;              /* intrinsic variance per star */
    double *weight;                /* per observation */
    double *scratch;
};

void relphot_release(struct relphot_result *r)
{
    free(r->zero);
    free(r->zero_err);
    free(r->zero_n);
    free(r->component);
    free(r->star_mag);
    free(r->star_rms);
    free(r->star_n);
    *r = (struct relphot_result){0};
}

static void work_release(struct work *w)
{
    free(w->by_star);
    free(w->star_start);
    free(w->scatter2);
    free(w->weight);
    free(w->scratch);
}

static enum err allocate(struct work *w, struct relphot_result *r, struct error *err)
{
    size_t nf = (size_t)w->nframes + 1, ns = (size_t)w->nstars + 2, no = (size_t)w->nobs + 1;
    r->zero = calloc(nf, sizeof(double));
    r->zero_err = calloc(nf, sizeof(double));
    r->zero_n = calloc(nf, sizeof(int));
    r->component = calloc(nf, sizeof(int));
    r->star_mag = calloc(ns, sizeof(double));
    r->star_rms = calloc(ns, sizeof(double));
    r->star_n = calloc(ns, sizeof(int));
    w->by_star = calloc(no, sizeof(int64_t));
    w->star_start = calloc(ns + 1, sizeof(int64_t));
    w->scatter2 = calloc(ns, sizeof(double));
    w->weight = calloc(no, sizeof(double));
    w->scratch = calloc(no, sizeof(double));
    if (r->zero && r->zero_err && r->zero_n && r->component && r->star_mag && r->star_rms && r->star_n && w->by_star &&
        w->star_start && w->scatter2 && w->weight && w->scratch)
        return ERR_OK;
    relphot_release(r);
    return ERROR(err, ERR_NOMEM, "could not solve for %d zero points: out of memory", w->nframes);
}

static void sort_by_star(struct work *w)
{
    for (int64_t i = 0; i < w->nobs; i++) w->star_start[w->obs[i].star + 2]++;
    for (int s = 0; s < w->nstars; s++) w->star_start[s + 2] += w->star_start[s + 1];
    for (int64_t i = 0; i < w->nobs; i++) w->by_star[w->star_start[w->obs[i].star + 1]++] = i;
}

static int root(int *parent, int i)
{
    while (parent[i] != i) i = parent[i] = parent[parent[i]];
    return i;
}

/* Frames that see one star together belong together. The number of a component is its lowest frame. */
static void components(const struct work *w, int *component)
{
    for (int f = 0; f < w->nframes; f++) component[f] = f;
    for (int s = 0; s < w->nstars; s++)
        for (int64_t k = w->star_start[s] + 1; k < w->star_start[s + 1]; k++) {
            int a = root(component, w->obs[w->by_star[k - 1]].frame), b = root(component, w->obs[w->by_star[k]].frame);
            if (a < b) component[b] = a;
            else component[a] = b;
        }
    for (int f = 0; f < w->nframes; f++) component[f] = root(component, f);
}

/* Robust start: star magnitudes as medians under the priors, then frames as medians of the residuals. */
static void start(struct work *w, const double *prior, struct relphot_result *r)
{
    for (int f = 0; f < w->nframes; f++) r->zero[f] = prior[f];
    for (int s = 0; s < w->nstars; s++) {
        int64_t n = 0;
        for (int64_t k = w->star_start[s]; k < w->star_start[s + 1]; k++) {
            const struct relphot_obs *o = &w->obs[w->by_star[k]];
            w->scratch[n++] = o->mag + r->zero[o->frame];
        }
        r->star_mag[s] = median_f64(w->scratch, n);
        r->star_n[s] = (int)n;
    }
    for (int64_t i = 0; i < w->nobs; i++)
        w->weight[i] = r->star_n[w->obs[i].star] >= MIN_SHARED ? 1 / (w->obs[i].err * w->obs[i].err + SYSTEMATIC_MAG * SYSTEMATIC_MAG) : 0;
}

static void solve_frames(const struct work *w, struct relphot_result *r, double *sum, double *total)
{
    for (int f = 0; f < w->nframes; f++) sum[f] = total[f] = 0;
    for (int64_t i = 0; i < w->nobs; i++) {
        const struct relphot_obs *o = &w->obs[i];
        sum[o->frame] += w->weight[i] * (r->star_mag[o->star] - o->mag);
        total[o->frame] += w->weight[i];
    }
    for (int f = 0; f < w->nframes; f++)
        if (total[f] > 0) r->zero[f] = sum[f] / total[f];
}

static void solve_stars(const struct work *w, struct relphot_result *r)
{
    for (int s = 0; s < w->nstars; s++) {
        double sum = 0, total = 0;
        for (int64_t k = w->star_start[s]; k < w->star_start[s + 1]; k++) {
            int64_t i = w->by_star[k];
            sum += w->weight[i] * (w->obs[i].mag + r->zero[w->obs[i].frame]);
            total += w->weight[i];
        }
        if (total > 0) r->star_mag[s] = sum / total;
    }
}

/* Each star's scatter beyond its errors widens its errors; wild points weigh nothing. */
static void reweight(struct work *w, struct relphot_result *r)
{
    for (int s = 0; s < w->nstars; s++) {
        int64_t n = 0;
        double expected2 = 0;
        for (int64_t k = w->star_start[s]; k < w->star_start[s + 1]; k++, n++) {
            const struct relphot_obs *o = &w->obs[w->by_star[k]];
            w->scratch[n] = o->mag + r->zero[o->frame] - r->star_mag[s];
            expected2 += o->err * o->err;
        }
        if (n < MIN_SHARED) continue;
        double sigma = mad_sigma_f64(w->scratch, n, 0);
        r->star_rms[s] = sigma;
        w->scatter2[s] = fmax(0, sigma * sigma - expected2 / (double)n);
        for (int64_t k = w->star_start[s]; k < w->star_start[s + 1]; k++) {
            int64_t i = w->by_star[k];
            const struct relphot_obs *o = &w->obs[i];
            double v = o->err * o->err + SYSTEMATIC_MAG * SYSTEMATIC_MAG + w->scatter2[s];
            double d = (o->mag + r->zero[o->frame] - r->star_mag[s]) / sqrt(v), c = d / CUT;
            double tukey = fabs(c) < 1 ? (1 - c * c) * (1 - c * c) : 0;
            w->weight[i] = tukey / v;
        }
    }
}

/* The model leaves one constant per component free: it keeps the mean of its priors. */
static void fix_gauge(const struct work *w, const double *prior, struct relphot_result *r)
{
    for (int c = 0; c < w->nframes; c++) {
        double shift = 0;
        int n = 0;
        for (int f = 0; f < w->nframes; f++)
            if (r->component[f] == c && r->zero_n[f] > 0) shift += r->zero[f] - prior[f], n++;
        if (!n) continue;
        shift /= n;
        for (int f = 0; f < w->nframes; f++)
            if (r->component[f] == c) r->zero[f] -= shift;
        for (int s = 0; s < w->nstars; s++)
            if (r->star_n[s] > 0 && r->component[w->obs[w->by_star[w->star_start[s]]].frame] == c) r->star_mag[s] -= shift;
    }
}

static void errors(struct work *w, struct relphot_result *r)
{
    for (int f = 0; f < w->nframes; f++) r->zero_err[f] = 0, r->zero_n[f] = 0;
    for (int64_t i = 0; i < w->nobs; i++) {
        if (!(w->weight[i] > 0)) continue;
        r->zero_err[w->obs[i].frame] += w->weight[i];
        r->zero_n[w->obs[i].frame]++;
    }
    for (int f = 0; f < w->nframes; f++) {
        if (r->zero_n[f]) r->zero_err[f] = 1 / sqrt(r->zero_err[f]);
        else r->zero[f] = r->zero_err[f] = NAN;
    }
    for (int s = 0; s < w->nstars; s++)
        if (!r->star_n[s]) r->star_mag[s] = r->star_rms[s] = NAN;
}

enum err relphot_solve(int nframes, int nstars, const struct relphot_obs *obs, int64_t nobs, const double *prior,
                       struct relphot_result *ret, struct error *err)
{
    struct work w = {.obs = obs, .nobs = nobs, .nframes = nframes, .nstars = nstars};
    *ret = (struct relphot_result){0};
    enum err e = allocate(&w, ret, err);
    double *sums = calloc((size_t)(2 * nframes + 1), sizeof *sums);
    if (!e && !sums) {
        relphot_release(ret);
        e = ERROR(err, ERR_NOMEM, "could not solve for %d zero points: out of memory", nframes);
    }
    if (!e) {
        sort_by_star(&w);
        components(&w, ret->component);
        start(&w, prior, ret);
        for (int round = 1; round <= ROUNDS; round++) {
            solve_frames(&w, ret, sums, sums + nframes);
            solve_stars(&w, ret);
            if (round % REWEIGHT_EVERY == 0) reweight(&w, ret);
        }
        errors(&w, ret);
        fix_gauge(&w, prior, ret);
    }
    free(sums);
    work_release(&w);
    return e;
}
