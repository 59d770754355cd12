/* PID 1: brings the world up, runs the App, powers off. */
#define _GNU_SOURCE
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static int state = -1; /* the second serial port: what is said comes there alone */

static void state_open(void) {
#ifdef __aarch64__
    static const char port[] = "/dev/ttyS0"; /* a card: the machine's own port is a ttyAMA0 */
#else
    static const char port[] = "/dev/ttyS1";
#endif
    state = open(port, O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (state >= 0) fcntl(state, F_SETFL, 0); /* from now on a write waits until there is room */
}

void say(const char *format, ...) {
    char line[1024];
    va_list list;
    va_start(list, format);
    int length = vsnprintf(line, sizeof line - 2, format, list);
    va_end(list);
    if (length > (int)sizeof line - 3) length = sizeof line - 3;
    dprintf(2, "portkit: %.*s\r\n", length, line);
    if (state >= 0 && dprintf(state, "portkit: %.*s\r\n", length, line) < 0) {
        close(state); /* this machine has no such port */
        state = -1;
    }
}

void power_off(void) {
    if (state >= 0) tcdrain(state);
    sync();
    umount2(DISK, MNT_DETACH);
    mount(NULL, DISK, NULL, MS_REMOUNT | MS_RDONLY, NULL);
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

int write_text(const char *path, const char *text) {
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0) return -1;
    ssize_t count = write(file, text, strlen(text));
    close(file);
    return count == (ssize_t)strlen(text) ? 0 : -1;
}

int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

int main(void) {
    mkdir("/dev", 0755), mkdir("/proc", 0755), mkdir("/sys", 0755), mkdir(DISK, 0755);
    mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755");
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    int console = open("/dev/console", O_RDWR | O_NOCTTY);
    for (int number = 0; number < 3 && console >= 0; number++) dup2(console, number);
    if (console > 2) close(console);
    struct termios settings;
    /* Or a Ctrl-S of somebody who watches would stop everything that waits for its output. */
    if (!tcgetattr(1, &settings)) settings.c_iflag &= ~(tcflag_t)IXON, tcsetattr(1, TCSANOW, &settings);
    state_open();
    static struct app app;
    modules_load("order");
    disk_mount();
    config_load(&app);
    int several = app.services[0]->name != NULL;
    if (several) modules_load("several");
    network_up(&app);
    mkdir("/run", 0755);
    mount("tmpfs", "/run", "tmpfs", 0, "mode=0755");
    for (size_t i = 0; i < app.count; i++) world_mount(app.services[i]);
    if (several) limits_prepare(&app);
    if (app.services[0]->init_system) {
        say("starting %s", app.services[0]->argv[0]);
        app_become(app.services[0]);
    }
    services_run(&app);
    power_off();
}
