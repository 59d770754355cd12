/* Control groups: what each of several services may use, and how much of it. */
#define _GNU_SOURCE
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PERIOD_US 100000

/* ---------------------------------------------------------------- devices */

/* Major and minor; -1 is every minor. What runc lets a container use: its /dev, and terminals. */
static const int usable[][2] = {{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {5, 0}, {5, 2}, {136, -1}};

static struct bpf_insn code[128];
static uint32_t codec;

static void emit(uint8_t op, uint8_t to, uint8_t from, int16_t jump, int32_t value) {
    code[codec++] = (struct bpf_insn){op, to, from, jump, value};
}

static void emit_load(uint8_t to, size_t offset) {
    emit(BPF_LDX | BPF_MEM | BPF_W, to, BPF_REG_1, (int16_t)offset, 0);
}

static void emit_return(int value) {
    emit(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, value);
    emit(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

/* Any node may be made, and those above may be used. Without this a service that is root could make
 * a node of the disk, and read what the others have there. */
static void program_write(void) {
    codec = 0;
    emit_load(BPF_REG_2, offsetof(struct bpf_cgroup_dev_ctx, access_type));
    emit_load(BPF_REG_3, offsetof(struct bpf_cgroup_dev_ctx, major));
    emit_load(BPF_REG_4, offsetof(struct bpf_cgroup_dev_ctx, minor));
    emit(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_5, BPF_REG_2, 0, 0);
    emit(BPF_ALU64 | BPF_RSH | BPF_K, BPF_REG_5, 0, 0, 16);     /* what is asked for */
    emit(BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_2, 0, 0, 0xffff); /* of a block or character device */
    emit(BPF_JMP | BPF_JNE | BPF_K, BPF_REG_5, 0, 2, BPF_DEVCG_ACC_MKNOD);
    emit_return(1);
    emit(BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_2, 0, 2, BPF_DEVCG_DEV_CHAR);
    emit_return(0);
    for (size_t i = 0; i < sizeof usable / sizeof *usable; i++) {
        int every = usable[i][1] < 0;
        emit(BPF_JMP | BPF_JNE | BPF_K, BPF_REG_3, 0, every ? 2 : 3, usable[i][0]);
        if (!every) emit(BPF_JMP | BPF_JNE | BPF_K, BPF_REG_4, 0, 2, usable[i][1]);
        emit_return(1);
    }
    emit_return(0);
}

static void devices_limit(const struct service *service) {
    char path[64];
    union bpf_attr load = {0}, attach = {0};
    snprintf(path, sizeof path, "/cgroup%s", service->root);
    program_write();
    load.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
    load.insns = (uint64_t)(uintptr_t)code, load.insn_cnt = codec;
    load.license = (uint64_t)(uintptr_t)"";
    int program = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load);
    int group = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    attach.target_fd = (uint32_t)group, attach.attach_bpf_fd = (uint32_t)program;
    attach.attach_type = BPF_CGROUP_DEVICE;
    if (program < 0 || group < 0 || syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof attach))
        fail("keep a service from the devices of the others");
    close(program);
    close(group);
}

/* ---------------------------------------------------------------- limits */

void limits_enter(const struct service *service) {
    char path[128];
    if (!service->name) return;
    snprintf(path, sizeof path, "/cgroup%s/cgroup.procs", service->root);
    if (!write_text(path, "0")) return;
    say("%s cannot be limited: %s", service->name, strerror(errno));
    _exit(126);
}

static void limit_set(const struct service *service, const char *file, const char *value) {
    char path[128];
    snprintf(path, sizeof path, "/cgroup%s/%s", service->root, file);
    if (write_text(path, value)) say("%s: no limit %s: %s", service->name, file, strerror(errno));
}

void limits_prepare(const struct app *app) {
    char path[64], text[64];
    mkdir("/cgroup", 0755);
    if (mount("cgroup", "/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL))
        fail("mount the control groups");
    /* As Docker's seccomp profile: in a namespace of its own a user could become root. */
    if (write_text("/proc/sys/user/max_user_namespaces", "0")) say("users may make namespaces");
    mkdir("/cgroup/s", 0755);
    if (write_text("/cgroup/cgroup.subtree_control", "+memory +cpu +pids") ||
        write_text("/cgroup/s/cgroup.subtree_control", "+memory +cpu +pids"))
        say("limits are not in force: %s", strerror(errno));
    for (size_t i = 0; i < app->count; i++) {
        const struct service *service = app->services[i];
        snprintf(path, sizeof path, "/cgroup%s", service->root);
        mkdir(path, 0755);
        if (!service->privileged) devices_limit(service);
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
