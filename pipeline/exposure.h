/* One CCD of one exposure on its way through the stages (stages.h), and the plan it shares with its like.
 *
 *     exposure_plan   what frames with the same masters, dark time and scale have in common; loaded once, used by many
 *     exposure        one frame in flight: opened, calibrated, judged, written, released
 *
 * Resume by product: a product that is there with the same recipe, raw checksum and masters is not made again.        */
#ifndef NIGHTSHIFT_PIPELINE_EXPOSURE_H
#define NIGHTSHIFT_PIPELINE_EXPOSURE_H

#include "pipeline/extract.h"
#include "pipeline/master.h"
#include "pipeline/provenance.h"
#include "pipeline/quality.h"
#include "pipeline/rawimage.h"
#include "pipeline/referencefile.h"
#include "processors/cosmic.h"
#include "processors/depthmap.h"
#include "processors/wcssolve.h"
#include "processors/zeropoint.h"
#include "processors/streak.h"

#define STAGES_MAX 32

struct exposure_plan {
    const struct instrument *ins;
    struct settings *settings;              /* with those of the instrument file; owned */
    char recipe[DIGEST_HEX_SIZE];
    const struct master_info *used[MASTER_KINDS]; /* NULL: the step is skipped, as asked for */
    const struct reference_file *refs;      /* NULL: the coordinates of the header stay */
    double darktime_s;                      /* times dark_scale: what the dark is multiplied with */
    double dark_scale;                      /* for the CCD temperature; 1 unless the settings ask for it */
    int ccd, namp;
    int64_t nx, ny;
    bool loaded;
    struct calibrate_plan calibrate;        /* valid while loaded */
    struct extract_options extract;         /* likewise */
    struct quality_limits limits;           /* likewise */
    float *fringe;                          /* likewise; NULL: none given */
    struct cosmic_options cosmic;           /* likewise */
    struct streak_options streak;           /* likewise */
    struct rawsignal_options signal;        /* likewise */
    struct wcs_options astrometry;          /* likewise */
    struct zeropoint_options zeropoint;     /* likewise */
};

/* stage_fringe.c: the illumination correction into the plan's flat, the fringe frame beside it. ERR_NO_CALIBRATION, of the files */
enum err fringe_plan_load(struct exposure_plan *p, struct error *err);
/* stage_cosmic.c, stage_streak.c. ERR_USAGE */
enum err streak_options_from_settings(const struct settings *s, struct streak_options *ret, struct error *err);
enum err cosmic_options_from_settings(const struct settings *s, struct cosmic_options *ret, struct error *err);
/* stage_astrometry.c */
struct wcs_options wcs_options_of(const struct settings *s);

enum err exposure_plan_load(struct exposure_plan *p, struct error *err);
void exposure_plan_unload(struct exposure_plan *p);
size_t exposure_plan_bytes(const struct exposure_plan *p);

struct exposure {
    /* given */
    const struct instruments *instruments;
    const struct exposure_plan *plan;
    const char *raw_path, *raw_sum, *out;
    int hdu;
    /* made by the stages */
    struct exposure_meta meta;
    struct header header;
    void *buffer;
    struct raw_rows raw;
    struct frame frame;
    struct calibrate_counts counts;
    struct cosmic_counts cosmic;
    struct streak_counts streaks;
    int64_t bleed;                          /* pixels of bleed trails */
    struct wcs_solution astrometry;         /* against the plan's reference stars */
    struct skycoord *sky;                   /* NULL: no sky coordinates in the header */
    struct extract_scene scene;             /* background, objects, subtracted image: from `background` to `world` */
    struct frame_quality seen;              /* what measuring saw of the frame */
    struct depth_map depth;                 /* flux NULL: there is no PSF to make it with */
    struct detections detections;
    struct header catalogue_header;         /* of LDAC_IMHEAD */
    struct quality quality;
    const char *gain_source;
    char product[512];                      /* relative to out */
    double stage_ms[STAGES_MAX];
};

void exposure_init(struct exposure *e);
void exposure_release(struct exposure *e);

/* Path of a product of this exposure relative to OUT; kind as product_path() takes it. Returned: buf. */
const char *exposure_product(char *buf, int size, const struct exposure_meta *meta, const char *raw_path, const char *kind);

/* Are its products there, made of the same things in the same way? */
bool exposure_is_done(const char *out, const struct exposure_meta *meta, const char *raw_path, const char *raw_sum,
                      const struct exposure_plan *plan);

#endif
