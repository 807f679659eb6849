/* Limiting magnitude over the frame: on the meshes of the background, the total flux of a point source whose signal to noise
 * is 5 there.
 *
 *     flux = 5 sigma sqrt(noise area / (1 - masked))
 *
 * sigma is the rms of the background's mesh, made good for what clipping at 3 sigma takes from it; the noise area 1 / sum P^2
 * that of the PSF at the place; masked the share of the mesh's pixels that say nothing (of every fifth row): scattered losses
 * take their share of a star's information. It is the noise of the sky that counts (S/N = flux sqrt(sum P^2) / sigma, the
 * ideal filter's), not the star's own photons; the light of faint neighbours is in the rms of a crowded field.
 * Source: King 1983, PASP 95, 163 (noise-equivalent area).
 * Differences: the noise area of a varying PSF is worked out on a lattice and interpolated bilinearly.                 */
#ifndef NIGHTSHIFT_PROCESSORS_DEPTHMAP_H
#define NIGHTSHIFT_PROCESSORS_DEPTHMAP_H

#include <stdint.h>

#include "common/err.h"
#include "common/maskbits.h"
#include "processors/background.h"
#include "processors/psfmodel.h"

#define DEPTH_SNR 5
#define DEPTH_CLIPPED 0.98485 /* what is left of a Gaussian's sigma that is clipped at 3 times itself until nothing changes */

struct depth_map {
    int64_t gx, gy;             /* cells, the background's meshes */
    int64_t cell_nx, cell_ny;   /* pixels of a cell; those at the far edges may be cut */
    float *flux;                /* gx * gy, image unit; NaN: no usable pixel, or no noise. Owned */
    double median, deep, shallow; /* of the cells with a depth: median flux, 5 % and 95 %; NaN without any */
};

/* Given:    b         its meshes are the cells
 *           mask      nx * ny of b, or NULL
 *           psf       a made model
 * Returned: ret       filled here; depthmap_release() frees it
 * Status:   0; ERR_NOMEM
 * Threads:  rows of cells in parallel; same bytes for any thread count */
enum err depthmap_make(const struct background *b, const mask_t *mask, const struct psf_model *psf, struct depth_map *ret, struct error *err);
void depthmap_release(struct depth_map *m);

#endif
