/* FITS header cards: FITS 4.0 sections 4.1-4.2 and the ESO HIERARCH convention.
 *
 * DESIGN. Cards stay text; nothing is parsed before it is asked for. A lookup compares eight bytes per card, so a header
 * of 600 cards costs less than a microsecond; only cards that begin with HIERARCH are looked at twice.             */
#include "common/header.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NAME_LENGTH    8
#define NAME_MAX_LONG  72 /* HIERARCH names are shorter than this */
#define VALUE_COLUMN   10
#define STRING_MAX     68 /* characters between the quotes of one card */

void header_init(struct header *h)
{
    *h = (struct header){0};
}

void header_release(struct header *h)
{
    free(h->text);
    *h = (struct header){0};
}

static enum err reserve(struct header *h, int64_t n, struct error *err)
{
    if (n > HEADER_CARDS_MAX) return ERROR(err, ERR_CORRUPT, "header has more than %d cards", HEADER_CARDS_MAX);
    if (n <= h->capacity) return ERR_OK;
    int64_t capacity = h->capacity ? h->capacity : 72;
    while (capacity < n) capacity *= 2;
    char *text = realloc(h->text, (size_t)capacity * CARD_LENGTH);
    if (!text) return ERROR(err, ERR_NOMEM, "no memory for a header of %lld cards", (long long)n);
    h->text = text;
    h->capacity = capacity;
    return ERR_OK;
}

static char *card_at(const struct header *h, int64_t i)
{
    return h->text + i * CARD_LENGTH;
}

/* FITS allows printable ASCII alone; a line break becomes a blank, any other byte a question mark. */
static char printable(char c)
{
    unsigned char u = (unsigned char)c;
    if (u >= 32 && u < 127) return c;
    return u < 32 ? ' ' : '?';
}

enum err header_parse(struct header *h, const char *text, int64_t n_cards, struct error *err)
{
    int64_t n = 0;
    while (n < n_cards && memcmp(text + n * CARD_LENGTH, "END     ", NAME_LENGTH) != 0) n++;
    enum err code = reserve(h, n, err);
    if (code) return code;
    for (int64_t i = 0; i < n * CARD_LENGTH; i++) h->text[i] = printable(text[i]);
    h->n = n;
    return ERR_OK;
}

enum err header_copy(struct header *dst, const struct header *src, struct error *err)
{
    if (dst == src) return ERR_OK;
    enum err code = reserve(dst, src->n, err);
    if (code) return code;
    if (src->n) memcpy(dst->text, src->text, (size_t)src->n * CARD_LENGTH);
    dst->n = src->n;
    return ERR_OK;
}

/* ---- names ------------------------------------------------------------------------------------------------------ */

static bool is_hierarch(const char *card)
{
    return memcmp(card, "HIERARCH ", 9) == 0;
}

/* Name of a card, trimmed: the first eight characters, or what stands between HIERARCH and the equals sign. */
static void card_name(const char *card, char name[CARD_LENGTH + 1])
{
    const char *start = card, *end = card + NAME_LENGTH;
    if (is_hierarch(card)) {
        const char *equals = memchr(card, '=', CARD_LENGTH);
        if (equals) {
            start = card + 9;
            end = equals;
        }
    }
    while (start < end && *start == ' ') start++;
    while (end > start && end[-1] == ' ') end--;
    memcpy(name, start, (size_t)(end - start));
    name[end - start] = '\0';
}

static bool is_continue(const char *card)
{
    return memcmp(card, "CONTINUE", NAME_LENGTH) == 0;
}

int64_t header_find(const struct header *h, const char *keyword)
{
    size_t length = strlen(keyword);
    char padded[NAME_LENGTH + 1] = "        ";
    if (length <= NAME_LENGTH) memcpy(padded, keyword, length);
    for (int64_t i = 0; i < h->n; i++) {
        const char *card = card_at(h, i);
        if (is_hierarch(card)) {
            char name[CARD_LENGTH + 1];
            card_name(card, name);
            if (strcasecmp(name, keyword) == 0) return i;
        } else if (length <= NAME_LENGTH && (card[0] | 32) == (padded[0] | 32) &&
                   strncasecmp(card, padded, NAME_LENGTH) == 0) {
            return i;
        }
    }
    return -1;
}

bool header_has(const struct header *h, const char *keyword)
{
    return header_find(h, keyword) >= 0;
}

/* ---- reading values --------------------------------------------------------------------------------------------- */

/* Where the value begins, NULL for a card without one. Lenient: some cameras leave out the blank after the equals sign. */
static const char *value_start(const char *card)
{
    if (is_hierarch(card)) {
        const char *equals = memchr(card, '=', CARD_LENGTH);
        return equals ? equals + 1 : NULL;
    }
    if (is_continue(card)) return card + NAME_LENGTH;
    return card[NAME_LENGTH] == '=' ? card + NAME_LENGTH + 1 : NULL;
}

struct value {
    bool quoted;
    char text[CARD_LENGTH + 1]; /* trimmed on the right, quotes undone */
};

static void trim_right(char *s)
{
    size_t n = strlen(s);
    while (n && s[n - 1] == ' ') s[--n] = '\0';
}

static bool card_value(const char *card, struct value *v)
{
    const char *p = value_start(card), *end = card + CARD_LENGTH;
    if (!p) return false;
    while (p < end && *p == ' ') p++;
    size_t n = 0;
    v->quoted = p < end && *p == '\'';
    if (v->quoted) {
        for (p++; p < end; p++) {
            if (*p == '\'' && !(p + 1 < end && p[1] == '\'')) break;
            if (*p == '\'') p++;
            v->text[n++] = *p;
        }
    } else {
        while (p < end && *p != '/') v->text[n++] = *p++;
    }
    v->text[n] = '\0';
    trim_right(v->text);
    return v->quoted || v->text[0];
}

static void append_text(char *ret, size_t size, const char *text)
{
    size_t used = strlen(ret);
    if (used + 1 < size) snprintf(ret + used, size - used, "%s", text);
}

bool header_get_str(const struct header *h, const char *keyword, char *ret, size_t size)
{
    struct value v;
    int64_t i = header_find(h, keyword);
    if (i < 0 || size == 0 || !card_value(card_at(h, i), &v)) return false;
    ret[0] = '\0';
    for (;;) {
        size_t n = strlen(v.text);
        bool more = v.quoted && n && v.text[n - 1] == '&' && i + 1 < h->n && is_continue(card_at(h, i + 1));
        if (more) v.text[n - 1] = '\0';
        append_text(ret, size, v.text);
        if (!more || !card_value(card_at(h, ++i), &v)) break;
    }
    trim_right(ret);
    return true;
}

/* Text of a number with D exponents turned into E; false when a character has no place in a number (so that strtod
 * sees neither "nan" nor hexadecimals). */
static bool number_text(const struct header *h, const char *keyword, char *buf)
{
    struct value v;
    int64_t i = header_find(h, keyword);
    if (i < 0 || !card_value(card_at(h, i), &v)) return false;
    const char *p = v.text;
    while (*p == ' ') p++;
    if (!*p) return false;
    for (; *p; p++, buf++) {
        if (!isdigit((unsigned char)*p) && !strchr("+-.eEdD", *p)) return false;
        *buf = (*p == 'd' || *p == 'D') ? 'E' : *p;
    }
    *buf = '\0';
    return true;
}

bool header_get_double(const struct header *h, const char *keyword, double *ret)
{
    char text[CARD_LENGTH + 1], *end;
    if (!number_text(h, keyword, text)) return false;
    double value = strtod(text, &end);
    if (end == text || *end || !isfinite(value)) return false;
    *ret = value;
    return true;
}

bool header_get_int(const struct header *h, const char *keyword, int64_t *ret)
{
    char text[CARD_LENGTH + 1], *end;
    if (!number_text(h, keyword, text)) return false;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end != text && !*end && !errno) {
        *ret = value;
        return true;
    }
    double real; /* "5." and "1E3" are integers to the cameras that write them */
    if (!header_get_double(h, keyword, &real) || real != floor(real) || fabs(real) > 9007199254740992.0) return false;
    *ret = (int64_t)real;
    return true;
}

bool header_get_bool(const struct header *h, const char *keyword, bool *ret)
{
    struct value v;
    int64_t i = header_find(h, keyword);
    if (i < 0 || !card_value(card_at(h, i), &v)) return false;
    const char *p = v.text;
    while (*p == ' ') p++;
    bool yes = !strcasecmp(p, "T") || !strcasecmp(p, "true");
    if (!yes && strcasecmp(p, "F") && strcasecmp(p, "false")) return false;
    *ret = yes;
    return true;
}

/* ---- writing values --------------------------------------------------------------------------------------------- */

/* The cards of one keyword while they are made: one, or more with CONTINUE. */
struct cards {
    char *text;
    int64_t n;
};

static bool cards_add(struct cards *c, const char *line)
{
    char *text = realloc(c->text, (size_t)(c->n + 1) * CARD_LENGTH);
    if (!text) return false;
    c->text = text;
    char *card = text + c->n++ * CARD_LENGTH;
    size_t n = strlen(line);
    if (n > CARD_LENGTH) n = CARD_LENGTH;
    memset(card, ' ', CARD_LENGTH);
    for (size_t i = 0; i < n; i++) card[i] = printable(line[i]);
    return true;
}

static bool fits_name(const char *keyword)
{
    if (!*keyword || strlen(keyword) > NAME_LENGTH) return false;
    for (; *keyword; keyword++)
        if (!isalnum((unsigned char)*keyword) && *keyword != '-' && *keyword != '_') return false;
    return true;
}

/* "KEYWORD = " or "HIERARCH LONG NAME = ", upper case. */
static enum err card_start(const char *keyword, char start[CARD_LENGTH + 1])
{
    if (fits_name(keyword)) {
        snprintf(start, CARD_LENGTH + 1, "%-8s= ", keyword);
    } else {
        if (!*keyword || strlen(keyword) >= NAME_MAX_LONG - 20 || strchr(keyword, '=')) return ERR_UNSUPPORTED;
        snprintf(start, CARD_LENGTH + 1, "HIERARCH %s = ", keyword);
    }
    for (char *p = start; *p; p++) *p = (char)toupper((unsigned char)*p);
    return ERR_OK;
}

static void remove_at(struct header *h, int64_t i, int64_t count)
{
    memmove(card_at(h, i), card_at(h, i + count), (size_t)(h->n - i - count) * CARD_LENGTH);
    h->n -= count;
}

/* Cards that belong to the one at i: itself and its CONTINUE cards. */
static int64_t card_span(const struct header *h, int64_t i)
{
    int64_t count = 1;
    while (i + count < h->n && is_continue(card_at(h, i + count))) count++;
    return count;
}

/* Put the cards in the place of the keyword's first card, or at the end. Frees c. */
static enum err put_cards(struct header *h, const char *keyword, struct cards *c)
{
    int64_t at = header_find(h, keyword);
    int64_t old = at < 0 ? 0 : card_span(h, at);
    if (at < 0) at = h->n;
    enum err code = h->n - old + c->n > HEADER_CARDS_MAX ? ERR_NOMEM : reserve(h, h->n - old + c->n, NULL);
    if (!code) {
        memmove(card_at(h, at + c->n), card_at(h, at + old), (size_t)(h->n - at - old) * CARD_LENGTH);
        memcpy(card_at(h, at), c->text, (size_t)c->n * CARD_LENGTH);
        h->n += c->n - old;
    }
    free(c->text);
    return code;
}

/* One card of a value that is already text: right-justified to column 30 as the fixed format asks. */
static enum err set_text(struct header *h, const char *keyword, const char *value, const char *comment)
{
    char start[CARD_LENGTH + 1], line[2 * CARD_LENGTH + 400];
    enum err code = card_start(keyword, start);
    if (code) return code;
    snprintf(line, sizeof line, "%s%20s%s%.300s", start, value, comment && *comment ? " / " : "", comment ? comment : "");
    struct cards c = {0};
    return cards_add(&c, line) ? put_cards(h, keyword, &c) : ERR_NOMEM;
}

/* Copy up to room characters of the string with its quotes doubled, never splitting a pair. Returned: what is left. */
static const char *quote_part(const char *s, size_t room, char *ret)
{
    size_t n = 0;
    for (; *s; s++) {
        size_t need = *s == '\'' ? 2 : 1;
        if (n + need > room) break;
        if (*s == '\'') ret[n++] = '\'';
        ret[n++] = *s;
    }
    ret[n] = '\0';
    return s;
}

enum err header_set_str(struct header *h, const char *keyword, const char *value, const char *comment)
{
    char start[CARD_LENGTH + 1], part[CARD_LENGTH + 1], line[2 * CARD_LENGTH + 400];
    enum err code = card_start(keyword, start);
    if (code) return code;
    size_t room = CARD_LENGTH - strlen(start) - 2;
    struct cards c = {0};
    const char *rest = quote_part(value, room, part);
    if (!*rest) {
        snprintf(line, sizeof line, "%s'%-8s'", start, part);
        size_t n = strlen(line);
        if (comment && *comment) snprintf(line + n, sizeof line - n, "%*s / %.300s", n < 30 ? (int)(30 - n) : 0, "", comment);
        return cards_add(&c, line) ? put_cards(h, keyword, &c) : ERR_NOMEM;
    }
    rest = quote_part(value, room - 1, part);
    snprintf(line, sizeof line, "%s'%s&'", start, part);
    bool good = cards_add(&c, line);
    while (good && *rest) {
        rest = quote_part(rest, STRING_MAX - 1, part);
        snprintf(line, sizeof line, "CONTINUE  '%s%s'%s%.300s", part, *rest ? "&" : "",
                 !*rest && comment && *comment ? " / " : "", !*rest && comment ? comment : "");
        good = cards_add(&c, line);
    }
    if (good) return put_cards(h, keyword, &c);
    free(c.text);
    return ERR_NOMEM;
}

/* Few digits that read back equal, with a point so that the reader sees a real number. */
static void format_double(double value, char *ret, size_t size)
{
    char digits[40];
    for (int precision = 15; precision <= 17; precision++) { /* %G drops trailing zeros by itself */
        snprintf(digits, sizeof digits, "%.*G", precision, value);
        if (strtod(digits, NULL) == value) break;
    }
    char *exponent = strchr(digits, 'E');
    size_t mantissa = exponent ? (size_t)(exponent - digits) : strlen(digits);
    bool point = memchr(digits, '.', mantissa) != NULL;
    snprintf(ret, size, "%.*s%s%s", (int)mantissa, digits, point ? "" : ".0", exponent ? exponent : "");
}

enum err header_set_double(struct header *h, const char *keyword, double value, const char *comment)
{
    char text[48] = "";
    if (isfinite(value)) format_double(value, text, sizeof text);
    return set_text(h, keyword, text, comment);
}

enum err header_set_int(struct header *h, const char *keyword, int64_t value, const char *comment)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    return set_text(h, keyword, text, comment);
}

enum err header_set_bool(struct header *h, const char *keyword, bool value, const char *comment)
{
    return set_text(h, keyword, value ? "T" : "F", comment);
}

enum err header_append_card(struct header *h, const char card[CARD_LENGTH])
{
    if (h->n >= HEADER_CARDS_MAX) return ERR_NOMEM;
    enum err code = reserve(h, h->n + 1, NULL);
    if (code) return code;
    char *to = card_at(h, h->n++);
    for (int i = 0; i < CARD_LENGTH; i++) to[i] = printable(card[i]);
    return ERR_OK;
}

/* Length of the next line of a text: up to a line break, else up to 72 characters, broken at a blank when there is one
 * in the second half. */
static size_t line_length(const char *text)
{
    size_t n = strcspn(text, "\n");
    if (n <= 72) return n;
    for (size_t i = 72; i > 36; i--)
        if (text[i] == ' ') return i;
    return 72;
}

enum err header_add_text(struct header *h, const char *keyword, const char *text)
{
    if (!fits_name(keyword)) return ERR_UNSUPPORTED;
    do {
        char line[CARD_LENGTH + 1], card[CARD_LENGTH];
        size_t n = line_length(text);
        snprintf(line, sizeof line, "%-8s%.*s", keyword, (int)n, text);
        for (int i = 0; i < NAME_LENGTH; i++) line[i] = (char)toupper((unsigned char)line[i]);
        memset(card, ' ', sizeof card);
        memcpy(card, line, strlen(line));
        enum err code = header_append_card(h, card);
        if (code) return code;
        text += n;
        if (*text == '\n' || *text == ' ') text++;
    } while (*text);
    return ERR_OK;
}

void header_remove(struct header *h, const char *keyword)
{
    for (int64_t i; (i = header_find(h, keyword)) >= 0;) remove_at(h, i, card_span(h, i));
}

void header_remove_matching(struct header *h, const char *pattern)
{
    int64_t kept = 0;
    bool dropping = false;
    for (int64_t i = 0; i < h->n; i++) {
        char name[CARD_LENGTH + 1];
        card_name(card_at(h, i), name);
        if (!is_continue(card_at(h, i))) dropping = fnmatch(pattern, name, FNM_CASEFOLD) == 0;
        if (dropping) continue;
        if (kept != i) memcpy(card_at(h, kept), card_at(h, i), CARD_LENGTH);
        kept++;
    }
    h->n = kept;
}
