#include "common/text.h"

#include <ctype.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_LETTERS 64
#define FAR              1000

static int letter(char c)
{
    return c == '.' || c == '_' ? '-' : tolower((unsigned char)c);
}

static int min2(int a, int b)
{
    return a < b ? a : b;
}

int text_distance(const char *a, const char *b)
{
    size_t na = strlen(a), nb = strlen(b);
    if (na > NAME_MAX_LETTERS || nb > NAME_MAX_LETTERS) return FAR;
    int row[3][NAME_MAX_LETTERS + 1]; /* the last three rows of the alignment, used in turn */
    for (size_t j = 0; j <= nb; j++) row[0][j] = (int)j;
    for (size_t i = 1; i <= na; i++) {
        int *now = row[i % 3], *last = row[(i + 2) % 3], *before = row[(i + 1) % 3];
        now[0] = (int)i;
        for (size_t j = 1; j <= nb; j++) {
            int same = letter(a[i - 1]) == letter(b[j - 1]);
            now[j] = min2(min2(last[j] + 1, now[j - 1] + 1), last[j - 1] + !same);
            if (i > 1 && j > 1 && letter(a[i - 1]) == letter(b[j - 2]) && letter(a[i - 2]) == letter(b[j - 1]))
                now[j] = min2(now[j], before[j - 2] + 1);
        }
    }
    return row[na % 3][nb];
}

bool text_same_name(const char *a, const char *b)
{
    while (*a && letter(*a) == letter(*b)) a++, b++;
    return !*a && !*b;
}

void text_nearest_offer(struct text_nearest *n, const char *name)
{
    int d = text_distance(n->wanted, name);
    if (3 * d > (int)strlen(name) || (n->name && d >= n->distance)) return;
    n->name = name;
    n->distance = d;
}

bool text_matches(const char *pattern, const char *s)
{
    return fnmatch(pattern, s, FNM_CASEFOLD | FNM_NOESCAPE) == 0;
}

/* Length of the valid UTF-8 sequence at s, 0 if there is none. Source: Unicode 15, table 3-7. */
static size_t utf8_length(const unsigned char *s)
{
    static const struct {
        unsigned char first, last, low, high;
        size_t length;
    } rows[] = {{0xC2, 0xDF, 0x80, 0xBF, 2}, {0xE0, 0xE0, 0xA0, 0xBF, 3}, {0xE1, 0xEC, 0x80, 0xBF, 3},
                {0xED, 0xED, 0x80, 0x9F, 3}, {0xEE, 0xEF, 0x80, 0xBF, 3}, {0xF0, 0xF0, 0x90, 0xBF, 4},
                {0xF1, 0xF3, 0x80, 0xBF, 4}, {0xF4, 0xF4, 0x80, 0x8F, 4}};
    if (s[0] >= 0x20 && s[0] < 0x7F) return 1;
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        if (s[0] < rows[r].first || s[0] > rows[r].last || s[1] < rows[r].low || s[1] > rows[r].high) continue;
        for (size_t k = 2; k < rows[r].length; k++)
            if (s[k] < 0x80 || s[k] > 0xBF) return 0;
        return rows[r].length;
    }
    return 0;
}

char *text_clean(char *dst, size_t size, const char *src)
{
    const unsigned char *s = (const unsigned char *)src;
    size_t n = 0;
    while (*s) {
        size_t length = utf8_length(s);
        size_t need = length ? length : 1;
        if (n + need >= size) break;
        if (length)
            memcpy(dst + n, s, length);
        else
            dst[n] = '?';
        n += need;
        s += need;
    }
    dst[n] = '\0';
    return dst;
}

char *text_trim(char *dst, size_t size, const char *src)
{
    while (isspace((unsigned char)*src)) src++;
    size_t n = strlen(src);
    while (n && isspace((unsigned char)src[n - 1])) n--;
    if (n >= size) n = size - 1;
    memmove(dst, src, n);
    dst[n] = '\0';
    return dst;
}

char *text_read_file(const char *path, size_t max, size_t *ret_size)
{
    FILE *f = fopen(path, "re");
    if (!f) return NULL;
    char *text = NULL;
    size_t n = 0, capacity = 0;
    int failure = 0;
    for (;;) {
        if (capacity - n < 2) {
            capacity = capacity ? 2 * capacity : 4096;
            char *grown = realloc(text, capacity);
            if (!grown) {
                failure = ENOMEM;
                break;
            }
            text = grown;
        }
        size_t got = fread(text + n, 1, capacity - n - 1, f);
        n += got;
        if (n > max) {
            failure = EFBIG;
            break;
        }
        if (!got) {
            failure = ferror(f) ? (errno ? errno : EIO) : 0;
            break;
        }
    }
    fclose(f);
    if (failure) {
        free(text);
        errno = failure;
        return NULL;
    }
    text[n] = '\0';
    if (ret_size) *ret_size = n;
    return text;
}
