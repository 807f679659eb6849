#include "common/atomicfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum err error_from_errno(struct error *err, int errnum, const char *path, const char *what)
{
    enum err code;
    const char *hint = NULL;
    switch (errnum) {
    case ENOENT: code = ERR_NOT_FOUND; break;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        code = ERR_NO_SPACE;
        hint = "free some space or choose another folder, then run it again";
        break;
    case EACCES:
    case EPERM:
    case EROFS:
        code = ERR_UNREADABLE;
        hint = "check the permissions";
        break;
    case EISDIR:
    case ENOTDIR:
    case ELOOP:
    case ENAMETOOLONG:
    case ENXIO:
    case EEXIST: code = ERR_UNREADABLE; break;
    case ENOMEM: code = ERR_NOMEM; break;
    default: code = ERR_IO; break;
    }
    ERROR(err, code, "%s %s: %s", err_is_transient(code) ? "could not" : "cannot", what, strerrordesc_np(errnum));
    error_subject(err, path, 0);
    error_library(err, errnum);
    if (hint) error_hint(err, "%s", hint);
    return code;
}

/* Length of the folder part of a path, with its slash; 0 for a bare name. */
static size_t folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) + 1 : 0;
}

char *atomicfile_temporary(const char *path)
{
    static atomic_uint counter; /* names alone depend on it, never bytes */
    size_t folder = folder_length(path);
    char *name = NULL;
    int n = asprintf(&name, "%.*s.%.200s.tmp-%ld-%u", (int)folder, path, path + folder, (long)getpid(),
                     atomic_fetch_add(&counter, 1u));
    return n < 0 ? NULL : name;
}

static int sync_folder_of(const char *path)
{
    size_t n = folder_length(path);
    char *folder = n ? strndup(path, n) : strdup(".");
    if (!folder) return ENOMEM;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(folder);
    if (fd < 0) return errno;
    /* Some network file systems refuse to sync a folder; the rename is then as durable as they can make it. */
    int status = fsync(fd) && errno != EINVAL && errno != ENOTSUP ? errno : 0;
    close(fd);
    return status;
}

/* Returned: errno. */
static int sync_file(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    int status = fd < 0 ? errno : 0;
    if (fd >= 0 && fsync(fd)) status = errno;
    if (fd >= 0 && close(fd) && !status) status = errno;
    return status;
}

/* Ask for its bytes to be written without waiting, so that several files are written together. What fails here is told by
 * the fsync that follows. */
static void start_writing(const char *path)
{
#ifdef SYNC_FILE_RANGE_WRITE
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    close(fd);
#else
    (void)path;
#endif
}

static bool same_folder(const char *a, const char *b)
{
    size_t n = folder_length(a);
    return n == folder_length(b) && !memcmp(a, b, n);
}

/* The folder of path[i] was synced with an earlier one. */
static bool synced_before(const char *const *path, int i)
{
    for (int k = 0; k < i; k++)
        if (same_folder(path[k], path[i])) return true;
    return false;
}

enum err atomicfile_commit_all(const char *const *temporary, const char *const *path, int n, struct error *err)
{
    int status = 0, named = 0, at = 0;
    for (int i = 0; i < n && n > 1; i++) start_writing(temporary[i]);
    for (int i = 0; i < n && !status; i++) status = sync_file(temporary[at = i]);
    for (int i = 0; i < n && !status; i++) {
        if (rename(temporary[at = i], path[i])) status = errno;
        else named++;
    }
    if (status) {
        for (int i = named; i < n; i++) unlink(temporary[i]);
        return error_from_errno(err, status, path[at], "write");
    }
    for (int i = 0; i < n && !status; i++)
        if (!synced_before(path, i)) status = sync_folder_of(path[at = i]);
    return status ? error_from_errno(err, status, path[at], "sync the folder of") : ERR_OK;
}

enum err atomicfile_commit(const char *temporary, const char *path, struct error *err)
{
    return atomicfile_commit_all(&temporary, &path, 1, err);
}

enum err atomicfile_place(const char *temporary, const char *path, struct error *err)
{
    if (!rename(temporary, path)) return ERR_OK;
    int status = errno;
    unlink(temporary);
    return error_from_errno(err, status, path, "write");
}

static int write_all(int fd, const void *data, size_t size)
{
    const char *p = data;
    while (size) {
        ssize_t n = write(fd, p, size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno;
        p += n;
        size -= (size_t)n;
    }
    return 0;
}

static enum err write_whole(const char *path, const void *data, size_t size, enum err (*finish)(const char *, const char *, struct error *), struct error *err)
{
    char *temporary = atomicfile_temporary(path);
    if (!temporary) return ERROR(err, ERR_NOMEM, "no memory for a file name");
    enum err code = ERR_OK;
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    int status = fd < 0 ? errno : write_all(fd, data, size);
    if (fd >= 0 && close(fd) && !status) status = errno;
    if (status) {
        if (fd >= 0) unlink(temporary);
        code = error_from_errno(err, status, path, "write");
    } else {
        code = finish(temporary, path, err);
    }
    free(temporary);
    return code;
}

enum err atomicfile_write(const char *path, const void *data, size_t size, struct error *err)
{
    return write_whole(path, data, size, atomicfile_commit, err);
}

enum err atomicfile_draft(const char *path, const void *data, size_t size, struct error *err)
{
    return write_whole(path, data, size, atomicfile_place, err);
}

enum err make_folders(const char *path, struct error *err)
{
    char *copy = strdup(path);
    if (!copy) return ERROR(err, ERR_NOMEM, "no memory for a folder name");
    int status = 0;
    for (char *p = copy + 1; copy[0] && !status; p++) {
        bool last = *p == '\0';
        if (*p != '/' && !last) continue;
        *p = '\0';
        if (mkdir(copy, 0777) && errno != EEXIST) status = errno;
        if (last) break;
        *p = '/';
    }
    struct stat st;
    if (!status && copy[0] && (stat(copy, &st) || !S_ISDIR(st.st_mode))) status = ENOTDIR;
    free(copy);
    return status ? error_from_errno(err, status, path, "make the folder") : ERR_OK;
}
