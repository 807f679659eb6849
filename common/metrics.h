/* Metrics in the text format of Prometheus 0.0.4: counters, gauges and histograms, each with one set of labels.
 *
 * A metric is made once and lives as long as the process; updates are atomic and lock-free, from any thread.
 * Names and help come from docs/metrics.md.                                                                        */
#ifndef NIGHTSHIFT_COMMON_METRICS_H
#define NIGHTSHIFT_COMMON_METRICS_H

#include <stddef.h>

struct metric;

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

/* The metric of that name and labels ("route=\"/scs\",code=\"200\"", "" for none); made on first use.
 * NULL when memory ends: every function below takes NULL. Histograms use the buckets of request times
 * (0.001 ... 10 s). */
struct metric *metric_get(enum metric_kind kind, const char *name, const char *labels, const char *help);

void metric_add(struct metric *m, double v);
void metric_set(struct metric *m, double v);
void metric_observe(struct metric *m, double seconds);
double metric_value(const struct metric *m);

/* All metrics as text, families together. Returned: malloc'd, NUL-terminated; NULL: no memory. */
char *metrics_text(size_t *ret_size);

#endif
