/* Modules, the root, volumes, and the file systems that the app expects around it. */
#define _GNU_SOURCE
#include "init.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 10000

void modules_load(void) {
    char names[4096], path[256];
    if (read_text("/modules/order", names, sizeof names) < 0) fail("read /modules/order");
    for (char *name = strtok(names, "\n"); name; name = strtok(NULL, "\n")) {
        snprintf(path, sizeof path, "/modules/%s", name);
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0 || (syscall(SYS_finit_module, file, "", 0) && errno != EEXIST))
            say("module %s: %s", name, strerror(errno));
        if (file >= 0) close(file);
    }
}

int device_find(const char *file, const char *wanted, char *path, size_t size) {
    char name[512], text[1024];
    DIR *folder = opendir("/sys/class/block");
    struct dirent *entry;
    int found = 0;
    while (folder && !found && (entry = readdir(folder))) {
        snprintf(name, sizeof name, "/sys/class/block/%s/%s", entry->d_name, file);
        if (entry->d_name[0] == '.' || read_text(name, text, sizeof text) < 0) continue;
        for (char *line = strtok(text, "\n"); line && !found; line = strtok(NULL, "\n"))
            found = !strcmp(line, wanted);
        if (found) snprintf(path, size, "/dev/%s", entry->d_name);
    }
    if (folder) closedir(folder);
    return found;
}

void root_mount(void) {
    char path[300];
    struct timespec moment = {0, 10 * 1000000};
    for (int waited = 0; !device_find("uevent", "PARTNAME=portkit-root", path, sizeof path);
         waited += 10) {
        if (waited > WAIT_MS) {
            errno = ENODEV;
            fail("find the partition portkit-root");
        }
        nanosleep(&moment, NULL);
    }
    if (mount(path, ROOT, "ext4", 0, "noinit_itable")) fail("mount the root");
}

/* Make the folders of a path below the root; the image's links lead nowhere else than in it. */
static int folder_made; /* whether the last one was not there before */

static int folder_open(const char *target) {
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT};
    char path[4096] = "";
    int root = open(ROOT, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int at = fcntl(root, F_DUPFD_CLOEXEC, 0);
    char *rest = strdup(target), *more = rest;
    for (char *name; at >= 0 && (name = strsep(&more, "/"));) {
        if (!*name) continue;
        if (strlen(path) + strlen(name) + 2 > sizeof path) {
            errno = ENAMETOOLONG;
            return -1;
        }
        folder_made = !mkdirat(at, name, 0755);
        strcat(strcat(path, "/"), name);
        close(at);
        at = (int)syscall(SYS_openat2, root, path, &how, sizeof how);
    }
    free(rest);
    close(root);
    return at;
}

static int is_empty(const char *path) {
    DIR *folder = opendir(path);
    struct dirent *entry;
    int empty = folder != NULL;
    while (folder && (entry = readdir(folder)))
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) empty = 0;
    if (folder) closedir(folder);
    return empty;
}

/* A volume that is empty gets what the image has at its place, as Docker does. */
static void volume_mount(const struct mount_row *row) {
    char serial[16], device[300], from[64];
    snprintf(serial, sizeof serial, "pkv%d", row->volume);
    int at = folder_open(row->target);
    if (at < 0) fail(row->target);
    snprintf(from, sizeof from, "/proc/self/fd/%d", at);
    if (!device_find("serial", serial, device, sizeof device)) {
        say("no disk %s: %s keeps nothing beyond this root disk", serial, row->target);
        close(at);
        return;
    }
    mkdir("/volume", 0755);
    if (mount(device, "/volume", "ext4", 0, NULL)) fail("mount a volume");
    rmdir("/volume/lost+found");
    if (is_empty("/volume")) tree_copy(from, "/volume");
    if (mount("/volume", from, NULL, MS_BIND, NULL)) fail(row->target);
    umount("/volume");
    close(at);
    if (row->read_only) {
        at = folder_open(row->target);
        snprintf(from, sizeof from, "/proc/self/fd/%d", at);
        mount(NULL, from, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL);
        close(at);
    }
}

/* A folder of the image that it covers gives it its mode, as runc does. */
static void tmpfs_mount(const struct mount_row *row) {
    char path[64], options[64];
    struct stat found;
    int at = folder_open(row->target);
    snprintf(path, sizeof path, "/proc/self/fd/%d", at);
    if (at >= 0 && folder_made) chmod(path, 01777); /* the next boot finds it so */
    if (at < 0 || fstat(at, &found)) fail(row->target);
    unsigned mode = row->mode_told ? row->mode : found.st_mode & 07777;
    snprintf(options, sizeof options, "mode=%04o", mode);
    if (row->bytes)
        snprintf(options, sizeof options, "mode=%04o,size=%llu", mode,
                 (unsigned long long)row->bytes);
    if (mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options)) fail(row->target);
    close(at);
}

void volumes_mount(const struct config *config) {
    for (size_t i = 0; i < config->mountc; i++) {
        if (config->mounts[i].volume >= 0) volume_mount(&config->mounts[i]);
        else tmpfs_mount(&config->mounts[i]);
    }
}

static void node(const char *name, unsigned number, mode_t mode) {
    char path[64];
    snprintf(path, sizeof path, ROOT "/dev/%s", name);
    if (mknod(path, S_IFCHR | mode, makedev(number >> 8, number & 255))) fail(path);
    chmod(path, mode);
}

/* /dev as a container has it; the nodes are those of runc's default. */
static void devices_make(void) {
    static const char *const links[][2] = {{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"},
        {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"},
        {"/proc/kcore", "core"}};
    char path[64];
    if (mount("tmpfs", ROOT "/dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"))
        fail("mount /dev");
    mkdir(ROOT "/dev/pts", 0755), mkdir(ROOT "/dev/shm", 01777), mkdir(ROOT "/dev/mqueue", 01777);
    mount("devpts", ROOT "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
          "newinstance,ptmxmode=0666,mode=0620,gid=5");
    mount("shm", ROOT "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
          "mode=1777,size=65536k");
    mount("mqueue", ROOT "/dev/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    node("null", 0x103, 0666), node("zero", 0x105, 0666), node("full", 0x107, 0666);
    node("random", 0x108, 0666), node("urandom", 0x109, 0666), node("tty", 0x500, 0666);
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        snprintf(path, sizeof path, ROOT "/dev/%s", links[i][1]);
        symlink(links[i][0], path);
    }
}

/* A file over one of the image: hostname, hosts and resolv.conf belong to the run. */
static void file_over(const char *name, const char *content, int read_only) {
    char from[64], to[64];
    snprintf(from, sizeof from, "/run/%s", name);
    snprintf(to, sizeof to, ROOT "/etc/%s", name);
    int file = open(from, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file < 0 || write(file, content, strlen(content)) < 0) fail(from);
    close(file);
    mkdir(ROOT "/etc", 0755);
    struct stat found;
    if (lstat(to, &found) == 0 && S_ISLNK(found.st_mode)) unlink(to);
    file = open(to, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (file >= 0) close(file);
    if (mount(from, to, NULL, MS_BIND, NULL)) fail(to);
    if (read_only) mount(NULL, to, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL);
}

void world_mount(const struct config *config) {
    char text[512];
    mkdir(ROOT "/dev", 0755);
    if (!config->init_system) devices_make();
    else if (mount("/dev", ROOT "/dev", NULL, MS_MOVE, NULL)) fail("move /dev");
    mkdir(ROOT "/proc", 0755), mkdir(ROOT "/sys", 0755), mkdir("/run", 0755);
    mount("tmpfs", "/run", "tmpfs", 0, "mode=0755,size=1m");
    unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    if (!config->privileged && !config->init_system) flags |= MS_RDONLY;
    mount("sysfs", ROOT "/sys", "sysfs", flags, NULL);
    if (!config->init_system) mount("cgroup", ROOT "/sys/fs/cgroup", "cgroup2", flags, NULL);
    snprintf(text, sizeof text, "%s\n", config->hostname);
    file_over("hostname", text, config->read_only);
    snprintf(text, sizeof text,
             "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
             "fe00::0\tip6-localnet\nff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\n"
             "ff02::2\tip6-allrouters\n10.0.2.15\t%s\n", config->hostname);
    file_over("hosts", text, config->read_only);
    file_over("resolv.conf", "nameserver 10.0.2.3\n", config->read_only);
    if (symlink("/proc/mounts", ROOT "/etc/mtab") && errno != EEXIST) say("no /etc/mtab");
}
