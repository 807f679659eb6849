/* Error codes, the error object and the one table of exit codes.
 *
 * What can fail returns `enum err`: 0 good, negative bad, and fills the caller's `struct error` (which may be NULL).
 * The lowest function that knows the cause sets the error; the functions above it pass it on unchanged.
 * Threads: an error object belongs to one thread at a time; nothing here is global.                              */
#ifndef NIGHTSHIFT_COMMON_ERR_H
#define NIGHTSHIFT_COMMON_ERR_H

#include <stdbool.h>

enum err {
    ERR_OK = 0,
    ERR_INTERNAL = -1,       /* a bug of ours                                                exit 1  */
    ERR_NOMEM = -2,          /* memory ran out or a ceiling was met                          exit 20 */
    ERR_USAGE = -3,          /* command line                                                 exit 2  */
    ERR_SETTINGS = -4,       /* a setting, an instrument file, a .sex file                   exit 2  */
    ERR_HELD = -5,           /* the input waits for something: it is held, not lost          exit 3  */
    ERR_NOT_FOUND = -6,      /* no such file, HDU, keyword or column                         exit 10 */
    ERR_UNREADABLE = -7,     /* permission, a directory, not FITS at all                     exit 10 */
    ERR_CORRUPT = -8,        /* FITS, but damaged: truncated, bad checksum, absurd header    exit 10 */
    ERR_NO_CALIBRATION = -9, /* no master serves this exposure                               exit 11 */
    ERR_UNSUPPORTED = -10,   /* valid, but not something this program does                   exit 12 */
    ERR_SHAPE = -11,         /* arrays or sections that do not fit each other                exit 10 */
    ERR_NO_SPACE = -12,      /* disk or quota full                                           exit 20 */
    ERR_IO = -13,            /* an I/O error that a retry may cure                           exit 20 */
    ERR_DATABASE = -14,      /* the database is away or asked for a retry                    exit 20 */
    ERR_INTERRUPTED = -15,   /* stopped by a signal after a checkpoint                       exit 75 */
    ERR_LEASE_LOST = -16     /* somebody else owns the work now                              exit 77 */
};

/* The exit codes of every verb (docs/exit-codes.md is written from this list). */
enum exit_code {
    EXIT_ALL_GOOD = 0,
    EXIT_BUG = 1,
    EXIT_USAGE = 2,
    EXIT_PARTIAL = 3,        /* done, some inputs held or quarantined */
    EXIT_INPUT = 10,         /* input unreadable or corrupt           */
    EXIT_NO_CALIBRATION = 11,
    EXIT_UNSUPPORTED = 12,
    EXIT_TRANSIENT = 20,     /* transient I/O or database             */
    EXIT_INTERRUPTED = 75,   /* stopped after a checkpoint            */
    EXIT_LEASE_LOST = 77
};

struct error {
    enum err code;
    int lib_status;     /* the foreign library's own status or errno, 0 if none */
    int hdu;            /* 1-based HDU the error is about, 0 if none            */
    int line;           /* where it was set                                     */
    const char *file;   /* source file, string literal                          */
    const char *func;
    const char *stage;  /* of the pipeline, string literal; NULL: none          */
    char path[512];     /* the input the error is about, "" if none             */
    char message[640];  /* what failed and why, no capital, no full stop        */
    char hint[256];     /* what to do, "" if nothing helps                      */
};

#define ERROR_INIT {0}

/* Set `err` (may be NULL) and return `code`. The message says what failed first, the subject quoted: "could not" if a
 * retry may work, "cannot" if never. */
#define ERROR(err, code, ...) error_set((err), (code), __FILE__, __LINE__, __func__, __VA_ARGS__)

enum err error_set(struct error *err, enum err code, const char *file, int line, const char *func, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));

/* Name the input (path, 1-based HDU or 0) the error is about. Keeps what a lower function named already. */
void error_subject(struct error *err, const char *path, int hdu);

/* Name the stage of the pipeline it happened in. Keeps what was named already. */
void error_stage(struct error *err, const char *stage);

/* Say what the user can do about it. Keeps an earlier hint. */
void error_hint(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Keep the library's own status. */
void error_library(struct error *err, int lib_status);

void error_clear(struct error *err);

/* One line: "PATH[HDU n]: message; hint". Always NUL-terminated, control characters replaced, no newline.
 * Returned: buf. */
const char *error_line(const struct error *err, char *buf, int size);

const char *err_name(enum err code);          /* "corrupt", "no_calibration": the word used in logs and the ledger */
bool err_is_transient(enum err code);         /* may the same call succeed later? (nomem, no_space, io, database)  */
enum exit_code err_exit_code(enum err code);

/* Several inputs give the first of 2, 77, 75, 20, 3; one input gives its own code (PRODUCT: exit codes).
 * codes: n results of the n inputs of one command. Source: docs/exit-codes.md */
enum exit_code err_exit_code_of_many(const enum err *codes, int n);

#endif
