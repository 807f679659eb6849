/* Logs and progress. Programs log; library code returns errors.
 *
 * Format json: one line per event {"timestamp":..., "level":..., "message":..., "role":..., ...fields}; console: readable
 * text with colour on a terminal. Both go to standard error. Progress (rate and time left) redraws one line on a
 * terminal and is a JSON or text line every 10 s elsewhere.
 * Threads: every function may be called from any thread.                                                           */
#ifndef NIGHTSHIFT_COMMON_LOG_H
#define NIGHTSHIFT_COMMON_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_CONSOLE, LOG_JSON };

/* role: the verb; job_id, worker_id, trace_id come from NIGHTSHIFT_JOB_ID, NIGHTSHIFT_WORKER_ID, TRACEPARENT if set. */
void log_init(const char *role, enum log_level level, enum log_format format);
bool log_enabled(enum log_level level);

/* A field of an event. Build lists with the macros: log_event(LOG_INFO, "frame reduced", LOG_STR("exposure", name),
 * LOG_INT("n", n), LOG_DOUBLE("elapsed_ms", t), LOG_END). */
struct log_field {
    const char *name;
    enum { LOG_FIELD_END, LOG_FIELD_STR, LOG_FIELD_INT, LOG_FIELD_DOUBLE, LOG_FIELD_BOOL } kind;
    const char *s;
    int64_t i;
    double d;
};
#define LOG_STR(n, v)    ((struct log_field){.name = (n), .kind = LOG_FIELD_STR, .s = (v)})
#define LOG_INT(n, v)    ((struct log_field){.name = (n), .kind = LOG_FIELD_INT, .i = (v)})
#define LOG_DOUBLE(n, v) ((struct log_field){.name = (n), .kind = LOG_FIELD_DOUBLE, .d = (v)})
#define LOG_END          ((struct log_field){.kind = LOG_FIELD_END})
#define LOG_BOOL(n, v)   ((struct log_field){.name = (n), .kind = LOG_FIELD_BOOL, .i = (v)})

void log_fields(enum log_level level, const char *message, const struct log_field *fields, int n);
#define log_event(level, message, ...) \
    log_fields((level), (message), (struct log_field[]){__VA_ARGS__}, (int)(sizeof((struct log_field[]){__VA_ARGS__}) / sizeof(struct log_field)))

/* printf-like, without fields. */
void log_text(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The error's one line, with its code, file and HDU as fields. */
void log_error(const struct error *err);

struct progress;
/* what: "frames"; total < 0: unknown. unit_px: pixels per item for a Mpix/s rate, 0: items only. NULL is a silent bar. */
struct progress *progress_new(const char *what, int64_t total, double unit_px);
void progress_step(struct progress *p, int64_t items);
void progress_free(struct progress *p); /* clears the line; takes NULL */

double clock_seconds(void); /* monotonic */

#endif
