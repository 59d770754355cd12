"""What a measurement says."""

from __future__ import annotations

from dataclasses import dataclass

from portkit.model import Method

POLL_S = 0.02  # between two questions to the app


@dataclass(frozen=True)
class Answer:
    """The first right answer, or what stands for it.

    seconds: from `started`. status: of HTTP; 0 where only TCP or the engine was asked. vantage:
    direct or ssh, where the app was asked from here, or engine. poll_s: between two questions.
    """

    seconds: float
    status: int
    tries: int
    url: str
    method: Method = Method.PUBLISHED
    vantage: str = ""
    poll_s: float = POLL_S
