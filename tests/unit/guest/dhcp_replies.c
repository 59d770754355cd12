/* Reads replies as frames (two bytes of length, little-endian) and prints what the guest's DHCP
 * client makes of each, a line for each: whether it took it, and then its lease. With an argument,
 * all of them wait in its socket before it asks. */
#include "../../../portkit/guest/src/dhcp.c"

#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

void say(const char *format, ...) { (void)format; }

int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* What it asked for: the same as in the test. */
static const struct lease asked = {.card = {2, 0, 0, 0, 0, 1}, .id = 0x01020304, .address = 0x0a00a8c0};

static void show(int taken, const struct lease *lease) {
    printf("%d %08x %08x %08x %08x %u", taken, lease->address, lease->mask, lease->router,
           lease->server, lease->seconds);
    for (size_t i = 0; i < lease->named; i++) printf(" %08x", lease->names[i]);
    printf("\n");
    fflush(stdout);
}

int main(int argc, char **argv) {
    int pair[2] = {-1, -1}, wanted;
    uint8_t head[3];
    (void)argv;
    if (argc > 1 && socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair)) return 1;
    while (fread(head, sizeof head, 1, stdin) == 1) {
        size_t size = (size_t)(head[0] | head[1] << 8);
        wanted = head[2];
        /* Of exactly its size, so that a byte read behind it is seen. */
        uint8_t *reply = malloc(size ? size : 1);
        if (!reply || (size && fread(reply, size, 1, stdin) != 1)) return 1;
        struct lease lease = asked;
        if (argc == 1) {
            int taken = answer_read((struct packet *)reply, size, (enum kind)wanted, &lease);
            show(taken, &lease);
        } else if (send(pair[1], reply, size, 0) < 0) {
            return 1;
        }
        free(reply);
    }
    if (argc == 1) return 0;
    struct lease lease = asked;
    int taken = talk_once(pair[0], &lease, DISCOVER, OFFER, "host");
    show(taken, &lease);
    return 0;
}
