/* A FITS header as text: 80-character cards in one buffer, with lenient typed getters.
 *
 * The text is exactly what wcslib's wcspih() takes. Parsing follows FITS 4.0 section 4 (fixed and free format, HIERARCH,
 * CONTINUE long strings); the getters also accept what real cameras write: numbers in quotes, D exponents, 'T'/'true'.
 * Keywords are matched without regard to case; the first card of a repeated keyword wins, as in cfitsio.
 * Threads: a header may be read by many threads; it is changed by one.                                             */
#ifndef NIGHTSHIFT_COMMON_HEADER_H
#define NIGHTSHIFT_COMMON_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define CARD_LENGTH      80
#define HEADER_CARDS_MAX 200000 /* more is refused as corrupt */

struct header {
    char *text;      /* n * 80 characters, no terminator, without END */
    int64_t n;       /* cards in use */
    int64_t capacity;
};

void header_init(struct header *h);
void header_release(struct header *h); /* takes a zeroed struct; leaves it empty and usable */

/* Replace the contents by n_cards cards of text (80 characters each; stops at END). ERR_NOMEM, ERR_CORRUPT. */
enum err header_parse(struct header *h, const char *text, int64_t n_cards, struct error *err);
enum err header_copy(struct header *dst, const struct header *src, struct error *err);

/* Index of the first card with this keyword (HIERARCH names as "ESO DET CHIP"), -1 if none. */
int64_t header_find(const struct header *h, const char *keyword);
bool header_has(const struct header *h, const char *keyword);

/* Getters. Returned: true and *ret when the keyword is there and readable as the type; else false, *ret untouched.
 * Strings are trimmed on the right, quotes doubled are undone, CONTINUE joined; cut at size - 1. */
bool header_get_str(const struct header *h, const char *keyword, char *ret, size_t size);
bool header_get_double(const struct header *h, const char *keyword, double *ret); /* finite numbers only */
bool header_get_int(const struct header *h, const char *keyword, int64_t *ret);
bool header_get_bool(const struct header *h, const char *keyword, bool *ret);

/* Setters replace the first card of the keyword or append one. comment may be NULL. Long strings use CONTINUE; keywords
 * over 8 characters or with blanks use HIERARCH. Numbers are written with the fewest digits that read back equal. */
enum err header_set_str(struct header *h, const char *keyword, const char *value, const char *comment);
enum err header_set_double(struct header *h, const char *keyword, double value, const char *comment); /* NaN: no value */
enum err header_set_int(struct header *h, const char *keyword, int64_t value, const char *comment);
enum err header_set_bool(struct header *h, const char *keyword, bool value, const char *comment);
enum err header_add_text(struct header *h, const char *keyword, const char *text); /* HISTORY, COMMENT; wraps at 72 */
enum err header_append_card(struct header *h, const char card[CARD_LENGTH]);

void header_remove(struct header *h, const char *keyword); /* all cards of that name */
/* Remove each keyword that matches a shell pattern: "NAXIS*", "TTYPE*". */
void header_remove_matching(struct header *h, const char *pattern);

#endif
