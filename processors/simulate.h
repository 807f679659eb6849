/* A simulated detector: the light of a scene becomes charge, and charge becomes raw counts.
 *
 *     sim_light   sky + Moffat stars + Sersic galaxies + satellite streaks        electrons, noiseless
 *     sim_expose  x response (efficiency, vignetting, dust, pixel to pixel) + dark + hot pixels + cosmic rays, bleeding
 *     sim_readout Poisson and read noise, gain, bias structure, overscan columns of each amplifier, 16 bits
 *
 * Everything is a function of the seed: rows take counter-based random numbers, so any number of threads gives the same
 * bytes. Rows (or blocks of columns) run in parallel; each writes its own pixels.
 * Source: Moffat 1969 (A&A 3, 455); Sersic 1963 (BAAA 6, 41), b(n) of Ciotti & Bertin 1999; cosmic rays as
 *         straight or scattered tracks with diffused charge.
 * Differences: the noise of a pixel is drawn once, after bleeding, from the sum of Poisson and read noise.           */
#ifndef NIGHTSHIFT_PROCESSORS_SIMULATE_H
#define NIGHTSHIFT_PROCESSORS_SIMULATE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/frame.h"
#include "common/maskbits.h"
#include "processors/simulate_kernels.h"

/* ---- the scene ------------------------------------------------------------------------------------------------ */

struct sim_psf {
    double fwhm_px;
    double beta;          /* a multiple of 1/2 from 2 to 5 */
    double e1, e2;        /* ellipticity components, |e| < 0.5; the area stays */
};

struct sim_source {
    double x, y;          /* 0-based pixels */
    double flux;          /* electrons of the infinite profile */
    float re_px;          /* half-light radius of a galaxy; 0: a star */
    float sersic_n;       /* 0.5 to 6 */
    float axis_ratio;     /* 0.1 to 1 */
    float angle_deg;      /* of the long axis, counter-clockwise from +x */
};

struct sim_streak {
    double x, y;          /* a point of it */
    double angle_rad;
    double peak_e, sigma_px;
};

#define SIM_STREAKS 4

struct sim_scene {
    int64_t nx, ny;
    double sky_e;                  /* per pixel at the centre */
    double slope_x, slope_y;       /* relative change of the sky from edge to edge */
    struct sim_psf psf;
    int nstreak;
    struct sim_streak streak[SIM_STREAKS];
    int64_t nsource;
    const struct sim_source *source;
};

/* Given:    scene
 * Returned: plane       nx * ny electrons, noiseless
 *           flux_stamp  light of each source that fell on the plane, or NULL
 *           truth       nx * ny, MASK_STREAK is added, or NULL
 * Status:   ERR_USAGE for a psf out of range, ERR_NOMEM */
enum err sim_light(const struct sim_scene *scene, float *plane, double *flux_stamp, mask_t *truth, struct error *err);

/* Noise-equivalent area of the profile: its sky noise is that of so many pixels (King 1983, PASP 95, 163). */
double sim_noise_area(const struct sim_psf *psf);

/* ---- the detector --------------------------------------------------------------------------------------------- */

#define SIM_AMPS     4
#define SIM_OVERSCAN 32 /* columns of each amplifier */

struct sim_amp {
    char name[8];
    struct section data, overscan; /* in the raw array */
    struct section dest;           /* in the trimmed frame */
    double gain_e_per_adu, rdnoise_e, bias_adu, saturate_adu;
};

struct sim_spot { /* hot pixel: x, y, size = e/s; dust: centre, radius in size, depth */
    float x, y, size, depth;
};

struct sim_column { /* defect column from row y0 to the top */
    int x, y0;
    float rate, response;
};

struct sim_ccd {
    int64_t nx, ny, raw_nx, raw_ny;
    int number;                    /* 1-based */
    uint64_t seed;
    struct sim_response response;  /* of the brightest filter; others differ by dust */
    double dark_rate, full_well;
    int namp, nhot, ncolumn, ndust;
    struct sim_amp amp[SIM_AMPS];
    struct sim_spot *hot;          /* by row */
    struct sim_column column[8];
    struct sim_spot dust[64];
    float *fixed;                  /* nx: bias structure of the columns, ADU */
};

struct sim_ccd_options {
    uint64_t seed;
    int number;                    /* 1-based */
    int namp;                      /* 1 to SIM_AMPS: stripes in x; 4: quadrants */
    int64_t nx, ny;
    double centre_x, centre_y;     /* of the optical axis, in pixels of this CCD */
    double field_radius_px;        /* vignetting reaches 15 % here */
};

/* Status: ERR_SHAPE for sides below 16 or above FRAME_MAX_SIDE, ERR_USAGE for namp; ERR_NOMEM */
enum err sim_ccd_init(struct sim_ccd *ccd, const struct sim_ccd_options *o, struct error *err);
void sim_ccd_release(struct sim_ccd *ccd);

struct sim_exposure {
    uint64_t seed;
    uint32_t number;               /* of the exposure: its noise */
    int filter;                    /* its dust */
    double exptime_s, darktime_s;
    double cosmics_per_mpix_s;
    bool lit;                      /* false: shutter closed */
};

/* plane: light in, charge out. truth (may be NULL) gains COSMIC, SATURATED, BLEED, HOT, BAD. ERR_NOMEM. */
enum err sim_expose(const struct sim_ccd *ccd, const struct sim_exposure *e, float *plane, mask_t *truth, struct error *err);

/* raw: raw_nx * raw_ny counts. ERR_NOMEM. */
enum err sim_readout(const struct sim_ccd *ccd, const struct sim_exposure *e, const float *plane, uint16_t *raw, struct error *err);

/* A calibrated frame: plane (electrons, noiseless) gets Poisson and read noise in place. */
enum err sim_noise_plane(uint64_t seed, uint32_t exposure, int64_t nx, int64_t ny, double rdnoise_e, float *plane, struct error *err);

/* Streams of struct philox: the same draw for the same (what, a, b) of a seed. */
enum sim_stream { SIM_STREAM_CCD = 1, SIM_STREAM_HOT, SIM_STREAM_COSMIC, SIM_STREAM_FIELD, SIM_STREAM_NIGHT, SIM_STREAM_EXPOSURE };
uint64_t sim_stream(enum sim_stream what, uint32_t a, uint32_t b);

#endif
