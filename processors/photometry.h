/* Photometry: sums of pixels in circles and ellipses, with neighbours taken out.
 *
 *     stamp_load() -> kron_moment() -> stamp_mirror() -> sum_ellipse(), sum_circle(), flux_radius()
 *
 * A stamp is the piece of the image around one object in contiguous rows of 8-float vectors: read once, measured many
 * times. Pixels of other objects and unusable pixels are 0 after stamp_load() and hold the pixel opposite the centre after
 * stamp_mirror(), if that one is good (MASK_TYPE CORRECT).
 *
 * Positions are 0-based image pixels. Fluxes are summed per row in 8 float lanes, rows in double: same bytes everywhere.
 * Source: Kron 1980, ApJS 43, 305; Bertin & Arnouts 1996, A&AS 117, 393, section 7; the Photometry chapter of the Source
 * Extractor manual. What the manual leaves open was found by running Source Extractor 2.25 against sums over its
 * check-images (docs/extract.md, "How the numbers were found").                                                     */
#ifndef NIGHTSHIFT_PROCESSORS_PHOTOMETRY_H
#define NIGHTSHIFT_PROCESSORS_PHOTOMETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "processors/objects.h"

enum neighbour_rule { NEIGHBOURS_KEPT, NEIGHBOURS_BLANK, NEIGHBOURS_MIRROR };

struct stamp {
    int32_t x0, y0, nx, ny;  /* the rectangle of the image it holds, inside the image */
    int32_t stride;          /* floats per row, a multiple of 8 */
    float *value;            /* ny * stride */
    float *sigma2;           /* the same for the variance; NULL when it is constant */
    float *dx, *wx;          /* stride: column offsets from the centre, scratch */
    float *dy, *wy;          /* ny rounded up to 8: the same for rows */
    int32_t *bad;            /* y * stride + x of the pixels taken out */
    int32_t nbad;
    bool mirrored;
    int64_t mirror_x, mirror_y; /* what the mirror depends on: it moves in half pixels */
    float *memory;
    int64_t floats;          /* capacity of memory */
};

void stamp_init(struct stamp *s);
void stamp_release(struct stamp *s);

/* Read the pixels within hx, hy of (x, y).
 * Given:     id   the object's value in view->segment; other values but 0 are neighbours (unless NEIGHBOURS_KEPT)
 * Status:    0; ERR_NOMEM; ERR_SHAPE when the rectangle misses the image
 * Threads:   one stamp per thread; its memory is kept from object to object */
enum err stamp_load(struct stamp *s, const struct image_view *view, int32_t id, enum neighbour_rule rule, double x, double y,
                    double hx, double hy, struct error *err);
/* Ask for these pixels ahead of time: nothing changes but the cache. */
void stamp_prefetch(const struct image_view *view, double x, double y, double half);
/* Does it hold all pixels of the image within hx, hy of (x, y)? */
bool stamp_covers(const struct stamp *s, const struct image_view *view, double x, double y, double hx, double hy);
/* Replace the pixels taken out by those opposite (x, y). Cheap when there are none or (x, y) has hardly moved. */
void stamp_mirror(struct stamp *s, const struct image_view *view, int32_t id, double x, double y);

struct sums {
    double flux;
    double area;      /* pixels; those taken out count */
    double variance;  /* of the background over the area, unit^2 */
};
/* Pixels whose centre lies in cxx dx^2 + cyy dy^2 + cxy dx dy <= k^2. */
struct sums sum_ellipse(struct stamp *s, const struct image_view *view, double x, double y, double cxx, double cyy, double cxy, double k);
/* Pixels split 5 x 5 where the circle cuts them. */
struct sums sum_circle(struct stamp *s, const struct image_view *view, double x, double y, double radius);
/* sqrt(variance + flux/gain): the photon noise of the object only when its flux is positive. A gain that varies is that of
 * the mean variance of the area. */
double flux_error(const struct sums *f, const struct image_view *view);

struct kron {
    double first, flux;  /* sum r p, sum p inside the ellipse, without the pixels taken out */
    double area;         /* pixels of the ellipse in the image */
};
/* Before stamp_mirror(): pixels taken out count for nothing. */
struct kron kron_moment(struct stamp *s, double x, double y, double cxx, double cyy, double cxy, double k);
/* Petrosian radius in units of the ellipse: where the mean in a ring from 0.9 to 1.1 r falls below a fifth of the mean
 * within r, looked for at r = 1.98, 2.31, ... 5.28 (Source Extractor's own steps); 5.28 when it never does. Pixels taken
 * out count for nothing. Source: Petrosian 1976, ApJ 209, L1; Blanton et al. 2001, AJ 121, 2358. */
double petrosian_radius(const struct stamp *s, double x, double y, double cxx, double cyy, double cxy);

/* Share of an ellipse's pixels that were taken out. */
double bad_fraction(const struct stamp *s, double x, double y, double cxx, double cyy, double cxy, double k, double area);

/* Radius of the circle that holds `flux`, on a growth curve of 64 steps up to rmax, linear between the steps. 0 when the
 * flux is not positive. */
double flux_radius(struct stamp *s, const struct image_view *view, double x, double y, double flux, double rmax, double guess);

/* Half the sides of the box around an ellipse of that k. Infinite when it is degenerate. */
void ellipse_box(double cxx, double cyy, double cxy, double k, double *ret_hx, double *ret_hy);
/* Would a box of half sides hx, hy reach over the image's border (FLAG_APERTURE)? */
bool box_leaves_image(const struct image_view *view, double x, double y, double hx, double hy);

#endif
