#include "jobrunner/night.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/frameio.h"
#include "common/products.h"

#define CCDS_MAX 511 /* the CCD number has 9 bits in det_id */

const char *verdict_name(enum verdict v)
{
    static const char *const names[] = {"used", "held", "refused", "ignored"};
    return names[v];
}

/* ---- one file ---------------------------------------------------------------------------------------------------- */

/* The frames of one file; one thread fills one of these. */
struct file_frames {
    struct night_frame *v;
    int n;
    bool no_memory;
};

static struct night_frame *add_frame(struct file_frames *list, int file, int hdu)
{
    struct night_frame *v = realloc(list->v, ((size_t)list->n + 1) * sizeof *v);
    if (!v) {
        list->no_memory = true;
        return NULL;
    }
    list->v = v;
    struct night_frame *f = &v[list->n++];
    *f = (struct night_frame){.file = file, .hdu = hdu, .group = -1, .master = {-1, -1, -1}, .exptime_s = NAN, .darktime_s = NAN,
                              .mjd_start = NAN, .mjd_mid = NAN, .ccd_temp_c = NAN, .ra_deg = NAN, .dec_deg = NAN};
    return f;
}

static void set_verdict(struct night_frame *f, enum verdict verdict, enum err code, const char *reason)
{
    f->verdict = verdict;
    f->code = code;
    free(f->reason);
    f->reason = strdup(reason); /* without memory the verdict stands alone */
}

/* The error's message and cure, without the path: the frame has it already. */
static void refuse(struct night_frame *f, const struct error *err)
{
    char reason[1000];
    snprintf(reason, sizeof reason, "%s%s%s", err->message[0] ? err->message : err_name(err->code), err->hint[0] ? "; " : "", err->hint);
    set_verdict(f, VERDICT_REFUSED, err->code ? err->code : ERR_CORRUPT, reason);
}

static void copy_meta(struct night_frame *f, const struct exposure_meta *m)
{
    snprintf(f->instrument, sizeof f->instrument, "%s", m->instrument);
    snprintf(f->exposure_id, sizeof f->exposure_id, "%s", m->exposure_id);
    snprintf(f->object, sizeof f->object, "%s", m->object);
    snprintf(f->filter, sizeof f->filter, "%s", m->filter);
    snprintf(f->date_obs, sizeof f->date_obs, "%s", m->date_obs);
    f->type = m->type;
    f->ccd = m->ccd;
    f->nccd = m->nccd;
    f->binning_x = m->binning_x;
    f->binning_y = m->binning_y;
    f->namp = m->namp;
    f->raw_nx = m->raw_nx;
    f->raw_ny = m->raw_ny;
    f->nx = m->nx;
    f->ny = m->ny;
    f->exptime_s = m->exptime_s;
    f->darktime_s = m->darktime_s;
    f->mjd_start = m->mjd_start;
    f->mjd_mid = m->mjd_mid;
    f->ccd_temp_c = m->ccd_temp_c;
    f->ra_deg = m->ra_deg;
    f->dec_deg = m->dec_deg;
    f->longitude_deg = m->longitude_deg;
    f->night = m->night;
    f->longitude_assumed = m->longitude_assumed;
    f->wcs = m->wcs;
    f->has_overscan = f->gain_known = m->namp > 0;
    for (int a = 0; a < m->namp; a++) {
        if (m->amp[a].overscan.x1 <= m->amp[a].overscan.x0) f->has_overscan = false;
        if (isnan(m->amp[a].gain_e_per_adu)) f->gain_known = false;
    }
    if (m->note[0]) f->note = strdup(m->note);
}

/* What one image is, and the verdict as far as its own header goes. */
static void judge_image(struct night_frame *f, const struct instrument *ins, const struct settings *s, const struct header *h,
                        int64_t nx, int64_t ny)
{
    struct exposure_meta m;
    struct error err = ERROR_INIT;
    enum err code = instrument_meta(ins, s, h, nx, ny, f->hdu, &m, &err);
    copy_meta(f, &m);
    if (code)
        refuse(f, &err);
    else if (header_has(h, KEY_RECIPE))
        set_verdict(f, VERDICT_IGNORED, ERR_OK, "a product of nightshift");
    else if (m.type == FRAME_OTHER)
        set_verdict(f, VERDICT_IGNORED, ERR_OK, "neither bias, dark, flat nor light");
    else if (m.problem[0])
        set_verdict(f, VERDICT_HELD, ERR_HELD, m.problem);
}

static enum err read_image(struct frameio_in *in, int file, int hdu, const struct instrument *ins, const struct settings *s,
                           struct file_frames *list, struct error *err)
{
    struct hdu_info info;
    struct header h;
    header_init(&h);
    enum err code = frameio_hdu_info(in, hdu, &info, err);
    if (!code) code = frameio_merged_header(in, hdu, &h, err);
    struct night_frame *f = code ? NULL : add_frame(list, file, hdu);
    if (f) judge_image(f, ins, s, &h, info.axis[0], info.axis[1]);
    header_release(&h);
    return code;
}

static bool is_image(struct frameio_in *in, int hdu)
{
    struct hdu_info info;
    if (frameio_hdu_info(in, hdu, &info, NULL) || info.kind != HDU_IMAGE) return false;
    return info.naxis >= 2 && info.axis[0] > 0 && info.axis[1] > 0;
}

/* Every CCD of a camera with several: the file is walked to its end, and a damaged end is an error. */
static enum err read_all_images(const char *path, int file, const struct instrument *ins, const struct settings *s,
                                struct file_frames *list, struct error *err)
{
    struct frameio_in *in = NULL;
    enum err code = frameio_open(path, &in, err);
    if (!code && err->message[0]) code = err->code = ERR_CORRUPT; /* a doubt about the tail: CCDs may be missing */
    for (int hdu = 1, n = code ? 0 : frameio_hdu_count(in); !code && hdu <= n; hdu++) {
        if (!is_image(in, hdu)) continue;
        if (list->n == CCDS_MAX)
            code = ERROR(err, ERR_UNSUPPORTED, "more than %d CCDs in one file", CCDS_MAX);
        else
            code = read_image(in, file, hdu, ins, s, list, err);
    }
    frameio_close(in);
    if (code) return code;
    for (int i = 0; i < list->n; i++)
        if (list->v[i].nccd < list->n) list->v[i].nccd = list->n;
    if (list->n && list->v[0].nccd > list->n)
        return ERROR(err, ERR_CORRUPT, "the header counts %d CCDs, the file holds %d", list->v[0].nccd, list->n);
    return ERR_OK;
}

static void forget_frames(struct file_frames *list)
{
    for (int i = 0; i < list->n; i++) {
        free(list->v[i].reason);
        free(list->v[i].note);
    }
    list->n = 0;
}

/* A file of tables lies beside raw frames with good right; one of nothing does not. */
static enum err no_image(struct frameio_in *in, int file, struct file_frames *list, struct error *err)
{
    struct hdu_info info;
    for (int hdu = 2, n = frameio_hdu_count(in); hdu <= n; hdu++) {
        if (frameio_hdu_info(in, hdu, &info, NULL) || info.kind == HDU_IMAGE) continue;
        struct night_frame *f = add_frame(list, file, 0);
        if (f) set_verdict(f, VERDICT_IGNORED, ERR_OK, "tables, no image");
        return ERR_OK;
    }
    return ERROR(err, ERR_UNSUPPORTED, "holds no two-dimensional image");
}

static enum err read_frames(const char *path, int file, const struct settings *s, const struct instruments *instruments,
                            struct file_frames *list, struct error *err)
{
    struct frameio_in *in = NULL;
    struct header h;
    header_init(&h);
    enum err code = frameio_open_lazily(path, &in, err);
    int hdu = code ? 0 : frameio_first_image(in);
    if (!code && !hdu) code = no_image(in, file, list, err);
    if (!code && !hdu) goto out;
    if (!code) code = frameio_merged_header(in, hdu, &h, err);
    const struct instrument *ins = code ? NULL : instrument_of(instruments, s, &h);
    if (ins && !instrument_is_multi_extension(ins)) code = read_image(in, file, hdu, ins, s, list, err);
    if (ins && instrument_is_multi_extension(ins)) code = read_all_images(path, file, ins, s, list, err);
out:
    frameio_close(in);
    header_release(&h);
    return code;
}

/* A file that cannot be read is one refused frame. */
static void scan_file(const char *path, int file, const struct settings *s, const struct instruments *instruments,
                      struct file_frames *list)
{
    struct error err = ERROR_INIT;
    enum err code = read_frames(path, file, s, instruments, list, &err);
    if (!code) return;
    forget_frames(list);
    struct night_frame *f = add_frame(list, file, err.hdu);
    err.code = code;
    if (f) refuse(f, &err);
}

/* ---- all files --------------------------------------------------------------------------------------------------- */

static enum err gather(struct night *night, struct file_frames *lists, struct error *err)
{
    int64_t n = 0;
    for (int i = 0; i < night->npaths; i++) {
        if (lists[i].no_memory) return ERROR(err, ERR_NOMEM, "could not get memory for '%s'", night->paths[i]);
        n += lists[i].n;
    }
    if (n > 50000000) return ERROR(err, ERR_NOMEM, "too many frames: %lld", (long long)n);
    night->frames = calloc(n > 0 ? (size_t)n : 1, sizeof *night->frames);
    if (!night->frames) return ERROR(err, ERR_NOMEM, "could not get memory for %lld frames", (long long)n);
    for (int i = 0; i < night->npaths; i++) {
        if (lists[i].n) memcpy(night->frames + night->nframes, lists[i].v, (size_t)lists[i].n * sizeof *lists[i].v);
        night->nframes += lists[i].n;
        lists[i].n = 0; /* their strings belong to the night now */
    }
    return ERR_OK;
}

static enum err read_all(struct night *night, const struct settings *s, const struct instruments *instruments,
                         struct progress *progress, struct error *err)
{
    int n = night->npaths;
    char **paths = night->paths;
    struct file_frames *lists = calloc((size_t)n, sizeof *lists);
    if (!lists) return ERROR(err, ERR_NOMEM, "could not get memory for %d files", n);
    /* Each iteration fills lists[i] alone; the rest is read-only. */
#pragma omp parallel for schedule(dynamic, 8) default(none) shared(n, paths, s, instruments, lists, progress)
    for (int i = 0; i < n; i++) {
        scan_file(paths[i], i, s, instruments, &lists[i]);
        progress_step(progress, 1);
    }
    enum err code = gather(night, lists, err);
    for (int i = 0; i < n; i++) {
        forget_frames(&lists[i]);
        free(lists[i].v);
    }
    free(lists);
    return code;
}

enum err night_scan(const char *const *operands, int n, const struct settings *s, const struct instruments *instruments,
                    const bool without[3], struct progress *progress, struct night **ret, struct error *err)
{
    struct night *night = calloc(1, sizeof *night);
    if (!night) return ERROR(err, ERR_NOMEM, "could not get memory");
    for (int k = 0; without && k < 3; k++) night->without[k] = without[k];
    enum err e = night_walk(operands, n, night, err);
    if (!e) e = read_all(night, s, instruments, progress, err);
    if (!e) e = night_arrange(night, s, err);
    if (e)
        night_free(night);
    else
        *ret = night;
    return e;
}

void night_free(struct night *night)
{
    if (!night) return;
    for (int i = 0; i < night->npaths; i++) free(night->paths[i]);
    for (int i = 0; i < night->nframes; i++) {
        free(night->frames[i].reason);
        free(night->frames[i].note);
    }
    free(night->paths);
    free(night->frames);
    free(night->groups);
    free(night);
}

int night_count(const struct night *night, enum verdict v)
{
    int n = 0;
    for (int i = 0; i < night->nframes; i++) n += night->frames[i].verdict == v;
    return n;
}
