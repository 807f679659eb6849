#include "common/httpd_guard.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <linux/sockios.h>

#include "common/log.h"
#include "common/metrics.h"

static const double WINDOW_S = 10; /* over which the rate of an answer is taken */
static const int WINDOWS = 3;

struct guarded {
    struct guard *guard;
    int fd;
    enum guard_stage stage;
    double since;            /* of the stage */
    bool counted;            /* the counts below were taken: at the first look after the stage began */
    uint64_t received;
    double window;           /* when the window began; of an answer */
    uint64_t acknowledged;   /* at that time */
    int slow;                /* windows in a row */
    struct guarded *next, *previous;
};

struct guard {
    struct guard_options opt;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    bool stopping;
    struct guarded *first;
};

static bool counts(int fd, uint64_t *ret_received, uint64_t *ret_acknowledged)
{
    struct tcp_info info;
    socklen_t size = sizeof info;
    memset(&info, 0, sizeof info);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size)) return false;
    *ret_received = info.tcpi_bytes_received;
    *ret_acknowledged = info.tcpi_bytes_acked;
    return true;
}

static void enter(struct guarded *c, enum guard_stage stage)
{
    c->stage = stage;
    c->since = clock_seconds();
    c->counted = false;
    c->slow = 0;
}

/* Why this connection is to be closed, NULL to let it be. */
static const char *verdict(struct guarded *c, double now)
{
    const struct guard_options *o = &c->guard->opt;
    uint64_t received, acknowledged;
    int queued = 0;
    double age = now - c->since;
    if (c->stage == GUARD_WORK || !counts(c->fd, &received, &acknowledged)) return NULL;
    if (c->stage == GUARD_HEADER) return age > o->header_s ? "header" : NULL;
    if (!c->counted) {
        c->counted = true;
        c->received = received;
        c->acknowledged = acknowledged;
        c->window = now;
        return NULL;
    }
    if (c->stage == GUARD_IDLE) {
        if (received != c->received) { /* the next request has begun; what came before is not known, what comes is */
            c->stage = GUARD_HEADER;
            c->since = now;
        }
        return NULL;
    }
    if (c->stage == GUARD_BODY) return age > o->body_s && (double)(received - c->received) < o->rate * age ? "body" : NULL;
    if (now - c->window < WINDOW_S) return NULL;
    bool waiting = !ioctl(c->fd, SIOCOUTQ, &queued) && queued > 0;
    c->slow = waiting && (double)(acknowledged - c->acknowledged) < o->rate * (now - c->window) ? c->slow + 1 : 0;
    c->window = now;
    c->acknowledged = acknowledged;
    return c->slow >= WINDOWS ? "answer" : NULL;
}

static void *watch(void *user)
{
    struct guard *g = user;
    pthread_mutex_lock(&g->lock);
    while (!g->stopping) {
        double now = clock_seconds();
        for (struct guarded *c = g->first; c; c = c->next) {
            const char *why = verdict(c, now);
            if (!why) continue;
            char label[32];
            snprintf(label, sizeof label, "why=\"%s\"", why);
            metric_add(metric_get(METRIC_COUNTER, "nightshift_http_cut_total", label, "connections closed because their client was too slow"), 1);
            shutdown(c->fd, SHUT_RDWR); /* the server closes it: until it says so, the descriptor is this connection's */
            c->stage = GUARD_WORK;
        }
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 1;
        pthread_cond_timedwait(&g->wake, &g->lock, &until);
    }
    pthread_mutex_unlock(&g->lock);
    return NULL;
}

struct guard *guard_new(const struct guard_options *opt)
{
    struct guard *g = calloc(1, sizeof *g);
    if (!g) return NULL;
    g->opt = *opt;
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->wake, NULL);
    if (!pthread_create(&g->thread, NULL, watch, g)) return g;
    pthread_cond_destroy(&g->wake);
    pthread_mutex_destroy(&g->lock);
    free(g);
    return NULL;
}

void guard_free(struct guard *g)
{
    if (!g) return;
    pthread_mutex_lock(&g->lock);
    g->stopping = true;
    pthread_cond_signal(&g->wake);
    pthread_mutex_unlock(&g->lock);
    pthread_join(g->thread, NULL);
    for (struct guarded *c = g->first, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    pthread_cond_destroy(&g->wake);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

static void opened(struct guard *g, struct MHD_Connection *connection, void **socket_context)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct guarded *c = info ? calloc(1, sizeof *c) : NULL;
    *socket_context = c;
    if (!c) return;
    c->guard = g;
    c->fd = info->connect_fd;
    pthread_mutex_lock(&g->lock);
    enter(c, GUARD_HEADER);
    c->next = g->first;
    if (c->next) c->next->previous = c;
    g->first = c;
    pthread_mutex_unlock(&g->lock);
}

static void closed(struct guard *g, struct guarded *c)
{
    pthread_mutex_lock(&g->lock);
    if (c->previous) c->previous->next = c->next;
    else g->first = c->next;
    if (c->next) c->next->previous = c->previous;
    pthread_mutex_unlock(&g->lock);
    free(c);
}

void guard_connection(void *guard, struct MHD_Connection *connection, void **socket_context, enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED) opened(guard, connection, socket_context);
    else if (*socket_context) closed(guard, *socket_context);
}

void guard_stage(struct MHD_Connection *connection, enum guard_stage stage)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct guarded *c = info ? info->socket_context : NULL;
    if (!c) return;
    pthread_mutex_lock(&c->guard->lock);
    enter(c, stage);
    pthread_mutex_unlock(&c->guard->lock);
}
