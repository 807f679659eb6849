/* Rate of ingest: a seeded catalogue, stored by several writers through the catalogue's own door.
 *
 *     bench_ingest [WRITERS [OBJECTS [EPOCHS [ROWS_PER_CCD [NIGHTS [SEED]]]]]]      4 50000 20 2500 20 1
 *
 * OBJECTS constant stars over 100 square degrees around (180, 0), more than 50,000 over as many more, seen EPOCHS times with 0.1 arcsec of scatter; each epoch is
 * one exposure of OBJECTS / ROWS_PER_CCD CCDs. Up to 5 million rows are made before the clock starts, more of them as they
 * are stored; each writer, a process with a connection of its own, stores its share: token, COPY, exposure, CCD, commit. Database: DATABASE_URL or the private one. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "catalog/associate.h"
#include "catalog/ingest.h"
#include "common/log.h"

#define ROWS_BEFORE 5000000

struct plan {
    int writers, objects, epochs, per_ccd, nights, seed;
};

static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* Uniform in [0, 1) from what it is for. */
static double uniform(uint64_t seed, uint64_t a, uint64_t b, uint64_t c)
{
    return (double)(mix(mix(mix(seed * 1000003 + a) + b) + c) >> 11) * 0x1p-53;
}

static void make_row(const struct plan *p, int object, int epoch, int seq, struct catrow *r)
{
    double jitter = 0.1 / 3600, u = uniform((uint64_t)p->seed, (uint64_t)object, 0, 1);
    *r = (struct catrow){.seq = seq};
    /* objects of one CCD are neighbours: a strip in right ascension */
    double area = p->objects > 50000 ? p->objects / 500.0 : 100, width = area > 100 ? fmin(area / 10, 340) : 10, height = area / width;
    r->ra = 180 + width * (((double)object + u) / p->objects - 0.5) + jitter * (uniform((uint64_t)p->seed, (uint64_t)object, (uint64_t)epoch, 2) - 0.5);
    r->dec = height * (-0.5 + uniform((uint64_t)p->seed, (uint64_t)object, 0, 3)) + jitter * (uniform((uint64_t)p->seed, (uint64_t)object, (uint64_t)epoch, 4) - 0.5);
    r->x = 1 + 4095 * u;
    r->y = 1 + 4095 * uniform((uint64_t)p->seed, (uint64_t)object, 0, 5);
    float flux = (float)pow(10, 2 + 3 * uniform((uint64_t)p->seed, (uint64_t)object, 0, 6));
    float noise = (float)(uniform((uint64_t)p->seed, (uint64_t)object, (uint64_t)epoch, 7) - 0.5);
    r->ra_err = r->dec_err = 0.05f;
#define X(field, name, element) r->field = noise;
    CATROW_REALS(X)
#undef X
    r->flux_auto = r->flux_aper1 = r->flux_aper2 = r->flux_aper3 = flux * (1 + 0.01f * noise);
    r->fluxerr_auto = r->fluxerr_aper1 = r->fluxerr_aper2 = r->fluxerr_aper3 = flux * 0.005f + 1;
    r->isoarea = 20;
}

static void make_ccd(const struct plan *p, int epoch, int ccd, struct catfile *c)
{
    memset(c, 0, sizeof *c);
    strcpy(c->instrument, "bench");
    snprintf(c->exposure_key, sizeof c->exposure_key, "bench/%d/%d", p->seed, epoch);
    snprintf(c->raw_sha256, sizeof c->raw_sha256, "%d-%d-%d", p->seed, epoch, ccd);
    strcpy(c->recipe, "be4c00000000be4c");
    strcpy(c->program_version, "bench");
    strcpy(c->filter, epoch % 2 ? "r" : "g");
    strcpy(c->quality, "pass");
    strcpy(c->magzero_kind, "absolute");
    int night = epoch * p->nights / p->epochs;
    c->ccd = ccd;
    c->night = 20250101 + night % 28 + 100 * (night / 28);
    c->mjd_mid = 60676.2 + night + 0.001 * epoch;
    c->exptime_s = 30;
    c->mjd_start = c->mjd_mid;
    c->nx = c->ny = 4096;
    c->magzero = 25;
    c->magzero_err = 0.01;
    c->seeing_arcsec = 1.5;
    c->pixel_scale = 0.5;
    c->longitude = -105.8, c->latitude = 32.8, c->height_m = 2800;
    c->ra = c->dec = c->airmass = c->centre_ra = c->centre_dec = c->sky_e = c->sky_noise_e = c->depth = c->astrom_rms_arcsec = NAN;
    for (int i = 0; i < 4; i++) c->corner_ra[i] = c->corner_dec[i] = NAN;
    int first = ccd * p->per_ccd, last = first + p->per_ccd < p->objects ? first + p->per_ccd : p->objects;
    c->rows = malloc((size_t)p->per_ccd * sizeof *c->rows);
    if (!c->rows) exit(EXIT_TRANSIENT);
    for (int o = first; o < last; o++) make_row(p, o, epoch, o - first + 1, &c->rows[c->n++]);
    if (catfile_sort(c, NULL)) exit(EXIT_BUG);
}

static int fail(const struct error *err)
{
    char line[1500];
    fprintf(stderr, "bench_ingest: %s\n", error_line(err, line, sizeof line));
    return (int)err_exit_code(err->code);
}

/* One writer: makes its rows, says so, waits for the start, stores. */
static int writer(const struct plan *p, const char *url, int k, int ready, int go)
{
    int ccds = (p->objects + p->per_ccd - 1) / p->per_ccd, total = ccds * p->epochs, n = 0;
    struct catfile *list = calloc((size_t)total, sizeof *list);
    struct db *db = NULL;
    struct ingester g;
    struct error err = ERROR_INIT;
    struct ingest_result r;
    char byte = 0;
    if (!list || db_open(url, "bench_ingest", &db, &err)) return fail(&err);
    bool before = (int64_t)p->objects * p->epochs <= ROWS_BEFORE;
    for (int i = k; i < total; i += p->writers, n++)
        if (before) make_ccd(p, i / ccds, i % ccds, &list[n]);
    ingester_init(&g, db, NULL);
    if (write(ready, &byte, 1) != 1 || read(go, &byte, 1) < 0) return EXIT_BUG;
    for (int i = 0; i < n; i++) {
        int ccd = k + i * p->writers;
        if (!before) make_ccd(p, ccd / ccds, ccd % ccds, &list[i]);
        if (ingest_ccd(&g, &list[i], NULL, true, &r, &err)) return fail(&err);
        if (!before) catfile_release(&list[i]);
    }
    for (int i = 0; i < n && before; i++) catfile_release(&list[i]);
    free(list);
    ingester_release(&g);
    db_close(db);
    return 0;
}

/* Start the writers, open the gate, wait. Returned: seconds, negative when one failed. */
static double run_writers(const struct plan *p, const char *url)
{
    int ready[2], go[2], status, bad = 0;
    char byte;
    if (pipe(ready) || pipe(go)) return -1;
    for (int k = 0; k < p->writers; k++) {
        pid_t pid = fork();
        if (pid < 0) return -1;
        if (pid == 0) {
            close(go[1]);
            _exit(writer(p, url, k, ready[1], go[0]));
        }
    }
    close(ready[1]);
    for (int k = 0; k < p->writers; k++)
        if (read(ready[0], &byte, 1) != 1) bad = 1;
    double start = clock_seconds();
    close(go[1]);
    for (int k = 0; k < p->writers; k++)
        if (wait(&status) < 0 || status) bad = 1;
    return bad ? -1 : clock_seconds() - start;
}

int main(int argc, char **argv)
{
    int v[6] = {4, 50000, 20, 2500, 20, 1};
    for (int i = 1; i < argc && i <= 6; i++) v[i - 1] = atoi(argv[i]);
    struct plan p = {v[0], v[1], v[2], v[3], v[4], v[5]};
    if (p.writers < 1 || p.objects < 1 || p.epochs < 1 || p.per_ccd < 1 || p.per_ccd > SEQ_MAX || (p.objects - 1) / p.per_ccd > CCD_MAX) return EXIT_USAGE;
    struct error err = ERROR_INIT;
    struct settings *s = settings_new();
    char *url = NULL;
    if (!s || settings_load(s, NULL, &err)) return fail(&err);
    const char *given = getenv("DATABASE_URL");
    if (!given || !*given) return fprintf(stderr, "bench_ingest: set DATABASE_URL (`nightshift db up` prints one)\n"), EXIT_USAGE;
    url = strdup(given);
    int64_t rows = (int64_t)p.objects * p.epochs;
    double first = run_writers(&p, url), again = first < 0 ? -1 : run_writers(&p, url);
    if (again < 0) return EXIT_BUG;
    printf("ingest   %lld rows, %d writers, %d rows a CCD, %d nights: %.2f s, %.0f rows/s\n", (long long)rows, p.writers, p.per_ccd, p.nights, first, (double)rows / first);
    printf("replay   the same inputs: %.2f s, %.0f rows/s\n", again, (double)rows / again);
    struct db *db = NULL;
    struct associate_result a;
    if (db_open(url, "bench_ingest", &db, &err)) return fail(&err);
    for (int i = 0; i < 2; i++) {
        double start = clock_seconds();
        if (associate_night(db, s, NULL, 20250101, &a, &err)) return fail(&err);
        double elapsed = clock_seconds() - start;
        printf("%s %lld rows to %lld objects, %lld associations written: %.2f s, %.0f rows/s\n", i ? "again   " : "associate", (long long)a.detections,
               (long long)a.founded, (long long)a.changed, elapsed, (double)a.detections / elapsed);
    }
    db_close(db);
    free(url);
    settings_free(s);
    return 0;
}
