#include "pipeline/master.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/atomicfile.h"
#include "common/frameio.h"
#include "common/products.h"

#define MASTERS_MAX 1000000
#define DARK_SCALE_MOST 1000.0 /* temperatures so far apart are a header in error */

/* ---- names ------------------------------------------------------------------------------------------------------- */

/* Append text with everything but letters, digits, '+' and '-' as '-': a filter may be called "i' (old)/2". */
static void append_word(char *buf, int size, const char *text)
{
    size_t n = strlen(buf);
    for (; *text && n + 1 < (size_t)size; text++, n++)
        buf[n] = isalnum((unsigned char)*text) || *text == '+' || *text == '-' ? *text : '-';
    buf[n] = 0;
}

const char *master_name(char *buf, int size, const struct calib *c, const char *key)
{
    char part[64];
    snprintf(buf, (size_t)size, "masters/%s_", frame_type_name(c->kind));
    append_word(buf, size, c->instrument);
    size_t n = strlen(buf);
    snprintf(part, sizeof part, "_ccd%02d", c->ccd);
    snprintf(buf + n, (size_t)size - n, "%s_bin%dx%d", c->ccd > 0 ? part : "", c->binning_x, c->binning_y);
    if (c->kind == FRAME_FLAT && c->filter[0]) {
        n = strlen(buf);
        snprintf(buf + n, (size_t)size - n, "_");
        append_word(buf, size, c->filter);
    }
    n = strlen(buf);
    snprintf(buf + n, (size_t)size - n, "_%.12s.fits", key);
    return buf;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static int small_int(const struct header *h, const char *key, int fallback)
{
    int64_t v;
    return header_get_int(h, key, &v) && v >= 0 && v < 1000000 ? (int)v : fallback;
}

static double number(const struct header *h, const char *key)
{
    double v = NAN;
    header_get_double(h, key, &v);
    return v;
}

static enum frame_type kind_of(const char *name)
{
    for (int k = FRAME_BIAS; k < FRAME_BIAS + MASTER_KINDS; k++)
        if (!strcmp(name, frame_type_name((enum frame_type)k))) return (enum frame_type)k;
    return FRAME_UNKNOWN;
}

static void read_gains(const struct header *h, struct master_info *m)
{
    char source[24] = "", key[16];
    header_get_str(h, KEY_GAINSRC, source, sizeof source);
    m->measured = !strcmp(source, "measured");
    m->namp = small_int(h, "NSNAMP", 1);
    if (m->namp > AMPS_MAX) m->namp = AMPS_MAX;
    for (int a = 0; a < m->namp; a++) {
        snprintf(key, sizeof key, m->namp > 1 ? "GAIN%02d" : "GAIN", a + 1);
        m->gain_e_per_adu[a] = number(h, key);
        snprintf(key, sizeof key, m->namp > 1 ? "RDNOIS%02d" : "RDNOISE", a + 1);
        m->rdnoise_e[a] = number(h, key);
    }
}

static enum err read_info(const char *path, struct master_info *ret, struct error *err)
{
    struct header h = {0};
    enum err code = frameio_read_header(path, 0, &h, err);
    if (code) return code;
    struct master_info m = {0};
    struct calib *c = &m.calib;
    char kind[16] = "";
    int64_t nx = 0, ny = 0;
    header_get_str(&h, KEY_MASTER_KIND, kind, sizeof kind);
    header_get_str(&h, KEY_INSTRUMENT, c->instrument, sizeof c->instrument);
    header_get_str(&h, "FILTER", c->filter, sizeof c->filter);
    header_get_str(&h, KEY_MASTER_KEY, m.key, sizeof m.key);
    header_get_int(&h, "NAXIS1", &nx);
    header_get_int(&h, "NAXIS2", &ny);
    c->kind = kind_of(kind);
    c->ccd = small_int(&h, KEY_CCD, 0);
    c->binning_x = small_int(&h, KEY_BIN_X, 1);
    c->binning_y = small_int(&h, KEY_BIN_Y, 1);
    c->nx = nx;
    c->ny = ny;
    c->exptime_s = number(&h, "EXPTIME");
    c->mjd = number(&h, KEY_MJD_MID);
    c->ccd_temp_c = number(&h, "CCD-TEMP");
    c->nframes = small_int(&h, "NCOMBINE", 0);
    header_get_str(&h, KEY_BIAS_USED, m.bias_key, sizeof m.bias_key);
    header_get_double(&h, KEY_BIAS_SCALE, &m.bias_scale);
    m.valid_from = -INFINITY;
    m.valid_to = INFINITY;
    header_get_double(&h, KEY_VALID_FROM, &m.valid_from);
    header_get_double(&h, KEY_VALID_TO, &m.valid_to);
    read_gains(&h, &m);
    header_release(&h);
    if (c->kind == FRAME_UNKNOWN) return ERROR(err, ERR_UNSUPPORTED, "no master of this program: it has no card %s", KEY_MASTER_KIND);
    m.path = strdup(path);
    if (!m.path) return ERROR(err, ERR_NOMEM, "no memory for the masters");
    *ret = m;
    return ERR_OK;
}

enum err master_list_add_file(struct master_list *l, const char *path, struct error *err)
{
    if (l->n >= MASTERS_MAX) return ERROR(err, ERR_UNSUPPORTED, "cannot take more than %d masters", MASTERS_MAX);
    if (l->n == l->capacity) {
        int capacity = l->capacity ? 2 * l->capacity : 16;
        struct master_info *grown = realloc(l->v, (size_t)capacity * sizeof *grown);
        if (!grown) return ERROR(err, ERR_NOMEM, "no memory for %d masters", capacity);
        l->v = grown;
        l->capacity = capacity;
    }
    enum err code = read_info(path, &l->v[l->n], err);
    if (code) {
        error_subject(err, path, 0);
        return code;
    }
    l->v[l->n].calib.id = l->n;
    l->n++;
    return ERR_OK;
}

static int fits_file(const struct dirent *d)
{
    size_t n = strlen(d->d_name);
    return d->d_name[0] != '.' && n > 5 && !strcmp(d->d_name + n - 5, ".fits");
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

enum err master_list_add_folder(struct master_list *l, const char *folder, struct error *err)
{
    struct dirent **entries;
    int n = scandir(folder, &entries, fits_file, by_bytes);
    if (n < 0) return errno == ENOENT ? ERR_OK : error_from_errno(err, errno, folder, "list");
    enum err code = ERR_OK;
    for (int i = 0; i < n; i++) {
        char *path = NULL;
        if (!code && asprintf(&path, "%s/%s", folder, entries[i]->d_name) < 0) {
            path = NULL;
            code = ERROR(err, ERR_NOMEM, "no memory for a path");
        }
        if (!code) {
            code = master_list_add_file(l, path, err);
            if (code == ERR_UNSUPPORTED) {
                code = ERR_OK;
                error_clear(err);
            }
        }
        free(path);
        free(entries[i]);
    }
    free(entries);
    return code;
}

void master_list_release(struct master_list *l)
{
    for (int i = 0; i < l->n; i++) free(l->v[i].path);
    free(l->v);
    *l = (struct master_list){0};
}

/* ---- choice ------------------------------------------------------------------------------------------------------ */

int master_choose(const struct master_list *l, enum frame_type kind, const struct exposure_meta *exposure, char *why)
{
    struct calib *calibs = calloc((size_t)l->n + 1, sizeof *calibs);
    if (!calibs) {
        snprintf(why, 200, "no memory");
        return -1;
    }
    int n = 0, expired = 0;
    for (int i = 0; i < l->n; i++) {
        bool valid = !isfinite(exposure->mjd_mid) || (exposure->mjd_mid >= l->v[i].valid_from && exposure->mjd_mid <= l->v[i].valid_to);
        if (valid) calibs[n++] = l->v[i].calib;
        else expired += l->v[i].calib.kind == kind;
    }
    int best = calib_choose(kind, exposure, calibs, n, why);
    if (best >= 0) best = calibs[best].id;
    else if (expired && strlen(why) < 150) snprintf(why + strlen(why), 50, "; %d out of their time of validity", expired);
    free(calibs);
    return best;
}

bool gains_known(const struct exposure_meta *exposure)
{
    for (int a = 0; a < exposure->namp; a++)
        if (!isfinite(exposure->amp[a].gain_e_per_adu) || !isfinite(exposure->amp[a].rdnoise_e)) return false;
    return true;
}

bool master_lend_gain(const struct master_info *m, struct exposure_meta *exposure)
{
    bool lent = false;
    if (!m->measured || m->namp != exposure->namp) return false;
    for (int a = 0; a < exposure->namp; a++) {
        struct amp *amp = &exposure->amp[a];
        if (!isfinite(amp->gain_e_per_adu) && m->gain_e_per_adu[a] > 0) {
            amp->gain_e_per_adu = m->gain_e_per_adu[a];
            lent = true;
        }
        if (!isfinite(amp->rdnoise_e) && m->rdnoise_e[a] >= 0) {
            amp->rdnoise_e = m->rdnoise_e[a];
            lent = true;
        }
    }
    return lent;
}

enum err master_dark_scale(const struct master_info *dark, double coefficient, double temp_c, double *ret, struct error *err)
{
    *ret = 1;
    if (!dark || !(coefficient > 0)) return ERR_OK;
    if (!isfinite(temp_c) || !isfinite(dark->calib.ccd_temp_c)) {
        enum err code = ERROR(err, ERR_NO_CALIBRATION, "the dark cannot be scaled by temperature: %s says no CCD temperature",
                              isfinite(temp_c) ? "the master dark" : "the frame");
        error_hint(err, "name its keyword in the instrument file (header: ccd_temp), or set signature.dark_temperature_coefficient to 0");
        return code;
    }
    double scale = exp(coefficient * (temp_c - dark->calib.ccd_temp_c));
    if (!(scale <= DARK_SCALE_MOST))
        return ERROR(err, ERR_NO_CALIBRATION, "a dark of %.1f degC cannot serve a frame of %.1f degC: its current would be multiplied by more than %g",
                     dark->calib.ccd_temp_c, temp_c, DARK_SCALE_MOST);
    *ret = scale;
    return ERR_OK;
}

enum err master_sum(struct master_info *m, struct error *err)
{
    return m->sum[0] ? ERR_OK : digest_file(m->path, m->sum, err);
}

enum err master_verify(const struct master_info *m, struct error *err)
{
    struct frameio_in *in = NULL;
    enum err code = frameio_open(m->path, &in, err);
    if (!code) code = frameio_verify_checksums(in, err);
    frameio_close(in);
    if (code) error_subject(err, m->path, 0);
    return code;
}

enum err master_load(const struct master_info *m, int64_t nx, int64_t ny, struct frame *ret, struct error *err)
{
    struct frame f;
    frame_init(&f);
    enum err code = master_verify(m, err);
    if (!code) code = frameio_read_product(m->path, &f, err);
    if (!code && (f.nx != nx || f.ny != ny))
        code = ERROR(err, ERR_SHAPE, "cannot use a master of %lld x %lld pixels for a frame of %lld x %lld", (long long)f.nx,
                     (long long)f.ny, (long long)nx, (long long)ny);
    if (code) {
        error_subject(err, m->path, 0);
        frame_release(&f);
        return code;
    }
    *ret = f;
    return ERR_OK;
}

/* ---- row by row --------------------------------------------------------------------------------------------------- */

void master_close(struct master_reader *r)
{
    frameio_close(r->in);
    *r = (struct master_reader){0};
}

static enum err find_planes(struct master_reader *r, int64_t nx, int64_t ny, struct error *err)
{
    int count = frameio_hdu_count(r->in);
    for (int hdu = 1; hdu <= count; hdu++) {
        struct hdu_info info;
        enum err code = frameio_hdu_info(r->in, hdu, &info, err);
        if (code) return code;
        if (info.kind != HDU_IMAGE || info.naxis < 2) continue;
        int *plane = !strcmp(info.extname, EXT_SCI) ? &r->sci : !strcmp(info.extname, EXT_VAR) ? &r->var : !strcmp(info.extname, EXT_MASK) ? &r->mask : NULL;
        if (!plane) continue;
        if (info.axis[0] != nx || info.axis[1] != ny)
            return ERROR(err, ERR_SHAPE, "cannot use a master of %lld x %lld pixels for a frame of %lld x %lld", (long long)info.axis[0],
                         (long long)info.axis[1], (long long)nx, (long long)ny);
        *plane = hdu;
    }
    if (!r->sci || !r->var || !r->mask) return ERROR(err, ERR_CORRUPT, "a plane of the master is missing");
    return ERR_OK;
}

enum err master_open(const struct master_info *m, int64_t nx, int64_t ny, struct master_reader *ret, struct error *err)
{
    struct master_reader r = {0};
    enum err code = frameio_open(m->path, &r.in, err);
    if (!code) code = find_planes(&r, nx, ny, err);
    if (code) {
        error_subject(err, m->path, 0);
        master_close(&r);
        return code;
    }
    *ret = r;
    return ERR_OK;
}

enum err master_rows(struct master_reader *r, int64_t y0, int64_t y1, float *value, float *var, mask_t *mask, struct error *err)
{
    enum err code = frameio_read_rows_f32(r->in, r->sci, y0, y1, value, err);
    if (!code) code = frameio_read_rows_f32(r->in, r->var, y0, y1, var, err);
    return code ? code : frameio_read_rows_u16(r->in, r->mask, y0, y1, mask, err);
}
