/* A frame: value, variance and mask planes that travel together, the header and the sky coordinates.
 *
 * Row-major, pixel (x, y) is data[y*nx + x], 0-based, integer at the pixel centre. FITS numbers pixels from 1; only
 * frameio.c, skycoord.c and the columns X_IMAGE, Y_IMAGE add the 1.
 *
 *     sci   float    ADU raw, electron after reduce
 *     var   float    unit^2; NULL where unknown; +inf or NaN never: an unusable pixel has mask bits and var 0
 *     mask  uint16   maskbits.h; NULL where unknown
 *
 * Ownership: a frame owns its planes and header; frame_release() frees them. Planes are 64-byte aligned.           */
#ifndef NIGHTSHIFT_COMMON_FRAME_H
#define NIGHTSHIFT_COMMON_FRAME_H

#include <stdint.h>

#include "common/err.h"
#include "common/header.h"
#include "common/maskbits.h"

struct frame {
    int64_t nx, ny;
    float *sci;
    float *var;
    mask_t *mask;
    char unit[24];          /* BUNIT: "adu", "electron" */
    struct header header;   /* header of the science extension, inherited cards of the primary merged in */
};

#define FRAME_MAX_SIDE 65536 /* pixels; larger is refused before memory is asked for */

enum frame_planes { FRAME_SCI = 1, FRAME_VAR = 2, FRAME_MASK = 4, FRAME_ALL = 7 };

void frame_init(struct frame *f);
void frame_release(struct frame *f); /* takes a zeroed or half-built frame */

/* Give f planes of nx by ny pixels, zero filled. ERR_SHAPE for a side < 1 or > FRAME_MAX_SIDE; ERR_NOMEM. */
enum err frame_alloc(struct frame *f, int64_t nx, int64_t ny, int planes, struct error *err);

static inline int64_t frame_npix(const struct frame *f)
{
    return f->nx * f->ny;
}

/* A section of a detector, 0-based, half-open: [x0, x1) by [y0, y1). */
struct section {
    int64_t x0, x1, y0, y1;
};

static inline int64_t section_nx(struct section s) { return s.x1 - s.x0; }
static inline int64_t section_ny(struct section s) { return s.y1 - s.y0; }

/* Parse an IRAF section "[x1:x2,y1:y2]" (1-based, inclusive; "*" and reversed ranges allowed: flips are reported) or the
 * one-axis and numpy-like forms seen in real headers ("[4096:4109]"), against a detector of nx by ny.
 * Returned: *ret within the detector; *flip_x, *flip_y (may be NULL) true where the range runs backwards.
 * Status: ERR_CORRUPT if it cannot be read, ERR_SHAPE if it leaves the detector. */
enum err section_parse(const char *text, int64_t nx, int64_t ny, struct section *ret, bool *flip_x, bool *flip_y,
                       struct error *err);

#endif
