/* The configuration: "PORTKIT1", length and CRC-32 of the rest (little endian), then records of a
 * tag, a length and that many bytes. Written by portkit/guest/config.py. */
#define _GNU_SOURCE
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define HEAD 16
#define NUMBERS 36 /* bytes of the record N */
#define MOST (4u << 20)

static uint32_t word(const unsigned char *at) {
    return at[0] | at[1] << 8 | at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint64_t wide(const unsigned char *at) { return word(at) | (uint64_t)word(at + 4) << 32; }

/* CRC-32 of IEEE 802.3, as zlib.crc32. */
static uint32_t checksum(const unsigned char *data, size_t size) {
    uint32_t sum = ~0u;
    for (size_t i = 0; i < size; i++) {
        sum ^= data[i];
        for (int bit = 0; bit < 8; bit++) sum = sum >> 1 ^ (0xEDB88320u & -(sum & 1));
    }
    return ~sum;
}

static void *memory(size_t size) {
    void *made = malloc(size);
    if (!made) fail("get memory");
    return made;
}

/* The records of a file, or NULL where it is no configuration. */
static unsigned char *load(const char *path, uint32_t *size) {
    unsigned char head[HEAD];
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return NULL;
    unsigned char *body = NULL;
    if (read(file, head, HEAD) == HEAD && !memcmp(head, "PORTKIT1", 8)) {
        *size = word(head + 8);
        if (*size > MOST) {
            errno = EFBIG;
            fail("read the configuration");
        }
        body = memory(*size + 1);
        uint32_t done = 0;
        ssize_t part;
        while (done < *size && (part = read(file, body + done, *size - done)) > 0) done += part;
        if (done < *size || checksum(body, *size) != word(head + 12)) {
            errno = EBADMSG;
            fail("read the configuration");
        }
    }
    close(file);
    return body;
}

static char *text(const unsigned char *data, uint32_t size) {
    char *made = memory(size + 1);
    memcpy(made, data, size);
    made[size] = 0;
    return made;
}

static void record(struct config *config, char tag, const unsigned char *data, uint32_t size) {
    struct mount_row *mount = &config->mounts[config->mountc];
    struct limit_row *limit = &config->limits[config->limitc];
    uint32_t flags;
    switch (tag) {
    case 'A': if (config->argc < MAX_LIST - 1) config->argv[config->argc++] = text(data, size); break;
    case 'E': if (config->envc < MAX_LIST - 1) config->env[config->envc++] = text(data, size); break;
    case 'G': if (config->groupc < 63) config->groups[config->groupc++] = text(data, size); break;
    case 'W': config->cwd = text(data, size); break;
    case 'U': config->user = text(data, size); break;
    case 'H': config->hostname = text(data, size); break;
    case 'N': /* umask, stop signal, grace, restart, retries, read only, privileged, capabilities */
        if (size != NUMBERS) break;
        config->umask = word(data), config->stop_signal = word(data + 4);
        config->grace_ms = word(data + 8), config->restart = (int)word(data + 12);
        config->retries = word(data + 16), config->read_only = (int)word(data + 20);
        config->privileged = (int)word(data + 24), config->capabilities = wide(data + 28);
        break;
    case 'L':
        if (size != 20 || config->limitc == 16) break;
        limit->resource = word(data), limit->soft = wide(data + 4), limit->hard = wide(data + 12);
        config->limitc++;
        break;
    case 'V': /* number of the volume disk (-1: a tmpfs), flags, bytes of a tmpfs, target; flags: 1
               * read only, 2 a tmpfs' mode is told, which is in the upper half */
        if (size < 17 || config->mountc == 256) break;
        mount->volume = (int32_t)word(data), flags = word(data + 4);
        mount->read_only = flags & 1, mount->mode_told = flags >> 1 & 1, mount->mode = flags >> 16;
        mount->bytes = wide(data + 8), mount->target = text(data + 16, size - 16);
        config->mountc++;
        break;
    default: say("an unknown record %c in the configuration", tag);
    }
}

static char device[32];

/* only: the one tag that is wanted, 0 for all. */
static void records(struct config *config, const unsigned char *body, uint32_t size, char only) {
    for (uint32_t at = 0; at + 5 <= size;) {
        uint32_t length = word(body + at + 1);
        if (length > size - at - 5) break;
        if (!only || body[at] == only) record(config, (char)body[at], body + at + 5, length);
        at += 5 + length;
    }
}

void config_restart(struct config *config) {
    static struct config fresh;
    uint32_t size = 0;
    int file = *device ? open(device, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    ioctl(file, BLKFLSBUF); /* what was read at the start is no news */
    close(file);
    memset(&fresh, 0, sizeof fresh);
    unsigned char *body = load(device, &size);
    if (body) records(&fresh, body, size, 'N');
    free(body);
    config->restart = fresh.restart, config->retries = fresh.retries;
}

static int is_init_system(const char *path) {
    static const char *const known[] = {"/sbin/init", "/usr/sbin/init", "/lib/systemd/systemd",
                                        "/usr/lib/systemd/systemd"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(path, known[i])) return 1;
    return 0;
}

void config_load(struct config *config) {
    uint32_t size = 0;
    unsigned char *body = NULL;
    for (char letter = 'a'; letter <= 'z' && !body; letter++) {
        snprintf(device, sizeof device, "/dev/vd%c", letter);
        body = load(device, &size);
    }
    if (!body) *device = 0, body = load("/default", &size);
    if (!body) {
        errno = ENOENT;
        fail("find a configuration");
    }
    records(config, body, size, 0);
    if (!config->argc || !config->cwd || !config->user || !config->hostname) {
        errno = EINVAL;
        fail("use the configuration");
    }
    config->init_system = is_init_system(config->argv[0]);
    free(body);
}
