#include "common/err.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    enum err code;
    const char *name;
    bool transient;
    enum exit_code exit_code;
} table[] = {
    {ERR_OK, "ok", false, EXIT_ALL_GOOD},
    {ERR_INTERNAL, "internal", false, EXIT_BUG},
    {ERR_NOMEM, "nomem", true, EXIT_TRANSIENT},
    {ERR_USAGE, "usage", false, EXIT_USAGE},
    {ERR_SETTINGS, "settings", false, EXIT_USAGE},
    {ERR_HELD, "held", false, EXIT_PARTIAL},
    {ERR_NOT_FOUND, "not_found", false, EXIT_INPUT},
    {ERR_UNREADABLE, "unreadable", false, EXIT_INPUT},
    {ERR_CORRUPT, "corrupt", false, EXIT_INPUT},
    {ERR_NO_CALIBRATION, "no_calibration", false, EXIT_NO_CALIBRATION},
    {ERR_UNSUPPORTED, "unsupported", false, EXIT_UNSUPPORTED},
    {ERR_SHAPE, "shape", false, EXIT_INPUT},
    {ERR_NO_SPACE, "no_space", true, EXIT_TRANSIENT},
    {ERR_IO, "io", true, EXIT_TRANSIENT},
    {ERR_DATABASE, "database", true, EXIT_TRANSIENT},
    {ERR_INTERRUPTED, "interrupted", false, EXIT_INTERRUPTED},
    {ERR_LEASE_LOST, "lease_lost", false, EXIT_LEASE_LOST},
};

static int row_of(enum err code)
{
    for (int i = 0; i < (int)(sizeof table / sizeof table[0]); i++)
        if (table[i].code == code) return i;
    return 1; /* an unknown code is a bug */
}

enum err error_set(struct error *err, enum err code, const char *file, int line, const char *func, const char *fmt, ...)
{
    if (!err) return code;
    *err = (struct error){.code = code, .file = file, .line = line, .func = func};
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->message, sizeof err->message, fmt, ap);
    va_end(ap);
    return code;
}

void error_subject(struct error *err, const char *path, int hdu)
{
    if (!err) return;
    if (!err->path[0] && path) snprintf(err->path, sizeof err->path, "%s", path);
    if (!err->hdu) err->hdu = hdu;
}

void error_stage(struct error *err, const char *stage)
{
    if (err && !err->stage) err->stage = stage;
}

void error_hint(struct error *err, const char *fmt, ...)
{
    if (!err || err->hint[0]) return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->hint, sizeof err->hint, fmt, ap);
    va_end(ap);
}

void error_library(struct error *err, int lib_status)
{
    if (err) err->lib_status = lib_status;
}

void error_clear(struct error *err)
{
    if (err) *err = (struct error)ERROR_INIT;
}

const char *error_line(const struct error *err, char *buf, int size)
{
    char where[600] = "";
    if (err->path[0] && err->hdu)
        snprintf(where, sizeof where, "%s[HDU %d]: ", err->path, err->hdu);
    else if (err->path[0])
        snprintf(where, sizeof where, "%s: ", err->path);
    snprintf(buf, (size_t)size, "%s%s%s%s", where, err->message[0] ? err->message : err_name(err->code),
             err->hint[0] ? "; " : "", err->hint);
    for (char *p = buf; *p; p++)
        if (iscntrl((unsigned char)*p)) *p = '?';
    return buf;
}

const char *err_name(enum err code)
{
    return table[row_of(code)].name;
}

bool err_is_transient(enum err code)
{
    return table[row_of(code)].transient;
}

enum exit_code err_exit_code(enum err code)
{
    return table[row_of(code)].exit_code;
}

enum exit_code err_exit_code_of_many(const enum err *codes, int n)
{
    static const enum exit_code order[] = {EXIT_BUG, EXIT_USAGE, EXIT_LEASE_LOST, EXIT_INTERRUPTED, EXIT_TRANSIENT};
    if (n == 1) return err_exit_code(codes[0]);
    for (int k = 0; k < (int)(sizeof order / sizeof order[0]); k++)
        for (int i = 0; i < n; i++)
            if (err_exit_code(codes[i]) == order[k]) return order[k];
    for (int i = 0; i < n; i++)
        if (codes[i] != ERR_OK) return EXIT_PARTIAL;
    return EXIT_ALL_GOOD;
}
