#include "processors/detect.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/arena.h"
#include "common/detections.h"
#include "common/units.h"
#include "processors/matched_peak.h"
#include "processors/matched_scan.h"
#include "processors/matched_split.h"
#include "processors/profile.h"
#include "processors/runs.h"
#include "processors/scanorder.h"

/* ---- options ------------------------------------------------------------------------------------------------------- */

struct detect_options detect_options_default(void)
{
    return (struct detect_options){
        .thresh = 1.5,
        .minarea = 5,
        .filter = &convolve_pyramid,
        .deblend = {.nthresh = 32, .mincont = 0.005, .max_pixels = 2000000, .max_cost = 400000000},
        .clean = true,
        .clean_param = 1.0,
        .holes = MASK_BAD | MASK_COSMIC | MASK_NO_DATA | MASK_LOWFLAT | MASK_STREAK | MASK_HOT,
        .mended = MASK_INTERPOLATED,
    };
}

enum err detect_options_verify(const struct detect_options *o, struct error *err)
{
    if (!isfinite(o->thresh) || (!o->absolute && o->thresh <= 0))
        return ERROR(err, ERR_SETTINGS, "cannot detect with a threshold of %g", o->thresh);
    if (o->minarea < 1) return ERROR(err, ERR_SETTINGS, "cannot detect with a least area of %lld pixels", (long long)o->minarea);
    if (o->maxarea < 0) return ERROR(err, ERR_SETTINGS, "cannot detect with a largest area of %lld pixels", (long long)o->maxarea);
    if (o->clean && !(o->clean_param > 0 && o->clean_param <= 100))
        return ERROR(err, ERR_SETTINGS, "cannot clean with an exponent of %g", o->clean_param);
    if (o->matched) return matched_options_verify(o->matched, err);
    enum err code = o->filter ? convolve_verify(o->filter, err) : ERR_OK;
    return code ? code : deblend_options_verify(&o->deblend, err);
}

float detect_threshold(const struct detect_input *in, const struct detect_options *o)
{
    if (o->absolute || in->sigma2) return (float)o->thresh;
    double rms = in->rms > 0 ? in->rms : in->background ? in->background->global_rms : 0;
    return (float)(o->thresh * rms);
}

static enum err input_verify(const struct detect_input *in, struct error *err)
{
    if (in->nx < 1 || in->ny < 1) return ERROR(err, ERR_SHAPE, "cannot detect in an empty image");
    if (in->nx > INT32_MAX / 2 || in->ny > INT32_MAX / 2)
        return ERROR(err, ERR_SHAPE, "cannot detect in an image of %lld x %lld pixels", (long long)in->nx, (long long)in->ny);
    if (in->background && (in->background->nx != in->nx || in->background->ny != in->ny))
        return ERROR(err, ERR_SHAPE, "cannot subtract a background of another size");
    if (in->background && !in->value) return ERROR(err, ERR_INTERNAL, "cannot subtract the background without a plane to keep it");
    return ERR_OK;
}

/* ---- components to parts ------------------------------------------------------------------------------------------- */

/* The work of detect_sources() between its steps. */
struct work {
    const struct detect_input *in;
    const struct detect_options *o;
    struct runs runs;
    int64_t *comp_pixel;          /* ncomp + 1: pixels of each component */
    struct object_pixel *pixels;
    struct deblend_part *parts;   /* at parts_at(c): those of component c */
    int64_t *comp_parts;          /* parts of each component; then, summed, its first object */
    float *comp_threshold;
    uint8_t *comp_limit;
    struct matched_noise noise;   /* of the matched filter's map, and the threshold in it */
    double matched_threshold;
    float highest_level;          /* of the background */
    int64_t n;                    /* objects */
    struct object *o_all;
    struct clean_object *wing;
    int64_t *into;                /* the object it merges with, or: */
};
enum { KEPT = -1, DROPPED = -2 /* into */, NO_OBJECT = -2 /* number */ };

static void work_release(struct work *w)
{
    runs_release(&w->runs);
    free(w->comp_pixel);
    free(w->pixels);
    free(w->parts);
    free(w->comp_parts);
    free(w->comp_threshold);
    free(w->comp_limit);
    free(w->o_all);
    free(w->wing);
    free(w->into);
}

enum { PIXELS_PER_PEAK = 4 /* of the matched filter, at least: its map is smooth */ };

static int64_t parts_at(const struct work *w, int64_t c)
{
    if (w->o->matched) return w->comp_pixel[c] / PIXELS_PER_PEAK + c;
    return w->comp_pixel[c] / (w->o->minarea < DEBLEND_AREA ? w->o->minarea : DEBLEND_AREA) + c;
}

/* Copy the pixels of component c out of its runs, in raster order. */
static void gather(struct work *w, int64_t c)
{
    const struct runs *r = &w->runs;
    struct object_pixel *p = w->pixels + w->comp_pixel[c];
    float threshold = INFINITY;
    for (int64_t m = r->comp_first[c]; m < r->comp_first[c + 1]; m++) {
        const struct run *run = &r->run[r->member[m]];
        for (int32_t x = run->x0; x < run->x1; x++)
            *p++ = (struct object_pixel){x, run->y, run->value[x - run->x0], run->cvalue[x - run->x0]};
        threshold = run->threshold < threshold ? run->threshold : threshold;
    }
    w->comp_threshold[c] = threshold;
}

static const double EXCESS_SLACK = 1;    /* two sigma of what matched_excess() subtracts */
static const float OUTSKIRTS = 0.15f; /* of the peak's S */

/* Signal to noise of gathered pixels, and the variance of its noise: 1 for the sky, more with the photons
 * of an object (S sigma sqrt(sum P^2) is the brightness after the filter). A saturated plateau has no peaks of its own. */
static void gather_snr(const struct work *w, const struct object_pixel *p, int64_t n, float *snr, float *noise2)
{
    const struct detect_input *in = w->in;
    float photons = in->gain > 0 ? (float)(w->noise.sigma * sqrt(w->o->matched->kernel.norm2)) / in->gain : 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t at = (int64_t)p[i].y * in->nx + p[i].x;
        float sigma = in->sigma2 && in->sigma2[at] > 0 ? sqrtf(in->sigma2[at]) : in->rms;
        bool flat = in->mask && in->mask[at] & (MASK_SATURATED | MASK_BLEED);
        snr[i] = p[i].cvalue;
        noise2[i] = flat ? INFINITY : 1 + snr[i] * photons / sigma;
    }
}

/* What weighs the pixels of a part in moments: the square of S, in units that make its sum the flux. The square of a star
 * smoothed with its own profile is as wide as the star. Faint outskirts are not weighed: a neighbour below the threshold is in
 * them as often as not. */
static void weigh_part(struct object_pixel *p, int64_t n, float peak)
{
    double flux = 0, sum = 0;
    for (int64_t i = 0; i < n; i++) {
        flux += (double)p[i].value;
        p[i].cvalue = p[i].cvalue > OUTSKIRTS * peak ? p[i].cvalue * p[i].cvalue : 0;
        sum += (double)p[i].cvalue;
    }
    float unit = (float)((flux > 0 ? flux : 1) / sum);
    for (int64_t i = 0; i < n; i++) p[i].cvalue *= unit;
}

static float excess_of(const void *user, int32_t x, int32_t y, float snr)
{
    const struct work *w = user;
    return matched_excess(w->in, w->o, &w->noise, x, y, snr);
}

/* A component of more pixels than `most` (a globular cluster, a frame that is lit all over) keeps its brightest ones, at least
 * half of `most` where levels allow: they are taken apart as any others, flagged, and the cost stays that of `most` pixels.
 * Levels are powers of sqrt(2) of the footprint. Returned: how many are kept, in their order. */
static int64_t keep_brightest(struct object_pixel *p, int64_t n, int64_t most, float footprint)
{
    enum { LEVELS = 128 };
    int64_t count[LEVELS] = {0}, kept = 0;
    int level = LEVELS;
    for (int64_t i = 0; i < n; i++) {
        double k = 2 * log2((double)p[i].cvalue / (double)footprint);
        count[k < 0 ? 0 : k < LEVELS ? (int)k : LEVELS - 1]++;
    }
    while (level > 0 && kept + count[level - 1] <= most) kept += count[--level];
    if (kept == 0) return n < most ? n : most; /* all of one brightness: the first rows stand for it */
    float least = footprint * (float)exp2(0.5 * level);
    kept = 0;
    for (int64_t i = 0; i < n && kept < most; i++)
        if (p[i].cvalue >= least) p[kept++] = p[i];
    return kept;
}

/* The hills of component c in the matched filter's map. */
static bool split_matched(struct work *w, int64_t c, struct splitter *s)
{
    float *snr, *noise2;
    int64_t n = w->runs.comp_npix[c], most = w->o->deblend.max_pixels;
    struct object_pixel *p = w->pixels + w->comp_pixel[c];
    struct deblend_part *part = w->parts + parts_at(w, c);
    struct splitter_rule rule = {w->matched_threshold, w->matched_threshold - EXCESS_SLACK, w->o->matched->prominence, excess_of, w};
    if (most > 0 && n > most) {
        n = keep_brightest(p, n, most, (float)w->o->matched->footprint);
        w->comp_limit[c] = 1;
    }
    if (!splitter_room(s, n, &snr, &noise2)) return false;
    gather_snr(w, p, n, snr, noise2);
    if (splitter_run(s, &rule, p, n, parts_at(w, c + 1) - parts_at(w, c), part, &w->comp_parts[c], NULL)) return false;
    for (int64_t k = 0; k < w->comp_parts[c]; p += part[k++].n) {
        weigh_part(p, part[k].n, part[k].snr);
        if (!w->o->matched->sharp) part[k].sharp = matched_is_sharp(w->in, w->o, &w->noise, &part[k], p, part[k].n);
    }
    return true;
}

/* The threshold follows from the noise of the map and the peaks of its components. */
static enum err settle_threshold(struct work *w, struct error *err)
{
    const struct runs *r = &w->runs;
    float *peak = mem_array((size_t)r->ncomp, sizeof *peak);
    if (!peak) return ERROR(err, ERR_NOMEM, "could not allocate the peaks of %lld components", (long long)r->ncomp);
    for (int64_t c = 0; c < r->ncomp; c++) {
        peak[c] = 0;
        for (int64_t m = r->comp_first[c]; m < r->comp_first[c + 1]; m++) {
            const struct run *run = &r->run[r->member[m]];
            for (int32_t x = 0; x < run->x1 - run->x0; x++) peak[c] = run->cvalue[x] > peak[c] ? run->cvalue[x] : peak[c];
        }
    }
    w->matched_threshold = matched_threshold(w->o->matched, (double)w->in->nx * (double)w->in->ny, peak, r->ncomp);
    free(peak);
    return ERR_OK;
}

static enum err find_runs(struct work *w, struct error *err)
{
    if (!w->o->matched) return runs_find(w->in, w->o, &w->runs, err);
    enum err code = matched_scan_noise(w->in, w->o, &w->noise, err);
    if (!code) code = matched_scan_runs(w->in, w->o, &w->noise, &w->runs, err);
    return code ? code : settle_threshold(w, err);
}

static enum err split_components(struct work *w, struct error *err)
{
    int64_t n = w->runs.ncomp;
    w->comp_pixel = mem_array((size_t)n + 1, sizeof *w->comp_pixel);
    w->comp_parts = mem_zarray((size_t)n + 1, sizeof *w->comp_parts);
    w->comp_threshold = mem_array((size_t)n, sizeof *w->comp_threshold);
    w->comp_limit = mem_zarray((size_t)n, sizeof *w->comp_limit);
    if (!w->comp_pixel || !w->comp_parts || !w->comp_threshold || !w->comp_limit) goto nomem;
    w->comp_pixel[0] = 0;
    for (int64_t c = 0; c < n; c++) w->comp_pixel[c + 1] = w->comp_pixel[c] + w->runs.comp_npix[c];
    w->pixels = mem_array((size_t)w->comp_pixel[n], sizeof *w->pixels);
    w->parts = mem_array((size_t)parts_at(w, n) + 1, sizeof *w->parts);
    if (!w->pixels || !w->parts) goto nomem;
    int failed = 0;
    /* Each component writes its own stretch of pixels, parts and comp_*. */
#pragma omp parallel default(none) shared(w, n) reduction(| : failed)
    {
        struct deblender *d = deblender_new();
        struct splitter *s = splitter_new();
        failed |= !d || !s;
#pragma omp for schedule(dynamic, 16)
        for (int64_t c = 0; c < n; c++) {
            bool limit = false;
            if (!d || !s) continue;
            gather(w, c);
            if (w->o->matched) {
                failed |= !split_matched(w, c, s);
                continue;
            }
            failed |= deblend_component(d, &w->o->deblend, w->pixels + w->comp_pixel[c], w->runs.comp_npix[c],
                                        w->comp_threshold[c], w->o->minarea, w->parts + parts_at(w, c), &w->comp_parts[c],
                                        &limit, NULL) != ERR_OK;
            w->comp_limit[c] = limit;
        }
        deblender_free(d);
        splitter_free(s);
    }
    if (!failed) return ERR_OK;
nomem:
    return ERROR(err, ERR_NOMEM, "could not allocate the pixels of %lld components", (long long)n);
}

/* ---- parts to objects ---------------------------------------------------------------------------------------------- */

struct part_scratch {
    float *heap;          /* minarea values */
    float *values;
    int64_t room;         /* of values */
    double *nodes;        /* for background_at */
    struct scanorder *order;
};

/* What was subtracted, now or before. */
static const struct background *level_of(const struct detect_input *in)
{
    return in->background ? in->background : in->rms_map;
}

static bool part_scratch_init(struct part_scratch *s, const struct work *w)
{
    s->heap = mem_array((size_t)w->o->minarea, sizeof *s->heap);
    s->nodes = mem_array(level_of(w->in) ? (size_t)background_scratch(level_of(w->in)) : 1, sizeof *s->nodes);
    s->order = scanorder_new();
    return s->heap && s->nodes && s->order;
}

static void part_scratch_release(struct part_scratch *s)
{
    free(s->heap);
    free(s->values);
    free(s->nodes);
    scanorder_free(s->order);
}

/* No background of this image is higher: a spline may rise above its nodes, by less than this. */
static float highest_level(const struct background *b)
{
    float most = b ? b->level[0] : 0;
    for (int64_t k = 1; b && k < b->gx * b->gy; k++) most = b->level[k] > most ? b->level[k] : most;
    return most + 0.5f * fabsf(most);
}

static bool is_saturated(const struct work *w, const struct object_pixel *p, int64_t n, float peak, double *scratch)
{
    const struct detect_input *in = w->in;
    if (in->mask) {
        for (int64_t i = 0; i < n; i++)
            if (in->mask[(int64_t)p[i].y * in->nx + p[i].x] & MASK_SATURATED) return true;
    }
    if (!(in->saturate < INFINITY)) return false;
    const struct background *b = level_of(in);
    if (!(peak + w->highest_level >= in->saturate)) return false;
    for (int64_t i = 0; i < n; i++)
        if (p[i].value + (b ? background_at(b, p[i].x, p[i].y, scratch) : 0) >= in->saturate) return true;
    return false;
}

static mask_t mask_of(const struct work *w, const struct object_pixel *p, int64_t n)
{
    mask_t m = 0;
    for (int64_t i = 0; w->in->mask && i < n; i++) m |= w->in->mask[(int64_t)p[i].y * w->in->nx + p[i].x];
    return m;
}

/* Keep the largest values: v replaces the smallest, which is on top. */
static void heap_replace(float *heap, int64_t n, float v)
{
    int64_t at = 0;
    while (2 * at + 1 < n) {
        int64_t child = 2 * at + 1;
        if (child + 1 < n && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= v) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = v;
}

static void heap_build(float *heap, int64_t n)
{
    for (int64_t i = 1; i < n; i++) {
        float v = heap[i];
        int64_t at = i;
        for (; at > 0 && heap[(at - 1) / 2] > v; at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
        heap[at] = v;
    }
}

/* The minarea-th largest of n values. With compat as Source Extractor sees it: exactly minarea values are not sorted, the
 * first stands for all; with more, the one that follows the first minarea is overlooked. */
static float least_of_brightest(const float *v, int64_t n, int64_t minarea, bool compat, float *heap)
{
    int64_t held = n < minarea ? n : minarea;
    memcpy(heap, v, (size_t)held * sizeof *heap);
    if (compat && n <= minarea) return heap[0];
    heap_build(heap, held);
    for (int64_t i = held + compat; i < n; i++)
        if (v[i] > heap[0]) heap_replace(heap, held, v[i]);
    return heap[0];
}

enum { SCANORDER_MOST = 100 }; /* pixels: in larger objects the order decides nothing */

/* How far the brightest minarea pixels of a part pass the threshold. */
static bool margin_of(const struct work *w, int64_t c, const struct object_pixel *p, int64_t n, struct part_scratch *s,
                      float *ret)
{
    if (n > s->room) {
        free(s->values);
        s->values = mem_array(2 * (size_t)n, sizeof *s->values);
        s->room = s->values ? 2 * n : 0; /* the loop goes on to the next object */
        if (!s->values) return false;
    }
    const struct runs *r = &w->runs;
    bool whole = n == r->comp_npix[c], compat = w->o->compat;
    *ret = 0;
    if (compat && n < w->o->minarea) return true; /* parts of blends may be that small: any wing hides them */
    if (compat && whole && n <= SCANORDER_MOST) {
        const int64_t *member = r->member + r->comp_first[c];
        if (!scanorder_values(s->order, r->run, member, r->comp_first[c + 1] - r->comp_first[c], s->values)) return false;
    } else {
        for (int64_t i = 0; i < n; i++) s->values[i] = p[i].cvalue;
    }
    *ret = least_of_brightest(s->values, n, w->o->minarea, compat, s->heap) - w->comp_threshold[c];
    return true;
}

static void describe_wing(const struct detect_options *o, const struct profile *r, float threshold, float margin,
                          struct clean_object *ret)
{
    double area = PI * r->a * r->b, amplitude = r->cflux / (2 * area * r->truncation);
    double rise = threshold > 0 && amplitude > 0 ? amplitude / threshold : 1;
    rise = (o->clean_param == 1 ? rise : pow(rise, 1 / o->clean_param)) - 1;
    *ret = (struct clean_object){.x = r->x, .y = r->y, .flux = r->cflux, .amplitude = amplitude,
                                 .alpha = rise * area / (double)r->npix, .cxx = (float)r->cxx, .cyy = (float)r->cyy,
                                 .cxy = (float)r->cxy, .a = (float)r->a, .margin = margin};
}

static bool make_object(struct work *w, int64_t c, int64_t first, const struct deblend_part *part, int64_t index,
                        struct part_scratch *s)
{
    const struct detect_input *in = w->in;
    const struct object_pixel *p = w->pixels + first;
    struct profile r;
    float threshold = w->comp_threshold[c];
    int64_t n = part->n;
    bool split = w->comp_parts[c + 1] - w->comp_parts[c] > 1;
    const double centre[2] = {part->x, part->y};
    bool placed = w->o->matched ? isfinite(part->x) && isfinite(part->y) : split;
    profile_measure(p, n, threshold, placed ? centre : NULL, &r);
    if (w->o->matched) r.xpeak = part->xpeak, r.ypeak = part->ypeak;
    unsigned flags = split ? FLAG_DEBLENDED : 0;
    if (w->comp_limit[c]) flags |= FLAG_DEBLEND_LIMIT;
    if (r.xmin == 0 || r.ymin == 0 || r.xmax == in->nx - 1 || r.ymax == in->ny - 1) flags |= FLAG_TRUNCATED;
    if (is_saturated(w, p, n, r.peak, s->nodes)) flags |= FLAG_SATURATED;
    w->o_all[index] = (struct object){
        .first = first, .npix = n, .xmin = r.xmin, .xmax = r.xmax, .ymin = r.ymin, .ymax = r.ymax, .xpeak = r.xpeak,
        .ypeak = r.ypeak, .peak = r.peak, .cpeak = r.cpeak, .snr = part->snr, .threshold = threshold, .flux = r.flux, .x = r.x, .y = r.y,
        .x2 = r.x2, .y2 = r.y2, .xy = r.xy, .a = (float)r.a, .b = (float)r.b, .theta_rad = (float)r.theta_rad,
        .cxx = (float)r.cxx, .cyy = (float)r.cyy, .cxy = (float)r.cxy, .flags = (uint16_t)flags,
        .imaflags = mask_of(w, p, n)};
    float margin;
    w->into[index] = part->sharp ? DROPPED : KEPT;
    if (!w->wing) return true;
    if (!margin_of(w, c, p, n, s, &margin)) return false;
    describe_wing(w->o, &r, threshold, margin, &w->wing[index]);
    return true;
}

static enum err make_objects(struct work *w, struct error *err)
{
    int64_t ncomp = w->runs.ncomp, at = 0;
    for (int64_t c = 0; c <= ncomp; c++) {
        int64_t parts = w->comp_parts[c]; /* the last entry is 0 */
        w->comp_parts[c] = at;
        at += parts;
    }
    w->n = at;
    w->highest_level = highest_level(level_of(w->in));
    w->o_all = mem_array((size_t)w->n, sizeof *w->o_all);
    bool clean = w->o->clean && !w->o->matched;
    w->into = mem_array((size_t)w->n, sizeof *w->into);
    w->wing = clean ? mem_array((size_t)w->n, sizeof *w->wing) : NULL;
    if (!w->o_all || !w->into || (clean && !w->wing))
        return ERROR(err, ERR_NOMEM, "could not allocate %lld objects", (long long)w->n);
    int failed = 0;
    /* Each component writes its own objects. */
#pragma omp parallel default(none) shared(w, ncomp) reduction(| : failed)
    {
        struct part_scratch s = {0};
        bool ready = part_scratch_init(&s, w);
        failed |= !ready;
#pragma omp for schedule(dynamic, 64)
        for (int64_t c = 0; c < ncomp; c++) {
            int64_t first = w->comp_pixel[c];
            const struct deblend_part *part = w->parts + parts_at(w, c);
            for (int64_t k = w->comp_parts[c]; ready && k < w->comp_parts[c + 1]; k++) {
                failed |= !make_object(w, c, first, part, k, &s);
                first += part++->n;
            }
        }
        part_scratch_release(&s);
    }
    return failed ? ERROR(err, ERR_NOMEM, "could not allocate the scratch of detection") : ERR_OK;
}

/* ---- cleaning and the map ------------------------------------------------------------------------------------------ */

static void absorb(struct object *to, const struct object *wing)
{
    to->flux += wing->flux;
    to->xmin = wing->xmin < to->xmin ? wing->xmin : to->xmin;
    to->xmax = wing->xmax > to->xmax ? wing->xmax : to->xmax;
    to->ymin = wing->ymin < to->ymin ? wing->ymin : to->ymin;
    to->ymax = wing->ymax > to->ymax ? wing->ymax : to->ymax;
    to->imaflags |= wing->imaflags;
    to->flags |= wing->flags & (FLAG_SATURATED | FLAG_TRUNCATED);
}

/* Give every object its number in the map: its own, or that of the object it went to. */
static enum err number_objects(struct work *w, int64_t **ret_number, struct error *err)
{
    int64_t *number = mem_array((size_t)w->n, sizeof *number), kept = 0;
    if (!number) return ERROR(err, ERR_NOMEM, "could not allocate the numbers of %lld objects", (long long)w->n);
    enum err code = ERR_OK;
    if (w->wing) code = clean_objects(w->wing, w->n, w->in->nx, w->in->ny, w->o->clean_param, w->into, err);
    if (code) {
        free(number);
        return code;
    }
    for (int64_t i = 0; i < w->n; i++)
        if (w->into[i] < 0) number[i] = w->into[i] == KEPT ? kept++ : NO_OBJECT;
    for (int64_t i = 0; i < w->n; i++) {
        if (w->into[i] < 0) continue;
        number[i] = number[w->into[i]];
        absorb(&w->o_all[w->into[i]], &w->o_all[i]);
    }
    *ret_number = number;
    return ERR_OK;
}

/* A plane of zeros, whose pages the kernel clears when they are first touched: 2 MiB at a time where it can. */
static int32_t *zero_plane(size_t npix)
{
    int32_t *map = calloc(npix, sizeof *map);
#ifdef MADV_HUGEPAGE
    const uintptr_t page = 2 << 20, start = ((uintptr_t)map + page - 1) / page * page;
    const uintptr_t end = ((uintptr_t)map + npix * sizeof *map) / page * page;
    if (map && end > start) madvise((void *)start, end - start, MADV_HUGEPAGE);
#endif
    return map;
}

/* The groups too small to be objects: -1, so that they stay out of the apertures of others (objects.h). */
static enum err draw_small_groups(const struct work *w, int32_t *map, struct error *err)
{
    const struct runs *r = &w->runs;
    uint8_t *kept = mem_zarray((size_t)(r->n ? r->n : 1), sizeof *kept);
    if (!kept) return ERROR(err, ERR_NOMEM, "could not allocate marks of %lld runs", (long long)r->n);
    for (int64_t m = 0; m < r->comp_first[r->ncomp]; m++) kept[r->member[m]] = 1;
    for (int64_t i = 0; i < r->n; i++) {
        if (kept[i]) continue;
        int32_t *row = map + (int64_t)r->run[i].y * w->in->nx;
        for (int32_t x = r->run[i].x0; x < r->run[i].x1; x++) row[x] = -1;
    }
    free(kept);
    return ERR_OK;
}

static enum err draw_segments(const struct work *w, const int64_t *number, int32_t **ret, struct error *err)
{
    size_t npix = (size_t)w->in->nx * (size_t)w->in->ny;
    int32_t *map = zero_plane(npix);
    if (!map) return ERROR(err, ERR_NOMEM, "could not allocate the segmentation map of %zu pixels", npix);
    enum err e = draw_small_groups(w, map, err);
    if (e) {
        free(map);
        return e;
    }
    int64_t n = w->n, nx = w->in->nx;
    /* No pixel belongs to two objects. */
#pragma omp parallel for default(none) shared(w, number, map, n, nx) schedule(dynamic, 64)
    for (int64_t i = 0; i < n; i++) {
        const struct object_pixel *p = w->pixels + w->o_all[i].first;
        for (int64_t k = 0; k < w->o_all[i].npix; k++) map[(int64_t)p[k].y * nx + p[k].x] = (int32_t)(number[i] + 1); /* NO_OBJECT: -1 */
    }
    *ret = map;
    return ERR_OK;
}

/* Close the gaps that merged wings leave, and hand over. */
static void hand_over(struct work *w, int32_t *segment, struct objects *ret)
{
    int64_t kept = 0, at = 0;
    for (int64_t i = 0; i < w->n; i++) {
        if (w->into[i] != KEPT) continue;
        struct object *o = &w->o_all[kept++];
        *o = w->o_all[i];
        if (o->first != at) memmove(w->pixels + at, w->pixels + o->first, (size_t)o->npix * sizeof *w->pixels);
        o->first = at;
        at += o->npix;
    }
    *ret = (struct objects){.n = kept, .o = w->o_all, .npixels = at, .pixels = w->pixels, .segment = segment,
                            .snr_threshold = w->matched_threshold, .snr_zero = w->noise.zero, .snr_sigma = w->noise.sigma};
    w->o_all = NULL;
    w->pixels = NULL;
}

enum err detect_sources(const struct detect_input *in, const struct detect_options *options, struct objects *ret,
                        struct error *err)
{
    struct work w = {.in = in, .o = options};
    int64_t *number = NULL;
    int32_t *segment = NULL;
    enum err code = detect_options_verify(options, err);
    if (!code) code = input_verify(in, err);
    if (!code) code = find_runs(&w, err);
    if (!code) code = split_components(&w, err);
    if (!code) code = make_objects(&w, err);
    if (!code) code = number_objects(&w, &number, err);
    if (!code) code = draw_segments(&w, number, &segment, err);
    if (!code) hand_over(&w, segment, ret);
    free(number);
    work_release(&w);
    return code;
}
