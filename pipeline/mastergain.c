#include "pipeline/mastermaking.h"

#include <math.h>
#include <string.h>

#include "pipeline/detector.h"

/* Same detector: what gain and read noise belong to. */
static bool same_detector(const struct exposure_meta *a, const struct exposure_meta *b)
{
    return !strcmp(a->instrument, b->instrument) && a->ccd == b->ccd && a->binning_x == b->binning_x &&
           a->binning_y == b->binning_y && a->raw_nx == b->raw_nx && a->raw_ny == b->raw_ny;
}

static const struct calibration_group *largest_group(const struct calibration_set *set, const struct exposure_meta *like, enum frame_type kind)
{
    const struct calibration_group *best = NULL;
    for (int i = 0; i < set->n; i++) {
        const struct calibration_group *g = &set->group[i];
        if (g->meta->type == kind && same_detector(g->meta, like) && g->n >= 2 && (!best || g->n > best->n)) best = g;
    }
    return best;
}

static bool lender_fits(const struct master_info *m, const struct exposure_meta *meta)
{
    const struct calib *c = &m->calib;
    return m->measured && m->namp == meta->namp && !strcmp(c->instrument, meta->instrument) && c->ccd == meta->ccd &&
           c->binning_x == meta->binning_x && c->binning_y == meta->binning_y && c->nx == meta->nx && c->ny == meta->ny;
}

/* Where will unknown gains come from? Nothing is read yet. */
enum err making_find_gains(struct making *m, const struct master_list *made, const struct master_list *known, struct error *err)
{
    if (!m->group->gains_unknown) return ERR_OK;
    m->gain_flats = largest_group(m->set, m->meta, FRAME_FLAT);
    m->gain_biases = largest_group(m->set, m->meta, FRAME_BIAS);
    bool gain = true; /* only the read noise may be unknown: that takes biases alone */
    for (int a = 0; a < m->meta->namp; a++) gain = gain && isfinite(m->meta->amp[a].gain_e_per_adu);
    if (m->gain_biases && (m->gain_flats || gain)) return ERR_OK;
    m->gain_flats = m->gain_biases = NULL;
    const struct master_list *lists[2] = {made, known};
    for (int l = 0; l < 2; l++)
        for (int i = 0; i < lists[l]->n; i++)
            if (!m->gain_lender && lender_fits(&lists[l]->v[i], m->meta)) m->gain_lender = &lists[l]->v[i];
    if (m->gain_lender) return ERR_OK;
    enum err code = ERROR(err, ERR_NO_CALIBRATION, "no gain or read noise is known for '%s'%s", m->meta->instrument,
                          m->meta->ccd > 0 ? " (this CCD)" : "");
    error_hint(err, "give two biases and two flats in the same command, or GAIN and RDNOISE in an instrument file");
    return code;
}

static void list_inputs(const struct calibration_group *g, struct stack_input *ret, int *ret_n)
{
    int n = 0;
    for (int i = 0; g && i < g->n && n < DETECTOR_FRAMES; i++)
        if (!g->frame[i].left_out[0]) ret[n++] = (struct stack_input){.path = g->frame[i].path, .hdu = g->frame[i].hdu};
    *ret_n = n;
}

enum err making_fill_gains(struct making *m, struct error *err)
{
    if (gains_known(m->meta)) return ERR_OK;
    if (m->gain_lender) {
        m->group->gains_measured = master_lend_gain(m->gain_lender, m->meta);
        return ERR_OK;
    }
    struct stack_input flats[DETECTOR_FRAMES], biases[DETECTOR_FRAMES];
    int nflat, nbias;
    list_inputs(m->gain_flats, flats, &nflat);
    list_inputs(m->gain_biases, biases, &nbias);
    enum err code = detector_measure(m->set->instruments, m->group->settings, flats, nflat, biases, nbias, m->meta, err);
    if (code == ERR_NOT_FOUND) {
        err->code = code = ERR_NO_CALIBRATION;
        error_hint(err, "give GAIN and RDNOISE in an instrument file");
    }
    if (!code) m->group->gains_measured = true;
    return code;
}

/* What one group measured serves the others of its detector. */
void making_share_gains(struct calibration_set *set, const struct calibration_group *from)
{
    for (int i = 0; i < set->n; i++) {
        struct calibration_group *g = &set->group[i];
        if (g == from || g->gains_measured || !g->gains_unknown || !same_detector(g->meta, from->meta) || g->meta->namp != from->meta->namp) continue;
        for (int a = 0; a < from->meta->namp; a++) {
            g->meta->amp[a].gain_e_per_adu = from->meta->amp[a].gain_e_per_adu;
            g->meta->amp[a].rdnoise_e = from->meta->amp[a].rdnoise_e;
        }
        g->gains_measured = g->gains_told = true;
    }
}
