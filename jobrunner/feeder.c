#include "jobrunner/feeder.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"

extern char **environ;

#define ANSWER_MAX (16 << 20)

struct feeder {
    char **argv;
    char *log;
    pid_t pid;
    int in, out;      /* our ends: its standard input, its standard output */
    char *buffer;     /* what came and is not answered yet */
    size_t used, capacity;
};

struct feeder *feeder_new(const char *const *argv, const char *log)
{
    int n = 0;
    while (argv[n]) n++;
    struct feeder *f = calloc(1, sizeof *f);
    if (!f) return NULL;
    f->in = f->out = -1;
    f->argv = calloc((size_t)n + 1, sizeof *f->argv);
    f->log = strdup(log);
    for (int i = 0; i < n && f->argv; i++) f->argv[i] = strdup(argv[i]);
    bool whole = f->argv && f->log;
    for (int i = 0; i < n && whole; i++) whole = f->argv[i] != NULL;
    if (whole) return f;
    feeder_free(f);
    return NULL;
}

static int reap(struct feeder *f)
{
    int status = 0;
    while (f->pid > 0 && waitpid(f->pid, &status, 0) < 0 && errno == EINTR) continue;
    if (f->in >= 0) close(f->in);
    if (f->out >= 0) close(f->out);
    f->in = f->out = -1;
    f->pid = 0;
    f->used = 0;
    return status;
}

static void nap(double seconds)
{
    nanosleep(&(struct timespec){(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)}, NULL);
}

void feeder_free(struct feeder *f)
{
    if (!f) return;
    if (f->pid > 0) {
        close(f->in);
        f->in = -1;
        for (int i = 0; i < 500; i++) {
            if (waitpid(f->pid, NULL, WNOHANG) == f->pid) {
                f->pid = 0;
                break;
            }
            nap(0.01);
        }
        if (f->pid > 0) kill(f->pid, SIGKILL);
        reap(f);
    }
    for (int i = 0; f->argv && f->argv[i]; i++) free(f->argv[i]);
    free(f->argv);
    free(f->log);
    free(f->buffer);
    free(f);
}

int feeder_pid(const struct feeder *f)
{
    return (int)f->pid;
}

static enum err start(struct feeder *f, struct error *err)
{
    int to[2], from[2], failed;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none;
    if (pipe2(to, O_CLOEXEC)) return ERROR(err, ERR_IO, "could not make a pipe: %s", strerror(errno));
    if (pipe2(from, O_CLOEXEC)) {
        close(to[0]);
        close(to[1]);
        return ERROR(err, ERR_IO, "could not make a pipe: %s", strerror(errno));
    }
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    /* A group of its own: Ctrl-C on the terminal is ours to handle; the child ends when its input does. */
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
    posix_spawn_file_actions_adddup2(&actions, to[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, from[1], STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, f->log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    failed = posix_spawn(&f->pid, "/proc/self/exe", &actions, &attr, f->argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    close(to[0]);
    close(from[1]);
    if (failed) {
        close(to[1]);
        close(from[0]);
        f->pid = 0;
        return ERROR(err, ERR_IO, "could not start 'nightshift %s': %s", f->argv[1], strerror(failed));
    }
    f->in = to[1];
    f->out = from[0];
    f->used = 0;
    return ERR_OK;
}

static enum err died(struct feeder *f, int *ret_signal, struct error *err)
{
    char name[64];
    snprintf(name, sizeof name, "%s", f->argv[1]);
    int status = reap(f);
    *ret_signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (*ret_signal) return ERROR(err, ERR_INTERNAL, "'nightshift %s' was ended by %s", name, strsignal(*ret_signal));
    return ERROR(err, ERR_INTERNAL, "'nightshift %s' ended with exit code %d", name, WEXITSTATUS(status));
}

static bool send_line(struct feeder *f, const char *line)
{
    size_t n = strlen(line);
    for (size_t done = 0; done < n + 1;) {
        ssize_t k = done < n ? write(f->in, line + done, n - done) : write(f->in, "\n", 1);
        if (k < 0 && errno != EINTR) return false;
        if (k > 0) done += (size_t)k;
    }
    return true;
}

/* A whole line of the buffer, taken out of it. NULL: none yet. */
static char *take_line(struct feeder *f)
{
    char *end = f->used ? memchr(f->buffer, '\n', f->used) : NULL;
    if (!end) return NULL;
    char *line = strndup(f->buffer, (size_t)(end - f->buffer));
    f->used -= (size_t)(end + 1 - f->buffer);
    memmove(f->buffer, end + 1, f->used);
    return line;
}

/* Returned: > 0 bytes came, 0 the child closed, -1 nothing in time, -2 no memory or too much. */
static int more(struct feeder *f, double wait_s)
{
    struct pollfd p = {.fd = f->out, .events = POLLIN};
    if (f->capacity - f->used < 65536) {
        size_t capacity = f->capacity + (1 << 17);
        char *grown = capacity > ANSWER_MAX ? NULL : realloc(f->buffer, capacity);
        if (!grown) return -2;
        f->buffer = grown;
        f->capacity = capacity;
    }
    int ready = poll(&p, 1, wait_s > 0 ? (int)(wait_s * 1e3) + 1 : 0);
    if (ready == 0 || (ready < 0 && errno == EINTR)) return -1;
    ssize_t n = read(f->out, f->buffer + f->used, f->capacity - f->used);
    if (n < 0) return errno == EINTR ? -1 : 0;
    f->used += (size_t)n;
    return (int)n;
}

enum err feeder_ask(struct feeder *f, const char *line, double timeout_s, char **ret_answer, int *ret_signal, struct error *err)
{
    enum err e = f->pid > 0 ? ERR_OK : start(f, err);
    double end = clock_seconds() + timeout_s;
    *ret_signal = 0;
    if (e) return e;
    if (!send_line(f, line)) return died(f, ret_signal, err);
    for (;;) {
        char *answer = take_line(f);
        if (answer) {
            *ret_answer = answer;
            return ERR_OK;
        }
        double left = end - clock_seconds();
        int n = more(f, left > 0.5 ? 0.5 : left);
        if (n == 0) return died(f, ret_signal, err);
        if (n == -2 || (n == -1 && clock_seconds() >= end)) {
            kill(f->pid, SIGKILL);
            reap(f);
            *ret_signal = SIGKILL;
            return ERROR(err, ERR_IO, n == -2 ? "'nightshift %s' answered without end and was killed" : "'nightshift %s' did not answer in time and was killed", f->argv[1]);
        }
    }
}
