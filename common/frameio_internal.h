/* What the files of frameio share; nobody else includes this.
 *
 *     path --frameio_source.c--> bytes (plain, inflated or in memory)
 *          --frameio_scan.c----> HDUs: cards, sizes, kinds        (no pixel is read, no size is believed)
 *          --frameio_read.c----> pixels of plain images
 *            frameio_tiles.c     pixels of tile-compressed images
 *            frameio_table.c     tables
 *            frameio_codec.c     Rice, gzip, PLIO, quantisation: arrays in, arrays out
 *            frameio_hcompress.c the decoder of a codec that only old files use
 *     frames --frameio_pack.c--> tiles --frameio_out.c--> a file that appears whole or not at all
 *
 * DESIGN. cfitsio believes what a header says, sanitizers do not see into it, and a damaged HCOMPRESS tile makes it wait for
 * itself for ever. So files are read and written here, from the standard, and the tests compare with cfitsio.      */
#ifndef NIGHTSHIFT_COMMON_FRAMEIO_INTERNAL_H
#define NIGHTSHIFT_COMMON_FRAMEIO_INTERNAL_H

#include "common/frameio.h"

#define FITS_BLOCK 2880

static inline int64_t round_to_block(int64_t n)
{
    return (n + FITS_BLOCK - 1) / FITS_BLOCK * FITS_BLOCK;
}

/* ---- frameio_source.c: bytes ------------------------------------------------------------------------------------ */

#define SOURCE_INFLATE_MAX ((int64_t)4 << 30) /* a .gz or .bz2 that inflates to more is refused */

struct source;

enum err source_open(const char *path, struct source **ret, struct error *err);
struct source *source_memory(const void *data, int64_t size); /* borrows data; NULL: no memory */
void source_close(struct source *s);
const char *source_path(const struct source *s);

/* Copy up to n bytes from offset; *ret_got is less than n only where the file ends (or its compressed stream breaks). */
enum err source_read(struct source *s, int64_t offset, void *dst, int64_t n, int64_t *ret_got, struct error *err);
/* Are there bytes up to `end`? Inflates as far as needed. */
enum err source_reaches(struct source *s, int64_t end, bool *ret, struct error *err);
bool source_is_inflated(const struct source *s);
/* Bytes known to be there: the file size, or what has been inflated. */
int64_t source_known_size(const struct source *s);
const char *source_damage(const struct source *s); /* "the gzip stream ends early", NULL if none seen */

/* ---- frameio_scan.c: HDUs --------------------------------------------------------------------------------------- */

struct hdu {
    int64_t header_at, data_at;
    int64_t data_size;       /* as the header claims, without padding */
    struct header cards;     /* as stored */
    struct hdu_info info;
    int64_t planes;          /* product of the axes beyond the second; 1 for an image */
    bool groups, foreign;    /* random groups; an extension of unknown type */
    double bscale, bzero;
    bool has_blank;
    int64_t blank;
    int64_t row_size, nrow, pcount; /* tables and compressed images: NAXIS1, NAXIS2, PCOUNT as stored */
    int tfields;
};

struct tiles;

struct frameio_in {
    struct source *source;
    struct hdu **hdus;
    int n, capacity;
    bool scanned;            /* no HDU beyond n */
    struct error doubt;      /* what is odd about the tail; its code is 0 if no HDU was lost */
    struct tiles *tiles;     /* the compressed HDU opened last */
};

enum err scan_open(struct source *source, struct frameio_in **ret, struct error *err); /* owns source from now on */
enum err scan_next(struct frameio_in *f, struct error *err);     /* one more HDU, or scanned = true */
enum err scan_hdu(struct frameio_in *f, int hdu, struct hdu **ret, struct error *err); /* 1-based; scans as far as needed */
enum err scan_first_image(struct frameio_in *f, int *ret_hdu, struct error *err);      /* 0: none */
bool hdu_is_image(const struct hdu *h);                          /* two-dimensional, or a cube of one plane */
enum err hdu_require_data(struct frameio_in *f, int hdu, struct hdu *h, struct error *err); /* all of its bytes are there */
enum err hdu_error(const struct frameio_in *f, int hdu, struct error *err, enum err code); /* names path and HDU */

/* Header of the image a compressed HDU stands for. */
enum err image_cards(const struct hdu *h, struct header *ret, struct error *err);
/* The first eight characters of a card, trimmed: its keyword, HIERARCH included. */
void card_keyword(const char *card, char ret[9]);
int element_size(char type); /* bytes of a binary-table type letter (P and Q: of the descriptor), 0 for none known */
bool is_structural(const char *keyword); /* SIMPLE, NAXISn, BSCALE, CHECKSUM ...: written by us, never copied */

/* ---- frameio_read.c --------------------------------------------------------------------------------------------- */

/* Read an image HDU (0: there is none, an error) as the SCI plane of an empty frame, with header and unit. */
enum err read_sci(struct frameio_in *f, int hdu, struct frame *ret, struct error *err);

/* n pixels as an image of this HDU stores them, to physical values. */
void pixels_to_floats(const struct hdu *h, const uint8_t *src, float *dst, int64_t n);

/* ---- frameio_tiles.c: the tile codec ---------------------------------------------------------------------------- */

enum err tiles_read_rows(struct frameio_in *f, int hdu, int64_t y0, int64_t y1, float *f32, uint16_t *u16, struct error *err);
void tiles_free(struct tiles *t);

/* ---- frameio_out.c: writing a file that appears whole or not at all --------------------------------------------- */

struct out {
    char *path, *temporary;
    int fd;
    int64_t at;              /* bytes written */
    bool checksum;
    bool loose;              /* whole when it has its name, but not durable: the caller commits it */
    struct header cards;     /* header of the HDU in hand */
    int64_t header_at, data_at;
    uint64_t data_sum;       /* sum of the 32-bit words of the data unit so far, not folded */
    uint8_t tail[4];         /* bytes of a word not yet complete */
    int tail_size;
};

enum err out_open(struct out *o, const char *path, bool checksum, struct error *err);
/* Begin an HDU whose cards are in o->cards, complete but for DATE, CHECKSUM and DATASUM. */
enum err out_begin_hdu(struct out *o, struct error *err);
enum err out_data(struct out *o, const void *bytes, int64_t size, struct error *err);
enum err out_end_hdu(struct out *o, uint8_t fill, struct error *err); /* pads the data with `fill`, writes the header */
enum err out_commit(struct out *o, struct error *err);
void out_abandon(struct out *o); /* removes the temporary file; also after a commit, then without effect */

/* Copy the cards of src that are not structural, each made valid FITS (upper-case keywords and exponents, quotes closed);
 * what cannot be mended becomes a COMMENT. src may be NULL. */
enum err copy_cards(struct header *dst, const struct header *src, struct error *err);
/* Sum of 32-bit big-endian words with end-around carry, folded. */
uint32_t checksum_fold(uint64_t sum);
uint64_t checksum_words(const uint8_t *p, int64_t words);

/* ---- frameio_pack.c: compressing into tiles --------------------------------------------------------------------- */

struct packed {
    struct header cards;     /* XTENSION to the last Z keyword */
    uint8_t *data;
    int64_t size;
};
enum err pack_image(const struct image_hdu *hdu, const struct images_write_options *opt, struct packed *ret, struct error *err);
void packed_release(struct packed *p);

#endif
