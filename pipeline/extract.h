/* Extract: one calibrated image in, its detections out. What `extract` runs and what `reduce` calls per frame.
 *
 *     frame -> background -> [bright stars -> filter ->] detect -> measure -> psf -> sky columns -> struct detections, struct frame_quality
 *
 * Calling sequence: extract_options_init(), then extract_options_from_settings() and, for a drop-in run,
 * extract_options_from_sex(); extract_frame(); extract_options_release().
 * Ownership: the options own their filter, network and weight plane; results are released by their own functions.     */
#ifndef NIGHTSHIFT_PIPELINE_EXTRACT_H
#define NIGHTSHIFT_PIPELINE_EXTRACT_H

#include <stdbool.h>

#include "common/detections.h"
#include "common/err.h"
#include "common/frame.h"
#include "common/settings.h"
#include "common/skycoord.h"
#include "pipeline/sexfiles.h"
#include "processors/apercor.h"
#include "processors/background.h"
#include "processors/detect.h"
#include "processors/measure.h"
#include "processors/psffit.h"
#include "processors/psfmodel.h"

enum extract_noise {
    NOISE_GLOBAL,     /* one rms for the frame (WEIGHT_TYPE NONE) */
    NOISE_BACKGROUND, /* the rms map of the background (WEIGHT_TYPE BACKGROUND) */
    NOISE_RMS, NOISE_VARIANCE_MAP, NOISE_WEIGHT /* a plane of the user (MAP_RMS, MAP_VAR, MAP_WEIGHT) */
};

struct extract_options {
    struct background_options background;
    bool manual_background;
    float background_value;
    struct detect_options detect;
    bool matched;             /* detect with the frame's own PSF; `matcher` says how, its kernel is each frame's */
    struct matched_options matcher;
    struct measure_options measure;
    enum extract_noise noise;
    float *weight;            /* nx * ny for NOISE_RMS, NOISE_VARIANCE_MAP, NOISE_WEIGHT; owned */
    int64_t weight_nx, weight_ny;
    double weight_thresh;     /* pixels beyond it are not used; NaN: none */
    bool weight_gain;         /* the gain goes with the weight (WEIGHT_GAIN) */
    bool use_variance;        /* errors from the frame's VAR plane where it has one */
    double gain;              /* electrons per image unit, 0: no photon noise; the header's GAIN goes first ... */
    bool gain_forced;         /* ... unless this says otherwise */
    char gain_key[80];
    double saturate;          /* image units; INFINITY: none; the header's SATURATE goes first */
    char satur_key[80];
    double pixel_scale;       /* arcsec; 0: from the sky coordinates */
    struct psf_options psf;
    struct psffit_options psffit;
    bool correct_apertures;   /* FLUX_APER and its like become total fluxes of point sources */
    int ncolumn;              /* columns of the catalogue in the order asked */
    enum detection_column column[DETECTION_COLUMN_COUNT];

    struct convolve_kernel kernel; /* owned: detect.filter points here when a file was read */
    float *kernel_weight;
    struct star_network *network;
};

/* How good a frame is, from its own objects. NaN where it cannot be told. */
struct frame_quality {
    double seeing;            /* FWHM of the stars, arcsec */
    double seeing_px;         /* the same in pixels */
    double sky, rms;          /* background level and noise, image unit */
    int64_t nstars;           /* objects on the stellar locus */
    double ellipticity;       /* median of the stars */
    double depth;             /* magnitude of a point source at S/N 5 (with MAG_ZEROPOINT) */
};

void extract_options_init(struct extract_options *o);
void extract_options_release(struct extract_options *o);
/* The values of the settings table, the default columns. ERR_SETTINGS. */
enum err extract_options_from_settings(struct extract_options *o, const struct settings *s, struct error *err);
/* Source Extractor's choices in every respect, then what the .sex file says. Files named in it are read here.
 * Status: ERR_SETTINGS; ERR_UNSUPPORTED for a choice that cannot be honoured; errors of reading */
enum err extract_options_from_sex(struct extract_options *o, const struct sex_config *c, struct error *err);
/* The noise of WEIGHT_TYPE, an enum sex_weight_type. */
void extract_options_noise(struct extract_options *o, int weight_type);
/* Let the catalogue have these columns. */
void extract_options_columns(struct extract_options *o, const enum detection_column *columns, int n);

/* What a run leaves behind for check-images and later stages. */
struct extract_scene {
    struct background background;
    struct objects objects;
    float *value;             /* background subtracted; borrowed from the frame when it was consumed */
    bool owns_value;
    struct psf_model psf;     /* made by extract_psf(); coef NULL before */
    struct aperture_corrections apertures; /* n is 0 before */
    bool corrected;           /* FLUX_APER is corrected */
    float *variance;          /* of the sky alone from the frame's VAR, NULL without; owned */
    float *noise;             /* variance per pixel that was asked for, NULL when it is constant; owned */
    float threshold, rms;
    struct matched_kernel filter; /* what the matched filter used; radius 0: there was none */
    float gain, saturate;     /* as used */
    double pixel_scale;
    bool scale_known;         /* from the sky or the options; else it is 1 */
    struct {
        double background, detect, measure, psf_model, psf, sky;
    } elapsed_ms;             /* for the log alone: never in a product */
};
void extract_scene_init(struct extract_scene *s);
void extract_scene_release(struct extract_scene *s);

/* Detect and measure one frame.
 * Given:    f        SCI; VAR and MASK where it has them. Not changed
 *           sky      NULL: no sky columns (ret->has tells)
 * Returned: ret      initialised by the caller; released and filled here
 *           quality  may be NULL
 * Status:   0; ERR_SETTINGS; ERR_SHAPE; ERR_NOMEM. A frame without a single usable pixel gives no detections and a
 *           quality of NaN
 * Threads:  uses the OpenMP team; same bytes for any thread count */
enum err extract_frame(const struct frame *f, struct skycoord *sky, const struct extract_options *o, struct detections *ret,
                       struct frame_quality *quality, struct error *err);
/* The same, keeping the scene. consume: the SCI plane becomes the background-subtracted image, which saves a plane. */
enum err extract_frame_scene(struct frame *f, bool consume, struct skycoord *sky, const struct extract_options *o,
                             struct detections *ret, struct frame_quality *quality, struct extract_scene *scene, struct error *err);

/* The steps of it, in this order, for a caller that puts its own between them (pipeline/stages.c). Each takes what the ones
 * before left in the scene; sky columns come last, when the astrometry is known. Detection may run again on the same
 * background: release scene->objects first.
 * Status and threads: as extract_frame(). */
enum err extract_background(struct frame *f, bool consume, struct skycoord *sky, const struct extract_options *o, struct extract_scene *scene,
                            struct error *err);
enum err extract_detect(const struct frame *f, const struct extract_options *o, struct extract_scene *scene, struct error *err);
enum err extract_measure(const struct frame *f, const struct extract_options *o, struct extract_scene *scene, struct detections *ret,
                         struct frame_quality *quality, struct error *err);
/* The PSF of the frame from scene->objects, into scene->psf, unless it is there already; then flux_psf and its like for every
 * object, when columns ask for them. */
enum err extract_psf(const struct frame *f, const struct extract_options *o, struct extract_scene *scene, struct error *err);
enum err extract_psf_photometry(const struct frame *f, const struct extract_options *o, struct extract_scene *scene, struct detections *ret,
                                struct error *err);
enum err extract_psf_cards(const struct extract_scene *scene, struct header *h);
/* The image as measuring sees it; planes stay the scene's. Makes scene->variance where the frame asks for it. ERR_NOMEM */
enum err extract_view(const struct frame *f, const struct extract_options *o, struct extract_scene *scene, struct image_view *ret, struct error *err);
/* sky NULL: nothing is done */
enum err extract_world(struct skycoord *sky, const struct extract_options *o, struct extract_scene *scene, struct detections *ret, struct error *err);

/* Dual-image mode: detect in one frame, measure another one of the same pixels. Both frames are consumed.
 * Given:    detection, how     the frame and the options it is searched with
 *           measured, o        the frame and the options it is measured with
 * Returned: scene    of `measured`, with the objects of `detection`
 * Status:   as extract_frame(); ERR_SHAPE for frames of different sizes */
enum err extract_dual(struct frame *detection, const struct extract_options *how, struct frame *measured, struct skycoord *sky,
                      const struct extract_options *o, struct detections *ret, struct extract_scene *scene, struct error *err);

/* IMAFLAGS_ISO and NIMAFLAGS_ISO from a flag image of nx * ny pixels, as Source Extractor combines them: 0 OR, 1 AND, 2 MIN,
 * 3 MAX, 4 MOST (of the flags that are not 0 the least, the largest, the most frequent). Columns that were not asked for stay as they are. */
void extract_flag_image(const struct objects *objects, const int32_t *flag, int64_t nx, int type, const struct extract_options *o,
                        struct detections *ret);

/* Header cards that tell SCAMP and PSFEx what was done (SEXBKGND, SEXBKDEV, SEXGAIN ...) and, when there is one, what the PSF
 * is (NSPSF..., APCOR...), added to h. */
enum err extract_header_cards(const struct extract_scene *s, const struct extract_options *o, int64_t nobjects, struct header *h);

#endif
