#include "common/isa.h"

#include <stdlib.h>
#include <string.h>

static enum isa ask(void)
{
#if defined(__x86_64__)
    const char *forced = getenv("NIGHTSHIFT_ISA");
    if (forced && !strcmp(forced, "generic")) return ISA_GENERIC;
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) return ISA_AVX2;
#endif
    return ISA_GENERIC;
}

enum isa isa_level(void)
{
    static int known = -1; /* every thread computes the same value: a relaxed race of equal stores */
    int level = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (level < 0) {
        level = (int)ask();
        __atomic_store_n(&known, level, __ATOMIC_RELAXED);
    }
    return (enum isa)level;
}

const char *isa_name(enum isa level)
{
    return level == ISA_AVX2 ? "avx2" : "generic";
}
