"""What the guest of a disk gives to its services: its kernel, and the devices in /dev.

The kernel is Debian's for clouds (`linux-image-cloud-*`), the newest that apt offers where the disk
is made. It is one of those that were looked at: OLDEST and NEWEST.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources

from portkit.architecture import AMD64
from portkit.compat.own import INTERFACE
from portkit.compat.rule import Case, Found, UnknownFact
from portkit.compat.versions import dotted
from portkit.model import Severity

OLDEST, NEWEST = (6, 1), (6, 12)  # of Debian 12 and 13
# portkit/guest/src/disks.c, devices_make: those of a container that asks for none.
DEVICES = frozenset(
    f"/dev/{name}"
    for name in ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "pts/ptmx")
) | frozenset(
    f"/dev/{name}" for name in ("shm", "mqueue", "fd", "stdin", "stdout", "stderr", "core")
)
# Where the guest's init writes another value than the kernel begins with
# (portkit/guest/src/network.c, rights_give; limits.c, limits_prepare).
_BY_INIT = {"net.ipv4.ip_unprivileged_port_start": 0}
_BY_INIT_OF_SEVERAL = {"user.max_user_namespaces": 0}


def kernel(case: Case) -> Iterator[Found]:
    """The App needs a later Linux than the guest has, which is Debian's for clouds."""
    wanted = case.spec.stated.kernel
    if wanted is None or wanted[:2] <= OLDEST:
        return
    later = wanted[:2] > NEWEST
    yield Found(
        f"the app needs Linux {dotted(wanted)} or newer, and the VM's is the newest that apt has "
        "where the disk is made: 6.1 from Debian 12, 6.12 from Debian 13"
        + (", neither of which is enough" if later else ""),
        (f"x-portkit.needs.kernel: {dotted(wanted)}",),
    )


def devices(case: Case) -> Iterator[Found]:
    """A service in a VM has the devices of a container that asks for none."""
    stated = case.spec.stated.devices
    for path in dict.fromkeys(stated):
        if path not in DEVICES:
            yield Found(f"the VM has no {path}", (f"x-portkit.needs.devices: {path}",))
    for each in case.spec.devices:
        if each.target not in DEVICES and each.source not in stated:
            yield Found(
                f"the VM has no {each.target}, which the file gives to the service",
                (f"devices: {each.source}:{each.target}",),
                severity=Severity.UNKNOWN,
            )


def begins_with(case: Case, name: str) -> int | None:
    """The value of a setting in the guest before the App changes any; None where the guest's kernel
    has no such setting. UnknownFact where it depends on the kernel or the machine."""
    several = _BY_INIT_OF_SEVERAL if case.app.several else {}
    for own in (_BY_INIT, several):
        if name in own:
            return own[name]
    found = setting(name)
    if case.image.architecture != AMD64.name and found is None:
        raise UnknownFact(f"whether the guest's kernel has {name}")
    if found is None:
        return None
    mark, value = found
    if "?" in mark or value is None:
        raise UnknownFact(f"{name} of the guest")
    return value


def kernel_default(name: str) -> int | None:
    """What this setting begins with in every namespace that a kernel from 5.4 on makes, and in none
    another value; None where that is not known."""
    found = setting(name)
    return found[1] if found and not found[0] else None


def setting(name: str) -> tuple[str, int | None] | None:
    """The marks of a setting and the value that it begins with, if it is always the same one; None
    where neither of the guest's kernels has the setting."""
    return _settings().get(INTERFACE.sub(r"\1.*.", name))


def has_module(case: Case, name: str) -> bool:
    """Whether the guest's kernel has a module, which is built in or which its initrd loads."""
    mark = _modules().get(name.replace("-", "_"))
    if mark == "?" or (mark is None and case.image.architecture != AMD64.name):
        raise UnknownFact(f"whether the guest's kernel has {name}")
    return mark == "" or (mark == "+" and case.app.several)


@cache
def _settings() -> Mapping[str, tuple[str, int | None]]:
    found = {}
    for head, text in _words("guest_sysctls.txt"):
        told, _, value = text.partition("=")
        name = told.rstrip("!?")
        found[f"{head}.{name}"] = (told[len(name) :], int(value) if value else None)
    return found


@cache
def _modules() -> Mapping[str, str]:
    rows = [(name.rstrip("+?"), name) for line in _lines("guest_modules.txt") for name in line]
    return {name: text[len(name) :] for name, text in rows}


def _words(file: str) -> Iterator[tuple[str, str]]:
    """Each word of a file but for the first of its line, with that one."""
    yield from ((line[0], word) for line in _lines(file) for word in line[1:])


def _lines(file: str) -> Iterator[list[str]]:
    text = (resources.files("portkit.compat") / file).read_text()
    yield from (line.split() for line in text.splitlines() if not line.startswith("#"))
