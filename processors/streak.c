#include "processors/streak.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/stats.h"
#include "common/units.h"

#define BLOCK        8      /* pixels of a block's side */
#define CELL         16     /* blocks of a background cell's side */
#define POINTS_MOST  20000  /* blocks that vote: the threshold rises in crowded fields, so that the time stays bounded */
#define SCORE_LEAST  8.0    /* votes above chance, in sigma */
#define TRIES        24     /* lines looked at */
#define NEAR_SIGMA   2.0f   /* a block on the line that belongs to it */
#define GAP_MOST     5      /* blocks without it in a row */
#define FILL_LEAST   0.75
#define REACH        40     /* pixels of the profile on either side */
#define PIECES       12
#define EVEN_LEAST   0.3    /* faint fifth of the pieces over the bright fifth */
#define EDGE_SHARE   0.1f   /* of the pixel noise: where the mask ends */

static const char *const reason_names[STREAK_REASONS] = {"fades along its length, as a spike or a galaxy", "too wide", "a step", "too faint for its length"};

const char *streak_reason_name(enum streak_reason r)
{
    return reason_names[r];
}

void streak_options_init(struct streak_options *o)
{
    *o = (struct streak_options){.threshold = 3, .min_length = 300};
}

enum err streak_verify(const struct streak_options *o, struct error *err)
{
    if (!(o->threshold >= 1 && o->threshold <= 100)) return ERROR(err, ERR_USAGE, "streaks: a threshold of %g is out of range", o->threshold);
    if (!(o->min_length >= 64 && o->min_length <= 65536)) return ERROR(err, ERR_USAGE, "streaks: a length of %g is out of range", o->min_length);
    return ERR_OK;
}

struct hunt {
    const float *sci;
    mask_t *mask;
    int64_t nx, ny, bx, by;      /* pixels, whole blocks */
    const struct streak_options *o;
    float *snr;                  /* bx * by; NaN: no value */
    float pixel_sigma;           /* of a pixel, from the scatter of the blocks */
    int64_t npoint, nangle, ndistance;
    int32_t *point;              /* blocks that stand out */
    int32_t *votes;              /* nangle * ndistance */
    double *cosine, *sine;
    unsigned char *tried;        /* per angle and distance: not again */
};

/* A line through the image: points (x, y) with x cos + y sin = distance, in blocks or pixels. */
struct line {
    double cosine, sine, distance;
    double from, to; /* along (-sine, cosine) */
};

/* ---- blocks ------------------------------------------------------------------------------------------------------ */

static float block_mean(const struct hunt *h, int64_t bx, int64_t by)
{
    float sum = 0;
    int n = 0;
    for (int64_t y = by * BLOCK; y < (by + 1) * BLOCK; y++)
        for (int64_t i = y * h->nx + bx * BLOCK; i < y * h->nx + (bx + 1) * BLOCK; i++)
            if (!(h->mask[i] & (MASK_UNUSABLE & ~MASK_STREAK))) {
                sum += h->sci[i];
                n++;
            }
    return 2 * n >= BLOCK * BLOCK ? sum / (float)n : NAN;
}

/* Medians of cells of blocks, straight lines between their middles. */
static void subtract_background(const struct hunt *h, float *cell, int64_t cx, int64_t cy)
{
    for (int64_t j = 0; j < cy; j++)
        for (int64_t i = 0; i < cx; i++) {
            float v[CELL * CELL];
            int n = 0;
            for (int64_t y = j * CELL; y < (j + 1) * CELL && y < h->by; y++)
                for (int64_t x = i * CELL; x < (i + 1) * CELL && x < h->bx; x++)
                    if (!isnan(h->snr[y * h->bx + x])) v[n++] = h->snr[y * h->bx + x];
            cell[j * cx + i] = n ? median_f32(v, n) : NAN;
        }
    for (int64_t y = 0; y < h->by; y++)
        for (int64_t x = 0; x < h->bx; x++) {
            double u = ((double)x + 0.5) / CELL - 0.5, v = ((double)y + 0.5) / CELL - 0.5;
            int64_t i = (int64_t)fmin(fmax(floor(u), 0), (double)(cx > 1 ? cx - 2 : 0)), j = (int64_t)fmin(fmax(floor(v), 0), (double)(cy > 1 ? cy - 2 : 0));
            int64_t i1 = i + 1 < cx ? i + 1 : i, j1 = j + 1 < cy ? j + 1 : j;
            double s = fmin(fmax(u - (double)i, 0), 1), t = fmin(fmax(v - (double)j, 0), 1);
            h->snr[y * h->bx + x] -= (float)((1 - t) * ((1 - s) * cell[j * cx + i] + s * cell[j * cx + i1]) + t * ((1 - s) * cell[j1 * cx + i] + s * cell[j1 * cx + i1]));
        }
}

/* Returned: false when there is nothing to scale with. work: bx * by */
static bool scale_blocks(struct hunt *h, float *work)
{
    int64_t n = 0;
    for (int64_t i = 0; i < h->bx * h->by; i++)
        if (!isnan(h->snr[i])) work[n++] = h->snr[i];
    float sigma = n ? mad_sigma_f32(work, n, 0) : 0;
    h->pixel_sigma = sigma * BLOCK;
    if (!(sigma > 0) || 2 * n < h->bx * h->by) return false;
    for (int64_t i = 0; i < h->bx * h->by; i++) h->snr[i] /= sigma;
    return true;
}

static bool stands_near(const struct hunt *h, int64_t x, int64_t y, int64_t reach)
{
    for (int64_t j = y - reach; j <= y + reach; j++)
        for (int64_t i = x - reach; i <= x + reach; i++)
            if (i >= 0 && j >= 0 && i < h->bx && j < h->by && h->snr[j * h->bx + i] > NEAR_SIGMA) return true;
    return false;
}

/* Do blocks 3 and 6 away on both sides stand out too, in any direction? Those of a line do, those of a star do not. */
static bool has_direction(const struct hunt *h, int64_t x, int64_t y)
{
    for (int k = 0; k < 12; k++) {
        int dx = k < 7 ? k - 3 : 3, dy = k < 7 ? 3 : k - 9; /* half of the ring of 7 x 7 */
        if (stands_near(h, x + dx, y + dy, 0) && stands_near(h, x - dx, y - dy, 0) && stands_near(h, x + 2 * dx, y + 2 * dy, 1) &&
            stands_near(h, x - 2 * dx, y - 2 * dy, 1))
            return true;
    }
    return false;
}

static void list_points(struct hunt *h, float *work)
{
    int64_t n = 0;
    float threshold = (float)h->o->threshold;
    h->npoint = 0;
    for (int64_t i = 0; i < h->bx * h->by; i++)
        if (h->snr[i] > threshold && has_direction(h, i % h->bx, i / h->bx)) h->point[h->npoint++] = (int32_t)i;
    if (h->npoint <= POINTS_MOST) return;
    for (int64_t k = 0; k < h->npoint; k++) work[k] = -h->snr[h->point[k]];
    threshold = -select_f32(work, h->npoint, POINTS_MOST);
    for (int64_t k = 0; k < h->npoint; k++)
        if (h->snr[h->point[k]] > threshold) h->point[n++] = h->point[k];
    h->npoint = n;
}

/* ---- lines -------------------------------------------------------------------------------------------------------- */

static void vote(struct hunt *h)
{
    double diagonal = hypot((double)h->bx, (double)h->by);
    memset(h->votes, 0, (size_t)(h->nangle * h->ndistance) * sizeof *h->votes);
    /* An angle writes its own row of votes. */
#pragma omp parallel for default(none) shared(h, diagonal) schedule(static)
    for (int64_t a = 0; a < h->nangle; a++) {
        int32_t *row = h->votes + a * h->ndistance;
        const float c = (float)h->cosine[a], s = (float)h->sine[a], shift = (float)diagonal + 0.5f;
        for (int64_t k = 0; k < h->npoint; k++) {
            int64_t x = h->point[k] % h->bx, y = h->point[k] / h->bx;
            row[(int64_t)((float)x * c + (float)y * s + shift)]++;
        }
    }
}

/* The part of the line inside [0, nx - 1] x [0, ny - 1]; false: none. */
static bool clip_line(struct line *l, double nx, double ny)
{
    double from = -INFINITY, to = INFINITY;
    const double start[2] = {l->distance * l->cosine, l->distance * l->sine}, step[2] = {-l->sine, l->cosine}, end[2] = {nx - 1, ny - 1};
    for (int k = 0; k < 2; k++) {
        if (fabs(step[k]) < 1e-9) {
            if (start[k] < 0 || start[k] > end[k]) return false;
            continue;
        }
        double a = -start[k] / step[k], b = (end[k] - start[k]) / step[k];
        from = fmax(from, fmin(a, b));
        to = fmin(to, fmax(a, b));
    }
    l->from = from;
    l->to = to;
    return to > from;
}

static struct line line_of(const struct hunt *h, int64_t angle, int64_t distance)
{
    return (struct line){.cosine = h->cosine[angle], .sine = h->sine[angle], .distance = (double)distance - hypot((double)h->bx, (double)h->by)};
}

/* The line with the most votes above chance. Returned: false if none is above the limit. */
static bool best_line(const struct hunt *h, int64_t *ret_angle, int64_t *ret_distance)
{
    double share = (double)h->npoint / (double)(h->bx * h->by), best = SCORE_LEAST, least = h->o->min_length / BLOCK;
    bool found = false;
    for (int64_t a = 0; a < h->nangle; a++)
        for (int64_t d = 0; d < h->ndistance; d++) {
            int64_t k = a * h->ndistance + d;
            if (h->votes[k] < 0.4 * least || h->tried[k]) continue;
            struct line l = line_of(h, a, d);
            if (!clip_line(&l, (double)h->bx, (double)h->by) || l.to - l.from < least) continue;
            double chance = share * (l.to - l.from), score = (h->votes[k] - chance) / sqrt(chance + 1);
            if (score <= best) continue;
            best = score;
            *ret_angle = a;
            *ret_distance = d;
            found = true;
        }
    return found;
}

static void forget_line(struct hunt *h, int64_t angle, int64_t distance)
{
    int64_t near = h->nangle / 90 + 1;
    for (int64_t a = angle - near; a <= angle + near; a++)
        for (int64_t d = distance - 3; d <= distance + 3; d++) {
            int64_t wrapped = (a + h->nangle) % h->nangle, e = a < 0 || a >= h->nangle ? h->ndistance - 1 - d : d; /* at 180 degrees the distance changes sign */
            if (e >= 0 && e < h->ndistance) h->tried[wrapped * h->ndistance + e] = 1;
        }
}

static float block_at(const struct hunt *h, double x, double y)
{
    int64_t i = (int64_t)floor(x + 0.5), j = (int64_t)floor(y + 0.5);
    return i < 0 || j < 0 || i >= h->bx || j >= h->by ? NAN : h->snr[j * h->bx + i];
}

/* Longest stretch of the line that stands out, in blocks. Returned: false when it is too short or too broken. */
static bool find_stretch(const struct hunt *h, struct line *l)
{
    int64_t from = (int64_t)ceil(l->from), to = (int64_t)floor(l->to), start = from, last = from, hits = 0, seen = 0;
    double best = 0, best_from = 0, best_to = 0;
    for (int64_t t = from; t <= to + GAP_MOST + 1; t++) {
        float most = NAN;
        for (int o = -1; o <= 1 && t <= to; o++) {
            double r = l->distance + o;
            float v = block_at(h, r * l->cosine - (double)t * l->sine, r * l->sine + (double)t * l->cosine);
            if (isnan(most) || v > most) most = v;
        }
        bool hit = most > NEAR_SIGMA;
        if (t - last > GAP_MOST) { /* the stretch has ended */
            if (last - start > best && (double)hits >= FILL_LEAST * (double)(seen > 0 ? seen : 1)) {
                best = (double)(last - start);
                best_from = (double)start;
                best_to = (double)last;
            }
            hits = seen = 0;
            start = last = t;
        }
        if (!hits && !hit) start = last = t;
        if (!hits && !hit) continue;
        if (!hits) start = t;
        seen += !isnan(most) && t <= to;
        hits += hit;
        if (hit) last = t;
    }
    l->from = best_from;
    l->to = best_to;
    return best * BLOCK >= h->o->min_length;
}

/* ---- the line at full resolution ---------------------------------------------------------------------------------- */

/* Median across the line at each offset over a piece [from, to) of its length; NaN where too few pixels are good. work: to - from */
static void profile_of(const struct hunt *h, const struct line *l, double from, double to, float *work, float *ret)
{
    for (int o = -REACH; o <= REACH; o++) {
        int64_t n = 0, wanted = (int64_t)(to - from);
        double r = l->distance + o;
        for (int64_t k = 0; k < wanted; k++) {
            double t = from + (double)k;
            int64_t x = (int64_t)floor(r * l->cosine - t * l->sine + 0.5), y = (int64_t)floor(r * l->sine + t * l->cosine + 0.5);
            if (x < 0 || y < 0 || x >= h->nx || y >= h->ny || h->mask[y * h->nx + x] & (MASK_UNUSABLE & ~MASK_STREAK)) continue;
            work[n++] = h->sci[y * h->nx + x];
        }
        ret[o + REACH] = n * 4 >= wanted && n > 4 ? median_f32(work, n) : NAN;
    }
}

static float side_level(const float *profile, int from, int to)
{
    float v[REACH];
    int n = 0;
    for (int o = from; o < to; o++)
        if (!isnan(profile[o + REACH])) v[n++] = profile[o + REACH];
    return n ? median_f32(v, n) : NAN;
}

struct shape {
    double base, step, centre, peak;
};

/* Peak of a profile smoothed over 3 pixels, its centre of weight. Returned: false without a profile. */
static bool shape_of(const float *profile, struct shape *ret)
{
    float left = side_level(profile, -REACH, -REACH / 2), right = side_level(profile, REACH / 2 + 1, REACH + 1);
    if (isnan(left) || isnan(right)) return false;
    double base = 0.5 * (left + right), peak = -INFINITY, sum = 0, moment = 0;
    int at = 0;
    for (int o = -REACH / 2; o <= REACH / 2; o++) {
        double v = (profile[o + REACH - 1] + profile[o + REACH] + profile[o + REACH + 1]) / 3.0 - base;
        if (v > peak) {
            peak = v;
            at = o;
        }
    }
    for (int o = at - 8; o <= at + 8; o++) {
        if (o < -REACH || o > REACH || isnan(profile[o + REACH])) continue;
        double v = profile[o + REACH] - base;
        if (v < 0.2 * peak) continue;
        sum += v;
        moment += v * o;
    }
    *ret = (struct shape){base, fabs(left - right), sum > 0 ? moment / sum : at, peak};
    return isfinite(peak);
}

/* Turn and shift the line onto the middles of its pieces. piece_peak: PIECES, NaN where nothing is seen. work: length of a piece */
static bool settle_line(const struct hunt *h, struct line *l, float *work, float *piece_peak)
{
    double st = 0, so = 0, stt = 0, sto = 0, n = 0, length = (l->to - l->from) / PIECES;
    for (int p = 0; p < PIECES; p++) {
        float profile[2 * REACH + 1];
        struct shape shape;
        double from = l->from + p * length, middle = from + 0.5 * length;
        piece_peak[p] = NAN;
        profile_of(h, l, from, from + length, work, profile);
        if (!shape_of(profile, &shape)) continue;
        piece_peak[p] = (float)shape.peak;
        if (shape.peak < 4 * 1.25 * h->pixel_sigma / sqrt(3 * length)) continue;
        n++;
        st += middle;
        so += shape.centre;
        stt += middle * middle;
        sto += middle * shape.centre;
    }
    if (n < PIECES / 2) return false;
    double spread = n * stt - st * st, slope = spread > 0 ? (n * sto - st * so) / spread : 0, shift = (so - slope * st) / n;
    /* x = (d + a + b t) c - t s: turned by -atan(b) */
    double turn = atan(slope), c = l->cosine * cos(turn) + l->sine * sin(turn), s = l->sine * cos(turn) - l->cosine * sin(turn);
    double along = cos(turn), offset = (l->distance + shift) * cos(turn);
    double shift_t = (l->distance + shift) * sin(turn);
    *l = (struct line){.cosine = c, .sine = s, .distance = offset, .from = l->from / along + shift_t, .to = l->to / along + shift_t};
    return true;
}

static bool is_even(const float *piece_peak)
{
    float v[PIECES];
    int n = 0;
    for (int p = 0; p < PIECES; p++)
        if (!isnan(piece_peak[p])) v[n++] = piece_peak[p];
    if (n < PIECES / 2) return false;
    float faint = select_f32(v, n, n / 5), bright = select_f32(v, n, n - 1 - n / 5);
    return faint > EVEN_LEAST * bright;
}

/* The last offset from the middle on either side where the profile, smoothed, is above the level. REACH: it never falls. */
static double half_width(const float *profile, const struct shape *shape, double level)
{
    double width = 1;
    for (int side = -1; side <= 1; side += 2) {
        int o = 1;
        for (; o < REACH - 1; o++) {
            int k = REACH + (int)floor(shape->centre + 0.5) + side * o;
            if (k < 2 || k > 2 * REACH - 2) break;
            double v = (profile[k - 2] + profile[k - 1] + profile[k] + profile[k + 1] + profile[k + 2]) / 5.0 - shape->base;
            if (!(v > level)) break;
        }
        if (o > width) width = o;
    }
    return width + 1;
}

/* Ends reach to the frame's edge when they are close to it, a little further otherwise. */
static void extend_ends(const struct hunt *h, struct line *l)
{
    struct line whole = *l;
    if (!clip_line(&whole, (double)h->nx, (double)h->ny)) return;
    double margin = 8 * BLOCK, more = 2 * BLOCK;
    l->from = l->from - whole.from < margin ? whole.from - REACH : l->from - more;
    l->to = whole.to - l->to < margin ? whole.to + REACH : l->to + more;
}

enum check { CHECK_GOOD = -1 };

/* Returned: CHECK_GOOD, or the reason why it is no streak. */
static int check_line(const struct hunt *h, struct line *l, float *work, struct streak *ret)
{
    float piece_peak[PIECES], profile[2 * REACH + 1];
    struct shape shape;
    for (int round = 0; round < 2; round++)
        if (!settle_line(h, l, work, piece_peak)) return STREAK_FAINT;
    if (!is_even(piece_peak)) return STREAK_FADES;
    profile_of(h, l, l->from, l->to, work, profile);
    double noise = 1.25 * h->pixel_sigma / sqrt(l->to - l->from);
    if (!shape_of(profile, &shape) || shape.peak < 6 * noise) return STREAK_FAINT;
    if (shape.step > 0.5 * shape.peak) return STREAK_STEP;
    double width = half_width(profile, &shape, fmax(EDGE_SHARE * h->pixel_sigma, 2 * noise / sqrt(5)));
    if (width > 0.75 * REACH) return STREAK_WIDE;
    extend_ends(h, l);
    *ret = (struct streak){.half_width = width, .peak = shape.peak};
    ret->x0 = l->distance * l->cosine - l->from * l->sine;
    ret->y0 = l->distance * l->sine + l->from * l->cosine;
    ret->x1 = l->distance * l->cosine - l->to * l->sine;
    ret->y1 = l->distance * l->sine + l->to * l->cosine;
    return CHECK_GOOD;
}

static int64_t mask_line(const struct hunt *h, const struct line *l, struct streak *s)
{
    int64_t n = 0, saturated = 0;
    for (int64_t y = 0; y < h->ny; y++) {
        /* |x c + y s - d| <= w; nearly horizontal lines take the whole row and are cut by their ends */
        double c = l->cosine, rest = l->distance - (double)y * l->sine, a = -INFINITY, b = INFINITY;
        if (fabs(c) > 1e-9) {
            a = fmin((rest - s->half_width) / c, (rest + s->half_width) / c);
            b = fmax((rest - s->half_width) / c, (rest + s->half_width) / c);
        } else if (fabs(rest) > s->half_width) {
            continue;
        }
        int64_t x0 = a > 0 ? (int64_t)fmin(ceil(a), (double)h->nx) : 0, x1 = b < (double)h->nx - 1 ? (int64_t)fmax(floor(b) + 1, 0) : h->nx;
        for (int64_t x = x0; x < x1; x++) {
            double t = (double)y * l->cosine - (double)x * l->sine;
            if (t < l->from || t > l->to) continue;
            mask_t *m = &h->mask[y * h->nx + x];
            n += !(*m & MASK_STREAK);
            saturated += (*m & MASK_SATURATED) != 0;
            *m |= MASK_STREAK;
        }
    }
    s->crosses_saturated = saturated > 4;
    return n;
}

/* Blocks of a masked line vote no more. */
static void remove_points(struct hunt *h)
{
    int64_t n = 0;
    for (int64_t k = 0; k < h->npoint; k++) {
        int64_t x = h->point[k] % h->bx * BLOCK, y = h->point[k] / h->bx * BLOCK;
        bool masked = false;
        for (int64_t j = y; j < y + BLOCK && !masked; j++)
            for (int64_t i = x; i < x + BLOCK && !masked; i++) masked = h->mask[j * h->nx + i] & MASK_STREAK;
        if (!masked) h->point[n++] = h->point[k];
    }
    h->npoint = n;
}

/* Nor do those around a line that is no streak: a galaxy has many such lines. */
static void remove_near(struct hunt *h, const struct line *l)
{
    int64_t n = 0;
    for (int64_t k = 0; k < h->npoint; k++) {
        double x = (double)(h->point[k] % h->bx), y = (double)(h->point[k] / h->bx), t = y * l->cosine - x * l->sine;
        bool near = fabs(x * l->cosine + y * l->sine - l->distance) < 6 && t > l->from - 10 && t < l->to + 10;
        if (!near) h->point[n++] = h->point[k];
    }
    h->npoint = n;
}

/* ---- the hunt ------------------------------------------------------------------------------------------------------- */

static void hunt_lines(struct hunt *h, float *work, struct streak_counts *c)
{
    bool fresh = false;
    for (int try = 0; try < TRIES && c->n < STREAKS_MAX && h->npoint > 0; try++) {
        int64_t angle = 0, distance = 0;
        if (!fresh) vote(h);
        fresh = true;
        if (!best_line(h, &angle, &distance)) return;
        forget_line(h, angle, distance);
        struct line l = line_of(h, angle, distance);
        if (!clip_line(&l, (double)h->bx, (double)h->by) || !find_stretch(h, &l)) continue;
        /* from blocks to pixels: a block's middle stands 3.5 pixels from its first */
        double middle = 0.5 * (BLOCK - 1);
        struct line p = {.cosine = l.cosine, .sine = l.sine, .distance = l.distance * BLOCK + middle * (l.cosine + l.sine)};
        p.from = l.from * BLOCK + middle * (l.cosine - l.sine);
        p.to = l.to * BLOCK + middle * (l.cosine - l.sine);
        struct streak s;
        int reason = check_line(h, &p, work, &s);
        if (reason != CHECK_GOOD) {
            c->left_alone[reason]++;
            remove_near(h, &l);
            fresh = false;
            continue;
        }
        c->pixels += mask_line(h, &p, &s);
        c->streak[c->n++] = s;
        remove_points(h);
        fresh = false;
    }
}

static bool hunt_new(struct hunt *h)
{
    size_t blocks = (size_t)(h->bx * h->by);
    double diagonal = hypot((double)h->bx, (double)h->by);
    h->nangle = (int64_t)(PI * diagonal / 1.5) + 1;
    h->ndistance = 2 * (int64_t)diagonal + 3;
    h->snr = mem_array(blocks, sizeof *h->snr);
    h->point = mem_array(blocks, sizeof *h->point);
    h->votes = mem_array((size_t)h->nangle, (size_t)h->ndistance * sizeof *h->votes);
    h->tried = calloc((size_t)h->nangle, (size_t)h->ndistance);
    h->cosine = mem_array((size_t)h->nangle, sizeof *h->cosine);
    h->sine = mem_array((size_t)h->nangle, sizeof *h->sine);
    if (!h->snr || !h->point || !h->votes || !h->tried || !h->cosine || !h->sine) return false;
    for (int64_t a = 0; a < h->nangle; a++) {
        h->cosine[a] = cos(PI * (double)a / (double)h->nangle);
        h->sine[a] = sin(PI * (double)a / (double)h->nangle);
    }
    return true;
}

static void hunt_free(struct hunt *h)
{
    free(h->snr);
    free(h->point);
    free(h->votes);
    free(h->tried);
    free(h->cosine);
    free(h->sine);
}

enum err streak_mask(const float *sci, mask_t *mask, int64_t nx, int64_t ny, const struct streak_options *o, struct streak_counts *ret,
                     struct error *err)
{
    struct hunt h = {.sci = sci, .mask = mask, .nx = nx, .ny = ny, .bx = nx / BLOCK, .by = ny / BLOCK, .o = o};
    struct streak_counts counts = {0};
    enum err code = streak_verify(o, err);
    int64_t cx = (h.bx + CELL - 1) / CELL, cy = (h.by + CELL - 1) / CELL, longest = nx + ny;
    *ret = counts;
    if (code || fmax((double)nx, (double)ny) < o->min_length || h.bx < CELL || h.by < CELL) return code;
    float *cell = mem_array((size_t)(cx * cy), sizeof *cell);
    float *work = mem_array((size_t)(h.bx * h.by > longest ? h.bx * h.by : longest), sizeof *work);
    if (!hunt_new(&h) || !cell || !work) code = ERROR(err, ERR_NOMEM, "no memory to look for streaks in %lld x %lld pixels", (long long)nx, (long long)ny);
    if (!code) {
        struct hunt *const p = &h;
        /* A row of blocks writes its own part of snr. */
#pragma omp parallel for default(none) shared(p) schedule(static)
        for (int64_t y = 0; y < p->by; y++)
            for (int64_t x = 0; x < p->bx; x++) p->snr[y * p->bx + x] = block_mean(p, x, y);
        subtract_background(&h, cell, cx, cy);
        if (scale_blocks(&h, work)) {
            list_points(&h, work);
            hunt_lines(&h, work, &counts);
        }
        *ret = counts;
    }
    hunt_free(&h);
    free(cell);
    free(work);
    return code;
}
