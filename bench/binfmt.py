"""The kernel's handler for programs of arm64, which all labs of a machine share."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOST = "gamma"  # has the program: Debian's package qemu-user
_LOCK = Path("/run/portkit-test-binfmt.lock")
_TABLE, _NAME = "/proc/sys/fs/binfmt_misc", "portkit-test-aarch64"
# Of the kernel's admin-guide/binfmt-misc.rst: any ELF file for aarch64 of 64 bits, little-endian.
_MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
_MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
# Commands for HOST.
REMOVE = f"if [ -e {_TABLE}/{_NAME} ]; then echo -1 > {_TABLE}/{_NAME}; fi"


def register(flags: str) -> str:
    """The command that makes the handler, with these flags."""
    rule = f":{_NAME}:M::{_MAGIC}:{_MASK}:/usr/bin/qemu-aarch64:{flags}"
    return f"printf %s '{rule}' > {_TABLE}/register"


@contextmanager
def alone() -> Iterator[None]:
    """Within, nobody else changes the table."""
    with _LOCK.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
