/* PID 1: brings the world up, runs the app, waits, powers off. */
#define _GNU_SOURCE
#include "init.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/input.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Docker's restart back-off: 100 ms, doubled to a minute; forgotten after ten seconds of life. */
#define BACKOFF_FIRST_MS 100
#define BACKOFF_MOST_MS 60000
#define HEALTHY_MS 10000

void say(const char *format, ...) {
    char line[1024];
    va_list list;
    va_start(list, format);
    int length = vsnprintf(line, sizeof line - 2, format, list);
    va_end(list);
    if (length > (int)sizeof line - 3) length = sizeof line - 3;
    dprintf(2, "portkit: %.*s\r\n", length, line);
}

void power_off(void) {
    sync();
    umount2(ROOT, MNT_DETACH);
    mount(NULL, ROOT, NULL, MS_REMOUNT | MS_RDONLY, NULL);
    sync();
    reboot(RB_POWER_OFF);
    for (;;) pause();
}

void fail(const char *what) {
    say("cannot %s: %s", what, strerror(errno));
    power_off();
}

int read_text(const char *path, char *buffer, size_t size) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return -1;
    ssize_t count = read(file, buffer, size - 1);
    close(file);
    if (count < 0) return -1;
    buffer[count] = 0;
    return (int)count;
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* The ACPI power button is an input device; -1 where there is none. */
static int button_open(void) {
    char path[64], name[64];
    for (int i = 0; i < 8; i++) {
        snprintf(path, sizeof path, "/sys/class/input/event%d/device/name", i);
        if (read_text(path, name, sizeof name) < 0 || strncmp(name, "Power Button", 12)) continue;
        snprintf(path, sizeof path, "/dev/input/event%d", i);
        return open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    }
    return -1;
}

static int button_pressed(int button) {
    struct input_event event;
    while (read(button, &event, sizeof event) == sizeof event)
        if (event.type == EV_KEY && event.code == KEY_POWER && event.value == 1) return 1;
    return 0;
}

/* What the app writes goes to the console; 0 when nothing came. */
static int forward(int from) {
    char data[4096];
    ssize_t count = read(from, data, sizeof data);
    for (ssize_t done = 0; done < count;) {
        ssize_t part = write(1, data + done, count - done);
        if (part <= 0) break;
        done += part;
    }
    return count > 0;
}

struct run { pid_t app; int out, button, signals, stopping; int64_t kill_at; };

/* Wait until the app has ended; its wait status. */
static int watch(struct run *run, const struct config *config) {
    for (;;) {
        struct pollfd files[] = {{run->signals, POLLIN, 0}, {run->out, POLLIN, 0},
                                 {run->button, POLLIN, 0}};
        int64_t left = run->kill_at ? run->kill_at - now_ms() : -1;
        poll(files, run->button < 0 ? 2 : 3, run->kill_at && left < 0 ? 0 : (int)left);
        if (files[1].revents & POLLIN) forward(run->out);
        if (run->button >= 0 && files[2].revents && button_pressed(run->button) && !run->stopping) {
            say("stopping the app with signal %u", config->stop_signal);
            run->stopping = 1;
            run->kill_at = now_ms() + config->grace_ms;
            kill(run->app, (int)config->stop_signal);
        }
        if (run->kill_at && now_ms() >= run->kill_at) {
            say("the app did not stop within %u ms; it is killed", config->grace_ms);
            run->kill_at = 0;
            kill(run->app, SIGKILL);
        }
        struct signalfd_siginfo info;
        while (read(run->signals, &info, sizeof info) == sizeof info) continue;
        int status;
        pid_t gone;
        while ((gone = waitpid(-1, &status, WNOHANG)) > 0)
            if (gone == run->app) return status;
    }
}

static int again(const struct config *config, int code, uint32_t tries) {
    if (config->restart == 1) return 1;
    return config->restart == 2 && code && (!config->retries || tries < config->retries);
}

static void run_app(struct config *config) {
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    int pipes[2];
    if (pipe2(pipes, O_CLOEXEC)) fail("make a pipe");
    fcntl(pipes[0], F_SETFL, O_NONBLOCK);
    struct run run = {0, pipes[0], button_open(), signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC),
                      0, 0};
    int64_t wait = BACKOFF_FIRST_MS;
    for (uint32_t tries = 0;; tries++) {
        int64_t begun = now_ms();
        run.app = app_start(config, pipes[1]);
        int status = watch(&run, config);
        while (forward(run.out)) continue;
        int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        say("app exited with code %d", code);
        config_restart(config);
        if (run.stopping || !again(config, code, tries)) return;
        if (now_ms() - begun > HEALTHY_MS) wait = BACKOFF_FIRST_MS;
        struct timespec pause = {wait / 1000, wait % 1000 * 1000000};
        nanosleep(&pause, NULL);
        wait = wait * 2 > BACKOFF_MOST_MS ? BACKOFF_MOST_MS : wait * 2;
        say("starting the app again");
    }
}

int main(void) {
    mkdir("/dev", 0755), mkdir("/proc", 0755), mkdir("/sys", 0755), mkdir(ROOT, 0755);
    mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755");
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    int console = open("/dev/console", O_RDWR | O_NOCTTY);
    for (int number = 0; number < 3 && console >= 0; number++) dup2(console, number);
    if (console > 2) close(console);
    static struct config config;
    modules_load();
    root_mount();
    config_load(&config);
    network_up(&config);
    volumes_mount(&config);
    world_mount(&config);
    say("starting %s", config.argv[0]);
    if (config.init_system) app_become(&config);
    run_app(&config);
    power_off();
}
