/* Instruction set of the leaf kernels, chosen once at start.
 *
 * Kernels that matter are compiled once per level from one source (cmake: nightshift_kernels()) and reached through a
 * table of function pointers per module: `struct detect_kernels detect_kernels_for(enum isa)`. NIGHTSHIFT_ISA=generic,
 * avx2 or neon forces a level for tests. Levels ask for each feature one by one (avx2, fma, bmi2). No FMA contraction
 * anywhere: -ffp-contract=off. */
#ifndef NIGHTSHIFT_COMMON_ISA_H
#define NIGHTSHIFT_COMMON_ISA_H

enum isa { ISA_GENERIC, ISA_AVX2 };

enum isa isa_level(void);          /* the level in use; asked once, then remembered; thread-safe */
const char *isa_name(enum isa level);

#endif
