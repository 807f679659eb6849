/* Disks: room, durable writes; the clock against the file system's. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "common/text.h"
#include "jobrunner/doctor.h"

#define GIB         1073741824.0
#define FEW_GIB     10.0 /* a night of a small camera with its products */
#define NO_GIB      1.0
#define SMALL       9    /* small durable writes; the median counts */
#define LARGE_BYTES (16 << 20)
#define SLOW_MS     50.0 /* a commit per CCD: 200 frames x 4 CCDs would wait 40 s */

/* The folder itself or the nearest parent that exists, as a full path. */
static void existing_folder(const char *folder, char *ret, size_t size)
{
    struct stat st;
    char full[PATH_MAX];
    snprintf(ret, size, "%s", *folder ? folder : ".");
    while (stat(ret, &st) && strcmp(ret, "/") && strcmp(ret, ".")) {
        char *slash = strrchr(ret, '/');
        if (!slash) snprintf(ret, size, ".");
        else if (slash == ret) ret[1] = '\0';
        else *slash = '\0';
    }
    if (realpath(ret, full)) snprintf(ret, size, "%s", full);
}

/* A file without a name in that folder: it is gone when closed, whatever happens. Returned: descriptor, -1 with errno. */
static int nameless_file(const char *folder)
{
    char path[4200];
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || errno == EACCES || errno == EROFS || errno == ENOSPC) return fd;
    if (snprintf(path, sizeof path, "%s/.nightshift-doctor-XXXXXX", folder) >= (int)sizeof path) return -1;
    if ((fd = mkostemp(path, O_CLOEXEC)) >= 0) unlink(path);
    return fd;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median time of a small durable write in ms and speed of a large one in MB/s. false: a write failed (errno). */
static bool measure_writes(int fd, double *ret_ms, double *ret_mb_per_s)
{
    double t[SMALL];
    char block[4096];
    memset(block, 0x5a, sizeof block);
    for (int i = 0; i < SMALL; i++) {
        double start = clock_seconds();
        if (pwrite(fd, block, sizeof block, (off_t)i * (off_t)sizeof block) != (ssize_t)sizeof block || fsync(fd)) return false;
        t[i] = clock_seconds() - start;
    }
    qsort(t, SMALL, sizeof t[0], ascending);
    *ret_ms = 1e3 * t[SMALL / 2];
    double start = clock_seconds();
    for (off_t at = 0; at < LARGE_BYTES; at += (off_t)sizeof block)
        if (pwrite(fd, block, sizeof block, at) != (ssize_t)sizeof block) return false;
    if (fsync(fd)) return false;
    *ret_mb_per_s = LARGE_BYTES / 1e6 / fmax(clock_seconds() - start, 1e-6);
    return true;
}

static void check_space(struct doctor *d, const char *name, const char *folder)
{
    struct statvfs v;
    char what[32];
    snprintf(what, sizeof what, "%s space", name);
    if (statvfs(folder, &v)) {
        doctor_add(d, GRADE_WARN, what, "look at the mount", "'%s': %s", folder, strerror(errno));
        return;
    }
    double free_gib = (double)v.f_bavail * (double)v.f_frsize / GIB, inodes = (double)v.f_favail;
    bool few_inodes = v.f_files > 0 && inodes < 10000;
    enum grade g = free_gib < NO_GIB || (v.f_files > 0 && inodes < 100) ? GRADE_BAD : free_gib < FEW_GIB || few_inodes ? GRADE_WARN : GRADE_OK;
    if (v.f_flag & ST_RDONLY) g = GRADE_BAD;
    doctor_add(d, g, what, g ? "make room, or name a folder on another disk" : NULL, "%.1f GiB free in %s%s%s", free_gib, folder,
               few_inodes ? ", few inodes left" : "", v.f_flag & ST_RDONLY ? ", mounted read-only" : "");
    if (g == GRADE_BAD) d->finding[d->n - 1].code = ERR_NO_SPACE;
}

void doctor_disk(struct doctor *d, const char *name, const char *wanted, bool must_write)
{
    char folder[4096], what[32];
    double ms, speed;
    existing_folder(wanted, folder, sizeof folder);
    check_space(d, name, folder);
    snprintf(what, sizeof what, "%s writes", name);
    int fd = nameless_file(folder);
    if (fd < 0) {
        doctor_add(d, must_write ? GRADE_BAD : GRADE_WARN, what, must_write ? "choose a folder that can be written, or change its owner" : NULL,
                   "'%s': %s", folder, strerror(errno));
    } else if (!measure_writes(fd, &ms, &speed)) {
        doctor_add(d, GRADE_BAD, what, "look at the disk", "'%s': %s", folder, strerror(errno));
        d->finding[d->n - 1].code = ERR_IO;
    } else {
        bool slow = ms > SLOW_MS || speed < 10;
        doctor_add(d, slow ? GRADE_WARN : GRADE_OK, what, slow ? "each frame waits for its fsync: take a local disk" : NULL,
                   "fsync of 4 KiB %.2f ms, 16 MiB at %.0f MB/s", ms, speed);
    }
    if (fd >= 0) close(fd);
}

/* ---- the clock ----------------------------------------------------------------------------------------------------- */

/* How far the file system's clock is ahead of ours in seconds; NaN when nothing can be written. */
static double file_system_offset(const char *folder)
{
    struct stat st;
    struct timespec now;
    int fd = nameless_file(folder);
    if (fd < 0) return NAN;
    bool good = write(fd, "t", 1) == 1 && !fstat(fd, &st) && !clock_gettime(CLOCK_REALTIME, &now);
    close(fd);
    return good ? (double)(st.st_mtim.tv_sec - now.tv_sec) + 1e-9 * (double)(st.st_mtim.tv_nsec - now.tv_nsec) : NAN;
}

static void check_clock(struct doctor *d, const char *folder)
{
    struct stat program;
    struct tm tm;
    time_t now = time(NULL);
    char text[64], todo[128] = "";
    double offset = file_system_offset(folder);
    gmtime_r(&now, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    bool before = !stat("/proc/self/exe", &program) && program.st_mtime > now + 60;
    bool absurd = before || tm.tm_year < 120 || tm.tm_year > 199, apart = fabs(offset) > 2;
    if (absurd) snprintf(todo, sizeof todo, "set the clock (chrony, systemd-timesyncd): leases and retries go by it");
    else if (apart) snprintf(todo, sizeof todo, "let this machine and its file server follow one time server");
    doctor_add(d, absurd ? GRADE_BAD : apart ? GRADE_WARN : GRADE_OK, "clock", todo, "%s%s; the archive's file system is %+.2f s off", text,
               before ? ", before this program was built" : "", isfinite(offset) ? offset : 0);
}

void doctor_disks(struct doctor *d)
{
    char folder[4096];
    doctor_disk(d, "archive", d->archive, true);
    existing_folder(d->archive, folder, sizeof folder);
    check_clock(d, folder);
}
