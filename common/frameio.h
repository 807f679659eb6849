/* FITS files, read and written here from the standard (FITS 4.0); cfitsio is the oracle of the tests.
 *
 * Each frameio_in belongs to one thread; different files may be read by different threads at once. Files are read from
 * .fits, .fits.fz, .fits.gz, .fits.bz2, whatever their names: the first bytes decide.
 * Nothing is half-written: writers use a temporary file beside the target, fsync and rename (atomicfile.h).
 *
 * Same bytes: dither seeds come from the caller, CHECKSUM comments are constant, DATE is written only when
 * SOURCE_DATE_EPOCH is set; no clock, host or thread count enters a file.                                           */
#ifndef NIGHTSHIFT_COMMON_FRAMEIO_H
#define NIGHTSHIFT_COMMON_FRAMEIO_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/frame.h"
#include "common/header.h"

/* ---- reading -------------------------------------------------------------------------------------------------- */

struct frameio_in;

enum hdu_kind { HDU_IMAGE, HDU_ASCII_TABLE, HDU_BINARY_TABLE };

struct hdu_info {
    enum hdu_kind kind;      /* a tile-compressed image is HDU_IMAGE */
    bool compressed;
    int naxis;
    int64_t axis[4];         /* axis[0] = nx; for tables axis[0] = columns, axis[1] = rows */
    int bitpix;              /* of the stored (uncompressed) pixels: 8, 16, 32, 64, -32, -64; 0 for tables */
    bool unsigned16;         /* BITPIX 16 with BZERO 32768 and BSCALE 1 */
    char extname[72];
    int extver;
};

/* Status: ERR_NOT_FOUND, ERR_UNREADABLE (permission, directory, not FITS), ERR_CORRUPT, ERR_IO, ERR_NOMEM. */
enum err frameio_open(const char *path, struct frameio_in **ret, struct error *err);
/* The same without looking beyond the first HDU: the others are read when they are asked for (headers of many files). */
enum err frameio_open_lazily(const char *path, struct frameio_in **ret, struct error *err);
void frameio_close(struct frameio_in *f); /* takes NULL */
int frameio_hdu_count(struct frameio_in *f); /* HDUs found; a damaged tail ends the count (frameio_open reports it as a doubt) */

/* hdu is 1-based, as FITS and its users count. */
enum err frameio_hdu_info(struct frameio_in *f, int hdu, struct hdu_info *ret, struct error *err);
enum err frameio_hdu_header(struct frameio_in *f, int hdu, struct header *ret, struct error *err); /* cards as stored; a compressed image gives the header of the image it stands for */

/* The same with the primary's cards merged in (what instrument_meta() takes). ERR_CORRUPT when the file ends before the HDU's
 * data do; that is not looked at in files that must be inflated first. */
enum err frameio_merged_header(struct frameio_in *f, int hdu, struct header *ret, struct error *err);

/* The first HDU that holds a two-dimensional image (or a cube of one plane), 0 if none. */
int frameio_first_image(struct frameio_in *f);

/* Read rows [y0, y1) of an image, physical values (BSCALE/BZERO applied), BLANK as NaN.
 * Given:  dst   (y1 - y0) * nx floats
 * Status: ERR_SHAPE when the rows leave the image; ERR_CORRUPT when the file ends early or a tile does not decode */
enum err frameio_read_rows_f32(struct frameio_in *f, int hdu, int64_t y0, int64_t y1, float *dst, struct error *err);
/* The same without conversion, for images with unsigned16 true (else ERR_UNSUPPORTED). */
enum err frameio_read_rows_u16(struct frameio_in *f, int hdu, int64_t y0, int64_t y1, uint16_t *dst, struct error *err);

/* Verify CHECKSUM/DATASUM of every HDU that has them. ERR_CORRUPT names the HDU. */
enum err frameio_verify_checksums(struct frameio_in *f, struct error *err);
/* DATASUM of one HDU, if it has one: its pixels are as they were written. CHECKSUM is left alone, since observatories edit
 * headers and forget it. */
enum err frameio_verify_data(struct frameio_in *f, int hdu, struct error *err);

/* Read one image HDU (0: the first) into a new frame with a SCI plane; primary cards are inherited unless the extension
 * says INHERIT = F or has the keyword itself. f becomes valid only on success; release it with frame_release(). */
enum err frameio_read_image(const char *path, int hdu, struct frame *ret, struct error *err);

/* Read a product of reduce back: SCI, VAR, MASK planes as present. */
enum err frameio_read_product(const char *path, struct frame *ret, struct error *err);

/* The header that scan and the planner need: primary merged with image HDU `hdu` (0: the first image, or the primary). */
enum err frameio_read_header(const char *path, int hdu, struct header *ret, struct error *err);

/* ---- writing -------------------------------------------------------------------------------------------------- */

/* Write a calibrated frame: an empty primary with the header's cards, then SCI, VAR, MASK (those present) tile-compressed
 * (RICE_1; float planes quantised at q = 4 with SUBTRACTIVE_DITHER_2, MASK lossless), CHECKSUM and DATASUM in each HDU.
 * Given:  dither_seed  1..10000, from the exposure id
 * Status: ERR_NO_SPACE, ERR_UNREADABLE (no permission), ERR_IO; on failure no file of that name is made or changed */
struct frameio_write_options {
    int dither_seed;
    float quantise_q;        /* 4; 0: lossless float (GZIP) */
    bool compress;           /* false: plain .fits with float32 planes */
    bool loose;              /* an attempt: not synced, the caller commits it (atomicfile_commit_all) */
};
enum err frameio_write_product(const char *path, const struct frame *f, const struct frameio_write_options *opt,
                               struct error *err);

/* General image HDUs for raw frames, masters and check-images: one file, any number of HDUs. */
enum image_type { IMAGE_U16, IMAGE_I16, IMAGE_I32, IMAGE_F32, IMAGE_U8, IMAGE_EMPTY };

struct image_hdu {
    enum image_type type;        /* IMAGE_EMPTY: header only (a primary without data) */
    int64_t nx, ny;
    const void *data;            /* nx * ny pixels of the type, row-major */
    const struct header *header; /* cards to add; structural keywords in it are ignored; may be NULL */
    const char *extname;         /* NULL for none */
};
struct images_write_options {
    bool compress;       /* tile compression: RICE_1 for integers, quantised RICE (q) for floats */
    float quantise_q;    /* for IMAGE_F32 with compress; 0: lossless */
    int dither_seed;
    bool checksum;
    bool loose;          /* as above */
};
enum err frameio_write_images(const char *path, const struct image_hdu *hdus, int n, const struct images_write_options *opt,
                              struct error *err);

/* ---- tables --------------------------------------------------------------------------------------------------- */

enum column_type { COLUMN_I16, COLUMN_I32, COLUMN_I64, COLUMN_F32, COLUMN_F64, COLUMN_STRING, COLUMN_BOOL, COLUMN_U8 };

struct column {
    const char *name;        /* TTYPE */
    const char *unit;        /* TUNIT, "" or NULL for none */
    const char *comment;     /* comment of TTYPE (the column's meaning) */
    const char *ucd;         /* TUCD, NULL for none */
    const char *display;     /* TDISP, NULL for none */
    enum column_type type;
    int repeat;              /* elements per row; for COLUMN_STRING the width in characters */
    const void *data;        /* nrow * repeat elements; strings nrow * repeat bytes, NUL or blank padded */
    const char *dim;         /* TDIM, NULL for none */
};
struct table_hdu {
    const char *extname;
    int64_t nrow;
    int ncol;
    const struct column *columns;
    const struct header *header; /* extra cards, may be NULL */
};
/* Write primary (with cards of `primary`, may be NULL) and n binary tables. Atomic, with checksums. */
enum err frameio_write_tables(const char *path, const struct header *primary, const struct table_hdu *tables, int n,
                              struct error *err);

/* FITS_LDAC: for each of n catalogues an LDAC_IMHEAD table (one row: the image header as 80-character cards) and an
 * LDAC_OBJECTS table. Source: SExtractor and SCAMP manuals, "FITS_LDAC". */
struct ldac_part {
    const struct header *image_header;
    struct table_hdu objects;   /* extname is set to LDAC_OBJECTS */
    bool loose;                 /* of the first part: the file is an attempt, as in frameio_write_options */
};
enum err frameio_write_ldac(const char *path, const struct ldac_part *parts, int n, struct error *err);

/* A table read whole: columns by name as doubles (integers exact to 2^53), int64 or strings. */
struct table;
enum err table_read(const char *path, const char *extname, int extver, struct table **ret, struct error *err); /* extname NULL: the first table */
enum err table_read_hdu(const char *path, int hdu, struct table **ret, struct error *err); /* 1-based */
void table_free(struct table *t);
int64_t table_nrow(const struct table *t);
int table_ncol(const struct table *t);
const char *table_column_name(const struct table *t, int col);
int table_find(const struct table *t, const char *column);        /* any case; -1 if none */
int table_repeat(const struct table *t, int col);
bool table_is_numeric(const struct table *t, int col);            /* then NULL of table_f64() means no memory */
bool table_is_text(const struct table *t, int col);               /* then NULL of table_str() for a row there means no memory */
const double *table_f64(struct table *t, int col);                /* nrow * repeat, owned by t; NULL if not numeric or no memory */
const int64_t *table_i64(struct table *t, int col);               /* NULL if not an integer column */
const char *table_str(struct table *t, int col, int64_t row);     /* trimmed, owned by t; NULL if not a string column */
const uint8_t *table_bytes(const struct table *t, int col, int64_t row, int64_t *ret_size); /* a cell as stored; NULL outside */
const struct header *table_header(const struct table *t);

#endif
