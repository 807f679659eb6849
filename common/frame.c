#include "common/frame.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"

void frame_init(struct frame *f)
{
    *f = (struct frame){0};
}

void frame_release(struct frame *f)
{
    free(f->sci);
    free(f->var);
    free(f->mask);
    header_release(&f->header);
    *f = (struct frame){0};
}

enum err frame_alloc(struct frame *f, int64_t nx, int64_t ny, int planes, struct error *err)
{
    if (nx < 1 || ny < 1 || nx > FRAME_MAX_SIDE || ny > FRAME_MAX_SIDE)
        return ERROR(err, ERR_SHAPE, "cannot hold an image of %lld x %lld pixels (sides 1 to %d)", (long long)nx,
                     (long long)ny, FRAME_MAX_SIDE);
    size_t npix = (size_t)(nx * ny);
    float *sci = planes & FRAME_SCI ? mem_zarray(npix, sizeof *sci) : NULL;
    float *var = planes & FRAME_VAR ? mem_zarray(npix, sizeof *var) : NULL;
    mask_t *mask = planes & FRAME_MASK ? mem_zarray(npix, sizeof *mask) : NULL;
    if ((planes & FRAME_SCI && !sci) || (planes & FRAME_VAR && !var) || (planes & FRAME_MASK && !mask)) {
        free(sci);
        free(var);
        free(mask);
        return ERROR(err, ERR_NOMEM, "no memory for an image of %lld x %lld pixels", (long long)nx, (long long)ny);
    }
    free(f->sci);
    free(f->var);
    free(f->mask);
    f->nx = nx;
    f->ny = ny;
    f->sci = sci;
    f->var = var;
    f->mask = mask;
    return ERR_OK;
}

/* ---- sections --------------------------------------------------------------------------------------------------- */

static const char *skip_blanks(const char *p)
{
    while (isspace((unsigned char)*p)) p++;
    return p;
}

/* A pixel number, at most 9 digits so that nothing overflows. NULL when there is none. */
static const char *parse_pixel(const char *p, int64_t *ret)
{
    int64_t value = 0;
    p = skip_blanks(p);
    const char *start = p;
    while (isdigit((unsigned char)*p) && p - start < 9) value = value * 10 + (*p++ - '0');
    if (p == start || isdigit((unsigned char)*p)) return NULL;
    *ret = value;
    return skip_blanks(p);
}

/* One axis: "*" or ":" (all), "-*" (all, backwards), "a:b" or "a". Returned: what follows, NULL if unreadable. */
static const char *parse_axis(const char *p, int64_t n, int64_t *first, int64_t *last)
{
    p = skip_blanks(p);
    bool backwards = *p == '-';
    if (backwards) p = skip_blanks(p + 1);
    if (*p == '*' || (*p == ':' && !backwards)) {
        *first = backwards ? n : 1;
        *last = backwards ? 1 : n;
        return skip_blanks(p + 1);
    }
    if (backwards || !(p = parse_pixel(p, first))) return NULL;
    if (*p != ':') {
        *last = *first;
        return p;
    }
    return parse_pixel(p + 1, last);
}

static void order_axis(int64_t first, int64_t last, int64_t *from, int64_t *to, bool *flip)
{
    *flip = first > last;
    *from = (*flip ? last : first) - 1;
    *to = *flip ? first : last;
}

enum err section_parse(const char *text, int64_t nx, int64_t ny, struct section *ret, bool *flip_x, bool *flip_y,
                       struct error *err)
{
    int64_t x1, x2, y1 = 1, y2 = ny;
    const char *p = skip_blanks(text);
    if (*p == '[') p++;
    p = parse_axis(p, nx, &x1, &x2);
    if (p && *p == ',') p = parse_axis(p + 1, ny, &y1, &y2);
    if (p && *p == ']') p = skip_blanks(p + 1);
    if (!p || *p) return ERROR(err, ERR_CORRUPT, "cannot read the section '%.60s'", text);

    struct section s;
    bool fx, fy;
    order_axis(x1, x2, &s.x0, &s.x1, &fx);
    order_axis(y1, y2, &s.y0, &s.y1, &fy);
    if (s.x0 < 0 || s.y0 < 0 || s.x1 > nx || s.y1 > ny)
        return ERROR(err, ERR_SHAPE, "section '%.60s' leaves the detector of %lld x %lld pixels", text, (long long)nx,
                     (long long)ny);
    *ret = s;
    if (flip_x) *flip_x = fx;
    if (flip_y) *flip_y = fy;
    return ERR_OK;
}
