"""The folders that an App uses, and the way to a target, looked at for a bounded time before a
Move: size, how fast content is read, compressed and sent, and how much changes. Nothing is written.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from typing import NamedTuple

from portkit.errors import VerifyError
from portkit.halt import Halt
from portkit.host import Host
from portkit.volumes import streams
from portkit.volumes.side import Folder, Side, encoding_of
from portkit.wire import tree
from portkit.wire.blocks import Block, Want, unpack_want
from portkit.wire.json_types import JsonObject

# Blocks that are read of all folders: 64 MiB. Of less it is all of them.
_BLOCKS = 1024
# At most for each of: listing the entries, reading the blocks, and both once more; for all folders
# of an App, so that one with many volumes does not wait for minutes before each Move.
_BUDGET_S = 2.0
# Between two readings of a block, while what was read is compressed. An App that writes once a
# minute is seen to write nothing.
_WINDOW_S = 2.0
# A trial sends more and more blocks until it has taken so long: what a link takes at once, before
# it slows down to its rate, is then over. Its last round tells the rate.
_TRIAL_S = 1.5
_FIRST, _TIMES = 4, 4
# Of the content that is going to travel, what a trial sends at most, beside its first round.
_TRIAL_SHARE = 0.02


@dataclass(frozen=True)
class Survey:
    """What was seen of a folder.

    entries, bytes: of content, without holes; of what was listed where `whole` is False. walk_s:
    for listing. sampled_bytes, read_s: content that was read and hashed. changed_bytes: of these,
    by pages, within window_s; grown_bytes: by which the whole content grew. packed_bytes,
    packed_wire_bytes, pack_s: content that was compressed there, as a pass does. way_bytes, way_s:
    compressed content of the App's that was sent to the target for a trial, the same for all its
    folders. call_s: what a call to the target takes.
    """

    entries: int
    bytes: int
    whole: bool
    walk_s: float
    sampled_bytes: int
    read_s: float
    changed_bytes: int
    grown_bytes: int
    window_s: float
    packed_bytes: int
    packed_wire_bytes: int
    pack_s: float
    way_bytes: int
    way_s: float
    call_s: float


class Place(NamedTuple):
    """A folder of the source. names: of entries directly in it; none: all."""

    path: str
    names: Sequence[str] = ()


def survey(
    source: Host, places: Sequence[Place], target: Host, *, window_s: float = _WINDOW_S
) -> list[Survey]:
    """Look at folders for some seconds in all, and at the way from there to the target.

    window_s: between two readings of a block. TransferError when a connection breaks.
    """
    if not places:
        return []
    encoding = encoding_of(source, target)
    level = streams.level(encoding, target.rate)
    rows, wants = _looked(source, places, encoding, level, window_s)
    began = time.monotonic()
    _dropped(target, encoding)
    call_s = time.monotonic() - began
    # The way is the same for all folders: one of them has enough to try it with.
    largest = max(range(len(places)), key=lambda each: len(wants[each]))
    side = Side(Folder(source, places[largest].path), encoding)
    some = picked(wants[largest], sum(row["bytes"] for row in rows))
    way = _trial(len(some), lambda few: _round(side, target, some[few], level))
    return [_survey(row, way, call_s) for row in rows]


def picked(wants: Sequence[Want], content: int) -> list[Want]:
    """Of the blocks of a folder those that a trial may send, which lie evenly. content: bytes that
    all folders have."""
    most = min(len(wants), _most(content))
    return [wants[number * len(wants) // most] for number in range(most)]


def _most(content: int) -> int:
    """How many blocks a trial may send for so many bytes of content."""
    return min(_BLOCKS, _FIRST + int(content * _TRIAL_SHARE) // tree.BLOCK)


class _Way(NamedTuple):
    """What the last round of a trial sent, compressed."""

    bytes: int
    seconds: float


def _survey(row: JsonObject, way: _Way, call_s: float) -> Survey:
    return Survey(
        entries=row["entries"],
        bytes=row["bytes"],
        whole=row["whole"],
        walk_s=row["walk_ms"] / 1000,
        sampled_bytes=row["sampled_bytes"],
        read_s=row["read_ms"] / 1000,
        changed_bytes=row["changed_pages"] * tree.PAGE,
        grown_bytes=row["grown_bytes"],
        window_s=row["window_ms"] / 1000,
        packed_bytes=row["packed_bytes"],
        packed_wire_bytes=row["packed_wire_bytes"],
        pack_s=row["pack_us"] / 1e6,
        way_bytes=way.bytes,
        # The calls themselves take some of it; but no link is without end.
        way_s=max(way.seconds - call_s, way.seconds / 2),
        call_s=call_s,
    )


def link_rate(target: Host, content: int, most_s: float = _TRIAL_S) -> float | None:
    """Bytes a second that the way to the target takes, by some that nothing shortens; None where
    nothing goes over a network. The target drops them. content: bytes that are going to travel, of
    which a small share is sent now. most_s: after which no more are sent. TransferError when the
    connection breaks."""
    if target.name == "local":
        return None
    data = os.urandom(tree.BLOCK)
    whole = (1 << tree.PAGES) - 1
    block = Block(b"trial", 0, len(data), whole, 0, hashlib.sha256(data).digest(), data)

    def send(few: slice) -> _Way:
        written, asked = target.remote.written, time.monotonic()
        rows = repeat(tree.record(block.pack()), few.stop - few.start)
        chunks = streams.compressed(rows, "raw")
        target.remote.call("volume.weigh", {"encoding": "raw"}, send=chunks)
        return _Way(target.remote.written - written, time.monotonic() - asked)

    way = _trial(_most(content), send, most_s)
    # What a call takes beside is not the link's; but no link is without end.
    return way.bytes / max(1e-6, way.seconds) or None


def _looked(
    source: Host, places: Sequence[Place], encoding: str, level: int, window_s: float
) -> tuple[Sequence[JsonObject], list[list[Want]]]:
    """For each folder its row and the blocks that were read."""
    came: list[bytes] = []
    # Each folder has one block more than its share at most.
    most = (_BLOCKS + len(places)) * (tree.MAX_PATH + 128) + (1 << 20)
    rows = source.remote.call(
        "volume.survey",
        {
            "folders": [{"path": each.path, "names": list(each.names) or None} for each in places],
            "blocks": _BLOCKS,
            "budget_s": _BUDGET_S,
            "window_s": window_s,
            "encoding": encoding,
            "level": streams.FAST_LEVEL,
            "content_level": level,
        },
        receive=streams.Parts(came.append).feed,
        most=most,
    )["folders"]
    try:
        wants = map(unpack_want, tree.records(streams.plain(came, encoding), most))
        found = [list(islice(wants, row["blocks"])) for row in rows]
        if len(rows) != len(places) or any(
            len(some) != row["blocks"] for some, row in zip(found, rows, strict=True)
        ):
            raise ValueError("it does not describe the requested folders")
        return rows, found
    except ValueError as error:
        raise VerifyError(
            f"{source.name} sent an invalid description of a folder",
            details=str(error),
            resolution="Check which program answers on the host.",
        ) from error


def _dropped(target: Host, encoding: str) -> None:
    """An empty trial."""
    chunks = list(streams.compressed((), encoding))
    target.remote.call("volume.weigh", {"encoding": encoding}, send=chunks)


def _trial(most: int, send: Callable[[slice], _Way], most_s: float = _TRIAL_S) -> _Way:
    """The last round of a trial; zeros where there is no content. send: some of so many blocks."""
    until = time.monotonic() + most_s
    at, count = 0, _FIRST
    seen = _Way(0, 0.0)
    while at < most and time.monotonic() < until:
        few = slice(at, min(at + count, most))
        if at and few.stop - at < count // 2:  # what is left tells less than the round before
            break
        seen = send(few)
        at, count = at + count, count * _TIMES
    return seen


def _round(side: Side, target: Host, wants: Sequence[Want], level: int) -> _Way:
    written = target.remote.written
    began = time.monotonic()
    pipe = streams.Pipe()

    def aside(halt: Halt) -> None:
        with pipe.ending():
            side.read(
                wants,
                exact=False,
                level=level,
                data=lambda chunk: pipe.put(chunk, halt),
                content=lambda count: None,
            )

    remote = side.folder.host.remote
    with streams.together(remote, target.remote), streams.aside(remote, aside) as thread:
        target.remote.call("volume.weigh", {"encoding": side.encoding}, send=pipe.taken())
    thread.result()
    return _Way(target.remote.written - written, time.monotonic() - began)
