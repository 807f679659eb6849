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

/* Write size bytes as the file `path`, atomically. */
enum err atomicfile_write(const char *path, const void *data, size_t size, struct error *err);

/* mkdir -p. */
enum err make_folders(const char *path, struct error *err);

/* errno of a failed open, write or mkdir as an error of the right family. */
enum err error_from_errno(struct error *err, int errnum, const char *path, const char *what);

#endif
