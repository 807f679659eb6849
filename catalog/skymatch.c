#include "catalog/skymatch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/units.h"

void sky_vector(double ra, double dec, double v[3])
{
    double a = ra * RAD_PER_DEG, d = dec * RAD_PER_DEG;
    v[0] = cos(d) * cos(a);
    v[1] = cos(d) * sin(a);
    v[2] = sin(d);
}

static void cube_of(const struct skymatch *m, const double v[3], int64_t c[3])
{
    for (int k = 0; k < 3; k++) c[k] = (int64_t)floor(v[k] / m->cell);
}

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9E3779B97F4A7C15u;
    return h ^ (h >> 29);
}

static int slot_of(const struct skymatch *m, const int64_t c[3])
{
    uint64_t h = mix(mix(mix(1, (uint64_t)c[0]), (uint64_t)c[1]), (uint64_t)c[2]);
    int slot = (int)(h & (uint64_t)(m->slots - 1));
    for (; m->heads[slot] >= 0; slot = (slot + 1) & (m->slots - 1)) {
        int64_t d[3];
        cube_of(m, m->objects[m->heads[slot]].v, d);
        if (c[0] == d[0] && c[1] == d[1] && c[2] == d[2]) break;
    }
    return slot;
}

static void link_object(struct skymatch *m, int i)
{
    int64_t c[3];
    cube_of(m, m->objects[i].v, c);
    int slot = slot_of(m, c);
    m->objects[i].next = m->heads[slot];
    m->heads[slot] = i;
}

static int64_t id_slot(const struct skymatch *m, int64_t id)
{
    int64_t slot = (int64_t)(mix(7, (uint64_t)id) & (uint64_t)(m->id_slots - 1));
    while (m->ids[slot] >= 0 && m->ids[slot] != id) slot = (slot + 1) & (m->id_slots - 1);
    return slot;
}

bool skymatch_has_id(const struct skymatch *m, int64_t id)
{
    return m->n > 0 && m->ids[id_slot(m, id)] == id;
}

static enum err grow(struct skymatch *m, struct error *err)
{
    int capacity = m->capacity ? 2 * m->capacity : 1024;
    struct skyobject *objects = realloc(m->objects, (size_t)capacity * sizeof *objects);
    if (objects) m->objects = objects;
    int *heads = objects ? malloc((size_t)capacity * 2 * sizeof *heads) : NULL;
    int64_t *ids = heads ? malloc((size_t)capacity * 2 * sizeof *ids) : NULL;
    if (!ids) {
        free(heads);
        return ERROR(err, ERR_NOMEM, "could not index %d objects: out of memory", capacity);
    }
    free(m->heads);
    free(m->ids);
    m->heads = heads;
    m->ids = ids;
    m->capacity = capacity;
    m->slots = 2 * capacity;
    m->id_slots = 2 * capacity;
    memset(heads, -1, (size_t)m->slots * sizeof *heads);
    memset(ids, -1, (size_t)m->id_slots * sizeof *ids);
    for (int i = 0; i < m->n; i++) {
        link_object(m, i);
        m->ids[id_slot(m, m->objects[i].id)] = m->objects[i].id;
    }
    return ERR_OK;
}

enum err skymatch_init(struct skymatch *m, double radius_deg, struct error *err)
{
    double chord = 2 * sin(radius_deg * RAD_PER_DEG / 2);
    *m = (struct skymatch){.cell = chord, .chord2 = chord * chord};
    return grow(m, err);
}

void skymatch_release(struct skymatch *m)
{
    free(m->objects);
    free(m->heads);
    free(m->ids);
    *m = (struct skymatch){0};
}

enum err skymatch_add(struct skymatch *m, int64_t id, double ra, double dec, int *ret, struct error *err)
{
    enum err e = m->n == m->capacity ? grow(m, err) : ERR_OK;
    if (e) return e;
    struct skyobject *o = &m->objects[m->n];
    *o = (struct skyobject){.id = id, .ra = ra, .dec = dec, .next = -1, .founder = -1};
    sky_vector(ra, dec, o->v);
    link_object(m, m->n);
    m->ids[id_slot(m, id)] = id;
    if (ret) *ret = m->n;
    m->n++;
    return ERR_OK;
}

int skymatch_near(const struct skymatch *m, const double v[3], int limit, int *ret, double *ret_chord2, int max)
{
    int64_t c[3], d[3];
    int n = 0;
    cube_of(m, v, c);
    for (int k = 0; k < 27; k++) {
        d[0] = c[0] + k % 3 - 1, d[1] = c[1] + k / 3 % 3 - 1, d[2] = c[2] + k / 9 - 1;
        for (int i = m->heads[slot_of(m, d)]; i >= 0; i = m->objects[i].next) {
            const double *u = m->objects[i].v;
            double r2 = (u[0] - v[0]) * (u[0] - v[0]) + (u[1] - v[1]) * (u[1] - v[1]) + (u[2] - v[2]) * (u[2] - v[2]);
            if (i >= limit || r2 > m->chord2 || n == max) continue;
            ret[n] = i;
            ret_chord2[n++] = r2;
        }
    }
    return n;
}
