#include "pipeline/blindsolve.h"

#include <dirent.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/atomicfile.h"
#include "common/child.h"
#include "common/frameio.h"
#include "processors/starmatch.h"

enum { STARS_SENT = 300, ARGS_MAX = 48 };

static bool find_program(const char *name, char *ret, size_t size)
{
    const char *path = getenv("PATH");
    if (strchr(name, '/')) {
        snprintf(ret, size, "%s", name);
        return !access(ret, X_OK);
    }
    for (const char *p = path ? path : "/usr/bin:/bin"; *p;) {
        size_t n = strcspn(p, ":");
        snprintf(ret, size, "%.*s/%s", (int)n, p, name);
        if (n && !access(ret, X_OK)) return true;
        p += n + (p[n] == ':');
    }
    return false;
}

/* Spread over the frame: a cluster alone does not show where the frame is. */
static enum err write_stars(const char *path, const struct wcs_star *stars, int n, const struct wcs_guess *g, struct error *err)
{
    struct plane_star *all = malloc((size_t)(n + 1) * sizeof *all);
    int *chosen = malloc((size_t)(n + 1) * sizeof *chosen), m = 0;
    float *xyf = malloc(3 * (STARS_SENT + 1) * sizeof *xyf);
    enum err e = all && chosen && xyf ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory for %d stars", n);
    for (int i = 0; !e && i < n; i++) all[i] = (struct plane_star){stars[i].x, stars[i].y, -2.5 * log10(stars[i].flux)};
    if (!e) m = plane_locally_bright(all, n, sqrt((double)g->nx * (double)g->ny / 300), 3, STARS_SENT, chosen);
    if (m < 0) e = ERROR(err, ERR_NOMEM, "no memory for %d stars", n);
    if (!e) {
        for (int i = 0; i < m; i++) {
            xyf[i] = (float)(stars[chosen[i]].x + 1);
            xyf[m + i] = (float)(stars[chosen[i]].y + 1);
            xyf[2 * m + i] = (float)stars[chosen[i]].flux;
        }
        struct column c[3] = {{.name = "X", .type = COLUMN_F32, .repeat = 1, .data = xyf}, {.name = "Y", .type = COLUMN_F32, .repeat = 1, .data = xyf + m},
                              {.name = "FLUX", .type = COLUMN_F32, .repeat = 1, .data = xyf + 2 * m}};
        struct table_hdu t = {.extname = "STARS", .nrow = m, .ncol = 3, .columns = c};
        e = frameio_write_tables(path, NULL, &t, 1, err);
    }
    free(all);
    free(chosen);
    free(xyf);
    return e;
}

static void remove_folder(const char *folder)
{
    char path[2048];
    DIR *d = opendir(folder);
    for (struct dirent *f; d && (f = readdir(d));)
        if (strcmp(f->d_name, ".") && strcmp(f->d_name, "..")) {
            snprintf(path, sizeof path, "%s/%s", folder, f->d_name);
            unlink(path);
        }
    if (d) closedir(d);
    rmdir(folder);
}

static enum err run(const char *program, const struct blind_options *o, const struct wcs_guess *g, const char *folder, struct error *err)
{
    char nx[24], ny[24], limit[24], stop[24], low[32], high[32], ra[32], dec[32], log[1200];
    const char *argv[ARGS_MAX] = {"/usr/bin/timeout", "-k", "2", stop, program, "stars.fits", "--width", nx, "--height", ny, "--x-column", "X", "--y-column", "Y",
                                  "--sort-column", "FLUX", "--no-plots", "--overwrite", "--no-tweak", "--cpulimit", limit, "--dir", folder, "--temp-dir", folder,
                                  "--wcs", "found.wcs", "--new-fits", "none"};
    int n = 29, code;
    snprintf(nx, sizeof nx, "%lld", (long long)g->nx);
    snprintf(ny, sizeof ny, "%lld", (long long)g->ny);
    snprintf(limit, sizeof limit, "%d", o->seconds);
    snprintf(stop, sizeof stop, "%d", o->seconds + 10);
    if (o->index[0]) argv[n++] = "--index-dir", argv[n++] = o->index;
    if (g->scale_arcsec > 0) {
        snprintf(low, sizeof low, "%.6g", 0.9 * g->scale_arcsec);
        snprintf(high, sizeof high, "%.6g", 1.1 * g->scale_arcsec);
        argv[n++] = "--scale-units", argv[n++] = "arcsecperpix", argv[n++] = "--scale-low", argv[n++] = low, argv[n++] = "--scale-high", argv[n++] = high;
    }
    if (isfinite(g->ra) && isfinite(g->dec)) {
        snprintf(ra, sizeof ra, "%.6f", g->ra);
        snprintf(dec, sizeof dec, "%.6f", g->dec);
        argv[n++] = "--ra", argv[n++] = ra, argv[n++] = "--dec", argv[n++] = dec, argv[n++] = "--radius", argv[n++] = "30";
    }
    snprintf(log, sizeof log, "%s/log", folder);
    struct child_options c = {.folder = folder, .output = log};
    enum err e = child_run(argv, &c, &code, err);
    if (!e && code == 127) e = ERROR(err, ERR_UNSUPPORTED, "could not run '%s'", program);
    return e; /* an exit code of its own says nothing that the file does not */
}

enum err blind_solve(const struct wcs_star *stars, int n, const struct wcs_guess *guess, const struct blind_options *o, const char *folder, struct header *ret,
                     struct error *err)
{
    char program[1024], own[1024], path[1100], full[PATH_MAX];
    struct frameio_in *f = NULL;
    if (!o->program[0] || !find_program(o->program, program, sizeof program)) {
        enum err code = ERROR(err, ERR_UNSUPPORTED, "'%s' is not on the PATH", o->program);
        error_hint(err, "install astrometry.net, or give the header a position and a scale");
        return code;
    }
    enum err e = make_folders(folder, err);
    if (e) return e;
    if (!realpath(folder, full)) return ERROR(err, ERR_IO, "could not find '%s'", folder);
    snprintf(own, sizeof own, "%.980s/solve-XXXXXX", full);
    if (!mkdtemp(own)) return ERROR(err, ERR_IO, "could not make a folder in '%s'", folder);
    snprintf(path, sizeof path, "%s/stars.fits", own);
    e = write_stars(path, stars, n, guess, err);
    if (!e) e = run(program, o, guess, own, err);
    snprintf(path, sizeof path, "%s/found.wcs", own);
    if (!e && access(path, R_OK)) e = ERROR(err, ERR_NOT_FOUND, "%s finds no place for %d stars within %d s", o->program, n, o->seconds);
    if (!e) e = frameio_open(path, &f, err);
    if (!e) e = frameio_hdu_header(f, 1, ret, err);
    frameio_close(f);
    remove_folder(own);
    return e;
}
