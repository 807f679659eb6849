/* Satellite streaks of one exposure: masked, told, counted in the header. */
#include "common/log.h"
#include "common/products.h"
#include "pipeline/stages.h"

enum err streak_options_from_settings(const struct settings *s, struct streak_options *ret, struct error *err)
{
    struct streak_options o = {.threshold = settings_double(s, SET_STREAK_THRESHOLD), .min_length = settings_double(s, SET_STREAK_LENGTH)};
    enum err code = streak_verify(&o, err);
    if (!code) *ret = o;
    return code;
}

static void tell_streaks(const struct exposure *e)
{
    const struct streak_counts *c = &e->streaks;
    for (int i = 0; i < c->n; i++) {
        const struct streak *s = &c->streak[i];
        log_event(LOG_INFO, s->crosses_saturated ? "streak masked; a saturated star stands on it" : "streak masked", LOG_STR("exposure", e->raw_path), LOG_INT("ccd", e->meta.ccd),
                  LOG_DOUBLE("x0", s->x0 + 1), LOG_DOUBLE("y0", s->y0 + 1), LOG_DOUBLE("x1", s->x1 + 1), LOG_DOUBLE("y1", s->y1 + 1), LOG_DOUBLE("half_width", s->half_width));
    }
    for (int r = 0; r < STREAK_REASONS; r++)
        if (c->left_alone[r])
            log_event(LOG_DEBUG, "a line is no streak", LOG_STR("exposure", e->raw_path), LOG_STR("why", streak_reason_name((enum streak_reason)r)), LOG_INT("lines", c->left_alone[r]));
}

enum err stage_streak(struct exposure *e, struct error *err)
{
    struct frame *f = &e->frame;
    bool wanted = settings_bool(e->plan->settings, SET_STREAK_MASK);
    enum err code = wanted ? streak_mask(f->sci, f->mask, f->nx, f->ny, &e->plan->streak, &e->streaks, err) : ERR_OK;
    if (code || !wanted) return code;
    code = header_set_int(&f->header, KEY_STREAKS, e->streaks.n, "satellite streaks masked");
    if (!code && e->streaks.n) code = header_set_int(&f->header, KEY_STREAK_PIXELS, e->streaks.pixels, "[pixel] under streaks");
    if (code) return ERROR(err, ERR_NOMEM, "no memory for cards");
    tell_streaks(e);
    return ERR_OK;
}
