"""A connection that has ended while nothing went over it is made anew by whoever uses it next."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from portkit import process
from portkit.errors import TransferError
from portkit.host import Host
from portkit.host.calls import Remote
from portkit.progress import NullObserver
from portkit.remote.engine import SOCKETS
from tests import remote_half


class Master:
    """What a Session is to a Host: `start` makes its master anew."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self._stack = folder, stack
        self.ended = False
        self.children: list[process.Process] = []

    def start(self) -> process.Process:
        self.ended = False
        env = {"PORTKIT_REMOTE_STORE": str(self.folder / "store")}
        self.children.append(self._stack.enter_context(remote_half.started(env)))
        return self.children[-1]

    def end(self) -> None:
        """As after a link that was down for too long: what goes over it ends with it."""
        self.ended = True
        process.end(self.children[-1])

    def forward(self, local: str, remote: str) -> None:
        assert not self.ended, "ssh could not forward a socket"

    def forward_port(self, port: int, address: str) -> tuple[str, int]:
        assert not self.ended, "ssh could not forward a socket"
        return address, port

    def describe(self) -> str:
        return "ssh://web1"


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Master]:
    with ExitStack() as stack:
        yield Master(tmp_path, stack)


def connected(master: Any) -> Host:
    said = Remote(master.start, NullObserver(), lambda: "", SOCKETS[0], "web1")
    host = Host("web1", master, said)
    host._libvirt = "/var/run/libvirt/libvirt-sock"
    return host


@pytest.mark.parametrize(
    "use", [Host.docker_socket, Host.libvirt_uri, lambda host: host.forward(80)]
)
@pytest.mark.parametrize("known", [True, False])
def test_whoever_goes_over_it_makes_it_anew(
    master: Master, use: Callable[[Host], object], known: bool
) -> None:
    host = connected(master)
    host.remote.standing.append(("move.list", {}))
    wanted = use(host) if known else None
    master.end()
    for _ in range(2):
        assert use(host) == wanted or not known
    assert not master.ended
    assert len(master.children) == 2, "made anew, once"
    assert host.remote.call("store.list", {}) == {"have": {}}
    assert len(master.children) == 2


def test_a_call_over_it_says_which_host_it_was(master: Master) -> None:
    host = connected(master)
    master.end()
    with pytest.raises(TransferError) as caught:
        host.remote.call("store.list", {})
    assert caught.value.details.startswith("web1: ")
    assert host.remote.call("store.list", {}) == {"have": {}}
