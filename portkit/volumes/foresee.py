"""How long the passes over a folder will take, from what a survey saw of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from portkit.volumes.survey import Survey
from portkit.wire import tree

# Calls that a pass makes, which each wait for a host: two scans, shape, and so on.
_FIRST_CALLS, _LAST_CALLS = 6, 8
# Listing entries for a survey takes this share of a scan, which also reads attributes and sends
# rows; making them on the target takes as long again.
_SCAN_TIMES = 2.0
# Bytes a second that a target's disk takes when a pass has all written to it (assumed).
_DISK_RATE = 400e6
# Bytes a second for making a VM's disk out of a folder (docs/volumes.md: 1 GiB in 6 s).
_FILL_RATE = 170e6
# Bytes to the target for an entry, beside its content.
_ENTRY_BYTES = 60
# What a pass cannot save of its time, however little there is to do (seen in the lab).
_LEAST_S = 0.05
# An App that changes its data about as fast as they can be sent.
_MOST_SHARE = 0.9


def lacks(seen: Survey) -> bool:
    """Whether there was no time for some of what a survey looks at."""
    return not seen.whole or (seen.bytes > 0 and not (seen.sampled_bytes and seen.packed_bytes))


def alike(surveys: Sequence[Survey]) -> list[Survey]:
    """With what there was no time for assumed to be as in the App's other folders."""
    read = [each for each in surveys if each.sampled_bytes > 0]
    packed = [each for each in surveys if each.packed_bytes > 0]
    found = []
    for each in surveys:
        if each.bytes > 0 and each.sampled_bytes <= 0 and read:
            each = replace(
                each,
                sampled_bytes=sum(other.sampled_bytes for other in read),
                read_s=sum(other.read_s for other in read),
                changed_bytes=sum(other.changed_bytes for other in read),
                window_s=max(other.window_s for other in read),
            )
        if each.bytes > 0 and each.packed_bytes <= 0 and packed:
            each = replace(
                each,
                packed_bytes=sum(other.packed_bytes for other in packed),
                packed_wire_bytes=sum(other.packed_wire_bytes for other in packed),
                pack_s=sum(other.pack_s for other in packed),
            )
        found.append(each)
    return found


def data_bytes(seen: Survey) -> float:
    """Content that the first pass sends."""
    return float(seen.bytes)


def wire_bytes(seen: Survey) -> float:
    """What the first pass sends to the target, compressed."""
    return seen.bytes * _share(seen) + seen.entries * _ENTRY_BYTES


def first_s(seen: Survey) -> float:
    """Seconds of the first pass."""
    scan_s = seen.bytes * _byte_s(seen.sampled_bytes, seen.read_s) + 2 * _look_s(seen)
    return (
        scan_s
        + seen.bytes * _send_byte_s(seen)
        + seen.bytes / _DISK_RATE
        + _FIRST_CALLS * max(0.0, seen.call_s)
        + _LEAST_S
    )


def change_rate(seen: Survey) -> float:
    """Bytes of content that change in a second."""
    if seen.window_s <= 0 or seen.bytes <= 0:
        return 0.0
    share = seen.changed_bytes / seen.sampled_bytes if seen.sampled_bytes > 0 else 0.0
    return (share * seen.bytes + seen.grown_bytes) / seen.window_s


def last_s(seen: Survey, stop_s: float, *, fills: bool = False) -> float:
    """Seconds of the last pass, after a pass right before the stop, which takes stop_s. fills: a
    VM's disk is made of the folder then."""
    base_s = 2 * _look_s(seen) + _LAST_CALLS * max(0.0, seen.call_s) + _LEAST_S
    # Of a block of 64 KiB with one page changed, all is hashed and the page is sent.
    byte_s = _byte_s(seen.sampled_bytes, seen.read_s) * tree.PAGES + _send_byte_s(seen)
    # The pass before sends what has changed since the one before that, which took as long: what
    # both need is the fixed point of that.
    share = min(_MOST_SHARE, change_rate(seen) * byte_s)
    before_s = base_s / (1 - share)
    changed = min(seen.bytes + seen.grown_bytes, change_rate(seen) * (before_s + max(0.0, stop_s)))
    most_s = seen.bytes * (_byte_s(seen.sampled_bytes, seen.read_s) + _send_byte_s(seen))
    fill_s = seen.bytes / _FILL_RATE if fills else 0.0
    return base_s + min(changed * byte_s, most_s) + fill_s


def _look_s(seen: Survey) -> float:
    return _SCAN_TIMES * max(0.0, seen.walk_s)


def _send_byte_s(seen: Survey) -> float:
    """For a byte of content: as long as the slower of both takes, which work at the same time."""
    way_s = _share(seen) * _byte_s(seen.way_bytes, seen.way_s)
    return max(_byte_s(seen.packed_bytes, seen.pack_s), way_s)


def _share(seen: Survey) -> float:
    """What a byte of content is compressed to."""
    return seen.packed_wire_bytes / seen.packed_bytes if seen.packed_bytes > 0 else 1.0


def _byte_s(count: int, seconds: float) -> float:
    return max(0.0, seconds) / count if count > 0 else 0.0
