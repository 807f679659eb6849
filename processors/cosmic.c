#include "processors/cosmic.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/isa.h"
#include "common/stats.h"

#define TILE_NX  64
#define TILE_NY  16
#define HALO     6  /* 2 of growth, 2 of the median of S, 2 of that of the variance */
#define BOX_NX   (TILE_NX + 2 * HALO)
#define BOX_NY   (TILE_NY + 2 * HALO)
#define STRIDE   (BOX_NX + 12)
#define GUARD    (2 * STRIDE)
#define GROWTH   2  /* S' is known so far outside the tile */
#define FINE     3  /* radius of the 7 x 7 median */
#define F_LEAST  0.01f
#define SLOPE    0.1f    /* share of the rise of the smooth image over 3 pixels that counts as fine structure */
#define EXCESS   0.5f    /* a lonely peak stands so much higher, in sigma, above the median around it */
#define BESIDE   0.6667f /* times sigclip: where a hit continues beside one of an earlier round */
#define HIT_ROOM 0.3f    /* times objlim: where a hit continues */
#define MEND_MAX 7  /* radius at which the search for good pixels ends */
#define MEND_MIN 5  /* good pixels that are enough */

#define HOLES (MASK_UNUSABLE & ~(MASK_SATURATED | MASK_BLEED | MASK_COSMIC))
#define FULL  (MASK_SATURATED | MASK_BLEED)

const struct cosmic_kernels *cosmic_kernels_now(void)
{
#ifdef NIGHTSHIFT_HAVE_AVX2
    if (isa_level() == ISA_AVX2) return &cosmic_kernels_avx2;
#endif
    return &cosmic_kernels_generic;
}

void cosmic_options_init(struct cosmic_options *o)
{
    *o = (struct cosmic_options){.sigclip = 4.5, .sigfrac = 0.5, .objlim = 3, .niter = 6};
}

struct search {
    float *sci;
    const float *var;
    mask_t *mask;
    int64_t nx, ny, tiles_x, tiles_y;
    const struct cosmic_options *o;
    const struct cosmic_kernels *kernels;
    unsigned char *found;   /* nx * ny: hits of this round */
    unsigned char *awake;   /* per tile: to be judged in this round */
    unsigned char *changed; /* per tile: hits were found in it */
    float *least;           /* per tile: smallest variance */
};

/* One tile with its halo. Planes have room before and behind, so that kernels may look over the edge of the box. */
struct box {
    float sci[GUARD + BOX_NY * STRIDE + GUARD];
    float var[GUARD + BOX_NY * STRIDE + GUARD];
    float noise2[GUARD + BOX_NY * STRIDE + GUARD];
    float s[GUARD + BOX_NY * STRIDE + GUARD];
    float peak[GUARD + BOX_NY * STRIDE + GUARD];   /* S' */
    float smooth[GUARD + BOX_NY * STRIDE + GUARD]; /* 3 x 3 median */
    unsigned char kind[BOX_NY * STRIDE], grown[2][BOX_NY * STRIDE];
};

/* A mended pixel's value is of use, its variance is not; neither is judged. */
enum { KIND_GOOD, KIND_HOLE = 1, KIND_MENDED = 2, KIND_FULL = 4, KIND_HIT = 8, NO_VARIANCE = KIND_HOLE | KIND_MENDED | KIND_HIT };

static inline int64_t at(int64_t x, int64_t y)
{
    return y * STRIDE + x;
}

/* The edge pixel stands twice: the half of a star that is on the image stays as wide as it was. */
static int64_t mirrored(int64_t i, int64_t n)
{
    while (i < 0 || i >= n) i = i < 0 ? -1 - i : 2 * n - 1 - i;
    return i;
}

/* ---- filling the box --------------------------------------------------------------------------------------------- */

static unsigned char kind_of(mask_t m, float var)
{
    if (!(var > 0.0f) || !(var < INFINITY)) return KIND_HOLE;
    if (m & HOLES && !(m & MASK_INTERPOLATED)) return KIND_HOLE;
    if (m & FULL) return KIND_FULL;
    if (m & MASK_COSMIC) return KIND_HIT;
    return m & MASK_INTERPOLATED ? KIND_MENDED : KIND_GOOD;
}

/* Copies the image around tile (tx, ty), mirrored beyond its edges. Returned: all kinds that occur. */
static unsigned gather(const struct search *s, int64_t tx, int64_t ty, struct box *b)
{
    unsigned kinds = 0;
    int64_t x0 = tx * TILE_NX - HALO, y0 = ty * TILE_NY - HALO;
    bool inside = x0 >= 0 && x0 + BOX_NX <= s->nx;
    for (int64_t y = 0; y < BOX_NY; y++) {
        int64_t row = mirrored(y0 + y, s->ny) * s->nx;
        for (int64_t x = 0; x < BOX_NX; x++) {
            int64_t i = row + (inside ? x0 + x : mirrored(x0 + x, s->nx)), k = at(x, y);
            b->sci[GUARD + k] = s->sci[i];
            b->var[GUARD + k] = s->var[i];
            b->kind[k] = kind_of(s->mask[i], s->var[i]);
            kinds |= b->kind[k];
        }
    }
    return kinds;
}

/* Pixels of these kinds take the value of the nearest other one to the left in the row, else to the right, and rows without
 * any that of the row above, else below. Returned: false if there is none in the box. */
static bool fill(float *plane, const unsigned char *kind, unsigned kinds)
{
    bool filled[BOX_NY];
    int64_t first = -1;
    for (int64_t y = 0; y < BOX_NY; y++) {
        float *row = plane + at(0, y);
        const unsigned char *k = kind + at(0, y);
        int64_t x = 0;
        while (x < BOX_NX && k[x] & kinds) x++;
        filled[y] = x < BOX_NX;
        if (!filled[y]) continue;
        if (first < 0) first = y;
        for (int64_t i = 0; i < x; i++) row[i] = row[x];
        for (; x < BOX_NX; x++)
            if (k[x] & kinds) row[x] = row[x - 1];
    }
    if (first < 0) return false;
    for (int64_t y = 0; y < BOX_NY; y++)
        if (!filled[y]) memcpy(plane + at(0, y), plane + at(0, y < first ? first : y - 1), BOX_NX * sizeof *plane);
    return true;
}

/* ---- judging ------------------------------------------------------------------------------------------------------ */

/* Planes of the box over the parts that are needed: see the picture in the header. */
static void work_out(const struct cosmic_kernels *k, struct box *b)
{
    enum { R = HALO - 4, W = BOX_NX - 2 * R, H = BOX_NY - 2 * R, J = HALO - GROWTH };
    float *sci = b->sci + GUARD, *s = b->s + GUARD, *noise2 = b->noise2 + GUARD, *peak = b->peak + GUARD;
    k->median25(b->var + GUARD + at(R, R), STRIDE, W, H, noise2 + at(R, R));
    for (int64_t y = R; y < R + H; y++)
        k->contrast(sci + at(R, y - 1), sci + at(R, y), sci + at(R, y + 1), noise2 + at(R, y), W, s + at(R, y));
    k->median25(s + at(J, J), STRIDE, BOX_NX - 2 * J, BOX_NY - 2 * J, peak + at(J, J));
    for (int64_t y = J; y < BOX_NY - J; y++)
        for (int64_t x = J; x < BOX_NX - J; x++) peak[at(x, y)] = s[at(x, y)] - peak[at(x, y)];
}

/* Range of the smooth image over 3 x 3 pixels. */
static float rise_of(const struct box *b, int64_t i)
{
    const float *smooth = b->smooth + GUARD + i;
    float low = smooth[0], high = smooth[0];
    for (int64_t dy = -1; dy <= 1; dy++)
        for (int64_t dx = -1; dx <= 1; dx++) {
            float v = smooth[dy * STRIDE + dx];
            low = v < low ? v : low;
            high = v > high ? v : high;
        }
    return high - low;
}

/* On the steep flank of a bright star the medians are as likely above the pixel as below it: the rise there stands in. */
static float fine_structure(const struct box *b, int64_t i)
{
    float v[(2 * FINE + 1) * (2 * FINE + 1)];
    const float *smooth = b->smooth + GUARD;
    int n = 0;
    for (int64_t dy = -FINE; dy <= FINE; dy++)
        for (int64_t dx = -FINE; dx <= FINE; dx++) v[n++] = smooth[i + dy * STRIDE + dx];
    float fine = smooth[i] - select_f32(v, n, n / 2), rise = SLOPE * rise_of(b, i);
    float f = (fine > rise ? fine : rise) / sqrtf(b->noise2[GUARD + i]);
    return f > F_LEAST ? f : F_LEAST;
}

static bool near_full(const struct box *b, int64_t i)
{
    for (int64_t dy = -1; dy <= 1; dy++)
        for (int64_t dx = -1; dx <= 1; dx++)
            if (b->kind[i + dy * STRIDE + dx] & KIND_FULL) return true;
    return false;
}

/* Height above the 5 x 5 median, over the noise. */
static float excess(const struct box *b, int64_t i)
{
    float v[25];
    const float *sci = b->sci + GUARD;
    int n = 0;
    for (int64_t dy = -2; dy <= 2; dy++)
        for (int64_t dx = -2; dx <= 2; dx++) v[n++] = sci[i + dy * STRIDE + dx];
    return (sci[i] - select_f32(v, n, n / 2)) / sqrtf(b->noise2[GUARD + i]);
}

static bool touches(const unsigned char *set, int64_t i)
{
    const unsigned char *above = set + i - STRIDE - 1, *here = set + i - 1, *below = set + i + STRIDE - 1;
    return above[0] | above[1] | above[2] | here[0] | here[2] | below[0] | below[1] | below[2];
}

static bool beside_hit(const struct box *b, int64_t i)
{
    for (int64_t dy = -1; dy <= 1; dy++)
        for (int64_t dx = -1; dx <= 1; dx++)
            if (b->kind[i + dy * STRIDE + dx] == KIND_HIT) return true;
    return false;
}

static void smooth_box(const struct search *s, struct box *b)
{
    enum { F = HALO - GROWTH - FINE };
    s->kernels->median9(b->sci + GUARD + at(F, F), STRIDE, BOX_NX - 2 * F, BOX_NY - 2 * F, b->smooth + GUARD + at(F, F));
}

/* Seeds within the tile are marked in ret. Returned: is there any? */
static bool find_seeds(const struct search *s, struct box *b, unsigned char *ret)
{
    const float clip = (float)s->o->sigclip, beside_clip = clip * BESIDE, objlim = (float)s->o->objlim, *peak = b->peak + GUARD;
    bool smooth = false, any = false;
    for (int64_t y = HALO; y < BOX_NY - HALO; y++)
        for (int64_t x = HALO; x < BOX_NX - HALO; x++) {
            int64_t i = at(x, y);
            if (!(peak[i] > beside_clip) || b->kind[i] || near_full(b, i)) continue;
            bool next = beside_hit(b, i);
            if (!next && !(peak[i] > clip && excess(b, i) > clip + EXCESS)) continue;
            if (!smooth) {
                smooth_box(s, b);
                memset(ret, 0, sizeof b->grown[0]);
                smooth = true;
            }
            if (peak[i] > (next ? HIT_ROOM : 1) * objlim * fine_structure(b, i)) ret[i] = any = true;
        }
    return any;
}

/* One pixel further in all directions, where S' is above the limit. margin: how far out of the tile that leads. */
static void grow(const struct search *s, const struct box *b, const unsigned char *in, float limit, int64_t margin, unsigned char *out)
{
    const float *peak = b->peak + GUARD, objlim = HIT_ROOM * (float)s->o->objlim;
    memset(out, 0, sizeof b->grown[0]);
    for (int64_t y = HALO - margin; y < BOX_NY - HALO + margin; y++)
        for (int64_t x = HALO - margin; x < BOX_NX - HALO + margin; x++) {
            int64_t i = at(x, y);
            out[i] = in[i] || (peak[i] > limit && !b->kind[i] && touches(in, i) && peak[i] > objlim * fine_structure(b, i));
        }
}

/* A hit that starts in this tile may end in another: what is written is the same whoever writes it. */
static void mark_found(const struct search *s, int64_t x, int64_t y)
{
    int64_t t = y / TILE_NY * s->tiles_x + x / TILE_NX;
    if (x < 0 || x >= s->nx || y < 0 || y >= s->ny) return;
#pragma omp atomic write
    s->found[y * s->nx + x] = 1;
#pragma omp atomic write
    s->changed[t] = 1;
}

/* Hits that start within the tile are marked in found and changed. */
static void judge_tile(const struct search *s, int64_t t, struct box *b)
{
    int64_t tx = t % s->tiles_x, ty = t / s->tiles_x, x0 = tx * TILE_NX, y0 = ty * TILE_NY;
    unsigned kinds = gather(s, tx, ty, b);
    if (kinds & KIND_HOLE && !fill(b->sci + GUARD, b->kind, KIND_HOLE)) return;
    if (kinds & NO_VARIANCE && !fill(b->var + GUARD, b->kind, NO_VARIANCE)) return;
    work_out(s->kernels, b);
    if (!find_seeds(s, b, b->grown[0])) return;
    grow(s, b, b->grown[0], (float)s->o->sigclip, 1, b->grown[1]);
    grow(s, b, b->grown[1], (float)(s->o->sigclip * s->o->sigfrac), 2, b->grown[0]);
    for (int64_t y = HALO - GROWTH; y < BOX_NY - HALO + GROWTH; y++)
        for (int64_t x = HALO - GROWTH; x < BOX_NX - HALO + GROWTH; x++)
            if (b->grown[0][at(x, y)]) mark_found(s, x0 + x - HALO, y0 + y - HALO);
}

/* ---- which tiles -------------------------------------------------------------------------------------------------- */

static void tile_extent(const struct search *s, int64_t t, int64_t *x0, int64_t *x1, int64_t *y0, int64_t *y1)
{
    *x0 = t % s->tiles_x * TILE_NX;
    *y0 = t / s->tiles_x * TILE_NY;
    *x1 = *x0 + TILE_NX < s->nx ? *x0 + TILE_NX : s->nx;
    *y1 = *y0 + TILE_NY < s->ny ? *y0 + TILE_NY : s->ny;
}

static void least_of_tile(struct search *s, int64_t t)
{
    int64_t x0, x1, y0, y1;
    float least = INFINITY;
    tile_extent(s, t, &x0, &x1, &y0, &y1);
    for (int64_t y = y0; y < y1; y++) {
        float row = s->kernels->least(s->var + y * s->nx + x0, x1 - x0);
        if (row < least) least = row;
    }
    s->least[t] = least;
}

/* Is there any pixel whose S could be above the clip, the noise being the smallest of the tiles around? */
static bool is_steep(const struct search *s, int64_t t)
{
    int64_t tx = t % s->tiles_x, ty = t / s->tiles_x, x0, x1, y0, y1;
    float least = INFINITY;
    for (int64_t y = ty > 0 ? ty - 1 : 0; y <= ty + 1 && y < s->tiles_y; y++)
        for (int64_t x = tx > 0 ? tx - 1 : 0; x <= tx + 1 && x < s->tiles_x; x++)
            if (s->least[y * s->tiles_x + x] < least) least = s->least[y * s->tiles_x + x];
    if (!(least < INFINITY)) return false;
    float limit = 8.0f * (float)s->o->sigclip * sqrtf(least) * 0.9999f; /* below any rounding of S */
    tile_extent(s, t, &x0, &x1, &y0, &y1);
    for (int64_t y = y0; y < y1; y++) {
        const float *up = s->sci + mirrored(y - 1, s->ny) * s->nx, *row = s->sci + y * s->nx, *down = s->sci + mirrored(y + 1, s->ny) * s->nx;
        int64_t first = x0 ? x0 : 1, last = x1 < s->nx ? x1 : s->nx - 1; /* the image's edge columns are left to the box */
        if (x0 == 0 || x1 == s->nx) {
            int64_t edge[2] = {x0 == 0 ? 0 : s->nx - 1, x1 == s->nx ? s->nx - 1 : 0};
            for (int e = 0; e < 2; e++) {
                int64_t x = edge[e];
                float v[3] = {row[mirrored(x - 1, s->nx)], row[x], row[mirrored(x + 1, s->nx)]};
                float u[3] = {0, up[x], 0}, d[3] = {0, down[x], 0};
                if (s->kernels->steep(u + 1, v + 1, d + 1, 1, limit)) return true;
            }
        }
        if (last > first && s->kernels->steep(up + first, row + first, down + first, last - first, limit)) return true;
    }
    return false;
}

/* ---- rounds ------------------------------------------------------------------------------------------------------- */

static void wake_steep_tiles(struct search *s)
{
    int64_t n = s->tiles_x * s->tiles_y;
    /* A tile writes its own slot. */
#pragma omp parallel for default(none) shared(s, n) schedule(static)
    for (int64_t t = 0; t < n; t++) least_of_tile(s, t);
#pragma omp parallel for default(none) shared(s, n) schedule(static)
    for (int64_t t = 0; t < n; t++) s->awake[t] = is_steep(s, t);
}

/* Returned: number of tiles to judge. */
static int64_t count_awake(const struct search *s)
{
    int64_t n = 0;
    for (int64_t t = 0; t < s->tiles_x * s->tiles_y; t++) n += s->awake[t];
    return n;
}

static enum err judge_tiles(struct search *s, struct error *err)
{
    int64_t n = s->tiles_x * s->tiles_y;
    int failed = 0;
    memset(s->changed, 0, (size_t)n);
    /* found and changed are set atomically, and never cleared here; image and mask are only read. */
#pragma omp parallel default(none) shared(s, n) reduction(| : failed)
    {
        struct box *b = mem_zarray(1, sizeof *b);
        failed |= !b;
#pragma omp for schedule(dynamic, 16)
        for (int64_t t = 0; t < n; t++)
            if (b && s->awake[t]) judge_tile(s, t, b);
        free(b);
    }
    return failed ? ERROR(err, ERR_NOMEM, "no memory to look for cosmic rays") : ERR_OK;
}

/* The tiles whose box sees this pixel. */
static void wake_around(const struct search *s, int64_t x, int64_t y)
{
    int64_t x0 = x - HALO < 0 ? 0 : (x - HALO) / TILE_NX, x1 = x + HALO < s->nx ? (x + HALO) / TILE_NX : s->tiles_x - 1;
    int64_t y0 = y - HALO < 0 ? 0 : (y - HALO) / TILE_NY, y1 = y + HALO < s->ny ? (y + HALO) / TILE_NY : s->tiles_y - 1;
    for (int64_t ty = y0; ty <= y1; ty++)
        for (int64_t tx = x0; tx <= x1; tx++) {
#pragma omp atomic write
            s->awake[ty * s->tiles_x + tx] = 1;
        }
}

/* Median of the good pixels around (x, y), from the smallest square that has enough. */
static bool surroundings(const struct search *s, int64_t x, int64_t y, float *ret)
{
    float v[(2 * MEND_MAX + 1) * (2 * MEND_MAX + 1)];
    int n = 0;
    for (int r = 2; r <= MEND_MAX && n < MEND_MIN; r++) {
        n = 0;
        for (int64_t j = y > r ? y - r : 0; j <= y + r && j < s->ny; j++)
            for (int64_t i = x > r ? x - r : 0; i <= x + r && i < s->nx; i++) {
                int64_t k = j * s->nx + i;
                if (!s->found[k] && kind_of(s->mask[k], s->var[k]) == KIND_GOOD) v[n++] = s->sci[k];
            }
    }
    if (n) *ret = median_f32(v, n);
    return n;
}

/* found: 1 a hit, 2 one whose value was mended. Only hits are written and only others are read. */
static void mend_tile(const struct search *s, int64_t t)
{
    int64_t x0, x1, y0, y1;
    tile_extent(s, t, &x0, &x1, &y0, &y1);
    for (int64_t y = y0; y < y1; y++)
        for (int64_t x = x0; x < x1; x++)
            if (s->found[y * s->nx + x] && surroundings(s, x, y, &s->sci[y * s->nx + x])) s->mask[y * s->nx + x] |= MASK_INTERPOLATED;
}

static void settle_tile(const struct search *s, int64_t t, int64_t *pixels, int64_t *mended)
{
    int64_t x0, x1, y0, y1;
    tile_extent(s, t, &x0, &x1, &y0, &y1);
    for (int64_t y = y0; y < y1; y++)
        for (int64_t x = x0; x < x1; x++) {
            int64_t i = y * s->nx + x;
            if (!s->found[i]) continue;
            s->found[i] = 0;
            s->mask[i] |= MASK_COSMIC;
            wake_around(s, x, y);
            (*pixels)++;
            *mended += (s->mask[i] & MASK_INTERPOLATED) != 0;
        }
}

static void mend(struct search *s, struct cosmic_counts *c)
{
    int64_t n = s->tiles_x * s->tiles_y, pixels = 0, mended = 0;
    /* Hits are written in sci and mask, others are read: found says which is which and stays as it is. */
#pragma omp parallel for default(none) shared(s, n) schedule(dynamic, 16)
    for (int64_t t = 0; t < n; t++)
        if (s->changed[t]) mend_tile(s, t);
    memset(s->awake, 0, (size_t)n);
    /* Then each tile closes its own books; who is awake next is set atomically. */
#pragma omp parallel for default(none) shared(s, n) schedule(dynamic, 16) reduction(+ : pixels, mended)
    for (int64_t t = 0; t < n; t++)
        if (s->changed[t]) settle_tile(s, t, &pixels, &mended);
    c->pixels += pixels;
    c->mended += mended;
}

enum err cosmic_verify(const struct cosmic_options *o, struct error *err)
{
    if (!(o->sigclip > 0) || !(o->objlim > 0) || !(o->sigfrac >= 0 && o->sigfrac <= 1) || !isfinite(o->sigclip) || !isfinite(o->objlim))
        return ERROR(err, ERR_USAGE, "cosmic rays: sigclip %g, sigfrac %g, objlim %g are out of range", o->sigclip, o->sigfrac, o->objlim);
    if (o->niter < 1 || o->niter > COSMIC_ROUNDS_MAX) return ERROR(err, ERR_USAGE, "cosmic rays: %d rounds: 1 to %d are possible", o->niter, COSMIC_ROUNDS_MAX);
    return ERR_OK;
}

enum err cosmic_reject(float *sci, const float *var, mask_t *mask, int64_t nx, int64_t ny, const struct cosmic_options *o,
                       struct cosmic_counts *ret, struct error *err)
{
    assert(nx > 0 && ny > 0);
    struct search s = {.sci = sci, .var = var, .mask = mask, .nx = nx, .ny = ny, .o = o, .kernels = cosmic_kernels_now(),
                       .tiles_x = (nx + TILE_NX - 1) / TILE_NX, .tiles_y = (ny + TILE_NY - 1) / TILE_NY};
    size_t tiles = (size_t)s.tiles_x * (size_t)s.tiles_y;
    struct cosmic_counts counts = {0};
    enum err code = cosmic_verify(o, err);
    if (code) return code;
    s.found = calloc((size_t)nx, (size_t)ny);
    s.awake = calloc(tiles, 1);
    s.changed = calloc(tiles, 1);
    s.least = mem_array(tiles, sizeof *s.least);
    if (!s.found || !s.awake || !s.changed || !s.least) code = ERROR(err, ERR_NOMEM, "no memory to look for cosmic rays in %lld x %lld pixels", (long long)nx, (long long)ny);
    if (!code) wake_steep_tiles(&s);
    /* The first round judges the steep tiles, later ones those that see what changed. */
    while (!code && counts.rounds < o->niter && count_awake(&s)) {
        counts.rounds++;
        code = judge_tiles(&s, err);
        if (!code) mend(&s, &counts);
    }
    free(s.found);
    free(s.awake);
    free(s.changed);
    free(s.least);
    if (!code) *ret = counts;
    return code;
}
