/* What a product says of its making: versions, recipe, inputs by checksum, the steps that were taken. */
#ifndef NIGHTSHIFT_PIPELINE_PROVENANCE_H
#define NIGHTSHIFT_PIPELINE_PROVENANCE_H

#include "common/header.h"
#include "common/instrument.h"
#include "pipeline/master.h"

/* Remove what described the raw array and no longer holds: sections, scaling, checksums, compression. */
void provenance_strip_raw(struct header *h);

/* Move the raw WCS to the trimmed frame (nothing to do when meta says that it already is). A frame read from right to left
 * or upside down has its linear terms turned; distortion terms cannot be turned that way, so such a WCS is removed. */
enum err provenance_shift_wcs(struct header *h, const struct exposure_meta *meta, struct error *err);

/* One step of the signature. */
struct step_done {
    bool done;
    const struct master_info *master; /* NULL when skipped */
};

struct provenance {
    const struct exposure_meta *meta;
    const char *raw_path;
    const char *raw_sum;
    const char *recipe;               /* hex digits */
    const char *gain_source;          /* header or measured */
    bool overscan;
    struct step_done step[MASTER_KINDS];
};

/* The cards of a calibrated product. */
enum err provenance_cards(struct header *h, const struct provenance *p, struct error *err);

/* Exposure id: the header's own, or instrument + DATE-OBS + checksum of the raw file. Returned: buf (>= 128 bytes). */
const char *exposure_identity(char *buf, int size, const struct exposure_meta *meta, const char *raw_sum);

/* Dither seed of an exposure's CCD, 1 to 10000, the same wherever and whenever it is reduced. */
int dither_seed(const char *identity, int ccd);

#endif
