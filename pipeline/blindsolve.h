/* Where a frame points when its header says nothing: astrometry.net's solve-field as a helper process.
 *
 *     brightest stars -> table of x, y, flux -> solve-field (its own time limit, killed after it) -> a rough header
 *
 * The answer is a guess like any header's: it counts only when the reference stars prove it (wcssolve.h).             */
#ifndef NIGHTSHIFT_PIPELINE_BLINDSOLVE_H
#define NIGHTSHIFT_PIPELINE_BLINDSOLVE_H

#include "common/err.h"
#include "common/header.h"
#include "processors/wcssolve.h"

struct blind_options {
    const char *program;   /* name on the PATH, or a path; "": never */
    const char *index;     /* folder of index files; "": as the program is set up */
    int seconds;
};

/* folder: where its files may be for a while (made when missing).
 * Status: ERR_NOT_FOUND when it finds nothing in its time; ERR_UNSUPPORTED when the program is not there; ERR_IO */
enum err blind_solve(const struct wcs_star *stars, int n, const struct wcs_guess *guess, const struct blind_options *o, const char *folder, struct header *ret,
                     struct error *err);

#endif
