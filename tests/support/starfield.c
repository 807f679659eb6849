#include "tests/support/starfield.h"

#include <math.h>
#include <stdlib.h>

#include "common/units.h"

double star_uniform(uint64_t seed, uint64_t i)
{
    uint64_t z = (seed + 1) * 0xd1342543de82ef95u + i * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return ((double)((z ^ (z >> 31)) >> 11) + 0.5) / 9007199254740992.0;
}

double star_normal(uint64_t seed, uint64_t i)
{
    return sqrt(-2 * log(star_uniform(seed, 2 * i))) * cos(2 * PI * star_uniform(seed, 2 * i + 1));
}

void star_add(float *v, int64_t nx, int64_t ny, double x, double y, double flux, double sigma, double q, double theta_rad)
{
    int64_t reach = (int64_t)ceil(6 * sigma), x0 = (int64_t)floor(x) - reach, y0 = (int64_t)floor(y) - reach;
    double c = cos(theta_rad), s = sin(theta_rad), norm = flux / (2 * PI * sigma * sigma * q);
    for (int64_t j = y0 > 0 ? y0 : 0; j < ny && j <= y0 + 2 * reach + 1; j++) {
        for (int64_t i = x0 > 0 ? x0 : 0; i < nx && i <= x0 + 2 * reach + 1; i++) {
            double dx = (double)i - x, dy = (double)j - y, u = (c * dx + s * dy) / sigma, w = (c * dy - s * dx) / (sigma * q);
            v[j * nx + i] += (float)(norm * exp(-0.5 * (u * u + w * w)));
        }
    }
}

float *starfield_make(int64_t nx, int64_t ny, int64_t n, uint64_t seed)
{
    float *v = malloc((size_t)(nx * ny) * sizeof *v);
    for (int64_t i = 0; v && i < nx * ny; i++)
        v[i] = (float)(1000 + 0.02 * (double)(i % nx) + 10 * star_normal(seed, (uint64_t)(1000 + i)));
    for (int64_t k = 0; v && k < n; k++) {
        const uint64_t stream = seed + 77 + (uint64_t)k * 13;
        double x = star_uniform(stream, 0) * (double)nx, y = star_uniform(stream, 1) * (double)ny;
        double flux = 300 / pow(star_uniform(stream, 2), 1.2), q = star_uniform(stream, 3) < 0.3 ? 0.5 : 1;
        star_add(v, nx, ny, x, y, flux < 300000 ? flux : 300000, 1.5, q, PI * star_uniform(stream, 4));
    }
    return v;
}
