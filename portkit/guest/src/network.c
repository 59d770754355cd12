/* QEMU's user-mode network: 10.0.2.0/24, router 10.0.2.2. By ioctl, at once: DHCP costs a second.
 * Where the initrd has the file /dhcp, the disk is for other hosts, and a server is asked.
 *
 * An App of one service has 10.0.2.15. Of several, each has a network namespace and an address of
 * its own; a bridge joins them and the guest's one card, so that QEMU reaches every one of them. */
#define _GNU_SOURCE
#include "init.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <linux/veth.h>
#include <net/if.h>
#include <net/route.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define GUEST 15 /* last byte of the guest's own address */

char guest_address[16] = "10.0.2.15", guest_resolver[128] = "nameserver 10.0.2.3\n";

static void address(struct sockaddr *to, const char *text) {
    struct sockaddr_in *inet = (struct sockaddr_in *)to;
    inet->sin_family = AF_INET;
    inet_pton(AF_INET, text, &inet->sin_addr);
}

static int any_socket(void) {
    int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (any < 0) fail("open a socket");
    return any;
}

static int up(int any, const char *name) {
    struct ifreq request = {0};
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    if (ioctl(any, SIOCGIFFLAGS, &request)) return -1;
    request.ifr_flags |= IFF_UP;
    return ioctl(any, SIOCSIFFLAGS, &request);
}

/* router: "" for none. */
static void address_give(int any, const char *name, const char *own, const char *mask,
                         const char *router) {
    struct ifreq request = {0};
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    address(&request.ifr_addr, own);
    if (ioctl(any, SIOCSIFADDR, &request)) fail("set the address");
    address(&request.ifr_netmask, mask);
    if (ioctl(any, SIOCSIFNETMASK, &request)) fail("set the netmask");
    if (!*router) return;
    struct rtentry route = {0};
    address(&route.rt_dst, "0.0.0.0");
    address(&route.rt_genmask, "0.0.0.0");
    address(&route.rt_gateway, router);
    route.rt_flags = RTF_UP | RTF_GATEWAY;
    if (ioctl(any, SIOCADDRT, &route) && errno != EEXIST) fail("set the route");
}

static void address_set(int any, const char *name, unsigned last) {
    char text[32];
    snprintf(text, sizeof text, "10.0.2.%u", last);
    address_give(any, name, text, "255.255.255.0", "10.0.2.2");
}

static void written(uint32_t number, char *text) { inet_ntop(AF_INET, &number, text, 16); }

/* The address that a server gives; without one the app runs and is not reached. */
static void address_ask(int any, const char *name, const char *hostname) {
    struct lease lease;
    char mask[16] = "255.255.255.0", router[16] = "", server[16];
    if (!lease_get(name, hostname, &lease)) {
        say("no DHCP server gives this machine an address");
        return;
    }
    written(lease.address, guest_address);
    if (lease.mask) written(lease.mask, mask);
    if (lease.router) written(lease.router, router);
    address_give(any, name, guest_address, mask, router);
    *guest_resolver = 0;
    for (size_t i = 0; i < lease.named; i++) {
        written(lease.names[i], server);
        strcat(strcat(strcat(guest_resolver, "nameserver "), server), "\n");
    }
    say("address %s", guest_address);
    lease_keep(name, hostname, &lease);
}

/* As Docker sets it in a container: an app without rights may bind low ports, and ping. */
static void rights_give(void) {
    if (write_text("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"))
        say("low ports need rights here");
    if (write_text("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"))
        say("ping needs rights here");
}

/* ---------------------------------------------------------------- of several services */

struct message { struct nlmsghdr head; struct ifinfomsg info; char rest[512]; };

static struct rtattr *attribute(struct message *message, unsigned short type, const void *data,
                                size_t size) {
    struct rtattr *made =
        (struct rtattr *)((char *)message + NLMSG_ALIGN(message->head.nlmsg_len));
    made->rta_type = type, made->rta_len = (unsigned short)RTA_LENGTH(size);
    if (size) memcpy(RTA_DATA(made), data, size);
    message->head.nlmsg_len = NLMSG_ALIGN(message->head.nlmsg_len) + RTA_ALIGN(made->rta_len);
    return made;
}

static void attribute_end(struct message *message, struct rtattr *outer) {
    outer->rta_len = (unsigned short)((char *)message + message->head.nlmsg_len - (char *)outer);
}

/* A pair of cards: `name` here, eth0 in the namespace `net`. */
static int pair_make(const char *name, int net) {
    struct message message = {0};
    struct { struct nlmsghdr head; struct nlmsgerr error; char rest[512]; } answer;
    const struct ifinfomsg none = {0};
    message.head.nlmsg_len = NLMSG_LENGTH(sizeof message.info);
    message.head.nlmsg_type = RTM_NEWLINK;
    message.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK;
    attribute(&message, IFLA_IFNAME, name, strlen(name) + 1);
    struct rtattr *info = attribute(&message, IFLA_LINKINFO, NULL, 0);
    attribute(&message, IFLA_INFO_KIND, "veth", 4);
    struct rtattr *data = attribute(&message, IFLA_INFO_DATA, NULL, 0);
    struct rtattr *peer = attribute(&message, VETH_INFO_PEER, &none, sizeof none);
    attribute(&message, IFLA_IFNAME, "eth0", 5);
    attribute(&message, IFLA_NET_NS_FD, &net, sizeof net);
    attribute_end(&message, peer), attribute_end(&message, data), attribute_end(&message, info);
    int link = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (link < 0 || send(link, &message, message.head.nlmsg_len, 0) < 0) return -1;
    ssize_t size = recv(link, &answer, sizeof answer, 0);
    close(link);
    if (size < (ssize_t)NLMSG_LENGTH(sizeof answer.error)) return -1;
    errno = -answer.error.error;
    return answer.error.error;
}

static void bridge_add(int any, const char *name) {
    struct ifreq request = {0};
    strcpy(request.ifr_name, "br0");
    request.ifr_ifindex = (int)if_nametoindex(name);
    if (ioctl(any, SIOCBRADDIF, &request) || up(any, name)) fail("join the bridge");
}

static void namespace_fill(struct service *service, int joined) {
    int any = any_socket();
    if (up(any, "lo")) fail("bring lo up");
    rights_give();
    if (joined) {
        if (up(any, "eth0")) fail("bring eth0 up");
        address_set(any, "eth0", service->address);
    }
    close(any);
}

static void namespace_make(struct service *service, int own, int any, int bridged) {
    char name[IFNAMSIZ];
    if (unshare(CLONE_NEWNET)) fail("make a network");
    service->net = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (service->net < 0 || setns(own, CLONE_NEWNET)) fail("return to the guest's network");
    int joined = bridged && service->network == NET_OWN;
    if (joined) {
        snprintf(name, sizeof name, "veth%u", service->address);
        if (pair_make(name, service->net)) fail("make a pair of cards");
        bridge_add(any, name);
    }
    if (setns(service->net, CLONE_NEWNET)) fail("enter a network");
    namespace_fill(service, joined);
    if (setns(own, CLONE_NEWNET)) fail("return to the guest's network");
}

static void join_all(struct app *app, int any, int bridged) {
    int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (own < 0) fail("find the guest's network");
    for (size_t i = 0; i < app->count; i++) {
        struct service *service = app->services[i];
        if (service->network == NET_OWN || service->network == NET_NONE)
            namespace_make(service, own, any, bridged);
    }
    for (size_t i = 0; i < app->count; i++) {
        struct service *service = app->services[i];
        if (service->network != NET_OF) continue;
        if (service->address >= app->count) errno = EINVAL, fail("share a network");
        service->net = app->services[service->address]->net;
    }
    close(own);
}

void network_up(struct app *app) {
    const char *card = "eth0", *hostname = app->services[0]->hostname;
    int several = app->services[0]->name != NULL, any = any_socket();
    if (sethostname(hostname, strlen(hostname))) fail("set the hostname");
    if (up(any, "lo")) fail("bring lo up");
    int present = !up(any, "eth0");
    if (!present) say("no network: %s", strerror(errno));
    if (present && several) {
        if (ioctl(any, SIOCBRADDBR, card = "br0") || up(any, card)) fail("make a bridge");
        bridge_add(any, "eth0");
    }
    if (present && !access("/dhcp", F_OK)) address_ask(any, card, hostname);
    else if (present) address_set(any, card, GUEST);
    if (present) rights_give();
    if (several) join_all(app, any, present);
    close(any);
}
