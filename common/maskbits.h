/* Mask planes: one bit each, published in the MASK extension as MP_* cards (name -> bit number), as LSST does. */
#ifndef NIGHTSHIFT_COMMON_MASKBITS_H
#define NIGHTSHIFT_COMMON_MASKBITS_H

#include <stdint.h>

/*  X(name, bit, what it says) */
#define MASK_PLANES(X)                                                     \
    X(BAD, 0, "defect of the detector (bad-pixel mask)")                   \
    X(SATURATED, 1, "at or above saturation")                              \
    X(BLEED, 2, "bleed trail of a saturated source")                       \
    X(COSMIC, 3, "cosmic ray")                                             \
    X(NO_DATA, 4, "no value: blank, NaN or outside the detector")          \
    X(EDGE, 5, "edge of the detector")                                     \
    X(LOWFLAT, 6, "response below the usable floor")                       \
    X(SUSPECT, 7, "above the linear range or otherwise doubtful")          \
    X(CROSSTALK, 8, "ghost of a source in another amplifier")              \
    X(STREAK, 9, "satellite or aircraft streak")                           \
    X(INTERPOLATED, 10, "value interpolated from neighbours")              \
    X(HOT, 11, "hot pixel of the dark")                                    \
    X(DETECTED, 12, "part of a detected object")

enum mask_bit {
#define X(name, bit, what) MASK_##name = 1u << bit,
    MASK_PLANES(X)
#undef X
};

/* Pixels whose value says nothing about the sky: kept out of backgrounds and sums. */
#define MASK_UNUSABLE \
    (MASK_BAD | MASK_SATURATED | MASK_BLEED | MASK_COSMIC | MASK_NO_DATA | MASK_LOWFLAT | MASK_STREAK | MASK_HOT)

typedef uint16_t mask_t;

#endif
