"""The real remote half over pipes, with a Store of its own."""

import os
import sys
from contextlib import ExitStack
from pathlib import Path

from portkit import process
from portkit.host.calls import BOOT, Remote
from portkit.progress import NullObserver
from portkit.store import Store


class Far:
    """A host: its Store's folder and calls to its remote half; `process` is the one that runs."""

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self.store = Store(root)
        self._stack = stack
        self.remote = Remote(self._start, NullObserver(), lambda: "")

    def _start(self) -> process.Process:
        env = {"PORTKIT_REMOTE_STORE": str(self.store.root), "PATH": os.environ["PATH"]}
        env["PORTKIT_DOCKER_SOCKET"] = str(self.store.root / "no-engine")
        env["PORTKIT_MOVES"] = str(self.store.root.parent / f"{self.store.root.name}-moves")
        env["PORTKIT_INSTANCES"] = str(self.store.root.parent / f"{self.store.root.name}-instances")
        argv = [sys.executable, "-I", "-c", BOOT]
        self.process = self._stack.enter_context(
            process.popen(argv, stdin=process.PIPE, env=env, stderr=process.DEVNULL)
        )
        return self.process

    def files(self) -> list[str]:
        """Everything that is in its Store, but for what the two Stores prepare."""
        found = [path for path in self.store.root.rglob("*") if path.is_file()]
        return sorted(path.relative_to(self.store.root).as_posix() for path in found)
