/* What an app asks of a kernel, as a program of a few KB: it ends where it does not get it.
 *
 * probe serve | maps N | shm N | huge N | files N | module KIND | listen PORT | tun | work N |
 *       find NAME | space N | ring
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void end(int signal) {
    (void)signal;
    _exit(0);
}

static int few(const char *what, unsigned long long has, const char *wanted) {
    if (has >= strtoull(wanted, NULL, 10)) return 0;
    printf("%s is %llu, and %s is needed\n", what, has, wanted);
    return 78;
}

static int maps(const char *wanted) {
    unsigned long long has = 0;
    FILE *file = fopen("/proc/sys/vm/max_map_count", "r");
    if (!file || fscanf(file, "%llu", &has) != 1) return perror("vm.max_map_count"), 1;
    fclose(file);
    return few("vm.max_map_count", has, wanted);
}

static int shared(const char *wanted) {
    struct statvfs found;
    if (statvfs("/dev/shm", &found)) return perror("/dev/shm"), 1;
    return few("/dev/shm", (unsigned long long)found.f_blocks * found.f_frsize, wanted);
}

static int huge(const char *wanted) {
    int how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB;
    void *at = mmap(NULL, strtoull(wanted, NULL, 10), PROT_READ | PROT_WRITE, how, -1, 0);
    return at == MAP_FAILED ? perror("huge pages"), 1 : 0;
}

static int files(const char *wanted) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit)) return perror("getrlimit"), 1;
    return few("the limit of open files", limit.rlim_max, wanted);
}

static int space(const char *most) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit)) return perror("getrlimit"), 1;
    if (limit.rlim_max <= strtoull(most, NULL, 10)) return 0;
    printf("the address space is not limited to %s\n", most);
    return 78;
}

static int find(const char *name) {
    struct addrinfo *found;
    int wrong = getaddrinfo(name, NULL, NULL, &found);
    if (wrong) printf("no %s: %s\n", name, gai_strerror(wrong));
    return wrong ? 68 : 0;
}

/* A network interface of a kind that a module of the kernel makes. */
static int module(const char *kind) {
    struct {
        struct nlmsghdr head;
        struct ifinfomsg info;
        struct rtattr outer, inner;
        char kind[16];
    } ask = {0};
    struct {
        struct nlmsghdr head;
        struct nlmsgerr error;
        char more[512];
    } said;
    int link = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    if (link < 0) return perror("netlink"), 1;
    strncpy(ask.kind, kind, sizeof ask.kind - 1);
    ask.head.nlmsg_len = sizeof ask;
    ask.head.nlmsg_type = RTM_NEWLINK;
    ask.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK;
    ask.inner.rta_type = IFLA_INFO_KIND;
    ask.inner.rta_len = sizeof ask.inner + sizeof ask.kind;
    ask.outer.rta_type = IFLA_LINKINFO;
    ask.outer.rta_len = sizeof ask.outer + ask.inner.rta_len;
    if (send(link, &ask, sizeof ask, 0) < 0 || recv(link, &said, sizeof said, 0) < 0)
        return perror("netlink"), 1;
    if (!said.error.error) return 0;
    printf("no interface of kind %s: %s\n", kind, strerror(-said.error.error));
    return 1;
}

static int port(const char *number) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(number))};
    int server = socket(AF_INET, SOCK_STREAM, 0);
    if (server < 0 || bind(server, (void *)&at, sizeof at) || listen(server, 9))
        return perror("listen"), 1;
    return 0;
}

/* As a VPN's client begins. */
static int tun(void) { return open("/dev/net/tun", O_RDWR) < 0 ? perror("/dev/net/tun"), 1 : 0; }

static long long now_us(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000000LL + at.tv_nsec / 1000;
}

/* So many million steps of arithmetic and memory, and for each ten thousand of them some pages of the
 * kernel's; how long each took. Whoever connects meanwhile is served by the kernel. */
static int work(const char *millions) {
    static unsigned table[1 << 16];
    long long steps = atoll(millions) * 1000000, begun, done;
    unsigned value = 1;
    if (port("80")) return 1;
    begun = now_us();
    for (long long left = steps; left > 0; left--) {
        value = value * 1664525 + 1013904223;
        table[value >> 16] += value ^ table[value & 0xffff];
    }
    done = now_us();
    for (long long left = steps / 10000; left > 0; left--) {
        char *pages = mmap(NULL, 1 << 14, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (pages == MAP_FAILED) return perror("mmap"), 1;
        for (int at = 0; at < 1 << 14; at += 1 << 12) pages[at] = value;
        munmap(pages, 1 << 14);
    }
    printf("work %lld us, kernel %lld us %u\n", done - begun, now_us() - done, table[value & 0xffff]);
    return 0;
}

#ifdef RING
/* An app that does without io_uring where it is refused, and says so. */
static int ring(void) {
    char setup[120] = {0};
    if (syscall(425, 4, setup) < 0) printf("io_uring_setup: %s\n", strerror(errno));
    return 0;
}
#endif

#ifdef SEAL
/* As gVisor's runtime begins: what the kernel does not have does no harm. */
static int seal(void) {
    void *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!syscall(462, page, 4096, 0) || errno == ENOSYS) return 0;
    return perror("mseal"), 2;
}
#endif

#ifdef SUM
static float a[4096], b[4096], c[4096];

static int sum(void) {
    for (int i = 0; i < 4096; i++) c[i] = a[i] * b[i] + c[i];
    return c[rand() % 4096] > 1.0f;
}
#endif

#ifdef BITS
static int bits(void) {
    volatile unsigned some = rand();
    return __builtin_ia32_crc32si(some, some) == 7;
}
#endif

int main(int count, char **word) {
    const char *what = count > 1 ? word[1] : "serve", *more = count > 2 ? word[2] : "0";
    int code = 0;
    signal(SIGTERM, end);
    setvbuf(stdout, NULL, _IONBF, 0);
    if (!strcmp(what, "maps")) code = maps(more);
    if (!strcmp(what, "shm")) code = shared(more);
    if (!strcmp(what, "huge")) code = huge(more);
    if (!strcmp(what, "files")) code = files(more);
    if (!strcmp(what, "module")) code = module(more);
    if (!strcmp(what, "listen")) code = port(more);
    if (!strcmp(what, "find")) code = find(more);
    if (!strcmp(what, "space")) code = space(more);
    if (!strcmp(what, "tun")) code = tun();
    if (!strcmp(what, "work")) code = work(more);
    if (!strcmp(what, "healthy")) return 0;
#ifdef RING
    code = ring();
#endif
#ifdef SEAL
    code = seal();
#endif
#ifdef SUM
    code = sum();
#endif
#ifdef BITS
    code = bits();
#endif
    if (code) return code;
    puts("up");
    for (;;) pause();
}
