"""Programs that read their limits from the files of cgroup v1 alone, which hosts with v2 lack."""

from __future__ import annotations

from portkit.model.needs import Role
from portkit.needs.code import CODE_BYTES
from portkit.needs.root import Root
from portkit.needs.start import Start

# The limit of memory in each version (Linux, admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst).
_V1, _V2 = b"memory.limit_in_bytes", b"memory.max"


def only_v1(root: Root, start: Start) -> tuple[str, bool] | None:
    """A program or library that has the name of the one file and not of the other, and whether it
    is certainly loaded; None where there is none. One part of a process may know both."""
    found, budget = None, 4 * CODE_BYTES
    for path, each in start.binaries.items():
        entry = root.file(path)
        if each.role is Role.LOADER or entry is None:
            continue
        has = set()
        read = start.files[path]
        for offset, size in (*read.data, *read.code):
            data = root.read(entry, offset, min(size, budget))
            budget -= len(data)
            has |= {name for name in (_V1, _V2) if name in data}
        if _V2 in has:
            return None
        if has:
            found = found or (path, each.sure)
    return found
