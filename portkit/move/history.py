"""What earlier Moves of running Apps took, out of what the journal kept of them. Pure.

An entry may come from another version, or be damaged: what is no figure is left out.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from portkit.wire.json_types import JsonObject

_NEWEST = 5  # Moves that a figure is the median of
# By so much may earlier Moves correct a prediction.
_LEAST_TIMES, _MOST_TIMES = 0.3, 3.0
_ALIKE = 0.2  # links: a logarithm


@dataclass(frozen=True)
class PastTransfer:
    """A transfer that was measured. link: bytes a second that the link took meanwhile.
    content_bytes: of what was sent, unpacked, holes left out."""

    move: str
    sent_bytes: int
    seconds: float
    link: float | None = None
    content_bytes: int = 0

    def unlike(self, link: float | None) -> float:
        """How much its link differs from one of that rate: 0 where it does not, as a logarithm."""
        if not link or not self.link:
            return math.inf
        # Two that differ by less than a fifth are alike.
        return max(0.0, abs(math.log(link / self.link)) - _ALIKE)

    @property
    def beside_byte_s(self) -> float | None:
        """Seconds for each byte of content beside those that the link took; None where that is not
        known."""
        if not self.link or self.content_bytes <= 0:
            return None
        return max(0.0, self.seconds - self.sent_bytes / self.link) / self.content_bytes

    @property
    def rate(self) -> float:
        """Bytes a second, with all that a transfer does beside sending."""
        return self.sent_bytes / self.seconds


@dataclass(frozen=True)
class Past:
    """What one Move took: seconds, None where it is not known. raw_last_s: what its last
    pass was predicted to take, before that was corrected."""

    app: str
    source: str
    target: str
    form: str
    stop_s: float | None = None
    layer_s: float | None = None
    boot_s: float | None = None
    first_s: float | None = None
    last_s: float | None = None
    downtime_s: float | None = None
    raw_last_s: float | None = None

    @property
    def rest_s(self) -> float | None:
        """Of the downtime, what is none of its known parts."""
        parts = (self.stop_s, self.layer_s, self.last_s, self.boot_s)
        known = [each for each in parts if each is not None]
        if self.downtime_s is None or len(known) < len(parts):
            return None
        return max(0.0, self.downtime_s - sum(known))


def past_of(
    app: str, source: str, target: str, plan: JsonObject, result: Callable[[str], JsonObject]
) -> Past | None:
    """What a Move took. plan: as the journal has it. result: what a step of that name recorded.
    None for one that stopped nothing, or did not come to an end."""
    forms = plan.get("forms")
    if not plan.get("live") or not isinstance(forms, list) or len(forms) != 1:
        return None
    # A VM that went on running was not stopped, and its boot was none.
    if _object(_object(plan.get("live")).get("domain")).get("keeps_running"):
        return None
    form = str(forms[0])
    booted = result(f"boot {form}")
    foreseen = _object(plan.get("foreseen"))
    timeline = _object(booted.get("timeline"))
    starts = booted.get("from_boot_s")
    return Past(
        app=app,
        source=source,
        target=target,
        form=form,
        stop_s=seconds_of(result("stop")),
        layer_s=seconds_of(result("last layer")),
        boot_s=number(starts[0]) if isinstance(starts, list) and starts else None,
        first_s=_passes(result("presync"), 1),
        last_s=seconds_of(result("last sync")),
        downtime_s=number(timeline.get("downtime_s")),
        raw_last_s=number(_object(foreseen.get("last_s")).get("raw")),
    )


def typical(
    pasts: Sequence[Past],
    value: Callable[[Past], float | None],
    alike: Sequence[Callable[[Past], bool]],
) -> tuple[float, int, int] | None:
    """A median of the newest, how many these are, and which of `alike` they fulfil, where the first
    that any fulfils counts. pasts: the newest first."""
    for number, fits in enumerate(alike):
        found = [each for past in pasts if fits(past) and (each := value(past)) is not None]
        if found:
            newest = found[:_NEWEST]
            return statistics.median(newest), len(newest), number
    return None


def times(pairs: Iterable[tuple[float | None, float | None]]) -> tuple[float, int]:
    """By how much (truth, prediction) differed, as a factor, and of how many Moves: 1 of none."""
    found = [
        truth / raw for truth, raw in pairs if truth is not None and raw is not None and raw > 0
    ][:_NEWEST]
    if not found:
        return 1.0, 0
    return min(_MOST_TIMES, max(_LEAST_TIMES, statistics.median(found))), len(found)


def seconds_of(result: JsonObject) -> float | None:
    """What the phases of a step took together; None where it has recorded none."""
    rows = result.get("phases")
    if not isinstance(rows, list):
        return None
    found = [number(_object(row).get("seconds")) for row in rows]
    known = [each for each in found if each is not None]
    return sum(known) if len(known) == len(found) else None


def _passes(result: JsonObject, count: int) -> float | None:
    """Seconds of the first passes over all volumes."""
    volumes = result.get("volumes")
    if not isinstance(volumes, list):
        return None
    total = 0.0
    for volume in volumes:
        passes = _object(volume).get("passes")
        for each in passes[:count] if isinstance(passes, list) else [None]:
            seconds = number(_object(each).get("seconds"))
            if seconds is None:
                return None
            total += seconds
    return total


def _object(value: object) -> JsonObject:
    return value if isinstance(value, dict) else {}


def number(value: object) -> float | None:
    """A figure that can be: finite, and not below zero. None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) and found >= 0 else None
