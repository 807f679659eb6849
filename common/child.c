#include "common/child.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static bool is_unset(const char *entry, const char *const *unset)
{
    for (; unset && *unset; unset++) {
        size_t n = strlen(*unset);
        if (!strncmp(entry, *unset, n) && entry[n] == '=') return true;
    }
    return false;
}

/* The environment without the names to remove. Returned: malloc'd list of borrowed strings. */
static char **environment(const char *const *unset)
{
    size_t n = 0, k = 0;
    while (environ[n]) n++;
    char **env = malloc((n + 1) * sizeof *env);
    for (size_t i = 0; env && i < n; i++)
        if (!is_unset(environ[i], unset)) env[k++] = environ[i];
    if (env) env[k] = NULL;
    return env;
}

/* After fork: only calls that are safe there. */
static _Noreturn void become(const char *const *argv, const struct child_options *o, char **env)
{
    int in = open("/dev/null", O_RDONLY);
    if (in >= 0) dup2(in, STDIN_FILENO);
    if (o->output) {
        int out = open(o->output, O_WRONLY | O_CREAT | O_APPEND, 0600);
        if (out < 0) _exit(127);
        dup2(out, STDOUT_FILENO);
        dup2(out, STDERR_FILENO);
        if (out > STDERR_FILENO) close(out);
    }
    if (in > STDERR_FILENO) close(in);
    if (o->drop) {
        umask(077);
        if (setgroups(0, NULL) || setgid(o->gid) || setuid(o->uid)) _exit(127);
    }
    if (o->folder && chdir(o->folder)) _exit(127);
    execve(argv[0], (char *const *)(uintptr_t)argv, env);
    _exit(127);
}

enum err child_run(const char *const *argv, const struct child_options *o, int *ret_code, struct error *err)
{
    int status;
    char **env = environment(o->unset);
    if (!env) return ERROR(err, ERR_NOMEM, "could not get memory to run '%s'", argv[0]);
    pid_t pid = fork();
    if (pid == 0) become(argv, o, env);
    free(env);
    if (pid < 0) return ERROR(err, ERR_IO, "could not run '%s': %s", argv[0], strerror(errno));
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) return ERROR(err, ERR_IO, "could not wait for '%s': %s", argv[0], strerror(errno));
    *ret_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return ERR_OK;
}
