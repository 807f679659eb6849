/* Light: every source is one point or, for a galaxy, some dozens of points that share its flux; each point is a Moffat
 * stamp. Points are listed by the row blocks they touch, so a block adds its own rows in the order of the list.      */
#include "processors/simulate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/isa.h"
#include "common/tiles.h"
#include "common/units.h"

#define GALAXY_POINTS 64     /* eight rings of eight */
#define GALAXY_RINGS  8
#define CUT_E         0.02   /* wings below this many electrons per pixel are left out */
#define RADIUS_MAX    400.0  /* pixels */

static const struct simulate_kernels *kernels(void)
{
#ifdef NIGHTSHIFT_HAVE_AVX2
    if (isa_level() == ISA_AVX2) return &simulate_kernels_avx2;
#endif
    return &simulate_kernels_generic;
}

struct point {
    double x, y, radius;
    float norm;
    int64_t source;
};

struct entry {
    int64_t point;
    double sum; /* light put into this block */
};

struct drawing {
    int64_t npoint;
    struct point *point;
    int64_t *first;      /* of each block in entry; nblock + 1 */
    struct entry *entry;
    struct sim_moffat shape;
    double core, middle; /* radii inside which a pixel is integrated with 3 x 3 and 2 x 2 nodes */
};

/* ---- profiles ------------------------------------------------------------------------------------------------- */

static double moffat_alpha(const struct sim_psf *psf)
{
    return psf->fwhm_px / (2 * sqrt(pow(2, 1 / psf->beta) - 1));
}

double sim_noise_area(const struct sim_psf *psf)
{
    double a = moffat_alpha(psf), b = psf->beta;
    return PI * a * a * (2 * b - 1) / ((b - 1) * (b - 1));
}

static enum err shape_of(const struct sim_psf *psf, struct drawing *d, struct error *err)
{
    double twice = psf->beta * 2, e2 = psf->e1 * psf->e1 + psf->e2 * psf->e2;
    if (!(twice >= 4 && twice <= 10 && twice == floor(twice)))
        return ERROR(err, ERR_USAGE, "Moffat beta %g is not a multiple of 0.5 from 2 to 5", psf->beta);
    if (!(psf->fwhm_px >= 1 && psf->fwhm_px <= 50) || !(e2 < 0.25))
        return ERROR(err, ERR_USAGE, "seeing of %g pixels is out of range (1 to 50), or ellipticity above 0.5", psf->fwhm_px);
    double a = moffat_alpha(psf), s = 1 / (a * a * sqrt(1 - e2));
    d->shape = (struct sim_moffat){.cxx = (float)((1 - psf->e1) * s), .cyy = (float)((1 + psf->e1) * s),
                                   .cxy = (float)(-2 * psf->e2 * s), .twice_beta = (int)twice};
    d->core = 1.5 * psf->fwhm_px;
    d->middle = 4 * psf->fwhm_px;
    return ERR_OK;
}

static struct point make_point(const struct sim_psf *psf, double x, double y, double flux, int64_t source)
{
    double a = moffat_alpha(psf), norm = flux * (psf->beta - 1) / (PI * a * a);
    double reach = a * pow(fmax(norm, CUT_E) / CUT_E, 0.5 / psf->beta);
    double radius = fmin(fmax(fmax(reach, 6 * a), 8), RADIUS_MAX); /* 6 alpha hold all but 0.1 % at beta 3 */
    return (struct point){.x = x, .y = y, .radius = radius, .norm = (float)norm, .source = source};
}

/* Radius in units of the half-light radius that holds a share of the light, by the profile's own sum over rings. */
static void sersic_radii(double n, const double *share, int count, double *ret)
{
    double b = 2 * n - 1.0 / 3 + 4 / (405 * n), sum[400], total = 0; /* Ciotti & Bertin 1999, equation 18 */
    for (int i = 0; i < 400; i++) { /* r = 0.0005 * 1.03^i: to 66 half-light radii */
        double r = 0.0005 * pow(1.03, i);
        total += exp(-b * pow(r, 1 / n)) * r * r;
        sum[i] = total;
    }
    for (int k = 0; k < count; k++) {
        int i = 0;
        while (i < 399 && sum[i] < share[k] * total) i++;
        ret[k] = 0.0005 * pow(1.03, i);
    }
}

/* A galaxy as rings of equal flux, turned against each other; the seeing blends them. */
static void galaxy_points(const struct sim_source *s, const struct sim_psf *psf, int64_t source, struct point *ret)
{
    double share[GALAXY_RINGS], radius[GALAXY_RINGS];
    for (int r = 0; r < GALAXY_RINGS; r++) share[r] = (r + 0.5) / GALAXY_RINGS;
    sersic_radii(fmin(fmax(s->sersic_n, 0.5), 6), share, GALAXY_RINGS, radius);
    double c = cos(s->angle_deg * RAD_PER_DEG), sn = sin(s->angle_deg * RAD_PER_DEG), q = fmin(fmax(s->axis_ratio, 0.1), 1);
    int per_ring = GALAXY_POINTS / GALAXY_RINGS;
    for (int r = 0; r < GALAXY_RINGS; r++)
        for (int k = 0; k < per_ring; k++) {
            double angle = 2 * PI * (k + 0.381966 * r) / per_ring; /* the golden section keeps spokes from forming */
            double along = radius[r] * s->re_px / sqrt(q) * cos(angle), across = radius[r] * s->re_px * sqrt(q) * sin(angle);
            ret[r * per_ring + k] = make_point(psf, s->x + along * c - across * sn, s->y + along * sn + across * c,
                                               s->flux / GALAXY_POINTS, source);
        }
}

/* ---- drawing -------------------------------------------------------------------------------------------------- */

static bool rows_of(const struct point *p, int64_t nx, int64_t ny, int64_t *y0, int64_t *y1)
{
    if (!(p->x + p->radius >= 0 && p->x - p->radius <= (double)nx - 1)) return false;
    if (!(p->y + p->radius >= 0 && p->y - p->radius <= (double)ny - 1)) return false;
    *y0 = (int64_t)fmax(ceil(p->y - p->radius), 0);
    *y1 = (int64_t)fmin(floor(p->y + p->radius), (double)ny - 1) + 1;
    return *y0 < *y1;
}

static enum err make_points(const struct sim_scene *s, struct drawing *d, struct error *err)
{
    int64_t n = 0;
    for (int64_t i = 0; i < s->nsource; i++) n += s->source[i].re_px > 0 ? GALAXY_POINTS : 1;
    d->point = mem_array((size_t)n, sizeof *d->point);
    if (!d->point) return ERROR(err, ERR_NOMEM, "no memory for %lld points of light", (long long)n);
    for (int64_t i = 0; i < s->nsource; i++) {
        const struct sim_source *o = &s->source[i];
        if (o->re_px > 0) {
            galaxy_points(o, &s->psf, i, d->point + d->npoint);
            d->npoint += GALAXY_POINTS;
        } else {
            d->point[d->npoint++] = make_point(&s->psf, o->x, o->y, o->flux, i);
        }
    }
    return ERR_OK;
}

/* Count, sum, fill: entries of a block stand together, in the order of the points. */
static enum err list_blocks(const struct sim_scene *s, struct drawing *d, struct error *err)
{
    int64_t nblock = row_blocks(s->ny), y0, y1;
    d->first = mem_zarray((size_t)nblock + 1, sizeof *d->first);
    int64_t *cursor = mem_zarray((size_t)nblock + 1, sizeof *cursor);
    if (!d->first || !cursor) goto no_memory;
    for (int64_t i = 0; i < d->npoint; i++)
        if (rows_of(&d->point[i], s->nx, s->ny, &y0, &y1))
            for (int64_t b = y0 / TILE_ROWS; b <= (y1 - 1) / TILE_ROWS; b++) d->first[b + 1]++;
    for (int64_t b = 0; b < nblock; b++) d->first[b + 1] += d->first[b];
    memcpy(cursor, d->first, (size_t)(nblock + 1) * sizeof *cursor);
    d->entry = mem_array((size_t)d->first[nblock], sizeof *d->entry);
    if (!d->entry) goto no_memory;
    for (int64_t i = 0; i < d->npoint; i++)
        if (rows_of(&d->point[i], s->nx, s->ny, &y0, &y1))
            for (int64_t b = y0 / TILE_ROWS; b <= (y1 - 1) / TILE_ROWS; b++) d->entry[cursor[b]++] = (struct entry){.point = i};
    free(cursor);
    return ERR_OK;
no_memory:
    free(cursor);
    return ERROR(err, ERR_NOMEM, "no memory for %lld stamps", (long long)d->npoint);
}

/* Pixels [x0, x1] of a row, clipped to the image. */
static double draw_run(const struct sim_moffat *m, int order, const struct point *p, double y, double x0, double x1, int64_t nx,
                       float *row)
{
    int64_t from = (int64_t)fmax(x0, 0), to = (int64_t)fmin(x1, (double)nx - 1);
    if (x1 < 0 || to < from) return 0;
    return kernels()->moffat(m, order, (float)((double)from - p->x), (float)(y - p->y), to - from + 1, row + from);
}

/* One row of a stamp: wings, ring, core, ring, wings. */
static double draw_row(const struct drawing *d, const struct sim_moffat *m, const struct point *p, int64_t y, int64_t nx, float *row)
{
    double dy = (double)y - p->y, radii[3] = {p->radius, fmin(d->middle, p->radius), fmin(d->core, p->radius)}, sum = 0;
    double left[4], right[4]; /* pixels [left[k], right[k]] are within radii[k] */
    for (int k = 0; k < 3; k++) {
        double h2 = radii[k] * radii[k] - dy * dy;
        left[k] = h2 > 0 ? ceil(p->x - sqrt(h2)) : INFINITY;
        right[k] = h2 > 0 ? floor(p->x + sqrt(h2)) : -INFINITY;
    }
    if (left[0] > right[0]) return 0;
    for (int k = 0; k < 3; k++) {
        bool inner = k < 2 && left[k + 1] <= right[k + 1];
        if (left[k] > right[k]) break;
        if (!inner) return sum + draw_run(m, k + 1, p, (double)y, left[k], right[k], nx, row);
        sum += draw_run(m, k + 1, p, (double)y, left[k], left[k + 1] - 1, nx, row);
        sum += draw_run(m, k + 1, p, (double)y, right[k + 1] + 1, right[k], nx, row);
    }
    return sum;
}

static void draw_sky(const struct sim_scene *s, int64_t y, float *row)
{
    double base = s->sky_e * (1 + s->slope_y * ((double)y / (double)s->ny - 0.5));
    double slope = s->sky_e * s->slope_x / (double)s->nx;
    float from = (float)(base - slope * (double)s->nx / 2), step = (float)slope;
    for (int64_t x = 0; x < s->nx; x++) row[x] = from + step * (float)x;
}

static void draw_streak(const struct sim_scene *s, const struct sim_streak *k, int64_t y, float *row, mask_t *truth)
{
    double c = cos(k->angle_rad), sn = sin(k->angle_rad), reach = 5 * k->sigma_px;
    double middle = fabs(sn) > 1e-9 ? k->x + ((double)y - k->y) * c / sn : (double)s->nx / 2; /* where it crosses the row */
    double half = fabs(sn) > 1e-9 ? reach / fabs(sn) : INFINITY;
    int64_t x0 = (int64_t)fmax(middle - half, 0), x1 = (int64_t)fmin(middle + half, (double)s->nx - 1);
    for (int64_t x = x0; x <= x1; x++) {
        double away = (((double)x - k->x) * sn - ((double)y - k->y) * c) / k->sigma_px;
        double e = k->peak_e * exp(-0.5 * away * away);
        row[x] += (float)e;
        if (truth && e > 1) truth[x] |= MASK_STREAK;
    }
}

static void draw_block(const struct sim_scene *s, const struct drawing *d, int64_t b, float *plane, mask_t *truth)
{
    int64_t y0, y1;
    row_block(s->ny, b, &y0, &y1);
    for (int64_t y = y0; y < y1; y++) {
        draw_sky(s, y, plane + y * s->nx);
        for (int k = 0; k < s->nstreak; k++) draw_streak(s, &s->streak[k], y, plane + y * s->nx, truth ? truth + y * s->nx : NULL);
    }
    for (int64_t i = d->first[b]; i < d->first[b + 1]; i++) {
        struct entry *e = &d->entry[i];
        const struct point *p = &d->point[e->point];
        struct sim_moffat m = d->shape;
        int64_t from = (int64_t)fmax((double)y0, ceil(p->y - p->radius)), to = (int64_t)fmin((double)y1 - 1, floor(p->y + p->radius));
        m.norm = p->norm;
        for (int64_t y = from; y <= to; y++) e->sum += draw_row(d, &m, p, y, s->nx, plane + y * s->nx);
    }
}

enum err sim_light(const struct sim_scene *scene, float *plane, double *flux_stamp, mask_t *truth, struct error *err)
{
    struct drawing d = {0};
    enum err rc = shape_of(&scene->psf, &d, err);
    if (rc == ERR_OK) rc = make_points(scene, &d, err);
    if (rc == ERR_OK) rc = list_blocks(scene, &d, err);
    if (rc == ERR_OK) {
        int64_t nblock = row_blocks(scene->ny);
        /* A block writes its own rows of plane and truth, and the sums of its own entries. */
#pragma omp parallel for schedule(dynamic, 1) default(none) shared(scene, d, plane, truth, nblock)
        for (int64_t b = 0; b < nblock; b++) draw_block(scene, &d, b, plane, truth);
        if (flux_stamp) {
            memset(flux_stamp, 0, (size_t)scene->nsource * sizeof *flux_stamp);
            for (int64_t i = 0; i < d.first[nblock]; i++) flux_stamp[d.point[d.entry[i].point].source] += d.entry[i].sum;
        }
    }
    free(d.point);
    free(d.first);
    free(d.entry);
    return rc;
}
