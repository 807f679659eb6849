#include "processors/matched_peak.h"

#include <math.h>
#include <stdlib.h>

#include "common/stats.h"
#include "common/units.h"

enum { REACH = 2 /* a line passes within this of the peak */, LONGEST = 7, HALF = REACH + LONGEST - 1, SIDE = 2 * HALF + 1 };

static const float EVEN_LEAST = 1; /* S of the light around it: less may be noise */
static const float MARGIN = 12;    /* by which the square of a line's S must pass that of the PSF: exp(-6) in likelihood */

/* A pixel in units of its noise. Returned: false where there is none. */
static bool pixel_at(const struct detect_input *in, const struct detect_options *o, float sigma, int64_t x, int64_t y, float *ret)
{
    int64_t at = y * in->nx + x;
    if (x < 0 || y < 0 || x >= in->nx || y >= in->ny || !(fabsf(in->image[at]) < 1e30f)) return false;
    if (in->mask && (in->mask[at] & o->holes) && !(in->mask[at] & o->mended)) return false;
    float variance = in->sigma2 ? in->sigma2[at] : in->rms * in->rms;
    *ret = in->image[at] / (sqrtf(variance) * sigma);
    return variance > 0;
}

/* ---- the light around it ---------------------------------------------------------------------------------------------- */

enum { RINGS = 5, SPOKES = 40, STEPS = 2 * SPOKES };

/* Cosines of the first quarter in steps of 4.5 degrees: the rings are turned against each other by half a spoke. */
static const double cosine_of_step[STEPS / 4 + 1] = {
    1.00000000000000, 0.99691733373313, 0.98768834059514, 0.97236992039768, 0.95105651629515,
    0.92387953251129, 0.89100652418837, 0.85264016435409, 0.80901699437495, 0.76040596560003,
    0.70710678118655, 0.64944804833018, 0.58778525229247, 0.52249856471595, 0.45399049973955,
    0.38268343236509, 0.30901699437495, 0.23344536385591, 0.15643446504023, 0.07845909572784,
    0.00000000000000,
};

static double cosine(int step)
{
    step = abs(step) % STEPS;
    if (step > STEPS / 2) step = STEPS - step;
    return step > STEPS / 4 ? -cosine_of_step[STEPS / 2 - step] : cosine_of_step[step];
}

/* Mean of the middle half of n values, which are put into another order. */
static double middle_mean(float *v, int n)
{
    int quarter = n / 4, middle = n - 2 * quarter;
    double sum = 0;
    select_f32(v, n, quarter);
    if (middle < n - quarter) select_f32(v + quarter, n - quarter, middle);
    for (int i = quarter; i < quarter + middle; i++) sum += (double)v[i];
    return sum / middle;
}

float matched_excess(const struct detect_input *in, const struct detect_options *o, const struct matched_noise *noise, int32_t x,
                     int32_t y, float snr)
{
    float v[RINGS * SPOKES];
    const struct matched_kernel *k = &o->matched->kernel;
    int n = 0;
    for (int ring = 0; ring < RINGS; ring++)
        for (int spoke = 0; spoke < SPOKES; spoke++) {
            double radius = (1.8 + 0.3 * ring) * k->fwhm;
            int step = 2 * spoke + ring % 2;
            n += pixel_at(in, o, (float)noise->sigma, x + lrint(radius * cosine(step)), y + lrint(radius * cosine(step - STEPS / 4)), &v[n]);
        }
    if (n < RINGS * SPOKES / 4) return snr;
    double level = middle_mean(v, n) / sqrt(k->norm2) - noise->zero / noise->sigma; /* even light of one sigma has S = 1 / sqrt(norm2) */
    return level > 0 ? snr - (float)level : snr;
}

/* ---- sharpness -------------------------------------------------------------------------------------------------------- */

struct window {
    float z[SIDE][SIDE];   /* pixels around the peak in units of their noise; 0 where there is none */
    bool own[SIDE][SIDE];  /* of the part */
};

static void cut(const struct detect_input *in, const struct detect_options *o, float sigma, int32_t x0, int32_t y0, struct window *w)
{
    for (int j = 0; j < SIDE; j++)
        for (int i = 0; i < SIDE; i++) {
            w->own[j][i] = false;
            if (!pixel_at(in, o, sigma, x0 + i - HALF, y0 + j - HALF, &w->z[j][i])) w->z[j][i] = 0;
        }
}

static void mark_own(const struct object_pixel *p, int64_t n, int32_t x0, int32_t y0, struct window *w)
{
    for (int64_t k = 0; k < n; k++) {
        int32_t i = p[k].x - x0 + HALF, j = p[k].y - y0 + HALF;
        if (i >= 0 && i < SIDE && j >= 0 && j < SIDE) w->own[j][i] = true;
    }
}

/* The best line through the pixels, as S^2. Each line is grown pixel by pixel from its start. */
static float best_line(const struct window *w, float level)
{
    /* two steps of each direction, taken in turn */
    static const int8_t step[8][4] = {{1, 0, 1, 0}, {1, 0, 1, 1}, {1, 1, 1, 1}, {0, 1, 1, 1}, {0, 1, 0, 1}, {0, 1, -1, 1}, {-1, 1, -1, 1}, {-1, 0, -1, 1}};
    float best = 0;
    for (int y = HALF - REACH; y <= HALF + REACH; y++)
        for (int x = HALF - REACH; x <= HALF + REACH; x++)
            for (int d = 0; d < 8; d++) {
                float sum = 0;
                int i = x, j = y;
                for (int n = 1; n <= LONGEST && w->own[j][i]; n++) {
                    sum += w->z[j][i] - level;
                    float s2 = sum > 0 ? sum * sum / (float)n : 0;
                    best = s2 > best ? s2 : best;
                    i += step[d][n & 1 ? 0 : 2];
                    j += step[d][n & 1 ? 1 : 3];
                }
            }
    return best;
}

/* The best square of 2 x 2 pixels: tracks that cross from one row of pixels to the next. */
static float best_block(const struct window *w, float level)
{
    float best = 0;
    for (int y = HALF - REACH; y < HALF + REACH; y++)
        for (int x = HALF - REACH; x < HALF + REACH; x++) {
            float sum = w->z[y][x] + w->z[y][x + 1] + w->z[y + 1][x] + w->z[y + 1][x + 1] - 4 * level;
            best = sum > 0 && sum * sum / 4 > best ? sum * sum / 4 : best;
        }
    return best;
}

bool matched_is_sharp(const struct detect_input *in, const struct detect_options *o, const struct matched_noise *noise,
                      const struct deblend_part *part, const struct object_pixel *p, int64_t n)
{
    struct window w;
    const struct matched_kernel *k = &o->matched->kernel;
    cut(in, o, (float)noise->sigma, part->xpeak, part->ypeak, &w);
    mark_own(p, n, part->xpeak, part->ypeak, &w);
    float own = part->excess, even = part->snr - own;
    if (even < EVEN_LEAST) own = part->snr, even = 0;
    own = own > 0 ? own : 0;
    float level = even * (float)sqrt(k->norm2);
    float line = best_line(&w, level), block = best_block(&w, level);
    return (line > block ? line : block) > own * own + MARGIN;
}
