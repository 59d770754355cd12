"""Ports that lead on to another host. Through the real remote half, which ends before they do."""

import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from portkit import process
from portkit.errors import ConflictError, HostError
from portkit.remote import forwards
from portkit.wire import processes
from tests.ports import free_port
from tests.unit.transfer.far import Far

A = "pk-" + "a" * 12


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Far]:
    with ExitStack() as stack:
        made = Far(tmp_path / "far", stack)
        yield made
        made.remote.call("forward.end", {"id": A})


@pytest.fixture
def target() -> Iterator[int]:
    """A server that sends back what it was sent, once that has ended."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    said = b""
                    while data := client.recv(65536):
                        said += data
                    client.sendall(said)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def port() -> int:
    return free_port()


def begin(far: Far, port: int, target: int) -> None:
    rows = [["127.0.0.1", port, "127.0.0.1", target]]
    far.remote.call("forward.begin", {"id": A, "app": "shop", "rows": rows})


def live(far: Far) -> list[bool]:
    return [row["live"] for row in far.remote.call("forward.list", {})["forwards"]]


def echo(port: int, data: bytes) -> bytes:
    said = b""
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)  # one half ends before the other
        while more := client.recv(65536):
            said += more
    return said


def test_it_goes_on_when_the_connection_has_ended(
    tmp_path: Path, far: Far, port: int, target: int
) -> None:
    assert live(far) == []
    with ExitStack() as stack:
        other = Far(tmp_path / "far", stack)
        begin(other, port, target)
        assert echo(port, b"x" * 300_000) == b"x" * 300_000
    assert echo(port, b"still") == b"still"
    assert live(far) == [True]
    # Again is once.
    begin(far, port, target)
    assert live(far) == [True]
    assert echo(port, b"one") == b"one"
    assert far.remote.call("forward.end", {"id": A}) == {"removed": True}
    assert far.remote.call("forward.end", {"id": A}) == {"removed": False}
    assert live(far) == []
    with pytest.raises(OSError, match="refused"):
        echo(port, b"")


def test_one_that_nobody_wrote_down_does_not_stay(port: int, target: int) -> None:
    """Its remote half has died right after it was started."""
    rows = json.dumps([["127.0.0.1", port, "127.0.0.1", target]])
    done = process.run([sys.executable, "-I", "-c", forwards._PROGRAM, rows], check=False)
    assert (done.code, done.stdout) == (1, b"ready\n")


def test_a_port_that_is_taken_is_left_alone(far: Far, target: int) -> None:
    with pytest.raises(ConflictError, match="could not be forwarded") as caught:
        begin(far, target, target)
    assert str(target) in caught.value.details
    assert live(far) == []


def test_a_target_that_cannot_be_reached(far: Far, port: int, target: int) -> None:
    begin(far, port, target)
    with pytest.raises(HostError, match="cannot reach"):
        begin(far, free_port(), free_port())
    assert live(far) == [], "what was there before has ended"


def test_another_process_of_that_number_is_not_ended(far: Far, tmp_path: Path) -> None:
    """After a restart of the host."""
    folder = tmp_path / "far-moves" / "forwards"
    folder.mkdir(parents=True)
    mine = os.getpid()
    row = f'{{"id": "{A}", "app": "shop", "pid": {mine}, "start": "another boot 1", "rows": []}}'
    (folder / f"{A}.json").write_text(row)
    assert live(far) == [False]
    assert far.remote.call("forward.end", {"id": A}) == {"removed": True}
    assert processes.started(mine) is not None


def test_what_the_host_says_of_them_is_checked(far: Far, tmp_path: Path) -> None:
    folder = tmp_path / "far-moves" / "forwards"
    folder.mkdir(parents=True)
    path = folder / f"{A}.json"
    for text in ("{", "[]", f'{{"id": "{A}", "pid": 1}}', f'{{"id": "{A}", "pid": "2"}}'):
        path.write_text(text)
        with pytest.raises(HostError, match="cannot be read"):
            far.remote.call("forward.list", {})
    path.unlink()
