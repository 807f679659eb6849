/* Rate of the row writer: rows of a query, over and over until there are enough, through COPY BINARY into each format.
 *
 *     bench_rows [ROWS [QUERY]]      10000000 "SELECT ... 17 columns FROM detection"      DATABASE_URL
 *
 * Prints rows/s of the whole, processor seconds of this process per million rows (PostgreSQL's own work is not in them), bytes
 * per row and the largest memory. The sink counts; FITS waits in a file as it does in the service.                   */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "catalog/rowset.h"
#include "common/log.h"

static const char seventeen[] =
    "SELECT det_id, hpx29, ra, dec, mjd, x, y, night, recipe_id, flux_auto, fluxerr_auto, flux_aper1, fwhm, snr, isoarea, imaflags, flags FROM detection";

#define L ROWSET_LONG
#define D ROWSET_DOUBLE
#define F ROWSET_FLOAT
#define I ROWSET_INT
static const struct rowset_column columns[] = {
    {"det_id", L, "", "", NULL, "", NULL, NULL},      {"hpx29", L, "", "", NULL, "", NULL, NULL},     {"ra", D, "deg", "", NULL, "", NULL, NULL},
    {"dec", D, "deg", "", NULL, "", NULL, NULL},      {"mjd", D, "d", "", NULL, "", NULL, NULL},      {"x", D, "pixel", "", NULL, "", NULL, NULL},
    {"y", D, "pixel", "", NULL, "", NULL, NULL},      {"night", I, "", "", NULL, "", NULL, NULL},     {"recipe_id", I, "", "", NULL, "", NULL, NULL},
    {"flux_auto", F, "", "", NULL, "", NULL, NULL},   {"fluxerr_auto", F, "", "", NULL, "", NULL, NULL}, {"flux_aper1", F, "", "", NULL, "", NULL, NULL},
    {"fwhm", F, "pixel", "", NULL, "", NULL, NULL},   {"snr", F, "", "", NULL, "", NULL, NULL},       {"isoarea", I, "", "", NULL, "", NULL, NULL},
    {"imaflags", I, "", "", NULL, "", NULL, NULL},    {"flags", ROWSET_SHORT, "", "", NULL, "", NULL, NULL},
};

struct state {
    struct rowset *r;
    int64_t wanted, bytes;
};

static bool count(void *user, const char *data, size_t size)
{
    (void)data;
    ((struct state *)user)->bytes += (int64_t)size;
    return true;
}

static enum err one(void *user, const char *data, int size, struct error *err)
{
    struct state *s = user;
    if (rowset_rows(s->r) >= s->wanted) return ERR_INTERRUPTED;
    return rowset_copy_row(s->r, data, size, NULL, err);
}

static double used(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + 1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

int main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    struct state s = {.wanted = argc > 1 ? atoll(argv[1]) : 10000000};
    char sql[2000];
    const char *url = getenv("DATABASE_URL");
    struct db *db = NULL;
    snprintf(sql, sizeof sql, "COPY (%s) TO STDOUT BINARY", argc > 2 ? argv[2] : seventeen);
    if (!url || db_open(url, "bench_rows", &db, &err)) return fprintf(stderr, "bench_rows: set DATABASE_URL: %s\n", err.message), 1;
    for (int f = 0; f < ROWSET_FORMATS; f++) {
        const struct rowset_options opt = {.format = (enum rowset_format)f, .columns = columns, .ncol = (int)(sizeof columns / sizeof columns[0]), .table = "detection", .description = ""};
        double start = clock_seconds(), cpu = used();
        int64_t before;
        s.bytes = 0;
        if (rowset_new(&opt, count, &s, &s.r, &err)) return 1;
        do {
            before = rowset_rows(s.r);
            enum err e = db_copy_out(db, sql, one, &s, &err);
            if (e && e != ERR_INTERRUPTED) return fprintf(stderr, "bench_rows: %s\n", err.message), 1;
        } while (rowset_rows(s.r) < s.wanted && rowset_rows(s.r) > before);
        if (rowset_end(s.r, false, NULL, &err)) return fprintf(stderr, "bench_rows: %s\n", err.message), 1;
        int64_t n = rowset_rows(s.r);
        struct rusage u;
        rowset_free(s.r);
        getrusage(RUSAGE_SELF, &u);
        printf("%-11s %lld rows: %8.0f rows/s, %.2f s of processor per million rows, %.0f bytes a row, at most %ld MB\n", rowset_format_name((enum rowset_format)f), (long long)n,
               (double)n / (clock_seconds() - start), (used() - cpu) / ((double)n / 1e6), (double)s.bytes / (double)n, u.ru_maxrss / 1024);
    }
    db_close(db);
    return 0;
}
