/* The sky coordinates of one frame carried over to another frame of the same detector whose pixels are rotated and shifted:
 * p' = M p + t (FITS pixels). */
#ifndef NIGHTSHIFT_PIPELINE_WCSMOVE_H
#define NIGHTSHIFT_PIPELINE_WCSMOVE_H

#include "common/err.h"
#include "common/header.h"

/* Copy the celestial cards of `from` to `to`, moved. CRPIX' = M CRPIX + t, CD' = CD M^-1; PV terms act on the sky side and
 * stay; SIP terms keep their value for a shift and change the sign of the even orders for half a turn (Shupe et al. 2005:
 * f'(u) = -f(-u)). A rotation by less than a degree leaves the SIP terms as they are.
 * Status: ERR_UNSUPPORTED when `from` has no CD, PC or CDELT linear part; ERR_NOMEM */
enum err wcs_move(const struct header *from, const double m[4], const double t[2], struct header *to, struct error *err);

#endif
