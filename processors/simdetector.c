/* The detector half of the simulator: defects that stay for a seed, charge, bleeding and the readout. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/isa.h"
#include "common/stats.h"
#include "common/tiles.h"
#include "common/units.h"
#include "processors/simulate.h"

#define HOT_SHARE    2e-4    /* of the pixels */
#define FULL_WELL    90000.0 /* electrons */
#define PRNU         0.008
#define COLUMN_ADU   1.2     /* sigma of the bias structure from column to column */
#define STRIP        64      /* columns of a bleeding pass: one cache line of each row is two */
#define TRACK_MAX    50.0    /* pixels of a cosmic ray */
#define THICKNESS    2.0     /* pixels of silicon: a thinned detector */
#define TRACK_RATE   900.0   /* electrons per pixel of path: 80 per micrometre, pixels of 11 */
#define DIFFUSION    0.3     /* pixels: sigma of the charge of a cosmic ray around its track */
#define WORM_SHARE   0.25
#define SPOT_SHARE   0.15
#define WORM_TURN    0.35    /* radians per half pixel */
#define TRACK_TRUE_E 1.0     /* electrons of one step that make a pixel part of the track */

static const struct simulate_kernels *kernels(void)
{
#ifdef NIGHTSHIFT_HAVE_AVX2
    if (isa_level() == ISA_AVX2) return &simulate_kernels_avx2;
#endif
    return &simulate_kernels_generic;
}

uint64_t sim_stream(enum sim_stream what, uint32_t a, uint32_t b)
{
    return (uint64_t)what << 56 ^ (uint64_t)a << 32 ^ b; /* a below 2^24 */
}

static double draw_between(struct philox *p, double low, double high)
{
    return low + (high - low) * philox_uniform(p);
}

static double draw_log_between(struct philox *p, double low, double high)
{
    return low * pow(high / low, philox_uniform(p));
}

/* ---- making a detector ---------------------------------------------------------------------------------------- */

static void place_amp(struct sim_ccd *c, int a, int64_t x0, int64_t x1, int64_t y0, int64_t y1, int stripe)
{
    struct sim_amp *amp = &c->amp[a];
    int64_t shift = (int64_t)stripe * SIM_OVERSCAN;
    snprintf(amp->name, sizeof amp->name, "%c", 'A' + a);
    amp->dest = (struct section){x0, x1, y0, y1};
    amp->data = (struct section){x0 + shift, x1 + shift, y0, y1};
    amp->overscan = (struct section){x1 + shift, x1 + shift + SIM_OVERSCAN, y0, y1};
}

static void place_amps(struct sim_ccd *c)
{
    int stripes = c->namp == 4 ? 2 : c->namp;
    for (int a = 0; a < c->namp; a++) {
        int stripe = a % stripes, upper = a / stripes;
        int64_t half = c->namp == 4 ? c->ny / 2 : c->ny;
        place_amp(c, a, c->nx * stripe / stripes, c->nx * (stripe + 1) / stripes, upper ? half : 0, upper ? c->ny : half, stripe);
    }
    c->raw_nx = c->nx + (int64_t)stripes * SIM_OVERSCAN;
    c->raw_ny = c->ny;
}

static void draw_amps(struct sim_ccd *c, struct philox *p)
{
    for (int a = 0; a < c->namp; a++) {
        struct sim_amp *amp = &c->amp[a];
        amp->gain_e_per_adu = draw_between(p, 1.3, 1.9);
        amp->rdnoise_e = draw_between(p, 3, 7);
        amp->bias_adu = draw_between(p, 900, 1300);
        amp->saturate_adu = floor(fmin(amp->bias_adu + 0.98 * FULL_WELL / amp->gain_e_per_adu, 65000));
    }
}

static int by_row(const void *a, const void *b)
{
    const struct sim_spot *s = a, *t = b;
    if (s->y != t->y) return s->y < t->y ? -1 : 1;
    return (s->x > t->x) - (s->x < t->x);
}

static void draw_defects(struct sim_ccd *c, struct philox *p)
{
    for (int i = 0; i < c->nhot; i++)
        c->hot[i] = (struct sim_spot){.x = (float)(philox_u32(p) % (uint32_t)c->nx), .y = (float)(philox_u32(p) % (uint32_t)c->ny),
                                      .size = (float)draw_log_between(p, 0.5, 200)};
    qsort(c->hot, (size_t)c->nhot, sizeof *c->hot, by_row);
    c->ncolumn = 3; /* two hot, one dead */
    for (int i = 0; i < c->ncolumn; i++)
        c->column[i] = (struct sim_column){.x = (int)(philox_u32(p) % (uint32_t)c->nx), .y0 = (int)(philox_u32(p) % (uint32_t)c->ny),
                                           .rate = i < 2 ? (float)draw_log_between(p, 1, 20) : 0, .response = i < 2 ? 1 : 0.15f};
    c->ndust = 12;
    for (int i = 0; i < c->ndust; i++)
        c->dust[i] = (struct sim_spot){.x = (float)draw_between(p, 0, (double)c->nx), .y = (float)draw_between(p, 0, (double)c->ny),
                                       .size = (float)draw_between(p, 6, fmax(7, (double)c->nx / 40)),
                                       .depth = (float)draw_between(p, 0.01, 0.08)};
}

/* The median response is 1, so that a frame divided by a flat of median 1 holds the electrons of the truth. */
static enum err settle_level(struct sim_ccd *c, struct error *err)
{
    int64_t step = c->ny / 64 + 1, rows = (c->ny + step - 1) / step;
    float *flat = mem_array((size_t)(rows * c->nx), sizeof *flat);
    if (!flat) {
        sim_ccd_release(c);
        return ERROR(err, ERR_NOMEM, "no memory for a detector");
    }
    for (int64_t r = 0; r < rows; r++) kernels()->response(&c->response, r * step, c->nx, flat + r * c->nx);
    c->response.level = 1 / median_f32(flat, rows * c->nx);
    free(flat);
    return ERR_OK;
}

enum err sim_ccd_init(struct sim_ccd *ccd, const struct sim_ccd_options *o, struct error *err)
{
    struct philox p;
    *ccd = (struct sim_ccd){.nx = o->nx, .ny = o->ny, .number = o->number, .seed = o->seed, .namp = o->namp, .full_well = FULL_WELL};
    if (o->nx < 16 || o->ny < 16 || o->nx > FRAME_MAX_SIDE - SIM_AMPS * SIM_OVERSCAN || o->ny > FRAME_MAX_SIDE)
        return ERROR(err, ERR_SHAPE, "a detector of %lld x %lld pixels is out of range", (long long)o->nx, (long long)o->ny);
    if (o->namp < 1 || o->namp > SIM_AMPS) return ERROR(err, ERR_USAGE, "%d amplifiers: 1 to %d are known", o->namp, SIM_AMPS);
    philox_init(&p, o->seed, sim_stream(SIM_STREAM_CCD, (uint32_t)o->number, 0));
    ccd->nhot = (int)((double)o->nx * (double)o->ny * HOT_SHARE);
    ccd->hot = mem_array((size_t)ccd->nhot, sizeof *ccd->hot);
    ccd->fixed = mem_array((size_t)o->nx, sizeof *ccd->fixed);
    if (!ccd->hot || !ccd->fixed) {
        sim_ccd_release(ccd);
        return ERROR(err, ERR_NOMEM, "no memory for a detector");
    }
    place_amps(ccd);
    draw_amps(ccd, &p);
    draw_defects(ccd, &p);
    for (int64_t x = 0; x < o->nx; x++)
        ccd->fixed[x] = (float)(COLUMN_ADU * philox_normal(&p) + 3 * exp(-(double)x / (0.05 * (double)o->nx)));
    double r2 = o->field_radius_px * o->field_radius_px;
    ccd->dark_rate = draw_between(&p, 0.01, 0.04);
    ccd->response = (struct sim_response){.key = philox_u32(&p), .prnu = PRNU, .level = 1,
                                          .x0 = (float)o->centre_x, .y0 = (float)o->centre_y, .v2 = (float)(0.10 / r2),
                                          .v4 = (float)(0.05 / (r2 * r2))};
    return settle_level(ccd, err);
}

void sim_ccd_release(struct sim_ccd *ccd)
{
    free(ccd->hot);
    free(ccd->fixed);
    ccd->hot = NULL;
    ccd->fixed = NULL;
}

/* ---- charge --------------------------------------------------------------------------------------------------- */

/* Out-of-focus shadows: rings. Odd grains sit on the filter that is in the beam, even ones on the window. */
static void shade_dust(const struct sim_ccd *c, int filter, int64_t y, float *flat)
{
    for (int i = 0; i < c->ndust; i++) {
        const struct sim_spot *d = &c->dust[i];
        double dy = (double)y - d->y;
        if ((i & 1 && (i >> 1) % 3 != filter % 3) || fabs(dy) > d->size) continue;
        double half = sqrt(d->size * d->size - dy * dy);
        int64_t x0 = (int64_t)fmax(d->x - half, 0), x1 = (int64_t)fmin(d->x + half, (double)c->nx - 1);
        for (int64_t x = x0; x <= x1; x++) {
            double dx = (double)x - d->x, r = sqrt(dx * dx + dy * dy) / d->size;
            flat[x] *= (float)(1 - d->depth * (r < 0.4 ? 0.5 : 1) * fmin(1, (1 - r) * 4));
        }
    }
}

static int first_hot_of_row(const struct sim_ccd *c, int64_t y)
{
    int low = 0, high = c->nhot;
    while (low < high) {
        int middle = (low + high) / 2;
        if (c->hot[middle].y < (float)y) low = middle + 1;
        else high = middle;
    }
    return low;
}

static void charge_row(const struct sim_ccd *c, const struct sim_exposure *e, int64_t y, float *flat, float *row, mask_t *truth)
{
    double dark = c->dark_rate * e->darktime_s * (1 + 0.3 * (double)y / (double)c->ny);
    if (e->lit) {
        kernels()->response(&c->response, y, c->nx, flat);
        shade_dust(c, e->filter, y, flat);
        for (int i = 0; i < c->ncolumn; i++)
            if (y >= c->column[i].y0) flat[c->column[i].x] *= c->column[i].response;
        kernels()->charge(c->nx, flat, (float)dark, row);
    } else {
        for (int64_t x = 0; x < c->nx; x++) row[x] = (float)dark;
    }
    for (int i = 0; i < c->ncolumn; i++) {
        if (y < c->column[i].y0) continue;
        row[c->column[i].x] += c->column[i].rate * (float)e->darktime_s;
        if (truth) truth[c->column[i].x] |= MASK_BAD;
    }
    for (int i = first_hot_of_row(c, y); i < c->nhot && c->hot[i].y == (float)y; i++) {
        row[(int64_t)c->hot[i].x] += c->hot[i].size * (float)e->darktime_s;
        if (truth) truth[(int64_t)c->hot[i].x] |= MASK_HOT;
    }
}

/* Charge that is freed at a point reaches the pixels diffused, as a Gaussian. */
static void deposit(const struct sim_ccd *c, double x, double y, double electrons, float *plane, mask_t *truth)
{
    int64_t px = (int64_t)floor(x + 0.5), py = (int64_t)floor(y + 0.5);
    double share_x[3], share_y[3], unit = 1 / (DIFFUSION * sqrt(2));
    for (int i = 0; i < 3; i++) {
        share_x[i] = 0.5 * (erf(((double)px + i - 0.5 - x) * unit) - erf(((double)px + i - 1.5 - x) * unit));
        share_y[i] = 0.5 * (erf(((double)py + i - 0.5 - y) * unit) - erf(((double)py + i - 1.5 - y) * unit));
    }
    for (int64_t j = 0; j < 3; j++)
        for (int64_t i = 0; i < 3; i++) {
            int64_t qx = px + i - 1, qy = py + j - 1;
            double e = electrons * share_x[i] * share_y[j];
            if (qx < 0 || qx >= c->nx || qy < 0 || qy >= c->ny) continue;
            plane[qy * c->nx + qx] += (float)e;
            if (truth && e > TRACK_TRUE_E) truth[qy * c->nx + qx] |= MASK_COSMIC;
        }
}

/* A muon crosses the silicon on a straight line: flux per solid angle as cos^2 of the zenith angle, 900 electrons per pixel of
 * path. An electron is scattered on its way. A photon frees its charge at one point. */
static void draw_cosmic(const struct sim_ccd *c, struct philox *p, float *plane, mask_t *truth)
{
    double kind = philox_uniform(p), cosine = sqrt(sqrt(philox_uniform(p))), length = fmin(THICKNESS * sqrt(1 / (cosine * cosine) - 1), TRACK_MAX);
    double energy = TRACK_RATE * sqrt(length * length + THICKNESS * THICKNESS), turn = 0, share[2 * (int)TRACK_MAX + 2], sum = 0;
    if (kind < WORM_SHARE) {
        length = draw_log_between(p, 3, 0.8 * TRACK_MAX);
        energy = TRACK_RATE * length * draw_between(p, 0.7, 1.6);
        turn = WORM_TURN;
    } else if (kind < WORM_SHARE + SPOT_SHARE) {
        length = 0;
        energy = draw_log_between(p, 200, 4000);
    }
    double x = draw_between(p, -0.5, (double)c->nx - 0.5), y = draw_between(p, -0.5, (double)c->ny - 0.5), angle = draw_between(p, 0, 2 * PI);
    int steps = (int)(length * 2) + 1;
    for (int i = 0; i < steps; i++) sum += share[i] = 0.5 - 0.5 * log(philox_uniform(p)); /* a long tail, as Landau's */
    for (int i = 0; i < steps; i++) {
        deposit(c, x, y, energy * share[i] / sum, plane, truth);
        if (turn > 0) angle += turn * philox_normal(p);
        x += 0.5 * cos(angle);
        y += 0.5 * sin(angle);
    }
}

static void draw_cosmics(const struct sim_ccd *c, const struct sim_exposure *e, float *plane, mask_t *truth)
{
    struct philox p;
    philox_init(&p, e->seed, sim_stream(SIM_STREAM_COSMIC, e->number, (uint32_t)c->number));
    int64_t n = philox_poisson(&p, e->cosmics_per_mpix_s * 1e-6 * (double)(c->nx * c->ny) * fmax(e->darktime_s, 1));
    for (int64_t i = 0; i < n; i++) draw_cosmic(c, &p, plane, truth);
}

/* Charge above the full well flows half up and half down the column into whatever room there is; what reaches an end is
 * lost. Two passes over a strip of columns, the carries side by side. */
static void bleed_strip(const struct sim_ccd *c, int64_t x0, int64_t x1, float *plane, mask_t *truth)
{
    const float full = (float)c->full_well;
    for (int pass = 0; pass < 2; pass++) {
        float carry[STRIP] = {0};
        for (int64_t i = 0; i < c->ny; i++) {
            int64_t y = pass ? c->ny - 1 - i : i;
            float *row = plane + y * c->nx;
            mask_t *mask = truth ? truth + y * c->nx : NULL;
            for (int64_t x = x0; x < x1; x++) {
                float over = row[x] - full;
                if (over > 0) {
                    carry[x - x0] += pass ? over : 0.5f * over; /* the second pass takes what the first one left */
                    row[x] = pass ? full : full + 0.5f * over;
                    if (mask) mask[x] |= MASK_SATURATED;
                } else if (carry[x - x0] > 0) {
                    float take = fminf(-over, carry[x - x0]);
                    row[x] += take;
                    carry[x - x0] -= take;
                    if (mask) mask[x] |= MASK_BLEED;
                }
            }
        }
    }
}

static void bleed(const struct sim_ccd *c, float *plane, mask_t *truth)
{
    int64_t nstrip = (c->nx + STRIP - 1) / STRIP;
    /* A strip writes its own columns. */
#pragma omp parallel for schedule(static) default(none) shared(c, plane, truth, nstrip)
    for (int64_t s = 0; s < nstrip; s++) bleed_strip(c, s * STRIP, s * STRIP + STRIP < c->nx ? s * STRIP + STRIP : c->nx, plane, truth);
}

enum err sim_expose(const struct sim_ccd *ccd, const struct sim_exposure *e, float *plane, mask_t *truth, struct error *err)
{
    int64_t nblock = row_blocks(ccd->ny), nx = ccd->nx;
    float *flat = mem_array((size_t)(nblock * nx), sizeof *flat); /* one row per block */
    float *largest = mem_zarray((size_t)nblock, sizeof *largest);
    if (!flat || !largest) {
        free(flat);
        free(largest);
        return ERROR(err, ERR_NOMEM, "no memory for the response of a detector");
    }
    /* A block writes its own rows, its own row of flat and its own maximum. */
#pragma omp parallel for schedule(static) default(none) shared(ccd, e, plane, truth, flat, largest, nblock, nx)
    for (int64_t b = 0; b < nblock; b++) {
        int64_t y0, y1;
        row_block(ccd->ny, b, &y0, &y1);
        for (int64_t y = y0; y < y1; y++) charge_row(ccd, e, y, flat + b * nx, plane + y * nx, truth ? truth + y * nx : NULL);
    }
    draw_cosmics(ccd, e, plane, truth);
#pragma omp parallel for schedule(static) default(none) shared(ccd, plane, largest, nblock, nx)
    for (int64_t b = 0; b < nblock; b++) {
        int64_t y0, y1;
        row_block(ccd->ny, b, &y0, &y1);
        largest[b] = kernels()->largest((y1 - y0) * nx, plane + y0 * nx);
    }
    if (kernels()->largest(nblock, largest) > ccd->full_well) bleed(ccd, plane, truth);
    free(flat);
    free(largest);
    return ERR_OK;
}

/* ---- readout -------------------------------------------------------------------------------------------------- */

/* Level of a row: the amplifier's bias with a slow wave and a jitter that differ from exposure to exposure; the overscan
 * columns of the row see the same. */
static float row_level(const struct sim_exposure *e, const struct sim_amp *amp, int64_t y, int64_t ny, float jitter)
{
    double phase = 2 * PI * ((double)y / (double)ny * 1.5 + 0.61803 * e->number);
    return (float)(amp->bias_adu + 1.5 * sin(phase)) + 0.3f * jitter;
}

static void read_row(const struct sim_ccd *c, const struct sim_exposure *e, int64_t y, const float *plane, const float *nothing, float *electrons,
                     uint16_t *raw)
{
    struct sim_draw d = {.key = {(uint32_t)e->seed, (uint32_t)(e->seed >> 32)}, .row = (uint32_t)y, .exposure = e->number};
    for (int a = 0; a < c->namp; a++) {
        const struct sim_amp *amp = &c->amp[a];
        if (y < amp->dest.y0 || y >= amp->dest.y1) continue;
        float jitter[4], rn2 = (float)(amp->rdnoise_e * amp->rdnoise_e), inv_gain = (float)(1 / amp->gain_e_per_adu);
        int64_t n = section_nx(amp->dest);
        d.place = (uint32_t)c->number << 16 | (uint32_t)a << 8;
        kernels()->normals(&d, 1, jitter);
        float level = row_level(e, amp, y, c->ny, jitter[0]);
        d.place |= 1;
        kernels()->noise(&d, n, plane + amp->dest.x0, rn2, electrons);
        kernels()->digitise(n, electrons, c->fixed + amp->dest.x0, level, inv_gain, raw + amp->data.x0);
        d.place++;
        kernels()->noise(&d, SIM_OVERSCAN, nothing, rn2, electrons);
        kernels()->digitise(SIM_OVERSCAN, electrons, nothing, level, inv_gain, raw + amp->overscan.x0);
    }
}

enum err sim_readout(const struct sim_ccd *ccd, const struct sim_exposure *e, const float *plane, uint16_t *raw, struct error *err)
{
    static const float nothing[SIM_OVERSCAN] = {0};
    int64_t nblock = row_blocks(ccd->ny), nx = ccd->nx;
    float *electrons = mem_array((size_t)nblock * (size_t)(nx + SIM_OVERSCAN), sizeof *electrons);
    if (!electrons) return ERROR(err, ERR_NOMEM, "no memory for the readout of a detector");
    /* A block writes its own rows of raw and its own row of electrons. */
#pragma omp parallel for schedule(static) default(none) shared(ccd, e, plane, raw, electrons, nblock, nx, nothing)
    for (int64_t b = 0; b < nblock; b++) {
        int64_t y0, y1;
        row_block(ccd->ny, b, &y0, &y1);
        for (int64_t y = y0; y < y1; y++)
            read_row(ccd, e, y, plane + y * nx, nothing, electrons + b * (nx + SIM_OVERSCAN), raw + y * ccd->raw_nx);
    }
    free(electrons);
    return ERR_OK;
}

enum err sim_noise_plane(uint64_t seed, uint32_t exposure, int64_t nx, int64_t ny, double rdnoise_e, float *plane, struct error *err)
{
    int64_t nblock = row_blocks(ny);
    float *scratch = mem_array((size_t)(nblock * nx), sizeof *scratch), rn2 = (float)(rdnoise_e * rdnoise_e);
    if (!scratch) return ERROR(err, ERR_NOMEM, "no memory for noise");
    /* A block writes its own rows of plane and its own row of scratch. */
#pragma omp parallel for schedule(static) default(none) shared(plane, scratch, seed, exposure, nx, ny, rn2, nblock)
    for (int64_t b = 0; b < nblock; b++) {
        int64_t y0, y1;
        row_block(ny, b, &y0, &y1);
        for (int64_t y = y0; y < y1; y++) {
            struct sim_draw d = {.key = {(uint32_t)seed, (uint32_t)(seed >> 32)}, .row = (uint32_t)y, .exposure = exposure};
            kernels()->noise(&d, nx, plane + y * nx, rn2, scratch + b * nx);
            memcpy(plane + y * nx, scratch + b * nx, (size_t)nx * sizeof *plane);
        }
    }
    free(scratch);
    return ERR_OK;
}
