/* Run another program and wait for it. */
#ifndef NIGHTSHIFT_COMMON_CHILD_H
#define NIGHTSHIFT_COMMON_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

#include "common/err.h"

struct child_options {
    bool drop;               /* become uid, gid first (root only), without supplementary groups, umask 077 */
    uid_t uid;
    gid_t gid;
    const char *folder;      /* chdir there; NULL: stay */
    const char *output;      /* file that standard output and error are appended to; NULL: inherit */
    const char *const *unset; /* names to remove from the environment, NULL-terminated; NULL: none */
};

/* argv[0] is the path. Standard input is /dev/null; descriptors marked close-on-exec stay behind.
 * Returned: ret_code  exit code; 128 + signal when it was killed; 127 when it could not be run */
enum err child_run(const char *const *argv, const struct child_options *o, int *ret_code, struct error *err);

#endif
