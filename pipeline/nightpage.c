/* The page of a night: numbers, light curves, plots, a table of frames. One file; the pictures lie beside it. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cli.h"
#include "common/obstime.h"
#include "common/stats.h"
#include "pipeline/nightreport.h"
#include "pipeline/pageplot.h"

enum { COLOURS = 6, TIPS_MAX = 1500, CLOUD_MAX = 4000 };
static const double STARLIKE_RMS_SHOWN_MAX = 3; /* mag: what scatters more is a wrong match, off the plot's edge */

static const char style[] =
    ":root{color-scheme:light dark;--ink:#1b2230;--dim:#5d687b;--line:#dde2ea;--grid:#e9edf3;--back:#f4f6fa;--card:#fff;"
    "--good:#1c7a4d;--doubt:#9a6200;--bad:#b3261e;--mark:#2458c5;"
    "--f0:#2458c5;--f1:#c8571b;--f2:#1c8a6a;--f3:#9b3fb5;--f4:#b3261e;--f5:#6b7280}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e7eaf1;--dim:#9aa5ba;--line:#2c3547;--grid:#242c3c;--back:#0e131c;--card:#161d2a;"
    "--good:#5fd39a;--doubt:#f0b450;--bad:#ff8a80;--mark:#8ab0ff;"
    "--f0:#8ab0ff;--f1:#ff9f66;--f2:#5fd3b0;--f3:#d79bf0;--f4:#ff8a80;--f5:#a3adbd}}\n"
    "*{box-sizing:border-box}body{margin:0;font:15px/1.5 system-ui,-apple-system,'Segoe UI',sans-serif;color:var(--ink);background:var(--back)}\n"
    "main{max-width:1320px;margin:auto;padding:1.6rem 1.4rem 4rem}h1{font-size:1.9rem;line-height:1.2;margin:.1rem 0 .2rem}"
    "h2{font-size:1.15rem;margin:2.4rem 0 .2rem}h3{font-size:.98rem;margin:0}p{margin:.2rem 0}.dim,.eyebrow{color:var(--dim)}"
    ".eyebrow{font-size:.8rem;letter-spacing:.06em;text-transform:uppercase}.note{color:var(--dim);font-size:.88rem;max-width:75ch}\n"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(17rem,1fr));gap:.8rem;margin-top:1.3rem}"
    ".tile,.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:.8rem 1rem}"
    ".tile b{display:block;font-size:1.55rem;line-height:1.25;font-weight:600;font-variant-numeric:tabular-nums}.tile b small{font-size:.9rem;font-weight:400;color:var(--dim)}"
    ".tile span{font-size:.84rem;color:var(--dim);display:block}\n"
    ".two{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,27rem),1fr));gap:.9rem;margin-top:.8rem}.card p{font-size:.88rem}.span{grid-column:1/-1}\n"
    ".plot{display:block;width:100%;height:auto;margin-top:.4rem}.plot .tick{font-size:11px;fill:var(--dim)}.plot .label{font-size:11.5px;fill:var(--dim)}"
    ".grid{stroke:var(--grid);fill:none}.axis{stroke:var(--dim);fill:none;opacity:.6}.bar{stroke:var(--mark);opacity:.65;stroke-width:1.2}"
    ".barc{stroke:var(--dim);opacity:.45}.star{fill:var(--mark)}.comp{fill:var(--card);stroke:var(--dim);stroke-width:1.2}"
    ".cloud{fill:var(--dim);opacity:.45}.var{fill:var(--f1)}.expect{fill:none;stroke:var(--mark);stroke-width:1.6;opacity:.8}"
    ".f0{fill:var(--f0)}.f1{fill:var(--f1)}.f2{fill:var(--f2)}.f3{fill:var(--f3)}.f4{fill:var(--f4)}.f5{fill:var(--f5)}.plot circle:hover{stroke:var(--ink);stroke-width:2}\n"
    ".key{font-size:.84rem;color:var(--dim);display:flex;gap:1.1rem;flex-wrap:wrap}.key svg{width:10px;height:10px;vertical-align:baseline;margin-right:.35rem}\n"
    ".wide{overflow-x:auto;margin-top:.8rem;background:var(--card);border:1px solid var(--line);border-radius:10px}"
    "table{border-collapse:collapse;width:100%;font-size:.87rem;font-variant-numeric:tabular-nums}th{color:var(--dim);font-weight:600;text-align:right;white-space:nowrap}"
    "td,th{padding:.35rem .55rem;border-bottom:1px solid var(--line);text-align:right;vertical-align:middle}tr:last-child td{border-bottom:0}.l{text-align:left}"
    "td small{color:var(--dim);display:block;line-height:1.3}.thumb{display:block;width:64px;height:64px;border-radius:5px;background:#000;object-fit:contain}\n"
    ".tag{display:inline-block;padding:0 .5rem;border-radius:99px;border:1px solid currentColor;font-size:.8rem}.pass,.done{color:var(--good)}.doubt,.held{color:var(--doubt)}"
    ".reject,.quarantined{color:var(--bad)}\n"
    ".big{display:none;position:fixed;inset:0;background:rgba(6,9,15,.94);color:#e7eaf1;z-index:9;flex-direction:column;align-items:center;justify-content:center;gap:.6rem;padding:1rem}"
    ".big:target{display:flex}.big img{min-height:0;max-width:100%;max-height:calc(100vh - 7rem);height:100%;object-fit:contain;image-rendering:auto}.big a{color:#8ab0ff;text-decoration:none;padding:0 .7rem}"
    ".big p{text-align:center}footer{margin-top:2.5rem;color:var(--dim);font-size:.84rem}a{color:var(--mark)}\n"
    "@media print{.big{display:none!important}body{background:#fff}}\n";

/* ---- small words -------------------------------------------------------------------------------------------------- */

static const char *clock_of(double mjd, char buf[16])
{
    if (!isfinite(mjd)) return "";
    int minutes = (int)floor((mjd - floor(mjd)) * 1440 + 0.5) % 1440;
    snprintf(buf, 16, "%02d:%02d", minutes / 60, minutes % 60);
    return buf;
}

static const char *date_of(int night, char buf[40])
{
    static const char *const months[] = {"January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"};
    int month = night / 100 % 100;
    if (month >= 1 && month <= 12) snprintf(buf, 40, "%d %s %d", night % 100, months[month - 1], night / 10000);
    else snprintf(buf, 40, "%08d", night);
    return buf;
}

/* A finite number with so many decimals, or a dash. */
static void number(struct page *p, double v, int decimals)
{
    if (isfinite(v)) page_add(p, "%.*f", decimals, v);
    else page_add(p, "<span class=\"dim\">–</span>");
}

/* Thousands set apart by thin spaces. */
static const char *grouped(int64_t v, char buf[48])
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%lld", (long long)v), at = 0;
    for (int i = 0; i < n; i++) {
        buf[at++] = digits[i];
        if (digits[i] != '-' && i + 1 < n && (n - 1 - i) % 3 == 0) at += snprintf(buf + at, 5, "\xe2\x80\xaf");
    }
    buf[at] = 0;
    return buf;
}

static void sexagesimal(double ra_deg, double dec_deg, char buf[64])
{
    int64_t ra = (int64_t)floor(ra_deg / 15 * 36000 + 0.5) % 864000, dec = (int64_t)floor(fabs(dec_deg) * 3600 + 0.5);
    snprintf(buf, 64, "%02d:%02d:%02d.%d %c%02d:%02d:%02d", (int)(ra / 36000), (int)(ra / 600 % 60), (int)(ra / 10 % 60), (int)(ra % 10),
             dec_deg < 0 ? '-' : '+', (int)(dec / 3600), (int)(dec / 60 % 60), (int)(dec % 60));
}

/* ---- a column of the frames --------------------------------------------------------------------------------------- */

enum quantity { Q_SEEING, Q_SKY, Q_SKY_RATE, Q_ZERO, Q_OBJECTS, Q_DEPTH, Q_TIME, Q_WCS_RMS };

static double value_of(const struct report_frame *f, enum quantity q)
{
    switch (q) {
    case Q_SEEING: return f->seeing_arcsec;
    case Q_SKY: return f->sky;
    case Q_SKY_RATE: return f->exptime_s > 0 ? f->sky / f->exptime_s : NAN;
    case Q_ZERO: return f->zero;
    case Q_OBJECTS: return f->objects >= 0 ? (double)f->objects : NAN;
    case Q_DEPTH: return f->depth_mag;
    case Q_TIME: return f->mjd;
    case Q_WCS_RMS: return isfinite(f->wcs_rms_px) ? f->wcs_rms_px : f->fit_rms_px;
    }
    return NAN;
}

struct spread {
    double median, lo, hi;
    int n;
};

/* work: room for the frames. */
static struct spread spread_of(const struct night_report *r, enum quantity q, double *work)
{
    struct spread s = {NAN, NAN, NAN, 0};
    for (int i = 0; i < r->nframes; i++) {
        double v = value_of(&r->frames[i], q);
        if (!isfinite(v)) continue;
        s.lo = s.n ? fmin(s.lo, v) : v;
        s.hi = s.n ? fmax(s.hi, v) : v;
        work[s.n++] = v;
    }
    if (s.n) s.median = median_f64(work, s.n);
    return s;
}

static int count_outcome(const struct night_report *r, const char *outcome)
{
    int n = 0;
    for (int i = 0; i < r->nframes; i++) n += !strcmp(r->frames[i].outcome, outcome);
    return n;
}

static int count_wcs(const struct night_report *r, const char *wcs)
{
    int n = 0;
    for (int i = 0; i < r->nframes; i++) n += !strcmp(r->frames[i].wcs, wcs);
    return n;
}

/* ---- top of the page ---------------------------------------------------------------------------------------------- */

/* The different values of a text of the frames, in the order they come, at most `most`. */
static void list_of(struct page *p, const struct night_report *r, size_t offset, int most)
{
    const char *seen[16];
    int n = 0, more = 0;
    if (most > 16) most = 16;
    for (int i = 0; i < r->nframes; i++) {
        const char *s = (const char *)&r->frames[i] + offset;
        int k = 0;
        while (k < n && strcmp(seen[k], s)) k++;
        if (!*s || k < n) continue;
        if (n < most) seen[n++] = s;
        else more = 1;
    }
    for (int i = 0; i < n; i++) {
        page_add(p, i ? ", " : "");
        page_escaped(p, seen[i]);
    }
    if (more) page_add(p, " …");
}

static void head(struct page *p, const struct night_report *r, double *work)
{
    char date[40], from[16], to[16];
    struct spread t = spread_of(r, Q_TIME, work);
    page_add(p, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                "<title>Night of %s</title>\n<style>\n%s</style></head>\n<body><main>\n<p class=\"eyebrow\">Nightshift · night report · %08d</p>\n<h1>Night of %s</h1>\n<p class=\"dim\">",
             date_of(r->night, date), style, r->night, date);
    list_of(p, r, offsetof(struct report_frame, instrument), 4);
    page_add(p, " · ");
    list_of(p, r, offsetof(struct report_frame, object), 8);
    page_add(p, " · %s ", r->nbands == 1 ? "filter" : "filters");
    for (int i = 0; i < r->nbands && i < 10; i++) {
        page_add(p, i ? ", " : "");
        page_escaped(p, r->bands[i]);
    }
    if (t.n) page_add(p, " · %s to %s UTC", clock_of(t.lo, from), clock_of(t.hi, to));
    page_add(p, "</p>\n");
}

static void tile_text(struct page *p, const char *big, const char *unit, const char *what, const char *more)
{
    page_add(p, "<div class=\"tile\"><span>%s</span><b>%s <small>%s</small></b><span>%s</span></div>\n", what, big, unit, more);
}

static void tile_spread(struct page *p, struct spread s, int decimals, const char *unit, const char *what, const char *otherwise)
{
    char big[64], more[96];
    if (!s.n) {
        tile_text(p, "–", "", what, otherwise);
        return;
    }
    snprintf(big, sizeof big, "%.*f", decimals, s.median);
    snprintf(more, sizeof more, "%.*f to %.*f", decimals, s.lo, decimals, s.hi);
    tile_text(p, big, unit, what, more);
}

static void tile_frames(struct page *p, const struct night_report *r)
{
    char big[48], more[160];
    int held = count_outcome(r, "held"), quarantined = count_outcome(r, "quarantined");
    snprintf(more, sizeof more, "<span class=\"%s\">%d held</span><span class=\"%s\">%d quarantined</span>", held ? "held" : "", held, quarantined ? "quarantined" : "", quarantined);
    tile_text(p, grouped(count_outcome(r, "done"), big), "", "Frames done", more);
}

static void tile_detections(struct page *p, const struct night_report *r, double *work)
{
    char big[48], more[96], count[48];
    int64_t sum = 0;
    for (int i = 0; i < r->nframes; i++) sum += r->frames[i].objects > 0 ? r->frames[i].objects : 0;
    struct spread s = spread_of(r, Q_OBJECTS, work);
    if (r->run_objects >= 0) snprintf(more, sizeof more, "of %s objects", grouped(r->run_objects, count));
    else snprintf(more, sizeof more, "%.0f in a typical frame", s.n ? s.median : 0.0);
    tile_text(p, grouped(sum, big), "", "Detections", more);
}

static void tile_wcs(struct page *p, const struct night_report *r, double *work)
{
    char big[48], more[128] = "each frame had its own";
    int own = count_wcs(r, "header"), carried = count_wcs(r, "neighbour"), none = count_wcs(r, "none");
    struct spread rms = spread_of(r, Q_WCS_RMS, work);
    snprintf(big, sizeof big, "%d", own + carried);
    if (rms.n && carried) snprintf(more, sizeof more, "%d from neighbours, rms to %.2f px", carried, rms.hi);
    else if (rms.n) snprintf(more, sizeof more, "fitted, rms to %.2f px", rms.hi);
    else if (carried) snprintf(more, sizeof more, "%d from neighbours", carried);
    if (none) snprintf(more, sizeof more, "<span class=\"held\">%d without</span>", none);
    tile_text(p, big, "", "Frames with coordinates", more);
}

static void tile_scatter(struct page *p, const struct night_report *r)
{
    char big[48] = "–", more[96] = "nightcal has not run";
    if (isfinite(r->scatter_mag)) snprintf(big, sizeof big, "%.1f", 1000 * r->scatter_mag);
    if (r->stars_common >= 0) snprintf(more, sizeof more, "bright third of %d stars in common", r->stars_common);
    tile_text(p, big, isfinite(r->scatter_mag) ? "mmag" : "", "Scatter of comparison stars", more);
}

static void tiles(struct page *p, const struct night_report *r, double *work)
{
    page_add(p, "<div class=\"tiles\">\n");
    tile_frames(p, r);
    tile_detections(p, r, work);
    tile_spread(p, spread_of(r, Q_SEEING, work), 2, "″", "Seeing, median", "no stars");
    tile_spread(p, spread_of(r, Q_SKY, work), 1, "e⁻/pixel", "Sky, median", "not measured");
    tile_spread(p, spread_of(r, Q_DEPTH, work), 2, "mag", "Depth 5σ, median", "needs zero points");
    tile_spread(p, spread_of(r, Q_ZERO, work), 2, "mag", "Zero point, median", "nightcal has not run");
    tile_scatter(p, r);
    tile_wcs(p, r, work);
    page_add(p, "</div>\n");
}

/* ---- frames that want a look -------------------------------------------------------------------------------------- */

static bool wants_look(const struct report_frame *f)
{
    return strcmp(f->outcome, "done") || !strcmp(f->verdict, "doubt") || !strcmp(f->verdict, "reject");
}

static void tag(struct page *p, const char *word)
{
    page_add(p, "<span class=\"tag ");
    page_escaped(p, word);
    page_add(p, "\">");
    page_escaped(p, word);
    page_add(p, "</span>");
}

static void frame_name(struct page *p, const struct report_frame *f)
{
    page_escaped(p, f->raw);
    if (f->ccd > 0 || strstr(f->product, "_ccd")) page_add(p, " · CCD %d", f->ccd);
}

static void why(struct page *p, const struct report_frame *f)
{
    page_escaped(p, f->reasons);
    if (f->reasons[0] && (f->cause[0] || f->message[0])) page_add(p, "; ");
    page_escaped(p, f->cause);
    if (f->cause[0] && f->message[0]) page_add(p, ": ");
    page_escaped(p, f->message);
}

static void looks(struct page *p, const struct night_report *r)
{
    int n = 0, shown = 0;
    for (int i = 0; i < r->nframes; i++) n += wants_look(&r->frames[i]);
    if (!n) return;
    page_add(p, "<h2>Look at these first</h2>\n<div class=\"wide\"><table>\n");
    for (int i = 0; i < r->nframes && shown < 50; i++) {
        const struct report_frame *f = &r->frames[i];
        if (!wants_look(f)) continue;
        shown++;
        page_add(p, "<tr><td class=\"l\">");
        tag(p, strcmp(f->outcome, "done") ? f->outcome : f->verdict);
        page_add(p, "</td><td class=\"l\">");
        frame_name(p, f);
        page_add(p, "</td><td class=\"l\">");
        why(p, f);
        page_add(p, "</td></tr>\n");
    }
    page_add(p, "</table></div>\n");
    if (n > shown) page_add(p, "<p class=\"note\">%d more: see the table of frames.</p>\n", n - shown);
}

/* ---- light curves ------------------------------------------------------------------------------------------------- */

static struct plot curve_plot(struct page *p)
{
    return (struct plot){.page = p, .width = 560, .height = 300, .left = 50, .right = 12, .top = 24, .bottom = 36};
}

/* One star's points; shift moves the comparison below the variable one. */
static void draw_curve(struct plot *plot, const struct night_report *r, const struct curve *c, double shift, const char *point, const char *bar)
{
    for (int i = 0; i < c->n; i++) {
        const struct curve_point *q = &r->curves.points[c->first + i];
        const struct report_frame *f = &r->frames[q->frame];
        char tip[400], when[16];
        snprintf(tip, sizeof tip, "%s UTC  %.3f ± %.3f mag  %s", clock_of(f->mjd, when), q->mag, q->err, f->raw);
        plot_bar(plot, f->mjd, q->mag + shift, q->err, bar);
        plot_point(plot, f->mjd, q->mag + shift, c->n > 300 ? 2 : 3.4, point, c->n > 300 ? NULL : tip);
    }
}

struct reach {
    double lo, hi;
};

static struct reach reach_of(const struct night_report *r, const struct curve *c)
{
    struct reach h = {INFINITY, -INFINITY};
    for (int i = 0; i < c->n; i++) {
        const struct curve_point *q = &r->curves.points[c->first + i];
        h.lo = fmin(h.lo, q->mag - q->err);
        h.hi = fmax(h.hi, q->mag + q->err);
    }
    return h;
}

static void curve_picture(struct page *p, const struct night_report *r, const struct curve *c, double *work)
{
    const struct curve *k = c->comparison >= 0 ? &r->curves.curves[c->comparison] : NULL;
    struct plot plot = curve_plot(p);
    struct reach own = reach_of(r, c), its = k ? reach_of(r, k) : own;
    double shift = k ? own.hi + 0.12 * fmax(own.hi - own.lo, 0.05) - its.lo : 0, ends[2] = {own.lo, k ? its.hi + shift : own.hi};
    for (int i = 0; i < c->n; i++) work[i] = r->frames[r->curves.points[c->first + i].frame].mjd;
    plot.x = plot_range(work, c->n, PLOT_TIME, 0.01, "UTC");
    plot.y = plot_range(ends, 2, PLOT_LINEAR, 0.05, "magnitude");
    plot.y.inverted = true;
    plot_begin(&plot, "light curve");
    plot_axes(&plot);
    if (k) draw_curve(&plot, r, k, shift, "comp", "barc");
    draw_curve(&plot, r, c, 0, "star", "bar");
    plot_end(&plot);
    page_add(p, "<p class=\"key\"><span><svg viewBox=\"0 0 10 10\"><circle class=\"star\" cx=\"5\" cy=\"5\" r=\"4\"/></svg>this star</span>");
    if (k) page_add(p, "<span><svg viewBox=\"0 0 10 10\"><circle class=\"comp\" cx=\"5\" cy=\"5\" r=\"4\"/></svg>constant star of %.2f mag, shifted by %+.2f</span>", k->mag, shift);
    page_add(p, "</p>\n");
}

static const struct report_frame *faintest_frame(const struct night_report *r, const struct curve *c)
{
    const struct curve_point *q = &r->curves.points[c->first];
    int at = 0;
    for (int i = 1; i < c->n; i++)
        if (q[i].mag > q[at].mag) at = i;
    return &r->frames[q[at].frame];
}

static void curve_card(struct page *p, const struct night_report *r, int rank, const struct curve *c, double *work)
{
    const struct report_frame *deepest = faintest_frame(r, c);
    char place[64], when[16];
    double depth = c->faint - c->bright;
    sexagesimal(c->ra, c->dec, place);
    page_add(p, "<div class=\"card curve\" data-ra=\"%.6f\" data-dec=\"%.6f\" data-dip=\"%.4f\"><h3>%d · %s <span class=\"dim\">· ", c->ra, c->dec,
             1 - pow(10, -0.4 * depth), rank, place);
    page_escaped(p, r->bands[c->band]);
    page_add(p, "</span></h3>\n<p>Down to <b>%.0f %%</b> below its bright level (%.2f mag) at %s UTC</p>\n<p class=\"dim\">RA %.5f Dec %+.5f · %.2f mag · %d points · reduced χ² %.1f</p>\n",
             100 * (1 - pow(10, -0.4 * depth)), depth, clock_of(deepest->mjd, when), c->ra, c->dec, c->mag, c->n, c->chi2);
    curve_picture(p, r, c, work);
    page_add(p, "</div>\n");
}

/* ---- scatter against magnitude ------------------------------------------------------------------------------------ */

static int by_mag(const void *p, const void *q)
{
    const struct curve *a = *(const struct curve *const *)p, *b = *(const struct curve *const *)q;
    if (a->mag != b->mag) return a->mag < b->mag ? -1 : 1;
    return (a->first > b->first) - (a->first < b->first);
}

/* Median expected error in steps of the sorted stars. */
static void draw_expected(struct plot *plot, const struct curve *const *sorted, int n, double *work)
{
    enum { STEPS = 24 };
    double x[STEPS], y[STEPS];
    int steps = n / 3 < STEPS ? n / 3 : STEPS;
    for (int k = 0; k < steps; k++) {
        int from = (int)((int64_t)n * k / steps), to = (int)((int64_t)n * (k + 1) / steps);
        for (int i = from; i < to; i++) work[i - from] = sorted[i]->expected;
        x[k] = sorted[(from + to) / 2]->mag;
        y[k] = median_f64(work, to - from);
    }
    plot_line(plot, x, y, steps, "expect");
}

static void scatter_plot(struct page *p, const struct night_report *r, const struct curve **sorted, int n, double *work)
{
    struct plot plot = curve_plot(p);
    if (r->curves.nchosen % 2 == 0) plot.width = 1140; /* alone in its row */
    int step = n / CLOUD_MAX + 1;
    for (int i = 0; i < n; i++) work[i] = sorted[i]->mag;
    plot.x = plot_range(work, n, PLOT_LINEAR, 0.5, "magnitude");
    for (int i = 0; i < n; i++) work[i] = fmin(fmax(sorted[i]->rms, 3e-4), STARLIKE_RMS_SHOWN_MAX);
    plot.y = plot_range(work, n, PLOT_LOG, 0, "scatter over the night, mag");
    plot_begin(&plot, "scatter against magnitude");
    plot_axes(&plot);
    for (int i = 0; i < n; i += step) plot_point(&plot, sorted[i]->mag, work[i], n > 500 ? 1.6 : 2.8, "cloud", NULL);
    draw_expected(&plot, sorted, n, work);
    for (int i = 0; i < r->curves.nchosen; i++) {
        const struct curve *c = &r->curves.curves[r->curves.chosen[i]];
        char tip[64];
        snprintf(tip, sizeof tip, "variable %d", i + 1);
        plot_point(&plot, c->mag, c->rms, 5, "var", tip);
    }
    plot_end(&plot);
}

static void scatter(struct page *p, const struct night_report *r)
{
    const struct nightcurves *c = &r->curves;
    const struct curve **sorted = malloc((size_t)(c->ncurves + 1) * sizeof *sorted);
    double *work = malloc((size_t)(c->ncurves + 1) * sizeof *work);
    int n = 0;
    if (!sorted || !work) p->failed = true;
    for (int i = 0; sorted && work && i < c->ncurves; i++)
        if (isfinite(c->curves[i].mag) && isfinite(c->curves[i].rms)) sorted[n++] = &c->curves[i];
    if (n && !p->failed) {
        qsort(sorted, (size_t)n, sizeof *sorted, by_mag);
        page_add(p, "<div class=\"card%s\"><h3>How steady the stars are</h3>\n<p class=\"dim\">Robust scatter of each star, and what the errors promise",
                 c->nchosen % 2 == 0 ? " span" : "");
        for (int b = 0; b < c->nbands; b++)
            if (c->floor[b] > 0) {
                page_add(p, "%s%.1f mmag in ", b ? ", " : "; beyond the counting of photons a floor of ", 1000 * c->floor[b]);
                page_escaped(p, r->bands[b]);
            }
        page_add(p, ".</p>\n");
        scatter_plot(p, r, sorted, n, work);
        page_add(p, "<p class=\"key\"><span><svg viewBox=\"0 0 10 10\"><circle class=\"cloud\" cx=\"5\" cy=\"5\" r=\"4\"/></svg>star</span>"
                    "<span><svg viewBox=\"0 0 10 10\"><circle class=\"var\" cx=\"5\" cy=\"5\" r=\"4\"/></svg>most variable</span>"
                    "<span><svg viewBox=\"0 0 10 10\"><path class=\"expect\" d=\"M0 5H10\"/></svg>expected</span></p></div>\n");
    }
    free(sorted);
    free(work);
}

/* ---- the most variable ones ------------------------------------------------------------------------------------ */

static void curves(struct page *p, const struct night_report *r, double *work)
{
    const struct nightcurves *c = &r->curves;
    page_add(p, "<h2 id=\"variable\">Most variable stars</h2>\n");
    if (!r->zeros) {
        page_add(p, "<p class=\"note\">No frame has a zero point, so magnitudes of different frames cannot be compared: run <code>nightshift nightcal</code>.</p>\n");
        return;
    }
    page_add(p, "<p class=\"note\">Of %d stars seen in %d frames or more: those that leave a constant by more than their errors, among objects as wide as "
                "the stars of their frames. Reduced χ² leaves out the one point that disagrees most, so that a single bad measurement makes no variable.</p>\n",
             c->ncurves, CURVE_POINTS_MIN);
    if (!c->nchosen) page_add(p, "<p>No star varies by more than its errors.</p>\n");
    page_add(p, "<div class=\"two\">\n");
    for (int i = 0; i < c->nchosen; i++) curve_card(p, r, i + 1, &c->curves[c->chosen[i]], work);
    scatter(p, r);
    page_add(p, "</div>\n");
}

/* ---- the night in plots ------------------------------------------------------------------------------------------- */

static const char *colour(int band)
{
    static const char *const names[COLOURS] = {"f0", "f1", "f2", "f3", "f4", "f5"};
    return names[(band < 0 ? 0 : band) % COLOURS];
}

static void night_plot(struct page *p, const struct night_report *r, enum quantity q, const char *title, const char *unit, double least, double *work)
{
    struct plot plot = curve_plot(p);
    int n = 0;
    plot.height = 250;
    for (int i = 0; i < r->nframes; i++) work[i] = isfinite(value_of(&r->frames[i], q)) ? r->frames[i].mjd : NAN;
    plot.x = plot_range(work, r->nframes, PLOT_TIME, 0.01, "UTC");
    for (int i = 0; i < r->nframes; i++) n += isfinite(work[i] = value_of(&r->frames[i], q));
    plot.y = plot_range(work, r->nframes, PLOT_LINEAR, least, unit);
    page_add(p, "<div class=\"card\"><h3>%s</h3>\n", title);
    if (!n) page_add(p, "<p class=\"dim\">not known for this night</p>\n");
    else {
        plot_begin(&plot, title);
        plot_axes(&plot);
        for (int i = 0; i < r->nframes; i++) {
            const struct report_frame *f = &r->frames[i];
            char tip[420], when[16];
            snprintf(tip, sizeof tip, "%s UTC  %.4g  %s", clock_of(f->mjd, when), work[i], f->raw);
            plot_point(&plot, f->mjd, work[i], n > 300 ? 2.2 : 3.6, colour(f->band), n > TIPS_MAX ? NULL : tip);
        }
        plot_end(&plot);
    }
    page_add(p, "</div>\n");
}

static void night_plots(struct page *p, const struct night_report *r, double *work)
{
    page_add(p, "<h2>Over the night</h2>\n");
    if (r->nbands > 1) {
        page_add(p, "<p class=\"key\">");
        for (int i = 0; i < r->nbands; i++) {
            page_add(p, "<span><svg viewBox=\"0 0 10 10\"><circle class=\"%s\" cx=\"5\" cy=\"5\" r=\"4\"/></svg>", colour(i));
            page_escaped(p, r->bands[i]);
            page_add(p, "</span>");
        }
        page_add(p, "</p>\n");
    }
    page_add(p, "<div class=\"two\">\n");
    night_plot(p, r, Q_SEEING, "Seeing", "FWHM, arcsec", 0.2, work);
    night_plot(p, r, Q_SKY_RATE, "Sky", "electron / pixel / s", 0, work);
    night_plot(p, r, Q_ZERO, "Zero point: transparency", "magnitude of 1 electron/s", 0.05, work);
    night_plot(p, r, Q_OBJECTS, "Objects", "per frame", 5, work);
    page_add(p, "</div>\n");
}

/* ---- table of frames ---------------------------------------------------------------------------------------------- */

static void picture_cell(struct page *p, const struct report_frame *f, int i)
{
    char name[512];
    page_add(p, "<td>");
    if (f->picture[0]) {
        snprintf(name, sizeof name, "previews/%s", f->thumb);
        page_add(p, "<a href=\"#p%d\"><img class=\"thumb\" loading=\"lazy\" alt=\"\" src=\"", i);
        page_url(p, name);
        page_add(p, "\"></a>");
    } else if (f->picture_err.code) {
        page_add(p, "<span class=\"held\" title=\"");
        page_escaped(p, f->picture_err.message);
        page_add(p, "\">no picture</span>");
    }
    page_add(p, "</td>");
}

static void wcs_cell(struct page *p, const struct report_frame *f)
{
    page_add(p, "<td class=\"l\">%s", strcmp(f->wcs, "header") ? "" : f->fit_status[0] && strcmp(f->fit_status, "failed") ? "fitted" : "own");
    if (!strcmp(f->fit_status, "failed")) page_add(p, "<small class=\"held\">not solved</small>");
    else if (isfinite(f->fit_rms_px)) page_add(p, "<small>%lld stars, rms %.2f px</small>", (long long)f->fit_stars, f->fit_rms_px);
    if (!strcmp(f->wcs, "neighbour")) {
        page_add(p, "<span title=\"");
        page_escaped(p, f->wcs_from);
        page_add(p, "\">neighbour</span>");
        if (isfinite(f->wcs_rms_px)) page_add(p, "<small>rms %.2f px</small>", f->wcs_rms_px);
    }
    if (!strcmp(f->wcs, "none")) page_add(p, "<span class=\"held\">none</span>");
    page_add(p, "</td>");
}

static void frame_row(struct page *p, const struct report_frame *f, int i)
{
    char when[16];
    page_add(p, "<tr>");
    picture_cell(p, f, i);
    page_add(p, "<td>%s</td><td class=\"l\">", clock_of(f->mjd, when));
    frame_name(p, f);
    page_add(p, "<small>");
    page_escaped(p, f->object);
    page_add(p, "</small></td><td class=\"l\">");
    page_escaped(p, f->filter);
    const struct {
        double v;
        int decimals;
    } cells[] = {{f->exptime_s, f->exptime_s < 10 ? 1 : 0}, {f->airmass, 2}, {f->seeing_arcsec, 2}, {f->sky, 1}, {f->objects >= 0 ? (double)f->objects : NAN, 0}};
    for (size_t k = 0; k < sizeof cells / sizeof *cells; k++) {
        page_add(p, "</td><td>");
        number(p, cells[k].v, cells[k].decimals);
    }
    page_add(p, "</td><td>");
    number(p, f->zero, 3);
    if (isfinite(f->zero_err)) page_add(p, "<small>± %.3f</small>", f->zero_err);
    page_add(p, "</td><td>");
    number(p, f->depth_mag, 2);
    page_add(p, "</td>");
    wcs_cell(p, f);
    page_add(p, "<td class=\"l\">");
    tag(p, strcmp(f->outcome, "done") || !f->verdict[0] ? f->outcome : f->verdict);
    page_add(p, "<small>");
    why(p, f);
    if (f->masked >= 0.005) page_add(p, "%s%.1f %% masked", f->reasons[0] || f->cause[0] || f->message[0] ? "; " : "", 100 * f->masked);
    page_add(p, "</small></td></tr>\n");
}

static int next_picture(const struct night_report *r, int i, int step)
{
    for (int k = i + step; k >= 0 && k < r->nframes; k += step)
        if (r->frames[k].picture[0]) return k;
    return i;
}

static void big_picture(struct page *p, const struct night_report *r, int i)
{
    const struct report_frame *f = &r->frames[i];
    char name[512], when[16];
    snprintf(name, sizeof name, "previews/%s", f->picture);
    page_add(p, "<div class=\"big\" id=\"p%d\"><img loading=\"lazy\" alt=\"", i);
    frame_name(p, f);
    page_add(p, "\" src=\"");
    page_url(p, name);
    page_add(p, "\"><p>");
    frame_name(p, f);
    page_add(p, " · %s UTC · ", clock_of(f->mjd, when));
    page_escaped(p, f->filter);
    if (isfinite(f->seeing_arcsec)) page_add(p, " · seeing %.2f″", f->seeing_arcsec);
    page_add(p, "<br>green: clean detections, amber: flagged</p><p><a href=\"#p%d\">‹ earlier</a><a href=\"#frames\">close</a><a href=\"#p%d\">later ›</a><a href=\"",
             next_picture(r, i, -1), next_picture(r, i, 1));
    page_url(p, name);
    page_add(p, "\">file</a></p></div>\n");
}

static void frames_table(struct page *p, const struct night_report *r)
{
    int pictures = 0;
    for (int i = 0; i < r->nframes; i++) pictures += r->frames[i].picture[0] != 0;
    page_add(p, "<h2 id=\"frames\">Frames</h2>\n<p class=\"note\">");
    if (pictures) page_add(p, "Pictures open large; step through the night with earlier and later.");
    if (pictures && pictures < r->nframes) page_add(p, " The first %d have one.", pictures);
    page_add(p, "</p>\n<div class=\"wide\"><table><thead><tr><th></th><th>UTC</th><th class=\"l\">Frame</th><th class=\"l\">Filter</th><th>Exp s</th><th>Airmass</th><th>Seeing ″</th>"
                "<th>Sky e⁻</th><th>Objects</th><th>Zero point</th><th>Depth 5σ</th><th class=\"l\">WCS</th><th class=\"l\">Verdict</th></tr></thead><tbody>\n");
    for (int i = 0; i < r->nframes; i++) frame_row(p, &r->frames[i], i);
    page_add(p, "</tbody></table></div>\n");
    for (int i = 0; i < r->nframes; i++)
        if (r->frames[i].picture[0]) big_picture(p, r, i);
}

static void foot(struct page *p, const struct night_report *r)
{
    bool relative = false;
    for (int i = 0; i < r->nframes; i++) relative |= !strcmp(r->frames[i].zero_kind, "relative");
    page_add(p, "<footer>");
    if (relative) page_add(p, "<p>Zero points are relative: stars in common tie the frames together, the scale as a whole is a convention (mean 25).</p>");
    if (r->has_run) {
        page_add(p, "<p>Run over ");
        page_escaped(p, r->run_input[0] ? r->run_input : "the frames of the night");
        if (isfinite(r->run_elapsed_s)) page_add(p, ": %.1f s", r->run_elapsed_s);
        page_add(p, "</p>");
    }
    page_add(p, "<p>nightshift %s, results %s. Times are UTC at mid exposure.</p></footer>\n</main></body></html>\n", nightshift_version, nightshift_result_version);
}

enum err nightpage_write(const struct night_report *r, const char *path, struct error *err)
{
    struct page p = {0};
    double *work = malloc((size_t)(r->nframes + 1) * sizeof *work);
    if (!work) return ERROR(err, ERR_NOMEM, "could not hold the page '%s': out of memory", path);
    head(&p, r, work);
    tiles(&p, r, work);
    looks(&p, r);
    curves(&p, r, work);
    night_plots(&p, r, work);
    frames_table(&p, r);
    foot(&p, r);
    enum err e = page_write(&p, path, err);
    free(work);
    page_release(&p);
    return e;
}
