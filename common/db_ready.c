/* The database a verb works with: the one of the settings, or the private one, started when it is not up. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/db.h"
#include "common/log.h"

extern char **environ;

/* Run this program with `argv`, its standard output kept in buf. Returned: its exit code, -1: it could not be run. */
static int run_self(char *const argv[], char *buf, size_t size)
{
    int fd[2], status;
    pid_t pid;
    posix_spawn_file_actions_t actions;
    if (pipe2(fd, O_CLOEXEC) || posix_spawn_file_actions_init(&actions)) return -1; /* a child started meanwhile must not hold our end */
    posix_spawn_file_actions_adddup2(&actions, fd[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, fd[0]);
    posix_spawn_file_actions_addclose(&actions, fd[1]);
    int failed = posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(fd[1]);
    size_t n = 0;
    for (ssize_t k; !failed && n + 1 < size; n += (size_t)k)
        if ((k = read(fd[0], buf + n, size - 1 - n)) <= 0) {
            if (k < 0 && errno == EINTR) k = 0;
            else break;
        }
    close(fd[0]);
    buf[n] = '\0';
    if (failed) return -1;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

enum err db_url_ready(const struct settings *s, char **ret, struct error *err)
{
    const char *given = settings_string(s, SET_DATABASE_URL);
    char url[2048];
    if (!*given) {
        const char *data = settings_string(s, SET_DB_DATA);
        const char *argv[] = {"nightshift", "db", "up", *data ? "--db-data" : NULL, data, NULL};
        int code = run_self((char *const *)(uintptr_t)argv, url, sizeof url);
        if (code) {
            enum err e = code == EXIT_USAGE ? ERR_SETTINGS : ERR_DATABASE;
            ERROR(err, e, "could not start the private database");
            error_hint(err, "`nightshift db up` says why; or set DATABASE_URL");
            return e;
        }
        url[strcspn(url, "\n")] = '\0';
        given = url;
    }
    *ret = strdup(given);
    return *ret ? ERR_OK : ERROR(err, ERR_NOMEM, "could not get memory for a URL");
}

enum err db_open_ready(const struct settings *s, const char *application, struct db **ret, struct error *err)
{
    char *url = NULL;
    enum err e = db_url_ready(s, &url, err);
    if (!e) e = db_open(url, application, ret, err);
    free(url);
    return e;
}

enum err db_revive_ready(const struct settings *s, struct db *db, double wait_s, struct error *err)
{
    double end = clock_seconds() + wait_s;
    for (useconds_t pause = 100000;; pause = pause < 1600000 ? 2 * pause : pause) {
        struct error local = ERROR_INIT;
        char *url = NULL;
        enum err e = db_url_ready(s, &url, &local);
        if (!e) e = db_reopen(db, url, &local);
        free(url);
        if (!e || e != ERR_DATABASE || clock_seconds() + 1e-6 * pause > end) {
            if (e && err) *err = local;
            return e;
        }
        usleep(pause);
    }
}
