/* Groups and masters, by the rules `master` and `reduce` obey: a calibration needs master.min_frames frames; a dark needs a
 * bias, a flat a bias and a dark, a light all three, but for the kinds the user does without.                          */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "jobrunner/night.h"

enum { MASTER_BIAS, MASTER_FLAT = 2 };
static const enum frame_type master_kind[] = {FRAME_BIAS, FRAME_DARK, FRAME_FLAT};

/* ---- order ------------------------------------------------------------------------------------------------------- */

static bool is_grouped(const struct night_frame *f)
{
    return (f->verdict == VERDICT_USED || f->verdict == VERDICT_HELD) && f->type != FRAME_UNKNOWN && f->type != FRAME_OTHER && f->night;
}

static int compare_int(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

/* NaN last. */
static int compare_double(double a, double b)
{
    if (isnan(a) || isnan(b)) return compare_int(isnan(a), isnan(b));
    return (a > b) - (a < b);
}

/* By what makes a group, then by time and path. */
static int by_group(const void *pa, const void *pb)
{
    const struct night_frame *a = pa, *b = pb;
    int c = compare_int(!is_grouped(a), !is_grouped(b));
    if (c || !is_grouped(a)) return c ? c : a->file != b->file ? compare_int(a->file, b->file) : compare_int(a->hdu, b->hdu);
    bool by_filter = a->type == FRAME_FLAT || a->type == FRAME_LIGHT, by_exptime = a->type == FRAME_DARK || a->type == FRAME_LIGHT;
    if ((c = compare_int(a->night, b->night)) || (c = strcmp(a->instrument, b->instrument))) return c;
    if ((c = compare_int(a->type, b->type)) || (c = compare_int(a->ccd, b->ccd))) return c;
    if ((c = compare_int(a->binning_x, b->binning_x)) || (c = compare_int(a->binning_y, b->binning_y))) return c;
    if ((c = compare_int(a->nx, b->nx)) || (c = compare_int(a->ny, b->ny))) return c;
    if (by_filter && (c = strcasecmp(a->filter, b->filter))) return c;
    if (by_exptime && (c = compare_double(a->exptime_s, b->exptime_s))) return c;
    if ((c = compare_double(a->mjd_start, b->mjd_start)) || (c = compare_int(a->file, b->file))) return c;
    return compare_int(a->hdu, b->hdu);
}

/* The part of a meta that choosing looks at. */
static void as_meta(const struct night_frame *f, struct exposure_meta *m)
{
    *m = (struct exposure_meta){.type = f->type, .ccd = f->ccd, .nccd = f->nccd, .binning_x = f->binning_x, .binning_y = f->binning_y,
                                .nx = f->nx, .ny = f->ny, .exptime_s = f->exptime_s, .darktime_s = f->darktime_s,
                                .mjd_start = f->mjd_start, .mjd_mid = f->mjd_mid, .ccd_temp_c = f->ccd_temp_c};
    snprintf(m->instrument, sizeof m->instrument, "%s", f->instrument);
    snprintf(m->filter, sizeof m->filter, "%s", f->filter);
}

static enum err make_groups(struct night *night, struct error *err)
{
    night->groups = calloc(night->nframes > 0 ? (size_t)night->nframes : 1, sizeof *night->groups);
    if (!night->groups) return ERROR(err, ERR_NOMEM, "could not get memory for the groups of %d frames", night->nframes);
    if (night->nframes) qsort(night->frames, (size_t)night->nframes, sizeof *night->frames, by_group);
    struct exposure_meta first, meta;
    for (int i = 0; i < night->nframes && is_grouped(&night->frames[i]); i++) {
        struct night_frame *f = &night->frames[i];
        struct night_group *g = night->ngroups ? &night->groups[night->ngroups - 1] : NULL;
        as_meta(f, &meta);
        if (!g || night->frames[g->first].night != f->night || !calib_same_group(&first, &meta)) {
            g = &night->groups[night->ngroups++];
            *g = (struct night_group){.first = i, .calib = -1};
            first = meta;
        }
        g->count++;
        g->used += f->verdict == VERDICT_USED;
        f->group = night->ngroups - 1;
    }
    return ERR_OK;
}

/* ---- masters ----------------------------------------------------------------------------------------------------- */

static void hold(struct night *night, struct night_frame *f, const char *reason)
{
    if (f->verdict != VERDICT_USED) return;
    f->verdict = VERDICT_HELD;
    f->code = ERR_HELD;
    f->reason = strdup(reason);
    if (f->group >= 0) night->groups[f->group].used--;
}

static void add_note(struct night_frame *f, const char *note)
{
    char both[800];
    snprintf(both, sizeof both, "%s%s%s", f->note ? f->note : "", f->note ? "; " : "", note);
    free(f->note);
    f->note = strdup(both);
}

/* The calibration a group of raw frames would make. */
static struct calib calib_of(const struct night *night, int group)
{
    const struct night_group *g = &night->groups[group];
    const struct night_frame *v = &night->frames[g->first];
    struct calib c = {.kind = v->type, .ccd = v->ccd, .binning_x = v->binning_x, .binning_y = v->binning_y, .nx = v->nx, .ny = v->ny,
                      .nframes = g->used, .id = group};
    double mjd = 0, temp = 0;
    int n_mjd = 0, n_temp = 0;
    snprintf(c.instrument, sizeof c.instrument, "%s", v->instrument);
    snprintf(c.filter, sizeof c.filter, "%s", v->filter);
    for (int i = 0; i < g->count; i++) {
        if (v[i].verdict != VERDICT_USED) continue;
        if (v[i].exptime_s > c.exptime_s) c.exptime_s = v[i].exptime_s;
        if (!isnan(v[i].mjd_mid)) mjd += v[i].mjd_mid - v[0].mjd_start, n_mjd++;
        if (!isnan(v[i].ccd_temp_c)) temp += v[i].ccd_temp_c, n_temp++;
    }
    c.mjd = n_mjd ? v[0].mjd_start + mjd / n_mjd : NAN;
    c.ccd_temp_c = n_temp ? temp / n_temp : NAN;
    return c;
}

/* Everything choosing needs: the calibrations found so far. */
struct chooser {
    struct night *night;
    struct calib *calibs;
    int n;
    int64_t min_frames;
};

/* The group of the best master of a kind for a frame, -1 with the reason. */
static int choose(const struct chooser *c, int kind, const struct night_frame *f, char *why)
{
    struct exposure_meta meta;
    as_meta(f, &meta);
    int i = calib_choose(master_kind[kind], &meta, c->calibs, c->n, why);
    return i < 0 ? -1 : c->calibs[i].id;
}

/* Masters of one frame; holds it when one is missing, and names all that are. */
static void serve(const struct chooser *c, struct night_frame *f)
{
    int needs = f->type == FRAME_BIAS ? 0 : f->type == FRAME_DARK ? 1 : f->type == FRAME_FLAT ? 2 : 3;
    char why[200], reason[900] = "";
    if (f->verdict != VERDICT_USED) return;
    for (int k = 0; k < needs; k++) {
        size_t n = strlen(reason);
        if (c->night->without[k]) continue;
        f->master[k] = choose(c, k, f, why);
        if (f->master[k] < 0)
            snprintf(reason + n, sizeof reason - n, "%s%s (or --without %s)", n ? "; " : "", why, frame_type_name(master_kind[k]));
    }
    if (!reason[0] && f->type == FRAME_LIGHT && !f->gain_known && (f->master[MASTER_BIAS] < 0 || f->master[MASTER_FLAT] < 0))
        snprintf(reason, sizeof reason, "no gain is known, and it takes biases and flats to measure it");
    if (reason[0]) hold(c->night, f, reason);
}

/* Groups of one type: serve their frames, then offer those that are large enough as masters. */
static void offer_type(struct chooser *c, enum frame_type type)
{
    for (int g = 0; g < c->night->ngroups; g++) {
        struct night_group *group = &c->night->groups[g];
        struct night_frame *v = &c->night->frames[group->first];
        char reason[200];
        if (v->type != type) continue;
        for (int i = 0; i < group->count; i++) serve(c, &v[i]);
        if (type == FRAME_LIGHT || !group->used) continue;
        if (group->used >= c->min_frames) {
            group->calib = c->n;
            c->calibs[c->n++] = calib_of(c->night, g);
            continue;
        }
        snprintf(reason, sizeof reason, "%d %s frame%s, and a master needs %lld (master.min_frames)", group->used, frame_type_name(type),
                 group->used == 1 ? "" : "s", (long long)c->min_frames);
        for (int i = 0; i < group->count; i++) hold(c->night, &v[i], reason);
    }
}

/* ---- the same exposure twice -------------------------------------------------------------------------------------- */

/* Neighbours in the order of by_group() with one key are the same exposure when the header's own id says so; the same time is
 * only noted, since many clocks show whole seconds. */
static void find_twins(struct night *night)
{
    for (int i = 1; i < night->nframes; i++) {
        struct night_frame *a = &night->frames[i - 1], *b = &night->frames[i];
        char text[4400];
        if (a->group < 0 || a->group != b->group || a->file == b->file || a->mjd_start != b->mjd_start) continue;
        if (strcmp(a->exposure_id, b->exposure_id)) continue;
        if (b->exposure_id[0]) {
            snprintf(text, sizeof text, "the exposure '%s' is there already: %s", b->exposure_id, night->paths[a->file]);
            hold(night, b, text);
        } else {
            snprintf(text, sizeof text, "begins at the same time as %s", night->paths[a->file]);
            add_note(b, text);
        }
    }
}

enum err night_arrange(struct night *night, const struct settings *s, struct error *err)
{
    enum err e = make_groups(night, err);
    if (e) return e;
    find_twins(night);
    struct chooser c = {.night = night, .min_frames = settings_int(s, SET_MASTER_MIN_FRAMES)};
    c.calibs = calloc(night->ngroups > 0 ? (size_t)night->ngroups : 1, sizeof *c.calibs);
    if (!c.calibs) return ERROR(err, ERR_NOMEM, "could not get memory for %d groups", night->ngroups);
    static const enum frame_type order[] = {FRAME_BIAS, FRAME_DARK, FRAME_FLAT, FRAME_LIGHT};
    for (int i = 0; i < 4; i++) offer_type(&c, order[i]);
    free(c.calibs);
    return ERR_OK;
}
