/* Fringes of one exposure, and the illumination correction of its plan: frames named by settings, mostly of the instrument file. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/products.h"
#include "pipeline/stages.h"
#include "processors/fringe.h"

/* The first image of a file, of the size of the frames. */
static enum err load_plane(const char *path, int64_t nx, int64_t ny, float **ret, struct error *err)
{
    struct frame f;
    frame_init(&f);
    enum err code = frameio_read_image(path, 0, &f, err);
    if (!code && (f.nx != nx || f.ny != ny))
        code = ERROR(err, ERR_NO_CALIBRATION, "cannot use %lld x %lld pixels for a frame of %lld x %lld", (long long)f.nx, (long long)f.ny, (long long)nx, (long long)ny);
    if (code) error_subject(err, path, 0);
    else {
        *ret = f.sci;
        f.sci = NULL;
    }
    frame_release(&f);
    return code;
}

static enum err apply_illumination(struct exposure_plan *p, const char *path, struct error *err)
{
    float *plane = NULL;
    if (!p->calibrate.inv_flat) return ERROR(err, ERR_NO_CALIBRATION, "an illumination correction is asked for, and no flat that it could correct");
    enum err code = load_plane(path, p->nx, p->ny, &plane, err);
    for (int64_t i = 0; i < p->nx * p->ny && !code; i++) {
        if (plane[i] > 0 && isfinite(plane[i])) p->calibrate.inv_flat[i] /= plane[i];
        else p->calibrate.mask[i] |= MASK_LOWFLAT;
    }
    free(plane);
    return code;
}

enum err fringe_plan_load(struct exposure_plan *p, struct error *err)
{
    const char *illumination = settings_string(p->settings, SET_ILLUMINATION), *fringe = settings_string(p->settings, SET_FRINGE);
    enum err code = *illumination ? apply_illumination(p, illumination, err) : ERR_OK;
    return !code && *fringe ? load_plane(fringe, p->nx, p->ny, &p->fringe, err) : code;
}

/* Is the filter in the comma-separated list? An empty list names none. */
static bool is_listed(const char *list, const char *filter)
{
    while (*list) {
        size_t n = strcspn(list, ", ");
        if (n == strlen(filter) && n && !strncmp(list, filter, n)) return true;
        list += n;
        list += strspn(list, ", ");
    }
    return false;
}

enum err stage_fringe(struct exposure *e, struct error *err)
{
    const struct exposure_plan *p = e->plan;
    struct frame *f = &e->frame;
    double scale = 0;
    bool illuminated = *settings_string(p->settings, SET_ILLUMINATION);
    if (illuminated && header_set_bool(&f->header, KEY_ILLUMINATION, true, "illumination correction of the flat applied"))
        return ERROR(err, ERR_NOMEM, "no memory for cards");
    if (!is_listed(settings_string(p->settings, SET_FRINGE_FILTERS), e->meta.filter)) return ERR_OK;
    if (!p->fringe) {
        enum err code = ERROR(err, ERR_NO_CALIBRATION, "filter '%s' has fringes and no fringe frame is given", e->meta.filter);
        error_hint(err, "give signature.fringe, or take the filter off signature.fringe_filters");
        return code;
    }
    enum err code = fringe_fit(f->sci, f->mask, p->fringe, f->nx, f->ny, &scale, err);
    if (code) return code;
    fringe_remove(f->sci, p->fringe, frame_npix(f), scale);
    if (header_set_double(&f->header, KEY_FRINGE, scale, "times the fringe frame was subtracted")) return ERROR(err, ERR_NOMEM, "no memory for cards");
    log_event(LOG_DEBUG, "fringes", LOG_STR("exposure", e->raw_path), LOG_DOUBLE("scale", scale));
    return ERR_OK;
}
