/* Streaks against the truth of the simulator, and what must not be taken for one.
 *
 *     accuracy_streaks [SIDE]
 *
 * Each row of the table: fields with one streak of some brightness and width at random angles, sparse and crowded. Found: its
 * pixels above a third of the sky's scatter that are masked. Extra: masked pixels further than 6 pixels beyond its 3 sigma.
 * Then fields without: stars alone, bright stars with spikes, galaxies seen from the edge, a step between amplifiers.
 * Exit status 1 when a streak as bright as the scatter of a pixel is missed, or anything else is masked.           */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/stats.h"
#include "common/units.h"
#include "processors/simulate.h"
#include "processors/streak.h"

#define SKY_E     200.0
#define RDNOISE_E 5.0
#define FIELDS    6

struct field {
    int64_t side;
    float *sci;
    mask_t *mask;
};

static void field_new(struct field *f, int64_t side)
{
    f->side = side;
    f->sci = mem_array((size_t)(side * side), sizeof(float));
    f->mask = mem_zarray((size_t)(side * side), sizeof(mask_t));
    if (!f->sci || !f->mask) abort();
}

static void field_light(struct field *f, uint64_t seed, int64_t nstar, const struct sim_streak *streak)
{
    struct philox p;
    struct sim_source *star = mem_zarray((size_t)nstar, sizeof *star);
    struct sim_scene scene = {.nx = f->side, .ny = f->side, .sky_e = SKY_E, .slope_x = 0.03, .psf = {3, 3, 0, 0}, .nsource = nstar, .source = star, .nstreak = streak != NULL};
    if (!star) abort();
    philox_init(&p, seed, 1);
    for (int64_t i = 0; i < nstar; i++)
        star[i] = (struct sim_source){.x = philox_uniform(&p) * (double)f->side, .y = philox_uniform(&p) * (double)f->side, .flux = 300 * pow(2000, pow(philox_uniform(&p), 2.5))};
    if (streak) scene.streak[0] = *streak;
    if (sim_light(&scene, f->sci, NULL, NULL, NULL)) abort();
    free(star);
}

static void field_finish(struct field *f, uint64_t seed)
{
    int64_t n = f->side * f->side;
    if (sim_noise_plane(seed, 1, f->side, f->side, RDNOISE_E, f->sci, NULL)) abort();
    for (int64_t i = 0; i < n; i++) f->mask[i] = f->sci[i] > 60000 ? MASK_SATURATED : 0;
}

static void hunt(struct field *f, struct streak_counts *c, double *seconds)
{
    struct streak_options o;
    streak_options_init(&o);
    double t = omp_get_wtime();
    if (streak_mask(f->sci, f->mask, f->side, f->side, &o, c, NULL)) abort();
    t = omp_get_wtime() - t;
    if (t < *seconds) *seconds = t;
}

static double away(const struct sim_streak *k, int64_t x, int64_t y)
{
    return fabs(((double)x - k->x) * sin(k->angle_rad) - ((double)y - k->y) * cos(k->angle_rad));
}

static int streak_row(int64_t side, double peak_sigma, double width, int64_t nstar, bool bar)
{
    double sigma = sqrt(SKY_E + RDNOISE_E * RDNOISE_E), seconds = 1e30;
    int64_t wanted = 0, found = 0, extra = 0;
    int lines = 0;
    for (uint64_t seed = 1; seed <= FIELDS; seed++) {
        struct philox p;
        struct field f;
        struct streak_counts c;
        philox_init(&p, seed, 2);
        struct sim_streak k = {.x = (0.3 + 0.4 * philox_uniform(&p)) * (double)side, .y = (0.3 + 0.4 * philox_uniform(&p)) * (double)side,
                               .angle_rad = PI * philox_uniform(&p), .peak_e = peak_sigma * sigma, .sigma_px = width};
        field_new(&f, side);
        field_light(&f, seed, nstar, &k);
        field_finish(&f, seed);
        hunt(&f, &c, &seconds);
        lines += c.n > 0;
        for (int64_t y = 0; y < side; y++)
            for (int64_t x = 0; x < side; x++) {
                double d = away(&k, x, y);
                bool masked = f.mask[y * side + x] & MASK_STREAK, is = k.peak_e * exp(-0.5 * d * d / (width * width)) > sigma / 3;
                wanted += is;
                found += is && masked;
                extra += masked && d > 3 * width + 6;
            }
        free(f.sci);
        free(f.mask);
    }
    printf("streak, peak %4.1f sigma, width %4.1f px, %6lld stars   lines %d of %d, pixels found %6.2f%%, extra %6lld   %6.0f Mpix/s\n", peak_sigma, width, (long long)nstar,
           lines, FIELDS, wanted ? 100.0 * (double)found / (double)wanted : 100, (long long)extra, (double)(side * side) / 1e6 / seconds);
    return bar && (lines < FIELDS || (wanted && (double)found < 0.97 * (double)wanted) || extra > 0);
}

/* Arms of light on a bright star that fade with distance, as those of a telescope's vanes. */
static void add_spikes(struct field *f, double x0, double y0, double angle)
{
    for (int64_t y = 0; y < f->side; y++)
        for (int64_t x = 0; x < f->side; x++) {
            double dx = (double)x - x0, dy = (double)y - y0, c = cos(angle), s = sin(angle);
            for (int arm = 0; arm < 2; arm++) {
                double u = arm ? -dx * s + dy * c : dx * c + dy * s, v = arm ? dx * c + dy * s : -dx * s + dy * c;
                f->sci[y * f->side + x] += (float)(40000 / (1 + u * u / 100) * exp(-0.5 * v * v / 2.25));
            }
            f->sci[y * f->side + x] += (float)(2e6 / (2 * PI * 4) * exp(-0.5 * (dx * dx + dy * dy) / 4));
        }
}

static void add_disc(struct field *f, double x0, double y0, double angle, double length)
{
    for (int64_t y = 0; y < f->side; y++)
        for (int64_t x = 0; x < f->side; x++) {
            double dx = (double)x - x0, dy = (double)y - y0, u = dx * cos(angle) + dy * sin(angle), v = -dx * sin(angle) + dy * cos(angle);
            f->sci[y * f->side + x] += (float)(400 * exp(-fabs(u) / length - fabs(v) / 5));
        }
}

static int innocent_row(int64_t side, const char *what, int kind)
{
    int lines = 0, alone[STREAK_REASONS] = {0};
    int64_t pixels = 0;
    double seconds = 1e30;
    for (uint64_t seed = 11; seed < 11 + FIELDS; seed++) {
        struct field f;
        struct streak_counts c;
        struct philox p;
        philox_init(&p, seed, 3);
        field_new(&f, side);
        field_light(&f, seed, kind == 1 ? side * side / 300 : side * side / 2000, NULL);
        double x = (0.3 + 0.4 * philox_uniform(&p)) * (double)side, y = (0.3 + 0.4 * philox_uniform(&p)) * (double)side, angle = PI * philox_uniform(&p);
        if (kind == 2) add_spikes(&f, x, y, angle);
        if (kind == 3) add_disc(&f, x, y, angle, 120);
        if (kind == 4)
            for (int64_t i = 0; i < side * side; i++) f.sci[i] += i % side >= side / 2 ? 6.0f : 0.0f;
        field_finish(&f, seed);
        hunt(&f, &c, &seconds);
        lines += c.n;
        pixels += c.pixels;
        for (int r = 0; r < STREAK_REASONS; r++) alone[r] += c.left_alone[r];
        free(f.sci);
        free(f.mask);
    }
    printf("%-46s   masked %d lines, %lld pixels of %d fields; left alone:", what, lines, (long long)pixels, FIELDS);
    for (int r = 0; r < STREAK_REASONS; r++) printf(" %d %s%s", alone[r], streak_reason_name((enum streak_reason)r), r + 1 < STREAK_REASONS ? "," : "");
    printf("   %.0f Mpix/s\n", (double)(side * side) / 1e6 / seconds);
    return lines > 0;
}

int main(int argc, char **argv)
{
    int64_t side = argc > 1 ? atoll(argv[1]) : 1024, sparse = side * side / 2000, crowded = side * side / 400;
    int missed = 0;
    printf("streaks, %lld x %lld, seeds 1 to %d; bars: every line of 1 sigma or more, 97 %% of its pixels, nothing else\n", (long long)side, (long long)side, FIELDS);
    missed |= streak_row(side, 10, 1.5, sparse, true);
    missed |= streak_row(side, 2, 1.5, sparse, true);
    missed |= streak_row(side, 1, 2.5, sparse, true);
    missed |= streak_row(side, 0.5, 2.5, sparse, false);
    missed |= streak_row(side, 0.3, 2.5, sparse, false);
    missed |= streak_row(side, 50, 6, sparse, true);
    missed |= streak_row(side, 5, 2.5, crowded, true);
    missed |= innocent_row(side, "stars alone", 0);
    missed |= innocent_row(side, "a crowded field", 1);
    missed |= innocent_row(side, "spikes of a saturated star", 2);
    missed |= innocent_row(side, "a galaxy from its edge, scale 120 px", 3);
    missed |= innocent_row(side, "a step between amplifiers, 0.4 sigma", 4);
    return missed;
}
