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

/* Take every card of the celestial coordinates out, alternate descriptions too. */
void wcs_strip(struct header *h);

/* The solution as cards, in place of what was there: CTYPE (RA---TAN or RA---TAN-SIP), CRPIX (1-based), CD, A_, B_, AP_, BP_,
 * RADESYS ICRS. ERR_NOMEM */
struct wcs_sip;
enum err wcs_write_sip(const struct wcs_sip *s, struct header *h, struct error *err);

#endif
