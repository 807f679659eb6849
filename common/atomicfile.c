#include "common/atomicfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
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

enum err atomicfile_commit(const char *temporary, const char *path, struct error *err)
{
    int fd = open(temporary, O_RDWR | O_CLOEXEC);
    int status = fd < 0 ? errno : 0;
    if (fd >= 0 && fsync(fd)) status = errno;
    if (fd >= 0 && close(fd) && !status) status = errno;
    if (!status && rename(temporary, path)) status = errno;
    if (status) {
        unlink(temporary);
        return error_from_errno(err, status, path, "write");
    }
    status = sync_folder_of(path);
    return status ? error_from_errno(err, status, path, "sync the folder of") : ERR_OK;
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

enum err atomicfile_write(const char *path, const void *data, size_t size, struct error *err)
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
        code = atomicfile_commit(temporary, path, err);
    }
    free(temporary);
    return code;
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
