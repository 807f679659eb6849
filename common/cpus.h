/* How many CPUs this process may use: its affinity mask and the CPU limit of its control group, whichever is smaller. */
#ifndef NIGHTSHIFT_COMMON_CPUS_H
#define NIGHTSHIFT_COMMON_CPUS_H

int cpus_available(void); /* >= 1 */

/* The limit in whole CPUs (rounded up, >= 1) that control groups set, 0 for none. proc_cgroup: text of /proc/self/cgroup;
 * root: "/sys/fs/cgroup". Reads cpu.max (version 2) or cpu.cfs_quota_us (version 1) of the group and all above it; a
 * container often sees its own group as the root, so a missing folder is passed over.
 * Source: Linux Documentation/admin-guide/cgroup-v2.rst, scheduler/sched-bwc.rst */
int cpus_cgroup_limit(const char *proc_cgroup, const char *root);

#endif
