"""What goes wrong in a pass: cuts, writers, no room, and hosts that make things up."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from portkit import errors, process
from portkit.progress import NullObserver
from portkit.remote.volumes import mounted as mounted_below
from portkit.volumes import Copy, Folder, copy, streams
from portkit.volumes.side import Side, Trust
from portkit.wire import tree
from portkit.wire.blocks import Block
from portkit.wire.tree import Row
from tests.unit.volumes.folders import Pair, seen


class At(NullObserver):
    """Does something the first time that a phase begins, or bytes of it are told."""

    def __init__(self, name: str, action: Callable[[], object], *, after: int = -1) -> None:
        self._name, self._action, self._after = name, action, after
        self.done = False

    def phase(self, name: str) -> None:
        if self._after < 0:
            self._at(name)

    def bytes(self, name: str, done: int, total: int | None) -> None:
        if 0 <= self._after <= done:
            self._at(name)

    def _at(self, name: str) -> None:
        if name == self._name and not self.done:
            self.done = True
            self._action()


@pytest.mark.parametrize("end", [0, 1])
def test_a_cut_in_the_middle_goes_on(pair: Pair, end: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy, "_ROUND", 8)
    content = os.urandom(64 * tree.BLOCK)
    (pair.origin / "big").write_bytes(content)
    observer = At("volume:send", lambda: pair.ends[end].process.kill(), after=40 * tree.BLOCK)
    done = pair.copy(observer).run(last=True)
    assert observer.done
    assert seen(pair.origin) == seen(pair.target)
    # What came in the rounds before the cut did not come again.
    assert 0 < done.sent_bytes <= 32 * tree.BLOCK


def test_a_killed_copy_is_gone_on_with(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy, "_ROUND", 8)
    for number in range(64):
        (pair.origin / f"{number:02}").write_bytes(os.urandom(tree.BLOCK))

    def killed() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pair.copy(At("volume:send", killed, after=40 * tree.BLOCK)).run()
    done = pair.copy().run(last=True)
    assert 0 < done.sent_bytes <= 32 * tree.BLOCK
    assert seen(pair.origin) == seen(pair.target)


@pytest.mark.parametrize("phase", ["volume:send", "volume:settle"])
@pytest.mark.parametrize("what", ["content", "entry", "mode"])
def test_somebody_writes_during_the_last_pass(pair: Pair, phase: str, what: str) -> None:
    path = pair.origin / "x"
    path.write_bytes(b"a" * 1000)

    def write() -> None:
        if what == "content":
            path.write_bytes(b"b" * 1000)
        elif what == "entry":
            (pair.origin / "new").touch()
        else:
            path.chmod(0o600)

    path.chmod(0o644)
    with pytest.raises(errors.VerifyError, match="still writes"):
        pair.copy(At(phase, write)).run(last=True)
    pair.copy(At("", write)).run(last=True)
    assert seen(pair.origin) == seen(pair.target)


@pytest.mark.parametrize("phase", ["volume:send", "volume:settle"])
def test_changes_in_a_warm_pass_come_with_the_next(pair: Pair, phase: str) -> None:
    for name in ("grows", "shrinks", "goes", "changes"):
        (pair.origin / name).write_bytes(os.urandom(300_000))

    def write() -> None:
        with (pair.origin / "grows").open("ab") as file:
            file.write(b"more")
        os.truncate(pair.origin / "shrinks", 200_000)
        (pair.origin / "goes").unlink()
        (pair.origin / "changes").write_bytes(os.urandom(300_000))

    work = pair.copy(At(phase, write))
    assert work.run().vanished == (phase == "volume:send")
    work.run()
    assert seen(pair.origin) == seen(pair.target)
    work.run(last=True)
    assert seen(pair.origin) == seen(pair.target)


def test_two_copies_at_once(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """There and back over the same two connections: neither waits for the other."""
    monkeypatch.setattr(streams, "_WAITING", 1)
    monkeypatch.setattr(copy, "_ROUND", 16)
    back = [pair.origin.with_name("b1"), pair.origin.with_name("b2")]
    for folder in (pair.origin, back[0]):
        folder.mkdir(exist_ok=True)
        (folder / "x").write_bytes(os.urandom(8 << 20))
    back[1].mkdir()
    ends = [Folder(host, str(path)) for host, path in zip(pair.hosts[::-1], back, strict=True)]
    fill, both = Side.fill, threading.Barrier(2)

    def late(self: Side, chunks: Iterable[bytes]) -> None:
        # If both can be here, both read, and each has the host that the other writes to.
        with suppress(threading.BrokenBarrierError):
            both.wait(1.0)
            time.sleep(0.5)
        fill(self, chunks)

    monkeypatch.setattr(Side, "fill", late)
    copies = (pair.copy(), Copy(ends[0], ends[1], NullObserver()))
    threads = [threading.Thread(target=each.run, daemon=True) for each in copies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert seen(pair.origin) == seen(pair.target)
    assert seen(back[0]) == seen(back[1])


@pytest.fixture
def small(pair: Pair) -> Iterator[Path]:
    """The target has one MiB."""
    process.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", pair.target])
    yield pair.target
    process.run(["umount", pair.target])


def test_no_room(pair: Pair, small: Path) -> None:
    (pair.origin / "big").write_bytes(os.urandom(2 << 20))
    before = seen(pair.origin)
    with pytest.raises(errors.SpaceError, match="not have enough space"):
        pair.copy().run()
    assert seen(pair.origin) == before
    assert list(small.iterdir()) == []


def test_the_room_ends_in_the_middle(
    pair: Pair, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pair.origin / "big").write_bytes(os.urandom(2 << 20))
    before = seen(pair.origin)
    shape = Side.shape
    monkeypatch.setattr(
        Side, "shape", lambda self, rows, room, nodes: shape(self, rows, room=0, nodes=nodes)
    )
    with pytest.raises(errors.SpaceError, match="full"):
        pair.copy().run()
    assert seen(pair.origin) == before
    (pair.origin / "big").write_bytes(b"small")
    pair.copy().run(last=True)
    assert (small / "big").read_bytes() == b"small"


def test_mounts(pair: Pair) -> None:
    """Both digests leave out what is below, so a pass would find the two folders equal."""
    (pair.origin / "in").mkdir()
    (pair.origin / "in/m").mkdir()
    pair.copy().run()
    process.run(["mount", "-t", "tmpfs", "none", pair.origin / "in/m"])
    try:
        (pair.origin / "in/m/x").touch()
        assert mounted_below({"paths": [str(pair.origin)]}, None) == {
            "mounts": [str(pair.origin / "in/m")]
        }
        assert mounted_below({"paths": [str(pair.target)]}, None) == {"mounts": []}
        for last in (False, True):
            with pytest.raises(errors.ConflictError, match="mounted") as caught:
                pair.copy().run(last=last)
            assert "does not copy it" in caught.value.resolution
        pair.origin, pair.target = pair.target, pair.origin
        with pytest.raises(errors.ConflictError, match="mounted") as caught:
            pair.copy().run()
        assert "Unmount it there" in caught.value.resolution
        assert (pair.target / "in/m/x").exists()
    finally:
        process.run(
            ["umount", *(p / "in/m" for p in (pair.origin, pair.target) if (p / "in/m").is_mount())]
        )


# ---------------------------------------------------------------- hosts that make things up


def side(pair: Pair) -> Side:
    return Side(Folder(pair.hosts[1], str(pair.target)), "raw")


@pytest.mark.parametrize("path", [b"../x", b"/etc/x", b"a/../../x", b"link/x", b"link"])
@pytest.mark.parametrize("kind", [tree.MAKE, tree.REMOVE, tree.RESIZE])
def test_changes_outside_of_the_folder(pair: Pair, path: bytes, kind: bytes) -> None:
    outside = pair.target.parent / "outside"
    outside.mkdir()
    (outside / "x").write_text("theirs")
    (pair.target / "link").symlink_to(outside)
    row = Row(path, tree.FILE if kind != tree.REMOVE else tree.FOLDER, size=1)
    with pytest.raises((errors.VerifyError, errors.HostError)):
        side(pair).shape([(kind, row)], room=0, nodes=False)
    with pytest.raises((errors.VerifyError, errors.HostError)):
        side(pair).settle([Row(path, tree.FILE, mode=0o777)])
    block = Block(path, 0, 1, 1, 0, tree.HOLE, b"x").pack()
    with pytest.raises((errors.VerifyError, errors.HostError)):
        side(pair).fill([tree.record(block)])
    assert [(p.name, p.read_text()) for p in outside.iterdir()] == [("x", "theirs")]
    assert not (pair.target.parent / "x").exists()


def test_a_block_that_is_not_what_was_said(pair: Pair) -> None:
    (pair.target / "x").touch()
    block = Block(b"x", 0, 1, 1, 0, tree.ZERO, b"x").pack()
    with pytest.raises(errors.VerifyError, match="not what was sent"):
        side(pair).fill([tree.record(block)])


def test_a_time_that_no_index_has_room_for(pair: Pair) -> None:
    file = pair.origin / "later"
    file.touch()
    os.utime(file, ns=(0, 1 << 63))  # in the year 2262
    if file.stat().st_mtime_ns != 1 << 63:
        pytest.skip("the file system of the tests does not store that time")
    with pytest.raises(errors.VerifyError, match="2262") as raised:
        pair.copy().run()
    assert "later" in raised.value.details and "touch" in raised.value.resolution
    os.utime(file, ns=(0, (1 << 63) - 1))
    assert pair.copy().run(last=True).digest


def test_a_device_is_never_opened(pair: Pair) -> None:
    os.mkfifo(pair.target / "pipe")
    block = Block(b"pipe", 0, 1, 1, 0, tree.ZERO, b"x").pack()
    with pytest.raises(errors.HostError, match="had to stop"):
        side(pair).fill([tree.record(block)])
    with pytest.raises(errors.VerifyError, match="another kind"):
        side(pair).settle([Row(b"pipe", tree.FILE)])
    with pytest.raises(errors.VerifyError, match="damaged"):
        side(pair).shape([(tree.MAKE, Row(b"n", tree.DEVICE, device=2048))], room=0, nodes=False)


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 12, b"\xff" * 12, b"\0\0\0\4" + bytes(8) + b"\0\0\0\1"]
)
def test_an_index_that_is_none(pair: Pair, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def call(verb: str, args: object, *, receive: Callable[[bytes], None], **_: object) -> object:
        receive(data)
        return {"vanished": 0}

    monkeypatch.setattr(pair.hosts[1].remote, "call", call)
    with pytest.raises(errors.VerifyError):
        side(pair).scan(Trust.NOTHING, margin_ms=None, content=lambda count: None)


def test_parts_in_crumbs() -> None:
    found: list[bytes] = []
    counts: list[int] = []
    parts = streams.Parts(found.append, counts.append)
    stream = streams._PART.pack(3, 7) + b"abc" + streams._PART.pack(0, 9)
    for at in range(len(stream)):
        parts.feed(stream[at : at + 1])
    assert (found, counts) == ([b"abc"], [7, 9])
