#include "pipeline/detector.h"

#include <math.h>
#include <stdlib.h>

#include "common/arena.h"
#include "pipeline/rawimage.h"
#include "processors/gain.h"

struct window {
    int64_t x0, y0, nx, ny; /* of the stored array */
};

static struct window middle_of(const struct amp *a)
{
    struct window w = {0, 0, section_nx(a->data), section_ny(a->data)};
    if (w.nx > DETECTOR_SIDE) w.nx = DETECTOR_SIDE;
    if (w.ny > DETECTOR_SIDE) w.ny = DETECTOR_SIDE;
    w.x0 = a->data.x0 + (section_nx(a->data) - w.nx) / 2;
    w.y0 = a->data.y0 + (section_ny(a->data) - w.ny) / 2;
    return w;
}

/* ADU above the overscan; NaN where saturated. */
static void cut_window(const struct raw_rows *raw, const struct amp *a, const struct window *w, float *ret)
{
    float limit = isfinite(a->saturate_adu) ? (float)a->saturate_adu : raw->u16 ? 65535.0f : INFINITY;
    for (int64_t y = 0; y < w->ny; y++) {
        float level = overscan_level(raw, a, w->y0 + y);
        int64_t at = (w->y0 + y - raw->y0) * raw->nx + w->x0;
        for (int64_t x = 0; x < w->nx; x++) {
            float adu = raw->u16 ? (float)raw->u16[at + x] : raw->f32[at + x];
            ret[y * w->nx + x] = adu < limit ? adu - level : NAN;
        }
    }
}

static enum err read_window(const struct instruments *set, const struct settings *s, const struct stack_input *in,
                            const struct exposure_meta *meta, const struct amp *a, const struct window *w, float *ret,
                            struct error *err)
{
    struct raw_file *f = NULL;
    struct raw_rows raw;
    void *buffer = mem_array((size_t)(w->ny * meta->raw_nx), sizeof(float));
    enum err code = buffer ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory to read '%s'", in->path);
    if (!code) code = raw_file_open(in->path, set, s, &f, err);
    if (!code) code = raw_file_rows(f, in->hdu, meta, w->y0, w->y0 + w->ny, buffer, &raw, err);
    if (!code) cut_window(&raw, a, w, ret);
    raw_file_close(f);
    free(buffer);
    return code;
}

static enum err measure_amp(const struct instruments *set, const struct settings *s, const struct stack_input *flats, int nflat,
                            const struct stack_input *biases, int nbias, const struct exposure_meta *meta, struct amp *a,
                            struct error *err)
{
    struct window w = middle_of(a);
    const float *flat[DETECTOR_FRAMES], *bias[DETECTOR_FRAMES];
    size_t npix = (size_t)(w.nx * w.ny);
    float *planes = mem_array(npix * (size_t)(nflat + nbias), sizeof *planes);
    struct gain_estimate e;
    enum err code = planes ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory to measure the gain");
    for (int i = 0; i < nflat + nbias && !code; i++) {
        float *plane = planes + (size_t)i * npix;
        if (i < nflat) flat[i] = plane;
        else bias[i - nflat] = plane;
        code = read_window(set, s, i < nflat ? &flats[i] : &biases[i - nflat], meta, a, &w, plane, err);
    }
    bool gain_known = isfinite(a->gain_e_per_adu);
    if (!code) code = gain_known ? rdnoise_from_pairs(w.nx, w.ny, bias, nbias, &e, err)
                                 : gain_from_pairs(w.nx, w.ny, flat, nflat, bias, nbias, &e, err);
    if (!code) {
        if (!gain_known) a->gain_e_per_adu = e.gain_e_per_adu;
        if (!isfinite(a->rdnoise_e)) a->rdnoise_e = e.rdnoise_adu * a->gain_e_per_adu;
    }
    free(planes);
    return code;
}

enum err detector_measure(const struct instruments *set, const struct settings *s, const struct stack_input *flats, int nflat,
                          const struct stack_input *biases, int nbias, struct exposure_meta *meta, struct error *err)
{
    if (nflat > DETECTOR_FRAMES) nflat = DETECTOR_FRAMES;
    if (nbias > DETECTOR_FRAMES) nbias = DETECTOR_FRAMES;
    for (int i = 0; i < meta->namp; i++) {
        struct amp *a = &meta->amp[i];
        if (isfinite(a->gain_e_per_adu) && isfinite(a->rdnoise_e)) continue;
        enum err code = measure_amp(set, s, flats, nflat, biases, nbias, meta, a, err);
        if (code) return code;
    }
    return ERR_OK;
}
