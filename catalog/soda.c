/* SODA 1.0 cutouts, whole files, pictures. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "catalog/discovery.h"
#include "common/cutout.h"
#include "common/preview.h"

enum { PREVIEW_LARGEST = 4096 };

static enum err find(const struct discovery *d, const char *id, struct image *ret, struct error *err)
{
    struct db *db = NULL;
    if (!id) return ERROR(err, ERR_USAGE, "the parameter ID is missing");
    enum err code = db_pool_take(d->pool, d->pool_wait_s, &db, err);
    if (!code) {
        code = image_find(db, id, ret, err);
        db_pool_give(d->pool, db);
    }
    return code;
}

/* ---- a file made for this answer ---------------------------------------------------------------------------------------- */

struct scratch {
    char folder[256], path[320];
};

static enum err scratch_make(struct scratch *s, const char *name, struct error *err)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(s->folder, sizeof s->folder, "%.200s/nightshift-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(s->folder)) {
        s->folder[0] = 0;
        return ERROR(err, ERR_IO, "could not make a folder in %.200s", tmp && *tmp ? tmp : "/tmp");
    }
    snprintf(s->path, sizeof s->path, "%s/%s", s->folder, name);
    return ERR_OK;
}

static void scratch_remove(struct scratch *s)
{
    if (!s->folder[0]) return;
    unlink(s->path);
    rmdir(s->folder);
}

/* The file goes out from its descriptor; its name is gone by then. */
static enum err scratch_send(const struct scratch *s, struct http_response *w, const char *type, const char *name, struct error *err)
{
    struct stat st;
    int fd = open(s->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st)) {
        if (fd >= 0) close(fd);
        return ERROR(err, ERR_IO, "could not read what was made for this answer");
    }
    char text[400];
    snprintf(text, sizeof text, "inline; filename=\"%.300s\"", name);
    http_header_out(w, "Content-Type", type);
    http_header_out(w, "Content-Disposition", text);
    http_send_fd(w, fd, 0, (int64_t)st.st_size);
    return ERR_OK;
}

/* ---- cutouts ------------------------------------------------------------------------------------------------------------ */

/* The one region that was asked for; none is the whole image. */
static enum err read_region(const struct http_request *r, struct cutout_region *ret, struct error *err)
{
    static const struct {
        const char *name;
        enum cutout_shape shape;
    } params[] = {{"POS", CUTOUT_ALL}, {"CIRCLE", CUTOUT_CIRCLE}, {"POLYGON", CUTOUT_POLYGON}};
    int n = 0;
    *ret = (struct cutout_region){.shape = CUTOUT_ALL};
    for (size_t i = 0; i < sizeof params / sizeof params[0]; i++)
        for (int k = 0; k < http_param_count(r, params[i].name); k++) {
            const char *text = http_param_at(r, params[i].name, k);
            if (!*text) continue; /* a form's empty field */
            if (n++) {
                enum err code = ERROR(err, ERR_USAGE, "one region per request: POS, CIRCLE and POLYGON came %d times", n);
                error_hint(err, "ask once for each region");
                return code;
            }
            enum err code = cutout_region_parse(text, params[i].shape, ret, err);
            if (code) return code;
        }
    static const char *const others[] = {"BAND", "TIME", "POL"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        const char *text = http_param(r, others[i]);
        if (text && *text) return ERROR(err, ERR_USAGE, "images cannot be cut by %s: they have pixels of the sky alone", others[i]);
    }
    return ERR_OK;
}

void soda_sync(struct http_request *r, struct http_response *w, void *user)
{
    const struct discovery *d = user;
    struct error err = ERROR_INIT;
    struct cutout_region region;
    struct section section;
    struct image im;
    struct scratch s = {0};
    char path[1200], name[128];
    enum err code = http_param_count(r, "ID") > 1 ? ERROR(&err, ERR_USAGE, "one ID per request") : ERR_OK;
    if (!code) code = read_region(r, &region, &err);
    if (!code) code = find(d, http_param(r, "ID"), &im, &err);
    if (!code) code = image_path(d, im.cal, path, sizeof path, &err);
    if (code) {
        discovery_refuse(w, false, &err);
        return;
    }
    snprintf(name, sizeof name, "cutout_%lld_%02d.fits", (long long)im.exposure_id, im.ccd);
    code = scratch_make(&s, "cutout.fits", &err);
    if (!code) code = cutout_file(path, &region, d->cutout_pixels, s.path, &section, &err);
    if (code == ERR_NOT_FOUND && region.shape != CUTOUT_ALL && access(path, R_OK) == 0) {
        http_status(w, 204); /* section 4.1: nothing of the image lies there */
    } else {
        if (!code) code = scratch_send(&s, w, "application/fits", name, &err);
        if (code) discovery_refuse(w, false, &err);
    }
    scratch_remove(&s);
}

/* ---- whole files ---------------------------------------------------------------------------------------------------------- */

void image_data(struct http_request *r, struct http_response *w, void *user)
{
    const struct discovery *d = user;
    struct error err = ERROR_INIT;
    struct image im;
    char path[1200];
    const char *kind = http_path_param(r, "kind");
    static const char *const kinds[] = {"image", "catalogue", "bias", "dark", "flat"};
    int k = 0, nkinds = (int)(sizeof kinds / sizeof kinds[0]);
    while (k < nkinds && strcmp(kind, kinds[k])) k++;
    enum err code = k == nkinds ? ERROR(&err, ERR_NOT_FOUND, "no files of kind '%.40s'; image, catalogue, bias, dark and flat are", kind) : ERR_OK;
    if (!code) code = find(d, http_param(r, "ID"), &im, &err);
    if (!code) code = image_path(d, k == 0 ? im.cal : k == 1 ? im.cat : im.master[k - 2], path, sizeof path, &err);
    const char *slash = code ? NULL : strrchr(path, '/');
    if (!code) code = http_send_file(r, w, path, "application/fits", slash ? slash + 1 : path, NULL, &err);
    if (code) discovery_refuse(w, false, &err);
}

/* ---- pictures --------------------------------------------------------------------------------------------------------------- */

void image_preview(struct http_request *r, struct http_response *w, void *user)
{
    const struct discovery *d = user;
    struct error err = ERROR_INIT;
    struct preview p = {0};
    struct image im;
    struct scratch s = {0};
    char path[1200], name[128], *end;
    const char *side_text = http_param(r, "size");
    long side = side_text ? strtol(side_text, &end, 10) : PREVIEW_SIDE;
    enum err code = side_text && (*end || end == side_text || side < 16 || side > PREVIEW_LARGEST)
                        ? ERROR(&err, ERR_USAGE, "size is 16 to %d pixels, not '%.20s'", PREVIEW_LARGEST, side_text)
                        : ERR_OK;
    if (!code) code = find(d, http_param(r, "ID"), &im, &err);
    if (!code) code = image_path(d, im.cal, path, sizeof path, &err);
    if (!code) code = preview_read(path, (int)side, &p, &err);
    if (!code) code = scratch_make(&s, "preview.png", &err);
    if (!code) code = preview_write(&p, NULL, s.path, NULL, &err);
    snprintf(name, sizeof name, "preview_%lld_%02d.png", code ? 0LL : (long long)im.exposure_id, code ? 0 : im.ccd);
    if (!code) {
        http_header_out(w, "Cache-Control", "public, max-age=86400"); /* an identifier's pixels never change */
        code = scratch_send(&s, w, "image/png", name, &err);
    }
    if (code) discovery_refuse(w, false, &err);
    preview_release(&p);
    scratch_remove(&s);
}
