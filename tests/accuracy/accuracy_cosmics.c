/* Cosmic rays against the truth of the simulator, and the speed of finding them.
 *
 *     accuracy_cosmics [SIDE [DUMP_FOLDER]]
 *
 * Per seeing: a field of stars and galaxies, tracks of cosmic rays (their charge known pixel by pixel), Poisson and read noise,
 * the variance as `reduce` would know it. Found: pixels with a deposit above 5 sigma that are flagged. False: flagged pixels
 * whose deposit is below 1 sigma. Cores: pixels within 1 px of a star of S/N > 10 without a deposit that are flagged.
 * DUMP_FOLDER: planes as raw floats for a peer on the same input (tests/bench/cosmics). Exit status 1 when a bar is missed.  */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/isa.h"
#include "common/stats.h"
#include "processors/cosmic.h"
#include "processors/simulate.h"

#define RDNOISE_E 5.0
#define SKY_E     200.0
#define REPEATS   5
#define NFWHM     3

struct field {
    int64_t n;
    float *clean, *sci, *var, *deposit, *work;
    mask_t *mask;
    int64_t nsource;
    struct sim_source *source;
};

static void *must(void *p)
{
    if (!p) abort();
    return p;
}

static void make_sources(struct field *f, int64_t side, double fwhm, struct philox *p)
{
    f->nsource = side * side / 2000; /* 8,000 on 4096 x 4096 */
    f->source = must(mem_zarray((size_t)f->nsource, sizeof *f->source));
    for (int64_t i = 0; i < f->nsource; i++) {
        struct sim_source *s = &f->source[i];
        s->x = philox_uniform(p) * (double)side - 0.5;
        s->y = philox_uniform(p) * (double)side - 0.5;
        s->flux = 300 * pow(2000, pow(philox_uniform(p), 2.5)); /* 300 to 600,000 electrons, most of them faint */
        if (i % 10) continue;
        s->flux = fmin(s->flux, 20000);
        s->re_px = (float)(fwhm * (0.3 + 0.7 * philox_uniform(p))); /* the simulator's galaxy is made of points that the seeing must blend */
        s->sersic_n = 1;
        s->axis_ratio = 0.5f;
        s->angle_deg = (float)(i % 180);
    }
}

static void make_field(struct field *f, int64_t side, double fwhm, uint64_t seed)
{
    struct philox p;
    struct error err = ERROR_INIT;
    struct sim_ccd ccd;
    struct sim_ccd_options co = {.seed = seed, .number = 1, .namp = 1, .nx = side, .ny = side, .centre_x = (double)side / 2, .centre_y = (double)side / 2,
                                 .field_radius_px = (double)side * 100};
    f->n = side * side;
    f->clean = must(mem_array((size_t)f->n, sizeof(float)));
    f->sci = must(mem_array((size_t)f->n, sizeof(float)));
    f->var = must(mem_array((size_t)f->n, sizeof(float)));
    f->deposit = must(mem_zarray((size_t)f->n, sizeof(float)));
    f->work = must(mem_array((size_t)f->n, sizeof(float)));
    f->mask = must(mem_zarray((size_t)f->n, sizeof(mask_t)));
    philox_init(&p, seed, 1);
    make_sources(f, side, fwhm, &p);
    struct sim_scene scene = {.nx = side, .ny = side, .sky_e = SKY_E, .psf = {fwhm, 3, 0.02, -0.01}, .nsource = f->nsource, .source = f->source};
    if (sim_light(&scene, f->clean, NULL, NULL, &err) || sim_ccd_init(&ccd, &co, &err)) abort();
    /* The deposit alone: a dark exposure of a detector without defects. 40 tracks per Mpix, some ten minutes. */
    ccd.nhot = ccd.ncolumn = 0;
    ccd.dark_rate = 0;
    struct sim_exposure e = {.seed = seed, .number = 1, .exptime_s = 1, .darktime_s = 1, .cosmics_per_mpix_s = 40};
    ccd.full_well = 1e9;
    if (sim_expose(&ccd, &e, f->deposit, NULL, &err)) abort();
    for (int64_t i = 0; i < f->n; i++) f->sci[i] = f->clean[i] + f->deposit[i];
    if (sim_noise_plane(seed, 1, side, side, RDNOISE_E, f->sci, &err)) abort();
    for (int64_t i = 0; i < f->n; i++) f->var[i] = (f->sci[i] > 0 ? f->sci[i] : 0) + (float)(RDNOISE_E * RDNOISE_E);
    sim_ccd_release(&ccd);
}

static void release_field(struct field *f)
{
    free(f->clean);
    free(f->sci);
    free(f->var);
    free(f->deposit);
    free(f->work);
    free(f->mask);
    free(f->source);
}

static void run(struct field *f, int64_t side, struct cosmic_counts *c)
{
    struct cosmic_options o;
    cosmic_options_init(&o);
    memcpy(f->work, f->sci, (size_t)f->n * sizeof(float));
    memset(f->mask, 0, (size_t)f->n * sizeof(mask_t));
    if (cosmic_reject(f->work, f->var, f->mask, side, side, &o, c, NULL)) abort();
}

struct score {
    double found, false_share, cores;
    int64_t hits, flagged, core_pixels;
};

static double sigma_of(const struct field *f, int64_t i)
{
    return sqrt((double)f->clean[i] + RDNOISE_E * RDNOISE_E);
}

static struct score score(const struct field *f, int64_t side)
{
    struct score s = {0};
    int64_t found = 0, wrong = 0, core_flagged = 0;
    for (int64_t i = 0; i < f->n; i++) {
        bool flagged = f->mask[i] & MASK_COSMIC;
        double deposit = (double)f->deposit[i] / sigma_of(f, i);
        s.hits += deposit > 5;
        found += deposit > 5 && flagged;
        s.flagged += flagged;
        wrong += flagged && deposit < 1;
    }
    for (int64_t k = 0; k < f->nsource; k++) {
        const struct sim_source *star = &f->source[k];
        if (star->re_px > 0 || star->flux < 10 * 10 * sqrt(SKY_E)) continue;
        for (int64_t y = (int64_t)ceil(star->y - 1); y <= (int64_t)floor(star->y + 1); y++)
            for (int64_t x = (int64_t)ceil(star->x - 1); x <= (int64_t)floor(star->x + 1); x++) {
                if (x < 0 || x >= side || y < 0 || y >= side || (double)f->deposit[y * side + x] > 0) continue;
                s.core_pixels++;
                core_flagged += (f->mask[y * side + x] & MASK_COSMIC) != 0;
            }
    }
    s.found = (double)found / (double)s.hits;
    s.false_share = (double)wrong / (double)(s.flagged ? s.flagged : 1);
    s.cores = (double)core_flagged / (double)(s.core_pixels ? s.core_pixels : 1);
    return s;
}

static void dump(const char *folder, const char *what, double fwhm, const void *data, size_t bytes)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s_%.1f.raw", folder, what, fwhm);
    FILE *out = fopen(path, "wb");
    if (!out || fwrite(data, 1, bytes, out) != bytes || fclose(out)) abort();
}

int main(int argc, char **argv)
{
    const double fwhm[NFWHM] = {2.0, 3.2, 5.0};
    int64_t side = argc > 1 ? atoll(argv[1]) : 2048;
    int missed = 0, threads = omp_get_max_threads();
    printf("cosmic rays, %lld x %lld, seed 7, isa %s; bars: found >= 95 %%, false <= 2 %%, cores < 0.1 %%\n", (long long)side, (long long)side, isa_name(isa_level()));
    printf("%5s %8s %9s %8s %8s %8s %7s %14s %14s\n", "FWHM", "> 5 sig", "found", "flagged", "false", "cores", "rounds", "1 thread", "all threads");
    for (int k = 0; k < NFWHM; k++) {
        struct field f = {0};
        struct cosmic_counts c;
        double best[2] = {1e30, 1e30};
        make_field(&f, side, fwhm[k], 7);
        for (int i = 0; i < 2 * REPEATS; i++) {
            omp_set_num_threads(i % 2 ? threads : 1);
            memcpy(f.work, f.sci, (size_t)f.n * sizeof(float));
            memset(f.mask, 0, (size_t)f.n * sizeof(mask_t));
            struct cosmic_options o;
            cosmic_options_init(&o);
            double t = omp_get_wtime();
            if (cosmic_reject(f.work, f.var, f.mask, side, side, &o, &c, NULL)) abort();
            t = omp_get_wtime() - t;
            if (t < best[i % 2]) best[i % 2] = t;
        }
        run(&f, side, &c);
        struct score s = score(&f, side);
        printf("%5.1f %8lld %8.2f%% %8lld %7.2f%% %7.3f%% %7d %7.1f Mpix/s %7.1f Mpix/s\n", fwhm[k], (long long)s.hits, 100 * s.found, (long long)s.flagged,
               100 * s.false_share, 100 * s.cores, c.rounds, (double)f.n / 1e6 / best[0], (double)f.n / 1e6 / best[1]);
        missed |= s.found < 0.95 || s.false_share > 0.02 || s.cores >= 0.001;
        if (argc > 2) {
            dump(argv[2], "sci", fwhm[k], f.sci, (size_t)f.n * sizeof(float));
            dump(argv[2], "var", fwhm[k], f.var, (size_t)f.n * sizeof(float));
            dump(argv[2], "clean", fwhm[k], f.clean, (size_t)f.n * sizeof(float));
            dump(argv[2], "deposit", fwhm[k], f.deposit, (size_t)f.n * sizeof(float));
            dump(argv[2], "mask", fwhm[k], f.mask, (size_t)f.n * sizeof(mask_t));
        }
        release_field(&f);
    }
    return missed;
}
