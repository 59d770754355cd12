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

void modules_load(const char *list) {
    char names[4096], path[256];
    snprintf(path, sizeof path, "/modules/%s", list);
    if (read_text(path, names, sizeof names) < 0) fail(path);
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

void disk_mount(void) {
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
    if (mount(path, DISK, "ext4", 0, "noinit_itable")) fail("mount the root");
}

static int made_new; /* whether the last part of a place was not there before */

/* A place below the root, made where it is not there, and the folders above it; the image's links
 * lead nowhere else than in it. file: the last part is a file. */
static int place_open(const struct service *service, const char *target, int file) {
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT};
    char path[4096] = "";
    int root = open(service->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int at = fcntl(root, F_DUPFD_CLOEXEC, 0);
    char *rest = strdup(target), *more = rest;
    for (char *name; at >= 0 && (name = strsep(&more, "/"));) {
        if (!*name) continue;
        if (strlen(path) + strlen(name) + 2 > sizeof path) {
            errno = ENAMETOOLONG;
            return -1;
        }
        int last = !more || !more[strspn(more, "/")];
        strcat(strcat(path, "/"), name);
        if (file && last) { /* what a link leads to is made where it leads, in the root */
            struct open_how create = {.flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY,
                                      .mode = 0644, .resolve = RESOLVE_IN_ROOT};
            int fresh = (int)syscall(SYS_openat2, root, path, &create, sizeof create);
            if (fresh >= 0) close(fresh);
        } else {
            made_new = !mkdirat(at, name, 0755);
        }
        close(at);
        at = (int)syscall(SYS_openat2, root, path, &how, sizeof how);
    }
    free(rest);
    close(root);
    return at;
}

static void fd_path(char *path, size_t size, int file) {
    snprintf(path, size, "/proc/self/fd/%d", file);
}

static void bind_read_only(const char *path) {
    if (mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL)) fail(path);
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
static void volume_mount(const struct service *service, const struct mount_row *row) {
    char serial[16], device[300], from[64];
    snprintf(serial, sizeof serial, "pkv%d", row->volume);
    int at = place_open(service, row->target, 0);
    if (at < 0) fail(row->target);
    fd_path(from, sizeof from, at);
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
        at = place_open(service, row->target, 0);
        fd_path(from, sizeof from, at);
        bind_read_only(from);
        close(at);
    }
}

/* A folder of the image that it covers gives it its mode, as runc does. */
static void tmpfs_mount(const struct service *service, const struct mount_row *row) {
    char path[64], options[64];
    struct stat found;
    int at = place_open(service, row->target, 0);
    fd_path(path, sizeof path, at);
    if (at >= 0 && made_new) chmod(path, 01777); /* the next boot finds it so */
    if (at < 0 || fstat(at, &found)) fail(row->target);
    unsigned mode = row->mode_told ? row->mode : found.st_mode & 07777;
    snprintf(options, sizeof options, "mode=%04o", mode);
    if (row->bytes)
        snprintf(options, sizeof options, "mode=%04o,size=%llu", mode,
                 (unsigned long long)row->bytes);
    if (mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options)) fail(row->target);
    close(at);
}

static void file_make(const char *folder, const struct file_row *row) {
    char path[4400];
    struct timespec times[] = {{(time_t)row->time, 0}, {(time_t)row->time, 0}};
    if (snprintf(path, sizeof path, "%s%s%s", folder, *row->path ? "/" : "", row->path) >=
        (int)sizeof path)
        errno = ENAMETOOLONG, fail(row->path);
    if (row->kind == 1) {
        if (mkdir(path, 0700)) fail(path);
    } else if (row->kind == 2) {
        if (symlink((const char *)row->data, path)) fail(path);
    } else {
        int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (file < 0 || write(file, row->data, row->size) != (ssize_t)row->size || close(file))
            fail(path);
    }
    if (lchown(path, row->uid, row->gid)) fail(path);
    if (row->kind != 2 && chmod(path, row->mode & 07777)) fail(path);
    utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW);
}

/* The App's own files, written to the disk at the first boot: what it changes there stays. */
static void content_make(const struct content_row *row, const char *place) {
    char fresh[320];
    struct stat found;
    if (!lstat(place, &found)) return;
    /* Whole or not at all: a name of its own until everything is there. */
    snprintf(fresh, sizeof fresh, "%s.%lld", place, (long long)time(NULL));
    for (size_t i = 0; i < row->filec; i++) file_make(fresh, &row->files[i]);
    sync(); /* else a power cut could leave its name without its content */
    if (rename(fresh, place)) fail(row->target);
}

/* A file or folder of the App over its place; services that have the same one share it. */
static void content_mount(const struct service *service, const struct content_row *row) {
    char from[64], to[64];
    struct stat found;
    mkdir(DISK "/content", 0700);
    snprintf(from, sizeof from, DISK "/content/%u", row->number);
    content_make(row, from);
    if (stat(from, &found)) fail(row->target);
    for (int again = 0; again <= row->read_only; again++) {
        int at = place_open(service, row->target, !S_ISDIR(found.st_mode));
        if (at < 0) fail(row->target);
        fd_path(to, sizeof to, at);
        if (again) bind_read_only(to);
        else if (mount(from, to, NULL, MS_BIND, NULL)) fail(row->target);
        close(at);
    }
}

/* Every service has its own upper folder; what is below is shared by all that have the layer. */
static void root_mount(const struct service *service) {
    char options[4096] = "lowerdir=", upper[128], work[128], *list = strdup(service->layers);
    mkdir("/s", 0755), mkdir(service->root, 0755);
    for (char *layer = strtok(list, ":"); layer; layer = strtok(NULL, ":")) {
        size_t used = strlen(options);
        snprintf(options + used, sizeof options - used, DISK "/layers/%s:", layer);
    }
    free(list);
    options[strlen(options) - 1] = 0;
    mkdir(DISK "/services", 0700);
    snprintf(upper, sizeof upper, DISK "/services/%s", service->name);
    mkdir(upper, 0700);
    snprintf(work, sizeof work, DISK "/services/%s/work", service->name);
    snprintf(upper, sizeof upper, DISK "/services/%s/upper", service->name);
    mkdir(upper, 0755), mkdir(work, 0700);
    size_t used = strlen(options);
    if (snprintf(options + used, sizeof options - used, ",upperdir=%s,workdir=%s", upper, work) >=
        (int)(sizeof options - used))
        errno = E2BIG, fail("name the layers of a root");
    if (mount("overlay", service->root, "overlay", 0, options)) fail("mount the root of a service");
}

static void node(int dev, const char *name, unsigned number, mode_t mode) {
    if (mknodat(dev, name, S_IFCHR | mode, makedev(number >> 8, number & 255))) fail(name);
    fchmodat(dev, name, mode, 0);
}

/* Mount something on a place of the root, through the image's own links and never out of it; what
 * is there then. */
static int mount_at(const struct service *service, const char *target, const char *from,
                    const char *type, unsigned long flags, const char *options) {
    char path[64];
    int at = place_open(service, target, 0);
    fd_path(path, sizeof path, at);
    if (at < 0 || mount(from, path, type, flags, options)) fail(target);
    close(at);
    return place_open(service, target, 0);
}

static void mount_in(int folder, const char *name, const char *type, unsigned long flags,
                     const char *options) {
    char path[64];
    mkdirat(folder, name, strcmp(name, "pts") ? 01777 : 0755);
    snprintf(path, sizeof path, "/proc/self/fd/%d/%s", folder, name);
    mount(type, path, type, flags, options);
}

/* What processes share in memory, by name. */
static void shm_mount(const struct service *service, int dev) {
    char options[64];
    snprintf(options, sizeof options, "mode=1777,size=%llu",
             (unsigned long long)service->shm_bytes);
    mount_in(dev, "shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options);
}

static void mqueue_mount(int dev) {
    mount_in(dev, "mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
}

/* /dev as a container has it; the nodes are those of runc's default. */
static void devices_make(const struct service *service) {
    static const char *const links[][2] = {{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"},
        {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"},
        {"/proc/kcore", "core"}};
    int dev = mount_at(service, "/dev", "tmpfs", "tmpfs", MS_NOSUID | MS_STRICTATIME,
                       "mode=755,size=65536k");
    mount_in(dev, "pts", "devpts", MS_NOSUID | MS_NOEXEC,
             "newinstance,ptmxmode=0666,mode=0620,gid=5");
    shm_mount(service, dev), mqueue_mount(dev);
    node(dev, "null", 0x103, 0666), node(dev, "zero", 0x105, 0666), node(dev, "full", 0x107, 0666);
    node(dev, "random", 0x108, 0666), node(dev, "urandom", 0x109, 0666);
    node(dev, "tty", 0x500, 0666);
    for (size_t i = 0; i < sizeof links / sizeof *links; i++)
        symlinkat(links[i][0], dev, links[i][1]);
    close(dev);
}

/* A file over one of the image: hostname, hosts and resolv.conf belong to the run. */
static void file_over(const struct service *service, const char *name, const char *content) {
    char from[64], to[64];
    struct stat found;
    snprintf(from, sizeof from, "/run/%s", name);
    if (service->name) snprintf(from, sizeof from, "/run/%s.%s", name, service->root + 3);
    int file = open(from, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file < 0 || write(file, content, strlen(content)) < 0) fail(from);
    close(file);
    int etc = place_open(service, "/etc", 0);
    if (etc < 0) fail("/etc");
    if (!fstatat(etc, name, &found, AT_SYMLINK_NOFOLLOW) && S_ISLNK(found.st_mode))
        unlinkat(etc, name, 0);
    file = openat(etc, name, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (file >= 0) close(file);
    for (int again = 0; again <= service->read_only; again++) {
        file = openat(etc, name, O_PATH | O_CLOEXEC | O_NOFOLLOW);
        fd_path(to, sizeof to, file);
        if (again) bind_read_only(to);
        else if (file < 0 || mount(from, to, NULL, MS_BIND, NULL)) fail(name);
        close(file);
    }
    close(etc);
}

static void hosts_make(const struct service *service) {
    static const char common[] =
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
        "fe00::0\tip6-localnet\nff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\n"
        "ff02::2\tip6-allrouters\n";
    size_t size = sizeof common + 64 + strlen(service->hosts ? service->hosts : service->hostname);
    char *text = malloc(size);
    if (!text) fail("get memory");
    if (service->hosts) snprintf(text, size, "%s%s", common, service->hosts);
    else snprintf(text, size, "%s%s\t%s\n", common, guest_address, service->hostname);
    file_over(service, "hosts", text);
    free(text);
}

void kernel_mount(const struct service *service) {
    char path[64];
    unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    if (!service->privileged && !service->init_system) flags |= MS_RDONLY;
    int sys = mount_at(service, "/sys", "sysfs", "sysfs", flags, NULL);
    snprintf(path, sizeof path, "/proc/self/fd/%d/fs/cgroup", sys);
    if (!service->init_system) mount("cgroup", path, "cgroup2", flags, NULL);
    close(sys);
}

static size_t depth(const char *target) {
    size_t count = 0;
    for (const char *at = target; *at; at++) count += *at == '/';
    return count;
}

/* Whether a mount there would cover what init puts into the root. */
static int covers(const char *target) { return !strcmp(target, "/etc") || !strcmp(target, "/dev"); }

/* Parents first: what is below another mount is mounted into it. */
static void mounts_make(const struct service *service, int first) {
    for (size_t level = 1; level <= 64; level++) {
        for (size_t i = 0; i < service->mountc; i++) {
            const struct mount_row *row = &service->mounts[i];
            if (depth(row->target) != level || covers(row->target) != first) continue;
            if (row->volume >= 0) volume_mount(service, row);
            else tmpfs_mount(service, row);
        }
        for (size_t i = 0; i < service->contentc; i++) {
            const struct content_row *row = &service->contents[i];
            if (depth(row->target) == level && covers(row->target) == first)
                content_mount(service, row);
        }
    }
}

/* Whether an open place is a file system in memory of its own, with nothing mounted below: by the
 * kernel's list, for what a name leads to is the image's to say. proc(5), mountinfo: id, id of the
 * parent, device, root, place, options, fields up to "-", type. */
static int is_own_memory(int at) {
    char path[64], text[256], line[4096], type[32];
    int id = -1, row, parent, own = 0, free = 1;
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", at);
    FILE *file = fopen(path, "re");
    while (file && fgets(text, sizeof text, file)) sscanf(text, "mnt_id: %d", &id);
    if (file) fclose(file);
    file = fopen("/proc/self/mountinfo", "re");
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "%d %d", &row, &parent) != 2) continue;
        const char *kind = strstr(line, " - ");
        if (row == id && kind && sscanf(kind, " - %31s", type) == 1)
            own = !strcmp(type, "tmpfs") || !strcmp(type, "mqueue");
        if (parent == id) free = 0;
    }
    if (!file) return 0;
    fclose(file);
    return own && free;
}

/* Take such a file system away; 0 where there is none to take. */
static int memory_leave(const struct service *service, const char *target) {
    char path[64];
    int at = place_open(service, target, 0), left = 0;
    fd_path(path, sizeof path, at);
    if (at >= 0 && is_own_memory(at)) left = !umount2(path, MNT_DETACH);
    if (at >= 0) close(at);
    return left;
}

/* Called in the namespaces of a service: what it has in memory is its own, and begins empty with
 * every start, as in a container. A folder below which something is mounted stays as it is. */
void memory_renew(const struct service *service) {
    /* First what every service has: the App may have asked for something else in its place. */
    int shm = memory_leave(service, "/dev/shm"), mqueue = memory_leave(service, "/dev/mqueue");
    int dev = place_open(service, "/dev", 0);
    if (shm) shm_mount(service, dev);
    if (mqueue) mqueue_mount(dev);
    if (dev >= 0) close(dev);
    for (size_t i = 0; i < service->mountc; i++) {
        const struct mount_row *row = &service->mounts[i];
        if (row->volume < 0 && memory_leave(service, row->target)) tmpfs_mount(service, row);
    }
}

void world_mount(const struct service *service) {
    char text[512];
    if (service->name) root_mount(service);
    mounts_make(service, 1);
    if (!service->init_system) devices_make(service);
    else if (mkdir(DISK "/dev", 0755), mount("/dev", DISK "/dev", NULL, MS_MOVE, NULL))
        fail("move /dev");
    close(place_open(service, "/proc", 0));
    if (!service->name) kernel_mount(service);
    snprintf(text, sizeof text, "%s\n", service->hostname);
    file_over(service, "hostname", text);
    hosts_make(service);
    file_over(service, "resolv.conf", service->resolv ? service->resolv : guest_resolver);
    int etc = place_open(service, "/etc", 0);
    if (symlinkat("/proc/mounts", etc, "mtab") && errno != EEXIST) say("no /etc/mtab");
    close(etc);
    mounts_make(service, 0);
}
