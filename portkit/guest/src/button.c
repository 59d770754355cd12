/* The power button, by which a host asks the guest to stop. */
#define _GNU_SOURCE
#include "init.h"

#include <fcntl.h>
#include <linux/gpio.h>
#include <linux/input.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int wire; /* the button is one, not an input device */

/* Without ACPI, QEMU's arm64 machine pulses the wire 3 of its GPIO controller (hw/arm/virt.c,
 * create_gpio_keys), and Debian's kernel has no driver of keys for it: the line is read as it is. */
static int wire_open(void) {
    struct gpio_v2_line_request request = {.num_lines = 1, .offsets = {3}, .consumer = "portkit"};
    request.config.flags = GPIO_V2_LINE_FLAG_INPUT | GPIO_V2_LINE_FLAG_EDGE_RISING;
    int chip = open("/dev/gpiochip0", O_RDONLY | O_CLOEXEC);
    if (chip < 0) return -1;
    int failed = ioctl(chip, GPIO_V2_GET_LINE_IOCTL, &request);
    close(chip);
    if (failed) return -1;
    fcntl(request.fd, F_SETFD, FD_CLOEXEC);
    fcntl(request.fd, F_SETFL, O_NONBLOCK);
    wire = 1;
    return request.fd;
}

/* The ACPI power button is an input device; -1 where there is none. */
int button_open(void) {
    char path[64], name[64];
    for (int i = 0; i < 8; i++) {
        snprintf(path, sizeof path, "/sys/class/input/event%d/device/name", i);
        if (read_text(path, name, sizeof name) < 0 || strncmp(name, "Power Button", 12)) continue;
        snprintf(path, sizeof path, "/dev/input/event%d", i);
        return open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    }
    return wire_open();
}

int button_pressed(int button) {
    struct gpio_v2_line_event edge;
    if (wire) return read(button, &edge, sizeof edge) == sizeof edge;
    struct input_event event;
    while (read(button, &event, sizeof event) == sizeof event)
        if (event.type == EV_KEY && event.code == KEY_POWER && event.value == 1) return 1;
    return 0;
}
