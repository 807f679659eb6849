/* Sections of the amplifiers: where sky and overscan stand in the raw array and where each amplifier goes in the trimmed
 * frame.
 *
 *     raw    | pre | data 1 | data 2 | over 1 | over 2 |        DETSEC, or left to right without the gaps
 *     trimmed      | dest 1 | dest 2 |
 *
 * What a header leaves out is taken as follows, and said in a note where it could surprise: no data section: all but an
 * overscan at the left or right edge; no destination: the data sections pushed together. A header that still names an
 * overscan outside the array belongs to a frame that was trimmed before.                                            */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/instrument_rules.h"
#include "common/text.h"

#define SECTION_SIZE 80

struct amps_context {
    const struct instrument *ins;
    struct value_context values;
    struct exposure_meta *meta;
    struct error *err;
};

static bool is_empty(struct section s)
{
    return s.x1 <= s.x0 || s.y1 <= s.y0;
}

static bool overlap(struct section a, struct section b)
{
    return !is_empty(a) && !is_empty(b) && a.x0 < b.x1 && b.x0 < a.x1 && a.y0 < b.y1 && b.y0 < a.y1;
}

static bool is_whole(struct section s, int64_t nx, int64_t ny)
{
    return s.x0 == 0 && s.y0 == 0 && s.x1 == nx && s.y1 == ny;
}

/* "[0:0,0:0]", "none", "UNKNOWN" say that there is no such section. */
static bool says_nothing(const char *text)
{
    return !text[strspn(text, "[]():,0 ")] || !text[strcspn(text, "123456789*:")];
}

/* The text of a section; false when the header has none. */
static bool section_text(const struct amps_context *c, enum quantity_id id, char *ret)
{
    return quantity_text(c->ins, id, &c->values, ret, SECTION_SIZE) && !(says_nothing(ret) && strcmp(ret, "[:,:]"));
}

static enum err read_data(struct amps_context *c, struct amp *a, bool *ret_given)
{
    char text[SECTION_SIZE];
    *ret_given = section_text(c, Q_AMP_DATA, text);
    if (!*ret_given) {
        a->data = (struct section){0, c->meta->raw_nx, 0, c->meta->raw_ny};
        return ERR_OK;
    }
    enum err e = section_parse(text, c->meta->raw_nx, c->meta->raw_ny, &a->data, &a->flip_x, &a->flip_y, c->err);
    /* A lone amplifier stays as it was read out: its WCS counts those pixels, and nothing has to fit beside it. */
    if (c->meta->namp == 1) a->flip_x = a->flip_y = false;
    return e ? ERR_CORRUPT : ERR_OK;
}

/* Overscan beside the data: cut what overlaps, or cut the data when nothing said where it stands. */
static enum err fit_overscan(struct amps_context *c, struct amp *a, bool data_given, const char *text)
{
    struct section *o = &a->overscan, *d = &a->data;
    if (!overlap(*o, *d)) return ERR_OK;
    if (!data_given && o->x1 == c->meta->raw_nx && o->x0 > 0) {
        d->x1 = o->x0;
    } else if (!data_given && o->x0 == 0 && o->x1 < c->meta->raw_nx) {
        d->x0 = o->x1;
    } else if (o->x1 > d->x1) {
        meta_note(c->meta, "the overscan %s overlaps the data section: its first %lld columns are not used", text,
                  (long long)(d->x1 - o->x0));
        o->x0 = d->x1;
    } else if (o->x0 < d->x0) {
        meta_note(c->meta, "the overscan %s overlaps the data section: its last %lld columns are not used", text,
                  (long long)(o->x1 - d->x0));
        o->x1 = d->x0;
    } else {
        return ERROR(c->err, ERR_CORRUPT, "the overscan section '%s' lies inside the data section", text);
    }
    return ERR_OK;
}

static enum err read_overscan(struct amps_context *c, struct amp *a, bool data_given)
{
    char text[SECTION_SIZE];
    int64_t nx = c->meta->raw_nx, ny = c->meta->raw_ny;
    if (!section_text(c, Q_AMP_OVERSCAN, text)) return ERR_OK;
    enum err e = section_parse(text, nx, ny, &a->overscan, NULL, NULL, c->err);
    if (e == ERR_SHAPE && (!data_given || is_whole(a->data, nx, ny))) {
        error_clear(c->err);
        a->overscan = (struct section){0};
        meta_note(c->meta, "the overscan %s leaves the array of %lld x %lld: taken as trimmed before", text, (long long)nx, (long long)ny);
        return ERR_OK;
    }
    if (e) return ERR_CORRUPT;
    return fit_overscan(c, a, data_given, text);
}

static enum err read_prescan(struct amps_context *c, struct amp *a)
{
    char text[SECTION_SIZE];
    if (!section_text(c, Q_AMP_PRESCAN, text)) return ERR_OK;
    if (section_parse(text, c->meta->raw_nx, c->meta->raw_ny, &a->prescan, NULL, NULL, c->err)) return ERR_CORRUPT;
    if (overlap(a->prescan, a->data))
        return ERROR(c->err, ERR_CORRUPT, "the parallel overscan section '%s' lies inside the data section", text);
    return ERR_OK;
}

/* DETSEC counts unbinned pixels of the whole detector or mosaic: here still absolute, already binned. */
static enum err read_dest(struct amps_context *c, struct amp *a, bool *ret_given)
{
    char text[SECTION_SIZE];
    bool flip_x = false, flip_y = false;
    *ret_given = section_text(c, Q_AMP_DEST, text);
    if (!*ret_given) return ERR_OK;
    struct section s;
    if (section_parse(text, FRAME_MAX_SIDE, FRAME_MAX_SIDE, &s, &flip_x, &flip_y, c->err)) return ERR_CORRUPT;
    int64_t nx = section_nx(a->data), ny = section_ny(a->data), bx = c->meta->binning_x, by = c->meta->binning_y;
    if (section_nx(s) != nx && section_nx(s) / bx == nx) {
        s.x0 /= bx;
        s.x1 = s.x0 + nx;
    }
    if (section_ny(s) != ny && section_ny(s) / by == ny) {
        s.y0 /= by;
        s.y1 = s.y0 + ny;
    }
    if (c->meta->namp > 1) {
        a->flip_x ^= flip_x;
        a->flip_y ^= flip_y;
    }
    if (section_nx(s) == nx && section_ny(s) == ny) {
        a->dest = s;
        return ERR_OK;
    }
    if (c->meta->namp == 1) { /* a window of the detector, or a trimmed frame: with one amplifier nothing depends on it */
        *ret_given = false;
        return ERR_OK;
    }
    return ERROR(c->err, ERR_CORRUPT, "the detector section '%s' does not fit a data section of %lld x %lld pixels", text,
                 (long long)nx, (long long)ny);
}

static enum err read_amp(struct amps_context *c, int i, bool *ret_dest_given)
{
    struct amp *a = &c->meta->amp[i];
    char label[16];
    bool data_given;
    snprintf(label, sizeof label, "%d", i + 1);
    c->values.amp = i;
    c->values.label = i < c->ins->amp_labels.n ? c->ins->amp_labels.v[i] : label;
    c->values.gain = 1;
    *a = (struct amp){.gain_e_per_adu = NAN, .rdnoise_e = NAN, .saturate_adu = NAN};
    if (!quantity_text(c->ins, Q_AMP_NAME, &c->values, a->name, sizeof a->name))
        snprintf(a->name, sizeof a->name, "%.15s", c->values.label);
    quantity_number(c->ins, Q_AMP_GAIN, &c->values, &a->gain_e_per_adu);
    c->values.gain = a->gain_e_per_adu; /* NaN: a saturation in electrons stays unknown */
    quantity_number(c->ins, Q_AMP_RDNOISE, &c->values, &a->rdnoise_e);
    quantity_number(c->ins, Q_AMP_SATURATE, &c->values, &a->saturate_adu);
    enum err e = read_data(c, a, &data_given);
    if (!e) e = read_overscan(c, a, data_given);
    if (!e) e = read_prescan(c, a);
    return e ? e : read_dest(c, a, ret_dest_given);
}

/* Columns (or rows) of distinct data sections that end at or before `edge`: where a section goes when gaps are closed. */
static int64_t columns_before(const struct exposure_meta *m, int64_t edge)
{
    int64_t sum = 0;
    for (int i = 0; i < m->namp; i++) {
        bool seen = false;
        for (int j = 0; j < i; j++) seen |= m->amp[j].data.x0 == m->amp[i].data.x0;
        if (!seen && m->amp[i].data.x1 <= edge) sum += section_nx(m->amp[i].data);
    }
    return sum;
}

static int64_t rows_before(const struct exposure_meta *m, int64_t edge)
{
    int64_t sum = 0;
    for (int i = 0; i < m->namp; i++) {
        bool seen = false;
        for (int j = 0; j < i; j++) seen |= m->amp[j].data.y0 == m->amp[i].data.y0;
        if (!seen && m->amp[i].data.y1 <= edge) sum += section_ny(m->amp[i].data);
    }
    return sum;
}

/* Give each amplifier its place in a trimmed frame that begins at (0, 0). */
static void place(struct exposure_meta *m, bool dest_given)
{
    int64_t x0 = INT64_MAX, y0 = INT64_MAX;
    for (int i = 0; i < m->namp; i++) {
        struct amp *a = &m->amp[i];
        if (!dest_given) {
            a->dest.x0 = columns_before(m, a->data.x0);
            a->dest.y0 = rows_before(m, a->data.y0);
        }
        if (a->dest.x0 < x0) x0 = a->dest.x0;
        if (a->dest.y0 < y0) y0 = a->dest.y0;
    }
    m->nx = m->ny = 0;
    for (int i = 0; i < m->namp; i++) {
        struct amp *a = &m->amp[i];
        a->dest.x0 -= x0;
        a->dest.y0 -= y0;
        a->dest.x1 = a->dest.x0 + section_nx(a->data);
        a->dest.y1 = a->dest.y0 + section_ny(a->data);
        if (a->dest.x1 > m->nx) m->nx = a->dest.x1;
        if (a->dest.y1 > m->ny) m->ny = a->dest.y1;
    }
}

static enum err check_places(const struct exposure_meta *m, struct error *err)
{
    if (m->nx > FRAME_MAX_SIDE || m->ny > FRAME_MAX_SIDE)
        return ERROR(err, ERR_CORRUPT, "the amplifiers make a frame of %lld x %lld pixels", (long long)m->nx, (long long)m->ny);
    int64_t area = 0;
    for (int i = 0; i < m->namp; i++) {
        area += section_nx(m->amp[i].dest) * section_ny(m->amp[i].dest);
        for (int j = 0; j < i; j++)
            if (overlap(m->amp[i].data, m->amp[j].data) || overlap(m->amp[i].dest, m->amp[j].dest))
                return ERROR(err, ERR_CORRUPT, "amplifiers %s and %s share pixels", m->amp[j].name, m->amp[i].name);
    }
    if (area != m->nx * m->ny) return ERROR(err, ERR_CORRUPT, "the amplifiers leave gaps in the trimmed frame");
    return ERR_OK;
}

enum err instrument_amps(const struct instrument *ins, const struct header *h, struct exposure_meta *meta, struct error *err)
{
    struct error local = ERROR_INIT;
    struct amps_context c = {.ins = ins, .values = {.h = h, .amp = -1, .meta = meta}, .meta = meta, .err = err ? err : &local};
    double count = 1;
    int dests = 0;
    quantity_number(ins, Q_AMP_COUNT, &c.values, &count);
    meta->namp = (int)count;
    meta->nx = meta->raw_nx;
    meta->ny = meta->raw_ny;
    for (int i = 0; i < meta->namp; i++) {
        bool dest_given = false;
        enum err e = read_amp(&c, i, &dest_given);
        if (e) {
            meta->namp = 0;
            return e;
        }
        dests += dest_given;
    }
    if (dests && dests < meta->namp)
        return ERROR(c.err, ERR_CORRUPT, "only %d of %d amplifiers have a detector section", dests, meta->namp);
    place(meta, dests > 0);
    return check_places(meta, c.err);
}
