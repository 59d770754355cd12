"""What a slow host and a cut link are to a call: the real remote half behind a link whose time
passes only when the test says so. No verdict depends on how fast this machine is."""

import hashlib
import json
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import pytest

from portkit import process
from portkit.errors import TransferError
from portkit.host import calls, pipes, program
from portkit.host.calls import Remote
from portkit.progress import NullObserver
from portkit.wire import frames
from portkit.wire import recipe as ops
from tests import remote_half

MANY_S = 500  # of a slow call: more than the silence that ends one, less than a call may take
_STUCK_S = 120.0  # of real time
assert pipes.SILENCE_S < MANY_S < calls._LIMIT_S
ALIVE = {"event": "alive"}


class Time:
    """Stands in for `time` and `select`: it passes when `advance` is called, in no other way."""

    def __init__(self) -> None:
        self._now = 0.0

    def monotonic(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds

    def select(self, r: list[int], w: list[int], x: list[int], timeout: float) -> Any:
        """Wait until something is ready or the time has come."""
        end = self._now + timeout
        while True:
            ready = select.select(r, w, x, 0.001)
            if any(ready) or self._now >= end:
                return ready


class Link:
    """The way between Remote and the remote half: two socket pairs, and a thread for each way.

    on_frame: called with each frame that comes back, before it goes on. on_bytes: with how many
    bytes have gone to the host, before the next. While they let time pass, the link is cut.
    """

    def __init__(self, far: process.Process, stack: ExitStack) -> None:
        self.on_frame: Callable[[dict[str, Any]], None] = lambda _: None
        self.on_bytes: Callable[[int], None] = lambda _: None
        self._far = far
        up, self._up = socket.socketpair()
        down, self._down = socket.socketpair()
        for each in (up, down, self._up, self._down):
            stack.callback(each.close)
        self.near = SimpleNamespace(stdin=up.makefile("wb", 0), stdout=down.makefile("rb", 0))
        for target in (self._upward, self._downward):
            thread = threading.Thread(target=target)
            thread.start()
            stack.callback(thread.join)
        stack.callback(self.cut)
        # Where no time passes any more, a test would wait for ever.
        guard = threading.Timer(_STUCK_S, self.cut)
        guard.start()
        stack.callback(guard.cancel)

    def cut(self) -> None:
        """For good: ssh has given up, both ends see the end."""
        for end in (self._up, self._down):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _upward(self) -> None:
        assert self._far.stdin is not None
        count = 0
        with suppress(OSError, ValueError):
            while data := self._up.recv(1 << 16):
                self.on_bytes(count)
                self._far.stdin.write(data)
                self._far.stdin.flush()
                count += len(data)
            self._far.stdin.close()

    def _downward(self) -> None:
        assert self._far.stdout is not None
        out: BinaryIO = self._down.makefile("wb", 0)
        with suppress(OSError, ValueError), out:
            out.write(self._far.stdout.readline() + self._far.stdout.readline())  # the greeting
            while (frame := frames.read_frame(self._far.stdout)) is not None:
                self.on_frame(json.loads(frame[1]))
                frames.write_frame(out, *frame)


class Host:
    """A remote half whose `store.has` waits until it is let go, behind a Link. links: one for each
    connection that was made."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.links: list[Link] = []
        self._gate = folder / "gate"
        self._env = {"PORTKIT_REMOTE_STORE": str(folder / "store")}
        self._stack = stack
        self.on_start: Callable[[Link], None] = lambda _: None
        self.remote = Remote(self._start, NullObserver(), lambda: "")

    def let_go(self) -> None:
        """The slow call ends."""
        self._gate.write_text("x")

    def _start(self) -> process.Process:
        far = self._stack.enter_context(remote_half.started(self._env))
        self.links.append(Link(far, self._stack))
        self.on_start(self.links[-1])
        near: Any = self.links[-1].near
        return near


SLOW = """
from portkit.remote import channel, serve
channel.BEAT_S = 0.01
serve.VERBS["store.has"] = lambda args, channel: open(GATE).read() and {"have": {}}
"""


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    for room in (pipes, calls):
        monkeypatch.setattr(room, "time", made)
    monkeypatch.setattr(pipes, "select", made)
    return made


@pytest.fixture
def host(time: Time, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    # What the near end ends or waits for is ssh; here it is a link, which the fixture ends.
    monkeypatch.setattr(calls, "end", lambda near: None)
    monkeypatch.setattr(calls, "wait", lambda near, seconds: 0)
    os.mkfifo(tmp_path / "gate")
    code = SLOW.replace("GATE", repr(str(tmp_path / "gate")))
    monkeypatch.setattr(program, "_MAIN", code + program._MAIN)
    with ExitStack() as stack:
        yield Host(tmp_path, stack)


def test_signs_of_life_keep_a_slow_call_alive(host: Host, time: Time) -> None:
    """On a machine so slow that each comes 100 s after the one before."""
    seen = 0

    def on_frame(row: dict[str, Any]) -> None:
        nonlocal seen
        if row == ALIVE and seen < MANY_S // 100:
            seen += 1
            time.advance(100)
            if seen == MANY_S // 100:
                host.let_go()

    host.links[0].on_frame = on_frame
    assert host.remote.call("store.has", {}) == {"have": {}}
    assert time.monotonic() == MANY_S
    assert len(host.links) == 1


def test_a_cut_of_30_s_is_survived(host: Host, time: Time) -> None:
    """What the host said meanwhile comes late; nothing is lost and nothing is called again."""
    cut = threading.Event()

    def on_frame(row: dict[str, Any]) -> None:
        if not cut.is_set():
            cut.set()
            host.let_go()  # it ends while the link is cut
            for _ in range(30):
                time.advance(1)

    host.links[0].on_frame = on_frame
    assert host.remote.call("store.has", {}) == {"have": {}}
    assert time.monotonic() == 30
    assert len(host.links) == 1


def test_a_cut_of_30_s_while_data_is_sent(host: Host, time: Time, tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    writer = ops.Writer()
    stream = writer.literal(len(data)) + data + writer.end()
    cuts = []

    def on_bytes(count: int) -> None:
        if count > 1 << 20 and not cuts:
            cuts.append(count)
            for _ in range(30):
                time.advance(1)

    host.links[0].on_bytes = on_bytes
    digest = hashlib.sha256(data).hexdigest()
    args = {"digest": f"sha256:{digest}", "size": len(data), "encoding": "raw"}
    args |= {"key": "0" * 32, "offset": 0, "bases": []}
    sent = stream + hashlib.sha256(stream).digest()
    assert host.remote.call("store.apply", args, send=[sent])["size"] == len(data)
    assert (tmp_path / "store/blobs/sha256" / digest).read_bytes() == data
    assert time.monotonic() == 30


@pytest.mark.parametrize("way", ["back", "there"])
def test_silence_beyond_the_limit_ends_the_call_and_the_next_one_works(
    way: str, host: Host, time: Time
) -> None:
    """The next call starts the remote half anew, and makes the standing calls again."""
    given_up = threading.Event()

    def silent(_: object) -> None:
        while not given_up.is_set():
            time.advance(1)
            given_up.wait(0.001)

    host.remote.standing.append(("move.list", {}))
    asked = []
    data = iter(lambda: bytes(1 << 20), b"") if way == "there" else None
    if way == "back":
        host.links[0].on_frame = silent
    else:
        host.links[0].on_bytes = silent
    try:
        with pytest.raises(TransferError, match="stopped responding"):
            host.remote.call("store.has" if data is None else "store.apply", {}, send=data)
    finally:
        given_up.set()
    assert host.remote.lost
    assert time.monotonic() >= pipes.SILENCE_S
    host.on_start = lambda link: setattr(link, "on_frame", asked.append)
    assert host.remote.call("store.list", {}) == {"have": {}}
    assert not host.remote.lost
    assert len(host.links) == 2
    answers = [row["ok"] for row in asked if "ok" in row]
    assert answers == [{"moves": []}, {"have": {}}], "the standing call, then this one"


def test_a_link_that_is_given_up_ends_the_call_at_once(host: Host, time: Time) -> None:
    """As when ssh notices by itself that the link is dead, long before the silence is over."""
    host.links[0].on_frame = lambda _: host.links[0].cut()
    with pytest.raises(TransferError, match="broke"):
        host.remote.call("store.has", {})
    assert time.monotonic() == 0
    assert host.remote.lost
    assert host.remote.call("store.list", {}) == {"have": {}}
