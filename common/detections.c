#include "common/detections.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct description {
    const char *name, *unit, *ucd, *display, *meaning;
    enum column_type type;
    size_t offset; /* of the array's pointer in struct detections */
};

#define TYPE_i16 COLUMN_I16
#define TYPE_i32 COLUMN_I32
#define TYPE_i64 COLUMN_I64
#define TYPE_f32 COLUMN_F32
#define TYPE_f64 COLUMN_F64

static const struct description descriptions[DETECTION_COLUMN_COUNT] = {
#define X(field, type, name, unit, ucd, disp, what) \
    [DET_##field] = {name, unit, ucd, disp, what, TYPE_##type, offsetof(struct detections, field)},
    DETECTION_COLUMNS(X)
#undef X
    [DET_flux_aper] = {"FLUX_APER", "", "phot.count", "G12.7", "fluxes in circular apertures", COLUMN_F32,
                       offsetof(struct detections, flux_aper)},
    [DET_fluxerr_aper] = {"FLUXERR_APER", "", "stat.error;phot.count", "G12.7", "their errors", COLUMN_F32,
                          offsetof(struct detections, fluxerr_aper)},
    [DET_mag_aper] = {"MAG_APER", "mag", "phot.mag", "F8.4", "aperture magnitudes", COLUMN_F32,
                      offsetof(struct detections, mag_aper)},
    [DET_magerr_aper] = {"MAGERR_APER", "mag", "stat.error;phot.mag", "F8.4", "their errors", COLUMN_F32,
                         offsetof(struct detections, magerr_aper)},
    [DET_flux_radius] = {"FLUX_RADIUS", "pixel", "phys.angSize;src", "F10.3", "radii that hold the fractions of the flux", COLUMN_F32,
                         offsetof(struct detections, flux_radius)},
    [DET_vignet] = {"VIGNET", "", "obs.image", "G12.7", "pixels around the object, neighbours as -1e30", COLUMN_F32,
                    offsetof(struct detections, vignet)},
};

static size_t type_size(enum column_type t)
{
    switch (t) {
    case COLUMN_I16: return 2;
    case COLUMN_I64:
    case COLUMN_F64: return 8;
    default: return 4;
    }
}

static int repeat_of(const struct detections *d, enum detection_column c)
{
    switch (c) {
    case DET_flux_aper:
    case DET_fluxerr_aper:
    case DET_mag_aper:
    case DET_magerr_aper: return d->naper;
    case DET_flux_radius: return d->nfrac;
    case DET_vignet: return d->vig_nx * d->vig_ny;
    default: return 1;
    }
}

static void **array_of(struct detections *d, enum detection_column c)
{
    return (void **)(void *)((char *)d + descriptions[c].offset);
}

void detections_init(struct detections *d)
{
    *d = (struct detections){0};
}

void detections_release(struct detections *d)
{
    free(d->block);
    detections_init(d);
}

/* Bytes of column c rounded up to whole cache lines, or false when they overflow. */
static bool column_bytes(const struct detections *d, enum detection_column c, int64_t n, size_t *ret)
{
    size_t bytes;
    if (__builtin_mul_overflow((size_t)n, (size_t)repeat_of(d, c), &bytes)) return false;
    if (__builtin_mul_overflow(bytes, type_size(descriptions[c].type), &bytes)) return false;
    if (bytes > SIZE_MAX / 2) return false;
    *ret = (bytes + 63) / 64 * 64;
    return true;
}

enum err detections_alloc(struct detections *d, int64_t n, int naper, int nfrac, int vig_nx, int vig_ny, struct error *err)
{
    if (n < 0 || naper < 0 || nfrac < 0 || vig_nx < 0 || vig_ny < 0 || (vig_nx > 0 && vig_ny > INT32_MAX / vig_nx))
        return ERROR(err, ERR_SHAPE, "a detection table of %lld rows and vectors of %d, %d, %d x %d makes no sense", (long long)n, naper, nfrac, vig_nx, vig_ny);
    struct detections t = {.n = n, .capacity = n, .naper = naper, .nfrac = nfrac, .vig_nx = vig_nx, .vig_ny = vig_ny};
    size_t total = 64, bytes[DETECTION_COLUMN_COUNT];
    for (int c = 0; c < DETECTION_COLUMN_COUNT; c++)
        if (!column_bytes(&t, c, n, &bytes[c]) || __builtin_add_overflow(total, bytes[c], &total) || total > SIZE_MAX / 2)
            return ERROR(err, ERR_NOMEM, "a detection table of %lld rows is larger than memory", (long long)n);
    t.block = calloc(total, 1);
    if (!t.block) return ERROR(err, ERR_NOMEM, "no memory for a detection table of %lld rows (%zu bytes)", (long long)n, total);
    char *p = (char *)(((uintptr_t)t.block + 63) / 64 * 64);
    for (int c = 0; c < DETECTION_COLUMN_COUNT; p += bytes[c++])
        if (repeat_of(&t, c) > 0) *array_of(&t, c) = p;
    if (vig_nx && vig_ny) snprintf(t.vignet_dim, sizeof t.vignet_dim, "(%d,%d)", vig_nx, vig_ny);
    detections_release(d);
    *d = t;
    return ERR_OK;
}

int detection_column_find(const char *name)
{
    size_t length = strcspn(name, "([ \t\r\n");
    for (int c = 0; c < DETECTION_COLUMN_COUNT; c++)
        if (strlen(descriptions[c].name) == length && !strncasecmp(descriptions[c].name, name, length)) return c;
    return -1;
}

const char *detection_column_name(enum detection_column c)
{
    return (unsigned)c < DETECTION_COLUMN_COUNT ? descriptions[c].name : "?";
}

/* Columns counted in the image's unit: their TUNIT is the caller's. */
static bool in_flux_unit(enum detection_column c)
{
    const char *name = descriptions[c].name;
    return (!strncmp(name, "FLUX", 4) && c != DET_flux_radius) || c == DET_background || c == DET_threshold || c == DET_vignet;
}

void detections_columns(const struct detections *d, const enum detection_column *which, int n, const char *flux_unit,
                        struct column *ret)
{
    for (int i = 0; i < n; i++) {
        const struct description *s = &descriptions[which[i]];
        ret[i] = (struct column){
            .name = s->name,
            .unit = in_flux_unit(which[i]) ? flux_unit : s->unit,
            .comment = s->meaning,
            .ucd = s->ucd,
            .display = s->display,
            .type = s->type,
            .repeat = repeat_of(d, which[i]),
            .data = *array_of((struct detections *)(uintptr_t)d, which[i]),
            .dim = which[i] == DET_vignet ? d->vignet_dim : NULL,
        };
    }
}
