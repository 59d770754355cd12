"""The same command again goes on, although it knows another rate and has other candidates."""

import os
import random
import time

import pytest

from portkit.delivery import Delivery
from portkit.errors import TransferError
from portkit.model import Blob
from portkit.progress import NullObserver
from portkit.store import Store
from portkit.transfer import price
from portkit.transfer.bases import Base, Bases
from portkit.transfer.deliver import deliver
from portkit.transfer.meter import Meter
from portkit.transfer.price import Packing
from portkit.transfer.resume import Link
from tests.unit.transfer.cutting import Cutting
from tests.unit.transfer.far import Far

CHANCE = random.Random(11)
CUT = 900_000
FALSE = '{"first": {"encoding": "zstd", "level": 1}, "found": [["../../x", true]], "change": null}'


def by_rate(_: object, size: int, rate: float, cores: int, packed: bool) -> Packing:
    """A level that depends on the rate even for what is small."""
    return Packing("zstd", 9 if rate < 20e6 else 1, 18)


@pytest.fixture(autouse=True)
def levels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(price, "packing", by_rate)


def text(count: int) -> bytes:
    return b"".join(b"%d %s" % (n, CHANCE.randbytes(20).hex().encode()) for n in range(count))


def both(near: Store, far: Far, data: bytes, *, in_engine: bool = False) -> Base:
    far.store.put_bytes(data)
    blob = near.put_bytes(data)
    return Base(blob.digest, blob.size, in_engine)


def send(near: Store, blob: Blob, link: Link, rows: list[Base]) -> Delivery:
    with Bases(near, rows) as known:
        return deliver(blob, near, link, known, NullObserver(), lambda count: None)


def cut(
    near: Store, far: Far, blob: Blob, rows: list[Base], rate: float | None = 2e6, at: int = CUT
) -> None:
    link = Link(Cutting(far, [at]), pauses=(), rate=rate)
    with pytest.raises(TransferError):
        send(near, blob, link, rows)


def notes(near: Store) -> list[str]:
    return [path.name for path in near.notes().glob("*.how")]


def mixed(near: Store, far: Far) -> tuple[bytes, list[Base]]:
    """A target and bases: the first is not worth its reading and hides a part of the second; the
    second and the third have much in common."""
    first, common, news = CHANCE.randbytes(8192), CHANCE.randbytes(1 << 19), text(40_000)
    rows = [
        both(near, far, first + CHANCE.randbytes(3_000_000), in_engine=True),
        both(near, far, first + common + CHANCE.randbytes(4096)),
        both(near, far, common + CHANCE.randbytes(8192)),
        both(near, far, CHANCE.randbytes(100_000)),
    ]
    return first + common + news + common[4096:] + text(20_000), rows


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0], []])
def test_another_rate_and_another_order_of_bases(near: Store, far: Far, order: list[int]) -> None:
    data, rows = mixed(near, far)
    blob = near.put_bytes(data)
    cut(near, far, blob, rows)
    again = Cutting(far, [])
    done = send(near, blob, Link(again), [rows[number] for number in order])
    assert far.store.path(blob.digest).read_bytes() == data
    assert rows[0].digest not in done.bases and rows[1].digest in done.bases
    assert again.data < done.sent - CUT + 300_000
    assert notes(near) == []


def test_the_change_of_the_level_is_known_too(
    near: Store, far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = [None, 2e6]
    monkeypatch.setattr(Meter, "rate", lambda self: rates.pop(0) if rates else 2e6)
    blob = near.put_bytes(text(90_000))
    cut(near, far, blob, [], rate=None, at=1_700_000)
    assert rates == []
    monkeypatch.setattr(Meter, "rate", lambda self: None)
    again = Cutting(far, [])
    done = send(near, blob, Link(again, rate=90e6), [])
    assert done.level == 9
    assert again.data < done.sent - 1_400_000


@pytest.mark.parametrize("end", ["here", "there"])
def test_a_base_that_is_gone(near: Store, far: Far, end: str) -> None:
    data, rows = mixed(near, far)
    blob = near.put_bytes(data)
    cut(near, far, blob, rows)
    (near if end == "here" else far.store).path(rows[1].digest).unlink()
    done = send(near, blob, Link(far.remote), rows[2:])
    assert done.bases == (rows[2].digest,)
    assert far.store.path(blob.digest).read_bytes() == data
    assert notes(near) == []


def test_a_base_that_became_rotten_there(near: Store, far: Far) -> None:
    """The blob goes without bases, and not as the note says."""
    data, rows = mixed(near, far)
    blob = near.put_bytes(data)
    cut(near, far, blob, rows)
    path = far.store.path(rows[1].digest)
    path.write_bytes(bytes(path.stat().st_size))
    done = send(near, blob, Link(far.remote), rows)
    assert done.bases == ()
    assert far.store.path(blob.digest).read_bytes() == data


def test_without_a_part_there_it_is_decided_anew(near: Store, far: Far) -> None:
    blob = near.put_bytes(text(60_000))
    cut(near, far, blob, [])
    for name in far.files():
        if name.startswith("parts/"):
            (far.store.root / name).unlink()
    assert send(near, blob, Link(far.remote), []).level == 1


def test_a_note_is_of_one_host(near: Store, far: Far) -> None:
    """A blob on its way to two hosts goes on to both."""
    blob = near.put_bytes(text(60_000))
    cut(near, far, blob, [])
    link = Link(Cutting(far, [0]), pauses=(), name="another")
    with pytest.raises(TransferError):
        send(near, blob, link, [])
    assert len(notes(near)) == 2


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"first": 1}', "\0", FALSE])
def test_a_note_that_makes_no_sense(near: Store, far: Far, note: str) -> None:
    blob = near.put_bytes(text(60_000))
    cut(near, far, blob, [])
    (near.root / "tmp" / notes(near)[0]).write_text(note)
    send(near, blob, Link(far.remote), [])
    assert notes(near) == []


def test_notes_are_private_and_go_after_a_day(near: Store, far: Far) -> None:
    blob = near.put_bytes(text(60_000))
    cut(near, far, blob, [])
    (name,) = notes(near)
    path = near.root / "tmp" / name
    assert path.stat().st_mode & 0o777 == 0o600
    other = near.put_bytes(b"another")
    send(near, other, Link(far.remote), [])
    assert path.exists()
    day_ago = time.time() - 90_000
    os.utime(path, (day_ago, day_ago))
    send(near, Blob(other.digest, other.size), Link(far.remote), [])
    assert notes(near) == []
