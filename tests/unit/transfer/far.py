"""The real remote half over pipes, with a Store of its own."""

from contextlib import ExitStack
from pathlib import Path

from portkit import process
from portkit.host.calls import Remote
from portkit.progress import NullObserver
from portkit.store import Store
from tests import remote_half


class Far:
    """A host: its Store's folder and calls to its remote half; `process` is the one that runs."""

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self.store = Store(root)
        self._stack = stack
        self._connect()

    def _connect(self) -> None:
        self.remote = Remote(self._start, NullObserver(), lambda: "")

    def revive(self) -> None:
        """For another test: as after the first connection, if the last test has changed that."""
        self.remote.limit = None
        if self.process.poll() is not None:
            self._connect()

    def _start(self) -> process.Process:
        env = {"PORTKIT_REMOTE_STORE": str(self.store.root)}
        env["PORTKIT_DOCKER_SOCKET"] = str(self.store.root / "no-engine")
        env["PORTKIT_MOVES"] = str(self.store.root.parent / f"{self.store.root.name}-moves")
        env["PORTKIT_INSTANCES"] = str(self.store.root.parent / f"{self.store.root.name}-instances")
        half = remote_half.started(env, stderr=process.DEVNULL)
        self.process = self._stack.enter_context(half)
        return self.process

    def files(self) -> list[str]:
        """Everything that is in its Store, but for what the two Stores prepare."""
        found = [path for path in self.store.root.rglob("*") if path.is_file()]
        return sorted(path.relative_to(self.store.root).as_posix() for path in found)
