#include "processors/overscan.h"

#include <assert.h>
#include <math.h>

#include "common/stats.h"
#include "common/units.h"

#define OVERSCAN_MAX   512 /* columns looked at: more say nothing new about a level */
#define OVERSCAN_CLIP  3.0f
#define OVERSCAN_FLOOR 0.5f /* ADU: the digitiser's steps make a MAD of 0 possible */

bool amp_run_of_row(const struct amp *a, int64_t dest_y, struct amp_run *ret)
{
    if (dest_y < a->dest.y0 || dest_y >= a->dest.y1) return false;
    int64_t row = dest_y - a->dest.y0;
    ret->raw_y = a->flip_y ? a->data.y1 - 1 - row : a->data.y0 + row;
    ret->raw_x = a->data.x0;
    ret->dest_x = a->dest.x0;
    ret->n = section_nx(a->dest);
    return true;
}

void amps_raw_rows(const struct amp *amps, int namp, int64_t dest_y0, int64_t dest_y1, int64_t *y0, int64_t *y1)
{
    *y0 = INT64_MAX;
    *y1 = 0;
    for (int i = 0; i < namp; i++) {
        struct amp_run first, last;
        int64_t lo = dest_y0 > amps[i].dest.y0 ? dest_y0 : amps[i].dest.y0;
        int64_t hi = dest_y1 < amps[i].dest.y1 ? dest_y1 : amps[i].dest.y1;
        if (lo >= hi || !amp_run_of_row(&amps[i], lo, &first) || !amp_run_of_row(&amps[i], hi - 1, &last)) continue;
        int64_t a = first.raw_y < last.raw_y ? first.raw_y : last.raw_y;
        int64_t b = first.raw_y < last.raw_y ? last.raw_y : first.raw_y;
        if (a < *y0) *y0 = a;
        if (b + 1 > *y1) *y1 = b + 1;
    }
    if (*y0 > *y1) *y0 = *y1;
}

static bool inside(struct section s, int64_t nx, int64_t ny)
{
    return s.x0 >= 0 && s.y0 >= 0 && s.x1 <= nx && s.y1 <= ny && s.x0 < s.x1 && s.y0 < s.y1;
}

static bool overlap(struct section a, struct section b)
{
    return a.x0 < b.x1 && b.x0 < a.x1 && a.y0 < b.y1 && b.y0 < a.y1;
}

enum err amps_verify(const struct amp *amps, int namp, int64_t raw_nx, int64_t raw_ny, int64_t nx, int64_t ny,
                     struct error *err)
{
    if (namp < 1 || namp > AMPS_MAX) return ERROR(err, ERR_SHAPE, "cannot use %d amplifiers", namp);
    for (int i = 0; i < namp; i++) {
        const struct amp *a = &amps[i];
        if (!inside(a->data, raw_nx, raw_ny))
            return ERROR(err, ERR_SHAPE, "data section of amplifier '%s' leaves the stored array", a->name);
        if (!inside(a->dest, nx, ny))
            return ERROR(err, ERR_SHAPE, "amplifier '%s' leaves the trimmed frame", a->name);
        if (section_nx(a->data) != section_nx(a->dest) || section_ny(a->data) != section_ny(a->dest))
            return ERROR(err, ERR_SHAPE, "data section of amplifier '%s' has another size than its place", a->name);
        if (a->overscan.x1 > a->overscan.x0 && (a->overscan.x0 < 0 || a->overscan.x1 > raw_nx))
            return ERROR(err, ERR_SHAPE, "overscan of amplifier '%s' leaves the stored array", a->name);
        for (int j = 0; j < i; j++)
            if (overlap(a->dest, amps[j].dest))
                return ERROR(err, ERR_SHAPE, "amplifiers '%s' and '%s' overlap", amps[j].name, a->name);
    }
    return ERR_OK;
}

#define REVERSE(type, p, n)                            \
    for (int64_t i_ = 0, j_ = (n) - 1; i_ < j_; i_++, j_--) { \
        type t_ = (p)[i_];                             \
        (p)[i_] = (p)[j_];                             \
        (p)[j_] = t_;                                  \
    }

void amps_unflip(struct raw_rows *raw, const struct amp *amps, int namp)
{
    for (int i = 0; i < namp; i++) {
        const struct amp *a = &amps[i];
        if (!a->flip_x) continue;
        int64_t y0 = raw->y0 > a->data.y0 ? raw->y0 : a->data.y0;
        int64_t y1 = raw->y1 < a->data.y1 ? raw->y1 : a->data.y1;
        for (int64_t y = y0; y < y1; y++) {
            int64_t at = (y - raw->y0) * raw->nx + a->data.x0, n = section_nx(a->data);
            if (raw->u16) REVERSE(uint16_t, raw->u16 + at, n) else REVERSE(float, raw->f32 + at, n)
        }
    }
}

/* Mean of the values within the clip about the median. */
static float level_of(float *v, float *work, int n)
{
    for (int i = 0; i < n; i++) work[i] = v[i];
    float median = median_f32(work, n);
    float sigma = mad_sigma_f32(work, n, median);
    float reach = OVERSCAN_CLIP * (sigma > OVERSCAN_FLOOR ? sigma : OVERSCAN_FLOOR);
    double sum = 0;
    int kept = 0;
    for (int i = 0; i < n; i++)
        if (fabsf(v[i] - median) <= reach) {
            sum += v[i];
            kept++;
        }
    return kept ? (float)(sum / kept) : median;
}

float overscan_level(const struct raw_rows *raw, const struct amp *a, int64_t raw_y)
{
    assert(raw_y >= raw->y0 && raw_y < raw->y1);
    int64_t x0 = a->overscan.x0, x1 = a->overscan.x1;
    if (x1 <= x0) return 0;
    if (x1 - x0 > OVERSCAN_MAX) x1 = x0 + OVERSCAN_MAX;
    float v[OVERSCAN_MAX], work[OVERSCAN_MAX];
    int n = 0;
    int64_t at = (raw_y - raw->y0) * raw->nx;
    for (int64_t x = x0; x < x1; x++) {
        float value = raw->u16 ? (float)raw->u16[at + x] : raw->f32[at + x];
        if (isfinite(value)) v[n++] = value;
    }
    return n ? level_of(v, work, n) : NAN;
}
