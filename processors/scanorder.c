#include "processors/scanorder.h"

#include <stdlib.h>
#include <string.h>

enum { NONE = -1 };

/* A stretch of a run in a chain. */
struct piece {
    int32_t x0, x1;
    int64_t run, next;
};

struct chain {
    int64_t parent;       /* union-find over the runs; a root is a chain */
    int64_t head, tail;   /* pieces */
    int64_t first;        /* leftmost run of the row above */
    int32_t first_y, open_y; /* rows for which `first` and `met already` are true */
};

struct scanorder {
    struct chain *chain;
    struct piece *piece;
    int64_t room, npieces;
    const struct run *run;
    const int64_t *member;
};

struct scanorder *scanorder_new(void)
{
    return calloc(1, sizeof(struct scanorder));
}

void scanorder_free(struct scanorder *s)
{
    if (!s) return;
    free(s->chain);
    free(s->piece);
    free(s);
}

static bool reserve(struct scanorder *s, int64_t n)
{
    if (n <= s->room) return true;
    free(s->chain);
    free(s->piece);
    s->room = 2 * n + 64;
    s->chain = malloc((size_t)s->room * sizeof *s->chain);
    s->piece = malloc(3 * (size_t)s->room * sizeof *s->piece); /* a run is cut where it meets runs above: at most 2n cuts */
    if (s->chain && s->piece) return true;
    free(s->chain);
    free(s->piece);
    *s = (struct scanorder){0};
    return false;
}

static int64_t find_root(struct chain *c, int64_t i)
{
    while (c[i].parent != i) {
        c[i].parent = c[c[i].parent].parent;
        i = c[i].parent;
    }
    return i;
}

static const struct run *run_of(const struct scanorder *s, int64_t i)
{
    return &s->run[s->member[i]];
}

static void add_piece(struct scanorder *s, int64_t chain, int64_t run, int32_t x0, int32_t x1)
{
    if (x1 <= x0) return;
    struct chain *c = &s->chain[chain];
    int64_t p = s->npieces++;
    s->piece[p] = (struct piece){x0, x1, run, NONE};
    if (c->head == NONE)
        c->head = p;
    else
        s->piece[c->tail].next = p;
    c->tail = p;
}

/* Put chain b behind chain a. */
static int64_t link_chains(struct scanorder *s, int64_t a, int64_t b)
{
    struct chain *to = &s->chain[a], *from = &s->chain[b];
    from->parent = a;
    if (to->head == NONE)
        to->head = from->head;
    else if (from->head != NONE)
        s->piece[to->tail].next = from->head;
    if (from->head != NONE) to->tail = from->tail;
    return a;
}

/* Run i meets the runs [q0, q1) of the row above. */
static void add_run(struct scanorder *s, int64_t i, int64_t q0, int64_t q1)
{
    const struct run *r = run_of(s, i);
    struct chain *chain = s->chain;
    int64_t mine = i;
    int32_t x = r->x0;
    chain[i] = (struct chain){i, NONE, NONE, NONE, INT32_MIN, INT32_MIN};
    for (int64_t q = q0; q < q1 && run_of(s, q)->x0 <= r->x1; q++) {
        const struct run *above = run_of(s, q);
        if (above->x1 < r->x0) continue;
        int64_t c = find_root(chain, q);
        if (c == mine) continue;
        int32_t cut = above->x0 > x ? above->x0 : x;
        add_piece(s, mine, i, x, cut);
        x = cut;
        bool opens = chain[c].first == q && chain[c].first_y == above->y && chain[c].open_y != r->y;
        mine = opens ? link_chains(s, mine, c) : link_chains(s, c, mine);
    }
    add_piece(s, mine, i, x, r->x1);
    chain[mine].open_y = r->y;
}

static void note_first(struct scanorder *s, int64_t q0, int64_t q1)
{
    for (int64_t q = q0; q < q1; q++) {
        struct chain *c = &s->chain[find_root(s->chain, q)];
        if (c->first_y == run_of(s, q)->y) continue;
        c->first_y = run_of(s, q)->y;
        c->first = q;
    }
}

bool scanorder_values(struct scanorder *s, const struct run *run, const int64_t *member, int64_t n, float *ret)
{
    if (!reserve(s, n)) return false;
    s->run = run;
    s->member = member;
    s->npieces = 0;
    int64_t q0 = 0, q1 = 0;
    for (int64_t i0 = 0, i1; i0 < n; i0 = i1) {
        for (i1 = i0; i1 < n && run_of(s, i1)->y == run_of(s, i0)->y; i1++) add_run(s, i1, q0, q1);
        note_first(s, i0, i1);
        q0 = i0;
        q1 = i1;
    }
    int64_t p = n ? s->chain[find_root(s->chain, 0)].head : NONE;
    for (; p != NONE; p = s->piece[p].next) {
        const struct run *r = run_of(s, s->piece[p].run);
        int32_t width = s->piece[p].x1 - s->piece[p].x0;
        memcpy(ret, r->cvalue + (s->piece[p].x0 - r->x0), (size_t)width * sizeof *ret);
        ret += width;
    }
    return true;
}
