/* A page as text that grows, and plots in it as inline SVG. Colours are classes: the page's style sheet knows light and dark.
 *
 *     page --> plot_begin(), plot_axes(), then points, bars and lines in units of the data, plot_end()
 *
 * A page that met the end of memory stays quiet and says so once, in page_write(). Same calls, same bytes.             */
#ifndef NIGHTSHIFT_PIPELINE_PAGEPLOT_H
#define NIGHTSHIFT_PIPELINE_PAGEPLOT_H

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"

struct page {
    char *text;
    size_t n, capacity;
    bool failed;
};

void page_release(struct page *p);
void page_add(struct page *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void page_escaped(struct page *p, const char *s); /* text or attribute value; what is not UTF-8 becomes '?' */
void page_url(struct page *p, const char *s);     /* a relative path, percent-encoded where it must be */
/* Write it whole or not at all. ERR_NOMEM, or what atomicfile_write() says. */
enum err page_write(const struct page *p, const char *path, struct error *err);

enum plot_scale { PLOT_LINEAR, PLOT_LOG, PLOT_TIME /* MJD, told as HH:MM */ };

struct plot_axis {
    double lo, hi;
    enum plot_scale scale;
    bool inverted;    /* magnitudes: bright is up */
    const char *label;
};

struct plot {
    struct page *page;
    double width, height, left, right, top, bottom; /* margins */
    struct plot_axis x, y;
};

/* Range that holds the values with some air; a single value or none gives a range too. NaN and infinities are passed over.
 * least: the smallest span (0: any). For PLOT_LOG the values and the range are positive. */
struct plot_axis plot_range(const double *values, int n, enum plot_scale scale, double least, const char *label);
/* The next round step (1, 2, 5 times a power of ten) that cuts span into at most `about` pieces. */
double plot_step(double span, int about);
/* Data to picture: 0 at the left and at the top; clamped into the frame. */
double plot_x(const struct plot *p, double x);
double plot_y(const struct plot *p, double y);

void plot_begin(struct plot *p, const char *title);
void plot_axes(struct plot *p);
/* class: "f0" and the like; tip (may be NULL) is shown when the pointer rests there. */
void plot_point(struct plot *p, double x, double y, double radius, const char *class, const char *tip);
void plot_bar(struct plot *p, double x, double y, double error, const char *class); /* an error bar */
void plot_line(struct plot *p, const double *x, const double *y, int n, const char *class);
void plot_end(struct plot *p);

#endif
