/* What a process sees and reaches where it runs, as one line of JSON on its standard output.
 *
 * Nothing that it tries can succeed in changing anything, whatever its rights: system calls get
 * arguments that the kernel refuses with any rights, files are opened and closed and never written,
 * and no device is opened, because opening alone starts some (a watchdog, a tape).
 *
 * It prints the line again and again until it is told to stop: on a serial console a message of the
 * kernel's may fall into it.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "probe.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
enum { KILLED = -1, UNTRIED = -2, MASKED = -3 }; /* in place of an error number */

static char line[24 << 10]; /* what is below amounts to some 5 KB */
static size_t used;

static void put(const char *text) {
    size_t size = strlen(text);
    if (used + size >= sizeof line) exit(2);
    memcpy(line + used, text, size + 1);
    used += size;
}

static void put_number(long long value) {
    char text[24];
    snprintf(text, sizeof text, "%lld", value);
    put(text);
}

static void put_text(const char *text) {
    char one[8];
    put("\"");
    for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
        /* Bytes beyond ASCII become "?": nothing that is read here has a right to any. */
        if (*at == '"' || *at == '\\') snprintf(one, sizeof one, "\\%c", *at);
        else if (*at < 0x20) snprintf(one, sizeof one, "\\u%04x", *at);
        else snprintf(one, sizeof one, "%c", *at < 0x7f ? *at : '?');
        put(one);
    }
    put("\"");
}

static void put_key(const char *key) {
    if (line[used - 1] != '{' && line[used - 1] != '[') put(",");
    put_text(key);
    put(":");
}

/* The start of a small file without the white space at its end; -1 where it cannot be read. */
static int read_start(const char *path, char *text, size_t size) {
    text[0] = 0;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return -1;
    ssize_t got = read(file, text, size - 1);
    close(file);
    if (got < 0) return -1;
    text[got] = 0;
    while (got && isspace((unsigned char)text[got - 1])) text[--got] = 0;
    return 0;
}

static void put_file(const char *key, const char *path) {
    char text[256];
    put_key(key);
    if (read_start(path, text, sizeof text)) put("null");
    else put_text(text);
}

static void put_kernel(void) {
    struct utsname name;
    uname(&name);
    put_key("release");
    put_text(name.release);
    put_file("boot_id", "/proc/sys/kernel/random/boot_id");
}

static void put_namespaces(void) {
    static const char *const names[] = {"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"};
    char path[64], text[64];
    put_key("namespaces");
    put("{");
    for (size_t i = 0; i < COUNT(names); i++) {
        snprintf(path, sizeof path, "/proc/self/ns/%s", names[i]);
        ssize_t size = readlink(path, text, sizeof text - 1);
        if (size < 0) continue; /* a kernel that lacks it */
        text[size] = 0;
        put_key(names[i]);
        put_text(text);
    }
    put("}");
}

static void put_status(void) {
    static const char *const names[] = {
        "Uid", "Gid", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp", "Seccomp_filters"};
    char row[512];
    FILE *file = fopen("/proc/self/status", "re");
    put_key("status");
    put("{");
    while (file && fgets(row, sizeof row, file)) {
        char *value = strchr(row, ':');
        if (!value) continue;
        *value++ = 0;
        value += strspn(value, " \t");
        value[strcspn(value, " \t\n")] = 0; /* of ids the real one */
        for (size_t i = 0; i < COUNT(names); i++)
            if (!strcmp(row, names[i])) {
                put_key(row);
                put_text(value);
            }
    }
    if (file) fclose(file);
    put("}");
}

static void put_mac(void) {
    char text[256];
    put_key("mac");
    /* Where several security modules are stacked, the first file is AppArmor's own. */
    if (read_start("/proc/self/attr/apparmor/current", text, sizeof text) &&
        read_start("/proc/self/attr/current", text, sizeof text))
        put("null");
    else put_text(text);
}

static void put_processes(void) {
    char path[288], name[64];
    int count = 0, kernel = 0;
    DIR *folder = opendir("/proc");
    struct dirent *entry;
    put_key("processes");
    put("{");
    put_key("names");
    put("[");
    while (folder && (entry = readdir(folder))) {
        if (!isdigit((unsigned char)entry->d_name[0])) continue;
        count++;
        /* Only a thread of the kernel has no executable; without the right to look it is EACCES. */
        snprintf(path, sizeof path, "/proc/%s/exe", entry->d_name);
        if (readlink(path, name, sizeof name) < 0 && errno == ENOENT) {
            kernel++;
            continue;
        }
        snprintf(path, sizeof path, "/proc/%s/comm", entry->d_name);
        if (count - kernel > MOST_NAMES || read_start(path, name, sizeof name)) continue;
        if (line[used - 1] != '[') put(",");
        put_text(name);
    }
    if (folder) closedir(folder);
    put("]");
    put_key("count");
    put_number(count);
    put_key("kernel_threads");
    put_number(kernel);
    put("}");
}

static void put_mounts(void) {
    static const char *const paths[] = {"/", "/proc", "/proc/sys", "/sys", "/sys/fs/cgroup"};
    struct statvfs about;
    put_key("mounts");
    put("{");
    for (size_t i = 0; i < COUNT(paths); i++) {
        if (statvfs(paths[i], &about)) continue;
        put_key(paths[i]);
        put_text(about.f_flag & ST_RDONLY ? "ro" : "rw");
    }
    put("}");
}

/* 0 where it can be opened so, else the error. Without O_TRUNC an open changes none of these. */
static int opened(const char *path, int how) {
    struct stat about;
    /* Engines lay /dev/null over what they hide. */
    if (stat(path, &about)) return errno;
    if (S_ISCHR(about.st_mode)) return MASKED;
    int file = open(path, how | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (file < 0) return errno;
    close(file);
    return 0;
}

static void put_opened(const char *key, const char *const *paths, size_t count, int how) {
    put_key(key);
    put("{");
    for (size_t i = 0; i < count; i++) {
        put_key(paths[i]);
        put_number(opened(paths[i], how));
    }
    put("}");
}

static void put_interfaces(void) {
    static const char *const writes[] = {
        "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/randomize_va_space", "/proc/sys/kernel/hostname",
        "/proc/sys/vm/overcommit_memory", "/proc/sys/fs/file-max",
        "/proc/sys/net/ipv4/ip_forward", "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity", "/sys/kernel/mm/transparent_hugepage/enabled",
        "/sys/power/state", "/sys/fs/cgroup/cgroup.procs",
    };
    static const char *const reads[] = {
        "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/kpagecount",
    };
    put_opened("writes", writes, COUNT(writes), O_WRONLY);
    put_opened("reads", reads, COUNT(reads), O_RDONLY);
}

static int by_name(const void *left, const void *right) {
    return strcmp(*(char *const *)left, *(char *const *)right);
}

/* Block and character devices below /dev, beside those that every container has. */
static void put_devices(void) {
    static const char *const usual[] = {"null", "zero", "full", "random", "urandom", "tty",
                                        "console", "ptmx"};
    char *names[MOST_NAMES];
    size_t kept = 0;
    int count = 0;
    struct stat about;
    struct dirent *entry;
    DIR *folder = opendir("/dev");
    while (folder && (entry = readdir(folder))) {
        if (fstatat(dirfd(folder), entry->d_name, &about, AT_SYMLINK_NOFOLLOW)) continue;
        if (!S_ISCHR(about.st_mode) && !S_ISBLK(about.st_mode)) continue;
        size_t at = 0;
        while (at < COUNT(usual) && strcmp(usual[at], entry->d_name)) at++;
        if (at < COUNT(usual)) continue;
        count++;
        if (kept < COUNT(names) && strncmp(entry->d_name, "tty", 3) && strncmp(entry->d_name, "vcs", 3))
            names[kept++] = strdup(entry->d_name);
    }
    if (folder) closedir(folder);
    qsort(names, kept, sizeof *names, by_name);
    put_key("devices");
    put("{");
    put_key("count");
    put_number(count);
    put_key("names");
    put("[");
    for (size_t i = 0; i < kept; i++) {
        if (i) put(",");
        put_text(names[i]);
    }
    put("]}");
}

/* One limit of the cgroup that it is in: below the mount where that shows the whole tree, at its
 * top where the cgroup has a namespace of its own. */
static void put_limit(const char *key, const char *own, const char *v2, const char *v1) {
    char path[640], text[128];
    put_key(key);
    snprintf(path, sizeof path, "/sys/fs/cgroup%s/%s", own, v2);
    if (read_start(path, text, sizeof text)) {
        snprintf(path, sizeof path, "/sys/fs/cgroup/%s", v2);
        if (read_start(path, text, sizeof text)) {
            snprintf(path, sizeof path, "/sys/fs/cgroup/%s", v1);
            if (read_start(path, text, sizeof text)) {
                put("null");
                return;
            }
        }
    }
    put_text(text);
}

static void put_limits(void) {
    char row[512], own[512] = "";
    FILE *file = fopen("/proc/self/cgroup", "re");
    while (file && fgets(row, sizeof row, file)) {
        row[strcspn(row, "\n")] = 0;
        if (!strncmp(row, "0::", 3)) strcpy(own, row + 3);
    }
    if (file) fclose(file);
    struct sysinfo about;
    sysinfo(&about);
    put_key("limits");
    put("{");
    put_limit("memory", own, "memory.max", "memory/memory.limit_in_bytes");
    put_limit("pids", own, "pids.max", "pids/pids.max");
    put_limit("cpu", own, "cpu.max", "cpu/cpu.cfs_quota_us");
    put_key("memory_bytes");
    put_number((long long)about.totalram * about.mem_unit);
    put_key("cpus");
    put_number(sysconf(_SC_NPROCESSORS_ONLN));
    put("}");
}

/* In a process of its own: a filter may kill whoever makes the call. */
static int tried(const struct call *call) {
    pid_t child = fork();
    if (child < 0) return UNTRIED;
    if (!child) {
        const long *a = call->arguments;
        long got = syscall(call->number, a[0], a[1], a[2], a[3], a[4], a[5]);
        _exit(got < 0 ? errno : 0);
    }
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) return UNTRIED;
    return WIFEXITED(status) ? WEXITSTATUS(status) : KILLED;
}

static void put_calls(void) {
    put_key("syscalls");
    put("{");
    for (const struct call *call = calls; call->name; call++) {
        put_key(call->name);
        put_number(tried(call));
    }
    put("}");
}

static void stop(int signal) {
    (void)signal;
    _exit(0);
}

int main(void) {
    /* Process 1 of a container gets only the signals that it asks for. */
    signal(SIGTERM, stop);
    signal(SIGINT, stop);
    put(MARK " {");
    put_kernel();
    put_namespaces();
    put_processes();
    put_devices();
    put_mounts();
    put_interfaces();
    put_status();
    put_mac();
    put_file("uid_map", "/proc/self/uid_map");
    put_limits();
    put_calls();
    put("}\n");
    for (;;) {
        for (size_t at = 0; at < used;) {
            ssize_t got = write(1, line + at, used - at);
            if (got < 0 && errno != EINTR && errno != EAGAIN) return 1;
            if (got > 0) at += (size_t)got;
        }
        sleep(5);
    }
}
