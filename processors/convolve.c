#include "processors/convolve.h"

#include <math.h>
#include <stddef.h>

#include "common/isa.h"
#include "processors/detect_kernels.h"

static const float pyramid[9] = {1 / 16.f, 2 / 16.f, 1 / 16.f, 2 / 16.f, 4 / 16.f, 2 / 16.f, 1 / 16.f, 2 / 16.f, 1 / 16.f};
const struct convolve_kernel convolve_pyramid = {3, 3, pyramid};

const struct detect_kernels *detect_kernels(void)
{
#ifdef NIGHTSHIFT_HAVE_AVX2
    if (isa_level() == ISA_AVX2) return &detect_kernels_avx2;
#endif
    return &detect_kernels_generic;
}

enum err convolve_verify(const struct convolve_kernel *k, struct error *err)
{
    if (k->nx < 1 || k->ny < 1 || k->nx > CONVOLVE_SIDE_MAX || k->ny > CONVOLVE_SIDE_MAX || !k->weight)
        return ERROR(err, ERR_SETTINGS, "cannot filter with a kernel of %d x %d: sides of 1 to %d are possible", k->nx, k->ny,
                     CONVOLVE_SIDE_MAX);
    for (int i = 0; i < k->nx * k->ny; i++)
        if (!isfinite(k->weight[i])) return ERROR(err, ERR_SETTINGS, "cannot filter: weight %d of the kernel is not a number", i + 1);
    return ERR_OK;
}

int convolve_margin(const struct convolve_kernel *k)
{
    return (k->nx / 2 + 15) / 16 * 16;
}

void convolve_row(const struct convolve_kernel *k, const float *const *rows, int64_t nx, float *ret)
{
    const float *shifted[CONVOLVE_SIDE_MAX];
    for (int j = 0; j < k->ny; j++) shifted[j] = rows[j] - k->nx / 2;
    switch (k->nx == k->ny ? k->nx : 0) {
    case 3: detect_kernels()->correlate3(shifted, k->weight, nx, ret); break;
    case 5: detect_kernels()->correlate5(shifted, k->weight, nx, ret); break;
    case 7: detect_kernels()->correlate7(shifted, k->weight, nx, ret); break;
    default: detect_kernels()->correlate(shifted, k->weight, k->nx, k->ny, nx, ret);
    }
}
