"""The numbers of system calls that an engine or a kernel may refuse."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# The numbers of amd64, and of arm64 with all machines of later ports (Linux,
# arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h).
NUMBERS: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "amd64": MappingProxyType(
            {
                "pivot_root": 155,
                "mount": 165,
                "quotactl": 179,
                "mbind": 237,
                "set_mempolicy": 238,
                "get_mempolicy": 239,
                "add_key": 248,
                "request_key": 249,
                "keyctl": 250,
                "migrate_pages": 256,
                "unshare": 272,
                "move_pages": 279,
                "perf_event_open": 298,
                "fanotify_init": 300,
                "open_by_handle_at": 304,
                "setns": 308,
                "bpf": 321,
                "userfaultfd": 323,
                "io_uring_setup": 425,
                "clone3": 435,
                "mseal": 462,
            }
        ),
        "arm64": MappingProxyType(
            {
                "mount": 40,
                "pivot_root": 41,
                "quotactl": 60,
                "unshare": 97,
                "add_key": 217,
                "request_key": 218,
                "keyctl": 219,
                "mbind": 235,
                "get_mempolicy": 236,
                "set_mempolicy": 237,
                "migrate_pages": 238,
                "move_pages": 239,
                "perf_event_open": 241,
                "fanotify_init": 262,
                "open_by_handle_at": 265,
                "setns": 268,
                "bpf": 280,
                "userfaultfd": 282,
                "io_uring_setup": 425,
                "clone3": 435,
                "mseal": 462,
            }
        ),
    }
)
# Their names, of which C libraries, libkeyutils and libnuma have functions.
CALLED = frozenset(NUMBERS["amd64"])
