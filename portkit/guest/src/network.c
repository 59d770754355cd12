/* QEMU's user-mode network: 10.0.2.15/24, router 10.0.2.2. By ioctl, at once: DHCP costs a second. */
#define _GNU_SOURCE
#include "init.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static void address(struct sockaddr *to, const char *text) {
    struct sockaddr_in *inet = (struct sockaddr_in *)to;
    inet->sin_family = AF_INET;
    inet_pton(AF_INET, text, &inet->sin_addr);
}

static int up(int any, const char *name) {
    struct ifreq request = {0};
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    if (ioctl(any, SIOCGIFFLAGS, &request)) return -1;
    request.ifr_flags |= IFF_UP;
    return ioctl(any, SIOCSIFFLAGS, &request);
}

void network_up(const struct config *config) {
    if (sethostname(config->hostname, strlen(config->hostname))) fail("set the hostname");
    int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (any < 0 || up(any, "lo")) fail("bring lo up");
    struct ifreq request = {0};
    strcpy(request.ifr_name, "eth0");
    if (up(any, "eth0")) {
        say("no network: %s", strerror(errno));
        close(any);
        return;
    }
    address(&request.ifr_addr, "10.0.2.15");
    if (ioctl(any, SIOCSIFADDR, &request)) fail("set the address");
    address(&request.ifr_netmask, "255.255.255.0");
    if (ioctl(any, SIOCSIFNETMASK, &request)) fail("set the netmask");
    struct rtentry route = {0};
    address(&route.rt_dst, "0.0.0.0");
    address(&route.rt_genmask, "0.0.0.0");
    address(&route.rt_gateway, "10.0.2.2");
    route.rt_flags = RTF_UP | RTF_GATEWAY;
    if (ioctl(any, SIOCADDRT, &route) && errno != EEXIST) fail("set the route");
    close(any);
    /* As Docker sets it in a container: an app without rights may bind low ports. */
    int file = open("/proc/sys/net/ipv4/ip_unprivileged_port_start", O_WRONLY | O_CLOEXEC);
    if (file >= 0) {
        if (write(file, "0", 1) != 1) say("low ports need rights here");
        close(file);
    }
    file = open("/proc/sys/net/ipv4/ping_group_range", O_WRONLY | O_CLOEXEC);
    if (file >= 0) {
        if (write(file, "0 2147483647", 12) != 12) say("ping needs rights here");
        close(file);
    }
}
