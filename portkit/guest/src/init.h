/* The init of a portkit disk: PID 1 of the guest, from the initrd to the power-off. */
#ifndef PORTKIT_INIT_H
#define PORTKIT_INIT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define DISK "/root" /* where the root partition is mounted */
#define MAX_LIST 4096
#define MAX_SERVICES 256

/* As portkit/guest/config.py writes it. Lists end with NULL. */
struct mount_row { char *target; int volume; int read_only; uint64_t bytes; int mode_told; uint32_t mode; };
struct limit_row { uint32_t resource; uint64_t soft, hard; };
/* A file, folder (1) or link (2) that came with the App; path: below its content, "" for itself. */
struct file_row { char *path; uint32_t kind, uid, gid, mode; uint64_t time; unsigned char *data; size_t size; };
struct content_row { char *target; uint32_t number; int read_only; struct file_row *files; size_t filec, room; };
enum condition { STARTED, HEALTHY, COMPLETED };
struct need { uint32_t service, condition, required; };
enum network { NET_GUEST, NET_OWN, NET_NONE, NET_OF };

/* One service of the App. */
struct service {
    char *name;              /* NULL: the App has one service, whose root is the disk itself */
    char *argv[MAX_LIST], *env[MAX_LIST], *groups[64];
    size_t argc, envc, groupc;
    char *cwd, *user, *hostname;
    uint32_t umask, stop_signal, grace_ms, retries;
    uint64_t capabilities;
    struct limit_row limits[16];
    size_t limitc;
    struct mount_row mounts[256];
    size_t mountc;
    int restart;             /* 0 no, 1 always, 2 on failure */
    int rests;               /* it is not started, and nobody waits for it */
    int was_ill;             /* nobody waits until it is healthy */
    int read_only, privileged;
    int minded;              /* PID 1 is an init of ours, which starts the program (`init: true`) */
    int no_new_privileges;   /* neither setuid bits nor file capabilities give it more rights */
    int init_system;         /* the app is one: it becomes PID 1 itself */
    /* What only a service among several has. */
    char *layers;            /* trees below DISK/layers that make its root, the topmost first */
    enum network network;
    uint32_t address;        /* last byte of its address, or the service whose network it shares */
    char *hosts, *resolv;    /* of /etc/hosts what follows localhost; all of resolv.conf */
    struct need needs[64];
    size_t needc;
    char *check[256];        /* its healthcheck */
    size_t checkc;
    uint32_t check_interval_ms, check_timeout_ms, check_start_ms, check_retries;
    uint64_t memory, cpu_quota, shm_bytes;
    uint32_t pids;
    int32_t oom_score;
    char *sysctls[64];
    size_t sysctlc;
    struct content_row contents[256];
    size_t contentc;
    /* What init makes of it. */
    char root[32];           /* where its root is mounted */
    int net;                 /* its network namespace, or -1 for the guest's */
};

struct app { struct service *services[MAX_SERVICES]; size_t count; };

void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Say what cannot be done and why (errno), then power off: there is nobody to ask. */
void fail(const char *what) __attribute__((noreturn));
int read_text(const char *path, char *buffer, size_t size);
int write_text(const char *path, const char *text);
void power_off(void) __attribute__((noreturn));
int64_t now_ms(void);

void config_load(struct app *app);
/* The restart policy as the configuration disk has it now: a Move puts it into force last. */
void config_restart(struct service *service, size_t index);

/* list: a file in /modules with the names of modules, in order. */
void modules_load(const char *list);
/* Path of the block device whose sysfs `file` holds the line `wanted`; 0 when there is none. */
int device_find(const char *file, const char *wanted, char *path, size_t size);
void disk_mount(void);
/* The root of a service, its volumes and files, and what else it expects around it. */
void world_mount(const struct service *service);
/* Empty folders in memory, in its namespaces. */
void memory_renew(const struct service *service);
/* /sys as its namespaces show it: called in them. */
void kernel_mount(const struct service *service);

void network_up(struct app *app);
/* The guest's own address, and what resolv.conf says where the App does not say it. */
extern char guest_address[16], guest_resolver[128];

/* An address that a DHCP server lends to a card; all but `seconds` and `named` as in the network. */
struct lease { uint8_t card[6]; uint32_t id, address, mask, router, server, seconds, names[3]; size_t named; int bound; };
/* Whether a server gave an address. */
int lease_get(const char *card, const char *hostname, struct lease *lease);
/* Renew it in a process of its own. */
void lease_keep(const char *card, const char *hostname, struct lease *lease);

/* Copy the content of a folder, with owners, modes, times and attributes. */
void tree_copy(const char *from, const char *to);

/* Start a service as PID 1 of its own world; its pid as init sees it. */
pid_t service_start(const struct app *app, const struct service *service, int out);
/* Run its healthcheck beside the process `app`. */
pid_t check_start(const struct service *service, pid_t app, int out);
/* Become the app, an init system that brings its own world up. */
void app_become(const struct service *service) __attribute__((noreturn));
/* A cgroup for each service, with its limits and the devices that it may use. */
void limits_prepare(const struct app *app);
void limits_enter(const struct service *service);

/* The power button, to poll for input; -1 where there is none. */
int button_open(void);
/* Whether it was pressed since the last time. */
int button_pressed(int button);

/* Start all, restart and check them, until all have ended or the power button is pressed. */
void services_run(struct app *app);

#endif
