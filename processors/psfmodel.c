#include "processors/psfmodel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/isa.h"
#include "common/units.h"
#include "processors/psfmodel_internal.h"
#include "processors/psfmodel_kernels.h"

#define NODES_PER_FWHM 6.0 /* a cubic spline then follows a Gaussian to 1e-4 of its peak */
#define REACH_FWHM     4.0 /* of the grid */
#define TOTAL_FWHM     10.0 /* beyond are 0.01 % of a Moffat profile of beta 3 */
#define LEAD           8   /* zeros before the first node of each phase, so that vectors may begin left of it */
#define MARGIN         2   /* nodes around the outermost pixel that its spline reaches */

const struct psfmodel_kernels *psfmodel_kernels_now(void)
{
#ifdef NIGHTSHIFT_HAVE_AVX2
    if (isa_level() == ISA_AVX2) return &psfmodel_kernels_avx2;
#endif
    return &psfmodel_kernels_generic;
}

struct psf_options psf_options_default(void)
{
    return (struct psf_options){.max_stars = 256, .degree = PSF_DEGREE_MAX, .snr_min = 20, .saturate = INFINITY};
}

enum err psf_options_verify(const struct psf_options *o, struct error *err)
{
    if (o->max_stars < 16 || o->max_stars > 2000) return ERROR(err, ERR_SETTINGS, "%d stars for the PSF: 16 to 2000 are possible", o->max_stars);
    if (o->degree < 0 || o->degree > PSF_DEGREE_MAX) return ERROR(err, ERR_SETTINGS, "a PSF of degree %d: 0 to %d are possible", o->degree, PSF_DEGREE_MAX);
    if (!(o->snr_min >= 5)) return ERROR(err, ERR_SETTINGS, "PSF stars of S/N %g: at least 5 is possible", o->snr_min);
    if (!(o->fwhm >= 0 && o->fwhm <= 40)) return ERROR(err, ERR_SETTINGS, "a PSF width of %g pixels: 0 to 40 are possible", o->fwhm);
    return ERR_OK;
}

void psfmodel_init(struct psf_model *m)
{
    *m = (struct psf_model){0};
}

void psfmodel_release(struct psf_model *m)
{
    free(m->coef);
    free(m->disc);
    psfmodel_init(m);
}

/* ---- geometry ----------------------------------------------------------------------------------------------------- */

static int clamp_int(double v, int low, int high)
{
    return v < low ? low : v > high ? high : (int)v;
}

/* Node 0 stands so far left of the star that the spline of the outermost pixel, half a pixel off, finds its nodes. */
static int centre_node(const struct psf_model *m)
{
    return m->over * m->half + (m->over + 1) / 2 + MARGIN;
}

/* Where node (i, j) is kept. */
static int64_t node_at(const struct psf_model *m, int i, int j)
{
    return (int64_t)j * m->pitch + i % m->over * m->lane + LEAD + i / m->over;
}

void psf_geometry(struct psf_model *m, double fwhm)
{
    m->over = clamp_int(ceil(NODES_PER_FWHM / fwhm), 1, PSF_OVER_MAX);
    m->half = clamp_int(ceil(REACH_FWHM * fwhm), 8, PSF_HALF_MAX);
    m->nodes = 2 * centre_node(m) + 1;
    m->lane = LEAD + (m->nodes / m->over + 1 + 7) / 8 * 8 + 16; /* vectors read past the last node */
    m->pitch = m->over * m->lane;
    m->radius_total = fmax(TOTAL_FWHM * fwhm, m->half + 1.0);
}

/* ---- evaluation --------------------------------------------------------------------------------------------------- */

void psf_polynomial(const struct psf_model *m, double x, double y, float *ret)
{
    double u = (x - m->x0) / m->scale, v = (y - m->y0) / m->scale;
    int k = 0;
    for (int d = 0; d <= m->degree; d++)
        for (int j = 0; j <= d; j++) {
            double t = 1;
            for (int i = 0; i < d - j; i++) t *= u;
            for (int i = 0; i < j; i++) t *= v;
            ret[k++] = (float)t;
        }
}

/* Cubic B-spline at the four nodes around a place f in [0, 1) of its cell, and its slopes. */
static void spline_weights(double f, float w[4], float g[4])
{
    double r = 1 - f;
    w[0] = (float)(r * r * r / 6);
    w[1] = (float)((4 - 6 * f * f + 3 * f * f * f) / 6);
    w[2] = (float)((4 - 6 * r * r + 3 * r * r * r) / 6);
    w[3] = (float)(f * f * f / 6);
    g[0] = (float)(-r * r / 2);
    g[1] = (float)(-2 * f + 1.5 * f * f);
    g[2] = (float)(2 * r - 1.5 * r * r);
    g[3] = (float)(f * f / 2);
}

/* First node and weights for pixels from `from` on, star at d. Slopes are those of a moving star. */
static int place_taps(const struct psf_model *m, double d, int from, float w[4], float g[4])
{
    double t = m->over * (from - d) + centre_node(m), cell = floor(t);
    spline_weights(t - cell, w, g);
    for (int k = 0; k < 4; k++) g[k] *= (float)-m->over;
    return (int)cell - 1;
}

void psf_local_init(struct psf_local *l)
{
    *l = (struct psf_local){0};
}

void psf_local_release(struct psf_local *l)
{
    free(l->coef);
    psf_local_init(l);
}

static enum err local_of(struct psf_local *l, const struct psf_model *m, const float *planes, double x, double y, int reach, struct error *err)
{
    int64_t plane = (int64_t)m->nodes * m->pitch;
    float poly[PSF_TERMS_MAX];
    if (l->floats < plane + PSF_SCRATCH) {
        float *memory = mem_zarray((size_t)(plane + PSF_SCRATCH), sizeof *memory);
        if (!memory) return ERROR(err, ERR_NOMEM, "no memory for a PSF of %d x %d nodes", m->nodes, m->nodes);
        free(l->coef);
        l->coef = memory;
        l->floats = plane + PSF_SCRATCH;
    }
    l->model = m;
    l->scratch = l->coef + (l->floats - PSF_SCRATCH);
    if (reach > m->half) reach = m->half;
    int away = m->over * reach + (m->over + 1) / 2 + MARGIN;
    l->row0 = centre_node(m) - away;
    l->row1 = centre_node(m) + away + 1;
    psf_polynomial(m, x, y, poly);
    double total = m->wing;
    for (int k = 0; k < m->terms; k++) total += (double)poly[k] * m->sum[k];
    if (total > 0)
        for (int k = 0; k < m->terms; k++) poly[k] = (float)((double)poly[k] / total);
    int64_t from = (int64_t)l->row0 * m->pitch;
    psfmodel_kernels_now()->combine(planes + from, plane, m->terms, poly, (int64_t)(l->row1 - l->row0) * m->pitch, l->coef + from);
    return ERR_OK;
}

enum err psf_local_at(struct psf_local *l, const struct psf_model *m, double x, double y, int reach, struct error *err)
{
    return local_of(l, m, m->coef, x, y, reach, err);
}

enum err psf_local_disc(struct psf_local *l, const struct psf_model *m, double x, double y, int reach, struct error *err)
{
    return local_of(l, m, m->disc, x, y, reach, err);
}

/* Columns [from, to) of each row become 0. */
static void blank(int from, int to, int ny, int stride, float *p)
{
    for (int y = 0; p && y < ny && from < to; y++) memset(p + (int64_t)y * stride + from, 0, (size_t)(to - from) * sizeof *p);
}

void psf_stamp(const struct psf_local *l, double dx, double dy, int i0, int i1, int j0, int j1, int stride, float *p, float *px, float *py)
{
    const struct psf_model *m = l->model;
    float *out[3] = {p, px, py};
    if (!(fabs(dx) < 1e4 && fabs(dy) < 1e4)) { /* nowhere near, or nowhere: no light */
        for (int k = 0; k < 3; k++) blank(0, stride, j1 - j0, stride, out[k]);
        return;
    }
    int kx = (int)floor(dx + 0.5), ky = (int)floor(dy + 0.5); /* a star off its pixel: the rectangle moves instead */
    dx -= kx, i0 -= kx, i1 -= kx;
    dy -= ky, j0 -= ky, j1 -= ky;
    int reach = (l->row1 - l->row0 - 1 - (m->over + 1) / 2 * 2 - 2 * MARGIN) / (2 * m->over);
    int a0 = i0 < -m->half ? -m->half : i0, a1 = i1 > m->half + 1 ? m->half + 1 : i1;
    int b0 = j0 < -reach ? -reach : j0, b1 = j1 > reach + 1 ? reach + 1 : j1;
    int start = i0 + (a0 - i0) / 8 * 8; /* whole vectors are written, then cut to size */
    bool cut = a0 > i0 || a1 < i1 || b0 > j0 || b1 < j1;
    for (int k = 0; k < 3 && cut; k++) blank(0, stride, j1 - j0, stride, out[k]);
    if (a0 >= a1 || b0 >= b1) return;
    struct psf_query q = {.coef = l->coef, .over = m->over, .lane = m->lane, .pitch = m->pitch, .nx = a1 - start, .ny = b1 - b0, .stride = stride};
    q.column = place_taps(m, dx, start, q.wx, q.gx) + LEAD * m->over;
    q.row = place_taps(m, dy, b0, q.wy, q.gy);
    int64_t at = (int64_t)(b0 - j0) * stride + (start - i0);
    psfmodel_kernels_now()->stamp(&q, l->scratch, p + at, px ? px + at : NULL, py ? py + at : NULL);
    for (int k = 0; k < 3 && cut; k++) {
        blank(0, a0 - i0, j1 - j0, stride, out[k]);
        if (a1 < i1) blank(a1 - i0, stride, j1 - j0, stride, out[k]);
    }
}

void psf_stamp_adjoint(const struct psf_local *l, double dx, double dy, int stride, const float *residual, float *coef)
{
    const struct psf_model *m = l->model;
    int n = 2 * m->half + 1, ky = (int)floor(dy + 0.5), b0 = ky > 0 ? 0 : -ky, b1 = ky > 0 ? n - ky : n; /* rows of the grid */
    struct psf_query q = {.over = m->over, .lane = m->lane, .pitch = m->pitch, .nx = n, .ny = b1 - b0, .stride = stride};
    q.column = place_taps(m, dx, -m->half, q.wx, q.gx) + LEAD * m->over;
    q.row = place_taps(m, dy - ky, b0 - m->half, q.wy, q.gy);
    psfmodel_kernels_now()->adjoint(&q, l->scratch, residual + (int64_t)(b0 + ky) * stride, coef);
}

enum err psfmodel_stamp(const struct psf_model *m, double x, double y, double dx, double dy, float *out, int size, struct error *err)
{
    struct psf_local l;
    if (size < 1 || size % 2 == 0) return ERROR(err, ERR_SHAPE, "a PSF stamp of %d pixels has no middle", size);
    int half = size / 2, reach = half < m->half ? half : m->half, n = 2 * reach + 1, stride = (n + 7) / 8 * 8;
    float *p = mem_array((size_t)n * (size_t)stride, sizeof *p);
    psf_local_init(&l);
    enum err e = p ? psf_local_at(&l, m, x, y, reach, err) : ERROR(err, ERR_NOMEM, "no memory for a PSF stamp");
    if (!e) {
        psf_stamp(&l, dx, dy, -reach, reach + 1, -reach, reach + 1, stride, p, NULL, NULL);
        memset(out, 0, (size_t)size * (size_t)size * sizeof *out);
        for (int j = 0; j < n; j++)
            memcpy(out + (int64_t)(j + half - reach) * size + half - reach, p + (int64_t)j * stride, (size_t)n * sizeof *out);
    }
    psf_local_release(&l);
    free(p);
    return e;
}

double psfmodel_noise_area(const struct psf_model *m, double x, double y)
{
    int size = 2 * m->half + 1;
    float *p = mem_array((size_t)size * (size_t)size, sizeof *p);
    double sum = 0;
    if (p && !psfmodel_stamp(m, x, y, 0, 0, p, size, NULL))
        for (int64_t i = 0; i < (int64_t)size * size; i++) sum += (double)p[i] * (double)p[i];
    free(p);
    return sum > 0 ? 1 / sum : 0;
}

/* ---- the analytic profile ----------------------------------------------------------------------------------------- */

static double moffat_scale(const struct psf_profile *p)
{
    return p->fwhm / (2 * sqrt(expm1(log(2.0) * p->inv_beta)));
}

double psf_profile_inside(const struct psf_profile *p, double radius)
{
    double a = moffat_scale(p);
    return -expm1((1 - 1 / p->inv_beta) * log1p(radius * radius / (a * a)));
}

/* A Moffat profile at points around (u, v), averaged over the pixel: Gauss-Legendre of as many points as its curvature asks. */
struct moffat {
    double cxx, cyy, cxy, beta, norm, core2, middle2;
};

static struct moffat moffat_of(const struct psf_profile *p)
{
    double a = moffat_scale(p), beta = 1 / p->inv_beta, s = 1 / (a * a * sqrt(1 - p->e1 * p->e1 - p->e2 * p->e2));
    return (struct moffat){(1 - p->e1) * s, (1 + p->e1) * s, -2 * p->e2 * s, beta, (beta - 1) / (PI * a * a),
                           2.25 * p->fwhm * p->fwhm, 9 * p->fwhm * p->fwhm};
}

static double moffat_pixel(const struct moffat *m, double u, double v)
{
    static const double at[3][3] = {{0}, {-0.288675134594813, 0.288675134594813}, {-0.387298334620742, 0, 0.387298334620742}};
    static const double weight[3][3] = {{1}, {0.5, 0.5}, {5.0 / 18, 8.0 / 18, 5.0 / 18}};
    double r2 = u * u + v * v, sum = 0;
    int n = r2 < m->core2 ? 2 : r2 < m->middle2 ? 1 : 0;
    for (int j = 0; j <= n; j++)
        for (int i = 0; i <= n; i++) {
            double x = u + at[n][i], y = v + at[n][j];
            sum += weight[n][i] * weight[n][j] * exp(-m->beta * log1p(m->cxx * x * x + m->cyy * y * y + m->cxy * x * y));
        }
    return m->norm * sum;
}

/* Coefficients of the cubic B-spline through n samples s apart: one recursion each way (Unser 1999, IEEE SPM 16, 22), 0 beyond. */
static void spline_filter(double *v, int n, int64_t s)
{
    const double z = sqrt(3.0) - 2;
    for (int i = 1; i < n; i++) v[i * s] += z * v[(i - 1) * s];
    v[(n - 1) * s] *= -z / (1 - z * z);
    for (int i = n - 2; i >= 0; i--) v[i * s] = z * (v[(i + 1) * s] - v[i * s]);
    for (int i = 0; i < n; i++) v[i * s] *= 6;
}

enum err psf_profile_coefs(const struct psf_model *m, const struct psf_profile *p, int count, float *ret, struct error *err)
{
    int n = m->nodes, c = centre_node(m);
    int64_t nn = (int64_t)n * n, plane = (int64_t)n * m->pitch;
    double *v = mem_array((size_t)nn * (size_t)count, sizeof *v);
    if (!v) return ERROR(err, ERR_NOMEM, "no memory for a PSF of %d x %d nodes", n, n);
    /* the profile is the same turned by 180 degrees: half of the rows, each written by one thread with its twin */
#pragma omp parallel for default(none) shared(p, n, nn, c, v, m, count) schedule(static)
    for (int row = 0; row < count * (c + 1); row++) {
        const struct moffat f = moffat_of(&p[row / (c + 1)]);
        int j = row % (c + 1);
        double *to = v + row / (c + 1) * nn;
        for (int i = 0; i < n; i++) {
            double value = moffat_pixel(&f, (double)(i - c) / m->over, (double)(j - c) / m->over);
            to[(int64_t)j * n + i] = value;
            to[(int64_t)(n - 1 - j) * n + (n - 1 - i)] = value;
        }
    }
    memset(ret, 0, (size_t)count * (size_t)plane * sizeof *ret);
    for (int k = 0; k < count; k++) {
        double *from = v + k * nn;
        for (int j = 0; j < n; j++) spline_filter(from + (int64_t)j * n, n, 1);
        for (int i = 0; i < n; i++) spline_filter(from + i, n, n);
        for (int j = 0; j < n; j++)
            for (int i = 0; i < n; i++) ret[k * plane + node_at(m, i, j)] = (float)from[(int64_t)j * n + i];
    }
    free(v);
    return ERR_OK;
}

/* ---- the whole ---------------------------------------------------------------------------------------------------- */

/* Light of one plane of coefficients: each node's spline holds one over^2-th. */
static double light_of(const struct psf_model *m, const float *coef)
{
    double sum = 0;
    for (int64_t i = 0; i < (int64_t)m->nodes * m->pitch; i++) sum += (double)coef[i];
    return sum / (m->over * m->over);
}

/* The Laplacian of n x n values a apart from their neighbours, isotropic to the fourth order (nine points); 0 at the rim. */
static void laplacian(const double *v, int n, double a, double *ret)
{
    memset(ret, 0, (size_t)n * (size_t)n * sizeof *ret);
    for (int j = 1; j < n - 1; j++)
        for (int i = 1; i < n - 1; i++) {
            const double *c = v + (int64_t)j * n + i;
            double sides = c[1] + c[-1] + c[n] + c[-n], corners = c[n + 1] + c[n - 1] + c[1 - n] + c[-n - 1];
            ret[(int64_t)j * n + i] = (4 * sides + corners - 20 * *c) / (6 * a * a);
        }
}

/* Blur by an exponential disc of scale s, minus 1: 1.5 s^2 D + 1.875 s^4 D^2, where D is the Laplacian; the nine points give
 * D + a^2/12 D^2, whose second part is taken off. */
static enum err disc_planes(struct psf_model *m, struct error *err)
{
    int n = m->nodes;
    int64_t nn = (int64_t)n * n, plane = (int64_t)n * m->pitch;
    double a = 1.0 / m->over, s2 = m->fwhm * m->fwhm / 256, second = 1.5 * s2, fourth = 1.875 * s2 * s2 - 1.5 * s2 * a * a / 12;
    double *v = mem_array((size_t)nn * 3, sizeof *v), *d1 = v ? v + nn : NULL, *d2 = v ? v + 2 * nn : NULL;
    free(m->disc);
    m->disc = mem_zarray((size_t)m->terms * (size_t)plane, sizeof *m->disc);
    enum err e = v && m->disc ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory for a PSF of %d terms", m->terms);
    for (int k = 0; k < m->terms && !e; k++) {
        for (int j = 0; j < n; j++)
            for (int i = 0; i < n; i++) v[(int64_t)j * n + i] = (double)m->coef[k * plane + node_at(m, i, j)];
        laplacian(v, n, a, d1);
        laplacian(d1, n, a, d2);
        for (int j = 0; j < n; j++)
            for (int i = 0; i < n; i++) m->disc[k * plane + node_at(m, i, j)] = (float)(second * d1[(int64_t)j * n + i] + fourth * d2[(int64_t)j * n + i]);
    }
    free(v);
    return e;
}

enum err psf_finish(struct psf_model *m, const struct psf_profile *p, struct error *err)
{
    int64_t plane = (int64_t)m->nodes * m->pitch;
    double e = hypot(p->e1, p->e2);
    float *base = mem_array((size_t)plane, sizeof *base);
    if (!base) return ERROR(err, ERR_NOMEM, "no memory for a PSF of %d x %d nodes", m->nodes, m->nodes);
    enum err code = psf_profile_coefs(m, p, 1, base, err);
    if (!code) {
        m->profile = *p;
        m->fwhm = p->fwhm;
        m->beta = 1 / p->inv_beta;
        m->e1 = p->e1;
        m->e2 = p->e2;
        m->ellipticity = 1 - sqrt((1 - e) / (1 + e));
        m->theta_rad = 0.5 * atan2(p->e2, p->e1);
        m->wing = fmax(psf_profile_inside(p, m->radius_total) - light_of(m, base), 0);
        for (int k = 0; k < m->terms; k++) m->sum[k] = light_of(m, m->coef + k * plane);
        m->noise_area = psfmodel_noise_area(m, m->x0, m->y0);
        if (!(m->noise_area > 0)) code = ERROR(err, ERR_NOMEM, "no memory for a PSF stamp");
        if (!code) code = disc_planes(m, err);
    }
    free(base);
    return code;
}

enum err psfmodel_analytic(int64_t nx, int64_t ny, double fwhm, double beta, double e1, double e2, struct psf_model *ret, struct error *err)
{
    struct psf_profile p = {fwhm, 1 / fmin(beta, 50), e1, e2};
    if (!(fwhm >= 0.5 && fwhm <= 60 && beta >= 1.5 && hypot(e1, e2) < 0.8))
        return ERROR(err, ERR_SETTINGS, "no PSF has a width of %g pixels, beta %g and ellipticities %g, %g", fwhm, beta, e1, e2);
    struct psf_model m = {.nx = nx, .ny = ny, .terms = 1, .x0 = 0.5 * (double)(nx - 1), .y0 = 0.5 * (double)(ny - 1), .scale = 0.5 * (double)(nx > ny ? nx : ny)};
    psf_geometry(&m, fwhm);
    m.coef = mem_array((size_t)m.nodes * (size_t)m.pitch, sizeof *m.coef);
    enum err e = m.coef ? psf_profile_coefs(&m, &p, 1, m.coef, err) : ERROR(err, ERR_NOMEM, "no memory for a PSF");
    if (!e) e = psf_finish(&m, &p, err);
    if (e) {
        psfmodel_release(&m);
        return e;
    }
    psfmodel_release(ret);
    *ret = m;
    return ERR_OK;
}

/* ---- growth ------------------------------------------------------------------------------------------------------- */

/* Share of a pixel at (dx, dy) inside the circle: 5 x 5 points, as the apertures of photometry.h. */
static double covered(double dx, double dy, double radius)
{
    double r = hypot(dx, dy);
    int in = 0;
    if (r < radius - 0.75) return 1;
    if (r > radius + 0.75) return 0;
    for (int j = -2; j <= 2; j++)
        for (int i = -2; i <= 2; i++) {
            double x = dx + 0.2 * i, y = dy + 0.2 * j;
            in += x * x + y * y <= radius * radius;
        }
    return in / 25.0;
}

static double sum_circle_of(const float *p, int half, double dx, double dy, double radius)
{
    int size = 2 * half + 1;
    double sum = 0;
    for (int j = 0; j < size; j++)
        for (int i = 0; i < size; i++) sum += (double)p[(int64_t)j * size + i] * covered(i - half - dx, j - half - dy, radius);
    return sum;
}

enum err psfmodel_growth(const struct psf_model *m, double x, double y, const double *radius, int n, double *ret, struct error *err)
{
    int size = 2 * m->half + 1;
    float *p = mem_array((size_t)size * (size_t)size, sizeof *p);
    if (!p) return ERROR(err, ERR_NOMEM, "no memory for a PSF stamp");
    enum err e = ERR_OK;
    memset(ret, 0, (size_t)n * sizeof *ret);
    for (int phase = 0; phase < 4 && !e; phase++) { /* the mean over places of a star in its pixel */
        double dx = phase & 1 ? 0.25 : -0.25, dy = phase & 2 ? 0.25 : -0.25;
        e = psfmodel_stamp(m, x, y, dx, dy, p, size, err);
        for (int k = 0; k < n && !e; k++) ret[k] += 0.25 * sum_circle_of(p, m->half, dx, dy, fmin(radius[k], m->half - 0.5));
    }
    double total = psf_profile_inside(&m->profile, m->radius_total);
    for (int k = 0; k < n && !e; k++) {
        if (radius[k] < m->half - 0.5) continue;
        double at = psf_profile_inside(&m->profile, fmin(radius[k], m->radius_total)), edge = psf_profile_inside(&m->profile, m->half - 0.5);
        if (total > edge) ret[k] += (1 - ret[k]) * (at - edge) / (total - edge); /* the profile's shape between the grid and the total */
    }
    free(p);
    return e;
}
