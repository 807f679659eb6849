#include "pipeline/nightreport.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/atomicfile.h"
#include "common/skycoord.h"
#include "common/products.h"
#include "common/text.h"
#include "pipeline/ldaccat.h"
#include "pipeline/nightcal.h"
#include "common/preview.h"

enum { JSON_BYTES_MAX = 256 << 20, FRAMES_MAX = 200000 };

/* ---- JSON --------------------------------------------------------------------------------------------------------- */

static double number_of(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static int64_t integer_of(const json_t *o, const char *key, int64_t otherwise)
{
    double v = number_of(o, key);
    return fabs(v) < 9e15 ? (int64_t)v : otherwise;
}

static void word_of(const json_t *o, const char *key, char *ret, size_t size)
{
    const char *v = json_string_value(json_object_get(o, key));
    text_clean(ret, size, v ? v : "");
}

/* A file of JSON. *ret stays NULL, without an error, when there is none and it is not needed. */
static enum err read_json(const char *path, bool needed, json_t **ret, struct error *err)
{
    size_t size = 0;
    char *text = text_read_file(path, JSON_BYTES_MAX, &size);
    if (!text && errno == ENOENT && !needed) return ERR_OK;
    if (!text) return error_from_errno(err, errno, path, "read");
    json_error_t why;
    json_t *o = json_loadb(text, size, 0, &why);
    free(text);
    if (!json_is_object(o)) {
        json_decref(o);
        ERROR(err, ERR_CORRUPT, "cannot read it as JSON: %s", o ? "it is no object" : why.text);
        error_subject(err, path, 0);
        return ERR_CORRUPT;
    }
    *ret = o;
    return ERR_OK;
}

static const char *name_of_path(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* ---- rows --------------------------------------------------------------------------------------------------------- */

static struct report_frame *add_frame(struct night_report *r, struct error *err)
{
    if (r->nframes >= FRAMES_MAX) {
        ERROR(err, ERR_UNSUPPORTED, "a night of more than %d frames is not reported", FRAMES_MAX);
        return NULL;
    }
    if ((r->nframes & (r->nframes - 1)) == 0) {
        size_t capacity = r->nframes ? 2 * (size_t)r->nframes : 1;
        struct report_frame *more = realloc(r->frames, capacity * sizeof *more);
        if (!more) {
            ERROR(err, ERR_NOMEM, "could not hold %zu frames: out of memory", capacity);
            return NULL;
        }
        r->frames = more;
    }
    struct report_frame *f = &r->frames[r->nframes++];
    *f = (struct report_frame){.band = -1, .objects = -1, .stars = -1};
    f->mjd = f->exptime_s = f->airmass = f->sky = f->sky_sigma = f->seeing_px = f->seeing_arcsec = f->ellipticity = f->depth_mag = NAN;
    f->wcs_rms_px = f->fit_rms_px = f->zero = f->zero_err = f->masked = NAN;
    snprintf(f->outcome, sizeof f->outcome, "done");
    return f;
}

static void take_quality(const json_t *q, struct report_frame *f)
{
    char product[400];
    word_of(q, "product", product, sizeof product);
    char *suffix = strstr(product, "_cal.fits");
    if (suffix) *suffix = 0;
    memcpy(f->product, product, sizeof product);
    word_of(q, "raw", f->raw, sizeof f->raw);
    word_of(q, "instrument", f->instrument, sizeof f->instrument);
    word_of(q, "filter", f->filter, sizeof f->filter);
    word_of(q, "object", f->object, sizeof f->object);
    word_of(q, "verdict", f->verdict, sizeof f->verdict);
    word_of(q, "reasons", f->reasons, sizeof f->reasons);
    f->ccd = (int)integer_of(q, "ccd", 0);
    f->mjd = number_of(q, "mjd_mid");
    f->exptime_s = number_of(q, "exptime_s");
    f->airmass = number_of(q, "airmass");
    f->sky = number_of(q, "sky_electron");
    f->sky_sigma = number_of(q, "sky_sigma_electron");
    f->seeing_px = number_of(q, "seeing_pixel");
    f->seeing_arcsec = number_of(q, "seeing_arcsec");
    f->ellipticity = number_of(q, "ellipticity");
    f->depth_mag = number_of(q, "depth_mag");
    f->masked = number_of(q, "masked");
    f->fit_rms_px = number_of(q, "astrom_rms_pixel");
    f->fit_stars = integer_of(q, "astrom_stars", 0);
    word_of(q, "astrom_status", f->fit_status, sizeof f->fit_status);
    f->zero = number_of(q, "magzero");
    f->zero_err = number_of(q, "magzero_err");
    if (isfinite(f->zero)) snprintf(f->zero_kind, sizeof f->zero_kind, "absolute");
    f->objects = integer_of(q, "objects", -1);
    f->stars = integer_of(q, "stars", -1);
}

static bool is_quality(const char *name)
{
    size_t n = strlen(name), k = strlen("_quality.json");
    return n > k && !strcmp(name + n - k, "_quality.json") && name[0] != '.';
}

/* Names in a folder, sorted, so that nothing depends on the order the file system keeps. */
static int sorted_names(const char *folder, struct dirent ***ret)
{
    int n = scandir(folder, ret, NULL, alphasort);
    return n < 0 ? 0 : n;
}

static void free_names(struct dirent **names, int n)
{
    for (int i = 0; i < n; i++) free(names[i]);
    if (n) free(names);
}

/* The rows of one instrument's folder of quality files. */
static enum err read_instrument(struct night_report *r, const char *folder, struct error *err)
{
    struct dirent **names = NULL;
    int n = sorted_names(folder, &names);
    enum err e = ERR_OK;
    for (int i = 0; i < n && !e; i++) {
        char path[2048];
        json_t *q = NULL;
        if (!is_quality(names[i]->d_name)) continue;
        snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
        e = read_json(path, true, &q, err);
        struct report_frame *f = e ? NULL : add_frame(r, err);
        if (f) take_quality(q, f);
        else if (!e) e = ERR_NOMEM;
        json_decref(q);
    }
    free_names(names, n);
    return e;
}

static enum err read_quality(struct night_report *r, struct error *err)
{
    struct dirent **names = NULL;
    char folder[1200], path[1500];
    snprintf(folder, sizeof folder, "%s/quality/%08d", r->out, r->night);
    int n = sorted_names(folder, &names);
    enum err e = ERR_OK;
    for (int i = 0; i < n && !e; i++) {
        if (names[i]->d_name[0] == '.' || !strcmp(names[i]->d_name, "report")) continue;
        snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
        e = read_instrument(r, path, err);
    }
    free_names(names, n);
    return e;
}

static int newest_night(const char *out)
{
    struct dirent **names = NULL;
    char folder[1200];
    int newest = 0;
    snprintf(folder, sizeof folder, "%s/quality", out);
    int n = sorted_names(folder, &names);
    for (int i = 0; i < n; i++)
        if (strlen(names[i]->d_name) == 8 && strspn(names[i]->d_name, "0123456789") == 8) newest = atoi(names[i]->d_name);
    free_names(names, n);
    return newest;
}

/* ---- what nightcal found ------------------------------------------------------------------------------------------ */

/* "…/NIGHT/INSTRUMENT/NAME_cat.fits" -> "NIGHT/INSTRUMENT/NAME" */
static void product_of_catalogue(const char *path, char *ret, size_t size)
{
    const char *from = path + strlen(path);
    for (int slashes = 0; from > path; from--)
        if (from[-1] == '/' && ++slashes == 3) break;
    snprintf(ret, size, "%s", from);
    char *suffix = strstr(ret, "_cat.fits");
    if (suffix) *suffix = 0;
}

static void take_nightcal(const json_t *o, struct report_frame *f)
{
    char status[40];
    word_of(o, "wcs", f->wcs, sizeof f->wcs);
    word_of(o, "wcs_from", f->wcs_from, sizeof f->wcs_from);
    f->wcs_rms_px = number_of(o, "wcs_rms_px");
    if (isfinite(number_of(o, "magzero"))) {
        word_of(o, "magzero_kind", f->zero_kind, sizeof f->zero_kind);
        f->zero = number_of(o, "magzero");
        f->zero_err = number_of(o, "magzero_err");
    }
    word_of(o, "status", status, sizeof status);
    if (!status[0] || !strcmp(status, "ok")) return;
    snprintf(f->outcome, sizeof f->outcome, "held");
    snprintf(f->cause, sizeof f->cause, "%s", status);
    word_of(o, "message", f->message, sizeof f->message);
}

struct entry {
    char product[400];
    const json_t *o;
};

static int by_product(const void *p, const void *q)
{
    return strcmp(((const struct entry *)p)->product, ((const struct entry *)q)->product);
}

static enum err match_nightcal(struct night_report *r, const json_t *frames, struct error *err)
{
    size_t n = json_array_size(frames);
    struct entry *entries = calloc(n + 1, sizeof *entries), wanted;
    if (!entries) return ERROR(err, ERR_NOMEM, "could not list %zu catalogues: out of memory", n);
    for (size_t i = 0; i < n; i++) {
        char path[1200];
        entries[i].o = json_array_get(frames, i);
        word_of(entries[i].o, "file", path, sizeof path);
        product_of_catalogue(path, entries[i].product, sizeof entries[i].product);
    }
    qsort(entries, n, sizeof *entries, by_product);
    for (int i = 0; i < r->nframes; i++) {
        snprintf(wanted.product, sizeof wanted.product, "%s", r->frames[i].product);
        const struct entry *found = wanted.product[0] ? bsearch(&wanted, entries, n, sizeof *entries, by_product) : NULL;
        if (found) take_nightcal(found->o, &r->frames[i]);
    }
    free(entries);
    return ERR_OK;
}

static enum err read_nightcal(struct night_report *r, struct error *err)
{
    char path[1200];
    json_t *o = NULL;
    snprintf(path, sizeof path, "%s/quality/%08d_nightcal.json", r->out, r->night);
    enum err e = read_json(path, false, &o, err);
    if (!o) return e;
    r->stars_common = (int)json_array_size(json_object_get(o, "stars"));
    r->scatter_mag = number_of(o, "scatter_bright_third_mag");
    e = match_nightcal(r, json_object_get(o, "frames"), err);
    json_decref(o);
    return e;
}

/* Without the report of nightcal the catalogue's own cards say what they know. */
static enum err read_cards(const struct night_report *r, struct report_frame *f)
{
    char path[1600], kind[16] = "";
    struct ldaccat c;
    struct skycoord *sky = NULL;
    ldaccat_init(&c);
    snprintf(path, sizeof path, "%s/%s_cat.fits", r->out, f->product);
    enum err e = ldaccat_read(path, &c, NULL);
    if (e) return e == ERR_NOMEM ? e : ERR_OK;
    header_get_str(&c.image, KEY_MAGZERO_KIND, kind, sizeof kind);
    if (kind[0] && header_get_double(&c.image, KEY_MAGZERO, &f->zero)) header_get_double(&c.image, KEY_MAGZERO_ERR, &f->zero_err);
    text_clean(f->zero_kind, sizeof f->zero_kind, kind);
    e = skycoord_new(&c.image, &sky, NULL);
    bool solved = e == ERR_OK;
    skycoord_free(sky);
    if (e == ERR_NOMEM) {
        ldaccat_release(&c);
        return e;
    }
    snprintf(f->wcs, sizeof f->wcs, "%s", !solved ? "none" : header_has(&c.image, KEY_WCS_FROM) ? "neighbour" : "header");
    if (header_get_str(&c.image, KEY_WCS_FROM, path, sizeof path)) text_clean(f->wcs_from, sizeof f->wcs_from, path);
    ldaccat_release(&c);
    return ERR_OK;
}

static enum err read_missing_cards(struct night_report *r, struct error *err)
{
    struct report_frame *frames = r->frames;
    int n = r->nframes, failed = 0;
    /* Each frame's catalogue fills its own row. */
#pragma omp parallel for schedule(dynamic, 1) default(none) shared(r, frames, n) reduction(+ : failed)
    for (int i = 0; i < n; i++)
        if (frames[i].product[0] && !frames[i].wcs[0]) failed += read_cards(r, &frames[i]) != ERR_OK;
    return failed ? ERROR(err, ERR_NOMEM, "could not read %d catalogues: out of memory", failed) : ERR_OK;
}

/* ---- what the run told -------------------------------------------------------------------------------------------- */

static bool same_word(const char *a, const char *b)
{
    return !strcmp(a, b);
}

/* Takes one frame of the run: to the rows of that raw file, or a row of its own when it came to nothing. */
static enum err take_run_frame(struct night_report *r, int known, const json_t *o, struct error *err)
{
    char file[1024], outcome[16];
    bool found = false;
    word_of(o, "file", file, sizeof file);
    word_of(o, "outcome", outcome, sizeof outcome);
    int64_t night = integer_of(o, "night", r->night);
    if (night != r->night || !file[0]) return ERR_OK;
    for (int i = 0; i < known; i++) {
        struct report_frame *f = &r->frames[i];
        if (!same_word(f->raw, name_of_path(file))) continue;
        found = true;
        if (same_word(outcome, "done") || !outcome[0]) continue;
        snprintf(f->outcome, sizeof f->outcome, "%s", outcome);
        word_of(o, "cause", f->cause, sizeof f->cause);
        word_of(o, "message", f->message, sizeof f->message);
    }
    if (found || same_word(outcome, "done") || !outcome[0]) return ERR_OK;
    struct report_frame *f = add_frame(r, err);
    if (!f) return ERR_NOMEM;
    snprintf(f->raw, sizeof f->raw, "%s", name_of_path(file));
    snprintf(f->outcome, sizeof f->outcome, "%s", outcome);
    word_of(o, "cause", f->cause, sizeof f->cause);
    word_of(o, "message", f->message, sizeof f->message);
    return ERR_OK;
}

static enum err read_run(struct night_report *r, const char *path, struct error *err)
{
    json_t *o = NULL;
    size_t i;
    json_t *frame;
    int known = r->nframes;
    enum err e = read_json(path, true, &o, err);
    if (e) return e;
    r->has_run = true;
    r->run_objects = integer_of(o, "objects", -1);
    r->run_elapsed_s = number_of(o, "elapsed_s");
    word_of(o, "input", r->run_input, sizeof r->run_input);
    json_array_foreach(json_object_get(o, "frames"), i, frame)
        if (!e) e = take_run_frame(r, known, frame, err);
    json_decref(o);
    return e;
}

/* ---- order and bands ---------------------------------------------------------------------------------------------- */

static int by_time(const void *p, const void *q)
{
    const struct report_frame *a = p, *b = q;
    bool known = isfinite(a->mjd), other = isfinite(b->mjd);
    if (known != other) return known ? -1 : 1;
    if (known && a->mjd != b->mjd) return a->mjd < b->mjd ? -1 : 1;
    int order = strcmp(a->raw, b->raw);
    return order ? order : a->ccd != b->ccd ? (a->ccd > b->ccd) - (a->ccd < b->ccd) : strcmp(a->product, b->product);
}

static int by_name(const void *p, const void *q)
{
    return strcmp(p, q);
}

static void band_name(const struct night_report *r, const struct report_frame *f, char *ret, size_t size)
{
    bool several = false;
    for (int i = 0; i < r->nframes && !several; i++)
        several = r->frames[i].product[0] && strcmp(r->frames[i].instrument, f->instrument);
    const char *filter = f->filter[0] ? f->filter : "no filter";
    if (several) snprintf(ret, size, "%s %s", f->instrument, filter);
    else snprintf(ret, size, "%s", filter);
}

static enum err name_bands(struct night_report *r, struct error *err)
{
    char (*names)[140] = calloc((size_t)r->nframes + 1, sizeof *names);
    if (!names) return ERROR(err, ERR_NOMEM, "could not list the filters of %d frames: out of memory", r->nframes);
    int n = 0, kept = 0;
    for (int i = 0; i < r->nframes; i++)
        if (r->frames[i].product[0]) band_name(r, &r->frames[i], names[n++], sizeof *names);
    qsort(names, (size_t)n, sizeof *names, by_name);
    for (int i = 0; i < n; i++)
        if (!kept || strcmp(names[kept - 1], names[i])) memmove(names[kept++], names[i], sizeof *names);
    r->bands = names;
    r->nbands = kept;
    for (int i = 0; i < r->nframes; i++) {
        char name[140];
        if (!r->frames[i].product[0]) continue;
        band_name(r, &r->frames[i], name, sizeof name);
        const char (*at)[140] = bsearch(name, names, (size_t)kept, sizeof *names, by_name);
        r->frames[i].band = at ? (int)(at - (const char (*)[140])names) : -1;
    }
    return ERR_OK;
}

/* ---- light curves ------------------------------------------------------------------------------------------------- */

static enum err read_curves(struct night_report *r, struct error *err)
{
    struct curve_source *s = calloc((size_t)r->nframes + 1, sizeof *s);
    char (*paths)[1600] = s ? calloc((size_t)r->nframes + 1, sizeof *paths) : NULL;
    enum err e = paths ? ERR_OK : ERROR(err, ERR_NOMEM, "could not list %d catalogues: out of memory", r->nframes);
    for (int i = 0; i < r->nframes && !e; i++) {
        const struct report_frame *f = &r->frames[i];
        bool fit = f->band >= 0 && isfinite(f->zero) && strcmp(f->wcs, "none") && strcmp(f->verdict, "reject");
        snprintf(paths[i], sizeof paths[i], "%s/%s_cat.fits", r->out, f->product);
        s[i] = (struct curve_source){paths[i], fit ? f->band : -1, f->seeing_px, f->seeing_arcsec, f->zero_err, f->ellipticity};
    }
    if (!e) e = nightcurves_build(s, r->nframes, &r->curves, err);
    free(paths);
    free(s);
    return e;
}

/* ---- the whole ---------------------------------------------------------------------------------------------------- */

enum err nightreport_read(const char *out, int night, const char *run, struct night_report *ret, struct error *err)
{
    struct night_report r = {.night = night ? night : newest_night(out), .stars_common = -1, .scatter_mag = NAN, .run_objects = -1, .run_elapsed_s = NAN};
    snprintf(r.out, sizeof r.out, "%s", out);
    enum err e = r.night ? read_quality(&r, err) : ERR_OK;
    if (!e) e = read_nightcal(&r, err);
    if (!e && run) e = read_run(&r, run, err);
    if (!e && !r.nframes) {
        e = night ? ERROR(err, ERR_NOT_FOUND, "it holds no frame of the night %08d", night) : ERROR(err, ERR_NOT_FOUND, "it holds no night");
        error_subject(err, out, 0);
        error_hint(err, "run 'nightshift reduce' with --out %s first", out);
    }
    if (!e) e = read_missing_cards(&r, err);
    if (!e) {
        for (int i = 0; i < r.nframes; i++) {
            if (isfinite(r.frames[i].zero)) r.zeros = true, r.frames[i].depth_mag += r.frames[i].zero;
            else r.frames[i].depth_mag = NAN;
        }
        qsort(r.frames, (size_t)r.nframes, sizeof *r.frames, by_time);
        e = name_bands(&r, err);
    }
    if (!e) e = read_curves(&r, err);
    if (e) nightreport_release(&r);
    else *ret = r;
    return e;
}

void nightreport_release(struct night_report *r)
{
    free(r->frames);
    free(r->bands);
    nightcurves_release(&r->curves);
    *r = (struct night_report){0};
}

/* ---- pictures ----------------------------------------------------------------------------------------------------- */

static void make_picture(const struct night_report *r, struct report_frame *f, const char *folder)
{
    char path[1600], thumb[1600];
    struct preview p = {0};
    struct ldaccat c;
    ldaccat_init(&c);
    snprintf(path, sizeof path, "%s/%s_cal.fits.fz", r->out, f->product);
    enum err e = preview_read(path, PREVIEW_SIDE, &p, &f->picture_err);
    if (e) return;
    snprintf(path, sizeof path, "%s/%s_cat.fits", r->out, f->product);
    struct error why = ERROR_INIT;
    e = ldaccat_read(path, &c, &why);
    if (err_is_transient(e)) f->picture_err = why;
    bool marks = !e && ldaccat_has(&c, DET_x) && ldaccat_has(&c, DET_y);
    const char *instrument = strchr(f->product, '/');
    snprintf(f->picture, sizeof f->picture, "%s", instrument ? instrument + 1 : f->product);
    for (char *s = f->picture; *s; s++)
        if (*s == '/') *s = '_';
    snprintf(f->thumb, sizeof f->thumb, "%s_small.png", f->picture);
    strcat(f->picture, ".png");
    snprintf(path, sizeof path, "%s/%s", folder, f->picture);
    snprintf(thumb, sizeof thumb, "%s/%s", folder, f->thumb);
    if (f->picture_err.code || preview_write(&p, marks ? &c.d : NULL, path, thumb, &f->picture_err)) f->picture[0] = f->thumb[0] = 0;
    ldaccat_release(&c);
    preview_release(&p);
}

enum err nightreport_pictures(struct night_report *r, const char *folder, int most, struct error *err)
{
    enum err e = make_folders(folder, err);
    struct report_frame *frames = r->frames;
    int n = r->nframes < most ? r->nframes : most;
    if (e) return e;
    /* Each frame has a picture of its own name; memory: one strip and one picture per thread. */
#pragma omp parallel for schedule(dynamic, 1) default(none) shared(r, frames, n, folder)
    for (int i = 0; i < n; i++)
        if (frames[i].product[0]) make_picture(r, &frames[i], folder);
    for (int i = 0; i < n; i++) {
        e = frames[i].picture_err.code;
        if (!err_is_transient(e)) continue;
        if (err) *err = frames[i].picture_err;
        return e;
    }
    return ERR_OK;
}
