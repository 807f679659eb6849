#include "pipeline/rawimage.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "common/atomicfile.h"
#include "common/products.h"
#include "pipeline/master.h"

#define FOLDER_DEPTH_MAX 16
#define FILES_MAX        10000000

struct raw_file {
    struct frameio_in *in;
    const struct instrument *ins;
    char *path;
    int info_hdu;
    struct hdu_info info; /* of info_hdu */
};

static enum err remember_info(struct raw_file *f, int hdu, struct error *err)
{
    if (f->info_hdu == hdu) return ERR_OK;
    enum err code = frameio_hdu_info(f->in, hdu, &f->info, err);
    if (code) return code;
    f->info_hdu = hdu;
    return ERR_OK;
}

enum err raw_file_open(const char *path, const struct instruments *set, const struct settings *s, struct raw_file **ret,
                       struct error *err)
{
    struct header primary = {0};
    struct raw_file *f = calloc(1, sizeof *f);
    if (!f || !(f->path = strdup(path))) {
        free(f);
        return ERROR(err, ERR_NOMEM, "no memory to open '%s'", path);
    }
    enum err code = frameio_open(path, &f->in, err);
    /* fpack leaves the primary empty: the merged header of the first image says what the camera is. */
    int first = code ? 0 : frameio_first_image(f->in);
    if (!code) code = frameio_merged_header(f->in, first > 0 ? first : 1, &primary, err);
    if (!code) {
        f->ins = instrument_of(set, s, &primary);
        *ret = f;
    } else {
        error_subject(err, path, 0);
        raw_file_close(f);
    }
    header_release(&primary);
    return code;
}

void raw_file_close(struct raw_file *f)
{
    if (!f) return;
    frameio_close(f->in);
    free(f->path);
    free(f);
}

const struct instrument *raw_file_instrument(const struct raw_file *f)
{
    return f->ins;
}

static bool holds_image(struct raw_file *f, int hdu)
{
    if (remember_info(f, hdu, NULL)) return false;
    const struct hdu_info *i = &f->info;
    return i->kind == HDU_IMAGE && i->naxis >= 2 && i->axis[0] > 0 && i->axis[1] > 0;
}

int raw_file_ccds(struct raw_file *f, int *ret_hdus, int max)
{
    int n = 0;
    if (!instrument_is_multi_extension(f->ins)) {
        int hdu = frameio_first_image(f->in);
        if (hdu > 0 && max > 0) ret_hdus[n++] = hdu;
        return n;
    }
    int count = frameio_hdu_count(f->in);
    for (int hdu = 1; hdu <= count && n < max; hdu++)
        if (holds_image(f, hdu)) ret_hdus[n++] = hdu;
    return n;
}

static void whole_array(struct exposure_meta *m)
{
    struct section all = {0, m->raw_nx, 0, m->raw_ny};
    m->nx = m->raw_nx;
    m->ny = m->raw_ny;
    m->namp = 1;
    m->amp[0] = (struct amp){.name = "1", .data = all, .dest = all, .gain_e_per_adu = NAN, .rdnoise_e = NAN, .saturate_adu = NAN};
}

enum err raw_file_meta(struct raw_file *f, int hdu, const struct settings *s, struct exposure_meta *ret, struct header *header,
                       struct error *err)
{
    struct header own = {0};
    enum err code = remember_info(f, hdu, err);
    if (!code) code = frameio_merged_header(f->in, hdu, &own, err);
    if (!code) code = instrument_meta(f->ins, s, &own, f->info.axis[0], f->info.axis[1], hdu, ret, err);
    if (!code && ret->namp < 1) whole_array(ret);
    if (!code) code = amps_verify(ret->amp, ret->namp, ret->raw_nx, ret->raw_ny, ret->nx, ret->ny, err);
    if (code) error_subject(err, f->path, hdu);
    if (!code && header) *header = own;
    else header_release(&own);
    return code;
}

enum err raw_file_verify(struct raw_file *f, int hdu, struct error *err)
{
    enum err code = frameio_verify_data(f->in, hdu, err);
    if (code) error_subject(err, f->path, hdu);
    return code;
}

int raw_file_pixel_bytes(struct raw_file *f, int hdu)
{
    return !remember_info(f, hdu, NULL) && f->info.unsigned16 ? 2 : 4;
}

enum err raw_file_rows(struct raw_file *f, int hdu, const struct exposure_meta *meta, int64_t y0, int64_t y1, void *buffer,
                       struct raw_rows *ret, struct error *err)
{
    enum err code = remember_info(f, hdu, err);
    if (!code && (f->info.axis[0] != meta->raw_nx || f->info.axis[1] != meta->raw_ny))
        code = ERROR(err, ERR_SHAPE, "cannot use %lld x %lld pixels where %lld x %lld are expected", (long long)f->info.axis[0],
                     (long long)f->info.axis[1], (long long)meta->raw_nx, (long long)meta->raw_ny);
    struct raw_rows rows = {.nx = meta->raw_nx, .y0 = y0, .y1 = y1};
    if (!code && f->info.unsigned16) code = frameio_read_rows_u16(f->in, hdu, y0, y1, rows.u16 = buffer, err);
    else if (!code) code = frameio_read_rows_f32(f->in, hdu, y0, y1, rows.f32 = buffer, err);
    if (code) {
        error_subject(err, f->path, hdu);
        return code;
    }
    amps_unflip(&rows, meta->amp, meta->namp);
    *ret = rows;
    return ERR_OK;
}

bool header_is_product(const struct header *h)
{
    return header_has(h, KEY_RECIPE) || header_has(h, KEY_MASTER_KIND);
}

/* ---- lists of files --------------------------------------------------------------------------------------------- */

void file_list_release(struct file_list *l)
{
    for (int i = 0; i < l->n; i++) free(l->path[i]);
    free(l->path);
    free(l->named);
    *l = (struct file_list){0};
}

static enum err file_list_grow(struct file_list *l, struct error *err)
{
    int capacity = l->capacity ? 2 * l->capacity : 64;
    char **path = realloc(l->path, (size_t)capacity * sizeof *path);
    if (path) l->path = path;
    bool *named = realloc(l->named, (size_t)capacity * sizeof *named);
    if (named) l->named = named;
    if (!path || !named) return ERROR(err, ERR_NOMEM, "no memory for a list of %d files", capacity);
    l->capacity = capacity;
    return ERR_OK;
}

static enum err file_list_add(struct file_list *l, const char *path, bool named, struct error *err)
{
    if (l->n >= FILES_MAX) return ERROR(err, ERR_UNSUPPORTED, "cannot take more than %d files", FILES_MAX);
    enum err code = l->n == l->capacity ? file_list_grow(l, err) : ERR_OK;
    if (code) return code;
    char *copy = strdup(path);
    if (!copy) return ERROR(err, ERR_NOMEM, "no memory for a list of %d files", l->n);
    l->named[l->n] = named;
    l->path[l->n++] = copy;
    return ERR_OK;
}

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && !strcasecmp(name + n - m, end);
}

static bool is_fits_name(const char *name)
{
    static const char *const ends[] = {".fits", ".fit", ".fts", ".fits.fz", ".fit.fz", ".fits.gz", ".fit.gz", ".fits.bz2", ".fit.bz2"};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (ends_with(name, ends[i])) return true;
    return false;
}

static int visible(const struct dirent *d)
{
    return d->d_name[0] != '.' && strcmp(d->d_name, "masters") && strcmp(d->d_name, "quality");
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name); /* alphasort() would follow the locale */
}

static enum err collect_folder(const char *folder, int depth, struct file_list *ret, struct error *err)
{
    struct dirent **entries;
    int n = scandir(folder, &entries, visible, by_bytes);
    if (n < 0) return error_from_errno(err, errno, folder, "list");
    enum err code = ERR_OK;
    for (int i = 0; i < n; i++) {
        char *path = NULL;
        struct stat st;
        if (!code && asprintf(&path, "%s/%s", folder, entries[i]->d_name) < 0) code = ERROR(err, ERR_NOMEM, "no memory for a path");
        if (!code && !stat(path, &st)) {
            if (S_ISDIR(st.st_mode) && depth < FOLDER_DEPTH_MAX) code = collect_folder(path, depth + 1, ret, err);
            else if (S_ISREG(st.st_mode) && is_fits_name(path)) code = file_list_add(ret, path, false, err);
        }
        if (path) free(path);
        free(entries[i]);
    }
    free(entries);
    return code;
}

enum err file_list_collect(const char *const *operands, int n, struct file_list *ret, struct error *err)
{
    enum err code = ERR_OK;
    *ret = (struct file_list){0};
    for (int i = 0; i < n && !code; i++) {
        struct stat st;
        bool folder = !stat(operands[i], &st) && S_ISDIR(st.st_mode);
        code = folder ? collect_folder(operands[i], 0, ret, err) : file_list_add(ret, operands[i], true, err);
    }
    if (code) file_list_release(ret);
    return code;
}
