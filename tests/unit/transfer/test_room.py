"""What a host is asked to have free: the blob's data, and its stream beside it while it is made."""

import os
from pathlib import Path
from typing import Any

import pytest

from portkit.progress import NullObserver
from portkit.remote import receive as parts
from portkit.remote import store as there
from portkit.store import Store
from portkit.transfer.bases import Base, Bases
from portkit.transfer.deliver import deliver
from portkit.transfer.resume import Link
from tests.unit.transfer.far import Far


class Asking:
    """Calls to a host; the room that was asked for."""

    def __init__(self, far: Far) -> None:
        self._far = far
        self.encodings = ("zstd",)
        self.lost = False
        self.rooms: list[int] = []

    def call(
        self, verb: str, args: dict[str, Any], *, send: Any = None, receive: Any = None
    ) -> Any:
        if verb == "store.part":
            self.rooms.append(args["room"])
        return self._far.remote.call(verb, args, send=send, receive=receive)


def test_the_data_and_what_is_new(near: Store, far: Far, tmp_path: Path) -> None:
    old, new = os.urandom(1 << 19), os.urandom(1 << 18)
    base = near.put_bytes(old)
    far.store.put_bytes(old)
    with (tmp_path / "disk").open("wb") as file:
        file.write(old + new)
        file.truncate(1 << 28)
    blob = near.add_file(tmp_path / "disk")
    remote = Asking(far)
    with Bases(near, [Base(base.digest, base.size)]) as known:
        deliver(blob, near, Link(remote), known, NullObserver(), lambda count: None)
    data = near.path(blob.digest).stat().st_blocks * 512
    assert data < 1 << 21
    assert remote.rooms == [data + len(new)]


@pytest.mark.parametrize(("held", "wanted"), [(0, 1000), (300, 700), (800, 800)])
def test_what_is_held_has_its_room_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int, wanted: int
) -> None:
    """But it is copied for the connection that takes it over."""
    asked: list[int] = []
    monkeypatch.setattr(there, "ROOT", tmp_path)
    monkeypatch.setattr(there, "TEMPORARY", [])
    monkeypatch.setattr(parts, "_check_room", asked.append)
    args = {"digest": "sha256:" + "0" * 64, "key": "0" * 32, "room": 1000}
    (tmp_path / "parts").mkdir()
    if held:
        (tmp_path / "parts" / ("0" * 64 + "." + "0" * 32)).write_bytes(bytes(held))
    assert parts.offer(args, None)["size"] == held
    assert asked == [wanted]
