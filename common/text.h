/* Small work on words: the nearest known name for an error's hint, patterns without regard to case, text fit for JSON. */
#ifndef NIGHTSHIFT_COMMON_TEXT_H
#define NIGHTSHIFT_COMMON_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Steps from a to b: insertions, deletions, replacements and swaps of neighbours (optimal string alignment); '.', '_' and
 * '-' count as one letter, case does not count. Names over 64 characters are infinitely far (1000). */
int text_distance(const char *a, const char *b);

/* Distance 0, without counting. */
bool text_same_name(const char *a, const char *b);

/* Keeps the nearest name seen: start with {0}, offer each name, read `name` (NULL when none is near enough to be meant:
 * more than a third of its letters differ). */
struct text_nearest {
    const char *wanted;
    const char *name;
    int distance;
};
void text_nearest_offer(struct text_nearest *n, const char *name);

/* Shell pattern (* ? [a-z]) against the whole of s, without regard to case. */
bool text_matches(const char *pattern, const char *s);

/* Copy cut at size - 1 bytes, as valid UTF-8: control characters and broken sequences become '?'. Returned: dst. */
char *text_clean(char *dst, size_t size, const char *src);

/* Copy without leading and trailing blanks, cut at size - 1. Returned: dst. */
char *text_trim(char *dst, size_t size, const char *src);

/* A whole file, NUL-terminated, at most max bytes; *ret_size (may be NULL) without the NUL. NULL with errno set (EFBIG:
 * larger); the caller frees it. */
char *text_read_file(const char *path, size_t max, size_t *ret_size);

#endif
