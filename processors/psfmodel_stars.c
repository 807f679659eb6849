/* Which objects are stars to make a PSF from.
 *
 *     bright, whole, unsaturated -> isophotal width -> its mode -> Gaussian-weighted moments -> locus -> isolation -> even choice */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/detections.h"
#include "common/stats.h"
#include "common/units.h"
#include "processors/psfcells.h"
#include "processors/psfmodel_internal.h"

#define MEASURED_MAX 3     /* times as many stars are measured as are wanted */
#define WIDTH_CUT    0.30  /* first cut about the mode of the isophotal widths, relative */
#define LOCUS_CUT    4.0   /* widths of the locus */
#define LOCUS_LEAST  0.08  /* of the size: the PSF may vary so much and more */
#define CROWDING_MAX 0.02
#define FEW          12    /* fewer clean stars than this, and blended ones are asked as well */
#define BRIGHT_SNR   60.0
#define BRIGHT_ENOUGH 100
#define REGIONS      8     /* per side: each gives its best stars in turn */

struct candidate {
    int64_t object;
    double x, y, size, e1, e2, snr, width, crowding;
};

static float variance_at(const struct image_view *v, int64_t x, int64_t y)
{
    return v->sigma2 ? v->sigma2[y * v->nx + x] : v->sigma2_const;
}

/* Standard deviation of the Gaussian with this peak that has the object's area above the threshold; 0: cannot be told. */
static double isophotal_width(const struct object *o)
{
    double ratio = o->threshold > 0 ? (double)o->cpeak / (double)o->threshold : 0;
    return ratio > 2 ? sqrt((double)o->npix / (2 * PI * log(ratio))) : 0;
}

static double isophotal_snr(const struct image_view *v, const struct object *o)
{
    double sky = (double)variance_at(v, o->xpeak, o->ypeak), photon = v->gain > 0 ? o->flux / (double)v->gain : 0;
    return o->flux > 0 && sky > 0 ? o->flux / sqrt((double)o->npix * sky + photon) : 0;
}

static bool is_eligible(const struct object *o, const struct psf_options *opt, bool blends)
{
    unsigned never = FLAG_SATURATED | FLAG_TRUNCATED | FLAG_DEBLEND_LIMIT | FLAG_EXTRACT_LIMIT | (blends ? 0 : FLAG_DEBLENDED);
    return o->npix >= 5 && !(o->flags & never) && !(o->imaflags & MASK_UNUSABLE) && o->peak > 0 && o->peak < opt->saturate;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Half-sample mode of n values, which are sorted. */
static double mode_of(double *v, int64_t n)
{
    qsort(v, (size_t)n, sizeof *v, by_value);
    while (n > 3) {
        int64_t half = (n + 1) / 2, best = 0;
        for (int64_t i = 1; i + half <= n; i++)
            if (v[i + half - 1] - v[i] < v[best + half - 1] - v[best]) best = i;
        v += best;
        n = half;
    }
    return n == 3 ? v[1] : n == 2 ? 0.5 * (v[0] + v[1]) : n == 1 ? v[0] : 0;
}

static int by_snr(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->snr != y->snr) return x->snr > y->snr ? -1 : 1;
    return x->object < y->object ? -1 : x->object > y->object;
}

/* Objects whose isophotal width is near the mode, brightest first. Returned: how many. */
static int64_t rough_cut(const struct image_view *v, const struct objects *os, const struct psf_options *opt, bool blends,
                         struct candidate *c, double *work)
{
    int64_t n = 0, kept = 0;
    for (int64_t i = 0; i < os->n; i++) {
        const struct object *o = &os->o[i];
        double width = is_eligible(o, opt, blends) ? isophotal_width(o) : 0, snr = width > 0 ? isophotal_snr(v, o) : 0;
        if (!(snr >= opt->snr_min)) continue;
        c[n] = (struct candidate){.object = i, .x = o->x, .y = o->y, .snr = snr, .width = log(width)};
        work[n] = c[n].width;
        n++;
    }
    double mode = mode_of(work, n);
    for (int64_t i = 0; i < n; i++)
        if (fabs(c[i].width - mode) < WIDTH_CUT) c[kept++] = c[i];
    qsort(c, (size_t)kept, sizeof *c, by_snr);
    return kept;
}

/* ---- moments ------------------------------------------------------------------------------------------------------ */

struct moments {
    double x, y, xx, yy, xy;
};

/* One pass of Gaussian-weighted moments with the ellipse of m as the weight. Returned: whether they make sense. */
static bool weigh(const struct image_view *v, int32_t id, const struct moments *m, struct moments *ret)
{
    double det = m->xx * m->yy - m->xy * m->xy;
    if (!(det > 0.02) || !(m->xx < 400 && m->yy < 400)) return false;
    double hx = 3.5 * sqrt(m->xx), hy = 3.5 * sqrt(m->yy), a = m->yy / det, b = m->xx / det, c = m->xy / det;
    double s = 0, sx = 0, sy = 0, sxx = 0, syy = 0, sxy = 0;
    for (int64_t y = (int64_t)ceil(fmax(m->y - hy, 0)); y <= m->y + hy && y < v->ny; y++)
        for (int64_t x = (int64_t)ceil(fmax(m->x - hx, 0)); x <= m->x + hx && x < v->nx; x++) {
            int64_t at = y * v->nx + x;
            if (v->segment && v->segment[at] > 0 && v->segment[at] != id) continue;
            if (!isfinite(v->value[at]) || (v->mask && v->mask[at] & MASK_UNUSABLE)) continue;
            double dx = (double)x - m->x, dy = (double)y - m->y;
            double w = exp(-0.5 * (a * dx * dx + b * dy * dy - 2 * c * dx * dy)) * (double)v->value[at];
            s += w, sx += w * dx, sy += w * dy, sxx += w * dx * dx, syy += w * dy * dy, sxy += w * dx * dy;
        }
    if (!(s > 0)) return false;
    /* the weighted profile of a Gaussian is half as wide: both centre and width step twice as far */
    *ret = (struct moments){m->x + 2 * sx / s, m->y + 2 * sy / s, 2 * sxx / s, 2 * syy / s, 2 * sxy / s};
    return ret->xx > 0.05 && ret->yy > 0.05;
}

/* The Gaussian that weighs itself (adaptive moments: Bernstein & Jarvis 2002, AJ 123, 583). */
static bool adaptive(const struct image_view *v, struct candidate *c, double width)
{
    struct moments m = {c->x, c->y, width * width, width * width, 0}, next;
    for (int i = 0; i < 25; i++) {
        if (!weigh(v, (int32_t)c->object + 1, &m, &next)) return false;
        double moved = fabs(next.x - m.x) + fabs(next.y - m.y), grown = fabs(next.xx - m.xx) + fabs(next.yy - m.yy);
        m = next;
        if (hypot(m.x - c->x, m.y - c->y) > 2 + width) return false;
        if (moved < 0.01 && grown < 0.01 * (m.xx + m.yy)) break;
    }
    c->x = m.x;
    c->y = m.y;
    c->size = pow(m.xx * m.yy - m.xy * m.xy, 0.25);
    c->e1 = (m.xx - m.yy) / (m.xx + m.yy);
    c->e2 = 2 * m.xy / (m.xx + m.yy);
    return isfinite(c->size) && c->size > 0;
}

/* Candidates are independent: each writes its own entry; those that fail have size 0. */
static int64_t measure_moments(const struct image_view *v, struct candidate *c, int64_t n, double width)
{
    int64_t kept = 0;
#pragma omp parallel for default(none) shared(v, c, n, width) schedule(dynamic, 16)
    for (int64_t i = 0; i < n; i++)
        if (!adaptive(v, &c[i], width)) c[i].size = 0;
    for (int64_t i = 0; i < n; i++)
        if (c[i].size > 0) c[kept++] = c[i];
    return kept;
}

static double median_column(const struct candidate *c, int64_t n, double (*of)(const struct candidate *), double *work)
{
    for (int64_t i = 0; i < n; i++) work[i] = of(&c[i]);
    return median_f64(work, n);
}

static double size_of(const struct candidate *c) { return c->size; }
static double e1_of(const struct candidate *c) { return c->e1; }
static double e2_of(const struct candidate *c) { return c->e2; }

/* Those of the size and the shape most have. *fwhm: their median. */
static int64_t keep_locus(struct candidate *c, int64_t n, double *work, double *fwhm)
{
    int64_t kept = 0, near = 0;
    for (int64_t i = 0; i < n; i++) work[i] = log(c[i].size);
    double mode = exp(mode_of(work, n));
    for (int64_t i = 0; i < n; i++)
        if (fabs(c[i].size / mode - 1) < 0.3) work[near++] = c[i].size;
    double cut = fmax(LOCUS_CUT * mad_sigma_f64(work, near, mode), LOCUS_LEAST * mode);
    double e1 = median_column(c, n, e1_of, work), e2 = median_column(c, n, e2_of, work);
    for (int64_t i = 0; i < n; i++) work[i] = hypot(c[i].e1 - e1, c[i].e2 - e2);
    double shape = 3 * median_f64(work, n) + 0.03;
    for (int64_t i = 0; i < n; i++)
        if (fabs(c[i].size - mode) < cut && hypot(c[i].e1 - e1, c[i].e2 - e2) < shape) c[kept++] = c[i];
    *fwhm = kept ? FWHM_PER_SIGMA * median_column(c, kept, size_of, work) : 0;
    return kept;
}

/* ---- isolation ---------------------------------------------------------------------------------------------------- */

/* Light of others relative to its own: a Moffat wing of beta 3 falls with the sixth power, a share of the box with less. */
static double crowding_of(const struct objects *os, const struct psf_cells *cells, const struct candidate *c, double fwhm)
{
    const struct object *me = &os->o[c->object];
    int64_t i0, i1, j0, j1;
    double sum = 0, reach = 6 * fwhm;
    psf_cells_around(cells, c->x, c->y, reach, &i0, &i1, &j0, &j1);
    for (int64_t j = j0; j < j1; j++)
        for (int64_t i = i0; i < i1; i++)
            for (int64_t k = cells->first[j * cells->nx + i]; k < cells->first[j * cells->nx + i + 1]; k++) {
                const struct object *o = &os->o[cells->item[k]];
                double d = hypot(o->x - me->x, o->y - me->y);
                if (o == me || d > reach) continue;
                double r = fmax(d / fwhm, 0.5);
                sum += fmax(o->flux, 0) / me->flux / (r * r * r * r);
            }
    return sum;
}

static enum err find_crowding(const struct image_view *v, const struct objects *os, struct candidate *c, int64_t n, double fwhm, struct error *err)
{
    struct psf_cells cells = {0};
    double *x = mem_array((size_t)(os->n ? os->n : 1) * 2, sizeof *x), *y = x ? x + os->n : NULL;
    enum err e = x ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory for %lld positions", (long long)os->n);
    for (int64_t i = 0; !e && i < os->n; i++) x[i] = os->o[i].x, y[i] = os->o[i].y;
    if (!e) e = psf_cells_make(&cells, x, y, os->n, (double)v->nx, (double)v->ny, 6 * fwhm, err);
    for (int64_t i = 0; !e && i < n; i++) c[i].crowding = crowding_of(os, &cells, &c[i], fwhm);
    psf_cells_release(&cells);
    free(x);
    return e;
}

/* Clean stars first; when they are few, the less crowded of the rest. */
static int64_t keep_isolated(struct candidate *c, int64_t n, double *work)
{
    int64_t clean = 0, kept = 0;
    for (int64_t i = 0; i < n; i++) {
        clean += c[i].crowding < CROWDING_MAX;
        work[i] = c[i].crowding;
    }
    double limit = CROWDING_MAX;
    if (clean < FEW && n) limit = fmin(fmax(select_f64(work, n, n < FEW ? n - 1 : FEW - 1), CROWDING_MAX), 0.5);
    for (int64_t i = 0; i < n; i++)
        if (c[i].crowding <= limit) c[kept++] = c[i];
    return kept;
}

/* When bright stars are many they are enough: what nobody sees beside a star weighs less in them. c: brightest first. */
static int64_t prefer_bright(const struct candidate *c, int64_t n)
{
    int64_t bright = 0;
    while (bright < n && c[bright].snr >= BRIGHT_SNR) bright++;
    return bright >= BRIGHT_ENOUGH ? bright : n;
}

/* ---- choice ------------------------------------------------------------------------------------------------------- */

struct ranked {
    int64_t rank, index; /* rank of the star in its region */
};

static int by_rank(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* The best of each region of the frame, then the second best, and so on. */
static enum err choose(const struct image_view *v, const struct candidate *c, int64_t n, int64_t max, const struct objects *os,
                       struct psf_star **ret, int64_t *ret_n, struct error *err)
{
    int64_t count[REGIONS * REGIONS] = {0}, m = n < max ? n : max;
    struct ranked *r = mem_array((size_t)(n ? n : 1), sizeof *r);
    struct psf_star *s = mem_array((size_t)(m ? m : 1), sizeof *s);
    if (!r || !s) {
        free(r);
        free(s);
        return ERROR(err, ERR_NOMEM, "no memory for %lld stars", (long long)n);
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t x = (int64_t)(c[i].x / (double)v->nx * REGIONS), y = (int64_t)(c[i].y / (double)v->ny * REGIONS);
        int64_t at = (y < 0 ? 0 : y >= REGIONS ? REGIONS - 1 : y) * REGIONS + (x < 0 ? 0 : x >= REGIONS ? REGIONS - 1 : x);
        r[i] = (struct ranked){count[at]++, i};
    }
    qsort(r, (size_t)n, sizeof *r, by_rank);
    for (int64_t i = 0; i < m; i++) {
        const struct candidate *k = &c[r[i].index];
        s[i] = (struct psf_star){k->x, k->y, (float)os->o[k->object].flux, (float)k->snr, (float)k->crowding, k->object};
    }
    free(r);
    *ret = s;
    *ret_n = m;
    return ERR_OK;
}

static enum err find(const struct image_view *v, const struct objects *os, const struct psf_options *opt, bool blends, struct candidate *c,
                     double *work, struct psf_star **ret, int64_t *ret_n, double *fwhm, struct error *err)
{
    int64_t n = rough_cut(v, os, opt, blends, c, work), most = (int64_t)MEASURED_MAX * opt->max_stars;
    if (n > most) n = most;
    for (int64_t i = 0; i < n; i++) work[i] = c[i].width;
    double width = n ? exp(median_f64(work, n)) : 1;
    n = measure_moments(v, c, n, width);
    n = keep_locus(c, n, work, fwhm);
    if (n) {
        enum err e = find_crowding(v, os, c, n, *fwhm, err);
        if (e) return e;
        n = prefer_bright(c, keep_isolated(c, n, work));
    }
    return choose(v, c, n, opt->max_stars, os, ret, ret_n, err);
}

/* Without a single star: the median isophotal width of what there is; 0: nothing. */
static double any_width(const struct objects *os, double *work)
{
    int64_t n = 0;
    for (int64_t i = 0; i < os->n; i++) {
        double width = isophotal_width(&os->o[i]);
        if (width > 0 && os->o[i].npix >= 5) work[n++] = width;
    }
    return n ? fmin(FWHM_PER_SIGMA * median_f64(work, n), 40) : 0;
}

enum err psfmodel_candidates(const struct image_view *view, const struct objects *objects, const struct psf_options *options,
                             struct psf_star **ret, int64_t *ret_n, double *ret_fwhm, struct error *err)
{
    struct candidate *c = mem_array((size_t)(objects->n ? objects->n : 1), sizeof *c);
    double *work = mem_array((size_t)(objects->n ? objects->n : 1), sizeof *work), fwhm = 0;
    struct psf_star *stars = NULL;
    int64_t n = 0;
    bool wide = objects->snr_threshold > 0; /* isophotes of a matched filter: every bright star meets a neighbour, FLAG_DEBLENDED says nothing */
    enum err e = c && work ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory for %lld candidates", (long long)objects->n);
    if (!e) e = find(view, objects, options, wide, c, work, &stars, &n, &fwhm, err);
    if (!e && n < FEW && !wide) {
        free(stars);
        stars = NULL;
        e = find(view, objects, options, true, c, work, &stars, &n, &fwhm, err);
    }
    if (!e && !(fwhm > 0)) fwhm = any_width(objects, work);
    free(c);
    free(work);
    if (e) {
        free(stars);
        return e;
    }
    *ret = stars;
    *ret_n = n;
    *ret_fwhm = fwhm;
    return ERR_OK;
}

enum err psfmodel_from_objects(const struct image_view *view, const struct objects *objects, const struct psf_options *options,
                               struct psf_model *ret, struct error *err)
{
    struct psf_star *stars = NULL;
    int64_t n = 0;
    double fwhm = 0;
    enum err e = psf_options_verify(options, err);
    if (!e) e = psfmodel_candidates(view, objects, options, &stars, &n, &fwhm, err);
    if (!e) e = psfmodel_fit(view, stars, n, fwhm, options, ret, err);
    if (!e) e = psf_refit_crowd(view, objects, stars, n, options, ret, err);
    free(stars);
    return e;
}
