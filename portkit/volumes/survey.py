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
from portkit.wire.json_types import JsonObject
from portkit.wire.tree import Block, Want

# Blocks that are read of all folders: 64 MiB. Of less it is all of them.
_BLOCKS = 1024
# At most for each of: listing the entries, reading the blocks, and both once more; for all folders
# of an App, so that one with many volumes does not wait for minutes before each Move.
_BUDGET_S = 2.0
# Between two readings of a block. An App that writes once a minute is seen to write nothing.
_WINDOW_S = 2.0
# A trial sends more and more blocks until it has taken so long: what a link takes at once, before
# it slows down to its rate, is then over. Its last round tells the rate. The time is for all
# folders, from the one with the most content on: what does not get its turn is not tried.
_TRIAL_S = 1.5
_FIRST, _TIMES = 4, 4


@dataclass(frozen=True)
class Survey:
    """What was seen of a folder.

    entries, bytes: of content, without holes; of what was listed where `whole` is False. walk_s:
    for listing. sampled_bytes, read_s: content that was read and hashed. changed_bytes: of these,
    by pages, within window_s; grown_bytes: by which the whole content grew. tried_bytes,
    wire_bytes, tried_s: content that was sent to the target and dropped there, as what it was
    compressed to. call_s: what a call to the target takes.
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
    tried_bytes: int
    wire_bytes: int
    tried_s: float
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
    rows, wants = _looked(source, places, encoding, window_s)
    began = time.monotonic()
    _dropped(target, encoding)
    call_s = time.monotonic() - began
    sides = [Side(Folder(source, each.path), encoding) for each in places]
    tried = _trials(
        wants, lambda number, until: _trial(sides[number], target, wants[number], until)
    )
    return [_survey(row, *trial, call_s) for row, trial in zip(rows, tried, strict=True)]


def _survey(
    row: JsonObject, tried_bytes: int, wire_bytes: int, tried_s: float, call_s: float
) -> Survey:
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
        tried_bytes=tried_bytes,
        wire_bytes=wire_bytes,
        tried_s=tried_s,
        call_s=call_s,
    )


def link_rate(target: Host, most_s: float = _TRIAL_S) -> float | None:
    """Bytes a second that the way to the target takes, by some that nothing shortens; None where
    nothing goes over a network. The target drops them. most_s: after which no more are sent.
    TransferError when the connection breaks."""
    if target.name == "local":
        return None
    data = os.urandom(tree.BLOCK)
    whole = (1 << tree.PAGES) - 1
    block = Block(b"trial", 0, len(data), whole, 0, hashlib.sha256(data).digest(), data)
    began, count, rate = time.monotonic(), _FIRST, 0.0
    while time.monotonic() - began < most_s and count <= _BLOCKS:
        written, asked = target.remote.written, time.monotonic()
        chunks = streams.compressed(repeat(tree.record(block.pack()), count), "raw")
        target.remote.call("volume.weigh", {"encoding": "raw"}, send=chunks)
        # What a call takes beside is not the link's; but no link is without end.
        rate = (target.remote.written - written) / max(1e-6, time.monotonic() - asked)
        count *= _TIMES
    return rate or None


def _looked(
    source: Host, places: Sequence[Place], encoding: str, window_s: float
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
        },
        receive=streams.Parts(came.append).feed,
        most=most,
    )["folders"]
    try:
        wants = map(tree.unpack_want, tree.records(streams.plain(came, encoding), most))
        found = [list(islice(wants, row["blocks"])) for row in rows]
        if len(rows) != len(places) or any(
            len(some) != row["blocks"] for some, row in zip(found, rows, strict=True)
        ):
            raise ValueError("it is not of the folders that were asked for")
        return rows, found
    except ValueError as error:
        raise VerifyError(
            f"what {source.name} says of a folder cannot be right",
            details=str(error),
            resolution="Check who answers on the host.",
        ) from error


def _trials(
    wants: Sequence[Sequence[Want]], trial: Callable[[int, float], tuple[int, int, float]]
) -> list[tuple[int, int, float]]:
    """A trial for each folder, as long as there is time for all; zeros for the others."""
    until = time.monotonic() + _TRIAL_S
    found = [(0, 0, 0.0)] * len(wants)
    for number in sorted(range(len(wants)), key=lambda each: -len(wants[each])):
        if time.monotonic() >= until:
            break
        found[number] = trial(number, until)
    return found


def _dropped(target: Host, encoding: str) -> None:
    """An empty trial."""
    chunks = list(streams.compressed((), encoding))
    target.remote.call("volume.weigh", {"encoding": encoding}, send=chunks)


def _trial(side: Side, target: Host, wants: Sequence[Want], until: float) -> tuple[int, int, float]:
    """Content, bytes on the way and seconds of the last round; zeros where there is no content."""
    level = streams.level(side.encoding, target.rate)
    at, count = 0, _FIRST
    seen = 0, 0, 0.0
    while at < len(wants) and time.monotonic() < until:
        some = wants[at : at + count]
        if at and len(some) < count // 2:  # what is left tells less than the round before
            break
        seen = _round(side, target, some, level)
        at, count = at + count, count * _TIMES
    return seen


def _round(side: Side, target: Host, wants: Sequence[Want], level: int) -> tuple[int, int, float]:
    written = target.remote.written
    began = time.monotonic()
    pipe = streams.Pipe()

    def aside(halt: Halt) -> int:
        with pipe.ending():
            row = side.read(
                wants,
                exact=False,
                level=level,
                data=lambda chunk: pipe.put(chunk, halt),
                content=lambda count: None,
            )
        return int(row["bytes"])

    remote = side.folder.host.remote
    with streams.together(remote, target.remote), streams.aside(remote, aside) as thread:
        target.remote.call("volume.weigh", {"encoding": side.encoding}, send=pipe.taken())
    return thread.result(), target.remote.written - written, time.monotonic() - began
