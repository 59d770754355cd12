"""portkit as it was at an earlier commit, for comparison."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from portkit import process

# The last commit whose disks libguestfs wrote.
COMMIT = "05e47f4"
_ROOT = Path(__file__).parents[1]
_TIMEOUT_S = 1800.0
# Its worker is started without PYTHONPATH, and has to run the code of its own commit.
_PREPARE = """
import sys
from portkit.package import disk
worker = "import sys; sys.path.insert(0, %r); from portkit.package import _guestfs_worker as w; "
worker += "w.main()"
disk._WORKER = (sys.executable, "-P", "-c", worker % {tree!r})
"""


@contextmanager
def tree(folder: Path) -> Iterator[Path]:
    """The commit's files, in a new folder of that one."""
    path = folder / "earlier"
    git = ["git", "-C", _ROOT, "worktree"]
    process.run([*git, "add", "--detach", path, COMMIT], timeout=60)
    try:
        yield path
    finally:
        process.run([*git, "remove", "--force", path], timeout=60)


def run(
    path: Path,
    code: str,
    args: Sequence[str | Path],
    env: Mapping[str, str] | None = None,
    *,
    prepare: bool = True,
) -> str:
    """What a program prints that imports portkit from that tree. prepare: it is the earlier one."""
    python = {"PYTHONPATH": os.pathsep.join([str(path), str(path / "cli")])}
    before = _PREPARE.format(tree=str(path)) if prepare else ""
    argv = [sys.executable, "-c", before + code, *args]
    return process.run(argv, env={**python, **(env or {})}, cwd=path, timeout=_TIMEOUT_S).text
