/* The frame's own PSF for its matched filter: the median of its bright lonely stars, each moved to the centre of a pixel.
 *
 * Stars are the objects of a first, shallow detection whose size is the frame's most frequent one; cosmic rays (one pixel
 * holds the light, or they are thin) and galaxies (larger) are not.
 * The pixel under the median is not that of a model: a filter forgives noise (a PSF with a hundredth of its energy in noise
 * costs half a per cent of the signal to noise), and nothing is assumed about the profile. A model for photometry is
 * psfmodel.h.                                                                                                            */
#ifndef NIGHTSHIFT_PROCESSORS_MATCHED_PSF_H
#define NIGHTSHIFT_PROCESSORS_MATCHED_PSF_H

#include "processors/matched.h"
#include "processors/objects.h"

/* Options of the first detection: bright stars, after the pyramid, taken whole. */
struct detect_options;
void matched_psf_detection(struct detect_options *o);

/* Given:    view     background subtracted; sigma2_const and mask are used
 *           objects  of the first detection, not deblended
 * Returned: ret      fewer than three stars: a Gaussian of their width, or of 3 pixels without any; ret->stars tells
 * Status:   0; ERR_NOMEM
 * Threads:  pixels of the PSF in parallel; same bytes for any thread count */
enum err matched_psf_measure(const struct image_view *view, const struct objects *objects, mask_t holes, struct matched_kernel *ret,
                             struct error *err);

#endif
