/* Memory of one exposure: bump allocation from large blocks, released all at once.
 *
 *     block   +-------- used --------+------ free ------+      blocks grow; reset keeps the largest one
 *
 * Invariants: (1) every pointer is aligned to 64 bytes (a cache line, any SIMD load); (2) the total never passes the
 * ceiling given at birth; (3) after arena_reset() no pointer handed out before is valid.
 * Threads: an arena belongs to one thread at a time; parallel regions take their scratch before they start.       */
#ifndef NIGHTSHIFT_COMMON_ARENA_H
#define NIGHTSHIFT_COMMON_ARENA_H

#include <stddef.h>

struct arena;

struct arena *arena_new(size_t ceiling_bytes); /* NULL if out of memory; ceiling 0 means none */
void arena_free(struct arena *a);              /* takes NULL */
void arena_reset(struct arena *a);

/* Returned: size bytes, 64-byte aligned, contents undefined (arena_zalloc: zero); NULL when the ceiling or the memory
 * ends. size 0 gives a valid pointer. */
void *arena_alloc(struct arena *a, size_t size);
void *arena_zalloc(struct arena *a, size_t size);
char *arena_strdup(struct arena *a, const char *s);
void *arena_array(struct arena *a, size_t count, size_t size); /* count * size with overflow check */

size_t arena_used(const struct arena *a);
size_t arena_peak(const struct arena *a);

/* 64-byte aligned memory outside an arena; free with free(). NULL on overflow or when memory ends. */
void *mem_array(size_t count, size_t size);
void *mem_zarray(size_t count, size_t size);

#endif
