"""Blobs to the real remote half: whole, resumed after cuts, refused when anything is not right."""

import hashlib
import os
import random
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portkit.delivery import Delivery
from portkit.errors import EngineError, PortkitError, SpaceError, TransferError, VerifyError
from portkit.model import Blob
from portkit.progress import NullObserver
from portkit.store import Store
from portkit.transfer.bases import Base, Bases
from portkit.transfer.deliver import deliver, foresee
from portkit.transfer.meter import Meter
from portkit.transfer.price import Packing
from portkit.transfer.resume import Link, Sending
from portkit.transfer.stream import Stream
from portkit.wire import recipe as ops
from tests.unit.transfer.contents import bundle_of, contents, some_files, tars
from tests.unit.transfer.cutting import Cutting
from tests.unit.transfer.far import Far

CHANCE = random.Random(7)
LEVELS = [Packing("zstd", 1), Packing("zstd", 3, 20, 2), Packing("zlib", 6), Packing("raw", 0)]


def sent(
    near: Store, far: Far, data: bytes, *bases: bytes, link: Link | None = None
) -> tuple[Blob, Delivery]:
    """Deliver `data` with bases that both have; it is there afterwards."""
    blob = near.put_bytes(data)
    rows = []
    for base in bases:
        near.put_bytes(base)
        found = far.store.put_bytes(base)
        rows.append(Base(found.digest, found.size))
    link = link or Link(far.remote)
    with Bases(near, rows) as known:
        done = deliver(blob, near, link, known, NullObserver(), lambda count: None)
    path = far.store.path(blob.digest)
    assert path.read_bytes() == data
    assert path.stat().st_mode & 0o777 == 0o600
    assert not [name for name in far.files() if name.startswith(("parts/", "tmp/"))]
    assert not list((near.root / "tmp").glob("*/*"))
    assert not list(near.notes().glob("*.how"))
    return blob, done


def test_against_a_base(near: Store, far: Far) -> None:
    files = some_files(40)
    blob, done = sent(near, far, bundle_of(files, 5), bundle_of(files))
    assert done.copied > 0.95 * sum(map(len, files.values()))
    assert done.sent < 0.05 * blob.size
    assert "recipe" in done.reason


@pytest.mark.parametrize("encoding", ["zstd", "zlib", "raw"])
def test_what_is_foreseen_is_what_is_sent(near: Store, far: Far, encoding: str) -> None:
    far.remote.encodings = (encoding,)
    files = some_files(40)
    rows = [Base(near.put_bytes(bundle_of(files)).digest, len(bundle_of(files)))]
    data = bundle_of(files, 5) + CHANCE.randbytes(300_000)
    with Bases(near, rows) as bases:
        before = foresee(near.put_bytes(data), near, Link(far.remote), bases)
    assert not far.files(), "nothing travels"
    _, done = sent(near, far, data, bundle_of(files))
    known = ("digest", "size", "literal", "copied", "zero", "bases", "encoding")
    assert [getattr(before, name) for name in known] == [getattr(done, name) for name in known]
    assert before.sent == pytest.approx(done.sent, rel=0.02, abs=100)


def test_with_nothing_in_common(near: Store, far: Far) -> None:
    _, done = sent(near, far, b"hello " * 100_000, CHANCE.randbytes(100_000))
    assert (done.copied, done.bases) == (0, ())
    assert done.sent < 1000
    sent(near, far, b"")
    sent(near, far, b"x")


@pytest.mark.parametrize("encoding", ["zlib", "raw"])
def test_a_host_without_zstd(near: Store, far: Far, encoding: str) -> None:
    far.remote.encodings = (encoding,)
    files = some_files(20)
    _, done = sent(near, far, bundle_of(files, 5), bundle_of(files))
    assert done.encoding == encoding
    assert done.copied


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(contents | tars(), st.lists(contents | tars(), max_size=2))
def test_anything_against_anything(
    near: Store, far: Far, target: bytes, bases: list[bytes]
) -> None:
    far.store.path(near.put_bytes(target).digest).unlink(missing_ok=True)
    sent(near, far, target, *(base for base in bases if base != target))


def test_holes_stay_holes(near: Store, far: Far, tmp_path: Path) -> None:
    with (tmp_path / "disk").open("wb") as file:
        file.truncate(1 << 28)
        file.seek(1 << 27)
        file.write(CHANCE.randbytes(10_000))
    blob = near.add_file(tmp_path / "disk")
    done = deliver(blob, near, Link(far.remote), None, NullObserver(), lambda count: None)
    assert far.store.path(blob.digest).stat().st_blocks * 512 < 1 << 20
    assert done.sent < 12_000
    assert far.store.add_file(far.store.path(blob.digest)).digest == blob.digest


def test_packed_content_is_not_packed_again(near: Store, far: Far) -> None:
    _, done = sent(near, far, CHANCE.randbytes(3 << 20))
    assert done.level == 1
    assert "compressed already" in done.reason


def test_a_base_that_is_rotten_there_is_done_without(near: Store, far: Far) -> None:
    """One flipped bit at rest on the target: seen, and the blob travels whole."""
    data = CHANCE.randbytes(200_000)
    base = near.put_bytes(data[:150_000])
    far.store.put_bytes(data[:150_000])
    path = far.store.path(base.digest)
    path.write_bytes(flipped(path.read_bytes(), 8 * 70_000))
    blob = near.put_bytes(data)
    rows = [Base(base.digest, base.size)]
    with Bases(near, rows) as known:
        done = deliver(blob, near, Link(far.remote), known, NullObserver(), lambda count: None)
    assert done.copied == 0
    assert far.store.path(blob.digest).read_bytes() == data


def test_a_base_that_is_gone_there_is_done_without(near: Store, far: Far) -> None:
    """There is no engine that could be asked for it either."""
    data = CHANCE.randbytes(200_000)
    base = near.put_bytes(data[:150_000])
    blob = near.put_bytes(data)
    with Bases(near, [Base(base.digest, base.size)]) as known:
        done = deliver(blob, near, Link(far.remote), known, NullObserver(), lambda count: None)
    assert (done.copied, done.bases) == (0, ())
    assert far.store.path(blob.digest).read_bytes() == data


def test_what_fails_without_bases_is_not_tried_again(near: Store) -> None:
    blob, other = near.put_bytes(b"some data"), near.put_bytes(CHANCE.randbytes(50_000))
    for refusal in (EngineError("no engine"), VerifyError("damaged")):
        remote = Refusing(refusal)
        known = Bases(near, [Base(other.digest, other.size)])
        with known, pytest.raises(type(refusal)):
            deliver(blob, near, Link(remote), known, NullObserver(), lambda count: None)
        assert remote.calls == ["store.part", "store.apply"]


class Refusing:
    """A host that takes no recipe."""

    encodings, lost = ("zstd",), False

    def __init__(self, refusal: PortkitError) -> None:
        self._refusal = refusal
        self.calls: list[str] = []

    def call(self, verb: str, args: dict[str, Any], **_: Any) -> dict[str, Any]:
        self.calls.append(verb)
        if verb == "store.apply":
            raise self._refusal
        return {"size": 0, "sha256": hashlib.sha256().hexdigest()}


def test_a_blob_that_is_rotten_here_is_refused(near: Store, far: Far) -> None:
    blob = near.put_bytes(CHANCE.randbytes(100_000))
    path = near.path(blob.digest)
    path.write_bytes(flipped(path.read_bytes(), 12_345))
    with pytest.raises(VerifyError):
        deliver(blob, near, Link(far.remote), None, NullObserver(), lambda count: None)
    assert far.files() == []


def test_no_room(near: Store, far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    args = {"digest": "sha256:" + "0" * 64, "key": "0" * 32, "room": 1 << 62}
    with pytest.raises(SpaceError, match="room"):
        far.remote.call("store.part", args)


# ---------------------------------------------------------------- cuts


@pytest.mark.parametrize("seed", range(3))
def test_cuts_at_random_bytes(near: Store, far: Far, seed: int) -> None:
    chance = random.Random(seed)
    data = chance.randbytes(2_700_000) + b"text " * 100_000 + chance.randbytes(300_000)
    cuts = [chance.randrange(0, 500_000) for _ in range(20)]
    pauses: list[float] = []
    remote = Cutting(far, cuts)
    link = Link(remote, pause=pauses.append)
    _, done = sent(near, far, data, data[1 << 18 : 1 << 19], link=link)
    assert done.copied == 1 << 18
    assert done.resumed == len(pauses) > 5
    # What is in the pipe is lost each time, and no more.
    assert remote.data < done.sent + done.resumed * 80_000


def test_pauses_grow_and_end(near: Store, far: Far) -> None:
    blob = near.put_bytes(CHANCE.randbytes(100_000))
    pauses: list[float] = []
    link = Link(Cutting(far, [0] * 99), pause=pauses.append, pauses=(1.0, 2.0, 4.0))
    with pytest.raises(TransferError):
        deliver(blob, near, link, None, NullObserver(), lambda count: None)
    assert pauses == [1.0, 2.0, 4.0]


def test_the_same_command_again_goes_on(near: Store, far: Far) -> None:
    data = CHANCE.randbytes(1 << 20)
    blob = near.put_bytes(data)
    link = Link(Cutting(far, [700_000]), pauses=())
    with pytest.raises(TransferError):
        deliver(blob, near, link, None, NullObserver(), lambda count: None)
    assert [name.split("/")[0] for name in far.files()] == ["parts"]
    part = far.store.root / far.files()[0]
    assert part.stat().st_mode & 0o777 == 0o600
    again = Cutting(far, [])
    sent(near, far, data, link=Link(again))
    assert again.data < 420_000


def test_the_same_command_again_goes_on_behind_another_level(
    near: Store, far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link was measured on the way; that is not measured again, but known."""
    rates = [None, None, 12e6]
    monkeypatch.setattr(Meter, "rate", lambda self: rates.pop(0) if rates else 1e6)
    data = b"".join(b"%d %s" % (n, CHANCE.randbytes(20).hex().encode()) for n in range(150_000))
    blob = near.put_bytes(data)
    link = Link(Cutting(far, [3_000_000]), pauses=())
    with pytest.raises(TransferError):
        deliver(blob, near, link, None, NullObserver(), lambda count: None)
    assert rates == []
    monkeypatch.setattr(Meter, "rate", lambda self: None)
    again = Cutting(far, [])
    _, done = sent(near, far, data, link=Link(again))
    assert done.level == 9
    assert again.data < done.sent - 2_500_000


@pytest.mark.parametrize("change", ["flipped", "longer", "nonsense"])
def test_a_part_that_does_not_fit_is_thrown_away(near: Store, far: Far, change: str) -> None:
    data = CHANCE.randbytes(500_000)
    blob = near.put_bytes(data)
    with pytest.raises(TransferError):
        link = Link(Cutting(far, [300_000]), pauses=())
        deliver(blob, near, link, None, NullObserver(), lambda count: None)
    part = far.store.root / far.files()[0]
    held = part.read_bytes()
    change_to = {"flipped": flipped(held, 99_999), "longer": held + data, "nonsense": b"x" * 9}
    part.write_bytes(change_to[change])
    sent(near, far, data)


def test_old_and_foreign_parts_go(near: Store, far: Far) -> None:
    sent(near, far, b"1")
    parts = far.store.root / "parts"
    blob = near.put_bytes(b"2")
    old, foreign, fresh = (
        parts / ("a" * 64 + "." + "0" * 32),
        parts / (blob.digest[7:] + "." + "0" * 32),
        parts / ("b" * 64 + "." + "0" * 32),
    )
    for path in (old, foreign, fresh):
        path.write_bytes(b"part")
    day_ago = time.time() - 90_000
    os.utime(old, (day_ago, day_ago))
    killed, alive = far.store.root / "tmp/killed", far.store.root / "tmp/alive"
    for folder in (killed, alive):
        folder.mkdir()
        (folder / "x").write_bytes(b"x")
        os.utime(folder, (day_ago, day_ago))
    os.utime(killed / "x", (day_ago, day_ago))
    deliver(blob, near, Link(far.remote), None, NullObserver(), lambda count: None)
    assert list(parts.iterdir()) == [fresh]
    assert alive.is_dir() and not killed.exists()


def test_a_connection_that_hangs_cannot_write_to_a_part_that_was_taken_over(
    near: Store, far: Far, tmp_path: Path
) -> None:
    from contextlib import ExitStack

    args = {"digest": "sha256:" + "0" * 64, "key": "0" * 32, "room": 0}
    apply = {**args, "size": 10, "encoding": "raw", "offset": 0, "bases": []}
    with ExitStack() as stack:
        second = Far(far.store.root, stack)

        def hanging() -> Iterable[bytes]:
            yield b"\x02\x0ahello"
            part = far.store.root / "parts" / ("0" * 64 + "." + "0" * 32)
            deadline = time.monotonic() + 10
            while not part.exists() or part.stat().st_size < 7:
                assert time.monotonic() < deadline
            found = second.remote.call("store.part", args)
            assert found["size"] == 7
            yield b"world"
            yield b"more than there may be" * 9

        far.remote.call("store.part", args)
        with pytest.raises(VerifyError):
            far.remote.call("store.apply", apply, send=hanging())
        assert second.remote.call("store.part", args)["size"] == 7


# ---------------------------------------------------------------- what is not right is refused


def flipped(data: bytes, bit: int) -> bytes:
    out = bytearray(data)
    out[bit // 8 % len(out)] ^= 1 << bit % 8
    return bytes(out)


def stream_of(near: Store, pieces: list[bytes], how: Packing) -> bytes:
    folder = near.temporary().parent
    with Stream(iter(pieces), how, folder) as stream:
        return b"".join(stream.read())


class Trial:
    """A recipe of three kinds of operations, to be altered and applied again and again."""

    def __init__(self, near: Store, far: Far, how: Packing) -> None:
        self.far = far
        base = CHANCE.randbytes(6000)
        self.base = far.store.put_bytes(base)
        writer = ops.Writer()
        news = b"some news that shrinks " * 9 + CHANCE.randbytes(30)
        pieces = [
            writer.copy(0, 100, 5000),
            writer.zero(9000),
            writer.literal(len(news)),
            news,
            writer.copy(0, 0, 900),
            writer.end(),
        ]
        content = base[100:5100] + bytes(9000) + news + base[:900]
        self.stream = stream_of(near, pieces, how)
        self.digest = "sha256:" + hashlib.sha256(content).hexdigest()
        self.args = {
            "digest": self.digest,
            "size": len(content),
            "key": "0" * 32,
            "offset": 0,
            "encoding": how.encoding,
            "bases": [{"digest": self.base.digest, "size": 6000}],
        }

    def run(self, stream: bytes, cut: int | None = None, **changes: Any) -> None:
        chunks = [stream] if cut is None else [stream[:cut], stream[cut:]]
        self.far.remote.call("store.apply", {**self.args, **changes}, send=chunks)

    def refused(self, stream: bytes, **changes: Any) -> None:
        with pytest.raises(VerifyError):
            self.run(stream, **changes)
        assert self.far.files() == [f"blobs/sha256/{self.base.digest[7:]}"], "nothing is left"

    def works(self) -> None:
        self.run(self.stream)
        assert self.far.store.has(self.digest)
        self.far.store.path(self.digest).unlink()


def prepared(near: Store, far: Far, how: Packing) -> Trial:
    trial = Trial(near, far, how)
    (far.store.root / "oci-layout").unlink(missing_ok=True)  # the test's own Store made it
    trial.works()
    return trial


@pytest.mark.parametrize("how", LEVELS, ids=lambda how: f"{how.encoding}{how.level}")
def test_any_truncation_is_refused(near: Store, far: Far, how: Packing) -> None:
    trial = prepared(near, far, how)
    for length in range(0, len(trial.stream), 1 if how.encoding == "zstd" else 7):
        trial.refused(trial.stream[:length])
    trial.refused(trial.stream + b"\0")
    trial.works()


def flips(near: Store, far: Far, count: int) -> None:
    """One flipped bit: in the stream, or at rest in the base; in pieces cut anywhere."""
    for how in LEVELS:
        trial = prepared(near, far, how)
        base = far.store.path(trial.base.digest)
        whole = base.read_bytes()
        bits: set[int] = set()
        for number in range(count // len(LEVELS)):
            cut = CHANCE.randrange(len(trial.stream))
            if number % 4:
                trial.refused(
                    flipped(trial.stream, CHANCE.randrange(8 * len(trial.stream))), cut=cut
                )
                continue
            bit = number // 4 % 8
            bits.add(bit)
            base.write_bytes(flipped(whole, 8 * CHANCE.randrange(5100) + bit))
            trial.refused(trial.stream, cut=cut)
            base.write_bytes(whole)
        assert bits == set(range(8))
        trial.works()
        base.unlink()


def test_one_flipped_bit(near: Store, far: Far) -> None:
    flips(near, far, 400)


@pytest.mark.slow
def test_one_flipped_bit_in_ten_thousand_trials(near: Store, far: Far) -> None:
    flips(near, far, 10_000)


def test_false_declarations_are_refused(near: Store, far: Far) -> None:
    trial = prepared(near, far, LEVELS[0])
    rows = trial.args["bases"]
    assert isinstance(rows, list)
    for changes in (
        {"size": 1},
        {"size": 1 << 40},
        {"digest": "sha256:" + "1" * 64},
        {"bases": []},
        {"bases": [{**rows[0], "size": 5999}]},
        {"bases": [{**rows[0], "digest": "sha256:../../etc/passwd"}]},
        {"encoding": "nonsense"},
        {"offset": 1},
        {"offset": -1},
        {"key": "../../x"},
        {"key": 5},
    ):
        trial.refused(trial.stream, **changes)
    trial.works()


def test_a_bomb_ends_at_the_size_that_was_announced(near: Store, far: Far) -> None:
    trial = prepared(near, far, LEVELS[0])
    writer = ops.Writer()
    bomb = [writer.literal(1 << 30), *[bytes(1 << 20)] * 1024, writer.end()]
    stream = stream_of(near, bomb, LEVELS[0])
    assert len(stream) < 200_000
    trial.refused(stream)
    trial.works()


def test_a_stream_can_be_read_again_from_any_byte(near: Store) -> None:
    pieces = [CHANCE.randbytes(5000) for _ in range(800)]
    how = [None, Packing("zstd", 9)]
    folder = near.temporary().parent
    with Stream(iter(pieces), LEVELS[0], folder, lambda eaten: how.pop(0)) as stream:
        whole = b"".join(stream.read())
        for offset in (0, 1, 4096, len(whole) - 1, len(whole)):
            assert b"".join(stream.read(offset)) == whole[offset:]
            assert stream.starts_with(offset, hashlib.sha256(whole[:offset]).hexdigest())
        assert not stream.starts_with(10, "0" * 64)
        assert not stream.starts_with(len(whole) + 1, "0" * 64)
        assert stream.how.level == 9
    assert whole[-32:] == hashlib.sha256(whole[:-32]).digest()


def test_the_key_names_all_that_the_stream_depends_on() -> None:
    blob, base = Blob("sha256:" + "0" * 64, 5), Blob("sha256:" + "1" * 64, 9)
    keys = {
        Sending(blob, LEVELS[0], [base], room=0).key,
        Sending(blob, LEVELS[1], [base], room=0).key,
        Sending(blob, LEVELS[0], [], room=0).key,
        Sending(Blob(blob.digest, 6), LEVELS[0], [base], room=0).key,
        Sending(blob, LEVELS[0], [base], room=0, found=[base.digest]).key,
    }
    assert len(keys) == 5
