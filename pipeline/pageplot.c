#include "pipeline/pageplot.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/atomicfile.h"

#define MINUTES_PER_DAY 1440.0

/* ---- text --------------------------------------------------------------------------------------------------------- */

void page_release(struct page *p)
{
    free(p->text);
    *p = (struct page){0};
}

static bool page_room(struct page *p, size_t more)
{
    if (p->failed) return false;
    if (p->n + more + 1 <= p->capacity) return true;
    size_t capacity = p->capacity ? p->capacity : 65536;
    while (capacity < p->n + more + 1) capacity *= 2;
    char *text = realloc(p->text, capacity);
    if (!text) {
        p->failed = true;
        return false;
    }
    p->text = text;
    p->capacity = capacity;
    return true;
}

void page_add(struct page *p, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    if (n >= 0 && page_room(p, (size_t)n)) {
        vsnprintf(p->text + p->n, (size_t)n + 1, fmt, again);
        p->n += (size_t)n;
    }
    va_end(again);
    va_end(args);
}

/* Length of the UTF-8 sequence at s, 0 when it is none. */
static int utf8_length(const unsigned char *s)
{
    int n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
    for (int i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    return n;
}

void page_escaped(struct page *p, const char *s)
{
    for (const unsigned char *c = (const unsigned char *)s; *c;) {
        int n = utf8_length(c);
        if (*c == '<') page_add(p, "&lt;");
        else if (*c == '>') page_add(p, "&gt;");
        else if (*c == '&') page_add(p, "&amp;");
        else if (*c == '"') page_add(p, "&quot;");
        else if (n == 0 || *c < 0x20 || *c == 0x7f) page_add(p, "?");
        else page_add(p, "%.*s", n, (const char *)c);
        c += n ? n : 1;
    }
}

void page_url(struct page *p, const char *s)
{
    for (const unsigned char *c = (const unsigned char *)s; *c; c++) {
        bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || strchr("-_./~", *c);
        page_add(p, plain ? "%c" : "%%%02X", *c);
    }
}

enum err page_write(const struct page *p, const char *path, struct error *err)
{
    if (p->failed) return ERROR(err, ERR_NOMEM, "could not hold the page '%s': out of memory", path);
    return atomicfile_write(path, p->text, p->n, err);
}

/* ---- scales ------------------------------------------------------------------------------------------------------- */

double plot_step(double span, int about)
{
    if (!(span > 0) || !isfinite(span)) return 1;
    double raw = span / about, ten = pow(10, floor(log10(raw)));
    for (int k = 0; k < 3; k++) {
        double step = ten * (k == 0 ? 1 : k == 1 ? 2 : 5);
        if (step >= raw * (1 - 1e-9)) return step;
    }
    return 10 * ten;
}

struct plot_axis plot_range(const double *values, int n, enum plot_scale scale, double least, const char *label)
{
    struct plot_axis a = {INFINITY, -INFINITY, scale, false, label};
    for (int i = 0; i < n; i++) {
        if (!isfinite(values[i]) || (scale == PLOT_LOG && values[i] <= 0)) continue;
        a.lo = fmin(a.lo, values[i]);
        a.hi = fmax(a.hi, values[i]);
    }
    if (!(a.lo <= a.hi)) a.lo = scale == PLOT_LOG ? 0.1 : 0, a.hi = 1;
    if (scale == PLOT_LOG) {
        a.lo /= 1.3;
        a.hi *= 1.3;
        return a;
    }
    double smallest = fmax(least, fmax(fabs(a.lo), fabs(a.hi)) * 1e-9), middle = 0.5 * (a.lo + a.hi);
    if (smallest <= 0) smallest = 1;
    if (a.hi - a.lo < smallest) a.lo = middle - smallest / 2, a.hi = middle + smallest / 2;
    double air = (scale == PLOT_TIME ? 0.03 : 0.07) * (a.hi - a.lo);
    a.lo -= air;
    a.hi += air;
    return a;
}

/* 0..1 along the axis. */
static double along(const struct plot_axis *a, double v)
{
    double f = a->scale == PLOT_LOG ? log(v / a->lo) / log(a->hi / a->lo) : (v - a->lo) / (a->hi - a->lo);
    if (!(f > 0)) f = 0;
    if (f > 1) f = 1;
    return a->inverted ? 1 - f : f;
}

double plot_x(const struct plot *p, double x)
{
    return p->left + along(&p->x, x) * (p->width - p->left - p->right);
}

double plot_y(const struct plot *p, double y)
{
    return p->height - p->bottom - along(&p->y, y) * (p->height - p->top - p->bottom);
}

/* ---- axes --------------------------------------------------------------------------------------------------------- */

enum { TICKS_MAX = 40 };

static int ticks_log(const struct plot_axis *a, double *at)
{
    int n = 0;
    bool wide = a->hi / a->lo > 1000;
    for (double ten = pow(10, floor(log10(a->lo))); ten <= a->hi && n < TICKS_MAX - 2; ten *= 10) {
        if (ten >= a->lo) at[n++] = ten;
        if (!wide && 3 * ten >= a->lo && 3 * ten <= a->hi) at[n++] = 3 * ten;
    }
    return n;
}

static double time_step_minutes(double span_minutes)
{
    static const double steps[] = {1, 2, 5, 10, 15, 20, 30, 60, 120, 180, 360, 720, 1440};
    for (size_t k = 0; k < sizeof steps / sizeof *steps; k++)
        if (span_minutes / steps[k] <= 7) return steps[k];
    return MINUTES_PER_DAY * ceil(span_minutes / MINUTES_PER_DAY / 7);
}

static int ticks_even(const struct plot_axis *a, int about, double *at, double *ret_step)
{
    bool is_time = a->scale == PLOT_TIME;
    double unit = is_time ? 1 / MINUTES_PER_DAY : 1, day = is_time ? floor(a->lo) : 0;
    double lo = (a->lo - day) / unit, hi = (a->hi - day) / unit, step = is_time ? time_step_minutes(hi - lo) : plot_step(hi - lo, about);
    int n = 0;
    for (double k = ceil(lo / step - 1e-9); k * step <= hi + 1e-9 * step && n < TICKS_MAX; k++) at[n++] = day + k * step * unit;
    *ret_step = step;
    return n;
}

static void tick_text(const struct plot_axis *a, double v, double step, char *ret, size_t size)
{
    if (a->scale == PLOT_TIME) {
        int minutes = (int)(floor((v - floor(v)) * MINUTES_PER_DAY + 0.5)) % 1440;
        snprintf(ret, size, "%02d:%02d", minutes / 60, minutes % 60);
    } else if (a->scale == PLOT_LOG) {
        snprintf(ret, size, "%.4g", v);
    } else {
        int decimals = step >= 1 ? 0 : (int)ceil(-log10(step) - 1e-9);
        if (fabs(v) < step * 1e-6) v = 0;
        snprintf(ret, size, "%.*f", decimals > 9 ? 9 : decimals, v);
    }
}

static int ticks_of(const struct plot_axis *a, int about, double *at, double *ret_step)
{
    *ret_step = 1;
    return a->scale == PLOT_LOG ? ticks_log(a, at) : ticks_even(a, about, at, ret_step);
}

void plot_begin(struct plot *p, const char *title)
{
    page_add(p->page, "<svg class=\"plot\" viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"", p->width, p->height);
    page_escaped(p->page, title);
    page_add(p->page, "\">\n");
}

void plot_axes(struct plot *p)
{
    double at[TICKS_MAX], step, x0 = p->left, x1 = p->width - p->right, y0 = p->top, y1 = p->height - p->bottom;
    char text[40];
    int n = ticks_of(&p->y, 5, at, &step);
    for (int i = 0; i < n; i++) {
        tick_text(&p->y, at[i], step, text, sizeof text);
        page_add(p->page, "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/><text class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n",
                 x0, plot_y(p, at[i]), x1, x0 - 6, plot_y(p, at[i]) + 3.5, text);
    }
    n = ticks_of(&p->x, 7, at, &step);
    for (int i = 0; i < n; i++) {
        tick_text(&p->x, at[i], step, text, sizeof text);
        page_add(p->page, "<path class=\"grid\" d=\"M%.1f %.1fV%.1f\"/><text class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>\n",
                 plot_x(p, at[i]), y0, y1, plot_x(p, at[i]), y1 + 15, text);
    }
    page_add(p->page, "<path class=\"axis\" d=\"M%.1f %.1fV%.1fH%.1f\"/>\n", x0, y0, y1, x1);
    if (p->x.label) page_add(p->page, "<text class=\"label\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", x1, p->height - 4, p->x.label);
    if (p->y.label) page_add(p->page, "<text class=\"label\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", 4.0, p->top - 9, p->y.label);
}

/* ---- marks -------------------------------------------------------------------------------------------------------- */

void plot_point(struct plot *p, double x, double y, double radius, const char *class, const char *tip)
{
    if (!isfinite(x) || !isfinite(y)) return;
    page_add(p->page, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"", class, plot_x(p, x), plot_y(p, y), radius);
    if (tip) {
        page_add(p->page, "><title>");
        page_escaped(p->page, tip);
        page_add(p->page, "</title></circle>\n");
    } else {
        page_add(p->page, "/>\n");
    }
}

void plot_bar(struct plot *p, double x, double y, double error, const char *class)
{
    if (!isfinite(x) || !isfinite(y) || !isfinite(error)) return;
    page_add(p->page, "<path class=\"%s\" d=\"M%.1f %.1fV%.1f\"/>\n", class, plot_x(p, x), plot_y(p, y - error), plot_y(p, y + error));
}

void plot_line(struct plot *p, const double *x, const double *y, int n, const char *class)
{
    bool drawn = false;
    for (int i = 0; i < n; i++) {
        if (!isfinite(x[i]) || !isfinite(y[i])) continue;
        if (!drawn) page_add(p->page, "<path class=\"%s\" d=\"", class);
        page_add(p->page, "%c%.1f %.1f", drawn ? 'L' : 'M', plot_x(p, x[i]), plot_y(p, y[i]));
        drawn = true;
    }
    if (drawn) page_add(p->page, "\"/>\n");
}

void plot_end(struct plot *p)
{
    page_add(p->page, "</svg>\n");
}
