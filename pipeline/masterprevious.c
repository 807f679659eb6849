/* A new master beside the one it follows: how many pixels moved by more than their noise allows. */
#include "pipeline/mastermaking.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/stats.h"

#define MOVED_SIGMAS 6.0f
#define SAMPLE_MAX   (1 << 20)

/* Median of new - old over at most SAMPLE_MAX good pixels. */
static enum err median_shift(const struct frame *new, const struct frame *old, double *ret, struct error *err)
{
    int64_t npix = frame_npix(new), step = npix / SAMPLE_MAX + 1, n = 0;
    float *v = mem_array((size_t)(npix / step + 1), sizeof *v);
    if (!v) return ERROR(err, ERR_NOMEM, "no memory to compare masters");
    for (int64_t i = 0; i < npix; i += step)
        if (!(new->mask[i] | old->mask[i])) v[n++] = new->sci[i] - old->sci[i];
    *ret = n ? median_f32(v, n) : 0;
    free(v);
    return ERR_OK;
}

static double moved_fraction(const struct frame *new, const struct frame *old, float shift)
{
    int64_t npix = frame_npix(new), moved = 0, seen = 0;
    for (int64_t i = 0; i < npix; i++) {
        if (new->mask[i] | old->mask[i]) continue;
        float d = new->sci[i] - old->sci[i] - shift;
        seen++;
        moved += d * d > MOVED_SIGMAS * MOVED_SIGMAS * (new->var[i] + old->var[i]);
    }
    return seen ? (double)moved / (double)seen : 0;
}

/* The shift of the whole frame is told apart: a bias level is followed by the overscan, a pattern is not. */
enum err making_compare(struct making *m, struct master_list *known, struct error *err)
{
    struct calibration_group *g = m->group;
    const struct settings *s = g->settings;
    const char *action = settings_string(s, SET_PREVIOUS_ACTION);
    char why[256] = "";
    int i = strcmp(action, "off") ? master_choose(known, m->meta->type, m->meta, why) : -1;
    if (i < 0) return ERR_OK;
    struct frame old;
    frame_init(&old);
    enum err code = master_load(&known->v[i], m->out.nx, m->out.ny, &old, err);
    if (!code) code = median_shift(&m->out, &old, &g->shift, err);
    if (!code) g->moved = moved_fraction(&m->out, &old, (float)g->shift);
    frame_release(&old);
    if (code) return code;
    snprintf(g->previous, sizeof g->previous, "%s", known->v[i].path);
    double most = settings_double(s, SET_PREVIOUS_MOVED);
    g->previous_differs = g->moved > most;
    if (!g->previous_differs || strcmp(action, "reject")) return ERR_OK;
    code = ERROR(err, ERR_HELD, "%.1f %% of the pixels of the new master %s moved by more than %g sigma from '%s' (allowed: %g %%)", 100 * g->moved,
                 frame_type_name(m->meta->type), (double)MOVED_SIGMAS, g->previous, 100 * most);
    error_hint(err, "look at both; remove the old one or set previous.action to warn if the new one is right");
    return code;
}
