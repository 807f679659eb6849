#include "pipeline/extract.h"

#include <math.h>
#include <stdlib.h>

#include "common/arena.h"

static enum err subtract_rows(const struct frame *f, struct extract_scene *s, struct error *err)
{
    const struct background *b = &s->background;
    int64_t nx = f->nx, ny = f->ny;
    const float *from = f->sci;
    float *to = s->value;
    int failed = 0;
    /* Each row is read and written by one thread. */
#pragma omp parallel default(none) shared(b, nx, ny, from, to) reduction(| : failed)
    {
        double *scratch = mem_array((size_t)background_scratch(b), sizeof *scratch);
        failed |= !scratch;
#pragma omp for schedule(static)
        for (int64_t y = 0; y < ny; y++)
            if (scratch) background_subtract_row(b, y, scratch, from + y * nx, to + y * nx);
        free(scratch);
    }
    return failed ? ERROR(err, ERR_NOMEM, "no memory to subtract the background") : ERR_OK;
}

/* The objects keep where they are and what was filtered; their light is that of the measured image. */
static void take_light(struct objects *os, const float *value, int64_t nx)
{
    for (int64_t i = 0; i < os->n; i++) {
        struct object *o = &os->o[i];
        struct object_pixel *p = os->pixels + o->first;
        o->flux = 0;
        o->peak = -INFINITY;
        for (int64_t k = 0; k < o->npix; k++) {
            float v = value[(int64_t)p[k].y * nx + p[k].x];
            p[k].value = isfinite(v) ? v : 0.0f;
            o->flux += (double)p[k].value;
            o->peak = p[k].value > o->peak ? p[k].value : o->peak;
        }
    }
}

static enum err measure_other(struct frame *detection, const struct extract_options *how, struct extract_scene *found, struct frame *measured,
                              struct skycoord *sky, const struct extract_options *o, struct detections *ret, struct extract_scene *scene,
                              struct error *err)
{
    struct image_view shape;
    struct extract_options options = *o; /* what it owns stays o's */
    enum err e = extract_background(measured, true, sky, o, scene, err);
    if (!e) e = subtract_rows(measured, scene, err);
    if (!e) e = extract_view(detection, how, found, &shape, err);
    if (e) return e;
    scene->objects = found->objects;
    found->objects = (struct objects){0};
    take_light(&scene->objects, scene->value, measured->nx);
    scene->threshold = found->threshold;
    shape.segment = scene->objects.segment;
    options.measure.shape = &shape;
    if (!(o->measure.iso_threshold > 0.0)) options.measure.iso_threshold = o->detect.thresh;
    options.measure.iso_in_sigma = !o->detect.absolute;
    e = extract_measure(measured, &options, scene, ret, NULL, err);
    return e ? e : extract_world(sky, o, scene, ret, err);
}

enum err extract_dual(struct frame *detection, const struct extract_options *how, struct frame *measured, struct skycoord *sky,
                      const struct extract_options *o, struct detections *ret, struct extract_scene *scene, struct error *err)
{
    struct extract_scene found;
    if (detection->nx != measured->nx || detection->ny != measured->ny)
        return ERROR(err, ERR_SHAPE, "cannot detect in %lld x %lld pixels and measure in %lld x %lld", (long long)detection->nx,
                     (long long)detection->ny, (long long)measured->nx, (long long)measured->ny);
    extract_scene_init(&found);
    enum err e = extract_background(detection, true, sky, how, &found, err);
    if (!e) e = extract_detect(detection, how, &found, err);
    if (!e) e = measure_other(detection, how, &found, measured, sky, o, ret, scene, err);
    extract_scene_release(&found);
    return e;
}

/* ---- flag images ------------------------------------------------------------------------------------------------ */

/* How often `flag` stands in the object. */
static int64_t count_flag(const struct object *o, const struct object_pixel *p, const int32_t *plane, int64_t nx, int32_t flag)
{
    int64_t n = 0;
    for (int64_t k = 0; k < o->npix; k++) n += plane[(int64_t)p[k].y * nx + p[k].x] == flag;
    return n;
}

/* Of the flags that are not 0 the most frequent, the first met of equal ones; *n: how often. */
static int32_t most_frequent(const struct object *o, const struct object_pixel *p, const int32_t *plane, int64_t nx, int64_t *n)
{
    int32_t best = 0, last = 0;
    *n = 0;
    for (int64_t k = 0; k < o->npix; k++) {
        int32_t flag = plane[(int64_t)p[k].y * nx + p[k].x];
        if (!flag || flag == last) continue; /* flags come in stretches */
        int64_t m = count_flag(o, p, plane, nx, last = flag);
        if (m > *n) *n = m, best = flag;
    }
    return best;
}

static int32_t combine_flags(const struct object *o, const struct object_pixel *p, const int32_t *plane, int64_t nx, int type, int64_t *n)
{
    if (type == SEX_FLAG_MOST) return most_frequent(o, p, plane, nx, n);
    int32_t r = type == SEX_FLAG_AND ? plane[(int64_t)p[0].y * nx + p[0].x] : 0;
    int64_t lit = 0;
    for (int64_t k = 0; k < o->npix; k++) {
        int32_t flag = plane[(int64_t)p[k].y * nx + p[k].x];
        lit += flag != 0;
        if (type == SEX_FLAG_OR) r |= flag;
        if (type == SEX_FLAG_AND) r &= flag;
        if (type == SEX_FLAG_MIN && flag && (!r || flag < r)) r = flag;
        if (type == SEX_FLAG_MAX && flag > r) r = flag;
    }
    *n = type == SEX_FLAG_OR || type == SEX_FLAG_AND ? lit : r ? count_flag(o, p, plane, nx, r) : 0;
    return r;
}

void extract_flag_image(const struct objects *objects, const int32_t *flag, int64_t nx, int type, const struct extract_options *o,
                        struct detections *ret)
{
    const uint8_t *want = o->measure.want;
    for (int64_t i = 0; i < objects->n && (want[DET_imaflags] || want[DET_nimaflags]); i++) {
        int64_t n;
        int32_t f = combine_flags(&objects->o[i], objects->pixels + objects->o[i].first, flag, nx, type, &n);
        if (want[DET_imaflags]) ret->imaflags[i] = f;
        if (want[DET_nimaflags]) ret->nimaflags[i] = (int32_t)n;
    }
}
