/* What is really there: objects on each CCD, and the tables that say so. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/frameio.h"
#include "common/skycoord.h"
#include "common/units.h"
#include "pipeline/simnight.h"

#define MARGIN_PX 100.0 /* stars beyond the edge whose wings fall on the CCD */
#define KIND_WIDTH 12

void sim_seen_release(struct sim_seen *s)
{
    free(s->object);
    free(s->source);
    free(s->mag);
    free(s->flux_stamp);
    *s = (struct sim_seen){0};
}

static enum err seen_alloc(struct sim_seen *s, int64_t n, struct error *err)
{
    s->object = mem_array((size_t)n, sizeof *s->object);
    s->source = mem_zarray((size_t)n, sizeof *s->source);
    s->mag = mem_array((size_t)n, sizeof *s->mag);
    s->flux_stamp = mem_zarray((size_t)n, sizeof *s->flux_stamp);
    if (s->object && s->source && s->mag && s->flux_stamp) return ERR_OK;
    return ERROR(err, ERR_NOMEM, "no memory for %lld objects", (long long)n);
}

/* Without the distortion, which moves nothing by more than the margin: is it worth asking wcslib? */
static bool is_near(const struct simnight *n, const struct sim_shot *s, int ccd, const struct sim_object *o)
{
    double xi, eta, scale = n->o->scale_arcsec / ARCSEC_PER_DEG;
    if (!sim_tangent(o->ra, o->dec, s->true_ra, s->true_dec, &xi, &eta)) return false;
    double margin = MARGIN_PX + 0.01 * n->radius_px;
    double x = -xi / scale - n->offset_x[ccd], y = eta / scale - n->offset_y[ccd];
    return fabs(x) < 0.5 * (double)n->o->nx + margin && fabs(y) < 0.5 * (double)n->o->ny + margin;
}

static enum err project(struct sim_seen *s, const struct header *wcs, struct error *err)
{
    struct skycoord *sky = NULL;
    double *ra = mem_array((size_t)s->n, sizeof *ra), *dec = mem_array((size_t)s->n, sizeof *dec);
    enum err rc = ra && dec ? skycoord_new(wcs, &sky, err) : ERROR(err, ERR_NOMEM, "no memory for %lld positions", (long long)s->n);
    if (rc == ERR_OK) {
        for (int64_t i = 0; i < s->n; i++) {
            ra[i] = s->object[i]->ra;
            dec[i] = s->object[i]->dec;
        }
        rc = skycoord_to_pixel(sky, s->n, ra, dec, ra, dec, err);
    }
    for (int64_t i = 0; i < s->n && rc == ERR_OK; i++) {
        s->source[i].x = ra[i];
        s->source[i].y = dec[i];
    }
    skycoord_free(sky);
    free(ra);
    free(dec);
    return rc;
}

static void brighten(const struct simnight *n, const struct sim_shot *s, const struct sim_object *o, struct sim_source *src, double *mag)
{
    const struct sim_filter *f = sim_filter_at(s->filter);
    *mag = sim_object_mag(o, s->filter, s->mjd + 0.5 * s->exptime_s / SEC_PER_DAY);
    src->flux = s->exptime_s * pow(10, -0.4 * (*mag - f->zero_mag));
    if (o->kind != SIM_GALAXY) return;
    src->re_px = (float)(o->re_arcsec / n->o->scale_arcsec);
    src->sersic_n = (float)o->sersic_n;
    src->axis_ratio = (float)o->axis_ratio;
    src->angle_deg = (float)o->angle_deg;
}

enum err simtruth_project(const struct simnight *n, const struct sim_shot *s, int ccd, struct sim_seen *ret, struct error *err)
{
    const struct sim_object *list = n->objects[s->field];
    int64_t count = 0;
    struct header wcs;
    header_init(&wcs);
    *ret = (struct sim_seen){0};
    for (int64_t i = 0; i < n->nobject[s->field]; i++) count += is_near(n, s, ccd, &list[i]);
    enum err rc = seen_alloc(ret, count, err);
    for (int64_t i = 0; i < n->nobject[s->field] && rc == ERR_OK; i++)
        if (is_near(n, s, ccd, &list[i])) ret->object[ret->n++] = &list[i];
    if (rc == ERR_OK && (rc = simheader_wcs(n, s, ccd, true, &wcs)) != ERR_OK) ERROR(err, rc, "no memory for a header");
    if (rc == ERR_OK) rc = project(ret, &wcs, err);
    int64_t kept = 0; /* what wcslib cannot place, and transients before their time, are not there */
    for (int64_t i = 0; i < ret->n && rc == ERR_OK; i++) {
        struct sim_source src = ret->source[i];
        double mag;
        brighten(n, s, ret->object[i], &src, &mag);
        if (isnan(src.x) || isnan(src.y) || !isfinite(mag)) continue;
        ret->object[kept] = ret->object[i];
        ret->mag[kept] = mag;
        ret->source[kept++] = src;
    }
    ret->n = kept;
    header_release(&wcs);
    if (rc != ERR_OK) sim_seen_release(ret);
    return rc;
}

/* ---- tables --------------------------------------------------------------------------------------------------- */

/* Columns of one table: doubles and one string, filled row by row. */
struct sheet {
    int64_t nrow;
    int64_t *id;
    char *kind;
    double *v; /* nvalue columns of nrow */
};

static enum err sheet_alloc(struct sheet *t, int64_t nrow, int nvalue, struct error *err)
{
    t->nrow = nrow;
    t->id = mem_zarray((size_t)nrow, sizeof *t->id);
    t->kind = mem_zarray((size_t)nrow, KIND_WIDTH);
    t->v = mem_zarray((size_t)nrow * (size_t)nvalue, sizeof *t->v);
    return t->id && t->kind && t->v ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory for a table of %lld rows", (long long)nrow);
}

static void sheet_free(struct sheet *t)
{
    free(t->id);
    free(t->kind);
    free(t->v);
}

struct value_column {
    const char *name, *unit, *comment, *ucd;
};

#define VALUES_MAX 12

static void describe(const struct sheet *t, const struct value_column *what, int nvalue, struct column *ret)
{
    ret[0] = (struct column){.name = "ID", .comment = "number of the object", .ucd = "meta.id;meta.main", .type = COLUMN_I64, .repeat = 1, .data = t->id};
    ret[1] = (struct column){.name = "KIND", .comment = "star, sinus, eclipsing, transient, galaxy", .ucd = "src.class", .type = COLUMN_STRING,
                             .repeat = KIND_WIDTH, .data = t->kind};
    for (int i = 0; i < nvalue; i++)
        ret[2 + i] = (struct column){.name = what[i].name, .unit = what[i].unit, .comment = what[i].comment, .ucd = what[i].ucd, .type = COLUMN_F64,
                                     .repeat = 1, .data = t->v + i * t->nrow};
}

static const struct value_column seen_columns[] = {
    {"RA", "deg", "right ascension, ICRS", "pos.eq.ra"},
    {"DEC", "deg", "declination, ICRS", "pos.eq.dec"},
    {"X_IMAGE", "pixel", "place in the trimmed CCD, first pixel 1", "pos.cartesian.x"},
    {"Y_IMAGE", "pixel", "place in the trimmed CCD, first pixel 1", "pos.cartesian.y"},
    {"MAG", "mag", "magnitude in the filter", "phot.mag"},
    {"FLUX", "electron", "light of the infinite profile", "phot.count"},
    {"FLUX_STAMP", "electron", "light that fell on the CCD", "phot.count"},
    {"SNR", "", "signal to noise of ideal photometry", "stat.snr"},
    {"RE_PIX", "pixel", "half-light radius before seeing, 0: a point", "phys.angSize"},
};
#define SEEN_COLUMNS ((int)(sizeof seen_columns / sizeof seen_columns[0]))

static bool is_on(const struct simnight *n, const struct sim_source *s)
{
    return s->x >= -0.5 && s->x < (double)n->o->nx - 0.5 && s->y >= -0.5 && s->y < (double)n->o->ny - 0.5;
}

static enum err fill_seen(const struct simnight *n, const struct sim_seen *seen, double pixel_noise2, double area, struct sheet *t, struct error *err)
{
    int64_t rows = 0, r = 0;
    for (int64_t i = 0; i < seen->n; i++) rows += is_on(n, &seen->source[i]);
    enum err rc = sheet_alloc(t, rows, SEEN_COLUMNS, err);
    for (int64_t i = 0; i < seen->n && rc == ERR_OK; i++) {
        const struct sim_source *s = &seen->source[i];
        const struct sim_object *o = seen->object[i];
        if (!is_on(n, s)) continue;
        double wide = area + 4 * PI * s->re_px * s->re_px;
        double row[SEEN_COLUMNS] = {o->ra,  o->dec, s->x + 1, s->y + 1, seen->mag[i], s->flux, seen->flux_stamp[i],
                                    s->flux / sqrt(s->flux + wide * pixel_noise2), s->re_px};
        t->id[r] = o->id;
        snprintf(t->kind + r * KIND_WIDTH, KIND_WIDTH, "%s", sim_kind_name(o->kind));
        for (int c = 0; c < SEEN_COLUMNS; c++) t->v[c * rows + r] = row[c];
        r++;
    }
    return rc;
}

static enum err truth_header(const struct simnight *n, const struct sim_shot *s, double sky_e, struct header *h)
{
    enum err rc = simheader_primary(n, s, h);
    if (rc == ERR_OK) rc = header_set_double(h, "SKY", sky_e, "[electron/pixel] at the optical axis");
    if (rc == ERR_OK) rc = header_set_double(h, "FWHM", s->fwhm_px, "[pixel] seeing");
    if (rc == ERR_OK) rc = header_set_double(h, "BETA", n->o->beta, "of the Moffat profile");
    if (rc == ERR_OK) rc = header_set_double(h, "E1", s->e1, "ellipticity of the profile");
    if (rc == ERR_OK) rc = header_set_double(h, "E2", s->e2, NULL);
    if (rc == ERR_OK) rc = header_set_double(h, "TRUERA", s->true_ra, "[deg] pointing as it was");
    if (rc == ERR_OK) rc = header_set_double(h, "TRUEDEC", s->true_dec, "[deg] pointing as it was");
    if (rc == ERR_OK) rc = header_set_double(h, "MAGZERO", sim_filter_at(s->filter)->zero_mag, "[mag] of 1 electron/s");
    if (rc == ERR_OK && s->damage) rc = header_set_str(h, "DAMAGE", sim_damage_name(s->damage), "done to the raw file");
    return rc;
}

enum err simtruth_write(const struct simnight *n, const struct sim_shot *s, const char *path, const struct sim_seen *seen, double sky_e,
                        double rdnoise_e, struct error *err)
{
    int nccd = n->o->ccds;
    struct sheet sheet[SIM_CCDS] = {0};
    struct column columns[SIM_CCDS][VALUES_MAX];
    struct table_hdu tables[SIM_CCDS];
    char names[SIM_CCDS][12];
    struct header primary;
    struct sim_psf psf = {.fwhm_px = s->fwhm_px, .beta = n->o->beta, .e1 = s->e1, .e2 = s->e2};
    enum err rc = ERR_OK;
    header_init(&primary);
    for (int c = 0; c < nccd && rc == ERR_OK; c++) {
        rc = fill_seen(n, &seen[c], sky_e + rdnoise_e * rdnoise_e, sim_noise_area(&psf), &sheet[c], err);
        describe(&sheet[c], seen_columns, SEEN_COLUMNS, columns[c]);
        snprintf(names[c], sizeof names[c], "CCD%02d", c + 1);
        tables[c] = (struct table_hdu){.extname = names[c], .nrow = sheet[c].nrow, .ncol = 2 + SEEN_COLUMNS, .columns = columns[c]};
    }
    if (rc == ERR_OK && (rc = truth_header(n, s, sky_e, &primary)) != ERR_OK) ERROR(err, rc, "no memory for a header");
    if (rc == ERR_OK) rc = frameio_write_tables(path, &primary, tables, nccd, err);
    for (int c = 0; c < nccd; c++) sheet_free(&sheet[c]);
    header_release(&primary);
    return rc;
}

/* ---- the sky itself ------------------------------------------------------------------------------------------- */

static const struct value_column sky_columns[] = {
    {"RA", "deg", "right ascension, ICRS", "pos.eq.ra"},
    {"DEC", "deg", "declination, ICRS", "pos.eq.dec"},
    {"MAG", "mag", "magnitude in r, at rest", "phot.mag"},
    {"COLOUR", "mag", "g - r", "phot.color"},
    {"PERIOD", "d", "period; of a transient: days to fade by 1 mag", "time.period"},
    {"AMPLITUDE", "mag", "half range of a sinus, depth of an eclipse", "phot.mag;arith.diff"},
    {"EPOCH", "d", "MJD of phase 0, or of the outburst", "time.epoch"},
    {"RE", "arcsec", "half-light radius", "phys.angSize"},
    {"SERSIC_N", "", "Sersic index", "stat.param"},
    {"AXIS_RATIO", "", "short over long axis", "phys.angSize;arith.ratio"},
    {"ANGLE", "deg", "of the long axis from +x", "pos.posAng"},
};
#define SKY_COLUMNS ((int)(sizeof sky_columns / sizeof sky_columns[0]))

static void sky_row(const struct sim_object *o, double *row)
{
    double all[SKY_COLUMNS] = {o->ra,        o->dec,      o->mag,      o->colour,     o->period_d, o->amplitude_mag,
                               o->epoch_mjd, o->re_arcsec, o->sersic_n, o->axis_ratio, o->angle_deg};
    memcpy(row, all, sizeof all);
}

static const struct value_column ref_columns[] = {
    {"ra", "deg", NULL, "pos.eq.ra"},       {"dec", "deg", NULL, "pos.eq.dec"},     {"ra_error", "mas", NULL, "stat.error;pos.eq.ra"},
    {"dec_error", "mas", NULL, "stat.error;pos.eq.dec"}, {"pmra", "mas/yr", NULL, "pos.pm;pos.eq.ra"}, {"pmdec", "mas/yr", NULL, "pos.pm;pos.eq.dec"},
    {"ref_epoch", "yr", NULL, "time.epoch"}, {"phot_g_mean_mag", "mag", "magnitude in r of the simulation", "phot.mag"},
};
#define REF_COLUMNS ((int)(sizeof ref_columns / sizeof ref_columns[0]))

static void ref_row(const struct sim_object *o, double *row)
{
    double all[REF_COLUMNS] = {o->ra, o->dec, 0.1, 0.1, 0, 0, 2016, o->mag};
    memcpy(row, all, sizeof all);
}

static bool wanted(const struct simnight *n, const struct sim_object *o, bool reference)
{
    return !reference || (o->kind != SIM_GALAXY && o->kind != SIM_TRANSIENT && o->mag < n->o->mag_faint - 1);
}

static enum err write_list(const struct simnight *n, bool reference, const char *path, struct error *err)
{
    int ncol = reference ? REF_COLUMNS : SKY_COLUMNS;
    int64_t rows = 0, r = 0;
    struct sheet t = {0};
    struct column columns[2 + SKY_COLUMNS];
    for (int f = 0; f < n->o->fields; f++)
        for (int64_t i = 0; i < n->nobject[f]; i++) rows += wanted(n, &n->objects[f][i], reference);
    enum err rc = sheet_alloc(&t, rows, ncol, err);
    for (int f = 0; f < n->o->fields && rc == ERR_OK; f++)
        for (int64_t i = 0; i < n->nobject[f]; i++) {
            const struct sim_object *o = &n->objects[f][i];
            double row[SKY_COLUMNS];
            if (!wanted(n, o, reference)) continue;
            if (reference) ref_row(o, row);
            else sky_row(o, row);
            t.id[r] = o->id;
            snprintf(t.kind + r * KIND_WIDTH, KIND_WIDTH, "%s", sim_kind_name(o->kind));
            for (int c = 0; c < ncol; c++) t.v[c * rows + r] = row[c];
            r++;
        }
    if (rc == ERR_OK) {
        describe(&t, reference ? ref_columns : sky_columns, ncol, columns);
        if (reference) { /* Gaia's names; no KIND */
            columns[1] = columns[0];
            columns[1].name = "source_id";
        }
        struct table_hdu table = {.extname = reference ? "REFCAT" : "SOURCES", .nrow = rows, .ncol = ncol + 2 - reference, .columns = columns + reference};
        rc = frameio_write_tables(path, NULL, &table, 1, err);
    }
    sheet_free(&t);
    return rc;
}

enum err simtruth_write_sky(const struct simnight *n, struct error *err)
{
    char path[4096];
    const char *folder = n->o->bench ? "" : "truth/";
    snprintf(path, sizeof path, "%s/%ssources.fits", n->o->out, folder);
    enum err rc = write_list(n, false, path, err);
    snprintf(path, sizeof path, "%s/%srefcat.fits", n->o->out, folder);
    return rc == ERR_OK ? write_list(n, true, path, err) : rc;
}
