"""What the cutover of a running App is expected to cost, and the same beside what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Basis(StrEnum):
    """Where a predicted figure comes from: it was measured right before; earlier Moves took so
    long; nobody knows, and it is portkit's default."""

    MEASURED = "measured"
    EARLIER = "from earlier Moves"
    ASSUMED = "assumed"


@dataclass(frozen=True)
class Part:
    """A predicted figure. why: in words. raw: as it was before it was corrected by what earlier
    Moves took; by that one, later Moves are corrected."""

    value: float
    basis: Basis
    why: str
    raw: float


@dataclass(frozen=True, kw_only=True)
class Foreseen:
    """What the data and the cutover of a running App are expected to cost.

    data_bytes, wire_bytes, first_s: of the first pass over all volumes: content, bytes to the
    target, seconds. The downtime is the sum of: stop_s, for the stop at the source; layer_s, for
    what its containers have changed in their images; last_s, for the last pass; boot_s, from the
    start on the target to the first answer; rest_s, for what is between these. survey_bytes: what
    was sent to the target to foresee all that, and the cost of the Move's forms.
    """

    data_bytes: Part
    wire_bytes: Part
    first_s: Part
    stop_s: Part
    layer_s: Part
    last_s: Part
    boot_s: Part
    rest_s: Part
    survey_bytes: int = 0

    @property
    def parts(self) -> dict[str, Part]:
        """What the downtime consists of, in this order."""
        return {
            "stop": self.stop_s,
            "last layer": self.layer_s,
            "last pass": self.last_s,
            "boot": self.boot_s,
            "rest": self.rest_s,
        }

    @property
    def downtime_s(self) -> Part:
        """The sum, which is known no better than the least known of what it consists of."""
        parts = self.parts
        order = list(Basis)
        basis = max((each.basis for each in parts.values()), key=order.index)
        why = " + ".join(
            f"{name} {each.value:.2f} s ({each.basis})" for name, each in parts.items()
        )
        raw = sum(each.raw for each in parts.values())
        return Part(sum(each.value for each in parts.values()), basis, why, raw)


@dataclass(frozen=True)
class Figure:
    """A prediction beside what was measured. what: in words. unit: bytes or s. measured: None where
    nothing was. error_percent: by how much the prediction is too high, of what was measured."""

    what: str
    unit: str
    predicted: float
    basis: str
    measured: float | None = None
    error_percent: float | None = None


def figure(
    what: str, unit: str, predicted: float, basis: str, measured: float | None = None
) -> Figure:
    """With its error, where there is one."""
    error = None
    if measured is not None and measured > 0:
        error = round(100 * (predicted - measured) / measured, 1)
    places = 0 if unit == "bytes" else 3
    rounded = None if measured is None else round(measured, places)
    return Figure(what, unit, round(predicted, places), basis, rounded, error)
