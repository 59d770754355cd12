"""What other users of a machine could see of a command while it runs."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

# The kernel reports every exec (connector.h, cn_proc.h).
_NETLINK_CONNECTOR, _CN_IDX_PROC, _CN_VAL_PROC = 11, 1, 1
_LISTEN, _EXEC, _DONE = 1, 2, 3
_HEAD = struct.Struct("=IHHII")  # nlmsghdr
_CONNECTOR = struct.Struct("=IIIIHH")  # cn_msg
_EVENT = struct.Struct("=IIQII")  # proc_event: what, cpu, time; of an exec: pid, tgid


class Watched:
    """Words that were seen where they should not be, while `watching`."""

    def __init__(self, words: Sequence[str], roots: Sequence[Path], mine: Path) -> None:
        self._words = [word.encode() for word in words]
        self._roots, self._mine = roots, mine
        self._began = mine.stat().st_mtime
        self.found: set[str] = set()
        self.executed = 0

    def tells(self, text: bytes) -> bool:
        """Whether one of the words is in it."""
        return any(word in text for word in self._words)

    def look(self) -> None:
        """At the command lines of all processes, the lab's hosts included, and at small files that
        were written since the test began, but for the test's own."""
        for folder in Path("/proc").glob("[0-9]*"):
            self._command_line(folder)
        for root in self._roots:
            # Folders come and go meanwhile: os.walk does not mind.
            for path in (Path(place, n) for place, _, names in os.walk(root) for n in names):
                if self._mine not in path.parents:
                    with contextlib.suppress(OSError):
                        self._file(path)

    def _command_line(self, folder: Path) -> None:
        with contextlib.suppress(OSError):
            text = (folder / "cmdline").read_bytes()
            if self.tells(text):
                self.found.add(f"the command line {text[:200]!r}")

    def _file(self, path: Path) -> None:
        at = path.lstat()
        small = stat.S_ISREG(at.st_mode) and at.st_size < 1 << 20
        if small and at.st_mtime > self._began and self.tells(path.read_bytes()):
            self.found.add(f"the file {path}")

    def _follow(self, events: socket.socket, over: threading.Event) -> None:
        while not over.is_set():
            with contextlib.suppress(TimeoutError, OSError):  # a full queue loses some
                data = events.recv(4096)
                what, _, _, pid, _ = _EVENT.unpack_from(data, _HEAD.size + _CONNECTOR.size)
                if what == _EXEC:
                    self.executed += 1
                    self._command_line(Path(f"/proc/{pid}"))


@contextmanager
def watching(watched: Watched) -> Iterator[None]:
    """Within, the command line of every program that is started is looked at, on this machine and
    on the lab's hosts: these are its processes as well."""
    over = threading.Event()
    kind = socket.SOCK_DGRAM
    with socket.socket(socket.AF_NETLINK, kind, _NETLINK_CONNECTOR) as events:
        events.bind((0, _CN_IDX_PROC))
        events.settimeout(0.2)
        body = _CONNECTOR.pack(_CN_IDX_PROC, _CN_VAL_PROC, 0, 0, 4, 0) + struct.pack("=I", _LISTEN)
        events.send(_HEAD.pack(_HEAD.size + len(body), _DONE, 0, 0, 0) + body)
        thread = threading.Thread(target=watched._follow, args=(events, over))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
