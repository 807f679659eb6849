/* Sky coordinates of a frame: the only room that talks to wcslib.
 *
 * Pixels are 0-based outside, 1-based inside wcslib; sky is ICRS degrees (FK5 and FK4 headers are converted by ERFA at
 * the epoch of the frame). TAN, SIP, TPV, TNX, ZPX and whatever else wcslib 7.12 knows. SIP coefficients are honoured
 * even when CTYPE lacks the -SIP suffix; a TPV header is never read as SIP nor the other way round.
 * Threads: wcslib writes to its structs even when it transforms, so a skycoord serves one thread at a time: clone one per
 * thread before the parallel region (skycoord_clone() only reads its argument).                                     */
#ifndef NIGHTSHIFT_COMMON_SKYCOORD_H
#define NIGHTSHIFT_COMMON_SKYCOORD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/header.h"

struct skycoord;

/* Status: ERR_NOT_FOUND when the header has no celestial WCS; ERR_CORRUPT when it has one that wcslib refuses;
 * ERR_UNSUPPORTED for lookup tables (-TAB, CPDIS 'LOOKUP'), the Sun's and planets' coordinates, and apparent places. */
enum err skycoord_new(const struct header *h, struct skycoord **ret, struct error *err);
struct skycoord *skycoord_clone(const struct skycoord *s); /* NULL: no memory */
void skycoord_free(struct skycoord *s);

/* n points; x, y 0-based pixels; ra in [0, 360), dec in degrees. Points that cannot be transformed become NaN.
 * Status: 0. x may equal ret_ra and y ret_dec. */
enum err skycoord_to_sky(struct skycoord *s, int64_t n, const double *x, const double *y, double *ret_ra, double *ret_dec,
                         struct error *err);
enum err skycoord_to_pixel(struct skycoord *s, int64_t n, const double *ra, const double *dec, double *ret_x, double *ret_y,
                           struct error *err);

/* The linear part at a pixel: degrees per pixel as [d(xi)/dx d(xi)/dy d(eta)/dx d(eta)/dy] on the tangent plane there. */
enum err skycoord_jacobian(struct skycoord *s, double x, double y, double ret_j[4], struct error *err);

/* Pixel scale in arcsec (square root of the area of a pixel) at (x, y); NaN where there is none. */
double skycoord_scale_arcsec(struct skycoord *s, double x, double y);

/* Great-circle distance in degrees (haversine, right at any distance). */
double sky_distance_deg(double ra1, double dec1, double ra2, double dec2);

#endif
