/* The init of a portkit disk: PID 1 of the guest, from the initrd to the power-off. */
#ifndef PORTKIT_INIT_H
#define PORTKIT_INIT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ROOT "/root"
#define MAX_LIST 4096

/* As portkit/guest/config.py writes it. Lists end with NULL. */
struct mount_row { char *target; int volume; int read_only; uint64_t bytes; int mode_told; uint32_t mode; };
struct limit_row { uint32_t resource; uint64_t soft, hard; };
struct config {
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
    int read_only, privileged;
    int init_system;         /* the app is one: it becomes PID 1 itself */
};

void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Say what cannot be done and why (errno), then power off: there is nobody to ask. */
void fail(const char *what) __attribute__((noreturn));
int read_text(const char *path, char *buffer, size_t size);
void power_off(void) __attribute__((noreturn));

void config_load(struct config *config);
/* The restart policy as the configuration disk has it now: a Move puts it into force last. */
void config_restart(struct config *config);

void modules_load(void);
/* Path of the block device whose sysfs `file` holds the line `wanted`; 0 when there is none. */
int device_find(const char *file, const char *wanted, char *path, size_t size);
void root_mount(void);
void volumes_mount(const struct config *config);
void world_mount(const struct config *config);

void network_up(const struct config *config);

/* Copy the content of a folder, with owners, modes, times and attributes. */
void tree_copy(const char *from, const char *to);

/* Start the app as PID 1 of its own world; its pid as init sees it. */
pid_t app_start(const struct config *config, int out);

/* Become the app, an init system that brings its own world up. */
void app_become(const struct config *config) __attribute__((noreturn));

#endif
