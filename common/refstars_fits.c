/* Reference stars of FITS files: a table with ra and dec, or the star tree of an index of astrometry.net.
 *
 * Source: the layout of the index files as their own headers describe it (columns kdtree_range_stars and kdtree_data_stars);
 * unit vectors as 32-bit integers between the lowest and the highest, in the byte order of ENDIAN.
 * Tycho-2 stands there for 2000.0 (its supplement, the very bright stars, for 1991.25), without proper motions.        */
#include "common/refstars_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/frameio.h"
#include "common/units.h"

static enum err column_names(struct frameio_in *f, int hdu, struct header *h, int *ret_n, struct error *err)
{
    struct hdu_info info;
    *ret_n = 0;
    enum err e = frameio_hdu_info(f, hdu, &info, err);
    if (e || info.kind == HDU_IMAGE) return e;
    e = frameio_hdu_header(f, hdu, h, err);
    if (!e) *ret_n = (int)info.axis[0];
    return e;
}

static bool header_column(const struct header *h, int i, char name[72], char unit[72])
{
    char key[16];
    snprintf(key, sizeof key, "TUNIT%d", i + 1);
    unit[0] = 0;
    header_get_str(h, key, unit, 72);
    snprintf(key, sizeof key, "TTYPE%d", i + 1);
    return header_get_str(h, key, name, 72);
}

static bool has_positions(const struct header *h, int n)
{
    struct refdata probe = {.path = ""};
    char name[72], unit[72];
    int slot;
    for (int i = 0; i < n; i++)
        if (header_column(h, i, name, unit)) refdata_column(&probe, name, NULL, &slot, NULL);
    return probe.name[REF_RA][0] && probe.name[REF_DEC][0];
}

/* Which HDUs: of a plain table, or of the parts of an index. */
struct parts {
    int plain, range, data, mag;
};

static enum err find_parts(const char *path, struct parts *p, struct error *err)
{
    struct frameio_in *f = NULL;
    struct header h;
    header_init(&h);
    enum err e = frameio_open(path, &f, err);
    for (int hdu = 1; !e && hdu <= frameio_hdu_count(f); hdu++) {
        char name[72] = "", unit[72];
        int n;
        e = column_names(f, hdu, &h, &n, err);
        if (e || !n) continue;
        header_column(&h, 0, name, unit);
        if (!p->plain && has_positions(&h, n)) p->plain = hdu;
        if (!strcmp(name, "kdtree_range_stars")) p->range = hdu;
        if (!strcmp(name, "kdtree_data_stars")) p->data = hdu;
        if (n == 1 && !strncmp(name, "MAG_", 4)) p->mag = hdu;
    }
    frameio_close(f);
    header_release(&h);
    return e;
}

/* ---- a plain table ------------------------------------------------------------------------------------------------ */

static enum err take_ids(struct refdata *d, struct table *t, int col, struct error *err)
{
    const int64_t *id = table_i64(t, col);
    for (int64_t i = 0; i < table_nrow(t); i++) {
        d->n = i + 1; /* refdata_set_text() fills the last row */
        d->id[i] = id ? id[i] : i + 1;
        const char *text = id ? NULL : table_str(t, col, i);
        enum err e = text ? refdata_set_text(d, REF_ID, text, strlen(text), err) : ERR_OK;
        if (e) return e;
    }
    return ERR_OK;
}

static enum err take_column(struct refdata *d, struct table *t, int col, int slot, struct error *err)
{
    int64_t n = table_nrow(t);
    if (slot == REF_ID) {
        if (!d->id) d->id = malloc((size_t)(n + 1) * sizeof *d->id);
        return d->id ? take_ids(d, t, col, err) : ERROR(err, ERR_NOMEM, "no memory for %lld reference stars", (long long)n);
    }
    if (!table_is_numeric(t, col) || table_repeat(t, col) != 1)
        return ERROR(err, ERR_CORRUPT, "column '%s' is not one number per row", table_column_name(t, col));
    const double *v = table_f64(t, col);
    if (!d->value[slot]) d->value[slot] = malloc((size_t)(n + 1) * sizeof *d->value[slot]);
    if (!v || !d->value[slot]) return ERROR(err, ERR_NOMEM, "no memory for %lld reference stars", (long long)n);
    for (int64_t i = 0; i < n; i++) d->value[slot][i] = v[i] * d->scale[slot];
    return ERR_OK;
}

static enum err read_plain(const char *path, int hdu, struct refdata *d, struct error *err)
{
    struct table *t = NULL;
    char name[72], unit[72];
    enum err e = table_read_hdu(path, hdu, &t, err);
    for (int i = 0; !e && i < table_ncol(t); i++) {
        int slot;
        if (!header_column(table_header(t), i, name, unit)) continue;
        e = refdata_column(d, name, unit, &slot, err);
        if (!e && slot >= REF_BAND && (!table_is_numeric(t, i) || table_repeat(t, i) != 1)) { /* "mag" of something else */
            d->name[slot][0] = 0;
            d->nband--;
            continue;
        }
        if (!e && slot >= 0) e = take_column(d, t, i, slot, err);
    }
    if (!e) d->n = table_nrow(t);
    table_free(t);
    return e;
}

/* ---- an index of astrometry.net ------------------------------------------------------------------------------------ */

static uint64_t load_bytes(const uint8_t *p, int n, bool big)
{
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v = v << 8 | p[big ? i : n - 1 - i];
    return v;
}

static double load_f64(const uint8_t *p, bool big)
{
    uint64_t bits = load_bytes(p, 8, big);
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

struct index_tables {
    struct table *range, *data, *mag;
    double low[3], inverse; /* vector = low + integer * inverse */
    bool big;
};

static enum err byte_order(const char *path, char *ret, size_t size, struct error *err)
{
    struct frameio_in *f = NULL;
    struct header h;
    header_init(&h);
    enum err e = frameio_open(path, &f, err);
    if (!e) e = frameio_hdu_header(f, 1, &h, err);
    if (!e) header_get_str(&h, "ENDIAN", ret, size);
    header_release(&h);
    frameio_close(f);
    return e;
}

static enum err index_open(const char *path, const struct parts *p, struct index_tables *x, struct error *err)
{
    char order[40] = "";
    enum err e = byte_order(path, order, sizeof order, err);
    x->big = !strncmp(order, "01:02", 5);
    if (!e) e = table_read_hdu(path, p->range, &x->range, err);
    if (!e) e = table_read_hdu(path, p->data, &x->data, err);
    if (!e && p->mag) e = table_read_hdu(path, p->mag, &x->mag, err);
    if (e) return e;
    const uint8_t *v = NULL;
    int64_t size = 0;
    for (int64_t i = 0; i < 7; i++) {
        v = table_bytes(x->range, 0, i, &size);
        if (!v || size != 8) return ERROR(err, ERR_UNSUPPORTED, "its star tree has a layout that is not known here");
        double value = load_f64(v, x->big);
        if (i < 3) x->low[i] = value;
        if (i == 6) x->inverse = 1 / value;
    }
    v = table_bytes(x->data, 0, 0, &size);
    if (!v || size != 12 || !isfinite(x->inverse)) return ERROR(err, ERR_UNSUPPORTED, "its star tree has a layout that is not known here");
    return ERR_OK;
}

static enum err read_index(const char *path, const struct parts *p, struct refdata *d, struct error *err)
{
    struct index_tables x = {0};
    int ra = -1, dec = -1, ra_err = -1, dec_err = -1, mag = -1;
    refdata_column(d, "ra", NULL, &ra, NULL);
    refdata_column(d, "dec", NULL, &dec, NULL);
    refdata_column(d, "ra_error", NULL, &ra_err, NULL);
    refdata_column(d, "dec_error", NULL, &dec_err, NULL);
    enum err e = index_open(path, p, &x, err);
    if (!e && x.mag) refdata_column(d, table_column_name(x.mag, 0), NULL, &mag, NULL);
    const double *m = mag >= 0 ? table_f64(x.mag, 0) : NULL;
    if (!m || table_nrow(x.mag) != table_nrow(x.data)) mag = -1;
    for (int64_t i = 0; !e && i < table_nrow(x.data); i++) {
        int64_t size;
        const uint8_t *v = table_bytes(x.data, 0, i, &size);
        double xyz[3];
        for (int k = 0; k < 3; k++) xyz[k] = x.low[k] + (double)load_bytes(v + 4 * k, 4, x.big) * x.inverse;
        e = refdata_add(d, i + 1, err);
        if (e) break;
        double a = atan2(xyz[1], xyz[0]) * DEG_PER_RAD;
        refdata_set(d, ra, a < 0 ? a + 360 : a);
        refdata_set(d, dec, atan2(xyz[2], hypot(xyz[0], xyz[1])) * DEG_PER_RAD);
        refdata_set(d, ra_err, 60.0); /* Tycho-2 at its faint end (Hog et al. 2000, A&A 355, L27) */
        refdata_set(d, dec_err, 60.0);
        if (mag >= 0) refdata_set(d, mag, m[i]);
    }
    table_free(x.range);
    table_free(x.data);
    table_free(x.mag);
    return e;
}

enum err refstars_read_fits(const char *path, struct refdata *d, struct error *err)
{
    struct parts p = {0};
    enum err e = find_parts(path, &p, err);
    if (e) return e;
    if (p.plain) return read_plain(path, p.plain, d, err);
    if (p.range && p.data) return read_index(path, &p, d, err);
    e = ERROR(err, ERR_UNSUPPORTED, "no table in it has the columns ra and dec");
    error_hint(err, "reference stars need the columns ra and dec, in degrees");
    return e;
}
