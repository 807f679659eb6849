/* Cleaning: detections that are no more than the wing of a brighter neighbour.
 *
 * Each object gets a Moffat profile of exponent beta through its peak and its isophote. An object stays if it would still
 * be detected without the light that the profiles of brighter objects put at its place: that is, if the brightest
 * `minarea` of its pixels pass the threshold by more than that light.
 * Wings end ten semi-axes (of both objects together) away.
 * Source: Bertin & Arnouts 1996, A&AS 117, 393, section 3.4, with Moffat wings (Source Extractor manual, CLEAN_PARAM).
 * Differences: neighbours are found in grids of classes of reach instead of comparing all pairs; the light of the one
 * brightest wing counts, as in Source Extractor; objects are judged from the brightest down, so the result does not
 * depend on the order in which the image was scanned, and a wing goes to the neighbour that outshines it most.          */
#ifndef NIGHTSHIFT_PROCESSORS_CLEAN_H
#define NIGHTSHIFT_PROCESSORS_CLEAN_H

#include <stdint.h>

#include "common/err.h"

struct clean_object {
    double x, y;
    double flux;          /* filtered, over the isophote */
    double amplitude;     /* of the profile at its centre */
    double alpha;         /* profile: amplitude (1 + alpha (cxx dx^2 + cyy dy^2 + cxy dx dy))^-beta */
    float cxx, cyy, cxy;
    float a;              /* longest semi-axis, for the reach */
    float margin;         /* how far the minarea-th brightest filtered pixel passes the threshold */
};

/* Which objects are wings?
 * Returned:  ret_into   n entries: the object it merges with (itself a keeper), or -1 for a keeper
 * Status:    0; ERR_NOMEM
 * Threads:   objects in parallel, then those whose neighbour fell are judged again in order of flux */
enum err clean_objects(const struct clean_object *o, int64_t n, int64_t nx, int64_t ny, double beta, int64_t *ret_into,
                       struct error *err);

#endif
