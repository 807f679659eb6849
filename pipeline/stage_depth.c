/* The depth map of a frame: made while there is a background, written as magnitudes when the zero point is known. */
#include <math.h>
#include <stdlib.h>

#include "common/arena.h"
#include "common/frameio.h"
#include "common/products.h"
#include "pipeline/stages.h"

enum err stage_depth(struct exposure *e, struct error *err)
{
    if (!e->scene.psf.coef) return ERR_OK; /* nothing asked for a PSF: quality takes an aperture instead */
    return depthmap_make(&e->scene.background, e->frame.mask, &e->scene.psf, &e->depth, err);
}

/* Cards that stand for the median and the deepest and shallowest 5 % of the cells, and for what the pixels are. */
static enum err depth_cards(const struct exposure *e, double zero, struct header *h)
{
    const struct depth_map *m = &e->depth;
    const struct {
        const char *key, *comment;
        double flux;
    } cards[] = {{"NSDEPMED", "[mag] median of the cells", m->median},
                 {"NSDEP05", "[mag] 5 % of the cells are shallower", m->shallow},
                 {"NSDEP95", "[mag] 5 % of the cells are deeper", m->deep}};
    double cx = (double)m->cell_nx, cy = (double)m->cell_ny;
    enum err code = header_set_str(h, "BUNIT", "mag", "of a point source, 5 sigma of the sky, total flux");
    if (!code) code = header_set_str(h, "NSIMAGE", e->product, "the frame it belongs to");
    for (size_t i = 0; i < sizeof cards / sizeof cards[0] && !code; i++)
        if (isfinite(cards[i].flux)) code = header_set_double(h, cards[i].key, zero - 2.5 * log10(cards[i].flux), cards[i].comment);
    if (!code) code = header_set_bool(h, "NSDEPABS", isfinite(e->quality.magzero), "F: magnitude 0 is 1 electron/s; T: MAGZERO is");
    if (!code && isfinite(e->quality.magzero)) code = header_set_double(h, KEY_MAGZERO, e->quality.magzero, "[mag] of 1 electron/s");
    if (!code) code = header_set_int(h, "NSCELLX", m->cell_nx, "[pixel] of the frame in a pixel of this");
    if (!code) code = header_set_int(h, "NSCELLY", m->cell_ny, "[pixel]");
    if (!code) code = header_set_double(h, "LTM1_1", 1 / cx, "pixel here = LTM * pixel of the frame + LTV");
    if (!code) code = header_set_double(h, "LTM2_2", 1 / cy, NULL);
    if (!code) code = header_set_double(h, "LTV1", 0.5 - 0.5 / cx, NULL);
    return code ? code : header_set_double(h, "LTV2", 0.5 - 0.5 / cy, NULL);
}

enum err depth_write(const struct exposure *e, const char *path, struct error *err)
{
    const struct depth_map *m = &e->depth;
    int64_t n = m->gx * m->gy;
    double zero = (isfinite(e->quality.magzero) ? e->quality.magzero : 0) + 2.5 * log10(e->meta.exptime_s > 0 ? e->meta.exptime_s : 1);
    struct header h = {0};
    float *mag = mem_array((size_t)n, sizeof *mag);
    enum err code = mag ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory for the depth map");
    for (int64_t i = 0; i < n && mag; i++) mag[i] = isfinite(m->flux[i]) ? (float)(zero - 2.5 * log10((double)m->flux[i])) : NAN;
    if (!code && depth_cards(e, zero, &h)) code = ERROR(err, ERR_NOMEM, "no memory for cards");
    struct image_hdu image = {.type = IMAGE_F32, .nx = m->gx, .ny = m->gy, .data = mag, .header = &h, .extname = "DEPTH"};
    const struct images_write_options opt = {.checksum = true, .loose = true};
    if (!code) code = frameio_write_images(path, &image, 1, &opt, err);
    header_release(&h);
    free(mag);
    return code;
}
