/* An address from whoever gives them: a disk for other hosts has no network that is known before.
 * Source: RFC 2131 and RFC 2132. By UDP: Linux takes a broadcast also where it has no address yet. */
#define _GNU_SOURCE
#include "init.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#define TRIES 10
#define TRY_MS 2000
#define RETRY_S 30
#define FOREVER 0xffffffffu

enum kind { DISCOVER = 1, OFFER = 2, REQUEST = 3, ACK = 5 };
enum option { MASK = 1, ROUTER = 3, NAMES = 6, HOSTNAME = 12, WANTED = 50, SECONDS = 51, KIND = 53,
              SERVER = 54, LIST = 55, END = 255 };

struct packet {
    uint8_t op, hardware, length, hops;
    uint32_t id;
    uint16_t seconds, flags;
    uint32_t own, yours, next, relay;
    uint8_t card[16], unused[192], magic[4], options[312];
};
#define HEAD (sizeof(struct packet) - 312)
static const uint8_t magic[4] = {99, 130, 83, 99};

static size_t put(struct packet *packet, size_t at, enum option option, const void *data, size_t size) {
    packet->options[at] = (uint8_t)option, packet->options[at + 1] = (uint8_t)size;
    memcpy(packet->options + at + 2, data, size);
    return at + 2 + size;
}

/* An option of at least `least` bytes; its size in `size`. */
static const uint8_t *option_find(const struct packet *packet, size_t end, enum option wanted,
                                  size_t least, size_t *size) {
    for (size_t at = 0; at < end && packet->options[at] != END;) {
        if (!packet->options[at]) { at++; continue; } /* padding */
        if (at + 2 > end || at + 2 + packet->options[at + 1] > end) break;
        *size = packet->options[at + 1];
        if (packet->options[at] == wanted && *size >= least) return packet->options + at + 2;
        at += 2 + *size;
    }
    return NULL;
}

static int conversation_open(const char *card) {
    const int on = 1;
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(68)};
    int talk = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (talk < 0 || setsockopt(talk, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) ||
        setsockopt(talk, SOL_SOCKET, SO_BROADCAST, &on, sizeof on) ||
        setsockopt(talk, SOL_SOCKET, SO_BINDTODEVICE, card, (socklen_t)strlen(card) + 1) ||
        bind(talk, (struct sockaddr *)&own, sizeof own)) {
        if (talk >= 0) close(talk);
        return -1;
    }
    return talk;
}

static void ask(int talk, const struct lease *lease, enum kind kind, const char *hostname) {
    struct packet packet = {.op = 1, .hardware = 1, .length = 6, .id = lease->id};
    struct sockaddr_in all = {.sin_family = AF_INET, .sin_port = htons(67),
                              .sin_addr.s_addr = INADDR_BROADCAST};
    const uint8_t word = (uint8_t)kind, list[] = {MASK, ROUTER, NAMES, SECONDS};
    /* Without the flag a server may answer to the address that this guest does not have yet. */
    packet.flags = lease->bound ? 0 : htons(0x8000);
    packet.own = lease->bound ? lease->address : 0;
    memcpy(packet.card, lease->card, 6);
    memcpy(packet.magic, magic, sizeof magic);
    size_t at = put(&packet, 0, KIND, &word, 1);
    if (kind == REQUEST && !lease->bound) {
        at = put(&packet, at, WANTED, &lease->address, 4);
        at = put(&packet, at, SERVER, &lease->server, 4);
    }
    size_t length = strlen(hostname);
    at = put(&packet, at, HOSTNAME, hostname, length > 63 ? 63 : length);
    at = put(&packet, at, LIST, list, sizeof list);
    packet.options[at] = END;
    sendto(talk, &packet, sizeof packet, 0, (struct sockaddr *)&all, sizeof all);
}

/* Whether it is the answer that is waited for; then the lease has what it says. */
static int answer_read(const struct packet *packet, size_t size, enum kind wanted, struct lease *lease) {
    size_t end = size > HEAD ? size - HEAD : 0, length = 0;
    if (!end || packet->op != 2 || packet->id != lease->id || memcmp(packet->magic, magic, 4) ||
        memcmp(packet->card, lease->card, 6) || !packet->yours)
        return 0;
    const uint8_t *kind = option_find(packet, end, KIND, 1, &length);
    if (!kind || *kind != wanted) return 0;
    if (wanted == ACK && packet->yours != lease->address) return 0;
    lease->address = packet->yours;
    const uint8_t *found = option_find(packet, end, SERVER, 4, &length);
    if (found) memcpy(&lease->server, found, 4);
    lease->mask = lease->router = 0, lease->seconds = FOREVER, lease->named = 0;
    if ((found = option_find(packet, end, MASK, 4, &length))) memcpy(&lease->mask, found, 4);
    if ((found = option_find(packet, end, ROUTER, 4, &length))) memcpy(&lease->router, found, 4);
    if ((found = option_find(packet, end, SECONDS, 4, &length))) {
        memcpy(&lease->seconds, found, 4);
        lease->seconds = ntohl(lease->seconds);
    }
    if ((found = option_find(packet, end, NAMES, 4, &length)))
        for (; lease->named < 3 && (lease->named + 1) * 4 <= length; lease->named++)
            memcpy(&lease->names[lease->named], found + lease->named * 4, 4);
    return 1;
}

/* Ask until there is an answer, or none comes in time. */
static int talk_once(int talk, struct lease *lease, enum kind kind, enum kind wanted,
                     const char *hostname) {
    struct packet packet;
    struct pollfd file = {talk, POLLIN, 0};
    ask(talk, lease, kind, hostname);
    int64_t end = now_ms() + TRY_MS, left;
    while ((left = end - now_ms()) > 0) {
        if (poll(&file, 1, (int)left) <= 0) continue;
        ssize_t size = recv(talk, &packet, sizeof packet, 0);
        if (size > 0 && answer_read(&packet, (size_t)size, wanted, lease)) return 1;
    }
    return 0;
}

int lease_get(const char *card, const char *hostname, struct lease *lease) {
    struct ifreq request = {0};
    memset(lease, 0, sizeof *lease);
    int talk = conversation_open(card), got = 0;
    if (talk < 0) return 0;
    strncpy(request.ifr_name, card, IFNAMSIZ - 1);
    if (!ioctl(talk, SIOCGIFHWADDR, &request)) memcpy(lease->card, request.ifr_hwaddr.sa_data, 6);
    if (getrandom(&lease->id, sizeof lease->id, GRND_NONBLOCK) < 0) lease->id = (uint32_t)now_ms();
    for (int tries = 0; tries < TRIES && !got; tries++)
        got = talk_once(talk, lease, DISCOVER, OFFER, hostname) &&
              talk_once(talk, lease, REQUEST, ACK, hostname);
    close(talk);
    lease->bound = got;
    return got;
}

/* Beside the app, for as long as the guest runs: a lease that nobody renews ends, and its address
 * may be given to another machine. */
void lease_keep(const char *card, const char *hostname, struct lease *lease) {
    if (lease->seconds == FOREVER) return;
    pid_t child = fork();
    if (child < 0) say("the address is not renewed: %s", strerror(errno));
    if (child) return;
    for (;;) {
        uint32_t half = lease->seconds / 2;
        sleep(half > RETRY_S ? half : RETRY_S);
        int talk = conversation_open(card), kept = 0;
        for (int tries = 0; talk >= 0 && tries < TRIES && !kept; tries++)
            kept = talk_once(talk, lease, REQUEST, ACK, hostname);
        if (talk >= 0) close(talk);
        if (!kept) say("the address was not renewed"), lease->seconds = 0;
    }
}
