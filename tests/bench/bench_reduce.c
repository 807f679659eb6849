/* Speed of the stages of reduce and master on arrays in memory: Mpix/s, share of the memory bandwidth this machine shows
 * on a copy, and the ratio of one thread to all. Usage: bench_reduce [side [frames]] */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/isa.h"
#include "common/stats.h"
#include "processors/calibrate.h"
#include "processors/combine.h"

#define REPEATS 5

struct data {
    int64_t nx, ny;
    int nframes;
    uint16_t *raw; /* nframes planes of ny rows; the first serves calibrate */
    float *a, *b, *c, *d, *sci, *var;
    mask_t *mask;
    struct amp amp[2];
    struct calibrate_plan plan;
};

static double best_of(void (*work)(struct data *), struct data *d)
{
    double best = 1e30;
    for (int i = 0; i < REPEATS; i++) {
        double t = omp_get_wtime();
        work(d);
        t = omp_get_wtime() - t;
        if (t < best) best = t;
    }
    return best;
}

/* Three streams of floats: what the machine moves when nothing is computed. */
static void stream(struct data *d)
{
    int64_t n = d->nx * d->ny;
    float *a = d->a, *b = d->sci, *c = d->c;
#pragma omp parallel for default(none) shared(a, b, c, n) schedule(static)
    for (int64_t i = 0; i < n; i++) b[i] = a[i] + 0.5f * c[i];
}

static void calibrate(struct data *d)
{
    struct raw_rows raw = {.nx = d->nx, .y0 = 0, .y1 = d->ny, .u16 = d->raw};
    struct calibrate_counts counts;
    if (calibrate_frame(&raw, d->amp, 2, &d->plan, d->sci, d->var, d->mask, &counts, NULL)) abort();
}

static void stack(struct data *d)
{
    struct combine_options opt = {3, 3, 5};
    struct combine_noise noise = {400, 1, 1, true};
    int64_t nx = d->nx, rows = d->ny / d->nframes;
#pragma omp parallel default(none) shared(d, opt, noise, nx, rows)
    {
        struct combine *c;
        if (combine_new(d->nframes, &opt, &c, NULL)) abort();
        struct combine_frame *f = calloc((size_t)d->nframes, sizeof *f);
        uint16_t *count = calloc((size_t)nx, sizeof *count);
        if (!f || !count) abort();
#pragma omp for schedule(dynamic, 1)
        for (int64_t y = 0; y < rows; y++) {
            for (int i = 0; i < d->nframes; i++)
                f[i] = (struct combine_frame){.u16 = d->raw + ((int64_t)i * rows + y) * nx, .level_adu = 1000, .gain = 1.5f,
                                              .limit_adu = 65535, .scale = 1};
            combine_run(c, f, nx, d->a + y * nx, NULL, &noise, d->sci + y * nx, d->var + y * nx, count);
        }
        combine_free(c);
        free(f);
        free(count);
    }
}

static void row(const char *name, void (*work)(struct data *), struct data *d, double mpix, double bytes_per_pixel, double copy_gb)
{
    int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    double one = best_of(work, d);
    omp_set_num_threads(threads);
    double all = best_of(work, d);
    printf("%-28s %8.0f Mpix/s %6.1f GB/s %5.0f %% of copy   %d threads: %8.0f Mpix/s, x %.2f\n", name, mpix / one,
           mpix * bytes_per_pixel / one / 1e3, 100 * mpix * bytes_per_pixel / one / 1e3 / copy_gb, threads, mpix / all, one / all);
}

int main(int argc, char **argv)
{
    int64_t side = argc > 1 ? atoll(argv[1]) : 4096;
    int nframes = argc > 2 ? atoi(argv[2]) : 25;
    struct data d = {.nx = side, .ny = side, .nframes = nframes};
    size_t n = (size_t)(side * side);
    struct philox p;
    philox_init(&p, 1, 0);
    d.raw = mem_array(n, 2);
    d.a = mem_zarray(n, 4);
    d.b = mem_zarray(n, 4);
    d.c = mem_array(n, 4);
    d.d = mem_zarray(n, 4);
    d.sci = mem_zarray(n, 4);
    d.var = mem_zarray(n, 4);
    d.mask = mem_zarray(n, 2);
    mask_t *bad = mem_zarray(n, 2);
    if (!d.raw || !d.a || !d.b || !d.c || !d.d || !d.sci || !d.var || !d.mask || !bad) return 1;
    float noise[4096];
    for (int i = 0; i < 4096; i++) noise[i] = (float)(20 * philox_normal(&p));
    for (size_t i = 0; i < n; i++) {
        d.raw[i] = (uint16_t)(2000 + noise[philox_u32(&p) % 4096]);
        d.c[i] = 1;
    }
    d.plan = (struct calibrate_plan){side, side, d.a, d.b, d.c, d.d, bad};
    for (int i = 0; i < 2; i++)
        d.amp[i] = (struct amp){.name = "A", .data = {i * side / 2, (i + 1) * side / 2, 0, side}, .dest = {i * side / 2, (i + 1) * side / 2, 0, side},
                                .overscan = {0, 32, 0, side}, .gain_e_per_adu = 1.5, .rdnoise_e = 5, .saturate_adu = 60000};
    int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    double mpix = (double)n / 1e6, copy_gb = mpix * 12 / best_of(stream, &d) / 1e3;
    omp_set_num_threads(threads);
    printf("isa %s, %lld x %lld, copy of one thread %.1f GB/s\n", isa_name(isa_level()), (long long)side, (long long)side, copy_gb);
    row("calibrate (u16, all masters)", calibrate, &d, mpix, 30, copy_gb);
    row("stack (input pixels)", stack, &d, (double)(side / nframes * nframes * side) / 1e6, 2, copy_gb);
    return 0;
}
