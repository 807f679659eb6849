/* LD_PRELOAD: the n-th allocation asked for by the program itself (not by a library) fails, once.
 *
 *     cc -shared -fPIC failing_malloc.c -o failing_malloc.so
 *     FAIL_AT=7 FAIL_COUNT_FILE=count LD_PRELOAD=./failing_malloc.so nightshift ...
 *
 * FAIL_AT=0 fails none; the number of allocations seen is written to FAIL_COUNT_FILE at exit. Only callers inside the
 * program's own text count: what cfitsio or libc do when memory ends is not ours to mend. */
#define _GNU_SOURCE
#include <errno.h>
#include <link.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

static uintptr_t text_start, text_end;
static long fail_at;
static atomic_long seen;

static int first_object(struct dl_phdr_info *info, size_t size, void *user)
{
    (void)size, (void)user;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type == PT_LOAD && (p->p_flags & PF_X)) {
            text_start = info->dlpi_addr + p->p_vaddr;
            text_end = text_start + p->p_memsz;
        }
    }
    return 1; /* the program itself comes first */
}

__attribute__((constructor)) static void start(void)
{
    const char *at = getenv("FAIL_AT");
    dl_iterate_phdr(first_object, NULL);
    fail_at = at ? atol(at) : 0;
}

__attribute__((destructor)) static void stop(void)
{
    const char *path = getenv("FAIL_COUNT_FILE");
    FILE *out = path ? fopen(path, "w") : NULL;
    if (!out) return;
    fprintf(out, "%ld\n", atomic_load(&seen));
    fclose(out);
}

static int fails(const void *caller)
{
    uintptr_t from = (uintptr_t)caller;
    if (from < text_start || from >= text_end) return 0;
    if (atomic_fetch_add(&seen, 1) + 1 != fail_at) return 0;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
    if (fails(__builtin_return_address(0))) return ENOMEM;
    *ret = __libc_memalign(alignment, size);
    return *ret ? 0 : ENOMEM;
}
