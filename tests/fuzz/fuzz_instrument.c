/* Any bytes as an instrument file followed by a header: "YAML \n@@@\n CARDS". The file is refused with a line number or it
 * gives a meaning whose sections lie inside the array and inside the trimmed frame.
 * The compiler is called through its internal header: loading a set would read the file system. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/instrument.h"
#include "common/instrument_rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct exposure_meta *m)
{
    for (int i = 0; i < m->namp; i++) {
        const struct amp *a = &m->amp[i];
        if (a->data.x0 < 0 || a->data.x1 > m->raw_nx || a->data.y0 < 0 || a->data.y1 > m->raw_ny) abort();
        if (a->overscan.x0 < 0 || a->overscan.x1 > m->raw_nx || a->prescan.x0 < 0 || a->prescan.y1 > m->raw_ny) abort();
        if (a->dest.x0 < 0 || a->dest.x1 > m->nx || a->dest.y0 < 0 || a->dest.y1 > m->ny) abort();
        if (section_nx(a->dest) != section_nx(a->data) || section_ny(a->dest) != section_ny(a->data)) abort();
    }
}

static void ask(const struct instrument *ins, const char *cards, size_t size)
{
    struct header h;
    struct exposure_meta m;
    struct error err = ERROR_INIT;
    char card[CARD_LENGTH];
    header_init(&h);
    for (size_t i = 0; i < size && h.n < 100;) { /* lines become cards */
        const char *end = memchr(cards + i, '\n', size - i);
        size_t n = end ? (size_t)(end - cards - i) : size - i, kept = n < CARD_LENGTH ? n : CARD_LENGTH;
        memset(card, ' ', sizeof card);
        memcpy(card, cards + i, kept);
        if (header_append_card(&h, card)) break;
        i += n + 1;
    }
    rules_hold(ins->match, ins->nmatch, &h);
    enum err e = instrument_meta(ins, NULL, &h, 240, 100, 1, &m, &err);
    if (e == ERR_OK)
        check(&m);
    else if (!err.message[0])
        abort();
    header_release(&h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data, *split = size ? memmem(data, size, "\n@@@\n", 5) : NULL;
    size_t yaml_size = split ? (size_t)(split - text) : size;
    struct yamltree *tree = NULL;
    struct error err = ERROR_INIT;
    if (yamltree_parse(size ? text : "", yaml_size, "fuzz.yaml", &tree, &err)) return 0;
    struct instrument *ins = calloc(1, sizeof *ins);
    if (!ins) {
        yamltree_free(tree);
        return 0;
    }
    enum err e = instrument_compile(ins, tree, &err);
    if (e && (e != err.code || !err.message[0])) abort();
    if (!e && split) ask(ins, split + 5, size - yaml_size - 5);
    yamltree_free(ins->tree);
    arena_free(ins->arena);
    free(ins);
    return 0;
}
