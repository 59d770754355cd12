"""Moves at once on one host: locks, markers, and what is whose. Through the real remote half."""

import fcntl
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from portkit import process
from portkit.errors import ConflictError, PortkitError, SpaceError
from portkit.model import Blob
from portkit.store import Store
from portkit.transfer.deliver import deliver
from portkit.transfer.resume import Link
from tests.ports import free_port
from tests.unit.transfer.far import Far

A, B = "pk-" + "a" * 12, "pk-" + "b" * 12
Connect = Callable[[], Far]


@pytest.fixture
def near(tmp_path: Path) -> Store:
    return Store(tmp_path / "near")


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Connect]:
    """Another connection to the same host, each time."""
    with ExitStack() as stack:
        yield lambda: Far(tmp_path / "far", stack)


def begin(far: Far, identity: str, app: str = "shop", **more: Any) -> list[str]:
    about = {"source": "old", "target": "new", "holder": "ops@desk", "started": "today"}
    row = {"id": identity, "app": app, "role": "target", "about": about, "needs": [], "ports": []}
    call = ("move.begin", {**row, **more})
    brought: list[str] = far.remote.call(*call)["brought"]
    far.remote.standing = [call]
    return brought


def end(far: Far, identity: str, app: str = "shop") -> None:
    far.remote.standing = []
    far.remote.call("move.end", {"id": identity, "app": app})


def markers(far: Far) -> dict[str, bool]:
    return {row["id"]: row["live"] for row in far.remote.call("move.list", {})["moves"]}


def send(far: Far, near: Store, data: bytes) -> Blob:
    from portkit.progress import NullObserver

    blob = near.put_bytes(data)
    deliver(blob, near, Link(far.remote), None, NullObserver(), lambda done: None)
    return blob


def kill(far: Far) -> None:
    """The connection and its remote half end at once, as with SIGKILL of portkit and a reboot."""
    far.process.send_signal(signal.SIGKILL)
    far.process.wait()


def test_one_move_of_an_app_at_a_time(connect: Connect) -> None:
    one, other = connect(), connect()
    begin(one, A)
    with pytest.raises(ConflictError, match="another Move of shop is running") as caught:
        begin(other, B)
    assert A in caught.value.details
    assert "ops@desk" in caught.value.details
    begin(other, B, app="blog")
    assert markers(one) == {A: True, B: True}
    end(one, A)
    end(other, B, app="blog")
    begin(other, B)
    assert markers(one) == {B: True}


def test_a_killed_move_is_unfinished_and_can_be_gone_on_with(connect: Connect) -> None:
    one, other = connect(), connect()
    begin(one, A)
    kill(one)
    assert markers(other) == {A: False}
    with pytest.raises(ConflictError, match="is unfinished") as caught:
        begin(other, B)
    assert f"portkit rollback {A} --on" in caught.value.resolution
    begin(other, A)
    assert markers(other) == {A: True}


def test_a_connection_that_hangs_is_taken_over_by_its_own_move(connect: Connect) -> None:
    one, other = connect(), connect()
    begin(one, A)
    one.process.send_signal(signal.SIGSTOP)  # as one whose network is gone; it dies of SIGTERM
    one.process.send_signal(signal.SIGCONT)
    begin(other, A)
    assert markers(other) == {A: True}
    assert one.process.wait(10) == 1


def test_who_waits_for_a_lock_holds_up_nobody(connect: Connect, tmp_path: Path) -> None:
    """The connection that broke may be in an engine's load, which reads the markers at its end."""
    one = connect()
    begin(one, B, app="blog")  # makes the folders
    moves = tmp_path / "far-moves"
    with (moves / "locks" / "shop").open("w") as busy, (moves / "lock").open("a") as markers_lock:
        fcntl.flock(busy, fcntl.LOCK_EX)
        row = {"id": A, "role": "target", "pid": os.getpid(), "start": "1"}
        busy.write("+" + json.dumps(row))
        busy.flush()
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(begin, connect(), A)
            time.sleep(0.5)
            assert not waiting.done()
            fcntl.flock(markers_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(markers_lock, fcntl.LOCK_UN)
            fcntl.flock(busy, fcntl.LOCK_UN)
            assert waiting.result(30) == []


def test_the_lock_is_taken_again_with_a_new_connection(connect: Connect) -> None:
    one, other = connect(), connect()
    begin(one, A)
    kill(one)
    with pytest.raises(PortkitError):
        one.remote.call("store.has", {"digests": []})
    one.remote.call("store.has", {"digests": []})  # a new connection
    assert markers(other) == {A: True}
    with pytest.raises(ConflictError, match="another Move of shop is running"):
        begin(other, B)


def test_whoever_ends_a_dead_move_leaves_no_lock(connect: Connect, tmp_path: Path) -> None:
    one, other = connect(), connect()
    begin(one, A)
    kill(one)
    end(other, A)
    assert list((tmp_path / "far-moves" / "locks").iterdir()) == []
    begin(other, B)
    end(connect(), A)
    assert markers(other) == {B: True}, "one that is held stays held"


def test_both_ends_on_one_host(connect: Connect) -> None:
    source, target, other = connect(), connect(), connect()
    begin(target, A)
    begin(source, A, role="source")
    with pytest.raises(ConflictError):
        begin(other, B)
    end(source, A)
    end(target, A)
    assert markers(other) == {}
    begin(other, B)


@pytest.mark.parametrize(
    ("mine", "yours", "clash"),
    [
        (["", 80, "tcp"], ["10.0.0.1", 80, "tcp"], True),
        (["10.0.0.2", 80, "tcp"], ["10.0.0.1", 80, "tcp"], False),
        (["", 80, "udp"], ["", 80, "tcp"], False),
        (["", 81, "tcp"], ["", 80, "tcp"], False),
    ],
)
def test_a_port_is_reserved_before_the_bytes(
    connect: Connect, mine: list[Any], yours: list[Any], clash: bool
) -> None:
    one, other = connect(), connect()
    begin(one, A, ports=[mine])
    if not clash:
        begin(other, B, app="blog", ports=[yours])
        return
    with pytest.raises(ConflictError, match="port 80 is reserved by another Move") as caught:
        begin(other, B, app="blog", ports=[yours])
    assert A in caught.value.details
    assert markers(one) == {A: True}, "the one that was refused left nothing"
    end(one, A)
    begin(other, B, app="blog", ports=[yours])


def test_a_port_that_was_taken_since_the_check(connect: Connect) -> None:
    one = connect()
    with socket.socket() as other:
        port = ["", free_port(), "tcp"]
        other.bind(("127.0.0.1", port[1]))
        other.listen()
        with pytest.raises(ConflictError, match=f"port {port[1]} is already in use on the target"):
            begin(one, A, ports=[port])
        assert markers(one) == {}
    begin(one, A, ports=[port])
    with socket.socket() as own:
        own.bind(("127.0.0.1", port[1]))
        own.listen()
        begin(one, A, ports=[port])


def test_a_move_whose_marker_is_gone_begins_again(connect: Connect, near: Store) -> None:
    """It was killed when its markers were removed and that was not recorded yet: its own Instance
    listens at the port, and what it brought is there."""
    one = connect()
    blob = send(one, near, b"a disk")
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        own.listen()
        port = ["", own.getsockname()[1], "tcp"]
        again = begin(one, A, ports=[port], needs=[blob.digest], brought=[blob.digest])
    assert again == [blob.digest]


def test_a_blob_goes_with_the_last_move_that_needs_it(connect: Connect, near: Store) -> None:
    one, other = connect(), connect()
    digest = near.put_bytes(b"shared").digest
    assert begin(one, A, needs=[digest]) == [digest]
    send(one, near, b"shared")
    assert begin(other, B, app="blog", needs=[digest]) == [], "it was there"
    one.remote.call("store.remove", {"digests": [digest], "move": A})
    end(one, A)
    assert one.store.has(digest), "the other one needs it"
    (row,) = other.remote.call("move.list", {})["moves"]
    assert row["brought"] == [digest], "and would have to bring it now"
    other.remote.call("store.remove", {"digests": [digest], "move": B})
    assert not one.store.has(digest)


def test_what_was_taken_over_goes_at_the_end(connect: Connect, near: Store) -> None:
    """The image was in the engine by then, so that nothing of it travelled for the second Move."""
    one, other = connect(), connect()
    digest = near.put_bytes(b"shared").digest
    begin(one, A, needs=[digest])
    send(one, near, b"shared")
    begin(other, B, app="blog", needs=[digest])
    end(one, A)
    assert one.store.has(digest), "the other one needs it"
    end(other, B, app="blog")
    assert not one.store.has(digest)


def test_what_was_there_before_is_not_brought(connect: Connect, near: Store) -> None:
    one = connect()
    blob = send(one, near, b"a user's own")
    assert begin(one, A, needs=[blob.digest]) == []


def test_what_an_instance_needs_stays(connect: Connect, near: Store, tmp_path: Path) -> None:
    one = connect()
    blob = send(one, near, b"a disk")
    folder = tmp_path / "far-instances" / B
    folder.mkdir(parents=True)
    (folder / "base").write_text(blob.digest[7:] + ".raw")
    begin(one, A, needs=[blob.digest])
    one.remote.call("store.remove", {"digests": [blob.digest], "move": A})
    assert one.store.has(blob.digest)


TORN = "marker of a Move on the host cannot be read"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"id": "pk-bbbbbbbbbbbb"}'])
def test_a_torn_marker_holds_up_its_own_move_alone(
    connect: Connect, tmp_path: Path, near: Store, text: str
) -> None:
    torn = tmp_path / "far-moves" / f"{B}.json"
    torn.parent.mkdir()
    torn.write_text(text)
    one, other = connect(), connect()
    row = {"id": A, "app": "shop", "role": "target", "about": {}, "needs": [], "ports": []}
    assert one.remote.call("move.begin", row)["unreadable"] == [str(torn)]
    blob = send(one, near, b"a disk")
    one.remote.call("store.remove", {"digests": [blob.digest], "parts": [blob.digest], "move": A})
    assert one.store.has(blob.digest), "the other one may need it"
    assert markers(one) == {A: True}
    for call in (
        lambda: begin(other, B, "blog"),
        lambda: end(other, B, "blog"),
        lambda: other.remote.call("move.list", {"id": B}),
    ):
        with pytest.raises(PortkitError, match=TORN) as caught:
            call()
        assert str(torn) in caught.value.details
        assert f"portkit resume {B}" in caught.value.resolution
    end(one, A)
    assert markers(one) == {}


@pytest.mark.parametrize("what", ["container 0", "domain"])
def test_beside_a_torn_marker_no_app_is_stopped(
    connect: Connect, tmp_path: Path, what: str
) -> None:
    """It may be of the same App, and its way back would start that."""
    begun, other = connect(), connect()
    about = {what: "a" * 64}
    begin(begun, A, role="source", about=about)
    (tmp_path / "far-moves" / f"{B}.json").write_text("{")
    begin(begun, A, role="source", about=about)
    with pytest.raises(PortkitError, match=TORN):
        begin(other, "pk-" + "c" * 12, "blog", role="source", about=about)
    begin(other, "pk-" + "c" * 12, "blog", role="source")
    assert markers(other) == {A: True, "pk-" + "c" * 12: True}


def test_what_is_no_marker_is_nobodys(connect: Connect, tmp_path: Path) -> None:
    one = connect()
    begin(one, A)
    (tmp_path / "far-moves" / "pk-notes.json").write_text("{")
    begin(one, A)
    assert markers(one) == {A: True}


@pytest.mark.parametrize(
    "args",
    [
        {"id": "pk-../../etc"},
        {"app": "../x"},
        {"role": "owner"},
        {"needs": ["sha256:x"]},
        {"about": {"source": "a\nb"}},
    ],
)
def test_malformed(connect: Connect, args: dict[str, Any], tmp_path: Path) -> None:
    one = connect()
    with pytest.raises(PortkitError):
        begin(one, **{"identity": args.pop("id", A), **args})
    assert not list((tmp_path / "far-moves").glob("pk-*"))


def test_room_is_set_aside_for_the_way_back(connect: Connect) -> None:
    far = connect()
    begin(far, A)
    room = Path(far.store.root.parent / f"{far.store.root.name}-moves" / f"{A}.room")
    assert room.stat().st_blocks * 512 >= 1 << 20
    begin(far, A)
    far.remote.call("move.room", {"id": A})
    far.remote.call("move.room", {"id": A})
    assert not room.exists()
    begin(far, A)
    assert room.exists()
    end(far, A)
    assert not room.exists()
    assert markers(far) == {}


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Where the markers are, on a file system of two MiB."""
    root = tmp_path / "far-moves"
    root.mkdir()
    process.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "none", root])
    yield root
    process.run(["umount", "-l", root])


def test_no_room_for_the_way_back(connect: Connect, small: Path) -> None:
    far = connect()
    process.run(["mount", "-o", "remount,size=64k", small])
    with pytest.raises(SpaceError):
        begin(far, A)
    assert markers(far) == {}
    assert not list(small.glob("*.room"))


@pytest.mark.parametrize("free", [0, 4096, 8192, (1 << 20) - 4096, 1 << 20, (1 << 20) + 4096])
def test_a_move_that_has_begun_goes_back_on_a_full_disk(
    connect: Connect, small: Path, free: int
) -> None:
    """Its room was given up and is taken by others by now; another process ends it."""
    begin(connect(), A)
    begun = sorted(small.iterdir())
    connect().remote.call("move.room", {"id": A})
    left = os.statvfs(small)
    (small / "other").write_bytes(bytes(left.f_bavail * left.f_frsize - free))
    far = connect()
    begin(far, A, about={"source": "old", "target": "new", "holder": "ops@other, process 12345"})
    assert markers(far) == {A: True}
    far.remote.call("move.room", {"id": A})
    assert set(small.iterdir()) <= {*begun, small / "other"}
    end(far, A)
    assert sorted(each.name for each in small.iterdir()) == ["lock", "locks", "other"]
    assert not list((small / "locks").iterdir())


def test_what_a_move_needs_as_well_is_not_left_unprotected(connect: Connect, small: Path) -> None:
    begin(connect(), A)
    connect().remote.call("move.room", {"id": A})
    left = os.statvfs(small)
    (small / "other").write_bytes(bytes(left.f_bavail * left.f_frsize))
    with pytest.raises(SpaceError):
        begin(connect(), A, needs=["sha256:" + "1" * 64])
