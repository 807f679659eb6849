#include "pipeline/exposure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/arena.h"
#include "common/products.h"
#include "pipeline/signaloptions.h"

#define LOAD_ROWS 16 /* of each master at a time: a band stays in the second cache */

/* One thread's view of the masters: a reader and a band of rows of each. */
struct loader {
    struct master_reader reader[MASTER_KINDS];
    float *value[MASTER_KINDS], *var[MASTER_KINDS];
    mask_t *mask[MASTER_KINDS];
};

static enum err loader_open(struct loader *l, const struct exposure_plan *p, struct error *err)
{
    size_t band = (size_t)p->nx * LOAD_ROWS;
    for (int k = 0; k < MASTER_KINDS; k++) {
        if (!p->used[k]) continue;
        l->value[k] = mem_array(band, sizeof(float));
        l->var[k] = mem_array(band, sizeof(float));
        l->mask[k] = mem_array(band, sizeof(mask_t));
        if (!l->value[k] || !l->var[k] || !l->mask[k]) return ERROR(err, ERR_NOMEM, "no memory for rows of a master");
        enum err code = master_open(p->used[k], p->nx, p->ny, &l->reader[k], err);
        if (code) return code;
    }
    return ERR_OK;
}

static void loader_close(struct loader *l)
{
    for (int k = 0; k < MASTER_KINDS; k++) {
        master_close(&l->reader[k]);
        free(l->value[k]);
        free(l->var[k]);
        free(l->mask[k]);
    }
}

static enum err load_band(struct loader *l, struct exposure_plan *p, int64_t y0, int64_t y1, struct error *err)
{
    struct master_planes planes[MASTER_KINDS];
    for (int k = 0; k < MASTER_KINDS; k++) {
        if (!p->used[k]) continue;
        enum err code = master_rows(&l->reader[k], y0, y1, l->value[k], l->var[k], l->mask[k], err);
        if (code) {
            error_subject(err, p->used[k]->path, 0);
            return code;
        }
        planes[k] = (struct master_planes){.value = l->value[k], .var = l->var[k], .mask = l->mask[k]};
    }
    if (p->used[0] && p->used[1] && !strcmp(p->used[0]->key, p->used[1]->bias_key)) planes[1].bias_scale = p->used[1]->bias_scale;
    calibrate_plan_rows(&p->calibrate, y0, y1, p->used[0] ? &planes[0] : NULL, p->used[1] ? &planes[1] : NULL,
                        p->used[2] ? &planes[2] : NULL, p->darktime_s * p->dark_scale, settings_double(p->settings, SET_MASTER_LOW_FLAT));
    return ERR_OK;
}

/* The whole masters are never in memory: each band goes straight into the plan. */
static enum err load_bands(struct exposure_plan *p, struct error *err)
{
    int64_t nbands = (p->ny + LOAD_ROWS - 1) / LOAD_ROWS, failed = nbands;
    struct error first = ERROR_INIT;
    for (int k = 0; k < MASTER_KINDS; k++) {
        enum err code = p->used[k] ? master_verify(p->used[k], err) : ERR_OK;
        if (code) return code;
    }
    /* Each band fills its own rows of the plan; each thread has its own readers. Of several failures the lowest band's is
     * reported. */
#pragma omp parallel default(none) shared(p, nbands, failed, first)
    {
        struct loader l = {0};
        struct error own = ERROR_INIT;
        enum err code = loader_open(&l, p, &own);
#pragma omp for schedule(dynamic, 4)
        for (int64_t b = 0; b < nbands; b++) {
            int64_t y1 = (b + 1) * LOAD_ROWS < p->ny ? (b + 1) * LOAD_ROWS : p->ny;
            if (!code) code = load_band(&l, p, b * LOAD_ROWS, y1, &own);
            if (!code) continue;
#pragma omp critical(plan_failure)
            if (b < failed) {
                failed = b;
                first = own;
            }
        }
        loader_close(&l);
    }
    if (failed == nbands) return ERR_OK;
    if (err) *err = first;
    return first.code;
}

enum err exposure_plan_load(struct exposure_plan *p, struct error *err)
{
    if (p->loaded) return ERR_OK;
    enum err code = calibrate_plan_alloc(p->nx, p->ny, p->used[0] || p->used[1], p->used[2], &p->calibrate, err);
    if (code) return code;
    extract_options_init(&p->extract);
    p->limits = quality_limits_of(p->settings);
    p->astrometry = wcs_options_of(p->settings);
    p->zeropoint = (struct zeropoint_options)ZEROPOINT_OPTIONS_DEFAULT;
    p->zeropoint.pivot = settings_double(p->settings, SET_ZEROPOINT_COLOUR);
    p->zeropoint.spatial_degree = (int)settings_int(p->settings, SET_ZEROPOINT_DEGREE);
    p->loaded = true;
    code = load_bands(p, err);
    if (!code) code = extract_options_from_settings(&p->extract, p->settings, err);
    p->extract.correct_apertures = settings_bool(p->settings, SET_PHOT_APERTURE_CORRECTION);
    if (!code) code = fringe_plan_load(p, err);
    if (!code) code = streak_options_from_settings(p->settings, &p->streak, err);
    if (!code) code = cosmic_options_from_settings(p->settings, &p->cosmic, err);
    if (!code) code = defects_from_settings(p->settings, p->nx, p->ny, p->calibrate.mask, err);
    if (!code) code = rawsignal_options_from_settings(p->settings, p->namp, &p->signal, err);
    if (code) exposure_plan_unload(p);
    if (code) error_stage(err, "masters");
    return code;
}

void exposure_plan_unload(struct exposure_plan *p)
{
    if (!p->loaded) return;
    calibrate_plan_release(&p->calibrate);
    rawsignal_options_release(&p->signal);
    free(p->fringe);
    p->fringe = NULL;
    extract_options_release(&p->extract);
    p->loaded = false;
}

size_t exposure_plan_bytes(const struct exposure_plan *p)
{
    size_t npix = (size_t)p->nx * (size_t)p->ny, bytes = sizeof(mask_t);
    if (p->used[0] || p->used[1]) bytes += 2 * sizeof(float);
    if (p->used[2]) bytes += 2 * sizeof(float);
    return npix * bytes;
}

void exposure_init(struct exposure *e)
{
    memset(e, 0, sizeof *e);
    frame_init(&e->frame);
    extract_scene_init(&e->scene);
    detections_init(&e->detections);
    quality_init(&e->quality);
}

void exposure_release(struct exposure *e)
{
    skycoord_free(e->sky);
    e->sky = NULL;
    wcs_solution_release(&e->astrometry);
    extract_scene_release(&e->scene); /* before the frame: it may lend its plane */
    depthmap_release(&e->depth);
    detections_release(&e->detections);
    header_release(&e->catalogue_header);
    header_release(&e->header);
    frame_release(&e->frame);
    free(e->buffer);
    e->buffer = NULL;
}

const char *exposure_product(char *buf, int size, const struct exposure_meta *meta, const char *raw_path, const char *kind)
{
    char stem[256];
    return product_path(buf, size, meta->night, meta->instrument, product_stem(stem, sizeof stem, raw_path), meta->ccd, meta->nccd, kind);
}

static bool card_is(const struct header *h, const char *key, const char *want)
{
    char got[80] = "";
    return header_get_str(h, key, got, sizeof got) && !strcmp(got, want);
}

bool exposure_is_done(const char *out, const struct exposure_meta *meta, const char *raw_path, const char *raw_sum,
                      const struct exposure_plan *plan)
{
    static const char *const key[MASTER_KINDS] = {KEY_BIAS, KEY_DARK, KEY_FLAT};
    char product[512], path[1024], recipe[32], name[16];
    struct header h = {0};
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", out, exposure_product(product, sizeof product, meta, raw_path, "cal.fits.fz"));
    if (stat(path, &st) || frameio_read_header(path, 0, &h, NULL)) return false;
    snprintf(path, sizeof path, "%s/%s", out, exposure_product(product, sizeof product, meta, raw_path, "cat.fits"));
    if (stat(path, &st)) {
        header_release(&h);
        return false;
    }
    snprintf(recipe, sizeof recipe, "%.16s", plan->recipe);
    bool same = card_is(&h, KEY_RECIPE, recipe) && card_is(&h, KEY_RAWSUM, raw_sum);
    for (int k = 0; k < MASTER_KINDS && same; k++) {
        bool done = false;
        snprintf(name, sizeof name, "%sS", key[k]);
        same = header_get_bool(&h, key[k], &done) && done == (plan->used[k] != NULL) && (!done || card_is(&h, name, plan->used[k]->sum));
    }
    same = same && (plan->refs ? card_is(&h, KEY_REFERENCE_SUM, plan->refs->sum) : !header_has(&h, KEY_REFERENCE_SUM));
    header_release(&h);
    return same;
}
