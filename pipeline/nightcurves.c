#include "pipeline/nightcurves.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/skycoord.h"
#include "common/stats.h"
#include "common/units.h"
#include "pipeline/ldaccat.h"
#include "pipeline/skyindex.h"

enum { BATCH = 32, PER_FRAME_MAX = 5000, CHOSEN_MAX = (int)(sizeof ((struct nightcurves *)0)->chosen / sizeof(int)) };
static const double ERR_MAX_MAG = 0.2;       /* fainter points say little about a star */
static const double RADIUS_MIN_ARCSEC = 1;
static const double SAME_STAR_ARCSEC = 2;
static const double STARLIKE_ERR_MAG = 0.1;
static const double STARLIKE_WIDTH[2] = {0.7, 1.4};
static const double STARLIKE_ELONGATION = 1.3;
static const double SHAPE_PER_ERR = 4;       /* a faint star's shape is uncertain by its error in mag, times two at two sigma */
static const double CHI2_VARIABLE = 3;       /* what scatters less is called constant, */
static const double SEEN_SHARE = 0.3;        /* of the frames that a typical star of the band is seen in */
static const double DEBLENDED_CHI2 = 10;     /* how much more a star cut out of a blend must vary: it shares light with its neighbour */
static const double SIGMA_VARIABLE = 5;      /* and so is what chance could do to so few points */

/* ---- reading ------------------------------------------------------------------------------------------------------ */

struct sight {
    double ra, dec;
    struct curve_point p;
};

/* The clean detections of one frame, at most PER_FRAME_MAX of the brightest. */
struct sights {
    struct sight *v;
    int n;
    enum err code;
};

static int by_magnitude(const void *p, const void *q)
{
    const struct sight *a = p, *b = q;
    if (a->p.mag != b->p.mag) return a->p.mag < b->p.mag ? -1 : 1;
    if (a->ra != b->ra) return a->ra < b->ra ? -1 : 1;
    return (a->dec > b->dec) - (a->dec < b->dec);
}

/* FLAG_NEIGHBOURS is the word for a magnitude spoilt by a neighbour or by bad pixels; a deblended one may be good. */
static bool clean(const struct detections *d, int64_t i)
{
    return !(d->flags[i] & ~FLAG_DEBLENDED) && isfinite(d->mag_auto[i]) && d->mag_auto[i] < 90 && d->magerr_auto[i] > 0 &&
           d->magerr_auto[i] < ERR_MAX_MAG && isfinite(d->ra[i]) && isfinite(d->dec[i]);
}

/* A close pair is measured now as one, now as two; a residual of the detector is narrow: neither point is of a star. */
static bool shaped_like_star(const struct curve_point *p)
{
    double more = SHAPE_PER_ERR * p->err;
    return !(p->fwhm < STARLIKE_WIDTH[0] - more) && !(p->fwhm > STARLIKE_WIDTH[1] + more) && !(p->elongation > STARLIKE_ELONGATION + more);
}

static void take(const struct curve_source *s, int frame, struct sights *ret)
{
    static const enum detection_column needed[] = {DET_ra, DET_dec, DET_mag_auto, DET_magerr_auto, DET_flags};
    struct ldaccat c;
    ldaccat_init(&c);
    ret->code = ldaccat_read(s->path, &c, NULL) == ERR_NOMEM ? ERR_NOMEM : ERR_OK;
    bool whole = true;
    for (size_t k = 0; k < sizeof needed / sizeof *needed; k++) whole &= ldaccat_has(&c, needed[k]);
    if (whole && !(ret->v = malloc((size_t)(c.d.n + 1) * sizeof *ret->v))) ret->code = ERR_NOMEM;
    bool windowed = ldaccat_has(&c, DET_rawin) && ldaccat_has(&c, DET_decwin), wide = ldaccat_has(&c, DET_fwhm) && s->seeing_px > 0;
    double round = isfinite(s->ellipticity) && s->ellipticity < 1 ? 1 - s->ellipticity : 1;
    bool shaped = ldaccat_has(&c, DET_elongation);
    for (int64_t i = 0; ret->v && i < c.d.n; i++) {
        if (!clean(&c.d, i)) continue;
        bool w = windowed && isfinite(c.d.rawin[i]) && isfinite(c.d.decwin[i]);
        struct sight seen = {w ? c.d.rawin[i] : c.d.ra[i], w ? c.d.decwin[i] : c.d.dec[i],
                             {frame, c.d.mag_auto[i], c.d.magerr_auto[i], wide ? (float)(c.d.fwhm[i] / s->seeing_px) : NAN,
                              shaped ? (float)(c.d.elongation[i] * round) : NAN, (c.d.flags[i] & FLAG_DEBLENDED) != 0}};
        if (shaped_like_star(&seen.p)) ret->v[ret->n++] = seen;
    }
    if (ret->v) qsort(ret->v, (size_t)ret->n, sizeof *ret->v, by_magnitude);
    if (ret->n > PER_FRAME_MAX) ret->n = PER_FRAME_MAX;
    ldaccat_release(&c);
}

/* ---- grouping ----------------------------------------------------------------------------------------------------- */

/* The points of one band with the star each belongs to, while they come in. */
struct gathering {
    struct skyindex *sky;
    int *star;
    struct curve_point *points;
    int64_t n, capacity;
    int *last;     /* per star: the frame that saw it last */
    int nlast;
};

static void gathering_release(struct gathering *g)
{
    skyindex_free(g->sky);
    free(g->star);
    free(g->points);
    free(g->last);
}

static enum err room(struct gathering *g, int more, struct error *err)
{
    int64_t capacity = 2 * (g->n + more);
    if (g->n + more > g->capacity) {
        int *star = realloc(g->star, (size_t)capacity * sizeof *star);
        if (star) g->star = star;
        struct curve_point *points = realloc(g->points, (size_t)capacity * sizeof *points);
        if (points) g->points = points;
        if (!star || !points) return ERROR(err, ERR_NOMEM, "could not hold %lld points: out of memory", (long long)capacity);
        g->capacity = capacity;
    }
    int stars = skyindex_count(g->sky) + more;
    if (stars > g->nlast) {
        int *last = realloc(g->last, 2 * (size_t)stars * sizeof *last);
        if (!last) return ERROR(err, ERR_NOMEM, "could not hold %d stars: out of memory", 2 * stars);
        for (int i = g->nlast; i < 2 * stars; i++) last[i] = -1;
        g->last = last;
        g->nlast = 2 * stars;
    }
    return ERR_OK;
}

/* A frame gives a star one point: the brightest detection there, which comes first. */
static enum err gather(struct gathering *g, const struct sights *s, int frame, struct error *err)
{
    enum err e = s->code ? ERROR(err, ERR_NOMEM, "could not read a catalogue: out of memory") : room(g, s->n, err);
    for (int i = 0; i < s->n && !e; i++) {
        int star;
        e = skyindex_find_or_add(g->sky, s->v[i].ra, s->v[i].dec, &star, err);
        if (e || g->last[star] == frame) continue;
        g->last[star] = frame;
        g->star[g->n] = star;
        g->points[g->n++] = s->v[i].p;
    }
    return e;
}

/* 0: out of memory. */
static double radius_deg(const struct curve_source *sources, const int *frames, int n)
{
    double *seeing = malloc((size_t)(n + 1) * sizeof *seeing);
    if (!seeing) return 0;
    for (int i = 0; i < n; i++) seeing[i] = sources[frames[i]].seeing_arcsec;
    double half = 0.5 * median_f64(seeing, n);
    free(seeing);
    return (half > RADIUS_MIN_ARCSEC ? half : RADIUS_MIN_ARCSEC) / ARCSEC_PER_DEG;
}

/* Read the frames of a band, a batch at a time, and gather them in order. */
static enum err gather_band(const struct curve_source *sources, const int *frames, int n, struct gathering *g, struct error *err)
{
    double radius = radius_deg(sources, frames, n);
    g->sky = radius > 0 ? skyindex_new(radius) : NULL;
    enum err e = g->sky ? ERR_OK : ERROR(err, ERR_NOMEM, "could not index stars: out of memory");
    for (int from = 0; from < n && !e; from += BATCH) {
        struct sights s[BATCH] = {0};
        int count = n - from < BATCH ? n - from : BATCH;
        /* Each catalogue fills its own sights. */
#pragma omp parallel for schedule(dynamic, 1) default(none) shared(s, sources, frames, from, count)
        for (int i = 0; i < count; i++) take(&sources[frames[from + i]], frames[from + i], &s[i]);
        for (int i = 0; i < count; i++) {
            if (!e) e = gather(g, &s[i], frames[from + i], err);
            free(s[i].v);
        }
    }
    return e;
}

/* ---- measuring ---------------------------------------------------------------------------------------------------- */

double curve_error(const struct curve_point *p, const struct curve_source *sources, double floor_mag)
{
    double zero = sources[p->frame].zero_err;
    return sqrt((double)p->err * p->err + (isfinite(zero) ? zero * zero : 0) + floor_mag * floor_mag);
}

/* Sums of a weighted mean. */
struct sums {
    double w, wm, wmm;
};

static double chi2_of(struct sums s)
{
    return fmax(0, s.wmm - s.wm * s.wm / s.w);
}

/* Reduced chi-square without the one point whose absence lowers it most: a cosmic ray makes no variable star. */
static double chi2_without_one(const struct curve_point *p, int n, const struct curve_source *sources, double floor_mag, double centre, struct sums all)
{
    double best = chi2_of(all);
    for (int i = 0; i < n; i++) {
        double e = curve_error(&p[i], sources, floor_mag), m = p[i].mag - centre, w = 1 / (e * e);
        best = fmin(best, chi2_of((struct sums){all.w - w, all.wm - w * m, all.wmm - w * m * m}));
    }
    return best / (n - 2);
}

bool curve_measure(struct curve *c, const struct curve_point *points, const struct curve_source *sources, double floor_mag)
{
    const struct curve_point *p = points + c->first;
    int n = c->n;
    double *work = malloc((size_t)(2 * n) * sizeof *work), *errors = work ? work + n : NULL;
    struct sums s = {0};
    c->mag = c->rms = c->expected = c->bright = c->faint = NAN;
    c->chi2 = 0;
    c->starlike = false;
    if (!work) return false;
    for (int i = 0; i < n; i++) work[i] = p[i].mag;
    double centre = median_f64(work, n), wide, elongation, err;
    for (int i = 0; i < n; i++) {
        double e = errors[i] = curve_error(&p[i], sources, floor_mag), m = p[i].mag - centre;
        s.w += 1 / (e * e), s.wm += m / (e * e), s.wmm += m * m / (e * e);
    }
    c->mag = centre + s.wm / s.w;
    c->chi2 = n > 2 ? chi2_without_one(p, n, sources, floor_mag, centre, s) : 0;
    c->expected = median_f64(errors, n);
    for (int i = 0; i < n; i++) work[i] = p[i].mag;
    c->rms = mad_sigma_f64(work, n, centre);
    for (int i = 0; i < n; i++) work[i] = p[i].mag;
    int fifth = (n + 4) / 5;
    select_f64(work, n, fifth - 1);
    c->bright = median_f64(work, fifth);
    c->faint = -INFINITY;
    for (int i = 0; i < n; i++) c->faint = fmax(c->faint, p[i].mag);
    for (int i = 0; i < n; i++) work[i] = p[i].fwhm;
    wide = median_f64(work, n);
    for (int i = 0; i < n; i++) work[i] = p[i].elongation;
    elongation = median_f64(work, n);
    for (int i = 0; i < n; i++) errors[i] = p[i].err;
    err = median_f64(errors, n);
    c->starlike = err < STARLIKE_ERR_MAG && wide > STARLIKE_WIDTH[0] && wide < STARLIKE_WIDTH[1] && !(elongation > STARLIKE_ELONGATION);
    free(work);
    return true;
}

static int by_mag_of_curve(const void *p, const void *q)
{
    const struct curve *a = p, *b = q;
    return (a->mag > b->mag) - (a->mag < b->mag);
}

/* Scatter of the brightest third of the stars beyond their errors: what no error of photon counting tells (flat, seeing).
 * NaN: out of memory. */
static double floor_of(const struct curve *curves, int n)
{
    struct curve *sorted = malloc((size_t)(n + 1) * sizeof *sorted);
    double *excess = malloc((size_t)(n + 1) * sizeof *excess), result = NAN;
    int used = 0;
    if (sorted && excess) {
        for (int i = 0; i < n; i++)
            if (curves[i].starlike) sorted[used++] = curves[i];
        qsort(sorted, (size_t)used, sizeof *sorted, by_mag_of_curve);
        int third = used < 12 ? used : used / 3 > 4 ? used / 3 : 4;
        for (int i = 0; i < third; i++) excess[i] = sorted[i].rms * sorted[i].rms - sorted[i].expected * sorted[i].expected;
        double typical = third ? median_f64(excess, third) : 0;
        result = typical > 0 ? sqrt(typical) : 0;
    }
    free(sorted);
    free(excess);
    return result;
}

/* ---- curves out of points ----------------------------------------------------------------------------------------- */

/* A star beside another is measured now alone, now cut out of their blend, and the two differ: the more frequent case counts.
 * Given:    at  per star, twice: points alone, points cut out
 * Returned: in at, which of the two is kept (the other 0) */
static void keep_one_case(int64_t (*at)[2], int stars, int64_t *ret_points, int *ret_stars)
{
    *ret_points = *ret_stars = 0;
    for (int s = 0; s < stars; s++) {
        int kept = at[s][1] > at[s][0];
        at[s][!kept] = 0;
        if (at[s][kept] < CURVE_POINTS_MIN) at[s][kept] = 0;
        *ret_points += at[s][kept];
        *ret_stars += at[s][kept] > 0;
    }
}

static enum err more_room(struct nightcurves *c, int64_t npoints, int ncurves, struct error *err)
{
    struct curve_point *points = realloc(c->points, (size_t)(c->npoints + npoints + 1) * sizeof *points);
    if (points) c->points = points;
    struct curve *curves = realloc(c->curves, (size_t)(c->ncurves + ncurves + 1) * sizeof *curves);
    if (curves) c->curves = curves;
    return points && curves ? ERR_OK : ERROR(err, ERR_NOMEM, "could not hold %d light curves: out of memory", ncurves);
}

/* Points of each star side by side, stars of enough points kept. */
static enum err sort_out(struct gathering *g, int band, struct nightcurves *c, struct error *err)
{
    int stars = skyindex_count(g->sky), nkept;
    int64_t (*at)[2] = calloc((size_t)stars + 1, sizeof *at), kept;
    if (!at) return ERROR(err, ERR_NOMEM, "could not sort %d stars: out of memory", stars);
    for (int64_t i = 0; i < g->n; i++) at[g->star[i]][g->points[i].deblended]++;
    keep_one_case(at, stars, &kept, &nkept);
    enum err e = more_room(c, kept, nkept, err);
    for (int s = 0; s < stars && !e; s++) /* from here on `at` says where the next point goes, -1: nowhere */
        for (int blended = 0; blended < 2; blended++) {
            int64_t n = at[s][blended];
            at[s][blended] = n ? c->npoints : -1;
            if (!n) continue;
            struct curve *k = &c->curves[c->ncurves++];
            *k = (struct curve){.band = band, .n = (int)n, .first = c->npoints, .deblended = blended, .comparison = -1};
            skyindex_position(g->sky, s, &k->ra, &k->dec);
            c->npoints += n;
        }
    for (int64_t i = 0; i < g->n && !e; i++) {
        int64_t *to = &at[g->star[i]][g->points[i].deblended];
        if (*to >= 0) c->points[(*to)++] = g->points[i];
    }
    free(at);
    return e;
}

static enum err measure_band(struct nightcurves *c, int band, int first, const struct curve_source *sources, struct error *err)
{
    bool good = true;
    for (int i = first; i < c->ncurves && good; i++) good = curve_measure(&c->curves[i], c->points, sources, 0);
    c->floor[band] = good ? floor_of(c->curves + first, c->ncurves - first) : NAN;
    good = good && isfinite(c->floor[band]);
    for (int i = first; i < c->ncurves && good; i++) good = curve_measure(&c->curves[i], c->points, sources, c->floor[band]);
    return good ? ERR_OK : ERROR(err, ERR_NOMEM, "could not measure %d light curves: out of memory", c->ncurves - first);
}

/* ---- choosing ----------------------------------------------------------------------------------------------------- */

/* The reduced chi-square of a constant star is 1 with a scatter of sqrt(2 / degrees of freedom). */
static double variation(const struct curve *c)
{
    return c->deblended ? c->chi2 / DEBLENDED_CHI2 : c->chi2;
}

static bool varies(const struct curve *c)
{
    return variation(c) >= CHI2_VARIABLE && (variation(c) - 1) * sqrt((c->n - 2) / 2.0) >= SIGMA_VARIABLE;
}

static int by_variation(const void *p, const void *q)
{
    const struct curve *a = *(const struct curve *const *)p, *b = *(const struct curve *const *)q;
    if (variation(a) != variation(b)) return variation(a) < variation(b) ? 1 : -1;
    return (a->first > b->first) - (a->first < b->first);
}

static bool is_chosen_already(const struct nightcurves *c, const struct curve *k)
{
    for (int i = 0; i < c->nchosen; i++) {
        const struct curve *other = &c->curves[c->chosen[i]];
        if (sky_distance_deg(k->ra, k->dec, other->ra, other->dec) < SAME_STAR_ARCSEC / ARCSEC_PER_DEG) return true;
    }
    return false;
}

/* Points of a typical star of each band: what is seen in far fewer frames than its neighbours is mostly noise. */
static void typical_points(const struct nightcurves *c, double *work, double *ret)
{
    for (int b = 0; b < c->nbands; b++) {
        int n = 0;
        for (int i = 0; i < c->ncurves; i++)
            if (c->curves[i].band == b && c->curves[i].starlike) work[n++] = c->curves[i].n;
        ret[b] = n ? median_f64(work, n) : 0;
    }
}

/* A star is chosen once, in the band that shows its variation best. */
static enum err choose(struct nightcurves *c, struct error *err)
{
    const struct curve **candidates = malloc((size_t)(c->ncurves + 1) * sizeof *candidates);
    double *work = malloc((size_t)(c->ncurves + c->nbands + 1) * sizeof *work), *typical = work ? work + c->ncurves : NULL;
    int n = 0;
    if (candidates && work) typical_points(c, work, typical);
    for (int i = 0; i < c->ncurves && candidates && work; i++) {
        const struct curve *k = &c->curves[i];
        if (k->starlike && k->n >= SEEN_SHARE * typical[k->band] && varies(k)) candidates[n++] = k;
    }
    if (n) qsort(candidates, (size_t)n, sizeof *candidates, by_variation);
    for (int i = 0; i < n && c->nchosen < CHOSEN_MAX; i++)
        if (!is_chosen_already(c, candidates[i])) c->chosen[c->nchosen++] = (int)(candidates[i] - c->curves);
    enum err e = candidates && work ? ERR_OK : ERROR(err, ERR_NOMEM, "could not rank %d stars: out of memory", c->ncurves);
    free(candidates);
    free(work);
    return e;
}

static int frames_shared(const struct nightcurves *c, const struct curve *a, const struct curve *b)
{
    int shared = 0;
    for (int i = 0, j = 0; i < a->n && j < b->n;) {
        int f = c->points[a->first + i].frame, g = c->points[b->first + j].frame;
        shared += f == g;
        if (f <= g) i++;
        if (g <= f) j++;
    }
    return shared;
}

/* The constant star of the band that is nearest in brightness and was seen in most of the same frames. */
static int comparison_of(const struct nightcurves *c, int variable)
{
    const struct curve *v = &c->curves[variable];
    int best = -1;
    double nearest = INFINITY;
    for (int i = 0; i < c->ncurves; i++) {
        const struct curve *k = &c->curves[i];
        double apart = fabs(k->mag - v->mag);
        if (i == variable || k->band != v->band || !k->starlike || k->chi2 >= CHI2_VARIABLE || !(apart < nearest)) continue;
        if (frames_shared(c, v, k) * 10 < v->n * 8) continue;
        best = i;
        nearest = apart;
    }
    return best;
}

enum err nightcurves_build(const struct curve_source *sources, int n, struct nightcurves *ret, struct error *err)
{
    struct nightcurves c = {0};
    int *frames = malloc((size_t)(n + 1) * sizeof *frames);
    for (int i = 0; i < n; i++)
        if (sources[i].band >= c.nbands) c.nbands = sources[i].band + 1;
    c.floor = calloc((size_t)c.nbands + 1, sizeof *c.floor);
    enum err e = frames && c.floor ? ERR_OK : ERROR(err, ERR_NOMEM, "could not list %d catalogues: out of memory", n);
    for (int band = 0; band < c.nbands && !e; band++) {
        struct gathering g = {0};
        int count = 0, first = c.ncurves;
        for (int i = 0; i < n; i++)
            if (sources[i].band == band) frames[count++] = i;
        e = gather_band(sources, frames, count, &g, err);
        if (!e) e = sort_out(&g, band, &c, err);
        gathering_release(&g);
        if (!e) e = measure_band(&c, band, first, sources, err);
    }
    free(frames);
    if (!e) e = choose(&c, err);
    if (e) {
        nightcurves_release(&c);
        return e;
    }
    for (int i = 0; i < c.nchosen; i++) c.curves[c.chosen[i]].comparison = comparison_of(&c, c.chosen[i]);
    *ret = c;
    return ERR_OK;
}

void nightcurves_release(struct nightcurves *c)
{
    free(c->points);
    free(c->curves);
    free(c->floor);
    *c = (struct nightcurves){0};
}
