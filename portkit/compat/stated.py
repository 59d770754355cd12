"""What the App's file states in x-portkit.needs, against what the host or the guest gives."""

from __future__ import annotations

from collections.abc import Iterator

from portkit.compat import guest
from portkit.compat.rule import Case, Found, UnknownFact, linux_of
from portkit.model import Form, Linux

_SHM_BYTES = 64 << 20  # /dev/shm of a container that asks for nothing, and of the guest's services
_GUEST_HUGE_PAGE_BYTES = 2 << 20
# The option of the kernel that each of these modules is made by, or is built in with.
_OPTIONS = {
    "8021q": "VLAN_8021Q",
    "dummy": "DUMMY",
    "fuse": "FUSE_FS",
    "ip_tables": "IP_NF_IPTABLES",
    "ipvlan": "IPVLAN",
    "macvlan": "MACVLAN",
    "nf_tables": "NF_TABLES",
    "overlay": "OVERLAY_FS",
    "tun": "TUN",
    "veth": "VETH",
    "wireguard": "WIREGUARD",
}


def sysctls(case: Case) -> Iterator[Found]:
    """A value of the host's kernel that the App checks for, or does not work without."""
    for name, wanted in case.spec.stated.sysctls.items():
        if case.form is Form.DISK:
            yield from _of_the_guest(case, name, wanted)
            continue
        has = _value(case, name)
        if has is None:
            raise UnknownFact(name)
        if has < wanted:
            yield Found(
                f"{name} is {has}, and the app needs {wanted}",
                (f"x-portkit.needs.sysctls: {name}", case.facts.host),
                f"On the host: sysctl -w {name}={wanted}.",
            )


def _of_the_guest(case: Case, name: str, wanted: int) -> Iterator[Found]:
    has = value_in_guest(case, name)
    if has is None:
        yield Found(
            f"the VM's kernel has no {name}",
            (f"x-portkit.needs.sysctls: {name}", "the VM"),
            "Move the image instead.",
        )
    elif has < wanted:
        yield Found(
            f"{name} is {has}, and the app needs {wanted}",
            (f"x-portkit.needs.sysctls: {name}", "the VM"),
            f"In the compose file: sysctls: {{{name}: {wanted}}}.",
        )


def value_in_guest(case: Case, name: str) -> int | None:
    """What a setting of the guest is when the service starts; None where its kernel has none. In a
    VM a sysctl of the compose file is the machine's own, or that of the service's network."""
    own = case.spec.sysctls.get(name, "")
    return int(own) if own.isdecimal() else guest.begins_with(case, name)


def _value(case: Case, name: str) -> int | None:
    told = case.spec.sysctls.get(name, "")
    # A container has its own of some; which the engine refuses to set is another rule's.
    if told.isdecimal() and name.startswith(("net.", "kernel.shm")):
        return int(told)
    return linux_of(case.facts).number(name)


def modules(case: Case) -> Iterator[Found]:
    """A kernel module that the App needs: loaded, built in, or available to be loaded."""
    for name in case.spec.stated.modules:
        told = f"x-portkit.needs.modules: {name}"
        if case.form is Form.DISK:
            if not guest.has_module(case, name):
                yield Found(
                    f"the VM's kernel has no {name}, and loads no modules",
                    (told,),
                    "Move the image instead, to a host whose kernel has it.",
                )
            continue
        has = has_module(linux_of(case.facts), name)
        if has is None:
            raise UnknownFact(f"whether its kernel has {name}")
        if not has:
            yield Found(
                f"the host's kernel has no {name}",
                (told, f"{case.facts.host}: {case.facts.kernel}"),
            )


def has_module(linux: Linux, name: str) -> bool | None:
    """Whether the kernel has this one, built in or as a module; None where nobody knows."""
    if name in (linux.modules or ()) or name in (linux.loadable or ()):
        return True
    told = linux.config.get(_OPTIONS.get(name, ""))
    if told in ("y", "n"):
        return told == "y"
    # "m" without the file, or no configuration: absent where all files of modules were seen. Only
    # of names that are looked for (portkit/remote/linux.py) is it known.
    return False if linux.loadable is not None and (told == "m" or name in _OPTIONS) else None


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
