/* The night as one JSON document. Numbers that are unknown are null; no clock, host or thread count is in it. */
#include <math.h>
#include <string.h>

#include "common/text.h"
#include "jobrunner/night.h"

static json_t *text_or_null(const char *s)
{
    char clean[4400];
    return s && *s ? json_string(text_clean(clean, sizeof clean, s)) : json_null();
}

static json_t *number_or_null(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *group_or_null(int group)
{
    return group < 0 ? json_null() : json_integer(group + 1);
}

static json_t *frame_json(const struct night *night, const struct night_frame *f)
{
    static const char *const trusts[] = {"none", "approximate", "good"};
    json_t *j = json_object();
    if (!j) return NULL;
    json_object_set_new(j, "path", text_or_null(night->paths[f->file]));
    json_object_set_new(j, "hdu", json_integer(f->hdu));
    json_object_set_new(j, "verdict", json_string(verdict_name(f->verdict)));
    json_object_set_new(j, "code", json_string(err_name(f->code)));
    json_object_set_new(j, "reason", text_or_null(f->reason));
    json_object_set_new(j, "note", text_or_null(f->note));
    json_object_set_new(j, "type", json_string(frame_type_name(f->type)));
    json_object_set_new(j, "instrument", text_or_null(f->instrument));
    json_object_set_new(j, "exposure_id", text_or_null(f->exposure_id));
    json_object_set_new(j, "night", f->night ? json_integer(f->night) : json_null());
    json_object_set_new(j, "ccd", json_integer(f->ccd));
    json_object_set_new(j, "nccd", json_integer(f->nccd));
    json_object_set_new(j, "amplifiers", json_integer(f->namp));
    json_object_set_new(j, "binning", json_pack("[ii]", f->binning_x, f->binning_y));
    json_object_set_new(j, "raw_size", json_pack("[II]", (json_int_t)f->raw_nx, (json_int_t)f->raw_ny));
    json_object_set_new(j, "size", json_pack("[II]", (json_int_t)f->nx, (json_int_t)f->ny));
    json_object_set_new(j, "filter", text_or_null(f->filter));
    json_object_set_new(j, "object", text_or_null(f->object));
    json_object_set_new(j, "exptime_s", number_or_null(f->exptime_s));
    json_object_set_new(j, "date_obs", text_or_null(f->date_obs));
    json_object_set_new(j, "mjd_start", number_or_null(f->mjd_start));
    json_object_set_new(j, "mjd_mid", number_or_null(f->mjd_mid));
    json_object_set_new(j, "ra_deg", number_or_null(f->ra_deg));
    json_object_set_new(j, "dec_deg", number_or_null(f->dec_deg));
    json_object_set_new(j, "ccd_temp_c", number_or_null(f->ccd_temp_c));
    json_object_set_new(j, "longitude_deg", number_or_null(f->longitude_deg));
    json_object_set_new(j, "longitude_assumed", json_boolean(f->longitude_assumed));
    json_object_set_new(j, "gain_known", json_boolean(f->gain_known));
    json_object_set_new(j, "overscan", json_boolean(f->has_overscan));
    json_object_set_new(j, "wcs", json_string(trusts[f->wcs]));
    json_object_set_new(j, "group", group_or_null(f->group));
    json_object_set_new(j, "bias", group_or_null(f->master[0]));
    json_object_set_new(j, "dark", group_or_null(f->master[1]));
    json_object_set_new(j, "flat", group_or_null(f->master[2]));
    return j;
}

static json_t *group_json(const struct night *night, int group)
{
    const struct night_group *g = &night->groups[group];
    const struct night_frame *v = &night->frames[g->first];
    double least = NAN, most = NAN;
    for (int i = 0; i < g->count; i++) {
        least = fmin(least, v[i].exptime_s);
        most = fmax(most, v[i].exptime_s);
    }
    json_t *j = json_object();
    if (!j) return NULL;
    json_object_set_new(j, "group", json_integer(group + 1));
    json_object_set_new(j, "night", json_integer(v->night));
    json_object_set_new(j, "instrument", text_or_null(v->instrument));
    json_object_set_new(j, "type", json_string(frame_type_name(v->type)));
    json_object_set_new(j, "ccd", json_integer(v->ccd));
    json_object_set_new(j, "binning", json_pack("[ii]", v->binning_x, v->binning_y));
    json_object_set_new(j, "size", json_pack("[II]", (json_int_t)v->nx, (json_int_t)v->ny));
    json_object_set_new(j, "filter", v->type == FRAME_FLAT || v->type == FRAME_LIGHT ? text_or_null(v->filter) : json_null());
    json_object_set_new(j, "exptime_min_s", number_or_null(least));
    json_object_set_new(j, "exptime_max_s", number_or_null(most));
    json_object_set_new(j, "frames", json_integer(g->count));
    json_object_set_new(j, "used", json_integer(g->used));
    json_object_set_new(j, "makes_master", json_boolean(g->calib >= 0));
    return j;
}

json_t *night_json(const struct night *night)
{
    json_t *j = json_object(), *frames = json_array(), *groups = json_array(), *summary = json_object();
    bool good = j && frames && groups && summary;
    for (int i = 0; good && i < night->ngroups; i++) good = json_array_append_new(groups, group_json(night, i)) == 0;
    for (int i = 0; good && i < night->nframes; i++) good = json_array_append_new(frames, frame_json(night, &night->frames[i])) == 0;
    for (int v = VERDICT_USED; good && v <= VERDICT_IGNORED; v++)
        good = json_object_set_new(summary, verdict_name((enum verdict)v), json_integer(night_count(night, (enum verdict)v))) == 0;
    good = good && json_object_set_new(summary, "files", json_integer(night->npaths)) == 0 &&
           json_object_set_new(summary, "frames", json_integer(night->nframes)) == 0 &&
           json_object_set_new(summary, "not_fits", json_integer(night->not_fits)) == 0;
    if (!good) {
        json_decref(j);
        json_decref(frames);
        json_decref(groups);
        json_decref(summary);
        return NULL;
    }
    json_object_set_new(j, "summary", summary);
    json_object_set_new(j, "groups", groups);
    json_object_set_new(j, "frames", frames);
    return j;
}
