"""A bundle's recipe to a host: over cuts, refusals and bases that are nowhere."""

import errno
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from portkit.bundle import Bundle
from portkit.delivery import Delivery
from portkit.errors import EngineError, PortkitError, SpaceError, TransferError, VerifyError
from portkit.host import Host
from portkit.model import Artifact, Blob, Form
from portkit.progress import NullObserver
from portkit.store import Store
from portkit.transfer.forward import Parcel, bring, held
from portkit.transfer.resume import Link
from tests.unit.bundle.samples import layer
from tests.unit.transfer.far import Far


class Bad:
    """A remote half that does what the real one does, but for some calls: each raises what stands
    under its verb, one after the other; a TransferError is a cut."""

    def __init__(self, far: Far, **errors: list[PortkitError]) -> None:
        self._remote, self._errors = far.remote, errors
        self.encodings, self.lost = far.remote.encodings, False
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def call(self, verb: str, args: dict[str, Any], **more: Any) -> dict[str, Any]:
        self.calls.append((verb, args))
        left = self._errors.get(verb.replace(".", "_"), [])
        error = left.pop(0) if left else None
        self.lost = isinstance(error, TransferError)
        if error is not None:
            raise error
        return self._remote.call(verb, args, **more)


class Words(NullObserver):
    def __init__(self) -> None:
        self.said: list[str] = []

    def message(self, text: str) -> None:
        self.said.append(text)


class Way:
    """The made disk's bundle, unpacked here as far as it can be; `go` brings the disk."""

    def __init__(self, bundle: Bundle, here: Store) -> None:
        self.here, self.words = here, Words()
        self.disk = bundle.artifact(Form.DISK, here).blobs[-1]
        self.parcels = bundle.parcels(here)

    def go(self, remote: Any) -> list[Delivery]:
        host = Host("far", None, remote)
        link = Link(remote, pause=lambda _: None, pauses=(0.0, 0.0))
        return bring(self.disk, self.parcels, self.here, host, link, self.words, lambda _: None)


@pytest.fixture
def way(made: Path, tmp_path: Path) -> Iterator[Way]:
    with Bundle(made) as bundle:
        yield Way(bundle, Store(tmp_path / "empty"))


def cut() -> TransferError:
    return TransferError("the connection to the host broke")


@pytest.mark.parametrize("verb", ["store_has", "image_list", "store_remove"])
def test_calls_around_it_survive_a_cut(
    way: Way, far: Far, artifacts: dict[Form, Artifact], verb: str
) -> None:
    far.store.put_bytes(layer(1))
    assert len(way.go(Bad(far, **{verb: [cut(), cut()]}))) == 2
    assert far.store.has(way.disk.digest)
    assert not far.store.has(artifacts[Form.IMAGE].blobs[2].digest)


def test_the_error_that_matters_is_told(way: Way, far: Far) -> None:
    """Blobs that cannot be removed are no reason to hide why the disk did not arrive."""
    far.store.put_bytes(layer(1))
    remote = Bad(far, store_remove=[EngineError("it is busy")])
    way.parcels[way.disk.digest] = replace(way.parcels[way.disk.digest], pieces=lambda: iter([b""]))
    with pytest.raises(VerifyError):
        way.go(remote)
    assert [verb for verb, _ in remote.calls][-1] == "store.remove"
    assert "it is busy" in way.words.said[-1]


def test_a_blob_of_another_size_is_not_held(
    way: Way, far: Far, host: Host, artifacts: dict[Form, Artifact], near: Store
) -> None:
    lower = artifacts[Form.IMAGE].blobs[1]
    far.store.put_bytes(layer(1))
    assert held(host, {lower.digest: lower.size}) == {lower.digest}
    far.store.path(lower.digest).write_bytes(b"short")
    assert held(host, {lower.digest: lower.size}) == set()
    way.here.put_bytes(layer(1))
    assert len(way.go(far.remote)) == 3
    assert far.store.has(way.disk.digest)


def test_a_base_that_is_nowhere(way: Way, far: Far, artifacts: dict[Form, Artifact]) -> None:
    before = far.files()
    with pytest.raises(VerifyError, match="neither here nor on the host") as caught:
        way.go(far.remote)
    assert artifacts[Form.IMAGE].blobs[1].digest in caught.value.details
    assert far.files() == before


def test_a_long_chain_of_recipes(way: Way, far: Far) -> None:
    chain = [Blob(f"sha256:{number:064x}", 9) for number in range(3000)]
    way.parcels = {
        blob.digest: Parcel(blob, (base,), 9, lambda: iter([])) for base, blob in pairwise(chain)
    }
    way.disk = chain[-1]
    with pytest.raises(VerifyError, match="neither here nor on the host") as caught:
        way.go(far.remote)
    assert chain[0].digest in caught.value.details


def test_room_is_asked_for_copies_but_not_for_holes(
    way: Way, far: Far, artifacts: dict[Form, Artifact]
) -> None:
    far.store.put_bytes(layer(1))
    remote = Bad(far)
    way.go(remote)
    rooms = {args["digest"]: args["room"] for verb, args in remote.calls if verb == "store.part"}
    parcel = way.parcels[way.disk.digest]
    assert artifacts[Form.DISK].stored_bytes < way.disk.size
    assert rooms[way.disk.digest] == artifacts[Form.DISK].stored_bytes + parcel.packed_size
    assert replace(parcel, data_bytes=None).room == way.disk.size + parcel.packed_size


def test_no_room_here(way: Way, far: Far) -> None:
    def pieces() -> Iterator[bytes]:
        raise OSError(errno.ENOSPC, "No space left on device")
        yield b""

    far.store.put_bytes(layer(1))
    way.parcels[way.disk.digest] = replace(way.parcels[way.disk.digest], pieces=pieces)
    with pytest.raises(SpaceError):
        way.go(far.remote)
