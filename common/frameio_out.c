/* A FITS file in the making: HDU by HDU into a temporary file beside the target.
 *
 *     open -> (begin_hdu -> data ... -> end_hdu) ... -> commit
 *
 * The header's blocks are left empty until the data are written, because DATASUM and CHECKSUM are cards of it.
 * Source of the checksum: FITS 4.0 section 4.4.2.7 and appendix J (Seaman, Pence & Rots).                          */
#include "common/frameio_internal.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/atomicfile.h"
#include "common/frameio_codec_kernels.h"
#include "common/isa.h"

/* ---- checksum --------------------------------------------------------------------------------------------------- */

uint32_t checksum_fold(uint64_t sum)
{
    while (sum >> 32) sum = (sum & 0xffffffffu) + (sum >> 32);
    return (uint32_t)sum;
}

uint64_t checksum_words(const uint8_t *p, int64_t words)
{
#ifdef NIGHTSHIFT_HAVE_AVX2
    if (isa_level() == ISA_AVX2) return codec_kernels_avx2.checksum(p, words);
#endif
    return codec_kernels_generic.checksum(p, words);
}

/* The complement of a sum as 16 letters and digits: each byte is spread over four characters, pairs are nudged in
 * opposite directions until none is a punctuation mark, and all are rotated by one place. */
static void checksum_encode(uint32_t value, char ret[17])
{
    char text[16];
    for (int i = 0; i < 4; i++) {
        int byte = (int)(value >> (24 - 8 * i) & 0xff), c[4];
        for (int j = 0; j < 4; j++) c[j] = byte / 4 + '0' + (j == 0 ? byte % 4 : 0);
        for (bool moved = true; moved;) {
            moved = false;
            for (int j = 0; j < 4; j += 2) {
                if (isalnum(c[j]) && isalnum(c[j + 1])) continue;
                c[j]++;
                c[j + 1]--;
                moved = true;
            }
        }
        for (int j = 0; j < 4; j++) text[4 * j + i] = (char)c[j];
    }
    for (int i = 0; i < 16; i++) ret[(i + 1) % 16] = text[i];
    ret[16] = '\0';
}

/* ---- the file --------------------------------------------------------------------------------------------------- */

enum err out_open(struct out *o, const char *path, bool checksum, struct error *err)
{
    *o = (struct out){.fd = -1, .checksum = checksum, .path = strdup(path), .temporary = atomicfile_temporary(path)};
    if (!o->path || !o->temporary) {
        out_abandon(o);
        return ERROR(err, ERR_NOMEM, "no memory for a file name");
    }
    o->fd = open(o->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (o->fd >= 0) return ERR_OK;
    int status = errno;
    error_from_errno(err, status, path, "write");
    out_abandon(o);
    return error_from_errno(NULL, status, NULL, "write");
}

void out_abandon(struct out *o)
{
    if (o->fd >= 0) {
        close(o->fd);
        unlink(o->temporary);
    }
    header_release(&o->cards);
    free(o->path);
    free(o->temporary);
    *o = (struct out){.fd = -1};
}

static enum err write_at(struct out *o, int64_t at, const void *bytes, int64_t size, struct error *err)
{
    const char *p = bytes;
    while (size) {
        ssize_t n = pwrite(o->fd, p, (size_t)size, at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return error_from_errno(err, errno, o->path, "write");
        p += n;
        at += n;
        size -= n;
    }
    return ERR_OK;
}

enum err out_commit(struct out *o, struct error *err)
{
    int fd = o->fd;
    o->fd = -1;
    if (close(fd)) { /* NFS and quotas speak up here */
        int status = errno;
        unlink(o->temporary);
        return error_from_errno(err, status, o->path, "write");
    }
    return o->loose ? atomicfile_place(o->temporary, o->path, err) : atomicfile_commit(o->temporary, o->path, err);
}

/* ---- HDUs ------------------------------------------------------------------------------------------------------- */

/* DATE only when SOURCE_DATE_EPOCH says which: a clock would change the bytes from run to run. */
static enum err set_date(struct header *h)
{
    const char *epoch = getenv("SOURCE_DATE_EPOCH");
    char *end, text[32];
    struct tm tm;
    long long seconds = epoch ? strtoll(epoch, &end, 10) : -1;
    if (!epoch || end == epoch || *end || seconds < 0 || seconds > 253402300799) return ERR_OK;
    time_t t = (time_t)seconds;
    if (!gmtime_r(&t, &tm) || !strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm)) return ERR_OK;
    return header_set_str(h, "DATE", text, "file date from SOURCE_DATE_EPOCH (UTC)");
}

static bool has_continue(const struct header *h)
{
    for (int64_t i = 0; i < h->n; i++)
        if (!memcmp(h->text + i * CARD_LENGTH, "CONTINUE", 8)) return true;
    return false;
}

enum err out_begin_hdu(struct out *o, struct error *err)
{
    enum err code = set_date(&o->cards);
    if (!code && has_continue(&o->cards)) code = header_set_str(&o->cards, "LONGSTRN", "OGIP 1.0", "long strings use CONTINUE");
    if (!code && o->checksum) code = header_set_str(&o->cards, "CHECKSUM", "0000000000000000", "HDU checksum");
    if (!code && o->checksum) code = header_set_str(&o->cards, "DATASUM", "0", "data unit checksum");
    if (code) return ERROR(err, code, "no memory for a header");
    o->header_at = o->at;
    o->data_at = o->at = o->header_at + round_to_block((o->cards.n + 1) * CARD_LENGTH);
    o->data_sum = 0;
    o->tail_size = 0;
    return ERR_OK;
}

/* Words may be cut by the caller's chunks: up to three bytes wait for the next call. */
static void sum_data(struct out *o, const uint8_t *p, int64_t size)
{
    while (o->tail_size && size) {
        o->tail[o->tail_size++] = *p++;
        size--;
        if (o->tail_size < 4) continue;
        o->data_sum += checksum_words(o->tail, 1);
        o->tail_size = 0;
    }
    o->data_sum += checksum_words(p, size / 4);
    for (int64_t i = size / 4 * 4; i < size; i++) o->tail[o->tail_size++] = p[i];
}

enum err out_data(struct out *o, const void *bytes, int64_t size, struct error *err)
{
    enum err code = write_at(o, o->at, bytes, size, err);
    if (code) return code;
    if (o->checksum) sum_data(o, bytes, size);
    o->at += size;
    return ERR_OK;
}

static enum err write_header(struct out *o, struct error *err)
{
    int64_t size = o->data_at - o->header_at;
    char *text = malloc((size_t)size), code_text[17], number[16];
    if (!text) return ERROR(err, ERR_NOMEM, "no memory for a header");
    enum err code = ERR_OK;
    uint32_t data_sum = checksum_fold(o->data_sum);
    snprintf(number, sizeof number, "%u", data_sum);
    if (o->checksum) code = header_set_str(&o->cards, "DATASUM", number, "data unit checksum");
    for (int pass = 0; pass < (o->checksum ? 2 : 1) && !code; pass++) {
        memset(text, ' ', (size_t)size);
        memcpy(text, o->cards.text, (size_t)o->cards.n * CARD_LENGTH);
        memcpy(text + o->cards.n * CARD_LENGTH, "END", 3);
        if (pass || !o->checksum) break;
        checksum_encode(~checksum_fold(checksum_words((uint8_t *)text, size / 4) + data_sum), code_text);
        code = header_set_str(&o->cards, "CHECKSUM", code_text, "HDU checksum");
    }
    if (code) code = ERROR(err, code, "no memory for a header");
    if (!code) code = write_at(o, o->header_at, text, size, err);
    free(text);
    return code;
}

enum err out_end_hdu(struct out *o, uint8_t fill, struct error *err)
{
    uint8_t padding[FITS_BLOCK];
    memset(padding, fill, sizeof padding);
    enum err code = out_data(o, padding, round_to_block(o->at) - o->at, err);
    if (!code) code = write_header(o, err);
    header_release(&o->cards);
    return code;
}

/* ---- cards ------------------------------------------------------------------------------------------------------ */

static bool commentary(const char *keyword)
{
    return !*keyword || !strcmp(keyword, "COMMENT") || !strcmp(keyword, "HISTORY");
}

static bool valid_keyword(const char *keyword)
{
    for (; *keyword; keyword++)
        if (!isupper((unsigned char)*keyword) && !isdigit((unsigned char)*keyword) && *keyword != '-' && *keyword != '_') return false;
    return true;
}

/* Is [p, end) an integer or real number as FITS writes them? */
static bool valid_number(const char *p, const char *end)
{
    int digits = 0;
    if (p < end && (*p == '+' || *p == '-')) p++;
    for (; p < end && isdigit((unsigned char)*p); p++) digits++;
    if (p < end && *p == '.')
        for (p++; p < end && isdigit((unsigned char)*p); p++) digits++;
    if (!digits || p == end) return digits > 0;
    if (*p != 'E' && *p != 'D') return false;
    p++;
    if (p < end && (*p == '+' || *p == '-')) p++;
    if (p == end) return false;
    while (p < end && isdigit((unsigned char)*p)) p++;
    return p == end;
}

/* Is there a value (from column 11) that follows FITS 4.0 section 4.2? */
static bool valid_value(const char *p, const char *end)
{
    while (p < end && *p == ' ') p++;
    if (p == end || *p == '/') return false; /* undefined: legal, but fitsverify warns, so it becomes a COMMENT */
    if (*p == '\'') {
        for (p++; p < end; p++) {
            if (*p != '\'') continue;
            if (p + 1 < end && p[1] == '\'')
                p++;
            else
                break;
        }
        if (p++ >= end) return false;
    } else {
        const char *start = p;
        while (p < end && *p != ' ' && *p != '/') p++;
        bool logical = p - start == 1 && (*start == 'T' || *start == 'F');
        bool complex_pair = *start == '(';
        if (complex_pair) return memchr(start, ')', (size_t)(end - start)) != NULL;
        if (!logical && !valid_number(start, p)) return false;
    }
    while (p < end && *p == ' ') p++;
    return p == end || *p == '/';
}

static bool valid_card(const char *card, const char *keyword)
{
    if (commentary(keyword)) return true;
    if (!strcmp(keyword, "HIERARCH")) return memchr(card, '=', CARD_LENGTH) != NULL;
    if (!strcmp(keyword, "CONTINUE")) return card[8] == ' ' && card[9] == ' ';
    if (!valid_keyword(keyword)) return false;
    if (card[8] != '=') return true; /* a keyword without value is commentary */
    return card[9] == ' ' && valid_value(card + 10, card + CARD_LENGTH);
}

/* Write the card again under `name` from what the lenient getters make of it; a value that is none becomes a COMMENT. */
static enum err mend_card(struct header *dst, const char *card, const char *keyword, const char *name)
{
    struct header one = {(char *)card, 1, 1}; /* read only */
    char text[CARD_LENGTH + 1];
    double number;
    int64_t integer;
    bool quoted = memchr(card, '\'', CARD_LENGTH) != NULL;
    if (card[8] == '=' && valid_keyword(name) && header_get_str(&one, keyword, text, sizeof text)) {
        if (!quoted && header_get_int(&one, keyword, &integer)) return header_set_int(dst, name, integer, NULL);
        if (!quoted && header_get_double(&one, keyword, &number)) return header_set_double(dst, name, number, NULL);
        return header_set_str(dst, name, text, NULL);
    }
    snprintf(text, sizeof text, "%.80s", card);
    for (size_t n = strlen(text); n && text[n - 1] == ' ';) text[--n] = '\0';
    return header_add_text(dst, "COMMENT", text);
}

/* Keywords met so far, so that a header of 100,000 cards is copied in one pass. */
struct seen {
    uint64_t *slots;
    size_t mask;
};

static bool seen_before(struct seen *s, const char *name)
{
    uint64_t key = 0;
    memcpy(&key, name, strnlen(name, 8));
    for (size_t i = (size_t)(key * 0x9e3779b97f4a7c15u >> 20) & s->mask;; i = (i + 1) & s->mask) {
        if (s->slots[i] == key) return true;
        if (s->slots[i]) continue;
        s->slots[i] = key;
        return false;
    }
}

/* The keyword of today's standard for one of yesterday's. An EPOCH in words stays what it is. */
static const char *modern_name(const struct header *src, const char *name)
{
    double year;
    if (!strcmp(name, "RADECSYS")) return "RADESYS";
    if (!strcmp(name, "EPOCH") && header_get_double(src, "EPOCH", &year)) return "EQUINOX";
    return name;
}

static enum err copy_card(struct header *dst, const struct header *src, int64_t i, struct seen *seen, bool *dropping)
{
    const char *card = src->text + i * CARD_LENGTH;
    char keyword[9], upper[9];
    card_keyword(card, keyword);
    if (!strcmp(keyword, "CONTINUE")) return *dropping ? ERR_OK : header_append_card(dst, card);
    snprintf(upper, sizeof upper, "%s", keyword);
    for (char *p = upper; *p; p++) *p = (char)toupper((unsigned char)*p);
    const char *name = modern_name(src, upper);
    *dropping = is_structural(upper) || !strcmp(upper, "DATE") || (strcmp(name, upper) && header_has(src, name));
    if (*dropping) return ERR_OK;
    if (!commentary(upper) && strcmp(upper, "HIERARCH")) *dropping = seen_before(seen, name);
    if (*dropping) return ERR_OK;
    *dropping = !valid_card(card, keyword) || strcmp(name, keyword); /* what is written anew loses its CONTINUE cards */
    return *dropping ? mend_card(dst, card, keyword, name) : header_append_card(dst, card);
}

enum err copy_cards(struct header *dst, const struct header *src, struct error *err)
{
    if (!src || !src->n) return ERR_OK;
    struct seen seen = {NULL, 64};
    while (seen.mask < 2 * (size_t)src->n) seen.mask *= 2;
    seen.slots = calloc(seen.mask--, sizeof *seen.slots);
    if (!seen.slots) return ERROR(err, ERR_NOMEM, "no memory for a header");
    bool dropping = false;
    int64_t axes = header_find(src, "WCSAXES"); /* comes before all other sky coordinates */
    enum err code = axes < 0 ? ERR_OK : copy_card(dst, src, axes, &seen, &dropping);
    for (int64_t i = 0; i < src->n && !code; i++) code = copy_card(dst, src, i, &seen, &dropping);
    free(seen.slots);
    return code ? ERROR(err, code, "no memory for a header") : ERR_OK;
}
