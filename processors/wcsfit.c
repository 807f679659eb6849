#include "processors/wcsfit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/stats.h"
#include "common/units.h"

#define TERMS(order) (((order) + 1) * ((order) + 2) / 2)

/* ---- projection ---------------------------------------------------------------------------------------------------- */

void tangent_from_sky(double ra0, double dec0, double ra, double dec, double *ret_xi, double *ret_eta)
{
    double a = (ra - ra0) * RAD_PER_DEG, d = dec * RAD_PER_DEG, d0 = dec0 * RAD_PER_DEG;
    double ca = cos(a), sd = sin(d), cd = cos(d), sd0 = sin(d0), cd0 = cos(d0), z = sd * sd0 + cd * cd0 * ca;
    *ret_xi = z > 1e-6 ? cd * sin(a) / z * DEG_PER_RAD : NAN;
    *ret_eta = z > 1e-6 ? (sd * cd0 - cd * sd0 * ca) / z * DEG_PER_RAD : NAN;
}

void tangent_to_sky(double ra0, double dec0, double xi, double eta, double *ret_ra, double *ret_dec)
{
    double x = xi * RAD_PER_DEG, y = eta * RAD_PER_DEG, d0 = dec0 * RAD_PER_DEG, sd0 = sin(d0), cd0 = cos(d0);
    double north = cd0 - y * sd0, ra = ra0 + atan2(x, north) * DEG_PER_RAD;
    ra = fmod(ra, 360);
    *ret_ra = ra < 0 ? ra + 360 : ra;
    if (*ret_ra >= 360) *ret_ra = 0;
    *ret_dec = atan2(sd0 + y * cd0, hypot(x, north)) * DEG_PER_RAD;
}

/* ---- polynomials ---------------------------------------------------------------------------------------------------- */

static void monomials(double u, double v, int order, double f[SIP_TERMS])
{
    int k = 0;
    f[0] = 1;
    for (int o = 1; o <= order; o++) {
        int prev = k - (o - 1); /* first term of the order before */
        k++;
        for (int q = 0; q < o; q++) f[k + q] = f[prev + q] * u;
        f[k + o] = f[prev + o - 1] * v;
        k += o;
    }
}

/* Cholesky factor L of a symmetric positive matrix, lower triangle in place. */
static bool factor(double *a, int n)
{
    for (int j = 0; j < n; j++) {
        double full = a[j * n + j], d = full;
        for (int k = 0; k < j; k++) d -= a[j * n + k] * a[j * n + k];
        if (!(d > 1e-13 * full)) return false;
        a[j * n + j] = sqrt(d);
        for (int i = j + 1; i < n; i++) {
            double s = a[i * n + j];
            for (int k = 0; k < j; k++) s -= a[i * n + k] * a[j * n + k];
            a[i * n + j] = s / a[j * n + j];
        }
    }
    return true;
}

static void forward(const double *l, int n, double *b)
{
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < i; k++) b[i] -= l[i * n + k] * b[k];
        b[i] /= l[i * n + i];
    }
}

static void backward(const double *l, int n, double *b)
{
    for (int i = n - 1; i >= 0; i--) {
        for (int k = i + 1; k < n; k++) b[i] -= l[k * n + i] * b[k];
        b[i] /= l[i * n + i];
    }
}

/* A fit with its factor: what leverage needs. */
struct fit {
    struct plane_poly p;
    double l[SIP_TERMS * SIP_TERMS];
};

static bool fit_poly(int n, const double *u, const double *v, const double *tx, const double *ty, const double *w, int order, double size, struct fit *f)
{
    int m = TERMS(order);
    memset(f, 0, sizeof *f);
    f->p.order = order;
    f->p.size = size;
    for (int i = 0; i < n; i++) {
        double g[SIP_TERMS], wi = w ? w[i] : 1;
        if (!(wi > 0)) continue;
        monomials(u[i] / size, v[i] / size, order, g);
        for (int r = 0; r < m; r++) {
            double wg = wi * g[r];
            f->p.cx[r] += wg * tx[i];
            f->p.cy[r] += wg * ty[i];
            for (int c = 0; c <= r; c++) f->l[r * m + c] += wg * g[c];
        }
    }
    if (!factor(f->l, m)) return false;
    forward(f->l, m, f->p.cx);
    forward(f->l, m, f->p.cy);
    backward(f->l, m, f->p.cx);
    backward(f->l, m, f->p.cy);
    return true;
}

bool plane_poly_fit(int n, const double *u, const double *v, const double *tx, const double *ty, const double *weight, int order, double size,
                    struct plane_poly *ret)
{
    struct fit f;
    bool good = fit_poly(n, u, v, tx, ty, weight, order, size, &f);
    if (good) *ret = f.p;
    return good;
}

void plane_poly_at(const struct plane_poly *p, double u, double v, double *ret_x, double *ret_y)
{
    double g[SIP_TERMS], x = 0, y = 0;
    monomials(u / p->size, v / p->size, p->order, g);
    for (int k = 0; k < TERMS(p->order); k++) x += p->cx[k] * g[k], y += p->cy[k] * g[k];
    *ret_x = x;
    *ret_y = y;
}

/* phi^T N^-1 phi: variance of the prediction at (u, v) for unit weights. */
static double leverage(const struct fit *f, double u, double v)
{
    double g[SIP_TERMS], s = 0;
    int m = TERMS(f->p.order);
    monomials(u / f->p.size, v / f->p.size, f->p.order, g);
    forward(f->l, m, g);
    for (int k = 0; k < m; k++) s += g[k] * g[k];
    return s;
}

/* ---- SIP ------------------------------------------------------------------------------------------------------------- */

static double poly_value(const double *c, const double *g, int order)
{
    double s = 0;
    for (int k = 0; k < TERMS(order); k++) s += c[k] * g[k];
    return s;
}

static void sip_plane(const struct wcs_sip *s, double x, double y, double *ret_xi, double *ret_eta)
{
    double u = x - s->crpix[0], v = y - s->crpix[1], g[SIP_TERMS], f = u, h = v;
    if (s->order >= 2) {
        monomials(u, v, s->order, g);
        f += poly_value(s->a, g, s->order);
        h += poly_value(s->b, g, s->order);
    }
    *ret_xi = s->cd[0] * f + s->cd[1] * h;
    *ret_eta = s->cd[2] * f + s->cd[3] * h;
}

void wcs_sip_to_sky(const struct wcs_sip *s, double x, double y, double *ret_ra, double *ret_dec)
{
    double xi, eta;
    sip_plane(s, x, y, &xi, &eta);
    tangent_to_sky(s->crval[0], s->crval[1], xi, eta, ret_ra, ret_dec);
}

static void plane_to_linear(const struct wcs_sip *s, double xi, double eta, double *ret_u, double *ret_v)
{
    double det = s->cd[0] * s->cd[3] - s->cd[1] * s->cd[2];
    *ret_u = (s->cd[3] * xi - s->cd[1] * eta) / det;
    *ret_v = (s->cd[0] * eta - s->cd[2] * xi) / det;
}

void wcs_sip_to_pixel(const struct wcs_sip *s, double ra, double dec, double *ret_x, double *ret_y)
{
    double xi, eta, u, v, g[SIP_TERMS];
    tangent_from_sky(s->crval[0], s->crval[1], ra, dec, &xi, &eta);
    plane_to_linear(s, xi, eta, &u, &v);
    double x = u, y = v;
    if (s->inverse_order > 0) {
        monomials(u, v, s->inverse_order, g);
        x += poly_value(s->ap, g, s->inverse_order);
        y += poly_value(s->bp, g, s->inverse_order);
    }
    for (int k = 0; k < 4 && s->order >= 2; k++) { /* the distortion is small: steps with the linear part converge fast */
        monomials(x, y, s->order, g);
        x = u - poly_value(s->a, g, s->order);
        y = v - poly_value(s->b, g, s->order);
    }
    *ret_x = s->crpix[0] + x;
    *ret_y = s->crpix[1] + y;
}

/* From target (pixels of the tangent plane) = polynomial of (u, v): CD and A, B. */
static void sip_from_poly(const struct plane_poly *p, double scale, struct wcs_sip *s)
{
    double l[4] = {p->cx[1] / p->size, p->cx[2] / p->size, p->cy[1] / p->size, p->cy[2] / p->size}, det = l[0] * l[3] - l[1] * l[2];
    for (int k = 0; k < 4; k++) s->cd[k] = l[k] * scale;
    s->order = p->order;
    memset(s->a, 0, sizeof s->a);
    memset(s->b, 0, sizeof s->b);
    for (int o = 2; o <= p->order; o++)
        for (int q = 0; q <= o; q++) {
            int k = sip_term(o - q, q);
            double hx = p->cx[k] / pow(p->size, o), hy = p->cy[k] / pow(p->size, o);
            s->a[k] = (l[3] * hx - l[1] * hy) / det;
            s->b[k] = (l[0] * hy - l[2] * hx) / det;
        }
}

enum { GRID = WCSFIT_GRID };

void wcsfit_grid_pixel(int64_t nx, int64_t ny, int k, double *ret_x, double *ret_y)
{
    *ret_x = (double)(nx - 1) * (k % GRID) / (GRID - 1);
    *ret_y = (double)(ny - 1) * (k / GRID) / (GRID - 1);
}

/* AP, BP over the frame: the lowest order that is good to 0.001 pixel, else the best. */
static void fit_inverse(const struct wcsfit_options *o, struct wcs_sip *s)
{
    double u[GRID * GRID], v[GRID * GRID], tx[GRID * GRID], ty[GRID * GRID], best = INFINITY, size = (double)(o->nx > o->ny ? o->nx : o->ny) / 2;
    s->inverse_order = 0;
    if (s->order < 2) return;
    for (int k = 0; k < GRID * GRID; k++) {
        double x, y, xi, eta;
        wcsfit_grid_pixel(o->nx, o->ny, k, &x, &y);
        sip_plane(s, x, y, &xi, &eta);
        plane_to_linear(s, xi, eta, &u[k], &v[k]);
        tx[k] = x - s->crpix[0] - u[k];
        ty[k] = y - s->crpix[1] - v[k];
    }
    for (int order = s->order; order <= SIP_ORDER_MAX && best > 1e-3; order++) {
        struct plane_poly p;
        if (!plane_poly_fit(GRID * GRID, u, v, tx, ty, NULL, order, size, &p)) break;
        double worst = 0;
        for (int k = 0; k < GRID * GRID; k++) {
            double x, y;
            plane_poly_at(&p, u[k], v[k], &x, &y);
            worst = fmax(worst, hypot(x - tx[k], y - ty[k]));
        }
        if (worst >= best) break;
        best = worst;
        s->inverse_order = order;
        for (int od = 0; od <= order; od++)
            for (int q = 0; q <= od; q++) {
                s->ap[sip_term(od - q, q)] = p.cx[sip_term(od - q, q)] / pow(size, od);
                s->bp[sip_term(od - q, q)] = p.cy[sip_term(od - q, q)] / pow(size, od);
            }
    }
}

/* ---- the fit ---------------------------------------------------------------------------------------------------------- */

/* The pairs as numbers, for one choice of coordinates on the side of the pixels. */
struct work {
    int n;
    const struct wcsfit_pair *pairs;
    const struct wcsfit_options *opt;
    double *u, *v;             /* of the pixels or of the header's plane, from the centre */
    double *tx, *ty;           /* tangent plane at (ra0, dec0), pixels */
    double *w, *r2, *scratch;
    bool *keep;
    double ra0, dec0;
    double size, cx, cy;
    double scatter;
};

static void project(struct work *w)
{
    for (int i = 0; i < w->n; i++) {
        tangent_from_sky(w->ra0, w->dec0, w->pairs[i].ra, w->pairs[i].dec, &w->tx[i], &w->ty[i]);
        w->tx[i] /= w->opt->scale;
        w->ty[i] /= w->opt->scale;
    }
}

static void weigh(struct work *w)
{
    for (int i = 0; i < w->n; i++) {
        double e = w->pairs[i].err, v = e * e + w->scatter * w->scatter;
        w->w[i] = w->keep[i] && isfinite(w->tx[i]) && isfinite(w->u[i]) && v > 0 ? 1 / v : 0;
    }
}

static int count_kept(const struct work *w)
{
    int n = 0;
    for (int i = 0; i < w->n; i++) n += w->w[i] > 0;
    return n;
}

/* Squared residuals per axis (mean of both) into r2. */
static void residuals(struct work *w, const struct fit *f)
{
    for (int i = 0; i < w->n; i++) {
        double x, y;
        plane_poly_at(&f->p, w->u[i], w->v[i], &x, &y);
        w->r2[i] = ((x - w->tx[i]) * (x - w->tx[i]) + (y - w->ty[i]) * (y - w->ty[i])) / 2;
    }
}

/* Scatter beyond the expected errors that makes the kept residuals ordinary: median of r^2 / (e^2 + s^2) is ln 2 for two axes. */
static double find_scatter(struct work *w, int terms)
{
    int n = 0;
    double low = 0, high = 0, dof;
    for (int i = 0; i < w->n; i++) {
        if (!(w->w[i] > 0)) continue;
        high = fmax(high, sqrt(w->r2[i]));
        n++;
    }
    dof = fmax(0.1, 1 - (double)terms / n);
    for (int step = 0; step < 18; step++) {
        double s = step ? (low + high) / 2 : 0;
        int k = 0;
        for (int i = 0; i < w->n; i++)
            if (w->w[i] > 0) w->scratch[k++] = w->r2[i] / (w->pairs[i].err * w->pairs[i].err + s * s);
        bool more = median_f64(w->scratch, k) > 0.6931 * dof;
        if (!step && !more) return 0;
        if (more) low = s;
        else high = s;
        if (!step) low = 0;
    }
    return (low + high) / 2;
}

static int clip(struct work *w, double limit)
{
    int changed = 0;
    for (int i = 0; i < w->n; i++) {
        double v = w->pairs[i].err * w->pairs[i].err + w->scatter * w->scatter;
        bool keep = isfinite(w->r2[i]) && w->r2[i] < limit * limit * v; /* of a mean of two squares */
        changed += keep != w->keep[i];
        w->keep[i] = keep;
    }
    return changed;
}

/* Clip and weigh at one order until nothing changes. */
static bool settle(struct work *w, int order, struct fit *f)
{
    for (int round = 0; round < 12; round++) {
        weigh(w);
        if (count_kept(w) < TERMS(order) + 2 || !fit_poly(w->n, w->u, w->v, w->tx, w->ty, w->w, order, w->size, f)) return false;
        residuals(w, f);
        w->scatter = find_scatter(w, TERMS(order));
        if (!clip(w, w->opt->clip) && round > 1) break;
    }
    weigh(w);
    if (count_kept(w) < TERMS(order) + 2 || !fit_poly(w->n, w->u, w->v, w->tx, w->ty, w->w, order, w->size, f)) return false;
    residuals(w, f);
    return true;
}

/* Error of prediction at pairs that were left out: residual / (1 - leverage), weighted mean square over all kept ones, where
 * the weights do not depend on the order. */
static double press(const struct work *w, const struct fit *f)
{
    double sum = 0, norm = 0;
    for (int i = 0; i < w->n; i++) {
        if (!(w->w[i] > 0)) continue;
        double h = w->w[i] * leverage(f, w->u[i], w->v[i]), left = fmax(1 - h, 1e-3);
        sum += w->w[i] * w->r2[i] / (left * left);
        norm += w->w[i];
    }
    return sum / norm;
}

struct choice {
    int order;
    double press;
    struct fit fit;
};

/* Which pairs are good is settled at the highest order they carry, so that distortion is not clipped; then every order is
 * asked with the same pairs and weights. An order is raised only for a gain in prediction of a per cent. */
static bool choose_order(struct work *w, struct choice *ret)
{
    int top = w->opt->order_max;
    struct fit *f = malloc(sizeof *f);
    bool good = false;
    while (f && top > 1 && w->n < 2.5 * TERMS(top)) top--;
    for (; f && top >= 1 && !good; top--) {
        for (int i = 0; i < w->n; i++) w->keep[i] = true;
        w->scatter = 0;
        good = settle(w, top, f);
        if (good && top > 1 && count_kept(w) < 2.2 * TERMS(top)) good = false;
    }
    ret->press = INFINITY;
    for (int order = 1; good && order <= top + 1; order++) {
        if (!fit_poly(w->n, w->u, w->v, w->tx, w->ty, w->w, order, w->size, f)) break;
        residuals(w, f);
        double p = press(w, f);
        if (p < 0.99 * ret->press) {
            ret->press = p;
            ret->order = order;
            ret->fit = *f;
        }
    }
    if (good) residuals(w, &ret->fit);
    free(f);
    return good && isfinite(ret->press);
}

/* Coordinates on the side of the pixels. */
static void choose_base(struct work *w, bool on_base)
{
    for (int i = 0; i < w->n; i++) {
        w->u[i] = on_base ? w->pairs[i].base[0] : w->pairs[i].x - w->cx;
        w->v[i] = on_base ? w->pairs[i].base[1] : w->pairs[i].y - w->cy;
    }
}

static bool work_alloc(struct work *w, int n)
{
    size_t room = (size_t)(n + 1);
    w->u = malloc(7 * room * sizeof *w->u);
    w->keep = calloc(room, sizeof *w->keep);
    if (!w->u || !w->keep) return false;
    w->v = w->u + room, w->tx = w->v + room, w->ty = w->tx + room, w->w = w->ty + room, w->r2 = w->w + room, w->scratch = w->r2 + room;
    return true;
}

static void tell_grid(const struct work *w, const struct fit *f, struct wcsfit_result *r)
{
    double sum = 0, worst = 0;
    for (int k = 0; k < GRID * GRID; k++) {
        double x, y;
        wcsfit_grid_pixel(w->opt->nx, w->opt->ny, k, &x, &y);
        double v = w->opt->grid_base ? leverage(f, w->opt->grid_base[k][0], w->opt->grid_base[k][1]) : leverage(f, x - w->cx, y - w->cy);
        sum += v;
        worst = fmax(worst, v);
    }
    r->grid_mean_px = sqrt(sum / (GRID * GRID));
    r->grid_max_px = sqrt(worst);
}

static void tell_residuals(const struct work *w, const struct fit *f, struct wcsfit_result *r, double *residual, bool *kept)
{
    double sum[2] = {0, 0}, chi2 = 0;
    for (int i = 0; i < w->n; i++) {
        double x, y, p, q;
        plane_poly_at(&f->p, w->u[i], w->v[i], &x, &y);
        plane_to_linear(&r->sip, (x - w->tx[i]) * w->opt->scale, (y - w->ty[i]) * w->opt->scale, &p, &q); /* along the frame's axes */
        if (residual) residual[2 * i] = p, residual[2 * i + 1] = q;
        if (kept) kept[i] = w->w[i] > 0;
        if (!(w->w[i] > 0)) continue;
        r->used++;
        sum[0] += p * p;
        sum[1] += q * q;
        chi2 += (p * p + q * q) / (w->pairs[i].err * w->pairs[i].err);
    }
    for (int k = 0; k < 2; k++) r->rms_px[k] = sqrt(sum[k] / r->used);
    r->chi2 = chi2 / fmax(1, 2.0 * (r->used - TERMS(f->p.order)));
}

/* Where the frame's centre falls by a fit. */
static void centre_of(const struct work *w, const struct fit *f, double *ret_x, double *ret_y)
{
    const double (*base)[2] = w->opt->grid_base;
    plane_poly_at(&f->p, base ? base[GRID * GRID][0] : 0, base ? base[GRID * GRID][1] : 0, ret_x, ret_y);
}

/* Refit with the tangent point where the centre falls, until it stays there. */
static bool recentre(struct work *w, int order, struct fit *f)
{
    for (int round = 0; round < 5; round++) {
        double x, y;
        if (!fit_poly(w->n, w->u, w->v, w->tx, w->ty, w->w, order, w->size, f)) return false;
        centre_of(w, f, &x, &y);
        if (hypot(x, y) < 1e-7) break;
        if (!(hypot(x, y) * w->opt->scale < 30)) return false;
        tangent_to_sky(w->ra0, w->dec0, x * w->opt->scale, y * w->opt->scale, &w->ra0, &w->dec0);
        project(w);
    }
    return true;
}

/* The composed map on a grid, as a polynomial of the pixels. */
static bool sip_from_base(const struct work *w, const struct fit *f, struct wcs_sip *s, double *ret_worst)
{
    enum { N = GRID * GRID };
    double u[N], v[N], tx[N], ty[N];
    struct plane_poly p;
    *ret_worst = INFINITY;
    for (int k = 0; k < N; k++) {
        wcsfit_grid_pixel(w->opt->nx, w->opt->ny, k, &u[k], &v[k]);
        u[k] -= w->cx;
        v[k] -= w->cy;
        plane_poly_at(&f->p, w->opt->grid_base[k][0], w->opt->grid_base[k][1], &tx[k], &ty[k]);
        if (!isfinite(tx[k]) || !isfinite(ty[k])) return false;
    }
    for (int order = 1; order <= SIP_ORDER_MAX && *ret_worst > 1e-3; order++) {
        double worst = 0;
        if (!plane_poly_fit(N, u, v, tx, ty, NULL, order, w->size, &p)) return false;
        for (int k = 0; k < N; k++) {
            double x, y;
            plane_poly_at(&p, u[k], v[k], &x, &y);
            worst = fmax(worst, hypot(x - p.cx[0] - tx[k], y - p.cy[0] - ty[k])); /* what SIP cannot hold is counted */
        }
        if (worst >= *ret_worst) continue;
        *ret_worst = worst;
        sip_from_poly(&p, w->opt->scale, s);
    }
    return true;
}

static bool finish(struct work *w, int order, struct fit *f, struct wcsfit_result *r)
{
    if (!recentre(w, order, f)) return false;
    r->sip.crpix[0] = w->cx, r->sip.crpix[1] = w->cy;
    r->sip.crval[0] = w->ra0, r->sip.crval[1] = w->dec0;
    if (w->opt->grid_base) return sip_from_base(w, f, &r->sip, &r->convert_px);
    sip_from_poly(&f->p, w->opt->scale, &r->sip);
    return true;
}

/* A first fit tells where the frame is, so that the orders are asked in the right plane. */
static bool first_look(struct work *w, struct fit *f)
{
    for (int i = 0; i < w->n; i++) w->keep[i] = true;
    w->scatter = 1;
    weigh(w);
    return recentre(w, 1, f);
}

enum err wcsfit_solve(const struct wcsfit_pair *pairs, int n, const struct wcsfit_options *opt, struct wcsfit_result *ret, double *residual, bool *kept,
                      struct error *err)
{
    struct work w = {.n = n, .pairs = pairs, .opt = opt, .ra0 = opt->ra, .dec0 = opt->dec, .cx = (double)(opt->nx - 1) / 2, .cy = (double)(opt->ny - 1) / 2,
                     .size = (double)(opt->nx > opt->ny ? opt->nx : opt->ny) / 2};
    struct choice *c = calloc(1, sizeof *c);
    memset(ret, 0, sizeof *ret);
    ret->n = n;
    if (!c || !work_alloc(&w, n)) {
        free(w.u);
        free(w.keep);
        free(c);
        return ERROR(err, ERR_NOMEM, "no memory to fit %d stars", n);
    }
    choose_base(&w, opt->grid_base != NULL);
    project(&w);
    bool good = n >= 5 && first_look(&w, &c->fit) && choose_order(&w, c) && finish(&w, c->order, &c->fit, ret);
    if (good) {
        residuals(&w, &c->fit);
        ret->order = c->order;
        ret->on_base = opt->grid_base != NULL;
        ret->press_px = sqrt(c->press);
        ret->scatter_px = w.scatter;
        tell_grid(&w, &c->fit, ret);
        tell_residuals(&w, &c->fit, ret, residual, kept);
        fit_inverse(opt, &ret->sip);
    }
    free(w.u);
    free(w.keep);
    free(c);
    return good ? ERR_OK : ERROR(err, ERR_NOT_FOUND, "%d pairs do not determine the coordinates", n);
}
