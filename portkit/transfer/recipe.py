"""Target and bases -> a recipe: which bytes are copies, which are zeros, which are new.

`scan` finds out and writes a script: the operations without the new bytes. `render` makes the
recipe of it, in the format of `portkit.wire.recipe`. Between the two it can be decided
which bases are worth their trouble. Nothing here grows with the size of the content.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from portkit.errors import VerifyError
from portkit.transfer.cuts import BLOCK, UNIT, Segment, segments
from portkit.transfer.index import Index
from portkit.wire import recipe as ops

_WINDOW = 1 << 20  # a multiple of BLOCK
_ZEROS = bytes(_WINDOW)
_ZERO_BLOCK = bytes(BLOCK)


class Script:
    """The operations that make a target, without new bytes. Sizes in bytes.

    copied: by base. literal, zero: of the target. `close` frees it.
    """

    def __init__(self, size: int, folder: Path) -> None:
        self.size = size
        self.copied: Counter[int] = Counter()
        self.literal = 0
        self.zero = 0
        self._writer = ops.Writer()
        # In memory up to 4 MiB, which is more than nearly every script has; an image of some
        # million small files needs more.
        self._file = tempfile.SpooledTemporaryFile(4 << 20, "w+b", dir=str(folder))  # noqa: SIM115
        self._kind, self._length = ops.ZERO, 0  # of what is still growing

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Script:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def used(self, dropped: Collection[int] = ()) -> list[int]:
        """The bases that a recipe names, in its order: their numbers in it are the positions."""
        return [base for base in sorted(self.copied) if base not in dropped]

    def put(self, kind: int, length: int) -> None:
        """Zeros or new bytes; what follows its like becomes one operation."""
        if length <= 0:
            return
        if kind != self._kind:
            self._flush()
        self._kind = kind
        self._length += length
        if kind == ops.ZERO:
            self.zero += length
        else:
            self.literal += length

    def copy(self, base: int, offset: int, length: int) -> None:
        self._flush()
        self.copied[base] += length
        self._file.write(self._writer.copy(base, offset, length))

    def _flush(self) -> None:
        if self._length:
            zero = self._kind == ops.ZERO
            told = self._writer.zero if zero else self._writer.literal
            self._file.write(told(self._length))
        self._length = 0

    def finish(self) -> None:
        self._flush()
        self._file.write(self._writer.end())

    def operations(self) -> Iterator[tuple[int, int, int, int]]:
        """(kind, base, offset, length), without the end."""
        self._file.seek(0)
        reader = ops.Reader(iter(lambda: self._file.read(1 << 16), b""))
        while True:
            operation = reader.operation()
            if operation[0] == ops.END:
                return
            yield operation


def scan(target: int, bases: Sequence[int], index: Index | None, folder: Path) -> Script:
    """How the target can be made from the bases (descriptors, the ones that `index` is of)."""
    script = Script(os.fstat(target).st_size, folder)
    try:
        _Scan(target, bases, index, script).run()
        script.finish()
    except BaseException:
        script.close()
        raise
    return script


class _Scan:
    def __init__(
        self, target: int, bases: Sequence[int], index: Index | None, script: Script
    ) -> None:
        self._target = target
        self._bases = bases
        self._sizes = [os.fstat(base).st_size for base in bases]
        self._index = index
        self._script = script
        self._done = 0  # of the target

    def run(self) -> None:
        for segment in segments(self._target):
            if segment.hole:
                # A copy may have led into the hole already.
                self._script.put(ops.ZERO, segment.end - max(self._done, segment.start))
                self._done = max(self._done, segment.end)
            else:
                self._segment(segment)

    def _segment(self, segment: Segment) -> None:
        """Block by block from its grid; what a copy took already is passed over."""
        while self._done < segment.end:
            behind = self._done - segment.grid
            # The next block of the grid at or after `_done`: -(-a // b) divides and rounds up. What
            # lies before it was left by a copy that ended between two blocks.
            start = segment.grid + max(0, -(-behind // BLOCK)) * BLOCK
            if start > self._done:
                stop = min(start, segment.end)
                self._new(os.pread(self._target, stop - self._done, self._done))
                continue
            window = os.pread(self._target, min(_WINDOW, segment.end - start), start)
            if not window:
                raise _shorter()
            self._window(window, segment)

    def _new(self, data: bytes) -> None:
        """Bytes that are in no base."""
        if not data:
            raise _shorter()
        zero = data == _ZEROS[: len(data)]
        self._script.put(ops.ZERO if zero else ops.LITERAL, len(data))
        self._done += len(data)

    def _window(self, window: bytes, segment: Segment) -> None:
        """Blocks of the window up to a copy that leads out of it or off the grid."""
        begin = self._done
        while self._done < begin + len(window):
            at = self._done - begin
            block = window[at : at + BLOCK]
            # Zeros are cheaper than any copy, and every base has them.
            if block != _ZERO_BLOCK[: len(block)] and self._index is not None:
                padded = block if len(block) == BLOCK else block.ljust(BLOCK, b"\0")
                found = self._index.find(padded)
                if found is not None and self._copy(found, len(block), segment):
                    if (self._done - begin) % BLOCK:
                        return
                    continue
            self._new(block)

    def _copy(self, found: tuple[int, int, int], length: int, segment: Segment) -> bool:
        base, offset, valid = found
        # A disk's holes are not read; in a tar the next file may follow in the base as well.
        limit = (self._script.size if segment.joined else segment.end) - self._done
        # The index only gave a hint. From there the copy goes on as long as both are the same,
        # often over the rest of a file or over many files.
        count = self._equal(base, offset, limit)
        least = min(valid, length)
        # Another block with the same hash, or the base was changed since: the bytes travel.
        if count < least:
            return False
        if count < limit:
            # Copies end at sectors where they can, so that the next block stays on a grid on which
            # something is found.
            count = max(least, count - count % UNIT)
        self._script.copy(base, offset, count)
        self._done += count
        return True

    def _equal(self, base: int, offset: int, limit: int) -> int:
        """How many bytes from `_done` on are those of the base from `offset` on."""
        limit = min(limit, self._sizes[base] - offset)
        count, step = 0, BLOCK
        while count < limit:
            wanted = min(step, limit - count)
            ours = os.pread(self._target, wanted, self._done + count)
            theirs = os.pread(self._bases[base], wanted, offset + count)
            if ours != theirs or not ours:
                return count + _common(ours, theirs)
            count += len(ours)
            # Most hits are a few blocks long and some are a whole layer: the reads grow with the
            # match.
            step = min(2 * step, _WINDOW)
        return count


def _common(left: bytes, right: bytes) -> int:
    """How many bytes at the start are the same."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def render(script: Script, target: int, dropped: Collection[int] = ()) -> Iterator[bytes]:
    """The recipe; its bases are `script.used(dropped)`. What would be copied from a dropped base
    travels instead."""
    numbers = {base: number for number, base in enumerate(script.used(dropped))}
    writer = ops.Writer()
    done = 0
    for kind, base, offset, length in script.operations():
        if kind == ops.ZERO:
            yield writer.zero(length)
        elif kind == ops.COPY and base in numbers:
            yield writer.copy(numbers[base], offset, length)
        else:
            yield from _literals(writer, target, done, length)
        done += length
    yield writer.end()


def _literals(writer: ops.Writer, target: int, start: int, length: int) -> Iterator[bytes]:
    while length > 0:
        data = os.pread(target, min(length, _WINDOW), start)
        if not data:
            raise _shorter()
        yield writer.literal(len(data))
        yield data
        start += len(data)
        length -= len(data)


def _shorter() -> VerifyError:
    return VerifyError(
        "a blob became shorter while it was read",
        details="something else writes in the Store",
        resolution="Try again.",
    )
