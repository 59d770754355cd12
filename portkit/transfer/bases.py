"""What both ends hold, open and indexed here: the candidates that blobs are described against."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from portkit.store import Store
from portkit.transfer import recipe
from portkit.transfer.index import Index

MOST_OPEN = 512  # files at once, here and there: a process may have 1024
# Bytes. A recipe against a smaller base saves less than it costs to name the base and to open it.
LEAST_BASE = 1 << 14
# Beside the layers of the same image: the newest of what both ends hold.
_MORE_BASES = 12
# The index takes 32 bytes for each 4 KiB: 32 MiB for this much.
_MORE_BYTES = 4 << 30


@dataclass(frozen=True)
class Base:
    """A blob that both ends hold. in_engine: there it is to be read out of the Docker Engine with
    the whole of an image."""

    digest: str
    size: int
    in_engine: bool = False


def likeliest(rows: Iterable[Base], own: Collection[str]) -> list[Base]:
    """Those that are worth being opened and indexed: all of the same image, `own`, and of the
    others as many of the first as the limits allow."""
    found: list[Base] = []
    # Blobs of other images are likely to share little, and each of them costs reading it once for
    # the index.
    bytes_left = _MORE_BYTES
    for row in rows:
        if row.size < LEAST_BASE:
            continue
        if row.digest not in own:
            if row.size > bytes_left or len(found) >= len(own) + _MORE_BASES:
                continue
            bytes_left -= row.size
        found.append(row)
    return found


class Bases:
    """The likeliest first; what has arrived is added. One index serves every blob of a transfer.

    `close` frees files and index.
    """

    def __init__(self, store: Store, rows: Iterable[Base] = ()) -> None:
        self._store = store
        self._stack = ExitStack()
        self.rows: list[Base] = []
        self._files: list[int] = []
        self._index: Index | None = None
        for row in rows:
            self.add(row)

    def __enter__(self) -> Bases:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, row: Base) -> None:
        """A candidate, where it is in the Store here."""
        if self._store.has(row.digest) and len(self.rows) < MOST_OPEN:
            file = self._stack.enter_context(self._store.content(row.digest).open("rb"))
            self._files.append(file.fileno())
            self.rows.append(row)

    def scan(self, target: int, folder: Path) -> recipe.Script:
        """How a file can be made from them; the bases' numbers are those of `rows`."""
        # The index is grown, not made anew: hashing what is in it already would read every base
        # again for each blob.
        if self._index is not None:
            self._index.extend(self._files[self._index.count :])
        elif self._files:
            self._index = Index(self._files, folder)
            self._stack.callback(self._index.close)
        return recipe.scan(target, self._files, self._index, folder)
