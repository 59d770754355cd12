"""Whether the start of a service makes threads, as far as its own files tell.

glibc makes a thread, and a process by posix_spawn(3), with clone3. A program that names none of the
functions that lead there, nor any that loads or starts something else, makes none.
"""

from __future__ import annotations

import posixpath

from portkit.model.needs import Role
from portkit.needs.root import Root
from portkit.needs.start import Start

THREAD = "pthread_create"
# Programs that make threads whenever they start: redis in bioInit, node for its pool, Java for main
# itself, and so on. By the name that they are started by: redis-server is a link, in Debian, to a
# file that is its tools as well.
_ALWAYS = frozenset(
    ("java", "mariadbd", "mongod", "mysqld", "node", "nodejs", "redis-server", "valkey-server")
)
# What `go version` looks for (debug/buildinfo). The runtime of Go makes a thread (sysmon) before
# main, where there is C in the program by pthread_create (runtime/cgo).
_GO = b"\xff Go buildinf:"
_GO_BYTES = 1 << 16  # the linker puts it first in its segment
# Names (DT_SONAME) of its parts, which have these functions and do not call them by themselves.
_OF_GLIBC = frozenset(
    ("libc.so.6", "libpthread.so.0", "librt.so.1", "libdl.so.2", "libanl.so.1", "libm.so.6")
)


def makes_threads(root: Root, start: Start) -> bool | None:
    """True or False where that is certain; None where it is not known."""
    programs = [path for path, each in start.binaries.items() if each.role is Role.PROGRAM]
    preloads = "LD_PRELOAD" in start.variables or root.file("/etc/ld.so.preload") is not None
    # A script, what may run beside it, or libraries that no file names.
    if programs != [start.command] or preloads:
        return None
    own = [
        start.files[path]
        for path, each in start.binaries.items()
        if each.role is not Role.LOADER and start.files[path].soname not in _OF_GLIBC
    ]
    if not start.files[start.command].needed:
        return None  # a static program names no function
    names = {name for each in own for name in each.names}
    if not names and not start.unread:
        return False
    always = posixpath.basename(start.argv[0]) in _ALWAYS or _of_go(root, start)
    return True if always and THREAD in names else None


def _of_go(root: Root, start: Start) -> bool:
    entry, read = root.file(start.command), start.files[start.command]
    return entry is not None and any(
        _GO in root.read(entry, offset, min(size, _GO_BYTES))
        for offset, size in (*read.data, *read.code)
    )
