/* Objects on the sphere, found by direction: what association matches against. */
#ifndef NIGHTSHIFT_CATALOG_SKYMATCH_H
#define NIGHTSHIFT_CATALOG_SKYMATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

struct skyobject {
    int64_t id;
    double ra, dec;  /* founding position, deg ICRS */
    double v[3];
    int next;        /* in its cube */
    bool fresh;      /* founded in this rebuild */
    bool seen;
    int64_t founder; /* index of the founding detection when fresh */
};

struct skymatch {
    double cell, chord2;    /* side of a cube; largest chord squared */
    struct skyobject *objects;
    int n, capacity;
    int *heads, slots;      /* cubes, open addressing */
    int64_t *ids;           /* ids in use, open addressing; -1 empty */
    int64_t id_slots;
};

enum err skymatch_init(struct skymatch *m, double radius_deg, struct error *err);
void skymatch_release(struct skymatch *m);
/* An object that is there already. */
enum err skymatch_add(struct skymatch *m, int64_t id, double ra, double dec, int *ret, struct error *err);
bool skymatch_has_id(const struct skymatch *m, int64_t id);

/* Objects with index below `limit` within the radius of v: at most max, nearest first is not promised. Returned: count. */
int skymatch_near(const struct skymatch *m, const double v[3], int limit, int *ret, double *ret_chord2, int max);

void sky_vector(double ra, double dec, double v[3]);

#endif
