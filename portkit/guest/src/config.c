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
#define MOST (16u << 20)

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

/* The records of a file, or NULL where it is no configuration. whole: one that is damaged is the end,
 * for there is nothing to run by. */
static unsigned char *load(const char *path, uint32_t *size, int whole) {
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
            if (whole) fail("read the configuration");
            free(body);
            body = NULL;
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

static int grow(size_t count, size_t most) {
    if (count < most) return 1;
    errno = E2BIG;
    fail("use the configuration");
}

#define ADD(list, count, most, value) \
    do { if (grow(count, most)) (list)[(count)++] = (value); } while (0)

static void numbers(struct service *service, const unsigned char *data) {
    service->umask = word(data), service->stop_signal = word(data + 4);
    service->grace_ms = word(data + 8), service->restart = data[12];
    /* The host writes it: portkit/remote/standing.py. */
    service->rests = data[13] == 1, service->was_ill = data[13] == 2;
    service->retries = word(data + 16), service->read_only = (int)word(data + 20);
    service->privileged = (int)word(data + 24), service->capabilities = wide(data + 28);
}

/* Number of the volume disk (-1: a tmpfs), flags, bytes of a tmpfs, target; flags: 1 read only, 2 a
 * tmpfs' mode is told, which is in the upper half. */
static struct mount_row mount_of(const unsigned char *data, uint32_t size) {
    uint32_t flags = word(data + 4);
    return (struct mount_row){text(data + 16, size - 16), (int32_t)word(data), flags & 1,
                              wide(data + 8), flags >> 1 & 1, flags >> 16};
}

/* Kind, uid, gid, mode, time, length of the path, path, content. */
static struct file_row file_of(const unsigned char *data, uint32_t size) {
    struct file_row row = {NULL, word(data), word(data + 4), word(data + 8), word(data + 12),
                           wide(data + 16), NULL, 0};
    uint32_t length = word(data + 24);
    if (length > size - 28) length = size - 28;
    row.path = text(data + 28, length);
    row.size = size - 28 - length;
    row.data = (unsigned char *)text(data + 28 + length, (uint32_t)row.size);
    return row;
}

static void file_add(struct service *service, const unsigned char *data, uint32_t size) {
    if (!service->contentc || size < 28) return;
    struct content_row *content = &service->contents[service->contentc - 1];
    if (content->filec == content->room) {
        content->room = content->room ? 2 * content->room : 8;
        content->files = realloc(content->files, content->room * sizeof *content->files);
        if (!content->files) fail("get memory");
    }
    content->files[content->filec++] = file_of(data, size);
}

static void check_numbers(struct service *service, const unsigned char *data) {
    service->check_interval_ms = word(data), service->check_timeout_ms = word(data + 4);
    service->check_start_ms = word(data + 8), service->check_retries = word(data + 12);
}

/* What only a service among several has. */
static void record_of_several(struct service *s, char tag, const unsigned char *data,
                              uint32_t size) {
    switch (tag) {
    case 'R': s->layers = text(data, size); break;
    case 'O': s->hosts = text(data, size); break;
    case 'X': s->resolv = text(data, size); break;
    case 'I': if (size == 8) s->network = word(data), s->address = word(data + 4); break;
    case 'D':
        if (size == 12)
            ADD(s->needs, s->needc, 64,
                ((struct need){word(data), word(data + 4), word(data + 8)}));
        break;
    case 'K': ADD(s->check, s->checkc, 255, text(data, size)); break;
    case 'T': if (size == 16) check_numbers(s, data); break;
    case 'C': /* memory, processor time in each 100 ms, processes; 0 is no limit */
        if (size == 20)
            s->memory = wide(data), s->cpu_quota = wide(data + 8), s->pids = word(data + 16);
        break;
    case 'M': if (size == 8) s->shm_bytes = wide(data); break;
    case 'J': if (size == 4) s->oom_score = (int32_t)word(data); break;
    case 'Q': s->no_new_privileges = 1; break;
    case 'Y': ADD(s->sysctls, s->sysctlc, 63, text(data, size)); break;
    case 'F':
        if (size > 8)
            ADD(s->contents, s->contentc, 256,
                ((struct content_row){text(data + 8, size - 8), word(data), word(data + 4) & 1,
                                      NULL, 0, 0}));
        break;
    case 'f': file_add(s, data, size); break;
    default: say("an unknown record %c in the configuration", tag);
    }
}

static void record(struct service *s, char tag, const unsigned char *data, uint32_t size) {
    switch (tag) {
    case 'A': ADD(s->argv, s->argc, MAX_LIST - 1, text(data, size)); break;
    case 'E': ADD(s->env, s->envc, MAX_LIST - 1, text(data, size)); break;
    case 'G': ADD(s->groups, s->groupc, 63, text(data, size)); break;
    case 'W': s->cwd = text(data, size); break;
    case 'U': s->user = text(data, size); break;
    case 'H': s->hostname = text(data, size); break;
    case 'N': if (size == NUMBERS) numbers(s, data); break;
    case 'L':
        if (size == 20)
            ADD(s->limits, s->limitc, 16,
                ((struct limit_row){word(data), wide(data + 4), wide(data + 12)}));
        break;
    case 'P': s->minded = 1; break;
    case 'V': if (size >= 17) ADD(s->mounts, s->mountc, 256, mount_of(data, size)); break;
    default: record_of_several(s, tag, data, size);
    }
}

static struct service *service_add(struct app *app) {
    struct service *made = calloc(1, sizeof *made);
    if (!made) fail("get memory");
    made->net = -1;
    ADD(app->services, app->count, MAX_SERVICES, made);
    return made;
}

static char device[32];

/* The record at `at`, or 0 at the end. */
static uint32_t record_at(const unsigned char *body, uint32_t size, uint32_t at) {
    if (at + 5 > size) return 0;
    uint32_t length = word(body + at + 1);
    return length > size - at - 5 ? 0 : 5 + length;
}

/* A record S begins a service among several; without one there is one service. */
static void records(struct app *app, const unsigned char *body, uint32_t size) {
    struct service *current = NULL;
    for (uint32_t at = 0, step; (step = record_at(body, size, at)); at += step) {
        if (body[at] == 'S') {
            current = service_add(app);
            current->name = text(body + at + 5, step - 5);
            continue;
        }
        if (!current) current = service_add(app);
        record(current, (char)body[at], body + at + 5, step - 5);
    }
}

void config_restart(struct service *service, size_t index) {
    uint32_t size = 0;
    size_t number = 0;
    int file = *device ? open(device, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    ioctl(file, BLKFLSBUF); /* what was read at the start is no news */
    close(file);
    unsigned char *body = load(device, &size, 0); /* it may be written just now */
    for (uint32_t at = 0, step; body && (step = record_at(body, size, at)); at += step) {
        if (body[at] == 'S') number++;
        if (body[at] != 'N' || step != NUMBERS + 5 || (number && number - 1 != index)) continue;
        service->restart = body[at + 5 + 12];
        service->retries = word(body + at + 5 + 16);
    }
    free(body);
}

static int is_init_system(const char *path) {
    static const char *const known[] = {"/sbin/init", "/usr/sbin/init", "/lib/systemd/systemd",
                                        "/usr/lib/systemd/systemd"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(path, known[i])) return 1;
    return 0;
}

static void complete(struct service *service, size_t index) {
    if (!service->argc || !service->cwd || !service->user || !service->hostname ||
        (service->name && !service->layers)) {
        errno = EINVAL;
        fail("use the configuration");
    }
    service->init_system = !service->name && is_init_system(service->argv[0]);
    if (!service->shm_bytes) service->shm_bytes = 64 << 20;
    if (service->name) snprintf(service->root, sizeof service->root, "/s/%zu", index);
    else strcpy(service->root, DISK);
}

void config_load(struct app *app) {
    uint32_t size = 0;
    unsigned char *body = NULL;
    for (char letter = 'a'; letter <= 'z' && !body; letter++) {
        snprintf(device, sizeof device, "/dev/vd%c", letter);
        body = load(device, &size, 1);
    }
    if (!body) *device = 0, body = load("/default", &size, 1);
    if (!body) {
        errno = ENOENT;
        fail("find a configuration");
    }
    records(app, body, size);
    if (!app->count) {
        errno = EINVAL;
        fail("use the configuration");
    }
    for (size_t i = 0; i < app->count; i++) complete(app->services[i], i);
    for (size_t i = 0; i < app->count; i++)
        for (size_t n = 0; n < app->services[i]->needc; n++)
            if (app->services[i]->needs[n].service >= app->count) {
                errno = EINVAL;
                fail("use the configuration");
            }
    free(body);
}
