"""The result of a measurement."""

from __future__ import annotations

from dataclasses import dataclass

from portkit.model import Method

# Between two questions to the app. It bounds the error of a time, which is reported beside it.
POLL_S = 0.02


@dataclass(frozen=True)
class Answer:
    """The first right answer of an app, or the engine's word that it is up.

    seconds: since the call that started it. status: the HTTP status, 0 where only TCP or the engine
    was asked. tries: how often it was asked. vantage: direct or ssh where the app itself was asked,
    else engine. poll_s: seconds between two questions.
    """

    seconds: float
    status: int
    tries: int
    url: str
    method: Method = Method.PUBLISHED
    vantage: str = ""
    poll_s: float = POLL_S
