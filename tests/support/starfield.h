/* Small star fields for tests of detection and measurement: the same for a seed on every machine. */
#ifndef NIGHTSHIFT_TESTS_STARFIELD_H
#define NIGHTSHIFT_TESTS_STARFIELD_H

#include <stdint.h>

double star_uniform(uint64_t seed, uint64_t i); /* (0, 1) */
double star_normal(uint64_t seed, uint64_t i);

/* Add a Gaussian source of the given flux: sigma along its long axis, axis ratio q, angle counter-clockwise from +x. */
void star_add(float *v, int64_t nx, int64_t ny, double x, double y, double flux, double sigma, double q, double theta_rad);

/* Sky 1000 with a slope, noise 10, n sources with fluxes from 300 to 300,000 (few bright, many faint), some elongated.
 * free() it. */
float *starfield_make(int64_t nx, int64_t ny, int64_t n, uint64_t seed);

#endif
