/* Copies a tree on first boot: what the image has where an empty volume is mounted. */
#define _GNU_SOURCE
#include "init.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

static void attributes(const char *from, const char *to) {
    char names[65536], value[65536];
    ssize_t size = llistxattr(from, names, sizeof names);
    for (ssize_t at = 0; at < size; at += (ssize_t)strlen(names + at) + 1) {
        ssize_t length = lgetxattr(from, names + at, value, sizeof value);
        if (length >= 0 && lsetxattr(to, names + at, value, (size_t)length, 0))
            say("%s: attribute %s: %s", to, names + at, strerror(errno));
    }
}

static void like(const char *from, const char *to, const struct stat *found) {
    if (lchown(to, found->st_uid, found->st_gid)) fail(to);
    if (!S_ISLNK(found->st_mode)) chmod(to, found->st_mode & 07777);
    attributes(from, to); /* after chown: that clears file capabilities */
    struct timespec times[] = {found->st_atim, found->st_mtim};
    utimensat(AT_FDCWD, to, times, AT_SYMLINK_NOFOLLOW);
}

static void file_copy(const char *from, const char *to) {
    int in = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (in < 0 || out < 0) fail(to);
    ssize_t count;
    while ((count = sendfile(out, in, NULL, 1 << 20)) > 0) continue;
    if (count < 0) fail(to);
    close(in);
    if (close(out)) fail(to);
}

/* Where the first name of an inode went; the others become links to it. */
struct inode { dev_t device; ino_t number; char *path; struct inode *next; };
static struct inode *inodes[1024];

static int linked(const struct stat *found, const char *to) {
    struct inode **list = &inodes[found->st_ino % 1024], *one;
    if (found->st_nlink < 2) return 0;
    for (one = *list; one; one = one->next)
        if (one->number == found->st_ino && one->device == found->st_dev) {
            if (link(one->path, to)) fail(to);
            return 1;
        }
    one = malloc(sizeof *one);
    if (!one || !(one->path = strdup(to))) fail(to);
    one->number = found->st_ino, one->device = found->st_dev, one->next = *list;
    *list = one;
    return 0;
}

static void entry_copy(const char *from, const char *to) {
    struct stat found;
    char link[PATH_MAX];
    if (lstat(from, &found)) fail(from);
    if (S_ISDIR(found.st_mode)) {
        if (mkdir(to, 0700)) fail(to);
        tree_copy(from, to);
        return;
    }
    if (linked(&found, to)) return;
    if (S_ISREG(found.st_mode)) {
        file_copy(from, to);
    } else if (S_ISLNK(found.st_mode)) {
        ssize_t length = readlink(from, link, sizeof link - 1);
        if (length < 0) fail(from);
        link[length] = 0;
        if (symlink(link, to)) fail(to);
    } else if (mknod(to, found.st_mode, found.st_rdev)) {
        fail(to);
    }
    like(from, to, &found);
}

void tree_copy(const char *from, const char *to) {
    char source[PATH_MAX], target[PATH_MAX];
    struct stat found;
    DIR *folder = opendir(from);
    struct dirent *entry;
    if (!folder || stat(from, &found)) fail(from);
    while ((entry = readdir(folder))) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        if (snprintf(source, sizeof source, "%s/%s", from, entry->d_name) >= PATH_MAX ||
            snprintf(target, sizeof target, "%s/%s", to, entry->d_name) >= PATH_MAX) {
            errno = ENAMETOOLONG;
            fail(from);
        }
        entry_copy(source, target);
    }
    closedir(folder);
    like(from, to, &found);
}
