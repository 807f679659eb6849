#include "processors/zeropoint.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/stats.h"
#include "common/units.h"

enum { TERMS = 2 + ZEROPOINT_SPATIAL };

/* Which terms a model has: the constant, the colour, those of the spatial degree. */
struct model {
    bool colour;
    int degree;
};

struct fit {
    int m;
    double c[TERMS], l[TERMS * TERMS];
};

struct work {
    const struct zeropoint_star *star;
    const struct zeropoint_options *opt;
    int n;
    double *w, *r, *scratch;
    double scatter;
};

static int terms(const struct model *k, const struct zeropoint_star *s, double pivot, double g[TERMS])
{
    int m = 0;
    g[m++] = 1;
    if (k->colour) g[m++] = isfinite(s->colour) ? s->colour - pivot : 0;
    if (k->degree >= 1) g[m++] = s->x, g[m++] = s->y;
    if (k->degree >= 2) g[m++] = s->x * s->x - 1.0 / 3, g[m++] = s->x * s->y, g[m++] = s->y * s->y - 1.0 / 3; /* mean 0 over the frame */
    return m;
}

static void forward(const struct fit *f, double *b)
{
    for (int i = 0; i < f->m; i++) {
        for (int k = 0; k < i; k++) b[i] -= f->l[i * TERMS + k] * b[k];
        b[i] /= f->l[i * TERMS + i];
    }
}

static void backward(const struct fit *f, double *b)
{
    for (int i = f->m - 1; i >= 0; i--) {
        for (int k = i + 1; k < f->m; k++) b[i] -= f->l[k * TERMS + i] * b[k];
        b[i] /= f->l[i * TERMS + i];
    }
}

static bool factor(struct fit *f)
{
    for (int j = 0; j < f->m; j++) {
        double full = f->l[j * TERMS + j], d = full;
        for (int k = 0; k < j; k++) d -= f->l[j * TERMS + k] * f->l[j * TERMS + k];
        if (!(d > 1e-10 * full)) return false;
        f->l[j * TERMS + j] = sqrt(d);
        for (int i = j + 1; i < f->m; i++) {
            double s = f->l[i * TERMS + j];
            for (int k = 0; k < j; k++) s -= f->l[i * TERMS + k] * f->l[j * TERMS + k];
            f->l[i * TERMS + j] = s / f->l[j * TERMS + j];
        }
    }
    return true;
}

/* Weighted least squares of reference - inst; residuals into w->r. */
static bool solve(struct work *w, const struct model *k, struct fit *f)
{
    double g[TERMS];
    memset(f, 0, sizeof *f);
    for (int i = 0; i < w->n; i++) {
        if (!(w->w[i] > 0)) continue;
        f->m = terms(k, &w->star[i], w->opt->pivot, g);
        double d = w->star[i].reference - w->star[i].inst;
        for (int a = 0; a < f->m; a++) {
            f->c[a] += w->w[i] * g[a] * d;
            for (int b = 0; b <= a; b++) f->l[a * TERMS + b] += w->w[i] * g[a] * g[b];
        }
    }
    if (!f->m || !factor(f)) return false;
    forward(f, f->c);
    backward(f, f->c);
    for (int i = 0; i < w->n; i++) {
        terms(k, &w->star[i], w->opt->pivot, g);
        w->r[i] = w->star[i].reference - w->star[i].inst;
        for (int a = 0; a < f->m; a++) w->r[i] -= f->c[a] * g[a];
    }
    return true;
}

/* Without a colour a star stands off by the colour term times the width of colours: it counts less. */
static double variance(const struct work *w, int i)
{
    double e = w->star[i].err, lack = isfinite(w->star[i].colour) ? 0 : 0.05;
    return e * e + w->scatter * w->scatter + lack * lack;
}

static double find_scatter(struct work *w)
{
    double low = 0, high = 1, s = 0;
    for (int step = 0; step < 30; step++) {
        int k = 0;
        w->scatter = s;
        for (int i = 0; i < w->n; i++)
            if (w->w[i] > 0) w->scratch[k++] = w->r[i] * w->r[i] / variance(w, i);
        bool more = k > 0 && median_f64(w->scratch, k) > 0.4549; /* of chi-square with one degree */
        if (!step && !more) return 0;
        if (more) low = s;
        else high = s;
        s = (low + high) / 2;
    }
    return s;
}

/* From medians outwards: variable stars and wrong pairs may be a third of all. */
static int settle(struct work *w, const struct model *k, struct fit *f)
{
    int kept = 0, n = 0;
    for (int i = 0; i < w->n; i++) w->scratch[n++] = w->star[i].reference - w->star[i].inst;
    double middle = median_f64(w->scratch, n), wide = fmax(mad_sigma_f64(w->scratch, n, middle), 0.02);
    for (int i = 0; i < w->n; i++) w->w[i] = fabs(w->star[i].reference - w->star[i].inst - middle) < 5 * wide ? 1 / variance(w, i) : 0;
    for (int round = 0; round < 15; round++) {
        if (!solve(w, k, f)) return 0;
        w->scatter = find_scatter(w);
        int changed = 0;
        kept = 0;
        for (int i = 0; i < w->n; i++) {
            double v = variance(w, i), old = w->w[i];
            w->w[i] = w->r[i] * w->r[i] < w->opt->clip * w->opt->clip * v ? 1 / v : 0;
            changed += (old > 0) != (w->w[i] > 0);
            kept += w->w[i] > 0;
        }
        if (kept < f->m + 2 || (!changed && round > 2)) break;
    }
    return kept >= f->m + 2 && solve(w, k, f) ? kept : 0;
}

static double press(const struct work *w, const struct model *k, const struct fit *f)
{
    double sum = 0, norm = 0;
    for (int i = 0; i < w->n; i++) {
        double g[TERMS], h = 0;
        if (!(w->w[i] > 0)) continue;
        terms(k, &w->star[i], w->opt->pivot, g);
        forward(f, g);
        for (int a = 0; a < f->m; a++) h += g[a] * g[a];
        double left = fmax(1 - w->w[i] * h, 1e-3);
        sum += w->w[i] * w->r[i] * w->r[i] / (left * left);
        norm += w->w[i];
    }
    return sum / norm;
}

static bool colours_span(const struct work *w)
{
    int k = 0;
    for (int i = 0; i < w->n; i++)
        if (isfinite(w->star[i].colour)) w->scratch[k++] = w->star[i].colour;
    if (k < 8) return false;
    double middle = median_f64(w->scratch, k);
    return mad_sigma_f64(w->scratch, k, middle) > 0.05;
}

static void report(struct work *w, const struct model *k, const struct fit *f, struct zeropoint_result *r)
{
    double unit[TERMS] = {1};
    int n = 0, at = 1;
    forward(f, unit);
    backward(f, unit);
    r->zero = f->c[0];
    r->zero_err = sqrt(unit[0]);
    if (k->colour) {
        double second[TERMS] = {0, 1};
        forward(f, second);
        backward(f, second);
        r->colour_term = f->c[at++];
        r->colour_err = sqrt(second[1]);
    }
    for (int s = 0; at < f->m; s++) r->spatial[s] = f->c[at++];
    r->spatial_degree = k->degree;
    for (int i = 0; i < w->n; i++)
        if (w->w[i] > 0) w->scratch[n++] = w->r[i];
    r->used = n;
    r->scatter = w->scatter;
    r->rms = mad_sigma_f64(w->scratch, n, 0);
}

static enum err choose_model(struct work *w, struct zeropoint_result *ret, struct error *err)
{
    static const struct model models[] = {{false, 0}, {true, 0}, {false, 1}, {true, 1}, {false, 2}, {true, 2}};
    bool colour = colours_span(w);
    double best = INFINITY;
    struct model widest = {colour, w->n >= 40 ? w->opt->spatial_degree : w->n >= 20 && w->opt->spatial_degree > 0, }, take = {false, 0};
    struct fit f;
    int kept = settle(w, &widest, &f); /* the same stars and weights for every model */
    if (!kept && (widest.colour || widest.degree)) kept = settle(w, &(struct model){false, 0}, &f), widest = (struct model){false, 0};
    if (kept < w->opt->stars_min) return ERROR(err, ERR_NOT_FOUND, "%d good stars are too few for a zero point", kept);
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        const struct model *k = &models[i];
        if ((k->colour && !widest.colour) || k->degree > widest.degree || !solve(w, k, &f) || kept < 3 * f.m) continue;
        double p = press(w, k, &f);
        if (p < 0.99 * best) best = p, take = *k;
    }
    if (!solve(w, &take, &f)) return ERROR(err, ERR_NOT_FOUND, "%d stars do not determine a zero point", kept);
    report(w, &take, &f, ret);
    return ERR_OK;
}

static bool usable(const struct zeropoint_star *s)
{
    return isfinite(s->inst) && isfinite(s->reference) && s->err > 0 && s->err < 1 && isfinite(s->x) && isfinite(s->y);
}

enum err zeropoint_fit(const struct zeropoint_star *stars, int n, const struct zeropoint_options *opt, struct zeropoint_result *ret, struct error *err)
{
    struct zeropoint_star *good = malloc((size_t)(n + 1) * sizeof *good);
    double *room = calloc((size_t)(3 * n + 3), sizeof *room);
    struct work w = {.star = good, .opt = opt, .w = room, .r = room + n + 1, .scratch = room + 2 * n + 2};
    *ret = (struct zeropoint_result){.zero = NAN, .zero_err = NAN, .rms = NAN, .n = n};
    enum err e = good && room ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory for %d stars", n);
    for (int i = 0; !e && i < n; i++)
        if (usable(&stars[i])) good[w.n++] = stars[i];
    if (!e && w.n < opt->stars_min) e = ERROR(err, ERR_NOT_FOUND, "%d stars are too few for a zero point", w.n);
    if (!e) e = choose_model(&w, ret, err);
    free(good);
    free(room);
    return e;
}
