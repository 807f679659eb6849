/* Verifying CHECKSUM and DATASUM. Source: FITS 4.0 section 4.4.2.7 and appendix J. */
#include "common/frameio_internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK (1 << 18) /* a multiple of 4: words are never cut */

/* Sum of the words of [at, end); bytes beyond the end of the file count as zero, as a missing padding would be. */
static enum err sum_range(struct frameio_in *f, int64_t at, int64_t end, uint32_t *ret, struct error *err)
{
    uint64_t sum = 0;
    uint8_t *chunk = malloc(CHUNK);
    enum err code = chunk ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory for a checksum");
    while (at < end && !code) {
        int64_t n = end - at < CHUNK ? end - at : CHUNK, got = 0;
        code = source_read(f->source, at, chunk, n, &got, err);
        if (code) break;
        memset(chunk + got, 0, (size_t)(n - got));
        sum += checksum_words(chunk, n / 4);
        at += n;
    }
    free(chunk);
    *ret = checksum_fold(sum);
    return code;
}

static bool is_number(const char *s)
{
    while (isdigit((unsigned char)*s)) s++;
    return !*s;
}

/* with_header: CHECKSUM too, else DATASUM alone. */
static enum err verify_hdu(struct frameio_in *f, int hdu, bool with_header, struct error *err)
{
    struct hdu *h = f->hdus[hdu - 1];
    char data_text[32] = "", text[32] = "";
    bool has_data = header_get_str(&h->cards, "DATASUM", data_text, sizeof data_text) && data_text[0] && is_number(data_text);
    bool has_all = with_header && header_get_str(&h->cards, "CHECKSUM", text, sizeof text) && strlen(text) == 16;
    if (!has_data && !has_all) return ERR_OK;
    uint32_t header_sum = 0, data_sum = 0;
    enum err code = hdu_require_data(f, hdu, h, err);
    if (!code) code = sum_range(f, h->data_at, h->data_at + round_to_block(h->data_size), &data_sum, err);
    if (!code && has_all) code = sum_range(f, h->header_at, h->data_at, &header_sum, err);
    if (code) return code;
    bool data_good = !has_data || strtoull(data_text, NULL, 10) == data_sum;
    uint32_t all = checksum_fold((uint64_t)header_sum + data_sum);
    if (data_good && (!has_all || all == 0 || all == UINT32_MAX)) return ERR_OK;
    ERROR(err, ERR_CORRUPT, "%s does not match", data_good ? "CHECKSUM of the header" : "DATASUM of the data");
    error_hint(err, "copy the file again from its source");
    return ERR_CORRUPT;
}

enum err frameio_verify_checksums(struct frameio_in *f, struct error *err)
{
    int n = frameio_hdu_count(f);
    for (int hdu = 1; hdu <= n; hdu++) {
        enum err code = verify_hdu(f, hdu, true, err);
        if (code) return hdu_error(f, hdu, err, code);
    }
    return ERR_OK;
}

enum err frameio_verify_data(struct frameio_in *f, int hdu, struct error *err)
{
    if (hdu < 1 || hdu > frameio_hdu_count(f)) return ERROR(err, ERR_NOT_FOUND, "cannot find HDU %d", hdu);
    enum err code = verify_hdu(f, hdu, false, err);
    return code ? hdu_error(f, hdu, err, code) : ERR_OK;
}
