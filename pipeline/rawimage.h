/* One CCD of one raw file: where it stands, what its header means, its pixels.
 *
 *     raw_file_open -> raw_file_ccds -> raw_file_meta -> raw_file_rows ... -> raw_file_close
 *
 * Threads: a raw_file belongs to one thread at a time, as the FITS handle inside does.                                */
#ifndef NIGHTSHIFT_PIPELINE_RAWIMAGE_H
#define NIGHTSHIFT_PIPELINE_RAWIMAGE_H

#include "common/frameio.h"
#include "common/instrument.h"
#include "processors/overscan.h"

struct raw_file;

enum err raw_file_open(const char *path, const struct instruments *set, const struct settings *s, struct raw_file **ret,
                       struct error *err);
void raw_file_close(struct raw_file *f); /* takes NULL */

const struct instrument *raw_file_instrument(const struct raw_file *f);

/* HDUs that hold CCDs. Returned: count, at most max. */
int raw_file_ccds(struct raw_file *f, int *ret_hdus, int max);

/* Meaning of one of them; header (may be NULL) receives its cards with those of the primary merged in. One amplifier
 * that covers the array stands in when the instrument names none. */
enum err raw_file_meta(struct raw_file *f, int hdu, const struct settings *s, struct exposure_meta *ret, struct header *header,
                       struct error *err);

/* Stored rows [y0, y1) into buffer, which has room for (y1 - y0) * raw_nx floats; rows of flip_x amplifiers are reversed.
 * Returned: ret->u16 or ret->f32 is the buffer */
enum err raw_file_rows(struct raw_file *f, int hdu, const struct exposure_meta *meta, int64_t y0, int64_t y1, void *buffer,
                       struct raw_rows *ret, struct error *err);

/* Are the pixels of this HDU those that its DATASUM, if there is one, was made from? ERR_CORRUPT if not. */
enum err raw_file_verify(struct raw_file *f, int hdu, struct error *err);

/* Bytes a stored pixel takes in the buffer: 2 or 4. */
int raw_file_pixel_bytes(struct raw_file *f, int hdu);

/* Is the file one of our own products or masters (not to be taken for a raw frame)? */
bool header_is_product(const struct header *h);

/* Raw FITS files below the operands: files as they are, folders searched (recursively, names sorted; hidden folders and
 * `masters`, `quality` are passed over). Returned: malloc'd list of malloc'd paths; file_list_release() frees it. */
struct file_list {
    int n, capacity;
    char **path;
    bool *named;      /* by the user; false: met in a folder, where tables and other things may lie as well */
};
enum err file_list_collect(const char *const *operands, int n, struct file_list *ret, struct error *err);
void file_list_release(struct file_list *l);

#endif
