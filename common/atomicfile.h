/* Files that appear whole or not at all: temporary file beside the target, fsync, rename, fsync of the folder. */
#ifndef NIGHTSHIFT_COMMON_ATOMICFILE_H
#define NIGHTSHIFT_COMMON_ATOMICFILE_H

#include <stddef.h>

#include "common/err.h"

/* Name of the temporary file for `path` in the same folder: ".NAME.tmp-PID-N". Returned: malloc'd, NULL: no memory. */
char *atomicfile_temporary(const char *path);

/* Make `temporary` durable and give it its name. On failure the temporary file is removed.
 * Status: ERR_NO_SPACE, ERR_UNREADABLE (permission), ERR_IO */
enum err atomicfile_commit(const char *temporary, const char *path, struct error *err);

/* The same for n files at once: all are made durable, then named in their order, then their folders are synced, each once.
 * A crash leaves the first ones or none with their names. On failure those without a name yet are removed. */
enum err atomicfile_commit_all(const char *const *temporary, const char *const *path, int n, struct error *err);

/* Give `temporary` its name without making it durable: for an attempt that is committed later. */
enum err atomicfile_place(const char *temporary, const char *path, struct error *err);

/* Write size bytes as the file `path`, atomically; _draft: not durable, for an attempt that is committed later. */
enum err atomicfile_write(const char *path, const void *data, size_t size, struct error *err);
enum err atomicfile_draft(const char *path, const void *data, size_t size, struct error *err);

/* mkdir -p. */
enum err make_folders(const char *path, struct error *err);

/* errno of a failed open, write or mkdir as an error of the right family. */
enum err error_from_errno(struct error *err, int errnum, const char *path, const char *what);

#endif
