#include "pipeline/exposure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/products.h"

enum err exposure_plan_load(struct exposure_plan *p, struct error *err)
{
    struct frame masters[MASTER_KINDS];
    struct master_planes planes[MASTER_KINDS] = {0};
    enum err code = ERR_OK;
    if (p->loaded) return ERR_OK;
    for (int k = 0; k < MASTER_KINDS; k++) frame_init(&masters[k]);
    for (int k = 0; k < MASTER_KINDS && !code; k++) {
        if (!p->used[k]) continue;
        code = master_load(p->used[k], p->nx, p->ny, &masters[k], err);
        if (!code) planes[k] = master_planes_of(&masters[k]);
    }
    if (p->used[0] && p->used[1] && !strcmp(p->used[0]->key, p->used[1]->bias_key)) planes[1].bias_scale = p->used[1]->bias_scale;
    if (!code)
        code = calibrate_plan_make(p->nx, p->ny, p->used[0] ? &planes[0] : NULL, p->used[1] ? &planes[1] : NULL,
                                   p->used[2] ? &planes[2] : NULL, p->darktime_s, settings_double(p->settings, SET_MASTER_LOW_FLAT),
                                   &p->calibrate, err);
    for (int k = 0; k < MASTER_KINDS; k++) frame_release(&masters[k]);
    extract_options_init(&p->extract);
    if (!code) code = extract_options_from_settings(&p->extract, p->settings, err);
    p->loaded = true;
    if (code) exposure_plan_unload(p);
    return code;
}

void exposure_plan_unload(struct exposure_plan *p)
{
    if (!p->loaded) return;
    calibrate_plan_release(&p->calibrate);
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
    detections_init(&e->detections);
}

void exposure_release(struct exposure *e)
{
    skycoord_free(e->sky);
    e->sky = NULL;
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
    header_release(&h);
    return same;
}
