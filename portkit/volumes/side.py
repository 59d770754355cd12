"""Calls about one folder to the host that it is on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from portkit.errors import VerifyError
from portkit.host import Host
from portkit.volumes import streams
from portkit.volumes.index import Index
from portkit.wire import codec, tree
from portkit.wire.blocks import Want, pages_of
from portkit.wire.json_types import JsonObject
from portkit.wire.tree import Row

# A compressor makes content that does not shrink a little longer, and each part has a head.
_GROWTH = 1.02
# Of a block, beside its data: its path and its numbers.
_BESIDE = tree.MAX_PATH + 128


class Trust(StrEnum):
    """Which files a host does not hash again: those of the same size and times; those of which it
    can also prove that nothing has changed (portkit/remote/volume_known.py); none."""

    TIMES = "times"
    PROOF = "proof"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Folder:
    """A folder on a host, by its absolute path there.

    image: the path is that of a disk with an ext4 file system, and the folder is what is in that.
    It can be copied from and not to.
    """

    host: Host
    path: str
    image: bool = False


def encoding_of(*hosts: Host) -> str:
    """What streams between hosts and here are compressed with: the best that all of them know."""
    if all(host.name == "local" for host in hosts):
        return "raw"  # nothing goes over a link
    known = [set(host.remote.encodings) for host in hosts]
    # "raw" is known everywhere.
    return next(each for each in codec.encodings() if all(each in names for names in known))


@dataclass(frozen=True)
class Scanned:
    """vanished: entries that were gone when they were looked at. provable: whether the host can
    prove that a file has not changed. remembered: bytes of content that was not hashed again."""

    index: Index
    vanished: int
    provable: bool
    remembered: int


@dataclass(frozen=True)
class Side:
    """encoding: of all streams, which both ends can."""

    folder: Folder
    encoding: str

    def _args(self, **more: object) -> JsonObject:
        level = streams.FAST_LEVEL  # hashes do not shrink
        return {**self._place(), "encoding": self.encoding, "level": level, **more}

    def _place(self) -> JsonObject:
        return {"path": self.folder.path, **({"image": True} if self.folder.image else {})}

    def scan(
        self, trust: Trust, *, margin_ms: int | None, content: Callable[[int], None]
    ) -> Scanned:
        """What the folder holds. margin_ms: a later scan may believe what is hashed now of files
        whose ctime is so much older (Trust.PROOF); None: it may not."""
        came: list[bytes] = []
        parts = streams.Parts(came.append, content)
        most = _stream(tree.MAX_INDEX)
        row = self.folder.host.remote.call(
            "volume.scan",
            self._args(trust=trust, margin_ms=margin_ms),
            receive=parts.feed,
            most=most,
        )
        pieces = streams.plain(came, self.encoding)
        index = Index.read(pieces, self.folder.host.name)
        return Scanned(index, row["vanished"], row["provable"], row["remembered"])

    def digest(self, *, essential: bool) -> str:
        """sha256 of the rows that `scan` would give now, as `Index` has it: its `digest` where
        essential, else its `exact_digest`."""
        args = {**self._place(), "essential": essential}
        return str(self.folder.host.remote.call("volume.digest", args)["digest"])

    def pages(self, wants: Sequence[Want]) -> list[bytes]:
        """The hashes of the pages of blocks; b"" for one that is not there."""
        came: list[bytes] = []
        bytes_each = 4 + tree.HINT * tree.PAGES
        self.folder.host.remote.call(
            "volume.pages",
            self._args(),
            send=self._stream(want.pack() for want in wants),
            receive=streams.Parts(came.append).feed,
            most=_stream(len(wants) * bytes_each),
        )
        pieces = streams.plain(came, self.encoding)
        try:
            found = list(tree.records(pieces, len(wants) * bytes_each))
        except ValueError as error:
            raise _nonsense(self.folder.host.name, str(error)) from error
        sizes = [tree.HINT * pages_of(want.length) for want in wants]
        if [len(each) for each in found] != [
            size if each else 0 for each, size in zip(found, sizes, strict=False)
        ] or len(found) != len(wants):
            raise _nonsense(self.folder.host.name, "it sent hashes of other blocks than requested")
        return found

    def read(
        self,
        wants: Sequence[Want],
        *,
        exact: bool,
        level: int,
        data: Callable[[bytes], None],
        content: Callable[[int], None],
    ) -> JsonObject:
        """Blocks, as they come. level: at which the host compresses them."""
        return self.folder.host.remote.call(
            "volume.read",
            self._args(exact=exact, level=level),
            send=self._stream(want.pack() for want in wants),
            receive=streams.Parts(data, content).feed,
            most=_stream(len(wants) * (tree.BLOCK + _BESIDE)),
        )

    def shape(self, changes: Iterable[tuple[bytes, Row]], *, room: int, nodes: bool) -> None:
        """Remove, make and resize entries."""
        rows = (tree.pack_change(kind, row) for kind, row in changes)
        args = self._args(room=room, nodes=nodes)
        self.folder.host.remote.call("volume.shape", args, send=self._stream(rows))

    def fill(self, chunks: Iterable[bytes]) -> None:
        """Write blocks, as `read` gave them."""
        self.folder.host.remote.call("volume.fill", self._args(), send=chunks)

    def settle(self, rows: Iterable[Row]) -> None:
        """Give entries what is beside their content."""
        packed = (tree.pack(row._replace(hashes=b"")) for row in rows)
        self.folder.host.remote.call("volume.settle", self._args(), send=self._stream(packed))

    def _stream(self, payloads: Iterable[bytes]) -> Iterable[bytes]:
        return streams.compressed(map(tree.record, payloads), self.encoding)


def _stream(content: int) -> int:
    """How many bytes a stream of so much content has at most."""
    return int(content * _GROWTH) + (1 << 20)


def _nonsense(host: str, why: str) -> VerifyError:
    return VerifyError(
        f"{host} sent an invalid description of a folder",
        details=why,
        resolution="Check which program answers on the host.",
    )
