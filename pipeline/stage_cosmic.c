/* Cosmic rays of one exposure: found, mended, counted in the header. */
#include "common/log.h"
#include "common/products.h"
#include "pipeline/stages.h"

enum err cosmic_options_from_settings(const struct settings *s, struct cosmic_options *ret, struct error *err)
{
    struct cosmic_options o = {.sigclip = settings_double(s, SET_COSMIC_SIGCLIP), .sigfrac = settings_double(s, SET_COSMIC_SIGFRAC),
                               .objlim = settings_double(s, SET_COSMIC_OBJLIM), .niter = (int)settings_int(s, SET_COSMIC_NITER)};
    enum err code = cosmic_verify(&o, err);
    if (!code) *ret = o;
    return code;
}

enum err stage_cosmic(struct exposure *e, struct error *err)
{
    struct frame *f = &e->frame;
    bool wanted = settings_bool(e->plan->settings, SET_COSMIC_REJECT);
    enum err code = wanted ? cosmic_reject(f->sci, f->var, f->mask, f->nx, f->ny, &e->plan->cosmic, &e->cosmic, err) : ERR_OK;
    if (code) return code;
    code = header_set_bool(&f->header, KEY_COSMIC, wanted, wanted ? "cosmic rays found (L.A.Cosmic)" : "cosmic rays left in: cosmic.reject is off");
    if (!code && wanted) code = header_set_int(&f->header, KEY_COSMIC_PIXELS, e->cosmic.pixels, "[pixel] hit by cosmic rays");
    if (code) return ERROR(err, ERR_NOMEM, "no memory for cards");
    if (wanted)
        log_event(LOG_DEBUG, "cosmic rays", LOG_STR("exposure", e->raw_path), LOG_INT("pixels", e->cosmic.pixels), LOG_INT("rounds", e->cosmic.rounds));
    return ERR_OK;
}
