#include "jobrunner/doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/child.h"
#include "common/instrument.h"
#include "common/libraries.h"
#include "common/text.h"

/* ---- findings ------------------------------------------------------------------------------------------------------ */

void doctor_add(struct doctor *d, enum grade grade, const char *what, const char *todo, const char *fmt, ...)
{
    char text[sizeof d->finding[0].value];
    va_list list;
    if (d->n == FINDINGS_MAX) return;
    struct finding *f = &d->finding[d->n++];
    va_start(list, fmt);
    vsnprintf(text, sizeof text, fmt, list);
    va_end(list);
    f->grade = grade;
    f->code = grade == GRADE_BAD ? ERR_SETTINGS : ERR_OK;
    snprintf(f->what, sizeof f->what, "%s", what);
    text_clean(f->value, sizeof f->value, text);
    text_clean(f->todo, sizeof f->todo, todo ? todo : "");
}

void doctor_add_error(struct doctor *d, const char *what, const struct error *err)
{
    doctor_add(d, GRADE_BAD, what, err->hint, "%s%s%s", err->path, *err->path ? ": " : "", err->message);
    d->finding[d->n - 1].code = err->code;
}

/* ---- other programs ------------------------------------------------------------------------------------------------ */

bool doctor_which(const char *name, char *ret, size_t size)
{
    const char *path = getenv("PATH");
    for (const char *p = path ? path : "/usr/bin:/bin"; *p;) {
        size_t n = strcspn(p, ":");
        if (n && snprintf(ret, size, "%.*s/%s", (int)n, p, name) < (int)size && access(ret, X_OK) == 0) return true;
        p += n + (p[n] == ':');
    }
    return false;
}

int doctor_ask(const char *const *argv, char *ret, size_t size)
{
    char path[64];
    int code = -1, fd = memfd_create("answer", MFD_CLOEXEC);
    *ret = '\0';
    if (fd < 0) return -1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (child_run(argv, &(struct child_options){.output = path}, &code, NULL)) code = -1;
    ssize_t n = pread(fd, ret, size - 1, 0);
    ret[n > 0 ? n : 0] = '\0';
    close(fd);
    return code == 127 ? -1 : code;
}

/* ---- libraries ----------------------------------------------------------------------------------------------------- */

void doctor_libraries(struct doctor *d)
{
    static const struct {
        const char *name, *(*words)(char *buf, size_t size);
    } plain[] = {{"wcslib", skycoord_library}, {"erfa", erfa_library},       {"libpq", db_library},     {"libcurl", http_library},
                 {"libmicrohttpd", httpd_library}, {"jansson", jansson_library}, {"libyaml", yaml_library}, {"openssl", crypto_library},
                 {"openmp", openmp_library}};
    char words[LIBRARY_WORDS];
    bool reentrant;
    frameio_library(words, sizeof words, &reentrant);
    doctor_add(d, reentrant ? GRADE_OK : GRADE_BAD, "cfitsio",
               reentrant ? NULL : "build cfitsio with --enable-reentrant, or install Debian's libcfitsio10: files are read in threads",
               "%s, %s", words, reentrant ? "reentrant" : "not reentrant");
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
        doctor_add(d, GRADE_OK, plain[i].name, NULL, "%s", plain[i].words(words, sizeof words));
}

/* ---- settings, instruments, tools ---------------------------------------------------------------------------------- */

static void check_settings_file(struct doctor *d)
{
    const char *file = settings_file(d->settings);
    if (*file)
        doctor_add(d, GRADE_OK, "settings file", NULL, "%s", file);
    else
        doctor_add(d, GRADE_OK, "settings file", NULL, "none: built-in values and the environment (docs/settings.md)");
}

static void check_instruments(struct doctor *d)
{
    struct error err = ERROR_INIT;
    struct instruments *set = NULL;
    char value[400] = "";
    if (instruments_load(d->settings, &set, &err)) {
        error_hint(&err, "correct the file or instrument.path (docs/instruments.md)");
        doctor_add_error(d, "instruments", &err);
        return;
    }
    int n = instruments_count(set);
    for (int i = 0; i < n; i++) {
        const struct instrument *ins = instruments_at(set, i);
        size_t used = strlen(value);
        bool shipped = instrument_path(ins)[0] == '(';
        snprintf(value + used, sizeof value - used, "%s%s%s%s%s", i ? ", " : "", instrument_name(ins), shipped ? "" : " (",
                 shipped ? "" : instrument_path(ins), shipped ? "" : ")");
    }
    doctor_add(d, GRADE_OK, "instruments", NULL, "%d: %s", n, value);
    instruments_free(set);
}

static void check_tools(struct doctor *d)
{
    static const struct {
        const char *name, *use;
    } tools[] = {{"fitsverify", "optional: install 'fitsverify' to check products against the FITS standard"},
                 {"solve-field", "optional: install 'astrometry.net' for frames that nothing else can place on the sky"}};
    char path[1024];
    for (size_t i = 0; i < sizeof tools / sizeof tools[0]; i++) {
        bool there = doctor_which(tools[i].name, path, sizeof path);
        doctor_add(d, GRADE_OK, tools[i].name, there ? NULL : tools[i].use, "%s", there ? path : "not installed");
    }
}

void doctor_setup(struct doctor *d)
{
    check_settings_file(d);
    check_instruments(d);
    check_tools(d);
}
