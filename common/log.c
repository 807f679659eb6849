/* DESIGN. One process, one log: the state below is set by log_init() and guarded by one mutex. A line is built in memory
 * and leaves in one write(), so that lines of several threads and of child processes that share the pipe stay whole.
 * At most one progress bar is drawn; a log line wipes it, the next step draws it again below. */
#include "common/log.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/text.h"

#define LINE_MAX_BYTES 8192
#define REDRAW_S       0.1
#define REPORT_S       10.0
#define BAR_WIDTH      20

static struct {
    pthread_mutex_t mutex;
    enum log_level level;
    enum log_format format;
    bool terminal;
    bool bar_drawn;
    char role[32], job_id[96], worker_id[96], trace_id[40];
} the_log = {.mutex = PTHREAD_MUTEX_INITIALIZER, .level = LOG_INFO, .format = LOG_CONSOLE};

/* ---- a line under construction ----------------------------------------------------------------------------------- */

/* Invariant: n < sizeof text; what does not fit is left out, never half an escape or half a UTF-8 sequence. */
struct line {
    char text[LINE_MAX_BYTES];
    size_t n;
};

static void add(struct line *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct line *l, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int wrote = vsnprintf(l->text + l->n, sizeof l->text - l->n, fmt, ap);
    va_end(ap);
    if (wrote > 0 && (size_t)wrote < sizeof l->text - l->n) l->n += (size_t)wrote;
    l->text[l->n] = '\0';
}

static void add_json_string(struct line *l, const char *s)
{
    char clean[2048];
    text_clean(clean, sizeof clean, s ? s : "");
    add(l, "\"");
    for (const char *c = clean; *c; c++) {
        if (*c == '"' || *c == '\\')
            add(l, "\\%c", *c);
        else
            add(l, "%c", *c);
    }
    add(l, "\"");
}

static void add_number(struct line *l, double d)
{
    if (isfinite(d))
        add(l, "%.10g", d);
    else
        add(l, "null"); /* JSON has no NaN */
}

static void add_value(struct line *l, const struct log_field *f, bool json)
{
    char clean[1024];
    switch (f->kind) {
    case LOG_FIELD_STR:
        if (json)
            add_json_string(l, f->s);
        else
            add(l, "%s", text_clean(clean, sizeof clean, f->s ? f->s : ""));
        break;
    case LOG_FIELD_INT: add(l, "%" PRId64, f->i); break;
    case LOG_FIELD_DOUBLE: add_number(l, f->d); break;
    case LOG_FIELD_BOOL: add(l, "%s", f->i ? "true" : "false"); break;
    case LOG_FIELD_END: break;
    }
}

static void timestamp(char *buf, size_t size)
{
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t n = strftime(buf, size, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(buf + n, size - n, ".%03dZ", (int)(now.tv_nsec / 1000000));
}

static const char *level_name(enum log_level level)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    return names[level];
}

static void add_if_set(struct line *l, const char *name, const char *value)
{
    if (!*value) return;
    add(l, ",\"%s\":", name);
    add_json_string(l, value);
}

static void json_line(struct line *l, enum log_level level, const char *message, const struct log_field *fields, int n)
{
    char now[40];
    timestamp(now, sizeof now);
    add(l, "{\"timestamp\":\"%s\",\"level\":\"%s\",\"message\":", now, level_name(level));
    add_json_string(l, message);
    add_if_set(l, "role", the_log.role);
    add_if_set(l, "job_id", the_log.job_id);
    add_if_set(l, "worker_id", the_log.worker_id);
    add_if_set(l, "trace_id", the_log.trace_id);
    for (int i = 0; i < n && fields[i].kind != LOG_FIELD_END; i++) {
        if (l->n > sizeof l->text - 2100) break; /* an event of that size has said enough; the line stays valid JSON */
        add(l, ",\"%s\":", fields[i].name);
        add_value(l, &fields[i], true);
    }
    add(l, "}\n");
}

static void console_line(struct line *l, enum log_level level, const char *message, const struct log_field *fields, int n)
{
    static const char *const colours[] = {"\033[2m", "", "\033[33m", "\033[31m"};
    char clean[2048];
    const char *colour = the_log.terminal ? colours[level] : "";
    add(l, "%snightshift%s%s: %s%s", colour, *the_log.role ? " " : "", the_log.role, level == LOG_WARN ? "warning: " : "",
        text_clean(clean, sizeof clean, message));
    for (int i = 0; i < n && fields[i].kind != LOG_FIELD_END; i++) {
        if (l->n > sizeof l->text - 2100) break;
        add(l, "%s%s=", i ? " " : "  ", fields[i].name);
        add_value(l, &fields[i], false);
    }
    add(l, "%s\n", *colour ? "\033[0m" : "");
}

static void write_all(const char *text, size_t n)
{
    while (n) {
        ssize_t wrote = write(STDERR_FILENO, text, n);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) return; /* nobody is listening: work goes on */
        text += wrote;
        n -= (size_t)wrote;
    }
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

static void copy_variable(char *dst, size_t size, const char *name)
{
    const char *value = getenv(name);
    text_clean(dst, size, value ? value : "");
}

void log_init(const char *role, enum log_level level, enum log_format format)
{
    pthread_mutex_lock(&the_log.mutex);
    the_log.level = level;
    the_log.format = format;
    the_log.terminal = isatty(STDERR_FILENO) == 1;
    text_clean(the_log.role, sizeof the_log.role, role ? role : "");
    copy_variable(the_log.job_id, sizeof the_log.job_id, "NIGHTSHIFT_JOB_ID");
    copy_variable(the_log.worker_id, sizeof the_log.worker_id, "NIGHTSHIFT_WORKER_ID");
    /* W3C trace context: version-traceid-parentid-flags; the trace id is 32 hex digits. */
    const char *trace = getenv("TRACEPARENT");
    the_log.trace_id[0] = '\0';
    if (trace && strlen(trace) >= 35 && trace[2] == '-' && strspn(trace + 3, "0123456789abcdef") == 32)
        snprintf(the_log.trace_id, sizeof the_log.trace_id, "%.32s", trace + 3);
    pthread_mutex_unlock(&the_log.mutex);
}

bool log_enabled(enum log_level level)
{
    pthread_mutex_lock(&the_log.mutex);
    bool enabled = level >= the_log.level;
    pthread_mutex_unlock(&the_log.mutex);
    return enabled;
}

/* The caller holds the mutex. */
static void wipe_bar(void)
{
    if (the_log.bar_drawn) write_all("\r\033[K", 4);
    the_log.bar_drawn = false;
}

void log_fields(enum log_level level, const char *message, const struct log_field *fields, int n)
{
    struct line l = {.n = 0};
    pthread_mutex_lock(&the_log.mutex);
    if (level >= the_log.level) {
        if (the_log.format == LOG_JSON)
            json_line(&l, level, message, fields, n);
        else
            console_line(&l, level, message, fields, n);
        wipe_bar();
        write_all(l.text, l.n);
    }
    pthread_mutex_unlock(&the_log.mutex);
}

void log_text(enum log_level level, const char *fmt, ...)
{
    char message[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    log_fields(level, message, NULL, 0);
}

void log_error(const struct error *err)
{
    char line[2048];
    error_line(err, line, sizeof line);
    struct log_field fields[5];
    int n = 0;
    if (the_log.format == LOG_JSON) { /* on the console the line says it all */
        fields[n++] = LOG_STR("code", err_name(err->code));
        if (err->path[0]) fields[n++] = LOG_STR("file", err->path);
        if (err->hdu) fields[n++] = LOG_INT("hdu", err->hdu);
        if (err->stage) fields[n++] = LOG_STR("stage", err->stage);
        if (err->lib_status) fields[n++] = LOG_INT("library_status", err->lib_status);
    }
    log_fields(LOG_ERROR, line, fields, n);
}

/* ---- progress ---------------------------------------------------------------------------------------------------- */

double clock_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

struct progress {
    char what[40];
    int64_t total, done;
    double unit_px, start, last;
};

struct progress *progress_new(const char *what, int64_t total, double unit_px)
{
    struct progress *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    text_clean(p->what, sizeof p->what, what);
    p->total = total;
    p->unit_px = unit_px;
    p->start = clock_seconds();
    p->last = isatty(STDERR_FILENO) == 1 ? p->start - REDRAW_S : p->start;
    return p;
}

static void add_duration(struct line *l, double s)
{
    long long t = s < 1e9 ? (long long)(s + 0.5) : 1000000000;
    if (t >= 3600)
        add(l, "%lld:%02lld:%02lld", t / 3600, t / 60 % 60, t % 60);
    else
        add(l, "%lld:%02lld", t / 60, t % 60);
}

/* "frames 12/17 [############........] 3.2/s 13.4 Mpix/s 0:02 left" */
static void draw_bar(const struct progress *p, double rate, double left)
{
    struct line l = {.n = 0};
    add(&l, "\r\033[K%s %" PRId64, p->what, p->done);
    if (p->total > 0) {
        int full = (int)(BAR_WIDTH * (double)(p->done < p->total ? p->done : p->total) / (double)p->total);
        add(&l, "/%" PRId64 " [", p->total);
        for (int i = 0; i < BAR_WIDTH; i++) add(&l, "%c", i < full ? '#' : '.');
        add(&l, "]");
    }
    if (rate > 0) add(&l, " %.3g/s", rate);
    if (rate > 0 && p->unit_px > 0) add(&l, " %.3g Mpix/s", 1e-6 * rate * p->unit_px);
    if (isfinite(left)) {
        add(&l, " ");
        add_duration(&l, left);
        add(&l, " left");
    }
    write_all(l.text, l.n);
    the_log.bar_drawn = true;
}

/* One event for readers that are no terminal. */
static void report(const struct progress *p, double rate, double left)
{
    struct log_field fields[5];
    int n = 0;
    struct line l = {.n = 0};
    fields[n++] = LOG_INT("done", p->done);
    if (p->total >= 0) fields[n++] = LOG_INT("total", p->total);
    fields[n++] = LOG_DOUBLE("rate_per_s", rate);
    if (p->unit_px > 0) fields[n++] = LOG_DOUBLE("mpix_per_s", 1e-6 * rate * p->unit_px);
    if (isfinite(left)) fields[n++] = LOG_DOUBLE("left_s", left);
    if (the_log.format == LOG_JSON)
        json_line(&l, LOG_INFO, p->what, fields, n);
    else
        console_line(&l, LOG_INFO, p->what, fields, n);
    write_all(l.text, l.n);
}

void progress_step(struct progress *p, int64_t items)
{
    if (!p) return;
    pthread_mutex_lock(&the_log.mutex);
    p->done += items;
    double now = clock_seconds(), elapsed = now - p->start;
    bool bar = the_log.terminal && the_log.format == LOG_CONSOLE;
    if (the_log.level <= LOG_INFO && now - p->last >= (bar ? REDRAW_S : REPORT_S)) {
        double rate = elapsed > 0 ? (double)p->done / elapsed : 0;
        double left = rate > 0 && p->total >= p->done ? (double)(p->total - p->done) / rate : NAN;
        if (bar)
            draw_bar(p, rate, left);
        else
            report(p, rate, left);
        p->last = now;
    }
    pthread_mutex_unlock(&the_log.mutex);
}

void progress_free(struct progress *p)
{
    if (!p) return;
    pthread_mutex_lock(&the_log.mutex);
    wipe_bar();
    pthread_mutex_unlock(&the_log.mutex);
    free(p);
}
