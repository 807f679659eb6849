/* accuracy_astrometry [--fields N] [--grid-fields N] [--seed S]: sky coordinates against the truth.
 *
 * Star lists as a frame would give them (positions with their errors, false detections, saturated and missing stars) and
 * reference stars as a catalogue would, from true coordinates (TAN, SIP, TPV) that the header only hints at. The error is that
 * of the solution on a 32 x 32 grid over the frame, in pixels per axis.
 * Ends with 1 when a bar fails.                                                                                         */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/frameio.h"
#include "common/stats.h"
#include "common/units.h"
#include "processors/wcssolve.h"
#include "tests/support/check.h"

enum kind { OFFSET, FLIP, SCALE, TURN, CLUSTER, SIP_HEADER, TPV_HEADER, EPOCH, SPURIOUS, SPARSE, POLE, EVERYTHING, WRONG_SKY, KINDS };
static const char *const kind_name[KINDS] = {"offset to 1 deg", "flip", "scale 5 %", "any rotation", "dense cluster", "SIP header", "TPV header", "epoch, motions",
                                             "spurious, missing", "few stars", "pole and RA 0", "all together", "wrong by 20 deg"};

struct field {
    enum kind kind;
    int64_t nx, ny;
    double scale;                /* arcsec */
    struct header truth, header;
    struct skycoord *true_sky, *rough;
    struct wcs_star *star;
    int nstar;
    struct refstars refs;
    double year;
    int common;                  /* reference stars that were measured */
};

static double uniform(struct philox *p, double low, double high)
{
    return low + (high - low) * philox_uniform(p);
}

/* ---- coordinates ---------------------------------------------------------------------------------------------------- */

static void linear_cards(struct header *h, const char *projection, const double crpix[2], const double crval[2], const double cd[4])
{
    static const char *const names[] = {"CD1_1", "CD1_2", "CD2_1", "CD2_2"};
    char type[16];
    header_init(h);
    snprintf(type, sizeof type, "RA---%s", projection);
    header_set_str(h, "CTYPE1", type, NULL);
    snprintf(type, sizeof type, "DEC--%s", projection);
    header_set_str(h, "CTYPE2", type, NULL);
    header_set_str(h, "RADESYS", "ICRS", NULL);
    for (int k = 0; k < 2; k++) {
        char key[16];
        snprintf(key, sizeof key, "CRPIX%d", k + 1);
        header_set_double(h, key, crpix[k], NULL);
        snprintf(key, sizeof key, "CRVAL%d", k + 1);
        header_set_double(h, key, crval[k], NULL);
    }
    for (int k = 0; k < 4; k++) header_set_double(h, names[k], cd[k], NULL);
}

/* Distortion of `corner` pixels in a corner of the frame: a radial term and some of the others. */
static void sip_cards(struct header *h, struct philox *p, double half, double corner)
{
    double radial = corner / (2 * half * half * half) * uniform(p, 0.5, 1);
    char key[16];
    header_set_int(h, "A_ORDER", 3, NULL);
    header_set_int(h, "B_ORDER", 3, NULL);
    for (int o = 2; o <= 3; o++)
        for (int q = 0; q <= o; q++)
            for (int k = 0; k < 2; k++) {
                double c = 0.1 * corner / pow(half, o) * uniform(p, -1, 1);
                if (o == 3 && (k ? q == 3 || q == 1 : q == 0 || q == 2)) c += radial;
                snprintf(key, sizeof key, "%c_%d_%d", "AB"[k], o - q, q);
                header_set_double(h, key, c, NULL);
            }
}

/* PV terms, in degrees: a radial one (PV_7 and PV_9 as a real prime focus has them) and small others. */
static void tpv_cards(struct header *h, struct philox *p, double half_deg, double corner_deg)
{
    char key[16];
    double radial = corner_deg / (2 * half_deg * half_deg * half_deg) * uniform(p, 0.5, 1);
    for (int axis = 1; axis <= 2; axis++) {
        for (int k = 4; k <= 10; k++) {
            int order = k < 7 ? 2 : 3;
            double c = 0.1 * corner_deg / pow(half_deg, order) * uniform(p, -1, 1);
            if (k == 7 || k == 9) c += radial;
            snprintf(key, sizeof key, "PV%d_%d", axis, k);
            header_set_double(h, key, c, NULL);
        }
        snprintf(key, sizeof key, "PV%d_1", axis);
        header_set_double(h, key, 1.0, NULL);
    }
}

static void make_coordinates(struct field *f, struct philox *p, bool grid_field)
{
    enum kind k = f->kind;
    bool all = k == EVERYTHING, tpv = k == TPV_HEADER || (all && philox_uniform(p) < 0.5), sip = !tpv && (k == SIP_HEADER || all);
    double scale = f->scale / ARCSEC_PER_DEG, angle = uniform(p, 0, 2 * PI), parity = philox_uniform(p) < 0.8 ? -1 : 1;
    double crval[2] = {uniform(p, 0, 360), asin(uniform(p, -0.98, 0.98)) * DEG_PER_RAD};
    if (k == POLE && philox_uniform(p) < 0.6) crval[1] = (philox_uniform(p) < 0.5 ? -1 : 1) * uniform(p, 88.5, 89.99);
    else if (k == POLE) crval[0] = fmod(360 + uniform(p, -0.3, 0.3), 360);
    double crpix[2] = {(double)f->nx * uniform(p, 0.4, 0.6), (double)f->ny * uniform(p, 0.4, 0.6)};
    double cd[4] = {parity * scale * cos(angle), -scale * sin(angle), parity * scale * sin(angle), scale * cos(angle)};
    const char *projection = tpv ? "TPV" : sip ? "TAN-SIP" : "TAN";
    double half = (double)f->nx / 2, corner = uniform(p, 2, 15);
    uint64_t stream = philox_u32(p);
    struct philox same;
    for (int rough = 0; rough < 2; rough++) {
        struct header *h = rough ? &f->header : &f->truth;
        if (rough) {
            double way = uniform(p, 0, 2 * PI), off = grid_field ? 0.003 : all || k == OFFSET ? uniform(p, 0.2, 1.0) : k == WRONG_SKY ? 20 : uniform(p, 0, 0.3);
            double grow = grid_field ? 1 : all || k == SCALE ? uniform(p, 0.95, 1.05) : uniform(p, 0.99, 1.01);
            double turn = grid_field ? 0.002 : k == TURN ? uniform(p, -PI, PI) : all ? uniform(p, -0.3, 0.3) : uniform(p, -0.02, 0.02);
            bool flip = k == FLIP || (all && philox_uniform(p) < 0.5);
            tangent_to_sky(crval[0], crval[1], off * sin(way), off * cos(way), &crval[0], &crval[1]);
            double c = cos(turn) * grow, s = sin(turn) * grow, m[4] = {cd[0], cd[1], cd[2], cd[3]};
            cd[0] = c * m[0] - s * m[2], cd[1] = c * m[1] - s * m[3], cd[2] = s * m[0] + c * m[2], cd[3] = s * m[1] + c * m[3];
            if (flip) cd[0] = -cd[0], cd[2] = -cd[2];
        }
        linear_cards(h, projection, crpix, crval, cd);
        philox_init(&same, stream, 7); /* the rough header has the true distortion */
        if (sip) sip_cards(h, &same, half, corner);
        if (tpv) tpv_cards(h, &same, half * scale, corner * scale);
    }
    struct error err = ERROR_INIT;
    if (skycoord_new(&f->truth, &f->true_sky, &err) || skycoord_new(&f->header, &f->rough, &err)) {
        fprintf(stderr, "coordinates: %s\n", err.message);
        exit(1);
    }
}

/* ---- stars ------------------------------------------------------------------------------------------------------------ */

struct sky_star {
    double ra, dec, mag;
};

/* A magnitude below 0 (limit of the frame), ten times as many per 2.5 magnitudes or so. */
static double draw_mag(struct philox *p)
{
    return fmax(-9, log10(philox_uniform(p)) / 0.33);
}

/* Stars over a disc round the frame; in a dense cluster half of the frame's own stars sit in a core. */
static struct sky_star *make_sky(const struct field *f, struct philox *p, int inframe, int *ret_n)
{
    double cx = (double)(f->nx - 1) / 2, cy = (double)(f->ny - 1) / 2, ra0, dec0, half = hypot(cx, cy) * f->scale / 3600, reach = half + 1.15;
    double area = (double)f->nx * (double)f->ny * f->scale * f->scale / 3600 / 3600;
    skycoord_to_sky(f->true_sky, 1, &cx, &cy, &ra0, &dec0, NULL);
    int64_t n = (int64_t)(inframe * PI * reach * reach / area);
    if (n > 60000) n = 60000;
    int cluster = f->kind == CLUSTER || f->kind == EVERYTHING ? 2 * inframe : 0;
    struct sky_star *s = malloc((size_t)(n + cluster + 1) * sizeof *s);
    for (int i = 0; i < n + cluster; i++) {
        double r = sqrt(philox_uniform(p)) * reach, a = uniform(p, 0, 2 * PI), x = r * cos(a), y = r * sin(a);
        if (i >= n) {
            x = 0.15 * half * philox_normal(p) + 0.2 * half;
            y = 0.15 * half * philox_normal(p);
        } else if (i >= 60000 - 1) break;
        tangent_to_sky(ra0, dec0, x, y, &s[i].ra, &s[i].dec);
        s[i].mag = i >= n ? draw_mag(p) + 0.5 : draw_mag(p);
    }
    *ret_n = (int)n + cluster;
    return s;
}

/* Error of a star's position that a frame with stars of 2.5 pixels FWHM gives at its brightness; the limit is S/N 10. */
static double star_error(double mag)
{
    double snr = 10 * pow(10, -0.4 * mag * 0.8);
    return hypot(1.1 / snr, 0.008);
}

static void make_lists(struct field *f, struct philox *p, const struct sky_star *s, int n, double missing, double spurious)
{
    bool moving = f->kind == EPOCH || f->kind == EVERYTHING;
    double years = f->year - 2016.0;
    f->star = malloc((size_t)(4 * n + 400) * sizeof *f->star);
    f->refs.star = malloc((size_t)(n + 1) * sizeof *f->refs.star);
    for (int i = 0; i < n; i++) {
        double sigma = moving ? 12 : 2, x, y, ra, dec;
        struct refstar r = {.id = i + 1, .ra = s[i].ra, .dec = s[i].dec, .epoch = 2016, .ra_err = 0.3f, .dec_err = 0.3f, .pmra_err = 0.1f, .pmdec_err = 0.1f, .parallax = NAN,
                            .pmra = (float)(sigma * philox_normal(p)), .pmdec = (float)(sigma * philox_normal(p)), .mag = (float)(17 + s[i].mag)};
        if (moving && philox_uniform(p) < 0.02) r.pmra *= 30, r.pmdec *= 30;
        refstar_at(&r, f->year, &ra, &dec, NULL);
        skycoord_to_pixel(f->true_sky, 1, &ra, &dec, &x, &y, NULL);
        bool inside = x > 2 && y > 2 && x < (double)f->nx - 3 && y < (double)f->ny - 3, lost = philox_uniform(p) < missing, unknown = philox_uniform(p) < missing;
        double e = star_error(s[i].mag);
        /* the catalogue's own error, at the epoch of the frame */
        double ref_error = hypot(0.3, 0.1 * years) / 1000 / 3600;
        r.ra += ref_error * philox_normal(p) / fmax(cos(r.dec * RAD_PER_DEG), 1e-6);
        r.dec = fmin(fmax(r.dec + ref_error * philox_normal(p), -90), 90);
        if (r.ra < 0) r.ra += 360;
        if (r.ra >= 360) r.ra -= 360;
        if (inside && !lost && s[i].mag > -5.5) /* the brightest are saturated */
            f->star[f->nstar++] = (struct wcs_star){x + e * philox_normal(p), y + e * philox_normal(p), pow(10, -0.4 * (s[i].mag + 0.3 * philox_normal(p))), e};
        if (unknown) continue;
        f->common += inside && !lost && s[i].mag > -5.5;
        f->refs.star[f->refs.n++] = r;
    }
    for (int64_t i = 0; f->kind == WRONG_SKY && i < f->refs.n; i++) { /* other stars, where the header points */
        double cx = (double)f->nx / 2, cy = (double)f->ny / 2, r = 1.2 * sqrt(philox_uniform(p)), a = uniform(p, 0, 2 * PI);
        skycoord_to_sky(f->rough, 1, &cx, &cy, &cx, &cy, NULL);
        tangent_to_sky(cx, cy, r * cos(a), r * sin(a), &f->refs.star[i].ra, &f->refs.star[i].dec);
    }
    int extra = (int)(spurious * f->nstar) + (spurious > 0 ? 5 : 0);
    for (int i = 0; i < extra; i++)
        f->star[f->nstar++] = (struct wcs_star){uniform(p, 0, (double)f->nx - 1), uniform(p, 0, (double)f->ny - 1), pow(10, -0.4 * draw_mag(p)), 0.05};
}

static int by_brightness(const void *a, const void *b)
{
    double u = ((const struct sky_star *)a)->mag, v = ((const struct sky_star *)b)->mag;
    return (u > v) - (u < v);
}

static int by_dec(const void *a, const void *b)
{
    double u = ((const struct refstar *)a)->dec, v = ((const struct refstar *)b)->dec;
    return (u > v) - (u < v);
}

/* A camera's own header (its distortion), pointed wrong. */
static bool make_real_field(struct field *f, const struct header *h, uint64_t seed, int i)
{
    struct philox p;
    double crval[2], cd[4], turn;
    static const char *const names[] = {"CD1_1", "CD1_2", "CD2_1", "CD2_2"};
    memset(f, 0, sizeof *f);
    philox_init(&p, seed, (uint64_t)i);
    f->kind = TPV_HEADER, f->nx = 2046, f->ny = 4094, f->scale = 0.263, f->year = uniform(&p, 2014, 2020);
    if (header_copy(&f->truth, h, NULL) || header_copy(&f->header, h, NULL) || skycoord_new(&f->truth, &f->true_sky, NULL)) return false;
    for (int k = 0; k < 4; k++)
        if (!header_get_double(h, names[k], &cd[k])) return false;
    if (!header_get_double(h, "CRVAL1", &crval[0]) || !header_get_double(h, "CRVAL2", &crval[1])) return false;
    turn = uniform(&p, -0.02, 0.02);
    tangent_to_sky(crval[0], crval[1], uniform(&p, -0.3, 0.3), uniform(&p, -0.3, 0.3), &crval[0], &crval[1]);
    for (int k = 0; k < 2; k++) {
        header_set_double(&f->header, k ? "CRVAL2" : "CRVAL1", crval[k], NULL);
        header_set_double(&f->header, names[k], cos(turn) * cd[k] - sin(turn) * cd[2 + k], NULL);
        header_set_double(&f->header, names[2 + k], sin(turn) * cd[k] + cos(turn) * cd[2 + k], NULL);
    }
    if (skycoord_new(&f->header, &f->rough, NULL)) return false;
    int n;
    struct sky_star *s = make_sky(f, &p, 250, &n);
    make_lists(f, &p, s, n, 0.1, 0.05);
    free(s);
    qsort(f->refs.star, (size_t)f->refs.n, sizeof *f->refs.star, by_dec);
    return true;
}

static void make_field(struct field *f, enum kind kind, uint64_t seed, int i, bool grid_field)
{
    struct philox p;
    memset(f, 0, sizeof *f);
    philox_init(&p, seed, (uint64_t)i);
    f->kind = kind;
    f->nx = (int64_t)uniform(&p, 1000, 4100);
    f->ny = (int64_t)((double)f->nx * uniform(&p, 0.7, 1.3));
    f->scale = uniform(&p, 0.2, 1.2);
    f->year = kind == EPOCH || kind == EVERYTHING ? uniform(&p, 1990, 2036) : uniform(&p, 2014, 2020);
    make_coordinates(f, &p, grid_field);
    int n, inframe = kind == SPARSE ? (int)uniform(&p, 18, 40) : (int)uniform(&p, 100, 500);
    if (grid_field) inframe = (int)uniform(&p, 170, 400);
    struct sky_star *s = make_sky(f, &p, inframe, &n);
    bool dirty = kind == SPURIOUS || kind == EVERYTHING;
    make_lists(f, &p, s, n, dirty ? 0.3 : 0.1, dirty ? 0.4 : 0.05);
    free(s);
    qsort(f->refs.star, (size_t)f->refs.n, sizeof *f->refs.star, by_dec);
}

static void free_field(struct field *f)
{
    skycoord_free(f->true_sky);
    skycoord_free(f->rough);
    header_release(&f->truth);
    header_release(&f->header);
    free(f->star);
    refstars_release(&f->refs);
}

/* ---- error -------------------------------------------------------------------------------------------------------------- */

static void grid_error(const struct field *f, const struct wcs_sip *sip, double ret_rms[2], double *ret_max)
{
    double sum[2] = {0, 0};
    *ret_max = 0;
    for (int k = 0; k < 32 * 32; k++) {
        double x = (double)(f->nx - 1) * (k % 32) / 31, y = (double)(f->ny - 1) * (k / 32) / 31, ra, dec, u, v;
        skycoord_to_sky(f->true_sky, 1, &x, &y, &ra, &dec, NULL);
        wcs_sip_to_pixel(sip, ra, dec, &u, &v);
        double d = hypot(u - x, v - y);
        sum[0] += (u - x) * (u - x);
        sum[1] += (v - y) * (v - y);
        if (!(d <= *ret_max)) *ret_max = d;
    }
    for (int k = 0; k < 2; k++) ret_rms[k] = sqrt(sum[k] / 1024);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* of this thread alone: other work on the machine does not count */
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct outcome {
    enum wcs_status status;
    double rms[2], worst, ms, odds;
    int order, used;
    bool on_base;
    char reason[160];
};

static struct outcome solve(const struct field *f)
{
    struct wcs_guess g = {.header = f->rough, .ra = NAN, .dec = NAN, .scale_arcsec = NAN, .nx = f->nx, .ny = f->ny, .year = f->year};
    struct wcs_options o = WCS_OPTIONS_DEFAULT;
    struct wcs_solution s;
    struct outcome r = {0};
    double start = seconds();
    if (wcs_solve(f->star, f->nstar, &f->refs, &g, &o, &s, NULL)) exit(1);
    r = (struct outcome){.status = s.status, .ms = 1000 * (seconds() - start), .odds = s.log10_odds, .order = s.fit.order, .used = s.fit.used, .on_base = s.fit.on_base};
    snprintf(r.reason, sizeof r.reason, "%s", s.reason);
    if (s.status != WCS_FAILED) grid_error(f, &s.fit.sip, r.rms, &r.worst);
    wcs_solution_release(&s);
    return r;
}

/* ---- the two tables ------------------------------------------------------------------------------------------------------- */

static bool grid_table(int n, uint64_t seed)
{
    static const enum kind kinds[] = {OFFSET, SIP_HEADER, TPV_HEADER, SPURIOUS};
    double worst = 0;
    int bad = 0;
    printf("coordinates against the truth, 32 x 32 grid, >= 100 reference stars in the frame\n  field  header       frame        scale  stars  refs  order     rms x     rms y       max\n");
    for (int i = 0; i < n; i++) {
        struct field f;
        make_field(&f, kinds[i % 4], seed, 1000000 + i, true);
        struct outcome r = solve(&f);
        bool good = r.status == WCS_SOLVED && r.rms[0] <= 0.02 && r.rms[1] <= 0.02;
        if (f.common >= 100) {
            worst = fmax(worst, r.status == WCS_SOLVED ? fmax(r.rms[0], r.rms[1]) : INFINITY);
            bad += !good;
        }
        printf("  %5d  %-10s %4lld x %-4lld  %6.3f  %5d %5d  %2d %s  %8.4f  %8.4f  %8.4f%s%s\n", i, kinds[i % 4] == OFFSET || kinds[i % 4] == SPURIOUS ? "TAN" : kind_name[kinds[i % 4]], (long long)f.nx,
               (long long)f.ny, f.scale, f.nstar, f.common, r.order, r.on_base ? "+" : " ", r.rms[0], r.rms[1], r.worst, r.reason[0] ? "  " : "", r.reason);
        free_field(&f);
    }
    printf("bar: rms per axis <= 0.02 px; worst %.4f px, %d of %d fields beyond: %s\n\n", worst, bad, n, bad ? "FAILED" : "ok");
    return !bad;
}

static bool stress_table(int n, uint64_t seed, bool verbose)
{
    int solved[KINDS] = {0}, count[KINDS] = {0}, doubt[KINDS] = {0}, lies[KINDS] = {0}, all = 0, good = 0, wrong = 0;
    double worst[KINDS] = {0}, slow[KINDS] = {0}, sum[KINDS] = {0};
    struct outcome *r = malloc((size_t)n * sizeof *r);
    /* each field is made and solved by one thread, into its own slot */
#pragma omp parallel for default(none) shared(r, n, seed) schedule(dynamic, 1)
    for (int i = 0; i < n; i++) {
        struct field f;
        make_field(&f, (enum kind)(i % KINDS), seed, i, false);
        r[i] = solve(&f);
        free_field(&f);
    }
    for (int i = 0; i < n; i++) {
        int k = i % KINDS;
        bool lie = r[i].status == WCS_SOLVED && !(r[i].worst <= 1);
        count[k]++;
        solved[k] += r[i].status == WCS_SOLVED && !lie;
        doubt[k] += r[i].status == WCS_DOUBT;
        lies[k] += lie;
        if (r[i].status == WCS_SOLVED) worst[k] = fmax(worst[k], r[i].worst);
        slow[k] = fmax(slow[k], r[i].ms);
        sum[k] += r[i].ms;
        if (verbose && (r[i].status != WCS_SOLVED || lie) && k != WRONG_SKY)
            printf("  field %d, %s: %s%s (%s), %d pairs, odds 1e%.0f, largest error %.2f px\n", i, kind_name[k], wcs_status_name(r[i].status), lie ? " WRONGLY" : "", r[i].reason, r[i].used, r[i].odds, r[i].worst);
    }
    printf("stress: %d seeded fields (seed %llu)\n  %-18s fields  solved  doubt  good but > 1 px  largest error px   CPU ms mean    max\n", n, (unsigned long long)seed, "kind");
    for (int k = 0; k < KINDS; k++) {
        printf("  %-18s %6d  %6d  %5d  %15d  %16.4f  %8.1f %6.1f\n", kind_name[k], count[k], solved[k], doubt[k], lies[k], worst[k], count[k] ? sum[k] / count[k] : 0, slow[k]);
        wrong += lies[k] + (k == WRONG_SKY ? solved[k] : 0);
        if (k != WRONG_SKY) all += count[k], good += solved[k];
    }
    bool ok = good >= 0.99 * all && !wrong;
    printf("bar: >= 99 %% solved, none good with an error over 1 px; %d of %d (%.1f %%), %d wrong: %s\n", good, all, 100.0 * good / all, wrong, ok ? "ok" : "FAILED");
    free(r);
    return ok;
}

/* The TPV headers of all CCDs of DECam (real ones, where the folder of real frames is there). */
static bool real_table(uint64_t seed)
{
    char path[1024];
    struct frameio_in *in = NULL;
    struct header h;
    double worst = 0, largest = 0;
    int n = 0, bad = 0;
    const char *data = test_data_folder();
    snprintf(path, sizeof path, "%s/decam-legacy-cutouts/decam.wcs/decam.wcs", data ? data : "");
    if (!data || frameio_open(path, &in, NULL)) {
        printf("no real headers here: %s\n\n", data ? path : "no folder of real frames");
        return true;
    }
    header_init(&h);
    for (int hdu = 2; hdu <= frameio_hdu_count(in); hdu++) {
        struct field f;
        if (frameio_hdu_header(in, hdu, &h, NULL) || !make_real_field(&f, &h, seed, 2000000 + hdu)) continue;
        struct outcome r = solve(&f);
        n++;
        bad += r.status != WCS_SOLVED || r.rms[0] > 0.02 || r.rms[1] > 0.02;
        if (r.status == WCS_SOLVED) worst = fmax(worst, fmax(r.rms[0], r.rms[1])), largest = fmax(largest, r.worst);
        if (r.reason[0]) printf("  HDU %d: %s (%s)\n", hdu, wcs_status_name(r.status), r.reason);
        free_field(&f);
    }
    header_release(&h);
    frameio_close(in);
    printf("real TPV headers of DECam, pointed wrong by up to 0.4 deg: %d CCDs, worst rms %.4f px, largest error %.4f px, %d beyond 0.02 px: %s\n\n", n, worst, largest, bad, bad ? "FAILED" : "ok");
    return !bad;
}

/* The time of the stage on a full frame: 12,500 stars, the 2,000 brightest of them in the reference file and
 * the brightest 190 saturated, header off by 10 arcsec. */
static bool time_full_frame(uint64_t seed)
{
    double best = INFINITY;
    struct field f;
    struct philox p;
    struct outcome r = {0};
    memset(&f, 0, sizeof f);
    philox_init(&p, seed, 77);
    f.kind = SIP_HEADER, f.nx = f.ny = 4096, f.scale = 0.26, f.year = 2020;
    make_coordinates(&f, &p, true);
    int n = 12500;
    struct sky_star *s = malloc((size_t)n * sizeof *s);
    for (int i = 0; i < n; i++) {
        double x = uniform(&p, 0, 4095), y = uniform(&p, 0, 4095);
        skycoord_to_sky(f.true_sky, 1, &x, &y, &s[i].ra, &s[i].dec, NULL);
        s[i].mag = draw_mag(&p);
    }
    qsort(s, (size_t)n, sizeof *s, by_brightness);
    make_lists(&f, &p, s, n, 0, 0);
    f.refs.n = f.refs.n < 2000 ? f.refs.n : 2000;
    qsort(f.refs.star, (size_t)f.refs.n, sizeof *f.refs.star, by_dec);
    for (int i = 0; i < 5; i++) {
        r = solve(&f);
        best = fmin(best, r.ms);
    }
    printf("%d stars, %lld references, %lld x %lld: %.0f ms (best of 5, one core), %s, %d pairs, largest error %.4f px\n\n", f.nstar, (long long)f.refs.n, (long long)f.nx, (long long)f.ny, best,
           wcs_status_name(r.status), r.used, r.worst);
    free(s);
    free_field(&f);
    return r.status == WCS_SOLVED && r.worst < 1;
}

int main(int argc, char **argv)
{
    int fields = 650, grid = 24;
    uint64_t seed = 4;
    bool verbose = true;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--fields")) fields = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--grid-fields")) grid = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--seed")) seed = strtoull(argv[i + 1], NULL, 10);
        else return 2;
    }
    bool good = grid < 1 || grid_table(grid, seed);
    if (grid > 0) good &= real_table(seed);
    if (grid > 0) good &= time_full_frame(seed);
    if (fields > 0) good &= stress_table(fields, seed, verbose);
    return !good;
}
