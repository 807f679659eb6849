#include "catalog/catfile.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/detections.h"
#include "common/digest.h"
#include "common/frameio.h"
#include "common/hpx.h"
#include "common/obstime.h"
#include "common/products.h"
#include "common/skycoord.h"
#include "common/units.h"

/* ---- cards -------------------------------------------------------------------------------------------------------- */

static double number(const struct header *h, const char *key)
{
    double v = NAN;
    header_get_double(h, key, &v);
    return v;
}

static void word(const struct header *h, const char *key, char *ret, size_t size)
{
    if (!header_get_str(h, key, ret, size)) *ret = '\0';
}

/* The image header that LDAC_IMHEAD carries. */
static enum err read_header(const char *path, struct header *ret, struct error *err)
{
    struct table *t = NULL;
    enum err e = table_read(path, EXT_LDAC_IMHEAD, 0, &t, err);
    const char *text = e ? NULL : table_str(t, 0, 0);
    if (!e) e = text ? header_parse(ret, text, (int64_t)(strlen(text) / CARD_LENGTH), err)
                     : ERROR(err, ERR_CORRUPT, "table LDAC_IMHEAD holds no header");
    table_free(t);
    return e;
}

static enum err refuse(const char *key, struct error *err)
{
    ERROR(err, ERR_UNSUPPORTED, "has no card %s: not a catalogue of `nightshift reduce`", key);
    error_hint(err, "the catalogue stores measurements whose inputs are known");
    return ERR_UNSUPPORTED;
}

/* Who made it, from what: without these there is no key to store it under. */
static enum err read_provenance(const struct header *h, struct catfile *c, struct error *err)
{
    const struct {
        const char *key;
        char *dst;
        size_t size;
    } must[] = {
        {KEY_INSTRUMENT, c->instrument, sizeof c->instrument}, {KEY_EXPID, c->exposure_key, sizeof c->exposure_key},
        {KEY_RECIPE, c->recipe, sizeof c->recipe},             {KEY_VERSION, c->program_version, sizeof c->program_version},
        {KEY_RAWSUM, c->raw_sha256, sizeof c->raw_sha256},
    };
    int64_t v;
    for (size_t i = 0; i < sizeof must / sizeof must[0]; i++) {
        word(h, must[i].key, must[i].dst, must[i].size);
        if (!must[i].dst[0]) return refuse(must[i].key, err);
    }
    if (!header_get_int(h, KEY_NIGHT, &v)) return refuse(KEY_NIGHT, err);
    if (v < 18000101 || v > 29991231) return ERROR(err, ERR_CORRUPT, "night %lld is no date", (long long)v);
    c->night = (int)v;
    c->mjd_mid = number(h, KEY_MJD_MID);
    if (!isfinite(c->mjd_mid)) return refuse(KEY_MJD_MID, err);
    v = 0;
    header_get_int(h, KEY_CCD, &v);
    if (v < 0 || v > CCD_MAX) return ERROR(err, ERR_CORRUPT, "CCD number %lld is outside 0 to %d", (long long)v, CCD_MAX);
    c->ccd = (int)v;
    word(h, KEY_RAWFILE, c->raw_file, sizeof c->raw_file);
    word(h, KEY_BIAS "S", c->bias_sha256, sizeof c->bias_sha256);
    word(h, KEY_DARK "S", c->dark_sha256, sizeof c->dark_sha256);
    word(h, KEY_FLAT "S", c->flat_sha256, sizeof c->flat_sha256);
    word(h, KEY_REFERENCE, c->reference, sizeof c->reference);
    word(h, "NSFORCED", c->list, sizeof c->list);
    word(h, "NSFORSUM", c->list_sha256, sizeof c->list_sha256);
    return ERR_OK;
}

static void read_quality(const struct header *h, struct catfile *c)
{
    word(h, KEY_QUALITY, c->quality, sizeof c->quality);
    c->magzero = number(h, KEY_MAGZERO);
    c->magzero_err = number(h, KEY_MAGZERO_ERR);
    word(h, KEY_MAGZERO_KIND, c->magzero_kind, sizeof c->magzero_kind);
    if (!isfinite(c->magzero)) c->magzero_kind[0] = '\0';
    else if (strcmp(c->magzero_kind, "relative")) strcpy(c->magzero_kind, "absolute");
    c->seeing_arcsec = number(h, "NSSEEING");
    c->sky_e = number(h, "NSSKY");
    c->sky_noise_e = number(h, "NSSKYSIG");
    c->depth = number(h, "NSDEPTH");
    c->astrom_rms_arcsec = number(h, KEY_ASTROM_RMS);
    c->ellipticity = number(h, "NSELLIP");
    c->masked = number(h, "NSMASKED");
    c->saturated = number(h, "NSSATUR");
    int64_t stars = -1;
    header_get_int(h, "NSNSTAR", &stars);
    c->n_star = stars >= 0 && stars <= INT32_MAX ? (int)stars : -1;
    word(h, "NSQREAS", c->reasons, sizeof c->reasons);
}

/* What the sky and the observer were, in the instrument's own words where it has a file. */
static void read_observation(const struct header *h, const struct settings *s, const struct instruments *set, struct catfile *c)
{
    struct exposure_meta m;
    const struct instrument *ins = set ? instruments_find(set, c->instrument) : NULL;
    if (set && !ins) ins = instruments_find(set, "generic");
    bool known = ins && instrument_meta(ins, s, h, c->nx, c->ny, 1, &m, NULL) == ERR_OK;
    c->exptime_s = number(h, "EXPTIME");
    if (!isfinite(c->exptime_s) && known) c->exptime_s = m.exptime_s;
    if (!isfinite(c->exptime_s)) c->exptime_s = 0;
    c->mjd_start = known && isfinite(m.mjd_start) ? m.mjd_start : c->mjd_mid - c->exptime_s / 2 / SEC_PER_DAY;
    c->airmass = known ? m.airmass : number(h, "AIRMASS");
    c->longitude = known && !m.longitude_assumed ? m.longitude_deg : NAN;
    c->latitude = known ? m.latitude_deg : NAN;
    c->height_m = known ? m.height_m : NAN;
    c->ra = known ? m.ra_deg : NAN;
    c->dec = known ? m.dec_deg : NAN;
    word(h, "FILTER", c->filter, sizeof c->filter);
    word(h, "OBJECT", c->object, sizeof c->object);
    word(h, "OBSERVER", c->observer, sizeof c->observer);
    word(h, "TELESCOP", c->telescope, sizeof c->telescope);
    if (known && m.filter[0]) snprintf(c->filter, sizeof c->filter, "%s", m.filter);
    if (known && m.object[0]) snprintf(c->object, sizeof c->object, "%s", m.object);
    if (known && m.observer[0]) snprintf(c->observer, sizeof c->observer, "%s", m.observer);
}

/* ---- geometry ----------------------------------------------------------------------------------------------------- */

/* Centre, corners, scale; ret_jacobian: degrees per pixel at the centre, zero without a WCS. */
static enum err read_geometry(const struct header *h, struct catfile *c, double ret_jacobian[4], struct error *err)
{
    struct skycoord *sky = NULL;
    double right = (double)c->nx - 0.5, top = (double)c->ny - 0.5;
    double x[5] = {-0.5, right, right, -0.5, (right - 0.5) / 2}, y[5] = {-0.5, -0.5, top, top, (top - 0.5) / 2}, ra[5], dec[5];
    memset(ret_jacobian, 0, 4 * sizeof *ret_jacobian);
    c->centre_ra = c->centre_dec = c->pixel_scale = NAN;
    for (int i = 0; i < 4; i++) c->corner_ra[i] = c->corner_dec[i] = NAN;
    enum err e = skycoord_new(h, &sky, err);
    if (e == ERR_NOT_FOUND || e == ERR_CORRUPT) {
        ERROR(err, ERR_HELD, "has no sky coordinates: its detections cannot be placed");
        error_hint(err, "`nightshift run` solves such frames from their neighbours");
        return ERR_HELD;
    }
    if (!e) e = skycoord_to_sky(sky, 5, x, y, ra, dec, err);
    if (!e && skycoord_jacobian(sky, x[4], y[4], ret_jacobian, NULL)) memset(ret_jacobian, 0, 4 * sizeof *ret_jacobian);
    if (!e) {
        memcpy(c->corner_ra, ra, sizeof c->corner_ra);
        memcpy(c->corner_dec, dec, sizeof c->corner_dec);
        c->centre_ra = ra[4];
        c->centre_dec = dec[4];
        c->pixel_scale = skycoord_scale_arcsec(sky, x[4], y[4]);
        if (!isfinite(c->ra) || !isfinite(c->dec)) c->ra = ra[4], c->dec = dec[4];
    }
    skycoord_free(sky);
    return e;
}

/* Error ellipse in the pixel plane (semi-axes, angle from +x) to arcsec along ra and dec. */
static void sky_errors(const double j[4], double a, double b, double theta_deg, float *ret_ra, float *ret_dec)
{
    double t = theta_deg * RAD_PER_DEG, c = cos(t), s = sin(t);
    double xx = a * a * c * c + b * b * s * s, yy = a * a * s * s + b * b * c * c, xy = (a * a - b * b) * c * s;
    *ret_ra = (float)(sqrt(j[0] * j[0] * xx + 2 * j[0] * j[1] * xy + j[1] * j[1] * yy) * ARCSEC_PER_DEG);
    *ret_dec = (float)(sqrt(j[2] * j[2] * xx + 2 * j[2] * j[3] * xy + j[3] * j[3] * yy) * ARCSEC_PER_DEG);
}

/* ---- rows --------------------------------------------------------------------------------------------------------- */

/* One column of the file; v NULL: not there. */
struct source_column {
    const double *v;
    int64_t step, element;
};

static struct source_column column(struct table *t, const char *name, int element)
{
    int col = table_find(t, name);
    struct source_column s = {0};
    if (col < 0 || table_repeat(t, col) <= element) return s;
    s.v = table_f64(t, col);
    s.step = table_repeat(t, col);
    s.element = element;
    return s;
}

static double at(const struct source_column *s, int64_t row)
{
    return s->v ? s->v[row * s->step + s->element] : NAN;
}

/* The first that is a number. */
static double either(const struct source_column *first, const struct source_column *second, int64_t row)
{
    double v = at(first, row);
    return isfinite(v) ? v : at(second, row);
}

static int32_t whole(double v)
{
    return v >= -2147483648.0 && v <= 2147483647.0 ? (int32_t)v : 0;
}

enum { REAL_COLUMNS =
#define X(field, name, element) +1
           CATROW_REALS(X)
#undef X
};

struct row_source {
    struct source_column rawin, decwin, ra, dec, xwin, ywin, x, y, erra, errb, errt, number, flags, imaflags, isoarea;
    struct source_column rapsf, decpsf, xpsf, ypsf, flagspsf;
    struct source_column real[REAL_COLUMNS];
};

static void open_columns(struct table *t, struct row_source *s)
{
    int i = 0;
    s->rawin = column(t, "ALPHAWIN_J2000", 0), s->decwin = column(t, "DELTAWIN_J2000", 0);
    s->ra = column(t, "ALPHA_J2000", 0), s->dec = column(t, "DELTA_J2000", 0);
    s->xwin = column(t, "XWIN_IMAGE", 0), s->ywin = column(t, "YWIN_IMAGE", 0);
    s->x = column(t, "X_IMAGE", 0), s->y = column(t, "Y_IMAGE", 0);
    s->erra = column(t, "ERRAWIN_IMAGE", 0), s->errb = column(t, "ERRBWIN_IMAGE", 0), s->errt = column(t, "ERRTHETAWIN_IMAGE", 0);
    s->rapsf = column(t, "ALPHAPSF_J2000", 0), s->decpsf = column(t, "DELTAPSF_J2000", 0);
    s->xpsf = column(t, "XPSF_IMAGE", 0), s->ypsf = column(t, "YPSF_IMAGE", 0), s->flagspsf = column(t, "FLAGS_PSF", 0);
    s->number = column(t, "NUMBER", 0);
    s->flags = column(t, "FLAGS", 0), s->imaflags = column(t, "IMAFLAGS_ISO", 0), s->isoarea = column(t, "ISOAREA_IMAGE", 0);
#define X(field, name, element) s->real[i++] = column(t, name, element);
    CATROW_REALS(X)
#undef X
}

/* Position: windowed, both coordinates from the same pair. Returned: false when the row has none. */
static bool fill_row(const struct row_source *s, int64_t i, const double jacobian[4], struct catrow *r)
{
    bool windowed = isfinite(at(&s->rawin, i)) && isfinite(at(&s->decwin, i));
    *r = (struct catrow){.ra = at(windowed ? &s->rawin : &s->ra, i), .dec = at(windowed ? &s->decwin : &s->dec, i)};
    r->x = either(&s->xwin, &s->x, i);
    r->y = either(&s->ywin, &s->y, i);
    if (hpx_of(r->ra, r->dec) < 0 || !isfinite(r->x) || !isfinite(r->y)) return false;
    sky_errors(jacobian, at(&s->erra, i), at(&s->errb, i), at(&s->errt, i), &r->ra_err, &r->dec_err);
    int k = 0;
#define X(field, name, element) r->field = (float)at(&s->real[k++], i);
    CATROW_REALS(X)
#undef X
    r->seq = s->number.v ? whole(at(&s->number, i)) : (int32_t)(i + 1);
    r->flags = (int16_t)whole(at(&s->flags, i));
    r->imaflags = whole(at(&s->imaflags, i));
    r->isoarea = whole(at(&s->isoarea, i));
    r->ra_psf = at(&s->rapsf, i), r->dec_psf = at(&s->decpsf, i);
    r->x_psf = at(&s->xpsf, i), r->y_psf = at(&s->ypsf, i);
    r->flags_psf = s->flagspsf.v ? (int16_t)whole(at(&s->flagspsf, i)) : -1;
    return true;
}

static enum err read_rows(struct table *t, const double jacobian[4], struct catfile *c, struct error *err)
{
    struct row_source s;
    int64_t n = table_nrow(t), last = 0;
    if (n > SEQ_MAX) return ERROR(err, ERR_UNSUPPORTED, "has %lld rows, more than the %d of one CCD", (long long)n, SEQ_MAX);
    open_columns(t, &s);
    if (n && ((!s.rawin.v || !s.decwin.v) && (!s.ra.v || !s.dec.v))) {
        ERROR(err, ERR_HELD, "has no column of sky positions");
        return ERR_HELD;
    }
    c->rows = malloc(((size_t)n + 1) * sizeof *c->rows);
    if (!c->rows) return ERROR(err, ERR_NOMEM, "could not get memory for %lld rows", (long long)n);
    for (int64_t i = 0; i < n; i++) {
        struct catrow *r = &c->rows[c->n];
        if (!fill_row(&s, i, jacobian, r)) {
            c->dropped++;
            continue;
        }
        if (r->seq <= last || r->seq > SEQ_MAX) return ERROR(err, ERR_CORRUPT, "NUMBER is %d in row %lld: not a rising count", (int)r->seq, (long long)i + 1);
        last = r->seq;
        c->n++;
    }
    return ERR_OK;
}

/* ---- forced photometry ---------------------------------------------------------------------------------------------- */

#define FORCED_NOWHERE (512 | 1024) /* FLAGS: outside the image, no position */

static enum err read_forced(struct table *t, struct catfile *c, struct error *err)
{
    static const char *const names[] = {"RA", "DEC", "X", "Y", "FLUX_PSF", "FLUXERR_PSF", "UPPER_LIMIT", "FLUX_APER", "FLUXERR_APER", "CHI2", "MASK", "FLAGS"};
    struct source_column s[12];
    int64_t n = table_nrow(t);
    int col = table_find(t, "OBJECT_ID");
    const int64_t *id = col < 0 ? NULL : table_i64(t, col);
    if (!id) {
        ERROR(err, ERR_UNSUPPORTED, "has no whole numbers in OBJECT_ID");
        error_hint(err, "the catalogue stores forced photometry of positions with numbers: give the list a column id");
        return ERR_UNSUPPORTED;
    }
    for (int k = 0; k < 12; k++) {
        s[k] = column(t, names[k], 0);
        if (!s[k].v) return ERROR(err, ERR_CORRUPT, "has no column %s", names[k]);
    }
    c->forced = malloc(((size_t)n + 1) * sizeof *c->forced);
    if (!c->forced) return ERROR(err, ERR_NOMEM, "could not get memory for %lld rows", (long long)n);
    for (int64_t i = 0; i < n; i++) {
        struct forcedrow r = {id[i], at(&s[0], i), at(&s[1], i), at(&s[2], i), at(&s[3], i), (float)at(&s[4], i), (float)at(&s[5], i), (float)at(&s[6], i),
                              (float)at(&s[7], i), (float)at(&s[8], i), (float)at(&s[9], i), whole(at(&s[10], i)), (int16_t)whole(at(&s[11], i))};
        if (hpx_of(r.ra, r.dec) < 0 || (r.flags & FORCED_NOWHERE)) c->dropped++;
        else c->forced[c->n++] = r;
    }
    return ERR_OK;
}

static int by_place(const void *a, const void *b)
{
    const struct catrow *p = a, *q = b;
    return p->hpx29 != q->hpx29 ? (p->hpx29 < q->hpx29 ? -1 : 1) : (p->seq > q->seq) - (p->seq < q->seq);
}

enum err catfile_sort(struct catfile *c, struct error *err)
{
    for (int64_t i = 0; i < c->n; i++) {
        struct catrow *r = &c->rows[i];
        r->ra = r->ra < 0 || r->ra >= 360 ? fmod(fmod(r->ra, 360) + 360, 360) : r->ra;
        r->hpx29 = hpx_of(r->ra, r->dec);
        if (r->hpx29 < 0) return ERROR(err, ERR_CORRUPT, "row %lld has no sky position", (long long)i + 1);
    }
    if (c->n) qsort(c->rows, (size_t)c->n, sizeof *c->rows, by_place);
    return ERR_OK;
}

/* ---- paths and tokens --------------------------------------------------------------------------------------------- */

/* The last n parts of a path; the whole when it has fewer. */
static const char *last_parts(const char *path, int n)
{
    const char *p = path + strlen(path);
    while (p > path && (p[-1] != '/' || --n > 0)) p--;
    return p;
}

static void relative_paths(const char *path, const char *root, struct catfile *c)
{
    size_t n = root ? strlen(root) : 0;
    while (n && root[n - 1] == '/') n--;
    const char *rest = last_parts(path, 1);
    char start[100];
    snprintf(start, sizeof start, "%08d/%s/", c->night, c->instrument);
    if (n && !strncmp(path, root, n) && path[n] == '/')
        rest = path + n + 1;
    else if (!strncmp(last_parts(path, 3), start, strlen(start)))
        rest = last_parts(path, 3);
    snprintf(c->cat_path, sizeof c->cat_path, "%s", rest);
    size_t stem = strlen(rest), suffix = strlen("_cat.fits");
    if (stem > suffix && !strcmp(rest + stem - suffix, "_cat.fits"))
        snprintf(c->cal_path, sizeof c->cal_path, "%.*s_cal.fits.fz", (int)(stem - suffix), rest);
}

void catfile_token(const struct catfile *c, char *ret_hex)
{
    char ccd[16];
    snprintf(ccd, sizeof ccd, "%d", c->ccd);
    const char *const parts[] = {*c->list ? "nightshift forced 1" : "nightshift ingest 1", c->instrument, c->exposure_key, ccd, c->raw_sha256, c->bias_sha256, c->dark_sha256,
                                 c->flat_sha256, c->reference, c->recipe, c->list, c->list_sha256};
    size_t n = sizeof parts / sizeof parts[0] - (*c->list ? 0 : 2);
    struct digest *d = digest_new();
    if (!d) {
        *ret_hex = '\0';
        return;
    }
    for (size_t i = 0; i < n; i++) digest_add_str(d, parts[i]);
    digest_finish(d, ret_hex);
}

/* ---- the whole ---------------------------------------------------------------------------------------------------- */

void catfile_release(struct catfile *c)
{
    free(c->rows);
    free(c->forced);
    c->rows = NULL;
    c->forced = NULL;
    c->n = 0;
}

static enum err read_into(const char *path, const char *root, const struct settings *s, const struct instruments *set, struct header *h,
                          struct catfile *c, struct error *err)
{
    struct table *t = NULL;
    double jacobian[4];
    enum err e = read_header(path, h, err);
    if (!e) e = read_provenance(h, c, err);
    if (e) return e;
    header_get_int(h, "NAXIS1", &c->nx);
    header_get_int(h, "NAXIS2", &c->ny);
    read_quality(h, c);
    read_observation(h, s, set, c);
    relative_paths(path, root, c);
    e = read_geometry(h, c, jacobian, err);
    if (!e) e = table_read(path, EXT_LDAC_OBJECTS, 0, &t, err);
    if (!e) e = *c->list ? read_forced(t, c, err) : read_rows(t, jacobian, c, err);
    table_free(t);
    return e || *c->list ? e : catfile_sort(c, err);
}

enum err catfile_read(const char *path, const char *root, const struct settings *s, const struct instruments *instruments,
                      struct catfile *ret, struct error *err)
{
    struct catfile c = {0};
    struct header h;
    header_init(&h);
    enum err e = read_into(path, root, s, instruments, &h, &c, err);
    header_release(&h);
    if (e) {
        catfile_release(&c);
        error_subject(err, path, 0);
        return e;
    }
    *ret = c;
    return ERR_OK;
}
