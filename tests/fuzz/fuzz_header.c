/* Header cards from any bytes: every getter on every keyword, then the setters on top. What a setter wrote must read back. */
#include "common/header.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(const struct header *h)
{
    for (int64_t i = 0; i < h->n; i++) {
        const char *card = h->text + i * CARD_LENGTH;
        char keyword[CARD_LENGTH + 1], text[40];
        double real;
        int64_t integer;
        bool logical;
        snprintf(keyword, sizeof keyword, "%.8s", card);
        for (size_t n = strlen(keyword); n && keyword[n - 1] == ' ';) keyword[--n] = '\0';
        header_get_str(h, keyword, text, sizeof text);
        header_get_double(h, keyword, &real);
        header_get_int(h, keyword, &integer);
        header_get_bool(h, keyword, &logical);
        snprintf(keyword, sizeof keyword, "%.40s", card + 9); /* what HIERARCH would call it */
        if (header_find(h, keyword) >= h->n) abort();
    }
}

static void write_some(struct header *h, const char *bytes, size_t size)
{
    char name[24], value[300], got[300] = "";
    snprintf(name, sizeof name, "%.*s", (int)(size < 20 ? size : 20), bytes);
    snprintf(value, sizeof value, "%.*s", (int)(size < 299 ? size : 299), bytes);
    if (header_set_str(h, name, value, value) == ERR_OK && !header_has(h, name) && name[0] != ' ' && !strchr(name, ' ')) {
        for (char *p = name; *p; p++)
            if (*p < 33 || *p > 126) return; /* the card holds the printable form of such a name */
        abort();
    }
    if (header_set_double(h, "FUZZ", 1.0 / 3, value) || header_set_str(h, "FUZZTEXT", "it's", NULL)) abort();
    double real = 0;
    if (!header_get_double(h, "FUZZ", &real) || real != 1.0 / 3) abort();
    if (!header_get_str(h, "FUZZTEXT", got, sizeof got) || strcmp(got, "it's")) abort();
    header_add_text(h, "HISTORY", value);
    header_remove(h, name);
    header_remove_matching(h, name);
    header_remove_matching(h, "*[A-M]*");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct header h, copy;
    header_init(&h);
    header_init(&copy);
    if (header_parse(&h, (const char *)data, (int64_t)(size / CARD_LENGTH), NULL) == ERR_OK) {
        read_all(&h);
        if (header_copy(&copy, &h, NULL) == ERR_OK) write_some(&copy, (const char *)data, size);
        read_all(&copy);
    }
    header_release(&h);
    header_release(&copy);
    return 0;
}
