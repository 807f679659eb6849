#include "processors/matched_split.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"

enum { NONE = -1, SMALL = 48 /* pixels sorted by insertion */ };

/* What a hill must rise above its saddle, as a share of the saddle: profiles of bright objects are not smooth to better. */
static const float RIPPLE = 0.02f;

/* A hill: `parent` is itself while it stands, else the higher hill that it became a part of. */
struct hill {
    int32_t parent, peak, part;
    bool source;              /* above the threshold, also without the light around it */
    float excess;             /* S of the peak less the light around it; 0 below the threshold */
    float saddle;             /* the highest one it has stood at */
};

struct splitter {
    int64_t room;
    float *snr, *noise2;
    uint32_t *order, *spare;  /* pixels, brightest first */
    int32_t *hill_of;         /* by pixel */
    struct hill *hill;
    struct object_pixel *copy;
    int32_t *grid;            /* pixel of each place of the bounding box with a margin of 1; NONE between calls */
    int64_t grid_room;
};

struct splitter *splitter_new(void)
{
    return calloc(1, sizeof(struct splitter));
}

static void free_pixels(struct splitter *s)
{
    free(s->snr);
    free(s->noise2);
    free(s->order);
    free(s->spare);
    free(s->hill_of);
    free(s->hill);
    free(s->copy);
    int32_t *grid = s->grid;
    int64_t grid_room = s->grid_room;
    *s = (struct splitter){.grid = grid, .grid_room = grid_room};
}

void splitter_free(struct splitter *s)
{
    if (!s) return;
    free_pixels(s);
    free(s->grid);
    free(s);
}

bool splitter_room(struct splitter *s, int64_t n, float **ret_snr, float **ret_noise2)
{
    if (n > s->room) {
        size_t room = (size_t)(n + n / 2 + 1024);
        free_pixels(s);
        s->snr = mem_array(room, sizeof *s->snr);
        s->noise2 = mem_array(room, sizeof *s->noise2);
        s->order = mem_array(room, sizeof *s->order);
        s->spare = mem_array(room, sizeof *s->spare);
        s->hill_of = mem_array(room, sizeof *s->hill_of);
        s->hill = mem_array(room, sizeof *s->hill);
        s->copy = mem_array(room, sizeof *s->copy);
        if (!s->snr || !s->noise2 || !s->order || !s->spare || !s->hill_of || !s->hill || !s->copy) return free_pixels(s), false;
        s->room = (int64_t)room;
    }
    *ret_snr = s->snr;
    *ret_noise2 = s->noise2;
    return true;
}

/* ---- order ------------------------------------------------------------------------------------------------------------ */

static uint32_t key_of(float snr)
{
    uint32_t bits;
    memcpy(&bits, &snr, sizeof bits);
    return ~bits; /* snr > 0: its bits rise with it */
}

static void sort_few(struct splitter *s, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t j = i;
        for (; j > 0 && s->snr[s->order[j - 1]] < s->snr[i]; j--) s->order[j] = s->order[j - 1];
        s->order[j] = (uint32_t)i;
    }
}

/* Brightest first, equal ones in raster order: three passes of 11 bits. */
static void sort_many(struct splitter *s, int64_t n)
{
    enum { DIGIT = 11, SIZE = 1 << DIGIT };
    int64_t start[SIZE + 1];
    for (int64_t i = 0; i < n; i++) s->order[i] = (uint32_t)i;
    for (int shift = 0; shift < 32; shift += DIGIT) {
        memset(start, 0, sizeof start);
        for (int64_t i = 0; i < n; i++) start[(key_of(s->snr[i]) >> shift & (SIZE - 1)) + 1]++;
        for (int k = 0; k < SIZE; k++) start[k + 1] += start[k];
        for (int64_t i = 0; i < n; i++) s->spare[start[key_of(s->snr[s->order[i]]) >> shift & (SIZE - 1)]++] = s->order[i];
        uint32_t *swap = s->order;
        s->order = s->spare;
        s->spare = swap;
    }
}

/* ---- the bounding box --------------------------------------------------------------------------------------------------- */

struct box {
    int32_t xmin, ymin;
    int64_t wide;      /* with its margins */
};

static int64_t place_of(const struct box *b, const struct object_pixel *p)
{
    return (int64_t)(p->y - b->ymin + 1) * b->wide + (p->x - b->xmin + 1);
}

static bool lay_out(struct splitter *s, const struct object_pixel *p, int64_t n, struct box *b)
{
    int32_t x0 = p[0].x, x1 = p[0].x;
    for (int64_t i = 1; i < n; i++) {
        x0 = p[i].x < x0 ? p[i].x : x0;
        x1 = p[i].x > x1 ? p[i].x : x1;
    }
    *b = (struct box){x0, p[0].y, (int64_t)x1 - x0 + 3};
    int64_t places = b->wide * ((int64_t)p[n - 1].y - p[0].y + 3);
    if (places > s->grid_room) {
        int64_t room = places + places / 4 + 4096;
        free(s->grid);
        s->grid_room = 0;
        s->grid = mem_array((size_t)room, sizeof *s->grid);
        if (!s->grid) return false;
        memset(s->grid, 0xff, (size_t)room * sizeof *s->grid); /* NONE */
        s->grid_room = room;
    }
    for (int64_t i = 0; i < n; i++) s->grid[place_of(b, &p[i])] = (int32_t)i;
    return true;
}

/* ---- hills -------------------------------------------------------------------------------------------------------------- */

static int32_t standing(struct hill *hill, int32_t k)
{
    while (hill[k].parent != k) {
        hill[k].parent = hill[hill[k].parent].parent;
        k = hill[k].parent;
    }
    return k;
}

/* A pixel that no brighter one touches. */
static struct hill hill_of_peak(const struct splitter *s, const struct splitter_rule *rule, const struct object_pixel *p, int32_t i, int32_t number)
{
    struct hill h = {.parent = number, .peak = i, .part = NONE};
    float snr = s->snr[i];
    if (!((double)snr > rule->threshold)) return h;
    h.excess = rule->excess_of(rule->user, p[i].x, p[i].y, snr);
    h.source = (double)h.excess > rule->excess * sqrt((double)s->noise2[i]);
    return h;
}

/* Two hills meet at a saddle. Hills are numbered from the highest peak down. */
static void meet(struct splitter *s, int32_t a, int32_t b, float saddle, float prominence)
{
    a = standing(s->hill, a);
    b = standing(s->hill, b);
    if (a == b) return;
    struct hill *high = &s->hill[a < b ? a : b], *low = &s->hill[a < b ? b : a];
    float rise = s->snr[low->peak] - saddle, noise = sqrtf(s->noise2[low->peak]);
    if (low->source && rise > prominence * noise && rise > RIPPLE * saddle) {
        low->saddle = saddle > low->saddle ? saddle : low->saddle;
        high->saddle = saddle > high->saddle ? saddle : high->saddle;
    } else {
        low->parent = a < b ? a : b;
        high->source |= low->source;
    }
}

static int32_t climb(struct splitter *s, const struct splitter_rule *rule, const struct object_pixel *p, int64_t n, const struct box *box)
{
    const int64_t w = box->wide, step[8] = {-w - 1, -w, -w + 1, -1, 1, w - 1, w, w + 1};
    int32_t hills = 0;
    memset(s->hill_of, 0xff, (size_t)n * sizeof *s->hill_of); /* NONE */
    for (int64_t k = 0; k < n; k++) {
        int32_t i = (int32_t)s->order[k], best = NONE;
        const int32_t *at = s->grid + place_of(box, &p[i]);
        for (int m = 0; m < 8; m++) {
            int32_t j = at[step[m]];
            if (j != NONE && s->hill_of[j] != NONE && (best == NONE || s->snr[j] > s->snr[best])) best = j;
        }
        if (best == NONE) {
            s->hill[hills] = hill_of_peak(s, rule, p, i, hills);
            s->hill_of[i] = hills++;
            continue;
        }
        s->hill_of[i] = s->hill_of[best];
        for (int m = 0; m < 8; m++) {
            int32_t j = at[step[m]];
            if (j != NONE && s->hill_of[j] != NONE && s->hill_of[j] != s->hill_of[best])
                meet(s, s->hill_of[best], s->hill_of[j], s->snr[i], (float)rule->prominence);
        }
    }
    return hills;
}

/* Where between three values of equal distance a bell has its top, from the middle one; NAN without a bell. */
static double top_of(float before, float here, float after)
{
    if (!(before > 0 && after > 0 && here > 0)) return NAN;
    double a = log((double)before), b = log((double)here), c = log((double)after), bend = a - 2 * b + c;
    double top = bend < 0 ? 0.5 * (a - c) / bend : NAN;
    return fabs(top) <= 1 ? top : NAN;
}

static float snr_at(const struct splitter *s, const int32_t *at)
{
    return *at == NONE ? 0 : s->snr[*at];
}

/* The part of a hill that stands. */
static struct deblend_part part_of(const struct splitter *s, const struct hill *h, const struct object_pixel *p, const struct box *box)
{
    const struct object_pixel *peak = &p[h->peak];
    const int32_t *at = s->grid + place_of(box, peak);
    float here = s->snr[h->peak];
    return (struct deblend_part){.x = peak->x + top_of(snr_at(s, at - 1), here, snr_at(s, at + 1)),
                                 .y = peak->y + top_of(snr_at(s, at - box->wide), here, snr_at(s, at + box->wide)),
                                 .snr = here, .saddle = h->saddle, .excess = h->excess, .xpeak = peak->x, .ypeak = peak->y};
}

/* Bring the pixels of each part together, in raster order; behind them those of a highest hill that is no source. */
static void regroup(struct splitter *s, struct object_pixel *p, int64_t n, struct deblend_part *parts, int32_t nparts)
{
    for (int64_t i = 0; i < n; i++) {
        s->hill_of[i] = s->hill[standing(s->hill, s->hill_of[i])].part;
        if (s->hill_of[i] != NONE) parts[s->hill_of[i]].n++;
    }
    int64_t at = 0;
    for (int32_t k = 0; k < nparts; k++) {
        s->order[k] = (uint32_t)at; /* a part has its peak's pixel: there are at most n parts */
        at += parts[k].n;
    }
    memcpy(s->copy, p, (size_t)n * sizeof *p);
    for (int64_t i = 0; i < n; i++) {
        if (s->hill_of[i] == NONE)
            p[at++] = s->copy[i];
        else
            p[s->order[s->hill_of[i]]++] = s->copy[i];
    }
}

enum err splitter_run(struct splitter *s, const struct splitter_rule *rule, struct object_pixel *p, int64_t n, int64_t room,
                      struct deblend_part *ret_parts, int64_t *ret_n, struct error *err)
{
    struct box box;
    *ret_n = 0;
    if (!lay_out(s, p, n, &box)) return ERROR(err, ERR_NOMEM, "could not allocate the splitting of %lld pixels", (long long)n);
    if (n <= SMALL)
        sort_few(s, n);
    else
        sort_many(s, n);
    if (!((double)s->snr[s->order[0]] > rule->threshold)) goto out;
    int32_t hills = climb(s, rule, p, n, &box), parts = 0;
    for (int32_t k = 0; k < hills; k++) {
        struct hill *h = &s->hill[k];
        if (h->parent != k || !h->source) continue;
        if (parts == room) {
            h->parent = s->hill[0].part != NONE ? 0 : k;
            continue;
        }
        h->part = parts;
        ret_parts[parts++] = part_of(s, h, p, &box);
    }
    for (int64_t i = 0; i < n; i++) s->grid[place_of(&box, &p[i])] = NONE;
    regroup(s, p, n, ret_parts, parts);
    *ret_n = parts;
    return ERR_OK;
out:
    for (int64_t i = 0; i < n; i++) s->grid[place_of(&box, &p[i])] = NONE;
    return ERR_OK;
}
