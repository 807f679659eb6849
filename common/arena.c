#include "common/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ALIGN      64
#define BLOCK_MIN  ((size_t)1 << 20)

struct block {
    struct block *next;
    size_t size, used;
    char *data;
};

struct arena {
    struct block *head;
    size_t ceiling, total, used, peak;
};

static size_t round_up(size_t n)
{
    return (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

#define HUGE_PAGE ((size_t)2 << 20)
#define LARGE     (2 * HUGE_PAGE)

void *mem_array(size_t count, size_t size)
{
    if (size && count > (SIZE_MAX - ALIGN) / size) return NULL;
    size_t bytes = round_up(count * size > 0 ? count * size : 1);
    if (bytes < LARGE || bytes > SIZE_MAX - HUGE_PAGE) return aligned_alloc(ALIGN, bytes);
    /* a plane of an image: 2 MiB pages where the kernel gives them, for a 4096 x 4096 plane 32 faults instead of 16384 */
    void *p = aligned_alloc(HUGE_PAGE, (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);
#ifdef MADV_HUGEPAGE
    if (p) madvise(p, bytes, MADV_HUGEPAGE);
#endif
    return p;
}

void *mem_zarray(size_t count, size_t size)
{
    void *p = mem_array(count, size);
    if (p) memset(p, 0, count * size);
    return p;
}

struct arena *arena_new(size_t ceiling_bytes)
{
    struct arena *a = calloc(1, sizeof *a);
    if (a) a->ceiling = ceiling_bytes;
    return a;
}

static void free_blocks(struct block *b)
{
    while (b) {
        struct block *next = b->next;
        free(b->data);
        free(b);
        b = next;
    }
}

void arena_free(struct arena *a)
{
    if (!a) return;
    free_blocks(a->head);
    free(a);
}

void arena_reset(struct arena *a)
{
    struct block *largest = NULL, *rest = NULL;
    for (struct block *b = a->head, *next; b; b = next) {
        next = b->next;
        if (!largest || b->size > largest->size) {
            if (largest) { largest->next = rest; rest = largest; }
            largest = b;
        } else {
            b->next = rest;
            rest = b;
        }
    }
    free_blocks(rest);
    if (largest) {
        largest->next = NULL;
        largest->used = 0;
    }
    a->head = largest;
    a->total = largest ? largest->size : 0;
    a->used = 0;
}

static struct block *add_block(struct arena *a, size_t need)
{
    size_t size = need > BLOCK_MIN ? need : BLOCK_MIN;
    if (a->ceiling && (size > a->ceiling || a->total > a->ceiling - size)) {
        size = need;
        if (size > a->ceiling || a->total > a->ceiling - size) return NULL;
    }
    struct block *b = malloc(sizeof *b);
    if (!b) return NULL;
    b->data = mem_array(1, size);
    if (!b->data) {
        free(b);
        return NULL;
    }
    b->size = size;
    b->used = 0;
    b->next = a->head;
    a->head = b;
    a->total += size;
    return b;
}

void *arena_alloc(struct arena *a, size_t size)
{
    if (size > SIZE_MAX - ALIGN) return NULL;
    size_t need = round_up(size ? size : 1);
    struct block *b = a->head;
    if (!b || b->size - b->used < need) b = add_block(a, need);
    if (!b) return NULL;
    void *p = b->data + b->used;
    b->used += need;
    a->used += need;
    if (a->used > a->peak) a->peak = a->used;
    return p;
}

void *arena_zalloc(struct arena *a, size_t size)
{
    void *p = arena_alloc(a, size);
    if (p) memset(p, 0, size);
    return p;
}

void *arena_array(struct arena *a, size_t count, size_t size)
{
    if (size && count > SIZE_MAX / size) return NULL;
    return arena_alloc(a, count * size);
}

char *arena_strdup(struct arena *a, const char *s)
{
    size_t n = strlen(s) + 1;
    char *p = arena_alloc(a, n);
    return p ? memcpy(p, s, n) : NULL;
}

size_t arena_used(const struct arena *a)
{
    return a->used;
}

size_t arena_peak(const struct arena *a)
{
    return a->peak;
}
