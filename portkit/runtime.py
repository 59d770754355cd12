"""Private folders for what is temporary: one per process, removed by a later command if it died.

A process claims a folder below a base and holds its lock (`portkit.wire.claims`). `sweep` removes
the folders whose lock is free, after it has ended the programs that their owners had recorded
there and that still run.

`folder` is for sockets and small files, `claim` for large ones on a file system of one's choice:

    runtime.folder()               below $XDG_RUNTIME_DIR/portkit, /run/portkit or /tmp/portkit-UID
    runtime.claim(base)            below `base`; the same folder each time in one process
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import shutil
import signal
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from portkit import files
from portkit.wire import claims, processes

__all__ = ["claim", "folder", "forget", "record", "root", "subfolder", "sweep"]

log = logging.getLogger("portkit.runtime")

# sun_path has 108 bytes (unix(7)); ssh appends 17 to a control socket's name while it binds it,
# and some 35 are ours: /portkit/CLAIM/SESSION/libvirt.
_BASE_LIMIT = 48
_RECORD = "pid-"
_ENDING_S = 2.0


@dataclass(frozen=True)
class _Claim:
    path: Path
    lock: int  # descriptor of the folder itself; closed on exec, so no child keeps it locked


# By process: a fork must not use, unlock or remove what its parent claimed.
_claims: dict[tuple[int, Path], _Claim] = {}
_guard = threading.Lock()


def root() -> Path:
    """The base of this user's runtime folders; PortkitError when none can be trusted."""
    told = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    if told.is_absolute() and len(os.fsencode(told)) <= _BASE_LIMIT and _is_private(told):
        return told / "portkit"
    run = Path("/run")
    # Root has no XDG_RUNTIME_DIR where it did not log in, as in cron or below sudo. In some
    # containers /run is read-only.
    if os.geteuid() == 0 and os.access(run, os.W_OK):
        return run / "portkit"
    return Path(f"/tmp/portkit-{os.geteuid()}")  # noqa: S108 - its owner and mode are checked


def _is_private(path: Path) -> bool:
    with contextlib.suppress(OSError):
        found = path.lstat()
        # lstat: a link that somebody else put there is not followed.
        mine = found.st_uid == os.geteuid() and not found.st_mode & 0o077
        return stat.S_ISDIR(found.st_mode) and mine
    return False


def folder() -> Path:
    """This process's folder for sockets and small files: 0700, a short path, gone at its end."""
    return claim(root())


def subfolder() -> Path:
    """A new folder below `folder`, of a name that nobody can predict."""
    path = folder() / claims.new_name()
    path.mkdir(mode=0o700)
    return path


def claim(base: Path) -> Path:
    """This process's folder below `base`, made on the first call; what dead processes left there
    is removed then. PortkitError when somebody else could have planted something there."""
    with _guard:
        key = (os.getpid(), base)
        if key not in _claims:
            files.private_folder(base, setting="XDG_RUNTIME_DIR")
            _sweep(base)
            _claims[key] = _Claim(*claims.make(base))
        return _claims[key].path


# ---------------------------------------------------------------- what dead processes left


def sweep(base: Path | None = None) -> int:
    """Remove what dead processes left below `base` (`root()`); how many folders."""
    base = base or root()
    with _guard:
        return _sweep(base) if _is_private(base) else 0


def _sweep(base: Path) -> int:
    removed = 0
    for path in sorted(base.iterdir()):
        lock = claims.take(path)
        if lock is None:
            continue
        try:
            _remove(path)
            removed += 1
        except OSError as error:
            # Today's command can do without; the reason is worth a line.
            log.warning("%s is left of a process that ended: %s", path, error)
        finally:
            os.close(lock)
    return removed


def _remove(path: Path) -> None:
    log.debug("%s: its process has ended", path)
    for pid in _recorded(path):
        _end(pid)
    shutil.rmtree(path)


def record(pid: int) -> None:
    """Remember a started program (leader of its own group): when this process dies, `sweep` ends
    it. Known by its start time, so that no other process with its number is ever meant."""
    started = processes.started(pid)
    if started is not None:
        (folder() / f"{_RECORD}{pid}").write_text(started)


def forget(pid: int) -> None:
    """The program was ended."""
    (folder() / f"{_RECORD}{pid}").unlink(missing_ok=True)


def _recorded(path: Path) -> Iterator[int]:
    """The programs that a folder names and that still run."""
    for each in path.glob(f"{_RECORD}*"):
        number = each.name.removeprefix(_RECORD)
        if number.isdigit() and processes.started(int(number)) == each.read_text():
            yield int(number)


def _end(pid: int) -> None:
    """SIGTERM to its group, SIGKILL when it has not ended after two seconds."""
    started = processes.started(pid)
    deadline = time.monotonic() + _ENDING_S
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGTERM)
        while started is not None and processes.started(pid) == started:
            if time.monotonic() > deadline:
                os.killpg(pid, signal.SIGKILL)
                return
            time.sleep(0.02)


@atexit.register
def _release() -> None:
    for (pid, _), held in list(_claims.items()):
        if pid == os.getpid():
            shutil.rmtree(held.path, ignore_errors=True)
            os.close(held.lock)
    _claims.clear()
