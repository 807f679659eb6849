/* Findings about this machine and this program, each with what to do about it.
 *
 * A check looks, adds its findings and changes nothing: no server is started, no folder made; what it writes to measure a
 * disk is gone when it returns. A finding is BAD when a night could not be worked through, WARN when it would be slow or
 * come to grief later.
 * Threads: one. */
#ifndef NIGHTSHIFT_JOBRUNNER_DOCTOR_H
#define NIGHTSHIFT_JOBRUNNER_DOCTOR_H

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"
#include "common/settings.h"

enum grade { GRADE_OK, GRADE_WARN, GRADE_BAD };

struct finding {
    enum grade grade;
    enum err code;    /* of a bad one: ERR_SETTINGS or something transient; it gives the exit code */
    char what[32];    /* "fsync of the archive" */
    char value[512];  /* "0.4 ms" */
    char todo[512];   /* "" when there is nothing to do */
};

enum { FINDINGS_MAX = 96 };

struct doctor {
    const struct settings *settings;
    int threads;         /* those of the command line */
    const char *archive; /* --out */
    int n;
    struct finding finding[FINDINGS_MAX];
};

/* Add a finding with this value (one beyond FINDINGS_MAX is dropped). todo may be NULL. */
void doctor_add(struct doctor *d, enum grade grade, const char *what, const char *todo, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* A failed call as a bad finding: its message is the value, its hint what to do. */
void doctor_add_error(struct doctor *d, const char *what, const struct error *err);

void doctor_libraries(struct doctor *d);
void doctor_machine(struct doctor *d);     /* CPU level, threads, memory */
void doctor_disks(struct doctor *d);       /* archive: space, fsync speed; clock against its file system */
void doctor_setup(struct doctor *d);       /* settings file, instruments, tools */
void doctor_database(struct doctor *d);    /* programs, state, version, migrations, its disk and clock */

/* Space and speed of the disk that holds `folder` (or would: its nearest parent that exists). Source: fsync(2) */
void doctor_disk(struct doctor *d, const char *name, const char *folder, bool must_write);
/* The full path of a program in PATH. false: not there. */
bool doctor_which(const char *name, char *ret, size_t size);
/* Run a program and keep what it says on both outputs. Returned: exit code, -1 when it could not be run. */
int doctor_ask(const char *const *argv, char *ret, size_t size);

#endif
