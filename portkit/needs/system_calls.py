"""Which system calls the programs of a start have that an engine or a kernel may refuse. Pure but
for the files that it is given.

A name among a program's own shows a call through the C library; a number in its code shows one that
it makes itself, or through syscall(3). A shell, BusyBox and the like have calls for commands that
nobody may run: of them nothing is said.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from portkit.model.needs import Called, Role
from portkit.needs import code
from portkit.needs.call_numbers import NUMBERS
from portkit.needs.elf import Elf
from portkit.needs.root import Entry, Root
from portkit.needs.start import Start

# Of a program with less code than this one may expect that it makes the calls that it has. The
# servers and runtimes that have some of these for a setting that hardly anybody uses have megabytes
# (nginx: bpf, HAProxy: setns); the tools of util-linux have 20 to 90 KiB. A static program has its
# C library in it: musl has some 30 KiB of code, glibc some 500.
SMALL_CODE_BYTES, SMALL_STATIC_BYTES = 128 << 10, 768 << 10
# Programs that are many in one, or that start others.
_MANY = re.compile(r"(?:ba|da|a|k|z)?sh|busybox.*|toybox|coreutils|systemd.*|bwrap|runc|crun")
_ALIGNED = 4  # bytes: of this many, structures have a multiple
_NEAR = 32  # bytes, as in `code`: between the number and the call
# In the runtime of Go the number is the first argument of Syscall and RawSyscall: of numbers that
# are hardly anything else.
_BY_GO = ("mseal",)
_GO = b"\xff Go buildinf:"
_GO_HEAD_BYTES = 1 << 16  # the linker puts it first in its segment
# arm64: movz of a number of 16 bits to w0 and x0 (a register is added to it), svc #0, bl.
_MOVZ = (0x52800000, 0xD2800000)
_SVC, _BL = b"\x01\x00\x00\xd4", 0x25


def calls(root: Root, start: Start) -> tuple[Called, ...]:
    """The calls of those programs that are certainly started, each once."""
    found: dict[str, Called] = {}
    for path, each in start.binaries.items():
        entry, read = root.file(path), start.files[path]
        sure = each.role is Role.PROGRAM and each.sure and entry is not None
        if not sure or entry is None or _MANY.fullmatch(posixpath.basename(path)):
            continue
        for name in _of_program(root, entry, read):
            found.setdefault(name, Called(name, path, sure=_is_small(read)))
    return tuple(found.values())


def _is_small(read: Elf) -> bool:
    most = SMALL_CODE_BYTES if read.interpreter else SMALL_STATIC_BYTES
    return sum(size for _, size in read.code) < most


def _of_program(root: Root, entry: Entry, read: Elf) -> Iterator[str]:
    numbers = NUMBERS.get(read.machine, {})
    parts = list(_parts(root, entry, read))
    go = any(
        _GO in root.read(entry, at, min(size, _GO_HEAD_BYTES))
        for at, size in (*read.data, *read.code)
    )
    for name, number in numbers.items():
        by_go = go and name in _BY_GO
        if name in read.called or any(
            _made(part, number, read) or (by_go and _handed(part, number)) for part in parts
        ):
            yield name


def _parts(root: Root, entry: Entry, read: Elf) -> Iterator[bytes]:
    budget = code.CODE_BYTES
    for offset, size in read.code:
        data = root.read(entry, offset, min(size, budget))
        budget -= len(data)
        yield data


def _made(part: bytes, number: int, read: Elf) -> bool:
    # Which function a program calls is not looked at: so in a large one, and with a number that is
    # a size as well, the first argument of some call may be the number by accident.
    by_function = read.imports_syscall and _is_small(read) and number % _ALIGNED != 0
    if read.machine == "amd64":
        return code.calls(part, number, imports_syscall=by_function)
    return made_on_arm64(part, number, imports_syscall=by_function)


def made_on_arm64(part: bytes, number: int, *, imports_syscall: bool) -> bool:
    """Whether code for arm64 makes this call: the number in x8 and svc, or in x0 and a call of
    syscall(3)."""
    for register in (8, 0):
        for wide in _MOVZ:
            word = (wide | number << 5 | register).to_bytes(4, "little")
            at = part.find(word)
            while at >= 0:
                follows = part[at + 4 : at + 4 + _NEAR]
                if at % 4 == 0 and _calls_on_arm64(follows, register, imports_syscall):
                    return True
                at = part.find(word, at + 1)
    return False


def _calls_on_arm64(follows: bytes, register: int, imports_syscall: bool) -> bool:
    words = [follows[at : at + 4] for at in range(0, len(follows), 4)]
    if register == 8:
        return _SVC in words
    return imports_syscall and any(word[3:] and word[3] >> 2 == _BL for word in words)


def _handed(part: bytes, number: int) -> bool:
    """Whether amd64 code hands the number to a function as Go does, in rax."""
    value = b"\xb8" + number.to_bytes(4, "little")
    at = part.find(value)
    while at >= 0:
        if b"\xe8" in part[at + 5 : at + 5 + _NEAR]:
            return True
        at = part.find(value, at + 1)
    return False
