/* The app's own world: PID 1 of a namespace, its root, its ids, limits and capabilities. */
#define _GNU_SOURCE
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOT_FOUND 127
#define NOT_STARTED 126

struct person { uid_t uid; gid_t gid; gid_t groups[256]; size_t count; char home[1024]; };

static void give_up(const char *what) {
    say("cannot %s: %s", what, strerror(errno));
    _exit(NOT_STARTED);
}

static int number(const char *text, unsigned *value) {
    char *end;
    errno = 0;
    unsigned long found = strtoul(text, &end, 10);
    if (!*text || *end || errno || found > 0x7fffffff || *text == '-') return 0;
    *value = (unsigned)found;
    return 1;
}

/* The fields of a line of passwd(5) or group(5), which Docker trims first; how many there are. */
static size_t split(char *line, char **fields, size_t most) {
    size_t count = 0;
    line += strspn(line, " \t");
    line[strcspn(line, "\r\n")] = 0;
    while (count < most && line) fields[count++] = strsep(&line, ":");
    return count;
}

static void group_add(struct person *person, gid_t gid) {
    for (size_t i = 0; i < person->count; i++)
        if (person->groups[i] == gid) return;
    if (person->count < 256) person->groups[person->count++] = gid;
}

/* Ids of "user[:group]", each a name or a number, by the image's own files, as Docker does it. */
static void passwd_read(const char *user, struct person *person, char *name, size_t size) {
    char line[4096], *fields[7];
    unsigned wanted = 0;
    int numeric = number(user, &wanted), found = 0;
    FILE *file = fopen("/etc/passwd", "re");
    person->uid = numeric ? wanted : 0;
    strcpy(person->home, "/");
    while (file && !found && fgets(line, sizeof line, file)) {
        unsigned uid, gid;
        if (split(line, fields, 7) < 6 || !number(fields[2], &uid) || !number(fields[3], &gid))
            continue;
        found = numeric ? uid == wanted : !strcmp(fields[0], user);
        if (!found) continue;
        person->uid = uid, person->gid = gid;
        snprintf(person->home, sizeof person->home, "%s", fields[5]);
        snprintf(name, size, "%s", fields[0]);
    }
    if (file) fclose(file);
    if (!found && !numeric) {
        errno = ENOENT;
        give_up(user);
    }
}

/* Groups that name the user, the one asked for, and the additional ones. */
static void groups_read(const char *name, const char *asked, char *const *more,
                        struct person *person) {
    char line[65536], *fields[4];
    unsigned gid;
    int found = !*asked, met[64] = {0};
    FILE *file = fopen("/etc/group", "re");
    while (file && fgets(line, sizeof line, file)) {
        if (split(line, fields, 4) < 3 || !number(fields[2], &gid)) continue;
        if (*asked && !strcmp(fields[0], asked)) person->gid = gid, found = 1;
        for (size_t i = 0; more[i]; i++)
            if (!strcmp(more[i], fields[0])) group_add(person, gid), met[i] = 1;
        char *members = fields[3], *member;
        if (*asked) continue; /* a group that is asked for stands alone */
        while (*name && members && (member = strsep(&members, ",")))
            if (!strcmp(member, name)) group_add(person, gid);
    }
    if (file) fclose(file);
    if (*asked && number(asked, &gid)) person->gid = gid, found = 1;
    for (size_t i = 0; more[i]; i++) {
        if (!met[i] && !number(more[i], &gid)) {
            errno = ENOENT;
            give_up(more[i]);
        }
        if (!met[i]) group_add(person, gid);
    }
    if (!found) {
        errno = ENOENT;
        give_up(asked);
    }
}

static void person_find(const struct service *service, struct person *person) {
    char user[512], name[256] = "";
    snprintf(user, sizeof user, "%s", *service->user ? service->user : "0");
    char *group = strchr(user, ':');
    if (group) *group++ = 0;
    passwd_read(*user ? user : "0", person, name, sizeof name);
    groups_read(name, group ? group : "", service->groups, person);
    group_add(person, person->gid);
}

static void limits_set(const struct service *service) {
    for (size_t i = 0; i < service->limitc; i++) {
        const struct limit_row *row = &service->limits[i];
        struct rlimit limit = {row->soft, row->hard};
        if (setrlimit((int)row->resource, &limit)) give_up("set a limit");
    }
}

static void capabilities_set(uint64_t mask) {
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {
        {(uint32_t)mask, (uint32_t)mask, 0},
        {(uint32_t)(mask >> 32), (uint32_t)(mask >> 32), 0}};
    if (syscall(SYS_capset, &head, data)) give_up("set the capabilities");
}

/* Bounding set, then ids, then the other sets. As in a container of runc's, a user that is not root
 * keeps them until execve(2), which takes them away: the user may start a program that only root
 * may run, and the program has none of them. */
static void rights_set(const struct service *service, const struct person *person) {
    for (int one = 0; prctl(PR_CAPBSET_READ, one) >= 0; one++)
        if (!(service->capabilities >> one & 1) && prctl(PR_CAPBSET_DROP, one))
            give_up("drop a capability");
    if (setgroups(person->count, person->groups)) give_up("set the groups");
    if (prctl(PR_SET_KEEPCAPS, 1) || setresgid(person->gid, person->gid, person->gid) ||
        setresuid(person->uid, person->uid, person->uid))
        give_up("set the ids");
    capabilities_set(service->capabilities);
}

/* What runc masks and makes read-only of /proc. */
static void proc_guard(void) {
    static const char *const masked[] = {"/proc/acpi", "/proc/asound", "/proc/kcore",
        "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
        "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"};
    static const char *const fixed[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
        "/proc/sysrq-trigger"};
    struct stat found;
    for (size_t i = 0; i < sizeof masked / sizeof *masked; i++) {
        if (stat(masked[i], &found)) continue;
        if (S_ISDIR(found.st_mode)) mount("tmpfs", masked[i], "tmpfs", MS_RDONLY, "size=0k");
        else mount("/dev/null", masked[i], NULL, MS_BIND, NULL);
    }
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        mount(fixed[i], fixed[i], NULL, MS_BIND | MS_REC, NULL);
        mount(NULL, fixed[i], NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV |
              MS_NOEXEC, NULL);
    }
}

/* As mkdir -p; what cannot be made shows when it is entered. */
static void folders_make(const char *path) {
    char part[4096];
    for (size_t i = 1; path[i - 1] && i < sizeof part; i++) {
        if (path[i] && path[i] != '/') continue;
        memcpy(part, path, i), part[i] = 0;
        mkdir(part, 0755);
    }
}

static void sysctls_set(const struct service *service) {
    char path[256];
    for (size_t i = 0; i < service->sysctlc; i++) {
        const char *value = strchr(service->sysctls[i], '=');
        if (!value) continue;
        snprintf(path, sizeof path, "/proc/sys/%.*s", (int)(value - service->sysctls[i]),
                 service->sysctls[i]);
        for (char *dot = path + 10; (dot = strchr(dot, '.'));) *dot = '/';
        if (write_text(path, value + 1)) give_up(service->sysctls[i]);
    }
}

/* Nothing of the disk and of the other services is left in this mount namespace. */
static void others_leave(const struct app *app, const struct service *service) {
    umount2(DISK, MNT_DETACH);
    for (size_t i = 0; i < app->count; i++)
        if (app->services[i] != service) umount2(app->services[i]->root, MNT_DETACH);
}

/* A cgroup, network and name of its own. */
static void several_enter(const struct app *app, const struct service *service) {
    limits_enter(service);
    if (unshare(CLONE_NEWCGROUP)) give_up("make a cgroup namespace");
    if (service->net >= 0 && setns(service->net, CLONE_NEWNET)) give_up("enter the network");
    if (unshare(CLONE_NEWUTS) || sethostname(service->hostname, strlen(service->hostname)))
        give_up("set the hostname");
    others_leave(app, service);
    kernel_mount(service);
}

static void world_enter(const struct app *app, const struct service *service) {
    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
    if (service->name) several_enter(app, service);
    if (!service->init_system) memory_renew(service);
    /* The initrd cannot be pivoted away: the root is moved over it. */
    if (chdir(service->root) || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
        give_up("enter the root");
    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL))
        give_up("mount /proc");
    sysctls_set(service);
    if (!service->privileged && !service->init_system) proc_guard();
    folders_make(service->cwd);
    if (service->read_only) mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL);
}

static void environment_set(const struct service *service, const struct person *person) {
    clearenv();
    for (size_t i = 0; i < service->envc; i++) putenv(service->env[i]);
    setenv("HOSTNAME", service->hostname, 0);
    const char *home = getenv("HOME");
    if (!home || !*home) setenv("HOME", person->home, 1);
}

static void signals_free(void) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
}

/* Fork, and return in the child. The parent hands it every signal, takes in orphans, and ends as it
 * does: as PID 1 a program gets no signal that it does not handle, SIGTERM among them. It has the
 * rights of the program, as the init that Docker puts there. */
static void mind(void) {
    sigset_t all, none;
    sigfillset(&all), sigemptyset(&none);
    sigprocmask(SIG_BLOCK, &all, NULL);
    pid_t program = fork();
    if (program < 0) give_up("start the program");
    if (!program) {
        setpgid(0, 0);
        sigprocmask(SIG_SETMASK, &none, NULL);
        return;
    }
    for (;;) {
        int status, signal = sigwaitinfo(&all, NULL);
        if (signal > 0 && signal != SIGCHLD) kill(program, signal);
        for (pid_t gone; (gone = waitpid(-1, &status, WNOHANG)) > 0;)
            if (gone == program)
                _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    }
}

static void privileges_fix(const struct service *service) {
    if (service->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        give_up("give up new privileges");
}

/* In its world: become the user that it runs as, and run the program. */
static void program_run(const struct service *service, char *const *argv, int out) {
    static struct person person;
    person_find(service, &person);
    environment_set(service, &person);
    limits_set(service);
    umask((mode_t)service->umask);
    int console = fcntl(2, F_DUPFD_CLOEXEC, 10);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    /* So that /dev/stdout can be opened again, by a user without rights too. */
    if (fchown(out, person.uid, (gid_t)-1)) give_up("give the output away");
    rights_set(service, &person);
    privileges_fix(service);
    if (chdir(service->cwd)) give_up("enter the working folder");
    dup2(null, 0), dup2(out, 1), dup2(out, 2);
    if (service->minded && getpid() == 1) { /* not for a healthcheck */
        if (person.uid) capabilities_set(0);
        mind();
    }
    execvp(argv[0], argv);
    int code = errno == ENOENT ? NOT_FOUND : NOT_STARTED;
    dprintf(console, "portkit: cannot run %s: %s\r\n", argv[0], strerror(errno));
    _exit(code);
}

void app_become(const struct service *service) {
    static struct person person;
    strcpy(person.home, "/root");
    world_enter(NULL, service);
    environment_set(service, &person);
    umask(0);
    privileges_fix(service);
    execv(service->argv[0], service->argv);
    fail(service->argv[0]);
}

static void oom_score_set(const struct service *service) {
    char text[16];
    snprintf(text, sizeof text, "%d", service->oom_score);
    if (service->oom_score) write_text("/proc/self/oom_score_adj", text);
}

pid_t service_start(const struct app *app, const struct service *service, int out) {
    /* clone(2) without a stack of its own is a fork into new namespaces. */
    long flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | SIGCHLD;
    pid_t made = (pid_t)syscall(SYS_clone, flags, 0, 0, 0, 0);
    if (made) return made;
    signals_free();
    oom_score_set(service);
    world_enter(app, service);
    program_run(service, service->argv, out);
    _exit(NOT_STARTED);
}

/* ---------------------------------------------------------------- healthchecks */

static int namespace_open(pid_t app, const char *name) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/%s", app, name);
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* Beside the app: in its namespaces and its root. */
static void beside(pid_t app) {
    static const char *const names[] = {"cgroup", "ipc", "uts", "net", "mnt"};
    char path[64];
    int spaces[5];
    snprintf(path, sizeof path, "/proc/%d/root", app);
    int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < 5; i++) spaces[i] = namespace_open(app, names[i]);
    for (size_t i = 0; i < 5; i++)
        if (spaces[i] < 0 || setns(spaces[i], 0)) give_up("look at a service");
    if (root < 0 || fchdir(root) || chroot(".")) give_up("look at a service");
}

pid_t check_start(const struct service *service, pid_t app, int out) {
    int own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC), there = namespace_open(app, "pid");
    pid_t made = -1;
    /* setns(2): a process stays where it is, its next child is born in the other namespace. */
    if (own >= 0 && there >= 0 && !setns(there, CLONE_NEWPID)) {
        made = fork();
        if (!made) {
            prctl(PR_SET_DUMPABLE, 0); /* the service could look into it */
            signals_free();
            limits_enter(service);
            beside(app);
            program_run(service, service->check, out);
        }
        if (setns(own, CLONE_NEWPID)) say("children stay in a service: %s", strerror(errno));
    }
    if (own >= 0) close(own);
    if (there >= 0) close(there);
    return made < 0 ? 0 : made;
}
