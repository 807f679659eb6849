/* Rate of an HTTP service: keep-alive clients that ask for one address after another, as fast as the answers come.
 *
 *     bench_http URL CLIENTS SECONDS FILE      FILE: one path with query per line, taken in turn; http://127.0.0.1:PORT
 *
 * Prints requests/s, median, p99 and the largest time, mean bytes. Anything but a whole 200 answer ends it. One thread, poll():
 * it must cost little beside what it measures.                                                                        */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS_MAX 256
#define BUFFER      (1 << 18)

struct client {
    int fd;
    char *buf;
    size_t used;          /* of the header while it comes; then of the tail that may hold the end */
    int64_t left;         /* of the body; -1: the header comes; -2: chunked */
    double start;
    int64_t bytes;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void die(const char *why)
{
    fprintf(stderr, "bench_http: %s\n", why);
    exit(1);
}

static int connect_to(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a)) die("cannot connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void ask(struct client *c, const char *path)
{
    char line[1024];
    int n = snprintf(line, sizeof line, "GET %s HTTP/1.1\r\nHost: bench\r\n\r\n", path);
    c->used = 0;
    c->left = -1;
    c->bytes = 0;
    c->start = now();
    if (write(c->fd, line, (size_t)n) != n) die("cannot write");
}

/* Takes what has come. Returned: 1 when the answer is whole. */
static int take(struct client *c)
{
    ssize_t n = read(c->fd, c->buf + c->used, BUFFER - 1 - c->used);
    if (n <= 0) die(n ? strerror(errno) : "the server closed the connection");
    c->bytes += n;
    if (c->left >= 0) {
        c->left -= n;
        return c->left <= 0;
    }
    c->used += (size_t)n;
    c->buf[c->used] = '\0';
    if (c->left == -1) {
        char *end = strstr(c->buf, "\r\n\r\n");
        if (!end) return 0;
        if (strncmp(c->buf, "HTTP/1.1 200", 12)) die(c->buf);
        const char *length = strcasestr(c->buf, "\r\nContent-Length:");
        if (length && length < end) {
            c->left = strtoll(length + 17, NULL, 10) - (int64_t)(c->buf + c->used - end - 4);
            return c->left <= 0;
        }
        c->left = -2;
    }
    /* chunked: the last chunk and the trailer end with an empty line; data with that very text would end it too soon */
    if (c->used >= 7 && !memcmp(c->buf + c->used - 4, "\r\n\r\n", 4)) {
        char *last = NULL;
        for (char *p = c->buf; (p = strstr(p, "\r\n0\r\n")); p++) last = p;
        if (last) return 1;
    }
    if (c->used > BUFFER / 2) {
        memmove(c->buf, c->buf + c->used - 256, 256);
        c->used = 256;
    }
    return 0;
}

static int by_value(const void *a, const void *b)
{
    double p = *(const double *)a, q = *(const double *)b;
    return (p > q) - (p < q);
}

int main(int argc, char **argv)
{
    if (argc != 5) die("usage: bench_http URL CLIENTS SECONDS FILE");
    const char *colon = strrchr(argv[1], ':');
    int port = colon ? atoi(colon + 1) : 80, n = atoi(argv[2]);
    double seconds = atof(argv[3]);
    FILE *f = fopen(argv[4], "r");
    char **paths = NULL, *line = NULL;
    size_t room = 0, count = 0, at = 0, done = 0, kept = 0;
    if (!f || n < 1 || n > CLIENTS_MAX) die("cannot read the paths, or too many clients");
    while (getline(&line, &room, f) > 0) {
        line[strcspn(line, "\n")] = '\0';
        paths = realloc(paths, (count + 1) * sizeof *paths);
        if (!paths || !(paths[count++] = strdup(line))) die("no memory");
    }
    if (!count) die("no paths");
    struct client c[CLIENTS_MAX] = {{0}};
    struct pollfd p[CLIENTS_MAX];
    double *took = malloc(20000000 * sizeof *took), bytes = 0;
    if (!took) die("no memory");
    for (int i = 0; i < n; i++) {
        c[i].fd = connect_to(port);
        if (!(c[i].buf = malloc(BUFFER))) die("no memory");
        p[i] = (struct pollfd){c[i].fd, POLLIN, 0};
        ask(&c[i], paths[at++ % count]);
    }
    double begin = now(), end = begin + seconds;
    while (now() < end) {
        if (poll(p, (nfds_t)n, 5000) <= 0) die("no answer within five seconds");
        for (int i = 0; i < n; i++) {
            if (!(p[i].revents & (POLLIN | POLLHUP | POLLERR)) || !take(&c[i])) continue;
            if (kept < 20000000) took[kept++] = now() - c[i].start;
            bytes += (double)c[i].bytes;
            done++;
            ask(&c[i], paths[at++ % count]);
        }
    }
    double elapsed = now() - begin;
    qsort(took, kept, sizeof *took, by_value);
    printf("%.0f requests/s  median %.2f ms  p99 %.2f ms  largest %.2f ms  %.0f bytes each\n", (double)done / elapsed, 1e3 * took[kept / 2],
           1e3 * took[(size_t)(0.99 * (double)kept)], 1e3 * took[kept - 1], bytes / (double)done);
    return 0;
}
