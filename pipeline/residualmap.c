#include "pipeline/residualmap.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/pngfile.h"
#include "pipeline/pageplot.h"

#define SIDE       900 /* longer side of the frame in the picture */
#define SIDE_LEAST 60  /* of the shorter one: a strip stays visible */
#define MARGIN     20
#define FOOT       40  /* room for the bar */
#define BAR        60  /* its length */
#define BARS_MOST  3.0 /* longest stroke of a star left out */
#define GLYPH      3   /* side of a dot of the letters */

enum colour { PAPER, INK, USED, LEFT_OUT, COLOURS };

static const uint8_t palette[COLOURS][3] = {{255, 255, 255}, {90, 90, 90}, {31, 90, 180}, {214, 60, 50}};

struct canvas {
    int nx, ny;
    uint8_t *v;
};

static void dot(struct canvas *c, int x, int y, enum colour colour)
{
    if (x >= 0 && y >= 0 && x < c->nx && y < c->ny) c->v[(size_t)y * (size_t)c->nx + (size_t)x] = (uint8_t)colour;
}

static void box(struct canvas *c, int x, int y, int width, int height, enum colour colour)
{
    for (int j = 0; j < height; j++)
        for (int i = 0; i < width; i++) dot(c, x + i, y + j, colour);
}

/* Two pixels wide; ends are within some thousand pixels of the canvas. */
static void line(struct canvas *c, double x0, double y0, double x1, double y1, enum colour colour)
{
    int steps = (int)ceil(fmax(fabs(x1 - x0), fabs(y1 - y0))) + 1;
    for (int i = 0; i <= steps; i++) {
        double t = (double)i / steps;
        box(c, (int)floor(x0 + t * (x1 - x0)), (int)floor(y0 + t * (y1 - y0)), 2, 2, colour);
    }
}

/* Letters of five rows of three dots, the upper left one the highest bit. */
static unsigned glyph(char letter)
{
    static const struct { char letter; unsigned dots; } font[] = {
        {'0', 075557}, {'1', 026227}, {'2', 071747}, {'3', 071717}, {'4', 055711}, {'5', 074717}, {'6', 074757}, {'7', 071111},
        {'8', 075757}, {'9', 075717}, {'.', 000002}, {'p', 075744}, {'x', 005255},
    };
    for (size_t i = 0; i < sizeof font / sizeof *font; i++)
        if (font[i].letter == letter) return font[i].dots;
    return 0;
}

static void write_text(struct canvas *c, int x, int y, const char *text)
{
    for (; *text; text++, x += 4 * GLYPH) {
        unsigned dots = glyph(*text);
        for (int k = 0; k < 15; k++)
            if (dots >> (14 - k) & 1) box(c, x + k % 3 * GLYPH, y + k / 3 * GLYPH, GLYPH, GLYPH, INK);
    }
}

double residualmap_bar(const struct wcs_residual *v, int64_t n)
{
    double sum = 0;
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!v[i].kept || !isfinite(v[i].dx) || !isfinite(v[i].dy)) continue;
        sum += v[i].dx * v[i].dx + v[i].dy * v[i].dy;
        count++;
    }
    double rms = count ? sqrt(sum / (double)count) : 0;
    return rms > 1e-9 && rms < 1e6 ? plot_step(2 * rms, 1) : 1;
}

static void draw_star(struct canvas *c, const struct wcs_residual *r, double scale, double stretch, int64_t ny)
{
    double x = MARGIN + (r->x + 0.5) * scale, y = MARGIN + ((double)ny - r->y - 0.5) * scale, length = hypot(r->dx, r->dy) * stretch;
    if (!isfinite(length) || !(x >= 0 && x < c->nx && y >= 0 && y < c->ny)) return;
    double most = r->kept ? SIDE : BARS_MOST * BAR, cut = length > most ? most / length : 1;
    enum colour colour = r->kept ? USED : LEFT_OUT;
    line(c, x, y, x + cut * stretch * r->dx, y - cut * stretch * r->dy, colour);
    box(c, (int)x - 2, (int)y - 2, 5, 5, colour);
}

enum err residualmap_write(const char *path, const struct wcs_residual *v, int64_t n, int64_t nx, int64_t ny, struct error *err)
{
    double scale = (double)SIDE / (double)(nx > ny ? nx : ny), bar = residualmap_bar(v, n);
    int width = (int)fmax(SIDE_LEAST, (double)nx * scale), height = (int)fmax(SIDE_LEAST, (double)ny * scale);
    struct canvas c = {.nx = width + 2 * MARGIN, .ny = height + MARGIN + FOOT};
    char text[32];
    c.v = calloc((size_t)c.nx * (size_t)c.ny, 1);
    if (!c.v) return ERROR(err, ERR_NOMEM, "no memory for a picture of residuals");
    const double x0 = MARGIN - 2, x1 = MARGIN + width, y0 = MARGIN - 2, y1 = MARGIN + height;
    line(&c, x0, y0, x1, y0, INK);
    line(&c, x1, y0, x1, y1, INK);
    line(&c, x1, y1, x0, y1, INK);
    line(&c, x0, y1, x0, y0, INK);
    for (int pass = 0; pass < 2; pass++) /* the used ones on top */
        for (int64_t i = 0; i < n; i++)
            if (v[i].kept == (pass == 1)) draw_star(&c, &v[i], scale, BAR / bar, ny);
    line(&c, MARGIN, c.ny - FOOT / 2, MARGIN + BAR, c.ny - FOOT / 2, USED);
    snprintf(text, sizeof text, "%.*f px", bar < 1 ? (int)ceil(-log10(bar) - 1e-9) : 0, bar);
    write_text(&c, MARGIN + BAR + 10, c.ny - FOOT / 2 - 7, text);
    enum err code = pngfile_write(path, c.v, c.nx, c.ny, palette, COLOURS, err);
    free(c.v);
    return code;
}
