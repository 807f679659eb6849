/* PSF photometry: flux and place of point sources, neighbours fitted together.
 *
 *     sources -> groups (nearest pairs first, bounded) -> rounds: subtract the light of other groups, fit the group -> errors
 *
 * A group is solved by Newton steps in flux, x, y of all members, weighted by the inverse variance of sky and modelled light
 * (not of the data, whose noise would pull the flux down). Light of sources outside the group is subtracted as the round
 * before left it; rounds go on until it does not change. Sources of other groups that overlap a group shorten its step, which
 * keeps crowds from overshooting. A group never grows beyond `group_max`: links are made from the
 * closest pair up, what would make a group too large is left to the rounds, and both sides are flagged PSFFIT_SPLIT.
 *
 * The flux of a fitted place is the largest nearby, too bright by 1/(S/N)^2 on average; this is taken off again.
 * SPREAD_MODEL compares the source with the PSF and with the PSF blurred by an exponential disc of scale FWHM/16: 0 for a
 * star, positive for what is wider.
 *
 * Source: Stetson 1987, PASP 99, 191 (groups, variance-weighted fit); Portillo, Speagle & Finkbeiner 2020, AJ 159, 165 (the
 * bias of a fitted flux); Desai et al. 2012, ApJ 757, 83 (SPREAD_MODEL).
 * Differences: groups are bounded by construction; the blurred PSF is the PSF plus the disc's second and fourth moments.
 * Same bytes for any number of threads: a round reads the last round's values only.                                    */
#ifndef NIGHTSHIFT_PROCESSORS_PSFFIT_H
#define NIGHTSHIFT_PROCESSORS_PSFFIT_H

#include <stdbool.h>

#include "processors/psfmodel.h"

enum psffit_flag {
    PSFFIT_NEIGHBOURS = 1,     /* fitted together with others */
    PSFFIT_SPLIT = 2,          /* its group was too large: some of its near neighbours are in another */
    PSFFIT_SATURATED = 4,      /* saturated pixels were left out */
    PSFFIT_TRUNCATED = 8,      /* more than a tenth of its weight is on pixels that cannot be used */
    PSFFIT_NOT_CONVERGED = 16,
    PSFFIT_HELD = 32,          /* the place was held where it was given */
    PSFFIT_FALLBACK = 64,      /* the PSF of the frame is a fallback */
    PSFFIT_NO_DATA = 128,      /* not measured: no usable pixels; values are NaN */
    PSFFIT_MOVED = 256         /* the place ran to the limit of its range */
};

struct psffit_source {
    double x, y;               /* in: where to begin; out: where it is, 0-based */
    double flux;               /* in: a guess, NaN: none; out: total flux */
    bool hold;                 /* the place is given, not fitted */
    float radius;              /* pixels fitted around it; 0: the options' */
    float fluxerr, var_x, var_y, cov_xy;
    float chi2;                /* reduced */
    float spread, spreaderr;
    int16_t niter, flags;
    mask_t mask;               /* OR of the mask over the pixels within one FWHM */
};

struct psffit_options {
    double radius_fwhm;        /* pixels within so many FWHM of a source are fitted */
    double link_fwhm;          /* sources closer than this are fitted together */
    int group_max;             /* 1 to PSFFIT_GROUP_MAX */
    int rounds;                /* of subtracting other groups */
    bool local_background;     /* each group fits the level under it as well */
    bool spread;
    float saturate;            /* as in psf_options */
};
#define PSFFIT_GROUP_MAX 24

struct psffit_options psffit_options_default(void);
enum err psffit_options_verify(const struct psffit_options *o, struct error *err);

/* Given:    view     segment is not looked at
 *           s        n sources (below 2^31) in any order
 * Returned: s        measured
 * Status:   0; ERR_SETTINGS; ERR_NOMEM; ERR_UNSUPPORTED for too many
 * Threads:  groups in parallel; same bytes for any thread count */
enum err psffit_sources(const struct image_view *view, const struct psf_model *model, const struct psffit_options *options,
                        struct psffit_source *s, int64_t n, struct error *err);

/* Take the light of the sources off the image: value -= flux P. Sources with PSFFIT_NO_DATA are left. ERR_NOMEM.
 * Threads: blocks of rows in parallel; same bytes for any thread count */
enum err psffit_subtract(const struct psf_model *model, const struct psffit_source *s, int64_t n, int64_t nx, int64_t ny, float *value,
                         struct error *err);

#endif
