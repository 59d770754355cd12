/* Control groups: what each of several services may use at most. */
#define _GNU_SOURCE
#include "init.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define PERIOD_US 100000

static void limit_set(const struct service *service, const char *file, const char *value) {
    char path[128];
    snprintf(path, sizeof path, "/cgroup%s/%s", service->root, file);
    if (write_text(path, value)) say("%s: no limit %s: %s", service->name, file, strerror(errno));
}

void limits_prepare(const struct app *app) {
    char path[64], text[64];
    mkdir("/cgroup", 0755);
    if (mount("cgroup", "/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL)) {
        say("no limits: %s", strerror(errno));
        return;
    }
    mkdir("/cgroup/s", 0755);
    if (write_text("/cgroup/cgroup.subtree_control", "+memory +cpu +pids") ||
        write_text("/cgroup/s/cgroup.subtree_control", "+memory +cpu +pids"))
        say("limits are not in force: %s", strerror(errno));
    for (size_t i = 0; i < app->count; i++) {
        const struct service *service = app->services[i];
        snprintf(path, sizeof path, "/cgroup%s", service->root);
        mkdir(path, 0755);
        if (service->memory) {
            snprintf(text, sizeof text, "%llu", (unsigned long long)service->memory);
            limit_set(service, "memory.max", text);
        }
        if (service->cpu_quota) {
            snprintf(text, sizeof text, "%llu %d", (unsigned long long)service->cpu_quota,
                     PERIOD_US);
            limit_set(service, "cpu.max", text);
        }
        if (service->pids) {
            snprintf(text, sizeof text, "%u", service->pids);
            limit_set(service, "pids.max", text);
        }
    }
}
