/* CPU level, threads, memory. */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cpus.h"
#include "common/isa.h"
#include "common/text.h"
#include "jobrunner/doctor.h"

#define GIB 1073741824.0

/* What follows `key` and a colon in a /proc file, "" if nothing does. */
static void proc_value(const char *path, const char *key, char *ret, size_t size)
{
    char *text = text_read_file(path, 1 << 20, NULL), *at = text;
    size_t n = strlen(key);
    *ret = '\0';
    while (at && *at && strncmp(at, key, n)) at = (at = strchr(at, '\n')) ? at + 1 : NULL;
    char *colon = at && *at ? strchr(at, ':') : NULL;
    if (colon) {
        colon[1 + strcspn(colon + 1, "\n")] = '\0';
        text_trim(ret, size, colon + 1);
    }
    free(text);
}

/* ---- CPU ----------------------------------------------------------------------------------------------------------- */

static void cpu_features(char *ret, size_t size)
{
    snprintf(ret, size, "%s", ""); /* other architectures have one level */
#if defined(__x86_64__)
    __builtin_cpu_init();
    snprintf(ret, size, "%s%s%s%s%s", __builtin_cpu_supports("sse4.2") ? " sse4.2" : "", __builtin_cpu_supports("avx2") ? " avx2" : "",
             __builtin_cpu_supports("fma") ? " fma" : "", __builtin_cpu_supports("bmi2") ? " bmi2" : "",
             __builtin_cpu_supports("avx512f") ? " avx512f" : "");
#endif
}

static bool could_avx2(const char *features)
{
    return strstr(features, " avx2") && strstr(features, " fma") && strstr(features, " bmi2");
}

static void check_cpu(struct doctor *d)
{
    char model[128], features[96];
    proc_value("/proc/cpuinfo", "model name", model, sizeof model);
    cpu_features(features, sizeof features);
    bool generic = isa_level() == ISA_GENERIC, held_back = generic && could_avx2(features);
    const char *todo = held_back ? "unset NIGHTSHIFT_ISA: this machine has faster kernels" : NULL;
#if defined(__x86_64__)
    if (generic && !held_back) todo = "nothing is wrong, but a CPU with avx2, fma and bmi2 does more frames per hour";
#endif
    doctor_add(d, todo ? GRADE_WARN : GRADE_OK, "cpu level", todo, "%s; the machine has%s (%s)", isa_name(isa_level()),
               *features ? features : " no levels to choose from", *model ? model : "unknown model");
}

/* ---- threads ------------------------------------------------------------------------------------------------------- */

static void check_threads(struct doctor *d)
{
    cpu_set_t set;
    int online = (int)sysconf(_SC_NPROCESSORS_ONLN), allowed = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : online;
    char *groups = text_read_file("/proc/self/cgroup", 65536, NULL), limit[48] = "no control group limit", todo[128] = "";
    int limited = groups ? cpus_cgroup_limit(groups, "/sys/fs/cgroup") : 0, available = cpus_available();
    free(groups);
    if (limited) snprintf(limit, sizeof limit, "control group limit %d", limited);
    if (d->threads > available)
        snprintf(todo, sizeof todo, "more threads than CPUs wait for each other: set threads (OMP_NUM_THREADS) to %d or 0", available);
    doctor_add(d, *todo ? GRADE_WARN : GRADE_OK, "threads", todo, "%d; %d CPUs online, affinity allows %d, %s", d->threads, online, allowed, limit);
}

/* ---- memory -------------------------------------------------------------------------------------------------------- */

static double read_number(const char *path)
{
    char *text = text_read_file(path, 64, NULL), *end;
    double v = text ? strtod(text, &end) : 0;
    bool number = text && end != text;
    free(text);
    return number ? v : 0;
}

/* Smallest limit of a memory control group in bytes, 0 for none: version 2 at the group and above it, version 1 at the
 * group. Limits beyond any machine mean none. Source: Linux Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst */
static double memory_limit(void)
{
    char *groups = text_read_file("/proc/self/cgroup", 65536, NULL), *save = NULL, path[1200], folder[1024];
    double least = 0;
    for (char *line = groups ? strtok_r(groups, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
        char *first = strchr(line, ':'), *second = first ? strchr(first + 1, ':') : NULL;
        bool unified = second && second == first + 1;
        if (!second || (!unified && strncmp(first, ":memory:", 8))) continue;
        snprintf(folder, sizeof folder, "%s", second + 1);
        for (char *slash = folder + strlen(folder); slash; slash = strrchr(folder, '/')) {
            *slash = '\0';
            snprintf(path, sizeof path, unified ? "/sys/fs/cgroup%s/memory.max" : "/sys/fs/cgroup/memory%s/memory.limit_in_bytes", folder);
            double v = read_number(path);
            if (v > 0 && v < 1e15 && (least == 0 || v < least)) least = v;
        }
    }
    free(groups);
    return least;
}

static void check_memory(struct doctor *d)
{
    char total[64], available[64], limit[64] = "no control group limit";
    proc_value("/proc/meminfo", "MemTotal", total, sizeof total);
    proc_value("/proc/meminfo", "MemAvailable", available, sizeof available);
    double free_gib = strtod(available, NULL) * 1024 / GIB, cap = memory_limit() / GIB;
    if (cap > 0) snprintf(limit, sizeof limit, "control group limit %.1f GiB", cap);
    if (cap > 0 && cap < free_gib) free_gib = cap;
    enum grade g = free_gib < 0.25 ? GRADE_BAD : free_gib < 1 ? GRADE_WARN : GRADE_OK;
    doctor_add(d, g, "memory", g ? "free some memory, raise the limit, or set memory.limit for small frames" : NULL,
               "%.1f GiB available of %.1f GiB, %s", free_gib, strtod(total, NULL) * 1024 / GIB, limit);
    if (g == GRADE_BAD) d->finding[d->n - 1].code = ERR_NOMEM;
}

void doctor_machine(struct doctor *d)
{
    check_cpu(d);
    check_threads(d);
    check_memory(d);
}
