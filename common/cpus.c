#include "common/cpus.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/text.h"

#define PATH_SIZE 1024

/* Quota and period of one folder as CPUs; 0 when there is no limit. */
static double limit_of_folder(const char *folder, int version)
{
    char path[PATH_SIZE + 32];
    double quota = 0, period = 0;
    if (version == 2) {
        snprintf(path, sizeof path, "%s/cpu.max", folder);
        char *text = text_read_file(path, 4096, NULL);
        int n = text ? sscanf(text, "%lf %lf", &quota, &period) : 0; /* "max 100000" has no number in front */
        free(text);
        return n == 2 && quota > 0 && period > 0 ? quota / period : 0;
    }
    static const char *const names[] = {"cpu.cfs_quota_us", "cpu.cfs_period_us"};
    double v[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        char *text = text_read_file(path, 4096, NULL);
        if (text) v[i] = strtod(text, NULL);
        free(text);
    }
    return v[0] > 0 && v[1] > 0 ? v[0] / v[1] : 0;
}

/* Smallest limit of root/group and each folder above it, 0 for none. */
static double limit_of_group(const char *root, const char *group, int version)
{
    char folder[PATH_SIZE];
    size_t top = strlen(root);
    double least = 0;
    if (top + strlen(group) >= sizeof folder) return 0;
    snprintf(folder, sizeof folder, "%s%s", root, group);
    for (;;) {
        double limit = limit_of_folder(folder, version);
        if (limit > 0 && (least == 0 || limit < least)) least = limit;
        char *slash = strrchr(folder, '/');
        if (!slash || (size_t)(slash - folder) < top) return least;
        *slash = '\0';
    }
}

static int is_cpu_controller(const char *list, size_t length)
{
    while (length) {
        size_t n = 0;
        while (n < length && list[n] != ',') n++;
        if (n == 3 && !strncmp(list, "cpu", 3)) return 1;
        if (n == length) return 0;
        list += n + 1;
        length -= n + 1;
    }
    return 0;
}

int cpus_cgroup_limit(const char *proc_cgroup, const char *root)
{
    double least = 0;
    char v1_root[PATH_SIZE];
    snprintf(v1_root, sizeof v1_root, "%s/cpu", root);
    for (const char *line = proc_cgroup; *line;) {
        size_t length = strcspn(line, "\n");
        const char *controllers = memchr(line, ':', length);
        const char *end = controllers ? memchr(controllers + 1, ':', length - (size_t)(controllers + 1 - line)) : NULL;
        char group[PATH_SIZE];
        if (end && (size_t)(line + length - end) <= sizeof group) {
            size_t n = (size_t)(end - controllers - 1);
            snprintf(group, sizeof group, "%.*s", (int)(line + length - end - 1), end + 1);
            double limit = n == 0 ? limit_of_group(root, group, 2)
                                  : is_cpu_controller(controllers + 1, n) ? limit_of_group(v1_root, group, 1) : 0;
            if (limit > 0 && (least == 0 || limit < least)) least = limit;
        }
        line += length + (line[length] == '\n');
    }
    if (least == 0) return 0;
    if (least > 1e6) return 1000000;
    int whole = (int)least;
    return whole < least ? whole + 1 : whole;
}

int cpus_available(void)
{
    cpu_set_t set;
    /* A machine of more than 1024 CPUs does not fit the plain set: then all that are online. */
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    char *groups = text_read_file("/proc/self/cgroup", 65536, NULL);
    int limit = groups ? cpus_cgroup_limit(groups, "/sys/fs/cgroup") : 0;
    free(groups);
    if (limit && limit < n) n = limit;
    return n > 0 ? n : 1;
}
