/* What the settings (mostly of the instrument file) say about a detector's counts, for processors/rawsignal.h. */
#ifndef NIGHTSHIFT_PIPELINE_SIGNALOPTIONS_H
#define NIGHTSHIFT_PIPELINE_SIGNALOPTIONS_H

#include "common/digest.h"
#include "common/settings.h"
#include "processors/rawsignal.h"

/* Given:    namp  amplifiers of the detector
 * Returned: ret   rawsignal_options_release() when done; rawsignal_is_needed() tells whether anything is asked for
 * Status:   ERR_SETTINGS for lists of the wrong length or values; ERR_NOMEM */
enum err rawsignal_options_from_settings(const struct settings *s, int namp, struct rawsignal_options *ret, struct error *err);

/* Mark the places of signature.defects BAD. ERR_SETTINGS for lists and places that cannot be; what leaves the frame is cut off. */
enum err defects_from_settings(const struct settings *s, int64_t nx, int64_t ny, mask_t *mask, struct error *err);

/* Settings that change raw counts, into the identity of a master. Nothing is added while all are as built in. */
void rawsignal_digest(const struct settings *s, struct digest *d);

#endif
