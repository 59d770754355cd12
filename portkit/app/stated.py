"""The `needs` of an `x-portkit` block: what no file of an image can tell of the host that it wants.

x-portkit:
  needs:
    kernel: "5.15"                        # the oldest Linux
    cpu: x86-64-v3                        # the least level of x86-64
    sysctls: {vm.max_map_count: 262144}   # at least so much; "<=1" is at most, "=1" exactly
    modules: [wireguard]                  # of the kernel, loaded or built in
    devices: [/dev/net/tun]               # whether or not they are given to the service
    huge_pages: 512m                      # free
    shared_memory: 256m                   # in /dev/shm
    open_files: 65536
    ipv6: true
"""

from __future__ import annotations

import re

from portkit.app import values
from portkit.app.document import Value
from portkit.app.reader import Reader
from portkit.model import Stated

_KEYS = {"kernel", "cpu", "sysctls", "modules", "devices", "huge_pages", "shared_memory"}
_KEYS |= {"open_files", "ipv6"}
_KERNEL = re.compile(r"([0-9]{1,3})\.([0-9]{1,4})(?:\.([0-9]{1,4}))?")
_LEVEL = re.compile(r"x86-64-v([1-4])")
_BOUND = re.compile(r"(<=|=)\s*([0-9]{1,19})")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_DEVICE = re.compile(r"/dev/[A-Za-z0-9_.:/-]{1,100}")


def stated_of(reader: Reader, extra: Value) -> Stated:
    """What the block says; nothing where it has no `needs`."""
    row = reader.block(extra, "needs", _KEYS)
    if row is None:
        return Stated()
    sizes = {
        name: reader.use(row[key], values.size)
        for key, name in (("huge_pages", "huge_page_bytes"), ("shared_memory", "shm_bytes"))
        if key in row
    }
    least, most = _sysctls(reader, row["sysctls"]) if "sysctls" in row else ({}, {})
    return Stated(
        kernel=reader.use(row["kernel"], _kernel) if "kernel" in row else None,
        cpu_level=reader.use(row["cpu"], _level) if "cpu" in row else 0,
        sysctls=least,
        sysctls_most=most,
        modules=_names(reader, row, "modules", _NAME),
        devices=_names(reader, row, "devices", _DEVICE),
        open_files=reader.use(row["open_files"], values.count) if "open_files" in row else 0,
        ipv6=reader.flag(row["ipv6"]) if "ipv6" in row else False,
        **sizes,
    )


def _sysctls(reader: Reader, value: Value) -> tuple[dict[str, int], dict[str, int]]:
    """What each setting has to be at least, and at most."""
    least, most = {}, {}
    for name, each in reader.mapping(value).items():
        if not _NAME.fullmatch(name):
            raise reader.error(each, f"{name[:80]!r} is not a valid sysctl name")
        relation, number = reader.use(each, _bound)
        if relation != "<=":
            least[name] = number
        if relation:
            most[name] = number
    return least, most


def _bound(value: object) -> tuple[str, int]:
    """A number, which is the least; "<=4" and "=4"."""
    match = _BOUND.fullmatch(value) if isinstance(value, str) else None
    return (match[1], int(match[2])) if match else ("", values.count(value))


def _names(
    reader: Reader, row: dict[str, Value], key: str, form: re.Pattern[str]
) -> tuple[str, ...]:
    found = []
    for each in reader.items(row[key], f"needs.{key}") if key in row else ():
        name = reader.text(each)
        if not form.fullmatch(name):
            raise reader.error(each, f"{name[:80]!r} is not valid in needs.{key}")
        found.append(name)
    return tuple(found)


def _kernel(value: object) -> tuple[int, int, int]:
    # YAML reads 5.10 as the number 5.1.
    match = _KERNEL.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('kernel must be a version in quotes, such as "5.10"')
    return int(match[1]), int(match[2]), int(match[3] or 0)


def _level(value: object) -> int:
    match = _LEVEL.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("cpu must be x86-64-v1, x86-64-v2, x86-64-v3 or x86-64-v4")
    return int(match[1])
