#include "pipeline/imageopen.h"

#include <strings.h>

#include "common/frameio.h"
#include "common/log.h"
#include "common/products.h"

/* A product of reduce has an extension called SCI. */
static bool is_product(const char *path)
{
    struct frameio_in *f = NULL;
    bool found = false;
    if (frameio_open(path, &f, NULL)) return false;
    for (int hdu = 1, n = frameio_hdu_count(f); hdu <= n && !found; hdu++) {
        struct hdu_info info;
        found = !frameio_hdu_info(f, hdu, &info, NULL) && info.kind == HDU_IMAGE && !strcasecmp(info.extname, EXT_SCI);
    }
    frameio_close(f);
    return found;
}

enum err image_open(const char *path, int hdu, struct frame *f, struct skycoord **sky, struct error *err)
{
    enum err e = hdu < 1 && is_product(path) ? frameio_read_product(path, f, err) : frameio_read_image(path, hdu, f, err);
    if (e) return e;
    struct error sky_error = ERROR_INIT;
    e = skycoord_new(&f->header, sky, &sky_error);
    if (e == ERR_NOMEM) {
        if (err) *err = sky_error;
        return e;
    }
    if (e && e != ERR_NOT_FOUND) log_text(LOG_WARN, "no sky positions: %s", sky_error.message);
    return ERR_OK;
}
