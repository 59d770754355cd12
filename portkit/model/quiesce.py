"""What brings the data of a service to rest before it is stopped for a Move, and awake again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Quiesce:
    """Commands that run in the container of a service (x-portkit.quiesce), as argument lists; () is
    none.

    before: right before it is stopped at its source. after: where it runs next, on the target or
    back at its source. timeout_s: how long each may take.
    """

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    timeout_s: float = 60.0

    def __bool__(self) -> bool:
        return bool(self.before or self.after)
