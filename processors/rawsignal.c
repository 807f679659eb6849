#include "processors/rawsignal.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/stats.h"

#define CLIP          3.0
#define ROUNDS        5
#define GHOST_SIGMAS  2.0f /* corrections above so many read noises are marked */
#define PARALLEL_MOST 256  /* rows of a parallel overscan looked at */

bool rawsignal_is_needed(const struct rawsignal_options *o)
{
    return o->serial != CURVE_EACH || o->skip > 0 || o->parallel != CURVE_NONE || o->linearity || o->crosstalk || o->nsuspect;
}

void rawsignal_options_release(struct rawsignal_options *o)
{
    free(o->linearity);
    free(o->crosstalk);
    o->linearity = NULL;
    o->crosstalk = NULL;
}

enum err rawsignal_verify(const struct rawsignal_options *o, int namp, struct error *err)
{
    if (o->crosstalk && o->namp_crosstalk != namp)
        return ERROR(err, ERR_USAGE, "a crosstalk matrix of %d amplifiers for a detector of %d", o->namp_crosstalk, namp);
    if (o->nsuspect > 1 && o->nsuspect != namp) return ERROR(err, ERR_USAGE, "%d suspect levels for %d amplifiers", o->nsuspect, namp);
    return ERR_OK;
}

/* ---- curves -------------------------------------------------------------------------------------------------------- */

/* Gaps take the straight line between their neighbours, ends the nearest value. Returned: false without any value. */
static bool fill_gaps(float *v, int64_t n)
{
    int64_t last = -1;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(v[i])) continue;
        for (int64_t k = last + 1; k < i; k++) v[k] = last < 0 ? v[i] : v[last] + (v[i] - v[last]) * (float)(k - last) / (float)(i - last);
        last = i;
    }
    if (last < 0) return false;
    for (int64_t k = last + 1; k < n; k++) v[k] = v[last];
    return true;
}

/* Cholesky solution of a x = b in place; a: m x m, lower triangle used. Returned: false when it is singular. */
static bool solve(double *a, double *b, int m)
{
    for (int i = 0; i < m; i++)
        for (int j = 0; j <= i; j++) {
            double sum = a[i * m + j];
            for (int k = 0; k < j; k++) sum -= a[i * m + k] * a[j * m + k];
            if (i == j && !(sum > 1e-12 * a[i * m + i])) return false;
            a[i * m + j] = i == j ? sqrt(sum) : sum / a[j * m + j];
        }
    for (int i = 0; i < m; i++) {
        for (int k = 0; k < i; k++) b[i] -= a[i * m + k] * b[k];
        b[i] /= a[i * m + i];
    }
    for (int i = m - 1; i >= 0; i--) {
        for (int k = i + 1; k < m; k++) b[i] -= a[k * m + i] * b[k];
        b[i] /= a[i * m + i];
    }
    return true;
}

static void legendre(double t, int m, double *p)
{
    p[0] = 1;
    if (m > 1) p[1] = t;
    for (int k = 2; k < m; k++) p[k] = ((2 * k - 1) * t * p[k - 1] - (k - 1) * p[k - 2]) / k;
}

static double place(int64_t i, int64_t n)
{
    return n > 1 ? 2.0 * (double)i / (double)(n - 1) - 1 : 0;
}

/* Least squares through the values within reach of the model so far. Returned: false when there are too few. */
static bool fit_terms(const float *v, const float *model, double reach, int64_t n, int m, double *b)
{
    double a[(CURVE_ORDER_MAX + 1) * (CURVE_ORDER_MAX + 1)] = {0}, p[CURVE_ORDER_MAX + 1];
    int64_t used = 0;
    for (int k = 0; k < m; k++) b[k] = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(v[i]) || fabs((double)v[i] - model[i]) > reach) continue;
        legendre(place(i, n), m, p);
        for (int j = 0; j < m; j++) {
            b[j] += p[j] * v[i];
            for (int k = 0; k <= j; k++) a[j * m + k] += p[j] * p[k];
        }
        used++;
    }
    return used >= 2 * m && solve(a, b, m);
}

static double scatter_of(const float *v, const float *model, int64_t n, float *work)
{
    int64_t m = 0;
    for (int64_t i = 0; i < n; i++)
        if (isfinite(v[i])) work[m++] = v[i] - model[i];
    return m ? mad_sigma_f32(work, m, 0) : 0;
}

/* work: 2 n */
static void fit_polynomial(int order, float *v, int64_t n, float *work)
{
    float *model = work, *scratch = work + n;
    double b[CURVE_ORDER_MAX + 1], p[CURVE_ORDER_MAX + 1], reach = INFINITY;
    int m = order + 1;
    for (int64_t i = 0; i < n; i++) model[i] = 0;
    for (int round = 0; round < ROUNDS; round++) {
        while (m > 1 && !fit_terms(v, model, reach, n, m, b)) m--;
        if (m == 1 && !fit_terms(v, model, reach, n, 1, b)) break;
        for (int64_t i = 0; i < n; i++) {
            double sum = 0;
            legendre(place(i, n), m, p);
            for (int k = 0; k < m; k++) sum += b[k] * p[k];
            model[i] = (float)sum;
        }
        double sigma = scatter_of(v, model, n, scratch);
        if (!(sigma > 0)) break;
        reach = CLIP * sigma;
    }
    memcpy(v, model, (size_t)n * sizeof *v);
}

/* Natural cubic spline through m knots: second derivatives. Source: the tridiagonal system of de Boor 1978, ch. 4. */
static void spline_bends(const double *x, const double *y, int m, double *bend)
{
    double upper[CURVE_ORDER_MAX + 2];
    bend[0] = upper[0] = 0;
    for (int i = 1; i + 1 < m; i++) {
        double left = x[i] - x[i - 1], both = x[i + 1] - x[i - 1], share = left / both, p = share * bend[i - 1] + 2;
        double turn = (y[i + 1] - y[i]) / (x[i + 1] - x[i]) - (y[i] - y[i - 1]) / left;
        bend[i] = (share - 1) / p;
        upper[i] = (6 * turn / both - share * upper[i - 1]) / p;
    }
    bend[m - 1] = 0;
    for (int i = m - 2; i >= 0; i--) bend[i] = bend[i] * bend[i + 1] + upper[i];
}

/* work: n. Clipped means of `pieces` stretches, a natural spline through their middles; straight beyond them. */
static void fit_spline(int pieces, float *v, int64_t n, float *work)
{
    double x[CURVE_ORDER_MAX + 1], y[CURVE_ORDER_MAX + 1], bend[CURVE_ORDER_MAX + 1];
    int m = 0;
    for (int k = 0; k < pieces; k++) {
        int64_t from = n * k / pieces, to = n * (k + 1) / pieces;
        struct clipped c = clipped_stats_f32(v + from, to - from, work, CLIP, CLIP, ROUNDS);
        if (c.n < 1 || !isfinite(c.mean)) continue;
        x[m] = 0.5 * (double)(from + to - 1);
        y[m++] = c.mean;
    }
    if (m < 2) {
        for (int64_t i = 0; i < n && m; i++) v[i] = (float)y[0];
        return;
    }
    spline_bends(x, y, m, bend);
    int k = 0;
    for (int64_t i = 0; i < n; i++) {
        while (k + 2 < m && (double)i > x[k + 1]) k++;
        double h = x[k + 1] - x[k], b = ((double)i - x[k]) / h, slope = (y[k + 1] - y[k]) / h;
        if (b < 0) v[i] = (float)(y[k] + (slope - h * (2 * bend[k] + bend[k + 1]) / 6) * ((double)i - x[k]));
        else if (b > 1) v[i] = (float)(y[k + 1] + (slope + h * (bend[k] + 2 * bend[k + 1]) / 6) * ((double)i - x[k + 1]));
        else v[i] = (float)((1 - b) * y[k] + b * y[k + 1] + ((pow(1 - b, 3) - (1 - b)) * bend[k] + (b * b * b - b) * bend[k + 1]) * h * h / 6);
    }
}

enum err curve_fit(enum curve kind, int order, float *levels, int64_t n, struct error *err)
{
    order = order < 0 ? 0 : order > CURVE_ORDER_MAX ? CURVE_ORDER_MAX : order;
    float *work = mem_array(2 * (size_t)n + 1, sizeof *work);
    if (!work) return ERROR(err, ERR_NOMEM, "no memory for the overscan of %lld rows", (long long)n);
    bool any = false;
    for (int64_t i = 0; i < n && !any; i++) any = isfinite(levels[i]);
    if (any && kind == CURVE_POLYNOMIAL) fit_polynomial(order, levels, n, work);
    else if (any && kind == CURVE_SPLINE) fit_spline(order < 1 ? 1 : order, levels, n, work);
    if (!fill_gaps(levels, n)) memset(levels, 0, (size_t)n * sizeof *levels);
    free(work);
    return ERR_OK;
}

/* ---- levels of a frame ---------------------------------------------------------------------------------------------- */

static float raw_at(const struct raw_rows *raw, int64_t x, int64_t y)
{
    int64_t at = (y - raw->y0) * raw->nx + x;
    return raw->u16 ? (float)raw->u16[at] : raw->f32[at];
}

/* The amplifier with the overscan columns beside the data left out. */
static struct amp skipped(const struct rawsignal_options *o, const struct amp *a)
{
    struct amp b = *a;
    if (b.overscan.x1 - b.overscan.x0 <= o->skip) return b;
    if (b.overscan.x0 >= b.data.x1) b.overscan.x0 += o->skip;
    else b.overscan.x1 -= o->skip;
    return b;
}

static float row_median(const struct raw_rows *raw, const struct amp *a, int64_t y)
{
    float v[512];
    int64_t n = 0;
    for (int64_t x = a->overscan.x0; x < a->overscan.x1 && n < 512; x++) {
        float value = raw_at(raw, x, y);
        if (isfinite(value)) v[n++] = value;
    }
    return n ? median_f32(v, n) : NAN;
}

/* Levels of the rows of the data section and of the parallel overscan; the curve runs over the data's rows. */
static enum err measure_rows(struct rawsignal *s, const struct raw_rows *raw, int index, struct error *err)
{
    const struct rawsignal_options *o = s->o;
    struct amp a = skipped(o, &s->amps[index]);
    float *level = s->level + (int64_t)index * s->raw_ny;
    if (a.overscan.x1 <= a.overscan.x0 || o->serial == CURVE_NONE) return ERR_OK;
    int64_t y0 = a.data.y0, y1 = a.data.y1;
    if (a.prescan.y1 > a.prescan.y0) { /* one curve over both where they are neighbours */
        if (a.prescan.y0 >= y1) y1 = a.prescan.y1;
        else if (a.prescan.y1 <= y0) y0 = a.prescan.y0;
    }
    for (int64_t y = y0; y < y1; y++) level[y] = o->serial == CURVE_MEDIAN ? row_median(raw, &a, y) : overscan_level(raw, &a, y);
    return curve_fit(o->serial, o->serial_order, level + y0, y1 - y0, err);
}

static enum err measure_columns(struct rawsignal *s, const struct raw_rows *raw, int index, struct error *err)
{
    const struct amp *a = &s->amps[index];
    const float *level = s->level + (int64_t)index * s->raw_ny;
    float *column = s->column + (int64_t)index * s->raw_nx, v[PARALLEL_MOST], work[PARALLEL_MOST];
    int64_t rows = section_ny(a->prescan) < PARALLEL_MOST ? section_ny(a->prescan) : PARALLEL_MOST;
    if (rows < 1) return ERR_OK;
    for (int64_t x = a->data.x0; x < a->data.x1; x++) {
        int64_t n = 0;
        for (int64_t y = a->prescan.y0; y < a->prescan.y0 + rows; y++) {
            float value = raw_at(raw, x, y) - level[y];
            if (isfinite(value)) v[n++] = value;
        }
        if (s->o->parallel == CURVE_MEDIAN) column[x] = n ? median_f32(v, n) : NAN;
        else column[x] = n ? (float)clipped_stats_f32(v, n, work, CLIP, CLIP, ROUNDS).mean : NAN; /* charge left by bright columns is clipped */
    }
    return curve_fit(s->o->parallel, s->o->parallel_order, column + a->data.x0, section_nx(a->data), err);
}

static enum err check_prescan(const struct rawsignal *s, int i, struct error *err)
{
    const struct section *p = &s->amps[i].prescan;
    if (p->y1 <= p->y0 || (p->y0 >= 0 && p->y1 <= s->raw_ny)) return ERR_OK;
    return ERROR(err, ERR_SHAPE, "parallel overscan of amplifier '%s' leaves the stored array", s->amps[i].name);
}

enum err rawsignal_measure(const struct rawsignal_options *o, const struct raw_rows *raw, const struct amp *amps, int namp, struct rawsignal *ret,
                           struct error *err)
{
    assert(raw->y0 == 0);
    struct rawsignal s = {.o = o, .amps = amps, .namp = namp, .raw_nx = raw->nx, .raw_ny = raw->y1};
    enum err code = rawsignal_verify(o, namp, err);
    if (code) return code;
    s.level = mem_zarray((size_t)namp * (size_t)s.raw_ny, sizeof *s.level);
    if (o->parallel != CURVE_NONE) s.column = mem_zarray((size_t)namp * (size_t)s.raw_nx, sizeof *s.column);
    if (!s.level || (o->parallel != CURVE_NONE && !s.column)) code = ERROR(err, ERR_NOMEM, "no memory for the levels of %d amplifiers", namp);
    for (int a = 0; a < namp && !code; a++) {
        code = check_prescan(&s, a, err);
        if (!code) code = measure_rows(&s, raw, a, err);
        if (!code && s.column) code = measure_columns(&s, raw, a, err);
    }
    if (code) rawsignal_release(&s);
    else *ret = s;
    return code;
}

void rawsignal_release(struct rawsignal *s)
{
    free(s->level);
    free(s->column);
    *s = (struct rawsignal){0};
}

/* ---- a row ------------------------------------------------------------------------------------------------------------ */

/* Raw counts above the level of row and column. Returned: the first pixel's place in rows. */
static int64_t above_level(const struct rawsignal *s, const struct raw_rows *rows, int amp, const struct amp_run *run, float *v)
{
    int64_t at = (run->raw_y - rows->y0) * rows->nx + run->raw_x;
    float level = s->level[(int64_t)amp * s->raw_ny + run->raw_y];
    if (rows->u16)
        for (int64_t i = 0; i < run->n; i++) v[i] = (float)rows->u16[at + i] - level;
    else
        for (int64_t i = 0; i < run->n; i++) v[i] = rows->f32[at + i] - level;
    if (s->column) {
        const float *column = s->column + (int64_t)amp * s->raw_nx + run->raw_x;
        for (int64_t i = 0; i < run->n; i++) v[i] -= column[i];
    }
    return at;
}

static bool from_right(const struct rawsignal *s, int a)
{
    const char *corner = s->o->corner[a];
    return corner[0] ? corner[1] == 'r' : s->amps[a].flip_x;
}

static bool from_top(const struct rawsignal_options *o, const struct amp *amps, int a)
{
    return o->corner[a][0] ? o->corner[a][0] == 'u' : amps[a].flip_y;
}

/* Trimmed row -> rows away from the edge the amplifier is read out at, and back. */
static int64_t step_of(const struct rawsignal_options *o, const struct amp *amps, int a, int64_t dest_y)
{
    return from_top(o, amps, a) ? amps[a].dest.y1 - 1 - dest_y : dest_y - amps[a].dest.y0;
}

static int64_t row_of(const struct rawsignal_options *o, const struct amp *amps, int a, int64_t step)
{
    return from_top(o, amps, a) ? amps[a].dest.y1 - 1 - step : amps[a].dest.y0 + step;
}

static void widen(const struct amp *a, int64_t dest_y, int64_t *y0, int64_t *y1)
{
    struct amp_run run;
    if (!amp_run_of_row(a, dest_y, &run)) return;
    if (run.raw_y < *y0) *y0 = run.raw_y;
    if (run.raw_y + 1 > *y1) *y1 = run.raw_y + 1;
}

void rawsignal_ghost_rows(const struct rawsignal_options *o, const struct amp *amps, int namp, int64_t dest_y0, int64_t dest_y1, int64_t *y0,
                          int64_t *y1)
{
    *y0 = INT64_MAX;
    *y1 = 0;
    for (int a = 0; a < namp && o->crosstalk; a++) {
        int64_t from = dest_y0 > amps[a].dest.y0 ? dest_y0 : amps[a].dest.y0, to = dest_y1 < amps[a].dest.y1 ? dest_y1 : amps[a].dest.y1;
        for (int j = 0; j < namp && from < to; j++) {
            if (j == a || o->crosstalk[a * namp + j] == 0.0f) continue;
            int64_t rows = section_ny(amps[j].dest), first = step_of(o, amps, a, from), last = step_of(o, amps, a, to - 1);
            widen(&amps[j], row_of(o, amps, j, first < rows ? first : rows - 1), y0, y1); /* rows follow the steps */
            widen(&amps[j], row_of(o, amps, j, last < rows ? last : rows - 1), y0, y1);
        }
    }
    if (*y0 > *y1) *y0 = *y1;
}

static float saturation_of(const struct amp *a, bool integers)
{
    if (isfinite(a->saturate_adu)) return (float)a->saturate_adu;
    return integers ? 65535.0f : INFINITY;
}

/* Takes one source's share off v and marks what it touches. */
static void take_ghost(const struct rawsignal *s, const struct raw_rows *rows, const struct raw_rows *ghosts, int victim, int source, int64_t step,
                       float share, float *work, float *v, int64_t n, mask_t *marks)
{
    const struct amp *a = &s->amps[source], *own = &s->amps[victim];
    struct amp_run run;
    if (!amp_run_of_row(a, row_of(s->o, s->amps, source, step), &run) || run.n != n) return;
    if (ghosts && (run.raw_y < rows->y0 || run.raw_y >= rows->y1)) rows = ghosts;
    if (run.raw_y < rows->y0 || run.raw_y >= rows->y1) return;
    int64_t at = above_level(s, rows, source, &run, work);
    bool turned = from_right(s, source) != from_right(s, victim);
    float noise = isfinite(own->rdnoise_e) ? (float)(GHOST_SIGMAS * own->rdnoise_e / own->gain_e_per_adu) : INFINITY;
    float full = saturation_of(a, rows->u16 != NULL);
    for (int64_t i = 0; i < n; i++) {
        int64_t k = turned ? n - 1 - i : i;
        float ghost = share * work[k], raw = rows->u16 ? (float)rows->u16[at + k] : rows->f32[at + k];
        if (!(ghost - ghost == 0.0f)) continue; /* a source that is not finite says nothing */
        v[i] -= ghost;
        if (marks && (fabsf(ghost) > noise || raw >= full)) marks[i] |= MASK_CROSSTALK;
    }
}

static void mark_levels(const struct rawsignal *s, const struct raw_rows *rows, int64_t at, int amp, int64_t n, float limit, float *v, mask_t *marks)
{
    float suspect = s->o->nsuspect ? s->o->suspect_adu[s->o->nsuspect > 1 ? amp : 0] : INFINITY;
    for (int64_t i = 0; i < n; i++) {
        float raw = rows->u16 ? (float)rows->u16[at + i] : rows->f32[at + i];
        if (marks) marks[i] = (mask_t)((raw >= limit ? MASK_SATURATED : 0) | (raw >= suspect ? MASK_SUSPECT : 0));
        else if (raw >= limit) v[i] = NAN;
    }
}

void rawsignal_row(const struct rawsignal *s, const struct raw_rows *rows, const struct raw_rows *ghosts, int amp, int64_t dest_y, const struct amp_run *run, float limit_adu,
                   float *work, float *v, mask_t *marks)
{
    const struct rawsignal_options *o = s->o;
    int64_t at = above_level(s, rows, amp, run, v);
    mark_levels(s, rows, at, amp, run->n, limit_adu, v, marks);
    if (o->crosstalk) {
        int64_t step = step_of(o, s->amps, amp, dest_y);
        for (int j = 0; j < s->namp; j++) {
            float share = o->crosstalk[amp * s->namp + j];
            if (j != amp && share != 0.0f) take_ghost(s, rows, ghosts, amp, j, step, share, work, v, run->n, marks);
        }
    }
    if (o->linearity) linearity_apply(&o->linearity[amp], v, run->n);
}
