#include "common/metrics.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 13
static const double bucket_bound[BUCKETS] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};

struct metric {
    struct metric *next; /* the list only grows; its head is published with release order */
    enum metric_kind kind;
    char *name, *labels, *help;
    double value;        /* sum for a histogram */
    long count, bucket[BUCKETS];
};

static struct metric *head;
static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;

static struct metric *find(const char *name, const char *labels)
{
    for (struct metric *m = __atomic_load_n(&head, __ATOMIC_ACQUIRE); m; m = m->next)
        if (!strcmp(m->name, name) && !strcmp(m->labels, labels)) return m;
    return NULL;
}

static struct metric *make(enum metric_kind kind, const char *name, const char *labels, const char *help)
{
    struct metric *m = calloc(1, sizeof *m);
    if (!m) return NULL;
    m->kind = kind;
    m->name = strdup(name);
    m->labels = strdup(labels);
    m->help = strdup(help ? help : "");
    if (!m->name || !m->labels || !m->help) {
        free(m->name);
        free(m->labels);
        free(m->help);
        free(m);
        return NULL;
    }
    m->next = head;
    __atomic_store_n(&head, m, __ATOMIC_RELEASE);
    return m;
}

struct metric *metric_get(enum metric_kind kind, const char *name, const char *labels, const char *help)
{
    struct metric *m = find(name, labels);
    if (m) return m;
    pthread_mutex_lock(&making);
    m = find(name, labels);
    if (!m) m = make(kind, name, labels, help);
    pthread_mutex_unlock(&making);
    return m;
}

static void atomic_add(double *to, double v)
{
    double old, sum;
    __atomic_load(to, &old, __ATOMIC_RELAXED);
    do sum = old + v;
    while (!__atomic_compare_exchange(to, &old, &sum, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
}

void metric_add(struct metric *m, double v)
{
    if (m) atomic_add(&m->value, v);
}

void metric_set(struct metric *m, double v)
{
    if (m) __atomic_store(&m->value, &v, __ATOMIC_RELAXED);
}

void metric_observe(struct metric *m, double seconds)
{
    if (!m) return;
    atomic_add(&m->value, seconds);
    __atomic_fetch_add(&m->count, 1, __ATOMIC_RELAXED);
    for (int b = 0; b < BUCKETS; b++)
        if (seconds <= bucket_bound[b]) {
            __atomic_fetch_add(&m->bucket[b], 1, __ATOMIC_RELAXED);
            return;
        }
}

double metric_value(const struct metric *m)
{
    double v = 0;
    if (m) __atomic_load(&m->value, &v, __ATOMIC_RELAXED);
    return v;
}

static void print_histogram(FILE *out, const struct metric *m)
{
    const char *comma = m->labels[0] ? "," : "";
    long sum = 0, count = __atomic_load_n(&m->count, __ATOMIC_RELAXED);
    for (int b = 0; b < BUCKETS; b++) {
        sum += __atomic_load_n(&m->bucket[b], __ATOMIC_RELAXED);
        if (sum > count) count = sum; /* an observation between our two loads */
        fprintf(out, "%s_bucket{%s%sle=\"%g\"} %ld\n", m->name, m->labels, comma, bucket_bound[b], sum);
    }
    fprintf(out, "%s_bucket{%s%sle=\"+Inf\"} %ld\n", m->name, m->labels, comma, count);
    const char *open = m->labels[0] ? "{" : "", *close = m->labels[0] ? "}" : "";
    fprintf(out, "%s_sum%s%s%s %.9g\n", m->name, open, m->labels, close, metric_value(m));
    fprintf(out, "%s_count%s%s%s %ld\n", m->name, open, m->labels, close, count);
}

static void print_metric(FILE *out, const struct metric *m)
{
    if (m->kind == METRIC_HISTOGRAM)
        print_histogram(out, m);
    else if (m->labels[0])
        fprintf(out, "%s{%s} %.15g\n", m->name, m->labels, metric_value(m));
    else
        fprintf(out, "%s %.15g\n", m->name, metric_value(m));
}

static int by_name(const void *a, const void *b)
{
    const struct metric *p = *(const struct metric *const *)a, *q = *(const struct metric *const *)b;
    int c = strcmp(p->name, q->name);
    return c ? c : strcmp(p->labels, q->labels);
}

char *metrics_text(size_t *ret_size)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    struct metric *first = __atomic_load_n(&head, __ATOMIC_ACQUIRE);
    int n = 0;
    for (struct metric *m = first; m; m = m->next) n++;
    const struct metric **list = malloc((size_t)(n + 1) * sizeof *list);
    char *text = NULL;
    size_t size = 0;
    FILE *out = list ? open_memstream(&text, &size) : NULL;
    if (!out) {
        free(list);
        return NULL;
    }
    n = 0;
    for (struct metric *m = first; m; m = m->next) list[n++] = m;
    qsort(list, (size_t)n, sizeof *list, by_name);
    for (int i = 0; i < n; i++) {
        if (i == 0 || strcmp(list[i]->name, list[i - 1]->name))
            fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", list[i]->name, list[i]->help, list[i]->name, kinds[list[i]->kind]);
        print_metric(out, list[i]);
    }
    free(list);
    if (fclose(out)) {
        free(text);
        return NULL;
    }
    if (ret_size) *ret_size = size;
    return text;
}
