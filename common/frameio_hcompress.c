/* HCOMPRESS: the H-transform of an image, its coefficients as quadtrees bit plane by bit plane.
 *
 *     stream   | dd 99 | sides | scale | sum of all pixels | bit planes of 3 quadrant groups | planes | 0 | signs |
 *
 * The transform replaces each 2 x 2 pixels by their sum (h0), the differences across (hy) and down (hx) and the curvature
 * (hc), sums go to the upper left quadrant, and the quadrant of sums is treated in the same way until one is left.
 * A coefficient keeps only the bits that its neighbours do not imply, which is why the inverse rounds and hands low bits on.
 *
 * cfitsio's decoder is not used: it waits for itself for ever when a stream is damaged (it reports the error under the lock
 * that the report needs), and reads behind the end of a short one.
 *
 * Source: White, Postman & Lattanzi 1992 (Digitised Optical Sky Surveys, 167); FITS 4.0 section 10.4.4. Without the
 * optional smoothing of lossy streams.                                                                              */
#include <stdlib.h>
#include <string.h>

#include "common/frameio_codec.h"

enum { HEADER = 25, PLANES_MAX = 62 };

struct bits {
    const uint8_t *p, *end;
    unsigned window;
    int left;   /* bits of the window not yet taken */
    bool short_of; /* the stream ended before it should */
};

static unsigned take(struct bits *b, int n)
{
    while (b->left < n) {
        if (b->p == b->end) b->short_of = true;
        b->window = b->window << 8 | (b->p < b->end ? *b->p++ : 0u);
        b->left += 8;
    }
    b->left -= n;
    return b->window >> b->left & ((1u << n) - 1);
}

static uint64_t big_endian(const uint8_t *p, int n)
{
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v = v << 8 | p[i];
    return v;
}

/* ---- quadtrees -------------------------------------------------------------------------------------------------- */

/* Four bits, one for each quarter, in a prefix code of 3 to 6 bits. */
static unsigned take_code(struct bits *b)
{
    static const uint8_t of4[] = {3, 5, 10, 12, 15}, of5[] = {6, 7, 9, 11, 13};
    unsigned c = take(b, 3);
    if (c < 4) return 1u << c;
    c = c << 1 | take(b, 1);
    if (c < 13) return of4[c - 8];
    c = c << 1 | take(b, 1);
    if (c < 31) return of5[c - 26];
    return take(b, 1) ? 14 : 0;
}

/* Bit of a code for the pixel at (row, column) of its 2 x 2. */
static unsigned quarter(unsigned code, int64_t row, int64_t column)
{
    return code >> (3 - 2 * (row & 1) - (column & 1)) & 1;
}

/* Each code of src becomes up to four cells of rows x columns; cells that are set get a code of their own, last cell first. */
static void expand(struct bits *b, const uint8_t *src, uint8_t *dst, int64_t rows, int64_t columns)
{
    int64_t across = (columns + 1) / 2;
    for (int64_t i = rows - 1; i >= 0; i--)
        for (int64_t j = columns - 1; j >= 0; j--) {
            unsigned set = quarter(src[i / 2 * across + j / 2], i, j);
            dst[i * columns + j] = (uint8_t)(set ? take_code(b) : 0);
        }
}

static int levels(int64_t side)
{
    int n = 0;
    while ((int64_t)1 << n < side) n++;
    return n;
}

/* The size a side has after `step` of `steps` halvings undone: ceil(side / 2^(steps - step)). */
static int64_t side_at(int64_t side, int steps, int step)
{
    return (side + ((int64_t)1 << (steps - step)) - 1) >> (steps - step);
}

/* One bit plane of a quadrant as codes of its 2 x 2 blocks, in cells[0]; two buffers take turns. */
static bool read_plane(struct bits *b, int64_t rows, int64_t columns, uint8_t *cells[2])
{
    unsigned kind = take(b, 4);
    int64_t n = ((rows + 1) / 2) * ((columns + 1) / 2);
    if (kind == 0) { /* too dense for a tree */
        for (int64_t i = 0; i < n; i++) cells[0][i] = (uint8_t)take(b, 4);
        return !b->short_of;
    }
    if (kind != 15) return false;
    int steps = levels(rows > columns ? rows : columns);
    cells[0][0] = (uint8_t)take_code(b);
    for (int k = 1; k < steps && !b->short_of; k++) {
        expand(b, cells[0], cells[1], side_at(rows, steps, k), side_at(columns, steps, k));
        uint8_t *swap = cells[0];
        cells[0] = cells[1];
        cells[1] = swap;
    }
    return !b->short_of;
}

static bool read_quadrant(struct bits *b, int64_t *a, int64_t stride, int64_t rows, int64_t columns, int planes, uint8_t *cells[2])
{
    int64_t across = (columns + 1) / 2;
    for (int bit = planes - 1; bit >= 0; bit--) {
        if (!read_plane(b, rows, columns, cells)) return false;
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < columns; j++)
                a[i * stride + j] |= (int64_t)quarter(cells[0][i / 2 * across + j / 2], i, j) << bit;
    }
    return true;
}

static bool read_coefficients(struct bits *b, const uint8_t *planes, int64_t rows, int64_t columns, int64_t *a, uint8_t *cells[2])
{
    int64_t r = (rows + 1) / 2, c = (columns + 1) / 2, n = rows * columns;
    memset(a, 0, (size_t)n * sizeof *a);
    if (!read_quadrant(b, a, columns, r, c, planes[0], cells) ||
        !read_quadrant(b, a + c, columns, r, columns / 2, planes[1], cells) ||
        !read_quadrant(b, a + columns * r, columns, rows / 2, c, planes[1], cells) ||
        !read_quadrant(b, a + columns * r + c, columns, rows / 2, columns / 2, planes[2], cells))
        return false;
    if (take(b, 4) != 0) return false; /* mark of the end */
    b->left = 0;                       /* signs begin with a byte */
    for (int64_t i = 0; i < n; i++)
        if (a[i] && take(b, 1)) a[i] = -a[i];
    return !b->short_of;
}

/* ---- the inverse transform -------------------------------------------------------------------------------------- */

/* Sums that wrap as a damaged stream may make them. */
static inline int64_t sum(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

static inline int64_t minus(int64_t a)
{
    return (int64_t)-(uint64_t)a;
}

/* Round to a multiple of `unit`, a power of two, halves away from zero. */
static inline int64_t round_to(int64_t v, int64_t unit)
{
    int64_t half = unit >> 1;
    return sum(v, v >= 0 ? half : half > 0 ? half - 1 : 0) & minus(unit);
}

/* Interleave the halves of a line: sums to even places, differences to odd ones. */
static void interleave(int64_t *a, int64_t n, int64_t stride, int64_t *line)
{
    int64_t half = (n + 1) / 2;
    for (int64_t i = 0; i < half; i++) line[2 * i] = a[i * stride];
    for (int64_t i = half; i < n; i++) line[2 * (i - half) + 1] = a[i * stride];
    for (int64_t i = 0; i < n; i++) a[i * stride] = line[i];
}

struct level {
    int64_t bit0, bit1; /* units of hc, and of hx and hy */
    int shift;          /* division of sums: by 2, by 4 at the last level */
};

/* h0, hy over hx, hc become four sums. */
static void invert_block(int64_t *top, int64_t *bottom, struct level l)
{
    int64_t h0 = top[0], hy = round_to(top[1], l.bit1), hx = round_to(bottom[0], l.bit1), hc = round_to(bottom[1], l.bit0);
    int64_t low0 = hc & l.bit0;
    hx = sum(hx, hx >= 0 ? minus(low0) : low0);
    hy = sum(hy, hy >= 0 ? minus(low0) : low0);
    int64_t low1 = (hc ^ hx ^ hy) & l.bit1;
    if (h0 >= 0)
        h0 = sum(h0, low0 - low1);
    else
        h0 = sum(h0, low0 == 0 ? low1 : low0 - low1);
    int64_t plus = sum(h0, hx), less = sum(h0, minus(hx)), across = sum(hy, hc), against = sum(hy, minus(hc));
    bottom[1] = sum(plus, across) >> l.shift;
    bottom[0] = sum(plus, minus(across)) >> l.shift;
    top[1] = sum(less, against) >> l.shift;
    top[0] = sum(less, minus(against)) >> l.shift;
}

/* At an odd edge there is one difference only. */
static void invert_pair(int64_t *first, int64_t *second, struct level l)
{
    int64_t h0 = *first, h = round_to(*second, l.bit1), low1 = h & l.bit1;
    h0 = sum(h0, h0 >= 0 ? minus(low1) : low1);
    *second = sum(h0, h) >> l.shift;
    *first = sum(h0, minus(h)) >> l.shift;
}

static void invert_level(int64_t *a, int64_t stride, int64_t rows, int64_t columns, struct level l)
{
    for (int64_t i = 0; i < rows; i += 2) {
        int64_t *top = a + i * stride, *bottom = i + 1 < rows ? top + stride : NULL;
        for (int64_t j = 0; j < columns; j += 2) {
            bool pair = j + 1 < columns;
            if (bottom && pair)
                invert_block(top + j, bottom + j, l);
            else if (bottom)
                invert_pair(top + j, bottom + j, l);
            else if (pair)
                invert_pair(top + j, top + j + 1, l);
            else
                top[j] >>= l.shift;
        }
    }
}

static void invert(int64_t *a, int64_t rows, int64_t columns, int64_t *line)
{
    int steps = levels(rows > columns ? rows : columns);
    a[0] = round_to(a[0], (int64_t)1 << (steps + 1));
    for (int k = 1; k <= steps; k++) {
        int64_t r = side_at(rows, steps, k), c = side_at(columns, steps, k), bit0 = ((int64_t)1 << (steps - k));
        for (int64_t i = 0; i < r; i++) interleave(a + i * columns, c, 1, line);
        for (int64_t j = 0; j < c; j++) interleave(a + j, r, columns, line);
        invert_level(a, columns, r, c, (struct level){bit0, bit0 << 1, k == steps ? 2 : 1});
    }
}

/* ---- the whole -------------------------------------------------------------------------------------------------- */

bool hcompress_decode(const uint8_t *src, size_t size, int64_t n, int64_t *work, int32_t *dst)
{
    if (size < HEADER || src[0] != 0xdd || src[1] != 0x99) return false;
    int64_t rows = (int32_t)big_endian(src + 2, 4), columns = (int32_t)big_endian(src + 6, 4);
    int64_t scale = (int32_t)big_endian(src + 10, 4);
    const uint8_t *planes = src + 22;
    if (rows < 2 || columns < 2 || rows > n || columns > n || rows * columns != n) return false;
    if (planes[0] > PLANES_MAX || planes[1] > PLANES_MAX || planes[2] > PLANES_MAX) return false;

    int64_t blocks = ((rows + 3) / 4 + 1) * ((columns + 3) / 4 + 1), longest = rows > columns ? rows : columns;
    uint8_t *buffer = malloc((size_t)blocks * 2);
    int64_t *line = malloc((size_t)longest * sizeof *line);
    uint8_t *cells[2] = {buffer, buffer ? buffer + blocks : NULL};
    struct bits b = {src + HEADER, src + size, 0, 0, false};
    bool good = buffer && line && read_coefficients(&b, planes, rows, columns, work, cells);
    if (good) {
        work[0] = (int64_t)big_endian(src + 14, 8);
        for (int64_t i = 0; scale > 1 && i < n; i++) work[i] = (int64_t)((uint64_t)work[i] * (uint64_t)scale);
        invert(work, rows, columns, line);
        for (int64_t i = 0; i < n; i++) dst[i] = (int32_t)work[i];
    }
    free(buffer);
    free(line);
    return good;
}
