/* Columns found by name and unit, checked row by row, sorted by declination.
 *
 * Invariants: (1) a slot filled by two columns of the file keeps the better alias; (2) ra in [0, 360), |dec| <= 90, errors
 * finite and positive in every star handed over.                                                                    */
#include "common/refstars_internal.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/frameio.h"
#include "common/text.h"
#include "common/units.h"

#define TEXT_MAX ((size_t)4 << 30)
#define MAS_PER_DEG 3.6e6

/* ---- names and units -------------------------------------------------------------------------------------------- */

/* Aliases of a role, the best first. */
static const char *const aliases[REF_ROLES][10] = {
    [REF_ID] = {"source_id", "source", "gaia_id", "id", "objid", "tyc", "designation"},
    [REF_RA] = {"ra", "ra_icrs", "ra_j2000", "raj2000", "alpha_j2000", "_raj2000", "ra_deg", "x_world", "ramdeg"},
    [REF_DEC] = {"dec", "de_icrs", "dec_icrs", "dec_j2000", "dej2000", "delta_j2000", "_dej2000", "dec_deg", "y_world", "demdeg"},
    [REF_RA_ERR] = {"ra_error", "e_ra_icrs", "e_raj2000", "ra_err", "e_ra", "erra_world", "e_ramdeg"},
    [REF_DEC_ERR] = {"dec_error", "e_de_icrs", "e_dej2000", "dec_err", "e_dec", "errb_world", "e_demdeg"},
    [REF_PMRA] = {"pmra", "pm_ra", "pmalpha_j2000"},
    [REF_PMDEC] = {"pmdec", "pmde", "pm_dec", "pmdelta_j2000"},
    [REF_PMRA_ERR] = {"pmra_error", "e_pmra", "pmra_err"},
    [REF_PMDEC_ERR] = {"pmdec_error", "e_pmdec", "e_pmde", "pmdec_err"},
    [REF_PARALLAX] = {"parallax", "plx"},
    [REF_EPOCH] = {"ref_epoch", "epoch", "obsdate"},
    [REF_BP_RP] = {"bp_rp", "bp-rp", "bp_minus_rp"},
};

static int alias_rank(enum ref_role role, const char *name)
{
    for (int k = 0; k < 10 && aliases[role][k]; k++)
        if (!strcasecmp(aliases[role][k], name)) return k;
    return -1;
}

static bool is_band(const char *name)
{
    size_t n = strlen(name);
    if (n >= REFSTARS_BAND_NAME || strncasecmp(name, "e_", 2) == 0 || text_matches("*err*", name)) return false;
    return text_matches("phot_*_mean_mag", name) || text_matches("*mag", name) || text_matches("mag*", name);
}

struct unit {
    const char *name;
    double scale;
};
static const struct unit angles[] = {{"deg", 1}, {"degree", 1}, {"degrees", 1}, {"rad", DEG_PER_RAD}, {"hour", 15}, {"h", 15}, {NULL, 0}};
static const struct unit errors[] = {{"mas", 1}, {"arcsec", 1e3}, {"deg", MAS_PER_DEG}, {"uas", 1e-3}, {NULL, 0}};
static const struct unit rates[] = {{"mas/yr", 1}, {"mas.yr-1", 1}, {"mas.yr**-1", 1}, {"mas/a", 1}, {"mas.a-1", 1}, {"mas yr-1", 1}, {"mas/year", 1}, {"mas yr**-1", 1}, {"arcsec/yr", 1e3}, {"arcsec.yr-1", 1e3},
                                    {"deg/yr", MAS_PER_DEG}, {"deg.yr-1", MAS_PER_DEG}, {NULL, 0}};
static const struct unit epochs[] = {{"yr", 1}, {"a", 1}, {"year", 1}, {"Julian year", 1}, {NULL, 0}};

static const struct unit *units_of(int slot)
{
    switch (slot) {
    case REF_RA: case REF_DEC: return angles;
    case REF_RA_ERR: case REF_DEC_ERR: case REF_PARALLAX: return errors;
    case REF_PMRA: case REF_PMDEC: case REF_PMRA_ERR: case REF_PMDEC_ERR: return rates;
    case REF_EPOCH: return epochs;
    default: return NULL;
    }
}

static enum err unit_scale(int slot, const char *name, const char *unit, double *ret, struct error *err)
{
    const struct unit *u = units_of(slot);
    *ret = 1;
    if (!u) return ERR_OK;
    if (text_matches("*_world", name) && slot != REF_RA && slot != REF_DEC) *ret = MAS_PER_DEG; /* SCAMP's are degrees */
    if (!unit || !unit[0]) return ERR_OK;
    for (; u->name; u++)
        if (!strcasecmp(u->name, unit)) {
            *ret = u->scale;
            return ERR_OK;
        }
    return ERROR(err, ERR_UNSUPPORTED, "column '%s' is in '%s', which is no unit known here", name, unit);
}

static int slot_of(struct refdata *d, const char *name, int *ret_rank)
{
    for (int role = 0; role < REF_ROLES; role++)
        if ((*ret_rank = alias_rank((enum ref_role)role, name)) >= 0) return role;
    *ret_rank = 0;
    if (!is_band(name) || d->nband >= REFSTARS_BANDS_MAX) return -1;
    for (int b = 0; b < d->nband; b++)
        if (!strcasecmp(d->name[REF_BAND + b], name)) return -1; /* a second column of the same name */
    return REF_BAND + d->nband;
}

enum err refdata_column(struct refdata *d, const char *name, const char *unit, int *ret, struct error *err)
{
    int rank, slot = slot_of(d, name, &rank);
    double scale;
    *ret = -1;
    if (slot < 0 || (d->name[slot][0] && d->rank[slot] <= rank)) return ERR_OK;
    enum err e = unit_scale(slot, name, unit, &scale, err);
    if (e) return e;
    snprintf(d->name[slot], sizeof d->name[slot], "%s", name);
    d->rank[slot] = rank;
    d->scale[slot] = scale;
    d->nband += slot >= REF_BAND;
    *ret = slot;
    return ERR_OK;
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

void refdata_release(struct refdata *d)
{
    for (int k = 0; k < REF_COLUMNS; k++) free(d->value[k]);
    free(d->id);
    free(d->row);
    *d = (struct refdata){0};
}

static bool grow(void *array, int64_t n, size_t size)
{
    void **p = array, *q = realloc(*p, (size_t)n * size);
    if (q) *p = q;
    return q != NULL;
}

static enum err reserve(struct refdata *d, struct error *err)
{
    if (d->n < d->capacity) return ERR_OK;
    int64_t want = d->capacity ? 2 * d->capacity : 1024;
    bool good = grow(&d->id, want, sizeof *d->id) && grow(&d->row, want, sizeof *d->row);
    for (int k = 0; k < REF_COLUMNS && good; k++)
        if (d->name[k][0]) good = grow(&d->value[k], want, sizeof *d->value[k]);
    if (!good) return ERROR(err, ERR_NOMEM, "no memory for %lld reference stars", (long long)want);
    d->capacity = want;
    return ERR_OK;
}

enum err refdata_add(struct refdata *d, int64_t row, struct error *err)
{
    enum err e = reserve(d, err);
    if (e) return e;
    d->id[d->n] = d->n + 1;
    d->row[d->n] = row;
    for (int k = 0; k < REF_COLUMNS; k++)
        if (d->value[k]) d->value[k][d->n] = NAN;
    d->n++;
    return ERR_OK;
}

void refdata_set(struct refdata *d, int slot, double value)
{
    d->value[slot][d->n - 1] = value * d->scale[slot];
}

/* FNV-1a, 63 bits. */
static int64_t hash_id(const char *s, size_t n)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)s[i]) * 1099511628211u;
    return (int64_t)(h >> 1);
}

static int64_t id_of(const char *s, size_t n)
{
    char buf[32], *end = buf;
    if (n > 0 && n < sizeof buf) {
        memcpy(buf, s, n);
        buf[n] = 0;
        errno = 0;
        long long v = strtoll(buf, &end, 10);
        if (end != buf && !*end && !errno) return v;
    }
    return hash_id(s, n);
}

enum err refdata_set_text(struct refdata *d, int slot, const char *text, size_t n, struct error *err)
{
    char buf[64], *end;
    while (n && isspace((unsigned char)*text)) text++, n--;
    while (n && isspace((unsigned char)text[n - 1])) n--;
    if (slot == REF_ID) {
        if (n) d->id[d->n - 1] = id_of(text, n);
        return ERR_OK;
    }
    bool nan = (n == 3 && !strncasecmp(text, "nan", 3)) || (n == 4 && (*text == '-' || *text == '+') && !strncasecmp(text + 1, "nan", 3));
    if (!n || nan || (n == 4 && !strncasecmp(text, "null", 4))) return ERR_OK;
    snprintf(buf, sizeof buf, "%.*s", n < sizeof buf ? (int)n : (int)sizeof buf - 1, text);
    double v = strtod(buf, &end);
    if (end == buf || *end || n >= sizeof buf) {
        enum err e = ERROR(err, ERR_CORRUPT, "%s %lld: '%s' is '%.40s', not a number", d->row_word, (long long)d->row[d->n - 1], d->name[slot], buf);
        if (slot == REF_RA || slot == REF_DEC) error_hint(err, "positions are decimal degrees");
        return e;
    }
    refdata_set(d, slot, v);
    return ERR_OK;
}

/* ---- the stars --------------------------------------------------------------------------------------------------- */

struct order {
    double dec, ra;
    int64_t id, i;
};

static int by_dec(const void *p, const void *q)
{
    const struct order *a = p, *b = q;
    if (a->dec != b->dec) return a->dec < b->dec ? -1 : 1;
    if (a->ra != b->ra) return a->ra < b->ra ? -1 : 1;
    if (a->id != b->id) return a->id < b->id ? -1 : 1;
    return (a->i > b->i) - (a->i < b->i);
}

static double cell(const struct refdata *d, int slot, int64_t i)
{
    return d->value[slot] ? d->value[slot][i] : NAN;
}

static enum err check_positions(const struct refdata *d, struct error *err)
{
    for (int64_t i = 0; i < d->n; i++) {
        double ra = d->value[REF_RA][i], dec = d->value[REF_DEC][i];
        bool bad_ra = !(fabs(ra) <= 720);
        if (!bad_ra && fabs(dec) <= 90) continue;
        return ERROR(err, ERR_CORRUPT, "%s %lld: '%s' is %g, not a %s in degrees", d->row_word, (long long)(d->row ? d->row[i] : i + 1),
                     d->name[bad_ra ? REF_RA : REF_DEC], bad_ra ? ra : dec, bad_ra ? "right ascension" : "declination");
    }
    return ERR_OK;
}

static float good_error(double mas)
{
    return (float)(mas > 0 && mas < 1e7 ? mas : REFSTARS_ERR_UNKNOWN);
}

static struct refstar star_of(const struct refdata *d, int64_t i)
{
    double ra = fmod(d->value[REF_RA][i], 360), epoch = cell(d, REF_EPOCH, i);
    bool year = epoch > 1800 && epoch < 2300;
    struct refstar s = {.id = d->id ? d->id[i] : i + 1, .ra = ra < 0 ? ra + 360 : ra, .dec = d->value[REF_DEC][i], .epoch = year ? epoch : 2000,
                        .ra_err = good_error(cell(d, REF_RA_ERR, i)), .dec_err = good_error(cell(d, REF_DEC_ERR, i)),
                        .pmra = (float)cell(d, REF_PMRA, i), .pmdec = (float)cell(d, REF_PMDEC, i),
                        .pmra_err = (float)cell(d, REF_PMRA_ERR, i), .pmdec_err = (float)cell(d, REF_PMDEC_ERR, i),
                        .parallax = (float)cell(d, REF_PARALLAX, i), .mag = NAN};
    if (s.ra >= 360) s.ra = 0;
    if (!isfinite(s.pmra) || !isfinite(s.pmdec)) s.pmra = s.pmdec = NAN;
    return s;
}

/* Gaia's G first, then the order of the file. */
static int band_order(const struct refdata *d, int order[REFSTARS_BANDS_MAX])
{
    int n = 0, first = -1;
    for (int b = 0; b < d->nband; b++)
        if (!strcasecmp(d->name[REF_BAND + b], "phot_g_mean_mag")) first = b;
    if (first >= 0) order[n++] = first;
    for (int b = 0; b < d->nband; b++)
        if (b != first) order[n++] = b;
    return n;
}

static bool fill_bands(const struct refdata *d, const struct order *order, struct refstars *ret)
{
    int from[REFSTARS_BANDS_MAX], n = band_order(d, from);
    size_t room = (size_t)(d->n ? d->n : 1);
    for (int b = 0; b < n; b++) {
        ret->nband = b + 1;
        ret->mag[b] = malloc(room * sizeof *ret->mag[b]);
        if (!ret->mag[b]) return false;
        for (char *t = ret->band[b], *s = (char *)(uintptr_t)d->name[REF_BAND + from[b]]; (*t = (char)tolower((unsigned char)*s)); t++) s++;
        for (int64_t i = 0; i < d->n; i++) {
            double m = d->value[REF_BAND + from[b]][order[i].i];
            ret->mag[b][i] = (float)(fabs(m) < 90 ? m : NAN);
        }
    }
    for (int64_t i = 0; i < d->n && n; i++) ret->star[i].mag = ret->mag[0][i];
    if (!d->value[REF_BP_RP]) {
        ret->bp_rp = refstars_values(ret, "phot_bp_mean_mag-phot_rp_mean_mag");
        return true;
    }
    ret->bp_rp = malloc(room * sizeof *ret->bp_rp);
    for (int64_t i = 0; ret->bp_rp && i < d->n; i++) ret->bp_rp[i] = (float)d->value[REF_BP_RP][order[i].i];
    return ret->bp_rp != NULL;
}

enum err refdata_finish(struct refdata *d, struct refstars *ret, struct error *err)
{
    *ret = (struct refstars){0};
    if (!d->name[REF_RA][0] || !d->name[REF_DEC][0]) {
        enum err e = ERROR(err, ERR_UNSUPPORTED, "no column '%s' among its columns", d->name[REF_RA][0] ? "dec" : "ra");
        error_hint(err, "reference stars need the columns ra and dec, in degrees");
        return e;
    }
    enum err e = d->n ? check_positions(d, err) : ERR_OK;
    if (e) return e;
    size_t room = (size_t)(d->n ? d->n : 1);
    struct order *order = malloc(room * sizeof *order);
    ret->star = malloc(room * sizeof *ret->star);
    ret->n = d->n;
    bool good = order && ret->star;
    for (int64_t i = 0; i < d->n && good; i++) {
        struct refstar s = star_of(d, i);
        order[i] = (struct order){s.dec, s.ra, s.id, i};
    }
    if (good && d->n) qsort(order, (size_t)d->n, sizeof *order, by_dec);
    for (int64_t i = 0; i < d->n && good; i++) ret->star[i] = star_of(d, order[i].i);
    good = good && fill_bands(d, order, ret);
    free(order);
    if (good) return ERR_OK;
    refstars_release(ret);
    return ERROR(err, ERR_NOMEM, "no memory for %lld reference stars", (long long)d->n);
}

void refstars_release(struct refstars *r)
{
    free(r->star);
    free(r->bp_rp);
    for (int b = 0; b < r->nband; b++) free(r->mag[b]);
    *r = (struct refstars){0};
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static bool looks_like_votable(const char *text, size_t size)
{
    while (size && (isspace((unsigned char)*text) || (unsigned char)*text >= 0x80)) text++, size--; /* a byte order mark too */
    return size && *text == '<';
}

enum err refstars_parse(const char *text, size_t size, const char *path, struct refstars *ret, struct error *err)
{
    bool votable = looks_like_votable(text, size);
    struct refdata d = {.path = path, .row_word = votable ? "row" : "line"};
    *ret = (struct refstars){0};
    enum err e = votable ? refstars_parse_votable(text, size, &d, err) : refstars_parse_csv(text, size, &d, err);
    if (!e) e = refdata_finish(&d, ret, err);
    if (e) error_subject(err, path, 0);
    refdata_release(&d);
    return e;
}

static bool is_fits(const char *path)
{
    char first[80] = "";
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(first, 1, sizeof first - 1, f) : 0;
    if (f) fclose(f);
    bool packed = n > 2 && (!memcmp(first, "\x1f\x8b", 2) || !memcmp(first, "BZh", 3));
    return packed || (n > 9 && !memcmp(first, "SIMPLE  =", 9));
}

static enum err read_text(const char *path, struct refstars *ret, struct error *err)
{
    size_t size;
    char *text = text_read_file(path, TEXT_MAX, &size);
    if (!text) {
        enum err code = errno == ENOENT ? ERR_NOT_FOUND : errno == ENOMEM ? ERR_NOMEM : errno == EIO ? ERR_IO : ERR_UNREADABLE;
        ERROR(err, code, "cannot read it: %s", strerror(errno));
        error_subject(err, path, 0);
        return code;
    }
    enum err e = refstars_parse(text, size, path, ret, err);
    free(text);
    return e;
}

enum err refstars_read(const char *path, struct refstars *ret, struct error *err)
{
    *ret = (struct refstars){0};
    if (!is_fits(path)) return read_text(path, ret, err);
    struct refdata d = {.path = path, .row_word = "row"};
    enum err e = refstars_read_fits(path, &d, err);
    if (!e) e = refdata_finish(&d, ret, err);
    if (e) error_subject(err, path, 0);
    refdata_release(&d);
    return e;
}

/* ---- use --------------------------------------------------------------------------------------------------------- */

double julian_year(double mjd)
{
    return 2000.0 + (mjd - 51544.5) / 365.25;
}

static double grown(float err0, float pm_err, bool moving, double years)
{
    double rate = !moving ? REFSTARS_PM_UNKNOWN : isfinite(pm_err) ? (double)pm_err : 0;
    return hypot((double)err0, rate * years);
}

void refstar_at(const struct refstar *s, double year, double *ret_ra, double *ret_dec, double *ret_err)
{
    double years = isfinite(year) ? year - s->epoch : 0;
    bool moving = isfinite(s->pmra);
    if (ret_err) {
        double a = grown(s->ra_err, s->pmra_err, moving, years), b = grown(s->dec_err, s->pmdec_err, moving, years);
        *ret_err = sqrt((a * a + b * b) / 2);
    }
    *ret_ra = s->ra;
    *ret_dec = s->dec;
    if (!moving || years == 0) return;
    double step = years * RAD_PER_DEG / MAS_PER_DEG, e = (double)s->pmra * step, n = (double)s->pmdec * step;
    double ra = s->ra * RAD_PER_DEG, dec = s->dec * RAD_PER_DEG, ca = cos(ra), sa = sin(ra), cd = cos(dec), sd = sin(dec);
    double x = cd * ca - e * sa - n * sd * ca, y = cd * sa + e * ca - n * sd * sa, z = sd + n * cd;
    double a = atan2(y, x) * DEG_PER_RAD;
    *ret_ra = a < 0 ? a + 360 : a;
    if (*ret_ra >= 360) *ret_ra = 0;
    *ret_dec = atan2(z, hypot(x, y)) * DEG_PER_RAD;
}

static int64_t first_from(const struct refstars *r, double dec)
{
    int64_t lo = 0, hi = r->n;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (r->star[mid].dec < dec) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

void refstars_zone(const struct refstars *r, double dec, double radius, int64_t *first, int64_t *end)
{
    *first = first_from(r, dec - radius);
    *end = first_from(r, nextafter(dec + radius, 1000));
}

static const float *band_of(const struct refstars *r, const char *name, size_t n)
{
    for (int b = 0; b < r->nband; b++)
        if (strlen(r->band[b]) == n && !strncasecmp(r->band[b], name, n)) return r->mag[b];
    return NULL;
}

float *refstars_values(const struct refstars *r, const char *name)
{
    const char *minus = strchr(name, '-');
    const float *a, *b = NULL;
    if (!strcasecmp(name, "bp_rp")) a = r->bp_rp;
    else a = band_of(r, name, minus ? (size_t)(minus - name) : strlen(name));
    if (a && minus && !(b = band_of(r, minus + 1, strlen(minus + 1)))) return NULL;
    float *v = a ? malloc((size_t)(r->n ? r->n : 1) * sizeof *v) : NULL;
    for (int64_t i = 0; v && i < r->n; i++) v[i] = b ? a[i] - b[i] : a[i];
    return v;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

enum { WRITE_FIXED = 11 };

/* The columns of the stars, one after the other, from one block of memory. */
enum err refstars_write(const char *path, const struct refstars *r, struct error *err)
{
    static const struct {
        const char *name, *unit;
        enum column_type type;
        size_t offset;
    } field[WRITE_FIXED] = {
        {"source_id", NULL, COLUMN_I64, offsetof(struct refstar, id)}, {"ra", "deg", COLUMN_F64, offsetof(struct refstar, ra)},
        {"dec", "deg", COLUMN_F64, offsetof(struct refstar, dec)}, {"ra_error", "mas", COLUMN_F32, offsetof(struct refstar, ra_err)},
        {"dec_error", "mas", COLUMN_F32, offsetof(struct refstar, dec_err)}, {"pmra", "mas/yr", COLUMN_F32, offsetof(struct refstar, pmra)},
        {"pmdec", "mas/yr", COLUMN_F32, offsetof(struct refstar, pmdec)}, {"pmra_error", "mas/yr", COLUMN_F32, offsetof(struct refstar, pmra_err)},
        {"pmdec_error", "mas/yr", COLUMN_F32, offsetof(struct refstar, pmdec_err)}, {"parallax", "mas", COLUMN_F32, offsetof(struct refstar, parallax)},
        {"ref_epoch", "yr", COLUMN_F64, offsetof(struct refstar, epoch)},
    };
    struct column columns[WRITE_FIXED + REFSTARS_BANDS_MAX + 1];
    int64_t n = r->n ? r->n : 1;
    char *block = calloc((size_t)n, WRITE_FIXED * 8), *at = block;
    if (!block) return ERROR(err, ERR_NOMEM, "no memory for %lld reference stars", (long long)r->n);
    int nc = 0;
    for (; nc < WRITE_FIXED; nc++, at += 8 * n) {
        size_t size = field[nc].type == COLUMN_F32 ? 4 : 8;
        for (int64_t i = 0; i < r->n; i++) memcpy(at + (size_t)i * size, (const char *)&r->star[i] + field[nc].offset, size);
        columns[nc] = (struct column){.name = field[nc].name, .unit = field[nc].unit, .type = field[nc].type, .repeat = 1, .data = at};
    }
    for (int b = 0; b < r->nband; b++)
        columns[nc++] = (struct column){.name = r->band[b], .unit = "mag", .type = COLUMN_F32, .repeat = 1, .data = r->mag[b]};
    if (r->bp_rp) columns[nc++] = (struct column){.name = "bp_rp", .unit = "mag", .type = COLUMN_F32, .repeat = 1, .data = r->bp_rp};
    struct table_hdu table = {.extname = "REFSTARS", .nrow = r->n, .ncol = nc, .columns = columns};
    enum err e = frameio_write_tables(path, NULL, &table, 1, err);
    free(block);
    return e;
}
