#include "processors/wcssolve.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/units.h"
#include "processors/starmatch.h"

#define ACCEPT_LOG_ODDS 20.7   /* 1e9 to 1 */
#define GRID_LIMIT_PX   0.5    /* promised error anywhere in the frame */
#define SHEAR_LIMIT     1.05   /* ratio of the axes of the linear part */
#define DEFAULT_ERR_PX  0.1
#define CROWD           20000
#define NEAR_DEG        0.1    /* looked at first */

struct reference {
    double ra, dec, err;       /* deg, deg, mas */
    int64_t i;                 /* in refstars */
};

/* Everything of one try. Planes are tangent planes in pixels of the guessed scale. */
struct solver {
    const struct wcs_guess *guess;
    const struct wcs_options *opt;
    const struct refstars *refs;
    int n, nref;
    struct wcs_star *star;      /* usable ones, brightest first */
    double (*base)[2];          /* stars in the header's plane; of the pixels without one */
    double (*grid)[2];          /* the same for wcsfit */
    struct reference *ref;
    struct plane_star *plane;   /* references in the plane about (ra0, dec0) */
    struct plane_star *frame;   /* stars in the same plane, for matching */
    double ra0, dec0, scale;    /* deg, deg per pixel */
    bool distorted;             /* the header's plane is not linear in the pixels */
    struct starmatch_result match;
    struct wcsfit_pair *pair;
    int *pair_star, *pair_ref;
    int npair;
};

const char *wcs_status_name(enum wcs_status s)
{
    static const char *const name[] = {"none", "solved", "doubt", "failed"};
    return name[s];
}

static bool alloc_all(struct solver *s, int n, int64_t nref)
{
    size_t a = (size_t)n + 1, b = (size_t)nref + 1;
    s->star = malloc(a * sizeof *s->star);
    s->base = malloc(a * sizeof *s->base);
    s->frame = malloc(a * sizeof *s->frame);
    s->grid = malloc((WCSFIT_GRID * WCSFIT_GRID + 1) * sizeof *s->grid);
    s->ref = malloc(b * sizeof *s->ref);
    s->plane = malloc(b * sizeof *s->plane);
    s->pair = malloc(a * sizeof *s->pair);
    s->pair_star = malloc(a * sizeof *s->pair_star);
    s->pair_ref = malloc(a * sizeof *s->pair_ref);
    return s->star && s->base && s->frame && s->grid && s->ref && s->plane && s->pair && s->pair_star && s->pair_ref;
}

static void free_all(struct solver *s)
{
    free(s->star);
    free(s->base);
    free(s->frame);
    free(s->grid);
    free(s->ref);
    free(s->plane);
    free(s->pair);
    free(s->pair_star);
    free(s->pair_ref);
}

/* ---- input ------------------------------------------------------------------------------------------------------------ */

static int by_flux(const void *p, const void *q)
{
    const struct wcs_star *a = p, *b = q;
    if (a->flux != b->flux) return a->flux > b->flux ? -1 : 1;
    if (a->y != b->y) return a->y < b->y ? -1 : 1;
    return (a->x > b->x) - (a->x < b->x);
}

static bool inside(const struct wcs_guess *g, double x, double y)
{
    return x > -1 && y > -1 && x < (double)g->nx && y < (double)g->ny;
}

/* Usable stars, brightest first, twins (the same pixel twice) once. */
static void take_stars(struct solver *s, const struct wcs_star *stars, int n)
{
    int m = 0;
    for (int i = 0; i < n; i++)
        if (isfinite(stars[i].flux) && stars[i].flux > 0 && inside(s->guess, stars[i].x, stars[i].y)) s->star[m++] = stars[i];
    qsort(s->star, (size_t)m, sizeof *s->star, by_flux);
    s->n = 0;
    for (int i = 0; i < m && s->n < s->opt->stars_max; i++)
        if (!s->n || s->star[i].x != s->star[s->n - 1].x || s->star[i].y != s->star[s->n - 1].y) s->star[s->n++] = s->star[i];
    for (int i = 0; i < s->n; i++) {
        double e = s->star[i].err;
        s->star[i].err = hypot(e > 0 && e < 100 ? e : DEFAULT_ERR_PX, s->opt->floor_px);
    }
}

/* Header's plane at pixels: tangent plane at the header's idea of the frame's centre. */
static bool header_plane(struct solver *s, int n, double (*xy)[2])
{
    double *ra = calloc((size_t)(2 * n + 2), sizeof *ra), *dec = ra ? ra + n : NULL;
    if (!ra) return false;
    for (int i = 0; i < n; i++) ra[i] = xy[i][0], dec[i] = xy[i][1];
    enum err e = skycoord_to_sky(s->guess->header, n, ra, dec, ra, dec, NULL);
    for (int i = 0; i < n && !e; i++) {
        tangent_from_sky(s->ra0, s->dec0, ra[i], dec[i], &xy[i][0], &xy[i][1]);
        xy[i][0] /= s->scale;
        xy[i][1] /= s->scale;
    }
    free(ra);
    return !e;
}

/* Is the header's plane more than a linear map of the pixels? Also false when it breaks off within the frame. */
static bool is_distorted(const struct solver *s)
{
    enum { N = WCSFIT_GRID * WCSFIT_GRID };
    double u[N], v[N], tx[N], ty[N];
    struct plane_poly p;
    for (int k = 0; k < N; k++) {
        wcsfit_grid_pixel(s->guess->nx, s->guess->ny, k, &u[k], &v[k]);
        tx[k] = s->grid[k][0], ty[k] = s->grid[k][1];
        if (!isfinite(tx[k]) || !isfinite(ty[k])) return false;
    }
    if (!plane_poly_fit(N, u, v, tx, ty, NULL, 1, (double)s->guess->nx, &p)) return false;
    for (int k = 0; k < N; k++) {
        double x, y;
        plane_poly_at(&p, u[k], v[k], &x, &y);
        if (hypot(x - tx[k], y - ty[k]) > 0.01) return true;
    }
    return false;
}

static bool plain_base(struct solver *s)
{
    for (int i = 0; i < s->n; i++) {
        s->base[i][0] = s->star[i].x - (double)(s->guess->nx - 1) / 2;
        s->base[i][1] = s->star[i].y - (double)(s->guess->ny - 1) / 2;
    }
    s->distorted = false;
    return true;
}

/* Centre, scale and base from the header, or from what else is known. Returned: false when nothing is. */
static bool look_at_header(struct solver *s)
{
    const struct wcs_guess *g = s->guess;
    double cx = (double)(g->nx - 1) / 2, cy = (double)(g->ny - 1) / 2, scale = NAN;
    s->ra0 = g->ra, s->dec0 = g->dec;
    if (g->header) {
        scale = skycoord_scale_arcsec(g->header, cx, cy);
        if (skycoord_to_sky(g->header, 1, &cx, &cy, &s->ra0, &s->dec0, NULL)) s->ra0 = s->dec0 = NAN;
    }
    bool own = g->header && isfinite(s->ra0) && isfinite(s->dec0) && scale > 1e-4 && scale < 3600;
    if (!own) s->ra0 = g->ra, s->dec0 = g->dec, scale = g->scale_arcsec;
    if (!isfinite(s->ra0) || !(fabs(s->dec0) <= 90) || !(scale > 1e-4 && scale < 3600)) return false;
    s->scale = scale / ARCSEC_PER_DEG;
    plain_base(s);
    if (!own) return true;
    enum { N = WCSFIT_GRID * WCSFIT_GRID };
    for (int k = 0; k < N; k++) wcsfit_grid_pixel(g->nx, g->ny, k, &s->grid[k][0], &s->grid[k][1]);
    s->grid[N][0] = (double)(g->nx - 1) / 2, s->grid[N][1] = (double)(g->ny - 1) / 2;
    if (!header_plane(s, N + 1, s->grid) || !is_distorted(s)) return true;
    for (int i = 0; i < s->n; i++) s->base[i][0] = s->star[i].x, s->base[i][1] = s->star[i].y;
    s->distorted = header_plane(s, s->n, s->base);
    return s->distorted || plain_base(s);
}

/* References within reach of the frame, at the epoch. */
static void take_references(struct solver *s, double radius_deg)
{
    double field = s->scale * hypot((double)s->guess->nx, (double)s->guess->ny) / 2 * (1 + s->opt->scale_tolerance), reach = field + radius_deg;
    int64_t first, end;
    refstars_zone(s->refs, s->dec0, reach + 0.01, &first, &end);
    s->nref = 0;
    double cut = cos(fmin(reach, 90) * RAD_PER_DEG), sd = sin(s->dec0 * RAD_PER_DEG), cd = cos(s->dec0 * RAD_PER_DEG);
    for (int64_t i = first; i < end; i++) {
        struct reference r = {.i = i};
        const struct refstar *t = &s->refs->star[i];
        double d = t->dec * RAD_PER_DEG;
        if (sin(d) * sd + cos(d) * cd * cos((t->ra - s->ra0) * RAD_PER_DEG) < cut) continue;
        refstar_at(t, s->guess->year, &r.ra, &r.dec, &r.err);
        if (s->nref && r.ra == s->ref[s->nref - 1].ra && r.dec == s->ref[s->nref - 1].dec) continue; /* the same star twice */
        s->ref[s->nref++] = r;
    }
}

static void project_references(struct solver *s)
{
    for (int i = 0; i < s->nref; i++) {
        double x, y;
        tangent_from_sky(s->ra0, s->dec0, s->ref[i].ra, s->ref[i].dec, &x, &y);
        s->plane[i] = (struct plane_star){x / s->scale, y / s->scale, (double)s->refs->star[s->ref[i].i].mag};
        if (!isfinite(x)) s->plane[i].x = s->plane[i].y = 1e9;
    }
}

/* ---- pairs ------------------------------------------------------------------------------------------------------------ */

/* Stars where `poly` puts them. */
static void place_stars(struct solver *s, const struct plane_poly *poly)
{
    for (int i = 0; i < s->n; i++) {
        plane_poly_at(poly, s->base[i][0], s->base[i][1], &s->frame[i].x, &s->frame[i].y);
        s->frame[i].mag = -2.5 * log10(s->star[i].flux);
        if (!isfinite(s->frame[i].x) || !isfinite(s->frame[i].y)) s->frame[i].x = s->frame[i].y = -1e9;
    }
}

/* Mutual nearest neighbours within radius. */
static bool pair_up(struct solver *s, double radius)
{
    struct plane_index *refs = plane_index_new(s->plane, s->nref, radius), *stars = plane_index_new(s->frame, s->n, radius);
    s->npair = 0;
    for (int i = 0; refs && stars && i < s->n; i++) {
        int j = plane_index_nearest(refs, s->frame[i].x, s->frame[i].y, radius, NULL);
        if (j < 0 || plane_index_nearest(stars, s->plane[j].x, s->plane[j].y, radius, NULL) != i) continue;
        s->pair_star[s->npair] = i;
        s->pair_ref[s->npair++] = j;
    }
    plane_index_free(refs);
    plane_index_free(stars);
    return refs && stars;
}

/* Fit a polynomial to the pairs for the next round, clipped once. */
static bool fit_pairs(struct solver *s, int order, struct plane_poly *p, double *ret_rms)
{
    int n = s->npair;
    double *m = malloc((size_t)(5 * n + 5) * sizeof *m);
    if (!m) return false;
    double *u = m, *v = m + n, *x = v + n, *y = x + n, *w = y + n, size = (double)(s->guess->nx > s->guess->ny ? s->guess->nx : s->guess->ny) / 2;
    for (int i = 0; i < n; i++) {
        u[i] = s->base[s->pair_star[i]][0], v[i] = s->base[s->pair_star[i]][1];
        x[i] = s->plane[s->pair_ref[i]].x, y[i] = s->plane[s->pair_ref[i]].y;
        w[i] = 1;
    }
    bool good = true;
    *ret_rms = 0;
    for (int round = 0; round < 4 && good; round++) {
        struct plane_poly q;
        good = plane_poly_fit(n, u, v, x, y, w, order, size, &q);
        if (!good) break;
        *p = q;
        double sum = 0, k = 0;
        for (int i = 0; i < n; i++) {
            double px, py;
            plane_poly_at(&q, u[i], v[i], &px, &py);
            double d = hypot(px - x[i], py - y[i]);
            if (w[i] > 0) sum += d * d, k++;
            w[i] = d;
        }
        *ret_rms = sqrt(sum / fmax(1, 2 * k));
        double limit = fmax(3.5 * *ret_rms, 0.1);
        for (int i = 0; i < n; i++) w[i] = w[i] < limit;
    }
    free(m);
    return good;
}

/* Closer and closer: the radius follows the scatter, the order the number of pairs. */
static bool refine(struct solver *s, struct plane_poly *poly)
{
    double radius = 6, rms = 0;
    for (int round = 0; round < 8; round++) {
        place_stars(s, poly);
        if (!pair_up(s, radius)) return false;
        int order = round < 1 ? 1 : s->npair > 40 && round > 2 ? 3 : s->npair > 20 ? 2 : 1;
        if (s->npair < 4 || !fit_pairs(s, order, poly, &rms)) break;
        if (round > 1) radius = fmin(radius, fmax(5 * rms, 1.0));
    }
    return true;
}

/* ---- fit and verdict ---------------------------------------------------------------------------------------------------- */

static void fill_pairs(struct solver *s)
{
    for (int i = 0; i < s->npair; i++) {
        const struct wcs_star *a = &s->star[s->pair_star[i]];
        const struct reference *r = &s->ref[s->pair_ref[i]];
        double ref_px = r->err / 3.6e6 / s->scale;
        s->pair[i] = (struct wcsfit_pair){.x = a->x, .y = a->y, .base = {s->base[s->pair_star[i]][0], s->base[s->pair_star[i]][1]},
                                          .ra = r->ra, .dec = r->dec, .err = hypot(a->err, ref_px)};
    }
}

/* One array for both ways of fitting: the second half serves the header's plane. */
struct fits {
    double *residual; /* 2 * 2 * n */
    bool *kept;       /* 2 * n */
};

/* The better of a fit in the pixels and one on the header's distortion. Not final: only what finds the pairs for the next round. */
static enum err fit_once(struct solver *s, bool final, struct wcs_solution *ret, struct fits *f, struct error *err)
{
    struct wcsfit_options o = {.nx = s->guess->nx, .ny = s->guess->ny, .ra = s->ra0, .dec = s->dec0, .scale = s->scale, .order_max = s->opt->order_max, .clip = 3.5};
    struct wcsfit_result onbase = {.n = 0};
    enum err plain = ERR_NOT_FOUND, based = ERR_NOT_FOUND;
    if (!final && o.order_max > 3) o.order_max = 3;
    if (final || !s->distorted) plain = wcsfit_solve(s->pair, s->npair, &o, &ret->fit, f->residual, f->kept, err);
    if (plain == ERR_NOMEM || !s->distorted) return plain;
    o.grid_base = (const double (*)[2])s->grid;
    based = wcsfit_solve(s->pair, s->npair, &o, &onbase, f->residual + 2 * s->n, f->kept + s->n, err);
    if (based == ERR_NOMEM) return based;
    if (!based && onbase.convert_px > 0.02) based = ERR_NOT_FOUND;
    if (based && plain && !final) { /* the header's plane is of no use */
        o.grid_base = NULL;
        return wcsfit_solve(s->pair, s->npair, &o, &ret->fit, f->residual, f->kept, err);
    }
    if (based) return plain;
    bool as_good = ret->fit.press_px <= onbase.press_px && ret->fit.grid_max_px <= onbase.grid_max_px;
    if (!plain && (as_good || onbase.press_px > 1.05 * ret->fit.press_px)) return ERR_OK;
    ret->fit = onbase;
    memcpy(f->residual, f->residual + 2 * s->n, 2 * (size_t)s->npair * sizeof *f->residual);
    memcpy(f->kept, f->kept + s->n, (size_t)s->npair * sizeof *f->kept);
    return ERR_OK;
}

/* References in the frame, pairs and chance by the final solution, within three times its scatter. */
static bool weigh_evidence(struct solver *s, struct wcs_solution *ret)
{
    double rms = fmax(hypot(ret->fit.rms_px[0], ret->fit.rms_px[1]), 0.1), radius = fmin(4 * rms, 6);
    struct plane_star *pixels = malloc((size_t)(s->n + 1) * sizeof *pixels);
    if (!pixels) return false;
    for (int i = 0; i < s->n; i++) pixels[i] = (struct plane_star){s->star[i].x, s->star[i].y, 0};
    struct plane_index *index = plane_index_new(pixels, s->n, radius);
    static const double way[8][2] = {{1, 0}, {-1, 0}, {0, 1}, {0, -1}, {0.7, 0.7}, {-0.7, 0.7}, {0.7, -0.7}, {-0.7, -0.7}};
    int pairs = 0, chance = 0;
    ret->references = 0;
    for (int i = 0; index && i < s->nref; i++) {
        double x, y;
        wcs_sip_to_pixel(&ret->fit.sip, s->ref[i].ra, s->ref[i].dec, &x, &y);
        if (!isfinite(x) || !inside(s->guess, x, y)) continue;
        ret->references++;
        pairs += plane_index_nearest(index, x, y, radius, NULL) >= 0;
        for (int k = 0; k < 8; k++) {
            double step = 4 * radius + 3 * (k + 1);
            chance += plane_index_nearest(index, x + step * way[k][0], y + step * way[k][1], radius, NULL) >= 0;
        }
    }
    free(pixels);
    plane_index_free(index);
    int most = ret->references < s->n ? ret->references : s->n;
    ret->chance = fmax((chance + 1) / 8.0, 0.002 * most);
    ret->log10_odds = match_log_odds(pairs, ret->chance) / log(10);
    return index != NULL;
}

/* Of 3 x 3 parts of the frame, how many have pairs; and do they span it? */
static int covered_parts(const struct solver *s, const bool *kept)
{
    unsigned parts = 0;
    for (int i = 0; i < s->npair; i++) {
        int u = (int)(3 * s->pair[i].x / (double)s->guess->nx), v = (int)(3 * s->pair[i].y / (double)s->guess->ny);
        if (kept[i]) parts |= 1u << ((u < 0 ? 0 : u > 2 ? 2 : u) + 3 * (v < 0 ? 0 : v > 2 ? 2 : v));
    }
    return __builtin_popcount(parts);
}

static void judge(const struct solver *s, const bool *kept, struct wcs_solution *ret)
{
    const struct wcsfit_result *f = &ret->fit;
    const double *cd = f->sip.cd;
    double det = fabs(cd[0] * cd[3] - cd[1] * cd[2]), scale = sqrt(det), sum = cd[0] * cd[0] + cd[1] * cd[1] + cd[2] * cd[2] + cd[3] * cd[3];
    double half = sum / (2 * det), axes = half + sqrt(fmax(0, half * half - 1));
    size_t size = sizeof ret->reason;
    ret->scale_arcsec = scale * ARCSEC_PER_DEG;
    ret->status = WCS_FAILED;
    if (f->used < s->opt->pairs_min) snprintf(ret->reason, size, "%d pairs are too few", f->used);
    else if (ret->log10_odds * log(10) < ACCEPT_LOG_ODDS) snprintf(ret->reason, size, "%d pairs where chance gives %.1f", f->used, ret->chance);
    else if (fabs(scale / s->scale - 1) > 1.1 * s->opt->scale_tolerance) snprintf(ret->reason, size, "scale %.4g arcsec, expected %.4g", ret->scale_arcsec, s->scale * ARCSEC_PER_DEG);
    else if (sqrt(axes) > SHEAR_LIMIT) snprintf(ret->reason, size, "sheared: axes %.3f to 1", sqrt(axes));
    else ret->status = WCS_DOUBT;
    if (ret->status == WCS_FAILED) return;
    double rms = sqrt((f->rms_px[0] * f->rms_px[0] + f->rms_px[1] * f->rms_px[1]) / 2), promise = f->grid_max_px;
    if (covered_parts(s, kept) < 4) snprintf(ret->reason, size, "its stars stand in one part of the frame");
    else if (3 * promise > 3 * GRID_LIMIT_PX) snprintf(ret->reason, size, "its error reaches %.2f pixel in a corner", promise);
    else if (f->press_px > 2 * fmax(rms, 0.02) && f->press_px > 0.2) snprintf(ret->reason, size, "stars left out are predicted to %.2f pixel only", f->press_px);
    else if (rms > 1.0) snprintf(ret->reason, size, "residuals of %.2f pixel", rms);
    else if (f->used < 0.2 * fmin(ret->references, s->n)) snprintf(ret->reason, size, "%d of %d reference stars are found", f->used, ret->references);
    else ret->status = WCS_SOLVED;
}

static bool keep_residuals(struct solver *s, const double *residual, const bool *kept, struct wcs_solution *ret)
{
    ret->residual = malloc((size_t)(s->npair + 1) * sizeof *ret->residual);
    if (!ret->residual) return false;
    ret->nresidual = s->npair;
    for (int i = 0; i < s->npair; i++) {
        const struct reference *r = &s->ref[s->pair_ref[i]];
        const struct refstar *t = &s->refs->star[r->i];
        ret->residual[i] = (struct wcs_residual){s->pair[i].x, s->pair[i].y, residual[2 * i], residual[2 * i + 1], r->ra, r->dec, (double)t->mag,
                                               s->star[s->pair_star[i]].tag, r->i, kept[i]};
    }
    return true;
}

/* Once the solution is there, pairs are looked for again with it: those in the corners may have been too far off. */
static bool pair_by_solution(struct solver *s, const struct wcs_solution *sol, double radius)
{
    for (int i = 0; i < s->n; i++) {
        double ra, dec;
        wcs_sip_to_sky(&sol->fit.sip, s->star[i].x, s->star[i].y, &ra, &dec);
        tangent_from_sky(s->ra0, s->dec0, ra, dec, &s->frame[i].x, &s->frame[i].y);
        s->frame[i].x /= s->scale;
        s->frame[i].y /= s->scale;
        if (!isfinite(s->frame[i].x) || !isfinite(s->frame[i].y)) s->frame[i].x = s->frame[i].y = -1e9;
    }
    return pair_up(s, radius);
}

static enum err fit_and_judge(struct solver *s, struct wcs_solution *ret, struct error *err)
{
    struct fits f = {calloc((size_t)(s->n + 1) * 4, sizeof *f.residual), calloc((size_t)(s->n + 1) * 2, sizeof *f.kept)};
    enum err e = f.residual && f.kept ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory for residuals");
    for (int round = 0; round < 3 && !e; round++) {
        fill_pairs(s);
        e = fit_once(s, round == 2, ret, &f, err);
        if (e || round == 2) break;
        double rms = hypot(ret->fit.rms_px[0], ret->fit.rms_px[1]);
        if (!pair_by_solution(s, ret, fmin(fmax(5 * rms, 0.5), 3))) e = ERROR(err, ERR_NOMEM, "no memory for pairs");
    }
    if (e == ERR_NOT_FOUND) {
        snprintf(ret->reason, sizeof ret->reason, "%d pairs do not determine the coordinates", s->npair);
        ret->status = WCS_FAILED;
        e = ERR_OK;
    } else if (!e) {
        if (!weigh_evidence(s, ret) || !keep_residuals(s, f.residual, f.kept, ret)) e = ERROR(err, ERR_NOMEM, "no memory for residuals");
        else judge(s, f.kept, ret);
    }
    free(f.residual);
    free(f.kept);
    return e;
}

/* The match in the plane about the frame's own centre: its axes are turned against those of the header's, near a pole by a lot. */
static bool move_plane(struct solver *s, struct plane_poly *poly)
{
    const double *m = s->match.m, *t = s->match.t, *g = s->grid[WCSFIT_GRID * WCSFIT_GRID];
    double cx = s->distorted ? g[0] : 0, cy = s->distorted ? g[1] : 0, ra0, dec0, half = (double)(s->guess->nx < s->guess->ny ? s->guess->nx : s->guess->ny) / 2;
    double u[9], v[9], x[9], y[9];
    tangent_to_sky(s->ra0, s->dec0, (m[0] * cx + m[1] * cy + t[0]) * s->scale, (m[2] * cx + m[3] * cy + t[1]) * s->scale, &ra0, &dec0);
    for (int k = 0; k < 9; k++) {
        double ra, dec;
        u[k] = cx + half * (k % 3 - 1);
        v[k] = cy + half * (k / 3 - 1);
        tangent_to_sky(s->ra0, s->dec0, (m[0] * u[k] + m[1] * v[k] + t[0]) * s->scale, (m[2] * u[k] + m[3] * v[k] + t[1]) * s->scale, &ra, &dec);
        tangent_from_sky(ra0, dec0, ra, dec, &x[k], &y[k]);
        x[k] /= s->scale;
        y[k] /= s->scale;
    }
    s->ra0 = ra0;
    s->dec0 = dec0;
    take_references(s, 0.05); /* those of the frame: the search may have begun beside it */
    project_references(s);
    return plane_poly_fit(9, u, v, x, y, NULL, 1, half, poly);
}

static enum err solve_from_match(struct solver *s, struct wcs_solution *ret, struct error *err)
{
    struct plane_poly poly;
    if (!move_plane(s, &poly)) {
        snprintf(ret->reason, sizeof ret->reason, "the match is degenerate");
        return ERR_OK;
    }
    if (!refine(s, &poly)) return ERROR(err, ERR_NOMEM, "no memory for pairs");
    return fit_and_judge(s, ret, err);
}

static enum err find_place(struct solver *s, double tolerance, struct error *err)
{
    struct starmatch_options o = STARMATCH_OPTIONS_DEFAULT;
    o.scale_tolerance = s->opt->scale_tolerance;
    o.tolerance = tolerance;
    for (int i = 0; i < s->n; i++) s->frame[i] = (struct plane_star){s->base[i][0], s->base[i][1], -2.5 * log10(s->star[i].flux)};
    return starmatch_find(s->frame, s->n, s->plane, s->nref, &o, &s->match, err);
}

static int by_mag(const void *p, const void *q)
{
    double a = *(const double *)p, b = *(const double *)q;
    return (a > b) - (a < b);
}

/* The brightest references may all be saturated in the frame and not among its stars: leave a share of them out of the quads
 * (a star without magnitude counts as faint). */
static bool hide_brightest(struct solver *s, double share)
{
    double *mag = malloc((size_t)(s->nref + 1) * sizeof *mag);
    int n = 0;
    if (!mag) return false;
    for (int i = 0; i < s->nref; i++)
        if (isfinite(s->plane[i].mag)) mag[n++] = s->plane[i].mag;
    qsort(mag, (size_t)n, sizeof *mag, by_mag);
    double limit = n ? mag[(int)(share * (n - 1))] : 0;
    for (int i = 0; i < s->nref; i++)
        if (s->plane[i].mag < limit) s->plane[i].mag = NAN;
    free(mag);
    return true;
}

/* Where and how to look, the likely first. */
static const struct try_at {
    bool near, plain;  /* close to the header's position; without the header's distortion */
    double tolerance;  /* pixels: 10 for distortion that the header does not know */
    double saturated;  /* share of the references taken for saturated */
} tries[] = {{true, false, 4, 0}, {true, false, 4, 0.1}, {false, false, 4, 0}, {false, false, 10, 0}, {false, false, 4, 0.1}, {false, false, 4, 0.3}, {false, true, 4, 0}, {false, true, 10, 0}};

static enum err try_to_solve(struct solver *s, struct wcs_solution *ret, struct error *err)
{
    struct error why = ERROR_INIT;
    double ra = s->ra0, dec = s->dec0, near = fmin(NEAR_DEG, s->opt->radius_deg);
    enum err e = ERR_NOT_FOUND;
    bool replaced = false;
    for (size_t k = 0; k < sizeof tries / sizeof tries[0] && e == ERR_NOT_FOUND; k++) {
        const struct try_at *t = &tries[k];
        if (t->near && near == s->opt->radius_deg) continue;
        if (t->plain && s->distorted) plain_base(s), replaced = true;
        else if (t->plain && !replaced) break;
        take_references(s, t->near ? near : s->opt->radius_deg);
        project_references(s);
        if (t->tolerance > 5 && s->nref > CROWD) continue; /* a loose search of so many takes long and finds chance */
        if (s->nref < s->opt->pairs_min) continue;
        if (t->saturated > 0 && !hide_brightest(s, t->saturated)) return ERROR(err, ERR_NOMEM, "no memory for magnitudes");
        e = find_place(s, t->tolerance, &why);
    }
    if (s->nref < s->opt->pairs_min) {
        snprintf(ret->reason, sizeof ret->reason, "%d reference stars within %.2f deg of the header's position", s->nref, s->opt->radius_deg);
        return ERR_OK;
    }
    ret->asked = true;
    if (e == ERR_NOMEM && err) *err = why;
    if (e == ERR_NOMEM) return e;
    if (e) {
        ret->status = WCS_FAILED;
        snprintf(ret->reason, sizeof ret->reason, "%s", why.message);
        return ERR_OK;
    }
    e = solve_from_match(s, ret, err);
    if (!e && ret->status != WCS_FAILED) ret->offset_arcsec = sky_distance_deg(ra, dec, ret->fit.sip.crval[0], ret->fit.sip.crval[1]) * ARCSEC_PER_DEG;
    return e;
}

enum err wcs_solve(const struct wcs_star *stars, int n, const struct refstars *refs, const struct wcs_guess *guess, const struct wcs_options *opt,
                   struct wcs_solution *ret, struct error *err)
{
    struct solver s = {.guess = guess, .opt = opt, .refs = refs};
    *ret = (struct wcs_solution){.status = WCS_FAILED, .offset_arcsec = NAN, .scale_arcsec = NAN};
    if (!alloc_all(&s, n, refs->n)) {
        free_all(&s);
        return ERROR(err, ERR_NOMEM, "no memory for %d stars and %lld reference stars", n, (long long)refs->n);
    }
    enum err e = ERR_OK;
    take_stars(&s, stars, n);
    if (!look_at_header(&s)) snprintf(ret->reason, sizeof ret->reason, "the header tells neither where the frame points nor its scale");
    else {
        if (s.n < opt->pairs_min) snprintf(ret->reason, sizeof ret->reason, "%d stars are too few", s.n);
        else e = try_to_solve(&s, ret, err);
    }
    free_all(&s);
    return e;
}

void wcs_solution_release(struct wcs_solution *s)
{
    free(s->residual);
    s->residual = NULL;
    s->nresidual = 0;
}
