#include <errno.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "jobrunner/night.h"

static bool ends_with(const char *name, size_t n, const char *suffix, size_t *ret_left)
{
    size_t m = strlen(suffix);
    if (n <= m || strncasecmp(name + n - m, suffix, m)) return false;
    *ret_left = n - m;
    return true;
}

static bool is_fits_name(const char *name)
{
    static const char *const packed[] = {".fz", ".gz", ".bz2"}, *const plain[] = {".fits", ".fit", ".fts"};
    size_t n = strlen(name);
    for (int i = 0; i < 3; i++)
        if (ends_with(name, n, packed[i], &n)) break;
    for (int i = 0; i < 3; i++)
        if (ends_with(name, n, plain[i], &n)) return true;
    return false;
}

static enum err add_path(struct night *night, const char *path, struct error *err)
{
    int n = night->npaths;
    if ((n & (n - 1)) == 0) { /* room doubles at 0, 1, 2, 4, ... */
        char **paths = realloc(night->paths, (n ? 2 * (size_t)n : 1) * sizeof *paths);
        if (!paths) return ERROR(err, ERR_NOMEM, "could not get memory for the list of files");
        night->paths = paths;
    }
    if (!(night->paths[n] = strdup(path))) return ERROR(err, ERR_NOMEM, "could not get memory for the list of files");
    night->npaths++;
    return ERR_OK;
}

/* One entry of a folder. Folders that cannot be entered are listed as files: reading them says why. */
static enum err visit(FTS *fts, FTSENT *e, struct night *night, struct error *err)
{
    bool hidden = e->fts_level > 0 && e->fts_name[0] == '.';
    switch (e->fts_info) {
    case FTS_D:
        if (hidden) fts_set(fts, e, FTS_SKIP);
        return ERR_OK;
    case FTS_F:
        if (hidden) return ERR_OK;
        if (is_fits_name(e->fts_name)) return add_path(night, e->fts_path, err);
        night->not_fits++;
        return ERR_OK;
    case FTS_DNR: return add_path(night, e->fts_path, err);
    case FTS_SLNONE:
    case FTS_NS: return is_fits_name(e->fts_name) ? add_path(night, e->fts_path, err) : ERR_OK;
    default: return ERR_OK;
    }
}

static enum err walk_folder(const char *folder, struct night *night, struct error *err)
{
    char *roots[2] = {strdup(folder), NULL};
    if (!roots[0]) return ERROR(err, ERR_NOMEM, "could not get memory for the list of files");
    size_t n = strlen(roots[0]);
    while (n > 1 && roots[0][n - 1] == '/') roots[0][--n] = '\0';
    FTS *fts = fts_open(roots, FTS_LOGICAL | FTS_NOCHDIR, NULL);
    enum err code = fts ? ERR_OK : ERROR(err, ERR_NOMEM, "could not walk the folder '%s': %s", folder, strerror(errno));
    for (FTSENT *e; !code && (e = fts_read(fts));) code = visit(fts, e, night, err);
    if (fts) fts_close(fts);
    free(roots[0]);
    return code;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A folder and a file in it, both given: read once. */
static void sort_unique(struct night *night)
{
    int kept = 0;
    if (night->npaths) qsort(night->paths, (size_t)night->npaths, sizeof *night->paths, by_path);
    for (int i = 0; i < night->npaths; i++) {
        if (kept && !strcmp(night->paths[kept - 1], night->paths[i]))
            free(night->paths[i]);
        else
            night->paths[kept++] = night->paths[i];
    }
    night->npaths = kept;
}

enum err night_walk(const char *const *operands, int n, struct night *night, struct error *err)
{
    for (int i = 0; i < n; i++) {
        struct stat st;
        bool folder = stat(operands[i], &st) == 0 && S_ISDIR(st.st_mode);
        enum err e = folder ? walk_folder(operands[i], night, err) : add_path(night, operands[i], err);
        if (e) return e;
    }
    sort_unique(night);
    if (night->npaths) return ERR_OK;
    ERROR(err, ERR_NOT_FOUND, "there is no FITS file (%d other files)", night->not_fits);
    error_subject(err, operands[0], 0);
    error_hint(err, "files end in .fits, .fit or .fts, with or without .fz, .gz or .bz2");
    return ERR_NOT_FOUND;
}
