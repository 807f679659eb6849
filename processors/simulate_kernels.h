/* Leaf kernels of the simulator, one table per instruction set. Plain IEEE arithmetic on independent lanes (no libm, no
 * contraction): every level and every machine gives the same bytes.                                                */
#ifndef NIGHTSHIFT_PROCESSORS_SIMULATE_KERNELS_H
#define NIGHTSHIFT_PROCESSORS_SIMULATE_KERNELS_H

#include <stdint.h>

#define SIM_PIECE 256 /* pixels of one draw: 64 Philox lanes of four numbers */

/* Which random numbers a run of pixels gets: any other (row, exposure, place) gives independent ones. */
struct sim_draw {
    uint32_t key[2];     /* seed */
    uint32_t row, exposure, place;
};

/* (1 + cxx dx^2 + cxy dx dy + cyy dy^2)^(-twice_beta / 2) * norm */
struct sim_moffat {
    float cxx, cyy, cxy, norm;
    int twice_beta;      /* 4 to 10 */
};

struct sim_response {
    uint32_t key;        /* of the detector: pixel-to-pixel response */
    float prnu;          /* its sigma */
    float level;         /* quantum efficiency against the camera's mean */
    float x0, y0;        /* centre of the vignetting, pixels of this CCD */
    float v2, v4;        /* 1 - v2 r^2 - v4 r^4, r in pixels */
};

struct simulate_kernels {
    /* e = Poisson(mu) + sqrt(rdnoise2) * normal. Exact inversion below a mean of SIM_POISSON, above it a normal with the
     * skewness of the Poisson part (Cornish & Fisher 1938); electrons are not whole numbers then. */
    void (*noise)(const struct sim_draw *d, int64_t n, const float *mu, float rdnoise2, float *e);
    void (*normals)(const struct sim_draw *d, int64_t n, float *z);
    /* dst[i] += profile integrated over pixel (dx0 + i, dy) by order x order Gauss-Legendre nodes (1, 2, 3). Returned: sum added */
    double (*moffat)(const struct sim_moffat *m, int order, float dx0, float dy, int64_t n, float *dst);
    void (*response)(const struct sim_response *r, int64_t y, int64_t n, float *flat);
    /* plane = plane * flat + dark */
    void (*charge)(int64_t n, const float *flat, float dark, float *plane);
    /* raw = round(e / gain + fixed + level), held to 0..65535 */
    void (*digitise)(int64_t n, const float *e, const float *fixed, float level, float inv_gain, uint16_t *raw);
    float (*largest)(int64_t n, const float *v);
};

#define SIM_POISSON 20.0f

extern const struct simulate_kernels simulate_kernels_generic, simulate_kernels_avx2;

#endif
