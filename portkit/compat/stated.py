"""What the App's file states in x-portkit.needs, against what the host or the guest gives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from portkit.compat import guest
from portkit.compat.own import OF_IPC, is_of_the_host
from portkit.compat.rule import Case, Found, UnknownFact, engine_of, linux_of, one_by_one
from portkit.compat.versions import version
from portkit.model import Form, Linux

_SHM_BYTES = 64 << 20  # /dev/shm of a container that asks for nothing, and of the guest's services
_GUEST_HUGE_PAGE_BYTES = 2 << 20
# Settings by which a kernel restricts programs: what an App needs is that much, or less.
_RESTRICTIONS = frozenset(
    (
        "kernel.apparmor_restrict_unprivileged_userns",
        "kernel.dmesg_restrict",
        "kernel.io_uring_disabled",
        "kernel.kptr_restrict",
        "kernel.perf_event_paranoid",
        "kernel.unprivileged_bpf_disabled",
        "kernel.yama.ptrace_scope",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv6.conf.all.disable_ipv6",
        "net.ipv6.conf.default.disable_ipv6",
    )
)
_BY_ENGINE = {"net.ipv4.ip_unprivileged_port_start": 0}
# What a new network takes from the host's (Linux, net/ipv4/devinet.c and tcp_ipv4.c), and what an
# engine sets in it as its networks are.
_INHERITED = re.compile(
    r"net\.ipv4\.(conf\.|ip_forward$|tcp_[rw]mem|tcp_\w*congestion)|net\.ipv6\.conf\."
)
_SAME_SINCE = (5, 4)  # before it, net.core.somaxconn began with 128
# The option of the kernel that each of the modules is made by, or is built in with, that are looked
# for on every host (portkit/remote/linux_names.py); "" for those that are no part of Linux.
_OPTIONS = {
    "8021q": "VLAN_8021Q",
    "br_netfilter": "BRIDGE_NETFILTER",
    "bridge": "BRIDGE",
    "dummy": "DUMMY",
    "fuse": "FUSE_FS",
    "ip6_tables": "IP6_NF_IPTABLES",
    "ip6table_filter": "IP6_NF_FILTER",
    "ip6table_nat": "IP6_NF_NAT",
    "ip_tables": "IP_NF_IPTABLES",
    "ip_vs": "IP_VS",
    "iptable_filter": "IP_NF_FILTER",
    "iptable_mangle": "IP_NF_MANGLE",
    "iptable_nat": "IP_NF_NAT",
    "iptable_raw": "IP_NF_RAW",
    "ipvlan": "IPVLAN",
    "kvm": "KVM",
    "kvm_amd": "KVM_AMD",
    "kvm_intel": "KVM_INTEL",
    "loop": "BLK_DEV_LOOP",
    "macvlan": "MACVLAN",
    "nbd": "BLK_DEV_NBD",
    "nf_conntrack": "NF_CONNTRACK",
    "nf_nat": "NF_NAT",
    "nf_tables": "NF_TABLES",
    "nfs": "NFS_FS",
    "nfsd": "NFSD",
    "nft_compat": "NFT_COMPAT",
    "nvidia": "",
    "overlay": "OVERLAY_FS",
    "ppp_generic": "PPP",
    "rbd": "BLK_DEV_RBD",
    "sctp": "IP_SCTP",
    "snd_aloop": "SND_ALOOP",
    "tun": "TUN",
    "uinput": "INPUT_UINPUT",
    "v4l2loopback": "",
    "veth": "VETH",
    "vfio": "VFIO",
    "vhost_net": "VHOST_NET",
    "vxlan": "VXLAN",
    "wireguard": "WIREGUARD",
    "xfs": "XFS_FS",
    "zfs": "",
}
# What the facts of an older portkit are known to have looked for.
_ALWAYS = frozenset(_OPTIONS) - {"nft_compat"}


def sysctls(case: Case) -> Iterator[Found]:
    """A value of a kernel's setting that the App checks for, or does not work without."""
    stated = case.spec.stated
    names = dict.fromkeys((*stated.sysctls, *stated.sysctls_most))
    yield from one_by_one(names, partial(_sysctl, case))


def _sysctl(case: Case, name: str) -> Iterator[Found]:
    stated = case.spec.stated
    least, most = stated.sysctls.get(name), stated.sysctls_most.get(name)
    if name in _RESTRICTIONS and most is None:
        least, most = None, least
    disk = case.form is Form.DISK
    has = value_in_guest(case, name) if disk else _value(case, name)
    where = "the VM" if disk else case.facts.host
    told = f"x-portkit.needs.sysctls: {name}"
    if has is None:
        yield Found(f"the VM's kernel has no {name}", (told, where), "Move the image instead.")
    elif (low := least is not None and has < least) or (most is not None and has > most):
        wanted = least if low else most
        yield Found(
            f"{name} is {has}, and the app needs {wanted}{'' if low else ' at most'}",
            (told, where),
            f"In the compose file: sysctls: {{{name}: {wanted}}}."
            if disk or is_own(case, name)
            else f"On the host: sysctl -w {name}={wanted}.",
        )


def value_in_guest(case: Case, name: str) -> int | None:
    """What a setting of the guest is when the service starts; None where its kernel has none. In a
    VM a sysctl of the compose file is the machine's own, or that of the service's network."""
    own = case.spec.sysctls.get(name, "")
    return int(own) if own.isdecimal() else guest.begins_with(case, name)


def _value(case: Case, name: str) -> int:
    """What a setting is for a container on the host. UnknownFact where nobody knows."""
    linux, told = linux_of(case.facts), case.spec.sysctls.get(name, "")
    has: int | None
    if not is_own(case, name):
        has = linux.number(name)
    elif told.isdecimal():
        has = int(told)
    elif name in _BY_ENGINE:  # Docker from 20.10 on; portkit sets it with Podman
        old = () < version(case.facts.docker_version) < (20, 10)
        has = linux.number(name) if old and not engine_of(case.facts).podman else _BY_ENGINE[name]
    elif _INHERITED.match(name):
        has = linux.number(name)
    else:
        new = version(case.facts.kernel) >= _SAME_SINCE
        has = guest.kernel_default(name) if new else None
    if has is None:
        raise UnknownFact(name if name not in linux.sought else f"{name}, which is not there")
    return has


def is_own(case: Case, name: str) -> bool:
    """Whether a container has this setting for itself: in its network, or among its shared memory
    and queues."""
    if name.startswith("net."):
        own = not is_of_the_host(name, linux_of(case.facts).net_sysctls)
        return own and case.spec.network_mode != "host"
    return bool(OF_IPC.fullmatch(name)) and case.spec.ipc != "host"


def modules(case: Case) -> Iterator[Found]:
    """A kernel module that the App needs: loaded, built in, or available to be loaded."""
    yield from one_by_one(case.spec.stated.modules, partial(_module, case))


def _module(case: Case, name: str) -> Iterator[Found]:
    told = f"x-portkit.needs.modules: {name}"
    if case.form is Form.DISK:
        if not guest.has_module(case, name):
            yield Found(
                f"the VM's kernel has no {name}, and loads no modules",
                (told,),
                "Move the image instead, to a host whose kernel has it.",
            )
        return
    has = has_module(linux_of(case.facts), name)
    if has is None:
        raise UnknownFact(f"whether its kernel has {name}")
    if not has:
        yield Found(
            f"the host's kernel has no {name}", (told, f"{case.facts.host}: {case.facts.kernel}")
        )


def has_module(linux: Linux, name: str) -> bool | None:
    """Whether the kernel has this one, built in or as a module; None where nobody knows."""
    name = name.replace("-", "_")
    if name in (linux.modules or ()) or name in (linux.loadable or ()):
        return True
    option = _OPTIONS.get(name)
    told = linux.config.get(option or "")
    if told in ("y", "n"):
        return told == "y"
    if linux.config.get("MODULES") == "n" and (option == "" or told == "m"):
        return False
    # "m" without the file, or no configuration: absent where all files of modules were seen, and it
    # was looked for among them.
    looked = name in (linux.sought or _ALWAYS)
    return False if linux.loadable is not None and (told == "m" or looked) else None


def huge_pages(case: Case) -> Iterator[Found]:
    """The host reserves huge pages; without them, an App that wants them ends, or swaps."""
    wanted = case.spec.stated.huge_page_bytes
    if not wanted:
        return
    if case.form is Form.DISK:
        size = _GUEST_HUGE_PAGE_BYTES
        has: int | None = (value_in_guest(case, "vm.nr_hugepages") or 0) * size
    else:
        linux = linux_of(case.facts)
        free, size = linux.hugepages_free, linux.hugepage_bytes or _GUEST_HUGE_PAGE_BYTES
        has = None if free is None else free * linux.hugepage_bytes
    if has is None:
        raise UnknownFact("how many huge pages are free")
    if has < wanted:
        number = -(-wanted // size)
        yield Found(
            f"the app needs {wanted} bytes of huge pages, and {has} bytes are free",
            ("x-portkit.needs.huge_pages", "the VM" if case.form is Form.DISK else case.facts.host),
            f"In the compose file: sysctls: {{vm.nr_hugepages: {number}}}."
            if case.form is Form.DISK
            else f"On the host: sysctl -w vm.nr_hugepages={number}.",
        )


def shared_memory(case: Case) -> Iterator[Found]:
    """A service has 64 MiB of shared memory if its file does not ask for more."""
    wanted, has = case.spec.stated.shm_bytes, case.spec.shm_bytes or _SHM_BYTES
    if case.spec.ipc == "host" and case.form is Form.IMAGE:
        return  # the host's own, which is half of its memory
    if wanted > has:
        yield Found(
            f"the app needs {wanted} bytes of shared memory, and the service has {has}",
            ("x-portkit.needs.shared_memory", f"shm_size: {has}"),
            f"In the compose file: shm_size: {wanted}.",
        )


def open_files(case: Case) -> Iterator[Found]:
    """A service may not open more files than its own limit, whatever the host allows."""
    wanted, limit = case.spec.stated.open_files, case.spec.ulimits.get("nofile")
    if limit is not None and 0 <= limit.hard < wanted:
        yield Found(
            f"the app needs {wanted} open files, and the service may open {limit.hard}",
            ("x-portkit.needs.open_files", f"ulimits.nofile: {limit.hard}"),
            f"In the compose file: ulimits: {{nofile: {wanted}}}.",
        )
