/* Stellarity: is it a star? Two ways.
 *
 * (1) Source Extractor's network, when the user gives its weights (a .nnw file): eight isophotal areas in units of the
 *     seeing disc, peak over threshold and seeing, all as log10, scaled, through 10 hidden and 1 output sigmoid. Source:
 *     Bertin & Arnouts 1996, section 8; the order and the units of the inputs were found by matching CLASS_STAR of Source
 *     Extractor 2.25 (agreement 3e-7).
 * (2) Without weights: the distance of an object's half-light radius from the frame's own stellar locus, in units of the
 *     locus' width and the object's noise. 1: on the locus, 0: off it, about 0.5 where the noise cannot tell.          */
#ifndef NIGHTSHIFT_PROCESSORS_STELLARITY_H
#define NIGHTSHIFT_PROCESSORS_STELLARITY_H

#include <stdint.h>

#include "common/err.h"

#define NETWORK_INPUTS 10
#define NETWORK_HIDDEN 10

struct star_network {
    float bias[NETWORK_INPUTS], scale[NETWORK_INPUTS];
    float hidden[NETWORK_HIDDEN][NETWORK_INPUTS + 1]; /* last: bias */
    float output[NETWORK_HIDDEN + 1];
    float out_bias, out_scale;
};

/* iso: areas in pixels; peak and threshold in image units; seeing and pixel scale in arcsec. */
float stellarity_network(const struct star_network *net, const int32_t iso[8], double peak, double threshold, double seeing, double pixel_scale);

struct star_sample {   /* what the locus is made from, one per object */
    float r50;         /* half-light radius, pixels; <= 0: not usable */
    float snr;
    int16_t flags;     /* enum detection_flag */
    float fwhm, ellipticity;
};
struct stellar_locus {
    double r50;        /* half-light radius of the frame's stars, 0: too few objects */
    double width;      /* its scatter, 1 sigma */
    int64_t n;         /* objects on the locus */
    double fwhm, ellipticity; /* their medians */
};
/* The locus: half-sample mode of r50 of the unflagged objects with snr > 20 (or the best half when those are few), then
 * the scatter about it. Status: 0, ERR_NOMEM. Source: half-sample mode, Bickel & Fruehwirth 2006, CSDA 50, 3500. */
enum err stellar_locus_find(const struct star_sample *s, int64_t n, struct stellar_locus *ret, struct error *err);
/* Is the object on the locus, within 3 widths? */
int stellar_locus_holds(const struct stellar_locus *l, const struct star_sample *s);
float stellarity_locus(const struct stellar_locus *l, const struct star_sample *s);

#endif
