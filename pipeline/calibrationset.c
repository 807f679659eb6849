#include "pipeline/mastermake.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FRAMES_MAX       COMBINE_FRAMES_MAX

static void group_release(struct calibration_group *g)
{
    for (int i = 0; i < g->n; i++) free(g->frame[i].path);
    free(g->frame);
    free(g->meta);
    settings_free(g->settings);
}

void calibration_set_release(struct calibration_set *set)
{
    for (int i = 0; i < set->n; i++) group_release(&set->group[i]);
    free(set->group);
    set->group = NULL;
    set->n = set->capacity = 0;
}

static struct calibration_group *find_group(const struct calibration_set *set, const struct exposure_meta *meta)
{
    for (int i = 0; i < set->n; i++)
        if (set->group[i].meta->type == meta->type && calib_same_group(set->group[i].meta, meta)) return &set->group[i];
    return NULL;
}

static enum err add_group(struct calibration_set *set, const struct instrument *ins, const struct exposure_meta *meta,
                          struct calibration_group **ret, struct error *err)
{
    if (set->n == set->capacity) {
        int capacity = set->capacity ? 2 * set->capacity : 16;
        struct calibration_group *grown = realloc(set->group, (size_t)capacity * sizeof *grown);
        if (!grown) return ERROR(err, ERR_NOMEM, "no memory for groups of calibration frames");
        set->group = grown;
        set->capacity = capacity;
    }
    struct calibration_group g = {.meta = malloc(sizeof *g.meta), .settings = settings_copy(set->settings)};
    enum err code = g.meta && g.settings ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory for groups of calibration frames");
    if (!code) code = instrument_apply_settings(ins, g.settings, err);
    if (code) {
        group_release(&g);
        return code;
    }
    *g.meta = *meta;
    g.gains_unknown = !gains_known(meta);
    snprintf(g.instrument_digest, sizeof g.instrument_digest, "%s", instrument_digest(ins));
    set->group[set->n] = g;
    *ret = &set->group[set->n++];
    return ERR_OK;
}

enum err calibration_set_add(struct calibration_set *set, const struct instrument *ins, const struct exposure_meta *meta,
                             const char *path, int hdu, const char *sum, struct error *err)
{
    struct calibration_group *g = find_group(set, meta);
    enum err code = g ? ERR_OK : add_group(set, ins, meta, &g, err);
    if (code) return code;
    if (g->n >= FRAMES_MAX) return ERROR(err, ERR_UNSUPPORTED, "cannot stack more than %d frames", FRAMES_MAX);
    if (g->n == g->capacity) {
        int capacity = g->capacity ? 2 * g->capacity : 16;
        struct calibration_frame *grown = realloc(g->frame, (size_t)capacity * sizeof *grown);
        if (!grown) return ERROR(err, ERR_NOMEM, "no memory for %d calibration frames", capacity);
        g->frame = grown;
        g->capacity = capacity;
    }
    struct calibration_frame f = {.path = strdup(path), .hdu = hdu, .exptime_s = meta->exptime_s, .darktime_s = meta->darktime_s,
                                  .mjd = meta->mjd_mid, .temp_c = meta->ccd_temp_c};
    if (!f.path) return ERROR(err, ERR_NOMEM, "no memory for a path");
    if (!isfinite(f.darktime_s)) f.darktime_s = f.exptime_s;
    snprintf(f.sum, sizeof f.sum, "%s", sum);
    g->frame[g->n++] = f;
    return ERR_OK;
}
