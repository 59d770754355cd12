"""What a process is writing in a Store: a folder of its own, removed with it or after it."""

from __future__ import annotations

import os
import shutil
import weakref
from pathlib import Path

from portkit import runtime
from portkit.wire import claims


class Scratch:
    """A folder below `base`, locked as long as this object lives; the folders that dead processes
    left there are removed when it is made.

    A claim of its own rather than `runtime.claim`: that one lasts to the end of the process, and a
    process may use many Stores.
    """

    def __init__(self, base: Path) -> None:
        runtime.sweep(base)
        self.path, lock = claims.make(base)
        self.path.chmod(0o700)  # whatever the umask took away
        weakref.finalize(self, _release, self.path, lock, os.getpid())


def _release(path: Path, lock: int, owner: int) -> None:
    if os.getpid() == owner:  # not in a fork: the folder is its parent's
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)
